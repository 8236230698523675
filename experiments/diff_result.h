/* diff_result.h: a finished `strata diff` read back from its folder: diff.json (schema "strata.diff/1") and diff.safetensors. Figures,
 * reports and comparisons are made from this, so that they show what the files say.
 *
 * Points of a layer axis are counted 0 .. L: the embedding, then the residual stream after each step. What a file does not have is
 * NULL or NaN here; only the fields every result must have are errors. Numbers that are null are NaN.
 * Left to others: writing these files (diff), what is drawn (diff_figure.h). */
#ifndef STRATA_EXPERIMENTS_DIFF_RESULT_H
#define STRATA_EXPERIMENTS_DIFF_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "experiments/result_file.h"
#include "loaders/tensor_file.h"

enum { DIFF_RESULT_MARGINS = 16, DIFF_RESULT_ROTATIONS = 64 };

/* One curve over the layer points; arrays [n_points]. */
typedef struct DiffResultCurve {
    const char *name; /* norm, relative_norm, cosine, logit_lens_kl */
    const double *pairs, *control;
    const double *ratio, *lo, *hi; /* to the matched control, 95 %; NULL where there are none */
    double n;                      /* pairs; NaN: not said */
} DiffResultCurve;

typedef struct DiffResultCell { /* one coordinate of the list of smallest ratios */
    size_t layer, dim;
    double mean, control, ratio, upper, p, half_ratio[2];
    bool is_claim;
} DiffResultCell;

typedef struct DiffResultPlain { /* one of the list of smallest mean |difference| */
    size_t layer, dim;
    double mean_abs;
} DiffResultPlain;

typedef struct DiffResultMargin {
    double margin, n_rejected;
} DiffResultMargin;

typedef struct DiffResultRotation {
    double layer, count, mean, sd, least, most, p_more, p_fewer, n;
} DiffResultRotation;

typedef struct DiffResultPosition { /* one position class of one category */
    const char *name;
    double n_pairs, n_claims;
    DiffResultCurve *curves;
    size_t n_curves;
    const double *shuffled, *unrelated, *floor; /* [n_points]: mean norms of the other controls */
    const double *claims_per_layer, *kendall_w, *kendall_w_control;
    DiffResultCell *ranked;
    size_t n_ranked;
    DiffResultPlain *plain;
    size_t n_plain;
    DiffResultMargin margins[DIFF_RESULT_MARGINS];
    size_t n_margins;
    double n_best, n_chosen, chosen_ratio, scored_ratio, n_below, n_bound_below; /* cross-fitting */
    DiffResultRotation *rotations;
    size_t n_rotations;
} DiffResultPosition;

typedef struct DiffResultCategory {
    const char *name, *kind, *scope; /* kind: meaning, error, choice; scope: category, words, none */
    double n_pairs, n_templates, n_word_pairs;
    DiffResultPosition *positions;
    size_t n_positions;
} DiffResultCategory;

typedef struct DiffResultContrast { /* error minus meaning; arrays [n_points] */
    const char *position, *curve;
    const double *difference, *lo, *hi, *p;
} DiffResultContrast;

typedef struct DiffResult {
    const char *dir;
    const char *model, *pairs, *tap, *order, *dtype, *numerics, *corpus;
    size_t n_layers, n_points, hidden; /* n_points = n_layers + 1 */
    double n_pairs, seed;
    double level, n_tested, n_rejected, threshold, n_rejected_any_dependence, n_claims; /* false discoveries */
    DiffResultCategory *categories;
    size_t n_categories;
    DiffResultContrast *contrasts;
    size_t n_contrasts;
    ResultFile json; /* open as long as the result: strings live in it */
    TensorFile tensors;
    Arena arena;
} DiffResult;

/* path: the folder, or its diff.json. */
int diff_result_open(const char *path, DiffResult *out, Error *e);
void diff_result_close(DiffResult *r);     /* accepts zeroed and half-built */
bool diff_result_is_one(const char *path); /* a folder with diff.json, or a file of that name */

const DiffResultCurve *diff_result_curve(const DiffResultPosition *p, const char *name);       /* NULL: none */
const DiffResultPosition *diff_result_position(const DiffResultCategory *c, const char *name); /* NULL: none */
const DiffResultContrast *diff_result_contrast(const DiffResult *r, const char *position, const char *curve);

/* F32 [n_points, hidden] named KIND.CATEGORY.POSITION, or KIND alone (category NULL): sigma. NULL: not there, or of another shape. */
const float *diff_result_tensor(const DiffResult *r, const char *kind, const char *category, const char *position);

/* The position class that figures show unless told otherwise: "last" if every category has it, else the first there is. */
const char *diff_result_headline(const DiffResult *r);

#endif
