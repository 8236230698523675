/* audit_ops.c: see audit_ops.h. Weights are widened from the mapped file for each operation anew and rounded to bf16 where the run
 * held them so; nothing is prepared by an op table. */
#include "experiments/audit_ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/convert.h"

typedef struct Builder {
    const AuditInputs *in;
    AuditOp *ops;
    size_t n, cap;
    int layer;
} Builder;

static const AuditTensor *find(const Builder *b, const char *name)
{
    char full[AUDIT_NAME_MAX];
    if (b->layer < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "L%d.%s", b->layer, name);
    return audit_record_find(b->in->record, full);
}

/* Adds op when all it needs was recorded with the columns expected. */
static void add(Builder *b, AuditOp op, const char *out, size_t cols, const char *const *in, const size_t *in_cols, size_t n_in)
{
    op.layer = b->layer;
    op.out = find(b, out);
    bool whole = op.out && op.out->cols == cols && b->n < b->cap;
    for (size_t i = 0; i < n_in; i++) {
        op.in[i] = find(b, in[i]);
        whole = whole && op.in[i] && op.in[i]->cols == in_cols[i];
    }
    if (whole)
        b->ops[b->n++] = op;
}

static void add_one(Builder *b, AuditOp op, const char *out, size_t cols, const char *in, size_t in_cols)
{
    add(b, op, out, cols, &in, &in_cols, 1);
}

static void list_attention(Builder *b)
{
    const ModelTraits *t = &b->in->model->traits;
    size_t d = t->d_model, dh = (size_t)t->head_dim, q = (size_t)t->n_heads * dh, kv = (size_t)t->n_kv_heads * dh;
    AuditOp linear = {.kind = AUDIT_LINEAR, .weight = ROLE_QKV, .bias = ROLE_QKV_BIAS};
    add_one(b, linear, "attn.q_proj", q, "attn_norm", d);
    linear.first_row = q;
    add_one(b, linear, "attn.k_proj", kv, "attn_norm", d);
    linear.first_row = q + kv;
    add_one(b, linear, "attn.v_proj", kv, "attn_norm", d);
    bool normed = find(b, "attn.q_norm") && find(b, "attn.k_norm");
    const char *queries = normed ? "attn.q_norm" : "attn.q_proj", *keys = normed ? "attn.k_norm" : "attn.k_proj";
    AuditOp mix = {.kind = AUDIT_MIX, .rotated = t->layers[b->layer].rope < 0};
    if (!mix.rotated && find(b, "attn.q_rot") && find(b, "attn.k_rot")) {
        add_one(b, (AuditOp){.kind = AUDIT_ROPE, .n_heads = t->n_heads}, "attn.q_rot", q, queries, q);
        add_one(b, (AuditOp){.kind = AUDIT_ROPE, .n_heads = t->n_kv_heads}, "attn.k_rot", kv, keys, kv);
        mix.rotated = true;
        queries = "attn.q_rot";
        keys = "attn.k_rot";
    }
    add(b, mix, "attn.mix", q, (const char *const[]){queries, keys, "attn.v_proj"}, (const size_t[]){q, kv, kv}, 3);
    linear = (AuditOp){.kind = AUDIT_LINEAR, .weight = ROLE_O, .bias = ROLE_O_BIAS};
    add_one(b, linear, "attn.o_proj", d, "attn.mix", q);
}

static void list_mlp(Builder *b, const char *normed)
{
    const ModelTraits *t = &b->in->model->traits;
    size_t d = t->d_model, f = t->d_ff;
    AuditOp linear = {.kind = AUDIT_LINEAR, .weight = ROLE_GATE_UP, .bias = ROLE_GATE_UP_BIAS};
    switch (t->layers[b->layer].mlp) {
    case MLP_MOE:
        linear.weight = ROLE_ROUTER;
        linear.bias = ROLE_COUNT;
        add_one(b, linear, "mlp.router", (size_t)t->route.n_experts, normed, d);
        add(b, (AuditOp){.kind = AUDIT_MOE}, "mlp.moe", d, (const char *const[]){normed, "mlp.router"},
            (const size_t[]){d, (size_t)t->route.n_experts}, 2);
        return;
    case MLP_GATED:
        add_one(b, linear, "mlp.gate_proj", f, normed, d);
        linear.first_row = f;
        add_one(b, linear, "mlp.up_proj", f, normed, d);
        add(b, (AuditOp){.kind = AUDIT_ACT}, "mlp.act", f, (const char *const[]){"mlp.gate_proj", "mlp.up_proj"},
            (const size_t[]){f, f}, 2);
        break;
    case MLP_PLAIN:
        add_one(b, linear, "mlp.up_proj", f, normed, d);
        add_one(b, (AuditOp){.kind = AUDIT_ACT}, "mlp.act", f, "mlp.up_proj", f);
        break;
    }
    linear = (AuditOp){.kind = AUDIT_LINEAR, .weight = ROLE_DOWN, .bias = ROLE_DOWN_BIAS};
    add_one(b, linear, "mlp.down_proj", d, "mlp.act", f);
}

/* What a layer begins with is what came before it. */
static void list_entry(Builder *b)
{
    char before[AUDIT_NAME_MAX] = "embed";
    if (b->layer > 0)
        snprintf(before, sizeof before, "L%d.resid_post", b->layer - 1);
    AuditOp op = {.kind = AUDIT_COPY, .layer = b->layer, .out = find(b, "resid_pre")};
    op.in[0] = audit_record_find(b->in->record, before);
    if (op.out && op.in[0] && op.out->cols == op.in[0]->cols && b->n < b->cap)
        b->ops[b->n++] = op;
}

static void list_layer(Builder *b)
{
    const ModelTraits *t = &b->in->model->traits;
    const LayerBindings *w = &b->in->model->bindings.layers[b->layer];
    size_t d = t->d_model;
    bool parallel = t->residual == RESIDUAL_PARALLEL, second = w->role[ROLE_MLP_NORM].n_parts > 0;
    const char *mlp_out = t->layers[b->layer].mlp == MLP_MOE ? "mlp.moe" : "mlp.down_proj";
    AuditOp norm = {.kind = AUDIT_NORM, .weight = ROLE_ATTN_NORM, .bias = ROLE_ATTN_NORM_BIAS};
    list_entry(b);
    add_one(b, norm, "attn_norm", d, "resid_pre", d);
    list_attention(b);
    if (!parallel)
        add(b, (AuditOp){.kind = AUDIT_ADD}, "resid_mid", d, (const char *const[]){"resid_pre", "attn.o_proj"},
            (const size_t[]){d, d}, 2);
    norm.weight = ROLE_MLP_NORM;
    norm.bias = ROLE_MLP_NORM_BIAS;
    if (second)
        add_one(b, norm, "mlp_norm", d, parallel ? "resid_pre" : "resid_mid", d);
    list_mlp(b, second ? "mlp_norm" : "attn_norm");
    add(b, (AuditOp){.kind = AUDIT_ADD}, "resid_post", d,
        (const char *const[]){parallel ? "resid_pre" : "resid_mid", parallel ? "attn.o_proj" : mlp_out, mlp_out},
        (const size_t[]){d, d, d}, parallel ? 3 : 2);
}

int audit_ops_list(const AuditInputs *in, Arena *arena, AuditOp **ops, size_t *n_ops, Error *e)
{
    const ModelTraits *t = &in->model->traits;
    Builder b = {.in = in, .layer = -1, .cap = (size_t)t->n_layers * 20 + 4};
    b.ops = arena_array(arena, b.cap, sizeof *b.ops);
    if (!b.ops)
        return error_set(e, STATUS_FAILED, "audit: out of memory for the operations of %d layers", t->n_layers);
    add(&b, (AuditOp){.kind = AUDIT_EMBED}, "embed", t->d_model, NULL, NULL, 0);
    for (b.layer = 0; b.layer < t->n_layers; b.layer++)
        list_layer(&b);
    char last[AUDIT_NAME_MAX];
    snprintf(last, sizeof last, "L%d.resid_post", t->n_layers - 1);
    b.layer = -1;
    add_one(&b, (AuditOp){.kind = AUDIT_NORM, .weight = ROLE_FINAL_NORM, .bias = ROLE_FINAL_NORM_BIAS}, "final_norm",
            t->d_model, last, t->d_model);
    add_one(&b, (AuditOp){.kind = AUDIT_LINEAR, .weight = ROLE_HEAD, .bias = ROLE_HEAD_BIAS}, "logits", t->vocab, "final_norm",
            t->d_model);
    if (b.n == 0)
        return error_set(e, STATUS_FAILED, "audit: the record holds no operation of %s", in->model->path);
    *ops = b.ops;
    *n_ops = b.n;
    return STATUS_OK;
}

void audit_change_begin(const AuditInputs *in, const AuditOp *op, AuditChange *out)
{
    const ModelTraits *t = &in->model->traits;
    *out = (AuditChange){.traits = *t, .rope_arithmetic = in->rope, .bias_factor = 1, .product_factor = 1};
    if (op->layer < 0)
        return;
    out->window = t->layers[op->layer].window;
    if (t->layers[op->layer].rope >= 0) {
        out->rope = t->ropes[t->layers[op->layer].rope];
        out->rotates = true;
    }
}

static const Binding *binding(const AuditInputs *in, int layer, Role role)
{
    if (role >= ROLE_COUNT)
        return NULL;
    const Binding *b =
        layer < 0 || role >= ROLE_LAYER_COUNT ? &in->model->bindings.role[role] : &in->model->bindings.layers[layer].role[role];
    return b->n_parts ? b : NULL;
}

static size_t binding_rows(const Binding *b)
{
    size_t rows = 0;
    for (size_t i = 0; i < b->n_parts; i++)
        rows += b->parts[i].rows;
    return rows;
}

/* Rows [first, first + n) of the stacked weight as doubles; vectors are one row after another, first and n count elements. */
static double *read_weight(const AuditInputs *in, const Binding *b, bool vector, size_t first, size_t n)
{
    size_t cols = vector ? 1 : b->parts[0].cols, at = 0;
    double *out = malloc(n * cols * sizeof *out + 1);
    for (size_t i = 0; out && i < b->n_parts; i++) {
        const WeightPart *p = &b->parts[i];
        float *narrow = malloc(p->cols * sizeof *narrow + 1);
        for (size_t r = 0; narrow && r < p->rows; r++) {
            size_t begin = vector ? at + r * p->cols : at + r, width = vector ? p->cols : 1;
            if (begin + width <= first || begin >= first + n)
                continue;
            convert_row_f32(p, r, narrow);
            for (size_t k = 0; k < p->cols; k++) {
                double w = in->precision.store == DTYPE_BF16 ? audit_to_bf16((double)narrow[k]) : (double)narrow[k];
                if (!vector)
                    out[(begin - first) * cols + k] = w;
                else if (begin + k >= first && begin + k < first + n)
                    out[begin + k - first] = w;
            }
        }
        at += vector ? p->rows * p->cols : p->rows;
        if (!narrow) {
            free(out);
            out = NULL;
        }
        free(narrow);
    }
    return out;
}

typedef struct RowsTask {
    const AuditInputs *in;
    const double *x, *w, *bias;
    size_t k, n;
    double bias_factor;
    Ball *y;
    Ball *wide; /* [threads, K] */
} RowsTask;

static void linear_row(void *arg, size_t t, int thread)
{
    RowsTask *a = arg;
    Ball *x = a->wide + (size_t)thread * a->k;
    for (size_t i = 0; i < a->k; i++)
        x[i] = (Ball){a->x[t * a->k + i], 0};
    audit_linear(a->y + t * a->n, x, a->w, a->n, a->k, a->bias, a->bias_factor, a->in->precision);
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

static int linear(const AuditInputs *in, const AuditOp *op, const AuditChange *c, Ball *y, Error *e)
{
    const ModelTraits *t = &c->traits;
    int layer = op->layer < 0 ? -1 : op->layer + c->layer_shift;
    size_t n = op->out->cols, k = op->in[0]->cols, first = c->swapped ? swapped_row(op, t) : op->first_row;
    if (op->layer >= 0 && (layer < 0 || layer >= t->n_layers))
        return STATUS_USAGE;
    const Binding *weight = binding(in, layer, op->weight), *bias = c->no_bias ? NULL : binding(in, layer, op->bias);
    if (!weight || weight->parts[0].cols != k || first + n > binding_rows(weight) || (c->transposed && n != k) ||
        (c->swapped && first == op->first_row) || (c->heads_regrouped && (op->weight != ROLE_QKV || t->head_dim % 2)))
        return STATUS_USAGE;
    RowsTask task = {.in = in, .x = op->in[0]->v, .k = k, .n = n, .bias_factor = c->bias_factor, .y = y};
    double *w = read_weight(in, weight, false, first, n), *b = bias ? read_weight(in, bias, true, first, n) : NULL;
    task.wide = malloc((size_t)pool_threads(in->pool) * k * sizeof *task.wide + 1);
    int status = !w || (bias && !b) || !task.wide ? STATUS_FAILED : STATUS_OK;
    if (!status && c->transposed)
        transpose(w, n);
    if (!status && c->heads_regrouped && !regroup(w, n, k, (size_t)t->head_dim))
        status = STATUS_FAILED;
    if (status) {
        error_set(e, status, "audit: out of memory for the weights of %s", op->out->name);
    } else {
        task.w = w;
        task.bias = b;
        pool_run(in->pool, linear_row, &task, op->out->rows);
    }
    free(task.wide);
    free(b);
    free(w);
    for (size_t i = 0; !status && op->weight == ROLE_HEAD && i < op->out->rows * n; i++) {
        if (t->logit_scale != 1)
            y[i] = audit_round((Ball){y[i].c * (double)t->logit_scale, y[i].r}, in->precision.store);
        if (t->logit_softcap > 0)
            y[i] = (Ball){(double)t->logit_softcap * tanh(y[i].c / (double)t->logit_softcap),
                          y[i].r + 8 * audit_unit(in->precision.store) * (double)t->logit_softcap};
    }
    return status;
}

static int norm(const AuditInputs *in, const AuditOp *op, const AuditChange *c, Ball *y, Error *e)
{
    size_t n = op->out->cols;
    const ModelTraits *t = &c->traits;
    const Binding *gain = c->no_gain ? NULL : binding(in, op->layer, op->weight);
    const Binding *bias = c->no_bias ? NULL : binding(in, op->layer, op->bias);
    double *g = gain ? read_weight(in, gain, true, 0, n) : NULL, *b = bias ? read_weight(in, bias, true, 0, n) : NULL;
    int status = STATUS_OK;
    if ((gain && !g) || (bias && !b))
        status = error_set(e, STATUS_FAILED, "audit: out of memory for the gains of %s", op->out->name);
    AuditNorm spec = {t->norm_kind, (double)t->norm_eps, (double)t->norm_weight_offset, g, b};
    for (size_t r = 0; !status && r < op->out->rows; r++) {
        const double *x = op->in[0]->v + r * n;
        if (!c->no_norm)
            audit_norm(y + r * n, x, n, &spec, in->precision, &c->how);
        for (size_t i = 0; c->no_norm && i < n; i++)
            y[r * n + i] = (Ball){x[i], 0};
    }
    free(b);
    free(g);
    return status;
}

static int embed(const AuditInputs *in, const AuditOp *op, const AuditChange *c, Ball *y, Error *e)
{
    const ModelTraits *t = &c->traits;
    const Binding *words = binding(in, -1, ROLE_EMBED), *places = t->learned_positions ? binding(in, -1, ROLE_POSITIONS) : NULL;
    size_t d = op->out->cols;
    for (size_t r = 0; r < op->out->rows; r++) {
        size_t place = (size_t)((int)r + t->position_offset + c->position_shift);
        double *w = read_weight(in, words, false, (size_t)in->record->ids[r], 1), *p = NULL;
        if (places && place >= binding_rows(places)) {
            free(w);
            return STATUS_USAGE;
        }
        if (places)
            p = read_weight(in, places, false, place, 1);
        for (size_t i = 0; w && (p || !places) && i < d; i++) {
            Ball x = {w[i], 0};
            if (t->embedding_multiplier != 1)
                x = audit_round((Ball){x.c * (double)t->embedding_multiplier, 0}, in->precision.store);
            y[r * d + i] = p ? audit_add(x, (Ball){p[i], 0}, 1, in->precision) : x;
        }
        bool failed = !w || (places && !p);
        free(p);
        free(w);
        if (failed)
            return error_set(e, STATUS_FAILED, "audit: out of memory for the embedding");
    }
    return STATUS_OK;
}

/* x [T, n_heads Dh] rotated; stored rounds the result as an operation of its own does. */
static int rotate(const AuditInputs *in, const AuditChange *c, const AuditTensor *x, int n_heads, bool stored, Ball *y,
                  Error *e)
{
    size_t half = (size_t)c->rope.rotary_dims / 2, n = x->rows, dh = (size_t)c->traits.head_dim;
    size_t positions = n + (size_t)c->position_shift;
    float *cosines = malloc(2 * positions * half * sizeof *cosines + 1);
    double *angles = malloc(half * sizeof *angles + 1);
    if (!cosines || !angles) {
        free(angles);
        free(cosines);
        return error_set(e, STATUS_FAILED, "audit: out of memory for rotary tables of %zu positions", positions);
    }
    float *sines = cosines + positions * half;
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
                y[at + i] = (Ball){x->v[at + i], 0};
            if (c->rotates)
                audit_rope(y + at, x->v + at, dh, (size_t)c->rope.rotary_dims, c->rope.style, cosines + p * half,
                           sines + p * half, angles, in->precision, &c->how);
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
    Ball *queries = malloc((n_q + n_k + 3 * n) * sizeof *queries + 1);
    if (!queries)
        return error_set(e, STATUS_FAILED, "audit: out of memory for attention over %zu tokens", n);
    Ball *keys = queries + n_q;
    int status = STATUS_OK;
    if (op->rotated) {
        for (size_t i = 0; i < n_q; i++)
            queries[i] = (Ball){q->v[i], 0};
        for (size_t i = 0; i < n_k; i++)
            keys[i] = (Ball){k->v[i], 0};
    } else if (!(status = rotate(in, c, q, c->traits.n_heads, true, queries, e))) {
        status = rotate(in, c, k, c->traits.n_kv_heads, true, keys, e);
    }
    AuditAttention a = {.n_heads = c->traits.n_heads,
                        .n_kv_heads = c->traits.n_kv_heads,
                        .head_dim = c->traits.head_dim,
                        .window = c->window,
                        .scale = (double)c->traits.attn_scale,
                        .softcap = (double)c->traits.attn_softcap,
                        .not_causal = c->not_causal,
                        .heads_interleaved = c->heads_interleaved};
    if (!status)
        audit_attention(y, queries, keys, v->v, n, &a, in->precision, &c->how, keys + n_k);
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
        if (op->in[2]) /* the branches may be added to one another first */
            y[i] = audit_add(y[i], (Ball){op->in[2]->v[i], audit_half_ulp(y[i].c, in->precision.store)}, scale, in->precision);
    }
}

/* One expert's contribution to a token: out += share * down(act(gate) * up), balls throughout. */
static int expert(const AuditInputs *in, const AuditOp *op, const AuditChange *c, int x, const Ball *share, Ball *y,
                  bool *begun, Error *e)
{
    const LayerBindings *layer = &in->model->bindings.layers[op->layer];
    size_t d = op->out->cols, f = c->traits.d_ff, n_experts = (size_t)c->traits.route.n_experts;
    DType store = in->precision.store;
    double *gate_up = read_weight(in, &layer->expert_gate_up[x], false, 0, 2 * f);
    double *down = read_weight(in, &layer->expert_down[x], false, 0, d);
    Ball *wide = malloc((d + 3 * f + d) * sizeof *wide), *projected = wide + d, *hidden = projected + 2 * f, *part = hidden + f;
    int status = gate_up && down && wide ? STATUS_OK : error_set(e, STATUS_FAILED, "audit: out of memory for expert %d", x);
    for (size_t t = 0; !status && t < op->out->rows; t++) {
        Ball s = share[t * n_experts + (size_t)x];
        if (s.c == 0)
            continue;
        for (size_t i = 0; i < d; i++)
            wide[i] = (Ball){op->in[0]->v[t * d + i], 0};
        audit_linear(projected, wide, gate_up, 2 * f, d, NULL, 1, in->precision);
        for (size_t i = 0; i < f; i++) {
            Ball gate = audit_round(projected[c->swapped ? f + i : i], store);
            Ball up = audit_round(projected[c->swapped ? i : f + i], store);
            hidden[i] = audit_round(audit_glu(gate, up, c->traits.activation, in->precision, &c->how), store);
        }
        audit_linear(part, hidden, down, d, f, NULL, 1, in->precision);
        for (size_t i = 0; i < d; i++) {
            Ball z = audit_round(part[i], store);
            z = audit_round((Ball){z.c * s.c, fabs(z.c) * s.r + z.r * (fabs(s.c) + s.r)}, store);
            /* the sum so far was stored, but the last one is for the comparison */
            y[t * d + i] = begun[t] ? audit_add(audit_round(y[t * d + i], store), z, 1, in->precision) : z;
        }
        begun[t] = true;
    }
    free(wide);
    free(down);
    free(gate_up);
    return status;
}

static int mixture(const AuditInputs *in, const AuditOp *op, const AuditChange *c, Ball *y, Error *e)
{
    const RouteSpec *route = &c->traits.route;
    size_t rows = op->out->rows, d = op->out->cols, n_experts = (size_t)route->n_experts;
    Ball *share = malloc(rows * n_experts * sizeof *share + 1);
    bool *begun = calloc(rows + 1, sizeof *begun);
    int status = share && begun ? STATUS_OK : error_set(e, STATUS_FAILED, "audit: out of memory for %zu tokens' experts", rows);
    if (!status && (route->top_k < 1 || route->top_k > route->n_experts))
        status = STATUS_USAGE;
    for (size_t i = 0; i < rows * d; i++)
        y[i] = (Ball){0, 0};
    for (size_t t = 0; !status && t < rows; t++)
        if (!audit_route(share + t * n_experts, op->in[1]->v + t * n_experts, route->n_experts, route->top_k, route->normalise,
                         in->precision))
            for (size_t i = 0; i < d; i++)
                y[t * d + i].r = NAN;
    for (int x = 0; !status && x < route->n_experts; x++)
        status = expert(in, op, c, x, share, y, begun, e);
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
        double found = op->out->v[i], off = fabs(found - y[i].c), half = audit_half_ulp(found, store);
        square += y[i].c * y[i].c;
        found_square += found * found;
        product += y[i].c * found;
        error_square += off * off;
        if (isnan(y[i].r))
            continue;
        double margin = off / (y[i].r + half * (1 + 0x1p-20));
        if (!(margin <= 0x1p1000)) /* a NaN is as far off as can be */
            margin = INFINITY;
        out->max_abs = off > out->max_abs || isnan(off) ? off : out->max_abs;
        out->ulp = off / (2 * half) > out->ulp ? off / (2 * half) : out->ulp;
        if (margin > out->margin || i == 0) {
            out->margin = margin;
            out->row = i / op->out->cols;
            out->col = i % op->out->cols;
            out->found = found;
            out->expected = y[i].c;
        }
    }
    out->relative_l2 = square > 0 ? sqrt(error_square / square) : error_square > 0 ? INFINITY : 0;
    out->nmse = out->relative_l2 * out->relative_l2;
    if (square > 0 && found_square > 0)
        out->cosine = product / sqrt(square * found_square);
}
