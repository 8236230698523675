/* audit_walk.c: see audit_walk.h. */
#include "experiments/audit_walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/run_internal.h"

typedef struct Walker {
    const AuditWalk *w;
    Forward *forward;
    TokenBlock block;
    size_t starts[2], n;
    void *slot, *head_slot, *residuals, *head_memory;
    size_t slot_bytes, head_slot_bytes, residual_bytes, n_residuals, head_bytes;
    LayerWeights weights;
    int prepared; /* layer in the slot */
} Walker;

int audit_stopped(const volatile sig_atomic_t *stop, Error *e)
{
    return stop && *stop ? error_set(e, STATUS_INTERRUPTED, "interrupted") : STATUS_OK;
}

OpsConfig audit_walk_config(const Session *s, size_t n)
{
    RunSizes sizes = {.tile_rows = n, .head_rows = n};
    RunRequest request = {.longest_window = n};
    return (OpsConfig){.limits = run_limits(s->model, &request, &sizes), .pool = s->pool, .device_index = s->device_index};
}

static View residual(const Walker *k, size_t i)
{
    const AuditWalk *w = k->w;
    return (View){.data = (char *)k->residuals + i * k->residual_bytes,
                  .dtype = w->ops->resid_dtype,
                  .rows = k->n,
                  .cols = w->model->traits.d_model,
                  .ld = w->model->traits.d_model};
}

static void announce(const Walker *k, StepKind kind, int layer, View in)
{
    if (k->w->on_step)
        k->w->on_step(k->w->user, kind, layer, in);
}

static void half(Walker *k, StepKind kind, int layer, View in, View out)
{
    ForwardLane lane = {.in = in, .out = out};
    announce(k, kind, layer, in);
    forward_batch(k->forward, kind, layer, &k->weights, &k->block, &lane, 1);
}

/* One item: `out` may be `in`. */
static int run_item(Walker *k, const OrderItem *item, View in, View out, Error *e)
{
    const AuditWalk *w = k->w;
    int status = audit_stopped(w->stop, e);
    if (!status && k->prepared != item->layer) {
        w->ops->slot_done(w->ctx, k->slot);
        status = model_prepare_layer(w->model, w->ops, w->ctx, item->layer, k->slot, true, &k->weights, e);
        k->prepared = status ? -1 : item->layer;
    }
    if (status)
        return status;
    if (item->part == PART_ATTN) {
        half(k, STEP_ATTN, item->layer, in, out);
    } else if (item->part == PART_MLP) {
        half(k, STEP_MLP, item->layer, in, out);
    } else if (w->model->traits.residual == RESIDUAL_PARALLEL) {
        half(k, STEP_WHOLE, item->layer, in, out);
    } else {
        half(k, STEP_ATTN, item->layer, in, out);
        half(k, STEP_MLP, item->layer, out, out);
    }
    return w->ops->sync(w->ctx, e);
}

static size_t group_size(const Order *o, size_t first)
{
    size_t n = 1;
    while (first + n < o->n_items && o->items[first + n].joins)
        n++;
    return n;
}

/* Residual 0 holds the stream; the members of a group write to those behind it. */
static int run_items(Walker *k, const Order *o, Error *e)
{
    View stream = residual(k, 0);
    int status = STATUS_OK;
    for (size_t i = 0, n; !status && i < o->n_items; i += n) {
        n = group_size(o, i);
        if (n == 1) {
            status = run_item(k, &o->items[i], stream, stream, e);
            continue;
        }
        View *members = malloc(n * sizeof *members);
        if (!members)
            return error_set(e, STATUS_FAILED, "audit: out of memory for a group of %zu", n);
        for (size_t m = 0; !status && m < n; m++) {
            members[m] = residual(k, m + 1);
            status = run_item(k, &o->items[i + m], stream, members[m], e);
        }
        if (!status)
            k->w->ops->mean(k->w->ctx, stream, members, n);
        free(members);
    }
    return status;
}

static int run_head(Walker *k, double *nll, Error *e)
{
    const AuditWalk *w = k->w;
    const Ops *ops = w->ops;
    const ModelTraits *t = &w->model->traits;
    size_t n = k->n, gemm = dtype_block_bytes(ops->gemm_dtype), at = n * t->vocab * dtype_block_bytes(ops->logit_dtype);
    HeadWeights weights;
    int status = audit_stopped(w->stop, e);
    if (!status)
        status = model_prepare_head(w->model, ops, w->ctx, k->head_slot, &weights, e);
    double *numbers = malloc(3 * n * sizeof *numbers);
    int32_t *integers = malloc(3 * n * sizeof *integers);
    if (!status && (!numbers || !integers))
        status = error_set(e, STATUS_FAILED, "audit: out of memory for the head of %zu tokens", n);
    if (!status) {
        char *memory = k->head_memory;
        View logits = {.data = memory, .dtype = ops->logit_dtype, .rows = n, .cols = t->vocab, .ld = t->vocab};
        View x = {.data = memory + at, .dtype = ops->gemm_dtype, .rows = n, .cols = t->d_model, .ld = t->d_model};
        View projected = {.data = memory + at + n * t->d_model * gemm,
                          .dtype = ops->gemm_dtype,
                          .rows = n,
                          .cols = t->d_embed,
                          .ld = t->d_embed};
        for (size_t i = 0; i < n; i++)
            integers[i] = i + 1 < n ? k->block.ids[i + 1] : -1;
        announce(k, STEP_COMBINE, -1, residual(k, 0));
        forward_final_norm(k->forward, &weights, residual(k, 0), x);
        HeadArgs args = {.x = forward_project_out(k->forward, &weights, x, projected),
                         .w = &weights.head,
                         .bias = &weights.head_bias,
                         .logit_scale = t->logit_scale,
                         .softcap = t->logit_softcap,
                         .targets = integers,
                         .logits = logits,
                         .nll = nll,
                         .kl = numbers,
                         .word_start_logp = numbers + n,
                         .lse = numbers + 2 * n,
                         .rank = integers + n,
                         .top1 = integers + 2 * n};
        ops->head(w->ctx, &args);
        status = ops->sync(w->ctx, e);
    }
    free(integers);
    free(numbers);
    return status;
}

static int open_walker(Walker *k, const Order *o, Error *e)
{
    const AuditWalk *w = k->w;
    const ModelTraits *t = &w->model->traits;
    size_t gemm = dtype_block_bytes(w->ops->gemm_dtype);
    ForwardSizes sizes = {.max_rows = k->n, .max_window = k->n};
    k->n_residuals = 1;
    for (size_t i = 0; i < o->n_items; i += group_size(o, i))
        if (group_size(o, i) > 1 && group_size(o, i) + 1 > k->n_residuals)
            k->n_residuals = group_size(o, i) + 1;
    k->slot_bytes = model_layer_slot_bytes(w->model, w->ops, -1);
    k->head_slot_bytes = model_head_slot_bytes(w->model, w->ops);
    k->residual_bytes = (k->n * t->d_model * dtype_block_bytes(w->ops->resid_dtype) + 63) & ~(size_t)63;
    k->head_bytes = k->n * (t->vocab * dtype_block_bytes(w->ops->logit_dtype) + (t->d_model + t->d_embed) * gemm);
    if (t->route.n_experts && !(k->weights.experts = calloc((size_t)t->route.n_experts, sizeof *k->weights.experts)))
        return error_set(e, STATUS_FAILED, "audit: out of memory for %d experts", t->route.n_experts);
    int status = forward_open(w->model, w->ops, w->ctx, &sizes, w->rope, &k->forward, e);
    if (!status)
        status = w->ops->alloc(w->ctx, k->slot_bytes, &k->slot, e);
    if (!status)
        status = w->ops->alloc(w->ctx, k->head_slot_bytes, &k->head_slot, e);
    if (!status)
        status = w->ops->alloc(w->ctx, k->n_residuals * k->residual_bytes, &k->residuals, e);
    return status ? status : w->ops->alloc(w->ctx, k->head_bytes, &k->head_memory, e);
}

static void close_walker(Walker *k)
{
    const AuditWalk *w = k->w;
    if (k->head_memory)
        w->ops->free(w->ctx, k->head_memory, k->head_bytes);
    if (k->residuals)
        w->ops->free(w->ctx, k->residuals, k->n_residuals * k->residual_bytes);
    if (k->head_slot)
        w->ops->free(w->ctx, k->head_slot, k->head_slot_bytes);
    if (k->slot)
        w->ops->free(w->ctx, k->slot, k->slot_bytes);
    forward_close(k->forward);
    free(k->weights.experts);
}

int audit_walk(const AuditWalk *w, const int32_t *ids, size_t n, double *nll, Error *e)
{
    Walker k = {.w = w, .n = n, .starts = {0, n}, .prepared = -1};
    k.block = (TokenBlock){.ids = ids, .window_start = k.starts, .n_rows = n, .n_windows = 1};
    Arena arena = {0};
    Order intact = {0};
    const Order *o = w->order;
    char spec[32];
    int status = STATUS_OK;
    if (!o) {
        snprintf(spec, sizeof spec, "0-%d", w->model->traits.n_layers - 1);
        status = order_parse(spec, w->model->traits.n_layers, &arena, &intact, e);
        o = &intact;
    }
    if (!status)
        status = open_walker(&k, o, e);
    if (!status) {
        announce(&k, STEP_ROOT, -1, (View){0});
        forward_embed(k.forward, &k.block, residual(&k, 0));
        status = run_items(&k, o, e);
    }
    if (!status)
        status = run_head(&k, nll, e);
    close_walker(&k);
    arena_free(&arena);
    return status;
}
