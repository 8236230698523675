/* diff_claims.c: what may be claimed: false discoveries controlled over all categories, positions, points and dimensions at once. */
#include <math.h>
#include <stdlib.h>

#include "experiments/diff.h"

bool diff_is_claim(const Diff *s, const DiffResult *r, size_t cell)
{
    if (r->control_is_far)
        return false;
    DiffStatsCell c = {
        .p = r->p[cell], .upper = (double)r->upper[cell], .half_ratio = {(double)r->half[0][cell], (double)r->half[1][cell]}};
    return diff_stats_claim(&c, s->fdr.threshold);
}

int diff_claims_decide(Diff *s, Error *e)
{
    size_t cells = s->n_points * s->d, n = 0;
    for (size_t c = 0; c < s->categories.n; c++)
        for (int class = 0; class < DIFF_N_CLASSES; class ++)
            n += s->outcomes[c].at[class].n ? cells : 0;
    double *p = malloc((n + 1) * sizeof *p);
    if (!p)
        return error_set(e, STATUS_FAILED, "diff: out of memory for %zu tests", n);
    n = 0;
    for (size_t c = 0; c < s->categories.n; c++) {
        for (int class = 0; class < DIFF_N_CLASSES; class ++) {
            const DiffResult *r = &s->outcomes[c].at[class];
            for (size_t i = 0; r->n && i < cells; i++)
                p[n++] = r->p[i];
        }
    }
    int status = statistics_fdr(p, n, DIFF_STATS_LEVEL, 0, &s->fdr, e);
    if (!status)
        status = statistics_fdr(p, n, DIFF_STATS_LEVEL, 1, &s->fdr_any, e);
    free(p);
    for (size_t c = 0; !status && c < s->categories.n; c++) {
        const DiffCategory *k = &s->categories.list[c];
        for (int class = 0; class < DIFF_N_CLASSES; class ++) {
            DiffResult *r = &s->outcomes[c].at[class];
            r->control_is_far = k->control_distance > (1 + DIFF_STATS_FARTHER) * k->pair_distance;
            for (size_t i = 0; r->n && i < cells; i++)
                r->n_claims += diff_is_claim(s, r, i);
            s->n_claims += r->n_claims;
        }
    }
    return status;
}
