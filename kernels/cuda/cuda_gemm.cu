/* cuda_gemm.cu: see cuda_gemm.cuh.
 *
 * cublasLt thinks in columns: our row-major y [T, N] is its D [N, T], w its A [K, N] (transposed), x its B [K, T]. A bias is added by
 * the epilogue in y's dtype (which is what cublasLt expects of a bias unless told otherwise), a residual is its C with beta 1. In place C and
 * D are one layout, as cublasLtMatmul() asks. The algorithm is its own first proposal for the shape and the alignments at hand, remembered.
 *
 * Where there is no algorithm with the epilogue, or the bias is scaled (the epilogue adds it behind alpha), y is filled with residual + alpha
 * bias by a kernel of ours and the product added to it: the sum is rounded to y's dtype once, as with the epilogue. */
#include "kernels/cuda/cuda_gemm.cuh"

#include <string.h>

enum { FEW_WARPS = 4, FEW_ROWS = 8, FEW_MOST = 8, FILL_THREADS = 128 };

/* ---- our kernels ---- */

template <typename T> struct FewArgs {
    Global<const T> x, w;
    Global<bf16> y_bf16; /* one of the two */
    Global<float> y_f32;
    Global<const float> residual, bias;
    int64_t ld_x, ld_y, ld_residual;
    int rows, n, k;
    float alpha;
};

/* sum[r] = x[r] . w over the warp, in every lane. */
template <typename T>
DEVICE_FN void warp_dots(float (&sum)[FEW_ROWS], Global<const T> x, int64_t ld_x, int rows, Global<const T> w, int k)
{
    constexpr int V = 16 / sizeof(T);
    int lane = threadIdx.x % 32;
    for (int r = 0; r < FEW_ROWS; r++)
        sum[r] = 0;
    bool vectors = k % V == 0 && ld_x % V == 0 && is_aligned(x, 16) && is_aligned(w, 16);
    if (vectors) {
        for (int i = lane * V; i < k; i += 32 * V) {
            Vec<T, V> b = load_vec<V>(w + i);
#pragma unroll
            for (int r = 0; r < FEW_ROWS; r++) {
                if (r >= rows)
                    break;
                Vec<T, V> a = load_vec<V>(x + (r * ld_x + i));
#pragma unroll
                for (int j = 0; j < V; j++)
                    sum[r] = fmaf(f32_of(a.at[j]), f32_of(b.at[j]), sum[r]);
            }
        }
    } else {
        for (int i = lane; i < k; i += 32) {
            T b = w[i];
#pragma unroll
            for (int r = 0; r < FEW_ROWS; r++) {
                if (r >= rows)
                    break;
                T a = x[r * ld_x + i];
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

template <typename T> CUDA_KERNEL(32 * FEW_WARPS) gemm_few(FewArgs<T> a)
{
    int n = blockIdx.x * FEW_WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (n >= a.n)
        return;
    for (int first = blockIdx.y * FEW_ROWS; first < a.rows; first += gridDim.y * FEW_ROWS) {
        float sum[FEW_ROWS];
        int rows = a.rows - first < FEW_ROWS ? a.rows - first : FEW_ROWS;
        warp_dots<T>(sum, a.x + first * a.ld_x, a.ld_x, rows, a.w + (int64_t)n * a.k, a.k);
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

template <typename T> static const char *run_few_of(const GemmCall *c, cudaStream_t stream)
{
    enum { MOST = 1024 };
    int groups = (c->rows + FEW_ROWS - 1) / FEW_ROWS;
    FewArgs<T> a;
    a.x = (const T *)c->x;
    a.w = (const T *)c->w;
    a.y_bf16 = c->y_f32 ? NULL : (bf16 *)c->y;
    a.y_f32 = c->y_f32 ? (float *)c->y : NULL;
    a.residual = (const float *)c->residual;
    a.bias = c->bias;
    a.ld_x = c->ld_x, a.ld_y = c->ld_y, a.ld_residual = c->ld_residual;
    a.rows = c->rows, a.n = c->n, a.k = c->k;
    a.alpha = c->alpha;
    CUDA_LAUNCH((gemm_few<T>), dim3((c->n + FEW_WARPS - 1) / FEW_WARPS, groups < MOST ? groups : MOST), 32 * FEW_WARPS, 0,
                stream, a);
    return launched();
}

static const char *run_few(const GemmContext *g, const GemmCall *c, cudaStream_t stream)
{
    return g->operands == GEMM_BF16 ? run_few_of<bf16>(c, stream) : run_few_of<float>(c, stream);
}

/* y = residual + alpha * bias, for a product to be added to. */
template <typename T> struct FillArgs {
    Global<T> y;
    Global<const float> residual, bias;
    int64_t ld_y, ld_residual;
    int rows, n;
    float alpha;
};

template <typename T> CUDA_KERNEL(FILL_THREADS) gemm_fill(FillArgs<T> a)
{
    int n = blockIdx.x * FILL_THREADS + threadIdx.x;
    if (n >= a.n)
        return;
    float bias = a.alpha * a.bias[n];
    for (int r = blockIdx.y; r < a.rows; r += gridDim.y) {
        float y = bias;
        if (a.residual != nullptr)
            y += a.residual[r * a.ld_residual + n];
        a.y[r * a.ld_y + n] = Narrow<T>::of(y);
    }
}

template <typename T> static const char *fill(const GemmCall *c, cudaStream_t stream)
{
    enum { MOST = 4096 };
    FillArgs<T> a;
    a.y = (T *)c->y;
    a.residual = (const float *)c->residual;
    a.bias = c->bias;
    a.ld_y = c->ld_y, a.ld_residual = c->ld_residual;
    a.rows = c->rows, a.n = c->n;
    a.alpha = c->alpha;
    CUDA_LAUNCH((gemm_fill<T>), dim3((c->n + FILL_THREADS - 1) / FILL_THREADS, c->rows < MOST ? c->rows : MOST), FILL_THREADS,
                0, stream, a);
    return launched();
}

/* ---- cublasLt ---- */

const char *gemm_open(GemmContext *g, GemmOperands operands, void *workspace)
{
    memset((void *)g, 0, sizeof *g);
    g->operands = operands;
    g->workspace = workspace;
    return cublasLtCreate(&g->handle) == CUBLAS_STATUS_SUCCESS ? NULL : "cublasLt cannot be started";
}

void gemm_close(GemmContext *g)
{
    if (g->handle)
        (void)cublasLtDestroy(g->handle);
    g->handle = NULL;
}

/* The largest power of two up to 256 (cublasLt's default) that divides every row's address. */
static uint16_t alignment(const void *p, int64_t ld, size_t elem)
{
    uintptr_t bits = (uintptr_t)p | (uintptr_t)ld * elem | 256;
    return (uint16_t)(bits & (~bits + 1));
}

static const void *bias_of(const GemmCall *c)
{
    return c->y_f32 ? (const void *)c->bias : (const void *)c->bias_bf16;
}

static GemmKey key_of(const GemmContext *g, const GemmCall *c)
{
    GemmKey k;
    memset(&k, 0, sizeof k); /* padding too: keys are compared by their bytes */
    size_t y_bytes = c->y_f32 ? 4 : 2, x_bytes = g->operands == GEMM_BF16 ? 2 : 4;
    k.ld_x = c->ld_x, k.ld_y = c->ld_y, k.ld_residual = c->residual ? c->ld_residual : 0;
    k.rows = c->rows, k.n = c->n, k.k = c->k;
    k.align_x = alignment(c->x, c->ld_x, x_bytes);
    k.align_w = alignment(c->w, c->k, x_bytes);
    k.align_y = alignment(c->y, c->ld_y, y_bytes);
    k.align_residual = c->residual ? alignment(c->residual, c->ld_residual, y_bytes) : k.align_y;
    k.align_bias = c->bias ? alignment(bias_of(c), 0, 1) : 0;
    k.y_f32 = c->y_f32;
    k.has_bias = c->bias != NULL;
    k.has_residual = c->residual != NULL;
    return k;
}

/* The entry of this key; where there is none, a free one of its set, or another's. */
static GemmChoice *find_choice(GemmContext *g, const GemmKey *key)
{
    uint64_t h = 1469598103934665603u;
    const unsigned char *bytes = (const unsigned char *)key;
    for (size_t i = 0; i < sizeof *key; i++)
        h = (h ^ bytes[i]) * 1099511628211u;
    GemmChoice *set = g->cache + h % (GEMM_CACHE / GEMM_WAYS) * GEMM_WAYS, *choice = &set[h / GEMM_CACHE % GEMM_WAYS];
    for (int i = GEMM_WAYS - 1; i >= 0; i--)
        if (!set[i].known)
            choice = &set[i];
    for (int i = 0; i < GEMM_WAYS; i++)
        if (set[i].known && memcmp(&set[i].key, key, sizeof *key) == 0)
            return &set[i];
    choice->known = false;
    choice->key = *key;
    return choice;
}

/* What one product is to cublasLt; made and thrown away with each call (microseconds on the host). c is d where a residual is added in
 * place, or none. */
struct Description {
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, c, d;
    const GemmChoice *choice;
};

static bool set(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t what, const void *value, size_t bytes)
{
    return cublasLtMatmulDescSetAttribute(product, what, value, bytes) == CUBLAS_STATUS_SUCCESS;
}

static bool lay_out(cublasLtMatrixLayout_t *l, cudaDataType_t type, int rows, int cols, int64_t ld)
{
    return cublasLtMatrixLayoutCreate(l, type, (uint64_t)rows, (uint64_t)cols, ld) == CUBLAS_STATUS_SUCCESS;
}

static bool describe(Description *d, const GemmContext *g, const GemmCall *c)
{
    cudaDataType_t type = c->y_f32 ? CUDA_R_32F : CUDA_R_16BF, operands = g->operands == GEMM_BF16 ? CUDA_R_16BF : CUDA_R_32F;
    cublasComputeType_t compute = g->operands == GEMM_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    cublasOperation_t transposed = CUBLAS_OP_T;
    memset((void *)d, 0, sizeof *d);
    bool ok = cublasLtMatmulDescCreate(&d->product, compute, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS;
    ok = ok && set(d->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    if (ok && c->bias) {
        cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        const void *bias = bias_of(c);
        ok = set(d->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue) &&
             set(d->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    }
    ok = ok && lay_out(&d->a, operands, c->k, c->n, c->k) && lay_out(&d->b, operands, c->k, c->rows, c->ld_x) &&
         lay_out(&d->d, type, c->n, c->rows, c->ld_y);
    if (ok && c->residual && c->residual != c->y)
        return lay_out(&d->c, type, c->n, c->rows, c->ld_residual);
    d->c = d->d;
    return ok;
}

static void forget(Description *d)
{
    if (d->a)
        (void)cublasLtMatrixLayoutDestroy(d->a);
    if (d->b)
        (void)cublasLtMatrixLayoutDestroy(d->b);
    if (d->c && d->c != d->d)
        (void)cublasLtMatrixLayoutDestroy(d->c);
    if (d->d)
        (void)cublasLtMatrixLayoutDestroy(d->d);
    if (d->product)
        (void)cublasLtMatmulDescDestroy(d->product);
}

/* A product whose K is cut in pieces adds them up in f32: the default allows y's dtype too. */
static void choose(GemmContext *g, const Description *d, GemmChoice *choice)
{
    const GemmKey *key = &choice->key;
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        uint32_t value;
    } wishes[] = {{CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key->align_w},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key->align_x},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key->align_residual},
                  {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key->align_y}};
    size_t workspace = GEMM_WORKSPACE_BYTES;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    bool ok = cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS &&
              cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                                   sizeof workspace) == CUBLAS_STATUS_SUCCESS;
    for (size_t i = 0; ok && i < sizeof wishes / sizeof wishes[0]; i++)
        ok = cublasLtMatmulPreferenceSetAttribute(preference, wishes[i].attribute, &wishes[i].value, sizeof wishes[i].value) ==
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

/* The call as cublasLt sees it, with an algorithm for it; false when it has none. forget() follows in any case. */
static bool find_algorithm(GemmContext *g, const GemmCall *c, Description *d)
{
    GemmKey key = key_of(g, c);
    GemmChoice *choice = find_choice(g, &key);
    if (!describe(d, g, c))
        return false;
    if (!choice->known)
        choose(g, d, choice);
    d->choice = choice;
    return choice->served;
}

static cublasStatus_t multiply(GemmContext *g, const GemmCall *c, const Description *d, cudaStream_t stream)
{
    float beta = c->residual ? 1 : 0;
    return cublasLtMatmul(g->handle, d->product, &c->alpha, c->w, d->a, c->x, d->b, &beta, c->residual ? c->residual : c->y,
                          d->c, c->y, d->d, &d->choice->algo, g->workspace, GEMM_WORKSPACE_BYTES, stream);
}

static const char *failure(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS ? NULL : "cublasLt cannot multiply";
}

/* A product without a bias, or with one that the epilogue adds; *served false when cublasLt cannot, and nothing was done. */
static const char *run_at_once(GemmContext *g, const GemmCall *c, bool *served, cudaStream_t stream)
{
    Description d;
    cublasStatus_t status = CUBLAS_STATUS_NOT_SUPPORTED;
    if (find_algorithm(g, c, &d))
        status = multiply(g, c, &d, stream);
    forget(&d);
    *served = status != CUBLAS_STATUS_NOT_SUPPORTED;
    return *served ? failure(status) : NULL;
}

/* A product with a bias, added to residual + alpha bias. */
static const char *run_onto_bias(GemmContext *g, const GemmCall *c, bool *served, cudaStream_t stream)
{
    Description d;
    GemmCall onto = *c; /* its residual is y, of y's dtype */
    const char *why = NULL;
    onto.bias = NULL, onto.bias_bf16 = NULL;
    onto.residual = c->y, onto.ld_residual = c->ld_y;
    *served = find_algorithm(g, &onto, &d);
    if (*served)
        why = c->y_f32 ? fill<float>(c, stream) : fill<bf16>(c, stream);
    if (*served && !why) {
        cublasStatus_t status = multiply(g, &onto, &d, stream);
        if (status == CUBLAS_STATUS_NOT_SUPPORTED) /* a residual in y is there no more; with y bf16 there was none */
            why = run_few(g, c->y_f32 ? &onto : c, stream);
        else
            why = failure(status);
    }
    forget(&d);
    return why;
}

const char *gemm_run(GemmContext *g, const GemmCall *c, cudaStream_t stream)
{
    bool served = false;
    const char *why = NULL;
    if (c->rows < 1 || c->n < 1)
        return NULL;
    if (c->rows <= FEW_MOST || c->k < 1)
        return run_few(g, c, stream);
    if (!c->bias || c->alpha == 1)
        why = run_at_once(g, c, &served, stream);
    if (!served && c->bias)
        why = run_onto_bias(g, c, &served, stream);
    return served ? why : run_few(g, c, stream);
}
