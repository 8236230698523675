/* exact_simd.h: the vector kernels of cpu/exact and cpu/ref64 as tables. Two texts, exact_kernels.inc and, for each element type,
 * exact_elements.inc, are compiled once per instruction set (exact_scalar.c, exact_avx2.c, exact_avx512.c). All lanes are outputs: no
 * kernel adds lanes together, so every table gives the bits of exact_canon.h. Elements are f32 in the _f32 tables, f64 in the _f64
 * ones; weights and gains are f32 in both. */
#ifndef STRATA_KERNELS_EXACT_SIMD_H
#define STRATA_KERNELS_EXACT_SIMD_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu_features.h"
#include "kernels/exact/exact_canon.h"

enum { EXACT_MAX_COLS = 16 }; /* gemm_cols of every table is at most this */

/* One register tile over one segment: to[r, i] = (from ? from[r, i] : 0) + sum_k x[k, r] w[k, i], r < gemm_rows, i < gemm_cols. */
typedef struct ExactTile {
    const double *x, *w; /* [k, gemm_rows], [k, gemm_cols], dense */
    size_t k;
    const double *from; /* NULL at the first segment; may be to */
    double *to;
    size_t ld; /* of from and to */
} ExactTile;

/* A row of logits through the head. */
typedef struct ExactHeadRow {
    const void *z, *intact; /* [V]; intact may be NULL */
    const float *starts;    /* [V] of 0 and 1, may be NULL */
    size_t vocab;
    int32_t target; /* -1: none */
    double intact_lse;
    double nll, kl, word_start_logp, lse; /* results */
    int32_t rank, top1;
} ExactHeadRow;

typedef struct ExactSimd {
    const char *name;
    size_t gemm_rows, gemm_cols;
    /* to[j, i] = rows[i][j], i < width, j < k; width is even; pack: of elements. */
    void (*pack)(double *to, size_t width, const void *const *rows, size_t k);
    void (*pack_f64)(double *to, size_t width, const void *const *rows, size_t k); /* of f64 */
    void (*widen)(double *to, const void *x, size_t n);                            /* elements */
    void (*widen_f32)(double *to, const float *x, size_t n);                       /* weights */
    void (*tile)(const ExactTile *t);
    /* y[r, i] = sums[r, i] (+ bias[i]), stored; r < n_rows, i < n */
    void (*finish)(void *y, size_t ld, const double *sums, size_t ld_sums, size_t n_rows, const float *bias, size_t n);
    void (*divide)(void *y, const double *sums, double by, size_t n); /* y = sums / by, stored */
    double (*dot)(const void *a, const void *b, size_t n);            /* these three as exact_canon.h's */
    double (*rms_inverse)(const void *x, size_t n, float eps);
    double (*layer_inverse)(const void *x, size_t n, float eps, double *mean);
    /* gain NULL: 1, whatever the offset; bias NULL: none. */
    void (*normalise)(void *out, const void *x, double mean, double inverse, const float *gain, double offset,
                      const float *bias, size_t n);
    void (*rope_half)(void *v, const float *cosines, const float *sines, size_t half);
    void (*softmax)(double *p, size_t n, double scale); /* p = e^(scale p - max) */
    void (*glu)(void *out, const void *gate, const void *up, size_t n, ExactAct act);
    void (*act)(void *out, const void *x, size_t n, ExactAct act);
    void (*add)(void *out, const void *a, const void *b, double scale, size_t n); /* a + scale b */
    void (*scale)(void *out, const float *x, double by, size_t n);                /* by x */
    void (*head_row)(ExactHeadRow *row);
    void (*exp_row)(double *out, const double *x, size_t n); /* for tests: the vector exp by itself */
} ExactSimd;

extern const ExactSimd exact_scalar_f32, exact_scalar_f64;
#if defined(__x86_64__)
extern const ExactSimd exact_avx2_f32, exact_avx2_f64, exact_avx512_f32, exact_avx512_f64;
#endif

static inline const ExactSimd *exact_simd(CpuLevel level, int f64)
{
#if defined(__x86_64__)
    if (level == CPU_AVX512)
        return f64 ? &exact_avx512_f64 : &exact_avx512_f32;
    if (level == CPU_AVX2)
        return f64 ? &exact_avx2_f64 : &exact_avx2_f32;
#endif
    (void)level;
    return f64 ? &exact_scalar_f64 : &exact_scalar_f32;
}

#endif
