/* report_tables.c: setup, layers and tags as CSV and LaTeX booktabs. CSV (all digits) is written once; LaTeX once a language. */
#include "experiments/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/table.h"

static const char *say(CaptionsLang lang, const char *english)
{
    return captions_text(lang, english);
}

static int write_named(Report *p, const char *prefix, const char *name, const char *ending, const StrBuf *text,
                       const char *what, Error *e)
{
    char file[700];
    snprintf(file, sizeof file, "%s%s%s", prefix, name, ending);
    return report_write(p, file, text, what, e);
}

static int write_csv(Report *p, const char *prefix, const char *name, const Table *t, const char *what, Error *e)
{
    StrBuf text = {0};
    int status = table_write_csv(t, &text, e);
    if (!status)
        status = write_named(p, prefix, name, ".csv", &text, what, e);
    strbuf_free(&text);
    return status;
}

/* ---- setup ---- */

typedef struct Row {
    const char *name;
    void (*put)(const ReportResult *r, char out[160]);
    void (*put_ja)(const ReportResult *r, char out[160]); /* NULL: the same */
} Row;

static void put_count(double n, char out[160])
{
    if (isnan(n))
        snprintf(out, 160, "-");
    else
        snprintf(out, 160, "%.0f", n);
}

static void put_decimals(double x, int decimals, char out[160])
{
    if (isfinite(x))
        snprintf(out, 160, "%.*f", decimals, x);
    else
        snprintf(out, 160, "-");
}

static void put_model(const ReportResult *r, char out[160])
{
    snprintf(out, 160, "%.150s", r->r.name);
}
static void put_layers(const ReportResult *r, char out[160])
{
    snprintf(out, 160, "%d", r->r.n_layers);
}
static void put_weights_marked(const ReportResult *r, const char *mark, char out[160])
{
    const char *hash = r->weights_sha256;
    bool sampled = strncmp(hash, "sampled-sha256:", 15) == 0;
    snprintf(out, 160, "%.12s%s", sampled ? hash + 15 : hash, sampled ? mark : "");
}
static void put_weights(const ReportResult *r, char out[160])
{
    put_weights_marked(r, " (sampled)", out);
}
static void put_weights_ja(const ReportResult *r, char out[160])
{
    put_weights_marked(r, "（標本）", out);
}
static void put_dataset(const ReportResult *r, char out[160])
{
    snprintf(out, 160, "%.100s%s%.40s", r->r.dataset, *r->split ? ", " : "", r->split);
}
static void put_experiment(const ReportResult *r, char out[160])
{
    snprintf(out, 160, "%.150s", r->r.experiment);
}
static void put_experiment_ja(const ReportResult *r, char out[160])
{
    snprintf(out, 160, "%.150s", captions_text(CAPTIONS_JA, r->r.experiment));
}
static void put_rows(const ReportResult *r, char out[160])
{
    put_count(r->n_rows, out);
}
static void put_rows_hash(const ReportResult *r, char out[160])
{
    snprintf(out, 160, "%.12s", r->r.rows_sha256);
}
static void put_units(const ReportResult *r, char out[160])
{
    put_count(r->n_units, out);
    snprintf(out + strlen(out), 160 - strlen(out), " %.100ss", r->r.unit);
}
static void put_units_ja(const ReportResult *r, char out[160])
{
    put_count(r->n_units, out);
    snprintf(out + strlen(out), 160 - strlen(out), " %s",
             captions_text(CAPTIONS_JA, strcmp(r->r.unit, "article") == 0 ? "articles" : "windows"));
}
static void put_tokens(const ReportResult *r, char out[160])
{
    put_count((double)r->r.n_tokens, out);
}
static void put_words(const ReportResult *r, char out[160])
{
    put_count(r->n_words, out);
}
static void put_bytes(const ReportResult *r, char out[160])
{
    put_count(r->n_bytes, out);
}
static void put_protocol(const ReportResult *r, char out[160])
{
    snprintf(out, 160, "%s, context %lld%s", r->r.protocol, (long long)r->r.context, r->r.bos ? ", BOS" : "");
}
static void put_protocol_ja(const ReportResult *r, char out[160])
{
    snprintf(out, 160, "%s、コンテキスト %lld%s", r->r.protocol, (long long)r->r.context, r->r.bos ? "、BOS" : "");
}
static void put_arithmetic(const ReportResult *r, char out[160])
{
    snprintf(out, 160, "%s, %s", r->r.dtype, r->r.numerics);
}
static void put_device(const ReportResult *r, char out[160])
{
    snprintf(out, 160, "%.150s", r->device);
}
static void put_processor(const ReportResult *r, char out[160])
{
    snprintf(out, 160, "%.150s", *r->processor ? r->processor : "-");
}
static void put_threads(const ReportResult *r, char out[160])
{
    snprintf(out, 160, "%.20s", *r->threads ? r->threads : "-");
}
static void put_program(const ReportResult *r, char out[160])
{
    snprintf(out, 160, "Strata %.40s%s%.40s", r->version, *r->commit ? " " : "", r->commit);
}
static void put_nll(const ReportResult *r, char out[160])
{
    put_decimals(r->r.intact.nll, 4, out);
}
static void put_ppl(const ReportResult *r, char out[160])
{
    put_decimals(r->r.intact.ppl, 3, out);
}
static void put_word_ppl(const ReportResult *r, char out[160])
{
    put_decimals(r->word_ppl, 3, out);
}
static void put_bits(const ReportResult *r, char out[160])
{
    put_decimals(r->bits_per_byte, 4, out);
}
static void put_top1(const ReportResult *r, char out[160])
{
    put_decimals(100 * r->r.intact.top1_accuracy, 2, out);
}

static const Row setup_rows[] = {{"model", put_model, NULL},
                                 {"layers", put_layers, NULL},
                                 {"weights (sha256)", put_weights, put_weights_ja},
                                 {"data", put_dataset, NULL},
                                 {"rows", put_rows, NULL},
                                 {"rows (sha256)", put_rows_hash, NULL},
                                 {"bootstrap units", put_units, put_units_ja},
                                 {"predicted tokens", put_tokens, NULL},
                                 {"words", put_words, NULL},
                                 {"bytes", put_bytes, NULL},
                                 {"experiment", put_experiment, put_experiment_ja},
                                 {"protocol", put_protocol, put_protocol_ja},
                                 {"arithmetic", put_arithmetic, NULL},
                                 {"device", put_device, NULL},
                                 {"processor", put_processor, NULL},
                                 {"threads", put_threads, NULL},
                                 {"program", put_program, NULL},
                                 {"intact: loss (nats per token)", put_nll, NULL},
                                 {"intact: perplexity", put_ppl, NULL},
                                 {"intact: perplexity per word", put_word_ppl, NULL},
                                 {"intact: bits per byte", put_bits, NULL},
                                 {"intact: top-1 (%)", put_top1, NULL}};

static void fill_setup(const Report *p, CaptionsLang lang, size_t first, size_t n, Table *t)
{
    const char *headers[REPORT_MAX + 1] = {""};
    char names[REPORT_MAX][32], text[160];
    for (size_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "%s %zu", say(lang, "result"), first + i + 1);
        headers[i + 1] = names[i];
    }
    table_begin(t, headers, n + 1);
    for (size_t k = 0; k < sizeof setup_rows / sizeof *setup_rows; k++) {
        table_text(t, say(lang, setup_rows[k].name));
        for (size_t i = 0; i < n; i++) {
            (lang == CAPTIONS_JA && setup_rows[k].put_ja ? setup_rows[k].put_ja : setup_rows[k].put)(&p->results[first + i],
                                                                                                     text);
            table_text(t, text);
        }
    }
}

/* Two results to a LaTeX table: more would leave the page. */
static int write_setup(Report *p, CaptionsLang lang, Error *e)
{
    StrBuf latex = {0};
    Table t;
    int status = STATUS_OK;
    for (size_t first = 0; !status && first < p->n; first += 2) {
        fill_setup(p, lang, first, p->n - first < 2 ? p->n - first : 2, &t);
        status = table_write_latex(&t, say(lang, "Models, data and protocol."), first ? NULL : "tab:setup", &latex, e);
        table_free(&t);
    }
    if (!status)
        status = report_write(p, lang == CAPTIONS_JA ? "setup.ja.tex" : "setup.tex", &latex, "models, data and protocol", e);
    strbuf_free(&latex);
    if (status || (lang == CAPTIONS_JA && p->english))
        return status;
    fill_setup(p, CAPTIONS_EN, 0, p->n, &t);
    status = write_csv(p, "", "setup", &t, "the same", e);
    table_free(&t);
    return status;
}

/* ---- layers ---- */

static void fill_layers(const ReportResult *r, CaptionsLang lang, size_t first, size_t n, Table *t)
{
    static const char *const names[] = {"order",     "change of loss", "from",      "to (95 %)",
                                        "top-1 (%)", "agreement (%)",  "KL (nats)", "perplexity"};
    const char *headers[sizeof names / sizeof *names];
    size_t n_cols = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (r->has_intervals || (i != 2 && i != 3))
            headers[n_cols++] = say(lang, names[i]);
    table_begin(t, headers, n_cols);
    for (size_t i = first; i < first + n; i++) {
        const CompareOrder *o = &r->r.orders[i];
        table_text(t, o->name);
        table_number(t, o->nll_change.delta, 4);
        if (r->has_intervals) {
            table_number(t, o->nll_change.lo, 4);
            table_number(t, o->nll_change.hi, 4);
        }
        table_number(t, 100 * o->top1_accuracy, 2);
        table_number(t, 100 * o->agreement, 2);
        table_number(t, o->kl, 4);
        table_number(t, o->ppl, o->ppl < 1e5 ? 2 : -1);
    }
}

static int layers_csv(Report *p, const ReportResult *r, Error *e)
{
    static const char *const headers[] = {"order",
                                          "place",
                                          "depth",
                                          "delta_nll",
                                          "ci95_lo",
                                          "ci95_hi",
                                          "ci95_simultaneous_lo",
                                          "ci95_simultaneous_hi",
                                          "top1_accuracy",
                                          "agreement",
                                          "kl",
                                          "nll",
                                          "ppl"};
    Table t;
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; i < r->r.n_orders; i++) {
        const CompareOrder *o = &r->r.orders[i];
        const double values[] = {o->place,
                                 o->depth,
                                 o->nll_change.delta,
                                 o->nll_change.lo,
                                 o->nll_change.hi,
                                 o->nll_change.lo_simultaneous,
                                 o->nll_change.hi_simultaneous,
                                 o->top1_accuracy,
                                 o->agreement,
                                 o->kl,
                                 o->nll,
                                 o->ppl};
        table_text(&t, o->name);
        for (size_t k = 0; k < sizeof values / sizeof *values; k++)
            table_number(&t, values[k], -1);
    }
    int status =
        write_csv(p, r->prefix, "layers", &t, "every order: change of loss, intervals, accuracies, KL (all digits)", e);
    table_free(&t);
    return status;
}

static int write_layers(Report *p, const ReportResult *r, CaptionsLang lang, Error *e)
{
    StrBuf latex = {0}, caption = {0}, label = {0};
    Table t;
    int status = STATUS_OK;
    size_t piece = report_piece(r->r.n_orders);
    for (size_t first = 0; !status && first < r->r.n_orders; first += piece) {
        size_t n = r->r.n_orders - first < piece ? r->r.n_orders - first : piece;
        strbuf_reset(&caption);
        strbuf_reset(&label);
        strbuf_printf(&caption, "%s: %s, %s. %s%s", r->r.name, r->r.experiment, r->r.dataset, report_layers_caption(r, lang),
                      first ? say(lang, " (continued)") : "");
        strbuf_printf(&label, "tab:%slayers%s", r->prefix, first ? "-continued" : "");
        fill_layers(r, lang, first, n, &t);
        status = caption.failed || label.failed ? error_set(e, STATUS_FAILED, "report: no memory")
                                                : table_write_latex(&t, caption.data, first ? NULL : label.data, &latex, e);
        table_free(&t);
    }
    if (!status)
        status = write_named(p, r->prefix, "layers", lang == CAPTIONS_JA ? ".ja.tex" : ".tex", &latex, "every order", e);
    if (!status && !(lang == CAPTIONS_JA && p->english))
        status = layers_csv(p, r, e);
    strbuf_free(&latex);
    strbuf_free(&caption);
    strbuf_free(&label);
    return status;
}

/* ---- parts of speech ---- */

/* The order with the largest (sign 1) or smallest change of a tag; n_orders when none is known. */
static size_t extreme(const ReportResult *r, const ReportTag *t, double sign)
{
    size_t best = r->r.n_orders;
    for (size_t i = 0; i < r->r.n_orders; i++) {
        double x = sign * t->orders[i].delta;
        if (!isnan(x) && (best == r->r.n_orders || x > sign * t->orders[best].delta))
            best = i;
    }
    return best;
}

static void add_extreme(const ReportResult *r, const ReportTag *tag, double sign, bool interval, Table *t)
{
    const CompareChange none = {NAN, NAN, NAN, NAN, NAN};
    size_t i = extreme(r, tag, sign);
    const CompareChange *x = i < r->r.n_orders ? &tag->orders[i] : &none;
    table_text(t, i < r->r.n_orders ? r->r.orders[i].name : "");
    table_number(t, x->delta, 3);
    if (interval) {
        table_number(t, x->lo, 3);
        table_number(t, x->hi, 3);
    }
}

static int latex_tags(Report *p, const ReportResult *r, CaptionsLang lang, Error *e)
{
    static const char *const names[] = {"tag",    "words", "loss/word", "F1 (%)",  "worst",
                                        "change", "from",  "to (95 %)", "mildest", "change"};
    const char *headers[sizeof names / sizeof *names];
    size_t n_cols = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (r->has_intervals || (i != 6 && i != 7))
            headers[n_cols++] = say(lang, names[i]);
    StrBuf latex = {0}, caption = {0}, label = {0};
    Table t;
    char name[80];
    table_begin(&t, headers, n_cols);
    for (size_t i = 0; i < r->n_tags; i++) {
        const ReportTag *tag = &r->tags[i];
        snprintf(name, sizeof name, "%.60s%s", tag->name, tag->is_ranked ? "" : "*");
        table_text(&t, name);
        table_number(&t, tag->n_words, 0);
        table_number(&t, tag->word_nll, 3);
        table_number(&t, 100 * tag->f1, 1);
        add_extreme(r, tag, 1, r->has_intervals, &t);
        add_extreme(r, tag, -1, false, &t);
    }
    strbuf_printf(&caption, "%s: %s, %s. %s", r->r.name, r->r.experiment, r->r.dataset,
                  say(lang,
                      "Change of the loss per word, by part of speech, at the most and the least harmful order. *: fewer than "
                      "100 words or 20 units, not ranked. F1: the tagger's on its own test set; it was not measured on this "
                      "corpus."));
    strbuf_printf(&label, "tab:%stags", r->prefix);
    int status = caption.failed || label.failed ? error_set(e, STATUS_FAILED, "report: no memory")
                                                : table_write_latex(&t, caption.data, label.data, &latex, e);
    if (!status)
        status = write_named(p, r->prefix, "tags", lang == CAPTIONS_JA ? ".ja.tex" : ".tex", &latex, "parts of speech", e);
    table_free(&t);
    strbuf_free(&latex);
    strbuf_free(&caption);
    strbuf_free(&label);
    return status;
}

static int tags_csv(Report *p, const ReportResult *r, Error *e)
{
    static const char *const headers[] = {
        "tag",   "is_ranked",      "n_words", "n_units", "word_nll",      "word_accuracy",      "tagger_f1",
        "order", "delta_word_nll", "ci95_lo", "ci95_hi", "word_contrast", "contrast_maxt95_lo", "contrast_maxt95_hi"};
    Table t;
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; i < r->n_tags; i++)
        for (size_t k = 0; k < r->r.n_orders; k++) {
            const ReportTag *tag = &r->tags[i];
            table_text(&t, tag->name);
            table_integer(&t, tag->is_ranked);
            table_number(&t, tag->n_words, -1);
            table_number(&t, tag->n_units, -1);
            table_number(&t, tag->word_nll, -1);
            table_number(&t, tag->word_accuracy, -1);
            table_number(&t, tag->f1, -1);
            table_text(&t, r->r.orders[k].name);
            table_number(&t, tag->orders[k].delta, -1);
            table_number(&t, tag->orders[k].lo, -1);
            table_number(&t, tag->orders[k].hi, -1);
            table_number(&t, tag->contrast[k].delta, -1);
            table_number(&t, tag->contrast[k].lo_simultaneous, -1);
            table_number(&t, tag->contrast[k].hi_simultaneous, -1);
        }
    int status =
        write_csv(p, r->prefix, "tags", &t, "every tag and order, and the difference from all other words (all digits)", e);
    table_free(&t);
    return status;
}

int report_tables(Report *p, CaptionsLang lang, Error *e)
{
    int status = write_setup(p, lang, e);
    for (size_t i = 0; !status && i < p->n; i++) {
        const ReportResult *r = &p->results[i];
        status = write_layers(p, r, lang, e);
        if (!status && r->has_tags)
            status = latex_tags(p, r, lang, e);
        if (!status && r->has_tags && !(lang == CAPTIONS_JA && p->english))
            status = tags_csv(p, r, e);
    }
    return status;
}
