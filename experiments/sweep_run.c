/* sweep_run.c: the loop of a sweep. Block after block goes through the plan; each order's records go to the ledger, the intact
 * model's influence sums beside it; then the block is committed. */
#include "experiments/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/host.h"
#include "engine/base/progress.h"
#include "engine/ledger_layout.h"

static RunRequest make_request(const Sweep *s, size_t block_rows)
{
    const Windows *w = s->part;
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

size_t sweep_n_orders(const Sweep *s)
{
    return s->greedy.n_stages ? greedy_first_order(&s->greedy, s->greedy.n_stages) : s->orders.n_orders;
}

static TokenBlock block_at(const Sweep *s, size_t b, size_t *starts)
{
    size_t first = s->blocks.first_window[b], n = s->blocks.first_window[b + 1] - first;
    windows_relative_starts(s->part, first, n, starts);
    return (TokenBlock){
        .ids = s->part->ids + s->part->start[first], .window_start = starts, .n_rows = starts[n], .n_windows = n};
}

/* Adds what a stage takes over all blocks, as its run's plans have it. */
static int add_counters(const Sweep *s, const Run *run, ResultsCounters *c, Error *e)
{
    const RunCounters *r = run_get_counters(run);
    size_t *starts = malloc((s->blocks.max_windows + 1) * sizeof *starts);
    if (!starts)
        return error_set(e, STATUS_FAILED, "sweep: out of memory");
    for (size_t b = 0; b < s->blocks.n_blocks; b++) {
        TokenBlock block = block_at(s, b, starts);
        c->flops += run_block_flops(run, &block);
        c->flops_naive += run_block_flops_naive(run, &block);
    }
    free(starts);
    int64_t loads;
    double moved;
    run_count_loads(run, s->blocks.n_blocks, &loads, &moved);
    c->weight_bytes_moved += moved;
    c->layer_evaluations += r->plan.layer_evaluations;
    c->naive_layer_evaluations += r->naive_layer_evaluations;
    c->visits += r->plan.visits;
    c->loads += r->plan.loads;
    c->n_blocks = (int64_t)s->blocks.n_blocks;
    return STATUS_OK;
}

/* Later stages of a greedy sweep as if layers were removed from the middle outwards: opening their runs tells what they take,
 * and that the budget is enough, before anything is computed. */
static int guess_later_stages(const Sweep *s, double *flops, Error *e)
{
    int32_t removed[1024];
    int n_layers = s->greedy.n_layers, status = STATUS_OK;
    for (size_t stage = 1; !status && stage < s->n_stages && stage < 1024; stage++) {
        int step = (int)(stage / 2);
        removed[stage - 1] = n_layers / 2 + (stage % 2 ? step : -step);
        OrderSet orders;
        status = orders_greedy_stage(n_layers, removed, stage, &orders, e);
        if (status)
            break;
        RunRequest request = make_request(s, s->sizes.block_rows);
        request.orders = orders.orders;
        request.n_orders = orders.n_orders;
        Run *run = NULL;
        ResultsCounters counters = {0};
        status = run_open(&s->bench.session, &request, &run, e);
        if (!status)
            status = add_counters(s, run, &counters, e);
        *flops += counters.flops;
        run_close(run);
        order_set_free(&orders);
    }
    return status;
}

/* Without --memory a run goes on under the budget it began with: heights of blocks and tiles, and with them the bits of fast
 * arithmetic, follow from it. */
static void keep_earlier_budget(Sweep *s)
{
    int64_t earlier = run_record_earlier_integer(s->record, "memory_bytes", 0);
    if (s->bench.common->memory_bytes || earlier <= 0 || (uint64_t)earlier > host_memory_available())
        return;
    s->bench.session.memory_bytes = (size_t)earlier;
    run_record_note(s->record, "memory_bytes", "%zu", s->bench.session.memory_bytes);
}

int sweep_plan(Sweep *s, Error *e)
{
    keep_earlier_budget(s);
    int64_t earlier = run_record_earlier_integer(s->record, "block_rows", 0);
    RunRequest request = make_request(s, earlier > 0 ? (size_t)earlier : 0);
    int status = run_open(&s->bench.session, &request, &s->run, e);
    if (status)
        return status;
    s->sizes = *run_get_sizes(s->run);
    run_record_note(s->record, "block_rows", "%zu", s->sizes.block_rows);
    status = windows_partition(s->part, s->sizes.block_rows, &s->blocks, e);
    run_record_note(s->record, "n_blocks", "%zu", s->blocks.n_blocks * s->n_stages);
    if (!status)
        status = add_counters(s, s->run, &s->counters, e);
    s->flops_total = s->counters.flops;
    return status ? status : guess_later_stages(s, &s->flops_total, e);
}

void sweep_close(Sweep *s)
{
    ledger_close(s->ledger);
    influence_file_close(s->influence);
    run_close(s->run);
    window_blocks_free(&s->blocks);
    run_record_close(s->record);
    order_set_free(&s->orders);
    greedy_close(&s->greedy);
    windows_slice_free(&s->slice);
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
    double flops_before;       /* of blocks done by earlier processes, and of stages before this one */
    size_t stage, first_order; /* first_order: ledger row of the stage's orders[1] */
    size_t block;              /* counted over the stages */
    size_t *starts;            /* [max_windows + 1] */
} Loop;

static int on_node(void *user, const Plan *plan, int32_t node, View residual, Error *e)
{
    Loop *l = user;
    (void)e;
    if (l->stage == 0)
        influence_tap_node(&l->tap, plan, node, residual);
    return STATUS_OK;
}

/* The intact model runs in every stage (the others' divergence refers to it), its row is written in the first. */
static int on_results(void *user, size_t order, const HeadResults *r, Error *e)
{
    Loop *l = user;
    LedgerBlock values = {.nll = r->nll, .kl = r->kl, .word_start_logp = r->word_start_logp, .rank = r->rank, .top1 = r->top1};
    if (order == 0)
        return l->stage ? STATUS_OK : ledger_write(l->sweep->ledger, l->block, 0, &values, e);
    return ledger_write(l->sweep->ledger, l->block, l->first_order + order - 1, &values, e);
}

static void on_progress(void *user, double flops)
{
    Loop *l = user;
    double share = (l->flops_before + flops) / l->sweep->flops_total;
    progress_update(&l->progress, (share < 1 ? share : 1) * l->progress.total);
}

static bool should_stop(void *user)
{
    return workbench_stopped(&((Loop *)user)->sweep->bench);
}

static LedgerShape ledger_shape(const Sweep *s, size_t n_blocks, const size_t *block_tokens)
{
    return (LedgerShape){.n_orders = sweep_n_orders(s),
                         .n_tokens = s->part->n_tokens,
                         .nll_dtype = s->bench.session.ops->logit_dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32,
                         .n_blocks = n_blocks,
                         .block_tokens = block_tokens,
                         .n_stages = s->n_stages,
                         .fingerprint = run_record_fingerprint(s->record)};
}

int sweep_open_ledger(Sweep *s, size_t n_blocks, const size_t *block_tokens, Error *e)
{
    const Windows *w = s->part;
    LedgerShape shape = ledger_shape(s, n_blocks, block_tokens);
    LedgerTokens tokens = {.token_id = w->token_id,
                           .row = w->row,
                           .window = w->window,
                           .position = w->position,
                           .byte_start = w->byte_start,
                           .byte_end = w->byte_end};
    int status = ledger_open(s->dir.data, &shape, &tokens, &s->ledger, &s->first_block, e);
    size_t first = s->first_block < n_blocks ? s->first_block : n_blocks;
    if (!status)
        status = influence_file_open(s->dir.data, s->bench.model.traits.n_layers, n_blocks, first, &s->influence, e);
    return status;
}

static int run_one_block(Loop *l, const RunHooks *hooks, Error *e)
{
    Sweep *s = l->sweep;
    size_t b = l->block % s->blocks.n_blocks;
    TokenBlock block = block_at(s, b, l->starts);
    if (l->stage == 0)
        influence_tap_begin(&l->tap, &block);
    int status = run_block(s->run, &block, hooks, e);
    if (status)
        return status;
    if (l->stage == 0) {
        influence_tap_end(&l->tap);
        if ((status = influence_file_write(s->influence, b, &l->tap.sums, e)))
            return status;
    }
    s->tokens += (double)s->blocks.n_tokens[b];
    s->variant_tokens += (double)s->blocks.n_tokens[b] * (double)s->orders.n_orders;
    return ledger_commit(s->ledger, l->block, e);
}

/* The blocks of one stage that are still to be done. */
static int run_stage(Loop *l, const RunHooks *hooks, Error *e)
{
    Sweep *s = l->sweep;
    size_t n_blocks = s->blocks.n_blocks;
    int status = STATUS_OK;
    for (l->block = l->stage * n_blocks; l->block < (l->stage + 1) * n_blocks && l->block < s->first_block; l->block++) {
        TokenBlock block = block_at(s, l->block % n_blocks, l->starts);
        l->flops_before += run_block_flops(s->run, &block);
    }
    if (l->block == (l->stage + 1) * n_blocks)
        return STATUS_OK;
    if (l->stage == 0)
        status = influence_tap_open(&s->bench.session, s->run, &s->orders.orders[0], s->blocks.max_ids, s->blocks.max_windows,
                                    &l->tap, e);
    for (; !status && l->block < (l->stage + 1) * n_blocks; l->block++)
        status = run_one_block(l, hooks, e);
    double flops = run_get_counters(s->run)->flops;
    s->flops += flops;
    l->flops_before += flops;
    influence_tap_close(&l->tap);
    return status;
}

/* The layer that the stage removes, from what the ledger holds. */
static int choose(Sweep *s, Error *e)
{
    LedgerView view;
    char *part = file_join(s->dir.data, LEDGER_PART), *whole = file_join(s->dir.data, LEDGER_FILE);
    int status = part && whole ? ledger_view_open(file_exists(part) ? part : whole, &view, e)
                               : error_set(e, STATUS_FAILED, "sweep: out of memory");
    if (!status) {
        status = greedy_choose(&s->greedy, &view, e);
        ledger_view_close(&view);
    }
    free(part);
    free(whole);
    return status;
}

/* Orders and run of the stage that follows the choice. */
static int open_next_stage(Loop *l, Error *e)
{
    Sweep *s = l->sweep;
    char part[sizeof s->orders.path_part];
    memcpy(part, s->orders.path_part, sizeof part);
    run_close(s->run);
    s->run = NULL;
    order_set_free(&s->orders);
    l->first_order = greedy_first_order(&s->greedy, l->stage);
    int status = orders_greedy_stage(s->greedy.n_layers, s->greedy.removed, s->greedy.n_done, &s->orders, e);
    if (status)
        return status;
    memcpy(s->orders.path_part, part, sizeof part);
    RunRequest request = make_request(s, s->sizes.block_rows);
    status = run_open(&s->bench.session, &request, &s->run, e);
    return status ? status : add_counters(s, s->run, &s->counters, e);
}

/* All rows of the ledger, once the path is known. */
static int list_greedy_orders(Sweep *s, Error *e)
{
    run_close(s->run);
    s->run = NULL;
    order_set_free(&s->orders);
    return orders_greedy(s->greedy.n_layers, s->greedy.removed, s->greedy.n_stages, &s->orders, e);
}

int sweep_run(Sweep *s, Error *e)
{
    Loop l = {.sweep = s, .first_order = 1};
    int status = sweep_open_ledger(s, s->blocks.n_blocks, s->blocks.n_tokens, e);
    if (status)
        return status;
    l.starts = malloc((s->blocks.max_windows + 1) * sizeof *l.starts);
    if (!l.starts)
        return error_set(e, STATUS_FAILED, "sweep: out of memory");
    RunHooks hooks = {
        .user = &l, .on_node = on_node, .on_results = on_results, .on_progress = on_progress, .should_stop = should_stop};
    double start = progress_now_s(), total = (double)s->part->n_tokens * (double)s->n_stages;
    double already = (double)s->first_block / (double)(s->blocks.n_blocks * s->n_stages) * total;
    char label[160];
    snprintf(label, sizeof label, "%s on %s", s->orders.path_part, s->bench.path.slug);
    progress_begin(&l.progress, label, "tokens", total, already, s->bench.common->quiet || already >= total);
    for (; !status && l.stage < s->n_stages; l.stage++) {
        if (l.stage > 0)
            status = open_next_stage(&l, e);
        if (!status)
            status = run_stage(&l, &hooks, e);
        if (!status && s->greedy.n_stages)
            status = choose(s, e);
    }
    progress_end(&l.progress);
    s->seconds = progress_now_s() - start;
    if (!status)
        status = ledger_finish(s->ledger, e);
    if (!status && s->greedy.n_stages)
        status = list_greedy_orders(s, e);
    free(l.starts);
    return status;
}

void sweep_stamp_timing(Sweep *s)
{
    run_record_time(s->record, "evaluation_seconds", s->seconds);
    run_record_time(s->record, "tokens_evaluated", s->tokens);
    if (s->seconds > 0) {
        run_record_time(s->record, "tokens_per_second", s->tokens / s->seconds);
        run_record_time(s->record, "variant_tokens_per_second", s->variant_tokens / s->seconds);
        run_record_time(s->record, "gflops_per_second", s->flops / s->seconds * 1e-9);
    }
    run_record_time(s->record, "peak_resident_bytes", (double)host_peak_resident());
}

/* Bytes of ledger, influence and rows, exactly; what tables and figures add is some hundred kilobytes. */
static int count_disk(const Sweep *s, const ResultsInput *in, double *bytes, Error *e)
{
    LedgerShape shape = ledger_shape(s, s->blocks.n_blocks, s->blocks.n_tokens);
    StrBuf rows = {0};
    size_t ledger = 0, influence = 0;
    int status = ledger_bytes(&shape, &ledger, e);
    if (!status)
        status = influence_file_bytes(s->bench.model.traits.n_layers, s->blocks.n_blocks, &influence, e);
    if (!status)
        status = results_rows_text(in, &rows, e);
    *bytes = (double)ledger + (double)influence + (double)rows.len;
    strbuf_free(&rows);
    return status;
}

int sweep_print_estimate(Sweep *s, const ResultsInput *in, Error *e)
{
    double mib = 1024.0 * 1024.0, seconds = 0, disk = 0, moved;
    char left[48];
    int64_t loads;
    size_t *starts = malloc((s->blocks.max_windows + 1) * sizeof *starts);
    if (!starts)
        return error_set(e, STATUS_FAILED, "sweep: out of memory");
    TokenBlock block = block_at(s, 0, starts);
    run_count_loads(s->run, s->blocks.n_blocks, &loads, &moved);
    double n_blocks = s->flops_total / run_block_flops(s->run, &block), n_loads = (double)loads * (double)s->n_stages;
    int status = run_estimate_seconds(s->run, &block, n_blocks, n_loads, &seconds, e);
    free(starts);
    if (!status)
        status = count_disk(s, in, &disk, e);
    if (status)
        return status;
    progress_format_time(seconds, left, sizeof left);
    fprintf(stderr,
            "%s: %d layers; %zu orders, %zu tokens in %zu windows; %lld layer evaluations a block where a loop does %lld\n",
            s->bench.path.name, s->bench.model.traits.n_layers, sweep_n_orders(s), s->part->n_tokens, s->part->n_windows,
            (long long)s->counters.layer_evaluations, (long long)s->counters.naive_layer_evaluations);
    fprintf(stderr,
            "estimated: %s, memory %.0f MiB (of %.0f allowed), disk %.1f MiB (%.0f bytes and the tables) in %s; device %s, "
            "%d threads, %s %s\n",
            left, (double)s->sizes.total_bytes / mib, (double)s->bench.session.memory_bytes / mib, disk / mib, disk,
            s->dir.data, s->bench.device, pool_threads(s->bench.session.pool), s->bench.numerics, s->bench.dtype);
    return STATUS_OK;
}
