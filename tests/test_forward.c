/* test_forward.c: the forward pass against transformers: per-token losses of the intact model, every removal and every exchange, and
 * hidden states, on tiny random models (tests/data/models, made by tools/make_fixtures.py). Every model goes through the fast
 * table at each processor level and through the f64 oracle, through the tree and the naive schedule, and split into groups by a tight
 * memory budget.
 *
 * Tolerance: losses are a few nats; f32 rounding in a few layers of width 32..64 gives differences of some 1e-6, transformers' own
 * included (the f64 oracle itself is 2.04e-5 away from the dumps at worst). 5e-5 leaves the same again to our f32 and is four times
 * stricter than the project's bound of 2e-4. */
#include "tests/test.h"

#include "engine/run.h"
#include "engine/taps.h"
#include "kernels/cpu_features.h"

enum { MAX_ROWS = 8 };
static const double tolerance = 5e-5;

typedef struct Case {
    const char *name;
    Model model;
    TensorFile expected;
    int32_t ids[512];
    size_t starts[MAX_ROWS + 1], n_rows;
    OrderSet orders[2]; /* removal, exchange */
} Case;

typedef struct Check {
    const Case *c;
    const OrderSet *set;
    double worst;
    size_t n_results, n_bad;
} Check;

static const char *const models[] = {"llama",   "llama-bias", "llama-dynamic", "llama-linear", "llama-yarn",  "llama31",
                                     "mistral", "mixtral",    "gpt2",          "llama-gguf",   "mixtral-gguf"};
enum { N_MODELS = sizeof models / sizeof models[0] };

static bool case_open(Case *c, const char *name)
{
    Error e;
    char path[256];
    memset(c, 0, sizeof *c);
    c->name = name;
    bool gguf = strstr(name, "gguf") != NULL;
    snprintf(path, sizeof path, "tests/data/models/%s%s", name, gguf ? "/model.gguf" : "");
    if (model_open(path, &c->model, &e)) {
        CHECK_MSG(false, "%s", e.text);
        return false;
    }
    snprintf(path, sizeof path, "tests/data/models/%s/expected.safetensors", name);
    if (tensor_file_open(path, &c->expected, &e)) {
        CHECK_MSG(false, "%s", e.text);
        return false;
    }
    for (c->n_rows = 0; c->n_rows < MAX_ROWS; c->n_rows++) {
        snprintf(path, sizeof path, "ids.%zu", c->n_rows);
        const Tensor *t = tensor_file_find(&c->expected, path);
        if (!t)
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
        CHECK_MSG(t && t->shape[0] == n, "%s: %s is missing", k->c->name, name);
        for (size_t i = 0; t && i < n; i++, at++) {
            float expected;
            memcpy(&expected, (const char *)t->data + 4 * i, 4);
            double error = fabs(r->nll[at] - (double)expected);
            k->worst = error > k->worst ? error : k->worst;
            k->n_bad += !(error <= tolerance);
            if (order == 0)
                k->n_bad += r->kl[at] != 0;
            else
                k->n_bad += !(r->kl[at] > -1e-6);
            k->n_bad +=
                (r->rank[at] == 0) != (r->top1[at] == k->c->ids[k->c->starts[row] + 1 + (at - (k->c->starts[row] - row))]);
        }
    }
    k->n_results++;
    return STATUS_OK;
}

static void run_case(const Case *c, const Session *s, const OrderSet *set, bool naive)
{
    Error e;
    Run *run;
    size_t longest = 0;
    for (size_t i = 0; i < c->n_rows; i++)
        longest = c->starts[i + 1] - c->starts[i] > longest ? c->starts[i + 1] - c->starts[i] : longest;
    RunRequest q = {.orders = set->orders,
                    .n_orders = set->n_orders,
                    .longest_window = longest,
                    .total_rows = c->starts[c->n_rows],
                    .block_rows = c->starts[c->n_rows],
                    .naive = naive};
    Check check = {.c = c, .set = set};
    RunHooks hooks = {.user = &check, .on_results = on_results};
    TokenBlock block = {.ids = c->ids, .window_start = c->starts, .n_rows = c->starts[c->n_rows], .n_windows = c->n_rows};
    int status = run_open(s, &q, &run, &e);
    CHECK_MSG(!status, "%s: %s", c->name, e.text);
    if (status)
        return;
    status = run_block(run, &block, &hooks, &e);
    CHECK_MSG(!status, "%s: %s", c->name, e.text);
    CHECK_MSG(check.n_bad == 0 && check.n_results == set->n_orders,
              "%s on %s, %s, %zu groups: %zu wrong values, worst loss error %g", c->name, s->ops->name, set->orders[1].name,
              run_get_sizes(run)->n_groups, check.n_bad, check.worst);
    run_close(run);
}

static void run_all(const Ops *ops, int threads, bool naive, size_t memory)
{
    for (size_t m = 0; m < N_MODELS; m++) {
        Case c;
        Session s = {0};
        Error e;
        if (case_open(&c, models[m])) {
            SessionOptions so = {
                .device = "cpu", .numerics = "fast", .dtype = "f32", .threads = threads, .memory_bytes = memory, .ops = ops};
            CHECK(session_open(&c.model, &so, &s, &e) == STATUS_OK);
            run_case(&c, &s, &c.orders[0], naive);
            run_case(&c, &s, &c.orders[1], naive);
            session_close(&s);
        }
        case_close(&c);
    }
}

static void losses_equal_transformers_in_the_oracle(void)
{
    run_all(&ops_ref, 1, false, (size_t)1 << 30);
}

static void losses_equal_transformers_at_every_level(void)
{
    static const char *const levels[] = {"scalar", "avx2", "avx512"};
    Error e;
    for (CpuLevel l = CPU_SCALAR; l <= cpu_level_native(); l++) {
        CHECK(cpu_level_set(levels[l], &e) == STATUS_OK);
        for (int threads = 1; threads <= 3; threads++)
            run_all(NULL, threads, false, (size_t)1 << 30);
    }
    CHECK(cpu_level_set("native", &e) == STATUS_OK);
}

static void losses_equal_transformers_in_the_naive_loop(void)
{
    run_all(NULL, 2, true, (size_t)1 << 30);
}

/* The least budget splits the orders into groups and streams the layers through one slot. */
static void losses_survive_the_least_memory(void)
{
    for (size_t m = 0; m < N_MODELS; m++) {
        Case c;
        Session s = {0};
        Error e;
        if (case_open(&c, models[m])) {
            SessionOptions so = {.device = "cpu", .numerics = "fast", .dtype = "f32", .threads = 2, .memory_bytes = 1};
            CHECK(session_open(&c.model, &so, &s, &e) == STATUS_OK);
            RunRequest q = {.orders = c.orders[0].orders,
                            .n_orders = c.orders[0].n_orders,
                            .longest_window = 64,
                            .total_rows = c.starts[c.n_rows],
                            .block_rows = c.starts[c.n_rows]};
            RunSizes z;
            CHECK(run_sizes(&s, &q, &z, &e) == STATUS_USAGE);
            CHECK(strstr(e.text, "MiB") != NULL);
            s.memory_bytes = z.total_bytes;
            CHECK(run_sizes(&s, &q, &z, &e) == STATUS_OK);
            CHECK(z.n_groups > 1 && z.n_slots == 1 && z.total_bytes <= s.memory_bytes);
            run_case(&c, &s, &c.orders[0], false);
            session_close(&s);
        }
        case_close(&c);
    }
}

typedef struct Hidden {
    const Case *c;
    const Session *session;
    Run *run;
    const Order *order;
    double host[512 * 128];
    size_t n_checked, n_bad, row;
    View residual;
} Hidden;

static void compare_hidden(Hidden *h, size_t state, const double *got)
{
    char name[32];
    snprintf(name, sizeof name, "hidden.%zu", h->row);
    const Tensor *t = tensor_file_find(&h->c->expected, name);
    CHECK(t != NULL);
    if (!t)
        return;
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

static void hidden_states_equal_transformers(void)
{
    for (size_t m = 0; m < N_MODELS; m++) {
        Case c;
        Session s = {0};
        Error e;
        if (case_open(&c, models[m]) && tensor_file_find(&c.expected, "hidden.0")) {
            SessionOptions so = {
                .device = "cpu", .numerics = "fast", .dtype = "f32", .threads = 2, .memory_bytes = (size_t)1 << 30};
            CHECK(session_open(&c.model, &so, &s, &e) == STATUS_OK);
            for (size_t row = 0; row < c.n_rows; row++) {
                size_t n = c.starts[row + 1] - c.starts[row], starts[2] = {0, n};
                static Hidden h;
                h = (Hidden){.c = &c, .session = &s, .order = &c.orders[0].orders[0], .row = row};
                RunRequest q = {.orders = h.order, .n_orders = 1, .longest_window = n, .total_rows = n};
                RunHooks hooks = {.user = &h, .on_node = on_node, .on_final = on_final};
                TokenBlock block = {.ids = c.ids + c.starts[row], .window_start = starts, .n_rows = n, .n_windows = 1};
                CHECK(run_open(&s, &q, &h.run, &e) == STATUS_OK);
                CHECK(run_block(h.run, &block, &hooks, &e) == STATUS_OK);
                CHECK_MSG(h.n_bad == 0 && h.n_checked == h.order->n_items + 2, "%s row %zu: %zu values differ, %zu states",
                          c.name, row, h.n_bad, h.n_checked);
                run_close(h.run);
            }
            session_close(&s);
        }
        case_close(&c);
    }
}

int main(void)
{
    RUN(losses_equal_transformers_in_the_oracle);
    RUN(losses_equal_transformers_at_every_level);
    RUN(losses_equal_transformers_in_the_naive_loop);
    RUN(losses_survive_the_least_memory);
    RUN(hidden_states_equal_transformers);
    return test_finish();
}
