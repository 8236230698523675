/* audit_adjoint.c: see audit_adjoint.h. */
#include "experiments/audit_adjoint.h"

#include <math.h>
#include <stdlib.h>

#include "experiments/audit_walk.h"

typedef struct Pass {
    const AuditInputs *in;
    const AuditReport *report;
    const AuditRecord *reference;
    double **bar; /* [n_tensors]: the loss by each recorded array; NULL until it is read */
    Ball *y;      /* scratch */
    AuditBudget *budget;
} Pass;

static double *bar_of(Pass *p, const AuditTensor *t)
{
    size_t i = (size_t)(t - p->in->record->tensors);
    if (!p->bar[i])
        p->bar[i] = calloc(t->rows * t->cols + 1, sizeof **p->bar);
    return p->bar[i];
}

/* The mean loss by the logits; returns what the run's own losses add to it over those of its logits. */
static double begin(const AuditTensor *logits, const int32_t *ids, const double *nll, double *bar)
{
    size_t n = logits->rows, v = logits->cols;
    double own = 0;
    for (size_t t = 0; t + 1 < n; t++) {
        const double *z = logits->v + t * v;
        double most = z[0], total = 0;
        for (size_t i = 1; i < v; i++)
            most = z[i] > most ? z[i] : most;
        for (size_t i = 0; i < v; i++)
            total += exp(z[i] - most);
        for (size_t i = 0; i < v; i++)
            bar[t * v + i] = (exp(z[i] - most) / total - (i == (size_t)ids[t + 1])) / (double)(n - 1);
        own += (nll[t] - (most + log(fmax(total, 1)) - z[ids[t + 1]])) / (double)(n - 1); /* the largest term is 1 */
    }
    return own;
}

/* What the rounding of experts' shares to f32 in the reference itself does to it: p->y <- found minus unrounded, sum with bar. */
static int reference_share(Pass *p, const AuditOp *op, const double *bar, double *share, Error *e)
{
    AuditOp own = *op;
    AuditInputs in = *p->in;
    AuditChange change;
    own.out = audit_record_find(p->reference, op->out->name);
    for (int k = 0; k < 2; k++)
        own.in[k] = audit_record_find(p->reference, op->in[k]->name);
    if (!own.out || !own.in[0] || !own.in[1])
        return error_set(e, STATUS_FAILED, "audit: the reference holds no %s", op->out->name);
    in.record = p->reference;
    in.precision.store = DTYPE_F32; /* f64 centres, shares as they come */
    audit_change_begin(&in, &own, &change);
    int status = audit_op_evaluate(&in, &own, &change, p->y, e);
    for (size_t i = 0; !status && i < own.out->rows * own.out->cols; i++)
        *share += isnan(p->y[i].r) ? 0 : bar[i] * (own.out->v[i] - p->y[i].c);
    return status;
}

static int one_op(Pass *p, size_t index, Error *e)
{
    const AuditOp *op = &p->report->ops[index];
    size_t values = op->out->rows * op->out->cols;
    double *bar = p->bar[op->out - p->in->record->tensors];
    if (!bar) /* nothing that follows reads it */
        return STATUS_OK;
    AuditChange change;
    audit_change_begin(p->in, op, &change);
    int status = audit_op_evaluate(p->in, op, &change, p->y, e);
    double share = 0;
    for (size_t i = 0; !status && i < values; i++) {
        double bound = p->y[i].r + audit_half_ulp(op->out->v[i], p->in->precision.store);
        if (isnan(bound))
            continue;
        share += bar[i] * (op->out->v[i] - p->y[i].c);
        p->budget->band += fabs(bar[i]) * bound;
        p->budget->band_rms += bar[i] * bound * (bar[i] * bound);
    }
    double reference = 0;
    if (!status && op->kind == AUDIT_MOE)
        status = reference_share(p, op, bar, &reference, e);
    share -= reference;
    p->budget->share[index] = share;
    p->budget->predicted += share;
    double *in_bar[3] = {NULL};
    for (int k = 0; !status && k < 3; k++)
        if (op->in[k] && !(in_bar[k] = bar_of(p, op->in[k])))
            status = error_set(e, STATUS_FAILED, "audit: out of memory for the derivative of %s", op->in[k]->name);
    return status ? status : audit_op_backward(p->in, op, bar, in_bar, e);
}

int audit_adjoint_budget(const AuditInputs *in, const AuditReport *report, const AuditRecord *reference, const double *nll,
                         double observed, Arena *arena, AuditBudget *out, Error *e)
{
    size_t most = 0, n_tensors = in->record->n_tensors;
    for (size_t i = 0; i < report->n; i++) {
        size_t values = report->ops[i].out->rows * report->ops[i].out->cols;
        most = values > most ? values : most;
    }
    const AuditTensor *logits = audit_record_find(in->record, "logits");
    if (!logits || report->n_absent)
        return error_set(e, STATUS_FAILED, "audit: %s was not recorded: the budget needs every operation",
                         logits ? report->first_absent : "logits");
    *out = (AuditBudget){.observed = observed, .share = arena_array(arena, report->n + 1, sizeof *out->share)};
    Pass p = {.in = in,
              .report = report,
              .reference = reference,
              .budget = out,
              .bar = calloc(n_tensors, sizeof *p.bar),
              .y = malloc(most * sizeof *p.y + 1)};
    int status = STATUS_OK;
    if (!out->share || !p.bar || !p.y || !bar_of(&p, logits))
        status = error_set(e, STATUS_FAILED, "audit: out of memory for the derivatives of %zu operations", report->n);
    else
        out->own = out->predicted = begin(logits, in->record->ids, nll, bar_of(&p, logits));
    for (size_t i = report->n; !status && i-- > 0;) {
        status = audit_stopped(in->stop, e);
        if (!status)
            status = one_op(&p, i, e);
        size_t done = (size_t)(report->ops[i].out - in->record->tensors);
        free(p.bar[done]); /* every reader came later in the forward pass */
        p.bar[done] = NULL;
    }
    out->band_rms = sqrt(out->band_rms);
    for (size_t i = 0; p.bar && i < n_tensors; i++)
        free(p.bar[i]);
    free(p.bar);
    free(p.y);
    return status;
}
