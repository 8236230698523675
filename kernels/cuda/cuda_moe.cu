/* cuda_moe.cu: see cuda_moe.cuh. Routing takes a warp a row; sorting takes a block an expert, which counts through all choices twice
 * (some ten thousand at most, read from the L2 cache), so that the order never depends on which thread came first. */
#include "kernels/cuda/cuda_moe.cuh"

#include <math.h>

enum { ROUTE_WARPS = 4, ORDER_WARPS = 8, ORDER_THREADS = 32 * ORDER_WARPS, COPY_THREADS = 128, MOST_PER_LANE = 32 };

/* ---- choosing ---- */

template <typename T> DEVICE_FN float logit(const MoeRoute<T> &a, int64_t row, int x)
{
    T z = a.logits[row * a.ld + x];
    return f32_of(z);
}

/* The best expert not yet taken, ties to the lower index, agreed on by the warp. taken: bit s is expert s * 32 + lane. */
template <typename T> DEVICE_FN int best_expert(const MoeRoute<T> &a, int64_t row, uint32_t taken, int lane)
{
    int best = -1;
    float most = 0;
    for (int s = 0, x = lane; x < a.n_experts; s++, x += 32) {
        float z = logit(a, row, x);
        if (!(taken >> s & 1) && (best < 0 || z > most)) {
            best = x;
            most = z;
        }
    }
    for (int bits = 16; bits; bits /= 2) {
        int other = warp_shuffle_xor(best, bits);
        float z = warp_shuffle_xor(most, bits);
        /* both sides decide alike, also where NaN compares false: the lower index then wins */
        bool lower = other >= 0 && (best < 0 || other < best);
        bool wins = other >= 0 && (best < 0 || (lower ? !(most > z) : z > most));
        best = wins ? other : best;
        most = wins ? z : most;
    }
    return best;
}

template <typename T> CUDA_KERNEL(32 * ROUTE_WARPS) route_rows(MoeRoute<T> a)
{
    int64_t row = (int64_t)blockIdx.x * ROUTE_WARPS + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    if (row >= a.rows)
        return;
    uint32_t taken = 0;
    float most = 0, picked = 0, all = 0;
    for (int j = 0; j < a.top_k; j++) {
        int best = best_expert(a, row, taken, lane);
        if (best % 32 == lane)
            taken |= 1u << best / 32;
        float z = logit(a, row, best);
        if (j == 0) { /* the largest of all, but for NaN */
            most = z;
            for (int x = lane; x < a.n_experts; x += 32)
                all += expf(logit(a, row, x) - most);
            for (int bits = 16; bits; bits /= 2)
                all += warp_shuffle_xor(all, bits);
        }
        float share = expf(z - most);
        picked += share;
        if (lane == 0) {
            a.expert[row * a.top_k + j] = best;
            a.weight[row * a.top_k + j] = share;
        }
    }
    if (lane == 0)
        for (int j = 0; j < a.top_k; j++) {
            float share = a.weight[row * a.top_k + j];
            a.weight[row * a.top_k + j] = share / (a.normalise ? picked : all);
        }
}

/* ---- sorting ---- */

/* The sum of v over the block, in every thread. */
DEVICE_FN int block_sum(int v, Shared<int32_t> sums)
{
    for (int bits = 16; bits; bits /= 2)
        v += warp_shuffle_xor(v, bits);
    block_sync();
    if (threadIdx.x % 32 == 0)
        sums[threadIdx.x / 32] = v;
    block_sync();
    int sum = 0;
    for (int w = 0; w < ORDER_WARPS; w++)
        sum += sums[w];
    return sum;
}

CUDA_KERNEL(ORDER_THREADS) order_choices(MoeOrder a)
{
    CUDA_SHARED(int32_t, sums, ORDER_WARPS);
    int expert = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32, below = 0;
    for (int i = threadIdx.x; i < a.n_choices; i += ORDER_THREADS)
        below += a.expert[i] < expert;
    int at = block_sum(below, sums);
    if (threadIdx.x == 0) {
        a.first[expert] = at;
        if (expert == a.n_experts - 1)
            a.first[a.n_experts] = a.n_choices;
    }
    for (int base = 0; base < a.n_choices; base += ORDER_THREADS) {
        int i = base + threadIdx.x, mine = 0;
        if (i < a.n_choices)
            mine = a.expert[i] == expert;
        unsigned votes = warp_ballot(mine);
        block_sync();
        if (lane == 0)
            sums[warp] = count_bits(votes);
        block_sync();
        int before = 0, all = 0;
        for (int w = 0; w < ORDER_WARPS; w++) {
            int n = sums[w];
            before += w < warp ? n : 0;
            all += n;
        }
        if (mine) {
            int slot = at + before + count_bits(votes & ((1u << lane) - 1));
            a.slot_of[i] = slot;
            a.row_of[slot] = i / a.top_k;
        }
        at += all;
    }
}

/* ---- gathering and adding up ---- */

template <typename T> CUDA_KERNEL(COPY_THREADS) gather_rows(MoeGather<T> a)
{
    constexpr int V = 16 / sizeof(T);
    int64_t row = a.row_of[(int)blockIdx.x];
    Global<const T> from = a.x + row * a.ld;
    Global<T> to = a.out + (int64_t)blockIdx.x * a.d;
    if (a.d % V == 0 && is_aligned(from, 16) && is_aligned(to, 16)) {
        for (int c = threadIdx.x * V; c < a.d; c += COPY_THREADS * V)
            store_vec(to + c, load_vec<V>(from + c));
    } else {
        for (int c = threadIdx.x; c < a.d; c += COPY_THREADS)
            to[c] = (T)from[c];
    }
}

/* N columns of a row: 16 bytes at once where they lie well, else one. */
template <int N, typename T> DEVICE_FN void combine_columns(const MoeCombine<T> &a, int64_t row, int c)
{
    float sum[N];
    for (int i = 0; i < N; i++)
        sum[i] = 0;
    for (int j = 0; j < a.top_k; j++) {
        int64_t slot = a.slot_of[row * a.top_k + j];
        float weight = a.weight[row * a.top_k + j];
        Vec<T, N> y = load_vec<N>(a.y + (slot * a.d + c));
#pragma unroll
        for (int i = 0; i < N; i++)
            sum[i] = fmaf(weight, f32_of(y.at[i]), sum[i]);
    }
#pragma unroll
    for (int i = 0; i < N; i++) {
        if (a.out_f32 != nullptr)
            a.out_f32[row * a.ld + c + i] = sum[i];
        else
            a.out_bf16[row * a.ld + c + i] = bf16_of(sum[i]);
    }
}

template <typename T> CUDA_KERNEL(COPY_THREADS) combine_rows(MoeCombine<T> a)
{
    constexpr int V = 16 / sizeof(T);
    int64_t row = blockIdx.x;
    if (a.d % V == 0 && is_aligned(a.y, 16)) {
        for (int c = threadIdx.x * V; c < a.d; c += COPY_THREADS * V)
            combine_columns<V>(a, row, c);
    } else {
        for (int c = threadIdx.x; c < a.d; c += COPY_THREADS)
            combine_columns<1>(a, row, c);
    }
}

template <typename T> cudaError_t moe_route(const MoeRoute<T> *a, cudaStream_t stream)
{
    if (a->n_experts > 32 * MOST_PER_LANE || a->top_k > a->n_experts)
        return cudaErrorInvalidValue;
    CUDA_LAUNCH((route_rows<T>), (a->rows + ROUTE_WARPS - 1) / ROUTE_WARPS, 32 * ROUTE_WARPS, 0, stream, *a);
    return cudaGetLastError();
}

cudaError_t moe_order(const MoeOrder *a, cudaStream_t stream)
{
    CUDA_LAUNCH((order_choices), a->n_experts, ORDER_THREADS, 0, stream, *a);
    return cudaGetLastError();
}

template <typename T> cudaError_t moe_gather(const MoeGather<T> *a, cudaStream_t stream)
{
    CUDA_LAUNCH((gather_rows<T>), a->n, COPY_THREADS, 0, stream, *a);
    return cudaGetLastError();
}

template <typename T> cudaError_t moe_combine(const MoeCombine<T> *a, cudaStream_t stream)
{
    CUDA_LAUNCH((combine_rows<T>), a->rows, COPY_THREADS, 0, stream, *a);
    return cudaGetLastError();
}

template cudaError_t moe_route(const MoeRoute<bf16> *a, cudaStream_t stream);
template cudaError_t moe_route(const MoeRoute<float> *a, cudaStream_t stream);
template cudaError_t moe_gather(const MoeGather<bf16> *a, cudaStream_t stream);
template cudaError_t moe_gather(const MoeGather<float> *a, cudaStream_t stream);
template cudaError_t moe_combine(const MoeCombine<bf16> *a, cudaStream_t stream);
template cudaError_t moe_combine(const MoeCombine<float> *a, cudaStream_t stream);
