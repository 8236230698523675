/* exact_scalar.c: the vector kernels of numerics v1 with what every processor of the target has. Without a fused multiply-add among its
 * instructions, fma() is the C library's, which rounds as right as the instruction and slower. */
#include <math.h>

#include "kernels/exact/exact_simd.h"

#define W 2
#define TABLE(suffix) CAT(exact_scalar_, suffix)
#define LEVEL_NAME "scalar"
#define VFMA(a, b, c) ((vreg){fma((a)[0], (b)[0], (c)[0]), fma((a)[1], (b)[1], (c)[1])})
#define OP_LT <
#define OP_EQ ==
#define VLANE(i, a, op, b, yes, no) ((a)[i] OP_##op(b)[i] ? (yes)[i] : (no)[i])
#define VSELECT(a, op, b, yes, no) ((vreg){VLANE(0, a, op, b, yes, no), VLANE(1, a, op, b, yes, no)})
#define VMOST(a, b) VSELECT(b, LT, a, a, b)
#define VLEAST(a, b) VSELECT(a, LT, b, a, b)
#include "kernels/exact/exact_kernels.inc"
