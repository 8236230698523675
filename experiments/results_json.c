/* results_json.c: ppl.json and ppl.csv. Numbers are the shortest that read back the same; NaN and infinities are null. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/results.h"
#include "experiments/statistics.h"
#include "kernels/ops.h"

static void key(StrBuf *out, const char *name)
{
    strbuf_printf(out, ", \"%s\": ", name);
}

static void put_text(StrBuf *out, const char *name, const char *value)
{
    key(out, name);
    if (value)
        strbuf_json_string(out, value, strlen(value));
    else
        strbuf_puts(out, "null");
}

static void put_number(StrBuf *out, const char *name, double value)
{
    key(out, name);
    strbuf_json_number(out, value);
}

static void put_pair(StrBuf *out, const char *name, const double *pair)
{
    key(out, name);
    if (isnan(pair[0]) || isnan(pair[1])) {
        strbuf_puts(out, "null");
        return;
    }
    strbuf_puts(out, "[");
    strbuf_json_number(out, pair[0]);
    strbuf_puts(out, ", ");
    strbuf_json_number(out, pair[1]);
    strbuf_puts(out, "]");
}

static void put_steps(StrBuf *out, const Order *o)
{
    key(out, "order");
    if (order_is_index_array(o)) {
        strbuf_puts(out, "[");
        for (size_t i = 0; i < o->n_items; i++)
            strbuf_printf(out, "%s%d", i ? ", " : "", o->items[i].layer);
        strbuf_puts(out, "]");
    } else {
        strbuf_puts(out, "null");
    }
    static const char *const parts[] = {"both", "attn", "mlp"};
    key(out, "steps");
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
    put_text(out, "spec", o->spec);
    put_number(out, "nll", r->nll);
    put_number(out, "ppl", r->ppl);
    put_number(out, "word_ppl", r->word_ppl);
    put_number(out, "bits_per_byte", r->bits_per_byte);
    put_number(out, "top1_accuracy", r->top1_accuracy);
    put_number(out, "top5_accuracy", r->top5_accuracy);
    put_number(out, "agreement", r->agreement);
    put_number(out, "kl", r->kl);
    put_number(out, "delta_nll", r->delta_nll);
    put_pair(out, "delta_nll_ci95", r->ci95);
    put_pair(out, "delta_nll_ci95_simultaneous", r->ci95_simultaneous);
    put_number(out, "ppl_mean_of_rows", r->ppl_mean_of_rows);
    put_number(out, "nll_body", r->nll_body);
    put_number(out, "ppl_body", r->ppl_body);
    put_number(out, "n_nonfinite", (double)r->n_nonfinite);
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
    key(out, "protocol");
    strbuf_puts(out, "{\"name\": ");
    strbuf_json_string(out, window_protocol_name(w->protocol), strlen(window_protocol_name(w->protocol)));
    put_text(out, "split", in->split);
    put_text(out, "rows",
             w->protocol == WINDOW_ROWS ? "a line is a row and a window; white-space-only lines are left out" : "one text");
    put_text(out, "joiner", w->protocol == WINDOW_CONCAT ? "\n\n" : NULL);
    put_number(out, "context", (double)w->context);
    put_number(out, "stride", (double)w->context);
    strbuf_printf(out, ", \"bos\": %s", w->bos ? "true" : "false");
    put_text(out, "bootstrap_unit", w->units_are_articles ? "article" : "window");
    put_number(out, "n_units", (double)w->n_units);
    put_number(out, "n_resamples", (double)(in->n_resamples ? in->n_resamples : STATISTICS_RESAMPLES));
    put_number(out, "seed", (double)in->seed);
    key(out, "denominators");
    strbuf_printf(out, "{\"tokens\": %llu", (unsigned long long)w->counts.n_tokens);
    put_number(out, "words", w->has_text ? (double)w->counts.n_words : NAN);
    put_number(out, "bytes", w->has_text ? (double)w->counts.n_bytes : NAN);
    strbuf_puts(out, "}");
    put_number(out, "n_windows", (double)w->n_windows);
    put_number(out, "n_rows", (double)w->n_rows);
    put_text(out, "dtype", in->dtype);
    put_text(out, "numerics", in->numerics);
    if (in->numerics && ops_numerics_version(in->numerics))
        put_text(out, "numerics_version", ops_numerics_version(in->numerics));
    put_text(out, "rope", in->rope);
    key(out, "hashes");
    strbuf_puts(out, "{");
    HashWriter hashes = {.out = out};
    if (in->record)
        run_record_each_hash(in->record, put_hash, &hashes);
    strbuf_puts(out, "}}");
}

static void put_influence(StrBuf *out, const InfluenceSums *s)
{
    key(out, "influence");
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
    key(out, "counters");
    strbuf_puts(out, "{\"flops\": ");
    strbuf_json_number(out, c->flops);
    put_number(out, "flops_naive", c->flops_naive);
    put_number(out, "weight_bytes_moved", c->weight_bytes_moved);
    put_number(out, "layer_evaluations", (double)c->layer_evaluations);
    put_number(out, "naive_layer_evaluations", (double)c->naive_layer_evaluations);
    put_number(out, "visits", (double)c->visits);
    put_number(out, "loads", (double)c->loads);
    put_number(out, "n_blocks", (double)c->n_blocks);
    strbuf_puts(out, "}");
}

static void put_greedy(StrBuf *out, const ResultsInput *in)
{
    const GreedyPath *g = in->greedy;
    key(out, "greedy");
    strbuf_printf(out, "{\"n_stages\": %zu", g->n_stages);
    put_number(out, "n_tokens_even", (double)g->n_tokens_even);
    put_number(out, "n_tokens_odd", (double)g->n_tokens_odd);
    put_number(out, "nll_even", g->intact_even);
    put_number(out, "nll_odd", g->intact_odd);
    key(out, "stages");
    for (size_t i = 0; i < g->n_done; i++) {
        const GreedyStage *x = &g->stages[i];
        strbuf_printf(out, "%s{\"stage\": %zu, \"removed\": %d", i ? ", " : "[", i, g->removed[i]);
        put_text(out, "order", in->orders->orders[x->ledger_index].name);
        put_number(out, "ledger_index", (double)x->ledger_index);
        put_text(out, "spec", in->orders->orders[x->ledger_index].spec);
        put_number(out, "nll_even", x->nll_even);
        put_number(out, "nll_odd", x->nll_odd);
        put_number(out, "delta_nll_odd", x->nll_odd - g->intact_odd);
        strbuf_puts(out, "}");
    }
    strbuf_puts(out, "]}");
}

int results_json(const ResultsInput *in, const Results *r, StrBuf *out, Error *e)
{
    strbuf_puts(out, "{\"schema\": \"strata.ppl/1\"");
    put_text(out, "model", in->model);
    put_text(out, "dataset", in->dataset);
    put_text(out, "experiment", in->experiment);
    put_number(out, "n_samples", (double)in->n_samples);
    put_number(out, "n_tokens", (double)in->windows->n_tokens);
    put_number(out, "n_unscored", (double)in->windows->n_unscored);
    put_number(out, "n_body_tokens", (double)r->n_body_tokens);
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

static void csv_number(StrBuf *out, double x)
{
    strbuf_putc(out, ',');
    if (isfinite(x))
        strbuf_json_number(out, x);
}

static void csv_text(StrBuf *out, const char *s)
{
    strbuf_putc(out, '"');
    for (; *s; s++)
        strbuf_append(out, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1);
    strbuf_putc(out, '"');
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
        csv_text(out, in->orders->orders[i].name);
        strbuf_putc(out, ',');
        csv_text(out, in->orders->orders[i].spec);
        strbuf_printf(out, ",%zu", i);
        for (size_t k = 0; k < sizeof values / sizeof values[0]; k++)
            csv_number(out, values[k]);
        strbuf_putc(out, '\n');
    }
}

static int write_file(const char *dir, const char *name, const StrBuf *text, Error *e)
{
    char *path = file_join(dir, name);
    int status = !path || text->failed ? error_set(e, STATUS_FAILED, "%s: out of memory for %s", dir, name)
                                       : file_write_atomic(path, text->data, text->len, e);
    free(path);
    return status;
}

int results_write(const ResultsInput *in, const Results *r, Error *e)
{
    StrBuf json = {0}, csv = {0};
    int status = results_json(in, r, &json, e);
    put_csv(in, r, &csv);
    if (!status)
        status = write_file(in->dir, "ppl.csv", &csv, e);
    if (!status)
        status = write_file(in->dir, "ppl.json", &json, e);
    strbuf_free(&json);
    strbuf_free(&csv);
    return status;
}
