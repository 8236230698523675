/* device.h: which device serves --gpu_id, and which dtype is its default.
 *
 *   cpu    the processor, f32
 *   N      GPU N, bf16 (numerics fast) or f32 (numerics exact); an error that names --gpu_id cpu where it cannot be used
 *   auto   the first usable GPU for numerics fast, else the processor (other numerics give the same bits on both, or are the processor's
 *          alone). Of several processes that a launcher starts on one machine, process i takes GPU i modulo their number.
 * Which dtypes a device serves is ops_find()'s to say.
 * A GPU is usable from compute capability 8.0 (bf16 tensor cores). */
#ifndef STRATA_KERNELS_DEVICE_H
#define STRATA_KERNELS_DEVICE_H

#include "engine/base/error.h"

typedef struct Device {
    const char *kind;  /* "cpu" or "cuda", as ops_find() takes it */
    int index;         /* of the GPU */
    const char *dtype; /* asked for, or the kind's default */
    char stamp[128];   /* "cpu", or the GPU's name, for results */
} Device;

/* dtype NULL or "": the default. numerics as given on the command line. */
int device_choose(const char *gpu_id, const char *numerics, const char *dtype, Device *out, Error *e);

#endif
