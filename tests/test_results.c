/* test_results.c: ppl.json, ppl.csv and rows.jsonl of a ledger given by a formula, against numpy (tests/data/results/expected.json,
 * written by tools/make_results_fixture.py, which states the formula). */
#include <unistd.h>

#include "engine/base/file.h"
#include "experiments/result_file.h"
#include "experiments/results.h"
#include "tests/byte_tokenizer.h"
#include "tests/test.h"

enum { N_ORDERS = 4, N_LAYERS = 3 };
static char folder[] = "/tmp/strata-results-XXXXXX";
static Tokenizer *tokenizer;
static ResultFile expected;

typedef struct Ledgered {
    Dataset data;
    Windows windows;
    OrderSet orders;
    LedgerView view;
    float *memory;
    int32_t *integers;
} Ledgered;

static bool open_case(Ledgered *l, size_t n_rows, bool nonfinite)
{
    Error e;
    memset(l, 0, sizeof *l);
    DatasetOptions d = {.path = "tests/data/results/rows.txt", .max_rows = n_rows};
    WindowOptions w = {.context = 256, .bos_id = -1, .vocab = BYTE_TOKENIZER_VOCAB};
    int status = dataset_open_with(&d, &l->data, &e);
    status = status ? status : windows_build(&l->data, tokenizer, &w, &l->windows, &e);
    status = status ? status : orders_generate("removal", N_LAYERS, 0, &l->orders, &e);
    CHECK_MSG(status == STATUS_OK, "%s", e.text);
    size_t n = l->windows.n_tokens;
    l->memory = calloc(N_ORDERS * n + 1, 2 * sizeof *l->memory);
    l->integers = calloc(N_ORDERS * n + 1, 2 * sizeof *l->integers);
    if (status || !l->memory || !l->integers)
        return false;
    float *nll = l->memory, *kl = nll + N_ORDERS * n;
    int32_t *rank = l->integers, *top1 = rank + N_ORDERS * n;
    for (size_t o = 0; o < N_ORDERS; o++) {
        for (size_t t = 0; t < n; t++) {
            nll[o * n + t] = (float)((37 * t + 101 * o) % 97) / 16 + (float)o / 8;
            kl[o * n + t] = o ? (float)((5 * t + 3 * o) % 13) / 64 : 0;
            rank[o * n + t] = (int32_t)((7 * t + o) % 9);
            top1[o * n + t] = (int32_t)((3 * t + (t % 4 == 0 ? o : 0)) % 50);
        }
    }
    if (nonfinite) {
        nll[2 * n + 5] = INFINITY;
        nll[3 * n + 7] = NAN;
    }
    l->view = (LedgerView){.n_orders = N_ORDERS,
                           .n_tokens = n,
                           .nll_dtype = DTYPE_F32,
                           .nll = nll,
                           .kl = kl,
                           .rank = rank,
                           .top1 = top1,
                           .window = l->windows.window,
                           .row = l->windows.row};
    return true;
}

static void close_case(Ledgered *l)
{
    free(l->memory);
    free(l->integers);
    order_set_free(&l->orders);
    windows_free(&l->windows);
    dataset_close(&l->data);
}

/* Both null, or close. Sums are exact on both sides (a few roundings and one exp follow); a bootstrap ratio is a sum over 25 units in
 * another order, and the interval a difference of two ratios near 3: 25 * 2^-53 * 3 is 1e-14. */
static void check_number(const ResultNode *got, const ResultNode *want, const char *field)
{
    double a = 0, b = 1;
    Error e;
    CHECK_MSG(result_number(got, field, &a, &e) == STATUS_OK, "%s", e.text);
    CHECK_MSG(result_number(want, field, &b, &e) == STATUS_OK, "%s", e.text);
    bool same = (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-13 * fmax(1, fabs(b));
    CHECK_MSG(same, "%s.%s: got %.17g, expected %.17g", want->where, field, a, b);
}

static void check_interval(const ResultNode *got, const ResultNode *want, const char *field)
{
    double a[2] = {NAN, NAN}, b[2] = {NAN, NAN};
    Error e;
    CHECK_MSG(result_has(got, field) == result_has(want, field), "%s.%s", want->where, field);
    if (!result_has(got, field) || !result_has(want, field))
        return;
    CHECK_MSG(result_numbers(got, field, a, 2, &e) == STATUS_OK, "%s", e.text);
    CHECK_MSG(result_numbers(want, field, b, 2, &e) == STATUS_OK, "%s", e.text);
    for (int i = 0; i < 2; i++)
        CHECK_MSG(fabs(a[i] - b[i]) <= 1e-12, "%s.%s[%d]: got %.17g, expected %.17g", want->where, field, i, a[i], b[i]);
}

static void check_order(const ResultNode *got, const ResultNode *want, size_t index)
{
    static const char *const fields[] = {"nll",           "ppl",       "word_ppl",   "bits_per_byte", "top1_accuracy",
                                         "top5_accuracy", "agreement", "kl",         "delta_nll",     "ppl_mean_of_rows",
                                         "nll_body",      "ppl_body",  "n_nonfinite"};
    static const char *const names[] = {"intact", "removal_0", "removal_1", "removal_2"};
    static const char *const specs[] = {"0-2", "1,2", "0,2", "0,1"};
    static const double layers[][3] = {{0, 1, 2}, {1, 2}, {0, 2}, {0, 1}};
    double order[3], value = -1;
    const char *text = "";
    Error e;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        check_number(got, want, fields[i]);
    check_interval(got, want, "delta_nll_ci95");
    check_interval(got, want, "delta_nll_ci95_simultaneous");
    CHECK(result_string(got, "name", &text, &e) == STATUS_OK);
    CHECK_STR(text, names[index]);
    CHECK(result_string(got, "spec", &text, &e) == STATUS_OK);
    CHECK_STR(text, specs[index]);
    CHECK(result_number(got, "ledger_index", &value, &e) == STATUS_OK && value == (double)index);
    size_t n = index ? 2 : 3;
    CHECK_MSG(result_numbers(got, "order", order, n, &e) == STATUS_OK, "%s", e.text);
    CHECK(memcmp(order, layers[index], n * sizeof *order) == 0);
}

static void check_file(const ResultNode *want, const ResultsInput *in)
{
    static const char *const same[][2] = {
        {"n_tokens", "n_tokens"}, {"n_body_tokens", "n_body_tokens"}, {"n_unscored", "n_unscored"}};
    char *path = file_join(in->dir, "ppl.json");
    ResultFile f;
    ResultNode protocol, denominators, baseline, orders, want_orders, item = {0}, want_item = {0};
    Error e;
    CHECK_MSG(path && result_file_open(path, "strata.ppl/1", &f, &e) == STATUS_OK, "%s", e.text);
    free(path);
    for (size_t i = 0; i < 3; i++)
        check_number(&f.root, want, same[i][0]);
    CHECK(result_child(&f.root, "protocol", &protocol, &e) == STATUS_OK &&
          result_child(&protocol, "denominators", &denominators, &e) == STATUS_OK);
    int64_t value = -1;
    double wanted = -2;
    CHECK(result_integer(&denominators, "words", &value, &e) == STATUS_OK &&
          result_number(want, "words", &wanted, &e) == STATUS_OK);
    CHECK_MSG((double)value == wanted, "words: got %lld, expected %g", (long long)value, wanted);
    CHECK(result_integer(&denominators, "bytes", &value, &e) == STATUS_OK &&
          result_number(want, "bytes", &wanted, &e) == STATUS_OK);
    CHECK_MSG((double)value == wanted, "bytes: got %lld, expected %g", (long long)value, wanted);
    check_number(&protocol, want, "n_units");
    CHECK(result_child(&f.root, "baseline", &baseline, &e) == STATUS_OK &&
          result_child(&f.root, "orders", &orders, &e) == STATUS_OK);
    CHECK(result_child(want, "orders", &want_orders, &e) == STATUS_OK && result_length(&orders) == N_ORDERS - 1);
    CHECK(result_each(&want_orders, &want_item));
    check_order(&baseline, &want_item, 0);
    for (size_t i = 1; i < N_ORDERS && result_each(&orders, &item) && result_each(&want_orders, &want_item); i++)
        check_order(&item, &want_item, i);
    result_file_close(&f);
}

static void check_case(size_t index)
{
    ResultNode cases, want = {0};
    Error e;
    double n_rows = 0, seed = 0, n_resamples = 0;
    const char *name = "";
    CHECK(result_child(&expected.root, "cases", &cases, &e) == STATUS_OK);
    for (size_t i = 0; i <= index; i++)
        CHECK(result_each(&cases, &want));
    CHECK(result_number(&want, "n_rows", &n_rows, &e) == STATUS_OK && result_string(&want, "name", &name, &e) == STATUS_OK);
    CHECK(result_number(&expected.root, "seed", &seed, &e) == STATUS_OK);
    CHECK(result_number(&expected.root, "n_resamples", &n_resamples, &e) == STATUS_OK);
    Ledgered l;
    if (open_case(&l, (size_t)n_rows, strcmp(name, "nonfinite") == 0)) {
        ResultsInput in = {.dir = folder,
                           .model = "a \"model\"",
                           .dataset = "rows",
                           .experiment = "removal",
                           .n_samples = 1000,
                           .split = "test",
                           .dtype = "f32",
                           .numerics = "fast",
                           .rope = "hf32",
                           .seed = (uint64_t)seed,
                           .n_resamples = (size_t)n_resamples,
                           .data = &l.data,
                           .windows = &l.windows,
                           .orders = &l.orders};
        Results r;
        CHECK_MSG(results_compute(&in, &l.view, &r, &e) == STATUS_OK, "%s", e.text);
        CHECK(r.has_intervals == (index != 1));
        CHECK_MSG(results_write(&in, &r, &e) == STATUS_OK, "%s", e.text);
        check_file(&want, &in);
        results_free(&r);
    }
    close_case(&l);
}

static void figures_are_numpys(void)
{
    check_case(0);
}

static void under_20_units_no_interval(void)
{
    check_case(1);
}

static void losses_that_are_not_finite_are_null(void)
{
    check_case(2);
}

static char *read_text(const char *name)
{
    StrBuf text = {0};
    Error e;
    char *path = file_join(folder, name);
    CHECK_MSG(path && file_read(path, (size_t)1 << 24, &text, &e) == STATUS_OK, "%s", e.text);
    free(path);
    return text.data;
}

static bool holds(const char *text, const char *part)
{
    bool found = text && strstr(text, part);
    if (!found)
        printf("expected %s\n", part);
    return found;
}

/* Influence, counters, greedy, the table and the rows, with values that can be worked out in the head. */
static void other_parts(void)
{
    Ledgered l;
    Error e;
    if (!open_case(&l, 3, true)) {
        close_case(&l);
        return;
    }
    InfluenceSums sums = {0};
    CHECK(influence_sums_init(&sums, N_LAYERS, &e) == STATUS_OK);
    for (int i = 0; i < N_LAYERS; i++)
        sums.cosine_sum[i] = 4 - i;
    for (int i = 0; i < N_LAYERS * (N_LAYERS + 1) / 2; i++)
        sums.angle_sum[i] = i;
    sums.n_tokens = 4;
    sums.n_windows = 2;
    ResultsCounters counters = {.flops = 1e12,
                                .flops_naive = 2.5e12,
                                .weight_bytes_moved = 7,
                                .layer_evaluations = 6,
                                .naive_layer_evaluations = 9,
                                .visits = 3,
                                .loads = 2,
                                .n_blocks = 1};
    GreedyStage stage = {.ledger_index = 2, .nll_even = 3.5, .nll_odd = NAN};
    int32_t removed = 1;
    GreedyPath greedy = {.n_layers = N_LAYERS,
                         .n_stages = 1,
                         .n_done = 1,
                         .removed = &removed,
                         .stages = &stage,
                         .n_tokens_even = 5,
                         .intact_even = 3,
                         .intact_odd = NAN};
    ResultsInput in = {.dir = folder,
                       .model = "m",
                       .dataset = "d",
                       .experiment = "removal",
                       .n_samples = 3,
                       .split = "test",
                       .dtype = "f32",
                       .numerics = "fast",
                       .rope = "hf32",
                       .data = &l.data,
                       .windows = &l.windows,
                       .orders = &l.orders,
                       .influence = &sums,
                       .counters = &counters,
                       .greedy = &greedy};
    Results r;
    CHECK_MSG(results_compute(&in, &l.view, &r, &e) == STATUS_OK, "%s", e.text);
    CHECK(results_write(&in, &r, &e) == STATUS_OK && results_write_rows(&in, &e) == STATUS_OK);
    char *json = read_text("ppl.json"), *csv = read_text("ppl.csv"), *rows = read_text("rows.jsonl");
    CHECK(holds(json, "\"block_influence\": [0, 0.25, 0.5], \"angular_distance\": [[0, 0.5, 1], [1.5, 2], [2.5]]"));
    CHECK(holds(json, "\"flops\": 1000000000000, \"flops_naive\": 2500000000000, \"weight_bytes_moved\": 7"));
    CHECK(holds(json,
                "\"greedy\": {\"n_stages\": 1, \"n_tokens_even\": 5, \"n_tokens_odd\": 0, \"nll_even\": 3, \"nll_odd\": null"));
    CHECK(holds(
        json, "{\"stage\": 0, \"removed\": 1, \"order\": \"removal_1\", \"ledger_index\": 2, \"spec\": \"0,2\", \"nll_even\": "
              "3.5, \"nll_odd\": null, \"delta_nll_odd\": null}"));
    CHECK(holds(csv, "\n\"removal_1\",\"0,2\",2,,,,,")); /* a loss is infinite: empty fields */
    CHECK(
        holds(rows, "{\"row\":0,\"line\":1,\"kind\":\"heading\",\"article\":0,\"n_tokens\":12,\"text\":\" = Title 0 = \"}\n"));
    CHECK(holds(rows, "{\"row\":1,\"line\":3,\"kind\":\"body\",\"article\":0,"));
    CHECK(rows && strchr(strchr(strchr(rows, '\n') + 1, '\n') + 1, '\n')[1] == '\0'); /* three lines */
    CHECK(results_write(&in, &r, &e) == STATUS_OK);
    char *again = read_text("ppl.json");
    CHECK_STR(again, json);
    free(again);
    free(json);
    free(csv);
    free(rows);
    results_free(&r);
    l.view.n_tokens--;
    CHECK(results_compute(&in, &l.view, &r, &e) == STATUS_FAILED && strstr(e.text, "expected 4 and"));
    influence_sums_free(&sums);
    close_case(&l);
}

int main(void)
{
    Error e = {""};
    if (!mkdtemp(folder) || !(tokenizer = byte_tokenizer_open(folder)))
        return 1;
    if (result_file_open("tests/data/results/expected.json", NULL, &expected, &e)) {
        printf("%s\n", e.text);
        return 1;
    }
    RUN(figures_are_numpys);
    RUN(under_20_units_no_interval);
    RUN(losses_that_are_not_finite_are_null);
    RUN(other_parts);
    result_file_close(&expected);
    tokenizer_close(tokenizer);
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) ? 1 : test_finish();
}
