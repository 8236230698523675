/* ref_pairs.h: the oracle's entries for pairs of rows (kernels/pair_sums.h), which stand in a file of their own. */
#ifndef STRATA_KERNELS_REF_PAIRS_H
#define STRATA_KERNELS_REF_PAIRS_H

#include "kernels/ops.h"

void ref_clear(OpsContext *c, void *memory, size_t bytes);
void ref_read(OpsContext *c, void *dst, const void *memory, size_t bytes);
void ref_gather(OpsContext *c, View out, View x, const int32_t *rows);
void ref_pair_sums(OpsContext *c, const PairSums *to, View x, const PairItem *items, size_t n_items);
/* Sums in the plain order of the columns, which is not that of the other tables. */
void ref_compare_rows(OpsContext *c, RowsCompared *out, View x, const RowPair *pairs, size_t n, const double *weight);

#endif
