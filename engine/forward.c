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
#include "engine/forward.h"

#include <stdlib.h>
#include <string.h>

enum { FUSED_ADD_MIN_ROWS = 192 }; /* below, one GEMM over the whole tile beats one per piece */

typedef struct Piece {
    size_t lane, first_row; /* rows of the lane's residual */
    size_t tile_row;        /* where they lie in the tile */
    size_t n_rows;
} Piece;

typedef struct RopeTable {
    Weight cosines, sines;
    void *memory;
    size_t bytes;
    size_t seq_len; /* 0: serves every length */
} RopeTable;

struct Forward {
    const Model *model;
    const Ops *ops;
    OpsContext *ctx;
    ForwardSizes sizes;
    RopeArithmetic rope_arithmetic;

    void *scratch;
    size_t scratch_bytes;
    View normed;   /* [max_rows, D] gemm */
    View qkv;      /* [max_rows, (H+2K)*Dh] act */
    View attended; /* [max_rows, H*Dh] gemm */
    View branch;   /* [max_rows, D] act: a half's output before the residual add */
    View branch2;  /* likewise, for the second branch of a parallel residual */
    View gate_up;  /* [max_rows, 2F] act */
    View hidden;   /* [max_rows, F] gemm */
    View router;   /* [max_rows, E] act */
    Routes routes; /* [max_rows, top_k] */
    View shared;   /* [max_rows, D] act: output of the expert every token takes */
    View share;    /* [max_rows, 1] act: its gate, data NULL when it has none */
    View embedded; /* [max_rows, d_embed] resid, and in gemm dtype: embeddings before their projection */
    View embedded_gemm;

    EmbedWeights embed_weights;
    void *embed_slot;

    RopeTable ropes[TRAITS_MAX_ROPES];      /* for lengths that share one table */
    RopeTable ropes_long[TRAITS_MAX_ROPES]; /* the last length-dependent table used */
    float *rope_host;                       /* [2, max_window, R/2] while a table is made */

    int32_t *positions;  /* [max_rows], of the tile */
    AttnSeq *seqs;       /* [max_rows] */
    KvSegment *segments; /* [2 * max_rows] */
    Piece *pieces;       /* [max_rows] */
    size_t n_pieces, tile_rows, n_seqs;
};

static size_t elem_bytes(DType t)
{
    return dtype_block_bytes(t);
}

static size_t round64(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

typedef struct ScratchPlan {
    size_t normed, qkv, attended, branch, branch2, gate_up, hidden, router, route_expert, route_weight, shared, share, embedded,
        embedded_gemm, total;
} ScratchPlan;

/* Columns of gate_up: the widest of the layers' MLPs and the shared expert. */
static size_t gate_up_cols(const ModelTraits *t)
{
    size_t dense = traits_has_mlp(t, MLP_GATED) ? 2 * t->d_ff : traits_has_mlp(t, MLP_PLAIN) ? t->d_ff : 0;
    return dense > 2 * t->d_shared ? dense : 2 * t->d_shared;
}

static size_t hidden_cols(const ModelTraits *t)
{
    size_t dense = traits_has_mlp(t, MLP_GATED) || traits_has_mlp(t, MLP_PLAIN) ? t->d_ff : 0;
    return dense > t->d_shared ? dense : t->d_shared;
}

/* Offsets of the views in one allocation. Attention's and the MLP's scratch share the space behind `branch`, except in a parallel
 * residual, where both branches live at once only through branch and branch2. */
static ScratchPlan plan_scratch(const ModelTraits *t, const Ops *ops, size_t rows)
{
    size_t act = elem_bytes(ops->act_dtype), gemm = elem_bytes(ops->gemm_dtype);
    size_t qkv_cols = (size_t)(t->n_heads + 2 * t->n_kv_heads) * (size_t)t->head_dim;
    size_t out_cols = (size_t)t->n_heads * (size_t)t->head_dim;
    ScratchPlan p = {0};
    size_t at = 0;
    p.normed = at, at += round64(rows * t->d_model * gemm);
    p.branch = at, at += round64(rows * t->d_model * act);
    p.branch2 = at, at += t->residual == RESIDUAL_PARALLEL ? round64(rows * t->d_model * act) : 0;
    size_t shared = at;
    p.qkv = at, at += round64(rows * qkv_cols * act);
    p.attended = at, at += round64(rows * out_cols * gemm);
    size_t end = at;
    at = shared;
    p.gate_up = at, at += round64(rows * gate_up_cols(t) * act);
    p.hidden = at, at += round64(rows * hidden_cols(t) * gemm);
    if (traits_has_mlp(t, MLP_MOE)) {
        p.router = at, at += round64(rows * (size_t)t->route.n_experts * act);
        p.route_expert = at, at += round64(rows * (size_t)t->route.top_k * sizeof(int32_t));
        p.route_weight = at, at += round64(rows * (size_t)t->route.top_k * sizeof(float));
        p.shared = at, at += t->d_shared ? round64(rows * t->d_model * act) : 0;
        p.share = at, at += t->shared_gate ? round64(rows * act) : 0;
    }
    end = at > end ? at : end;
    at = shared;
    p.embedded = at, at += round64(rows * t->d_embed * elem_bytes(ops->resid_dtype));
    p.embedded_gemm = at, at += round64(rows * t->d_embed * gemm);
    p.total = at > end ? at : end;
    return p;
}

static WeightPart rope_part(const float *table, size_t positions, size_t half)
{
    return (WeightPart){.data = table, .dtype = DTYPE_F32, .rows = positions, .cols = half, .stride = half};
}

static size_t rope_table_bytes(const Ops *ops, const RopeTraits *r, size_t positions)
{
    WeightPart part = rope_part(NULL, positions, (size_t)r->rotary_dims / 2);
    return 2 * ops->weight_slot_bytes(WEIGHT_TABLE, &part, 1);
}

size_t forward_bytes(const Model *m, const Ops *ops, const ForwardSizes *sizes)
{
    const ModelTraits *t = &m->traits;
    size_t bytes = plan_scratch(t, ops, sizes->max_rows).total + model_embed_slot_bytes(m, ops);
    size_t widest = 0;
    for (int i = 0; i < t->n_ropes; i++) {
        size_t tables = rope_table_depends_on_length(&t->ropes[i], sizes->max_window) ? 2 : 1;
        bytes += tables * rope_table_bytes(ops, &t->ropes[i], sizes->max_window);
        size_t half = (size_t)t->ropes[i].rotary_dims / 2;
        widest = half > widest ? half : widest;
    }
    bytes += 2 * sizes->max_window * widest * sizeof(float);
    bytes += sizes->max_rows * (sizeof(int32_t) + sizeof(AttnSeq) + 2 * sizeof(KvSegment) + sizeof(Piece));
    return bytes + sizeof(Forward);
}

static View dense_view(void *base, size_t offset, DType dtype, size_t rows, size_t cols)
{
    return (View){.data = (char *)base + offset, .dtype = dtype, .rows = rows, .cols = cols, .ld = cols};
}

static int fill_rope(Forward *f, int index, RopeTable *table, size_t positions, size_t seq_len, Error *e)
{
    const RopeTraits *r = &f->model->traits.ropes[index];
    size_t half = (size_t)r->rotary_dims / 2;
    float *cosines = f->rope_host, *sines = cosines + positions * half;
    rope_table_fill(r, f->rope_arithmetic, positions, seq_len, cosines, sines);
    WeightPart c = rope_part(cosines, positions, half), s = rope_part(sines, positions, half);
    f->ops->slot_done(f->ctx, table->memory);
    int status = f->ops->weight_prepare(f->ctx, table->memory, WEIGHT_TABLE, &c, 1, &table->cosines, e);
    if (status)
        return status;
    char *second = (char *)table->memory + f->ops->weight_slot_bytes(WEIGHT_TABLE, &c, 1);
    return f->ops->weight_prepare(f->ctx, second, WEIGHT_TABLE, &s, 1, &table->sines, e);
}

int forward_open(const Model *m, const Ops *ops, OpsContext *ctx, const ForwardSizes *sizes, RopeArithmetic rope, Forward **out,
                 Error *e)
{
    const ModelTraits *t = &m->traits;
    int status = STATUS_FAILED;
    Forward *f = calloc(1, sizeof *f);
    if (!f)
        return error_set(e, STATUS_FAILED, "forward pass: out of memory");
    f->model = m;
    f->ops = ops;
    f->ctx = ctx;
    f->sizes = *sizes;
    f->rope_arithmetic = rope;
    size_t widest = 0;
    for (int i = 0; i < t->n_ropes; i++)
        widest = (size_t)t->ropes[i].rotary_dims / 2 > widest ? (size_t)t->ropes[i].rotary_dims / 2 : widest;
    f->positions = malloc(sizes->max_rows * sizeof *f->positions);
    f->seqs = malloc(sizes->max_rows * sizeof *f->seqs);
    f->segments = malloc(2 * sizes->max_rows * sizeof *f->segments);
    f->pieces = malloc(sizes->max_rows * sizeof *f->pieces);
    f->rope_host = malloc(2 * sizes->max_window * widest * sizeof(float) + 1);
    if (!f->positions || !f->seqs || !f->segments || !f->pieces || !f->rope_host) {
        status = error_set(e, STATUS_FAILED, "forward pass: out of memory for a tile of %zu rows", sizes->max_rows);
        goto fail;
    }
    ScratchPlan p = plan_scratch(t, ops, sizes->max_rows);
    f->scratch_bytes = p.total;
    if ((status = ops->alloc(ctx, p.total, &f->scratch, e)))
        goto fail;
    size_t rows = sizes->max_rows, heads = (size_t)t->n_heads, kv = (size_t)t->n_kv_heads, dh = (size_t)t->head_dim;
    f->normed = dense_view(f->scratch, p.normed, ops->gemm_dtype, rows, t->d_model);
    f->branch = dense_view(f->scratch, p.branch, ops->act_dtype, rows, t->d_model);
    f->branch2 = dense_view(f->scratch, p.branch2, ops->act_dtype, rows, t->d_model);
    f->qkv = dense_view(f->scratch, p.qkv, ops->act_dtype, rows, (heads + 2 * kv) * dh);
    f->attended = dense_view(f->scratch, p.attended, ops->gemm_dtype, rows, heads * dh);
    f->gate_up = dense_view(f->scratch, p.gate_up, ops->act_dtype, rows, gate_up_cols(t));
    f->hidden = dense_view(f->scratch, p.hidden, ops->gemm_dtype, rows, hidden_cols(t));
    f->router = dense_view(f->scratch, p.router, ops->act_dtype, rows, (size_t)t->route.n_experts);
    f->routes.expert = (int32_t *)(void *)((char *)f->scratch + p.route_expert);
    f->routes.weight = (float *)(void *)((char *)f->scratch + p.route_weight);
    f->shared = dense_view(f->scratch, p.shared, ops->act_dtype, rows, t->d_model);
    if (t->shared_gate)
        f->share = dense_view(f->scratch, p.share, ops->act_dtype, rows, 1);
    f->embedded = dense_view(f->scratch, p.embedded, ops->resid_dtype, rows, t->d_embed);
    f->embedded_gemm = dense_view(f->scratch, p.embedded_gemm, ops->gemm_dtype, rows, t->d_embed);
    if (model_embed_slot_bytes(m, ops)) {
        if ((status = ops->alloc(ctx, model_embed_slot_bytes(m, ops), &f->embed_slot, e)))
            goto fail;
        if ((status = model_prepare_embed(m, ops, ctx, f->embed_slot, &f->embed_weights, e)))
            goto fail;
    }
    for (int i = 0; i < t->n_ropes; i++) {
        RopeTable *tables[] = {&f->ropes[i], &f->ropes_long[i]};
        int n_tables = rope_table_depends_on_length(&t->ropes[i], sizes->max_window) ? 2 : 1;
        for (int j = 0; j < n_tables; j++) {
            tables[j]->bytes = rope_table_bytes(ops, &t->ropes[i], sizes->max_window);
            if ((status = ops->alloc(ctx, tables[j]->bytes, &tables[j]->memory, e)))
                goto fail;
        }
        if ((status = fill_rope(f, i, &f->ropes[i], sizes->max_window, 1, e)))
            goto fail;
    }
    *out = f;
    return STATUS_OK;
fail:
    forward_close(f);
    return status;
}

void forward_close(Forward *f)
{
    if (!f)
        return;
    for (int i = 0; i < TRAITS_MAX_ROPES; i++) {
        if (f->ropes[i].memory)
            f->ops->free(f->ctx, f->ropes[i].memory, f->ropes[i].bytes);
        if (f->ropes_long[i].memory)
            f->ops->free(f->ctx, f->ropes_long[i].memory, f->ropes_long[i].bytes);
    }
    if (f->scratch)
        f->ops->free(f->ctx, f->scratch, f->scratch_bytes);
    if (f->embed_slot)
        f->ops->free(f->ctx, f->embed_slot, model_embed_slot_bytes(f->model, f->ops));
    free(f->positions);
    free(f->seqs);
    free(f->segments);
    free(f->pieces);
    free(f->rope_host);
    free(f);
}

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
        f->ops->linear(f->ctx, view_rows(out, at, n, elem_bytes(f->ops->resid_dtype)), gemm, &f->embed_weights.project_in,
                       NULL);
    }
}

static void add_learned_positions(Forward *f, const TokenBlock *block, View out)
{
    const ModelTraits *t = &f->model->traits;
    const Binding *learned = &f->model->bindings.role[ROLE_POSITIONS];
    size_t elem = elem_bytes(f->ops->resid_dtype);
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
    return view_rows(v, p->first_row, p->n_rows, elem_bytes(f->ops->resid_dtype));
}

/* f->normed <- what a half layer reads: the norm of the lanes, or, where norms come later, the lanes themselves. */
static void norm_pieces(Forward *f, const ForwardLane *lanes, const Weight *w, const Weight *b)
{
    const ModelTraits *t = &f->model->traits;
    NormSpec spec = norm_spec(t);
    bool before = t->norm_place == NORM_PRE || t->norm_place == NORM_BOTH;
    for (size_t i = 0; i < f->n_pieces; i++) {
        const Piece *p = &f->pieces[i];
        View out = view_rows(f->normed, p->tile_row, p->n_rows, elem_bytes(f->ops->gemm_dtype));
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
        View x = view_rows(branch, p->tile_row, p->n_rows, elem_bytes(branch.dtype));
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
            f->ops->copy(f->ctx, lane_rows(f, *tap, p), view_rows(branch, p->tile_row, p->n_rows, elem_bytes(branch.dtype)));
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
                               f->model->traits.residual_multiplier, view_rows(x, p->tile_row, p->n_rows, elem_bytes(x.dtype)),
                               w, bias);
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
    size_t elem = elem_bytes(f->ops->act_dtype);
    for (size_t s = 0; s < f->n_seqs;) {
        RopeTable *table = &f->ropes[index];
        size_t first = f->seqs[s].q_row, n = f->seqs[s].n_q, end = s + 1, length = seq_length(&f->seqs[s]);
        if (rope_table_depends_on_length(r, length)) {
            table = &f->ropes_long[index];
            /* longrope has one table for all the lengths beyond, dynamic scaling one for each */
            size_t len = r->kind == ROPE_LONGROPE ? f->sizes.max_window : length;
            if (table->seq_len != len) {
                Error e; /* memory is there since open; an upload's failure surfaces at sync */
                (void)fill_rope(f, index, table, len, len, &e);
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
    size_t elem = elem_bytes(f->ops->act_dtype), dh = (size_t)t->head_dim;
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
    size_t elem = elem_bytes(f->ops->act_dtype);
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
