/* exact_avx512.c: the vector kernels of numerics v1 for AVX-512. */
#if defined(__x86_64__)
#include <immintrin.h>

#define W 8
#define TABLE(suffix) CAT(exact_avx512_, suffix)
#define LEVEL_NAME "avx512"
#define VFMA(a, b, c) ((vreg)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#define VMOST(a, b) ((vreg)_mm512_max_pd((__m512d)(a), (__m512d)(b)))
#define VLEAST(a, b) ((vreg)_mm512_min_pd((__m512d)(a), (__m512d)(b)))
#define VSELECT(a, op, b, yes, no) \
    ((vreg)_mm512_mask_blend_pd(_mm512_cmp_pd_mask((__m512d)(a), (__m512d)(b), _CMP_##op##_OQ), (__m512d)(no), (__m512d)(yes)))
#include "kernels/exact/exact_kernels.inc"
#else
typedef int exact_avx512_is_empty; /* a translation unit holds at least one declaration */
#endif
