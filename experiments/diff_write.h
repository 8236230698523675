/* diff_write.h: the cells of a class in a useful order, for diff.json, diff.csv and the summary. */
#ifndef STRATA_EXPERIMENTS_DIFF_WRITE_H
#define STRATA_EXPERIMENTS_DIFF_WRITE_H

#include "experiments/diff.h"

/* The n_wanted smallest cells by ratio (finite, of the stream's points), or by mean |difference| where plain; claims only, where asked
 * for. Ties by index. Returns how many were put into out. */
size_t diff_rank_cells(const Diff *s, const DiffResult *r, bool plain, bool claims, size_t n_wanted, uint32_t *out);

int diff_write_json(const Diff *s, StrBuf *out, Error *e); /* diff_json.c */
int diff_write_csv(const Diff *s, Error *e);               /* diff_csv.c: diff.csv, curves.csv */
int diff_write_tensors(const Diff *s, Error *e);           /* diff_tensors.c */

#endif
