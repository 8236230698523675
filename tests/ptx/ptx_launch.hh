/* ptx_launch.hh: the host's half of kernels/cuda for tests/ptx/run.sh, in the place of emu_device.hh: CUDA_LAUNCH(k) runs what
 * ptx_to_cpp.py made of nvcc's PTX of k. Pointers are plain ones, so that arguments lie in memory as nvcc lays them out. The C++ bodies of
 * the kernels are compiled along, as they stand in the same files, and never run: the words of device code are there by name only. */
#ifndef STRATA_TESTS_PTX_LAUNCH_HH
#define STRATA_TESTS_PTX_LAUNCH_HH

#include <cuda_runtime_api.h>
#include <math.h>
#include <string.h>
#include <type_traits>
#include <vector>

#define CUDA_KERNEL(max_threads) __attribute__((visibility("default"))) void
#define DEVICE_FN inline __attribute__((unused))
#define CUDA_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    ptx::launch(#kernel, __FILE__, __LINE__, (const void *)(kernel), dim3(grid), dim3(block), (shared_bytes), (stream), \
                ptx::pack(kernel, __VA_ARGS__))
#define CUDA_SHARED(T, name, n) T name[n]
#define CUDA_SHARED_DYNAMIC(name) unsigned char name[1]

template <typename T> using Global = T *;
template <typename T> using Shared = T *;

namespace ptx
{

void launch(const char *kernel, const char *file, int line, const void *function, dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, std::vector<unsigned char> params);

template <typename T> void pack_one(std::vector<unsigned char> &to, const T &v)
{
    size_t at = (to.size() + alignof(T) - 1) / alignof(T) * alignof(T);
    to.resize(at + sizeof v);
    memcpy(to.data() + at, (const void *)&v, sizeof v);
}

template <typename T> struct Same { /* keeps an argument out of deduction */
    typedef T type;
};

template <typename... P> std::vector<unsigned char> pack(void (*)(P...), typename Same<P>::type... args)
{
    std::vector<unsigned char> to;
    (pack_one<P>(to, args), ...);
    return to;
}

} // namespace ptx

/* ---- device code: names ---- */

#define NEVER_RUN \
    { \
        __builtin_trap(); \
    } \
    static_assert(true, "")
static dim3 threadIdx, blockIdx, blockDim, gridDim;
template <typename T> T *shared_part(unsigned char *, size_t, size_t) NEVER_RUN;
template <typename U, typename T> U *pointer_cast(T *) NEVER_RUN;
template <typename T> bool is_aligned(T *, size_t) NEVER_RUN;
template <int N, typename T> Vec<typename std::remove_const<T>::type, N> load_vec(T *) NEVER_RUN;
template <int N, typename T> void store_vec(T *, const Vec<T, N> &) NEVER_RUN;
static inline void block_sync() NEVER_RUN;
static inline bool block_any(bool) NEVER_RUN;
static inline void warp_sync(unsigned = 0) NEVER_RUN;
template <typename T> T warp_shuffle(T, int, unsigned = 0) NEVER_RUN;
template <typename T> T warp_shuffle_xor(T, int, unsigned = 0) NEVER_RUN;
template <typename T> T warp_shuffle_down(T, int, unsigned = 0) NEVER_RUN;
template <typename T> T warp_shuffle_up(T, int, unsigned = 0) NEVER_RUN;
static inline unsigned warp_ballot(bool, unsigned = 0) NEVER_RUN;
static inline bool warp_any(bool, unsigned = 0) NEVER_RUN;
static inline bool warp_all(bool, unsigned = 0) NEVER_RUN;
static inline void async_copy16(void *, const void *, int = 16) NEVER_RUN;
static inline void async_copy_commit() NEVER_RUN;
template <int N> void async_copy_wait() NEVER_RUN;
static inline void load_matrix_x4(uint32_t (&)[4], const void *) NEVER_RUN;
static inline void load_matrix_x4_transposed(uint32_t (&)[4], const void *) NEVER_RUN;
static inline void load_matrix_x2(uint32_t (&)[2], const void *) NEVER_RUN;
static inline void load_matrix_x2_transposed(uint32_t (&)[2], const void *) NEVER_RUN;
static inline void mma_bf16(float (&)[4], const uint32_t (&)[4], const uint32_t (&)[2]) NEVER_RUN;
static inline int count_bits(unsigned) NEVER_RUN;
static inline float fast_exp2(float) NEVER_RUN;
static inline float fast_rcp(float) NEVER_RUN;
static inline bf16 bf16_of(float) NEVER_RUN;
static inline uint32_t bf16_pair(float, float) NEVER_RUN;
static inline float f32_of(f16) NEVER_RUN;

#endif
