/* sketch.h: a stream of numbers in 264 bytes, however many come: what is added to, by the text that host and device share. What is read
 * from it, and how far off that can be: experiments/diff_sketch.h.
 *
 * The first SKETCH_FIRST values are kept as they are. When one more comes, a grid is laid once and for all: SKETCH_BINS equal bins between
 * the (trim+1)-th smallest and the (trim+1)-th largest of the values kept, and one open bin at each side; from then on values are counted,
 * those kept among them. Counts end at 65535: later values are left out.
 *
 * NaN is the smallest of all values, and counts in the lower open bin. With more than `trim` of them among the first the grid has no lower
 * end, and all values count there. Which NaN is kept of those there are is not said. */
#ifndef STRATA_KERNELS_SKETCH_H
#define STRATA_KERNELS_SKETCH_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C++" {
#endif
#include "kernels/exact/exact_math.h" /* STRATA_HD, exact_bits_f32 */
#ifdef __cplusplus
}
#endif

enum { SKETCH_FIRST = 64, SKETCH_BINS = 126, SKETCH_MOST = 65535 };

typedef struct Sketch {
    float lo, width;
    union {
        float first[SKETCH_FIRST];
        uint16_t bin[SKETCH_BINS + 2]; /* 0 and the last: open */
    } as;
} Sketch;

/* A value's place in the order of all: NaN 0, then -infinity to infinity. */
static STRATA_HD inline uint32_t sketch_key(float value)
{
    uint32_t bits = exact_bits_f32(value);
    if (value != value)
        return 0;
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static STRATA_HD inline float sketch_of_key(uint32_t key)
{
    if (key == 0)
        return exact_of_bits_f32(0x7FC00000u);
    return exact_of_bits_f32(key >> 31 ? key & 0x7FFFFFFFu : ~key);
}

/* The value of rank r < SKETCH_FIRST / 2 (from 0) of the kept ones, from below or from above. */
static STRATA_HD inline float sketch_ranked(const float *first, int r, bool from_above)
{
    uint32_t least[SKETCH_FIRST / 2], flip = from_above ? 0xFFFFFFFFu : 0; /* the r + 1 least keys so far, ascending */
    int n = 0;
    for (int i = 0; i < SKETCH_FIRST; i++) {
        uint32_t key = sketch_key(first[i]) ^ flip;
        /* cppcheck-suppress uninitvar ; n values have been written */
        if (n > r && key >= least[r])
            continue;
        int at = n > r ? r : n++;
        for (; at > 0 && least[at - 1] > key; at--)
            least[at] = least[at - 1];
        least[at] = key;
    }
    return sketch_of_key(least[r] ^ flip);
}

/* Of a bin, between the grid's ends. */
static STRATA_HD inline float sketch_width(float lo, float hi)
{
    float width = (hi - lo) * (1 + 1e-6f) / (float)SKETCH_BINS;
    if (width > 0)
        return width;
    return fabsf(lo) > 0 ? fabsf(lo) * 1e-6f : 1e-30f; /* all alike: a bin around them */
}

static STRATA_HD inline unsigned sketch_bin(float lo, float width, float value)
{
    float at = (value - lo) / width;
    if (!(at >= 0))
        return 0;
    return at < (float)SKETCH_BINS ? 1 + (unsigned)at : SKETCH_BINS + 1;
}

/* n: values that came before; a zeroed sketch holds none. trim < SKETCH_FIRST / 2: the less, the wider the grid. On the host. */
static inline void sketch_add(Sketch *s, size_t n, int trim, float value)
{
    if (n < SKETCH_FIRST) {
        s->as.first[n] = value;
        return;
    }
    if (n >= SKETCH_MOST)
        return;
    if (n == SKETCH_FIRST) {
        float first[SKETCH_FIRST];
        memcpy(first, s->as.first, sizeof first);
        s->lo = sketch_ranked(first, trim, false);
        s->width = sketch_width(s->lo, sketch_ranked(first, trim, true));
        memset(s->as.bin, 0, sizeof s->as.bin);
        for (int i = 0; i < SKETCH_FIRST; i++)
            s->as.bin[sketch_bin(s->lo, s->width, first[i])]++;
    }
    s->as.bin[sketch_bin(s->lo, s->width, value)]++;
}

#endif
