/* lab_tap.c: see lab_tap.h. */
#include "experiments/lab_tap.h"

#include <stdlib.h>
#include <string.h>

/* Every table has a context type of its own; this is ours, around the inner table's. */
struct OpsContext {
    const Ops *inner;
    OpsContext *context;
    LabRecord *record;
};

static bool download(OpsContext *c, View x, LabMatrix *out)
{
    *out = (LabMatrix){.rows = x.rows, .cols = x.cols, .v = malloc(x.rows * x.cols * sizeof *out->v + 1)};
    if (!out->v)
        return false;
    c->inner->download(c->context, out->v, x);
    return true;
}

static void free_op(LabOp *op)
{
    for (size_t i = 0; i < 3; i++)
        free(op->in[i].v);
    free(op->out.v);
}

/* Begins an operation with its inputs as they are now; NULL when nobody watches or memory is out. */
static LabOp *begin(OpsContext *c, LabOpKind kind, const View *in, size_t n_in)
{
    LabRecord *r = c->record;
    if (!r || r->failed)
        return NULL;
    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 32;
        LabOp *ops = realloc(r->ops, cap * sizeof *ops);
        r->failed = !ops;
        if (!ops)
            return NULL;
        r->ops = ops;
        r->cap = cap;
    }
    LabOp *op = &r->ops[r->n];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    for (size_t i = 0; i < n_in; i++) {
        if (!download(c, in[i], &op->in[i])) {
            free_op(op);
            r->failed = true;
            return NULL;
        }
    }
    return op;
}

static void end(OpsContext *c, LabOp *op, View out)
{
    if (!op)
        return;
    if (download(c, out, &op->out)) {
        c->record->n++;
    } else {
        free_op(op);
        c->record->failed = true;
    }
}

void lab_record_free(LabRecord *r)
{
    for (size_t i = 0; i < r->n; i++)
        free_op(&r->ops[i]);
    free(r->ops);
    memset(r, 0, sizeof *r);
}

static void tap_close(OpsContext *c)
{
    if (c)
        c->inner->close(c->context);
    free(c);
}

static int tap_alloc(OpsContext *c, size_t bytes, void **out, Error *e)
{
    return c->inner->alloc(c->context, bytes, out, e);
}

static void tap_free(OpsContext *c, void *memory, size_t bytes)
{
    c->inner->free(c->context, memory, bytes);
}

static int tap_sync(OpsContext *c, Error *e)
{
    return c->inner->sync(c->context, e);
}

static void tap_copy(OpsContext *c, View dst, View src)
{
    c->inner->copy(c->context, dst, src);
}

static void tap_upload(OpsContext *c, View dst, const double *src)
{
    c->inner->upload(c->context, dst, src);
}

static void tap_download(OpsContext *c, double *dst, View src)
{
    c->inner->download(c->context, dst, src);
}

static int tap_weight_prepare(OpsContext *c, void *slot, WeightKind kind, const WeightPart *parts, size_t n, Weight *out,
                              Error *e)
{
    return c->inner->weight_prepare(c->context, slot, kind, parts, n, out, e);
}

static void tap_slot_done(OpsContext *c, void *slot)
{
    c->inner->slot_done(c->context, slot);
}

static void tap_embed(OpsContext *c, View out, const int32_t *ids, const WeightPart *table, float multiplier)
{
    c->inner->embed(c->context, out, ids, table, multiplier);
}

static void tap_embed_add(OpsContext *c, View x, const int32_t *positions, const WeightPart *table)
{
    c->inner->embed_add(c->context, x, positions, table);
}

static void tap_norm(OpsContext *c, View out, View x, const NormSpec *spec, const Weight *w, const Weight *bias)
{
    LabOp *op = begin(c, LAB_NORM, &x, 1);
    if (op) {
        op->weight = w;
        op->norm = *spec;
    }
    c->inner->norm(c->context, out, x, spec, w, bias);
    end(c, op, out);
}

static void tap_linear(OpsContext *c, View y, View x, const Weight *w, const Weight *bias)
{
    LabOp *op = begin(c, LAB_LINEAR, &x, 1);
    if (op)
        op->weight = w;
    c->inner->linear(c->context, y, x, w, bias);
    end(c, op, y);
}

static void tap_rope(OpsContext *c, View x, const int32_t *positions, const Weight *cosines, const Weight *sines, int n_heads,
                     int head_dim, int rotary_dims, RopeStyle style)
{
    LabOp *op = begin(c, LAB_ROPE, &x, 1);
    c->inner->rope(c->context, x, positions, cosines, sines, n_heads, head_dim, rotary_dims, style);
    end(c, op, x);
}

static void tap_attention(OpsContext *c, View out, View q, View k, View v, const AttnSeq *seqs, size_t n_seqs,
                          const AttnSpec *spec)
{
    LabOp *op = begin(c, LAB_ATTENTION, (View[]){q, k, v}, 3);
    if (op)
        op->attention = *spec;
    c->inner->attention(c->context, out, q, k, v, seqs, n_seqs, spec);
    end(c, op, out);
}

static void tap_glu(OpsContext *c, View out, View gate, View up, ActKind act)
{
    LabOp *op = begin(c, LAB_GLU, (View[]){gate, up}, 2);
    c->inner->glu(c->context, out, gate, up, act);
    end(c, op, out);
}

static void tap_act(OpsContext *c, View out, View x, ActKind act)
{
    LabOp *op = begin(c, LAB_ACT, &x, 1);
    c->inner->act(c->context, out, x, act);
    end(c, op, out);
}

static void tap_add(OpsContext *c, View out, View a, View b, float scale)
{
    LabOp *op = begin(c, LAB_ADD, (View[]){a, b}, 2);
    if (op)
        op->scale = (double)scale;
    c->inner->add(c->context, out, a, b, scale);
    end(c, op, out);
}

static void tap_clip(OpsContext *c, View x, float limit)
{
    LabOp *op = begin(c, LAB_CLIP, &x, 1);
    c->inner->clip(c->context, x, limit);
    end(c, op, x);
}

static void tap_add_gated(OpsContext *c, View out, View a, View b, View gate)
{
    LabOp *op = begin(c, LAB_ADD_GATED, (View[]){a, b}, 2);
    c->inner->add_gated(c->context, out, a, b, gate);
    end(c, op, out);
}

static void tap_mean(OpsContext *c, View out, const View *in, size_t n)
{
    c->inner->mean(c->context, out, in, n);
}

/* The j-th best of n logits, ties to the lower index: the rule of route(). */
static int best_expert(const double *z, int n, int j)
{
    for (int x = 0; x < n; x++) {
        int better = 0;
        for (int y = 0; y < n; y++)
            better += z[y] > z[x] || (y < x && z[y] == z[x]);
        if (better == j)
            return x;
    }
    return -1; /* logits that are no numbers */
}

/* The choice may lie on a device, where only numbers can be fetched from: shares are, experts follow from the logits. */
static void tap_route(OpsContext *c, Routes out, View logits, const RouteSpec *spec)
{
    LabOp *op = begin(c, LAB_ROUTE, &logits, 1);
    c->inner->route(c->context, out, logits, spec);
    if (!op)
        return;
    size_t rows = logits.rows, top_k = (size_t)spec->top_k;
    View shares = {.data = out.weight, .dtype = DTYPE_F32, .rows = rows, .cols = top_k, .ld = top_k};
    op->out = (LabMatrix){.rows = rows, .cols = top_k, .v = malloc(rows * top_k * sizeof(double) + 1)};
    if (!op->out.v || !download(c, shares, &op->in[1])) {
        free_op(op);
        c->record->failed = true;
        return;
    }
    for (size_t t = 0; t < rows; t++)
        for (size_t j = 0; j < top_k; j++)
            op->out.v[t * top_k + j] = best_expert(op->in[0].v + t * logits.cols, spec->n_experts, (int)j);
    c->record->n++;
}

static void tap_moe(OpsContext *c, View out, View x, Routes routes, const ExpertWeights *experts, const RouteSpec *spec,
                    ActKind act)
{
    LabOp *op = begin(c, LAB_MOE, &x, 1);
    c->inner->moe(c->context, out, x, routes, experts, spec, act);
    end(c, op, out);
}

static void tap_row_dots(OpsContext *c, double *out, View a, View b)
{
    c->inner->row_dots(c->context, out, a, b);
}

static void tap_head(OpsContext *c, const HeadArgs *args)
{
    LabOp *op = begin(c, LAB_HEAD, &args->x, 1);
    if (op)
        op->weight = args->w;
    c->inner->head(c->context, args);
    View logits = args->logits;
    logits.rows = args->x.rows;
    end(c, op, logits);
}

int lab_tap_open(const Ops *inner, const OpsConfig *config, LabTap *out, Error *e)
{
    memset(out, 0, sizeof *out);
    OpsContext *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(e, STATUS_FAILED, "lab: out of memory");
    int status = inner->open(config, &c->context, e);
    if (status) {
        free(c);
        return status;
    }
    c->inner = inner;
    out->context = c;
    out->ops = (Ops){.name = inner->name,
                     .gemm_dtype = inner->gemm_dtype,
                     .act_dtype = inner->act_dtype,
                     .resid_dtype = inner->resid_dtype,
                     .logit_dtype = inner->logit_dtype,
                     .context_bytes = inner->context_bytes,
                     .close = tap_close,
                     .alloc = tap_alloc,
                     .free = tap_free,
                     .sync = tap_sync,
                     .copy = tap_copy,
                     .upload = tap_upload,
                     .download = tap_download,
                     .weight_slot_bytes = inner->weight_slot_bytes,
                     .weight_prepare = tap_weight_prepare,
                     .slot_done = tap_slot_done,
                     .embed = tap_embed,
                     .embed_add = tap_embed_add,
                     .norm = tap_norm,
                     .linear = tap_linear,
                     .rope = tap_rope,
                     .attention = tap_attention,
                     .glu = tap_glu,
                     .act = tap_act,
                     .add = tap_add,
                     .clip = tap_clip,
                     .add_gated = tap_add_gated,
                     .mean = tap_mean,
                     .route = tap_route,
                     .moe = tap_moe,
                     .row_dots = tap_row_dots,
                     .head = tap_head};
    return STATUS_OK;
}

void lab_tap_close(LabTap *t)
{
    if (t->context)
        tap_close(t->context);
    memset(t, 0, sizeof *t);
}

void lab_tap_watch(LabTap *t, LabRecord *record)
{
    t->context->record = record;
}
