/* web_pairs.c: a pair of sentences by hand, and ablations: the live part of Study B. Differences are b - a in the residual stream. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/web/web_pairs.h"

void web_pair_end(const WebLive *live, WebPair *p)
{
    for (int i = 0; i < 2; i++) {
        lab_stream_close(live->lab, &p->side[i].stream);
        web_tokens_free(&p->side[i].tokens);
        free(p->x[i]);
    }
}

int web_pair_read(const WebLive *live, const WebAsk *ask, WebPair *p, Error *e)
{
    int status = web_tokens(live, &ask->a, NULL, 0, &p->side[0].tokens, e);
    if (status)
        return error_prefix(e, status, "\"a\"");
    status = web_tokens(live, &ask->b, NULL, 0, &p->side[1].tokens, e);
    if (status)
        return error_prefix(e, status, "\"b\"");
    p->n = p->side[0].tokens.n;
    p->d = lab_bench(live->lab)->model.traits.d_model;
    p->n_points = ask->order.n_items + 1;
    return STATUS_OK;
}

/* Why two texts are no pair, in words; false when they are one. Differing indices are listed where the lengths are equal. */
bool web_pair_differs(WebPair *p, StrBuf *reason, StrBuf *differs)
{
    const WebTokens *a = &p->side[0].tokens, *b = &p->side[1].tokens;
    if (a->n != b->n) {
        strbuf_printf(reason, "the sentences have %zu and %zu tokens; a pair needs as many in both", a->n, b->n);
        strbuf_puts(differs, "null");
        return true;
    }
    size_t n_differs = 0;
    strbuf_putc(differs, '[');
    for (size_t i = 0; i < a->n; i++) {
        if (a->ids[i] == b->ids[i])
            continue;
        p->edit = n_differs++ ? p->edit : i;
        strbuf_printf(differs, "%s%zu", n_differs > 1 ? "," : "", i);
    }
    strbuf_putc(differs, ']');
    if (n_differs != 1)
        strbuf_printf(reason, n_differs ? "%zu tokens differ; a pair differs in exactly one" : "the sentences are the same",
                      n_differs);
    return n_differs != 1;
}

int web_pair_walk(const WebLive *live, const WebAsk *ask, const LabControl *control, LabEdit *const *edits, size_t n_edits,
                  size_t from, double at, double share, WebPair *p, Error *e)
{
    int status = STATUS_OK;
    for (int i = 0; !status && i < 2; i++) {
        LabText text = {.ids = p->side[i].tokens.ids,
                        .n = p->n,
                        .order = &ask->order,
                        .edits = edits ? edits[i] : NULL,
                        .n_edits = n_edits,
                        .edit_from = from};
        lab_stream_close(live->lab, &p->side[i].stream);
        status = lab_walk(live->lab, &text, control, at + share * i / 2, share / 2, &p->side[i].stream, e);
        if (!status && !p->x[i] && !(p->x[i] = malloc(p->n * p->d * sizeof(double) + 1)))
            status = error_set(e, STATUS_FAILED, "out of memory");
    }
    return status;
}

void web_pair_load(const WebLive *live, WebPair *p, size_t point)
{
    for (int i = 0; i < 2; i++)
        lab_node_rows(live->lab, p->side[i].stream.point[point], 0, p->n, p->x[i]);
}

double web_pair_length(const double *x, const double *minus, size_t d)
{
    double sum = 0;
    for (size_t i = 0; i < d; i++) {
        double v = x[i] - (minus ? minus[i] : 0);
        sum += v * v;
    }
    return sqrt(sum);
}

/* KL of the logit lens between the two sentences at the last token, point by point. */
static int pair_kl(const WebLive *live, WebPair *p, const LabControl *control, double *kl, Error *e)
{
    double *rows = malloc(2 * p->n_points * p->d * sizeof *rows), *other = rows + p->n_points * p->d;
    int status = rows ? STATUS_OK : error_set(e, STATUS_FAILED, "out of memory");
    LabHead h = {0};
    for (size_t point = 0; !status && point < p->n_points; point++) {
        lab_node_rows(live->lab, p->side[0].stream.point[point], p->n - 1, 1, other + point * p->d);
        lab_node_rows(live->lab, p->side[1].stream.point[point], p->n - 1, 1, rows + point * p->d);
    }
    if (!status)
        status = lab_head_rows(live->lab, rows, p->n_points, NULL, other, p->n_points, control, 0.6, 0.2, &h, e);
    if (!status)
        memcpy(kl, h.kl, p->n_points * sizeof *kl);
    lab_head_free(&h);
    free(rows);
    return status;
}

typedef struct PairTables {
    double *at[3]; /* edited, next, last: [n_points, D] of b - a */
    double *onset; /* likewise, or NULL */
    double *all;   /* mean |b - a| from the edit on */
    StrBuf norm, relative, cosine;
} PairTables;

static void add_point(WebPair *p, const WebAsk *ask, size_t point, PairTables *t)
{
    size_t d = p->d, n = p->n, places[3] = {p->edit, p->edit + 1 < n ? p->edit + 1 : p->edit, n - 1};
    const double *a = p->x[0], *b = p->x[1];
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < d; i++)
            t->at[k][point * d + i] = b[places[k] * d + i] - a[places[k] * d + i];
    for (size_t i = 0; t->onset && i < d; i++)
        t->onset[point * d + i] = b[(size_t)ask->onset * d + i] - a[(size_t)ask->onset * d + i];
    for (size_t r = p->edit; r < n; r++)
        for (size_t i = 0; i < d; i++)
            t->all[point * d + i] += fabs(b[r * d + i] - a[r * d + i]) / (double)(n - p->edit);
    StrBuf *texts[] = {&t->norm, &t->relative, &t->cosine};
    for (size_t k = 0; k < 3; k++)
        strbuf_puts(texts[k], point ? ",[" : "[");
    for (size_t r = 0; r < n; r++) {
        double la = web_pair_length(a + r * d, NULL, d), lb = web_pair_length(b + r * d, NULL, d), ab = 0;
        double distance = web_pair_length(b + r * d, a + r * d, d);
        for (size_t i = 0; i < d; i++)
            ab += a[r * d + i] * b[r * d + i];
        double values[3] = {distance, distance / (0.5 * (la + lb)), ab / (la * lb)};
        for (size_t k = 0; k < 3; k++) {
            strbuf_puts(texts[k], r ? "," : "");
            web_write_number(values[k], texts[k]);
        }
    }
    for (size_t k = 0; k < 3; k++)
        strbuf_putc(texts[k], ']');
}

static int write_losses(const WebLive *live, WebPair *p, const LabControl *control, StrBuf *out, Error *e)
{
    int status = STATUS_OK;
    for (int i = 0; !status && i < 2; i++) {
        const LabHead *h;
        status = lab_head(live->lab, p->side[i].stream.point[p->n_points - 1], NULL, p->side[i].tokens.ids, control,
                          0.8 + 0.1 * i, 0.1, &h, e);
        if (status)
            break;
        strbuf_printf(out, ", \"nll_%c\": [null", "ab"[i]);
        for (size_t t = 0; t + 1 < p->n; t++) {
            strbuf_putc(out, ',');
            web_write_number(h->nll[t], out);
        }
        strbuf_putc(out, ']');
    }
    return status;
}

static int write_pair(const WebLive *live, const WebAsk *ask, const LabControl *control, WebPair *p, StrBuf *out, Error *e)
{
    size_t cells = p->n_points * p->d;
    bool has_onset = ask->onset >= 0;
    PairTables t = {0};
    double *memory = calloc(5 * cells + p->n_points, sizeof *memory), *kl = memory ? memory + 5 * cells : NULL;
    int status = memory ? STATUS_OK : error_set(e, STATUS_FAILED, "out of memory");
    if (!status)
        status = web_pair_walk(live, ask, control, NULL, 0, 0, 0, 0.6, p, e);
    if (!status) {
        for (size_t k = 0; k < 3; k++)
            t.at[k] = memory + k * cells;
        t.all = memory + 3 * cells;
        t.onset = has_onset ? memory + 4 * cells : NULL;
        for (size_t point = 0; point < p->n_points; point++) {
            web_pair_load(live, p, point);
            add_point(p, ask, point, &t);
        }
        if (ask->with_logits)
            status = pair_kl(live, p, control, kl, e);
    }
    if (!status) {
        static const char *const names[] = {"edited", "next", "last"};
        const size_t shape[] = {p->n_points, p->d};
        bool has_next = p->edit + 1 < p->n;
        strbuf_printf(out, ", \"edit\": %zu, \"positions\": {\"edited\": %zu, \"next\": ", p->edit, p->edit);
        has_next ? strbuf_printf(out, "%zu", p->edit + 1) : strbuf_puts(out, "null");
        strbuf_printf(out, ", \"last\": %zu, \"onset\": ", p->n - 1);
        has_onset ? strbuf_printf(out, "%lld", (long long)ask->onset) : strbuf_puts(out, "null");
        strbuf_puts(out, "}, \"difference\": {");
        for (size_t k = 0; k < 3; k++) {
            strbuf_printf(out, "%s\"%s\": ", k ? ", " : "", names[k]);
            k == 1 && !has_next ? strbuf_puts(out, "null") : web_write_matrix(t.at[k], shape, 2, out);
        }
        strbuf_puts(out, ", \"onset\": ");
        t.onset ? web_write_matrix(t.onset, shape, 2, out) : strbuf_puts(out, "null");
        strbuf_puts(out, ", \"all\": ");
        web_write_matrix(t.all, shape, 2, out);
        strbuf_printf(out, "}, \"norm\": [%s], \"relative\": [%s], \"cosine\": [%s], \"kl\": ", t.norm.data, t.relative.data,
                      t.cosine.data);
        out->failed = out->failed || t.norm.failed || t.relative.failed || t.cosine.failed;
        if (ask->with_logits) {
            web_write_numbers(kl, p->n_points, out);
            status = write_losses(live, p, control, out, e);
        } else {
            strbuf_puts(out, "null, \"nll_a\": null, \"nll_b\": null");
        }
    }
    strbuf_free(&t.norm);
    strbuf_free(&t.relative);
    strbuf_free(&t.cosine);
    free(memory);
    return status;
}

int web_answer_pair(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e)
{
    WebPair p = {0};
    StrBuf reason = {0}, differs = {0};
    int status = web_pair_read(live, ask, &p, e);
    if (!status) {
        bool bad = web_pair_differs(&p, &reason, &differs);
        if (!bad && ask->onset >= (int64_t)p.n)
            status = error_set(e, STATUS_USAGE, "\"onset\": expected below the pair's %zu tokens", p.n);
        strbuf_printf(out, "\"ok\": %s, \"reason\": ", bad ? "false" : "true");
        bad ? strbuf_json_string(out, reason.data, reason.len) : strbuf_puts(out, "null");
        strbuf_puts(out, ", \"differs\": ");
        strbuf_append(out, differs.data, differs.len);
        for (int i = 0; i < 2; i++) {
            strbuf_printf(out, ", \"tokens_%c\": ", "ab"[i]);
            web_write_tokens(live, &p.side[i].tokens, out);
        }
        strbuf_puts(out, ", ");
        web_write_order(&ask->order, ask->is_intact, out);
        strbuf_printf(out, ", \"points\": %zu, \"d_model\": %zu", p.n_points, p.d);
        if (bad)
            strbuf_puts(out, ", \"edit\": null, \"positions\": null, \"difference\": null, \"norm\": null, \"relative\": null, "
                             "\"cosine\": null, \"kl\": null, \"nll_a\": null, \"nll_b\": null");
        else if (!status)
            status = write_pair(live, ask, control, &p, out, e);
    }
    strbuf_free(&reason);
    strbuf_free(&differs);
    web_pair_end(live, &p);
    return status;
}
