/* compare_tags.c: parts of speech in a comparison.
 *
 * Different tokenizers: the change of loss per word over the words that every result counts (compare_words.c). One tokenizer, or no
 * pos_words.csv beside some result: from pos.json (schema "strata.pos.1"), the change per token where all results have the same tokens,
 * else per word, each over its own counted words; a note says where their numbers differ. The interval per word is then that of
 * pos.json, or that per token times tokens / words. A pos.json that is absent is made. Rank correlations as in compare.h, over tags that
 * both results rank. */
#include "experiments/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "engine/base/file.h"
#include "experiments/result_file.h"

enum { MAX_TAGS = 64 };

static size_t tag_index(Compare *c, const char *name)
{
    for (size_t i = 0; i < c->n_tags; i++)
        if (strcmp(c->tag_names[i], name) == 0)
            return i;
    if (c->n_tags == MAX_TAGS)
        return MAX_TAGS;
    c->tag_names[c->n_tags] = arena_strndup(&c->arena, name, strlen(name));
    return c->tag_names[c->n_tags] ? c->n_tags++ : MAX_TAGS;
}

static int read_change(const Compare *c, const ResultNode *node, double tokens_per_word, CompareChange *out, Error *e)
{
    double ci[2] = {NAN, NAN};
    int status = result_number(node, c->same_tokens ? "delta_nll" : "delta_word_nll", &out->delta, e);
    bool own = !c->same_tokens && result_has(node, "delta_word_nll_ci95");
    const char *field = own ? "delta_word_nll_ci95" : "delta_nll_ci95";
    if (!status && result_has(node, field))
        status = result_numbers(node, field, ci, 2, e);
    double scale = c->same_tokens || own ? 1 : tokens_per_word;
    out->lo = ci[0] * scale;
    out->hi = ci[1] * scale;
    return status;
}

static int read_value(Compare *c, CompareResult *r, const ResultNode *value, Error *e)
{
    const char *name = NULL;
    double n_tokens = NAN;
    ResultNode orders, item = {0};
    CompareTag tag = {.is_there = true};
    int status = result_string(value, "value", &name, e);
    if (!status)
        status = result_number(value, "n_words", &tag.n_words, e);
    if (!status)
        status = result_number(value, "n_tokens", &n_tokens, e);
    if (!status)
        status = result_child(value, "orders", &orders, e);
    if (status)
        return status;
    tag.is_ranked = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(value->json, "is_ranked"));
    tag.orders = arena_array(&c->arena, r->n_orders, sizeof *tag.orders);
    size_t index = tag_index(c, name);
    if (!tag.orders || index == MAX_TAGS)
        return error_set(e, STATUS_FAILED, "%s: %s: expected at most %d tags", value->path, value->where, MAX_TAGS);
    for (size_t i = 0; i < r->n_orders; i++)
        tag.orders[i] = (CompareChange){NAN, NAN, NAN, NAN, NAN};
    while (!status && result_each(&orders, &item)) {
        int64_t row = 0;
        status = result_integer(&item, "ledger_index", &row, e);
        for (size_t i = 0; !status && i < r->n_orders; i++)
            if ((int64_t)r->orders[i].ledger_index == row)
                status = read_change(c, &item, tag.n_words > 0 ? n_tokens / tag.n_words : NAN, &tag.orders[i], e);
    }
    r->tags[index] = tag;
    return status;
}

static int read_pos(Compare *c, CompareResult *r, const char *path, Error *e)
{
    ResultFile file = {0};
    ResultNode groups, group = {0}, values, value = {0};
    const char *by = NULL;
    int status = result_file_open(path, "strata.pos.1", &file, e);
    if (!status)
        status = result_child(&file.root, "groups", &groups, e);
    while (!status && result_each(&groups, &group)) {
        status = result_string(&group, "by", &by, e);
        if (status || strcmp(by, "upos") != 0)
            continue;
        status = result_child(&group, "values", &values, e);
        while (!status && result_each(&values, &value))
            status = read_value(c, r, &value, e);
    }
    result_file_close(&file);
    return status;
}

/* Makes what is absent. A sweep without text has no parts of speech: that is a note, not the end of the comparison. */
static int make_pos(Compare *c, const CompareResult *r, Error *e)
{
    const StrataCommon *common = &c->options->common;
    const StrataPosOptions pos = {.common = {.model_name = r->dir, .quiet = common->quiet, .stop = common->stop},
                                  .experiment = r->experiment,
                                  .lang = c->options->lang};
    Error why = {""};
    if (!common->quiet)
        fprintf(stderr, "%s: no pos.json yet; tagging its rows\n", r->dir);
    int status = strata_pos(&pos, &why);
    if (status == STATUS_INTERRUPTED)
        return error_set(e, status, "%s", why.text);
    if (status)
        strbuf_printf(&c->notes, "%s without parts of speech: %s\n", r->label, why.text);
    return STATUS_OK;
}

static void note_words(Compare *c)
{
    for (size_t t = 0; t < c->n_tags; t++)
        for (size_t i = 1; i < c->n; i++) {
            const CompareTag *a = &c->results[0].tags[t], *b = &c->results[i].tags[t];
            if (!a->is_there || !b->is_there || a->n_words == b->n_words)
                continue;
            strbuf_printf(&c->notes,
                          "parts of speech: each model's own words are counted (%s: %.0f for %s, %.0f for %s); the overall "
                          "figures use common bytes\n",
                          c->tag_names[t], a->n_words, c->results[0].label, b->n_words, c->results[i].label);
            return;
        }
}

static void tag_bins(const CompareResult *r, size_t tag, double bins[COMPARE_BINS])
{
    size_t n[COMPARE_BINS] = {0};
    for (int b = 0; b < COMPARE_BINS; b++)
        bins[b] = 0;
    for (size_t i = 0; r->tags[tag].is_ranked && i < r->n_orders; i++)
        if (r->orders[i].bin >= 0) {
            bins[r->orders[i].bin] += r->tags[tag].orders[i].delta;
            n[r->orders[i].bin]++;
        }
    for (int b = 0; b < COMPARE_BINS; b++)
        bins[b] = n[b] ? bins[b] / (double)n[b] : NAN;
}

static int correlate(Compare *c, Error *e)
{
    c->tag_pairs = arena_array(&c->arena, c->n_tags * c->n_pairs + 1, sizeof *c->tag_pairs);
    if (!c->tag_pairs)
        return error_set(e, STATUS_FAILED, "compare: no memory for %zu tags", c->n_tags);
    for (size_t t = 0; t < c->n_tags; t++)
        for (size_t p = 0; p < c->n_pairs; p++) {
            double a[COMPARE_BINS], b[COMPARE_BINS];
            ComparePair *out = &c->tag_pairs[t * c->n_pairs + p];
            *out = (ComparePair){.a = c->pairs[p].a, .b = c->pairs[p].b, .lo = NAN, .hi = NAN};
            tag_bins(&c->results[out->a], t, a);
            tag_bins(&c->results[out->b], t, b);
            out->spearman = compare_bins_rho(a, b, &out->n_bins, &out->kendall);
        }
    return STATUS_OK;
}

static int read_files(Compare *c, Error *e)
{
    int status = STATUS_OK;
    for (size_t i = 0; !status && i < c->n; i++) {
        char *path = file_join(c->results[i].dir, "pos.json");
        if (!path)
            status = error_set(e, STATUS_FAILED, "%s: no memory", c->results[i].dir);
        else if (file_exists(path))
            status = read_pos(c, &c->results[i], path, e);
        free(path);
    }
    if (!status)
        note_words(c);
    return status;
}

int compare_read_tags(Compare *c, Error *e)
{
    int status = STATUS_OK;
    bool all_words = true;
    c->tag_names = arena_array(&c->arena, MAX_TAGS, sizeof *c->tag_names);
    for (size_t i = 0; i < c->n && c->tag_names; i++)
        c->results[i].tags = arena_array(&c->arena, MAX_TAGS, sizeof *c->results[i].tags);
    if (!c->tag_names || !c->results[c->n - 1].tags)
        return error_set(e, STATUS_FAILED, "compare: no memory for tags");
    for (size_t i = 0; !status && i < c->n; i++) {
        if (!file_exists_in(c->results[i].dir, "pos.json"))
            status = make_pos(c, &c->results[i], e);
        all_words = all_words && file_exists_in(c->results[i].dir, "pos_words.csv");
    }
    if (status)
        return status;
    status = !c->same_tokens && c->has_bytes && all_words ? compare_words(c, e) : read_files(c, e);
    return status ? status : correlate(c, e);
}
