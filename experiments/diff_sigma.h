/* diff_sigma.h: the yardstick: per point and dimension, mean and standard deviation of the stream at positions 1-64 of the held-out
 * corpus, under the same model, order, dtype and BOS; the median absolute deviation beside it; and how far apart unrelated sentences are
 * at the same position.
 *
 * Left out: position 0, and massive activations: |x| > 100 and > 1000 times the point's median |x| (taken over the first block). MAD is
 * the median of |x - median| times 1.4826, which is sigma for normal values; by diff_sketch.h with trim 2, so off by at most 4 of its
 * bins. unrelated: the mean of |x - x'| over neighbouring windows of the (shuffled) corpus, position by position. */
#ifndef STRATA_EXPERIMENTS_DIFF_SIGMA_H
#define STRATA_EXPERIMENTS_DIFF_SIGMA_H

#include "engine/forward.h"
#include "experiments/diff_rotate.h"
#include "kernels/ops.h"

typedef struct DiffSigma DiffSigma;

typedef struct DiffSigmaShape {
    size_t n_points, d;
    const DiffRotations *rotations; /* NULL: none */
} DiffSigmaShape;

size_t diff_sigma_bytes(const DiffSigmaShape *s); /* at most, while values are added */
int diff_sigma_open(const DiffSigmaShape *s, Pool *pool, uint64_t seed, DiffSigma **out, Error *e);
void diff_sigma_close(DiffSigma *s);

/* Adds one point's rows of a block of corpus windows, [n_rows, D] on the host. Blocks begin with point 0. */
void diff_sigma_add(DiffSigma *s, size_t point, const TokenBlock *block, View rows);

/* What was found; after diff_sigma_finish, which gives the sums' memory back. Arrays [n_points, D]. */
typedef struct DiffSigmaResult {
    float *mean, *sigma, *mad, *unrelated;
    uint32_t *n_massive; /* values left out */
    float *rotated;      /* [n_points, n rotations, D]: sigma in each rotated basis; NULL without rotations */
    double *median_size; /* [n_points]: median |x| */
    size_t n_positions;  /* values a dimension, massive ones counted */
} DiffSigmaResult;
int diff_sigma_finish(DiffSigma *s, DiffSigmaResult *out, Error *e);
void diff_sigma_result_free(DiffSigmaResult *r); /* accepts zeroed */

#endif
