/* captions.h: the words of figures and tables in English and Japanese. The English text is the key, so that code reads as what it
 * draws; a text without a translation stays English. Left to others: which font has the glyphs (figure_canvas.h), prose. */
#ifndef STRATA_EXPERIMENTS_CAPTIONS_H
#define STRATA_EXPERIMENTS_CAPTIONS_H

#include <stdbool.h>

#include "engine/base/error.h"

typedef enum CaptionsLang { CAPTIONS_EN, CAPTIONS_JA } CaptionsLang;

/* --lang: "en", "ja"; NULL: en. Anything else is STATUS_USAGE. */
int captions_lang(const char *name, CaptionsLang *out, Error *e);
const char *captions_text(CaptionsLang lang, const char *english);
bool captions_has(const char *english);

/* lang, or English where no installed font has Japanese glyphs: figures must not show boxes. The first time that happens a line on
 * stderr names the package to install (not with quiet). */
CaptionsLang captions_for_figures(CaptionsLang lang, bool quiet);

#endif
