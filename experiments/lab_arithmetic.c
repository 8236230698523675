/* lab_arithmetic.c: one coordinate of one operation, spelled out; see lab_inside.h. Operands are what the engine had, the sum is
 * carried out in f64, and the bound on their difference is the audit's (audit_math.h). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/lab_solve.h"

typedef enum Where { IN_ATTN, IN_MLP, AT_EMBED, AT_HEAD } Where;
typedef enum Size { SIZE_D, SIZE_Q, SIZE_KV, SIZE_F, SIZE_E, SIZE_X, SIZE_S, SIZE_ONE, SIZE_V, SIZE_NONE } Size;

typedef struct OpName {
    const char *name;
    LabSum kind;
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

static bool is_shared(const ModelTraits *t, int layer)
{
    return is_mixture(t, layer) && t->d_shared;
}

static bool has_shared_score(const ModelTraits *t, int layer)
{
    return is_shared(t, layer) && t->shared_gate;
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
    case SIZE_X:
        return t->d_expert;
    case SIZE_S:
        return t->d_shared;
    case SIZE_V:
        return t->vocab;
    case SIZE_ONE:
    case SIZE_NONE:
        break;
    }
    return 1;
}

static const char *attention_input(const LabAsked *a)
{
    return norms_first(a->traits, a->layer) ? "attn_norm" : "stream";
}

const char *lab_mlp_input(const LabAsked *a)
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
    return lab_linear(a, ROLE_GATE_UP, ROLE_GATE_UP_BIAS, 0, "W_gate", lab_mlp_input(a));
}

static int solve_up(LabAsked *a)
{
    size_t first = is_gated(a->traits, a->layer) ? a->traits->d_ff : 0;
    return lab_linear(a, ROLE_GATE_UP, ROLE_GATE_UP_BIAS, first, "W_up", lab_mlp_input(a));
}

static int solve_down(LabAsked *a)
{
    return lab_linear(a, ROLE_DOWN, ROLE_DOWN_BIAS, 0, "W_down", "hidden");
}

static int solve_router(LabAsked *a)
{
    return lab_linear(a, ROLE_ROUTER, ROLE_COUNT, 0, "W_router", lab_mlp_input(a));
}

/* -- norms -- */

static int solve_attn_norm(LabAsked *a)
{
    return lab_norm(a, lab_find_weight(a, OP_NORM, ROLE_ATTN_NORM), ROLE_ATTN_NORM, ROLE_ATTN_NORM_BIAS, "stream");
}

static int solve_mlp_norm(LabAsked *a)
{
    return lab_norm(a, lab_find_weight(a, OP_NORM, ROLE_MLP_NORM), ROLE_MLP_NORM, ROLE_MLP_NORM_BIAS, "stream");
}

static int solve_attn_post_norm(LabAsked *a)
{
    bool after = a->traits->norm_place == NORM_AFTER;
    Role role = after ? ROLE_ATTN_NORM : ROLE_ATTN_POST_NORM, bias = after ? ROLE_ATTN_NORM_BIAS : ROLE_ATTN_POST_NORM_BIAS;
    return lab_norm(a, lab_find_weight(a, OP_NORM, role), role, bias, after ? "attn_add" : "o");
}

static int solve_mlp_post_norm(LabAsked *a)
{
    bool after = a->traits->norm_place == NORM_AFTER;
    Role role = after ? ROLE_MLP_NORM : ROLE_MLP_POST_NORM, bias = after ? ROLE_MLP_NORM_BIAS : ROLE_MLP_POST_NORM_BIAS;
    return lab_norm(a, lab_find_weight(a, OP_NORM, role), role, bias, after ? "mlp_add" : "down");
}

static int solve_q_norm(LabAsked *a)
{
    return lab_norm(a, lab_find_weight(a, OP_NORM, ROLE_Q_NORM), ROLE_Q_NORM, ROLE_Q_NORM_BIAS, "q");
}

static int solve_k_norm(LabAsked *a)
{
    return lab_norm(a, lab_find_weight(a, OP_NORM, ROLE_K_NORM), ROLE_K_NORM, ROLE_K_NORM_BIAS, "k");
}

static int solve_final_norm(LabAsked *a)
{
    return lab_norm(a, lab_find_kind(a, OP_NORM, 0), ROLE_FINAL_NORM, ROLE_FINAL_NORM_BIAS, "stream");
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
    return sum(a, lab_find_kind(a, OP_ADD, 0), "attn_add");
}

static int solve_mlp_add(LabAsked *a)
{
    size_t nth = lab_step_is_whole(a->lab, a->order, (size_t)a->question->step) ? 1 : 0;
    return sum(a, lab_find_kind(a, OP_ADD, nth), "mlp_add");
}

static int solve_hidden(LabAsked *a)
{
    return lab_hidden(a, is_gated(a->traits, a->layer));
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
    const LabOp *op = lab_find_kind(a, OP_HEAD, 0);
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
    {"embed", LAB_LOOKUP, AT_EMBED, SIZE_D, embeds_plainly, solve_embed},
    {"attn_norm", LAB_NORMED, IN_ATTN, SIZE_D, norms_first, solve_attn_norm},
    {"q", LAB_DOT, IN_ATTN, SIZE_Q, NULL, solve_q},
    {"k", LAB_DOT, IN_ATTN, SIZE_KV, NULL, solve_k},
    {"v", LAB_DOT, IN_ATTN, SIZE_KV, NULL, solve_v},
    {"q_norm", LAB_NORMED, IN_ATTN, SIZE_Q, norms_heads, solve_q_norm},
    {"k_norm", LAB_NORMED, IN_ATTN, SIZE_KV, norms_heads, solve_k_norm},
    {"q_rotated", LAB_ROTATE, IN_ATTN, SIZE_Q, NULL, lab_solve_q_rotated},
    {"k_rotated", LAB_ROTATE, IN_ATTN, SIZE_KV, NULL, lab_solve_k_rotated},
    {"score", LAB_DOT, IN_ATTN, SIZE_NONE, NULL, lab_solve_score},
    {"softmax", LAB_SOFTMAX, IN_ATTN, SIZE_NONE, NULL, lab_solve_softmax},
    {"mix", LAB_DOT, IN_ATTN, SIZE_Q, NULL, lab_solve_mix},
    {"o", LAB_DOT, IN_ATTN, SIZE_D, NULL, solve_o},
    {"attn_post_norm", LAB_NORMED, IN_ATTN, SIZE_D, norms_after, solve_attn_post_norm},
    {"attn_add", LAB_SUM, IN_ATTN, SIZE_D, NULL, solve_attn_add},
    {"mlp_norm", LAB_NORMED, IN_MLP, SIZE_D, norms_second, solve_mlp_norm},
    {"gate", LAB_DOT, IN_MLP, SIZE_F, is_gated, solve_gate},
    {"up", LAB_DOT, IN_MLP, SIZE_F, is_dense, solve_up},
    {"hidden", LAB_PRODUCT, IN_MLP, SIZE_F, is_dense, solve_hidden},
    {"down", LAB_DOT, IN_MLP, SIZE_D, is_dense, solve_down},
    {"router", LAB_DOT, IN_MLP, SIZE_E, is_mixture, solve_router},
    {"share", LAB_SOFTMAX, IN_MLP, SIZE_E, is_mixture, lab_solve_share},
    {"expert_gate", LAB_DOT, IN_MLP, SIZE_X, is_mixture, lab_solve_expert_gate},
    {"expert_up", LAB_DOT, IN_MLP, SIZE_X, is_mixture, lab_solve_expert_up},
    {"expert_hidden", LAB_PRODUCT, IN_MLP, SIZE_X, is_mixture, lab_solve_expert_hidden},
    {"expert_down", LAB_DOT, IN_MLP, SIZE_D, is_mixture, lab_solve_expert_down},
    {"moe", LAB_DOT, IN_MLP, SIZE_D, is_mixture, lab_solve_moe},
    {"shared_gate", LAB_DOT, IN_MLP, SIZE_S, is_shared, lab_solve_shared_gate},
    {"shared_up", LAB_DOT, IN_MLP, SIZE_S, is_shared, lab_solve_shared_up},
    {"shared_hidden", LAB_PRODUCT, IN_MLP, SIZE_S, is_shared, lab_solve_shared_hidden},
    {"shared_down", LAB_DOT, IN_MLP, SIZE_D, is_shared, lab_solve_shared_down},
    {"shared_score", LAB_DOT, IN_MLP, SIZE_ONE, has_shared_score, lab_solve_shared_score},
    {"mixture", LAB_SUM, IN_MLP, SIZE_D, is_shared, lab_solve_mixture},
    {"mlp_post_norm", LAB_NORMED, IN_MLP, SIZE_D, norms_after, solve_mlp_post_norm},
    {"mlp_add", LAB_SUM, IN_MLP, SIZE_D, NULL, solve_mlp_add},
    {"final_norm", LAB_NORMED, AT_HEAD, SIZE_D, norms_finally, solve_final_norm},
    {"logit", LAB_DOT, AT_HEAD, SIZE_V, NULL, solve_logit},
};
enum { N_OPS = sizeof ops / sizeof *ops };

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
    out->kind = op->kind;
    out->size = size_of(a.traits, op->size);
    out->expert = -1;
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
