/* lab_inside.c: attention patterns and router choices; see lab_inside.h. Patterns are not taken from the engine, whose attention
 * keeps no weights: they are the softmax, in f64, of its own rotated queries and keys. */
#include "experiments/lab_inside.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/audit_math.h"

static double alibi(const AttnSpec *a, size_t head, size_t row, size_t key)
{
    if (!a->alibi_slopes)
        return 0;
    double slope = (double)a->alibi_slopes[head];
    if (a->alibi_bf16)
        return (double)a->scale * audit_to_bf16(audit_to_bf16(slope) * audit_to_bf16((double)key));
    return slope * ((double)key - (double)row);
}

size_t lab_scores(const LabOp *attention, size_t head, size_t row, double *scores, size_t *first)
{
    const AttnSpec *a = &attention->attention;
    const LabMatrix *q = &attention->in[0], *k = &attention->in[1];
    size_t dh = (size_t)a->head_dim, kv = head / (size_t)(a->n_heads / a->n_kv_heads), window = (size_t)a->window;
    *first = a->window > 0 && row + 1 > window ? row + 1 - window : 0;
    for (size_t key = *first; key <= row; key++) {
        double dot = 0;
        for (size_t i = 0; i < dh; i++)
            dot += q->v[row * q->cols + head * dh + i] * k->v[key * k->cols + kv * dh + i];
        dot *= (double)a->scale;
        if (a->softcap > 0)
            dot = (double)a->softcap * tanh(dot / (double)a->softcap);
        scores[key - *first] = dot + alibi(a, head, row, key);
    }
    return row + 1 - *first;
}

void lab_softmax(double *scores, size_t n)
{
    double most = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        most = scores[i] > most ? scores[i] : most;
    for (size_t i = 0; i < n; i++)
        sum += scores[i] = exp(scores[i] - most);
    for (size_t i = 0; i < n; i++)
        scores[i] /= sum;
}

static const LabOp *find_kind(const LabRecord *r, OpKind kind)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->ops[i].kind == kind)
            return &r->ops[i];
    return NULL;
}

int lab_attention(Lab *lab, const LabStream *s, const Order *order, size_t step, const int32_t *ids, int head,
                  LabAttention *out, Error *e)
{
    memset(out, 0, sizeof *out);
    if (step >= s->n_steps)
        return error_set(e, STATUS_USAGE, "step %zu: expected below the order's %zu steps", step, s->n_steps);
    const OrderItem *item = &order->items[step];
    const ModelTraits *t = &lab_bench(lab)->model.traits;
    if (item->part == PART_MLP)
        return error_set(e, STATUS_USAGE, "step %zu is the MLP alone: it has no attention", step);
    if (head >= t->n_heads)
        return error_set(e, STATUS_USAGE, "head %d: expected 0 to %d", head, t->n_heads - 1);
    LabRecord record;
    Part part = lab_step_is_whole(lab, order, step) ? PART_BOTH : PART_ATTN;
    int status = lab_watch_step(lab, s, order, step, part, ids, &record, e);
    if (status)
        return status;
    const LabOp *attention = find_kind(&record, OP_ATTENTION);
    size_t n = s->n, n_heads = head < 0 ? (size_t)t->n_heads : 1;
    *out = (LabAttention){.layer = item->layer,
                          .window = t->layers[item->layer].window,
                          .first_head = head < 0 ? 0 : head,
                          .n_heads = n_heads,
                          .n = n};
    out->pattern = calloc(n_heads * n * n, sizeof *out->pattern);
    if (!attention || !out->pattern)
        status = error_set(e, STATUS_FAILED, "out of memory for %zu patterns of %zu tokens", n_heads, n);
    for (size_t h = 0; !status && h < n_heads; h++) {
        for (size_t row = 0; row < n; row++) {
            size_t first;
            double *at = out->pattern + (h * n + row) * n;
            size_t seen = lab_scores(attention, (size_t)out->first_head + h, row, at, &first);
            lab_softmax(at, seen);
            memmove(at + first, at, seen * sizeof *at);
            memset(at, 0, first * sizeof *at);
        }
    }
    lab_record_free(&record);
    if (status)
        lab_attention_free(out);
    return status;
}

void lab_attention_free(LabAttention *a)
{
    free(a->pattern);
    memset(a, 0, sizeof *a);
}

int lab_routes(Lab *lab, const LabStream *s, const Order *order, size_t step, const int32_t *ids, LabRoutes *out, Error *e)
{
    memset(out, 0, sizeof *out);
    const OrderItem *item = &order->items[step];
    if (item->part == PART_ATTN || lab_bench(lab)->model.traits.layers[item->layer].mlp != MLP_MOE)
        return STATUS_OK;
    LabRecord record;
    Part part = lab_step_is_whole(lab, order, step) ? PART_BOTH : PART_MLP;
    int status = lab_watch_step(lab, s, order, step, part, ids, &record, e);
    if (status)
        return status;
    for (size_t i = 0; i < record.n; i++) {
        LabOp *op = &record.ops[i];
        if (op->kind != OP_ROUTE || out->expert)
            continue;
        *out = (LabRoutes){.n = op->out.rows, .top_k = op->out.cols, .expert = op->out.v, .weight = op->in[1].v};
        op->out.v = op->in[1].v = NULL; /* ours now */
    }
    lab_record_free(&record);
    return STATUS_OK;
}

void lab_routes_free(LabRoutes *r)
{
    free(r->expert);
    free(r->weight);
    memset(r, 0, sizeof *r);
}
