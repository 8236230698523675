/* cuda_rows.cuh: launches of the row kernels (cuda_rows.cu, cuda_norm.cu, cuda_convert.cu) and of the head
 * (cuda_head.cu), for the table. Each enqueues on the stream; none waits, allocates or fails but through cudaGetLastError(). Pointers
 * are the device's. Views are of F32 (residual stream, logits) or BF16 (activations) as ops.h's entry of the same name allows; any
 * alignment of their elements is served, rows that begin on 16 bytes (ld a multiple of 8) fastest. T = 0 launches nothing. */
#ifndef STRATA_CUDA_ROWS_CUH
#define STRATA_CUDA_ROWS_CUH

#include <cuda_runtime_api.h>

extern "C" {
#include "kernels/ops.h"
}

/* out may be x where the dtypes are the same; weight and bias may be NULL. */
void cuda_norm(cudaStream_t stream, View out, View x, const NormSpec *spec, const Weight *weight, const Weight *bias);
void cuda_rope(cudaStream_t stream, View x, const int32_t *positions, const Weight *cosines, const Weight *sines, int n_heads,
               int head_dim, int rotary_dims, RopeStyle style);
void cuda_glu(cudaStream_t stream, View out, View gate, View up, ActKind act);
void cuda_act(cudaStream_t stream, View out, View x, ActKind act);
void cuda_add(cudaStream_t stream, View out, View a, View b, float scale);
void cuda_clip(cudaStream_t stream, View x, float limit);
void cuda_add_gated(cudaStream_t stream, View out, View a, View b, View gate);
void cuda_mean(cudaStream_t stream, View out, const View *in, size_t n); /* any n: 16 at a time */
void cuda_copy(cudaStream_t stream, View dst, View src);                 /* F32 and BF16, either way */
void cuda_row_dots(cudaStream_t stream, double *out, View a, View b); /* out [T, 3] */

/* out[t] (+)= multiplier * row t of raw, rows of a file's dtype lying row_bytes apart, cols as out: embed, and with add embed_add. */
void cuda_embed(cudaStream_t stream, View out, const void *raw, DType dtype, size_t row_bytes, float multiplier, bool add);

/* Whether cuda_convert and cuda_embed read this dtype; others are widened on the host and come as F32. */
bool cuda_reads(DType dtype);
/* A piece of a file into a prepared weight: dst [rows, cols] of F32 or BF16, dense, from the bytes of the part (element (r, c) at
 * r * stride + c, or c * stride + r where transposed; any alignment). */
void cuda_convert(cudaStream_t stream, void *dst, DType dst_dtype, const void *raw, DType dtype, size_t rows, size_t cols,
                  size_t stride, bool transposed);

/* The head behind its product: logits [T, V] f32 hold x w^T + bias and hold z afterwards (scaled and capped); one pass writes them,
 * if there is a scale or cap, and reads them once more (and the intact ones) for everything asked. Arrays are the device's, [T]. */
typedef struct CudaHead {
    View logits;
    float logit_scale, softcap;
    const int32_t *targets;
    const uint8_t *word_start; /* [V] or NULL */
    View intact;               /* data NULL: none */
    const double *intact_lse;
    double *nll, *kl, *word_start_logp, *lse;
    int32_t *rank, *top1;
} CudaHead;
void cuda_head(cudaStream_t stream, const CudaHead *a);

#endif
