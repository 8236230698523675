/* influence_tap.h: block influence and angular distance of the intact model, taken from a run's residual streams as they pass. One pass
 * gives both; what is kept is one copy of the stream and the windows' last tokens at every layer. */
#ifndef STRATA_EXPERIMENTS_INFLUENCE_TAP_H
#define STRATA_EXPERIMENTS_INFLUENCE_TAP_H

#include "engine/run.h"
#include "experiments/influence.h"

typedef struct InfluenceTap {
    const Session *session;
    Run *run;
    const Order *intact;
    const TokenBlock *block; /* set by influence_tap_begin */
    InfluenceSums sums;      /* of the current block */
    size_t max_rows, max_windows;
    void *previous; /* the stream before the layer: [max_rows, D] resid, device memory */
    size_t previous_bytes;
    double *dots; /* [max_rows, 3] */
    double *last; /* [L + 1, max_windows, D]: the stream at each window's last token */
} InfluenceTap;

/* What the tap takes for each row of a block, for RunRequest.reserve_row_bytes; windows_per_row: windows / ids of the data. */
size_t influence_tap_row_bytes(const Session *s, double windows_per_row);

int influence_tap_open(const Session *s, Run *run, const Order *intact, size_t max_rows, size_t max_windows, InfluenceTap *out,
                       Error *e);
void influence_tap_close(InfluenceTap *t); /* before run_close; accepts zeroed */

void influence_tap_begin(InfluenceTap *t, const TokenBlock *block);
/* RunHooks.on_node calls this with every node. */
void influence_tap_node(InfluenceTap *t, const Plan *plan, int32_t node, View residual);
/* After the block: adds the angles; sums are complete. */
void influence_tap_end(InfluenceTap *t);

#endif
