/* merge.c: see merge.h. The ledger of the whole gets one block a shard; influence sums likewise. In stable and exact arithmetic it is the
 * unsharded sweep's to the bit; in fast, shards of machines that differ are joined with a warning. */
#include "experiments/merge.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "experiments/sweep_options.h"

typedef struct MergeShard {
    char *dir;
    Shard shard;
    StrBuf text; /* of its run.json */
    const JsonValue *run;
} MergeShard;

struct MergeInput {
    char *folder;
    MergeShard *shards; /* by index, once all are there */
    size_t n;
    Arena arena;
    bool quiet;
};

static const char *const machine_keys[] = {"device", "threads", "cpu_level", "blas_core"};

static bool is_machine_key(const char *key)
{
    for (size_t i = 0; i < sizeof machine_keys / sizeof machine_keys[0]; i++)
        if (strcmp(key, machine_keys[i]) == 0)
            return true;
    return false;
}

static const char *pair_of(const MergeShard *s, const char *key)
{
    return json_text(json_get(json_get(s->run, "fingerprint"), key));
}

static const char *note_of(const MergeShard *s, const char *key)
{
    return json_text(json_get(json_get(s->run, "options"), key));
}

static int out_of_memory(Error *e)
{
    return error_set(e, STATUS_FAILED, "merge: out of memory");
}

static int add_shard(MergeInput *m, const char *dir, Error *e)
{
    const char *slash;
    char *copy = strdup(dir);
    MergeShard *grown = copy ? realloc(m->shards, (m->n + 1) * sizeof *grown) : NULL;
    if (!grown) {
        free(copy);
        return out_of_memory(e);
    }
    m->shards = grown;
    MergeShard *s = &m->shards[m->n++];
    *s = (MergeShard){.dir = copy};
    slash = strrchr(copy, '/');
    if (!shard_from_folder(slash ? slash + 1 : copy, &s->shard))
        return error_set(e, STATUS_USAGE, "%s: expected a folder named shard_K_of_N, or one that holds such folders", copy);
    char *parent = slash ? strndup(copy, slash == copy ? 1 : (size_t)(slash - copy)) : strdup(".");
    if (!parent)
        return out_of_memory(e);
    if (m->folder && strcmp(m->folder, parent) != 0) {
        int status = error_set(e, STATUS_USAGE, "%s: expected a shard in %s beside the others", copy, m->folder);
        free(parent);
        return status;
    }
    free(m->folder);
    m->folder = parent;
    return sweep_options_open(copy, &s->text, &m->arena, &s->run, e);
}

static int find_shards(MergeInput *m, const char *path, Error *e)
{
    Shard named;
    size_t before = m->n;
    int status = STATUS_OK;
    if (!file_is_dir(path))
        return error_set(e, STATUS_FAILED, "%s: no such folder", path);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    char *trimmed = strndup(path, n);
    if (!trimmed)
        return out_of_memory(e);
    bool is_shard = shard_from_folder(file_basename(trimmed), &named);
    if (is_shard)
        status = add_shard(m, trimmed, e);
    free(trimmed);
    if (is_shard || status)
        return status;
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && !status && (entry = readdir(dir));) {
        char *whole = file_join(path, entry->d_name);
        if (!whole)
            status = out_of_memory(e);
        else if (shard_from_folder(entry->d_name, &named))
            status = add_shard(m, whole, e);
        free(whole);
    }
    if (dir)
        closedir(dir);
    if (!status && m->n == before)
        status = error_set(e, STATUS_USAGE, "%s: expected folders named shard_K_of_N in it, found none", path);
    return status;
}

static int by_index(const void *a, const void *b)
{
    const MergeShard *x = a, *y = b;
    return (x->shard.index > y->shard.index) - (x->shard.index < y->shard.index);
}

static int check_complete(MergeInput *m, Error *e)
{
    qsort(m->shards, m->n, sizeof *m->shards, by_index);
    size_t count = m->shards[0].shard.count;
    for (size_t i = 0; i < m->n; i++) {
        if (m->shards[i].shard.count != count)
            return error_set(e, STATUS_USAGE, "%s: a shard of %zu among shards of %zu; name the folders of one sharing",
                             m->shards[i].dir, m->shards[i].shard.count, count);
        if (m->shards[i].shard.index != i + 1)
            return error_set(e, STATUS_USAGE, "%s/shard_%zu_of_%zu is %s", m->folder, i + 1, count,
                             i && m->shards[i].shard.index == i ? "followed by itself: named twice" : "missing");
    }
    if (m->n != count)
        return error_set(e, STATUS_USAGE, "%s/shard_%zu_of_%zu is missing", m->folder, m->n + 1, count);
    return STATUS_OK;
}

/* All shards say the same, but for the share itself and, with a warning, the machine. */
static int check_alike(const MergeInput *m, Error *e)
{
    const JsonValue *first = json_get(m->shards[0].run, "fingerprint");
    for (size_t i = 1; i < m->n; i++) {
        const JsonValue *pairs = json_get(m->shards[i].run, "fingerprint");
        for (size_t k = 0; first && k < first->len; k++) {
            const char *key = first->keys[k].string, *expected = json_text(json_get(first, key)),
                       *found = json_text(json_get(pairs, key));
            bool same = expected && found && strcmp(expected, found) == 0;
            if (same || strcmp(key, "shard") == 0)
                continue;
            if (!is_machine_key(key))
                return error_set(e, STATUS_USAGE, "%s: %s is %s, in %s it is %s: not shards of one run", m->shards[i].dir, key,
                                 found ? found : "absent", m->shards[0].dir, expected ? expected : "absent");
            if (!m->quiet)
                fprintf(stderr, "warning: %s: %s is %s, in %s it is %s: fast arithmetic may differ in the last bits\n",
                        m->shards[i].dir, key, found ? found : "absent", m->shards[0].dir, expected ? expected : "absent");
        }
    }
    return STATUS_OK;
}

void merge_folder(const MergeInput *m, StrBuf *dir)
{
    strbuf_reset(dir);
    strbuf_puts(dir, m->folder);
}

void merge_trust(const MergeInput *m, RunRecord *record)
{
    run_record_trust(record, m->shards[0].run);
}

typedef struct Check {
    const MergeShard *shard;
    Error *e;
    int status;
} Check;

static void check_pair(void *user, const char *key, const char *value)
{
    Check *c = user;
    const char *found = pair_of(c->shard, key);
    if (!c->status && (!found || strcmp(found, value) != 0))
        c->status =
            error_set(c->e, STATUS_USAGE, "%s: %s is %s, here it is now %s: the files are not those that the shards read",
                      c->shard->dir, key, found ? found : "absent", value);
}

int merge_check(const MergeInput *m, RunRecord *record, Error *e)
{
    Check check = {.shard = &m->shards[0], .e = e};
    for (size_t i = 0; i < sizeof machine_keys / sizeof machine_keys[0]; i++) {
        const char *value = pair_of(check.shard, machine_keys[i]);
        if (value) /* the records were made there */
            run_record_set(record, machine_keys[i], "%s", value);
    }
    run_record_note(record, "merged_shards", "%zu", m->n);
    run_record_each_hash(record, check_pair, &check);
    return check.status;
}

/* The shard's ledger holds these windows, order by order. */
static int check_ledger(const MergeShard *shard, const LedgerView *v, const Sweep *s, const Windows *slice, Error *e)
{
    size_t n = slice->n_tokens;
    if (v->n_orders != s->orders.n_orders || v->n_tokens != n)
        return error_set(e, STATUS_FAILED, "%s/ledger.safetensors: expected %zu orders of %zu tokens, found %zu of %zu",
                         shard->dir, s->orders.n_orders, n, v->n_orders, v->n_tokens);
    if (memcmp(v->token_id, slice->token_id, n * sizeof *v->token_id) != 0 ||
        memcmp(v->row, slice->row, n * sizeof *v->row) != 0 || memcmp(v->window, slice->window, n * sizeof *v->window) != 0)
        return error_set(e, STATUS_FAILED, "%s/ledger.safetensors: its tokens are not those of shard %zu of %zu", shard->dir,
                         shard->shard.index, shard->shard.count);
    return STATUS_OK;
}

static int copy_records(const LedgerView *v, Ledger *to, size_t block, Error *e)
{
    size_t n = v->n_tokens;
    int status = STATUS_OK;
    double *values = malloc((3 * n + 1) * sizeof *values);
    if (!values)
        return out_of_memory(e);
    for (size_t order = 0; !status && order < v->n_orders; order++) {
        size_t at = order * n;
        for (size_t t = 0; t < n; t++) {
            values[t] = ledger_view_nll(v, order, t);
            values[n + t] = (double)v->kl[at + t];
            values[2 * n + t] = (double)v->word_start_logp[at + t];
        }
        LedgerBlock records = {
            .nll = values, .kl = values + n, .word_start_logp = values + 2 * n, .rank = v->rank + at, .top1 = v->top1 + at};
        status = ledger_write(to, block, order, &records, e);
    }
    free(values);
    return status ? status : ledger_commit(to, block, e);
}

static int copy_influence(const MergeShard *shard, const Sweep *s, const Windows *slice, size_t block, Error *e)
{
    InfluenceSums total = {0};
    InfluenceFile *from = NULL;
    WindowBlocks blocks = {0};
    const char *rows = note_of(shard, "block_rows");
    int n_layers = s->bench.model.traits.n_layers, status = influence_sums_init(&total, n_layers, e);
    if (!status)
        status = windows_partition(slice, rows ? strtoul(rows, NULL, 10) : 0, &blocks, e);
    if (!status) /* opened as one to go on with: an absent file is not made */
        status = influence_file_open(shard->dir, n_layers, blocks.n_blocks, blocks.n_blocks, &from, e);
    if (!status)
        status = influence_file_total(from, &total, e);
    if (!status)
        status = influence_file_write(s->influence, block, &total, e);
    influence_file_close(from);
    influence_sums_free(&total);
    window_blocks_free(&blocks);
    return status;
}

static int take_shard(const MergeInput *m, Sweep *s, size_t i, Error *e)
{
    const MergeShard *shard = &m->shards[i];
    LedgerView view = {0};
    Windows slice = {0};
    size_t first, end;
    char *path = file_join(shard->dir, "ledger.safetensors");
    shard_windows(&shard->shard, &s->windows, &first, &end);
    int status = path ? windows_slice(&s->windows, first, end, &slice, e) : out_of_memory(e);
    if (!status)
        status = ledger_view_open(path, &view, e);
    if (!status)
        status = check_ledger(shard, &view, s, &slice, e);
    if (!status)
        status = copy_influence(shard, s, &slice, i, e);
    if (!status)
        status = copy_records(&view, s->ledger, i, e);
    ledger_view_close(&view);
    windows_slice_free(&slice);
    free(path);
    return status;
}

int merge_run(const MergeInput *m, Sweep *s, Error *e)
{
    const Windows *w = &s->windows;
    size_t *tokens = calloc(m->n, sizeof *tokens);
    if (!tokens)
        return out_of_memory(e);
    for (size_t i = 0; i < m->n; i++) {
        size_t first, end;
        shard_windows(&m->shards[i].shard, w, &first, &end);
        tokens[i] = windows_first_token(w, end) - windows_first_token(w, first);
    }
    int status = sweep_open_ledger(s, m->n, tokens, e);
    for (size_t i = s->first_block; !status && i < m->n; i++)
        status = workbench_stopped(&s->bench) ? error_set(e, STATUS_INTERRUPTED, "interrupted") : take_shard(m, s, i, e);
    if (!status)
        status = ledger_finish(s->ledger, e);
    free(tokens);
    return status;
}

int strata_merge(const StrataMergeOptions *options, StrataError *e)
{
    MergeInput m = {.quiet = options->common.quiet};
    StrataSweepOptions sweep_options = {0};
    Sweep s = {.merge = &m, .options = &sweep_options};
    int status = options->n_paths ? STATUS_OK
                                  : error_set(e, STATUS_USAGE,
                                              "merge: name the result folder that holds shard_K_of_N, for example "
                                              "strata merge results/removal/gpt2_wiki-text-2_n1000");
    for (size_t i = 0; !status && i < options->n_paths; i++)
        status = find_shards(&m, options->paths[i], e);
    if (!status)
        status = check_complete(&m, e);
    if (!status)
        status = check_alike(&m, e);
    if (!status)
        status = sweep_options_read(m.shards[0].run, m.shards[0].dir, &options->common, &sweep_options, e);
    sweep_options.force = status ? 0 : options->force;
    if (!status)
        status = sweep_story(&s, e);
    sweep_close(&s);
    for (size_t i = 0; i < m.n; i++) {
        free(m.shards[i].dir);
        strbuf_free(&m.shards[i].text);
    }
    free(m.shards);
    free(m.folder);
    arena_free(&m.arena);
    return status;
}
