/* pos_figure.h: figures/pos_*.svg|png|pdf, each with its numbers as .csv beside it:
 *   pos_heatmap     tag by order: word_contrast, tags from the most affected down; a dot where its simultaneous interval leaves 0 out
 *   pos_lines       a panel per ranked tag: delta_word_nll over layers with bands, and that of all words
 *   pos_bars        word_contrast of the ranked tags under the order of median effect, with simultaneous intervals
 *   pos_bars_worst  likewise under the order of greatest effect on all words */
#ifndef STRATA_EXPERIMENTS_POS_FIGURE_H
#define STRATA_EXPERIMENTS_POS_FIGURE_H

#include "experiments/captions.h"
#include "experiments/pos_results.h"

int pos_figure_write(const PosRun *run, const PosWords *words, const PosResults *r, CaptionsLang lang, Error *e);

/* Ranked orders: indices 1 .. n_orders-1 by delta_word_nll of all words, the greatest first, what is not finite last. */
void pos_figure_sort_orders(const PosResults *r, size_t *out);
/* Tags with words, by the mean of word_contrast over the orders, the most affected first, those not ranked last; returns how
 * many. out[TAGGER_N_UPOS]. */
size_t pos_figure_sort_tags(const PosResults *r, size_t *out);

#endif
