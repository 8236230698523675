/* plan.h: from a set of orders to what is computed, in which sequence, in which buffers.
 *
 * All orders go into one prefix tree: a node is (parent node, step) and is computed once, whoever shares it. Steps are halves of
 * a layer (attention, MLP) so that orders with half layers share with whole ones; for a parallel residual a whole layer is
 * atomic. A parallel group's members are ordinary nodes below the group's input, joined by a combine node. The root (node 0)
 * is the embedding.
 *
 * Schedule, layer-major: always run the lowest-index layer that has ready nodes (a ready combine node runs at once); its nodes
 * of one half that are ready together form one batch. A visit is one pass through a layer: its attention batch, then its MLP batch. Prepared weights of a
 * layer stay in slots; when a slot is needed the layer with the farthest next visit gives way (Belady). The naive schedule is
 * the loop everybody writes: every order from the embedding on, one after another, nothing shared.
 *
 * Buffers: every node owns a residual buffer from its batch until its last child's batch is done (until the end of the plan for
 * the last node of an order: the head reads it there). A node takes over its parent's buffer when it is the parent's last
 * child and no order ends at the parent. Pure: no model, no weights. */
#ifndef STRATA_ENGINE_PLAN_H
#define STRATA_ENGINE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/order.h"

typedef enum StepKind {
    STEP_ROOT,    /* the embedding */
    STEP_ATTN,    /* x + attention of the layer */
    STEP_MLP,     /* x + MLP of the layer */
    STEP_WHOLE,   /* parallel residual: both branches at once */
    STEP_COMBINE, /* mean of members */
} StepKind;

typedef struct PlanNode {
    int32_t parent; /* node whose residual is read; the group's input for a combine node; -1 for the root */
    int32_t layer;  /* -1 for root and combine */
    StepKind kind;
    int32_t buffer; /* residual buffer, 0 .. n_buffers-1 */
    int32_t
        n_uses; /* batches that still read it: children, combines it is a member of, and 1 for the head if an order ends here */
    const int32_t *members; /* STEP_COMBINE: nodes averaged, in written order */
    int32_t n_members;
} PlanNode;

typedef struct PlanBatch {
    StepKind kind;
    int32_t layer;        /* -1: combine */
    int32_t visit;        /* index of the visit it belongs to; -1: combine */
    const int32_t *nodes; /* ascending by node index */
    int32_t n_nodes;
} PlanBatch;

typedef struct PlanVisit {
    int32_t layer;
    int32_t slot; /* where the layer's weights lie */
    bool load;    /* they must be prepared there first */
} PlanVisit;

typedef struct PlanCounters {
    int64_t attn_evaluations, mlp_evaluations; /* half layers computed (a whole parallel layer counts one of each) */
    int64_t layer_evaluations;                 /* whole layers: (attn + mlp) / 2, rounded up */
    int64_t visits, loads;
    int32_t n_slots, n_buffers; /* n_buffers: live residuals at the peak, the root's included */
} PlanCounters;

typedef struct Plan {
    PlanNode *nodes;
    int32_t n_nodes;
    PlanBatch *batches;
    int32_t n_batches;
    PlanVisit *visits;
    int32_t n_visits;
    int32_t *order_end; /* [n_orders]: last node of each order (0 for the empty order) */
    int32_t *
        *order_path; /* [n_orders][order_path_len]: node after each half step of each ungrouped item or combine, in order */
    int32_t *order_path_len;
    size_t n_orders;
    PlanCounters counters;
    Arena arena;
} Plan;

typedef struct PlanOptions {
    int n_layers;
    bool parallel_residual;
    bool naive;
    int n_slots;   /* >= 1: layers whose prepared weights fit at once */
    bool keep_all; /* no buffer is reused and none taken over: every node's residual stays (traces of short texts) */
} PlanOptions;

/* Builds tree, schedule and buffers. Orders may repeat and may share ends. STATUS_FAILED when memory is out, STATUS_USAGE when a
 * layer index is out of range. O(total items * log). */
int plan_build(const Order *orders, size_t n_orders, const PlanOptions *options, Plan *out, Error *e);
void plan_free(Plan *p); /* accepts zeroed */

/* The node holding the residual stream of order o before item i (post: after it; mid: between attention and MLP, -1 where the
 * item has no middle). For items inside a group: the group's input and its combine node. */
typedef enum PlanPoint { POINT_PRE, POINT_MID, POINT_POST } PlanPoint;
int32_t plan_node_at(const Plan *p, size_t order_index, const Order *order, size_t item_index, PlanPoint point);

#endif
