/* cuda_rows.cu: kernels that go over the elements of rows once: activations, sums, copies, clipping, RoPE, dot products of rows. A
 * block is a piece of a row (blockIdx.x the row, blockIdx.y the piece), a thread V = 8 columns where rows begin on 16 bytes, else
 * one. Arithmetic is f32 between a load and a store; row_dots carries f64. */
#include "kernels/cuda/cuda_block.cuh"

#include <math.h>

enum { PIECE_THREADS = 256, MEAN_INPUTS = 16, DOT_THREADS = 128 };

/* ---- elementwise ---- */

/* Where this thread's columns begin in the row; at or beyond n: none. */
template <int V> DEVICE_FN size_t first_column()
{
    return ((size_t)blockIdx.y * blockDim.x + threadIdx.x) * V;
}

static dim3 pieces(size_t rows, size_t cols, int v, unsigned threads)
{
    size_t units = (cols + (size_t)v - 1) / (size_t)v;
    return dim3((unsigned)rows, (unsigned)((units + threads - 1) / threads));
}

/* 1 / (1 + e^-x), for arrays of T; of bf16 by approximations of 2 ulp: with expf() and a division the arithmetic of a SwiGLU takes as long as
 * its memory. */
template <typename T> DEVICE_FN float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

template <> DEVICE_FN float sigmoid<bf16>(float x)
{
    return fast_rcp(1.0f + fast_exp(-x));
}

template <typename T> DEVICE_FN float activate(float x, ActKind act)
{
    switch (act) {
    case ACT_SILU:
        return x * sigmoid<T>(x);
    case ACT_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
    case ACT_GELU_ERF:
        return 0.5f * x * (1.0f + erff(x * 0.7071067811865476f));
    case ACT_RELU:
        return x > 0.0f ? x : x * 0.0f; /* NaN stays */
    case ACT_RELU2:
        return x > 0.0f ? x * x : x * 0.0f;
    }
    return x;
}

template <typename T, int V, bool GATED>
CUDA_KERNEL(PIECE_THREADS)
act_kernel(Global<T> out, size_t out_ld, Global<const T> x, size_t x_ld, Global<const T> up, size_t up_ld, size_t n,
           ActKind act)
{
    size_t at = first_column<V>(), t = blockIdx.x;
    if (at >= n)
        return;
    float a[V], b[V];
    load_cols<V>(a, x + t * x_ld, at, n);
    if constexpr (GATED)
        load_cols<V>(b, up + t * up_ld, at, n);
#pragma unroll
    for (int j = 0; j < V; j++)
        a[j] = GATED ? activate<T>(a[j], act) * b[j] : activate<T>(a[j], act);
    store_cols<V>(out + t * out_ld, a, at, n);
}

template <typename T> static void act_launch(cudaStream_t stream, View out, View x, View up, ActKind act, bool gated)
{
    bool wide = cuda_rows_aligned(out) && cuda_rows_aligned(x) && (!gated || cuda_rows_aligned(up));
    int v = wide ? 8 : 1;
    unsigned threads = cuda_threads((out.cols + (size_t)v - 1) / (size_t)v, PIECE_THREADS);
    dim3 grid = pieces(out.rows, out.cols, v, threads);
    T *to = (T *)out.data;
    const T *from = (const T *)x.data, *with = (const T *)up.data;
    if (gated && wide)
        CUDA_LAUNCH((act_kernel<T, 8, true>), grid, threads, 0, stream, to, out.ld, from, x.ld, with, up.ld, out.cols, act);
    else if (gated)
        CUDA_LAUNCH((act_kernel<T, 1, true>), grid, threads, 0, stream, to, out.ld, from, x.ld, with, up.ld, out.cols, act);
    else if (wide)
        CUDA_LAUNCH((act_kernel<T, 8, false>), grid, threads, 0, stream, to, out.ld, from, x.ld, with, up.ld, out.cols, act);
    else
        CUDA_LAUNCH((act_kernel<T, 1, false>), grid, threads, 0, stream, to, out.ld, from, x.ld, with, up.ld, out.cols, act);
}

void cuda_glu(cudaStream_t stream, View out, View gate, View up, ActKind act)
{
    if (!out.rows || !out.cols)
        return;
    if (out.dtype == DTYPE_F32)
        act_launch<float>(stream, out, gate, up, act, true);
    else
        act_launch<bf16>(stream, out, gate, up, act, true);
}

void cuda_act(cudaStream_t stream, View out, View x, ActKind act)
{
    if (!out.rows || !out.cols)
        return;
    if (out.dtype == DTYPE_F32)
        act_launch<float>(stream, out, x, x, act, false);
    else
        act_launch<bf16>(stream, out, x, x, act, false);
}

/* out = a + scale * b; with a gate scale is sigmoid(gate[t, 0]). */
template <typename A, typename B, int V>
CUDA_KERNEL(PIECE_THREADS)
add_kernel(Global<A> out, size_t out_ld, Global<const A> a, size_t a_ld, Global<const B> b, size_t b_ld, Global<const A> gate,
           size_t gate_ld, float scale, size_t n)
{
    size_t at = first_column<V>(), t = blockIdx.x;
    if (at >= n)
        return;
    float x[V], y[V];
    load_cols<V>(x, a + t * a_ld, at, n);
    load_cols<V>(y, b + t * b_ld, at, n);
    if (gate != nullptr)
        scale = sigmoid<A>(f32_of(gate[t * gate_ld]));
#pragma unroll
    for (int j = 0; j < V; j++)
        x[j] += scale * y[j];
    store_cols<V>(out + t * out_ld, x, at, n);
}

template <typename A, typename B> static void add_launch(cudaStream_t stream, View out, View a, View b, View gate, float scale)
{
    bool wide = cuda_rows_aligned(out) && cuda_rows_aligned(a) && cuda_rows_aligned(b);
    int v = wide ? 8 : 1;
    unsigned threads = cuda_threads((out.cols + (size_t)v - 1) / (size_t)v, PIECE_THREADS);
    dim3 grid = pieces(out.rows, out.cols, v, threads);
    if (wide)
        CUDA_LAUNCH((add_kernel<A, B, 8>), grid, threads, 0, stream, (A *)out.data, out.ld, (const A *)a.data, a.ld,
                    (const B *)b.data, b.ld, (const A *)gate.data, gate.ld, scale, out.cols);
    else
        CUDA_LAUNCH((add_kernel<A, B, 1>), grid, threads, 0, stream, (A *)out.data, out.ld, (const A *)a.data, a.ld,
                    (const B *)b.data, b.ld, (const A *)gate.data, gate.ld, scale, out.cols);
}

static void add_views(cudaStream_t stream, View out, View a, View b, View gate, float scale)
{
    if (!out.rows || !out.cols)
        return;
    if (out.dtype == DTYPE_BF16)
        add_launch<bf16, bf16>(stream, out, a, b, gate, scale);
    else if (b.dtype == DTYPE_BF16)
        add_launch<float, bf16>(stream, out, a, b, gate, scale);
    else
        add_launch<float, float>(stream, out, a, b, gate, scale);
}

void cuda_add(cudaStream_t stream, View out, View a, View b, float scale)
{
    add_views(stream, out, a, b, View{}, scale);
}

void cuda_add_gated(cudaStream_t stream, View out, View a, View b, View gate)
{
    add_views(stream, out, a, b, gate, 1.0f);
}

/* x = min(max(x, -limit), limit). */
template <typename T, int V> CUDA_KERNEL(PIECE_THREADS) clip_kernel(Global<T> x, size_t ld, float limit, size_t n)
{
    size_t at = first_column<V>(), t = blockIdx.x;
    if (at >= n)
        return;
    float a[V];
    load_cols<V>(a, x + t * ld, at, n);
#pragma unroll
    for (int j = 0; j < V; j++) { /* comparisons: NaN stays */
        float below = a[j] > limit ? limit : a[j];
        a[j] = below < -limit ? -limit : below;
    }
    store_cols<V>(x + t * ld, a, at, n);
}

template <typename T> static void clip_launch(cudaStream_t stream, View x, float limit)
{
    bool wide = cuda_rows_aligned(x);
    int v = wide ? 8 : 1;
    unsigned threads = cuda_threads((x.cols + (size_t)v - 1) / (size_t)v, PIECE_THREADS);
    dim3 grid = pieces(x.rows, x.cols, v, threads);
    if (wide)
        CUDA_LAUNCH((clip_kernel<T, 8>), grid, threads, 0, stream, (T *)x.data, x.ld, limit, x.cols);
    else
        CUDA_LAUNCH((clip_kernel<T, 1>), grid, threads, 0, stream, (T *)x.data, x.ld, limit, x.cols);
}

void cuda_clip(cudaStream_t stream, View x, float limit)
{
    if (!x.rows || !x.cols)
        return;
    if (x.dtype == DTYPE_F32)
        clip_launch<float>(stream, x, limit);
    else
        clip_launch<bf16>(stream, x, limit);
}

template <typename To, typename From, int V>
CUDA_KERNEL(PIECE_THREADS)
copy_kernel(Global<To> out, size_t out_ld, Global<const From> x, size_t x_ld, size_t n)
{
    size_t at = first_column<V>(), t = blockIdx.x;
    if (at >= n)
        return;
    float a[V];
    load_cols<V>(a, x + t * x_ld, at, n);
    store_cols<V>(out + t * out_ld, a, at, n);
}

template <typename To, typename From> static void copy_launch(cudaStream_t stream, View out, View x)
{
    bool wide = cuda_rows_aligned(out) && cuda_rows_aligned(x);
    int v = wide ? 8 : 1;
    unsigned threads = cuda_threads((out.cols + (size_t)v - 1) / (size_t)v, PIECE_THREADS);
    dim3 grid = pieces(out.rows, out.cols, v, threads);
    if (wide)
        CUDA_LAUNCH((copy_kernel<To, From, 8>), grid, threads, 0, stream, (To *)out.data, out.ld, (const From *)x.data, x.ld,
                    out.cols);
    else
        CUDA_LAUNCH((copy_kernel<To, From, 1>), grid, threads, 0, stream, (To *)out.data, out.ld, (const From *)x.data, x.ld,
                    out.cols);
}

void cuda_copy(cudaStream_t stream, View dst, View src)
{
    if (!dst.rows || !dst.cols)
        return;
    if (dst.dtype == src.dtype) { /* bits as they are */
        size_t elem = cuda_elem_bytes(dst.dtype);
        cudaMemcpy2DAsync(dst.data, dst.ld * elem, src.data, src.ld * elem, dst.cols * elem, dst.rows, cudaMemcpyDefault,
                          stream); /* host memory lent to the device too */
    } else if (dst.dtype == DTYPE_F32) {
        copy_launch<float, bf16>(stream, dst, src);
    } else {
        copy_launch<bf16, float>(stream, dst, src);
    }
}

/* out = ((before out, if any) + in[0] + in[1] + ...) / divide, in that order. */
typedef struct MeanInputs {
    Global<const float> in[MEAN_INPUTS];
    size_t ld[MEAN_INPUTS];
    int n;
    bool before;
    float divide;
} MeanInputs;

template <int V> CUDA_KERNEL(PIECE_THREADS) mean_kernel(Global<float> out, size_t out_ld, MeanInputs in, size_t n)
{
    size_t at = first_column<V>(), t = blockIdx.x;
    if (at >= n)
        return;
    float sum[V], x[V];
    if (in.before)
        load_cols<V>(sum, out + t * out_ld, at, n);
    else
        load_cols<V>(sum, in.in[0] + t * in.ld[0], at, n);
#pragma unroll 4
    for (int i = in.before ? 0 : 1; i < in.n; i++) {
        load_cols<V>(x, in.in[i] + t * in.ld[i], at, n);
#pragma unroll
        for (int j = 0; j < V; j++)
            sum[j] += x[j];
    }
#pragma unroll
    for (int j = 0; j < V; j++)
        sum[j] /= in.divide;
    store_cols<V>(out + t * out_ld, sum, at, n);
}

void cuda_mean(cudaStream_t stream, View out, const View *in, size_t n)
{
    if (!out.rows || !out.cols)
        return;
    bool wide = cuda_rows_aligned(out);
    for (size_t i = 0; i < n; i++)
        wide = wide && cuda_rows_aligned(in[i]);
    int v = wide ? 8 : 1;
    unsigned threads = cuda_threads((out.cols + (size_t)v - 1) / (size_t)v, PIECE_THREADS);
    dim3 grid = pieces(out.rows, out.cols, v, threads);
    for (size_t first = 0; first < n; first += MEAN_INPUTS) {
        MeanInputs m = {};
        m.n = n - first < MEAN_INPUTS ? (int)(n - first) : (int)MEAN_INPUTS;
        m.before = first > 0;
        m.divide = first + (size_t)m.n == n ? (float)n : 1.0f;
        for (int i = 0; i < m.n; i++) {
            m.in[i] = (const float *)in[first + (size_t)i].data;
            m.ld[i] = in[first + (size_t)i].ld;
        }
        if (wide)
            CUDA_LAUNCH((mean_kernel<8>), grid, threads, 0, stream, (float *)out.data, out.ld, m, out.cols);
        else
            CUDA_LAUNCH((mean_kernel<1>), grid, threads, 0, stream, (float *)out.data, out.ld, m, out.cols);
    }
}

/* ---- RoPE ---- */

/* A block is a row; a thread takes V pairs of a head at a time. half: columns i.. and i + R/2..; interleaved: 2i.. */
template <typename T, int V, bool HALF>
CUDA_KERNEL(PIECE_THREADS)
rope_kernel(Global<T> x, size_t ld, Global<const int32_t> positions, Global<const float> cosines, Global<const float> sines,
            int n_heads, int head_dim, int half)
{
    size_t t = blockIdx.x, position = (size_t)positions[t];
    Global<T> row = x + t * ld;
    Global<const float> c = cosines + position * (size_t)half, s = sines + position * (size_t)half;
    int units = half / V;
    for (int u = (int)threadIdx.x; u < n_heads * units; u += (int)blockDim.x) {
        int head = u / units, i = u % units * V;
        float co[V], si[V];
        load_row<V>(co, c + i);
        load_row<V>(si, s + i);
        if constexpr (HALF) {
            Global<T> p = row + (size_t)head * (size_t)head_dim + i;
            float a[V], b[V];
            load_row<V>(a, p);
            load_row<V>(b, p + half);
#pragma unroll
            for (int j = 0; j < V; j++) {
                float first = a[j] * co[j] - b[j] * si[j];
                b[j] = b[j] * co[j] + a[j] * si[j];
                a[j] = first;
            }
            store_row<V>(p, a);
            store_row<V>(p + half, b);
        } else {
            Global<T> p = row + (size_t)head * (size_t)head_dim + 2 * i;
            if constexpr (V == 1) {
                float a = f32_of(p[0]), b = f32_of(p[1]);
                p[0] = Narrow<T>::of(a * co[0] - b * si[0]);
                p[1] = Narrow<T>::of(b * co[0] + a * si[0]);
            } else {
                float y[2 * V];
                load_row<2 * V>(y, p);
#pragma unroll
                for (int j = 0; j < V; j++) {
                    float a = y[2 * j], b = y[2 * j + 1];
                    y[2 * j] = a * co[j] - b * si[j];
                    y[2 * j + 1] = b * co[j] + a * si[j];
                }
                store_row<2 * V>(p, y);
            }
        }
    }
}

template <typename T>
static void rope_launch(cudaStream_t stream, View x, const int32_t *positions, const Weight *cosines, const Weight *sines,
                        int n_heads, int head_dim, int half, RopeStyle style)
{
    const float *c = (const float *)cosines->data, *s = (const float *)sines->data;
    bool wide = cuda_rows_aligned(x) && half % 8 == 0 && head_dim % 8 == 0 && (uintptr_t)c % 16 == 0 && (uintptr_t)s % 16 == 0;
    unsigned threads = cuda_threads((size_t)n_heads * (size_t)(wide ? half / 8 : half), PIECE_THREADS), rows = (unsigned)x.rows;
    if (wide && style == ROPE_HALF)
        CUDA_LAUNCH((rope_kernel<T, 8, true>), rows, threads, 0, stream, (T *)x.data, x.ld, positions, c, s, n_heads, head_dim,
                    half);
    else if (wide)
        CUDA_LAUNCH((rope_kernel<T, 8, false>), rows, threads, 0, stream, (T *)x.data, x.ld, positions, c, s, n_heads, head_dim,
                    half);
    else if (style == ROPE_HALF)
        CUDA_LAUNCH((rope_kernel<T, 1, true>), rows, threads, 0, stream, (T *)x.data, x.ld, positions, c, s, n_heads, head_dim,
                    half);
    else
        CUDA_LAUNCH((rope_kernel<T, 1, false>), rows, threads, 0, stream, (T *)x.data, x.ld, positions, c, s, n_heads, head_dim,
                    half);
}

void cuda_rope(cudaStream_t stream, View x, const int32_t *positions, const Weight *cosines, const Weight *sines, int n_heads,
               int head_dim, int rotary_dims, RopeStyle style)
{
    if (!x.rows || rotary_dims < 2 || n_heads < 1)
        return;
    if (x.dtype == DTYPE_F32)
        rope_launch<float>(stream, x, positions, cosines, sines, n_heads, head_dim, rotary_dims / 2, style);
    else
        rope_launch<bf16>(stream, x, positions, cosines, sines, n_heads, head_dim, rotary_dims / 2, style);
}

/* ---- dot products of rows, in f64 ---- */

template <typename T, int V>
CUDA_KERNEL(DOT_THREADS)
dots_kernel(Global<double> out, Global<const T> a, size_t a_ld, Global<const T> b, size_t b_ld, size_t n)
{
    CUDA_SHARED(double, partial, 32);
    size_t t = blockIdx.x;
    double ab = 0, aa = 0, bb = 0;
    for (size_t at = threadIdx.x * V; at < n; at += (size_t)blockDim.x * V) {
        float x[V], y[V];
        load_cols<V>(x, a + t * a_ld, at, n);
        load_cols<V>(y, b + t * b_ld, at, n);
#pragma unroll
        for (int j = 0; j < V; j++) { /* products of floats are exact in f64 */
            ab += (double)x[j] * (double)y[j];
            aa += (double)x[j] * (double)x[j];
            bb += (double)y[j] * (double)y[j];
        }
    }
    ab = block_sum(ab, Shared<double>(partial));
    aa = block_sum(aa, Shared<double>(partial));
    bb = block_sum(bb, Shared<double>(partial));
    if (threadIdx.x == 0) {
        out[3 * t] = ab;
        out[3 * t + 1] = aa;
        out[3 * t + 2] = bb;
    }
}

template <typename T> static void dots_launch(cudaStream_t stream, double *out, View a, View b)
{
    bool wide = cuda_rows_aligned(a) && cuda_rows_aligned(b);
    unsigned threads = cuda_threads(wide ? (a.cols + 7) / 8 : a.cols, DOT_THREADS), rows = (unsigned)a.rows;
    if (wide)
        CUDA_LAUNCH((dots_kernel<T, 8>), rows, threads, 0, stream, out, (const T *)a.data, a.ld, (const T *)b.data, b.ld,
                    a.cols);
    else
        CUDA_LAUNCH((dots_kernel<T, 1>), rows, threads, 0, stream, out, (const T *)a.data, a.ld, (const T *)b.data, b.ld,
                    a.cols);
}

void cuda_row_dots(cudaStream_t stream, double *out, View a, View b)
{
    if (!a.rows)
        return;
    if (a.dtype == DTYPE_F32)
        dots_launch<float>(stream, out, a, b);
    else
        dots_launch<bf16>(stream, out, a, b);
}
