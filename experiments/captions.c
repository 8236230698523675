/* captions.c: see captions.h. */
#include "experiments/captions.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "experiments/diff_draw.h"
#include "experiments/figure_canvas.h"

typedef struct Caption {
    const char *en, *ja;
} Caption;

static const Caption captions[] = {
    /* axes */
    {"removed layer", "削除した層"},
    {"exchanged layers i, i + 1 (at i + 1/2)", "交換した層 i, i + 1（i + 1/2 の位置）"},
    {"middle of the removed block (layer)", "削除した連続層の中央（層）"},
    {"replaced layer", "置き換えた層"},
    {"repeated layer", "繰り返した層"},
    {"layer whose attention is removed", "アテンションを削除した層"},
    {"layer whose MLP is removed", "MLP を削除した層"},
    {"middle of the parallel group (layer)", "並列化した層群の中央（層）"},
    {"relative depth (0: first layer, 1: last)", "相対的な深さ（0: 最初の層、1: 最後の層）"},
    {"relative depth (0: embedding, 1: last layer)", "相対的な深さ（0: 埋め込み、1: 最後の層）"},
    {"order", "層の順序"},
    {"change of loss (nats per token)", "損失の変化（nat／トークン）"},
    {"change of loss (bits per byte)", "損失の変化（bit／バイト）"},
    {"change of loss (nats per word)", "損失の変化（nat／単語）"},
    {"mean change of loss (nats per token)", "損失の変化の平均（nat／トークン）"},
    {"mean change of loss (bits per byte)", "損失の変化の平均（bit／バイト）"},
    {"change of loss by part of speech", "品詞ごとの損失の変化"},
    {"rank correlation (Spearman)", "順位相関（スピアマン）"},
    {"rank correlation of the layers' importance", "層の重要度の順位相関"},
    {"part of speech", "品詞"},
    {"layer", "層"},
    {"change of loss, pointwise 95 % interval", "損失の変化と各点の 95 % 区間"},
    {"difference (nats per word)", "差（nat／単語）"},
    /* parts of speech */
    {"change of loss per word, minus that of all other words", "単語あたり損失の変化（他のすべての単語の変化との差）"},
    {"change of loss per word", "単語あたり損失の変化"},
    {"words of this part of speech", "この品詞の単語"},
    {"all words", "すべての単語"},
    {"Dot: differs from the other words (simultaneous 95 % interval over all tags and orders)",
     "点：他の単語と差がある（全品詞・全順序にわたる同時 95 % 区間）"},
    {"Grey: fewer than 100 words or 20 units, not ranked", "灰色：100 語未満または 20 単位未満のため順位付けの対象外"},
    {"Grey: fewer than 100 words", "灰色：100 語未満"},
    {"Fewer than 20 units: no intervals, and no tag is ranked", "20 単位未満のため区間はなく、品詞の順位付けもしない"},
    {"Bands: pointwise 95 % intervals, paired bootstrap", "帯：対応のあるブートストラップによる各点の 95 % 区間"},
    {"Whiskers: simultaneous 95 % intervals over all tags and orders", "ひげ：全品詞・全順序にわたる同時 95 % 区間"},
    {"Not ranked (fewer than 100 words or 20 units): ", "順位付けの対象外（100 語未満または 20 単位未満）："},
    {"The order of median effect on all words", "全単語への影響が中央にあたる順序"},
    {"The order of greatest effect on all words", "全単語への影響が最大の順序"},
    {"It was not measured on this corpus", "このコーパスでは測定していない"},
    {"The tagger's F1 has not been measured for this version of it", "この版の品詞タガーの F1 は測定していない"},
    {"Tags were given (gold)", "品詞は正解タグによる"},
    /* tables of reports */
    {"result", "結果"},
    {"model", "モデル"},
    {"layers", "層数"},
    {"weights (sha256)", "重み（sha256）"},
    {"data", "データ"},
    {"rows", "行数"},
    {"rows (sha256)", "行（sha256）"},
    {"bootstrap units", "ブートストラップの単位"},
    {"articles", "記事"},
    {"windows", "窓"},
    {"predicted tokens", "予測したトークン数"},
    {"words", "単語数"},
    {"bytes", "バイト数"},
    {"experiment", "実験"},
    {"protocol", "評価手順"},
    {"arithmetic", "演算"},
    {"device", "装置"},
    {"processor", "プロセッサー"},
    {"threads", "スレッド数"},
    {"program", "プログラム"},
    {"intact: loss (nats per token)", "無操作：損失（nat／トークン）"},
    {"intact: perplexity", "無操作：パープレキシティ"},
    {"intact: perplexity per word", "無操作：単語パープレキシティ"},
    {"intact: bits per byte", "無操作：bit／バイト"},
    {"intact: top-1 (%)", "無操作：正解率（%）"},
    {"Models, data and protocol.", "モデル、データ、評価手順。"},
    {"change of loss", "損失の変化"},
    {"from", "下限"},
    {"to (95 %)", "上限（95 %）"},
    {"top-1 (%)", "正解率（%）"},
    {"agreement (%)", "一致率（%）"},
    {"KL (nats)", "KL（nat）"},
    {"perplexity", "パープレキシティ"},
    {"Change of loss in nats per token against the intact model; 95 % intervals are pointwise.",
     "無操作のモデルに対する損失の変化（nat／トークン）。95 % 区間は各点のもの。"},
    {"Change of loss in nats per token against the intact model.", "無操作のモデルに対する損失の変化（nat／トークン）。"},
    {" (continued)", "（続き）"},
    {"Change of the loss per word, by part of speech and order.", "品詞と層の順序ごとの、単語あたり損失の変化。"},
    {"tag", "品詞"},
    {"loss/word", "損失／単語"},
    {"F1 (%)", "F1（%）"},
    {"worst", "最大"},
    {"change", "変化"},
    {"mildest", "最小"},
    {"Change of the loss per word, by part of speech, at the most and the least harmful order. *: fewer than 100 words or 20 "
     "units, not ranked. F1: the tagger's on its own test set; it was not measured on this corpus.",
     "品詞ごとの単語損失の変化。影響が最大および最小の層順序について示す。*：100 語未満または 20 単位未満のため順位付けしない。"
     "F1 は品詞タガー自身の試験データでの値であり、このコーパスでは測定していない。"},
    {"change (nats per word)", "変化（nat／単語）"},
    /* pairs that differ in one token */
    {"category", "カテゴリー"},
    {"kind", "種類"},
    {"meaning", "意味"},
    {"error", "誤り"},
    {"choice", "選択"},
    {"templates", "テンプレート"},
    {"word pairs", "単語対"},
    {"claims", "主張"},
    {"claims about", "主張の範囲"},
    {"the category", "カテゴリー全体"},
    {"none: control too far", "なし（対照が遠い）"},
    {"these words only", "用いた単語のみ"},
    {"no test", "検定なし"},
    {"position", "位置"},
    {"mean ratio", "比の平均"},
    {"smallest", "最小"},
    {"ratio", "比"},
    {"bound (95 %)", "上限（95 %）"},
    {"half 1", "半分 1"},
    {"half 2", "半分 2"},
    {"claim", "主張"},
    {"yes", "はい"},
    {"no", "いいえ"},
    {"Pairs that differ in one token, and claims of dimensions that change less than under the matched control.",
     "一つのトークンだけが異なる対と、対応づけた対照より変化が小さいと主張される次元の数。"},
    {"Difference of pairs over that of the matched control: mean over layers, and the layer where it is smallest.",
     "対の差と対応づけた対照の差の比。層にわたる平均と、最小になる層。"},
    {"Coordinates with the smallest ratio to the control, with its one-sided bound and the estimates of both halves of the "
     "templates.",
     "対照との比が最小の座標、その片側上限、テンプレートの両半分での推定値。"},
    {"subject", "主語"},
    {"place", "場所"},
    {"adjective", "形容詞"},
    {"tense", "時制"},
    {"article", "冠詞"},
    {"article_choice", "冠詞の選択"},
    {"preposition", "前置詞"},
    {"number", "数の一致"},
    {"negation", "否定"},
    {"spelling", "綴り"},
    {"edited", "編集位置"},
    {"next", "直後"},
    {"last", "文末"},
    {"onset", "誤りの始点"},
    {"all", "編集以降の全位置"},
    {"pairs", "対"},
    {"matched control", "対応づけた対照"},
    {"shuffled pairing", "組み替えた対"},
    {"unrelated sentences", "無関係な文"},
    {"identical pair", "同一の対"},
    {"layer (0: embedding)", "層（0：埋め込み）"},
    {"dimension", "次元"},
    {"dimensions", "次元数"},
    {"coordinates", "座標数"},
    {"layer:dimension", "層：次元"},
    {"difference / control", "差／対照の差"},
    {"norm of the difference", "差のノルム"},
    {"error minus meaning", "誤り − 意味"},
    {"difference / stream", "差／ストリーム"},
    {"cosine", "コサイン類似度"},
    {"difference relative to the stream", "ストリームに対する差の大きさ"},
    {"Mean norm of the difference over that of the stream", "差のノルムとストリームのノルムの比の平均"},
    {"cosine of the two streams of a pair", "対の二つのストリームのコサイン類似度"},
    {"Mean cosine between the residual streams of a pair", "対の残差ストリーム間のコサイン類似度の平均"},
    {"what the logit lens would say: divergence within a pair", "ロジットレンズの予測：対の間のずれ"},
    {"KL divergence of next-token distributions read from each layer through the final norm and the head",
     "各層から最終正規化とヘッドを通して読んだ次トークン分布の KL 情報量"},
    {"dimensions claimed", "主張が成り立つ次元数"},
    {"margin (sigmas)", "許容幅（σ）"},
    {"log2 of the ratio", "比の log2"},
    {"mean |difference|", "|差| の平均"},
    {"mean |difference|/sigma", "|差|/σ の平均"},
    {"mean (sigmas)", "平均（σ）"},
    {"spread over pairs (sigmas)", "対の間のばらつき（σ）"},
    {"difference of a pair over that of its matched control", "対の差と対応づけた対照の差の比"},
    {"differences and their controls", "差とその対照"},
    {"error pairs minus meaning pairs", "誤りの対 − 意味の対"},
    {"dimensions that change less than under the control", "対照より変化が小さい次元"},
    {"dimensions whose mean change stays under a margin", "平均変化が許容幅に収まる次元"},
    {"change by layer and dimension", "層と次元ごとの変化"},
    {"the most stable dimensions", "最も安定した次元"},
    {"smallest ratios to the control", "対照との比が小さい座標"},
    {"smallest mean |difference|, plain", "|差| の平均が小さい座標（単純集計）"},
    {"mean |difference|/sigma over dimensions", "次元にわたる |差|/σ の平均の分布"},
    {"mean against spread of |difference|/sigma", "|差|/σ の平均とばらつき"},
    {"Mean norm of the difference in the residual stream, pairs over matched control",
     "残差ストリームの差のノルムの平均について、対と対応づけた対照との比"},
    {"Mean norm of the difference in the residual stream", "残差ストリームの差のノルムの平均"},
    {"Bands: 95 % intervals, clustered by template and word pair", "帯：テンプレートと単語対でクラスタ化した 95 % 区間"},
    {"Dashed: 1 (no difference to the control) and 0.8 (the margin set beforehand)",
     "破線：1（対照と差がない）と 0.8（事前に定めた限界）"},
    {"*: too few pairs with a control for an interval", "*：対照のある対が少なく区間を求められない"},
    {"Pairs: all; control: of those pairs that have a matched one", "対：すべて。対照：対応づけた対照をもつ対のみ"},
    {"Dashed: 0.8, the margin set beforehand", "破線：0.8（事前に定めた限界）"},
    {"Streams grow over layers, so a curve is to be read against its control",
     "ストリームは層とともに大きくなるため、曲線は対照と比べて読む"},
    {"Mean ratio to the matched control over error categories, minus that over meaning categories",
     "対応づけた対照との比について、誤りカテゴリーの平均から意味カテゴリーの平均を引いたもの"},
    {"Claimed: bound of the ratio below 0.8 after control of false discoveries, in both halves of the templates",
     "主張：偽発見率の制御後に比の上限が 0.8 未満で、テンプレートの両半分でも成り立つもの"},
    {"Coordinates of all layers, after control of false discoveries", "全層の座標。偽発見率を制御済み"},
    {"Two independent draws differ by 1.13 sigmas on average", "独立な二つの値の差は平均 1.13 σ"},
    {"Colour: log2 of mean |difference| of the pairs over that of the matched control (-1: half of it)",
     "色：対の |差| の平均と対応づけた対照のそれとの比の log2（−1：半分）"},
    {"Dot: bound of the ratio below 0.8 after control of false discoveries", "点：偽発見率の制御後に比の上限が 0.8 未満"},
    {"Dot: bound of the ratio below 0.8 after control of false discoveries, in any of them",
     "点：そのいずれかで、偽発見率の制御後に比の上限が 0.8 を下回る"},
    {"No whisker: the bound is infinite", "ひげのない棒：上限は無限大"},
    {DIFF_DRAW_FAR, "対照のトークンは対のトークンより互いに遠いため、対照の差を距離に比例して縮め、次元についての主張はしない"},
    {DIFF_DRAW_SCALED, "埋め込みでの距離が対より遠い対照の差は、距離に比例して縮めた"},
    {DIFF_DRAW_SCALED_COSINE, "埋め込みでの距離が対より遠い対照では、1 − コサイン類似度を距離の比の二乗で縮めた"},
    {DIFF_DRAW_RATIO_BOUNDS, "比には上限と下限がある：埋め込みでの距離が対より遠い対照を比例して縮めた場合（上限、線）と、近い"
                             "対照を広げた場合（下限）。"
                             "帯は両者の区間を合わせた範囲"},
    {DIFF_DRAW_CONTRAST_BOUNDS, "それぞれの比には上限と下限がある：埋め込みでの距離が対より遠い対照を比例して縮めた場合（上限）"
                                "と、近い対照を広げた場合（下限）。"
                                "線は差の最小と最大の中央、帯は両者の区間を合わせた範囲"},
    {"Grey: the control does not change there", "灰色：対照が変化しない箇所"},
    {"Dimensions with the smallest mean log ratio over all layers, chosen here on the same pairs",
     "全層にわたる対数比の平均が最小の次元（同じ対で選んだもの）"},
    {"Mean |difference| of the pairs over that of the matched control; whisker: one-sided 95 % bound",
     "対の |差| の平均と対応づけた対照のそれとの比。ひげ：片側 95 % 上限"},
    {"Plain analysis: not divided by sigma and not held against a control, so quiet dimensions come first",
     "単純集計：σ で割らず対照とも比べていないため、値の小さい次元が上位に来る"},
    {"Of points that cover each other one is drawn, picked at random", "重なる点は無作為に選んだ一つを描く"},
    {"Dashed: 0.76, the spread over the mean of a normal difference", "破線：0.76（正規分布の差における標準偏差と平均の比）"},
    /* experiments */
    {"removal", "層の削除"},
    {"exchange", "隣接層の交換"},
    {"block", "連続する層の削除"},
    {"replace", "層の置き換え"},
    {"repeat", "層の繰り返し"},
    {"reverse", "逆順"},
    {"shuffle", "無作為な並べ替え"},
    {"attn-removal", "アテンションの削除"},
    {"mlp-removal", "MLP の削除"},
    {"parallel", "層の並列化"},
};

int captions_lang(const char *name, CaptionsLang *out, Error *e)
{
    *out = CAPTIONS_EN;
    if (name && strcmp(name, "ja") == 0)
        *out = CAPTIONS_JA;
    else if (name && strcmp(name, "en") != 0)
        return error_set(e, STATUS_USAGE, "--lang: expected en or ja, found \"%s\"", name);
    return STATUS_OK;
}

static const Caption *find(const char *english)
{
    for (size_t i = 0; i < sizeof captions / sizeof *captions; i++)
        if (strcmp(captions[i].en, english) == 0)
            return &captions[i];
    return NULL;
}

const char *captions_text(CaptionsLang lang, const char *english)
{
    const Caption *c = lang == CAPTIONS_JA && english ? find(english) : NULL;
    return c ? c->ja : english;
}

bool captions_has(const char *english)
{
    return find(english) != NULL;
}

CaptionsLang captions_for_figures(CaptionsLang lang, bool quiet)
{
    static bool warned; /* one line a process */
    if (lang != CAPTIONS_JA || figure_font_has_japanese())
        return lang;
    if (!warned && !quiet)
        fprintf(stderr, "No installed font has Japanese letters; figures are captioned in English. To install one: "
                        "sudo apt-get install fonts-noto-cjk (or set STRATA_FONT_JA to the name of a font).\n");
    warned = true;
    return CAPTIONS_EN;
}
