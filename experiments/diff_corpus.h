/* diff_corpus.h: the held-out corpus: windows of positions 0..64 for sigma, and how often each id occurs. */
#ifndef STRATA_EXPERIMENTS_DIFF_CORPUS_H
#define STRATA_EXPERIMENTS_DIFF_CORPUS_H

#include "experiments/workbench.h"

enum { DIFF_CORPUS_POSITIONS = 64, DIFF_CORPUS_SHORTEST = 16, DIFF_CORPUS_WINDOWS = 128 };

typedef struct DiffCorpus {
    char name[64];
    char ids_sha256[65]; /* of the windows' ids and starts */
    int32_t *ids;
    size_t *start; /* [n_windows + 1] */
    size_t n_windows, longest;
    uint32_t *count; /* [V]: occurrences of each id in all rows read */
    uint64_t n_counted;
} DiffCorpus;

/* type and path as for strata sweep; both NULL: the bundled excerpt. Windows are the first 65 ids (BOS counted, where there is one)
 * of rows with at least 17, n_windows of them in seeded random order, or all there are. */
int diff_corpus_open(const Workbench *w, const char *type, const char *path, size_t n_windows, DiffCorpus *out, Error *e);
void diff_corpus_close(DiffCorpus *c); /* accepts zeroed */

#endif
