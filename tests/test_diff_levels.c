/* test_diff_levels.c: do the statistics of Study B hold their level, and do they find what is there? Simulations with known answers.
 *
 * `test_diff_levels` runs a small part and judges it; `test_diff_levels levels|claims [RUNS [FIRST]]` and `far [RUNS]` print the
 * whole tables (from the design FIRST on; their output is tests/data/diff_stats/levels.txt, claims.txt and far.txt).
 *
 * A pair of template g and word pair h has, at each coordinate, y = r * e * exp(s_t u_g + s_w v_h) and a control x = e' * exp(s_t u'_g + s_w v'_h),
 * each divided by its mean, so that the true ratio is r: e is |normal|, lognormal (sigma 1) or |t with 3 df| (no third moment); u,
 * v are normal, and u', v' correlate with them. Level: r = 0.8, where a rejection is false and most likely. */
#include "tests/test.h"

#include "engine/base/rng.h"
#include "experiments/diff_stats.h"
#include "experiments/statistics.h"

enum { MAX_PAIRS = 3000, MAX_IDS = 500, MAX_CLUSTERS = 64, MAX_D = 512, QUICK_RUNS = 60 };

typedef enum Law { HALF_NORMAL, LOGNORMAL, STUDENT_3 } Law;
static const char *const law_names[] = {"|normal|", "lognormal", "|t3|"};

typedef struct Design {
    const char *name;
    size_t n_pairs, n_templates, n_words, max_clusters;
    bool unbalanced; /* cluster k has a share of about 1 / (k + 1) */
} Design;

typedef struct Noise {
    Law law;
    double template_sd, word_sd, shared; /* correlation of the control's cluster effects with the pair's */
    double control_sd;                   /* of the control's effects; negative: as the pair's */
    double common;                       /* share of the template effect's variance that all coordinates have in common */
} Noise;

typedef enum Scale {
    CONTROL_AS_IT_IS,
    CONTROL_SCALED_DOWN,
    CONTROL_SCALED_UP
} Scale; /* by min(1, nearness), max(1, nearness) */

/* How far controls lie: log(distance of the control / of the pair) is normal with mean `far`, sd 0.2. */
typedef struct Distances {
    double far, power; /* differences grow with the distance to this power */
    Scale scale;
} Distances;

typedef struct World { /* one run */
    Rng rng;
    const Distances *distances; /* NULL: controls lie as near as pairs */
    size_t D, n_groups, n_word_groups;
    size_t template_of[MAX_PAIRS], word_of[MAX_PAIRS], group_of[MAX_IDS], word_group_of[MAX_IDS];
    unsigned char half[MAX_CLUSTERS];
    double n_template[MAX_CLUSTERS], n_word[2 * MAX_CLUSTERS];
    double nearness[MAX_PAIRS], farther[MAX_PAIRS]; /* of the control: distances' ratio, and what differences grow by */
    double u[MAX_IDS], v[MAX_IDS], u_control[MAX_IDS], v_control[MAX_IDS], u_common[MAX_IDS], uc_common[MAX_IDS];
    double y_template[MAX_CLUSTERS * MAX_D], x_template[MAX_CLUSTERS * MAX_D];
    double y_word[2 * MAX_CLUSTERS * MAX_D], x_word[2 * MAX_CLUSTERS * MAX_D];
    double yy[2 * MAX_D], xy[2 * MAX_D], xx[2 * MAX_D];
    DiffStatsDesign design;
    DiffStatsCell cells[MAX_D];
} World;

static World world;

static void assign(World *w, size_t n_pairs, size_t n_ids, bool unbalanced, size_t *of)
{
    double total = 0, sum = 0;
    int32_t order[MAX_PAIRS];
    for (size_t k = 0; k < n_ids; k++)
        total += 1 / (double)(k + 1);
    for (size_t i = 0; i < n_pairs; i++)
        order[i] = (int32_t)(i % n_ids);
    for (size_t i = n_ids; unbalanced && i < n_pairs; i++) {
        double at = rng_uniform(&w->rng) * total;
        size_t k = 0;
        for (sum = 1; k + 1 < n_ids && sum < at; sum += 1 / (double)(k + 1))
            k++;
        order[i] = (int32_t)k;
    }
    rng_shuffle(&w->rng, order, n_pairs);
    for (size_t i = 0; i < n_pairs; i++)
        of[i] = (size_t)order[i];
}

static size_t merge(const size_t *of, size_t n_pairs, size_t n_ids, size_t max, size_t *group_of)
{
    double counts[MAX_IDS] = {0};
    for (size_t i = 0; i < n_pairs; i++)
        counts[of[i]]++;
    return diff_stats_group(counts, n_ids, max, group_of);
}

static void world_begin(World *w, const Design *d, size_t D, uint64_t run)
{
    Error e = {0};
    rng_seed(&w->rng, 1000 + run, 77);
    w->D = D;
    assign(w, d->n_pairs, d->n_templates, d->unbalanced, w->template_of);
    assign(w, d->n_pairs, d->n_words, d->unbalanced, w->word_of);
    w->n_groups = merge(w->template_of, d->n_pairs, d->n_templates, d->max_clusters, w->group_of);
    w->n_word_groups = merge(w->word_of, d->n_pairs, d->n_words, d->max_clusters, w->word_group_of);
    memset(w->n_template, 0, sizeof w->n_template);
    memset(w->n_word, 0, sizeof w->n_word);
    for (size_t i = 0; i < d->n_pairs; i++)
        w->n_template[w->group_of[w->template_of[i]]]++;
    CHECK(diff_stats_split(w->n_template, w->n_groups, run, w->half, &e) == 0);
    for (size_t i = 0; i < d->n_pairs; i++)
        w->n_word[w->half[w->group_of[w->template_of[i]]] * w->n_word_groups + w->word_group_of[w->word_of[i]]]++;
    w->design = (DiffStatsDesign){.n_templates = w->n_groups,
                                  .n_words = w->n_word_groups,
                                  .n_template = w->n_template,
                                  .n_word = w->n_word,
                                  .half = w->half,
                                  .true_templates = d->n_templates,
                                  .true_words = d->n_words};
    CHECK(diff_stats_design_init(&w->design, &e) == 0);
    memset(w->y_template, 0, sizeof w->y_template);
    memset(w->x_template, 0, sizeof w->x_template);
    memset(w->y_word, 0, sizeof w->y_word);
    memset(w->x_word, 0, sizeof w->x_word);
    memset(w->yy, 0, sizeof w->yy);
    memset(w->xy, 0, sizeof w->xy);
    memset(w->xx, 0, sizeof w->xx);
    for (size_t k = 0; k < MAX_IDS; k++) {
        w->u_common[k] = rng_normal(&w->rng);
        w->uc_common[k] = rng_normal(&w->rng);
    }
}

static double draw_unit(Rng *rng, Law law) /* positive, mean 1 */
{
    double z = rng_normal(rng);
    if (law == LOGNORMAL)
        return exp(z - 0.5);
    if (law == HALF_NORMAL)
        return fabs(z) * 1.2533141373155003; /* sqrt(pi / 2) */
    double a = rng_normal(rng), b = rng_normal(rng), c = rng_normal(rng);
    return fabs(z) / sqrt((a * a + b * b + c * c) / 3) * 0.90689968211710892; /* pi / (2 sqrt 3) */
}

/* Effects of clusters, divided by their mean: exp(s u - s^2 / 2). */
static void draw_effects(World *w, const Noise *n, size_t n_ids, double sd, double *u, double *control, bool has_common)
{
    double other_sd = n->control_sd < 0 ? sd : sd > 0 ? n->control_sd : 0, apart = sqrt(1 - n->shared * n->shared);
    for (size_t k = 0; k < n_ids; k++) {
        double own = rng_normal(&w->rng), own_control = n->shared * own + apart * rng_normal(&w->rng);
        if (has_common) {
            own = sqrt(n->common) * w->u_common[k] + sqrt(1 - n->common) * own;
            double shared_common = n->shared * w->u_common[k] + apart * w->uc_common[k];
            own_control = sqrt(n->common) * shared_common + sqrt(1 - n->common) * own_control;
        }
        u[k] = exp(sd * own - sd * sd / 2);
        control[k] = exp(other_sd * own_control - other_sd * other_sd / 2);
    }
}

static void world_fill(World *w, const Design *d, const Noise *n, const double *ratio)
{
    size_t D = w->D;
    for (size_t i = 0; i < d->n_pairs; i++) {
        w->nearness[i] = w->distances ? exp(-(w->distances->far + 0.2 * rng_normal(&w->rng))) : 1;
        w->farther[i] = w->distances ? pow(w->nearness[i], -w->distances->power) : 1;
    }
    Scale scale = w->distances ? w->distances->scale : CONTROL_AS_IT_IS;
    for (size_t k = 0; k < D; k++) {
        draw_effects(w, n, d->n_templates, n->template_sd, w->u, w->u_control, n->common > 0);
        draw_effects(w, n, d->n_words, n->word_sd, w->v, w->v_control, false);
        for (size_t i = 0; i < d->n_pairs; i++) {
            size_t t = w->template_of[i], h = w->word_of[i], g = w->group_of[t], half = w->half[g];
            size_t word = half * w->n_word_groups + w->word_group_of[h];
            double y = ratio[k] * draw_unit(&w->rng, n->law) * w->u[t] * w->v[h];
            double x = draw_unit(&w->rng, n->control_sd < 0 ? n->law : HALF_NORMAL) * w->u_control[t] * w->v_control[h];
            x *= w->farther[i];
            x *= scale == CONTROL_SCALED_DOWN ? fmin(1, w->nearness[i])
                 : scale == CONTROL_SCALED_UP ? fmax(1, w->nearness[i])
                                              : 1;
            w->y_template[g * D + k] += y;
            w->x_template[g * D + k] += x;
            w->y_word[word * D + k] += y;
            w->x_word[word * D + k] += x;
            w->yy[half * D + k] += y * y;
            w->xy[half * D + k] += x * y;
            w->xx[half * D + k] += x * x;
        }
    }
    DiffStatsSums sums = {w->y_template, w->x_template, w->y_word, w->x_word, w->yy, w->xy, w->xx};
    diff_stats_row(&w->design, &sums, D, w->cells);
}

static const Design designs[] = {{"6 templates, 1 word pair", 120, 6, 1, 48, false},
                                 {"10 templates, 1 word pair", 200, 10, 1, 48, false},
                                 {"20 x 20, equal", 600, 20, 20, 48, false},
                                 {"20 x 20, unequal", 600, 20, 20, 48, true},
                                 {"60 x 60, equal, 48 groups", 600, 60, 60, 48, false},
                                 {"60 x 60, unequal, 48 groups", 600, 60, 60, 48, true},
                                 {"40 x 200, unequal, 48 groups", 2000, 40, 200, 48, true}};
enum { N_DESIGNS = sizeof designs / sizeof *designs };

static const Noise noises[] = {
    {HALF_NORMAL, 0, 0, 0, -1, 0},     {HALF_NORMAL, 0.4, 0.4, 0.5, -1, 0}, {HALF_NORMAL, 0.8, 0.8, 0, -1, 0},
    {HALF_NORMAL, 0.4, 0.4, 1, -1, 0}, {STUDENT_3, 0.4, 0.2, 0.5, -1, 0},   {LOGNORMAL, 0.4, 0.4, 0.5, -1, 0},
    {LOGNORMAL, 1, 0.5, 0.5, -1, 0},   {HALF_NORMAL, 0.5, 0.5, 0, 0, 0},    {LOGNORMAL, 1, 0, 0, 0, 0}};
enum { N_NOISES = sizeof noises / sizeof *noises };

/* ---- levels of one test ---- */

typedef struct Level {
    double n, at_5, at_1, at_01, covered, half_at_5, half_n;
} Level;

static Level measure_level(const Design *d, const Noise *n, size_t D, size_t runs, double truth)
{
    Level l = {0};
    double ratio[MAX_D];
    for (size_t k = 0; k < D; k++)
        ratio[k] = truth;
    for (size_t run = 0; run < runs; run++) {
        world_begin(&world, d, D, run);
        world_fill(&world, d, n, ratio);
        for (size_t k = 0; k < D; k++) {
            const DiffStatsCell *c = &world.cells[k];
            l.n++;
            l.at_5 += c->p < 0.05;
            l.at_1 += c->p < 0.01;
            l.at_01 += c->p < 0.001;
            l.covered += c->lo <= truth && truth <= c->hi;
            for (int h = 0; h < 2; h++) {
                l.half_at_5 += c->half_p[h] < 0.05;
                l.half_n += !isnan(c->half_p[h]);
            }
        }
    }
    return l;
}

/* ---- many tests at once ---- */

typedef struct Discoveries {
    double runs, false_rate, power_04, power_06, any_false, found, chosen_ratio, scored_ratio, true_ratio;
} Discoveries;

/* share_null of the coordinates have ratio `null`, the rest is split between 0.4 and 0.6. */
static Discoveries measure_discoveries(const Design *d, const Noise *n, size_t D, size_t runs, double null, double share_null)
{
    Discoveries out = {0};
    static double ratio[MAX_D], p[MAX_D], halves[2 * MAX_D], uppers[2 * MAX_D];
    size_t n_null = (size_t)(share_null * (double)D + 0.5), n_04 = (D - n_null) / 2;
    for (size_t k = 0; k < D; k++)
        ratio[k] = k < n_null ? null : k < n_null + n_04 ? 0.4 : 0.6;
    for (size_t run = 0; run < runs; run++) {
        StatisticsFdr fdr;
        DiffStatsCrossfit fit;
        Error e = {0};
        size_t n_false = 0, n_claims = 0, found[2] = {0, 0};
        world_begin(&world, d, D, run);
        world_fill(&world, d, n, ratio);
        for (size_t k = 0; k < D; k++) {
            p[k] = world.cells[k].p;
            for (int h = 0; h < 2; h++) {
                halves[2 * k + (size_t)h] = world.cells[k].half_ratio[h];
                uppers[2 * k + (size_t)h] = world.cells[k].half_upper[h];
            }
        }
        CHECK(statistics_fdr(p, D, DIFF_STATS_LEVEL, 0, &fdr, &e) == 0);
        CHECK(diff_stats_crossfit(halves, uppers, D, 10, &fit, &e) == 0);
        for (size_t k = 0; k < D; k++)
            if (diff_stats_claim(&world.cells[k], fdr.threshold)) {
                n_claims++;
                if (k < n_null)
                    n_false++;
                else
                    found[k >= n_null + n_04]++;
            }
        out.false_rate += n_claims ? (double)n_false / (double)n_claims : 0;
        out.any_false += n_false > 0;
        out.found += (double)n_claims;
        out.power_04 += n_04 ? (double)found[0] / (double)n_04 : 0;
        out.power_06 += D - n_null > n_04 ? (double)found[1] / (double)(D - n_null - n_04) : 0;
        out.chosen_ratio += fit.chosen_ratio;
        out.scored_ratio += fit.scored_ratio;
    }
    double *all = &out.false_rate;
    for (size_t i = 0; i < 7; i++)
        all[i] /= (double)runs;
    out.runs = (double)runs;
    return out;
}

/* As measure_contrast, where the first category's control lies farther: against the control scaled down alone, and by both bounds. */
static void measure_far_contrast(const Design *d, const Noise *n, Distances distances, size_t D, size_t runs, double *alone,
                                 double *between)
{
    static DiffStatsCell down[2][MAX_D], up[2][MAX_D];
    double ratio[MAX_D], far = distances.far, df = NAN;
    *alone = *between = 0;
    for (size_t k = 0; k < D; k++)
        ratio[k] = 0.9;
    world.distances = &distances;
    for (size_t run = 0; run < runs; run++) {
        for (size_t which = 0; which < 2; which++) {
            distances.far = which ? 0 : far;
            for (int scale = CONTROL_SCALED_DOWN; scale <= CONTROL_SCALED_UP; scale++) { /* the same draws in both */
                distances.scale = (Scale)scale;
                world_begin(&world, d, D, 2 * run + which);
                world_fill(&world, d, n, ratio);
                memcpy(scale == CONTROL_SCALED_DOWN ? down[which] : up[which], world.cells, D * sizeof *world.cells);
            }
            df = world.design.df[2];
        }
        for (size_t k = 0; k < D; k++) {
            const DiffStatsTerm least[] = {{1, up[0][k].ratio, up[0][k].se, df}, {-1, down[1][k].ratio, down[1][k].se, df}},
                                most[] = {{1, down[0][k].ratio, down[0][k].se, df}, {-1, up[1][k].ratio, up[1][k].se, df}},
                                one[] = {{1, down[0][k].ratio, down[0][k].se, df}, {-1, down[1][k].ratio, down[1][k].se, df}};
            DiffStatsContrast a = diff_stats_contrast(least, 2), b = diff_stats_contrast(most, 2);
            *alone += diff_stats_contrast(one, 2).p < 0.05;
            *between += diff_stats_contrast_between(&a, &b).p < 0.05;
        }
    }
    world.distances = NULL;
    *alone /= (double)(runs * D);
    *between /= (double)(runs * D);
}

static Level measure_far_level(Distances distances, Scale scale, size_t D, size_t runs, double truth)
{
    distances.scale = scale;
    world.distances = &distances;
    Level l = measure_level(&designs[4], &noises[1], D, runs, truth);
    world.distances = NULL;
    return l;
}

/* Difference of two categories with the same ratio: how often p < 5 %, two-sided. */
static double measure_contrast(const Design *d, const Noise *n, size_t D, size_t runs)
{
    static DiffStatsCell first[MAX_D];
    double ratio[MAX_D], rejected = 0;
    for (size_t k = 0; k < D; k++)
        ratio[k] = 0.9;
    for (size_t run = 0; run < runs; run++) {
        world_begin(&world, d, D, 2 * run);
        world_fill(&world, d, n, ratio);
        memcpy(first, world.cells, sizeof first);
        double df = world.design.df[2];
        world_begin(&world, d, D, 2 * run + 1);
        world_fill(&world, d, n, ratio);
        for (size_t k = 0; k < D; k++) {
            const DiffStatsTerm terms[] = {{1, first[k].ratio, first[k].se, df},
                                           {-1, world.cells[k].ratio, world.cells[k].se, world.design.df[2]}};
            rejected += diff_stats_contrast(terms, 2).p < 0.05;
        }
    }
    return rejected / (double)(runs * D);
}

static void print_noise(const Noise *n)
{
    printf("%-9s %3.1f %3.1f %3.1f%s", law_names[n->law], n->template_sd, n->word_sd, n->shared,
           n->control_sd < 0 ? "   " : " c=0");
}

static void print_levels(size_t runs, size_t first)
{
    const size_t D = 32;
    printf(
        "# test_diff_levels levels %zu\n# %zu runs of %zu coordinates a line; rejections of a true ratio of 0.8, in percent.\n"
        "# law of a pair, sd of template effects, of word effects (log), correlation with the control's; c=0: the control "
        "has no\n"
        "# such effects and is |normal|, the worst case. covered: two-sided 95 %% intervals; halves: level of each half at "
        "5 %%.\n"
        "# Standard error of 5 %%: at most 0.5 (if the coordinates of a run were one), 0.09 if they were independent.\n",
        runs, runs, D);
    printf("%-30s %-23s %7s %7s %7s %9s %8s\n", "clusters", "noise", "5 %", "1 %", "0.1 %", "covered", "halves");
    for (size_t i = first; i < N_DESIGNS; i++)
        for (size_t k = 0; k < N_NOISES; k++) {
            Noise n = noises[k];
            if (designs[i].n_words < DIFF_STATS_MIN_CLUSTERS) /* a claim about these words: they are fixed */
                n.word_sd = 0;
            Level l = measure_level(&designs[i], &n, D, runs, DIFF_STATS_RATIO);
            printf("%-30s ", designs[i].name);
            print_noise(&n);
            printf(" %9.2f %7.2f %7.3f %9.2f %8.2f\n", 100 * l.at_5 / l.n, 100 * l.at_1 / l.n, 100 * l.at_01 / l.n,
                   100 * l.covered / l.n, l.half_n > 0 ? 100 * l.half_at_5 / l.half_n : NAN);
            fflush(stdout);
        }
}

static void print_claims(size_t runs, size_t first)
{
    const size_t D = 100;
    printf("# test_diff_levels claims %zu %zu\n", runs, first);
    printf("# claims among %zu coordinates with dependent template effects (half of their variance is common to all); false: "
           "mean share\n"
           "# of false claims; any: runs with a false claim; power at ratio 0.4 and 0.6; the ten best of one half and their "
           "score in the other.\n",
           D);
    printf("%-30s %-14s %7s %7s %8s %8s %8s %8s\n", "clusters", "truth", "false", "any", "0.4", "0.6", "chosen", "scored");
    for (size_t i = first; i < N_DESIGNS; i++) {
        static const struct {
            const char *name;
            double null, share;
        } truths[] = {{"all 1.0", 1, 1}, {"all 0.8", 0.8, 1}, {"90 % at 0.8", 0.8, 0.9}, {"90 % at 1.0", 1, 0.9}};
        for (size_t k = 0; k < 4; k++) {
            Noise n = {HALF_NORMAL, 0.4, designs[i].n_words < DIFF_STATS_MIN_CLUSTERS ? 0 : 0.3, 0.5, -1, 0.5};
            Discoveries d = measure_discoveries(&designs[i], &n, D, runs, truths[k].null, truths[k].share);
            printf("%-30s %-14s %7.2f %7.2f %8.1f %8.1f %8.3f %8.3f\n", designs[i].name, truths[k].name, 100 * d.false_rate,
                   100 * d.any_false, 100 * d.power_04, 100 * d.power_06, d.chosen_ratio, d.scored_ratio);
            fflush(stdout);
        }
    }
    printf("\n# error minus meaning, both ratios 0.9: rejections at 5 %%, two-sided, in percent\n");
    for (size_t i = 0; i < N_DESIGNS; i++) {
        Noise n = {HALF_NORMAL, 0.4, designs[i].n_words < DIFF_STATS_MIN_CLUSTERS ? 0 : 0.3, 0.5, -1, 0};
        printf("%-30s %7.2f\n", designs[i].name, 100 * measure_contrast(&designs[i], &n, 16, runs / 4));
        fflush(stdout);
    }
}

static void print_far(size_t runs)
{
    const size_t D = 32;
    const double powers[] = {0, 0.25, 0.5, 0.75, 1, 1.25}, fars[] = {0, 0.25, 0.5};
    printf("# test_diff_levels far %zu\n"
           "# Controls that lie farther: log(distance of the control / of the pair) is normal, mean `far`, sd 0.2; differences "
           "grow with\n"
           "# the distance to the power `power`. %zu runs of %zu coordinates a line, %s, |normal| 0.4 0.4 0.5.\n"
           "# Rejections at 5 %% of a true ratio of 0.8, in percent, against the control as it is and scaled down (the bound "
           "that claims\n"
           "# use), and of 0.4 against the scaled one; two-sided rejections of equal ratios, 0.9 each, of such a category and "
           "one with\n"
           "# far 0, against scaled controls alone and by both bounds. A power over 1 breaks what the bound supposes.\n",
           runs, runs, D, designs[4].name);
    printf("%5s %6s %9s %8s %8s %9s %8s\n", "far", "power", "as it is", "scaled", "of 0.4", "contrast", "bounds");
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 6; k++) {
            Distances x = {.far = fars[i], .power = powers[k]};
            double alone, between;
            Level as_is = measure_far_level(x, CONTROL_AS_IT_IS, D, runs, DIFF_STATS_RATIO);
            Level scaled = measure_far_level(x, CONTROL_SCALED_DOWN, D, runs, DIFF_STATS_RATIO);
            Level found = measure_far_level(x, CONTROL_SCALED_DOWN, D, runs, 0.4);
            measure_far_contrast(&designs[4], &noises[1], x, D, runs / 2, &alone, &between);
            printf("%5.2f %6.2f %9.2f %8.2f %8.2f %9.2f %8.2f\n", fars[i], powers[k], 100 * as_is.at_5 / as_is.n,
                   100 * scaled.at_5 / scaled.n, 100 * found.at_5 / found.n, 100 * alone, 100 * between);
            fflush(stdout);
        }
}

/* ---- the part that is judged ---- */

/* Coordinates of a run share the design but not the draws: rejections are binomial. The bound is the mean plus four standard
 * deviations of a binomial at the nominal level: passed by a test that holds its level in all but 3 of 100,000 such checks. */
static double most_allowed(double n, double level)
{
    return n * level + 4 * sqrt(n * level * (1 - level));
}

static void test_level_is_held(void)
{
    const size_t D = 16, design_index[] = {1, 2, 3, 4}, noise_index[] = {0, 1, 4};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 3; k++) {
            const Design *d = &designs[design_index[i]];
            Noise n = noises[noise_index[k]];
            if (d->n_words < DIFF_STATS_MIN_CLUSTERS)
                n.word_sd = 0;
            Level l = measure_level(d, &n, D, QUICK_RUNS, DIFF_STATS_RATIO);
            CHECK_MSG(l.at_5 <= most_allowed(l.n, 0.05) && l.at_1 <= most_allowed(l.n, 0.01), "%s, %s: %g and %g of %g",
                      d->name, law_names[n.law], l.at_5, l.at_1, l.n);
            CHECK_MSG(l.n - l.covered <= most_allowed(l.n, 0.05), "%s, %s: %g of %g covered", d->name, law_names[n.law],
                      l.covered, l.n);
            CHECK_MSG(l.half_at_5 <= most_allowed(l.half_n, 0.05), "%s, %s: halves %g of %g", d->name, law_names[n.law],
                      l.half_at_5, l.half_n);
        }
}

/* On noise, false claims in at most 5 % of runs; with planted ones, a share of at most 5 %, and 0.4 is found. */
static void test_noise_claims_nothing(void)
{
    const Design *d = &designs[4];
    const Noise n = {HALF_NORMAL, 0.4, 0.3, 0.5, -1, 0.5};
    Discoveries noise = measure_discoveries(d, &n, 100, QUICK_RUNS, 0.8, 1);
    CHECK_MSG(noise.any_false * QUICK_RUNS <= most_allowed(QUICK_RUNS, 0.05), "runs with false claims: %g of %d",
              noise.any_false * QUICK_RUNS, QUICK_RUNS);
    /* The ten best of a hundred look better than they are where they were chosen, and not where they are scored: 1,200 scores of sd
     * near 0.1, common to coordinates in part. */
    CHECK_MSG(noise.chosen_ratio < 0.75 && fabs(noise.scored_ratio - 0.8) < 0.03, "chosen %g, scored %g", noise.chosen_ratio,
              noise.scored_ratio);
}

static void test_planted_are_found(void)
{
    const Design *d = &designs[4];
    const Noise n = {HALF_NORMAL, 0.4, 0.3, 0.5, -1, 0.5};
    Discoveries planted = measure_discoveries(d, &n, 100, QUICK_RUNS, 0.8, 0.8);
    CHECK_MSG(planted.power_04 >= 0.95, "power at 0.4: %g", planted.power_04);
    /* The share of false claims of a run lies in [0, 1], at most 0.25 in nearly all; its mean over 60 runs has an error below 0.02. */
    CHECK_MSG(planted.false_rate <= 0.05 + 0.02, "false share %g", planted.false_rate);
}

/* Controls half an e-fold farther: as they are, they would claim; scaled down, they claim nothing that is not so, whether differences grow
 * with the root of the distance or in proportion, and still find 0.4 where they do. Equal ratios are told apart by no more than 5 %. */
static void test_far_controls_are_bounded(void)
{
    const size_t D = 16;
    for (size_t k = 0; k < 2; k++) {
        Distances x = {.far = 0.5, .power = k ? 1 : 0.5};
        double alone, between;
        Level as_is = measure_far_level(x, CONTROL_AS_IT_IS, D, QUICK_RUNS, DIFF_STATS_RATIO);
        Level scaled = measure_far_level(x, CONTROL_SCALED_DOWN, D, QUICK_RUNS, DIFF_STATS_RATIO);
        Level found = measure_far_level(x, CONTROL_SCALED_DOWN, D, QUICK_RUNS, 0.4);
        measure_far_contrast(&designs[4], &noises[1], x, D, QUICK_RUNS / 2, &alone, &between);
        CHECK_MSG(as_is.at_5 > 0.5 * as_is.n, "power %g: %g of %g", x.power, as_is.at_5, as_is.n);
        CHECK_MSG(scaled.at_5 <= most_allowed(scaled.n, 0.05), "power %g: %g of %g", x.power, scaled.at_5, scaled.n);
        CHECK_MSG(found.at_5 > 0.9 * found.n, "power %g: %g of %g", x.power, found.at_5, found.n);
        CHECK_MSG(between * QUICK_RUNS / 2 * (double)D <= most_allowed(QUICK_RUNS / 2 * (double)D, 0.05), "power %g: %g",
                  x.power, between);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "far") == 0) {
        print_far(argc > 2 ? strtoull(argv[2], NULL, 10) : 400);
        return 0;
    }
    bool levels = argc > 1 && strcmp(argv[1], "levels") == 0, claims = argc > 1 && strcmp(argv[1], "claims") == 0;
    if (levels || claims) {
        (levels ? print_levels : print_claims)(argc > 2 ? strtoull(argv[2], NULL, 10) : 2000,
                                               argc > 3 ? strtoull(argv[3], NULL, 10) : 0);
        return 0;
    }
    RUN(test_level_is_held);
    RUN(test_noise_claims_nothing);
    RUN(test_planted_are_found);
    RUN(test_far_controls_are_bounded);
    return test_finish();
}
