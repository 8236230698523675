/* diff_curves.h: the scalar curves of a block's pairs at one point, and what the random bases see of them. */
#ifndef STRATA_EXPERIMENTS_DIFF_CURVES_H
#define STRATA_EXPERIMENTS_DIFF_CURVES_H

#include "experiments/diff.h"

/* Row r of host rows as doubles. */
void diff_curves_load(const View *rows, size_t r, double *out);

/* y, x, shuffled [n_items, DIFF_N_CLASSES, DIFF_CURVE_COLS]: of b, of the control, of the shuffled pairing; 0 where there is none. The
 * curves come twice: x is first scaled by min(1, nearness), then by max(1, nearness); 1 - cosine, a square, by the square of it.
 * inverse_sigma [D]: 0 where sigma is none. */
typedef struct DiffCurveValues {
    double *y, *x, *shuffled;
} DiffCurveValues;
void diff_curves_of(Pool *pool, const View *rows, const DiffItem *items, size_t n_items, const double *inverse_sigma,
                    const DiffCurveValues *out);

/* Sums of |d_j| of pair and control in the model's basis and in each random one, over the pairs that have a control. */
typedef struct DiffBases {
    const DiffRotations *rotations;
    size_t n_points, d, n_wanted;
    size_t n[DIFF_N_CLASSES]; /* pairs of the blocks done */
    float *sums;              /* [DIFF_N_CLASSES, n_points, 1 + n rotations, 2, D] */
} DiffBases;
size_t diff_bases_bytes(const DiffBases *b);
int diff_bases_open(DiffBases *b, Error *e); /* rotations, n_points, d, n_wanted are set */
void diff_bases_clear(DiffBases *b);
void diff_bases_close(DiffBases *b);
/* massive [D]: dimensions left out, in every basis. Items after the first n_wanted with a control are not looked at. */
void diff_bases_add(DiffBases *b, Pool *pool, size_t point, const View *rows, const DiffItem *items, size_t n_items,
                    const uint32_t *massive);
/* Coordinates of basis k (0: the model's) whose ratio is below DIFF_STATS_RATIO, and those whose mean is below half of sigma [D]. */
void diff_bases_count(const DiffBases *b, DiffClass class, size_t point, size_t k, const float *sigma, double *stable,
                      double *small);

#endif
