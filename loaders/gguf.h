/* gguf.h: GGUF v2 and v3 (little-endian), parsed from (pointer, size): key-value metadata and tensor infos.
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
#ifndef STRATA_LOADERS_GGUF_H
#define STRATA_LOADERS_GGUF_H

#include <stdbool.h>

#include "loaders/tensor_file.h"

typedef enum GgufType {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
} GgufType;

typedef struct GgufString {
    const char *s; /* not terminated, may hold NUL */
    size_t len;
} GgufString;

typedef struct GgufValue {
    const char *key;
    GgufType type;
    union {
        uint64_t u;
        int64_t i;
        double f;
        bool b;
        GgufString string;
    } as;
    GgufType array_type; /* GGUF_ARRAY: strings, or numbers and bools (nested arrays are an error) */
    size_t array_len;
    const GgufString *strings;  /* array of strings */
    const unsigned char *items; /* array of numbers: raw, possibly unaligned */
} GgufValue;

typedef struct Gguf {
    GgufValue *values;
    size_t n_values;
} Gguf;

int gguf_parse(const unsigned char *data, size_t size, const char *file, Arena *arena, Gguf **out, Tensor **tensors,
               size_t *n_tensors, Error *e);
const GgufValue *gguf_get(const Gguf *g, const char *key);
bool gguf_number(const Gguf *g, const char *key, double *out); /* any numeric type */
bool gguf_integer(const Gguf *g, const char *key, int64_t *out);
bool gguf_bool(const Gguf *g, const char *key, bool *out);
bool gguf_string(const Gguf *g, const char *key, GgufString *out);
double gguf_array_number(const GgufValue *v, size_t i);
int64_t gguf_array_integer(const GgufValue *v, size_t i);

#endif
