/* diff_curves.h: the scalar curves of a block's pairs at one point, and what the random bases see of them. Rows stay in the memory of the
 * table: its compare_rows() tells what the curves need of two rows, and the few rows that are turned are gathered. */
#ifndef STRATA_EXPERIMENTS_DIFF_CURVES_H
#define STRATA_EXPERIMENTS_DIFF_CURVES_H

#include "experiments/diff.h"

/* A block's comparisons: listed once, made anew at each point. Of item i from first[i] on: each position of b against a, then of the control,
 * then of the shuffled pairing's positions in order, then of its classes that both have. Then, when one is named, the first item's sentence
 * against the same sentence put again. */
typedef struct DiffComparisons {
    RowPair *pairs;   /* [most] */
    RowsCompared *at; /* [most]: of the point at hand */
    size_t *first;    /* [most_items + 1] */
    size_t n, most;
} DiffComparisons;
size_t diff_comparisons_bytes(size_t n_rows, size_t most_items); /* of a block */
int diff_comparisons_open(DiffComparisons *c, size_t n_rows, size_t most_items, Error *e);
void diff_comparisons_close(DiffComparisons *c); /* accepts zeroed */
/* identical_row: where the first item's sentence stands again from the edit on; SIZE_MAX: nowhere. */
void diff_comparisons_list(DiffComparisons *c, const DiffItem *items, size_t n_items, size_t identical_row);
/* The largest |difference| of the identical sentence; 0 without one. */
double diff_comparisons_identical(const DiffComparisons *c, size_t n_items);

/* y, x, shuffled [n_items, DIFF_N_CLASSES, DIFF_CURVE_COLS]: of b, of the control, of the shuffled pairing; 0 where there is none. The
 * curves come twice: x is first scaled by min(1, nearness), then by max(1, nearness); 1 - cosine, a square, by the square of it.
 * The comparisons were weighted by 1 / sigma, 0 where sigma is none. */
typedef struct DiffCurveValues {
    double *y, *x, *shuffled;
} DiffCurveValues;
void diff_curves_of(Pool *pool, const DiffComparisons *c, const DiffItem *items, size_t n_items, size_t d,
                    const DiffCurveValues *out);

/* Sums of |d_j| of pair and control in the model's basis and in each random one, over the pairs that have a control. */
enum { DIFF_BASES_PAIRS = 64, DIFF_BASES_ROWS = 3 * DIFF_BASES_PAIRS * DIFF_ALL }; /* a category's, of each class; their rows */
typedef struct DiffBases {
    const DiffRotations *rotations;
    size_t n_points, d;
    size_t n[DIFF_N_CLASSES]; /* pairs of the blocks listed so far */
    float *sums;              /* [DIFF_N_CLASSES, n_points, 1 + n rotations, 2, D] */
    float *scratch;           /* [1 + n rotations, 3, D] */
    /* Of the block at hand: samples in the order of classes, then of items; rows of a, b and control of each. */
    int32_t rows[DIFF_BASES_ROWS];
    double nearness[DIFF_BASES_ROWS / 3];
    int sample_class[DIFF_BASES_ROWS / 3];
    size_t n_samples;
} DiffBases;
size_t diff_bases_bytes(const DiffBases *b);
int diff_bases_open(DiffBases *b, Error *e); /* rotations, n_points, d are set */
void diff_bases_close(DiffBases *b);
/* Lists a block's rows in b->rows [3 n_samples]. Items after the first DIFF_BASES_PAIRS with a control are not looked at. */
void diff_bases_list(DiffBases *b, const DiffItem *items, size_t n_items);
/* rows [3 n_samples, D]: those listed, at one point. massive [D]: dimensions left out, in every basis. */
void diff_bases_add(DiffBases *b, Pool *pool, size_t point, const double *rows, const uint32_t *massive);
/* Coordinates of basis k (0: the model's) whose ratio is below DIFF_STATS_RATIO, and those whose mean is below half of sigma [D]. */
void diff_bases_count(const DiffBases *b, DiffClass class, size_t point, size_t k, const float *sigma, double *stable,
                      double *small);

#endif
