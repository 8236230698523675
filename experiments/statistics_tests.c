/* statistics_tests.c: Student's t, ranks, concordance, false discovery rate; formulas in statistics.h. */
#include <math.h>
#include <stdlib.h>

#include "experiments/statistics.h"

/* I_x(a, b) for x below its turning point (a + 1) / (a + b + 2): x^a (1 - x)^b / (a B(a, b)) times the continued fraction
 * 1 / (1 + d_1 / (1 + d_2 / ...)) of DLMF 8.17.22, evaluated by the modified Lentz method. */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1), f;
    d = 1 / (fabs(d) < tiny ? tiny : d);
    f = d;
    for (int m = 1; m < 10000; m++) {
        double k = m, even = k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k));
        double odd = -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1));
        const double terms[2] = {even, odd};
        double step = 1;
        for (int i = 0; i < 2; i++) {
            d = 1 + terms[i] * d;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = 1 + terms[i] / c;
            c = fabs(c) < tiny ? tiny : c;
            step = c * d;
            f *= step;
        }
        if (fabs(step - 1) < 1e-15)
            break;
    }
    return f * exp(a * log(x) + b * log1p(-x) + lgamma(a + b) - lgamma(a) - lgamma(b)) / a;
}

/* P(T <= -|t|). With x = df / (df + t^2) it is I_x(df/2, 1/2) / 2, small without cancellation. */
static double lower_tail(double t, double df)
{
    double square = t * t, x = df / (df + square), y = square / (df + square), a = df / 2;
    if (isinf(square) || x <= 0)
        return 0;
    if (y <= 0)
        return 0.5;
    return x < (a + 1) / (a + 2.5) ? 0.5 * beta_fraction(a, 0.5, x) : 0.5 * (1 - beta_fraction(0.5, a, y));
}

double statistics_t_cdf(double t, double df)
{
    if (isnan(t) || !(df > 0))
        return NAN;
    double tail = lower_tail(t, df);
    return t <= 0 ? tail : 1 - tail;
}

double statistics_t_quantile(double p, double df)
{
    if (!(p > 0 && p < 1) || !(df > 0))
        return NAN;
    double small = p < 0.5 ? p : 1 - p, lo = 0, hi = 1;
    while (lower_tail(hi, df) > small && hi < 1e300)
        hi *= 2;
    for (int i = 0; i < 200 && hi - lo > 1e-15 * hi; i++) {
        double middle = lo + (hi - lo) / 2;
        if (lower_tail(middle, df) > small)
            lo = middle;
        else
            hi = middle;
    }
    return p < 0.5 ? -hi : p > 0.5 ? hi : 0;
}

typedef struct Ranked {
    double value;
    size_t index;
} Ranked;

static int by_value(const void *a, const void *b)
{
    double x = ((const Ranked *)a)->value, y = ((const Ranked *)b)->value;
    return (x > y) - (x < y);
}

static void rank_with(const double *x, size_t n, Ranked *order, double *rank, double *ties)
{
    double tied = 0;
    for (size_t i = 0; i < n; i++)
        order[i] = (Ranked){x[i], i};
    qsort(order, n, sizeof *order, by_value);
    for (size_t i = 0; i < n;) {
        size_t end = i + 1;
        while (end < n && order[end].value <= order[i].value) /* sorted: equal */
            end++;
        double t = (double)(end - i), mean_rank = (double)i + (t + 1) / 2;
        for (; i < end; i++)
            rank[order[i].index] = mean_rank;
        tied += t * t * t - t;
    }
    if (ties)
        *ties = tied;
}

int statistics_ranks(const double *x, size_t n, double *rank, double *ties)
{
    Ranked *order = calloc(n ? n : 1, sizeof *order);
    if (!order)
        return STATUS_FAILED;
    rank_with(x, n, order, rank, ties);
    free(order);
    return STATUS_OK;
}

static int is_finite_row(const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return 0;
    return 1;
}

double statistics_kendall_w(const double *x, size_t m, size_t n, double *mean_rho)
{
    double w = NAN, used = 0, all_ties = 0, squares = 0, things = (double)n;
    if (mean_rho)
        *mean_rho = NAN;
    Ranked *order = calloc(n ? n : 1, sizeof *order);
    double *rank = calloc(n ? n : 1, sizeof *rank), *sum = calloc(n ? n : 1, sizeof *sum);
    for (size_t j = 0; order && rank && sum && j < m; j++) {
        double ties = 0;
        if (!is_finite_row(x + j * n, n))
            continue;
        rank_with(x + j * n, n, order, rank, &ties);
        for (size_t i = 0; i < n; i++)
            sum[i] += rank[i];
        all_ties += ties;
        used++;
    }
    for (size_t i = 0; sum && i < n; i++) {
        double off = sum[i] - used * (things + 1) / 2;
        squares += off * off;
    }
    double most = used * used * (things * things * things - things) - used * all_ties;
    if (used >= 2 && n >= 2 && most > 0) {
        w = 12 * squares / most;
        if (mean_rho)
            *mean_rho = (used * w - 1) / (used - 1);
    }
    free(order);
    free(rank);
    free(sum);
    return w;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int statistics_fdr(const double *p, size_t n, double level, int any_dependence, StatisticsFdr *out, Error *e)
{
    *out = (StatisticsFdr){.threshold = -1};
    double *sorted = calloc(n ? n : 1, sizeof *sorted), harmonic = 0;
    size_t m = 0;
    if (!sorted)
        return error_set(e, STATUS_FAILED, "false discovery rate: no memory for %zu p values", n);
    for (size_t i = 0; i < n; i++)
        if (!isnan(p[i]))
            sorted[m++] = p[i];
    qsort(sorted, m, sizeof *sorted, ascending);
    for (size_t i = 1; i <= m; i++)
        harmonic += 1 / (double)i;
    double q = any_dependence && m ? level / harmonic : level;
    for (size_t k = m; k > 0; k--)
        if (sorted[k - 1] <= q * (double)k / (double)m) {
            out->threshold = sorted[k - 1];
            out->n_rejected = k;
            break;
        }
    out->n_tested = m;
    free(sorted);
    return STATUS_OK;
}
