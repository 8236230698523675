/* lab_head.c: what the head says of streams, in tiles of rows, and single steps watched operation by operation. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/lab_internal.h"

/* -- the head -- */

void lab_head_free(LabHead *h)
{
    free(h->nll);
    memset(h, 0, sizeof *h);
}

static int head_alloc(LabHead *h, size_t n, Error *e)
{
    memset(h, 0, sizeof *h);
    double *d = malloc(n * (2 + LAB_TOP) * sizeof *d + n * (2 + LAB_TOP) * sizeof(int32_t) + 1);
    if (!d)
        return error_set(e, STATUS_FAILED, "lab: out of memory for the predictions of %zu tokens", n);
    *h = (LabHead){.n = n, .nll = d, .kl = d + n, .p = d + 2 * n};
    h->rank = (int32_t *)(void *)(d + (2 + LAB_TOP) * n);
    h->top1 = h->rank + n;
    h->ids = h->top1 + n;
    return STATUS_OK;
}

/* The best LAB_TOP of a row's logits, falling, ties to the lower id. */
static void select_top(const double *z, size_t vocab, double lse, double *p, int32_t *ids)
{
    size_t n = 0;
    for (size_t v = 0; v < vocab; v++) {
        if (isnan(z[v]) || (n == LAB_TOP && !(z[v] > z[ids[n - 1]])))
            continue;
        size_t at = n < LAB_TOP ? n++ : n - 1;
        for (; at > 0 && z[v] > z[ids[at - 1]]; at--)
            ids[at] = ids[at - 1];
        ids[at] = (int32_t)v;
    }
    for (size_t i = 0; i < LAB_TOP; i++) {
        p[i] = i < n ? exp(z[ids[i]] - lse) : 0;
        ids[i] = i < n ? ids[i] : -1;
    }
}

/* Logits of residual rows into `logits`, with all the head tells; a reference's logits and log-sum-exp may be given. */
static void head_tile(Lab *lab, View residual, const int32_t *targets, View logits, double *lse, const View *reference,
                      const double *reference_lse)
{
    LabHeadScratch *s = &lab->scratch;
    const ModelTraits *t = &lab->model->traits;
    View x = s->x;
    x.rows = logits.rows = residual.rows;
    forward_final_norm(lab->forward, &lab->head, residual, x);
    HeadArgs args = {.x = forward_project_out(lab->forward, &lab->head, x, s->projected),
                     .w = &lab->head.head,
                     .bias = &lab->head.head_bias,
                     .logit_scale = t->logit_scale,
                     .softcap = t->logit_softcap,
                     .targets = targets,
                     .logits = logits,
                     .intact_logits = reference,
                     .intact_lse = reference_lse,
                     .nll = s->nll,
                     .kl = s->kl,
                     .word_start_logp = s->word,
                     .lse = lse,
                     .rank = s->rank,
                     .top1 = s->top1};
    lab_ops(lab)->head(lab->watch.context, &args);
}

static void keep_tile(Lab *lab, LabHead *h, size_t at, size_t n, View logits, const double *lse, bool has_reference)
{
    LabHeadScratch *s = &lab->scratch;
    size_t vocab = lab->model->traits.vocab, elem = dtype_block_bytes(logits.dtype);
    for (size_t i = 0; i < n; i++) {
        h->nll[at + i] = s->nll[i];
        h->kl[at + i] = has_reference ? s->kl[i] : NAN;
        h->rank[at + i] = s->rank[i];
        h->top1[at + i] = s->top1[i];
        lab_ops(lab)->download(lab->watch.context, s->row, view_rows(logits, i, 1, elem));
        select_top(s->row, vocab, lse[i], h->p + (at + i) * LAB_TOP, h->ids + (at + i) * LAB_TOP);
    }
}

static View logit_rows(const LabNode *n, size_t first, size_t rows)
{
    return view_rows(n->logits, first, rows, dtype_block_bytes(n->logits.dtype));
}

/* Logits of all rows stay with a node that others refer to, while they are a small part of the cache. */
static void keep_logits(Lab *lab, LabNode *n)
{
    const Ops *o = lab_ops(lab);
    size_t rows = n->residual.rows, vocab = lab->model->traits.vocab;
    size_t bytes = lab_round64(rows * vocab * dtype_block_bytes(o->logit_dtype));
    Error ignored;
    if (n->logits.data || bytes > lab->cache_bytes / 4)
        return;
    lab_make_room(lab, bytes);
    void *memory = NULL;
    n->lse = malloc(rows * sizeof *n->lse);
    if (!n->lse || o->alloc(lab->watch.context, bytes, &memory, &ignored)) {
        free(n->lse);
        n->lse = NULL;
        return;
    }
    n->logits = lab_matrix(memory, o->logit_dtype, rows, vocab);
    n->logit_bytes = bytes;
    lab->cache_used += bytes;
    lab_head_free(&n->head); /* computed again, with its logits */
    n->has_head = false;
}

static int head_node(Lab *lab, LabNode *node, LabNode *reference, const int32_t *ids, const LabControl *control, double from,
                     double share, Error *e)
{
    LabHeadScratch *s = &lab->scratch;
    size_t n = node->residual.rows, resid = dtype_block_bytes(lab_ops(lab)->resid_dtype);
    LabHead h;
    int status = head_alloc(&h, n, e);
    for (size_t at = 0; !status && at < n; at += LAB_HEAD_ROWS) {
        if (lab_stopped(control)) {
            status = error_set(e, STATUS_INTERRUPTED, "interrupted");
            break;
        }
        size_t rows = n - at < LAB_HEAD_ROWS ? n - at : LAB_HEAD_ROWS;
        for (size_t i = 0; i < rows; i++)
            s->targets[i] = at + i + 1 < n ? ids[at + i + 1] : -1;
        View reference_logits = s->reference;
        const double *reference_lse = s->reference_lse;
        if (reference && reference->has_head && reference->logits.data) {
            reference_logits = logit_rows(reference, at, rows);
            reference_lse = reference->lse + at;
        } else if (reference) {
            reference_logits.rows = rows;
            head_tile(lab, view_rows(reference->residual, at, rows, resid), s->targets, reference_logits, s->reference_lse,
                      NULL, NULL);
        }
        View logits = node->logits.data ? logit_rows(node, at, rows) : s->logits;
        logits.rows = rows;
        double *lse = node->logits.data ? node->lse + at : s->lse;
        head_tile(lab, view_rows(node->residual, at, rows, resid), s->targets, logits, lse,
                  reference ? &reference_logits : NULL, reference_lse);
        if (!(status = lab_ops(lab)->sync(lab->watch.context, e)))
            keep_tile(lab, &h, at, rows, logits, lse, reference != NULL);
        lab_report(control, from + share * (double)(at + rows) / (double)n);
    }
    if (status) {
        lab_head_free(&h);
        return status;
    }
    lab_head_free(&node->head);
    node->head = h;
    node->has_head = true;
    if (reference)
        memcpy(node->kl_key, reference->key, LAB_KEY_BYTES);
    else
        memset(node->kl_key, 0, LAB_KEY_BYTES);
    return STATUS_OK;
}

int lab_head(Lab *lab, LabNode *node, LabNode *reference, const int32_t *ids, const LabControl *control, double from,
             double share, const LabHead **out, Error *e)
{
    int status = STATUS_OK;
    if (reference) {
        keep_logits(lab, reference);
        if (!reference->has_head)
            status = head_node(lab, reference, NULL, ids, control, from, share / 2, e);
    }
    bool same = reference && memcmp(node->kl_key, reference->key, LAB_KEY_BYTES) == 0;
    if (!status && reference == node && !same) {
        for (size_t i = 0; i < node->head.n; i++)
            node->head.kl[i] = 0;
        memcpy(node->kl_key, node->key, LAB_KEY_BYTES);
    } else if (!status && (!node->has_head || (reference && !same))) {
        status = head_node(lab, node, reference, ids, control, from + share / 2, share / 2, e);
    }
    *out = status ? NULL : &node->head;
    return status;
}

int lab_head_rows(Lab *lab, const double *x, size_t n, const int32_t *targets, const double *reference, size_t n_reference,
                  const LabControl *control, double from, double share, LabHead *out, Error *e)
{
    LabHeadScratch *s = &lab->scratch;
    const Ops *o = lab_ops(lab);
    size_t d = lab->model->traits.d_model;
    int status = head_alloc(out, n, e);
    for (size_t at = 0; !status && at < n; at += LAB_HEAD_ROWS) {
        if (lab_stopped(control)) {
            status = error_set(e, STATUS_INTERRUPTED, "interrupted");
            break;
        }
        size_t rows = n - at < LAB_HEAD_ROWS ? n - at : LAB_HEAD_ROWS;
        View residual = s->residual, reference_logits = s->reference, logits = s->logits;
        residual.rows = reference_logits.rows = logits.rows = rows;
        for (size_t i = 0; i < rows; i++)
            s->targets[i] = targets ? targets[at + i] : -1;
        for (size_t i = 0; reference && i < rows; i++)
            o->upload(lab->watch.context, view_rows(residual, i, 1, dtype_block_bytes(o->resid_dtype)),
                      reference + (n_reference == 1 ? 0 : at + i) * d);
        if (reference)
            head_tile(lab, residual, s->targets, reference_logits, s->reference_lse, NULL, NULL);
        o->upload(lab->watch.context, residual, x + at * d);
        head_tile(lab, residual, s->targets, logits, s->lse, reference ? &reference_logits : NULL, s->reference_lse);
        if (!(status = o->sync(lab->watch.context, e)))
            keep_tile(lab, out, at, rows, logits, s->lse, reference != NULL);
        lab_report(control, from + share * (double)(at + rows) / (double)n);
    }
    if (status)
        lab_head_free(out);
    return status;
}

/* Tile by tile of tokens, so that the last point's logits are computed once for all points. */
int lab_lens(Lab *lab, const LabStream *s, const int32_t *ids, const LabControl *control, double from, double share,
             LabHead *out, Error *e)
{
    LabHeadScratch *x = &lab->scratch;
    size_t n_points = s->n_steps + 1, resid = dtype_block_bytes(lab_ops(lab)->resid_dtype), done = 0;
    int status = STATUS_OK;
    memset(out, 0, n_points * sizeof *out);
    for (size_t p = 0; !status && p < n_points; p++)
        status = head_alloc(&out[p], s->n, e);
    for (size_t at = 0; !status && at < s->n; at += LAB_HEAD_ROWS) {
        size_t rows = s->n - at < LAB_HEAD_ROWS ? s->n - at : LAB_HEAD_ROWS;
        View reference = x->reference, logits = x->logits;
        reference.rows = logits.rows = rows;
        for (size_t i = 0; i < rows; i++)
            x->targets[i] = at + i + 1 < s->n ? ids[at + i + 1] : -1;
        head_tile(lab, view_rows(s->point[s->n_steps]->residual, at, rows, resid), x->targets, reference, x->reference_lse,
                  NULL, NULL);
        for (size_t p = 0; !status && p < n_points; p++) {
            if (lab_stopped(control)) {
                status = error_set(e, STATUS_INTERRUPTED, "interrupted");
                break;
            }
            head_tile(lab, view_rows(s->point[p]->residual, at, rows, resid), x->targets, logits, x->lse, &reference,
                      x->reference_lse);
            if (!(status = lab_ops(lab)->sync(lab->watch.context, e)))
                keep_tile(lab, &out[p], at, rows, logits, x->lse, true);
            done += rows;
            lab_report(control, from + share * (double)done / (double)(n_points * s->n));
        }
    }
    for (size_t p = 0; status && p < n_points; p++)
        lab_head_free(&out[p]);
    return status;
}

/* -- watching -- */

int lab_watch_step(Lab *lab, const LabStream *s, const Order *order, size_t step, Part part, const int32_t *ids,
                   LabRecord *record, Error *e)
{
    memset(record, 0, sizeof *record);
    const OrderItem *item = &order->items[step];
    const LayerWeights *weights;
    int status = lab_layer_weights(lab, item->layer, &weights, e);
    if (status)
        return status;
    LabNode *in = part == PART_MLP && s->mid[step] ? s->mid[step] : s->pre[step];
    StepKind kind = part == PART_BOTH ? STEP_WHOLE : part == PART_ATTN ? STEP_ATTN : STEP_MLP;
    void *memory = NULL;
    if ((status = lab_ops(lab)->alloc(lab->watch.context, in->bytes, &memory, e)))
        return status;
    View out = in->residual;
    out.data = memory;
    TokenBlock block = lab_block(lab, ids, s->n);
    ForwardLane lane = {.in = in->residual, .out = out};
    lab_record_begin(record, &lab->watch);
    forward_batch(lab->forward, kind, item->layer, weights, &block, &lane, 1);
    lab_record_end(record);
    status = lab_ops(lab)->sync(lab->watch.context, e);
    lab_ops(lab)->free(lab->watch.context, memory, in->bytes);
    if (!status && record->failed)
        status = error_set(e, STATUS_FAILED, "lab: out of memory for the operations of step %zu", step);
    if (status)
        lab_record_free(record);
    return status;
}

int lab_watch_head(Lab *lab, const LabNode *node, size_t row, LabRecord *record, Error *e)
{
    LabHeadScratch *s = &lab->scratch;
    s->targets[0] = -1;
    lab_record_begin(record, &lab->watch);
    head_tile(lab, view_rows(node->residual, row, 1, dtype_block_bytes(lab_ops(lab)->resid_dtype)), s->targets, s->logits,
              s->lse, NULL, NULL);
    lab_record_end(record);
    int status = lab_ops(lab)->sync(lab->watch.context, e);
    if (!status && record->failed)
        status = error_set(e, STATUS_FAILED, "lab: out of memory for the operations of the head");
    if (status)
        lab_record_free(record);
    return status;
}
