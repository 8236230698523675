/* greedy.h: the path of a greedy sweep (--experiment greedy:N), decided from its ledger.
 *
 * Stage S = 0 .. N-1 begins from the layers that are left, tries the removal of each, and removes for good the one whose loss,
 * summed over the predicted tokens of the even windows, is the lowest (ties: the lower layer). The figure to report is that of
 * the odd windows: the even ones have chosen it. A candidate with a loss that is not finite on an even window is not chosen.
 *
 * Rows of the ledger: 0 the intact model (its row is written in stage 0 only), then for each stage its L - S candidates in
 * ascending order of the layer removed. The choice needs nothing but these rows, so a resumed sweep chooses the same. */
#ifndef STRATA_EXPERIMENTS_GREEDY_H
#define STRATA_EXPERIMENTS_GREEDY_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/ledger.h"

typedef struct GreedyStage {
    size_t ledger_index;      /* the chosen candidate's */
    double nll_even, nll_odd; /* its mean losses; NaN: no such windows, or not finite */
} GreedyStage;

typedef struct GreedyPath {
    int n_layers;
    size_t n_stages, n_done;
    int32_t *removed;    /* [n_stages]; n_done of them are decided */
    GreedyStage *stages; /* [n_stages] */
    uint64_t n_tokens_even, n_tokens_odd;
    double intact_even, intact_odd; /* mean losses of the intact model */
} GreedyPath;

/* 1 <= n_stages < n_layers, or STATUS_USAGE. */
int greedy_open(int n_layers, int n_stages, GreedyPath *out, Error *e);
void greedy_close(GreedyPath *g); /* accepts zeroed */

/* Ledger row of the first candidate of a stage; of stage n_stages: the number of rows. */
size_t greedy_first_order(const GreedyPath *g, size_t stage);
/* Decides stage n_done from a ledger in which that stage is complete. */
int greedy_choose(GreedyPath *g, const LedgerView *ledger, Error *e);

#endif
