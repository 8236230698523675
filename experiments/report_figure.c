/* report_figure.c: the figures of a report at the two widths of journals, 84 and 174 mm, with their numbers as CSV: the change of loss
 * over layers, and parts of speech against orders. Text keeps its size in points at either width. */
#include "experiments/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/figure_axis.h"
#include "experiments/layer_axis.h"
#include "experiments/pos_results.h"
#include "experiments/table.h"

typedef struct Draw {
    Report *p;
    const ReportResult *r;
    CaptionsLang lang;
    const char *suffix; /* "", "_ja" */
} Draw;

static const double widths[] = {FIGURE_NARROW_MM, FIGURE_WIDE_MM};

/* output_dir/figures/PREFIX NAME WIDTH SUFFIX, without an ending. */
static int stem_of(const Draw *d, const char *name, double width, StrBuf *out, Error *e)
{
    strbuf_reset(out);
    strbuf_printf(out, "%s/figures/%s%s_%.0fmm%s", d->p->output_dir, d->r->prefix, name, width, d->suffix);
    return out->failed ? error_set(e, STATUS_FAILED, "report: no memory") : STATUS_OK;
}

static int write_csv(const Draw *d, const char *name, const Table *t, Error *e)
{
    StrBuf text = {0};
    char file[700];
    snprintf(file, sizeof file, "figures/%s%s.csv", d->r->prefix, name);
    int status = table_write_csv(t, &text, e);
    if (!status)
        status = report_write(d->p, file, &text, "the numbers behind the figure", e);
    strbuf_free(&text);
    return status;
}

static void note_figure(const Draw *d, const char *name, const char *what)
{
    strbuf_printf(&d->p->index, "| figures/%s%s_84mm%s, %s_174mm%s (.svg, .png, .pdf) | %s |\n", d->r->prefix, name, d->suffix,
                  name, d->suffix, what);
}

static int draw_layers(const Draw *d, Error *e)
{
    const CompareResult *r = &d->r->r;
    const char *axis = layer_axis_label(r->experiment);
    size_t n = axis || r->n_orders < 60 ? r->n_orders : 60;
    double *x = calloc(r->n_orders, 4 * sizeof *x), *y = x + n, *lo = y + n, *hi = lo + n;
    const char **names = calloc(r->n_orders, sizeof *names);
    StrBuf stem = {0}, title = {0};
    int status = x && names ? STATUS_OK : error_set(e, STATUS_FAILED, "report: no memory for %zu orders", r->n_orders);
    for (size_t i = 0; !status && i < n; i++) {
        x[i] = axis ? r->orders[i].place : (double)i;
        y[i] = r->orders[i].nll_change.delta;
        lo[i] = r->orders[i].nll_change.lo;
        hi[i] = r->orders[i].nll_change.hi;
        names[i] = r->orders[i].name;
    }
    strbuf_printf(&title, "%s, %s", r->name, r->dataset);
    FigureSeries series = {.x = x, .y = y, .lo = lo, .hi = hi, .n = n};
    FigurePlot plot = {.title = title.failed ? NULL : title.data,
                       .style = axis ? FIGURE_LINES : FIGURE_BARS,
                       .x = {.label = captions_text(d->lang, axis ? axis : "order"),
                             .integers = true,
                             .names = axis ? NULL : names,
                             .n_names = n},
                       .y = {.label = captions_text(d->lang, "change of loss (nats per token)"), .scale = FIGURE_SCALE_AUTO},
                       .series = &series,
                       .n_series = 1,
                       .zero_line = true};
    for (size_t w = 0; !status && w < 2; w++) {
        plot.width_mm = widths[w];
        status = stem_of(d, "layers", widths[w], &stem, e);
        if (!status)
            status = figure_write_plot(&plot, stem.data, e);
    }
    if (!status)
        note_figure(d, "layers", "change of loss over layers, pointwise 95 % band");
    free(x);
    free(names);
    strbuf_free(&stem);
    strbuf_free(&title);
    return status;
}

static int layers_csv(const Draw *d, Error *e)
{
    static const char *const headers[] = {"order", "place", "delta_nll", "ci95_lo", "ci95_hi"};
    Table t;
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; i < d->r->r.n_orders; i++) {
        const CompareOrder *o = &d->r->r.orders[i];
        table_text(&t, o->name);
        table_number(&t, o->place, -1);
        table_number(&t, o->nll_change.delta, -1);
        table_number(&t, o->nll_change.lo, -1);
        table_number(&t, o->nll_change.hi, -1);
    }
    int status = write_csv(d, "layers", &t, e);
    table_free(&t);
    return status;
}

static int tags_csv(const Draw *d, Error *e)
{
    static const char *const headers[] = {"tag", "is_ranked", "order", "delta_word_nll"};
    Table t;
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; i < d->r->n_tags; i++)
        for (size_t k = 0; k < d->r->r.n_orders; k++) {
            table_text(&t, d->r->tags[i].name);
            table_integer(&t, d->r->tags[i].is_ranked);
            table_text(&t, d->r->r.orders[k].name);
            table_number(&t, d->r->tags[i].orders[k].delta, -1);
        }
    int status = write_csv(d, "tags", &t, e);
    table_free(&t);
    return status;
}

static int draw_tags(const Draw *d, Error *e)
{
    const ReportResult *r = d->r;
    size_t n_cols = r->r.n_orders, n = r->n_tags * n_cols;
    const char *axis = layer_axis_label(r->r.experiment);
    bool same_places = axis != NULL, by_place = axis && strcmp(r->r.experiment, "replace") != 0; /* two a place there */
    double *values = calloc(n, sizeof *values);
    unsigned char *greyed = calloc(n, 1);
    const char **rows = calloc(r->n_tags, sizeof *rows), **cols = calloc(n_cols, sizeof *cols);
    char(*numbers)[24] = calloc(n_cols, sizeof *numbers);
    StrBuf stem = {0};
    int status = values && greyed && rows && cols && numbers
                     ? STATUS_OK
                     : error_set(e, STATUS_FAILED, "report: no memory for %zu cells", n);
    for (size_t i = 0; !status && i < n; i++) {
        const ReportTag *t = &r->tags[i / n_cols];
        rows[i / n_cols] = t->name;
        const CompareOrder *o = &r->r.orders[i % n_cols];
        figure_number(o->place, numbers[i % n_cols]);
        cols[i % n_cols] = by_place ? numbers[i % n_cols] : o->name;
        values[i] = t->orders[i % n_cols].delta;
        greyed[i] = !(t->is_ranked || (!r->has_ranked && t->n_words >= POS_MIN_WORDS));
        same_places = same_places && o->place == (double)(i % n_cols);
    }
    FigureHeatmap map = {.title = captions_text(d->lang, "change of loss per word"),
                         .x_label = captions_text(d->lang, by_place ? axis : "order"),
                         .y_label = captions_text(d->lang, "part of speech"),
                         .value_label = captions_text(d->lang, "change (nats per word)"),
                         .values = values,
                         .greyed = greyed,
                         .n_rows = r->n_tags,
                         .n_cols = n_cols,
                         .row_names = rows,
                         .col_names = same_places ? NULL : cols,
                         .diverging = true,
                         .scale = FIGURE_SCALE_AUTO,
                         .note = captions_text(d->lang, r->has_ranked ? "Grey: fewer than 100 words or 20 units, not ranked"
                                                                      : "Grey: fewer than 100 words")};
    for (size_t w = 0; !status && w < 2; w++) {
        map.width_mm = widths[w];
        map.height_mm = w ? 88 : 70;
        status = stem_of(d, "tags", widths[w], &stem, e);
        if (!status)
            status = figure_write_heatmap(&map, stem.data, e);
    }
    if (!status)
        note_figure(d, "tags", "change of the loss per word by part of speech and order");
    free(values);
    free(greyed);
    free(rows);
    free(cols);
    free(numbers);
    strbuf_free(&stem);
    return status;
}

int report_figures(Report *p, CaptionsLang lang, Error *e)
{
    StrBuf dir = {0};
    strbuf_printf(&dir, "%s/figures", p->output_dir);
    int status = dir.failed ? error_set(e, STATUS_FAILED, "report: no memory") : file_make_dirs(dir.data, e);
    for (size_t i = 0; !status && i < p->n; i++) {
        Draw d = {.p = p, .r = &p->results[i], .suffix = lang == CAPTIONS_JA ? "_ja" : ""};
        d.lang = captions_for_figures(lang, p->options->common.quiet);
        bool first = lang == CAPTIONS_EN || !p->english; /* numbers know no language */
        status = draw_layers(&d, e);
        if (!status && first)
            status = layers_csv(&d, e);
        if (!status && d.r->has_tags)
            status = draw_tags(&d, e);
        if (!status && d.r->has_tags && first)
            status = tags_csv(&d, e);
    }
    strbuf_free(&dir);
    return status;
}
