/* compare_figure.c: the figures of a comparison, in output_dir, named after the experiment, each with its numbers as CSV:
 *   EXPERIMENT_layers       the headline change over the layer axis, one line a result, pointwise 95 % bands
 *   EXPERIMENT_tags         the same per part of speech, a panel a tag (those that some result ranks)
 *   EXPERIMENT_importance   bins of depth, the mean change of each: what the rank correlation is taken over
 *   EXPERIMENT_correlation  rank correlation of each pair, overall and by tag, when there are three results or more, or tags
 * Experiments without an axis of layers have bars instead of the first, and none of the last two. */
#include "experiments/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/captions.h"
#include "experiments/figure_layout.h"
#include "experiments/layer_axis.h"
#include "experiments/table.h"

typedef struct Draw {
    const Compare *c;
    CaptionsLang lang;
    char stem[512]; /* OUTPUT_DIR/EXPERIMENT_ */
    char title[256];
} Draw;

typedef const CompareChange *(*ChangeOf)(const Compare *c, const CompareResult *r, size_t order, size_t tag);

static const CompareChange *overall(const Compare *c, const CompareResult *r, size_t order, size_t tag)
{
    (void)tag;
    return compare_headline(c, &r->orders[order]);
}

static const CompareChange *of_tag(const Compare *c, const CompareResult *r, size_t order, size_t tag)
{
    (void)c;
    return &r->tags[tag].orders[order];
}

static const char *change_label(const Draw *d, bool tags)
{
    return captions_text(d->lang, d->c->same_tokens ? "change of loss (nats per token)"
                                  : tags            ? "change of loss (nats per word)"
                                                    : "change of loss (bits per byte)");
}

static const char *x_label(const Draw *d)
{
    return captions_text(d->lang,
                         d->c->relative ? "relative depth (0: first layer, 1: last)" : layer_axis_label(d->c->experiment));
}

static int write_csv(const Draw *d, const char *name, const Table *t, Error *e)
{
    return table_save_csv(t, e, "%s%s.csv", d->stem, name);
}

/* One line of one result; memory is [n_orders, 4]. */
static FigureSeries series_of(const Draw *d, const CompareResult *r, ChangeOf change, size_t tag, double *memory)
{
    size_t n = r->n_orders;
    double *x = memory, *y = x + n, *lo = y + n, *hi = lo + n;
    for (size_t i = 0; i < n; i++) {
        const CompareChange *v = change(d->c, r, i, tag);
        x[i] = d->c->relative ? r->orders[i].depth : r->orders[i].place;
        y[i] = v->delta;
        lo[i] = v->lo;
        hi[i] = v->hi;
    }
    return (FigureSeries){.label = r->label, .x = x, .y = y, .lo = lo, .hi = hi, .n = n};
}

static size_t total_orders(const Compare *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += c->results[i].n_orders;
    return n;
}

static void add_csv_lines(const Draw *d, ChangeOf change, size_t tag, const char *name, Table *t)
{
    for (size_t m = 0; m < d->c->n; m++) {
        const CompareResult *r = &d->c->results[m];
        for (size_t i = 0; (change == overall || r->tags[tag].is_there) && i < r->n_orders; i++) {
            const CompareChange *v = change(d->c, r, i, tag);
            if (name)
                table_text(t, name);
            table_text(t, r->label);
            table_text(t, r->orders[i].name);
            table_number(t, r->orders[i].place, -1);
            table_number(t, r->orders[i].depth, -1);
            table_number(t, v->delta, -1);
            table_number(t, v->lo, -1);
            table_number(t, v->hi, -1);
        }
    }
}

/* Where orders have no place on a layer axis: bars by the first result's orders. */
static int draw_bars(const Draw *d, double *memory, Error *e)
{
    const Compare *c = d->c;
    const CompareResult *first = &c->results[0];
    FigureSeries series[COMPARE_MAX];
    const char **names = calloc(first->n_orders, sizeof *names);
    char stem[600];
    if (!names)
        return error_set(e, STATUS_FAILED, "compare: no memory for %zu orders", first->n_orders);
    size_t n = first->n_orders < 60 ? first->n_orders : 60;
    for (size_t i = 0; i < n; i++)
        names[i] = first->orders[i].name;
    for (size_t m = 0; m < c->n; m++) {
        const CompareResult *r = &c->results[m];
        double *y = memory + m * 3 * n, *lo = y + n, *hi = lo + n;
        for (size_t i = 0; i < n; i++) {
            y[i] = lo[i] = hi[i] = NAN;
            for (size_t k = 0; k < r->n_orders; k++)
                if (strcmp(r->orders[k].name, names[i]) == 0) {
                    const CompareChange *v = compare_headline(c, &r->orders[k]);
                    y[i] = v->delta;
                    lo[i] = v->lo;
                    hi[i] = v->hi;
                }
        }
        series[m] = (FigureSeries){.label = r->label, .y = y, .lo = lo, .hi = hi, .n = n};
    }
    FigurePlot plot = {.title = d->title,
                       .style = FIGURE_BARS,
                       .x = {.label = captions_text(d->lang, "order"), .names = names, .n_names = n},
                       .y = {.label = change_label(d, false), .scale = FIGURE_SCALE_AUTO},
                       .series = series,
                       .n_series = c->n,
                       .zero_line = true,
                       .width_mm = FIGURE_WIDE_MM};
    snprintf(stem, sizeof stem, "%slayers", d->stem);
    int status = figure_write_plot(&plot, stem, e);
    free(names);
    return status;
}

static int draw_layers(const Draw *d, double *memory, Error *e)
{
    static const char *const headers[] = {"model", "order", "place", "depth", "delta", "ci95_lo", "ci95_hi"};
    const Compare *c = d->c;
    FigureSeries series[COMPARE_MAX];
    char stem[600];
    int status;
    if (c->has_axis) {
        for (size_t m = 0, at = 0; m < c->n; at += 4 * c->results[m++].n_orders)
            series[m] = series_of(d, &c->results[m], overall, 0, memory + at);
        FigurePlot plot = {.title = d->title,
                           .style = FIGURE_LINES,
                           .x = {.label = x_label(d), .integers = !c->relative},
                           .y = {.label = change_label(d, false), .scale = FIGURE_SCALE_AUTO},
                           .series = series,
                           .n_series = c->n,
                           .zero_line = true,
                           .width_mm = FIGURE_WIDE_MM};
        snprintf(stem, sizeof stem, "%slayers", d->stem);
        status = figure_write_plot(&plot, stem, e);
    } else {
        status = draw_bars(d, memory, e);
    }
    Table t;
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    add_csv_lines(d, overall, 0, NULL, &t);
    if (!status)
        status = write_csv(d, "layers", &t, e);
    table_free(&t);
    return status;
}

static bool is_shown(const Compare *c, size_t tag)
{
    for (size_t m = 0; m < c->n; m++)
        if (c->results[m].tags[tag].is_there && c->results[m].tags[tag].is_ranked)
            return true;
    return false;
}

static int draw_tags(const Draw *d, Error *e)
{
    static const char *const headers[] = {"tag", "model", "order", "place", "depth", "delta", "ci95_lo", "ci95_hi"};
    const Compare *c = d->c;
    size_t per_tag = 4 * total_orders(c), n_plots = 0;
    double *memory = calloc(c->n_tags * per_tag, sizeof *memory);
    FigureSeries *series = calloc(c->n_tags * COMPARE_MAX, sizeof *series);
    FigurePlot *plots = calloc(c->n_tags, sizeof *plots);
    char stem[600];
    Table t;
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    int status = memory && series && plots ? STATUS_OK : error_set(e, STATUS_FAILED, "compare: no memory for figures");
    for (size_t tag = 0; !status && tag < c->n_tags; tag++) {
        add_csv_lines(d, of_tag, tag, c->tag_names[tag], &t);
        if (!is_shown(c, tag))
            continue;
        FigureSeries *own = series + n_plots * COMPARE_MAX;
        for (size_t m = 0, at = n_plots * per_tag; m < c->n; at += 4 * c->results[m++].n_orders) {
            own[m] = (FigureSeries){.label = c->results[m].label};
            if (c->results[m].tags[tag].is_there)
                own[m] = series_of(d, &c->results[m], of_tag, tag, memory + at);
        }
        plots[n_plots++] = (FigurePlot){.title = c->tag_names[tag],
                                        .style = FIGURE_LINES,
                                        .x = {.label = x_label(d), .integers = !c->relative},
                                        .y = {.label = change_label(d, true), .scale = FIGURE_SCALE_AUTO},
                                        .series = own,
                                        .n_series = c->n,
                                        .zero_line = true};
    }
    FigurePanels panels = {.title = d->title, .plots = plots, .n_plots = n_plots, .width_mm = FIGURE_WIDE_MM};
    snprintf(stem, sizeof stem, "%stags", d->stem);
    if (!status && n_plots)
        status = figure_write_panels(&panels, stem, e);
    if (!status)
        status = write_csv(d, "tags", &t, e);
    table_free(&t);
    free(memory);
    free(series);
    free(plots);
    return status;
}

static int draw_importance(const Draw *d, Error *e)
{
    const char *headers[COMPARE_MAX + 1] = {"depth_bin"};
    const Compare *c = d->c;
    double x[COMPARE_BINS];
    FigureSeries series[COMPARE_MAX];
    char stem[600];
    Table t;
    for (size_t m = 0; m < c->n; m++) {
        headers[m + 1] = c->results[m].label;
        series[m] = (FigureSeries){.label = c->results[m].label, .x = x, .y = c->results[m].bins, .n = COMPARE_BINS};
    }
    table_begin(&t, headers, c->n + 1);
    for (int b = 0; b < COMPARE_BINS; b++) {
        x[b] = (b + 0.5) / COMPARE_BINS;
        table_integer(&t, b);
        for (size_t m = 0; m < c->n; m++)
            table_number(&t, c->results[m].bins[b], -1);
    }
    FigurePlot plot = {.title = d->title,
                       .style = FIGURE_LINES,
                       .x = {.label = captions_text(d->lang, "relative depth (0: first layer, 1: last)")},
                       .y = {.label = captions_text(d->lang, c->same_tokens ? "mean change of loss (nats per token)"
                                                                            : "mean change of loss (bits per byte)"),
                             .scale = FIGURE_SCALE_AUTO},
                       .series = series,
                       .n_series = c->n,
                       .zero_line = true};
    snprintf(stem, sizeof stem, "%simportance", d->stem);
    int status = figure_write_plot(&plot, stem, e);
    if (!status)
        status = write_csv(d, "importance", &t, e);
    table_free(&t);
    return status;
}

/* Names of pairs, or their numbers in the table where names would take more than 0.4 of the figure. */
static void name_pairs(const Compare *c, char (*names)[300], const char **rows)
{
    double longest = 0;
    for (size_t p = 0; p < c->n_pairs; p++) {
        snprintf(names[p], 300, "%.140s / %.140s", c->results[c->pairs[p].a].label, c->results[c->pairs[p].b].label);
        longest = fmax(longest, figure_text_width(names[p], FIGURE_TICK_TEXT, false));
        rows[p] = names[p];
    }
    for (size_t p = 0; longest > 0.4 * FIGURE_WIDE_MM * FIGURE_MM && p < c->n_pairs; p++)
        snprintf(names[p], 300, "%zu / %zu", c->pairs[p].a + 1, c->pairs[p].b + 1);
}

/* Rows: pairs; columns: overall and tags. */
static int draw_correlation(const Draw *d, Error *e)
{
    const Compare *c = d->c;
    size_t most = c->n_tags + 1, n = 0;
    double *values = calloc(most * c->n_pairs, sizeof *values);
    const char **rows = calloc(c->n_pairs, sizeof *rows), **columns = calloc(most + 2, sizeof *columns);
    char(*names)[300] = calloc(c->n_pairs, sizeof *names), stem[600];
    Table t = {0};
    int status =
        values && rows && columns && names ? STATUS_OK : error_set(e, STATUS_FAILED, "compare: no memory for correlations");
    if (status)
        goto done;
    columns[0] = "model";
    columns[1] = "other_model";
    columns[2] = "all"; /* most + 2 of them: 2 before the names of the tags */
    for (size_t tag = 0, k = 3; tag <= c->n_tags; tag++) {
        n = k - 2;
        if (tag < c->n_tags && is_shown(c, tag))
            columns[k++] = c->tag_names[tag];
    }
    name_pairs(c, names, rows);
    table_begin(&t, columns, n + 2);
    for (size_t p = 0; p < c->n_pairs; p++) {
        table_text(&t, c->results[c->pairs[p].a].label);
        table_text(&t, c->results[c->pairs[p].b].label);
        for (size_t k = 0, tag = 0; k < n; k++) {
            while (k && !is_shown(c, tag))
                tag++;
            double rho = k ? c->tag_pairs[tag++ * c->n_pairs + p].spearman : c->pairs[p].spearman;
            values[p * n + k] = rho;
            table_number(&t, rho, -1);
        }
    }
    FigureHeatmap map = {.title = captions_text(d->lang, "rank correlation of the layers' importance"),
                         .value_label = captions_text(d->lang, "rank correlation (Spearman)"),
                         .values = values,
                         .n_rows = c->n_pairs,
                         .n_cols = n,
                         .row_names = rows,
                         .col_names = (const char *const *)(columns + 2),
                         .diverging = true,
                         .extent = 1,
                         .show_values = true,
                         .width_mm = FIGURE_WIDE_MM,
                         .height_mm = 42 + 5 * (double)c->n_pairs};
    snprintf(stem, sizeof stem, "%scorrelation", d->stem);
    status = figure_write_heatmap(&map, stem, e);
    if (!status)
        status = write_csv(d, "correlation", &t, e);
done:
    table_free(&t);
    free(values);
    free(rows);
    free(columns);
    free(names);
    return status;
}

static void name_stem(Draw *d)
{
    const char *dir = d->c->options->output_dir ? d->c->options->output_dir : "figures/comparisons";
    int n = snprintf(d->stem, sizeof d->stem - 70, "%s/", dir);
    char *out = d->stem + (n > 0 && (size_t)n < sizeof d->stem - 70 ? (size_t)n : strlen(d->stem));
    size_t k = 0;
    for (const char *s = d->c->experiment; *s && k < 60; s++)
        out[k++] = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '-' ? *s : '_';
    out[k++] = '_';
    out[k] = '\0';
    char kind[64];
    snprintf(kind, sizeof kind, "%.*s", (int)strcspn(d->c->experiment, ":"), d->c->experiment);
    snprintf(d->title, sizeof d->title, "%s%s, %.180s", captions_text(d->lang, kind),
             d->c->experiment + strcspn(d->c->experiment, ":"), d->c->results[0].dataset);
}

int compare_figures(const Compare *c, Error *e)
{
    Draw d = {.c = c};
    int status = captions_lang(c->options->lang, &d.lang, e);
    if (status)
        return status;
    d.lang = captions_for_figures(d.lang, c->options->common.quiet);
    name_stem(&d);
    double *memory = calloc(4 * total_orders(c) + 3 * 60 * COMPARE_MAX, sizeof *memory);
    if (!memory)
        return error_set(e, STATUS_FAILED, "compare: no memory for figures");
    status = draw_layers(&d, memory, e);
    free(memory);
    if (!status && c->n_tags && c->has_axis)
        status = draw_tags(&d, e);
    if (!status && c->has_axis)
        status = draw_importance(&d, e);
    if (!status && c->has_axis && (c->n > 2 || c->n_tags))
        status = draw_correlation(&d, e);
    return status;
}
