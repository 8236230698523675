/* diff_rotate.h: random orthogonal maps of D dimensions at the price of D log D: three rounds of random signs, a random permutation and
 * normalised Hadamard transforms of blocks (D cut into powers of two, the largest first). Each round is orthogonal exactly; after
 * three, every coordinate is a mixture of all. The baseline of "does the coordinate basis matter?". */
#ifndef STRATA_EXPERIMENTS_DIFF_ROTATE_H
#define STRATA_EXPERIMENTS_DIFF_ROTATE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

enum { DIFF_ROTATE_ROUNDS = 3 };

typedef struct DiffRotations {
    size_t n, d;
    int32_t *from; /* [n, DIFF_ROTATE_ROUNDS, d]: where coordinate i comes from, as ~index when its sign changes */
} DiffRotations;

int diff_rotations_open(size_t n, size_t d, uint64_t seed, DiffRotations *out, Error *e);
void diff_rotations_close(DiffRotations *r); /* accepts zeroed */
/* out[d] = rotation k of x[d]; scratch[d]; none may overlap. */
void diff_rotate(const DiffRotations *r, size_t k, const float *x, float *out, float *scratch);

#endif
