/* figure.c: line plots with bands, bars with whiskers, scatter plots, histograms; heat maps are in figure_heatmap.c, clouds of points
 * in figure_cloud.c. */
#include "experiments/figure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "experiments/figure_layout.h"

/* Okabe and Ito's colours, yellow replaced by grey: it vanishes on white. */
static const FigureColour palette[] = {{0.000, 0.447, 0.698, 1}, {0.835, 0.369, 0.000, 1}, {0.000, 0.620, 0.451, 1},
                                       {0.800, 0.475, 0.655, 1}, {0.902, 0.624, 0.000, 1}, {0.000, 0.000, 0.000, 1},
                                       {0.337, 0.706, 0.914, 1}, {0.450, 0.450, 0.450, 1}};
enum { N_COLOURS = sizeof palette / sizeof *palette, N_MARKERS = 6, N_DASHES = 4 };
static const double dashes[N_DASHES][4] = {{0}, {4, 1.6}, {1.2, 1.4}, {5, 1.4, 1.2, 1.4}};

typedef struct Layout {
    const FigurePlot *plot;
    double width, height;
    FigureBox area; /* inside the axes */
    FigureRange x, y;
    double title_height, legend_height, note_height; /* the note stands below height */
    bool turned;                                     /* category names stand upright */
    size_t names_every;
    bool is_panel, has_x_texts, has_y_texts; /* one of several: axis labels stand outside, tick labels at the edge */
    double *scratch;
} Layout;

static double x_of(const FigureSeries *s, size_t i)
{
    return s->x ? s->x[i] : (double)i;
}

static double px(const Layout *l, double x)
{
    return l->area.x + figure_position(&l->x, x) * l->area.w;
}

static double py(const Layout *l, double y)
{
    if (l->y.scale == FIGURE_SCALE_LOG && y < l->y.min)
        y = l->y.min;
    return l->area.y + (1 - figure_position(&l->y, y)) * l->area.h;
}

static bool shown(const Layout *l, double y)
{
    return isfinite(y) && (l->y.scale != FIGURE_SCALE_LOG || y > 0);
}

static void draw_marker(FigureCanvas *c, int kind, double x, double y, double r, FigureColour colour)
{
    const FigureColour white = {1, 1, 1, 1};
    const FigurePen pen = {.colour = colour, .width = 0.8};
    const double square[] = {x - .85 * r, y - .85 * r, x + .85 * r, y - .85 * r,
                             x + .85 * r, y + .85 * r, x - .85 * r, y + .85 * r};
    const double triangle[] = {x, y - 1.15 * r, x + 1.05 * r, y + .8 * r, x - 1.05 * r, y + .8 * r};
    const double diamond[] = {x, y - 1.3 * r, x + 1.1 * r, y, x, y + 1.3 * r, x - 1.1 * r, y};
    switch (kind % N_MARKERS) {
    case 0:
        figure_circle(c, x, y, r, colour, NULL);
        break;
    case 1:
        figure_fill(c, square, 4, white, &pen);
        break;
    case 2:
        figure_fill(c, triangle, 3, colour, NULL);
        break;
    case 3:
        figure_fill(c, diamond, 4, white, &pen);
        break;
    case 4:
        figure_fill(c, square, 4, colour, NULL);
        break;
    default:
        figure_circle(c, x, y, r, white, &pen);
        break;
    }
}

static FigureColour colour_of(size_t s, double alpha)
{
    FigureColour k = palette[s % N_COLOURS];
    k.a = alpha;
    return k;
}

static FigurePen pen_of(size_t s, double width)
{
    FigurePen pen = {.colour = colour_of(s, 1), .width = width};
    memcpy(pen.dash, dashes[s % N_DASHES], sizeof pen.dash);
    return pen;
}

static void draw_band(FigureCanvas *c, const Layout *l, size_t s)
{
    const FigureSeries *v = &l->plot->series[s];
    for (size_t i = 0; v->lo && v->hi && i < v->n;) {
        size_t n = 0;
        while (i + n < v->n && shown(l, v->hi[i + n]) && isfinite(v->lo[i + n]))
            n++;
        for (size_t k = 0; k < n; k++) {
            double *up = l->scratch + 2 * k, *down = l->scratch + 2 * (2 * n - 1 - k);
            up[0] = down[0] = px(l, x_of(v, i + k));
            up[1] = py(l, v->hi[i + k]);
            down[1] = py(l, v->lo[i + k]);
        }
        if (n > 1)
            figure_fill(c, l->scratch, 2 * n, colour_of(s, 0.22), NULL);
        i += n ? n : 1;
    }
}

static void draw_whiskers(FigureCanvas *c, const Layout *l, size_t s, double shift, FigureColour colour)
{
    const FigureSeries *v = &l->plot->series[s];
    const FigurePen pen = {.colour = colour, .width = 0.7};
    for (size_t i = 0; v->lo && v->hi && i < v->n; i++) {
        if (!shown(l, v->hi[i]) || !isfinite(v->lo[i]))
            continue;
        double x = px(l, x_of(v, i) + shift), a = py(l, v->lo[i]), b = py(l, v->hi[i]);
        const double stem[] = {x, a, x, b}, low[] = {x - 1.5, a, x + 1.5, a}, high[] = {x - 1.5, b, x + 1.5, b};
        figure_line(c, stem, 2, &pen);
        figure_line(c, low, 2, &pen);
        figure_line(c, high, 2, &pen);
    }
}

static void draw_line(FigureCanvas *c, const Layout *l, size_t s)
{
    const FigureSeries *v = &l->plot->series[s];
    FigurePen pen = pen_of(s, 1.1);
    for (size_t i = 0; i < v->n;) {
        size_t n = 0;
        for (; i + n < v->n && shown(l, v->y[i + n]); n++) {
            l->scratch[2 * n] = px(l, x_of(v, i + n));
            l->scratch[2 * n + 1] = py(l, v->y[i + n]);
        }
        if (n > 1)
            figure_line(c, l->scratch, n, &pen);
        i += n ? n : 1;
    }
    double radius = l->is_panel                                 ? 1.2
                    : l->area.w / (double)(v->n ? v->n : 1) < 5 ? 1.3
                                                                : 1.9; /* smaller where points are dense */
    for (size_t i = 0; i < v->n; i++)
        if (shown(l, v->y[i]))
            draw_marker(c, (int)s, px(l, x_of(v, i)), py(l, v->y[i]), radius, colour_of(s, 1));
}

static void draw_bars(FigureCanvas *c, const Layout *l, size_t s)
{
    const FigureSeries *v = &l->plot->series[s];
    double slot = 0.8 / (double)l->plot->n_series, shift = -0.4 + slot * ((double)s + 0.5);
    double zero = py(l, l->y.scale == FIGURE_SCALE_LOG ? l->y.min : 0);
    for (size_t i = 0; i < v->n; i++) {
        if (!shown(l, v->y[i]))
            continue;
        double left = px(l, x_of(v, i) + shift - slot * 0.46), right = px(l, x_of(v, i) + shift + slot * 0.46),
               y = py(l, v->y[i]);
        figure_rect(c, left, fmin(y, zero), right - left, fabs(y - zero), colour_of(s, 1));
    }
    draw_whiskers(c, l, s, shift, (FigureColour){0, 0, 0, 1});
}

static void draw_points(FigureCanvas *c, const Layout *l, size_t s)
{
    const FigureSeries *v = &l->plot->series[s];
    draw_whiskers(c, l, s, 0, colour_of(s, 0.7));
    for (size_t i = 0; i < v->n; i++)
        if (shown(l, v->y[i]) && isfinite(x_of(v, i)))
            draw_marker(c, (int)s, px(l, x_of(v, i)), py(l, v->y[i]), v->n > 300 ? 1.0 : 1.7,
                        colour_of(s, v->n > 300 ? 0.5 : 0.85));
}

/* The outline of a histogram: up, along and down for every bin. */
static void draw_steps(FigureCanvas *c, const Layout *l, size_t s)
{
    const FigureSeries *v = &l->plot->series[s];
    double zero = py(l, l->y.scale == FIGURE_SCALE_LOG ? l->y.min : 0), *xy = l->scratch;
    size_t n = 0;
    for (size_t i = 0; i < v->n; i++) {
        double middle = px(l, x_of(v, i));
        double before = i ? px(l, x_of(v, i - 1)) : v->n > 1 ? 2 * middle - px(l, x_of(v, 1)) : middle - 4;
        double behind = i + 1 < v->n ? px(l, x_of(v, i + 1)) : 2 * middle - before;
        double height = shown(l, v->y[i]) ? py(l, v->y[i]) : zero;
        const double corners[] = {(before + middle) / 2, height, (middle + behind) / 2, height};
        if (i == 0) {
            xy[0] = corners[0];
            xy[1] = zero;
            n = 1;
        }
        memcpy(xy + 2 * n, corners, sizeof corners);
        n += 2;
    }
    if (n == 0)
        return;
    xy[2 * n] = xy[2 * n - 2];
    xy[2 * n + 1] = zero;
    figure_fill(c, xy, n + 1, colour_of(s, 0.18), NULL);
    FigurePen pen = pen_of(s, 0.8);
    figure_line(c, xy, n + 1, &pen);
}

/* The sample at the left of a legend entry. */
static void draw_key(FigureCanvas *c, const Layout *l, size_t s, double x, double y)
{
    if (l->plot->style == FIGURE_BARS) {
        figure_rect(c, x + 3, y - 2.6, 9, 5.2, colour_of(s, 1));
        return;
    }
    if (l->plot->style == FIGURE_STEPS) {
        const double box[] = {x + 2, y + 3, x + 2, y - 3, x + 13, y - 3, x + 13, y + 3};
        FigurePen pen = pen_of(s, 0.8);
        figure_fill(c, box, 4, colour_of(s, 0.18), NULL);
        figure_line(c, box, 4, &pen);
        return;
    }
    if (l->plot->style == FIGURE_LINES) {
        FigurePen pen = pen_of(s, 1.1);
        const double line[] = {x, y, x + 15, y};
        figure_line(c, line, 2, &pen);
    }
    draw_marker(c, (int)s, x + 7.5, y, 1.9, colour_of(s, 1));
}

/* Entries in rows above the plot; returns their height, draws when c is not NULL. */
static double lay_legend(FigureCanvas *c, const Layout *l, double x0, double y0, double width)
{
    const double key = 18, row = FIGURE_TEXT * 1.45;
    double x = 0, y = 0;
    bool any = false;
    for (size_t s = 0; s < l->plot->n_series; s++) {
        const char *label = l->plot->series[s].label;
        if (!label)
            continue;
        double w = key + figure_text_width(label, FIGURE_TEXT, false);
        if (any && x + w > width) {
            x = 0;
            y += row;
        }
        if (c) {
            draw_key(c, l, s, x0 + x, y0 + y + row / 2);
            figure_text(c, x0 + x + key, y0 + y + row / 2 + FIGURE_TEXT * 0.36, label, FIGURE_TEXT, FIGURE_START, 0, false);
        }
        x += w + 10;
        any = true;
    }
    return any ? y + row + 1 : 0;
}

static void draw_axes(FigureCanvas *c, const Layout *l)
{
    const FigureBox *a = &l->area;
    double bottom = a->y + a->h;
    const double corner[] = {a->x, a->y, a->x, bottom, a->x + a->w, bottom};
    figure_line(c, corner, 3, &figure_axis_pen);
    for (size_t i = 0; i < l->y.n_ticks; i++) {
        double y = py(l, l->y.ticks[i].value);
        const double tick[] = {a->x - FIGURE_TICK_LENGTH, y, a->x, y};
        figure_line(c, tick, 2, &figure_axis_pen);
        if (!l->is_panel || l->has_y_texts)
            figure_text(c, a->x - FIGURE_TICK_LENGTH - 1.5, y + FIGURE_TICK_TEXT * 0.36, l->y.ticks[i].text, FIGURE_TICK_TEXT,
                        FIGURE_END, 0, false);
    }
    const FigureAxis *x = &l->plot->x;
    size_t n = x->names ? x->n_names : l->x.n_ticks;
    for (size_t i = 0; i < n; i++) {
        double at = px(l, x->names ? (double)i : l->x.ticks[i].value), below = bottom + FIGURE_TICK_LENGTH;
        const double tick[] = {at, bottom, at, below};
        figure_line(c, tick, 2, &figure_axis_pen);
        const char *text = x->names ? x->names[i] : l->x.ticks[i].text;
        if (l->is_panel && !l->has_x_texts)
            continue;
        if (l->turned)
            figure_text(c, at + FIGURE_TICK_TEXT * 0.36, below + 2, text, FIGURE_TICK_TEXT, FIGURE_END, 90, false);
        else
            figure_text(c, at, below + FIGURE_TICK_TEXT + 0.5, text, FIGURE_TICK_TEXT, FIGURE_MIDDLE, 0, false);
    }
    if (x->label && !l->is_panel)
        figure_text(c, a->x + a->w / 2, l->height - FIGURE_EDGE - 1.5, x->label, FIGURE_TEXT, FIGURE_MIDDLE, 0, false);
    if (l->plot->y.label && !l->is_panel)
        figure_text(c, FIGURE_EDGE + FIGURE_TEXT * 0.8, a->y + a->h / 2, l->plot->y.label, FIGURE_TEXT, FIGURE_MIDDLE, 90,
                    false);
}

/* What lies inside the axes, and the axes. */
static void draw_inside(FigureCanvas *c, const Layout *l)
{
    const FigureBox *a = &l->area;
    if (l->plot->zero_line && l->y.scale != FIGURE_SCALE_LOG) {
        const double line[] = {a->x, py(l, 0), a->x + a->w, py(l, 0)};
        figure_line(c, line, 2, &figure_thin_pen);
    }
    for (size_t i = 0; i < l->plot->n_rules; i++) {
        const double line[] = {a->x, py(l, l->plot->rules[i]), a->x + a->w, py(l, l->plot->rules[i])};
        const FigurePen pen = {.colour = {0.5, 0.5, 0.5, 1}, .width = 0.5, .dash = {2, 2}};
        figure_line(c, line, 2, &pen);
    }
    figure_note(c, l->plot->note, FIGURE_EDGE, l->height, l->width - 2 * FIGURE_EDGE);
    for (size_t s = 0; s < l->plot->n_series && l->plot->style == FIGURE_LINES; s++)
        draw_band(c, l, s);
    for (size_t s = 0; s < l->plot->n_series; s++) {
        if (l->plot->style == FIGURE_LINES)
            draw_line(c, l, s);
        else if (l->plot->style == FIGURE_BARS)
            draw_bars(c, l, s);
        else if (l->plot->style == FIGURE_STEPS)
            draw_steps(c, l, s);
        else
            draw_points(c, l, s);
    }
    draw_axes(c, l);
}

static void draw_plot(FigureCanvas *c, const void *what)
{
    const Layout *l = what;
    figure_title(c, l->plot->title, FIGURE_EDGE, FIGURE_EDGE, l->width - 2 * FIGURE_EDGE);
    lay_legend(c, l, l->area.x, FIGURE_EDGE + l->title_height, l->width - FIGURE_EDGE - l->area.x);
    draw_inside(c, l);
}

/* Of a histogram's first and last bin, which must lie inside the axis whole; of others the middle. */
static double outer_edge(const FigurePlot *p, const FigureSeries *v, size_t i)
{
    double x = x_of(v, i);
    if (v->n < 2 || (i > 0 && i + 1 < v->n))
        return x;
    double next = x_of(v, i ? i - 1 : 1);
    return p->x.scale == FIGURE_SCALE_LOG && next > 0 ? x * sqrt(x / next) : x + (x - next) / 2;
}

static void collect(const FigurePlot *p, double *x, double *y, size_t *n_y)
{
    size_t at = 0, ny = 0;
    for (size_t s = 0; s < p->n_series; s++) {
        const FigureSeries *v = &p->series[s];
        for (size_t i = 0; i < v->n; i++) {
            x[at++] = p->style == FIGURE_STEPS ? outer_edge(p, v, i) : x_of(v, i);
            y[ny++] = v->y[i];
            if (v->lo && v->hi) {
                y[ny++] = v->lo[i];
                y[ny++] = v->hi[i];
            }
        }
    }
    for (size_t i = 0; i < p->n_rules; i++)
        y[ny++] = p->rules[i];
    *n_y = ny;
}

/* Doubles for n points in all and r rules: x [n], y with bands and rules [3n + r], polygons [4n + 8]. */
static size_t scratch_at(size_t n, size_t r)
{
    return 4 * n + r;
}

static double *take_memory(size_t n, size_t r)
{
    size_t count = 0;
    return checked_mul(n, 8, &count) && checked_add(count, r + 8, &count) ? calloc(count, sizeof(double)) : NULL;
}

static void lay_out(Layout *l, double *x, size_t n_x, double *y, size_t n_y)
{
    const FigurePlot *p = l->plot;
    figure_size(p->width_mm, p->height_mm, &l->width, &l->height);
    l->note_height = p->note ? figure_note(NULL, p->note, 0, 0, l->width - 2 * FIGURE_EDGE) + FIGURE_EDGE : 0;
    l->height -= p->height_mm > 0 ? l->note_height : 0;
    double inner = l->width - 2 * FIGURE_EDGE, axis_text = 0, names_height = FIGURE_TICK_TEXT, longest = 0;
    l->title_height = p->title ? figure_title(NULL, p->title, 0, 0, inner) + 2 : 0;
    int max_y_ticks = (int)(l->height / 22), max_x_ticks;
    figure_range(&l->y, p->y.scale, p->y.integers, p->zero_line || p->style == FIGURE_BARS || p->style == FIGURE_STEPS, y, n_y,
                 max_y_ticks > 3 ? max_y_ticks : 3);
    for (size_t i = 0; i < l->y.n_ticks; i++)
        axis_text = fmax(axis_text, figure_text_width(l->y.ticks[i].text, FIGURE_TICK_TEXT, false));
    l->area.x = FIGURE_EDGE + (p->y.label ? FIGURE_TEXT + 3 : 0) + axis_text + FIGURE_TICK_LENGTH + 2;
    l->area.w = l->width - FIGURE_EDGE - l->area.x - 3;
    l->legend_height = lay_legend(NULL, l, 0, 0, l->width - FIGURE_EDGE - l->area.x);
    if (p->x.names) {
        l->x = (FigureRange){.scale = FIGURE_SCALE_LINEAR, .min = -0.5, .max = (double)p->x.n_names - 0.5};
        l->turned = figure_names_every(p->x.names, p->x.n_names, l->area.w / (double)p->x.n_names, false, &longest) == 0;
        if (l->turned)
            names_height = longest;
    } else {
        max_x_ticks = (int)(l->area.w / (p->x.integers ? 18 : 30));
        figure_range(&l->x, p->x.scale, p->x.integers, false, x, n_x, max_x_ticks > 3 ? max_x_ticks : 3);
        if (p->style == FIGURE_BARS) {
            l->x.min -= 0.5; /* half a bar beyond the first and the last */
            l->x.max += 0.5;
        }
    }
    if (p->height_mm <= 0)
        l->height += l->title_height + l->legend_height;
    l->area.y = FIGURE_EDGE + l->title_height + l->legend_height + 3;
    double below = FIGURE_TICK_LENGTH + 2 + names_height + (p->x.label ? FIGURE_TEXT + 5 : 0) + FIGURE_EDGE;
    l->area.h = l->height - l->area.y - below;
}

int figure_write_plot(const FigurePlot *plot, const char *stem, Error *e)
{
    size_t n = 0;
    for (size_t s = 0; s < plot->n_series; s++)
        if (!checked_add(n, plot->series[s].n, &n))
            return error_set(e, STATUS_FAILED, "%s: too many points", stem);
    if (n == 0)
        return error_set(e, STATUS_FAILED, "%s: a figure without points", stem);
    double *memory = take_memory(n, plot->n_rules);
    if (!memory)
        return error_set(e, STATUS_FAILED, "%s: no memory for %zu points", stem, n);
    Layout l = {.plot = plot, .scratch = memory + scratch_at(n, plot->n_rules)};
    size_t n_y = 0;
    collect(plot, memory, memory + n, &n_y);
    lay_out(&l, memory, n, memory + n, n_y);
    int status = l.area.w > 20 && l.area.h > 20 ? figure_canvas_write(stem, l.width, l.height + l.note_height, draw_plot, &l, e)
                                                : error_set(e, STATUS_FAILED, "%s: %.0f x %.0f mm leave no room for the plot",
                                                            stem, l.width / FIGURE_MM, l.height / FIGURE_MM);
    free(memory);
    return status;
}

/* ---- panels ---- */

typedef struct Grid {
    const FigurePanels *p;
    Layout *layouts; /* [n_plots] */
    size_t n_cols, n_rows;
    double width, height, title_height, legend_height, legend_x, note_height;
} Grid;

static void draw_grid(FigureCanvas *c, const void *what)
{
    const Grid *g = what;
    const FigurePlot *first = &g->p->plots[0];
    double top = FIGURE_EDGE + g->title_height + g->legend_height, middle = (top + g->height) / 2;
    figure_title(c, g->p->title, FIGURE_EDGE, FIGURE_EDGE, g->width - 2 * FIGURE_EDGE);
    figure_note(c, g->p->note, FIGURE_EDGE, g->height, g->width - 2 * FIGURE_EDGE);
    lay_legend(c, &g->layouts[0], g->legend_x, FIGURE_EDGE + g->title_height, g->width - FIGURE_EDGE - g->legend_x);
    for (size_t i = 0; i < g->p->n_plots; i++) {
        const Layout *l = &g->layouts[i];
        draw_inside(c, l);
        if (l->plot->title)
            figure_text(c, l->area.x + 2, l->area.y - 2.5, l->plot->title, FIGURE_TEXT, FIGURE_START, 0, true);
    }
    if (first->x.label)
        figure_text(c, (g->legend_x + g->width) / 2, g->height - FIGURE_EDGE - 1.5, first->x.label, FIGURE_TEXT, FIGURE_MIDDLE,
                    0, false);
    if (first->y.label)
        figure_upright(c, FIGURE_EDGE + FIGURE_TEXT * 0.8, middle, first->y.label, g->height);
}

/* One range for all panels, so that heights can be compared across them. */
static void lay_grid(Grid *g, double *x, size_t n_x, double *y, size_t n_y, double panel_height)
{
    const FigurePlot *first = &g->p->plots[0];
    double axis_text = 0, heading = FIGURE_TEXT + 6, below = FIGURE_TICK_LENGTH + FIGURE_TICK_TEXT + 2;
    FigureRange x_range, y_range;
    g->title_height = g->p->title ? figure_title(NULL, g->p->title, 0, 0, g->width - 2 * FIGURE_EDGE) + 2 : 0;
    figure_range(&y_range, first->y.scale, first->y.integers, first->zero_line || first->style == FIGURE_STEPS, y, n_y,
                 (int)fmax(panel_height / 14, 3));
    for (size_t i = 0; i < y_range.n_ticks; i++)
        axis_text = fmax(axis_text, figure_text_width(y_range.ticks[i].text, FIGURE_TICK_TEXT, false));
    g->legend_x = FIGURE_EDGE + (first->y.label ? FIGURE_TEXT + 3 : 0) + axis_text + FIGURE_TICK_LENGTH + 2;
    g->legend_height = lay_legend(NULL, &g->layouts[0], 0, 0, g->width - FIGURE_EDGE - g->legend_x);
    const double gap = 7;
    double w = (g->width - FIGURE_EDGE - 3 - g->legend_x - gap * (double)(g->n_cols - 1)) / (double)g->n_cols;
    double top = FIGURE_EDGE + g->title_height + g->legend_height, pitch = heading + panel_height;
    figure_range(&x_range, first->x.scale, first->x.integers, false, x, n_x, (int)fmax(w / 22, 2));
    for (size_t i = 0; i < g->p->n_plots; i++) {
        Layout *l = &g->layouts[i];
        size_t row = i / g->n_cols, col = i % g->n_cols;
        l->is_panel = true;
        l->has_y_texts = col == 0;
        l->has_x_texts = i + g->n_cols >= g->p->n_plots;
        l->x = x_range;
        l->y = y_range;
        l->area = (FigureBox){g->legend_x + (double)col * (w + gap), top + heading + (double)row * pitch, w, panel_height};
    }
    g->height = top + (double)g->n_rows * pitch + below + (first->x.label ? FIGURE_TEXT + 5 : 0) + FIGURE_EDGE;
}

int figure_write_panels(const FigurePanels *p, const char *stem, Error *e)
{
    size_t n = 0, n_rules = 0, n_y = 0, at = 0;
    double height;
    for (size_t i = 0; i < p->n_plots; i++) {
        for (size_t s = 0; s < p->plots[i].n_series; s++)
            n += p->plots[i].series[s].n; /* arrays in memory: no overflow */
        n_rules += p->plots[i].n_rules;
    }
    if (n == 0)
        return error_set(e, STATUS_FAILED, "%s: a figure without points", stem);
    Grid g = {.p = p, .n_cols = p->n_cols ? p->n_cols : 4};
    double *memory = take_memory(n, n_rules);
    g.layouts = calloc(p->n_plots, sizeof *g.layouts);
    int status = memory && g.layouts ? STATUS_OK : error_set(e, STATUS_FAILED, "%s: no memory for %zu points", stem, n);
    if (status)
        goto done;
    g.n_cols = g.n_cols < p->n_plots ? g.n_cols : p->n_plots;
    g.n_rows = (p->n_plots + g.n_cols - 1) / g.n_cols;
    figure_size(p->width_mm, 0, &g.width, &height);
    for (size_t i = 0; i < p->n_plots; i++) {
        size_t more = 0;
        g.layouts[i] = (Layout){.plot = &p->plots[i], .scratch = memory + scratch_at(n, n_rules)};
        collect(&p->plots[i], memory + at, memory + n + n_y, &more);
        for (size_t s = 0; s < p->plots[i].n_series; s++)
            at += p->plots[i].series[s].n;
        n_y += more;
    }
    g.note_height = p->note ? figure_note(NULL, p->note, 0, 0, g.width - 2 * FIGURE_EDGE) + FIGURE_EDGE : 0;
    lay_grid(&g, memory, n, memory + n, n_y, (p->panel_mm > 0 ? p->panel_mm : 22) * FIGURE_MM);
    status = g.layouts[0].area.w > 20 ? figure_canvas_write(stem, g.width, g.height + g.note_height, draw_grid, &g, e)
                                      : error_set(e, STATUS_FAILED, "%s: %.0f mm leave no room for %zu columns of panels", stem,
                                                  g.width / FIGURE_MM, g.n_cols);
done:
    free(memory);
    free(g.layouts);
    return status;
}
