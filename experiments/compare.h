/* compare.h: several results of one experiment laid over each other (`strata compare`).
 *
 * What may be compared (STUDIES.md). The rows must be the same (protocol.hashes.rows_sha256) and the protocol too. Where all results
 * have the same token ids (protocol.hashes.ids_sha256), the headline is nats per token, on all predicted tokens. Else it is bits per
 * byte on the bytes that every model predicted (compare_bytes.h), and loss per word on the same bytes; losses per token of
 * different tokenizers are never set side by side. Experiments must be the same; `block:N` counts as removal of N layers at once and
 * stands beside single layers, since one layer of 12 is a larger dose than one of 80: share = N / L.
 *
 * Depth: layer_axis.h. Intervals: the paired bootstrap of statistics.h over the common units, one draw for all models.
 * Importance: COMPARE_BINS bins of relative depth, [i/10, (i+1)/10), depth 1 in the last; a bin's importance is the mean change of its
 * orders. Spearman's rho (Kendall's tau-b beside it) over the bins that both results fill; its interval: rho of every resample of the
 * same draws, 2.5 % to 97.5 %; none under STATISTICS_MIN_UNITS units or under 4 bins. It tells how the choice of texts moves rho, not how
 * other models would.
 *
 * compare.json (schema "strata.compare.1"): experiment, depth, metric, same_tokens, rows_sha256, protocol, common {bytes, any_bytes,
 * words, units, n_resamples, seed}, models [{label, file, model, dataset, experiment, n_layers, layers_at_once, share, n_tokens,
 * common_tokens, dtype, numerics, context, bos, baseline {...}, orders [{name, place, depth, bin, nll, delta_nll, delta_nll_ci95,
 * delta_bits_per_byte, ..._ci95, ..._ci95_simultaneous, delta_word_nll, ..._ci95, agreement, kl}], importance [bins]}],
 * rank_correlation [{a, b, spearman, spearman_ci95, kendall, n_bins}], tags (compare_tags.c), notes. compare.csv: one line per (model,
 * group, value, order). Same input, same bytes. */
#ifndef STRATA_EXPERIMENTS_COMPARE_H
#define STRATA_EXPERIMENTS_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/strbuf.h"
#include "experiments/compare_bytes.h"
#include "experiments/studies.h"

enum { COMPARE_BINS = 10, COMPARE_MAX = 8 };

typedef struct CompareChange { /* variant minus intact; NaN: not known */
    double delta, lo, hi, lo_simultaneous, hi_simultaneous;
} CompareChange;

typedef struct CompareOrder {
    const char *name;
    size_t ledger_index;
    double place, depth; /* absolute and relative; NaN without an axis of layers */
    int bin;             /* -1: none */
    double nll, ppl, top1_accuracy, agreement, kl;
    CompareChange nll_change;  /* nats per own token, as in ppl.json */
    CompareChange bits_change; /* bits per byte, on the common bytes */
    CompareChange word_change; /* nats per word, on the common bytes */
} CompareOrder;

typedef struct CompareTag { /* one value of one group of pos.json, in one result */
    bool is_there, is_ranked;
    double n_words;
    CompareChange *orders; /* [n_orders] */
} CompareTag;

typedef struct CompareResult {
    const char *file, *dir;   /* ppl.json and its folder, as given */
    const char *label;        /* for legends: short, different for each */
    const char *model, *name; /* as it was typed, as readers see it (model_name.h) */
    const char *dataset, *experiment, *protocol, *unit, *rows_sha256, *ids_sha256;
    const char *dtype, *numerics;
    int n_layers, layers_at_once;
    double share; /* layers_at_once / n_layers */
    int64_t n_tokens, context, seed, n_resamples;
    bool bos;
    CompareOrder intact, *orders;
    size_t n_orders;           /* without the intact one */
    double bits, word_nll;     /* of the intact model on the common bytes */
    double bins[COMPARE_BINS]; /* importance by the headline metric; NaN: no order there */
    double *unit_nll;          /* [n_orders + 1, units]: sums over common tokens; NULL without ledgers */
    double *unit_bins;         /* [COMPARE_BINS, units]: mean over a bin's orders of the summed change */
    CompareTag *tags;          /* [n_tags] */
} CompareResult;

typedef struct ComparePair {
    size_t a, b;
    double spearman, lo, hi, kendall;
    int n_bins;
} ComparePair;

typedef struct Compare {
    const StrataCompareOptions *options;
    const char *experiment; /* as asked for, or that of the first file */
    bool relative, has_axis;
    bool same_tokens; /* one list of ids: nats per token may be compared */
    bool has_bytes;   /* ledgers and texts were there: common bytes are known */
    CompareResult results[COMPARE_MAX];
    size_t n;
    CompareRows rows; /* with has_bytes */
    CompareBytes bytes;
    ComparePair pairs[COMPARE_MAX * (COMPARE_MAX - 1) / 2];
    size_t n_pairs;
    const char **tag_names; /* [n_tags] */
    size_t n_tags;
    ComparePair *tag_pairs; /* [n_tags, n_pairs]; no intervals */
    StrBuf notes;           /* lines */
    Arena arena;
} Compare;

/* compare_input.c: one ppl.json, given itself, as its folder or as the pos.json beside it. Strings and orders live in arena. */
int compare_result_read(const char *path, Arena *arena, CompareResult *r, Error *e);
/* Opens and checks every file; fills all but the computed fields. */
int compare_open(Compare *c, Error *e);
/* compare_sums.c: common bytes, changes with intervals, bins, correlations. */
int compare_compute(Compare *c, Error *e);
/* Of a result: the headline change of an order. */
const CompareChange *compare_headline(const Compare *c, const CompareOrder *o);
/* compare_tags.c: parts of speech, by compare_words.c (the words that all results count) or from the pos.json files. */
int compare_read_tags(Compare *c, Error *e);
int compare_words(Compare *c, Error *e);
/* compare_write.c: compare.json and compare.csv. */
int compare_json(const Compare *c, StrBuf *out, Error *e);
int compare_write(const Compare *c, Error *e);
/* compare_figure.c */
int compare_figures(const Compare *c, Error *e);
void compare_free(Compare *c);

/* Spearman's rho over the bins that both fill, how many those are, Kendall's tau-b. */
double compare_bins_rho(const double *a, const double *b, int *n_bins, double *kendall);

#endif
