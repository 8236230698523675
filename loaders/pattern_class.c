/* pattern_class.c: building sets of code points. */
#include "loaders/pattern_class.h"

#include <stdlib.h>
#include <string.h>

#include "loaders/unicode.h"

void pattern_class_add(PatternClass *c, uint32_t first, uint32_t last)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 16;
        PatternRange *ranges = realloc(c->ranges, cap * sizeof *ranges);
        if (!ranges) {
            c->failed = true;
            return;
        }
        c->ranges = ranges;
        c->cap = cap;
    }
    c->ranges[c->n++] = (PatternRange){first, last};
}

void pattern_class_add_class(PatternClass *c, const PatternClass *other)
{
    for (size_t i = 0; i < other->n; i++)
        pattern_class_add(c, other->ranges[i].first, other->ranges[i].last);
}

typedef struct Wanted {
    PatternClass *c;
    uint32_t mask;
} Wanted;

static bool add_run(uint32_t first, uint32_t last, UnicodeCategory k, void *arg)
{
    const Wanted *w = arg;
    if (w->mask >> k & 1)
        pattern_class_add(w->c, first, last);
    return true;
}

void pattern_class_add_categories(PatternClass *c, uint32_t mask)
{
    Wanted w = {c, mask};
    unicode_category_runs(add_run, &w);
}

void pattern_class_add_space(PatternClass *c)
{
    for (uint32_t x = 0; x <= 0x3000; x++)
        if (unicode_is_space(x))
            pattern_class_add(c, x, x);
}

void pattern_class_add_word(PatternClass *c)
{
    static const char *const names[] = {"L", "M", "Nd", "Nl", "Pc"};
    uint32_t mask = 0, first, last;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        mask |= unicode_category_mask(names[i], strlen(names[i]));
    pattern_class_add_categories(c, mask);
    for (size_t i = 0; unicode_word_extra(i, &first, &last); i++)
        pattern_class_add(c, first, last);
}

void pattern_class_fold(PatternClass *c)
{
    size_t n = c->n;
    for (size_t i = 0; i < n; i++) {
        PatternRange range = c->ranges[i];
        for (uint32_t x = range.first; x <= range.last && x <= 0x1e943; x++) { /* nothing cased lies beyond */
            uint32_t same[8];
            size_t k = unicode_fold_class(x, same, 8);
            for (size_t j = 0; j < k && j < 8; j++)
                pattern_class_add(c, same[j], same[j]);
        }
    }
}

static int by_first(const void *a, const void *b)
{
    uint32_t x = ((const PatternRange *)a)->first, y = ((const PatternRange *)b)->first;
    return (x > y) - (x < y);
}

void pattern_class_finish(PatternClass *c)
{
    if (c->n)
        qsort(c->ranges, c->n, sizeof *c->ranges, by_first);
    size_t kept = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (kept && c->ranges[i].first <= c->ranges[kept - 1].last + 1) {
            if (c->ranges[i].last > c->ranges[kept - 1].last)
                c->ranges[kept - 1].last = c->ranges[i].last;
        } else {
            c->ranges[kept++] = c->ranges[i];
        }
    }
    c->n = kept;
    memset(c->ascii, 0, sizeof c->ascii);
    for (size_t i = 0; i < c->n; i++)
        for (uint32_t x = c->ranges[i].first; x <= c->ranges[i].last && x < 128; x++)
            c->ascii[x >> 5] |= 1u << (x & 31);
}

void pattern_class_negate(PatternClass *c)
{
    pattern_class_finish(c);
    PatternClass out = {.failed = c->failed};
    uint32_t next = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (c->ranges[i].first > next)
            pattern_class_add(&out, next, c->ranges[i].first - 1);
        next = c->ranges[i].last + 1;
    }
    if (next < UNICODE_LIMIT)
        pattern_class_add(&out, next, UNICODE_LIMIT - 1);
    pattern_class_finish(&out);
    free(c->ranges);
    *c = out;
}

void pattern_class_intersect(PatternClass *c, PatternClass *other)
{
    pattern_class_negate(c);
    pattern_class_negate(other);
    pattern_class_add_class(c, other);
    pattern_class_negate(c);
}

void pattern_class_free(PatternClass *c)
{
    free(c->ranges);
    memset(c, 0, sizeof *c);
}
