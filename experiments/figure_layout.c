/* figure_layout.c: see figure_layout.h. */
#include "experiments/figure_layout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/utf8.h"

const FigurePen figure_axis_pen = {.colour = {0, 0, 0, 1}, .width = 0.6};
const FigurePen figure_thin_pen = {.colour = {0.5, 0.5, 0.5, 1}, .width = 0.5};

/* Bytes from s to the next place where a line may end: after a space, before or after an East Asian character, unless closing
 * punctuation follows. */
static size_t piece_bytes(const char *s)
{
    size_t len = strlen(s), n = 0;
    uint32_t code = 0, next = 0;
    while (n < len) {
        size_t step = utf8_decode(s + n, len - n, &code);
        if (!step) {
            step = 1;
            code = 0xfffd;
        }
        n += step;
        if (n == len || code == ' ')
            break;
        next = 0;
        utf8_decode(s + n, len - n, &next);
        bool is_closing = next == 0x3001 || next == 0x3002 || next == 0xff09 || next == 0x300d || next == 0xff0c;
        bool is_opening = code == 0xff08 || code == 0x300c;
        if ((code >= 0x2e80 || next >= 0x2e80) && !is_closing && !is_opening && next != ' ')
            break;
    }
    return n;
}

typedef struct TextStyle {
    double size, line_height;
    bool bold;
} TextStyle;

static void draw_line_of(FigureCanvas *c, char *line, size_t len, double x, double baseline, const TextStyle *style)
{
    while (len > 0 && line[len - 1] == ' ')
        len--;
    line[len] = '\0';
    if (c)
        figure_text(c, x, baseline, line, style->size, FIGURE_START, 0, style->bold);
}

static double wrap(FigureCanvas *c, const char *text, double x, double y, double width, const TextStyle *style)
{
    double height = 0;
    char line[512] = "";
    size_t len = 0;
    while (text && *text) {
        size_t n = piece_bytes(text), shown = n;
        while (shown > 0 && text[shown - 1] == ' ')
            shown--;
        bool fits = len + n < sizeof line;
        if (fits) {
            memcpy(line + len, text, shown);
            line[len + shown] = '\0';
            fits = figure_text_width(line, style->size, style->bold) <= width;
        }
        if (!fits && len > 0) { /* the piece begins the next line */
            height += style->line_height;
            draw_line_of(c, line, len, x, y + height - 0.3 * style->line_height, style);
            len = 0;
            continue;
        }
        if (n >= sizeof line) /* one endless word: cut */
            n = sizeof line - 1;
        memcpy(line + len, text, n);
        len += n;
        text += n;
    }
    if (len > 0) {
        height += style->line_height;
        draw_line_of(c, line, len, x, y + height - 0.3 * style->line_height, style);
    }
    return height;
}

double figure_title(FigureCanvas *c, const char *title, double x, double y, double width)
{
    const TextStyle style = {FIGURE_TITLE_TEXT, FIGURE_TITLE_TEXT * 1.3, true};
    return wrap(c, title, x, y, width, &style);
}

double figure_note(FigureCanvas *c, const char *note, double x, double y, double width)
{
    const TextStyle style = {FIGURE_NOTE_TEXT, FIGURE_NOTE_TEXT * 1.3, false};
    return wrap(c, note, x, y, width, &style);
}

void figure_size(double width_mm, double height_mm, double *width, double *height)
{
    double w = width_mm > 0 ? width_mm : FIGURE_NARROW_MM;
    double h = height_mm > 0 ? height_mm : w * (w <= FIGURE_NARROW_MM ? 0.72 : 0.45);
    *width = w * FIGURE_MM;
    *height = h * FIGURE_MM;
}

void figure_upright(FigureCanvas *c, double x, double y, const char *text, double page_height)
{
    double half = figure_text_width(text, FIGURE_TEXT, false) / 2;
    y = fmax(fmin(y, page_height - FIGURE_EDGE - half), FIGURE_EDGE + half);
    figure_text(c, x, y, text, FIGURE_TEXT, FIGURE_MIDDLE, 90, false);
}

size_t figure_names_every(const char *const *names, size_t n, double step, bool numbers_may_thin, double *longest)
{
    *longest = 0;
    char number[24];
    for (size_t i = 0; i < n; i++) {
        if (!names)
            snprintf(number, sizeof number, "%zu", i);
        *longest = fmax(*longest, figure_text_width(names ? names[i] : number, FIGURE_TICK_TEXT, false));
    }
    if (*longest + FIGURE_GAP <= step)
        return 1;
    if (!numbers_may_thin)
        return 0;
    static const size_t steps[] = {1, 2, 5};
    for (size_t k = 0, ten = 1;; k++) {
        if (k && k % 3 == 0)
            ten *= 10;
        if ((double)(steps[k % 3] * ten) * step >= *longest + FIGURE_GAP || steps[k % 3] * ten >= n)
            return steps[k % 3] * ten;
    }
}

/* ---- colours of values ---- */

static const double sequential[][3] = {{0.267, 0.005, 0.329}, {0.283, 0.141, 0.458}, {0.254, 0.265, 0.530},
                                       {0.207, 0.372, 0.553}, {0.164, 0.471, 0.558}, {0.128, 0.567, 0.551},
                                       {0.135, 0.659, 0.518}, {0.267, 0.749, 0.441}, {0.478, 0.821, 0.318},
                                       {0.741, 0.873, 0.150}, {0.993, 0.906, 0.144}};
static const double diverging[][3] = {{0.07, 0.21, 0.42}, {0.18, 0.40, 0.66}, {0.45, 0.66, 0.84},
                                      {0.75, 0.85, 0.93}, {0.96, 0.96, 0.96}, {0.98, 0.84, 0.67},
                                      {0.93, 0.62, 0.32}, {0.77, 0.39, 0.09}, {0.47, 0.22, 0.03}};

static FigureColour between(const double (*anchors)[3], size_t n, double p)
{
    double at = fmin(fmax(p, 0), 1) * (double)(n - 1);
    size_t i = (size_t)at < n - 1 ? (size_t)at : n - 2;
    double f = at - (double)i;
    return (FigureColour){anchors[i][0] + f * (anchors[i + 1][0] - anchors[i][0]),
                          anchors[i][1] + f * (anchors[i + 1][1] - anchors[i][1]),
                          anchors[i][2] + f * (anchors[i + 1][2] - anchors[i][2]), 1};
}

FigureColour figure_ramp(bool is_diverging, double p)
{
    return is_diverging ? between(diverging, sizeof diverging / sizeof *diverging, p)
                        : between(sequential, sizeof sequential / sizeof *sequential, p);
}

void figure_frame(FigureCanvas *c, const FigureBox *b)
{
    const double frame[] = {b->x, b->y, b->x + b->w, b->y, b->x + b->w, b->y + b->h, b->x, b->y + b->h, b->x, b->y};
    figure_line(c, frame, 5, &figure_axis_pen);
}

double figure_colour_bar_width(const FigureRange *range, const char *label)
{
    double text = 0;
    for (size_t i = 0; i < range->n_ticks; i++)
        text = fmax(text, figure_text_width(range->ticks[i].text, FIGURE_TICK_TEXT, false));
    return FIGURE_EDGE + (label ? FIGURE_TEXT + 4 : 0) + text + FIGURE_TICK_LENGTH + 2;
}

void figure_colour_bar(FigureCanvas *c, const FigureBox *b, const FigureRange *range, bool is_diverging, const char *label,
                       double page_width, double page_height)
{
    enum { STEPS = 100 };
    for (int i = 0; i < STEPS; i++) {
        double p = (double)i / STEPS, top = b->y + b->h * (1 - p - 1.0 / STEPS);
        figure_rect(c, b->x, top, b->w, b->h / STEPS + (i > 0 ? 0.15 : 0), figure_ramp(is_diverging, p + 0.5 / STEPS));
    }
    figure_frame(c, b);
    for (size_t i = 0; i < range->n_ticks; i++) {
        double y = b->y + b->h * (1 - figure_position(range, range->ticks[i].value));
        const double tick[] = {b->x + b->w, y, b->x + b->w + FIGURE_TICK_LENGTH, y};
        figure_line(c, tick, 2, &figure_axis_pen);
        figure_text(c, b->x + b->w + FIGURE_TICK_LENGTH + 1.5, y + FIGURE_TICK_TEXT * 0.36, range->ticks[i].text,
                    FIGURE_TICK_TEXT, FIGURE_START, 0, false);
    }
    if (label)
        figure_upright(c, page_width - FIGURE_EDGE - 1.5, b->y + b->h / 2, label, page_height);
}
