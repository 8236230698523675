/* simd_body.h: the source of the vector kernels, written over GCC's vector extensions and included by one file per
 * instruction set, which defines W (floats a vector: 4, 8 or 16), SIMD_NAME and SIMD_LEVEL, and may define VFMA and VRSQRT-free
 * shortcuts. Tails are done on a copy padded to a whole vector, so that every element takes the same arithmetic.
 *
 * exp(x), f32: n = round(x / ln 2), r = x - n ln 2 in two steps (Cody-Waite), e^r by its Taylor polynomial of degree 7 on
 * |r| <= ln 2 / 2 (remainder r^8/8! < 6e-9 relative), times 2^n in two factors. Below -103.97 it is 0, above 88.72 infinity;
 * NaN stays NaN. Error under 2 ULP where the result is normal. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/simd.h"

typedef float vf __attribute__((vector_size(4 * W), aligned(4)));
typedef int32_t vi __attribute__((vector_size(4 * W)));
typedef float vreg __attribute__((vector_size(4 * W)));

#ifndef VFMA
#define VFMA(a, b, c) ((a) * (b) + (c))
#endif

static inline vreg load(const float *p)
{
    return (vreg) * (const vf *)p;
}

static inline void store(float *p, vreg v)
{
    *(vf *)p = (vf)v;
}

static inline vreg splat(float x)
{
    return x - (vreg){0};
}

static inline vreg load_part(const float *p, size_t n, float fill)
{
    float padded[W];
    for (size_t i = 0; i < W; i++)
        padded[i] = i < n ? p[i] : fill;
    vreg v;
    memcpy(&v, padded, sizeof v);
    return v;
}

static inline void store_part(float *p, size_t n, vreg v)
{
    float padded[W];
    memcpy(padded, &v, sizeof v);
    for (size_t i = 0; i < n; i++)
        p[i] = padded[i];
}

/* mask ? a : b, lane by lane; mask lanes are 0 or -1. */
static inline vreg blend(vi mask, vreg a, vreg b)
{
    return (vreg)((mask & (vi)a) | (~mask & (vi)b));
}

static inline vreg vmax(vreg a, vreg b)
{
    return blend((vi)(a > b), a, b);
}

static inline double sum_lanes(vreg v)
{
    float lanes[W];
    memcpy(lanes, &v, sizeof v);
    double sum = 0;
    for (int i = 0; i < W; i++)
        sum += (double)lanes[i];
    return sum;
}

static inline float max_lanes(vreg v)
{
    float lanes[W];
    memcpy(lanes, &v, sizeof v);
    float most = lanes[0];
    for (int i = 1; i < W; i++)
        most = lanes[i] > most ? lanes[i] : most;
    return most;
}

/* 2^n for n in -150..128, as two factors so that neither leaves the normal range. */
static inline vreg scale_by_power(vreg y, vi n)
{
    vi half = n >> 1, rest = n - half;
    return y * (vreg)((half + 127) << 23) * (vreg)((rest + 127) << 23);
}

static inline vreg vexp(vreg x)
{
    const vreg low = splat(-103.97f), high = splat(88.722839f);
    vi under = (vi)(x < low), over = (vi)(x > high);
    vreg clamped = blend(under, low, blend(over, high, x));
    const vreg magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    vreg n = VFMA(clamped, splat(1.44269504f), magic) - magic;
    vreg r = VFMA(n, splat(-0.693359375f), clamped);
    r = VFMA(n, splat(2.12194440e-4f), r);
    vreg p = splat(1.0f / 5040);
    p = VFMA(p, r, splat(1.0f / 720));
    p = VFMA(p, r, splat(1.0f / 120));
    p = VFMA(p, r, splat(1.0f / 24));
    p = VFMA(p, r, splat(1.0f / 6));
    p = VFMA(p, r, splat(0.5f));
    p = VFMA(p, r * r, r) + 1.0f;
    vi nan = (vi)(x != x);
    vreg y = scale_by_power(p, __builtin_convertvector(blend(nan, splat(0), n), vi));
    y = blend(under, splat(0), blend(over, splat(INFINITY), y));
    return blend(nan, x, y);
}

static void rms_norm(float *out, const float *x, const float *gain, size_t n, float eps, float offset)
{
    double sum = 0;
    size_t i = 0;
    while (i + W <= n) { /* f32 sums of at most 64 vectors, carried on in f64 */
        vreg acc = splat(0), acc2 = splat(0);
        size_t end = i + 64 * W < n ? i + 64 * W : n;
        for (; i + 2 * W <= end; i += 2 * W) {
            vreg a = load(x + i), b = load(x + i + W);
            acc = VFMA(a, a, acc);
            acc2 = VFMA(b, b, acc2);
        }
        for (; i + W <= end; i += W) {
            vreg a = load(x + i);
            acc = VFMA(a, a, acc);
        }
        sum += sum_lanes(acc + acc2);
    }
    for (; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    float scale = (float)(1 / sqrt(sum / (double)n + (double)eps));
    for (i = 0; i + W <= n; i += W)
        store(out + i, load(x + i) * scale * (load(gain + i) + offset));
    for (; i < n; i++)
        out[i] = x[i] * scale * (gain[i] + offset);
}

static void layer_norm(float *out, const float *x, const float *gain, const float *bias, size_t n, float eps, float offset)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    float scale = (float)(1 / sqrt(squares / (double)n + (double)eps)), centre = (float)mean;
    for (size_t i = 0; i < n; i++)
        out[i] = (x[i] - centre) * scale * (gain[i] + offset) + (bias ? bias[i] : 0);
}

static void rope_half(float *v, const float *cosines, const float *sines, size_t half)
{
    size_t i = 0;
    for (; i + W <= half; i += W) {
        vreg a = load(v + i), b = load(v + half + i), c = load(cosines + i), s = load(sines + i);
        store(v + i, a * c - b * s);
        store(v + half + i, b * c + a * s);
    }
    for (; i < half; i++) {
        float a = v[i], b = v[half + i];
        v[i] = a * cosines[i] - b * sines[i];
        v[half + i] = b * cosines[i] + a * sines[i];
    }
}

static float max_row(const float *x, size_t n)
{
    vreg most = splat(-INFINITY);
    size_t i = 0;
    for (; i + W <= n; i += W)
        most = vmax(load(x + i), most);
    if (i < n)
        most = vmax(load_part(x + i, n - i, -INFINITY), most);
    return max_lanes(most);
}

static double softmax(float *p, size_t n, float scale)
{
    float most = max_row(p, n) * scale;
    double sum = 0;
    size_t i = 0;
    while (i + W <= n) {
        vreg acc = splat(0);
        size_t end = i + 64 * W < n ? i + 64 * W : n;
        for (; i + W <= end; i += W) {
            vreg y = vexp(VFMA(load(p + i), splat(scale), -splat(most)));
            store(p + i, y);
            acc += y;
        }
        sum += sum_lanes(acc);
    }
    if (i < n) {
        vreg y = vexp(VFMA(load_part(p + i, n - i, -INFINITY), splat(scale), -splat(most)));
        store_part(p + i, n - i, y);
        for (; i < n; i++)
            sum += (double)p[i];
    }
    return sum;
}

static inline vreg vactivate(vreg x, ActKind act)
{
    if (act == ACT_SILU)
        return x / (1.0f + vexp(-x));
    if (act == ACT_GELU_TANH) { /* 0.5 x (1 + tanh u) = x - x / (1 + e^2u) */
        vreg u = x * VFMA(x * x, splat(0.044715f * 0.7978845608f), splat(0.7978845608f));
        return x - x / (1.0f + vexp(u + u));
    }
    return blend((vi)(x > 0.0f), x, x * 0.0f); /* relu; NaN stays */
}

static float activate(float x, ActKind act)
{
    if (act == ACT_GELU_ERF)
        return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    float lane[W];
    vreg y = vactivate(splat(x), act);
    memcpy(lane, &y, sizeof y);
    return lane[0];
}

static void act_row(float *out, const float *x, size_t n, ActKind act)
{
    size_t i = 0;
    if (act != ACT_GELU_ERF)
        for (; i + W <= n; i += W)
            store(out + i, vactivate(load(x + i), act));
    for (; i < n; i++)
        out[i] = activate(x[i], act);
}

static void glu(float *out, const float *gate, const float *up, size_t n, ActKind act)
{
    size_t i = 0;
    if (act != ACT_GELU_ERF)
        for (; i + W <= n; i += W)
            store(out + i, vactivate(load(gate + i), act) * load(up + i));
    for (; i < n; i++)
        out[i] = activate(gate[i], act) * up[i];
}

static void add(float *out, const float *a, const float *b, float scale, size_t n)
{
    size_t i = 0;
    for (; i + W <= n; i += W)
        store(out + i, VFMA(load(b + i), splat(scale), load(a + i)));
    for (; i < n; i++)
        out[i] = a[i] + scale * b[i];
}

static void scale_row(float *x, float by, size_t n)
{
    size_t i = 0;
    for (; i + W <= n; i += W)
        store(x + i, load(x + i) * by);
    for (; i < n; i++)
        x[i] *= by;
}

static void exp_row(float *out, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + W <= n; i += W)
        store(out + i, vexp(load(x + i)));
    if (i < n)
        store_part(out + i, n - i, vexp(load_part(x + i, n - i, 0)));
}

enum { HEAD_CHUNK = 1024 }; /* logits looked at together: z and the intact row stay in the first-level cache */

/* z > target, and z == target where ties count. */
static int32_t count_above(const float *z, size_t n, float target, int ties)
{
    vi count = (vi){0};
    size_t i = 0;
    for (; i + W <= n; i += W) {
        vreg v = load(z + i);
        count -= ties ? (vi)(v >= target) : (vi)(v > target);
    }
    int32_t lanes[W], sum = 0;
    memcpy(lanes, &count, sizeof count);
    for (int k = 0; k < W; k++)
        sum += lanes[k];
    for (; i < n; i++)
        sum += ties ? z[i] >= target : z[i] > target;
    return sum;
}

/* The partial sums of one chunk, relative to the running maximum. */
typedef struct ChunkSums {
    double all, starts, kl, poison; /* poison: 0, or NaN when a logit is not finite */
} ChunkSums;

static inline void sum_vector(vreg z, vreg x, vreg starts, vreg most, vreg intact_lse, vreg acc[4], int has_intact)
{
    vreg p = vexp(z - most);
    acc[0] += p;
    acc[1] = VFMA(p, starts, acc[1]);
    if (has_intact)
        acc[2] = VFMA(vexp(x - intact_lse), x - z, acc[2]);
    acc[3] += z * 0.0f;
}

static ChunkSums sum_chunk(const SimdHeadRow *r, size_t first, size_t n, float most)
{
    vreg acc[4] = {splat(0), splat(0), splat(0), splat(0)};
    vreg m = splat(most), lse = splat((float)r->intact_lse);
    const float *z = r->z + first, *x = r->intact ? r->intact + first : z, *s = r->starts ? r->starts + first : NULL;
    size_t i = 0;
    for (; i + W <= n; i += W)
        sum_vector(load(z + i), load(x + i), s ? load(s + i) : splat(0), m, lse, acc, r->intact != NULL);
    ChunkSums sums = {
        .all = sum_lanes(acc[0]), .starts = sum_lanes(acc[1]), .kl = sum_lanes(acc[2]), .poison = sum_lanes(acc[3])};
    for (; i < n; i++) {
        double p = exp((double)z[i] - (double)most);
        sums.all += p;
        sums.starts += s ? p * (double)s[i] : 0;
        sums.kl += r->intact ? exp((double)x[i] - (double)(float)r->intact_lse) * ((double)x[i] - (double)z[i]) : 0;
        sums.poison += (double)(z[i] * 0.0f);
    }
    return sums;
}

/* One pass over the row, chunk by chunk: the maximum so far decides the scale of the sums (a larger one rescales them), the
 * first chunk that holds the largest logit decides top1. KL is sum p (x - z) + (lse_z - lse_x): both terms are exactly 0 where z equals x
 * bit for bit, since lse comes from the same instructions. */
static void head_row(SimdHeadRow *r)
{
    double all = 0, starts = 0, kl = 0, poison = 0;
    float most = -INFINITY, target = r->target >= 0 ? r->z[r->target] : 0;
    size_t best_chunk = 0;
    r->rank = r->target >= 0 ? 0 : -1;
    for (size_t first = 0; first < r->vocab; first += HEAD_CHUNK) {
        size_t n = r->vocab - first < HEAD_CHUNK ? r->vocab - first : HEAD_CHUNK;
        float chunk_most = max_row(r->z + first, n);
        if (chunk_most > most) {
            double shrink = exp((double)most - (double)chunk_most);
            all *= shrink;
            starts *= shrink;
            most = chunk_most;
            best_chunk = first;
        }
        ChunkSums sums = sum_chunk(r, first, n, most);
        all += sums.all;
        starts += sums.starts;
        kl += sums.kl;
        poison += sums.poison;
        if (r->target >= 0) { /* ties count before the target only */
            size_t t = (size_t)r->target, before = t <= first ? 0 : t - first < n ? t - first : n;
            r->rank += count_above(r->z + first, before, target, 1);
            r->rank += count_above(r->z + first + before, n - before, target, 0);
        }
    }
    r->top1 = 0;
    for (size_t v = best_chunk; v < r->vocab; v++) {
        if (r->z[v] == most) {
            r->top1 = (int32_t)v;
            break;
        }
    }
    r->lse = (double)most + log(all) + poison;
    r->nll = r->target >= 0 ? r->lse - (double)target : NAN;
    r->kl = r->intact ? kl + (r->lse - r->intact_lse) : poison;
    r->word_start_logp = r->starts ? log(starts / all) + poison : NAN;
}

const SimdTable SIMD_NAME = {
    .level = SIMD_LEVEL,
    .width = W,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .rope_half = rope_half,
    .softmax = softmax,
    .glu = glu,
    .act = act_row,
    .add = add,
    .scale = scale_row,
    .head_row = head_row,
    .exp_row = exp_row,
};
