/* figure.h: figures for papers, written as STEM.svg, STEM.png (300 dpi) and STEM.pdf from one description.
 *
 * Text stays text in SVG and PDF. Colours are those of Okabe and Ito (2008), told apart by the colour-blind; series differ in marker
 * and dash too, so that grey prints read. The same description gives the same bytes (no dates; PNG and PDF also depend on the
 * installed fonts and cairo). Nothing overlaps: the legend stands above the plot, labels that would touch are thinned or
 * turned. Left to others: the numbers as CSV (table.h), which figure shows what. */
#ifndef STRATA_EXPERIMENTS_FIGURE_H
#define STRATA_EXPERIMENTS_FIGURE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"

#define FIGURE_NARROW_MM 84.0 /* one column of a journal */
#define FIGURE_WIDE_MM 174.0  /* both */

/* AUTO: symlog when the largest |value| exceeds 20 times their median, else linear. SYMLOG is asinh(v / t): linear near 0,
 * logarithmic far off, signs kept; t is a power of ten near the median. LOG leaves out values that are not positive. */
typedef enum FigureScale { FIGURE_SCALE_LINEAR, FIGURE_SCALE_LOG, FIGURE_SCALE_SYMLOG, FIGURE_SCALE_AUTO } FigureScale;

typedef struct FigureAxis {
    const char *label; /* NULL: none */
    FigureScale scale;
    bool integers;            /* ticks at whole numbers only (layer indices) */
    const char *const *names; /* categories 0 .. n_names-1 instead of numbers; NULL: numbers */
    size_t n_names;
} FigureAxis;

/* Points with y NaN are gaps. lo, hi NULL or NaN: no band there. */
typedef struct FigureSeries {
    const char *label; /* for the legend; NULL: not listed */
    const double *x;   /* NULL: 0, 1, 2, ... */
    const double *y, *lo, *hi;
    size_t n;
} FigureSeries;

typedef enum FigureStyle {
    FIGURE_LINES,  /* lines with markers; lo, hi as a band */
    FIGURE_BARS,   /* grouped bars from 0; lo, hi as whiskers; x is a category or number spaced 1 */
    FIGURE_POINTS, /* scatter; lo, hi as whiskers */
    FIGURE_STEPS,  /* histograms: outlines of bars from 0 that touch, filled lightly; x are the middles of bins */
} FigureStyle;

typedef struct FigurePlot {
    const char *title; /* NULL: none; long ones are wrapped */
    FigureStyle style;
    FigureAxis x, y;
    const FigureSeries *series;
    size_t n_series;
    bool zero_line;      /* a thin line at y = 0, which is then inside the axis */
    const double *rules; /* further such lines, dashed: values that matter */
    size_t n_rules;
    const char *note;           /* small print under the plot, wrapped; NULL: none */
    double width_mm, height_mm; /* 0: FIGURE_NARROW_MM; 0: 0.72 of the width up to
                                    84 mm, 0.45 above, and what title, legend and note need */
} FigurePlot;

typedef struct FigureHeatmap {
    const char *title, *x_label, *y_label, *value_label; /* value_label stands at the colour bar */
    const double *values;                                /* [n_rows, n_cols], row 0 on top; NaN: grey, struck out */
    const unsigned char *greyed; /* [n_rows, n_cols] non-zero: grey, its number kept: not to be ranked; may be NULL */
    size_t n_rows, n_cols;       /* at most 65536 cells: bin larger ones */
    const char *const *row_names, *const *col_names; /* NULL: numbered from 0 */
    size_t col_step;                                 /* numbered columns count in steps of this; 0: 1 */
    const unsigned char *marked;                     /* [n_rows, n_cols] non-zero: a dot in the cell; may be NULL */
    double extent;     /* of the colours: -extent to extent; 0: that of the values. With diverging */
    bool diverging;    /* colours meet at 0, range symmetric; else dark to light, low to high */
    FigureScale scale; /* of the colours */
    bool show_values;  /* numbers in the cells if all of them fit */
    const char *note;
    double width_mm, height_mm;
} FigureHeatmap;

/* Very many points, coloured by a third value: layers, say. Points that would cover each other are thinned: of those in one square
 * of FIGURE_CLOUD_PT points (1/72 inch) one is drawn, picked by a hash of its index, so that no layer is preferred; *n_drawn (may be
 * NULL) tells how many. */
#define FIGURE_CLOUD_PT 0.9
typedef struct FigureCloud {
    const char *title;
    FigureAxis x, y;
    const double *xs, *ys, *values; /* [n]; points that are not finite, or not positive on a LOG axis, are left out */
    size_t n;
    const char *value_label;
    bool value_integers;
    double diagonal; /* a dashed line y = diagonal * x; 0: none */
    const char *note;
    double width_mm, height_mm;
    size_t *n_drawn;
} FigureCloud;

/* Small plots of one kind side by side, row after row, with one legend (the first plot's labels) and the same axes: labels and scales
 * are the first plot's; titles stand above the panels. Not for categories. */
typedef struct FigurePanels {
    const char *title;
    const FigurePlot *plots;
    size_t n_plots, n_cols;    /* 0: 4 */
    double width_mm, panel_mm; /* panel_mm: height of one; 0: 22 */
    const char *note;          /* small print below; NULL: none */
} FigurePanels;

int figure_write_plot(const FigurePlot *plot, const char *stem, Error *e);
int figure_write_panels(const FigurePanels *panels, const char *stem, Error *e);
int figure_write_cloud(const FigureCloud *cloud, const char *stem, Error *e);
int figure_write_heatmap(const FigureHeatmap *map, const char *stem, Error *e);

#endif
