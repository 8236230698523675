/* lab_solve.c: see lab_solve.h. */
#include "experiments/lab_solve.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/audit_weights.h"

/* -- weights from the file -- */

/* The tensor whose bytes hold `at`. */
static const char *tensor_name(const Model *m, const void *at)
{
    for (size_t i = 0; i < m->files.n_tensors; i++) {
        const Tensor *t = &m->files.tensors[i];
        const char *begin = t->data;
        if ((const char *)at >= begin && (const char *)at < begin + t->size_bytes)
            return t->name;
    }
    return NULL;
}

/* Row `row` of a stacked matrix as an operand; its values (malloc'ed), or NULL: there is none, or memory is out. */
double *lab_matrix_row(const Model *m, const Binding *b, size_t row, LabOperand *out)
{
    size_t at = 0, i = 0;
    while (b && i < b->n_parts && row - at >= b->parts[i].rows)
        at += b->parts[i++].rows;
    if (!b || i == b->n_parts)
        return NULL;
    double *values = audit_weights_read(b, DTYPE_F32, false, row, 1);
    if (values)
        *out = (LabOperand){.name = "w",
                            .op = "weight",
                            .tensor = tensor_name(m, b->parts[i].data),
                            .row = (int64_t)(row - at),
                            .n = b->parts[i].cols,
                            .values = values};
    return values;
}

/* All of a vector, malloc'ed; NULL: there is none, or memory is out. */
double *lab_vector(const Binding *b, size_t *n)
{
    *n = 0;
    for (size_t i = 0; b && i < b->n_parts; i++)
        *n += b->parts[i].rows * b->parts[i].cols;
    return *n ? audit_weights_read(b, DTYPE_F32, true, 0, *n) : NULL;
}

/* -- pieces of an answer -- */

int lab_no_memory(LabAsked *a)
{
    return error_set(a->e, STATUS_FAILED, "out of memory for \"%s\"", a->question->op);
}

int lab_missing(LabAsked *a)
{
    return error_set(a->e, STATUS_FAILED, "\"%s\" was not seen in the forward pass", a->question->op);
}

void lab_scalar(LabAsked *a, const char *name, double value)
{
    a->out->scalars[a->out->n_scalars++] = (LabScalar){name, value};
}

/* An operand copied from a record's row. */
double *lab_operand(LabAsked *a, const char *name, const char *op, const double *x, size_t first, size_t n, size_t stride)
{
    double *values = malloc(n * sizeof *values + 1);
    if (!values)
        return NULL;
    for (size_t i = 0; i < n; i++)
        values[i] = x[i * stride];
    a->out->operands[a->out->n_operands++] =
        (LabOperand){.name = name, .op = op, .row = -1, .first = first, .n = n, .values = values};
    return values;
}

const double *lab_row(const LabMatrix *m, size_t row)
{
    return m->v + row * m->cols;
}

const LabOp *lab_find_weight(const LabAsked *a, OpKind kind, Role role)
{
    for (size_t i = 0; i < a->record->n; i++)
        if (a->record->ops[i].kind == kind && lab_weight_role(a->lab, a->layer, a->record->ops[i].weight) == role)
            return &a->record->ops[i];
    return NULL;
}

/* The n-th operation of a kind, counted from 0. */
const LabOp *lab_find_kind(const LabAsked *a, OpKind kind, size_t nth)
{
    for (size_t i = 0; i < a->record->n; i++)
        if (a->record->ops[i].kind == kind && nth-- == 0)
            return &a->record->ops[i];
    return NULL;
}

AuditPrecision lab_precision(const LabAsked *a)
{
    return (AuditPrecision){.store = a->store};
}

void lab_set_value(LabAsked *a, Ball b, double engine)
{
    a->out->value = b.c;
    a->out->engine = engine;
    a->out->bound = b.r + audit_half_ulp(engine, a->store);
}

void lab_set_formula(LabAsked *a, const char *left, const char *right)
{
    snprintf(a->out->formula, sizeof a->out->formula, "%s = %s", left, right);
}

void lab_set_formula_at(LabAsked *a, const char *right)
{
    char left[48];
    snprintf(left, sizeof left, "%.24s[%zu]", a->question->op, a->coordinate);
    lab_set_formula(a, left, right);
}

Ball lab_dot(const double *x, const double *w, size_t n, const double *bias, AuditPrecision p)
{
    Ball y;
    audit_linear_output(&y, 1, x, 1, w, n, bias, 1, p.store, NULL);
    return y;
}

/* y[coordinate] = w[first_row + coordinate] . x + bias */
int lab_linear(LabAsked *a, Role role, Role bias_role, size_t first_row, const char *symbol, const char *from)
{
    const LabOp *op = lab_find_weight(a, OP_LINEAR, role);
    if (!op)
        return lab_missing(a);
    size_t row = first_row + a->coordinate, n_bias;
    const double *x = lab_operand(a, "x", from, lab_row(&op->in[0], a->row), 0, op->in[0].cols, 1);
    const double *w = lab_matrix_row(a->model, audit_weights_find(a->model, a->layer, role), row, &a->out->operands[1]);
    a->out->n_operands += w != NULL;
    double *bias = bias_role < ROLE_COUNT ? lab_vector(audit_weights_find(a->model, a->layer, bias_role), &n_bias) : NULL;
    if (!x || !w || a->out->operands[1].n != op->in[0].cols) {
        free(bias);
        return lab_no_memory(a);
    }
    if (bias)
        lab_scalar(a, "bias", bias[row]);
    char right[80];
    snprintf(right, sizeof right, "sum_j %s[%zu,j] * x[j]%s", symbol, a->coordinate, bias ? " + bias" : "");
    lab_set_formula_at(a, right);
    lab_set_value(a, lab_dot(x, w, op->in[0].cols, bias ? bias + row : NULL, lab_precision(a)), lab_row(&op->out, a->row)[row]);
    free(bias);
    return STATUS_OK;
}

int lab_hidden(LabAsked *a, bool gated)
{
    const LabOp *op = lab_find_kind(a, gated ? OP_GLU : OP_ACT, 0);
    if (!op)
        return lab_missing(a);
    AuditRoundings how = {.activation_fused = true};
    Ball x = {lab_row(&op->in[0], a->row)[a->coordinate], 0}, up = {0, 0};
    Ball active = audit_activate(x, a->traits->activation, lab_precision(a), &how);
    lab_set_formula_at(a, gated ? "act(gate) * up" : "act(up)");
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

/* -- norms -- */

int lab_norm(LabAsked *a, const LabOp *op, Role gain_role, Role bias_role, const char *from)
{
    if (!op)
        return lab_missing(a);
    size_t group = op->norm.group, first = a->coordinate / group * group, n_gain, n_bias;
    const double *x = lab_operand(a, "x", from, lab_row(&op->in[0], a->row) + first, first, group, 1);
    double *gain = lab_vector(audit_weights_find(a->model, a->layer, gain_role), &n_gain);
    double *bias = lab_vector(audit_weights_find(a->model, a->layer, bias_role), &n_bias);
    Ball *y = malloc(group * sizeof *y);
    int status = x && y ? STATUS_OK : lab_no_memory(a);
    if (!status) {
        size_t at = a->coordinate - first, shift = n_gain > group ? first : 0;
        AuditNorm spec = {op->norm.kind, (double)op->norm.eps, (double)op->norm.weight_offset, gain ? gain + shift : NULL,
                          bias ? bias + (n_bias > group ? first : 0) : NULL};
        AuditRoundings how = {0};
        audit_norm(y, x, group, &spec, lab_precision(a), &how);
        double mean = 0, square = 0;
        for (size_t i = 0; i < group; i++)
            mean += x[i] / (double)group;
        if (op->norm.kind == NORM_RMS)
            mean = 0;
        for (size_t i = 0; i < group; i++)
            square += (x[i] - mean) * (x[i] - mean) / (double)group;
        if (op->norm.kind == NORM_LAYER)
            lab_scalar(a, "mean", mean);
        lab_scalar(a, op->norm.kind == NORM_LAYER ? "variance" : "mean_square", square);
        lab_scalar(a, "epsilon", spec.eps);
        lab_scalar(a, "scale", 1 / sqrt(square + spec.eps));
        lab_scalar(a, "x", x[at]);
        lab_scalar(a, "gain", (spec.gain ? spec.gain[at] : 1) + spec.offset);
        if (spec.bias)
            lab_scalar(a, "bias", spec.bias[at]);
        lab_set_formula_at(a, op->norm.kind == NORM_LAYER ? (spec.bias ? "(x - mean) / sqrt(variance + epsilon) * gain + bias"
                                                                       : "(x - mean) / sqrt(variance + epsilon) * gain")
                                                          : (spec.bias ? "x / sqrt(mean(x^2) + epsilon) * gain + bias"
                                                                       : "x / sqrt(mean(x^2) + epsilon) * gain"));
        lab_set_value(a, y[at], lab_row(&op->out, a->row)[a->coordinate]);
    }
    free(y);
    free(bias);
    free(gain);
    return status;
}
