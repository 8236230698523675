/* cuda_table_moe.cu: mixtures of the device tables: rows sorted by expert, each expert's products over its rows, what they made added up. */
#include "kernels/cuda/cuda_exact.cuh"
#include "kernels/cuda/cuda_moe.cuh"
#include "kernels/cuda/cuda_rows.cuh"
#include "kernels/cuda/cuda_table.cuh"

enum { GROUPED_ROWS = 128 };

template <typename T> static cudaError_t route(OpsContext *c, Routes out, View logits, const RouteSpec *spec)
{
    MoeRoute<T> a;
    a.logits = (const T *)logits.data;
    a.expert = out.expert;
    a.weight = out.weight;
    a.ld = (int64_t)logits.ld;
    a.rows = (int)logits.rows;
    a.n_experts = spec->n_experts;
    a.top_k = spec->top_k;
    a.normalise = spec->normalise;
    return moe_route(&a, c->compute);
}

void table_route(OpsContext *c, Routes out, View logits, const RouteSpec *spec)
{
    context_enter(c, "route");
    if (c->exact) {
        exact_device_route(c->compute, out.expert, out.weight, logits, spec);
        launched(c, "route");
    } else if (logits.rows) {
        bool wide = c->dtype == DTYPE_F32;
        context_ok(c, "route", wide ? route<float>(c, out, logits, spec) : route<bf16>(c, out, logits, spec));
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
    v.dtype = c->dtype;
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
        table_multiply(c, "moe", gate_up, x, &experts[e].gate_up, NULL, 1, NULL);
        table_gate(c, hidden, view_cols(gate_up, 0, f, elem), view_cols(gate_up, f, f, elem), act);
        table_multiply(c, "moe", y, hidden, &experts[e].down, NULL, 1, NULL);
    }
}

/* All experts at once, of bf16: the device alone knows how many rows each has, and nobody waits. */
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

/* Rows of x to the places of those that chose an expert. */
template <typename T> static cudaError_t gather(OpsContext *c, const Mixture *m, View x)
{
    MoeGather<T> g;
    g.x = (const T *)x.data;
    g.out = (T *)m->x.data;
    g.row_of = m->row_of;
    g.ld = (int64_t)x.ld, g.n = (int)m->x.rows, g.d = (int)x.cols;
    return moe_gather(&g, c->compute);
}

/* What the experts made of a row, added up. */
template <typename T> static cudaError_t combine(OpsContext *c, const Mixture *m, View out, Routes routes, int top_k)
{
    MoeCombine<T> a;
    bool narrow = out.dtype == DTYPE_BF16;
    a.y = (const T *)m->y.data;
    a.slot_of = m->slot_of;
    a.weight = routes.weight;
    a.out_bf16 = narrow ? (bf16 *)out.data : (bf16 *)NULL;
    a.out_f32 = narrow ? (float *)NULL : (float *)out.data;
    a.ld = (int64_t)out.ld, a.rows = (int)out.rows, a.d = (int)out.cols, a.top_k = top_k;
    return moe_combine(&a, c->compute);
}

void table_moe(OpsContext *c, View out, View x, Routes routes, const ExpertWeights *experts, const RouteSpec *spec, ActKind act)
{
    size_t f = experts[0].down.cols, choices = x.rows * (size_t)spec->top_k,
           most = c->config.limits.max_rows * (size_t)spec->top_k;
    context_enter(c, "moe");
    if (!x.rows)
        return;
    if (choices > most || f > c->config.limits.d_ff) {
        context_fail(c, "moe", "more rows or a wider expert than the context was opened for");
        return;
    }
    /* Up to some hundred rows an expert a product takes as long as its matrix takes to be read, and cuBLAS has no advantage. Scratch for gates
     * holds max_rows rows: so many an expert may get, and all choices together where they are that few. */
    bool wide = c->dtype == DTYPE_F32;
    bool grouped = !wide && choices <= GROUPED_ROWS * (size_t)spec->n_experts && choices <= c->config.limits.max_rows;
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
    context_ok(c, "moe", wide ? gather<float>(c, &m, x) : gather<bf16>(c, &m, x));
    if (grouped)
        run_grouped(c, &m, experts, spec->n_experts, f, act);
    else
        run_experts(c, &m, experts, spec->n_experts, f, act);
    if (c->exact)
        exact_device_combine(c->compute, out, (const float *)m.y.data, m.slot_of, routes.weight, spec->top_k);
    else if (wide)
        context_ok(c, "moe", combine<float>(c, &m, out, routes, spec->top_k));
    else
        context_ok(c, "moe", combine<bf16>(c, &m, out, routes, spec->top_k));
    launched(c, "moe");
}
