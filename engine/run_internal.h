/* run_internal.h: what run.c, run_open.c and run_sizes.c share. */
#ifndef STRATA_ENGINE_RUN_INTERNAL_H
#define STRATA_ENGINE_RUN_INTERNAL_H

#include "engine/run.h"

/* Results of one order on a block. */
typedef struct HeadArrays {
    double *nll, *kl, *word_start_logp, *lse;
    int32_t *rank, *top1;
} HeadArrays;

struct Run {
    const Session *session;
    RunRequest request;
    RunSizes sizes;
    RunCounters counters;
    OpsContext *ctx;
    Forward *forward;
    Plan *plans; /* [n_groups] */

    void *slots; /* n_slots layers' weights */
    size_t slot_bytes;
    LayerWeights *slot_weights; /* [n_slots] */
    int *slot_layer;            /* [n_slots]: layer prepared there, -1: none */
    bool *layer_checked;        /* [n_layers]: its weights were found finite */
    void *head_slot;
    HeadWeights head_weights;
    bool head_ready;

    void *branches;     /* attention's and the MLP's output of one node, where asked for */
    void *residuals;    /* n_buffers (+1 for the first order's final residual when there are several groups) */
    ForwardLane *lanes; /* [most nodes in a batch] */
    View *members;      /* [most members of a group] */
    void *head_memory;  /* head_x, logits, logits of the first order */
    size_t head_bytes;
    View head_x, projected, logits, first_logits;
    HeadArrays *results; /* [n_orders], into one allocation */
    double *result_memory;
    int32_t *predict_row, *targets; /* [block_rows]: block row that predicts, and the id it predicts */
};

OpsLimits run_limits(const Model *m, const RunRequest *q, const RunSizes *z);
size_t run_residual_bytes(const Session *s, size_t rows);
size_t run_result_bytes(const RunRequest *q, size_t rows);
void run_group_range(size_t n_orders, size_t n_groups, size_t g, size_t *first, size_t *end);
int run_build_plan(const Session *s, const RunRequest *q, size_t n_groups, size_t g, int n_slots, Plan *out, Error *e);

#endif
