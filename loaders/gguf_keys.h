/* gguf_keys.h: typed reads of GGUF metadata with bounds and one sticky error, as hf_config.h reads config.json. A leading '~' of a key
 * stands for the architecture and a dot. A getter does nothing once status is set; what it returns then has no meaning. */
#ifndef STRATA_LOADERS_GGUF_KEYS_H
#define STRATA_LOADERS_GGUF_KEYS_H

#include "loaders/gguf.h"

typedef struct GgufKeys {
    const Gguf *g;
    const char *path, *architecture;
    Error *e;
    int status;
} GgufKeys;

enum { GGUF_KEY_MAX = 128 };

/* Sets the sticky error: "PATH: KEY: " and the text. */
void gguf_keys_fail(GgufKeys *k, const char *key, const char *format, ...) STRATA_PRINTF(3, 4);
bool gguf_keys_has(const GgufKeys *k, const char *key);
/* A whole number in [lo, hi]; an array of them when all are the same. The first is required, the second has a fallback. */
int64_t gguf_keys_integer(GgufKeys *k, const char *key, int64_t lo, int64_t hi);
int64_t gguf_keys_integer_or(GgufKeys *k, const char *key, int64_t lo, int64_t hi, int64_t fallback);
double gguf_keys_number_or(GgufKeys *k, const char *key, double lo, double hi, double fallback);
bool gguf_keys_bool_or(GgufKeys *k, const char *key, bool fallback);
/* Item i of an array of bools or numbers that has n of them; any other value is no such array: false. */
bool gguf_keys_flag_at(GgufKeys *k, const char *key, size_t i, size_t n, bool *out);
/* The string equals one of the words (NULL-terminated): its index, -1 when the key is absent; another word is an error. */
int gguf_keys_word(GgufKeys *k, const char *key, const char *const *words);

#endif
