/* test_audit_tap.c: what the recording op table hears of our own tables, judged operation by operation: every tiny model of
 * tests/data (all families and traits) in every table. ref64 shares nothing with the audit's plain loops but the weights, so that each
 * is the other's oracle; the bounds are those of experiments/audit_math.h. */
#include "experiments/audit.h"
#include "experiments/audit_tap.h"
#include "tests/audit_models.h"
#include "tests/test.h"

static Pool *pool;

static void judge(const char *directory, const Ops *ops, double *worst)
{
    Error e = {{0}};
    Model m;
    AuditRecord record = {0};
    AuditReport report = {0};
    int32_t ids[N_IDS];
    double nll[N_IDS];
    Session session = {.model = &m, .ops = ops, .pool = pool, .rope = ROPE_HF32};
    int status = open_model(directory, &m, &e);
    CHECK_MSG(status == 0, "%s", e.text);
    if (status)
        return;
    some_ids(ids, m.traits.vocab);
    status = audit_tap_record(&session, ops, ids, N_IDS, NULL, &record, nll, &e);
    CHECK_MSG(status == 0, "%s on %s: %s", directory, ops->name, e.text);
    AuditInputs in = {.model = &m, .record = &record, .precision = {record.store, true}, .pool = pool};
    status = status ? status : audit_report_make(&in, &report, &e);
    CHECK_MSG(status == 0, "%s on %s: %s", directory, ops->name, e.text);
    if (!status) {
        const char *first = report.first < report.n ? report.ops[report.first].out->name : "none";
        CHECK_MSG(report.n_diverging == 0, "%s on %s: %s, margin %g", directory, ops->name, first,
                  report.first < report.n ? report.findings[report.first].measure.margin : 0);
        CHECK_MSG(report.n_absent == 0 && report.n_unlisted == 0, "%s on %s: %zu absent (%s), %zu not listed", directory,
                  ops->name, report.n_absent, report.first_absent, report.n_unlisted);
        double margin = report.findings[report.worst].measure.margin;
        *worst = margin > *worst ? margin : *worst;
        for (size_t i = 0; i + 1 < N_IDS; i++)
            CHECK(nll[i] > 0 && nll[i] < 100);
    }
    audit_report_free(&report);
    audit_record_free(&record);
    model_close(&m);
}

static void every_family_in_every_table(void)
{
    static const Ops *const tables[] = {&ops_ref, &ops_cpu_ref64, &ops_cpu_exact, &ops_cpu_stable, &ops_cpu_fast};
    CHECK(n_models >= 75);
    for (size_t k = 0; k < sizeof tables / sizeof *tables; k++) {
        double worst = 0;
        for (size_t i = 0; i < n_models; i++)
            judge(models[i], tables[k], &worst);
        printf("  %s: %zu models, largest margin %.3g\n", tables[k]->name, n_models, worst);
    }
}

int main(void)
{
    Error e = {{0}};
    if (pool_open(2, &pool, &e))
        return 1;
    list_all_models();
    RUN(every_family_in_every_table);
    pool_close(pool);
    return test_finish();
}
