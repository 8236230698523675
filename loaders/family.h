/* family.h: what a family file gives to families.c: how it reads a configuration, and a table of its tensors. */
#ifndef STRATA_LOADERS_FAMILY_H
#define STRATA_LOADERS_FAMILY_H

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
    SIDE_F,
    SIDE_2F,
    SIDE_V,
    SIDE_E,
    SIDE_P, /* max_positions + position_offset */
} Side;

typedef enum RuleWhen {
    WHEN_ALWAYS,
    WHEN_ATTN_BIAS,
    WHEN_ATTN_OUT_BIAS,
    WHEN_MLP_BIAS,
    WHEN_UNTIED, /* the head of a model that shares no embedding */
} RuleWhen;

/* One tensor, or one per layer ({l} in its name), or one per layer and expert ({x}). A leading '~' stands for the family's
 * prefix. Rules of the same role follow one another in the order in which their parts are stacked. A three-sided tensor holds
 * all experts: its first side is E, the slice [e] belongs to expert e. */
typedef struct TensorRule {
    const char *name;
    Role role;
    Side sides[3];   /* as the file stores them, slowest first */
    bool transposed; /* stored [inputs, outputs] */
    RuleWhen when;
} TensorRule;

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

extern const Family family_llama, family_mistral, family_mixtral, family_gpt2, family_gguf_llama;

/* Limits on what a configuration may say, so that products of a few fit size_t with room to spare. */
enum {
    FAMILY_MAX_LAYERS = 100000,
    FAMILY_MAX_WIDTH = 1 << 20, /* D, heads, head dim */
    FAMILY_MAX_FF = 1 << 24,
    FAMILY_MAX_VOCAB = 1 << 27,
    FAMILY_MAX_EXPERTS = 4096,
    FAMILY_MAX_POSITIONS = 1 << 30,
};

/* The part that llama, mistral and mixtral share, with the defaults of transformers' classes. */
typedef struct LlamaDefaults {
    double rms_norm_eps, rope_theta;
    int max_positions;
    int absent_kv_heads; /* 0: as many as heads */
} LlamaDefaults;
void family_llama_read(HfConfig *c, const LlamaDefaults *defaults, ModelTraits *t);

/* Sets all [L] layers alike; L from t->n_layers. False when memory is out. */
bool family_fill_layers(ModelTraits *t, LayerTraits layer);
/* Traits that most models share: multipliers of 1, no caps, ids unknown. */
void family_begin_traits(ModelTraits *t, const char *model_type);

#endif
