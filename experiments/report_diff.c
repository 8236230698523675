/* report_diff.c: see report_diff.h. */
#include "experiments/report_diff.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/diff_draw.h"
#include "experiments/diff_figure.h"
#include "experiments/diff_stats.h"
#include "experiments/diff_view.h"
#include "experiments/figure.h"
#include "experiments/latex.h"
#include "experiments/table.h"

enum { LISTED = 5 }; /* coordinates of a category in the LaTeX table; all that the file lists in the CSV */

typedef struct Work {
    Report *p;
    const DiffView *v;
    const char *prefix, *position;
    CaptionsLang lang;
    bool writes_csv; /* once, not once a language */
} Work;

static const char *say(const Work *w, const char *english)
{
    return captions_text(w->lang, english);
}

static int write_named(const Work *w, const char *name, const char *ending, const StrBuf *text, const char *what, Error *e)
{
    char file[700];
    snprintf(file, sizeof file, "%s%s%s", w->prefix, name, ending);
    return report_write(w->p, file, text, what, e);
}

static int write_csv(const Work *w, const char *name, const Table *t, const char *what, Error *e)
{
    StrBuf text = {0};
    int status = table_write_csv(t, &text, e);
    if (!status)
        status = write_named(w, name, ".csv", &text, what, e);
    strbuf_free(&text);
    return status;
}

/* In pieces of REPORT_ROWS lines, each with the headers, so that each fits a page. */
static int write_latex(const Work *w, const char *name, const Table *t, const char *caption, const char *what, Error *e)
{
    StrBuf text = {0}, title = {0};
    size_t n_rows = t->n_cols ? t->n_cells / t->n_cols - 1 : 0, piece_rows = report_piece(n_rows);
    size_t most = t->n_cols * (piece_rows + 1);
    TableCell *cells = calloc(most ? most : 1, sizeof *cells);
    int status = cells ? STATUS_OK : error_set(e, STATUS_FAILED, "%s: no memory", name);
    for (size_t first = 0; !status && (first < n_rows || first == 0); first += piece_rows) {
        size_t n = n_rows - first < piece_rows ? n_rows - first : piece_rows;
        Table piece = {.n_cols = t->n_cols, .n_cells = t->n_cols * (n + 1), .cells = cells, .failed = t->failed};
        memcpy(cells, t->cells, t->n_cols * sizeof *cells);
        memcpy(cells + t->n_cols, t->cells + t->n_cols * (first + 1), t->n_cols * n * sizeof *cells);
        strbuf_reset(&title);
        strbuf_printf(&title, "%s%s", say(w, caption), first ? say(w, " (continued)") : "");
        status = table_write_latex(&piece, title.data, NULL, &text, e);
    }
    if (!status)
        status = write_named(w, name, w->lang == CAPTIONS_JA ? ".ja.tex" : ".tex", &text, what, e);
    free(cells);
    strbuf_free(&text);
    strbuf_free(&title);
    return status;
}

/* ---- tables ---- */

static const char *scope_text(const Work *w, const DiffViewCategory *c)
{
    return say(w, c->n_matched == 0                   ? "no test"
                  : c->control_is_far                 ? "none: control too far"
                  : strcmp(c->scope, "category") == 0 ? "the category"
                  : strcmp(c->scope, "words") == 0    ? "these words only"
                                                      : "no test");
}

static double claims_of(const DiffViewCategory *c)
{
    double n = 0;
    for (size_t k = 0; k < c->n_positions; k++)
        n += isfinite(c->positions[k].n_claims) ? c->positions[k].n_claims : 0;
    return n;
}

static void fill_categories(const Work *w, bool csv, Table *t)
{
    static const char *const plain[] = {"category",     "kind",     "n_pairs", "n_templates",
                                        "n_word_pairs", "n_claims", "scope",   "control_is_far"};
    const char *headers[] = {say(w, "category"),   say(w, "kind"),   say(w, "pairs"),       say(w, "templates"),
                             say(w, "word pairs"), say(w, "claims"), say(w, "claims about")};
    table_begin(t, csv ? plain : headers, sizeof headers / sizeof *headers + csv);
    for (size_t i = 0; i < w->v->n_categories; i++) {
        const DiffViewCategory *c = &w->v->categories[i];
        table_text(t, csv ? c->name : say(w, c->name));
        table_text(t, csv ? c->kind : say(w, c->kind));
        table_number(t, c->n_pairs, csv ? -1 : 0);
        table_number(t, c->n_templates, csv ? -1 : 0);
        table_number(t, c->n_word_pairs, csv ? -1 : 0);
        table_number(t, claims_of(c), csv ? -1 : 0);
        table_text(t, csv ? c->scope : scope_text(w, c));
        if (csv)
            table_integer(t, c->control_is_far);
    }
}

typedef struct Lowest {
    double mean, ratio, lo, hi;
    size_t layer;
} Lowest;

static Lowest lowest_of(const Work *w, const DiffViewPosition *at)
{
    Lowest x = {NAN, NAN, NAN, NAN, 0};
    const DiffViewCurve *c = diff_view_curve(at, "norm");
    double sum = 0, n = 0;
    for (size_t l = 0; c && c->ratio && l < w->v->n_points; l++) {
        if (!isfinite(c->ratio[l]))
            continue;
        sum += c->ratio[l];
        n++;
        if (!(x.ratio <= c->ratio[l])) /* NaN at first */
            x = (Lowest){NAN, c->ratio[l], c->lo ? c->lo[l] : NAN, c->hi ? c->hi[l] : NAN, l};
    }
    x.mean = n > 0 ? sum / n : NAN;
    return x;
}

static void fill_layers(const Work *w, bool csv, Table *t)
{
    static const char *const plain[] = {"category", "position", "n_pairs", "mean_ratio", "smallest_ratio",
                                        "ci95_lo",  "ci95_hi",  "layer",   "n_claims"};
    const char *headers[] = {say(w, "category"), say(w, "position"),  say(w, "pairs"), say(w, "mean ratio"), say(w, "smallest"),
                             say(w, "from"),     say(w, "to (95 %)"), say(w, "layer"), say(w, "claims")};
    table_begin(t, csv ? plain : headers, sizeof plain / sizeof *plain);
    for (size_t i = 0; i < w->v->n_categories; i++)
        for (size_t k = 0; k < w->v->categories[i].n_positions; k++) {
            const DiffViewPosition *at = &w->v->categories[i].positions[k];
            Lowest x = lowest_of(w, at);
            table_text(t, csv ? w->v->categories[i].name : say(w, w->v->categories[i].name));
            table_text(t, csv ? at->name : say(w, at->name));
            table_number(t, at->n_pairs, csv ? -1 : 0);
            table_number(t, x.mean, csv ? -1 : 3);
            table_number(t, x.ratio, csv ? -1 : 3);
            table_number(t, x.lo, csv ? -1 : 3);
            table_number(t, x.hi, csv ? -1 : 3);
            table_number(t, isfinite(x.ratio) ? (double)x.layer : NAN, csv ? -1 : 0);
            table_number(t, at->n_claims, csv ? -1 : 0);
        }
}

static void fill_dimensions(const Work *w, bool csv, Table *t)
{
    static const char *const plain[] = {"category", "position", "layer", "dim",    "mean_sigmas", "control_sigmas",
                                        "ratio",    "upper95",  "p",     "half_0", "half_1",      "claim"};
    const char *headers[] = {say(w, "category"),      say(w, "layer"),  say(w, "dimension"),
                             say(w, "mean (sigmas)"), say(w, "ratio"),  say(w, "bound (95 %)"),
                             say(w, "half 1"),        say(w, "half 2"), say(w, "claim")};
    if (csv)
        table_begin(t, plain, sizeof plain / sizeof *plain);
    else
        table_begin(t, headers, sizeof headers / sizeof *headers);
    for (size_t i = 0; i < w->v->n_categories; i++)
        for (size_t k = 0; k < w->v->categories[i].n_positions; k++) {
            const DiffViewPosition *at = &w->v->categories[i].positions[k];
            bool is_shown = csv || strcmp(at->name, w->position) == 0;
            for (size_t m = 0; is_shown && m < at->n_ranked && (csv || m < LISTED); m++) {
                const DiffViewCell *c = &at->ranked[m];
                table_text(t, csv ? w->v->categories[i].name : say(w, w->v->categories[i].name));
                if (csv)
                    table_text(t, at->name);
                table_integer(t, (long long)c->layer);
                table_integer(t, (long long)c->dim);
                table_number(t, c->mean, csv ? -1 : 3);
                if (csv)
                    table_number(t, c->control, -1);
                table_number(t, c->ratio, csv ? -1 : 3);
                table_number(t, c->upper, csv ? -1 : 3);
                if (csv)
                    table_number(t, c->p, -1);
                table_number(t, c->half_ratio[0], csv ? -1 : 3);
                table_number(t, c->half_ratio[1], csv ? -1 : 3);
                if (csv)
                    table_integer(t, c->is_claim);
                else
                    table_text(t, say(w, c->is_claim ? "yes" : "no"));
            }
        }
}

static int write_tables(const Work *w, Error *e)
{
    static const struct {
        const char *name, *caption, *what;
        void (*fill)(const Work *w, bool csv, Table *t);
    } tables[] = {
        {"diff_categories",
         "Pairs that differ in one token, and claims of dimensions that change less than under the matched control.",
         "pairs, templates, word pairs and claims by category", fill_categories},
        {"diff_layers",
         "Difference of pairs over that of the matched control: mean over layers, and the layer where it is smallest.",
         "ratio to the control by category and position", fill_layers},
        {"diff_dimensions",
         "Coordinates with the smallest ratio to the control, with its one-sided bound and the estimates of both halves of the "
         "templates.",
         "coordinates with the smallest ratios", fill_dimensions},
    };
    int status = STATUS_OK;
    for (size_t i = 0; !status && i < sizeof tables / sizeof *tables; i++) {
        Table t;
        tables[i].fill(w, false, &t);
        status = write_latex(w, tables[i].name, &t, tables[i].caption, tables[i].what, e);
        table_free(&t);
        if (status || !w->writes_csv)
            continue;
        tables[i].fill(w, true, &t);
        status = write_csv(w, tables[i].name, &t, "the same, all digits", e);
        table_free(&t);
    }
    return status;
}

/* ---- figures ---- */

static int write_figures(const Work *w, Error *e)
{
    static const double widths[] = {FIGURE_NARROW_MM, FIGURE_WIDE_MM};
    char *folder = file_join(w->p->output_dir, "figures");
    int status = folder ? file_make_dirs(folder, e) : error_set(e, STATUS_FAILED, "report: no memory");
    CaptionsLang lang = captions_for_figures(w->lang, w->p->options->common.quiet);
    for (size_t i = 0; !status && i < 2; i++) {
        char suffix[32];
        snprintf(suffix, sizeof suffix, "_%.0fmm%s", widths[i], w->lang == CAPTIONS_JA ? "_ja" : "");
        DiffFigure f = {.r = w->v,
                        .position = w->position,
                        .lang = lang,
                        .width_mm = widths[i],
                        .folder = folder,
                        .prefix = w->prefix,
                        .suffix = suffix};
        status = diff_figure_curves(&f, e);
        if (!status)
            status = diff_figure_control(&f, e);
        if (!status)
            status = diff_figure_contrast(&f, e);
        if (!status)
            status = diff_figure_claims(&f, e);
        if (!status)
            status = diff_figure_margins(&f, e);
        for (size_t k = 0; !status && i == 1 && k < w->v->n_categories; k++) /* they need the width */
            status = diff_figure_category(&f, &w->v->categories[k], e);
    }
    if (!status)
        strbuf_printf(&w->p->index,
                      "| figures/%scurves, control, contrast, claims, margins_84mm%s, _174mm%s; "
                      "heatmap, stable, bars, plain, histogram, scatter_CATEGORY_174mm%s | figures of strata diff |\n",
                      w->prefix, w->lang == CAPTIONS_JA ? "_ja" : "", w->lang == CAPTIONS_JA ? "_ja" : "",
                      w->lang == CAPTIONS_JA ? "_ja" : "");
    free(folder);
    return status;
}

/* ---- methods ---- */

static void count_scopes(const DiffView *v, size_t *n_category, size_t *n_words)
{
    *n_category = *n_words = 0;
    for (size_t i = 0; i < v->n_categories; i++) {
        *n_category += strcmp(v->categories[i].scope, "category") == 0;
        *n_words += strcmp(v->categories[i].scope, "words") == 0;
    }
}

/* Categories that claim nothing since their control is too far; false where there are none. */
static bool list_far(const Work *w, StrBuf *out)
{
    size_t n = 0;
    for (size_t i = 0; i < w->v->n_categories; i++)
        if (w->v->categories[i].control_is_far)
            strbuf_printf(out, "%s%s", n++ ? (w->lang == CAPTIONS_JA ? "、" : ", ") : "", say(w, w->v->categories[i].name));
    return n > 0;
}

static void list_names(const Work *w, const char *kind, StrBuf *out)
{
    size_t n = 0;
    for (size_t i = 0; i < w->v->n_categories; i++)
        if (strcmp(w->v->categories[i].kind, kind) == 0)
            strbuf_printf(out, "%s%s", n++ ? (w->lang == CAPTIONS_JA ? "、" : ", ") : "", say(w, w->v->categories[i].name));
    if (!n)
        strbuf_puts(out, w->lang == CAPTIONS_JA ? "なし" : "none");
}

static void methods_en(const Work *w, StrBuf *out)
{
    const DiffView *v = w->v;
    size_t n_category, n_words;
    count_scopes(v, &n_category, &n_words);
    strbuf_printf(
        out,
        "# Methods\n\nPairs of sentences that differ in exactly one token under the model's tokenizer (%.0f pairs; meaning: ",
        v->n_pairs);
    list_names(w, "meaning", out);
    strbuf_puts(out, "; grammar errors: ");
    list_names(w, "error", out);
    strbuf_printf(
        out,
        ") were run through %s (%zu layers, width %zu, %s arithmetic, %s numerics). At each layer and dimension of the "
        "residual "
        "stream the difference of a pair is d = |x_b - x_a| / sigma, with sigma the standard deviation at that layer and "
        "dimension over a held-out corpus (%s) without first tokens and massive activations. Positions before the edit are "
        "not averaged in. The control of each pair is another edit of the same sentence, drawn from the same category and "
        "matched in "
        "frequency, embedding distance and position; what is reported is the ratio of mean d over pairs to that over "
        "controls.\n\n",
        v->name, v->n_layers, v->hidden, v->dtype, v->numerics, *v->corpus ? v->corpus : "see run.json");
    strbuf_printf(
        out,
        "A dimension is said to change little at a layer if the one-sided 95 %% upper bound of this ratio is below %.1f (set "
        "beforehand) after control of the false discovery rate at 5 %% (Benjamini and Hochberg 1995) over all layers, "
        "dimensions, "
        "positions and categories, and if the estimate is below %.1f in both halves of the templates. Variances are clustered "
        "by "
        "template and by edited word pair (two-way jackknife, the largest of the one-way and two-way variances; Cameron, "
        "Gelbach and Miller 2011; MacKinnon, Nielsen and Webb 2024), the ratio is tested by Fieller's method and on the log "
        "scale, the larger p "
        "counting, with Hall's correction for skewness and Satterthwaite's degrees of freedom. Of %.0f tests %.0f were "
        "rejected (%.0f under any "
        "dependence, Benjamini and Yekutieli 2001); %.0f claims remain. ",
        DIFF_STATS_RATIO, DIFF_STATS_RATIO, v->n_tested, v->n_rejected, v->n_rejected_any_dependence, v->n_claims);
    strbuf_printf(out,
                  "%zu categories have pairs with a control from at least %d templates and %d word pairs; claims of the %zu "
                  "others are about these words only. ",
                  n_category, DIFF_STATS_MIN_CLUSTERS, DIFF_STATS_MIN_CLUSTERS, n_words);
    StrBuf far = {0};
    if (list_far(w, &far))
        strbuf_printf(
            out,
            "Where the tokens of the control lie on average more than %.0f %% farther apart in the embedding than those of "
            "the pairs, the control's differences are scaled down in proportion to the distance, which bounds the ratio of the "
            "whole stream from above but not that of each dimension: in such categories (%s) no dimension is claimed, and the "
            "interval of a contrast spans all ratios that the distances leave open. ",
            100 * DIFF_STATS_FARTHER, far.data);
    strbuf_free(&far);
    strbuf_puts(
        out,
        "Error "
        "correction is judged by the contrast of error minus meaning categories (Welch's interval); stability alone does not "
        "show it.\n");
}

static void methods_ja(const Work *w, StrBuf *out)
{
    const DiffView *v = w->v;
    size_t n_category, n_words;
    count_scopes(v, &n_category, &n_words);
    strbuf_printf(out, "# 手法\n\nモデルのトークナイザーのもとで一つのトークンだけが異なる文の対（%.0f 対。意味：", v->n_pairs);
    list_names(w, "meaning", out);
    strbuf_puts(out, "。文法の誤り：");
    list_names(w, "error", out);
    strbuf_printf(
        out,
        "）を %s（%zu 層、幅 %zu、演算は %s、%s）に入力した。残差ストリームの各層・各次元における対の差を d = |x_b - x_a| / σ "
        "とする。σ "
        "は別のコーパス（%s）における同じ層・次元の標準偏差で、先頭トークンと極端に大きい活性は除いた。編集位置より前は平均に"
        "含めない。各対の対照は同じ文の別の置き換えで、同じカテゴリーから、頻度・埋め込みの距離・位置を合わせて選んだ。"
        "報告するのは、対における d の平均と対照における d の平均の比である。\n\n",
        v->name, v->n_layers, v->hidden, v->dtype, v->numerics, *v->corpus ? v->corpus : "run.json を参照");
    strbuf_printf(
        out,
        "この比の片側 95 %% 上限が（事前に定めた）%.1f を下回り、全ての層・次元・位置・カテゴリーにわたる偽発見率を 5 %% に制御"
        "（Benjamini・Hochberg 1995）したうえで棄却され、かつテンプレートの両半分で推定値が %.1f "
        "を下回るとき、その次元はその層で変化が"
        "小さいと主張する。分散はテンプレートと編集した単語対の二方向でクラスタ化した（二方向ジャックナイフ。一方向と二方向の分"
        "散の最大"
        "を用いる。Cameron・Gelbach・Miller 2011、MacKinnon・Nielsen・Webb 2024）。比は Fieller "
        "の方法と対数尺度の両方で検定し大きい方の p "
        "を採り、Hall の歪度補正と Satterthwaite の自由度を用いた。%.0f 個の検定のうち棄却は %.0f 個（任意の従属性のもとでは "
        "%.0f 個。Benjamini・Yekutieli "
        "2001）、主張は %.0f 個である。",
        DIFF_STATS_RATIO, DIFF_STATS_RATIO, v->n_tested, v->n_rejected, v->n_rejected_any_dependence, v->n_claims);
    strbuf_printf(out,
                  "%zu 個のカテゴリーでは、対照をもつ対がテンプレートと単語対のそれぞれ %d 以上にわたる。それ以外の %zu "
                  "個についての主張は、用いた単語についてのみのものである。",
                  n_category, DIFF_STATS_MIN_CLUSTERS, n_words);
    StrBuf far = {0};
    if (list_far(w, &far))
        strbuf_printf(
            out,
            "埋め込みにおいて対照のトークン同士が対のトークン同士より平均で %.0f %% "
            "を超えて離れている場合、対照の差を距離に比例して縮める。これは残差ストリーム全体の比の上限を与えるが、"
            "個々の次元の比の上限とはならない。そのため該当するカテゴリー（%s）では次元についての主張をせず、対比の区間は"
            "距離から定まらない比の範囲をすべて含む。",
            100 * DIFF_STATS_FARTHER, far.data);
    strbuf_free(&far);
    strbuf_puts(out, "誤り訂正への関与は、誤りカテゴリーと意味カテゴリーの差（Welch の区間）で判断する。安定であることだけでは"
                     "それを示さない。\n");
}

static int write_methods(const Work *w, Error *e)
{
    bool ja = w->lang == CAPTIONS_JA;
    StrBuf out = {0};
    (ja ? methods_ja : methods_en)(w, &out);
    StrBuf name = {0};
    strbuf_printf(&name, "%sdiff_methods", w->prefix);
    int status =
        name.failed ? error_set(e, STATUS_FAILED, "report: no memory") : report_prose(w->p, name.data, w->lang, &out, e);
    strbuf_free(&name);
    strbuf_free(&out);
    return status;
}

/* ---- the document ---- */

typedef struct Shown {
    const char *name, *title;
    int width_mm;
} Shown;

/* What the result does not have was not drawn. part: of the file's name; category NULL: of all. */
static void show_figure(const Work *w, const Shown *shown, const char *part, const char *category, StrBuf *out)
{
    const DiffFigure f = {.r = w->v, .lang = w->lang};
    StrBuf file = {0}, path = {0}, caption = {0};
    strbuf_printf(&file, "figures/%s%s%s%s_%dmm%s.pdf", w->prefix, shown->name, *part ? "_" : "", part, shown->width_mm,
                  w->lang == CAPTIONS_JA ? "_ja" : "");
    strbuf_printf(&path, "%s/%s", w->p->output_dir, file.failed ? "" : file.data);
    diff_draw_title(&f, shown->title, category, *part ? w->position : NULL, &caption);
    strbuf_puts(&caption, w->lang == CAPTIONS_JA ? "。" : ".");
    if (file.failed || path.failed || caption.failed)
        out->failed = true;
    else if (file_exists(path.data))
        latex_figure(out, (const char *const[]){file.data}, &shown->width_mm, 1, caption.data);
    strbuf_free(&file);
    strbuf_free(&path);
    strbuf_free(&caption);
}

static int write_document(const Work *w, Error *e)
{
    static const Shown layered[] = {
        {"curves", "difference of a pair over that of its matched control", 174},
        {"control", "differences and their controls", 174},
        {"relative", "difference relative to the stream", 174},
        {"cosine", "cosine of the two streams of a pair", 174},
        {"kl", "what the logit lens would say: divergence within a pair", 174},
        {"claims", "dimensions that change less than under the control", 174},
        {"margins", "dimensions whose mean change stays under a margin", 84},
    };
    static const Shown contrast = {"contrast", "error pairs minus meaning pairs", 174},
                       heatmap = {"heatmap", "change by layer and dimension", 174},
                       stable = {"stable", "the most stable dimensions", 174};
    bool ja = w->lang == CAPTIONS_JA;
    const char *ending = ja ? ".ja.tex" : ".tex";
    StrBuf out = {0}, file = {0};
    strbuf_printf(&file, "%sdiff%s", w->prefix, ending);
    latex_begin(&out, w->lang, file.failed ? "" : file.data);
    strbuf_printf(&out,
                  "\\input{%sdiff_methods%s}\n\\input{%sdiff_categories%s}\n\\input{%sdiff_layers%s}\n\\clearpage\n"
                  "\\input{%sdiff_dimensions%s}\n",
                  w->prefix, ending, w->prefix, ending, w->prefix, ending, w->prefix, ending);
    for (size_t i = 0; i < sizeof layered / sizeof *layered; i++)
        show_figure(w, &layered[i], w->position, NULL, &out);
    show_figure(w, &contrast, "", NULL, &out);
    strbuf_puts(&out, "\\clearpage\n");
    for (size_t i = 0; i < w->v->n_categories; i++) {
        const char *category = w->v->categories[i].name;
        show_figure(w, &heatmap, category, category, &out);
        show_figure(w, &stable, category, category, &out);
        strbuf_puts(&out, "\\clearpage\n");
    }
    latex_end(&out);
    strbuf_free(&file);
    int status = write_named(w, "diff", ending, &out,
                             ja ? "表と図の一覧（lualatex）" : "a document that shows text, tables and figures (pdflatex)", e);
    strbuf_free(&out);
    return status;
}

/* The folder's name with odd letters as _, and _ behind it. */
static const char *prefix_of(Report *p, const char *dir)
{
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/')
        len--;
    size_t begin = len;
    while (begin > 0 && dir[begin - 1] != '/')
        begin--;
    char *name = arena_alloc(&p->arena, len - begin + 2);
    for (size_t i = begin; name && i < len; i++) {
        bool plain = strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-", dir[i]) != NULL;
        name[i - begin] = plain ? dir[i] : '_';
    }
    if (name)
        name[len - begin] = '_';
    return name;
}

int report_diff(Report *p, const char *dir, Error *e)
{
    DiffView v;
    int status = diff_view_open(dir, &v, e);
    if (status)
        return status;
    Work w = {.p = p, .v = &v, .position = diff_view_headline(&v), .prefix = p->options->n_dirs > 1 ? prefix_of(p, v.dir) : ""};
    if (!w.prefix)
        status = error_set(e, STATUS_FAILED, "report: no memory");
    for (int ja = 0; !status && ja < 2; ja++) {
        if (!(ja ? p->japanese : p->english))
            continue;
        w.lang = ja ? CAPTIONS_JA : CAPTIONS_EN;
        w.writes_csv = !ja || !p->english;
        status = write_methods(&w, e);
        if (!status)
            status = write_tables(&w, e);
        if (!status)
            status = write_figures(&w, e);
        if (!status)
            status = write_document(&w, e);
    }
    diff_view_close(&v);
    return status;
}
