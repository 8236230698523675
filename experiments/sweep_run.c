/* sweep_run.c: the loop of a sweep. Block after block goes through the plan; each order's records go to the ledger, the intact
 * model's influence sums beside it; then the block is committed. */
#include "experiments/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/host.h"
#include "engine/base/progress.h"

static RunRequest make_request(const Sweep *s, size_t block_rows)
{
    const Windows *w = &s->windows;
    return (RunRequest){.orders = s->orders.orders,
                        .n_orders = s->orders.n_orders,
                        .longest_window = w->longest,
                        .total_rows = w->n_ids,
                        .block_rows = block_rows,
                        .reserve_row_bytes =
                            influence_tap_row_bytes(&s->bench.session, (double)w->n_windows / (double)w->n_ids),
                        .word_start = s->bench.word_start,
                        .naive = s->naive};
}

int sweep_plan(Sweep *s, bool has_earlier, Error *e)
{
    int64_t earlier = has_earlier ? run_record_earlier_integer(s->record, "block_rows", 0) : 0;
    RunRequest request = make_request(s, earlier > 0 ? (size_t)earlier : 0);
    int status = run_open(&s->bench.session, &request, &s->run, e);
    if (status)
        return status;
    s->sizes = *run_get_sizes(s->run);
    return windows_partition(&s->windows, s->sizes.block_rows, &s->blocks, e);
}

void sweep_close(Sweep *s)
{
    ledger_close(s->ledger);
    influence_file_close(s->influence);
    run_close(s->run);
    window_blocks_free(&s->blocks);
    run_record_close(s->record);
    order_set_free(&s->orders);
    windows_free(&s->windows);
    dataset_close(&s->data);
    workbench_close(&s->bench);
    strbuf_free(&s->dir);
    memset(s, 0, sizeof *s);
}

typedef struct Loop {
    Sweep *sweep;
    InfluenceTap tap;
    Progress progress;
    double flops_before; /* of blocks done by earlier processes */
    size_t block;
    size_t *starts; /* [max_windows + 1] */
} Loop;

static TokenBlock block_at(const Sweep *s, size_t b, size_t *starts)
{
    size_t first = s->blocks.first_window[b], n = s->blocks.first_window[b + 1] - first;
    windows_relative_starts(&s->windows, first, n, starts);
    return (TokenBlock){
        .ids = s->windows.ids + s->windows.start[first], .window_start = starts, .n_rows = starts[n], .n_windows = n};
}

static int on_node(void *user, const Plan *plan, int32_t node, View residual, Error *e)
{
    Loop *l = user;
    (void)e;
    influence_tap_node(&l->tap, plan, node, residual);
    return STATUS_OK;
}

static int on_results(void *user, size_t order, const HeadResults *r, Error *e)
{
    Loop *l = user;
    LedgerBlock values = {.nll = r->nll, .kl = r->kl, .word_start_logp = r->word_start_logp, .rank = r->rank, .top1 = r->top1};
    return ledger_write(l->sweep->ledger, l->block, order, &values, e);
}

static void on_progress(void *user, double flops)
{
    Loop *l = user;
    double per_token = l->sweep->flops_total / (double)l->sweep->windows.n_tokens;
    progress_update(&l->progress, (l->flops_before + flops) / per_token);
}

static bool should_stop(void *user)
{
    return workbench_stopped(&((Loop *)user)->sweep->bench);
}

static int open_ledger(Sweep *s, Error *e)
{
    const Windows *w = &s->windows;
    LedgerShape shape = {.n_orders = s->orders.n_orders,
                         .n_tokens = w->n_tokens,
                         .nll_dtype = s->bench.session.ops->logit_dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32,
                         .n_blocks = s->blocks.n_blocks,
                         .block_tokens = s->blocks.n_tokens,
                         .fingerprint = run_record_fingerprint(s->record)};
    LedgerTokens tokens = {.token_id = w->token_id,
                           .row = w->row,
                           .window = w->window,
                           .position = w->position,
                           .byte_start = w->byte_start,
                           .byte_end = w->byte_end};
    int status = ledger_open(s->dir.data, &shape, &tokens, &s->ledger, &s->first_block, e);
    if (!status)
        status = influence_file_open(s->dir.data, s->bench.model.traits.n_layers, s->blocks.n_blocks, s->first_block,
                                     &s->influence, e);
    return status;
}

static int run_one_block(Loop *l, const RunHooks *hooks, Error *e)
{
    Sweep *s = l->sweep;
    TokenBlock block = block_at(s, l->block, l->starts);
    influence_tap_begin(&l->tap, &block);
    int status = run_block(s->run, &block, hooks, e);
    if (status)
        return status;
    influence_tap_end(&l->tap);
    status = influence_file_write(s->influence, l->block, &l->tap.sums, e);
    return status ? status : ledger_commit(s->ledger, l->block, e);
}

int sweep_run(Sweep *s, Error *e)
{
    Loop l = {.sweep = s};
    int status = open_ledger(s, e);
    if (status)
        return status;
    if (s->first_block == s->blocks.n_blocks) {
        s->flops_total = sweep_counters(s).flops;
        return ledger_finish(s->ledger, e);
    }
    l.starts = malloc((s->blocks.max_windows + 1) * sizeof *l.starts);
    status = l.starts ? influence_tap_open(&s->bench.session, s->run, &s->orders.orders[0], s->blocks.max_ids,
                                           s->blocks.max_windows, &l.tap, e)
                      : error_set(e, STATUS_FAILED, "sweep: out of memory");
    if (status)
        goto done;
    s->flops_total = sweep_counters(s).flops;
    for (size_t b = 0; b < s->first_block; b++) {
        TokenBlock block = block_at(s, b, l.starts);
        l.flops_before += run_block_flops(s->run, &block);
    }
    RunHooks hooks = {
        .user = &l, .on_node = on_node, .on_results = on_results, .on_progress = on_progress, .should_stop = should_stop};
    double start = progress_now_s();
    char label[160];
    snprintf(label, sizeof label, "%s on %s", s->orders.path_part, s->bench.path.slug);
    progress_begin(&l.progress, label, "tokens", (double)s->windows.n_tokens,
                   l.flops_before / s->flops_total * (double)s->windows.n_tokens, s->bench.common->quiet);
    for (l.block = s->first_block; !status && l.block < s->blocks.n_blocks; l.block++)
        status = run_one_block(&l, &hooks, e);
    progress_end(&l.progress);
    s->seconds = progress_now_s() - start;
    if (!status)
        status = ledger_finish(s->ledger, e);
done:
    influence_tap_close(&l.tap);
    free(l.starts);
    return status;
}

ResultsCounters sweep_counters(const Sweep *s)
{
    const PlanCounters *p = &run_get_counters(s->run)->plan;
    ResultsCounters c = {.layer_evaluations = p->layer_evaluations,
                         .naive_layer_evaluations = run_get_counters(s->run)->naive_layer_evaluations,
                         .visits = p->visits,
                         .loads = p->loads,
                         .n_blocks = (int64_t)s->blocks.n_blocks};
    size_t *starts = malloc((s->blocks.max_windows + 1) * sizeof *starts);
    for (size_t b = 0; starts && b < s->blocks.n_blocks; b++) {
        TokenBlock block = block_at(s, b, starts);
        c.flops += run_block_flops(s->run, &block);
        c.flops_naive += run_block_flops_naive(s->run, &block);
    }
    free(starts);
    int64_t loads;
    run_count_loads(s->run, s->blocks.n_blocks, &loads, &c.weight_bytes_moved);
    return c;
}

void sweep_stamp_timing(Sweep *s)
{
    size_t done = s->windows.n_tokens;
    for (size_t b = 0; b < s->first_block; b++)
        done -= s->blocks.n_tokens[b];
    double variants = (double)s->orders.n_orders;
    run_record_time(s->record, "evaluation_seconds", s->seconds);
    run_record_time(s->record, "tokens_evaluated", (double)done);
    if (s->seconds > 0) {
        run_record_time(s->record, "tokens_per_second", (double)done / s->seconds);
        run_record_time(s->record, "variant_tokens_per_second", (double)done * variants / s->seconds);
        run_record_time(s->record, "gflops_per_second", run_get_counters(s->run)->flops / s->seconds * 1e-9);
    }
    run_record_time(s->record, "peak_resident_bytes", (double)host_peak_resident());
}

int sweep_print_estimate(Sweep *s, Error *e)
{
    double mib = 1024.0 * 1024.0, n = (double)s->windows.n_tokens, seconds = 0;
    ResultsCounters c = sweep_counters(s);
    char left[48];
    size_t *starts = malloc((s->blocks.max_windows + 1) * sizeof *starts);
    if (!starts)
        return error_set(e, STATUS_FAILED, "sweep: out of memory");
    TokenBlock block = block_at(s, 0, starts);
    int status = run_estimate_seconds(s->run, &block, c.flops / run_block_flops(s->run, &block), &seconds, e);
    free(starts);
    if (status)
        return status;
    progress_format_time(seconds, left, sizeof left);
    fprintf(stderr,
            "%s: %d layers; %zu orders, %zu tokens in %zu windows; %lld layer evaluations a block where a loop does %lld\n",
            s->bench.path.name, s->bench.model.traits.n_layers, s->orders.n_orders, s->windows.n_tokens, s->windows.n_windows,
            (long long)c.layer_evaluations, (long long)c.naive_layer_evaluations);
    fprintf(stderr, "estimated: %s, memory %.0f MiB (of %.0f allowed), disk %.1f MiB in %s; device %s, %d threads, %s %s\n",
            left, (double)s->sizes.total_bytes / mib, (double)s->bench.session.memory_bytes / mib,
            ((double)s->orders.n_orders * 20 + 32) * n / mib, s->dir.data, s->bench.device, pool_threads(s->bench.session.pool),
            s->bench.numerics, s->bench.dtype);
    return STATUS_OK;
}
