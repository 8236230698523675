/* audit_math.c: see audit_math.h. The C library's exp and tanh serve here: their errors are 2^-29 of the bounds. */
#include "experiments/audit_math.h"

#include <math.h>

#include "kernels/convert.h"

static const double PI = 3.14159265358979323846;

double audit_unit(DType store)
{
    return store == DTYPE_F64 ? 0x1p-53 : 0x1p-24;
}

double audit_gamma(size_t n, double u)
{
    double nu = (double)n * u;
    return nu < 0.5 ? nu / (1 - nu) : 1;
}

/* Relative error of a sum of n positive terms. */
static double positive_sum(size_t n, double u)
{
    return (sqrt((double)n) + 8) * u;
}

/* Through f32 first would round twice: the f64 value is cut to 8 bits at once. */
double audit_to_bf16(double x)
{
    if (x == 0 || !isfinite(x))
        return x;
    int exponent;
    frexp(x, &exponent);
    double spacing = ldexp(1, exponent - 8 > -133 ? exponent - 8 : -133);
    return nearbyint(x / spacing) * spacing;
}

double audit_half_ulp(double y, DType store)
{
    int digits = store == DTYPE_BF16  ? 8
                 : store == DTYPE_F32 ? 24
                                      : 53,
        least = store == DTYPE_F64 ? -1073 : -149; /* half of f64's least spacing is no number */
    if (store == DTYPE_BF16)
        least = -133;
    int exponent = least;
    if (y != 0)
        frexp(y, &exponent);
    exponent -= digits;
    return ldexp(0.5, exponent > least ? exponent : least);
}

/* The error of one correctly rounded operation of the arithmetic. */
static Ball computed(Ball b, DType store)
{
    b.r += audit_unit(store) * (fabs(b.c) + b.r) + 0x1p-150;
    return b;
}

static Ball narrowed(Ball b, DType store)
{
    if (store != DTYPE_BF16)
        return b;
    double low = audit_to_bf16(b.c - b.r), high = audit_to_bf16(b.c + b.r);
    return (Ball){0.5 * (low + high), 0.5 * (high - low)};
}

Ball audit_round(Ball b, DType store)
{
    return narrowed(computed(b, store), store);
}

static Ball product(Ball a, Ball b)
{
    return (Ball){a.c * b.c, fabs(a.c) * b.r + a.r * fabs(b.c) + a.r * b.r};
}

static Ball sum(Ball a, Ball b)
{
    return (Ball){a.c + b.c, a.r + b.r};
}

static Ball times(Ball a, double factor)
{
    return (Ball){a.c * factor, a.r * fabs(factor)};
}

static Ball point(double x)
{
    return (Ball){x, 0};
}

double audit_stored(double x, DType store)
{
    return store == DTYPE_BF16 ? audit_to_bf16(x) : store == DTYPE_F32 ? (double)(float)x : x;
}

double audit_multiplier(float value, DType store)
{
    return store == DTYPE_BF16 ? audit_to_bf16((double)value) : (double)value;
}

Ball audit_scale(Ball b, double factor)
{
    return times(b, factor);
}

Ball audit_softcap(Ball b, double cap, AuditPrecision p)
{
    Ball inner = audit_round(times(b, 1 / cap), p.store);
    Ball t = narrowed((Ball){tanh(inner.c), inner.r + 8 * audit_unit(p.store)}, p.store);
    return computed(times(t, cap), p.store);
}

void audit_linear(Ball *y, const Ball *x, const double *w, size_t n, size_t k, AuditPrecision p)
{
    double gamma = audit_gamma(k, audit_unit(p.store));
    for (size_t i = 0; i < n; i++) {
        const double *row = w + i * k;
        double dot = 0, size = 0, spread = 0;
        for (size_t j = 0; j < k; j++) {
            dot += row[j] * x[j].c;
            size += fabs(row[j] * x[j].c);
            spread += fabs(row[j]) * x[j].r;
        }
        y[i] = (Ball){dot, gamma * (size + spread) + spread};
    }
}

void audit_linear_output(Ball *y, size_t ld, const double *x, size_t n_rows, const double *w, size_t k, const double *bias,
                         double bias_factor, DType store, const AuditRoundings *how)
{
    bool apart = bias && how && how->bias_apart;
    double gamma = audit_gamma(k + (bias && !apart ? 1 : 0), audit_unit(store)),
           first = bias && !apart ? bias_factor * *bias : 0;
    for (size_t t = 0; t < n_rows; t++, x += k) {
        double dot[4] = {first}, size[4] = {fabs(first)}; /* four chains, so that one product need not wait for another */
        size_t j = 0;
        for (; j + 4 <= k; j += 4)
            for (size_t c = 0; c < 4; c++) {
                double term = w[j + c] * x[j + c];
                dot[c] += term;
                size[c] += fabs(term);
            }
        for (; j < k; j++) {
            dot[0] += w[j] * x[j];
            size[0] += fabs(w[j] * x[j]);
        }
        y[t * ld] = (Ball){(dot[0] + dot[1]) + (dot[2] + dot[3]), gamma * ((size[0] + size[1]) + (size[2] + size[3]))};
        if (apart)
            y[t * ld] = computed(sum(audit_round(y[t * ld], store), point(bias_factor * *bias)), store);
    }
}

/* Every step of the root mean square rounded to bf16: what code does that forgets to widen first. */
static void norm_narrow(Ball *y, const double *x, size_t n, const AuditNorm *norm, AuditPrecision p, bool root_narrow)
{
    double mean = 0, u = audit_unit(p.store);
    for (size_t i = 0; i < n; i++)
        mean += audit_round(point(x[i] * x[i]), p.store).c;
    Ball ms = {mean / (double)n, mean / (double)n * positive_sum(n, u)};
    ms = audit_round(sum(audit_round(ms, p.store), point(norm->eps)), p.store);
    Ball root = {sqrt(ms.c), sqrt(ms.c) * (0.51 * ms.r / ms.c + 2 * u)};
    if (root_narrow)
        root = audit_round(root, p.store);
    Ball scale = {1 / root.c, root.r / (root.c * (root.c - root.r))};
    scale = audit_round(scale, p.store);
    for (size_t i = 0; i < n; i++) {
        double gain = (norm->gain ? norm->gain[i] : 1) + norm->offset;
        y[i] = computed(times(audit_round(times(scale, x[i]), p.store), gain), p.store);
    }
}

void audit_norm(Ball *y, const double *x, size_t n, const AuditNorm *norm, AuditPrecision p, const AuditRoundings *how)
{
    if (how->norm_all_narrow && norm->kind == NORM_RMS) {
        norm_narrow(y, x, n, norm, p, how->root_narrow);
        return;
    }
    double u = audit_unit(p.store), mean = 0, size = 0, variance = 0, g = positive_sum(n, u);
    if (norm->kind == NORM_LAYER) {
        for (size_t i = 0; i < n; i++) {
            mean += x[i];
            size += fabs(x[i]);
        }
        mean /= (double)n;
        size /= (double)n;
    }
    double mean_error = g * size;
    for (size_t i = 0; i < n; i++)
        variance += (x[i] - mean) * (x[i] - mean);
    variance /= (double)n;
    double inside = variance + norm->eps, scale = 1 / sqrt(inside);
    /* a mean off by e moves the variance by e^2 only, but one-pass formulas lose u of the squared mean */
    double relative = 0.51 * (g * variance + 8 * u * mean * mean) / inside + 3 * u;
    bool wide = norm->kind == NORM_LAYER || how->norm_gain_wide || norm->offset != 0;
    for (size_t i = 0; i < n; i++) {
        double gain = (norm->gain ? norm->gain[i] : 1) + norm->offset, centred = x[i] - mean;
        double off = norm->kind == NORM_LAYER ? mean_error + 2 * u * (fabs(x[i]) + fabs(mean)) : 0;
        Ball normal = {centred * scale, scale * (fabs(centred) * relative + off * (1 + relative))};
        normal = wide ? computed(normal, p.store) : audit_round(normal, p.store);
        y[i] = computed(times(normal, gain), p.store);
        if (norm->offset != 0)
            y[i].r += u * fabs(y[i].c);
        if (norm->bias)
            y[i] = computed(sum(y[i], point(norm->bias[i])), p.store);
    }
}

void audit_rope(Ball *y, const double *x, size_t head_dim, size_t rotary_dims, RopeStyle style, const float *cosines,
                const float *sines, const double *angles, AuditPrecision p, const AuditRoundings *how)
{
    /* Powers, reciprocals and products that give an angle in f32 err by up to 6 u of it; cosine and sine themselves by 2 u. */
    double table_unit = p.exact_table ? 0 : 0x1p-24;
    DType table = how->rope_wide && p.store == DTYPE_BF16 ? DTYPE_F32 : p.store;
    DType store = how->rope_once && p.store == DTYPE_BF16 ? DTYPE_F32 : table;
    for (size_t i = rotary_dims; i < head_dim; i++)
        y[i] = point(x[i]);
    for (size_t i = 0; i < rotary_dims / 2; i++) {
        size_t first = style == ROPE_HALF ? i : 2 * i, second = style == ROPE_HALF ? i + rotary_dims / 2 : 2 * i + 1;
        double off = 6 * table_unit * angles[i], c = (double)cosines[i], s = (double)sines[i];
        Ball cosine = narrowed((Ball){c, off * (fabs(s) + off) + 2 * table_unit}, table);
        Ball sine = narrowed((Ball){s, off * (fabs(c) + off) + 2 * table_unit}, table);
        Ball a = point(x[first]), b = point(x[second]), minus = point(-x[second]);
        y[first] = computed(sum(audit_round(product(a, cosine), store), audit_round(product(minus, sine), store)), store);
        y[second] = computed(sum(audit_round(product(b, cosine), store), audit_round(product(a, sine), store)), store);
    }
}

static Ball score(const Ball *q, const Ball *k, const AuditAttention *a, AuditPrecision p, const AuditRoundings *how)
{
    double dot = 0, size = 0, spread = 0, u = audit_unit(p.store);
    for (int i = 0; i < a->head_dim; i++) {
        Ball query = how->query_scaled ? audit_round(times(q[i], a->scale), p.store) : q[i];
        Ball term = product(query, k[i]);
        dot += term.c;
        size += fabs(term.c);
        spread += term.r;
    }
    bool wide = how->scores_wide || (a->alibi && how->alibi_fused);
    DType store = wide && p.store == DTYPE_BF16 ? DTYPE_F32 : p.store;
    Ball s = {dot, audit_gamma((size_t)a->head_dim, u) * (size + spread) + spread};
    if (how->query_scaled)
        return audit_round(s, store);
    s = audit_round(times(narrowed(s, store), a->scale), store);
    if (a->softcap > 0)
        s = narrowed(audit_softcap(s, a->softcap, (AuditPrecision){.store = store}), store);
    return s;
}

double audit_alibi(const ModelTraits *t, int h, size_t query, size_t key)
{
    double slope = (double)t->alibi_slopes[h];
    if (!t->alibi_bf16)
        return slope * ((double)key - (double)query);
    return (double)(t->attn_scale * (float)audit_to_bf16(audit_to_bf16(slope) * audit_to_bf16((double)key)));
}

/* The score with head h's ALiBi. Where keys' own positions are multiplied the shift cancels in softmax, but the rounding is of the
 * larger number. */
static Ball with_alibi(Ball s, const AuditAttention *a, int h, size_t query, size_t key, AuditPrecision p,
                       const AuditRoundings *how)
{
    const ModelTraits *t = a->alibi;
    double slope = (double)t->alibi_slopes[h];
    DType store = how->alibi_wide && p.store == DTYPE_BF16 ? DTYPE_F32 : p.store;
    if (how->alibi_fused && p.store == DTYPE_BF16)
        return audit_round(sum(s, point(a->alibi_factor * audit_to_bf16(slope * (double)key))), store);
    double rounding = t->alibi_bf16 ? 0 : 2 * audit_unit(p.store) * fabs(slope) * (double)(query + 1);
    double bias = audit_alibi(t, h, query, key);
    bias = how->alibi_narrow ? audit_stored(bias, p.store) : bias;
    return audit_round(sum(s, times((Ball){bias, rounding}, a->alibi_factor)), store);
}

/* Softmax of n scores in place, from their balls. */
static void softmax(Ball *s, size_t n, AuditPrecision p, const AuditRoundings *how)
{
    double most = -INFINITY, total = 0, inflated = 0, u = audit_unit(p.store);
    for (size_t j = 0; j < n; j++)
        most = s[j].c > most ? s[j].c : most;
    DType inner = how->softmax_narrow ? p.store : DTYPE_F32;
    for (size_t j = 0; j < n; j++) {
        double e = exp(narrowed((Ball){s[j].c - most, 0}, inner).c);
        if (inner == DTYPE_BF16)
            e = audit_to_bf16(e);
        total += e;
        inflated += e * exp(s[j].r);
    }
    double shift = log(inflated / total), divisor = inner == DTYPE_BF16 ? audit_to_bf16(total) : total;
    for (size_t j = 0; j < n; j++) {
        double away = fabs(s[j].c - most), e = exp(narrowed((Ball){s[j].c - most, 0}, inner).c);
        if (inner == DTYPE_BF16)
            e = audit_to_bf16(e);
        double relative = expm1(s[j].r + shift) + (away + 8) * u + positive_sum(n, u);
        Ball share = {e / divisor, e / divisor * relative};
        if (how->softmax_somewhere && p.store == DTYPE_BF16) /* half the spacing of 8 bits */
            s[j] = (Ball){share.c, share.c * (relative + 0x1p-8)};
        else
            s[j] = how->softmax_wide ? share : audit_round(share, p.store);
    }
}

void audit_attention(Ball *out, const Ball *q, const Ball *k, const double *v, size_t n_tokens, const AuditAttention *a,
                     AuditPrecision p, const AuditRoundings *how, Ball *scratch)
{
    size_t dh = (size_t)a->head_dim, q_cols = (size_t)a->n_heads * dh, kv_cols = (size_t)a->n_kv_heads * dh;
    double u = audit_unit(p.store);
    for (size_t t = 0; t < n_tokens; t++) {
        size_t first = a->window > 0 && t + 1 > (size_t)a->window ? t + 1 - (size_t)a->window : 0;
        size_t end = a->not_causal ? n_tokens : t + 1, n = end - first;
        double gamma = audit_gamma(n, u) + 3 * u;
        for (int h = 0; h < a->n_heads; h++) {
            int group = a->heads_interleaved ? h % a->n_kv_heads : h / (a->n_heads / a->n_kv_heads);
            size_t kv = (size_t)group * dh;
            const Ball *query = q + t * q_cols + (size_t)h * dh;
            for (size_t j = 0; j < n; j++) {
                scratch[j] = score(query, k + (first + j) * kv_cols + kv, a, p, how);
                if (a->alibi)
                    scratch[j] = with_alibi(scratch[j], a, h, t, first + j, p, how);
            }
            softmax(scratch, n, p, how);
            for (size_t i = 0; i < dh; i++) {
                double c = 0, size = 0, spread = 0;
                for (size_t j = 0; j < n; j++) {
                    double value = v[(first + j) * kv_cols + kv + i];
                    c += scratch[j].c * value;
                    size += fabs(scratch[j].c * value);
                    spread += scratch[j].r * fabs(value);
                }
                out[t * q_cols + (size_t)h * dh + i] = (Ball){c, gamma * (size + spread) + spread};
            }
        }
    }
}

/* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) as torch operations one by one, each stored. */
static Ball gelu_steps(Ball x, DType store)
{
    Ball cube = audit_round(product(audit_round(product(x, x), store), x), store); /* torch's power of 3 is two products */
    Ball inner = audit_round(sum(x, audit_round(times(cube, 0.044715), store)), store);
    inner = audit_round(times(inner, sqrt(2 / PI)), store);
    Ball tanh_of = {tanh(inner.c), inner.r + 4 * audit_unit(store)};
    Ball one_more = audit_round(sum(narrowed(tanh_of, store), point(1)), store);
    return computed(product(audit_round(times(x, 0.5), store), one_more), store);
}

/* x 0.5 (1 + tanh(0.79788456 x (1 + 0.044715 x x))), likewise. */
static Ball gelu_factored(Ball x, DType store)
{
    Ball square = audit_round(product(audit_round(times(x, 0.044715), store), x), store);
    Ball inner =
        audit_round(product(audit_round(times(x, 0.79788456), store), audit_round(sum(square, point(1)), store)), store);
    Ball tanh_of = {tanh(inner.c), inner.r + 4 * audit_unit(store)};
    Ball one_more = audit_round(sum(narrowed(tanh_of, store), point(1)), store);
    return computed(product(audit_round(times(x, 0.5), store), one_more), store);
}

double audit_activation(double x, ActKind act)
{
    switch (act) {
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / PI) * (x + 0.044715 * x * x * x)));
    case ACT_GELU_ERF:
        return 0.5 * x * (1 + erf(x / sqrt(2.0)));
    case ACT_RELU:
        return x > 0 ? x : 0;
    case ACT_RELU2:
        return x > 0 ? x * x : 0;
    }
    return NAN;
}

Ball audit_activate(Ball x, ActKind act, AuditPrecision p, const AuditRoundings *how)
{
    if (act == ACT_GELU_TANH && !how->activation_fused)
        return how->gelu_factored ? gelu_factored(x, p.store) : gelu_steps(x, p.store);
    double u = audit_unit(p.store), c = audit_activation(x.c, act);
    double slope = act == ACT_RELU2 ? 2 * (fabs(x.c) + x.r) : 1.2; /* of SiLU and both GELUs at most 1.13 */
    double size = act == ACT_SILU || act == ACT_RELU2 ? fabs(c) : act == ACT_RELU ? 0 : fabs(x.c);
    return (Ball){c, 8 * u * size + slope * x.r + 0x1p-150};
}

Ball audit_glu(Ball gate, Ball up, ActKind act, AuditPrecision p, const AuditRoundings *how)
{
    Ball active = audit_activate(gate, act, p, how);
    active = how->activation_wide ? computed(active, p.store) : audit_round(active, p.store);
    return computed(product(active, up), p.store);
}

Ball audit_add(Ball a, Ball b, double scale, AuditPrecision p)
{
    Ball term = scale == 1 ? b : audit_round(times(b, scale), p.store);
    return computed(sum(a, term), p.store);
}

Ball audit_add_gated(double a, double b, const double *gate, AuditPrecision p)
{
    Ball added = {b, 0};
    if (gate) {
        double sigmoid = 1 / (1 + exp(-*gate));
        Ball share = audit_round((Ball){sigmoid, 8 * audit_unit(p.store) * sigmoid}, p.store);
        added = audit_round((Ball){share.c * b, share.r * fabs(b)}, p.store);
    }
    return audit_add((Ball){a, 0}, added, 1, p);
}

bool audit_route(Ball *share, const double *logits, int n, int top_k, bool normalise, AuditPrecision p,
                 const AuditRoundings *how)
{
    double most = logits[0], all = 0, chosen = 0, least = INFINITY, next = -INFINITY, u = audit_unit(p.store);
    for (int i = 1; i < n; i++)
        most = logits[i] > most ? logits[i] : most;
    for (int i = 0; i < n; i++) {
        int better = 0;
        for (int j = 0; j < n; j++)
            better += (j < i && logits[j] == logits[i]) || logits[j] > logits[i];
        double e = exp(logits[i] - most);
        all += e;
        share[i] = point(better < top_k ? e : 0);
        chosen += share[i].c;
        if (better < top_k)
            least = logits[i] < least ? logits[i] : least;
        else
            next = logits[i] > next ? logits[i] : next;
    }
    for (int i = 0; i < n; i++) {
        double c = share[i].c / (normalise ? chosen : all);
        share[i] = (Ball){c, c * ((fabs(logits[i] - most) + 16) * u + 2 * positive_sum((size_t)n, u))};
        if (how->share_narrow)
            share[i] = narrowed(share[i], p.store);
        if (p.store == DTYPE_F64) { /* f32 in every table, see kernels/exact/README.md */
            double low = (double)(float)(share[i].c - share[i].r), high = (double)(float)(share[i].c + share[i].r);
            share[i] = (Ball){0.5 * (low + high), 0.5 * (high - low)};
        }
    }
    return least != next;
}
