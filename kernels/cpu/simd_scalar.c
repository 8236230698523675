/* simd_scalar.c: the vector kernels with what every processor of the target has (SSE2, NEON, or plain code). */
#define W 4
#define SIMD_NAME simd_scalar
#define SIMD_LEVEL CPU_SCALAR
#include "kernels/cpu/simd_kernels.inc"

const SimdTable *simd_table(CpuLevel level)
{
#if defined(__x86_64__)
    if (level == CPU_AVX512)
        return &simd_avx512;
    if (level == CPU_AVX2)
        return &simd_avx2;
#endif
    (void)level;
    return &simd_scalar;
}
