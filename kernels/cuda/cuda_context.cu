/* cuda_context.cu: see cuda_context.cuh: opening and closing, memory, the ring, the stages, failures, and numbers to and from the
 * host. */
#include "kernels/cuda/cuda_context.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "kernels/convert.h"
}
#include "kernels/cuda/cuda_attention.cuh"

/* ---- sizes ---- */

static ContextLayout layout(const OpsConfig *config, DType dtype)
{
    const OpsLimits *l = &config->limits;
    size_t elem = dtype_block_bytes(dtype); /* of an activation */
    ContextLayout o;
    memset(&o, 0, sizeof o);
    /* of one op: positions or targets, or the items and segments of sequences of one row each */
    o.ring_part_bytes =
        context_round(CONTEXT_RING_BYTES + l->max_rows * (sizeof(AttentionItem) + 4 * sizeof(AttentionSegment)));
    o.result_bytes = context_round(l->max_head_rows * (4 * sizeof(double) + 2 * sizeof(int32_t)));
    size_t at = 0;
    o.workspace = at, at += GEMM_WORKSPACE_BYTES;
    o.ring = at, at += CONTEXT_RING_PARTS * o.ring_part_bytes;
    o.stages = at, at += CONTEXT_STAGES * CONTEXT_STAGE_BYTES;
    o.results = at, at += o.result_bytes;
    o.intact_lse = at, at += context_round(l->max_head_rows * sizeof(double));
    o.starts = at, at += context_round(l->vocab);
    if (l->n_experts) {
        size_t choices = l->max_rows * l->top_k;
        o.moe_order = at, at += context_round((2 * choices + l->n_experts + 1) * sizeof(int32_t));
        o.moe_x = at, at += context_round(choices * l->d_model * elem);
        o.moe_gate_up = at, at += context_round(l->max_rows * 2 * l->d_ff * elem);
        o.moe_hidden = at, at += context_round(l->max_rows * l->d_ff * elem);
        o.moe_y = at, at += context_round(choices * l->d_model * elem);
    }
    o.total = at;
    return o;
}

size_t context_bytes_bf16(const OpsConfig *config)
{
    return layout(config, DTYPE_BF16).total;
}

size_t context_bytes_f32(const OpsConfig *config)
{
    return layout(config, DTYPE_F32).total;
}

/* ---- failures ---- */

void context_fail(OpsContext *c, const char *op, const char *why)
{
    if (!c->failed)
        snprintf(c->failure, sizeof c->failure, "%s: %s", op, why);
    c->failed = true;
}

bool context_ok(OpsContext *c, const char *op, cudaError_t error)
{
    if (error == cudaSuccess)
        return true;
    context_fail(c, op, cudaGetErrorString(error));
    (void)cudaGetLastError(); /* told here: not once more by the next launch */
    return false;
}

void context_enter(OpsContext *c, const char *op)
{
    context_ok(c, op, cudaSetDevice(c->config.device_index));
}

/* ---- lifetime ---- */

static cudaError_t open_memory(OpsContext *c)
{
    const OpsLimits *l = &c->config.limits;
    cudaError_t error = cudaMalloc((void **)&c->scratch, c->layout.total);
    if (!error)
        error = cudaMallocHost((void **)&c->ring_host, CONTEXT_RING_PARTS * c->layout.ring_part_bytes);
    for (int i = 0; !error && i < CONTEXT_STAGES; i++)
        error = cudaMallocHost((void **)&c->stage_host[i], CONTEXT_STAGE_BYTES);
    for (int i = 0; !error && i < CONTEXT_PENDING; i++)
        error = cudaMallocHost((void **)&c->pending[i].pinned, c->layout.result_bytes);
    if (!error)
        error = cudaMallocHost((void **)&c->starts, l->vocab + 1);
    if (!error && l->n_experts)
        error = cudaMallocHost((void **)&c->moe_first, (l->n_experts + 1) * sizeof(int32_t));
    return error;
}

static cudaError_t open_streams(OpsContext *c)
{
    cudaError_t error = cudaStreamCreateWithFlags(&c->compute, cudaStreamNonBlocking);
    if (!error)
        error = cudaStreamCreateWithFlags(&c->copy, cudaStreamNonBlocking);
    cudaEvent_t *events[CONTEXT_RING_PARTS + CONTEXT_STAGES + CONTEXT_PENDING + 2];
    int n = 0;
    for (int i = 0; i < CONTEXT_RING_PARTS; i++)
        events[n++] = &c->ring_left[i];
    for (int i = 0; i < CONTEXT_STAGES; i++)
        events[n++] = &c->stage_left[i];
    for (int i = 0; i < CONTEXT_PENDING; i++)
        events[n++] = &c->pending[i].arrived;
    events[n++] = &c->weights_there;
    events[n++] = &c->moe_sorted;
    for (int i = 0; !error && i < n; i++)
        error = cudaEventCreateWithFlags(events[i], cudaEventDisableTiming);
    return error;
}

static int open_context(const OpsConfig *config, DType dtype, GemmOperands operands, OpsContext **out, Error *e)
{
    double mib = 1024.0 * 1024.0;
    if (config->limits.head_dim > ATTENTION_MAX_HEAD_DIM)
        return error_set(e, STATUS_FAILED, "cuda: heads of %zu dimensions, expected at most %d", config->limits.head_dim,
                         ATTENTION_MAX_HEAD_DIM);
    OpsContext *c = (OpsContext *)calloc(1, sizeof *c);
    if (!c)
        return error_set(e, STATUS_FAILED, "cuda: out of memory");
    c->config = *config;
    c->dtype = dtype;
    c->layout = layout(config, dtype);
    cudaError_t error = cudaSetDevice(config->device_index);
    if (!error)
        error = open_memory(c);
    if (!error)
        error = open_streams(c);
    if (!error) /* copied whole, also where a tile has fewer rows */
        error = cudaMemsetAsync(c->scratch + c->layout.results, 0, c->layout.result_bytes, c->compute);
    if (error) {
        size_t pinned = CONTEXT_RING_PARTS * c->layout.ring_part_bytes + CONTEXT_STAGES * CONTEXT_STAGE_BYTES +
                        CONTEXT_PENDING * c->layout.result_bytes;
        int status =
            error_set(e, STATUS_FAILED, "GPU %d: %.0f MiB of scratch and %.0f MiB of pinned host memory: %s",
                      config->device_index, (double)c->layout.total / mib, (double)pinned / mib, cudaGetErrorString(error));
        (void)cudaGetLastError();
        context_close(c);
        return status;
    }
    const char *why = gemm_open(&c->gemm, operands, c->scratch + c->layout.workspace);
    if (why) {
        context_close(c);
        return error_set(e, STATUS_FAILED, "GPU %d: %s", config->device_index, why);
    }
    *out = c;
    return STATUS_OK;
}

int context_open_bf16(const OpsConfig *config, OpsContext **out, Error *e)
{
    return open_context(config, DTYPE_BF16, GEMM_BF16, out, e);
}

int context_open_f32(const OpsConfig *config, OpsContext **out, Error *e)
{
    return open_context(config, DTYPE_F32, GEMM_F32, out, e);
}

int context_open_tf32(const OpsConfig *config, OpsContext **out, Error *e)
{
    return open_context(config, DTYPE_F32, GEMM_TF32, out, e);
}

/* Its products are kernels of its own. */
int context_open_exact(const OpsConfig *config, OpsContext **out, Error *e)
{
    int status = open_context(config, DTYPE_F32, GEMM_F32, out, e);
    if (!status)
        (*out)->exact = true;
    return status;
}

void context_close(OpsContext *c)
{
    if (!c)
        return;
    (void)cudaSetDevice(c->config.device_index);
    if (c->compute) {
        (void)cudaStreamSynchronize(c->compute);
        (void)cudaStreamDestroy(c->compute);
    }
    if (c->copy) {
        (void)cudaStreamSynchronize(c->copy);
        (void)cudaStreamDestroy(c->copy);
    }
    gemm_close(&c->gemm);
    for (int i = 0; i < CONTEXT_RING_PARTS; i++)
        if (c->ring_left[i])
            (void)cudaEventDestroy(c->ring_left[i]);
    for (int i = 0; i < CONTEXT_STAGES; i++) {
        if (c->stage_left[i])
            (void)cudaEventDestroy(c->stage_left[i]);
        (void)cudaFreeHost(c->stage_host[i]);
    }
    for (int i = 0; i < CONTEXT_PENDING; i++) {
        if (c->pending[i].arrived)
            (void)cudaEventDestroy(c->pending[i].arrived);
        (void)cudaFreeHost(c->pending[i].pinned);
    }
    for (size_t i = 0; i < CONTEXT_SLOTS; i++)
        if (c->slots[i].done)
            (void)cudaEventDestroy(c->slots[i].done);
    if (c->weights_there)
        (void)cudaEventDestroy(c->weights_there);
    if (c->moe_sorted)
        (void)cudaEventDestroy(c->moe_sorted);
    (void)cudaFreeHost(c->ring_host);
    (void)cudaFreeHost(c->starts);
    (void)cudaFreeHost(c->moe_first);
    (void)cudaFree(c->scratch);
    free(c);
}

int context_alloc(OpsContext *c, size_t bytes, void **out, Error *e)
{
    cudaError_t error = cudaSetDevice(c->config.device_index);
    if (!error)
        error = cudaMalloc(out, bytes ? bytes : 1);
    if (!error)
        return STATUS_OK;
    *out = NULL;
    (void)cudaGetLastError();
    return error_set(e, STATUS_FAILED, "GPU %d: %.0f MiB: %s", c->config.device_index, (double)bytes / (1024.0 * 1024.0),
                     cudaGetErrorString(error));
}

void context_free(OpsContext *c, void *memory, size_t bytes)
{
    if (!memory)
        return;
    weights_forget(c, memory, bytes);
    (void)cudaSetDevice(c->config.device_index);
    (void)cudaFree(memory); /* waits for the device */
}

int context_sync(OpsContext *c, Error *e)
{
    context_enter(c, "work on the GPU");
    context_ok(c, "work on the GPU", cudaStreamSynchronize(c->copy));
    context_ok(c, "work on the GPU", cudaStreamSynchronize(c->compute));
    context_deliver(c, true);
    if (!c->failed)
        return STATUS_OK;
    c->failed = false;
    return error_set(e, STATUS_FAILED, "GPU %d: %s", c->config.device_index, c->failure);
}

/* ---- ring and stages ---- */

void *context_ring_take(OpsContext *c, const char *op, size_t bytes, void **host)
{
    size_t part_bytes = c->layout.ring_part_bytes, need = context_round(bytes);
    if (need > part_bytes) {
        context_fail(c, op, "more arguments than the context was opened for");
        return NULL;
    }
    if (c->ring_at + need > part_bytes) {
        if (!context_ok(c, op, cudaEventRecord(c->ring_left[c->ring_part], c->compute)))
            return NULL;
        c->ring_part = (c->ring_part + 1) % CONTEXT_RING_PARTS;
        c->ring_lap++;
        c->ring_at = 0;
        if (!context_ok(c, op, cudaEventSynchronize(c->ring_left[c->ring_part])))
            return NULL;
    }
    size_t at = c->ring_part * part_bytes + c->ring_at;
    c->ring_at += need;
    *host = c->ring_host + at;
    return c->scratch + c->layout.ring + at;
}

void context_ring_send(OpsContext *c, const char *op, void *device, const void *host, size_t bytes)
{
    context_ok(c, op, cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, c->compute));
}

void *context_ring_put(OpsContext *c, const char *op, const void *from, size_t bytes)
{
    void *host, *device = context_ring_take(c, op, bytes, &host);
    if (!device)
        return NULL;
    memcpy(host, from, bytes);
    context_ring_send(c, op, device, host, bytes);
    return device;
}

const void *context_ring_send_new(OpsContext *c, const char *op, ContextUse use, void *device, const void *host, size_t bytes)
{
    ContextSent *sent = &c->sent[use];
    bool there = sent->bytes == bytes && c->ring_lap - sent->lap < CONTEXT_RING_PARTS;
    if (there && memcmp(sent->host, host, bytes) == 0) {
        c->ring_at -= context_round(bytes); /* given back */
        return sent->device;
    }
    if (!context_ok(c, op, cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, c->compute)))
        return NULL;
    *sent = ContextSent{host, device, bytes, c->ring_lap};
    return device;
}

bool context_stage_take(OpsContext *c, const char *op, char **host, char **device)
{
    *host = c->stage_host[c->stage];
    *device = c->scratch + c->layout.stages + (size_t)c->stage * CONTEXT_STAGE_BYTES;
    return context_ok(c, op, cudaEventSynchronize(c->stage_left[c->stage]));
}

void context_stage_used(OpsContext *c, const char *op, cudaStream_t stream)
{
    context_ok(c, op, cudaEventRecord(c->stage_left[c->stage], stream));
    c->stage = (c->stage + 1) % CONTEXT_STAGES;
}

bool context_bring(OpsContext *c, const char *op, void *to, const void *from, char *stage, size_t bytes)
{
    context_ok(c, op, cudaMemcpyAsync(stage, from, bytes, cudaMemcpyDefault, c->compute));
    if (!context_ok(c, op, cudaStreamSynchronize(c->compute)))
        return false;
    memcpy(to, stage, bytes);
    return true;
}

/* ---- results of head() ---- */

static void deliver_first(OpsContext *c)
{
    ContextPending *p = &c->pending[c->first_pending];
    if (context_ok(c, "head", cudaEventSynchronize(p->arrived))) {
        const double *d = (const double *)(void *)p->pinned;
        const int32_t *i = (const int32_t *)(void *)(d + 4 * c->config.limits.max_head_rows);
        memcpy(p->nll, d, p->rows * sizeof *d);
        memcpy(p->kl, d + c->config.limits.max_head_rows, p->rows * sizeof *d);
        memcpy(p->word_start_logp, d + 2 * c->config.limits.max_head_rows, p->rows * sizeof *d);
        memcpy(p->lse, d + 3 * c->config.limits.max_head_rows, p->rows * sizeof *d);
        memcpy(p->rank, i, p->rows * sizeof *i);
        memcpy(p->top1, i + c->config.limits.max_head_rows, p->rows * sizeof *i);
    }
    c->first_pending = (c->first_pending + 1) % CONTEXT_PENDING;
    c->n_pending--;
}

void context_deliver(OpsContext *c, bool all)
{
    while (c->n_pending) {
        deliver_first(c);
        if (!all)
            return;
    }
}

ContextPending *context_pending_new(OpsContext *c)
{
    if (c->n_pending == CONTEXT_PENDING)
        context_deliver(c, false);
    return &c->pending[(c->first_pending + c->n_pending++) % CONTEXT_PENDING];
}

/* ---- numbers to and from the host ----
 * Memory of the caller may be host memory lent to the device: the direction is the runtime's to find (cudaMemcpyDefault). */

static float widen(DType t, const char *p)
{
    float x;
    uint16_t half;
    if (t == DTYPE_F32) {
        memcpy(&x, p, 4);
        return x;
    }
    memcpy(&half, p, 2);
    return convert_bf16_to_f32(half);
}

static void narrow(DType t, char *p, float x)
{
    uint16_t half = convert_f32_to_bf16(x);
    if (t == DTYPE_F32)
        memcpy(p, &x, 4);
    else
        memcpy(p, &half, 2);
}

/* Rows that fit a stage; at least one, by the limits a view has. */
static size_t rows_of_stage(View v, size_t elem)
{
    size_t rows = v.cols ? CONTEXT_STAGE_BYTES / (v.cols * elem) : v.rows;
    return rows < v.rows ? rows : v.rows;
}

void context_upload(OpsContext *c, View dst, const double *src)
{
    size_t elem = dtype_block_bytes(dst.dtype), most = rows_of_stage(dst, elem);
    context_enter(c, "upload");
    if (dst.rows && !most)
        context_fail(c, "upload", "a row is longer than a stage");
    for (size_t at = 0; most && dst.cols && at < dst.rows; at += most) {
        size_t n = dst.rows - at < most ? dst.rows - at : most;
        char *host, *device;
        if (!context_stage_take(c, "upload", &host, &device))
            return;
        for (size_t i = 0; i < n * dst.cols; i++)
            narrow(dst.dtype, host + i * elem, (float)src[at * dst.cols + i]);
        context_ok(c, "upload",
                   cudaMemcpy2DAsync((char *)dst.data + at * dst.ld * elem, dst.ld * elem, host, dst.cols * elem,
                                     dst.cols * elem, n, cudaMemcpyDefault, c->compute));
        context_stage_used(c, "upload", c->compute);
    }
}

/* Rows in a stage, widened by all threads. */
struct Widening {
    const char *from;
    double *to;
    DType dtype;
    size_t rows, cols;
};

static void widen_task(void *arg, size_t task, int thread)
{
    const Widening *w = (const Widening *)arg;
    size_t begin, end, elem = dtype_block_bytes(w->dtype);
    (void)thread;
    pool_split(w->rows, 1, (w->rows + 63) / 64, task, &begin, &end);
    for (size_t i = begin * w->cols; i < end * w->cols; i++)
        w->to[i] = (double)widen(w->dtype, w->from + i * elem);
}

void context_download(OpsContext *c, double *dst, View src)
{
    size_t elem = dtype_block_bytes(src.dtype), most = rows_of_stage(src, elem);
    context_enter(c, "download");
    if (src.rows && !most)
        context_fail(c, "download", "a row is longer than a stage");
    for (size_t at = 0; most && src.cols && at < src.rows; at += most) {
        size_t n = src.rows - at < most ? src.rows - at : most;
        char *host, *device;
        if (!context_stage_take(c, "download", &host, &device))
            return;
        context_ok(c, "download",
                   cudaMemcpy2DAsync(host, src.cols * elem, (const char *)src.data + at * src.ld * elem, src.ld * elem,
                                     src.cols * elem, n, cudaMemcpyDefault, c->compute));
        if (!context_ok(c, "download", cudaStreamSynchronize(c->compute)))
            return;
        Widening w = {host, dst + at * src.cols, src.dtype, n, src.cols};
        pool_run(c->config.pool, widen_task, &w, (n + 63) / 64);
    }
}
