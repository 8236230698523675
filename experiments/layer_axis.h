/* layer_axis.h: where a variant stands on the axis of layers, read from the experiment and the order's name (engine/order.h).
 *
 * Absolute: the mean of the layer indices in the name: removal_12 at 12, exchange_12_13 at 12.5, block_4_7 at 5.5,
 * parallel_4_7 at 5.5; replace_4_by_5 at 4, the layer replaced. Relative (STUDIES.md): the absolute place over L - 1, so l / (L-1)
 * for removal and (l + 1/2) / (L-1) for exchange; 0 is the first layer, 1 the last.
 * Experiments without such an axis (reverse, shuffle, greedy, orders of the user's own) have no label. */
#ifndef STRATA_EXPERIMENTS_LAYER_AXIS_H
#define STRATA_EXPERIMENTS_LAYER_AXIS_H

/* What the axis is called, "removed layer"; NULL: this experiment has none. */
const char *layer_axis_label(const char *experiment);
/* NaN when the name holds no number. */
double layer_axis_place(const char *experiment, const char *order_name);
/* Of a model with n_layers layers; 0 when it has only one. */
double layer_axis_relative(double place, int n_layers);

#endif
