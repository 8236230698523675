/* exact_canon.h: the operations of a forward pass in numerics v1, one after another in plain code, for host and device. This is the
 * definition: the vector kernels must give the same bits (tests/test_exact.c), and a device backend calls these or does the same.
 *
 * Sums. K is cut into segments of EXACT_SEGMENT terms from its first one on; a segment is one ascending chain of f64 fused
 * multiply-adds that begins with +0; the segments' sums are added in ascending order. Nothing else splits a sum, so neither the batch
 * nor threads, tiles, or vector widths can touch a result. Terms that are left out (masked keys) leave the borders where they are.
 * Inputs widen exactly, everything between is f64, results are rounded once, by exact_store_f32 (exact) or not at all (ref64).
 *
 * The _f32 functions read f32 arrays (table cpu/exact), the _f64 ones f64 arrays (cpu/ref64): exact_canon.inc holds their text. */
#ifndef STRATA_KERNELS_EXACT_CANON_H
#define STRATA_KERNELS_EXACT_CANON_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/exact/exact_math.h"

#define EXACT_VERSION "v1" /* stamped into every result; any change of a bit is a new version */

enum { EXACT_SEGMENT = 256 };

typedef enum ExactAct { EXACT_SILU, EXACT_GELU_TANH, EXACT_GELU_ERF, EXACT_RELU, EXACT_RELU2 } ExactAct;

EXACT_FN double exact_act(double x, ExactAct act)
{
    switch (act) {
    case EXACT_SILU:
        return exact_silu(x);
    case EXACT_GELU_TANH:
        return exact_gelu_tanh(x);
    case EXACT_GELU_ERF:
        return x == -EXACT_INFINITY ? -0.0 : x * exact_normal_cdf(x);
    case EXACT_RELU:
        return x > 0.0 ? x : x * 0.0;
    case EXACT_RELU2:
        return x > 0.0 ? x * x : x * 0.0;
    }
    return x;
}

EXACT_FN double exact_softcap(double z, double cap)
{
    return cap * exact_tanh(z / cap);
}

/* A score as attention makes it of q.k: scaled, capped, with ALiBi's slope times the distance k - q added. For Falcon's ALiBi slope
 * is exact_bf16_alibi() and distance 1. */
EXACT_FN double exact_score(double dot, double scale, double cap, double slope, double distance)
{
    double z = dot * scale;
    if (cap > 0.0)
        z = exact_softcap(z, cap);
    return slope != 0.0 ? fma(slope, distance, z) : z;
}

EXACT_FN float exact_bf16(float x) /* the nearest bfloat16, ties to even; finite x */
{
    uint32_t b = exact_bits_f32(x);
    return exact_of_bits_f32((b + 0x7FFFu + (b >> 16 & 1)) & 0xFFFF0000u);
}

/* Falcon's ALiBi for the key at a position: scale * bf16(bf16(slope) * bf16(key)), products in f32. */
EXACT_FN double exact_bf16_alibi(float scale, float slope, int key)
{
    return (double)(scale * exact_bf16(exact_bf16(slope) * exact_bf16((float)key)));
}

/* The rotation of RoPE; for f32 inputs the products are exact. */
EXACT_FN void exact_rotate(double a, double b, double cosine, double sine, double *first, double *second)
{
    *first = fma(a, cosine, -(b * sine));
    *second = fma(b, cosine, a * sine);
}

#define EXACT_T float
#define EXACT_F(name) exact_##name##_f32
#include "kernels/exact/exact_canon.inc"
#undef EXACT_T
#undef EXACT_F
#define EXACT_T double
#define EXACT_F(name) exact_##name##_f64
#include "kernels/exact/exact_canon.inc"
#undef EXACT_T
#undef EXACT_F

#endif
