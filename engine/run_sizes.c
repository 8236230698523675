/* run_sizes.c: how a run's memory is laid out under the budget. Pure functions of model, table, request and budget.
 *
 * In order of preference: all layers' weights prepared once and kept (then blocks need be no taller than GEMM efficiency asks);
 * else weights stream, and blocks are as tall as the budget allows, because every block reads all weights again; two slots
 * where they leave most of the budget to the blocks. When the residuals of all orders do not fit even for one window, the orders
 * are split into groups with plans of their own. */
#include "engine/run_internal.h"

#include <string.h>

enum {
    RESIDENT_BLOCK_ROWS = 2048,
    STREAMING_BLOCK_ROWS = 32768,
    TILE_ROWS = 1024,
    HEAD_ROWS_MOST = 512,
    HEAD_ROWS_LEAST = 16,
};

/* The processor's, unless the table says what it wants. */
static size_t tile_rows(const Ops *ops)
{
    return ops->tile_rows ? ops->tile_rows : TILE_ROWS;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Of an op table's sizes: what OpsConfig.limits says of this run. */
OpsLimits run_limits(const Model *m, const RunRequest *q, const RunSizes *z)
{
    const ModelTraits *t = &m->traits;
    return (OpsLimits){.max_rows = z->tile_rows > z->head_rows ? z->tile_rows : z->head_rows,
                       .max_head_rows = z->head_rows,
                       .max_seq = q->longest_window,
                       .d_model = most(t->d_model, traits_embed_width(t)),
                       .d_ff = traits_widest_mlp(t),
                       .n_heads = (size_t)t->n_heads,
                       .n_kv_heads = (size_t)t->n_kv_heads,
                       .head_dim = (size_t)t->head_dim,
                       .n_experts = (size_t)t->route.n_experts,
                       .top_k = (size_t)t->route.top_k,
                       .vocab = t->vocab};
}

size_t run_residual_bytes(const Session *s, size_t rows)
{
    size_t bytes = rows * s->model->traits.d_model * dtype_block_bytes(s->ops->resid_dtype);
    return (bytes + 63) & ~(size_t)63;
}

size_t run_result_bytes(const RunRequest *q, size_t rows)
{
    return q->no_head ? 0 : q->n_orders * rows * (4 * sizeof(double) + 2 * sizeof(int32_t)) + rows * 2 * sizeof(int32_t);
}

static size_t total_bytes(const Session *s, const RunRequest *q, const RunSizes *z)
{
    const Model *m = s->model;
    OpsConfig config = {.limits = run_limits(m, q, z), .pool = s->pool};
    ForwardSizes fs = {.max_rows = z->tile_rows, .max_window = q->longest_window};
    size_t layer = model_layer_slot_bytes(m, s->ops, -1);
    size_t bytes = q->reserve_bytes + z->block_rows * q->reserve_row_bytes + s->ops->context_bytes(&config) +
                   forward_bytes(m, s->ops, &fs);
    bytes += (size_t)z->n_slots * layer + model_transient_bytes(m);
    bytes += (z->n_buffers + (z->n_groups > 1 ? 1 : 0)) * run_residual_bytes(s, z->block_rows);
    bytes += run_result_bytes(q, z->block_rows) + (q->branches ? 2 * run_residual_bytes(s, z->block_rows) : 0);
    if (q->no_head && q->final_norm)
        bytes +=
            model_final_norm_slot_bytes(m, s->ops) + z->head_rows * m->traits.d_model * dtype_block_bytes(s->ops->gemm_dtype);
    if (!q->no_head) {
        size_t logits = z->head_rows * m->traits.vocab * dtype_block_bytes(s->ops->logit_dtype);
        bytes += model_head_slot_bytes(m, s->ops) + (q->n_orders > 1 ? 2 : 1) * logits;
        bytes += z->head_rows * (m->traits.d_model + m->traits.d_embed) * dtype_block_bytes(s->ops->gemm_dtype);
    }
    return bytes;
}

/* The orders of group g of n: group 0 holds orders[0] too. Orders 1.. are split evenly, neighbours together (they share most). */
void run_group_range(size_t n_orders, size_t n_groups, size_t g, size_t *first, size_t *end)
{
    size_t rest = n_orders - 1;
    *first = g == 0 ? 0 : 1 + rest * g / n_groups;
    *end = 1 + rest * (g + 1) / n_groups;
}

int run_build_plan(const Session *s, const RunRequest *q, size_t n_groups, size_t g, int n_slots, Plan *out, Error *e)
{
    size_t first, end;
    run_group_range(q->n_orders, n_groups, g, &first, &end);
    PlanOptions options = {.n_layers = s->model->traits.n_layers,
                           .parallel_residual = s->model->traits.residual == RESIDUAL_PARALLEL,
                           .naive = q->naive,
                           .n_slots = n_slots};
    return plan_build(q->orders + first, end - first, &options, out, e);
}

/* The most residual buffers any group needs. */
static int count_buffers(const Session *s, const RunRequest *q, size_t n_groups, size_t *n_buffers, Error *e)
{
    *n_buffers = 0;
    for (size_t g = 0; g < n_groups; g++) {
        Plan plan;
        int status = run_build_plan(s, q, n_groups, g, 1, &plan, e);
        if (status)
            return status;
        size_t n = (size_t)plan.counters.n_buffers;
        *n_buffers = n > *n_buffers ? n : *n_buffers;
        plan_free(&plan);
    }
    return STATUS_OK;
}

static bool fits(const Session *s, const RunRequest *q, RunSizes *z)
{
    z->total_bytes = total_bytes(s, q, z);
    return z->total_bytes <= s->memory_bytes;
}

/* Sets the block (and the tile, which is never taller) and says whether the whole fits. */
static bool fits_block(const Session *s, const RunRequest *q, RunSizes *z, size_t block_rows, int n_slots, size_t head_rows)
{
    z->block_rows = block_rows;
    z->tile_rows = most(most(q->longest_window, q->longest_family), least(tile_rows(s->ops), block_rows));
    z->n_slots = n_slots;
    z->head_rows = head_rows;
    return fits(s, q, z);
}

int run_sizes(const Session *s, const RunRequest *q, RunSizes *out, Error *e)
{
    memset(out, 0, sizeof *out);
    size_t window = most(q->longest_window, q->longest_family), total = most(window, q->total_rows);
    size_t least_block = q->block_rows ? q->block_rows : window;
    int n_layers = s->model->traits.n_layers;
    int enough_slots = n_layers; /* more than the plan's distinct layers would never be used */
    size_t n_groups = 1;
    for (;; n_groups = least(2 * n_groups, q->n_orders)) {
        out->n_groups = n_groups;
        int status = count_buffers(s, q, n_groups, &out->n_buffers, e);
        if (status)
            return status;
        if (fits_block(s, q, out, least_block, 1, HEAD_ROWS_LEAST))
            break;
        if (n_groups >= q->n_orders) {
            double mib = 1024.0 * 1024.0;
            return error_set(
                e, STATUS_USAGE,
                "--memory: the budget of %.0f MiB is too small: expected at least %.0f MiB for windows of %zu tokens",
                (double)s->memory_bytes / mib, (double)out->total_bytes / mib + 1, window);
        }
    }
    size_t head_rows = least(s->ops->head_rows ? s->ops->head_rows : HEAD_ROWS_MOST, most(HEAD_ROWS_LEAST, total));
    size_t good_block = q->block_rows ? q->block_rows : most(window, least(TILE_ROWS, total));
    size_t best_block = least_block;
    int n_slots = 1;
    if (fits_block(s, q, out, good_block, enough_slots, least(head_rows, 128))) {
        n_slots = enough_slots;
        best_block = good_block;
    } else if (fits_block(s, q, out, least(good_block, 2 * least_block), 2, HEAD_ROWS_LEAST)) {
        n_slots = 2;
    }
    if (!q->block_rows) {
        size_t resident = most(RESIDENT_BLOCK_ROWS, tile_rows(s->ops));
        size_t ceiling = least(total, most(window, n_slots == enough_slots ? resident : STREAMING_BLOCK_ROWS));
        for (size_t rows = ceiling; rows > best_block; rows = rows - (rows + 15) / 16) {
            if (fits_block(s, q, out, rows, n_slots, least(head_rows, 128))) {
                best_block = rows;
                break;
            }
        }
    }
    for (; head_rows > HEAD_ROWS_LEAST; head_rows /= 2)
        if (fits_block(s, q, out, best_block, n_slots, head_rows))
            break;
    head_rows = most(head_rows, HEAD_ROWS_LEAST);
    if (!fits_block(s, q, out, best_block, n_slots, head_rows))
        fits_block(s, q, out, least_block, 1, HEAD_ROWS_LEAST);
    return STATUS_OK;
}
