/* ops_ref64.c: the table cpu/ref64: numerics v1 with residual, activations and logits kept in f64. */
#define T double
#define T_DTYPE DTYPE_F64
#define T_F64 1
#define STORE(x) exact_store_f64(x)
#define CANON(name) exact_##name##_f64
#define TABLE_NAME ops_cpu_ref64
#define OPS_NAME "cpu/ref64"
#include "kernels/exact/ops_exact.inc"
