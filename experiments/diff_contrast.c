/* diff_contrast.c: the primary contrast of error correction: the ratios to control of error categories minus those of meaning
 * categories whose control lies no farther than their pairs, each category with the same weight on its side; of the layer curves, and of every cell. Stability alone shows nothing. */
#include <math.h>
#include <stdlib.h>

#include "experiments/diff.h"

/* Categories that take part, with their weights; returns how many. */
static size_t list_sides(const Diff *s, DiffClass class, DiffContrast *out, const DiffResult **results, double *weight)
{
    size_t n = 0;
    out->n_errors = out->n_meanings = 0;
    for (size_t c = 0; c < s->categories.n; c++) {
        const DiffResult *r = &s->outcomes[c].at[class];
        DiffKind kind = s->categories.list[c].kind;
        if (r->n_control == 0 || isnan(r->design.df[2]) || kind == DIFF_KIND_OTHER || r->control_is_far)
            continue;
        out->n_errors += kind == DIFF_KIND_ERROR;
        out->n_meanings += kind == DIFF_KIND_MEANING;
        weight[n] = kind == DIFF_KIND_ERROR ? 1 : -1;
        results[n++] = r;
    }
    for (size_t i = 0; i < n; i++)
        weight[i] /= (double)(weight[i] > 0 ? out->n_errors : out->n_meanings);
    return n;
}

static int run_class(Diff *s, DiffClass class, Error *e)
{
    DiffContrast *out = &s->contrasts[class];
    const DiffResult *results[2 * PAIR_N_CATEGORIES];
    double weight[2 * PAIR_N_CATEGORIES];
    DiffStatsTerm terms[2 * PAIR_N_CATEGORIES];
    size_t n = list_sides(s, class, out, results, weight), cells = (s->n_points - 1) * s->d;
    if (!out->n_errors || !out->n_meanings)
        return STATUS_OK;
    double *p = malloc(cells * sizeof *p), *difference = malloc(cells * sizeof *difference);
    out->curves = arena_array(&s->arena, s->n_points * DIFF_N_CURVES, sizeof *out->curves);
    if (!p || !difference || !out->curves) {
        free(p);
        free(difference);
        return error_set(e, STATUS_FAILED, "diff: out of memory for contrasts");
    }
    for (size_t i = 0; i < s->n_points * DIFF_N_CURVES; i++) {
        for (size_t k = 0; k < n; k++) {
            const DiffStatsCell *c = &results[k]->curves[i].cell;
            terms[k] = (DiffStatsTerm){.weight = weight[k], .ratio = c->ratio, .se = c->se, .df = results[k]->design.df[2]};
        }
        out->curves[i] = diff_stats_contrast(terms, n);
    }
    for (size_t i = 0; i < cells; i++) {
        for (size_t k = 0; k < n; k++)
            terms[k] = (DiffStatsTerm){.weight = weight[k],
                                       .ratio = (double)results[k]->ratio[i],
                                       .se = (double)results[k]->se[i],
                                       .df = results[k]->design.df[2]};
        DiffStatsContrast c = diff_stats_contrast(terms, n);
        p[i] = c.p;
        difference[i] = c.difference;
    }
    StatisticsFdr fdr;
    int status = statistics_fdr(p, cells, DIFF_STATS_LEVEL, 0, &fdr, e);
    out->n_tested = fdr.n_tested;
    for (size_t i = 0; !status && i < cells; i++) {
        out->n_lower += p[i] <= fdr.threshold && difference[i] < 0;
        out->n_higher += p[i] <= fdr.threshold && difference[i] > 0;
    }
    free(p);
    free(difference);
    return status;
}

int diff_contrast_run(Diff *s, Error *e)
{
    int status = STATUS_OK;
    for (int class = 0; !status && class < DIFF_N_CLASSES; class ++)
        status = run_class(s, (DiffClass) class, e);
    return status;
}
