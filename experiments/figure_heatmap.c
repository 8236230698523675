/* figure_heatmap.c: values of a matrix as colours, with a colour bar (figure_layout.h). */
#include "experiments/figure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "experiments/figure_layout.h"

enum { MAX_CELLS = 65536 };

typedef struct Layout {
    const FigureHeatmap *map;
    double width, height, title_height, note_height; /* the note stands below height */
    FigureBox area, bar;
    FigureRange range;
    size_t col_every, row_every;
    bool turned;
} Layout;

static FigureColour colour_at(const Layout *l, double p)
{
    return figure_ramp(l->map->diverging, p);
}

/* What the eye takes for brightness. */
static double luma(FigureColour k)
{
    return 0.3 * k.r + 0.59 * k.g + 0.11 * k.b;
}

static void draw_cell(FigureCanvas *c, const Layout *l, size_t row, size_t col)
{
    const FigureHeatmap *m = l->map;
    size_t i = row * m->n_cols + col;
    double w = l->area.w / (double)m->n_cols, h = l->area.h / (double)m->n_rows;
    double x = l->area.x + (double)col * w, y = l->area.y + (double)row * h;
    bool grey = !isfinite(m->values[i]) || (m->greyed && m->greyed[i]);
    FigureColour colour = grey ? (FigureColour){0.8, 0.8, 0.8, 1} : colour_at(l, figure_position(&l->range, m->values[i]));
    /* A hair beyond its right and lower edge, so that no seam shows between cells; the last ones end where they should. */
    double over_w = col + 1 < m->n_cols ? 0.15 : 0, over_h = row + 1 < m->n_rows ? 0.15 : 0;
    figure_rect(c, x, y, w + over_w, h + over_h, colour);
    if (m->marked && m->marked[i] && isfinite(m->values[i])) {
        bool dark = !grey && luma(colour) < 0.5;
        double radius = fmin(1.1, 0.18 * fmin(w, h));
        figure_circle(c, x + w / 2, y + h / 2, radius, dark ? (FigureColour){1, 1, 1, 1} : (FigureColour){0, 0, 0, 1}, NULL);
    }
    if (!isfinite(m->values[i])) {
        const FigurePen pen = {.colour = {0.55, 0.55, 0.55, 1}, .width = 0.4};
        const double stroke[] = {x, y + h, x + w, y};
        figure_line(c, stroke, 2, &pen);
    }
}

#define VALUE_TEXT 5.5

/* "-0.12" with a true minus sign; empty for NaN. */
static void value_text(double v, char out[40])
{
    char text[32];
    snprintf(text, sizeof text, "%.2g", v);
    snprintf(out, 40, "%s%s", text[0] == '-' ? "\xe2\x88\x92" : "", text[0] == '-' ? text + 1 : text);
    if (!isfinite(v))
        out[0] = '\0';
}

/* All values are shown or none: a map with numbers here and there would mislead. */
static bool values_fit(const Layout *l)
{
    double widest = 0;
    char text[40];
    for (size_t i = 0; i < l->map->n_rows * l->map->n_cols; i++) {
        value_text(l->map->values[i], text);
        widest = fmax(widest, figure_text_width(text, VALUE_TEXT, false));
    }
    return widest + 1 <= l->area.w / (double)l->map->n_cols && VALUE_TEXT + 1 <= l->area.h / (double)l->map->n_rows;
}

static void draw_value(FigureCanvas *c, const Layout *l, size_t row, size_t col)
{
    const FigureHeatmap *m = l->map;
    double v = m->values[row * m->n_cols + col];
    double x = l->area.x + ((double)col + 0.5) * l->area.w / (double)m->n_cols;
    double y = l->area.y + ((double)row + 0.5) * l->area.h / (double)m->n_rows;
    char text[40];
    value_text(v, text);
    if (!*text)
        return;
    bool grey = m->greyed && m->greyed[row * m->n_cols + col];
    FigureColour k = colour_at(l, figure_position(&l->range, v));
    bool dark = !grey && luma(k) < 0.5;
    if (dark)
        figure_text_colour(c, (FigureColour){1, 1, 1, 1});
    figure_text(c, x, y + VALUE_TEXT * 0.36, text, VALUE_TEXT, FIGURE_MIDDLE, 0, false);
    figure_text_colour(c, (FigureColour){0, 0, 0, 1});
}

static const char *name_of(const char *const *names, size_t i, char number[24])
{
    snprintf(number, 24, "%zu", i);
    return names ? names[i] : number;
}

static void draw_names(FigureCanvas *c, const Layout *l)
{
    const FigureHeatmap *m = l->map;
    double w = l->area.w / (double)m->n_cols, h = l->area.h / (double)m->n_rows, bottom = l->area.y + l->area.h;
    char number[24];
    size_t step = m->col_names || !m->col_step ? 1 : m->col_step; /* numbers are round, wherever in a column they fall */
    for (size_t i = 0; i <= (m->n_cols - 1) * step; i += l->col_every) {
        double x = l->area.x + ((double)i + 0.5) / (double)step * w;
        const double tick[] = {x, bottom, x, bottom + FIGURE_TICK_LENGTH};
        figure_line(c, tick, 2, &figure_axis_pen);
        const char *text = name_of(m->col_names, i, number);
        if (l->turned)
            figure_text(c, x + FIGURE_TICK_TEXT * 0.36, bottom + FIGURE_TICK_LENGTH + 2, text, FIGURE_TICK_TEXT, FIGURE_END, 90,
                        false);
        else
            figure_text(c, x, bottom + FIGURE_TICK_LENGTH + FIGURE_TICK_TEXT + 0.5, text, FIGURE_TICK_TEXT, FIGURE_MIDDLE, 0,
                        false);
    }
    for (size_t i = 0; i < m->n_rows; i += l->row_every) {
        double y = l->area.y + ((double)i + 0.5) * h;
        const double tick[] = {l->area.x - FIGURE_TICK_LENGTH, y, l->area.x, y};
        figure_line(c, tick, 2, &figure_axis_pen);
        figure_text(c, l->area.x - FIGURE_TICK_LENGTH - 1.5, y + FIGURE_TICK_TEXT * 0.36, name_of(m->row_names, i, number),
                    FIGURE_TICK_TEXT, FIGURE_END, 0, false);
    }
}

static void draw_map(FigureCanvas *c, const void *what)
{
    const Layout *l = what;
    const FigureHeatmap *m = l->map;
    figure_title(c, m->title, FIGURE_EDGE, FIGURE_EDGE, l->width - 2 * FIGURE_EDGE);
    figure_note(c, m->note, FIGURE_EDGE, l->height, l->width - 2 * FIGURE_EDGE);
    for (size_t row = 0; row < m->n_rows; row++)
        for (size_t col = 0; col < m->n_cols; col++)
            draw_cell(c, l, row, col);
    bool numbers = m->show_values && values_fit(l);
    for (size_t i = 0; numbers && i < m->n_rows * m->n_cols; i++)
        draw_value(c, l, i / m->n_cols, i % m->n_cols);
    figure_frame(c, &l->area);
    draw_names(c, l);
    figure_colour_bar(c, &l->bar, &l->range, m->diverging, m->value_label, l->width, l->height);
    if (m->x_label)
        figure_text(c, l->area.x + l->area.w / 2, l->height - FIGURE_EDGE - 1.5, m->x_label, FIGURE_TEXT, FIGURE_MIDDLE, 0,
                    false);
    if (m->y_label)
        figure_text(c, FIGURE_EDGE + FIGURE_TEXT * 0.8, l->area.y + l->area.h / 2, m->y_label, FIGURE_TEXT, FIGURE_MIDDLE, 90,
                    false);
}

static void set_range(Layout *l, double *values)
{
    const FigureHeatmap *m = l->map;
    size_t n = 0;
    double largest = 0;
    for (size_t i = 0; i < m->n_rows * m->n_cols; i++)
        if (isfinite(m->values[i]) && !(m->greyed && m->greyed[i])) {
            values[n++] = m->values[i];
            largest = fmax(largest, fabs(m->values[i]));
        }
    if (m->extent > 0)
        largest = m->extent;
    if (m->diverging) {
        values[n++] = -largest;
        values[n++] = largest;
    }
    figure_range(&l->range, m->scale, false, false, values, n, 6);
}

/* Every how many columns (numbers: of the numbers that count columns and their steps) are labelled; 0: names that must turn. */
static size_t numbers_every(const FigureHeatmap *m, double width, double *longest)
{
    size_t step = m->col_step ? m->col_step : 1;
    if (m->col_names)
        return figure_names_every(m->col_names, m->n_cols, width, false, longest);
    return figure_names_every(NULL, m->n_cols * step, width / (double)step, true, longest);
}

static void lay_out(Layout *l)
{
    const FigureHeatmap *m = l->map;
    double row_text = 0, col_text = 0;
    figure_size(m->width_mm, m->height_mm, &l->width, &l->height);
    l->title_height = m->title ? figure_title(NULL, m->title, 0, 0, l->width - 2 * FIGURE_EDGE) + 2 : 0;
    l->note_height = m->note ? figure_note(NULL, m->note, 0, 0, l->width - 2 * FIGURE_EDGE) + FIGURE_EDGE : 0;
    if (m->height_mm <= 0)
        l->height += l->title_height;
    else
        l->height -= l->note_height;
    figure_names_every(m->row_names, m->n_rows, 0, false, &row_text);
    l->area.x = FIGURE_EDGE + (m->y_label ? FIGURE_TEXT + 3 : 0) + row_text + FIGURE_TICK_LENGTH + 2;
    l->bar.w = 7;
    l->bar.x = l->width - figure_colour_bar_width(&l->range, m->value_label) - l->bar.w;
    l->area.w = l->bar.x - 6 - l->area.x;
    l->col_every = numbers_every(m, l->area.w / (double)m->n_cols, &col_text);
    l->turned = l->col_every == 0;
    if (l->turned) { /* upright names need the height of a line each */
        l->col_every = (size_t)ceil((FIGURE_TICK_TEXT + 0.5) * (double)m->n_cols / l->area.w);
        l->col_every = l->col_every ? l->col_every : 1;
    }
    l->area.y = FIGURE_EDGE + l->title_height + 3;
    double below =
        FIGURE_TICK_LENGTH + 2 + (l->turned ? col_text : FIGURE_TICK_TEXT) + (m->x_label ? FIGURE_TEXT + 5 : 0) + FIGURE_EDGE;
    l->area.h = l->height - l->area.y - below;
    double lines = l->area.h / (FIGURE_TICK_TEXT + 1);
    l->row_every = lines >= 1 ? (size_t)ceil((double)m->n_rows / lines) : m->n_rows;
    l->bar.y = l->area.y;
    l->bar.h = l->area.h;
}

int figure_write_heatmap(const FigureHeatmap *map, const char *stem, Error *e)
{
    size_t n = 0;
    if (map->n_rows == 0 || map->n_cols == 0 || !checked_mul(map->n_rows, map->n_cols, &n) || n > MAX_CELLS)
        return error_set(e, STATUS_FAILED, "%s: a heat map of %zu x %zu cells; expected 1 to %d", stem, map->n_rows,
                         map->n_cols, MAX_CELLS);
    double *values = malloc((n + 2) * sizeof *values);
    if (!values)
        return error_set(e, STATUS_FAILED, "%s: no memory for %zu cells", stem, n);
    Layout l = {.map = map};
    set_range(&l, values);
    lay_out(&l);
    int status = l.area.w > 20 && l.area.h > 20 ? figure_canvas_write(stem, l.width, l.height + l.note_height, draw_map, &l, e)
                                                : error_set(e, STATUS_FAILED, "%s: %.0f x %.0f mm leave no room for the map",
                                                            stem, l.width / FIGURE_MM, l.height / FIGURE_MM);
    free(values);
    return status;
}
