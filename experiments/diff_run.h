/* diff_run.h: sending families of sentences through a model and getting every point of the order back as rows: the sentence, and
 * behind it variants that differ at one position, each computed from the edit on.
 *
 * Points: 0 the embedding, l the residual stream after step l of the order (with a branch tapped: that branch's output of step l; NaN
 * where the step has no such branch), then after the final norm. */
#ifndef STRATA_EXPERIMENTS_DIFF_RUN_H
#define STRATA_EXPERIMENTS_DIFF_RUN_H

#include "experiments/workbench.h"

typedef enum DiffTap { DIFF_TAP_RESID, DIFF_TAP_ATTN_OUT, DIFF_TAP_MLP_OUT } DiffTap;
const char *diff_tap_name(DiffTap tap);
bool diff_tap_from_name(const char *name, DiffTap *out);

/* A block being put together. Memory grows as needed and is kept. */
typedef struct DiffBlock {
    int32_t *ids;
    size_t *start, *prefix;
    size_t n_rows, n_windows, cap_rows, cap_windows, n_ids; /* n_ids: predictable tokens are n_rows - n_windows */
    bool bos;
    int32_t bos_id;
    bool failed; /* memory ran out */
} DiffBlock;

void diff_block_clear(DiffBlock *b);
void diff_block_free(DiffBlock *b);
/* A whole sentence; returns the row of its position 0 (BOS left out). */
size_t diff_block_whole(DiffBlock *b, const int32_t *ids, size_t n);
/* The sentence put last by diff_block_whole with `token` at `edit`, from there on; returns the row of position `edit`. */
size_t diff_block_variant(DiffBlock *b, const int32_t *ids, size_t n, size_t edit, int32_t token);
TokenBlock diff_block_tokens(const DiffBlock *b);
/* Rows of a family of a sentence and n_variants variants. */
size_t diff_block_family_rows(bool bos, size_t n, size_t edit, size_t n_variants);

typedef struct DiffRunner {
    const Workbench *bench;
    const Session *session; /* the workbench's, or another one on the same model */
    const Order *order;
    DiffTap tap;
    Run *run;
    size_t n_points; /* n_items + 2 */
    double *host;    /* [block_rows, D] where rows do not lie in host memory */
    void *final;     /* [block_rows, D] resid in the table's memory: after the final norm, put together from its tiles */
    bool keep_final;

    /* During a block: */
    void *user;
    /* rows [n_rows, D]: on the host, F32 or F64, until it returns; with table_rows as they lie in the table's memory, resid, until it has
     * enqueued what reads them. */
    int (*on_point)(void *user, size_t point, View rows, Error *e);
    bool table_rows;
    /* The stream after a step before anything reads it, writable, on the device; NULL: not wanted. */
    int (*on_stream)(void *user, size_t point, View stream, Error *e);
    int (*on_results)(void *user, const HeadResults *results, Error *e);
    void (*on_progress)(void *user, double flops);
    const TokenBlock *block;
    double flops_before; /* of blocks done */
} DiffRunner;

typedef struct DiffRunnerSizes {
    size_t longest_window, longest_family, total_rows;
    size_t reserve_bytes, reserve_row_bytes; /* what the caller takes of the table's memory; of each row of a block */
    bool head, final_norm;
} DiffRunnerSizes;

int diff_runner_open(DiffRunner *r, const DiffRunnerSizes *sizes, Error *e); /* bench, session, order and tap are set */
void diff_runner_close(DiffRunner *r);
size_t diff_runner_block_rows(const DiffRunner *r);
size_t diff_runner_block_items(const DiffRunner *r); /* pairs of a block at most: sentence and b have a row each */
int diff_runner_block(DiffRunner *r, const DiffBlock *block, Error *e);

#endif
