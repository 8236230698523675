/* test_cuda_emu.cc: the emulation of tests/cuda_emu itself: small kernels that are right pass without a report under many seeds, and
 * each thing that the execution model forbids is reported, with its place. */
#include <stdlib.h>
#include <string.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "kernels/cuda/cuda_device.cuh"
#include "tests/cuda_emu/emu.h"
#include "tests/test.h"

/* Device memory of a test: freed at its end. */
template <typename T> struct Array {
    T *p;
    size_t n;
    explicit Array(size_t count) : n(count)
    {
        cudaMalloc((void **)&p, n * sizeof(T));
    }
    explicit Array(const std::vector<T> &v) : Array(v.size())
    {
        cudaMemcpy(p, v.data(), n * sizeof(T), cudaMemcpyHostToDevice);
    }
    ~Array()
    {
        cudaFree(p);
    }
    std::vector<T> get() const
    {
        cudaDeviceSynchronize();
        const T *bytes = (const T *)emu_peek(p);
        return std::vector<T>(bytes, bytes + n);
    }
    Array(const Array &) = delete;
};

static std::vector<float> numbers(size_t n)
{
    std::vector<float> v(n);
    for (size_t i = 0; i < n; i++)
        v[i] = (float)(i * 37 % 101) - 50;
    return v;
}

/* Runs a case under several seeds: reports in all or in none of them. */
template <typename F> static void expect(const char *what, const char *report, F run)
{
    size_t caught = 0, seeds = 8;
    std::string last;
    for (size_t seed = 1; seed <= seeds; seed++) {
        emu_clear();
        emu_seed(seed);
        emu_quiet(report != nullptr);
        run();
        cudaDeviceSynchronize();
        if (emu_reports()) {
            caught++;
            last += emu_report_log();
        }
        cudaDeviceReset();
    }
    emu_quiet(false);
    emu_clear();
    if (!report)
        CHECK_MSG(caught == 0, "%s: %s", what, last.c_str());
    else
        CHECK_MSG(caught == seeds && last.find(report) != std::string::npos, "%s: reported under %zu of %zu seeds: %s", what,
                  caught, seeds, last.c_str());
}

/* ---- shared memory ---- */

CUDA_KERNEL(256) reverse_kernel(Global<const float> in, Global<float> out, int n, bool barrier, int reach)
{
    CUDA_SHARED(float, tile, 256);
    int first = (int)(blockIdx.x * blockDim.x), me = (int)threadIdx.x, count = n - first < 256 ? n - first : 256;
    if (me < count)
        tile[me + reach] = in[first + me];
    if (barrier)
        block_sync();
    if (me < count)
        out[first + count - 1 - me] = tile[me];
}

static void test_barriers(void)
{
    std::vector<float> v = numbers(700);
    auto run = [&](bool barrier, int reach) {
        Array<float> in(v), out(v.size());
        CUDA_LAUNCH((reverse_kernel), 3, 256, 0, nullptr, in.p, out.p, 700, barrier, reach);
        return out.get();
    };
    expect("reverse", nullptr, [&] {
        std::vector<float> got = run(true, 0);
        for (size_t i = 0; i < v.size(); i++) {
            size_t first = i / 256 * 256, count = std::min<size_t>(256, 700 - first);
            CHECK(got[first + count - 1 - (i - first)] == v[i]);
        }
    });
    expect("a store beyond a shared array", "of a shared array of 1024", [&] { run(true, 1); });
}

CUDA_KERNEL(64) neighbour_kernel(Global<float> out, int fault)
{
    CUDA_SHARED(float, tile, 64);
    unsigned me = threadIdx.x;
    tile[me] = (float)me;
    if (fault != 1)
        block_sync();
    float next = tile[(me + 1) % 64];
    if (fault != 2)
        block_sync();
    tile[me] = next;
    out[me] = tile[me];
}

CUDA_KERNEL(64) unwritten_kernel(Global<float> out)
{
    CUDA_SHARED(float, tile, 64);
    if (threadIdx.x != 5)
        tile[threadIdx.x] = 1;
    block_sync();
    out[threadIdx.x] = tile[threadIdx.x];
}

static void test_races_in_shared_memory(void)
{
    auto run = [](int fault) {
        Array<float> out(64);
        CUDA_LAUNCH((neighbour_kernel), 2 - 1, 64, 0, nullptr, out.p, fault);
        return out.get();
    };
    expect("neighbours", nullptr, [&] { CHECK(run(0)[63] == 0 && run(0)[3] == 4); });
    expect("read before the writer's barrier", "race: ", [&] { run(1); });
    expect("write before the reader's barrier", "race: writes", [&] { run(2); });
    expect("shared memory read before it is written", "which nothing has written", [&] {
        Array<float> out(64);
        CUDA_LAUNCH((unwritten_kernel), 1, 64, 0, nullptr, out.p);
    });
}

CUDA_KERNEL(64) dynamic_kernel(Global<float> out, int n, int part)
{
    CUDA_SHARED_DYNAMIC(room);
    Shared<float> a = shared_part<float>(room, 0, (size_t)n), b = shared_part<float>(room, (size_t)n * 4, (size_t)part);
    for (int i = (int)threadIdx.x; i < n; i += 64)
        a[i] = (float)i;
    for (int i = (int)threadIdx.x; i < part; i += 64)
        b[i] = (float)-i;
    block_sync();
    for (int i = (int)threadIdx.x; i < n; i += 64)
        out[i] = a[i] + b[i % part];
}

static void test_dynamic_shared_memory(void)
{
    auto run = [](int n, int part, size_t bytes) {
        Array<float> out((size_t)n);
        CUDA_LAUNCH((dynamic_kernel), 1, 64, bytes, nullptr, out.p, n, part);
        return out.get();
    };
    expect("parts", nullptr, [&] { CHECK(run(100, 50, 600)[70] == 70 - 20); });
    expect("a part too long", "does not lie in", [&] { run(100, 51, 600); });
    expect("more than 48 KiB not asked for", "bytes of dynamic shared memory", [&] {
        run(100, 50, 50000);
        CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    });
    expect("more than 48 KiB asked for", nullptr, [&] {
        CHECK(cudaFuncSetAttribute((const void *)dynamic_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 100000) ==
              cudaSuccess);
        run(100, 50, 100000);
        cudaFuncSetAttribute((const void *)dynamic_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 48 * 1024);
    });
    expect("too many threads", "threads a block", [&] {
        Array<float> out(100);
        CUDA_LAUNCH((dynamic_kernel), 1, 1056, 600, nullptr, out.p, 100, 50);
    });
}

CUDA_KERNEL(64) leave_kernel(Global<float> out, int fault)
{
    if (fault == 1 && threadIdx.x == 7)
        return;
    if (fault == 2 && threadIdx.x < 32)
        block_sync();
    else
        block_sync();
    out[threadIdx.x] = 1;
}

static void test_divergence(void)
{
    auto run = [](int fault) {
        Array<float> out(64);
        CUDA_LAUNCH((leave_kernel), 1, 64, 0, nullptr, out.p, fault);
        cudaDeviceSynchronize();
    };
    expect("all meet", nullptr, [&] { run(0); });
    expect("a thread that returned", "waits at block_sync() with 63 of 64 threads", [&] { run(1); });
    expect("two places", "in different places", [&] { run(2); });
}

/* ---- warps ---- */

CUDA_KERNEL(96) sum_kernel(Global<const float> in, Global<float> out, int fault)
{
    float v = in[threadIdx.x];
    if (fault == 3 && threadIdx.x % 32 == 9)
        return;
    for (int bits = 16; bits; bits >>= 1)
        v += warp_shuffle_xor(v, bits,
                              fault == 1   ? 0x7fffffffu
                              : fault == 2 ? (threadIdx.x % 32 < 16 ? 0xffffu : 0xffff0000u)
                                           : WARP_ALL);
    if (threadIdx.x % 32 == 0)
        out[threadIdx.x / 32] = v;
}

CUDA_KERNEL(32) warp_order_kernel(Global<float> out, int fault)
{
    CUDA_SHARED(float, x, 32);
    unsigned me = threadIdx.x;
    x[me] = (float)me;
    if (fault == 0)
        warp_sync();
    if (fault == 1)
        warp_shuffle(0, 0); /* a meeting, but no order of memory */
    if (fault == 2)
        warp_sync(me < 16 ? 0xffffu : 0xffff0000u);
    float other = x[31 - me];
    if (fault != 3)
        warp_sync();
    x[me] = other;
    out[me] = other + (warp_any(me == 31) ? 100 : 0) + (float)(warp_ballot(me < 3) & 7);
}

CUDA_KERNEL(64) halves_kernel(Global<float> out)
{
    /* Each half of the warps takes its own way; masks name who comes. */
    unsigned lane = threadIdx.x % 32, mask = lane < 12 ? 0xfffu : 0xfffff000u;
    float v = (float)lane;
    if (lane < 12)
        v = warp_shuffle(v, 11, mask);
    else
        v = warp_shuffle(v, 12, mask) + (warp_all(lane >= 12, mask) ? 100 : 0);
    out[threadIdx.x] = v;
}

static void test_warps(void)
{
    std::vector<float> v = numbers(96);
    auto sum = [&](int fault, unsigned threads) {
        Array<float> in(v), out(3);
        CUDA_LAUNCH((sum_kernel), 1, threads, 0, nullptr, in.p, out.p, fault);
        return out.get();
    };
    expect("sum of a warp", nullptr, [&] {
        float want = 0;
        for (size_t i = 32; i < 64; i++)
            want += v[i];
        CHECK(sum(0, 96)[1] == want);
    });
    expect("a mask without the caller", "which leaves it out", [&] { sum(1, 96); });
    expect("a lane outside the mask", "which takes no part", [&] { sum(2, 96); });
    expect("a lane that returned", "which takes no part", [&] { sum(3, 96); });
    expect("half a warp", "the block ends before it", [&] { sum(0, 48); });
    auto order = [](int fault) {
        Array<float> out(32);
        CUDA_LAUNCH((warp_order_kernel), 1, 32, 0, nullptr, out.p, fault);
        return out.get();
    };
    expect("order in a warp", nullptr, [&] { CHECK(order(0)[0] == 31 + 100 + 7); });
    expect("shuffles do not order memory", "race: reads", [&] { order(1); });
    expect("half a warp does not order with the other", "race: reads", [&] { order(2); });
    expect("write while others read", "race: ", [&] { order(3); });
    expect("halves", nullptr, [&] {
        Array<float> out(64);
        CUDA_LAUNCH((halves_kernel), 1, 64, 0, nullptr, out.p);
        std::vector<float> got = out.get();
        CHECK(got[33] == 11 && got[50] == 112);
    });
}

/* ---- device memory ---- */

CUDA_KERNEL(32) global_kernel(Global<int> data, int n, int fault)
{
    int me = (int)(blockIdx.x * 32 + threadIdx.x);
    if (fault == 0 && me < n)
        data[me] = me;
    if (fault == 1)
        data[me] = me; /* beyond n */
    if (fault == 2)
        data[threadIdx.x] = me; /* both blocks */
    if (fault == 3)
        atomic_add(data + 0, 1);
    if (fault == 4) {
        atomic_add(data + 0, 1);
        if (me == 40)
            data[0] = 3;
    }
    if (fault == 5 && me < n)
        data[me] = data[me] + 1; /* of memory nobody wrote */
    if (fault == 6 && me == 0)
        store_vec(data + 1, Vec<int, 4>{{1, 2, 3, 4}});
    if (fault == 7 && me == 33) {
        Global<int> none = nullptr;
        none[0] = 1;
    }
    if (fault == 8 && me < n - 1) {
        int next = data[me + 1];
        data[me] = next;
    }
}

static void test_device_memory(void)
{
    auto run = [](int fault, bool zero) {
        Array<int> data(50);
        if (zero)
            cudaMemset(data.p, 0, 200);
        CUDA_LAUNCH((global_kernel), 2, 32, 0, nullptr, data.p, 50, fault);
        return data.get();
    };
    expect("each its own", nullptr, [&] { CHECK(run(0, false)[49] == 49); });
    expect("beyond the end", "outside every device array", [&] { run(1, false); });
    expect("two blocks, one word", "in the same launch", [&] { run(2, false); });
    expect("atomics", nullptr, [&] { CHECK(run(3, true)[0] == 64); });
    expect("atomics and a plain write", "race: ", [&] { run(4, true); });
    expect("device memory read before it is written", "which nothing has written", [&] { run(5, false); });
    expect("misaligned", "no multiple of 16", [&] { run(6, false); });
    expect("NULL", "(NULL)", [&] { run(7, false); });
    expect("a neighbour's word", "race: ", [&] { run(8, true); });
    expect("copy of what was never written", "nothing has written it", [&] {
        Array<int> data(8);
        int host[8];
        cudaMemcpy(host, data.p, sizeof host, cudaMemcpyDeviceToHost);
    });
    expect("copy beyond the end", "beyond the end of a device array", [&] {
        Array<int> data(8);
        int host[9] = {0};
        cudaMemcpy(data.p, host, sizeof host, cudaMemcpyHostToDevice);
    });
}

static void test_the_host_cannot_touch_device_memory(void)
{
    Array<int> data(std::vector<int>(8, 7));
    fflush(stdout);
    emu_seed(1);
    CUDA_LAUNCH((global_kernel), 1, 32, 0, nullptr, data.p, 8, 0); /* the handler is there from the first launch on */
    cudaDeviceSynchronize();
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stdout))
            _exit(1);
        _exit(*(volatile int *)data.p == 7 ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 99, "status %d", status);
    emu_clear();
}

/* ---- asynchronous copies and tensor cores ---- */

CUDA_KERNEL(32) async_kernel(Global<const float> in, Global<float> out, int fault)
{
    CUDA_SHARED(float, tile, 256);
    int me = (int)threadIdx.x;
    async_copy16(tile + 4 * me, in + 4 * me, 16);
    async_copy_commit();
    async_copy16(tile + 128 + 4 * me, in + 4 * me, fault == 4 ? 16 : me == 31 ? 8 : 16);
    async_copy_commit();
    async_copy_wait<1>();
    if (fault != 1)
        block_sync();
    float first = tile[(4 * me + 5) % 128];
    if (fault != 2)
        async_copy_wait<0>();
    if (fault != 3)
        block_sync();
    out[me] = first;
    out[32 + me] = tile[128 + (4 * me + 7) % 128];
}

static void test_async_copies(void)
{
    std::vector<float> v = numbers(126);
    auto run = [&](int fault) {
        Array<float> in(fault == 4 || fault == 0 ? v : numbers(128)), out(64);
        if (fault == 0) { /* the last copy of the first group needs all 128 */
            Array<float> whole(numbers(128));
            CUDA_LAUNCH((async_kernel), 1, 32, 0, nullptr, whole.p, out.p, fault);
            return out.get();
        }
        CUDA_LAUNCH((async_kernel), 1, 32, 0, nullptr, in.p, out.p, fault);
        return out.get();
    };
    expect("copies", nullptr, [&] {
        std::vector<float> got = run(0), want = numbers(128);
        CHECK(got[0] == want[5] && got[31] == want[1] && got[32] == want[7]);
        CHECK(got[32 + 30] == 0); /* byte 12 of the copy of 8 */
    });
    expect("others' copies without a barrier", "race: reads", [&] { run(1); });
    expect("no wait", "is copying to", [&] { run(2); });
    expect("no barrier after the wait", "race: reads", [&] { run(3); });
    expect("a copy beyond the end", "outside every device array", [&] { run(4); });
}

CUDA_KERNEL(32) mma_kernel(Global<const bf16> a, Global<const bf16> b, Global<float> d)
{
    /* a [16, 16], b [16, 8] stored by columns (b[n * 16 + k]), d [16, 8] */
    CUDA_SHARED(bf16, sa, 256);
    CUDA_SHARED(bf16, sb, 128);
    int lane = (int)threadIdx.x;
    store_vec(sa + 8 * lane, load_vec<8>(a + 8 * lane));
    if (lane < 16)
        store_vec(sb + 8 * lane, load_vec<8>(b + 8 * lane));
    block_sync();
    uint32_t ra[4], rb[2];
    load_matrix_x4(ra, sa + (lane % 16) * 16 + lane / 16 * 8);
    load_matrix_x2(rb, sb + lane % 8 * 16 + lane / 8 % 2 * 8);
    float acc[4] = {1, 1, 1, 1};
    mma_bf16(acc, ra, rb);
    int g = lane / 4, i = lane % 4;
    for (int r = 0; r < 4; r++)
        d[(g + 8 * (r / 2)) * 8 + 2 * i + r % 2] = acc[r];
}

CUDA_KERNEL(32) transpose_kernel(Global<const bf16> in, Global<bf16> out)
{
    CUDA_SHARED(bf16, s, 256);
    int lane = (int)threadIdx.x;
    store_vec(s + 8 * lane, load_vec<8>(in + 8 * lane));
    block_sync();
    uint32_t r[4];
    load_matrix_x4_transposed(r, s + 8 * lane);
    for (int m = 0; m < 4; m++)
        for (int half = 0; half < 2; half++)
            out[m * 64 + lane / 4 * 8 + lane % 4 * 2 + half] = bf16{(uint16_t)(r[m] >> 16 * half)};
}

static void test_tensor_cores(void)
{
    std::vector<bf16> a(256), b(128);
    for (size_t i = 0; i < a.size(); i++)
        a[i] = bf16_of((float)(i * 29 % 61) - 30);
    for (size_t i = 0; i < b.size(); i++)
        b[i] = bf16_of((float)(i * 17 % 43) - 20);
    expect("mma", nullptr, [&] {
        Array<bf16> da(a), db(b);
        Array<float> d(128);
        CUDA_LAUNCH((mma_kernel), 1, 32, 0, nullptr, da.p, db.p, d.p);
        std::vector<float> got = d.get();
        for (size_t m = 0; m < 16; m++)
            for (size_t n = 0; n < 8; n++) {
                float want = 1; /* small whole numbers: exact in any order */
                for (size_t k = 0; k < 16; k++)
                    want += f32_of(a[m * 16 + k]) * f32_of(b[n * 16 + k]);
                CHECK_MSG(got[m * 8 + n] == want, "[%zu, %zu] is %g, expected %g", m, n, (double)got[m * 8 + n], (double)want);
            }
    });
    expect("transposed matrices", nullptr, [&] {
        Array<bf16> in(a), out(256);
        CUDA_LAUNCH((transpose_kernel), 1, 32, 0, nullptr, in.p, out.p);
        std::vector<bf16> got = out.get();
        for (size_t m = 0; m < 4; m++)
            for (size_t i = 0; i < 8; i++)
                for (size_t j = 0; j < 8; j++)
                    CHECK(got[m * 64 + i * 8 + j].bits == a[m * 64 + j * 8 + i].bits);
    });
}

static void test_bf16_rounds_to_nearest_even(void)
{
    CHECK(bf16_of(1.0f).bits == 0x3F80 && bf16_of(1.00390625f).bits == 0x3F80 && bf16_of(1.01171875f).bits == 0x3F82);
    CHECK(bf16_of(3.4028235e38f).bits == 0x7F80 && bf16_of(NAN).bits == 0x7FFF && bf16_of(-0.0f).bits == 0x8000);
    CHECK(f32_of(f16{0x3C00}) == 1 && f32_of(f16{0x0001}) == 0x1p-24f && f32_of(f16{0xFC00}) == -INFINITY);
    CHECK(bf16_pair(1, 2) == 0x40003F80u);
}

/* ---- streams ---- */

CUDA_KERNEL(32) add_one_kernel(Global<int> x)
{
    x[threadIdx.x] = x[threadIdx.x] + 1;
}

/* Data goes up on one stream and is used on another. */
static size_t wrong_sums(bool wait)
{
    size_t wrong = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        emu_seed(seed);
        cudaStream_t copies, compute;
        cudaEvent_t event;
        cudaStreamCreateWithFlags(&copies, cudaStreamNonBlocking);
        cudaStreamCreateWithFlags(&compute, cudaStreamNonBlocking);
        cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
        Array<int> x(std::vector<int>(32, 0));
        int *pinned;
        cudaMallocHost((void **)&pinned, 128);
        for (int i = 0; i < 32; i++)
            pinned[i] = 10;
        cudaMemcpyAsync(x.p, pinned, 128, cudaMemcpyHostToDevice, copies);
        cudaEventRecord(event, copies);
        if (wait)
            cudaStreamWaitEvent(compute, event, 0);
        CUDA_LAUNCH((add_one_kernel), 1, 32, 0, compute, x.p);
        cudaStreamSynchronize(compute);
        wrong += x.get()[3] != 11;
        cudaFreeHost(pinned);
        cudaEventDestroy(event);
        cudaStreamDestroy(copies);
        cudaStreamDestroy(compute);
    }
    return wrong;
}

static void test_streams_run_in_any_legal_order(void)
{
    CHECK(wrong_sums(true) == 0);
    emu_quiet(true);
    CHECK(wrong_sums(false) > 5);
    emu_quiet(false);
    emu_clear();
}

/* Two streams and what lies between them; reported whatever order the seed chose. */
struct Streams {
    cudaStream_t a, b;
    cudaEvent_t event;
    int *pinned;
    Array<int> x;
    Streams() : x(std::vector<int>(32, 0))
    {
        cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
        cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking);
        cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
        cudaMallocHost((void **)&pinned, 128);
        memset(pinned, 0, 128);
    }
    ~Streams()
    {
        cudaFreeHost(pinned);
        cudaEventDestroy(event);
        cudaStreamDestroy(a);
        cudaStreamDestroy(b);
    }
};

static void test_order_of_streams(void)
{
    auto two = [](bool record, bool wait) {
        return [=] {
            Streams s;
            CUDA_LAUNCH((add_one_kernel), 1, 32, 0, s.a, s.x.p);
            if (record)
                cudaEventRecord(s.event, s.a);
            if (wait)
                cudaStreamWaitEvent(s.b, s.event, 0);
            CUDA_LAUNCH((add_one_kernel), 1, 32, 0, s.b, s.x.p);
        };
    };
    expect("an event between two streams", nullptr, two(true, true));
    expect("no wait between two streams", "that another stream uses", two(true, false));
    expect("no record between two streams", "that another stream uses", two(false, true));
    expect("the host waits between two streams", nullptr, [] {
        Streams s;
        CUDA_LAUNCH((add_one_kernel), 1, 32, 0, s.a, s.x.p);
        cudaStreamSynchronize(s.a);
        CUDA_LAUNCH((add_one_kernel), 1, 32, 0, s.b, s.x.p);
    });
    expect("the host waits for another stream", "that another stream uses", [] {
        Streams s;
        CUDA_LAUNCH((add_one_kernel), 1, 32, 0, s.a, s.x.p);
        cudaStreamSynchronize(s.b);
        CUDA_LAUNCH((add_one_kernel), 1, 32, 0, s.b, s.x.p);
    });
    expect("an event recorded too early", "that another stream uses", [] {
        Streams s;
        cudaEventRecord(s.event, s.a);
        CUDA_LAUNCH((add_one_kernel), 1, 32, 0, s.a, s.x.p);
        cudaStreamWaitEvent(s.b, s.event, 0);
        CUDA_LAUNCH((add_one_kernel), 1, 32, 0, s.b, s.x.p);
    });
    expect("a copy over what a kernel reads", "race: writes", [] {
        Streams s;
        CUDA_LAUNCH((add_one_kernel), 1, 32, 0, s.a, s.x.p);
        cudaMemcpyAsync(s.x.p, s.pinned, 128, cudaMemcpyHostToDevice, s.b);
    });
    expect("two streams read", nullptr, [] {
        Streams s;
        cudaMemcpyAsync(s.pinned, s.x.p, 64, cudaMemcpyDeviceToHost, s.a);
        cudaMemcpyAsync(s.pinned + 16, s.x.p, 64, cudaMemcpyDeviceToHost, s.b);
    });
}

static void test_the_host_and_pinned_memory(void)
{
    expect("written before it was copied", "has written to pinned memory", [] {
        for (int i = 0; i < 8; i++) { /* at times the copy runs at once */
            Streams s;
            cudaMemcpyAsync(s.x.p, s.pinned, 128, cudaMemcpyHostToDevice, s.a);
            s.pinned[7] = 1;
        }
    });
    expect("written after an event", nullptr, [] {
        Streams s;
        for (int i = 0; i < 8; i++) {
            s.pinned[7] = i;
            cudaMemcpyAsync(s.x.p, s.pinned, 128, cudaMemcpyHostToDevice, s.a);
            cudaEventRecord(s.event, s.a);
            cudaEventSynchronize(s.event);
        }
    });
    expect("down, and up from there", nullptr, [] {
        Streams s;
        cudaMemcpyAsync(s.pinned, s.x.p, 128, cudaMemcpyDeviceToHost, s.a);
        cudaMemcpyAsync(s.x.p, s.pinned, 128, cudaMemcpyHostToDevice, s.a);
        CHECK(s.x.get()[3] == 0);
    });
    int early = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) { /* what will be written there is not what lies there */
        emu_seed(seed);
        Streams s;
        cudaMemcpyAsync(s.pinned, s.x.p, 128, cudaMemcpyDeviceToHost, s.a);
        early += s.pinned[3] != 0;
        cudaStreamSynchronize(s.a);
        CHECK(s.pinned[3] == 0);
    }
    CHECK(early > 20);
}

static void test_memory_is_counted(void)
{
    size_t before = emu_allocated();
    {
        Array<char> a(1000), b(24);
        CHECK(emu_allocated() == before + 1024);
        emu_memory_limit(before + 2000);
        void *p;
        CHECK(cudaMalloc(&p, 1000) == cudaErrorMemoryAllocation && !p);
        CHECK(cudaMalloc(&p, 900) == cudaSuccess);
        cudaFree(p);
        emu_memory_limit(0);
        cudaGetLastError();
    }
    CHECK(emu_allocated() == before);
}

int main(void)
{
    RUN(test_barriers);
    RUN(test_races_in_shared_memory);
    RUN(test_dynamic_shared_memory);
    RUN(test_divergence);
    RUN(test_warps);
    RUN(test_device_memory);
    RUN(test_the_host_cannot_touch_device_memory);
    RUN(test_async_copies);
    RUN(test_tensor_cores);
    RUN(test_bf16_rounds_to_nearest_even);
    RUN(test_streams_run_in_any_legal_order);
    RUN(test_order_of_streams);
    RUN(test_the_host_and_pinned_memory);
    RUN(test_memory_is_counted);
    return test_finish();
}
