/* test_figures.c: figures and tables. Figures: every style writes SVG, PNG and PDF, text is text, all is inside the page, the same
 * description gives the same bytes, odd values (NaN, one point, none positive on a log axis) are drawn or refused. Tables:
 * expected output written by hand from RFC 4180 and the booktabs manual. */
#include "tests/test.h"

#include <unistd.h>

#include "engine/base/file.h"
#include "engine/base/strbuf.h"
#include "experiments/figure.h"
#include "experiments/figure_axis.h"
#include "experiments/sweep_figure.h"
#include "experiments/table.h"

static char temp[] = "/tmp/strata_test_figures_XXXXXX";

static void stem_path(char out[256], const char *name)
{
    snprintf(out, 256, "%s/%s", temp, name);
}

static void read_back(const char *stem, const char *ending, StrBuf *b)
{
    char path[300];
    Error e = {0};
    snprintf(path, sizeof path, "%s.%s", stem, ending);
    strbuf_reset(b);
    CHECK_MSG(file_read(path, 8 << 20, b, &e) == 0, "%s", e.text);
}

/* Every attribute named x=, y= of a text lies on the page; no NaN got through. */
static void check_svg(const char *svg)
{
    double width = 0, height = 0;
    const char *box = strstr(svg, "viewBox=\"0 0 ");
    CHECK(box && sscanf(box, "viewBox=\"0 0 %lf %lf", &width, &height) == 2 && width > 100 && height > 50);
    CHECK(!strstr(svg, "nan") && !strstr(svg, "null") && !strstr(svg, "inf\""));
    size_t n_texts = 0;
    for (const char *t = svg; (t = strstr(t, "<text")); t++) {
        double x = 0, y = 0;
        CHECK(sscanf(t, "<text x=\"%lf\" y=\"%lf\"", &x, &y) == 2);
        CHECK_MSG(x >= 0 && x <= width && y >= 0 && y <= height, "a text at %g, %g on a page of %g x %g", x, y, width, height);
        n_texts++;
    }
    CHECK(n_texts > 3);
    CHECK(strstr(svg, "</svg>\n"));
}

static void check_files(const char *stem, const char *text)
{
    StrBuf b = {0};
    read_back(stem, "svg", &b);
    CHECK(b.data && strstr(b.data, text));
    if (b.data)
        check_svg(b.data);
    read_back(stem, "png", &b);
    CHECK(b.len > 1000 && memcmp(b.data, "\x89PNG\r\n\x1a\n", 8) == 0);
    read_back(stem, "pdf", &b);
    CHECK(b.len > 1000 && memcmp(b.data, "%PDF-", 5) == 0);
    strbuf_free(&b);
}

static void same_files(const char *a, const char *b)
{
    static const char *const endings[] = {"svg", "png", "pdf"};
    StrBuf x = {0}, y = {0};
    for (size_t i = 0; i < 3; i++) {
        read_back(a, endings[i], &x);
        read_back(b, endings[i], &y);
        CHECK_MSG(x.len == y.len && x.len && memcmp(x.data, y.data, x.len) == 0, "two %s of one figure differ", endings[i]);
    }
    strbuf_free(&x);
    strbuf_free(&y);
}

static void test_plots(void)
{
    enum { N = 12 };
    double y[N] = {7.1, 1.3, 0.4, 0.2, 0.1, NAN, 0.06, 0.05, -0.02, 0.1, 0.3, 1.1}, lo[N], hi[N];
    const char *names[N] = {"ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN"};
    for (size_t i = 0; i < N; i++) {
        lo[i] = y[i] * 0.9 - 0.01;
        hi[i] = i == 7 ? NAN : y[i] * 1.1 + 0.01;
    }
    FigureSeries s[2] = {{"removal <of> \xce\xb1 & \xce\xb2", NULL, y, lo, hi, N}, {"bare", NULL, y, NULL, NULL, N - 3}};
    FigurePlot p = {.title = "A title that is far too long for one line of a narrow figure and has to be wrapped somewhere",
                    .x = {.label = "layer", .integers = true},
                    .y = {.label = "change of loss", .scale = FIGURE_SCALE_AUTO},
                    .series = s,
                    .n_series = 2,
                    .zero_line = true};
    char stem[256], again[256];
    Error e = {0};
    for (int style = FIGURE_LINES; style <= FIGURE_POINTS; style++)
        for (int scale = FIGURE_SCALE_LINEAR; scale <= FIGURE_SCALE_AUTO; scale++) {
            p.style = (FigureStyle)style;
            p.y.scale = (FigureScale)scale;
            p.x.names = style == FIGURE_BARS ? names : NULL;
            p.x.n_names = N;
            p.width_mm = scale % 2 ? FIGURE_WIDE_MM : FIGURE_NARROW_MM;
            stem_path(stem, "plot");
            CHECK_MSG(figure_write_plot(&p, stem, &e) == 0, "%s", e.text);
            check_files(stem, "removal &lt;of&gt; \xce\xb1 &amp; \xce\xb2");
        }
    stem_path(again, "again");
    CHECK(figure_write_plot(&p, again, &e) == 0);
    same_files(stem, again);
    s[0].n = 1; /* one point, then nothing at all */
    p.n_series = 1;
    p.style = FIGURE_LINES;
    CHECK_MSG(figure_write_plot(&p, stem, &e) == 0, "%s", e.text);
    s[0].n = 0;
    CHECK(figure_write_plot(&p, stem, &e) == STATUS_FAILED && strstr(e.text, "without points"));
    s[0].n = N;
    p.height_mm = 9;
    CHECK(figure_write_plot(&p, stem, &e) == STATUS_FAILED && strstr(e.text, "no room"));
    p.height_mm = 0;
    stem_path(stem, "no/such/folder/plot");
    CHECK(figure_write_plot(&p, stem, &e) == STATUS_FAILED);
}

static void test_heatmaps(void)
{
    enum { ROWS = 12, COLS = 17 };
    double v[ROWS * COLS];
    unsigned char grey[ROWS * COLS] = {0};
    for (size_t i = 0; i < ROWS * COLS; i++)
        v[i] = sin((double)i) * 3;
    v[5] = NAN;
    grey[9] = 1;
    FigureHeatmap h = {.title = "Heat",
                       .x_label = "dimension",
                       .y_label = "layer",
                       .value_label = "mean difference",
                       .values = v,
                       .greyed = grey,
                       .n_rows = ROWS,
                       .n_cols = COLS,
                       .show_values = true,
                       .width_mm = FIGURE_WIDE_MM};
    char stem[256], again[256];
    Error e = {0};
    stem_path(stem, "heat");
    stem_path(again, "heat_again");
    CHECK_MSG(figure_write_heatmap(&h, stem, &e) == 0, "%s", e.text);
    check_files(stem, "mean difference");
    CHECK(figure_write_heatmap(&h, again, &e) == 0);
    same_files(stem, again);
    h.diverging = true;
    h.width_mm = 0;
    CHECK_MSG(figure_write_heatmap(&h, stem, &e) == 0, "%s", e.text);
    check_files(stem, "layer");
    for (size_t i = 0; i < ROWS * COLS; i++)
        v[i] = NAN; /* nothing to scale by */
    CHECK_MSG(figure_write_heatmap(&h, stem, &e) == 0, "%s", e.text);
    for (size_t i = 0; i < ROWS * COLS; i++)
        v[i] = 0.25;
    h.extent = 1; /* the colours' range is told, not taken from the values */
    CHECK_MSG(figure_write_heatmap(&h, stem, &e) == 0, "%s", e.text);
    check_files(stem, ">1</text>");
    h.n_rows = 1000;
    h.n_cols = 1000;
    CHECK(figure_write_heatmap(&h, stem, &e) == STATUS_FAILED);
}

static size_t count_in(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *t = text; (t = strstr(t, what)); t++)
        n++;
    return n;
}

/* 60,000 points: one circle a drawn point, all inside the axes, no file beyond 1 MB; far fewer where they cover each other. */
static void test_clouds(void)
{
    enum { N = 60000 };
    static double x[N], y[N], v[N];
    size_t n_drawn = 0, n_few = 0;
    for (size_t i = 0; i < N; i++) {
        x[i] = 0.001 * (double)(1 + (i * 7919) % N);
        y[i] = x[i] * (1 + 0.5 * sin((double)i));
        v[i] = (double)(i % 30);
    }
    FigureCloud c = {.title = "Cloud",
                     .x = {.label = "mean", .scale = FIGURE_SCALE_LOG},
                     .y = {.label = "spread", .scale = FIGURE_SCALE_LOG},
                     .xs = x,
                     .ys = y,
                     .values = v,
                     .n = N,
                     .value_label = "layer",
                     .value_integers = true,
                     .diagonal = 1,
                     .note = "Small print",
                     .n_drawn = &n_drawn};
    char stem[256], again[256];
    StrBuf b = {0};
    Error e = {0};
    stem_path(stem, "cloud");
    stem_path(again, "cloud_again");
    CHECK_MSG(figure_write_cloud(&c, stem, &e) == 0, "%s", e.text);
    check_files(stem, "Small print");
    read_back(stem, "svg", &b);
    CHECK_MSG(b.len < 1000000 && n_drawn > 1000 && count_in(b.data, "<circle") == n_drawn, "%zu bytes, %zu circles, %zu drawn",
              b.len, count_in(b.data, "<circle"), n_drawn);
    read_back(stem, "pdf", &b);
    CHECK_MSG(b.len < 1000000, "%zu bytes of PDF", b.len);
    CHECK(figure_write_cloud(&c, again, &e) == 0);
    same_files(stem, again);
    c.n = 50; /* far apart: none is lost but those that cannot be on a log axis */
    x[3] = 0;
    y[7] = NAN;
    c.n_drawn = &n_few;
    CHECK_MSG(figure_write_cloud(&c, stem, &e) == 0, "%s", e.text);
    CHECK_MSG(n_few >= 45 && n_few <= 48, "%zu of 48", n_few);
    c.n = 0;
    CHECK(figure_write_cloud(&c, stem, &e) == STATUS_FAILED);
    strbuf_free(&b);
}

/* Histograms and rules: one outline and one filling a series and panel, one dashed line a rule. */
static void test_histograms(void)
{
    double middle[5] = {0.5, 1.5, 2.5, 3.5, 4.5}, a[5] = {0, 3, 9, 2, 0}, k[5] = {1, 4, NAN, 4, 1};
    const double rules[2] = {6, 12};
    FigureSeries s[2] = {{.label = "pairs", .x = middle, .y = a, .n = 5}, {.label = "control", .x = middle, .y = k, .n = 5}};
    FigurePlot plots[3];
    for (size_t i = 0; i < 3; i++)
        plots[i] = (FigurePlot){.title = "layer",
                                .style = FIGURE_STEPS,
                                .x = {.label = "difference"},
                                .y = {.label = "coordinates"},
                                .series = s,
                                .n_series = 2,
                                .rules = rules,
                                .n_rules = i ? 0 : 2};
    FigurePanels panels = {.title = "Histograms", .plots = plots, .n_plots = 3, .n_cols = 3, .width_mm = FIGURE_WIDE_MM};
    char stem[256];
    StrBuf b = {0};
    Error e = {0};
    stem_path(stem, "histograms");
    CHECK_MSG(figure_write_panels(&panels, stem, &e) == 0, "%s", e.text);
    check_files(stem, "coordinates");
    read_back(stem, "svg", &b);
    CHECK_MSG(count_in(b.data, "<polygon") == 2 * 3 + 2 && count_in(b.data, "stroke-dasharray=\"2 2\"") == 2, "%zu fillings",
              count_in(b.data, "<polygon"));
    CHECK(strstr(b.data, ">10</text>")); /* the rule at 12 is inside the axis */
    stem_path(stem, "histogram");
    CHECK_MSG(figure_write_plot(&plots[0], stem, &e) == 0, "%s", e.text);
    check_files(stem, "pairs");
    strbuf_free(&b);
}

static void expect_ticks(FigureScale scale, double a, double b, int most, const char *expected)
{
    double values[2] = {a, b};
    FigureRange r;
    char got[512] = "";
    figure_range(&r, scale, false, false, values, 2, most);
    for (size_t i = 0; i < r.n_ticks; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i ? " " : "", r.ticks[i].text);
    CHECK_STR(got, expected);
    CHECK_NEAR(figure_position(&r, r.min), 0, 1e-12);
    CHECK_NEAR(figure_position(&r, r.max), 1, 1e-12);
    CHECK(figure_position(&r, a) > 0.03 && figure_position(&r, b) < 0.97);
}

/* Bars and steps of nothing at all stand on the axis' lower end. */
static void test_zeros(void)
{
    double values[2] = {0, 0};
    FigureRange r;
    figure_range(&r, FIGURE_SCALE_LINEAR, true, true, values, 2, 6);
    CHECK(r.n_ticks == 2 && r.ticks[0].value == 0 && r.ticks[1].value == 1 && r.min > -0.1 && r.min < 0);
}

static void test_ticks(void)
{
    expect_ticks(FIGURE_SCALE_LINEAR, 0, 1, 6, "0 0.2 0.4 0.6 0.8 1");
    expect_ticks(FIGURE_SCALE_LINEAR, -3, 7, 6,
                 "\xe2\x88\x92"
                 "2 0 2 4 6");
    expect_ticks(FIGURE_SCALE_LINEAR, 2.0001, 2.0003, 4, "2.0001 2.0002 2.0003");
    expect_ticks(FIGURE_SCALE_LINEAR, 0, 3e6, 4, "0 1e6 2e6 3e6");
    expect_ticks(FIGURE_SCALE_LOG, 0.01, 1000, 6, "0.01 0.1 1 10 100 1000");
    expect_ticks(FIGURE_SCALE_LOG, 2, 9, 8, "2 5");
    expect_ticks(FIGURE_SCALE_LOG, 1e-12, 1e12, 6, "1e-10 1e-5 1 1e5 1e10");
}

static void test_tables(void)
{
    const char *headers[] = {"order", "ppl", "note, \"quoted\""};
    Table t;
    StrBuf b = {0};
    Error e = {0};
    table_begin(&t, headers, 3);
    table_text(&t, "removal_0");
    table_number(&t, 1234.5678901234567, 2);
    table_text(&t, "a,b");
    table_text(&t, "\xe6\x97\xa5\xe6\x9c\xac"); /* two wide characters */
    table_number(&t, -0.1, 2);
    table_text(&t, "50 % of x_1");
    table_text(&t, "e\xcc\x81"); /* e and a combining acute */
    table_number(&t, NAN, 2);
    CHECK(table_width("\xe6\x97\xa5\xe6\x9c\xac") == 4 && table_width("e\xcc\x81") == 1 && table_width("\xff") == 1);
    CHECK(table_write_text(&t, &b, &e) == 0);
    CHECK_STR(b.data, "order          ppl  note, \"quoted\"\n"
                      "removal_0  1234.57  a,b\n"
                      "\xe6\x97\xa5\xe6\x9c\xac         -0.10  50 % of x_1\n"
                      "e\xcc\x81                \xe2\x80\x93\n");
    strbuf_reset(&b);
    CHECK(table_write_csv(&t, &b, &e) == 0);
    CHECK_STR(b.data, "order,ppl,\"note, \"\"quoted\"\"\"\n"
                      "removal_0,1234.5678901234567,\"a,b\"\n"
                      "\xe6\x97\xa5\xe6\x9c\xac,-0.1,50 % of x_1\n"
                      "e\xcc\x81,,\n");
    strbuf_reset(&b);
    CHECK(table_write_latex(&t, "Loss & ppl", "tab:a", &b, &e) == 0);
    CHECK_STR(b.data, "\\begin{table}[htbp]\n\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}\n\\caption{Loss \\& "
                      "ppl}\n\\label{tab:a}\n\\begin{tabular}{lrl}\n\\toprule\n"
                      "order & ppl & note, \"quoted\" \\\\\n\\midrule\n"
                      "removal\\_0 & 1234.57 & a,b \\\\\n"
                      "\xe6\x97\xa5\xe6\x9c\xac & $-$0.10 & 50 \\% of x\\_1 \\\\\n"
                      "e\xcc\x81 & -- &  \\\\\n\\bottomrule\n\\end{tabular}\n\\end{table}\n");
    strbuf_free(&b);
    table_free(&t);
}

/* Study A's figure from made-up results: files are there, positions follow from the names. */
static void test_sweep_figure(void)
{
    static const struct {
        const char *experiment, *names[4], *positions[4];
    } cases[] = {{"removal", {"intact", "removal_0", "removal_1", "removal_12"}, {"", "0", "1", "12"}},
                 {"block:4", {"intact", "block_0_3", "block_1_4", "block_2_5"}, {"", "1.5", "2.5", "3.5"}},
                 {"replace", {"intact", "replace_0_by_1", "replace_1_by_0", "replace_1_by_2"}, {"", "0", "1", "1"}},
                 {"shuffle:3", {"intact", "shuffle_0", "shuffle_1", "shuffle_2"}, {"", "0", "1", "2"}}};
    OrderResult results[4] = {{.delta_nll = 0},
                              {.delta_nll = 7, .ci95 = {6, 8}, .ci95_simultaneous = {5, 9}},
                              {.delta_nll = 0.125, .ci95 = {0.1, 0.2}, .ci95_simultaneous = {0.05, 0.25}},
                              {.delta_nll = -0.5, .ci95 = {NAN, NAN}, .ci95_simultaneous = {NAN, NAN}}};
    Results r = {.orders = results, .n_orders = 4, .has_intervals = true};
    StrBuf b = {0};
    Error e = {0};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        Order orders[4] = {{0}};
        char dir[256], stem[300], expected[400];
        for (size_t i = 0; i < 4; i++)
            orders[i].name = cases[k].names[i];
        OrderSet set = {.orders = orders, .n_orders = 4};
        stem_path(dir, cases[k].experiment);
        ResultsInput in = {.dir = dir, .model = "m", .dataset = "d", .experiment = cases[k].experiment, .orders = &set};
        CHECK_MSG(sweep_figure_write(&in, &r, &e) == 0, "%s", e.text);
        snprintf(stem, sizeof stem, "%s/figures/layers", dir);
        check_files(stem, "m on d");
        read_back(stem, "csv", &b);
        snprintf(expected, sizeof expected,
                 "order,position,delta_nll,ci95_lo,ci95_hi,ci95_simultaneous_lo,ci95_simultaneous_hi\n"
                 "%s,%s,7,6,8,5,9\n%s,%s,0.125,0.1,0.2,0.05,0.25\n%s,%s,-0.5,,,,\n",
                 cases[k].names[1], cases[k].positions[1], cases[k].names[2], cases[k].positions[2], cases[k].names[3],
                 cases[k].positions[3]);
        CHECK_STR(b.data ? b.data : "", expected);
    }
    strbuf_free(&b);
}

int main(void)
{
    if (!mkdtemp(temp))
        return 1;
    RUN(test_plots);
    RUN(test_heatmaps);
    RUN(test_clouds);
    RUN(test_histograms);
    RUN(test_sweep_figure);
    RUN(test_zeros);
    RUN(test_ticks);
    RUN(test_tables);
    char command[512];
    snprintf(command, sizeof command, "rm -rf %s", temp);
    if (system(command) != 0)
        printf("left behind: %s\n", temp);
    return test_finish();
}
