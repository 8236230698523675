/* strata.c: the public interface over model, session and run. Each call opens a run of its own: what is kept between calls is the mapping
 * and the threads. */
#include "engine/strata.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/run.h"
#include "engine/taps.h"
#include "kernels/cpu_features.h"
#include "kernels/device.h"
#include "loaders/model_lookup.h"
#include "loaders/tokenizer.h"
#include "strata_version.h"

struct StrataModel {
    ModelPath path;
    Model model;
    Session session;
    Tokenizer *tokenizer; /* opened when first asked for */
};

const char *strata_version(void)
{
    return STRATA_VERSION;
}

int strata_cpu_select(const char *level, int *restart, StrataError *e)
{
    char before[32];
    snprintf(before, sizeof before, "%s", getenv("OPENBLAS_CORETYPE") ? getenv("OPENBLAS_CORETYPE") : "");
    int status = cpu_level_set(level, e);
    const char *after = getenv("OPENBLAS_CORETYPE");
    if (restart)
        *restart = !status && strcmp(before, after ? after : "") != 0;
    return status;
}

static const char *or_default(const char *value, const char *otherwise)
{
    return value && value[0] ? value : otherwise;
}

int strata_model_open(const char *name, const StrataOptions *options, StrataModel **out, StrataError *e)
{
    StrataOptions none = {0};
    const StrataOptions *o = options ? options : &none;
    int status = STATUS_FAILED;
    *out = NULL;
    StrataModel *m = calloc(1, sizeof *m);
    if (!m)
        return error_set(e, STATUS_FAILED, "%s: out of memory", name);
    const char *rope = or_default(o->rope, "hf32");
    Device device;
    SessionOptions so = {.numerics = or_default(o->numerics, "fast"),
                         .threads = o->threads,
                         .memory_bytes = (size_t)o->memory_bytes,
                         .rope = strcmp(rope, "real") == 0 ? ROPE_REAL : ROPE_HF32};
    if (strcmp(rope, "real") != 0 && strcmp(rope, "hf32") != 0)
        status = error_set(e, STATUS_USAGE, "rope: \"%s\", expected hf32 or real", rope);
    else if (!(status = device_choose(o->gpu_id, so.numerics, o->dtype, &device, e))) {
        so.device = device.kind;
        so.device_index = device.index;
        so.dtype = device.dtype;
    }
    if (!status && !(status = model_lookup(name, o->revision, &m->path, e)) &&
        !(status = model_open(m->path.path, &m->model, e)))
        status = session_open(&m->model, &so, &m->session, e);
    if (status)
        strata_model_close(m);
    else
        *out = m;
    return status;
}

void strata_model_close(StrataModel *m)
{
    if (!m)
        return;
    tokenizer_close(m->tokenizer);
    session_close(&m->session);
    model_close(&m->model);
    model_path_free(&m->path);
    free(m);
}

int strata_model_layers(const StrataModel *m)
{
    return m->model.traits.n_layers;
}

size_t strata_model_width(const StrataModel *m)
{
    return m->model.traits.d_model;
}

size_t strata_model_vocab(const StrataModel *m)
{
    return m->model.traits.vocab;
}

void strata_free(void *memory)
{
    free(memory);
}

int strata_tokenize(StrataModel *m, const char *text, size_t text_len, int add_special, int32_t **ids, size_t *n_ids,
                    StrataError *e)
{
    TokenList list = {0};
    int status = STATUS_OK;
    *ids = NULL;
    *n_ids = 0;
    if (!m->tokenizer)
        status = m->model.files.gguf ? tokenizer_open_gguf(m->model.files.gguf, m->path.path, &m->tokenizer, e)
                                     : tokenizer_open_dir(m->path.path, &m->tokenizer, e);
    if (!status)
        status = tokenizer_encode(m->tokenizer, text, text_len, add_special != 0, &list, e);
    if (!status) {
        *ids = malloc((list.n ? list.n : 1) * sizeof **ids);
        if (!*ids)
            status = error_set(e, STATUS_FAILED, "tokenize: out of memory for %zu ids", list.n);
        for (size_t i = 0; *ids && i < list.n; i++)
            (*ids)[i] = list.tokens[i].id;
        *n_ids = *ids ? list.n : 0;
    }
    token_list_free(&list);
    return status;
}

typedef struct TapState {
    const StrataModel *model;
    const Order *order;
    OpsContext *ctx;
    StrataTap tap;
    void *user;
    double *host; /* [n, D] */
    size_t n_rows;
    StrataPrediction *predictions;
} TapState;

static int visit(void *user, size_t item, PlanPoint point)
{
    TapState *s = user;
    char name[TAP_NAME_MAX];
    tap_name(item, point, name);
    return s->tap(s->user, name, s->host, s->n_rows, s->model->model.traits.d_model);
}

static int tap_result(int status, Error *e)
{
    return status ? error_set(e, status, "stopped by the tap") : STATUS_OK;
}

static int on_node(void *user, const Plan *plan, int32_t node, View residual, Error *e)
{
    TapState *s = user;
    s->n_rows = residual.rows;
    s->model->session.ops->download(s->ctx, s->host, residual);
    return tap_result(tap_visit_node(plan, 0, s->order, node, visit, s), e);
}

static int on_final(void *user, size_t order, size_t first_row, View normed, Error *e)
{
    TapState *s = user;
    (void)order;
    size_t d = s->model->model.traits.d_model;
    s->model->session.ops->download(s->ctx, s->host + first_row * d, normed);
    if (first_row + normed.rows < s->n_rows)
        return STATUS_OK;
    return tap_result(s->tap(s->user, "ln_final.hook_normalized", s->host, s->n_rows, d), e);
}

static int on_results(void *user, size_t order, const HeadResults *results, Error *e)
{
    TapState *s = user;
    (void)e;
    for (size_t i = 0; s->predictions && i < results->n; i++)
        s->predictions[order * results->n + i] = (StrataPrediction){
            .nll = results->nll[i], .kl = results->kl[i], .rank = results->rank[i], .top1 = results->top1[i]};
    return STATUS_OK;
}

static int run_orders(StrataModel *m, const char *const *specs, size_t n_orders, const int32_t *ids, size_t n, StrataTap tap,
                      void *user, StrataPrediction *predictions, StrataPlanCounts *counts, Error *e)
{
    if (n < 1 || n_orders < 1)
        return error_set(e, STATUS_USAGE, "run: %zu ids and %zu orders, expected at least one of each", n, n_orders);
    Arena arena = {0};
    Run *run = NULL;
    TapState state = {.model = m, .tap = tap, .user = user, .n_rows = n, .predictions = predictions};
    size_t d = m->model.traits.d_model, host_bytes = tap ? n * d * sizeof(double) : 0, window[2] = {0, n};
    int status = STATUS_OK;
    Order *orders = arena_array(&arena, n_orders, sizeof *orders);
    if (!orders || (tap && !(state.host = malloc(host_bytes))))
        status = error_set(e, STATUS_FAILED, "run: out of memory");
    for (size_t i = 0; !status && i < n_orders; i++)
        status = order_parse(specs[i], m->model.traits.n_layers, &arena, &orders[i], e);
    RunRequest request = {
        .orders = orders, .n_orders = n_orders, .longest_window = n, .total_rows = n, .reserve_bytes = host_bytes};
    if (!status)
        status = run_open(&m->session, &request, &run, e);
    if (!status) {
        state.order = &orders[0];
        state.ctx = run_get_context(run);
        RunHooks hooks = {
            .user = &state, .on_node = tap ? on_node : NULL, .on_final = tap ? on_final : NULL, .on_results = on_results};
        TokenBlock block = {.ids = ids, .window_start = window, .n_rows = n, .n_windows = 1};
        status = run_block(run, &block, &hooks, e);
    }
    if (!status && counts) {
        const RunCounters *c = run_get_counters(run);
        *counts = (StrataPlanCounts){.layer_evaluations = c->plan.layer_evaluations,
                                     .naive_layer_evaluations = c->naive_layer_evaluations,
                                     .flops = c->flops,
                                     .flops_naive = c->flops_naive};
    }
    run_close(run);
    free(state.host);
    arena_free(&arena);
    return status;
}

int strata_run(StrataModel *m, const char *order, const int32_t *ids, size_t n, StrataTap tap, void *user,
               StrataPrediction *predictions, StrataError *e)
{
    return run_orders(m, &order, 1, ids, n, tap, user, predictions, NULL, e);
}

int strata_run_orders(StrataModel *m, const char *const *orders, size_t n_orders, const int32_t *ids, size_t n,
                      StrataPrediction *predictions, StrataPlanCounts *counts, StrataError *e)
{
    return run_orders(m, orders, n_orders, ids, n, NULL, NULL, predictions, counts, e);
}
