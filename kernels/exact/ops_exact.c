/* ops_exact.c: the table cpu/exact: numerics v1 with every operation's result rounded once to f32. */
#define T float
#define T_DTYPE DTYPE_F32
#define T_F64 0
#define STORE(x) exact_store_f32(x)
#define CANON(name) exact_##name##_f32
#define TABLE_NAME ops_cpu_exact
#define OPS_NAME "cpu/exact"
#include "kernels/exact/ops_exact.inc"
