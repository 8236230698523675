/* report_text.c: the methods paragraphs in English and Japanese, and the LaTeX document that shows tables and figures. What is
 * said follows from ppl.json, run.json and pos.json; what they do not hold is left out, never guessed. */
#include "experiments/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "experiments/latex.h"
#include "experiments/statistics.h"

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static long long resamples(const ReportResult *r)
{
    return r->r.n_resamples ? (long long)r->r.n_resamples : STATISTICS_RESAMPLES;
}

/* "24 "; empty where the file does not say. */
static const char *count_of(double n, char out[32])
{
    snprintf(out, 32, "%.0f ", n);
    return isnan(n) ? "" : out;
}

/* The first digits of a hash are enough to recognise files by; all of them stand in ppl.json. */
static bool is_sampled(const ReportResult *r)
{
    return begins(r->weights_sha256, "sampled-sha256:");
}

static const char *digits_of(const ReportResult *r)
{
    return r->weights_sha256 + (is_sampled(r) ? strlen("sampled-sha256:") : 0);
}

/* ---- English ---- */

static const char *manipulation_en(const ReportResult *r, char out[200])
{
    const char *x = r->r.experiment;
    int n = r->r.layers_at_once;
    if (strcmp(x, "removal") == 0)
        snprintf(out, 200, "each layer in turn was removed");
    else if (strcmp(x, "exchange") == 0)
        snprintf(out, 200, "each pair of adjacent layers in turn was exchanged");
    else if (begins(x, "block:"))
        snprintf(out, 200, "each block of %d consecutive layers in turn was removed", n);
    else if (strcmp(x, "replace") == 0)
        snprintf(out, 200, "each layer in turn was replaced by a copy of its neighbour before or after it");
    else if (strcmp(x, "repeat") == 0)
        snprintf(out, 200, "each layer in turn was run twice");
    else if (strcmp(x, "reverse") == 0)
        snprintf(out, 200, "the order of the layers was reversed");
    else if (begins(x, "shuffle"))
        snprintf(out, 200, "the layers were permuted at random (PCG64, seed %lld)", (long long)r->r.seed);
    else if (strcmp(x, "attn-removal") == 0)
        snprintf(out, 200, "the attention of each layer in turn was removed");
    else if (strcmp(x, "mlp-removal") == 0)
        snprintf(out, 200, "the MLP of each layer in turn was removed");
    else if (begins(x, "parallel:"))
        snprintf(out, 200,
                 "each window of %d consecutive layers in turn was run in parallel on the same input (mean of the outputs)", n);
    else
        snprintf(out, 200, "the layers were run in other orders (%.100s)", x);
    return out;
}

static void data_en(const ReportResult *r, StrBuf *out)
{
    strbuf_printf(out, "We evaluated %s (%d layers", r->r.name, r->r.n_layers);
    if (*r->weights_sha256)
        strbuf_printf(out, "; SHA-256 of %sthe weights %.12s...", is_sampled(r) ? "a sample of " : "", digits_of(r));
    char count[32];
    strbuf_printf(out, ") on %s", r->r.dataset);
    if (*r->split)
        strbuf_printf(out, " (%s split)", r->split);
    if (strcmp(r->r.protocol, "rows") == 0)
        strbuf_printf(out, ", the first %snon-empty rows, each read as a window of its own of at most %lld tokens",
                      count_of(r->n_rows, count), (long long)r->r.context);
    else
        strbuf_printf(out,
                      ", read as one text (protocol `%s`) in %swindows of %lld tokens that follow one another without overlap",
                      r->r.protocol, count_of(r->n_windows, count), (long long)r->r.context);
    strbuf_printf(out, "%s. ",
                  r->r.bos ? ", a beginning-of-sequence token before it" : "; no beginning-of-sequence token was added");
    strbuf_printf(out, "This gave %lld predicted tokens", (long long)r->r.n_tokens);
    if (!isnan(r->n_words) && !isnan(r->n_bytes))
        strbuf_printf(out, ", %.0f words (strings between white space) and %.0f bytes of text", r->n_words, r->n_bytes);
    strbuf_printf(out, " (SHA-256 of the rows %.12s...). ", r->r.rows_sha256);
}

static void measures_en(const ReportResult *r, StrBuf *out)
{
    char text[200], count[32];
    snprintf(count, sizeof count, "%.0f", r->n_units);
    strbuf_printf(out, "Without retraining, %s (%zu variants). ", manipulation_en(r, text), r->r.n_orders);
    strbuf_puts(
        out, "For each variant we report the change of the mean negative log-likelihood per predicted token against the intact "
             "model (nats), top-1 accuracy, the share of tokens whose most likely prediction is that of the intact model "
             "(agreement), and the mean Kullback-Leibler divergence KL(intact || variant). ");
    if (isfinite(r->r.intact.nll))
        strbuf_printf(out, "The intact model has a loss of %.4f nats per token (perplexity %.3f). ", r->r.intact.nll,
                      r->r.intact.ppl);
    if (r->has_intervals)
        strbuf_printf(
            out,
            "Intervals are pointwise 95 %% percentile intervals of a paired bootstrap over %.0f %ss (%lld resamples, PCG64, "
            "seed %lld; all variants share the draws); whether variants differ is decided by simultaneous max-t intervals. ",
            r->n_units, r->r.unit, resamples(r), (long long)r->r.seed);
    else
        strbuf_printf(out, "No intervals are given: the bootstrap needs at least %d %ss%s%s. ", STATISTICS_MIN_UNITS, r->r.unit,
                      isnan(r->n_units) ? "" : ", and there are ", isnan(r->n_units) ? "" : count);
    strbuf_puts(out,
                "A change of perplexity is not a measure of capability: how much a layer matters for perplexity and for tasks "
                "is hardly correlated in some models. ");
}

static void machine_en(const ReportResult *r, StrBuf *out)
{
    if (!*r->version)
        return;
    strbuf_printf(out, "All figures were computed by Strata %s", r->version);
    if (*r->commit)
        strbuf_printf(out, " (commit %s)", r->commit);
    strbuf_printf(out, " in %s arithmetic (%s) on %s", r->r.dtype, r->r.numerics,
                  strcmp(r->device, "cpu") == 0 ? "the CPU" : r->device);
    if (*r->processor)
        strbuf_printf(out, " (%s)", r->processor);
    if (*r->threads)
        strbuf_printf(out, " with %s thread%s", r->threads, strcmp(r->threads, "1") == 0 ? "" : "s");
    strbuf_puts(out, ".\n");
}

static void tags_en(const ReportResult *r, StrBuf *out)
{
    bool gold = begins(r->tagger, "gold");
    strbuf_puts(out, "\nParts of speech are the 17 tags of Universal Dependencies. ");
    if (gold)
        strbuf_printf(out, "They were given (%s). ", r->tagger);
    else
        strbuf_printf(out,
                      "They were assigned by Strata's tagger (%s; accuracy %.1f %% on %s, not measured on this corpus) to the "
                      "words after undoing the data set's own tokenisation; the model read the rows as they are. ",
                      r->tagger, 100 * r->tagger_accuracy, r->tagger_corpus);
    strbuf_printf(
        out,
        "A word's loss is the sum of the losses of its tokens, a token belonging to the word that holds its first byte "
        "that is not white space. %.0f of %.0f words of body text were counted; words with <unk>, and words with a byte "
        "or token that was not predicted, are left out. Tags with fewer than 100 words or 20 units are not ranked.\n",
        r->n_counted, r->n_body_words);
}

/* ---- Japanese ---- */

static const char *manipulation_ja(const ReportResult *r, char out[300])
{
    const char *x = r->r.experiment;
    int n = r->r.layers_at_once;
    if (strcmp(x, "removal") == 0)
        snprintf(out, 300, "各層を一つずつ削除した");
    else if (strcmp(x, "exchange") == 0)
        snprintf(out, 300, "隣接する二層の組を一つずつ交換した");
    else if (begins(x, "block:"))
        snprintf(out, 300, "連続する %d 層の組を一つずつ削除した", n);
    else if (strcmp(x, "replace") == 0)
        snprintf(out, 300, "各層を一つずつ、直前または直後の層の複製で置き換えた");
    else if (strcmp(x, "repeat") == 0)
        snprintf(out, 300, "各層を一つずつ二回実行した");
    else if (strcmp(x, "reverse") == 0)
        snprintf(out, 300, "層の順序を逆にした");
    else if (begins(x, "shuffle"))
        snprintf(out, 300, "層を無作為に並べ替えた（PCG64、シード %lld）", (long long)r->r.seed);
    else if (strcmp(x, "attn-removal") == 0)
        snprintf(out, 300, "各層のアテンションを一つずつ削除した");
    else if (strcmp(x, "mlp-removal") == 0)
        snprintf(out, 300, "各層の MLP を一つずつ削除した");
    else if (begins(x, "parallel:"))
        snprintf(out, 300, "連続する %d 層の組を一つずつ、同じ入力に対して並列に実行した（出力の平均）", n);
    else
        snprintf(out, 300, "層の順序を変えて実行した（%.100s）", x);
    return out;
}

static const char *unit_ja(const ReportResult *r)
{
    return captions_text(CAPTIONS_JA, strcmp(r->r.unit, "article") == 0 ? "articles" : "windows");
}

static void data_ja(const ReportResult *r, StrBuf *out)
{
    strbuf_printf(out, "%s（%d 層", r->r.name, r->r.n_layers);
    if (*r->weights_sha256)
        strbuf_printf(out, "、重み%sの SHA-256 は %.12s…", is_sampled(r) ? "（標本）" : "", digits_of(r));
    char count[32];
    strbuf_printf(out, "）を %s", r->r.dataset);
    if (*r->split)
        strbuf_printf(out, "（%s 分割）", r->split);
    if (strcmp(r->r.protocol, "rows") == 0)
        strbuf_printf(out, "で評価した。空でない先頭の %s行を、それぞれ最大 %lld トークンの独立した窓として読ませ",
                      count_of(r->n_rows, count), (long long)r->r.context);
    else
        strbuf_printf(out,
                      "で評価した。一つのテキストとして（手順 `%s`）、重なりのない %s個の窓（各 %lld トークン）に分けて読ませ",
                      r->r.protocol, count_of(r->n_windows, count), (long long)r->r.context);
    strbuf_printf(out, "、文頭トークン（BOS）は%s。", r->r.bos ? "付けた" : "付けなかった");
    strbuf_printf(out, "予測の対象は %lld トークン", (long long)r->r.n_tokens);
    if (!isnan(r->n_words) && !isnan(r->n_bytes))
        strbuf_printf(out, "、空白で区切られた %.0f 語、%.0f バイト", r->n_words, r->n_bytes);
    strbuf_printf(out, "である（行の SHA-256 は %.12s…）。", r->r.rows_sha256);
}

static void measures_ja(const ReportResult *r, StrBuf *out)
{
    char text[300], count[32];
    snprintf(count, sizeof count, "%.0f", r->n_units);
    strbuf_printf(out, "再学習は行わず、%s（%zu 通り）。", manipulation_ja(r, text), r->r.n_orders);
    strbuf_puts(
        out,
        "それぞれについて、無操作のモデルに対する、予測トークン当たりの負の対数尤度の平均の変化（nat）、最尤の予測の正解率、"
        "最尤の予測が無操作のモデルと一致する割合、カルバック・ライブラー情報量 KL（無操作 || 操作後）の平均を示す。");
    if (isfinite(r->r.intact.nll))
        strbuf_printf(out, "無操作のモデルの損失は 1 トークン当たり %.4f nat（パープレキシティ %.3f）である。", r->r.intact.nll,
                      r->r.intact.ppl);
    if (r->has_intervals)
        strbuf_printf(out,
                      "区間は、%.0f 個の%sを単位とする対応のあるブートストラップ（反復 %lld 回、PCG64、シード "
                      "%lld、すべての操作で同じ抽出を用いる）による各点の 95 %% パーセンタイル区間であり、差の有無は同時 max-t "
                      "区間で判断する。",
                      r->n_units, unit_ja(r), resamples(r), (long long)r->r.seed);
    else
        strbuf_printf(out, "ブートストラップには %d 個以上の%sが必要%s%s%sため、区間は示さない。", STATISTICS_MIN_UNITS,
                      unit_ja(r), isnan(r->n_units) ? "である" : "だが、", isnan(r->n_units) ? "" : count,
                      isnan(r->n_units) ? "" : " 個しかない");
    strbuf_puts(out, "パープレキシティの変化は能力の尺度ではない。層のパープレキシティへの影響と課題への影響は、"
                     "モデルによってはほとんど相関しない。");
}

static void machine_ja(const ReportResult *r, StrBuf *out)
{
    if (!*r->version)
        return;
    strbuf_printf(out, "計算には Strata %s", r->version);
    if (*r->commit)
        strbuf_printf(out, "（コミット %s）", r->commit);
    strbuf_printf(out, "を用い、%s（%s）の演算を %s ", r->r.dtype, r->r.numerics,
                  strcmp(r->device, "cpu") == 0 ? "CPU" : r->device);
    if (*r->processor)
        strbuf_printf(out, "（%s）", r->processor);
    strbuf_puts(out, "上で");
    if (*r->threads)
        strbuf_printf(out, " %s スレッドで", r->threads);
    strbuf_puts(out, "行った。\n");
}

static void tags_ja(const ReportResult *r, StrBuf *out)
{
    strbuf_puts(out, "\n品詞は Universal Dependencies の 17 種である。");
    if (begins(r->tagger, "gold"))
        strbuf_printf(out, "品詞は与えられたもの（%s）を用いた。", r->tagger);
    else
        strbuf_printf(
            out,
            "Strata の品詞タガー（%s、%s での正解率 %.1f %%、このコーパスでは測定していない）を、データセット固有の分かち書き"
            "を戻した単語に適用した。モデルには元の行をそのまま読ませた。",
            r->tagger, r->tagger_corpus, 100 * r->tagger_accuracy);
    strbuf_printf(
        out,
        "単語の損失はそのトークンの損失の和であり、トークンは、その最初の空白でないバイトを含む単語に属する。本文の %.0f "
        "語のうち %.0f 語を数えた。<unk> を含む語と、予測されなかったバイトやトークンを含む語は除いた。100 語未満または 20 "
        "単位未満の品詞は順位付けしない。\n",
        r->n_body_words, r->n_counted);
}

int report_methods(Report *p, CaptionsLang lang, Error *e)
{
    bool ja = lang == CAPTIONS_JA;
    StrBuf out = {0};
    strbuf_puts(&out, ja ? "# 手法\n" : "# Methods\n");
    for (size_t i = 0; i < p->n; i++) {
        const ReportResult *r = &p->results[i];
        if (p->n > 1)
            strbuf_printf(&out, "\n## %s, %s\n", r->r.name, r->r.experiment);
        strbuf_putc(&out, '\n');
        (ja ? data_ja : data_en)(r, &out);
        (ja ? measures_ja : measures_en)(r, &out);
        (ja ? machine_ja : machine_en)(r, &out);
        if (r->has_tags)
            (ja ? tags_ja : tags_en)(r, &out);
    }
    int status = report_prose(p, "methods", lang, &out, e);
    strbuf_free(&out);
    return status;
}

/* ---- the document ---- */

/* Both widths of one figure. */
static void show_figure(const ReportResult *r, const char *name, CaptionsLang lang, const char *caption, StrBuf *out)
{
    static const int widths[] = {174, 84};
    const char *suffix = lang == CAPTIONS_JA ? "_ja" : "";
    StrBuf wide = {0}, narrow = {0}, text = {0};
    strbuf_printf(&wide, "figures/%s%s_174mm%s.pdf", r->prefix, name, suffix);
    strbuf_printf(&narrow, "figures/%s%s_84mm%s.pdf", r->prefix, name, suffix);
    strbuf_printf(&text, "%s: %s, %s. %s", r->r.name, r->r.experiment, r->r.dataset, caption);
    if (wide.failed || narrow.failed || text.failed)
        out->failed = true;
    else
        latex_figure(out, (const char *const[]){wide.data, narrow.data}, widths, 2, text.data);
    strbuf_free(&wide);
    strbuf_free(&narrow);
    strbuf_free(&text);
}

int report_document(Report *p, CaptionsLang lang, Error *e)
{
    bool ja = lang == CAPTIONS_JA;
    const char *ending = ja ? ".ja.tex" : ".tex", *file = ja ? "report.ja.tex" : "report.tex";
    StrBuf out = {0};
    latex_begin(&out, lang, file);
    strbuf_printf(&out, "\\input{methods%s}\n\\input{setup%s}\n\\clearpage\n", ending, ending);
    for (size_t i = 0; i < p->n; i++) {
        const ReportResult *r = &p->results[i];
        strbuf_printf(&out, "\\input{%slayers%s}\n", r->prefix, ending);
        show_figure(r, "layers", lang, report_layers_caption(r, lang), &out);
        if (r->has_tags) {
            strbuf_printf(&out, "\\input{%stags%s}\n", r->prefix, ending);
            show_figure(r, "tags", lang, captions_text(lang, "Change of the loss per word, by part of speech and order."),
                        &out);
        }
        strbuf_puts(&out, "\\clearpage\n");
    }
    latex_end(&out);
    int status = report_write(p, file, &out,
                              ja ? "表と図の一覧（lualatex）" : "a document that shows text, tables and figures (pdflatex)", e);
    strbuf_free(&out);
    return status;
}
