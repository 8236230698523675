/* compare_diff.h: results of `strata diff` laid over each other (`strata compare` given diff.json files or their folders).
 *
 * What is compared (STUDIES.md): layer curves over relative depth (point l of L at l / L: 0 the embedding, 1 the last layer), by category
 * and position class: the norm of a pair's difference over that of its matched control, with each result's own 95 % bands, and the
 * contrast of error and meaning. Dimension indices mean nothing across models and are never set side by side; of claims only the share
 * of tested coordinates is. Models with one tokenizer should see the same pairs; with another one the pairs that it verified are others,
 * which is said in the notes where the numbers of pairs differ.
 *
 * Per pair of results and category: Spearman's rho over COMPARE_BINS bins of relative depth, of the mean ratio in each.
 *
 * compare.json (schema "strata.compare_diff/1"): position, models [{label, dir, model, n_layers, hidden, n_pairs, share_claimed,
 * categories [{name, scope, n_pairs, mean_ratio, smallest_ratio, depth_of_smallest, share_claimed}]}], rank_correlation [{category, a,
 * b, spearman, n_bins}], notes. compare.csv: one line per (model, category, position, layer). Figures in output_dir: diff_curves_POSITION,
 * diff_contrast. Same input, same bytes. */
#ifndef STRATA_EXPERIMENTS_COMPARE_DIFF_H
#define STRATA_EXPERIMENTS_COMPARE_DIFF_H

#include "engine/base/error.h"
#include "experiments/studies.h"

/* Whether any of the files is a result of diff; all must be then. */
int compare_diff_is_meant(const StrataCompareOptions *options);
int compare_diff(const StrataCompareOptions *options, Error *e);

#endif
