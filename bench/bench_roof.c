/* bench_roof.c: the roof of a sweep: OpenBLAS's sgemm on a model's shapes at the block's height, FLOP-weighted as a removal sweep weights
 * them. Timing window: cblas_sgemm alone, operands in memory, 1 warm-up and 5 timed calls a shape, the median.
 *
 * usage: bench_roof [rows [threads]]   (SmolLM2-135M's shapes; rows 1024, threads: all processors) */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/pool.h"
#include "engine/base/progress.h"
#include "kernels/cpu_features.h"

enum { D = 576, F = 1536, QKV = 960, V = 49152, L = 30, TIMED = 5 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median seconds of y[m, n] = x[m, k] w[n, k]^T. */
static double time_gemm(int m, int n, int k)
{
    float *x = calloc((size_t)m * (size_t)k, 4), *w = calloc((size_t)n * (size_t)k, 4), *y = calloc((size_t)m * (size_t)n, 4);
    double seconds[TIMED];
    for (size_t i = 0; i < (size_t)m * (size_t)k; i++)
        x[i] = (float)(i % 17) * 0.1f;
    for (size_t i = 0; i < (size_t)n * (size_t)k; i++)
        w[i] = (float)(i % 13) * 0.1f;
    for (int i = -1; i < TIMED; i++) {
        double start = progress_now_s();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, x, k, w, k, 0, y, n);
        if (i >= 0)
            seconds[i] = progress_now_s() - start;
    }
    qsort(seconds, TIMED, sizeof *seconds, by_value);
    free(x);
    free(w);
    free(y);
    return seconds[TIMED / 2];
}

int main(int argc, char **argv)
{
    int rows = argc > 1 ? atoi(argv[1]) : 1024, threads = argc > 2 ? atoi(argv[2]) : pool_default_threads();
    if (rows < 1 || threads < 1)
        return 2;
    openblas_set_num_threads(threads);
    static const struct {
        const char *name;
        int n, k;
        double calls; /* in a removal sweep over one block: L(L+1)/2 layers, L+1 heads */
    } shapes[] = {{"qkv", QKV, D, L * (L + 1) / 2.0},
                  {"o", D, D, L * (L + 1) / 2.0},
                  {"gate_up", 2 * F, D, L * (L + 1) / 2.0},
                  {"down", D, F, L * (L + 1) / 2.0},
                  {"head", V, D, L + 1.0}};
    double flops = 0, seconds = 0;
    printf("%s, BLAS core %s, %d threads, %d rows\n", cpu_processor_name(), cpu_blas_core(), threads, rows);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        double s = time_gemm(rows, shapes[i].n, shapes[i].k), work = 2.0 * rows * shapes[i].n * shapes[i].k;
        printf("  %-8s %6d x %-5d %8.1f GFLOP/s\n", shapes[i].name, shapes[i].n, shapes[i].k, work / s * 1e-9);
        flops += work * shapes[i].calls;
        seconds += s * shapes[i].calls;
    }
    printf("FLOP-weighted roof %.1f GFLOP/s\n", flops / seconds * 1e-9);
    return 0;
}
