/* influence_tap.c: cosines between the stream before and after each layer of the intact order. */
#include "experiments/influence_tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t influence_tap_row_bytes(const Session *s, double windows_per_row)
{
    const ModelTraits *t = &s->model->traits;
    double last = 1.5 * windows_per_row * (double)(t->n_layers + 1) * (double)t->d_model * sizeof(double);
    return t->d_model * dtype_block_bytes(s->ops->resid_dtype) + 3 * sizeof(double) + (size_t)last;
}

int influence_tap_open(const Session *s, Run *run, const Order *intact, size_t max_rows, size_t max_windows, InfluenceTap *out,
                       Error *e)
{
    memset(out, 0, sizeof *out);
    const ModelTraits *t = &s->model->traits;
    out->session = s;
    out->run = run;
    out->intact = intact;
    out->max_rows = max_rows;
    out->max_windows = max_windows;
    int status = influence_sums_init(&out->sums, t->n_layers, e);
    if (status)
        return status;
    out->previous_bytes = max_rows * t->d_model * dtype_block_bytes(s->ops->resid_dtype);
    out->dots = malloc(max_rows * 3 * sizeof *out->dots);
    out->last = malloc((size_t)(t->n_layers + 1) * max_windows * t->d_model * sizeof *out->last);
    if (!out->dots || !out->last)
        status = error_set(e, STATUS_FAILED, "influence: out of memory for %zu windows", max_windows);
    if (!status)
        status = s->ops->alloc(run_get_context(run), out->previous_bytes, &out->previous, e);
    if (status)
        influence_tap_close(out);
    return status;
}

void influence_tap_close(InfluenceTap *t)
{
    if (t->previous)
        t->session->ops->free(run_get_context(t->run), t->previous, t->previous_bytes);
    free(t->dots);
    free(t->last);
    influence_sums_free(&t->sums);
    memset(t, 0, sizeof *t);
}

void influence_tap_begin(InfluenceTap *t, const TokenBlock *block)
{
    t->block = block;
    influence_sums_clear(&t->sums);
}

static View previous_view(const InfluenceTap *t, View like)
{
    like.data = t->previous;
    return like;
}

/* Keeps the stream's last token of every window as state number `layer` (0: before the first layer). */
static void keep_last(InfluenceTap *t, int layer, View residual)
{
    const Ops *ops = t->session->ops;
    size_t d = t->session->model->traits.d_model, elem = dtype_block_bytes(ops->resid_dtype);
    for (size_t w = 0; w < t->block->n_windows; w++) {
        double *to = t->last + ((size_t)layer * t->max_windows + w) * d;
        ops->download(run_get_context(t->run), to, view_rows(residual, t->block->window_start[w + 1] - 1, 1, elem));
    }
}

static double cosine(const double *dots)
{
    double norms = sqrt(dots[1]) * sqrt(dots[2]);
    return norms == 0 ? 0 : dots[0] / norms;
}

void influence_tap_node(InfluenceTap *t, const Plan *plan, int32_t node, View residual)
{
    const Ops *ops = t->session->ops;
    OpsContext *ctx = run_get_context(t->run);
    if (plan != run_get_plan(t->run, 0))
        return;
    if (node == 0) {
        ops->copy(ctx, previous_view(t, residual), residual);
        keep_last(t, 0, residual);
        return;
    }
    for (size_t l = 0; l < t->intact->n_items; l++) {
        if (plan_node_at(plan, 0, t->intact, l, POINT_POST) != node)
            continue;
        ops->row_dots(ctx, t->dots, previous_view(t, residual), residual);
        for (size_t i = 0; i < residual.rows; i++)
            influence_add_token(&t->sums, (int)l, cosine(t->dots + 3 * i));
        keep_last(t, (int)l + 1, residual);
        if (l + 1 < t->intact->n_items)
            ops->copy(ctx, previous_view(t, residual), residual);
        return;
    }
}

void influence_tap_end(InfluenceTap *t)
{
    int n_layers = t->sums.n_layers;
    size_t d = t->session->model->traits.d_model, state = t->max_windows * d;
    for (size_t w = 0; w < t->block->n_windows; w++) {
        const double *at = t->last + w * d;
        for (int n = 1; n <= n_layers; n++)
            for (int l = 0; l + n <= n_layers; l++)
                influence_add_angle(&t->sums, n, l,
                                    influence_cosine_f64(at + (size_t)l * state, at + (size_t)(l + n) * state, d));
    }
}
