/* ops_find.c: which table serves which arithmetic on which device. */
#include <string.h>

#include "kernels/cuda/cuda_entry.h"
#include "kernels/exact/exact_canon.h"
#include "kernels/ops.h"

const Ops *ops_find(const char *device, const char *numerics, const char *dtype, Error *e)
{
    static const struct {
        const char *device, *numerics, *dtype;
        const Ops *ops;
    } served[] = {
        {"cpu", "fast", "f32", &ops_cpu_fast},
        {"cpu", "stable", "f32", &ops_cpu_stable},
        {"cpu", "exact", "f32", &ops_cpu_exact},
        {"cpu", "ref64", "f32", &ops_cpu_ref64},
    };
    for (size_t i = 0; i < sizeof served / sizeof served[0]; i++)
        if (strcmp(device, served[i].device) == 0 && strcmp(numerics, served[i].numerics) == 0 &&
            strcmp(dtype, served[i].dtype) == 0)
            return served[i].ops;
    bool fast = strcmp(numerics, "fast") == 0 && strcmp(dtype, "bf16") == 0;
    bool exact = strcmp(numerics, "exact") == 0 && strcmp(dtype, "f32") == 0;
    if (strcmp(device, "cuda") == 0 && (fast || exact)) {
        const CudaEntry *cuda = cuda_load(e);
        return !cuda ? NULL : fast ? cuda->fast : cuda->exact;
    }
    error_set(e, STATUS_USAGE,
              "--numerics %s --dtype %s on %s is not served; served is --numerics fast|stable|exact|ref64 --dtype f32 on cpu, "
              "--numerics fast --dtype bf16 and --numerics exact --dtype f32 on a GPU",
              numerics, dtype, device);
    return NULL;
}

const char *ops_numerics_version(const char *numerics)
{
    return strcmp(numerics, "exact") == 0 || strcmp(numerics, "ref64") == 0 ? EXACT_VERSION : NULL;
}
