/* exact_math.h: the elementary functions of numerics v1, for host and device: gcc, clang and nvcc compile this text, and since it
 * holds IEEE additions, products, divisions and explicit fused multiply-adds in a fixed order only, all of them give the same bits
 * (-ffp-contract=off; nvcc -fmad=false). No libm function but fma() and sqrt(), both exact by IEEE 754.
 *
 * In f64: exact_exp, exact_log, exact_sincos (every finite x), exact_pow, exact_normal_cdf, and exact_sigmoid, exact_silu,
 * exact_gelu_tanh, exact_tanh; errors of about an ULP of f64, exact_normal_cdf and exact_tanh absolute.
 * In f32: exact_expf, exact_logf, exact_sinf, exact_cosf, each the correctly rounded value: `make prove` checks all 2^32 inputs.
 * log, sin and cos come in two parts for this: a lone f64 that lies in the middle between two floats would not tell to which it
 * belongs (the proof found 5 such inputs of log). */
#ifndef STRATA_KERNELS_EXACT_MATH_H
#define STRATA_KERNELS_EXACT_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define STRATA_HD __host__ __device__
#else
#define STRATA_HD
#endif
#define EXACT_FN static STRATA_HD inline

EXACT_FN uint64_t exact_bits(double x)
{
    uint64_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

EXACT_FN double exact_of_bits(uint64_t b)
{
    double x;
    memcpy(&x, &b, sizeof x);
    return x;
}

EXACT_FN uint32_t exact_bits_f32(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

EXACT_FN float exact_of_bits_f32(uint32_t b)
{
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}

#define EXACT_INFINITY ((double)INFINITY)

/* What is written to memory: one rounding, and one NaN (positive, quiet, no payload), whatever the processor made. */
EXACT_FN float exact_store_f32(double x)
{
    return x == x ? (float)x : exact_of_bits_f32(0x7FC00000u);
}

EXACT_FN double exact_store_f64(double x)
{
    return x == x ? x : exact_of_bits(0x7FF8000000000000u);
}

/* A number as the sum of two f64, |low| <= ulp(high) / 2. */
typedef struct ExactPair {
    double high, low;
} ExactPair;

/* The float nearest to high + low, in the normal range of f32: high alone decides but where it is the middle between two floats;
 * there the sign of low does. */
EXACT_FN float exact_round_f32(ExactPair p)
{
    uint64_t b = exact_bits(p.high);
    if ((b & 0x1FFFFFFFu) == 0x10000000u && p.low != 0.0)
        b = (p.low > 0.0) == (p.high > 0.0) ? b + 1 : b - 1;
    return exact_store_f32(exact_of_bits(b));
}

#define FN EXACT_FN
#define E(name) exact_##name
#define R double
#define FMA(a, b, c) fma(a, b, c)
#define SPLAT(x) (x)
#define AS_B(r) exact_bits(r)
#define AS_R(b) exact_of_bits(b)
#define OP_LT <
#define OP_EQ ==
#define SELECT(a, op, b, yes, no) ((a)OP_##op(b) ? (yes) : (no))
#define MOST(a, b) ((a) > (b) ? (a) : (b))
#define LEAST(a, b) ((a) < (b) ? (a) : (b))
#include "kernels/exact/exact_elementary.inc"
#undef FN
#undef E
#undef R
#undef FMA
#undef SPLAT
#undef AS_B
#undef AS_R
#undef OP_LT
#undef OP_EQ
#undef SELECT
#undef MOST
#undef LEAST

EXACT_FN ExactPair exact_pair_add(double a, double b) /* a + b exactly (Knuth) */
{
    ExactPair s;
    s.high = a + b;
    double back = s.high - a;
    s.low = (a - (s.high - back)) + (b - back);
    return s;
}

EXACT_FN ExactPair exact_pair_mul(double a, double b) /* a * b exactly */
{
    ExactPair p;
    p.high = a * b;
    p.low = fma(a, b, -p.high);
    return p;
}

/* log of a positive, finite, normal x: x = 2^e m with m in [sqrt(1/2), sqrt 2), f = m - 1, s = f / (2 + f), z = s^2,
 * log m = 2 atanh s = 2 s + s z (2/3 + 2/5 z + ... + 2/25 z^11); the remainder 2 s z^13 / 27 is below 2^-63 of log m, z < 0.0295.
 * s is carried in two parts, so is e ln 2: the pair's relative error is some 2^-62. */
EXACT_FN ExactPair exact_log_pair(double x)
{
    uint64_t b = exact_bits(x) - 0x3FE6A09E667F3BCDu; /* sqrt(1/2) becomes the lower end of an exponent */
    double e = (double)((int64_t)b >> 52);
    double f = exact_of_bits((b & 0x000FFFFFFFFFFFFFu) + 0x3FE6A09E667F3BCDu) - 1.0;
    ExactPair d = exact_pair_add(2.0, f);
    double s = f / d.high;
    double s_low = (fma(-s, d.high, f) - s * d.low) / d.high;
    double z = s * s;
    double p = 0x1.47ae147ae147bp-4;
    p = fma(p, z, 0x1.642c8590b2164p-4);
    p = fma(p, z, 0x1.8618618618618p-4);
    p = fma(p, z, 0x1.af286bca1af28p-4);
    p = fma(p, z, 0x1.e1e1e1e1e1e1ep-4);
    p = fma(p, z, 0x1.1111111111111p-3);
    p = fma(p, z, 0x1.3b13b13b13b14p-3);
    p = fma(p, z, 0x1.745d1745d1746p-3);
    p = fma(p, z, 0x1.c71c71c71c71cp-3);
    p = fma(p, z, 0x1.2492492492492p-2);
    p = fma(p, z, 0x1.999999999999ap-2);
    p = fma(p, z, 0x1.5555555555555p-1);
    double tail = fma(s * z, p, 2.0 * s_low);
    ExactPair whole = exact_pair_add(e * 0x1.62e42fefa3800p-1, 2.0 * s); /* the first product is exact: 42 bits times 11 */
    return exact_pair_add(whole.high, whole.low + fma(e, 0x1.ef35793c76730p-45, tail));
}

/* Natural logarithm of every x. Subnormal inputs are scaled; log 0 = -infinity, of a negative NaN. */
EXACT_FN ExactPair exact_log_parts(double x)
{
    ExactPair special = {x == 0.0 ? -EXACT_INFINITY : x > 0.0 ? x : exact_of_bits(0x7FF8000000000000u), 0.0};
    if (!(x > 0.0) || x == EXACT_INFINITY)
        return special;
    if (x >= 0x1p-1022)
        return exact_log_pair(x);
    ExactPair l = exact_log_pair(x * 0x1p54), r = exact_pair_add(-54.0 * 0x1.62e42fefa3800p-1, l.high);
    return exact_pair_add(r.high, r.low + (l.low - 54.0 * 0x1.ef35793c76730p-45));
}

EXACT_FN double exact_log(double x)
{
    return exact_log_parts(x).high;
}

/* b^y for finite b > 0: e^(y log b), the exponent in two parts. */
EXACT_FN double exact_pow(double b, double y)
{
    ExactPair l = exact_log_pair(b);
    ExactPair t = exact_pair_mul(y, l.high);
    double high = exact_exp(t.high);
    return fma(high, fma(y, l.low, t.low), high);
}

/* 2/pi in words of 32 bits after 64 zero bits: bits 2^-1 to 2^-1184. */
#define EXACT_TWO_OVER_PI \
    { \
        0, 0, 0xA2F9836Eu, 0x4E441529u, 0xFC2757D1u, 0xF534DDC0u, 0xDB629599u, 0x3C439041u, 0xFE5163ABu, 0xDEBBC561u, \
            0xB7246E3Au, 0x424DD2E0u, 0x06492EEAu, 0x09D1921Cu, 0xFE1DEB1Cu, 0xB129A73Eu, 0xE88235F5u, 0x2EBB4484u, \
            0xE99C7026u, 0xB45F7E41u, 0x3991D639u, 0x835339F4u, 0x9C845F8Bu, 0xBDF9283Bu, 0x1FF897FFu, 0xDE05980Fu, \
            0xEF2F118Bu, 0x5A0A6D1Fu, 0x6D367ECFu, 0x27CB09B7u, 0x4F463F66u, 0x9E5FEA2Du, 0x7527BAC7u, 0xEBE5F17Bu, \
            0x3D0739F7u, 0x8A5292EAu, 0x6BFB5FB1u, 0x1F8D5D08u, 0x56033046u \
    }

/* x = quadrant pi/2 + r with |r| <= pi/4, for pi/4 < |x| < infinity (Payne and Hanek): x = m 2^e with a whole m of 53 bits. The bits
 * of 2/pi above 2^(1-e) give multiples of four quadrants and are left out; the next 192 are multiplied by m, whole numbers, modulo
 * 2^192. The product's two highest bits are the quadrant, what is left out below is under 2^-137 quadrants; no f64 comes
 * nearer than 2^-62 to a multiple of pi/2. */
EXACT_FN ExactPair exact_quadrant(double x, int *quadrant)
{
    static const uint32_t two_over_pi[] = EXACT_TWO_OVER_PI;
    uint64_t b = exact_bits(x), m = (b & 0x000FFFFFFFFFFFFFu) | 0x0010000000000000u;
    int e = (int)(b >> 52 & 2047) - 1075;
    unsigned skip = (unsigned)(e - 2 + 64);              /* bits of the table that come before the window */
    uint32_t window[6], product[6] = {0, 0, 0, 0, 0, 0}; /* [0] is the lowest */
    for (unsigned i = 0; i < 6; i++) {
        unsigned word = skip / 32 + 5 - i;
        uint64_t two = (uint64_t)two_over_pi[word] << 32 | (word + 1 < 39 ? two_over_pi[word + 1] : 0);
        window[i] = (uint32_t)(two >> (32 - skip % 32));
    }
    for (unsigned j = 0; j < 2; j++) {
        uint64_t carry = 0, factor = j ? m >> 32 : m & 0xFFFFFFFFu;
        for (unsigned i = 0; i + j < 6; i++) {
            uint64_t t = factor * window[i] + product[i + j] + carry;
            product[i + j] = (uint32_t)t;
            carry = t >> 32;
        }
    }
    int q = (int)(product[5] >> 30), negative = (int)(product[5] >> 29 & 1);
    product[5] &= 0x3FFFFFFFu;
    if (negative) { /* past the middle: the distance to the next quadrant */
        uint64_t carry = 1;
        for (unsigned i = 0; i < 6; i++) {
            uint64_t t = (uint64_t)(uint32_t)~product[i] + carry;
            product[i] = (uint32_t)t;
            carry = t >> 32;
        }
        product[5] &= 0x3FFFFFFFu;
        q++;
    }
    double unit = 0x1p-30;
    ExactPair f = {0.0, 0.0};
    for (unsigned i = 6; i-- > 0; unit *= 0x1p-32) {
        ExactPair sum = exact_pair_add(f.high, (double)product[i] * unit);
        f = exact_pair_add(sum.high, sum.low + f.low);
    }
    ExactPair r = exact_pair_mul(f.high, 0x1.921fb54442d18p+0);
    r = exact_pair_add(r.high, r.low + fma(f.high, 0x1.1a62633145c07p-54, f.low * 0x1.921fb54442d18p+0));
    int minus = negative != (int)(b >> 63);
    r.high = minus ? -r.high : r.high;
    r.low = minus ? -r.low : r.low;
    *quadrant = (b >> 63 ? -q : q) & 3;
    return r;
}

/* Sine and cosine; NaN for infinities. Taylor polynomials on |r| <= pi/4: sine to r^17 (remainder under 2^-63), cosine to r^18. */
EXACT_FN void exact_sincos_pair(double x, ExactPair *sine, ExactPair *cosine)
{
    double most = x < 0.0 ? -x : x;
    ExactPair r = {x, 0.0}, one = {1.0, 0.0}, nan = {exact_of_bits(0x7FF8000000000000u), 0.0};
    if (!(most < EXACT_INFINITY)) {
        *sine = *cosine = nan;
        return;
    }
    if (most < 0x1p-27) { /* both within half an ULP of f64; keeps -0 */
        *sine = r;
        *cosine = one;
        return;
    }
    int q = 0;
    if (most > 0x1.921fb54442d18p-1)
        r = exact_quadrant(x, &q);
    double z = r.high * r.high;
    double p = 0x1.952c77030ad4ap-49;
    p = fma(p, z, -0x1.ae7f3e733b81fp-41);
    p = fma(p, z, 0x1.6124613a86d09p-33);
    p = fma(p, z, -0x1.ae64567f544e4p-26);
    p = fma(p, z, 0x1.71de3a556c734p-19);
    p = fma(p, z, -0x1.a01a01a01a01ap-13);
    p = fma(p, z, 0x1.1111111111111p-7);
    p = fma(p, z, -0x1.5555555555555p-3);
    ExactPair s = exact_pair_add(r.high, fma(p, r.high * z, fma(-0.5 * z, r.low, r.low)));
    double c = -0x1.6827863b97d97p-53;
    c = fma(c, z, 0x1.ae7f3e733b81fp-45);
    c = fma(c, z, -0x1.93974a8c07c9dp-37);
    c = fma(c, z, 0x1.1eed8eff8d898p-29);
    c = fma(c, z, -0x1.27e4fb7789f5cp-22);
    c = fma(c, z, 0x1.a01a01a01a01ap-16);
    c = fma(c, z, -0x1.6c16c16c16c17p-10);
    c = fma(c, z, 0x1.5555555555555p-5);
    double z_low = fma(r.high, r.high, -z);
    /* cos = 1 - r^2/2 + c r^4, r^2 = z + z_low + 2 r.high r.low; what 1 - z/2 loses is put back */
    ExactPair w = exact_pair_add(1.0, -0.5 * z);
    w = exact_pair_add(w.high, w.low + fma(z * z, c, fma(-r.high, r.low, -0.5 * z_low)));
    ExactPair sin_of = q & 1 ? w : s, cos_of = q & 1 ? s : w;
    if (q & 2) {
        sin_of.high = -sin_of.high;
        sin_of.low = -sin_of.low;
    }
    if (q == 1 || q == 2) {
        cos_of.high = -cos_of.high;
        cos_of.low = -cos_of.low;
    }
    *sine = sin_of;
    *cosine = cos_of;
}

EXACT_FN void exact_sincos(double x, double *sine, double *cosine)
{
    ExactPair s, c;
    exact_sincos_pair(x, &s, &c);
    *sine = s.high;
    *cosine = c.high;
}

/* The standard normal distribution function, for GELU: x exact_normal_cdf(x). With t = |x| / sqrt 2: below 2, erf t =
 * 2 t / sqrt(pi) e^(-t^2) (1 + 2 z/3 (1 + 2 z/5 (1 + ...))), z = t^2, 36 terms (the rest is below 2^-60); above, erfc t by the continued
 * fraction e^(-t^2) / sqrt(pi) / (t + (1/2)/(t + (2/2)/(t + (3/2)/(t + ...)))) to depth 80. */
EXACT_FN double exact_normal_cdf(double x)
{
    double t = (x < 0.0 ? -x : x) * 0x1.6a09e667f3bcdp-1;
    if (x != x)
        return x;
    if (t < 2.0) {
        double z = 2.0 * t * t, sum = 1.0;
        for (int n = 36; n > 0; n--)
            sum = fma(sum, z / (double)(2 * n + 1), 1.0);
        double erf_t = 0x1.20dd750429b6dp+0 * t * exact_exp(-t * t) * sum;
        return x < 0.0 ? 0.5 - 0.5 * erf_t : 0.5 + 0.5 * erf_t;
    }
    double below = t;
    for (int n = 80; n > 0; n--)
        below = t + 0.5 * (double)n / below;
    double tail = 0.5 * 0x1.20dd750429b6dp-1 * exact_exp(-t * t) / below;
    return x < 0.0 ? tail : 1.0 - tail;
}

EXACT_FN float exact_expf(float x)
{
    return exact_store_f32(exact_exp((double)x));
}

EXACT_FN float exact_logf(float x)
{
    return exact_round_f32(exact_log_parts((double)x));
}

EXACT_FN float exact_sinf(float x)
{
    ExactPair s, c;
    exact_sincos_pair((double)x, &s, &c);
    return exact_round_f32(s);
}

EXACT_FN float exact_cosf(float x)
{
    ExactPair s, c;
    exact_sincos_pair((double)x, &s, &c);
    return exact_round_f32(c);
}

#endif
