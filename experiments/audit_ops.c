/* audit_ops.c: see audit_ops.h. */
#include "experiments/audit_ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/audit_weights.h"

void audit_change_begin(const AuditInputs *in, const AuditOp *op, AuditChange *out)
{
    const ModelTraits *t = &in->model->traits;
    *out = (AuditChange){.traits = *t, .how = in->how, .rope_arithmetic = in->rope, .bias_factor = 1, .product_factor = 1};
    if (op->layer < 0)
        return;
    out->window = t->layers[op->layer].window;
    if (t->layers[op->layer].rope >= 0) {
        out->rope = t->ropes[t->layers[op->layer].rope];
        out->rotates = true;
    }
}

typedef struct LinearTask {
    const AuditOp *op;
    const double *w, *bias;
    double bias_factor;
    DType store;
    const AuditRoundings *how;
    Ball *y;
} LinearTask;

static void linear_output(void *arg, size_t i, int thread)
{
    const LinearTask *a = arg;
    (void)thread;
    size_t k = a->op->in[0]->cols;
    audit_linear_output(a->y + i, a->op->out->cols, a->op->in[0]->v, a->op->out->rows, a->w + i * k, k,
                        a->bias ? &a->bias[i] : NULL, a->bias_factor, a->store, a->how);
}

/* w <- its transpose (square) */
static void transpose(double *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) {
            double x = w[i * n + j];
            w[i * n + j] = w[j * n + i];
            w[j * n + i] = x;
        }
}

/* Rows of each head from pairs (2i, 2i+1) to pairs (i, i + Dh/2): what a checkpoint in the other pairing needs. */
static bool regroup(double *w, size_t rows, size_t k, size_t dh)
{
    double *old = malloc(rows * k * sizeof *old + 1);
    if (!old)
        return false;
    memcpy(old, w, rows * k * sizeof *old);
    for (size_t r = 0; r < rows; r++) {
        size_t head = r / dh, i = r % dh, from = i < dh / 2 ? 2 * i : 2 * (i - dh / 2) + 1;
        memcpy(w + r * k, old + (head * dh + from) * k, k * sizeof *w);
    }
    free(old);
    return true;
}

/* Where the other matrix of a stacked pair begins; the same place when there is none. */
static size_t swapped_row(const AuditOp *op, const ModelTraits *t)
{
    size_t q = (size_t)t->n_heads * (size_t)t->head_dim, kv = (size_t)t->n_kv_heads * (size_t)t->head_dim;
    if (op->weight == ROLE_GATE_UP)
        return op->first_row ? 0 : t->d_ff;
    if (op->weight == ROLE_QKV && op->first_row)
        return op->first_row == q ? q + kv : q;
    return op->first_row;
}

/* What the model does to logits, and the residual where a kernel adds it at once. */
static void finish_linear(const AuditInputs *in, const AuditOp *op, const AuditChange *c, Ball *y)
{
    const ModelTraits *t = &c->traits;
    size_t n = op->out->rows * op->out->cols;
    for (size_t i = 0; op->in[1] && i < n; i++)
        y[i] = audit_add((Ball){op->in[1]->v[i], 0}, audit_round(y[i], in->precision.store),
                         (double)t->residual_multiplier * c->product_factor, in->precision);
    for (size_t i = 0; op->weight == ROLE_HEAD && i < n; i++) {
        if (t->logit_scale != 1)
            y[i] =
                audit_round(audit_scale(audit_round(y[i], in->precision.store), (double)t->logit_scale), in->precision.store);
        if (t->logit_softcap > 0)
            y[i] = audit_softcap(audit_round(y[i], in->precision.store), (double)t->logit_softcap, in->precision);
    }
}

static int linear(const AuditInputs *in, const AuditOp *op, const AuditChange *c, Ball *y, Error *e)
{
    const ModelTraits *t = &c->traits;
    int layer = op->layer < 0 ? -1 : op->layer + c->layer_shift;
    size_t n = op->out->cols, k = op->in[0]->cols, first = c->swapped ? swapped_row(op, t) : op->first_row;
    if (op->layer >= 0 && (layer < 0 || layer >= t->n_layers))
        return STATUS_USAGE;
    const Binding *weight = audit_weights_find(in->model, layer, op->weight);
    const Binding *bias = c->no_bias ? NULL : audit_weights_find(in->model, layer, op->bias);
    if (!weight || weight->parts[0].cols != k || first + n > audit_weights_rows(weight) || (c->transposed && n != k) ||
        (c->swapped && first == op->first_row) || (c->heads_regrouped && (op->weight != ROLE_QKV || t->head_dim % 2)))
        return STATUS_USAGE;
    DType store = in->precision.store;
    double *w = audit_weights_read(weight, store, false, first, n),
           *b = bias ? audit_weights_read(bias, store, true, first, n) : NULL;
    int status = !w || (bias && !b) ? STATUS_FAILED : STATUS_OK;
    if (!status && c->transposed)
        transpose(w, n);
    if (!status && c->heads_regrouped && !regroup(w, n, k, (size_t)t->head_dim))
        status = STATUS_FAILED;
    if (status) {
        error_set(e, status, "audit: out of memory for the weights of %s", op->out->name);
    } else {
        LinearTask task = {.op = op, .w = w, .bias = b, .bias_factor = c->bias_factor, .store = store, .how = &c->how, .y = y};
        pool_run(in->pool, linear_output, &task, n);
        finish_linear(in, op, c, y);
    }
    free(b);
    free(w);
    return status;
}

static int norm(const AuditInputs *in, const AuditOp *op, const AuditChange *c, Ball *y, Error *e)
{
    size_t n = op->out->cols, group = c->group_whole ? n : c->group ? c->group : op->group;
    const ModelTraits *t = &c->traits;
    const Binding *gain = c->no_gain ? NULL : audit_weights_find(in->model, op->layer, op->weight);
    const Binding *bias = c->no_bias ? NULL : audit_weights_find(in->model, op->layer, op->bias);
    size_t gains = gain ? audit_weights_rows(gain) * gain->parts[0].cols : group;
    if (group == 0 || n % group || gains == 0 || n % gains || (gains != n && gains != group))
        return STATUS_USAGE;
    DType store = in->precision.store;
    double *g = gain ? audit_weights_read(gain, store, true, 0, gains) : NULL;
    double *b = bias ? audit_weights_read(bias, store, true, 0, gains) : NULL;
    int status = STATUS_OK;
    if ((gain && !g) || (bias && !b))
        status = error_set(e, STATUS_FAILED, "audit: out of memory for the gains of %s", op->out->name);
    for (size_t i = 0; g && c->how.gain_plus_one_narrow && t->norm_weight_offset != 0 && store == DTYPE_BF16 && i < gains; i++)
        g[i] = audit_to_bf16(g[i] + (double)t->norm_weight_offset) - (double)t->norm_weight_offset;
    for (size_t at = 0; !status && at < op->out->rows * n; at += group) {
        const double *x = op->in[0]->v + at;
        size_t from = gains == group ? 0 : at % n;
        AuditNorm spec = {op->qk ? t->qk_norm_kind : t->norm_kind, (double)(op->qk ? t->qk_norm_eps : t->norm_eps),
                          (double)t->norm_weight_offset, g ? g + from : NULL, b ? b + from : NULL};
        if (!c->no_norm)
            audit_norm(y + at, x, group, &spec, in->precision, &c->how);
        for (size_t i = 0; c->no_norm && i < group; i++)
            y[at + i] = (Ball){x[i], 0};
    }
    free(b);
    free(g);
    return status;
}

/* Tokens looked up (or in[0], where a projection lies between) and positions. */
static int embed(const AuditInputs *in, const AuditOp *op, const AuditChange *c, Ball *y, Error *e)
{
    const ModelTraits *t = &c->traits;
    DType store = in->precision.store;
    const Binding *words = audit_weights_find(in->model, -1, ROLE_EMBED);
    const Binding *places =
        t->learned_positions && !op->no_positions ? audit_weights_find(in->model, -1, ROLE_POSITIONS) : NULL;
    size_t d = op->out->cols;
    for (size_t r = 0; r < op->out->rows; r++) {
        size_t place = (size_t)((int)r + t->position_offset + c->position_shift);
        if (places && place >= audit_weights_rows(places))
            return STATUS_USAGE;
        double *w = op->in[0] ? NULL : audit_weights_read(words, store, false, (size_t)in->record->ids[r], 1);
        double *p = places ? audit_weights_read(places, store, false, place, 1) : NULL;
        const double *token = op->in[0] ? op->in[0]->v + r * d : w;
        for (size_t i = 0; token && (p || !places) && i < d; i++) {
            Ball x = {token[i], 0};
            if (t->embedding_multiplier != 1 && !op->in[0])
                x = audit_round((Ball){x.c * audit_multiplier(t->embedding_multiplier, store), 0}, store);
            y[r * d + i] = p ? audit_add(x, (Ball){p[i], 0}, 1, in->precision) : x;
        }
        bool failed = !token || (places && !p);
        free(p);
        free(w);
        if (failed)
            return error_set(e, STATUS_FAILED, "audit: out of memory for the embedding");
    }
    return STATUS_OK;
}

static double clipped(const AuditInputs *in, const AuditChange *c, double x)
{
    double most = audit_multiplier(c->traits.qkv_clip, in->precision.store);
    return most > 0 && fabs(x) > most ? copysign(most, x) : x;
}

/* x [T, n_heads Dh] rotated; stored rounds the result as an operation of its own does. */
static int rotate(const AuditInputs *in, const AuditChange *c, const AuditTensor *x, int n_heads, bool stored, Ball *y,
                  Error *e)
{
    size_t half = (size_t)c->rope.rotary_dims / 2, n = x->rows, dh = (size_t)c->traits.head_dim;
    size_t positions = n + (size_t)c->position_shift;
    float *cosines = malloc(2 * positions * half * sizeof *cosines + 1);
    double *angles = malloc((half + dh) * sizeof *angles + 1), *head = angles + half;
    if (!cosines || !angles) {
        free(angles);
        free(cosines);
        return error_set(e, STATUS_FAILED, "audit: out of memory for rotary tables of %zu positions", positions);
    }
    float *sines = cosines + positions * half;
    if (half)
        rope_table_fill(&c->rope, c->rope_arithmetic, positions, n, cosines, sines);
    for (size_t i = 0; c->backwards && i < positions * half; i++)
        sines[i] = -sines[i];
    for (size_t t = 0; t < n; t++) {
        size_t p = t + (size_t)c->position_shift;
        for (size_t i = 0; i < half; i++) /* scaling only slows rotations down */
            angles[i] = (double)p * pow(c->rope.theta, -2.0 * (double)i / c->rope.rotary_dims);
        for (int h = 0; h < n_heads; h++) {
            size_t at = t * x->cols + (size_t)h * dh;
            for (size_t i = 0; !c->rotates && i < dh; i++)
                y[at + i] = (Ball){clipped(in, c, x->v[at + i]), 0};
            for (size_t i = 0; i < dh; i++)
                head[i] = clipped(in, c, x->v[at + i]);
            if (c->rotates)
                audit_rope(y + at, head, dh, (size_t)c->rope.rotary_dims, c->rope.style, cosines + p * half, sines + p * half,
                           angles, in->precision, &c->how);
        }
    }
    for (size_t i = 0; stored && c->rotates && i < n * x->cols; i++)
        y[i] = audit_round(y[i], in->precision.store);
    free(angles);
    free(cosines);
    return STATUS_OK;
}

static int mix(const AuditInputs *in, const AuditOp *op, const AuditChange *c, Ball *y, Error *e)
{
    const AuditTensor *q = op->in[0], *k = op->in[1], *v = op->in[2];
    size_t n = op->out->rows, n_q = n * q->cols, n_k = n * k->cols;
    Ball *queries = malloc((n_q + n_k + 3 * n) * sizeof *queries + n_k * sizeof(double) + 1);
    if (!queries)
        return error_set(e, STATUS_FAILED, "audit: out of memory for attention over %zu tokens", n);
    Ball *keys = queries + n_q;
    double *values = (double *)(void *)(keys + n_k + 3 * n);
    for (size_t i = 0; i < n_k; i++)
        values[i] = clipped(in, c, v->v[i]);
    int status = STATUS_OK;
    if (op->rotated) {
        for (size_t i = 0; i < n_q; i++)
            queries[i] = (Ball){op->clipped ? q->v[i] : clipped(in, c, q->v[i]), 0};
        for (size_t i = 0; i < n_k; i++)
            keys[i] = (Ball){op->clipped ? k->v[i] : clipped(in, c, k->v[i]), 0};
    } else if (!(status = rotate(in, c, q, c->traits.n_heads, true, queries, e))) {
        status = rotate(in, c, k, c->traits.n_kv_heads, true, keys, e);
    }
    AuditAttention a = {.n_heads = c->traits.n_heads,
                        .n_kv_heads = c->traits.n_kv_heads,
                        .head_dim = c->traits.head_dim,
                        .window = c->window,
                        .scale = (double)c->traits.attn_scale,
                        .softcap = (double)c->traits.attn_softcap,
                        .alibi = c->no_alibi || !c->traits.alibi_slopes ? NULL : &c->traits,
                        .alibi_factor = c->alibi_twice ? 2 : 1,
                        .not_causal = c->not_causal,
                        .heads_interleaved = c->heads_interleaved};
    if (!status)
        audit_attention(y, queries, keys, values, n, &a, in->precision, &c->how, keys + n_k);
    free(queries);
    return status;
}

static void activate(const AuditInputs *in, const AuditOp *op, const AuditChange *c, Ball *y)
{
    size_t n = op->out->rows * op->out->cols;
    ActKind act = c->traits.activation;
    for (size_t i = 0; i < n; i++) {
        Ball gate = {op->in[0]->v[i], 0}, up = {op->in[1] ? op->in[1]->v[i] : 1, 0};
        if (c->swapped) {
            Ball other = gate;
            gate = up;
            up = other;
        }
        if (c->no_activation)
            y[i] = op->in[1] ? (Ball){gate.c * up.c, audit_unit(in->precision.store) * fabs(gate.c * up.c)} : gate;
        else if (!op->in[1] || c->no_product)
            y[i] = audit_activate(gate, act, in->precision, &c->how);
        else
            y[i] = audit_glu(gate, up, act, in->precision, &c->how);
    }
}

static void add_residual(const AuditInputs *in, const AuditOp *op, const AuditChange *c, Ball *y)
{
    size_t n = op->out->rows * op->out->cols;
    double scale = (double)c->traits.residual_multiplier * c->product_factor;
    for (size_t i = 0; i < n; i++) {
        Ball base = {c->no_residual ? 0 : op->in[0]->v[i], 0};
        y[i] = audit_add(base, (Ball){op->in[1]->v[i], 0}, scale, in->precision);
        if (op->in[2]) { /* which two are added first is the implementation's choice: the largest sum's rounding */
            double x = base.c, p = scale * op->in[1]->v[i], q = scale * op->in[2]->v[i];
            double first = fmax(fabs(x + p), fmax(fabs(x + q), fabs(p + q)));
            y[i] = audit_add((Ball){x + p, audit_half_ulp(first, in->precision.store)}, (Ball){op->in[2]->v[i], 0}, scale,
                             in->precision);
        }
    }
}

/* a + sigmoid(gate) b, or a + b. */
static void add_gated(const AuditInputs *in, const AuditOp *op, const AuditChange *c, Ball *y)
{
    size_t d = op->out->cols;
    for (size_t i = 0; i < op->out->rows * d; i++) {
        const double *gate = op->in[2] && !c->no_gate && !c->no_shared ? &op->in[2]->v[i / d] : NULL;
        y[i] = audit_add_gated(op->in[0]->v[i], c->no_shared ? 0 : op->in[1]->v[i], gate, in->precision);
    }
}

/* One expert's contribution to a token: out += share * down(act(gate) * up), balls throughout. */
static int expert(const AuditInputs *in, const AuditOp *op, const AuditChange *c, int x, const Ball *share, Ball *y,
                  bool *begun, Error *e)
{
    const LayerBindings *layer = &in->model->bindings.layers[op->layer];
    size_t d = op->out->cols, f = c->traits.d_expert, n_experts = (size_t)c->traits.route.n_experts;
    DType store = in->precision.store;
    double *gate_up = audit_weights_read(&layer->expert_gate_up[x], in->precision.store, false, 0, 2 * f);
    double *down = audit_weights_read(&layer->expert_down[x], in->precision.store, false, 0, d);
    Ball *projected = malloc((3 * f + d) * sizeof *projected), *hidden = projected + 2 * f, *part = hidden + f;
    int status =
        gate_up && down && projected ? STATUS_OK : error_set(e, STATUS_FAILED, "audit: out of memory for expert %d", x);
    for (size_t t = 0; !status && t < op->out->rows; t++) {
        Ball s = share[t * n_experts + (size_t)x];
        if (s.c == 0)
            continue;
        for (size_t i = 0; i < 2 * f; i++)
            audit_linear_output(projected + i, 1, op->in[0]->v + t * d, 1, gate_up + i * d, d, NULL, 1, store, &c->how);
        for (size_t i = 0; i < f; i++) {
            Ball gate = audit_round(projected[c->swapped ? f + i : i], store);
            Ball up = audit_round(projected[c->swapped ? i : f + i], store);
            hidden[i] = audit_round(audit_glu(gate, up, c->traits.activation, in->precision, &c->how), store);
        }
        audit_linear(part, hidden, down, d, f, in->precision);
        for (size_t i = 0; i < d; i++) {
            Ball z = audit_round(part[i], store);
            z = audit_round((Ball){z.c * s.c, fabs(z.c) * s.r + z.r * (fabs(s.c) + s.r)}, store);
            if (store != DTYPE_BF16) /* the parts may be added in another order, with larger sums between */
                z.r += (double)(c->traits.route.top_k - 1) * audit_unit(store) * fabs(z.c);
            /* the sum so far was stored, but the last one is for the comparison */
            y[t * d + i] = begun[t] ? audit_add(audit_round(y[t * d + i], store), z, 1, in->precision) : z;
        }
        begun[t] = true;
    }
    free(projected);
    free(down);
    free(gate_up);
    return status;
}

static int mixture(const AuditInputs *in, const AuditOp *op, const AuditChange *c, Ball *y, Error *e)
{
    const RouteSpec *route = &c->traits.route;
    size_t rows = op->out->rows, d = op->out->cols, n_experts = (size_t)route->n_experts;
    Ball *share = malloc(rows * n_experts * sizeof *share + 1);
    bool *begun = calloc(2 * rows + 1, sizeof *begun), *tied = begun + rows;
    int status = share && begun ? STATUS_OK : error_set(e, STATUS_FAILED, "audit: out of memory for %zu tokens' experts", rows);
    if (!status && (route->top_k < 1 || route->top_k > route->n_experts))
        status = STATUS_USAGE;
    for (size_t i = 0; i < rows * d; i++)
        y[i] = (Ball){0, 0};
    for (size_t t = 0; !status && t < rows; t++)
        tied[t] = !audit_route(share + t * n_experts, op->in[1]->v + t * n_experts, route->n_experts, route->top_k,
                               route->normalise, in->precision, &c->how);
    for (int x = 0; !status && x < route->n_experts; x++)
        status = expert(in, op, c, x, share, y, begun, e);
    for (size_t i = 0; !status && i < rows * d; i++)
        if (tied[i / d]) /* either choice is right */
            y[i].r = NAN;
    free(begun);
    free(share);
    return status;
}

int audit_op_evaluate(const AuditInputs *in, const AuditOp *op, const AuditChange *change, Ball *y, Error *e)
{
    switch (op->kind) {
    case AUDIT_EMBED:
        return embed(in, op, change, y, e);
    case AUDIT_COPY:
        for (size_t i = 0; i < op->out->rows * op->out->cols; i++)
            y[i] = (Ball){op->in[0]->v[i], 0};
        return STATUS_OK;
    case AUDIT_NORM:
        return norm(in, op, change, y, e);
    case AUDIT_LINEAR:
        return linear(in, op, change, y, e);
    case AUDIT_ROPE:
        return rotate(in, change, op->in[0], op->n_heads, false, y, e);
    case AUDIT_MIX:
        return mix(in, op, change, y, e);
    case AUDIT_ACT:
        activate(in, op, change, y);
        return STATUS_OK;
    case AUDIT_ADD:
        add_residual(in, op, change, y);
        return STATUS_OK;
    case AUDIT_GATE:
        add_gated(in, op, change, y);
        return STATUS_OK;
    case AUDIT_MOE:
        return mixture(in, op, change, y, e);
    }
    return STATUS_USAGE;
}

void audit_op_measure(const AuditOp *op, const Ball *y, DType store, AuditMeasure *out)
{
    *out = (AuditMeasure){.cosine = 1};
    double square = 0, found_square = 0, product = 0, error_square = 0;
    size_t n = op->out->rows * op->out->cols;
    for (size_t i = 0; i < n; i++) {
        double found = op->out->v[i], off = fabs(found - y[i].c);
        if (isnan(y[i].r)) {
            out->n_undecided++;
            continue;
        }
        double half = audit_half_ulp(found, store), larger = fabs(y[i].c) > fabs(found) ? y[i].c : found;
        square += y[i].c * y[i].c;
        found_square += found * found;
        product += y[i].c * found;
        error_square += off * off;
        out->n_equal += audit_stored(y[i].c, store) == found;
        double margin = off / (y[i].r + half * (1 + 0x1p-20));
        if (!(margin <= 0x1p1000)) /* a NaN is as far off as can be */
            margin = INFINITY;
        out->max_abs = off > out->max_abs || isnan(off) ? off : out->max_abs;
        /* in units of the larger one's last place: a found 0 says nothing of how near it is */
        double ulp = off / (2 * audit_half_ulp(larger, store));
        out->ulp = ulp > out->ulp || isnan(ulp) ? ulp : out->ulp;
        if (margin > out->margin || i == out->n_undecided) {
            out->margin = margin;
            out->row = i / op->out->cols;
            out->col = i % op->out->cols;
            out->found = found;
            out->expected = y[i].c;
        }
    }
    out->n = n;
    out->relative_l2 = square > 0 ? sqrt(error_square / square) : error_square > 0 ? INFINITY : 0;
    out->nmse = out->relative_l2 * out->relative_l2;
    if (square > 0 && found_square > 0)
        out->cosine = product / sqrt(square * found_square);
}
