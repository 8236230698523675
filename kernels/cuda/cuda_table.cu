/* cuda_table.cu: the table cuda/fast: bf16 activations and products with f32 accumulation, f32 residual stream and logits; and cuda/exact,
 * the same entries with the kernels of numerics v1 (cuda_exact.cuh) where the context says so. Here are the
 * entries that are launches, attention's list of work, the mixture, the head; and the one exported function. Entries enqueue on the
 * compute stream and return; a failure is kept for sync(). */
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/cuda_attention.cuh"
#include "kernels/cuda/cuda_bench.cuh"
#include "kernels/cuda/cuda_context.cuh"
#include "kernels/cuda/cuda_exact.cuh"
#include "kernels/cuda/cuda_moe.cuh"
#include "kernels/cuda/cuda_rows.cuh"

extern "C" {
#include "kernels/cuda/cuda_entry.h"
}

enum { TILE_ROWS = 8192, HEAD_ROWS = 2048, GROUPED_ROWS = 128 };

/* A thread that calls for the first time may have another device set. */
static void enter(OpsContext *c, const char *op)
{
    context_ok(c, op, cudaSetDevice(c->config.device_index));
}

static void launched(OpsContext *c, const char *op)
{
    context_ok(c, op, cudaGetLastError());
}

static bool given(const Weight *w)
{
    return w && w->kind != WEIGHT_NONE;
}

/* ---- rows ---- */

static void table_copy(OpsContext *c, View dst, View src)
{
    enter(c, "copy");
    cuda_copy(c->compute, dst, src);
    launched(c, "copy");
}

static void table_norm(OpsContext *c, View out, View x, const NormSpec *spec, const Weight *weight, const Weight *bias)
{
    enter(c, "norm");
    if (c->exact)
        exact_device_norm(c->compute, out, x, spec, weight, bias);
    else
        cuda_norm(c->compute, out, x, spec, weight, bias);
    launched(c, "norm");
}

static void table_rope(OpsContext *c, View x, const int32_t *positions, const Weight *cosines, const Weight *sines, int n_heads,
                       int head_dim, int rotary_dims, RopeStyle style)
{
    size_t most = c->layout.ring_part_bytes / sizeof *positions;
    enter(c, "rope");
    for (size_t at = 0; at < x.rows; at += most) {
        size_t n = x.rows - at < most ? x.rows - at : most;
        const int32_t *there = (const int32_t *)context_ring_put(c, "rope", positions + at, n * sizeof *positions);
        if (!there)
            return;
        View some = view_rows(x, at, n, dtype_block_bytes(x.dtype));
        if (c->exact)
            exact_device_rope(c->compute, some, there, cosines, sines, n_heads, head_dim, rotary_dims, style);
        else
            cuda_rope(c->compute, some, there, cosines, sines, n_heads, head_dim, rotary_dims, style);
        launched(c, "rope");
    }
}

static void gate(OpsContext *c, View out, View x, View up, ActKind act)
{
    if (c->exact)
        exact_device_glu(c->compute, out, x, up, act);
    else
        cuda_glu(c->compute, out, x, up, act);
}

static void table_glu(OpsContext *c, View out, View gate, View up, ActKind act)
{
    enter(c, "glu");
    ::gate(c, out, gate, up, act);
    launched(c, "glu");
}

static void table_act(OpsContext *c, View out, View x, ActKind act)
{
    enter(c, "act");
    if (c->exact)
        exact_device_glu(c->compute, out, x, View(), act);
    else
        cuda_act(c->compute, out, x, act);
    launched(c, "act");
}

static void table_add(OpsContext *c, View out, View a, View b, float scale)
{
    enter(c, "add");
    if (c->exact)
        exact_device_add(c->compute, out, a, b, View(), scale);
    else
        cuda_add(c->compute, out, a, b, scale);
    launched(c, "add");
}

static void table_clip(OpsContext *c, View x, float limit)
{
    enter(c, "clip");
    cuda_clip(c->compute, x, limit);
    launched(c, "clip");
}

static void table_add_gated(OpsContext *c, View out, View a, View b, View gate)
{
    enter(c, "add_gated");
    if (c->exact)
        exact_device_add(c->compute, out, a, b, gate, 1);
    else
        cuda_add_gated(c->compute, out, a, b, gate);
    launched(c, "add_gated");
}

static void table_mean(OpsContext *c, View out, const View *in, size_t n)
{
    enter(c, "mean");
    if (c->exact && n > EXACT_DEVICE_MEAN)
        context_fail(c, "mean", "more members than 64");
    else if (c->exact)
        exact_device_mean(c->compute, out, in, n);
    else
        cuda_mean(c->compute, out, in, n);
    launched(c, "mean");
}

static void table_row_dots(OpsContext *c, double *out, View a, View b)
{
    size_t most = CONTEXT_STAGE_BYTES / (3 * sizeof *out);
    enter(c, "row_dots");
    for (size_t at = 0; at < a.rows; at += most) {
        size_t n = a.rows - at < most ? a.rows - at : most;
        char *host, *device;
        if (!context_stage_take(c, "row_dots", &host, &device))
            return;
        View x = view_rows(a, at, n, dtype_block_bytes(a.dtype)), y = view_rows(b, at, n, dtype_block_bytes(b.dtype));
        if (c->exact)
            exact_device_row_dots(c->compute, (double *)(void *)device, x, y);
        else
            cuda_row_dots(c->compute, (double *)(void *)device, x, y);
        launched(c, "row_dots");
        context_ok(c, "row_dots", cudaMemcpyAsync(host, device, n * 3 * sizeof *out, cudaMemcpyDeviceToHost, c->compute));
        if (!context_ok(c, "row_dots", cudaStreamSynchronize(c->compute)))
            return;
        memcpy(out + 3 * at, host, n * 3 * sizeof *out);
    }
}

/* ---- products ---- */

static void multiply(OpsContext *c, const char *op, View y, View x, const Weight *w, const Weight *bias, float alpha,
                     const View *residual)
{
    if (c->exact) { /* has neither alpha nor residual: linear_add is not offered */
        exact_device_linear(c->compute, y, x, (const float *)w->data, given(bias) ? (const float *)bias->data : NULL);
        context_ok(c, op, cudaGetLastError());
        return;
    }
    GemmCall g;
    memset((void *)&g, 0, sizeof g);
    g.x = x.data, g.ld_x = (int64_t)x.ld;
    g.w = w->data;
    g.y = y.data, g.ld_y = (int64_t)y.ld;
    g.y_f32 = y.dtype == DTYPE_F32;
    if (residual) {
        g.residual = residual->data;
        g.ld_residual = (int64_t)residual->ld;
    }
    if (given(bias)) {
        g.bias = (const float *)bias->data;
        g.bias_bf16 = weights_vector_bf16(bias);
    }
    g.rows = (int)x.rows, g.n = (int)w->rows, g.k = (int)w->cols;
    g.alpha = alpha;
    const char *why = gemm_run(&c->gemm, &g, c->compute);
    if (why)
        context_fail(c, op, why);
}

static void table_linear(OpsContext *c, View y, View x, const Weight *w, const Weight *bias)
{
    enter(c, "linear");
    multiply(c, "linear", y, x, w, bias, 1, NULL);
}

static void table_linear_add(OpsContext *c, View out, View residual, float scale, View x, const Weight *w, const Weight *bias)
{
    enter(c, "linear_add");
    multiply(c, "linear_add", out, x, w, bias, scale, &residual);
}

/* ---- attention ---- */

static bool aligned(View v)
{
    return (uintptr_t)v.data % 16 == 0 && v.ld % 8 == 0;
}

static size_t count_keys(const AttnSeq *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_segments; i++)
        n += s->segments[i].n_rows;
    return n;
}

/* Items of one sequence are made from its last queries (which see the most keys) to its first. */
static size_t count_items(const AttnSeq *s, size_t rows)
{
    return (s->n_q + rows - 1) / rows;
}

static AttentionItem make_item(const AttnSeq *s, size_t rows, size_t i, size_t n_keys, size_t first_segment)
{
    AttentionItem item;
    size_t first = i * rows;
    item.q_row = (int32_t)(s->q_row + first);
    item.n_q = (int32_t)(s->n_q - first < rows ? s->n_q - first : rows);
    item.position = (int32_t)((int64_t)s->first_position - s->key_position + (int64_t)first);
    item.key_position = s->key_position;
    item.n_keys = (int32_t)n_keys;
    item.first_segment = (int32_t)first_segment;
    item.n_segments = (int32_t)s->n_segments;
    return item;
}

enum { COSTS = 64 };

/* Class of an item by the tiles of keys it walks; 0 is the costliest, so that no long item is left for the end. */
static size_t cost_class(const AttentionItem *item, int window, int most_keys)
{
    int64_t keys = (int64_t)item->position + item->n_q < item->n_keys ? (int64_t)item->position + item->n_q : item->n_keys;
    if (window > 0 && keys > window + item->n_q)
        keys = window + item->n_q;
    if (keys < 0)
        keys = 0;
    return (size_t)((COSTS - 1) - keys * (COSTS - 1) / (most_keys > 0 ? most_keys : 1)) % COSTS;
}

/* Sequences [0, n) of the list in one launch; they fit the ring. */
static void attend(OpsContext *c, AttentionArgs *a, ExactAttention *exact, const AttnSeq *seqs, size_t n, size_t n_items,
                   size_t n_segments, size_t rows)
{
    size_t items_bytes = context_round(n_items * sizeof(AttentionItem)),
           bytes = items_bytes + n_segments * sizeof(AttentionSegment);
    void *host;
    char *there = (char *)context_ring_take(c, "attention", bytes, &host);
    if (!there)
        return;
    AttentionItem *items = (AttentionItem *)host;
    AttentionSegment *segments = (AttentionSegment *)(void *)((char *)host + items_bytes);
    const AttentionItem *items_there = (const AttentionItem *)(const void *)there;
    const AttentionSegment *segments_there = (const AttentionSegment *)(const void *)(there + items_bytes);
    size_t place[COSTS + 1] = {0}, segment = 0;
    int most_keys = 0;
    for (size_t s = 0; s < n; s++)
        most_keys = (int)count_keys(&seqs[s]) > most_keys ? (int)count_keys(&seqs[s]) : most_keys;
    for (int pass = 0; pass < 2; pass++) { /* how many items of each class, then the items */
        segment = 0;
        for (size_t s = 0; s < n; segment += seqs[s++].n_segments) {
            size_t n_keys = count_keys(&seqs[s]);
            for (size_t i = count_items(&seqs[s], rows); i-- > 0;) {
                AttentionItem item = make_item(&seqs[s], rows, i, n_keys, segment);
                size_t at = cost_class(&item, a->window, most_keys);
                if (pass)
                    items[place[at]++] = item;
                else
                    place[at + 1]++;
            }
        }
        for (size_t i = 0; !pass && i < COSTS; i++)
            place[i + 1] += place[i];
    }
    segment = 0;
    for (size_t s = 0; s < n; s++)
        for (size_t i = 0; i < seqs[s].n_segments; i++, segment++) {
            segments[segment].first_row = (int32_t)seqs[s].segments[i].first_row;
            segments[segment].n_rows = (int32_t)seqs[s].segments[i].n_rows;
        }
    context_ring_send(c, "attention", there, host, bytes);
    a->items = items_there;
    a->segments = segments_there;
    a->n_items = (int)n_items;
    if (c->exact) {
        exact->items = items_there;
        exact->segments = segments_there;
        exact->n_items = (int)n_items;
        exact->most_queries = (int)rows;
        exact->most_keys = most_keys;
        if (most_keys > exact_device_most_keys())
            context_fail(c, "attention", "a sequence is longer than the scores that fit shared memory");
        else
            context_ok(c, "attention", exact_device_attention(c->compute, exact));
        return;
    }
    context_ok(c, "attention", attention_launch(a, c->compute));
}

static void table_attention(OpsContext *c, View out, View q, View k, View v, const AttnSeq *seqs, size_t n_seqs,
                            const AttnSpec *spec)
{
    AttentionArgs a;
    ExactAttention exact;
    memset((void *)&exact, 0, sizeof exact);
    exact.out = out, exact.q = q, exact.k = k, exact.v = v;
    exact.spec = *spec;
    a.q = (const bf16 *)q.data, a.k = (const bf16 *)k.data, a.v = (const bf16 *)v.data;
    a.out = (bf16 *)out.data;
    a.ld_q = (int64_t)q.ld, a.ld_k = (int64_t)k.ld, a.ld_v = (int64_t)v.ld, a.ld_out = (int64_t)out.ld;
    a.n_heads = spec->n_heads;
    a.group = spec->n_heads / spec->n_kv_heads;
    a.head_dim = spec->head_dim;
    a.window = spec->window;
    a.scale = spec->scale;
    a.softcap = spec->softcap;
    a.alibi_bf16 = spec->alibi_bf16;
    a.vectors = spec->head_dim % 8 == 0 && aligned(q) && aligned(k) && aligned(v) && aligned(out);
    a.slopes = (const float *)NULL;
    enter(c, "attention");
    if (spec->alibi_slopes) {
        const void *slopes = context_ring_put(c, "attention", spec->alibi_slopes, (size_t)spec->n_heads * sizeof(float));
        if (!slopes)
            return;
        a.slopes = exact.slopes = (const float *)slopes;
    }
    size_t rows = (size_t)attention_rows_of_item(spec->head_dim), room = c->layout.ring_part_bytes;
    for (size_t first = 0, end; first < n_seqs; first = end) {
        size_t items = 0, segments = 0;
        for (end = first; end < n_seqs; end++) {
            size_t more = items + count_items(&seqs[end], rows), more_segments = segments + seqs[end].n_segments;
            if (end > first && context_round(more * sizeof(AttentionItem)) + more_segments * sizeof(AttentionSegment) > room)
                break;
            items = more;
            segments = more_segments;
        }
        if (items && segments)
            attend(c, &a, &exact, seqs + first, end - first, items, segments, rows);
    }
}

/* ---- mixtures ---- */

static void table_route(OpsContext *c, Routes out, View logits, const RouteSpec *spec)
{
    MoeRoute a;
    a.logits = (const bf16 *)logits.data;
    a.expert = out.expert;
    a.weight = out.weight;
    a.ld = (int64_t)logits.ld;
    a.rows = (int)logits.rows;
    a.n_experts = spec->n_experts;
    a.top_k = spec->top_k;
    a.normalise = spec->normalise;
    enter(c, "route");
    if (c->exact) {
        exact_device_route(c->compute, out.expert, out.weight, logits, spec);
        launched(c, "route");
    } else if (a.rows) {
        context_ok(c, "route", moe_route(&a, c->compute));
    }
}

/* The parts of the context's scratch that a mixture uses. */
struct Mixture {
    int32_t *slot_of, *row_of, *first;
    View x, gate_up, hidden, y; /* x, y: rows sorted by expert */
};

static View dense(OpsContext *c, size_t offset, size_t rows, size_t cols)
{
    View v;
    v.data = c->scratch + offset;
    v.dtype = c->exact ? DTYPE_F32 : DTYPE_BF16;
    v.rows = rows;
    v.cols = v.ld = cols;
    return v;
}

/* Experts one after another, each with all its rows at once. The host must know how many those are: what it waits for is the sorting alone,
 * while the device gathers the rows. */
static void run_experts(OpsContext *c, const Mixture *m, const ExpertWeights *experts, int n_experts, size_t f, ActKind act)
{
    if (!context_ok(c, "moe", cudaEventSynchronize(c->moe_sorted)))
        return;
    for (int e = 0; e < n_experts; e++) {
        size_t at = (size_t)c->moe_first[e], rows = (size_t)c->moe_first[e + 1] - at;
        if (!rows)
            continue;
        size_t elem = dtype_block_bytes(m->x.dtype);
        View x = view_rows(m->x, at, rows, elem), y = view_rows(m->y, at, rows, elem);
        View gate_up = m->gate_up, hidden = m->hidden;
        gate_up.rows = hidden.rows = rows;
        multiply(c, "moe", gate_up, x, &experts[e].gate_up, NULL, 1, NULL);
        gate(c, hidden, view_cols(gate_up, 0, f, elem), view_cols(gate_up, f, f, elem), act);
        multiply(c, "moe", y, hidden, &experts[e].down, NULL, 1, NULL);
    }
}

/* All experts at once: the device alone knows how many rows each has, and nobody waits. */
static void run_grouped(OpsContext *c, const Mixture *m, const ExpertWeights *experts, int n_experts, size_t f, ActKind act)
{
    size_t bytes = (size_t)n_experts * sizeof(const void *);
    void *host;
    char *there = (char *)context_ring_take(c, "moe", 2 * bytes, &host);
    if (!there)
        return;
    const void **w = (const void **)host;
    for (int e = 0; e < n_experts; e++) {
        w[e] = experts[e].gate_up.data;
        w[n_experts + e] = experts[e].down.data;
    }
    context_ring_send(c, "moe", there, host, 2 * bytes);
    GemmGroups g;
    g.x = (const bf16 *)m->x.data;
    g.y = (bf16 *)m->gate_up.data;
    g.first = m->first;
    g.w = (const bf16 *const *)(void *)there;
    g.ld_x = (int64_t)m->x.ld, g.ld_y = (int64_t)m->gate_up.ld;
    g.n_groups = n_experts, g.n = (int)(2 * f), g.k = (int)m->x.cols;
    const char *why = gemm_run_groups(&g, (int)m->x.rows, c->compute);
    cuda_glu(c->compute, m->hidden, view_cols(m->gate_up, 0, f, sizeof(bf16)), view_cols(m->gate_up, f, f, sizeof(bf16)), act);
    g.x = (const bf16 *)m->hidden.data;
    g.y = (bf16 *)m->y.data;
    g.w = (const bf16 *const *)(void *)(there + bytes);
    g.ld_x = (int64_t)m->hidden.ld, g.ld_y = (int64_t)m->y.ld;
    g.n = (int)m->x.cols, g.k = (int)f;
    why = why ? why : gemm_run_groups(&g, (int)m->x.rows, c->compute);
    if (why)
        context_fail(c, "moe", why);
}

static void table_moe(OpsContext *c, View out, View x, Routes routes, const ExpertWeights *experts, const RouteSpec *spec,
                      ActKind act)
{
    size_t f = experts[0].down.cols, choices = x.rows * (size_t)spec->top_k,
           most = c->config.limits.max_rows * (size_t)spec->top_k;
    enter(c, "moe");
    if (!x.rows)
        return;
    if (choices > most || f > c->config.limits.d_ff) {
        context_fail(c, "moe", "more rows or a wider expert than the context was opened for");
        return;
    }
    /* Up to some hundred rows an expert a product takes as long as its matrix takes to be read, and cuBLAS has no advantage. Scratch for gates
     * holds max_rows rows: so many an expert may get, and all choices together where they are that few. */
    bool grouped = !c->exact && choices <= GROUPED_ROWS * (size_t)spec->n_experts && choices <= c->config.limits.max_rows;
    Mixture m;
    m.slot_of = (int32_t *)(void *)(c->scratch + c->layout.moe_order);
    m.row_of = m.slot_of + most;
    m.first = m.row_of + most;
    m.x = dense(c, c->layout.moe_x, choices, x.cols);
    m.y = dense(c, c->layout.moe_y, choices, x.cols);
    m.gate_up = dense(c, c->layout.moe_gate_up, choices, 2 * f);
    m.hidden = dense(c, c->layout.moe_hidden, choices, f);
    MoeOrder order;
    order.expert = routes.expert;
    order.slot_of = m.slot_of, order.row_of = m.row_of, order.first = m.first;
    order.n_choices = (int)choices, order.n_experts = spec->n_experts, order.top_k = spec->top_k;
    context_ok(c, "moe", moe_order(&order, c->compute));
    if (!grouped) {
        size_t bytes = ((size_t)spec->n_experts + 1) * sizeof(int32_t);
        context_ok(c, "moe", cudaMemcpyAsync(c->moe_first, m.first, bytes, cudaMemcpyDeviceToHost, c->compute));
        context_ok(c, "moe", cudaEventRecord(c->moe_sorted, c->compute));
    }
    MoeGather g;
    g.x = (const bf16 *)x.data;
    g.out = (bf16 *)m.x.data;
    g.row_of = m.row_of;
    int halves = c->exact ? 2 : 1; /* rows are moved as they are: an f32 is two columns of 16 bits */
    g.ld = (int64_t)x.ld * halves, g.n = (int)choices, g.d = (int)x.cols * halves;
    context_ok(c, "moe", moe_gather(&g, c->compute));
    if (grouped)
        run_grouped(c, &m, experts, spec->n_experts, f, act);
    else
        run_experts(c, &m, experts, spec->n_experts, f, act);
    if (c->exact) {
        exact_device_combine(c->compute, out, (const float *)m.y.data, m.slot_of, routes.weight, spec->top_k);
        launched(c, "moe");
        return;
    }
    MoeCombine a;
    a.y = (const bf16 *)m.y.data;
    a.slot_of = m.slot_of;
    a.weight = routes.weight;
    a.out_bf16 = out.dtype == DTYPE_BF16 ? (bf16 *)out.data : (bf16 *)NULL;
    a.out_f32 = out.dtype == DTYPE_BF16 ? (float *)NULL : (float *)out.data;
    a.ld = (int64_t)out.ld, a.rows = (int)x.rows, a.d = (int)x.cols, a.top_k = spec->top_k;
    context_ok(c, "moe", moe_combine(&a, c->compute));
    launched(c, "moe");
}

/* ---- head ---- */

/* The device's copy of word_start, made anew when its content is another. */
static const uint8_t *send_starts(OpsContext *c, const uint8_t *starts, size_t vocab)
{
    uint8_t *there = (uint8_t *)(c->scratch + c->layout.starts);
    if (!starts)
        return NULL;
    if (c->has_starts && memcmp(c->starts, starts, vocab) == 0)
        return there;
    if (!context_ok(c, "head", cudaStreamSynchronize(c->compute)))
        return NULL;
    memcpy(c->starts, starts, vocab);
    c->has_starts = context_ok(c, "head", cudaMemcpyAsync(there, c->starts, vocab, cudaMemcpyHostToDevice, c->compute));
    return there;
}

/* The intact model's logsumexp: usually still on the device. */
static const double *send_intact_lse(OpsContext *c, const HeadArgs *args)
{
    if (args->intact_lse == c->intact_lse)
        return (const double *)(const void *)(c->scratch + c->layout.intact_lse);
    context_deliver(c, true); /* it may be among what is still on its way */
    return (const double *)context_ring_put(c, "head", args->intact_lse, args->x.rows * sizeof(double));
}

static void table_head(OpsContext *c, const HeadArgs *args)
{
    size_t rows = args->x.rows, most = c->config.limits.max_head_rows, vocab = args->w->rows;
    enter(c, "head");
    if (!rows)
        return;
    if (rows > most || vocab > c->config.limits.vocab) {
        context_fail(c, "head", "more rows or words than the context was opened for");
        return;
    }
    bool scales = !given(args->bias) && !c->exact;
    multiply(c, "head", args->logits, args->x, args->w, args->bias, scales ? args->logit_scale : 1, NULL);
    double *results = (double *)(void *)(c->scratch + c->layout.results);
    CudaHead h;
    memset(&h, 0, sizeof h);
    h.logits = args->logits;
    h.logit_scale = scales ? 1 : args->logit_scale;
    h.softcap = args->softcap;
    h.targets = (const int32_t *)context_ring_put(c, "head", args->targets, rows * sizeof *args->targets);
    h.word_start = send_starts(c, args->word_start, vocab);
    if (args->intact_logits) {
        h.intact = *args->intact_logits;
        h.intact_lse = send_intact_lse(c, args);
    }
    if (!h.targets || (args->intact_logits && !h.intact_lse))
        return;
    h.nll = results;
    h.kl = results + most;
    h.word_start_logp = results + 2 * most;
    h.lse = results + 3 * most;
    h.rank = (int32_t *)(void *)(results + 4 * most);
    h.top1 = h.rank + most;
    if (c->exact)
        exact_device_head(c->compute, &h);
    else
        cuda_head(c->compute, &h);
    launched(c, "head");
    ContextPending *p = context_pending_new(c);
    p->rows = rows;
    p->nll = args->nll, p->kl = args->kl, p->word_start_logp = args->word_start_logp, p->lse = args->lse;
    p->rank = args->rank, p->top1 = args->top1;
    context_ok(c, "head", cudaMemcpyAsync(p->pinned, results, c->layout.result_bytes, cudaMemcpyDeviceToHost, c->compute));
    context_ok(c, "head", cudaEventRecord(p->arrived, c->compute));
    if (!args->intact_logits) {
        c->intact_lse = args->lse;
        context_ok(c, "head",
                   cudaMemcpyAsync(c->scratch + c->layout.intact_lse, h.lse, rows * sizeof(double), cudaMemcpyDeviceToDevice,
                                   c->compute));
    }
}

/* ---- the table, and the door ---- */

/* All but a tenth of what is free: the driver, cuBLAS and other programs want some. */
static size_t table_memory_available(int device_index)
{
    size_t free_bytes = 0, total = 0;
    if (cudaSetDevice(device_index) != cudaSuccess || cudaMemGetInfo(&free_bytes, &total) != cudaSuccess)
        return 0;
    return free_bytes / 10 * 9;
}

static Ops make_table()
{
    Ops o;
    memset((void *)&o, 0, sizeof o);
    o.name = "cuda/fast";
    o.gemm_dtype = o.act_dtype = DTYPE_BF16;
    o.resid_dtype = o.logit_dtype = DTYPE_F32;
    o.tile_rows = TILE_ROWS, o.head_rows = HEAD_ROWS;
    o.memory_available = table_memory_available;
    o.context_bytes = context_bytes;
    o.open = context_open, o.close = context_close;
    o.alloc = context_alloc, o.free = context_free;
    o.sync = context_sync;
    o.copy = table_copy;
    o.upload = context_upload, o.download = context_download;
    o.weight_slot_bytes = weights_slot_bytes;
    o.weight_prepare = weights_prepare;
    o.slot_done = weights_slot_done;
    o.embed = weights_embed, o.embed_add = weights_embed_add;
    o.norm = table_norm;
    o.linear = table_linear, o.linear_add = table_linear_add;
    o.rope = table_rope;
    o.attention = table_attention;
    o.glu = table_glu, o.act = table_act;
    o.add = table_add, o.clip = table_clip, o.add_gated = table_add_gated, o.mean = table_mean;
    o.route = table_route, o.moe = table_moe;
    o.row_dots = table_row_dots;
    o.head = table_head;
    return o;
}

/* Numerics v1: f32 between operations, and no linear_add, which would round once where linear and add round twice. */
static Ops make_exact_table()
{
    Ops o = make_table();
    o.name = "cuda/exact";
    o.gemm_dtype = o.act_dtype = DTYPE_F32;
    o.context_bytes = context_bytes_exact;
    o.open = context_open_exact;
    o.weight_slot_bytes = weights_slot_bytes_exact;
    o.linear_add = NULL;
    return o;
}

static int count_devices(int *n, Error *e)
{
    cudaError_t error = cudaGetDeviceCount(n);
    if (error == cudaSuccess && *n > 0)
        return STATUS_OK;
    *n = 0;
    (void)cudaGetLastError();
    return error_set(e, STATUS_FAILED, "no GPU: %s",
                     error == cudaSuccess ? "the driver shows none" : cudaGetErrorString(error));
}

static int describe_device(int index, CudaDevice *out, Error *e)
{
    cudaDeviceProp p;
    cudaError_t error = cudaGetDeviceProperties(&p, index);
    if (error == cudaSuccess)
        error = cudaSetDevice(index);
    if (error == cudaSuccess)
        error = cudaMemGetInfo(&out->free_bytes, &out->total_bytes);
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        return error_set(e, STATUS_FAILED, "GPU %d cannot be used: %s", index, cudaGetErrorString(error));
    }
    snprintf(out->name, sizeof out->name, "%.*s", (int)sizeof out->name - 1, p.name);
    out->major = p.major;
    out->minor = p.minor;
    return STATUS_OK;
}

static int lend_memory(void *memory, size_t bytes, Error *e)
{
    void *there = NULL;
    cudaError_t error = cudaHostRegister(memory, bytes, cudaHostRegisterMapped);
    if (error == cudaSuccess)
        error = cudaHostGetDevicePointer(&there, memory, 0);
    if (error == cudaSuccess && there == memory)
        return STATUS_OK;
    (void)cudaGetLastError();
    return error_set(e, STATUS_FAILED, "host memory cannot be lent to the GPU: %s",
                     error == cudaSuccess ? "it has another address there" : cudaGetErrorString(error));
}

static void take_back_memory(void *memory)
{
    (void)cudaHostUnregister(memory);
}

static const Ops table = make_table(), exact_table = make_exact_table();
static const CudaEntry entry = {&table,           count_devices, describe_device, lend_memory,
                                take_back_memory, &cuda_bench,   &exact_table};

extern "C" __attribute__((visibility("default"))) const CudaEntry *strata_cuda_entry(uint64_t abi)
{
    return abi == cuda_entry_abi() ? &entry : NULL;
}
