/* simd_avx2.c: the vector kernels for AVX2 with FMA. */
#if defined(__x86_64__)
#include <immintrin.h>

#define W 8
#define SIMD_NAME simd_avx2
#define SIMD_LEVEL CPU_AVX2
#define VFMA(a, b, c) ((vreg)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#include "kernels/cpu/simd_kernels.inc"
#else
typedef int simd_avx2_is_empty; /* a translation unit holds at least one declaration */
#endif
