/* rng.h: PCG64 (PCG XSL-RR 128/64, O'Neill 2014), the one generator of shuffles and resamples, so that numpy can repeat them:
 *   bg = numpy.random.PCG64(); bg.state = {"bit_generator": "PCG64", "state": {"state": S, "inc": I}, "has_uint32": 0, "uinteger": 0}
 * Seeding: I = 2*stream + 1 (128 bit); S = 0; step; S += seed; step (the reference pcg_setseq_128_srandom).
 * A step is S = S * 0x2360ed051fc65da44385df649fccf645 + I (mod 2^128); the output is taken after the step:
 * rotate_right64(hi(S) ^ lo(S), S >> 122). */
#ifndef STRATA_BASE_RNG_H
#define STRATA_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct Rng {
    uint64_t state_hi, state_lo, inc_hi, inc_lo;
} Rng;

void rng_seed(Rng *r, uint64_t seed, uint64_t stream);
uint64_t rng_next(Rng *r);
/* Uniform in [0, n), n >= 1: x = next(); while x >= 2^64 - (2^64 mod n) draw again; x mod n. */
uint64_t rng_below(Rng *r, uint64_t n);
double rng_uniform(Rng *r); /* (next() >> 11) * 2^-53 */
double rng_normal(Rng *r);  /* Box-Muller, cosine branch, two uniforms a draw, u1 taken as 1 - uniform */
/* Fisher-Yates: for i = n-1 down to 1: swap items[i] and items[below(i+1)]. */
void rng_shuffle(Rng *r, int32_t *items, size_t n);

#endif
