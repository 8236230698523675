/* report.c: `strata report`, from folders to files. */
#include "experiments/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/diff_view.h"
#include "experiments/latex.h"
#include "experiments/report_diff.h"

int report_write(Report *p, const char *name, const StrBuf *text, const char *what, Error *e)
{
    int status = file_write_text(text, e, "%s/%s", p->output_dir, name);
    if (!status && what && *what)
        strbuf_printf(&p->index, "| %s | %s |\n", name, what);
    return status;
}

int report_prose(Report *p, const char *name, CaptionsLang lang, const StrBuf *markdown, Error *e)
{
    bool ja = lang == CAPTIONS_JA;
    StrBuf file = {0}, latex = {0};
    strbuf_printf(&file, "%s%s", name, ja ? ".ja.md" : ".en.md");
    int status = file.failed ? error_set(e, STATUS_FAILED, "report: no memory")
                             : report_write(p, file.data, markdown, ja ? "手法の記述" : "the methods paragraph", e);
    if (!status) {
        latex_prose(&latex, markdown->data);
        strbuf_reset(&file);
        strbuf_printf(&file, "%s%s", name, ja ? ".ja.tex" : ".tex");
        status = file.failed ? error_set(e, STATUS_FAILED, "report: no memory")
                             : report_write(p, file.data, &latex, ja ? "同じもの（LaTeX）" : "the same in LaTeX", e);
    }
    strbuf_free(&file);
    strbuf_free(&latex);
    return status;
}

static int choose_lang(Report *p, Error *e)
{
    const char *lang = p->options->lang;
    p->english = !lang || strcmp(lang, "both") == 0 || strcmp(lang, "en") == 0;
    p->japanese = !lang || strcmp(lang, "both") == 0 || strcmp(lang, "ja") == 0;
    return p->english || p->japanese ? STATUS_OK
                                     : error_set(e, STATUS_USAGE, "--lang: expected en, ja or both, found \"%s\"", lang);
}

static int choose_folder(Report *p, Error *e)
{
    p->output_dir = p->options->output_dir ? p->options->output_dir : p->options->n_dirs > 1 ? "report" : NULL;
    if (!p->output_dir) {
        const char *dir = p->n ? p->results[0].dir : p->options->dirs[0];
        char *folder = strdup(dir), *slash = folder && !file_is_dir(dir) ? strrchr(folder, '/') : NULL;
        if (slash) /* of FOLDER/diff.json */
            *slash = '\0';
        char *path = folder ? file_join(file_is_dir(folder) ? folder : ".", "report") : NULL;
        free(folder);
        p->output_dir = path ? arena_strndup(&p->arena, path, strlen(path)) : NULL;
        free(path);
    }
    return p->output_dir ? file_make_dirs(p->output_dir, e) : error_set(e, STATUS_FAILED, "report: no memory");
}

static int write_language(Report *p, CaptionsLang lang, Error *e)
{
    int status = report_methods(p, lang, e);
    if (!status)
        status = report_tables(p, lang, e);
    if (!status)
        status = report_figures(p, lang, e);
    return status ? status : report_document(p, lang, e);
}

static int write_index(Report *p, Error *e)
{
    StrBuf text = {0};
    strbuf_puts(&text, "# Report\n\nOf these result folders (`strata sweep`, `strata pos`, `strata diff`):\n\n");
    for (size_t i = 0; i < p->n; i++)
        strbuf_printf(&text, "* %s: %s, %s\n", p->results[i].dir, p->results[i].r.name, p->results[i].r.experiment);
    for (size_t i = 0; i < p->options->n_dirs; i++)
        if (diff_view_is_one(p->options->dirs[i]))
            strbuf_printf(&text, "* %s: pairs that differ in one token\n", p->options->dirs[i]);
    if (p->japanese)
        strbuf_puts(&text, "\n論文用の表・図・手法の記述です。.ja と _ja が付いたものは日本語版です。"
                           "report.ja.tex は lualatex で組版します。\n");
    strbuf_puts(&text, "\n| file | what it is |\n| --- | --- |\n");
    strbuf_append(&text, p->index.data ? p->index.data : "", p->index.len);
    text.failed = text.failed || p->index.failed;
    int status = report_write(p, "README.md", &text, NULL, e);
    strbuf_free(&text);
    return status;
}

static void print(const Report *p)
{
    FILE *out = p->options->common.out;
    if (!out)
        return;
    for (size_t i = 0; i < p->n; i++) {
        const ReportResult *r = &p->results[i];
        fprintf(out, "%s: %s, %zu orders%s\n", r->dir, r->r.experiment, r->r.n_orders,
                r->has_tags ? ", parts of speech" : "; no pos.json: `strata pos` adds the parts of speech");
    }
    for (size_t i = 0; i < p->options->n_dirs; i++)
        if (diff_view_is_one(p->options->dirs[i]))
            fprintf(out, "%s: pairs that differ in one token\n", p->options->dirs[i]);
    fprintf(out, "written: %s/README.md lists the tables, figures and texts\n", p->output_dir);
    const char *program = p->english ? "pdflatex" : "lualatex", *ending = p->english ? ".tex" : ".ja.tex";
    StrBuf folder = {0};
    strbuf_shell_word(&folder, p->output_dir);
    const char *where = folder.failed ? "DIR" : folder.data;
    if (p->n || p->options->n_dirs == 1)
        fprintf(out, "next:    (cd %s && %s %s%s)\n", where, program, p->n ? "report" : "diff", ending);
    else /* a document a result */
        fprintf(out, "next:    (cd %s && for f in *_diff%s; do %s \"$f\"; done)\n", where, ending, program);
    strbuf_free(&folder);
}

int strata_report(const StrataReportOptions *options, StrataError *e)
{
    Report *p = calloc(1, sizeof *p);
    if (!p)
        return error_set(e, STATUS_FAILED, "report: no memory");
    p->options = options;
    int status = choose_lang(p, e);
    if (!status)
        status = report_read(p, e);
    if (!status)
        status = choose_folder(p, e);
    if (!status && p->n && p->english)
        status = write_language(p, CAPTIONS_EN, e);
    if (!status && p->n && p->japanese)
        status = write_language(p, CAPTIONS_JA, e);
    for (size_t i = 0; !status && i < options->n_dirs; i++)
        if (diff_view_is_one(options->dirs[i]))
            status = report_diff(p, options->dirs[i], e);
    if (!status)
        status = write_index(p, e);
    if (!status)
        print(p);
    strbuf_free(&p->index);
    arena_free(&p->arena);
    free(p);
    return status;
}
