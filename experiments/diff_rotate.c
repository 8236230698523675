/* diff_rotate.c: see diff_rotate.h. */
#include "experiments/diff_rotate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/rng.h"

enum { ROTATE_STREAM = 22 };

int diff_rotations_open(size_t n, size_t d, uint64_t seed, DiffRotations *out, Error *e)
{
    *out = (DiffRotations){.n = n, .d = d};
    out->from = malloc((n * DIFF_ROTATE_ROUNDS * d + 1) * sizeof *out->from);
    if (!out->from)
        return error_set(e, STATUS_FAILED, "diff: out of memory for %zu rotations", n);
    Rng rng;
    rng_seed(&rng, seed, ROTATE_STREAM);
    for (size_t round = 0; round < n * DIFF_ROTATE_ROUNDS; round++) {
        int32_t *from = out->from + round * d;
        for (size_t i = 0; i < d; i++)
            from[i] = (int32_t)i;
        rng_shuffle(&rng, from, d);
        for (size_t i = 0; i < d; i++)
            from[i] = rng_below(&rng, 2) ? ~from[i] : from[i];
    }
    return STATUS_OK;
}

void diff_rotations_close(DiffRotations *r)
{
    free(r->from);
    memset(r, 0, sizeof *r);
}

/* In place; n a power of two. */
static void hadamard(float *x, size_t n)
{
    for (size_t half = 1; half < n; half *= 2) {
        for (size_t i = 0; i < n; i += 2 * half) {
            for (size_t j = i; j < i + half; j++) {
                float a = x[j], b = x[j + half];
                x[j] = a + b;
                x[j + half] = a - b;
            }
        }
    }
    float scale = 1 / sqrtf((float)n);
    for (size_t i = 0; i < n; i++)
        x[i] *= scale;
}

void diff_rotate(const DiffRotations *r, size_t k, const float *x, float *out, float *scratch)
{
    size_t d = r->d;
    const float *in = x;
    for (size_t round = 0; round < DIFF_ROTATE_ROUNDS; round++) {
        const int32_t *from = r->from + (k * DIFF_ROTATE_ROUNDS + round) * d;
        float *to = round % 2 ? scratch : out; /* an odd number of rounds ends in out */
        for (size_t i = 0; i < d; i++)
            to[i] = from[i] < 0 ? -in[~from[i]] : in[from[i]];
        for (size_t at = 0; at < d;) {
            size_t n = 1;
            while (2 * n <= d - at)
                n *= 2;
            hadamard(to + at, n);
            at += n;
        }
        in = to;
    }
}
