/* diff.h: what the parts of `strata diff` share: the study's state and what is known of a category when its pairs have been seen. */
#ifndef STRATA_EXPERIMENTS_DIFF_H
#define STRATA_EXPERIMENTS_DIFF_H

#include "engine/base/progress.h"
#include "experiments/captions.h"
#include "experiments/diff_corpus.h"
#include "experiments/diff_pairs.h"
#include "experiments/diff_run.h"
#include "experiments/diff_save.h"
#include "experiments/diff_sigma.h"
#include "experiments/diff_sums.h"
#include "experiments/run_record.h"
#include "experiments/statistics.h"
#include "experiments/workbench.h"

/* Layer curves: means over pairs of ||x_b - x_a||, the same over ||x_a||, 1 - cosine(x_a, x_b), and the mean over dimensions of
 * |x_b - x_a| / sigma. */
typedef enum DiffCurve {
    DIFF_CURVE_NORM,
    DIFF_CURVE_RELATIVE,
    DIFF_CURVE_COSINE,
    DIFF_CURVE_NORMALISED,
    DIFF_N_CURVES
} DiffCurve;
enum { DIFF_CURVE_COLS = 2 * DIFF_N_CURVES }; /* of the sums: against the control scaled down, and scaled up (diff_control.c) */
extern const char *const diff_curve_names[DIFF_N_CURVES]; /* "norm", "relative_norm", "cosine", "normalised" */

enum {
    DIFF_RANDOM_BASES = 19, /* rank 1 of 20 is the 5 % level */
    DIFF_BEST = 100,        /* cells ranked and cross-fitted */
    DIFF_ABLATION_SETS = 19 /* random sets of dimensions beside the claimed one: likewise */
};

typedef struct DiffCurvePoint {
    double pairs, control, shuffled; /* means; control over the pairs that have one */
    /* Of pairs with a control. cell: against it scaled down where it lies farther, mean, ratio, hi, se; least: against it scaled up where
     * it lies nearer, ratio, se. lo of both is that of least. */
    DiffStatsCell cell, least;
} DiffCurvePoint;

/* Of one position class. Arrays [n_points, D] unless said otherwise; points: L + 1, then after the final norm. */
typedef struct DiffResult {
    size_t n, n_control, n_shuffled;
    double *mean, *sd, *median; /* of |x_b - x_a| */
    double median_bound;        /* the most a median is off, over sigma; NaN medians apart */
    size_t n_median_open;       /* medians outside their grid: NaN */
    float *control, *shuffled;  /* of |x_c - x_a| and of the shuffled pairing */
    float *ratio, *upper, *se, *half[2], *half_upper[2];
    double *p;
    DiffStatsDesign design;            /* its arrays are gone: counts, scope and degrees of freedom */
    DiffCurvePoint *curves;            /* [n_points, DIFF_N_CURVES] */
    double *kendall, *kendall_control; /* [n_points] */
    double *lens, *lens_control;       /* [n_points]: mean KL of the logit lens; NULL: not run */
    size_t n_lens;
    size_t margin[DIFF_STATS_MARGINS]; /* cells whose mean is below each margin, after control of false discoveries */
    DiffStatsCrossfit crossfit;
    double *stable;   /* [n_points, 1 + DIFF_RANDOM_BASES]: stable coordinates in the model's basis and the random ones */
    double *small;    /* likewise, coordinates whose mean is below half a sigma, sigma recomputed in each basis */
    size_t n_rotated; /* pairs behind them */
    size_t n_claims;
    bool control_is_far; /* the control's tokens lie more than 5 % farther than the pairs' */
} DiffResult;

/* Of one category. */
typedef struct DiffOutcome {
    DiffResult at[DIFF_N_CLASSES];
    size_t n_matched; /* pairs with a control */
    double identical; /* largest |difference| of the same sentence put twice into a block */
} DiffOutcome;

/* Error pairs minus meaning pairs: the difference of the mean ratios to control, by class. n_*: cells whose own contrast survives
 * the control of false discoveries over all cells of the class. */
typedef struct DiffContrast {
    size_t n_errors, n_meanings; /* categories on either side: diff_in_contrast */
    DiffStatsContrast *curves;   /* [n_points, DIFF_N_CURVES]; NULL: a side is empty */
    size_t n_tested, n_lower, n_higher;
} DiffContrast;

typedef struct DiffAblation {
    size_t category, point, n_dims, n_pairs, n_claims; /* n_claims: at that point, of which n_dims are ablated */
    int32_t *dims;                                     /* [n_dims] */
    DiffClass class;
    /* Intact, the claimed dimensions, then DIFF_ABLATION_SETS random sets of the same variance. area: sum over the points behind of
     * mean ||x_b - x_a|| from the edit on, over the dimensions outside the set (intact: all of them); before: the same over the same
     * dimensions in the intact model; loss: mean nll of the tokens behind the edit, in nats, of b and of a. */
    double area[2 + DIFF_ABLATION_SETS], before[2 + DIFF_ABLATION_SETS];
    double loss_b[2 + DIFF_ABLATION_SETS], loss_a[2 + DIFF_ABLATION_SETS];
    double p_area, p_loss; /* diff_stats_set_p: of area / before, of loss_b; NaN: no test */
} DiffAblation;

/* Numerical floors: the largest and the root mean square of |difference of the difference| over a sample of pairs, [n_points] each. */
typedef struct DiffFloor {
    double *most, *rms;
    size_t n_pairs;
} DiffFloor;

typedef enum DiffFloorKind { DIFF_FLOOR_PREFIX, DIFF_FLOOR_SHAPE, DIFF_FLOOR_REF64, DIFF_N_FLOORS } DiffFloorKind;

typedef struct Diff {
    const StrataDiffOptions *options;
    StrataCommon common; /* with this study's model */
    Workbench bench;
    Arena arena;
    Order order;
    DiffTap tap;
    CaptionsLang lang;
    const PairFile *pairs;
    DiffCategories categories;
    DiffCorpus corpus;
    DiffSigmaResult sigma;
    DiffRotations rotations;
    DiffRunner runner;
    DiffSums *sums, *curve_sums;
    DiffOutcome *outcomes; /* [categories.n] */
    DiffFloor floors[DIFF_N_FLOORS];
    DiffContrast contrasts[DIFF_N_CLASSES];
    DiffAblation *ablations;
    size_t n_ablations;
    StatisticsFdr fdr, fdr_any;
    size_t n_claims;
    size_t n_points, d; /* n_points: L + 2 */
    size_t groups;      /* most groups of templates and of word pairs */
    bool controls;
    DiffSave *save; /* NULL: none */
    const char *dir;
    RunRecord *record;
    Progress progress;
    double rows_done, rows_total;
} Diff;

/* In the order of the study. Each is called once. */
int diff_corpus_run(Diff *s, Error *e);                      /* diff_sigma_run.c: sigma and its company */
int diff_control_choose(Diff *s, DiffCategory *c, Error *e); /* diff_control.c: the matched swap of each pair */
int diff_category_run(Diff *s, size_t category,
                      Error *e);           /* diff_category.c: all pairs through the model, then what is known of them */
int diff_floor_run(Diff *s, Error *e);     /* diff_floor.c */
int diff_lens_run(Diff *s, Error *e);      /* diff_lens.c */
int diff_claims_decide(Diff *s, Error *e); /* diff_claims.c: false discoveries over everything */
int diff_contrast_run(Diff *s, Error *e);  /* diff_contrast.c: error minus meaning */
int diff_ablation_run(Diff *s, Error *e);  /* diff_ablate.c */
int diff_write(Diff *s, Error *e);         /* diff_write.c: diff.json, diff.safetensors, CSVs */
void diff_print(const Diff *s, FILE *out); /* diff_print.c: what holds and what does not, in plain words */

/* Error and meaning categories take part in the contrast where their pairs with a control allow a claim about the category. */
bool diff_in_contrast(const DiffCategory *c, const DiffResult *r);
bool diff_is_claim(const Diff *s, const DiffResult *r, size_t cell);
double diff_step_progress(Diff *s, double rows); /* adds rows done and shows them */
/* How many pairs of categories[c] have position class k: outcomes[c].at[k].n. Rows that the category's pass computes: */
double diff_category_rows(const Diff *s, const DiffCategory *c);
/* What the pass takes beside the sums: of the table's memory, of the host's, and of the host's for each row of a block. */
typedef struct DiffPassBytes {
    size_t table, host, host_row;
} DiffPassBytes;
DiffPassBytes diff_category_bytes(const Diff *s);
const Pair *diff_pair(const Diff *s, const DiffCategory *c, size_t i);

#endif
