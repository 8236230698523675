/* cuda_gemm_groups.cu: products of several groups of rows with a matrix each, y = x w[group]^T on tensor cores; where a group begins and ends is
 * read on the device, so that the host never waits for it (a mixture's experts).
 *
 * A block makes tiles of ROWS x COLS of y: blockIdx.x the columns, blockIdx.y the group, blockIdx.z the first of the row tiles it takes. Four warps
 * of 32 x 64 each; K in steps of DEPTH through a ring of STAGES in shared memory, filled by asynchronous copies. What lies outside of a group, of
 * N or of K is filled with zeros. Rows in shared memory are 80 bytes apart: the eight rows of a load_matrix fall into different banks. */
#include "kernels/cuda/cuda_gemm.cuh"
#include "kernels/cuda/cuda_multiply.cuh"

enum { ROWS = 64, COLS = 128, DEPTH = 32, STRIDE = DEPTH + 8, STAGES = 3, WARP_ROWS = 32, WARP_COLS = 64, THREADS = 128 };
enum { TILES = WARP_ROWS / 16, STRIPS = WARP_COLS / 8 };

/* Rows [first, first + n) of a matrix with columns [k0, k0 + DEPTH) of K, n at most `rows`; zeros elsewhere. */
DEVICE_FN void load_tile(Shared<bf16> to, Global<const bf16> from, int64_t ld, int first, int n, int rows, int k0, int k,
                         bool vectors)
{
    for (int i = threadIdx.x; i < rows * (DEPTH / 8); i += THREADS) {
        int r = i / (DEPTH / 8), c = i % (DEPTH / 8) * 8, valid = r < n ? k - k0 - c : 0;
        Shared<bf16> there = to + (r * STRIDE + c);
        Global<const bf16> at = valid > 0 ? from + ((int64_t)(first + r) * ld + k0 + c) : from;
        if (vectors) {
            async_copy16(there, at, valid > 0 ? 16 : 0);
            continue;
        }
        for (int j = 0; j < 8; j++) {
            bf16 x = {0};
            if (j < valid)
                x = at[j];
            there[j] = x;
        }
    }
}

/* The warp's sums; row 0 of them is row `first` of y, of which those before `end` are stored. */
DEVICE_FN void store_sums(const GemmGroups &g, const float (&sum)[TILES][STRIPS][4], int first, int end, int col, int lane)
{
    bool pairs = g.ld_y % 2 == 0 && g.n % 2 == 0 && is_aligned(g.y, 4);
#pragma unroll
    for (int m = 0; m < TILES; m++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = first + m * 16 + half * 8 + lane / 4;
            if (row >= end)
                continue;
            Global<bf16> to = g.y + (int64_t)row * g.ld_y;
#pragma unroll
            for (int n = 0; n < STRIPS; n++) {
                int c = col + n * 8 + lane % 4 * 2;
                float low = sum[m][n][2 * half], high = sum[m][n][2 * half + 1];
                if (pairs && c < g.n) {
                    pointer_cast<uint32_t>(to + c)[0] = bf16_pair(low, high);
                    continue;
                }
                if (c < g.n)
                    to[c] = bf16_of(low);
                if (c + 1 < g.n)
                    to[c + 1] = bf16_of(high);
            }
        }
    }
}

CUDA_KERNEL(THREADS) gemm_groups(GemmGroups g)
{
    CUDA_SHARED(bf16, xs, STAGES * ROWS * STRIDE);
    CUDA_SHARED(bf16, ws, STAGES * COLS * STRIDE);
    Shared<bf16> x_stages = xs, w_stages = ws;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warp_row = warp % 2 * WARP_ROWS, warp_col = warp / 2 * WARP_COLS;
    int group = blockIdx.y, begin = g.first[group], end = g.first[group + 1], col = (int)blockIdx.x * COLS;
    const bf16 *matrix = g.w[group];
    Global<const bf16> w = matrix;
    int cols = g.n - col < COLS ? g.n - col : COLS, steps = (g.k + DEPTH - 1) / DEPTH;
    bool vectors = g.k % 8 == 0 && g.ld_x % 8 == 0 && is_aligned(g.x, 16) && is_aligned(w, 16);
    for (int first = begin + (int)blockIdx.z * ROWS; first < end; first += (int)gridDim.z * ROWS) {
        int rows = end - first < ROWS ? end - first : ROWS;
        float sum[TILES][STRIPS][4];
#pragma unroll
        for (int m = 0; m < TILES; m++)
#pragma unroll
            for (int n = 0; n < STRIPS; n++)
                sum[m][n][0] = sum[m][n][1] = sum[m][n][2] = sum[m][n][3] = 0;
        for (int s = 0; s < STAGES - 1; s++) {
            if (s < steps) {
                load_tile(x_stages + s * ROWS * STRIDE, g.x, g.ld_x, first, rows, ROWS, s * DEPTH, g.k, vectors);
                load_tile(w_stages + s * COLS * STRIDE, w, g.k, col, cols, COLS, s * DEPTH, g.k, vectors);
            }
            async_copy_commit();
        }
        for (int s = 0; s < steps; s++) {
            async_copy_wait<STAGES - 2>();
            block_sync(); /* step s is there for all, and all are done with the stage that is filled next */
            int ahead = s + STAGES - 1, stage = s % STAGES, next = ahead % STAGES;
            if (ahead < steps) {
                load_tile(x_stages + next * ROWS * STRIDE, g.x, g.ld_x, first, rows, ROWS, ahead * DEPTH, g.k, vectors);
                load_tile(w_stages + next * COLS * STRIDE, w, g.k, col, cols, COLS, ahead * DEPTH, g.k, vectors);
            }
            async_copy_commit();
            multiply_rows<DEPTH, STRIDE>(sum, x_stages + (stage * ROWS + warp_row) * STRIDE,
                                         w_stages + (stage * COLS + warp_col) * STRIDE, lane);
        }
        store_sums(g, sum, first + warp_row, end, col + warp_col, lane);
        block_sync(); /* before the stages are filled for the next rows */
    }
}

const char *gemm_run_groups(const GemmGroups *g, int rows, cudaStream_t stream)
{
    enum { MOST = 4 };
    int tiles = (rows + ROWS - 1) / ROWS;
    if (g->n < 1 || rows < 1)
        return NULL;
    CUDA_LAUNCH((gemm_groups), dim3((g->n + COLS - 1) / COLS, g->n_groups, tiles < MOST ? tiles : MOST), THREADS, 0, stream,
                *g);
    cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? NULL : cudaGetErrorString(error);
}
