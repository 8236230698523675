/* test_statistics.c: the bootstrap, exact sums and rank correlations against numpy and Python's fractions
 * (tests/data/statistics/expected.json, written by tools/make_statistics_fixture.py). */
#include "tests/test.h"

#include <float.h>

#include "engine/base/arena.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/rng.h"
#include "experiments/statistics.h"

static Arena arena;
static const JsonValue *expected;

static double *numbers(const JsonValue *v)
{
    double *out = arena_array(&arena, v->len + 1, sizeof *out);
    for (size_t i = 0; i < v->len; i++)
        out[i] = v->items[i].kind == JSON_NUMBER ? v->items[i].number : NAN;
    return out;
}

static double *matrix(const JsonValue *v)
{
    size_t cols = v->items[0].len;
    double *out = arena_array(&arena, v->len * cols, sizeof *out);
    for (size_t i = 0; i < v->len; i++)
        memcpy(out + i * cols, numbers(&v->items[i]), cols * sizeof *out);
    return out;
}

static double number_of(const JsonValue *object, const char *key)
{
    const JsonValue *v = json_get(object, key);
    return v && v->kind == JSON_NUMBER ? v->number : NAN;
}

/* Both are sums of 26 products in f64 and a few operations: 1e-12 relative is 100 times their rounding. */
static void check_close(double got, double want, const char *what, size_t i)
{
    double tolerance = 1e-12 * (fabs(want) + 1);
    CHECK_MSG((isnan(got) && isnan(want)) || fabs(got - want) <= tolerance, "contrast %zu %s: got %.17g, expected %.17g", i,
              what, got, want);
}

static void test_bootstrap_is_numpy(void)
{
    const JsonValue *b = json_get(expected, "bootstrap"), *cs = json_get(b, "contrasts"), *want = json_get(b, "expected");
    size_t den_of[6] = {0};
    StatisticsContrast contrasts[6] = {0};
    CHECK(cs->len == 6 && want->len == 6 && json_get(b, "denominator_of")->len == 6);
    for (size_t i = 0; i < 6; i++) {
        den_of[i] = (size_t)json_get(b, "denominator_of")->items[i].integer;
        const JsonValue *terms = json_get(&cs->items[i], "terms");
        contrasts[i].family = (size_t)json_get(&cs->items[i], "family")->integer;
        contrasts[i].n_terms = terms->len;
        for (size_t k = 0; k < terms->len; k++)
            contrasts[i].terms[k] = (StatisticsTerm){(size_t)terms->items[k].items[0].integer, terms->items[k].items[1].number};
    }
    const JsonValue *num = json_get(b, "numerators"), *den = json_get(b, "denominators");
    StatisticsBootstrap in = {.n_units = num->items[0].len,
                              .n_ratios = num->len,
                              .n_denominators = den->len,
                              .n_contrasts = 6,
                              .n_resamples = (size_t)json_get(b, "n_resamples")->integer,
                              .seed = (uint64_t)json_get(b, "seed")->integer,
                              .numerators = matrix(num),
                              .denominators = matrix(den),
                              .denominator_of = den_of,
                              .contrasts = contrasts};
    StatisticsInterval out[6];
    Error e = {0};
    CHECK_MSG(statistics_bootstrap(&in, out, &e) == 0, "%s", e.text);
    for (size_t i = 0; i < 6; i++) {
        const JsonValue *w = &want->items[i];
        double estimate = number_of(w, "estimate"), half = number_of(w, "half");
        check_close(out[i].estimate, estimate, "estimate", i);
        check_close(out[i].se, number_of(w, "se"), "se", i);
        check_close(out[i].lo, number_of(w, "lo"), "lo", i);
        check_close(out[i].hi, number_of(w, "hi"), "hi", i);
        check_close(out[i].lo_simultaneous, estimate - half, "lo_simultaneous", i);
        check_close(out[i].hi_simultaneous, estimate + half, "hi_simultaneous", i);
    }
    CHECK(isnan(out[5].lo) && out[2].lo == 0 && out[2].hi_simultaneous == 0 && out[3].lo_simultaneous < out[3].lo);
    contrasts[0].terms[0].ratio = 6;
    CHECK(statistics_bootstrap(&in, out, &e) == STATUS_FAILED);
}

/* More contrasts than one group holds: the same intervals as alone, since the draws are the same. */
static void test_groups_share_draws(void)
{
    enum { SERIES = 500, UNITS = 25 };
    static double nll[SERIES * UNITS], tokens[UNITS];
    static StatisticsInterval all[SERIES - 1];
    StatisticsInterval one;
    Rng rng;
    Error e = {0};
    rng_seed(&rng, 3, 0);
    for (size_t u = 0; u < UNITS; u++)
        tokens[u] = (double)(100 + rng_below(&rng, 900));
    for (size_t i = 0; i < SERIES * UNITS; i++)
        nll[i] = tokens[i % UNITS] * (3 + rng_normal(&rng));
    CHECK_MSG(statistics_paired_deltas(nll, SERIES, tokens, UNITS, 0, 5, all, &e) == 0, "%s", e.text);
    memcpy(nll + UNITS, nll + (SERIES - 1) * UNITS, UNITS * sizeof *nll);
    CHECK(statistics_paired_deltas(nll, 2, tokens, UNITS, 0, 5, &one, &e) == 0);
    CHECK(one.lo == all[SERIES - 2].lo && one.hi == all[SERIES - 2].hi && one.se == all[SERIES - 2].se);
    CHECK(one.hi_simultaneous < all[SERIES - 2].hi_simultaneous);
    CHECK(statistics_paired_deltas(nll, 2, tokens, 19, 0, 5, &one, &e) == 0);
    CHECK(isnan(one.lo) && isnan(one.hi_simultaneous) && isfinite(one.estimate));
    nll[UNITS + 3] = INFINITY;
    CHECK(statistics_paired_deltas(nll, 3, tokens, UNITS, 0, 5, all, &e) == 0);
    CHECK(isnan(all[0].lo) && isfinite(all[1].lo)); /* one bad order leaves the others alone */
}

static void test_sum_is_exact(void)
{
    const JsonValue *sums = json_get(expected, "sums");
    CHECK(sums && sums->len == 12);
    for (size_t k = 0; k < sums->len; k++) {
        const JsonValue *x = json_get(&sums->items[k], "x");
        double want = strtod(json_get(&sums->items[k], "sum")->string, NULL);
        StatisticsSum forward = {0}, left = {0}, right = {0};
        for (size_t i = 0; i < x->len; i++) {
            statistics_sum_add(&forward, strtod(x->items[i].string, NULL));
            statistics_sum_add(i % 3 ? &left : &right, strtod(x->items[x->len - 1 - i].string, NULL));
        }
        statistics_sum_merge(&left, &right);
        CHECK_MSG(statistics_sum_value(&forward) == want, "sum %zu: got %a, expected %a", k, statistics_sum_value(&forward),
                  want);
        CHECK_MSG(statistics_sum_value(&left) == want, "merged sum %zu: got %a, expected %a", k, statistics_sum_value(&left),
                  want);
    }
    double big[] = {DBL_MAX, DBL_MAX, -DBL_MAX}, infinite[] = {1, INFINITY}, none[] = {INFINITY, -INFINITY};
    CHECK(statistics_sum_of(big, 3) == DBL_MAX && statistics_sum_of(big, 2) == INFINITY);
    CHECK(statistics_sum_of(infinite, 2) == INFINITY && isnan(statistics_sum_of(none, 2)) && statistics_sum_of(none, 0) == 0);
}

static void test_rank_correlations(void)
{
    const JsonValue *r = json_get(expected, "ranks");
    double *x = numbers(json_get(r, "x")), *y = numbers(json_get(r, "y"));
    size_t n = json_get(r, "x")->len;
    CHECK_NEAR(statistics_spearman(x, y, n), number_of(r, "spearman"), 1e-12);
    CHECK_NEAR(statistics_kendall(x, y, n), number_of(r, "kendall"), 1e-12);
    double constant[3] = {1, 1, 1};
    CHECK(isnan(statistics_spearman(x, constant, 3)) && isnan(statistics_kendall(constant, x, 3)) &&
          isnan(statistics_spearman(x, y, 1)));
    double sorted[] = {1, 2, 4};
    CHECK(statistics_quantile(sorted, 3, 0.5) == 2 && statistics_quantile(sorted, 3, 0.75) == 3 &&
          statistics_quantile(sorted, 1, 0.9) == 1);
}

int main(void)
{
    StrBuf text = {0};
    Error e = {0};
    const char *path = "tests/data/statistics/expected.json";
    if (file_read(path, 1 << 22, &text, &e) || json_parse(text.data, text.len, path, &arena, &expected, &e)) {
        printf("%s\n", e.text);
        return 1;
    }
    RUN(test_bootstrap_is_numpy);
    RUN(test_groups_share_draws);
    RUN(test_sum_is_exact);
    RUN(test_rank_correlations);
    strbuf_free(&text);
    arena_free(&arena);
    return test_finish();
}
