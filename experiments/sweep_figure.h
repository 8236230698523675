/* sweep_figure.h: Study A's figure, figures/layers.svg, .png, .pdf and layers.csv in the result folder: the change of loss (nats per
 * token, variant minus intact) over layers with its pointwise 95 % band.
 *
 * Where a variant stands on the axis is layer_axis.h's business.
 * `replace` has one line for the layer before and one for the layer after. Experiments without such an axis
 * (reverse, shuffle, orders of the user's own) become bars named by order, at most SWEEP_FIGURE_BARS of them. The loss axis is
 * symmetric-logarithmic where a few layers outweigh all others by far (figure.h, AUTO). */
#ifndef STRATA_EXPERIMENTS_SWEEP_FIGURE_H
#define STRATA_EXPERIMENTS_SWEEP_FIGURE_H

#include "experiments/results.h"

enum { SWEEP_FIGURE_BARS = 60 };

/* With no variant beside the intact model nothing is written. */
int sweep_figure_write(const ResultsInput *in, const Results *results, Error *e);

#endif
