/* round_check.h: whether exact_expf, exact_logf, exact_sinf and exact_cosf give the float nearest to the true value, decided by the C
 * library, whose code is independent of ours. Its f64 value is taken to be within 4 ULP (its authors state below 1): where both ends
 * of that band round to the same float, that float is the answer. Where they do not (some hundred inputs in 2^32), its long
 * double value, taken to be within 2^-61 of itself (4 ULP of x87's 64 bits), decides; what even that leaves open is counted. */
#ifndef STRATA_TESTS_ROUND_CHECK_H
#define STRATA_TESTS_ROUND_CHECK_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/exact/exact_math.h"

enum { ROUND_N_FUNCTIONS = 4 };

typedef struct RoundFunction {
    const char *name;
    float (*ours)(float);
    double (*quick)(double);
    long double (*slow)(long double);
} RoundFunction;

static const RoundFunction round_functions[ROUND_N_FUNCTIONS] = {
    {"exp", exact_expf, exp, expl},
    {"log", exact_logf, log, logl},
    {"sin", exact_sinf, sin, sinl},
    {"cos", exact_cosf, cos, cosl},
};

typedef struct RoundCounts {
    uint64_t checked, close, undecided, wrong;
    uint32_t first_wrong, last_undecided;
} RoundCounts;

static inline void round_check(const RoundFunction *f, uint32_t bits, RoundCounts *counts)
{
    float x = exact_of_bits_f32(bits), got = f->ours(x), low, high;
    double y = f->quick((double)x);
    bool right;
    counts->checked++;
    if (y != y) {
        right = exact_bits_f32(got) == 0x7FC00000u;
    } else {
        double band = isinf(y) ? 0 : fabs(y) * 0x1p-50;
        low = (float)(y - band);
        high = band > 0 ? (float)(y + band) : low; /* -0 + 0 would be +0 */
        if (exact_bits_f32(low) != exact_bits_f32(high)) {
            long double z = f->slow((long double)x), narrow = fabsl(z) * 0x1p-61L;
            counts->close++;
            low = (float)(z - narrow);
            high = (float)(z + narrow);
        }
        if (exact_bits_f32(low) != exact_bits_f32(high)) {
            counts->undecided++;
            counts->last_undecided = bits;
            return;
        }
        right = exact_bits_f32(got) == exact_bits_f32(low);
    }
    if (!right && !counts->wrong++)
        counts->first_wrong = bits;
}

#endif
