/* diff_run.c: see diff_run.h. */
#include "experiments/diff_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const tap_names[] = {"resid", "attn_out", "mlp_out"};

const char *diff_tap_name(DiffTap tap)
{
    return tap_names[tap];
}

bool diff_tap_from_name(const char *name, DiffTap *out)
{
    for (size_t i = 0; i < sizeof tap_names / sizeof *tap_names; i++) {
        if (strcmp(tap_names[i], name) != 0)
            continue;
        *out = (DiffTap)i;
        return true;
    }
    return false;
}

void diff_block_clear(DiffBlock *b)
{
    b->n_rows = b->n_windows = 0;
}

void diff_block_free(DiffBlock *b)
{
    free(b->ids);
    free(b->start);
    free(b->prefix);
    memset(b, 0, sizeof *b);
}

/* The array with room for so many bytes; the old one, which stays as it is, when memory is out. */
static void *longer(void *array, size_t bytes, bool *failed)
{
    void *grown = realloc(array, bytes);
    if (grown)
        return grown;
    *failed = true;
    return array;
}

static bool grow(DiffBlock *b, size_t rows)
{
    if (b->n_rows + rows > b->cap_rows) {
        size_t cap = 2 * (b->n_rows + rows) + 256;
        b->ids = longer(b->ids, cap * sizeof *b->ids, &b->failed);
        b->cap_rows = b->failed ? b->cap_rows : cap;
    }
    if (b->n_windows + 1 >= b->cap_windows) {
        size_t cap = 2 * b->n_windows + 64;
        b->start = longer(b->start, (cap + 1) * sizeof *b->start, &b->failed);
        b->prefix = longer(b->prefix, (cap + 1) * sizeof *b->prefix, &b->failed);
        b->cap_windows = b->failed ? b->cap_windows : cap;
    }
    return !b->failed;
}

/* A window of `prefix` positions shared and the ids from there on. */
static size_t add_window(DiffBlock *b, size_t prefix, const int32_t *ids, size_t n)
{
    if (!grow(b, n))
        return 0;
    size_t first = b->n_rows;
    memcpy(b->ids + first, ids, n * sizeof *ids);
    b->start[b->n_windows] = first;
    b->prefix[b->n_windows++] = prefix;
    b->n_rows += n;
    b->start[b->n_windows] = b->n_rows;
    return first;
}

size_t diff_block_whole(DiffBlock *b, const int32_t *ids, size_t n)
{
    size_t first = b->n_rows;
    if (!b->bos)
        return add_window(b, 0, ids, n);
    add_window(b, 0, &b->bos_id, 1);
    if (!grow(b, n))
        return 0;
    memcpy(b->ids + b->n_rows, ids, n * sizeof *ids);
    b->n_rows += n;
    b->start[b->n_windows] = b->n_rows;
    return first + 1;
}

size_t diff_block_variant(DiffBlock *b, const int32_t *ids, size_t n, size_t edit, int32_t token)
{
    size_t first = add_window(b, edit + b->bos, ids + edit, n - edit);
    if (!b->failed)
        b->ids[first] = token;
    return first;
}

TokenBlock diff_block_tokens(const DiffBlock *b)
{
    return (TokenBlock){
        .ids = b->ids, .window_start = b->start, .n_rows = b->n_rows, .n_windows = b->n_windows, .prefix_rows = b->prefix};
}

size_t diff_block_family_rows(bool bos, size_t n, size_t edit, size_t n_variants)
{
    return bos + n + n_variants * (n - edit);
}

/* A view as host rows: as it lies where it can be read, else a copy. */
static View host_rows(DiffRunner *r, View v)
{
    const Ops *ops = r->session->ops;
    if (ops->host_memory && (v.dtype == DTYPE_F32 || v.dtype == DTYPE_F64))
        return v;
    ops->download(run_get_context(r->run), r->host, v);
    return (View){.data = r->host, .dtype = DTYPE_F64, .rows = v.rows, .cols = v.cols, .ld = v.cols};
}

static int deliver(DiffRunner *r, size_t point, View v, Error *e)
{
    return r->on_point ? r->on_point(r->user, point, r->table_rows ? v : host_rows(r, v), e) : STATUS_OK;
}

static int on_node(void *user, const Plan *plan, int32_t node, View residual, Error *e)
{
    DiffRunner *r = user;
    int status = STATUS_OK;
    if (node == 0)
        status = deliver(r, 0, residual, e);
    for (size_t i = 0; !status && i < r->order->n_items; i++) {
        if (plan_node_at(plan, 0, r->order, i, POINT_POST) != node)
            continue;
        if (r->on_stream)
            status = r->on_stream(r->user, i + 1, residual, e);
        if (!status && r->tap == DIFF_TAP_RESID)
            status = deliver(r, i + 1, residual, e);
    }
    return status;
}

static int on_branch(void *user, const Plan *plan, int32_t node, StepKind half, View branch, Error *e)
{
    DiffRunner *r = user;
    int status = STATUS_OK;
    if ((half == STEP_ATTN) != (r->tap == DIFF_TAP_ATTN_OUT))
        return STATUS_OK;
    for (size_t i = 0; !status && i < r->order->n_items; i++) {
        int32_t middle = plan_node_at(plan, 0, r->order, i, POINT_MID), post = plan_node_at(plan, 0, r->order, i, POINT_POST);
        if (node == (half == STEP_ATTN && middle >= 0 ? middle : post))
            status = deliver(r, i + 1, branch, e);
    }
    return status;
}

static int on_final(void *user, size_t order, size_t first_row, View normed, Error *e)
{
    DiffRunner *r = user;
    const Ops *ops = r->session->ops;
    View all = {.data = r->final, .dtype = ops->resid_dtype, .rows = r->block->n_rows, .cols = normed.cols, .ld = normed.cols};
    (void)order;
    ops->copy(run_get_context(r->run), view_rows(all, first_row, normed.rows, dtype_block_bytes(all.dtype)), normed);
    return first_row + normed.rows < all.rows ? STATUS_OK : deliver(r, r->n_points - 1, all, e);
}

static int on_results(void *user, size_t order, const HeadResults *results, Error *e)
{
    DiffRunner *r = user;
    (void)order;
    return r->on_results ? r->on_results(r->user, results, e) : STATUS_OK;
}

static void on_progress(void *user, double flops)
{
    DiffRunner *r = user;
    if (r->on_progress)
        r->on_progress(r->user, r->flops_before + flops);
}

static bool should_stop(void *user)
{
    return workbench_stopped(((DiffRunner *)user)->bench);
}

static size_t final_bytes(const DiffRunner *r, size_t rows)
{
    return rows * r->bench->model.traits.d_model * dtype_block_bytes(r->session->ops->resid_dtype);
}

int diff_runner_open(DiffRunner *r, const DiffRunnerSizes *sizes, Error *e)
{
    size_t d = r->bench->model.traits.d_model;
    bool on_host = r->session->ops->host_memory;
    r->n_points = r->order->n_items + 2;
    r->keep_final = sizes->final_norm;
    RunRequest q = {.orders = r->order,
                    .n_orders = 1,
                    .longest_window = sizes->longest_window,
                    .longest_family = sizes->longest_family,
                    .total_rows = sizes->total_rows,
                    .reserve_bytes = sizes->reserve_bytes,
                    .reserve_row_bytes = sizes->reserve_row_bytes + (sizes->final_norm ? final_bytes(r, 1) : 0),
                    .no_head = !sizes->head,
                    .final_norm = sizes->final_norm,
                    .branches = r->tap != DIFF_TAP_RESID};
    int status = run_open(r->session, &q, &r->run, e);
    if (status)
        return status;
    size_t rows = run_get_sizes(r->run)->block_rows;
    r->host = on_host ? NULL : malloc(rows * d * sizeof *r->host);
    if (!on_host && !r->host)
        status = error_set(e, STATUS_FAILED, "diff: out of memory for blocks of %zu tokens", rows);
    if (!status && sizes->final_norm)
        status = r->session->ops->alloc(run_get_context(r->run), final_bytes(r, rows), &r->final, e);
    if (status)
        diff_runner_close(r);
    return status;
}

void diff_runner_close(DiffRunner *r)
{
    if (r->final)
        r->session->ops->free(run_get_context(r->run), r->final, final_bytes(r, diff_runner_block_rows(r)));
    run_close(r->run);
    free(r->host);
    r->run = NULL;
    r->host = NULL;
    r->final = NULL;
}

size_t diff_runner_block_rows(const DiffRunner *r)
{
    return run_get_sizes(r->run)->block_rows;
}

size_t diff_runner_block_items(const DiffRunner *r)
{
    return diff_runner_block_rows(r) / 2 + 1;
}

int diff_runner_block(DiffRunner *r, const DiffBlock *block, Error *e)
{
    if (block->failed)
        return error_set(e, STATUS_FAILED, "diff: out of memory for a block");
    TokenBlock tokens = diff_block_tokens(block);
    /* cppcheck-suppress autoVariables ; until the end of this call */
    r->block = &tokens;
    RunHooks hooks = {.user = r,
                      .on_node = on_node,
                      .on_branch = r->tap == DIFF_TAP_RESID ? NULL : on_branch,
                      .on_final = r->keep_final ? on_final : NULL,
                      .on_results = on_results,
                      .on_progress = on_progress,
                      .should_stop = should_stop};
    int status = run_block(r->run, &tokens, &hooks, e);
    r->block = NULL;
    return status;
}
