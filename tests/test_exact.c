/* test_exact.c: numerics v1. Its functions against the C library's long double; its vector kernels, at every processor level, against
 * exact_canon.h bit by bit; and the golden hashes: sha256 of the logits and of what a ledger holds, for the demonstration model and
 * tiny Llama, Mistral, Mixtral and GPT-2 models, the same under every level, 1 to 4 threads, batch compositions, memory budgets, and
 * in the tree and the naive loop.
 *
 * tests/data/golden/v1.txt holds one line "MODEL NUMERICS WHAT SHA256" each; `build/tests/test_exact --print` makes it (on one
 * thread, the processor's best level). A change of it is a new version of the numerics (EXACT_VERSION). */
#include "tests/test.h"

#include "engine/base/rng.h"
#include "engine/base/sha256.h"
#include "engine/run.h"
#include "kernels/cpu_features.h"
#include "kernels/exact/exact_simd.h"
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

/* --- whole models --- */

typedef struct Golden {
    const char *name, *path;
    size_t n_orders, n_windows, lengths[4];
} Golden;

enum { MAX_TOKENS = 128, MAX_ORDERS = 32 };

static const Golden golden[] = {
    {"demo", "tools/demo/model", 6, 3, {5, 1, 4}},
    {"llama", "tests/data/models/llama", MAX_ORDERS, 4, {13, 1, 24, 30}},
    {"mistral", "tests/data/models/mistral", MAX_ORDERS, 4, {24, 2, 13, 30}},
    {"mixtral", "tests/data/models/mixtral", MAX_ORDERS, 4, {5, 30, 13, 3}},
    {"gpt2", "tests/data/models/gpt2", MAX_ORDERS, 4, {20, 31, 2, 9}},
};
enum { N_GOLDEN = sizeof golden / sizeof golden[0] };

typedef struct Way { /* of computing the same thing */
    int threads;
    bool naive, least_memory, reversed;
    size_t windows_a_block;
} Way;

typedef struct Collected {
    Session *session;
    Run *run;
    size_t n_orders, n_tokens, vocab, width;
    size_t token_base; /* where the block's predictions go */
    const size_t *window_order, *window_base;
    const TokenBlock *block;
    double nll[MAX_ORDERS][MAX_TOKENS], kl[MAX_ORDERS][MAX_TOKENS], starts[MAX_ORDERS][MAX_TOKENS];
    int32_t rank[MAX_ORDERS][MAX_TOKENS], top1[MAX_ORDERS][MAX_TOKENS];
    int32_t final_node;
    double *residual, *logits; /* [MAX_TOKENS, width], [MAX_TOKENS, vocab], of the intact order */
} Collected;

static int collect_results(void *user, size_t order, const HeadResults *r, Error *e)
{
    Collected *c = user;
    (void)e;
    size_t at = 0;
    for (size_t w = 0; w < c->block->n_windows; w++) {
        size_t n = c->block->window_start[w + 1] - c->block->window_start[w];
        for (size_t i = 0; i + 1 < n; i++, at++) {
            size_t to = c->window_base[w] + i;
            c->nll[order][to] = r->nll[at];
            c->kl[order][to] = r->kl[at];
            c->starts[order][to] = r->word_start_logp[at];
            c->rank[order][to] = r->rank[at];
            c->top1[order][to] = r->top1[at];
        }
    }
    return STATUS_OK;
}

static int collect_node(void *user, const Plan *plan, int32_t node, View residual, Error *e)
{
    Collected *c = user;
    (void)e;
    if (plan == run_get_plan(c->run, 0) && node == plan->order_end[0]) {
        c->session->ops->download(run_get_context(c->run), c->residual, residual);
        c->final_node = node;
    }
    return STATUS_OK;
}

static void hash_block(Sha256 *s, const double *x, size_t n, bool f64)
{
    for (size_t i = 0; i < n; i++) {
        float narrow = (float)x[i];
        sha256_update(s, f64 ? (const void *)&x[i] : (const void *)&narrow, f64 ? sizeof x[i] : sizeof narrow);
    }
}

/* Runs removal and exchange on the windows in a way, and hashes logits and ledger columns. */
static bool compute(const Golden *g, const Model *m, const char *numerics, const Way *way, char logits_hex[65],
                    char ledger_hex[65])
{
    static Collected c;
    static uint8_t word_start[1 << 16];
    Error e = {0};
    OrderSet removal = {0}, exchange = {0};
    Session s = {0};
    Run *run = NULL;
    Order orders[MAX_ORDERS];
    int32_t ids[MAX_TOKENS * 2];
    size_t base[5] = {0}, first_id[5] = {0}, longest = 0, total = 0;
    bool done = false, f64 = strcmp(numerics, "ref64") == 0;
    c = (Collected){.session = &s, .vocab = m->traits.vocab, .width = m->traits.d_model};
    for (size_t v = 0; v < c.vocab; v++)
        word_start[v] = v % 3 == 1;
    uint32_t x = 12345;
    for (size_t w = 0; w < g->n_windows; w++) {
        longest = g->lengths[w] > longest ? g->lengths[w] : longest;
        first_id[w + 1] = first_id[w] + g->lengths[w];
        base[w + 1] = base[w] + g->lengths[w] - 1;
        for (size_t i = 0; i < g->lengths[w]; i++) {
            x = x * 1664525u + 1013904223u;
            ids[total++] = (int32_t)((x >> 8) % c.vocab);
        }
    }
    c.n_tokens = base[g->n_windows];
    c.residual = malloc(2 * MAX_TOKENS * c.width * sizeof(double));
    c.logits = malloc(MAX_TOKENS * c.vocab * sizeof(double));
    SessionOptions so = {
        .device = "cpu", .numerics = numerics, .dtype = "f32", .threads = way->threads, .memory_bytes = (size_t)1 << 32};
    if (!c.residual || !c.logits || orders_generate("removal", m->traits.n_layers, 0, &removal, &e) ||
        orders_generate("exchange", m->traits.n_layers, 0, &exchange, &e) || session_open(m, &so, &s, &e))
        goto fail;
    for (size_t i = 0; i < removal.n_orders && c.n_orders < g->n_orders; i++)
        orders[c.n_orders++] = removal.orders[i];
    for (size_t i = 1; i < exchange.n_orders && c.n_orders < g->n_orders; i++)
        orders[c.n_orders++] = exchange.orders[i];
    RunRequest q = {.orders = orders,
                    .n_orders = c.n_orders,
                    .longest_window = longest,
                    .total_rows = total,
                    .block_rows = way->windows_a_block == 1 ? longest : total,
                    .naive = way->naive,
                    .word_start = word_start};
    if (way->least_memory) {
        RunSizes z;
        s.memory_bytes = 1;
        CHECK(run_sizes(&s, &q, &z, &e) == STATUS_USAGE);
        s.memory_bytes = z.total_bytes;
    }
    if (run_open(&s, &q, &run, &e))
        goto fail;
    c.run = run;
    RunHooks hooks = {.user = &c, .on_results = collect_results, .on_node = collect_node};
    for (size_t done_windows = 0; done_windows < g->n_windows; done_windows += way->windows_a_block) {
        int32_t block_ids[MAX_TOKENS * 2];
        size_t starts[5] = {0}, bases[5] = {0}, n = 0;
        for (size_t i = done_windows; i < g->n_windows && i < done_windows + way->windows_a_block; i++, n++) {
            size_t w = way->reversed ? g->n_windows - 1 - i : i;
            memcpy(block_ids + starts[n], ids + first_id[w], g->lengths[w] * sizeof *ids);
            starts[n + 1] = starts[n] + g->lengths[w];
            bases[n] = base[w];
        }
        TokenBlock block = {.ids = block_ids, .window_start = starts, .n_rows = starts[n], .n_windows = n};
        c.block = &block;
        c.window_base = bases;
        if (run_block(run, &block, &hooks, &e))
            goto fail;
        for (size_t i = 0; i < n; i++) { /* the logits of the predicting rows of each window */
            size_t rows = starts[i + 1] - starts[i] - 1;
            if (rows && run_logits(run, c.residual + starts[i] * c.width, rows, c.logits + bases[i] * c.vocab, &e))
                goto fail;
        }
    }
    Sha256 h;
    sha256_begin(&h);
    hash_block(&h, c.logits, c.n_tokens * c.vocab, f64);
    sha256_end(&h, logits_hex);
    sha256_begin(&h);
    for (size_t o = 0; o < c.n_orders; o++)
        hash_block(&h, c.nll[o], c.n_tokens, f64);
    for (size_t o = 0; o < c.n_orders; o++)
        hash_block(&h, c.kl[o], c.n_tokens, false);
    for (size_t o = 0; o < c.n_orders; o++)
        hash_block(&h, c.starts[o], c.n_tokens, false);
    for (size_t o = 0; o < c.n_orders; o++)
        sha256_update(&h, c.rank[o], c.n_tokens * sizeof(int32_t));
    for (size_t o = 0; o < c.n_orders; o++)
        sha256_update(&h, c.top1[o], c.n_tokens * sizeof(int32_t));
    sha256_end(&h, ledger_hex);
    for (size_t i = 0; i < c.n_tokens; i++)
        CHECK(c.kl[0][i] == 0); /* the intact model against itself: exactly, by its formula */
    done = true;
fail:
    CHECK_MSG(done, "%s: %s", g->name, e.text);
    run_close(run);
    session_close(&s);
    order_set_free(&removal);
    order_set_free(&exchange);
    free(c.residual);
    free(c.logits);
    return done;
}

static const char *const numerics_names[] = {"exact", "ref64"};

static void print_golden(void)
{
    static const Way way = {.threads = 1, .windows_a_block = 4};
    printf("# numerics %s; made by: build/tests/test_exact --print > tests/data/golden/v1.txt\n", EXACT_VERSION);
    for (size_t i = 0; i < N_GOLDEN; i++) {
        Model m;
        Error e;
        char logits[65], ledger[65];
        if (model_open(golden[i].path, &m, &e))
            continue;
        for (int k = 0; k < 2; k++)
            if (compute(&golden[i], &m, numerics_names[k], &way, logits, ledger))
                printf("%s %s logits %s\n%s %s ledger %s\n", golden[i].name, numerics_names[k], logits, golden[i].name,
                       numerics_names[k], ledger);
        model_close(&m);
    }
}

static void expect_hash(const char *text, const char *model, const char *numerics, const char *what, const char *got,
                        CpuLevel l, int way)
{
    char line[256];
    snprintf(line, sizeof line, "\n%s %s %s %s\n", model, numerics, what, got);
    CHECK_MSG(strstr(text, line) != NULL, "%s %s %s at level %s, way %d: %s is not the committed hash", model, numerics, what,
              levels[l], way, got);
}

static const Way ways[] = {
    {.threads = 1, .windows_a_block = 4},
    {.threads = 2, .windows_a_block = 1},
    {.threads = 3, .windows_a_block = 4, .reversed = true, .naive = true},
    {.threads = 4, .windows_a_block = 2, .reversed = true},
    {.threads = 2, .windows_a_block = 4, .least_memory = true},
};
enum { N_WAYS = sizeof ways / sizeof ways[0] };

static bool quick; /* --quick: one way, the best level */

static void golden_hashes_hold_in_every_way(void)
{
    static char text[8192];
    FILE *f = fopen("tests/data/golden/v1.txt", "rb");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    CHECK(strstr(text, "# numerics " EXACT_VERSION ";") != NULL);
    for (size_t i = 0; i < N_GOLDEN; i++) {
        Model m;
        Error e;
        char logits[65], ledger[65];
        if (model_open(golden[i].path, &m, &e)) {
            CHECK_MSG(false, "%s", e.text);
            continue;
        }
        for (CpuLevel l = quick ? cpu_level_native() : CPU_SCALAR; l <= cpu_level_native(); l++) {
            CHECK(cpu_level_set(levels[l], &e) == STATUS_OK);
            for (int k = 0; k < 2; k++) {
                for (int w = l == CPU_SCALAR ? 3 : 0; w < (quick ? 1 : N_WAYS); w++) { /* fma() is slow at the scalar level */
                    if (!compute(&golden[i], &m, numerics_names[k], &ways[w], logits, ledger))
                        continue;
                    expect_hash(text, golden[i].name, numerics_names[k], "logits", logits, l, w);
                    expect_hash(text, golden[i].name, numerics_names[k], "ledger", ledger, l, w);
                }
            }
        }
        CHECK(cpu_level_set("native", &e) == STATUS_OK);
        model_close(&m);
    }
}

/* One kind of processor gives one result, whatever the batch, its neighbours, the threads, the schedule, the memory. */
static void stable_is_the_same_in_every_way(void)
{
    for (size_t i = 0; i < N_GOLDEN; i++) {
        Model m;
        Error e;
        char logits[2][65], ledger[2][65];
        if (model_open(golden[i].path, &m, &e)) {
            CHECK_MSG(false, "%s", e.text);
            continue;
        }
        for (CpuLevel l = CPU_SCALAR; l <= cpu_level_native(); l++) {
            CHECK(cpu_level_set(levels[l], &e) == STATUS_OK);
            for (int w = 0; w < N_WAYS; w++)
                if (compute(&golden[i], &m, "stable", &ways[w], logits[w > 0], ledger[w > 0]) && w > 0)
                    CHECK_MSG(strcmp(logits[0], logits[1]) == 0 && strcmp(ledger[0], ledger[1]) == 0,
                              "%s at level %s: way %d differs from way 0", golden[i].name, levels[l], w);
        }
        CHECK(cpu_level_set("native", &e) == STATUS_OK);
        model_close(&m);
    }
}

typedef struct Losses {
    double nll[64];
    size_t n;
} Losses;

static int keep_losses(void *user, size_t order, const HeadResults *r, Error *e)
{
    Losses *l = user;
    (void)order;
    (void)e;
    l->n = r->n;
    memcpy(l->nll, r->nll, r->n * sizeof *r->nll);
    return STATUS_OK;
}

static bool losses_of_row(const Model *m, const Ops *ops, const char *name, int row, Losses *out)
{
    char path[128], tensor[16];
    Error e = {0};
    TensorFile file;
    Session s = {0};
    Run *run = NULL;
    Order intact;
    Arena arena = {0};
    SessionOptions so = {
        .device = "cpu", .numerics = "fast", .dtype = "f32", .threads = 1, .memory_bytes = 1 << 30, .ops = ops};
    snprintf(path, sizeof path, "tests/data/models/%s/expected.safetensors", name);
    snprintf(tensor, sizeof tensor, "ids.%d", row);
    out->n = 0;
    if (tensor_file_open(path, &file, &e))
        return false;
    const Tensor *t = tensor_file_find(&file, tensor);
    char all[32];
    snprintf(all, sizeof all, "0-%d", m->traits.n_layers - 1);
    if (t && t->shape[0] <= 64 && !order_parse(all, m->traits.n_layers, &arena, &intact, &e) && !session_open(m, &so, &s, &e)) {
        int32_t ids[64];
        memcpy(ids, t->data, t->size_bytes);
        size_t starts[2] = {0, t->shape[0]};
        RunRequest q = {.orders = &intact, .n_orders = 1, .longest_window = t->shape[0], .total_rows = t->shape[0]};
        RunHooks hooks = {.user = out, .on_results = keep_losses};
        TokenBlock block = {.ids = ids, .window_start = starts, .n_rows = t->shape[0], .n_windows = 1};
        if (!run_open(&s, &q, &run, &e))
            CHECK(run_block(run, &block, &hooks, &e) == STATUS_OK);
    }
    run_close(run);
    session_close(&s);
    arena_free(&arena);
    tensor_file_close(&file);
    return out->n > 0;
}

/* tests/data/golden/truth.txt holds losses evaluated with 256 bits (tools/make_ref64_truth.py). ref64, and the oracle, whose code is
 * another: within 1e-12. exact: some 10 stores a layer round by 2^-24; with 3 layers and logits up to 16 that moves a loss
 * by at most 30 * 2^-24 * 16 = 2.9e-5 when all errors add up. */
static void losses_equal_a_256_bit_evaluation(void)
{
    static const struct {
        const Ops *ops;
        double tolerance;
    } tables[] = {{&ops_cpu_ref64, 1e-12}, {&ops_ref, 1e-12}, {&ops_cpu_exact, 2.9e-5}};
    FILE *f = fopen("tests/data/golden/truth.txt", "r");
    char line[4096], name[32];
    size_t n_lines = 0;
    for (int row, at; f && fgets(line, sizeof line, f) && sscanf(line, "%31s %d %n", name, &row, &at) == 2; n_lines++) {
        char path[64];
        Model m;
        Error e;
        snprintf(path, sizeof path, "tests/data/models/%s", name);
        if (model_open(path, &m, &e)) {
            CHECK_MSG(false, "%s", e.text);
            continue;
        }
        for (size_t i = 0; i < 3; i++) {
            Losses l;
            double worst = 0;
            size_t n = 0;
            char *text = line + at;
            CHECK(losses_of_row(&m, tables[i].ops, name, row, &l));
            for (; n < l.n; n++) {
                double error = fabs(l.nll[n] - strtod(text, &text));
                worst = error <= worst ? worst : error; /* NaN becomes the worst */
            }
            CHECK_MSG(worst <= tables[i].tolerance && n > 3, "%s on %s, row %d: the worst loss of %zu is off by %g",
                      tables[i].ops->name, name, row, n, worst);
            CHECK(strspn(text, "\n") == strlen(text));
        }
        model_close(&m);
    }
    CHECK(n_lines == 8);
    if (f)
        fclose(f);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--print") == 0) {
        print_golden();
        return test_n_bad ? 1 : 0;
    }
    quick = argc == 2 && strcmp(argv[1], "--quick") == 0;
    if (argc == 1) { /* --golden, --quick: hashes only, for builds in other ways */
        RUN(functions_are_rounded_right);
        RUN(vector_exp_equals_the_definition);
        RUN(tables_equal_the_definition);
        RUN(nan_is_canonical);
        RUN(stable_attention_does_not_see_chunks);
        RUN(stable_is_the_same_in_every_way);
        RUN(losses_equal_a_256_bit_evaluation);
    }
    RUN(golden_hashes_hold_in_every_way);
    return test_finish();
}
