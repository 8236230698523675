/* test_exact.c: the golden hashes of numerics v1: sha256 of the logits and of what a ledger holds, for the demonstration model and
 * tiny Llama, Mistral, Mixtral and GPT-2 models, the same under every level, 1 to 4 threads, batch compositions, memory budgets, and
 * in the tree and the naive loop. Functions and kernels by themselves: test_exact_kernels.c.
 *
 * tests/data/golden/v1.txt holds one line "MODEL NUMERICS WHAT SHA256" each; `build/tests/test_exact --print` makes it (on one
 * thread, the processor's best level). A change of it is a new version of the numerics (EXACT_VERSION). */
#include "tests/test.h"

#include "engine/base/rng.h"
#include "engine/base/sha256.h"
#include "engine/run.h"
#include "kernels/cpu_features.h"
#include "kernels/exact/exact_simd.h"

static const char *computed_on = "cpu"; /* or "cuda": test_cuda_golden.c */
static const char *const levels[] = {"scalar", "avx2", "avx512"};

typedef struct Golden {
    const char *name, *path;
    size_t n_orders, n_windows, lengths[4];
} Golden;

enum { MAX_TOKENS = 128, MAX_ORDERS = 32 };

static const Golden golden[] = {
    {"demo", "tools/demo/model", 6, 3, {5, 1, 4}},
    {"llama", "tests/data/models/llama", MAX_ORDERS, 4, {13, 1, 24, 30}},
    {"mistral", "tests/data/models/mistral", MAX_ORDERS, 4, {24, 2, 13, 30}},
    {"mixtral", "tests/data/models/mixtral", MAX_ORDERS, 4, {5, 30, 13, 3}},
    {"gpt2", "tests/data/models/gpt2", MAX_ORDERS, 4, {20, 31, 2, 9}},
};
enum { N_GOLDEN = sizeof golden / sizeof golden[0] };

typedef struct Way { /* of computing the same thing */
    int threads;
    bool naive, least_memory, reversed;
    size_t windows_a_block;
} Way;

typedef struct Collected {
    Session *session;
    Run *run;
    size_t n_orders, n_tokens, vocab, width;
    size_t token_base; /* where the block's predictions go */
    const size_t *window_order, *window_base;
    const TokenBlock *block;
    double nll[MAX_ORDERS][MAX_TOKENS], kl[MAX_ORDERS][MAX_TOKENS], starts[MAX_ORDERS][MAX_TOKENS];
    int32_t rank[MAX_ORDERS][MAX_TOKENS], top1[MAX_ORDERS][MAX_TOKENS];
    int32_t final_node;
    double *residual, *logits; /* [MAX_TOKENS, width], [MAX_TOKENS, vocab], of the intact order */
} Collected;

static int collect_results(void *user, size_t order, const HeadResults *r, Error *e)
{
    Collected *c = user;
    (void)e;
    size_t at = 0;
    for (size_t w = 0; w < c->block->n_windows; w++) {
        size_t n = c->block->window_start[w + 1] - c->block->window_start[w];
        for (size_t i = 0; i + 1 < n; i++, at++) {
            size_t to = c->window_base[w] + i;
            c->nll[order][to] = r->nll[at];
            c->kl[order][to] = r->kl[at];
            c->starts[order][to] = r->word_start_logp[at];
            c->rank[order][to] = r->rank[at];
            c->top1[order][to] = r->top1[at];
        }
    }
    return STATUS_OK;
}

static int collect_node(void *user, const Plan *plan, int32_t node, View residual, Error *e)
{
    Collected *c = user;
    (void)e;
    if (plan == run_get_plan(c->run, 0) && node == plan->order_end[0]) {
        c->session->ops->download(run_get_context(c->run), c->residual, residual);
        c->final_node = node;
    }
    return STATUS_OK;
}

static void hash_block(Sha256 *s, const double *x, size_t n, bool f64)
{
    for (size_t i = 0; i < n; i++) {
        float narrow = (float)x[i];
        sha256_update(s, f64 ? (const void *)&x[i] : (const void *)&narrow, f64 ? sizeof x[i] : sizeof narrow);
    }
}

/* Runs removal and exchange on the windows in a way, and hashes logits and ledger columns. */
static bool compute(const Golden *g, const Model *m, const char *numerics, const Way *way, char logits_hex[65],
                    char ledger_hex[65])
{
    static Collected c;
    static uint8_t word_start[1 << 16];
    Error e = {0};
    OrderSet removal = {0}, exchange = {0};
    Session s = {0};
    Run *run = NULL;
    Order orders[MAX_ORDERS];
    int32_t ids[MAX_TOKENS * 2];
    size_t base[5] = {0}, first_id[5] = {0}, longest = 0, total = 0;
    bool done = false, f64 = strcmp(numerics, "ref64") == 0;
    c = (Collected){.session = &s, .vocab = m->traits.vocab, .width = m->traits.d_model};
    for (size_t v = 0; v < c.vocab; v++)
        word_start[v] = v % 3 == 1;
    uint32_t x = 12345;
    for (size_t w = 0; w < g->n_windows; w++) {
        longest = g->lengths[w] > longest ? g->lengths[w] : longest;
        first_id[w + 1] = first_id[w] + g->lengths[w];
        base[w + 1] = base[w] + g->lengths[w] - 1;
        for (size_t i = 0; i < g->lengths[w]; i++) {
            x = x * 1664525u + 1013904223u;
            ids[total++] = (int32_t)((x >> 8) % c.vocab);
        }
    }
    c.n_tokens = base[g->n_windows];
    c.residual = malloc(2 * MAX_TOKENS * c.width * sizeof(double));
    c.logits = malloc(MAX_TOKENS * c.vocab * sizeof(double));
    SessionOptions so = {
        .device = computed_on, .numerics = numerics, .dtype = "f32", .threads = way->threads, .memory_bytes = (size_t)1 << 32};
    if (!c.residual || !c.logits || orders_generate("removal", m->traits.n_layers, 0, &removal, &e) ||
        orders_generate("exchange", m->traits.n_layers, 0, &exchange, &e) || session_open(m, &so, &s, &e))
        goto fail;
    for (size_t i = 0; i < removal.n_orders && c.n_orders < g->n_orders; i++)
        orders[c.n_orders++] = removal.orders[i];
    for (size_t i = 1; i < exchange.n_orders && c.n_orders < g->n_orders; i++)
        orders[c.n_orders++] = exchange.orders[i];
    RunRequest q = {.orders = orders,
                    .n_orders = c.n_orders,
                    .longest_window = longest,
                    .total_rows = total,
                    .block_rows = way->windows_a_block == 1 ? longest : total,
                    .naive = way->naive,
                    .word_start = word_start};
    if (way->least_memory) {
        RunSizes z;
        s.memory_bytes = 1;
        CHECK(run_sizes(&s, &q, &z, &e) == STATUS_USAGE);
        s.memory_bytes = z.total_bytes;
    }
    if (run_open(&s, &q, &run, &e))
        goto fail;
    c.run = run;
    RunHooks hooks = {.user = &c, .on_results = collect_results, .on_node = collect_node};
    for (size_t done_windows = 0; done_windows < g->n_windows; done_windows += way->windows_a_block) {
        int32_t block_ids[MAX_TOKENS * 2];
        size_t starts[5] = {0}, bases[5] = {0}, n = 0;
        for (size_t i = done_windows; i < g->n_windows && i < done_windows + way->windows_a_block; i++, n++) {
            size_t w = way->reversed ? g->n_windows - 1 - i : i;
            memcpy(block_ids + starts[n], ids + first_id[w], g->lengths[w] * sizeof *ids);
            starts[n + 1] = starts[n] + g->lengths[w];
            bases[n] = base[w];
        }
        TokenBlock block = {.ids = block_ids, .window_start = starts, .n_rows = starts[n], .n_windows = n};
        c.block = &block;
        c.window_base = bases;
        if (run_block(run, &block, &hooks, &e))
            goto fail;
        for (size_t i = 0; i < n; i++) { /* the logits of the predicting rows of each window */
            size_t rows = starts[i + 1] - starts[i] - 1;
            if (rows && run_logits(run, c.residual + starts[i] * c.width, rows, c.logits + bases[i] * c.vocab, &e))
                goto fail;
        }
    }
    Sha256 h;
    sha256_begin(&h);
    hash_block(&h, c.logits, c.n_tokens * c.vocab, f64);
    sha256_end(&h, logits_hex);
    sha256_begin(&h);
    for (size_t o = 0; o < c.n_orders; o++)
        hash_block(&h, c.nll[o], c.n_tokens, f64);
    for (size_t o = 0; o < c.n_orders; o++)
        hash_block(&h, c.kl[o], c.n_tokens, false);
    for (size_t o = 0; o < c.n_orders; o++)
        hash_block(&h, c.starts[o], c.n_tokens, false);
    for (size_t o = 0; o < c.n_orders; o++)
        sha256_update(&h, c.rank[o], c.n_tokens * sizeof(int32_t));
    for (size_t o = 0; o < c.n_orders; o++)
        sha256_update(&h, c.top1[o], c.n_tokens * sizeof(int32_t));
    sha256_end(&h, ledger_hex);
    for (size_t i = 0; i < c.n_tokens; i++)
        CHECK(c.kl[0][i] == 0); /* the intact model against itself: exactly, by its formula */
    done = true;
fail:
    CHECK_MSG(done, "%s: %s", g->name, e.text);
    run_close(run);
    session_close(&s);
    order_set_free(&removal);
    order_set_free(&exchange);
    free(c.residual);
    free(c.logits);
    return done;
}

static const char *const numerics_names[] = {"exact", "ref64"};

static void print_golden(void)
{
    static const Way way = {.threads = 1, .windows_a_block = 4};
    printf("# numerics %s; made by: build/tests/test_exact --print > tests/data/golden/v1.txt\n", EXACT_VERSION);
    for (size_t i = 0; i < N_GOLDEN; i++) {
        Model m;
        Error e;
        char logits[65], ledger[65];
        if (model_open(golden[i].path, &m, &e))
            continue;
        for (int k = 0; k < 2; k++)
            if (compute(&golden[i], &m, numerics_names[k], &way, logits, ledger))
                printf("%s %s logits %s\n%s %s ledger %s\n", golden[i].name, numerics_names[k], logits, golden[i].name,
                       numerics_names[k], ledger);
        model_close(&m);
    }
}

static void expect_hash(const char *text, const char *model, const char *numerics, const char *what, const char *got,
                        CpuLevel l, int way)
{
    char line[256];
    snprintf(line, sizeof line, "\n%s %s %s %s\n", model, numerics, what, got);
    CHECK_MSG(strstr(text, line) != NULL, "%s %s %s at level %s, way %d: %s is not the committed hash", model, numerics, what,
              levels[l], way, got);
}

static const Way ways[] = {
    {.threads = 1, .windows_a_block = 4},
    {.threads = 2, .windows_a_block = 1},
    {.threads = 3, .windows_a_block = 4, .reversed = true, .naive = true},
    {.threads = 4, .windows_a_block = 2, .reversed = true},
    {.threads = 2, .windows_a_block = 4, .least_memory = true},
};
enum { N_WAYS = sizeof ways / sizeof ways[0] };

static bool quick; /* --quick: one way, the best level */

static void golden_hashes_hold_in_every_way(void)
{
    static char text[8192];
    FILE *f = fopen("tests/data/golden/v1.txt", "rb");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    CHECK(strstr(text, "# numerics " EXACT_VERSION ";") != NULL);
    for (size_t i = 0; i < N_GOLDEN; i++) {
        Model m;
        Error e;
        char logits[65], ledger[65];
        if (model_open(golden[i].path, &m, &e)) {
            CHECK_MSG(false, "%s", e.text);
            continue;
        }
        for (CpuLevel l = quick ? cpu_level_native() : CPU_SCALAR; l <= cpu_level_native(); l++) {
            CHECK(cpu_level_set(levels[l], &e) == STATUS_OK);
            for (int k = 0; k < 2; k++) {
                for (int w = l == CPU_SCALAR ? 3 : 0; w < (quick ? 1 : N_WAYS); w++) { /* fma() is slow at the scalar level */
                    if (!compute(&golden[i], &m, numerics_names[k], &ways[w], logits, ledger))
                        continue;
                    expect_hash(text, golden[i].name, numerics_names[k], "logits", logits, l, w);
                    expect_hash(text, golden[i].name, numerics_names[k], "ledger", ledger, l, w);
                }
            }
        }
        CHECK(cpu_level_set("native", &e) == STATUS_OK);
        model_close(&m);
    }
}

/* One kind of processor gives one result, whatever the batch, its neighbours, the threads, the schedule, the memory. */
static void stable_is_the_same_in_every_way(void)
{
    for (size_t i = 0; i < N_GOLDEN; i++) {
        Model m;
        Error e;
        char logits[2][65], ledger[2][65];
        if (model_open(golden[i].path, &m, &e)) {
            CHECK_MSG(false, "%s", e.text);
            continue;
        }
        for (CpuLevel l = CPU_SCALAR; l <= cpu_level_native(); l++) {
            CHECK(cpu_level_set(levels[l], &e) == STATUS_OK);
            for (int w = 0; w < N_WAYS; w++)
                if (compute(&golden[i], &m, "stable", &ways[w], logits[w > 0], ledger[w > 0]) && w > 0)
                    CHECK_MSG(strcmp(logits[0], logits[1]) == 0 && strcmp(ledger[0], ledger[1]) == 0,
                              "%s at level %s: way %d differs from way 0", golden[i].name, levels[l], w);
        }
        CHECK(cpu_level_set("native", &e) == STATUS_OK);
        model_close(&m);
    }
}

typedef struct Losses {
    double nll[64];
    size_t n;
} Losses;

static int keep_losses(void *user, size_t order, const HeadResults *r, Error *e)
{
    Losses *l = user;
    (void)order;
    (void)e;
    l->n = r->n;
    memcpy(l->nll, r->nll, r->n * sizeof *r->nll);
    return STATUS_OK;
}

static bool losses_of_row(const Model *m, const Ops *ops, const char *name, int row, Losses *out)
{
    char path[128], tensor[16];
    Error e = {0};
    TensorFile file;
    Session s = {0};
    Run *run = NULL;
    Order intact;
    Arena arena = {0};
    SessionOptions so = {
        .device = "cpu", .numerics = "fast", .dtype = "f32", .threads = 1, .memory_bytes = 1 << 30, .ops = ops};
    snprintf(path, sizeof path, "tests/data/models/%s/expected.safetensors", name);
    snprintf(tensor, sizeof tensor, "ids.%d", row);
    out->n = 0;
    if (tensor_file_open(path, &file, &e))
        return false;
    const Tensor *t = tensor_file_find(&file, tensor);
    char all[32];
    snprintf(all, sizeof all, "0-%d", m->traits.n_layers - 1);
    if (t && t->shape[0] <= 64 && !order_parse(all, m->traits.n_layers, &arena, &intact, &e) && !session_open(m, &so, &s, &e)) {
        int32_t ids[64];
        memcpy(ids, t->data, t->size_bytes);
        size_t starts[2] = {0, t->shape[0]};
        RunRequest q = {.orders = &intact, .n_orders = 1, .longest_window = t->shape[0], .total_rows = t->shape[0]};
        RunHooks hooks = {.user = out, .on_results = keep_losses};
        TokenBlock block = {.ids = ids, .window_start = starts, .n_rows = t->shape[0], .n_windows = 1};
        if (!run_open(&s, &q, &run, &e))
            CHECK(run_block(run, &block, &hooks, &e) == STATUS_OK);
    }
    run_close(run);
    session_close(&s);
    arena_free(&arena);
    tensor_file_close(&file);
    return out->n > 0;
}

/* tests/data/golden/truth.txt holds losses evaluated with 256 bits (tools/make_ref64_truth.py). ref64, and the oracle, whose code is
 * another: within 1e-12. exact: some 10 stores a layer round by 2^-24; with 3 layers and logits up to 16 that moves a loss
 * by at most 30 * 2^-24 * 16 = 2.9e-5 when all errors add up. */
static void losses_equal_a_256_bit_evaluation(void)
{
    static const struct {
        const Ops *ops;
        double tolerance;
    } tables[] = {{&ops_cpu_ref64, 1e-12}, {&ops_ref, 1e-12}, {&ops_cpu_exact, 2.9e-5}};
    FILE *f = fopen("tests/data/golden/truth.txt", "r");
    char line[4096], name[32];
    size_t n_lines = 0;
    for (int row, at; f && fgets(line, sizeof line, f) && sscanf(line, "%31s %d %n", name, &row, &at) == 2; n_lines++) {
        char path[64];
        Model m;
        Error e;
        snprintf(path, sizeof path, "tests/data/models/%s", name);
        if (model_open(path, &m, &e)) {
            CHECK_MSG(false, "%s", e.text);
            continue;
        }
        for (size_t i = 0; i < 3; i++) {
            Losses l;
            double worst = 0;
            size_t n = 0;
            char *text = line + at;
            CHECK(losses_of_row(&m, tables[i].ops, name, row, &l));
            for (; n < l.n; n++) {
                double error = fabs(l.nll[n] - strtod(text, &text));
                worst = error <= worst ? worst : error; /* NaN becomes the worst */
            }
            CHECK_MSG(worst <= tables[i].tolerance && n > 3, "%s on %s, row %d: the worst loss of %zu is off by %g",
                      tables[i].ops->name, name, row, n, worst);
            CHECK(strspn(text, "\n") == strlen(text));
        }
        model_close(&m);
    }
    CHECK(n_lines == 8);
    if (f)
        fclose(f);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--print") == 0) {
        print_golden();
        return test_n_bad ? 1 : 0;
    }
    quick = argc == 2 && strcmp(argv[1], "--quick") == 0;
    if (argc == 1) { /* --golden, --quick: hashes only, for builds in other ways */
        RUN(stable_is_the_same_in_every_way);
        RUN(losses_equal_a_256_bit_evaluation);
    }
    RUN(golden_hashes_hold_in_every_way);
    return test_finish();
}
