/* diff_figure_layers.c: Study B's figures over layers: curves by category, controls, contrast, claims, margins; see diff_figure.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/diff_draw.h"
#include "experiments/diff_stats.h"

enum { MAX_PANELS = 32, MAX_SERIES = 6 };

/* A figure in the making: a panel a category (or position). */
typedef struct Panels {
    StrBuf title, note;
    Table table; /* the numbers behind them */
    FigurePlot plots[MAX_PANELS];
    FigureSeries series[MAX_PANELS][MAX_SERIES];
    size_t n;
} Panels;

static FigurePlot *panel_begin(Panels *p, const char *title, const char *x, const char *y)
{
    FigurePlot *plot = &p->plots[p->n];
    *plot = (FigurePlot){.title = title,
                         .style = FIGURE_LINES,
                         .x = {.label = x, .integers = true},
                         .y = {.label = y},
                         .series = p->series[p->n]};
    p->n++;
    return plot;
}

static void panel_add(Panels *p, const char *label, const double *y, const double *lo, const double *hi, size_t n)
{
    FigurePlot *plot = &p->plots[p->n - 1];
    if (y && plot->n_series < MAX_SERIES)
        p->series[p->n - 1][plot->n_series++] = (FigureSeries){.label = label, .y = y, .lo = lo, .hi = hi, .n = n};
}

static bool any_finite(const double *v, size_t n)
{
    for (size_t i = 0; v && i < n; i++)
        if (isfinite(v[i]))
            return true;
    return false;
}

static int panels_begin(Panels **out, const char *const *headers, size_t n_headers, Error *e)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return error_set(e, STATUS_FAILED, "figures: no memory");
    table_begin(&(*out)->table, headers, n_headers);
    return STATUS_OK;
}

/* Draws the panels, if there are any, writes the table beside them, frees all. */
static int panels_end(Panels *p, const DiffFigure *f, const char *name, const char *part, Error *e)
{
    StrBuf stem = {0};
    double width = f->width_mm > 0 ? f->width_mm : FIGURE_WIDE_MM;
    size_t most = width > FIGURE_NARROW_MM ? 4 : 2;
    FigurePanels panels = {.title = p->title.data,
                           .plots = p->plots,
                           .n_plots = p->n,
                           .n_cols = p->n < most ? p->n : most,
                           .width_mm = width,
                           .note = p->note.data};
    int status = diff_draw_stem(f, name, part, &stem, e);
    if (!status && p->n)
        status = figure_write_panels(&panels, stem.data, e);
    if (!status && p->n)
        status = diff_draw_csv(&p->table, stem.data, e);
    else
        table_free(&p->table);
    strbuf_free(&stem);
    strbuf_free(&p->title);
    strbuf_free(&p->note);
    free(p);
    return status;
}

#define FAR " \xe2\x80\xa0" /* DAGGER */

static void say_far(const DiffFigure *f, bool any, StrBuf *note)
{
    if (!any)
        return;
    strbuf_puts(note, f->lang == CAPTIONS_JA ? "\xe2\x80\xa0\xef\xbc\x9a" : "\xe2\x80\xa0: ");
    diff_draw_sentence(f, DIFF_DRAW_FAR, note);
}

static const char *curve_axis(const DiffFigure *f)
{
    return diff_draw_say(f, "layer (0: embedding)");
}

int diff_figure_curves(const DiffFigure *f, Error *e)
{
    static const char *const headers[] = {"category", "layer", "pairs", "control", "ratio", "ci95_lo", "ci95_hi"};
    static const double rules[] = {DIFF_STATS_RATIO, 1};
    char names[MAX_PANELS][64];
    bool any_without = false, any_far = false;
    Panels *p;
    int status = panels_begin(&p, headers, sizeof headers / sizeof *headers, e);
    if (status)
        return status;
    for (size_t i = 0; i < f->r->n_categories && p->n < MAX_PANELS; i++) {
        const DiffViewCategory *c = &f->r->categories[i];
        const DiffViewPosition *at = diff_view_position(c, f->position);
        const DiffViewCurve *v = at ? diff_view_curve(at, "norm") : NULL;
        if (!v || !any_finite(v->ratio, f->r->n_points))
            continue;
        bool has_band = any_finite(v->lo, f->r->n_points);
        snprintf(names[p->n], sizeof names[p->n], "%.50s%s%s", diff_draw_say(f, c->name), has_band ? "" : " *",
                 c->control_is_far ? FAR : "");
        any_far = any_far || c->control_is_far;
        any_without = any_without || !has_band;
        FigurePlot *plot = panel_begin(p, names[p->n], curve_axis(f), diff_draw_say(f, "difference / control"));
        plot->rules = rules;
        plot->n_rules = 2;
        panel_add(p, NULL, v->ratio, v->lo, v->hi, f->r->n_points);
        for (size_t l = 0; l < f->r->n_points; l++) {
            table_text(&p->table, c->name);
            table_integer(&p->table, (long long)l);
            table_number(&p->table, v->pairs ? v->pairs[l] : NAN, -1);
            table_number(&p->table, v->control ? v->control[l] : NAN, -1);
            table_number(&p->table, v->ratio[l], -1);
            table_number(&p->table, v->lo ? v->lo[l] : NAN, -1);
            table_number(&p->table, v->hi ? v->hi[l] : NAN, -1);
        }
    }
    diff_draw_title(f, "difference of a pair over that of its matched control", NULL, f->position, &p->title);
    diff_draw_sentence(f, "Mean norm of the difference in the residual stream, pairs over matched control", &p->note);
    diff_draw_sentence(f, "Bands: 95 % intervals, clustered by template and word pair", &p->note);
    diff_draw_sentence(f, DIFF_DRAW_RATIO_BOUNDS, &p->note);
    diff_draw_sentence(f, "Dashed: 1 (no difference to the control) and 0.8 (the margin set beforehand)", &p->note);
    if (any_without)
        diff_draw_sentence(f, "*: too few pairs with a control for an interval", &p->note);
    say_far(f, any_far, &p->note);
    return panels_end(p, f, "curves", f->position, e);
}

/* One measure of a pair's difference over layers, pairs against controls. */
typedef struct Measure {
    const char *curve, *name, *label, *title, *sentence;
    FigureScale scale;
    bool all_controls;  /* norms of the other controls are known too */
    const char *scaled; /* what is said of a matched control that lies farther; NULL: it counts as it is */
} Measure;

static const Measure measures[] = {
    {"norm", "control", "norm of the difference", "differences and their controls",
     "Mean norm of the difference in the residual stream", FIGURE_SCALE_LOG, true, DIFF_DRAW_SCALED},
    {"relative_norm", "relative", "difference / stream", "difference relative to the stream",
     "Mean norm of the difference over that of the stream", FIGURE_SCALE_LINEAR, false, DIFF_DRAW_SCALED},
    {"cosine", "cosine", "cosine", "cosine of the two streams of a pair", "Mean cosine between the residual streams of a pair",
     FIGURE_SCALE_LINEAR, false, DIFF_DRAW_SCALED_COSINE},
    {"logit_lens_kl", "kl", "KL (nats)", "what the logit lens would say: divergence within a pair",
     "KL divergence of next-token distributions read from each layer through the final norm and the head", FIGURE_SCALE_LINEAR,
     false, NULL},
};

static int draw_measure(const DiffFigure *f, const Measure *m, Error *e)
{
    static const char *const headers[] = {"category", "layer", "pairs", "matched", "shuffled", "unrelated", "identical"};
    bool any_control = false;
    Panels *p;
    int status = panels_begin(&p, headers, sizeof headers / sizeof *headers, e);
    if (status)
        return status;
    for (size_t i = 0; i < f->r->n_categories && p->n < MAX_PANELS; i++) {
        const DiffViewCategory *c = &f->r->categories[i];
        const DiffViewPosition *at = diff_view_position(c, f->position);
        const DiffViewCurve *v = at ? diff_view_curve(at, m->curve) : NULL;
        if (!v || !any_finite(v->pairs, f->r->n_points))
            continue;
        size_t n = f->r->n_points;
        any_control = any_control || any_finite(v->control, n);
        const double *all[] = {v->pairs, v->control, m->all_controls ? at->shuffled : NULL,
                               m->all_controls ? at->unrelated : NULL, m->all_controls ? at->floor : NULL};
        panel_begin(p, diff_draw_say(f, c->name), curve_axis(f), diff_draw_say(f, m->label))->y.scale = m->scale;
        panel_add(p, diff_draw_say(f, "pairs"), all[0], NULL, NULL, n);
        panel_add(p, diff_draw_say(f, "matched control"), all[1], NULL, NULL, n);
        panel_add(p, diff_draw_say(f, "shuffled pairing"), all[2], NULL, NULL, n);
        panel_add(p, diff_draw_say(f, "unrelated sentences"), all[3], NULL, NULL, n);
        if (any_finite(all[4], n) && all[4][n - 1] > 0) /* an exact 0 has no place on a log axis */
            panel_add(p, diff_draw_say(f, "identical pair"), all[4], NULL, NULL, n);
        for (size_t l = 0; l < n; l++) {
            table_text(&p->table, c->name);
            table_integer(&p->table, (long long)l);
            for (size_t k = 0; k < sizeof all / sizeof *all; k++)
                table_number(&p->table, all[k] ? all[k][l] : NAN, -1);
        }
    }
    diff_draw_title(f, m->title, NULL, f->position, &p->title);
    diff_draw_sentence(f, m->sentence, &p->note);
    if (m->scaled && any_control)
        diff_draw_sentence(f, m->scaled, &p->note);
    if (m->scale == FIGURE_SCALE_LOG || strcmp(m->curve, "relative_norm") == 0)
        diff_draw_sentence(f, "Streams grow over layers, so a curve is to be read against its control", &p->note);
    return panels_end(p, f, m->name, f->position, e);
}

int diff_figure_control(const DiffFigure *f, Error *e)
{
    int status = STATUS_OK;
    for (size_t k = 0; !status && k < sizeof measures / sizeof *measures; k++)
        status = draw_measure(f, &measures[k], e);
    return status;
}

int diff_figure_contrast(const DiffFigure *f, Error *e)
{
    static const char *const headers[] = {"position", "layer", "difference", "ci95_lo", "ci95_hi", "p"};
    Panels *p;
    int status = panels_begin(&p, headers, sizeof headers / sizeof *headers, e);
    if (status)
        return status;
    for (size_t i = 0; i < f->r->n_contrasts && p->n < MAX_PANELS; i++) {
        const DiffViewContrast *c = &f->r->contrasts[i];
        if (strcmp(c->curve, "norm") != 0 || !any_finite(c->difference, f->r->n_points))
            continue;
        panel_begin(p, diff_draw_say(f, c->position), curve_axis(f), diff_draw_say(f, "error minus meaning"))->zero_line = true;
        panel_add(p, NULL, c->difference, c->lo, c->hi, f->r->n_points);
        for (size_t l = 0; l < f->r->n_points; l++) {
            table_text(&p->table, c->position);
            table_integer(&p->table, (long long)l);
            table_number(&p->table, c->difference[l], -1);
            table_number(&p->table, c->lo ? c->lo[l] : NAN, -1);
            table_number(&p->table, c->hi ? c->hi[l] : NAN, -1);
            table_number(&p->table, c->p ? c->p[l] : NAN, -1);
        }
    }
    diff_draw_title(f, "error pairs minus meaning pairs", NULL, NULL, &p->title);
    diff_draw_sentence(f, "Mean ratio to the matched control over error categories, minus that over meaning categories",
                       &p->note);
    diff_draw_sentence(f, "Bands: 95 % intervals, clustered by template and word pair", &p->note);
    diff_draw_sentence(f, DIFF_DRAW_CONTRAST_BOUNDS, &p->note);
    return panels_end(p, f, "contrast", NULL, e);
}

int diff_figure_claims(const DiffFigure *f, Error *e)
{
    static const char *const headers[] = {"category", "layer", "claims"};
    char names[MAX_PANELS][64];
    bool any_far = false;
    Panels *p;
    int status = panels_begin(&p, headers, sizeof headers / sizeof *headers, e);
    if (status)
        return status;
    for (size_t i = 0; i < f->r->n_categories && p->n < MAX_PANELS; i++) {
        const DiffViewCategory *c = &f->r->categories[i];
        const DiffViewPosition *at = diff_view_position(c, f->position);
        if (!at || !at->claims_per_layer)
            continue;
        snprintf(names[p->n], sizeof names[p->n], "%.50s%s", diff_draw_say(f, c->name), c->control_is_far ? FAR : "");
        any_far = any_far || c->control_is_far;
        FigurePlot *plot = panel_begin(p, names[p->n], curve_axis(f), diff_draw_say(f, "dimensions claimed"));
        plot->style = FIGURE_STEPS;
        plot->y.integers = true;
        panel_add(p, NULL, at->claims_per_layer, NULL, NULL, f->r->n_points);
        for (size_t l = 0; l < f->r->n_points; l++) {
            table_text(&p->table, c->name);
            table_integer(&p->table, (long long)l);
            table_number(&p->table, at->claims_per_layer[l], -1);
        }
    }
    diff_draw_title(f, "dimensions that change less than under the control", NULL, f->position, &p->title);
    strbuf_printf(&p->note, f->lang == CAPTIONS_JA ? "各層の %zu 次元のうち。" : "Of %zu dimensions in each layer. ",
                  f->r->hidden);
    diff_draw_sentence(
        f, "Claimed: bound of the ratio below 0.8 after control of false discoveries, in both halves of the templates",
        &p->note);
    say_far(f, any_far, &p->note);
    return panels_end(p, f, "claims", f->position, e);
}

int diff_figure_margins(const DiffFigure *f, Error *e)
{
    static const char *const headers[] = {"category", "margin", "n_rejected"};
    double *values = calloc(MAX_PANELS * DIFF_VIEW_MARGINS, 2 * sizeof *values);
    FigureSeries series[MAX_PANELS];
    size_t n = 0;
    bool any = false;
    Table t;
    StrBuf title = {0}, note = {0}, stem = {0};
    int status =
        values ? diff_draw_stem(f, "margins", f->position, &stem, e) : error_set(e, STATUS_FAILED, "figures: no memory");
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; !status && i < f->r->n_categories && n < MAX_PANELS; i++) {
        const DiffViewCategory *c = &f->r->categories[i];
        const DiffViewPosition *at = diff_view_position(c, f->position);
        double *x = values + 2 * n * DIFF_VIEW_MARGINS, *y = x + DIFF_VIEW_MARGINS;
        const DiffViewCurve *norm = at ? diff_view_curve(at, "norm") : NULL;
        if (!norm || !any_finite(norm->lo, f->r->n_points)) /* no test was made: its 0 would look like a result */
            continue;
        for (size_t k = 0; at && k < at->n_margins; k++) {
            x[k] = at->margins[k].margin;
            y[k] = at->margins[k].n_rejected;
            any = any || isfinite(y[k]);
            table_text(&t, c->name);
            table_number(&t, x[k], -1);
            table_number(&t, y[k], -1);
        }
        if (at && at->n_margins) {
            const char *label = diff_draw_say(f, c->name);
            series[n] = (FigureSeries){.label = label, .x = x, .y = y, .n = at->n_margins};
            n++;
        }
    }
    diff_draw_title(f, "dimensions whose mean change stays under a margin", NULL, f->position, &title);
    diff_draw_sentence(f, "Coordinates of all layers, after control of false discoveries", &note);
    diff_draw_sentence(f, "Two independent draws differ by 1.13 sigmas on average", &note);
    FigurePlot plot = {.title = title.data,
                       .style = FIGURE_LINES,
                       .x = {.label = diff_draw_say(f, "margin (sigmas)")},
                       .y = {.label = diff_draw_say(f, "coordinates")},
                       .series = series,
                       .n_series = n,
                       .zero_line = true,
                       .note = note.data,
                       .width_mm = f->width_mm > 0 ? f->width_mm : FIGURE_NARROW_MM};
    if (!status && n && any) {
        status = figure_write_plot(&plot, stem.data, e);
        status = status ? status : diff_draw_csv(&t, stem.data, e);
    }
    table_free(&t);
    strbuf_free(&title);
    strbuf_free(&note);
    strbuf_free(&stem);
    free(values);
    return status;
}
