/* diff_save.h: pairs.safetensors, the full differences of the first pairs of the file: pair.I [L + 2, n, D] F32, I the pair's number in the
 * file from 0, n its positions from the edit on; x_b - x_a at each point (index L + 1: after the final norm), with the sign of the
 * file's a and b. Rows go to their places as they come. */
#ifndef STRATA_EXPERIMENTS_DIFF_SAVE_H
#define STRATA_EXPERIMENTS_DIFF_SAVE_H

#include <stdbool.h>

#include "experiments/pair_file.h"

typedef struct DiffSave DiffSave;

int diff_save_open(const char *dir, const PairFile *pairs, size_t n_pairs, size_t n_points, size_t d, DiffSave **out, Error *e);
bool diff_save_wants(const DiffSave *s, size_t pair); /* one of the first n_pairs; false for NULL */
/* Positions [first, first + n) of a pair of n_positions at a point: a, then b [n, D]. */
int diff_save_rows(DiffSave *s, size_t pair, size_t point, size_t n_positions, size_t first, size_t n, const double *a,
                   const double *b, Error *e);
int diff_save_close(DiffSave *s, Error *e); /* accepts NULL */

#endif
