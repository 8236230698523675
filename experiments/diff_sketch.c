/* diff_sketch.c: see diff_sketch.h. */
#include "experiments/diff_sketch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LAST_BIN = SKETCH_BINS + 1 };

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The value of rank r (from 0) by interpolation inside its bin, whose values are taken as evenly spread. */
static double value_at(const Sketch *s, size_t r)
{
    size_t below = 0;
    for (size_t b = 0; b <= LAST_BIN; below += s->as.bin[b++]) {
        if (r >= below + s->as.bin[b])
            continue;
        if (b == 0 || b == LAST_BIN)
            return NAN;
        double inside = ((double)(r - below) + 0.5) / s->as.bin[b];
        return s->lo + s->width * ((double)(b - 1) + inside);
    }
    return NAN;
}

static double middle(float *values, size_t n)
{
    qsort(values, n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : ((double)values[n / 2 - 1] + (double)values[n / 2]) / 2;
}

double diff_sketch_median(const Sketch *s, size_t n, double *bound)
{
    float first[SKETCH_FIRST];
    n = n < SKETCH_MOST ? n : SKETCH_MOST;
    *bound = 0;
    if (n == 0)
        return NAN;
    if (n <= SKETCH_FIRST) {
        memcpy(first, s->as.first, n * sizeof *first);
        return middle(first, n);
    }
    double median = n % 2 ? value_at(s, n / 2) : (value_at(s, n / 2 - 1) + value_at(s, n / 2)) / 2;
    *bound = isnan(median) ? INFINITY : s->width;
    return median;
}

/* Values counted in [centre - r, centre + r], those of a bin taken as evenly spread. */
static double mass_within(const Sketch *s, double centre, double r)
{
    double mass = 0, from = (centre - r - s->lo) / s->width, to = (centre + r - s->lo) / s->width;
    for (size_t b = 1; b < LAST_BIN; b++) {
        double lo = from > (double)(b - 1) ? from : (double)(b - 1), hi = to < (double)b ? to : (double)b;
        mass += hi > lo ? (hi - lo) * s->as.bin[b] : 0;
    }
    return mass;
}

double diff_sketch_deviation(const Sketch *s, size_t n, double centre, double *bound)
{
    float first[SKETCH_FIRST];
    n = n < SKETCH_MOST ? n : SKETCH_MOST;
    *bound = 0;
    if (n == 0)
        return NAN;
    if (n <= SKETCH_FIRST) {
        for (size_t i = 0; i < n; i++)
            first[i] = fabsf(s->as.first[i] - (float)centre);
        return middle(first, n);
    }
    double lo = 0, hi = s->width * SKETCH_BINS, half = (double)n / 2;
    *bound = INFINITY;
    if (!(mass_within(s, centre, hi) >= half))
        return NAN;
    for (int i = 0; i < 40; i++) { /* to 1e-10 of the grid's extent */
        double r = (lo + hi) / 2;
        if (mass_within(s, centre, r) < half)
            lo = r;
        else
            hi = r;
    }
    *bound = 2 * s->width;
    return hi;
}
