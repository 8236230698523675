/* cuda_entry.h: the seam between the program and libstrata_cuda.so, which holds the kernels and is opened at run time: one exported
 * function that hands out a table of entries, after a check that both sides were built from the same structures. */
#ifndef STRATA_KERNELS_CUDA_ENTRY_H
#define STRATA_KERNELS_CUDA_ENTRY_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/ops.h"

typedef struct CudaDevice {
    char name[96];                  /* "NVIDIA H100 80GB HBM3" */
    size_t total_bytes, free_bytes; /* of its memory */
    int major, minor;               /* compute capability */
} CudaDevice;

/* For benchmarks: random numbers in [-scale, scale) into n elements (F32 or BF16) on the device; a copy from device to device; the
 * milliseconds that the device takes for what work(arg) enqueues. */
typedef struct CudaBench {
    void (*fill)(OpsContext *c, void *memory, DType dtype, size_t n, float scale, uint64_t seed);
    void (*copy)(OpsContext *c, void *to, const void *from, size_t bytes);
    int (*time)(OpsContext *c, void (*work)(void *arg), void *arg, double *ms, Error *e);
} CudaBench;

typedef struct CudaEntry {
    const Ops *fast; /* cuda/fast in bf16 */
    /* Devices the driver shows; an error when there is none or no driver. */
    int (*count)(int *n, Error *e);
    int (*describe)(int index, CudaDevice *out, Error *e);
    /* Host memory (whole pages) that kernels may read and write under its own address, until it is taken back: for tests. */
    int (*lend)(void *memory, size_t bytes, Error *e);
    void (*take_back)(void *memory);
    const CudaBench *bench;
    const Ops *exact;                /* cuda/exact */
    const Ops *fast_f32, *fast_tf32; /* cuda/fast in f32, its products in f32 or in TF32 */
} CudaEntry;

/* Changes with every structure that crosses the seam. */
static inline uint64_t cuda_entry_abi(void)
{
    enum { REVISION = 3 };
    const size_t sizes[] = {sizeof(Ops),      sizeof(OpsConfig), sizeof(HeadArgs), sizeof(AttnSpec),  sizeof(AttnSeq),
                            sizeof(NormSpec), sizeof(Weight),    sizeof(Error),    sizeof(CudaEntry), DTYPE_COUNT,
                            sizeof(PairItem), sizeof(PairSums),  sizeof(PairChunk)};
    uint64_t h = REVISION;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        h = h * 1000003 + sizes[i];
    return h;
}

/* NULL when abi is another than its own. */
typedef const CudaEntry *(*CudaEntryFunction)(uint64_t abi);
#define CUDA_LIBRARY "libstrata_cuda.so"
#define CUDA_ENTRY_NAME "strata_cuda_entry"

/* Opens libstrata_cuda.so: the file STRATA_CUDA_LIB names, else beside the running program, in ../lib from there, or where the
 * system looks for libraries. NULL with an error that says why not. */
const CudaEntry *cuda_load(Error *e);

#endif
