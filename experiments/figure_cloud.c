/* figure_cloud.c: very many points coloured by a third value, thinned so that files stay small and nothing is drawn twice over.
 * The picture is that of all points where they are drawn in random order: of the points of a small square the topmost is seen. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "experiments/figure.h"
#include "experiments/figure_layout.h"

typedef struct Layout {
    const FigureCloud *cloud;
    double width, height, title_height, note_height;
    FigureBox area, bar;
    FigureRange x, y, value;
    size_t *kept; /* [n_kept]: indices of the points that are drawn */
    size_t n_kept;
} Layout;

static bool on_axis(const FigureRange *r, double v)
{
    return isfinite(v) && (r->scale != FIGURE_SCALE_LOG || v > 0);
}

static uint64_t hash_of(uint64_t i) /* splitmix64's finaliser */
{
    i += 0x9e3779b97f4a7c15u;
    i = (i ^ (i >> 30)) * 0xbf58476d1ce4e5b9u;
    i = (i ^ (i >> 27)) * 0x94d049bb133111ebu;
    return i ^ (i >> 31);
}

static void place(const Layout *l, size_t i, double *x, double *y)
{
    *x = l->area.x + figure_position(&l->x, l->cloud->xs[i]) * l->area.w;
    *y = l->area.y + (1 - figure_position(&l->y, l->cloud->ys[i])) * l->area.h;
}

/* Squares of the area hold 1 + the index of their point. */
static int thin(Layout *l, Error *e)
{
    const FigureCloud *m = l->cloud;
    size_t n_cols = (size_t)(l->area.w / FIGURE_CLOUD_PT) + 1, n_rows = (size_t)(l->area.h / FIGURE_CLOUD_PT) + 1;
    size_t *squares = calloc(n_cols * n_rows, sizeof *squares); /* a page of paper: no overflow */
    if (!squares)
        return error_set(e, STATUS_FAILED, "scatter plot: no memory for %zu x %zu squares", n_cols, n_rows);
    l->n_kept = 0;
    for (size_t i = 0; i < m->n; i++) {
        double x, y;
        if (!on_axis(&l->x, m->xs[i]) || !on_axis(&l->y, m->ys[i]) || !isfinite(m->values[i]))
            continue;
        place(l, i, &x, &y);
        size_t col = (size_t)fmax((x - l->area.x) / FIGURE_CLOUD_PT, 0),
               row = (size_t)fmax((y - l->area.y) / FIGURE_CLOUD_PT, 0);
        size_t *square = &squares[(row < n_rows ? row : n_rows - 1) * n_cols + (col < n_cols ? col : n_cols - 1)];
        if (!*square || hash_of(i) > hash_of(*square - 1))
            *square = i + 1;
    }
    for (size_t k = 0; k < n_cols * n_rows; k++)
        if (squares[k])
            l->kept[l->n_kept++] = squares[k] - 1;
    free(squares);
    if (m->n_drawn)
        *m->n_drawn = l->n_kept;
    return STATUS_OK;
}

static void draw_diagonal(FigureCanvas *c, const Layout *l)
{
    enum { STEPS = 64 };
    double xy[2 * STEPS + 2];
    size_t n = 0;
    for (int i = 0; i <= STEPS; i++) {
        double p = (double)i / STEPS, x = l->x.min + p * (l->x.max - l->x.min);
        if (l->x.scale == FIGURE_SCALE_LOG)
            x = l->x.min * pow(l->x.max / l->x.min, p);
        double y = l->cloud->diagonal * x, at = figure_position(&l->y, y);
        if (on_axis(&l->y, y) && at >= 0 && at <= 1) {
            xy[2 * n] = l->area.x + p * l->area.w;
            xy[2 * n++ + 1] = l->area.y + (1 - at) * l->area.h;
        }
    }
    const FigurePen pen = {.colour = {0.3, 0.3, 0.3, 1}, .width = 0.6, .dash = {2, 2}};
    if (n > 1)
        figure_line(c, xy, n, &pen);
}

static void draw_axes(FigureCanvas *c, const Layout *l)
{
    const FigureBox *a = &l->area;
    double bottom = a->y + a->h;
    const double corner[] = {a->x, a->y, a->x, bottom, a->x + a->w, bottom};
    figure_line(c, corner, 3, &figure_axis_pen);
    for (size_t i = 0; i < l->y.n_ticks; i++) {
        double y = a->y + (1 - figure_position(&l->y, l->y.ticks[i].value)) * a->h;
        const double tick[] = {a->x - FIGURE_TICK_LENGTH, y, a->x, y};
        figure_line(c, tick, 2, &figure_axis_pen);
        figure_text(c, a->x - FIGURE_TICK_LENGTH - 1.5, y + FIGURE_TICK_TEXT * 0.36, l->y.ticks[i].text, FIGURE_TICK_TEXT,
                    FIGURE_END, 0, false);
    }
    for (size_t i = 0; i < l->x.n_ticks; i++) {
        double x = a->x + figure_position(&l->x, l->x.ticks[i].value) * a->w, below = bottom + FIGURE_TICK_LENGTH;
        const double tick[] = {x, bottom, x, below};
        figure_line(c, tick, 2, &figure_axis_pen);
        figure_text(c, x, below + FIGURE_TICK_TEXT + 0.5, l->x.ticks[i].text, FIGURE_TICK_TEXT, FIGURE_MIDDLE, 0, false);
    }
    if (l->cloud->x.label)
        figure_text(c, a->x + a->w / 2, l->height - FIGURE_EDGE - 1.5, l->cloud->x.label, FIGURE_TEXT, FIGURE_MIDDLE, 0, false);
    if (l->cloud->y.label)
        figure_upright(c, FIGURE_EDGE + FIGURE_TEXT * 0.8, a->y + a->h / 2, l->cloud->y.label, l->height);
}

static void draw_cloud(FigureCanvas *c, const void *what)
{
    const Layout *l = what;
    const FigureCloud *m = l->cloud;
    figure_title(c, m->title, FIGURE_EDGE, FIGURE_EDGE, l->width - 2 * FIGURE_EDGE);
    figure_note(c, m->note, FIGURE_EDGE, l->height, l->width - 2 * FIGURE_EDGE);
    for (size_t k = 0; k < l->n_kept; k++) {
        double x, y;
        place(l, l->kept[k], &x, &y);
        figure_circle(c, x, y, 0.8, figure_ramp(false, figure_position(&l->value, m->values[l->kept[k]])), NULL);
    }
    if (m->diagonal > 0)
        draw_diagonal(c, l);
    draw_axes(c, l);
    figure_colour_bar(c, &l->bar, &l->value, false, m->value_label, l->width, l->height);
}

static void set_range(FigureRange *r, const FigureAxis *axis, const double *values, size_t n, double *scratch, int ticks)
{
    for (size_t i = 0; i < n; i++)
        scratch[i] = values[i];
    figure_range(r, axis->scale, axis->integers, false, scratch, n, ticks);
}

/* Colours need no margin: the ends of the ramp are the lowest and the highest value. */
static void fit_colours(FigureRange *r, const double *values, size_t n)
{
    double least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (isfinite(values[i])) {
            least = fmin(least, values[i]);
            most = fmax(most, values[i]);
        }
    if (least < most) {
        r->min = least;
        r->max = most;
    }
}

static void lay_out(Layout *l, double *scratch)
{
    const FigureCloud *m = l->cloud;
    const FigureAxis value_axis = {.scale = FIGURE_SCALE_LINEAR, .integers = m->value_integers};
    double y_text = 0;
    figure_size(m->width_mm, m->height_mm, &l->width, &l->height);
    double inner = l->width - 2 * FIGURE_EDGE;
    l->title_height = m->title ? figure_title(NULL, m->title, 0, 0, inner) + 2 : 0;
    l->note_height = m->note ? figure_note(NULL, m->note, 0, 0, inner) + FIGURE_EDGE : 0;
    l->height += m->height_mm <= 0 ? l->title_height : -l->note_height;
    set_range(&l->y, &m->y, m->ys, m->n, scratch, (int)fmax(l->height / 22, 3));
    set_range(&l->value, &value_axis, m->values, m->n, scratch, 6);
    fit_colours(&l->value, m->values, m->n);
    for (size_t i = 0; i < l->y.n_ticks; i++)
        y_text = fmax(y_text, figure_text_width(l->y.ticks[i].text, FIGURE_TICK_TEXT, false));
    l->area.x = FIGURE_EDGE + (m->y.label ? FIGURE_TEXT + 3 : 0) + y_text + FIGURE_TICK_LENGTH + 2;
    l->area.y = l->bar.y = FIGURE_EDGE + l->title_height + 3;
    l->bar.w = 7;
    l->bar.x = l->width - figure_colour_bar_width(&l->value, m->value_label) - l->bar.w;
    l->area.w = l->bar.x - 6 - l->area.x;
    l->area.h = l->bar.h =
        l->height - l->area.y - (FIGURE_TICK_LENGTH + 2 + FIGURE_TICK_TEXT + (m->x.label ? FIGURE_TEXT + 5 : 0) + FIGURE_EDGE);
    set_range(&l->x, &m->x, m->xs, m->n, scratch, (int)fmax(l->area.w / 30, 3));
}

int figure_write_cloud(const FigureCloud *cloud, const char *stem, Error *e)
{
    Layout l = {.cloud = cloud};
    if (cloud->n == 0)
        return error_set(e, STATUS_FAILED, "%s: a figure without points", stem);
    double *scratch = calloc(cloud->n, sizeof *scratch);
    l.kept = calloc(cloud->n, sizeof *l.kept);
    int status = scratch && l.kept ? STATUS_OK : error_set(e, STATUS_FAILED, "%s: no memory for %zu points", stem, cloud->n);
    if (!status) {
        lay_out(&l, scratch);
        if (!(l.area.w > 20 && l.area.h > 20))
            status = error_set(e, STATUS_FAILED, "%s: %.0f x %.0f mm leave no room for the plot", stem, l.width / FIGURE_MM,
                               l.height / FIGURE_MM);
    }
    status = status ? status : thin(&l, e);
    status = status ? status : figure_canvas_write(stem, l.width, l.height + l.note_height, draw_cloud, &l, e);
    free(scratch);
    free(l.kept);
    return status;
}
