/* diff_view.h: a finished `strata diff` read back from its folder: diff.json (schema "strata.diff/1") and diff.safetensors. Figures,
 * reports and comparisons are made from this, so that they show what the files say.
 *
 * Points of a layer axis are counted 0 .. L: the embedding, then the residual stream after each step. What a file does not have is
 * NULL or NaN here; only the fields every result must have are errors. Numbers that are null are NaN.
 * Left to others: writing these files (diff), what is drawn (diff_figure.h). */
#ifndef STRATA_EXPERIMENTS_DIFF_VIEW_H
#define STRATA_EXPERIMENTS_DIFF_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "experiments/model_name.h"
#include "experiments/result_file.h"
#include "loaders/tensor_file.h"

enum { DIFF_VIEW_MARGINS = 16 };

/* One curve over the layer points; arrays [n_points]. */
typedef struct DiffViewCurve {
    const char *name; /* norm, relative_norm, cosine, logit_lens_kl */
    const double *pairs, *control;
    const double *ratio, *lo, *hi; /* to the matched control, 95 %; NULL where there are none */
    double n;                      /* pairs; NaN: not said */
} DiffViewCurve;

typedef struct DiffViewCell { /* one coordinate of the list of smallest ratios */
    size_t layer, dim;
    double mean, control, ratio, upper, p, half_ratio[2];
    bool is_claim;
} DiffViewCell;

typedef struct DiffViewPlain { /* one of the list of smallest mean |difference| */
    size_t layer, dim;
    double mean_abs;
} DiffViewPlain;

typedef struct DiffViewMargin {
    double margin, n_rejected;
} DiffViewMargin;

typedef struct DiffViewRotation {
    const char *what; /* what is counted: "ratio below 0.8" */
    double count, mean, sd, least, most, p_more, p_fewer, n;
} DiffViewRotation;

typedef struct DiffViewPosition { /* one position class of one category */
    const char *name;
    double n_pairs, n_claims;
    DiffViewCurve *curves;
    size_t n_curves;
    const double *shuffled, *unrelated, *floor; /* [n_points]: mean norms of the other controls */
    const double *claims_per_layer, *kendall_w, *kendall_w_control;
    DiffViewCell *ranked;
    size_t n_ranked;
    DiffViewPlain *plain;
    size_t n_plain;
    DiffViewMargin margins[DIFF_VIEW_MARGINS];
    size_t n_margins;
    double n_best, n_chosen, chosen_ratio, scored_ratio, n_below, n_bound_below; /* cross-fitting */
    DiffViewRotation *rotations;
    size_t n_rotations;
} DiffViewPosition;

typedef struct DiffViewCategory {
    double n_matched;                /* pairs that have a control */
    bool control_is_far;             /* the control's tokens lie farther apart than the pairs': nothing is claimed */
    const char *name, *kind, *scope; /* kind: meaning, error, choice; scope: category, words, none */
    double n_pairs, n_templates, n_word_pairs;
    DiffViewPosition *positions;
    size_t n_positions;
} DiffViewCategory;

typedef struct DiffViewContrast { /* error minus meaning; arrays [n_points] */
    const char *position, *curve;
    const double *difference, *lo, *hi, *p;
} DiffViewContrast;

typedef struct DiffView {
    const char *dir;
    char name[MODEL_NAME_BYTES]; /* of the model, for readers */
    const char *model, *pairs, *tap, *order, *dtype, *numerics, *corpus;
    size_t n_layers, n_points, hidden; /* n_points = n_layers + 1 */
    double n_pairs, seed;
    double level, n_tested, n_rejected, threshold, n_rejected_any_dependence, n_claims; /* false discoveries */
    DiffViewCategory *categories;
    size_t n_categories;
    DiffViewContrast *contrasts;
    size_t n_contrasts;
    ResultFile json; /* open as long as the result: strings live in it */
    TensorFile tensors;
    Arena arena;
} DiffView;

/* path: the folder, or its diff.json. */
int diff_view_open(const char *path, DiffView *out, Error *e);
void diff_view_close(DiffView *r);       /* accepts zeroed and half-built */
bool diff_view_is_one(const char *path); /* a folder with diff.json, or a file of that name */

const DiffViewCurve *diff_view_curve(const DiffViewPosition *p, const char *name);       /* NULL: none */
const DiffViewPosition *diff_view_position(const DiffViewCategory *c, const char *name); /* NULL: none */
const DiffViewContrast *diff_view_contrast(const DiffView *r, const char *position, const char *curve);

/* F32 [n_points, hidden] named KIND.CATEGORY.POSITION, or KIND alone (category NULL): sigma. NULL: not there, or of another shape. */
const float *diff_view_tensor(const DiffView *r, const char *kind, const char *category, const char *position);

/* The position class that figures show unless told otherwise: "last" if every category has it, else the first there is. */
const char *diff_view_headline(const DiffView *r);

#endif
