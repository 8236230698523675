/* figure_layout.h: what plots, clouds and heat maps share: sizes, colours, titles and frames. */
#ifndef STRATA_EXPERIMENTS_FIGURE_LAYOUT_H
#define STRATA_EXPERIMENTS_FIGURE_LAYOUT_H

#include "experiments/figure_axis.h"
#include "experiments/figure_canvas.h"

#define FIGURE_MM (72 / 25.4) /* points */
#define FIGURE_TEXT 7.5       /* labels, points: what journals ask for at print size */
#define FIGURE_TICK_TEXT 7.0
#define FIGURE_TITLE_TEXT 8.0
#define FIGURE_NOTE_TEXT 7.0
#define FIGURE_EDGE 4.0 /* free border */
#define FIGURE_TICK_LENGTH 2.5
#define FIGURE_GAP 3.0 /* between neighbours */

typedef struct FigureBox {
    double x, y, w, h;
} FigureBox;

extern const FigurePen figure_axis_pen, figure_thin_pen;

/* Wrapped to width, at spaces and beside East Asian characters; draws when c is not NULL, first baseline one line below y. Returns the height taken. */
double figure_title(FigureCanvas *c, const char *title, double x, double y, double width);
/* Small print, wrapped likewise; draws downwards from y when c is not NULL. Returns the height taken, 0 for NULL. */
double figure_note(FigureCanvas *c, const char *note, double x, double y, double width);
/* Width and height in points for sizes in mm that may be 0. */
void figure_size(double width_mm, double height_mm, double *width, double *height);
/* A label turned by 90 degrees, centred at y where it fits the page, else moved into it. */
void figure_upright(FigureCanvas *c, double x, double y, const char *text, double page_height);
/* Labels of n categories, centre of i at x0 + (i + 0.5) * step: every how many are shown when level (0: they must turn), and the
 * height they take turned by 90 degrees. */
size_t figure_names_every(const char *const *names, size_t n, double step, bool numbers_may_thin, double *longest);

/* Values as colours, p from 0 to 1. Low to high: a dark-to-light ramp whose lightness rises evenly (anchors after viridis);
 * diverging: blue - light grey - orange, told apart by the colour-blind. */
FigureColour figure_ramp(bool is_diverging, double p);
void figure_frame(FigureCanvas *c, const FigureBox *b);
/* The bar that tells what the colours mean, and the room that it needs at its right. */
void figure_colour_bar(FigureCanvas *c, const FigureBox *b, const FigureRange *range, bool is_diverging, const char *label,
                       double page_width, double page_height);
double figure_colour_bar_width(const FigureRange *range, const char *label);

#endif
