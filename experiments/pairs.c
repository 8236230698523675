/* pairs.c: `strata pairs`: pairs from a source, verified, written with what was refused and where all of it comes from. */
#include "experiments/pairs.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/strata.h"
#include "experiments/pair_api.h"
#include "experiments/pair_review.h"
#include "experiments/pair_source.h"
#include "experiments/workbench.h"

enum { DEFAULT_PER_CATEGORY = 500, MAX_PER_CATEGORY = 1000000, MIN_CLUSTERS = 20 };

static const char *or_default(const char *value, const char *otherwise)
{
    return value && value[0] ? value : otherwise;
}

static bool has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

static bool is_templates(const StrataPairsOptions *o)
{
    return strcmp(or_default(o->source, "templates"), "templates") == 0;
}

static bool is_api(const StrataPairsOptions *o)
{
    return strcmp(or_default(o->source, "templates"), "api") == 0;
}

static int choose_categories(PairsRun *r, Error *e)
{
    const char *at = r->o->categories;
    for (int c = 0; c < PAIR_N_CATEGORIES; c++)
        r->wanted[c] = !at;
    while (at && *at) {
        size_t n = strcspn(at, ",");
        char name[64];
        snprintf(name, sizeof name, "%.*s", n < sizeof name ? (int)n : (int)sizeof name - 1, at);
        int c = pair_category_find(name);
        if (c < 0)
            return error_set(
                e, STATUS_USAGE,
                "--categories: \"%s\", expected names out of subject, place, adjective, tense, article, article_choice, "
                "preposition, number, negation, spelling",
                name);
        r->wanted[c] = true;
        at += n + (at[n] == ',');
    }
    return STATUS_OK;
}

static int choose_output(PairsRun *r, Error *e)
{
    const StrataPairsOptions *o = r->o;
    r->output = or_default(o->output, "pairs.jsonl");
    if (!has_suffix(r->output, ".jsonl"))
        return error_set(e, STATUS_USAGE, "--output: \"%s\", expected a name that ends in .jsonl", r->output);
    size_t n = strlen(r->output) - strlen(".jsonl");
    strbuf_printf(&r->rejected_path, "%.*s.rejected.jsonl", (int)n, r->output);
    strbuf_printf(&r->meta_path, "%.*s.meta.json", (int)n, r->output);
    strbuf_printf(&r->partial_path, "%.*s.partial.jsonl", (int)n, r->output);
    if (r->rejected_path.failed || r->meta_path.failed || r->partial_path.failed)
        return error_set(e, STATUS_FAILED, "no memory for file names");
    if (file_is_dir(r->output))
        return error_set(e, STATUS_USAGE, "--output: \"%s\" is a folder, expected a file", r->output);
    if (file_exists(r->output) && !o->force)
        return error_set(e, STATUS_USAGE, "%s is there already: --force writes it anew, --output names another file",
                         r->output);
    char *folder = strndup(r->output, (size_t)(file_basename(r->output) - r->output));
    int status = !folder     ? error_set(e, STATUS_FAILED, "no memory for file names")
                 : folder[0] ? file_make_dirs(folder, e)
                             : STATUS_OK;
    free(folder);
    return status;
}

static int open_tokenizer(PairsRun *r, Error *e)
{
    const StrataCommon *common = &r->o->common;
    if (!common->model_name || !common->model_name[0])
        return error_set(
            e, STATUS_USAGE,
            "--model_name is missing: pairs are verified under the model's own tokenizer; expected a hub id, a directory, "
            "or a .gguf file");
    int status = model_lookup(common->model_name, common->revision, &r->model, e);
    return status ? status : workbench_open_tokenizer(&r->model, &r->tokenizer, e);
}

static int from_templates(PairsRun *r, Error *e)
{
    PairGrammar grammar = {0};
    PairTemplatesOptions o = {.per_category = r->per_category,
                              .seed = r->o->common.seed,
                              .first_token = r->o->first_token,
                              .quiet = r->o->common.quiet,
                              .stop = r->o->common.stop};
    memcpy(o.wanted, r->wanted, sizeof o.wanted);
    int status = pair_grammar_open(r->o->templates, &grammar, e);
    if (!status)
        status = pair_templates_fill(&grammar, r->tokenizer, &o, &r->set, r->shortages, e);
    pair_grammar_free(&grammar);
    strbuf_printf(&r->meta, ", \"seed\": %llu", (unsigned long long)o.seed);
    strbuf_json_field_text(&r->meta, "templates", or_default(r->o->templates, "built in"));
    strbuf_json_field(&r->meta, "first_token");
    strbuf_puts(&r->meta, o.first_token ? "true" : "false");
    return status;
}

/* Why a category has fewer pairs than asked for. */
static void put_shortage(const PairsRun *r, PairCategory category, const PairClusters *c, StrBuf *out)
{
    const PairShortage *s = &r->shortages[category];
    if (r->review_refused[category])
        strbuf_printf(out, "%zu refused in review", r->review_refused[category]);
    if (c->n_pairs + r->review_refused[category] >= r->per_category)
        return;
    if (r->review_refused[category])
        strbuf_puts(out, "; ");
    if (!is_templates(r->o))
        strbuf_puts(out, is_api(r->o) ? "the model gave no more that hold" : "the file has no more that hold");
    else if (s->n_templates == 0)
        strbuf_puts(out, r->o->first_token ? "no template edits the first token" : "no template");
    else if (c->n_pairs == 0)
        strbuf_printf(out, "under this tokenizer the words of all %zu templates are not single tokens", s->n_templates);
    else
        strbuf_printf(out, "%zu of %zu templates have no further sentence that this tokenizer lets pass", s->n_done,
                      s->n_templates);
}

/* A category's line of the table, its object in meta.json, its note. */
static void put_category(PairsRun *r, PairCategory c, const PairClusters *k, StrBuf *text, StrBuf *json)
{
    const char *name = pair_category_name(c);
    char asked[24] = "all", asked_json[24] = "null";
    if (r->per_category != SIZE_MAX) {
        snprintf(asked, sizeof asked, "%zu", r->per_category);
        memcpy(asked_json, asked, sizeof asked);
    }
    strbuf_printf(text, "%-15s %7zu %7s %10zu %11zu %8zu\n", name, k->n_pairs, asked, k->n_templates, k->n_words, k->n_rejects);
    strbuf_printf(json, "\"%s\": {\"pairs\": %zu, \"asked\": %s, \"templates\": %zu, \"word_pairs\": %zu, \"refused\": %zu",
                  name, k->n_pairs, asked_json, k->n_templates, k->n_words, k->n_rejects);
    if (r->per_category != SIZE_MAX && k->n_pairs < r->per_category) {
        StrBuf why = {0};
        put_shortage(r, c, k, &why);
        strbuf_printf(&r->notes, "%s: %zu of %zu: %s.\n", name, k->n_pairs, r->per_category, why.data ? why.data : "");
        strbuf_json_field_text(json, "shortage", why.data);
        strbuf_free(&why);
    }
    strbuf_putc(json, '}');
}

static int summarise(PairsRun *r, StrBuf *text, StrBuf *json, Error *e)
{
    size_t n_few = 0, n_named = 0;
    strbuf_printf(text, "%-15s %7s %7s %10s %11s %8s\n", "category", "pairs", "asked", "templates", "word pairs", "refused");
    strbuf_puts(json, ", \"categories\": {");
    for (int c = 0, n = 0; c < PAIR_N_CATEGORIES; c++) {
        PairClusters k;
        int status = pair_set_clusters(&r->set, (PairCategory)c, &k, e);
        if (status)
            return status;
        n_named += k.n_rejects;
        if (k.n_pairs + k.n_rejects == 0 && (!r->wanted[c] || r->per_category == SIZE_MAX))
            continue;
        strbuf_puts(json, n++ ? ", " : "");
        put_category(r, (PairCategory)c, &k, text, json);
        n_few += k.n_pairs && (k.n_templates < MIN_CLUSTERS || k.n_words < MIN_CLUSTERS);
    }
    strbuf_puts(json, "}");
    if (r->set.n_rejects > n_named)
        strbuf_printf(text, "%-15s %7d %7s %10s %11s %8zu\n", "(no category)", 0, "", "", "", r->set.n_rejects - n_named);
    if (n_few)
        strbuf_printf(&r->notes, "A category under %d templates or word pairs allows claims about these words only.\n",
                      MIN_CLUSTERS);
    return STATUS_OK;
}

static int write_meta(const PairsRun *r, const StrBuf *categories, Error *e)
{
    StrBuf b = {0};
    strbuf_puts(&b, "{\"schema\": \"strata.pairs.1\"");
    strbuf_json_field_text(&b, "version", strata_version());
    strbuf_json_field_text(&b, "source", or_default(r->o->source, "templates"));
    strbuf_json_field_text(&b, "model", r->model.name);
    strbuf_json_field_text(&b, "tokenizer", tokenizer_describe(r->tokenizer));
    strbuf_append(&b, r->meta.data, r->meta.len);
    strbuf_append(&b, categories->data, categories->len);
    strbuf_puts(&b, "}\n");
    int status = b.failed || r->meta.failed || categories->failed
                     ? error_set(e, STATUS_FAILED, "no memory for %s", r->meta_path.data)
                     : file_write_atomic(r->meta_path.data, b.data, b.len, e);
    if (!status && r->o->common.json && r->o->common.out)
        fwrite(b.data, 1, b.len, r->o->common.out);
    strbuf_free(&b);
    return status;
}

static int write_all(PairsRun *r, Error *e)
{
    StrBuf text = {0}, json = {0};
    int status = summarise(r, &text, &json, e);
    if (!status)
        status = pair_set_write_rejects(&r->set, r->rejected_path.data, e);
    if (!status)
        status = write_meta(r, &json, e);
    if (!status && r->set.n_pairs == 0)
        status = error_set(e, STATUS_FAILED, "no pair holds under the tokenizer of %s; the reasons are in %s", r->model.name,
                           r->rejected_path.data);
    if (!status)
        status = pair_set_write(&r->set, r->output, e);
    FILE *out = r->o->common.out;
    if (!status && out && !r->o->common.json) {
        strbuf_printf(&text, "%s\n%s, %s, %s\nNext: strata diff --model_name ", r->notes.data ? r->notes.data : "", r->output,
                      r->rejected_path.data, r->meta_path.data);
        strbuf_shell_word(&text, r->model.name);
        strbuf_puts(&text, " --pairs ");
        strbuf_shell_word(&text, r->output);
        strbuf_puts(&text, " --output_dir results/diff\n");
        if (text.failed)
            status = error_set(e, STATUS_FAILED, "pairs: out of memory for the summary");
        else
            fwrite(text.data, 1, text.len, out);
    }
    strbuf_free(&text);
    strbuf_free(&json);
    return status;
}

static void run_free(PairsRun *r)
{
    strbuf_free(&r->rejected_path);
    strbuf_free(&r->meta_path);
    strbuf_free(&r->partial_path);
    strbuf_free(&r->meta);
    strbuf_free(&r->notes);
    pair_set_free(&r->set);
    pair_scratch_free(&r->scratch);
    tokenizer_close(r->tokenizer);
    model_path_free(&r->model);
}

int strata_pairs(const StrataPairsOptions *options, StrataError *e)
{
    PairsRun r = {.o = options, .per_category = (size_t)options->per_category};
    if (r.per_category > MAX_PER_CATEGORY)
        return error_set(e, STATUS_USAGE, "--per_category: %zu, expected at most %d", r.per_category, MAX_PER_CATEGORY);
    if (r.per_category == 0)
        r.per_category = is_templates(options) || is_api(options) ? DEFAULT_PER_CATEGORY : SIZE_MAX;
    int status = choose_categories(&r, e);
    if (!status && options->dry_run) {
        status = is_api(options)
                     ? pair_api_dry_run(&r, options->common.out, e)
                     : error_set(e, STATUS_USAGE, "--dry_run shows the prompts of --source api; other sources cost nothing");
        return status;
    }
    if (!status)
        status = choose_output(&r, e);
    if (!status)
        status = open_tokenizer(&r, e);
    if (!status)
        status = is_templates(options) ? from_templates(&r, e)
                 : is_api(options)     ? pair_api_fill(&r, e)
                                       : pair_source_read(&r, e);
    if (!status)
        status = pair_review_apply(&r, e);
    if (!status)
        status = write_all(&r, e);
    if (!status && is_api(options))
        pair_api_finish(&r);
    run_free(&r);
    return status;
}
