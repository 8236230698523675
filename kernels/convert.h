/* convert.h: file elements to f32. bf16 and f16 widen exactly; block formats follow GGUF's formulas:
 *   Q4_0: x = d * (nibble - 8)     Q4_1: x = d * nibble + m     Q8_0: x = d * q
 * with elements 0..15 of a block in the low nibbles and 16..31 in the high ones, d and m being f16. Products are taken in f32
 * (d widened first), as ggml does: bit for bit the same values. */
#ifndef STRATA_KERNELS_CONVERT_H
#define STRATA_KERNELS_CONVERT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/ops.h"

/* One logical row r of a part into out[0 .. cols). */
void convert_row_f32(const WeightPart *part, size_t row, float *out);
/* n elements that lie one after another (n a multiple of the block). */
void convert_f32(DType dtype, const void *src, size_t n, float *out);

float convert_f16_to_f32(uint16_t h);
uint16_t convert_f32_to_f16(float x); /* round to nearest even */
float convert_bf16_to_f32(uint16_t h);
uint16_t convert_f32_to_bf16(float x); /* round to nearest even; NaN stays NaN */

#endif
