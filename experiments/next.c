/* next.c: what the model would say next, and what the logit lens reads at each layer on the way: the residual stream at the last
 * token through the final norm and the head. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "experiments/workbench.h"

typedef struct Next {
    Workbench bench;
    Order order;
    Arena arena;
    int32_t *ids;
    size_t n, n_points; /* points: the stream before the first item, then after each item */
    Run *run;
    double *stream; /* [n_points, D], at the last token */
    double *logits; /* [n_points, V] */
} Next;

static int on_node(void *user, const Plan *plan, int32_t node, View residual, Error *e)
{
    Next *x = user;
    (void)e;
    const Ops *ops = x->bench.session.ops;
    View last = view_rows(residual, x->n - 1, 1, dtype_block_bytes(ops->resid_dtype));
    for (size_t p = 0; p < x->n_points; p++) {
        int32_t at = p == 0 ? 0 : plan_node_at(plan, 0, &x->order, p - 1, POINT_POST);
        if (at == node)
            ops->download(run_get_context(x->run), x->stream + p * x->bench.model.traits.d_model, last);
    }
    return STATUS_OK;
}

/* A token as a person reads it: its text in quotes, bytes that are no text as \xNN; the id alone without a tokenizer. */
static void format_token(const Next *x, int32_t id, StrBuf *out)
{
    char bytes[64];
    size_t n = x->bench.tokenizer ? tokenizer_token_bytes(x->bench.tokenizer, id, bytes, sizeof bytes) : 0;
    if (!x->bench.tokenizer) {
        strbuf_printf(out, "%d", id);
        return;
    }
    n = n < sizeof bytes ? n : sizeof bytes;
    strbuf_putc(out, '"');
    for (size_t i = 0; i < n;) {
        uint32_t code;
        size_t len = utf8_decode(bytes + i, n - i, &code);
        if (len == 0 || code < 0x20) {
            strbuf_printf(out, code == '\n' && len ? "\\n" : "\\x%02x", (unsigned char)bytes[i]);
            len = 1;
        } else {
            strbuf_append(out, bytes + i, len);
        }
        i += len;
    }
    strbuf_putc(out, '"');
}

static int32_t best(const double *logits, size_t n, const uint8_t *taken)
{
    int32_t at = -1;
    for (size_t v = 0; v < n; v++)
        if (!(taken && taken[v]) && !isnan(logits[v]) && (at < 0 || logits[v] > logits[at]))
            at = (int32_t)v;
    return at;
}

static double log_sum_exp(const double *logits, size_t n)
{
    int32_t at = best(logits, n, NULL);
    if (at < 0)
        return NAN;
    double sum = 0;
    for (size_t v = 0; v < n; v++)
        sum += exp(logits[v] - logits[at]);
    /* cppcheck-suppress invalidFunctionArg ; the largest logit adds 1 to the sum */
    return logits[at] + log(sum);
}

static int print_next(Next *x, int top, FILE *out, bool json, Error *e)
{
    size_t vocab = x->bench.model.traits.vocab;
    const double *last = x->logits + (x->n_points - 1) * vocab;
    double lse = log_sum_exp(last, vocab);
    StrBuf text = {0};
    uint8_t *taken = calloc(vocab, 1);
    if (!taken)
        return error_set(e, STATUS_FAILED, "next: out of memory");
    strbuf_printf(&text, json ? "{\"order\":\"%s\",\"next\":[" : "After %2$zu tokens, order %1$s:\n", x->order.spec, x->n);
    for (int i = 0; i < top && (size_t)i < vocab; i++) {
        int32_t id = best(last, vocab, taken);
        if (id < 0)
            break;
        taken[id] = 1;
        StrBuf token = {0};
        format_token(x, id, &token);
        if (json) {
            strbuf_printf(&text, "%s{\"id\":%d,\"token\":", i ? "," : "", id);
            strbuf_json_string(&text, token.data ? token.data : "", token.len);
            strbuf_puts(&text, ",\"probability\":");
            strbuf_json_number(&text, exp(last[id] - lse));
            strbuf_puts(&text, "}");
        } else {
            strbuf_printf(&text, "  %6.2f %%  %s\n", 100 * exp(last[id] - lse), token.data ? token.data : "");
        }
        strbuf_free(&token);
    }
    strbuf_puts(&text, json ? "],\"lens\":[" : "Logit lens (final norm, then head), the likeliest word at each step:\n");
    for (size_t p = 0; p < x->n_points; p++) {
        const double *row = x->logits + p * vocab;
        int32_t id = best(row, vocab, NULL);
        double probability = id < 0 ? NAN : exp(row[id] - log_sum_exp(row, vocab));
        StrBuf token = {0};
        if (id >= 0)
            format_token(x, id, &token);
        char where[32];
        snprintf(where, sizeof where, p ? "after layer %d" : "embedding", p ? x->order.items[p - 1].layer : 0);
        if (json) {
            strbuf_printf(&text, "%s{\"position\":%zu,\"layer\":%d,\"id\":%d,\"token\":", p ? "," : "", p,
                          p ? x->order.items[p - 1].layer : -1, id);
            strbuf_json_string(&text, token.data ? token.data : "", token.len);
            strbuf_puts(&text, ",\"probability\":");
            strbuf_json_number(&text, probability);
            strbuf_puts(&text, "}");
        } else {
            strbuf_printf(&text, "  %-15s %6.2f %%  %s\n", where, 100 * probability, token.data ? token.data : "");
        }
        strbuf_free(&token);
    }
    if (json)
        strbuf_puts(&text, "]}\n");
    free(taken);
    int status = text.failed ? error_set(e, STATUS_FAILED, "next: out of memory") : STATUS_OK;
    if (!status && out)
        fwrite(text.data, 1, text.len, out);
    strbuf_free(&text);
    return status;
}

static int next_word(const StrataNextOptions *o, Next *x, Error *e)
{
    int top = o->top ? o->top : 10;
    if (top < 1)
        return error_set(e, STATUS_USAGE, "--top: %d, expected at least 1", top);
    int status = workbench_open(&o->common, o->text ? TOKENIZER_REQUIRED : TOKENIZER_IF_THERE, &x->bench, e);
    if (!status)
        status = workbench_ids(&x->bench, o->text, o->ids, &x->ids, &x->n, e);
    if (status)
        return status;
    const ModelTraits *t = &x->bench.model.traits;
    char intact[32];
    snprintf(intact, sizeof intact, "0-%d", t->n_layers - 1);
    status = order_parse(o->order && o->order[0] ? o->order : intact, t->n_layers, &x->arena, &x->order, e);
    if (status)
        return status;
    x->n_points = x->order.n_items + 1;
    size_t bytes = x->n_points * (t->d_model + t->vocab) * sizeof(double);
    x->stream = calloc(x->n_points * t->d_model, sizeof *x->stream);
    x->logits = malloc(x->n_points * t->vocab * sizeof *x->logits);
    if (!x->stream || !x->logits)
        return error_set(e, STATUS_FAILED, "next: out of memory");
    RunRequest request = {
        .orders = &x->order, .n_orders = 1, .longest_window = x->n, .total_rows = x->n, .reserve_bytes = bytes};
    if ((status = run_open(&x->bench.session, &request, &x->run, e)))
        return status;
    size_t starts[2] = {0, x->n};
    TokenBlock block = {.ids = x->ids, .window_start = starts, .n_rows = x->n, .n_windows = 1};
    RunHooks hooks = {.user = x, .on_node = on_node};
    if (!(status = run_block(x->run, &block, &hooks, e)))
        status = run_logits(x->run, x->stream, x->n_points, x->logits, e);
    return status ? status : print_next(x, top, o->common.out, o->common.json, e);
}

int strata_next(const StrataNextOptions *options, StrataError *e)
{
    Next x = {0};
    int status = next_word(options, &x, e);
    run_close(x.run);
    free(x.stream);
    free(x.logits);
    free(x.ids);
    arena_free(&x.arena);
    workbench_close(&x.bench);
    return status;
}
