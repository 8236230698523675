/* results.c: the numbers of a sweep from its ledger, order by order. */
#include "experiments/results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/statistics.h"

/* Per-order sums that need every token once. */
typedef struct OrderSums {
    StatisticsSum nll, kl, body;
    uint64_t n_top1, n_top5, n_agree, n_nonfinite;
} OrderSums;

static bool is_body(const ResultsInput *in, size_t row)
{
    return in->windows->protocol == WINDOW_ROWS && in->data->rows[row].kind == ROW_BODY;
}

static bool knows_kinds(const ResultsInput *in)
{
    return in->data->is_wikitext && in->windows->protocol == WINDOW_ROWS;
}

static void sum_order(const ResultsInput *in, const LedgerView *v, size_t order, OrderSums *s, double *unit_nll,
                      StatisticsSum *rows_ppl)
{
    const Windows *w = in->windows;
    const size_t base = order * v->n_tokens;
    memset(s, 0, sizeof *s);
    for (size_t win = 0; win < w->n_windows; win++) {
        size_t first = windows_first_token(w, win), end = windows_first_token(w, win + 1);
        double sum = 0;
        for (size_t t = first; t < end; t++) {
            double nll = ledger_view_nll(v, order, t);
            statistics_sum_add(&s->nll, nll);
            statistics_sum_add(&s->kl, (double)v->kl[base + t]);
            if (is_body(in, (size_t)w->row[t]))
                statistics_sum_add(&s->body, nll);
            s->n_nonfinite += !isfinite(nll);
            s->n_top1 += v->rank[base + t] == 0;
            s->n_top5 += v->rank[base + t] >= 0 && v->rank[base + t] < 5;
            s->n_agree += v->top1[base + t] == v->top1[t];
            sum += nll;
        }
        unit_nll[w->unit[win]] += sum;
        statistics_sum_add(rows_ppl, exp(sum / (double)(end - first)));
    }
}

static void fill(const ResultsInput *in, const OrderSums *s, const StatisticsSum *rows_ppl, uint64_t n_body,
                 const OrderResult *baseline, OrderResult *out)
{
    const WindowCounts *c = &in->windows->counts;
    double n = (double)in->windows->n_tokens, total = statistics_sum_value(&s->nll);
    bool finite = !s->n_nonfinite;
    out->nll = finite ? total / n : NAN;
    out->ppl = exp(out->nll);
    out->word_ppl = in->windows->has_text ? exp(out->nll * n / (double)c->n_words) : NAN;
    out->bits_per_byte = in->windows->has_text ? out->nll * n / log(2.0) / (double)c->n_bytes : NAN;
    out->top1_accuracy = (double)s->n_top1 / n;
    out->top5_accuracy = (double)s->n_top5 / n;
    out->agreement = (double)s->n_agree / n;
    out->kl = statistics_sum_value(&s->kl) / n;
    out->delta_nll = baseline ? out->nll - baseline->nll : 0;
    out->ci95[0] = out->ci95[1] = out->ci95_simultaneous[0] = out->ci95_simultaneous[1] = NAN;
    out->ppl_mean_of_rows = finite ? statistics_sum_value(rows_ppl) / (double)in->windows->n_windows : NAN;
    out->nll_body = finite && knows_kinds(in) && n_body ? statistics_sum_value(&s->body) / (double)n_body : NAN;
    out->ppl_body = exp(out->nll_body);
    out->n_nonfinite = s->n_nonfinite;
}

static int add_intervals(const ResultsInput *in, const double *unit_nll, const double *unit_tokens, Results *r, Error *e)
{
    size_t n_units = in->windows->n_units;
    if (r->n_orders < 2 || n_units < STATISTICS_MIN_UNITS)
        return STATUS_OK;
    StatisticsInterval *x = malloc((r->n_orders - 1) * sizeof *x);
    if (!x)
        return error_set(e, STATUS_FAILED, "%s: out of memory for intervals", in->dir);
    int status = statistics_paired_deltas(unit_nll, r->n_orders, unit_tokens, n_units, in->n_resamples, in->seed, x, e);
    for (size_t i = 1; !status && i < r->n_orders; i++) {
        r->orders[i].ci95[0] = x[i - 1].lo;
        r->orders[i].ci95[1] = x[i - 1].hi;
        r->orders[i].ci95_simultaneous[0] = x[i - 1].lo_simultaneous;
        r->orders[i].ci95_simultaneous[1] = x[i - 1].hi_simultaneous;
    }
    r->has_intervals = !status;
    free(x);
    return status;
}

static void drop_read(const LedgerView *v, size_t order)
{
    size_t nll = v->nll_dtype == DTYPE_F64 ? 8 : 4, n = v->n_tokens;
    file_drop_pages((const char *)v->nll + order * n * nll, n * nll);
    file_drop_pages(v->kl + order * n, n * 4);
    file_drop_pages(v->rank + order * n, n * 4);
    if (order)
        file_drop_pages(v->top1 + order * n, n * 4);
}

int results_compute(const ResultsInput *in, const LedgerView *v, Results *out, Error *e)
{
    const Windows *w = in->windows;
    memset(out, 0, sizeof *out);
    if (v->n_orders != in->orders->n_orders || v->n_tokens != w->n_tokens)
        return error_set(e, STATUS_FAILED, "%s: ledger of %zu orders and %zu tokens, expected %zu and %zu", in->dir,
                         v->n_orders, v->n_tokens, in->orders->n_orders, w->n_tokens);
    out->n_orders = v->n_orders;
    out->orders = calloc(v->n_orders, sizeof *out->orders);
    double *unit_nll = calloc(v->n_orders * w->n_units, sizeof *unit_nll),
           *unit_tokens = calloc(w->n_units, sizeof *unit_tokens);
    OrderSums *sums = malloc(sizeof *sums);
    int status = out->orders && unit_nll && unit_tokens && sums
                     ? STATUS_OK
                     : error_set(e, STATUS_FAILED, "%s: out of memory for %zu orders", in->dir, v->n_orders);
    for (size_t win = 0; !status && win < w->n_windows; win++)
        unit_tokens[w->unit[win]] += (double)(windows_first_token(w, win + 1) - windows_first_token(w, win));
    for (size_t t = 0; !status && t < w->n_tokens; t++)
        out->n_body_tokens += is_body(in, (size_t)w->row[t]);
    for (size_t o = 0; !status && o < v->n_orders; o++) {
        StatisticsSum rows_ppl = {0};
        sum_order(in, v, o, sums, unit_nll + o * w->n_units, &rows_ppl);
        fill(in, sums, &rows_ppl, out->n_body_tokens, o ? &out->orders[0] : NULL, &out->orders[o]);
        drop_read(v, o);
    }
    if (!status)
        status = add_intervals(in, unit_nll, unit_tokens, out, e);
    free(unit_nll);
    free(unit_tokens);
    free(sums);
    if (status)
        results_free(out);
    return status;
}

void results_free(Results *r)
{
    free(r->orders);
    memset(r, 0, sizeof *r);
}

static const char *kind_name(RowKind k)
{
    return k == ROW_HEADING ? "heading" : k == ROW_BODY ? "body" : "plain";
}

int results_rows_text(const ResultsInput *in, StrBuf *out, Error *e)
{
    const Windows *w = in->windows;
    for (size_t i = 0; i < w->n_rows; i++) {
        const Row *row = w->text ? NULL : &in->data->rows[i];
        strbuf_printf(out, "{\"row\":%zu", i);
        if (row)
            strbuf_printf(out, ",\"line\":%zu", row->line);
        strbuf_printf(out, ",\"kind\":\"%s\"", kind_name(row ? row->kind : ROW_PLAIN));
        if (row && row->article >= 0)
            strbuf_printf(out, ",\"article\":%d", row->article);
        else
            strbuf_puts(out, ",\"article\":null");
        strbuf_printf(out, ",\"n_tokens\":%u", w->row_tokens[i]);
        if (row && !row->text) {
            strbuf_puts(out, ",\"ids\":[");
            for (size_t k = 0; k < row->n_ids; k++)
                strbuf_printf(out, "%s%d", k ? "," : "", row->ids[k]);
            strbuf_puts(out, "]}\n");
        } else {
            strbuf_puts(out, ",\"text\":");
            strbuf_json_string(out, row ? row->text : w->text, row ? row->len : w->text_len);
            strbuf_puts(out, "}\n");
        }
    }
    return out->failed ? error_set(e, STATUS_FAILED, "%s: out of memory for rows", in->dir) : STATUS_OK;
}

int results_write_rows(const ResultsInput *in, Error *e)
{
    StrBuf out = {0};
    int status = results_rows_text(in, &out, e);
    if (!status)
        status = file_write_text(&out, e, "%s/rows.jsonl", in->dir);
    strbuf_free(&out);
    return status;
}
