/* figure_layout.c: see figure_layout.h. */
#include "experiments/figure_layout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const FigurePen figure_axis_pen = {.colour = {0, 0, 0, 1}, .width = 0.6};
const FigurePen figure_thin_pen = {.colour = {0.5, 0.5, 0.5, 1}, .width = 0.5};

double figure_title(FigureCanvas *c, const char *title, double x, double y, double width)
{
    const double line_height = FIGURE_TITLE_TEXT * 1.3;
    double height = 0;
    char line[256];
    size_t len = 0;
    for (const char *word = title; word && *word;) {
        size_t n = strcspn(word, " ");
        size_t sep = len ? 1 : 0;
        if (len + sep + n < sizeof line) {
            if (sep)
                line[len] = ' ';
            memcpy(line + len + sep, word, n);
            line[len + sep + n] = '\0';
        }
        bool fits = len + sep + n < sizeof line && figure_text_width(line, FIGURE_TITLE_TEXT, true) <= width;
        if (!fits && len > 0) { /* the word begins the next line */
            line[len] = '\0';
            height += line_height;
            if (c)
                figure_text(c, x, y + height - 0.3 * line_height, line, FIGURE_TITLE_TEXT, FIGURE_START, 0, true);
            len = 0;
            continue;
        }
        if (n >= sizeof line) /* one endless word: cut */
            n = 0;
        len += n ? sep + n : 0;
        word += strcspn(word, " ");
        word += strspn(word, " ");
    }
    if (len > 0) {
        line[len] = '\0';
        height += line_height;
        if (c)
            figure_text(c, x, y + height - 0.3 * line_height, line, FIGURE_TITLE_TEXT, FIGURE_START, 0, true);
    }
    return height;
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
