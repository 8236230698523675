/* dtype.c: the table of element types. Sizes of the block formats: ggml's (ggml-common.h). */
#include "engine/base/dtype.h"

#include <string.h>

#include "engine/base/checked.h"

typedef struct TypeInfo {
    const char *name;
    size_t block_elems, block_bytes;
    bool in_safetensors;
} TypeInfo;

static const TypeInfo types[DTYPE_COUNT] = {
    [DTYPE_NONE] = {"none", 1, 0, false},
    [DTYPE_F64] = {"F64", 1, 8, true},
    [DTYPE_F32] = {"F32", 1, 4, true},
    [DTYPE_F16] = {"F16", 1, 2, true},
    [DTYPE_BF16] = {"BF16", 1, 2, true},
    [DTYPE_I64] = {"I64", 1, 8, true},
    [DTYPE_I32] = {"I32", 1, 4, true},
    [DTYPE_I16] = {"I16", 1, 2, true},
    [DTYPE_I8] = {"I8", 1, 1, true},
    [DTYPE_U8] = {"U8", 1, 1, true},
    [DTYPE_BOOL] = {"BOOL", 1, 1, true},
    [DTYPE_Q4_0] = {"Q4_0", 32, 18, false},
    [DTYPE_Q4_1] = {"Q4_1", 32, 20, false},
    [DTYPE_Q5_0] = {"Q5_0", 32, 22, false},
    [DTYPE_Q5_1] = {"Q5_1", 32, 24, false},
    [DTYPE_Q8_0] = {"Q8_0", 32, 34, false},
    [DTYPE_Q2_K] = {"Q2_K", 256, 84, false},
    [DTYPE_Q3_K] = {"Q3_K", 256, 110, false},
    [DTYPE_Q4_K] = {"Q4_K", 256, 144, false},
    [DTYPE_Q5_K] = {"Q5_K", 256, 176, false},
    [DTYPE_Q6_K] = {"Q6_K", 256, 210, false},
    [DTYPE_Q8_K] = {"Q8_K", 256, 292, false},
    [DTYPE_IQ4_NL] = {"IQ4_NL", 32, 18, false},
    [DTYPE_IQ4_XS] = {"IQ4_XS", 256, 136, false},
};

static const TypeInfo *info_of(DType t)
{
    return (unsigned)t < DTYPE_COUNT ? &types[t] : &types[DTYPE_NONE];
}

const char *dtype_name(DType t)
{
    return info_of(t)->name;
}

size_t dtype_block_elems(DType t)
{
    return info_of(t)->block_elems;
}

size_t dtype_block_bytes(DType t)
{
    return info_of(t)->block_bytes;
}

bool dtype_from_name(const char *name, size_t name_len, DType *out)
{
    for (unsigned t = 0; t < DTYPE_COUNT; t++) {
        if (types[t].in_safetensors && strlen(types[t].name) == name_len && memcmp(types[t].name, name, name_len) == 0) {
            *out = (DType)t;
            return true;
        }
    }
    return false;
}

bool dtype_bytes(DType t, size_t n_elems, size_t *bytes)
{
    const TypeInfo *info = info_of(t);
    if (info->block_bytes == 0 || n_elems % info->block_elems != 0)
        return false;
    return checked_mul(n_elems / info->block_elems, info->block_bytes, bytes);
}

bool dtype_is_weight(DType t)
{
    return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16 || (t >= DTYPE_Q4_0 && t < DTYPE_COUNT);
}
