/* simd_avx512.c: the vector kernels for AVX-512 (F, BW, DQ, VL). */
#if defined(__x86_64__)
#include <immintrin.h>

#define W 16
#define SIMD_NAME simd_avx512
#define SIMD_LEVEL CPU_AVX512
#define VFMA(a, b, c) ((vreg)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#include "kernels/cpu/simd_kernels.inc"
#else
typedef int simd_avx512_is_empty; /* a translation unit holds at least one declaration */
#endif
