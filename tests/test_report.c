/* test_report.c: the paper's material. Every file is there, its numbers are those of ppl.json and pos.json, LaTeX is balanced and escaped
 * (as pdflatex needs it), texts hold what run.json says, figures have the widths and text sizes of journals. */
#include "tests/test.h"

#include <unistd.h>

#include "experiments/studies.h"
#include "tests/compile_latex.h"
#include "tests/read_json.h"

#define DATA "tests/data/compare/"
static char temp[] = "/tmp/strata_test_report_XXXXXX";
static Arena arena;

static void shell(const char *format, const char *a, const char *b)
{
    char command[900];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(command, sizeof command, format, a, b);
#pragma GCC diagnostic pop
    CHECK_MSG(system(command) == 0, "%s", command);
}

/* The text of DIR/name; "" after a failed check when it is not there. Valid until the next call. */
static const char *read_text(const char *dir, const char *name)
{
    static StrBuf text;
    char path[600];
    Error e = {""};
    strbuf_reset(&text);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    CHECK_MSG(file_read(path, 8 << 20, &text, &e) == 0, "%s", e.text);
    return text.data ? text.data : "";
}

static const JsonValue *read_result(const char *dir, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return read_json(path, &arena);
}

static const JsonValue *at(const JsonValue *v, const char *key)
{
    const JsonValue *found = json_get(v, key);
    CHECK_MSG(found != NULL, "no %s", key);
    return found;
}

static int report(const char *const *dirs, size_t n, const char *output_dir, const char *lang, Error *e)
{
    const StrataReportOptions o = {.dirs = dirs, .n_dirs = n, .output_dir = output_dir, .lang = lang, .common = {.quiet = 1}};
    return strata_report(&o, e);
}

static const char run_json[] =
    "{\"schema\": \"strata.run/1\", \"version\": \"9.8.7\", \"commit\": \"abcdef012345\", \"device\": \"cpu\", "
    "\"processor\": \"A Processor\", \"threads\": 3, \"blas_core\": \"Zen\"}\n";

/* A result with a run.json, parts of speech, and a model whose name is all special characters. */
static void make_result(char dir[300])
{
    char path[320];
    Error e = {""};
    snprintf(dir, 300, "%s/results/removal/a_n24", temp);
    shell("mkdir -p %s && cp " DATA "a/*.* %s", dir, dir);
    snprintf(path, sizeof path, "%s/ppl.json", dir);
    shell("sed -i 's|org/Model-A|org/M_1 \\& 50%% {x}^~ $3 #4 <y>|' %s%s", path, "");
    const StrataPosOptions pos = {.common = {.model_name = dir, .quiet = 1}};
    CHECK_MSG(strata_pos(&pos, &e) == 0, "%s", e.text);
    snprintf(path, sizeof path, "%s/run.json", dir);
    CHECK(file_write_atomic(path, run_json, sizeof run_json - 1, &e) == 0);
}

/* Braces that are not escaped and environments are balanced, special characters escaped, rows end with \\, cells as many as columns. */
static void check_latex(const char *dir, const char *name, size_t n_rows)
{
    const char *text = read_text(dir, name);
    int depth = 0, environments = 0;
    size_t rows = 0;
    for (const char *s = text; *s; s++) {
        if (*s == '\\') {
            environments += strncmp(s, "\\begin{", 7) == 0;
            environments -= strncmp(s, "\\end{", 5) == 0;
            rows += s[1] == '\\';
            s += strncmp(s, "\\label{", 7) == 0 ? strcspn(s, "}") : 1; /* names, not text */
            continue;
        }
        depth += *s == '{';
        depth -= *s == '}';
        CHECK_MSG(depth >= 0 && environments >= 0, "%s: at %.30s", name, s);
        CHECK_MSG(!strchr("%#_^~<>|", *s), "%s: a bare %c at %.30s", name, *s, s);
        CHECK_MSG((unsigned char)*s < 0x80 || strstr(name, ".ja."), "%s: not ASCII at %.30s", name, s);
    }
    CHECK_MSG(depth == 0 && environments == 0, "%s: %d braces, %d environments left open", name, depth, environments);
    CHECK_MSG(rows == n_rows, "%s: %zu rows, expected %zu", name, rows, n_rows);
    CHECK(strstr(text, "\\toprule") && strstr(text, "\\midrule") && strstr(text, "\\bottomrule"));
}

/* The next field of CSV without quotes, as a number; an empty one is NaN. */
static double next_number(const char **s)
{
    double value = **s == ',' || **s == '\n' ? NAN : strtod(*s, NULL);
    *s += strcspn(*s, ",\n");
    *s += **s == ',';
    return value;
}

static double number_or_nan(const JsonValue *v)
{
    return v && v->kind == JSON_NUMBER ? v->number : NAN;
}

static void same(double got, double want, const char *what)
{
    CHECK_MSG(got == want || (isnan(got) && isnan(want)), "%s: got %.17g, expected %.17g", what, got, want);
}

static void check_layers(const char *dir, const char *out)
{
    const JsonValue *orders = at(read_result(dir, "ppl.json"), "orders");
    const char *s = read_text(out, "layers.csv");
    s += strcspn(s, "\n") + 1;
    for (size_t i = 0; i < orders->len && *s; i++) {
        const JsonValue *o = &orders->items[i], *ci = at(o, "delta_nll_ci95"), *all = at(o, "delta_nll_ci95_simultaneous");
        size_t n = at(o, "name")->len;
        CHECK(strncmp(s, at(o, "name")->string, n) == 0 && s[n] == ',');
        s += n + 1;
        same(next_number(&s), (double)i, "place");
        same(next_number(&s), (double)i / 11, "depth");
        same(next_number(&s), at(o, "delta_nll")->number, "delta_nll");
        same(next_number(&s), ci->items[0].number, "lo");
        same(next_number(&s), ci->items[1].number, "hi");
        same(next_number(&s), all->items[0].number, "simultaneous lo");
        same(next_number(&s), all->items[1].number, "simultaneous hi");
        same(next_number(&s), at(o, "top1_accuracy")->number, "top-1");
        same(next_number(&s), at(o, "agreement")->number, "agreement");
        same(next_number(&s), at(o, "kl")->number, "kl");
        same(next_number(&s), at(o, "nll")->number, "nll");
        same(next_number(&s), at(o, "ppl")->number, "ppl");
        CHECK(*s++ == '\n');
    }
    CHECK(!*s && orders->len == 12);
    /* And rounded in LaTeX. */
    char cell[64];
    snprintf(cell, sizeof cell, "removal\\_0 & %.4f & ", at(&orders->items[0], "delta_nll")->number);
    CHECK_MSG(strstr(read_text(out, "layers.tex"), cell), "%s", cell);
}

static void check_tags(const char *dir, const char *out)
{
    const JsonValue *groups = at(read_result(dir, "pos.json"), "groups"), *values = NULL;
    for (size_t i = 0; i < groups->len; i++)
        if (json_is_string(at(&groups->items[i], "by"), "upos"))
            values = at(&groups->items[i], "values");
    const char *s = read_text(out, "tags.csv");
    s += strcspn(s, "\n") + 1;
    for (size_t v = 0; values && v < values->len; v++) {
        const JsonValue *orders = at(&values->items[v], "orders");
        for (size_t o = 0; o < orders->len; o++) {
            CHECK(strncmp(s, at(&values->items[v], "value")->string, at(&values->items[v], "value")->len) == 0);
            s += strcspn(s, ",") + 1;
            same(next_number(&s), at(&values->items[v], "is_ranked")->boolean, "is_ranked");
            same(next_number(&s), at(&values->items[v], "n_words")->number, "n_words");
            for (int skip = 0; skip < 5; skip++) /* units, loss, accuracy, F1, the order's name */
                s += strcspn(s, ",") + 1;
            same(next_number(&s), number_or_nan(json_get(&orders->items[o], "delta_word_nll")), "delta_word_nll");
            s += strcspn(s, "\n") + 1;
        }
    }
    CHECK(!*s && values && values->len == 17);
}

/* Width in points, and every text between 7 points and 8. */
static void check_figure(const char *out, const char *name, double width_mm)
{
    char file[600];
    double width = 0;
    snprintf(file, sizeof file, "figures/%s.svg", name);
    const char *svg = read_text(out, file), *box = strstr(svg, "viewBox=\"0 0 ");
    CHECK(box && sscanf(box, "viewBox=\"0 0 %lf", &width) == 1);
    CHECK_NEAR(width, width_mm / 25.4 * 72, 0.01);
    size_t n = 0;
    for (const char *s = svg; (s = strstr(s, "font-size=\"")); s++, n++) {
        double size = strtod(s + 11, NULL);
        CHECK_MSG(size >= 7 && size <= 8, "%s: text of %g points", name, size);
    }
    CHECK(n > 5);
    for (int i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "%s/figures/%s.%s", out, name, i ? "pdf" : "png");
        CHECK_MSG(file_exists(file), "%s", file);
    }
}

static void one_result(void)
{
    char dir[300], out[320];
    Error e = {""};
    make_result(dir);
    const char *dirs[] = {dir};
    CHECK_MSG(report(dirs, 1, NULL, NULL, &e) == 0, "%s", e.text);
    snprintf(out, sizeof out, "%s/report", dir);
    check_layers(dir, out);
    check_tags(dir, out);
    check_latex(out, "setup.tex", 23);
    check_latex(out, "layers.tex", 13);
    check_latex(out, "tags.tex", 18);
    check_latex(out, "setup.ja.tex", 23);
    check_latex(out, "layers.ja.tex", 13);
    check_latex(out, "tags.ja.tex", 18);
    CHECK(strstr(read_text(out, "setup.ja.tex"), "24 記事") && !strstr(read_text(out, "setup.ja.tex"), "article"));
    CHECK(strstr(read_text(out, "layers.tex"),
                 "M\\_1 \\& 50\\% \\{x\\}\\textasciicircum{}\\textasciitilde{} \\$3 \\#4 \\textless{}y\\textgreater{}"));
    CHECK(strstr(read_text(out, "setup.csv"), "predicted tokens,232\n") && strstr(read_text(out, "setup.csv"), "Strata 9.8.7"));
    static const char *const figures[] = {"layers_84mm",    "layers_174mm",    "tags_84mm",    "tags_174mm",
                                          "layers_84mm_ja", "layers_174mm_ja", "tags_84mm_ja", "tags_174mm_ja"};
    for (size_t i = 0; i < 8; i++)
        check_figure(out, figures[i], i % 2 ? 174 : 84);
    CHECK(strstr(read_text(out, "figures/layers.csv"), "removal_11,11,") &&
          strstr(read_text(out, "figures/tags.csv"), "NOUN,"));
    /* The index names every file but itself. */
    static const char *const listed[] = {
        "methods.en.md",     "methods.ja.md", "setup.tex",  "setup.csv",     "layers.tex",          "layers.csv",
        "tags.tex",          "tags.csv",      "report.tex", "report.ja.tex", "figures/layers_84mm", "figures/tags_84mm_ja",
        "figures/layers.csv"};
    for (size_t i = 0; i < sizeof listed / sizeof *listed; i++)
        CHECK_MSG(strstr(read_text(out, "README.md"), listed[i]), "%s", listed[i]);
    const char *document = read_text(out, "report.tex");
    CHECK(strstr(document, "\\input{layers.tex}") && strstr(document, "figures/tags_84mm.pdf") &&
          strstr(document, "\\end{document}"));
    shell("rm -r %s && [ ! -e %s ]", out, out);
    CHECK_MSG(report(dirs, 1, NULL, "en", &e) == 0, "%s", e.text);
    shell("[ -e %s/layers.tex ] && [ -z \"$(find %s -name '*ja*')\" ]", out, out);
}

static void methods(void)
{
    char dir[300], out[320];
    Error e = {""};
    make_result(dir);
    const char *dirs[] = {dir};
    CHECK_MSG(report(dirs, 1, NULL, "both", &e) == 0, "%s", e.text);
    snprintf(out, sizeof out, "%s/report", dir);
    static const char *const en[] = {
        "(12 layers; SHA-256 of the weights ",
        "on made-up (test split), the first 24 non-empty rows",
        "at most 64 tokens; no beginning-of-sequence token",
        "232 predicted tokens",
        "each layer in turn was removed (12 variants)",
        "paired bootstrap over 24 articles (1000 resamples, PCG64, seed 0",
        "Strata 9.8.7 (commit abcdef012345) in f32 arithmetic (fast) on the CPU (A Processor) with 3 threads",
        "not a measure of capability",
        "not measured on this corpus"};
    static const char *const ja[] = {"12 \xe5\xb1\xa4", "232 \xe3\x83\x88\xe3\x83\xbc\xe3\x82\xaf\xe3\x83\xb3",
                                     "1000 \xe5\x9b\x9e", "Strata 9.8.7", "abcdef012345"};
    for (size_t i = 0; i < sizeof en / sizeof *en; i++)
        CHECK_MSG(strstr(read_text(out, "methods.en.md"), en[i]), "%s", en[i]);
    for (size_t i = 0; i < sizeof ja / sizeof *ja; i++)
        CHECK_MSG(strstr(read_text(out, "methods.ja.md"), ja[i]), "%s", ja[i]);
    CHECK(!strstr(read_text(out, "methods.en.md"), "nan") && !strstr(read_text(out, "methods.ja.md"), "nan"));
}

/* Several results: names with a prefix, one setup; without pos.json no tags; an exchange has its places at i + 1/2. */
static void several_results(void)
{
    char out[300];
    Error e = {""};
    const char *dirs[] = {DATA "a/ppl.json", DATA "b", DATA "a_exchange/"};
    snprintf(out, sizeof out, "%s/several", temp);
    CHECK_MSG(report(dirs, 3, out, "en", &e) == 0, "%s", e.text);
    CHECK(strstr(read_text(out, "setup.csv"), ",result 1,result 2,result 3\n"));
    check_latex(out, "setup.tex", 46); /* two results a table */
    check_latex(out, "compare_b_layers.tex", 6);
    CHECK(strstr(read_text(out, "compare_a_exchange_layers.csv"), "exchange_0_1,0.5,"));
    CHECK(strstr(read_text(out, "methods.en.md"), "## Model-B-Instruct, removal"));
    CHECK(strstr(read_text(out, "methods.en.md"), "each pair of adjacent layers in turn was exchanged"));
    shell("[ ! -e %s/compare_a_tags.tex ] && [ -e %s/figures/compare_a_layers_84mm.svg ]", out, out);
}

/* 50 permutations: no layer axis, a table longer than a page, no run.json, unknown values. */
static void long_and_bare(void)
{
    char dir[300], path[320];
    StrBuf json = {0};
    Error e = {""};
    snprintf(dir, sizeof dir, "%s/bare", temp);
    CHECK(file_make_dirs(dir, &e) == 0);
    strbuf_puts(&json,
                "{\"schema\":\"strata.ppl/1\",\"model\":\"m\",\"dataset\":\"d\",\"experiment\":\"shuffle:50\",\"n_tokens\":5,"
                "\"protocol\":{\"name\":\"concat\",\"hashes\":{\"rows_sha256\":\"00\"}},\"baseline\":");
    for (int i = 0; i <= 50; i++) {
        strbuf_printf(&json, "%s{\"name\":\"shuffle_%d\",\"ledger_index\":%d,\"steps\":[{},{},{}],\"nll\":1.5,\"ppl\":%s,",
                      i > 1 ? "," : "", i - 1, i, i == 7 ? "null" : "4.5");
        strbuf_printf(&json, "\"top1_accuracy\":0.5,\"agreement\":0.25,\"kl\":0.125,\"delta_nll\":%s}%s",
                      i == 7 ? "null" : "0.5", i ? "" : ",\"orders\":[");
    }
    strbuf_puts(&json, "]}");
    snprintf(path, sizeof path, "%s/ppl.json", dir);
    CHECK(file_write_atomic(path, json.data, json.len, &e) == 0);
    strbuf_free(&json);
    const char *dirs[] = {dir};
    CHECK_MSG(report(dirs, 1, NULL, NULL, &e) == 0, "%s", e.text);
    snprintf(path, sizeof path, "%s/report", dir);
    check_latex(path, "layers.tex", 2 + 50);
    CHECK(strstr(read_text(path, "layers.tex"), "(continued)") &&
          strstr(read_text(path, "layers.tex"), "shuffle\\_6 & -- & 50.00"));
    CHECK(strstr(read_text(path, "methods.en.md"), "permuted at random") &&
          strstr(read_text(path, "methods.en.md"), "No intervals"));
    CHECK(!strstr(read_text(path, "methods.en.md"), "nan"));
    shell("! grep -q nan %s/methods.ja.md %s/setup.csv", path, path);
}

/* A model's name of special characters, a table of two pages without intervals, several results: as the documents' first lines say. */
static void check_document(bool japanese)
{
    char dir[300], bare[300], out[300];
    Error e = {""};
    make_result(dir);
    snprintf(bare, sizeof bare, "%s/bare", temp);
    snprintf(out, sizeof out, "%s/documents%d", temp, japanese);
    const char *dirs[] = {dir, bare, DATA "a_exchange"};
    CHECK_MSG(report(dirs, 3, out, japanese ? "ja" : "en", &e) == 0, "%s", e.text);
    latex_check(out, japanese ? "report.ja" : "report");
}

LATEX_TESTS(check_document)

static void refusals(void)
{
    Error e = {""};
    const char *twice[] = {DATA "a", DATA "a/ppl.json"}, *none[] = {"tests/data"};
    CHECK(report(NULL, 0, temp, NULL, &e) == STATUS_USAGE && strstr(e.text, "expected a result folder"));
    CHECK(report(twice, 2, temp, NULL, &e) == STATUS_USAGE && strstr(e.text, "the same folder"));
    CHECK(report(none, 1, temp, NULL, &e) == STATUS_FAILED && strstr(e.text, "tests/data/ppl.json"));
    CHECK(report(twice, 1, temp, "fr", &e) == STATUS_USAGE && strstr(e.text, "expected en, ja or both"));
}

int main(void)
{
    if (!mkdtemp(temp))
        return 1;
    RUN(one_result);
    RUN(methods);
    RUN(several_results);
    RUN(long_and_bare);
    RUN(english_compiles);
    RUN(japanese_compiles);
    RUN(refusals);
    arena_free(&arena);
    shell("rm -rf %s%s", temp, "");
    return test_finish();
}
