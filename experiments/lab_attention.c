/* lab_attention.c: attention spelled out: a coordinate turned by its position, a score, its softmax, and one coordinate of the weighted
 * sum of values. See lab_solve.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "experiments/lab_solve.h"
#include "loaders/rope_table.h"

static int rotated(LabAsked *a, bool query)
{
    const LabOp *attention = lab_find_kind(a, OP_ATTENTION, 0), *rope = lab_find_kind(a, OP_ROPE, query ? 0 : 1);
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

int lab_solve_q_rotated(LabAsked *a)
{
    return rotated(a, true);
}

int lab_solve_k_rotated(LabAsked *a)
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

/* The attention that is asked about, whose question is checked. */
static int find_key(LabAsked *a, const LabOp **op, size_t *first)
{
    *op = lab_find_kind(a, OP_ATTENTION, 0);
    return *op ? check_key(a, *op, first) : lab_missing(a);
}

int lab_solve_score(LabAsked *a)
{
    const LabOp *op;
    size_t first, seen_first;
    int status = find_key(a, &op, &first);
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

int lab_solve_softmax(LabAsked *a)
{
    const LabOp *op;
    size_t first, seen_first;
    int status = find_key(a, &op, &first);
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
int lab_solve_mix(LabAsked *a)
{
    const LabOp *op = lab_find_kind(a, OP_ATTENTION, 0);
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
