/* diff_against.h: two finished studies of the same pairs, of two models, subtracted: DIR/against.json. */
#ifndef STRATA_EXPERIMENTS_DIFF_AGAINST_H
#define STRATA_EXPERIMENTS_DIFF_AGAINST_H

#include <stdio.h>

#include "experiments/diff_stats.h"

/* out: where the summary goes; NULL: nowhere. */
int diff_against_write(const char *dir, const char *second_dir, FILE *out, Error *e);

#endif
