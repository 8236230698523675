/* statistics.c: the paired bootstrap and rank correlations; formulas and draw order in statistics.h.
 *
 * Work is tiled twice. Contrasts go in groups whose draws fit GROUP_BYTES; for each group the counts are drawn anew from the same
 * seed (cheap), a tile of resamples at a time, and multiplied with the sums of the ratios the group needs. */
#include "experiments/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/rng.h"

enum { TILE = 64, GROUP_BYTES = 32 << 20 };

double statistics_quantile(const double *x, size_t n, double q)
{
    double at = (double)(n - 1) * q;
    size_t i = (size_t)at;
    if (i + 1 >= n)
        return x[n - 1];
    return x[i] + (at - (double)i) * (x[i + 1] - x[i]);
}

/* x[k] as if x were sorted, after which nothing before k is greater and nothing behind it smaller (Hoare's FIND, 1961). */
static double select_kth(double *x, size_t n, size_t k)
{
    ptrdiff_t lo = 0, hi = (ptrdiff_t)n - 1, at = (ptrdiff_t)k;
    while (lo < hi) {
        double pivot = x[at];
        ptrdiff_t i = lo, j = hi;
        do {
            while (x[i] < pivot)
                i++;
            while (pivot < x[j])
                j--;
            if (i <= j) {
                double kept = x[i];
                x[i++] = x[j];
                x[j--] = kept;
            }
        } while (i <= j);
        if (j < at)
            lo = i;
        if (at < i)
            hi = j;
    }
    return x[at];
}

/* statistics_quantile of an unsorted array, which it reorders. */
static double quantile_of(double *x, size_t n, double q)
{
    double at = (double)(n - 1) * q;
    size_t i = (size_t)at;
    if (i + 1 >= n)
        return select_kth(x, n, n - 1);
    double low = select_kth(x, n, i), high = x[i + 1];
    for (size_t k = i + 2; k < n; k++)
        high = x[k] < high ? x[k] : high;
    return low + (at - (double)i) * (high - low);
}

/* Rows of the caller, [n_units] each, times one tile of counts [n_units, TILE]: out[k][r] = sum over units of counts[u][r] *
 * rows[k][u], units ascending in every lane. Four rows by four lanes at a time stay in registers. */
typedef double Lanes __attribute__((vector_size(32)));
enum { ROWS = 4, LANES = (int)(sizeof(Lanes) / sizeof(double)) };

static void multiply_rows(const double *const rows[ROWS], const double *counts, size_t n_units, double *const out[ROWS])
{
    for (size_t r = 0; r < TILE; r += LANES) {
        Lanes a = {0}, b = {0}, c = {0}, d = {0};
        for (size_t u = 0; u < n_units; u++) {
            Lanes n;
            memcpy(&n, counts + u * TILE + r, sizeof n);
            a += n * rows[0][u];
            b += n * rows[1][u];
            c += n * rows[2][u];
            d += n * rows[3][u];
        }
        memcpy(out[0] + r, &a, sizeof a);
        memcpy(out[1] + r, &b, sizeof b);
        memcpy(out[2] + r, &c, sizeof c);
        memcpy(out[3] + r, &d, sizeof d);
    }
}

/* Rows of a matrix [n_rows, n_units] that are needed (NULL: all), into out [n_rows, TILE]. */
static void multiply(const double *matrix, size_t n_rows, const unsigned char *needed, const double *counts, size_t n_units,
                     double *out)
{
    const double *rows[ROWS];
    double *outs[ROWS], spare[TILE];
    int n = 0;
    for (size_t k = 0; k < n_rows; k++) {
        if (needed && !needed[k])
            continue;
        rows[n] = matrix + k * n_units;
        outs[n++] = out + k * TILE;
        if (n == ROWS) {
            multiply_rows(rows, counts, n_units, outs);
            n = 0;
        }
    }
    for (int i = n; n && i < ROWS; i++) {
        rows[i] = rows[0];
        outs[i] = spare;
    }
    if (n)
        multiply_rows(rows, counts, n_units, outs);
}

typedef struct Work {
    double *counts;       /* [n_units, TILE] */
    double *numerators;   /* [n_numerators, TILE]: only rows that the group needs are current */
    double *ratios;       /* [n_ratios, TILE]: likewise */
    double *denominators; /* [n_denominators, TILE] */
    double *draws;        /* [group, n_resamples] */
    double *draws_kept;   /* [n_resamples]: the finite ones of one contrast */
    double *max_t;        /* [n_families, n_resamples] */
    double *estimates;    /* [n_ratios] */
    double *max_t_quantile;
    unsigned char *needed;           /* [n_ratios] */
    unsigned char *needed_numerator; /* [n_numerators] */
    unsigned char *enough;           /* [n_denominators]: positive in STATISTICS_MIN_UNITS units */
    size_t n_resamples, group, n_families, n_numerators;
} Work;

static size_t denominator_of(const StatisticsBootstrap *in, size_t ratio)
{
    return in->denominator_of ? in->denominator_of[ratio] : 0;
}

static size_t numerator_of(const StatisticsBootstrap *in, size_t ratio)
{
    return in->numerator_of ? in->numerator_of[ratio] : ratio;
}

static double contrast_value(const StatisticsContrast *c, const double *ratios, size_t stride)
{
    double sum = 0;
    for (size_t k = 0; k < c->n_terms; k++)
        sum += c->terms[k].weight * ratios[c->terms[k].ratio * stride];
    return sum;
}

static void draw_counts(Rng *rng, size_t n_units, size_t n_rows, double *counts)
{
    memset(counts, 0, n_units * TILE * sizeof *counts);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t k = 0; k < n_units; k++)
            counts[rng_below(rng, n_units) * TILE + r] += 1;
}

/* draws[i][r] of contrasts [first, first + n). */
static void draw_group(const StatisticsBootstrap *in, Work *w, size_t first, size_t n)
{
    memset(w->needed, 0, in->n_ratios);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < in->contrasts[first + i].n_terms; k++)
            w->needed[in->contrasts[first + i].terms[k].ratio] = 1;
    memset(w->needed_numerator, 0, w->n_numerators);
    for (size_t s = 0; s < in->n_ratios; s++)
        if (w->needed[s])
            w->needed_numerator[numerator_of(in, s)] = 1;
    Rng rng;
    rng_seed(&rng, in->seed, STATISTICS_STREAM);
    for (size_t begin = 0; begin < w->n_resamples; begin += TILE) {
        size_t rows = w->n_resamples - begin < TILE ? w->n_resamples - begin : TILE;
        draw_counts(&rng, in->n_units, rows, w->counts);
        multiply(in->denominators, in->n_denominators, NULL, w->counts, in->n_units, w->denominators);
        multiply(in->numerators, w->n_numerators, w->needed_numerator, w->counts, in->n_units, w->numerators);
        for (size_t s = 0; s < in->n_ratios; s++) {
            const double *above = w->numerators + numerator_of(in, s) * TILE;
            const double *below = w->denominators + denominator_of(in, s) * TILE;
            for (size_t r = 0; w->needed[s] && r < rows; r++)
                w->ratios[s * TILE + r] = above[r] / below[r]; /* 0 / 0 is NaN: left out later */
        }
        for (size_t i = 0; i < n; i++)
            for (size_t r = 0; r < rows; r++)
                w->draws[i * w->n_resamples + begin + r] = contrast_value(&in->contrasts[first + i], w->ratios + r, TILE);
    }
}

static void summarise(const StatisticsBootstrap *in, Work *w, size_t index, const double *draws, StatisticsInterval *out)
{
    const StatisticsContrast *c = &in->contrasts[index];
    double estimate = contrast_value(c, w->estimates, 1);
    *out = (StatisticsInterval){estimate, NAN, NAN, NAN, NAN, NAN};
    for (size_t k = 0; k < c->n_terms; k++)
        if (!w->enough[denominator_of(in, c->terms[k].ratio)])
            return;
    size_t n = 0;
    double mean = 0, squares = 0;
    for (size_t r = 0; r < w->n_resamples; r++)
        if (isfinite(draws[r])) {
            w->draws_kept[n++] = draws[r];
            mean += draws[r];
        }
    if (!isfinite(estimate) || n < 2 || (w->n_resamples - n) * 100 > w->n_resamples)
        return;
    mean /= (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (w->draws_kept[i] - mean) * (w->draws_kept[i] - mean);
    out->se = sqrt(squares / (double)(n - 1));
    out->lo = quantile_of(w->draws_kept, n, 0.025);
    out->hi = quantile_of(w->draws_kept, n, 0.975);
    if (!(out->se > 0))
        return;
    double *max_t = w->max_t + c->family * w->n_resamples;
    for (size_t r = 0; r < w->n_resamples; r++) {
        double t = fabs(draws[r] - estimate) / out->se;
        if (t > max_t[r]) /* false for a draw that is not finite */
            max_t[r] = t;
    }
}

static int check(const StatisticsBootstrap *in, size_t *n_families, Error *e)
{
    *n_families = 0;
    if (in->n_units == 0 || in->n_ratios == 0 || in->n_denominators == 0)
        return error_set(e, STATUS_FAILED, "bootstrap: expected at least one unit, ratio and denominator, found %zu, %zu, %zu",
                         in->n_units, in->n_ratios, in->n_denominators);
    for (size_t s = 0; s < in->n_ratios; s++)
        if (in->numerator_of && in->numerator_of[s] >= in->n_numerators)
            return error_set(e, STATUS_FAILED, "bootstrap: ratio %zu names numerator %zu of %zu", s, in->numerator_of[s],
                             in->n_numerators);
    for (size_t s = 0; s < in->n_ratios; s++)
        if (denominator_of(in, s) >= in->n_denominators)
            return error_set(e, STATUS_FAILED, "bootstrap: ratio %zu names denominator %zu of %zu", s, denominator_of(in, s),
                             in->n_denominators);
    for (size_t i = 0; i < in->n_contrasts; i++) {
        const StatisticsContrast *c = &in->contrasts[i];
        if (c->n_terms == 0 || c->n_terms > STATISTICS_TERMS || c->family >= in->n_contrasts)
            return error_set(e, STATUS_FAILED, "bootstrap: contrast %zu: %zu terms, family %zu", i, c->n_terms, c->family);
        for (size_t k = 0; k < c->n_terms; k++)
            if (c->terms[k].ratio >= in->n_ratios)
                return error_set(e, STATUS_FAILED, "bootstrap: contrast %zu names ratio %zu of %zu", i, c->terms[k].ratio,
                                 in->n_ratios);
        if (c->family + 1 > *n_families)
            *n_families = c->family + 1;
    }
    return STATUS_OK;
}

static void *take(size_t a, size_t b, size_t elem)
{
    size_t n = 0;
    return checked_mul(a, b, &n) ? calloc(n ? n : 1, elem) : NULL;
}

static void work_free(Work *w)
{
    free(w->counts);
    free(w->numerators);
    free(w->ratios);
    free(w->needed_numerator);
    free(w->denominators);
    free(w->draws);
    free(w->draws_kept);
    free(w->max_t);
    free(w->estimates);
    free(w->max_t_quantile);
    free(w->needed);
    free(w->enough);
}

static int work_take(const StatisticsBootstrap *in, Work *w, Error *e)
{
    size_t most = GROUP_BYTES / sizeof(double) / w->n_resamples;
    w->group = most < 1 ? 1 : most < in->n_contrasts ? most : in->n_contrasts;
    w->counts = take(in->n_units, TILE, sizeof(double));
    w->n_numerators = in->numerator_of ? in->n_numerators : in->n_ratios;
    w->numerators = take(w->n_numerators, TILE, sizeof(double));
    w->ratios = take(in->n_ratios, TILE, sizeof(double));
    w->denominators = take(in->n_denominators, TILE, sizeof(double));
    w->draws = take(w->group, w->n_resamples, sizeof(double));
    w->draws_kept = take(w->n_resamples, 1, sizeof(double));
    w->max_t = take(w->n_families, w->n_resamples, sizeof(double));
    w->estimates = take(in->n_ratios, 1, sizeof(double));
    w->max_t_quantile = take(w->n_families, 1, sizeof(double));
    w->needed = take(in->n_ratios, 1, 1);
    w->needed_numerator = take(w->n_numerators, 1, 1);
    w->enough = take(in->n_denominators, 1, 1);
    if (w->counts && w->numerators && w->ratios && w->needed_numerator && w->denominators && w->draws && w->draws_kept &&
        w->max_t && w->estimates && w->max_t_quantile && w->needed && w->enough)
        return STATUS_OK;
    return error_set(e, STATUS_FAILED, "bootstrap: no memory for %zu units, %zu ratios, %zu resamples", in->n_units,
                     in->n_ratios, w->n_resamples);
}

int statistics_bootstrap(const StatisticsBootstrap *in, StatisticsInterval *out, Error *e)
{
    Work w = {.n_resamples = in->n_resamples ? in->n_resamples : STATISTICS_RESAMPLES};
    int status = check(in, &w.n_families, e);
    if (status)
        return status;
    status = work_take(in, &w, e);
    if (status)
        goto done;
    for (size_t d = 0; d < in->n_denominators; d++) {
        size_t n_positive = 0;
        for (size_t u = 0; u < in->n_units; u++)
            n_positive += in->denominators[d * in->n_units + u] > 0;
        w.enough[d] = n_positive >= STATISTICS_MIN_UNITS;
    }
    for (size_t s = 0; s < in->n_ratios; s++)
        w.estimates[s] = statistics_sum_of(in->numerators + numerator_of(in, s) * in->n_units, in->n_units) /
                         statistics_sum_of(in->denominators + denominator_of(in, s) * in->n_units, in->n_units);
    for (size_t first = 0; first < in->n_contrasts; first += w.group) {
        size_t n = in->n_contrasts - first < w.group ? in->n_contrasts - first : w.group;
        draw_group(in, &w, first, n);
        for (size_t i = 0; i < n; i++)
            summarise(in, &w, first + i, w.draws + i * w.n_resamples, &out[first + i]);
    }
    for (size_t f = 0; f < w.n_families; f++) {
        double *max_t = w.max_t + f * w.n_resamples;
        w.max_t_quantile[f] = quantile_of(max_t, w.n_resamples, 0.95);
    }
    for (size_t i = 0; i < in->n_contrasts; i++) {
        double half = w.max_t_quantile[in->contrasts[i].family] * out[i].se; /* NaN without an interval, 0 for se = 0 */
        out[i].lo_simultaneous = out[i].estimate - half;
        out[i].hi_simultaneous = out[i].estimate + half;
    }
done:
    work_free(&w);
    return status;
}

int statistics_paired_deltas(const double *nll, size_t n_series, const double *tokens, size_t n_units, size_t n_resamples,
                             uint64_t seed, StatisticsInterval *out, Error *e)
{
    if (n_series < 2)
        return STATUS_OK;
    StatisticsContrast *contrasts = take(n_series - 1, 1, sizeof *contrasts);
    if (!contrasts)
        return error_set(e, STATUS_FAILED, "bootstrap: no memory for %zu contrasts", n_series - 1);
    for (size_t i = 0; i + 1 < n_series; i++)
        contrasts[i] = (StatisticsContrast){.n_terms = 2, .terms = {{i + 1, 1.0}, {0, -1.0}}};
    StatisticsBootstrap in = {.n_units = n_units,
                              .n_ratios = n_series,
                              .n_denominators = 1,
                              .n_contrasts = n_series - 1,
                              .n_resamples = n_resamples,
                              .seed = seed,
                              .numerators = nll,
                              .denominators = tokens,
                              .contrasts = contrasts};
    int status = statistics_bootstrap(&in, out, e);
    free(contrasts);
    return status;
}

static int all_finite(const double *x, const double *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]) || !isfinite(y[i]))
            return 0;
    return 1;
}

double statistics_spearman(const double *x, const double *y, size_t n)
{
    if (n < 2 || !all_finite(x, y, n))
        return NAN;
    double *a = take(n, 2, sizeof *a);
    if (!a)
        return NAN;
    double *b = a + n, middle = ((double)n + 1) / 2, ab = 0, aa = 0, bb = 0;
    if (statistics_ranks(x, n, a, NULL) || statistics_ranks(y, n, b, NULL)) {
        free(a);
        return NAN;
    }
    for (size_t i = 0; i < n; i++) {
        ab += (a[i] - middle) * (b[i] - middle);
        aa += (a[i] - middle) * (a[i] - middle);
        bb += (b[i] - middle) * (b[i] - middle);
    }
    free(a);
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : NAN;
}

double statistics_kendall(const double *x, const double *y, size_t n)
{
    if (n < 2 || !all_finite(x, y, n))
        return NAN;
    double agree = 0, x_pairs = 0, y_pairs = 0; /* pairs in order, pairs untied in x, in y */
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) {
            int a = (x[i] > x[j]) - (x[i] < x[j]), b = (y[i] > y[j]) - (y[i] < y[j]);
            agree += a * b;
            x_pairs += a != 0;
            y_pairs += b != 0;
        }
    return x_pairs > 0 && y_pairs > 0 ? agree / sqrt(x_pairs * y_pairs) : NAN;
}
