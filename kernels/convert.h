/* convert.h: file elements to f32. bf16 and f16 widen exactly; block formats follow GGUF's formulas (convert_blocks.c). */
#ifndef STRATA_KERNELS_CONVERT_H
#define STRATA_KERNELS_CONVERT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/ops.h"

/* One logical row r of a part into out[0 .. cols). */
void convert_row_f32(const WeightPart *part, size_t row, float *out);
/* n elements that lie one after another (n a multiple of the block). */
void convert_f32(DType dtype, const void *src, size_t n, float *out);

/* n_blocks blocks of a block format, as convert_f32 does them. */
void convert_blocks_f32(DType dtype, const void *src, size_t n_blocks, float *out);
/* No scale of these blocks is NaN or infinite. */
bool convert_blocks_finite(DType dtype, const void *src, size_t n_blocks);

float convert_f16_to_f32(uint16_t h);
uint16_t convert_f32_to_f16(float x); /* round to nearest even */
float convert_bf16_to_f32(uint16_t h);
uint16_t convert_f32_to_bf16(float x); /* round to nearest even; NaN stays NaN */

#endif
