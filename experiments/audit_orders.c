/* audit_orders.c: strata audit --orders A B: is the difference in loss between two orders real, and does it outlast the choice of rows?
 *
 * d = loss(B) - loss(A), means over predicted tokens, in the arithmetic asked for and in ref64. Two different doubts:
 *   rounding  r_i = d_i(arithmetic) - d_i(ref64) of window i, n windows. The band of the arithmetic is |mean r| + 2 sd(r) / sqrt(n):
 *             what rounding did here, and what it might have done. To first order errors grow with the unit roundoff, so that
 *             ref64's own band is 2^-29 of it (f32 has 2^-24, f64 2^-53) and the rounding of the two means. A difference outside the band of ref64 is real for
 *             these rows; one inside is not known to exist.
 *   sampling  paired bootstrap over articles or windows (statistics.h): whether other rows would show it too.
 * Under --numerics ref64 the rounding is measured on exact. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/audit_commands.h"
#include "experiments/audit_losses.h"
#include "experiments/statistics.h"
#include "loaders/windows.h"

static const double F64_OVER_F32 = 0x1p-29;

typedef struct Verdict {
    size_t n_windows, n_tokens, n_units;
    double loss[2], loss_reference[2]; /* of A and B */
    double band, band_reference;
    StatisticsInterval interval; /* of ref64's difference; NaN under 20 units */
} Verdict;

typedef struct OrdersAudit {
    const StrataAuditOptions *options;
    Workbench bench;
    Dataset data;
    Windows windows;
    Order orders[2];
    Arena arena;
    int32_t *ids;
    size_t one[2]; /* starts of a lone text */
    const Ops *ops;
    AuditLosses losses;
    const int32_t *unit;
    size_t n_tokens, n_units;
    double *nll, *reference; /* [2, tokens] */
} OrdersAudit;

static int open_rows(OrdersAudit *a, Error *e)
{
    const StrataAuditOptions *o = a->options;
    size_t most = o->max_samples ? (size_t)o->max_samples : 100;
    DatasetOptions data = {.type = o->dataset_type, .path = o->dataset_path, .split = "test", .max_rows = most};
    WindowOptions options = {.protocol = WINDOW_ROWS,
                             .context = a->bench.context,
                             .max_samples = most,
                             .bos = a->bench.bos,
                             .bos_id = a->bench.bos_id,
                             .vocab = a->bench.model.traits.vocab};
    int status = dataset_open_with(&data, &a->data, e);
    if (!status)
        status = windows_build(&a->data, a->bench.tokenizer, &options, &a->windows, e);
    a->losses.ids = a->windows.ids;
    a->losses.starts = a->windows.start;
    a->losses.n_windows = a->windows.n_windows;
    a->unit = a->windows.unit;
    a->n_tokens = a->windows.n_tokens;
    a->n_units = a->windows.n_units;
    return status;
}

static int open_text(OrdersAudit *a, Error *e)
{
    static const int32_t only[] = {0};
    size_t n;
    int status = workbench_ids(&a->bench, a->options->text, a->options->ids, &a->ids, &n, e);
    if (!status && n < 2)
        status = error_set(e, STATUS_USAGE, "audit: one token predicts nothing: expected at least 2");
    a->one[1] = n;
    a->losses.ids = a->ids;
    a->losses.starts = a->one;
    a->losses.n_windows = 1;
    a->unit = only;
    a->n_tokens = status ? 0 : n - 1;
    a->n_units = 1;
    return status;
}

static double mean(const double *x, size_t n)
{
    return statistics_sum_of(x, n) / (double)n;
}

/* The band from the windows' own differences. */
static double rounding_band(const OrdersAudit *a)
{
    size_t n = a->losses.n_windows, at = 0;
    double sum = 0, square = 0, total = 0;
    for (size_t w = 0; w < n; w++) {
        size_t many = a->losses.starts[w + 1] - a->losses.starts[w] - 1;
        double r = 0;
        for (size_t i = at; i < at + many; i++)
            r += (a->nll[a->n_tokens + i] - a->nll[i]) - (a->reference[a->n_tokens + i] - a->reference[i]);
        at += many;
        sum += r; /* of the total over tokens, so that windows weigh what they hold */
        square += r * r;
        total += (double)many;
    }
    double centre = sum / (double)n,
           spread = n > 1 ? (square - (double)n * centre * centre) / (double)(n - 1) : centre * centre;
    return (fabs(sum) + 2 * sqrt((double)n * (spread > 0 ? spread : 0))) / total;
}

static int sampling(const OrdersAudit *a, Verdict *v, Error *e)
{
    double *sums = calloc(3 * a->n_units, sizeof *sums);
    if (!sums)
        return error_set(e, STATUS_FAILED, "audit: out of memory for %zu units", a->n_units);
    double *tokens = sums + 2 * a->n_units;
    size_t at = 0;
    for (size_t w = 0; w < a->losses.n_windows; w++) {
        size_t many = a->losses.starts[w + 1] - a->losses.starts[w] - 1, u = (size_t)a->unit[w];
        for (size_t i = at; i < at + many; i++) {
            sums[u] += a->reference[i];
            sums[a->n_units + u] += a->reference[a->n_tokens + i];
        }
        tokens[u] += (double)many;
        at += many;
    }
    int status = statistics_paired_deltas(sums, 2, tokens, a->n_units, 0, a->options->common.seed, &v->interval, e);
    free(sums);
    return status;
}

static int compute(OrdersAudit *a, Verdict *v, Error *e)
{
    a->nll = malloc(2 * a->n_tokens * sizeof *a->nll);
    a->reference = malloc(2 * a->n_tokens * sizeof *a->reference);
    int status =
        a->nll && a->reference ? STATUS_OK : error_set(e, STATUS_FAILED, "audit: out of memory for %zu tokens", a->n_tokens);
    a->losses.session = &a->bench.session;
    a->losses.orders = a->orders;
    a->losses.n_orders = 2;
    a->losses.stop = a->options->common.stop;
    a->losses.ops = a->ops;
    if (!status)
        status = audit_losses(&a->losses, a->nll, NULL, e);
    a->losses.ops = &ops_cpu_ref64;
    if (!status)
        status = audit_losses(&a->losses, a->reference, NULL, e);
    if (status)
        return status;
    *v = (Verdict){.n_windows = a->losses.n_windows, .n_tokens = a->n_tokens, .n_units = a->n_units};
    for (size_t i = 0; i < 2; i++) {
        v->loss[i] = mean(a->nll + i * a->n_tokens, a->n_tokens);
        v->loss_reference[i] = mean(a->reference + i * a->n_tokens, a->n_tokens);
    }
    v->band = rounding_band(a);
    v->band_reference =
        F64_OVER_F32 * v->band + 0x1p-53 * (v->loss_reference[0] + v->loss_reference[1]); /* and the means' own rounding */
    return sampling(a, v, e);
}

static void put_json(const OrdersAudit *a, const Verdict *v, StrBuf *b)
{
    strbuf_puts(b, "{\"schema\": \"strata.audit-orders/1\"");
    strbuf_json_field_text(b, "model", a->bench.path.name);
    strbuf_json_field_text(b, "a", a->orders[0].spec);
    strbuf_json_field_text(b, "b", a->orders[1].spec);
    strbuf_json_field_text(b, "table", a->ops->name);
    strbuf_json_field_number(b, "n_windows", (double)v->n_windows);
    strbuf_json_field_number(b, "n_tokens", (double)v->n_tokens);
    strbuf_json_field_number(b, "n_units", (double)v->n_units);
    strbuf_json_field_number(b, "difference", v->loss[1] - v->loss[0]);
    strbuf_json_field_number(b, "rounding_band", v->band);
    strbuf_json_field_number(b, "difference_ref64", v->loss_reference[1] - v->loss_reference[0]);
    strbuf_json_field_number(b, "rounding_band_ref64", v->band_reference);
    strbuf_json_field_number(b, "ci95_low", v->interval.lo);
    strbuf_json_field_number(b, "ci95_high", v->interval.hi);
    strbuf_puts(b, "}\n");
}

static void put_text(const OrdersAudit *a, const Verdict *v, StrBuf *b)
{
    double d = v->loss_reference[1] - v->loss_reference[0], mode = v->loss[1] - v->loss[0];
    strbuf_printf(
        b, "%s, %zu tokens in %zu windows\n  A %s: loss %.9g (%s), %.9g (ref64)\n  B %s: loss %.9g (%s), %.9g (ref64)\n\n",
        a->bench.path.name, v->n_tokens, v->n_windows, a->orders[0].spec, v->loss[0], a->ops->name, v->loss_reference[0],
        a->orders[1].spec, v->loss[1], a->ops->name, v->loss_reference[1]);
    strbuf_printf(b, "B - A in ref64: %.9g nats a token, rounding band %.2g: %s\n", d, v->band_reference,
                  fabs(d) > v->band_reference ? "the difference is real on these rows" : "no difference is known to exist");
    strbuf_printf(b, "B - A in %s: %.9g, rounding band %.2g: %s\n", a->ops->name, mode, v->band,
                  fabs(mode) > v->band ? "this arithmetic suffices to tell" : "too small for this arithmetic: use ref64");
    if (isnan(v->interval.lo))
        strbuf_printf(b, "sampling: no interval from %zu %s, expected at least %d: %s\n", v->n_units,
                      v->n_units == 1 ? "unit" : "units", STATISTICS_MIN_UNITS,
                      a->options->text || a->options->ids ? "give --dataset_path" : "give more rows (--max_samples)");
    else
        strbuf_printf(b, "sampling: 95 %% of paired resamples of %zu units lie in [%.6g, %.6g]: %s\n", v->n_units,
                      v->interval.lo, v->interval.hi,
                      v->interval.lo > 0 || v->interval.hi < 0 ? "other rows would show it too"
                                                               : "other rows might show the opposite");
}

static int report(const OrdersAudit *a, const Verdict *v, Error *e)
{
    const StrataAuditOptions *o = a->options;
    StrBuf json = {0}, text = {0};
    put_json(a, v, &json);
    put_text(a, v, &text);
    int status = audit_deliver(o, &json, &text, NULL, e);
    strbuf_free(&text);
    strbuf_free(&json);
    return status;
}

int audit_orders(const StrataAuditOptions *o, Error *e)
{
    OrdersAudit a = {.options = o};
    Verdict v;
    bool rows = o->dataset_type || o->dataset_path;
    if (o->n_orders != 2)
        return error_set(e, STATUS_USAGE, "--orders: expected two orders, found %zu (see `strata help orders`)", o->n_orders);
    if (rows == (o->text || o->ids))
        return error_set(e, STATUS_USAGE,
                         "audit: expected rows (--dataset_path, --dataset_type) or a text (--text, --ids) for --orders");
    int status = workbench_open(&o->common, o->text ? TOKENIZER_REQUIRED : TOKENIZER_IF_THERE, &a.bench, e);
    for (size_t i = 0; !status && i < 2; i++)
        status = order_parse(o->orders[i], a.bench.model.traits.n_layers, &a.arena, &a.orders[i], e);
    a.ops = a.bench.session.ops == &ops_cpu_ref64 ? &ops_cpu_exact : a.bench.session.ops;
    if (!status)
        status = rows ? open_rows(&a, e) : open_text(&a, e);
    if (!status)
        status = compute(&a, &v, e);
    if (!status)
        status = report(&a, &v, e);
    free(a.nll);
    free(a.reference);
    free(a.ids);
    windows_free(&a.windows);
    dataset_close(&a.data);
    arena_free(&a.arena);
    workbench_close(&a.bench);
    return status;
}
