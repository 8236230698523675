/* ops.h: THE contract between the forward pass and the arithmetic.
 *
 * An Ops table is one arithmetic on one device, chosen by (device, numerics, dtype): cpu/{fast, stable, exact, ref64},
 * cuda/{fast in bf16, f32 or TF32, exact} (in libstrata_cuda.so); `ref` is the naive f64 oracle of the tests. engine/forward.c is written once over this table and
 * dereferences no activation: a View's data may lie on another device.
 *
 * Shape alphabet, used in every comment of this project:
 *   T tokens (rows)   D model width   H query heads   K key/value heads   Dh head dim   F feed-forward width
 *   V vocabulary      E experts       L layers        P positions         R rotary dims (<= Dh, even)
 * Matrices are row-major: [rows, cols] with a leading dimension ld >= cols, in elements.
 *
 * Ops enqueue; what can go wrong on a device surfaces at sync(). No op allocates: an OpsContext owns all the scratch its ops
 * need, sized by context_bytes(), a pure function of OpsLimits. Outputs never alias inputs unless the op says so.
 * Pointers handed out by alloc() are 64-byte aligned; Views inside them need only element alignment, and the data behind
 * the last column of a row (ld > cols) is never touched. Every op accepts T = 0. */
#ifndef STRATA_KERNELS_OPS_H
#define STRATA_KERNELS_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/dtype.h"
#include "engine/base/error.h"
#include "engine/base/pool.h"
#include "kernels/pair_sums.h"

typedef struct View {
    void *data;
    DType dtype; /* one of the table's gemm_dtype, act_dtype, resid_dtype; DTYPE_F32 for logits of a fast table */
    size_t rows, cols, ld;
} View;

/* A piece of a tensor in a mapped model file: n rows of `cols` elements as the forward pass wants them (logical [rows, cols],
 * rows = outputs for a matrix). Element (r, c) is stored at data[r*stride + c], or data[c*stride + r] when transposed (GPT-2's
 * Conv1D). Block-quantised types are never transposed and start on a block. data may be unaligned. */
typedef struct WeightPart {
    const void *data;
    DType dtype; /* F32, F16, BF16, or a block format (dtype_is_weight) */
    size_t rows, cols, stride;
    bool transposed;
} WeightPart;

typedef enum WeightKind {
    WEIGHT_NONE,   /* the model has no such weight */
    WEIGHT_MATRIX, /* right operand of linear(): y = x w^T, [N outputs, K inputs] */
    WEIGHT_VECTOR, /* norm gains and biases, [1, n]: parts are joined along n */
    WEIGHT_TABLE,  /* small f32 table read by row, [P, n]: cosines and sines of RoPE */
} WeightKind;

/* A prepared weight: parts stacked by rows (MATRIX, TABLE) or joined (VECTOR) in the layout and dtype the table wants. */
typedef struct Weight {
    WeightKind kind;
    size_t rows, cols;
    const void *data; /* inside a slot; opaque to all but the table */
} Weight;

typedef enum NormKind { NORM_RMS, NORM_LAYER } NormKind;
typedef struct NormSpec {
    NormKind kind;
    float eps;
    float weight_offset; /* gain used is weight + offset (1 for Gemma, else 0); without a weight the gain is 1 */
    size_t group;        /* columns normalised together: the view's cols, or Dh for per-head norms (cols a multiple of it) */
} NormSpec;

typedef enum ActKind { ACT_SILU, ACT_GELU_TANH, ACT_GELU_ERF, ACT_RELU, ACT_RELU2 } ActKind;

typedef enum RopeStyle { ROPE_HALF, ROPE_INTERLEAVED } RopeStyle;

/* Keys and values of one stretch of rows in the k and v views. */
typedef struct KvSegment {
    size_t first_row, n_rows;
} KvSegment;

/* One sequence of attention. Its queries are rows [q_row, q_row + n_q) at positions first_position, first_position + 1, ...;
 * its keys are the segments' rows one after another, the first key at position key_position. A query at position q sees keys
 * k with k <= q and, with a window W > 0, q - k < W. Pairs share a prefix by naming the same rows in a segment. */
typedef struct AttnSeq {
    size_t q_row, n_q;
    int32_t first_position, key_position;
    const KvSegment *segments;
    size_t n_segments;
} AttnSeq;

typedef struct AttnSpec {
    int n_heads, n_kv_heads, head_dim; /* head h reads key/value head h / (H/K) */
    float scale;                       /* scores = scale * q.k */
    float softcap;                     /* > 0: scores = softcap * tanh(scores / softcap) */
    int window;                        /* 0: none */
    const float *alibi_slopes;         /* [H] on the host, or NULL: scores += slope * (k - q), after the softcap */
    bool
        alibi_bf16; /* Falcon's ALiBi instead, k the key's position: scores += scale * bf16(bf16(slope) * bf16(k)), each rounded to
                      * nearest even */
} AttnSpec;

typedef struct RouteSpec {
    int n_experts, top_k;
    bool normalise; /* softmax over all experts, the chosen top_k divided by their sum (Mixtral); else left as they are */
} RouteSpec;

/* Router choices: expert[t*top_k + j] is the j-th best expert of row t (ties to the lower index), weight its share. */
typedef struct Routes {
    int32_t *expert; /* [T, top_k], memory of alloc() */
    float *weight;   /* [T, top_k] */
} Routes;

/* Feed-forward of one expert. gate_up holds gate rows first, then up rows: [2F, D]; down is [D, F]. */
typedef struct ExpertWeights {
    Weight gate_up, down;
} ExpertWeights;

/* The head on a tile of tokens: logits z = softcap(scale * (x w^T + bias)), then per row t with target y = targets[t]:
 *   nll  = logsumexp(z) - z[y]
 *   rank = #{v: z[v] > z[y]} + #{v < y: z[v] == z[y]}
 *   top1 = argmax z, ties to the lower id
 *   kl   = sum_v p[v] (log p[v] - log q[v]), p the intact model's distribution on this row, q = softmax(z); nats;
 *          exactly 0 where z equals the intact logits bit for bit; 0 where intact is NULL
 *   word_start_logp = log sum of softmax(z)[v] over v with word_start[v] != 0; NaN where word_start is NULL
 * Sums are carried in f64. NaN or infinite logits give NaN nll, never a crash. A target < 0 means: no nll or rank asked
 * (nll NaN, rank -1); top1, kl and word_start_logp are still computed. */
typedef struct HeadArgs {
    View x;             /* [T, D] after the final norm, gemm_dtype */
    const Weight *w;    /* [V, D] */
    const Weight *bias; /* [1, V] or NULL */
    float logit_scale, softcap;
    const int32_t *targets;                   /* [T], host */
    const uint8_t *word_start;                /* [V], host, or NULL */
    View logits;                              /* [T, V] f32 (f64 in ref and ref64): scratch, holds z afterwards */
    const View *intact_logits;                /* [T, V] of the intact model, or NULL */
    const double *intact_lse;                 /* [T], host: its logsumexp */
    double *nll, *kl, *word_start_logp, *lse; /* [T] each, host */
    int32_t *rank, *top1;                     /* [T] each, host */
} HeadArgs;

/* The largest sizes any op will be called with, for context_bytes(). */
typedef struct OpsLimits {
    size_t max_rows;                                                              /* T of one op call */
    size_t max_head_rows;                                                         /* T of one head() call */
    size_t max_seq;                                                               /* keys of one sequence */
    size_t d_model, d_ff, n_heads, n_kv_heads, head_dim, n_experts, top_k, vocab; /* d_ff: of the widest MLP or expert */
} OpsLimits;

typedef struct OpsConfig {
    OpsLimits limits;
    Pool *pool;       /* CPU tables */
    int device_index; /* CUDA tables */
} OpsConfig;

typedef struct OpsContext OpsContext;

typedef struct Ops {
    const char *name;                         /* "cpu/fast" */
    DType gemm_dtype, act_dtype, resid_dtype; /* linear()'s x; everything between; the residual stream */
    DType logit_dtype;
    bool host_memory; /* views lie in the host's memory and ops have run when they return: their data may be read and written */
    size_t tile_rows, head_rows; /* rows of an op's and of head()'s call at which its products run well; 0: the processor's */
    /* Bytes a session may take on the device; NULL: what the host has left counts. */
    size_t (*memory_available)(int device_index);

    /* -- lifetime and memory -- */
    size_t (*context_bytes)(const OpsConfig *config); /* pure: all that open() will take */
    int (*open)(const OpsConfig *config, OpsContext **out, Error *e);
    void (*close)(OpsContext *c);
    int (*alloc)(OpsContext *c, size_t bytes, void **out, Error *e);
    void (*free)(OpsContext *c, void *memory, size_t bytes);
    int (*sync)(OpsContext *c, Error *e);                       /* waits; reports what failed since the last sync */
    void (*copy)(OpsContext *c, View dst, View src);            /* same shape; resid and gemm dtypes convert into one another */
    void (*upload)(OpsContext *c, View dst, const double *src); /* [rows, cols] dense; rounds to dst's dtype */
    void (*download)(OpsContext *c, double *dst, View src);     /* dense, widened; waits for src */
    /* Bytes as they are, in memory of alloc(): set to zero; brought to the host, waiting for what is there. */
    void (*clear)(OpsContext *c, void *memory, size_t bytes);
    void (*read)(OpsContext *c, void *dst, const void *memory, size_t bytes);

    /* -- weights: widening, packing, uploading and streaming are this one mechanism -- */
    size_t (*weight_slot_bytes)(WeightKind kind, const WeightPart *parts, size_t n_parts); /* multiple of 64 */
    int (*weight_prepare)(OpsContext *c, void *slot_memory, WeightKind kind, const WeightPart *parts, size_t n_parts,
                          Weight *out, Error *e);        /* ops enqueued later see it */
    void (*slot_done)(OpsContext *c, void *slot_memory); /* uses so far are enqueued: the next prepare there waits for them */

    /* -- the forward pass -- */
    /* out[t] = multiplier * table[ids[t]]; out [T, D] resid; ids on the host; the table is read from the file. */
    void (*embed)(OpsContext *c, View out, const int32_t *ids, const WeightPart *table, float multiplier);
    /* x[t] += table[positions[t]]; x [T, D] resid; learned positions. */
    void (*embed_add)(OpsContext *c, View x, const int32_t *positions, const WeightPart *table);
    /* out = norm(x) per row and group: rms: x / sqrt(mean(x^2) + eps) * g; layer: (x - mean) / sqrt(var + eps) * g + b, biased
     * variance. x [T, n] resid or act dtype, out [T, n] gemm, act or resid dtype; out may be x where the dtypes are the same. weight
     * NULL or kind NONE: g = 1; bias likewise: none. The weight is [1, group], the same for every group, or [1, n]. */
    void (*norm)(OpsContext *c, View out, View x, const NormSpec *spec, const Weight *weight, const Weight *bias);
    /* y = x w^T + bias; x [T, K] gemm dtype, y [T, N] act or resid dtype. bias may be NULL or kind NONE. */
    void (*linear)(OpsContext *c, View y, View x, const Weight *w, const Weight *bias);
    /* Fused, may be NULL: out = residual + scale * (x w^T + bias); out and residual [T, D] resid, out may be residual. */
    void (*linear_add)(OpsContext *c, View out, View residual, float scale, View x, const Weight *w, const Weight *bias);
    /* Rotates the first R dims of each of n_heads heads in place: x [T, n_heads*Dh] act; cosines, sines [P, R/2] tables.
     * half: pairs (i, i + R/2); interleaved: pairs (2i, 2i+1). (a, b) -> (a cos - b sin, b cos + a sin). */
    void (*rope)(OpsContext *c, View x, const int32_t *positions, const Weight *cosines, const Weight *sines, int n_heads,
                 int head_dim, int rotary_dims, RopeStyle style);
    /* out [T, H*Dh] gemm dtype; q [T, H*Dh], k and v [*, K*Dh] act. Softmax over visible keys, maximum first. */
    void (*attention)(OpsContext *c, View out, View q, View k, View v, const AttnSeq *seqs, size_t n_seqs,
                      const AttnSpec *spec);
    /* out = act(gate) * up; gate, up [T, F] act (often the two halves of one view), out [T, F] gemm. out may be gate. */
    void (*glu)(OpsContext *c, View out, View gate, View up, ActKind act);
    /* out = act(x); out may be x. silu: x/(1+e^-x); gelu_tanh: 0.5x(1+tanh(sqrt(2/pi)(x+0.044715x^3))); gelu_erf:
     * 0.5x(1+erf(x/sqrt(2))); relu: max(x, 0); relu2: max(x, 0)^2; NaN stays. */
    void (*act)(OpsContext *c, View out, View x, ActKind act);
    /* out = a + scale * b; a, out resid, b act or resid; out may be a or b. */
    void (*add)(OpsContext *c, View out, View a, View b, float scale);
    /* x = min(max(x, -limit), limit) in place; act; NaN stays. */
    void (*clip)(OpsContext *c, View x, float limit);
    /* out[t] = a[t] + sigmoid(gate[t, 0]) * b[t]; without a gate (its data NULL) a + b. out, a, b [T, D] act, gate [T, 1] act; out may
     * be a or b. */
    void (*add_gated)(OpsContext *c, View out, View a, View b, View gate);
    /* out = (in[0] + in[1] + ...) / n, summed in that order; resid; out may be in[0]. */
    void (*mean)(OpsContext *c, View out, const View *in, size_t n);
    /* Router choice from logits [T, E] act. */
    void (*route)(OpsContext *c, Routes out, View logits, const RouteSpec *spec);
    /* out[t] = sum over j in rank order of weight[t,j] * down_e(act(gate_e(x[t])) * up_e(x[t])), e = expert[t,j]; x [T, D] gemm,
     * out [T, D] act or resid. Tokens are grouped by expert. */
    void (*moe)(OpsContext *c, View out, View x, Routes routes, const ExpertWeights *experts, const RouteSpec *spec,
                ActKind act);

    /* -- what is read off the stream -- */
    /* out[3t..3t+2] = a.b, a.a, b.b of row t in f64, host; waits. For cosines (block influence, angular distance). */
    void (*row_dots)(OpsContext *c, double *out, View a, View b);
    /* out[t] = x[rows[t]] for t < out.rows; x and out resid, rows on the host. */
    void (*gather)(OpsContext *c, View out, View x, const int32_t *rows);
    /* Adds n_items pairs of rows of x, [T, n_cols] resid, to the sums of one point; items on the host. Formulas: pair_sums.h. */
    void (*pair_sums)(OpsContext *c, const PairSums *to, View x, const PairItem *items, size_t n_items);
    /* out[i]: the two rows pairs[i] of x, [T, D] resid, as pair_sums.h says; pairs, weight [D] and out on the host; waits. */
    void (*compare_rows)(OpsContext *c, RowsCompared *out, View x, const RowPair *pairs, size_t n, const double *weight);
    /* Its results lie on the host after sync(); the arrays stay the table's until then. A later call may name this one's lse as
     * intact_lse at once. */
    void (*head)(OpsContext *c, const HeadArgs *args);
} Ops;

extern const Ops ops_ref;                      /* kernels/ref: the f64 oracle, for tests */
extern const Ops ops_cpu_fast;                 /* kernels/cpu: f32, OpenBLAS and our SIMD */
extern const Ops ops_cpu_stable;               /* the same with sums of one order: no batch or thread count changes a bit */
extern const Ops ops_cpu_exact, ops_cpu_ref64; /* kernels/exact: numerics v1, f32 or f64 between operations */

/* Which table serves (device, numerics, dtype); NULL with an error that names what is served. device "cpu" or "cuda" (see device.h). */
const Ops *ops_find(const char *device, const char *numerics, const char *dtype, Error *e);

/* Version of the canonical arithmetic behind --numerics exact and ref64, "v1"; NULL for the others. Stamped into every result. */
const char *ops_numerics_version(const char *numerics);

static inline View view_rows(View v, size_t first, size_t n, size_t elem_bytes)
{
    v.data = (char *)v.data + first * v.ld * elem_bytes;
    v.rows = n;
    return v;
}

static inline View view_cols(View v, size_t first, size_t n, size_t elem_bytes)
{
    v.data = (char *)v.data + first * elem_bytes;
    v.cols = n;
    return v;
}

#endif
