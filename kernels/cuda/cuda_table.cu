/* cuda_table.cu: the tables cuda/fast: bf16 activations and products with f32 accumulation, f32 residual stream and logits; the same with f32
 * throughout, and with f32 whose products with weights run in TF32; and cuda/exact, the same entries with the kernels of numerics v1
 * (cuda_exact.cuh) where the context says so. Here are the entries that are launches and products, and the one exported function;
 * attention, mixtures, the head and pairs of rows stand in files beside it. Entries enqueue on the compute stream and return; a failure is
 * kept for sync(). */
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/cuda_bench.cuh"
#include "kernels/cuda/cuda_exact.cuh"
#include "kernels/cuda/cuda_rows.cuh"
#include "kernels/cuda/cuda_table.cuh"

extern "C" {
#include "kernels/cuda/cuda_entry.h"
}

enum { TILE_ROWS = 8192, HEAD_ROWS = 2048 };

/* ---- rows ---- */

static void table_copy(OpsContext *c, View dst, View src)
{
    context_enter(c, "copy");
    cuda_copy(c->compute, dst, src);
    launched(c, "copy");
}

static void table_norm(OpsContext *c, View out, View x, const NormSpec *spec, const Weight *weight, const Weight *bias)
{
    context_enter(c, "norm");
    if (c->exact)
        exact_device_norm(c->compute, out, x, spec, weight, bias);
    else
        cuda_norm(c->compute, out, x, spec, weight, bias);
    launched(c, "norm");
}

static void table_rope(OpsContext *c, View x, const int32_t *positions, const Weight *cosines, const Weight *sines, int n_heads,
                       int head_dim, int rotary_dims, RopeStyle style)
{
    size_t most = c->layout.ring_part_bytes / sizeof *positions;
    context_enter(c, "rope");
    for (size_t at = 0; at < x.rows; at += most) {
        size_t n = x.rows - at < most ? x.rows - at : most;
        void *host, *device = context_ring_take(c, "rope", n * sizeof *positions, &host);
        if (!device)
            return;
        memcpy(host, positions + at, n * sizeof *positions);
        const int32_t *there =
            (const int32_t *)context_ring_send_new(c, "rope", CONTEXT_POSITIONS, device, host, n * sizeof *positions);
        if (!there)
            return;
        View some = view_rows(x, at, n, dtype_block_bytes(x.dtype));
        if (c->exact)
            exact_device_rope(c->compute, some, there, cosines, sines, n_heads, head_dim, rotary_dims, style);
        else
            cuda_rope(c->compute, some, there, cosines, sines, n_heads, head_dim, rotary_dims, style);
        launched(c, "rope");
    }
}

void table_gate(OpsContext *c, View out, View x, View up, ActKind act)
{
    if (c->exact)
        exact_device_glu(c->compute, out, x, up, act);
    else
        cuda_glu(c->compute, out, x, up, act);
}

static void table_glu(OpsContext *c, View out, View gate, View up, ActKind act)
{
    context_enter(c, "glu");
    table_gate(c, out, gate, up, act);
    launched(c, "glu");
}

static void table_act(OpsContext *c, View out, View x, ActKind act)
{
    context_enter(c, "act");
    if (c->exact)
        exact_device_glu(c->compute, out, x, View(), act);
    else
        cuda_act(c->compute, out, x, act);
    launched(c, "act");
}

static void table_add(OpsContext *c, View out, View a, View b, float scale)
{
    context_enter(c, "add");
    if (c->exact)
        exact_device_add(c->compute, out, a, b, View(), scale);
    else
        cuda_add(c->compute, out, a, b, scale);
    launched(c, "add");
}

static void table_clip(OpsContext *c, View x, float limit)
{
    context_enter(c, "clip");
    cuda_clip(c->compute, x, limit);
    launched(c, "clip");
}

static void table_add_gated(OpsContext *c, View out, View a, View b, View gate)
{
    context_enter(c, "add_gated");
    if (c->exact)
        exact_device_add(c->compute, out, a, b, gate, 1);
    else
        cuda_add_gated(c->compute, out, a, b, gate);
    launched(c, "add_gated");
}

static void table_mean(OpsContext *c, View out, const View *in, size_t n)
{
    context_enter(c, "mean");
    if (c->exact && n > EXACT_DEVICE_MEAN)
        context_fail(c, "mean", "more members than 64");
    else if (c->exact)
        exact_device_mean(c->compute, out, in, n);
    else
        cuda_mean(c->compute, out, in, n);
    launched(c, "mean");
}

static void table_row_dots(OpsContext *c, double *out, View a, View b)
{
    size_t most = CONTEXT_STAGE_BYTES / (3 * sizeof *out);
    context_enter(c, "row_dots");
    for (size_t at = 0; at < a.rows; at += most) {
        size_t n = a.rows - at < most ? a.rows - at : most;
        char *host, *device;
        if (!context_stage_take(c, "row_dots", &host, &device))
            return;
        View x = view_rows(a, at, n, dtype_block_bytes(a.dtype)), y = view_rows(b, at, n, dtype_block_bytes(b.dtype));
        if (c->exact)
            exact_device_row_dots(c->compute, (double *)(void *)device, x, y);
        else
            cuda_row_dots(c->compute, (double *)(void *)device, x, y);
        launched(c, "row_dots");
        if (!context_bring(c, "row_dots", out + 3 * at, device, host, n * 3 * sizeof *out))
            return;
    }
}

/* ---- products ---- */

void table_multiply(OpsContext *c, const char *op, View y, View x, const Weight *w, const Weight *bias, float alpha,
                    const View *residual)
{
    if (c->exact) { /* has neither alpha nor residual: linear_add is not offered */
        exact_device_linear(c->compute, y, x, (const float *)w->data, given(bias) ? (const float *)bias->data : NULL);
        context_ok(c, op, cudaGetLastError());
        return;
    }
    GemmCall g;
    memset((void *)&g, 0, sizeof g);
    g.x = x.data, g.ld_x = (int64_t)x.ld;
    g.w = w->data;
    g.y = y.data, g.ld_y = (int64_t)y.ld;
    g.y_f32 = y.dtype == DTYPE_F32;
    if (residual) {
        g.residual = residual->data;
        g.ld_residual = (int64_t)residual->ld;
    }
    if (given(bias)) {
        g.bias = (const float *)bias->data;
        g.bias_bf16 = c->dtype == DTYPE_BF16 ? weights_vector_bf16(bias) : NULL;
    }
    g.rows = (int)x.rows, g.n = (int)w->rows, g.k = (int)w->cols;
    g.alpha = alpha;
    const char *why = gemm_run(&c->gemm, &g, c->compute);
    if (why)
        context_fail(c, op, why);
}

static void table_linear(OpsContext *c, View y, View x, const Weight *w, const Weight *bias)
{
    context_enter(c, "linear");
    table_multiply(c, "linear", y, x, w, bias, 1, NULL);
}

static void table_linear_add(OpsContext *c, View out, View residual, float scale, View x, const Weight *w, const Weight *bias)
{
    context_enter(c, "linear_add");
    table_multiply(c, "linear_add", out, x, w, bias, scale, &residual);
}

/* ---- the table, and the door ---- */

/* All but a tenth of what is free: the driver, cuBLAS and other programs want some. */
static size_t table_memory_available(int device_index)
{
    size_t free_bytes = 0, total = 0;
    if (cudaSetDevice(device_index) != cudaSuccess || cudaMemGetInfo(&free_bytes, &total) != cudaSuccess)
        return 0;
    return free_bytes / 10 * 9;
}

static Ops make_table()
{
    Ops o;
    memset((void *)&o, 0, sizeof o);
    o.name = "cuda/fast";
    o.gemm_dtype = o.act_dtype = DTYPE_BF16;
    o.resid_dtype = o.logit_dtype = DTYPE_F32;
    o.tile_rows = TILE_ROWS, o.head_rows = HEAD_ROWS;
    o.memory_available = table_memory_available;
    o.context_bytes = context_bytes_bf16;
    o.open = context_open_bf16, o.close = context_close;
    o.alloc = context_alloc, o.free = context_free;
    o.sync = context_sync;
    o.copy = table_copy;
    o.upload = context_upload, o.download = context_download;
    o.weight_slot_bytes = weights_slot_bytes_bf16;
    o.weight_prepare = weights_prepare;
    o.slot_done = weights_slot_done;
    o.embed = weights_embed, o.embed_add = weights_embed_add;
    o.norm = table_norm;
    o.linear = table_linear, o.linear_add = table_linear_add;
    o.rope = table_rope;
    o.attention = table_attention;
    o.glu = table_glu, o.act = table_act;
    o.add = table_add, o.clip = table_clip, o.add_gated = table_add_gated, o.mean = table_mean;
    o.route = table_route, o.moe = table_moe;
    o.row_dots = table_row_dots;
    o.head = table_head;
    o.clear = table_clear, o.read = table_read;
    o.gather = table_gather, o.pair_sums = table_pair_sums, o.compare_rows = table_compare_rows;
    return o;
}

static Ops make_f32_table(const char *name, int (*open)(const OpsConfig *config, OpsContext **out, Error *e))
{
    Ops o = make_table();
    o.name = name;
    o.gemm_dtype = o.act_dtype = DTYPE_F32;
    o.context_bytes = context_bytes_f32;
    o.open = open;
    o.weight_slot_bytes = weights_slot_bytes_f32;
    return o;
}

/* Numerics v1 has no linear_add, which would round once where linear and add round twice. */
static Ops make_exact_table()
{
    Ops o = make_f32_table("cuda/exact", context_open_exact);
    o.linear_add = NULL;
    return o;
}

static int count_devices(int *n, Error *e)
{
    cudaError_t error = cudaGetDeviceCount(n);
    if (error == cudaSuccess && *n > 0)
        return STATUS_OK;
    *n = 0;
    (void)cudaGetLastError();
    int driver = 0, runtime = 0;
    if (error == cudaErrorInsufficientDriver) {
        (void)cudaDriverGetVersion(&driver); /* 0: none */
        (void)cudaRuntimeGetVersion(&runtime);
    }
    if (driver > 0)
        return error_set(e, STATUS_FAILED, "no GPU: the driver serves CUDA %d.%d, " CUDA_LIBRARY " was built with CUDA %d.%d",
                         driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    return error_set(e, STATUS_FAILED, "no GPU: %s",
                     error == cudaErrorInsufficientDriver ? "this machine has no NVIDIA driver (libcuda.so.1)"
                     : error == cudaSuccess               ? "the driver shows none"
                                                          : cudaGetErrorString(error));
}

static int describe_device(int index, CudaDevice *out, Error *e)
{
    cudaDeviceProp p;
    cudaError_t error = cudaGetDeviceProperties(&p, index);
    if (error == cudaSuccess)
        error = cudaSetDevice(index);
    if (error == cudaSuccess)
        error = cudaMemGetInfo(&out->free_bytes, &out->total_bytes);
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        return error_set(e, STATUS_FAILED, "GPU %d cannot be used: %s", index, cudaGetErrorString(error));
    }
    snprintf(out->name, sizeof out->name, "%.*s", (int)sizeof out->name - 1, p.name);
    out->major = p.major;
    out->minor = p.minor;
    return STATUS_OK;
}

static int lend_memory(void *memory, size_t bytes, Error *e)
{
    void *there = NULL;
    cudaError_t error = cudaHostRegister(memory, bytes, cudaHostRegisterMapped);
    if (error == cudaSuccess)
        error = cudaHostGetDevicePointer(&there, memory, 0);
    if (error == cudaSuccess && there == memory)
        return STATUS_OK;
    (void)cudaGetLastError();
    return error_set(e, STATUS_FAILED, "host memory cannot be lent to the GPU: %s",
                     error == cudaSuccess ? "it has another address there" : cudaGetErrorString(error));
}

static void take_back_memory(void *memory)
{
    (void)cudaHostUnregister(memory);
}

static const Ops table = make_table(), f32_table = make_f32_table("cuda/fast f32", context_open_f32),
                 tf32_table = make_f32_table("cuda/fast tf32", context_open_tf32), exact_table = make_exact_table();
static const CudaEntry entry = {&table,      count_devices, describe_device, lend_memory, take_back_memory,
                                &cuda_bench, &exact_table,  &f32_table,      &tf32_table};

extern "C" __attribute__((visibility("default"))) const CudaEntry *strata_cuda_entry(uint64_t abi)
{
    return abi == cuda_entry_abi() ? &entry : NULL;
}
