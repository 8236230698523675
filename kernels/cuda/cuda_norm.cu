/* cuda_norm.cu: RMSNorm and LayerNorm of rows or of groups of columns (the residual add before them is part of linear_add). A group is read
 * once into registers (V = 8 columns a unit, UNITS of them a thread), by one warp up to 1024 columns, else by a block; groups too wide
 * or not on 16 bytes are read a second time (UNITS = 0). Sums in f32: at most 32 terms a thread, then a tree. */
#include "kernels/cuda/cuda_block.cuh"

#include <math.h>

enum { NORM_THREADS = 1024, WARP_THREADS = 128, WARP_COLS = 1024 };

typedef struct NormArgs {
    Global<const float> gain, bias; /* may be null */
    size_t gain_step, bias_step;    /* 1 where each group has its own */
    size_t n, groups, rows;         /* columns of a group, groups of a row */
    float eps, offset;
    bool layer;
} NormArgs;

template <typename T> struct NormView {
    Global<T> data;
    size_t ld;
};

template <bool BLOCK> DEVICE_FN float group_sum(float x, Shared<float> partial)
{
    if constexpr (BLOCK)
        return block_sum(x, partial);
    else
        return warp_sum(x);
}

template <int V, typename Out>
DEVICE_FN void finish(Global<Out> out, float (&x)[V], float mean, float inverse, const NormArgs &a, size_t group, size_t at)
{
    float g[V], b[V];
    if (a.gain != nullptr)
        load_cols<V>(g, a.gain + group * a.gain_step * a.n, at, a.n);
    if (a.bias != nullptr)
        load_cols<V>(b, a.bias + group * a.bias_step * a.n, at, a.n);
#pragma unroll
    for (int j = 0; j < V; j++) {
        x[j] = (x[j] - mean) * inverse;
        if (a.gain != nullptr)
            x[j] *= g[j] + a.offset;
        if (a.bias != nullptr)
            x[j] += b[j];
    }
    store_cols<V>(out, x, at, a.n);
}

template <typename X, typename Out, int V, int UNITS, bool BLOCK>
CUDA_KERNEL(BLOCK ? NORM_THREADS : WARP_THREADS)
norm_kernel(NormView<Out> out, NormView<const X> x, NormArgs a)
{
    CUDA_SHARED(float, partial, 32);
    size_t lanes = BLOCK ? blockDim.x : 32, me = BLOCK ? threadIdx.x : threadIdx.x % 32;
    size_t index = BLOCK ? blockIdx.x : (size_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (index >= a.rows * a.groups) /* a whole warp; a block never */
        return;
    size_t t = index / a.groups, group = index % a.groups, column = group * a.n;
    Global<const X> from = x.data + t * x.ld + column;
    Global<Out> to = out.data + t * out.ld + column;
    float mean = 0, total = 0;
    if constexpr (UNITS > 0) {
        float v[UNITS][V];
#pragma unroll
        for (int u = 0; u < UNITS; u++) {
            size_t at = (me + (size_t)u * lanes) * V;
#pragma unroll
            for (int j = 0; j < V; j++)
                v[u][j] = 0;
            if (at < a.n)
                load_cols<V>(v[u], from, at, a.n);
        }
        if (a.layer) {
#pragma unroll
            for (int u = 0; u < UNITS; u++)
#pragma unroll
                for (int j = 0; j < V; j++)
                    total += v[u][j]; /* columns beyond n are 0 */
            mean = group_sum<BLOCK>(total, Shared<float>(partial)) / (float)a.n;
            total = 0;
        }
#pragma unroll
        for (int u = 0; u < UNITS; u++)
#pragma unroll
            for (int j = 0; j < V; j++) {
                float d = (me + (size_t)u * lanes) * V + j < a.n ? v[u][j] - mean : 0.0f;
                total += d * d;
            }
        total = group_sum<BLOCK>(total, Shared<float>(partial));
        float inverse = 1.0f / sqrtf(total / (float)a.n + a.eps);
#pragma unroll
        for (int u = 0; u < UNITS; u++) {
            size_t at = (me + (size_t)u * lanes) * V;
            if (at < a.n)
                finish<V>(to, v[u], mean, inverse, a, group, at);
        }
    } else {
        /* A thread reads its own columns again before it writes them: out may be x. */
        float v[V];
        for (size_t at = me * V; at < a.n; at += lanes * V) {
            load_cols<V>(v, from, at, a.n);
#pragma unroll
            for (int j = 0; j < V; j++)
                total += a.layer ? v[j] : v[j] * v[j];
        }
        if (a.layer) {
            mean = group_sum<BLOCK>(total, Shared<float>(partial)) / (float)a.n;
            total = 0;
            for (size_t at = me * V; at < a.n; at += lanes * V) {
                load_cols<V>(v, from, at, a.n);
#pragma unroll
                for (int j = 0; j < V; j++)
                    total += at + j < a.n ? (v[j] - mean) * (v[j] - mean) : 0.0f;
            }
        }
        total = group_sum<BLOCK>(total, Shared<float>(partial));
        float inverse = 1.0f / sqrtf(total / (float)a.n + a.eps);
        for (size_t at = me * V; at < a.n; at += lanes * V) {
            load_cols<V>(v, from, at, a.n);
            finish<V>(to, v, mean, inverse, a, group, at);
        }
    }
}

template <typename X, typename Out>
static void norm_launch(cudaStream_t stream, View to, View from, const NormSpec *s, const Weight *weight,
                        const Weight *bias_weight)
{
    bool gain = weight && weight->kind != WEIGHT_NONE && weight->data;
    bool bias = bias_weight && bias_weight->kind != WEIGHT_NONE && bias_weight->data;
    NormArgs a = {};
    a.gain = gain ? (const float *)weight->data : nullptr;
    a.bias = bias ? (const float *)bias_weight->data : nullptr;
    a.gain_step = gain && weight->cols != s->group;
    a.bias_step = bias && bias_weight->cols != s->group;
    a.n = s->group;
    a.groups = from.cols / s->group;
    a.rows = from.rows;
    a.eps = s->eps;
    a.offset = s->weight_offset;
    a.layer = s->kind == NORM_LAYER;
    NormView<Out> out = {(Out *)to.data, to.ld};
    NormView<const X> x = {(const X *)from.data, from.ld};
    bool wide = cuda_rows_aligned(to) && cuda_rows_aligned(from) && (a.groups == 1 || a.n % 8 == 0);
    wide = wide && (!gain || (uintptr_t)weight->data % 16 == 0) && (!bias || (uintptr_t)bias_weight->data % 16 == 0);
    size_t units = (a.n + 7) / 8, groups = a.rows * a.groups;
    unsigned warp_blocks = (unsigned)((groups + WARP_THREADS / 32 - 1) / (WARP_THREADS / 32));
    if (a.n <= WARP_COLS) {
        if (!wide)
            CUDA_LAUNCH((norm_kernel<X, Out, 1, 0, false>), warp_blocks, WARP_THREADS, 0, stream, out, x, a);
        else if (units <= 32)
            CUDA_LAUNCH((norm_kernel<X, Out, 8, 1, false>), warp_blocks, WARP_THREADS, 0, stream, out, x, a);
        else if (units <= 64)
            CUDA_LAUNCH((norm_kernel<X, Out, 8, 2, false>), warp_blocks, WARP_THREADS, 0, stream, out, x, a);
        else
            CUDA_LAUNCH((norm_kernel<X, Out, 8, 4, false>), warp_blocks, WARP_THREADS, 0, stream, out, x, a);
        return;
    }
    unsigned n = (unsigned)groups;
    if (!wide)
        CUDA_LAUNCH((norm_kernel<X, Out, 1, 0, true>), n, cuda_threads((a.n + 3) / 4, NORM_THREADS), 0, stream, out, x, a);
    else if (units <= 2 * NORM_THREADS)
        CUDA_LAUNCH((norm_kernel<X, Out, 8, 2, true>), n, cuda_threads((units + 1) / 2, NORM_THREADS), 0, stream, out, x, a);
    else
        CUDA_LAUNCH((norm_kernel<X, Out, 8, 0, true>), n, NORM_THREADS, 0, stream, out, x, a);
}

void cuda_norm(cudaStream_t stream, View out, View x, const NormSpec *spec, const Weight *weight, const Weight *bias)
{
    if (!x.rows || !x.cols)
        return;
    if (x.dtype == DTYPE_BF16 && out.dtype == DTYPE_BF16)
        norm_launch<bf16, bf16>(stream, out, x, spec, weight, bias);
    else if (x.dtype == DTYPE_BF16)
        norm_launch<bf16, float>(stream, out, x, spec, weight, bias);
    else if (out.dtype == DTYPE_BF16)
        norm_launch<float, bf16>(stream, out, x, spec, weight, bias);
    else
        norm_launch<float, float>(stream, out, x, spec, weight, bias);
}
