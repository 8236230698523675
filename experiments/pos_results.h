/* pos_results.h: figures of every group of words under every order, from ledger and words.
 *
 * Groups: all; upos; upos_confident (words whose tag has a posterior of at least 0.9); xpos (--fine); frequency_band; row_position;
 * token_kind (the first token of a word, the others). "The other words" of a value are those of the same group with another value.
 *
 * Per value and order, over its counted words (pos_words.h) and their tokens:
 *   nll                   sum of losses / tokens            word_nll        the same sum / words
 *   word_nll_corrected    sum of corrected losses / words (align.h)
 *   token_accuracy        share of tokens of rank 0         agreement, kl   means over tokens, as in ppl.json
 *   first_token_accuracy  share of words whose first token has rank 0; word_accuracy: whose tokens all have
 *   bits_per_byte         sum of losses / ln 2 / bytes of the tokens' spans (the space in front is one of them)
 *   delta                 minus the intact model's; contrast: delta minus that of the other words, with paired bootstrap intervals
 *                         over units (statistics.h), the simultaneous ones over all ranked values and orders of the group
 * each delta and contrast thrice: per token, per word, per word corrected. Ranked are values of 100 words (token_kind: tokens) and
 * 20 units at least. Sums within a unit are f64 in the order of the tokens. What is not finite is NaN. */
#ifndef STRATA_EXPERIMENTS_POS_RESULTS_H
#define STRATA_EXPERIMENTS_POS_RESULTS_H

#include "experiments/pos_words.h"
#include "experiments/statistics.h"

enum { POS_MIN_WORDS = 100, POS_MAX_GROUPS = 7 };

typedef enum PosMeasure { POS_PER_TOKEN, POS_PER_WORD, POS_PER_WORD_CORRECTED, POS_N_MEASURES } PosMeasure;

typedef struct PosFigures {
    double level[POS_N_MEASURES]; /* nll, word_nll, word_nll_corrected */
    double token_accuracy, first_token_accuracy, word_accuracy, agreement, kl, bits_per_byte;
    uint64_t n_nonfinite;
    StatisticsInterval delta[POS_N_MEASURES], contrast[POS_N_MEASURES]; /* of the intact order: zeroed */
} PosFigures;

typedef struct PosValue {
    const char *name;
    uint64_t n_words, n_tokens, n_bytes;
    size_t n_units;
    bool is_ranked;
    PosFigures *orders; /* [n_orders] */
} PosValue;

typedef struct PosGroup {
    const char *by;
    bool is_of_tokens; /* words of one value have no figures of their own */
    PosValue *values;
    size_t n_values;
} PosGroup;

typedef struct PosResults {
    PosGroup groups[POS_MAX_GROUPS];
    size_t n_groups, n_orders;
    Arena arena;
} PosResults;

int pos_results_compute(const PosRun *run, const PosWords *words, bool fine, volatile sig_atomic_t *stop, PosResults *out,
                        Error *e);
void pos_results_free(PosResults *r);                                   /* accepts zeroed */
const PosGroup *pos_results_group(const PosResults *r, const char *by); /* NULL: none */

/* pos.json (schema strata.pos.1) and pos.csv, each atomically. */
int pos_results_write(const PosRun *run, const PosWords *words, const PosResults *r, Error *e);
/* The JSON alone, appended. */
int pos_results_json(const PosRun *run, const PosWords *words, const PosResults *r, StrBuf *out, Error *e);

#endif
