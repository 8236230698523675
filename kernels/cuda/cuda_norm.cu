/* cuda_norm.cu: RMSNorm and LayerNorm of rows or of groups of columns, with the residual add before them where asked. A group is read
 * once into registers (V = 8 columns a unit, UNITS of them a thread), by one warp up to 1024 columns, else by a block; groups too wide
 * or not on 16 bytes are read a second time (UNITS = 0). Sums in f32: at most 32 terms a thread, then a tree. */
#include "kernels/cuda/cuda_block.cuh"

#include <math.h>

enum { NORM_THREADS = 1024, WARP_THREADS = 128, WARP_COLS = 1024 };

typedef struct NormArgs {
    Global<const float> gain, bias; /* may be null */
    size_t gain_step, bias_step;    /* 1 where each group has its own */
    size_t n, groups, rows;         /* columns of a group, groups of a row */
    float eps, offset, add_scale;
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

/* V columns of the input: x, or x + scale * added, which goes to sum too. */
template <int V, typename X, typename B>
DEVICE_FN void take(float (&x)[V], Global<X> from, Global<const B> added, Global<X> sum, float scale, size_t at, size_t n)
{
    load_cols<V>(x, from, at, n);
    if (added == nullptr)
        return;
    float y[V];
    load_cols<V>(y, added, at, n);
#pragma unroll
    for (int j = 0; j < V; j++)
        x[j] += scale * y[j];
    if (sum != nullptr) {
        store_cols<V>(sum, x, at, n);
        if constexpr (sizeof(X) == 2) { /* what is normalised is what was stored */
#pragma unroll
            for (int j = 0; j < V; j++)
                x[j] = f32_of(Narrow<X>::of(x[j]));
        }
    }
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

template <typename X, typename B, typename Out, int V, int UNITS, bool BLOCK>
CUDA_KERNEL(BLOCK ? NORM_THREADS : WARP_THREADS)
norm_kernel(NormView<Out> out, NormView<X> x, NormView<const B> add, NormView<X> sum, NormArgs a)
{
    CUDA_SHARED(float, partial, 32);
    size_t lanes = BLOCK ? blockDim.x : 32, me = BLOCK ? threadIdx.x : threadIdx.x % 32;
    size_t index = BLOCK ? blockIdx.x : (size_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (index >= a.rows * a.groups) /* a whole warp; a block never */
        return;
    size_t t = index / a.groups, group = index % a.groups, column = group * a.n;
    Global<X> from = x.data + t * x.ld + column, to_sum = nullptr;
    Global<const B> added = nullptr;
    Global<Out> to = out.data + t * out.ld + column;
    if (add.data != nullptr)
        added = add.data + t * add.ld + column;
    if (sum.data != nullptr)
        to_sum = sum.data + t * sum.ld + column;
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
                take<V>(v[u], from, added, to_sum, a.add_scale, at, a.n);
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
        /* A thread reads its own columns again: from the sum where one was written, x may be the same memory. */
        float v[V];
        for (size_t at = me * V; at < a.n; at += lanes * V) {
            take<V>(v, from, added, to_sum, a.add_scale, at, a.n);
#pragma unroll
            for (int j = 0; j < V; j++)
                total += a.layer ? v[j] : v[j] * v[j];
        }
        if (added != nullptr && to_sum != nullptr) {
            from = to_sum;
            added = nullptr;
        }
        if (a.layer) {
            mean = group_sum<BLOCK>(total, Shared<float>(partial)) / (float)a.n;
            total = 0;
            for (size_t at = me * V; at < a.n; at += lanes * V) {
                take<V>(v, from, added, to_sum, a.add_scale, at, a.n);
#pragma unroll
                for (int j = 0; j < V; j++)
                    total += at + j < a.n ? (v[j] - mean) * (v[j] - mean) : 0.0f;
            }
        }
        total = group_sum<BLOCK>(total, Shared<float>(partial));
        float inverse = 1.0f / sqrtf(total / (float)a.n + a.eps);
        for (size_t at = me * V; at < a.n; at += lanes * V) {
            take<V>(v, from, added, to_sum, a.add_scale, at, a.n);
            finish<V>(to, v, mean, inverse, a, group, at);
        }
    }
}

template <typename X, typename B, typename Out> static void norm_launch(cudaStream_t stream, const CudaNorm *c)
{
    const NormSpec *s = &c->spec;
    bool gain = c->weight && c->weight->kind != WEIGHT_NONE && c->weight->data;
    bool bias = c->bias && c->bias->kind != WEIGHT_NONE && c->bias->data;
    NormArgs a = {};
    a.gain = gain ? (const float *)c->weight->data : nullptr;
    a.bias = bias ? (const float *)c->bias->data : nullptr;
    a.gain_step = gain && c->weight->cols != s->group;
    a.bias_step = bias && c->bias->cols != s->group;
    a.n = s->group;
    a.groups = c->x.cols / s->group;
    a.rows = c->x.rows;
    a.eps = s->eps;
    a.offset = s->weight_offset;
    a.add_scale = c->add_scale;
    a.layer = s->kind == NORM_LAYER;
    NormView<Out> out = {(Out *)c->out.data, c->out.ld};
    NormView<X> x = {(X *)c->x.data, c->x.ld}, sum = {(X *)c->sum.data, c->sum.ld};
    NormView<const B> add = {(const B *)c->add.data, c->add.ld};
    bool wide = cuda_rows_aligned(c->out) && cuda_rows_aligned(c->x) && (a.groups == 1 || a.n % 8 == 0);
    wide = wide && (!c->add.data || (cuda_rows_aligned(c->add) && (!c->sum.data || cuda_rows_aligned(c->sum))));
    wide = wide && (!gain || (uintptr_t)c->weight->data % 16 == 0) && (!bias || (uintptr_t)c->bias->data % 16 == 0);
    size_t units = (a.n + 7) / 8, groups = a.rows * a.groups;
    unsigned warp_blocks = (unsigned)((groups + WARP_THREADS / 32 - 1) / (WARP_THREADS / 32));
    if (a.n <= WARP_COLS) {
        if (!wide)
            CUDA_LAUNCH((norm_kernel<X, B, Out, 1, 0, false>), warp_blocks, WARP_THREADS, 0, stream, out, x, add, sum, a);
        else if (units <= 32)
            CUDA_LAUNCH((norm_kernel<X, B, Out, 8, 1, false>), warp_blocks, WARP_THREADS, 0, stream, out, x, add, sum, a);
        else if (units <= 64)
            CUDA_LAUNCH((norm_kernel<X, B, Out, 8, 2, false>), warp_blocks, WARP_THREADS, 0, stream, out, x, add, sum, a);
        else
            CUDA_LAUNCH((norm_kernel<X, B, Out, 8, 4, false>), warp_blocks, WARP_THREADS, 0, stream, out, x, add, sum, a);
        return;
    }
    unsigned n = (unsigned)groups;
    if (!wide)
        CUDA_LAUNCH((norm_kernel<X, B, Out, 1, 0, true>), n, cuda_threads((a.n + 3) / 4, NORM_THREADS), 0, stream, out, x, add,
                    sum, a);
    else if (units <= 2 * NORM_THREADS)
        CUDA_LAUNCH((norm_kernel<X, B, Out, 8, 2, true>), n, cuda_threads((units + 1) / 2, NORM_THREADS), 0, stream, out, x,
                    add, sum, a);
    else
        CUDA_LAUNCH((norm_kernel<X, B, Out, 8, 0, true>), n, NORM_THREADS, 0, stream, out, x, add, sum, a);
}

template <typename X, typename B> static void norm_to(cudaStream_t stream, const CudaNorm *a)
{
    if (a->out.dtype == DTYPE_F32)
        norm_launch<X, B, float>(stream, a);
    else
        norm_launch<X, B, bf16>(stream, a);
}

void cuda_norm(cudaStream_t stream, const CudaNorm *a)
{
    if (!a->x.rows || !a->x.cols)
        return;
    if (a->x.dtype == DTYPE_BF16)
        norm_to<bf16, bf16>(stream, a);
    else if (a->add.data && a->add.dtype == DTYPE_F32)
        norm_to<float, float>(stream, a);
    else
        norm_to<float, bf16>(stream, a);
}
