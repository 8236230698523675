/* cpu_gemm.c: y = x w^T in f32 on weights that were packed when they were prepared.
 *
 * Packed weight: panels of C = simd->gemm_cols rows of w (outputs), each panel [K][C], the last one filled up with zeros. A product is
 * cut into blocks of rows and columns of y, which the threads take in turn; a block goes over K in equal stretches of at most
 * K_BLOCK: its rows of x are packed to [K_BLOCK][R] groups of R = simd->gemm_rows (a stretch of them stays in the second cache), and
 * each panel's stretch (in the first cache) meets all of them in register tiles (simd_gemm.inc). The columns of a block are done
 * COL_BLOCK at a time; x is packed once for all of them where K <= K_KEPT, else once for each.
 *
 * An element of y is a sum over the stretches, in ascending order, of ascending chains; K alone decides it. So the batch, the
 * neighbours in it, and the threads never change its bits. The sums so far stay in memory of the thread's own: y is written
 * once, bias, scale and residual come last, and for scale 1 linear_add() gives the bits of linear() and add().
 *
 * Cache arithmetic: a panel's stretch is 4 C K_BLOCK = 25 kB at C = 16, a block of x 4 ROW_BLOCK K_BLOCK = 230 kB. */
#include <stdatomic.h>
#include <string.h>

#include "kernels/convert.h"
#include "kernels/cpu/cpu_context.h"

enum {
    ROW_BLOCK = 144,
    LEAST_ROWS = 48,
    COL_BLOCK = 768,
    TASK_COLS = 6144,
    K_BLOCK = 400,
    K_KEPT = 1600,
    MAX_TILE = 12 * 32,
    BLOCKS_A_THREAD = 4
};

typedef struct Gemm {
    OpsContext *c;
    View y, x, residual;
    const Weight *w;
    const float *bias;
    float scale;
    bool adds; /* y = residual + scale * (x w^T + bias) */
    size_t row_block, n_row_blocks, col_block, n_col_blocks, k_block;
    atomic_size_t next;
} Gemm;

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* [ROW_BLOCK + 12, COL_BLOCK + 32] sums so far, behind the packed operand. */
enum { PARTIAL_ELEMS = (ROW_BLOCK + 12) * (COL_BLOCK + 32) };

size_t cpu_gemm_scratch_elems(const OpsLimits *l)
{
    size_t k = l->d_model > l->d_ff ? l->d_model : l->d_ff, attended = l->n_heads * l->head_dim;
    k = k > attended ? k : attended;
    size_t packing = 32 * k,
           block = (ROW_BLOCK + 12) * (k < K_BLOCK ? K_BLOCK : least(k, K_KEPT)); /* rows of a panel, widened; a block of x */
    return round_up(packing > block ? packing : block, 16) + PARTIAL_ELEMS;
}

static float *scratch(const OpsContext *c, int thread)
{
    return c->gemm + (size_t)thread * cpu_gemm_scratch_elems(&c->config.limits);
}

/* A tile at the rim: the product into memory of its own, then the part that exists, as gemm_finish() does it. */
static void rim_tile(const SimdTable *simd, SimdGemmTile t, size_t rows, size_t cols)
{
    _Alignas(64) float product[MAX_TILE];
    SimdGemmTile whole = t;
    whole.y = product;
    whole.ld_y = simd->gemm_cols;
    whole.bias = whole.from = whole.residual = NULL;
    whole.scale = 1;
    simd->gemm_tile(&whole);
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < cols; i++) {
            float v = product[r * simd->gemm_cols + i];
            if (t.from)
                v += t.from[r * t.ld_from + i];
            if (t.bias)
                v += t.bias[i];
            if (t.scale != 1)
                v *= t.scale;
            if (t.residual)
                v += t.residual[r * t.ld_residual + i];
            t.y[r * t.ld_y + i] = v;
        }
    }
}

static void pack_stretch(const Gemm *g, size_t r0, size_t r1, size_t k0, size_t k, float *to)
{
    size_t group = g->c->simd->gemm_rows;
    for (size_t r = r0; r < r1; r += group, to += group * k)
        g->c->simd->gemm_pack(to, cpu_row(g->x, r) + k0, g->x.ld, least(group, r1 - r), k);
}

/* Adds one stretch of K to rows [r0, r1) and columns [n0, n1) of the sums so far; the last stretch leads to y. */
static void add_stretch(const Gemm *g, size_t r0, size_t r1, size_t n0, size_t n1, size_t k0, size_t k, const float *packed,
                        float *partial)
{
    const SimdTable *simd = g->c->simd;
    size_t big_k = g->w->cols, group = simd->gemm_rows, panel = simd->gemm_cols;
    size_t ld = round_up(n1 - n0, panel), n_groups = (r1 - r0 + group - 1) / group;
    for (size_t n = n0; n < n1; n += panel) {
        const float *w = (const float *)g->w->data + n * big_k + k0 * panel;
        /* While a panel is at work, the next one is on its way into the second cache, a share with each tile. */
        size_t share = n + panel < n1 ? round_up(k * panel / n_groups + 1, 16) : 0;
        size_t cols = least(panel, n1 - n);
        for (size_t i = 0; i < n_groups; i++) {
            size_t r = r0 + i * group, rows = least(group, r1 - r);
            SimdGemmTile t = {.x = packed + i * group * k,
                              .w = w,
                              .k = k,
                              .ahead = w + panel * big_k + i * share,
                              .n_ahead = share,
                              .y = partial + i * group * ld + n - n0,
                              .ld_y = ld,
                              .scale = 1};
            if (k0) {
                t.from = t.y;
                t.ld_from = ld;
            }
            if (k0 + k == big_k) {
                t.y = cpu_row(g->y, r) + n;
                t.ld_y = g->y.ld;
                t.scale = g->scale;
                t.bias = g->bias ? g->bias + n : NULL;
                t.residual = g->adds ? cpu_row(g->residual, r) + n : NULL;
                t.ld_residual = g->residual.ld;
            }
            if (rows == group && cols == panel)
                simd->gemm_tile(&t);
            else
                rim_tile(simd, t, rows, cols);
        }
    }
}

/* Rows [r0, r1) and columns [n0, n1) of y; n0 is a panel's first. memory: the thread's scratch. */
static void gemm_block(const Gemm *g, size_t r0, size_t r1, size_t n0, size_t n1, float *memory)
{
    float *partial = memory + cpu_gemm_scratch_elems(&g->c->config.limits) - PARTIAL_ELEMS;
    size_t big_k = g->w->cols, height = round_up(r1 - r0, g->c->simd->gemm_rows);
    bool keep = big_k <= K_KEPT;
    for (size_t k0 = 0; keep && k0 < big_k; k0 += g->k_block)
        pack_stretch(g, r0, r1, k0, least(g->k_block, big_k - k0), memory + height * k0);
    for (size_t n = n0; n < n1; n += COL_BLOCK) {
        for (size_t k0 = 0; k0 < big_k; k0 += g->k_block) {
            size_t k = least(g->k_block, big_k - k0);
            if (!keep)
                pack_stretch(g, r0, r1, k0, k, memory);
            add_stretch(g, r0, r1, n, least(n + COL_BLOCK, n1), k0, k, keep ? memory + height * k0 : memory, partial);
        }
    }
}

/* Row blocks change fastest: the panels of a column block stay in the last cache while they are used. */
static void gemm_task(void *arg, size_t task, int thread)
{
    Gemm *g = arg;
    (void)task;
    for (;;) {
        size_t i = atomic_fetch_add_explicit(&g->next, 1, memory_order_relaxed);
        if (i >= g->n_row_blocks * g->n_col_blocks)
            return;
        size_t r = i % g->n_row_blocks * g->row_block, n = i / g->n_row_blocks * g->col_block;
        gemm_block(g, r, least(r + g->row_block, g->y.rows), n, least(n + g->col_block, g->w->rows), scratch(g->c, thread));
    }
}

static void gemm_run(OpsContext *c, Gemm *g)
{
    size_t rows = g->y.rows, n = g->w->rows, k = g->w->cols, threads = (size_t)pool_threads(c->pool);
    if (!rows || !n)
        return;
    size_t n_rows = (rows + ROW_BLOCK - 1) / ROW_BLOCK, n_cols = (n + TASK_COLS - 1) / TASK_COLS;
    /* More blocks for a balance among threads: shorter ones first, since each column block packs its x anew. */
    size_t wanted = threads > 1 ? BLOCKS_A_THREAD * threads : 1;
    if (n_rows * n_cols < wanted && rows > n_rows * LEAST_ROWS)
        n_rows = least((wanted + n_cols - 1) / n_cols, rows / LEAST_ROWS);
    if (n_rows * n_cols < wanted)
        n_cols = (wanted + n_rows - 1) / n_rows;
    g->c = c;
    g->row_block = round_up((rows + n_rows - 1) / n_rows, c->simd->gemm_rows);
    g->col_block = round_up((n + n_cols - 1) / n_cols, c->simd->gemm_cols);
    g->n_row_blocks = (rows + g->row_block - 1) / g->row_block;
    g->n_col_blocks = (n + g->col_block - 1) / g->col_block;
    g->k_block = (k + (k + K_BLOCK - 1) / K_BLOCK - 1) / ((k + K_BLOCK - 1) / K_BLOCK);
    pool_run(c->pool, gemm_task, g, least(threads, g->n_row_blocks * g->n_col_blocks));
}

void cpu_linear(OpsContext *c, View y, View x, const Weight *w, const Weight *bias)
{
    Gemm g = {.y = y, .x = x, .w = w, .bias = cpu_given(bias) ? bias->data : NULL, .scale = 1};
    gemm_run(c, &g);
}

void cpu_linear_add(OpsContext *c, View out, View residual, float scale, View x, const Weight *w, const Weight *bias)
{
    Gemm g = {.y = out,
              .x = x,
              .residual = residual,
              .w = w,
              .bias = cpu_given(bias) ? bias->data : NULL,
              .scale = scale,
              .adds = true};
    gemm_run(c, &g);
}

size_t cpu_packed_elems(size_t rows, size_t cols)
{
    return round_up(rows, simd_table(cpu_level())->gemm_cols) * cols;
}

typedef struct Packing {
    OpsContext *c;
    const WeightPart *parts;
    size_t n_parts, rows, cols;
    float *to;
} Packing;

static void pack_panels(void *arg, size_t first, size_t end, int thread)
{
    const Packing *p = arg;
    size_t panel = p->c->simd->gemm_cols, k = p->cols;
    float *widened = scratch(p->c, thread); /* [panel, K] */
    for (size_t i = first; i < end; i++) {
        size_t n = least(panel, p->rows - i * panel), row = i * panel, part = 0;
        while (row >= p->parts[part].rows)
            row -= p->parts[part++].rows;
        for (size_t r = 0; r < n; r++, row++) {
            for (; row >= p->parts[part].rows; part++)
                row = 0;
            convert_row_f32(&p->parts[part], row, widened + r * k);
        }
        memset(widened + n * k, 0, (panel - n) * k * sizeof *widened);
        float *to = p->to + i * panel * k;
        for (size_t j = 0; j < k; j++)
            for (size_t r = 0; r < panel; r++)
                *to++ = widened[r * k + j];
    }
}

int cpu_pack_weight(OpsContext *c, float *to, const WeightPart *parts, size_t n_parts, size_t rows, Error *e)
{
    size_t panel = c->simd->gemm_cols, cols = n_parts ? parts[0].cols : 0;
    if (panel * cols > cpu_gemm_scratch_elems(&c->config.limits))
        return error_set(e, STATUS_FAILED, "cpu: a weight has %zu inputs, more than the context was opened for", cols);
    Packing p = {.c = c, .parts = parts, .n_parts = n_parts, .rows = rows, .cols = cols, .to = to};
    cpu_for_rows(c, (rows + panel - 1) / panel, 2, pack_panels, &p);
    return STATUS_OK;
}
