/* plan.c: the prefix tree, and plan_build, which puts tree, schedule (plan_schedule.c) and buffers together. */
#include "engine/plan_internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct Tree {
    Plan *plan;
    const PlanOptions *options;
    int32_t cap;
    int32_t *table; /* open addressing by (parent, kind, layer or last member); -1: empty */
    size_t table_size;
    Error *error;
} Tree;

static int out_of_memory(Error *e)
{
    return error_set(e, STATUS_FAILED, "plan: out of memory");
}

static uint64_t hash_step(int32_t parent, StepKind kind, int32_t layer)
{
    uint64_t h = (uint64_t)(uint32_t)parent * 0x9e3779b97f4a7c15u;
    h ^= ((uint64_t)(uint32_t)layer + ((uint64_t)kind << 32)) * 0xc2b2ae3d27d4eb4fu;
    return h ^ (h >> 29);
}

static uint64_t hash_node(const PlanNode *n)
{
    return hash_step(n->parent, n->kind, n->kind == STEP_COMBINE ? n->members[n->n_members - 1] : n->layer);
}

static bool same_step(const PlanNode *a, const PlanNode *b)
{
    if (a->parent != b->parent || a->kind != b->kind || a->layer != b->layer || a->n_members != b->n_members)
        return false;
    return !a->n_members || memcmp(a->members, b->members, (size_t)a->n_members * sizeof *a->members) == 0;
}

/* The slot of an equal node, or the empty slot where it belongs. */
static int32_t *find_slot(Tree *t, const PlanNode *node)
{
    for (size_t i = hash_node(node) & (t->table_size - 1);; i = (i + 1) & (t->table_size - 1))
        if (t->table[i] < 0 || same_step(&t->plan->nodes[t->table[i]], node))
            return &t->table[i];
}

static int grow(Tree *t)
{
    Plan *p = t->plan;
    int32_t cap = t->cap ? 2 * t->cap : 256;
    PlanNode *nodes = realloc(p->nodes, (size_t)cap * sizeof *nodes);
    if (!nodes)
        return out_of_memory(t->error);
    p->nodes = nodes;
    t->cap = cap;
    size_t size = 4 * (size_t)cap;
    int32_t *table = malloc(size * sizeof *table);
    if (!table)
        return out_of_memory(t->error);
    free(t->table);
    t->table = table;
    t->table_size = size;
    for (size_t i = 0; i < size; i++)
        table[i] = -1;
    for (int32_t i = 0; i < p->n_nodes; i++)
        *find_slot(t, &p->nodes[i]) = i;
    return STATUS_OK;
}

/* The node of a step: the one that is there already (never in the naive plan), or a new one. Always after its parent and members. */
static int add_node(Tree *t, PlanNode node, int32_t *index)
{
    Plan *p = t->plan;
    if (p->n_nodes == t->cap) {
        int status = grow(t);
        if (status)
            return status;
    }
    int32_t *slot = find_slot(t, &node);
    if (*slot >= 0 && !t->options->naive) {
        *index = *slot;
        return STATUS_OK;
    }
    *slot = *index = p->n_nodes;
    p->nodes[p->n_nodes++] = node;
    return STATUS_OK;
}

static int add_step(Tree *t, int32_t parent, StepKind kind, int32_t layer, int32_t *index)
{
    return add_node(t, (PlanNode){.parent = parent, .layer = layer, .kind = kind}, index);
}

/* The nodes of one item on the residual of node `at`; after each half the node is appended to path unless path is NULL. */
static int add_item(Tree *t, const OrderItem *item, int32_t *at, int32_t **path)
{
    if (item->layer < 0 || item->layer >= t->options->n_layers)
        return error_set(t->error, STATUS_USAGE, "order: layer %d, expected 0 to %d", item->layer, t->options->n_layers - 1);
    StepKind steps[2];
    int n = 0;
    if (t->options->parallel_residual && item->part == PART_BOTH) {
        steps[n++] = STEP_WHOLE;
    } else {
        if (item->part != PART_MLP)
            steps[n++] = STEP_ATTN;
        if (item->part != PART_ATTN)
            steps[n++] = STEP_MLP;
    }
    for (int i = 0; i < n; i++) {
        int status = add_step(t, *at, steps[i], item->layer, at);
        if (status)
            return status;
        if (path)
            *(*path)++ = *at;
    }
    return STATUS_OK;
}

static int add_group(Tree *t, const OrderItem *items, size_t n, int32_t *at, int32_t **path)
{
    int32_t *members = arena_array(&t->plan->arena, n, sizeof *members);
    if (!members)
        return out_of_memory(t->error);
    for (size_t i = 0; i < n; i++) {
        members[i] = *at;
        int status = add_item(t, &items[i], &members[i], NULL);
        if (status)
            return status;
    }
    int status = add_node(
        t, (PlanNode){.parent = *at, .layer = -1, .kind = STEP_COMBINE, .members = members, .n_members = (int32_t)n}, at);
    *(*path)++ = *at;
    return status;
}

static int add_order(Tree *t, const Order *o, size_t index)
{
    Plan *p = t->plan;
    int32_t *path = arena_array(&p->arena, 2 * o->n_items + 1, sizeof *path), at = 0;
    if (!path)
        return out_of_memory(t->error);
    p->order_path[index] = path;
    for (size_t i = 0; i < o->n_items;) {
        size_t n = 1;
        while (i + n < o->n_items && o->items[i + n].joins)
            n++;
        int status = n == 1 ? add_item(t, &o->items[i], &at, &path) : add_group(t, &o->items[i], n, &at, &path);
        if (status)
            return status;
        i += n;
    }
    p->order_path_len[index] = (int32_t)(path - p->order_path[index]);
    p->order_end[index] = at;
    return STATUS_OK;
}

static void count_uses(Plan *p)
{
    for (int32_t i = 0; i < p->n_nodes; i++) {
        PlanNode *n = &p->nodes[i];
        if (n->kind == STEP_COMBINE)
            for (int32_t j = 0; j < n->n_members; j++)
                p->nodes[n->members[j]].n_uses++;
        else if (n->parent >= 0)
            p->nodes[n->parent].n_uses++;
        bool attn = n->kind == STEP_ATTN || n->kind == STEP_WHOLE, mlp = n->kind == STEP_MLP || n->kind == STEP_WHOLE;
        p->counters.attn_evaluations += attn;
        p->counters.mlp_evaluations += mlp;
    }
    p->counters.layer_evaluations = (p->counters.attn_evaluations + p->counters.mlp_evaluations + 1) / 2;
}

/* One use for the head, however many orders end at the node. */
static int count_ends(Plan *p, Error *e)
{
    bool *ends = calloc((size_t)p->n_nodes, sizeof *ends);
    if (!ends)
        return out_of_memory(e);
    for (size_t o = 0; o < p->n_orders; o++) {
        if (!ends[p->order_end[o]])
            p->nodes[p->order_end[o]].n_uses++;
        ends[p->order_end[o]] = true;
    }
    free(ends);
    return STATUS_OK;
}

int plan_build(const Order *orders, size_t n_orders, const PlanOptions *options, Plan *out, Error *e)
{
    memset(out, 0, sizeof *out);
    Tree t = {.plan = out, .options = options, .error = e};
    int32_t root;
    int status = STATUS_FAILED;
    out->n_orders = n_orders;
    out->order_end = arena_array(&out->arena, n_orders, sizeof *out->order_end);
    out->order_path = arena_array(&out->arena, n_orders, sizeof *out->order_path);
    out->order_path_len = arena_array(&out->arena, n_orders, sizeof *out->order_path_len);
    if (n_orders && (!out->order_end || !out->order_path || !out->order_path_len))
        out_of_memory(e);
    else
        status = add_node(&t, (PlanNode){.parent = -1, .layer = -1, .kind = STEP_ROOT}, &root);
    for (size_t o = 0; !status && o < n_orders; o++)
        status = add_order(&t, &orders[o], o);
    free(t.table);
    if (!status) {
        count_uses(out);
        status = count_ends(out, e);
    }
    if (!status)
        status = plan_schedule(out, options, e);
    if (!status)
        status = plan_assign_slots(out, options->n_slots, options->n_layers, e);
    if (!status)
        status = plan_assign_buffers(out, options->keep_all, e);
    if (status)
        plan_free(out);
    return status;
}

void plan_free(Plan *p)
{
    if (!p)
        return;
    free(p->nodes);
    arena_free(&p->arena);
    memset(p, 0, sizeof *p);
}

int32_t plan_node_at(const Plan *p, size_t order_index, const Order *order, size_t item_index, PlanPoint point)
{
    const int32_t *path = p->order_path[order_index];
    int32_t before = 0;
    for (size_t i = 0; i < order->n_items;) {
        size_t n = 1;
        while (i + n < order->n_items && order->items[i + n].joins)
            n++;
        bool halves = n == 1 && order->items[i].part == PART_BOTH && p->nodes[path[0]].kind != STEP_WHOLE;
        int32_t after = path[halves ? 1 : 0];
        if (item_index < i + n) {
            if (point == POINT_PRE)
                return before;
            return point == POINT_POST ? after : halves ? path[0] : -1;
        }
        path += halves ? 2 : 1;
        before = after;
        i += n;
    }
    return -1;
}
