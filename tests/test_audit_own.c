/* test_audit_own.c: the audit of our own runs: derivatives against differences in f64, the adjoint budget's closure on every family, the
 * two free checks, a spoilt operation named, and what the command writes. */
#include <math.h>

#include "engine/base/file.h"
#include "engine/base/rng.h"
#include "experiments/audit_adjoint.h"
#include "experiments/audit_tap.h"
#include "experiments/result_file.h"
#include "tests/audit_models.h"
#include "tests/temp_folder.h"
#include "tests/test.h"

static Pool *pool;

typedef struct Case {
    Model model;
    AuditRecord record;
    AuditReport report;
    AuditInputs in;
    int32_t ids[N_IDS];
    double nll[N_IDS];
    bool ok;
} Case;

static void open_case(Case *c, const char *directory, const Ops *ops)
{
    Error e = {{0}};
    memset(c, 0, sizeof *c);
    Session session = {.model = &c->model, .ops = ops, .pool = pool, .rope = ROPE_HF32};
    int status = open_model(directory, &c->model, &e);
    if (!status) {
        some_ids(c->ids, c->model.traits.vocab);
        status = audit_tap_record(&session, ops, c->ids, N_IDS, NULL, &c->record, c->nll, &e);
    }
    c->in = (AuditInputs){.model = &c->model, .record = &c->record, .precision = {c->record.store, true}, .pool = pool};
    if (!status)
        status = audit_report_make(&c->in, &c->report, &e);
    CHECK_MSG(status == 0, "%s: %s", directory, e.text);
    c->ok = status == 0;
}

static void close_case(Case *c)
{
    audit_report_free(&c->report);
    audit_record_free(&c->record);
    model_close(&c->model);
}

static double drawn(Rng *rng)
{
    return 2 * rng_uniform(rng) - 1;
}

/* g . (f(x + h d) - f(x - h d)) / 2h against (J^T g) . d for one operation. f64 values err by some 1e-16 / h relative and the difference
 * by h^2 times a third derivative: with h = 1e-6 both are below 1e-9 of the terms' sizes; a factor of 100 is left for narrow bends.
 * Shares of experts are rounded to f32, 6e-8, so that mixtures take h = 1e-3 and 1e-3. */
static void check_derivative(const Case *c, const AuditOp *op, Rng *rng)
{
    Error e = {{0}};
    double h = op->kind == AUDIT_MOE ? 1e-3 : 1e-6, tolerance = op->kind == AUDIT_MOE ? 1e-3 : 1e-7;
    size_t n = op->out->rows * op->out->cols;
    double *g = malloc(n * sizeof *g), *d[3] = {NULL}, *bar[3] = {NULL}, predicted = 0, observed = 0, size = 0;
    Ball *up = malloc(2 * n * sizeof *up), *down = up + n;
    AuditChange change;
    audit_change_begin(&c->in, op, &change);
    for (size_t i = 0; i < n; i++)
        g[i] = drawn(rng);
    for (int k = 0; k < 3 && op->in[k]; k++) {
        size_t m = op->in[k]->rows * op->in[k]->cols;
        d[k] = malloc(m * sizeof *d[k]);
        bar[k] = calloc(m, sizeof *bar[k]);
        for (size_t i = 0; i < m; i++)
            op->in[k]->v[i] += h * (d[k][i] = drawn(rng));
    }
    int status = audit_op_evaluate(&c->in, op, &change, up, &e);
    for (int k = 0; k < 3 && d[k]; k++)
        for (size_t i = 0; i < op->in[k]->rows * op->in[k]->cols; i++)
            op->in[k]->v[i] -= 2 * h * d[k][i];
    status = status ? status : audit_op_evaluate(&c->in, op, &change, down, &e);
    for (int k = 0; k < 3 && d[k]; k++)
        for (size_t i = 0; i < op->in[k]->rows * op->in[k]->cols; i++)
            op->in[k]->v[i] += h * d[k][i];
    status = status ? status : audit_op_backward(&c->in, op, g, bar, &e);
    CHECK_MSG(status == 0, "%s", e.text);
    for (size_t i = 0; i < n; i++) {
        observed += g[i] * (up[i].c - down[i].c) / (2 * h);
        size += fabs(g[i] * (up[i].c - down[i].c)) / (2 * h) + fabs(g[i] * up[i].c);
    }
    for (int k = 0; k < 3 && d[k]; k++) {
        for (size_t i = 0; i < op->in[k]->rows * op->in[k]->cols; i++)
            predicted += bar[k][i] * d[k][i];
        free(d[k]);
        free(bar[k]);
    }
    CHECK_MSG(fabs(predicted - observed) <= tolerance * size, "%s of %s: %.12g by the reverse pass, %.12g by differences",
              op->out->name, c->model.path, predicted, observed);
    free(up);
    free(g);
}

static void derivatives_of_every_operation(void)
{
    Rng rng;
    rng_seed(&rng, 8, 0);
    size_t n = 0;
    for (size_t i = 0; i < n_models; i++) {
        Case c;
        open_case(&c, models[i], &ops_cpu_ref64);
        for (size_t k = 0; c.ok && k < c.report.n; k++)
            if (c.report.ops[k].in[0] && c.report.ops[k].layer < 2) {
                check_derivative(&c, &c.report.ops[k], &rng);
                n++;
            }
        close_case(&c);
    }
    printf("  %zu operations\n", n);
    CHECK(n > 2000);
}

/* Predicted against observed. Second-order terms are an error times a curvature, some 1e-6 of the first-order ones each; ref64's own
 * losses are off by 1e-14. */
static void the_budget_closes(void)
{
    static const Ops *const tables[] = {&ops_cpu_fast, &ops_cpu_exact};
    Error e = {{0}};
    double worst = 0;
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < n_models; i++) {
            Case c;
            double reference[N_IDS], observed = 0, sizes = 0;
            Arena arena = {0};
            AuditBudget b = {0};
            AuditRecord other = {0};
            open_case(&c, models[i], tables[k]);
            Session session = {.model = &c.model, .ops = tables[k], .pool = pool, .rope = ROPE_HF32};
            if (c.ok && audit_tap_record(&session, &ops_cpu_ref64, c.ids, N_IDS, NULL, &other, reference, &e) == 0) {
                for (size_t t = 0; t + 1 < N_IDS; t++)
                    observed += (c.nll[t] - reference[t]) / (N_IDS - 1);
                CHECK(audit_adjoint_budget(&c.in, &c.report, &other, c.nll, observed, &arena, &b, &e) == 0);
                for (size_t t = 0; t < c.report.n; t++)
                    sizes += fabs(b.share[t]);
                double off = fabs(b.predicted - observed) / (sizes + fabs(b.own));
                worst = off > worst ? off : worst;
                CHECK_MSG(fabs(b.predicted - observed) <= 1e-4 * (sizes + fabs(b.own)) + 1e-13,
                          "%s in %s: predicted %g, observed %g, parts %g", models[i], tables[k]->name, b.predicted, observed,
                          sizes);
                CHECK(fabs(observed) <= b.band && b.band_rms <= b.band && b.band > 0);
            }
            arena_free(&arena);
            audit_record_free(&other);
            close_case(&c);
        }
    printf("  %zu models, at worst %.2g of the parts' sizes is unexplained\n", n_models, worst);
}

static Ops spoilt;

static void wrong_glu(OpsContext *c, View out, View gate, View up, ActKind act)
{
    ops_cpu_fast.glu(c, out, gate, up, act);
    ((float *)out.data)[2 * out.ld + 3] *= 1.0001F;
}

static void a_spoilt_kernel_is_named(void)
{
    Case c;
    spoilt = ops_cpu_fast;
    spoilt.glu = wrong_glu;
    open_case(&c, "tests/data/models/llama", &spoilt);
    CHECK_STR(c.report.first < c.report.n ? c.report.ops[c.report.first].out->name : "none", "L0.mlp.act");
    const AuditMeasure *m = &c.report.findings[c.report.first].measure;
    CHECK(m->row == 2 && m->col == 3 && c.report.n_diverging == (size_t)c.model.traits.n_layers);
    close_case(&c);
}

static volatile sig_atomic_t stop;
static int n_glus;

static void stopping_glu(OpsContext *c, View out, View gate, View up, ActKind act)
{
    ops_ref.glu(c, out, gate, up, act);
    stop = 1; /* as by Ctrl-C, in the middle of a layer */
    n_glus++;
}

/* Ctrl-C ends the recording with the layer at hand, and whatever comes behind it before its first operation. */
static void an_interruption_stops_within_a_layer(void)
{
    Error e = {{0}};
    Case c;
    open_case(&c, "tests/data/models/llama", &ops_ref);
    if (c.ok) {
        Ops stopping = ops_ref;
        AuditRecord part = {0};
        AuditReport report = {0};
        Session session = {.model = &c.model, .ops = &stopping, .pool = pool, .rope = ROPE_HF32};
        stopping.glu = stopping_glu;
        int status = audit_tap_record(&session, &stopping, c.ids, N_IDS, &stop, &part, c.nll, &e);
        CHECK_MSG(status == STATUS_INTERRUPTED && n_glus == 1 && c.model.traits.n_layers > 1, "%d: %s, %d layers ran", status,
                  e.text, n_glus);
        CHECK(audit_record_find(&part, "L0.resid_post") && !audit_record_find(&part, "L1.resid_pre"));
        c.in.stop = &stop;
        CHECK(audit_report_make(&c.in, &report, &e) == STATUS_INTERRUPTED && !report.n);
        audit_record_free(&part);
    }
    close_case(&c);

    char *json = temp_path("stopped.json");
    StrataAuditOptions o = {.common = {.model_name = "tests/data/models/llama", .threads = 2, .stop = &stop, .quiet = 1},
                            .ids = "3,17,99,45,8,120",
                            .output = json};
    const char *const orders[] = {"0-1", "1,0"};
    for (int way = 0; way < 2; way++) {
        o.orders = way ? orders : NULL;
        o.n_orders = way ? 2 : 0;
        int status = strata_audit(&o, &e);
        CHECK_MSG(status == STATUS_INTERRUPTED && strcmp(e.text, "audit: interrupted; nothing was written") == 0, "%d: %s",
                  status, e.text);
        CHECK(!file_exists(json));
    }
    free(json);
    stop = 0;
}

static char *run_audit(StrataAuditOptions o, int expected)
{
    StrataError e = {""};
    char *text = NULL;
    size_t n = 0;
    o.common.out = open_memstream(&text, &n);
    o.common.threads = 2;
    int status = strata_audit(&o, &e);
    fclose(o.common.out);
    CHECK_MSG(status == expected, "%d: %s", status, e.text);
    return text;
}

static double number_at(const ResultNode *root, const char *child, const char *field)
{
    Error e = {{0}};
    ResultNode node = *root;
    double value = NAN;
    if (child)
        CHECK_MSG(result_child(root, child, &node, &e) == 0, "%s", e.text);
    CHECK_MSG(result_number(&node, field, &value, &e) == 0, "%s", e.text);
    return value;
}

static void what_the_command_writes(void)
{
    static const char *const numerics[] = {"fast", "stable", "exact", "ref64"};
    char *json = temp_path("audit.json"), *html = temp_path("audit.html");
    for (size_t i = 0; i < 4; i++) {
        StrataAuditOptions o = {.common = {.model_name = "tests/data/models/mixtral", .numerics = numerics[i]},
                                .ids = "3,17,99,45,8,120,64,5",
                                .output = json,
                                .html = html,
                                .explain = 1};
        char *text = run_audit(o, 0);
        CHECK(strstr(text, "C1, every margin <= 1: yes") && strstr(text, "differ by 0 at every layer") &&
              strstr(text, "written: "));
        CHECK((strstr(text, "change no bit") != NULL) || i == 0);
        free(text);
        Error e = {{0}};
        ResultFile file = {0};
        CHECK_MSG(result_file_open(json, "strata.audit/2", &file, &e) == 0, "%s", e.text);
        CHECK(number_at(&file.root, NULL, "n_diverging") == 0 && number_at(&file.root, NULL, "n_operations") > 40);
        CHECK(number_at(&file.root, "checks", "before_edit_max_abs") == 0);
        CHECK(i == 0 || number_at(&file.root, "checks", "neighbours_max_abs") == 0);
        double off = number_at(&file.root, NULL, "loss") - number_at(&file.root, NULL, "loss_ref64");
        CHECK(i == 3 ? off == 0 : fabs(off) < 1e-5);
        /* exact computes in f64 and rounds once: its operations stand on C0, but for the three mixtures, whose experts store */
        CHECK(i != 2 || number_at(&file.root, NULL, "n_operations_equal") >= number_at(&file.root, NULL, "n_operations") - 3);
        result_file_close(&file);
        StrBuf page = {0};
        CHECK(file_read(html, 1 << 24, &page, &e) == 0);
        CHECK(page.data && strstr(page.data, "strata.audit/2") && !strstr(page.data, "/*DATA*/") && !strstr(page.data, "src="));
        strbuf_free(&page);
    }
    StrataAuditOptions o = {.common = {.model_name = "tests/data/models/llama"}};
    free(run_audit(o, 2));
    o.ids = "5";
    char *one = run_audit(o, 0);
    CHECK(strstr(one, "C1, every margin <= 1: yes"));
    free(one);
    free(json);
    free(html);
}

int main(void)
{
    Error e = {{0}};
    if (!temp_begin() || pool_open(2, &pool, &e))
        return 1;
    list_all_models();
    RUN(derivatives_of_every_operation);
    RUN(the_budget_closes);
    RUN(a_spoilt_kernel_is_named);
    RUN(an_interruption_stops_within_a_layer);
    RUN(what_the_command_writes);
    pool_close(pool);
    temp_end();
    return test_finish();
}
