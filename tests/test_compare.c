/* test_compare.c: results over each other. The common bytes against sets written by hand; whole comparisons of made-up result folders
 * against numpy and scipy (tests/data/compare/expected.json, written by tools/make_compare_fixture.py); refusals; figures. */
#include "tests/read_json.h"

#include <unistd.h>

#include "experiments/captions.h"
#include "experiments/compare.h"
#include "experiments/figure.h"
#include "experiments/figure_canvas.h"
#include "experiments/layer_axis.h"

#define DATA "tests/data/compare/"
static char temp[] = "/tmp/strata_test_compare_XXXXXX";
static Arena arena;

/* ---- common bytes ---- */

enum { MOST = 16 };
typedef struct Spans {
    int32_t row[MOST], window[MOST];
    int64_t begin[MOST], end[MOST];
    size_t n;
} Spans;

static void span(Spans *s, int row, int begin, int end)
{
    s->row[s->n] = s->window[s->n] = row;
    s->begin[s->n] = begin;
    s->end[s->n++] = end;
}

static CompareTokens tokens_of(const Spans *s)
{
    return (CompareTokens){
        .what = "spans", .n_tokens = s->n, .row = s->row, .window = s->window, .byte_start = s->begin, .byte_end = s->end};
}

static CompareRows rows_of(char *text, size_t *start, int32_t *article, size_t n)
{
    return (CompareRows){
        .n_rows = n, .start = start, .article = article, .text = {.data = text, .len = start[n]}, .has_text = true};
}

static int common(const CompareRows *rows, const Spans *models, size_t n, CompareBytes *out, Error *e)
{
    CompareTokens tokens[3];
    for (size_t i = 0; i < n; i++)
        tokens[i] = tokens_of(&models[i]);
    return compare_bytes_common(rows, true, tokens, n, out, e);
}

static void common_bytes_by_hand(void)
{
    char text[] = "ab cd efg";
    size_t start[] = {0, 9};
    int32_t article[] = {-1};
    CompareRows rows = rows_of(text, start, article, 1);
    CompareBytes b;
    Error e = {""};

    /* "ab"| " cd" " ef" "g" and "a"| "b" " c" "d" " efg": what both predicted, 2 to 9, is whole tokens of both. */
    Spans m[3] = {{.n = 0}};
    span(&m[0], 0, 2, 5), span(&m[0], 0, 5, 8), span(&m[0], 0, 8, 9);
    span(&m[1], 0, 1, 2), span(&m[1], 0, 2, 4), span(&m[1], 0, 4, 5), span(&m[1], 0, 5, 9);
    CHECK_MSG(common(&rows, m, 2, &b, &e) == 0, "%s", e.text);
    CHECK(b.n_bytes == 7 && b.n_any_bytes == 8 && b.n_words == 2 && b.n_units == 1 && b.unit_bytes[0] == 7);
    CHECK(b.n_tokens[0] == 3 && b.n_tokens[1] == 3 && b.token_unit[1][0] == -1 && b.token_unit[1][1] == 0);
    compare_bytes_free(&b);

    /* A third: "ab c"| "d " "efg". "d " joins the two words, and their first bytes it never predicted: nothing is left. */
    span(&m[2], 0, 4, 6), span(&m[2], 0, 6, 9);
    CHECK_MSG(common(&rows, m, 3, &b, &e) == 0, "%s", e.text);
    CHECK(b.n_bytes == 0 && b.n_words == 0 && b.n_units == 0 && b.n_tokens[0] == 0 && b.n_tokens[2] == 0);
    compare_bytes_free(&b);

    /* Spans without their spaces: "cd" has lost its space to the unpredicted token, "efg" takes the gap before it. */
    m[1] = (Spans){.n = 0};
    span(&m[1], 0, 3, 5), span(&m[1], 0, 6, 9);
    CHECK_MSG(common(&rows, m, 2, &b, &e) == 0, "%s", e.text);
    CHECK(b.n_bytes == 4 && b.n_words == 1 && b.n_tokens[0] == 2 && b.n_tokens[1] == 1 && b.token_unit[1][1] == 0);
    compare_bytes_free(&b);

    /* Tokens without bytes go with the byte that follows, at the end with the one before; two tokens over the same bytes. */
    m[1] = (Spans){.n = 0};
    span(&m[1], 0, 2, 2), span(&m[1], 0, 2, 5), span(&m[1], 0, 5, 9), span(&m[1], 0, 5, 9), span(&m[1], 0, 9, 9);
    CHECK_MSG(common(&rows, m, 2, &b, &e) == 0, "%s", e.text);
    CHECK(b.n_bytes == 7 && b.n_tokens[1] == 5);
    compare_bytes_free(&b);

    /* Spans that lie outside are refused. */
    m[1].end[4] = 10;
    CHECK(common(&rows, m, 2, &b, &e) == STATUS_FAILED && strstr(e.text, "token 4: expected bytes within the 9 of row 0"));
    m[1].end[4] = 9;
    m[1].row[2] = 1;
    CHECK(common(&rows, m, 2, &b, &e) == STATUS_FAILED && strstr(e.text, "token 2: expected a row below 1, found 1"));
}

static void units_are_articles_rows_or_windows(void)
{
    char text[] = "aabbccdd";
    size_t start[] = {0, 2, 4, 6, 8}, one[] = {0, 8};
    int32_t article[] = {7, -1, 7, -1}, none[] = {-1};
    CompareRows rows = rows_of(text, start, article, 4);
    CompareBytes b;
    Error e = {""};
    Spans m[2] = {{.n = 0}};
    for (int i = 0; i < 2; i++)
        for (int r = 0; r < 4; r++)
            span(&m[i], r, 0, 2);
    CHECK_MSG(common(&rows, m, 2, &b, &e) == 0, "%s", e.text);
    CHECK(b.n_units == 3 && b.unit_bytes[0] == 4 && b.unit_bytes[1] == 2 && b.unit_bytes[2] == 2);
    CHECK(b.token_unit[1][0] == 0 && b.token_unit[1][1] == 1 && b.token_unit[1][2] == 0 && b.token_unit[1][3] == 2);
    compare_bytes_free(&b);

    rows = rows_of(text, one, none, 1); /* one text: the first model's windows */
    m[0] = m[1] = (Spans){.n = 0};
    span(&m[0], 0, 1, 3), span(&m[0], 0, 3, 8), span(&m[1], 0, 1, 8);
    m[0].window[1] = 1;
    CHECK_MSG(common(&rows, m, 2, &b, &e) == 0, "%s", e.text);
    CHECK(b.n_bytes == 7 && b.n_units == 2 && b.unit_bytes[0] == 2 && b.unit_bytes[1] == 5);
    compare_bytes_free(&b);
    m[1].window[0] = 1 << 30; /* no file may ask for gigabytes */
    CHECK(common(&rows, m, 2, &b, &e) == STATUS_FAILED && strstr(e.text, "token 0: expected a window below 1"));
}

static void rows_read_and_refused(void)
{
    static const struct {
        const char *text, *error;
    } bad[] = {{"{\"text\": \"a\"}\n{\"text\": }\n", "line 2"},
               {"{\"text\": \"a\"}\n{\"row\": 1}\n", "line 2: expected a row with text or ids"},
               {"{\"text\": \"a\", \"article\": 2000000000}\n", "line 1: expected an article below"},
               {"{\"text\": \"a\", \"article\": 0.5}\n", "line 1: expected an article below"},
               {"[1]\n", "line 1: expected a row"}};
    char path[300];
    Error e = {""};
    CompareRows rows;
    snprintf(path, sizeof path, "%s/rows.jsonl", temp);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK(file_write_atomic(path, bad[i].text, strlen(bad[i].text), &e) == 0);
        CHECK_MSG(compare_rows_read(path, &rows, &e) == STATUS_FAILED && strstr(e.text, bad[i].error), "%s", e.text);
    }
    /* A NUL, a row without text, no newline at the end. */
    const char good[] = "{\"text\": \"a\\u0000b\", \"article\": 1}\n{\"text\": \"\", \"article\": null}\n{\"ids\": [1, 2]}";
    CHECK(file_write_atomic(path, good, sizeof good - 1, &e) == 0);
    CHECK_MSG(compare_rows_read(path, &rows, &e) == 0, "%s", e.text);
    CHECK(rows.n_rows == 3 && rows.start[1] == 3 && rows.start[3] == 3 && !rows.has_text);
    CHECK(rows.article[0] == 1 && rows.article[1] == -1 && rows.article[2] == -1);
    compare_rows_free(&rows);
    CHECK(file_write_atomic(path, "", 0, &e) == 0);
    CHECK_MSG(compare_rows_read(path, &rows, &e) == 0, "%s", e.text);
    CHECK(rows.n_rows == 0 && rows.start[0] == 0);
    compare_rows_free(&rows);
}

/* ---- whole comparisons ---- */

static const JsonValue *at(const JsonValue *v, const char *key)
{
    const JsonValue *found = json_get(v, key);
    CHECK_MSG(found != NULL, "no %s", key);
    return found;
}

static double number_at(const JsonValue *v, const char *key)
{
    const JsonValue *n = json_get(v, key);
    return n && n->kind == JSON_NUMBER ? n->number : NAN;
}

static int run(const char *const *files, size_t n, const char *experiment, const char *depth, const char *lang, Error *e)
{
    const StrataCompareOptions o = {.json_files = files,
                                    .n_json_files = n,
                                    .experiment = experiment,
                                    .output_dir = temp,
                                    .depth = depth,
                                    .lang = lang,
                                    .common = {.quiet = 1}};
    return strata_compare(&o, e);
}

/* Sums of 600 doubles in another order: 1e-12 is a thousand times their rounding. */
static void check_number(double got, double want, const char *what)
{
    CHECK_MSG(fabs(got - want) <= 1e-12 * fmax(1, fabs(want)), "%s: got %.17g, expected %.17g", what, got, want);
}

static void check_against_numpy(const char *const *files, size_t n, const char *which)
{
    Error e = {""};
    char path[256];
    const JsonValue *want = at(read_json(DATA "expected.json", &arena), which);
    CHECK_MSG(run(files, n, NULL, NULL, NULL, &e) == 0, "%s", e.text);
    snprintf(path, sizeof path, "%s/compare.json", temp);
    const JsonValue *got = read_json(path, &arena), *models = at(got, "models"), *pairs = at(got, "rank_correlation");
    if (!models || models->len != n || !pairs) {
        CHECK_MSG(false, "models or pairs are missing");
        return;
    }
    check_number(number_at(at(got, "common"), "bytes"), number_at(want, "bytes"), "bytes");
    check_number(number_at(at(got, "common"), "words"), number_at(want, "words"), "words");
    check_number(number_at(at(got, "common"), "units"), number_at(want, "units"), "units");
    for (size_t m = 0; m < n; m++) {
        const JsonValue *g = &models->items[m], *w = &at(want, "models")->items[m], *orders = at(g, "orders");
        check_number(number_at(g, "common_tokens"), number_at(w, "tokens"), "tokens");
        check_number(number_at(at(g, "baseline"), "bits_per_byte"), number_at(w, "bits_per_byte"), "bits");
        check_number(number_at(at(g, "baseline"), "word_nll"), number_at(w, "word_nll"), "word loss");
        double per_word = number_at(want, "bytes") * log(2.0) / number_at(want, "words");
        CHECK(orders->len == at(w, "depth")->len);
        for (size_t i = 0; i < orders->len; i++) {
            const JsonValue *o = &orders->items[i], *ci = &at(w, "ci95")->items[i];
            double delta = at(w, "delta_bits_per_byte")->items[i].number;
            check_number(number_at(o, "depth"), at(w, "depth")->items[i].number, "depth");
            check_number(number_at(o, "bin"), at(w, "bin")->items[i].number, "bin");
            check_number(number_at(o, "delta_bits_per_byte"), delta, "change");
            check_number(number_at(o, "delta_word_nll"), delta * per_word, "change of the word loss");
            for (size_t k = 0; k < 2; k++)
                check_number(at(o, "delta_bits_per_byte_ci95")->items[k].number, ci->items[k].number, "interval");
        }
    }
    CHECK(pairs->len == at(want, "pairs")->len && pairs->len == n * (n - 1) / 2);
    for (size_t p = 0; p < pairs->len; p++) {
        const JsonValue *g = &pairs->items[p], *w = &at(want, "pairs")->items[p];
        check_number(number_at(g, "a"), number_at(w, "a"), "a");
        check_number(number_at(g, "b"), number_at(w, "b"), "b");
        check_number(number_at(g, "spearman"), number_at(w, "spearman"), "spearman");
        check_number(number_at(g, "kendall"), number_at(w, "kendall"), "kendall");
        check_number(number_at(g, "n_bins"), number_at(w, "n_bins"), "bins");
        for (size_t k = 0; k < 2; k++)
            check_number(at(g, "spearman_ci95")->items[k].number, at(w, "ci95")->items[k].number, "interval of rho");
    }
}

static void against_numpy(void)
{
    const char *removal[] = {DATA "a/ppl.json", DATA "b/ppl.json", DATA "a_block/ppl.json"};
    const char *exchange[] = {DATA "a_exchange", DATA "b_exchange/"}; /* folders do too */
    const char *same[] = {DATA "a/ppl.json", DATA "a_block/ppl.json"};
    check_against_numpy(removal, 3, "removal");
    check_against_numpy(exchange, 2, "exchange");
    check_against_numpy(same, 2, "same");
}

/* One tokenizer: nats per token as ppl.json has them, and no ledger is needed. */
static void one_tokenizer(void)
{
    Error e = {""};
    char path[300], command[700];
    const char *files[] = {DATA "a/ppl.json", DATA "a_block/ppl.json"};
    CHECK_MSG(run(files, 2, "removal", NULL, NULL, &e) == 0, "%s", e.text);
    snprintf(path, sizeof path, "%s/compare.json", temp);
    const JsonValue *got = read_json(path, &arena), *ppl = read_json(files[1], &arena);
    CHECK(json_is_string(at(got, "metric"), "delta_nll") && json_is_string(at(got, "depth"), "absolute"));
    const JsonValue *g = &at(&at(got, "models")->items[1], "orders")->items[3], *w = &at(ppl, "orders")->items[3];
    CHECK(number_at(g, "delta_nll") == number_at(w, "delta_nll"));
    CHECK(at(g, "delta_nll_ci95")->items[0].number == at(w, "delta_nll_ci95")->items[0].number);
    CHECK(number_at(g, "place") == 3.5); /* layers 3 and 4 */
    double want_mean = 0;                /* blocks at (i + 1/2) / 11: bin 1 holds block 1 alone */
    want_mean = number_at(&at(ppl, "orders")->items[1], "delta_nll");
    CHECK(at(&at(got, "models")->items[1], "importance")->items[1].number == want_mean);

    snprintf(command, sizeof command, "mkdir -p %s/x %s/y && cp " DATA "a/ppl.json %s/x && cp " DATA "a_block/ppl.json %s/y",
             temp, temp, temp, temp);
    CHECK(system(command) == 0);
    char x[300], y[300];
    snprintf(x, sizeof x, "%s/x/ppl.json", temp);
    snprintf(y, sizeof y, "%s/y", temp);
    const char *bare[] = {x, y};
    CHECK_MSG(run(bare, 2, NULL, NULL, NULL, &e) == 0, "%s", e.text);
    const JsonValue *without = read_json(path, &arena);
    CHECK(at(without, "common")->kind == JSON_NULL);
    CHECK(number_at(&at(without, "rank_correlation")->items[0], "spearman") ==
          number_at(&at(got, "rank_correlation")->items[0], "spearman"));
    CHECK(at(&at(without, "rank_correlation")->items[0], "spearman_ci95")->kind == JSON_NULL);
    const char *mixed[] = {x, DATA "b"}; /* another tokenizer needs it */
    CHECK(run(mixed, 2, NULL, NULL, NULL, &e) == STATUS_FAILED && strstr(e.text, "ledger.safetensors"));
}

static void refusals(void)
{
    Error e = {""};
    char path[300];
    const char *one[] = {DATA "a/ppl.json"}, *other[] = {DATA "a/ppl.json", DATA "other_rows/ppl.json"};
    const char *experiments[] = {DATA "a/ppl.json", DATA "b_exchange/ppl.json"},
               *missing[] = {DATA "a/ppl.json", DATA "no.json"};
    CHECK(run(one, 1, NULL, NULL, NULL, &e) == STATUS_USAGE && strstr(e.text, "expected two ppl.json or more, found 1"));
    CHECK(run(other, 2, NULL, NULL, NULL, &e) == STATUS_USAGE && strstr(e.text, "rows_sha256"));
    CHECK(strstr(e.text, "other_rows/ppl.json") && (strstr(e.text, "first that differs") || strstr(e.text, "24 and 25 rows")));
    CHECK(run(experiments, 2, "removal", NULL, NULL, &e) == STATUS_USAGE);
    CHECK_STR(e.text, DATA "b_exchange/ppl.json: experiment: expected removal, found exchange");
    CHECK(run(experiments, 1, "exchange", NULL, NULL, &e) == STATUS_USAGE);
    CHECK(run(missing, 2, NULL, NULL, NULL, &e) == STATUS_FAILED && strstr(e.text, "no.json"));
    const char *good[] = {DATA "a/ppl.json", DATA "b/ppl.json"};
    CHECK(run(good, 2, NULL, "deep", NULL, &e) == STATUS_USAGE && strstr(e.text, "--depth: expected absolute or relative"));
    CHECK(run(good, 2, NULL, NULL, "fr", &e) == STATUS_USAGE && strstr(e.text, "--lang: expected en or ja"));
    snprintf(path, sizeof path, "%s/diff.json", temp); /* results of strata diff: with their like only (test_diff_report.c) */
    CHECK(file_write_atomic(path, "{\"schema\": \"strata.diff/1\"}", 27, &e) == 0);
    const char *diff[] = {DATA "a/ppl.json", path};
    CHECK(run(diff, 2, NULL, NULL, NULL, &e) == STATUS_USAGE &&
          strstr(e.text, "expected a result of strata diff like the others"));
    const char *many[COMPARE_MAX + 1];
    for (size_t i = 0; i <= COMPARE_MAX; i++)
        many[i] = DATA "a";
    CHECK(run(many, COMPARE_MAX + 1, NULL, NULL, NULL, &e) == STATUS_USAGE && strstr(e.text, "at most 8"));
    CHECK_MSG(run(many, COMPARE_MAX, NULL, NULL, NULL, &e) == 0, "%s", e.text);
}

static void places_on_the_axis(void)
{
    CHECK(layer_axis_place("removal", "removal_12") == 12 && layer_axis_place("exchange", "exchange_12_13") == 12.5);
    CHECK(layer_axis_place("block:4", "block_4_7") == 5.5 && layer_axis_place("replace", "replace_4_by_5") == 4);
    CHECK(isnan(layer_axis_place("reverse", "reverse")) && !layer_axis_label("reverse") && layer_axis_label("block:4"));
    CHECK(layer_axis_relative(11, 12) == 1 && layer_axis_relative(12.5, 26) == 0.5 && layer_axis_relative(0, 1) == 0);
}

/* Spearman and Kendall over the bins that both fill: scipy.stats.spearmanr([3, 1, 4, 1.5, 9], [2, 7, 1, 8, 2.5]) and kendalltau of
 * the same: -0.6 and -0.4. */
static void rho_over_shared_bins(void)
{
    const double a[COMPARE_BINS] = {3, NAN, 1, 4, 7, NAN, 1.5, 9, NAN, NAN};
    const double b[COMPARE_BINS] = {2, 5, 7, 1, NAN, NAN, 8, 2.5, NAN, 4};
    double kendall = 0;
    int n = 0;
    CHECK_NEAR(compare_bins_rho(a, b, &n, &kendall), -0.6, 1e-15);
    CHECK(n == 5);
    CHECK_NEAR(kendall, -0.4, 1e-15);
    const double few[COMPARE_BINS] = {1, 2, 3, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    CHECK(isnan(compare_bins_rho(few, few, &n, NULL)) && n == 3);
}

/* ---- parts of speech ---- */

/* With one tokenizer all words are common, so that what is summed here from ledgers must be what pos.json says. */
static void words_that_all_count(void)
{
    Error e = {""};
    char command[800], a[300], b[300], path[320];
    snprintf(a, sizeof a, "%s/words_a", temp);
    snprintf(b, sizeof b, "%s/words_b", temp);
    snprintf(command, sizeof command, "cp -r " DATA "a %s && cp -r " DATA "a_block %s", a, b);
    CHECK(system(command) == 0);
    const char *files[] = {a, b};
    const StrataCompareOptions options = {.json_files = files, .n_json_files = 2, .common = {.quiet = 1}};
    Compare c = {.options = &options};
    CHECK_MSG(compare_open(&c, &e) == 0, "%s", e.text);
    c.same_tokens = false;
    CHECK_MSG(compare_compute(&c, &e) == 0 && compare_read_tags(&c, &e) == 0, "%s", e.text); /* makes pos.json */
    CHECK(c.n_tags >= 4 && strstr(c.notes.data, "words that all results count"));
    size_t n_checked = 0;
    for (size_t m = 0; m < 2; m++) {
        snprintf(path, sizeof path, "%s/pos.json", files[m]);
        const JsonValue *groups = at(read_json(path, &arena), "groups");
        for (size_t g = 0; groups && g < groups->len; g++) {
            if (!json_is_string(at(&groups->items[g], "by"), "upos"))
                continue;
            const JsonValue *values = at(&groups->items[g], "values");
            for (size_t v = 0; v < values->len; v++)
                for (size_t t = 0; t < c.n_tags; t++) {
                    const JsonValue *value = &values->items[v], *orders = at(value, "orders");
                    if (!json_is_string(at(value, "value"), c.tag_names[t]) || number_at(value, "n_words") == 0)
                        continue;
                    const CompareTag *got = &c.results[m].tags[t];
                    check_number(got->n_words, number_at(value, "n_words"), c.tag_names[t]);
                    CHECK(got->is_ranked == at(value, "is_ranked")->boolean);
                    for (size_t o = 0; o < orders->len; o++) {
                        const JsonValue *ci = json_get(&orders->items[o], "delta_word_nll_ci95");
                        check_number(got->orders[o].delta, number_at(&orders->items[o], "delta_word_nll"), "change per word");
                        if (ci && ci->kind == JSON_ARRAY && !isnan(got->orders[o].lo))
                            check_number(got->orders[o].hi, ci->items[1].number, "interval");
                        n_checked++;
                    }
                }
        }
    }
    CHECK_MSG(n_checked >= 4 * 23, "%zu", n_checked);
    compare_free(&c);

    snprintf(path, sizeof path, "%s/pos_words.csv", b);
    CHECK(file_write_atomic(path, "row,other\n", 10, &e) == 0);
    c = (Compare){.options = &options};
    CHECK(compare_open(&c, &e) == 0);
    c.same_tokens = false;
    CHECK(compare_compute(&c, &e) == 0 && compare_read_tags(&c, &e) == STATUS_FAILED &&
          strstr(e.text, "pos_words.csv: line 1"));
    compare_free(&c);
}

/* ---- figures ---- */

static size_t count(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *s = text; (s = strstr(s, what)); s += strlen(what))
        n++;
    return n;
}

static void figures_show_every_order(void)
{
    const char *files[] = {DATA "a/ppl.json", DATA "b/ppl.json"};
    char path[300];
    StrBuf svg = {0};
    Error e = {""};
    CHECK_MSG(run(files, 2, NULL, NULL, NULL, &e) == 0, "%s", e.text);
    snprintf(path, sizeof path, "%s/removal_layers.svg", temp);
    CHECK_MSG(file_read(path, 1 << 20, &svg, &e) == 0, "%s", e.text);
    if (!svg.data)
        return;
    /* Circles mark the first result, 12 orders, and squares the second, 5; one more of each in the legend; two bands. */
    CHECK(count(svg.data, "<circle") == 13);
    CHECK_MSG(count(svg.data, "fill-opacity=\"0.22\"") == 2, "%zu bands", count(svg.data, "fill-opacity=\"0.22\""));
    CHECK(strstr(svg.data, ">Model-A<") && strstr(svg.data, ">Model-B-Instruct<") && strstr(svg.data, "bits per byte"));
    CHECK(strstr(svg.data, "relative depth"));
    static const char *const names[] = {"removal_layers", "removal_importance"};
    static const char *const endings[] = {"svg", "png", "pdf", "csv"};
    for (size_t i = 0; i < 8; i++) {
        snprintf(path, sizeof path, "%s/%s.%s", temp, names[i / 4], endings[i % 4]);
        CHECK_MSG(file_exists(path), "%s", path);
    }
    strbuf_reset(&svg);
    snprintf(path, sizeof path, "%s/removal_layers.csv", temp);
    CHECK(file_read(path, 1 << 20, &svg, &e) == 0 && count(svg.data, "\n") == 1 + 12 + 5);
    strbuf_free(&svg);
}

/* Panels: a marker a point and one a legend entry, one range for all, headings. */
static void panels(void)
{
    double y[3][4] = {{1, 2, 3, 4}, {2, NAN, 1, 0}, {5, 6, 7, 8}};
    FigureSeries series[3];
    FigurePlot plots[3];
    static const char *const titles[] = {"NOUN", "VERB", "ADJ"};
    char stem[300], path[320];
    StrBuf svg = {0};
    Error e = {""};
    for (size_t i = 0; i < 3; i++) {
        series[i] = (FigureSeries){.label = "m", .y = y[i], .n = 4};
        plots[i] = (FigurePlot){.title = titles[i],
                                .style = FIGURE_LINES,
                                .x = {.label = "layer", .integers = true},
                                .y = {.label = "change"},
                                .series = &series[i],
                                .n_series = 1,
                                .zero_line = true};
    }
    FigurePanels p = {.title = "Tags", .plots = plots, .n_plots = 3, .n_cols = 2, .width_mm = FIGURE_NARROW_MM};
    snprintf(stem, sizeof stem, "%s/panels", temp);
    snprintf(path, sizeof path, "%s.svg", stem);
    CHECK_MSG(figure_write_panels(&p, stem, &e) == 0 && file_read(path, 1 << 20, &svg, &e) == 0, "%s", e.text);
    if (svg.data) {
        CHECK(count(svg.data, "<circle") == 11 + 1 && count(svg.data, ">layer<") == 1 && count(svg.data, ">change<") == 1);
        CHECK(count(svg.data, ">NOUN<") == 1 && count(svg.data, ">ADJ<") == 1 && !strstr(svg.data, "nan"));
        CHECK(count(svg.data, ">5<") == 2); /* one range, 0 to 8, in both rows, though only the last panel goes beyond 4 */
    }
    p.n_plots = 0;
    CHECK(figure_write_panels(&p, stem, &e) == STATUS_FAILED && strstr(e.text, "without points"));
    strbuf_free(&svg);
}

/* Every axis label has its Japanese; with a Japanese font figures carry it, without one they fall back to English. */
static void japanese_captions(void)
{
    static const char *const experiments[] = {"removal", "exchange",     "block:2",     "replace",
                                              "repeat",  "attn-removal", "mlp-removal", "parallel:2"};
    for (size_t i = 0; i < sizeof experiments / sizeof *experiments; i++)
        CHECK_MSG(captions_has(layer_axis_label(experiments[i])), "%s", experiments[i]);
    CHECK_STR(captions_text(CAPTIONS_JA, "removed layer"), "\xe5\x89\x8a\xe9\x99\xa4\xe3\x81\x97\xe3\x81\x9f\xe5\xb1\xa4");
    CHECK_STR(captions_text(CAPTIONS_EN, "removed layer"), "removed layer");
    CHECK_STR(captions_text(CAPTIONS_JA, "never translated"), "never translated");
    bool has = figure_font_has_japanese();
    CHECK(captions_for_figures(CAPTIONS_JA, true) == (has ? CAPTIONS_JA : CAPTIONS_EN));
    CHECK(captions_for_figures(CAPTIONS_EN, true) == CAPTIONS_EN);
    /* Two full-width letters are two ems wide in any Japanese font. */
    double width = figure_text_width("\xe5\xb1\xa4\xe5\xb1\xa4", 10, false);
    CHECK_MSG(!has || fabs(width - 20) <= 1, "%g", width);
    CHECK_NEAR(figure_text_width("a\xe5\xb1\xa4", 10, false),
               figure_text_width("a", 10, false) + figure_text_width("\xe5\xb1\xa4", 10, false), 1e-9);
    const char *files[] = {DATA "a/ppl.json", DATA "b/ppl.json"};
    Error e = {""};
    StrBuf svg = {0};
    char path[300];
    CHECK_MSG(run(files, 2, NULL, NULL, "ja", &e) == 0, "%s", e.text);
    snprintf(path, sizeof path, "%s/removal_layers.svg", temp);
    CHECK(file_read(path, 1 << 20, &svg, &e) == 0);
    CHECK(svg.data && strstr(svg.data, has ? "\xe5\xb1\xa4" : "relative depth"));
    strbuf_free(&svg);
}

int main(void)
{
    /* Comparing makes a pos.json that is absent: in a copy, never in the repository. */
    char copy[300], root[512];
    if (!getcwd(root, sizeof root) || !mkdtemp(temp))
        return 1;
    snprintf(copy, sizeof copy, "mkdir -p %s/tests/data && cp -r tests/data/compare %s/tests/data", temp, temp);
    if (system(copy) != 0 || chdir(temp) != 0)
        return 1;
    RUN(common_bytes_by_hand);
    RUN(units_are_articles_rows_or_windows);
    RUN(rows_read_and_refused);
    RUN(places_on_the_axis);
    RUN(rho_over_shared_bins);
    RUN(against_numpy);
    RUN(one_tokenizer);
    RUN(refusals);
    RUN(words_that_all_count);
    RUN(figures_show_every_order);
    RUN(panels);
    RUN(japanese_captions);
    arena_free(&arena);
    if (chdir(root) != 0)
        return 1;
    char command[512];
    snprintf(command, sizeof command, "rm -rf %s", temp);
    if (system(command) != 0)
        printf("left behind: %s\n", temp);
    return test_finish();
}
