/* cuda_exact_sums.cuh: sums over arrays in numerics v1 on the device, written anew in the order that kernels/exact/exact_canon.h defines:
 * segments of EXACT_SEGMENT terms, each an ascending chain from +0 that one thread computes, joined in ascending order by every thread. Threads
 * differ in outputs and in segments, nothing else splits a sum. Functions of numbers come from kernels/exact's headers, the text that
 * the processor runs. All that includes this is built with -fmad=false -ftz=false -prec-div=true -prec-sqrt=true; tests/cuda_exact_ptx.sh reads
 * what nvcc made of it. */
#ifndef STRATA_KERNELS_CUDA_EXACT_SUMS_CUH
#define STRATA_KERNELS_CUDA_EXACT_SUMS_CUH

#include "kernels/cuda/cuda_exact.cuh"

extern "C++" {
#include "kernels/exact/exact_canon.h"
}

enum { EXACT_THREADS = 128, EXACT_SUMS = 256 };

/* The canonical sum of n terms, known to every thread: term(sum, i) is the sum with term i. sums [EXACT_SUMS]. */
template <typename Term> DEVICE_FN double canonical_sum(size_t from, size_t n, Shared<double> sums, Term term)
{
    size_t first_segment = from / EXACT_SEGMENT, n_segments = (n + EXACT_SEGMENT - 1) / EXACT_SEGMENT;
    double total = 0.0;
    for (size_t base = first_segment; base < n_segments; base += EXACT_SUMS) {
        size_t some = n_segments - base < EXACT_SUMS ? n_segments - base : (size_t)EXACT_SUMS;
        for (size_t s = threadIdx.x; s < some; s += blockDim.x) {
            size_t begin = (base + s) * EXACT_SEGMENT, end = begin + EXACT_SEGMENT;
            double sum = 0.0;
            for (size_t i = begin < from ? from : begin; i < end && i < n; i++)
                sum = term(sum, i);
            sums[s] = sum;
        }
        block_sync();
        for (size_t s = 0; s < some; s++) {
            double sum = sums[s];
            total = base + s > first_segment ? total + sum : sum;
        }
        block_sync();
    }
    return total;
}

struct Plus {
    Global<const float> x;
    DEVICE_FN double operator()(double sum, size_t i) const
    {
        float v = x[i];
        return sum + (double)v;
    }
};

struct Product {
    Global<const float> a, b;
    DEVICE_FN double operator()(double sum, size_t i) const
    {
        float x = a[i], y = b[i];
        return fma((double)x, (double)y, sum);
    }
};

struct Deviation {
    Global<const float> x;
    double centre;
    DEVICE_FN double operator()(double sum, size_t i) const
    {
        float v = x[i];
        return fma((double)v - centre, (double)v - centre, sum);
    }
};

struct Exponential { /* of the elements that `of` marks; null: all */
    Global<const float> z;
    Global<const uint8_t> of;
    double most;
    DEVICE_FN double operator()(double sum, size_t i) const
    {
        if (of != nullptr) {
            uint8_t marked = of[i];
            if (!marked)
                return sum;
        }
        float v = z[i];
        return sum + exact_exp((double)v - most);
    }
};

struct Divergence {
    Global<const float> x, z;
    double x_lse;
    DEVICE_FN double operator()(double sum, size_t i) const
    {
        float u = x[i], v = z[i];
        return fma(exact_exp((double)u - x_lse), (double)u - (double)v, sum);
    }
};

struct Score { /* already e^(score - max), in shared memory */
    Shared<double> p;
    DEVICE_FN double operator()(double sum, size_t i) const
    {
        double v = p[i];
        return sum + v;
    }
};

static inline dim3 pieces(size_t rows, size_t cols)
{
    return dim3((unsigned)rows, (unsigned)((cols + EXACT_THREADS - 1) / EXACT_THREADS));
}

#endif
