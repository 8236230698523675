/* sweep.c: Study A, step 1. All orders of an experiment over a data set: one ledger record per (order, predicted token), and
 * what is read from it. The story of a sweep, from options to figures; the loop over blocks is in sweep_run.c. */
#include "experiments/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/progress.h"
#include "engine/base/sha256.h"
#include "experiments/merge.h"
#include "experiments/sweep_figure.h"
#include "experiments/sweep_report.h"
#include "kernels/cpu_features.h"

static const char *or_default(const char *value, const char *otherwise)
{
    return value && value[0] ? value : otherwise;
}

static int check_options(const StrataSweepOptions *o, Sweep *s, Error *e)
{
    s->protocol = or_default(o->protocol, "rows");
    s->split = or_default(o->split, "test");
    s->output_dir = or_default(o->output_dir, "results");
    s->max_samples = o->max_samples ? o->max_samples : 1000;
    s->experiment = o->orders ? "orders" : or_default(o->experiment, "removal");
    if (o->orders && o->experiment)
        return error_set(e, STATUS_USAGE, "--orders excludes --experiment: give one of them");
    if (!o->dataset_type && !o->dataset_path)
        return error_set(e, STATUS_USAGE,
                         "--dataset_type or --dataset_path is missing: expected wiki-text-2, wiki-text-103, "
                         "gpt2-output-dataset, bookcorpus, or a file");
    const char *schedule = or_default(o->schedule, "tree");
    if (strcmp(schedule, "tree") != 0 && strcmp(schedule, "naive") != 0)
        return error_set(e, STATUS_USAGE, "--schedule: \"%s\", expected tree or naive", schedule);
    s->naive = strcmp(schedule, "naive") == 0;
    int status = s->merge ? STATUS_OK : shard_find(o->shard, &s->shard, e);
    if (status)
        return status;
    if (strcmp(s->protocol, "all") != 0 && !window_protocol_from_name(s->protocol, &s->window_protocol))
        return error_set(e, STATUS_USAGE, "--protocol: \"%s\", expected rows, concat, file or all", s->protocol);
    if (s->shard.count && strcmp(s->protocol, "all") == 0)
        return error_set(e, STATUS_USAGE, "--protocol all is one short pass and is not shared out: leave --shard out");
    return STATUS_OK;
}

/* The windows that this process evaluates. */
static int take_share(Sweep *s, Error *e)
{
    size_t first, end;
    s->part = &s->windows;
    if (!s->shard.count)
        return STATUS_OK;
    shard_windows(&s->shard, &s->windows, &first, &end);
    if (first == end)
        return error_set(e, STATUS_USAGE, "shard %zu/%zu is empty: there are only %zu windows", s->shard.index, s->shard.count,
                         s->windows.n_windows);
    int status = windows_slice(&s->windows, first, end, &s->slice, e);
    if (!status)
        s->part = &s->slice;
    return status;
}

static int open_orders(Sweep *s, Error *e)
{
    int n_layers = s->bench.model.traits.n_layers;
    s->n_stages = 1;
    if (s->options->orders)
        return orders_read(s->options->orders, n_layers, &s->orders, e);
    int stages;
    if (!orders_is_greedy(s->experiment, &stages))
        return orders_generate(s->experiment, n_layers, s->bench.common->seed, &s->orders, e);
    if (s->shard.count)
        return error_set(e, STATUS_USAGE,
                         "greedy:N chooses after each pass over all rows and is not shared out: leave --shard out");
    int status = greedy_open(n_layers, stages, &s->greedy, e);
    if (!status)
        status = orders_greedy_stage(n_layers, NULL, 0, &s->orders, e);
    s->n_stages = s->greedy.n_stages;
    snprintf(s->orders.path_part, sizeof s->orders.path_part, "greedy_%zu", s->n_stages);
    return status;
}

int sweep_open_windows(Sweep *s, WindowProtocol protocol, bool bos, Windows *out, Error *e)
{
    WindowOptions options = {.protocol = protocol,
                             .context = s->bench.context,
                             .max_samples = (size_t)s->max_samples,
                             .bos = bos,
                             .bos_id = s->bench.bos_id,
                             .vocab = s->bench.model.traits.vocab};
    return windows_build(&s->data, s->bench.tokenizer, &options, out, e);
}

/* Everything that can change a bit of the ledger. */
static int stamp(Sweep *s, Error *e)
{
    static const char *const small_files[] = {
        "config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "model.safetensors.index.json", NULL};
    const Workbench *b = &s->bench;
    RunRecord *r = s->record;
    int status = run_record_hash_optional(r, "model", b->path.path, small_files, e);
    if (!status)
        status = run_record_hash_files(r, "weights", b->model.files.paths, b->model.files.n_maps, e);
    if (status)
        return status;
    run_record_set(r, "dataset", "%s", s->data.name);
    run_record_set(r, "split", "%s", s->split);
    run_record_hash(r, "rows_sha256", s->windows.rows_sha256);
    run_record_hash(r, "ids_sha256", s->windows.ids_sha256);
    run_record_set(r, "experiment", "%s", s->experiment);
    StrBuf orders = {0};
    for (size_t i = 0; i < s->orders.n_orders; i++) {
        strbuf_puts(&orders, s->orders.orders[i].name);
        strbuf_puts(&orders, "=");
        strbuf_puts(&orders, s->orders.orders[i].spec);
        strbuf_puts(&orders, ";");
    }
    Sha256 hash;
    char hex[65];
    sha256_begin(&hash);
    sha256_update(&hash, orders.data, orders.len);
    sha256_end(&hash, hex);
    strbuf_free(&orders);
    run_record_set(r, "orders", "%s", s->options->orders ? s->options->orders : s->experiment);
    run_record_set(r, "orders_sha256", "%s", hex);
    run_record_set(r, "protocol", "%s", s->protocol);
    run_record_set(r, "max_samples", "%llu", (unsigned long long)s->max_samples);
    run_record_set(r, "context", "%zu", b->context);
    run_record_set(r, "bos", "%s", b->bos ? "yes" : "no");
    run_record_set(r, "dtype", "%s", b->dtype);
    run_record_set(r, "numerics", "%s", b->numerics);
    run_record_set(r, "rope", "%s", b->rope);
    run_record_set(r, "schedule", "%s", s->naive ? "naive" : "tree");
    run_record_set(r, "seed", "%llu", (unsigned long long)b->common->seed);
    if (s->shard.count)
        run_record_set(r, "shard", "%zu/%zu", s->shard.index, s->shard.count);
    RunMachine machine = {
        .device = b->device, .threads = pool_threads(b->session.pool), .fast = strcmp(b->numerics, "fast") == 0};
    run_record_machine(r, &machine);
    if (ops_numerics_version(b->numerics))
        run_record_set(r, "numerics_version", "%s", ops_numerics_version(b->numerics));
    if (strcmp(b->numerics, "stable") == 0) { /* the same on one kind of device, whatever its threads */
        run_record_set(r, "device", "%s", b->device);
        run_record_set(r, "cpu_level", "%s", cpu_level_name(cpu_level()));
    }
    run_record_note(r, "model_name", "%s", b->path.name);
    run_record_note(r, "model_path", "%s", b->path.path);
    run_record_note(r, "dataset_path", "%s", s->data.path);
    run_record_note(r, "memory_bytes", "%zu", b->session.memory_bytes);
    return STATUS_OK;
}

static int find_folder(Sweep *s, Error *e)
{
    RunFolder folder = {.output_dir = s->output_dir,
                        .path_part = s->orders.path_part,
                        .slug = s->bench.path.slug,
                        .tag = s->options->tag,
                        .dataset = s->data.name,
                        .n_samples = s->max_samples};
    int status = run_record_folder(&folder, &s->dir, e);
    if (status)
        return status;
    if (s->merge)
        merge_folder(s->merge, &s->dir);
    if (s->shard.count) {
        strbuf_puts(&s->dir, "/");
        shard_folder_name(&s->shard, &s->dir);
    }
    if (s->dir.failed)
        return error_set(e, STATUS_FAILED, "sweep: out of memory");
    const StrataCommon *c = s->bench.common;
    return s->options->dry_run ? run_record_open_dry(c->argc, c->argv, &s->record, e)
                               : run_record_open(s->dir.data, c->argc, c->argv, s->options->force, &s->record, e);
}

static ResultsInput results_input(const Sweep *s)
{
    return (ResultsInput){.dir = s->dir.data,
                          .model = s->bench.path.name,
                          .dataset = s->data.name,
                          .experiment = s->experiment,
                          .n_samples = s->max_samples,
                          .split = s->split,
                          .dtype = s->bench.dtype,
                          .numerics = s->bench.numerics,
                          .rope = s->bench.rope,
                          .seed = s->bench.common->seed,
                          .data = &s->data,
                          .windows = &s->windows,
                          .orders = &s->orders,
                          .greedy = s->greedy.n_stages ? &s->greedy : NULL,
                          .record = s->record};
}

/* From the finished ledger to files, table and figure. */
static int report(Sweep *s, Error *e)
{
    ResultsInput in = results_input(s);
    InfluenceSums influence = {0};
    Results results = {0};
    LedgerView view = {0};
    char *path = file_join(s->dir.data, "ledger.safetensors");
    int status = path ? STATUS_OK : error_set(e, STATUS_FAILED, "%s: out of memory", s->dir.data);
    if (!status)
        status = influence_sums_init(&influence, s->bench.model.traits.n_layers, e);
    if (!status && s->influence)
        status = influence_file_total(s->influence, &influence, e);
    in.influence = s->influence ? &influence : NULL;
    in.counters = &s->counters;
    if (!status)
        status = ledger_view_open(path, &view, e);
    if (!status)
        status = results_compute(&in, &view, &results, e);
    if (!status)
        status = results_write(&in, &results, e);
    if (!status)
        status = sweep_figure_write(&in, &results, e);
    if (!status)
        status = sweep_report(s, &in, &results, e);
    ledger_view_close(&view);
    results_free(&results);
    influence_sums_free(&influence);
    free(path);
    return status;
}

/* A shard ends with its ledger: tables are made of the whole. */
static int shard_report(const Sweep *s, Error *e)
{
    FILE *out = s->bench.common->out;
    if (!out || s->bench.common->quiet)
        return STATUS_OK;
    StrBuf run = {0}, folder = {0};
    strbuf_append(&run, s->dir.data, strlen(s->dir.data) - strlen(strrchr(s->dir.data, '/')));
    if (!run.failed)
        strbuf_shell_word(&folder, run.data);
    int status = run.failed || folder.failed ? error_set(e, STATUS_FAILED, "sweep: out of memory") : STATUS_OK;
    if (!status)
        fprintf(out,
                "shard %zu of %zu: %zu tokens in %zu windows\nwritten: %s/ledger.safetensors\nwhen all are done: strata merge "
                "%s\n",
                s->shard.index, s->shard.count, s->part->n_tokens, s->part->n_windows, s->dir.data, folder.data);
    strbuf_free(&run);
    strbuf_free(&folder);
    return status;
}

static int evaluate(Sweep *s, Error *e)
{
    RunState state = RUN_FRESH;
    if (s->merge)
        merge_trust(s->merge, s->record);
    int status = stamp(s, e);
    if (!status && s->merge)
        status = merge_check(s->merge, s->record, e);
    if (status)
        return status;
    int plan_status = sweep_plan(s, e);
    if (!plan_status || run_record_has_earlier(s->record)) { /* that another run lives here is said first */
        Error other;
        status = run_record_begin(s->record, &state, &other);
        if (status)
            *e = other;
    }
    if (!status)
        status = plan_status;
    ResultsInput in = results_input(s);
    if (!status && state != RUN_DONE && !s->merge && (!s->bench.common->quiet || s->options->dry_run))
        status = sweep_print_estimate(s, &in, e);
    if (status || s->options->dry_run)
        return status;
    if (state == RUN_DONE && !s->bench.common->quiet)
        fprintf(stderr, "This run is complete already; its tables are written again. --force starts over.\n");
    if (state != RUN_DONE)
        status = results_write_rows(&in, e);
    if (!status)
        status = s->merge ? merge_run(s->merge, s, e) : sweep_run(s, e);
    if (status == STATUS_INTERRUPTED) {
        Error ignored;
        run_record_pause(s->record, &ignored);
        StrBuf command = {0};
        run_record_command(s->record, &command);
        error_set(e, status, "interrupted; finished blocks are kept in %s; to go on: %s", s->dir.data,
                  command.data ? command.data : "");
        strbuf_free(&command);
    }
    if (!status)
        status = s->shard.count ? shard_report(s, e) : report(s, e);
    if (!status && state != RUN_DONE) {
        if (!s->merge)
            sweep_stamp_timing(s);
        status = run_record_finish(s->record, e);
    }
    return status;
}

int sweep_story(Sweep *s, Error *e)
{
    const StrataSweepOptions *o = s->options;
    int status = check_options(o, s, e);
    if (!status)
        status = workbench_open(&o->common, TOKENIZER_IF_THERE, &s->bench, e);
    bool all = strcmp(or_default(o->protocol, "rows"), "all") == 0;
    DatasetOptions data = {.type = o->dataset_type, .path = o->dataset_path, .split = s->split};
    if (!status && !all && s->window_protocol == WINDOW_ROWS)
        data.max_rows = (size_t)s->max_samples;
    if (!status)
        status = dataset_open_with(&data, &s->data, e);
    if (!status && all)
        return sweep_all_protocols(s, e);
    if (!status)
        status = sweep_open_windows(s, s->window_protocol, s->bench.bos, &s->windows, e);
    if (!status)
        status = take_share(s, e);
    if (!status)
        status = open_orders(s, e);
    if (!status)
        status = find_folder(s, e);
    return status ? status : evaluate(s, e);
}

int strata_sweep(const StrataSweepOptions *options, StrataError *e)
{
    Sweep s = {.options = options};
    int status = sweep_story(&s, e);
    sweep_close(&s);
    return status;
}
