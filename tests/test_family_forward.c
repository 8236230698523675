/* test_family_forward.c: every family against transformers: per-token losses of the intact model, every removal and every exchange, and
 * hidden states, on tiny random models (tests/data/families, made by tools/make_family_fixtures.py). Each model goes through the
 * f64 oracle, through the fast table in the tree and in the naive loop, and through the stable, exact and ref64 tables.
 *
 * With directories as arguments it compares those instead and prints the worst error of each: the other half of
 * make_family_fixtures.py --random.
 *
 * Tolerance: as in test_forward.c, 5e-5 nats; transformers' own f32 rounding is within it (the oracle's error is printed). */
#include <dirent.h>
#include <stdlib.h>

#include "engine/run.h"
#include "tests/test.h"

enum { MAX_ROWS = 8, MAX_CASES = 256 };
static const double tolerance = 5e-5;

typedef struct Case {
    const char *directory;
    Model model;
    TensorFile expected;
    int32_t ids[512];
    size_t starts[MAX_ROWS + 1], n_rows;
    OrderSet orders[2]; /* removal, exchange */
    double worst;
} Case;

typedef struct Check {
    Case *c;
    const OrderSet *set;
    size_t n_results, n_bad;
} Check;

static char cases[MAX_CASES][256];
static size_t n_cases;

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void list_cases(const char *root)
{
    DIR *d = opendir(root);
    for (struct dirent *entry; d && (entry = readdir(d)) && n_cases < MAX_CASES;)
        if (entry->d_name[0] != '.')
            snprintf(cases[n_cases++], sizeof cases[0], "%s/%.100s", root, entry->d_name);
    if (d)
        closedir(d);
    qsort(cases, n_cases, sizeof cases[0], by_name);
}

static bool case_open(Case *c, const char *directory)
{
    Error e;
    char path[512];
    memset(c, 0, sizeof *c);
    c->directory = directory;
    if (model_open(directory, &c->model, &e)) {
        CHECK_MSG(false, "%s", e.text);
        return false;
    }
    snprintf(path, sizeof path, "%s/expected.safetensors", directory);
    if (tensor_file_open(path, &c->expected, &e)) {
        CHECK_MSG(false, "%s", e.text);
        return false;
    }
    for (c->n_rows = 0; c->n_rows < MAX_ROWS; c->n_rows++) {
        snprintf(path, sizeof path, "ids.%zu", c->n_rows);
        const Tensor *t = tensor_file_find(&c->expected, path);
        if (!t || c->starts[c->n_rows] + t->shape[0] > 512)
            break;
        memcpy(c->ids + c->starts[c->n_rows], t->data, t->size_bytes);
        c->starts[c->n_rows + 1] = c->starts[c->n_rows] + t->shape[0];
    }
    CHECK(c->n_rows >= 2);
    int n_layers = c->model.traits.n_layers;
    CHECK(orders_generate("removal", n_layers, 0, &c->orders[0], &e) == STATUS_OK);
    CHECK(orders_generate("exchange", n_layers, 0, &c->orders[1], &e) == STATUS_OK);
    return true;
}

static void case_close(Case *c)
{
    model_close(&c->model);
    tensor_file_close(&c->expected);
    order_set_free(&c->orders[0]);
    order_set_free(&c->orders[1]);
}

/* Compares one order's losses with the dump, row by row. */
static int on_results(void *user, size_t order, const HeadResults *r, Error *e)
{
    Check *k = user;
    (void)e;
    size_t at = 0;
    for (size_t row = 0; row < k->c->n_rows; row++) {
        char name[128];
        snprintf(name, sizeof name, "nll.%s.%zu", k->set->orders[order].name, row);
        const Tensor *t = tensor_file_find(&k->c->expected, name);
        size_t n = k->c->starts[row + 1] - k->c->starts[row] - 1;
        CHECK_MSG(t && t->shape[0] == n, "%s: %s is missing", k->c->directory, name);
        for (size_t i = 0; t && i < n; i++, at++) {
            float expected;
            memcpy(&expected, (const char *)t->data + 4 * i, 4);
            double error = fabs(r->nll[at] - (double)expected);
            k->c->worst = error <= k->c->worst ? k->c->worst : error;
            k->n_bad += !(error <= tolerance);
        }
    }
    k->n_results++;
    return STATUS_OK;
}

static void run_set(Case *c, const Session *s, const OrderSet *set, bool naive)
{
    Error e;
    Run *run;
    size_t longest = 0, rows = c->starts[c->n_rows];
    for (size_t i = 0; i < c->n_rows; i++)
        longest = c->starts[i + 1] - c->starts[i] > longest ? c->starts[i + 1] - c->starts[i] : longest;
    RunRequest q = {.orders = set->orders,
                    .n_orders = set->n_orders,
                    .longest_window = longest,
                    .total_rows = rows,
                    .block_rows = rows,
                    .naive = naive};
    Check check = {.c = c, .set = set};
    RunHooks hooks = {.user = &check, .on_results = on_results};
    TokenBlock block = {.ids = c->ids, .window_start = c->starts, .n_rows = rows, .n_windows = c->n_rows};
    int status = run_open(s, &q, &run, &e);
    CHECK_MSG(!status, "%s: %s", c->directory, e.text);
    if (status)
        return;
    status = run_block(run, &block, &hooks, &e);
    CHECK_MSG(!status, "%s: %s", c->directory, e.text);
    CHECK_MSG(check.n_bad == 0 && check.n_results == set->n_orders, "%s on %s, %s: %zu wrong values, worst loss error %g",
              c->directory, s->ops->name, set->orders[1].name, check.n_bad, c->worst);
    run_close(run);
}

/* The worst error of one directory in one arithmetic. */
static double run_case(const char *directory, const Ops *ops, int threads, bool naive)
{
    Case c;
    Session s = {0};
    Error e;
    if (case_open(&c, directory)) {
        SessionOptions so = {.device = "cpu",
                             .numerics = "fast",
                             .dtype = "f32",
                             .threads = threads,
                             .memory_bytes = (size_t)1 << 30,
                             .ops = ops};
        CHECK(session_open(&c.model, &so, &s, &e) == STATUS_OK);
        run_set(&c, &s, &c.orders[0], naive);
        run_set(&c, &s, &c.orders[1], naive);
        session_close(&s);
    }
    case_close(&c);
    return c.worst;
}

static void losses_in_the_oracle(void)
{
    double worst = 0;
    for (size_t i = 0; i < n_cases; i++) {
        double error = run_case(cases[i], &ops_ref, 1, false);
        worst = error > worst ? error : worst;
    }
    CHECK(n_cases >= 15);
    printf("  %zu models, worst loss error of the oracle %.2g\n", n_cases, worst);
}

static void losses_in_the_tree(void)
{
    for (size_t i = 0; i < n_cases; i++)
        run_case(cases[i], NULL, 2, false);
}

/* Every operation a family needs is in every table. */
static void losses_in_the_other_tables(void)
{
    static const Ops *const tables[] = {&ops_cpu_stable, &ops_cpu_exact, &ops_cpu_ref64};
    for (size_t k = 0; k < sizeof tables / sizeof *tables; k++)
        for (size_t i = 0; i < n_cases; i++)
            run_case(cases[i], tables[k], 2, false);
}

static void losses_in_the_naive_loop(void)
{
    for (size_t i = 0; i < n_cases; i++)
        run_case(cases[i], NULL, 1, true);
}

typedef struct Hidden {
    const Case *c;
    const Session *session;
    Run *run;
    const Order *order;
    double host[512 * 64];
    size_t n_checked, n_bad, row;
} Hidden;

static void compare_hidden(Hidden *h, size_t state, const double *got)
{
    char name[32];
    snprintf(name, sizeof name, "hidden.%zu", h->row);
    const Tensor *t = tensor_file_find(&h->c->expected, name);
    size_t n = t->shape[1] * t->shape[2];
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        float x;
        memcpy(&x, (const char *)t->data + 4 * (state * n + i), 4);
        most = fabs((double)x) > most ? fabs((double)x) : most;
    }
    for (size_t i = 0; i < n; i++) {
        float x;
        memcpy(&x, (const char *)t->data + 4 * (state * n + i), 4);
        h->n_bad += !(fabs(got[i] - (double)x) <= 2e-5 * (1 + most));
    }
    h->n_checked++;
}

static int on_node(void *user, const Plan *plan, int32_t node, View residual, Error *e)
{
    Hidden *h = user;
    (void)e;
    h->session->ops->download(run_get_context(h->run), h->host, residual);
    if (node == 0)
        compare_hidden(h, 0, h->host);
    for (size_t i = 0; i < h->order->n_items; i++)
        if (plan_node_at(plan, 0, h->order, i, POINT_POST) == node)
            compare_hidden(h, i + 1, h->host);
    return STATUS_OK;
}

static int on_final(void *user, size_t order, size_t first_row, View normed, Error *e)
{
    Hidden *h = user;
    (void)e;
    (void)order;
    h->session->ops->download(run_get_context(h->run), h->host + first_row * normed.cols, normed);
    if (first_row + normed.rows == h->c->starts[h->row + 1] - h->c->starts[h->row])
        compare_hidden(h, h->order->n_items + 1, h->host);
    return STATUS_OK;
}

static void hidden_states(void)
{
    enum { ROW = 1 }; /* the one that the dumps keep */
    for (size_t m = 0; m < n_cases; m++) {
        Case c;
        Session s = {0};
        Error e;
        if (case_open(&c, cases[m])) {
            SessionOptions so = {
                .device = "cpu", .numerics = "fast", .dtype = "f32", .threads = 2, .memory_bytes = (size_t)1 << 30};
            CHECK(session_open(&c.model, &so, &s, &e) == STATUS_OK);
            CHECK(tensor_file_find(&c.expected, "hidden.1") != NULL);
            size_t n = c.starts[ROW + 1] - c.starts[ROW], starts[2] = {0, n};
            static Hidden h;
            h = (Hidden){.c = &c, .session = &s, .order = &c.orders[0].orders[0], .row = ROW};
            RunRequest q = {.orders = h.order, .n_orders = 1, .longest_window = n, .total_rows = n};
            RunHooks hooks = {.user = &h, .on_node = on_node, .on_final = on_final};
            TokenBlock block = {.ids = c.ids + c.starts[ROW], .window_start = starts, .n_rows = n, .n_windows = 1};
            CHECK(run_open(&s, &q, &h.run, &e) == STATUS_OK);
            CHECK(run_block(h.run, &block, &hooks, &e) == STATUS_OK);
            CHECK_MSG(h.n_bad == 0 && h.n_checked == h.order->n_items + 2, "%s: %zu values differ, %zu states", c.directory,
                      h.n_bad, h.n_checked);
            run_close(h.run);
            session_close(&s);
        }
        case_close(&c);
    }
}

static void losses_of_arguments(void)
{
    for (size_t i = 0; i < n_cases; i++)
        printf("%s: oracle %.2g, fast %.2g\n", cases[i], run_case(cases[i], &ops_ref, 1, false),
               run_case(cases[i], NULL, 2, false));
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        for (int i = 1; i < argc && n_cases < MAX_CASES; i++)
            snprintf(cases[n_cases++], sizeof cases[0], "%s", argv[i]);
        RUN(losses_of_arguments);
        return test_finish();
    }
    list_cases("tests/data/families");
    RUN(losses_in_the_oracle);
    RUN(losses_in_the_tree);
    RUN(losses_in_the_other_tables);
    RUN(losses_in_the_naive_loop);
    RUN(hidden_states);
    return test_finish();
}
