/* audit_losses.c: see audit_losses.h. */
#include "experiments/audit_losses.h"

#include <stdlib.h>
#include <string.h>

typedef struct Collect {
    const AuditLosses *a;
    double *nll;
    int32_t *rank;
    size_t n_tokens, first; /* of the block at hand */
} Collect;

static int on_results(void *user, size_t order, const HeadResults *r, Error *e)
{
    Collect *c = user;
    size_t at = order * c->n_tokens + c->first;
    if (c->first + r->n > c->n_tokens)
        return error_set(e, STATUS_FAILED, "audit: %zu losses, expected %zu", c->first + r->n, c->n_tokens);
    memcpy(c->nll + at, r->nll, r->n * sizeof *r->nll);
    if (c->rank)
        memcpy(c->rank + at, r->rank, r->n * sizeof *r->rank);
    return STATUS_OK;
}

static bool should_stop(void *user)
{
    const Collect *c = user;
    return c->a->stop && *c->a->stop;
}

int audit_losses(const AuditLosses *a, double *nll, int32_t *rank, Error *e)
{
    size_t longest = 0, rows = a->starts[a->n_windows] - a->starts[0];
    for (size_t i = 0; i < a->n_windows; i++)
        longest = a->starts[i + 1] - a->starts[i] > longest ? a->starts[i + 1] - a->starts[i] : longest;
    Session session = *a->session;
    session.ops = a->ops;
    RunRequest request = {.orders = a->orders, .n_orders = a->n_orders, .longest_window = longest, .total_rows = rows};
    Collect c = {.a = a, .nll = nll, .rank = rank, .n_tokens = rows - a->n_windows};
    RunHooks hooks = {.user = &c, .on_results = on_results, .should_stop = should_stop};
    Run *run = NULL;
    size_t *starts = malloc((a->n_windows + 1) * sizeof *starts);
    int status = starts ? run_open(&session, &request, &run, e)
                        : error_set(e, STATUS_FAILED, "audit: out of memory for %zu windows", a->n_windows);
    for (size_t first = 0, n; !status && first < a->n_windows; first += n) {
        for (n = 0; first + n < a->n_windows; n++) {
            size_t end = a->starts[first + n + 1] - a->starts[first];
            if (n && end > run_get_sizes(run)->block_rows)
                break;
            starts[n] = a->starts[first + n] - a->starts[first];
            starts[n + 1] = end;
        }
        TokenBlock block = {.ids = a->ids + a->starts[first], .window_start = starts, .n_rows = starts[n], .n_windows = n};
        status = run_block(run, &block, &hooks, e);
        c.first += starts[n] - n;
    }
    run_close(run);
    free(starts);
    return status;
}
