/* sweep_figure.c: see sweep_figure.h. */
#include "experiments/sweep_figure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/figure.h"
#include "experiments/layer_axis.h"
#include "experiments/model_name.h"
#include "experiments/table.h"

typedef struct Points {
    double *x, *y, *lo, *hi; /* [n], one block of memory at x */
    const char **names;
    size_t n;
} Points;

static int points_take(Points *p, size_t most, Error *e)
{
    p->x = calloc(most, 4 * sizeof *p->x);
    p->names = calloc(most, sizeof *p->names);
    if (!p->x || !p->names)
        return error_set(e, STATUS_FAILED, "figure: no memory for %zu orders", most);
    p->y = p->x + most;
    p->lo = p->y + most;
    p->hi = p->lo + most;
    return STATUS_OK;
}

static void points_free(Points *p)
{
    free(p->x);
    free(p->names);
}

static void points_add(Points *p, double x, const char *name, const OrderResult *r)
{
    p->x[p->n] = x;
    p->y[p->n] = r->delta_nll;
    p->lo[p->n] = r->ci95[0];
    p->hi[p->n] = r->ci95[1];
    p->names[p->n++] = name;
}

static FigureSeries series_of(const Points *p, const char *label, bool with_x)
{
    return (FigureSeries){.label = label, .x = with_x ? p->x : NULL, .y = p->y, .lo = p->lo, .hi = p->hi, .n = p->n};
}

/* Writes dir/layers.csv and frees the table. */
static int finish_csv(Table *t, const char *dir, Error *e)
{
    int status = table_save_csv(t, e, "%s/layers.csv", dir);
    table_free(t);
    return status;
}

static int write_csv(const ResultsInput *in, const Results *r, bool has_axis, const char *dir, Error *e)
{
    static const char *const headers[] = {
        "order", "position", "delta_nll", "ci95_lo", "ci95_hi", "ci95_simultaneous_lo", "ci95_simultaneous_hi"};
    Table t;
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t i = 1; i < r->n_orders; i++) {
        const char *name = in->orders->orders[i].name;
        const OrderResult *o = &r->orders[i];
        table_text(&t, name);
        table_number(&t, has_axis ? layer_axis_place(in->experiment, name) : (double)(i - 1), -1);
        table_number(&t, o->delta_nll, -1);
        table_number(&t, o->ci95[0], -1);
        table_number(&t, o->ci95[1], -1);
        table_number(&t, o->ci95_simultaneous[0], -1);
        table_number(&t, o->ci95_simultaneous[1], -1);
    }
    return finish_csv(&t, dir, e);
}

/* The path of a greedy sweep: layers removed against the change of loss, on the windows that chose and on the others. */
static int write_greedy(const ResultsInput *in, const char *title, const char *stem, const char *dir, Error *e)
{
    static const char *const headers[] = {"layers_removed", "removed", "delta_nll_even", "delta_nll_odd"};
    const GreedyPath *g = in->greedy;
    size_t n = g->n_done + 1;
    double *even = calloc(2 * n, sizeof *even), *odd = even ? even + n : NULL;
    if (!even)
        return error_set(e, STATUS_FAILED, "figure: no memory for %zu stages", n);
    Table t;
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; i < n; i++) {
        if (i) {
            even[i] = g->stages[i - 1].nll_even - g->intact_even;
            odd[i] = g->stages[i - 1].nll_odd - g->intact_odd;
        }
        table_number(&t, (double)i, -1);
        table_number(&t, i ? (double)g->removed[i - 1] : NAN, -1);
        table_number(&t, even[i], -1);
        table_number(&t, odd[i], -1);
    }
    FigureSeries series[] = {{.label = "even windows (they choose)", .y = even, .n = n},
                             {.label = "odd windows", .y = odd, .n = n}};
    FigurePlot plot = {.title = title,
                       .style = FIGURE_LINES,
                       .x = {.label = "layers removed", .integers = true},
                       .y = {.label = "change of loss (nats per token)", .scale = FIGURE_SCALE_AUTO},
                       .series = series,
                       .n_series = g->n_tokens_odd ? 2 : 1,
                       .zero_line = true};
    int status = figure_write_plot(&plot, stem, e);
    if (status)
        table_free(&t);
    else
        status = finish_csv(&t, dir, e);
    free(even);
    return status;
}

int sweep_figure_write(const ResultsInput *in, const Results *r, Error *e)
{
    if (r->n_orders < 2)
        return STATUS_OK;
    const char *label = layer_axis_label(in->experiment);
    bool is_replace = strcmp(in->experiment, "replace") == 0;
    Points points[2] = {{0}, {0}};
    StrBuf title = {0};
    char model[MODEL_NAME_BYTES];
    char *dir = file_join(in->dir, "figures"), *stem = dir ? file_join(dir, "layers") : NULL;
    int status = stem ? file_make_dirs(dir, e) : error_set(e, STATUS_FAILED, "%s: no memory", in->dir);
    for (int k = 0; k < 2 && !status; k++)
        status = points_take(&points[k], r->n_orders, e);
    strbuf_printf(&title, "%s on %s", model_name_short(in->model, model), in->dataset);
    if (!status && in->greedy) {
        status = write_greedy(in, title.failed ? NULL : title.data, stem, dir, e);
        goto done;
    }
    if (status)
        goto done;
    for (size_t i = 1; i < r->n_orders; i++) {
        const char *name = in->orders->orders[i].name;
        double x = layer_axis_place(in->experiment, name);
        const char *by = strstr(name, "_by_");
        points_add(&points[is_replace && by && layer_axis_place(in->experiment, by) > x], x, name, &r->orders[i]);
    }
    const char *band = r->has_intervals ? "change of loss, pointwise 95 % interval" : NULL;
    FigureSeries series[2] = {series_of(&points[0], is_replace ? "by the layer before" : band, label != NULL),
                              series_of(&points[1], "by the layer after", label != NULL)};
    size_t n_bars = points[0].n < SWEEP_FIGURE_BARS ? points[0].n : SWEEP_FIGURE_BARS;
    if (!label)
        series[0].n = n_bars;
    FigurePlot plot = {
        .title = title.failed ? NULL : title.data,
        .style = label ? FIGURE_LINES : FIGURE_BARS,
        .x = {.label = label ? label : "order", .integers = true, .names = label ? NULL : points[0].names, .n_names = n_bars},
        .y = {.label = "change of loss (nats per token)", .scale = FIGURE_SCALE_AUTO},
        .series = series,
        .n_series = is_replace && points[1].n ? 2 : 1,
        .zero_line = true,
        .width_mm = r->n_orders > 50 ? FIGURE_WIDE_MM : FIGURE_NARROW_MM};
    status = figure_write_plot(&plot, stem, e);
    if (!status)
        status = write_csv(in, r, label != NULL, dir, e);
done:
    points_free(&points[0]);
    points_free(&points[1]);
    strbuf_free(&title);
    free(stem);
    free(dir);
    return status;
}
