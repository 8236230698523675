/* exact_avx512.c: the vector kernels of numerics v1 for AVX-512. */
#if defined(__x86_64__)
#include <immintrin.h>

#define W 8
#define TABLE(suffix) CAT(exact_avx512_, suffix)
#define LEVEL_NAME "avx512"
#define VFMA(a, b, c) ((vreg)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#include "kernels/exact/exact_kernels.inc"
#else
typedef int exact_avx512_is_empty; /* a translation unit holds at least one declaration */
#endif
