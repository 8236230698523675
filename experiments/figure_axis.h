/* figure_axis.h: how values become positions, and where ticks stand. */
#ifndef STRATA_EXPERIMENTS_FIGURE_AXIS_H
#define STRATA_EXPERIMENTS_FIGURE_AXIS_H

#include <stdbool.h>
#include <stddef.h>

#include "experiments/figure.h"

enum { FIGURE_MAX_TICKS = 64 };

typedef struct FigureTick {
    double value;
    char text[24];
} FigureTick;

typedef struct FigureRange {
    FigureScale scale; /* never AUTO */
    double linear_to;  /* of SYMLOG: t in asinh(v / t) */
    double min, max;   /* what the axis spans, in values */
    FigureTick ticks[FIGURE_MAX_TICKS];
    size_t n_ticks;
} FigureRange;

/* Spans the finite ones of values (for LOG the positive ones) with a margin of 4 % of the length, and sets ticks at 1, 2 or 5
 * times a power of ten, at most max_ticks. include_zero widens the span to 0. */
void figure_range(FigureRange *r, FigureScale scale, bool integers, bool include_zero, double *values, size_t n, int max_ticks);

/* 0 at min, 1 at max, on the scale. */
double figure_position(const FigureRange *r, double value);

/* "0.05", "1000", "1e6"; with a true minus sign. */
void figure_number(double value, char out[24]);

#endif
