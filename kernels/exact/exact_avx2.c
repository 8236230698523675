/* exact_avx2.c: the vector kernels of numerics v1 for AVX2 with FMA. */
#if defined(__x86_64__)
#include <immintrin.h>

#define W 4
#define TABLE(suffix) CAT(exact_avx2_, suffix)
#define LEVEL_NAME "avx2"
#define VFMA(a, b, c) ((vreg)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#define VMOST(a, b) ((vreg)_mm256_max_pd((__m256d)(a), (__m256d)(b)))
#define VLEAST(a, b) ((vreg)_mm256_min_pd((__m256d)(a), (__m256d)(b)))
#define VSELECT(a, op, b, yes, no) \
    ((vreg)_mm256_blendv_pd((__m256d)(no), (__m256d)(yes), _mm256_cmp_pd((__m256d)(a), (__m256d)(b), _CMP_##op##_OQ)))
#include "kernels/exact/exact_kernels.inc"
#else
typedef int exact_avx2_is_empty; /* a translation unit holds at least one declaration */
#endif
