/* pos_figure.c: see pos_figure.h. */
#include "experiments/pos_figure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/figure.h"
#include "experiments/figure_axis.h"
#include "experiments/layer_axis.h"
#include "experiments/model_name.h"
#include "experiments/table.h"
#include "experiments/tagger.h"
#include "experiments/tagger_scores.h"

typedef struct Draw {
    const PosRun *run;
    const PosWords *words;
    const PosResults *r;
    const PosGroup *tags;
    const PosValue *all;
    CaptionsLang lang;
    char *dir; /* figures/ */
    size_t order_of[TAGGER_N_UPOS], n_tags;
    bool has_ranked;
} Draw;

static const char *say(const Draw *d, const char *english)
{
    return captions_text(d->lang, english);
}

/* Ends a sentence. */
static void stop(const Draw *d, StrBuf *b)
{
    strbuf_puts(b, d->lang == CAPTIONS_JA ? "。" : ". ");
}

static void put_sentence(const Draw *d, StrBuf *b, const char *english)
{
    strbuf_puts(b, say(d, english));
    stop(d, b);
}

/* ---- orders of things ---- */

static const PosResults *sorting; /* qsort has no context argument */

static const PosValue *all_words(const PosResults *r)
{
    return &pos_results_group(r, "all")->values[0];
}

static double mean_contrast(const PosResults *r, size_t tag)
{
    const PosValue *v = &pos_results_group(r, "upos")->values[tag];
    double sum = 0;
    size_t n = 0;
    for (size_t o = 1; o < r->n_orders; o++)
        if (isfinite(v->orders[o].contrast[POS_PER_WORD].estimate)) {
            sum += v->orders[o].contrast[POS_PER_WORD].estimate;
            n++;
        }
    return n ? sum / (double)n : -INFINITY;
}

static int descending(double x, double y, size_t i, size_t j)
{
    if (isnan(x) || isnan(y))
        return isnan(x) != isnan(y) ? isnan(x) - isnan(y) : (i > j) - (i < j);
    return x != y ? (x < y ? 1 : -1) : (i > j) - (i < j);
}

static int by_change(const void *a, const void *b)
{
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    const PosFigures *f = all_words(sorting)->orders;
    return descending(f[i].delta[POS_PER_WORD].estimate, f[j].delta[POS_PER_WORD].estimate, i, j);
}

static int by_contrast(const void *a, const void *b)
{
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    const PosValue *v = pos_results_group(sorting, "upos")->values;
    if (v[i].is_ranked != v[j].is_ranked)
        return v[i].is_ranked ? -1 : 1;
    if ((v[i].n_words >= POS_MIN_WORDS) != (v[j].n_words >= POS_MIN_WORDS))
        return v[i].n_words >= POS_MIN_WORDS ? -1 : 1;
    return descending(mean_contrast(sorting, i), mean_contrast(sorting, j), i, j);
}

void pos_figure_sort_orders(const PosResults *r, size_t *out)
{
    for (size_t o = 1; o < r->n_orders; o++)
        out[o - 1] = o;
    sorting = r;
    qsort(out, r->n_orders - 1, sizeof *out, by_change);
}

size_t pos_figure_sort_tags(const PosResults *r, size_t *out)
{
    const PosGroup *tags = pos_results_group(r, "upos");
    size_t n = 0;
    for (size_t v = 0; v < tags->n_values; v++)
        if (tags->values[v].n_words)
            out[n++] = v;
    sorting = r;
    qsort(out, n, sizeof *out, by_contrast);
    return n;
}

/* ---- texts ---- */

static void put_title(const Draw *d, StrBuf *b, const char *english)
{
    char name[MODEL_NAME_BYTES];
    strbuf_printf(b, "%s%s%s%s%s", model_name_short(d->run->model, name), d->lang == CAPTIONS_JA ? "、" : " on ",
                  d->run->dataset, d->lang == CAPTIONS_JA ? "：" : ": ", say(d, english));
}

static void put_words(const Draw *d, StrBuf *b)
{
    unsigned long long n = (unsigned long long)d->words->n_status[POS_COUNTED];
    if (d->lang == CAPTIONS_JA)
        strbuf_printf(b, "<unk> を含まない本文の単語 %llu 語（%zu %s）", n, d->all->n_units,
                      say(d, d->run->units_are_articles ? "articles" : "windows"));
    else
        strbuf_printf(b, "%llu words of body rows without <unk>, from %zu %s", n, d->all->n_units,
                      d->run->units_are_articles ? "articles" : "windows");
    stop(d, b);
}

/* The tagger's F1 of the tags shown, and what it was measured on. */
static void put_scores(const Draw *d, StrBuf *b)
{
    if (d->words->is_gold) {
        put_sentence(d, b, "Tags were given (gold)");
        return;
    }
    if (isnan(tagger_scores_accuracy())) {
        put_sentence(d, b, "The tagger's F1 has not been measured for this version of it");
        return;
    }
    strbuf_printf(
        b, d->lang == CAPTIONS_JA ? "品詞タガーの F1（%%、%s、正解トークン）：" : "Tagger's F1 (%%) on %s, gold tokens: ",
        tagger_scores_corpus());
    for (size_t i = 0; i < d->n_tags; i++)
        strbuf_printf(b, "%s%s %.1f", i ? ", " : "", d->tags->values[d->order_of[i]].name,
                      100 * tagger_scores_f1((int)d->order_of[i]));
    stop(d, b);
    put_sentence(d, b, "It was not measured on this corpus");
}

static void put_not_ranked(const Draw *d, StrBuf *b)
{
    bool any = false;
    if (!d->has_ranked) {
        put_sentence(d, b, "Fewer than 20 units: no intervals, and no tag is ranked");
        return;
    }
    for (size_t i = 0; i < d->n_tags; i++) {
        const PosValue *v = &d->tags->values[d->order_of[i]];
        if (v->is_ranked)
            continue;
        strbuf_printf(b, "%s%s", any ? ", " : say(d, "Not ranked (fewer than 100 words or 20 units): "), v->name);
        any = true;
    }
    if (any)
        stop(d, b);
}

static bool is_shown(const Draw *d, const PosValue *v)
{
    return v->is_ranked || (!d->has_ranked && v->n_words >= POS_MIN_WORDS);
}

static const char *x_label(const Draw *d)
{
    const char *label = layer_axis_label(d->run->experiment);
    return say(d, label ? label : "order");
}

static double place_of(const Draw *d, size_t order)
{
    return layer_axis_label(d->run->experiment) ? layer_axis_place(d->run->experiment, d->run->orders[order].name)
                                                : (double)(order - 1);
}

static int write_csv(const Draw *d, const char *stem, const Table *t, Error *e)
{
    return table_save_csv(t, e, "%s/%s.csv", d->dir, stem);
}

static void put_interval(Table *t, const StatisticsInterval *x)
{
    table_number(t, x->estimate, -1);
    table_number(t, x->lo, -1);
    table_number(t, x->hi, -1);
    table_number(t, x->lo_simultaneous, -1);
    table_number(t, x->hi_simultaneous, -1);
}

/* ---- the heat map ---- */

/* Names of columns; NULL where they are the numbers from 0. numbers: memory for them. */
static const char **column_names(const Draw *d, char (*numbers)[24], const char **names)
{
    bool has_axis = layer_axis_label(d->run->experiment) && strcmp(d->run->experiment, "replace") != 0, plain = has_axis;
    for (size_t o = 1; o < d->r->n_orders; o++) {
        plain = plain && place_of(d, o) == (double)(o - 1);
        figure_number(place_of(d, o), numbers[o - 1]);
        names[o - 1] = has_axis ? numbers[o - 1] : d->run->orders[o].name;
    }
    return plain ? NULL : names;
}

static int draw_heatmap(const Draw *d, Error *e)
{
    static const char *const headers[] = {"tag",     "is_ranked", "order",     "place",    "word_contrast",
                                          "ci95_lo", "ci95_hi",   "maxt95_lo", "maxt95_hi"};
    size_t n_cols = d->r->n_orders - 1, n = d->n_tags * n_cols;
    const char *rows[TAGGER_N_UPOS], **names = calloc(n_cols, sizeof *names);
    char(*numbers)[24] = calloc(n_cols, sizeof *numbers);
    double *values = calloc(n, sizeof *values);
    unsigned char *greyed = calloc(n, 2), *marked = greyed ? greyed + n : NULL;
    StrBuf title = {0}, note = {0}, stem = {0};
    Table t;
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    int status = names && numbers && values && greyed ? STATUS_OK : error_set(e, STATUS_FAILED, "%s: no memory", d->dir);
    for (size_t i = 0; !status && i < n; i++) {
        const PosValue *v = &d->tags->values[d->order_of[i / n_cols]];
        size_t o = i % n_cols + 1;
        const StatisticsInterval *x = &v->orders[o].contrast[POS_PER_WORD];
        rows[i / n_cols] = v->name;
        values[i] = x->estimate;
        greyed[i] = !is_shown(d, v);
        marked[i] = x->lo_simultaneous > 0 || x->hi_simultaneous < 0;
        table_text(&t, v->name);
        table_integer(&t, v->is_ranked);
        table_text(&t, d->run->orders[o].name);
        table_number(&t, place_of(d, o), -1);
        put_interval(&t, x);
    }
    put_title(d, &title, "change of loss per word, minus that of all other words");
    put_words(d, &note);
    if (d->has_ranked) {
        put_sentence(d, &note, "Dot: differs from the other words (simultaneous 95 % interval over all tags and orders)");
        put_sentence(d, &note, "Grey: fewer than 100 words or 20 units, not ranked");
    } else {
        put_not_ranked(d, &note);
        put_sentence(d, &note, "Grey: fewer than 100 words");
    }
    put_scores(d, &note);
    strbuf_printf(&stem, "%s/pos_heatmap", d->dir);
    FigureHeatmap map = {.title = title.data,
                         .x_label = x_label(d),
                         .y_label = say(d, "part of speech"),
                         .value_label = say(d, "difference (nats per word)"),
                         .values = values,
                         .greyed = greyed,
                         .marked = marked,
                         .n_rows = d->n_tags,
                         .n_cols = n_cols,
                         .row_names = rows,
                         .diverging = true,
                         .scale = FIGURE_SCALE_AUTO,
                         .note = note.data,
                         .width_mm = FIGURE_WIDE_MM};
    if (!status && (title.failed || note.failed || stem.failed))
        status = error_set(e, STATUS_FAILED, "%s: no memory", d->dir);
    if (!status) {
        map.col_names = column_names(d, numbers, names);
        status = figure_write_heatmap(&map, stem.data, e);
    }
    if (!status)
        status = write_csv(d, "pos_heatmap", &t, e);
    table_free(&t);
    strbuf_free(&title);
    strbuf_free(&note);
    strbuf_free(&stem);
    free(names);
    free(numbers);
    free(values);
    free(greyed);
    return status;
}

/* ---- lines ---- */

/* x, y, lo, hi of a value: memory [4, n_orders - 1]. */
static FigureSeries series_of(const Draw *d, const PosValue *v, const char *label, double *memory)
{
    size_t n = d->r->n_orders - 1;
    for (size_t o = 1; o <= n; o++) {
        const StatisticsInterval *x = &v->orders[o].delta[POS_PER_WORD];
        memory[o - 1] = place_of(d, o);
        memory[n + o - 1] = x->estimate;
        memory[2 * n + o - 1] = x->lo;
        memory[3 * n + o - 1] = x->hi;
    }
    return (FigureSeries){.label = label, .x = memory, .y = memory + n, .lo = memory + 2 * n, .hi = memory + 3 * n, .n = n};
}

static int draw_lines(const Draw *d, Error *e)
{
    static const char *const headers[] = {"tag", "order", "place", "delta_word_nll", "ci95_lo", "ci95_hi"};
    size_t n = d->r->n_orders - 1, n_plots = 0;
    double *memory = calloc((d->n_tags + 1) * n, 4 * sizeof *memory);
    FigureSeries series[TAGGER_N_UPOS][2];
    FigurePlot plots[TAGGER_N_UPOS];
    StrBuf title = {0}, note = {0}, stem = {0};
    Table t;
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    put_title(d, &title, "change of loss per word");
    put_words(d, &note);
    if (d->has_ranked)
        put_sentence(d, &note, "Bands: pointwise 95 % intervals, paired bootstrap");
    put_not_ranked(d, &note);
    put_scores(d, &note);
    strbuf_printf(&stem, "%s/pos_lines", d->dir);
    int status = memory && !title.failed && !note.failed && !stem.failed ? STATUS_OK
                                                                         : error_set(e, STATUS_FAILED, "%s: no memory", d->dir);
    FigureSeries all = {0};
    if (!status) {
        all = series_of(d, d->all, say(d, "all words"), memory);
        all.lo = all.hi = NULL;
    }
    for (size_t i = 0; !status && i <= d->n_tags; i++) {
        const PosValue *v = i < d->n_tags ? &d->tags->values[d->order_of[i]] : d->all;
        for (size_t o = 1; o <= n; o++) {
            const StatisticsInterval *x = &v->orders[o].delta[POS_PER_WORD];
            table_text(&t, v->name);
            table_text(&t, d->run->orders[o].name);
            table_number(&t, place_of(d, o), -1);
            table_number(&t, x->estimate, -1);
            table_number(&t, x->lo, -1);
            table_number(&t, x->hi, -1);
        }
        if (i == d->n_tags || !is_shown(d, v))
            continue;
        series[n_plots][0] = series_of(d, v, say(d, "words of this part of speech"), memory + (i + 1) * 4 * n);
        series[n_plots][1] = all;
        plots[n_plots] = (FigurePlot){.title = v->name,
                                      .style = FIGURE_LINES,
                                      .x = {.label = x_label(d), .integers = true},
                                      .y = {.label = say(d, "change of loss (nats per word)"), .scale = FIGURE_SCALE_AUTO},
                                      .series = series[n_plots],
                                      .n_series = 2,
                                      .zero_line = true};
        n_plots++;
    }
    FigurePanels panels = {
        .title = title.data, .plots = plots, .n_plots = n_plots, .note = note.data, .width_mm = FIGURE_WIDE_MM};
    if (!status && n_plots)
        status = figure_write_panels(&panels, stem.data, e);
    if (!status)
        status = write_csv(d, "pos_lines", &t, e);
    table_free(&t);
    strbuf_free(&title);
    strbuf_free(&note);
    strbuf_free(&stem);
    free(memory);
    return status;
}

/* ---- bars ---- */

static int draw_bars(const Draw *d, size_t order, bool is_worst, Error *e)
{
    static const char *const headers[] = {"tag", "order", "word_contrast", "ci95_lo", "ci95_hi", "maxt95_lo", "maxt95_hi"};
    const char *name = is_worst ? "pos_bars_worst" : "pos_bars", *names[TAGGER_N_UPOS];
    double y[TAGGER_N_UPOS], lo[TAGGER_N_UPOS], hi[TAGGER_N_UPOS];
    size_t tags[TAGGER_N_UPOS], n = 0;
    StrBuf title = {0}, note = {0}, stem = {0};
    Table t;
    table_begin(&t, headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; i < d->n_tags; i++)
        if (is_shown(d, &d->tags->values[d->order_of[i]]))
            tags[n++] = d->order_of[i];
    for (size_t i = 1; i < n; i++) /* most affected under this order first */
        for (size_t k = i; k > 0 && d->tags->values[tags[k]].orders[order].contrast[POS_PER_WORD].estimate >
                                        d->tags->values[tags[k - 1]].orders[order].contrast[POS_PER_WORD].estimate;
             k--) {
            size_t kept = tags[k];
            tags[k] = tags[k - 1];
            tags[k - 1] = kept;
        }
    for (size_t i = 0; i < n; i++) {
        const PosValue *v = &d->tags->values[tags[i]];
        const StatisticsInterval *x = &v->orders[order].contrast[POS_PER_WORD];
        names[i] = v->name;
        y[i] = x->estimate;
        lo[i] = x->lo_simultaneous;
        hi[i] = x->hi_simultaneous;
        table_text(&t, v->name);
        table_text(&t, d->run->orders[order].name);
        put_interval(&t, x);
    }
    put_title(d, &title, "change of loss per word, minus that of all other words");
    strbuf_printf(&title, d->lang == CAPTIONS_JA ? "、%s" : ", %s", d->run->orders[order].name);
    put_sentence(d, &note, is_worst ? "The order of greatest effect on all words" : "The order of median effect on all words");
    put_words(d, &note);
    if (d->has_ranked)
        put_sentence(d, &note, "Whiskers: simultaneous 95 % intervals over all tags and orders");
    put_not_ranked(d, &note);
    put_scores(d, &note);
    strbuf_printf(&stem, "%s/%s", d->dir, name);
    FigureSeries series = {.y = y, .lo = lo, .hi = hi, .n = n};
    FigurePlot plot = {.title = title.data,
                       .style = FIGURE_BARS,
                       .x = {.label = say(d, "part of speech"), .names = names, .n_names = n},
                       .y = {.label = say(d, "difference (nats per word)")},
                       .series = &series,
                       .n_series = 1,
                       .zero_line = true,
                       .note = note.data,
                       .height_mm = 0,
                       .width_mm = FIGURE_NARROW_MM};
    int status = title.failed || note.failed || stem.failed ? error_set(e, STATUS_FAILED, "%s: no memory", d->dir) : STATUS_OK;
    if (!status && n)
        status = figure_write_plot(&plot, stem.data, e);
    if (!status)
        status = write_csv(d, name, &t, e);
    table_free(&t);
    strbuf_free(&title);
    strbuf_free(&note);
    strbuf_free(&stem);
    return status;
}

int pos_figure_write(const PosRun *run, const PosWords *words, const PosResults *r, CaptionsLang lang, Error *e)
{
    Draw d = {.run = run, .words = words, .r = r, .tags = pos_results_group(r, "upos"), .all = all_words(r), .lang = lang};
    size_t *orders = calloc(r->n_orders, sizeof *orders);
    d.dir = file_join(run->dir, "figures");
    d.n_tags = pos_figure_sort_tags(r, d.order_of);
    for (size_t v = 0; v < d.tags->n_values; v++)
        d.has_ranked = d.has_ranked || d.tags->values[v].is_ranked;
    int status = orders && d.dir ? file_make_dirs(d.dir, e) : error_set(e, STATUS_FAILED, "%s: no memory", run->dir);
    if (!status && r->n_orders > 1 && d.n_tags) {
        pos_figure_sort_orders(r, orders);
        status = draw_heatmap(&d, e);
        if (!status)
            status = draw_lines(&d, e);
        if (!status)
            status = draw_bars(&d, orders[(r->n_orders - 1) / 2], false, e);
        if (!status)
            status = draw_bars(&d, orders[0], true, e);
    }
    free(orders);
    free(d.dir);
    return status;
}
