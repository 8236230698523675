/* influence.h: how much each layer moves the residual stream of the intact model, from one pass.
 *
 *   block influence of layer l (ShortGPT, arXiv 2403.03853): 1 - mean over all tokens of cos(x_l, x_{l+1})
 *   angular distance of n layers from l (arXiv 2403.17887): mean over windows of arccos(cos(x_l, x_{l+n})) / pi at the window's
 *   last token, l + n <= L
 * where x_l is the residual stream before layer l and x_L the one after the last. A cosine with a zero vector counts as 0;
 * cosines are clamped to [-1, 1]; a NaN stays NaN.
 *
 * Sums are kept per token block in influence.safetensors (cosine_sum F64 [blocks, L], angle_sum F64 [blocks, L(L+1)/2],
 * n_tokens and n_windows I64 [blocks]), written at fixed offsets before the ledger's block is committed, so that a resumed run
 * ends with the same figures to the bit; totals add blocks in ascending order. */
#ifndef STRATA_EXPERIMENTS_INFLUENCE_H
#define STRATA_EXPERIMENTS_INFLUENCE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

typedef struct InfluenceSums {
    int n_layers;       /* L */
    double *cosine_sum; /* [L]: sum over tokens of cos(x_l, x_{l+1}) */
    double *angle_sum;  /* [L(L+1)/2], influence_angle_index: sum over windows of arccos(cos) / pi */
    int64_t n_tokens, n_windows;
} InfluenceSums;

int influence_sums_init(InfluenceSums *s, int n_layers, Error *e); /* all zero */
void influence_sums_clear(InfluenceSums *s);
void influence_sums_free(InfluenceSums *s);

/* Place of (n, l) in angle_sum: n = 1..L ascending, within it l = 0..L-n. */
static inline size_t influence_angle_index(int n_layers, int n, int l)
{
    size_t before = (size_t)(n - 1);
    return before * (size_t)n_layers - before * (before > 0 ? before - 1 : 0) / 2 + (size_t)l;
}

/* What a pass adds. cos(a, b) over d elements, products and sums in f64, in ascending order: the same on every machine. */
double influence_cosine_f32(const float *a, const float *b, size_t d);
double influence_cosine_f64(const double *a, const double *b, size_t d);
void influence_add_token(InfluenceSums *s, int layer, double cosine); /* into cosine_sum; layer 0 also counts the token */
void influence_add_angle(InfluenceSums *s, int n, int layer, double cosine); /* into angle_sum; (1, 0) also counts the window */

typedef struct InfluenceFile InfluenceFile;
int influence_file_bytes(int n_layers, size_t n_blocks, size_t *bytes, Error *e);
/* Creates dir/influence.safetensors, or reopens it when its shape is the same. first_block 0 always starts it anew. */
int influence_file_open(const char *dir, int n_layers, size_t n_blocks, size_t first_block, InfluenceFile **out, Error *e);
int influence_file_write(InfluenceFile *f, size_t block, const InfluenceSums *sums, Error *e); /* fsynced */
/* Adds up all blocks into total (initialised, same L); call when all are written. */
int influence_file_total(const InfluenceFile *f, InfluenceSums *total, Error *e);
void influence_file_close(InfluenceFile *f); /* accepts NULL */

#endif
