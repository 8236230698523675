/* cuda_gemm.cuh: matrix products of the device tables: y = alpha (x w^T + bias) + residual, bf16 or f32 in, f32 accumulation.
 *
 * Tall ones go to cublasLt; a few rows, and whatever cublasLt has no algorithm for, to a kernel of ours in which a warp makes one
 * output column from one pass over its row of w. */
#ifndef STRATA_KERNELS_CUDA_GEMM_CUH
#define STRATA_KERNELS_CUDA_GEMM_CUH

#include <cublasLt.h>

#include "kernels/cuda/cuda_device.cuh"

extern "C++" {

enum { GEMM_CACHE = 128, GEMM_WAYS = 4, GEMM_WORKSPACE_BYTES = 32 << 20 };

/* What a context's products take: bf16; f32; f32 of which cublasLt's tensor cores read the first 10 bits of the fraction (TF32). Our own
 * kernel, for a few rows, reads an f32 whole in either case. */
enum GemmOperands { GEMM_BF16, GEMM_F32, GEMM_TF32 };

/* x [T, K] and w [N, K] dense, both of the context's operands; y [T, N] bf16 or f32 with bf16 operands, else f32. */
struct GemmCall {
    const void *x, *w;
    void *y;
    const void *residual;  /* [T, N] f32 with y f32, or NULL; may be y */
    const float *bias;     /* [N] or NULL */
    const bf16 *bias_bf16; /* the same, rounded; read where y is bf16 */
    int64_t ld_x, ld_y, ld_residual;
    int rows, n, k;
    float alpha;
    bool y_f32;
};

struct GemmKey {
    int64_t ld_x, ld_y, ld_residual;
    int rows, n, k;
    uint16_t align_x, align_w, align_y, align_residual, align_bias;
    bool y_f32, has_bias, has_residual;
};

/* What cublasLt chose for a shape. */
struct GemmChoice {
    GemmKey key;
    bool known, served;
    cublasLtMatmulAlgo_t algo;
};

/* A handle with its memory of choices; about 40 KiB, part of the context. */
struct GemmContext {
    cublasLtHandle_t handle;
    GemmOperands operands;
    void *workspace; /* [GEMM_WORKSPACE_BYTES] on the device */
    GemmChoice cache[GEMM_CACHE];
};

/* Texts of what failed, or NULL. */
const char *gemm_open(GemmContext *g, GemmOperands operands, void *workspace);
void gemm_close(GemmContext *g);
const char *gemm_run(GemmContext *g, const GemmCall *c, cudaStream_t stream);

/* The products of several groups of rows with a matrix each (cuda_gemm_groups.cu): group e is rows [first[e], first[e+1]) of x and y, its
 * matrix w[e] [N, K]; y bf16. All four lie on the device, and nobody waits for them; `rows` of all groups together. */
struct GemmGroups {
    Global<const bf16> x;
    Global<bf16> y;
    Global<const int32_t> first;
    Global<const bf16 *const> w;
    int64_t ld_x, ld_y;
    int n_groups, n, k;
};
const char *gemm_run_groups(const GemmGroups *g, int rows, cudaStream_t stream);
}

#endif
