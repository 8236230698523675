/* figure_axis.c: see figure_axis.h. */
#include "experiments/figure_axis.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void figure_number(double value, char out[24])
{
    char text[20];
    double size = fabs(value);
    if (size >= 1e5 || (size > 0 && size < 1e-4)) {
        snprintf(text, sizeof text, "%.0e", value); /* ticks have one digit: "2e+06" */
        char *sign = strchr(text, 'e') + 1;
        int exponent = atoi(sign);
        snprintf(sign, 6, "%d", exponent);
    } else {
        snprintf(text, sizeof text, "%.6g", value);
    }
    if (text[0] == '-')
        snprintf(out, 24, "\xe2\x88\x92%s", text + 1);
    else
        snprintf(out, 24, "%s", text);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double forward(const FigureRange *r, double v)
{
    switch (r->scale) {
    case FIGURE_SCALE_LOG:
        return log10(v);
    case FIGURE_SCALE_SYMLOG:
        return asinh(v / r->linear_to);
    case FIGURE_SCALE_LINEAR:
    case FIGURE_SCALE_AUTO:
        break;
    }
    return v;
}

static double backward(const FigureRange *r, double p)
{
    switch (r->scale) {
    case FIGURE_SCALE_LOG:
        return pow(10, p);
    case FIGURE_SCALE_SYMLOG:
        return sinh(p) * r->linear_to;
    case FIGURE_SCALE_LINEAR:
    case FIGURE_SCALE_AUTO:
        break;
    }
    return p;
}

double figure_position(const FigureRange *r, double value)
{
    double a = forward(r, r->min), b = forward(r, r->max);
    return (forward(r, value) - a) / (b - a);
}

static void add_tick(FigureRange *r, double value)
{
    double p = figure_position(r, value);
    if (r->n_ticks == FIGURE_MAX_TICKS || !(p >= -1e-9 && p <= 1 + 1e-9))
        return;
    FigureTick *t = &r->ticks[r->n_ticks++];
    t->value = value;
    figure_number(value, t->text);
}

static void linear_ticks(FigureRange *r, bool integers, int max_ticks)
{
    double span = r->max - r->min, step = pow(10, floor(log10(span / max_ticks)) - 1);
    static const double steps[] = {1, 2, 5};
    for (int k = 0;; k++) {
        double s = step * steps[k % 3] * pow(10, (double)(k / 3));
        if (integers && s < 1)
            continue;
        if (floor(r->max / s + 1e-9) - ceil(r->min / s - 1e-9) + 1 <= max_ticks) {
            for (double i = ceil(r->min / s - 1e-9); i <= floor(r->max / s + 1e-9); i++)
                add_tick(r, i == 0 ? 0 : i * s); /* never -0 */
            return;
        }
    }
}

/* Powers of ten, every decade or every n-th; between them 2 and 5 where there is room. */
static void log_ticks(FigureRange *r, int max_ticks)
{
    double decades = log10(r->max / r->min), first = floor(log10(r->min)), every = 1;
    while (floor(decades / every) + 1 > max_ticks)
        every++;
    bool between = decades < 1 || 3 * decades <= max_ticks;
    for (double k = floor(first / every) * every; k <= log10(r->max); k += every) {
        add_tick(r, pow(10, k));
        if (between) {
            add_tick(r, 2 * pow(10, k));
            add_tick(r, 5 * pow(10, k));
        }
    }
}

/* 0 and powers of ten from the linear part outwards, both signs, as many as keep a distance of a (max_ticks + 1)-th. */
static void symlog_ticks(FigureRange *r, int max_ticks)
{
    double gap = 0.9 / max_ticks, zero = figure_position(r, 0);
    if (r->min <= 0 && r->max >= 0)
        add_tick(r, 0);
    for (int sign = 1; sign >= -1; sign -= 2) {
        double last = zero;
        for (int k = -1; k < 40; k++) {
            double v = sign * r->linear_to * pow(10, k);
            if (v < r->min || v > r->max)
                continue;
            double p = figure_position(r, v);
            if (fabs(p - last) >= gap) {
                add_tick(r, v);
                last = p;
            }
        }
        /* The far end often lies well inside a decade: twice or five times the last power tells where. */
        double end = sign > 0 ? r->max : r->min;
        for (double m = 5; m >= 2; m -= 3) {
            double v = sign * m * pow(10, floor(log10(fabs(end) + 1e-300)));
            if (v <= r->max && v >= r->min && fabs(figure_position(r, v) - last) >= gap) {
                add_tick(r, v);
                break;
            }
        }
    }
}

void figure_range(FigureRange *r, FigureScale scale, bool integers, bool include_zero, double *values, size_t n, int max_ticks)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(values[i]) && (scale != FIGURE_SCALE_LOG || values[i] > 0))
            values[kept++] = values[i];
    qsort(values, kept, sizeof *values, compare_doubles);
    double min = kept ? values[0] : scale == FIGURE_SCALE_LOG ? 1 : 0, max = kept ? values[kept - 1] : 1;
    for (size_t i = 0; i < kept; i++)
        values[i] = fabs(values[i]);
    qsort(values, kept, sizeof *values, compare_doubles);
    double median = kept ? values[kept / 2] : 1, largest = kept ? values[kept - 1] : 1;
    if (scale == FIGURE_SCALE_AUTO)
        scale = median > 0 && largest > 20 * median ? FIGURE_SCALE_SYMLOG : FIGURE_SCALE_LINEAR;
    *r = (FigureRange){.scale = scale, .linear_to = 1};
    if (scale == FIGURE_SCALE_SYMLOG)
        r->linear_to = pow(10, floor(log10(median > 0 ? median : largest > 0 ? largest : 1)));
    if (include_zero && scale != FIGURE_SCALE_LOG) {
        min = fmin(min, 0);
        max = fmax(max, 0);
        if (!(max > min)) /* counts of nothing: none is below 0 */
            max = 1;
    }
    if (!(max > min)) {
        double room = scale == FIGURE_SCALE_LOG ? 0 : min != 0 ? fabs(min) / 2 : 0.5;
        max = scale == FIGURE_SCALE_LOG ? max * 2 : max + room;
        min = scale == FIGURE_SCALE_LOG ? min / 2 : min - room;
    }
    double a = forward(r, min), b = forward(r, max), margin = 0.04 * (b - a);
    r->min = backward(r, a - margin);
    r->max = backward(r, b + margin);
    if (scale == FIGURE_SCALE_LINEAR)
        linear_ticks(r, integers, max_ticks);
    else if (scale == FIGURE_SCALE_LOG)
        log_ticks(r, max_ticks);
    else
        symlog_ticks(r, max_ticks);
}
