/* pair_sums.h: what is added up over pairs of sentences at one point of the stream, in whatever memory the rows lie: ops.h's pair_sums and
 * compare_rows. Host and device give the same bits: every sum has one order, products are rounded before they are added (no fused
 * multiply-add), and the text of what is not a plain sum is shared (sketch.h). NaN is where NaN is; which one is not said.
 *
 * A pair is an item: rows of its sentence a, of b (a with one token changed), of the control c (another token in that place) and of s (a b of
 * another pair), each from the changed token on. A value belongs to (item, class, column j). Classes 0 to PAIR_ALL - 1 stand at one
 * position, `at` from the changed token; class PAIR_ALL is the mean over the item's positions, which are 0 to n - 1. In f64:
 *   y = sum over the class's positions r, ascending from +0, of (1 / their number) |rows[b + r, j] - rows[a + r, j]|
 *   x = the same of c with (control_scale / number); 0 without c
 *   s = the same of s: over the first n_s positions, or rows[s + at_s, j] - rows[a + at, j]; 0 without s
 * Columns come in chunks of PAIR_COLS, each the sums of one (class, 16 columns); items are added in their order:
 *   sum y, y^2, s; the sketch of (float)y, trimmed by PAIR_TRIM; of items with c, in their half: y^2, x y, x^2 (all f64);
 *   groups [2 t + 4 w, PAIR_COLS] f32, behind the head: y by template, x by template, y by word (half 0, half 1), x by word likewise */
#ifndef STRATA_KERNELS_PAIR_SUMS_H
#define STRATA_KERNELS_PAIR_SUMS_H

#include "kernels/sketch.h"

enum { PAIR_COLS = 16, PAIR_ALL = 4, PAIR_CLASSES = 5, PAIR_NONE = -1, PAIR_TRIM = 8 };

typedef struct PairItem {
    int32_t a, b, c, s;       /* first rows; c and s: PAIR_NONE where there is none */
    int32_t n, n_s;           /* positions, and those with s */
    int32_t at[PAIR_CLASSES]; /* PAIR_NONE: the item has no such class; of PAIR_ALL: 0 */
    int32_t at_s[PAIR_CLASSES];
    int32_t template_group, word_group, half; /* half 0 or 1 */
    int32_t unused;
    double control_scale;
} PairItem;

/* Whether the item has an s in this class. */
static STRATA_HD inline bool pair_has_s(const PairItem *item, int class_index)
{
    return item->s != PAIR_NONE && item->at_s[class_index] != PAIR_NONE;
}

typedef struct PairChunk {
    double sum[PAIR_COLS], squares[PAIR_COLS], s[PAIR_COLS];
    double yy[2][PAIR_COLS], xy[2][PAIR_COLS], xx[2][PAIR_COLS]; /* by half */
    Sketch sketch[PAIR_COLS];
    /* float groups[2 t + 4 w][PAIR_COLS] */
} PairChunk;

/* The sums of one point. Zeroed memory holds those of no item. */
typedef struct PairSums {
    void *chunks; /* [PAIR_CLASSES, ceil(n_cols / PAIR_COLS)] in memory of alloc() */
    size_t chunk_bytes, n_cols, n_template_groups, n_word_groups;
    size_t n[PAIR_CLASSES]; /* items of each class that came before */
} PairSums;

static STRATA_HD inline size_t pair_chunks(size_t n_cols)
{
    return (n_cols + PAIR_COLS - 1) / PAIR_COLS;
}

static inline size_t pair_group_rows(size_t n_template_groups, size_t n_word_groups)
{
    return 2 * n_template_groups + 4 * n_word_groups;
}

/* From one chunk to the next, at least. */
static inline size_t pair_chunk_bytes(size_t n_template_groups, size_t n_word_groups)
{
    size_t groups = pair_group_rows(n_template_groups, n_word_groups) * PAIR_COLS * sizeof(float);
    return (sizeof(PairChunk) + groups + 63) & ~(size_t)63;
}

/* Two rows compared, in f64, d = x[second] - x[first]: sum d^2, sum x[first]^2, sum x[second]^2, sum x[first] x[second], sum |d| w,
 * max |d| (NaN if there is one). The sums run in PAIR_CHAINS chains, columns k, k + PAIR_CHAINS, ... ascending from +0, which are
 * joined by halves: chain k gets k + 16, then k + 8, ... */
typedef struct RowPair {
    int32_t first, second;
} RowPair;
typedef struct RowsCompared {
    double dd, aa, bb, ab, weighted, most;
} RowsCompared;
enum { PAIR_CHAINS = 32 };

/* max, NaN if either is. */
static STRATA_HD inline double pair_most(double a, double b)
{
    return a != a || b <= a ? a : b;
}

#endif
