/* forward.h: THE forward pass, written once over the op table. It branches on traits, never on a family's name, and
 * dereferences no activation. One call runs one half layer (or a whole parallel layer) for all the nodes of a batch: the rows of
 * all nodes go through the layer's weights together, tile by tile. */
#ifndef STRATA_ENGINE_FORWARD_H
#define STRATA_ENGINE_FORWARD_H

#include <stddef.h>
#include <stdint.h>

#include "engine/model.h"
#include "engine/plan.h"
#include "kernels/ops.h"
#include "loaders/rope_table.h"

/* The tokens all nodes of a run see: whole windows one after another. Positions count from 0 in each window.
 *
 * A window may continue another one: with prefix_rows[w] = p > 0 the first p positions of window w are those of its base, the last
 * window before it with prefix_rows 0, and its own rows hold positions p, p + 1, ... A base and the windows that continue it are a
 * family; common prefixes of pairs, and of a pair's controls, are computed once this way. Under a RoPE that depends on the
 * sequence's length a family's windows must end at the same position. */
typedef struct TokenBlock {
    const int32_t *ids;         /* [n_rows], host */
    const size_t *window_start; /* [n_windows + 1]: rows; window w is rows [window_start[w], window_start[w+1]) */
    size_t n_rows, n_windows;
    const size_t *prefix_rows; /* [n_windows], or NULL: no window continues another */
} TokenBlock;

/* Position of a window's first row. */
static inline size_t token_block_first(const TokenBlock *b, size_t window)
{
    return b->prefix_rows ? b->prefix_rows[window] : 0;
}

/* The first window behind the family that begins at `window`. */
static inline size_t token_block_family_end(const TokenBlock *b, size_t window)
{
    size_t end = window + 1;
    while (end < b->n_windows && token_block_first(b, end) > 0)
        end++;
    return end;
}

/* One node of a batch: its parent's residual and its own, [n_rows, D] each; may be the same buffer. Where attn_out or mlp_out has
 * data, that branch's output goes there too, [n_rows, D] resid dtype: what the residual multiplier and the sum will get, after a
 * post-norm. */
typedef struct ForwardLane {
    View in, out, attn_out, mlp_out;
} ForwardLane;

typedef struct ForwardSizes {
    size_t max_rows;   /* rows of a tile; at least the longest window, or family of windows */
    size_t max_window; /* positions of RoPE tables */
} ForwardSizes;

typedef struct Forward Forward;

/* Bytes taken by forward_open: device scratch through ops->alloc plus host arrays. Pure. */
size_t forward_bytes(const Model *m, const Ops *ops, const ForwardSizes *sizes);
int forward_open(const Model *m, const Ops *ops, OpsContext *ctx, const ForwardSizes *sizes, RopeArithmetic rope, Forward **out,
                 Error *e);
void forward_close(Forward *f);

/* out [n_rows, D] = embedding of the block's ids (and learned positions). */
void forward_embed(Forward *f, const TokenBlock *block, View out);

/* kind: STEP_ATTN (x + attention), STEP_MLP (x + MLP), or STEP_WHOLE (x + both branches, for a parallel residual). */
void forward_batch(Forward *f, StepKind kind, int layer, const LayerWeights *w, const TokenBlock *block,
                   const ForwardLane *lanes, size_t n_lanes);

/* out [n, D] = final norm of rows x (a copy where the model has none), gemm dtype. */
void forward_final_norm(Forward *f, const HeadWeights *w, View x, View out);

/* What the head multiplies: the rows of `normed`, or their projection in `projected` [>= n, d_embed] where the model has one. */
View forward_project_out(Forward *f, const HeadWeights *w, View normed, View projected);

#endif
