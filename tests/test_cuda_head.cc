/* test_cuda_head.cc: the head kernel under the emulation against the f64 oracle: tiny and odd vocabularies, rows on and off 16 bytes, scale
 * and soft cap, ties, targets that are not asked for, logits that are not finite, KL of a row to itself. The oracle computes on the logits
 * that the kernel left (which are compared with f64 ones first), so that ranks and choices must be equal. */
#include "tests/cuda_emu/operands.hh"
#include "tests/test.h"

static const double F32 = 0x1p-24;

typedef struct HeadCase {
    size_t rows, vocab, gap, offset;
    float scale, cap;
    double spread; /* logits in [-spread, spread]; whole numbers where ties, so that many are equal */
    bool ties, starts, intact, other_layout;
} HeadCase;

struct HeadResult {
    std::vector<double> nll, kl, start, lse;
    std::vector<int32_t> rank, top1;
    explicit HeadResult(size_t n) : nll(n), kl(n), start(n), lse(n), rank(n), top1(n)
    {
    }
};

/* z = x w^T with x the identity: the oracle's head on given logits. */
static void oracle(HeadResult &r, std::vector<double> z, size_t rows, size_t vocab, const std::vector<int32_t> &targets,
                   const uint8_t *starts, std::vector<double> *intact, const double *intact_lse)
{
    std::vector<double> x(rows * rows), w(vocab * rows);
    for (size_t t = 0; t < rows; t++) {
        x[t * rows + t] = 1;
        for (size_t v = 0; v < vocab; v++)
            w[v * rows + t] = z[t * vocab + v];
    }
    Weight weight = {WEIGHT_MATRIX, vocab, rows, w.data()};
    View x_view = {}, scratch = {z.data(), DTYPE_F64, rows, vocab, vocab};
    if (intact)
        x_view = View{intact->data(), DTYPE_F64, rows, vocab, vocab};
    HeadArgs a = {};
    a.x = View{x.data(), DTYPE_F64, rows, rows, rows};
    a.w = &weight;
    a.logit_scale = 1;
    a.targets = targets.data();
    a.word_start = starts;
    a.logits = scratch;
    a.intact_logits = intact ? &x_view : nullptr;
    a.intact_lse = intact_lse;
    a.nll = r.nll.data(), a.kl = r.kl.data(), a.word_start_logp = r.start.data(), a.lse = r.lse.data();
    a.rank = r.rank.data(), a.top1 = r.top1.data();
    ops_ref.head(nullptr, &a);
}

static HeadResult run(const Operand &z, float scale, float cap, const std::vector<int32_t> &targets,
                      const std::vector<uint8_t> *starts, const Operand *intact, const std::vector<double> *intact_lse)
{
    size_t n = z.t.rows;
    HeadResult r(n);
    DeviceBytes where(targets.data(), n * 4), flags(starts ? starts->data() : nullptr, starts ? starts->size() : 0, 3);
    DeviceBytes lse(intact_lse ? intact_lse->data() : nullptr, intact_lse ? n * 8 : 0);
    void *out;
    cudaMalloc(&out, n * 40);
    double *doubles = (double *)out;
    CudaHead a = {};
    a.logits = z.t;
    a.logit_scale = scale, a.softcap = cap;
    a.targets = (const int32_t *)where.data;
    a.word_start = starts ? flags.data : nullptr;
    if (intact) {
        a.intact = intact->t;
        a.intact_lse = (const double *)lse.data;
    }
    a.nll = doubles, a.kl = doubles + n, a.word_start_logp = doubles + 2 * n, a.lse = doubles + 3 * n;
    a.rank = (int32_t *)(doubles + 4 * n), a.top1 = a.rank + n;
    cuda_head(nullptr, &a);
    cudaMemcpy(r.nll.data(), a.nll, n * 8, cudaMemcpyDeviceToHost);
    cudaMemcpy(r.kl.data(), a.kl, n * 8, cudaMemcpyDeviceToHost);
    cudaMemcpy(r.start.data(), a.word_start_logp, n * 8, cudaMemcpyDeviceToHost);
    cudaMemcpy(r.lse.data(), a.lse, n * 8, cudaMemcpyDeviceToHost);
    cudaMemcpy(r.rank.data(), a.rank, n * 4, cudaMemcpyDeviceToHost);
    cudaMemcpy(r.top1.data(), a.top1, n * 4, cudaMemcpyDeviceToHost);
    cudaFree(out);
    return r;
}

static bool near(double got, double want, double tolerance)
{
    return isnan(want) ? isnan(got) : fabs(got - want) <= tolerance;
}

static int head_case(const HeadCase &c)
{
    Operand z(DTYPE_F32, c.rows, c.vocab, c.gap, c.offset, c.spread);
    Operand x(DTYPE_F32, c.rows, c.vocab, c.other_layout ? c.gap + 5 : c.gap, c.other_layout ? 1 : c.offset, c.spread);
    std::vector<int32_t> targets(c.rows);
    std::vector<uint8_t> starts(c.vocab);
    for (size_t t = 0; t < c.rows; t++) {
        targets[t] = t % 4 == 3 ? -1 : (int32_t)(rng_next(&operands_rng) % c.vocab);
        for (size_t v = 0; v < c.vocab; v++) {
            if (c.ties) {
                z.set(t, v, floor(z.r[t * c.vocab + v]));
                x.set(t, v, floor(x.r[t * c.vocab + v]));
            }
            if (t == 1) /* this row is the intact one */
                x.set(t, v, z.r[t * c.vocab + v]);
        }
    }
    bool finished = c.scale != 1 || c.cap > 0;
    for (size_t v = 0; v < c.vocab; v++)
        starts[v] = rng_next(&operands_rng) % 3 == 0;
    starts[c.vocab - 1] = 1;
    std::vector<double> want(z.r), x_lse(c.rows);
    for (double &v : want)
        v = c.cap > 0 ? (double)c.cap * tanh(v * (double)c.scale / (double)c.cap) : v * (double)c.scale;
    HeadResult intact(c.rows);
    oracle(intact, x.r, c.rows, c.vocab, targets, nullptr, nullptr, nullptr);
    HeadResult got = run(z, c.scale, c.cap, targets, c.starts ? &starts : nullptr, c.intact ? &x : nullptr,
                         c.intact ? &intact.lse : nullptr);
    int bad = operands_finish();
    /* A product, a quotient, tanh within 2 ULP, a product: 6 roundings, tanh's argument included. */
    bad += z.compare(want, [&](size_t, size_t, double w) { return finished ? 6 * F32 * (fabs(w) + (double)c.cap) : 0; });
    bad += x.gaps();
    std::vector<double> left(want.size());
    for (size_t i = 0; i < left.size(); i++)
        left[i] = z.get(i / c.vocab, i % c.vocab);
    HeadResult ref(c.rows);
    oracle(ref, left, c.rows, c.vocab, targets, c.starts ? starts.data() : nullptr, c.intact ? &x.r : nullptr,
           intact.lse.data());
    for (size_t t = 0; t < c.rows; t++) {
        double most = -INFINITY, least = INFINITY, moved = 0;
        for (size_t v = 0; v < c.vocab; v++) {
            most = fmax(most, left[t * c.vocab + v]);
            least = fmin(least, left[t * c.vocab + v]);
            moved += exp(x.r[t * c.vocab + v] - intact.lse[t]) * fabs(x.r[t * c.vocab + v] - left[t * c.vocab + v]);
        }
        /* A term e^(z - most) errs by exp's 2 ULP, the rounding of its argument (F32 (most - least) absolute, so relative to the term) and, for
         * sums of 4 in f32, 3 roundings; a thread's sum is scaled anew at each new maximum, 3 roundings each, 10 of them at most here (the
         * merges of 5 + 16 more); the f64 parts are far below. The KL's terms are alike, relative to |x - z|, its p ranges over x. */
        double relative = F32 * (2 * 2 + (most - least) + 3 + 3 * 31),
               kl_tolerance = (relative + F32 * 3 * c.spread) * (moved + 1) + relative;
        bool same = near(got.lse[t], ref.lse[t], relative) && near(got.nll[t], ref.nll[t], relative) &&
                    near(got.start[t], ref.start[t], 2 * relative) && near(got.kl[t], ref.kl[t], kl_tolerance) &&
                    got.rank[t] == ref.rank[t] && got.top1[t] == ref.top1[t];
        if (c.intact && t == 1 && !finished)
            same = same && got.kl[t] == 0;
        if (!same && bad++ == 0)
            printf("%s: row %zu: nll %.9g (%.9g) kl %.9g (%.9g) start %.9g (%.9g) lse %.9g (%.9g) rank %d (%d) top1 %d (%d), "
                   "+- %.3g\n",
                   operands_what.c_str(), t, got.nll[t], ref.nll[t], got.kl[t], ref.kl[t], got.start[t], ref.start[t],
                   got.lse[t], ref.lse[t], got.rank[t], ref.rank[t], got.top1[t], ref.top1[t], relative);
    }
    return bad;
}

static void test_head(void)
{
    static const size_t vocabs[] = {1, 2, 3, 5, 33, 100, 511, 2048, 2051, 5003};
    uint64_t seed = 1;
    for (size_t vocab : vocabs)
        for (int layout = 0; layout < 4; layout++)
            for (int variant = 0; variant < 8; variant++) {
                HeadCase c = {};
                c.rows = vocab > 1000 ? 2 : 4;
                c.vocab = vocab;
                c.gap = layout == 1 ? 1 : layout == 2 ? 4 : 0;
                c.offset = layout == 3 ? 3 : 0;
                c.scale = variant == 1 || variant == 3 ? 0.0625f : 1;
                c.cap = variant == 2 || variant == 3 ? 5 : 0;
                c.spread = variant == 4 ? 40 : variant == 5 ? 1 : 8; /* with ties: two values only, -1 and 0 */
                c.ties = variant >= 5;
                c.starts = variant != 6;
                c.intact = variant != 7;
                c.other_layout = layout % 2;
                char name[200];
                snprintf(name, sizeof name, "head: %zu logits, layout %d, variant %d", vocab, layout, variant);
                operands_what = name;
                rng_seed(&operands_rng, seed, 0);
                emu_seed(seed++);
                CHECK_MSG(head_case(c) == 0, "%s", name);
            }
}

static void test_logits_that_are_not_finite(void)
{
    for (double value : {(double)NAN, (double)INFINITY, (double)-INFINITY})
        for (size_t at : {(size_t)0, (size_t)37, (size_t)99}) {
            operands_what = "not finite";
            rng_seed(&operands_rng, at + 1, 0);
            Operand z(DTYPE_F32, 2, 100, 0, 0, 5), x(DTYPE_F32, 2, 100, 0, 0, 5);
            z.set(0, at, value);
            std::vector<uint8_t> starts(100, 1);
            std::vector<double> lse = {3, 3};
            HeadResult got = run(z, 1, 0, {5, 5}, &starts, &x, &lse);
            CHECK(operands_finish() == 0);
            CHECK(isnan(got.nll[0]) && isnan(got.kl[0]) && isnan(got.start[0]));
            CHECK(!isnan(got.nll[1]) && !isnan(got.kl[1]) && !isnan(got.start[1]));
            CHECK(value == INFINITY ? got.top1[0] == (int32_t)at : got.top1[0] >= 0 && got.top1[0] < 100);
        }
}

/* The loss of a row does not depend on the rows beside it. */
static void test_rows_are_independent(void)
{
    operands_what = "rows alone";
    rng_seed(&operands_rng, 9, 0);
    Operand z(DTYPE_F32, 5, 301, 3, 0, 9);
    HeadResult all = run(z, 1, 0, {1, 2, 3, 4, 300}, nullptr, nullptr, nullptr);
    for (size_t t = 0; t < 5; t++) {
        Operand one(DTYPE_F32, 1, 301, 0, 0, 1);
        for (size_t v = 0; v < 301; v++)
            one.set(0, v, z.r[t * 301 + v]);
        HeadResult alone = run(one, 1, 0, {t == 4 ? 300 : (int32_t)t + 1}, nullptr, nullptr, nullptr);
        CHECK(alone.nll[0] == all.nll[t] && alone.rank[0] == all.rank[t]);
    }
    CHECK(operands_finish() == 0);
}

int main(void)
{
    RUN(test_head);
    RUN(test_logits_that_are_not_finite);
    RUN(test_rows_are_independent);
    return test_finish();
}
