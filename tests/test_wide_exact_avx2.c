/* test_wide_exact_avx2.c: the text of kernels/exact/exact_avx512.c at its own width, 8 doubles a vector, on processors with AVX2 alone, as
 * test_wide_avx2.c does it for cpu/fast. Every bit must be that of the tables at 2 doubles a vector. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels/exact/exact_simd.h"

typedef double Wide __attribute__((vector_size(64)));
typedef int64_t WideMask __attribute__((vector_size(64)));

static inline Wide wide_fma(Wide a, Wide b, Wide c)
{
    union {
        Wide whole;
        __m256d half[2];
    } x = {a}, y = {b}, z = {c};
    z.half[0] = _mm256_fmadd_pd(x.half[0], y.half[0], z.half[0]);
    z.half[1] = _mm256_fmadd_pd(x.half[1], y.half[1], z.half[1]);
    return z.whole;
}

static inline Wide wide_select(WideMask where, Wide yes, Wide no)
{
    return (Wide)((where & (WideMask)yes) | (~where & (WideMask)no));
}

#define W 8
#define TABLE(suffix) CAT(exact_avx2_, suffix)
#define LEVEL_NAME "wide"
#define VFMA(a, b, c) wide_fma(a, b, c)
#define OP_LT <
#define OP_EQ ==
#define VSELECT(a, op, b, yes, no) wide_select((a)OP_##op(b), yes, no)
#define VMOST(a, b) VSELECT(b, LT, a, a, b)
#define VLEAST(a, b) VSELECT(a, LT, b, a, b)
#include "kernels/exact/exact_kernels.inc"
#endif

#define KERNELS_ARE_WIDE
#include "tests/test_kernels.c"

static void wide_kernels(void)
{
#if defined(__x86_64__)
    if (cpu_level_native() >= CPU_AVX2)
        CHECK_STR(exact_simd(CPU_AVX2, 0)->name, "wide");
    else
#endif
        SKIP("this processor has no avx2");
}

#if defined(__x86_64__)
/* Products and the elementwise kernels at 2 and at 8 doubles a vector: the same bits. */
static void same_bits_at_every_width(void)
{
    enum { T = 29, N = 77, DEPTH = 801 };
    static const char *const levels[] = {"scalar", "avx2"};
    float *got[2];
    Kit k[2];
    ops = &ops_cpu_exact;
    for (int i = 0; i < 2; i++) {
        Error e;
        CHECK(cpu_level_set(levels[i], &e) == 0);
        n_threads = 1 + i;
        k[i] = open_kit(20);
        WeightPart part = kit_part(&k[i], DTYPE_F32, N, DEPTH, false, 1);
        BothWeight w = kit_weight(&k[i], WEIGHT_MATRIX, &part, 1);
        Both x = kit_view(&k[i], DTYPE_F32, T, DEPTH, 0, 1), y = kit_view(&k[i], DTYPE_F32, T, N, 0, 1);
        Both z = kit_view(&k[i], DTYPE_F32, T, N, 0, 9);
        NormSpec spec = {.kind = NORM_LAYER, .eps = 1e-5f, .group = N};
        ops->linear(k[i].ctx, y.t, x.t, &w.t, NULL);
        ops->norm(k[i].ctx, y.t, y.t, &spec, NULL, NULL);
        ops->glu(k[i].ctx, y.t, z.t, y.t, ACT_SILU);
        ops->act(k[i].ctx, y.t, y.t, ACT_GELU_TANH);
        ops->add(k[i].ctx, y.t, y.t, z.t, 0.3f);
        got[i] = y.t.data;
    }
    CHECK(memcmp(got[0], got[1], T * N * sizeof(float)) == 0);
    for (int i = 0; i < 2; i++)
        kit_close(&k[i]);
    for (int f64 = 0; f64 < 2; f64++) {
        double x[131], narrow[131], wide[131];
        for (size_t i = 0; i < 131; i++)
            x[i] = -750 + 11.5 * (double)i;
        exact_simd(CPU_SCALAR, f64)->exp_row(narrow, x, 131);
        exact_simd(CPU_AVX2, f64)->exp_row(wide, x, 131);
        CHECK(memcmp(narrow, wide, sizeof wide) == 0);
        exact_simd(CPU_SCALAR, f64)->softmax(narrow, 131, 0.5);
        exact_simd(CPU_AVX2, f64)->softmax(wide, 131, 0.5);
        CHECK(memcmp(narrow, wide, sizeof wide) == 0);
    }
}
#endif

int main(void)
{
    Error e;
    RUN(wide_kernels);
    if (test_n_passed == 0)
        return test_finish();
    choose_seed();
    if (cpu_level_set("avx2", &e)) {
        printf("%s\n", e.text);
        return 1;
    }
    try_table(&ops_cpu_exact, "8 doubles a vector", 3);
    try_table(&ops_cpu_ref64, "8 doubles a vector", 2);
#if defined(__x86_64__)
    RUN(same_bits_at_every_width);
#endif
    return test_finish();
}
