/* test_lab_arithmetic.c: "show the arithmetic" on every family's tiny model: every operation against the engine within its bound, its dot
 * product carried out anew here, and what one operation of a mixture reads against what the one before it gives. */
#include <math.h>

#include "engine/base/rng.h"
#include "tests/lab_bench.h"

/* The sum anew, in long double. */
static void check_dot(const char *model, const char *op, const LabArithmetic *a)
{
    long double sum = 0, size = 0;
    double factor = 1, bias = 0, cap = 0;
    for (size_t i = 0; i < a->n_scalars; i++) {
        const LabScalar *s = &a->scalars[i];
        factor = strcmp(s->name, "factor") == 0 ? s->value : factor;
        bias = strcmp(s->name, "bias") == 0 || strcmp(s->name, "alibi") == 0 ? s->value : bias;
        cap = strcmp(s->name, "softcap") == 0 ? s->value : cap;
    }
    CHECK_MSG(a->n_operands == 2 && a->operands[0].n == a->operands[1].n, "%s: %s", model, op);
    if (a->n_operands != 2)
        return;
    for (size_t i = 0; i < a->operands[0].n; i++) {
        if (strcmp(op, "moe") == 0 && !(a->operands[0].values[i] > 0)) {
            CHECK(isnan(a->operands[1].values[i])); /* not chosen, not computed */
            continue;
        }
        sum += (long double)a->operands[0].values[i] * (long double)a->operands[1].values[i];
        size += fabsl((long double)a->operands[0].values[i] * (long double)a->operands[1].values[i]);
    }
    bool score = strcmp(op, "score") == 0; /* its addend is not scaled */
    double value = factor * ((double)sum + (score ? 0 : bias));
    if (cap > 0)
        value = cap * tanh(value / cap);
    value += score ? bias : 0;
    /* f64 sums of at most some hundred terms: 2^-53 times their number and size */
    CHECK_MSG(fabs(value - a->value) <= 1e-13 * (1 + (double)size), "%s: %s: %.17g, expected %.17g", model, op, a->value,
              value);
}

static void ask(Bench *b, const LabStream *s, const Order *order, const char *name, int64_t step, size_t size, Rng *rng)
{
    Error e = {{0}};
    LabArithmetic a;
    LabQuestion q = {name, step, (int64_t)rng_below(rng, b->n), (int64_t)rng_below(rng, size), -1, -1, -1};
    if (strcmp(name, "score") == 0 || strcmp(name, "softmax") == 0) {
        q.head = (int64_t)rng_below(rng, (uint64_t)b->bench.model.traits.n_heads);
        q.key = q.position;
    }
    int status = lab_arithmetic(b->lab, s, order, b->ids, &q, &a, &e);
    CHECK_MSG(!status, "%s: %s of step %lld: %s", b->common.model_name, name, (long long)step, e.text);
    if (status)
        return;
    CHECK(a.size == size && a.formula[0]);
    bool kept = strcmp(name, "score") != 0 && strcmp(name, "softmax") != 0 && strncmp(name, "expert_", 7) != 0;
    CHECK_MSG(!kept || fabs(a.value - a.engine) <= a.bound, "%s: %s[%lld] of step %lld: %.9g, the engine has %.9g, bound %.3g",
              b->common.model_name, name, (long long)q.coordinate, (long long)step, a.value, a.engine, a.bound);
    /* A bound that explains anything is none: products of this width leave some 1e-4 of the numbers at most. */
    CHECK_MSG(!kept || a.bound <= 1e-3 * (1 + fabs(a.engine)), "%s: %s: bound %g of %g", b->common.model_name, name, a.bound,
              a.engine);
    if (a.kind == LAB_DOT)
        check_dot(b->common.model_name, name, &a);
    lab_arithmetic_free(&a);
}

static void ask_all(const char *model, const char *numerics, const char *order_text, size_t *n_asked)
{
    Bench b;
    Rng rng;
    rng_seed(&rng, 20, 6);
    if (open_bench(&b, model, numerics, NULL)) {
        Order order = make_order(&b, order_text);
        LabStream s;
        if (walk(&b, &order, &s)) {
            for (size_t step = 0; step <= s.n_steps; step++) {
                const char *name;
                size_t at = 0, size;
                while (lab_arithmetic_each(b.lab, step < s.n_steps ? &order.items[step] : NULL, &at, &name, &size))
                    for (int i = 0; i < 3; i++, ++*n_asked)
                        ask(&b, &s, &order, name, step < s.n_steps ? (int64_t)step : -1, size, &rng);
            }
            lab_stream_close(b.lab, &s);
        }
    }
    close_bench(&b);
}

static double scalar_of(const LabArithmetic *a, const char *name)
{
    for (size_t i = 0; i < a->n_scalars; i++)
        if (strcmp(a->scalars[i].name, name) == 0)
            return a->scalars[i].value;
    return NAN;
}

static void solve(Bench *b, const LabStream *s, const Order *order, const char *op, int64_t coordinate, int64_t expert,
                  LabArithmetic *out)
{
    Error e = {{0}};
    LabQuestion q = {op, 1, 2, coordinate, -1, -1, expert};
    CHECK_MSG(!lab_arithmetic(b->lab, s, order, b->ids, &q, out, &e), "%s: %s", op, e.text);
}

/* What one operation of a mixture reads is what the one before it gives: for every expert, chosen or not. */
static void check_experts(Bench *b, const LabStream *s, const Order *order)
{
    const ModelTraits *t = &b->bench.model.traits;
    LabArithmetic moe, gate, up, hidden, down, share;
    double total = 0;
    solve(b, s, order, "moe", 3, -1, &moe);
    CHECK(moe.n_chosen == (size_t)t->route.top_k && moe.operands[0].n == (size_t)t->route.n_experts);
    if (!moe.operands[0].values)
        return;
    for (int64_t x = 0; x < t->route.n_experts; x++) {
        solve(b, s, order, "share", x, -1, &share);
        CHECK_NEAR(share.value, moe.operands[0].values[x], 0);
        total += share.value;
        solve(b, s, order, "expert_down", 3, x, &down);
        CHECK(down.expert == (int)x && down.operands[0].n == t->d_expert);
        if (share.value > 0)
            CHECK_NEAR(down.value, moe.operands[1].values[x], 1e-15);
        for (int64_t i = 0; i < (int64_t)t->d_expert; i += 5) {
            solve(b, s, order, "expert_hidden", i, x, &hidden);
            solve(b, s, order, "expert_gate", i, x, &gate);
            solve(b, s, order, "expert_up", i, x, &up);
            double z = gate.value;
            CHECK_NEAR(hidden.value, down.operands[0].values[i], 0);
            CHECK_NEAR(scalar_of(&hidden, "gate"), z, 1e-15);
            CHECK_NEAR(hidden.value, z / (1 + exp(-z)) * up.value, 1e-14); /* SwiGLU, both models */
            lab_arithmetic_free(&hidden);
            lab_arithmetic_free(&gate);
            lab_arithmetic_free(&up);
        }
        lab_arithmetic_free(&down);
        lab_arithmetic_free(&share);
    }
    if (t->route.normalise)
        CHECK_NEAR(total, 1, 1e-12);
    else
        CHECK(total < 1);
    Error e = {{0}};
    LabQuestion q = {"expert_up", 1, 2, 0, -1, -1, t->route.n_experts};
    CHECK(lab_arithmetic(b->lab, s, order, b->ids, &q, &up, &e) == STATUS_USAGE && strstr(e.text, "\"expert\""));
    lab_arithmetic_free(&moe);
}

/* The expert that every token takes: each number is what the next operation reads, and the mixture is what the stream gets. */
static void check_shared(Bench *b, const LabStream *s, const Order *order)
{
    const ModelTraits *t = &b->bench.model.traits;
    LabArithmetic mixture, moe, down, hidden, gate, up, score, add;
    solve(b, s, order, "mixture", 3, -1, &mixture);
    solve(b, s, order, "moe", 3, -1, &moe);
    solve(b, s, order, "shared_down", 3, -1, &down);
    solve(b, s, order, "mlp_add", 3, -1, &add);
    double share = 1;
    if (t->shared_gate) {
        solve(b, s, order, "shared_score", 0, -1, &score);
        share = 1 / (1 + exp(-score.engine));
        CHECK(score.size == 1 && scalar_of(&mixture, "score") == score.engine && share > 0 && share < 1);
        CHECK_NEAR(scalar_of(&mixture, "share"), share, 0);
        lab_arithmetic_free(&score);
    }
    CHECK(isnan(scalar_of(&mixture, "share")) == !t->shared_gate);
    CHECK(scalar_of(&mixture, "moe") == moe.engine && scalar_of(&mixture, "shared_down") == down.engine && down.engine < 1e9);
    CHECK_NEAR(mixture.value, moe.engine + share * down.engine, 1e-15);
    CHECK(scalar_of(&add, "added") == mixture.engine);
    CHECK(down.n_operands == 2 && down.operands[0].n == t->d_shared);
    for (int64_t i = 0; down.n_operands == 2 && i < (int64_t)t->d_shared; i += 3) {
        solve(b, s, order, "shared_hidden", i, -1, &hidden);
        solve(b, s, order, "shared_gate", i, -1, &gate);
        solve(b, s, order, "shared_up", i, -1, &up);
        double z = gate.engine;
        CHECK(hidden.engine == down.operands[0].values[i] && scalar_of(&hidden, "gate") == z &&
              scalar_of(&hidden, "up") == up.engine);
        CHECK_NEAR(hidden.value, z / (1 + exp(-z)) * up.engine, 1e-14); /* SwiGLU, both models */
        lab_arithmetic_free(&hidden);
        lab_arithmetic_free(&gate);
        lab_arithmetic_free(&up);
    }
    lab_arithmetic_free(&mixture);
    lab_arithmetic_free(&moe);
    lab_arithmetic_free(&down);
    lab_arithmetic_free(&add);
}

static void spell_out(const char *model, void (*check)(Bench *b, const LabStream *s, const Order *order))
{
    Bench b;
    if (open_bench(&b, model, "fast", NULL)) {
        Order intact = make_order(&b, NULL);
        LabStream s;
        if (walk(&b, &intact, &s)) {
            check(&b, &s, &intact);
            lab_stream_close(b.lab, &s);
        }
    }
    close_bench(&b);
}

static void test_experts_spelled_out(void)
{
    spell_out("tests/data/models/mixtral", check_experts);
    spell_out("tests/data/families/qwen3-moe-plain", check_experts);
}

static void test_shared_expert_spelled_out(void)
{
    spell_out("tests/data/families/qwen2-moe", check_shared);        /* with a gate */
    spell_out("tests/data/families/granitemoeshared", check_shared); /* without */
    Bench b;
    Error e = {{0}};
    LabArithmetic a;
    if (open_bench(&b, "tests/data/models/mixtral", "fast", NULL)) {
        Order intact = make_order(&b, NULL);
        LabStream s;
        LabQuestion q = {"mixture", 1, 2, 0, -1, -1, -1};
        if (walk(&b, &intact, &s)) {
            CHECK(lab_arithmetic(b.lab, &s, &intact, b.ids, &q, &a, &e) == STATUS_USAGE && strstr(e.text, "no \"mixture\""));
            lab_stream_close(b.lab, &s);
        }
    }
    close_bench(&b);
}

static void test_arithmetic_agrees_with_the_engine(void)
{
    size_t n = 0;
    for (size_t m = 0; m < n_models; m++)
        ask_all(models[m], "fast", NULL, &n);
    ask_all("tests/data/models/llama", "exact", NULL, &n);
    ask_all("tests/data/models/llama", "stable", "1.attn,0+1,1.mlp", &n);
    ask_all("tests/data/families/gptj", "fast", "0.mlp,1,0.attn", &n);
    printf("        %zu questions\n", n);
    CHECK(n > 5000);
}

int main(void)
{
    list_all_models();
    RUN(test_arithmetic_agrees_with_the_engine);
    RUN(test_experts_spelled_out);
    RUN(test_shared_expert_spelled_out);
    return test_finish();
}
