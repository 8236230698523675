/* diff_sketch.h: what a sketch (kernels/sketch.h) tells: the median of a stream of numbers, and the median deviation from a centre.
 *
 * Up to SKETCH_FIRST values the median is exact, and beyond it lies in the same bin as the true one: it is off by at most one width of a
 * bin, which diff_sketch_median tells. Where the true median falls into an open bin the bound is infinite and the answer NaN; values must
 * come in random order, then with trim 8 this happens with a probability below 1e-9 (at most 8 of 64 below the true median: the
 * binomial tail). Values beyond SKETCH_MOST are left out, by the caller's order at random.
 *
 * Equal to numpy.median in which value it is (the mean of both middle ones where their number is even), by interpolation inside a bin. */
#ifndef STRATA_EXPERIMENTS_DIFF_SKETCH_H
#define STRATA_EXPERIMENTS_DIFF_SKETCH_H

#include "kernels/sketch.h"

/* Of the n values that came; NaN for none. *bound: the most it can be off. */
double diff_sketch_median(const Sketch *s, size_t n, double *bound);
/* The median of |x - centre|, likewise, its bound that of two widths. */
double diff_sketch_deviation(const Sketch *s, size_t n, double centre, double *bound);

#endif
