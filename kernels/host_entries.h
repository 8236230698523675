/* host_entries.h: entries of ops.h that are the same for every table whose memory is the host's: bytes and gathered rows, and Study B's
 * sums over pairs of rows (pair_sums.h). Rows are F32 or F64. */
#ifndef STRATA_KERNELS_HOST_ENTRIES_H
#define STRATA_KERNELS_HOST_ENTRIES_H

#include "kernels/ops.h"

void host_clear(OpsContext *c, void *memory, size_t bytes);
void host_read(OpsContext *c, void *dst, const void *memory, size_t bytes);
void host_gather(OpsContext *c, View out, View x, const int32_t *rows);

/* As the entries of these names; chunks of columns, and comparisons, are dealt to the pool's threads. */
void host_pair_sums(Pool *pool, const PairSums *to, View x, const PairItem *items, size_t n_items);
void host_compare_rows(Pool *pool, RowsCompared *out, View x, const RowPair *pairs, size_t n, const double *weight);
/* Adds values that are no differences of rows: y, x, s [n_items, PAIR_CLASSES, n_cols]. */
void host_pair_values(Pool *pool, const PairSums *to, const double *y, const double *x, const double *s, const PairItem *items,
                      size_t n_items);

#endif
