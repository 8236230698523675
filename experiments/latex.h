/* latex.h: LaTeX around the tables of table.h: escaped text, a document's head, figures, and prose. English documents are for pdflatex,
 * Japanese ones for lualatex (ltjsarticle of LuaTeX-ja); the first line of a document says so. Left to others: tables (table.h), what is
 * said. */
#ifndef STRATA_EXPERIMENTS_LATEX_H
#define STRATA_EXPERIMENTS_LATEX_H

#include <stddef.h>

#include "engine/base/strbuf.h"
#include "experiments/captions.h"

/* Text with LaTeX's special characters escaped. */
void latex_text(StrBuf *out, const char *text);
/* From the comment that names the engine and the packages to \begin{document}; file: the document's name. */
void latex_begin(StrBuf *out, CaptionsLang lang, const char *file);
void latex_end(StrBuf *out);
/* A figure of n PDFs below each other, each at its width; caption: plain text. */
void latex_figure(StrBuf *out, const char *const *files, const int *widths_mm, size_t n, const char *caption);
/* Markdown as the methods paragraphs use it: "# " and "## " headings, `code`, paragraphs between empty lines. */
void latex_prose(StrBuf *out, const char *markdown);

#endif
