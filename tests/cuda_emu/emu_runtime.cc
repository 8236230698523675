/* emu_runtime.cc: the fake CUDA runtime: memory, copies and the device, a made-up one; streams and events are emu_streams.cc's. Copies from
 * pageable host memory take their bytes at the call and copies to it are done when the call returns, as in CUDA; pinned memory is read and
 * written when the copy's turn comes. Until then the host may neither read nor write it: what a copy will write there is spoilt at the
 * call, what it will read is looked at again when it runs. */
#include "tests/cuda_emu/emu_core.hh"

#include <algorithm>
#include <list>
#include <map>
#include <memory>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace emu;

static cudaError_t last_error;
static bool device_lost; /* a kernel failed: every call says so from then on, as CUDA does */
static bool some_thread_chose;
static thread_local bool this_thread_chose;

/* ---- memory ---- */

static const size_t ARENA = (size_t)64 << 30;
static char *arena, *arena_bytes;
static size_t arena_used, allocated, most_allocated, memory_limit;
static std::map<char *, size_t> device_blocks;
static std::map<char *, std::pair<size_t, bool>> pinned_blocks; /* bytes, ours */
static std::map<const void *, size_t> shared_limits;
static size_t most_shared = 227 * 1024; /* a block's, of the device */

static void arena_open()
{
    if (arena)
        return;
    int fd = memfd_create("emu", 0);
    if (fd < 0 || ftruncate(fd, (off_t)ARENA) != 0) {
        perror("emu: device memory");
        exit(1);
    }
    void *seen = mmap(nullptr, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *bytes = mmap(nullptr, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    close(fd);
    if (seen == MAP_FAILED || bytes == MAP_FAILED) {
        perror("emu: device memory");
        exit(1);
    }
    arena = (char *)seen;
    arena_bytes = (char *)bytes;
    arena_used = 4096;
}

static cudaError_t failed(cudaError_t e)
{
    last_error = e;
    return e;
}

/* For tests of what becomes of failures: the call that fails, counted down. */
static size_t calls_until_failure;
static bool a_call_failed;

static bool fails_now()
{
    if (!calls_until_failure || --calls_until_failure)
        return false;
    return a_call_failed = true;
}

cudaError_t emu::state()
{
    return device_lost ? failed(cudaErrorLaunchFailure) : fails_now() ? failed(cudaErrorUnknown) : cudaSuccess;
}

bool emu::device_is_lost()
{
    return device_lost;
}

/* Each thread has a current device of its own, at first number 0: where one thread names the device, all that use it must. */
void emu::check_chosen(const char *what)
{
    if (some_thread_chose && !this_thread_chose)
        report_place(Place{what, 0}, "by a thread that has not set its device");
}

void emu::launch(const char *kernel, Place place, const void *function, dim3 grid, dim3 block_dim, size_t shared_bytes,
                 cudaStream_t stream, std::function<void()> body)
{
    check_chosen(kernel);
    if (!launch_fits(kernel, place, function, grid, block_dim, shared_bytes)) {
        last_error = cudaErrorInvalidConfiguration;
        return;
    }
    if (fails_now()) {
        last_error = cudaErrorUnknown;
        return;
    }
    enqueue(stream, [=]() {
        run_launch(kernel, place, grid, block_dim, shared_bytes, body);
        if (block.failed)
            device_lost = true;
    });
}

size_t emu::shared_limit_of(const void *function)
{
    auto it = shared_limits.find(function);
    return it == shared_limits.end() ? 48 * 1024 : it->second;
}

size_t emu::shared_most()
{
    return most_shared;
}

/* Whether [p, p + bytes) is device memory, whole. Half in is reported. */
static bool on_device(const void *p, size_t bytes, const char *what)
{
    Region *r = region_of(p);
    if (r && !r->pinned && (const char *)p + bytes > r->end)
        report_place(Place{what, 0}, "%zu bytes reach beyond the end of a device array by %td", bytes,
                     (const char *)p + bytes - r->end);
    if (!r && (const char *)p >= arena && (const char *)p < arena + ARENA && arena)
        report_place(Place{what, 0}, "device memory that is not allocated");
    return r && !r->pinned && (const char *)p + bytes <= r->end;
}

static bool is_pinned(const void *p, size_t bytes)
{
    Region *r = region_of(p);
    return r && r->pinned && (const char *)p + bytes <= r->end;
}

static void check_written(const char *p, size_t bytes, const char *what)
{
    Region *r = region_of(p);
    for (size_t i = (size_t)(p - r->base) / GRANULE; i <= ((size_t)(p - r->base) + bytes - 1) / GRANULE; i++)
        if (!r->cells[i].written) {
            report_place(Place{what, 0}, "byte %zu of a device array goes to the host, but nothing has written it",
                         i * GRANULE);
            return;
        }
}

static void move_row(char *to, const char *from, size_t width)
{
    Region *a = region_of(to), *b = region_of(from);
    check_order(from, width, false);
    check_order(to, width, true);
    memmove(a && !a->pinned ? to + a->shift : to, b && !b->pinned ? from + b->shift : from, width);
    if (!a || a->pinned)
        return;
    if (!b || b->pinned) {
        mark_written(to, width, true);
        return;
    }
    for (size_t i = 0; i < width; i += GRANULE)
        a->cells[((size_t)(to - a->base) + i) / GRANULE].written = b->cells[((size_t)(from - b->base) + i) / GRANULE].written;
}

/* Pinned memory of ours that a copy in some queue will read or write. */
struct PinnedUse {
    const char *begin, *end;
    bool writes;
};
static std::list<PinnedUse> pinned_uses;

/* NULL where it is none, or where another copy that is still to come makes what lies there legitimate. */
static PinnedUse *pinned_use(const void *p, size_t bytes, bool writes)
{
    auto it = pinned_blocks.upper_bound((char *)const_cast<void *>(p));
    if (!is_pinned(p, bytes) || it == pinned_blocks.begin() || !(--it)->second.second)
        return nullptr;
    const char *begin = (const char *)p, *end = begin + bytes;
    for (const PinnedUse &u : pinned_uses)
        if (begin < u.end && u.begin < end && (writes || u.writes))
            return nullptr;
    pinned_uses.push_back(PinnedUse{begin, end, writes});
    return &pinned_uses.back();
}

static void pinned_used(const PinnedUse *use)
{
    pinned_uses.remove_if([=](const PinnedUse &u) { return &u == use; });
}

static uint64_t sum_of(const void *p, size_t pitch, size_t width, size_t height)
{
    uint64_t sum = 0;
    for (size_t r = 0; r < height; r++) {
        const char *row = (const char *)p + r * pitch;
        for (size_t i = 0; i < width; i += 8) {
            uint64_t some = 0;
            memcpy(&some, row + i, std::min(width - i, (size_t)8));
            sum = (sum ^ some) * 0x9E3779B97F4A7C15u;
            sum ^= sum >> 29;
        }
    }
    return sum;
}

static cudaError_t copy_2d(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                           cudaMemcpyKind kind, cudaStream_t stream, bool blocking)
{
    if (!width || !height)
        return state();
    if (to_pitch < width || from_pitch < width)
        return failed(cudaErrorInvalidValue);
    size_t to_bytes = (height - 1) * to_pitch + width, from_bytes = (height - 1) * from_pitch + width;
    bool to_device = on_device(to, to_bytes, "copy"), from_device = on_device(from, from_bytes, "copy");
    bool fits =
        kind == cudaMemcpyDefault || (to_device == (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) &&
                                      from_device == (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice));
    if (!fits) {
        report_place(Place{"cudaMemcpy", 0}, "kind %d, but the target is on the %s and the source on the %s", (int)kind,
                     to_device ? "device" : "host", from_device ? "device" : "host");
        return failed(cudaErrorInvalidValue);
    }
    auto rows = [=](const char *source, size_t pitch) {
        for (size_t r = 0; r < height; r++) {
            if (from_device && !to_device)
                check_written(source + r * pitch, width, "copy");
            move_row((char *)to + r * to_pitch, source + r * pitch, width);
        }
    };
    PinnedUse *reads = pinned_use(from, from_bytes, false), *writes = pinned_use(to, to_bytes, true);
    uint64_t sum = reads ? sum_of(from, from_pitch, width, height) : 0;
    if (writes)
        for (size_t r = 0; r < height; r++)
            memset((char *)to + r * to_pitch, 0xFB, width);
    auto begun = [=]() {
        if (reads && sum != sum_of(from, from_pitch, width, height))
            report_place(Place{"copy", 0}, "the host has written to pinned memory that was still to be copied");
        pinned_used(reads);
        pinned_used(writes);
    };
    if (!from_device && !is_pinned(from, from_bytes)) { /* staged: the caller may change it at once */
        auto staged = std::make_shared<std::vector<char>>(width * height);
        for (size_t r = 0; r < height; r++)
            memcpy(staged->data() + r * width, (const char *)from + r * from_pitch, width);
        enqueue(stream, [=]() {
            begun();
            rows(staged->data(), width);
        });
    } else {
        enqueue(stream, [=]() {
            begun();
            rows((const char *)from, from_pitch);
        });
    }
    if (blocking || (!to_device && !is_pinned(to, to_bytes)))
        return cudaStreamSynchronize(stream);
    return state();
}

extern "C" {

void emu_fail_call(size_t n)
{
    calls_until_failure = n;
    a_call_failed = false;
    last_error = cudaSuccess;
}

bool emu_call_failed(void)
{
    return a_call_failed;
}

void emu_shared_limit(size_t bytes)
{
    most_shared = bytes;
}

void emu_memory_limit(size_t bytes)
{
    memory_limit = bytes;
}

size_t emu_allocated(void)
{
    return allocated;
}

size_t emu_most_allocated(void)
{
    return most_allocated;
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    arena_open();
    *p = nullptr;
    check_chosen("cudaMalloc");
    if (device_lost || fails_now())
        return failed(device_lost ? cudaErrorLaunchFailure : cudaErrorMemoryAllocation);
    if (!bytes)
        return cudaSuccess;
    size_t whole = (bytes + 255) / 256 * 256 + 4096;
    if ((memory_limit && allocated + bytes > memory_limit) || arena_used + whole > ARENA)
        return failed(cudaErrorMemoryAllocation);
    *p = arena + arena_used;
    region_add(*p, bytes, arena_bytes - arena, false);
    device_blocks[(char *)*p] = bytes;
    arena_used += whole;
    allocated += bytes;
    most_allocated = std::max(most_allocated, allocated);
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    if (!p)
        return cudaSuccess;
    wait_for_all();
    auto it = device_blocks.find((char *)p);
    if (it == device_blocks.end()) {
        report_place(Place{"cudaFree", 0}, "an address that cudaMalloc did not give, or freed twice");
        return failed(cudaErrorInvalidValue);
    }
    allocated -= it->second;
    region_drop(p);
    char *first = (char *)(((uintptr_t)p + 4095) & ~(uintptr_t)4095),
         *last = (char *)(((uintptr_t)p + it->second) & ~(uintptr_t)4095);
    if (last > first)
        madvise(first + (arena_bytes - arena), (size_t)(last - first), MADV_REMOVE);
    device_blocks.erase(it);
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags)
{
    (void)flags;
    *p = nullptr;
    if (fails_now())
        return failed(cudaErrorMemoryAllocation);
    *p = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096 + (bytes ? 0 : 4096));
    if (!*p)
        return failed(cudaErrorMemoryAllocation);
    region_add(*p, bytes ? bytes : 1, 0, true);
    pinned_blocks[(char *)*p] = {bytes, true};
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    return cudaHostAlloc(p, bytes, 0);
}

static cudaError_t unpin(void *p, bool ours)
{
    wait_for_all();
    auto it = pinned_blocks.find((char *)p);
    if (it == pinned_blocks.end() || it->second.second != ours) {
        report_place(Place{"cudaFreeHost", 0}, "host memory that was not pinned this way");
        return failed(cudaErrorInvalidValue);
    }
    region_drop(p);
    pinned_blocks.erase(it);
    if (ours)
        free(p);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p)
{
    return p ? unpin(p, true) : cudaSuccess;
}

cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned flags)
{
    (void)flags;
    region_add(p, bytes, 0, true);
    pinned_blocks[(char *)p] = {bytes, false};
    return cudaSuccess;
}

cudaError_t cudaHostGetDevicePointer(void **device, void *host, unsigned flags)
{
    (void)flags;
    *device = host;
    return is_pinned(host, 1) ? cudaSuccess : failed(cudaErrorInvalidValue);
}

cudaError_t cudaHostUnregister(void *p)
{
    return unpin(p, false);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream)
{
    return copy_2d(to, to_pitch, from, from_pitch, width, height, kind, stream, false);
}

cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                         cudaMemcpyKind kind)
{
    return copy_2d(to, to_pitch, from, from_pitch, width, height, kind, nullptr, true);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    return copy_2d(to, bytes, from, bytes, bytes, 1, kind, stream, false);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return copy_2d(to, bytes, from, bytes, bytes, 1, kind, nullptr, true);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    if (!bytes)
        return state();
    if (!on_device(to, bytes, "cudaMemset"))
        return failed(cudaErrorInvalidValue);
    enqueue(stream, [=]() {
        memset(emu_peek(to), value, bytes);
        check_order(to, bytes, true);
        mark_written(to, bytes, true);
    });
    return state();
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    return cudaMemsetAsync(to, value, bytes, nullptr);
}

/* ---- the device ---- */

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    some_thread_chose = this_thread_chose = true;
    return device == 0 ? state() : failed(cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    *p = cudaDeviceProp();
    snprintf(p->name, sizeof p->name, "emulated device");
    p->totalGlobalMem = memory_limit ? memory_limit : (size_t)8 << 30;
    p->sharedMemPerBlock = 48 * 1024;
    p->sharedMemPerBlockOptin = most_shared;
    p->major = 9;
    p->multiProcessorCount = 3;
    p->l2CacheSize = 1 << 20;
    p->maxThreadsPerBlock = 1024;
    p->warpSize = 32;
    return device == 0 ? cudaSuccess : failed(cudaErrorInvalidDevice);
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    struct cudaDeviceProp p;
    cudaError_t e = cudaGetDeviceProperties(&p, device);
    *value = attribute == cudaDevAttrMultiProcessorCount            ? p.multiProcessorCount
             : attribute == cudaDevAttrL2CacheSize                  ? p.l2CacheSize
             : attribute == cudaDevAttrComputeCapabilityMajor       ? p.major
             : attribute == cudaDevAttrComputeCapabilityMinor       ? p.minor
             : attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? (int)p.sharedMemPerBlockOptin
                                                                    : (int)p.sharedMemPerBlock;
    return e;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    *total_bytes = memory_limit ? memory_limit : (size_t)8 << 30;
    *free_bytes = *total_bytes > allocated ? *total_bytes - allocated : 0;
    return cudaSuccess;
}

cudaError_t cudaDeviceReset(void)
{
    wait_for_all();
    device_lost = false;
    last_error = cudaSuccess;
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute attribute, int value)
{
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
        return cudaSuccess;
    if (value < 0 || (size_t)value > most_shared)
        return failed(cudaErrorInvalidValue);
    shared_limits[kernel] = (size_t)value;
    return state();
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t e = last_error;
    last_error = cudaSuccess;
    return e;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "no error";
    case cudaErrorInvalidValue:
        return "invalid argument";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorNoDevice:
        return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
        return "invalid device ordinal";
    case cudaErrorNotReady:
        return "device not ready";
    case cudaErrorLaunchFailure:
        return "unspecified launch failure";
    case cudaErrorInsufficientDriver:
    case cudaErrorUnknown:
        break;
    }
    return "unknown error";
}

const char *cudaGetErrorName(cudaError_t error)
{
    return cudaGetErrorString(error);
}
}
