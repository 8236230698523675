/* pull.c: `strata pull`: models and data sets from the hub, by the names the studies use. What the four data sets are on the hub stands
 * here; how things are fetched in loaders/hub.h. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/studies.h"
#include "loaders/dataset.h"
#include "loaders/hub.h"

/* Rows through the dataset server, or a file under a plain URL. */
typedef struct KnownDataset {
    const char *name, *hub, *config;
    const char *splits;    /* what may be asked for, the usual one first */
    uint64_t default_rows; /* 0: all */
    const char *url;       /* with %s for the split; NULL: rows */
} KnownDataset;

static const KnownDataset known[] = {
    {"wiki-text-2", "Salesforce/wikitext", "wikitext-2-raw-v1", "test validation train", 0, NULL},
    {"wiki-text-103", "Salesforce/wikitext", "wikitext-103-raw-v1", "test validation train", 0, NULL},
    {"bookcorpus", "bookcorpus/bookcorpus", "plain_text", "train", 20000, NULL},
    {"gpt2-output-dataset", NULL, NULL, "test valid train", 0,
     "https://openaipublic.blob.core.windows.net/gpt-2/output-dataset/v1/webtext.%s.jsonl"},
};

static const KnownDataset *find_known(const char *name)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, name) == 0)
            return &known[i];
    return NULL;
}

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *w = words; *w; w += strcspn(w, " "), w += *w == ' ')
        if (strcspn(w, " ") == n && strncmp(w, word, n) == 0)
            return true;
    return false;
}

static void print_model(const StrataPullOptions *o, const HubModel *m)
{
    if (!o->common.out)
        return;
    if (o->common.json) {
        StrBuf b = {0};
        strbuf_puts(&b, "{\"model\": ");
        strbuf_json_string(&b, o->model, strlen(o->model));
        strbuf_json_field_text(&b, "commit", m->commit);
        strbuf_json_field_text(&b, "snapshot", m->snapshot);
        strbuf_json_field_number(&b, "bytes", (double)m->total_bytes);
        strbuf_json_field_number(&b, "bytes_to_fetch", (double)m->missing_bytes);
        strbuf_json_field(&b, "files");
        for (size_t i = 0; i < m->n_files; i++) {
            strbuf_puts(&b, i ? ", " : "[");
            strbuf_json_string(&b, m->files[i].name, strlen(m->files[i].name));
        }
        strbuf_puts(&b, "]}\n");
        fputs(b.data ? b.data : "", o->common.out);
        strbuf_free(&b);
        return;
    }
    for (size_t i = 0; i < m->n_files; i++)
        fprintf(o->common.out, "  %-40s %12.3f MiB%s\n", m->files[i].name, (double)m->files[i].size_bytes / (1 << 20),
                m->files[i].sha256[0] ? o->dry_run ? "" : "  sha256 right" : "");
    fprintf(o->common.out, "%zu files, %.3f GiB, %.3f GiB of them %s: revision %s\n", m->n_files,
            (double)m->total_bytes / (1 << 30), (double)m->missing_bytes / (1 << 30), o->dry_run ? "to fetch" : "fetched",
            m->commit);
    if (o->dry_run)
        return;
    StrBuf b = {0};
    strbuf_printf(&b, "%s\nNext: strata inspect --model_name ", m->snapshot);
    if (o->file) {
        strbuf_shell_word(&b, m->snapshot);
        strbuf_putc(&b, '/');
        strbuf_shell_word(&b, o->file);
    } else {
        strbuf_shell_word(&b, o->model);
        if (o->revision) {
            strbuf_puts(&b, " --revision ");
            strbuf_shell_word(&b, o->revision);
        }
    }
    fprintf(o->common.out, "%s\n", b.failed ? m->snapshot : b.data);
    strbuf_free(&b);
}

static int pull_model(const HubSession *s, const StrataPullOptions *o, Error *e)
{
    HubModelRequest q = {
        .id = o->model,
        .revision = o->revision,
        .file = o->file,
        .cache = o->output_dir,
        .dry_run = o->dry_run,
        .transfer = {.jobs = o->jobs, .part_bytes = o->part_bytes, .quiet = o->common.quiet, .stop = o->common.stop}};
    HubModel m;
    int status = hub_pull_model(s, &q, &m, e);
    if (!status)
        print_model(o, &m);
    hub_model_free(&m);
    return status;
}

/* gpt2-output-dataset: one jsonl file. Its size is asked for by the download itself. */
static int pull_file(const KnownDataset *k, const StrataPullOptions *o, const char *split, const char *path, Error *e)
{
    const char *base = getenv("STRATA_GPT2_OUTPUT_URL"); /* another place that holds webtext.SPLIT.jsonl */
    StrBuf url = {0};
    if (base && *base) {
        strbuf_printf(&url, "%s/webtext.%s.jsonl", base, split);
    } else {
        const char *at = strstr(k->url, "%s");
        strbuf_append(&url, k->url, (size_t)(at - k->url));
        strbuf_printf(&url, "%s%s", split, at + 2);
    }
    HubTransfer transfer = {.jobs = o->jobs, .quiet = o->common.quiet, .stop = o->common.stop};
    int status =
        url.failed ? error_set(e, STATUS_FAILED, "%s: out of memory", k->name) : hub_download_url(url.data, path, &transfer, e);
    strbuf_free(&url);
    return status;
}

static int pull_dataset(const HubSession *s, const StrataPullOptions *o, Error *e)
{
    const KnownDataset *k = find_known(o->dataset);
    if (!k && (!o->config || !strchr(o->dataset, '/')))
        return error_set(
            e, STATUS_USAGE,
            "--dataset: \"%s\", expected wiki-text-2, wiki-text-103, gpt2-output-dataset or bookcorpus, or ORG/NAME of "
            "the hub with --config",
            o->dataset);
    size_t usual = k ? strcspn(k->splits, " ") : 0;
    char split[64];
    snprintf(split, sizeof split, "%.*s", k ? (int)usual : 4, k ? k->splits : "test");
    if (o->split)
        snprintf(split, sizeof split, "%s", o->split);
    if ((k && !has_word(k->splits, split)) || strchr(split, '/') || !*split || (o->split && strcmp(split, o->split) != 0))
        return error_set(e, STATUS_USAGE, "--split: \"%s\", expected one of: %s", o->split ? o->split : split,
                         k ? k->splits : "a name without a slash");
    const char *folder = o->output_dir ? o->output_dir : "datasets", *name = k ? k->name : strchr(o->dataset, '/') + 1;
    StrBuf path = {0};
    strbuf_printf(&path, "%s/%s/%s.jsonl", folder, name, split);
    int status = path.failed ? error_set(e, STATUS_FAILED, "%s: out of memory", name) : STATUS_OK;
    uint64_t max_rows = o->max_samples ? o->max_samples : k ? k->default_rows : 0, n = 0, total = 0;
    bool there = !status && file_exists(path.data);
    if (there && !o->force)
        status = error_set(e, STATUS_USAGE, "%s is there already; --force fetches it anew", path.data);
    if (!status && o->dry_run) {
        if (o->common.out)
            fprintf(o->common.out, "would fetch %s, split %s, into %s\n", k && k->url ? "a file" : "rows", split, path.data);
    } else if (!status && k && k->url) {
        status = pull_file(k, o, split, path.data, e);
    } else if (!status) {
        HubRowsRequest q = {.dataset = k ? k->hub : o->dataset,
                            .config = k ? k->config : o->config,
                            .split = split,
                            .field = o->field ? o->field : "text",
                            .path = path.data,
                            .max_rows = max_rows,
                            .transfer = {.quiet = o->common.quiet, .stop = o->common.stop}};
        status = hub_pull_rows(s, &q, &n, &total, e);
        if (status == STATUS_INTERRUPTED)
            error_set(e, status, "stopped after %llu rows; the same command goes on there", (unsigned long long)n);
    }
    if (!status && !o->dry_run && o->common.out) {
        if (total)
            fprintf(o->common.out, "%llu of %llu rows%s\n", (unsigned long long)n, (unsigned long long)total,
                    n < total ? !o->max_samples ? " (the default for this one; --max_samples N fetches more)" : "" : "");
        StrBuf b = {0};
        strbuf_printf(&b, "%s\nNext: strata sweep --model_name MODEL %s ", path.data, k ? "--dataset_type" : "--dataset_path");
        strbuf_shell_word(&b, k ? k->name : path.data);
        strbuf_puts(&b, " --split ");
        strbuf_shell_word(&b, split);
        fprintf(o->common.out, "%s --max_samples 1000 --experiment removal\n", b.failed ? path.data : b.data);
        strbuf_free(&b);
    }
    strbuf_free(&path);
    return status;
}

int strata_pull(const StrataPullOptions *o, StrataError *e)
{
    if (!o->model == !o->dataset)
        return error_set(e, STATUS_USAGE, "pull: expected either --model ID or --dataset NAME");
    HubSession s;
    int status = hub_open(&s, e);
    if (!status)
        status = o->model ? pull_model(&s, o, e) : pull_dataset(&s, o, e);
    hub_close(&s);
    return status;
}
