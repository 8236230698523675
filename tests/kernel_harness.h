/* kernel_harness.h: operands for tests of op tables: each lies in pages of its own, its last byte before an unreadable page, canaries
 * before it and between its rows; the same numbers go to the table under test and to the f64 oracle (kernels/ref). */
#ifndef STRATA_TESTS_KERNEL_HARNESS_H
#define STRATA_TESTS_KERNEL_HARNESS_H

#include "engine/base/rng.h"
#include "kernels/ops.h"

enum { KIT_MAX_BUFFERS = 256 };

typedef struct KitBuffer {
    unsigned char *pages, *data, *frozen; /* frozen: what data must still hold, or NULL */
    size_t pages_bytes, data_bytes;       /* pages_bytes without the two guards */
} KitBuffer;

/* The table under test with its context, and the oracle with its own. */
typedef struct Kit {
    const Ops *ops;
    OpsContext *ctx, *ref_ctx;
    Pool *pool;
    double u;     /* unit roundoff of the table's sums: 2^-24, or 2^-53 */
    double store; /* what rounding to bf16 adds where the table stores activations so: 2^-8 of the value, else 0 */
    int (*lend)(void *memory, size_t bytes, Error *e); /* operands are lent to a device, or NULL */
    void (*take_back)(void *memory);
    Rng rng;
    KitBuffer buffers[KIT_MAX_BUFFERS];
    size_t n_buffers;
    char what[200]; /* the case at hand, for messages */
} Kit;

/* One operand in both tables. */
typedef struct Both {
    View t, r;
} Both;

typedef struct BothWeight {
    Weight t, r;
} BothWeight;

void kit_open(Kit *k, const Ops *ops, int threads, const OpsLimits *limits);
void kit_sync(Kit *k); /* the table's results lie on the host then */
void kit_close(Kit *k);
/* Frees the operands of a case after checking canaries and frozen inputs; a violation is a failed check of the running test. */
int kit_end_case(Kit *k); /* the number of violations, printed */

void *kit_bytes(Kit *k, size_t bytes); /* guarded, canaries before it */
/* [rows, cols] with ld = cols + gap, random in [-scale, scale] (floats; a bf16's values where dtype is BF16), the same in both. dtype: of
 * the table under test. */
Both kit_view(Kit *k, DType dtype, size_t rows, size_t cols, size_t gap, double scale);
void kit_freeze(Kit *k, const void *data); /* what it holds now must be what it holds at the case's end */
double kit_get(View v, size_t r, size_t c);
void kit_set(Both b, size_t r, size_t c, double value); /* value must be a float */
double kit_random(Kit *k, double scale);                /* a float in [-scale, scale] */

/* [rows, cols] of a file dtype (F32, F16, BF16), random; stored row-major or transposed. Values are a bf16's where the table's products
 * are of bf16, so that preparing them rounds nothing (the rounding has tests of its own). */
WeightPart kit_part(Kit *k, DType dtype, size_t rows, size_t cols, bool transposed, double scale);
double kit_part_get(const WeightPart *p, size_t r, size_t c);
BothWeight kit_weight(Kit *k, WeightKind kind, const WeightPart *parts, size_t n_parts);

/* |t - r| <= tolerance(user, r, c) for all, NaN only where the oracle has NaN. Returns the number of elements that differ, the first
 * printed. */
int kit_compare(Kit *k, Both b, double (*tolerance)(void *user, size_t r, size_t c), void *user);
int kit_compare_flat(Kit *k, Both b, double tolerance);

#endif
