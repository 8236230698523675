/* cuda_table_pairs.cu: entries of the device tables for bytes, gathered rows and pairs of rows: lists of the host go through the ring in
 * pieces that fit it, results come back through a stage. */
#include "kernels/cuda/cuda_pairs.cuh"
#include "kernels/cuda/cuda_table.cuh"

void table_clear(OpsContext *c, void *memory, size_t bytes)
{
    context_enter(c, "clear");
    context_ok(c, "clear", cudaMemsetAsync(memory, 0, bytes, c->compute));
}

void table_read(OpsContext *c, void *dst, const void *memory, size_t bytes)
{
    context_enter(c, "read");
    for (size_t at = 0; at < bytes; at += CONTEXT_STAGE_BYTES) {
        size_t n = bytes - at < CONTEXT_STAGE_BYTES ? bytes - at : CONTEXT_STAGE_BYTES;
        char *host, *device;
        if (!context_stage_take(c, "read", &host, &device))
            return;
        if (!context_bring(c, "read", (char *)dst + at, (const char *)memory + at, host, n))
            return;
    }
}

void table_gather(OpsContext *c, View out, View x, const int32_t *rows)
{
    size_t most = c->layout.ring_part_bytes / sizeof *rows;
    context_enter(c, "gather");
    for (size_t at = 0; at < out.rows; at += most) {
        size_t n = out.rows - at < most ? out.rows - at : most;
        const int32_t *there = (const int32_t *)context_ring_put(c, "gather", rows + at, n * sizeof *rows);
        if (!there)
            return;
        cuda_gather(c->compute, view_rows(out, at, n, sizeof(float)), x, there);
        launched(c, "gather");
    }
}

void table_pair_sums(OpsContext *c, const PairSums *to, View x, const PairItem *items, size_t n_items)
{
    size_t most = c->layout.ring_part_bytes / sizeof *items;
    PairSums sums = *to;
    context_enter(c, "pair_sums");
    for (size_t at = 0; at < n_items; at += most) {
        size_t n = n_items - at < most ? n_items - at : most;
        const PairItem *there = (const PairItem *)context_ring_put(c, "pair_sums", items + at, n * sizeof *items);
        if (!there)
            return;
        cuda_pair_sums(c->compute, &sums, x, there, n);
        launched(c, "pair_sums");
        for (size_t i = at; i < at + n; i++)
            for (int k = 0; k < PAIR_CLASSES; k++)
                sums.n[k] += items[i].at[k] != PAIR_NONE;
    }
}

void table_compare_rows(OpsContext *c, RowsCompared *out, View x, const RowPair *pairs, size_t n, const double *weight)
{
    size_t most = c->layout.ring_part_bytes / sizeof *pairs, results = CONTEXT_STAGE_BYTES / sizeof *out;
    most = most < results ? most : results;
    context_enter(c, "compare_rows");
    for (size_t at = 0; at < n; at += most) {
        size_t some = n - at < most ? n - at : most;
        char *host, *device;
        const double *w = (const double *)context_ring_put(c, "compare_rows", weight, x.cols * sizeof *weight);
        const RowPair *p = w ? (const RowPair *)context_ring_put(c, "compare_rows", pairs + at, some * sizeof *pairs) : NULL;
        if (!p || !context_stage_take(c, "compare_rows", &host, &device))
            return;
        cuda_compare_rows(c->compute, (RowsCompared *)(void *)device, x, p, some, w);
        launched(c, "compare_rows");
        if (!context_bring(c, "compare_rows", out + at, device, host, some * sizeof *out))
            return;
    }
}
