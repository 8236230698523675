/* run.c: the executor. Blocks of tokens go through the plan's batches, then tile by tile through the head: the first order's
 * logits first, every other order's against them. */
#include "engine/run_internal.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/host.h"
#include "engine/base/progress.h"

int session_open(const Model *model, const SessionOptions *options, Session *out, Error *e)
{
    memset(out, 0, sizeof *out);
    out->model = model;
    out->rope = options->rope;
    out->ops = options->ops ? options->ops : ops_find(options->device, options->numerics, options->dtype, e);
    if (!out->ops)
        return STATUS_USAGE;
    out->device_index = options->device_index;
    out->memory_bytes = options->memory_bytes        ? options->memory_bytes
                        : out->ops->memory_available ? out->ops->memory_available(out->device_index)
                                                     : host_memory_available() / 2;
    return pool_open(options->threads, &out->pool, e);
}

void session_close(Session *s)
{
    if (!s)
        return;
    pool_close(s->pool);
    memset(s, 0, sizeof *s);
}

static double layer_half_flops(const Model *m, StepKind kind, int layer, const TokenBlock *block)
{
    double flops = 0;
    if (kind == STEP_ATTN || kind == STEP_WHOLE) {
        flops += model_flops_attn(m, layer) * (double)block->n_rows;
        for (size_t w = 0; w < block->n_windows; w++) {
            size_t first = token_block_first(block, w), n = block->window_start[w + 1] - block->window_start[w];
            flops += model_flops_scores(m, layer, first + n) - model_flops_scores(m, layer, first);
        }
    }
    if (kind == STEP_MLP || kind == STEP_WHOLE)
        flops += model_flops_mlp(m, layer) * (double)block->n_rows;
    return flops;
}

static double head_flops(const Run *r, const TokenBlock *block, size_t n_heads)
{
    if (r->request.no_head)
        return 0;
    return model_flops_head(r->session->model) * (double)(block->n_rows - block->n_windows) * (double)n_heads;
}

static double batch_flops(const Run *r, const PlanBatch *b, const TokenBlock *block)
{
    return b->layer < 0 ? 0 : b->n_nodes * layer_half_flops(r->session->model, b->kind, b->layer, block);
}

/* Heads computed a block: every order's, and the first one's again for each further group. */
static size_t n_heads(const Run *r)
{
    return r->request.n_orders + r->sizes.n_groups - 1;
}

double run_block_flops(const Run *r, const TokenBlock *block)
{
    double flops = head_flops(r, block, n_heads(r));
    for (size_t g = 0; g < r->sizes.n_groups; g++)
        for (int32_t i = 0; i < r->plans[g].n_batches; i++)
            flops += batch_flops(r, &r->plans[g].batches[i], block);
    return flops;
}

double run_block_flops_naive(const Run *r, const TokenBlock *block)
{
    double flops = head_flops(r, block, r->request.n_orders);
    for (size_t o = 0; o < r->request.n_orders; o++) {
        const Order *order = &r->request.orders[o];
        for (size_t i = 0; i < order->n_items; i++) {
            StepKind kind = order->items[i].part == PART_BOTH   ? STEP_WHOLE
                            : order->items[i].part == PART_ATTN ? STEP_ATTN
                                                                : STEP_MLP;
            flops += layer_half_flops(r->session->model, kind, order->items[i].layer, block);
        }
    }
    return flops;
}

const RunSizes *run_get_sizes(const Run *r)
{
    return &r->sizes;
}

const RunCounters *run_get_counters(const Run *r)
{
    return &r->counters;
}

OpsContext *run_get_context(Run *r)
{
    return r->ctx;
}

const Plan *run_get_plan(const Run *r, size_t group)
{
    return &r->plans[group];
}

static View residual_view(const Run *r, size_t buffer, const TokenBlock *block)
{
    size_t d = r->session->model->traits.d_model;
    char *at = (char *)r->residuals + buffer * run_residual_bytes(r->session, r->sizes.block_rows);
    return (View){.data = at, .dtype = r->session->ops->resid_dtype, .rows = block->n_rows, .cols = d, .ld = d};
}

/* Where branch 0 (attention) or 1 (MLP) of the node at hand goes; data NULL where nobody asks. */
static View branch_view(const Run *r, size_t branch, const TokenBlock *block)
{
    View v = residual_view(r, 0, block);
    v.data = r->branches ? (char *)r->branches + branch * run_residual_bytes(r->session, r->sizes.block_rows) : NULL;
    return v;
}

static void *slot_memory(const Run *r, int slot)
{
    return (char *)r->slots + (size_t)slot * r->slot_bytes;
}

static int ensure_layer(Run *r, const Plan *plan, int32_t visit, const LayerWeights **out, Error *e)
{
    const PlanVisit *v = &plan->visits[visit];
    const Session *s = r->session;
    LayerWeights *w = &r->slot_weights[v->slot];
    *out = w;
    if (r->slot_layer[v->slot] == v->layer)
        return STATUS_OK;
    void *memory = slot_memory(r, v->slot);
    r->slot_layer[v->slot] = -1;
    if (visit + 1 < plan->n_visits && plan->visits[visit + 1].load)
        model_prefetch_layer(s->model, plan->visits[visit + 1].layer);
    int status = model_prepare_layer(s->model, s->ops, r->ctx, v->layer, memory, !r->layer_checked[v->layer], w, e);
    if (status)
        return status;
    r->slot_layer[v->slot] = v->layer;
    r->layer_checked[v->layer] = true;
    r->counters.weight_bytes_moved += (double)model_layer_file_bytes(s->model, v->layer);
    return STATUS_OK;
}

static int report_node(const Plan *plan, int32_t node, View residual, const RunHooks *hooks, Error *e)
{
    return hooks->on_node ? hooks->on_node(hooks->user, plan, node, residual, e) : STATUS_OK;
}

/* A batch's nodes together; one by one where their branches are asked for. */
static int run_nodes(Run *r, const Plan *plan, const PlanBatch *b, const LayerWeights *weights, const TokenBlock *block,
                     const RunHooks *hooks, Error *e)
{
    int status = STATUS_OK;
    int32_t n_lanes = r->branches && hooks->on_branch ? 1 : b->n_nodes;
    for (int32_t first = 0; !status && first < b->n_nodes; first += n_lanes) {
        for (int32_t j = 0; j < n_lanes; j++) {
            const PlanNode *node = &plan->nodes[b->nodes[first + j]];
            r->lanes[j] = (ForwardLane){.in = residual_view(r, (size_t)plan->nodes[node->parent].buffer, block),
                                        .out = residual_view(r, (size_t)node->buffer, block)};
            if (hooks->on_branch && b->kind != STEP_MLP)
                r->lanes[j].attn_out = branch_view(r, 0, block);
            if (hooks->on_branch && b->kind != STEP_ATTN)
                r->lanes[j].mlp_out = branch_view(r, 1, block);
        }
        forward_batch(r->forward, b->kind, b->layer, weights, block, r->lanes, (size_t)n_lanes);
        for (int32_t j = 0; !status && j < n_lanes; j++) {
            int32_t node = b->nodes[first + j];
            if (r->lanes[j].attn_out.data)
                status = hooks->on_branch(hooks->user, plan, node, STEP_ATTN, r->lanes[j].attn_out, e);
            if (!status && r->lanes[j].mlp_out.data)
                status = hooks->on_branch(hooks->user, plan, node, STEP_MLP, r->lanes[j].mlp_out, e);
            if (!status)
                status = report_node(plan, node, r->lanes[j].out, hooks, e);
        }
    }
    return status;
}

static int combine(Run *r, const Plan *plan, const PlanBatch *b, const TokenBlock *block, const RunHooks *hooks, Error *e)
{
    for (int32_t i = 0; i < b->n_nodes; i++) {
        const PlanNode *node = &plan->nodes[b->nodes[i]];
        for (int32_t j = 0; j < node->n_members; j++)
            r->members[j] = residual_view(r, (size_t)plan->nodes[node->members[j]].buffer, block);
        View out = residual_view(r, (size_t)node->buffer, block);
        r->session->ops->mean(r->ctx, out, r->members, (size_t)node->n_members);
        int status = report_node(plan, b->nodes[i], out, hooks, e);
        if (status)
            return status;
    }
    return STATUS_OK;
}

static bool stopped(const RunHooks *hooks)
{
    return hooks->should_stop && hooks->should_stop(hooks->user);
}

static void progress(Run *r, const RunHooks *hooks, double flops)
{
    r->counters.flops += flops;
    if (hooks->on_progress)
        hooks->on_progress(hooks->user, r->counters.flops);
}

static int run_batches(Run *r, const Plan *plan, const TokenBlock *block, const RunHooks *hooks, Error *e)
{
    View root = residual_view(r, (size_t)plan->nodes[0].buffer, block);
    forward_embed(r->forward, block, root);
    int status = report_node(plan, 0, root, hooks, e);
    for (int32_t i = 0; !status && i < plan->n_batches; i++) {
        const PlanBatch *b = &plan->batches[i];
        if (stopped(hooks))
            return error_set(e, STATUS_INTERRUPTED, "interrupted");
        if (b->kind == STEP_COMBINE) {
            status = combine(r, plan, b, block, hooks, e);
            continue;
        }
        const LayerWeights *weights;
        if ((status = ensure_layer(r, plan, b->visit, &weights, e)))
            return status;
        status = run_nodes(r, plan, b, weights, block, hooks, e);
        if (i + 1 == plan->n_batches || plan->batches[i + 1].visit != b->visit)
            r->session->ops->slot_done(r->ctx, slot_memory(r, plan->visits[b->visit].slot));
        progress(r, hooks, batch_flops(r, b, block));
    }
    return status;
}

/* head_x <- final norm of rows [from, from + n) of the rows that predict. Consecutive block rows go in one call. */
static void gather_final(Run *r, View residual, size_t from, size_t n)
{
    const Ops *ops = r->session->ops;
    size_t in_bytes = dtype_block_bytes(ops->resid_dtype), out_bytes = dtype_block_bytes(ops->gemm_dtype);
    for (size_t i = 0; i < n;) {
        size_t first = (size_t)r->predict_row[from + i], run = 1;
        while (i + run < n && (size_t)r->predict_row[from + i + run] == first + run)
            run++;
        forward_final_norm(r->forward, &r->head_weights, view_rows(residual, first, run, in_bytes),
                           view_rows(r->head_x, i, run, out_bytes));
        i += run;
    }
}

static void head_tile(Run *r, size_t order, View residual, size_t from, size_t n)
{
    const ModelTraits *t = &r->session->model->traits;
    HeadArrays *out = &r->results[order], *first = &r->results[0];
    View logits = order ? r->logits : r->first_logits, first_logits = r->first_logits, x = r->head_x;
    logits.rows = first_logits.rows = x.rows = n;
    gather_final(r, residual, from, n);
    HeadArgs args = {.x = forward_project_out(r->forward, &r->head_weights, x, r->projected),
                     .w = &r->head_weights.head,
                     .bias = &r->head_weights.head_bias,
                     .logit_scale = t->logit_scale,
                     .softcap = t->logit_softcap,
                     .targets = r->targets + from,
                     .word_start = r->request.word_start,
                     .logits = logits,
                     .intact_logits = order ? &first_logits : NULL,
                     .intact_lse = order ? first->lse + from : NULL,
                     .nll = out->nll + from,
                     .kl = out->kl + from,
                     .word_start_logp = out->word_start_logp + from,
                     .lse = out->lse + from,
                     .rank = out->rank + from,
                     .top1 = out->top1 + from};
    r->session->ops->head(r->ctx, &args);
}

static size_t list_predictions(Run *r, const TokenBlock *block)
{
    size_t n = 0;
    for (size_t w = 0; w < block->n_windows; w++) {
        for (size_t row = block->window_start[w]; row + 1 < block->window_start[w + 1]; row++) {
            r->predict_row[n] = (int32_t)row;
            r->targets[n++] = block->ids[row + 1];
        }
    }
    return n;
}

static double head_file_bytes(const Model *m)
{
    double bytes = 0;
    const Binding *head = &m->bindings.role[ROLE_HEAD];
    for (size_t i = 0; i < head->n_parts; i++)
        bytes += (double)(head->parts[i].rows * head->parts[i].cols / dtype_block_elems(head->parts[i].dtype) *
                          dtype_block_bytes(head->parts[i].dtype));
    return bytes;
}

static int ensure_head(Run *r, Error *e)
{
    if (r->head_ready || !r->head_slot)
        return STATUS_OK;
    const Session *s = r->session;
    int status = r->request.no_head ? model_prepare_final_norm(s->model, s->ops, r->ctx, r->head_slot, &r->head_weights, e)
                                    : model_prepare_head(s->model, s->ops, r->ctx, r->head_slot, &r->head_weights, e);
    if (status)
        return status;
    r->counters.weight_bytes_moved += r->request.no_head ? 0 : head_file_bytes(s->model);
    r->head_ready = true;
    return STATUS_OK;
}

static int report_final(Run *r, size_t order, View residual, const RunHooks *hooks, Error *e)
{
    size_t in_bytes = dtype_block_bytes(r->session->ops->resid_dtype);
    for (size_t at = 0; at < residual.rows; at += r->sizes.head_rows) {
        size_t n = residual.rows - at < r->sizes.head_rows ? residual.rows - at : r->sizes.head_rows;
        View x = r->head_x;
        x.rows = n;
        forward_final_norm(r->forward, &r->head_weights, view_rows(residual, at, n, in_bytes), x);
        int status = hooks->on_final(hooks->user, order, at, x, e);
        if (status)
            return status;
    }
    return STATUS_OK;
}

/* The head for the orders of one group. Orders that end at the same node share its results. */
static int run_heads(Run *r, size_t group, const TokenBlock *block, const RunHooks *hooks, Error *e)
{
    const Plan *plan = &r->plans[group];
    size_t first, end, n = list_predictions(r, block);
    run_group_range(r->request.n_orders, r->sizes.n_groups, group, &first, &end);
    View intact = residual_view(r, r->sizes.n_buffers, block); /* the copy, in later groups */
    if (group == 0) {
        View residual = residual_view(r, (size_t)plan->nodes[plan->order_end[0]].buffer, block);
        if (r->sizes.n_groups > 1)
            r->session->ops->copy(r->ctx, intact, residual);
        intact = residual;
    }
    for (size_t from = 0; from < n; from += r->sizes.head_rows) {
        size_t rows = n - from < r->sizes.head_rows ? n - from : r->sizes.head_rows;
        head_tile(r, 0, intact, from, rows);
        for (size_t o = first > 0 ? first : 1; o < end; o++) {
            if (stopped(hooks))
                return error_set(e, STATUS_INTERRUPTED, "interrupted");
            int32_t node = plan->order_end[o - first];
            head_tile(r, o, residual_view(r, (size_t)plan->nodes[node].buffer, block), from, rows);
            progress(r, hooks, model_flops_head(r->session->model) * (double)rows);
        }
        progress(r, hooks, model_flops_head(r->session->model) * (double)rows);
    }
    int status = r->session->ops->sync(r->ctx, e); /* brings the results */
    for (size_t o = first; !status && o < end; o++) {
        View residual = residual_view(r, (size_t)plan->nodes[plan->order_end[o - first]].buffer, block);
        const HeadArrays *x = &r->results[o];
        HeadResults results = {
            .n = n, .nll = x->nll, .kl = x->kl, .word_start_logp = x->word_start_logp, .rank = x->rank, .top1 = x->top1};
        status = hooks->on_final ? report_final(r, o, residual, hooks, e) : STATUS_OK;
        if (!status && hooks->on_results)
            status = hooks->on_results(hooks->user, o, &results, e);
    }
    return status;
}

/* The final norm of a group's orders where there is no head. */
static int run_final_norms(Run *r, size_t group, const TokenBlock *block, const RunHooks *hooks, Error *e)
{
    const Plan *plan = &r->plans[group];
    size_t first, end;
    int status = STATUS_OK;
    run_group_range(r->request.n_orders, r->sizes.n_groups, group, &first, &end);
    for (size_t o = first; !status && r->request.final_norm && hooks->on_final && o < end; o++)
        status = report_final(r, o, residual_view(r, (size_t)plan->nodes[plan->order_end[o - first]].buffer, block), hooks, e);
    return status;
}

static bool length_matters(const ModelTraits *t, size_t length)
{
    for (int i = 0; i < t->n_ropes; i++)
        if (rope_table_depends_on_length(&t->ropes[i], length))
            return true;
    return false;
}

/* What is wrong with a window and what it continues. */
static int check_window(const Run *r, const TokenBlock *block, size_t w, size_t base, Error *e)
{
    const size_t *start = block->window_start;
    size_t prefix = token_block_first(block, w), n = prefix + start[w + 1] - start[w], base_n = start[base + 1] - start[base];
    if (n > r->request.longest_window)
        return error_set(e, STATUS_FAILED, "run: a window of %zu tokens, expected at most %zu", n, r->request.longest_window);
    if (prefix && (w == base || prefix > base_n))
        return error_set(e, STATUS_FAILED, "run: window %zu continues %zu positions of one of %zu", w, prefix,
                         w == base ? 0 : base_n);
    if (prefix && n != base_n &&
        (length_matters(&r->session->model->traits, n) || length_matters(&r->session->model->traits, base_n)))
        return error_set(e, STATUS_FAILED,
                         "run: window %zu of %zu positions continues one of %zu, and the rotary tables depend on it", w, n,
                         base_n);
    if (start[w + 1] - start[base] > r->sizes.tile_rows)
        return error_set(e, STATUS_FAILED, "run: a family of windows of %zu rows, expected at most %zu",
                         start[w + 1] - start[base], r->sizes.tile_rows);
    return STATUS_OK;
}

int run_block(Run *r, const TokenBlock *block, const RunHooks *hooks, Error *e)
{
    if (block->n_rows > r->sizes.block_rows)
        return error_set(e, STATUS_FAILED, "run: a block of %zu tokens, expected at most %zu", block->n_rows,
                         r->sizes.block_rows);
    for (size_t w = 0, base = 0; w < block->n_windows; w++) {
        base = token_block_first(block, w) ? base : w;
        int status = check_window(r, block, w, base, e);
        if (status)
            return status;
    }
    for (size_t i = 0; i < block->n_rows; i++)
        if (block->ids[i] < 0 || (size_t)block->ids[i] >= r->session->model->traits.vocab)
            return error_set(e, STATUS_FAILED, "run: token id %d at row %zu, expected 0 to %zu", block->ids[i], i,
                             r->session->model->traits.vocab - 1);
    int status = ensure_head(r, e);
    for (size_t g = 0; !status && g < r->sizes.n_groups; g++) {
        status = run_batches(r, &r->plans[g], block, hooks, e);
        if (!status && !r->request.no_head)
            status = run_heads(r, g, block, hooks, e);
        if (!status && r->request.no_head)
            status = run_final_norms(r, g, block, hooks, e);
    }
    if (!status)
        status = r->session->ops->sync(r->ctx, e);
    r->counters.flops_naive += run_block_flops_naive(r, block);
    return status;
}

int run_logits(Run *r, const double *residual, size_t n_rows, double *logits, Error *e)
{
    const Ops *ops = r->session->ops;
    const ModelTraits *t = &r->session->model->traits;
    size_t most = r->sizes.head_rows < r->sizes.block_rows ? r->sizes.head_rows : r->sizes.block_rows;
    int status = ensure_head(r, e);
    for (size_t at = 0; !status && at < n_rows; at += most) {
        size_t n = n_rows - at < most ? n_rows - at : most;
        View x = {.data = r->residuals, .dtype = ops->resid_dtype, .rows = n, .cols = t->d_model, .ld = t->d_model};
        View normed = r->head_x, z = r->logits;
        normed.rows = z.rows = n;
        ops->upload(r->ctx, x, residual + at * t->d_model);
        forward_final_norm(r->forward, &r->head_weights, x, normed);
        HeadArrays *out = &r->results[0];
        for (size_t i = 0; i < n; i++)
            r->targets[i] = -1;
        HeadArgs args = {.x = forward_project_out(r->forward, &r->head_weights, normed, r->projected),
                         .w = &r->head_weights.head,
                         .bias = &r->head_weights.head_bias,
                         .logit_scale = t->logit_scale,
                         .softcap = t->logit_softcap,
                         .targets = r->targets,
                         .logits = z,
                         .nll = out->nll,
                         .kl = out->kl,
                         .word_start_logp = out->word_start_logp,
                         .lse = out->lse,
                         .rank = out->rank,
                         .top1 = out->top1};
        ops->head(r->ctx, &args);
        ops->download(r->ctx, logits + at * t->vocab, z);
        status = ops->sync(r->ctx, e);
    }
    return status;
}

/* What an estimate times. */
typedef struct Timing {
    Run *r;
    const TokenBlock *block;
    const LayerWeights *weights;
    int layer;
    size_t n_lanes, head_rows, order;
} Timing;

static void layer_round(Timing *t)
{
    bool parallel = t->r->session->model->traits.residual == RESIDUAL_PARALLEL;
    forward_batch(t->r->forward, parallel ? STEP_WHOLE : STEP_ATTN, t->layer, t->weights, t->block, t->r->lanes, t->n_lanes);
    if (!parallel)
        forward_batch(t->r->forward, STEP_MLP, t->layer, t->weights, t->block, t->r->lanes, t->n_lanes);
}

static void head_round(Timing *t)
{
    head_tile(t->r, t->order, residual_view(t->r, 0, t->block), 0, t->head_rows);
}

/* Seconds of one round: the first one warms caches and pages, others follow for a third of a second. */
static int time_rounds(Timing *t, void (*round)(Timing *t), double *seconds, Error *e)
{
    const Ops *ops = t->r->session->ops;
    double begin = 0, now = 0;
    int n = -1, status = STATUS_OK;
    for (; !status && (n < 1 || (now - begin < 0.3 && n < 50)); n++) {
        if (n == 0)
            begin = progress_now_s();
        round(t);
        status = ops->sync(t->r->ctx, e);
        now = progress_now_s();
    }
    *seconds = n > 0 ? (now - begin) / n : 0;
    return status;
}

/* Loading a layer's weights, first from the file as it lies (on disk perhaps), then again from the cache. */
static int time_loads(Timing *t, double n_loads, double *seconds, Error *e)
{
    Run *r = t->r;
    double took[2] = {0};
    for (int i = 0; i < 2; i++) {
        r->slot_layer[r->plans[0].visits[0].slot] = -1;
        double begin = progress_now_s();
        int status = ensure_layer(r, &r->plans[0], 0, &t->weights, e);
        status = status ? status : r->session->ops->sync(r->ctx, e);
        if (status)
            return status;
        took[i] = progress_now_s() - begin;
    }
    double n_layers = r->session->model->traits.n_layers, first = n_loads < n_layers ? n_loads : n_layers;
    *seconds = first * took[0] + (n_loads - first) * took[1];
    return STATUS_OK;
}

int run_estimate_seconds(Run *r, const TokenBlock *block, double n_blocks, double n_loads, double *seconds, Error *e)
{
    Timing t = {.r = r, .block = block};
    const PlanVisit *visit = r->plans[0].n_visits ? r->plans[0].visits : NULL;
    double loads_s = 0, layers_s = 0, lane_flops = 0, heads = head_flops(r, block, n_heads(r)), heads_s = 0;
    int status = ensure_head(r, e);
    if (!status && visit)
        status = time_loads(&t, n_loads, &loads_s, e);
    if (status)
        return status;
    if (visit) { /* as many orders side by side as fill a tile, each on a buffer of its own */
        t.layer = visit->layer;
        size_t most = r->sizes.n_buffers < r->request.n_orders ? r->sizes.n_buffers : r->request.n_orders;
        size_t widest = (r->sizes.tile_rows + block->n_rows - 1) / block->n_rows;
        t.n_lanes = widest < most ? widest : most > 0 ? most : 1;
        for (size_t i = 0; i < t.n_lanes; i++) {
            View x = residual_view(r, i, block);
            forward_embed(r->forward, block, x);
            r->lanes[i] = (ForwardLane){.in = x, .out = x};
        }
        lane_flops = layer_half_flops(r->session->model, STEP_WHOLE, t.layer, block) * (double)t.n_lanes;
        status = time_rounds(&t, layer_round, &layers_s, e);
    }
    if (!status && !r->request.no_head) {
        size_t n = list_predictions(r, block);
        t.head_rows = n < r->sizes.head_rows ? n : r->sizes.head_rows;
        forward_embed(r->forward, block, residual_view(r, 0, block));
        double tiles = t.head_rows ? (double)n / (double)t.head_rows : 0, one = 0;
        if (tiles > 0)
            status = time_rounds(&t, head_round, &one, e);
        heads_s = tiles * (double)r->sizes.n_groups * one;
        t.order = 1;
        if (!status && tiles > 0 && r->request.n_orders > 1)
            status = time_rounds(&t, head_round, &one, e);
        heads_s += tiles * (double)(r->request.n_orders - 1) * one;
    }
    double layers = run_block_flops(r, block) - heads;
    *seconds = loads_s + n_blocks * ((lane_flops > 0 ? layers_s * layers / lane_flops : 0) + heads_s);
    return status;
}

void run_count_loads(const Run *r, size_t n_blocks, int64_t *loads, double *bytes_moved)
{
    int n_slots = r->sizes.n_slots;
    int held[64], *slot_layer = n_slots <= 64 ? held : malloc((size_t)n_slots * sizeof *slot_layer);
    *loads = 0;
    *bytes_moved = r->request.no_head ? 0 : head_file_bytes(r->session->model);
    for (int i = 0; slot_layer && i < n_slots; i++)
        slot_layer[i] = -1;
    for (size_t b = 0; slot_layer && b < n_blocks; b++) {
        for (size_t g = 0; g < r->sizes.n_groups; g++) {
            const Plan *plan = &r->plans[g];
            for (int32_t v = 0; v < plan->n_visits; v++) {
                if (slot_layer[plan->visits[v].slot] == plan->visits[v].layer)
                    continue;
                slot_layer[plan->visits[v].slot] = plan->visits[v].layer;
                ++*loads;
                *bytes_moved += (double)model_layer_file_bytes(r->session->model, plan->visits[v].layer);
            }
        }
    }
    if (slot_layer != held)
        free(slot_layer);
}
