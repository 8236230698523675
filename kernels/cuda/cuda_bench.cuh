/* cuda_bench.cuh: what benchmarks need of a device beside the table (see CudaBench in cuda_entry.h). */
#ifndef STRATA_KERNELS_CUDA_BENCH_CUH
#define STRATA_KERNELS_CUDA_BENCH_CUH

extern "C" {
#include "kernels/cuda/cuda_entry.h"
}

extern const CudaBench cuda_bench;

#endif
