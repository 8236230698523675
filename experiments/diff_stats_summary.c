/* diff_stats_summary.c: what is said about many cells at once: cross-fitting, contrasts, the random bases; see diff_stats.h. */
#include <math.h>
#include <stdlib.h>

#include "experiments/diff_stats.h"
#include "experiments/statistics.h"

typedef struct Scored {
    double ratio;
    size_t cell;
} Scored;

static int by_ratio(const void *a, const void *b)
{
    const Scored *x = a, *y = b;
    if (x->ratio > y->ratio || x->ratio < y->ratio)
        return x->ratio > y->ratio ? 1 : -1;
    return (x->cell > y->cell) - (x->cell < y->cell);
}

int diff_stats_crossfit(const double *ratio, const double *upper, size_t n_cells, size_t n_best, DiffStatsCrossfit *out,
                        Error *e)
{
    *out = (DiffStatsCrossfit){0};
    Scored *order = calloc(n_cells ? n_cells : 1, sizeof *order);
    if (!order)
        return error_set(e, STATUS_FAILED, "cross-fitting: no memory for %zu cells", n_cells);
    for (size_t half = 0; half < 2; half++) {
        size_t n = 0;
        for (size_t i = 0; i < n_cells; i++)
            if (isfinite(ratio[2 * i]) && isfinite(ratio[2 * i + 1]))
                order[n++] = (Scored){ratio[2 * i + half], i};
        qsort(order, n, sizeof *order, by_ratio);
        for (size_t k = 0; k < n && k < n_best; k++) {
            size_t other = 2 * order[k].cell + 1 - half;
            out->n_chosen++;
            out->chosen_ratio += order[k].ratio;
            out->scored_ratio += ratio[other];
            out->n_below += ratio[other] < DIFF_STATS_RATIO;
            out->n_bound_below += upper[other] < DIFF_STATS_RATIO;
        }
    }
    out->chosen_ratio /= (double)out->n_chosen; /* NaN when none */
    out->scored_ratio /= (double)out->n_chosen;
    free(order);
    return STATUS_OK;
}

DiffStatsContrast diff_stats_contrast(const DiffStatsTerm *terms, size_t n)
{
    DiffStatsContrast c = {NAN, NAN, NAN, NAN, NAN, NAN};
    double asked[2] = {0, 0}, there[2] = {0, 0}, sum = 0, square = 0, fourth = 0;
    for (size_t i = 0; i < n; i++) {
        bool usable = isfinite(terms[i].ratio) && isfinite(terms[i].se) && terms[i].df > 0;
        asked[terms[i].weight < 0] += terms[i].weight;
        there[terms[i].weight < 0] += usable ? terms[i].weight : 0;
    }
    for (size_t i = 0; i < n; i++) {
        int side = terms[i].weight < 0;
        if (!isfinite(terms[i].ratio) || !isfinite(terms[i].se) || !(terms[i].df > 0))
            continue;
        double w = terms[i].weight * asked[side] / there[side], v = w * w * terms[i].se * terms[i].se;
        sum += w * terms[i].ratio;
        square += v;
        fourth += v * v / terms[i].df;
    }
    for (int side = 0; side < 2; side++)
        if (fabs(asked[side]) > 0 && !(fabs(there[side]) > 0))
            return c;
    if (!(square > 0))
        return c;
    c.difference = sum;
    c.se = sqrt(square);
    c.df = square * square / fourth;
    double half = -statistics_t_quantile(0.025, c.df) * c.se;
    c.lo = sum - half;
    c.hi = sum + half;
    c.p = 2 * statistics_t_cdf(-fabs(sum) / c.se, c.df);
    return c;
}

DiffStatsContrast diff_stats_contrast_between(const DiffStatsContrast *least, const DiffStatsContrast *most)
{
    DiffStatsContrast c = {NAN, NAN, NAN, NAN, NAN, NAN};
    if (!isfinite(least->difference) || !isfinite(most->difference))
        return c;
    c = least->se > most->se ? *least : *most;
    c.difference = (least->difference + most->difference) / 2;
    c.lo = least->lo;
    c.hi = most->hi;
    double p_more = statistics_t_cdf(-least->difference / least->se, least->df),
           p_less = statistics_t_cdf(most->difference / most->se, most->df);
    c.p = fmin(1, 2 * fmin(p_more, p_less));
    return c;
}

DiffStatsRotation diff_stats_rotation(double count, const double *random, size_t n)
{
    DiffStatsRotation r = {n, count, NAN, NAN, NAN, NAN, NAN, NAN};
    double sum = 0, squares = 0, as_many = 0, as_few = 0;
    for (size_t i = 0; i < n; i++) {
        sum += random[i];
        as_many += random[i] >= count;
        as_few += random[i] <= count;
        r.least = fmin(r.least, random[i]); /* fmin takes the number beside a NaN */
        r.most = fmax(r.most, random[i]);
    }
    if (n == 0)
        return r;
    r.mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (random[i] - r.mean) * (random[i] - r.mean);
    r.sd = n > 1 ? sqrt(squares / (double)(n - 1)) : NAN;
    r.p_more = (1 + as_many) / ((double)n + 1);
    r.p_fewer = (1 + as_few) / ((double)n + 1);
    return r;
}

double diff_stats_set_p(double chosen, const double *random, size_t n)
{
    double mean = chosen / (double)(n + 1), as_far = 1;
    for (size_t i = 0; i < n; i++)
        mean += random[i] / (double)(n + 1);
    double distance = fabs(chosen - mean), rounding = 1e-12 * (fabs(mean) + fabs(chosen)); /* equal values are ties */
    for (size_t i = 0; i < n; i++)
        as_far += fabs(random[i] - mean) >= distance - rounding;
    return isfinite(mean) && n > 0 ? as_far / (double)(n + 1) : NAN;
}
