/* test_forward.c: the forward pass against transformers: per-token losses of the intact model, every removal and every exchange, and
 * hidden states, on tiny random models (tests/data/models, made by tools/make_fixtures.py). Every model goes through the fast
 * table at each processor level and through the f64 oracle, through the tree and the naive schedule, and split into groups by a tight
 * memory budget. */
#include "kernels/cpu_features.h"
#include "tests/dump_case.h"

static const char *const models[] = {"llama",   "llama-bias", "llama-dynamic", "llama-linear", "llama-yarn",  "llama31",
                                     "mistral", "mixtral",    "gpt2",          "llama-gguf",   "mixtral-gguf"};
enum { N_MODELS = sizeof models / sizeof models[0] };

static bool open_model(DumpCase *c, const char *name)
{
    char folder[128], model[160];
    snprintf(folder, sizeof folder, "tests/data/models/%s", name);
    snprintf(model, sizeof model, "%s%s", folder, strstr(name, "gguf") ? "/model.gguf" : "");
    return dump_case_open(c, name, model, folder);
}

static void run_all(const Ops *ops, int threads, bool naive, size_t memory)
{
    for (size_t m = 0; m < N_MODELS; m++) {
        DumpCase c;
        Session s = {0};
        Error e;
        if (open_model(&c, models[m])) {
            SessionOptions so = {
                .device = "cpu", .numerics = "fast", .dtype = "f32", .threads = threads, .memory_bytes = memory, .ops = ops};
            CHECK(session_open(&c.model, &so, &s, &e) == STATUS_OK);
            dump_case_run(&c, &s, &c.orders[0], naive);
            dump_case_run(&c, &s, &c.orders[1], naive);
            session_close(&s);
        }
        dump_case_close(&c);
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
        DumpCase c;
        Session s = {0};
        Error e;
        if (open_model(&c, models[m])) {
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
            dump_case_run(&c, &s, &c.orders[0], false);
            session_close(&s);
        }
        dump_case_close(&c);
    }
}

static void hidden_states_equal_transformers(void)
{
    for (size_t m = 0; m < N_MODELS; m++) {
        DumpCase c;
        Session s = {0};
        Error e;
        if (open_model(&c, models[m]) && tensor_file_find(&c.expected, "hidden.0")) {
            SessionOptions so = {
                .device = "cpu", .numerics = "fast", .dtype = "f32", .threads = 2, .memory_bytes = (size_t)1 << 30};
            CHECK(session_open(&c.model, &so, &s, &e) == STATUS_OK);
            for (size_t row = 0; row < c.n_rows; row++)
                dump_case_hidden(&c, &s, row);
            session_close(&s);
        }
        dump_case_close(&c);
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
