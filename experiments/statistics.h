/* statistics.h: sums that do not depend on their order, the paired bootstrap, rank correlations and concordance, Student's t, false
 * discoveries.
 *
 * Bootstrap. Units (articles, else windows) are resampled with replacement; what is estimated are ratios of sums over units
 * (loss / tokens) and differences of such ratios. The matrix of counts N [n_resamples, n_units] is drawn once, so that all
 * orders and tags share the draws:
 *   rng_seed(&rng, seed, STATISTICS_STREAM); for r in 0..n_resamples-1: for k in 0..n_units-1: N[r][rng_below(&rng, n_units)] += 1
 * A resampled ratio is (N[r] . numerator) / (N[r] . denominator), products summed over units in ascending order in f64: the
 * same bits on every machine. With draws d_r of a contrast and its estimate t (from all units, each once):
 *   pointwise      [quantile(d, 2.5 %), quantile(d, 97.5 %)], linear interpolation between order statistics (numpy's default)
 *   se             standard deviation of d (n - 1 in the denominator)
 *   simultaneous   t -+ c * se, c the 95 % quantile over r of max over the contrasts of one family of |d_r - t| / se
 *                  (max-t: Westfall and Young 1993; contrasts with se = 0 take no part and get [t, t])
 * No interval (NaN) where a denominator is positive in fewer than STATISTICS_MIN_UNITS units, where an estimate is not finite, or
 * where more than 1 % of the draws are not finite (a tag missing in a resample); fewer such draws are left out.
 *
 * Left to others: what a unit is, and the sums over it. */
#ifndef STRATA_EXPERIMENTS_STATISTICS_H
#define STRATA_EXPERIMENTS_STATISTICS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

enum { STATISTICS_RESAMPLES = 10000, STATISTICS_MIN_UNITS = 20, STATISTICS_STREAM = 1, STATISTICS_TERMS = 4 };

/* A sum of doubles without rounding: 70 limbs of 32 bits cover every double and 2^63 additions. Zeroed is the empty sum. The
 * rounded result is that of the exact sum to nearest, ties to even, whatever the order of additions and merges. */
typedef struct StatisticsSum {
    int64_t limb[70];   /* sum of limb[i] * 2^(32 i - 1074) */
    uint32_t n_pending; /* additions since carries were last carried */
    uint64_t n_nan, n_plus_inf, n_minus_inf;
} StatisticsSum;

void statistics_sum_add(StatisticsSum *s, double x);
void statistics_sum_merge(StatisticsSum *s, const StatisticsSum *other);
double statistics_sum_value(const StatisticsSum *s); /* NaN and infinities as IEEE addition would have them */
double statistics_sum_of(const double *x, size_t n);

typedef struct StatisticsTerm {
    size_t ratio;
    double weight;
} StatisticsTerm;

/* A weighted sum of ratios: {1 of one ratio} is the ratio itself, {+1 variant, -1 intact} a paired difference, four terms the
 * difference of two differences. */
typedef struct StatisticsContrast {
    size_t n_terms, family; /* families are numbered from 0, below n_contrasts; simultaneous means within one family */
    StatisticsTerm terms[STATISTICS_TERMS];
} StatisticsContrast;

typedef struct StatisticsBootstrap {
    size_t n_units, n_ratios, n_denominators, n_contrasts, n_resamples; /* n_resamples 0: STATISTICS_RESAMPLES */
    uint64_t seed;
    const double *numerators;     /* [n_ratios, n_units]: sums over each unit; [n_numerators, n_units] with numerator_of */
    const double *denominators;   /* [n_denominators, n_units] */
    const size_t *denominator_of; /* [n_ratios]; NULL: denominator 0 for all */
    size_t n_numerators;          /* with numerator_of only: sums that several ratios share are multiplied once */
    const size_t *numerator_of;   /* [n_ratios]; NULL: ratio i has numerator i */
    const StatisticsContrast *contrasts;
} StatisticsBootstrap;

typedef struct StatisticsInterval {
    double estimate, se;
    double lo, hi;                           /* pointwise 95 % */
    double lo_simultaneous, hi_simultaneous; /* 95 % for all of the family at once */
} StatisticsInterval;

/* out[n_contrasts]. Memory stays near 64 MiB however many contrasts there are. */
int statistics_bootstrap(const StatisticsBootstrap *in, StatisticsInterval *out, Error *e);

/* The common case: delta[i] = sum nll[i] / sum tokens - sum nll[0] / sum tokens for i = 1..n_series-1, one family. nll is
 * [n_series, n_units], out[n_series - 1]. */
int statistics_paired_deltas(const double *nll, size_t n_series, const double *tokens, size_t n_units, size_t n_resamples,
                             uint64_t seed, StatisticsInterval *out, Error *e);

/* Of sorted x (ascending, n >= 1), linear interpolation at (n - 1) q. */
double statistics_quantile(const double *x, size_t n, double q);

/* Spearman's rho (Pearson of average ranks) and Kendall's tau-b; NaN when n < 2, a side is constant or a value is not finite;
 * NaN too when memory is out. */
double statistics_spearman(const double *x, const double *y, size_t n);
double statistics_kendall(const double *x, const double *y, size_t n);

/* ---- statistics_tests.c ---- */

/* Student's t with df > 0 degrees of freedom (fractions allowed): P(T <= t), both tails to about 1e-12 relative, and the t with
 * P(T <= t) = p, 0 < p < 1. By the incomplete beta function, its continued fraction (DLMF 8.17.22). */
double statistics_t_cdf(double t, double df);
double statistics_t_quantile(double p, double df);

/* Average ranks from 1 into rank[n]; *ties (may be NULL) gets the sum over groups of t equal values of t^3 - t. Values must be
 * finite. Status: out of memory only. */
int statistics_ranks(const double *x, size_t n, double *rank, double *ties);

/* Kendall's coefficient of concordance of m rankings of n things, x [m, n], with the correction for ties (Kendall 1970, ch. 6):
 *   W = 12 S / (m^2 (n^3 - n) - m sum of ties),  S = sum over things of (sum of its ranks - m (n + 1) / 2)^2.
 * 0: no agreement, 1: the same order in all. *mean_rho (may be NULL): (m W - 1) / (m - 1), the mean of Spearman's rho over pairs of
 * rankings. Rankings with a value that is not finite are left out; NaN under 2 rankings or things, or all tied. */
double statistics_kendall_w(const double *x, size_t m, size_t n, double *mean_rho);

/* Control of the false discovery rate: Benjamini and Hochberg 1995, or, under any dependence, Benjamini and Yekutieli 2001 (level
 * divided by 1 + 1/2 + ... + 1/n). NaN: not tested, not counted. Rejected are the p <= threshold; -1: none. */
typedef struct StatisticsFdr {
    size_t n_tested, n_rejected;
    double threshold;
} StatisticsFdr;
int statistics_fdr(const double *p, size_t n, double level, int any_dependence, StatisticsFdr *out, Error *e);

#endif
