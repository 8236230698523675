/* cuda_device.cuh: THE seam between our kernels and the machine. Device code says what it does to threads, warps and memory in the
 * words of this header only. nvcc turns each into the plain instruction, at no cost; g++ takes tests/cuda_emu's header
 * instead (emu_device.hh), in which every word is checked while it runs on the processor. No cub, thrust or cooperative groups.
 *
 *   CUDA_KERNEL(n) void f(...)      a kernel launched with at most n threads a block (a multiple of 32)
 *   DEVICE_FN T g(...)              a function of device code
 *   CUDA_LAUNCH((f), grid, block, shared_bytes, stream, args...)    launch; (f<A, B>) in parentheses, grid and block int or dim3
 *   Global<T>                       a pointer into device memory: kernel parameters, members of argument structs; made from T *
 *   Shared<T>                       a pointer into shared memory
 *   CUDA_SHARED(T, name, n)         n elements of static shared memory, 16-byte aligned
 *   CUDA_SHARED_DYNAMIC(name)       Shared<unsigned char>, the bytes given at launch, 16-byte aligned
 *   shared_part<T>(name, first_byte, n)     n elements of it: bounds are checked against this part
 *   pointer_cast<U>(p), is_aligned(p, bytes)      the same place as another type; whether it is a multiple of bytes
 * Pointers are indexed (p[i], p + i) and compared with nullptr; read an element into a variable of its type, never into auto.
 *
 *   load_vec<N>(p), store_vec(p, v)     Vec<T, N> at once: N * sizeof(T) is 2, 4, 8 or 16 bytes and p aligned to it
 *   block_sync(), block_any(p)          all threads of the block, at one place of the source
 *   warp_sync(mask), warp_shuffle(v, lane, mask), warp_shuffle_xor(v, bits, mask), warp_shuffle_down(v, n, mask),
 *   warp_shuffle_up(v, n, mask), warp_ballot(p, mask), warp_any(p, mask), warp_all(p, mask)      every lane of the mask, no other;
 *                                       mask defaults to the whole warp. Shuffles do not order memory, warp_sync() does.
 *   atomic_add, atomic_max, atomic_min, atomic_exchange (p, v), atomic_cas(p, expected, v)       give what was there before
 *   async_copy16(to, from, bytes)       16 bytes to shared memory, of them `bytes` (0 to 16) from global, the rest zero
 *   async_copy_commit(), async_copy_wait<N>()      all but the latest N groups of this thread have arrived (others: block_sync() after)
 *   load_matrix_x4(r, row), _x4_transposed, _x2, _x2_transposed       ldmatrix: lane l gives row l % 8 of matrix l / 8, 16 bytes
 *   mma_bf16(d, a, b)                   d += a b: m16n8k16, bf16 in, f32 out (mma.sync; registers laid out as PTX says)
 *   fast_exp2(x), fast_rcp(x)           2 ULP approximations; results below 2^-126 are 0
 *   fast_exp(x)                         e^x to 2 + |x| ULP
 *   count_bits(x)                       of an unsigned, those set
 *
 * Rules that the emulation enforces: blocks of a launch never depend on one another (no fences, no last block: launch again); all
 * threads reach every block_sync(), none returns before it; block sizes are multiples of 32 wherever warps speak. */
#ifndef STRATA_CUDA_DEVICE_CUH
#define STRATA_CUDA_DEVICE_CUH

#include <stddef.h>
#include <stdint.h>

extern "C++" {
#include "kernels/exact/exact_math.h" /* exact_bits_f32, exact_of_bits_f32 */
}

#define WARP_ALL 0xffffffffu

typedef struct bf16 {
    uint16_t bits;
} bf16;

typedef struct f16 {
    uint16_t bits;
} f16;

template <typename T, int N> struct alignas(sizeof(T) * N) Vec {
    T at[N];
};

#ifndef __CUDACC__
#include <emu_device.hh>
#else
#include <type_traits>

#define CUDA_KERNEL(max_threads) __global__ void __launch_bounds__(max_threads)
#define DEVICE_FN __device__ __forceinline__
#define CUDA_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)
#define CUDA_SHARED(T, name, n) __shared__ __align__(16) T name[n]
#define CUDA_SHARED_DYNAMIC(name) extern __shared__ __align__(16) unsigned char name[]

template <typename T> using Global = T *;
template <typename T> using Shared = T *;

template <typename T> DEVICE_FN Shared<T> shared_part(unsigned char *base, size_t first_byte, size_t)
{
    return reinterpret_cast<T *>(base + first_byte);
}

template <typename U, typename T> DEVICE_FN U *pointer_cast(T *p)
{
    return reinterpret_cast<U *>(p);
}

template <typename T> DEVICE_FN bool is_aligned(T *p, size_t bytes)
{
    return reinterpret_cast<uintptr_t>(p) % bytes == 0;
}

template <int N, typename T> DEVICE_FN Vec<typename std::remove_const<T>::type, N> load_vec(T *p)
{
    return *reinterpret_cast<const Vec<typename std::remove_const<T>::type, N> *>(p);
}

template <int N, typename T> DEVICE_FN void store_vec(T *p, const Vec<T, N> &v)
{
    *reinterpret_cast<Vec<T, N> *>(p) = v;
}

DEVICE_FN void block_sync()
{
    __syncthreads();
}

DEVICE_FN bool block_any(bool p)
{
    return __syncthreads_or(p);
}

DEVICE_FN void warp_sync(unsigned mask = WARP_ALL)
{
    __syncwarp(mask);
}

template <typename T> DEVICE_FN T warp_shuffle(T v, int lane, unsigned mask = WARP_ALL)
{
    return __shfl_sync(mask, v, lane);
}

template <typename T> DEVICE_FN T warp_shuffle_xor(T v, int bits, unsigned mask = WARP_ALL)
{
    return __shfl_xor_sync(mask, v, bits);
}

template <typename T> DEVICE_FN T warp_shuffle_down(T v, int n, unsigned mask = WARP_ALL)
{
    return __shfl_down_sync(mask, v, n);
}

template <typename T> DEVICE_FN T warp_shuffle_up(T v, int n, unsigned mask = WARP_ALL)
{
    return __shfl_up_sync(mask, v, n);
}

DEVICE_FN unsigned warp_ballot(bool p, unsigned mask = WARP_ALL)
{
    return __ballot_sync(mask, p);
}

DEVICE_FN bool warp_any(bool p, unsigned mask = WARP_ALL)
{
    return __any_sync(mask, p);
}

DEVICE_FN bool warp_all(bool p, unsigned mask = WARP_ALL)
{
    return __all_sync(mask, p);
}

template <typename T> DEVICE_FN T atomic_add(T *p, T v)
{
    return atomicAdd(p, v);
}

template <typename T> DEVICE_FN T atomic_max(T *p, T v)
{
    return atomicMax(p, v);
}

template <typename T> DEVICE_FN T atomic_min(T *p, T v)
{
    return atomicMin(p, v);
}

template <typename T> DEVICE_FN T atomic_exchange(T *p, T v)
{
    return atomicExch(p, v);
}

template <typename T> DEVICE_FN T atomic_cas(T *p, T expected, T v)
{
    return atomicCAS(p, expected, v);
}

DEVICE_FN void async_copy16(void *to, const void *from, int bytes = 16)
{
    unsigned at = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(__cvta_generic_to_global(from)), "r"(bytes)
                 : "memory");
}

DEVICE_FN void async_copy_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int N> DEVICE_FN void async_copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

DEVICE_FN void load_matrix_x4(uint32_t (&r)[4], const void *row)
{
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

DEVICE_FN void load_matrix_x4_transposed(uint32_t (&r)[4], const void *row)
{
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

DEVICE_FN void load_matrix_x2(uint32_t (&r)[2], const void *row)
{
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(at) : "memory");
}

DEVICE_FN void load_matrix_x2_transposed(uint32_t (&r)[2], const void *row)
{
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(at)
                 : "memory");
}

DEVICE_FN void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

DEVICE_FN int count_bits(unsigned x)
{
    return __popc(x);
}

DEVICE_FN float fast_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

DEVICE_FN float fast_rcp(float x)
{
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Nearest even; two at once for a register of mma_bf16: low goes to the lower half. */
DEVICE_FN bf16 bf16_of(float x)
{
    uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bf16{bits};
}

DEVICE_FN uint32_t bf16_pair(float low, float high)
{
    uint32_t bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

DEVICE_FN float f32_of(f16 x)
{
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}

#endif /* __CUDACC__ */

DEVICE_FN float f32_of(bf16 x)
{
    return exact_of_bits_f32((uint32_t)x.bits << 16);
}

DEVICE_FN float f32_of(float x)
{
    return x;
}

DEVICE_FN float fast_exp(float x)
{
    return fast_exp2(1.4426950408889634f * x);
}

/* f32 to what an array of T holds: Narrow<T>::of(x). */
template <typename T> struct Narrow;
template <> struct Narrow<float> {
    static DEVICE_FN float of(float x)
    {
        return x;
    }
};
template <> struct Narrow<bf16> {
    static DEVICE_FN bf16 of(float x)
    {
        return bf16_of(x);
    }
};

#endif
