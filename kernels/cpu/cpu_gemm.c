/* cpu_gemm.c: y = x w^T by OpenBLAS, one thread a call, cut by a fixed partition among the pool's threads.
 *
 * Each thread packs its operands anew: cut by rows, every thread packs all of w (N K elements); cut by columns, all of x (T K).
 * The smaller of the two is packed twice. */
#include <cblas.h>

#include <string.h>

#include "kernels/cpu/cpu_context.h"

enum { GRAIN = 16, SMALL_FLOPS = 200000 };

typedef struct Gemm {
    View y, x, residual;
    const Weight *w;
    const float *bias;
    float scale, beta; /* y = beta * residual + scale * (x w^T + bias) */
    bool by_rows;
    size_t n_pieces;
} Gemm;

/* Rows [r0, r1) and columns [n0, n1) of y. */
static void gemm_block(const Gemm *g, size_t r0, size_t r1, size_t n0, size_t n1)
{
    size_t k = g->w->cols, n = n1 - n0;
    if (r0 >= r1 || n0 >= n1)
        return;
    bool start = g->bias || g->beta != 0; /* y holds something before the product is added */
    for (size_t r = r0; start && r < r1; r++) {
        float *to = cpu_row(g->y, r) + n0;
        if (g->beta != 0) {
            const float *from = cpu_row(g->residual, r) + n0;
            if (from != to)
                memcpy(to, from, n * sizeof *to);
            for (size_t i = 0; g->bias && i < n; i++)
                to[i] += g->scale * g->bias[n0 + i];
        } else {
            memcpy(to, g->bias + n0, n * sizeof *to);
        }
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)(r1 - r0), (blasint)n, (blasint)k, g->scale,
                cpu_row(g->x, r0), (blasint)g->x.ld, (const float *)g->w->data + n0 * k, (blasint)k, start ? 1.0f : 0.0f,
                cpu_row(g->y, r0) + n0, (blasint)g->y.ld);
}

static void gemm_task(void *arg, size_t task, int thread)
{
    const Gemm *g = arg;
    (void)thread;
    size_t begin, end;
    pool_split(g->by_rows ? g->y.rows : g->w->rows, GRAIN, g->n_pieces, task, &begin, &end);
    if (g->by_rows)
        gemm_block(g, begin, end, 0, g->w->rows);
    else
        gemm_block(g, 0, g->y.rows, begin, end);
}

static void gemm_run(OpsContext *c, Gemm *g)
{
    size_t rows = g->y.rows, n = g->w->rows;
    if (!rows || !n)
        return;
    g->n_pieces = (size_t)pool_threads(c->pool);
    g->by_rows = rows > n;
    if (g->n_pieces == 1 || 2 * rows * n * g->w->cols < SMALL_FLOPS)
        gemm_block(g, 0, rows, 0, n);
    else
        pool_run(c->pool, gemm_task, g, g->n_pieces);
}

void cpu_linear(OpsContext *c, View y, View x, const Weight *w, const Weight *bias)
{
    Gemm g = {.y = y, .x = x, .w = w, .bias = cpu_given(bias) ? bias->data : NULL, .scale = 1};
    gemm_run(c, &g);
}

void cpu_linear_add(OpsContext *c, View out, View residual, float scale, View x, const Weight *w, const Weight *bias)
{
    Gemm g = {
        .y = out, .x = x, .residual = residual, .w = w, .bias = cpu_given(bias) ? bias->data : NULL, .scale = scale, .beta = 1};
    gemm_run(c, &g);
}
