/* diff_stats.c: clusters, halves, the cluster-robust ratio of a row; formulas in diff_stats.h.
 *
 * Per coordinate the variances of z = y - r x are quadratic in r, V(r) = yy - 2 r xy + r^2 xx, and so are their three kinds; third
 * moments are cubic. They are summed over clusters for a tile of coordinates at a time, on the stack. */
#include "experiments/diff_stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/rng.h"
#include "experiments/statistics.h"

enum { TILE = 32, ALL = 2, N_WAYS = 3 };

const double diff_stats_margins[DIFF_STATS_MARGINS] = {0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50};

const char *diff_stats_scope_name(DiffStatsScope scope)
{
    static const char *const names[] = {"none", "words", "category"};
    return names[scope];
}

/* ---- clusters ---- */

typedef struct Counted {
    double count;
    size_t index;
} Counted;

static int by_count(const void *a, const void *b)
{
    const Counted *x = a, *y = b;
    if (x->count > y->count || x->count < y->count)
        return x->count > y->count ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static Counted *largest_first(const double *counts, size_t n)
{
    Counted *order = calloc(n ? n : 1, sizeof *order);
    for (size_t i = 0; order && i < n; i++)
        order[i] = (Counted){counts[i], i};
    if (order)
        qsort(order, n, sizeof *order, by_count);
    return order;
}

size_t diff_stats_group(const double *counts, size_t n, size_t max_groups, size_t *group_of)
{
    size_t n_groups = n < max_groups ? n : max_groups;
    if (n_groups == n) {
        for (size_t i = 0; i < n; i++)
            group_of[i] = i;
        return n;
    }
    Counted *order = largest_first(counts, n);
    double *filled = calloc(n_groups ? n_groups : 1, sizeof *filled);
    for (size_t i = 0; order && filled && i < n; i++) {
        size_t least = 0;
        for (size_t k = 1; k < n_groups; k++)
            if (filled[k] < filled[least])
                least = k;
        filled[least] += order[i].count;
        group_of[order[i].index] = least;
    }
    if (!order || !filled)
        n_groups = 0;
    free(order);
    free(filled);
    return n_groups;
}

int diff_stats_split(const double *counts, size_t n, uint64_t seed, unsigned char *half, Error *e)
{
    Counted *order = largest_first(counts, n);
    if (!order)
        return error_set(e, STATUS_FAILED, "halves of templates: no memory for %zu", n);
    Rng rng;
    rng_seed(&rng, seed, DIFF_STATS_STREAM);
    for (size_t i = 0; i < n; i += 2) {
        unsigned char first = (unsigned char)rng_below(&rng, 2);
        half[order[i].index] = first;
        if (i + 1 < n)
            half[order[i + 1].index] = (unsigned char)(1 - first);
    }
    free(order);
    return STATUS_OK;
}

static double jackknife_weight(double n_clusters, double n, double n_cluster)
{
    double rest = n - n_cluster;
    return (n_clusters - 1) / n_clusters / (rest * rest);
}

/* Satterthwaite's degrees of freedom of the jackknife variance. Counts of 0 are no clusters. */
static double effective_df(const double *counts, size_t n, size_t used, double total)
{
    double q = 0, trace = 0, squares = 0;
    for (size_t g = 0; g < n; g++)
        if (counts[g] > 0)
            q += jackknife_weight((double)used, total, counts[g]) * counts[g] * counts[g];
    for (size_t g = 0; g < n; g++)
        for (size_t h = 0; counts[g] > 0 && h < n; h++) {
            double wg = jackknife_weight((double)used, total, counts[g]), wh = jackknife_weight((double)used, total, counts[h]);
            double b = (g == h ? wg : 0) - (wg * counts[g] + wh * counts[h]) / total + q / (total * total);
            trace += g == h ? counts[g] * b : 0;
            squares += counts[g] * counts[h] * b * b;
        }
    return squares > 0 ? trace * trace / squares : NAN;
}

/* The counts of templates, words in one half or in all; out has room for either. */
static void counts_of(const DiffStatsDesign *d, int part, bool words, double *out)
{
    for (size_t g = 0; !words && g < d->n_templates; g++)
        out[g] = part == ALL || d->half[g] == part ? d->n_template[g] : 0;
    for (size_t h = 0; words && h < d->n_words; h++)
        out[h] = part == ALL ? d->n_word[h] + d->n_word[d->n_words + h] : d->n_word[(size_t)part * d->n_words + h];
}

static size_t count_used(const double *counts, size_t n)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++)
        used += counts[i] > 0;
    return used;
}

int diff_stats_design_init(DiffStatsDesign *d, Error *e)
{
    size_t most = d->n_templates > d->n_words ? d->n_templates : d->n_words;
    double *counts = calloc(most ? most : 1, sizeof *counts);
    if (!counts)
        return error_set(e, STATUS_FAILED, "clusters: no memory for %zu", most);
    bool many_templates = d->true_templates >= DIFF_STATS_MIN_CLUSTERS && d->n_templates >= DIFF_STATS_MIN_CLUSTERS;
    bool many_words = d->true_words >= DIFF_STATS_MIN_CLUSTERS && d->n_words >= DIFF_STATS_MIN_CLUSTERS;
    d->scope = many_templates && many_words       ? DIFF_STATS_CATEGORY
               : d->n_templates >= DIFF_STATS_FEW ? DIFF_STATS_WORDS
                                                  : DIFF_STATS_NONE;
    for (int part = 0; part <= ALL; part++) {
        double total = 0, df = NAN;
        counts_of(d, part, false, counts);
        for (size_t g = 0; g < d->n_templates; g++)
            total += counts[g];
        d->n_pairs[part] = total;
        d->used_templates[part] = count_used(counts, d->n_templates);
        if (d->used_templates[part] >= DIFF_STATS_FEW)
            df = effective_df(counts, d->n_templates, d->used_templates[part], total);
        counts_of(d, part, true, counts);
        d->used_words[part] = count_used(counts, d->n_words);
        if (d->scope == DIFF_STATS_CATEGORY)
            df = d->used_words[part] >= DIFF_STATS_FEW && df > 0
                     ? fmin(df, effective_df(counts, d->n_words, d->used_words[part], total))
                     : NAN;
        d->df[part] = d->scope == DIFF_STATS_NONE ? NAN : df;
    }
    free(counts);
    return STATUS_OK;
}

/* ---- one row ---- */

typedef struct Moments { /* second and third of z = y - r x, of the estimator */
    double yy[TILE], xy[TILE], xx[TILE], yyy[TILE], yyx[TILE], yxx[TILE], xxx[TILE];
} Moments;

typedef struct Tile {
    size_t n;
    double y[TILE], x[TILE]; /* means */
    Moments way[N_WAYS];     /* templates, words, pairs (second moments only) */
    bool two_ways;
} Tile;

static double quadratic(const Moments *m, size_t k, double r)
{
    return m->yy[k] - 2 * r * m->xy[k] + r * r * m->xx[k];
}

static double cubic(const Moments *m, size_t k, double r)
{
    return m->yyy[k] - 3 * r * m->yyx[k] + 3 * r * r * m->yxx[k] - r * r * r * m->xxx[k];
}

/* One cluster of n_cluster pairs with sums y, x; those of another part of it (the other half) may be added. */
static void add_cluster(Tile *t, Moments *m, double weight, double n_cluster, double total, const double *y, const double *x,
                        const double *y_too, const double *x_too, double used)
{
    double cube = cbrt(used * used / ((used - 1) * (used - 2)));
    for (size_t k = 0; k < t->n; k++) {
        double a = y[k] + (y_too ? y_too[k] : 0) - n_cluster * t->y[k], b = x[k] + (x_too ? x_too[k] : 0) - n_cluster * t->x[k];
        double a3 = a / total * cube, b3 = b / total * cube;
        m->yy[k] += weight * a * a;
        m->xy[k] += weight * a * b;
        m->xx[k] += weight * b * b;
        m->yyy[k] += a3 * a3 * a3;
        m->yyx[k] += a3 * a3 * b3;
        m->yxx[k] += a3 * b3 * b3;
        m->xxx[k] += b3 * b3 * b3;
    }
}

static bool in_part(const DiffStatsDesign *d, size_t g, int part)
{
    return d->n_template[g] > 0 && (part == ALL || d->half[g] == part);
}

static void add_pairs(const DiffStatsSums *s, Tile *t, int part, double total, size_t D, size_t at)
{
    Moments *m = &t->way[2];
    for (size_t k = 0; k < t->n; k++) {
        size_t i = at + k;
        double yy = part == ALL ? s->yy[i] + s->yy[D + i] : s->yy[(size_t)part * D + i];
        double xy = part == ALL ? s->xy[i] + s->xy[D + i] : s->xy[(size_t)part * D + i];
        double xx = part == ALL ? s->xx[i] + s->xx[D + i] : s->xx[(size_t)part * D + i], scale = total * (total - 1);
        m->yy[k] = fmax(yy - total * t->y[k] * t->y[k], 0) / scale;
        m->xy[k] = (xy - total * t->x[k] * t->y[k]) / scale;
        m->xx[k] = fmax(xx - total * t->x[k] * t->x[k], 0) / scale;
    }
}

static void fill_tile(const DiffStatsDesign *d, const DiffStatsSums *s, Tile *t, int part, size_t D, size_t at)
{
    double total = d->n_pairs[part];
    size_t n_kept = t->n;
    memset(t, 0, sizeof *t);
    t->n = n_kept;
    t->two_ways = d->scope == DIFF_STATS_CATEGORY;
    for (size_t g = 0; g < d->n_templates; g++)
        for (size_t k = 0; in_part(d, g, part) && k < t->n; k++) {
            t->y[k] += s->y_template[g * D + at + k];
            t->x[k] += s->x_template[g * D + at + k];
        }
    for (size_t k = 0; k < t->n; k++) {
        t->y[k] /= total; /* 0 / 0 without pairs: NaN throughout */
        t->x[k] /= total;
    }
    for (size_t g = 0; g < d->n_templates; g++)
        if (in_part(d, g, part))
            add_cluster(t, &t->way[0], jackknife_weight((double)d->used_templates[part], total, d->n_template[g]),
                        d->n_template[g], total, s->y_template + g * D + at, s->x_template + g * D + at, NULL, NULL,
                        (double)d->used_templates[part]);
    for (size_t h = 0; t->two_ways && h < d->n_words; h++) {
        size_t first = (part == ALL ? h : (size_t)part * d->n_words + h) * D + at, other = (d->n_words + h) * D + at;
        double n = part == ALL ? d->n_word[h] + d->n_word[d->n_words + h] : d->n_word[(size_t)part * d->n_words + h];
        if (n > 0)
            add_cluster(t, &t->way[1], jackknife_weight((double)d->used_words[part], total, n), n, total, s->y_word + first,
                        s->x_word + first, part == ALL ? s->y_word + other : NULL, part == ALL ? s->x_word + other : NULL,
                        (double)d->used_words[part]);
    }
    if (t->two_ways)
        add_pairs(s, t, part, total, D, at);
}

/* The three variances as functions of r are those of ways 0, 1 and 0 + 1 - 2. */
static Moments one_way(const Tile *t, size_t k, int way)
{
    Moments m;
    const Moments *a = &t->way[0], *b = &t->way[1], *c = &t->way[2];
    m.yy[0] = way == 0 ? a->yy[k] : way == 1 ? b->yy[k] : a->yy[k] + b->yy[k] - c->yy[k];
    m.xy[0] = way == 0 ? a->xy[k] : way == 1 ? b->xy[k] : a->xy[k] + b->xy[k] - c->xy[k];
    m.xx[0] = way == 0 ? a->xx[k] : way == 1 ? b->xx[k] : a->xx[k] + b->xx[k] - c->xx[k];
    return m;
}

static double variance(const Tile *t, size_t k, double r)
{
    double most = 0;
    for (int way = 0; way < (t->two_ways ? N_WAYS : 1); way++) {
        Moments m = one_way(t, k, way);
        most = fmax(most, quadratic(&m, 0, r)); /* NaN sums make NaN means, and those are seen */
    }
    return most;
}

static double skewness(const Tile *t, size_t k, double r, double v)
{
    double sum = fmax(cubic(&t->way[0], k, r), 0) + (t->two_ways ? fmax(cubic(&t->way[1], k, r), 0) : 0);
    return v > 0 ? sum / (v * sqrt(v)) : 0;
}

/* Below this the cubic is the identity to 1e-9 at any t that matters, and its form above would cancel. */
#define NO_SKEW 1e-7

static double hall(double t, double skew)
{
    double u = 1 + skew * t / 3;
    return skew < NO_SKEW ? t : (u * u * u - 1) / skew + skew / 6;
}

/* The t at which hall(t) = target. */
static double hall_inverse(double target, double skew)
{
    return skew < NO_SKEW ? target : 3 / skew * (cbrt(1 + skew * (target - skew / 6)) - 1);
}

/* The larger (side 1) or smaller (side -1) r with (y - r x)^2 = q^2 V(r), over all kinds of variance; q = 0: R itself. */
static double fieller(const Tile *t, size_t k, double q, int side)
{
    double bound = t->y[k] / t->x[k];
    for (int way = 0; way < (t->two_ways ? N_WAYS : 1); way++) {
        Moments m = one_way(t, k, way);
        double a = t->x[k] * t->x[k] - q * q * m.xx[0], b = t->y[k] * t->x[k] - q * q * m.xy[0],
               c = t->y[k] * t->y[k] - q * q * m.yy[0], inside = b * b - a * c;
        if (!(a > 0))
            return side > 0 ? INFINITY : 0;
        if (inside >= 0) { /* else V_2 is negative about R, and another kind is larger */
            double root = (b + side * sqrt(inside)) / a;
            bound = side > 0 ? fmax(bound, root) : fmin(bound, root);
        }
    }
    return bound;
}

typedef struct Critical { /* t of one part: one-sided, two-sided */
    double one, two;
} Critical;

typedef struct Bounds {
    double ratio, p, upper, lo, hi, se;
} Bounds;

static Bounds bound_ratio(const Tile *t, size_t k, double df, const Critical *c)
{
    Bounds b = {t->y[k] / t->x[k], NAN, NAN, NAN, NAN, NAN};
    if (!(t->x[k] > 0) || !isfinite(b.ratio)) {
        b.ratio = NAN;
        return b;
    }
    double v_at = variance(t, k, b.ratio), v_claim = variance(t, k, DIFF_STATS_RATIO), skew = skewness(t, k, b.ratio, v_at);
    if (!(df > 0) || !(v_claim > 0) || !isfinite(v_claim))
        return b;
    b.se = sqrt(v_at) / t->x[k];
    double relative = b.se / b.ratio; /* NaN at ratio 0: fmax then takes Fieller's side */
    double mean_p = statistics_t_cdf(hall((t->y[k] - DIFF_STATS_RATIO * t->x[k]) / sqrt(v_claim), skew), df);
    double log_p = statistics_t_cdf(hall(log(b.ratio / DIFF_STATS_RATIO) / relative, skew), df);
    double one = fmax(-hall_inverse(c->one, skew), 0), two = fmax(-hall_inverse(c->two, skew), 0);
    b.p = fmax(mean_p, log_p);
    b.upper = fmax(fieller(t, k, one, 1), b.ratio * exp(one * relative));
    b.hi = fmax(fieller(t, k, two, 1), b.ratio * exp(two * relative));
    b.lo = fmax(fieller(t, k, -c->two, -1), 0);
    return b;
}

void diff_stats_row(const DiffStatsDesign *d, const DiffStatsSums *sums, size_t D, DiffStatsCell *out)
{
    Critical critical[3];
    for (int part = 0; part <= ALL; part++)
        critical[part] = (Critical){statistics_t_quantile(DIFF_STATS_LEVEL, d->df[part]),
                                    statistics_t_quantile(DIFF_STATS_LEVEL / 2, d->df[part])};
    for (size_t at = 0; at < D; at += TILE)
        for (int part = 0; part <= ALL; part++) {
            Tile t = {.n = D - at < TILE ? D - at : TILE};
            fill_tile(d, sums, &t, part, D, at);
            for (size_t k = 0; k < t.n; k++) {
                DiffStatsCell *c = &out[at + k];
                Bounds b = bound_ratio(&t, k, d->df[part], &critical[part]);
                if (part != ALL) {
                    c->half_ratio[part] = b.ratio;
                    c->half_upper[part] = b.upper;
                    c->half_p[part] = b.p;
                    continue;
                }
                double v = variance(&t, k, 0);
                c->mean = t.y[k];
                c->control = t.x[k];
                c->ratio = b.ratio;
                c->se = b.se;
                c->p = b.p;
                c->upper = b.upper;
                c->lo = b.lo;
                c->hi = b.hi;
                c->mean_se = d->df[ALL] > 0 ? sqrt(v) : NAN;
                c->mean_skew = skewness(&t, k, 0, v);
                c->mean_upper = c->mean - hall_inverse(critical[ALL].one, c->mean_skew) * c->mean_se;
            }
        }
}

double diff_stats_mean_p(const DiffStatsDesign *d, const DiffStatsCell *c, double margin)
{
    return c->mean_se > 0 ? statistics_t_cdf(hall((c->mean - margin) / c->mean_se, c->mean_skew), d->df[ALL]) : NAN;
}

bool diff_stats_claim(const DiffStatsCell *c, double fdr_threshold)
{
    return c->p <= fdr_threshold && c->upper < DIFF_STATS_RATIO && c->half_ratio[0] < DIFF_STATS_RATIO &&
           c->half_ratio[1] < DIFF_STATS_RATIO;
}
