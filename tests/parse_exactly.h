/* parse_exactly.h: hostile model files are parsed from blocks of exactly their size, so that a sanitizer sees any read beyond. */
#ifndef STRATA_TESTS_PARSE_EXACTLY_H
#define STRATA_TESTS_PARSE_EXACTLY_H

#include "loaders/gguf.h"
#include "loaders/safetensors.h"
#include "tests/test.h"

typedef enum Kind { SAFETENSORS, GGUF } Kind;

/* Parses a copy in a block of exactly `size` bytes. */
static inline int parse_exactly(Kind kind, const void *data, size_t size, Error *e)
{
    unsigned char *copy = malloc(size ? size : 1);
    if (!copy)
        return STATUS_FAILED;
    if (size)
        memcpy(copy, data, size);
    Arena arena = {0};
    Tensor *tensors;
    Gguf *g;
    size_t n;
    int status = kind == GGUF ? gguf_parse(copy, size, "file", &arena, &g, &tensors, &n, e)
                              : safetensors_parse(copy, size, "file", &arena, &tensors, &n, e);
    if (!status) { /* what was promised to be inside is inside */
        unsigned sum = 0;
        for (size_t i = 0; i < n; i++)
            if (tensors[i].size_bytes)
                sum += ((const unsigned char *)tensors[i].data)[0] +
                       ((const unsigned char *)tensors[i].data)[tensors[i].size_bytes - 1];
        CHECK(sum < 1u << 30);
    } else {
        CHECK(e->text[0] && !strchr(e->text, '\n'));
    }
    arena_free(&arena);
    free(copy);
    return status;
}

#endif
