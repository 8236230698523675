/* report.h: the paper's material of finished sweeps (`strata report`), from ppl.json, run.json and, where it is there, pos.json.
 *
 * Written into output_dir (NAME_ is put before the names of a result's files when several folders are reported):
 *   README.md                      what is there
 *   methods.en.md, methods.ja.md   how the numbers came about, filled in from run.json and ppl.json; methods.tex, methods.ja.tex the same
 *   setup.csv, .tex                models, data, protocol, baseline: a column a result
 *   layers.csv, .tex               every order: change of loss with interval, top-1, agreement, KL
 *   tags.csv, .tex                 every part of speech: words, loss, its most and least harmful order, the tagger's F1
 *   figures/layers_84mm, _174mm, tags_84mm, _174mm   .svg .png .pdf .csv; text is 7 to 8 points at these widths
 *   report.tex                     a document that shows all of it (pdflatex); report.ja.tex (lualatex)
 * Results of strata diff: report_diff.h.
 * With --lang ja or both the Japanese tables and figures have .ja and _ja in their names. Tables of more than REPORT_ROWS rows are
 * cut into several of about the same length, so that each fits a page. CSV has all digits, LaTeX is rounded for the eye. Same input, same bytes.
 *
 * Left to others: the numbers (results.h, pos_results.h), tables (table.h), LaTeX (latex.h). */
#ifndef STRATA_EXPERIMENTS_REPORT_H
#define STRATA_EXPERIMENTS_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/strbuf.h"
#include "experiments/captions.h"
#include "experiments/compare.h"
#include "experiments/studies.h"

enum { REPORT_ROWS = 42, REPORT_MAX = 16, REPORT_MAX_TAGS = 64 };

typedef struct ReportTag {
    const char *name;
    bool is_ranked;
    double n_words, n_units, word_nll, word_accuracy, f1;
    CompareChange *orders;   /* [n_orders]: change per word */
    CompareChange *contrast; /* [n_orders]: minus that of all other words */
} ReportTag;

typedef struct ReportResult {
    const char *dir, *prefix; /* prefix of file names: "" or "removal_gpt2_" */
    CompareResult r;
    bool has_intervals; /* of the change of loss */
    /* ppl.json, protocol and baseline */
    const char *split, *rope;
    double n_rows, n_windows, n_units, n_words, n_bytes, n_unscored, n_samples, word_ppl, bits_per_byte, top5_accuracy;
    const char *weights_sha256;
    /* run.json; "" where it is absent */
    const char *version, *commit, *device, *processor, *threads, *blas_core, *finished;
    /* pos.json */
    bool has_tags;
    ReportTag *tags;
    size_t n_tags;
    bool has_ranked; /* any tag; none when there are too few units */
    const char *tagger, *tagger_corpus;
    double tagger_accuracy, n_counted, n_body_words;
} ReportResult;

typedef struct Report {
    const StrataReportOptions *options;
    const char *output_dir;
    bool english, japanese;
    ReportResult results[REPORT_MAX];
    size_t n;
    StrBuf index; /* lines of README.md */
    Arena arena;
} Report;

/* What tables and figures of layers say below. */
static inline const char *report_layers_caption(const ReportResult *r, CaptionsLang lang)
{
    return captions_text(lang, r->has_intervals
                                   ? "Change of loss in nats per token against the intact model; 95 % intervals are pointwise."
                                   : "Change of loss in nats per token against the intact model.");
}

/* Rows of each piece of a table of n rows. */
static inline size_t report_piece(size_t n)
{
    size_t pieces = (n + REPORT_ROWS - 1) / REPORT_ROWS;
    return pieces ? (n + pieces - 1) / pieces : 1;
}

int report_read(Report *p, Error *e); /* report_input.c */
/* report_tables.c: the tables in one language. */
int report_tables(Report *p, CaptionsLang lang, Error *e);
int report_figures(Report *p, CaptionsLang lang, Error *e); /* report_figure.c */
int report_methods(Report *p, CaptionsLang lang, Error *e); /* report_text.c */
int report_document(Report *p, CaptionsLang lang, Error *e);
/* output_dir/NAME, atomically, with a line in the index ("" or NULL: none). */
int report_write(Report *p, const char *name, const StrBuf *text, const char *what, Error *e);

/* NAME.en.md (.ja.md) and the same as NAME.tex (.ja.tex). */
int report_prose(Report *p, const char *name, CaptionsLang lang, const StrBuf *markdown, Error *e);

#endif
