/* traits.h: what a model is, in words that no family owns. loaders/families turn a configuration into traits and bind file
 * tensors to roles; the forward pass branches on traits alone and never learns a family's name. */
#ifndef STRATA_LOADERS_TRAITS_H
#define STRATA_LOADERS_TRAITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ops.h"

/* Where the norms of a half layer sit: pre: x + f(norm(x)); post: x + norm(f(x)); both: x + norm2(f(norm1(x)));
 * after: norm(x + f(x)). */
typedef enum NormPlace { NORM_PRE, NORM_POST, NORM_BOTH, NORM_AFTER } NormPlace;

/* Queries and keys may be normalised before they are rotated: each head for itself, or all heads as one row. */
typedef enum QkNorm { QK_NORM_NONE, QK_NORM_HEAD, QK_NORM_FULL } QkNorm;

typedef enum RopeKind { ROPE_NONE, ROPE_DEFAULT, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3, ROPE_YARN, ROPE_LONGROPE } RopeKind;

/* Angles are position * inv_freq[i], i < R/2, as Hugging Face's modeling_rope_utils defines them for each kind. */
typedef struct RopeTraits {
    RopeKind kind;
    RopeStyle style;
    int rotary_dims; /* R */
    double theta, factor;
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn */
    double attention_factor;                  /* yarn, longrope: multiplies cosines and sines; resolved, never 0 */
    bool truncate;                            /* yarn: correction range rounded to whole dims (true) */
    int original_max_positions;               /* llama3, yarn, dynamic, longrope */
    float *freq_factors; /* [R/2], inv_freq[i] is divided by the i-th (GGUF's rope_freqs.weight; longrope up to the original
                          * positions); NULL: none; owned */
    float *long_factors; /* [R/2], longrope: likewise for longer sequences; owned */
} RopeTraits;

typedef enum MlpKind { MLP_GATED, MLP_PLAIN, MLP_MOE } MlpKind;

typedef struct LayerTraits {
    int window; /* sliding window W, 0: none */
    int rope;   /* index into ModelTraits.ropes, -1: no rotation in this layer */
    MlpKind mlp;
} LayerTraits;

typedef enum ResidualKind {
    RESIDUAL_SEQUENTIAL, /* x += attn(norm(x)); x += mlp(norm(x)): half layers exist */
    RESIDUAL_PARALLEL,   /* x += attn(norm(x)) + mlp(norm'(x)): a layer is one step; .attn and .mlp mean x + that branch */
} ResidualKind;

enum { TRAITS_MAX_ROPES = 4 };

typedef struct ModelTraits {
    char model_type[64];       /* as the file says, for messages only */
    int n_layers;              /* L */
    size_t d_model, d_ff;      /* D, F (of the layers without experts; of one expert where all layers are mixtures) */
    size_t d_expert, d_shared; /* F of one expert, and of the expert that every token takes; 0: none */
    bool shared_gate;          /* the shared expert's output is multiplied by sigmoid of a projection of its input */
    size_t d_embed;            /* width of the embedding and of the head where projections lie between; 0: D */
    int n_heads, n_kv_heads, head_dim;
    size_t vocab;      /* V: rows of the embedding */
    int max_positions; /* max_position_embeddings */
    NormKind norm_kind;
    float norm_eps, norm_weight_offset;
    NormPlace norm_place;
    bool norm_weight, norm_bias; /* the layers' norms have gains (else 1), biases */
    bool embed_norm, final_norm; /* a norm behind the embedding, before the head */
    QkNorm qk_norm;
    NormKind qk_norm_kind;
    float qk_norm_eps;
    ResidualKind residual;
    bool one_norm;                                                /* parallel: both branches read the attention norm's output */
    float residual_multiplier, embedding_multiplier, logit_scale; /* 1 when the model has none */
    float attn_scale, attn_softcap, logit_softcap;                /* scale resolved (1/sqrt(Dh) by default); softcap 0: none */
    float qkv_clip;                                               /* > 0: queries, keys and values are clamped to [-c, c] */
    float *alibi_slopes;                                          /* [H] where positions enter as ALiBi, else NULL; owned */
    bool alibi_bf16;                                              /* as AttnSpec has it */
    ActKind activation;
    RouteSpec route;                                    /* n_experts 0: no mixture */
    bool tied_embeddings;                               /* the head reads the embedding's tensor */
    bool attn_bias, attn_out_bias, mlp_bias, head_bias; /* linear biases: q k v; o; all of the MLP's; the head's */
    bool learned_positions;
    int position_offset; /* added to positions before the learned table (OPT: 2) */
    RopeTraits ropes[TRAITS_MAX_ROPES];
    int n_ropes;
    LayerTraits *layers;    /* [L] */
    int32_t bos_id, eos_id; /* -1: the configuration names none */
    char torch_dtype[16];   /* "bfloat16", or "" */
} ModelTraits;

/* What a tensor is for. QKV and GATE_UP are made of several tensors stacked in the order written. */
typedef enum Role {
    ROLE_ATTN_NORM,
    ROLE_ATTN_NORM_BIAS, /* VECTOR [D] */
    ROLE_QKV,
    ROLE_QKV_BIAS, /* MATRIX [(H+2K)*Dh, D]: q rows, k rows, v rows; VECTOR */
    ROLE_O,
    ROLE_O_BIAS, /* MATRIX [D, H*Dh] */
    ROLE_MLP_NORM,
    ROLE_MLP_NORM_BIAS,
    ROLE_GATE_UP,
    ROLE_GATE_UP_BIAS, /* MLP_GATED: MATRIX [2F, D], gate rows then up rows; MLP_PLAIN: [F, D] */
    ROLE_DOWN,
    ROLE_DOWN_BIAS, /* MATRIX [D, F] */
    ROLE_ROUTER,    /* MATRIX [E, D] */
    ROLE_EXPERT_GATE_UP,
    ROLE_EXPERT_DOWN, /* as GATE_UP and DOWN, one per expert */
    ROLE_SHARED_GATE_UP,
    ROLE_SHARED_DOWN, /* the expert every token takes */
    ROLE_SHARED_GATE, /* MATRIX [1, D] */
    ROLE_Q_NORM,
    ROLE_Q_NORM_BIAS,
    ROLE_K_NORM,
    ROLE_K_NORM_BIAS, /* VECTOR [Dh], or [H*Dh] and [K*Dh] */
    ROLE_ATTN_POST_NORM,
    ROLE_ATTN_POST_NORM_BIAS, /* VECTOR [D]: of attention's output (NORM_AFTER uses ATTN_NORM and MLP_NORM) */
    ROLE_MLP_POST_NORM,
    ROLE_MLP_POST_NORM_BIAS,
    ROLE_LAYER_COUNT,
    /* once per model */
    ROLE_EMBED = ROLE_LAYER_COUNT, /* read from the file by row, never prepared: [V, D] */
    ROLE_POSITIONS,                /* likewise: [P, D] */
    ROLE_PROJECT_IN,               /* MATRIX [D, d_embed] */
    ROLE_EMBED_NORM,
    ROLE_EMBED_NORM_BIAS,
    ROLE_FINAL_NORM,
    ROLE_FINAL_NORM_BIAS,
    ROLE_PROJECT_OUT, /* MATRIX [d_embed, D] */
    ROLE_HEAD,
    ROLE_HEAD_BIAS,
    ROLE_COUNT
} Role;

WeightKind role_kind(Role role);
const char *role_name(Role role); /* "attn.qkv" */
bool role_is_mlp(Role role);      /* belongs to the MLP half of a layer (norm, router and experts included) */

/* Widths that follow from the others. */
size_t traits_embed_width(const ModelTraits *t); /* of a row of the embedding and of the head */
size_t traits_widest_mlp(const ModelTraits *t);  /* F of the widest MLP or expert */
bool traits_has_mlp(const ModelTraits *t, MlpKind kind);

void traits_free(ModelTraits *t); /* frees layers and frequency factors, zeroes; accepts zeroed */

#endif
