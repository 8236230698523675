/* results_json.c: ppl.json and ppl.csv. Numbers are the shortest that read back the same; NaN and infinities are null. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/results.h"
#include "experiments/statistics.h"
#include "kernels/ops.h"

static void put_steps(StrBuf *out, const Order *o)
{
    strbuf_json_field(out, "order");
    if (order_is_index_array(o)) {
        strbuf_puts(out, "[");
        for (size_t i = 0; i < o->n_items; i++)
            strbuf_printf(out, "%s%d", i ? ", " : "", o->items[i].layer);
        strbuf_puts(out, "]");
    } else {
        strbuf_puts(out, "null");
    }
    static const char *const parts[] = {"both", "attn", "mlp"};
    strbuf_json_field(out, "steps");
    strbuf_puts(out, "[");
    for (size_t i = 0; i < o->n_items; i++)
        strbuf_printf(out, "%s{\"layer\": %d, \"part\": \"%s\", \"joins\": %s}", i ? ", " : "", o->items[i].layer,
                      parts[o->items[i].part], o->items[i].joins ? "true" : "false");
    strbuf_puts(out, "]");
}

static void put_order(StrBuf *out, const Order *o, size_t index, const OrderResult *r)
{
    strbuf_puts(out, "{\"name\": ");
    strbuf_json_string(out, o->name, strlen(o->name));
    strbuf_printf(out, ", \"ledger_index\": %zu", index);
    put_steps(out, o);
    strbuf_json_field_text(out, "spec", o->spec);
    strbuf_json_field_number(out, "nll", r->nll);
    strbuf_json_field_number(out, "ppl", r->ppl);
    strbuf_json_field_number(out, "word_ppl", r->word_ppl);
    strbuf_json_field_number(out, "bits_per_byte", r->bits_per_byte);
    strbuf_json_field_number(out, "top1_accuracy", r->top1_accuracy);
    strbuf_json_field_number(out, "top5_accuracy", r->top5_accuracy);
    strbuf_json_field_number(out, "agreement", r->agreement);
    strbuf_json_field_number(out, "kl", r->kl);
    strbuf_json_field_number(out, "delta_nll", r->delta_nll);
    strbuf_json_field_interval(out, "delta_nll_ci95", r->ci95[0], r->ci95[1]);
    strbuf_json_field_interval(out, "delta_nll_ci95_simultaneous", r->ci95_simultaneous[0], r->ci95_simultaneous[1]);
    strbuf_json_field_number(out, "ppl_mean_of_rows", r->ppl_mean_of_rows);
    strbuf_json_field_number(out, "nll_body", r->nll_body);
    strbuf_json_field_number(out, "ppl_body", r->ppl_body);
    strbuf_json_field_number(out, "n_nonfinite", (double)r->n_nonfinite);
    strbuf_puts(out, "}");
}

typedef struct HashWriter {
    StrBuf *out;
    bool any;
} HashWriter;

static void put_hash(void *user, const char *name, const char *value)
{
    HashWriter *w = user;
    if (w->any)
        strbuf_puts(w->out, ", ");
    w->any = true;
    strbuf_json_string(w->out, name, strlen(name));
    strbuf_puts(w->out, ": ");
    strbuf_json_string(w->out, value, strlen(value));
}

static void put_protocol(StrBuf *out, const ResultsInput *in)
{
    const Windows *w = in->windows;
    strbuf_json_field(out, "protocol");
    strbuf_puts(out, "{\"name\": ");
    strbuf_json_string(out, window_protocol_name(w->protocol), strlen(window_protocol_name(w->protocol)));
    strbuf_json_field_text(out, "split", in->split);
    strbuf_json_field_text(out, "rows",
                           w->protocol == WINDOW_ROWS ? "a line is a row and a window; white-space-only lines are left out"
                                                      : "one text");
    strbuf_json_field_text(out, "joiner", w->protocol == WINDOW_CONCAT ? "\n\n" : NULL);
    strbuf_json_field_number(out, "context", (double)w->context);
    strbuf_json_field_number(out, "stride", (double)w->context);
    strbuf_printf(out, ", \"bos\": %s", w->bos ? "true" : "false");
    strbuf_json_field_text(out, "bootstrap_unit", w->units_are_articles ? "article" : "window");
    strbuf_json_field_number(out, "n_units", (double)w->n_units);
    strbuf_json_field_number(out, "n_resamples", (double)(in->n_resamples ? in->n_resamples : STATISTICS_RESAMPLES));
    strbuf_json_field_number(out, "seed", (double)in->seed);
    strbuf_json_field(out, "denominators");
    strbuf_printf(out, "{\"tokens\": %llu", (unsigned long long)w->counts.n_tokens);
    strbuf_json_field_number(out, "words", w->has_text ? (double)w->counts.n_words : NAN);
    strbuf_json_field_number(out, "bytes", w->has_text ? (double)w->counts.n_bytes : NAN);
    strbuf_puts(out, "}");
    strbuf_json_field_number(out, "n_windows", (double)w->n_windows);
    strbuf_json_field_number(out, "n_rows", (double)w->n_rows);
    strbuf_json_field_text(out, "dtype", in->dtype);
    strbuf_json_field_text(out, "numerics", in->numerics);
    if (in->numerics && ops_numerics_version(in->numerics))
        strbuf_json_field_text(out, "numerics_version", ops_numerics_version(in->numerics));
    strbuf_json_field_text(out, "rope", in->rope);
    strbuf_json_field(out, "hashes");
    strbuf_puts(out, "{");
    HashWriter hashes = {.out = out};
    if (in->record)
        run_record_each_hash(in->record, put_hash, &hashes);
    strbuf_puts(out, "}}");
}

static void put_influence(StrBuf *out, const InfluenceSums *s)
{
    strbuf_json_field(out, "influence");
    strbuf_puts(out, "{\"block_influence\": [");
    for (int l = 0; l < s->n_layers; l++) {
        strbuf_puts(out, l ? ", " : "");
        strbuf_json_number(out, s->n_tokens ? 1 - s->cosine_sum[l] / (double)s->n_tokens : NAN);
    }
    strbuf_puts(out, "], \"angular_distance\": [");
    for (int n = 1; n <= s->n_layers; n++) { /* row n - 1: n layers skipped, from layer l on */
        strbuf_puts(out, n > 1 ? ", [" : "[");
        for (int l = 0; l + n <= s->n_layers; l++) {
            strbuf_puts(out, l ? ", " : "");
            double sum = s->angle_sum[influence_angle_index(s->n_layers, n, l)];
            strbuf_json_number(out, s->n_windows ? sum / (double)s->n_windows : NAN);
        }
        strbuf_puts(out, "]");
    }
    strbuf_puts(out, "]}");
}

static void put_counters(StrBuf *out, const ResultsCounters *c)
{
    strbuf_json_field(out, "counters");
    strbuf_puts(out, "{\"flops\": ");
    strbuf_json_number(out, c->flops);
    strbuf_json_field_number(out, "flops_naive", c->flops_naive);
    strbuf_json_field_number(out, "weight_bytes_moved", c->weight_bytes_moved);
    strbuf_json_field_number(out, "layer_evaluations", (double)c->layer_evaluations);
    strbuf_json_field_number(out, "naive_layer_evaluations", (double)c->naive_layer_evaluations);
    strbuf_json_field_number(out, "visits", (double)c->visits);
    strbuf_json_field_number(out, "loads", (double)c->loads);
    strbuf_json_field_number(out, "n_blocks", (double)c->n_blocks);
    strbuf_puts(out, "}");
}

static void put_greedy(StrBuf *out, const ResultsInput *in)
{
    const GreedyPath *g = in->greedy;
    strbuf_json_field(out, "greedy");
    strbuf_printf(out, "{\"n_stages\": %zu", g->n_stages);
    strbuf_json_field_number(out, "n_tokens_even", (double)g->n_tokens_even);
    strbuf_json_field_number(out, "n_tokens_odd", (double)g->n_tokens_odd);
    strbuf_json_field_number(out, "nll_even", g->intact_even);
    strbuf_json_field_number(out, "nll_odd", g->intact_odd);
    strbuf_json_field(out, "stages");
    for (size_t i = 0; i < g->n_done; i++) {
        const GreedyStage *x = &g->stages[i];
        strbuf_printf(out, "%s{\"stage\": %zu, \"removed\": %d", i ? ", " : "[", i, g->removed[i]);
        strbuf_json_field_text(out, "order", in->orders->orders[x->ledger_index].name);
        strbuf_json_field_number(out, "ledger_index", (double)x->ledger_index);
        strbuf_json_field_text(out, "spec", in->orders->orders[x->ledger_index].spec);
        strbuf_json_field_number(out, "nll_even", x->nll_even);
        strbuf_json_field_number(out, "nll_odd", x->nll_odd);
        strbuf_json_field_number(out, "delta_nll_odd", x->nll_odd - g->intact_odd);
        strbuf_puts(out, "}");
    }
    strbuf_puts(out, "]}");
}

int results_json(const ResultsInput *in, const Results *r, StrBuf *out, Error *e)
{
    strbuf_puts(out, "{\"schema\": \"strata.ppl/1\"");
    strbuf_json_field_text(out, "model", in->model);
    strbuf_json_field_text(out, "dataset", in->dataset);
    strbuf_json_field_text(out, "experiment", in->experiment);
    strbuf_json_field_number(out, "n_samples", (double)in->n_samples);
    strbuf_json_field_number(out, "n_tokens", (double)in->windows->n_tokens);
    strbuf_json_field_number(out, "n_unscored", (double)in->windows->n_unscored);
    strbuf_json_field_number(out, "n_body_tokens", (double)r->n_body_tokens);
    put_protocol(out, in);
    if (in->influence)
        put_influence(out, in->influence);
    if (in->counters)
        put_counters(out, in->counters);
    if (in->greedy)
        put_greedy(out, in);
    strbuf_puts(out, ",\n\"baseline\": ");
    put_order(out, &in->orders->orders[0], 0, &r->orders[0]);
    strbuf_puts(out, ",\n\"orders\": [\n");
    for (size_t i = 1; i < r->n_orders; i++) {
        put_order(out, &in->orders->orders[i], i, &r->orders[i]);
        strbuf_puts(out, i + 1 < r->n_orders ? ",\n" : "\n");
    }
    strbuf_puts(out, "]}\n");
    return out->failed ? error_set(e, STATUS_FAILED, "%s: out of memory for ppl.json", in->dir) : STATUS_OK;
}

static void put_csv(const ResultsInput *in, const Results *r, StrBuf *out)
{
    strbuf_puts(
        out, "name,spec,ledger_index,nll,ppl,word_ppl,bits_per_byte,top1_accuracy,top5_accuracy,agreement,kl,delta_nll,"
             "delta_nll_lo,delta_nll_hi,delta_nll_lo_simultaneous,delta_nll_hi_simultaneous,ppl_mean_of_rows,nll_body,ppl_body,"
             "n_nonfinite\n");
    for (size_t i = 0; i < r->n_orders; i++) {
        const OrderResult *x = &r->orders[i];
        const double values[] = {x->nll,
                                 x->ppl,
                                 x->word_ppl,
                                 x->bits_per_byte,
                                 x->top1_accuracy,
                                 x->top5_accuracy,
                                 x->agreement,
                                 x->kl,
                                 x->delta_nll,
                                 x->ci95[0],
                                 x->ci95[1],
                                 x->ci95_simultaneous[0],
                                 x->ci95_simultaneous[1],
                                 x->ppl_mean_of_rows,
                                 x->nll_body,
                                 x->ppl_body,
                                 (double)x->n_nonfinite};
        strbuf_csv_text(out, in->orders->orders[i].name);
        strbuf_putc(out, ',');
        strbuf_csv_text(out, in->orders->orders[i].spec);
        strbuf_printf(out, ",%zu", i);
        for (size_t k = 0; k < sizeof values / sizeof values[0]; k++)
            strbuf_csv_number(out, values[k]);
        strbuf_putc(out, '\n');
    }
}

int results_write(const ResultsInput *in, const Results *r, Error *e)
{
    StrBuf json = {0}, csv = {0};
    int status = results_json(in, r, &json, e);
    put_csv(in, r, &csv);
    if (!status)
        status = file_write_text(&csv, e, "%s/ppl.csv", in->dir);
    if (!status)
        status = file_write_text(&json, e, "%s/ppl.json", in->dir);
    strbuf_free(&json);
    strbuf_free(&csv);
    return status;
}
