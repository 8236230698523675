/* cuda_block.cuh: what the row kernels share: V elements of a row into f32 registers and back (V 8 or 1), sums and maxima over a warp
 * or block in a fixed order, and the host's choice of V. */
#ifndef STRATA_CUDA_BLOCK_CUH
#define STRATA_CUDA_BLOCK_CUH

#include "kernels/cuda/cuda_device.cuh"
#include "kernels/cuda/cuda_rows.cuh"

/* x[0 .. V) from p; V = 8 needs p on 16 bytes. */
template <int V, typename T> DEVICE_FN void load_row(float (&x)[V], Global<T> p)
{
    if constexpr (V == 1) {
        x[0] = f32_of(p[0]);
    } else {
        constexpr int N = 16 / sizeof(T) < V ? 16 / sizeof(T) : V;
#pragma unroll
        for (int i = 0; i < V; i += N) {
            auto v = load_vec<N>(p + i);
#pragma unroll
            for (int j = 0; j < N; j++)
                x[i + j] = f32_of(v.at[j]);
        }
    }
}

template <int V, typename T> DEVICE_FN void store_row(Global<T> p, const float (&x)[V])
{
    if constexpr (V == 1) {
        p[0] = Narrow<T>::of(x[0]);
    } else {
        constexpr int N = 16 / sizeof(T) < V ? 16 / sizeof(T) : V;
#pragma unroll
        for (int i = 0; i < V; i += N) {
            Vec<T, N> v;
#pragma unroll
            for (int j = 0; j < N; j++)
                v.at[j] = Narrow<T>::of(x[i + j]);
            store_vec(p + i, v);
        }
    }
}

/* Columns [first, first + V) of a row of n; those from n on are 0, or are not stored. */
template <int V, typename T> DEVICE_FN void load_cols(float (&x)[V], Global<T> row, size_t first, size_t n)
{
    if constexpr (V == 1) {
        load_row<V>(x, row + first);
    } else if (first + V <= n) {
        load_row<V>(x, row + first);
    } else {
#pragma unroll
        for (int j = 0; j < V; j++)
            x[j] = first + j < n ? f32_of(row[first + j]) : 0.0f;
    }
}

template <int V, typename T> DEVICE_FN void store_cols(Global<T> row, const float (&x)[V], size_t first, size_t n)
{
    if constexpr (V == 1) {
        store_row<V>(row + first, x);
    } else if (first + V <= n) {
        store_row<V>(row + first, x);
    } else {
#pragma unroll
        for (int j = 0; j < V; j++)
            if (first + j < n)
                row[first + j] = Narrow<T>::of(x[j]);
    }
}

template <typename S> DEVICE_FN S warp_sum(S x)
{
#pragma unroll
    for (int bits = 16; bits; bits >>= 1)
        x += warp_shuffle_xor(x, bits);
    return x;
}

/* The sum over all threads, known to all; partial [32] is used again only after a barrier of the caller's or another call's. */
template <typename S> DEVICE_FN S block_sum(S x, Shared<S> partial)
{
    x = warp_sum(x);
    unsigned warps = blockDim.x / 32;
    if (warps == 1)
        return x;
    if (threadIdx.x % 32 == 0)
        partial[threadIdx.x / 32] = x;
    block_sync();
    S sum = 0;
    for (unsigned w = 0; w < warps; w++)
        sum += partial[w];
    block_sync();
    return sum;
}

static inline size_t cuda_elem_bytes(DType t)
{
    return t == DTYPE_F32 ? 4 : 2;
}

/* Whether every row of a view begins on 16 bytes (one row: its first). */
static inline bool cuda_rows_aligned(View v)
{
    size_t elem = cuda_elem_bytes(v.dtype);
    return (uintptr_t)v.data % 16 == 0 && (v.rows < 2 || v.ld * elem % 16 == 0);
}

/* Threads for n units of work, in whole warps. */
static inline unsigned cuda_threads(size_t units, unsigned most)
{
    size_t t = (units + 31) / 32 * 32;
    return t < 32 ? 32 : t > most ? most : (unsigned)t;
}

#endif
