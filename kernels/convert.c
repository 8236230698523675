/* convert.c: file elements to f32, one after another. Plain loops: the vector versions of the kernels rooms are tested against
 * these. */
#include "kernels/convert.h"

#include <string.h>

static inline uint16_t load_u16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline float float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t bits_of_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

float convert_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 0x3FFu;
    if (exponent == 31) /* infinity or NaN, its payload kept */
        return float_of_bits(sign | 0x7F800000u | fraction << 13);
    if (exponent == 0) /* zero or subnormal: fraction * 2^-24, exact in f32 */
        return float_of_bits(sign | bits_of_float((float)fraction * 0x1p-24f));
    return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t convert_f32_to_f16(float x)
{
    uint32_t bits = bits_of_float(x), magnitude = bits & 0x7FFFFFFFu;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    if (magnitude > 0x7F800000u) /* NaN: quiet, the upper payload kept */
        return (uint16_t)(sign | 0x7E00u | (magnitude >> 13 & 0x1FFu));
    if (magnitude >= 0x477FF000u) /* 65520 = half way from the largest finite to 2^16: ties go up, to the even code */
        return (uint16_t)(sign | 0x7C00u);
    if (magnitude < 0x38800000u) { /* below 2^-14: subnormal; adding 0.5 lets the f32 unit round at 2^-24 */
        float shifted = float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of_float(shifted) - bits_of_float(0.5f)));
    }
    uint32_t odd = magnitude >> 13 & 1u;
    return (uint16_t)(sign | ((magnitude - (112u << 23) + 0xFFFu + odd) >> 13));
}

float convert_bf16_to_f32(uint16_t h)
{
    return float_of_bits((uint32_t)h << 16);
}

uint16_t convert_f32_to_bf16(float x)
{
    uint32_t bits = bits_of_float(x);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

void convert_f32(DType dtype, const void *src, size_t n, float *out)
{
    const unsigned char *p = src;
    switch (dtype) {
    case DTYPE_F32:
        if (n)
            memcpy(out, src, n * sizeof *out);
        return;
    case DTYPE_F16:
        for (size_t i = 0; i < n; i++)
            out[i] = convert_f16_to_f32(load_u16(p + 2 * i));
        return;
    case DTYPE_BF16:
        for (size_t i = 0; i < n; i++)
            out[i] = convert_bf16_to_f32(load_u16(p + 2 * i));
        return;
    default:
        convert_blocks_f32(dtype, src, n / dtype_block_elems(dtype), out);
        return;
    }
}

void convert_row_f32(const WeightPart *part, size_t row, float *out)
{
    const unsigned char *p = part->data;
    size_t block = dtype_block_elems(part->dtype), block_bytes = dtype_block_bytes(part->dtype);
    if (!part->transposed) {
        convert_f32(part->dtype, p + row * part->stride / block * block_bytes, part->cols, out);
        return;
    }
    for (size_t c = 0; c < part->cols; c++)
        convert_f32(part->dtype, p + (c * part->stride + row) * block_bytes, 1, out + c);
}
