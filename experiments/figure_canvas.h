/* figure_canvas.h: the few things figures draw, onto cairo (PNG, PDF) or as our own SVG (cairo's SVG turns text into outlines).
 * Units are points (1/72 inch), the origin is top left. Text sizes are measured with cairo for all three. */
#ifndef STRATA_EXPERIMENTS_FIGURE_CANVAS_H
#define STRATA_EXPERIMENTS_FIGURE_CANVAS_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"

typedef struct FigureCanvas FigureCanvas;

typedef struct FigureColour {
    double r, g, b, a;
} FigureColour;

typedef enum FigureAnchor { FIGURE_START, FIGURE_MIDDLE, FIGURE_END } FigureAnchor;

typedef struct FigurePen {
    FigureColour colour;
    double width;
    double dash[4]; /* on, off, ...; 0: solid */
} FigurePen;

/* Draws the whole figure; called once per output format. */
typedef void (*FigureDraw)(FigureCanvas *c, const void *what);
int figure_canvas_write(const char *stem, double width_pt, double height_pt, FigureDraw draw, const void *what, Error *e);

/* Text is drawn in DejaVu Sans; runs of East Asian letters in the first of the known Japanese fonts that is installed (or in
 * $STRATA_FONT_JA), recognised by its having the glyphs. */
bool figure_font_has_japanese(void);

/* Advance width of UTF-8 text; usable before anything is drawn. */
double figure_text_width(const char *text, double size, bool bold);

void figure_line(FigureCanvas *c, const double *xy, size_t n_points, const FigurePen *pen);
void figure_fill(FigureCanvas *c, const double *xy, size_t n_points, FigureColour colour,
                 const FigurePen *outline); /* outline may be NULL */
void figure_rect(FigureCanvas *c, double x, double y, double w, double h, FigureColour colour);
void figure_circle(FigureCanvas *c, double x, double y, double radius, FigureColour colour, const FigurePen *outline);
/* y is the baseline; degrees turn counter-clockwise about (x, y). */
void figure_text(FigureCanvas *c, double x, double y, const char *text, double size, FigureAnchor anchor, double degrees,
                 bool bold);
void figure_text_colour(FigureCanvas *c, FigureColour colour); /* of the texts that follow; black at first */

#endif
