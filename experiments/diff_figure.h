/* diff_figure.h: the figures of a finished `strata diff`, made from its files: DIR/figures/NAME.svg .png .pdf and NAME.csv with the
 * numbers behind each.
 *
 *   curves_POSITION     difference of pairs over that of the matched control, layer by layer, a panel a category; 95 % bands
 *   control_POSITION    the differences themselves: pairs, matched control, and the other controls that were run
 *   relative_, cosine_, kl_POSITION   difference over stream, cosine, logit-lens KL: pairs and matched control
 *   contrast            error minus meaning categories, a panel a position; 95 % bands
 *   claims              claims in every layer, a panel a category
 *   margins             coordinates whose mean |difference|/sigma stays under a margin, by margin
 *   heatmap_CATEGORY    layer by dimension: log2 of the ratio to the control, dimensions in bins; dots where a claim holds
 *   stable_CATEGORY     the same for the DIFF_FIGURE_STABLE most stable dimensions, one by one
 *   bars_CATEGORY       the smallest ratios with their one-sided 95 % bound
 *   plain_CATEGORY      the smallest mean |difference| of the plain analysis
 *   histogram_CATEGORY  mean |difference|/sigma over dimensions, pairs and control, a panel a layer
 *   scatter_CATEGORY    mean against spread of |difference|/sigma, coloured by layer
 *
 * The figures of a category are those of one position class (diff_view_headline unless told otherwise). What the files do not have
 * is not drawn. */
#ifndef STRATA_EXPERIMENTS_DIFF_FIGURE_H
#define STRATA_EXPERIMENTS_DIFF_FIGURE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"
#include "experiments/captions.h"
#include "experiments/diff_view.h"

enum { DIFF_FIGURE_STABLE = 24, DIFF_FIGURE_BARS = 20, DIFF_FIGURE_COLUMNS = 192, DIFF_FIGURE_PANELS = 12 };

/* All of them into dir/figures. position NULL: the headline. lang falls back to English where no font has Japanese letters. */
int diff_figures_write(const char *dir, const char *position, CaptionsLang lang, bool quiet, Error *e);

/* ---- for reports: one figure of an open result, STEM.* ---- */

typedef struct DiffFigure {
    const DiffView *r;
    const char *position;
    CaptionsLang lang;           /* drawn as it is */
    double width_mm;             /* 0: what suits it */
    const char *folder;          /* where files go */
    const char *prefix, *suffix; /* of file names; NULL: none */
} DiffFigure;

int diff_figure_curves(const DiffFigure *f, Error *e);
int diff_figure_control(const DiffFigure *f, Error *e); /* control_, relative_, cosine_, kl_ */
int diff_figure_contrast(const DiffFigure *f, Error *e);
int diff_figure_claims(const DiffFigure *f, Error *e);
int diff_figure_margins(const DiffFigure *f, Error *e);
int diff_figure_category(const DiffFigure *f, const DiffViewCategory *c, Error *e); /* all of a category's */

#endif
