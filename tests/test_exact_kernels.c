/* test_exact_kernels.c: numerics v1, piece by piece. Its functions against the C library's long double; its vector kernels, at every
 * processor level, against exact_canon.h bit by bit; cpu/stable's attention whole against in chunks. */
#include "tests/test.h"

#include "engine/base/rng.h"
#include "kernels/cpu_features.h"
#include "kernels/exact/exact_simd.h"
#include "kernels/ops.h"
#include "tests/prove/round_check.h"

static const char *const levels[] = {"scalar", "avx2", "avx512"};

static double gaussian(Rng *r)
{
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += rng_uniform(r);
    return sum;
}

static void functions_are_rounded_right(void)
{
    Rng r;
    rng_seed(&r, 1, 1);
    for (int i = 0; i < ROUND_N_FUNCTIONS; i++) {
        RoundCounts c = {0};
        for (int n = 0; n < 1000000; n++)
            round_check(&round_functions[i], (uint32_t)rng_next(&r), &c);
        CHECK_MSG(!c.wrong && !c.undecided, "%s: %llu wrong, the first 0x%08x, %llu undecided", round_functions[i].name,
                  (unsigned long long)c.wrong, (unsigned)c.first_wrong, (unsigned long long)c.undecided);
    }
    /* The inputs of log and sin whose f64 value is the middle between two floats (found by make prove). */
    static const uint32_t hard[] = {0x3c413d3a, 0x41178feb, 0x4c5d65a5, 0x65d890d3, 0x6f31a8ec, 0x46199998};
    RoundCounts c = {0};
    for (size_t i = 0; i < sizeof hard / sizeof hard[0]; i++)
        for (int f = 0; f < ROUND_N_FUNCTIONS; f++)
            round_check(&round_functions[f], hard[i], &c);
    CHECK(!c.wrong && !c.undecided);
}

static bool same_bits(const void *a, const void *b, size_t bytes)
{
    return memcmp(a, b, bytes) == 0;
}

static void vector_exp_equals_the_definition(void)
{
    enum { N = 4099 };
    static double x[N], got[N], expected[N];
    Rng r;
    rng_seed(&r, 2, 1);
    for (size_t i = 0; i < N; i++) {
        x[i] = gaussian(&r) * (i % 7 == 0 ? 300 : 10);
        if (i < 6)
            x[i] = (const double[]){0.0, -0.0, INFINITY, -INFINITY, NAN, 709.79}[i];
        expected[i] = exact_store_f64(exact_exp(x[i]));
    }
    for (CpuLevel l = CPU_SCALAR; l <= cpu_level_native(); l++) {
        memset(got, 0x55, sizeof got);
        exact_simd(l, 0)->exp_row(got, x, N);
        CHECK_MSG(same_bits(got, expected, sizeof got), "%s", levels[l]);
    }
}

/* An op table at work on random numbers of its own element type. */
typedef struct Bench {
    const Ops *ops;
    OpsContext *c;
    Pool *pool;
    size_t elem;
    bool f64;
} Bench;

static bool bench_open(Bench *b, const Ops *ops, int threads)
{
    Error e;
    OpsConfig config = {.limits = {.max_rows = 200,
                                   .max_head_rows = 200,
                                   .max_seq = 700,
                                   .d_model = 600,
                                   .d_ff = 600,
                                   .n_heads = 4,
                                   .n_kv_heads = 2,
                                   .head_dim = 300,
                                   .n_experts = 5,
                                   .top_k = 2,
                                   .vocab = 3000}};
    *b = (Bench){.ops = ops, .f64 = ops->act_dtype == DTYPE_F64, .elem = dtype_block_bytes(ops->act_dtype)};
    if (pool_open(threads, &b->pool, &e))
        return false;
    config.pool = b->pool;
    return ops->open(&config, &b->c, &e) == STATUS_OK;
}

static void bench_close(Bench *b)
{
    if (b->c)
        b->ops->close(b->c);
    pool_close(b->pool);
}

static View new_view(const Bench *b, size_t rows, size_t cols, size_t ld, uint64_t seed)
{
    Rng r;
    rng_seed(&r, seed, 3);
    View v = {.dtype = b->ops->act_dtype, .rows = rows, .cols = cols, .ld = ld};
    v.data = malloc(rows * ld * b->elem + 1);
    for (size_t i = 0; v.data && i < rows * ld; i++) {
        double x = gaussian(&r);
        if (b->f64)
            ((double *)v.data)[i] = x;
        else
            ((float *)v.data)[i] = (float)x;
    }
    return v;
}

static const void *at_row(const Bench *b, View v, size_t r)
{
    return (const char *)v.data + r * v.ld * b->elem;
}

/* Is element i of row r what the definition says, rounded for the table? */
static bool element_is(const Bench *b, View v, size_t r, size_t i, double expected)
{
    if (b->f64) {
        double x = exact_store_f64(expected);
        return same_bits((const double *)at_row(b, v, r) + i, &x, sizeof x);
    }
    float x = exact_store_f32(expected);
    return same_bits((const float *)at_row(b, v, r) + i, &x, sizeof x);
}

static double element(const Bench *b, View v, size_t r, size_t i)
{
    return b->f64 ? ((const double *)at_row(b, v, r))[i] : (double)((const float *)at_row(b, v, r))[i];
}

static double canon_dot(const Bench *b, const void *x, const float *w, size_t n)
{
    static double wide[2000];
    for (size_t i = 0; i < n; i++)
        wide[i] = (double)w[i];
    return b->f64 ? exact_dot_f64(x, wide, n) : exact_dot_f32(x, w, n);
}

static float *new_floats(size_t n, uint64_t seed)
{
    Rng r;
    rng_seed(&r, seed, 4);
    float *w = malloc(n * sizeof *w + 1);
    for (size_t i = 0; w && i < n; i++)
        w[i] = (float)gaussian(&r);
    return w;
}

static void *prepare(const Bench *b, WeightKind kind, const float *data, size_t rows, size_t cols, Weight *out)
{
    Error e;
    WeightPart part = {.data = data, .dtype = DTYPE_F32, .rows = rows, .cols = cols, .stride = cols};
    void *slot = aligned_alloc(64, b->ops->weight_slot_bytes(kind, &part, 1));
    CHECK(slot && b->ops->weight_prepare(b->c, slot, kind, &part, 1, out, &e) == STATUS_OK);
    return slot;
}

static void check_linear(const Bench *b)
{
    static const size_t shapes[][3] = {/* T, K, N */ {1, 1, 1}, {3, 257, 5}, {7, 512, 33}, {100, 600, 29}, {97, 64, 401}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        size_t t = shapes[s][0], k = shapes[s][1], n = shapes[s][2], bad = 0;
        View x = new_view(b, t, k, k + 3, s), y = new_view(b, t, n, n + 1, s + 9);
        float *w = new_floats(n * k, s), *bias = new_floats(n, s + 1);
        Weight weight, bias_weight;
        void *slot = prepare(b, WEIGHT_MATRIX, w, n, k, &weight), *slot2 = prepare(b, WEIGHT_VECTOR, bias, 1, n, &bias_weight);
        double canary = element(b, y, 0, n);
        b->ops->linear(b->c, y, x, &weight, s % 2 ? &bias_weight : NULL);
        for (size_t r = 0; r < t; r++) {
            for (size_t i = 0; i < n; i++) {
                double dot = canon_dot(b, at_row(b, x, r), w + i * k, k);
                bad += !element_is(b, y, r, i, s % 2 ? dot + (double)bias[i] : dot);
            }
        }
        CHECK_MSG(bad == 0 && element(b, y, 0, n) == canary, "%s: %zu of %zu x %zu x %zu", b->ops->name, bad, t, k, n);
        free(x.data), free(y.data), free(w), free(bias), free(slot), free(slot2);
    }
}

static void check_rows(const Bench *b)
{
    size_t n = 601, t = 5, bad = 0;
    View x = new_view(b, t, n, n, 1), up = new_view(b, t, n, n, 2), y = new_view(b, t, n, n, 3);
    float *gain = new_floats(n, 5), *bias = new_floats(n, 6);
    Weight g, h;
    void *slot = prepare(b, WEIGHT_VECTOR, gain, 1, n, &g), *slot2 = prepare(b, WEIGHT_VECTOR, bias, 1, n, &h);
    for (int layer = 0; layer < 2; layer++) {
        NormSpec spec = {.kind = layer ? NORM_LAYER : NORM_RMS, .eps = 1e-5f, .weight_offset = 1, .group = n};
        b->ops->norm(b->c, y, x, &spec, &g, layer ? &h : NULL);
        for (size_t r = 0; r < t; r++) {
            double mean = 0, inverse;
            if (layer)
                inverse = b->f64 ? exact_layer_inverse_f64(at_row(b, x, r), n, spec.eps, &mean)
                                 : exact_layer_inverse_f32(at_row(b, x, r), n, spec.eps, &mean);
            else
                inverse = b->f64 ? exact_rms_inverse_f64(at_row(b, x, r), n, spec.eps)
                                 : exact_rms_inverse_f32(at_row(b, x, r), n, spec.eps);
            for (size_t i = 0; i < n; i++) {
                double v = (element(b, x, r, i) - mean) * inverse * ((double)gain[i] + 1.0);
                bad += !element_is(b, y, r, i, layer ? v + (double)bias[i] : v);
            }
        }
    }
    CHECK_MSG(bad == 0, "%s: %zu norms", b->ops->name, bad);
    for (int act = ACT_SILU; act <= ACT_RELU2; act++) {
        static const ExactAct kinds[] = {EXACT_SILU, EXACT_GELU_TANH, EXACT_GELU_ERF, EXACT_RELU, EXACT_RELU2};
        b->ops->glu(b->c, y, x, up, (ActKind)act);
        for (size_t r = 0; r < t; r++)
            for (size_t i = 0; i < n; i++)
                bad += !element_is(b, y, r, i, exact_act(element(b, x, r, i), kinds[act]) * element(b, up, r, i));
        b->ops->act(b->c, y, x, (ActKind)act);
        for (size_t r = 0; r < t; r++)
            for (size_t i = 0; i < n; i++)
                bad += !element_is(b, y, r, i, exact_act(element(b, x, r, i), kinds[act]));
    }
    b->ops->add(b->c, y, x, up, 0.3f);
    for (size_t r = 0; r < t; r++)
        for (size_t i = 0; i < n; i++)
            bad += !element_is(b, y, r, i, fma((double)0.3f, element(b, up, r, i), element(b, x, r, i)));
    CHECK_MSG(bad == 0, "%s: %zu activations and sums", b->ops->name, bad);
    for (int style = ROPE_HALF; style <= ROPE_INTERLEAVED; style++) {
        enum { HEADS = 3, DH = 26, DIMS = 22, HALF = DIMS / 2, POSITIONS = 4 };
        int32_t positions[5] = {0, 3, 1, 2, 3};
        View v = new_view(b, t, HEADS * DH, HEADS * DH, 11), before = new_view(b, t, HEADS * DH, HEADS * DH, 11);
        Weight c, s;
        void *slot3 = prepare(b, WEIGHT_TABLE, gain, POSITIONS, HALF, &c),
             *slot4 = prepare(b, WEIGHT_TABLE, bias, POSITIONS, HALF, &s);
        b->ops->rope(b->c, v, positions, &c, &s, HEADS, DH, DIMS, (RopeStyle)style);
        for (size_t r = 0; r < t; r++) {
            for (size_t i = 0; i < HEADS * HALF; i++) {
                size_t pair = i % HALF, base = i / HALF * DH, at = (size_t)positions[r] * HALF + pair;
                size_t p = base + (style == ROPE_HALF ? pair : 2 * pair),
                       q = base + (style == ROPE_HALF ? pair + HALF : 2 * pair + 1);
                double first, second;
                exact_rotate(element(b, before, r, p), element(b, before, r, q), (double)gain[at], (double)bias[at], &first,
                             &second);
                bad += !element_is(b, v, r, p, first) + !element_is(b, v, r, q, second);
            }
        }
        free(v.data), free(before.data), free(slot3), free(slot4);
    }
    CHECK_MSG(bad == 0, "%s: %zu rotations", b->ops->name, bad);
    free(x.data), free(up.data), free(y.data), free(gain), free(bias), free(slot), free(slot2);
}

static void check_attention(const Bench *b)
{
    enum { ROWS = 140, H = 4, K = 2 };
    static const struct {
        int dh, window, alibi;
        float softcap;
    } cases[] = {{6, 0, 0, 0}, {33, 5, 0, 0}, {300, 0, 1, 7}, {16, 60, 1, 0}};
    float slopes[H] = {-0.5f, -0.25f, 0.125f, 1};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t dh = (size_t)cases[i].dh, bad = 0;
        View q = new_view(b, ROWS, H * dh, H * dh, i), k = new_view(b, ROWS, K * dh, K * dh + 1, i + 20);
        View v = new_view(b, ROWS, K * dh, K * dh + 2, i + 40), out = new_view(b, ROWS, H * dh, H * dh, i + 60);
        KvSegment one = {0, 140}, second = {.first_row = 3, .n_rows = 20};
        AttnSeq seqs[] = {{.q_row = 0, .n_q = 100, .segments = &one, .n_segments = 1},
                          {.q_row = 100, .n_q = 20, .segments = &second, .n_segments = 1}};
        AttnSpec spec = {.n_heads = H,
                         .n_kv_heads = K,
                         .head_dim = cases[i].dh,
                         .scale = 0.3f,
                         .softcap = cases[i].softcap,
                         .window = cases[i].window,
                         .alibi_slopes = cases[i].alibi ? slopes : NULL};
        b->ops->attention(b->c, out, q, k, v, seqs, 2, &spec);
        for (size_t s = 0; s < 2; s++) {
            for (size_t t = 0; t < seqs[s].n_q; t++) {
                size_t from = spec.window && t + 1 > (size_t)spec.window ? t + 1 - (size_t)spec.window : 0;
                for (size_t h = 0; h < H; h++) {
                    double expected[300], scores[200];
                    size_t col = h / (H / K) * dh * b->elem, r0 = seqs[s].segments->first_row, row = seqs[s].q_row + t;
                    const char *qp = (const char *)at_row(b, q, row) + h * dh * b->elem;
                    const char *kp = (const char *)at_row(b, k, r0) + col, *vp = (const char *)at_row(b, v, r0) + col;
                    double slope = cases[i].alibi ? (double)slopes[h] : 0, first = (double)from - (double)t;
                    if (b->f64)
                        exact_attend_f64(expected, (const double *)(const void *)qp, (const double *)(const void *)kp, k.ld,
                                         (const double *)(const void *)vp, v.ld, dh, from, t + 1, (double)0.3f,
                                         (double)spec.softcap, slope, first, scores);
                    else
                        exact_attend_f32(expected, (const float *)(const void *)qp, (const float *)(const void *)kp, k.ld,
                                         (const float *)(const void *)vp, v.ld, dh, from, t + 1, (double)0.3f,
                                         (double)spec.softcap, slope, first, scores);
                    for (size_t d = 0; d < dh; d++)
                        bad += !element_is(b, out, row, h * dh + d, expected[d]);
                }
            }
        }
        CHECK_MSG(bad == 0, "%s: case %zu, %zu values", b->ops->name, i, bad);
        free(q.data), free(k.data), free(v.data), free(out.data);
    }
}

/* A sequence whole and in chunks, queries 0-49 and 50-99 apart, one of its segments cut: the same bits. */
static void check_chunks(const Bench *b)
{
    enum { ROWS = 600, N = 560, H = 4, K = 2, DH = 33 };
    for (int window = 0; window <= 70; window += 70) {
        View q = new_view(b, ROWS, H * DH, H * DH, 1), k = new_view(b, ROWS, K * DH, K * DH, 2);
        View v = new_view(b, ROWS, K * DH, K * DH, 3), whole = new_view(b, ROWS, H * DH, H * DH, 4);
        View pieces = new_view(b, ROWS, H * DH, H * DH, 4);
        KvSegment one = {7, N}, cut[] = {{7, 301}, {308, N - 301}};
        AttnSpec spec = {.n_heads = H, .n_kv_heads = K, .head_dim = DH, .scale = 0.3f, .window = window};
        AttnSeq seq = {.q_row = 7, .n_q = N, .segments = &one, .n_segments = 1};
        b->ops->attention(b->c, whole, q, k, v, &seq, 1, &spec);
        static const size_t lengths[] = {1, 30, 50, 479};
        for (size_t i = 0, at = 0; i < 4; at += lengths[i++]) {
            AttnSeq piece = {
                .q_row = 7 + at, .n_q = lengths[i], .first_position = (int32_t)at, .segments = cut, .n_segments = 2};
            b->ops->attention(b->c, pieces, q, k, v, &piece, 1, &spec);
        }
        CHECK_MSG(same_bits(whole.data, pieces.data, ROWS * H * DH * b->elem), "%s, window %d", b->ops->name, window);
        free(q.data), free(k.data), free(v.data), free(whole.data), free(pieces.data);
    }
}

static void check_head(const Bench *b)
{
    enum { ROWS = 3, D = 9, V = 2777 };
    View x = new_view(b, ROWS, D, D, 1), x0 = new_view(b, ROWS, D, D, 2);
    View z = new_view(b, ROWS, V, V, 3), z0 = new_view(b, ROWS, V, V, 4);
    float *w = new_floats(V * D, 7);
    static uint8_t starts[V];
    for (size_t v = 0; v < V; v++)
        starts[v] = v % 3 == 0;
    memcpy(w + 5 * D, w + 9 * D, D * sizeof *w); /* equal logits */
    Weight weight;
    void *slot = prepare(b, WEIGHT_MATRIX, w, V, D, &weight);
    int32_t targets[ROWS] = {9, 5, -1}, rank[ROWS], top1[ROWS];
    double nll[ROWS], kl[ROWS], wsl[ROWS], lse[ROWS], lse0[ROWS];
    HeadArgs a = {.x = x0,
                  .w = &weight,
                  .logit_scale = 1,
                  .targets = targets,
                  .word_start = starts,
                  .logits = z0,
                  .nll = nll,
                  .kl = kl,
                  .word_start_logp = wsl,
                  .lse = lse0,
                  .rank = rank,
                  .top1 = top1};
    b->ops->head(b->c, &a);
    a.lse = lse;
    a.logits = z;
    a.intact_logits = &z0;
    a.intact_lse = lse0;
    b->ops->head(b->c, &a); /* the same rows again */
    for (int t = 0; t < ROWS; t++)
        CHECK_MSG(kl[t] == 0, "%s: the KL to itself is %g, expected exactly 0", b->ops->name, kl[t]);
    a.x = x;
    b->ops->head(b->c, &a);
    for (size_t t = 0; t < ROWS; t++) {
        const void *row = at_row(b, z, t), *row0 = at_row(b, z0, t);
        double most = b->f64 ? exact_most_f64(row, V) : exact_most_f32(row, V);
        double all = b->f64 ? exact_sum_exp_f64(row, NULL, V, most) : exact_sum_exp_f32(row, NULL, V, most);
        double some = b->f64 ? exact_sum_exp_f64(row, starts, V, most) : exact_sum_exp_f32(row, starts, V, most);
        double expected = most + exact_log(all), kl_is;
        kl_is = b->f64 ? exact_kl_f64(row0, row, V, lse0[t], expected) : exact_kl_f32(row0, row, V, lse0[t], expected);
        CHECK(same_bits(&lse[t], &expected, sizeof expected) && same_bits(&kl[t], &kl_is, sizeof kl_is) && kl[t] > 0);
        expected = exact_log(some / all);
        CHECK(same_bits(&wsl[t], &expected, sizeof expected));
        CHECK(top1[t] == (b->f64 ? exact_top1_f64(row, V) : exact_top1_f32(row, V)));
        if (targets[t] < 0) {
            CHECK(rank[t] == -1 && isnan(nll[t]));
            continue;
        }
        expected = lse[t] - element(b, z, t, (size_t)targets[t]);
        CHECK(same_bits(&nll[t], &expected, sizeof expected));
        CHECK(rank[t] == (b->f64 ? exact_rank_f64(row, V, (size_t)targets[t]) : exact_rank_f32(row, V, (size_t)targets[t])));
    }
    free(x.data), free(x0.data), free(z.data), free(z0.data), free(w), free(slot);
}

static void tables_equal_the_definition(void)
{
    static const Ops *const tables[] = {&ops_cpu_exact, &ops_cpu_ref64};
    Error e;
    for (CpuLevel l = CPU_SCALAR; l <= cpu_level_native(); l++) {
        CHECK(cpu_level_set(levels[l], &e) == STATUS_OK);
        for (int i = 0; i < 2; i++) {
            Bench b;
            if (bench_open(&b, tables[i], 1 + i)) {
                int before = test_n_bad;
                check_linear(&b);
                check_rows(&b);
                check_attention(&b);
                check_head(&b);
                check_chunks(&b);
                CHECK_MSG(test_n_bad == before, "%s at level %s", b.ops->name, levels[l]);
            }
            bench_close(&b);
        }
    }
    CHECK(cpu_level_set("native", &e) == STATUS_OK);
}

static void stable_attention_does_not_see_chunks(void)
{
    Error e;
    for (CpuLevel l = CPU_SCALAR; l <= cpu_level_native(); l++) {
        Bench b;
        CHECK(cpu_level_set(levels[l], &e) == STATUS_OK);
        if (bench_open(&b, &ops_cpu_stable, 2))
            check_chunks(&b);
        bench_close(&b);
    }
    CHECK(cpu_level_set("native", &e) == STATUS_OK);
}

/* Every written NaN is the one NaN, whatever went in. */
static void nan_is_canonical(void)
{
    Error e;
    for (CpuLevel l = CPU_SCALAR; l <= cpu_level_native(); l++) {
        CHECK(cpu_level_set(levels[l], &e) == STATUS_OK);
        Bench b;
        if (bench_open(&b, &ops_cpu_exact, 1)) {
            View x = new_view(&b, 1, 37, 37, 1), y = new_view(&b, 1, 37, 37, 1);
            for (size_t i = 0; i < 37; i++)
                ((float *)x.data)[i] = i % 2 ? exact_of_bits_f32(0xFFC12345u) : -INFINITY;
            b.ops->act(b.c, y, x, ACT_SILU);
            for (size_t i = 0; i < 37; i++)
                CHECK(exact_bits_f32(((float *)y.data)[i]) == 0x7FC00000u);
            free(x.data), free(y.data);
        }
        bench_close(&b);
    }
    CHECK(cpu_level_set("native", &e) == STATUS_OK);
}

int main(void)
{
    RUN(functions_are_rounded_right);
    RUN(vector_exp_equals_the_definition);
    RUN(tables_equal_the_definition);
    RUN(nan_is_canonical);
    RUN(stable_attention_does_not_see_chunks);
    return test_finish();
}
