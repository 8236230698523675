/* cuda_pairs.cuh: launches of the kernels for pairs of rows (kernels/pair_sums.h), bit for bit what the host gives. As in cuda_rows.cuh each
 * enqueues and none waits, allocates or fails but through cudaGetLastError(). Views are F32 on the device, any ld; arrays are the
 * device's. The same for cuda/fast and cuda/exact. */
#ifndef STRATA_CUDA_PAIRS_CUH
#define STRATA_CUDA_PAIRS_CUH

#include <cuda_runtime_api.h>

extern "C" {
#include "kernels/ops.h"
}

void cuda_gather(cudaStream_t stream, View out, View x, const int32_t *rows);
void cuda_pair_sums(cudaStream_t stream, const PairSums *to, View x, const PairItem *items, size_t n_items);
void cuda_compare_rows(cudaStream_t stream, RowsCompared *out, View x, const RowPair *pairs, size_t n, const double *weight);

#endif
