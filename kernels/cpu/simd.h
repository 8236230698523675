/* simd.h: the vector kernels of cpu/fast as a table. One source, simd_kernels.inc, is compiled once per instruction set (simd_scalar.c,
 * simd_avx2.c, simd_avx512.c), at another vector width each; simd_table() picks by cpu_level(). All work on f32 rows; none
 * allocates or waits. */
#ifndef STRATA_KERNELS_CPU_SIMD_H
#define STRATA_KERNELS_CPU_SIMD_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu_features.h"
#include "kernels/ops.h"

/* Running state of one row of logits through the head, see simd_kernels.inc. */
typedef struct SimdHeadRow {
    const float *z, *intact; /* [V]; intact may be NULL */
    const float *starts;     /* [V] of 0 and 1, may be NULL */
    size_t vocab;
    int32_t target; /* -1: none */
    double intact_lse;
    double nll, kl, word_start_logp, lse; /* results */
    int32_t rank, top1;
} SimdHeadRow;

/* One register tile: y[r, i] = residual[r, i] + scale * (from[r, i] + sum_k x[k, r] w[k, i] + bias[i]), r < gemm_rows, i < gemm_cols. */
typedef struct SimdGemmTile {
    const float *x, *w; /* [k, gemm_rows], [k, gemm_cols], dense */
    size_t k;
    const float *ahead; /* n_ahead floats that will be wanted soon */
    size_t n_ahead;
    float *y;
    const float *from, *bias, *residual; /* each may be NULL; from and residual may be y */
    size_t ld_y, ld_from, ld_residual;
    float scale;
} SimdGemmTile;

typedef struct SimdTable {
    CpuLevel level;
    int width; /* floats a vector */
    size_t gemm_rows, gemm_cols;
    /* to[j, i] = x[i, j], i < gemm_rows, j < k; rows from n_rows on are filled with some row. to [k, gemm_rows] dense. */
    void (*gemm_pack)(float *to, const float *x, size_t ld, size_t n_rows, size_t k);
    void (*gemm_tile)(const SimdGemmTile *t);
    /* gain NULL: 1, whatever the offset. bias may be NULL. */
    void (*rms_norm)(float *out, const float *x, const float *gain, size_t n, float eps, float offset);
    void (*layer_norm)(float *out, const float *x, const float *gain, const float *bias, size_t n, float eps, float offset);
    /* v[i], v[i + half] rotated by (cosines[i], sines[i]) for i < half. */
    void (*rope_half)(float *v, const float *cosines, const float *sines, size_t half);
    /* p[i] = exp(scale * p[i] - max of all), i < n; returns the sum. */
    double (*softmax)(float *p, size_t n, float scale);
    void (*glu)(float *out, const float *gate, const float *up, size_t n, ActKind act);
    void (*act)(float *out, const float *x, size_t n, ActKind act);
    void (*add)(float *out, const float *a, const float *b, float scale, size_t n); /* a + scale b */
    void (*scale)(float *x, float by, size_t n);
    void (*head_row)(SimdHeadRow *row);
    void (*exp_row)(float *out, const float *x, size_t n); /* for tests: the vector exp by itself */
} SimdTable;

extern const SimdTable simd_scalar;
#if defined(__x86_64__)
extern const SimdTable simd_avx2, simd_avx512;
#endif

const SimdTable *simd_table(CpuLevel level);

#endif
