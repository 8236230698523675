/* forward.c: the forward pass of a decoder over the op table. What differs between models is a trait (loaders/traits.h); where a
 * trait is absent its step falls away.
 *
 *   attention half:  x + m * norm2(O(attention(rope(clip(qk_norm(QKV(norm(x)) + bias))))))       MLP half:  x + m * norm2(MLP(norm(x)))
 *   gated MLP: down(act(gate) * up)      plain: down(act(up))       mixture: experts chosen by softmax(router) top-k, and
 *   sigmoid(gate(x)) * the shared expert. m is the residual multiplier. Which of norm and norm2 a model has is its NormPlace;
 *   NORM_AFTER: norm2(x + m * f(x)).
 *
 * Rows are tiled so that scratch is bounded and stays near the caches: a tile is a list of pieces, each some consecutive whole
 * families of windows of one lane, at most max_rows rows together. Keys and values of a family's base serve the windows that
 * continue it: they lie in the same tile. */
#include "engine/forward_internal.h"

enum { FUSED_ADD_MIN_ROWS = 192 }; /* below, one GEMM over the whole tile beats one per piece */

static NormSpec norm_spec(const ModelTraits *t)
{
    return (NormSpec){.kind = t->norm_kind, .eps = t->norm_eps, .weight_offset = t->norm_weight_offset, .group = t->d_model};
}

/* Embeddings of another width than the stream, projected to it tile by tile. */
static void embed_projected(Forward *f, const TokenBlock *block, const WeightPart *table, View out)
{
    for (size_t at = 0, n; at < out.rows; at += n) {
        n = out.rows - at < f->sizes.max_rows ? out.rows - at : f->sizes.max_rows;
        View embedded = f->embedded, gemm = f->embedded_gemm;
        embedded.rows = gemm.rows = n;
        f->ops->embed(f->ctx, embedded, block->ids + at, table, f->model->traits.embedding_multiplier);
        f->ops->copy(f->ctx, gemm, embedded);
        f->ops->linear(f->ctx, view_rows(out, at, n, dtype_block_bytes(f->ops->resid_dtype)), gemm,
                       &f->embed_weights.project_in, NULL);
    }
}

static void add_learned_positions(Forward *f, const TokenBlock *block, View out)
{
    const ModelTraits *t = &f->model->traits;
    const Binding *learned = &f->model->bindings.role[ROLE_POSITIONS];
    size_t elem = dtype_block_bytes(f->ops->resid_dtype);
    for (size_t w = 0; w < block->n_windows; w++) {
        size_t first = block->window_start[w], n = block->window_start[w + 1] - first;
        for (size_t done = 0; done < n;) { /* positions of one window may exceed a tile's host array */
            size_t some = n - done < f->sizes.max_rows ? n - done : f->sizes.max_rows;
            for (size_t i = 0; i < some; i++)
                f->positions[i] = (int32_t)(token_block_first(block, w) + done + i) + t->position_offset;
            f->ops->embed_add(f->ctx, view_rows(out, first + done, some, elem), f->positions, &learned->parts[0]);
            done += some;
        }
    }
}

void forward_embed(Forward *f, const TokenBlock *block, View out)
{
    const ModelTraits *t = &f->model->traits;
    const WeightPart *table = &f->model->bindings.role[ROLE_EMBED].parts[0];
    if (t->d_embed)
        embed_projected(f, block, table, out);
    else
        f->ops->embed(f->ctx, out, block->ids, table, t->embedding_multiplier);
    if (t->learned_positions)
        add_learned_positions(f, block, out);
    if (t->embed_norm) {
        NormSpec spec = norm_spec(t);
        f->ops->norm(f->ctx, out, out, &spec, &f->embed_weights.norm, &f->embed_weights.norm_bias);
    }
}

/* Puts a family into the tile: its positions, and a sequence for each window, whose keys are the base's first rows, then its own. */
static void add_family(Forward *f, const TokenBlock *block, size_t first_window, size_t end_window)
{
    size_t base = f->tile_rows;
    for (size_t w = first_window; w < end_window; w++) {
        size_t n = block->window_start[w + 1] - block->window_start[w], prefix = token_block_first(block, w);
        if (n == 0)
            continue;
        for (size_t i = 0; i < n; i++)
            f->positions[f->tile_rows + i] = (int32_t)(prefix + i);
        KvSegment *segments = &f->segments[2 * f->n_seqs];
        size_t n_segments = 0;
        if (prefix)
            segments[n_segments++] = (KvSegment){.first_row = base, .n_rows = prefix};
        segments[n_segments++] = (KvSegment){.first_row = f->tile_rows, .n_rows = n};
        f->seqs[f->n_seqs++] = (AttnSeq){
            .q_row = f->tile_rows, .n_q = n, .first_position = (int32_t)prefix, .segments = segments, .n_segments = n_segments};
        f->tile_rows += n;
    }
}

/* Collects the next tile, beginning at (*lane, *window): pieces, positions and sequences. */
static void next_tile(Forward *f, const TokenBlock *block, size_t n_lanes, size_t *lane, size_t *window)
{
    f->n_pieces = f->tile_rows = f->n_seqs = 0;
    while (*lane < n_lanes) {
        size_t end = token_block_family_end(block, *window);
        size_t first = block->window_start[*window], n = block->window_start[end] - first;
        if (f->tile_rows + n > f->sizes.max_rows)
            return;
        Piece *last = f->n_pieces ? &f->pieces[f->n_pieces - 1] : NULL;
        if (last && last->lane == *lane)
            last->n_rows += n;
        else if (n)
            f->pieces[f->n_pieces++] = (Piece){.lane = *lane, .first_row = first, .tile_row = f->tile_rows, .n_rows = n};
        add_family(f, block, *window, end);
        *window = end;
        if (*window == block->n_windows) {
            *window = 0;
            ++*lane;
        }
    }
}

static View top(View v, size_t rows)
{
    v.rows = rows;
    return v;
}

static View lane_rows(const Forward *f, View v, const Piece *p)
{
    return view_rows(v, p->first_row, p->n_rows, dtype_block_bytes(f->ops->resid_dtype));
}

/* f->normed <- what a half layer reads: the norm of the lanes, or, where norms come later, the lanes themselves. */
static void norm_pieces(Forward *f, const ForwardLane *lanes, const Weight *w, const Weight *b)
{
    const ModelTraits *t = &f->model->traits;
    NormSpec spec = norm_spec(t);
    bool before = t->norm_place == NORM_PRE || t->norm_place == NORM_BOTH;
    for (size_t i = 0; i < f->n_pieces; i++) {
        const Piece *p = &f->pieces[i];
        View out = view_rows(f->normed, p->tile_row, p->n_rows, dtype_block_bytes(f->ops->gemm_dtype));
        if (before)
            f->ops->norm(f->ctx, out, lane_rows(f, lanes[p->lane].in, p), &spec, w, b);
        else
            f->ops->copy(f->ctx, out, lane_rows(f, lanes[p->lane].in, p));
    }
}

/* out = in + multiplier * branch, piece by piece. */
static void add_pieces(Forward *f, const ForwardLane *lanes, View branch, bool onto_out)
{
    for (size_t i = 0; i < f->n_pieces; i++) {
        const Piece *p = &f->pieces[i];
        View x = view_rows(branch, p->tile_row, p->n_rows, dtype_block_bytes(branch.dtype));
        View out = lane_rows(f, lanes[p->lane].out, p);
        View in = onto_out ? out : lane_rows(f, lanes[p->lane].in, p);
        f->ops->add(f->ctx, out, in, x, f->model->traits.residual_multiplier);
    }
}

/* Where lane i wants a branch's output: the first of the two branches is attention. */
static const View *branch_tap(const ForwardLane *lane, bool attn)
{
    return attn ? &lane->attn_out : &lane->mlp_out;
}

static void tap_pieces(Forward *f, const ForwardLane *lanes, View branch, bool attn)
{
    for (size_t i = 0; i < f->n_pieces; i++) {
        const Piece *p = &f->pieces[i];
        const View *tap = branch_tap(&lanes[p->lane], attn);
        if (tap->data)
            f->ops->copy(f->ctx, lane_rows(f, *tap, p),
                         view_rows(branch, p->tile_row, p->n_rows, dtype_block_bytes(branch.dtype)));
    }
}

static bool any_tap(const Forward *f, const ForwardLane *lanes, bool attn)
{
    for (size_t i = 0; i < f->n_pieces; i++)
        if (branch_tap(&lanes[f->pieces[i].lane], attn)->data)
            return true;
    return false;
}

/* What a half does with its output: the norm behind it, and whether the residual is added here. */
typedef struct BranchEnd {
    View branch;
    const Weight *norm, *norm_bias;
    bool attn, add;
} BranchEnd;

/* The end of a half whose output is in `branch`: its norm, and the residual sum when `add` is set. */
static void finish_branch(Forward *f, const ForwardLane *lanes, const BranchEnd *end)
{
    const ModelTraits *t = &f->model->traits;
    NormSpec spec = norm_spec(t);
    View x = top(end->branch, f->tile_rows);
    if (t->norm_place == NORM_POST || t->norm_place == NORM_BOTH)
        f->ops->norm(f->ctx, x, x, &spec, end->norm, end->norm_bias);
    tap_pieces(f, lanes, end->branch, end->attn);
    if (!end->add)
        return;
    add_pieces(f, lanes, end->branch, false);
    for (size_t i = 0; t->norm_place == NORM_AFTER && i < f->n_pieces; i++) {
        View out = lane_rows(f, lanes[f->pieces[i].lane].out, &f->pieces[i]);
        f->ops->norm(f->ctx, out, out, &spec, end->norm, end->norm_bias);
    }
}

/* The last projection of a half: into the lanes with the residual added, fused where pieces are tall, or into `branch`. */
static void project(Forward *f, const ForwardLane *lanes, View x, const Weight *w, const Weight *bias, const BranchEnd *end)
{
    size_t shortest = SIZE_MAX;
    for (size_t i = 0; i < f->n_pieces; i++)
        shortest = f->pieces[i].n_rows < shortest ? f->pieces[i].n_rows : shortest;
    bool fuses = end->add && f->ops->linear_add && f->model->traits.norm_place == NORM_PRE && !any_tap(f, lanes, end->attn);
    if (fuses && (shortest >= FUSED_ADD_MIN_ROWS || f->n_pieces == 1)) {
        for (size_t i = 0; i < f->n_pieces; i++) {
            const Piece *p = &f->pieces[i];
            f->ops->linear_add(f->ctx, lane_rows(f, lanes[p->lane].out, p), lane_rows(f, lanes[p->lane].in, p),
                               f->model->traits.residual_multiplier,
                               view_rows(x, p->tile_row, p->n_rows, dtype_block_bytes(x.dtype)), w, bias);
        }
        return;
    }
    f->ops->linear(f->ctx, top(end->branch, f->tile_rows), x, w, bias);
    finish_branch(f, lanes, end);
}

/* Positions of a sequence, those of its base included. */
static size_t seq_length(const AttnSeq *s)
{
    return (size_t)s->first_position + s->n_q;
}

/* Rotates q and k of the tile. Sequences longer than a dynamically scaled table's range take a table of their own length. */
static void rotate(Forward *f, int index, View q, View k)
{
    const ModelTraits *t = &f->model->traits;
    const RopeTraits *r = &t->ropes[index];
    size_t elem = dtype_block_bytes(f->ops->act_dtype);
    for (size_t s = 0; s < f->n_seqs;) {
        RopeTable *table = &f->ropes[index];
        size_t first = f->seqs[s].q_row, n = f->seqs[s].n_q, end = s + 1, length = seq_length(&f->seqs[s]);
        if (rope_table_depends_on_length(r, length)) {
            table = &f->ropes_long[index];
            /* longrope has one table for all the lengths beyond, dynamic scaling one for each */
            size_t len = r->kind == ROPE_LONGROPE ? f->sizes.max_window : length;
            if (table->seq_len != len) {
                Error e; /* memory is there since open; an upload's failure surfaces at sync */
                (void)forward_fill_rope(f, index, table, len, len, &e);
                table->seq_len = len;
            }
        } else {
            while (end < f->n_seqs && !rope_table_depends_on_length(r, seq_length(&f->seqs[end])))
                n += f->seqs[end++].n_q;
        }
        const int32_t *positions = f->positions + first;
        f->ops->rope(f->ctx, view_rows(q, first, n, elem), positions, &table->cosines, &table->sines, t->n_heads, t->head_dim,
                     r->rotary_dims, r->style);
        f->ops->rope(f->ctx, view_rows(k, first, n, elem), positions, &table->cosines, &table->sines, t->n_kv_heads,
                     t->head_dim, r->rotary_dims, r->style);
        s = end;
    }
}

static void norm_queries_keys(Forward *f, const LayerWeights *w, View q, View k)
{
    const ModelTraits *t = &f->model->traits;
    NormSpec spec = {.kind = t->qk_norm_kind, .eps = t->qk_norm_eps, .weight_offset = t->norm_weight_offset};
    spec.group = t->qk_norm == QK_NORM_HEAD ? (size_t)t->head_dim : q.cols;
    f->ops->norm(f->ctx, q, q, &spec, &w->role[ROLE_Q_NORM], &w->role[ROLE_Q_NORM_BIAS]);
    spec.group = t->qk_norm == QK_NORM_HEAD ? (size_t)t->head_dim : k.cols;
    f->ops->norm(f->ctx, k, k, &spec, &w->role[ROLE_K_NORM], &w->role[ROLE_K_NORM_BIAS]);
}

/* From the tile's `normed` to attention's output before O, in f->attended. */
static void attend(Forward *f, int layer, const LayerWeights *w)
{
    const ModelTraits *t = &f->model->traits;
    const LayerTraits *lt = &t->layers[layer];
    size_t elem = dtype_block_bytes(f->ops->act_dtype), dh = (size_t)t->head_dim;
    size_t q_cols = (size_t)t->n_heads * dh, kv_cols = (size_t)t->n_kv_heads * dh;
    View qkv = top(f->qkv, f->tile_rows);
    f->ops->linear(f->ctx, qkv, top(f->normed, f->tile_rows), &w->role[ROLE_QKV], &w->role[ROLE_QKV_BIAS]);
    View q = view_cols(qkv, 0, q_cols, elem), k = view_cols(qkv, q_cols, kv_cols, elem);
    View v = view_cols(qkv, q_cols + kv_cols, kv_cols, elem);
    if (t->qk_norm != QK_NORM_NONE)
        norm_queries_keys(f, w, q, k);
    if (t->qkv_clip > 0)
        f->ops->clip(f->ctx, qkv, t->qkv_clip);
    if (lt->rope >= 0)
        rotate(f, lt->rope, q, k);
    AttnSpec spec = {.n_heads = t->n_heads,
                     .n_kv_heads = t->n_kv_heads,
                     .head_dim = t->head_dim,
                     .scale = t->attn_scale,
                     .softcap = t->attn_softcap,
                     .window = lt->window,
                     .alibi_slopes = t->alibi_slopes,
                     .alibi_bf16 = t->alibi_bf16};
    f->ops->attention(f->ctx, top(f->attended, f->tile_rows), q, k, v, f->seqs, f->n_seqs, &spec);
}

static void attention_half(Forward *f, int layer, const LayerWeights *w, const ForwardLane *lanes, View branch, bool add)
{
    bool after = f->model->traits.norm_place == NORM_AFTER;
    BranchEnd end = {.branch = branch,
                     .norm = &w->role[after ? ROLE_ATTN_NORM : ROLE_ATTN_POST_NORM],
                     .norm_bias = &w->role[after ? ROLE_ATTN_NORM_BIAS : ROLE_ATTN_POST_NORM_BIAS],
                     .attn = true,
                     .add = add};
    attend(f, layer, w);
    project(f, lanes, top(f->attended, f->tile_rows), &w->role[ROLE_O], &w->role[ROLE_O_BIAS], &end);
}

/* hidden <- act(gate) * up of a gated MLP of width n. */
static View gated_hidden(Forward *f, const Weight *w, const Weight *bias, size_t n)
{
    size_t elem = dtype_block_bytes(f->ops->act_dtype);
    View gate_up = top(f->gate_up, f->tile_rows), hidden = top(f->hidden, f->tile_rows);
    gate_up.cols = gate_up.ld = 2 * n;
    hidden.cols = hidden.ld = n;
    f->ops->linear(f->ctx, gate_up, top(f->normed, f->tile_rows), w, bias);
    f->ops->glu(f->ctx, hidden, view_cols(gate_up, 0, n, elem), view_cols(gate_up, n, n, elem), f->model->traits.activation);
    return hidden;
}

/* branch <- the mixture of the tile's `normed`. */
static void mixture(Forward *f, const LayerWeights *w, View branch)
{
    const ModelTraits *t = &f->model->traits;
    size_t rows = f->tile_rows;
    View normed = top(f->normed, rows), out = top(branch, rows), shared = top(f->shared, rows), share = f->share;
    f->ops->linear(f->ctx, top(f->router, rows), normed, &w->role[ROLE_ROUTER], NULL);
    f->ops->route(f->ctx, f->routes, top(f->router, rows), &t->route);
    f->ops->moe(f->ctx, out, normed, f->routes, w->experts, &t->route, t->activation);
    if (!t->d_shared)
        return;
    View hidden = gated_hidden(f, &w->role[ROLE_SHARED_GATE_UP], NULL, t->d_shared);
    f->ops->linear(f->ctx, shared, hidden, &w->role[ROLE_SHARED_DOWN], NULL);
    share.rows = rows;
    if (t->shared_gate)
        f->ops->linear(f->ctx, share, normed, &w->role[ROLE_SHARED_GATE], NULL);
    f->ops->add_gated(f->ctx, out, out, shared, share);
}

static void mlp_half(Forward *f, int layer, const LayerWeights *w, const ForwardLane *lanes, View branch, bool add)
{
    const ModelTraits *t = &f->model->traits;
    bool after = t->norm_place == NORM_AFTER;
    BranchEnd end = {.branch = branch,
                     .norm = &w->role[after ? ROLE_MLP_NORM : ROLE_MLP_POST_NORM],
                     .norm_bias = &w->role[after ? ROLE_MLP_NORM_BIAS : ROLE_MLP_POST_NORM_BIAS],
                     .add = add};
    View hidden = {0}, up = top(f->gate_up, f->tile_rows);
    switch (t->layers[layer].mlp) {
    case MLP_GATED:
        hidden = gated_hidden(f, &w->role[ROLE_GATE_UP], &w->role[ROLE_GATE_UP_BIAS], t->d_ff);
        break;
    case MLP_PLAIN:
        hidden = top(f->hidden, f->tile_rows);
        up.cols = up.ld = hidden.cols = hidden.ld = t->d_ff;
        f->ops->linear(f->ctx, up, top(f->normed, f->tile_rows), &w->role[ROLE_GATE_UP], &w->role[ROLE_GATE_UP_BIAS]);
        f->ops->act(f->ctx, hidden, up, t->activation);
        break;
    case MLP_MOE:
        mixture(f, w, branch);
        finish_branch(f, lanes, &end);
        return;
    }
    project(f, lanes, hidden, &w->role[ROLE_DOWN], &w->role[ROLE_DOWN_BIAS], &end);
}

static void whole_layer(Forward *f, int layer, const LayerWeights *w, const ForwardLane *lanes)
{
    attention_half(f, layer, w, lanes, f->branch, false);
    if (!f->model->traits.one_norm)
        norm_pieces(f, lanes, &w->role[ROLE_MLP_NORM], &w->role[ROLE_MLP_NORM_BIAS]);
    mlp_half(f, layer, w, lanes, f->branch2, false);
    add_pieces(f, lanes, f->branch, false);
    add_pieces(f, lanes, f->branch2, true);
}

void forward_batch(Forward *f, StepKind kind, int layer, const LayerWeights *w, const TokenBlock *block,
                   const ForwardLane *lanes, size_t n_lanes)
{
    bool mlp_only = kind == STEP_MLP && !f->model->traits.one_norm;
    const Weight *norm = &w->role[mlp_only ? ROLE_MLP_NORM : ROLE_ATTN_NORM];
    const Weight *norm_bias = &w->role[mlp_only ? ROLE_MLP_NORM_BIAS : ROLE_ATTN_NORM_BIAS];
    size_t lane = 0, window = 0;
    while (lane < n_lanes && block->n_windows) {
        next_tile(f, block, n_lanes, &lane, &window);
        norm_pieces(f, lanes, norm, norm_bias);
        if (kind == STEP_ATTN)
            attention_half(f, layer, w, lanes, f->branch, true);
        else if (kind == STEP_MLP)
            mlp_half(f, layer, w, lanes, f->branch, true);
        else
            whole_layer(f, layer, w, lanes);
    }
}

void forward_final_norm(Forward *f, const HeadWeights *w, View x, View out)
{
    const ModelTraits *t = &f->model->traits;
    NormSpec spec = norm_spec(t);
    if (t->final_norm)
        f->ops->norm(f->ctx, out, x, &spec, &w->final_norm, &w->final_norm_bias);
    else
        f->ops->copy(f->ctx, out, x);
}

View forward_project_out(Forward *f, const HeadWeights *w, View normed, View projected)
{
    if (!f->model->traits.d_embed)
        return normed;
    projected.rows = normed.rows;
    f->ops->linear(f->ctx, projected, normed, &w->project_out, NULL);
    return projected;
}
