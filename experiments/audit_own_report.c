/* audit_own_report.c: the audit of our own run as text and as JSON. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/audit_own.h"
#include "experiments/table.h"

static void put_distance(StrBuf *b, const char *name, const AuditDistance *d)
{
    strbuf_json_field(b, name);
    strbuf_puts(b, "{\"max_abs\": ");
    strbuf_json_number(b, d->max_abs);
    strbuf_json_field_number(b, "ulp", d->ulp);
    strbuf_json_field_number(b, "relative_l2", d->relative_l2);
    strbuf_json_field_number(b, "cosine", d->cosine);
    strbuf_json_field_number(b, "n_equal", (double)d->n_equal);
    strbuf_putc(b, '}');
}

static void put_operation(StrBuf *b, const AuditOwn *o, size_t i)
{
    const AuditOp *op = &o->report.ops[i];
    const AuditMeasure *m = &o->report.findings[i].measure;
    strbuf_puts(b, "{\"name\": ");
    strbuf_json_string(b, op->out->name, strlen(op->out->name));
    strbuf_printf(b, ", \"layer\": %d", op->layer);
    strbuf_json_field_text(b, "operation", audit_own_kind(op));
    strbuf_json_field_number(b, "n_values", (double)m->n);
    strbuf_json_field(b, "local");
    strbuf_puts(b, "{\"margin\": ");
    strbuf_json_number(b, m->margin);
    strbuf_json_field_number(b, "max_abs", m->max_abs);
    strbuf_json_field_number(b, "ulp", m->ulp);
    strbuf_json_field_number(b, "relative_l2", m->relative_l2);
    strbuf_json_field_number(b, "cosine", m->cosine);
    strbuf_json_field_number(b, "nmse", m->nmse);
    strbuf_json_field_number(b, "n_equal", (double)m->n_equal);
    strbuf_json_field_number(b, "row", (double)m->row);
    strbuf_json_field_number(b, "column", (double)m->col);
    strbuf_json_field_number(b, "found", m->found);
    strbuf_json_field_number(b, "expected", m->expected);
    strbuf_putc(b, '}');
    put_distance(b, "accumulated", &o->accumulated[i]);
    if (o->explained)
        strbuf_json_field_number(b, "loss_share", o->budget.share[i]);
    strbuf_putc(b, '}');
}

/* Operations whose every value is the f64 value rounded once. */
static size_t n_equal_operations(const AuditOwn *o)
{
    size_t n = 0;
    for (size_t i = 0; i < o->report.n; i++)
        n += o->report.findings[i].measure.n_equal == o->report.findings[i].measure.n;
    return n;
}

static const char *rung(const AuditOwn *o)
{
    return n_equal_operations(o) == o->report.n ? "C0" : o->report.n_diverging == 0 ? "C1" : NULL;
}

/* The loss is off by no more than the first-order band: what every bound of C1 at once could do to it. */
static bool inside_band(const AuditOwn *o)
{
    return o->explained && fabs(o->budget.observed) <= o->budget.band;
}

void audit_own_json(const Workbench *w, const AuditOwn *o, StrBuf *b)
{
    const AuditChecks *c = &o->checks;
    strbuf_puts(b, "{\"schema\": \"strata.audit/2\"");
    strbuf_json_field_text(b, "model", w->path.name);
    strbuf_json_field_text(b, "against", "ref64");
    strbuf_json_field_text(b, "table", w->session.ops->name);
    strbuf_json_field_text(b, "numerics", w->numerics);
    strbuf_json_field_text(b, "dtype", w->dtype);
    strbuf_json_field_text(b, "rope", w->rope);
    strbuf_json_field(b, "ids");
    for (size_t i = 0; i < o->mode.n_tokens; i++)
        strbuf_printf(b, "%s%d", i ? ", " : "[", o->mode.ids[i]);
    strbuf_printf(b, "], \"n_layers\": %d, \"n_operations\": %zu, \"n_diverging\": %zu", w->model.traits.n_layers, o->report.n,
                  o->report.n_diverging);
    strbuf_json_field_number(b, "n_operations_equal", (double)n_equal_operations(o));
    strbuf_json_field_number(b, "n_undecided", (double)o->report.n_undecided);
    strbuf_json_field_text(b, "rung", rung(o));
    strbuf_json_field_text(b, "first_divergence",
                           o->report.first < o->report.n ? o->report.ops[o->report.first].out->name : NULL);
    strbuf_json_field_number(b, "loss", o->loss);
    strbuf_json_field_number(b, "loss_ref64", o->loss_reference);
    strbuf_json_field(b, "checks");
    strbuf_puts(b, "{\"edited_token\": ");
    strbuf_json_number(b, (double)c->edited);
    strbuf_json_field_number(b, "before_edit_max_abs", c->before_edit);
    strbuf_json_field_number(b, "neighbour_tokens", (double)c->n_neighbours);
    strbuf_json_field_number(b, "neighbours_max_abs", c->neighbours);
    strbuf_json_field(b, "bits_promised");
    strbuf_puts(b, c->bits_promised ? "true}" : "false}");
    if (o->explained) {
        strbuf_json_field(b, "explain");
        strbuf_puts(b, "{\"observed\": ");
        strbuf_json_number(b, o->budget.observed);
        strbuf_json_field_number(b, "predicted", o->budget.predicted);
        strbuf_json_field_number(b, "closure", o->budget.predicted / o->budget.observed);
        strbuf_json_field_number(b, "loss_itself", o->budget.own);
        strbuf_json_field_number(b, "band", o->budget.band);
        strbuf_json_field_number(b, "band_rms", o->budget.band_rms);
        strbuf_json_field_text(b, "rung", inside_band(o) ? "C2" : NULL);
        strbuf_putc(b, '}');
    }
    strbuf_puts(b, ", \"layers\": [");
    for (int l = 0; l < w->model.traits.n_layers; l++) {
        strbuf_printf(b, "%s\n{\"layer\": %d", l ? "," : "", l);
        put_distance(b, "contribution", &o->block[l]);
        strbuf_putc(b, '}');
    }
    strbuf_puts(b, "],\n\"operations\": [");
    for (size_t i = 0; i < o->report.n; i++) {
        strbuf_puts(b, i ? ",\n" : "\n");
        put_operation(b, o, i);
    }
    strbuf_puts(b, "]}\n");
}

/* The same operation of all layers, or one outside them, in one row. */
static int put_kinds(const AuditOwn *o, StrBuf *out, Error *e)
{
    static const char *const headers[] = {"operation",   "largest margin", "in layer",          "ULP",
                                          "relative L2", "equal %",        "accumulated rel L2"};
    const AuditReport *r = &o->report;
    Table t = {0};
    table_begin(&t, headers, sizeof headers / sizeof headers[0]);
    for (size_t i = 0; i < r->n; i++) {
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++)
            seen = strcmp(audit_own_kind(&r->ops[j]), audit_own_kind(&r->ops[i])) == 0;
        if (seen || r->ops[i].kind == AUDIT_COPY)
            continue;
        size_t worst = i;
        double ulp = 0, local = 0, accumulated = 0, equal = 0, all = 0;
        for (size_t j = i; j < r->n; j++) {
            const AuditMeasure *m = &r->findings[j].measure;
            if (strcmp(audit_own_kind(&r->ops[j]), audit_own_kind(&r->ops[i])) != 0)
                continue;
            worst = m->margin > r->findings[worst].measure.margin ? j : worst;
            ulp = fmax(ulp, m->ulp);
            local = fmax(local, m->relative_l2);
            accumulated = fmax(accumulated, o->accumulated[j].relative_l2);
            equal += (double)m->n_equal;
            all += (double)m->n;
        }
        table_text(&t, audit_own_kind(&r->ops[i]));
        table_number(&t, r->findings[worst].measure.margin, 3);
        if (r->ops[worst].layer < 0)
            table_text(&t, "");
        else
            table_integer(&t, r->ops[worst].layer);
        table_number(&t, ulp, 1);
        table_number(&t, local, -1);
        table_number(&t, 100 * equal / all, 2);
        table_number(&t, accumulated, -1);
    }
    int status = table_write_text(&t, out, e);
    table_free(&t);
    return status;
}

static int put_layers(const AuditOwn *o, StrBuf *out, Error *e)
{
    static const char *const headers[] = {"layer",   "worst operation",     "margin",
                                          "ULP",     "local rel L2",        "accumulated rel L2",
                                          "1 - cos", "contribution rel L2", "loss share 1e-9"};
    const AuditReport *r = &o->report;
    Table t = {0};
    table_begin(&t, headers, sizeof headers / sizeof headers[0] - !o->explained);
    for (size_t i = 0; i < r->n;) {
        size_t end = i, worst = i;
        double share = 0;
        for (; end < r->n && r->ops[end].layer == r->ops[i].layer; end++) {
            if (r->findings[end].measure.margin > r->findings[worst].measure.margin)
                worst = end;
            share += o->explained ? o->budget.share[end] : 0;
        }
        const AuditMeasure *m = &r->findings[worst].measure;
        const AuditDistance *last = &o->accumulated[end - 1];
        if (r->ops[i].layer < 0)
            table_text(&t, "");
        else
            table_integer(&t, r->ops[i].layer);
        table_text(&t, audit_own_kind(&r->ops[worst]));
        table_number(&t, m->margin, 3);
        table_number(&t, m->ulp, 1);
        table_number(&t, m->relative_l2, -1);
        table_number(&t, last->relative_l2, -1);
        table_number(&t, 1 - last->cosine > 0 ? 1 - last->cosine : 0, -1);
        table_number(&t, r->ops[i].layer < 0 ? NAN : o->block[r->ops[i].layer].relative_l2, -1);
        if (o->explained)
            table_number(&t, 1e9 * share, 3);
        i = end;
    }
    int status = table_write_text(&t, out, e);
    table_free(&t);
    return status;
}

static void put_rungs(const AuditOwn *o, StrBuf *b)
{
    const AuditReport *r = &o->report;
    strbuf_printf(b, "C0, bits equal: %zu of %zu operations give the f64 value of their inputs rounded once, in every value\n",
                  n_equal_operations(o), r->n);
    if (r->n_diverging == 0) {
        strbuf_printf(b, "C1, every margin <= 1: yes, the largest is %.3g at %s\n", r->findings[r->worst].measure.margin,
                      r->ops[r->worst].out->name);
    } else {
        const AuditMeasure *m = &r->findings[r->first].measure;
        strbuf_printf(
            b, "C1, every margin <= 1: NO: %s, margin %.3g at token %zu, column %zu: found %.9g, expected %.9g; %zu in all\n",
            r->ops[r->first].out->name, m->margin, m->row, m->col, m->found, m->expected, r->n_diverging);
    }
    if (o->explained)
        strbuf_printf(
            b,
            "C2, adjoint band: the loss is off by %.3g nats, %s the band %.3g (%.3g were the errors independent); predicted "
            "%.3g, predicted / observed %.4f\n",
            o->budget.observed, inside_band(o) ? "inside" : "OUTSIDE", o->budget.band, o->budget.band_rms, o->budget.predicted,
            o->budget.predicted / o->budget.observed);
    if (r->n_undecided)
        strbuf_printf(b, "not judged: %zu values behind a tie between two experts\n", r->n_undecided);
}

void audit_own_verdict(const AuditOwn *o, StrBuf *b)
{
    const AuditChecks *c = &o->checks;
    if (o->mode.n_tokens > 1)
        strbuf_printf(b, "loss %.9g nats a token, in ref64 %.9g, difference %.3g\n", o->loss, o->loss_reference,
                      o->loss - o->loss_reference);
    put_rungs(o, b);
    if (c->edited)
        strbuf_printf(b, "check 1: with token %zu exchanged, positions before it differ by %g at every layer (expected 0)%s\n",
                      c->edited, c->before_edit, c->before_edit == 0 ? "" : ": FAILED");
    if (c->neighbours == 0)
        strbuf_printf(b, "check 2: %zu tokens beside the text in its batch change no bit\n", c->n_neighbours);
    else
        strbuf_printf(b, "check 2: %zu tokens beside the text in its batch change it by %.3g at most%s\n", c->n_neighbours,
                      c->neighbours, c->bits_promised ? ": FAILED, no bit may change" : " (fast promises no bits)");
}

int audit_own_text(const Workbench *w, const AuditOwn *o, StrBuf *out, Error *e)
{
    strbuf_printf(out, "%s, %s against ref64, %zu tokens, %zu operations\n\n", w->path.name, w->session.ops->name,
                  o->mode.n_tokens, o->report.n);
    int status = put_kinds(o, out, e);
    strbuf_putc(out, '\n');
    if (!status)
        status = put_layers(o, out, e);
    strbuf_putc(out, '\n');
    audit_own_verdict(o, out);
    return status;
}
