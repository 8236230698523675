/* plan_schedule.c: in which sequence nodes are computed, which weights lie in which slot, which residual in which buffer. */
#include <stdlib.h>
#include <string.h>

#include "engine/plan_internal.h"

static int out_of_memory(Error *e)
{
    return error_set(e, STATUS_FAILED, "plan: out of memory");
}

/* Ready nodes by layer; attention (or whole layers) and MLP apart. Lists through `next`. */
typedef struct Scheduler {
    Plan *plan;
    int n_layers;
    int32_t *attn, *mlp;      /* [n_layers]: first ready node, -1: none */
    int32_t combine;          /* first ready combine node */
    int32_t *next;            /* [n_nodes] */
    int32_t *waiting;         /* [n_nodes]: inputs still missing */
    int32_t *first_dependent; /* [n_nodes]: into edges, -1: none */
    int32_t *edge_node, *edge_next;
    int32_t n_edges, batch_cap, visit_cap;
    Error *error;
} Scheduler;

static int append_batch(Scheduler *s, PlanBatch batch)
{
    Plan *p = s->plan;
    if (p->n_batches == s->batch_cap) {
        int32_t cap = s->batch_cap ? 2 * s->batch_cap : 128;
        PlanBatch *batches = arena_array(&p->arena, (size_t)cap, sizeof *batches);
        if (!batches)
            return out_of_memory(s->error);
        if (p->n_batches)
            memcpy(batches, p->batches, (size_t)p->n_batches * sizeof *batches);
        p->batches = batches;
        s->batch_cap = cap;
    }
    p->batches[p->n_batches++] = batch;
    return STATUS_OK;
}

static int append_visit(Scheduler *s, int32_t layer)
{
    Plan *p = s->plan;
    if (p->n_visits == s->visit_cap) {
        int32_t cap = s->visit_cap ? 2 * s->visit_cap : 128;
        PlanVisit *visits = arena_array(&p->arena, (size_t)cap, sizeof *visits);
        if (!visits)
            return out_of_memory(s->error);
        if (p->n_visits)
            memcpy(visits, p->visits, (size_t)p->n_visits * sizeof *visits);
        p->visits = visits;
        s->visit_cap = cap;
    }
    p->visits[p->n_visits++] = (PlanVisit){.layer = layer};
    return STATUS_OK;
}

static int32_t *list_of(Scheduler *s, const PlanNode *n)
{
    if (n->kind == STEP_COMBINE)
        return &s->combine;
    return n->kind == STEP_MLP ? &s->mlp[n->layer] : &s->attn[n->layer];
}

static void depend(Scheduler *s, int32_t on, int32_t node)
{
    s->edge_node[s->n_edges] = node;
    s->edge_next[s->n_edges] = s->first_dependent[on];
    s->first_dependent[on] = s->n_edges++;
    s->waiting[node]++;
}

static void finish_node(Scheduler *s, int32_t node)
{
    for (int32_t edge = s->first_dependent[node]; edge >= 0; edge = s->edge_next[edge]) {
        int32_t child = s->edge_node[edge];
        if (--s->waiting[child])
            continue;
        int32_t *list = list_of(s, &s->plan->nodes[child]);
        s->next[child] = *list;
        *list = child;
    }
}

static int ascending(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Takes all nodes of a list as one batch. */
static int run_list(Scheduler *s, int32_t *list, int32_t layer, int32_t visit)
{
    int32_t n = 0, at = 0;
    for (int32_t i = *list; i >= 0; i = s->next[i])
        n++;
    if (!n)
        return STATUS_OK;
    int32_t *nodes = arena_array(&s->plan->arena, (size_t)n, sizeof *nodes);
    if (!nodes)
        return out_of_memory(s->error);
    for (int32_t i = *list; i >= 0; i = s->next[i])
        nodes[at++] = i;
    *list = -1;
    qsort(nodes, (size_t)n, sizeof *nodes, ascending);
    int status = append_batch(
        s, (PlanBatch){.kind = s->plan->nodes[nodes[0]].kind, .layer = layer, .visit = visit, .nodes = nodes, .n_nodes = n});
    for (int32_t i = 0; i < n; i++)
        finish_node(s, nodes[i]);
    return status;
}

/* In a parallel-residual model whole layers and lone attention halves share a list but not a batch. */
static int run_attention(Scheduler *s, int32_t layer, int32_t visit)
{
    int32_t whole = -1, halves = -1, *tail_whole = &whole, *tail_halves = &halves;
    for (int32_t i = s->attn[layer], next; i >= 0; i = next) {
        next = s->next[i];
        int32_t **tail = s->plan->nodes[i].kind == STEP_WHOLE ? &tail_whole : &tail_halves;
        **tail = i;
        *tail = &s->next[i];
        s->next[i] = -1;
    }
    s->attn[layer] = -1;
    int status = run_list(s, &whole, layer, visit);
    return status ? status : run_list(s, &halves, layer, visit);
}

static int visit_layer(Scheduler *s, int32_t layer)
{
    int32_t visit = s->plan->n_visits;
    int status = append_visit(s, layer);
    if (!status)
        status = run_attention(s, layer, visit);
    return status ? status : run_list(s, &s->mlp[layer], layer, visit);
}

static int layer_major(Scheduler *s)
{
    finish_node(s, 0);
    for (;;) {
        int status = run_list(s, &s->combine, -1, -1);
        if (status)
            return status;
        if (s->combine >= 0)
            continue;
        int32_t layer = 0;
        while (layer < s->n_layers && s->attn[layer] < 0 && s->mlp[layer] < 0)
            layer++;
        if (layer == s->n_layers)
            return STATUS_OK;
        if ((status = visit_layer(s, layer)))
            return status;
    }
}

/* Nodes are numbered order by order already: one batch each; a visit ends where the layer changes or the halves begin anew. */
static int naive(Scheduler *s)
{
    Plan *p = s->plan;
    for (int32_t i = 1; i < p->n_nodes; i++) {
        const PlanNode *n = &p->nodes[i];
        int32_t visit = -1;
        int32_t *self = arena_array(&p->arena, 1, sizeof *self);
        if (!self)
            return out_of_memory(s->error);
        *self = i;
        if (n->kind != STEP_COMBINE) {
            bool second_half = n->kind == STEP_MLP && n->parent == i - 1 && p->nodes[i - 1].kind == STEP_ATTN &&
                               p->nodes[i - 1].layer == n->layer;
            int status = second_half ? STATUS_OK : append_visit(s, n->layer);
            if (status)
                return status;
            visit = p->n_visits - 1;
        }
        int status =
            append_batch(s, (PlanBatch){.kind = n->kind, .layer = n->layer, .visit = visit, .nodes = self, .n_nodes = 1});
        if (status)
            return status;
    }
    return STATUS_OK;
}

static int32_t *filled(size_t n, int32_t value)
{
    int32_t *a = malloc((n ? n : 1) * sizeof *a);
    for (size_t i = 0; a && i < n; i++)
        a[i] = value;
    return a;
}

int plan_schedule(Plan *p, const PlanOptions *options, Error *e)
{
    size_t n = (size_t)p->n_nodes, n_edges = n;
    for (size_t i = 0; i < n; i++)
        n_edges += (size_t)p->nodes[i].n_members;
    Scheduler s = {.plan = p, .n_layers = options->n_layers, .combine = -1, .error = e};
    s.attn = filled((size_t)options->n_layers, -1);
    s.mlp = filled((size_t)options->n_layers, -1);
    s.next = filled(n, -1);
    s.waiting = filled(n, 0);
    s.first_dependent = filled(n, -1);
    s.edge_node = filled(n_edges, -1);
    s.edge_next = filled(n_edges, -1);
    int status = STATUS_OK;
    if (!s.attn || !s.mlp || !s.next || !s.waiting || !s.first_dependent || !s.edge_node || !s.edge_next)
        status = out_of_memory(e);
    for (int32_t i = 1; !status && i < p->n_nodes; i++) {
        const PlanNode *node = &p->nodes[i];
        for (int32_t j = 0; j < node->n_members; j++)
            depend(&s, node->members[j], i);
        if (node->kind != STEP_COMBINE)
            depend(&s, node->parent, i);
    }
    if (!status)
        status = options->naive ? naive(&s) : layer_major(&s);
    free(s.attn);
    free(s.mlp);
    free(s.next);
    free(s.waiting);
    free(s.first_dependent);
    free(s.edge_node);
    free(s.edge_next);
    p->counters.visits = p->n_visits;
    return status;
}

int plan_assign_slots(Plan *p, int n_slots, int n_layers, Error *e)
{
    size_t layers = (size_t)n_layers;
    int32_t *next_visit = malloc(((size_t)p->n_visits + 1) * sizeof *next_visit); /* of the same layer, after this visit */
    int32_t *seen = filled(layers, INT32_MAX), *slot_of = filled(layers, -1);
    int32_t *held = filled((size_t)n_slots, -1), *held_until = filled((size_t)n_slots, INT32_MAX);
    int status = STATUS_OK;
    p->counters.n_slots = n_slots;
    if (!next_visit || !seen || !slot_of || !held || !held_until)
        status = out_of_memory(e);
    for (int32_t v = p->n_visits - 1; !status && v >= 0; v--) {
        next_visit[v] = seen[p->visits[v].layer];
        seen[p->visits[v].layer] = v;
    }
    for (int32_t v = 0; !status && v < p->n_visits; v++) {
        PlanVisit *visit = &p->visits[v];
        int32_t slot = slot_of[visit->layer];
        visit->load = slot < 0;
        if (visit->load) {
            slot = 0;
            for (int32_t i = 0; i < n_slots; i++) { /* an empty slot first, else the farthest next use */
                if (held[i] < 0) {
                    slot = i;
                    break;
                }
                slot = held_until[i] > held_until[slot] ? i : slot;
            }
            if (held[slot] >= 0)
                slot_of[held[slot]] = -1;
            held[slot] = visit->layer;
            slot_of[visit->layer] = slot;
            p->counters.loads++;
        }
        visit->slot = slot;
        held_until[slot] = next_visit[v];
    }
    free(next_visit);
    free(seen);
    free(slot_of);
    free(held);
    free(held_until);
    return status;
}

typedef struct Buffers {
    int32_t *free_list;
    int32_t n_free, n_buffers;
} Buffers;

static int32_t take(Buffers *b)
{
    return b->n_free ? b->free_list[--b->n_free] : b->n_buffers++;
}

/* One use of a node is over. Its buffer is free when that was the last and nobody took it over. */
static void release(Buffers *b, const Plan *p, int32_t *left, int32_t node, bool taken_over)
{
    if (--left[node] == 0 && !taken_over)
        b->free_list[b->n_free++] = p->nodes[node].buffer;
}

int plan_assign_buffers(Plan *p, bool keep_all, Error *e)
{
    int32_t *left = malloc((size_t)p->n_nodes * sizeof *left);
    Buffers b = {.free_list = malloc((size_t)p->n_nodes * sizeof *b.free_list)};
    if (!left || !b.free_list) {
        free(left);
        free(b.free_list);
        return out_of_memory(e);
    }
    for (int32_t i = 0; i < p->n_nodes; i++)
        left[i] = p->nodes[i].n_uses + (keep_all ? 1 : 0);
    p->nodes[0].buffer = take(&b);
    for (int32_t i = 0; i < p->n_batches; i++) {
        const PlanBatch *batch = &p->batches[i];
        /* All outputs get their buffers before any input is given back: inputs and outputs of one batch live together. */
        for (int32_t j = 0; j < batch->n_nodes; j++) {
            PlanNode *n = &p->nodes[batch->nodes[j]];
            int32_t input = n->kind == STEP_COMBINE ? n->members[0] : n->parent;
            n->buffer = left[input] == 1 ? p->nodes[input].buffer : take(&b);
        }
        for (int32_t j = 0; j < batch->n_nodes; j++) {
            const PlanNode *n = &p->nodes[batch->nodes[j]];
            int32_t first = n->kind == STEP_COMBINE ? n->members[0] : n->parent;
            release(&b, p, left, first, p->nodes[first].buffer == n->buffer);
            for (int32_t k = 1; k < n->n_members; k++)
                release(&b, p, left, n->members[k], false);
        }
    }
    p->counters.n_buffers = b.n_buffers;
    free(left);
    free(b.free_list);
    return STATUS_OK;
}
