/* lab_walk.c: the cache of residual streams, and walks along an order that use it. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/sha256.h"
#include "experiments/lab_internal.h"

/* -- the cache -- */

static void unlink_node(Lab *lab, LabNode *n)
{
    *(n->newer ? &n->newer->older : &lab->newest) = n->older;
    *(n->older ? &n->older->newer : &lab->oldest) = n->newer;
}

static void push_node(Lab *lab, LabNode *n)
{
    n->newer = NULL;
    n->older = lab->newest;
    *(lab->newest ? &lab->newest->newer : &lab->oldest) = n;
    lab->newest = n;
}

static LabNode **bucket_of(Lab *lab, const char key[LAB_KEY_BYTES])
{
    unsigned h = 0;
    for (int i = 0; i < 16; i++)
        h = h * 31 + (unsigned char)key[i];
    return &lab->buckets[h % LAB_BUCKETS];
}

static void free_node(Lab *lab, LabNode *n)
{
    LabNode **at = bucket_of(lab, n->key);
    while (*at && *at != n)
        at = &(*at)->next;
    if (*at)
        *at = n->next;
    unlink_node(lab, n);
    if (n->residual.data)
        lab_ops(lab)->free(lab->watch.context, n->residual.data, n->bytes);
    if (n->logits.data)
        lab_ops(lab)->free(lab->watch.context, n->logits.data, n->logit_bytes);
    free(n->lse);
    lab_head_free(&n->head);
    lab->cache_used -= n->bytes + n->logit_bytes;
    free(n);
}

/* Room for more bytes: nodes nobody uses leave. Pinned ones may exceed the cache for the time of a request. */
void lab_make_room(Lab *lab, size_t bytes)
{
    for (LabNode *n = lab->oldest, *newer; n && lab->cache_used + bytes > lab->cache_bytes; n = newer) {
        newer = n->newer;
        if (!n->n_pins)
            free_node(lab, n);
    }
}

static LabNode *find_node(Lab *lab, const char key[LAB_KEY_BYTES])
{
    LabNode *n = *bucket_of(lab, key);
    while (n && memcmp(n->key, key, LAB_KEY_BYTES) != 0)
        n = n->next;
    if (n) {
        unlink_node(lab, n);
        push_node(lab, n);
        n->n_pins++;
    }
    return n;
}

/* A pinned node with memory for its stream, not yet computed. */
static LabNode *new_node(Lab *lab, const char key[LAB_KEY_BYTES], size_t rows, Error *e)
{
    const Ops *o = lab_ops(lab);
    size_t d = lab->model->traits.d_model, bytes = lab_round64(rows * d * dtype_block_bytes(o->resid_dtype));
    lab_make_room(lab, bytes + sizeof(LabNode));
    LabNode *n = calloc(1, sizeof *n);
    void *memory = NULL;
    if (!n || o->alloc(lab->watch.context, bytes, &memory, e)) {
        free(n);
        error_set(e, STATUS_FAILED, "lab: out of memory for the stream of %zu tokens", rows);
        return NULL;
    }
    memcpy(n->key, key, LAB_KEY_BYTES);
    n->bytes = bytes;
    n->residual = lab_matrix(memory, o->resid_dtype, rows, d);
    n->n_pins = 1;
    LabNode **bucket = bucket_of(lab, key);
    n->next = *bucket;
    *bucket = n;
    push_node(lab, n);
    lab->cache_used += bytes;
    return n;
}

/* key = SHA-256 of a parent's key (or nothing), a word, and bytes. */
static void make_key(const char *parent, const char *word, const void *data, size_t bytes, char out[LAB_KEY_BYTES])
{
    Sha256 s;
    char hex[65];
    sha256_begin(&s);
    if (parent)
        sha256_update(&s, parent, LAB_KEY_BYTES);
    sha256_update(&s, word, strlen(word) + 1);
    sha256_update(&s, data, bytes);
    sha256_end(&s, hex);
    memcpy(out, hex, LAB_KEY_BYTES);
}

void lab_free_nodes(Lab *lab)
{
    while (lab->newest)
        free_node(lab, lab->newest);
}

/* -- walking -- */

typedef struct Walk {
    Lab *lab;
    const LabText *text;
    const LabControl *control;
    double from, share;
    LabStream *out;
    Error *e;
} Walk;

TokenBlock lab_block(Lab *lab, const int32_t *ids, size_t n)
{
    lab->starts[0] = 0;
    lab->starts[1] = n;
    return (TokenBlock){.ids = ids, .window_start = lab->starts, .n_rows = n, .n_windows = 1};
}

bool lab_stopped(const LabControl *c)
{
    return c && c->should_stop && c->should_stop(c->user);
}

void lab_report(const LabControl *c, double share)
{
    if (c && c->on_progress)
        c->on_progress(c->user, share);
}

static int finish_node(Lab *lab, LabNode *n, int status, Error *e)
{
    if (!status)
        status = lab_ops(lab)->sync(lab->watch.context, e);
    if (status) { /* a node that was not computed must not be found */
        n->n_pins--;
        free_node(lab, n);
    }
    return status;
}

static int node_embed(Walk *w, LabNode **out)
{
    char key[LAB_KEY_BYTES];
    make_key(NULL, "ids", w->text->ids, w->text->n * sizeof *w->text->ids, key);
    if ((*out = find_node(w->lab, key)))
        return STATUS_OK;
    if (!(*out = new_node(w->lab, key, w->text->n, w->e)))
        return STATUS_FAILED;
    TokenBlock block = lab_block(w->lab, w->text->ids, w->text->n);
    forward_embed(w->lab->forward, &block, (*out)->residual);
    int status = finish_node(w->lab, *out, STATUS_OK, w->e);
    *out = status ? NULL : *out;
    return status;
}

static int node_step(Walk *w, LabNode *in, StepKind kind, int layer, LabNode **out)
{
    char key[LAB_KEY_BYTES];
    int32_t step[2] = {(int32_t)kind, layer};
    make_key(in->key, "step", step, sizeof step, key);
    if ((*out = find_node(w->lab, key)))
        return STATUS_OK;
    if (lab_stopped(w->control))
        return error_set(w->e, STATUS_INTERRUPTED, "interrupted");
    const LayerWeights *weights;
    int status = lab_layer_weights(w->lab, layer, &weights, w->e);
    if (status)
        return status;
    if (!(*out = new_node(w->lab, key, w->text->n, w->e)))
        return STATUS_FAILED;
    TokenBlock block = lab_block(w->lab, w->text->ids, w->text->n);
    ForwardLane lane = {.in = in->residual, .out = (*out)->residual};
    forward_batch(w->lab->forward, kind, layer, weights, &block, &lane, 1);
    status = finish_node(w->lab, *out, STATUS_OK, w->e);
    *out = status ? NULL : *out;
    return status;
}

static int node_mean(Walk *w, LabNode **members, size_t n, LabNode **out)
{
    char key[LAB_KEY_BYTES];
    char *keys = malloc(n * LAB_KEY_BYTES);
    View *views = malloc(n * sizeof *views);
    int status = STATUS_FAILED;
    *out = NULL;
    if (!keys || !views) {
        error_set(w->e, status, "lab: out of memory for a group of %zu layers", n);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        memcpy(keys + i * LAB_KEY_BYTES, members[i]->key, LAB_KEY_BYTES);
        views[i] = members[i]->residual;
    }
    make_key(NULL, "mean", keys, n * LAB_KEY_BYTES, key);
    status = STATUS_OK;
    if ((*out = find_node(w->lab, key)))
        goto done;
    if (!(*out = new_node(w->lab, key, w->text->n, w->e))) {
        status = STATUS_FAILED;
        goto done;
    }
    lab_ops(w->lab)->mean(w->lab->watch.context, (*out)->residual, views, n);
    status = finish_node(w->lab, *out, STATUS_OK, w->e);
    *out = status ? NULL : *out;
done:
    free(views);
    free(keys);
    return status;
}

/* The node after the edits of a point, in *node's place; itself when there are none. */
static int node_edit(Walk *w, size_t point, LabNode **node)
{
    const LabText *t = w->text;
    size_t n_edits = 0, d = w->lab->model->traits.d_model;
    for (size_t i = 0; i < t->n_edits; i++)
        n_edits += t->edits[i].point == point;
    if (!n_edits)
        return STATUS_OK;
    double *x = malloc(t->n * d * sizeof *x);
    if (!x)
        return error_set(w->e, STATUS_FAILED, "lab: out of memory for an edit");
    lab_node_rows(w->lab, *node, 0, t->n, x);
    for (size_t i = 0; i < t->n_edits; i++)
        for (size_t r = t->edit_from; t->edits[i].point == point && r < t->n; r++)
            x[r * d + t->edits[i].dim] = t->edits[i].values ? t->edits[i].values[r] : t->edits[i].value;
    char key[LAB_KEY_BYTES];
    make_key((*node)->key, "edit", x, t->n * d * sizeof *x, key);
    LabNode *edited = find_node(w->lab, key);
    int status = STATUS_OK;
    if (!edited) {
        edited = new_node(w->lab, key, t->n, w->e);
        if (edited) {
            lab_ops(w->lab)->upload(w->lab->watch.context, edited->residual, x);
            status = finish_node(w->lab, edited, STATUS_OK, w->e);
        } else {
            status = STATUS_FAILED;
        }
    }
    free(x);
    if (!status) {
        (*node)->n_pins--;
        *node = edited;
    }
    return status;
}

bool lab_step_is_whole(const Lab *lab, const Order *order, size_t step)
{
    return lab->model->traits.residual == RESIDUAL_PARALLEL && order->items[step].part == PART_BOTH;
}

static int walk_item(Walk *w, size_t step, LabNode *in, LabNode **out)
{
    const OrderItem *item = &w->text->order->items[step];
    if (lab_step_is_whole(w->lab, w->text->order, step))
        return node_step(w, in, STEP_WHOLE, item->layer, out);
    if (item->part == PART_ATTN)
        return node_step(w, in, STEP_ATTN, item->layer, out);
    if (item->part == PART_MLP)
        return node_step(w, in, STEP_MLP, item->layer, out);
    int status = node_step(w, in, STEP_ATTN, item->layer, &w->out->mid[step]);
    return status ? status : node_step(w, w->out->mid[step], STEP_MLP, item->layer, out);
}

static int walk_group(Walk *w, size_t first, size_t end, LabNode *in)
{
    LabStream *s = w->out;
    int status = STATUS_OK;
    for (size_t i = first; !status && i < end; i++) {
        in->n_pins++;
        s->pre[i] = in;
        status = walk_item(w, i, in, &s->own[i]);
        lab_report(w->control, w->from + w->share * (double)(i + 1) / (double)s->n_steps);
    }
    if (status)
        return status;
    LabNode *after = s->own[first];
    if (end - first == 1)
        after->n_pins++;
    else if ((status = node_mean(w, s->own + first, end - first, &after)))
        return status;
    for (size_t point = first + 1; !status && point <= end; point++)
        status = node_edit(w, point, &after);
    for (size_t i = first; i < end; i++) {
        after->n_pins++;
        s->point[i + 1] = after;
    }
    after->n_pins--;
    return status;
}

int lab_walk(Lab *lab, const LabText *text, const LabControl *control, double from, double share, LabStream *out, Error *e)
{
    size_t n = text->order->n_items;
    memset(out, 0, sizeof *out);
    if (text->n > lab->max_tokens || n > LAB_MAX_STEPS)
        return error_set(e, STATUS_USAGE, "a text of %zu tokens under %zu steps, expected at most %zu and %d", text->n, n,
                         lab->max_tokens, LAB_MAX_STEPS);
    *out = (LabStream){.n = text->n, .n_steps = n};
    LabNode **nodes = calloc(4 * n + 1, sizeof *nodes);
    if (!nodes)
        return error_set(e, STATUS_FAILED, "lab: out of memory for %zu steps", n);
    out->point = nodes;
    out->pre = nodes + n + 1;
    out->mid = out->pre + n;
    out->own = out->mid + n;
    Walk w = {lab, text, control, from, share, out, e};
    int status = node_embed(&w, &out->point[0]);
    if (!status)
        status = node_edit(&w, 0, &out->point[0]);
    for (size_t first = 0, end; !status && first < n; first = end) {
        for (end = first + 1; end < n && text->order->items[end].joins; end++)
            ;
        status = walk_group(&w, first, end, out->point[first]);
    }
    if (status)
        lab_stream_close(lab, out);
    return status;
}

void lab_stream_close(Lab *lab, LabStream *s)
{
    (void)lab;
    for (size_t i = 0; s->point && i < 4 * s->n_steps + 1; i++)
        if (s->point[i])
            s->point[i]->n_pins--;
    free(s->point);
    memset(s, 0, sizeof *s);
}

void lab_node_rows(Lab *lab, const LabNode *node, size_t first, size_t n, double *out)
{
    const Ops *o = lab_ops(lab);
    o->download(lab->watch.context, out, view_rows(node->residual, first, n, dtype_block_bytes(o->resid_dtype)));
}
