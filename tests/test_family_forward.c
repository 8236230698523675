/* test_family_forward.c: every family against transformers: per-token losses of the intact model, every removal and every exchange, and
 * hidden states, on tiny random models (tests/data/families, made by tools/make_family_fixtures.py; tests/data/gguf, the same as GGUF
 * files, by tools/make_gguf_fixtures.py). Each model goes through the
 * f64 oracle, through the fast table in the tree and in the naive loop, and through the stable, exact and ref64 tables.
 *
 * With directories as arguments it compares those instead and prints the worst error of each: the other half of
 * make_family_fixtures.py --random. */
#include <dirent.h>
#include <stdlib.h>

#include "engine/base/file.h"
#include "tests/dump_case.h"

enum { MAX_CASES = 256 };

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

/* The model of a case: its directory, or the GGUF file in it, or a part of a split one. */
static const char *model_of(const char *directory, char path[300])
{
    snprintf(path, 300, "%.256s/model.gguf", directory);
    if (file_exists(path))
        return path;
    snprintf(path, 300, "%.256s/model-00002-of-00003.gguf", directory);
    return file_exists(path) ? path : directory;
}

/* The worst error of one directory in one arithmetic. */
static double run_case(const char *directory, const Ops *ops, int threads, bool naive)
{
    DumpCase c;
    Session s = {0};
    Error e;
    char path[300];
    if (dump_case_open(&c, directory, model_of(directory, path), directory)) {
        SessionOptions so = {.device = "cpu",
                             .numerics = "fast",
                             .dtype = "f32",
                             .threads = threads,
                             .memory_bytes = (size_t)1 << 30,
                             .ops = ops};
        CHECK(session_open(&c.model, &so, &s, &e) == STATUS_OK);
        dump_case_run(&c, &s, &c.orders[0], naive);
        dump_case_run(&c, &s, &c.orders[1], naive);
        session_close(&s);
    }
    dump_case_close(&c);
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

static void hidden_states(void)
{
    enum { ROW = 1 }; /* the one that the dumps keep */
    for (size_t m = 0; m < n_cases; m++) {
        DumpCase c;
        Session s = {0};
        Error e;
        char path[300];
        if (dump_case_open(&c, cases[m], model_of(cases[m], path), cases[m])) {
            SessionOptions so = {
                .device = "cpu", .numerics = "fast", .dtype = "f32", .threads = 2, .memory_bytes = (size_t)1 << 30};
            CHECK(session_open(&c.model, &so, &s, &e) == STATUS_OK);
            dump_case_hidden(&c, &s, ROW);
            session_close(&s);
        }
        dump_case_close(&c);
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
    list_cases("tests/data/gguf");
    RUN(losses_in_the_oracle);
    RUN(losses_in_the_tree);
    RUN(losses_in_the_other_tables);
    RUN(losses_in_the_naive_loop);
    RUN(hidden_states);
    return test_finish();
}
