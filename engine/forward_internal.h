/* forward_internal.h: what opening (forward_open.c) and the pass itself (forward.c) share. */
#ifndef STRATA_ENGINE_FORWARD_INTERNAL_H
#define STRATA_ENGINE_FORWARD_INTERNAL_H

#include "engine/forward.h"

typedef struct Piece {
    size_t lane, first_row; /* rows of the lane's residual */
    size_t tile_row;        /* where they lie in the tile */
    size_t n_rows;
} Piece;

typedef struct RopeTable {
    Weight cosines, sines;
    void *memory;
    size_t bytes;
    size_t seq_len; /* 0: serves every length */
} RopeTable;

struct Forward {
    const Model *model;
    const Ops *ops;
    OpsContext *ctx;
    ForwardSizes sizes;
    RopeArithmetic rope_arithmetic;

    void *scratch;
    size_t scratch_bytes;
    View normed;   /* [max_rows, D] gemm */
    View qkv;      /* [max_rows, (H+2K)*Dh] act */
    View attended; /* [max_rows, H*Dh] gemm */
    View branch;   /* [max_rows, D] act: a half's output before the residual add */
    View branch2;  /* likewise, for the second branch of a parallel residual */
    View gate_up;  /* [max_rows, 2F] act */
    View hidden;   /* [max_rows, F] gemm */
    View router;   /* [max_rows, E] act */
    Routes routes; /* [max_rows, top_k] */
    View shared;   /* [max_rows, D] act: output of the expert every token takes */
    View share;    /* [max_rows, 1] act: its gate, data NULL when it has none */
    View embedded; /* [max_rows, d_embed] resid, and in gemm dtype: embeddings before their projection */
    View embedded_gemm;

    EmbedWeights embed_weights;
    void *embed_slot;

    RopeTable ropes[TRAITS_MAX_ROPES];      /* for lengths that share one table */
    RopeTable ropes_long[TRAITS_MAX_ROPES]; /* the last length-dependent table used */
    float *rope_host;                       /* [2, max_window, R/2] while a table is made */

    int32_t *positions;  /* [max_rows], of the tile */
    AttnSeq *seqs;       /* [max_rows] */
    KvSegment *segments; /* [2 * max_rows] */
    Piece *pieces;       /* [max_rows] */
    size_t n_pieces, tile_rows, n_seqs;
};

/* The table's cosines and sines for positions [0, positions) of a sequence of seq_len tokens. */
int forward_fill_rope(Forward *f, int index, RopeTable *table, size_t positions, size_t seq_len, Error *e);

#endif
