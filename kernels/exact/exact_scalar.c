/* exact_scalar.c: the vector kernels of numerics v1 with what every processor of the target has. Without a fused multiply-add among its
 * instructions, fma() is the C library's, which rounds as right as the instruction and slower. */
#include <math.h>

#define W 2
#define TABLE(suffix) CAT(exact_scalar_, suffix)
#define LEVEL_NAME "scalar"
#define VFMA(a, b, c) ((vreg){fma((a)[0], (b)[0], (c)[0]), fma((a)[1], (b)[1], (c)[1])})
#include "kernels/exact/exact_kernels.inc"
