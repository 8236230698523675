/* diff_stats.h: the statistics of Study B: how much less a coordinate changes under an edit of one token than under its matched control, and
 * when that may be claimed. Pure functions of sums that were streamed; no model, no files, nothing per pair.
 *
 * The estimate. Pair i, of template g(i) and edited word pair h(i), gives y_i = |difference| / sigma at a coordinate and x_i = the
 * same of its matched control. A row is one (category, position class, layer) with D coordinates. Per coordinate:
 *   mean = y-bar = sum y / N,   control = x-bar = sum x / N,   ratio R = y-bar / x-bar    (sigma cancels in R, not in the mean)
 *
 * The test is Fieller's (1954): H0 "R >= r" is "mean of z = y - r x is >= 0", a mean, so that no ratio is linearised; the upper bound
 * is the r at which the test stops to reject, found in closed form (a quadratic in r). With totals Z_g, N_g of the clusters:
 *   jackknife over clusters (CV3: Bell and McCaffrey 2002; MacKinnon, Nielsen and Webb 2023), s_g = Z_g - N_g z-bar:
 *     V = (G - 1) / G * sum_g s_g^2 / (N - N_g)^2
 *   two ways (Cameron, Gelbach and Miller 2011): V_2 = V_templates + V_words - V_pairs, V_pairs = sum (z - z-bar)^2 / (N (N - 1))
 *   used: max(V_templates, V_words, V_2) ("max-se", MacKinnon, Nielsen and Webb 2024): never negative, cautious without dependence
 *   degrees of freedom (Satterthwaite; Imbens and Kolesar 2016), of V under independence: with B = A' diag(w) A,
 *     A = I - n 1' / N, w_g = (G - 1) / (G (N - N_g)^2): df = (sum_g N_g B_gg)^2 / sum_gh N_g N_h B_gh^2, which is G - 1 for equal
 *     clusters; the smaller one of templates and words
 *   skewness: |difference| is skewed to the right, and then a plain t rejects "R >= r" too often. Hall's (1992) monotone cubic,
 *     t' = ((1 + k t / 3)^3 - 1) / k + k / 6, with k the skewness of the estimator: the sum over both ways of
 *     G^2 / ((G - 1)(G - 2)) sum_g (s_g / N)^3 / V^1.5, a negative one taken as 0, at r = R. p = P(T_df <= t')
 *   the same on the log scale, t = log(R / r) / (se / R), se^2 = V(R) / x-bar^2, upper bound R exp(q se / R): where a few clusters carry
 *     the large differences of pairs but not of controls and were not drawn, V is too small exactly when R is, and the log is
 *     the safer one of both. The larger p and the larger bound count, so that both tests must reject.
 * Levels and coverage: tests/test_diff_levels.c and tests/data/diff_stats/levels.txt, claims.txt: a true ratio of 0.8 is rejected in at most 5 %
 * under normal, lognormal and t_3 noise with effects of templates and words, 6 to 60 clusters; with very unequal clusters it is
 * cautious (1 to 4 %). What remains: where the control has no such effects while those of the pairs spread by half an e-fold it is
 * 5 to 7 %, by a whole one 7 to 11 % (any test of a mean has such a law: Bahadur and Savage 1956).
 *
 * Scope. At least DIFF_STATS_MIN_CLUSTERS templates and as many word pairs: two ways, a claim about the category. Fewer: about these
 * words only: the words are fixed and clusters are templates. Fewer than DIFF_STATS_FEW templates: no test, NaN.
 * Claims: statistics_fdr over the p of all layers, coordinates, positions and categories, and diff_stats_claim.
 *
 * Cross-fitting. Templates are split in halves (diff_stats_split). Sums are kept per half; each half has its own estimate, bound and
 * p, so that coordinates chosen in one are scored in the other (diff_stats_crossfit): the score of a chosen one is then free of the
 * winner's curse of templates, not of that of words, which both halves share; the claim itself is judged on all pairs, where nothing was chosen.
 *
 * Controls that lie farther than their pairs: x comes scaled (diff_control.c); far.txt has the levels when differences grow with the
 * distance in one way or another.
 *
 * Not covered: that control words are drawn from one pool, and that sigma is estimated (in the means, not in R). */
#ifndef STRATA_EXPERIMENTS_DIFF_STATS_H
#define STRATA_EXPERIMENTS_DIFF_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

enum { DIFF_STATS_MIN_CLUSTERS = 20, DIFF_STATS_FEW = 5, DIFF_STATS_MARGINS = 10, DIFF_STATS_STREAM = 5 };
#define DIFF_STATS_RATIO 0.8 /* the primary claim: upper bound of the ratio below this */
#define DIFF_STATS_LEVEL 0.05
/* A control whose tokens lie farther on average, by more than this share, claims no single dimension: scaled down in proportion it is a
 * bound for the whole stream, but not for each dimension (diff_control.c). */
#define DIFF_STATS_FARTHER 0.05

/* 0.05, 0.10, ..., 0.50: margins for the mean itself, in sigmas. */
extern const double diff_stats_margins[DIFF_STATS_MARGINS];

typedef enum DiffStatsScope {
    DIFF_STATS_NONE,    /* no test */
    DIFF_STATS_WORDS,   /* about these words only */
    DIFF_STATS_CATEGORY /* about the category */
} DiffStatsScope;

const char *diff_stats_scope_name(DiffStatsScope scope); /* "none", "words", "category" */

/* How the pairs of one (category, position class) fall into clusters; groups of diff_stats_group count as clusters. */
typedef struct DiffStatsDesign {
    size_t n_templates, n_words;             /* clusters */
    const double *n_template;                /* [n_templates]: pairs of each */
    const double *n_word;                    /* [2, n_words]: pairs of each in each half */
    const unsigned char *half;               /* [n_templates]: 0 or 1 */
    size_t true_templates, true_words;       /* before clusters were merged: what the scope is decided by */
    DiffStatsScope scope;                    /* from here on filled by diff_stats_design_init */
    double n_pairs[3];                       /* [half 0, half 1, all] */
    size_t used_templates[3], used_words[3]; /* clusters with pairs */
    double df[3];                            /* NaN: no test */
} DiffStatsDesign;

/* Sums over pairs of one row; the arrays of templates need no half, since a template lies in one. */
typedef struct DiffStatsSums {
    const double *y_template, *x_template; /* [n_templates, D] */
    const double *y_word, *x_word;         /* [2, n_words, D]; may be NULL unless the scope is the category */
    const double *yy, *xy, *xx;            /* [2, D]: sums of y^2, x y, x^2; may be NULL likewise */
} DiffStatsSums;

typedef struct DiffStatsCell {
    double mean, control, ratio;
    double se; /* of ratio, linearised at it */
    double p;  /* of H0: ratio >= DIFF_STATS_RATIO */
    double
        upper; /* 95 %, one-sided; infinite where the control is not told from 0; below DIFF_STATS_RATIO if and only if p < 5 % */
    double lo, hi;                         /* 95 %, two-sided */
    double mean_se, mean_skew, mean_upper; /* of the mean; mean_upper one-sided 95 % */
    double half_ratio[2], half_upper[2], half_p[2];
} DiffStatsCell;

/* Merges n clusters into at most max_groups, the largest first, each into the group with the fewest pairs so far (ties: the lower
 * index): a union of independent clusters is one. group_of[n]; returns the number of groups, 0 when memory is out. */
size_t diff_stats_group(const double *counts, size_t n, size_t max_groups, size_t *group_of);

/* Halves of templates: ordered by their number of pairs (descending, ties by index), each two neighbours are parted by one draw of
 * PCG64 (seed, DIFF_STATS_STREAM): below(2) is the half of the first. */
int diff_stats_split(const double *counts, size_t n, uint64_t seed, unsigned char *half, Error *e);

int diff_stats_design_init(DiffStatsDesign *d, Error *e);

/* out[D]. Pairs without a control are in neither sum nor count. */
void diff_stats_row(const DiffStatsDesign *d, const DiffStatsSums *sums, size_t D, DiffStatsCell *out);

/* p of H0: mean >= margin (sigmas). */
double diff_stats_mean_p(const DiffStatsDesign *d, const DiffStatsCell *c, double margin);

/* A claim: rejected by the control of false discoveries (p <= fdr_threshold), the bound below DIFF_STATS_RATIO, and the estimates
 * of both halves too. */
bool diff_stats_claim(const DiffStatsCell *c, double fdr_threshold);

/* ---- diff_stats_summary.c ---- */

/* What was chosen in one half, as the other sees it; both directions added up. Chosen are the n_best cells with the smallest ratio
 * in their half (NaN never; ties by index). */
typedef struct DiffStatsCrossfit {
    size_t n_chosen;
    double chosen_ratio, scored_ratio; /* means over the chosen: where chosen (too good) and where scored */
    double n_below, n_bound_below;     /* chosen ones whose scored ratio, scored bound is below DIFF_STATS_RATIO */
} DiffStatsCrossfit;
int diff_stats_crossfit(const double *ratio, const double *upper, size_t n_cells, size_t n_best, DiffStatsCrossfit *out,
                        Error *e); /* ratio, upper: [n_cells, 2], the half_ratio and half_upper */

/* A weighted sum of independent estimates (error minus meaning: +1/n_E each, -1/n_M each) with Welch's (1947) degrees of freedom:
 * se^2 = sum w^2 se_i^2, df = se^4 / sum (w^4 se_i^4 / df_i). p is two-sided. Terms that are not finite are left out together with
 * their side's share: the weights of each sign are scaled back to their sum; NaN when a side is empty. */
typedef struct DiffStatsTerm {
    double weight, ratio, se, df;
} DiffStatsTerm;
typedef struct DiffStatsContrast {
    double difference, se, df, lo, hi, p;
} DiffStatsContrast;
DiffStatsContrast diff_stats_contrast(const DiffStatsTerm *terms, size_t n);

/* A contrast that is known only to lie between two, of which either has its error (diff_contrast.c): lo of the least, hi of the largest;
 * the difference is the middle, se the larger one, p twice the smaller one-sided p, at most 1. NaN unless both are known. */
DiffStatsContrast diff_stats_contrast_between(const DiffStatsContrast *least, const DiffStatsContrast *most);

/* The model's basis against n random ones: how many coordinates are stable in each. p by rank: (1 + number of random bases with at
 * least as many) / (n + 1), the exact level of a Monte Carlo test (Dwass 1957). */
typedef struct DiffStatsRotation {
    size_t n;
    double count, mean, sd, least, most, p_more, p_fewer;
} DiffStatsRotation;
DiffStatsRotation diff_stats_rotation(double count, const double *random, size_t n);

/* One chosen set against n random ones, exchangeable with it under the null hypothesis: the share of all n + 1 values that lie at least
 * as far from their common mean as the chosen one's, an exact two-sided Monte Carlo test (Dwass 1957). NaN: a value is not finite. */
double diff_stats_set_p(double chosen, const double *random, size_t n);

#endif
