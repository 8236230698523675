/* test_cuda_rows.cc: the row kernels of kernels/cuda under the emulation, against the f64 oracle on odd shapes: single elements, tails,
 * gaps between rows, rows that begin on 16 bytes and rows that do not, in place and not.
 *
 * Tolerances: u is half an ULP of what is stored (bf16 2^-8, f32 2^-24), relative; the f32 arithmetic between load and store adds a
 * few 2^-24 of the magnitudes that it adds up, written at each case. */
#include "tests/cuda_emu/operands.hh"
#include "tests/test.h"

static const size_t shapes[][2] = {{1, 1},   {3, 7},   {2, 8},   {3, 9},    {5, 31},  {2, 64},
                                   {2, 100}, {1, 257}, {2, 576}, {1, 2056}, {1, 4099}};
/* Gap between rows and offset of the first, in elements. */
static const size_t layouts[][2] = {{0, 0}, {8, 0}, {1, 0}, {3, 5}};

static const double F32 = 0x1p-24;

/* Calls run(rows, cols, gap, offset) for each case with a name and a seed of its own, and checks that it counts no fault. */
template <typename F> static void each_case(const char *what, F run)
{
    uint64_t seed = 1;
    for (const size_t *s : shapes)
        for (const size_t *l : layouts) {
            char name[160];
            snprintf(name, sizeof name, "%s [%zu, %zu] gap %zu offset %zu", what, s[0], s[1], l[0], l[1]);
            operands_what = name;
            rng_seed(&operands_rng, seed, 0);
            emu_seed(seed++);
            CHECK_MSG(run(s[0], s[1], l[0], l[1]) == 0, "%s", name);
        }
}

static double act_of(double x, ActKind act)
{
    std::vector<double> in = {x}, out = {0};
    ops_ref.act(nullptr, View{out.data(), DTYPE_F64, 1, 1, 1}, View{in.data(), DTYPE_F64, 1, 1, 1}, act);
    return out[0];
}

/* f32 error of an activation of x: the argument of exp, tanh, erf within 4 ULP, each function within 2, three more operations;
 * 0.5 (1 + tanh) and 1 + e^-x cancel, so the error is relative to x, not to the result. */
static double act_error(double x)
{
    return 24 * F32 * (fabs(x) + fabs(x * x * (x > 0 ? 1 : 0)));
}

static void test_act(void)
{
    for (int act = ACT_SILU; act <= ACT_RELU2; act++)
        for (DType dtype : {DTYPE_BF16, DTYPE_F32})
            each_case("act", [&](size_t rows, size_t cols, size_t gap, size_t offset) {
                Operand x(dtype, rows, cols, gap, offset, 6), out(dtype, rows, cols, gap, offset, 0);
                x.set(0, 0, NAN);
                cuda_act(nullptr, out.t, x.t, (ActKind)act);
                int bad = operands_finish();
                std::vector<double> want(rows * cols);
                ops_ref.act(nullptr, View{want.data(), DTYPE_F64, rows, cols, cols}, x.ref(), (ActKind)act);
                auto tolerance = [&](size_t i, size_t j, double w) {
                    return operands_u(dtype) * fabs(w) + act_error(x.r[i * cols + j]);
                };
                bad += out.compare(want, tolerance);
                cuda_act(nullptr, x.t, x.t, (ActKind)act); /* in place */
                bad += operands_finish();
                return bad + x.compare(want, tolerance);
            });
    CHECK(act_of(0, ACT_SILU) == 0);
}

static void test_glu(void)
{
    for (int act = ACT_SILU; act <= ACT_RELU2; act++)
        each_case("glu", [&](size_t rows, size_t cols, size_t gap, size_t offset) {
            /* gate and up are halves of one view, as the forward pass has them */
            Operand both(DTYPE_BF16, rows, 2 * cols, gap, offset, 4), out(DTYPE_BF16, rows, cols, gap, offset, 0);
            View gate = view_cols(both.t, 0, cols, 2), up = view_cols(both.t, cols, cols, 2);
            cuda_glu(nullptr, out.t, gate, up, (ActKind)act);
            int bad = operands_finish();
            std::vector<double> want(rows * cols);
            View whole = both.ref();
            ops_ref.glu(nullptr, View{want.data(), DTYPE_F64, rows, cols, cols}, view_cols(whole, 0, cols, 8),
                        view_cols(whole, cols, cols, 8), (ActKind)act);
            auto tolerance = [&](size_t i, size_t j, double w) {
                double g = both.r[i * 2 * cols + j], v = both.r[i * 2 * cols + cols + j];
                return operands_u(DTYPE_BF16) * fabs(w) + act_error(g) * fabs(v);
            };
            bad += out.compare(want, tolerance);
            cuda_glu(nullptr, gate, gate, up, (ActKind)act);
            bad += operands_finish();
            for (size_t i = 0; i < rows; i++)
                for (size_t j = 0; j < cols; j++)
                    bad += !(fabs(both.get(i, j) - want[i * cols + j]) <= tolerance(i, j, want[i * cols + j]));
            return bad;
        });
}

static void test_add(void)
{
    for (DType b_dtype : {DTYPE_BF16, DTYPE_F32})
        for (int in_place = 0; in_place < 2; in_place++)
            each_case("add", [&](size_t rows, size_t cols, size_t gap, size_t offset) {
                float scale = in_place ? 0.22f : 1.0f;
                Operand a(DTYPE_F32, rows, cols, gap, offset, 3), b(b_dtype, rows, cols, gap, offset, 2),
                    out(DTYPE_F32, rows, cols, gap, offset, 0);
                std::vector<double> want(rows * cols);
                ops_ref.add(nullptr, View{want.data(), DTYPE_F64, rows, cols, cols}, a.ref(), b.ref(), scale);
                Operand &to = in_place ? a : out;
                cuda_add(nullptr, to.t, a.t, b.t, scale);
                /* one product and one sum, each rounded (or fused) */
                return operands_finish() + to.compare(want, [&](size_t i, size_t j, double w) {
                    return F32 * (fabs(w) + fabs(b.r[i * cols + j]));
                });
            });
}

static void test_add_gated(void)
{
    for (int gated = 0; gated < 2; gated++)
        each_case("add_gated", [&](size_t rows, size_t cols, size_t gap, size_t offset) {
            Operand a(DTYPE_BF16, rows, cols, gap, offset, 3), b(DTYPE_BF16, rows, cols, gap, offset, 2),
                gate(DTYPE_BF16, rows, 1, gap, 0, 4);
            Operand out(DTYPE_BF16, rows, cols, gap, offset, 0);
            std::vector<double> want(rows * cols);
            ops_ref.add_gated(nullptr, View{want.data(), DTYPE_F64, rows, cols, cols}, a.ref(), b.ref(),
                              gated ? gate.ref() : View{});
            cuda_add_gated(nullptr, out.t, a.t, b.t, gated ? gate.t : View{});
            auto tolerance = [&](size_t i, size_t j, double w) {
                return operands_u(DTYPE_BF16) * fabs(w) + 12 * F32 * fabs(b.r[i * cols + j]);
            };
            int bad = operands_finish() + out.compare(want, tolerance);
            cuda_add_gated(nullptr, b.t, a.t, b.t, gated ? gate.t : View{});
            return bad + operands_finish() + b.compare(want, tolerance);
        });
}

static void test_clip(void)
{
    for (DType dtype : {DTYPE_BF16, DTYPE_F32}) {
        each_case("clip", [&](size_t rows, size_t cols, size_t gap, size_t offset) {
            Operand x(dtype, rows, cols, gap, offset, 3);
            x.set(rows - 1, cols - 1, NAN);
            std::vector<double> want = x.r;
            ops_ref.clip(nullptr, View{want.data(), DTYPE_F64, rows, cols, cols}, 1.5f);
            cuda_clip(nullptr, x.t, 1.5f);
            return operands_finish() + x.compare(want, [](size_t, size_t, double) { return 0; });
        });
    }
}

static void test_copy(void)
{
    for (DType to : {DTYPE_BF16, DTYPE_F32})
        for (DType from : {DTYPE_BF16, DTYPE_F32})
            each_case("copy", [&](size_t rows, size_t cols, size_t gap, size_t offset) {
                Operand x(from, rows, cols, gap, offset, 3), out(to, rows, cols, gap + 2, offset, 0);
                x.set(0, 0, NAN);
                cuda_copy(nullptr, out.t, x.t);
                return operands_finish() +
                       out.compare(x.r, [&](size_t, size_t, double w) { return to == from ? 0 : operands_u(to) * fabs(w); });
            });
}

static void test_mean(void)
{
    for (size_t n : {(size_t)1, (size_t)2, (size_t)16, (size_t)17, (size_t)35})
        each_case("mean", [&](size_t rows, size_t cols, size_t gap, size_t offset) {
            if (rows * cols > 300)
                return 0;
            std::vector<Operand *> in;
            std::vector<View> views, refs;
            for (size_t i = 0; i < n; i++) {
                in.push_back(new Operand(DTYPE_F32, rows, cols, gap, offset, 3));
                views.push_back(in[i]->t);
                refs.push_back(in[i]->ref());
            }
            std::vector<double> want(rows * cols);
            ops_ref.mean(nullptr, View{want.data(), DTYPE_F64, rows, cols, cols}, refs.data(), n);
            bool in_place = n % 2 == 0;
            Operand out(DTYPE_F32, rows, cols, gap, offset, 0);
            Operand &to = in_place ? *in[0] : out;
            cuda_mean(nullptr, to.t, views.data(), n);
            /* n - 1 sums of at most 3 n, a division */
            double tolerance = F32 * 3 * (double)(n + 1);
            int bad = operands_finish() + to.compare(want, [&](size_t, size_t, double) { return tolerance; });
            for (Operand *o : in)
                delete o;
            return bad;
        });
}

typedef struct NormCase {
    size_t rows, cols, group;
} NormCase;

static const NormCase norms[] = {{3, 1, 1},       {2, 8, 8},       {3, 40, 8},      {2, 100, 100},    {5, 192, 64},
                                 {2, 300, 100},   {1, 257, 257},   {3, 576, 576},   {1, 1024, 1024},  {2, 1032, 1032},
                                 {1, 1100, 1100}, {2, 2048, 2048}, {1, 4100, 4100}, {1, 16400, 16400}};

static int norm_case(const NormCase &c, size_t gap, size_t offset, NormKind kind, DType x_dtype, DType out_dtype, int variant)
{
    bool gain = variant & 1, bias = variant & 2, per_group = variant & 4, in_place = variant & 8;
    double mean_of_x = kind == NORM_LAYER ? 2.0 : 0.0;
    Operand x(x_dtype, c.rows, c.cols, gap, offset, 1), out(out_dtype, c.rows, c.cols, gap, offset, 0);
    for (size_t i = 0; i < c.rows && mean_of_x > 0; i++)
        for (size_t j = 0; j < c.cols; j++)
            x.set(i, j, x.r[i * c.cols + j] + mean_of_x);
    size_t n = per_group ? c.cols : c.group;
    OperandWeight w(WEIGHT_VECTOR, 1, n, 2, offset), b(WEIGHT_VECTOR, 1, n, 2, offset);
    NormSpec spec = {kind, 1e-5f, variant & 1 ? 1.0f : 0.0f, c.group};
    std::vector<double> in = x.r, want(c.rows * c.cols);
    View in_view = {in.data(), DTYPE_F64, c.rows, c.cols, c.cols};
    ops_ref.norm(nullptr, View{want.data(), DTYPE_F64, c.rows, c.cols, c.cols}, in_view, &spec, gain ? &w.ref : nullptr,
                 bias ? &b.ref : nullptr);
    in_place = in_place && x_dtype == out_dtype;
    cuda_norm(nullptr, in_place ? x.t : out.t, x.t, &spec, gain ? &w.t : nullptr, bias ? &b.t : nullptr);
    int bad = operands_finish();
    /* A sum of n terms in a tree of at most 32 at a time errs by some (40 + log2 n) F32 relative; half of it reaches the inverse root;
     * the difference from the mean errs by (40 + log2 n + 1) F32 (|x| + |mean|); sqrt, division and three products: 6 F32 more. The
     * single elements of UNITS = 0 are summed by a thread one after another: at most n / 32 terms a thread. */
    double terms = 60 + (double)c.group / 32, error = terms * F32;
    size_t groups = c.cols / c.group;
    std::vector<double> means(c.rows * groups), inverses(c.rows * groups);
    for (size_t g = 0; g < means.size(); g++) {
        double square = 0, mean = 0;
        for (size_t k = 0; k < c.group && kind == NORM_LAYER; k++)
            mean += in[g * c.group + k] / (double)c.group;
        for (size_t k = 0; k < c.group; k++)
            square += pow(in[g * c.group + k] - mean, 2) / (double)c.group;
        means[g] = mean;
        inverses[g] = 1 / sqrt(square + 1e-5);
    }
    auto tolerance = [&](size_t i, size_t j, double want_here) {
        size_t g = i * groups + j / c.group;
        double factor = gain ? fabs(w.r[per_group ? j : j % c.group] + 1) : 1,
               base = bias ? fabs(b.r[per_group ? j : j % c.group]) : 0;
        /* an error of the mean moves every difference by it, the variance by its square only */
        double apart = fabs(in[i * c.cols + j] - means[g]) * error + (kind == NORM_LAYER ? 3 * error : 0);
        return operands_u(out_dtype) * fabs(want_here) + factor * inverses[g] * apart + 2 * F32 * base;
    };
    bad += (in_place ? x : out).compare(want, tolerance);
    return bad;
}

static void test_norm(void)
{
    uint64_t seed = 1;
    for (const NormCase &c : norms)
        for (const size_t *l : layouts)
            for (int kind = 0; kind < 2; kind++)
                for (int types = 0; types < 4; types++)
                    for (int variant : {0, 1, 3, 5, 7, 8 + 3, 8 + 7}) {
                        if (c.cols > 1000 && (seed % 5)) { /* the widest ones: a fifth of the combinations */
                            seed++;
                            continue;
                        }
                        char name[200];
                        snprintf(name, sizeof name, "norm %d [%zu, %zu / %zu] gap %zu offset %zu types %d variant %d", kind,
                                 c.rows, c.cols, c.group, l[0], l[1], types, variant);
                        operands_what = name;
                        rng_seed(&operands_rng, seed, 0);
                        emu_seed(seed++);
                        CHECK_MSG(norm_case(c, l[0], l[1], (NormKind)kind, types & 1 ? DTYPE_BF16 : DTYPE_F32,
                                            types & 2 ? DTYPE_BF16 : DTYPE_F32, variant) == 0,
                                  "%s", name);
                    }
}

static void test_rope(void)
{
    static const int heads[][3] = {{1, 2, 2},   {3, 6, 4},     {2, 16, 16}, {4, 32, 16},
                                   {3, 80, 32}, {2, 128, 128}, {9, 64, 64}, {1, 20, 18}};
    uint64_t seed = 1;
    for (const int *h : heads)
        for (const size_t *l : layouts)
            for (int style = 0; style < 2; style++)
                for (DType dtype : {DTYPE_BF16, DTYPE_F32}) {
                    char name[160];
                    snprintf(name, sizeof name, "rope %d heads of %d, %d rotated, gap %zu offset %zu style %d", h[0], h[1],
                             h[2], l[0], l[1], style);
                    operands_what = name;
                    rng_seed(&operands_rng, seed, 0);
                    emu_seed(seed++);
                    size_t rows = 3, cols = (size_t)h[0] * (size_t)h[1], half = (size_t)h[2] / 2;
                    Operand x(dtype, rows, cols, l[0], l[1], 3);
                    OperandWeight c(WEIGHT_TABLE, 11, half, 1), s(WEIGHT_TABLE, 11, half, 1);
                    int32_t positions[] = {10, 0, 7};
                    DeviceBytes where(positions, sizeof positions);
                    std::vector<double> want = x.r;
                    ops_ref.rope(nullptr, View{want.data(), DTYPE_F64, rows, cols, cols}, positions, &c.ref, &s.ref, h[0], h[1],
                                 h[2], (RopeStyle)style);
                    cuda_rope(nullptr, x.t, (const int32_t *)where.data, &c.t, &s.t, h[0], h[1], h[2], (RopeStyle)style);
                    /* two products and a sum of at most 3 each */
                    int bad = operands_finish() + x.compare(want, [&](size_t, size_t j, double w) {
                        return (int)(j % (size_t)h[1]) < h[2] ? operands_u(dtype) * fabs(w) + 9 * F32 : 0;
                    });
                    CHECK_MSG(bad == 0, "%s", name);
                }
}

static void test_row_dots(void)
{
    for (DType dtype : {DTYPE_F32, DTYPE_BF16})
        each_case("row_dots", [&](size_t rows, size_t cols, size_t gap, size_t offset) {
            Operand a(dtype, rows, cols, gap, offset, 3), b(dtype, rows, cols, gap, offset, 2);
            std::vector<double> want(3 * rows), got(3 * rows);
            ops_ref.row_dots(nullptr, want.data(), a.ref(), b.ref());
            void *out;
            cudaMalloc(&out, 3 * rows * 8);
            cuda_row_dots(nullptr, (double *)out, a.t, b.t);
            int bad = operands_finish();
            cudaMemcpy(got.data(), out, 3 * rows * 8, cudaMemcpyDeviceToHost);
            cudaFree(out);
            for (size_t i = 0; i < got.size(); i++) /* exact products, cols sums in f64 of at most 9 each */
                bad += !(fabs(got[i] - want[i]) <= 2 * (double)cols * 9 * (double)cols * 0x1p-53);
            return bad;
        });
}

static void test_no_rows(void)
{
    size_t before = emu_launches();
    operands_what = "no rows";
    Operand x(DTYPE_F32, 0, 8, 0, 0, 0), y(DTYPE_BF16, 0, 8, 0, 0, 0);
    NormSpec spec = {NORM_RMS, 1e-5f, 0, 8};
    cuda_norm(nullptr, y.t, x.t, &spec, nullptr, nullptr);
    cuda_act(nullptr, y.t, y.t, ACT_SILU);
    cuda_glu(nullptr, y.t, y.t, y.t, ACT_SILU);
    cuda_add(nullptr, x.t, x.t, y.t, 1);
    cuda_clip(nullptr, y.t, 1);
    cuda_copy(nullptr, x.t, y.t);
    cuda_row_dots(nullptr, nullptr, x.t, x.t);
    CHECK(operands_finish() == 0 && emu_launches() == before);
}

int main(void)
{
    RUN(test_act);
    RUN(test_glu);
    RUN(test_add);
    RUN(test_add_gated);
    RUN(test_clip);
    RUN(test_copy);
    RUN(test_mean);
    RUN(test_norm);
    RUN(test_rope);
    RUN(test_row_dots);
    RUN(test_no_rows);
    return test_finish();
}
