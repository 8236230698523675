/* lab_record.c: see lab_record.h. */
#include "experiments/lab_record.h"

#include <stdlib.h>
#include <string.h>

static bool download(LabRecord *r, View x, LabMatrix *out)
{
    *out = (LabMatrix){.rows = x.rows, .cols = x.cols, .v = malloc(x.rows * x.cols * sizeof *out->v + 1)};
    if (!out->v)
        return false;
    r->watch->ops.download(r->watch->context, out->v, x);
    return true;
}

static void free_op(LabOp *op)
{
    for (size_t i = 0; i < 3; i++)
        free(op->in[i].v);
    free(op->out.v);
}

/* Room for one more. */
static bool grow(LabRecord *r)
{
    if (r->n < r->cap)
        return true;
    size_t cap = r->cap ? 2 * r->cap : 32;
    LabOp *ops = realloc(r->ops, cap * sizeof *ops);
    if (!ops)
        return false;
    r->ops = ops;
    r->cap = cap;
    return true;
}

static void drop(LabRecord *r)
{
    free_op(&r->ops[r->n]);
    r->running = false;
    r->failed = true;
}

static void before(void *user, const OpCall *call)
{
    LabRecord *r = user;
    if (r->failed)
        return;
    if (!grow(r)) {
        r->failed = true;
        return;
    }
    LabOp *op = &r->ops[r->n];
    *op = (LabOp){.kind = call->kind, .weight = call->weight, .scale = call->scale};
    if (call->norm)
        op->norm = *call->norm;
    if (call->attention)
        op->attention = *call->attention;
    r->running = true;
    for (size_t i = 0; r->running && i < call->n_in; i++)
        if (!download(r, call->in[i], &op->in[i]))
            drop(r);
}

/* The j-th best of n logits, ties to the lower index: the rule of route(). */
static int best_expert(const double *z, size_t n, size_t j)
{
    for (size_t x = 0; x < n; x++) {
        size_t better = 0;
        for (size_t y = 0; y < n; y++)
            better += z[y] > z[x] || (y < x && z[y] == z[x]);
        if (better == j)
            return (int)x;
    }
    return -1; /* logits that are no numbers */
}

/* The choice may lie on a device, where only numbers can be fetched from: shares are, experts follow from the logits. */
static bool keep_choice(LabOp *op)
{
    const LabMatrix *logits = &op->in[0];
    op->in[1] = op->out;
    op->out.v = malloc(op->out.rows * op->out.cols * sizeof *op->out.v + 1);
    for (size_t t = 0; op->out.v && t < op->out.rows; t++)
        for (size_t j = 0; j < op->out.cols; j++)
            op->out.v[t * op->out.cols + j] = best_expert(logits->v + t * logits->cols, logits->cols, j);
    return op->out.v;
}

static void after(void *user, const OpCall *call)
{
    LabRecord *r = user;
    LabOp *op = &r->ops[r->n];
    if (!r->running)
        return;
    if (!download(r, call->out, &op->out) || (call->kind == OP_ROUTE && !keep_choice(op))) {
        drop(r);
        return;
    }
    r->running = false;
    r->n++;
}

void lab_record_begin(LabRecord *r, OpWatch *w)
{
    *r = (LabRecord){.watch = w};
    op_watch_set(w, &(OpWatcher){.before = before, .after = after, .user = r});
}

void lab_record_end(LabRecord *r)
{
    op_watch_set(r->watch, NULL);
}

void lab_record_free(LabRecord *r)
{
    for (size_t i = 0; i < r->n; i++)
        free_op(&r->ops[i]);
    free(r->ops);
    memset(r, 0, sizeof *r);
}
