/* hollow_model.h: model folders whose weights take no bytes on the disk: config.json as it should be, model.safetensors a header and a hole of
 * the right length. For benchmarks, which fill the weights on the device. */
#ifndef STRATA_BENCH_HOLLOW_MODEL_H
#define STRATA_BENCH_HOLLOW_MODEL_H

#include <stdbool.h>
#include <stddef.h>

/* experts 0: a Llama; else a Mixtral with so many, two a token. Matrices and vectors are BF16. */
typedef struct Shape {
    const char *name;
    size_t layers, d, f, heads, kv_heads, head_dim, vocab, experts;
} Shape;

bool hollow_model_make(const Shape *s, const char *folder); /* into a folder that is there; false: cannot be written */
void hollow_model_remove(const char *folder);               /* the files and the folder */

#endif
