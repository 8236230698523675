/* web_inside.c: answers of the inside view: logit lens, lengths of the stream, attention patterns, router choices, arithmetic. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/lab_inside.h"
#include "tools/web/web_answer.h"

enum { MOST_PATTERN_NUMBERS = 1 << 22 };

/* A text walked along the order asked for, and the beginning of its answer. */
typedef struct Walked {
    WebTokens tokens;
    LabStream stream;
} Walked;

static int walk(const WebLive *live, const WebAsk *ask, const LabControl *control, double share, Walked *w, StrBuf *out,
                Error *e)
{
    memset(w, 0, sizeof *w);
    int status = web_tokens(live, &ask->text, ask->ids, ask->n_ids, &w->tokens, e);
    if (status)
        return status;
    LabText text = {.ids = w->tokens.ids, .n = w->tokens.n, .order = &ask->order};
    status = lab_walk(live->lab, &text, control, 0, share, &w->stream, e);
    if (!status) {
        strbuf_puts(out, "\"tokens\": ");
        web_write_tokens(live, &w->tokens, out);
        strbuf_puts(out, ", ");
        web_write_order(&ask->order, ask->is_intact, out);
    }
    return status;
}

static void end_walk(const WebLive *live, Walked *w)
{
    lab_stream_close(live->lab, &w->stream);
    web_tokens_free(&w->tokens);
}

/* -- logit lens -- */

typedef struct Lens {
    size_t n_points, n_positions, first, top;
    LabHead *heads; /* [n_points], a row each position; or one, a row each point, when a single position was asked for */
    bool is_single;
} Lens;

static void write_row(const Lens *l, size_t field, size_t point, size_t position, bool has_next, WebPieces *pieces, StrBuf *out)
{
    const LabHead *h = l->is_single ? l->heads : &l->heads[point];
    size_t row = l->is_single ? point : position, n = 0;
    while (n < l->top && h->ids[row * LAB_TOP + n] >= 0)
        n++;
    if (field == 0)
        web_write_ids(h->ids + row * LAB_TOP, n, pieces, out);
    else if (field == 1)
        web_write_numbers(h->p + row * LAB_TOP, n, out);
    else if (field == 2)
        web_write_number(has_next ? h->nll[row] : NAN, out);
    else if (field == 3)
        has_next ? strbuf_printf(out, "%d", h->rank[row]) : strbuf_puts(out, "null");
    else
        web_write_number(point + 1 == l->n_points ? 0 : h->kl[row], out);
}

static void write_lens(const WebLive *live, const Lens *l, WebPieces *pieces, size_t n_tokens, StrBuf *out)
{
    const char *open[] = {", \"ids\": [", "], \"p\": [", "], \"next_nll\": [", "], \"next_rank\": [", "], \"kl_to_final\": ["};
    strbuf_printf(out, ", \"final_norm\": %s, \"positions\": [",
                  lab_bench(live->lab)->model.traits.final_norm ? "true" : "false");
    for (size_t i = 0; i < l->n_positions; i++)
        strbuf_printf(out, "%s%zu", i ? "," : "", l->first + i);
    strbuf_printf(out, "], \"top\": %zu", l->top);
    for (size_t field = 0; field < sizeof open / sizeof *open; field++) {
        strbuf_puts(out, open[field]);
        for (size_t p = 0; p < l->n_points; p++) {
            strbuf_puts(out, p ? ",[" : "[");
            for (size_t i = 0; i < l->n_positions; i++) {
                strbuf_puts(out, i ? "," : "");
                write_row(l, field, p, i, l->first + i + 1 < n_tokens, pieces, out);
            }
            strbuf_putc(out, ']');
        }
    }
    strbuf_puts(out, "], \"pieces\": ");
    web_write_pieces(live, pieces, out);
}

/* One position at all points in one go of the head. */
static int read_single(const WebLive *live, const Walked *w, const LabControl *control, Lens *l, Error *e)
{
    size_t d = lab_bench(live->lab)->model.traits.d_model;
    double *rows = malloc(l->n_points * d * sizeof *rows);
    int32_t *targets = malloc(l->n_points * sizeof *targets);
    int status =
        rows && targets ? STATUS_OK : error_set(e, STATUS_FAILED, "out of memory for the lens of %zu points", l->n_points);
    for (size_t p = 0; !status && p < l->n_points; p++) {
        lab_node_rows(live->lab, w->stream.point[p], l->first, 1, rows + p * d);
        targets[p] = l->first + 1 < w->tokens.n ? w->tokens.ids[l->first + 1] : -1;
    }
    if (!status)
        status = lab_head_rows(live->lab, rows, l->n_points, targets, rows + (l->n_points - 1) * d, 1, control, 0.5, 0.5,
                               l->heads, e);
    free(targets);
    free(rows);
    return status;
}

int web_answer_lens(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e)
{
    Walked w;
    int status = walk(live, ask, control, 0.3, &w, out, e);
    if (!status && ask->position >= (int64_t)w.tokens.n)
        status = error_set(e, STATUS_USAGE, "\"position\": expected 0 to %zu, a token of the text", w.tokens.n - 1);
    Lens l = {.n_points = w.stream.n_steps + 1,
              .n_positions = ask->position < 0 ? w.tokens.n : 1,
              .first = ask->position < 0 ? 0 : (size_t)ask->position,
              .top = ask->top > 0 ? (size_t)ask->top : 5,
              .is_single = ask->position >= 0};
    WebPieces pieces = {calloc(live->limits.vocab, 1), live->limits.vocab};
    l.heads = calloc(l.n_points, sizeof *l.heads);
    if (!status && (!pieces.seen || !l.heads))
        status = error_set(e, STATUS_FAILED, "out of memory for the lens of %zu points", l.n_points);
    if (!status)
        status = l.is_single ? read_single(live, &w, control, &l, e)
                             : lab_lens(live->lab, &w.stream, w.tokens.ids, control, 0.3, 0.7, l.heads, e);
    if (!status)
        write_lens(live, &l, &pieces, w.tokens.n, out);
    for (size_t p = 0; l.heads && p < l.n_points; p++)
        lab_head_free(&l.heads[p]);
    free(l.heads);
    free(pieces.seen);
    end_walk(live, &w);
    return status;
}

/* -- lengths -- */

typedef enum Measure { NORM, MID, ATTN_UPDATE, MLP_UPDATE, COSINE, N_MEASURES } Measure;

static double row_norm(const double *x, const double *minus, size_t d)
{
    double sum = 0;
    for (size_t i = 0; i < d; i++) {
        double v = x[i] - (minus ? minus[i] : 0);
        sum += v * v;
    }
    return sqrt(sum);
}

static double row_cosine(const double *x, const double *y, size_t d)
{
    double xy = 0;
    for (size_t i = 0; i < d; i++)
        xy += x[i] * y[i];
    return xy / (row_norm(x, NULL, d) * row_norm(y, NULL, d));
}

/* One row of numbers (a token each) of one measure at one step, or null where it has no meaning. */
static void write_measure(const Walked *w, const WebAsk *ask, Measure m, size_t step, const double *pre, const double *mid,
                          const double *post, size_t d, StrBuf *out)
{
    const OrderItem *item = &ask->order.items[step];
    bool has_mid = w->stream.mid[step] != NULL;
    const double *from = pre, *to = post;
    bool there = true;
    if (m == MID)
        there = has_mid, to = mid;
    if (m == ATTN_UPDATE)
        there = has_mid || item->part == PART_ATTN, to = has_mid ? mid : post;
    if (m == MLP_UPDATE)
        there = has_mid || item->part == PART_MLP, from = has_mid ? mid : pre;
    if (!there) {
        strbuf_puts(out, "null");
        return;
    }
    for (size_t t = 0; t < w->stream.n; t++) {
        const double *a = from + t * d, *b = to + t * d;
        strbuf_putc(out, t ? ',' : '[');
        web_write_number(m == COSINE ? row_cosine(a, b, d) : row_norm(b, m == MID ? NULL : a, d), out);
    }
    strbuf_putc(out, ']');
}

int web_answer_stream(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e)
{
    Walked w;
    int status = walk(live, ask, control, 1, &w, out, e);
    size_t n = w.stream.n, d = lab_bench(live->lab)->model.traits.d_model;
    double *pre = malloc(3 * n * d * sizeof *pre + 1), *mid = pre ? pre + n * d : NULL, *post = pre ? mid + n * d : NULL;
    if (!status && !pre)
        status = error_set(e, STATUS_FAILED, "out of memory");
    StrBuf text[N_MEASURES] = {{0}};
    for (size_t p = 0; !status && p <= w.stream.n_steps; p++) {
        lab_node_rows(live->lab, w.stream.point[p], 0, n, post);
        strbuf_puts(&text[NORM], p ? ",[" : "[");
        for (size_t t = 0; t < n; t++) {
            strbuf_puts(&text[NORM], t ? "," : "");
            web_write_number(row_norm(post + t * d, NULL, d), &text[NORM]);
        }
        strbuf_putc(&text[NORM], ']');
    }
    for (size_t s = 0; !status && s < w.stream.n_steps; s++) {
        lab_node_rows(live->lab, w.stream.pre[s], 0, n, pre);
        if (w.stream.mid[s])
            lab_node_rows(live->lab, w.stream.mid[s], 0, n, mid);
        lab_node_rows(live->lab, w.stream.own[s], 0, n, post);
        for (int m = MID; m < N_MEASURES; m++) {
            strbuf_puts(&text[m], s ? "," : "");
            write_measure(&w, ask, (Measure)m, s, pre, mid, post, d, &text[m]);
        }
    }
    static const char *const names[] = {"norm", "mid", "attn_update", "mlp_update", "cosine"};
    for (int m = 0; m < N_MEASURES; m++) {
        if (!status)
            strbuf_printf(out, ", \"%s\": [%s]", names[m], text[m].data ? text[m].data : "");
        out->failed = out->failed || text[m].failed;
        strbuf_free(&text[m]);
    }
    free(pre);
    end_walk(live, &w);
    return status;
}

/* -- attention and routes -- */

int web_answer_attention(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e)
{
    Walked w;
    const ModelTraits *t = &lab_bench(live->lab)->model.traits;
    int status = walk(live, ask, control, 0.8, &w, out, e);
    size_t n = w.tokens.n, n_heads = ask->head < 0 ? (size_t)t->n_heads : 1;
    if (!status && n_heads * n * n > MOST_PATTERN_NUMBERS)
        status = error_set(e, STATUS_USAGE, "%zu patterns of %zu tokens are too much for one answer: ask for one \"head\"",
                           n_heads, n);
    if (!status && ask->head >= t->n_heads)
        status = error_set(e, STATUS_USAGE, "\"head\": expected 0 to %d", t->n_heads - 1);
    LabAttention a = {0};
    if (!status)
        status = lab_attention(live->lab, &w.stream, &ask->order, (size_t)ask->step, w.tokens.ids, (int)ask->head, &a, e);
    if (!status) {
        strbuf_printf(out, ", \"step\": %lld, \"layer\": %d, \"n_heads\": %d, \"n_kv_heads\": %d, \"window\": %d, \"heads\": [",
                      (long long)ask->step, a.layer, t->n_heads, t->n_kv_heads, a.window);
        for (size_t h = 0; h < a.n_heads; h++)
            strbuf_printf(out, "%s%zu", h ? "," : "", (size_t)a.first_head + h);
        strbuf_puts(out, "], \"pattern\": ");
        web_write_matrix(a.pattern, (const size_t[]){a.n_heads, a.n, a.n}, 3, out);
    }
    lab_attention_free(&a);
    end_walk(live, &w);
    return status;
}

int web_answer_router(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e)
{
    Walked w = {{0}, {0}};
    const ModelTraits *t = &lab_bench(live->lab)->model.traits;
    if (!t->route.n_experts)
        return error_set(e, STATUS_USAGE, "this model has no mixture of experts, so no router");
    int status = walk(live, ask, control, 0.5, &w, out, e);
    if (!status)
        strbuf_printf(out, ", \"n_experts\": %d, \"top_k\": %d, \"layers\": [", t->route.n_experts, t->route.top_k);
    bool any = false;
    for (size_t s = 0; !status && s < w.stream.n_steps; s++) {
        LabRoutes r;
        status = lab_routes(live->lab, &w.stream, &ask->order, s, w.tokens.ids, &r, e);
        if (status || !r.expert)
            continue;
        strbuf_printf(out, "%s{\"step\": %zu, \"layer\": %d", any ? ", " : "", s, ask->order.items[s].layer);
        any = true;
        for (int field = 0; field < 2; field++) {
            strbuf_puts(out, field ? ", \"weights\": [" : ", \"experts\": [");
            for (size_t i = 0; i < r.n; i++) {
                strbuf_puts(out, i ? "," : "");
                web_write_numbers((field ? r.weight : r.expert) + i * r.top_k, r.top_k, out);
            }
            strbuf_putc(out, ']');
        }
        strbuf_putc(out, '}');
        lab_routes_free(&r);
    }
    strbuf_putc(out, ']');
    end_walk(live, &w);
    return status;
}

/* -- arithmetic -- */

static void write_list(const WebLive *live, const WebAsk *ask, StrBuf *out)
{
    strbuf_puts(out, ", \"ops\": [");
    for (size_t s = 0; s <= ask->order.n_items; s++) {
        const OrderItem *item = s < ask->order.n_items ? &ask->order.items[s] : NULL;
        size_t at = 0, size;
        const char *name;
        bool any = false;
        if (item)
            strbuf_printf(out, "%s{\"step\": %zu, \"layer\": %d, \"ops\": [", s ? ", " : "", s, item->layer);
        else
            strbuf_printf(out, "%s{\"step\": null, \"layer\": null, \"ops\": [", s ? ", " : "");
        while (lab_arithmetic_each(live->lab, item, &at, &name, &size)) {
            strbuf_printf(out, "%s{\"op\": \"%s\", \"size\": %zu}", any ? ", " : "", name, size);
            any = true;
        }
        strbuf_puts(out, "]}");
    }
    strbuf_putc(out, ']');
}

static void write_whole(StrBuf *out, const char *name, int64_t value)
{
    if (value < 0)
        strbuf_printf(out, ", \"%s\": null", name);
    else
        strbuf_printf(out, ", \"%s\": %lld", name, (long long)value);
}

static void write_operand(const LabOperand *o, int64_t step, int64_t position, StrBuf *out)
{
    strbuf_printf(out, "{\"name\": \"%s\", \"op\": \"%s\"", o->name, o->op);
    if (o->row >= 0) {
        strbuf_json_field_text(out, "tensor", o->tensor);
        write_whole(out, "row", o->row);
    } else {
        write_whole(out, "step", step);
        write_whole(out, "position", position);
    }
    strbuf_printf(out, ", \"first\": %zu, \"values\": [", o->first);
    for (size_t i = 0; i < o->n; i++) {
        strbuf_puts(out, i ? "," : "");
        strbuf_json_number(out, o->values[i]);
    }
    strbuf_puts(out, "]}");
}

static void write_arithmetic(const WebAsk *ask, const LabArithmetic *a, StrBuf *out)
{
    static const char *const kinds[] = {"lookup", "norm", "dot", "rotate", "softmax", "product", "sum"};
    strbuf_printf(out, ", \"op\": \"%s\", \"kind\": \"%s\"", ask->op, kinds[a->kind]);
    write_whole(out, "step", ask->step);
    write_whole(out, "layer", ask->step >= 0 ? ask->order.items[ask->step].layer : -1);
    write_whole(out, "position", ask->position);
    write_whole(out, "coordinate", ask->coordinate);
    write_whole(out, "head", a->head);
    write_whole(out, "key", ask->key);
    write_whole(out, "expert", a->expert);
    strbuf_puts(out, ", \"chosen\": [");
    for (size_t i = 0; i < a->n_chosen; i++)
        strbuf_printf(out, "%s%d", i ? "," : "", a->chosen[i]);
    strbuf_putc(out, ']');
    strbuf_json_field_text(out, "formula", a->formula);
    strbuf_puts(out, ", \"operands\": [");
    bool at_key = strcmp(ask->op, "score") == 0;
    for (size_t i = 0; i < a->n_operands; i++) {
        strbuf_puts(out, i ? ", " : "");
        write_operand(&a->operands[i], ask->step, at_key && i == 1 ? ask->key : ask->position, out);
    }
    strbuf_puts(out, "], \"scalars\": [");
    for (size_t i = 0; i < a->n_scalars; i++) {
        strbuf_printf(out, "%s{\"name\": \"%s\", \"value\": ", i ? ", " : "", a->scalars[i].name);
        strbuf_json_number(out, a->scalars[i].value);
        strbuf_putc(out, '}');
    }
    double difference = fabs(a->value - a->engine);
    strbuf_putc(out, ']');
    strbuf_json_field_number(out, "value", a->value);
    strbuf_json_field_number(out, "engine", a->engine);
    strbuf_json_field_number(out, "difference", difference);
    strbuf_json_field_number(out, "bound", a->bound);
    strbuf_printf(out, ", \"agrees\": %s, \"size\": %zu",
                  isnan(a->engine)         ? "null"
                  : difference <= a->bound ? "true"
                                           : "false",
                  a->size);
}

int web_answer_arithmetic(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e)
{
    Walked w;
    int status = walk(live, ask, control, 0.9, &w, out, e);
    if (!status && strcmp(ask->op, "list") == 0) {
        write_list(live, ask, out);
    } else if (!status) {
        LabQuestion question = {ask->op, ask->step, ask->position, ask->coordinate, ask->head, ask->key, ask->expert};
        LabArithmetic a;
        status = lab_arithmetic(live->lab, &w.stream, &ask->order, w.tokens.ids, &question, &a, e);
        if (!status) {
            write_arithmetic(ask, &a, out);
            lab_arithmetic_free(&a);
        }
    }
    end_walk(live, &w);
    return status;
}
