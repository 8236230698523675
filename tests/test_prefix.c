/* test_prefix.c: windows that continue another window's prefix, against the same windows computed whole, on the tiny models of every
 * family; and the branches' outputs. Bit-equal in stable, exact and ref64; the f64 oracle agrees with itself to 1e-10; in fast other row
 * counts reach other BLAS kernels, so a bound of 2e-5 of the largest value, as for hidden states, and the largest difference is printed.
 */
#include <dirent.h>

#include "tests/dump_case.h"

enum { MAX_CASES = 256, N_VARIANTS = 4, MAX_VALUES = 1 << 18, MAX_NODES = 64 };

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
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "rope") != 0)
            snprintf(cases[n_cases++], sizeof cases[0], "%s/%.100s", root, entry->d_name);
    if (d)
        closedir(d);
    qsort(cases, n_cases, sizeof cases[0], by_name);
}

/* Residuals of all nodes in order, and of the branches, for one block. */
typedef struct Capture {
    const Session *session;
    Run *run;
    double *values; /* [MAX_VALUES] */
    size_t n;
    double nll[DUMP_CASE_IDS];
    size_t n_nll;
    double *branch[2]; /* of the node at hand */
    size_t n_branches;
    double worst_sum; /* of |out - (in + m * branches)|, where the model is a plain sum */
    bool check_sums;
    double *last; /* the residual before the node at hand */
    double multiplier;
} Capture;

static int on_branch(void *user, const Plan *plan, int32_t node, StepKind half, View branch, Error *e)
{
    Capture *c = user;
    (void)e;
    (void)plan;
    (void)node;
    CHECK(half == STEP_ATTN || half == STEP_MLP);
    c->session->ops->download(run_get_context(c->run), c->branch[c->n_branches++], branch);
    return STATUS_OK;
}

static int on_node(void *user, const Plan *plan, int32_t node, View residual, Error *e)
{
    Capture *c = user;
    (void)e;
    (void)plan;
    size_t n = residual.rows * residual.cols;
    CHECK(c->n + n <= MAX_VALUES);
    if (c->n + n > MAX_VALUES)
        return STATUS_OK;
    double *x = c->values + c->n;
    c->session->ops->download(run_get_context(c->run), x, residual);
    c->n += n;
    if (c->check_sums && node > 0) {
        CHECK(c->n_branches >= 1);
        for (size_t i = 0; i < n; i++) {
            double sum = c->last[i];
            for (size_t b = 0; b < c->n_branches; b++)
                sum += c->multiplier * c->branch[b][i];
            double error = fabs(sum - x[i]) / (1 + fabs(x[i]));
            c->worst_sum = error <= c->worst_sum ? c->worst_sum : error;
        }
    }
    c->n_branches = 0;
    c->last = x;
    return STATUS_OK;
}

static int on_results(void *user, size_t order, const HeadResults *r, Error *e)
{
    Capture *c = user;
    (void)order;
    (void)e;
    memcpy(c->nll, r->nll, r->n * sizeof *r->nll);
    c->n_nll = r->n;
    return STATUS_OK;
}

static void run_once(const DumpCase *d, const Session *s, const TokenBlock *block, bool branches, Capture *out)
{
    Error e;
    size_t longest = 0;
    for (size_t w = 0; w < block->n_windows; w++) {
        size_t n = block->window_start[w + 1] - block->window_start[w] + token_block_first(block, w);
        longest = n > longest ? n : longest;
    }
    RunRequest q = {.orders = &d->orders[0].orders[0],
                    .n_orders = 1,
                    .longest_window = longest,
                    .longest_family = block->prefix_rows ? block->n_rows : 0,
                    .total_rows = block->n_rows,
                    .branches = branches};
    RunHooks hooks = {.user = out, .on_node = on_node, .on_results = on_results, .on_branch = branches ? on_branch : NULL};
    out->session = s;
    out->n = out->n_branches = 0;
    int status = run_open(s, &q, &out->run, &e);
    CHECK_MSG(!status, "%s: %s", d->name, e.text);
    if (status)
        return;
    status = run_block(out->run, block, &hooks, &e);
    CHECK_MSG(!status, "%s: %s", d->name, e.text);
    run_close(out->run);
}

static void open_capture(Capture *c)
{
    memset(c, 0, sizeof *c);
    c->values = malloc(MAX_VALUES * sizeof(double));
    c->branch[0] = malloc(MAX_VALUES * sizeof(double));
    c->branch[1] = malloc(MAX_VALUES * sizeof(double));
    CHECK(c->values && c->branch[0] && c->branch[1]);
}

static void close_capture(Capture *c)
{
    free(c->values);
    free(c->branch[0]);
    free(c->branch[1]);
}

/* The largest difference, over the largest value, of shared and whole windows on one model; -1 where the model cannot be opened. */
static double compare_one(const char *folder, const Ops *ops, double *worst_loss)
{
    /* Edits at these places, the last variant shorter than its base where the length is free. */
    static const size_t edits[N_VARIANTS] = {0, 3, 7, 1};
    DumpCase d;
    Session s = {0};
    Error e;
    double worst = -1;
    char model[300];
    snprintf(model, sizeof model, "%s%s", folder, strstr(folder, "gguf") ? "/model.gguf" : "");
    if (!dump_case_open(&d, folder, model, folder)) {
        dump_case_close(&d);
        return worst;
    }
    SessionOptions so = {
        .device = "cpu", .numerics = "fast", .dtype = "f32", .threads = 2, .memory_bytes = (size_t)1 << 30, .ops = ops};
    CHECK(session_open(&d.model, &so, &s, &e) == STATUS_OK);
    size_t n = d.starts[d.n_rows], vocab = d.model.traits.vocab, dim = d.model.traits.d_model;
    n = n < 24 ? n : 24;
    CHECK(n > 8);
    int32_t whole[N_VARIANTS * 64], shared[N_VARIANTS * 64];
    size_t whole_start[N_VARIANTS + 1] = {0}, shared_start[N_VARIANTS + 1] = {0}, prefix[N_VARIANTS] = {0};
    for (size_t v = 0; v < N_VARIANTS; v++) {
        int32_t *ids = whole + whole_start[v];
        memcpy(ids, d.ids, n * sizeof *ids);
        if (v)
            ids[edits[v]] = (int32_t)(((size_t)ids[edits[v]] + v) % vocab);
        prefix[v] = v ? edits[v] : 0;
        memcpy(shared + shared_start[v], ids + prefix[v], (n - prefix[v]) * sizeof *ids);
        whole_start[v + 1] = whole_start[v] + n;
        shared_start[v + 1] = shared_start[v] + n - prefix[v];
    }
    TokenBlock w = {.ids = whole, .window_start = whole_start, .n_rows = whole_start[N_VARIANTS], .n_windows = N_VARIANTS};
    TokenBlock f = {.ids = shared,
                    .window_start = shared_start,
                    .n_rows = shared_start[N_VARIANTS],
                    .n_windows = N_VARIANTS,
                    .prefix_rows = prefix};
    static Capture a, b;
    open_capture(&a);
    open_capture(&b);
    run_once(&d, &s, &w, false, &a);
    run_once(&d, &s, &f, true, &b);
    size_t n_nodes = a.n / (w.n_rows * dim);
    CHECK(n_nodes > 1 && b.n == n_nodes * f.n_rows * dim);
    double most = 0;
    worst = 0;
    for (size_t i = 0; i < a.n; i++)
        most = fabs(a.values[i]) > most ? fabs(a.values[i]) : most;
    for (size_t node = 0; node < n_nodes; node++) {
        for (size_t v = 0; v < N_VARIANTS; v++) {
            const double *x = a.values + (node * w.n_rows + whole_start[v] + prefix[v]) * dim;
            const double *y = b.values + (node * f.n_rows + shared_start[v]) * dim;
            for (size_t i = 0; i < (n - prefix[v]) * dim; i++) {
                double error = fabs(x[i] - y[i]) / most;
                worst = error <= worst ? worst : error; /* a NaN stays */
            }
        }
    }
    /* Losses: those of a continuing window are its own rows', the first one left out. */
    for (size_t v = 0, at = 0, whole_at = 0; v < N_VARIANTS; v++, whole_at += n - 1)
        for (size_t i = prefix[v] + 1; i < n; i++, at++)
            *worst_loss = fmax(*worst_loss, fabs(a.nll[whole_at + i - 1] - b.nll[at]));
    close_capture(&a);
    close_capture(&b);
    session_close(&s);
    dump_case_close(&d);
    return worst;
}

static double compare_all(const Ops *ops, double tolerance)
{
    double worst = 0, worst_loss = 0;
    for (size_t i = 0; i < n_cases; i++) {
        double one = compare_one(cases[i], ops, &worst_loss);
        CHECK_MSG(one >= 0 && one <= tolerance, "%s in %s: differs by %g of the largest value", cases[i], ops->name, one);
        worst = one > worst ? one : worst;
    }
    printf("  %s: %zu models, largest difference %.2g of the largest value, of losses %.2g\n", ops->name, n_cases, worst,
           worst_loss);
    CHECK(worst_loss <= (tolerance > 0 ? 5e-5 : 0));
    return worst;
}

static void shared_prefixes_change_no_bit_in_stable_exact_and_ref64(void)
{
    compare_all(&ops_cpu_stable, 0);
    compare_all(&ops_cpu_exact, 0);
    compare_all(&ops_cpu_ref64, 0);
}

static void shared_prefixes_in_fast_and_in_the_oracle(void)
{
    compare_all(&ops_ref, 1e-10);
    compare_all(&ops_cpu_fast, 2e-5);
}

/* in + multiplier * branch is the stream: in f64 to rounding. A norm behind the sum is the one exception. */
static void branches_are_what_is_added(void)
{
    size_t n_checked = 0;
    for (size_t i = 0; i < n_cases; i++) {
        DumpCase d;
        Session s = {0};
        Error e;
        char model[300];
        snprintf(model, sizeof model, "%s%s", cases[i], strstr(cases[i], "gguf") ? "/model.gguf" : "");
        if (dump_case_open(&d, cases[i], model, cases[i]) && d.model.traits.norm_place != NORM_AFTER) {
            static Capture c;
            SessionOptions so = {.device = "cpu", .threads = 1, .memory_bytes = (size_t)1 << 30, .ops = &ops_cpu_ref64};
            CHECK(session_open(&d.model, &so, &s, &e) == STATUS_OK);
            size_t starts[2] = {0, d.starts[1]};
            TokenBlock block = {.ids = d.ids, .window_start = starts, .n_rows = starts[1], .n_windows = 1};
            open_capture(&c);
            c.check_sums = true;
            c.multiplier = (double)d.model.traits.residual_multiplier;
            run_once(&d, &s, &block, true, &c);
            CHECK_MSG(c.worst_sum <= 1e-14 * 8, "%s: %g", cases[i], c.worst_sum);
            n_checked++;
            close_capture(&c);
            session_close(&s);
        }
        dump_case_close(&d);
    }
    printf("  %zu models\n", n_checked);
    CHECK(n_checked > 20);
}

static void what_is_no_family_is_refused(void)
{
    DumpCase d;
    Session s = {0};
    Error e;
    if (!dump_case_open(&d, "llama-dynamic", "tests/data/models/llama-dynamic", "tests/data/models/llama-dynamic"))
        return;
    SessionOptions so = {.device = "cpu", .numerics = "fast", .dtype = "f32", .threads = 1, .memory_bytes = (size_t)1 << 30};
    CHECK(session_open(&d.model, &so, &s, &e) == STATUS_OK);
    size_t most = (size_t)d.model.traits.max_positions * 2;
    static int32_t ids[4096];
    RunRequest q = {.orders = &d.orders[0].orders[0],
                    .n_orders = 1,
                    .longest_window = most,
                    .longest_family = 2 * most,
                    .total_rows = 2 * most,
                    .no_head = true};
    Run *run = NULL;
    RunHooks hooks = {0};
    CHECK(run_open(&s, &q, &run, &e) == STATUS_OK);
    size_t prefix[2] = {1, 0}, starts[3] = {0, 4, 8};
    TokenBlock block = {.ids = ids, .window_start = starts, .n_rows = 8, .n_windows = 2, .prefix_rows = prefix};
    CHECK(run_block(run, &block, &hooks, &e) == STATUS_FAILED && strstr(e.text, "window 0 continues 1 positions"));
    prefix[0] = 0;
    prefix[1] = 5;
    CHECK(run_block(run, &block, &hooks, &e) == STATUS_FAILED && strstr(e.text, "window 1 continues 5 positions of one of 4"));
    prefix[1] = 2;
    CHECK(run_block(run, &block, &hooks, &e) == STATUS_OK);
    starts[1] = most; /* beyond the range that one table serves, and of another length */
    starts[2] = block.n_rows = most + 3;
    CHECK(run_block(run, &block, &hooks, &e) == STATUS_FAILED);
    CHECK_MSG(strstr(e.text, "rotary tables depend") != NULL, "%s", e.text);
    run_close(run);
    session_close(&s);
    dump_case_close(&d);
}

int main(void)
{
    list_cases("tests/data/families");
    list_cases("tests/data/models");
    RUN(shared_prefixes_change_no_bit_in_stable_exact_and_ref64);
    RUN(shared_prefixes_in_fast_and_in_the_oracle);
    RUN(branches_are_what_is_added);
    RUN(what_is_no_family_is_refused);
    return test_finish();
}
