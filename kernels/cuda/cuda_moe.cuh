/* cuda_moe.cuh: what a mixture of experts does beside its products: choosing experts, sorting rows by expert, gathering them, and
 * adding up what the experts made of a row (formulas: route and moe in kernels/ops.h). */
#ifndef STRATA_KERNELS_CUDA_MOE_CUH
#define STRATA_KERNELS_CUDA_MOE_CUH

#include "kernels/cuda/cuda_device.cuh"

extern "C++" {

template <typename T> struct MoeRoute { /* T: bf16 or float */
    Global<const T> logits;             /* [T, E] */
    Global<int32_t> expert;             /* [T, top_k] */
    Global<float> weight;
    int64_t ld;
    int rows, n_experts, top_k;
    bool normalise;
};
template <typename T> cudaError_t moe_route(const MoeRoute<T> *a, cudaStream_t stream);

/* Choice i (row i / top_k) goes to place slot_of[i]; places are sorted by expert, then by i. row_of[slot_of[i]] = i / top_k; expert e
 * has the places [first[e], first[e + 1]). */
struct MoeOrder {
    Global<const int32_t> expert; /* [T * top_k] */
    Global<int32_t> slot_of, row_of, first;
    int n_choices, n_experts, top_k;
};
cudaError_t moe_order(const MoeOrder *a, cudaStream_t stream);

/* out[i] = x[row_of[i]], D columns. */
template <typename T> struct MoeGather {
    Global<const T> x;
    Global<T> out; /* [n, D] dense */
    Global<const int32_t> row_of;
    int64_t ld;
    int n, d;
};
template <typename T> cudaError_t moe_gather(const MoeGather<T> *a, cudaStream_t stream);

/* out[t] = weight[t, 0] y[slot_of[t, 0]] + weight[t, 1] y[slot_of[t, 1]] + ..., in f32 and in that order. */
template <typename T> struct MoeCombine {
    Global<const T> y; /* [T * top_k, D] dense */
    Global<const int32_t> slot_of;
    Global<const float> weight;
    Global<bf16> out_bf16; /* one of the two */
    Global<float> out_f32;
    int64_t ld;
    int rows, d, top_k;
};
template <typename T> cudaError_t moe_combine(const MoeCombine<T> *a, cudaStream_t stream);
}

#endif
