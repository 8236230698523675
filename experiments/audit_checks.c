/* audit_checks.c: what must hold whatever the numbers are. Positions before an edited token cannot know of the edit: their residual
 * streams differ by exactly 0 at every layer. And a text's results do not depend on what else is in the batch: to the bit where the
 * arithmetic promises it, within its rounding in fast. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/audit_own.h"

/* Residuals of the text's rows at every node of a run, one after another, and its losses. */
typedef struct Collect {
    const Workbench *w;
    Run *run;
    size_t first, n; /* the text's rows in the block, and the token axis of results */
    size_t first_result;
    double *values, *host;
    size_t at, cap;
} Collect;

static int on_node(void *user, const Plan *plan, int32_t node, View residual, Error *e)
{
    Collect *c = user;
    (void)plan;
    (void)node;
    size_t d = residual.cols;
    if (c->at + c->n * d > c->cap)
        return error_set(e, STATUS_FAILED, "audit: more residual streams than layers");
    c->w->session.ops->download(run_get_context(c->run), c->values + c->at,
                                view_rows(residual, c->first, c->n, dtype_block_bytes(residual.dtype)));
    c->at += c->n * d;
    return STATUS_OK;
}

static int on_results(void *user, size_t order, const HeadResults *results, Error *e)
{
    Collect *c = user;
    (void)order;
    if (c->at + c->n > c->cap || c->first_result + c->n - 1 > results->n)
        return error_set(e, STATUS_FAILED, "audit: %zu losses, expected %zu", results->n, c->first_result + c->n - 1);
    for (size_t i = 0; i + 1 < c->n; i++)
        c->values[c->at++] = results->nll[c->first_result + i];
    return STATUS_OK;
}

static bool should_stop(void *user)
{
    const Collect *c = user;
    return workbench_stopped(c->w);
}

/* The text at window `which` of a block; values gets nodes and losses. */
static int collect(const Workbench *w, const int32_t *ids, const size_t *starts, size_t n_windows, size_t which, Collect *c,
                   Error *e)
{
    char spec[32];
    Arena arena = {0};
    Order order;
    snprintf(spec, sizeof spec, "0-%d", w->model.traits.n_layers - 1);
    int status = order_parse(spec, w->model.traits.n_layers, &arena, &order, e);
    size_t longest = 0;
    for (size_t i = 0; i < n_windows; i++)
        longest = starts[i + 1] - starts[i] > longest ? starts[i + 1] - starts[i] : longest;
    RunRequest request = {.orders = &order,
                          .n_orders = 1,
                          .longest_window = longest,
                          .total_rows = starts[n_windows],
                          .block_rows = starts[n_windows]};
    TokenBlock block = {.ids = ids, .window_start = starts, .n_rows = starts[n_windows], .n_windows = n_windows};
    RunHooks hooks = {.user = c, .on_node = on_node, .on_results = on_results, .should_stop = should_stop};
    c->w = w;
    c->first = starts[which];
    c->first_result = starts[which] - which;
    c->at = 0;
    if (!status)
        status = run_open(&w->session, &request, &c->run, e);
    if (!status)
        status = run_block(c->run, &block, &hooks, e);
    run_close(c->run);
    c->run = NULL;
    arena_free(&arena);
    return status;
}

static double largest_difference(const double *a, const double *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        double off = a[i] == b[i] ? 0 : fabs(a[i] - b[i]);
        most = off > most || isnan(off) ? off : most;
    }
    return most;
}

int audit_checks_run(const Workbench *w, const int32_t *ids, size_t n, AuditChecks *out, Error *e)
{
    const ModelTraits *t = &w->model.traits;
    size_t d = t->d_model, nodes = 2 * (size_t)t->n_layers + 1, cap = nodes * n * d + n, aside = n < 24 ? n : 24;
    *out = (AuditChecks){.edited = n / 2, .n_neighbours = 2 * aside, .bits_promised = strcmp(w->numerics, "fast") != 0};
    Collect alone = {.n = n, .cap = cap}, other = {.n = n, .cap = cap};
    alone.values = malloc(2 * cap * sizeof *alone.values + 1);
    int32_t *block = malloc((n + 2 * aside) * sizeof *block);
    int status = STATUS_OK;
    if (!alone.values || !block)
        status = error_set(e, STATUS_FAILED, "audit: out of memory for the residual streams of %zu tokens", n);
    other.values = alone.values ? alone.values + cap : NULL;
    size_t starts[4] = {0, n};
    if (!status)
        status = collect(w, ids, starts, 1, 0, &alone, e);
    if (!status && n > 1) {
        memcpy(block, ids, n * sizeof *block);
        block[out->edited] = (int32_t)(((size_t)ids[out->edited] + 1) % t->vocab);
        status = collect(w, block, starts, 1, 0, &other, e);
        for (size_t node = 0; !status && (node + 1) * n * d <= alone.at; node++) {
            double off = largest_difference(alone.values + node * n * d, other.values + node * n * d, out->edited * d);
            out->before_edit = off > out->before_edit || isnan(off) ? off : out->before_edit;
        }
    }
    if (!status) { /* the text between the reversed text's beginning and another of the same ids */
        for (size_t i = 0; i < aside; i++) {
            block[i] = ids[n - 1 - i];
            block[aside + n + i] = ids[(i * 3 + 1) % n];
        }
        memcpy(block + aside, ids, n * sizeof *block);
        const size_t three[4] = {0, aside, aside + n, 2 * aside + n};
        status = collect(w, block, three, 3, 1, &other, e);
        if (!status)
            out->neighbours = largest_difference(alone.values, other.values, alone.at);
    }
    free(block);
    free(alone.values);
    return status;
}
