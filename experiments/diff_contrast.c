/* diff_contrast.c: the primary contrast of error correction: the ratios to control of error categories minus those of meaning
 * categories, each category with the same weight on its side; of the layer curves, and of every cell. Stability alone shows nothing.
 *
 * A control that lies farther or nearer than its pair leaves a ratio open between two bounds (diff_control.c), and so the contrast: its
 * least value takes the errors' least and the meanings' largest ratios, its largest the other way round (partial identification:
 * Manski 2003). lo is the 95 % interval's lower end of the least, hi the upper end of the largest, which covers whatever lies between
 * (Imbens and Manski 2004, without their narrowing).
 * Cells keep one bound only: categories whose control lies farther take no part in their contrast. */
#include <math.h>
#include <stdlib.h>

#include "experiments/diff.h"

bool diff_in_contrast(const DiffCategory *c, const DiffResult *r)
{
    return r->n_control && c->kind != DIFF_KIND_OTHER && r->design.scope == DIFF_STATS_CATEGORY && !isnan(r->design.df[2]);
}

typedef struct Sides { /* categories that take part */
    size_t n, n_errors, n_meanings;
    const DiffResult *results[2 * PAIR_N_CATEGORIES];
    double weight[2 * PAIR_N_CATEGORIES];
} Sides;

static void list_sides(const Diff *s, DiffClass class, bool with_far, Sides *out)
{
    *out = (Sides){0};
    for (size_t c = 0; c < s->categories.n; c++) {
        const DiffResult *r = &s->outcomes[c].at[class];
        DiffKind kind = s->categories.list[c].kind;
        if (!diff_in_contrast(&s->categories.list[c], r) || (r->control_is_far && !with_far))
            continue;
        out->n_errors += kind == DIFF_KIND_ERROR;
        out->n_meanings += kind == DIFF_KIND_MEANING;
        out->weight[out->n] = kind == DIFF_KIND_ERROR ? 1 : -1;
        out->results[out->n++] = r;
    }
    for (size_t i = 0; i < out->n; i++)
        out->weight[i] /= (double)(out->weight[i] > 0 ? out->n_errors : out->n_meanings);
}

/* Of one curve point: errors against the control's one bound, meanings against the other. */
static DiffStatsContrast contrast_bound(const Sides *sides, size_t i, bool largest)
{
    DiffStatsTerm terms[2 * PAIR_N_CATEGORIES];
    for (size_t k = 0; k < sides->n; k++) {
        const DiffCurvePoint *x = &sides->results[k]->curves[i];
        const DiffStatsCell *c = (sides->weight[k] > 0) == largest ? &x->cell : &x->least;
        terms[k] =
            (DiffStatsTerm){.weight = sides->weight[k], .ratio = c->ratio, .se = c->se, .df = sides->results[k]->design.df[2]};
    }
    return diff_stats_contrast(terms, sides->n);
}

static DiffStatsContrast contrast_cell(const Sides *sides, size_t i)
{
    DiffStatsTerm terms[2 * PAIR_N_CATEGORIES];
    for (size_t k = 0; k < sides->n; k++) {
        const DiffResult *r = sides->results[k];
        terms[k] = (DiffStatsTerm){
            .weight = sides->weight[k], .ratio = (double)r->ratio[i], .se = (double)r->se[i], .df = r->design.df[2]};
    }
    return diff_stats_contrast(terms, sides->n);
}

static int test_cells(const Diff *s, const Sides *sides, DiffContrast *out, Error *e)
{
    size_t cells = (s->n_points - 1) * s->d;
    double *p = malloc(cells * sizeof *p), *difference = malloc(cells * sizeof *difference);
    StatisticsFdr fdr;
    int status = p && difference ? STATUS_OK : error_set(e, STATUS_FAILED, "diff: out of memory for contrasts");
    for (size_t i = 0; !status && i < cells; i++) {
        DiffStatsContrast c = contrast_cell(sides, i);
        p[i] = c.p;
        difference[i] = c.difference;
    }
    if (!status)
        status = statistics_fdr(p, cells, DIFF_STATS_LEVEL, 0, &fdr, e);
    if (!status)
        out->n_tested = fdr.n_tested;
    for (size_t i = 0; !status && i < cells; i++) {
        out->n_lower += p[i] <= fdr.threshold && difference[i] < 0;
        out->n_higher += p[i] <= fdr.threshold && difference[i] > 0;
    }
    free(p);
    free(difference);
    return status;
}

static int run_class(Diff *s, DiffClass class, Error *e)
{
    DiffContrast *out = &s->contrasts[class];
    Sides sides;
    list_sides(s, class, true, &sides);
    out->n_errors = sides.n_errors;
    out->n_meanings = sides.n_meanings;
    if (!sides.n_errors || !sides.n_meanings)
        return STATUS_OK;
    out->curves = arena_array(&s->arena, s->n_points * DIFF_N_CURVES, sizeof *out->curves);
    if (!out->curves)
        return error_set(e, STATUS_FAILED, "diff: out of memory for contrasts");
    for (size_t i = 0; i < s->n_points * DIFF_N_CURVES; i++) {
        DiffStatsContrast least = contrast_bound(&sides, i, false), most = contrast_bound(&sides, i, true);
        out->curves[i] = diff_stats_contrast_between(&least, &most);
    }
    list_sides(s, class, false, &sides);
    return sides.n_errors && sides.n_meanings ? test_cells(s, &sides, out, e) : STATUS_OK;
}

int diff_contrast_run(Diff *s, Error *e)
{
    int status = STATUS_OK;
    for (int class = 0; !status && class < DIFF_N_CLASSES; class ++)
        status = run_class(s, (DiffClass) class, e);
    return status;
}
