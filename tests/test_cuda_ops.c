/* test_cuda_ops.c [TEST [TABLE]]: every entry of the tables cuda/fast (bf16, f32, tf32), and one of cuda/exact, against the f64 oracle, by the
 * cases of test_kernels.c: on the emulation, where races, unwritten memory and accesses out of bounds are failures too; under `make
 * gpu-test` on a device. Operands lie in host pages lent to the device, between their guard pages. */
#define KERNELS_ARE_WIDE
#include <pthread.h>

#include "tests/cuda_emu/emu.h"
#include "tests/cuda_under_test.h"
#include "tests/test_kernels.c"

static const CudaEntry *entry;

static void the_table_is_there(void)
{
    entry = cuda_under_test();
    if (!entry)
        SKIP("no table cuda/fast");
}

/* 99 KiB a block: the devices of compute capability 8.6 and 8.9. */
static void attention_in_less_shared_memory(void)
{
    void (*limit)(size_t) = NULL;
    void *symbol = cuda_emulation("emu_shared_limit");
    memcpy(&limit, &symbol, sizeof limit);
    if (!limit)
        return; /* a device has what it has */
    limit((size_t)99 << 10);
    attention();
    limit((size_t)227 << 10);
}

/* A server opens a table in one thread and uses it in another, whose current device is still number 0. */
static void *use_from_elsewhere(void *arg)
{
    Kit *k = arg;
    Error e;
    double numbers[6] = {1, 2, 3, 4, 5, 6}, back[6] = {0};
    View v = {.dtype = DTYPE_F32, .rows = 2, .cols = 3, .ld = 3};
    if (!k->ops->alloc(k->ctx, sizeof(float) * 6, &v.data, &e)) {
        k->ops->upload(k->ctx, v, numbers);
        k->ops->clip(k->ctx, v, 4);
        k->ops->download(k->ctx, back, v);
        k->ops->free(k->ctx, v.data, sizeof(float) * 6);
    }
    return k->ops->sync(k->ctx, &e) || back[0] != 1 || back[4] != 4 ? arg : NULL;
}

static void another_thread(void)
{
    pthread_t thread;
    void *failed = NULL;
    Kit k = open_kit(20);
    CHECK(pthread_create(&thread, NULL, use_from_elsewhere, &k) == 0);
    CHECK(pthread_join(thread, &failed) == 0);
    CHECK(!failed);
    kit_close(&k);
}

/* Products when cublasLt has no algorithm with the bias in its epilogue (then it makes them all the same), none at all, or one that it then
 * cannot run. */
static void products_that_cublaslt_refuses(void)
{
    static const unsigned refusals[] = {EMU_NO_EPILOGUE, EMU_NO_ALGORITHM, EMU_NO_EPILOGUE | EMU_NO_PRODUCT};
    void (*refuse)(unsigned) = NULL;
    size_t (*products)(void) = NULL, before;
    void *symbol = cuda_emulation("emu_cublaslt_refuse"), *counter = cuda_emulation("emu_cublaslt_products");
    memcpy(&refuse, &symbol, sizeof refuse);
    memcpy(&products, &counter, sizeof products);
    if (!refuse || !products)
        return; /* a device's cublasLt refuses what it likes */
    Kit k = open_kit(12);
    before = products();
    try_linear(&k, 25, 130, 64, 1); /* with a bias that the epilogue adds */
    size_t made = products() - before;
    refuse(EMU_NO_EPILOGUE);
    try_linear(&k, 26, 130, 64, 1);
    size_t made_without = products() - before - made;
    refuse(EMU_NO_ALGORITHM);
    try_linear(&k, 27, 130, 64, 1);
    CHECK(made == 1 && made_without == 1 && products() - before == 2);
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        refuse(refusals[i]);
        for (int flavour = 0; flavour < 12; flavour++) {
            size_t n = flavour < 6 ? 33 : 150;
            try_linear(&k, 10 + (size_t)flavour, n, 65, flavour);
            try_linear_add(&k, 10 + (size_t)flavour, n, 65, flavour);
        }
    }
    refuse(0);
    kit_close(&k);
}

static void nothing_was_violated(void)
{
    CHECK(cuda_violations() == 0);
}

/* What a product of TF32 is: neither that of f32, nor farther from it than its operands' lost bits. (The bound of `linear` holds for both.) */
static void tf32_is_not_f32(void)
{
    enum { ROWS = 64, COLS = 64, DEPTH = 64 };
    double made[2][ROWS][COLS];
    const Ops *const tables[] = {entry->fast_f32, entry->fast_tf32};
    size_t n_other = 0;
    for (int i = 0; i < 2; i++) {
        ops = tables[i];
        Kit k = open_kit(13);
        CASE(&k, "%s, one product", ops->name);
        WeightPart part = kit_part(&k, DTYPE_F32, COLS, DEPTH, false, 1);
        BothWeight w = kit_weight(&k, WEIGHT_MATRIX, &part, 1);
        Both x = kit_view(&k, DTYPE_F32, ROWS, DEPTH, 0, 1), y = kit_view(&k, DTYPE_F32, ROWS, COLS, 0, 1);
        ops->linear(k.ctx, y.t, x.t, &w.t, NULL);
        ops->download(k.ctx, &made[i][0][0], y.t);
        END(&k);
        kit_close(&k);
    }
    for (size_t i = 0; i < (size_t)ROWS * COLS; i++)
        n_other += fabs((&made[0][0][0])[i] - (&made[1][0][0])[i]) > (DEPTH + 4) * 2 * 0x1p-24 * DEPTH;
    if (n_other == 0 && !cuda_emulation("emu_reports")) /* cuBLAS may, it need not */
        printf("        cuBLAS made this product in f32 although TF32 was allowed\n");
    else
        CHECK(n_other > ROWS * COLS / 2);
}

/* The entries in which TF32 has a part. */
static void try_products(const Ops *table)
{
    ops = table;
    n_threads = 2;
    operand_error = 0x1p-10;
    printf("-- %s, products\n", ops->name);
    RUN_CHOSEN(linear);
    RUN_CHOSEN(linear_add);
    RUN_CHOSEN(mixture);
    RUN_CHOSEN(products_that_cublaslt_refuses);
    RUN_CHOSEN(tf32_is_not_f32);
    operand_error = 0;
}

static void try_all(const Ops *table)
{
    try_table(table, "device", 2);
    RUN_CHOSEN(attention_in_less_shared_memory);
    RUN_CHOSEN(another_thread);
    RUN_CHOSEN(products_that_cublaslt_refuses);
}

int main(int argc, char **argv)
{
    only = argc > 1 ? argv[1] : NULL;
    const char *table = argc > 2 ? argv[2] : NULL;
    choose_seed();
    RUN(the_table_is_there);
    if (entry) {
        cuda_seed(seed);
        lend = entry->lend;
        take_back = entry->take_back;
        if (!table || strcmp(table, "bf16") == 0)
            try_all(entry->fast);
        if (!table || strcmp(table, "f32") == 0)
            try_all(entry->fast_f32);
        if (!table || strcmp(table, "tf32") == 0)
            try_products(entry->fast_tf32);
        if (!table || strcmp(table, "exact") == 0) { /* its other entries: test_cuda_exact, test_cuda_golden */
            ops = entry->exact;
            RUN_CHOSEN(pair_sums);
        }
        RUN(nothing_was_violated);
    }
    return test_finish();
}
