/* audit_backward.c: the transposed derivative of every operation of a decoder in f64, by plain loops:
 *   y = W x + b            x' += W^T y'
 *   y = (x - m) s g + b    h = g y', n = (x - m) s: x' += s (h - [mean h] - n mean(h n)); the bracket for LayerNorm only
 *   rotation by c, s       x1' += c y1' + s y2', x2' += c y2' - s y1'
 *   softmax attention      p' = y' . v, z' = p (p' - p . p'), q' += f' scale z' k, k' += f' scale z' q, v' += p y'
 *   act(g) u               g' += act'(g) u y', u' += act(g) y'
 *   mixture                through each chosen expert, and through its share to the router's logits
 * x' means the derivative of the loss by x. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/audit_adjoint.h"
#include "experiments/audit_weights.h"

static const double PI = 3.14159265358979323846;

static int out_of_memory(const AuditOp *op, Error *e)
{
    return error_set(e, STATUS_FAILED, "audit: out of memory for the derivative of %s", op->out->name);
}

typedef struct ProductTask {
    const double *w, *out_bar;
    double *in_bar;
    size_t n, k;
    double factor;
} ProductTask;

static void product_row(void *arg, size_t t, int thread)
{
    const ProductTask *a = arg;
    (void)thread;
    for (size_t i = 0; i < a->n; i++) {
        double g = a->factor * a->out_bar[t * a->n + i];
        for (size_t j = 0; g != 0 && j < a->k; j++)
            a->in_bar[t * a->k + j] += g * a->w[i * a->k + j];
    }
}

static int linear(const AuditInputs *in, const AuditOp *op, const double *out_bar, double *const in_bar[3], Error *e)
{
    const ModelTraits *t = &in->model->traits;
    size_t n = op->out->cols, values = op->out->rows * n;
    double *w =
        audit_weights_read(audit_weights_find(in->model, op->layer, op->weight), in->precision.store, false, op->first_row, n);
    double *bar = malloc(values * sizeof *bar + 1);
    int status = w && bar ? STATUS_OK : out_of_memory(op, e);
    for (size_t i = 0; !status && i < values; i++) {
        double capped = t->logit_softcap > 0 ? op->out->v[i] / (double)t->logit_softcap : 0;
        bar[i] = op->weight == ROLE_HEAD ? out_bar[i] * (double)t->logit_scale * (1 - capped * capped) : out_bar[i];
    }
    double factor = op->in[1] ? (double)t->residual_multiplier : 1;
    ProductTask task = {.w = w, .out_bar = bar, .in_bar = in_bar[0], .n = n, .k = op->in[0]->cols, .factor = factor};
    if (!status && in_bar[0])
        pool_run(in->pool, product_row, &task, op->out->rows);
    for (size_t i = 0; !status && op->in[1] && in_bar[1] && i < values; i++)
        in_bar[1][i] += out_bar[i];
    free(bar);
    free(w);
    return status;
}

static int norm(const AuditInputs *in, const AuditOp *op, const double *out_bar, double *in_bar, Error *e)
{
    const ModelTraits *t = &in->model->traits;
    size_t n = op->group, cols = op->out->cols;
    const Binding *weight = audit_weights_find(in->model, op->layer, op->weight);
    size_t gains = weight ? audit_weights_rows(weight) * weight->parts[0].cols : 0;
    double *g = weight ? audit_weights_read(weight, in->precision.store, true, 0, gains) : NULL;
    bool layer = (op->qk ? t->qk_norm_kind : t->norm_kind) == NORM_LAYER;
    double eps = (double)(op->qk ? t->qk_norm_eps : t->norm_eps), offset = (double)t->norm_weight_offset;
    if (weight && !g)
        return out_of_memory(op, e);
    for (size_t at = 0; at < op->out->rows * cols; at += n) {
        const double *x = op->in[0]->v + at, *bar = out_bar + at;
        size_t from = gains == n ? 0 : at % cols;
        double mean = 0, square = 0, h_mean = 0, along = 0;
        for (size_t i = 0; layer && i < n; i++)
            mean += x[i] / (double)n;
        for (size_t i = 0; i < n; i++)
            square += (x[i] - mean) * (x[i] - mean) / (double)n;
        double s = 1 / sqrt(square + eps);
        for (size_t i = 0; i < n; i++) {
            double h = bar[i] * ((g ? g[from + i] : 1) + offset);
            h_mean += h / (double)n;
            along += h * (x[i] - mean) * s / (double)n;
        }
        for (size_t i = 0; i < n; i++) {
            double h = bar[i] * ((g ? g[from + i] : 1) + offset);
            in_bar[at + i] += s * (h - (layer ? h_mean : 0) - (x[i] - mean) * s * along);
        }
    }
    free(g);
    return STATUS_OK;
}

static double clip_of(const AuditInputs *in)
{
    return (double)in->model->traits.qkv_clip;
}

static double clipped(const AuditInputs *in, double x)
{
    return clip_of(in) > 0 && fabs(x) > clip_of(in) ? copysign(clip_of(in), x) : x;
}

static bool passes(const AuditInputs *in, double x)
{
    return clip_of(in) <= 0 || fabs(x) <= clip_of(in);
}

/* Cosines and sines of the layer's rotation, [2, T, R/2]; NULL: out of memory. */
static float *rotation(const AuditInputs *in, const AuditOp *op)
{
    const ModelTraits *t = &in->model->traits;
    const RopeTraits *r = &t->ropes[t->layers[op->layer].rope];
    size_t n = op->out->rows, half = (size_t)r->rotary_dims / 2;
    float *cosines = malloc(2 * n * half * sizeof *cosines + 1);
    if (cosines)
        rope_table_fill(r, in->rope, n, n, cosines, cosines + n * half);
    return cosines;
}

/* y [T, heads Dh] rotated forth, or back (the transpose) in place. */
static void rotate(const AuditInputs *in, const AuditOp *op, const float *cosines, double *y, int n_heads, bool back)
{
    const ModelTraits *t = &in->model->traits;
    const RopeTraits *r = &t->ropes[t->layers[op->layer].rope];
    size_t n = op->out->rows, half = (size_t)r->rotary_dims / 2, dh = (size_t)t->head_dim;
    const float *sines = cosines + n * half;
    for (size_t row = 0; row < n; row++)
        for (size_t h = 0; h < (size_t)n_heads; h++)
            for (size_t i = 0; i < half; i++) {
                double *x = y + (row * (size_t)n_heads + h) * dh;
                size_t first = r->style == ROPE_HALF ? i : 2 * i, second = r->style == ROPE_HALF ? i + half : 2 * i + 1;
                double a = x[first], b = x[second], c = (double)cosines[row * half + i];
                double s = back ? -(double)sines[row * half + i] : (double)sines[row * half + i];
                x[first] = a * c - b * s;
                x[second] = b * c + a * s;
            }
}

static int rope(const AuditInputs *in, const AuditOp *op, const double *out_bar, double *in_bar, Error *e)
{
    size_t values = op->out->rows * op->out->cols;
    float *cosines = rotation(in, op);
    double *bar = malloc(values * sizeof *bar + 1);
    int status = cosines && bar ? STATUS_OK : out_of_memory(op, e);
    if (!status) {
        memcpy(bar, out_bar, values * sizeof *bar);
        rotate(in, op, cosines, bar, op->n_heads, true);
        for (size_t i = 0; i < values; i++)
            in_bar[i] += passes(in, op->in[0]->v[i]) ? bar[i] : 0;
    }
    free(bar);
    free(cosines);
    return status;
}

/* One query's head. p: scratch [2 T]. */
static void attend(const AuditInputs *in, const AuditOp *op, size_t t, size_t h, const double *q, const double *k,
                   const double *v, const double *out_bar, double *q_bar, double *k_bar, double *v_bar, double *p)
{
    const ModelTraits *traits = &in->model->traits;
    size_t dh = (size_t)traits->head_dim, kv = (size_t)traits->n_kv_heads, group = h / ((size_t)traits->n_heads / kv);
    size_t window = (size_t)traits->layers[op->layer].window, first = window > 0 && t + 1 > window ? t + 1 - window : 0,
           n = t + 1 - first;
    const double *query = q + (t * (size_t)traits->n_heads + h) * dh, *bar = out_bar + (t * (size_t)traits->n_heads + h) * dh;
    double *query_bar = q_bar + (t * (size_t)traits->n_heads + h) * dh, *slope = p + op->out->rows;
    double scale = (double)traits->attn_scale, cap = (double)traits->attn_softcap, most = -INFINITY, total = 0, along = 0;
    for (size_t j = 0; j < n; j++) {
        double dot = 0;
        for (size_t i = 0; i < dh; i++)
            dot += query[i] * k[((first + j) * kv + group) * dh + i];
        double z = scale * dot, bent = cap > 0 ? tanh(z / cap) : 0;
        slope[j] = scale * (1 - bent * bent);
        z = cap > 0 ? cap * bent : z;
        if (traits->alibi_slopes)
            z += audit_alibi(traits, (int)h, t, first + j);
        p[j] = z;
        most = z > most ? z : most;
    }
    for (size_t j = 0; j < n; j++)
        total += p[j] = exp(p[j] - most);
    for (size_t j = 0; j < n; j++) {
        double share = 0;
        p[j] /= total;
        for (size_t i = 0; i < dh; i++)
            share += bar[i] * v[((first + j) * kv + group) * dh + i];
        slope[j] *= p[j];
        along += p[j] * share;
        p[j + 2 * op->out->rows] = share;
    }
    for (size_t j = 0; j < n; j++) {
        double z_bar = slope[j] * (p[j + 2 * op->out->rows] - along);
        size_t at = ((first + j) * kv + group) * dh;
        for (size_t i = 0; i < dh; i++) {
            query_bar[i] += z_bar * k[at + i];
            k_bar[at + i] += z_bar * query[i];
            v_bar[at + i] += p[j] * bar[i];
        }
    }
}

static int mix(const AuditInputs *in, const AuditOp *op, const double *out_bar, double *const in_bar[3], Error *e)
{
    const ModelTraits *t = &in->model->traits;
    size_t rows = op->out->rows, n_q = rows * op->in[0]->cols, n_k = rows * op->in[1]->cols;
    double *q = calloc(2 * n_q + 4 * n_k + 3 * rows + 1, sizeof *q), *k = q + n_q, *v = k + n_k, *q_bar = v + n_k,
           *k_bar = q_bar + n_q;
    double *v_bar = k_bar + n_k, *p = v_bar + n_k;
    float *cosines = op->rotated ? NULL : rotation(in, op);
    int status = q && (op->rotated || cosines) ? STATUS_OK : out_of_memory(op, e);
    if (!status) {
        for (size_t i = 0; i < n_q; i++)
            q[i] = op->clipped ? op->in[0]->v[i] : clipped(in, op->in[0]->v[i]);
        for (size_t i = 0; i < n_k; i++) {
            k[i] = op->clipped ? op->in[1]->v[i] : clipped(in, op->in[1]->v[i]);
            v[i] = clipped(in, op->in[2]->v[i]);
        }
        if (cosines) {
            rotate(in, op, cosines, q, t->n_heads, false);
            rotate(in, op, cosines, k, t->n_kv_heads, false);
        }
        for (size_t row = 0; row < rows; row++)
            for (size_t h = 0; h < (size_t)t->n_heads; h++)
                attend(in, op, row, h, q, k, v, out_bar, q_bar, k_bar, v_bar, p);
        if (cosines) {
            rotate(in, op, cosines, q_bar, t->n_heads, true);
            rotate(in, op, cosines, k_bar, t->n_kv_heads, true);
        }
        for (size_t i = 0; in_bar[0] && i < n_q; i++)
            in_bar[0][i] += op->clipped || passes(in, op->in[0]->v[i]) ? q_bar[i] : 0;
        for (size_t i = 0; in_bar[1] && i < n_k; i++)
            in_bar[1][i] += op->clipped || passes(in, op->in[1]->v[i]) ? k_bar[i] : 0;
        for (size_t i = 0; in_bar[2] && i < n_k; i++)
            in_bar[2][i] += passes(in, op->in[2]->v[i]) ? v_bar[i] : 0;
    }
    free(cosines);
    free(q);
    return status;
}

static double activation_slope(double x, ActKind act)
{
    double s, inner, bent;
    switch (act) {
    case ACT_SILU:
        s = 1 / (1 + exp(-x));
        return s + x * s * (1 - s);
    case ACT_GELU_TANH:
        inner = sqrt(2 / PI) * (x + 0.044715 * x * x * x);
        bent = tanh(inner);
        return 0.5 * (1 + bent) + 0.5 * x * (1 - bent * bent) * sqrt(2 / PI) * (1 + 3 * 0.044715 * x * x);
    case ACT_GELU_ERF:
        return 0.5 * (1 + erf(x / sqrt(2.0))) + x * exp(-0.5 * x * x) / sqrt(2 * PI);
    case ACT_RELU:
        return x > 0 ? 1 : 0;
    case ACT_RELU2:
        return x > 0 ? 2 * x : 0;
    }
    return NAN;
}

static void activate(const AuditInputs *in, const AuditOp *op, const double *out_bar, double *const in_bar[3])
{
    ActKind act = in->model->traits.activation;
    for (size_t i = 0; i < op->out->rows * op->out->cols; i++) {
        double gate = op->in[0]->v[i], up = op->in[1] ? op->in[1]->v[i] : 1;
        if (in_bar[0])
            in_bar[0][i] += out_bar[i] * up * activation_slope(gate, act);
        if (op->in[1] && in_bar[1])
            in_bar[1][i] += out_bar[i] * audit_activation(gate, act);
    }
}

static void add(const AuditInputs *in, const AuditOp *op, const double *out_bar, double *const in_bar[3])
{
    for (int k = 0; k < 3; k++) {
        double factor = k ? (double)in->model->traits.residual_multiplier : 1;
        for (size_t i = 0; op->in[k] && in_bar[k] && i < op->out->rows * op->out->cols; i++)
            in_bar[k][i] += factor * out_bar[i];
    }
}

static void gate(const AuditOp *op, const double *out_bar, double *const in_bar[3])
{
    size_t d = op->out->cols;
    for (size_t i = 0; i < op->out->rows * d; i++) {
        double share = op->in[2] ? 1 / (1 + exp(-op->in[2]->v[i / d])) : 1;
        if (in_bar[0])
            in_bar[0][i] += out_bar[i];
        if (in_bar[1])
            in_bar[1][i] += share * out_bar[i];
        if (op->in[2] && in_bar[2])
            in_bar[2][i / d] += share * (1 - share) * op->in[1]->v[i] * out_bar[i];
    }
}

typedef struct Expert {
    const double *gate_up, *down; /* [2F, D], [D, F] */
    size_t d, f;
    ActKind act;
    double *projected, *hidden_bar; /* scratch [2F], [F] */
} Expert;

/* x_bar += (d expert(x) / dx)^T (share y_bar); returns expert(x) . y_bar. */
static double expert_backward(const Expert *x, const double *in, const double *y_bar, double share, double *x_bar)
{
    double product = 0;
    for (size_t i = 0; i < 2 * x->f; i++) {
        double dot = 0;
        for (size_t j = 0; j < x->d; j++)
            dot += x->gate_up[i * x->d + j] * in[j];
        x->projected[i] = dot;
    }
    for (size_t i = 0; i < x->f; i++) {
        double bar = 0;
        for (size_t j = 0; j < x->d; j++)
            bar += x->down[j * x->f + i] * y_bar[j];
        x->hidden_bar[i] = bar;
        product += bar * audit_activation(x->projected[i], x->act) * x->projected[x->f + i];
    }
    for (size_t i = 0; x_bar && i < x->f; i++) {
        double g = x->projected[i], up = x->projected[x->f + i], bar = share * x->hidden_bar[i];
        double g_bar = bar * up * activation_slope(g, x->act), up_bar = bar * audit_activation(g, x->act);
        for (size_t j = 0; j < x->d; j++)
            x_bar[j] += g_bar * x->gate_up[i * x->d + j] + up_bar * x->gate_up[(x->f + i) * x->d + j];
    }
    return product;
}

/* z_bar of a token's router logits from the derivative by each share; share 0: not chosen. */
static void route_backward(const double *z, const Ball *share, const double *share_bar, size_t n, bool normalise, double *z_bar)
{
    double most = -INFINITY, all = 0, along = 0;
    for (size_t i = 0; i < n; i++) {
        most = z[i] > most ? z[i] : most;
        along += share[i].c * share_bar[i];
    }
    for (size_t i = 0; i < n; i++)
        all += exp(z[i] - most);
    for (size_t i = 0; i < n; i++) {
        double p = normalise ? share[i].c : exp(z[i] - most) / all;
        z_bar[i] += p * ((share[i].c != 0 ? share_bar[i] : 0) - along);
    }
}

static int mixture(const AuditInputs *in, const AuditOp *op, const double *out_bar, double *const in_bar[3], Error *e)
{
    const ModelTraits *t = &in->model->traits;
    const LayerBindings *layer = &in->model->bindings.layers[op->layer];
    size_t rows = op->out->rows, d = op->out->cols, f = t->d_expert, n = (size_t)t->route.n_experts;
    Ball *share = malloc(rows * n * sizeof *share + 1);
    double *share_bar = calloc(rows * n + 3 * f + 1, sizeof *share_bar);
    int status = share && share_bar ? STATUS_OK : out_of_memory(op, e);
    for (size_t row = 0; !status && row < rows; row++)
        (void)audit_route(share + row * n, op->in[1]->v + row * n, t->route.n_experts, t->route.top_k, t->route.normalise,
                          in->precision, &in->how);
    for (size_t x = 0; !status && x < n; x++) {
        double *gate_up = audit_weights_read(&layer->expert_gate_up[x], in->precision.store, false, 0, 2 * f);
        double *down = audit_weights_read(&layer->expert_down[x], in->precision.store, false, 0, d);
        Expert expert = {gate_up, down, d, f, t->activation, share_bar + rows * n, share_bar + rows * n + 2 * f};
        if (!gate_up || !down)
            status = out_of_memory(op, e);
        for (size_t row = 0; !status && row < rows; row++)
            if (share[row * n + x].c != 0)
                share_bar[row * n + x] = expert_backward(&expert, op->in[0]->v + row * d, out_bar + row * d,
                                                         share[row * n + x].c, in_bar[0] ? in_bar[0] + row * d : NULL);
        free(down);
        free(gate_up);
    }
    for (size_t row = 0; !status && in_bar[1] && row < rows; row++)
        route_backward(op->in[1]->v + row * n, share + row * n, share_bar + row * n, n, t->route.normalise,
                       in_bar[1] + row * n);
    free(share_bar);
    free(share);
    return status;
}

int audit_op_backward(const AuditInputs *in, const AuditOp *op, const double *out_bar, double *const in_bar[3], Error *e)
{
    switch (op->kind) {
    case AUDIT_EMBED:
    case AUDIT_COPY:
        for (size_t i = 0; op->in[0] && in_bar[0] && i < op->out->rows * op->out->cols; i++)
            in_bar[0][i] += out_bar[i];
        return STATUS_OK;
    case AUDIT_NORM:
        return in_bar[0] ? norm(in, op, out_bar, in_bar[0], e) : STATUS_OK;
    case AUDIT_LINEAR:
        return linear(in, op, out_bar, in_bar, e);
    case AUDIT_ROPE:
        return in_bar[0] ? rope(in, op, out_bar, in_bar[0], e) : STATUS_OK;
    case AUDIT_MIX:
        return mix(in, op, out_bar, in_bar, e);
    case AUDIT_ACT:
        activate(in, op, out_bar, in_bar);
        return STATUS_OK;
    case AUDIT_ADD:
        add(in, op, out_bar, in_bar);
        return STATUS_OK;
    case AUDIT_GATE:
        gate(op, out_bar, in_bar);
        return STATUS_OK;
    case AUDIT_MOE:
        return mixture(in, op, out_bar, in_bar, e);
    }
    return STATUS_OK;
}
