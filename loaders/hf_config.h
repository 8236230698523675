/* hf_config.h: config.json of a Hugging Face model: typed reads with bounds, defaults of the model's class, and one sticky error, so
 * that a family reads as a list. A getter does nothing once status is set; what it returns then has no meaning.
 *
 * Every key that can change a result is either read by the family, or must have a value that is harmless: one that the family
 * lists (hf_config_expect), or hf_config_finish knows, which looks at all keys that no getter has read. Keys that only matter to
 * training, generation or the tool that wrote the file are ignored. */
#ifndef STRATA_LOADERS_HF_CONFIG_H
#define STRATA_LOADERS_HF_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/json.h"
#include "loaders/traits.h"

typedef struct HfConfig {
    char *path; /* in the arena */
    const JsonValue *root;
    Arena arena;
    bool *read; /* [root->len]: a getter has looked at the key; in the arena */
    int status;
    Error *e;
} HfConfig;

int hf_config_open(const char *path, HfConfig *out, Error *e);
void hf_config_close(HfConfig *c);

/* Sets the sticky error: "PATH: KEY: " and the text. Returns the status. */
int hf_config_fail(HfConfig *c, const char *key, const char *format, ...) STRATA_PRINTF(3, 4);

bool hf_config_has(const HfConfig *c, const char *key); /* present and not null */
/* A whole number in [lo, hi]. The first is required; the second returns fallback when the key is absent or null. */
int64_t hf_config_int(HfConfig *c, const char *key, int64_t lo, int64_t hi);
int64_t hf_config_int_or(HfConfig *c, const char *key, int64_t lo, int64_t hi, int64_t fallback);
double hf_config_number_or(HfConfig *c, const char *key, double lo, double hi, double fallback);
bool hf_config_bool_or(HfConfig *c, const char *key, bool fallback);
/* A token id: fallback when absent, -1 when null; of a list the first. */
int32_t hf_config_token_or(HfConfig *c, const char *key, int32_t fallback);
/* The activation's name as ACT2FN of transformers knows it. */
ActKind hf_config_activation_or(HfConfig *c, const char *key, ActKind fallback);
/* torch_dtype or dtype, "" when neither is there. */
void hf_config_dtype(HfConfig *c, char out[16]);

/* A key whose listed values leave the arithmetic as we have it. */
typedef struct HfHarmless {
    const char *key;
    const char *values; /* JSON words with a bar between: "null|false|0"; absent is always fine */
} HfHarmless;
void hf_config_expect(HfConfig *c, const HfHarmless *list, size_t n);
/* After the family has read all it knows: an error for every key left that another family's arithmetic has. */
void hf_config_finish(HfConfig *c);

/* Entry i of a list: which of the words (NULL-terminated) it is, -1 when the key is absent or null. An unknown word or a list of
 * another length than n is an error. */
int hf_config_word_at(HfConfig *c, const char *key, const char *const *words, int i, int n);
/* Likewise a whole number, fallback when the key is absent or null. */
int64_t hf_config_int_at(HfConfig *c, const char *key, int i, int n, int64_t lo, int64_t hi, int64_t fallback);
/* Whether a list of whole numbers holds i; false when it is absent or null. */
bool hf_config_lists(HfConfig *c, const char *key, int i);
/* The object under a key becomes the configuration, as text_config of a model with more than text. */
void hf_config_enter(HfConfig *c, const char *key);

/* RoPE in both dialects (rope_parameters; rope_theta beside rope_scaling with type or rope_type), resolved as transformers does. */
typedef struct HfRope {
    int head_dim, max_positions;
    double theta;            /* the class's default */
    double partial;          /* default fraction of the head that is rotated; 0: all of it, and no fraction may be given */
    int original_positions;  /* the class's default; 0: max_positions */
    const char *theta_key;   /* "rope_theta" when NULL */
    const char *partial_key; /* "partial_rotary_factor" when NULL */
    bool null_is_whole;      /* of partial_key: null rotates the whole head */
    const char *layer_type;  /* rope_parameters may hold one object for each type of layer: which; or NULL */
    bool ignores_scaling;    /* rope_scaling is another layer type's */
    bool knows_su;           /* the class takes longrope's older name */
} HfRope;
void hf_config_rope_as(HfConfig *c, const HfRope *defaults, RopeTraits *out);
void hf_config_rope(HfConfig *c, int head_dim, int max_positions, double default_theta, RopeTraits *out);

#endif
