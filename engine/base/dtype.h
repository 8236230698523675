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
    DTYPE_Q4_0, /* from here on block formats: their layouts are told in kernels/convert_blocks.c */
    DTYPE_Q4_1,
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_Q8_0,
    DTYPE_Q2_K,
    DTYPE_Q3_K,
    DTYPE_Q4_K,
    DTYPE_Q5_K,
    DTYPE_Q6_K,
    DTYPE_Q8_K,
    DTYPE_IQ4_NL,
    DTYPE_IQ4_XS,
    DTYPE_COUNT
} DType;

const char *dtype_name(DType t);                                     /* "F32" as safetensors spells it; "Q4_1" as GGUF does */
size_t dtype_block_elems(DType t);                                   /* 1, 32 or 256 */
size_t dtype_block_bytes(DType t);                                   /* bytes of one block */
bool dtype_from_name(const char *name, size_t name_len, DType *out); /* safetensors names; false if unknown */

/* Bytes of n elements; false on overflow or when n is not a multiple of the block. */
bool dtype_bytes(DType t, size_t n_elems, size_t *bytes);

/* What a weight of a model may be stored as: F32, F16, BF16 and the block formats; and their names in one line, for errors. */
bool dtype_is_weight(DType t);
#define DTYPE_WEIGHT_NAMES "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ4_NL IQ4_XS"

#endif
