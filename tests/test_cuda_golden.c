/* test_cuda_golden.c: numerics v1 on the device gives the committed hashes of logits and ledgers (tests/data/golden/v1.txt), which the
 * processor's tables give at every level: the whole forward pass of tiny models, removal and exchange, by the cases of test_exact.c; on
 * the emulation, where any violation of the execution model is a failure too, or on a device under `make gpu-test`. */
int test_exact_main(int argc, char **argv);
#define main test_exact_main
#include "tests/test_exact.c"
#undef main
#include "tests/cuda_under_test.h"

static const CudaEntry *entry;

static void the_table_is_there(void)
{
    entry = cuda_under_test();
    if (!entry)
        SKIP("no table cuda/exact");
}

static void one_way(const char *name, int way, const char *text)
{
    for (size_t i = 0; i < N_GOLDEN; i++) {
        Model m;
        Error e;
        char logits[65], ledger[65];
        if (strcmp(golden[i].name, name) != 0)
            continue;
        if (model_open(golden[i].path, &m, &e)) {
            CHECK_MSG(false, "%s", e.text);
            return;
        }
        cuda_seed((uint64_t)way + 1);
        if (compute(&golden[i], &m, "exact", &ways[way], logits, ledger)) {
            expect_hash(text, name, "exact", "logits", logits, CPU_SCALAR, way);
            expect_hash(text, name, "exact", "ledger", ledger, CPU_SCALAR, way);
        }
        model_close(&m);
    }
    CHECK(cuda_violations() == 0);
}

static void golden_hashes_hold_on_the_device(void)
{
    static char text[1 << 16];
    FILE *f = fopen("tests/data/golden/v1.txt", "rb");
    CHECK(f != NULL);
    if (!f)
        return;
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    computed_on = "cuda";
    one_way("mistral", 4, text);
    one_way("mixtral", 1, text);
    one_way("gpt2", 0, text);
}

int main(void)
{
    (void)test_exact_main;
    RUN(the_table_is_there);
    if (entry)
        RUN(golden_hashes_hold_on_the_device);
    return test_finish();
}
