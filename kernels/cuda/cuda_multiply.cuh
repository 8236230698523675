/* cuda_multiply.cuh: a warp's product of two tiles in shared memory on tensor cores, bf16 in, f32 sums. */
#ifndef STRATA_KERNELS_CUDA_MULTIPLY_CUH
#define STRATA_KERNELS_CUDA_MULTIPLY_CUH

#include "kernels/cuda/cuda_device.cuh"

/* sum += a b^T. a [16 M, K], b [8 N, K]: rows of K elements, STRIDE apart, each 16-byte aligned; K a multiple of 16, N even. sum[m][n] is the
 * piece of rows 16 m and columns 8 n, laid out over the lanes as mma_bf16 does. All lanes of the warp. */
template <int K, int STRIDE, int M, int N>
DEVICE_FN void multiply_rows(float (&sum)[M][N][4], Shared<bf16> a, Shared<bf16> b, int lane)
{
    static_assert(K % 16 == 0 && N % 2 == 0, "the products of the tensor cores are 16 deep, strips come in pairs");
    int matrix = lane / 8, row = lane % 8;
#pragma unroll
    for (int d = 0; d < K; d += 16) {
        uint32_t from_a[M][4];
#pragma unroll
        for (int m = 0; m < M; m++)
            load_matrix_x4(from_a[m], a + ((m * 16 + lane % 16) * STRIDE + d + lane / 16 * 8));
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t from_b[4];
            load_matrix_x4(from_b, b + ((n * 8 + matrix / 2 * 8 + row) * STRIDE + d + matrix % 2 * 8));
            uint32_t low[2] = {from_b[0], from_b[1]}, high[2] = {from_b[2], from_b[3]};
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_bf16(sum[m][n], from_a[m], low);
                mma_bf16(sum[m][n + 1], from_a[m], high);
            }
        }
    }
}

#endif
