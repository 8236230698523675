/* diff_figure.c: Study B's figures of one category, and all figures of a folder; see diff_figure.h. */
#include "experiments/diff_figure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/diff_draw.h"
#include "experiments/diff_stats.h"

enum { BINS = 40 };

typedef struct Draw {
    const DiffFigure *f;
    const DiffViewCategory *c;
    const DiffViewPosition *at;
    size_t n_points, D;
    const float *ratio, *upper, *p; /* [n_points, D]; NULL: not there */
} Draw;

/* Rejected by the control of false discoveries, with a bound below the margin. */
static bool holds(const Draw *d, size_t i)
{
    return !d->c->control_is_far && d->p && d->upper && (double)d->p[i] <= d->f->r->threshold &&
           (double)d->upper[i] < DIFF_STATS_RATIO;
}

static double log2_of(double ratio)
{
    return ratio > 0 && isfinite(ratio) ? log2(ratio) : NAN;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return n == 0 ? NAN : n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* A figure in the making: its words, its files' name, the numbers behind it. */
typedef struct Sheet {
    StrBuf title, note, stem;
    Table table;
} Sheet;

static int sheet_begin(const Draw *d, Sheet *t, const char *name, const char *title, const char *const *headers,
                       size_t n_headers, Error *e)
{
    *t = (Sheet){0};
    table_begin(&t->table, headers, n_headers);
    diff_draw_title(d->f, title, d->c->name, d->at->name, &t->title);
    return diff_draw_stem(d->f, name, d->c->name, &t->stem, e);
}

/* After the figure: its CSV, where it was drawn (status is the figure's). Frees all. */
static int sheet_end(Sheet *t, bool is_drawn, int status, Error *e)
{
    if (!status && is_drawn)
        status = diff_draw_csv(&t->table, t->stem.data, e);
    else
        table_free(&t->table);
    strbuf_free(&t->title);
    strbuf_free(&t->note);
    strbuf_free(&t->stem);
    return status;
}

/* A claim needs a control whose tokens lie no farther apart than the pairs'. */
static void say_far(const Draw *d, StrBuf *note)
{
    if (d->c->control_is_far)
        diff_draw_sentence(d->f, DIFF_DRAW_FAR, note);
}

static void say_heat(const Draw *d, size_t each, StrBuf *note)
{
    diff_draw_sentence(d->f, "Colour: log2 of mean |difference| of the pairs over that of the matched control (-1: half of it)",
                       note);
    if (!d->c->control_is_far)
        diff_draw_sentence(d->f,
                           each > 1 ? "Dot: bound of the ratio below 0.8 after control of false discoveries, in any of them"
                                    : "Dot: bound of the ratio below 0.8 after control of false discoveries",
                           note);
    diff_draw_sentence(d->f, "Grey: the control does not change there", note);
    say_far(d, note);
}

/* ---- layer by dimension ---- */

/* A column is `each` dimensions; names NULL: they follow one another from 0. */
static int write_map(const Draw *d, Sheet *t, const double *values, const unsigned char *marked, size_t n_cols,
                     const char *const *names, size_t each, Error *e)
{
    say_heat(d, each, &t->note);
    const FigureHeatmap map = {.title = t->title.data,
                               .x_label = diff_draw_say(d->f, "dimension"),
                               .y_label = diff_draw_say(d->f, "layer (0: embedding)"),
                               .value_label = diff_draw_say(d->f, "log2 of the ratio"),
                               .values = values,
                               .n_rows = d->n_points,
                               .n_cols = n_cols,
                               .col_names = names,
                               .col_step = each,
                               .marked = marked,
                               .diverging = true,
                               .note = t->note.data,
                               .width_mm = d->f->width_mm > 0 ? d->f->width_mm : FIGURE_WIDE_MM};
    return figure_write_heatmap(&map, t->stem.data, e);
}

static int draw_whole(const Draw *d, Error *e)
{
    static const char *const headers[] = {"layer", "first_dim", "last_dim", "median_ratio", "smallest_ratio", "n_holding"};
    size_t each = (d->D + DIFF_FIGURE_COLUMNS - 1) / DIFF_FIGURE_COLUMNS, n_cols = (d->D + each - 1) / each;
    double *values = calloc(d->n_points * n_cols, sizeof *values), *bin = calloc(each, sizeof *bin);
    unsigned char *marked = calloc(d->n_points * n_cols, 1);
    Sheet t;
    int status = sheet_begin(d, &t, "heatmap", "change by layer and dimension", headers, sizeof headers / sizeof *headers, e);
    if (!status && !(values && bin && marked))
        status = error_set(e, STATUS_FAILED, "figures: no memory for %zu x %zu cells", d->n_points, n_cols);
    for (size_t l = 0; !status && l < d->n_points; l++)
        for (size_t k = 0; k < n_cols; k++) {
            size_t first = k * each, end = first + each < d->D ? first + each : d->D, n = 0, n_holding = 0;
            double least = INFINITY;
            for (size_t i = first; i < end; i++) {
                double r = (double)d->ratio[l * d->D + i];
                n_holding += holds(d, l * d->D + i) ? 1 : 0;
                if (isfinite(r))
                    bin[n++] = r;
                least = isfinite(r) ? fmin(least, r) : least;
            }
            double median = median_of(bin, n);
            values[l * n_cols + k] = log2_of(median);
            marked[l * n_cols + k] = n_holding > 0;
            table_integer(&t.table, (long long)l);
            table_integer(&t.table, (long long)first);
            table_integer(&t.table, (long long)end - 1);
            table_number(&t.table, median, -1);
            table_number(&t.table, n ? least : NAN, -1);
            table_integer(&t.table, (long long)n_holding);
        }
    if (each > 1)
        strbuf_printf(&t.note,
                      d->f->lang == CAPTIONS_JA ? "1 列は %zu 次元の中央値（全 %zu 次元）。"
                                                : "A column is the median of %zu dimensions of %zu. ",
                      each, d->D);
    if (!status)
        status = write_map(d, &t, values, marked, n_cols, NULL, each, e);
    status = sheet_end(&t, true, status, e);
    free(values);
    free(bin);
    free(marked);
    return status;
}

typedef struct Stable {
    double mean;
    size_t dim;
} Stable;

static int by_mean(const void *a, const void *b)
{
    const Stable *x = a, *y = b;
    if (isnan(x->mean) || isnan(y->mean))
        return isnan(x->mean) != isnan(y->mean) ? isnan(x->mean) - isnan(y->mean) : (x->dim > y->dim) - (x->dim < y->dim);
    return x->mean > y->mean ? 1 : x->mean < y->mean ? -1 : (x->dim > y->dim) - (x->dim < y->dim);
}

/* Dimensions by their mean log ratio over the layers after the embedding. */
static Stable *sort_dims(const Draw *d)
{
    Stable *s = calloc(d->D, sizeof *s);
    for (size_t i = 0; s && i < d->D; i++) {
        double sum = 0;
        size_t n = 0;
        for (size_t l = 1; l < d->n_points; l++) {
            double v = log2_of((double)d->ratio[l * d->D + i]);
            sum += isfinite(v) ? v : 0;
            n += isfinite(v);
        }
        s[i] = (Stable){2 * n >= d->n_points && n ? sum / (double)n : NAN, i};
    }
    if (s)
        qsort(s, d->D, sizeof *s, by_mean);
    return s;
}

static int draw_stable(const Draw *d, Error *e)
{
    static const char *const headers[] = {"layer", "dim", "ratio", "upper95", "p", "holds"};
    size_t n = d->D < DIFF_FIGURE_STABLE ? d->D : DIFF_FIGURE_STABLE;
    Stable *order = sort_dims(d);
    double *values = calloc(d->n_points * n, sizeof *values);
    unsigned char *marked = calloc(d->n_points * n, 1);
    char names[DIFF_FIGURE_STABLE][24];
    const char *cols[DIFF_FIGURE_STABLE];
    Sheet t;
    int status = sheet_begin(d, &t, "stable", "the most stable dimensions", headers, sizeof headers / sizeof *headers, e);
    if (!status && !(values && marked && order))
        status = error_set(e, STATUS_FAILED, "figures: no memory for %zu dimensions", d->D);
    for (size_t k = 0; !status && k < n; k++) {
        snprintf(names[k], sizeof names[k], "%zu", order[k].dim);
        cols[k] = names[k];
        for (size_t l = 0; l < d->n_points; l++) {
            size_t i = l * d->D + order[k].dim;
            values[l * n + k] = log2_of((double)d->ratio[i]);
            marked[l * n + k] = holds(d, i);
            table_integer(&t.table, (long long)l);
            table_integer(&t.table, (long long)order[k].dim);
            table_number(&t.table, (double)d->ratio[i], -1);
            table_number(&t.table, d->upper ? (double)d->upper[i] : NAN, -1);
            table_number(&t.table, d->p ? (double)d->p[i] : NAN, -1);
            table_integer(&t.table, holds(d, i));
        }
    }
    diff_draw_sentence(d->f, "Dimensions with the smallest mean log ratio over all layers, chosen here on the same pairs",
                       &t.note);
    if (!status)
        status = write_map(d, &t, values, marked, n, cols, 1, e);
    status = sheet_end(&t, true, status, e);
    free(order);
    free(values);
    free(marked);
    return status;
}

/* ---- rankings ---- */

static void name_cell(char out[32], size_t layer, size_t dim)
{
    snprintf(out, 32, "L%zu:%zu", layer, dim);
}

/* Bars named LAYER:DIMENSION. hi NULL: no whiskers. */
static int write_bars(const Draw *d, Sheet *t, const char (*names)[32], const double *y, const double *hi, size_t n,
                      const char *label, const double *rule, Error *e)
{
    const char *texts[DIFF_FIGURE_BARS];
    for (size_t i = 0; i < n; i++)
        texts[i] = names[i];
    FigureSeries series = {.y = y, .lo = hi ? y : NULL, .hi = hi, .n = n};
    FigurePlot plot = {.title = t->title.data,
                       .style = FIGURE_BARS,
                       .x = {.label = diff_draw_say(d->f, "layer:dimension"), .names = texts, .n_names = n},
                       .y = {.label = label},
                       .series = &series,
                       .n_series = 1,
                       .rules = rule,
                       .n_rules = rule ? 1 : 0,
                       .note = t->note.data,
                       .width_mm = d->f->width_mm > 0 ? d->f->width_mm : FIGURE_NARROW_MM};
    return figure_write_plot(&plot, t->stem.data, e);
}

static int draw_ranked(const Draw *d, Error *e)
{
    static const char *const headers[] = {"layer",   "dim", "mean_sigmas", "control_sigmas", "ratio",
                                          "upper95", "p",   "half_0",      "half_1",         "claim"};
    static const double rule = DIFF_STATS_RATIO;
    size_t n = d->at->n_ranked < DIFF_FIGURE_BARS ? d->at->n_ranked : DIFF_FIGURE_BARS;
    double y[DIFF_FIGURE_BARS], hi[DIFF_FIGURE_BARS];
    bool any_unbounded = false;
    char names[DIFF_FIGURE_BARS][32];
    Sheet t;
    if (n == 0)
        return STATUS_OK;
    int status = sheet_begin(d, &t, "bars", "smallest ratios to the control", headers, sizeof headers / sizeof *headers, e);
    for (size_t i = 0; i < n; i++) {
        const DiffViewCell *c = &d->at->ranked[i];
        y[i] = c->ratio;
        hi[i] = c->upper;
        any_unbounded = any_unbounded || !isfinite(c->upper);
        name_cell(names[i], c->layer, c->dim);
        const double numbers[] = {c->mean, c->control, c->ratio, c->upper, c->p, c->half_ratio[0], c->half_ratio[1]};
        table_integer(&t.table, (long long)c->layer);
        table_integer(&t.table, (long long)c->dim);
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
            table_number(&t.table, numbers[k], -1);
        table_integer(&t.table, c->is_claim);
    }
    diff_draw_sentence(d->f, "Mean |difference| of the pairs over that of the matched control; whisker: one-sided 95 % bound",
                       &t.note);
    diff_draw_sentence(d->f, "Dashed: 0.8, the margin set beforehand", &t.note);
    if (any_unbounded)
        diff_draw_sentence(d->f, "No whisker: the bound is infinite", &t.note);
    say_far(d, &t.note);
    if (isfinite(d->at->scored_ratio))
        strbuf_printf(&t.note,
                      d->f->lang == CAPTIONS_JA
                          ? "テンプレートの半分で選んだ上位の平均比は %.2f、残り半分では %.2f。"
                          : "The best of one half of the templates: mean ratio %.2f there, %.2f in the other half.",
                      d->at->chosen_ratio, d->at->scored_ratio);
    if (!status)
        status = write_bars(d, &t, (const char(*)[32])names, y, hi, n, diff_draw_say(d->f, "difference / control"), &rule, e);
    status = sheet_end(&t, true, status, e);
    return status;
}

static int draw_plain(const Draw *d, Error *e)
{
    static const char *const headers[] = {"layer", "dim", "mean_abs_difference"};
    size_t n = d->at->n_plain < DIFF_FIGURE_BARS ? d->at->n_plain : DIFF_FIGURE_BARS;
    double y[DIFF_FIGURE_BARS];
    char names[DIFF_FIGURE_BARS][32];
    Sheet t;
    if (n == 0)
        return STATUS_OK;
    int status = sheet_begin(d, &t, "plain", "smallest mean |difference|, plain", headers, sizeof headers / sizeof *headers, e);
    for (size_t i = 0; i < n; i++) {
        y[i] = d->at->plain[i].mean_abs;
        name_cell(names[i], d->at->plain[i].layer, d->at->plain[i].dim);
        table_integer(&t.table, (long long)d->at->plain[i].layer);
        table_integer(&t.table, (long long)d->at->plain[i].dim);
        table_number(&t.table, y[i], -1);
    }
    diff_draw_sentence(
        d->f, "Plain analysis: not divided by sigma and not held against a control, so quiet dimensions come first", &t.note);
    if (!status)
        status = write_bars(d, &t, (const char(*)[32])names, y, NULL, n, diff_draw_say(d->f, "mean |difference|"), NULL, e);
    status = sheet_end(&t, true, status, e);
    return status;
}

/* ---- distributions ---- */

static void widen(const float *v, size_t n, double *least, double *most)
{
    for (size_t i = 0; v && i < n; i++)
        if (isfinite((double)v[i]) && v[i] > 0) {
            *least = fmin(*least, (double)v[i]);
            *most = fmax(*most, (double)v[i]);
        }
}

static void count_into(const float *v, size_t n, double least, double most, double counts[BINS])
{
    for (size_t k = 0; k < BINS; k++)
        counts[k] = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite((double)v[i]) || !(v[i] > 0))
            continue;
        double at = log((double)v[i] / least) / log(most / least) * BINS;
        counts[at >= BINS ? BINS - 1 : at > 0 ? (size_t)at : 0]++;
    }
}

static int draw_histograms(const Draw *d, const float *pairs, const float *control, Error *e)
{
    static const char *const headers[] = {"layer", "from", "to", "pairs", "control"};
    double least = INFINITY, most = -INFINITY, middles[BINS];
    static const size_t n_most = DIFF_FIGURE_PANELS;
    size_t n_panels = d->n_points - 1 < n_most ? d->n_points - 1 : n_most;
    double(*counts)[2][BINS] = calloc(n_most, sizeof *counts);
    FigureSeries series[DIFF_FIGURE_PANELS][2];
    FigurePlot plots[DIFF_FIGURE_PANELS];
    char titles[DIFF_FIGURE_PANELS][48];
    Sheet t;
    widen(pairs + d->D, (d->n_points - 1) * d->D, &least, &most);
    widen(control ? control + d->D : NULL, (d->n_points - 1) * d->D, &least, &most);
    int status = sheet_begin(d, &t, "histogram", "mean |difference|/sigma over dimensions", headers,
                             sizeof headers / sizeof *headers, e);
    if (!status && !counts)
        status = error_set(e, STATUS_FAILED, "figures: no memory for histograms");
    bool is_drawn = n_panels > 0 && least < most;
    for (size_t k = 0; k < BINS; k++)
        middles[k] = least * pow(most / least, ((double)k + 0.5) / BINS);
    for (size_t i = 0; !status && is_drawn && i < n_panels; i++) {
        /* The first and the last layer, and evenly between. */
        size_t l = n_panels > 1 ? 1 + (i * (d->n_points - 2) + (n_panels - 1) / 2) / (n_panels - 1) : d->n_points - 1;
        count_into(pairs + l * d->D, d->D, least, most, counts[i][0]);
        if (control)
            count_into(control + l * d->D, d->D, least, most, counts[i][1]);
        snprintf(titles[i], sizeof titles[i], "%s %zu", diff_draw_say(d->f, "layer"), l);
        series[i][0] = (FigureSeries){.label = diff_draw_say(d->f, "pairs"), .x = middles, .y = counts[i][0], .n = BINS};
        series[i][1] =
            (FigureSeries){.label = diff_draw_say(d->f, "matched control"), .x = middles, .y = counts[i][1], .n = BINS};
        plots[i] = (FigurePlot){.title = titles[i],
                                .style = FIGURE_STEPS,
                                .x = {.label = diff_draw_say(d->f, "mean |difference|/sigma"), .scale = FIGURE_SCALE_LOG},
                                .y = {.label = diff_draw_say(d->f, "dimensions")},
                                .series = series[i],
                                .n_series = control ? 2 : 1};
        for (size_t k = 0; k < BINS; k++) {
            table_integer(&t.table, (long long)l);
            table_number(&t.table, least * pow(most / least, (double)k / BINS), -1);
            table_number(&t.table, least * pow(most / least, ((double)k + 1) / BINS), -1);
            table_number(&t.table, counts[i][0][k], -1);
            table_number(&t.table, control ? counts[i][1][k] : NAN, -1);
        }
    }
    if (control) {
        diff_draw_sentence(d->f, "Pairs: all; control: of those pairs that have a matched one", &t.note);
        diff_draw_sentence(d->f, DIFF_DRAW_SCALED, &t.note);
    }
    FigurePanels panels = {.title = t.title.data,
                           .note = t.note.data,
                           .plots = plots,
                           .n_plots = n_panels,
                           .n_cols = d->f->width_mm > 0 && d->f->width_mm <= FIGURE_NARROW_MM ? 2 : 4,
                           .width_mm = d->f->width_mm > 0 ? d->f->width_mm : FIGURE_WIDE_MM};
    if (!status && is_drawn)
        status = figure_write_panels(&panels, t.stem.data, e);
    status = sheet_end(&t, is_drawn, status, e);
    free(counts);
    return status;
}

static int draw_scatter(const Draw *d, const float *mean, const float *sd, const float *sigma, Error *e)
{
    static const char *const headers[] = {"layer", "dim", "mean", "sd"};
    size_t n = d->n_points * d->D, n_there = 0, n_drawn = 0;
    double *xs = calloc(n, 3 * sizeof *xs), *ys = xs ? xs + n : NULL, *layers = xs ? xs + 2 * n : NULL;
    Sheet t;
    int status = sheet_begin(d, &t, "scatter", "mean against spread of |difference|/sigma", headers,
                             sizeof headers / sizeof *headers, e);
    if (!status && !xs)
        status = error_set(e, STATUS_FAILED, "figures: no memory for %zu points", n);
    for (size_t i = 0; !status && i < n; i++) {
        double unit = sigma ? (double)sigma[i] : 1;
        xs[i] = (double)mean[i] / unit;
        ys[i] = (double)sd[i] / unit;
        layers[i] = (double)(i / d->D);
        if (!isfinite(xs[i]) || !isfinite(ys[i]) || !(xs[i] > 0) || !(ys[i] > 0))
            continue;
        n_there++;
        table_integer(&t.table, (long long)(i / d->D));
        table_integer(&t.table, (long long)(i % d->D));
        table_number(&t.table, xs[i], -1);
        table_number(&t.table, ys[i], -1);
    }
    strbuf_printf(&t.note, d->f->lang == CAPTIONS_JA ? "%zu 個の（層、次元）。" : "%zu points (layer, dimension). ", n_there);
    diff_draw_sentence(d->f, "Of points that cover each other one is drawn, picked at random", &t.note);
    diff_draw_sentence(d->f, "Dashed: 0.76, the spread over the mean of a normal difference", &t.note);
    FigureCloud cloud = {.title = t.title.data,
                         .x = {.label = diff_draw_say(d->f, "mean (sigmas)"), .scale = FIGURE_SCALE_LOG},
                         .y = {.label = diff_draw_say(d->f, "spread over pairs (sigmas)"), .scale = FIGURE_SCALE_LOG},
                         .xs = xs,
                         .ys = ys,
                         .values = layers,
                         .n = n,
                         .value_label = diff_draw_say(d->f, "layer"),
                         .value_integers = true,
                         .diagonal = 0.7555105, /* sqrt(pi/2 - 1): of |N(0, s)| */
                         .note = t.note.data,
                         .width_mm = d->f->width_mm > 0 ? d->f->width_mm : FIGURE_NARROW_MM,
                         .n_drawn = &n_drawn};
    if (!status && n_there)
        status = figure_write_cloud(&cloud, t.stem.data, e);
    status = sheet_end(&t, n_there > 0, status, e);
    free(xs);
    return status;
}

/* ---- all ---- */

static bool any_ratio(const Draw *d)
{
    for (size_t i = 0; i < d->n_points * d->D; i++)
        if (isfinite((double)d->ratio[i]))
            return true;
    return false;
}

int diff_figure_category(const DiffFigure *f, const DiffViewCategory *c, Error *e)
{
    const DiffView *r = f->r;
    Draw d = {.f = f, .c = c, .at = diff_view_position(c, f->position), .n_points = r->n_points, .D = r->hidden};
    if (!d.at)
        return STATUS_OK;
    d.ratio = diff_view_tensor(r, "ratio", c->name, f->position);
    d.upper = diff_view_tensor(r, "upper", c->name, f->position);
    d.p = diff_view_tensor(r, "p", c->name, f->position);
    const float *normalised = diff_view_tensor(r, "normalised", c->name, f->position),
                *control = diff_view_tensor(r, "control", c->name, f->position),
                *mean = diff_view_tensor(r, "mean", c->name, f->position),
                *sd = diff_view_tensor(r, "sd", c->name, f->position), *sigma = diff_view_tensor(r, "sigma", NULL, NULL);
    bool has_ratios = d.ratio && any_ratio(&d); /* none where no pair had a control */
    int status = has_ratios ? draw_whole(&d, e) : STATUS_OK;
    if (!status && has_ratios)
        status = draw_stable(&d, e);
    if (!status)
        status = draw_ranked(&d, e);
    if (!status)
        status = draw_plain(&d, e);
    if (!status && normalised)
        status = draw_histograms(&d, normalised, control, e);
    if (!status && mean && sd)
        status = draw_scatter(&d, mean, sd, sigma, e);
    return status;
}

/* Every position class that any category has, once. */
static size_t list_positions(const DiffView *r, const char *names[16])
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_categories; i++)
        for (size_t k = 0; k < r->categories[i].n_positions; k++) {
            size_t at = 0;
            while (at < n && strcmp(names[at], r->categories[i].positions[k].name) != 0)
                at++;
            if (at == n && n < 16)
                names[n++] = r->categories[i].positions[k].name;
        }
    return n;
}

int diff_figures_write(const char *dir, const char *position, CaptionsLang lang, bool quiet, Error *e)
{
    DiffView r;
    const char *positions[16];
    int status = diff_view_open(dir, &r, e);
    if (status)
        return status;
    char *folder = file_join(r.dir, "figures");
    DiffFigure f = {.r = &r, .lang = captions_for_figures(lang, quiet), .folder = folder};
    status = folder ? file_make_dirs(folder, e) : error_set(e, STATUS_FAILED, "%s: no memory", dir);
    size_t n = list_positions(&r, positions);
    for (size_t i = 0; !status && i < n; i++) {
        f.position = positions[i];
        status = diff_figure_curves(&f, e);
        if (!status)
            status = diff_figure_control(&f, e);
    }
    f.position = position ? position : diff_view_headline(&r);
    if (!status)
        status = diff_figure_contrast(&f, e);
    if (!status)
        status = diff_figure_claims(&f, e);
    if (!status)
        status = diff_figure_margins(&f, e);
    for (size_t i = 0; !status && i < r.n_categories; i++)
        status = diff_figure_category(&f, &r.categories[i], e);
    free(folder);
    diff_view_close(&r);
    return status;
}
