/* test_cuda_ops.c [TEST]: every entry of the table cuda/fast against the f64 oracle, by the cases of test_kernels.c: on the emulation, where
 * races, unwritten memory and accesses out of bounds are failures too; under `make gpu-test` on a device. Operands lie in host pages
 * lent to the device, between their guard pages. */
#define KERNELS_ARE_WIDE
#include <pthread.h>

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

static void nothing_was_violated(void)
{
    CHECK(cuda_violations() == 0);
}

int main(int argc, char **argv)
{
    only = argc > 1 ? argv[1] : NULL;
    choose_seed();
    RUN(the_table_is_there);
    if (entry) {
        cuda_seed(seed);
        lend = entry->lend;
        take_back = entry->take_back;
        try_table(entry->fast, "device", 2);
        RUN_CHOSEN(attention_in_less_shared_memory);
        RUN_CHOSEN(another_thread);
        ops = entry->exact; /* its other entries: test_cuda_exact, test_cuda_golden */
        RUN_CHOSEN(pair_sums);
        RUN(nothing_was_violated);
    }
    return test_finish();
}
