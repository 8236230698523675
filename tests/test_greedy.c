/* test_greedy.c: a greedy sweep against brute force: the same candidates run as orders of their own, and the path chosen by plain loops
 * over their losses; ties and losses that are not finite on ledgers made by hand. */
#include <unistd.h>

#include "engine/base/file.h"
#include "engine/ledger.h"
#include "engine/order.h"
#include "experiments/greedy.h"
#include "experiments/result_file.h"
#include "experiments/studies.h"
#include "tests/test.h"

enum { L = 3, STAGES = 2, ROWS = 31 };
static char folder[] = "/tmp/strata-greedy-XXXXXX";
static char data[64], orders[64];

static void write_rows(void)
{
    FILE *f = fopen(data, "w");
    unsigned x = 12345;
    for (int r = 0; f && r < ROWS; r++) {
        int n = 2 + (r * 7) % 23;
        fprintf(f, "{\"ids\":[");
        for (int i = 0; i < n; i++) {
            x = x * 1103515245u + 12345u;
            fprintf(f, "%s%u", i ? "," : "", (x >> 16) % 128);
        }
        fprintf(f, "]}\n");
    }
    CHECK(f && fclose(f) == 0);
}

static void sweep(const char *experiment, const char *orders_file, const char *output, LedgerView *out)
{
    char dir[96], path[256];
    Error e = {""};
    snprintf(dir, sizeof dir, "%s/%s", folder, output);
    StrataSweepOptions o = {.common = {.model_name = "tests/data/models/llama", .quiet = 1, .threads = 1},
                            .dataset_path = data,
                            .experiment = experiment,
                            .orders = orders_file,
                            .output_dir = dir};
    int status = strata_sweep(&o, &e);
    CHECK_MSG(status == STATUS_OK, "%s: %s", output, e.text);
    snprintf(path, sizeof path, "%s/%s/llama_rows_n1000/ledger.safetensors", dir, output);
    status = status ? status : ledger_view_open(path, out, &e);
    CHECK_MSG(status == STATUS_OK, "%s", e.text);
}

/* Rows of two ledgers that came from the same candidates. The plans have the same shape, but the block's height is each sweep's own
 * choice and sgemm may sum in another order for it: a few ulps of losses near log(128) = 4.9, ulp 4.8e-7. */
static void check_rows_equal(const LedgerView *a, size_t row_a, const LedgerView *b, size_t row_b)
{
    double worst = 0, worst_kl = 0;
    CHECK(a->n_tokens == b->n_tokens);
    for (size_t t = 0; t < a->n_tokens; t++) {
        worst = fmax(worst, fabs(ledger_view_nll(a, row_a, t) - ledger_view_nll(b, row_b, t)));
        worst_kl = fmax(worst_kl, fabs((double)a->kl[row_a * a->n_tokens + t] - (double)b->kl[row_b * b->n_tokens + t]));
    }
    CHECK_MSG(worst <= 4e-6, "rows %zu, %zu: %g", row_a, row_b, worst);
    CHECK_MSG(worst_kl <= 4e-6, "rows %zu, %zu: kl %g", row_a, row_b, worst_kl);
}

/* Mean loss over the windows of one parity, added up plainly. */
static double plain_mean(const LedgerView *v, size_t row, int parity)
{
    double sum = 0;
    size_t n = 0;
    for (size_t t = 0; t < v->n_tokens; t++) {
        if (v->window[t] % 2 == parity) {
            sum += ledger_view_nll(v, row, t);
            n++;
        }
    }
    return sum / (double)n;
}

static void equals_brute_force(void)
{
    LedgerView greedy = {0}, removal = {0}, second = {0};
    char path[256];
    int left[2], n_left = 0, gone[STAGES];
    Error e;
    sweep("greedy:2", NULL, "greedy_2", &greedy);
    sweep("removal", NULL, "removal", &removal);
    if (!greedy.n_orders || !removal.n_orders)
        return;
    CHECK(greedy.n_orders == 1 + L + (L - 1));
    size_t best = 1;
    for (size_t i = 0; i <= L; i++)
        check_rows_equal(&greedy, i, &removal, i);
    for (size_t i = 2; i <= L; i++)
        best = plain_mean(&removal, i, 0) < plain_mean(&removal, best, 0) ? i : best;
    gone[0] = (int)best - 1;
    for (int l = 0; l < L; l++)
        if (l != gone[0])
            left[n_left++] = l;
    FILE *f = fopen(orders, "w");
    CHECK(f && fprintf(f, "a: %d\nb: %d\n", left[1], left[0]) > 0 && fclose(f) == 0); /* a lacks left[0], b lacks left[1] */
    sweep(NULL, orders, "orders_second", &second);
    if (!second.n_orders)
        return;
    check_rows_equal(&greedy, 1 + L, &second, 1);
    check_rows_equal(&greedy, 2 + L, &second, 2);
    size_t pick = plain_mean(&second, 2, 0) < plain_mean(&second, 1, 0) ? 2 : 1;
    gone[1] = left[pick - 1];

    snprintf(path, sizeof path, "%s/greedy_2/greedy_2/llama_rows_n1000/ppl.json", folder);
    ResultFile file;
    ResultNode node, stages, item = {0};
    double x = NAN;
    CHECK_MSG(result_file_open(path, "strata.ppl/1", &file, &e) == STATUS_OK, "%s", e.text);
    CHECK(result_child(&file.root, "greedy", &node, &e) == STATUS_OK &&
          result_child(&node, "stages", &stages, &e) == STATUS_OK);
    CHECK(result_number(&node, "nll_odd", &x, &e) == STATUS_OK);
    CHECK_NEAR(x, plain_mean(&greedy, 0, 1), 1e-12); /* some hundred additions of values near 5: 1e2 * 2^-53 * 5 */
    const size_t rows[STAGES] = {best, L + pick};
    for (int s = 0; s < STAGES && result_each(&stages, &item); s++) {
        int64_t removed = -1, index = -1;
        const char *name = "";
        char expected[32];
        snprintf(expected, sizeof expected, "greedy_%d_%d", s, gone[s]);
        CHECK(result_integer(&item, "removed", &removed, &e) == STATUS_OK && removed == gone[s]);
        CHECK(result_integer(&item, "ledger_index", &index, &e) == STATUS_OK && (size_t)index == rows[s]);
        CHECK(result_string(&item, "order", &name, &e) == STATUS_OK);
        CHECK_STR(name, expected);
        CHECK(result_number(&item, "nll_even", &x, &e) == STATUS_OK);
        CHECK_NEAR(x, plain_mean(&greedy, rows[s], 0), 1e-12);
        CHECK(result_number(&item, "nll_odd", &x, &e) == STATUS_OK);
        CHECK_NEAR(x, plain_mean(&greedy, rows[s], 1), 1e-12);
    }
    result_file_close(&file);
    ledger_view_close(&greedy);
    ledger_view_close(&removal);
    ledger_view_close(&second);
}

static void ties_and_infinities(void)
{
    /* Four layers, two stages: 1 + 4 + 3 rows of 3 tokens in windows 0, 1, 2; the middle token is odd and chooses nothing. */
    static const int32_t window[] = {0, 1, 2};
    float nll[8][3] = {{1, 1, 1}, {3, 0, 3}, {2, 9, 3}, {3, 8, 2}, {INFINITY, 0, 0}, {4, 7, 4}, {4, NAN, 3}, {NAN, 0, 0}};
    LedgerView v = {.n_orders = 8, .n_tokens = 3, .nll_dtype = DTYPE_F32, .nll = nll, .window = window};
    GreedyPath g;
    Error e = {""};
    CHECK(greedy_open(4, 0, &g, &e) == STATUS_USAGE && greedy_open(4, 4, &g, &e) == STATUS_USAGE && strstr(e.text, "1 to 3"));
    CHECK(greedy_open(4, 2, &g, &e) == STATUS_OK);
    CHECK(greedy_first_order(&g, 0) == 1 && greedy_first_order(&g, 1) == 5 && greedy_first_order(&g, 2) == 8);
    CHECK_MSG(greedy_choose(&g, &v, &e) == STATUS_OK, "%s", e.text);
    CHECK(g.removed[0] == 1 && g.stages[0].ledger_index == 2); /* 2 + 3 and 3 + 2 are equal: the lower layer */
    CHECK(g.stages[0].nll_even == 2.5 && g.stages[0].nll_odd == 9 && g.n_tokens_even == 2 && g.n_tokens_odd == 1);
    CHECK_MSG(greedy_choose(&g, &v, &e) == STATUS_OK, "%s", e.text);
    CHECK(g.removed[1] == 2 && g.stages[1].ledger_index == 6 && isnan(g.stages[1].nll_odd)); /* 0, 2, 3 are left */
    CHECK(greedy_choose(&g, &v, &e) == STATUS_FAILED);
    greedy_close(&g);
    for (int i = 1; i < 5; i++)
        nll[i][2] = NAN;
    CHECK(greedy_open(4, 2, &g, &e) == STATUS_OK && greedy_choose(&g, &v, &e) == STATUS_FAILED && strstr(e.text, "not finite"));
    greedy_close(&g);
}

static void lists_all_rows(void)
{
    static const int32_t removed[] = {2, 0, 9};
    static const char *const names[] = {"intact",     "greedy_0_0", "greedy_0_1", "greedy_0_2", "greedy_0_3",
                                        "greedy_1_0", "greedy_1_1", "greedy_1_3", "greedy_2_1", "greedy_2_3"};
    static const char *const specs[] = {"0-3", "1-3", "0,2,3", "0,1,3", "0-2", "1,3", "0,3", "0,1", "3", "1"};
    OrderSet set;
    Error e;
    CHECK(orders_greedy(4, removed, 3, &set, &e) == STATUS_OK && set.n_orders == 10);
    for (size_t i = 0; i < 10 && i < set.n_orders; i++) {
        CHECK_STR(set.orders[i].name, names[i]);
        CHECK_STR(set.orders[i].spec, specs[i]);
    }
    CHECK_STR(set.path_part, "greedy_3");
    order_set_free(&set);
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    snprintf(data, sizeof data, "%s/rows.jsonl", folder);
    snprintf(orders, sizeof orders, "%s/second.txt", folder);
    write_rows();
    RUN(equals_brute_force);
    RUN(ties_and_infinities);
    RUN(lists_all_rows);
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) ? 1 : test_finish();
}
