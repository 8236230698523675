/* greedy.c: greedy.h. */
#include "experiments/greedy.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/statistics.h"

int greedy_open(int n_layers, int n_stages, GreedyPath *out, Error *e)
{
    *out = (GreedyPath){.n_layers = n_layers};
    if (n_stages < 1 || n_stages >= n_layers)
        return error_set(e, STATUS_USAGE,
                         "--experiment greedy: expected greedy:N with N from 1 to %d, the model's layers less one",
                         n_layers - 1);
    out->n_stages = (size_t)n_stages;
    out->removed = calloc(out->n_stages, sizeof *out->removed);
    out->stages = calloc(out->n_stages, sizeof *out->stages);
    if (!out->removed || !out->stages) {
        greedy_close(out);
        return error_set(e, STATUS_FAILED, "greedy: out of memory for %d stages", n_stages);
    }
    return STATUS_OK;
}

void greedy_close(GreedyPath *g)
{
    free(g->removed);
    free(g->stages);
    *g = (GreedyPath){0};
}

size_t greedy_first_order(const GreedyPath *g, size_t stage)
{
    size_t first = 1;
    for (size_t s = 0; s < stage; s++)
        first += (size_t)g->n_layers - s;
    return first;
}

/* Mean losses of one row over even and odd windows; counts get the tokens of each. */
static void means_of(const LedgerView *v, size_t order, double mean[2], uint64_t counts[2])
{
    StatisticsSum sums[2];
    bool finite[2] = {true, true};
    memset(sums, 0, sizeof sums);
    counts[0] = counts[1] = 0;
    for (size_t t = 0; t < v->n_tokens; t++) {
        double nll = ledger_view_nll(v, order, t);
        int side = v->window[t] % 2 != 0;
        counts[side]++;
        finite[side] = finite[side] && isfinite(nll);
        statistics_sum_add(&sums[side], nll);
    }
    for (int i = 0; i < 2; i++)
        mean[i] = counts[i] && finite[i] ? statistics_sum_value(&sums[i]) / (double)counts[i] : NAN;
}

/* The k-th layer that is left, ascending. */
static int32_t remaining_layer(const GreedyPath *g, size_t k)
{
    for (int32_t l = 0; l < g->n_layers; l++) {
        bool gone = false;
        for (size_t i = 0; i < g->n_done; i++)
            gone = gone || g->removed[i] == l;
        if (!gone && k-- == 0)
            return l;
    }
    return -1;
}

int greedy_choose(GreedyPath *g, const LedgerView *v, Error *e)
{
    size_t first = greedy_first_order(g, g->n_done), n = (size_t)g->n_layers - g->n_done, best = n;
    double mean[2], best_mean[2] = {NAN, NAN};
    uint64_t counts[2];
    if (g->n_done >= g->n_stages || first + n > v->n_orders)
        return error_set(e, STATUS_FAILED, "greedy: a ledger of %zu orders, expected %zu", v->n_orders,
                         greedy_first_order(g, g->n_stages));
    if (g->n_done == 0) {
        means_of(v, 0, mean, counts);
        g->intact_even = mean[0];
        g->intact_odd = mean[1];
        g->n_tokens_even = counts[0];
        g->n_tokens_odd = counts[1];
    }
    for (size_t k = 0; k < n; k++) {
        means_of(v, first + k, mean, counts);
        if (!isnan(mean[0]) && (best == n || mean[0] < best_mean[0])) {
            best = k;
            memcpy(best_mean, mean, sizeof mean);
        }
    }
    if (best == n)
        return error_set(e, STATUS_FAILED, "greedy: stage %zu: each of %zu candidates has losses that are not finite",
                         g->n_done, n);
    g->stages[g->n_done] = (GreedyStage){.ledger_index = first + best, .nll_even = best_mean[0], .nll_odd = best_mean[1]};
    int32_t layer = remaining_layer(g, best); /* before n_done counts this stage */
    g->removed[g->n_done++] = layer;
    return STATUS_OK;
}
