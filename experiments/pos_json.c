/* pos_json.c: pos.json and pos.csv. Numbers are the shortest that read back the same; NaN and infinities are null in JSON and empty
 * in CSV. No time, machine or path is in them: the same ledger gives the same bytes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/pos_results.h"
#include "experiments/tagger.h"
#include "experiments/tagger_scores.h"

static void put_levels(StrBuf *out, const PosFigures *f)
{
    strbuf_json_field_number(out, "nll", f->level[POS_PER_TOKEN]);
    strbuf_json_field_number(out, "word_nll", f->level[POS_PER_WORD]);
    strbuf_json_field_number(out, "word_nll_corrected", f->level[POS_PER_WORD_CORRECTED]);
    strbuf_json_field_number(out, "token_accuracy", f->token_accuracy);
    strbuf_json_field_number(out, "first_token_accuracy", f->first_token_accuracy);
    strbuf_json_field_number(out, "word_accuracy", f->word_accuracy);
    strbuf_json_field_number(out, "agreement", f->agreement);
    strbuf_json_field_number(out, "kl", f->kl);
    strbuf_json_field_number(out, "bits_per_byte", f->bits_per_byte);
    strbuf_json_field_number(out, "n_nonfinite", (double)f->n_nonfinite);
}

static const char *const delta_names[POS_N_MEASURES] = {"delta_nll", "delta_word_nll", "delta_word_nll_corrected"};
static const char *const contrast_names[POS_N_MEASURES] = {"contrast", "word_contrast", "word_contrast_corrected"};

static void put_changes(StrBuf *out, const PosFigures *f)
{
    char name[64];
    for (int m = 0; m < POS_N_MEASURES; m++) {
        strbuf_json_field_number(out, delta_names[m], f->delta[m].estimate);
        snprintf(name, sizeof name, "%s_ci95", delta_names[m]);
        strbuf_json_field_interval(out, name, f->delta[m].lo, f->delta[m].hi);
    }
    for (int m = 0; m < POS_N_MEASURES; m++) {
        strbuf_json_field_number(out, contrast_names[m], f->contrast[m].estimate);
        snprintf(name, sizeof name, "%s_ci95", contrast_names[m]);
        strbuf_json_field_interval(out, name, f->contrast[m].lo, f->contrast[m].hi);
        snprintf(name, sizeof name, "%s_maxt95", contrast_names[m]);
        strbuf_json_field_interval(out, name, f->contrast[m].lo_simultaneous, f->contrast[m].hi_simultaneous);
    }
}

static void put_value(StrBuf *out, const PosValue *v, size_t n_orders)
{
    strbuf_puts(out, "{\"value\": ");
    strbuf_json_string(out, v->name, strlen(v->name));
    strbuf_json_field_number(out, "n_words", (double)v->n_words);
    strbuf_json_field_number(out, "n_tokens", (double)v->n_tokens);
    strbuf_json_field_number(out, "n_bytes", (double)v->n_bytes);
    strbuf_json_field_number(out, "n_units", (double)v->n_units);
    strbuf_printf(out, ", \"is_ranked\": %s, \"baseline\": {\"ledger_index\": 0", v->is_ranked ? "true" : "false");
    put_levels(out, &v->orders[0]);
    strbuf_puts(out, "},\n   \"orders\": [");
    for (size_t o = 1; o < n_orders; o++) {
        strbuf_printf(out, "%s{\"ledger_index\": %zu", o > 1 ? ",\n    " : "\n    ", o);
        put_levels(out, &v->orders[o]);
        put_changes(out, &v->orders[o]);
        strbuf_puts(out, "}");
    }
    strbuf_puts(out, "]}");
}

static void put_order(StrBuf *out, const PosOrder *o, size_t index)
{
    strbuf_printf(out, "{\"ledger_index\": %zu", index);
    strbuf_json_field_text(out, "name", o->name);
    strbuf_json_field(out, "order");
    if (o->layers) {
        strbuf_puts(out, "[");
        for (size_t i = 0; i < o->n_layers; i++)
            strbuf_printf(out, "%s%.0f", i ? ", " : "", o->layers[i]);
        strbuf_puts(out, "]");
    } else {
        strbuf_puts(out, "null");
    }
    strbuf_json_field_text(out, "spec", o->spec);
    strbuf_puts(out, "}");
}

static void put_tagger(StrBuf *out, const PosWords *w)
{
    strbuf_json_field(out, "tags");
    strbuf_puts(out, "{\"source\": ");
    strbuf_json_string(out, w->tags, strlen(w->tags));
    strbuf_json_field_text(out, "measured_on", w->is_gold ? "" : tagger_scores_corpus());
    strbuf_json_field_text(out, "note", w->is_gold ? "given tags" : "the tagger was not measured on this corpus");
    strbuf_json_field_number(out, "accuracy", w->is_gold ? 1 : tagger_scores_accuracy());
    strbuf_json_field(out, "f1");
    strbuf_puts(out, "{");
    for (int t = 0; t < TAGGER_N_UPOS; t++) {
        strbuf_printf(out, "%s\"%s\": ", t ? ", " : "", tagger_upos_name(t));
        strbuf_json_number(out, w->is_gold ? 1 : tagger_scores_f1(t));
    }
    strbuf_puts(out, "}}");
}

static void put_counts(StrBuf *out, const PosWords *w)
{
    const uint64_t *n = w->n_status;
    uint64_t body = n[POS_COUNTED] + n[POS_UNKNOWN] + n[POS_UNSCORED] + n[POS_NO_TOKEN];
    strbuf_json_field(out, "counts");
    strbuf_printf(out, "{\"words\": %llu", (unsigned long long)(body + n[POS_HEADING]));
    strbuf_json_field_number(out, "body_words", (double)body);
    strbuf_json_field_number(out, "unknown", (double)n[POS_UNKNOWN]);
    strbuf_json_field_number(out, "body_words_without_unknown", (double)(body - n[POS_UNKNOWN]));
    strbuf_json_field_number(out, "without_token", (double)n[POS_NO_TOKEN]);
    strbuf_json_field_number(out, "unscored", (double)n[POS_UNSCORED]);
    strbuf_json_field_number(out, "counted", (double)n[POS_COUNTED]);
    strbuf_json_field_number(out, "tokens_without_word", (double)w->n_tokens_without_word);
    strbuf_puts(out, "}");
}

int pos_results_json(const PosRun *run, const PosWords *words, const PosResults *r, StrBuf *out, Error *e)
{
    strbuf_puts(out, "{\"schema\": \"strata.pos.1\"");
    strbuf_json_field_text(out, "model", run->model);
    strbuf_json_field_text(out, "dataset", run->dataset);
    strbuf_json_field_text(out, "experiment", run->experiment);
    strbuf_json_field_number(out, "n_samples", (double)run->n_samples);
    put_tagger(out, words);
    put_counts(out, words);
    strbuf_json_field_text(out, "bootstrap_unit", run->units_are_articles ? "article" : "window");
    strbuf_json_field_number(out, "n_units", (double)run->n_units);
    strbuf_json_field_number(out, "n_resamples", (double)run->n_resamples);
    strbuf_json_field_number(out, "seed", (double)run->seed);
    strbuf_printf(out, ", \"ranked\": {\"min_words\": %d, \"min_units\": %d}", POS_MIN_WORDS, STATISTICS_MIN_UNITS);
    strbuf_json_field_number(out, "confident_posterior", POS_CONFIDENT);
    strbuf_puts(out, ",\n\"baseline\": ");
    put_order(out, &run->orders[0], 0);
    strbuf_puts(out, ",\n\"orders\": [");
    for (size_t o = 1; o < r->n_orders; o++) {
        strbuf_puts(out, o > 1 ? ",\n " : "\n ");
        put_order(out, &run->orders[o], o);
    }
    strbuf_puts(out, "],\n\"groups\": [");
    for (size_t g = 0; g < r->n_groups; g++) {
        const PosGroup *group = &r->groups[g];
        strbuf_printf(out, "%s{\"by\": \"%s\", \"values\": [", g ? ",\n" : "\n", group->by);
        for (size_t v = 0; v < group->n_values; v++) {
            strbuf_puts(out, v ? ",\n  " : "\n  ");
            put_value(out, &group->values[v], r->n_orders);
        }
        strbuf_puts(out, "]}");
    }
    strbuf_puts(out, "]}\n");
    return out->failed ? error_set(e, STATUS_FAILED, "%s: out of memory for pos.json", run->dir) : STATUS_OK;
}

/* ---- pos.csv ---- */

static void csv_interval(StrBuf *out, const StatisticsInterval *x, bool is_contrast, bool is_baseline)
{
    strbuf_csv_number(out, is_baseline ? NAN : x->estimate);
    strbuf_csv_number(out, is_baseline ? NAN : x->lo);
    strbuf_csv_number(out, is_baseline ? NAN : x->hi);
    if (is_contrast) {
        strbuf_csv_number(out, is_baseline ? NAN : x->lo_simultaneous);
        strbuf_csv_number(out, is_baseline ? NAN : x->hi_simultaneous);
    }
}

static void put_csv(const PosRun *run, const PosResults *r, StrBuf *out)
{
    strbuf_puts(out, "by,value,n_words,n_tokens,n_bytes,n_units,is_ranked,order,ledger_index,nll,word_nll,word_nll_corrected,"
                     "token_accuracy,first_token_accuracy,word_accuracy,agreement,kl,bits_per_byte,n_nonfinite");
    for (int m = 0; m < POS_N_MEASURES; m++)
        strbuf_printf(out, ",%s,%s_lo,%s_hi", delta_names[m], delta_names[m], delta_names[m]);
    for (int m = 0; m < POS_N_MEASURES; m++)
        strbuf_printf(out, ",%s,%s_lo,%s_hi,%s_maxt_lo,%s_maxt_hi", contrast_names[m], contrast_names[m], contrast_names[m],
                      contrast_names[m], contrast_names[m]);
    strbuf_putc(out, '\n');
    for (size_t g = 0; g < r->n_groups; g++)
        for (size_t v = 0; v < r->groups[g].n_values; v++)
            for (size_t o = 0; o < r->n_orders; o++) {
                const PosValue *value = &r->groups[g].values[v];
                const PosFigures *f = &value->orders[o];
                const double levels[] = {
                    f->level[0],      f->level[1],  f->level[2], f->token_accuracy, f->first_token_accuracy,
                    f->word_accuracy, f->agreement, f->kl,       f->bits_per_byte,  (double)f->n_nonfinite};
                strbuf_printf(out, "%s,", r->groups[g].by);
                strbuf_csv_text(out, value->name);
                strbuf_printf(out, ",%llu,%llu,%llu,%zu,%d,", (unsigned long long)value->n_words,
                              (unsigned long long)value->n_tokens, (unsigned long long)value->n_bytes, value->n_units,
                              value->is_ranked);
                strbuf_csv_text(out, run->orders[o].name);
                strbuf_printf(out, ",%zu", o);
                for (size_t k = 0; k < sizeof levels / sizeof *levels; k++)
                    strbuf_csv_number(out, levels[k]);
                for (int m = 0; m < POS_N_MEASURES; m++)
                    csv_interval(out, &f->delta[m], false, o == 0);
                for (int m = 0; m < POS_N_MEASURES; m++)
                    csv_interval(out, &f->contrast[m], true, o == 0);
                strbuf_putc(out, '\n');
            }
}

int pos_results_write(const PosRun *run, const PosWords *words, const PosResults *r, Error *e)
{
    StrBuf json = {0}, csv = {0};
    int status = pos_results_json(run, words, r, &json, e);
    put_csv(run, r, &csv);
    if (!status)
        status = file_write_text(&csv, e, "%s/pos.csv", run->dir);
    if (!status)
        status = file_write_text(&json, e, "%s/pos.json", run->dir);
    strbuf_free(&json);
    strbuf_free(&csv);
    return status;
}
