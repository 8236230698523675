/* forward_open.c: the memory of a forward pass: how much it takes, where its views lie, and its tables of positions. */
#include <stdlib.h>

#include "engine/forward_internal.h"

static size_t round64(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

typedef struct ScratchPlan {
    size_t normed, qkv, attended, branch, branch2, gate_up, hidden, router, route_expert, route_weight, shared, share, embedded,
        embedded_gemm, total;
} ScratchPlan;

/* Columns of gate_up: the widest of the layers' MLPs and the shared expert. */
static size_t gate_up_cols(const ModelTraits *t)
{
    size_t dense = traits_has_mlp(t, MLP_GATED) ? 2 * t->d_ff : traits_has_mlp(t, MLP_PLAIN) ? t->d_ff : 0;
    return dense > 2 * t->d_shared ? dense : 2 * t->d_shared;
}

static size_t hidden_cols(const ModelTraits *t)
{
    size_t dense = traits_has_mlp(t, MLP_GATED) || traits_has_mlp(t, MLP_PLAIN) ? t->d_ff : 0;
    return dense > t->d_shared ? dense : t->d_shared;
}

/* Offsets of the views in one allocation. Attention's and the MLP's scratch share the space behind `branch`, except in a parallel
 * residual, where both branches live at once only through branch and branch2. */
static ScratchPlan plan_scratch(const ModelTraits *t, const Ops *ops, size_t rows)
{
    size_t act = dtype_block_bytes(ops->act_dtype), gemm = dtype_block_bytes(ops->gemm_dtype);
    size_t qkv_cols = (size_t)(t->n_heads + 2 * t->n_kv_heads) * (size_t)t->head_dim;
    size_t out_cols = (size_t)t->n_heads * (size_t)t->head_dim;
    ScratchPlan p = {0};
    size_t at = 0;
    p.normed = at, at += round64(rows * t->d_model * gemm);
    p.branch = at, at += round64(rows * t->d_model * act);
    p.branch2 = at, at += t->residual == RESIDUAL_PARALLEL ? round64(rows * t->d_model * act) : 0;
    size_t shared = at;
    p.qkv = at, at += round64(rows * qkv_cols * act);
    p.attended = at, at += round64(rows * out_cols * gemm);
    size_t end = at;
    at = shared;
    p.gate_up = at, at += round64(rows * gate_up_cols(t) * act);
    p.hidden = at, at += round64(rows * hidden_cols(t) * gemm);
    if (traits_has_mlp(t, MLP_MOE)) {
        p.router = at, at += round64(rows * (size_t)t->route.n_experts * act);
        p.route_expert = at, at += round64(rows * (size_t)t->route.top_k * sizeof(int32_t));
        p.route_weight = at, at += round64(rows * (size_t)t->route.top_k * sizeof(float));
        p.shared = at, at += t->d_shared ? round64(rows * t->d_model * act) : 0;
        p.share = at, at += t->shared_gate ? round64(rows * act) : 0;
    }
    end = at > end ? at : end;
    at = shared;
    p.embedded = at, at += round64(rows * t->d_embed * dtype_block_bytes(ops->resid_dtype));
    p.embedded_gemm = at, at += round64(rows * t->d_embed * gemm);
    p.total = at > end ? at : end;
    return p;
}

static WeightPart rope_part(const float *table, size_t positions, size_t half)
{
    return (WeightPart){.data = table, .dtype = DTYPE_F32, .rows = positions, .cols = half, .stride = half};
}

static size_t rope_table_bytes(const Ops *ops, const RopeTraits *r, size_t positions)
{
    WeightPart part = rope_part(NULL, positions, (size_t)r->rotary_dims / 2);
    return 2 * ops->weight_slot_bytes(WEIGHT_TABLE, &part, 1);
}

size_t forward_bytes(const Model *m, const Ops *ops, const ForwardSizes *sizes)
{
    const ModelTraits *t = &m->traits;
    size_t bytes = plan_scratch(t, ops, sizes->max_rows).total + model_embed_slot_bytes(m, ops);
    size_t widest = 0;
    for (int i = 0; i < t->n_ropes; i++) {
        size_t tables = rope_table_depends_on_length(&t->ropes[i], sizes->max_window) ? 2 : 1;
        bytes += tables * rope_table_bytes(ops, &t->ropes[i], sizes->max_window);
        size_t half = (size_t)t->ropes[i].rotary_dims / 2;
        widest = half > widest ? half : widest;
    }
    bytes += 2 * sizes->max_window * widest * sizeof(float);
    bytes += sizes->max_rows * (sizeof(int32_t) + sizeof(AttnSeq) + 2 * sizeof(KvSegment) + sizeof(Piece));
    return bytes + sizeof(Forward);
}

static View dense_view(void *base, size_t offset, DType dtype, size_t rows, size_t cols)
{
    return (View){.data = (char *)base + offset, .dtype = dtype, .rows = rows, .cols = cols, .ld = cols};
}

int forward_fill_rope(Forward *f, int index, RopeTable *table, size_t positions, size_t seq_len, Error *e)
{
    const RopeTraits *r = &f->model->traits.ropes[index];
    size_t half = (size_t)r->rotary_dims / 2;
    float *cosines = f->rope_host, *sines = cosines + positions * half;
    rope_table_fill(r, f->rope_arithmetic, positions, seq_len, cosines, sines);
    WeightPart c = rope_part(cosines, positions, half), s = rope_part(sines, positions, half);
    f->ops->slot_done(f->ctx, table->memory);
    int status = f->ops->weight_prepare(f->ctx, table->memory, WEIGHT_TABLE, &c, 1, &table->cosines, e);
    if (status)
        return status;
    char *second = (char *)table->memory + f->ops->weight_slot_bytes(WEIGHT_TABLE, &c, 1);
    return f->ops->weight_prepare(f->ctx, second, WEIGHT_TABLE, &s, 1, &table->sines, e);
}

int forward_open(const Model *m, const Ops *ops, OpsContext *ctx, const ForwardSizes *sizes, RopeArithmetic rope, Forward **out,
                 Error *e)
{
    const ModelTraits *t = &m->traits;
    int status = STATUS_FAILED;
    Forward *f = calloc(1, sizeof *f);
    if (!f)
        return error_set(e, STATUS_FAILED, "forward pass: out of memory");
    f->model = m;
    f->ops = ops;
    f->ctx = ctx;
    f->sizes = *sizes;
    f->rope_arithmetic = rope;
    size_t widest = 0;
    for (int i = 0; i < t->n_ropes; i++)
        widest = (size_t)t->ropes[i].rotary_dims / 2 > widest ? (size_t)t->ropes[i].rotary_dims / 2 : widest;
    f->positions = malloc(sizes->max_rows * sizeof *f->positions);
    f->seqs = malloc(sizes->max_rows * sizeof *f->seqs);
    f->segments = malloc(2 * sizes->max_rows * sizeof *f->segments);
    f->pieces = malloc(sizes->max_rows * sizeof *f->pieces);
    f->rope_host = malloc(2 * sizes->max_window * widest * sizeof(float) + 1);
    if (!f->positions || !f->seqs || !f->segments || !f->pieces || !f->rope_host) {
        status = error_set(e, STATUS_FAILED, "forward pass: out of memory for a tile of %zu rows", sizes->max_rows);
        goto fail;
    }
    ScratchPlan p = plan_scratch(t, ops, sizes->max_rows);
    f->scratch_bytes = p.total;
    if ((status = ops->alloc(ctx, p.total, &f->scratch, e)))
        goto fail;
    size_t rows = sizes->max_rows, heads = (size_t)t->n_heads, kv = (size_t)t->n_kv_heads, dh = (size_t)t->head_dim;
    f->normed = dense_view(f->scratch, p.normed, ops->gemm_dtype, rows, t->d_model);
    f->branch = dense_view(f->scratch, p.branch, ops->act_dtype, rows, t->d_model);
    f->branch2 = dense_view(f->scratch, p.branch2, ops->act_dtype, rows, t->d_model);
    f->qkv = dense_view(f->scratch, p.qkv, ops->act_dtype, rows, (heads + 2 * kv) * dh);
    f->attended = dense_view(f->scratch, p.attended, ops->gemm_dtype, rows, heads * dh);
    f->gate_up = dense_view(f->scratch, p.gate_up, ops->act_dtype, rows, gate_up_cols(t));
    f->hidden = dense_view(f->scratch, p.hidden, ops->gemm_dtype, rows, hidden_cols(t));
    f->router = dense_view(f->scratch, p.router, ops->act_dtype, rows, (size_t)t->route.n_experts);
    f->routes.expert = (int32_t *)(void *)((char *)f->scratch + p.route_expert);
    f->routes.weight = (float *)(void *)((char *)f->scratch + p.route_weight);
    f->shared = dense_view(f->scratch, p.shared, ops->act_dtype, rows, t->d_model);
    if (t->shared_gate)
        f->share = dense_view(f->scratch, p.share, ops->act_dtype, rows, 1);
    f->embedded = dense_view(f->scratch, p.embedded, ops->resid_dtype, rows, t->d_embed);
    f->embedded_gemm = dense_view(f->scratch, p.embedded_gemm, ops->gemm_dtype, rows, t->d_embed);
    if (model_embed_slot_bytes(m, ops)) {
        if ((status = ops->alloc(ctx, model_embed_slot_bytes(m, ops), &f->embed_slot, e)))
            goto fail;
        if ((status = model_prepare_embed(m, ops, ctx, f->embed_slot, &f->embed_weights, e)))
            goto fail;
    }
    for (int i = 0; i < t->n_ropes; i++) {
        RopeTable *tables[] = {&f->ropes[i], &f->ropes_long[i]};
        int n_tables = rope_table_depends_on_length(&t->ropes[i], sizes->max_window) ? 2 : 1;
        for (int j = 0; j < n_tables; j++) {
            tables[j]->bytes = rope_table_bytes(ops, &t->ropes[i], sizes->max_window);
            if ((status = ops->alloc(ctx, tables[j]->bytes, &tables[j]->memory, e)))
                goto fail;
        }
        if ((status = forward_fill_rope(f, i, &f->ropes[i], sizes->max_window, 1, e)))
            goto fail;
    }
    *out = f;
    return STATUS_OK;
fail:
    forward_close(f);
    return status;
}

void forward_close(Forward *f)
{
    if (!f)
        return;
    for (int i = 0; i < TRAITS_MAX_ROPES; i++) {
        if (f->ropes[i].memory)
            f->ops->free(f->ctx, f->ropes[i].memory, f->ropes[i].bytes);
        if (f->ropes_long[i].memory)
            f->ops->free(f->ctx, f->ropes_long[i].memory, f->ropes_long[i].bytes);
    }
    if (f->scratch)
        f->ops->free(f->ctx, f->scratch, f->scratch_bytes);
    if (f->embed_slot)
        f->ops->free(f->ctx, f->embed_slot, model_embed_slot_bytes(f->model, f->ops));
    free(f->positions);
    free(f->seqs);
    free(f->segments);
    free(f->pieces);
    free(f->rope_host);
    free(f);
}
