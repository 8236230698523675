/* audit_own.c: recording a text in the arithmetic asked for and in ref64, and measuring one against the other. */
#include "experiments/audit_own.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/audit_adjoint.h"
#include "experiments/audit_tap.h"

void audit_distance(const double *found, const double *expected, size_t n, DType store, AuditDistance *out)
{
    *out = (AuditDistance){.cosine = 1, .n = n};
    double square = 0, found_square = 0, product = 0, error_square = 0;
    for (size_t i = 0; i < n; i++) {
        double off = fabs(found[i] - expected[i]);
        double larger = fabs(expected[i]) > fabs(found[i]) ? expected[i] : found[i];
        double ulp = off / (2 * audit_half_ulp(larger, store));
        square += expected[i] * expected[i];
        found_square += found[i] * found[i];
        product += found[i] * expected[i];
        error_square += off * off;
        out->max_abs = off > out->max_abs || isnan(off) ? off : out->max_abs;
        out->ulp = ulp > out->ulp || isnan(ulp) ? ulp : out->ulp;
        out->n_equal += audit_stored(expected[i], store) == found[i];
    }
    out->relative_l2 = square > 0 ? sqrt(error_square / square) : error_square > 0 ? INFINITY : 0;
    if (square > 0 && found_square > 0)
        out->cosine = product / sqrt(square * found_square);
}

const char *audit_own_kind(const AuditOp *op)
{
    const char *dot = op->layer < 0 ? NULL : strchr(op->out->name, '.');
    return dot ? dot + 1 : op->out->name;
}

static double mean_loss(const double *nll, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i + 1 < n; i++)
        sum += nll[i];
    return n > 1 ? sum / (double)(n - 1) : NAN;
}

/* What layer l adds to the stream of a run, into out [T, D]. */
static bool contribution(const AuditRecord *r, int layer, double *out, size_t *n)
{
    char name[AUDIT_NAME_MAX];
    snprintf(name, sizeof name, "L%d.resid_pre", layer);
    const AuditTensor *before = audit_record_find(r, name);
    snprintf(name, sizeof name, "L%d.resid_post", layer);
    const AuditTensor *after = audit_record_find(r, name);
    if (!before || !after)
        return false;
    *n = after->rows * after->cols;
    for (size_t i = 0; i < *n; i++)
        out[i] = after->v[i] - before->v[i];
    return true;
}

static int measure(const Workbench *w, AuditOwn *o, Error *e)
{
    const ModelTraits *t = &w->model.traits;
    size_t layers = (size_t)t->n_layers, values = o->mode.n_tokens * t->d_model, n;
    o->accumulated = arena_array(&o->arena, o->report.n + 1, sizeof *o->accumulated);
    o->block = arena_array(&o->arena, layers + 1, sizeof *o->block);
    double *found = malloc(2 * values * sizeof *found + 1);
    if (!o->accumulated || !o->block || !found) {
        free(found);
        return error_set(e, STATUS_FAILED, "audit: out of memory for %zu operations", o->report.n);
    }
    double *expected = found + values;
    int status = STATUS_OK;
    for (size_t i = 0; !status && i < o->report.n; i++) {
        const AuditTensor *out = o->report.ops[i].out, *reference = audit_record_find(&o->reference, out->name);
        if (!reference || reference->cols != out->cols)
            status = error_set(e, STATUS_FAILED, "audit: ref64 gave no %s", out->name);
        else
            audit_distance(out->v, reference->v, out->rows * out->cols, o->mode.store, &o->accumulated[i]);
    }
    for (int l = 0; !status && l < t->n_layers; l++)
        if (contribution(&o->mode, l, found, &n) && contribution(&o->reference, l, expected, &n))
            audit_distance(found, expected, n, o->mode.store, &o->block[l]);
    free(found);
    return status;
}

int audit_own_run(const Workbench *w, const int32_t *ids, size_t n, bool explain, AuditOwn *out, Error *e)
{
    const Session *s = &w->session;
    memset(out, 0, sizeof *out);
    double bytes = (explain ? 3 : 2) * audit_tap_bytes(&w->model, n);
    if (bytes > (double)s->memory_bytes)
        return error_set(
            e, STATUS_USAGE,
            "audit: what %zu tokens leave behind takes %.0f MiB, expected at most --memory, %.0f MiB: a shorter text?", n,
            bytes / 0x1p20, (double)s->memory_bytes / 0x1p20);
    if (s->ops->act_dtype != DTYPE_F32 && s->ops->act_dtype != DTYPE_F64)
        return error_set(e, STATUS_USAGE, "audit: %s keeps activations in %s, expected an arithmetic in F32 or F64",
                         s->ops->name, dtype_name(s->ops->act_dtype));
    out->nll = arena_array(&out->arena, n, sizeof *out->nll);
    out->nll_reference = arena_array(&out->arena, n, sizeof *out->nll_reference);
    if (!out->nll || !out->nll_reference)
        return error_set(e, STATUS_FAILED, "audit: out of memory for %zu tokens", n);
    const volatile sig_atomic_t *stop = w->common->stop;
    int status = audit_tap_record(s, s->ops, ids, n, stop, &out->mode, out->nll, e);
    if (!status)
        status = audit_tap_record(s, &ops_cpu_ref64, ids, n, stop, &out->reference, out->nll_reference, e);
    AuditInputs in = {.model = &w->model,
                      .record = &out->mode,
                      .precision = {.store = out->mode.store, .exact_table = true},
                      .rope = s->rope,
                      .pool = s->pool,
                      .stop = stop};
    if (!status)
        status = audit_report_make(&in, &out->report, e);
    if (!status)
        status = measure(w, out, e);
    out->loss = mean_loss(out->nll, n);
    out->loss_reference = mean_loss(out->nll_reference, n);
    if (!status && explain && n > 1)
        status = audit_adjoint_budget(&in, &out->report, &out->reference, out->nll, out->loss - out->loss_reference,
                                      &out->arena, &out->budget, e);
    out->explained = explain && n > 1;
    if (!status)
        status = audit_checks_run(w, ids, n, &out->checks, e);
    return status;
}

void audit_own_free(AuditOwn *o)
{
    if (!o)
        return;
    audit_report_free(&o->report);
    audit_record_free(&o->mode);
    audit_record_free(&o->reference);
    arena_free(&o->arena);
    memset(o, 0, sizeof *o);
}
