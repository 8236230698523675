/* diff_sketch.h: the median of a stream of numbers in 264 bytes, however many come.
 *
 * The first DIFF_SKETCH_FIRST values are kept as they are. When one more comes, a grid is laid once and for all: DIFF_SKETCH_BINS equal
 * bins between the (trim+1)-th smallest and the (trim+1)-th largest of the values kept, and one open bin at each side; from then
 * on values are counted. So up to DIFF_SKETCH_FIRST values the median is exact, and beyond it lies in the same bin as the true one: it is off
 * by at most one width of a bin, which diff_sketch_median tells. Where the true median falls into an open bin the bound is
 * infinite and the answer NaN; values must come in random order, then with trim 8 this happens with a probability below 1e-9
 * (at most 8 of 64 below the true median: the binomial tail). Counts end at 65535: later values are left out, by the caller's order at random.
 *
 * Equal to numpy.median in which value it is (the mean of both middle ones where their number is even), by interpolation inside a bin. */
#ifndef STRATA_EXPERIMENTS_DIFF_SKETCH_H
#define STRATA_EXPERIMENTS_DIFF_SKETCH_H

#include <stddef.h>
#include <stdint.h>

enum { DIFF_SKETCH_FIRST = 64, DIFF_SKETCH_BINS = 126, DIFF_SKETCH_MOST = 65535, DIFF_SKETCH_TRIM = 8 };

typedef struct DiffSketch {
    float lo, width;
    union {
        float first[DIFF_SKETCH_FIRST];
        uint16_t bin[DIFF_SKETCH_BINS + 2]; /* 0 and the last: open */
    } as;
} DiffSketch;

/* n: values that came before; a zeroed sketch holds none. trim: DIFF_SKETCH_TRIM, or less for a wider grid. */
void diff_sketch_add(DiffSketch *s, size_t n, int trim, float value);
/* Of the n values that came; NaN for none. *bound: the most it can be off. */
double diff_sketch_median(const DiffSketch *s, size_t n, double *bound);
/* The median of |x - centre|, likewise, its bound that of two widths. */
double diff_sketch_deviation(const DiffSketch *s, size_t n, double centre, double *bound);

#endif
