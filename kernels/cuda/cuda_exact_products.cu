/* cuda_exact_products.cu: numerics v1 on the device: matrix products and attention. */
#include "kernels/cuda/cuda_exact_sums.cuh"

enum { GEMM_TILE = 32, GEMM_DEPTH = 16, GEMM_THREADS = 256 };

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

CUDA_KERNEL(EXACT_THREADS) attend_kernel(ExactAttend a)
{
    CUDA_SHARED_DYNAMIC(memory);
    CUDA_SHARED(double, sums, EXACT_SUMS);
    CUDA_SHARED(double, mosts, EXACT_THREADS);
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
    for (int j = from + (int)threadIdx.x; j < end; j += EXACT_THREADS) {
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
    for (int i = 0; i < EXACT_THREADS; i++) {
        double other = mosts[i];
        most = other > most ? other : most;
    }
    for (int j = from + (int)threadIdx.x; j < end; j += EXACT_THREADS) { /* each its own scores */
        double z = scores[j];
        scores[j] = exact_exp(z - most);
    }
    block_sync();
    double total = canonical_sum((size_t)from, (size_t)end, Shared<double>(sums), Score{scores});
    for (size_t i = threadIdx.x; i < dh; i += EXACT_THREADS) {
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

/* What a block may have beside its static arrays: 227 KiB on Hopper, 163 KiB on the A100, 99 KiB on others. */
int exact_device_most_keys(void)
{
    int device = 0, bytes = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)
        return 0;
    return (int)(((size_t)bytes - (EXACT_SUMS + EXACT_THREADS) * sizeof(double)) / sizeof(double));
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
        CUDA_LAUNCH((attend_kernel), dim3((unsigned)c->most_queries, (unsigned)c->spec.n_heads, (unsigned)n), EXACT_THREADS,
                    bytes, stream, a);
        error = cudaGetLastError();
    }
    return error;
}
