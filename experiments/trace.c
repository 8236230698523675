/* trace.c: residual streams of one text at every step of an order, written to one safetensors file that numpy reads at once.
 * Tensors: blocks.N.hook_resid_pre, _mid, _post and ln_final.hook_normalized [T, D] F32 (F64 where the arithmetic is f64), nll
 * F32 [T-1], ids I32 [T]. Streams go to their places in the file as they come; they are never in memory together. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/taps.h"
#include "experiments/workbench.h"
#include "loaders/safetensors.h"

typedef struct Trace {
    Workbench bench;
    Order order;
    Arena arena;
    int32_t *ids;
    size_t n;
    Run *run;
    SafetensorsEntry *entries;
    size_t n_entries;
    int fd;
    const char *path;
    char *part;    /* written under this name, which becomes path when all is there; NULL: nothing to take away */
    double *host;  /* [T, D] */
    float *narrow; /* [T, D] */
    DType dtype;
    Error *error;
} Trace;

static int write_at(Trace *t, const char *name, const void *data, size_t bytes)
{
    for (size_t i = 0; i < t->n_entries; i++) {
        if (strcmp(t->entries[i].name, name) != 0)
            continue;
        for (size_t done = 0; done < bytes;) {
            ssize_t n = pwrite(t->fd, (const char *)data + done, bytes - done, (off_t)(t->entries[i].offset + done));
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return error_set(t->error, STATUS_FAILED, "%s: cannot write %s: %s", t->path, name,
                                 strerror(n ? errno : ENOSPC));
            done += (size_t)n;
        }
        return STATUS_OK;
    }
    return error_set(t->error, STATUS_FAILED, "%s: no place for %s", t->path, name);
}

static int write_values(Trace *t, const char *name, const double *values, size_t n)
{
    if (t->dtype == DTYPE_F64)
        return write_at(t, name, values, n * sizeof *values);
    for (size_t i = 0; i < n; i++)
        t->narrow[i] = (float)values[i];
    return write_at(t, name, t->narrow, n * sizeof *t->narrow);
}

static int visit(void *user, size_t item, PlanPoint point)
{
    Trace *t = user;
    char name[TAP_NAME_MAX];
    tap_name(item, point, name);
    return write_values(t, name, t->host, t->n * t->bench.model.traits.d_model);
}

static int on_node(void *user, const Plan *plan, int32_t node, View residual, Error *e)
{
    Trace *t = user;
    t->error = e;
    t->bench.session.ops->download(run_get_context(t->run), t->host, residual);
    return tap_visit_node(plan, 0, &t->order, node, visit, t);
}

static int on_final(void *user, size_t order, size_t first_row, View normed, Error *e)
{
    Trace *t = user;
    (void)order;
    size_t d = t->bench.model.traits.d_model;
    t->error = e;
    t->bench.session.ops->download(run_get_context(t->run), t->host + first_row * d, normed);
    return first_row + normed.rows < t->n ? STATUS_OK : write_values(t, "ln_final.hook_normalized", t->host, t->n * d);
}

static int on_results(void *user, size_t order, const HeadResults *results, Error *e)
{
    Trace *t = user;
    (void)order;
    t->error = e;
    for (size_t i = 0; i < results->n; i++)
        t->narrow[i] = (float)results->nll[i];
    return results->n ? write_at(t, "nll", t->narrow, results->n * sizeof *t->narrow) : STATUS_OK;
}

static int add_entry(Trace *t, const char *name, DType dtype, size_t rows, size_t cols)
{
    SafetensorsEntry *entry = &t->entries[t->n_entries++];
    *entry = (SafetensorsEntry){
        .name = arena_strndup(&t->arena, name, strlen(name)), .dtype = dtype, .n_dims = cols ? 2 : 1, .shape = {rows, cols}};
    return entry->name ? STATUS_OK : STATUS_FAILED;
}

/* What the file will hold, and its header on disk. */
static int open_file(Trace *t, const char *spec, Error *e)
{
    size_t d = t->bench.model.traits.d_model;
    t->entries = arena_array(&t->arena, 3 * t->order.n_items + 3, sizeof *t->entries);
    int failed = !t->entries;
    const Plan *plan = run_get_plan(t->run, 0);
    for (size_t i = 0; !failed && i < t->order.n_items; i++) {
        for (int p = POINT_PRE; !failed && p <= POINT_POST; p++) {
            char name[TAP_NAME_MAX];
            if (plan_node_at(plan, 0, &t->order, i, (PlanPoint)p) < 0)
                continue;
            tap_name(i, (PlanPoint)p, name);
            failed = add_entry(t, name, t->dtype, t->n, d);
        }
    }
    failed = failed || add_entry(t, "ln_final.hook_normalized", t->dtype, t->n, d) ||
             add_entry(t, "nll", DTYPE_F32, t->n - 1, 0) || add_entry(t, "ids", DTYPE_I32, t->n, 0);
    if (failed)
        return error_set(e, STATUS_FAILED, "%s: out of memory", t->path);
    size_t room = strlen(t->path) + sizeof ".part";
    if (!(t->part = malloc(room)))
        return error_set(e, STATUS_FAILED, "%s: out of memory", t->path);
    snprintf(t->part, room, "%s.part", t->path);
    const char *const metadata[][2] = {{"model", t->bench.path.name},
                                       {"order", spec},
                                       {"dtype", t->bench.dtype},
                                       {"numerics", t->bench.numerics},
                                       {"final", "ln_final.hook_normalized is after the final norm"}};
    StrBuf header = {0};
    size_t total;
    int status =
        safetensors_header(t->entries, t->n_entries, metadata, sizeof metadata / sizeof metadata[0], &header, &total, e);
    if (!status) {
        t->fd = open(t->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (t->fd < 0 || ftruncate(t->fd, (off_t)total) || pwrite(t->fd, header.data, header.len, 0) != (ssize_t)header.len)
            status = error_set(e, STATUS_FAILED, "%s: cannot write: %s", t->path, strerror(errno));
    }
    strbuf_free(&header);
    t->error = e;
    return status ? status : write_at(t, "ids", t->ids, t->n * sizeof *t->ids);
}

static int trace(const StrataTraceOptions *o, Trace *t, Error *e)
{
    t->path = o->output && o->output[0] ? o->output : "trace.safetensors";
    int status = workbench_open(&o->common, o->text ? TOKENIZER_REQUIRED : TOKENIZER_IF_THERE, &t->bench, e);
    if (!status)
        status = workbench_ids(&t->bench, o->text, o->ids, &t->ids, &t->n, e);
    if (status)
        return status;
    char intact[32];
    snprintf(intact, sizeof intact, "0-%d", t->bench.model.traits.n_layers - 1);
    const char *spec = o->order && o->order[0] ? o->order : intact;
    status = order_parse(spec, t->bench.model.traits.n_layers, &t->arena, &t->order, e);
    if (status)
        return status;
    const Ops *ops = t->bench.session.ops;
    size_t d = t->bench.model.traits.d_model, values = t->n * d;
    t->dtype = ops->resid_dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    t->host = malloc(values * sizeof *t->host);
    t->narrow = malloc((values > t->n ? values : t->n) * sizeof *t->narrow);
    if (!t->host || !t->narrow)
        return error_set(e, STATUS_FAILED, "trace: out of memory for %zu tokens", t->n);
    RunRequest request = {.orders = &t->order,
                          .n_orders = 1,
                          .longest_window = t->n,
                          .total_rows = t->n,
                          .reserve_bytes = values * (sizeof *t->host + sizeof *t->narrow)};
    if ((status = run_open(&t->bench.session, &request, &t->run, e)) || (status = open_file(t, t->order.spec, e)))
        return status;
    size_t starts[2] = {0, t->n};
    TokenBlock block = {.ids = t->ids, .window_start = starts, .n_rows = t->n, .n_windows = 1};
    RunHooks hooks = {.user = t, .on_node = on_node, .on_final = on_final, .on_results = on_results};
    status = run_block(t->run, &block, &hooks, e);
    if (!status && fsync(t->fd) && errno != EINVAL && errno != EROFS)
        status = error_set(e, STATUS_FAILED, "%s: cannot write: %s", t->path, strerror(errno));
    if (!status && rename(t->part, t->path))
        status = error_set(e, STATUS_FAILED, "%s: cannot write: %s", t->path, strerror(errno));
    if (!status && o->common.out)
        fprintf(o->common.out, "%s: %zu tensors of %zu tokens, width %zu, order %s\n", t->path, t->n_entries, t->n, d,
                t->order.spec);
    return status;
}

int strata_trace(const StrataTraceOptions *options, StrataError *e)
{
    Trace t = {.fd = -1};
    int status = trace(options, &t, e);
    if (t.fd >= 0 && close(t.fd) && !status)
        status = error_set(e, STATUS_FAILED, "%s: cannot write: %s", t.path, strerror(errno));
    if (status && t.part)
        unlink(t.part);
    free(t.part);
    run_close(t.run);
    free(t.host);
    free(t.narrow);
    free(t.ids);
    arena_free(&t.arena);
    workbench_close(&t.bench);
    return status;
}
