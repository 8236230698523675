/* device.c: see device.h. */
#include "kernels/device.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cuda_entry.h"

enum { LEAST_MAJOR = 8 };

/* Number of this process among those of its launcher on this machine; 0 without a launcher. */
static long local_rank(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK",
                                        "SLURM_LOCALID"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *text = getenv(names[i]);
        char *end;
        long rank = text ? strtol(text, &end, 10) : -1;
        if (text && end != text && !*end && rank >= 0)
            return rank;
    }
    return 0;
}

static int use_gpu(const CudaEntry *cuda, int index, Device *out, Error *e)
{
    CudaDevice d;
    int status = cuda->describe(index, &d, e);
    if (status)
        return status;
    if (d.major < LEAST_MAJOR)
        return error_set(e, STATUS_FAILED, "GPU %d (%s) has compute capability %d.%d, expected at least %d.0", index, d.name,
                         d.major, d.minor, LEAST_MAJOR);
    out->kind = "cuda";
    out->index = index;
    snprintf(out->stamp, sizeof out->stamp, "%s", d.name);
    return STATUS_OK;
}

static int use_named(long index, Device *out, Error *e)
{
    int n = 0, status = STATUS_FAILED;
    const CudaEntry *cuda = cuda_load(e);
    if (cuda && !(status = cuda->count(&n, e))) {
        if (index < n)
            status = use_gpu(cuda, (int)index, out, e);
        else
            status = error_set(e, STATUS_FAILED, "this machine shows GPUs 0 to %d", n - 1);
    }
    if (!status)
        return STATUS_OK;
    Error why = *e;
    return error_set(e, status, "--gpu_id %ld: %s; use --gpu_id cpu", index, why.text);
}

/* True when a GPU serves; anything in the way means that the processor does. */
static bool use_any(Device *out)
{
    Error ignored;
    int n = 0;
    const CudaEntry *cuda = cuda_load(&ignored);
    if (!cuda || cuda->count(&n, &ignored) || n < 1)
        return false;
    long first = local_rank() % n;
    for (int i = 0; i < n; i++)
        if (!use_gpu(cuda, (int)((first + i) % n), out, &ignored))
            return true;
    return false;
}

int device_choose(const char *gpu_id, const char *numerics, const char *dtype, Device *out, Error *e)
{
    const char *gpu = gpu_id && gpu_id[0] ? gpu_id : "auto";
    bool given = dtype && dtype[0];
    *out = (Device){.kind = "cpu", .dtype = given ? dtype : "f32", .stamp = "cpu"};
    if (strcmp(gpu, "cpu") == 0)
        return STATUS_OK;
    if (strcmp(gpu, "auto") == 0) {
        if (strcmp(numerics, "fast") == 0 && use_any(out) && !given)
            out->dtype = "bf16";
        return STATUS_OK;
    }
    char *end;
    long index = strtol(gpu, &end, 10);
    if (end == gpu || *end || index < 0 || index > INT_MAX)
        return error_set(e, STATUS_USAGE, "--gpu_id: \"%s\", expected auto, cpu, or the number of a GPU", gpu);
    if (!given && strcmp(numerics, "fast") == 0)
        out->dtype = "bf16";
    return use_named(index, out, e);
}
