/* op_watch.c: see op_watch.h. */
#include "experiments/op_watch.h"

#include <stdlib.h>
#include <string.h>

/* Every table has a context type of its own; this is ours, around the inner table's. */
struct OpsContext {
    const Ops *inner;
    OpsContext *context;
    OpWatcher watcher;
};

static void before(OpsContext *c, const OpCall *call)
{
    if (c->watcher.before)
        c->watcher.before(c->watcher.user, call);
}

static void after(OpsContext *c, const OpCall *call)
{
    if (c->watcher.after)
        c->watcher.after(c->watcher.user, call);
}

/* ---- operations ---- */

static void watch_embed(OpsContext *c, View out, const int32_t *ids, const WeightPart *table, float multiplier)
{
    OpCall call = {.kind = OP_EMBED, .out = out};
    before(c, &call);
    c->inner->embed(c->context, out, ids, table, multiplier);
    after(c, &call);
}

static void watch_embed_add(OpsContext *c, View x, const int32_t *positions, const WeightPart *table)
{
    OpCall call = {.kind = OP_EMBED_ADD, .in = {x}, .n_in = 1, .out = x};
    before(c, &call);
    c->inner->embed_add(c->context, x, positions, table);
    after(c, &call);
}

static void watch_norm(OpsContext *c, View out, View x, const NormSpec *spec, const Weight *w, const Weight *bias)
{
    OpCall call = {.kind = OP_NORM, .in = {x}, .n_in = 1, .out = out, .weight = w, .norm = spec};
    before(c, &call);
    c->inner->norm(c->context, out, x, spec, w, bias);
    after(c, &call);
}

static void watch_linear(OpsContext *c, View y, View x, const Weight *w, const Weight *bias)
{
    OpCall call = {.kind = OP_LINEAR, .in = {x}, .n_in = 1, .out = y, .weight = w};
    before(c, &call);
    c->inner->linear(c->context, y, x, w, bias);
    after(c, &call);
}

static void watch_linear_add(OpsContext *c, View out, View residual, float scale, View x, const Weight *w, const Weight *bias)
{
    OpCall call = {.kind = OP_LINEAR_ADD, .in = {residual, x}, .n_in = 2, .out = out, .weight = w, .scale = (double)scale};
    before(c, &call);
    c->inner->linear_add(c->context, out, residual, scale, x, w, bias);
    after(c, &call);
}

static void watch_rope(OpsContext *c, View x, const int32_t *positions, const Weight *cosines, const Weight *sines, int n_heads,
                       int head_dim, int rotary_dims, RopeStyle style)
{
    OpCall call = {.kind = OP_ROPE, .in = {x}, .n_in = 1, .out = x};
    before(c, &call);
    c->inner->rope(c->context, x, positions, cosines, sines, n_heads, head_dim, rotary_dims, style);
    after(c, &call);
}

static void watch_attention(OpsContext *c, View out, View q, View k, View v, const AttnSeq *seqs, size_t n_seqs,
                            const AttnSpec *spec)
{
    OpCall call = {.kind = OP_ATTENTION, .in = {q, k, v}, .n_in = 3, .out = out, .attention = spec};
    before(c, &call);
    c->inner->attention(c->context, out, q, k, v, seqs, n_seqs, spec);
    after(c, &call);
}

static void watch_glu(OpsContext *c, View out, View gate, View up, ActKind act)
{
    OpCall call = {.kind = OP_GLU, .in = {gate, up}, .n_in = 2, .out = out};
    before(c, &call);
    c->inner->glu(c->context, out, gate, up, act);
    after(c, &call);
}

static void watch_act(OpsContext *c, View out, View x, ActKind act)
{
    OpCall call = {.kind = OP_ACT, .in = {x}, .n_in = 1, .out = out};
    before(c, &call);
    c->inner->act(c->context, out, x, act);
    after(c, &call);
}

static void watch_add(OpsContext *c, View out, View a, View b, float scale)
{
    OpCall call = {.kind = OP_ADD, .in = {a, b}, .n_in = 2, .out = out, .scale = (double)scale};
    before(c, &call);
    c->inner->add(c->context, out, a, b, scale);
    after(c, &call);
}

static void watch_clip(OpsContext *c, View x, float limit)
{
    OpCall call = {.kind = OP_CLIP, .in = {x}, .n_in = 1, .out = x};
    before(c, &call);
    c->inner->clip(c->context, x, limit);
    after(c, &call);
}

static void watch_add_gated(OpsContext *c, View out, View a, View b, View gate)
{
    OpCall call = {.kind = OP_ADD_GATED, .in = {a, b}, .n_in = 2, .out = out};
    before(c, &call);
    c->inner->add_gated(c->context, out, a, b, gate);
    after(c, &call);
}

static void watch_route(OpsContext *c, Routes out, View logits, const RouteSpec *spec)
{
    size_t top_k = (size_t)spec->top_k;
    View shares = {.data = out.weight, .dtype = DTYPE_F32, .rows = logits.rows, .cols = top_k, .ld = top_k};
    OpCall call = {.kind = OP_ROUTE, .in = {logits}, .n_in = 1, .out = shares, .route = spec};
    before(c, &call);
    c->inner->route(c->context, out, logits, spec);
    after(c, &call);
}

static void watch_moe(OpsContext *c, View out, View x, Routes routes, const ExpertWeights *experts, const RouteSpec *spec,
                      ActKind act)
{
    OpCall call = {.kind = OP_MOE, .in = {x}, .n_in = 1, .out = out, .route = spec};
    before(c, &call);
    c->inner->moe(c->context, out, x, routes, experts, spec, act);
    after(c, &call);
}

static void watch_head(OpsContext *c, const HeadArgs *args)
{
    OpCall call = {.kind = OP_HEAD, .in = {args->x}, .n_in = 1, .out = args->logits, .weight = args->w};
    call.out.rows = args->x.rows;
    before(c, &call);
    c->inner->head(c->context, args);
    after(c, &call);
}

/* ---- passed on as they are ---- */

static void pass_close(OpsContext *c)
{
    if (c)
        c->inner->close(c->context);
    free(c);
}

static int pass_alloc(OpsContext *c, size_t bytes, void **out, Error *e)
{
    return c->inner->alloc(c->context, bytes, out, e);
}

static void pass_free(OpsContext *c, void *memory, size_t bytes)
{
    c->inner->free(c->context, memory, bytes);
}

static int pass_sync(OpsContext *c, Error *e)
{
    return c->inner->sync(c->context, e);
}

static void pass_copy(OpsContext *c, View dst, View src)
{
    c->inner->copy(c->context, dst, src);
}

static void pass_upload(OpsContext *c, View dst, const double *src)
{
    c->inner->upload(c->context, dst, src);
}

static void pass_download(OpsContext *c, double *dst, View src)
{
    c->inner->download(c->context, dst, src);
}

static int pass_weight_prepare(OpsContext *c, void *slot, WeightKind kind, const WeightPart *parts, size_t n, Weight *out,
                               Error *e)
{
    return c->inner->weight_prepare(c->context, slot, kind, parts, n, out, e);
}

static void pass_slot_done(OpsContext *c, void *slot)
{
    c->inner->slot_done(c->context, slot);
}

static void pass_mean(OpsContext *c, View out, const View *in, size_t n)
{
    c->inner->mean(c->context, out, in, n);
}

static void pass_row_dots(OpsContext *c, double *out, View a, View b)
{
    c->inner->row_dots(c->context, out, a, b);
}

static void pass_clear(OpsContext *c, void *memory, size_t bytes)
{
    c->inner->clear(c->context, memory, bytes);
}

static void pass_read(OpsContext *c, void *dst, const void *memory, size_t bytes)
{
    c->inner->read(c->context, dst, memory, bytes);
}

static void pass_gather(OpsContext *c, View out, View x, const int32_t *rows)
{
    c->inner->gather(c->context, out, x, rows);
}

static void pass_pair_sums(OpsContext *c, const PairSums *to, View x, const PairItem *items, size_t n_items)
{
    c->inner->pair_sums(c->context, to, x, items, n_items);
}

static void pass_compare_rows(OpsContext *c, RowsCompared *out, View x, const RowPair *pairs, size_t n, const double *weight)
{
    c->inner->compare_rows(c->context, out, x, pairs, n, weight);
}

/* What is a number, and what needs no context, is the inner table's. */
static Ops table_around(const Ops *inner, bool fused)
{
    return (Ops){.name = inner->name,
                 .gemm_dtype = inner->gemm_dtype,
                 .act_dtype = inner->act_dtype,
                 .resid_dtype = inner->resid_dtype,
                 .logit_dtype = inner->logit_dtype,
                 .host_memory = inner->host_memory,
                 .tile_rows = inner->tile_rows,
                 .head_rows = inner->head_rows,
                 .memory_available = inner->memory_available,
                 .context_bytes = inner->context_bytes,
                 .weight_slot_bytes = inner->weight_slot_bytes,
                 .close = pass_close,
                 .alloc = pass_alloc,
                 .free = pass_free,
                 .sync = pass_sync,
                 .copy = pass_copy,
                 .upload = pass_upload,
                 .download = pass_download,
                 .weight_prepare = pass_weight_prepare,
                 .slot_done = pass_slot_done,
                 .embed = watch_embed,
                 .embed_add = watch_embed_add,
                 .norm = watch_norm,
                 .linear = watch_linear,
                 .linear_add = fused && inner->linear_add ? watch_linear_add : NULL,
                 .rope = watch_rope,
                 .attention = watch_attention,
                 .glu = watch_glu,
                 .act = watch_act,
                 .add = watch_add,
                 .clip = watch_clip,
                 .add_gated = watch_add_gated,
                 .mean = pass_mean,
                 .route = watch_route,
                 .moe = watch_moe,
                 .row_dots = pass_row_dots,
                 .clear = pass_clear,
                 .read = pass_read,
                 .gather = pass_gather,
                 .pair_sums = pass_pair_sums,
                 .compare_rows = pass_compare_rows,
                 .head = watch_head};
}

int op_watch_open(const Ops *inner, const OpsConfig *config, bool fused, OpWatch *out, Error *e)
{
    memset(out, 0, sizeof *out);
    OpsContext *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(e, STATUS_FAILED, "out of memory for a watched table");
    int status = inner->open(config, &c->context, e);
    if (status) {
        free(c);
        return status;
    }
    c->inner = inner;
    out->context = c;
    out->ops = table_around(inner, fused);
    return STATUS_OK;
}

void op_watch_close(OpWatch *w)
{
    if (w->context)
        pass_close(w->context);
    memset(w, 0, sizeof *w);
}

void op_watch_set(OpWatch *w, const OpWatcher *watcher)
{
    w->context->watcher = watcher ? *watcher : (OpWatcher){0};
}
