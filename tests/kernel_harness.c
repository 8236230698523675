/* kernel_harness.c: see kernel_harness.h. */
#include "tests/kernel_harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/convert.h"

enum { CANARY = 0xA5 };

static void must(int status, const Error *e)
{
    if (status) {
        printf("kernel_harness: %s\n", e->text);
        exit(1);
    }
}

void kit_open(Kit *k, const Ops *ops, int threads, const OpsLimits *limits)
{
    Error e;
    memset(k, 0, sizeof *k);
    k->ops = ops;
    must(pool_open(threads, &k->pool, &e), &e);
    OpsConfig config = {.limits = *limits, .pool = k->pool};
    must(ops->open(&config, &k->ctx, &e), &e);
    must(ops_ref.open(&config, &k->ref_ctx, &e), &e);
    k->u = ops->act_dtype == DTYPE_F64 ? 0x1p-53 : 0x1p-24;
    k->store = ops->act_dtype == DTYPE_BF16 ? 0x1p-8 : 0;
}

void kit_sync(Kit *k)
{
    Error e;
    must(k->ops->sync(k->ctx, &e), &e);
}

void kit_close(Kit *k)
{
    kit_end_case(k);
    k->ops->close(k->ctx);
    ops_ref.close(k->ref_ctx);
    pool_close(k->pool);
}

static bool is_canary(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != CANARY)
            return false;
    return true;
}

int kit_end_case(Kit *k)
{
    int bad = 0;
    kit_sync(k);
    for (size_t i = 0; i < k->n_buffers; i++) {
        KitBuffer *b = &k->buffers[i];
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        if (!is_canary(b->pages + page, (size_t)(b->data - b->pages) - page))
            bad += printf("%s: bytes before an operand of %zu bytes were written\n", k->what, b->data_bytes) > 0;
        if (b->frozen && memcmp(b->frozen, b->data, b->data_bytes) != 0)
            bad += printf("%s: an input of %zu bytes, or the gap between rows, was changed\n", k->what, b->data_bytes) > 0;
        free(b->frozen);
        if (k->take_back)
            k->take_back(b->pages + page);
        munmap(b->pages, b->pages_bytes + 2 * page);
    }
    k->n_buffers = 0;
    return bad;
}

void *kit_bytes(Kit *k, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes + page - 1) / page * page + (bytes ? 0 : page);
    unsigned char *pages = mmap(NULL, whole + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || k->n_buffers == KIT_MAX_BUFFERS) {
        printf("kernel_harness: no room for an operand\n");
        exit(1);
    }
    memset(pages + page, CANARY, whole);
    mprotect(pages, page, PROT_NONE);
    mprotect(pages + page + whole, page, PROT_NONE);
    Error e;
    if (k->lend)
        must(k->lend(pages + page, whole, &e), &e);
    KitBuffer *b = &k->buffers[k->n_buffers++];
    *b = (KitBuffer){.pages = pages, .data = pages + page + whole - bytes, .pages_bytes = whole, .data_bytes = bytes};
    return b->data;
}

void kit_freeze(Kit *k, const void *data)
{
    for (size_t i = 0; i < k->n_buffers; i++) {
        KitBuffer *b = &k->buffers[i];
        if (b->data != data)
            continue;
        free(b->frozen);
        b->frozen = malloc(b->data_bytes + 1);
        memcpy(b->frozen, b->data, b->data_bytes);
    }
}

double kit_random(Kit *k, double scale)
{
    return (double)(float)((2 * rng_uniform(&k->rng) - 1) * scale);
}

double kit_get(View v, size_t r, size_t c)
{
    if (v.dtype == DTYPE_BF16)
        return (double)convert_bf16_to_f32(((const uint16_t *)v.data)[r * v.ld + c]);
    return v.dtype == DTYPE_F64 ? ((const double *)v.data)[r * v.ld + c] : (double)((const float *)v.data)[r * v.ld + c];
}

static void set(View v, size_t r, size_t c, double value)
{
    if (v.dtype == DTYPE_F64)
        ((double *)v.data)[r * v.ld + c] = value;
    else if (v.dtype == DTYPE_BF16)
        ((uint16_t *)v.data)[r * v.ld + c] = convert_f32_to_bf16((float)value);
    else
        ((float *)v.data)[r * v.ld + c] = (float)value;
}

void kit_set(Both b, size_t r, size_t c, double value)
{
    set(b.t, r, c, value);
    set(b.r, r, c, value);
}

static View empty_view(Kit *k, DType dtype, size_t rows, size_t cols, size_t gap)
{
    size_t elem = dtype_block_bytes(dtype), ld = cols + gap;
    void *data = kit_bytes(k, rows ? ((rows - 1) * ld + cols) * elem : 0);
    return (View){.data = data, .dtype = dtype, .rows = rows, .cols = cols, .ld = ld};
}

static double rounded(bool to_bf16, double x)
{
    return to_bf16 ? (double)convert_bf16_to_f32(convert_f32_to_bf16((float)x)) : x;
}

Both kit_view(Kit *k, DType dtype, size_t rows, size_t cols, size_t gap, double scale)
{
    Both b = {.t = empty_view(k, dtype, rows, cols, gap), .r = empty_view(k, DTYPE_F64, rows, cols, 0)};
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            kit_set(b, r, c, rounded(dtype == DTYPE_BF16, kit_random(k, scale)));
    return b;
}

WeightPart kit_part(Kit *k, DType dtype, size_t rows, size_t cols, bool transposed, double scale)
{
    size_t elem = dtype == DTYPE_F32 ? 4 : 2, n = rows * cols;
    unsigned char *data = kit_bytes(k, n * elem);
    for (size_t i = 0; i < n; i++) {
        float x = (float)rounded(k->ops->gemm_dtype == DTYPE_BF16, kit_random(k, scale));
        uint16_t half = dtype == DTYPE_F16 ? convert_f32_to_f16(x) : convert_f32_to_bf16(x);
        memcpy(data + i * elem, dtype == DTYPE_F32 ? (void *)&x : (void *)&half, elem);
    }
    kit_freeze(k, data);
    return (WeightPart){
        .data = data, .dtype = dtype, .rows = rows, .cols = cols, .stride = transposed ? rows : cols, .transposed = transposed};
}

double kit_part_get(const WeightPart *p, size_t r, size_t c)
{
    size_t at = p->transposed ? c * p->stride + r : r * p->stride + c;
    const unsigned char *data = p->data;
    float x;
    uint16_t half;
    if (p->dtype == DTYPE_F32) {
        memcpy(&x, data + 4 * at, 4);
        return (double)x;
    }
    memcpy(&half, data + 2 * at, 2);
    return (double)(p->dtype == DTYPE_F16 ? convert_f16_to_f32(half) : convert_bf16_to_f32(half));
}

/* Slots end before an unreadable page too; they begin at 64 bytes, as alloc() gives them. */
static Weight prepare(Kit *k, const Ops *ops, OpsContext *ctx, WeightKind kind, const WeightPart *parts, size_t n_parts)
{
    Error e;
    Weight w;
    size_t bytes = ops->weight_slot_bytes(kind, parts, n_parts);
    must(ops->weight_prepare(ctx, kit_bytes(k, (bytes + 63) & ~(size_t)63), kind, parts, n_parts, &w, &e), &e);
    return w;
}

BothWeight kit_weight(Kit *k, WeightKind kind, const WeightPart *parts, size_t n_parts)
{
    return (BothWeight){.t = prepare(k, k->ops, k->ctx, kind, parts, n_parts),
                        .r = prepare(k, &ops_ref, k->ref_ctx, kind, parts, n_parts)};
}

int kit_compare(Kit *k, Both b, double (*tolerance)(void *user, size_t r, size_t c), void *user)
{
    int bad = 0;
    size_t elem = dtype_block_bytes(b.t.dtype);
    kit_sync(k);
    for (size_t r = 0; r < b.t.rows; r++) {
        for (size_t c = 0; c < b.t.cols; c++) {
            double t = kit_get(b.t, r, c), ref = kit_get(b.r, r, c), most = tolerance(user, r, c);
            bool same = isnan(ref) ? isnan(t) : isinf(ref) ? t == ref : fabs(t - ref) <= most;
            if (!same && bad++ == 0)
                printf("%s: [%zu, %zu] is %.9g, expected %.9g +- %.3g\n", k->what, r, c, t, ref, most);
        }
        for (size_t c = b.t.cols; c < b.t.ld && r + 1 < b.t.rows; c++) {
            const unsigned char *gap = (const unsigned char *)b.t.data + (r * b.t.ld + c) * elem;
            if (!is_canary(gap, elem) && bad++ == 0)
                printf("%s: the gap behind row %zu was written\n", k->what, r);
        }
    }
    return bad;
}

static double flat(void *user, size_t r, size_t c)
{
    (void)r;
    (void)c;
    return *(double *)user;
}

int kit_compare_flat(Kit *k, Both b, double tolerance)
{
    return kit_compare(k, b, flat, &tolerance);
}
