/* cuda_exact.cuh: launches of the kernels of numerics v1 on the device (cuda_exact_*.cu): f32 between operations, bit for bit what
 * kernels/exact/exact_canon.h defines. Views are F32 on the device, any ld and alignment; weights are F32, [N, K] dense. As in
 * cuda_rows.cuh each enqueues and none waits, allocates or fails but through cudaGetLastError(). What rounds alike without a version of its own:
 * cuda_copy, cuda_clip, cuda_embed and cuda_convert (one f32 operation, exact in f64 before its rounding). */
#ifndef STRATA_CUDA_EXACT_CUH
#define STRATA_CUDA_EXACT_CUH

#include "kernels/cuda/cuda_attention.cuh"
#include "kernels/cuda/cuda_rows.cuh"

void exact_device_linear(cudaStream_t stream, View y, View x, const float *w, const float *bias);
void exact_device_norm(cudaStream_t stream, View out, View x, const NormSpec *spec, const Weight *weight, const Weight *bias);
void exact_device_rope(cudaStream_t stream, View x, const int32_t *positions, const Weight *cosines, const Weight *sines,
                       int n_heads, int head_dim, int rotary_dims, RopeStyle style);
void exact_device_glu(cudaStream_t stream, View out, View gate, View up, ActKind act); /* up's data NULL: act alone */
void exact_device_add(cudaStream_t stream, View out, View a, View b, View gate,
                      float scale);                                              /* gate's data NULL: a + scale b */
void exact_device_mean(cudaStream_t stream, View out, const View *in, size_t n); /* n at most EXACT_DEVICE_MEAN */
void exact_device_row_dots(cudaStream_t stream, double *out, View a, View b);
void exact_device_head(cudaStream_t stream, const CudaHead *a);
void exact_device_route(cudaStream_t stream, int32_t *expert, float *weight, View logits, const RouteSpec *spec);
/* out[t] = a chain of fma(weight, y[slot_of[choice]]) over the choices t * top_k + j of row t in rank order; y [T * top_k, D] dense. */
void exact_device_combine(cudaStream_t stream, View out, const float *y, const int32_t *slot_of, const float *weight,
                          int top_k);

enum { EXACT_DEVICE_MEAN = 64 };

/* Attention; items of any number of queries, and segments, slopes on the device as AttentionArgs has them. A sequence's scores lie in
 * shared memory: at most exact_device_most_keys() keys on the current device. */
typedef struct ExactAttention {
    View out, q, k, v;
    const AttentionItem *items;
    const AttentionSegment *segments;
    const float *slopes;
    int n_items, most_queries, most_keys; /* of an item */
    AttnSpec spec;                        /* its alibi_slopes are not read */
} ExactAttention;
int exact_device_most_keys(void);
cudaError_t exact_device_attention(cudaStream_t stream, const ExactAttention *a);

#endif
