/* cuda_bench.cu: see CudaBench in cuda_entry.h. Random numbers are a hash of seed and index (splitmix64's finaliser), so that any shape
 * can be filled in one pass and twice alike. */
#include "kernels/cuda/cuda_bench.cuh"

#include "kernels/cuda/cuda_context.cuh"

enum { FILL_THREADS = 256, FILL_BLOCKS = 4096 };

template <typename T> CUDA_KERNEL(FILL_THREADS) fill_random(Global<T> out, size_t n, float scale, uint64_t seed)
{
    for (size_t i = (size_t)blockIdx.x * FILL_THREADS + threadIdx.x; i < n; i += (size_t)gridDim.x * FILL_THREADS) {
        uint64_t x = seed + i * 0x9e3779b97f4a7c15u;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
        x = (x ^ x >> 27) * 0x94d049bb133111ebu;
        float unit = (float)(uint32_t)((x ^ x >> 31) >> 40) * (1.0f / 8388608) - 1; /* 24 bits: [-1, 1) */
        out[i] = Narrow<T>::of(scale * unit);
    }
}

static void fill(OpsContext *c, void *memory, DType dtype, size_t n, float scale, uint64_t seed)
{
    size_t blocks = (n + FILL_THREADS - 1) / FILL_THREADS;
    int grid = blocks < FILL_BLOCKS ? (int)blocks : FILL_BLOCKS;
    context_enter(c, "fill");
    if (!n)
        return;
    if (dtype == DTYPE_F32)
        CUDA_LAUNCH((fill_random<float>), grid, FILL_THREADS, 0, c->compute, (float *)memory, n, scale, seed);
    else
        CUDA_LAUNCH((fill_random<bf16>), grid, FILL_THREADS, 0, c->compute, (bf16 *)memory, n, scale, seed);
    context_ok(c, "fill", cudaGetLastError());
}

static void copy_bytes(OpsContext *c, void *to, const void *from, size_t bytes)
{
    context_ok(c, "copy", cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, c->compute));
}

static int time_work(OpsContext *c, void (*work)(void *arg), void *arg, double *ms, Error *e)
{
    cudaEvent_t begin = NULL, end = NULL;
    float took = 0;
    bool ok = context_ok(c, "timing", cudaEventCreate(&begin)) && context_ok(c, "timing", cudaEventCreate(&end)) &&
              context_ok(c, "timing", cudaEventRecord(begin, c->compute));
    if (ok)
        work(arg);
    ok = ok && context_ok(c, "timing", cudaEventRecord(end, c->compute));
    int status = context_sync(c, e);
    if (!status && ok && cudaEventElapsedTime(&took, begin, end) != cudaSuccess)
        status = error_set(e, STATUS_FAILED, "timing: no time between two events");
    if (begin)
        (void)cudaEventDestroy(begin);
    if (end)
        (void)cudaEventDestroy(end);
    *ms = (double)took;
    return status;
}

const CudaBench cuda_bench = {fill, copy_bytes, time_work};
