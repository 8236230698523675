/* audit_report.c: every operation of a record judged; the first that diverges explained. */
#include <stdlib.h>
#include <string.h>

#include "experiments/audit.h"
#include "experiments/audit_walk.h"

/* GELU's tanh form exists as one kernel and as torch operations one by one: both are right. */
static int judge(const AuditInputs *in, const AuditOp *op, Ball *y, AuditMeasure *out, Error *e)
{
    AuditChange change;
    audit_change_begin(in, op, &change);
    int status = audit_op_evaluate(in, op, &change, y, e);
    if (status == STATUS_USAGE)
        return error_set(e, STATUS_FAILED, "audit: %s: the weights do not have this operation's shape", op->out->name);
    if (status)
        return status;
    audit_op_measure(op, y, in->precision.store, out);
    if (out->margin <= 1 || (op->kind != AUDIT_ACT && op->kind != AUDIT_MOE) || change.traits.activation != ACT_GELU_TANH)
        return STATUS_OK;
    AuditMeasure fused;
    change.how.activation_fused = true;
    if ((status = audit_op_evaluate(in, op, &change, y, e)))
        return status;
    audit_op_measure(op, y, in->precision.store, &fused);
    if (fused.margin < out->margin)
        *out = fused;
    return STATUS_OK;
}

static size_t count_unlisted(const AuditInputs *in, const AuditReport *r)
{
    size_t n = 0;
    for (size_t i = 0; i < in->record->n_tensors; i++) {
        bool listed = false;
        for (size_t j = 0; j < r->n && !listed; j++)
            listed = r->ops[j].out == &in->record->tensors[i];
        n += !listed;
    }
    return n;
}

int audit_report_make(const AuditInputs *in, AuditReport *out, Error *e)
{
    memset(out, 0, sizeof *out);
    AuditOps list = {0};
    int status = audit_ops_list(in, &out->arena, &list, e);
    out->ops = list.ops;
    out->n = list.n;
    out->n_absent = list.n_absent;
    memcpy(out->first_absent, list.first_absent, sizeof list.first_absent);
    size_t most = 0;
    for (size_t i = 0; !status && i < out->n; i++) {
        size_t values = out->ops[i].out->rows * out->ops[i].out->cols;
        most = values > most ? values : most;
    }
    Ball *y = status ? NULL : malloc(most * sizeof *y + 1);
    out->findings = arena_array(&out->arena, out->n + 1, sizeof *out->findings);
    if (!status && (!y || !out->findings))
        status = error_set(e, STATUS_FAILED, "audit: out of memory for %zu operations", out->n);
    out->first = out->n;
    for (size_t i = 0; !status && i < out->n; i++) {
        AuditFinding *f = &out->findings[i];
        f->op = &out->ops[i];
        if ((status = audit_stopped(in->stop, e)) || (status = judge(in, f->op, y, &f->measure, e)))
            break;
        out->n_undecided += f->measure.n_undecided;
        if (!(f->measure.margin <= out->findings[out->worst].measure.margin))
            out->worst = i;
        if (f->measure.margin <= 1)
            continue;
        out->n_diverging++;
        if (out->first == out->n)
            out->first = i;
    }
    if (!status && out->first < out->n)
        status = audit_alternatives_try(in, &out->ops[out->first], y, &out->search, e);
    if (!status)
        out->n_unlisted = count_unlisted(in, out);
    free(y);
    if (status)
        audit_report_free(out);
    return status;
}

void audit_report_free(AuditReport *r)
{
    if (!r)
        return;
    arena_free(&r->arena);
    memset(r, 0, sizeof *r);
}
