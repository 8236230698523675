/* test_cuda_forward.c: the whole forward pass of cuda/fast against the f64 oracle, on the emulation, or on a device under `make gpu-test`:
 * losses of the intact model, every removal and every exchange of tiny models, with all weights resident, and streamed through one
 * slot under the least memory that will do.
 *
 * The bound is what bf16 costs: a second run of the oracle rounds weights and activations where cuda/fast stores them as bf16, its sums
 * still f64. Over an order's tokens (a hundred or so) the root mean square of cuda/fast's error may be 1.5 of that run's: equal
 * roundings of values that differ in their last bits make errors of one size, and sums of f32 add a thousandth of it. The two must be
 * as near to each other as either is to the truth (independent errors would be sqrt 2 apart; they share most roundings). In a
 * mixture a rounded router logit can choose another expert, which moves losses of single tokens by much: there the bound is 1.5 of
 * the largest among the orders, and nearness is not asked.
 *
 * In f32 no token's loss may differ from cpu/fast's or the oracle's by more than cpu/fast's may from transformers' (dump_case.h). In TF32 the
 * root mean square of the error may be 1.5 of what cutting the operands of the products to 10 bits of fraction costs the oracle; a device that
 * rounds them makes half the error. */
#include "kernels/convert.h"
#include "tests/cuda_under_test.h"
#include "tests/dump_case.h"

static const CudaEntry *entry;

static void the_table_is_there(void)
{
    entry = cuda_under_test();
    if (!entry)
        SKIP("no table cuda/fast");
}

/* ---- what bf16 costs ---- */

static Ops rounded; /* the f64 oracle, with weights and what cuda/fast stores as bf16 rounded to it */

static void round_values(double *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (double)convert_bf16_to_f32(convert_f32_to_bf16((float)p[i]));
}

static void round_view(View v)
{
    for (size_t r = 0; r < v.rows; r++)
        round_values((double *)v.data + r * v.ld, v.cols);
}

static int rounded_prepare(OpsContext *c, void *slot, WeightKind kind, const WeightPart *parts, size_t n, Weight *out, Error *e)
{
    int status = ops_ref.weight_prepare(c, slot, kind, parts, n, out, e);
    if (!status && kind == WEIGHT_MATRIX)
        round_values(slot, out->rows * out->cols);
    return status;
}

static void rounded_norm(OpsContext *c, View out, View x, const NormSpec *spec, const Weight *weight, const Weight *bias)
{
    ops_ref.norm(c, out, x, spec, weight, bias);
    round_view(out);
}

static void rounded_linear(OpsContext *c, View y, View x, const Weight *w, const Weight *bias)
{
    ops_ref.linear(c, y, x, w, bias);
    round_view(y);
}

static void rounded_rope(OpsContext *c, View x, const int32_t *positions, const Weight *cosines, const Weight *sines,
                         int n_heads, int head_dim, int rotary_dims, RopeStyle style)
{
    ops_ref.rope(c, x, positions, cosines, sines, n_heads, head_dim, rotary_dims, style);
    round_view(x);
}

static void rounded_attention(OpsContext *c, View out, View q, View k, View v, const AttnSeq *seqs, size_t n_seqs,
                              const AttnSpec *spec)
{
    ops_ref.attention(c, out, q, k, v, seqs, n_seqs, spec);
    round_view(out);
}

static void rounded_glu(OpsContext *c, View out, View gate, View up, ActKind act)
{
    ops_ref.glu(c, out, gate, up, act);
    round_view(out);
}

static void rounded_act(OpsContext *c, View out, View x, ActKind act)
{
    ops_ref.act(c, out, x, act);
    round_view(out);
}

static void rounded_moe(OpsContext *c, View out, View x, Routes routes, const ExpertWeights *experts, const RouteSpec *spec,
                        ActKind act)
{
    ops_ref.moe(c, out, x, routes, experts, spec, act);
    round_view(out);
}

static void make_rounded(void)
{
    rounded = ops_ref;
    rounded.name = "ref, rounded";
    rounded.weight_prepare = rounded_prepare;
    rounded.norm = rounded_norm;
    rounded.linear = rounded_linear;
    rounded.rope = rounded_rope;
    rounded.attention = rounded_attention;
    rounded.glu = rounded_glu;
    rounded.act = rounded_act;
    rounded.moe = rounded_moe;
}

/* ---- what TF32 costs ---- */

static Ops cut; /* the f64 oracle, with the operands of its products cut to TF32 */

static void cut_view(View v)
{
    for (size_t r = 0; r < v.rows; r++) {
        for (size_t c = 0; c < v.cols; c++) {
            double *p = (double *)v.data + r * v.ld + c;
            float x = (float)*p;
            uint32_t bits;
            memcpy(&bits, &x, sizeof bits);
            bits &= ~(uint32_t)0x1fff;
            memcpy(&x, &bits, sizeof x);
            *p = (double)x;
        }
    }
}

static View cut_copy(View v)
{
    View copy = v;
    copy.ld = v.cols;
    copy.data = malloc((v.rows * v.cols + 1) * sizeof(double));
    for (size_t r = 0; r < v.rows; r++)
        memcpy((double *)copy.data + r * v.cols, (double *)v.data + r * v.ld, v.cols * sizeof(double));
    cut_view(copy);
    return copy;
}

static int cut_prepare(OpsContext *c, void *slot, WeightKind kind, const WeightPart *parts, size_t n, Weight *out, Error *e)
{
    int status = ops_ref.weight_prepare(c, slot, kind, parts, n, out, e);
    if (!status && kind == WEIGHT_MATRIX)
        cut_view((View){.data = slot, .dtype = DTYPE_F64, .rows = out->rows, .cols = out->cols, .ld = out->cols});
    return status;
}

static void cut_linear(OpsContext *c, View y, View x, const Weight *w, const Weight *bias)
{
    View operand = cut_copy(x);
    ops_ref.linear(c, y, operand, w, bias);
    free(operand.data);
}

static void cut_linear_add(OpsContext *c, View out, View residual, float scale, View x, const Weight *w, const Weight *bias)
{
    View operand = cut_copy(x);
    ops_ref.linear_add(c, out, residual, scale, operand, w, bias);
    free(operand.data);
}

/* What lies between an expert's two products stays whole: the bound is a little tighter for it. */
static void cut_moe(OpsContext *c, View out, View x, Routes routes, const ExpertWeights *experts, const RouteSpec *spec,
                    ActKind act)
{
    View operand = cut_copy(x);
    ops_ref.moe(c, out, operand, routes, experts, spec, act);
    free(operand.data);
}

static void cut_head(OpsContext *c, const HeadArgs *args)
{
    HeadArgs a = *args;
    a.x = cut_copy(args->x);
    ops_ref.head(c, &a);
    free(a.x.data);
}

static void make_cut(void)
{
    cut = ops_ref;
    cut.name = "ref, cut to TF32";
    cut.weight_prepare = cut_prepare;
    cut.linear = cut_linear;
    cut.linear_add = ops_ref.linear_add ? cut_linear_add : NULL;
    cut.moe = cut_moe;
    cut.head = cut_head;
}

/* ---- losses ---- */

enum { MOST_ORDERS = 16 };

typedef struct Losses {
    double nll[MOST_ORDERS][DUMP_CASE_IDS];
    size_t n[MOST_ORDERS];
    int n_bad;
} Losses;

static int keep_losses(void *user, size_t order, const HeadResults *r, Error *e)
{
    Losses *l = user;
    (void)e;
    l->n[order] = r->n;
    for (size_t i = 0; i < r->n; i++) {
        l->nll[order][i] = r->nll[i];
        l->n_bad += order == 0 ? r->kl[i] != 0 : !(r->kl[i] > -1e-6);
    }
    return STATUS_OK;
}

/* All orders of a set in one run. memory 0: the least that will do, which splits the orders and streams the layers. */
static void run_losses(const DumpCase *c, const Ops *ops, const OrderSet *set, size_t memory, Losses *out)
{
    Error e = {""};
    Run *run = NULL;
    Session s = {0};
    size_t longest = 0;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < c->n_rows; i++)
        longest = c->starts[i + 1] - c->starts[i] > longest ? c->starts[i + 1] - c->starts[i] : longest;
    RunRequest q = {.orders = set->orders,
                    .n_orders = set->n_orders,
                    .longest_window = longest,
                    .total_rows = c->starts[c->n_rows],
                    .block_rows = c->starts[c->n_rows]};
    RunHooks hooks = {.user = out, .on_results = keep_losses};
    TokenBlock block = {.ids = c->ids, .window_start = c->starts, .n_rows = c->starts[c->n_rows], .n_windows = c->n_rows};
    SessionOptions so = {.device = "cpu", .numerics = "fast", .dtype = "f32", .threads = 2, .memory_bytes = memory, .ops = ops};
    so.memory_bytes = memory ? memory : 1;
    int status = session_open(&c->model, &so, &s, &e);
    if (!status && !memory) {
        RunSizes z;
        CHECK(run_sizes(&s, &q, &z, &e) == STATUS_USAGE);
        s.memory_bytes = z.total_bytes;
        CHECK(run_sizes(&s, &q, &z, &e) == STATUS_OK && z.n_groups > 1 && z.n_slots == 1 && z.total_bytes <= s.memory_bytes);
    }
    CHECK(set->n_orders <= MOST_ORDERS);
    if (!status && !(status = run_open(&s, &q, &run, &e)))
        status = run_block(run, &block, &hooks, &e);
    CHECK_MSG(!status, "%s: %s", c->name, e.text);
    CHECK(out->n_bad == 0);
    run_close(run);
    session_close(&s);
}

/* Root mean square of the difference over an order's tokens; NaN if there is one. */
static double distance(const Losses *a, const Losses *b, size_t order)
{
    double sum = 0;
    for (size_t i = 0; i < a->n[order]; i++)
        sum += (a->nll[order][i] - b->nll[order][i]) * (a->nll[order][i] - b->nll[order][i]);
    return a->n[order] && a->n[order] == b->n[order] ? sqrt(sum / (double)a->n[order]) : NAN;
}

static void compare_losses(const char *name, size_t memory)
{
    static Losses exact, bf16, cuda;
    DumpCase c;
    char folder[128];
    snprintf(folder, sizeof folder, "tests/data/models/%s", name);
    bool there = dump_case_open(&c, name, folder, folder), mixture = there && c.model.traits.route.n_experts > 0;
    double worst = 0;
    for (int i = 0; there && i < 2; i++) {
        const OrderSet *set = &c.orders[i];
        double most = 0;
        run_losses(&c, &ops_ref, set, (size_t)1 << 30, &exact);
        run_losses(&c, &rounded, set, (size_t)1 << 30, &bf16);
        run_losses(&c, entry->fast, set, memory, &cuda);
        for (size_t o = 0; o < set->n_orders; o++) {
            double cost = distance(&bf16, &exact, o);
            most = cost <= most ? most : cost;
        }
        for (size_t o = 0; o < set->n_orders; o++) {
            double error = distance(&cuda, &exact, o), cost = mixture ? most : distance(&bf16, &exact, o);
            bool near = mixture || distance(&cuda, &bf16, o) <= 1.1 * cost;
            CHECK_MSG(error <= 1.5 * cost && near, "%s %s: loss error %g, bf16 costs the oracle %g, between them %g", name,
                      set->orders[o].name, error, cost, distance(&cuda, &bf16, o));
            worst = error / cost <= worst ? worst : error / cost;
        }
    }
    printf("  %s: loss error at most %.2f of what bf16 costs the oracle\n", name, worst);
    dump_case_close(&c);
}

static void losses_with_resident_weights(void)
{
    static const char *const models[] = {"llama", "mistral", "mixtral", "gpt2"};
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++)
        compare_losses(models[m], (size_t)1 << 30);
}

static void losses_under_the_least_memory(void)
{
    static const char *const models[] = {"llama", "mixtral", "gpt2"};
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        cuda_seed(m + 7);
        compare_losses(models[m], 0);
    }
}

/* The largest difference of a token's loss; NaN if there is one. */
static double farthest(const Losses *a, const Losses *b, size_t order)
{
    double most = a->n[order] && a->n[order] == b->n[order] ? 0 : NAN;
    for (size_t i = 0; i < a->n[order]; i++) {
        double error = fabs(a->nll[order][i] - b->nll[order][i]);
        most = error <= most ? most : error;
    }
    return most;
}

static void compare_in_f32(const char *folder, size_t memory)
{
    static Losses exact, cpu, cuda;
    DumpCase c;
    bool there = dump_case_open(&c, folder, folder, folder);
    double worst = 0;
    for (int i = 0; there && i < 2; i++) {
        const OrderSet *set = &c.orders[i];
        run_losses(&c, &ops_ref, set, (size_t)1 << 30, &exact);
        run_losses(&c, &ops_cpu_fast, set, (size_t)1 << 30, &cpu);
        run_losses(&c, entry->fast_f32, set, memory, &cuda);
        for (size_t o = 0; o < set->n_orders; o++) {
            double from_cpu = farthest(&cuda, &cpu, o), from_exact = farthest(&cuda, &exact, o);
            CHECK_MSG(from_cpu <= dump_case_tolerance && from_exact <= dump_case_tolerance,
                      "%s %s: a loss differs by %g from cpu/fast's, by %g from the oracle's", folder, set->orders[o].name,
                      from_cpu, from_exact);
            worst = from_cpu <= worst ? worst : from_cpu;
        }
    }
    printf("  %s in f32: losses at most %.2g from cpu/fast's\n", strrchr(folder, '/') + 1, worst);
    dump_case_close(&c);
}

/* Families beside the four: soft caps and windows, both kinds of ALiBi, interleaved RoPE, parallel branches, biases, shared experts. */
static void losses_in_f32(void)
{
    static const char *const folders[] = {"models/llama",          "models/mistral",    "models/mixtral",
                                          "models/gpt2",           "families/gemma2",   "families/bloom-five",
                                          "families/falcon-alibi", "families/gptj",     "families/granite-bias",
                                          "families/cohere",       "families/qwen2-moe"};
    for (size_t m = 0; m < sizeof folders / sizeof folders[0]; m++) {
        char folder[128];
        snprintf(folder, sizeof folder, "tests/data/%s", folders[m]);
        cuda_seed(m + 21);
        compare_in_f32(folder, m == 0 || m == 2 ? 0 : (size_t)1 << 30);
    }
}

static void losses_in_tf32(void)
{
    static const char *const models[] = {"llama", "mistral", "gpt2"};
    static Losses exact, of_cut, cuda;
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        DumpCase c;
        char folder[128];
        snprintf(folder, sizeof folder, "tests/data/models/%s", models[m]);
        bool there = dump_case_open(&c, models[m], folder, folder);
        double worst = 0;
        for (int i = 0; there && i < 2; i++) {
            const OrderSet *set = &c.orders[i];
            run_losses(&c, &ops_ref, set, (size_t)1 << 30, &exact);
            run_losses(&c, &cut, set, (size_t)1 << 30, &of_cut);
            run_losses(&c, entry->fast_tf32, set, (size_t)1 << 30, &cuda);
            for (size_t o = 0; o < set->n_orders; o++) {
                double error = distance(&cuda, &exact, o), cost = distance(&of_cut, &exact, o);
                CHECK_MSG(error <= 1.5 * cost, "%s %s: loss error %g, TF32 costs the oracle %g", models[m], set->orders[o].name,
                          error, cost);
                worst = error / cost <= worst ? worst : error / cost;
            }
        }
        printf("  %s in TF32: loss error at most %.2f of what TF32 costs the oracle\n", models[m], worst);
        dump_case_close(&c);
    }
}

static void nothing_was_violated(void)
{
    CHECK(cuda_violations() == 0);
}

int main(void)
{
    make_rounded();
    make_cut();
    RUN(the_table_is_there);
    if (entry) {
        RUN(losses_with_resident_weights);
        RUN(losses_under_the_least_memory);
        RUN(losses_in_f32);
        RUN(losses_in_tf32);
        RUN(nothing_was_violated);
    }
    return test_finish();
}
