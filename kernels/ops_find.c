/* ops_find.c: which table serves which arithmetic on which device. */
#include <string.h>

#include "kernels/cuda/cuda_entry.h"
#include "kernels/exact/exact_canon.h"
#include "kernels/ops.h"

static const Ops *cuda_bf16(const CudaEntry *c)
{
    return c->fast;
}

static const Ops *cuda_f32(const CudaEntry *c)
{
    return c->fast_f32;
}

static const Ops *cuda_tf32(const CudaEntry *c)
{
    return c->fast_tf32;
}

static const Ops *cuda_exact(const CudaEntry *c)
{
    return c->exact;
}

const Ops *ops_find(const char *device, const char *numerics, const char *dtype, Error *e)
{
    static const struct {
        const char *device, *numerics, *dtype;
        const Ops *ops;                            /* of the processor */
        const Ops *(*of_cuda)(const CudaEntry *c); /* else */
    } served[] = {
        {"cpu", "fast", "f32", &ops_cpu_fast, NULL},   {"cpu", "stable", "f32", &ops_cpu_stable, NULL},
        {"cpu", "exact", "f32", &ops_cpu_exact, NULL}, {"cpu", "ref64", "f32", &ops_cpu_ref64, NULL},
        {"cuda", "fast", "bf16", NULL, cuda_bf16},     {"cuda", "fast", "f32", NULL, cuda_f32},
        {"cuda", "fast", "tf32", NULL, cuda_tf32},     {"cuda", "exact", "f32", NULL, cuda_exact},
    };
    for (size_t i = 0; i < sizeof served / sizeof served[0]; i++) {
        if (strcmp(device, served[i].device) != 0 || strcmp(numerics, served[i].numerics) != 0 ||
            strcmp(dtype, served[i].dtype) != 0)
            continue;
        const CudaEntry *cuda = served[i].of_cuda ? cuda_load(e) : NULL;
        return cuda ? served[i].of_cuda(cuda) : served[i].ops;
    }
    if (strcmp(device, "cpu") == 0 && strcmp(numerics, "fast") == 0 && strcmp(dtype, "tf32") == 0)
        error_set(
            e, STATUS_USAGE,
            "--dtype tf32: these products are those of a GPU's tensor cores, and the processor is in use; --gpu_id N names a "
            "GPU, --dtype f32 is served here");
    else
        error_set(
            e, STATUS_USAGE,
            "--numerics %s --dtype %s on %s is not served; served is --numerics fast|stable|exact|ref64 --dtype f32 on cpu, "
            "--numerics fast --dtype bf16|f32|tf32 and --numerics exact --dtype f32 on a GPU",
            numerics, dtype, device);
    return NULL;
}

const char *ops_numerics_version(const char *numerics)
{
    return strcmp(numerics, "exact") == 0 || strcmp(numerics, "ref64") == 0 ? EXACT_VERSION : NULL;
}
