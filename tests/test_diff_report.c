/* test_diff_report.c: results of `strata diff` compared and reported, from the made-up result of tests/data/diff_result: numbers are those
 * of diff.json, curves stand over relative depth, what cannot be compared is refused, LaTeX is balanced. */
#include "tests/test.h"

#include "engine/base/file.h"
#include "engine/base/strbuf.h"
#include "experiments/diff_view.h"
#include "experiments/report.h"
#include "experiments/result_file.h"
#include "tests/compile_latex.h"
#include "tests/temp_folder.h"

#define RESULT "tests/data/diff_result"

static StrBuf text;

/* Of the temporary folder; valid until the next call. */
static const char *read_temp(const char *name)
{
    char *path = temp_path(name);
    Error e = {{0}};
    strbuf_reset(&text);
    CHECK_MSG(file_read(path, 8 << 20, &text, &e) == 0, "%s", e.text);
    strbuf_putc(&text, '\0');
    free(path);
    return text.failed ? "" : text.data;
}

static size_t count_in(const char *s, const char *what)
{
    size_t n = 0;
    for (; (s = strstr(s, what)); s++)
        n++;
    return n;
}

static int compare(const char *a, const char *b, const char *experiment, const char *depth, Error *e)
{
    const char *files[] = {a, b};
    char *out = temp_path("compared");
    StrataCompareOptions o = {.common = {.quiet = 1},
                              .json_files = files,
                              .n_json_files = 2,
                              .experiment = experiment,
                              .depth = depth,
                              .output_dir = out};
    int status = strata_compare(&o, e);
    free(out);
    return status;
}

static void test_compare(void)
{
    Error e = {{0}};
    char *copy = temp_path("copy"), *json = temp_path("compared/compare.json");
    ResultFile f = {0};
    ResultNode models, model = {0}, list, item = {0};
    copy_temp(RESULT "/diff.json", "copy/diff.json");
    CHECK_MSG(compare(RESULT, copy, NULL, NULL, &e) == 0, "%s", e.text);
    CHECK_MSG(result_file_open(json, "strata.compare_diff/1", &f, &e) == 0, "%s", e.text);
    CHECK(result_child(&f.root, "models", &models, &e) == 0 && result_length(&models) == 2);
    const char *label = "";
    CHECK(result_each(&models, &model) && result_string(&model, "label", &label, &e) == 0);
    CHECK_STR(label, "made-up (diff_result)"); /* two of one model: told apart by their folders */
    CHECK(result_child(&model, "categories", &list, &e) == 0 && result_length(&list) == 3);

    /* The mean and the smallest ratio of tense at the last position, from diff.json by hand. */
    DiffView v;
    CHECK_MSG(diff_view_open(RESULT, &v, &e) == 0, "%s", e.text);
    const DiffViewCurve *c = diff_view_curve(diff_view_position(&v.categories[1], "last"), "norm");
    double sum = 0, least = INFINITY, depth = 0, got = 0;
    for (size_t l = 1; l < v.n_points; l++) {
        sum += c->ratio[l];
        depth = c->ratio[l] < least ? (double)l / 4 : depth;
        least = fmin(least, c->ratio[l]);
    }
    CHECK(isnan(c->ratio[0]) && result_each(&list, &item) && result_each(&list, &item));
    CHECK(result_number(&item, "mean_ratio", &got, &e) == 0 && fabs(got - sum / 4) < 1e-12);
    CHECK(result_number(&item, "smallest_ratio", &got, &e) == 0 && got == least);
    CHECK(result_number(&item, "depth_of_smallest", &got, &e) == 0 && got == depth);
    diff_view_close(&v);
    /* A result against itself agrees: 3 categories, one pair of results, four filled bins. */
    CHECK(result_child(&f.root, "rank_correlation", &list, &e) == 0 && result_length(&list) == 3);
    for (item = (ResultNode){0}; result_each(&list, &item);)
        CHECK(result_number(&item, "spearman", &got, &e) == 0 && got == 1 && result_number(&item, "n_bins", &got, &e) == 0 &&
              got == 4);
    result_file_close(&f);

    const char *csv = read_temp("compared/compare.csv"); /* 2 results, 3 categories, 2 positions, 5 points */
    CHECK_MSG(count_in(csv, "\n") == 1 + 60 && strstr(csv, "made-up (copy),tense,last,4,1,"), "%zu lines", count_in(csv, "\n"));
    const char *svg = read_temp("compared/diff_curves_last.svg");
    /* Bands, and the second result's markers (squares) at 4 layers of 3 panels and in the legend. */
    CHECK_MSG(count_in(svg, "<polygon") == 6 + 12 + 1 && !strstr(svg, "nan"), "%zu polygons", count_in(svg, "<polygon"));
    svg = read_temp("compared/diff_contrast.svg");
    CHECK(count_in(svg, "<polygon") == 4 + 10 + 1 && strstr(svg, "error minus meaning"));
    CHECK(count_in(read_temp("compared/diff_contrast.csv"), "\n") == 1 + 20);

    CHECK(compare(RESULT, "tests/data/ppl.json", NULL, NULL, &e) == STATUS_USAGE && strstr(e.text, "like the others"));
    CHECK(compare(RESULT, copy, "removal", NULL, &e) == STATUS_USAGE && strstr(e.text, "removal"));
    CHECK(compare(RESULT, copy, NULL, "absolute", &e) == STATUS_USAGE && strstr(e.text, "relative depth"));
    StrBuf other = {0};
    CHECK(file_read(RESULT "/diff.json", 8 << 20, &other, &e) == 0);
    char *tap = strstr(other.data, "\"resid\"");
    if (tap)
        memcpy(tap, "\"other\"", 7);
    write_temp("copy/diff.json", other.data, other.len);
    CHECK(compare(RESULT, copy, NULL, NULL, &e) == STATUS_FAILED && strstr(e.text, "differences of other"));
    strbuf_free(&other);
    free(copy);
    free(json);
}

static int report(const char *const *dirs, size_t n, const char *out, const char *lang, Error *e)
{
    StrataReportOptions o = {.common = {.quiet = 1}, .dirs = dirs, .n_dirs = n, .output_dir = out, .lang = lang};
    return strata_report(&o, e);
}

static void check_latex(const char *name, size_t n_rows)
{
    const char *s = read_temp(name);
    CHECK_MSG(count_in(s, "\\begin{") == count_in(s, "\\end{"), "%s", name);
    CHECK_MSG(!n_rows || count_in(s, "\\\\\n") == n_rows, "%s: %zu lines", name, count_in(s, "\\\\\n"));
    CHECK_MSG(!strstr(s, "nan"), "%s", name);
}

static void test_report(void)
{
    static const char *const files[] = {"README.md",
                                        "diff_methods.en.md",
                                        "diff_methods.ja.md",
                                        "diff_categories.csv",
                                        "diff_layers.csv",
                                        "diff_dimensions.csv",
                                        "diff.tex",
                                        "diff.ja.tex",
                                        "figures/curves_last_84mm.pdf",
                                        "figures/curves_last_174mm_ja.svg",
                                        "figures/contrast_174mm.csv",
                                        "figures/heatmap_tense_174mm.png"};
    Error e = {{0}};
    copy_temp(RESULT "/diff.json", "one/diff.json");
    copy_temp(RESULT "/diff.safetensors", "one/diff.safetensors");
    char *one = temp_path("one");
    const char *const dirs[] = {one};
    CHECK_MSG(report(dirs, 1, NULL, "both", &e) == 0, "%s", e.text); /* into one/report */
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[128];
        snprintf(name, sizeof name, "one/report/%s", files[i]);
        CHECK_MSG(strlen(read_temp(name)) > 3, "%s", name);
    }
    check_latex("one/report/diff_categories.tex", 3 + 1);
    check_latex("one/report/diff_layers.ja.tex", 6 + 1);
    check_latex("one/report/diff_dimensions.tex", 15 + 1);
    check_latex("one/report/diff.tex", 0);
    const char *csv = read_temp("one/report/diff_categories.csv");
    CHECK(strstr(csv, "\ntense,error,500,40,60,") && strstr(csv, "\narticle,error,500,40,1,") && strstr(csv, ",words,0\n"));
    CHECK(count_in(read_temp("one/report/diff_dimensions.csv"), "\n") == 1 + 6 * 30);
    const char *methods = read_temp("one/report/diff_methods.en.md");
    CHECK(strstr(methods, "1500 pairs; meaning: subject; grammar errors: tense, article") &&
          strstr(methods, "made-up (4 layers, width 12"));
    CHECK(strstr(methods, "2 categories have pairs with a control from at least 20 templates"));
    CHECK(strstr(read_temp("one/report/diff_methods.ja.md"), "1500 対") && strstr(text.data, "時制、冠詞"));
    CHECK(strstr(read_temp("one/report/diff.tex"), "{figures/curves_last_174mm.pdf}"));

    /* Two folders in one report: names begin with the folder's. */
    copy_temp(RESULT "/diff.json", "two/diff.json");
    remove_temp("one/diff.safetensors"); /* without heat maps: faster */
    char *two = temp_path("two"), *out = temp_path("together");
    const char *const both[] = {one, two};
    CHECK_MSG(report(both, 2, out, "en", &e) == 0, "%s", e.text);
    CHECK(strlen(read_temp("together/one_diff_layers.csv")) > 10 && strlen(read_temp("together/two_diff_methods.en.md")) > 10);
    CHECK(strstr(read_temp("together/README.md"), "two_diff.tex"));
    free(one);
    free(two);
    free(out);
}

static void check_document(bool japanese)
{
    Error e = {{0}};
    copy_temp(RESULT "/diff.json", "tex_1/diff.json");
    copy_temp(RESULT "/diff.safetensors", "tex_1/diff.safetensors");
    char *dir = temp_path("tex_1"), *out = temp_path("tex_1/report");
    const char *const dirs[] = {dir};
    CHECK_MSG(report(dirs, 1, out, japanese ? "ja" : "en", &e) == 0, "%s", e.text);
    latex_check(out, japanese ? "diff.ja" : "diff");
    free(dir);
    free(out);
}

LATEX_TESTS(check_document)

int main(void)
{
    if (!temp_begin())
        return 1;
    RUN(test_compare);
    RUN(test_report);
    RUN(english_compiles);
    RUN(japanese_compiles);
    strbuf_free(&text);
    temp_end();
    return test_finish();
}
