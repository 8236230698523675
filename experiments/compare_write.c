/* compare_write.c: compare.json and compare.csv. Numbers are the shortest that read back the same; NaN is null. */
#include "experiments/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/statistics.h"
#include "experiments/table.h"

static void put_bool(StrBuf *out, const char *name, bool value)
{
    strbuf_json_field(out, name);
    strbuf_puts(out, value ? "true" : "false");
}

static void put_interval(StrBuf *out, const char *name, const char *suffix, double lo, double hi)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    strbuf_json_field_interval(out, full, lo, hi);
}

static void put_change(StrBuf *out, const char *name, const CompareChange *x)
{
    strbuf_json_field_number(out, name, x->delta);
    put_interval(out, name, "_ci95", x->lo, x->hi);
    put_interval(out, name, "_ci95_simultaneous", x->lo_simultaneous, x->hi_simultaneous);
}

static void put_order(StrBuf *out, const CompareOrder *o)
{
    strbuf_puts(out, "{\"name\": ");
    strbuf_json_string(out, o->name, strlen(o->name));
    strbuf_json_field_number(out, "ledger_index", (double)o->ledger_index);
    strbuf_json_field_number(out, "place", o->place);
    strbuf_json_field_number(out, "depth", o->depth);
    strbuf_json_field_number(out, "bin", o->bin < 0 ? NAN : (double)o->bin);
    strbuf_json_field_number(out, "nll", o->nll);
    put_change(out, "delta_nll", &o->nll_change);
    put_change(out, "delta_bits_per_byte", &o->bits_change);
    put_change(out, "delta_word_nll", &o->word_change);
    strbuf_json_field_number(out, "top1_accuracy", o->top1_accuracy);
    strbuf_json_field_number(out, "agreement", o->agreement);
    strbuf_json_field_number(out, "kl", o->kl);
    strbuf_puts(out, "}");
}

static void put_result(const Compare *c, size_t index, StrBuf *out)
{
    const CompareResult *r = &c->results[index];
    strbuf_puts(out, "{\"label\": ");
    strbuf_json_string(out, r->label, strlen(r->label));
    strbuf_json_field_text(out, "file", r->file);
    strbuf_json_field_text(out, "model", r->model);
    strbuf_json_field_text(out, "dataset", r->dataset);
    strbuf_json_field_text(out, "experiment", r->experiment);
    strbuf_json_field_number(out, "n_layers", r->n_layers);
    strbuf_json_field_number(out, "layers_at_once", r->layers_at_once);
    strbuf_json_field_number(out, "share", r->share);
    strbuf_json_field_number(out, "n_tokens", (double)r->n_tokens);
    strbuf_json_field_number(out, "common_tokens", c->has_bytes ? (double)c->bytes.n_tokens[index] : NAN);
    strbuf_json_field_text(out, "dtype", r->dtype);
    strbuf_json_field_text(out, "numerics", r->numerics);
    strbuf_json_field_number(out, "context", (double)r->context);
    put_bool(out, "bos", r->bos);
    strbuf_puts(out, ",\n \"baseline\": {\"nll\": ");
    strbuf_json_number(out, r->intact.nll);
    strbuf_json_field_number(out, "ppl", r->intact.ppl);
    strbuf_json_field_number(out, "bits_per_byte", r->bits);
    strbuf_json_field_number(out, "word_nll", r->word_nll);
    strbuf_json_field_number(out, "top1_accuracy", r->intact.top1_accuracy);
    strbuf_puts(out, "},\n \"importance\": [");
    for (int b = 0; b < COMPARE_BINS; b++) {
        strbuf_puts(out, b ? ", " : "");
        strbuf_json_number(out, r->bins[b]);
    }
    strbuf_puts(out, "],\n \"orders\": [\n");
    for (size_t i = 0; i < r->n_orders; i++) {
        strbuf_puts(out, "  ");
        put_order(out, &r->orders[i]);
        strbuf_puts(out, i + 1 < r->n_orders ? ",\n" : "\n");
    }
    strbuf_puts(out, " ]}");
}

static void put_pairs(StrBuf *out, const ComparePair *pairs, size_t n)
{
    strbuf_puts(out, "[");
    for (size_t i = 0; i < n; i++) {
        strbuf_printf(out, "%s{\"a\": %zu, \"b\": %zu", i ? ", " : "", pairs[i].a, pairs[i].b);
        strbuf_json_field_number(out, "spearman", pairs[i].spearman);
        strbuf_json_field_interval(out, "spearman_ci95", pairs[i].lo, pairs[i].hi);
        strbuf_json_field_number(out, "kendall", pairs[i].kendall);
        strbuf_json_field_number(out, "n_bins", pairs[i].n_bins);
        strbuf_puts(out, "}");
    }
    strbuf_puts(out, "]");
}

static void put_tag(const Compare *c, size_t tag, StrBuf *out)
{
    strbuf_puts(out, "{\"value\": ");
    strbuf_json_string(out, c->tag_names[tag], strlen(c->tag_names[tag]));
    strbuf_puts(out, ", \"models\": [");
    for (size_t i = 0; i < c->n; i++) {
        const CompareResult *r = &c->results[i];
        const CompareTag *t = &r->tags[tag];
        strbuf_puts(out, i ? ", " : "");
        if (!t->is_there) {
            strbuf_puts(out, "null");
            continue;
        }
        strbuf_puts(out, "{\"n_words\": ");
        strbuf_json_number(out, t->n_words);
        put_bool(out, "is_ranked", t->is_ranked);
        strbuf_puts(out, ", \"orders\": [");
        for (size_t k = 0; k < r->n_orders; k++) {
            strbuf_puts(out, k ? ", {\"delta\": " : "{\"delta\": ");
            strbuf_json_number(out, t->orders[k].delta);
            strbuf_json_field_interval(out, "delta_ci95", t->orders[k].lo, t->orders[k].hi);
            strbuf_puts(out, "}");
        }
        strbuf_puts(out, "]}");
    }
    strbuf_puts(out, "], \"rank_correlation\": ");
    put_pairs(out, c->tag_pairs + tag * c->n_pairs, c->n_pairs);
    strbuf_puts(out, "}");
}

static void put_notes(const Compare *c, StrBuf *out)
{
    strbuf_json_field(out, "notes");
    strbuf_puts(out, "[");
    for (const char *line = c->notes.data; line && *line;) {
        size_t len = strcspn(line, "\n");
        strbuf_puts(out, line == c->notes.data ? "" : ", ");
        strbuf_json_string(out, line, len);
        line += len + (line[len] == '\n');
    }
    strbuf_puts(out, "]");
}

int compare_json(const Compare *c, StrBuf *out, Error *e)
{
    const CompareResult *first = &c->results[0];
    strbuf_puts(out, "{\"schema\": \"strata.compare.1\"");
    strbuf_json_field_text(out, "experiment", c->experiment);
    strbuf_json_field_text(out, "depth", c->relative ? "relative" : "absolute");
    strbuf_json_field_text(out, "metric", c->same_tokens ? "delta_nll" : "delta_bits_per_byte");
    put_bool(out, "same_tokens", c->same_tokens);
    strbuf_json_field_text(out, "protocol", first->protocol);
    strbuf_json_field_text(out, "rows_sha256", first->rows_sha256);
    strbuf_json_field(out, "common");
    if (c->has_bytes) {
        strbuf_printf(out, "{\"bytes\": %zu, \"any_bytes\": %zu, \"words\": %zu, \"units\": %zu", c->bytes.n_bytes,
                      c->bytes.n_any_bytes, c->bytes.n_words, c->bytes.n_units);
        strbuf_json_field_text(out, "unit", first->unit);
        strbuf_json_field_number(out, "n_resamples",
                                 first->n_resamples ? (double)first->n_resamples : (double)STATISTICS_RESAMPLES);
        strbuf_json_field_number(out, "seed", (double)first->seed);
        strbuf_puts(out, "}");
    } else {
        strbuf_puts(out, "null");
    }
    put_notes(c, out);
    strbuf_puts(out, ",\n\"rank_correlation\": ");
    put_pairs(out, c->pairs, c->n_pairs);
    strbuf_puts(out, ",\n\"models\": [\n");
    for (size_t i = 0; i < c->n; i++) {
        put_result(c, i, out);
        strbuf_puts(out, i + 1 < c->n ? ",\n" : "\n");
    }
    strbuf_puts(out, "],\n\"tags\": ");
    if (c->n_tags) {
        strbuf_puts(out, "{\"by\": \"upos\"");
        strbuf_json_field_text(out, "metric", c->same_tokens ? "delta_nll" : "delta_word_nll");
        strbuf_puts(out, ", \"values\": [\n");
        for (size_t t = 0; t < c->n_tags; t++) {
            put_tag(c, t, out);
            strbuf_puts(out, t + 1 < c->n_tags ? ",\n" : "\n");
        }
        strbuf_puts(out, "]}}\n");
    } else {
        strbuf_puts(out, "null}\n");
    }
    return out->failed ? error_set(e, STATUS_FAILED, "compare: no memory for compare.json") : STATUS_OK;
}

static void add_change(Table *t, const CompareChange *x)
{
    table_number(t, x ? x->delta : NAN, -1);
    table_number(t, x ? x->lo : NAN, -1);
    table_number(t, x ? x->hi : NAN, -1);
}

static void add_line(const Compare *c, const CompareResult *r, size_t order, const char *by, const char *value,
                     const CompareTag *tag, Table *t)
{
    const CompareOrder *o = &r->orders[order];
    table_text(t, r->label);
    table_text(t, r->experiment);
    table_integer(t, r->n_layers);
    table_integer(t, r->layers_at_once);
    table_text(t, by);
    table_text(t, value);
    table_text(t, o->name);
    table_number(t, o->place, -1);
    table_number(t, o->depth, -1);
    if (tag) {
        add_change(t, c->same_tokens ? &tag->orders[order] : NULL);
        add_change(t, NULL);
        add_change(t, c->same_tokens ? NULL : &tag->orders[order]);
    } else {
        add_change(t, &o->nll_change);
        add_change(t, &o->bits_change);
        add_change(t, &o->word_change);
    }
}

static int write_csv(const Compare *c, StrBuf *out, Error *e)
{
    static const char *const headers[] = {"model",
                                          "experiment",
                                          "n_layers",
                                          "layers_at_once",
                                          "by",
                                          "value",
                                          "order",
                                          "place",
                                          "depth",
                                          "delta_nll",
                                          "delta_nll_lo",
                                          "delta_nll_hi",
                                          "delta_bits_per_byte",
                                          "delta_bits_per_byte_lo",
                                          "delta_bits_per_byte_hi",
                                          "delta_word_nll",
                                          "delta_word_nll_lo",
                                          "delta_word_nll_hi"};
    Table t;
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; i < c->n; i++) {
        const CompareResult *r = &c->results[i];
        for (size_t k = 0; k < r->n_orders; k++)
            add_line(c, r, k, "all", "", NULL, &t);
        for (size_t tag = 0; tag < c->n_tags; tag++)
            for (size_t k = 0; r->tags[tag].is_there && k < r->n_orders; k++)
                add_line(c, r, k, "upos", c->tag_names[tag], &r->tags[tag], &t);
    }
    int status = table_write_csv(&t, out, e);
    table_free(&t);
    return status;
}

int compare_write(const Compare *c, Error *e)
{
    const char *dir = c->options->output_dir ? c->options->output_dir : "figures/comparisons";
    StrBuf json = {0}, csv = {0};
    int status = file_make_dirs(dir, e);
    if (!status)
        status = compare_json(c, &json, e);
    if (!status)
        status = write_csv(c, &csv, e);
    if (!status)
        status = file_write_text(&csv, e, "%s/compare.csv", dir);
    if (!status)
        status = file_write_text(&json, e, "%s/compare.json", dir);
    strbuf_free(&json);
    strbuf_free(&csv);
    return status;
}
