/* family.h: what a family file gives to families.c and family_bind.c: how it reads a configuration, and a table of its tensors. */
#ifndef STRATA_LOADERS_FAMILY_H
#define STRATA_LOADERS_FAMILY_H

#include "loaders/families.h"
#include "loaders/gguf.h"
#include "loaders/hf_config.h"
#include "loaders/tensor_file.h"
#include "loaders/traits.h"

/* A side of a tensor as the traits give it. */
typedef enum Side {
    SIDE_NONE,
    SIDE_D,
    SIDE_Q,   /* H*Dh */
    SIDE_KV,  /* K*Dh */
    SIDE_QKV, /* (H+2K)*Dh */
    SIDE_H,   /* H */
    SIDE_K,   /* K */
    SIDE_DH,  /* Dh */
    SIDE_F,   /* of the layers without experts */
    SIDE_2F,
    SIDE_X, /* F of one expert */
    SIDE_2X,
    SIDE_S, /* F of the shared expert */
    SIDE_2S,
    SIDE_V,
    SIDE_E,
    SIDE_P, /* max_positions + position_offset */
    SIDE_W, /* width of the embedding: D, unless projections lie between */
    SIDE_ONE,
    SIDE_Q_NORM, /* Dh, or H*Dh where all heads are normalised as one row */
    SIDE_K_NORM, /* Dh, or K*Dh */
} Side;

/* How a tensor stores what its role wants. */
typedef enum TensorForm {
    FORM_PLAIN,      /* [outputs, inputs] */
    FORM_TRANSPOSED, /* [inputs, outputs] */
    FORM_QKV_GROUPS, /* rows of queries, keys and values by groups: for each key/value head its H/K query heads, its key, its value */
} TensorForm;

/* What must hold of the model, or of the layer, for a tensor to be there. */
typedef enum RuleWhen {
    WHEN_ALWAYS,
    WHEN_ATTN_BIAS,
    WHEN_ATTN_OUT_BIAS,
    WHEN_MLP_BIAS,
    WHEN_HEAD_BIAS,
    WHEN_UNTIED, /* the head of a model that shares no embedding */
    WHEN_NORM_WEIGHT,
    WHEN_NORM_BIAS,
    WHEN_TWO_NORMS,      /* not a parallel residual with one norm */
    WHEN_TWO_NORMS_BIAS, /* the second norm's bias */
    WHEN_ONE_NORM,
    WHEN_ONE_NORM_BIAS,
    WHEN_QK_NORM,
    WHEN_DENSE,      /* a layer without experts */
    WHEN_DENSE_BIAS, /* its MLP's biases */
    WHEN_MIXTURE,    /* a layer with experts */
    WHEN_SHARED,     /* a mixture's shared expert */
    WHEN_SHARED_GATE,
    WHEN_FINAL_NORM,
    WHEN_FINAL_NORM_BIAS,
    WHEN_PROJECTED, /* the embedding has a width of its own */
    WHEN_LEARNED,   /* learned positions */
    /* of layouts that serve many families */
    WHEN_EMBED_NORM,
    WHEN_NORM_BEFORE, /* each half has a norm before it */
    WHEN_NORM_BEFORE_BIAS,
    WHEN_TWO_NORMS_BEFORE, /* ... and the MLP's is its own */
    WHEN_NORM_BEHIND,      /* each half has a norm behind it */
    WHEN_GATED,            /* a layer without experts whose MLP is gated */
    WHEN_GATED_BIAS,
} RuleWhen;

/* One tensor, or one per layer ({l} in its name), one per layer and expert ({x}), or one per layer and head ({h}). A leading '~'
 * stands for the family's prefix. Rules of the same role follow one another in the order in which their parts are stacked. A
 * three-sided tensor holds all experts: its first side is E, the slice [e] belongs to expert e. */
typedef struct TensorRule {
    const char *name;
    Role role;
    Side sides[3]; /* as the file stores them, slowest first */
    TensorForm form;
    RuleWhen when;
} TensorRule;

/* Rules in the names that most families have taken over from llama. */
#define RULES_EDGES \
    {"~embed_tokens.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~norm.weight", ROLE_FINAL_NORM, {SIDE_D}, FORM_PLAIN, WHEN_NORM_WEIGHT}, \
        {"~norm.bias", ROLE_FINAL_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_NORM_BIAS}, \
    { \
        "lm_head.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_UNTIED \
    }
#define RULES_PRE_NORMS \
    {"~layers.{l}.input_layernorm.weight", ROLE_ATTN_NORM, {SIDE_D}, FORM_PLAIN, WHEN_NORM_WEIGHT}, \
        {"~layers.{l}.input_layernorm.bias", ROLE_ATTN_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_NORM_BIAS}, \
        {"~layers.{l}.post_attention_layernorm.weight", ROLE_MLP_NORM, {SIDE_D}, FORM_PLAIN, WHEN_TWO_NORMS}, \
    { \
        "~layers.{l}.post_attention_layernorm.bias", ROLE_MLP_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_TWO_NORMS_BIAS \
    }
#define RULES_QKV \
    {"~layers.{l}.self_attn.q_proj.weight", ROLE_QKV, {SIDE_Q, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~layers.{l}.self_attn.k_proj.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~layers.{l}.self_attn.v_proj.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~layers.{l}.self_attn.q_proj.bias", ROLE_QKV_BIAS, {SIDE_Q}, FORM_PLAIN, WHEN_ATTN_BIAS}, \
        {"~layers.{l}.self_attn.k_proj.bias", ROLE_QKV_BIAS, {SIDE_KV}, FORM_PLAIN, WHEN_ATTN_BIAS}, \
    { \
        "~layers.{l}.self_attn.v_proj.bias", ROLE_QKV_BIAS, {SIDE_KV}, FORM_PLAIN, WHEN_ATTN_BIAS \
    }
#define RULES_O \
    {"~layers.{l}.self_attn.o_proj.weight", ROLE_O, {SIDE_D, SIDE_Q}, FORM_PLAIN, WHEN_ALWAYS}, \
    { \
        "~layers.{l}.self_attn.o_proj.bias", ROLE_O_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ATTN_OUT_BIAS \
    }
#define RULES_QK_NORM(width_q, width_k) \
    {"~layers.{l}.self_attn.q_norm.weight", ROLE_Q_NORM, {width_q}, FORM_PLAIN, WHEN_QK_NORM}, \
    { \
        "~layers.{l}.self_attn.k_norm.weight", ROLE_K_NORM, {width_k}, FORM_PLAIN, WHEN_QK_NORM \
    }
#define RULES_GATED_MLP \
    {"~layers.{l}.mlp.gate_proj.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_DENSE}, \
        {"~layers.{l}.mlp.up_proj.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_DENSE}, \
        {"~layers.{l}.mlp.gate_proj.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_DENSE_BIAS}, \
        {"~layers.{l}.mlp.up_proj.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_DENSE_BIAS}, \
        {"~layers.{l}.mlp.down_proj.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_DENSE}, \
    { \
        "~layers.{l}.mlp.down_proj.bias", ROLE_DOWN_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_DENSE_BIAS \
    }

/* One way of naming a family's tensors; the first whose probe (a rule's name, at layer and expert 0) is in the file is taken. */
typedef struct TensorLayout {
    const char *probe;
    const TensorRule *rules;
    size_t n_rules;
} TensorLayout;

typedef struct Family {
    const char *name;   /* model_type of config.json, or general.architecture of GGUF */
    const char *prefix; /* '~' in names; a checkpoint of the bare model goes without it */
    const TensorLayout *layouts;
    size_t n_layouts;
    const char *const *redundant;                     /* names that are skipped, {l} allowed; NULL-terminated */
    void (*read_config)(HfConfig *c, ModelTraits *t); /* NULL in GGUF */
    int (*read_gguf)(const Gguf *g, const TensorFile *tensors, const char *path, ModelTraits *t, Error *e); /* or NULL */
} Family;

extern const Family family_llama, family_mistral, family_mixtral, family_gpt2;
extern const Family family_qwen2, family_qwen3, family_qwen2_moe, family_qwen3_moe;
extern const Family family_gemma, family_gemma2, family_gemma3;
extern const Family family_phi, family_phi3;
extern const Family family_olmo, family_olmo2, family_olmo3, family_olmoe;
extern const Family family_stablelm, family_starcoder2, family_nemotron, family_arcee, family_persimmon;
extern const Family family_granite, family_granitemoe, family_granitemoeshared;
extern const Family family_cohere, family_cohere2, family_smollm3, family_exaone4;
extern const Family family_seed_oss, family_ministral, family_helium, family_ernie4_5, family_glm, family_glm4;
extern const Family family_gpt_neox, family_gptj, family_gpt_neo, family_gpt_bigcode, family_opt;
extern const Family family_bloom, family_mpt, family_falcon;
/* By general.architecture of a GGUF file. */
extern const Family family_gguf[];
extern const size_t family_gguf_count;

/* The error for a name that none of the families (names [n]) has: the nearest of them, and what it lacks where that is known. */
int family_unknown(const char *const *names, size_t n, const char *path, const char *key, const char *name, Error *e);

/* Limits on what a configuration may say, so that products of a few fit size_t with room to spare. */
enum {
    FAMILY_MAX_LAYERS = 100000,
    FAMILY_MAX_WIDTH = 1 << 20, /* D, heads, head dim */
    FAMILY_MAX_FF = 1 << 24,
    FAMILY_MAX_VOCAB = 1 << 27,
    FAMILY_MAX_EXPERTS = 4096,
    FAMILY_MAX_POSITIONS = 1 << 30,
};

/* How a decoder whose configuration has llama's key names differs from llama: the defaults of its class in transformers. Zero means
 * as in llama. */
typedef struct DecoderDefaults {
    const char *eps_key;    /* "rms_norm_eps" */
    double eps;             /* 1e-6 */
    NormKind norm_kind;     /* NORM_RMS */
    const char *act_key;    /* "hidden_act" */
    ActKind activation;     /* ACT_SILU */
    double rope_theta;      /* 10000; below 0: no rotary positions */
    int original_positions; /* of longrope, unless the configuration says; 0: max_positions */
    bool knows_su;          /* longrope by its older name */
    double partial;         /* fraction of a head that is rotated, where the family knows such a fraction; 0: all, always */
    const char *theta_key, *partial_key; /* rope_theta, partial_rotary_factor */
    bool null_is_whole;                  /* of partial_key: null rotates the whole head; else it is an error */
    bool interleaved;                    /* pairs (2i, 2i + 1) are rotated */
    int max_positions;                   /* 2048 */
    int absent_kv_heads;                 /* 0: as many as heads */
    int head_dim;                        /* 0: D / H */
    bool tied;                           /* tie_word_embeddings */
    int bos_id, eos_id;                  /* 0: 1 and 2; -1: none */
} DecoderDefaults;
void family_decoder_read(HfConfig *c, const DecoderDefaults *defaults, ModelTraits *t);

/* The shape of an older family, under key names of its own: multi-head attention, LayerNorms and linear maps with biases. */
void family_shape(HfConfig *c, const char *layers_key, const char *width_key, const char *heads_key, ModelTraits *t);

/* The slopes of ALiBi for t->n_heads heads, each multiplied by scale: 2^(-most i/n), i = 1.., n the power of two below, odd
 * powers of the double as many behind them. The error is sticky. */
void family_alibi(HfConfig *c, double most, double scale, ModelTraits *t);

/* The same without a configuration: false when memory is out. */
bool family_fill_alibi(ModelTraits *t, double most, double scale);

/* transformers unties a head that lies in the file with other values than the embedding, whatever the configuration says: sets
 * t->tied_embeddings accordingly. */
void family_resolve_tie(const Family *family, const TensorFile *f, ModelTraits *t);
/* family_bind (families.h) once the family is found; *out is zeroed. */
int family_bind_tensors(const Family *family, const ModelTraits *traits, const TensorFile *tensors, ModelBindings *out,
                        Error *e);

/* Sets all [L] layers alike; L from t->n_layers. False when memory is out. */
bool family_fill_layers(ModelTraits *t, LayerTraits layer);
/* The same for a configuration, with the error set. */
void family_layers(HfConfig *c, LayerTraits layer, ModelTraits *t);
/* The second key where only that is there, else the first. */
const char *family_key(const HfConfig *c, const char *first, const char *second);
/* Whether layer_types says sliding_attention (not full_attention) of a layer, which takes a window; `absent` without such a list. */
bool family_slides(HfConfig *c, const ModelTraits *t, int layer, int window, bool absent);
/* A number above 0 whose absence means the class's default and whose null means none, which is 0. */
float family_optional(HfConfig *c, const char *key, double absent);
/* The mixture of t->d_expert wide experts: keys of their number and of the choices a token makes. */
void family_mixture(HfConfig *c, const char *experts_key, int absent_experts, const char *top_k_key, int absent_top_k,
                    bool normalise, ModelTraits *t);
/* Traits that most models share: multipliers of 1, no caps, ids unknown. */
void family_begin_traits(ModelTraits *t, const char *model_type);

#endif
