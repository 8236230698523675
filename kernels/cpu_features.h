/* cpu_features.h: what this processor has, and the mask that limits it. The mask is the only mutable global of the project:
 * --cpu and STRATA_CPU set it once at start; tests walk through it. */
#ifndef STRATA_KERNELS_CPU_FEATURES_H
#define STRATA_KERNELS_CPU_FEATURES_H

#include "engine/base/error.h"

typedef enum CpuLevel { CPU_SCALAR, CPU_AVX2, CPU_AVX512 } CpuLevel; /* AVX2 means AVX2 + FMA + F16C; AVX512: F, BW, DQ, VL */

CpuLevel cpu_level_native(void); /* what processor and operating system allow */
CpuLevel cpu_level(void);        /* min(native, mask) */
const char *cpu_level_name(CpuLevel level);
/* "scalar", "avx2", "avx512" or "native"; asking for more than the processor has is an error. Sets OPENBLAS_CORETYPE to match
 * (Prescott-like for scalar, Haswell for avx2, SkylakeX for avx512) unless the user set it: works only before OpenBLAS loads,
 * so the command line re-executes itself when OpenBLAS has already chosen another core. */
int cpu_level_set(const char *name, Error *e);
const char *cpu_processor_name(void); /* "AMD EPYC 7B13", from cpuid or /proc/cpuinfo */
const char *cpu_blas_core(void);      /* the core OpenBLAS runs with, "Zen"; "none" without OpenBLAS */

#endif
