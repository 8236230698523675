/* cpu_features.c: what the processor has, the mask, and OpenBLAS's core. */
#include "kernels/cpu_features.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cblas.h>

static CpuLevel mask = CPU_AVX512; /* the one mutable global: set once at start, walked through by tests */

CpuLevel cpu_level_native(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init(); /* checks the operating system's support (xgetbv) too */
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return avx2 && avx512 ? CPU_AVX512 : avx2 ? CPU_AVX2 : CPU_SCALAR;
#else
    return CPU_SCALAR;
#endif
}

CpuLevel cpu_level(void)
{
    CpuLevel native = cpu_level_native();
    return native < mask ? native : mask;
}

static const char *const names[] = {"scalar", "avx2", "avx512"};

const char *cpu_level_name(CpuLevel level)
{
    return names[level];
}

int cpu_level_set(const char *name, Error *e)
{
    static const char *const cores[] = {"Prescott", "Haswell", "SkylakeX"};
    CpuLevel native = cpu_level_native();
    if (strcmp(name, "native") == 0) {
        mask = native;
        return STATUS_OK;
    }
    for (CpuLevel level = CPU_SCALAR; level <= CPU_AVX512; level++) {
        if (strcmp(name, names[level]) != 0)
            continue;
        if (level > native)
            return error_set(e, STATUS_USAGE, "--cpu %s: this processor has %s at most", name, names[native]);
        mask = level;
#if defined(__x86_64__)
        if (level < native)
            setenv("OPENBLAS_CORETYPE", cores[level], 0);
#else
        (void)cores;
#endif
        return STATUS_OK;
    }
    return error_set(e, STATUS_USAGE, "--cpu: \"%s\", expected scalar, avx2, avx512 or native", name);
}

const char *cpu_processor_name(void)
{
    static char name[128]; /* filled with the same text by whoever comes first */
    if (name[0])
        return name;
    char line[256], found[128] = "unknown processor";
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(found, sizeof found, "%.127s", colon);
        break;
    }
    if (f)
        fclose(f);
    memcpy(name, found, sizeof name);
    return name;
}

const char *cpu_blas_core(void)
{
    return openblas_get_corename();
}
