/* report_diff.h: the paper's material of results of `strata diff` (`strata report` given their folders), written beside that of sweeps:
 *   PREFIXdiff_categories.csv, .tex     a line a category: pairs, templates, word pairs, what is claimed and about what
 *   PREFIXdiff_layers.csv, .tex         a line a (category, position): mean and smallest ratio to the control with its interval, the layer
 *   PREFIXdiff_dimensions.csv, .tex     the coordinates with the smallest ratios: bound, p, the two halves of the templates
 *   PREFIXdiff_methods.en.md, .ja.md    how the numbers came about
 *   figures/PREFIXcurves_..., control_..., contrast..., claims_..., each _84mm and _174mm; one heat map a category, _174mm
 *   PREFIXdiff.tex, diff.ja.tex         a document that shows all of it
 * PREFIX is empty for one folder, else the folder's name. With --lang ja or both the Japanese ones have .ja and _ja in their names. */
#ifndef STRATA_EXPERIMENTS_REPORT_DIFF_H
#define STRATA_EXPERIMENTS_REPORT_DIFF_H

#include "experiments/report.h"

/* One folder, in the languages of p. */
int report_diff(Report *p, const char *dir, Error *e);

#endif
