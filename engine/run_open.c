/* run_open.c: taking and giving back all the memory of a run: plans, weight slots, residuals, results, the head's tiles. What each takes
 * is decided in run_sizes.c. */
#include <stdlib.h>
#include <string.h>

#include "engine/run_internal.h"

static void count_plans(Run *r)
{
    PlanCounters *c = &r->counters.plan;
    for (size_t g = 0; g < r->sizes.n_groups; g++) {
        const PlanCounters *p = &r->plans[g].counters;
        c->attn_evaluations += p->attn_evaluations;
        c->mlp_evaluations += p->mlp_evaluations;
        c->visits += p->visits;
        c->loads += p->loads;
        c->n_buffers = p->n_buffers > c->n_buffers ? p->n_buffers : c->n_buffers;
        c->n_slots = p->n_slots;
    }
    c->layer_evaluations = (c->attn_evaluations + c->mlp_evaluations + 1) / 2;
    int64_t halves = 0;
    for (size_t o = 0; o < r->request.n_orders; o++)
        for (size_t i = 0; i < r->request.orders[o].n_items; i++)
            halves += r->request.orders[o].items[i].part == PART_BOTH ? 2 : 1;
    r->counters.naive_layer_evaluations = (halves + 1) / 2;
}

static int open_results(Run *r)
{
    size_t n = r->request.n_orders, rows = r->sizes.block_rows;
    if (r->request.no_head)
        return STATUS_OK;
    r->results = calloc(n, sizeof *r->results);
    r->result_memory = malloc(run_result_bytes(&r->request, rows));
    if (!r->results || !r->result_memory)
        return STATUS_FAILED;
    double *d = r->result_memory;
    for (size_t o = 0; o < n; o++, d += 4 * rows) {
        r->results[o].nll = d;
        r->results[o].kl = d + rows;
        r->results[o].word_start_logp = d + 2 * rows;
        r->results[o].lse = d + 3 * rows;
    }
    int32_t *i = (int32_t *)(void *)d;
    for (size_t o = 0; o < n; o++, i += 2 * rows) {
        r->results[o].rank = i;
        r->results[o].top1 = i + rows;
    }
    r->predict_row = i;
    r->targets = i + rows;
    return STATUS_OK;
}

/* Of the head, or of the final norm alone. */
static size_t head_slot_bytes(const Run *r)
{
    const Session *s = r->session;
    return r->request.no_head ? model_final_norm_slot_bytes(s->model, s->ops) : model_head_slot_bytes(s->model, s->ops);
}

static int open_head(Run *r, Error *e)
{
    const Ops *ops = r->session->ops;
    const ModelTraits *t = &r->session->model->traits;
    if (r->request.no_head && !r->request.final_norm)
        return STATUS_OK;
    int status = ops->alloc(r->ctx, head_slot_bytes(r), &r->head_slot, e);
    if (status)
        return status;
    size_t rows = r->sizes.head_rows, elem = dtype_block_bytes(ops->gemm_dtype);
    size_t x_bytes = rows * t->d_model * elem, projected_bytes = rows * t->d_embed * elem;
    size_t logit_bytes = rows * t->vocab * dtype_block_bytes(ops->logit_dtype), n_logits = r->request.n_orders > 1 ? 2 : 1;
    if (r->request.no_head)
        projected_bytes = n_logits = 0;
    r->head_bytes = x_bytes + projected_bytes + n_logits * logit_bytes;
    if ((status = ops->alloc(r->ctx, r->head_bytes, &r->head_memory, e)))
        return status;
    char *at = r->head_memory;
    r->first_logits = (View){.data = at, .dtype = ops->logit_dtype, .rows = rows, .cols = t->vocab, .ld = t->vocab};
    r->logits = r->first_logits;
    r->logits.data = at + (n_logits > 1 ? logit_bytes : 0);
    r->head_x = (View){
        .data = at + n_logits * logit_bytes, .dtype = ops->gemm_dtype, .rows = rows, .cols = t->d_model, .ld = t->d_model};
    r->projected = r->head_x;
    r->projected.data = (char *)r->head_x.data + x_bytes;
    r->projected.cols = r->projected.ld = t->d_embed;
    return STATUS_OK;
}

static int open_slots(Run *r, Error *e)
{
    const Session *s = r->session;
    size_t n = (size_t)r->sizes.n_slots, experts = (size_t)s->model->traits.route.n_experts;
    r->slot_bytes = model_layer_slot_bytes(s->model, s->ops, -1);
    r->slot_weights = calloc(n, sizeof *r->slot_weights);
    r->slot_layer = malloc(n * sizeof *r->slot_layer);
    r->layer_checked = calloc((size_t)s->model->traits.n_layers + 1, sizeof *r->layer_checked);
    if (!r->slot_weights || !r->slot_layer || !r->layer_checked)
        return error_set(e, STATUS_FAILED, "run: out of memory for %zu weight slots", n);
    for (size_t i = 0; i < n; i++) {
        r->slot_layer[i] = -1;
        if (experts && !(r->slot_weights[i].experts = calloc(experts, sizeof(ExpertWeights))))
            return error_set(e, STATUS_FAILED, "run: out of memory for %zu experts", experts);
    }
    return s->ops->alloc(r->ctx, n * r->slot_bytes, &r->slots, e);
}

int run_open(const Session *s, const RunRequest *request, Run **out, Error *e)
{
    Run *r = calloc(1, sizeof *r);
    if (!r)
        return error_set(e, STATUS_FAILED, "run: out of memory");
    r->session = s;
    r->request = *request;
    int status = run_sizes(s, request, &r->sizes, e);
    if (status)
        goto fail;
    status = STATUS_FAILED;
    r->plans = calloc(r->sizes.n_groups, sizeof *r->plans);
    size_t widest = 1, largest_group = 1;
    if (!r->plans || open_results(r)) {
        error_set(e, status, "run: out of memory for the results of %zu orders", request->n_orders);
        goto fail;
    }
    for (size_t g = 0; g < r->sizes.n_groups; g++) {
        if ((status = run_build_plan(s, request, r->sizes.n_groups, g, r->sizes.n_slots, &r->plans[g], e)))
            goto fail;
        for (int32_t b = 0; b < r->plans[g].n_batches; b++)
            widest = (size_t)r->plans[g].batches[b].n_nodes > widest ? (size_t)r->plans[g].batches[b].n_nodes : widest;
        for (int32_t i = 0; i < r->plans[g].n_nodes; i++)
            if ((size_t)r->plans[g].nodes[i].n_members > largest_group)
                largest_group = (size_t)r->plans[g].nodes[i].n_members;
    }
    count_plans(r);
    OpsConfig config = {.limits = run_limits(s->model, request, &r->sizes), .pool = s->pool, .device_index = s->device_index};
    ForwardSizes fs = {.max_rows = r->sizes.tile_rows, .max_window = request->longest_window};
    if ((status = s->ops->open(&config, &r->ctx, e)))
        goto fail;
    if ((status = forward_open(s->model, s->ops, r->ctx, &fs, s->rope, &r->forward, e)))
        goto fail;
    if ((status = open_slots(r, e)) || (status = open_head(r, e)))
        goto fail;
    size_t n_residuals = r->sizes.n_buffers + (r->sizes.n_groups > 1 ? 1 : 0);
    if ((status = s->ops->alloc(r->ctx, n_residuals * run_residual_bytes(s, r->sizes.block_rows), &r->residuals, e)))
        goto fail;
    if (request->branches && (status = s->ops->alloc(r->ctx, 2 * run_residual_bytes(s, r->sizes.block_rows), &r->branches, e)))
        goto fail;
    r->lanes = malloc(widest * sizeof *r->lanes);
    r->members = malloc(largest_group * sizeof *r->members);
    if (!r->lanes || !r->members) {
        status = error_set(e, STATUS_FAILED, "run: out of memory");
        goto fail;
    }
    *out = r;
    return STATUS_OK;
fail:
    run_close(r);
    return status;
}

void run_close(Run *r)
{
    if (!r)
        return;
    const Ops *ops = r->session->ops;
    const Session *s = r->session;
    if (r->ctx) {
        size_t n_residuals = r->sizes.n_buffers + (r->sizes.n_groups > 1 ? 1 : 0);
        if (r->residuals)
            ops->free(r->ctx, r->residuals, n_residuals * run_residual_bytes(s, r->sizes.block_rows));
        if (r->slots)
            ops->free(r->ctx, r->slots, (size_t)r->sizes.n_slots * r->slot_bytes);
        if (r->head_slot)
            ops->free(r->ctx, r->head_slot, head_slot_bytes(r));
        if (r->branches)
            ops->free(r->ctx, r->branches, 2 * run_residual_bytes(s, r->sizes.block_rows));
        if (r->head_memory)
            ops->free(r->ctx, r->head_memory, r->head_bytes);
        forward_close(r->forward);
        ops->close(r->ctx);
    }
    for (size_t g = 0; r->plans && g < r->sizes.n_groups; g++)
        plan_free(&r->plans[g]);
    for (int i = 0; r->slot_weights && i < r->sizes.n_slots; i++)
        free(r->slot_weights[i].experts);
    free(r->plans);
    free(r->slot_weights);
    free(r->slot_layer);
    free(r->layer_checked);
    free(r->lanes);
    free(r->members);
    free(r->results);
    free(r->result_memory);
    free(r);
}
