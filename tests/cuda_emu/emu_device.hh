/* emu_device.hh: the words of kernels/cuda/cuda_device.cuh for g++: every access and every meeting of threads goes through the
 * machine of emu_core.cc, which runs the threads of a block as fibers and reports what the execution model does not allow.
 *
 * A pointer carries the bounds of its array (shared memory), or is looked up among the allocations of the fake runtime (device
 * memory: there the address itself cannot be read by anyone; the bytes lie emu_shift away). */
#ifndef STRATA_TESTS_EMU_DEVICE_HH
#define STRATA_TESTS_EMU_DEVICE_HH

#include <math.h>
#include <string.h>

#include <cuda_runtime_api.h>
#include <functional>
#include <type_traits>

#define CUDA_KERNEL(max_threads) static void
#define DEVICE_FN inline __attribute__((always_inline, unused))
#define EMU_FN inline __attribute__((always_inline))

namespace emu
{

enum AccessKind { READ, WRITE, ATOMIC };
enum MeetKind { MEET_SYNC, MEET_SHUFFLE, MEET_VOTE, MEET_LOAD_MATRIX, MEET_MMA };

struct Dim {
    unsigned x, y, z;
};

struct Place { /* where in the source, for reports */
    const char *file;
    int line;
};

/* What the running thread knows of itself; null on the host. */
struct Self {
    Dim thread, block, threads, blocks;
};
extern const Self *self;

/* Checks an access; where the bytes lie, or null when it must not happen (reported). lo, hi: bounds, or null: look up. */
void *access(const void *p, size_t bytes, size_t align, AccessKind kind, const char *lo, const char *hi);
void before_atomic(); /* may let others run first */

/* All lanes of the mask arrive with a payload; the last one runs finish over them (null where not in the mask or gone). */
typedef void (*Finish)(void *const lanes[32], unsigned mask, Place place);
void meet(MeetKind kind, unsigned mask, void *payload, Finish finish, Place place);
void barrier(Place place, bool *any);

void *shared_array(const void *key, size_t bytes, const char *name);
void *shared_dynamic(size_t *bytes);

void async_copy(void *to, const char *lo, const char *hi, const void *from, int bytes);
void async_commit();
void async_wait(int groups_left);

void report(const char *format, ...) __attribute__((format(printf, 1, 2)));
void launch(const char *kernel, Place place, const void *function, dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, std::function<void()> body);

template <typename T> EMU_FN T poison()
{
    T v;
    memset((void *)&v, 0xFB, sizeof v);
    return v;
}

template <typename T> struct Ref {
    T *p;
    const char *lo, *hi;
    typedef typename std::remove_const<T>::type Value;

    EMU_FN operator Value() const
    {
        Value v;
        const void *at = access(p, sizeof v, alignof(T), READ, lo, hi);
        if (!at)
            return poison<Value>();
        memcpy((void *)&v, at, sizeof v);
        return v;
    }
    EMU_FN const Ref &operator=(const Value &v) const
    {
        static_assert(!std::is_const<T>::value, "a store through a pointer to const");
        if (void *at = access(p, sizeof v, alignof(T), WRITE, lo, hi))
            memcpy(at, (const void *)&v, sizeof v);
        return *this;
    }
    EMU_FN const Ref &operator=(const Ref &other) const
    {
        return *this = (Value)other;
    }
    EMU_FN const Ref &operator+=(const Value &v) const
    {
        return *this = (Value)((Value) * this + v);
    }
    EMU_FN const Ref &operator-=(const Value &v) const
    {
        return *this = (Value)((Value) * this - v);
    }
    EMU_FN const Ref &operator*=(const Value &v) const
    {
        return *this = (Value)((Value) * this * v);
    }
    Ref(T *at, const char *low, const char *high) : p(at), lo(low), hi(high)
    {
    }
    Ref(const Ref &) = default;
};

template <typename T> struct Ptr {
    T *p;
    const char *lo, *hi;

    Ptr() = default;
    Ptr(T *at) : p(at), lo(nullptr), hi(nullptr)
    {
    }
    Ptr(T *at, const char *low, const char *high) : p(at), lo(low), hi(high)
    {
    }
    /* As T * becomes const T *. */
    template <typename U, typename = typename std::enable_if<std::is_convertible<U *, T *>::value>::type>
    Ptr(const Ptr<U> &other) : p(other.p), lo(other.lo), hi(other.hi)
    {
    }
    template <typename I> EMU_FN Ref<T> operator[](I i) const
    {
        return Ref<T>(p + i, lo, hi);
    }
    EMU_FN Ref<T> operator*() const
    {
        return Ref<T>(p, lo, hi);
    }
    template <typename I, typename = typename std::enable_if<std::is_integral<I>::value>::type> EMU_FN Ptr operator+(I i) const
    {
        return Ptr(p + i, lo, hi);
    }
    template <typename I, typename = typename std::enable_if<std::is_integral<I>::value>::type> EMU_FN Ptr operator-(I i) const
    {
        return Ptr(p - i, lo, hi);
    }
    template <typename I> EMU_FN Ptr &operator+=(I i)
    {
        p += i;
        return *this;
    }
    EMU_FN ptrdiff_t operator-(const Ptr &other) const
    {
        return p - other.p;
    }
    EMU_FN explicit operator bool() const
    {
        return p != nullptr;
    }
    EMU_FN bool operator==(std::nullptr_t) const
    {
        return !p;
    }
    EMU_FN bool operator!=(std::nullptr_t) const
    {
        return p;
    }
    EMU_FN bool operator==(const Ptr &other) const
    {
        return p == other.p;
    }
};

template <typename T> struct Same { /* keeps an argument out of deduction */
    typedef T type;
};

} // namespace emu

template <typename T> using Global = emu::Ptr<T>;
template <typename T> using Shared = emu::Ptr<T>;

#define threadIdx (emu::self->thread)
#define blockIdx (emu::self->block)
#define blockDim (emu::self->threads)
#define gridDim (emu::self->blocks)

#define EMU_UNWRAP(...) __VA_ARGS__
#define CUDA_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    emu::launch(#kernel, emu::Place{__FILE__, __LINE__}, (const void *)(kernel), dim3(grid), dim3(block), (shared_bytes), \
                (stream), emu::bind_launch(kernel, __VA_ARGS__))
#define CUDA_SHARED(T, name, n) \
    static const char name##_key = 0; \
    emu::Ptr<T> name = emu::typed_array<T>(&name##_key, (n), #name)
#define CUDA_SHARED_DYNAMIC(name) \
    size_t name##_bytes; \
    unsigned char *name##_first = (unsigned char *)emu::shared_dynamic(&name##_bytes); \
    emu::Ptr<unsigned char> name(name##_first, (const char *)name##_first, (const char *)name##_first + name##_bytes)

namespace emu
{

template <typename... P> std::function<void()> bind_launch(void (*kernel)(P...), typename Same<P>::type... args)
{
    return [=]() { kernel(args...); };
}

template <typename T> EMU_FN Ptr<T> typed_array(const void *key, size_t n, const char *name)
{
    T *p = (T *)shared_array(key, n * sizeof(T), name);
    return Ptr<T>(p, (const char *)p, (const char *)(p + n));
}

} // namespace emu

template <typename T> DEVICE_FN Shared<T> shared_part(Shared<unsigned char> base, size_t first_byte, size_t n)
{
    unsigned char *at = base.p + first_byte;
    if (at < (unsigned char *)base.lo || (const char *)at + n * sizeof(T) > base.hi)
        emu::report("a part of %zu bytes from byte %zu on does not lie in the %td bytes of dynamic shared memory",
                    n * sizeof(T), first_byte, base.hi - base.lo);
    return Shared<T>((T *)(void *)at, (const char *)at, (const char *)at + n * sizeof(T));
}

template <typename U, typename T> DEVICE_FN emu::Ptr<U> pointer_cast(emu::Ptr<T> p)
{
    return emu::Ptr<U>((U *)(void *)const_cast<typename std::remove_const<T>::type *>(p.p), p.lo, p.hi);
}

template <typename T> DEVICE_FN bool is_aligned(emu::Ptr<T> p, size_t bytes)
{
    return (uintptr_t)p.p % bytes == 0;
}

template <int N, typename T> DEVICE_FN Vec<typename std::remove_const<T>::type, N> load_vec(emu::Ptr<T> p)
{
    typedef Vec<typename std::remove_const<T>::type, N> V;
    static_assert(sizeof(V) <= 16, "an access of more than 16 bytes");
    V v;
    const void *at = emu::access(p.p, sizeof v, sizeof v, emu::READ, p.lo, p.hi);
    if (!at)
        return emu::poison<V>();
    memcpy((void *)&v, at, sizeof v);
    return v;
}

template <int N, typename T> DEVICE_FN void store_vec(emu::Ptr<T> p, const Vec<T, N> &v)
{
    static_assert(sizeof v <= 16, "an access of more than 16 bytes");
    if (void *at = emu::access(p.p, sizeof v, sizeof v, emu::WRITE, p.lo, p.hi))
        memcpy(at, (const void *)&v, sizeof v);
}

#define EMU_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

DEVICE_FN void block_sync(EMU_HERE)
{
    emu::barrier(emu::Place{file, line}, nullptr);
}

DEVICE_FN bool block_any(bool p, EMU_HERE)
{
    emu::barrier(emu::Place{file, line}, &p);
    return p;
}

DEVICE_FN void warp_sync(unsigned mask = WARP_ALL, EMU_HERE)
{
    emu::meet(emu::MEET_SYNC, mask, nullptr, nullptr, emu::Place{file, line});
}

namespace emu
{

struct Lane { /* of a shuffle or a vote */
    uint64_t in, out;
    int from; /* lane it reads */
};
void finish_shuffle(void *const lanes[32], unsigned mask, Place place);
void finish_vote(void *const lanes[32], unsigned mask, Place place);

template <typename T> EMU_FN T shuffle(T v, int from, unsigned mask, const char *file, int line)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    Lane lane = {0, 0, from};
    memcpy(&lane.in, (const void *)&v, sizeof v);
    meet(MEET_SHUFFLE, mask, &lane, finish_shuffle, Place{file, line});
    memcpy((void *)&v, &lane.out, sizeof v);
    return v;
}

EMU_FN unsigned vote(bool p, unsigned mask, const char *file, int line)
{
    Lane lane = {p, 0, 0};
    meet(MEET_VOTE, mask, &lane, finish_vote, Place{file, line});
    return (unsigned)lane.out;
}

EMU_FN int lane()
{
    return (int)((self->thread.x + self->threads.x * (self->thread.y + self->threads.y * self->thread.z)) % 32);
}

} // namespace emu

template <typename T> DEVICE_FN T warp_shuffle(T v, int lane, unsigned mask = WARP_ALL, EMU_HERE)
{
    return emu::shuffle(v, lane & 31, mask, file, line);
}

template <typename T> DEVICE_FN T warp_shuffle_xor(T v, int bits, unsigned mask = WARP_ALL, EMU_HERE)
{
    return emu::shuffle(v, emu::lane() ^ bits, mask, file, line);
}

template <typename T> DEVICE_FN T warp_shuffle_down(T v, int n, unsigned mask = WARP_ALL, EMU_HERE)
{
    return emu::shuffle(v, emu::lane() + n > 31 ? emu::lane() : emu::lane() + n, mask, file, line);
}

template <typename T> DEVICE_FN T warp_shuffle_up(T v, int n, unsigned mask = WARP_ALL, EMU_HERE)
{
    return emu::shuffle(v, emu::lane() < n ? emu::lane() : emu::lane() - n, mask, file, line);
}

DEVICE_FN unsigned warp_ballot(bool p, unsigned mask = WARP_ALL, EMU_HERE)
{
    return emu::vote(p, mask, file, line);
}

DEVICE_FN bool warp_any(bool p, unsigned mask = WARP_ALL, EMU_HERE)
{
    return emu::vote(p, mask, file, line) != 0;
}

DEVICE_FN bool warp_all(bool p, unsigned mask = WARP_ALL, EMU_HERE)
{
    return emu::vote(!p, mask, file, line) == 0;
}

namespace emu
{

template <typename T, typename F> EMU_FN T atomic(Ptr<T> p, F change)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "atomics are of 4 or 8 bytes");
    before_atomic();
    void *at = access(p.p, sizeof(T), sizeof(T), ATOMIC, p.lo, p.hi);
    if (!at)
        return poison<T>();
    T before, after;
    memcpy((void *)&before, at, sizeof before);
    after = change(before);
    memcpy(at, (const void *)&after, sizeof after);
    return before;
}

} // namespace emu

template <typename T> DEVICE_FN T atomic_add(emu::Ptr<T> p, typename emu::Same<T>::type v)
{
    return emu::atomic(p, [=](T x) { return (T)(x + v); });
}

template <typename T> DEVICE_FN T atomic_max(emu::Ptr<T> p, typename emu::Same<T>::type v)
{
    return emu::atomic(p, [=](T x) { return x < v ? v : x; });
}

template <typename T> DEVICE_FN T atomic_min(emu::Ptr<T> p, typename emu::Same<T>::type v)
{
    return emu::atomic(p, [=](T x) { return v < x ? v : x; });
}

template <typename T> DEVICE_FN T atomic_exchange(emu::Ptr<T> p, typename emu::Same<T>::type v)
{
    return emu::atomic(p, [=](T) { return v; });
}

template <typename T> DEVICE_FN T atomic_cas(emu::Ptr<T> p, typename emu::Same<T>::type expected, typename emu::Same<T>::type v)
{
    return emu::atomic(p, [=](T x) { return x == expected ? v : x; });
}

template <typename T, typename U> DEVICE_FN void async_copy16(emu::Ptr<T> to, emu::Ptr<U> from, int bytes = 16)
{
    emu::async_copy((void *)to.p, to.lo, to.hi, (const void *)from.p, bytes);
}

DEVICE_FN void async_copy_commit()
{
    emu::async_commit();
}

template <int N> DEVICE_FN void async_copy_wait()
{
    emu::async_wait(N);
}

namespace emu
{

struct MatrixLane {
    unsigned char row[16]; /* what this lane's address holds */
    bool transposed;
    int n;
    uint32_t out[4];
};
void finish_load_matrix(void *const lanes[32], unsigned mask, Place place);

struct MmaLane {
    float *d;
    const uint32_t *a, *b;
};
void finish_mma(void *const lanes[32], unsigned mask, Place place);

template <typename T> EMU_FN void load_matrix(uint32_t *r, int n, bool transposed, Ptr<T> row, const char *file, int line)
{
    MatrixLane l;
    l.transposed = transposed;
    l.n = n;
    memset(l.row, 0xFB, sizeof l.row);
    if (lane() < 8 * n)
        if (const void *at = access(row.p, 16, 16, READ, row.lo, row.hi))
            memcpy(l.row, at, 16);
    meet(MEET_LOAD_MATRIX, WARP_ALL, &l, finish_load_matrix, Place{file, line});
    memcpy(r, l.out, (size_t)n * 4);
}

} // namespace emu

template <typename T> DEVICE_FN void load_matrix_x4(uint32_t (&r)[4], emu::Ptr<T> row, EMU_HERE)
{
    emu::load_matrix(r, 4, false, row, file, line);
}

template <typename T> DEVICE_FN void load_matrix_x4_transposed(uint32_t (&r)[4], emu::Ptr<T> row, EMU_HERE)
{
    emu::load_matrix(r, 4, true, row, file, line);
}

template <typename T> DEVICE_FN void load_matrix_x2(uint32_t (&r)[2], emu::Ptr<T> row, EMU_HERE)
{
    emu::load_matrix(r, 2, false, row, file, line);
}

template <typename T> DEVICE_FN void load_matrix_x2_transposed(uint32_t (&r)[2], emu::Ptr<T> row, EMU_HERE)
{
    emu::load_matrix(r, 2, true, row, file, line);
}

DEVICE_FN void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMU_HERE)
{
    emu::MmaLane l = {d, a, b};
    emu::meet(emu::MEET_MMA, WARP_ALL, &l, emu::finish_mma, emu::Place{file, line});
}

DEVICE_FN int count_bits(unsigned x)
{
    return __builtin_popcount(x);
}

/* The worst that ex2.approx.ftz and rcp.approx.ftz may do: 2 ULP off, and 0 for what is smaller than a normal number. */
DEVICE_FN float fast_exp2(float x)
{
    float y = x == 0 ? 1.0f : exp2f(x) * (1.0f + 0x1p-22f); /* of 0 it is 1 */
    return y < 0x1p-126f ? 0.0f : y;
}

DEVICE_FN float fast_rcp(float x)
{
    float y = 1.0f / x * (1.0f - 0x1p-23f);
    return fabsf(y) < 0x1p-126f ? copysignf(0.0f, y) : y;
}

DEVICE_FN bf16 bf16_of(float x)
{
    uint32_t b = exact_bits_f32(x);
    if ((b & 0x7FFFFFFFu) > 0x7F800000u) /* the one NaN that cvt.rn.bf16 gives */
        return bf16{0x7FFF};
    return bf16{(uint16_t)((b + 0x7FFFu + (b >> 16 & 1u)) >> 16)};
}

DEVICE_FN uint32_t bf16_pair(float low, float high)
{
    return (uint32_t)bf16_of(high).bits << 16 | bf16_of(low).bits;
}

DEVICE_FN float f32_of(f16 x)
{
    uint32_t sign = (uint32_t)(x.bits & 0x8000u) << 16, exponent = x.bits >> 10 & 31u, fraction = x.bits & 0x3FFu;
    if (exponent == 31)
        return exact_of_bits_f32(sign | 0x7F800000u | fraction << 13);
    if (exponent == 0)
        return exact_of_bits_f32(sign | exact_bits_f32((float)fraction * 0x1p-24f));
    return exact_of_bits_f32(sign | (exponent + 112) << 23 | fraction << 13);
}

#endif
