/* test_diff_figures.c: results of `strata diff` read back, and their figures, from a made-up result with known content
 * (tests/data/diff_result, written by tools/make_diff_result_fixture.py): numbers of marks, ranges of data, CSV against the tensors. */
#include "tests/test.h"

#include <unistd.h>

#include "engine/base/file.h"
#include "engine/base/strbuf.h"
#include "experiments/diff_draw.h"
#include "experiments/diff_figure.h"
#include "experiments/diff_stats.h"
#include "tests/temp_folder.h"

#define RESULT "tests/data/diff_result"
enum { LAYERS = 4, DIMS = 12, POINTS = LAYERS + 1 };

static void read_text(const char *dir, const char *name, StrBuf *b)
{
    char path[1024];
    Error e = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    strbuf_reset(b);
    CHECK_MSG(file_read(path, 8 << 20, b, &e) == 0, "%s", e.text);
    strbuf_putc(b, '\0');
}

static size_t count_in(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *t = text; t && (t = strstr(t, what)); t++)
        n++;
    return n;
}

static void test_result_is_read(void)
{
    DiffView r;
    Error e = {0};
    CHECK(diff_view_is_one(RESULT) && diff_view_is_one(RESULT "/diff.json") && !diff_view_is_one("tests/data"));
    CHECK_MSG(diff_view_open(RESULT "/diff.json", &r, &e) == 0, "%s", e.text);
    if (!r.json.json)
        return;
    CHECK_STR(r.dir, RESULT);
    CHECK_STR(r.model, "made-up");
    CHECK(r.n_layers == LAYERS && r.n_points == POINTS && r.hidden == DIMS && r.n_categories == 3 && r.n_contrasts == 2);
    const DiffViewPosition *at = diff_view_position(&r.categories[1], "last");
    const DiffViewCurve *norm = at ? diff_view_curve(at, "norm") : NULL;
    const float *ratio = diff_view_tensor(&r, "ratio", "tense", "last"), *p = diff_view_tensor(&r, "p", "tense", "last"),
                *upper = diff_view_tensor(&r, "upper", "tense", "last");
    CHECK(at && norm && ratio && p && upper && diff_view_tensor(&r, "sigma", NULL, NULL));
    CHECK(!diff_view_tensor(&r, "ratio", "tense", "first") && !diff_view_position(&r.categories[0], "onset"));
    CHECK_STR(diff_view_headline(&r), "last");
    if (!norm || !ratio || !p || !upper)
        goto done;
    CHECK(isnan(norm->ratio[0]) && fabs(norm->ratio[2] - 0.9) < 0.4 && norm->lo[2] < norm->ratio[2] &&
          norm->hi[2] > norm->ratio[2]);
    double n = 0;
    for (size_t i = 0; i < POINTS * DIMS; i++)
        n += (double)upper[i] < DIFF_STATS_RATIO && (double)p[i] <= r.threshold;
    CHECK_MSG(n == at->n_claims, "%g cells hold, %g claims", n, at->n_claims);
    CHECK(at->n_ranked == 30 && at->n_margins == 10 && at->n_rotations == 1 && at->rotations[0].count == 12 &&
          at->n_chosen == 20);
    const DiffViewCell *best = &at->ranked[0];
    CHECK_NEAR(best->ratio, (double)ratio[best->layer * DIMS + best->dim], 1e-6);
    CHECK(best->is_claim && (best->dim == 3 || best->dim == 5)); /* planted */
done:
    diff_view_close(&r);
}

/* What is wrong is named; what is absent is not there. */
static void test_odd_results(void)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"{\"schema\": \"strata.ppl/1\"}", "strata.diff/1"},
        {"{\"schema\": \"strata.diff/1\", \"n_layers\": 2, \"hidden\": 0, \"categories\": []}",
         "expected layers and dimensions"},
        {"{\"schema\": \"strata.diff/1\", \"n_layers\": 1, \"hidden\": 2}", "categories"},
        {"{\"schema\": \"strata.diff/1\", \"n_layers\": 1, \"hidden\": 2, \"categories\": [{\"name\": \"a\", \"positions\": "
         "[{\"name\": \"last\", \"curves\": {\"norm\": {\"ratio\": [1]}}}]}]}",
         "expected 2 numbers, found 1"},
        {"{\"schema\": \"strata.diff/1\", \"n_layers\": 1, \"hidden\": 2, \"categories\": [{\"name\": \"a\", \"positions\": "
         "[{\"name\": \"last\", \"ranked\": [{\"layer\": 2, \"dim\": 0}]}]}]}",
         "expected below 2, found 2"},
        {"{\"schema\": \"strata.diff/1\", \"n_layers\": 1, \"hidden\": 2, \"categories\": []}", NULL},
        {"{\"schema\": \"strata.diff/1\", \"model\": \"m\", \"n_layers\": 1, \"hidden\": 2, \"categories\": [{\"name\": \"../a "
         "b\", "
         "\"positions\": [{\"name\": \"last\", \"plain\": [{\"layer\": 1, \"dim\": 1, \"mean_abs\": 0.5}]}]}]}",
         NULL},
    };
    DiffView r;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e = {0};
        write_temp("diff.json", cases[i].text, strlen(cases[i].text));
        int status = diff_view_open(temp_dir, &r, &e);
        CHECK_MSG(cases[i].error ? status == STATUS_FAILED && strstr(e.text, cases[i].error) : status == 0, "case %zu: %s", i,
                  e.text);
        diff_view_close(&r);
    }
    Error e = {0};
    CHECK_MSG(diff_figures_write(temp_dir, NULL, CAPTIONS_EN, true, &e) == 0, "%s",
              e.text); /* only the plain ranking is there */
    char path[1024];
    snprintf(path, sizeof path, "%s/figures", temp_dir);
    CHECK(file_exists_in(path, "plain____a_b.svg") && !file_exists_in(path, "curves_last.svg")); /* no way out of the folder */
    CHECK(diff_view_open("tests/data/no_such_folder", &r, &e) == STATUS_FAILED);
}

static void test_figures(void)
{
    static const char *const names[] = {"relative_last",   "cosine_edited",   "kl_last",       "curves_last",
                                        "curves_edited",   "control_last",    "contrast",      "claims_last",
                                        "margins_last",    "heatmap_tense",   "stable_tense",  "bars_tense",
                                        "plain_tense",     "histogram_tense", "scatter_tense", "heatmap_subject",
                                        "scatter_article", "bars_article",    "stable_subject"};
    static const char *const endings[] = {"svg", "png", "pdf", "csv"};
    char dir[600];
    StrBuf b = {0};
    Error e = {0};
    DiffView r;
    copy_temp(RESULT "/diff.json", "diff.json");
    copy_temp(RESULT "/diff.safetensors", "diff.safetensors");
    CHECK_MSG(diff_figures_write(temp_dir, NULL, CAPTIONS_EN, true, &e) == 0, "%s", e.text);
    snprintf(dir, sizeof dir, "%s/figures", temp_dir);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t k = 0; k < 4; k++) {
            char name[64];
            snprintf(name, sizeof name, "%s.%s", names[i], endings[k]);
            read_text(dir, name, &b);
            CHECK_MSG(b.len > 50 && b.len < 1000000, "%s: %zu bytes", name, b.len);
            CHECK_MSG(k != 0 || (!strstr(b.data, "nan") && strstr(b.data, "</svg>")), "%s", name);
        }
    CHECK_MSG(diff_view_open(temp_dir, &r, &e) == 0, "%s", e.text);
    const float *ratio = diff_view_tensor(&r, "ratio", "tense", "last"), *p = diff_view_tensor(&r, "p", "tense", "last"),
                *upper = diff_view_tensor(&r, "upper", "tense", "last"), *mean = diff_view_tensor(&r, "mean", "tense", "last"),
                *sigma = diff_view_tensor(&r, "sigma", NULL, NULL);
    if (!ratio || !p || !upper || !mean || !sigma)
        goto done;
    /* Heat map: a rectangle for the page, each cell and each of 100 steps of the bar; a circle a claim. */
    size_t n_holding = 0, n_there = 0;
    for (size_t i = 0; i < POINTS * DIMS; i++) {
        n_holding += (double)upper[i] < DIFF_STATS_RATIO && (double)p[i] <= r.threshold;
        n_there += mean[i] > 0;
    }
    read_text(dir, "heatmap_tense.svg", &b);
    CHECK_MSG(count_in(b.data, "<rect") == 1 + POINTS * DIMS + 100, "%zu rectangles", count_in(b.data, "<rect"));
    CHECK_MSG(count_in(b.data, "<circle") == n_holding, "%zu dots for %zu claims", count_in(b.data, "<circle"), n_holding);
    read_text(dir, "scatter_tense.svg", &b);
    CHECK_MSG(count_in(b.data, "<circle") > n_there / 2 && count_in(b.data, "<circle") <= n_there, "%zu points of %zu",
              count_in(b.data, "<circle"), n_there);
    read_text(dir, "bars_tense.svg", &b);
    CHECK(count_in(b.data, "<rect") == 1 + DIFF_FIGURE_BARS && strstr(b.data, "stroke-dasharray=\"2 2\""));
    read_text(dir, "histogram_tense.svg", &b);
    CHECK_MSG(count_in(b.data, "<polygon") == 2 * LAYERS + 2, "%zu outlines", count_in(b.data, "<polygon"));
    read_text(dir, "curves_last.svg", &b); /* a band a category, and a marker for each layer after the embedding */
    CHECK_MSG(count_in(b.data, "<polygon") == 3 && count_in(b.data, "<circle") == 3 * LAYERS, "%zu bands, %zu markers",
              count_in(b.data, "<polygon"), count_in(b.data, "<circle"));

    /* What a matched control is, where one is drawn; the lens takes it as it is. */
    static const struct {
        const char *name, *text;
    } scaled[] = {{"control_last.svg", "farther in the embedding"},
                  {"relative_last.svg", "farther in the embedding"},
                  {"histogram_tense.svg", "farther in the embedding"},
                  {"cosine_last.svg", "1 - cosine is scaled down"},
                  {"curves_last.svg", "has two bounds"},
                  {"contrast.svg", "has two bounds"}};
    for (size_t i = 0; i < sizeof scaled / sizeof *scaled; i++) {
        read_text(dir, scaled[i].name, &b);
        CHECK_MSG(strstr(b.data, scaled[i].text), "%s", scaled[i].name);
    }
    read_text(dir, "kl_last.svg", &b);
    CHECK(!strstr(b.data, "scaled"));

    /* CSV: all cells, and the numbers of the tensors; a histogram counts every dimension once. */
    read_text(dir, "stable_tense.csv", &b);
    CHECK(count_in(b.data, "\n") == 1 + POINTS * DIMS);
    StrBuf line = {0};
    strbuf_puts(&line, "\n2,3");
    strbuf_csv_number(&line, (double)ratio[2 * DIMS + 3]);
    strbuf_putc(&line, ',');
    CHECK_MSG(strstr(b.data, line.data), "no line %s", line.data);
    strbuf_free(&line);
    read_text(dir, "scatter_tense.csv", &b);
    CHECK(count_in(b.data, "\n") == 1 + n_there);
    read_text(dir, "histogram_tense.csv", &b);
    double counted = 0;
    for (char *at = strchr(b.data, '\n'); at && at[1]; at = strchr(at + 1, '\n')) {
        double layer = 0, from = 0, to = 0, pairs = 0;
        CHECK(sscanf(at + 1, "%lf,%lf,%lf,%lf", &layer, &from, &to, &pairs) == 4 && from < to && layer >= 1 && layer <= LAYERS);
        counted += pairs;
    }
    CHECK_MSG(counted == LAYERS * DIMS, "%g of %d dimensions counted", counted, LAYERS * DIMS);
    read_text(dir, "heatmap_tense.csv", &b);
    CHECK(count_in(b.data, "\n") == 1 + POINTS * DIMS &&
          strstr(b.data, "\n0,0,0,,,0\n")); /* the embedding at the last position */
done:
    diff_view_close(&r);
    strbuf_free(&b);
}

/* A category whose control is too far: no dots, and the figures say why. */
static void test_far_control(void)
{
    static const char from[] = "\"name\": \"tense\", ", to[] = "\"name\": \"tense\", \"control_is_far\": true, ";
    static const char why[] = "tokens lie farther apart";
    char dir[600];
    StrBuf json = {0}, b = {0};
    Error e = {0};
    CHECK(file_read(RESULT "/diff.json", 8 << 20, &b, &e) == 0);
    char *at = strstr(b.data, from);
    CHECK(at != NULL);
    strbuf_append(&json, b.data, (size_t)(at - b.data));
    strbuf_puts(&json, to);
    strbuf_puts(&json, at + strlen(from));
    write_temp("diff.json", json.data, json.len);
    copy_temp(RESULT "/diff.safetensors", "diff.safetensors");
    CHECK_MSG(diff_figures_write(temp_dir, NULL, CAPTIONS_EN, true, &e) == 0, "%s", e.text);
    snprintf(dir, sizeof dir, "%s/figures", temp_dir);
    static const char *const maps[] = {"heatmap_tense.svg", "stable_tense.svg"};
    for (int i = 0; i < 2; i++) {
        read_text(dir, maps[i], &b);
        CHECK_MSG(strstr(b.data, why) && !strstr(b.data, "Dot: ") && !strstr(b.data, "<circle"), "%s", maps[i]);
    }
    read_text(dir, "bars_tense.svg", &b);
    CHECK(strstr(b.data, "lie farther"));
    read_text(dir, "curves_last.svg", &b);
    CHECK(strstr(b.data, "tense \xe2\x80\xa0<") && strstr(b.data, ">subject<") && strstr(b.data, why));
    read_text(dir, "claims_last.svg", &b);
    CHECK(strstr(b.data, "tense \xe2\x80\xa0<") && strstr(b.data, why));
    read_text(dir, "heatmap_subject.svg", &b);
    CHECK(!strstr(b.data, why));
    strbuf_free(&json);
    strbuf_free(&b);
}

/* Every caption that the figures use has a Japanese text; with a Japanese font it is what is drawn. */
static void test_japanese(void)
{
    static const char *const some[] = {"subject",
                                       "last",
                                       "difference / control",
                                       "matched control",
                                       "log2 of the ratio",
                                       "error pairs minus meaning pairs",
                                       "mean against spread of |difference|/sigma",
                                       "Grey: the control does not change there"};
    Error e = {0};
    StrBuf b = {0};
    char dir[600];
    CHECK(captions_has(DIFF_DRAW_FAR) && captions_has(DIFF_DRAW_SCALED) && captions_has(DIFF_DRAW_SCALED_COSINE) &&
          captions_has(DIFF_DRAW_RATIO_BOUNDS) && captions_has(DIFF_DRAW_CONTRAST_BOUNDS));
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        CHECK_MSG(captions_has(some[i]), "%s", some[i]);
    CHECK_MSG(diff_figures_write(temp_dir, "edited", CAPTIONS_JA, true, &e) == 0, "%s", e.text);
    bool has_font = captions_for_figures(CAPTIONS_JA, true) == CAPTIONS_JA;
    snprintf(dir, sizeof dir, "%s/figures", temp_dir);
    read_text(dir, "contrast.svg", &b);
    CHECK(strstr(b.data, has_font ? "誤りの対" : "error pairs"));
    read_text(dir, "heatmap_tense.svg", &b);
    CHECK(strstr(b.data, has_font ? "編集位置" : "edited"));
    strbuf_free(&b);
}

int main(void)
{
    if (!temp_begin())
        return 1;
    RUN(test_result_is_read);
    RUN(test_odd_results);
    RUN(test_figures);
    RUN(test_far_control);
    RUN(test_japanese);
    temp_end();
    return test_finish();
}
