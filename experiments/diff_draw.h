/* diff_draw.h: what the figures of Study B share: titles, small print, file names, the CSV beside a figure. */
#ifndef STRATA_EXPERIMENTS_DIFF_DRAW_H
#define STRATA_EXPERIMENTS_DIFF_DRAW_H

#include "engine/base/strbuf.h"
#include "experiments/diff_figure.h"
#include "experiments/figure.h"
#include "experiments/table.h"

/* Of a category whose control is too far (DiffViewCategory). */
#define DIFF_DRAW_FAR \
    "The control's tokens lie farther apart than the pairs': it counts in proportion to the distance, no dimension is claimed"

/* Of what is drawn of a matched control, and of the ratio and the contrast to it (diff_control.c, diff_contrast.c). */
#define DIFF_DRAW_SCALED \
    "A control that lies farther in the embedding than its pair is scaled down in proportion to the distance"
#define DIFF_DRAW_SCALED_COSINE \
    "Of a control that lies farther in the embedding than its pair, 1 - cosine is scaled down with the square of the distance"
#define DIFF_DRAW_RATIO_BOUNDS \
    "The ratio has two bounds: controls that lie farther in the embedding than their pair scaled down in proportion (upper " \
    "bound, the line), or nearer ones scaled up (lower bound); the band spans the intervals of both"
#define DIFF_DRAW_CONTRAST_BOUNDS \
    "Each ratio has two bounds: controls that lie farther in the embedding than their pair scaled down in proportion (upper " \
    "bound), or nearer ones scaled up (lower bound); the line is midway between the least and the largest difference, the " \
    "band " \
    "spans the intervals of both"

static inline const char *diff_draw_say(const DiffFigure *f, const char *english)
{
    return captions_text(f->lang, english);
}

/* "MODEL: TEXT" or "MODEL: TEXT (CATEGORY, POSITION)"; category, position may be NULL. Owned by the caller, as all texts here. */
void diff_draw_title(const DiffFigure *f, const char *english, const char *category, const char *position, StrBuf *out);
/* A translated sentence and its full stop. */
void diff_draw_sentence(const DiffFigure *f, const char *english, StrBuf *out);

/* FOLDER/PREFIX NAME[_PART] SUFFIX, letters other than [A-Za-z0-9_-] of part as _. */
int diff_draw_stem(const DiffFigure *f, const char *name, const char *part, StrBuf *out, Error *e);
/* Writes STEM.csv and frees the table. */
int diff_draw_csv(Table *t, const char *stem, Error *e);

#endif
