/* compare_diff.c: see compare_diff.h. */
#include "experiments/compare_diff.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/captions.h"
#include "experiments/compare.h"
#include "experiments/diff_draw.h"
#include "experiments/diff_stats.h"
#include "experiments/diff_view.h"
#include "experiments/figure.h"
#include "experiments/table.h"

enum { MAX_CATEGORIES = 32, MAX_POSITIONS = 8 };

typedef struct Summary { /* of one result and category, at the position */
    double mean_ratio, smallest, depth_of_smallest, share_claimed, bins[COMPARE_BINS];
    bool is_there;
} Summary;

typedef struct Work {
    const StrataCompareOptions *options;
    const char *output_dir;
    DiffView views[COMPARE_MAX];
    char labels[COMPARE_MAX][96];
    size_t n;
    const char *categories[MAX_CATEGORIES]; /* those of any result, in order of appearance */
    size_t n_categories;
    const char *position;
    Summary summaries[COMPARE_MAX][MAX_CATEGORIES];
    CaptionsLang lang;
    StrBuf notes;
} Work;

int compare_diff_is_meant(const StrataCompareOptions *options)
{
    for (size_t i = 0; i < options->n_json_files; i++)
        if (diff_view_is_one(options->json_files[i]))
            return 1;
    return 0;
}

static const char *say(const Work *w, const char *english)
{
    return captions_text(w->lang, english);
}

/* ---- reading ---- */

/* The model's name; where two results share it, with their folder. */
static void label_results(Work *w)
{
    const char *labels[COMPARE_MAX];
    for (size_t i = 0; i < w->n; i++) {
        size_t same = 0;
        for (size_t k = 0; k < w->n; k++)
            same += strcmp(w->views[i].name, w->views[k].name) == 0;
        if (same > 1)
            snprintf(w->labels[i], sizeof w->labels[i], "%.45s (%.40s)", w->views[i].name, file_basename(w->views[i].dir));
        else
            snprintf(w->labels[i], sizeof w->labels[i], "%.90s", w->views[i].name);
        model_name_tell_apart(labels, i, w->labels[i], sizeof w->labels[i]);
        labels[i] = w->labels[i];
    }
}

static const DiffViewCategory *category_of(const DiffView *v, const char *name)
{
    for (size_t i = 0; i < v->n_categories; i++)
        if (strcmp(v->categories[i].name, name) == 0)
            return &v->categories[i];
    return NULL;
}

static int open_all(Work *w, Error *e)
{
    const StrataCompareOptions *o = w->options;
    if (o->n_json_files < 2 || o->n_json_files > COMPARE_MAX)
        return error_set(e, STATUS_USAGE, "compare: expected 2 to %d results, found %zu", COMPARE_MAX, o->n_json_files);
    if (o->experiment && strcmp(o->experiment, "diff") != 0)
        return error_set(e, STATUS_USAGE, "%s: a result of strata diff, expected one of --experiment %s", o->json_files[0],
                         o->experiment);
    if (o->depth && strcmp(o->depth, "relative") != 0)
        return error_set(e, STATUS_USAGE, "--depth %s: results of strata diff are compared over relative depth", o->depth);
    int status = captions_lang(o->lang, &w->lang, e);
    for (size_t i = 0; !status && i < o->n_json_files; i++) {
        if (!diff_view_is_one(o->json_files[i]))
            return error_set(e, STATUS_USAGE, "%s: expected a result of strata diff like the others", o->json_files[i]);
        status = diff_view_open(o->json_files[i], &w->views[i], e);
        if (status)
            return status;
        w->n = i + 1;
        if (strcmp(w->views[i].tap, w->views[0].tap) != 0)
            return error_set(e, STATUS_FAILED, "%s: differences of %s, those of %s are of %s", o->json_files[i],
                             w->views[i].tap, o->json_files[0], w->views[0].tap);
    }
    w->lang = captions_for_figures(w->lang, o->common.quiet);
    return status;
}

static void list_categories(Work *w)
{
    for (size_t i = 0; i < w->n; i++)
        for (size_t k = 0; k < w->views[i].n_categories; k++) {
            size_t at = 0;
            while (at < w->n_categories && strcmp(w->categories[at], w->views[i].categories[k].name) != 0)
                at++;
            if (at == w->n_categories && at < MAX_CATEGORIES)
                w->categories[w->n_categories++] = w->views[i].categories[k].name;
        }
}

static void note(Work *w)
{
    for (size_t k = 0; k < w->n_categories; k++) {
        const DiffViewCategory *first = category_of(&w->views[0], w->categories[k]);
        for (size_t i = 1; i < w->n; i++) {
            const DiffViewCategory *c = category_of(&w->views[i], w->categories[k]);
            if (!first || !c)
                strbuf_printf(&w->notes, "%s: in %s alone.\n", w->categories[k], first ? w->labels[0] : w->labels[i]);
            else if (first->n_pairs < c->n_pairs || first->n_pairs > c->n_pairs)
                strbuf_printf(&w->notes, "%s: %.0f pairs in %s, %.0f in %s: not the same pairs.\n", w->categories[k],
                              first->n_pairs, w->labels[0], c->n_pairs, w->labels[i]);
        }
    }
}

/* ---- numbers ---- */

static double depth_of(const DiffView *v, size_t point)
{
    return v->n_layers ? (double)point / (double)v->n_layers : 0;
}

static void summarise(const DiffView *v, const DiffViewPosition *at, Summary *s)
{
    const DiffViewCurve *curve = diff_view_curve(at, "norm");
    double sums[COMPARE_BINS] = {0}, counts[COMPARE_BINS] = {0}, sum = 0, n = 0;
    *s = (Summary){.mean_ratio = NAN, .smallest = NAN, .depth_of_smallest = NAN, .is_there = curve && curve->ratio};
    for (size_t b = 0; b < COMPARE_BINS; b++)
        s->bins[b] = NAN;
    s->share_claimed = at->n_claims / (double)(v->n_points * v->hidden);
    for (size_t l = 0; s->is_there && l < v->n_points; l++) {
        double r = curve->ratio[l], depth = depth_of(v, l);
        size_t bin = depth >= 1 ? COMPARE_BINS - 1 : (size_t)(depth * COMPARE_BINS + 1e-9);
        if (!isfinite(r))
            continue;
        sum += r;
        n++;
        sums[bin] += r;
        counts[bin]++;
        if (!(s->smallest <= r)) { /* NaN at first */
            s->smallest = r;
            s->depth_of_smallest = depth;
        }
    }
    for (size_t b = 0; b < COMPARE_BINS; b++)
        if (counts[b] > 0)
            s->bins[b] = sums[b] / counts[b];
    s->mean_ratio = n > 0 ? sum / n : NAN;
}

static void summarise_all(Work *w)
{
    for (size_t i = 0; i < w->n; i++)
        for (size_t k = 0; k < w->n_categories; k++) {
            const DiffViewCategory *c = category_of(&w->views[i], w->categories[k]);
            const DiffViewPosition *at = c ? diff_view_position(c, w->position) : NULL;
            if (at)
                summarise(&w->views[i], at, &w->summaries[i][k]);
        }
}

/* ---- files ---- */

static void put_model(const Work *w, size_t i, StrBuf *out)
{
    const DiffView *v = &w->views[i];
    strbuf_puts(out, "{\"label\": ");
    strbuf_json_string(out, w->labels[i], strlen(w->labels[i]));
    strbuf_json_field_text(out, "dir", v->dir);
    strbuf_json_field_text(out, "model", v->model);
    strbuf_printf(out, ", \"n_layers\": %zu, \"hidden\": %zu", v->n_layers, v->hidden);
    strbuf_json_field_number(out, "n_pairs", v->n_pairs);
    strbuf_json_field_number(out, "share_claimed", v->n_claims / v->n_tested);
    strbuf_puts(out, ", \"categories\": [");
    for (size_t k = 0, n = 0; k < w->n_categories; k++) {
        const DiffViewCategory *c = category_of(v, w->categories[k]);
        const Summary *s = &w->summaries[i][k];
        if (!c || !s->is_there)
            continue;
        strbuf_puts(out, n++ ? ",\n   {\"name\": " : "\n   {\"name\": ");
        strbuf_json_string(out, c->name, strlen(c->name));
        strbuf_json_field_text(out, "scope", c->scope);
        strbuf_json_field_number(out, "n_pairs", c->n_pairs);
        strbuf_json_field_number(out, "mean_ratio", s->mean_ratio);
        strbuf_json_field_number(out, "smallest_ratio", s->smallest);
        strbuf_json_field_number(out, "depth_of_smallest", s->depth_of_smallest);
        strbuf_json_field_number(out, "share_claimed", s->share_claimed);
        strbuf_puts(out, "}");
    }
    strbuf_puts(out, "]}");
}

static void put_json(const Work *w, StrBuf *out)
{
    strbuf_puts(out, "{\"schema\": \"strata.compare_diff/1\"");
    strbuf_json_field_text(out, "position", w->position);
    strbuf_puts(out, ",\n \"models\": [");
    for (size_t i = 0; i < w->n; i++) {
        strbuf_puts(out, i ? ",\n  " : "\n  ");
        put_model(w, i, out);
    }
    strbuf_puts(out, "],\n \"rank_correlation\": [");
    for (size_t k = 0, n = 0; k < w->n_categories; k++)
        for (size_t a = 0; a < w->n; a++)
            for (size_t b = a + 1; b < w->n; b++) {
                int n_bins = 0;
                double kendall, rho;
                if (!w->summaries[a][k].is_there || !w->summaries[b][k].is_there)
                    continue;
                rho = compare_bins_rho(w->summaries[a][k].bins, w->summaries[b][k].bins, &n_bins, &kendall);
                strbuf_printf(out, "%s\n  {\"category\": ", n++ ? "," : "");
                strbuf_json_string(out, w->categories[k], strlen(w->categories[k]));
                strbuf_json_field_text(out, "a", w->labels[a]);
                strbuf_json_field_text(out, "b", w->labels[b]);
                strbuf_json_field_number(out, "spearman", rho);
                strbuf_printf(out, ", \"n_bins\": %d}", n_bins);
            }
    strbuf_puts(out, "],\n \"notes\": ");
    strbuf_json_string(out, w->notes.data ? w->notes.data : "", w->notes.len);
    strbuf_puts(out, "}\n");
}

static int write_table(const Work *w, const char *name, Table *t, Error *e)
{
    int status = table_save_csv(t, e, "%s/%s", w->output_dir, name);
    table_free(t);
    return status;
}

static int write_csv(const Work *w, Error *e)
{
    static const char *const headers[] = {"model", "category", "position", "layer", "depth", "ratio", "ci95_lo", "ci95_hi"};
    Table t;
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; i < w->n; i++)
        for (size_t k = 0; k < w->views[i].n_categories; k++)
            for (size_t m = 0; m < w->views[i].categories[k].n_positions; m++) {
                const DiffViewPosition *at = &w->views[i].categories[k].positions[m];
                const DiffViewCurve *c = diff_view_curve(at, "norm");
                for (size_t l = 0; c && c->ratio && l < w->views[i].n_points; l++) {
                    table_text(&t, w->labels[i]);
                    table_text(&t, w->views[i].categories[k].name);
                    table_text(&t, at->name);
                    table_integer(&t, (long long)l);
                    table_number(&t, depth_of(&w->views[i], l), -1);
                    table_number(&t, c->ratio[l], -1);
                    table_number(&t, c->lo ? c->lo[l] : NAN, -1);
                    table_number(&t, c->hi ? c->hi[l] : NAN, -1);
                }
            }
    return write_table(w, "compare.csv", &t, e);
}

/* ---- figures ---- */

typedef struct Curves { /* one panel a thing (category or position), one line a result */
    FigurePlot plots[MAX_CATEGORIES];
    FigureSeries series[MAX_CATEGORIES][COMPARE_MAX];
    double *depths[COMPARE_MAX];
    size_t n;
} Curves;

static int curves_begin(const Work *w, Curves **out, Error *e)
{
    Curves *c = calloc(1, sizeof *c);
    bool ok = c != NULL;
    for (size_t i = 0; ok && i < w->n; i++) {
        c->depths[i] = calloc(w->views[i].n_points, sizeof(double));
        ok = c->depths[i] != NULL;
        for (size_t l = 0; ok && l < w->views[i].n_points; l++)
            c->depths[i][l] = depth_of(&w->views[i], l);
    }
    *out = c;
    return ok ? STATUS_OK : error_set(e, STATUS_FAILED, "compare: no memory for figures");
}

static void curves_free(Curves *c)
{
    for (size_t i = 0; c && i < COMPARE_MAX; i++)
        free(c->depths[i]);
    free(c);
}

static FigurePlot *curves_panel(const Work *w, Curves *c, const char *title, const char *y)
{
    FigurePlot *p = &c->plots[c->n];
    *p = (FigurePlot){.title = say(w, title),
                      .style = FIGURE_LINES,
                      .x = {.label = say(w, "relative depth (0: embedding, 1: last layer)")},
                      .y = {.label = say(w, y)},
                      .series = c->series[c->n],
                      .n_series = w->n};
    for (size_t i = 0; i < w->n; i++) /* every panel has every result, so that colours agree; without points where it is not */
        c->series[c->n][i] = (FigureSeries){.label = w->labels[i]};
    c->n++;
    return p;
}

/* Both sentences end up below the panels. */
static int curves_write(const Work *w, Curves *c, const char *title, const char *const sentences[2], const char *name, Error *e)
{
    StrBuf stem = {0}, small = {0}, heading = {0};
    bool ja = w->lang == CAPTIONS_JA;
    strbuf_puts(&heading, say(w, title));
    if (strcmp(name, "diff_contrast") != 0) /* of one position class */
        strbuf_printf(&heading, "%s%s%s", ja ? "（" : " (", say(w, w->position), ja ? "）" : ")");
    strbuf_printf(&stem, "%s/%s", w->output_dir, name);
    for (int i = 0; i < 2; i++)
        strbuf_printf(&small, "%s%s", say(w, sentences[i]), ja ? "。" : ". ");
    FigurePanels panels = {.title = heading.data,
                           .plots = c->plots,
                           .n_plots = c->n,
                           .n_cols = c->n < 3 ? c->n : 3,
                           .width_mm = FIGURE_WIDE_MM,
                           .panel_mm = 30,
                           .note = small.data};
    int status = stem.failed || small.failed || heading.failed ? error_set(e, STATUS_FAILED, "compare: no memory for figures")
                                                               : figure_write_panels(&panels, stem.data, e);
    strbuf_free(&stem);
    strbuf_free(&small);
    strbuf_free(&heading);
    return status;
}

static int draw_curves(const Work *w, Error *e)
{
    static const char *const sentences[] = {"Bands: 95 % intervals, clustered by template and word pair",
                                            DIFF_DRAW_RATIO_BOUNDS};
    static const double rules[] = {DIFF_STATS_RATIO, 1};
    Curves *c = NULL;
    int status = curves_begin(w, &c, e);
    for (size_t k = 0; !status && k < w->n_categories; k++) {
        size_t n_there = 0;
        for (size_t i = 0; i < w->n; i++)
            n_there += w->summaries[i][k].is_there;
        if (!n_there)
            continue;
        FigurePlot *p = curves_panel(w, c, w->categories[k], "difference / control");
        p->rules = rules;
        p->n_rules = 2;
        for (size_t i = 0; i < w->n; i++) {
            if (!w->summaries[i][k].is_there)
                continue;
            const DiffViewCurve *v =
                diff_view_curve(diff_view_position(category_of(&w->views[i], w->categories[k]), w->position), "norm");
            c->series[c->n - 1][i] = (FigureSeries){
                .label = w->labels[i], .x = c->depths[i], .y = v->ratio, .lo = v->lo, .hi = v->hi, .n = w->views[i].n_points};
        }
    }
    char name[128];
    snprintf(name, sizeof name, "diff_curves_%.60s", w->position);
    for (char *s = name; *s; s++)
        *s = *s == '/' ? '_' : *s;
    if (!status && c->n)
        status = curves_write(w, c, "difference of a pair over that of its matched control", sentences, name, e);
    curves_free(c);
    return status;
}

static int draw_contrast(const Work *w, Error *e)
{
    static const char *const headers[] = {"model", "position", "layer", "depth", "difference", "ci95_lo", "ci95_hi"};
    static const char *const sentences[] = {
        "Mean ratio to the matched control over error categories, minus that over meaning categories",
        DIFF_DRAW_CONTRAST_BOUNDS};
    Curves *c = NULL;
    Table t;
    int status = curves_begin(w, &c, e);
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t k = 0; !status && k < w->views[0].n_contrasts && c->n < MAX_POSITIONS; k++) {
        const DiffViewContrast *first = &w->views[0].contrasts[k];
        if (strcmp(first->curve, "norm") != 0)
            continue;
        curves_panel(w, c, first->position, "error minus meaning")->zero_line = true;
        for (size_t i = 0; i < w->n; i++) {
            const DiffViewContrast *v = diff_view_contrast(&w->views[i], first->position, "norm");
            if (!v || !v->difference)
                continue;
            c->series[c->n - 1][i] = (FigureSeries){.label = w->labels[i],
                                                    .x = c->depths[i],
                                                    .y = v->difference,
                                                    .lo = v->lo,
                                                    .hi = v->hi,
                                                    .n = w->views[i].n_points};
            for (size_t l = 0; l < w->views[i].n_points; l++) {
                table_text(&t, w->labels[i]);
                table_text(&t, first->position);
                table_integer(&t, (long long)l);
                table_number(&t, depth_of(&w->views[i], l), -1);
                table_number(&t, v->difference[l], -1);
                table_number(&t, v->lo ? v->lo[l] : NAN, -1);
                table_number(&t, v->hi ? v->hi[l] : NAN, -1);
            }
        }
    }
    bool is_drawn = !status && c->n;
    if (is_drawn)
        status = curves_write(w, c, "error pairs minus meaning pairs", sentences, "diff_contrast", e);
    if (!status && is_drawn)
        status = write_table(w, "diff_contrast.csv", &t, e);
    else
        table_free(&t);
    curves_free(c);
    return status;
}

/* ---- all ---- */

static int print(const Work *w, Error *e)
{
    static const char *const headers[] = {"category", "model",    "pairs",       "mean ratio",
                                          "smallest", "at depth", "claimed (%)", "about"};
    FILE *out = w->options->common.out;
    Table t;
    StrBuf text = {0};
    if (!out)
        return STATUS_OK;
    if (w->options->common.json) {
        put_json(w, &text);
        if (!text.failed)
            fwrite(text.data, 1, text.len, out);
        strbuf_free(&text);
        return STATUS_OK;
    }
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t k = 0; k < w->n_categories; k++)
        for (size_t i = 0; i < w->n; i++) {
            const Summary *s = &w->summaries[i][k];
            const DiffViewCategory *c = category_of(&w->views[i], w->categories[k]);
            if (!s->is_there || !c)
                continue;
            table_text(&t, c->name);
            table_text(&t, w->labels[i]);
            table_number(&t, c->n_pairs, 0);
            table_number(&t, s->mean_ratio, 3);
            table_number(&t, s->smallest, 3);
            table_number(&t, s->depth_of_smallest, 2);
            table_number(&t, 100 * s->share_claimed, 2);
            table_text(&t, strcmp(c->scope, "category") == 0 ? "the category"
                           : strcmp(c->scope, "words") == 0  ? "these words only"
                                                             : "no test");
        }
    int status = table_write_text(&t, &text, e);
    table_free(&t);
    if (!status)
        fprintf(out,
                "strata diff, %zu results, position %s: difference of pairs over that of the matched control\n\n%s\n%s"
                "Dimensions of different models have nothing to do with each other: only shares are shown.\n"
                "written: %s/compare.json, compare.csv, diff_curves_%s, diff_contrast\nnext:    strata report",
                w->n, w->position, text.data, w->notes.data ? w->notes.data : "", w->output_dir, w->position);
    strbuf_reset(&text);
    for (size_t i = 0; i < w->n; i++) {
        strbuf_putc(&text, ' ');
        strbuf_shell_word(&text, w->views[i].dir);
    }
    if (!status)
        fprintf(out, "%s\n", text.failed ? " DIR ..." : text.data);
    strbuf_free(&text);
    return status;
}

int compare_diff(const StrataCompareOptions *options, Error *e)
{
    Work *w = calloc(1, sizeof *w);
    StrBuf json = {0};
    if (!w)
        return error_set(e, STATUS_FAILED, "compare: no memory");
    w->options = options;
    w->output_dir = options->output_dir ? options->output_dir : "figures/comparisons";
    int status = open_all(w, e);
    if (!status)
        status = file_make_dirs(w->output_dir, e);
    if (!status) {
        w->position = diff_view_headline(&w->views[0]);
        label_results(w);
        list_categories(w);
        note(w);
        summarise_all(w);
        put_json(w, &json);
        status = file_write_text(&json, e, "%s/compare.json", w->output_dir);
    }
    if (!status)
        status = write_csv(w, e);
    if (!status)
        status = draw_curves(w, e);
    if (!status)
        status = draw_contrast(w, e);
    if (!status)
        status = print(w, e);
    for (size_t i = 0; i < w->n; i++)
        diff_view_close(&w->views[i]);
    strbuf_free(&json);
    strbuf_free(&w->notes);
    free(w);
    return status;
}
