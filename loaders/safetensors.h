/* safetensors.h: the safetensors container (8-byte little-endian header length, JSON header, data), parsed from (pointer, size)
 * apart from any file, so that it can be fuzzed; and written, for traces and ledgers.
 * https://huggingface.co/docs/safetensors#format */
#ifndef STRATA_LOADERS_SAFETENSORS_H
#define STRATA_LOADERS_SAFETENSORS_H

#include "loaders/tensor_file.h"

/* Parses a whole file image. Tensors point into data. Checked: header length, JSON, dtype, shape product against the byte
 * range, ranges inside the file, no overlap and no hole, no repeated name. file: path for messages. */
int safetensors_parse(const unsigned char *data, size_t size, const char *file, Arena *arena, Tensor **tensors,
                      size_t *n_tensors, Error *e);

/* What a file will hold: name, dtype, shape. Data offsets follow the order given, each aligned by nothing (the format has no
 * padding); put wide dtypes first. */
typedef struct SafetensorsEntry {
    const char *name;
    DType dtype;
    int n_dims;
    size_t shape[TENSOR_MAX_DIMS];
    size_t offset; /* filled by safetensors_header: from the file's beginning */
    size_t size_bytes;
} SafetensorsEntry;

/* Builds length + JSON header (padded with spaces so that data begin at a multiple of 64) into out and fills offsets.
 * metadata: n pairs key, value for "__metadata__", or NULL. */
int safetensors_header(SafetensorsEntry *entries, size_t n, const char *const (*metadata)[2], size_t n_metadata, StrBuf *out,
                       size_t *total_bytes, Error *e);

#endif
