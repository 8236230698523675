/* diff.c: `strata diff`, Study B: the story from pairs to claims. Categories come one after another; what each leaves behind does not
 * grow with its pairs. What is measured and why: diff_stats.h, diff_sums.h, diff_sigma.h, diff_control.c. */
#include "experiments/diff.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/file.h"
#include "engine/base/host.h"
#include "experiments/diff_against.h"
#include "experiments/diff_figure.h"
#include "kernels/cpu_features.h"

enum { MOST_GROUPS = 48, LEAST_GROUPS = 24, PAIRS_FOR_LENS = 16, PAIRS_TO_ABLATE = 24, PAIRS_FOR_FLOOR = 8 };

static const char *or_default(const char *value, const char *otherwise)
{
    return value && value[0] ? value : otherwise;
}

static uint64_t or_count(uint64_t value, uint64_t otherwise)
{
    return value ? value : otherwise;
}

double diff_step_progress(Diff *s, double rows)
{
    s->rows_done += rows;
    progress_update(&s->progress, s->rows_done);
    return s->rows_done;
}

static int check_options(const StrataDiffOptions *o, Diff *s, Error *e)
{
    const char *controls = or_default(o->controls, "all");
    if (!o->pairs || !o->pairs[0])
        return error_set(e, STATUS_USAGE, "--pairs is missing: expected a pairs.jsonl; `strata pairs` makes one");
    if (!diff_tap_from_name(or_default(o->tap, "resid"), &s->tap))
        return error_set(e, STATUS_USAGE, "--tap: \"%s\", expected resid, attn_out or mlp_out", o->tap);
    if (strcmp(controls, "all") != 0 && strcmp(controls, "none") != 0)
        return error_set(e, STATUS_USAGE, "--controls: \"%s\", expected all or none", controls);
    s->controls = strcmp(controls, "all") == 0;
    return captions_lang(or_default(o->lang, "en"), &s->lang, e);
}

/* Pairs that the model can take. */
static int check_pairs(const Diff *s, Error *e)
{
    const ModelTraits *t = &s->bench.model.traits;
    for (size_t i = 0; i < s->pairs->n_pairs; i++) {
        const Pair *p = &s->pairs->pairs[i];
        size_t n = p->n_ids + s->bench.bos;
        for (size_t k = 0; k < p->n_ids; k++)
            if ((size_t)p->ids_a[k] >= t->vocab || (size_t)p->ids_b[k] >= t->vocab)
                return error_set(e, STATUS_USAGE,
                                 "%s: line %zu: an id of %d, the vocabulary of %s has %zu: pairs of another model?",
                                 s->options->pairs, p->line, (size_t)p->ids_a[k] >= t->vocab ? p->ids_a[k] : p->ids_b[k],
                                 s->bench.path.name, t->vocab);
        if ((t->learned_positions && n > (size_t)t->max_positions) || (s->bench.common->context && n > s->bench.context))
            return error_set(e, STATUS_USAGE, "%s: line %zu: %zu tokens, expected at most %zu", s->options->pairs, p->line, n,
                             s->bench.common->context ? s->bench.context : (size_t)t->max_positions);
    }
    return STATUS_OK;
}

/* Everything that can change a bit of the results. */
static int stamp(Diff *s, Error *e)
{
    static const char *const small_files[] = {
        "config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "model.safetensors.index.json", NULL};
    const Workbench *b = &s->bench;
    const StrataDiffOptions *o = s->options;
    RunRecord *r = s->record;
    char *const paths[] = {(char *)o->pairs};
    int status = run_record_hash_optional(r, "model", b->path.path, small_files, e);
    if (!status)
        status = run_record_hash_files(r, "weights", b->model.files.paths, b->model.files.n_maps, e);
    if (!status)
        status = run_record_hash_files(r, "pairs", paths, 1, e);
    if (status)
        return status;
    run_record_set(r, "corpus", "%s", s->corpus.name);
    run_record_hash(r, "corpus_ids_sha256", s->corpus.ids_sha256);
    run_record_set(r, "order", "%s", s->order.spec);
    run_record_set(r, "tap", "%s", diff_tap_name(s->tap));
    run_record_set(r, "controls", "%s", s->controls ? "all" : "none");
    run_record_set(r, "categories", "%s", or_default(o->categories, "all"));
    run_record_set(r, "per_category", "%llu", (unsigned long long)o->per_category);
    run_record_set(r, "sigma_windows", "%zu", s->corpus.n_windows);
    run_record_set(r, "lens_pairs", "%llu", (unsigned long long)or_count(o->lens_pairs, PAIRS_FOR_LENS));
    run_record_set(r, "ablation_pairs", "%llu", (unsigned long long)or_count(o->ablation_pairs, PAIRS_TO_ABLATE));
    run_record_set(r, "floor_pairs", "%llu", (unsigned long long)or_count(o->floor_pairs, PAIRS_FOR_FLOOR));
    run_record_set(r, "save_pairs", "%llu", (unsigned long long)o->save_pairs);
    run_record_set(r, "groups", "%zu", s->groups);
    run_record_set(r, "bos", "%s", b->bos ? "yes" : "no");
    run_record_set(r, "dtype", "%s", b->dtype);
    run_record_set(r, "numerics", "%s", b->numerics);
    run_record_set(r, "rope", "%s", b->rope);
    run_record_set(r, "seed", "%llu", (unsigned long long)b->common->seed);
    RunMachine machine = {
        .device = b->device, .threads = pool_threads(b->session.pool), .fast = strcmp(b->numerics, "fast") == 0};
    run_record_machine(r, &machine);
    if (ops_numerics_version(b->numerics))
        run_record_set(r, "numerics_version", "%s", ops_numerics_version(b->numerics));
    if (strcmp(b->numerics, "stable") == 0) {
        run_record_set(r, "device", "%s", b->device);
        run_record_set(r, "cpu_level", "%s", cpu_level_name(cpu_level()));
    }
    run_record_note(r, "model_name", "%s", b->path.name);
    run_record_note(r, "model_path", "%s", b->path.path);
    run_record_note(r, "pairs", "%s", o->pairs);
    run_record_note(r, "memory_bytes", "%zu", b->session.memory_bytes);
    return STATUS_OK;
}

static DiffShape sums_shape(const Diff *s, size_t n_cols)
{
    return (DiffShape){.n_points = s->n_points, .n_cols = n_cols, .n_template_groups = s->groups, .n_word_groups = s->groups};
}

/* What all categories' results take, with their medians and p: DiffResult's arrays. */
static size_t results_bytes(const Diff *s)
{
    return s->categories.n * DIFF_N_CLASSES * s->n_points * s->d * (4 * sizeof(double) + 9 * sizeof(float));
}

/* The longest window and family, and all rows of the study. */
static DiffRunnerSizes sizes_of(const Diff *s)
{
    DiffRunnerSizes z = {.longest_window = s->corpus.longest, .longest_family = s->corpus.longest, .final_norm = true};
    for (size_t i = 0; i < s->pairs->n_pairs; i++) {
        const Pair *p = &s->pairs->pairs[i];
        size_t rows = diff_block_family_rows(s->bench.bos, p->n_ids, p->edit_index, 3), n = p->n_ids + s->bench.bos;
        z.longest_window = n > z.longest_window ? n : z.longest_window;
        z.longest_family = rows > z.longest_family ? rows : z.longest_family;
    }
    for (size_t i = 0; i < s->categories.n; i++)
        z.total_rows += (size_t)diff_category_rows(s, &s->categories.list[i]) * 2;
    z.total_rows += s->corpus.start[s->corpus.n_windows];
    return z;
}

static int open_study(Diff *s, const char *model_name, Error *e)
{
    const StrataDiffOptions *o = s->options;
    s->common = o->common;
    s->common.model_name = model_name;
    int status = workbench_open(&s->common, TOKENIZER_IF_THERE, &s->bench, e);
    if (status)
        return status;
    char intact[32];
    snprintf(intact, sizeof intact, "0-%d", s->bench.model.traits.n_layers - 1);
    if ((status = order_parse(or_default(o->order, intact), s->bench.model.traits.n_layers, &s->arena, &s->order, e)))
        return status;
    s->n_points = s->order.n_items + 2;
    s->d = s->bench.model.traits.d_model;
    if ((status = check_pairs(s, e)))
        return status;
    if ((status = diff_categories_build(s->pairs, o->categories, (size_t)o->per_category, s->common.seed, &s->categories, e)))
        return status;
    if ((status = diff_corpus_open(&s->bench, o->dataset_type, o->dataset_path, (size_t)o->sigma_windows, &s->corpus, e)))
        return status;
    s->outcomes = arena_array(&s->arena, s->categories.n, sizeof *s->outcomes);
    if (!s->outcomes)
        return error_set(e, STATUS_FAILED, "diff: out of memory");
    s->groups = MOST_GROUPS;
    size_t budget = s->bench.session.memory_bytes / 4; /* on a device the host holds as much */
    if (!s->bench.session.ops->host_memory && host_memory_available() / 4 < budget)
        budget = host_memory_available() / 4;
    for (DiffShape shape = sums_shape(s, s->d); s->groups > LEAST_GROUPS; s->groups--, shape = sums_shape(s, s->d))
        if (diff_sums_bytes(&shape) < budget)
            break;
    return STATUS_OK;
}

/* On a device rows and sums of the stream are there, and what the host takes is not of the session's memory. */
static void reserve(const Diff *s, DiffRunnerSizes *sizes)
{
    DiffShape stream = sums_shape(s, s->d), curves = sums_shape(s, DIFF_CURVE_COLS);
    DiffSigmaShape sigma = {.n_points = s->n_points, .d = s->d, .rotations = s->controls ? &s->rotations : NULL};
    DiffPassBytes pass = diff_category_bytes(s);
    sizes->reserve_bytes = diff_sums_bytes(&stream) + pass.table;
    if (!s->bench.session.ops->host_memory)
        return;
    sizes->reserve_bytes += diff_sums_bytes(&curves) + results_bytes(s) + pass.host + diff_sigma_bytes(&sigma) +
                            s->n_points * s->d * (4 + DIFF_RANDOM_BASES) * sizeof(float);
    sizes->reserve_row_bytes = pass.host_row;
}

static int open_passes(Diff *s, Error *e)
{
    DiffShape stream = sums_shape(s, s->d), curves = sums_shape(s, DIFF_CURVE_COLS);
    DiffRunnerSizes sizes = sizes_of(s);
    const Session *session = &s->bench.session;
    int status = diff_rotations_open(DIFF_RANDOM_BASES, s->d, s->bench.common->seed, &s->rotations, e);
    if (status)
        return status;
    reserve(s, &sizes);
    s->runner = (DiffRunner){.bench = &s->bench, .session = session, .order = &s->order, .tap = s->tap};
    status = diff_runner_open(&s->runner, &sizes, e);
    if (status)
        return status;
    stream.most_items = curves.most_items = diff_runner_block_items(&s->runner);
    status = diff_sums_open(&stream, session->pool, session->ops, run_get_context(s->runner.run), &s->sums, e);
    return status ? status : diff_sums_open(&curves, session->pool, NULL, NULL, &s->curve_sums, e);
}

static void close_passes(Diff *s)
{
    diff_sums_close(s->sums);
    diff_sums_close(s->curve_sums);
    s->sums = s->curve_sums = NULL;
    diff_runner_close(&s->runner);
}

/* Controls are chosen before anything runs: they decide how many rows there are. */
static int choose_controls(Diff *s, Error *e)
{
    int status = STATUS_OK;
    for (size_t c = 0; !status && s->controls && c < s->categories.n; c++)
        status = diff_control_choose(s, &s->categories.list[c], e);
    return status;
}

static int run_passes(Diff *s, Error *e)
{
    int status = open_passes(s, e);
    if (!status && s->options->save_pairs)
        status = diff_save_open(s->dir, s->pairs, (size_t)s->options->save_pairs, s->n_points, s->d, &s->save, e);
    s->rows_total = (double)s->corpus.start[s->corpus.n_windows];
    for (size_t c = 0; c < s->categories.n; c++)
        s->rows_total += diff_category_rows(s, &s->categories.list[c]);
    char label[160];
    snprintf(label, sizeof label, "differences in %s", s->bench.path.name);
    progress_begin(&s->progress, label, "tokens", s->rows_total, 0, s->bench.common->quiet);
    if (!status)
        status = diff_corpus_run(s, e);
    clock_t cpu = clock();
    double start = progress_now_s(), corpus_flops = status ? 0 : run_get_counters(s->runner.run)->flops, n_pairs = 0;
    for (size_t c = 0; !status && c < s->categories.n; c++) {
        status = diff_category_run(s, c, e);
        n_pairs += (double)s->categories.list[c].n_pairs;
    }
    double seconds = progress_now_s() - start;
    if (!status) {
        run_record_time(s->record, "pairs_per_second", n_pairs / seconds);
        run_record_time(s->record, "pairs_per_cpu_second", n_pairs / ((double)(clock() - cpu) / CLOCKS_PER_SEC));
        run_record_time(s->record, "peak_resident_bytes", (double)host_peak_resident());
        run_record_time(s->record, "gflops_per_second",
                        (run_get_counters(s->runner.run)->flops - corpus_flops) / seconds / 1e9);
    }
    progress_end(&s->progress);
    Error later;
    int closed = diff_save_close(s->save, status ? &later : e);
    s->save = NULL;
    close_passes(s);
    return status ? status : closed;
}

/* What needs the head or another arithmetic, on samples. */
static int run_samples(Diff *s, Error *e)
{
    int status = STATUS_OK;
    if (!s->controls)
        return status;
    if (!status)
        status = diff_floor_run(s, e);
    if (!status)
        status = diff_lens_run(s, e);
    if (!status)
        status = diff_ablation_run(s, e);
    return status;
}

static void close_study(Diff *s)
{
    close_passes(s);
    diff_rotations_close(&s->rotations);
    diff_sigma_result_free(&s->sigma);
    diff_corpus_close(&s->corpus);
    diff_categories_free(&s->categories);
    run_record_close(s->record);
    arena_free(&s->arena);
    workbench_close(&s->bench);
}

/* Files of a finished run, and what to do next. */
static void print_written(const Diff *s, FILE *out)
{
    fprintf(out, "\nwritten: %s/diff.json, diff.safetensors, diff.csv, curves.csv, run.json%s%s\n", s->dir,
            s->options->save_pairs ? ", pairs.safetensors" : "", s->options->no_figures ? "" : ", figures/");
    StrBuf model = {0};
    strbuf_shell_word(&model, s->bench.path.name);
    fprintf(out, "next: strata dim LAYER:DIM --model_name %s\n", model.failed ? "MODEL" : model.data);
    strbuf_free(&model);
}

static int evaluate(Diff *s, Error *e)
{
    RunState state = RUN_FRESH;
    const StrataCommon *c = s->bench.common;
    int status = run_record_open(s->dir, c->argc, c->argv, s->options->force, &s->record, e);
    if (!status) {
        run_record_products(s->record, "diff.json", "diff.safetensors");
        status = stamp(s, e);
    }
    if (!status)
        status = run_record_begin(s->record, &state, e);
    if (status)
        return status;
    if (state == RUN_DONE) {
        if (c->out && !c->json)
            fprintf(c->out, "%s: done already; --force starts over\n", s->dir);
        return STATUS_OK;
    }
    double start = progress_now_s();
    status = choose_controls(s, e);
    if (!status)
        status = run_passes(s, e);
    if (!status)
        status = diff_claims_decide(s, e);
    if (!status && s->controls)
        status = diff_contrast_run(s, e);
    if (!status)
        status = run_samples(s, e);
    if (!status)
        status = diff_write(s, e);
    if (!status && !s->options->no_figures)
        status = diff_figures_write(s->dir, NULL, s->lang, c->quiet || c->json, e);
    if (!status) {
        run_record_time(s->record, "tokens_per_s", s->rows_done / (progress_now_s() - start));
        status = run_record_finish(s->record, e);
    } else if (status == STATUS_INTERRUPTED) {
        Error ignored;
        (void)run_record_pause(s->record, &ignored);
        error_set(e, status, "interrupted: nothing is kept of %s; the same command starts it again", s->dir);
    }
    if (!status && c->out && !c->json) {
        diff_print(s, c->out);
        print_written(s, c->out);
    }
    return status;
}

static int study(const StrataDiffOptions *o, const char *model_name, const char *dir, const PairFile *pairs, Error *e)
{
    Diff s = {.options = o, .pairs = pairs, .dir = dir};
    int status = check_options(o, &s, e);
    if (!status)
        status = open_study(&s, model_name, e);
    if (!status)
        status = evaluate(&s, e);
    close_study(&s);
    return status;
}

int strata_diff(const StrataDiffOptions *o, StrataError *e)
{
    PairFile pairs = {0};
    Diff probe = {0};
    const char *dir = or_default(o->output_dir, "results/diff");
    int status = check_options(o, &probe, e);
    if (!status)
        status = pair_file_read(o->pairs, 0, &pairs, e);
    if (!status)
        status = study(o, o->common.model_name, dir, &pairs, e);
    char *second = o->against && !status ? file_join(dir, "against") : NULL;
    if (o->against && !status) {
        status = second ? study(o, o->against, second, &pairs, e) : error_set(e, STATUS_FAILED, "diff: out of memory");
        if (!status)
            status = diff_against_write(dir, second, o->common.json ? NULL : o->common.out, e);
    }
    free(second);
    pair_file_free(&pairs);
    return status;
}
