/* diff_sketch.c: see diff_sketch.h. */
#include "experiments/diff_sketch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LAST_BIN = DIFF_SKETCH_BINS + 1 };

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static size_t bin_of(const DiffSketch *s, float value)
{
    float at = (value - s->lo) / s->width;
    if (!(at >= 0)) /* NaN counts as small */
        return 0;
    return at < (float)DIFF_SKETCH_BINS ? 1 + (size_t)at : LAST_BIN;
}

static void lay_grid(DiffSketch *s, int trim)
{
    float first[DIFF_SKETCH_FIRST];
    memcpy(first, s->as.first, sizeof first);
    qsort(first, DIFF_SKETCH_FIRST, sizeof *first, by_value);
    float lo = first[trim], hi = first[DIFF_SKETCH_FIRST - 1 - trim];
    s->lo = lo;
    s->width = (hi - lo) * (1 + 1e-6f) / (float)DIFF_SKETCH_BINS;
    if (!(s->width > 0)) /* all alike: a bin around them */
        s->width = fabsf(lo) > 0 ? fabsf(lo) * 1e-6f : 1e-30f;
    memset(s->as.bin, 0, sizeof s->as.bin);
    for (size_t i = 0; i < DIFF_SKETCH_FIRST; i++)
        s->as.bin[bin_of(s, first[i])]++;
}

void diff_sketch_add(DiffSketch *s, size_t n, int trim, float value)
{
    if (n < DIFF_SKETCH_FIRST) {
        s->as.first[n] = value;
        return;
    }
    if (n >= DIFF_SKETCH_MOST)
        return;
    if (n == DIFF_SKETCH_FIRST)
        lay_grid(s, trim);
    s->as.bin[bin_of(s, value)]++;
}

/* The value of rank r (from 0) by interpolation inside its bin, whose values are taken as evenly spread. */
static double value_at(const DiffSketch *s, size_t r)
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

double diff_sketch_median(const DiffSketch *s, size_t n, double *bound)
{
    float first[DIFF_SKETCH_FIRST];
    n = n < DIFF_SKETCH_MOST ? n : DIFF_SKETCH_MOST;
    *bound = 0;
    if (n == 0)
        return NAN;
    if (n <= DIFF_SKETCH_FIRST) {
        memcpy(first, s->as.first, n * sizeof *first);
        return middle(first, n);
    }
    double median = n % 2 ? value_at(s, n / 2) : (value_at(s, n / 2 - 1) + value_at(s, n / 2)) / 2;
    *bound = isnan(median) ? INFINITY : s->width;
    return median;
}

/* Values counted in [centre - r, centre + r], those of a bin taken as evenly spread. */
static double mass_within(const DiffSketch *s, double centre, double r)
{
    double mass = 0, from = (centre - r - s->lo) / s->width, to = (centre + r - s->lo) / s->width;
    for (size_t b = 1; b < LAST_BIN; b++) {
        double lo = from > (double)(b - 1) ? from : (double)(b - 1), hi = to < (double)b ? to : (double)b;
        mass += hi > lo ? (hi - lo) * s->as.bin[b] : 0;
    }
    return mass;
}

double diff_sketch_deviation(const DiffSketch *s, size_t n, double centre, double *bound)
{
    float first[DIFF_SKETCH_FIRST];
    n = n < DIFF_SKETCH_MOST ? n : DIFF_SKETCH_MOST;
    *bound = 0;
    if (n == 0)
        return NAN;
    if (n <= DIFF_SKETCH_FIRST) {
        for (size_t i = 0; i < n; i++)
            first[i] = fabsf(s->as.first[i] - (float)centre);
        return middle(first, n);
    }
    double lo = 0, hi = s->width * DIFF_SKETCH_BINS, half = (double)n / 2;
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
