/* pos.c: Study A, step 2: the change of next-word prediction by part of speech. Everything is read from a finished sweep's
 * ledger.safetensors, rows.jsonl and ppl.json; the model is not run again. Here the story and the terminal's view of it. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/terminal.h"
#include "experiments/model_name.h"
#include "experiments/pos_figure.h"
#include "experiments/pos_results.h"
#include "experiments/table.h"
#include "experiments/tagger.h"
#include "experiments/tagger_scores.h"

enum { SHOWN_ORDERS = 3, WIDE = 150 /* columns of the whole table, about */ };

/* The orders under which v changes most, the greatest first. */
static size_t worst_orders(const PosValue *v, size_t n_orders, size_t out[SHOWN_ORDERS])
{
    size_t n = 0;
    for (size_t o = 1; o < n_orders; o++) {
        double x = v->orders[o].delta[POS_PER_WORD].estimate;
        size_t at = n;
        while (at > 0 && x > v->orders[out[at - 1]].delta[POS_PER_WORD].estimate)
            at--;
        if (!isfinite(x) || at == SHOWN_ORDERS)
            continue;
        n += n < SHOWN_ORDERS;
        for (size_t k = n - 1; k > at; k--)
            out[k] = out[k - 1];
        out[at] = o;
    }
    return n;
}

static void put_changes(const PosRun *run, const PosValue *v, size_t n_shown, Table *t)
{
    size_t worst[SHOWN_ORDERS], n = worst_orders(v, run->ledger.n_orders, worst);
    StrBuf text = {0};
    for (size_t i = 0; i < n && i < n_shown; i++)
        strbuf_printf(&text, "%s%s %+.3f", i ? ", " : "", run->orders[worst[i]].name,
                      v->orders[worst[i]].delta[POS_PER_WORD].estimate);
    table_text(t, text.failed || !text.data ? "" : text.data);
    strbuf_reset(&text);
    const StatisticsInterval *x = n ? &v->orders[worst[0]].contrast[POS_PER_WORD] : NULL;
    if (x && isfinite(x->estimate))
        strbuf_printf(&text, "%+.3f", x->estimate);
    if (x && isfinite(x->lo_simultaneous))
        strbuf_printf(&text, " [%+.3f, %+.3f]", x->lo_simultaneous, x->hi_simultaneous);
    table_text(t, text.failed || !text.data ? "" : text.data);
    strbuf_free(&text);
}

/* narrow: without the figures that only pos.csv has room for. */
static void put_line(const PosRun *run, const PosValue *v, double f1, bool is_tag, bool narrow, Table *t)
{
    char name[48];
    snprintf(name, sizeof name, "%s%s", v->name, is_tag && !v->is_ranked ? " *" : "");
    table_text(t, name);
    table_integer(t, (long long)v->n_words);
    table_number(t, v->orders[0].level[POS_PER_WORD], 3);
    if (!narrow) {
        table_number(t, v->orders[0].level[POS_PER_WORD_CORRECTED], 3);
        table_number(t, 100 * v->orders[0].word_accuracy, 1);
    }
    if (is_tag)
        table_number(t, 100 * f1, 1);
    else
        table_text(t, "");
    put_changes(run, v, narrow ? 1 : SHOWN_ORDERS, t);
}

static int put_table(const PosRun *run, const PosWords *words, const PosResults *r, const char *by, bool narrow, StrBuf *out,
                     Error *e)
{
    static const char *const few[] = {"tag", "words", "loss/word", "F1 %", "greatest change", "minus other words'"};
    static const char *const headers[] = {"tag",        "words",         "loss/word",        "corrected",
                                          "accuracy %", "tagger's F1 %", "greatest changes", "the first, minus other words'"};
    const PosGroup *group = pos_results_group(r, by);
    size_t order_of[TAGGER_N_UPOS], n = pos_figure_sort_tags(r, order_of);
    Table t;
    table_begin(&t, narrow ? few : headers, narrow ? sizeof few / sizeof *few : sizeof headers / sizeof *headers);
    if (strcmp(by, "upos") == 0)
        put_line(run, &pos_results_group(r, "all")->values[0], NAN, false, narrow, &t);
    for (size_t i = 0; i < n; i++)
        put_line(run, &group->values[order_of[i]], words->is_gold ? 1 : tagger_scores_f1((int)order_of[i]), true, narrow, &t);
    int status = table_write_text(&t, out, e);
    table_free(&t);
    return status;
}

static void put_counts(const PosRun *run, const PosWords *w, size_t n_units, StrBuf *out)
{
    const uint64_t *n = w->n_status;
    char name[MODEL_NAME_BYTES];
    uint64_t body = n[POS_COUNTED] + n[POS_UNKNOWN] + n[POS_UNSCORED] + n[POS_NO_TOKEN];
    strbuf_printf(out,
                  "\n%s on %s, %s: %llu words, %llu of them in body rows, less %llu with <unk>, %llu partly unscored, %llu "
                  "without a token of their own: %llu counted, from %zu %s\n",
                  model_name_short(run->model, name), run->dataset, run->experiment,
                  (unsigned long long)(body + n[POS_HEADING]), (unsigned long long)body, (unsigned long long)n[POS_UNKNOWN],
                  (unsigned long long)n[POS_UNSCORED], (unsigned long long)n[POS_NO_TOKEN], (unsigned long long)n[POS_COUNTED],
                  n_units, run->units_are_articles ? "articles" : "windows");
}

static int report(const StrataPosOptions *o, const PosRun *run, const PosWords *words, const PosResults *r, Error *e)
{
    size_t n_units = pos_results_group(r, "all")->values[0].n_units; /* those that hold counted words */
    StrBuf out = {0};
    int status;
    if (!o->common.out)
        return STATUS_OK;
    if (o->common.json) {
        status = pos_results_json(run, words, r, &out, e);
        goto print;
    }
    size_t columns = terminal_columns(o->common.out);
    bool narrow = columns && columns < WIDE;
    put_counts(run, words, n_units, &out);
    strbuf_puts(&out,
                "\nNats per word; brackets: simultaneous 95 % intervals over all tags and orders; * not ranked: fewer than "
                "100 words or 20 units\n\n");
    status = put_table(run, words, r, "upos", narrow, &out, e);
    strbuf_puts(&out, "\nOnly words tagged with a posterior of at least 0.9\n\n");
    if (!status)
        status = put_table(run, words, r, "upos_confident", narrow, &out, e);
    if (words->is_gold)
        strbuf_printf(&out, "\nTags: %s\n", words->tags);
    else
        strbuf_printf(&out, "\nThe tagger's F1 is that on %s; it was not measured on this corpus.\n", tagger_scores_corpus());
    if (n_units < STATISTICS_MIN_UNITS)
        strbuf_printf(&out, "Only %zu %s: no intervals (20 are needed); sweep more rows.\n", n_units,
                      run->units_are_articles ? "articles" : "windows");
    strbuf_printf(&out, "\nwritten: %s/pos.json, pos.csv, pos_words.csv, figures/pos_*\n", run->dir);
    strbuf_puts(&out, "next: strata compare --json_files ");
    strbuf_shell_word(&out, run->dir);
    strbuf_puts(&out, "/ppl.json ANOTHER/ppl.json --experiment ");
    strbuf_shell_word(&out, run->experiment);
    strbuf_putc(&out, '\n');
print:
    if (!status && out.failed)
        status = error_set(e, STATUS_FAILED, "%s: out of memory for the table", run->dir);
    if (!status)
        fwrite(out.data, 1, out.len, o->common.out);
    strbuf_free(&out);
    return status;
}

static int pos_story(const StrataPosOptions *o, CaptionsLang lang, PosRun *run, PosWords *words, PosResults *results, Error *e)
{
    int status = pos_words_build(run, o->gold, words, e);
    if (!status)
        status = pos_results_compute(run, words, o->fine, o->common.stop, results, e);
    if (!status)
        status = pos_words_write(run, words, e);
    if (!status)
        status = pos_figure_write(run, words, results, captions_for_figures(lang, o->common.quiet), e);
    if (!status)
        status = pos_results_write(run, words, results, e);
    return status ? status : report(o, run, words, results, e);
}

int strata_pos(const StrataPosOptions *options, StrataError *e)
{
    StrBuf dir = {0};
    PosRun run = {0};
    PosWords words = {0};
    PosResults results = {0};
    CaptionsLang lang;
    int status = captions_lang(options->lang, &lang, e);
    if (!status)
        status = pos_run_find(options, &dir, e);
    if (!status)
        status = pos_run_open(dir.data, &run, e);
    if (!status)
        status = pos_story(options, lang, &run, &words, &results, e);
    pos_results_free(&results);
    pos_words_free(&words);
    pos_run_close(&run);
    strbuf_free(&dir);
    return status;
}
