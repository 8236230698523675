/* diff_sums.h: what is added up over the pairs of one category: memory does not grow with their number.
 *
 * A value belongs to (position class, point, column): a point is a place in the order (0 the embedding, l the stream after step l,
 * then the final norm's output), a column a dimension. Each pair gives y = |x_b - x_a|, x = |x_c - x_a| for its matched control c where it has one, s = the same
 * for the shuffled pairing; class `all` gives the mean over the pair's positions from the edit on, so that the pair stays the unit.
 *
 *   over all pairs       n, sum y, sum y^2, the median's sketch; n and sum of s
 *   over pairs with a control, as diff_stats.h wants them: sums of y and of x by group of templates, and by group of word pairs
 *   in each half (f32: a group has some hundred terms), and sums of y^2, xy, x^2 by half (f64)
 *
 * How values and sums are computed, and how the sums lie: kernels/pair_sums.h. They lie in the memory of the table that holds the rows; on a
 * device they stay there until diff_sums_read(). */
#ifndef STRATA_EXPERIMENTS_DIFF_SUMS_H
#define STRATA_EXPERIMENTS_DIFF_SUMS_H

#include "experiments/diff_sketch.h"
#include "experiments/diff_stats.h"
#include "kernels/ops.h"

typedef enum DiffClass { DIFF_EDITED, DIFF_NEXT, DIFF_LAST, DIFF_ONSET, DIFF_ALL, DIFF_N_CLASSES } DiffClass;
extern const char *const diff_class_names[DIFF_N_CLASSES];

enum { DIFF_NO_ROW = -1 };

/* One pair in a block. Rows of its windows from the edit on: those of a, of b, and of the control c. */
typedef struct DiffItem {
    size_t a, b, c;             /* first rows; c only with has_control */
    size_t n;                   /* positions from the edit on */
    int64_t at[DIFF_N_CLASSES]; /* offset of the class's position, DIFF_NO_ROW: the pair has none; `all`: 0 */
    bool has_control;
    double nearness; /* with has_control: the embedding distance of a and b over that of a and c */
    size_t template_group, word_group;
    int half;
    size_t partner; /* whose b is the shuffled pairing; the item itself: none */
} DiffItem;

typedef struct DiffShape {
    size_t n_points, n_cols, n_template_groups, n_word_groups;
    size_t most_items; /* of a block */
} DiffShape;

typedef struct DiffSums DiffSums;
size_t diff_sums_bytes(const DiffShape *s); /* pure; 0 on overflow. Of a device so many there, and as many on the host */
/* ops, ctx: of the rows that will come, open until diff_sums_close(); NULL: rows and values of the host. */
int diff_sums_open(const DiffShape *s, Pool *pool, const Ops *ops, OpsContext *ctx, DiffSums **out, Error *e);
void diff_sums_close(DiffSums *s);
/* Forgets everything; the numbers of groups may become smaller. */
void diff_sums_clear(DiffSums *s, size_t n_template_groups, size_t n_word_groups);

/* Adds a block's items at one point from its rows, [n_rows, D] of the table; without one F32 or F64 on the host. */
void diff_sums_add(DiffSums *s, size_t point, View rows, const DiffItem *items, size_t n_items);
/* Adds values that are no differences of rows, to sums of the host: y, x, shuffled [n_items, DIFF_N_CLASSES, n_cols]. */
void diff_sums_add_values(DiffSums *s, size_t point, const double *y, const double *x, const double *shuffled,
                          const DiffItem *items, size_t n_items);

/* Waits for what has been added, before any of it is read. */
int diff_sums_read(DiffSums *s, Error *e);

/* Of one (class, point). Arrays of n_cols, or NULL where not wanted; NaN where there is no pair. */
typedef struct DiffMoments {
    size_t n, n_control, n_shuffled;
    double *mean, *sd, *median, *median_bound, *shuffled;
} DiffMoments;
void diff_sums_moments(const DiffSums *s, DiffClass class, size_t point, DiffMoments *out);

/* What diff_stats_row reads, y and x multiplied by scale[n_cols] (NULL: 1), into scratch of diff_sums_scratch(s) doubles. */
size_t diff_sums_scratch(const DiffSums *s);
DiffStatsSums diff_sums_row(const DiffSums *s, DiffClass class, size_t point, const double *scale, double *scratch);

/* [n_template_groups, n_cols]: mean y of each group, for Kendall's W; counts [n_template_groups] its pairs with a control. */
const double *diff_sums_counts(const DiffSums *s, DiffClass class, bool words); /* [n_template_groups] or [2, n_word_groups] */

#endif
