/* ptx_isa.hh: the instructions of PTX that nvcc makes of kernels/cuda, one function each, named as ptx_to_cpp.py names them. Written from
 * the PTX ISA's text alone (NVIDIA, "Parallel Thread Execution ISA", chapter 9), not from kernels/cuda or tests/cuda_emu, so that the two
 * readings can disagree. Only what our kernels need is here: anything else does not compile.
 *
 * A register holds raw bits; Bits<T> is the register that an instruction of type T takes. Where the ISA leaves freedom (approximations,
 * the order of sums in mma, when an asynchronous copy lands) the result lies within what it allows, away from its middle. */
#ifndef STRATA_TESTS_PTX_ISA_HH
#define STRATA_TESTS_PTX_ISA_HH

#include <cmath>
#include <limits>
#include <stdint.h>
#include <string.h>
#include <type_traits>

#include "tests/cuda_emu/emu_core.hh"

namespace ptx
{

typedef uint8_t r8;
typedef uint16_t r16;
typedef uint32_t r32;
typedef uint64_t r64;
typedef bool pred;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef uint8_t u8, b8;
typedef uint16_t u16, b16;
typedef uint32_t u32, b32;
typedef uint64_t u64, b64;
typedef float f32;
typedef double f64;
struct f16 {
    r16 bits;
};
struct bf16 {
    r16 bits;
};
struct bf16x2 {
    r32 bits;
};

template <size_t N> struct Raw;
template <> struct Raw<1> {
    typedef r8 type;
};
template <> struct Raw<2> {
    typedef r16 type;
};
template <> struct Raw<4> {
    typedef r32 type;
};
template <> struct Raw<8> {
    typedef r64 type;
};
template <typename T>
using Bits = typename std::conditional<std::is_same<T, bool>::value, bool, typename Raw<sizeof(T)>::type>::type;

template <typename T> inline T value(Bits<T> b)
{
    T v;
    memcpy(&v, &b, sizeof v);
    return v;
}

template <typename T> inline Bits<T> bits(T v)
{
    Bits<T> b;
    memcpy(&b, &v, sizeof b);
    return b;
}

/* 9.7.3: NaN results of f32 are the canonical one. */
template <> inline r32 bits<f32>(f32 v)
{
    r32 b;
    memcpy(&b, &v, sizeof b);
    return v != v ? 0x7FFFFFFFu : b;
}

/* ---- arithmetic ---- */

#define PTX_1(name, result) \
    template <typename T> inline void name(Bits<T> &d, Bits<T> x) \
    { \
        T a = value<T>(x); \
        d = bits<T>((T)(result)); \
    }
#define PTX_2(name, result) \
    template <typename T> inline void name(Bits<T> &d, Bits<T> x, Bits<T> y) \
    { \
        T a = value<T>(x), b = value<T>(y); \
        d = bits<T>((T)(result)); \
    }
#define PTX_3(name, result) \
    template <typename T> inline void name(Bits<T> &d, Bits<T> x, Bits<T> y, Bits<T> z) \
    { \
        T a = value<T>(x), b = value<T>(y), c = value<T>(z); \
        d = bits<T>((T)(result)); \
    }

template <typename T> struct Wide;
template <> struct Wide<s16> {
    typedef s32 type;
};
template <> struct Wide<u16> {
    typedef u32 type;
};
template <> struct Wide<s32> {
    typedef s64 type;
};
template <> struct Wide<u32> {
    typedef u64 type;
};
template <> struct Wide<s64> {
    typedef __int128 type;
};
template <> struct Wide<u64> {
    typedef unsigned __int128 type;
};

/* The integers wrap (-fwrapv); f32 and f64 round to nearest, the compiler contracts nothing (-ffp-contract=off). */
PTX_2(add, a + b)
PTX_2(add_rn, a + b)
PTX_2(sub, a - b)
PTX_2(sub_rn, a - b)
PTX_2(mul, a *b)
PTX_2(mul_rn, a *b)
PTX_2(mul_lo, a *b)
PTX_2(mul_hi, ((typename Wide<T>::type)a * b) >> (8 * sizeof(T)))
PTX_3(mad_lo, a *b + c)
PTX_2(div_rn, a / b)
PTX_1(rcp_rn, 1 / a)
PTX_1(sqrt_rn, std::sqrt(a))
PTX_1(neg, -a)
PTX_3(fma_rn, std::fma(a, b, c))

template <typename T> inline void mul_wide(Bits<typename Wide<T>::type> &d, Bits<T> x, Bits<T> y)
{
    typedef typename Wide<T>::type W;
    d = bits<W>((W)value<T>(x) * (W)value<T>(y));
}

/* 9.7.1: a quotient by zero is unspecified: a value that nobody expects. */
template <typename T> inline void div(Bits<T> &d, Bits<T> x, Bits<T> y)
{
    T a = value<T>(x), b = value<T>(y);
    d = bits<T>(b == 0 ? (T)0x5A5A5A5A5A5A5A5A : a / b);
}

/* 9.7.3: the one that is a number where the other is NaN; -0 below +0. */
template <typename T> inline bool less(T a, T b)
{
    if constexpr (std::is_floating_point<T>::value)
        return a < b || (a == b && std::signbit(a) && !std::signbit(b));
    return a < b;
}
PTX_2(min, a != a ? b : b != b ? a : less(b, a) ? b : a)
PTX_2(max, a != a ? b : b != b ? a : less(a, b) ? b : a)
PTX_1(abs, std::fabs(a))
/* The sign of a, the magnitude of b. */
PTX_2(copysign, std::copysign(b, a))

float fma_down(float a, float b, float c); /* rounded to minus infinity */
template <typename T> inline void fma_rm(r32 &d, r32 x, r32 y, r32 z)
{
    d = bits<T>(fma_down(value<T>(x), value<T>(y), value<T>(z)));
}

/* .ftz: subnormal operands and results are zeros of their sign. */
inline f32 flushed(f32 x)
{
    return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x;
}

/* Approximations err by what the ISA allows, 2^-22.5 of ex2 and 2^-23 of rcp, one way or the other by a bit of the operand; powers of
 * two are met. */
inline f32 approximate(f64 exact, f64 relative, r32 x)
{
    f32 nearest = flushed((f32)exact);
    bool power = (bits<f32>(nearest) & 0x7FFFFFu) == 0;
    return power || nearest != nearest ? nearest : flushed((f32)(exact * (x & 1 ? 1 + relative : 1 - relative)));
}
template <typename T> inline void ex2_approx_ftz(r32 &d, r32 x)
{
    d = bits<T>(approximate(std::exp2((f64)flushed(value<T>(x))), 0x1.6p-24, x));
}
template <typename T> inline void rcp_approx_ftz(Bits<T> &d, Bits<T> x)
{
    if constexpr (std::is_same<T, f32>::value)
        d = bits<T>(approximate(1.0 / (f64)flushed(value<T>(x)), 0x1p-24, x));
    else /* the upper half of the quotient, zeros below */
        d = bits<T>(1.0 / value<T>(x)) & 0xFFFFFFFF00000000u;
}

/* ---- logic, shifts, selection, comparison ---- */

PTX_2(and, a &b)
PTX_2(or, a | b)
PTX_2(xor, a ^ b)
PTX_1(not, (std::is_same<T, bool>::value ? !a : ~a))

/* Amounts beyond the width shift everything out. */
template <typename T> inline void shl(Bits<T> &d, Bits<T> x, r32 n)
{
    d = n < 8 * sizeof(T) ? (Bits<T>)(x << n) : 0;
}
template <typename T> inline void shr(Bits<T> &d, Bits<T> x, r32 n)
{
    T a = value<T>(x);
    d = bits<T>((T)(n < 8 * sizeof(T) ? a >> n : a < 0 ? -1 : 0));
}

template <typename T> inline void popc(r32 &d, Bits<T> x)
{
    d = (r32)__builtin_popcountll(x);
}

/* The lowest `length` bits of a into b, from bit `first` on. */
template <typename T> inline void bfi(Bits<T> &d, Bits<T> a, Bits<T> b, r32 first, r32 length)
{
    first &= 0xFF;
    length &= 0xFF;
    for (r32 i = 0; i < length && first + i < 8 * sizeof(T); i++)
        b = (b & ~((Bits<T>)1 << (first + i))) | (a >> i & 1) << (first + i);
    d = b;
}

/* Bytes 0 to 3 are a's, 4 to 7 b's; each nibble of the selector names one, its highest bit asks for eight copies of the byte's sign. */
template <typename T> inline void prmt(r32 &d, r32 a, r32 b, r32 selector)
{
    static_assert(sizeof(T) == 4, "prmt.b32 alone");
    r64 from = (r64)b << 32 | a;
    r32 made = 0;
    for (int i = 0; i < 4; i++) {
        r32 nibble = selector >> 4 * i & 15u, byte = (r32)(from >> 8 * (nibble & 7u)) & 0xFFu;
        made |= (nibble & 8u ? (byte & 0x80u ? 0xFFu : 0u) : byte) << 8 * i;
    }
    d = made;
}

template <typename T> inline void selp(Bits<T> &d, Bits<T> a, Bits<T> b, bool p)
{
    d = p ? a : b;
}

#define PTX_COMPARISON(name, result) \
    template <typename T> inline void setp_##name(bool &d, Bits<T> x, Bits<T> y) \
    { \
        T a = value<T>(x), b = value<T>(y); \
        d = result; \
    }
/* False with a NaN; those with a u behind, true. */
PTX_COMPARISON(eq, a == b)
PTX_COMPARISON(ne, a == a && b == b && a != b)
PTX_COMPARISON(lt, a < b)
PTX_COMPARISON(le, a <= b)
PTX_COMPARISON(gt, a > b)
PTX_COMPARISON(ge, a >= b)
PTX_COMPARISON(equ, !(a < b || a > b))
PTX_COMPARISON(neu, !(a == b))
PTX_COMPARISON(ltu, !(a >= b))
PTX_COMPARISON(leu, !(a > b))
PTX_COMPARISON(gtu, !(a <= b))
PTX_COMPARISON(geu, !(a < b))
PTX_COMPARISON(num, a == a && b == b)
PTX_COMPARISON(nan, a != a || b != b)

/* ---- moves and conversions ---- */

template <typename T> inline void mov(Bits<T> &d, Bits<T> a)
{
    d = a;
}
/* The first named is the lowest. */
template <typename T, typename Part> inline void mov_pack(Bits<T> &d, Part low, Part high)
{
    static_assert(2 * sizeof(Part) == sizeof(T), "two halves");
    d = (Bits<T>)high << 8 * sizeof(Part) | low;
}
template <typename T, typename Part> inline void mov_unpack(Part &low, Part &high, Bits<T> a)
{
    static_assert(2 * sizeof(Part) == sizeof(T), "two halves");
    low = (Part)a;
    high = (Part)(a >> 8 * sizeof(Part));
}
template <typename T> inline void cvta_to_global(r64 &d, r64 a)
{
    d = a; /* the generic window of global memory begins at 0 */
}

/* 9.4.1: a register may be wider than the type: the value is extended by its sign, or by zeros. */
template <typename T, typename R> inline void extend(R &d, T v)
{
    static_assert(sizeof(R) >= sizeof(T), "a register narrower than the type");
    if constexpr (std::is_integral<T>::value)
        d = (R)v;
    else
        d = bits<T>(v);
}

inline f32 half_value(f16 h)
{
    int exponent = h.bits >> 10 & 31, fraction = h.bits & 1023;
    f32 magnitude = exponent == 31  ? (fraction ? NAN : INFINITY)
                    : exponent == 0 ? std::ldexp((f32)fraction, -24)
                                    : std::ldexp((f32)(1024 + fraction), exponent - 25);
    return h.bits >> 15 ? -magnitude : magnitude;
}

/* To the 8 bits of bf16, ties to the even one; NaN becomes the canonical one. */
inline r16 nearest_bf16(f32 x)
{
    if (x != x)
        return 0x7FFF;
    r32 b = bits<f32>(x), rest = b & 0xFFFFu;
    return (r16)((b >> 16) + (rest > 0x8000u || (rest == 0x8000u && (b >> 16 & 1u))));
}

/* Exact ones. */
template <typename To, typename From, typename D, typename A> inline void cvt(D &d, A a)
{
    static_assert(sizeof(A) >= sizeof(From), "a register narrower than the type");
    From v = value<From>((Bits<From>)a);
    if constexpr (std::is_same<From, f16>::value)
        extend<To>(d, half_value(v));
    else
        extend<To>(d, (To)v);
    static_assert(std::is_integral<From>::value == std::is_integral<To>::value, "a conversion without a mode");
    static_assert(std::is_integral<To>::value || sizeof(To) > sizeof(From), "a conversion without a mode");
}
template <typename To, typename From, typename D, typename A> inline void cvt_rn(D &d, A a)
{
    static_assert(sizeof(A) >= sizeof(From) && !std::is_integral<To>::value, "to nearest, of a whole register, to a float");
    From v = value<From>((Bits<From>)a);
    if constexpr (std::is_same<To, bf16>::value)
        d = nearest_bf16(v);
    else
        extend<To>(d, (To)v);
}
/* Two at once: the first named goes to the upper half. */
template <typename To, typename From> inline void cvt_rn(r32 &d, Bits<From> upper, Bits<From> lower)
{
    static_assert(std::is_same<To, bf16x2>::value && std::is_same<From, f32>::value, "cvt.rn.bf16x2.f32 alone");
    d = (r32)nearest_bf16(value<f32>(upper)) << 16 | nearest_bf16(value<f32>(lower));
}
/* Towards zero, held within what the integer can be, NaN to 0. */
template <typename To, typename From> inline void cvt_rzi(Bits<To> &d, Bits<From> a)
{
    f64 v = value<From>(a), most = (f64)std::numeric_limits<To>::max(), least = (f64)std::numeric_limits<To>::min();
    static_assert(sizeof(To) <= 4, "limits that f64 holds");
    d = bits<To>(v != v ? 0 : (To)(v < least ? least : v > most ? most : v));
}
/* To [0, 1], NaN to +0. */
template <typename To, typename From> inline void cvt_sat(r32 &d, r32 a)
{
    static_assert(std::is_same<To, f32>::value && std::is_same<From, f32>::value, "cvt.sat.f32.f32 alone");
    f32 v = value<f32>(a);
    d = bits<f32>(v > 0 ? (v < 1 ? v : 1.0f) : 0.0f);
}

/* ---- memory: each access is checked by the emulation: bounds, alignment, races, whether anything was written there ---- */

inline void *global_at(r64 address, size_t bytes, emu::AccessKind kind)
{
    return emu::access((void *)address, bytes, bytes, kind, nullptr, nullptr);
}
struct SharedPlace {
    char *at;
    const char *lo, *hi; /* of the array it lies in */
};
SharedPlace shared_place(r32 address); /* of the window of shared memory */
inline void *shared_at(r32 address, size_t bytes, emu::AccessKind kind)
{
    SharedPlace p = shared_place(address);
    return p.at ? emu::access(p.at, bytes, bytes, kind, p.lo, p.hi) : nullptr;
}

template <typename T, typename... R> inline void read(const void *at, R &...d)
{
    T v[sizeof...(R)];
    if (at)
        memcpy(v, at, sizeof v);
    else
        memset(v, 0xFB, sizeof v);
    size_t i = 0;
    ((void)extend<T>(d, v[i++]), ...);
}
template <typename T, typename... R> inline void write(void *at, R... a)
{
    static_assert(std::is_integral<T>::value || std::is_floating_point<T>::value, "a type of memory");
    T v[] = {value<T>((Bits<T>)a)...};
    if (at)
        memcpy(at, v, sizeof v);
}

template <typename T, typename... R> inline void ld_global(r64 address, R &...d)
{
    read<T>(global_at(address, sizeof(T) * sizeof...(R), emu::READ), d...);
}
template <typename T, typename... R> inline void ld(r64 address, R &...d) /* our generic addresses are of global memory */
{
    ld_global<T>(address, d...);
}
template <typename T, typename... R> inline void st_global(r64 address, R... a)
{
    write<T>(global_at(address, sizeof(T) * sizeof...(R), emu::WRITE), a...);
}
template <typename T, typename... R> inline void ld_shared(r32 address, R &...d)
{
    read<T>(shared_at(address, sizeof(T) * sizeof...(R), emu::READ), d...);
}
template <typename T, typename... R> inline void st_shared(r32 address, R... a)
{
    write<T>(shared_at(address, sizeof(T) * sizeof...(R), emu::WRITE), a...);
}
template <typename T, typename... R> inline void ld_param(r64 address, R &...d)
{
    read<T>((const void *)address, d...);
}

inline r64 local(void *bytes, size_t n) /* a thread's own: its address */
{
    memset(bytes, 0xFB, n);
    return (r64)bytes;
}
template <typename T, typename... R> inline void ld_local(r64 address, R &...d)
{
    read<T>((const void *)address, d...);
}
template <typename T, typename... R> inline void st_local(r64 address, R... a)
{
    write<T>((void *)address, a...);
}

/* cp.async.cg.shared.global [to], [from], 16, n: n bytes, zeros behind them. */
void async_copy(r32 to, r64 from, r32 n_bytes);
void async_commit();
void async_wait(r32 groups_left);
inline void cp_async_cg_shared_global(r32 to, r64 from, r32 size, r32 n_bytes)
{
    if (size == 16)
        async_copy(to, from, n_bytes);
    else
        emu::report("cp.async.cg of %u bytes", size);
}
inline void cp_async_commit_group()
{
    async_commit();
}
inline void cp_async_wait_group(r32 groups_left)
{
    async_wait(groups_left);
}

/* ---- threads and warps ---- */

inline r32 component(emu::Dim d, int i)
{
    return i == 0 ? d.x : i == 1 ? d.y : d.z;
}
inline r32 tid(int i)
{
    return component(emu::self->thread, i);
}
inline r32 ntid(int i)
{
    return component(emu::self->threads, i);
}
inline r32 ctaid(int i)
{
    return component(emu::self->block, i);
}
inline r32 nctaid(int i)
{
    return component(emu::self->blocks, i);
}

void bar_sync(r32 barrier);
void bar_warp_sync(r32 mask);

enum ShuffleMode { UP, DOWN, BFLY, IDX };
bool shuffle(ShuffleMode mode, r32 &d, r32 a, r32 b, r32 c, r32 mask);
template <typename T> inline void shfl_sync_bfly(r32 &d, bool &p, r32 a, r32 b, r32 c, r32 mask)
{
    p = shuffle(BFLY, d, a, b, c, mask);
}
template <typename T> inline void shfl_sync_down(r32 &d, bool &p, r32 a, r32 b, r32 c, r32 mask)
{
    p = shuffle(DOWN, d, a, b, c, mask);
}
r32 ballot(bool p, r32 mask);
template <typename T> inline void vote_sync_ballot(r32 &d, bool p, r32 mask)
{
    d = ballot(p, mask);
}

/* Warps as a whole; line: the instruction's, which must be the same for all lanes. */
void load_matrices(r32 *d, int n, bool transposed, r32 address, int line);
void multiply_16_8_16(r32 *d, const r32 *a, const r32 *b, const r32 *c, int line);

#define PTX_LDMATRIX_X4(name, transposed) \
    template <typename T> inline void name(r32 address, r32 &d0, r32 &d1, r32 &d2, r32 &d3, int line = __builtin_LINE()) \
    { \
        static_assert(sizeof(T) == 2, "elements of b16 alone"); \
        r32 d[4]; \
        load_matrices(d, 4, transposed, address, line); \
        d0 = d[0], d1 = d[1], d2 = d[2], d3 = d[3]; \
    }
PTX_LDMATRIX_X4(ldmatrix_sync_aligned_m8n8_x4_shared, false)
PTX_LDMATRIX_X4(ldmatrix_sync_aligned_m8n8_x4_trans_shared, true)
template <typename D, typename A, typename B, typename C>
inline void mma_sync_aligned_m16n8k16_row_col(r32 &d0, r32 &d1, r32 &d2, r32 &d3, r32 a0, r32 a1, r32 a2, r32 a3, r32 b0,
                                              r32 b1, r32 c0, r32 c1, r32 c2, r32 c3, int line = __builtin_LINE())
{
    static_assert(std::is_same<A, bf16>::value && std::is_same<B, bf16>::value, "factors of bf16 alone");
    static_assert(std::is_same<C, f32>::value && std::is_same<D, f32>::value, "sums of f32 alone");
    r32 d[4], a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1}, c[4] = {c0, c1, c2, c3};
    multiply_16_8_16(d, a, b, c, line);
    d0 = d[0], d1 = d[1], d2 = d[2], d3 = d[3];
}

/* ---- kernels ---- */

r32 shared_dynamic();
r32 shared_static(const void *key, size_t bytes);

struct Entry { /* one .entry of a module */
    const char *name;
    void (*run)(r64 params);
    size_t param_bytes;
    unsigned max_threads;
    Entry(const char *name, void (*run)(r64), size_t param_bytes, unsigned max_threads);
};

} // namespace ptx

#endif
