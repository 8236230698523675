/* cuda_gemm.cu: see cuda_gemm.cuh.
 *
 * cublasLt thinks in columns: our row-major y [T, N] is its D [N, T], w its A [K, N] (transposed), x its B [K, T]. A bias is added by
 * the epilogue in y's dtype, a residual is its C with beta 1. The algorithm is its own first proposal for the shape and the alignments
 * at hand, remembered. */
#include "kernels/cuda/cuda_gemm.cuh"

#include <string.h>

enum { FEW_WARPS = 4, FEW_ROWS = 8, FEW_MOST = 8 };

/* ---- our kernel ---- */

struct FewArgs {
    Global<const bf16> x, w;
    Global<bf16> y_bf16; /* one of the two */
    Global<float> y_f32;
    Global<const float> residual, bias;
    int64_t ld_x, ld_y, ld_residual;
    int rows, n, k;
    float alpha;
};

/* sum[r] = x[r] . w over the warp, in every lane. */
DEVICE_FN void warp_dots(float (&sum)[FEW_ROWS], Global<const bf16> x, int64_t ld_x, int rows, Global<const bf16> w, int k)
{
    int lane = threadIdx.x % 32;
    for (int r = 0; r < FEW_ROWS; r++)
        sum[r] = 0;
    bool vectors = k % 8 == 0 && ld_x % 8 == 0 && is_aligned(x, 16) && is_aligned(w, 16);
    if (vectors) {
        for (int i = lane * 8; i < k; i += 32 * 8) {
            Vec<bf16, 8> b = load_vec<8>(w + i);
#pragma unroll
            for (int r = 0; r < FEW_ROWS; r++) {
                if (r >= rows)
                    break;
                Vec<bf16, 8> a = load_vec<8>(x + (r * ld_x + i));
#pragma unroll
                for (int j = 0; j < 8; j++)
                    sum[r] = fmaf(f32_of(a.at[j]), f32_of(b.at[j]), sum[r]);
            }
        }
    } else {
        for (int i = lane; i < k; i += 32) {
            bf16 b = w[i];
#pragma unroll
            for (int r = 0; r < FEW_ROWS; r++) {
                if (r >= rows)
                    break;
                bf16 a = x[r * ld_x + i];
                sum[r] = fmaf(f32_of(a), f32_of(b), sum[r]);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < FEW_ROWS; r++) {
        if (r >= rows)
            break;
        for (int bits = 16; bits; bits /= 2)
            sum[r] += warp_shuffle_xor(sum[r], bits);
    }
}

CUDA_KERNEL(32 * FEW_WARPS) gemm_few(FewArgs a)
{
    int n = blockIdx.x * FEW_WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (n >= a.n)
        return;
    for (int first = blockIdx.y * FEW_ROWS; first < a.rows; first += gridDim.y * FEW_ROWS) {
        float sum[FEW_ROWS];
        int rows = a.rows - first < FEW_ROWS ? a.rows - first : FEW_ROWS;
        warp_dots(sum, a.x + first * a.ld_x, a.ld_x, rows, a.w + (int64_t)n * a.k, a.k);
        float bias = 0;
        if (a.bias != nullptr)
            bias = a.bias[n];
#pragma unroll
        for (int r = 0; r < FEW_ROWS; r++) {
            if (r >= rows || lane != r)
                continue;
            float y = a.alpha * (sum[r] + bias);
            if (a.residual != nullptr)
                y += a.residual[(first + r) * a.ld_residual + n];
            if (a.y_f32 != nullptr)
                a.y_f32[(first + r) * a.ld_y + n] = y;
            else
                a.y_bf16[(first + r) * a.ld_y + n] = bf16_of(y);
        }
    }
}

static const char *launched()
{
    cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? NULL : cudaGetErrorString(error);
}

static const char *run_few(const GemmCall *c, cudaStream_t stream)
{
    enum { MOST = 1024 };
    int groups = (c->rows + FEW_ROWS - 1) / FEW_ROWS;
    FewArgs a;
    a.x = (const bf16 *)c->x;
    a.w = (const bf16 *)c->w;
    a.y_bf16 = c->y_f32 ? NULL : (bf16 *)c->y;
    a.y_f32 = c->y_f32 ? (float *)c->y : NULL;
    a.residual = (const float *)c->residual;
    a.bias = c->bias;
    a.ld_x = c->ld_x, a.ld_y = c->ld_y, a.ld_residual = c->ld_residual;
    a.rows = c->rows, a.n = c->n, a.k = c->k;
    a.alpha = c->alpha;
    CUDA_LAUNCH((gemm_few), dim3((c->n + FEW_WARPS - 1) / FEW_WARPS, groups < MOST ? groups : MOST), 32 * FEW_WARPS, 0, stream,
                a);
    return launched();
}

/* ---- cublasLt ---- */

const char *gemm_open(GemmContext *g, void *workspace)
{
    memset((void *)g, 0, sizeof *g);
    g->workspace = workspace;
    return cublasLtCreate(&g->handle) == CUBLAS_STATUS_SUCCESS ? NULL : "cublasLt cannot be started";
}

void gemm_close(GemmContext *g)
{
    if (g->handle)
        (void)cublasLtDestroy(g->handle);
    g->handle = NULL;
}

/* The largest power of two up to 16 that divides every row's address. */
static uint16_t alignment(const void *p, int64_t ld, size_t elem)
{
    uintptr_t bits = (uintptr_t)p | (uintptr_t)ld * elem | 16;
    return (uint16_t)(bits & (~bits + 1));
}

static GemmKey key_of(const GemmCall *c)
{
    GemmKey k;
    memset(&k, 0, sizeof k); /* padding too: keys are compared by their bytes */
    size_t y_bytes = c->y_f32 ? 4 : 2;
    k.ld_x = c->ld_x, k.ld_y = c->ld_y, k.ld_residual = c->residual ? c->ld_residual : 0;
    k.rows = c->rows, k.n = c->n, k.k = c->k;
    k.align_x = alignment(c->x, c->ld_x, 2);
    k.align_w = alignment(c->w, c->k, 2);
    k.align_y = alignment(c->y, c->ld_y, y_bytes);
    k.align_residual = c->residual ? alignment(c->residual, c->ld_residual, 4) : k.align_y;
    k.y_f32 = c->y_f32;
    k.has_bias = c->bias != NULL;
    k.has_residual = c->residual != NULL;
    return k;
}

static GemmChoice *find_choice(GemmContext *g, const GemmKey *key)
{
    uint64_t h = 1469598103934665603u;
    const unsigned char *bytes = (const unsigned char *)key;
    for (size_t i = 0; i < sizeof *key; i++)
        h = (h ^ bytes[i]) * 1099511628211u;
    GemmChoice *choice = &g->cache[h % GEMM_CACHE];
    if (!choice->known || memcmp(&choice->key, key, sizeof *key) != 0) {
        choice->known = false;
        choice->key = *key;
    }
    return choice;
}

/* What one product is to cublasLt; made and thrown away with each call (microseconds on the host). */
struct Description {
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, c, d;
};

static bool describe(Description *d, const GemmCall *c)
{
    cudaDataType_t type = c->y_f32 ? CUDA_R_32F : CUDA_R_16BF;
    cublasOperation_t transposed = CUBLAS_OP_T;
    memset((void *)d, 0, sizeof *d);
    bool ok = cublasLtMatmulDescCreate(&d->product, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS;
    ok = ok && cublasLtMatmulDescSetAttribute(d->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed) ==
                   CUBLAS_STATUS_SUCCESS;
    if (ok && c->bias) {
        cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        const void *bias = c->y_f32 ? (const void *)c->bias : (const void *)c->bias_bf16;
        ok = cublasLtMatmulDescSetAttribute(d->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue) ==
                 CUBLAS_STATUS_SUCCESS &&
             cublasLtMatmulDescSetAttribute(d->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias) ==
                 CUBLAS_STATUS_SUCCESS;
    }
    ok = ok && cublasLtMatrixLayoutCreate(&d->a, CUDA_R_16BF, c->k, c->n, c->k) == CUBLAS_STATUS_SUCCESS;
    ok = ok && cublasLtMatrixLayoutCreate(&d->b, CUDA_R_16BF, c->k, c->rows, c->ld_x) == CUBLAS_STATUS_SUCCESS;
    ok = ok && cublasLtMatrixLayoutCreate(&d->d, type, c->n, c->rows, c->ld_y) == CUBLAS_STATUS_SUCCESS;
    return ok && cublasLtMatrixLayoutCreate(&d->c, type, c->n, c->rows, c->residual ? c->ld_residual : c->ld_y) ==
                     CUBLAS_STATUS_SUCCESS;
}

static void forget(Description *d)
{
    if (d->a)
        (void)cublasLtMatrixLayoutDestroy(d->a);
    if (d->b)
        (void)cublasLtMatrixLayoutDestroy(d->b);
    if (d->c)
        (void)cublasLtMatrixLayoutDestroy(d->c);
    if (d->d)
        (void)cublasLtMatrixLayoutDestroy(d->d);
    if (d->product)
        (void)cublasLtMatmulDescDestroy(d->product);
}

static void choose(GemmContext *g, const Description *d, GemmChoice *choice)
{
    static const cublasLtMatmulPreferenceAttributes_t attributes[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const GemmKey *key = &choice->key;
    uint32_t alignments[] = {key->align_w, key->align_x, key->align_residual, key->align_y};
    size_t workspace = GEMM_WORKSPACE_BYTES;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    bool ok = cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS &&
              cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                   sizeof workspace) == CUBLAS_STATUS_SUCCESS;
    for (int i = 0; ok && i < 4; i++)
        ok = cublasLtMatmulPreferenceSetAttribute(preference, attributes[i], &alignments[i], sizeof alignments[i]) ==
             CUBLAS_STATUS_SUCCESS;
    ok = ok && cublasLtMatmulAlgoGetHeuristic(g->handle, d->product, d->a, d->b, d->c, d->d, preference, 1, &found, &n) ==
                   CUBLAS_STATUS_SUCCESS;
    choice->served = ok && n > 0 && found.state == CUBLAS_STATUS_SUCCESS;
    if (choice->served)
        choice->algo = found.algo;
    choice->known = true;
    if (preference)
        (void)cublasLtMatmulPreferenceDestroy(preference);
}

const char *gemm_run(GemmContext *g, const GemmCall *c, cudaStream_t stream)
{
    if (c->rows < 1 || c->n < 1)
        return NULL;
    /* the epilogue adds the bias behind alpha */
    bool scaled_bias = c->bias && c->alpha != 1;
    if (c->rows <= FEW_MOST || scaled_bias || c->k < 1)
        return run_few(c, stream);
    GemmKey key = key_of(c);
    GemmChoice *choice = find_choice(g, &key);
    Description d;
    float beta = c->residual ? 1 : 0;
    cublasStatus_t status = CUBLAS_STATUS_NOT_SUPPORTED;
    if (describe(&d, c)) {
        if (!choice->known)
            choose(g, &d, choice);
        if (choice->served)
            status =
                cublasLtMatmul(g->handle, d.product, &c->alpha, c->w, d.a, c->x, d.b, &beta, c->residual ? c->residual : c->y,
                               d.c, c->y, d.d, &choice->algo, g->workspace, GEMM_WORKSPACE_BYTES, stream);
    }
    forget(&d);
    if (!choice->known || !choice->served || status == CUBLAS_STATUS_NOT_SUPPORTED)
        return run_few(c, stream);
    return status == CUBLAS_STATUS_SUCCESS ? NULL : "cublasLt cannot multiply";
}
