/* run.h: executing a plan. A Session is an arithmetic on a device with its threads; a Run is one set of orders with all the
 * memory it will ever take, sized by a pure function under the budget. run_block sends one block of whole windows through the
 * plan and the head. */
#ifndef STRATA_ENGINE_RUN_H
#define STRATA_ENGINE_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/forward.h"
#include "engine/model.h"
#include "engine/order.h"
#include "engine/plan.h"

typedef struct SessionOptions {
    const char *device, *numerics, *dtype; /* "cpu", "fast", "f32" */
    int device_index;                      /* of the GPU */
    int threads;                           /* 0: all processors */
    size_t memory_bytes;                   /* budget; 0: half of what the host has left, or what the device has */
    RopeArithmetic rope;
    const Ops *ops; /* NULL: found by the three names; tests give the oracle */
} SessionOptions;

typedef struct Session {
    const Model *model;
    const Ops *ops;
    Pool *pool;
    size_t memory_bytes;
    RopeArithmetic rope;
    int device_index;
} Session;

int session_open(const Model *model, const SessionOptions *options, Session *out, Error *e);
void session_close(Session *s); /* accepts zeroed */

typedef struct RunRequest {
    const Order *orders; /* orders[0]: the one the others' KL refers to (the intact order) */
    size_t n_orders;
    size_t longest_window;     /* positions of the longest window that will come, those of its base included */
    size_t longest_family;     /* rows of the longest family of windows (forward.h); 0: no window continues another */
    size_t total_rows;         /* ids of all windows together: blocks are not made larger than needed */
    size_t block_rows;         /* 0: chosen under the budget; else fixed (a resumed run) */
    size_t reserve_bytes;      /* memory the caller's hooks take, counted into the budget */
    size_t reserve_row_bytes;  /* likewise, for each row of a block */
    const uint8_t *word_start; /* [V] or NULL: word_start_logp is NaN */
    bool naive;                /* the loop everybody writes, as baseline and oracle */
    bool no_head;              /* residuals only */
    bool final_norm;           /* with no_head: on_final is called all the same */
    bool branches;             /* on_branch will be asked for */
} RunRequest;

/* What a run takes, decided before anything is taken. */
typedef struct RunSizes {
    size_t block_rows; /* at most so many rows a block; at least the longest window */
    size_t tile_rows, head_rows;
    int n_slots;
    size_t n_groups; /* the orders are split into so many plans */
    size_t n_buffers;
    size_t total_bytes;
} RunSizes;

/* Pure. A budget too small is STATUS_USAGE and names the least that would do. */
int run_sizes(const Session *s, const RunRequest *request, RunSizes *out, Error *e);

/* Results of one order on a block's predicted tokens: every token of a window's own rows but the first of them, in order. */
typedef struct HeadResults {
    size_t n; /* predicted tokens */
    const double *nll, *kl, *word_start_logp;
    const int32_t *rank, *top1;
} HeadResults;

typedef struct RunHooks {
    void *user;
    /* A node's residual for the whole block is ready: [n_rows, D] resid dtype. orders[0] is order 0 of the first plan only. */
    int (*on_node)(void *user, const Plan *plan, int32_t node, View residual, Error *e);
    /* A branch's output of this node, before on_node (request.branches): half is STEP_ATTN or STEP_MLP; [n_rows, D] resid dtype. */
    int (*on_branch)(void *user, const Plan *plan, int32_t node, StepKind half, View branch, Error *e);
    /* The final norm of an order's residual, tile by tile: rows [first_row, first_row + normed.rows) of the block; gemm dtype. Given for
     * every row when asked for (not only the rows that predict). */
    int (*on_final)(void *user, size_t order, size_t first_row, View normed, Error *e);
    int (*on_results)(void *user, size_t order, const HeadResults *results, Error *e);
    void (*on_progress)(void *user, double flops_done); /* since run_open */
    bool (*should_stop)(void *user);                    /* asked between batches: run_block then returns STATUS_INTERRUPTED */
} RunHooks;

typedef struct RunCounters {
    double flops, flops_naive; /* done by this run; what the naive loop would have done for the same blocks */
    double weight_bytes_moved; /* from file to slot */
    PlanCounters plan;         /* of one block, summed over the groups */
    int64_t naive_layer_evaluations;
} RunCounters;

typedef struct Run Run;
int run_open(const Session *s, const RunRequest *request, Run **out, Error *e);
void run_close(Run *r);
const RunSizes *run_get_sizes(const Run *r);
const RunCounters *run_get_counters(const Run *r);
OpsContext *run_get_context(Run *r);
const Plan *run_get_plan(const Run *r, size_t group);

int run_block(Run *r, const TokenBlock *block, const RunHooks *hooks, Error *e);

/* Logits of residual rows by final norm and head (the logit lens, where the rows come from inside): residual [n_rows, D] and
 * logits [n_rows, V] on the host. Uses the run's buffers: call it after run_block. */
int run_logits(Run *r, const double *residual, size_t n_rows, double *logits, Error *e);

/* FLOPs of one block with this run's plans, head included: what on_progress counts in. */
double run_block_flops(const Run *r, const TokenBlock *block);
double run_block_flops_naive(const Run *r, const TokenBlock *block); /* the same orders one by one */

/* Seconds that n_blocks blocks like this one will take with n_loads preparations of a layer's weights, from timing one layer on
 * as many orders as fill a tile, a tile of the head with and without divergence, and one preparation. Computes for real, about
 * a second. */
int run_estimate_seconds(Run *r, const TokenBlock *block, double n_blocks, double n_loads, double *seconds, Error *e);

/* Weight loads and bytes moved from file to slot in an uninterrupted run of n_blocks blocks. */
void run_count_loads(const Run *r, size_t n_blocks, int64_t *loads, double *bytes_moved);

#endif
