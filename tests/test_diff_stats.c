/* test_diff_stats.c: Study B's estimates against numpy and scipy on pairs one by one (tests/data/diff_stats/expected.json, written by
 * tools/make_diff_stats_fixture.py: leave-one-out refits and root finding where we have sums and a quadratic), and closed forms. */
#include "tests/test.h"

#include "engine/base/arena.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "experiments/diff_stats.h"
#include "experiments/statistics.h"

enum { MAX_D = 4, MAX_CLUSTERS = 32 };

static Arena arena;
static const JsonValue *expected;

static double number_of(const JsonValue *object, const char *key)
{
    const JsonValue *v = json_get(object, key);
    return v && v->kind == JSON_NUMBER ? v->number : NAN;
}

static double item(const JsonValue *list, size_t i)
{
    return list->items[i].kind == JSON_NUMBER ? list->items[i].number : NAN;
}

/* The oracle's own roundings: root finding to 1e-14 of numbers near 1, refits that lose three digits by cancellation. */
static void check_close(double got, double want, const char *what, size_t i)
{
    CHECK_MSG(fabs(got - want) <= 1e-9 * (fabs(want) + 1e-3), "%s, %zu: got %.15g, expected %.15g", what, i, got, want);
}

/* null in the file: infinite. */
static void check_bound(double got, double want, const char *what, size_t i)
{
    if (isnan(want))
        CHECK_MSG(isinf(got) && got > 0, "%s, %zu: got %.15g, expected infinity", what, i, got);
    else
        check_close(got, want, what, i);
}

static void test_student_t(void)
{
    const JsonValue *cdf = json_get(expected, "t_cdf"), *quantile = json_get(expected, "t_quantile");
    CHECK(cdf->len == 48 && quantile->len == 32);
    for (size_t i = 0; i < cdf->len; i++) {
        const JsonValue *c = &cdf->items[i];
        double want = item(c, 2), got = statistics_t_cdf(item(c, 0), item(c, 1));
        CHECK_MSG(fabs(got - want) <= 1e-11 * want, "t %g, df %g: got %.15g, expected %.15g", item(c, 0), item(c, 1), got,
                  want);
    }
    for (size_t i = 0; i < quantile->len; i++) {
        const JsonValue *c = &quantile->items[i];
        double want = item(c, 2), got = statistics_t_quantile(item(c, 0), item(c, 1));
        CHECK_MSG(fabs(got - want) <= 1e-10 * (fabs(want) + 1e-6), "p %g, df %g: got %.15g, expected %.15g", item(c, 0),
                  item(c, 1), got, want);
    }
    /* Closed forms: df 1 is Cauchy's, df 2 is 1/2 + t / (2 sqrt(2 + t^2)). */
    CHECK_NEAR(statistics_t_cdf(1, 1), 0.75, 1e-14);
    CHECK_NEAR(statistics_t_cdf(-3, 2), 0.5 - 3 / (2 * sqrt(11)), 1e-14);
    CHECK(statistics_t_cdf(-INFINITY, 5) == 0 && statistics_t_cdf(INFINITY, 5) == 1 && isnan(statistics_t_cdf(NAN, 5)) &&
          isnan(statistics_t_cdf(1, 0)) && isnan(statistics_t_quantile(0, 5)) && isnan(statistics_t_quantile(0.5, NAN)));
}

static void test_kendall_w(void)
{
    const JsonValue *k = json_get(expected, "kendall"), *x = json_get(k, "x");
    size_t m = x->len, n = x->items[0].len;
    double values[100] = {0}, mean_rho = 0, w = number_of(k, "w");
    CHECK(m == 5 && n == 12);
    for (size_t i = 0; i < m * n; i++)
        values[i] = item(&x->items[i / n], i % n);
    CHECK_NEAR(statistics_kendall_w(values, m, n, &mean_rho), w, 1e-12);
    CHECK_NEAR(mean_rho, (5 * w - 1) / 4, 1e-12);
    values[m * n] = NAN; /* a sixth ranking that cannot be ranked is left out */
    CHECK_NEAR(statistics_kendall_w(values, m + 1, n, NULL), w, 1e-12);
    const double same[] = {1, 2, 3, 10, 20, 30}, opposed[] = {1, 2, 3, 3, 2, 1}, tied[] = {1, 1, 2, 2};
    CHECK(statistics_kendall_w(same, 2, 3, &mean_rho) == 1 && mean_rho == 1);
    CHECK(statistics_kendall_w(opposed, 2, 3, &mean_rho) == 0 && mean_rho == -1);
    CHECK(isnan(statistics_kendall_w(tied, 2, 2, NULL)) && isnan(statistics_kendall_w(same, 1, 3, NULL)));
}

static void test_false_discovery_rate(void)
{
    const JsonValue *f = json_get(expected, "fdr"), *p = json_get(f, "p");
    double values[100];
    StatisticsFdr got;
    Error e = {0};
    for (int any = 0; any < 2; any++) {
        const JsonValue *want = json_get(f, any ? "by" : "bh");
        size_t n_rejected = 0;
        for (size_t i = 0; i < p->len; i++)
            values[i] = item(p, i);
        values[p->len] = NAN;
        CHECK(statistics_fdr(values, p->len + 1, 0.05, any, &got, &e) == 0 && got.n_tested == p->len);
        for (size_t i = 0; i < p->len; i++) {
            bool reject = want->items[i].boolean;
            n_rejected += reject;
            CHECK_MSG((values[i] <= got.threshold) == reject, "p %zu = %g, threshold %g", i, values[i], got.threshold);
        }
        CHECK(n_rejected == got.n_rejected && n_rejected > (any ? 0 : 5));
    }
    const double large[] = {0.9, 0.8};
    CHECK(statistics_fdr(large, 2, 0.05, 0, &got, &e) == 0 && got.n_rejected == 0 && got.threshold < 0);
    CHECK(statistics_fdr(NULL, 0, 0.05, 1, &got, &e) == 0 && got.n_tested == 0 && got.threshold < 0);
}

typedef struct Case {
    size_t D, n_pairs;
    DiffStatsDesign design;
    DiffStatsSums sums;
    double n_template[MAX_CLUSTERS], n_word[2 * MAX_CLUSTERS];
    unsigned char half[MAX_CLUSTERS];
    double y_template[MAX_CLUSTERS * MAX_D], x_template[MAX_CLUSTERS * MAX_D];
    double y_word[2 * MAX_CLUSTERS * MAX_D], x_word[2 * MAX_CLUSTERS * MAX_D];
    double yy[2 * MAX_D], xy[2 * MAX_D], xx[2 * MAX_D];
} Case;

static void case_read(const JsonValue *v, Case *c)
{
    const JsonValue *t = json_get(v, "template"), *w = json_get(v, "word"), *half = json_get(v, "half"), *y = json_get(v, "y"),
                    *x = json_get(v, "x");
    memset(c, 0, sizeof *c);
    c->D = y->len;
    c->n_pairs = t->len;
    size_t n_templates = half->len, n_words = 0, D = c->D;
    for (size_t i = 0; i < w->len; i++)
        n_words = (size_t)w->items[i].integer + 1 > n_words ? (size_t)w->items[i].integer + 1 : n_words;
    for (size_t g = 0; g < n_templates; g++)
        c->half[g] = (unsigned char)half->items[g].integer;
    for (size_t i = 0; i < t->len; i++) {
        size_t g = (size_t)t->items[i].integer, h = (size_t)w->items[i].integer, f = c->half[g];
        c->n_template[g]++;
        c->n_word[f * n_words + h]++;
        for (size_t d = 0; d < D; d++) {
            double a = item(&y->items[d], i), b = item(&x->items[d], i);
            c->y_template[g * D + d] += a;
            c->x_template[g * D + d] += b;
            c->y_word[(f * n_words + h) * D + d] += a;
            c->x_word[(f * n_words + h) * D + d] += b;
            c->yy[f * D + d] += a * a;
            c->xy[f * D + d] += a * b;
            c->xx[f * D + d] += b * b;
        }
    }
    c->design = (DiffStatsDesign){.n_templates = n_templates,
                                  .n_words = n_words,
                                  .n_template = c->n_template,
                                  .n_word = c->n_word,
                                  .half = c->half,
                                  .true_templates = n_templates,
                                  .true_words = n_words};
    c->sums = (DiffStatsSums){c->y_template, c->x_template, c->y_word, c->x_word, c->yy, c->xy, c->xx};
}

static void test_rows_are_numpy(void)
{
    const JsonValue *cases = json_get(expected, "cases");
    static Case c;
    Error e = {0};
    CHECK(cases->len == 2);
    for (size_t k = 0; k < cases->len; k++) {
        DiffStatsCell cells[MAX_D];
        case_read(&cases->items[k], &c);
        CHECK_MSG(diff_stats_design_init(&c.design, &e) == 0, "%s", e.text);
        CHECK(c.design.scope == (k == 0 ? DIFF_STATS_CATEGORY : DIFF_STATS_WORDS));
        CHECK(c.design.n_pairs[2] == (double)c.n_pairs && c.design.n_pairs[0] + c.design.n_pairs[1] == (double)c.n_pairs);
        if (c.design.scope == DIFF_STATS_WORDS) /* sums over words and pairs are not needed */
            c.sums.y_word = c.sums.x_word = c.sums.yy = c.sums.xy = c.sums.xx = NULL;
        diff_stats_row(&c.design, &c.sums, c.D, cells);
        for (size_t d = 0; d < c.D; d++) {
            const JsonValue *want = &json_get(&cases->items[k], "cells")->items[d];
            const DiffStatsCell *got = &cells[d];
            check_close(c.design.df[2], number_of(want, "df"), "df", d);
            check_close(got->mean, number_of(want, "mean"), "mean", d);
            check_close(got->control, number_of(want, "control"), "control", d);
            check_close(got->ratio, number_of(want, "ratio"), "ratio", d);
            check_close(got->se, number_of(want, "se"), "se", d);
            check_close(got->p, number_of(want, "p"), "p", d);
            check_bound(got->upper, number_of(want, "upper"), "upper", d);
            check_close(got->lo, number_of(want, "lo"), "lo", d);
            check_bound(got->hi, number_of(want, "hi"), "hi", d);
            check_close(got->mean_se, number_of(want, "mean_se"), "mean_se", d);
            check_close(got->mean_skew, number_of(want, "mean_skew"), "mean_skew", d);
            check_close(got->mean_upper, number_of(want, "mean_upper"), "mean_upper", d);
            check_close(diff_stats_mean_p(&c.design, got, 0.3), number_of(want, "mean_p"), "mean_p", d);
            for (size_t h = 0; h < 2; h++) {
                const JsonValue *half = json_get(want, h ? "half1" : "half0");
                check_close(got->half_ratio[h], item(half, 0), "half ratio", d);
                check_bound(got->half_upper[h], item(half, 1), "half upper", d);
                check_close(got->half_p[h], item(half, 2), "half p", d);
            }
        }
    }
}

/* Equal clusters: df = G - 1, and V is the variance of cluster means over G. One word pair throughout: template clustering. */
static void test_equal_clusters(void)
{
    enum { G = 6 };
    const double y[G] = {4, 6, 5, 9, 3, 3}, x[G] = {10, 10, 10, 10, 10, 10}, n[G] = {5, 5, 5, 5, 5, 5}, word[2] = {15, 15};
    const unsigned char half[G] = {0, 0, 0, 1, 1, 1};
    DiffStatsDesign d = {
        .n_templates = G, .n_words = 1, .n_template = n, .n_word = word, .half = half, .true_templates = G, .true_words = 1};
    DiffStatsSums sums = {.y_template = y, .x_template = x};
    DiffStatsCell c;
    Error e = {0};
    CHECK(diff_stats_design_init(&d, &e) == 0 && d.scope == DIFF_STATS_WORDS);
    CHECK_NEAR(d.df[2], 5, 1e-12);
    CHECK(isnan(d.df[0]) && isnan(d.df[1])); /* three templates a half: no test */
    diff_stats_row(&d, &sums, 1, &c);
    /* Cluster means .8 1.2 1 1.8 .6 .6: mean 1, squares about it .04 .04 0 .64 .16 .16: sum 1.04, V = 1.04 / (5 * 6). */
    CHECK_NEAR(c.mean, 1, 1e-12);
    CHECK_NEAR(c.ratio, 0.5, 1e-12);
    CHECK_NEAR(c.mean_se, sqrt(1.04 / 30), 1e-12);
    CHECK_NEAR(c.se, sqrt(1.04 / 30) / 2, 1e-12);
    CHECK(isnan(c.half_p[0]) && fabs(c.half_ratio[0] - 0.5) < 1e-12);
    CHECK_STR(diff_stats_scope_name(d.scope), "words");
}

/* What is not known is NaN and never a claim: no control, no spread, too few clusters; an unbounded ratio is infinite. */
static void test_nothing_is_claimed_from_nothing(void)
{
    enum { G = 6, D = 3 };
    double y[G * D], x[G * D], n[G], word[2] = {6, 6};
    unsigned char half[G];
    for (size_t g = 0; g < G; g++) {
        n[g] = 2;
        half[g] = g % 2;
        y[g * D] = 0.001; /* no spread */
        x[g * D] = 1;
        y[g * D + 1] = 0; /* no control */
        x[g * D + 1] = 0;
        y[g * D + 2] = 0.1;
        x[g * D + 2] = g == 0 ? 100 : 0; /* one template holds all of the control */
    }
    DiffStatsDesign d = {
        .n_templates = G, .n_words = 1, .n_template = n, .n_word = word, .half = half, .true_templates = G, .true_words = 1};
    DiffStatsSums sums = {.y_template = y, .x_template = x};
    DiffStatsCell c[D];
    Error e = {0};
    CHECK(diff_stats_design_init(&d, &e) == 0);
    diff_stats_row(&d, &sums, D, c);
    CHECK(isnan(c[0].p) && isnan(c[1].p) && isnan(c[1].ratio) && !(c[2].p < 0.05) && isinf(c[2].upper) && c[2].lo == 0);
    for (size_t k = 0; k < D; k++)
        CHECK(!diff_stats_claim(&c[k], 0.05));
    d.n_templates = 4; /* too few */
    CHECK(diff_stats_design_init(&d, &e) == 0 && d.scope == DIFF_STATS_NONE && isnan(d.df[2]));
    diff_stats_row(&d, &sums, D, c);
    CHECK(isnan(c[0].p) && isnan(c[0].upper) && isfinite(c[0].ratio));
}

static void test_clusters_merge_evenly(void)
{
    double counts[50], filled[7] = {0};
    size_t group[50];
    unsigned char half[50], again[50];
    Error e = {0};
    for (size_t i = 0; i < 50; i++)
        counts[i] = (double)(1 + (i * 37) % 11);
    CHECK(diff_stats_group(counts, 50, 7, group) == 7);
    double least = INFINITY, most = 0, sides[2] = {0, 0};
    for (size_t i = 0; i < 50; i++) {
        filled[group[i]] += counts[i];
    }
    for (size_t k = 0; k < 7; k++) {
        least = fmin(least, filled[k]);
        most = fmax(most, filled[k]);
    }
    CHECK(most - least <= 1 && least > 0); /* ones come last and level the groups */
    CHECK(diff_stats_group(counts, 5, 7, group) == 5 && group[4] == 4);
    CHECK(diff_stats_split(counts, 49, 3, half, &e) == 0 && diff_stats_split(counts, 49, 3, again, &e) == 0);
    CHECK(memcmp(half, again, 49) == 0);
    size_t n[2] = {0, 0};
    for (size_t i = 0; i < 49; i++) {
        n[half[i]]++;
        sides[half[i]] += counts[i];
    }
    /* Neighbours differ by at most 11 in all, and one template is left over. */
    CHECK(n[0] + n[1] == 49 && (n[0] == 24 || n[1] == 24) && fabs(sides[0] - sides[1]) <= 12);
}

static void test_summaries(void)
{
    const JsonValue *c = json_get(expected, "contrast"), *list = json_get(c, "terms");
    DiffStatsTerm terms[5];
    for (size_t i = 0; i < 3; i++)
        terms[i] = (DiffStatsTerm){item(&list->items[i], 0), item(&list->items[i], 1), item(&list->items[i], 2),
                                   item(&list->items[i], 3)};
    DiffStatsContrast got = diff_stats_contrast(terms, 3);
    check_close(got.difference, number_of(c, "difference"), "difference", 0);
    check_close(got.se, number_of(c, "se"), "se", 0);
    check_close(got.df, number_of(c, "df"), "df", 0);
    check_close(got.p, number_of(c, "p"), "p", 0);
    check_close(got.lo, number_of(c, "lo"), "lo", 0);
    terms[1].ratio = NAN; /* its half goes to the other one of that side */
    CHECK_NEAR(diff_stats_contrast(terms, 3).difference, 0.9 - 0.6, 1e-12);
    terms[2].ratio = NAN;
    CHECK(isnan(diff_stats_contrast(terms, 3).difference) && isnan(diff_stats_contrast(NULL, 0).p));

    const DiffStatsContrast low = {-0.3, 0.1, 10, -0.5, -0.1, 0.01}, high = {0.1, 0.05, 20, 0, 0.2, 0.06};
    DiffStatsContrast between = diff_stats_contrast_between(&low, &high), unknown = {NAN, NAN, NAN, NAN, NAN, NAN};
    CHECK_NEAR(between.difference, -0.1, 1e-12);
    CHECK(between.lo == -0.5 && between.hi == 0.2 && between.se == 0.1 && between.df == 10 && between.p == 1);
    between = diff_stats_contrast_between(&low, &low); /* nothing open: the contrast itself */
    CHECK_NEAR(between.p, 2 * statistics_t_cdf(-3, 10), 1e-12);
    CHECK(between.difference == low.difference && isnan(diff_stats_contrast_between(&low, &unknown).lo));

    const double sets[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    CHECK(diff_stats_set_p(100, sets, 9) == 0.1 && diff_stats_set_p(-100, sets, 9) == 0.1 && diff_stats_set_p(5, sets, 9) == 1);
    CHECK(diff_stats_set_p(9, sets, 9) == 0.3); /* mean 5.4: 1, 9 and 9 lie as far */
    CHECK(isnan(diff_stats_set_p(NAN, sets, 9)) && isnan(diff_stats_set_p(1, sets, 0)) &&
          diff_stats_set_p(0.1, (double[]){0.1, 0.1}, 2) == 1);

    const double random[] = {3, 5, 4, 4};
    DiffStatsRotation r = diff_stats_rotation(5, random, 4);
    CHECK(r.mean == 4 && r.least == 3 && r.most == 5 && r.p_more == 2.0 / 5 && r.p_fewer == 1);
    CHECK_NEAR(r.sd, sqrt(2.0 / 3), 1e-12);
    CHECK(isnan(diff_stats_rotation(5, NULL, 0).p_more));

    /* Cells in one half and in the other; the best two of each are (0, 1) and (2, 1), the last one is not known. */
    const double ratio[] = {0.1, 0.9, 0.2, 0.3, 0.5, 0.2, 0.9, 0.9, NAN, 0.1};
    const double upper[] = {0.2, 1.2, 0.5, 0.9, 0.7, 0.4, 1.5, 1.5, NAN, 0.2};
    DiffStatsCrossfit f;
    Error e = {0};
    CHECK(diff_stats_crossfit(ratio, upper, 5, 2, &f, &e) == 0 && f.n_chosen == 4 && f.n_below == 3 && f.n_bound_below == 2);
    CHECK_NEAR(f.chosen_ratio, (0.1 + 0.2 + 0.2 + 0.3) / 4, 1e-12);
    CHECK_NEAR(f.scored_ratio, (0.9 + 0.3 + 0.5 + 0.2) / 4, 1e-12);
}

int main(void)
{
    StrBuf text = {0};
    Error e = {0};
    const char *path = "tests/data/diff_stats/expected.json";
    if (file_read(path, 1 << 22, &text, &e) || json_parse(text.data, text.len, path, &arena, &expected, &e)) {
        printf("%s\n", e.text);
        return 1;
    }
    RUN(test_student_t);
    RUN(test_kendall_w);
    RUN(test_false_discovery_rate);
    RUN(test_rows_are_numpy);
    RUN(test_equal_clusters);
    RUN(test_nothing_is_claimed_from_nothing);
    RUN(test_clusters_merge_evenly);
    RUN(test_summaries);
    strbuf_free(&text);
    arena_free(&arena);
    return test_finish();
}
