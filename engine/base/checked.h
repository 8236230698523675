/* checked.h: overflow-checked size arithmetic, for every size that comes out of a file or an option. */
#ifndef STRATA_BASE_CHECKED_H
#define STRATA_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>

static inline bool checked_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool checked_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* offset + size <= total, without overflow. */
static inline bool checked_range(size_t offset, size_t size, size_t total)
{
    return offset <= total && size <= total - offset;
}

/* n rounded up to a multiple of align (a power of two); false on overflow. */
static inline bool checked_align(size_t n, size_t align, size_t *out)
{
    if (!checked_add(n, align - 1, out))
        return false;
    *out &= ~(align - 1);
    return true;
}

#endif
