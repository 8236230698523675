/* operands.hh: operands of kernel tests under the emulation: a view in device memory of its own, from exact bounds on (an access one byte
 * beyond is reported), the gaps between rows canaries that nobody may read or write; beside it the same numbers for the f64 oracle. */
#ifndef STRATA_TESTS_OPERANDS_HH
#define STRATA_TESTS_OPERANDS_HH

#include <math.h>
#include <stdio.h>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_rows.cuh"
#include "tests/cuda_emu/emu.h"

extern "C" {
#include "engine/base/rng.h"
#include "kernels/convert.h"
}

extern Rng operands_rng;
extern std::string operands_what; /* the case at hand, for messages */

double operands_random(double scale); /* a float in [-scale, scale] */

/* rows x cols in device memory, ld = cols + gap, `offset` elements behind a 256-byte border. */
struct Operand {
    View t;                /* the device's */
    std::vector<double> r; /* dense, what the device's elements hold */
    unsigned char *base;
    size_t bytes;

    /* Random in [-scale, scale], rounded to the dtype; scale 0: an output, as if never written. */
    Operand(DType dtype, size_t rows, size_t cols, size_t gap, size_t offset, double scale);
    ~Operand();
    Operand(const Operand &) = delete;
    void set(size_t row, size_t col, double value);
    double get(size_t row, size_t col) const; /* from the device */
    View ref();                               /* f64, on the host */
    /* |got - want| <= tolerance(row, col, want), NaN where want has NaN, infinities equal; gaps unharmed. The number of faults, first printed. */
    template <typename Tolerance> int compare(const std::vector<double> &want, Tolerance tolerance) const
    {
        int bad = gaps();
        for (size_t i = 0; i < t.rows; i++)
            for (size_t j = 0; j < t.cols; j++) {
                double w = want[i * t.cols + j], g = get(i, j), most = tolerance(i, j, w);
                bool same = isnan(w) ? isnan(g) : isinf(w) ? g == w : fabs(g - w) <= most;
                if (!same && bad++ == 0)
                    printf("%s: [%zu, %zu] is %.9g, expected %.9g +- %.3g\n", operands_what.c_str(), i, j, g, w, most);
            }
        return bad;
    }
    int gaps() const;
};

/* A copy of n bytes in device memory of its own, `offset` bytes behind a 256-byte border. */
struct DeviceBytes {
    unsigned char *base, *data;
    DeviceBytes(const void *from, size_t n, size_t offset = 0);
    ~DeviceBytes();
    DeviceBytes(const DeviceBytes &) = delete;
};

/* Unit roundoff of what a dtype stores. */
static inline double operands_u(DType t)
{
    return t == DTYPE_BF16 ? 0x1p-8 : 0x1p-24;
}

/* A weight of the table and of the oracle, VECTOR or TABLE, f32 both. */
struct OperandWeight {
    std::vector<double> r;
    DeviceBytes *bytes;
    Weight t, ref;
    OperandWeight(WeightKind kind, size_t rows, size_t cols, double scale, size_t offset = 0);
    ~OperandWeight();
    OperandWeight(const OperandWeight &) = delete;
};

/* Waits, and counts what the emulation reported since the last call. */
int operands_finish();

#endif
