/* results.h: from a finished ledger to ppl.json, ppl.csv and rows.jsonl.
 *
 * Per order, over all predicted tokens t (denominators are stamped under protocol.denominators):
 *   nll            mean of nll(t); sums are order-free exact sums rounded once (statistics.h), so sharding cannot change them
 *   ppl            exp(nll)
 *   word_ppl       exp(sum nll / words), words: strings between white space that hold a predicted byte (loaders/windows.h)
 *   bits_per_byte  sum nll / ln 2 / UTF-8 bytes of the predicted tokens
 *   top1_accuracy, top5_accuracy   share of rank 0, of rank < 5
 *   agreement      share of tokens whose top-1 is that of the intact model
 *   kl             mean of KL(intact || variant), nats
 *   delta_nll      nll - baseline's nll; delta_nll_ci95 [lo, hi]: pointwise paired bootstrap over units (STUDIES.md), null under 20
 *                  units; delta_nll_ci95_simultaneous: max-t over the orders
 *   ppl_mean_of_rows   mean over windows of exp(mean nll of the window)
 *   nll_body, ppl_body over the tokens of WikiText's body rows (null where kinds are not known)
 *   n_nonfinite    losses that are not finite; then nll and all that follows from it is null
 *   greedy         (greedy:N only) n_tokens_even, n_tokens_odd, nll_even and nll_odd of the intact model, and per stage the layer
 *                  removed, its order, nll_even (chosen on), nll_odd and delta_nll_odd to the intact model (to report)
 * word_ppl and bits_per_byte are null when some window comes from an ids row.
 *
 * ppl.json is the same byte for byte for the same ledger, orders and protocol: no time, path or machine is in it.
 * Left to others: evaluating (experiments/sweep.c), times (run_record.h), figures. */
#ifndef STRATA_EXPERIMENTS_RESULTS_H
#define STRATA_EXPERIMENTS_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/strbuf.h"
#include "engine/ledger.h"
#include "engine/order.h"
#include "experiments/greedy.h"
#include "experiments/influence.h"
#include "experiments/run_record.h"
#include "loaders/dataset.h"
#include "loaders/windows.h"

/* Counters of the whole job, all blocks, whichever process computed them: a resumed run must give the same. */
typedef struct ResultsCounters {
    double flops, flops_naive, weight_bytes_moved;
    int64_t layer_evaluations, naive_layer_evaluations, visits, loads; /* per token block, summed over plans */
    int64_t n_blocks;
} ResultsCounters;

/* What ppl.json says about the run. Strings are borrowed. */
typedef struct ResultsInput {
    const char *dir; /* the result folder */
    const char *model, *dataset, *experiment;
    uint64_t n_samples;                          /* as asked for: the N of the folder's name */
    const char *split, *dtype, *numerics, *rope; /* "test", "f32", "fast", "hf32" */
    uint64_t seed;
    size_t n_resamples; /* 0: 10,000 */
    const Dataset *data;
    const Windows *windows;
    const OrderSet *orders;          /* orders[0] intact; ledger row i is orders[i] */
    const RunRecord *record;         /* hashes; may be NULL */
    const InfluenceSums *influence;  /* totals; may be NULL */
    const ResultsCounters *counters; /* may be NULL */
    const GreedyPath *greedy;        /* the finished path of greedy:N; NULL: another experiment */
} ResultsInput;

typedef struct OrderResult { /* NaN: null in the files */
    double nll, ppl, word_ppl, bits_per_byte;
    double top1_accuracy, top5_accuracy, agreement, kl;
    double delta_nll, ci95[2], ci95_simultaneous[2];
    double ppl_mean_of_rows, nll_body, ppl_body;
    uint64_t n_nonfinite;
} OrderResult;

typedef struct Results {
    OrderResult *orders; /* [n_orders]; orders[0] is the baseline */
    size_t n_orders;
    uint64_t n_body_tokens;
    bool has_intervals; /* at least 20 units */
} Results;

/* rows.jsonl: one object a row, in order: row, line (concat, file: absent), kind ("plain", "heading", "body"), article (null:
 * not known), n_tokens (predicted), text or ids. Written before evaluation; same input, same bytes. */
int results_write_rows(const ResultsInput *in, Error *e);
int results_rows_text(const ResultsInput *in, StrBuf *out, Error *e); /* its text alone */

/* Reads the ledger order by order; its pages are dropped behind. The ledger must fit windows and orders. */
int results_compute(const ResultsInput *in, const LedgerView *ledger, Results *out, Error *e);
void results_free(Results *r); /* accepts zeroed */

/* ppl.json and ppl.csv, each atomically. */
int results_write(const ResultsInput *in, const Results *r, Error *e);

/* The JSON of ppl.json alone, for --json; appended to out. */
int results_json(const ResultsInput *in, const Results *r, StrBuf *out, Error *e);

#endif
