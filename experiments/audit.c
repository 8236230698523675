/* audit.c: strata audit: of our own run against ref64 (audit_own.h), and against a dump of another implementation (tools/dump_hf.py): each
 * operation's recorded inputs go through our f64 operation and the outcome is compared with the recorded output, under that run's
 * rounding points. */
#include "experiments/audit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/audit_commands.h"
#include "experiments/audit_own.h"
#include "experiments/table.h"
#include "experiments/workbench.h"

/* --text or --ids beside a dump: the tokenizer is audited too. */
static int check_ids(const Workbench *bench, const StrataAuditOptions *o, const AuditRecord *record, Error *e)
{
    if (!o->text && !o->ids)
        return STATUS_OK;
    int32_t *ids = NULL;
    size_t n = 0;
    int status = workbench_ids(bench, o->text, o->ids, &ids, &n, e);
    for (size_t i = 0; !status && i < n && i < record->n_tokens; i++)
        if (ids[i] != record->ids[i])
            status = error_set(e, STATUS_FAILED, "%s: token %zu is %d, expected %d, ours (--bos says whether one goes before)",
                               o->against, i, record->ids[i], ids[i]);
    if (!status && n != record->n_tokens)
        status = error_set(e, STATUS_FAILED, "%s: %zu tokens, expected %zu, ours", o->against, record->n_tokens, n);
    free(ids);
    return status;
}

static void put_measure(StrBuf *b, const AuditFinding *f)
{
    const AuditMeasure *m = &f->measure;
    strbuf_puts(b, "{\"name\": ");
    strbuf_json_string(b, f->op->out->name, strlen(f->op->out->name));
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"margin", m->margin},           {"max_abs", m->max_abs}, {"ulp", m->ulp},
                   {"relative_l2", m->relative_l2}, {"cosine", m->cosine},   {"nmse", m->nmse}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        strbuf_printf(b, ", \"%s\": ", numbers[i].key);
        strbuf_json_number(b, numbers[i].value);
    }
    strbuf_printf(b, ", \"row\": %zu, \"column\": %zu, \"found\": ", m->row, m->col);
    strbuf_json_number(b, m->found);
    strbuf_puts(b, ", \"expected\": ");
    strbuf_json_number(b, m->expected);
    strbuf_putc(b, '}');
}

static void put_json(StrBuf *b, const StrataAuditOptions *o, const AuditInputs *in, const AuditReport *r)
{
    strbuf_puts(b, "{\"schema\": \"strata-audit-1\", \"model\": ");
    strbuf_json_string(b, in->model->path, strlen(in->model->path));
    strbuf_puts(b, ", \"against\": ");
    strbuf_json_string(b, o->against, strlen(o->against));
    strbuf_printf(b, ", \"dtype\": \"%s\", \"n_tokens\": %zu, \"n_operations\": %zu, \"n_diverging\": %zu, \"rung\": %s",
                  dtype_name(in->precision.store), in->record->n_tokens, r->n, r->n_diverging,
                  r->n_diverging ? "null" : "\"C1\"");
    strbuf_json_field_number(b, "n_absent", (double)r->n_absent);
    strbuf_json_field_text(b, "first_absent", r->n_absent ? r->first_absent : NULL);
    strbuf_json_field_number(b, "n_unlisted", (double)r->n_unlisted);
    strbuf_json_field_number(b, "n_undecided", (double)r->n_undecided);
    strbuf_puts(b, ", \"first_divergence\": ");
    if (r->first < r->n)
        put_measure(b, &r->findings[r->first]);
    else
        strbuf_puts(b, "null");
    strbuf_puts(b, ", \"closes_with\": ");
    bool closes = r->search.n_nearest && r->search.nearest[0].margin <= 1;
    if (closes)
        strbuf_json_string(b, r->search.nearest[0].name, strlen(r->search.nearest[0].name));
    else
        strbuf_puts(b, "null");
    strbuf_puts(b, ", \"alternatives\": [");
    for (size_t i = 0; i < r->search.n_nearest; i++) {
        strbuf_puts(b, i ? ", {\"name\": " : "{\"name\": ");
        strbuf_json_string(b, r->search.nearest[i].name, strlen(r->search.nearest[i].name));
        strbuf_puts(b, ", \"margin\": ");
        strbuf_json_number(b, r->search.nearest[i].margin);
        strbuf_putc(b, '}');
    }
    strbuf_puts(b, "], \"operations\": [\n");
    for (size_t i = 0; i < r->n; i++) {
        put_measure(b, &r->findings[i]);
        strbuf_puts(b, i + 1 < r->n ? ",\n" : "\n");
    }
    strbuf_puts(b, "]}\n");
}

/* Each layer's worst operation. */
static int put_table(StrBuf *b, const AuditReport *r, Error *e)
{
    static const char *const headers[] = {"layer", "worst operation", "margin", "max abs",
                                          "ULP",   "relative L2",     "cosine", "NMSE"};
    Table t = {0};
    table_begin(&t, headers, sizeof headers / sizeof headers[0]);
    for (size_t i = 0; i < r->n;) {
        size_t end = i, worst = i;
        for (; end < r->n && r->ops[end].layer == r->ops[i].layer; end++)
            if (r->findings[end].measure.margin > r->findings[worst].measure.margin)
                worst = end;
        const AuditMeasure *m = &r->findings[worst].measure;
        if (r->ops[i].layer < 0)
            table_text(&t, "");
        else
            table_integer(&t, r->ops[i].layer);
        table_text(&t, r->ops[worst].out->name);
        const double numbers[] = {m->margin, m->max_abs, m->ulp, m->relative_l2};
        for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++)
            table_number(&t, numbers[k], -1);
        table_number(&t, m->cosine, 9);
        table_number(&t, m->nmse, -1);
        i = end;
    }
    int status = table_write_text(&t, b, e);
    table_free(&t);
    return status;
}

static void put_verdict(StrBuf *b, const AuditReport *r)
{
    if (r->first == r->n) {
        strbuf_printf(b, "C1: every margin <= 1: %zu operations, the largest %.3g at %s\n", r->n,
                      r->findings[r->worst].measure.margin, r->ops[r->worst].out->name);
    } else {
        const AuditMeasure *m = &r->findings[r->first].measure;
        strbuf_printf(b, "first divergence: %s, margin %.3g at token %zu, column %zu: found %.9g, expected %.9g\n",
                      r->ops[r->first].out->name, m->margin, m->row, m->col, m->found, m->expected);
        for (size_t i = 0; i < r->search.n_nearest && (i == 0 || r->search.nearest[i].margin <= 1); i++)
            strbuf_printf(b, "%s %s: margin %.3g\n",
                          r->search.nearest[i].margin <= 1 ? "closes with" : "nearest, not closing:", r->search.nearest[i].name,
                          r->search.nearest[i].margin);
        strbuf_printf(b, "%zu of %zu operations diverge; %zu alternatives were tried on the first\n", r->n_diverging, r->n,
                      r->search.n_tried);
    }
    if (r->n_absent)
        strbuf_printf(b, "%zu operations of this model were not recorded and not judged, the first is %s\n", r->n_absent,
                      r->first_absent);
    if (r->n_undecided)
        strbuf_printf(b, "%zu values were not judged: the router's choice between two experts is a tie\n", r->n_undecided);
    if (r->n_unlisted)
        strbuf_printf(b, "%zu recorded arrays belong to no operation of this model and were not judged\n", r->n_unlisted);
}

int audit_deliver(const StrataAuditOptions *o, const StrBuf *json, const StrBuf *text, const StrBuf *page, Error *e)
{
    const char *html = page ? o->html : NULL;
    const StrBuf *shown = o->common.json ? json : text;
    int status = STATUS_OK;
    if (json->failed || text->failed)
        return error_set(e, STATUS_FAILED, "audit: out of memory for the report");
    if (o->output)
        status = file_write_text(json, e, "%s", o->output);
    if (!status && html)
        status = file_write_text(page, e, "%s", html);
    if (status || !o->common.out)
        return status;
    fwrite(shown->data, 1, shown->len, o->common.out);
    if (!o->common.json && (o->output || html))
        fprintf(o->common.out, "written: %s%s%s\n", o->output ? o->output : "", o->output && html ? ", " : "",
                html ? html : "");
    return STATUS_OK;
}

static int write_report(const StrataAuditOptions *o, const AuditInputs *in, const AuditReport *r, Error *e)
{
    StrBuf json = {0}, text = {0};
    put_json(&json, o, in, r);
    int status = put_table(&text, r, e);
    put_verdict(&text, r);
    if (!status)
        status = audit_deliver(o, &json, &text, NULL, e);
    strbuf_free(&text);
    strbuf_free(&json);
    return status;
}

static int against_dump(const StrataAuditOptions *o, const Workbench *bench, Error *e)
{
    AuditRecord record = {0};
    AuditReport report = {0};
    int status = audit_record_read(o->against, bench->model.traits.vocab, &record, e);
    if (!status)
        status = check_ids(bench, o, &record, e);
    AuditInputs in = {.model = &bench->model,
                      .record = &record,
                      .precision = {.store = record.store},
                      .how = audit_roundings_of(&bench->model.traits),
                      .rope = bench->session.rope,
                      .pool = bench->session.pool,
                      .stop = bench->common->stop};
    if (!status)
        status = audit_report_make(&in, &report, e);
    if (!status)
        status = write_report(o, &in, &report, e);
    if (!status && report.first < report.n)
        status = error_set(e, STATUS_FAILED, "%s: %s diverges, margin %.3g", o->against, report.ops[report.first].out->name,
                           report.findings[report.first].measure.margin);
    audit_report_free(&report);
    audit_record_free(&record);
    return status;
}

/* One text through the arithmetic asked for and through ref64. */
static int against_ref64(const StrataAuditOptions *o, const Workbench *bench, Error *e)
{
    AuditOwn own = {0};
    StrBuf json = {0}, text = {0}, page = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    int status = workbench_ids(bench, o->text, o->ids, &ids, &n, e);
    if (!status)
        status = audit_own_run(bench, ids, n, o->explain != 0, &own, e);
    if (!status) {
        audit_own_json(bench, &own, &json);
        status = audit_own_text(bench, &own, &text, e);
        if (o->html)
            audit_own_page(bench, &own, &page);
    }
    if (!status)
        status = audit_deliver(o, &json, &text, &page, e);
    if (!status && own.report.first < own.report.n)
        status = error_set(e, STATUS_FAILED, "%s: margin %.3g, expected at most 1", own.report.ops[own.report.first].out->name,
                           own.report.findings[own.report.first].measure.margin);
    const AuditChecks *c = &own.checks;
    if (!status && (c->before_edit != 0 || (c->bits_promised && c->neighbours != 0)))
        status = error_set(e, STATUS_FAILED, "audit: a check that must give 0 gave %g",
                           c->before_edit != 0 ? c->before_edit : c->neighbours);
    strbuf_free(&page);
    strbuf_free(&text);
    strbuf_free(&json);
    free(ids);
    audit_own_free(&own);
    return status;
}

/* One text, against a dump or against ref64. */
static int audit_text(const StrataAuditOptions *o, Error *e)
{
    bool own = !o->against || strcmp(o->against, "ref64") == 0;
    if (!own && (o->html || o->explain))
        return error_set(e, STATUS_USAGE, "audit: %s is for --against ref64, not for a dump", o->html ? "--html" : "--explain");
    if (own && !o->text && !o->ids)
        return error_set(e, STATUS_USAGE, "audit: expected --text or --ids, or --against a dump that tools/dump_hf.py wrote");
    Workbench bench;
    int status = workbench_open(&o->common, o->text ? TOKENIZER_REQUIRED : TOKENIZER_IF_THERE, &bench, e);
    if (status)
        return status;
    status = own ? against_ref64(o, &bench, e) : against_dump(o, &bench, e);
    workbench_close(&bench);
    return status;
}

int strata_audit(const StrataAuditOptions *o, StrataError *e)
{
    int status = o->ledger ? audit_ledger(o, e) : o->n_orders ? audit_orders(o, e) : audit_text(o, e);
    if (status == STATUS_INTERRUPTED) /* reports are written whole, at the end */
        error_set(e, status, "audit: interrupted; nothing was written");
    return status;
}
