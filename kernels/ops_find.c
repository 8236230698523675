/* ops_find.c: which table serves which arithmetic on which device. */
#include <string.h>

#include "kernels/ops.h"

const Ops *ops_find(const char *device, const char *numerics, const char *dtype, Error *e)
{
    if (strcmp(device, "cpu") == 0 && strcmp(numerics, "fast") == 0 && strcmp(dtype, "f32") == 0)
        return &ops_cpu_fast;
    error_set(e, STATUS_USAGE, "--numerics %s --dtype %s on %s is not served; served is --numerics fast --dtype f32 on cpu",
              numerics, dtype, device);
    return NULL;
}
