/* cuda_under_test.h: the table cuda/fast for a test program: that of the emulation ($BUILD/libstrata_cuda_emu.so), or, with
 * STRATA_CUDA_LIB, of the library named there: `make gpu-test` runs the same programs on a device. */
#ifndef STRATA_TESTS_CUDA_UNDER_TEST_H
#define STRATA_TESTS_CUDA_UNDER_TEST_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/cuda/cuda_entry.h"

/* NULL, said in a line, when there is nothing to test: no C++ compiler built the emulation, or no device. */
static inline const CudaEntry *cuda_under_test(void)
{
    Error e = {""};
    int n = 0;
    char path[512];
    const char *build = getenv("BUILD");
    snprintf(path, sizeof path, "%s/libstrata_cuda_emu.so", build && build[0] ? build : "build");
    if (!getenv("STRATA_CUDA_LIB")) {
        if (access(path, F_OK) != 0) {
            printf("%s was not built (it takes a C++ compiler)\n", path);
            return NULL;
        }
        setenv("STRATA_CUDA_LIB", path, 1);
    }
    const CudaEntry *entry = cuda_load(&e);
    if (!entry || entry->count(&n, &e)) {
        printf("%s\n", e.text);
        return NULL;
    }
    return entry;
}

/* A function of the emulation; NULL on a device. */
static inline void *cuda_emulation(const char *name)
{
    void *library = dlopen(getenv("STRATA_CUDA_LIB"), RTLD_NOW | RTLD_NOLOAD);
    return library ? dlsym(library, name) : NULL;
}

/* Violations of the execution model that the emulation saw since it was last asked; 0 on a device. */
static inline size_t cuda_violations(void)
{
    void *reports = cuda_emulation("emu_reports"), *clear = cuda_emulation("emu_clear");
    size_t (*count)(void) = NULL, n = 0;
    void (*forget)(void) = NULL;
    memcpy(&count, &reports, sizeof count);
    memcpy(&forget, &clear, sizeof forget);
    if (count && forget) {
        n = count();
        forget();
    }
    return n;
}

/* The order of blocks, threads and streams of the emulation. */
static inline void cuda_seed(uint64_t seed)
{
    void *symbol = cuda_emulation("emu_seed");
    void (*set)(uint64_t) = NULL;
    memcpy(&set, &symbol, sizeof set);
    if (set)
        set(seed);
}

#endif
