/* rng.c: PCG64 (see rng.h for the formulas), in 128-bit integers. */
#include "engine/base/rng.h"

#include <math.h>

__extension__ typedef unsigned __int128 U128;

static U128 join(uint64_t hi, uint64_t lo)
{
    return (U128)hi << 64 | lo;
}

static U128 step(Rng *r, U128 add)
{
    const U128 multiplier = join(0x2360ed051fc65da4u, 0x4385df649fccf645u);
    U128 s = (join(r->state_hi, r->state_lo) + add) * multiplier + join(r->inc_hi, r->inc_lo);
    r->state_hi = (uint64_t)(s >> 64);
    r->state_lo = (uint64_t)s;
    return s;
}

void rng_seed(Rng *r, uint64_t seed, uint64_t stream)
{
    *r = (Rng){.inc_hi = stream >> 63, .inc_lo = stream << 1 | 1};
    step(r, 0);
    step(r, seed);
}

uint64_t rng_next(Rng *r)
{
    U128 s = step(r, 0);
    uint64_t x = (uint64_t)(s >> 64) ^ (uint64_t)s;
    unsigned turn = (unsigned)(s >> 122);
    return x >> turn | x << (-turn & 63);
}

uint64_t rng_below(Rng *r, uint64_t n)
{
    uint64_t excess = -n % n; /* 2^64 mod n */
    uint64_t x;
    do
        x = rng_next(r);
    while (x > UINT64_MAX - excess); /* the last `excess` values would favour small results */
    return x % n;
}

double rng_uniform(Rng *r)
{
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}

double rng_normal(Rng *r)
{
    double u1 = 1.0 - rng_uniform(r); /* in (0, 1]: the logarithm is finite */
    double u2 = rng_uniform(r);
    return sqrt(-2.0 * log(u1)) * cos(6.283185307179586476925286766559 * u2);
}

void rng_shuffle(Rng *r, int32_t *items, size_t n)
{
    for (size_t i = n; i-- > 1;) {
        size_t j = (size_t)rng_below(r, (uint64_t)i + 1);
        int32_t t = items[i];
        items[i] = items[j];
        items[j] = t;
    }
}
