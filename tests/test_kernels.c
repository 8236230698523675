/* test_kernels.c: every entry of every op table against the f64 oracle, on random operands of odd sizes between guard pages, under each
 * instruction set this processor has.
 *
 * Tolerances. u is the unit roundoff of what the table stores (2^-24 for f32). A dot product of K terms in any order and any mix of
 * fused and plain steps is within (K + 2) u sum |x||w| of the exact one (Higham, Accuracy and Stability, ch. 3); what is added after
 * it costs one u of the result each; storing it as bf16 costs k.store of it; cutting both factors to TF32 first moves each term by
 * 2 operand_error + operand_error^2 of it. Where an operation goes through exp, its polynomial adds at most 4 u relative. The bounds are
 * worst cases: a wrong element misses them by orders of magnitude. */
#include "tests/kernel_harness.h"

#include "kernels/cpu_features.h"
#include "tests/test.h"

static const Ops *ops;
static int n_threads;
static uint64_t seed;
static double
    operand_error; /* of what a product reads, relatively: 2^-10 in TF32 (10 bits of a fraction, the rest ignored), else 0 */
static const char *only;                                  /* the one test to run; NULL: all */
static int (*lend)(void *memory, size_t bytes, Error *e); /* of a table on a device */
static void (*take_back)(void *memory);

static const OpsLimits limits = {.max_rows = 400,
                                 .max_head_rows = 64,
                                 .max_seq = 200,
                                 .d_model = 900,
                                 .d_ff = 900,
                                 .n_heads = 8,
                                 .n_kv_heads = 8,
                                 .head_dim = 256,
                                 .n_experts = 8,
                                 .top_k = 3,
                                 .vocab = 2500};

static Kit open_kit(uint64_t stream)
{
    Kit k;
    kit_open(&k, ops, n_threads, &limits);
    k.lend = lend;
    k.take_back = take_back;
    rng_seed(&k.rng, seed, stream);
    return k;
}

#define CASE(k, ...) snprintf((k)->what, sizeof(k)->what, __VA_ARGS__)
#define END(k) CHECK(kit_end_case(k) == 0)

/* ---- matrix products ---- */

typedef struct LinearBound {
    double u, scale, store;
    View x, y; /* of the oracle */
    const WeightPart *parts;
    size_t n_parts, k;
    const Both *residual; /* NULL: none */
    const WeightPart *bias;
} LinearBound;

/* Of a term x w, relatively. */
static double term_error(void)
{
    return operand_error * (2 + operand_error);
}

static double linear_bound(void *user, size_t r, size_t c)
{
    const LinearBound *b = user;
    double sum = b->bias ? fabs(kit_part_get(b->bias, 0, c)) : 0, row = (double)c;
    const WeightPart *p = b->parts;
    for (; row >= (double)p->rows; p++)
        row -= (double)p->rows;
    for (size_t i = 0; i < b->k; i++)
        sum += fabs(kit_get(b->x, r, i) * kit_part_get(p, (size_t)row, i));
    double kept = b->residual ? fabs(kit_get(b->residual->r, r, c)) : 0;
    double stored = b->store > 0 ? b->store * 1.01 * fabs(kit_get(b->y, r, c)) : 0;
    return (((double)b->k + 4) * b->u + term_error()) * sum * fabs(b->scale) + 2 * b->u * kept + stored + 1e-300;
}

static void try_linear(Kit *k, size_t t, size_t n, size_t depth, int flavour)
{
    static const DType dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    CASE(k, "%s linear T %zu N %zu K %zu flavour %d", ops->name, t, n, depth, flavour);
    bool two = flavour % 2 && n > 1, has_bias = flavour % 3 == 1;
    WeightPart parts[2] = {kit_part(k, dtypes[flavour % 3], two ? n / 3 + 1 : n, depth, flavour % 4 == 2, 1)};
    if (two)
        parts[1] = kit_part(k, dtypes[(flavour + 1) % 3], n - parts[0].rows, depth, false, 1);
    size_t n_parts = two && parts[1].rows ? 2 : 1;
    WeightPart bias = kit_part(k, DTYPE_F32, 1, n, false, 1);
    BothWeight w = kit_weight(k, WEIGHT_MATRIX, parts, n_parts), b = {0};
    if (has_bias)
        b = kit_weight(k, WEIGHT_VECTOR, &bias, 1);
    Both x = kit_view(k, ops->gemm_dtype, t, depth, (size_t)flavour % 5, 1);
    Both y = kit_view(k, ops->act_dtype, t, n, (size_t)flavour % 3 * 3, 1);
    kit_freeze(k, x.t.data);
    LinearBound bound = {.u = k->u,
                         .scale = 1,
                         .store = k->store,
                         .x = x.r,
                         .y = y.r,
                         .parts = parts,
                         .n_parts = n_parts,
                         .k = depth,
                         .bias = has_bias ? &bias : NULL};
    ops->linear(k->ctx, y.t, x.t, &w.t, has_bias ? &b.t : NULL);
    ops_ref.linear(k->ref_ctx, y.r, x.r, &w.r, has_bias ? &b.r : NULL);
    CHECK(kit_compare(k, y, linear_bound, &bound) == 0);
    END(k);
}

static void linear(void)
{
    static const size_t ts[] = {1, 2, 5, 6, 7, 11, 12, 13, 25, 97, 145, 290},
                        ns[] = {1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 65, 130};
    static const size_t ks[] = {1, 2, 3, 4, 5, 63, 64, 399, 400, 401, 801};
    Kit k = open_kit(1);
    int flavour = 0;
    for (size_t i = 0; i < 12; i++)
        for (size_t j = 0; j < 12; j++)
            try_linear(&k, ts[i], ns[j], ks[(5 * i + 3 * j) % 11], flavour++);
    try_linear(&k, 3, 1700, 10, 0); /* several column blocks */
    try_linear(&k, 300, 900, 3, 1);
    try_linear(&k, 0, 5, 5, 0);
    kit_close(&k);
}

/* flavour: in place, with a bias, scaled. */
static void try_linear_add(Kit *k, size_t t, size_t n, size_t depth, int flavour)
{
    bool in_place = flavour % 2, has_bias = flavour / 2 % 2;
    double scale = flavour % 3 ? 1 : 0.5;
    CASE(k, "%s linear_add T %zu N %zu K %zu scale %g%s%s", ops->name, t, n, depth, scale, has_bias ? " bias" : "",
         in_place ? " in place" : "");
    WeightPart part = kit_part(k, DTYPE_F32, n, depth, false, 1), bias_part = kit_part(k, DTYPE_F32, 1, n, false, 1);
    BothWeight w = kit_weight(k, WEIGHT_MATRIX, &part, 1), bias = kit_weight(k, WEIGHT_VECTOR, &bias_part, 1);
    Both x = kit_view(k, ops->gemm_dtype, t, depth, 2, 1), residual = kit_view(k, ops->resid_dtype, t, n, 1, 10);
    Both kept = kit_view(k, ops->resid_dtype, t, n, 0, 0),
         out = in_place ? residual : kit_view(k, ops->resid_dtype, t, n, 4, 1);
    for (size_t r = 0; r < t; r++)
        for (size_t c = 0; c < n; c++)
            kit_set(kept, r, c, kit_get(residual.r, r, c));
    LinearBound bound = {.u = k->u,
                         .scale = scale,
                         .x = x.r,
                         .parts = &part,
                         .n_parts = 1,
                         .k = depth,
                         .residual = &kept,
                         .bias = has_bias ? &bias_part : NULL};
    ops->linear_add(k->ctx, out.t, residual.t, (float)scale, x.t, &w.t, has_bias ? &bias.t : NULL);
    Both product = kit_view(k, ops->act_dtype, t, n, 0, 0);
    ops_ref.linear(k->ref_ctx, product.r, x.r, &w.r, has_bias ? &bias.r : NULL);
    ops_ref.add(k->ref_ctx, out.r, residual.r, product.r, (float)scale);
    CHECK(kit_compare(k, out, linear_bound, &bound) == 0);
    END(k);
}

static void linear_add(void)
{
    if (!ops->linear_add)
        return; /* an entry that may be absent */
    Kit k = open_kit(2);
    static const size_t ts[] = {1, 6, 13, 200}, ns[] = {1, 16, 33, 800}, ks[] = {1, 64, 401, 810};
    for (int i = 0; i < 64; i++)
        try_linear_add(&k, ts[i % 4], ns[i / 4 % 4], ks[i / 16], i);
    kit_close(&k);
}

/* A row's product does not depend on its neighbours, nor on the threads; adding the residual at once changes no bit. */
static void products_do_not_depend_on_the_batch(void)
{
    if (!ops->host_memory)
        return; /* promised by the arithmetics of the processor */
    Kit k = open_kit(3);
    size_t t = 151, n = 333, depth = 805;
    CASE(&k, "%s batch", ops->name);
    WeightPart part = kit_part(&k, DTYPE_F32, n, depth, false, 1);
    BothWeight w = kit_weight(&k, WEIGHT_MATRIX, &part, 1);
    Both x = kit_view(&k, ops->gemm_dtype, t, depth, 0, 1), y = kit_view(&k, ops->act_dtype, t, n, 0, 1);
    size_t elem = ops->act_dtype == DTYPE_F64 ? 8 : 4, elem_x = ops->gemm_dtype == DTYPE_F64 ? 8 : 4;
    ops->linear(k.ctx, y.t, x.t, &w.t, NULL);
    for (size_t some = 1; some < t; some = some * 3 + 1) {
        Both part_y = kit_view(&k, ops->act_dtype, some, n, 0, 1);
        size_t first = (t - some) / 2;
        ops->linear(k.ctx, part_y.t, view_rows(x.t, first, some, elem_x), &w.t, NULL);
        CHECK(memcmp(part_y.t.data, (char *)y.t.data + first * n * elem, some * n * elem) == 0);
    }
    if (ops->linear_add) {
        Both residual = kit_view(&k, ops->resid_dtype, t, n, 0, 3), at_once = kit_view(&k, ops->resid_dtype, t, n, 0, 1);
        Both later = kit_view(&k, ops->resid_dtype, t, n, 0, 1);
        ops->linear_add(k.ctx, at_once.t, residual.t, 1, x.t, &w.t, NULL);
        ops->add(k.ctx, later.t, residual.t, y.t, 1);
        CHECK(memcmp(at_once.t.data, later.t.data, t * n * elem) == 0);
    }
    END(&k);
    kit_close(&k);
}

/* ---- rows ---- */

typedef struct RowsBound {
    double relative, absolute;
    View r;
} RowsBound;

static double rows_bound(void *user, size_t r, size_t c)
{
    const RowsBound *b = user;
    return b->relative * fabs(kit_get(b->r, r, c)) + b->absolute;
}

static void norm(void)
{
    static const size_t groups[] = {1, 3, 7, 8, 9, 16, 31, 64, 100, 513, 700};
    Kit k = open_kit(4);
    for (int i = 0; i < 88; i++) {
        size_t group = groups[i % 11], n_groups = i % 4 == 3 ? 3 : 1, cols = group * n_groups;
        NormSpec spec = {.kind = i / 11 % 2 ? NORM_LAYER : NORM_RMS,
                         .eps = i % 3 ? 1e-5f : 1e-12f,
                         .weight_offset = i % 5 == 4 ? 1.0f : 0.0f,
                         .group = group};
        bool has_weight = i % 7 != 6, has_bias = i % 3 == 1, one_gain = i % 2;
        CASE(&k, "%s norm kind %d group %zu x %zu", ops->name, spec.kind, group, n_groups);
        WeightPart g = kit_part(&k, DTYPE_F32, 1, one_gain ? group : cols, false, 2);
        WeightPart b = kit_part(&k, DTYPE_F32, 1, one_gain ? group : cols, false, 2);
        BothWeight weight = kit_weight(&k, WEIGHT_VECTOR, &g, 1), bias = kit_weight(&k, WEIGHT_VECTOR, &b, 1);
        Both x = kit_view(&k, ops->resid_dtype, 9, cols, 2, i % 2 ? 1 : 50);
        bool in_place = i % 4 == 1 && ops->resid_dtype == ops->gemm_dtype;
        Both out = in_place ? x : kit_view(&k, ops->gemm_dtype, 9, cols, 1, 1);
        if (!in_place)
            kit_freeze(&k, x.t.data);
        ops->norm(k.ctx, out.t, x.t, &spec, has_weight ? &weight.t : NULL, has_bias ? &bias.t : NULL);
        ops_ref.norm(k.ref_ctx, out.r, x.r, &spec, has_weight ? &weight.r : NULL, has_bias ? &bias.r : NULL);
        /* Sums are kept in f64 after 64 vectors of at most 16: (64 + 8) u of the sum of squares, half of it after the root. A
         * layer's mean is rounded to u |mean|, and |x| <= 50 sqrt(group) of the deviation at most. */
        double spread = spec.kind == NORM_LAYER ? 50 * sqrt((double)group) / sqrt((double)spec.eps) : 0;
        RowsBound bound = {
            .relative = 48 * k.u + k.store, .absolute = 40 * k.u + (spread < 60 ? 12 * k.u * spread : 0), .r = out.r};
        bound.absolute = spec.kind == NORM_LAYER ? 3 * (4 + sqrt((double)group)) * 16 * k.u : bound.absolute;
        if (group > 1 || spec.kind == NORM_RMS)
            CHECK(kit_compare(&k, out, rows_bound, &bound) == 0);
        END(&k);
    }
    kit_close(&k);
}

static void rope(void)
{
    Kit k = open_kit(5);
    static const int dims[][2] = {{2, 2},   {6, 4},   {8, 8},   {16, 16},   {20, 10},
                                  {33, 32}, {64, 64}, {80, 32}, {128, 128}, {256, 256}};
    for (int i = 0; i < 40; i++) {
        int dh = dims[i % 10][0], rotary = dims[i % 10][1], heads = 1 + i % 3;
        RopeStyle style = i / 10 % 2 ? ROPE_INTERLEAVED : ROPE_HALF;
        CASE(&k, "%s rope Dh %d R %d style %d", ops->name, dh, rotary, style);
        WeightPart c = kit_part(&k, DTYPE_F32, 12, (size_t)rotary / 2, false, 1);
        WeightPart s = kit_part(&k, DTYPE_F32, 12, (size_t)rotary / 2, false, 1);
        BothWeight cosines = kit_weight(&k, WEIGHT_TABLE, &c, 1), sines = kit_weight(&k, WEIGHT_TABLE, &s, 1);
        Both x = kit_view(&k, ops->act_dtype, 7, (size_t)(heads * dh), 3, 4);
        int32_t positions[7];
        for (int t = 0; t < 7; t++)
            positions[t] = (int32_t)rng_below(&k.rng, 12);
        ops->rope(k.ctx, x.t, positions, &cosines.t, &sines.t, heads, dh, rotary, style);
        ops_ref.rope(k.ref_ctx, x.r, positions, &cosines.r, &sines.r, heads, dh, rotary, style);
        /* |a||cos| + |b||sin| <= 8, three roundings */
        RowsBound bound = {.relative = k.store, .absolute = 8 * 3 * k.u, .r = x.r};
        CHECK(kit_compare(&k, x, rows_bound, &bound) == 0);
        END(&k);
    }
    kit_close(&k);
}

static void activations(void)
{
    static const size_t ns[] = {1, 3, 4, 7, 8, 9, 15, 16, 17, 33, 130};
    Kit k = open_kit(6);
    for (int i = 0; i < 110; i++) {
        size_t n = ns[i % 11];
        ActKind act = (ActKind)(i / 11 % 5);
        double scale = i % 3 == 0 ? 1 : i % 3 == 1 ? 12 : 100;
        bool gated = i >= 55, in_place = i % 2 && ops->act_dtype == ops->gemm_dtype;
        CASE(&k, "%s %s kind %d n %zu scale %g", ops->name, gated ? "glu" : "act", act, n, scale);
        Both x = kit_view(&k, ops->act_dtype, 3, n, 2, scale), up = kit_view(&k, ops->act_dtype, 3, n, 1, 2);
        if (n > 7) {
            kit_set(x, 0, 0, 0.0);
            kit_set(x, 0, 1, -0.0);
            kit_set(x, 0, 2, (double)NAN);
            kit_set(x, 0, 3, -1e-30);
        }
        Both out = in_place ? x : kit_view(&k, ops->gemm_dtype, 3, n, 0, 1);
        if (gated) {
            ops->glu(k.ctx, out.t, x.t, up.t, act);
            ops_ref.glu(k.ref_ctx, out.r, x.r, up.r, act);
        } else {
            ops->act(k.ctx, out.t, x.t, act);
            ops_ref.act(k.ref_ctx, out.r, x.r, act);
        }
        /* x - x / (1 + e^2u) and 1 + erf lose what they subtract: up to a few u of |x| <= 12 where the result is small; exp's
         * argument is known to u |argument| < 100 u for silu. */
        RowsBound bound = {.relative = 120 * k.u + k.store, .absolute = 2 * 16 * 6 * k.u + 1e-37, .r = out.r};
        CHECK(kit_compare(&k, out, rows_bound, &bound) == 0);
        END(&k);
    }
    kit_close(&k);
}

static void sums_of_rows(void)
{
    static const size_t ns[] = {1, 5, 8, 17, 64, 131};
    Kit k = open_kit(7);
    for (int i = 0; i < 24; i++) {
        size_t n = ns[i % 6], t = i % 2 ? 70 : 3;
        CASE(&k, "%s add, clip, add_gated, mean, copy, dots: n %zu", ops->name, n);
        Both a = kit_view(&k, ops->resid_dtype, t, n, 1, 3), b = kit_view(&k, ops->act_dtype, t, n, 2, 3);
        Both out = kit_view(&k, ops->resid_dtype, t, n, 3, 1), gate = kit_view(&k, ops->act_dtype, t, 1, i % 3, 6);
        kit_freeze(&k, a.t.data);
        ops->add(k.ctx, out.t, a.t, b.t, 0.7f);
        ops_ref.add(k.ref_ctx, out.r, a.r, b.r, 0.7f);
        CHECK(kit_compare_flat(&k, out, 6 * 2 * k.u) == 0);
        ops->mean(k.ctx, out.t, (View[]){out.t, a.t, a.t}, 3);
        ops_ref.mean(k.ref_ctx, out.r, (View[]){out.r, a.r, a.r}, 3);
        CHECK(kit_compare_flat(&k, out, 12 * 4 * k.u) == 0);
        ops->clip(k.ctx, b.t, 1.25f);
        ops_ref.clip(k.ref_ctx, b.r, 1.25f);
        CHECK(kit_compare_flat(&k, b, 0) == 0);
        Both other = kit_view(&k, ops->act_dtype, t, n, i % 2, 3), mixed = kit_view(&k, ops->act_dtype, t, n, 0, 1);
        ops->add_gated(k.ctx, mixed.t, other.t, b.t, i % 4 ? gate.t : (View){0});
        ops_ref.add_gated(k.ref_ctx, mixed.r, other.r, b.r, i % 4 ? gate.r : (View){0});
        CHECK(kit_compare_flat(&k, mixed, 5 * (12 * k.u + k.store)) == 0);
        ops->copy(k.ctx, out.t, b.t);
        ops_ref.copy(k.ref_ctx, out.r, b.r);
        CHECK(kit_compare_flat(&k, out, 0) == 0);
        Both narrow = kit_view(&k, ops->gemm_dtype, t, n, 2, 1);
        ops->copy(k.ctx, narrow.t, a.t);
        ops_ref.copy(k.ref_ctx, narrow.r, a.r);
        CHECK(kit_compare_flat(&k, narrow, 3 * k.store) == 0);
        double dots[3 * 70], ref_dots[3 * 70], down[131 * 70];
        ops->row_dots(k.ctx, dots, a.t, out.t);
        ops_ref.row_dots(k.ref_ctx, ref_dots, a.r, out.r);
        for (size_t r = 0; r < 3 * t; r++) /* products and sums in f64, other orders */
            CHECK_NEAR(dots[r], ref_dots[r], (double)(n * n) * 9 * 0x1p-53);
        ops->download(k.ctx, down, a.t);
        for (size_t r = 0; r < t; r++)
            for (size_t c = 0; c < n; c++)
                CHECK(down[r * n + c] == kit_get(a.r, r, c));
        for (size_t j = 0; j < t * n; j++) /* what no buffer holds already */
            down[j] *= -2;
        ops->upload(k.ctx, out.t, down);
        kit_sync(&k);
        for (size_t r = 0; r < t; r++)
            for (size_t c = 0; c < n; c++)
                CHECK(kit_get(out.t, r, c) == -2 * kit_get(a.r, r, c));
        END(&k);
    }
    kit_close(&k);
}

static void embeddings(void)
{
    static const DType dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    static const size_t ns[] = {1, 8, 31, 257, 600};
    Kit k = open_kit(8);
    for (int i = 0; i < 15; i++) {
        size_t n = ns[i % 5], t = 67;
        CASE(&k, "%s embed n %zu dtype %d", ops->name, n, i % 3);
        WeightPart table = kit_part(&k, dtypes[i % 3], 20, n, false, 2);
        Both x = kit_view(&k, ops->resid_dtype, t, n, 2, 1);
        int32_t ids[67], positions[67];
        for (size_t r = 0; r < t; r++) {
            ids[r] = (int32_t)rng_below(&k.rng, 20);
            positions[r] = (int32_t)rng_below(&k.rng, 20);
        }
        float multiplier = i % 2 ? 1.0f : 24.0f;
        ops->embed(k.ctx, x.t, ids, &table, multiplier);
        ops_ref.embed(k.ref_ctx, x.r, ids, &table, multiplier);
        CHECK(kit_compare_flat(&k, x, i % 2 ? 0 : 48 * k.u) == 0);
        ops->embed_add(k.ctx, x.t, positions, &table);
        ops_ref.embed_add(k.ref_ctx, x.r, positions, &table);
        CHECK(kit_compare_flat(&k, x, 52 * 2 * k.u) == 0);
        END(&k);
    }
    kit_close(&k);
}

/* ---- attention ---- */

typedef struct AttentionCase {
    int heads, kv_heads, head_dim, window;
    float scale, softcap;
    int alibi; /* 0 none, 1 usual, 2 Falcon's */
    size_t prefix;
    int key_position, n_after; /* of the first key; positions between a query and the last of its keys */
    size_t lengths[4];         /* 0 ends */
} AttentionCase;

/* dense: rows begin on 16 bytes where the head dim allows it. */
static void try_attention(Kit *k, const AttentionCase *c, bool dense)
{
    KvSegment segments[4][2];
    AttnSeq seqs[4];
    float slopes[8];
    size_t n_seqs = 0, rows = c->prefix, longest = 0, dh = (size_t)c->head_dim;
    for (; n_seqs < 4 && c->lengths[n_seqs]; n_seqs++) {
        size_t n = c->lengths[n_seqs], n_segments = 0;
        if (c->prefix)
            segments[n_seqs][n_segments++] = (KvSegment){.first_row = 0, .n_rows = c->prefix};
        segments[n_seqs][n_segments++] = (KvSegment){.first_row = rows, .n_rows = n};
        seqs[n_seqs] = (AttnSeq){.q_row = rows,
                                 .n_q = n,
                                 .first_position = (int32_t)c->prefix + c->key_position + c->n_after,
                                 .key_position = c->key_position,
                                 .segments = segments[n_seqs],
                                 .n_segments = n_segments};
        rows += n;
        longest = n + c->prefix > longest ? n + c->prefix : longest;
    }
    for (int h = 0; h < 8; h++)
        slopes[h] = 0.5f / (float)(h + 1);
    AttnSpec spec = {.n_heads = c->heads,
                     .n_kv_heads = c->kv_heads,
                     .head_dim = c->head_dim,
                     .scale = c->scale,
                     .softcap = c->softcap,
                     .window = c->window,
                     .alibi_slopes = c->alibi ? slopes : NULL,
                     .alibi_bf16 = c->alibi == 2};
    CASE(k, "%s attention H %d K %d Dh %d window %d cap %g alibi %d prefix %zu longest %zu%s", ops->name, c->heads, c->kv_heads,
         c->head_dim, c->window, (double)c->softcap, c->alibi, c->prefix, longest, dense ? " dense" : "");
    Both q = kit_view(k, ops->act_dtype, rows, (size_t)c->heads * dh, dense ? 0 : 1, 2);
    Both key = kit_view(k, ops->act_dtype, rows, (size_t)c->kv_heads * dh, dense ? 0 : 3, 2);
    Both v = kit_view(k, ops->act_dtype, rows, (size_t)c->kv_heads * dh, dense ? 0 : 2, 1);
    Both out = kit_view(k, ops->gemm_dtype, rows, (size_t)c->heads * dh, dense ? 0 : 4, 1);
    kit_freeze(k, q.t.data);
    kit_freeze(k, key.t.data);
    kit_freeze(k, v.t.data);
    for (size_t r = 0; r < c->prefix; r++) /* no sequence queries these rows */
        for (size_t i = 0; i < (size_t)c->heads * dh; i++)
            kit_set(out, r, i, 0);
    ops->attention(k->ctx, out.t, q.t, key.t, v.t, seqs, n_seqs, &spec);
    ops_ref.attention(k->ref_ctx, out.r, q.r, key.r, v.r, seqs, n_seqs, &spec);
    /* |q.k| <= 4 Dh: a score is known to (Dh + 2) u 4 Dh scale, ALiBi adds u of up to 100; exp passes twice that on, relatively (largest
     * score and this one); sums over n keys of |v| <= 1 add (2 n + 8) u. */
    double score = ((double)dh + 4) * 4 * (double)dh * (double)fabsf(c->scale) + (c->alibi ? 400 : 0) + (double)c->softcap * 8;
    /* a bf16 table rounds P, whose sum is 1, and what it stores */
    CHECK(kit_compare_flat(k, out, (2 * score + 2 * (double)longest + 12) * k->u + 2 * k->store) == 0);
    END(k);
}

static void attention(void)
{
    static const AttentionCase cases[] = {
        {1, 1, 8, 0, 0.3f, 0, 0, 0, 0, 0, {1}},
        {2, 1, 16, 0, 0.25f, 0, 0, 0, 0, 0, {1, 2, 65, 7}},
        {4, 2, 64, 0, 0.125f, 0, 0, 0, 0, 0, {130, 3}},
        {8, 8, 5, 0, 0.4f, 0, 0, 0, 0, 0, {63, 64, 66}},
        {3, 1, 33, 0, 0.2f, 0, 0, 0, 0, 0, {128, 64, 1, 5}},
        {2, 2, 256, 0, 0.0625f, 0, 0, 0, 0, 0, {70, 9}},
        {4, 2, 128, 0, 0.09f, 0, 0, 0, 0, 0, {130, 3}},
        {2, 1, 121, 50, 0.09f, 3, 0, 0, 0, 0, {70}},
        {2, 1, 80, 0, 0.11f, 0, 0, 9, 0, 0, {70}},
        {2, 2, 12, 0, 0.3f, 0, 0, 0, 0, 0, {70, 3}}, /* rows on 16 bytes, heads not */
        {4, 2, 100, 0, 0.1f, 0, 0, 0, 0, 0, {66, 3}},
        {2, 1, 16, 1, 0.25f, 0, 0, 0, 0, 0, {70, 3}},
        {2, 1, 16, 17, 0.25f, 0, 0, 0, 0, 0, {150, 17, 18, 1}},
        {4, 4, 8, 64, 0.25f, 0, 0, 0, 0, 0, {129, 65}},
        {2, 1, 16, 80, 0.25f, 0, 0, 0, 0, 0, {170}},
        {4, 1, 24, 0, 0.2f, 5, 0, 0, 0, 0, {80, 11}},
        {4, 2, 24, 9, 0.2f, 2, 0, 0, 0, 0, {80, 11}},
        {8, 4, 16, 0, 0.25f, 0, 1, 0, 0, 0, {90, 33}},
        {8, 8, 16, 0, 0.25f, 0, 2, 0, 0, 0, {90, 33}},
        {2, 1, 16, 0, 0.25f, 0, 0, 5, 0, 0, {1, 4, 64, 70}},
        {4, 2, 32, 0, 0.18f, 0, 0, 66, 0, 0, {1, 65, 3}},
        {4, 2, 32, 7, 0.18f, 0, 0, 10, 0, 0, {1, 4, 20}},
        {4, 2, 32, 12, 0.18f, 3, 1, 70, 0, 0, {2, 64}},
        {2, 1, 16, 0, 0.25f, 0, 2, 5, 1000, 0, {9, 70}},
        {2, 1, 16, 40, 0.25f, 0, 1, 0, 3, 2, {9, 70}},
        {4, 2, 64, 0, 0.125f, 0, 0, 0, 0, 200, {70, 3}},
        {4, 2, 64, 100, 0.125f, 0, 0, 0, 0, 70, {90, 65}},
        {2, 1, 16, 30, 0.25f, 0, 0, 0, 0, 200, {70, 3}}, /* no query sees a key */
    };
    Kit k = open_kit(9);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int dense = 0; dense < 2; dense++)
            try_attention(&k, &cases[i], dense);
    kit_close(&k);
}

/* ---- mixtures ---- */

/* What the experts of a row may be off by. A gate or up is known to (D + 2) u of its sum of magnitudes, and is stored; act(gate) * up then
 * has both errors (silu's slope is at most 1.1), its own 8 u, and is stored; a column of down sums those and its own (F + 2) u, and
 * is stored; so is the weighted sum, whose weights are known to 40 u. */
typedef struct MixtureBound {
    const Kit *k;
    View x, out; /* of the oracle */
    const WeightPart *gate_up, *down;
    Routes routes;
    size_t top_k, row;                   /* row: the one whose hidden values are here, SIZE_MAX: none */
    double hidden[3][72], errors[3][72]; /* [top_k, F] and what they may be off by */
} MixtureBound;

static void find_hidden(MixtureBound *b, size_t r)
{
    double u = b->k->u, store = b->k->store;
    for (size_t j = 0; j < b->top_k; j++) {
        const WeightPart *gate_up = &b->gate_up[b->routes.expert[r * b->top_k + j]];
        for (size_t f = 0; f < gate_up->rows / 2; f++) {
            double value[2] = {0}, sum[2] = {0}, error[2];
            for (size_t half = 0; half < 2; half++) {
                for (size_t i = 0; i < gate_up->cols; i++) {
                    double term = kit_get(b->x, r, i) * kit_part_get(gate_up, half * (gate_up->rows / 2) + f, i);
                    value[half] += term;
                    sum[half] += fabs(term);
                }
                error[half] = (((double)gate_up->cols + 2) * u + term_error()) * sum[half] + store * fabs(value[half]);
            }
            double act = value[0] / (1 + exp(-value[0]));
            b->hidden[j][f] = act * value[1];
            b->errors[j][f] =
                1.1 * error[0] * (fabs(value[1]) + error[1]) + fabs(act) * error[1] + (8 * u + store) * fabs(act * value[1]);
        }
    }
    b->row = r;
}

static double mixture_bound(void *user, size_t r, size_t c)
{
    MixtureBound *b = user;
    double u = b->k->u, store = b->k->store, error = 0;
    if (b->row != r)
        find_hidden(b, r);
    for (size_t j = 0; j < b->top_k; j++) {
        const WeightPart *down = &b->down[b->routes.expert[r * b->top_k + j]];
        double y = 0, magnitude = 0, own = 0;
        for (size_t f = 0; f < down->cols; f++) {
            double w = kit_part_get(down, c, f);
            own += fabs(w) * b->errors[j][f];
            magnitude += fabs(w * b->hidden[j][f]);
            y += w * b->hidden[j][f];
        }
        own += (((double)down->cols + 2) * u + term_error()) * (magnitude + own) + store * (fabs(y) + own);
        error += (double)b->routes.weight[r * b->top_k + j] * (own + 44 * u * (magnitude + own));
    }
    return error + store * (fabs(kit_get(b->out, r, c)) + error) + 1e-300;
}

static void mixture(void)
{
    static const size_t ds[] = {3, 16, 33}, fs[] = {1, 17, 40};
    Kit k = open_kit(10);
    for (int i = 0; i < 38; i++) {
        size_t d = ds[i % 3], f = fs[i / 3 % 3], n_experts = i % 2 ? 8 : 5, t = i % 4 ? 37 : 1;
        RouteSpec spec = {.n_experts = (int)n_experts, .top_k = 1 + i % 3, .normalise = i % 4 < 2};
        if (i == 36) /* several tiles of rows, outputs and inputs for one expert */
            d = 200, f = 72, t = 300, spec.top_k = 1;
        else if (i == 37) /* more choices than max_rows */
            t = 140, spec.top_k = 3;
        size_t top_k = (size_t)spec.top_k;
        CASE(&k, "%s mixture D %zu F %zu E %zu top %zu T %zu", ops->name, d, f, n_experts, top_k, t);
        ExpertWeights mine[8], oracle[8];
        WeightPart gate_up[8], down[8];
        for (size_t e = 0; e < n_experts; e++) {
            gate_up[e] = kit_part(&k, DTYPE_F32, 2 * f, d, false, 1), down[e] = kit_part(&k, DTYPE_F32, d, f, false, 1);
            BothWeight w = kit_weight(&k, WEIGHT_MATRIX, &gate_up[e], 1), v = kit_weight(&k, WEIGHT_MATRIX, &down[e], 1);
            mine[e] = (ExpertWeights){.gate_up = w.t, .down = v.t};
            oracle[e] = (ExpertWeights){.gate_up = w.r, .down = v.r};
        }
        Both x = kit_view(&k, ops->gemm_dtype, t, d, 1, 1), logits = kit_view(&k, ops->act_dtype, t, n_experts, 2, 3);
        Both out = kit_view(&k, ops->resid_dtype, t, d, 2, 1);
        for (size_t r = 0; r < t; r++) {
            kit_set(logits, r, n_experts - 1, -50);         /* an expert without tokens */
            kit_set(logits, r, 1, kit_get(logits.r, r, 0)); /* a tie: the lower index first */
            kit_set(logits, r, 2, r % 2 || i == 36 ? 4 : -4);
        }
        Routes a = {.expert = kit_bytes(&k, t * top_k * 4), .weight = kit_bytes(&k, t * top_k * 4)};
        Routes b = {.expert = kit_bytes(&k, t * top_k * 4), .weight = kit_bytes(&k, t * top_k * 4)};
        kit_freeze(&k, x.t.data);
        ops->route(k.ctx, a, logits.t, &spec);
        ops_ref.route(k.ref_ctx, b, logits.r, &spec);
        kit_sync(&k);
        for (size_t r = 0; r < t * top_k; r++) {
            CHECK(a.expert[r] == b.expert[r]);
            CHECK_NEAR(a.weight[r], b.weight[r], 40 * 0x1p-24);
        }
        ops->moe(k.ctx, out.t, x.t, a, mine, &spec, ACT_SILU);
        ops_ref.moe(k.ref_ctx, out.r, x.r, a, oracle, &spec, ACT_SILU);
        MixtureBound bound = {
            .k = &k, .x = x.r, .out = out.r, .gate_up = gate_up, .down = down, .routes = b, .top_k = top_k, .row = SIZE_MAX};
        CHECK(kit_compare(&k, out, mixture_bound, &bound) == 0);
        END(&k);
    }
    kit_close(&k);
}

/* More experts than lanes of a warp or elements of a vector; ties at every distance. */
static void route_among_many(void)
{
    enum { T = 6, K = 5 };
    Kit k = open_kit(12);
    for (int i = 0; i < 6; i++) {
        size_t n = i % 3 == 0 ? 33 : i % 3 == 1 ? 64 : 100;
        CASE(&k, "%s route among %zu", ops->name, n);
        RouteSpec spec = {.n_experts = (int)n, .top_k = K, .normalise = i % 2};
        Both logits = kit_view(&k, ops->act_dtype, T, n, 2, 3);
        for (size_t r = 0; r < T; r++) /* the largest four are two and two alike, in other lanes or 32 apart */
            for (size_t j = 0; j < 4; j++)
                kit_set(logits, r, (7 * r + (r % 2 ? 32 : 5) * j) % n, j < 2 ? 4 : 5);
        Routes a = {.expert = kit_bytes(&k, T * K * 4), .weight = kit_bytes(&k, T * K * 4)};
        Routes b = {.expert = kit_bytes(&k, T * K * 4), .weight = kit_bytes(&k, T * K * 4)};
        ops->route(k.ctx, a, logits.t, &spec);
        ops_ref.route(k.ref_ctx, b, logits.r, &spec);
        kit_sync(&k);
        for (size_t r = 0; r < T * K; r++) {
            CHECK_MSG(a.expert[r] == b.expert[r], "%s: %zu: %d, expected %d", k.what, r, a.expert[r], b.expert[r]);
            CHECK_NEAR(a.weight[r], b.weight[r], 40 * 0x1p-24);
        }
        END(&k);
    }
    kit_close(&k);
}

#include "tests/kernels_head.inc"
#include "tests/kernels_pairs.inc"

#define RUN_CHOSEN(test) \
    do { \
        if (!only || strcmp(only, #test) == 0) \
            RUN(test); \
    } while (0)

/* Every entry of a table at the level that is set. */
static void try_table(const Ops *table, const char *level, int threads)
{
    ops = table;
    n_threads = threads;
    printf("-- %s, %s, %d threads\n", ops->name, level, n_threads);
    RUN_CHOSEN(linear);
    RUN_CHOSEN(linear_add);
    RUN_CHOSEN(products_do_not_depend_on_the_batch);
    RUN_CHOSEN(norm);
    RUN_CHOSEN(rope);
    RUN_CHOSEN(activations);
    RUN_CHOSEN(sums_of_rows);
    RUN_CHOSEN(embeddings);
    RUN_CHOSEN(attention);
    RUN_CHOSEN(mixture);
    RUN_CHOSEN(route_among_many);
    RUN_CHOSEN(head);
    RUN_CHOSEN(pair_sums);
    RUN_CHOSEN(rows_compared);
    RUN_CHOSEN(rows_gathered);
}

static void choose_seed(void)
{
    const char *chosen = getenv("SEED");
    seed = chosen ? strtoull(chosen, NULL, 10) : 20261123;
    printf("seed %llu (SEED=N for another)\n", (unsigned long long)seed);
}

#ifndef KERNELS_ARE_WIDE /* tests/test_wide*.c bring a main of their own */
static CpuLevel needed;

static void level_is_there(void)
{
    if (cpu_level_native() < needed)
        SKIP("this processor lacks an instruction set");
}

int main(void)
{
    static const char *const levels[] = {"scalar", "avx2", "avx512"};
    const Ops *const tables[] = {&ops_cpu_fast, &ops_cpu_stable, &ops_cpu_exact, &ops_cpu_ref64};
    choose_seed();
    for (needed = CPU_SCALAR; needed <= CPU_AVX512; needed++) {
        Error e;
        printf("-- %s\n", levels[needed]);
        RUN(level_is_there);
        if (cpu_level_native() < needed)
            continue;
        if (cpu_level_set(levels[needed], &e)) {
            printf("%s\n", e.text);
            return 1;
        }
        for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
            try_table(tables[i], levels[needed], 1 + (int)((i + needed) % 3));
    }
    return test_finish();
}
#endif
