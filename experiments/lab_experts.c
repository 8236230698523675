/* lab_experts.c: a mixture of experts spelled out: the shares that the router's logits give, one expert's gate, up and down rows, and
 * the sum over the chosen experts. The engine runs through the chosen experts in one go (Ops.moe) and keeps the sum alone: an expert's
 * own numbers are computed here from its weights and from what the engine gave it to read. Shares: audit_route (kernels/ops.h,
 * RouteSpec). An expert that every token takes besides: lab_shared.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "experiments/lab_solve.h"

static const LayerBindings *bindings_of(const LabAsked *a)
{
    return &a->model->bindings.layers[a->layer];
}

/* Shares of all experts for the row of the question: [E], malloc'ed; those not chosen 0. NULL: the error is set. */
static Ball *shares_of(LabAsked *a)
{
    const RouteSpec *spec = &a->traits->route;
    const LabOp *op = lab_find_kind(a, OP_ROUTE, 0);
    AuditRoundings how = audit_roundings_of(a->traits);
    Ball *share = malloc((size_t)spec->n_experts * sizeof *share);
    if (!op || !share) {
        op ? lab_no_memory(a) : lab_missing(a);
        free(share);
        return NULL;
    }
    audit_route(share, lab_row(&op->in[0], a->row), spec->n_experts, spec->top_k, spec->normalise, lab_precision(a), &how);
    for (int j = 0; j < spec->top_k && a->out->n_chosen < LAB_CHOSEN; j++)
        a->out->chosen[a->out->n_chosen++] = (int)lab_row(&op->out, a->row)[j];
    return share;
}

int lab_solve_share(LabAsked *a)
{
    const RouteSpec *spec = &a->traits->route;
    const LabOp *op = lab_find_kind(a, OP_ROUTE, 0);
    Ball *share = shares_of(a);
    if (!share)
        return STATUS_FAILED;
    const double *z = lab_operand(a, "logits", "router", lab_row(&op->in[0], a->row), 0, op->in[0].cols, 1);
    double most = -INFINITY, sum = 0, chosen = 0, engine = 0;
    for (int x = 0; z && x < spec->n_experts; x++)
        most = z[x] > most ? z[x] : most;
    for (int x = 0; z && x < spec->n_experts; x++)
        sum += exp(z[x] - most);
    for (int j = 0; z && j < spec->top_k; j++) {
        size_t x = (size_t)lab_row(&op->out, a->row)[j];
        chosen += exp(z[x] - most) / sum;
        if (x == a->coordinate)
            engine = lab_row(&op->in[1], a->row)[j];
    }
    if (z) {
        lab_scalar(a, "score", z[a->coordinate]);
        lab_scalar(a, "max", most);
        lab_scalar(a, "sum", sum);
        lab_scalar(a, "softmax", exp(z[a->coordinate] - most) / sum);
        if (spec->normalise)
            lab_scalar(a, "chosen_sum", chosen);
        char left[48];
        snprintf(left, sizeof left, "share[%zu]", a->coordinate);
        lab_set_formula(a, left,
                        share[a->coordinate].c == 0 ? "0: not among the chosen"
                        : spec->normalise           ? "softmax / chosen_sum, softmax = exp(score - max) / sum"
                                                    : "exp(score - max) / sum");
        lab_set_value(a, share[a->coordinate], engine);
    }
    free(share);
    return z ? STATUS_OK : lab_no_memory(a);
}

/* -- one expert -- */

/* The expert asked for, or the token's first choice; checked. */
static int choose_expert(LabAsked *a, size_t *out)
{
    int n = a->traits->route.n_experts;
    int64_t asked = a->question->expert;
    Ball *share = shares_of(a);
    if (!share)
        return STATUS_FAILED;
    free(share);
    if (asked >= n)
        return error_set(a->e, STATUS_USAGE, "\"expert\": expected 0 to %d", n - 1);
    *out = (size_t)(asked >= 0 ? asked : a->out->chosen[0]);
    a->out->expert = (int)*out;
    return STATUS_OK;
}

/* What the engine gave the experts to read, [D]; NULL: it was not seen. */
static const double *input_of(const LabAsked *a)
{
    const LabOp *op = lab_find_kind(a, OP_MOE, 0);
    return op ? lab_row(&op->in[0], a->row) : NULL;
}

/* Units [first, first + n) of act(gate) * up; gates and ups may be NULL. */
static int hidden_of(LabAsked *a, size_t expert, const double *x, size_t first, size_t n, Ball *gates, Ball *ups, Ball *hidden)
{
    const Binding *b = &bindings_of(a)->expert_gate_up[expert];
    size_t d = a->traits->d_model;
    double *gate = audit_weights_read(b, DTYPE_F32, false, first, n);
    double *up = audit_weights_read(b, DTYPE_F32, false, a->traits->d_expert + first, n);
    AuditRoundings how = audit_roundings_of(a->traits);
    for (size_t i = 0; gate && up && i < n; i++) {
        Ball g = audit_round(lab_dot(x, gate + i * d, d, NULL, lab_precision(a)), a->store);
        Ball u = audit_round(lab_dot(x, up + i * d, d, NULL, lab_precision(a)), a->store);
        hidden[i] = audit_round(audit_glu(g, u, a->traits->activation, lab_precision(a), &how), a->store);
        if (gates)
            gates[i] = g;
        if (ups)
            ups[i] = u;
    }
    int status = gate && up ? STATUS_OK : lab_no_memory(a);
    free(up);
    free(gate);
    return status;
}

static int projection(LabAsked *a, size_t first_row, const char *symbol)
{
    size_t expert;
    const double *x = input_of(a);
    int status = x ? choose_expert(a, &expert) : lab_missing(a);
    if (status)
        return status;
    size_t d = a->traits->d_model;
    x = lab_operand(a, "x", lab_mlp_input(a), x, 0, d, 1);
    const double *w =
        lab_matrix_row(a->model, &bindings_of(a)->expert_gate_up[expert], first_row + a->coordinate, &a->out->operands[1]);
    a->out->n_operands += w != NULL;
    if (!x || !w)
        return lab_no_memory(a);
    char left[64], right[80];
    snprintf(left, sizeof left, "%s[%zu] of expert %zu", a->question->op, a->coordinate, expert);
    snprintf(right, sizeof right, "sum_j %s[%zu,j] * x[j]", symbol, a->coordinate);
    lab_set_formula(a, left, right);
    lab_set_value(a, lab_dot(x, w, d, NULL, lab_precision(a)), NAN);
    return STATUS_OK;
}

int lab_solve_expert_gate(LabAsked *a)
{
    return projection(a, 0, "W_gate");
}

int lab_solve_expert_up(LabAsked *a)
{
    return projection(a, a->traits->d_expert, "W_up");
}

int lab_solve_expert_hidden(LabAsked *a)
{
    size_t expert;
    Ball gate, up, y;
    const double *x = input_of(a);
    int status = x ? choose_expert(a, &expert) : lab_missing(a);
    if (!status)
        status = hidden_of(a, expert, x, a->coordinate, 1, &gate, &up, &y);
    if (status)
        return status;
    lab_scalar(a, "gate", gate.c);
    lab_scalar(a, "act", audit_activation(gate.c, a->traits->activation));
    lab_scalar(a, "up", up.c);
    char left[64];
    snprintf(left, sizeof left, "expert_hidden[%zu] of expert %zu", a->coordinate, expert);
    lab_set_formula(a, left, "act(gate) * up");
    lab_set_value(a, y, NAN);
    return STATUS_OK;
}

/* One coordinate of an expert's output. values (may be NULL): the centres of its hidden units, [F]; w: the row of its down projection. */
static int output_of(LabAsked *a, size_t expert, const double *x, const double *w, double *values, Ball *y)
{
    size_t f = a->traits->d_expert;
    Ball *hidden = malloc(f * sizeof *hidden);
    int status = hidden ? hidden_of(a, expert, x, 0, f, NULL, NULL, hidden) : lab_no_memory(a);
    if (!status)
        audit_linear(y, hidden, w, 1, f, lab_precision(a));
    for (size_t i = 0; !status && values && i < f; i++)
        values[i] = hidden[i].c;
    free(hidden);
    return status;
}

int lab_solve_expert_down(LabAsked *a)
{
    size_t expert, f = a->traits->d_expert;
    const double *x = input_of(a);
    int status = x ? choose_expert(a, &expert) : lab_missing(a);
    if (status)
        return status;
    double *values = calloc(f, sizeof *values), *kept = values ? lab_operand(a, "x", "expert_hidden", values, 0, f, 1) : NULL;
    free(values);
    const double *w = lab_matrix_row(a->model, &bindings_of(a)->expert_down[expert], a->coordinate, &a->out->operands[1]);
    a->out->n_operands += w != NULL;
    Ball y = {0, 0};
    status = kept && w ? output_of(a, expert, x, w, kept, &y) : lab_no_memory(a);
    if (status)
        return status;
    char left[64];
    snprintf(left, sizeof left, "expert_down[%zu] of expert %zu", a->coordinate, expert);
    lab_set_formula(a, left, "sum_j W_down[i,j] * x[j]");
    lab_set_value(a, y, NAN);
    return STATUS_OK;
}

/* -- the sum -- */

/* Outputs of the chosen experts at the coordinate, [E], NaN for the others, and the sum as Ops.moe forms it: see mixture() in
 * audit_ops.c. */
static int sum_of(LabAsked *a, const Ball *share, const double *x, double *outputs, Ball *y)
{
    int status = STATUS_OK;
    bool begun = false;
    for (int e = 0; !status && e < a->traits->route.n_experts; e++) {
        outputs[e] = NAN;
        if (share[e].c == 0)
            continue;
        Ball z = {0, 0};
        double *w = audit_weights_read(&bindings_of(a)->expert_down[e], DTYPE_F32, false, a->coordinate, 1);
        status = w ? output_of(a, (size_t)e, x, w, NULL, &z) : lab_no_memory(a);
        free(w);
        outputs[e] = z.c;
        z = audit_round(z, a->store);
        z = audit_round((Ball){z.c * share[e].c, fabs(z.c) * share[e].r + z.r * (fabs(share[e].c) + share[e].r)}, a->store);
        z.r += (double)(a->traits->route.top_k - 1) * audit_unit(a->store) * fabs(z.c); /* added in any order */
        *y = begun ? audit_add(audit_round(*y, a->store), z, 1, lab_precision(a)) : z;
        begun = true;
    }
    return status;
}

int lab_solve_moe(LabAsked *a)
{
    const LabOp *op = lab_find_kind(a, OP_MOE, 0);
    size_t n = (size_t)a->traits->route.n_experts;
    Ball *share = op ? shares_of(a) : NULL, y = {0, 0};
    if (!share)
        return op ? STATUS_FAILED : lab_missing(a);
    double *centres = calloc(2 * n, sizeof *centres), *outputs = centres ? centres + n : NULL;
    int status = centres ? sum_of(a, share, lab_row(&op->in[0], a->row), outputs, &y) : lab_no_memory(a);
    for (size_t e = 0; !status && e < n; e++)
        centres[e] = share[e].c;
    if (!status &&
        (!lab_operand(a, "share", "share", centres, 0, n, 1) || !lab_operand(a, "output", "expert_down", outputs, 0, n, 1)))
        status = lab_no_memory(a);
    free(centres);
    free(share);
    if (status)
        return status;
    char left[48];
    snprintf(left, sizeof left, "moe[%zu]", a->coordinate);
    lab_set_formula(a, left, "sum over the chosen experts e of share[e] * expert_down_e");
    lab_set_value(a, y, lab_row(&op->out, a->row)[a->coordinate]);
    return STATUS_OK;
}
