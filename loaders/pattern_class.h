/* pattern_class.h: sets of code points for regular expressions: sorted ranges, and a bitmap for ASCII. */
#ifndef STRATA_LOADERS_PATTERN_CLASS_H
#define STRATA_LOADERS_PATTERN_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"

typedef struct PatternRange {
    uint32_t first, last;
} PatternRange;

typedef struct PatternClass {
    PatternRange *ranges; /* sorted, disjoint, not adjacent once pattern_class_finish was called */
    size_t n, cap;
    uint32_t ascii[4];
    bool failed; /* out of memory */
} PatternClass;

void pattern_class_add(PatternClass *c, uint32_t first, uint32_t last);
void pattern_class_add_class(PatternClass *c, const PatternClass *other);
void pattern_class_add_categories(PatternClass *c, uint32_t mask);
void pattern_class_add_space(PatternClass *c); /* \s */
void pattern_class_add_word(PatternClass *c);  /* \w */
void pattern_class_fold(PatternClass *c);      /* closes it under simple case folding */
void pattern_class_finish(PatternClass *c);    /* sorts and joins; makes the bitmap */
void pattern_class_negate(PatternClass *c);
void pattern_class_intersect(PatternClass *c, PatternClass *other);
void pattern_class_free(PatternClass *c);

static inline bool pattern_class_has(const PatternClass *c, uint32_t x)
{
    if (x < 128)
        return c->ascii[x >> 5] >> (x & 31) & 1;
    size_t lo = 0, hi = c->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c->ranges[mid].last < x)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->n && c->ranges[lo].first <= x;
}

#endif
