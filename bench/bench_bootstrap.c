/* bench_bootstrap.c: seconds of the paired bootstrap behind one table of parts of speech: 33 orders x 17 tags, per tag and order a
 * delta and a contrast with the other words, each per token, per word and corrected, 10,000 resamples, one core. Inside the timing
 * window: draws, products, intervals; outside: making up the sums. Processor time,
 * median of three runs. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/rng.h"
#include "experiments/statistics.h"

enum { ORDERS = 33, TAGS = 17, MEASURES = 3, SIDES = 2, RUNS = 3 };

static size_t ratio(size_t tag, size_t side, size_t measure, size_t order)
{
    return ((tag * SIDES + side) * MEASURES + measure) * ORDERS + order;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int run(size_t n_units)
{
    enum {
        RATIOS = TAGS * SIDES * MEASURES * ORDERS,
        SUMS = TAGS * SIDES * 2 * ORDERS,
        COUNTS = TAGS * SIDES * 2,
        CONTRASTS = TAGS * (ORDERS - 1) * MEASURES * 2
    };
    static size_t numerator_of[RATIOS], denominator_of[RATIOS];
    static StatisticsContrast contrasts[CONTRASTS];
    static StatisticsInterval out[CONTRASTS];
    double *sums = malloc(SUMS * n_units * sizeof *sums), *counts = malloc(COUNTS * n_units * sizeof *counts), seconds[RUNS];
    Rng rng;
    Error e = {""};
    size_t n = 0;
    if (!sums || !counts)
        return 1;
    rng_seed(&rng, 1, 0);
    for (size_t i = 0; i < COUNTS * n_units; i++)
        counts[i] = (double)(20 + rng_below(&rng, 100));
    for (size_t i = 0; i < SUMS * n_units; i++)
        sums[i] = 100 * (3 + rng_normal(&rng));
    for (size_t t = 0; t < TAGS; t++)
        for (size_t s = 0; s < SIDES; s++)
            for (size_t m = 0; m < MEASURES; m++)
                for (size_t o = 0; o < ORDERS; o++) {
                    numerator_of[ratio(t, s, m, o)] = ((t * SIDES + s) * 2 + (m == 2)) * ORDERS + o;
                    denominator_of[ratio(t, s, m, o)] = (t * SIDES + s) * 2 + (m > 0);
                }
    for (size_t t = 0; t < TAGS; t++)
        for (size_t o = 1; o < ORDERS; o++)
            for (size_t m = 0; m < MEASURES; m++)
                for (size_t terms = 2; terms <= 4; terms += 2)
                    contrasts[n++] = (StatisticsContrast){
                        .n_terms = terms,
                        .family = m + (terms == 4 ? MEASURES : 0),
                        .terms = {
                            {ratio(t, 0, m, o), 1}, {ratio(t, 0, m, 0), -1}, {ratio(t, 1, m, o), -1}, {ratio(t, 1, m, 0), 1}}};
    StatisticsBootstrap in = {.n_units = n_units,
                              .n_ratios = RATIOS,
                              .n_numerators = SUMS,
                              .n_denominators = COUNTS,
                              .n_contrasts = CONTRASTS,
                              .numerators = sums,
                              .denominators = counts,
                              .numerator_of = numerator_of,
                              .denominator_of = denominator_of,
                              .contrasts = contrasts};
    int status = 0;
    for (int i = 0; i < RUNS && !status; i++) {
        clock_t begin = clock();
        status = statistics_bootstrap(&in, out, &e);
        seconds[i] = (double)(clock() - begin) / CLOCKS_PER_SEC;
    }
    free(sums);
    free(counts);
    if (status) {
        fprintf(stderr, "bench_bootstrap: %s\n", e.text);
        return 1;
    }
    qsort(seconds, RUNS, sizeof *seconds, compare);
    printf("%5zu units: %6.2f s (%.2f to %.2f), %.2f GFLOP/s of products\n", n_units, seconds[RUNS / 2], seconds[0],
           seconds[RUNS - 1], 2e-9 * STATISTICS_RESAMPLES * (double)n_units * SUMS / seconds[RUNS / 2]);
    return 0;
}

int main(void)
{
    printf("bootstrap of %d orders x %d tags, %d contrasts, %d resamples, one core\n", ORDERS, TAGS,
           TAGS * (ORDERS - 1) * MEASURES * 2, STATISTICS_RESAMPLES);
    return run(24) || run(60) || run(1000);
}
