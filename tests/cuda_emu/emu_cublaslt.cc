/* emu_cublaslt.cc: cublasLt for the emulation: out = alpha op(A) op(B) + beta C (+ bias per row), columns first, by plain loops in f32 over
 * an ascending k, when the stream comes to it. Operands of TF32 lose the last 13 bits of their fraction, as tensor cores ignore them. What a
 * caller promises is checked: leading dimensions, alignments, types that belong together, one layout in place, memory that was written.
 * Where partial sums of the output's type are allowed, products of small outputs have them. Small products whose rows do not lie at 4 bytes find no algorithm here, nor what emu_cublaslt_refuse() names, so that what a caller
 * does then is tested too. */
#include "tests/cuda_emu/emu.h"
#include "tests/cuda_emu/emu_core.hh"

#include <cublasLt.h>
#include <string.h>

using namespace emu;

enum { SMALL = 1024, SPLIT = 65536 }; /* elements of products that find no algorithm, or one that cuts K in two */

struct cublasLtContext {
    int unused;
};
struct EmuMatmulDesc {
    cublasComputeType_t compute;
    cublasOperation_t a, b;
    cublasLtEpilogue_t epilogue;
    const void *bias;
};
struct EmuMatrixLayout {
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t ld;
};
struct EmuMatmulPreference {
    size_t workspace;
    uint32_t alignment[4], schemes; /* schemes: cublasLtReductionScheme_t */
};

static size_t elem(cudaDataType_t t)
{
    return t == CUDA_R_32F ? 4 : 2;
}

static float get(const char *at, cudaDataType_t t)
{
    float x;
    uint16_t half;
    if (t == CUDA_R_32F) {
        memcpy(&x, at, 4);
        return x;
    }
    memcpy(&half, at, 2);
    uint32_t bits = (uint32_t)half << 16;
    memcpy(&x, &bits, 4);
    return x;
}

static void put(char *at, cudaDataType_t t, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint16_t half = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    if (x != x)
        half = 0x7fff;
    if (t == CUDA_R_32F)
        memcpy(at, &x, 4);
    else
        memcpy(at, &half, 2);
}

static float rounded(float x, cudaDataType_t t)
{
    char bytes[4];
    put(bytes, t, x);
    return get(bytes, t);
}

static float cut_to_tf32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits &= ~(uint32_t)0x1fff;
    memcpy(&x, &bits, 4);
    return x;
}

static unsigned refused;
static size_t products;

/* The bytes of n elements at a device address, all of them written before where they are read; null when not. */
static char *bytes_of(const void *p, size_t n, const char *what, bool read)
{
    Region *r = region_of(p);
    if (!r || (const char *)p + n > r->end) {
        report("cublasLt: %s of %zu bytes lies outside of device memory", what, n);
        return nullptr;
    }
    size_t first = (size_t)((const char *)p - r->base) / GRANULE, last = (size_t)((const char *)p + n - 1 - r->base) / GRANULE;
    for (size_t i = first; read && n && !r->pinned && i <= last; i++)
        if (!r->cells[i].written) {
            report("cublasLt: %s is read, of which byte %zu was never written", what, (i - first) * GRANULE);
            return nullptr;
        }
    check_order(p, n, !read);
    return (char *)p + r->shift;
}

/* A matrix in f32 with its columns one behind the other, or, transposed, its rows; false when it cannot be read. */
static bool widen(const void *p, const EmuMatrixLayout &l, bool transposed, bool tf32, const char *what,
                  std::vector<float> &out)
{
    size_t bytes = elem(l.type);
    out.resize(l.rows * l.cols);
    for (uint64_t c = 0; c < l.cols; c++) {
        const char *column = bytes_of((const char *)p + c * l.ld * bytes, l.rows * bytes, what, true);
        if (!column)
            return false;
        for (uint64_t r = 0; r < l.rows; r++) {
            float x = get(column + r * bytes, l.type);
            out[transposed ? r * l.cols + c : c * l.rows + r] = tf32 ? cut_to_tf32(x) : x;
        }
    }
    return true;
}

extern "C" {

void emu_cublaslt_refuse(unsigned what)
{
    refused = what;
}

size_t emu_cublaslt_products(void)
{
    return products;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = new cublasLtContext();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t compute, cudaDataType_t)
{
    *d = new EmuMatmulDesc{compute, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d)
{
    delete d;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t what, const void *value,
                                              size_t bytes)
{
    void *to = what == CUBLASLT_MATMUL_DESC_TRANSA     ? (void *)&d->a
               : what == CUBLASLT_MATMUL_DESC_TRANSB   ? (void *)&d->b
               : what == CUBLASLT_MATMUL_DESC_EPILOGUE ? (void *)&d->epilogue
                                                       : (void *)&d->bias;
    if (bytes != (what == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? sizeof(void *) : sizeof(int)))
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType_t type, uint64_t rows, uint64_t cols,
                                          int64_t ld)
{
    *l = new EmuMatrixLayout{type, rows, cols, ld};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    delete l;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p)
{
    *p = new EmuMatmulPreference{0, {256, 256, 256, 256}, CUBLASLT_REDUCTION_SCHEME_MASK};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
    delete p;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t what,
                                                    const void *value, size_t bytes)
{
    bool workspace = what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
    if (bytes != (workspace ? sizeof(size_t) : sizeof(uint32_t)))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (workspace)
        memcpy(&p->workspace, value, bytes);
    else if (what == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
        memcpy(&p->schemes, value, bytes);
    else
        memcpy(&p->alignment[what - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t out,
                                              cublasLtMatmulPreference_t p, int, cublasLtMatmulHeuristicResult_t *found,
                                              int *n_found)
{
    *n_found = 0;
    uint64_t m = d->a == CUBLAS_OP_T ? a->cols : a->rows, k = d->a == CUBLAS_OP_T ? a->rows : a->cols;
    uint64_t n = d->b == CUBLAS_OP_T ? b->rows : b->cols, k_too = d->b == CUBLAS_OP_T ? b->cols : b->rows;
    if (k != k_too || out->rows != m || out->cols != n || c->rows != m || c->cols != n || a->ld < (int64_t)a->rows ||
        b->ld < (int64_t)b->rows || c->ld < (int64_t)c->rows || out->ld < (int64_t)out->rows || a->type != b->type ||
        c->type != out->type || (d->compute == CUBLAS_COMPUTE_32F_FAST_TF32 && a->type != CUDA_R_32F)) {
        report("cublasLt: matrices that do not belong together");
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (refused & EMU_NO_ALGORITHM || (refused & EMU_NO_EPILOGUE && d->epilogue != CUBLASLT_EPILOGUE_DEFAULT))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    for (int i = 0; i < 4; i++)
        if (p->alignment[i] < 4 && m * n <= SMALL)
            return CUBLAS_STATUS_NOT_SUPPORTED;
    memset((void *)found, 0, sizeof *found);
    for (int i = 0; i < 4; i++)
        found->algo.data[i] = p->alignment[i];
    found->algo.data[4] = p->workspace;
    found->algo.data[5] = (p->schemes & (CUBLASLT_REDUCTION_SCHEME_INPLACE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE)) != 0;
    found->state = CUBLAS_STATUS_SUCCESS;
    *n_found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t d, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout, const void *beta,
                              const void *c, cublasLtMatrixLayout_t c_layout, void *out, cublasLtMatrixLayout_t out_layout,
                              const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    EmuMatmulDesc desc = *d;
    EmuMatrixLayout la = *a_layout, lb = *b_layout, lc = *c_layout, lo = *out_layout;
    cublasLtMatmulAlgo_t algorithm = *algo;
    float scale = *(const float *)alpha, keep = *(const float *)beta;
    if (refused & EMU_NO_PRODUCT && keep != 0)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    products++;
    const void *pointers[] = {a, b, c, out};
    const EmuMatrixLayout *layouts[] = {&la, &lb, &lc, &lo};
    for (int i = 0; i < 4; i++)
        if ((i != 2 || keep != 0) &&
            ((uintptr_t)pointers[i] % algo->data[i] || layouts[i]->ld * elem(layouts[i]->type) % algo->data[i]))
            report("cublasLt: matrix %d is not aligned to the %d bytes that its algorithm was chosen for", i,
                   (int)algo->data[i]);
    if (workspace_bytes < algo->data[4] || (uintptr_t)workspace % 256)
        report("cublasLt: the workspace is smaller than its algorithm was chosen for, or not at 256 bytes");
    if (c == out && c_layout != out_layout)
        report("cublasLt: in place with two layouts");
    enqueue(stream, [=]() {
        bool ta = desc.a == CUBLAS_OP_T, tb = desc.b == CUBLAS_OP_T;
        uint64_t k = ta ? la.rows : la.cols;
        std::vector<float> a_rows, b_rows; /* [M, K] and [N, K] */
        bool split = algorithm.data[5] && lo.rows * lo.cols <= SPLIT;
        bool tf32 = desc.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
        if (!widen(a, la, !ta, tf32, "A", a_rows) || !widen(b, lb, tb, tf32, "B", b_rows))
            return;
        const char *bias = nullptr;
        if (desc.epilogue == CUBLASLT_EPILOGUE_BIAS)
            bias = bytes_of(desc.bias, lo.rows * elem(lo.type), "bias", true);
        for (uint64_t j = 0; j < lo.cols; j++) {
            char *to_seen = (char *)out + j * lo.ld * elem(lo.type);
            char *to = bytes_of(to_seen, lo.rows * elem(lo.type), "D", false);
            const char *old =
                keep != 0 ? bytes_of((const char *)c + j * lc.ld * elem(lc.type), lc.rows * elem(lc.type), "C", true) : nullptr;
            if (!to || (keep != 0 && !old))
                return;
            for (uint64_t i = 0; i < lo.rows; i++) {
                float sum = 0;
                for (uint64_t x = 0; x < k; x++) {
                    if (x == k / 2 && split)
                        sum = rounded(sum, lo.type);
                    sum += a_rows[i * k + x] * b_rows[j * k + x];
                }
                float y = scale * sum + (old ? keep * get(old + i * elem(lc.type), lc.type) : 0);
                y += bias ? get(bias + i * elem(lo.type), lo.type) : 0;
                put(to + i * elem(lo.type), lo.type, y);
            }
            mark_written(to_seen, lo.rows * elem(lo.type), true);
        }
    });
    return CUBLAS_STATUS_SUCCESS;
}
}
