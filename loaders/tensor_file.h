/* tensor_file.h: a model's tensors by name, whatever the container: one safetensors file, several named by
 * model.safetensors.index.json, or GGUF. Files stay mapped read-only until tensor_file_close. Every offset, shape and size was
 * checked against the file before open returns; tensors of one file never overlap. */
#ifndef STRATA_LOADERS_TENSOR_FILE_H
#define STRATA_LOADERS_TENSOR_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/dtype.h"
#include "engine/base/error.h"
#include "engine/base/file.h"

enum { TENSOR_MAX_DIMS = 8 };

typedef struct Tensor {
    const char *name;
    DType dtype;
    int n_dims;
    size_t shape[TENSOR_MAX_DIMS]; /* row-major, slowest first (GGUF's order reversed) */
    const void *data;              /* inside a map */
    size_t size_bytes;
    const char *file; /* path, for messages */
} Tensor;

typedef struct TensorFile {
    Tensor *tensors; /* sorted by name */
    size_t n_tensors;
    FileMap *maps;
    char **paths; /* of the maps */
    size_t n_maps;
    struct Gguf *gguf; /* metadata of a GGUF file, else NULL */
    Arena arena;
} TensorFile;

/* dir_or_file: a model directory (safetensors), one .safetensors file, or a .gguf file. consolidated*.safetensors are ignored.
 * .bin-only or incomplete directories get an error that says what to do. */
int tensor_file_open(const char *dir_or_file, TensorFile *out, Error *e);
void tensor_file_close(TensorFile *f); /* accepts zeroed and half-built */
const Tensor *tensor_file_find(const TensorFile *f, const char *name);

#endif
