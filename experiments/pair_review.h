/* pair_review.h: a sheet (CSV) on which a person accepts and refuses pairs: accept, note, category, template, error_side, word_a, word_b, a, b.
 * accept is yes (y, 1, ok) or no (n, 0, x), or empty: no decision, the pair stays. Rows are found again by their two sentences. */
#ifndef STRATA_EXPERIMENTS_PAIR_REVIEW_H
#define STRATA_EXPERIMENTS_PAIR_REVIEW_H

#include "experiments/pairs.h"

/* Where the sheet is absent it is written for run->set; otherwise what it refuses moves to the refused. A line goes to run->notes. */
int pair_review_apply(PairsRun *run, Error *e);

#endif
