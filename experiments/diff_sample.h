/* diff_sample.h: some pairs in one block, for what is measured on samples: floors, the logit lens, ablation. */
#ifndef STRATA_EXPERIMENTS_DIFF_SAMPLE_H
#define STRATA_EXPERIMENTS_DIFF_SAMPLE_H

#include "experiments/diff.h"

typedef struct DiffSample {
    size_t n;
    const Pair **pairs;
    int32_t *controls; /* -1: none */
    DiffBlock block;
    DiffItem *items;
    size_t *window_a, *window_b; /* of each pair */
    size_t longest, rows;        /* of a window, of all pairs computed whole, controls too */
} DiffSample;

/* The first n_wanted pairs of a category in its random order; with_control: only those that have one. Category SIZE_MAX: from all
 * categories in turn. */
int diff_sample_open(const Diff *s, size_t category, size_t n_wanted, bool with_control, DiffSample *out, Error *e);
void diff_sample_close(DiffSample *x); /* accepts zeroed */
/* Puts pairs [first, first + n) into the block, each with its control where with_control; shared: variants from the edit on. */
void diff_sample_fill(DiffSample *x, size_t first, size_t n, bool with_control, bool shared);

#endif
