/* cpu_attention_stable.c: attention of cpu/stable: that of cpu_attention.c with our register tiles in BLAS's place, whose sums have
 * one order: a score is one ascending chain over head_dim (in stretches of STRETCH, added in ascending order), an output one
 * over the keys, in stretches of STRETCH counted from the sequence's key 0. Masked keys add a product with 0. So how many
 * queries share a tile, and which, cannot change a bit; softmax sees a query's own keys alone.
 *
 * The keys of a tile are packed to panels [k, C] of C = gemm_cols keys, the values to panels of C columns, one panel at a time. */
#include <string.h>

#include "kernels/cpu/cpu_context.h"

enum { STRETCH = 256, MAX_GROUP = 12, MAX_PANEL = 32, PADDED_TILE = ATTENTION_TILE + MAX_GROUP };

/* Rows of k or v that hold keys [first, first + n) of a sequence, as pointers to column `col`. */
static void find_keys(const AttnSeq *s, View kv, size_t col, size_t first, size_t n, const float **out)
{
    size_t i = 0, at = first;
    while (at >= s->segments[i].n_rows)
        at -= s->segments[i++].n_rows;
    for (size_t j = 0; j < n; j++, at++) {
        for (; at >= s->segments[i].n_rows; i++)
            at = 0;
        out[j] = cpu_row(kv, s->segments[i].first_row + at) + col;
    }
}

/* y[n_rows, cols] (+)= x w for all groups of packed rows; cols <= C. */
static void panel_product(const SimdTable *simd, const float *packed, size_t n_rows, const float *panel, size_t k, bool first,
                          float *y, size_t ld, size_t cols)
{
    size_t group = simd->gemm_rows;
    for (size_t r = 0; r < n_rows; r += group) {
        _Alignas(64) float product[MAX_GROUP * MAX_PANEL];
        size_t rows = n_rows - r < group ? n_rows - r : group;
        bool whole = rows == group && cols == simd->gemm_cols;
        float *to = y + r * ld;
        SimdGemmTile t = {.x = packed + r * k,
                          .w = panel,
                          .k = k,
                          .y = whole ? to : product,
                          .ld_y = whole ? ld : simd->gemm_cols,
                          .from = whole && !first ? to : NULL,
                          .ld_from = ld,
                          .scale = 1};
        simd->gemm_tile(&t);
        for (size_t i = 0; !whole && i < rows; i++)
            for (size_t n = 0; n < cols; n++)
                to[i * ld + n] = first ? product[i * simd->gemm_cols + n] : product[i * simd->gemm_cols + n] + to[i * ld + n];
    }
}

static void pack_groups(const SimdTable *simd, float *to, const float *x, size_t ld, size_t n_rows, size_t k)
{
    for (size_t r = 0; r < n_rows; r += simd->gemm_rows)
        simd->gemm_pack(to + r * k, x + r * ld, ld, n_rows - r < simd->gemm_rows ? n_rows - r : simd->gemm_rows, k);
}

static float *scratch(const CpuAttention *a, int thread)
{
    return a->c->gemm + (size_t)thread * cpu_gemm_scratch_elems(&a->c->config.limits);
}

static void score_keys(const CpuAttention *a, const AttnSeq *s, const float *q, size_t n_q, size_t kv_col, size_t lo, size_t hi,
                       float *scores, size_t ld, int thread)
{
    const SimdTable *simd = a->c->simd;
    float *packed = scratch(a, thread), *panel = packed + PADDED_TILE * STRETCH;
    size_t dh = (size_t)a->spec->head_dim, cols = simd->gemm_cols;
    for (size_t d0 = 0; d0 < dh; d0 += STRETCH) {
        size_t k = dh - d0 < STRETCH ? dh - d0 : STRETCH;
        pack_groups(simd, packed, q + d0, a->q.ld, n_q, k);
        for (size_t j = lo; j < hi; j += cols) {
            const float *keys[MAX_PANEL];
            size_t n = hi - j < cols ? hi - j : cols;
            find_keys(s, a->k, kv_col + d0, j, n, keys);
            if (n < cols)
                memset(panel, 0, k * cols * sizeof *panel);
            for (size_t i = 0; i < k; i++)
                for (size_t m = 0; m < n; m++)
                    panel[i * cols + m] = keys[m][i];
            panel_product(simd, packed, n_q, panel, k, d0 == 0, scores + j - lo, ld, n);
        }
    }
}

static void sum_values(const CpuAttention *a, const AttnSeq *s, const float *p, size_t ld, size_t n_q, size_t kv_col, size_t lo,
                       size_t hi, float *out, int thread)
{
    const SimdTable *simd = a->c->simd;
    float *packed = scratch(a, thread), *panel = packed + PADDED_TILE * STRETCH;
    size_t dh = (size_t)a->spec->head_dim, cols = simd->gemm_cols;
    for (size_t j0 = lo, j1; j0 < hi; j0 = j1) {
        const float *values[STRETCH];
        j1 = (j0 / STRETCH + 1) * STRETCH < hi ? (j0 / STRETCH + 1) * STRETCH : hi;
        size_t k = j1 - j0;
        pack_groups(simd, packed, p + j0 - lo, ld, n_q, k);
        find_keys(s, a->v, kv_col, j0, k, values);
        for (size_t d = 0; d < dh; d += cols) {
            size_t n = dh - d < cols ? dh - d : cols;
            if (n < cols)
                memset(panel, 0, k * cols * sizeof *panel);
            for (size_t j = 0; j < k; j++)
                memcpy(panel + j * cols, values[j] + d, n * sizeof *panel);
            panel_product(simd, packed, n_q, panel, k, j0 == lo, out + d, a->out.ld, n);
        }
    }
}

void cpu_attention_stable(OpsContext *c, View out, View q, View k, View v, const AttnSeq *seqs, size_t n_seqs,
                          const AttnSpec *spec)
{
    CpuAttention a = {.c = c,
                      .out = out,
                      .q = q,
                      .k = k,
                      .v = v,
                      .seqs = seqs,
                      .n_seqs = n_seqs,
                      .spec = spec,
                      .scores = score_keys,
                      .values = sum_values};
    cpu_attention_run(&a);
}
