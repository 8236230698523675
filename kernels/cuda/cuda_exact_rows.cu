/* cuda_exact_rows.cu: numerics v1 on the device: what goes by elements or by rows, and mixtures. */
#include "kernels/cuda/cuda_exact_sums.cuh"

/* ---- elementwise ---- */

DEVICE_FN ExactAct act_of(ActKind act)
{
    return act == ACT_SILU        ? EXACT_SILU
           : act == ACT_GELU_TANH ? EXACT_GELU_TANH
           : act == ACT_GELU_ERF  ? EXACT_GELU_ERF
           : act == ACT_RELU      ? EXACT_RELU
                                  : EXACT_RELU2;
}

CUDA_KERNEL(EXACT_THREADS)
glu_kernel(Global<float> out, size_t out_ld, Global<const float> gate, size_t gate_ld, Global<const float> up, size_t up_ld,
           size_t n, ActKind act)
{
    size_t t = blockIdx.x, i = (size_t)blockIdx.y * EXACT_THREADS + threadIdx.x;
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

CUDA_KERNEL(EXACT_THREADS)
sum_kernel(Global<float> out, size_t out_ld, Global<const float> a, size_t a_ld, Global<const float> b, size_t b_ld,
           Global<const float> gate, size_t gate_ld, float scale, size_t n)
{
    size_t t = blockIdx.x, i = (size_t)blockIdx.y * EXACT_THREADS + threadIdx.x;
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

CUDA_KERNEL(EXACT_THREADS) mean_of_kernel(Global<float> out, size_t out_ld, ExactMean a, size_t n)
{
    size_t t = blockIdx.x, i = (size_t)blockIdx.y * EXACT_THREADS + threadIdx.x;
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

CUDA_KERNEL(EXACT_THREADS)
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

void exact_device_glu(cudaStream_t stream, View out, View gate, View up, ActKind act)
{
    if (out.rows && out.cols)
        CUDA_LAUNCH((glu_kernel), pieces(out.rows, out.cols), EXACT_THREADS, 0, stream, (float *)out.data, out.ld,
                    (const float *)gate.data, gate.ld, (const float *)up.data, up.ld, out.cols, act);
}

void exact_device_add(cudaStream_t stream, View out, View a, View b, View gate, float scale)
{
    if (out.rows && out.cols)
        CUDA_LAUNCH((sum_kernel), pieces(out.rows, out.cols), EXACT_THREADS, 0, stream, (float *)out.data, out.ld,
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
        CUDA_LAUNCH((mean_of_kernel), pieces(out.rows, out.cols), EXACT_THREADS, 0, stream, (float *)out.data, out.ld, a,
                    out.cols);
}

void exact_device_rope(cudaStream_t stream, View x, const int32_t *positions, const Weight *cosines, const Weight *sines,
                       int n_heads, int head_dim, int rotary_dims, RopeStyle style)
{
    if (x.rows && n_heads > 0 && rotary_dims > 1)
        CUDA_LAUNCH((rotate_kernel), (unsigned)x.rows, EXACT_THREADS, 0, stream, (float *)x.data, x.ld, positions,
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

CUDA_KERNEL(EXACT_THREADS) normalise_kernel(ExactNorm a)
{
    CUDA_SHARED(double, sums, EXACT_SUMS);
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
    for (size_t i = threadIdx.x; i < a.n; i += EXACT_THREADS) {
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
    CUDA_LAUNCH((normalise_kernel), (unsigned)(x.rows * a.groups), EXACT_THREADS, 0, stream, a);
}

CUDA_KERNEL(EXACT_THREADS)
products_kernel(Global<double> out, Global<const float> a, size_t a_ld, Global<const float> b, size_t b_ld, size_t n)
{
    CUDA_SHARED(double, sums, EXACT_SUMS);
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
        CUDA_LAUNCH((products_kernel), (unsigned)a.rows, EXACT_THREADS, 0, stream, out, (const float *)a.data, a.ld,
                    (const float *)b.data, b.ld, a.cols);
}

/* ---- mixtures ---- */

/* A thread a row: E is small. */
CUDA_KERNEL(EXACT_THREADS)
route_kernel(Global<int32_t> chosen, Global<float> weight, Global<const float> logits, size_t ld, size_t rows, int n_experts,
             int k, bool normalise)
{
    size_t t = (size_t)blockIdx.x * EXACT_THREADS + threadIdx.x;
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
        CUDA_LAUNCH((route_kernel), (unsigned)((logits.rows + EXACT_THREADS - 1) / EXACT_THREADS), EXACT_THREADS, 0, stream,
                    expert, weight, (const float *)logits.data, logits.ld, logits.rows, spec->n_experts, spec->top_k,
                    spec->normalise);
}

CUDA_KERNEL(EXACT_THREADS)
combine_kernel(Global<float> out, size_t ld, Global<const float> y, Global<const int32_t> slot_of, Global<const float> weight,
               int k, size_t n)
{
    size_t t = blockIdx.x, i = (size_t)blockIdx.y * EXACT_THREADS + threadIdx.x;
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
        CUDA_LAUNCH((combine_kernel), pieces(out.rows, out.cols), EXACT_THREADS, 0, stream, (float *)out.data, out.ld, y,
                    slot_of, weight, top_k, out.cols);
}
