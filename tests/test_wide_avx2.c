/* test_wide_avx2.c: the text of kernels/cpu/simd_avx512.c at its own width, 16 floats a vector and tiles of 12 x 32, on processors with
 * AVX2 alone: the compiler splits each vector in two. Its indices, tails and tiles are those of AVX-512; its instructions are not.
 *
 * The table is called simd_avx2, so that this program never links the real one: level avx2 is the wide one here. */
#if defined(__x86_64__)
#include <immintrin.h>

typedef float Wide __attribute__((vector_size(64)));

static inline Wide wide_fma(Wide a, Wide b, Wide c)
{
    union {
        Wide whole;
        __m256 half[2];
    } x = {a}, y = {b}, z = {c};
    z.half[0] = _mm256_fmadd_ps(x.half[0], y.half[0], z.half[0]);
    z.half[1] = _mm256_fmadd_ps(x.half[1], y.half[1], z.half[1]);
    return z.whole;
}

#define W 16
#define SIMD_NAME simd_avx2
#define SIMD_LEVEL CPU_AVX2
#define VFMA(a, b, c) wide_fma(a, b, c)
#include "kernels/cpu/simd_kernels.inc"
#endif

#define KERNELS_ARE_WIDE
#include "tests/test_kernels.c"

static void wide_kernels(void)
{
#if defined(__x86_64__)
    if (cpu_level_native() >= CPU_AVX2)
        CHECK(simd_table(CPU_AVX2)->width == 16 && simd_table(CPU_AVX2)->gemm_rows == 12);
    else
#endif
        SKIP("this processor has no avx2");
}

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
    try_table(&ops_cpu_fast, "16 floats a vector", 3);
    try_table(&ops_cpu_stable, "16 floats a vector", 2);
    return test_finish();
}
