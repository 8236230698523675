/* cuda_exact_kernels.cu: numerics v1 on the device. Functions of numbers come from kernels/exact's headers, the text that the processor runs;
 * sums over arrays are written anew here, in the order that exact_canon.h defines: segments of EXACT_SEGMENT terms, each an ascending
 * chain from +0 that one thread computes, joined in ascending order by every thread. Threads differ in outputs and in segments, nothing
 * else splits a sum. Built with -fmad=false -ftz=false -prec-div=true -prec-sqrt=true; tests/cuda_exact_ptx.sh reads what nvcc made of it. */
#include "kernels/cuda/cuda_exact.cuh"

extern "C++" {
#include "kernels/exact/exact_canon.h"
}

enum { THREADS = 128, GEMM_TILE = 32, GEMM_DEPTH = 16, GEMM_THREADS = 256, SEGMENTS = 256, MOST_SHARED = 227 * 1024 };

/* ---- sums ---- */

/* The canonical sum of n terms, known to every thread: term(sum, i) is the sum with term i. sums [SEGMENTS]. */
template <typename Term> DEVICE_FN double canonical_sum(size_t from, size_t n, Shared<double> sums, Term term)
{
    size_t first_segment = from / EXACT_SEGMENT, n_segments = (n + EXACT_SEGMENT - 1) / EXACT_SEGMENT;
    double total = 0.0;
    for (size_t base = first_segment; base < n_segments; base += SEGMENTS) {
        size_t some = n_segments - base < SEGMENTS ? n_segments - base : (size_t)SEGMENTS;
        for (size_t s = threadIdx.x; s < some; s += blockDim.x) {
            size_t begin = (base + s) * EXACT_SEGMENT, end = begin + EXACT_SEGMENT;
            double sum = 0.0;
            for (size_t i = begin < from ? from : begin; i < end && i < n; i++)
                sum = term(sum, i);
            sums[s] = sum;
        }
        block_sync();
        for (size_t s = 0; s < some; s++) {
            double sum = sums[s];
            total = base + s > first_segment ? total + sum : sum;
        }
        block_sync();
    }
    return total;
}

struct Plus {
    Global<const float> x;
    DEVICE_FN double operator()(double sum, size_t i) const
    {
        float v = x[i];
        return sum + (double)v;
    }
};

struct Product {
    Global<const float> a, b;
    DEVICE_FN double operator()(double sum, size_t i) const
    {
        float x = a[i], y = b[i];
        return fma((double)x, (double)y, sum);
    }
};

struct Deviation {
    Global<const float> x;
    double centre;
    DEVICE_FN double operator()(double sum, size_t i) const
    {
        float v = x[i];
        return fma((double)v - centre, (double)v - centre, sum);
    }
};

struct Exponential { /* of the elements that `of` marks; null: all */
    Global<const float> z;
    Global<const uint8_t> of;
    double most;
    DEVICE_FN double operator()(double sum, size_t i) const
    {
        if (of != nullptr) {
            uint8_t marked = of[i];
            if (!marked)
                return sum;
        }
        float v = z[i];
        return sum + exact_exp((double)v - most);
    }
};

struct Divergence {
    Global<const float> x, z;
    double x_lse;
    DEVICE_FN double operator()(double sum, size_t i) const
    {
        float u = x[i], v = z[i];
        return fma(exact_exp((double)u - x_lse), (double)u - (double)v, sum);
    }
};

struct Score { /* already e^(score - max), in shared memory */
    Shared<double> p;
    DEVICE_FN double operator()(double sum, size_t i) const
    {
        double v = p[i];
        return sum + v;
    }
};

/* ---- elementwise ---- */

DEVICE_FN ExactAct act_of(ActKind act)
{
    return act == ACT_SILU        ? EXACT_SILU
           : act == ACT_GELU_TANH ? EXACT_GELU_TANH
           : act == ACT_GELU_ERF  ? EXACT_GELU_ERF
           : act == ACT_RELU      ? EXACT_RELU
                                  : EXACT_RELU2;
}

CUDA_KERNEL(THREADS)
glu_kernel(Global<float> out, size_t out_ld, Global<const float> gate, size_t gate_ld, Global<const float> up, size_t up_ld,
           size_t n, ActKind act)
{
    size_t t = blockIdx.x, i = (size_t)blockIdx.y * THREADS + threadIdx.x;
    if (i >= n)
        return;
    float g = gate[t * gate_ld + i];
    double y = exact_act((double)g, act_of(act));
    if (up != nullptr) {
        float u = up[t * up_ld + i];
        y = y * (double)u;
    }
    out[t * out_ld + i] = exact_store_f32(y);
}

CUDA_KERNEL(THREADS)
sum_kernel(Global<float> out, size_t out_ld, Global<const float> a, size_t a_ld, Global<const float> b, size_t b_ld,
           Global<const float> gate, size_t gate_ld, float scale, size_t n)
{
    size_t t = blockIdx.x, i = (size_t)blockIdx.y * THREADS + threadIdx.x;
    if (i >= n)
        return;
    double by = (double)scale;
    if (gate != nullptr) {
        float g = gate[t * gate_ld];
        by = exact_sigmoid((double)g);
    }
    float x = a[t * a_ld + i], y = b[t * b_ld + i];
    out[t * out_ld + i] = exact_store_f32(fma(by, (double)y, (double)x));
}

typedef struct ExactMean {
    Global<const float> in[EXACT_DEVICE_MEAN];
    size_t ld[EXACT_DEVICE_MEAN];
    int n;
} ExactMean;

CUDA_KERNEL(THREADS) mean_of_kernel(Global<float> out, size_t out_ld, ExactMean a, size_t n)
{
    size_t t = blockIdx.x, i = (size_t)blockIdx.y * THREADS + threadIdx.x;
    if (i >= n)
        return;
    float first = a.in[0][t * a.ld[0] + i];
    double sum = (double)first;
    for (int j = 1; j < a.n; j++) {
        float x = a.in[j][t * a.ld[j] + i];
        sum += (double)x;
    }
    out[t * out_ld + i] = exact_store_f32(sum / (double)a.n);
}

CUDA_KERNEL(THREADS)
rotate_kernel(Global<float> x, size_t ld, Global<const int32_t> positions, Global<const float> cosines,
              Global<const float> sines, int n_heads, int head_dim, int half, bool halves)
{
    size_t t = blockIdx.x, position = (size_t)positions[t];
    for (int u = (int)threadIdx.x; u < n_heads * half; u += (int)blockDim.x) {
        int i = u % half;
        size_t head = t * ld + (size_t)(u / half) * (size_t)head_dim, first = head + (size_t)(halves ? i : 2 * i),
               second = halves ? first + (size_t)half : first + 1;
        float a = x[first], b = x[second], c = cosines[position * (size_t)half + (size_t)i],
              s = sines[position * (size_t)half + (size_t)i];
        double p, q;
        exact_rotate((double)a, (double)b, (double)c, (double)s, &p, &q);
        x[first] = exact_store_f32(p);
        x[second] = exact_store_f32(q);
    }
}

static dim3 pieces(size_t rows, size_t cols)
{
    return dim3((unsigned)rows, (unsigned)((cols + THREADS - 1) / THREADS));
}

void exact_device_glu(cudaStream_t stream, View out, View gate, View up, ActKind act)
{
    if (out.rows && out.cols)
        CUDA_LAUNCH((glu_kernel), pieces(out.rows, out.cols), THREADS, 0, stream, (float *)out.data, out.ld,
                    (const float *)gate.data, gate.ld, (const float *)up.data, up.ld, out.cols, act);
}

void exact_device_add(cudaStream_t stream, View out, View a, View b, View gate, float scale)
{
    if (out.rows && out.cols)
        CUDA_LAUNCH((sum_kernel), pieces(out.rows, out.cols), THREADS, 0, stream, (float *)out.data, out.ld,
                    (const float *)a.data, a.ld, (const float *)b.data, b.ld, (const float *)gate.data, gate.ld, scale,
                    out.cols);
}

void exact_device_mean(cudaStream_t stream, View out, const View *in, size_t n)
{
    ExactMean a = {};
    a.n = (int)n;
    for (size_t i = 0; i < n; i++) {
        a.in[i] = (const float *)in[i].data;
        a.ld[i] = in[i].ld;
    }
    if (out.rows && out.cols)
        CUDA_LAUNCH((mean_of_kernel), pieces(out.rows, out.cols), THREADS, 0, stream, (float *)out.data, out.ld, a, out.cols);
}

void exact_device_rope(cudaStream_t stream, View x, const int32_t *positions, const Weight *cosines, const Weight *sines,
                       int n_heads, int head_dim, int rotary_dims, RopeStyle style)
{
    if (x.rows && n_heads > 0 && rotary_dims > 1)
        CUDA_LAUNCH((rotate_kernel), (unsigned)x.rows, THREADS, 0, stream, (float *)x.data, x.ld, positions,
                    (const float *)cosines->data, (const float *)sines->data, n_heads, head_dim, rotary_dims / 2,
                    style == ROPE_HALF);
}

/* ---- rows ---- */

typedef struct ExactNorm {
    Global<float> out;
    Global<const float> x, gain, bias;
    size_t out_ld, x_ld, n, groups, gain_step, bias_step;
    float eps, offset;
    bool layer;
} ExactNorm;

CUDA_KERNEL(THREADS) normalise_kernel(ExactNorm a)
{
    CUDA_SHARED(double, sums, SEGMENTS);
    size_t t = blockIdx.x / a.groups, column = blockIdx.x % a.groups * a.n;
    Global<const float> x = a.x + t * a.x_ld + column;
    double mean = 0.0, total;
    if (a.layer) {
        mean = canonical_sum(0, a.n, Shared<double>(sums), Plus{x}) / (double)a.n;
        total = canonical_sum(0, a.n, Shared<double>(sums), Deviation{x, mean});
    } else {
        total = canonical_sum(0, a.n, Shared<double>(sums), Product{x, x});
    }
    double inverse = 1.0 / sqrt(total / (double)a.n + (double)a.eps);
    for (size_t i = threadIdx.x; i < a.n; i += THREADS) {
        float v = x[i];
        double y = ((double)v - mean) * inverse;
        if (a.gain != nullptr) {
            float g = a.gain[column * a.gain_step + i];
            y = y * ((double)g + (double)a.offset);
        }
        if (a.bias != nullptr) {
            float b = a.bias[column * a.bias_step + i];
            y = y + (double)b;
        }
        a.out[t * a.out_ld + column + i] = exact_store_f32(y);
    }
}

static bool given(const Weight *w)
{
    return w && w->kind != WEIGHT_NONE && w->data;
}

void exact_device_norm(cudaStream_t stream, View out, View x, const NormSpec *spec, const Weight *weight, const Weight *bias)
{
    if (!x.rows || !x.cols)
        return;
    ExactNorm a = {};
    a.out = (float *)out.data;
    a.x = (const float *)x.data;
    a.out_ld = out.ld, a.x_ld = x.ld, a.n = spec->group, a.groups = x.cols / spec->group;
    a.eps = spec->eps, a.offset = spec->weight_offset, a.layer = spec->kind == NORM_LAYER;
    if (given(weight)) {
        a.gain = (const float *)weight->data;
        a.gain_step = weight->cols != spec->group;
    }
    if (given(bias)) {
        a.bias = (const float *)bias->data;
        a.bias_step = bias->cols != spec->group;
    }
    CUDA_LAUNCH((normalise_kernel), (unsigned)(x.rows * a.groups), THREADS, 0, stream, a);
}

CUDA_KERNEL(THREADS)
products_kernel(Global<double> out, Global<const float> a, size_t a_ld, Global<const float> b, size_t b_ld, size_t n)
{
    CUDA_SHARED(double, sums, SEGMENTS);
    size_t t = blockIdx.x;
    Global<const float> x = a + t * a_ld, y = b + t * b_ld;
    double xy = canonical_sum(0, n, Shared<double>(sums), Product{x, y});
    double xx = canonical_sum(0, n, Shared<double>(sums), Product{x, x});
    double yy = canonical_sum(0, n, Shared<double>(sums), Product{y, y});
    if (threadIdx.x == 0) {
        out[3 * t] = xy;
        out[3 * t + 1] = xx;
        out[3 * t + 2] = yy;
    }
}

void exact_device_row_dots(cudaStream_t stream, double *out, View a, View b)
{
    if (a.rows)
        CUDA_LAUNCH((products_kernel), (unsigned)a.rows, THREADS, 0, stream, out, (const float *)a.data, a.ld,
                    (const float *)b.data, b.ld, a.cols);
}

/* ---- products ---- */

typedef struct ExactGemm {
    Global<float> y;
    Global<const float> x, w, bias;
    size_t y_ld, x_ld, rows, n, k;
} ExactGemm;

/* A block makes 32 x 32 elements of y, a thread 2 x 2, over the same K in the same order; what shared memory holds is widened already. */
CUDA_KERNEL(GEMM_THREADS) gemm_kernel(ExactGemm a)
{
    CUDA_SHARED(double, xs, GEMM_DEPTH *(GEMM_TILE + 2));
    CUDA_SHARED(double, ws, GEMM_DEPTH *(GEMM_TILE + 2));
    enum { LD = GEMM_TILE + 2 };
    int me = (int)threadIdx.x, tx = me % 16, ty = me / 16;
    size_t row = (size_t)blockIdx.x * GEMM_TILE, col = (size_t)blockIdx.y * GEMM_TILE;
    double total[2][2] = {{0.0, 0.0}, {0.0, 0.0}}, sum[2][2] = {{0.0, 0.0}, {0.0, 0.0}};
    for (size_t k0 = 0; k0 < a.k; k0 += GEMM_DEPTH) {
        if (k0 % EXACT_SEGMENT == 0 && k0 > 0) {
#pragma unroll
            for (int i = 0; i < 2; i++)
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    total[i][j] = k0 > EXACT_SEGMENT ? total[i][j] + sum[i][j] : sum[i][j];
                    sum[i][j] = 0.0;
                }
        }
        size_t depth = a.k - k0 < GEMM_DEPTH ? a.k - k0 : (size_t)GEMM_DEPTH;
        for (int u = me; u < GEMM_TILE * GEMM_DEPTH; u += GEMM_THREADS) {
            size_t i = (size_t)(u / GEMM_DEPTH), k = (size_t)(u % GEMM_DEPTH);
            float x = 0, w = 0;
            if (k < depth && row + i < a.rows)
                x = a.x[(row + i) * a.x_ld + k0 + k];
            if (k < depth && col + i < a.n)
                w = a.w[(col + i) * a.k + k0 + k];
            xs[k * LD + i] = (double)x;
            ws[k * LD + i] = (double)w;
        }
        block_sync();
        for (size_t k = 0; k < depth; k++) { /* the last piece ends where K does: no term is added that is not there */
            Vec<double, 2> x = load_vec<2>(xs + (k * LD + 2 * (size_t)ty)), w = load_vec<2>(ws + (k * LD + 2 * (size_t)tx));
#pragma unroll
            for (int i = 0; i < 2; i++)
#pragma unroll
                for (int j = 0; j < 2; j++)
                    sum[i][j] = fma(x.at[i], w.at[j], sum[i][j]);
        }
        block_sync();
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            size_t r = row + (size_t)(2 * ty + i), c = col + (size_t)(2 * tx + j);
            if (r >= a.rows || c >= a.n)
                continue;
            double y = a.k > EXACT_SEGMENT ? total[i][j] + sum[i][j] : sum[i][j];
            if (a.bias != nullptr) {
                float b = a.bias[c];
                y = y + (double)b;
            }
            a.y[r * a.y_ld + c] = exact_store_f32(y);
        }
}

void exact_device_linear(cudaStream_t stream, View y, View x, const float *w, const float *bias)
{
    if (!y.rows || !y.cols)
        return;
    ExactGemm a = {};
    a.y = (float *)y.data;
    a.x = (const float *)x.data;
    a.w = w;
    a.bias = bias;
    a.y_ld = y.ld, a.x_ld = x.ld, a.rows = y.rows, a.n = y.cols, a.k = x.cols;
    dim3 grid((unsigned)((y.rows + GEMM_TILE - 1) / GEMM_TILE), (unsigned)((y.cols + GEMM_TILE - 1) / GEMM_TILE));
    CUDA_LAUNCH((gemm_kernel), grid, GEMM_THREADS, 0, stream, a);
}

/* ---- attention: a block is one query of one head ---- */

typedef struct ExactAttend {
    Global<float> out;
    Global<const float> q, k, v, slopes;
    size_t out_ld, q_ld, k_ld, v_ld;
    Global<const AttentionItem> items;
    Global<const AttentionSegment> segments;
    int group, head_dim, window;
    float scale, softcap;
    bool alibi_bf16;
} ExactAttend;

DEVICE_FN size_t row_of_key(const ExactAttend &a, int segment, int key)
{
    AttentionSegment s = a.segments[segment];
    while (key >= s.n_rows) {
        key -= s.n_rows;
        s = a.segments[++segment];
    }
    return (size_t)s.first_row + (size_t)key;
}

CUDA_KERNEL(THREADS) attend_kernel(ExactAttend a)
{
    CUDA_SHARED_DYNAMIC(memory);
    CUDA_SHARED(double, sums, SEGMENTS);
    CUDA_SHARED(double, mosts, THREADS);
    AttentionItem item = a.items[blockIdx.z];
    int head = (int)blockIdx.y, query = (int)blockIdx.x;
    if (query >= item.n_q) /* the whole block */
        return;
    int p = item.position + query, seen = a.window > 0 ? p - a.window + 1 : 0;
    int from = seen > 0 ? seen : 0, end = p + 1 < item.n_keys ? p + 1 : item.n_keys;
    if (end < from)
        end = from;
    size_t dh = (size_t)a.head_dim, kv_column = (size_t)(head / a.group) * dh;
    Global<const float> q = a.q + (size_t)(item.q_row + query) * a.q_ld + (size_t)head * dh;
    Shared<double> scores = shared_part<double>(memory, 0, (size_t)end);
    float slope = 0;
    if (a.slopes != nullptr)
        slope = a.slopes[head];
    double most = -EXACT_INFINITY;
    for (int j = from + (int)threadIdx.x; j < end; j += THREADS) {
        Global<const float> k = a.k + row_of_key(a, item.first_segment, j) * a.k_ld + kv_column;
        double dot = 0.0;
        for (size_t first = 0; first < dh; first += EXACT_SEGMENT) {
            double sum = 0.0;
            for (size_t i = first; i < dh && i < first + EXACT_SEGMENT; i++) {
                float x = q[i], y = k[i];
                sum = fma((double)x, (double)y, sum);
            }
            dot = first ? dot + sum : sum;
        }
        double by = (double)slope, distance = (double)(j - p);
        if (a.slopes != nullptr && a.alibi_bf16) {
            by = exact_bf16_alibi(a.scale, slope, j + item.key_position);
            distance = 1.0;
        }
        double z = exact_score(dot, (double)a.scale, (double)a.softcap, by, distance);
        most = z > most ? z : most;
        scores[j] = z;
    }
    mosts[threadIdx.x] = most;
    block_sync();
    for (int i = 0; i < THREADS; i++) {
        double other = mosts[i];
        most = other > most ? other : most;
    }
    for (int j = from + (int)threadIdx.x; j < end; j += THREADS) { /* each its own scores */
        double z = scores[j];
        scores[j] = exact_exp(z - most);
    }
    block_sync();
    double total = canonical_sum((size_t)from, (size_t)end, Shared<double>(sums), Score{scores});
    for (size_t i = threadIdx.x; i < dh; i += THREADS) {
        double out = 0.0;
        for (int first = from; first < end;) {
            int stop = (first / EXACT_SEGMENT + 1) * EXACT_SEGMENT;
            stop = stop < end ? stop : end;
            double sum = 0.0;
            for (int j = first; j < stop; j++) {
                double share = scores[j];
                float v = a.v[row_of_key(a, item.first_segment, j) * a.v_ld + kv_column + i];
                sum = fma(share, (double)v, sum);
            }
            out += sum;
            first = stop;
        }
        a.out[(size_t)(item.q_row + query) * a.out_ld + (size_t)head * dh + i] = exact_store_f32(out / total);
    }
}

int exact_device_most_keys(void)
{
    return (int)((MOST_SHARED - (SEGMENTS + THREADS) * sizeof(double) - 1024) / sizeof(double));
}

cudaError_t exact_device_attention(cudaStream_t stream, const ExactAttention *c)
{
    if (c->n_items < 1 || c->most_queries < 1)
        return cudaSuccess;
    if (c->most_keys > exact_device_most_keys())
        return cudaErrorInvalidValue;
    ExactAttend a = {};
    a.out = (float *)c->out.data;
    a.q = (const float *)c->q.data, a.k = (const float *)c->k.data, a.v = (const float *)c->v.data;
    a.slopes = c->slopes;
    a.out_ld = c->out.ld, a.q_ld = c->q.ld, a.k_ld = c->k.ld, a.v_ld = c->v.ld;
    a.items = c->items, a.segments = c->segments;
    a.group = c->spec.n_heads / c->spec.n_kv_heads, a.head_dim = c->spec.head_dim, a.window = c->spec.window;
    a.scale = c->spec.scale, a.softcap = c->spec.softcap, a.alibi_bf16 = c->spec.alibi_bf16;
    size_t bytes = (size_t)c->most_keys * sizeof(double);
    cudaError_t error = cudaFuncSetAttribute((const void *)attend_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                             (int)(bytes > 1024 ? bytes : 1024));
    for (int first = 0; !error && first < c->n_items; first += 65535) {
        int n = c->n_items - first < 65535 ? c->n_items - first : 65535;
        a.items = c->items + first;
        CUDA_LAUNCH((attend_kernel), dim3((unsigned)c->most_queries, (unsigned)c->spec.n_heads, (unsigned)n), THREADS, bytes,
                    stream, a);
        error = cudaGetLastError();
    }
    return error;
}

/* ---- head ---- */

typedef struct ExactHead {
    Global<float> z;
    size_t ld, intact_ld, vocab;
    float scale, cap;
    Global<const int32_t> targets;
    Global<const uint8_t> starts;
    Global<const float> intact;
    Global<const double> intact_lse;
    Global<double> nll, kl, start_logp, lse;
    Global<int32_t> rank, top1;
} ExactHead;

CUDA_KERNEL(THREADS) finish_kernel(Global<float> z, size_t ld, float scale, float cap, size_t n)
{
    size_t t = blockIdx.x, i = (size_t)blockIdx.y * THREADS + threadIdx.x;
    if (i >= n)
        return;
    float raw = z[t * ld + i];
    double scaled = (double)raw * (double)scale;
    z[t * ld + i] = exact_store_f32(cap > 0.0f ? exact_softcap(scaled, (double)cap) : scaled);
}

CUDA_KERNEL(THREADS) head_rows_kernel(ExactHead a)
{
    CUDA_SHARED(double, sums, SEGMENTS);
    CUDA_SHARED(float, mosts, THREADS);
    CUDA_SHARED(int32_t, tops, THREADS);
    CUDA_SHARED(int32_t, ranks, THREADS);
    CUDA_SHARED(int32_t, broken, THREADS);
    size_t t = blockIdx.x, n = a.vocab, me = threadIdx.x;
    Global<const float> z = a.z + t * a.ld, x = a.intact != nullptr ? a.intact + t * a.intact_ld : a.intact;
    int32_t target = a.targets[t], rank = 0, top = INT32_MAX, bad = 0;
    float at_target = 0, most = -INFINITY;
    if (target >= 0)
        at_target = z[target];
    for (size_t i = me; i < n; i += THREADS) {
        float v = z[i];
        if (v > most || (v == most && (int32_t)i < top)) {
            most = v;
            top = (int32_t)i;
        }
        rank += v > at_target || (v == at_target && (int32_t)i < target);
        bad |= !(v * 0.0f == 0.0f);
    }
    mosts[me] = most;
    tops[me] = top;
    ranks[me] = rank;
    broken[me] = bad;
    block_sync();
    rank = bad = 0;
    for (int i = 0; i < THREADS; i++) {
        float other = mosts[i];
        int32_t at = tops[i], before = ranks[i], odd = broken[i];
        if (other > most || (other == most && at < top)) {
            most = other;
            top = at;
        }
        rank += before;
        bad |= odd;
    }
    double largest = (double)most, nan = exact_of_bits(0x7FF8000000000000u), lse_x = 0.0, kl = 0.0, starts = 0.0;
    double sum = canonical_sum(0, n, Shared<double>(sums), Exponential{z, nullptr, largest});
    if (a.starts != nullptr)
        starts = canonical_sum(0, n, Shared<double>(sums), Exponential{z, a.starts, largest});
    if (x != nullptr) {
        lse_x = a.intact_lse[t];
        kl = canonical_sum(0, n, Shared<double>(sums), Divergence{x, z, lse_x});
    }
    if (me != 0)
        return;
    double lse = bad ? nan : exact_store_f64(largest + exact_log(sum));
    a.lse[t] = lse;
    a.nll[t] = target >= 0 ? exact_store_f64(lse - (double)at_target) : nan;
    a.kl[t] = bad ? nan : x != nullptr ? exact_store_f64(kl + (lse - lse_x)) : 0.0;
    a.start_logp[t] = bad || a.starts == nullptr ? nan : exact_store_f64(exact_log(starts / sum));
    a.rank[t] = target >= 0 ? rank : -1;
    a.top1[t] = top == INT32_MAX ? 0 : top;
}

void exact_device_head(cudaStream_t stream, const CudaHead *c)
{
    View z = c->logits;
    if (!z.rows || !z.cols)
        return;
    if (c->logit_scale != 1.0f || c->softcap > 0.0f)
        CUDA_LAUNCH((finish_kernel), pieces(z.rows, z.cols), THREADS, 0, stream, (float *)z.data, z.ld, c->logit_scale,
                    c->softcap, z.cols);
    ExactHead a = {};
    a.z = (float *)z.data;
    a.ld = z.ld, a.vocab = z.cols, a.intact_ld = c->intact.ld;
    a.targets = c->targets, a.starts = c->word_start;
    a.intact = (const float *)c->intact.data, a.intact_lse = c->intact_lse;
    a.nll = c->nll, a.kl = c->kl, a.start_logp = c->word_start_logp, a.lse = c->lse;
    a.rank = c->rank, a.top1 = c->top1;
    CUDA_LAUNCH((head_rows_kernel), (unsigned)z.rows, THREADS, 0, stream, a);
}

/* ---- mixtures ---- */

/* A thread a row: E is small. */
CUDA_KERNEL(THREADS)
route_kernel(Global<int32_t> chosen, Global<float> weight, Global<const float> logits, size_t ld, size_t rows, int n_experts,
             int k, bool normalise)
{
    size_t t = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (t >= rows)
        return;
    Global<const float> z = logits + t * ld;
    Global<int32_t> mine = chosen + t * (size_t)k;
    double most = -EXACT_INFINITY, all = 0.0, picked = 0.0;
    for (int x = 0; x < n_experts; x++) {
        float v = z[x];
        most = (double)v > most ? (double)v : most;
    }
    for (int x = 0; x < n_experts; x++) {
        float v = z[x];
        all += exact_exp((double)v - most);
    }
    for (int j = 0; j < k; j++) {
        int best = -1;
        float best_z = 0;
        for (int x = 0; x < n_experts; x++) {
            bool taken = false;
            for (int i = 0; i < j; i++) {
                int32_t before = mine[i];
                taken = taken || before == x;
            }
            float v = z[x];
            if (!taken && (best < 0 || v > best_z)) {
                best = x;
                best_z = v;
            }
        }
        mine[j] = best;
        picked += exact_exp((double)best_z - most);
    }
    for (int j = 0; j < k; j++) {
        int32_t x = mine[j];
        float v = z[x];
        weight[t * (size_t)k + (size_t)j] = exact_store_f32(exact_exp((double)v - most) / (normalise ? picked : all));
    }
}

void exact_device_route(cudaStream_t stream, int32_t *expert, float *weight, View logits, const RouteSpec *spec)
{
    if (logits.rows)
        CUDA_LAUNCH((route_kernel), (unsigned)((logits.rows + THREADS - 1) / THREADS), THREADS, 0, stream, expert, weight,
                    (const float *)logits.data, logits.ld, logits.rows, spec->n_experts, spec->top_k, spec->normalise);
}

CUDA_KERNEL(THREADS)
combine_kernel(Global<float> out, size_t ld, Global<const float> y, Global<const int32_t> slot_of, Global<const float> weight,
               int k, size_t n)
{
    size_t t = blockIdx.x, i = (size_t)blockIdx.y * THREADS + threadIdx.x;
    if (i >= n)
        return;
    double sum = 0.0;
    for (int j = 0; j < k; j++) {
        size_t choice = t * (size_t)k + (size_t)j;
        size_t slot = (size_t)slot_of[choice];
        float share = weight[choice], v = y[slot * n + i];
        sum = fma((double)share, (double)v, sum);
    }
    out[t * ld + i] = exact_store_f32(sum);
}

void exact_device_combine(cudaStream_t stream, View out, const float *y, const int32_t *slot_of, const float *weight, int top_k)
{
    if (out.rows && out.cols)
        CUDA_LAUNCH((combine_kernel), pieces(out.rows, out.cols), THREADS, 0, stream, (float *)out.data, out.ld, y, slot_of,
                    weight, top_k, out.cols);
}
