/* audit_alternatives.c: the list of alternatives by kind of operation. */
#include "experiments/audit_alternatives.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/audit_walk.h"

typedef struct Trial {
    const AuditInputs *in;
    const AuditOp *op;
    Ball *y;
    AuditSearch *found;
    Error *error;
    int status;
} Trial;

static void attempt(Trial *t, const AuditChange *c, const char *format, ...) STRATA_PRINTF(3, 4);

static void attempt(Trial *t, const AuditChange *c, const char *format, ...)
{
    if (t->status)
        return;
    int status = audit_stopped(t->in->stop, t->error);
    if (!status)
        status = audit_op_evaluate(t->in, t->op, c, t->y, t->error);
    if (status == STATUS_USAGE)
        return; /* does not apply here */
    t->status = status;
    if (status)
        return;
    AuditMeasure m;
    audit_op_measure(t->op, t->y, t->in->precision.store, &m);
    AuditAlternative a = {.margin = m.margin};
    va_list args;
    va_start(args, format);
    vsnprintf(a.name, sizeof a.name, format, args);
    va_end(args);
    AuditSearch *s = t->found;
    s->n_tried++;
    size_t at = s->n_nearest;
    while (at > 0 && a.margin < s->nearest[at - 1].margin)
        at--;
    if (at == AUDIT_NEAREST)
        return;
    size_t last = s->n_nearest < AUDIT_NEAREST ? s->n_nearest++ : AUDIT_NEAREST - 1;
    memmove(&s->nearest[at + 1], &s->nearest[at], (last - at) * sizeof s->nearest[0]);
    s->nearest[at] = a;
}

static AuditChange base(const Trial *t)
{
    AuditChange c;
    audit_change_begin(t->in, t->op, &c);
    return c;
}

#define ATTEMPT(t, change, ...) \
    do { \
        AuditChange c = base(t); \
        change; \
        attempt(t, &c, __VA_ARGS__); \
    } while (0)

/* The epsilon that the row with the smallest mean square shows: y = s x g, s = 1 / sqrt(mean square + epsilon). */
static double fit_epsilon(Trial *t)
{
    AuditChange c = base(t);
    c.traits.norm_eps = c.traits.qk_norm_eps = 0;
    c.no_bias = true;
    if (t->in->model->traits.norm_kind != NORM_RMS || t->op->qk || audit_op_evaluate(t->in, t->op, &c, t->y, t->error))
        return NAN;
    size_t n = t->op->out->cols;
    double least = INFINITY, epsilon = NAN;
    for (size_t r = 0; r < t->op->out->rows; r++) {
        double ms = 0, with = 0, square = 0;
        for (size_t i = 0; i < n; i++) {
            double x = t->op->in[0]->v[r * n + i], y0 = t->y[r * n + i].c;
            ms += x * x / (double)n;
            with += t->op->out->v[r * n + i] * y0;
            square += y0 * y0;
        }
        if (ms > 0 && ms < least && with > 0) {
            least = ms;
            epsilon = ms * (square / with * (square / with) - 1);
        }
    }
    return epsilon;
}

static void try_norm(Trial *t)
{
    static const double epsilons[] = {1e-5, 1e-6, 1e-8, 1e-12, 1e-7, 1e-4, 1e-3, 1e-2, 0};
    const char *key = t->in->model->traits.norm_kind == NORM_RMS ? "rms_norm_eps" : "layer_norm_eps";
    for (size_t i = 0; i < sizeof epsilons / sizeof epsilons[0]; i++)
        if ((float)epsilons[i] != (t->op->qk ? t->in->model->traits.qk_norm_eps : t->in->model->traits.norm_eps))
            ATTEMPT(t, c.traits.norm_eps = c.traits.qk_norm_eps = (float)epsilons[i], "%s %g", key, epsilons[i]);
    ATTEMPT(t,
            (c.how.norm_gain_wide = c.traits.norm_weight_offset != 0,
             c.traits.norm_weight_offset = c.traits.norm_weight_offset != 0 ? 0 : 1),
            "gain %s one", t->in->model->traits.norm_weight_offset != 0 ? "without" : "plus");
    ATTEMPT(t, c.how.norm_gain_wide = !c.how.norm_gain_wide, "rounded %s",
            t->in->how.norm_gain_wide ? "before the gain instead of after it" : "after the gain instead of before it");
    ATTEMPT(t, (c.how.norm_all_narrow = true, c.how.root_narrow = true), "norm computed in bf16 throughout");
    ATTEMPT(t, c.how.norm_all_narrow = true, "norm computed in bf16, its reciprocal root rounded once");
    ATTEMPT(t, c.traits.norm_kind = c.traits.norm_kind == NORM_RMS ? NORM_LAYER : NORM_RMS, "%s",
            t->in->model->traits.norm_kind == NORM_RMS ? "LayerNorm (mean subtracted)" : "RMSNorm (mean not subtracted)");
    ATTEMPT(t, c.no_gain = true, "no gain");
    ATTEMPT(t, c.no_bias = true, "missing bias");
    ATTEMPT(t, c.no_norm = true, "no norm");
    if (t->op->qk) {
        ATTEMPT(t, c.group = (size_t)c.traits.head_dim, "each head normed for itself");
        ATTEMPT(t, c.group_whole = true, "all heads normed as one");
    }
    ATTEMPT(t, c.how.gain_plus_one_narrow = !c.how.gain_plus_one_narrow, "1 + gain %srounded",
            t->in->how.gain_plus_one_narrow ? "not " : "");
    double epsilon = fit_epsilon(t);
    if (epsilon > 0) {
        char text[32];
        snprintf(text, sizeof text, "%.2g", epsilon);
        float rounded = 0;
        sscanf(text, "%f", &rounded);
        ATTEMPT(t, c.traits.norm_eps = c.traits.qk_norm_eps = rounded, "%s %s (fitted)", key, text);
    }
}

static void try_linear(Trial *t)
{
    ATTEMPT(t, c.no_bias = true, "missing bias");
    ATTEMPT(t, c.transposed = true, "transposed weight");
    ATTEMPT(t, c.swapped = true, "%s", t->op->weight == ROLE_GATE_UP ? "gate and up exchanged" : "key and value exchanged");
    ATTEMPT(t, c.heads_regrouped = true, "rows in the other pairing's order");
    ATTEMPT(t, c.layer_shift = 1, "weight of the next layer");
    ATTEMPT(t, c.layer_shift = -1, "weight of the layer before");
    ATTEMPT(t, c.bias_factor = 2, "bias added twice");
    ATTEMPT(t, c.how.bias_apart = !c.how.bias_apart, "bias %s",
            t->in->how.bias_apart ? "added before the only rounding" : "added to the rounded product");
    if (t->op->weight == ROLE_HEAD) {
        ATTEMPT(t, c.traits.logit_softcap = 0, "no logit softcap");
        ATTEMPT(t, c.traits.logit_scale = 1, "no logit scale");
    }
}

/* The base that the second pair of the first head shows between positions 0 and 1: its angle is base^(-2/R). */
static double fit_base(const Trial *t, const AuditChange *c)
{
    size_t dims = (size_t)c->rope.rotary_dims, cols = t->op->out->cols;
    if (t->op->kind != AUDIT_ROPE || dims < 4 || t->op->out->rows < 2)
        return NAN;
    size_t first = c->rope.style == ROPE_HALF ? 1 : 2, second = c->rope.style == ROPE_HALF ? 1 + dims / 2 : 3;
    const double *x = t->op->in[0]->v + cols, *y = t->op->out->v + cols;
    double angle = atan2(y[second] * x[first] - y[first] * x[second], y[first] * x[first] + y[second] * x[second]);
    return angle > 0 && angle < 1 ? pow(angle, -(double)dims / 2) : NAN;
}

static void try_rope(Trial *t)
{
    static const double bases[] = {1e4, 5e5, 1e6, 1e5, 1e3, 5e3, 2e4, 4e4, 5e4, 2.5e5, 2e6, 5e6, 1e7, 1e8};
    AuditChange now = base(t);
    const RopeTraits *r = &now.rope;
    const ModelTraits *traits = &t->in->model->traits;
    for (int i = 0; i < traits->n_ropes; i++) /* models whose layers rotate in several ways */
        if (!now.rotates || i != traits->layers[t->op->layer].rope)
            ATTEMPT(t, (c.rope = traits->ropes[i], c.rotates = true),
                    now.rotates ? "rotated as other layers are" : "rotated, as other layers are");
    if (traits->qkv_clip > 0)
        ATTEMPT(t, c.traits.qkv_clip = 0, "queries, keys and values not clipped");
    if (!now.rotates)
        return;
    for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++)
        if (bases[i] != r->theta)
            ATTEMPT(t, c.rope.theta = bases[i], "rope_theta %g", bases[i]);
    ATTEMPT(t, c.rope.style = c.rope.style == ROPE_HALF ? ROPE_INTERLEAVED : ROPE_HALF, "pairs %s",
            r->style == ROPE_HALF ? "(2i, 2i+1)" : "(i, i + R/2)");
    if (r->kind != ROPE_DEFAULT || r->freq_factors)
        ATTEMPT(t, (c.rope.kind = ROPE_DEFAULT, c.rope.freq_factors = NULL, c.rope.attention_factor = 1), "no rope scaling");
    static const double factors[] = {2, 4, 8, 16, 32};
    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        ATTEMPT(t, (c.rope.kind = ROPE_LINEAR, c.rope.factor = factors[i], c.rope.attention_factor = 1),
                "linear rope scaling, factor %g", factors[i]);
        if (r->kind == ROPE_LLAMA3 || r->kind == ROPE_YARN)
            ATTEMPT(t, c.rope.factor = factors[i], "rope scaling factor %g", factors[i]);
    }
    if (r->kind == ROPE_YARN) {
        ATTEMPT(t, c.rope.attention_factor = 1, "yarn without its attention factor");
        ATTEMPT(t, c.rope.truncate = !c.rope.truncate, "yarn's correction range %s", r->truncate ? "not rounded" : "rounded");
    }
    ATTEMPT(t, c.position_shift = 1, "positions counted from 1");
    ATTEMPT(t, c.backwards = true, "rotated by the negative angle");
    ATTEMPT(t, c.rotates = false, "no rotation");
    ATTEMPT(t, (c.how.rope_once = c.how.rope_wide = false), "table, products and sums of the rotation each rounded to bf16");
    ATTEMPT(t, (c.how.rope_once = true, c.how.rope_wide = false), "rotation rounded once, its table in bf16");
    ATTEMPT(t, c.how.rope_wide = true, "rotation and its table in f32, rounded once");
    ATTEMPT(t, c.rope_arithmetic = c.rope_arithmetic == ROPE_HF32 ? ROPE_REAL : ROPE_HF32, "--rope %s",
            now.rope_arithmetic == ROPE_HF32 ? "real" : "hf32");
    for (int dims = 2; dims <= now.traits.head_dim; dims += 2)
        if (dims != r->rotary_dims && !r->freq_factors)
            ATTEMPT(t, c.rope.rotary_dims = dims, "%d rotary dims instead of %d", dims, r->rotary_dims);
    double fitted = fit_base(t, &now);
    if (fitted > 1 && fitted < 1e12) {
        char text[32];
        double rounded = fitted;
        snprintf(text, sizeof text, "%.3g", fitted);
        sscanf(text, "%lf", &rounded);
        ATTEMPT(t, c.rope.theta = rounded, "rope_theta %g (fitted)", rounded);
    }
}

static void try_mix(Trial *t)
{
    AuditChange now = base(t);
    double dh = now.traits.head_dim, d = (double)now.traits.d_model;
    const struct {
        const char *name;
        double scale;
    } scales[] = {{"scale 1/sqrt(head dim)", 1 / sqrt(dh)},
                  {"scale 1", 1},
                  {"scale 1/head dim", 1 / dh},
                  {"scale 1/sqrt(hidden size)", 1 / sqrt(d)},
                  {"scale sqrt(head dim)", sqrt(dh)},
                  {"scale 1/sqrt(half the head dim)", sqrt(2 / dh)}};
    if (now.window > 0) {
        ATTEMPT(t, c.window++, "window %d instead of %d", now.window + 1, now.window);
        if (now.window > 1)
            ATTEMPT(t, c.window--, "window %d instead of %d", now.window - 1, now.window);
        ATTEMPT(t, c.window = 0, "no window");
    }
    for (int w = 1; w < (int)t->op->out->rows && w <= 64; w++) {
        if (now.window == 0)
            ATTEMPT(t, c.window = w, "window %d instead of none", w);
        else if (abs(w - now.window) > 1)
            ATTEMPT(t, c.window = w, "window %d instead of %d", w, now.window);
    }
    ATTEMPT(t, c.not_causal = true, "no causal mask");
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++)
        if ((float)scales[i].scale != now.traits.attn_scale)
            ATTEMPT(t, c.traits.attn_scale = (float)scales[i].scale, "%s", scales[i].name);
    if (now.traits.n_kv_heads != now.traits.n_heads)
        ATTEMPT(t, c.heads_interleaved = true, "head h reads key/value head h mod K");
    if (now.traits.attn_softcap > 0)
        ATTEMPT(t, c.traits.attn_softcap = 0, "no score softcap");
    else
        ATTEMPT(t, c.traits.attn_softcap = 50, "score softcap 50");
    if (now.traits.alibi_slopes) {
        ATTEMPT(t, c.no_alibi = true, "no ALiBi");
        ATTEMPT(t, c.alibi_twice = true, "ALiBi added twice");
        ATTEMPT(t, c.traits.alibi_bf16 = !c.traits.alibi_bf16, "ALiBi %s",
                now.traits.alibi_bf16 ? "not rounded to bf16" : "as Falcon has it");
    }
    if (now.traits.qkv_clip > 0)
        ATTEMPT(t, c.traits.qkv_clip = 0, "queries, keys and values not clipped");
    ATTEMPT(t, c.how.softmax_wide = true, "probabilities not rounded");
    ATTEMPT(t, c.how.softmax_narrow = true, "softmax in bf16");
    ATTEMPT(t, c.how.scores_wide = true, "scores in f32");
    ATTEMPT(t, (c.how.scores_wide = true, c.how.softmax_wide = true), "attention in f32, rounded once");
    if (!t->op->rotated)
        try_rope(t);
}

static void try_activation(Trial *t)
{
    static const char *const names[] = {"silu", "gelu_tanh", "gelu_erf", "relu", "relu squared"};
    if (t->op->in[1]) {
        ATTEMPT(t, c.swapped = true, "gate and up exchanged");
        ATTEMPT(t, c.no_product = true, "not multiplied by up");
        ATTEMPT(t, c.how.activation_wide = true, "activation not rounded before the product");
    }
    for (int a = ACT_SILU; a <= ACT_RELU2; a++)
        if ((ActKind)a != t->in->model->traits.activation)
            ATTEMPT(t, c.traits.activation = (ActKind)a, "activation %s", names[a]);
    ATTEMPT(t, c.no_activation = true, "no activation");
}

static void try_mixture(Trial *t)
{
    AuditChange now = base(t);
    ATTEMPT(t, c.traits.route.normalise = !c.traits.route.normalise, "router weights %snormalised",
            now.traits.route.normalise ? "not " : "");
    ATTEMPT(t, c.traits.route.top_k++, "%d experts a token", now.traits.route.top_k + 1);
    ATTEMPT(t, c.traits.route.top_k--, "%d expert a token", now.traits.route.top_k - 1);
    ATTEMPT(t, c.swapped = true, "gate and up exchanged");
    ATTEMPT(t, c.how.share_narrow = !c.how.share_narrow, "router weights %srounded to bf16",
            t->in->how.share_narrow ? "not " : "");
    ATTEMPT(t, c.how.activation_wide = true, "activation not rounded before the product");
    for (int a = ACT_SILU; a <= ACT_RELU; a++)
        if ((ActKind)a != now.traits.activation)
            ATTEMPT(t, c.traits.activation = (ActKind)a, "another activation");
}

static void try_gate(Trial *t)
{
    ATTEMPT(t, c.no_gate = true, "shared expert not gated");
    ATTEMPT(t, c.no_shared = true, "no shared expert");
}

static void try_sum(Trial *t)
{
    ATTEMPT(t, c.no_residual = true, "missing residual");
    ATTEMPT(t, c.product_factor = 0, "the half layer's output is not added");
    ATTEMPT(t, c.product_factor = 2, "the half layer's output is added twice");
    ATTEMPT(t, c.product_factor = -1, "the half layer's output is subtracted");
    if (t->in->model->traits.residual_multiplier != 1)
        ATTEMPT(t, c.traits.residual_multiplier = 1, "no residual multiplier");
}

static void try_embedding(Trial *t)
{
    ATTEMPT(t, c.position_shift = 1, "positions counted from 1");
    ATTEMPT(t, c.traits.learned_positions = false, "no learned positions");
    ATTEMPT(t, c.traits.embedding_multiplier = 1, "no embedding multiplier");
    ATTEMPT(t, c.traits.embedding_multiplier = (float)sqrt((double)c.traits.d_model), "embedding times sqrt(hidden size)");
}

int audit_alternatives_try(const AuditInputs *in, const AuditOp *op, Ball *y, AuditSearch *out, Error *e)
{
    *out = (AuditSearch){.n_nearest = 0};
    Trial t = {.in = in, .op = op, .y = y, .found = out, .error = e};
    switch (op->kind) {
    case AUDIT_EMBED:
        try_embedding(&t);
        break;
    case AUDIT_NORM:
        try_norm(&t);
        break;
    case AUDIT_LINEAR:
        try_linear(&t);
        break;
    case AUDIT_ROPE:
        try_rope(&t);
        break;
    case AUDIT_MIX:
        try_mix(&t);
        break;
    case AUDIT_ACT:
        try_activation(&t);
        break;
    case AUDIT_ADD:
        try_sum(&t);
        break;
    case AUDIT_GATE:
        try_gate(&t);
        break;
    case AUDIT_MOE:
        try_mixture(&t);
        break;
    case AUDIT_COPY:
        break;
    }
    return t.status;
}
