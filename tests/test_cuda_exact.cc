/* test_cuda_exact.cc: numerics v1 on the device, under the emulation: every kernel gives the bits of the table cpu/exact, whose own are held
 * by committed hashes; odd shapes, sums of one, two and many segments, gaps between rows. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cuda_exact.cuh"
#include "tests/cuda_emu/operands.hh"
#include "tests/test.h"

extern "C" {
#include "engine/base/pool.h"
}

static OpsContext *context;
static Pool *pool;

static const size_t shapes[][2] = {{1, 1}, {3, 7}, {2, 64}, {3, 255}, {2, 256}, {2, 257}, {1, 513}, {2, 1030}};

/* What the processor's table works on: dense floats. */
struct Host {
    std::vector<float> x;
    View v;
    explicit Host(const Operand &o) : x(o.r.begin(), o.r.end()), v{x.data(), DTYPE_F32, o.t.rows, o.t.cols, o.t.cols}
    {
    }
    Host(const Host &) = delete;
};

static Weight host_weight(const OperandWeight &w, std::vector<float> *x)
{
    x->assign(w.r.begin(), w.r.end());
    return Weight{w.t.kind, w.t.rows, w.t.cols, x->data()};
}

static int same(const Operand &got, const Host &want)
{
    int bad = operands_finish() + got.gaps();
    for (size_t i = 0; i < got.t.rows; i++)
        for (size_t j = 0; j < got.t.cols; j++) {
            const float *device = (const float *)emu_peek((float *)got.t.data + i * got.t.ld + j),
                        *host = &want.x[i * got.t.cols + j];
            if (memcmp(device, host, 4) != 0 && bad++ == 0)
                printf("%s: [%zu, %zu] is %a, expected the bits of %a\n", operands_what.c_str(), i, j, (double)*device,
                       (double)*host);
        }
    return bad;
}

template <typename F> static void each_shape(const char *what, F run)
{
    uint64_t seed = 1;
    for (const size_t *s : shapes)
        for (size_t gap : {(size_t)0, (size_t)3}) {
            char name[160];
            snprintf(name, sizeof name, "exact %s [%zu, %zu] gap %zu", what, s[0], s[1], gap);
            operands_what = name;
            rng_seed(&operands_rng, seed, 0);
            emu_seed(seed++);
            CHECK_MSG(run(s[0], s[1], gap) == 0, "%s", name);
        }
}

static void test_linear(void)
{
    for (size_t n : {(size_t)1, (size_t)33, (size_t)70})
        each_shape("linear", [&](size_t rows, size_t k, size_t gap) {
            rows = k == 64 ? 37 : rows;
            Operand x(DTYPE_F32, rows, k, gap, 0, 2), y(DTYPE_F32, rows, n, gap, 1, 0);
            OperandWeight w(WEIGHT_MATRIX, n, k, 1), bias(WEIGHT_VECTOR, 1, n, 1);
            std::vector<float> w_host, bias_host;
            Weight b = host_weight(bias, &bias_host), packed;
            host_weight(w, &w_host);
            WeightPart part = {w_host.data(), DTYPE_F32, n, k, k, false};
            void *slot = aligned_alloc(64, ops_cpu_exact.weight_slot_bytes(WEIGHT_MATRIX, &part, 1));
            Error e;
            CHECK(ops_cpu_exact.weight_prepare(context, slot, WEIGHT_MATRIX, &part, 1, &packed, &e) == 0);
            Host in(x), out(y);
            bool biased = gap > 0;
            ops_cpu_exact.linear(context, out.v, in.v, &packed, biased ? &b : nullptr);
            exact_device_linear(nullptr, y.t, x.t, (const float *)w.t.data, biased ? (const float *)bias.t.data : nullptr);
            free(slot);
            return same(y, out);
        });
}

static void test_norm(void)
{
    for (int variant = 0; variant < 6; variant++)
        each_shape("norm", [&](size_t rows, size_t cols, size_t gap) {
            size_t group = variant == 4 && cols % 3 == 0 ? cols / 3 : cols;
            NormSpec spec = {variant % 2 ? NORM_LAYER : NORM_RMS, 1e-5f, variant > 2 ? 1.0f : 0.0f, group};
            Operand x(DTYPE_F32, rows, cols, gap, 0, 3), y(DTYPE_F32, rows, cols, gap, 2, 0);
            OperandWeight w(WEIGHT_VECTOR, 1, variant == 5 ? cols : group, 2), b(WEIGHT_VECTOR, 1, group, 2);
            std::vector<float> w_host, b_host;
            Weight hw = host_weight(w, &w_host), hb = host_weight(b, &b_host);
            bool gain = variant > 0, bias = variant > 1;
            Host in(x), out(y);
            ops_cpu_exact.norm(context, out.v, in.v, &spec, gain ? &hw : nullptr, bias ? &hb : nullptr);
            exact_device_norm(nullptr, y.t, x.t, &spec, gain ? &w.t : nullptr, bias ? &b.t : nullptr);
            return same(y, out);
        });
}

static void test_elements(void)
{
    for (int act = ACT_SILU; act <= ACT_RELU2; act++)
        each_shape("activations", [&](size_t rows, size_t cols, size_t gap) {
            Operand x(DTYPE_F32, rows, cols, gap, 0, 9), up(DTYPE_F32, rows, cols, gap, 0, 2),
                y(DTYPE_F32, rows, cols, gap, 0, 0);
            x.set(0, 0, NAN);
            x.set(rows - 1, cols - 1, -INFINITY);
            Host in(x), with(up), out(y);
            ops_cpu_exact.glu(context, out.v, in.v, with.v, (ActKind)act);
            exact_device_glu(nullptr, y.t, x.t, up.t, (ActKind)act);
            int bad = same(y, out);
            ops_cpu_exact.act(context, in.v, in.v, (ActKind)act);
            exact_device_glu(nullptr, x.t, x.t, View{}, (ActKind)act);
            return bad + same(x, in);
        });
    each_shape("sums", [&](size_t rows, size_t cols, size_t gap) {
        Operand a(DTYPE_F32, rows, cols, gap, 0, 3), b(DTYPE_F32, rows, cols, gap, 0, 2), gate(DTYPE_F32, rows, 1, gap, 0, 4),
            y(DTYPE_F32, rows, cols, gap, 0, 0);
        Host x(a), w(b), g(gate), out(y);
        ops_cpu_exact.add(context, out.v, x.v, w.v, 0.3f);
        exact_device_add(nullptr, y.t, a.t, b.t, View{}, 0.3f);
        int bad = same(y, out);
        ops_cpu_exact.add_gated(context, out.v, x.v, w.v, g.v);
        exact_device_add(nullptr, y.t, a.t, b.t, gate.t, 1);
        bad += same(y, out);
        View in[] = {x.v, w.v, out.v}, device[] = {a.t, b.t, y.t};
        ops_cpu_exact.mean(context, x.v, in, 3);
        exact_device_mean(nullptr, a.t, device, 3);
        return bad + same(a, x);
    });
    each_shape("RoPE", [&](size_t rows, size_t cols, size_t gap) {
        if (cols < 2)
            return 0;
        int heads = cols % 2 ? 1 : 2, dh = (int)cols / heads, rotated = dh / 2 * 2, bad = 0;
        for (RopeStyle style : {ROPE_HALF, ROPE_INTERLEAVED}) {
            Operand x(DTYPE_F32, rows, cols, gap, 0, 3);
            OperandWeight c(WEIGHT_TABLE, 9, (size_t)rotated / 2, 1), s(WEIGHT_TABLE, 9, (size_t)rotated / 2, 1);
            std::vector<float> c_host, s_host;
            Weight hc = host_weight(c, &c_host), hs = host_weight(s, &s_host);
            int32_t positions[] = {8, 0, 3};
            DeviceBytes where(positions, rows * 4);
            Host in(x);
            ops_cpu_exact.rope(context, in.v, positions, &hc, &hs, heads, dh, rotated, style);
            exact_device_rope(nullptr, x.t, (const int32_t *)where.data, &c.t, &s.t, heads, dh, rotated, style);
            bad += same(x, in);
        }
        return bad;
    });
}

static int try_row_dots(size_t rows, size_t cols, size_t gap)
{
    Operand a(DTYPE_F32, rows, cols, gap, 0, 3), b(DTYPE_F32, rows, cols, gap, 0, 2);
    Host x(a), y(b);
    std::vector<double> want(3 * rows), got(3 * rows);
    ops_cpu_exact.row_dots(context, want.data(), x.v, y.v);
    DeviceBytes out(want.data(), want.size() * 8);
    exact_device_row_dots(nullptr, (double *)(void *)out.data, a.t, b.t);
    int bad = operands_finish();
    cudaMemcpy(got.data(), out.data, got.size() * 8, cudaMemcpyDeviceToHost);
    return bad + (memcmp(got.data(), want.data(), got.size() * 8) != 0);
}

static void test_row_dots(void)
{
    each_shape("row_dots", try_row_dots);
    /* more segments than a block keeps at once: three rounds, the last of them short */
    operands_what = "exact row_dots of many segments";
    CHECK(try_row_dots(1, (size_t)256 * 256 * 2 + 300, 0) == 0);
}

static void test_attention(void)
{
    static const int cases[][6] = {/* heads, key/value heads, Dh, window, keys, variant */
                                   {2, 1, 5, 0, 9, 0},   {4, 2, 16, 0, 40, 0}, {2, 2, 8, 7, 30, 0}, {1, 1, 300, 0, 6, 0},
                                   {3, 3, 8, 0, 300, 1}, {2, 1, 8, 0, 20, 2},  {2, 2, 4, 0, 12, 3}, {2, 1, 8, 260, 530, 0}};
    uint64_t seed = 1;
    for (const int *c : cases) {
        size_t heads = (size_t)c[0], kv = (size_t)c[1], dh = (size_t)c[2], n_keys = (size_t)c[4],
               n_q = n_keys > 100 ? 3 : n_keys;
        char name[160];
        snprintf(name, sizeof name, "exact attention: %zu heads of %zu, window %d, %zu keys, variant %d", heads, dh, c[3],
                 n_keys, c[5]);
        operands_what = name;
        rng_seed(&operands_rng, seed, 0);
        emu_seed(seed++);
        Operand q(DTYPE_F32, n_q, heads * dh, 2, 0, 1), k(DTYPE_F32, n_keys + 3, kv * dh, 1, 0, 1),
            v(DTYPE_F32, n_keys + 3, kv * dh, 0, 1, 1), out(DTYPE_F32, n_q, heads * dh, 1, 0, 0);
        Host hq(q), hk(k), hv(v), want(out);
        /* keys in two segments, the later rows first */
        size_t cut = n_keys / 3;
        KvSegment segments[] = {{n_keys + 3 - cut, cut}, {0, n_keys - cut}};
        AttentionSegment device_segments[] = {{(int32_t)(n_keys + 3 - cut), (int32_t)cut}, {0, (int32_t)(n_keys - cut)}};
        float slopes[] = {0.5f, 0.25f, 0.125f, 1.0f};
        AttnSpec spec = {c[0],     c[1], c[2], 0.37f, c[5] == 2 ? 3.0f : 0.0f, c[3], c[5] == 1 || c[5] == 3 ? slopes : nullptr,
                         c[5] == 3};
        AttnSeq s = {0, n_q, (int32_t)(n_keys - n_q) + 5, 5, segments, 2};
        ops_cpu_exact.attention(context, want.v, hq.v, hk.v, hv.v, &s, 1, &spec);
        AttentionItem items[2] = {{0, (int32_t)n_q, (int32_t)(n_keys - n_q), 5, (int32_t)n_keys, 0, 2}, {0, 0, 0, 0, 0, 0, 0}};
        if (n_q > 3) { /* as two items */
            items[0].n_q = 2;
            items[1] = items[0];
            items[1].q_row = 2, items[1].n_q = (int32_t)n_q - 2, items[1].position += 2;
        }
        DeviceBytes d_items(items, sizeof items), d_segments(device_segments, sizeof device_segments),
            d_slopes(slopes, sizeof slopes);
        ExactAttention a = {};
        a.out = out.t, a.q = q.t, a.k = k.t, a.v = v.t;
        a.items = (const AttentionItem *)(void *)d_items.data, a.segments = (const AttentionSegment *)(void *)d_segments.data;
        a.slopes = spec.alibi_slopes ? (const float *)(void *)d_slopes.data : nullptr;
        a.n_items = n_q > 3 ? 2 : 1, a.most_queries = (int)n_q, a.most_keys = (int)n_keys, a.spec = spec;
        CHECK(exact_device_attention(nullptr, &a) == cudaSuccess);
        CHECK_MSG(same(out, want) == 0, "%s", name);
    }
}

static void test_head(void)
{
    uint64_t seed = 1;
    for (size_t vocab : {(size_t)1, (size_t)5, (size_t)256, (size_t)700, (size_t)2051})
        for (int variant = 0; variant < 5; variant++) {
            char name[160];
            snprintf(name, sizeof name, "exact head: %zu logits, variant %d", vocab, variant);
            operands_what = name;
            rng_seed(&operands_rng, seed, 0);
            emu_seed(seed++);
            size_t rows = 3;
            Operand z(DTYPE_F32, rows, vocab, 1, 0, 6), x(DTYPE_F32, rows, vocab, 0, 2, 6);
            for (size_t v = 0; v < vocab; v++) { /* ties, and a row that is the intact one */
                z.set(0, v, variant == 3 ? floor(z.r[v]) : z.r[v]);
                x.set(1, v, z.r[vocab + v]);
            }
            if (variant == 4)
                z.set(2, vocab - 1, NAN);
            int32_t targets[] = {(int32_t)vocab / 2, 0, -1};
            std::vector<uint8_t> starts(vocab);
            for (size_t v = 0; v < vocab; v++)
                starts[v] = v % 3 == 0;
            /* The processor's head makes its logits with an identity: z w^T, exact. */
            std::vector<float> identity(rows * rows), w(vocab * rows);
            for (size_t t = 0; t < rows; t++) {
                identity[t * rows + t] = 1;
                for (size_t v = 0; v < vocab; v++)
                    w[v * rows + t] = isnan(z.r[t * vocab + v]) ? 0 : (float)z.r[t * vocab + v];
            }
            Host hz(z), hx(x);
            WeightPart part = {w.data(), DTYPE_F32, vocab, rows, rows, false};
            void *slot = aligned_alloc(64, ops_cpu_exact.weight_slot_bytes(WEIGHT_MATRIX, &part, 1));
            Weight packed;
            Error e;
            ops_cpu_exact.weight_prepare(context, slot, WEIGHT_MATRIX, &part, 1, &packed, &e);
            double want[4][3], got[4][3], x_lse[3] = {7.5, 8.25, 9};
            int32_t want_rank[3], want_top[3], got_int[6];
            View intact = hx.v;
            HeadArgs h = {};
            h.x = View{identity.data(), DTYPE_F32, rows, rows, rows};
            h.w = &packed;
            h.logit_scale = variant == 1 ? 0.37f : 1, h.softcap = variant == 2 ? 4.0f : 0;
            h.targets = targets, h.word_start = starts.data(), h.logits = hz.v;
            h.intact_logits = variant == 3 ? nullptr : &intact, h.intact_lse = x_lse;
            h.nll = want[0], h.kl = want[1], h.word_start_logp = want[2], h.lse = want[3], h.rank = want_rank,
            h.top1 = want_top;
            ops_cpu_exact.head(context, &h);
            free(slot);
            DeviceBytes d_targets(targets, sizeof targets), d_starts(starts.data(), vocab), d_lse(x_lse, sizeof x_lse),
                out(want, sizeof want), ints(got_int, sizeof got_int);
            CudaHead a = {};
            double *doubles = (double *)(void *)out.data;
            a.logits = z.t, a.logit_scale = h.logit_scale, a.softcap = h.softcap;
            a.targets = (const int32_t *)(void *)d_targets.data, a.word_start = d_starts.data;
            if (variant != 3)
                a.intact = x.t, a.intact_lse = (const double *)(void *)d_lse.data;
            a.nll = doubles, a.kl = doubles + 3, a.word_start_logp = doubles + 6, a.lse = doubles + 9;
            a.rank = (int32_t *)(void *)ints.data, a.top1 = a.rank + 3;
            exact_device_head(nullptr, &a);
            int bad = operands_finish();
            cudaMemcpy(got, out.data, sizeof got, cudaMemcpyDeviceToHost);
            cudaMemcpy(got_int, ints.data, sizeof got_int, cudaMemcpyDeviceToHost);
            size_t checked = variant == 4 ? 2 : 3; /* the processor's row of NaN could not be made by a product */
            for (int what = 0; what < 4; what++)
                if (memcmp(got[what], want[what], checked * 8) != 0 && bad++ == 0)
                    printf("%s: result %d: %a %a %a, expected %a %a %a\n", name, what, got[what][0], got[what][1], got[what][2],
                           want[what][0], want[what][1], want[what][2]);
            for (size_t t = 0; t < checked; t++)
                bad += got_int[t] != want_rank[t] || got_int[3 + t] != want_top[t];
            if (variant == 4)
                bad += !isnan(got[0][2]) + !isnan(got[1][2]) + !isnan(got[2][2]) + !isnan(got[3][2]);
            CHECK_MSG(bad == 0, "%s", name);
        }
}

static void test_mixture(void)
{
    for (int normalise = 0; normalise < 2; normalise++) {
        operands_what = "exact mixture";
        rng_seed(&operands_rng, 3, 0);
        size_t rows = 150, d = 37;
        RouteSpec spec = {9, 3, normalise != 0};
        Operand z(DTYPE_F32, rows, 9, 1, 0, 3), y(DTYPE_F32, rows * 3, d, 0, 0, 2), out(DTYPE_F32, rows, d, 2, 0, 0);
        for (size_t t = 0; t < rows; t += 4)
            z.set(t, 5, z.r[t * 9 + 2]); /* ties */
        Host hz(z), want(out);
        std::vector<int32_t> expert(rows * 3), got_expert(rows * 3);
        std::vector<float> weight(rows * 3), got_weight(rows * 3);
        ops_cpu_exact.route(context, Routes{expert.data(), weight.data()}, hz.v, &spec);
        std::vector<int32_t> slots(rows * 3); /* choices lie backwards */
        for (size_t i = 0; i < slots.size(); i++)
            slots[i] = (int32_t)(slots.size() - 1 - i);
        DeviceBytes d_slots(slots.data(), slots.size() * 4);
        DeviceBytes d_expert(expert.data(), expert.size() * 4), d_weight(weight.data(), weight.size() * 4);
        exact_device_route(nullptr, (int32_t *)(void *)d_expert.data, (float *)(void *)d_weight.data, z.t, &spec);
        exact_device_combine(nullptr, out.t, (const float *)y.t.data, (const int32_t *)(void *)d_slots.data,
                             (const float *)(void *)d_weight.data, 3);
        for (size_t t = 0; t < rows; t++)
            for (size_t i = 0; i < d; i++) {
                double sum = 0;
                for (size_t j = 0; j < 3; j++)
                    sum = fma((double)weight[t * 3 + j], y.r[(rows * 3 - 1 - (t * 3 + j)) * d + i], sum);
                want.x[t * d + i] = (float)sum;
            }
        CHECK(same(out, want) == 0);
        cudaMemcpy(got_expert.data(), d_expert.data, expert.size() * 4, cudaMemcpyDeviceToHost);
        cudaMemcpy(got_weight.data(), d_weight.data, weight.size() * 4, cudaMemcpyDeviceToHost);
        CHECK(got_expert == expert && memcmp(got_weight.data(), weight.data(), weight.size() * 4) == 0);
    }
}

/* The longest sequence that the device is said to take is taken, and one key more is refused. */
static void test_attention_of_most_keys(void)
{
    for (size_t limit : {(size_t)227 << 10, (size_t)99 << 10}) {
        emu_shared_limit(limit);
        int n = exact_device_most_keys();
        CHECK(n > (int)(limit - 4096) / 8 && n < (int)limit / 8);
        operands_what = "exact attention: as many keys as fit";
        Operand q(DTYPE_F32, 1, 1, 0, 0, 1), k(DTYPE_F32, (size_t)n, 1, 0, 0, 1), out(DTYPE_F32, 1, 1, 0, 0, 0);
        AttentionItem item = {0, 1, n - 1, 0, n, 0, 1};
        AttentionSegment segment = {0, n};
        DeviceBytes items(&item, sizeof item), segments(&segment, sizeof segment);
        ExactAttention a = {out.t,
                            q.t,
                            k.t,
                            k.t,
                            (const AttentionItem *)(const void *)items.data,
                            (const AttentionSegment *)(const void *)segments.data,
                            nullptr,
                            1,
                            1,
                            n,
                            {1, 1, 1, 1, 0, 0, nullptr, false}};
        CHECK(exact_device_attention(nullptr, &a) == cudaSuccess);
        CHECK(operands_finish() == 0);
        a.most_keys++;
        CHECK(exact_device_attention(nullptr, &a) != cudaSuccess);
    }
    emu_shared_limit((size_t)227 << 10);
}

int main(void)
{
    Error e;
    OpsConfig config = {};
    config.limits.max_rows = 600, config.limits.max_head_rows = 8, config.limits.max_seq = 600;
    config.limits.d_model = 1100, config.limits.d_ff = 1100, config.limits.n_heads = 4, config.limits.n_kv_heads = 4,
    config.limits.head_dim = 300;
    config.limits.vocab = 2100;
    if (pool_open(1, &pool, &e) || (config.pool = pool, ops_cpu_exact.open(&config, &context, &e))) {
        printf("%s\n0 passed, 1 failed\n", e.text);
        return 1;
    }
    RUN(test_linear);
    RUN(test_norm);
    RUN(test_elements);
    RUN(test_row_dots);
    RUN(test_attention);
    RUN(test_attention_of_most_keys);
    RUN(test_head);
    RUN(test_mixture);
    ops_cpu_exact.close(context);
    pool_close(pool);
    return test_finish();
}
