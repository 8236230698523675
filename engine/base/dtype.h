/* dtype.h: element types of files and of activations. Block-quantised types (GGUF) have blocks of dtype_block_elems
 * elements along the fastest axis, dtype_block_bytes each; plain types have blocks of one element. */
#ifndef STRATA_BASE_DTYPE_H
#define STRATA_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>

typedef enum DType {
    DTYPE_NONE,
    DTYPE_F64,
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I64,
    DTYPE_I32,
    DTYPE_I16,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_BOOL,
    DTYPE_Q4_0, /* 32 elements: f16 d, 16 bytes of nibbles */
    DTYPE_Q4_1, /* 32 elements: f16 d, f16 m, 16 bytes of nibbles */
    DTYPE_Q8_0, /* 32 elements: f16 d, 32 int8 */
    DTYPE_COUNT
} DType;

const char *dtype_name(DType t);                                     /* "F32" as safetensors spells it; "Q4_1" as GGUF does */
size_t dtype_block_elems(DType t);                                   /* 1, or 32 */
size_t dtype_block_bytes(DType t);                                   /* bytes of one block */
bool dtype_from_name(const char *name, size_t name_len, DType *out); /* safetensors names; false if unknown */

/* Bytes of n elements; false on overflow or when n is not a multiple of the block. */
bool dtype_bytes(DType t, size_t n_elems, size_t *bytes);

#endif
