/* lab_arithmetic.c: one coordinate of one operation, spelled out; see lab_inside.h. Operands are what the engine had, the sum is
 * carried out in f64, and the bound on their difference is the audit's (audit_math.h). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/audit_weights.h"
#include "experiments/lab_solve.h"
#include "loaders/rope_table.h"

typedef enum Where { IN_ATTN, IN_MLP, AT_EMBED, AT_HEAD } Where;
typedef enum Size { SIZE_D, SIZE_Q, SIZE_KV, SIZE_F, SIZE_E, SIZE_V, SIZE_NONE } Size;

typedef struct OpName {
    const char *name;
    Where where;
    Size size;
    bool (*has)(const ModelTraits *t, int layer); /* NULL: every model */
    int (*solve)(LabAsked *a);
} OpName;

static bool norms_first(const ModelTraits *t, int layer)
{
    (void)layer;
    return t->norm_place == NORM_PRE || t->norm_place == NORM_BOTH;
}

static bool norms_second(const ModelTraits *t, int layer)
{
    return norms_first(t, layer) && !t->one_norm;
}

static bool norms_after(const ModelTraits *t, int layer)
{
    (void)layer;
    return t->norm_place != NORM_PRE;
}

static bool norms_heads(const ModelTraits *t, int layer)
{
    (void)layer;
    return t->qk_norm != QK_NORM_NONE;
}

static bool is_dense(const ModelTraits *t, int layer)
{
    return t->layers[layer].mlp != MLP_MOE;
}

static bool is_gated(const ModelTraits *t, int layer)
{
    return t->layers[layer].mlp == MLP_GATED;
}

static bool is_mixture(const ModelTraits *t, int layer)
{
    return t->layers[layer].mlp == MLP_MOE;
}

static bool embeds_plainly(const ModelTraits *t, int layer)
{
    (void)layer;
    return !t->d_embed && !t->embed_norm;
}

static bool norms_finally(const ModelTraits *t, int layer)
{
    (void)layer;
    return t->final_norm;
}

static size_t size_of(const ModelTraits *t, Size size)
{
    size_t dh = (size_t)t->head_dim;
    switch (size) {
    case SIZE_D:
        return t->d_model;
    case SIZE_Q:
        return (size_t)t->n_heads * dh;
    case SIZE_KV:
        return (size_t)t->n_kv_heads * dh;
    case SIZE_F:
        return t->d_ff;
    case SIZE_E:
        return (size_t)t->route.n_experts;
    case SIZE_V:
        return t->vocab;
    case SIZE_NONE:
        break;
    }
    return 1;
}

static const char *attention_input(const LabAsked *a)
{
    return norms_first(a->traits, a->layer) ? "attn_norm" : "stream";
}

static const char *mlp_input(const LabAsked *a)
{
    return !norms_first(a->traits, a->layer) ? "stream" : a->traits->one_norm ? "attn_norm" : "mlp_norm";
}

static int solve_q(LabAsked *a)
{
    return lab_linear(a, ROLE_QKV, ROLE_QKV_BIAS, 0, "W_q", attention_input(a));
}

static int solve_k(LabAsked *a)
{
    return lab_linear(a, ROLE_QKV, ROLE_QKV_BIAS, size_of(a->traits, SIZE_Q), "W_k", attention_input(a));
}

static int solve_v(LabAsked *a)
{
    return lab_linear(a, ROLE_QKV, ROLE_QKV_BIAS, size_of(a->traits, SIZE_Q) + size_of(a->traits, SIZE_KV), "W_v",
                      attention_input(a));
}

static int solve_o(LabAsked *a)
{
    return lab_linear(a, ROLE_O, ROLE_O_BIAS, 0, "W_o", "mix");
}

static int solve_gate(LabAsked *a)
{
    return lab_linear(a, ROLE_GATE_UP, ROLE_GATE_UP_BIAS, 0, "W_gate", mlp_input(a));
}

static int solve_up(LabAsked *a)
{
    size_t first = is_gated(a->traits, a->layer) ? a->traits->d_ff : 0;
    return lab_linear(a, ROLE_GATE_UP, ROLE_GATE_UP_BIAS, first, "W_up", mlp_input(a));
}

static int solve_down(LabAsked *a)
{
    return lab_linear(a, ROLE_DOWN, ROLE_DOWN_BIAS, 0, "W_down", "hidden");
}

static int solve_router(LabAsked *a)
{
    return lab_linear(a, ROLE_ROUTER, ROLE_COUNT, 0, "W_router", mlp_input(a));
}

/* -- norms -- */

static int solve_attn_norm(LabAsked *a)
{
    return lab_norm(a, lab_find_weight(a, LAB_NORM, ROLE_ATTN_NORM), ROLE_ATTN_NORM, ROLE_ATTN_NORM_BIAS, "stream");
}

static int solve_mlp_norm(LabAsked *a)
{
    return lab_norm(a, lab_find_weight(a, LAB_NORM, ROLE_MLP_NORM), ROLE_MLP_NORM, ROLE_MLP_NORM_BIAS, "stream");
}

static int solve_attn_post_norm(LabAsked *a)
{
    bool after = a->traits->norm_place == NORM_AFTER;
    Role role = after ? ROLE_ATTN_NORM : ROLE_ATTN_POST_NORM, bias = after ? ROLE_ATTN_NORM_BIAS : ROLE_ATTN_POST_NORM_BIAS;
    return lab_norm(a, lab_find_weight(a, LAB_NORM, role), role, bias, after ? "attn_add" : "o");
}

static int solve_mlp_post_norm(LabAsked *a)
{
    bool after = a->traits->norm_place == NORM_AFTER;
    Role role = after ? ROLE_MLP_NORM : ROLE_MLP_POST_NORM, bias = after ? ROLE_MLP_NORM_BIAS : ROLE_MLP_POST_NORM_BIAS;
    return lab_norm(a, lab_find_weight(a, LAB_NORM, role), role, bias, after ? "mlp_add" : "down");
}

static int solve_q_norm(LabAsked *a)
{
    return lab_norm(a, lab_find_weight(a, LAB_NORM, ROLE_Q_NORM), ROLE_Q_NORM, ROLE_Q_NORM_BIAS, "q");
}

static int solve_k_norm(LabAsked *a)
{
    return lab_norm(a, lab_find_weight(a, LAB_NORM, ROLE_K_NORM), ROLE_K_NORM, ROLE_K_NORM_BIAS, "k");
}

static int solve_final_norm(LabAsked *a)
{
    return lab_norm(a, lab_find_kind(a, LAB_NORM, 0), ROLE_FINAL_NORM, ROLE_FINAL_NORM_BIAS, "stream");
}

/* -- attention -- */

static int rotated(LabAsked *a, bool query)
{
    const LabOp *attention = lab_find_kind(a, LAB_ATTENTION, 0), *rope = lab_find_kind(a, LAB_ROPE, query ? 0 : 1);
    if (!attention)
        return lab_missing(a);
    int index = a->traits->layers[a->layer].rope;
    const RopeTraits *r = index >= 0 ? &a->traits->ropes[index] : NULL;
    size_t dh = (size_t)a->traits->head_dim, head = a->coordinate / dh, i = a->coordinate % dh;
    double engine = lab_row(&attention->in[query ? 0 : 1], a->row)[a->coordinate];
    char left[48];
    snprintf(left, sizeof left, "%s[%zu]", a->question->op, a->coordinate);
    if (!r || !rope || i >= (size_t)r->rotary_dims) {
        lab_set_formula(a, left, "a");
        lab_scalar(a, "a", rope ? lab_row(&rope->in[0], a->row)[a->coordinate] : engine);
        lab_set_value(a, (Ball){a->out->scalars[0].value, 0}, engine);
        return STATUS_OK;
    }
    size_t half = (size_t)r->rotary_dims / 2, n = a->stream->n;
    size_t pair = r->style == ROPE_HALF ? i % half : i / 2;
    bool first = r->style == ROPE_HALF ? i < half : i % 2 == 0;
    size_t other = r->style == ROPE_HALF ? (first ? i + half : i - half) : (first ? i + 1 : i - 1);
    float *cosines = malloc(2 * n * half * sizeof *cosines);
    double *angles = malloc(half * sizeof *angles);
    Ball *y = malloc(dh * sizeof *y);
    int status = cosines && angles && y ? STATUS_OK : lab_no_memory(a);
    if (!status) {
        float *sines = cosines + n * half;
        rope_table_fill(r, lab_bench(a->lab)->session.rope, n, n, cosines, sines);
        for (size_t k = 0; k < half; k++)
            angles[k] = (double)a->row * pow(r->theta, -2.0 * (double)k / r->rotary_dims);
        const double *x = lab_row(&rope->in[0], a->row) + head * dh;
        AuditRoundings how = {0};
        audit_rope(y, x, dh, (size_t)r->rotary_dims, r->style, cosines + a->row * half, sines + a->row * half, angles,
                   lab_precision(a), &how);
        double c = (double)cosines[a->row * half + pair], s = (double)sines[a->row * half + pair];
        lab_scalar(a, "a", x[i]);
        lab_scalar(a, "b", x[other]);
        lab_scalar(a, "cos", c);
        lab_scalar(a, "sin", s);
        lab_scalar(a, "angle", atan2(s, c));
        lab_scalar(a, "sign", first ? -1 : 1);
        lab_set_formula(a, left, first ? "a cos(angle) - b sin(angle)" : "a cos(angle) + b sin(angle)");
        lab_set_value(a, y[i], engine);
    }
    free(y);
    free(angles);
    free(cosines);
    return status;
}

static int solve_q_rotated(LabAsked *a)
{
    return rotated(a, true);
}

static int solve_k_rotated(LabAsked *a)
{
    return rotated(a, false);
}

/* head and key of the question, checked. */
static int check_key(LabAsked *a, const LabOp *attention, size_t *first)
{
    const LabQuestion *q = a->question;
    int window = attention->attention.window;
    *first = window > 0 && a->row + 1 > (size_t)window ? a->row + 1 - (size_t)window : 0;
    if (q->head < 0 || q->head >= a->traits->n_heads)
        return error_set(a->e, STATUS_USAGE, "\"head\": expected 0 to %d for \"%s\"", a->traits->n_heads - 1, q->op);
    if (q->key < (int64_t)*first || q->key > (int64_t)a->row)
        return error_set(a->e, STATUS_USAGE, "\"key\": expected %zu to %zu, the tokens that token %zu sees", *first, a->row,
                         a->row);
    a->out->head = (int)q->head;
    return STATUS_OK;
}

static int solve_score(LabAsked *a)
{
    const LabOp *op = lab_find_kind(a, LAB_ATTENTION, 0);
    size_t first, seen_first;
    if (!op)
        return lab_missing(a);
    int status = check_key(a, op, &first);
    if (status)
        return status;
    const AttnSpec *spec = &op->attention;
    size_t dh = (size_t)spec->head_dim, head = (size_t)a->question->head, key = (size_t)a->question->key;
    size_t kv = head / (size_t)(spec->n_heads / spec->n_kv_heads);
    double *scores = malloc((a->row + 1) * sizeof *scores);
    if (!scores || !lab_operand(a, "q", "q_rotated", lab_row(&op->in[0], a->row) + head * dh, head * dh, dh, 1) ||
        !lab_operand(a, "k", "k_rotated", lab_row(&op->in[1], key) + kv * dh, kv * dh, dh, 1)) {
        free(scores);
        return lab_no_memory(a);
    }
    lab_scores(op, head, a->row, scores, &seen_first);
    lab_scalar(a, "factor", (double)spec->scale);
    if (spec->softcap > 0)
        lab_scalar(a, "softcap", (double)spec->softcap);
    a->out->value = scores[key - first];
    free(scores);
    double plain = 0;
    for (size_t i = 0; i < dh; i++)
        plain += a->out->operands[0].values[i] * a->out->operands[1].values[i];
    plain *= (double)spec->scale;
    if (spec->softcap > 0)
        plain = (double)spec->softcap * tanh(plain / (double)spec->softcap);
    if (spec->alibi_slopes)
        lab_scalar(a, "alibi", a->out->value - plain);
    lab_set_formula(a, "score",
                    spec->alibi_slopes  ? "scale * sum_i q[i] * k[i] + alibi"
                    : spec->softcap > 0 ? "softcap * tanh(scale * sum_i q[i] * k[i] / softcap)"
                                        : "scale * sum_i q[i] * k[i]");
    a->out->engine = a->out->bound = NAN;
    return STATUS_OK;
}

static int solve_softmax(LabAsked *a)
{
    const LabOp *op = lab_find_kind(a, LAB_ATTENTION, 0);
    size_t first, seen_first;
    if (!op)
        return lab_missing(a);
    int status = check_key(a, op, &first);
    if (status)
        return status;
    double *scores = malloc((a->row + 1) * sizeof *scores), most = -INFINITY, sum = 0;
    if (!scores)
        return lab_no_memory(a);
    size_t n = lab_scores(op, (size_t)a->question->head, a->row, scores, &seen_first), at = (size_t)a->question->key - first;
    for (size_t i = 0; i < n; i++)
        most = scores[i] > most ? scores[i] : most;
    for (size_t i = 0; i < n; i++)
        sum += exp(scores[i] - most);
    lab_scalar(a, "max", most);
    lab_scalar(a, "sum", sum);
    lab_scalar(a, "score", scores[at]);
    a->out->value = exp(scores[at] - most) / sum;
    const double *kept = lab_operand(a, "scores", "score", scores, first, n, 1);
    free(scores);
    lab_set_formula(a, "softmax", "exp(score - max) / sum_k exp(score_k - max)");
    a->out->engine = a->out->bound = NAN;
    return kept ? STATUS_OK : lab_no_memory(a);
}

/* Weights and values err as audit_attention says: here for one head and row, whose scores are balls of radius r. */
static int solve_mix(LabAsked *a)
{
    const LabOp *op = lab_find_kind(a, LAB_ATTENTION, 0);
    if (!op)
        return lab_missing(a);
    const AttnSpec *spec = &op->attention;
    size_t dh = (size_t)spec->head_dim, head = a->coordinate / dh, kv = head / (size_t)(spec->n_heads / spec->n_kv_heads);
    size_t column = kv * dh + a->coordinate % dh, first;
    double *weights = malloc((a->row + 1) * sizeof *weights), u = audit_unit(a->store), most_r = 0, most = 0, away = 0;
    if (!weights)
        return lab_no_memory(a);
    size_t n = lab_scores(op, head, a->row, weights, &first);
    for (size_t key = first; key <= a->row; key++) {
        double size = 0;
        for (size_t i = 0; i < dh; i++)
            size += fabs(lab_row(&op->in[0], a->row)[head * dh + i] * lab_row(&op->in[1], key)[kv * dh + i]);
        double r = (audit_gamma(dh, u) + 2 * u) * size * fabs((double)spec->scale) + 8 * u * fabs((double)spec->softcap) +
                   4 * u * fabs(weights[key - first]);
        most_r = r > most_r ? r : most_r;
        most = key == first || weights[key - first] > most ? weights[key - first] : most;
    }
    for (size_t i = 0; i < n; i++)
        away = most - weights[i] > away ? most - weights[i] : away;
    lab_softmax(weights, n);
    a->out->head = (int)head;
    const double *w = lab_operand(a, "x", "softmax", weights, first, n, 1);
    const double *v = lab_operand(a, "w", "v", lab_row(&op->in[2], first) + column, first, n, op->in[2].cols);
    free(weights);
    if (!w || !v)
        return lab_no_memory(a);
    double value = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        value += w[i] * v[i];
        size += fabs(w[i] * v[i]);
    }
    /* a share errs by what its score and the sum of all shares err, exp by 8 u, its argument by u times how far it is from the maximum */
    double relative = expm1(2 * most_r) + (away + 8) * u + audit_gamma(n, u) + 3 * u;
    char left[48];
    snprintf(left, sizeof left, "mix[%zu]", a->coordinate);
    lab_set_formula(a, left, "sum_k softmax[k] * v[k]");
    lab_set_value(a, (Ball){value, (relative + audit_gamma(n, u)) * size}, lab_row(&op->out, a->row)[a->coordinate]);
    return STATUS_OK;
}

/* -- sums and products -- */

static int sum(LabAsked *a, const LabOp *op, const char *left)
{
    if (!op)
        return lab_missing(a);
    double before = lab_row(&op->in[0], a->row)[a->coordinate], added = lab_row(&op->in[1], a->row)[a->coordinate];
    char name[48];
    lab_scalar(a, "before", before);
    lab_scalar(a, "added", added);
    lab_scalar(a, "factor", op->scale);
    snprintf(name, sizeof name, "%s[%zu]", left, a->coordinate);
    bool plain = !(op->scale < 1) && !(op->scale > 1);
    lab_set_formula(a, name, plain ? "before + added" : "before + factor * added");
    lab_set_value(a, audit_add((Ball){before, 0}, (Ball){added, 0}, op->scale, lab_precision(a)),
                  lab_row(&op->out, a->row)[a->coordinate]);
    return STATUS_OK;
}

static int solve_attn_add(LabAsked *a)
{
    return sum(a, lab_find_kind(a, LAB_ADD, 0), "attn_add");
}

static int solve_mlp_add(LabAsked *a)
{
    size_t nth = lab_step_is_whole(a->lab, a->order, (size_t)a->question->step) ? 1 : 0;
    return sum(a, lab_find_kind(a, LAB_ADD, nth), "mlp_add");
}

static int solve_hidden(LabAsked *a)
{
    bool gated = is_gated(a->traits, a->layer);
    const LabOp *op = lab_find_kind(a, gated ? LAB_GLU : LAB_ACT, 0);
    if (!op)
        return lab_missing(a);
    AuditRoundings how = {.activation_fused = true};
    Ball x = {lab_row(&op->in[0], a->row)[a->coordinate], 0}, up = {0, 0};
    Ball active = audit_activate(x, a->traits->activation, lab_precision(a), &how);
    char left[48];
    snprintf(left, sizeof left, "hidden[%zu]", a->coordinate);
    lab_set_formula(a, left, gated ? "act(gate) * up" : "act(up)");
    lab_scalar(a, gated ? "gate" : "up", x.c);
    lab_scalar(a, "act", active.c);
    if (gated) {
        up.c = lab_row(&op->in[1], a->row)[a->coordinate];
        lab_scalar(a, "up", up.c);
        active = audit_glu(x, up, a->traits->activation, lab_precision(a), &how);
    }
    lab_set_value(a, active, lab_row(&op->out, a->row)[a->coordinate]);
    return STATUS_OK;
}

/* -- embedding and head -- */

static int solve_embed(LabAsked *a)
{
    const ModelTraits *t = a->traits;
    LabOperand place = {0};
    size_t id = (size_t)a->ids[a->question->position], position = (size_t)((int)a->question->position + t->position_offset);
    double *w = lab_matrix_row(a->model, audit_weights_find(a->model, 0, ROLE_EMBED), id, &a->out->operands[0]);
    a->out->n_operands = w != NULL;
    double *p = t->learned_positions
                    ? lab_matrix_row(a->model, audit_weights_find(a->model, 0, ROLE_POSITIONS), position, &place)
                    : NULL;
    double *stream = malloc(t->d_model * sizeof *stream);
    int status = w && stream && (p || !t->learned_positions) ? STATUS_OK : lab_no_memory(a);
    if (!status) {
        double factor = (double)t->embedding_multiplier;
        lab_node_rows(a->lab, a->stream->point[0], (size_t)a->question->position, 1, stream);
        Ball y = {w[a->coordinate] * factor, audit_unit(a->store) * fabs(w[a->coordinate] * factor)};
        lab_scalar(a, "row", (double)id);
        lab_scalar(a, "x", w[a->coordinate]);
        lab_scalar(a, "factor", factor);
        if (p) {
            lab_scalar(a, "position", p[a->coordinate]);
            y = audit_add(y, (Ball){p[a->coordinate], 0}, 1, lab_precision(a));
        }
        char left[48];
        snprintf(left, sizeof left, "embed[%zu]", a->coordinate);
        lab_set_formula(a, left, p ? "E[id, i] * factor + P[position, i]" : "E[id, i] * factor");
        lab_set_value(a, y, stream[a->coordinate]);
    }
    free(stream);
    free(p);
    return status;
}

static int solve_logit(LabAsked *a)
{
    const ModelTraits *t = a->traits;
    const LabOp *op = lab_find_kind(a, LAB_HEAD, 0);
    size_t n_bias;
    if (!op)
        return lab_missing(a);
    const double *x = lab_operand(a, "x",
                                  t->d_embed      ? "project_out"
                                  : t->final_norm ? "final_norm"
                                                  : "stream",
                                  op->in[0].v, 0, op->in[0].cols, 1);
    const double *w = lab_matrix_row(a->model, audit_weights_find(a->model, 0, ROLE_HEAD), a->coordinate, &a->out->operands[1]);
    a->out->n_operands += w != NULL;
    double *bias = lab_vector(audit_weights_find(a->model, 0, ROLE_HEAD_BIAS), &n_bias);
    int status = x && w && a->out->operands[1].n == op->in[0].cols ? STATUS_OK : lab_no_memory(a);
    if (!status) {
        Ball y = lab_dot(x, w, op->in[0].cols, bias ? bias + a->coordinate : NULL, lab_precision(a));
        double scale = (double)t->logit_scale, cap = (double)t->logit_softcap;
        if (bias)
            lab_scalar(a, "bias", bias[a->coordinate]);
        lab_scalar(a, "factor", scale);
        y = (Ball){y.c * scale, (y.r + 2 * audit_unit(a->store) * fabs(y.c)) * fabs(scale)};
        if (cap > 0) {
            lab_scalar(a, "softcap", cap);
            y = (Ball){cap * tanh(y.c / cap), y.r + 8 * audit_unit(a->store) * cap};
        }
        char left[48];
        snprintf(left, sizeof left, "logit[%zu]", a->coordinate);
        lab_set_formula(a, left,
                        cap > 0 ? "softcap * tanh(factor * sum_j W_head[id,j] * x[j] / softcap)"
                        : bias  ? "factor * (sum_j W_head[id,j] * x[j] + bias)"
                                : "factor * sum_j W_head[id,j] * x[j]");
        lab_set_value(a, y, op->out.v[a->coordinate]);
    }
    free(bias);
    return status;
}

static const OpName ops[] = {
    {"embed", AT_EMBED, SIZE_D, embeds_plainly, solve_embed},
    {"attn_norm", IN_ATTN, SIZE_D, norms_first, solve_attn_norm},
    {"q", IN_ATTN, SIZE_Q, NULL, solve_q},
    {"k", IN_ATTN, SIZE_KV, NULL, solve_k},
    {"v", IN_ATTN, SIZE_KV, NULL, solve_v},
    {"q_norm", IN_ATTN, SIZE_Q, norms_heads, solve_q_norm},
    {"k_norm", IN_ATTN, SIZE_KV, norms_heads, solve_k_norm},
    {"q_rotated", IN_ATTN, SIZE_Q, NULL, solve_q_rotated},
    {"k_rotated", IN_ATTN, SIZE_KV, NULL, solve_k_rotated},
    {"score", IN_ATTN, SIZE_NONE, NULL, solve_score},
    {"softmax", IN_ATTN, SIZE_NONE, NULL, solve_softmax},
    {"mix", IN_ATTN, SIZE_Q, NULL, solve_mix},
    {"o", IN_ATTN, SIZE_D, NULL, solve_o},
    {"attn_post_norm", IN_ATTN, SIZE_D, norms_after, solve_attn_post_norm},
    {"attn_add", IN_ATTN, SIZE_D, NULL, solve_attn_add},
    {"mlp_norm", IN_MLP, SIZE_D, norms_second, solve_mlp_norm},
    {"gate", IN_MLP, SIZE_F, is_gated, solve_gate},
    {"up", IN_MLP, SIZE_F, is_dense, solve_up},
    {"hidden", IN_MLP, SIZE_F, is_dense, solve_hidden},
    {"down", IN_MLP, SIZE_D, is_dense, solve_down},
    {"router", IN_MLP, SIZE_E, is_mixture, solve_router},
    {"mlp_post_norm", IN_MLP, SIZE_D, norms_after, solve_mlp_post_norm},
    {"mlp_add", IN_MLP, SIZE_D, NULL, solve_mlp_add},
    {"final_norm", AT_HEAD, SIZE_D, norms_finally, solve_final_norm},
    {"logit", AT_HEAD, SIZE_V, NULL, solve_logit},
};
enum { N_OPS = sizeof ops / sizeof *ops };

static LabSum kind_of(const char *name)
{
    static const struct {
        const char *name;
        LabSum kind;
    } others[] = {{"embed", LAB_LOOKUP},         {"attn_norm", LAB_NORMED},  {"mlp_norm", LAB_NORMED},
                  {"q_norm", LAB_NORMED},        {"k_norm", LAB_NORMED},     {"attn_post_norm", LAB_NORMED},
                  {"mlp_post_norm", LAB_NORMED}, {"final_norm", LAB_NORMED}, {"q_rotated", LAB_ROTATE},
                  {"k_rotated", LAB_ROTATE},     {"softmax", LAB_SOFTMAX},   {"hidden", LAB_PRODUCT},
                  {"attn_add", LAB_SUM},         {"mlp_add", LAB_SUM}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(others[i].name, name) == 0)
            return others[i].kind;
    return LAB_DOT;
}

static bool in_part(const OpName *op, const OrderItem *item)
{
    if (!item)
        return op->where == AT_EMBED || op->where == AT_HEAD;
    return (op->where == IN_ATTN && item->part != PART_MLP) || (op->where == IN_MLP && item->part != PART_ATTN);
}

bool lab_arithmetic_each(const Lab *lab, const OrderItem *item, size_t *at, const char **name, size_t *size)
{
    const ModelTraits *t = &lab_bench(lab)->model.traits;
    for (; *at < N_OPS; ++*at) {
        const OpName *op = &ops[*at];
        if (!in_part(op, item) || (op->has && !op->has(t, item ? item->layer : 0)))
            continue;
        *name = op->name;
        *size = size_of(t, op->size);
        ++*at;
        return true;
    }
    return false;
}

static int check_question(const LabAsked *a, const OpName *op)
{
    const LabQuestion *q = a->question;
    const ModelTraits *t = a->traits;
    bool inside = op->where == IN_ATTN || op->where == IN_MLP;
    size_t size = size_of(t, op->size);
    if (q->position < 0 || (size_t)q->position >= a->stream->n)
        return error_set(a->e, STATUS_USAGE, "\"position\": expected 0 to %zu, a token of the text", a->stream->n - 1);
    if (inside && (q->step < 0 || (size_t)q->step >= a->stream->n_steps))
        return error_set(a->e, STATUS_USAGE, "\"step\": expected 0 to %zu for \"%s\"",
                         a->stream->n_steps ? a->stream->n_steps - 1 : 0, op->name);
    if (!inside && q->step >= 0)
        return error_set(a->e, STATUS_USAGE, "\"step\": \"%s\" belongs to no step", op->name);
    if (inside && !in_part(op, &a->order->items[q->step]))
        return error_set(a->e, STATUS_USAGE, "step %lld of this order runs without its %s: it has no \"%s\"",
                         (long long)q->step, op->where == IN_ATTN ? "attention" : "MLP", op->name);
    if (op->has && !op->has(t, inside ? a->order->items[q->step].layer : 0))
        return error_set(a->e, STATUS_USAGE, "this model has no \"%s\"%s", op->name, inside ? " in this layer" : "");
    if (op->size != SIZE_NONE && (q->coordinate < 0 || (size_t)q->coordinate >= size))
        return error_set(a->e, STATUS_USAGE, "\"coordinate\": expected 0 to %zu for \"%s\"", size - 1, op->name);
    return STATUS_OK;
}

int lab_arithmetic(Lab *lab, const LabStream *s, const Order *order, const int32_t *ids, const LabQuestion *question,
                   LabArithmetic *out, Error *e)
{
    memset(out, 0, sizeof *out);
    const Workbench *b = lab_bench(lab);
    const OpName *op = NULL;
    for (size_t i = 0; i < N_OPS && !op; i++)
        op = strcmp(ops[i].name, question->op) == 0 ? &ops[i] : NULL;
    if (!op)
        return error_set(e, STATUS_USAGE, "\"op\": there is no \"%.40s\"; \"list\" names them", question->op);
    LabRecord record = {0};
    LabAsked a = {.lab = lab,
                  .model = &b->model,
                  .traits = &b->model.traits,
                  .stream = s,
                  .order = order,
                  .ids = ids,
                  .question = question,
                  .record = &record,
                  .store = b->session.ops->act_dtype,
                  .out = out,
                  .e = e};
    int status = check_question(&a, op);
    if (status)
        return status;
    size_t step = (size_t)question->step;
    if (op->where == IN_ATTN || op->where == IN_MLP) {
        Part part = lab_step_is_whole(lab, order, step) ? PART_BOTH : op->where == IN_ATTN ? PART_ATTN : PART_MLP;
        a.layer = order->items[step].layer;
        a.row = (size_t)question->position;
        status = lab_watch_step(lab, s, order, step, part, ids, &record, e);
    } else if (op->where == AT_HEAD) {
        status = lab_watch_head(lab, s->point[s->n_steps], (size_t)question->position, &record, e);
    }
    a.coordinate = op->size == SIZE_NONE ? 0 : (size_t)question->coordinate;
    out->kind = kind_of(op->name);
    out->size = size_of(a.traits, op->size);
    out->head = op->size == SIZE_Q || op->size == SIZE_KV ? (int)(a.coordinate / (size_t)a.traits->head_dim) : -1;
    if (!status)
        status = op->solve(&a);
    lab_record_free(&record);
    if (status)
        lab_arithmetic_free(out);
    return status;
}

void lab_arithmetic_free(LabArithmetic *a)
{
    for (size_t i = 0; i < a->n_operands; i++)
        free(a->operands[i].values);
    memset(a, 0, sizeof *a);
}
