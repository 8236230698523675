/* web_answer.c: the layer lab's answers (tokenize, run), and what all answers share. */
#include "tools/web/web_answer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void web_write_number(double x, StrBuf *out)
{
    if (isfinite(x))
        strbuf_printf(out, "%.7g", x);
    else
        strbuf_puts(out, "null");
}

void web_write_numbers(const double *x, size_t n, StrBuf *out)
{
    strbuf_putc(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            strbuf_putc(out, ',');
        web_write_number(x[i], out);
    }
    strbuf_putc(out, ']');
}

void web_field_number(StrBuf *out, const char *name, double x)
{
    strbuf_json_field(out, name);
    web_write_number(x, out);
}

void web_field_numbers(StrBuf *out, const char *name, const double *x, size_t n)
{
    strbuf_json_field(out, name);
    web_write_numbers(x, n, out);
}

void web_write_matrix(const double *x, const size_t *shape, size_t n_dims, StrBuf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 1;
    strbuf_puts(out, "{\"dtype\": \"f32\", \"shape\": [");
    for (size_t i = 0; i < n_dims; i++) {
        strbuf_printf(out, "%s%zu", i ? ", " : "", shape[i]);
        n *= shape[i];
    }
    strbuf_puts(out, "], \"base64\": \"");
    char text[4 * 256];
    size_t n_bytes = 4 * n, used = 0;
    for (size_t at = 0; at < n_bytes; at += 3) {
        unsigned triple = 0, have = 0;
        for (unsigned k = 0; k < 3; k++) {
            unsigned byte = 0;
            if (at + k < n_bytes) {
                float narrow = (float)x[(at + k) / 4];
                uint32_t bits;
                memcpy(&bits, &narrow, sizeof bits);
                byte = bits >> (8 * ((at + k) % 4)) & 255;
                have++;
            }
            triple = triple << 8 | byte;
        }
        for (unsigned k = 0; k < 4; k++)
            text[used++] = k <= have ? digits[triple >> (18 - 6 * k) & 63] : '=';
        if (used == sizeof text) {
            strbuf_append(out, text, used);
            used = 0;
        }
    }
    strbuf_append(out, text, used);
    strbuf_puts(out, "\"}");
}

void web_write_piece(const WebLive *live, int32_t id, StrBuf *out)
{
    const Tokenizer *t = lab_bench(live->lab)->tokenizer;
    char bytes[256];
    size_t n;
    if (!t) {
        n = (size_t)snprintf(bytes, sizeof bytes, "#%d", id);
    } else {
        n = tokenizer_token_bytes(t, id, bytes, sizeof bytes);
        n = n < sizeof bytes ? n : sizeof bytes;
    }
    strbuf_json_string(out, bytes, n);
}

void web_write_ids(const int32_t *ids, size_t n, WebPieces *pieces, StrBuf *out)
{
    strbuf_putc(out, '[');
    for (size_t i = 0; i < n && ids[i] >= 0; i++) {
        strbuf_printf(out, "%s%d", i ? "," : "", ids[i]);
        if ((size_t)ids[i] < pieces->vocab)
            pieces->seen[ids[i]] = 1;
    }
    strbuf_putc(out, ']');
}

void web_write_pieces(const WebLive *live, const WebPieces *p, StrBuf *out)
{
    bool any = false;
    strbuf_putc(out, '{');
    for (size_t v = 0; v < p->vocab; v++) {
        if (!p->seen[v])
            continue;
        strbuf_printf(out, "%s\"%zu\": ", any ? ", " : "", v);
        web_write_piece(live, (int32_t)v, out);
        any = true;
    }
    strbuf_putc(out, '}');
}

int web_tokens(const WebLive *live, const WebText *text, const int32_t *ids, size_t n_ids, WebTokens *out, Error *e)
{
    const Workbench *b = lab_bench(live->lab);
    memset(out, 0, sizeof *out);
    TokenList list = {0};
    if (text->s && !b->tokenizer)
        return error_set(e, STATUS_USAGE, "this model has no tokenizer: expected \"ids\" instead of a text");
    out->n_bos = b->bos ? 1 : 0;
    if (text->s) {
        int status = tokenizer_encode(b->tokenizer, text->s, text->len, false, &list, e);
        if (status) {
            token_list_free(&list);
            return STATUS_USAGE;
        }
        n_ids = list.n;
    }
    int status = STATUS_OK;
    out->n = n_ids + out->n_bos;
    if (!out->n)
        status = error_set(e, STATUS_USAGE, "the text gives no token: expected at least one");
    else if (out->n > live->limits.tokens)
        status = error_set(e, STATUS_USAGE, "the text gives %zu tokens, expected at most %zu", out->n, live->limits.tokens);
    else if (!(out->ids = malloc(out->n * sizeof *out->ids)))
        status = error_set(e, STATUS_FAILED, "out of memory for %zu tokens", out->n);
    if (!status && out->n_bos)
        out->ids[0] = b->bos_id;
    for (size_t i = 0; !status && i < n_ids; i++) {
        int32_t id = text->s ? list.tokens[i].id : ids[i];
        out->ids[out->n_bos + i] = id;
        if (id < 0 || (size_t)id >= live->limits.vocab)
            status = error_set(e, STATUS_FAILED, "the tokenizer gives id %d, expected below the model's %zu", id,
                               live->limits.vocab);
    }
    if (text->s && !status) {
        out->spans = list.tokens;
        list.tokens = NULL;
    }
    token_list_free(&list);
    if (status)
        web_tokens_free(out);
    return status;
}

void web_tokens_free(WebTokens *t)
{
    free(t->ids);
    free(t->spans);
    memset(t, 0, sizeof *t);
}

void web_write_tokens(const WebLive *live, const WebTokens *t, StrBuf *out)
{
    strbuf_putc(out, '[');
    for (size_t i = 0; i < t->n; i++) {
        strbuf_printf(out, "%s{\"id\": %d, \"piece\": ", i ? ", " : "", t->ids[i]);
        web_write_piece(live, t->ids[i], out);
        if (t->spans && i >= t->n_bos)
            strbuf_printf(out, ", \"start\": %zu, \"end\": %zu}", t->spans[i - t->n_bos].byte_start,
                          t->spans[i - t->n_bos].byte_end);
        else
            strbuf_puts(out, ", \"start\": null, \"end\": null}");
    }
    strbuf_putc(out, ']');
}

void web_write_order(const Order *order, bool is_intact, StrBuf *out)
{
    static const char *const parts[] = {"both", "attn", "mlp"};
    int group = -1;
    strbuf_puts(out, "\"order\": ");
    const char *spec = order->n_items ? order->spec : "none";
    strbuf_json_string(out, spec, strlen(spec));
    strbuf_printf(out, ", \"intact\": %s, \"steps\": [", is_intact ? "true" : "false");
    for (size_t i = 0; i < order->n_items; i++) {
        group += !order->items[i].joins;
        strbuf_printf(out, "%s{\"layer\": %d, \"part\": \"%s\", \"group\": %d}", i ? ", " : "", order->items[i].layer,
                      parts[order->items[i].part], group);
    }
    strbuf_putc(out, ']');
}

/* -- run -- */

static double mean_of(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return n ? sum / (double)n : NAN;
}

/* [null, x[0], x[1], ...]: values of row i belong to token i + 1. */
static void write_shifted(const double *x, size_t n_tokens, StrBuf *out)
{
    strbuf_puts(out, "[null");
    for (size_t i = 0; i + 1 < n_tokens; i++) {
        strbuf_putc(out, ',');
        web_write_number(x[i], out);
    }
    strbuf_putc(out, ']');
}

static void write_candidates(const LabHead *h, size_t row, size_t top, WebPieces *pieces, StrBuf *out)
{
    const int32_t *ids = h->ids + row * LAB_TOP;
    size_t n = 0;
    while (n < top && ids[n] >= 0)
        n++;
    strbuf_puts(out, "{\"ids\": ");
    web_write_ids(ids, n, pieces, out);
    web_field_numbers(out, "p", h->p + row * LAB_TOP, n);
    strbuf_putc(out, '}');
}

/* Mean length of the stream at each point, and 1 - mean cosine over each step; the first token (an attention sink in many models)
 * is left out where there are others. */
static int write_layers(const WebLive *live, const LabStream *s, StrBuf *out, Error *e)
{
    size_t d = lab_bench(live->lab)->model.traits.d_model, first = s->n > 1 ? 1 : 0;
    double *x = malloc(2 * s->n * d * sizeof *x), *y = x + s->n * d;
    double *norm = malloc((2 * s->n_steps + 1) * sizeof *norm), *influence = norm + s->n_steps + 1;
    int status = x && norm ? STATUS_OK : error_set(e, STATUS_FAILED, "out of memory");
    for (size_t p = 0; !status && p <= s->n_steps; p++) {
        double sum = 0, cosine = 0;
        lab_node_rows(live->lab, s->point[p], 0, s->n, y);
        if (p)
            lab_node_rows(live->lab, s->pre[p - 1], 0, s->n, x);
        for (size_t t = first; t < s->n; t++) {
            double xx = 0, yy = 0, xy = 0;
            for (size_t i = 0; i < d; i++) {
                double a = p ? x[t * d + i] : 0, b = y[t * d + i];
                xx += a * a;
                yy += b * b;
                xy += a * b;
            }
            sum += sqrt(yy);
            cosine += xy / sqrt(xx * yy);
        }
        norm[p] = sum / (double)(s->n - first);
        if (p)
            influence[p - 1] = 1 - cosine / (double)(s->n - first);
    }
    if (!status) {
        web_field_numbers(out, "norm", norm, s->n_steps + 1);
        web_field_numbers(out, "influence", influence, s->n_steps);
    }
    free(norm);
    free(x);
    return status;
}

typedef struct RunSide {
    LabStream stream;
    const LabHead *head;
} RunSide;

static int write_side(const WebLive *live, const RunSide *side, size_t top, bool with_kl, WebPieces *pieces, StrBuf *out,
                      Error *e)
{
    const LabHead *h = side->head;
    size_t n = h->n;
    strbuf_puts(out, "{\"nll\": ");
    write_shifted(h->nll, n, out);
    strbuf_puts(out, ", \"rank\": [null");
    for (size_t i = 0; i + 1 < n; i++)
        strbuf_printf(out, ",%d", h->rank[i]);
    strbuf_puts(out, "], \"candidates\": [null");
    for (size_t i = 0; i + 1 < n; i++) {
        strbuf_putc(out, ',');
        write_candidates(h, i, top, pieces, out);
    }
    strbuf_puts(out, "], \"next\": ");
    write_candidates(h, n - 1, top, pieces, out);
    if (with_kl) {
        strbuf_puts(out, ", \"kl\": ");
        write_shifted(h->kl, n, out);
        web_field_number(out, "next_kl", h->kl[n - 1]);
    }
    double mean = mean_of(h->nll, n - 1);
    web_field_number(out, "mean_nll", mean);
    web_field_number(out, "ppl", exp(mean));
    int status = write_layers(live, &side->stream, out, e);
    strbuf_putc(out, '}');
    return status;
}

static void write_deltas(const LabHead *variant, const LabHead *baseline, StrBuf *out)
{
    size_t n = variant->n;
    double sum = 0;
    strbuf_puts(out, ", \"delta_nll\": [null");
    for (size_t i = 0; i + 1 < n; i++) {
        double delta = variant->nll[i] - baseline->nll[i];
        sum += delta;
        strbuf_putc(out, ',');
        web_write_number(delta, out);
    }
    strbuf_puts(out, "], \"mean_delta_nll\": ");
    web_write_number(n > 1 ? sum / (double)(n - 1) : NAN, out);
    web_field_number(out, "mean_kl", mean_of(variant->kl, n - 1));
}

static int answer_run(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e)
{
    WebTokens tokens;
    int status = web_tokens(live, &ask->text, ask->ids, ask->n_ids, &tokens, e);
    if (status)
        return status;
    RunSide variant = {0}, baseline = {0};
    WebPieces pieces = {calloc(live->limits.vocab, 1), live->limits.vocab};
    size_t top = ask->top > 0 ? (size_t)ask->top : 10;
    bool both = ask->with_intact;
    LabText text = {.ids = tokens.ids, .n = tokens.n, .order = &ask->order}, intact = text;
    intact.order = &ask->intact;
    if (!pieces.seen)
        status = error_set(e, STATUS_FAILED, "out of memory");
    if (!status && both)
        status = lab_walk(live->lab, &intact, control, 0, 0.35, &baseline.stream, e);
    if (!status)
        status = lab_walk(live->lab, &text, control, 0.35, 0.35, &variant.stream, e);
    LabNode *reference = !status && both ? baseline.stream.point[baseline.stream.n_steps] : NULL;
    if (!status && both)
        status = lab_head(live->lab, reference, reference, tokens.ids, control, 0.7, 0.15, &baseline.head, e);
    if (!status)
        status = lab_head(live->lab, variant.stream.point[variant.stream.n_steps], reference, tokens.ids, control, 0.85, 0.15,
                          &variant.head, e);
    if (!status) {
        strbuf_puts(out, "\"tokens\": ");
        web_write_tokens(live, &tokens, out);
        strbuf_puts(out, ", ");
        web_write_order(&ask->order, ask->is_intact, out);
        strbuf_puts(out, ", \"variant\": ");
        status = write_side(live, &variant, top, both, &pieces, out, e);
        strbuf_puts(out, ", \"baseline\": ");
        if (!both)
            strbuf_puts(out, "null, \"delta_nll\": null, \"mean_delta_nll\": null, \"mean_kl\": null");
        else if (!status)
            status = write_side(live, &baseline, top, false, &pieces, out, e);
        if (both)
            write_deltas(variant.head, baseline.head, out);
        strbuf_puts(out, ", \"pieces\": ");
        web_write_pieces(live, &pieces, out);
    }
    lab_stream_close(live->lab, &variant.stream);
    lab_stream_close(live->lab, &baseline.stream);
    free(pieces.seen);
    web_tokens_free(&tokens);
    return status;
}

static int answer_tokenize(const WebLive *live, const WebAsk *ask, StrBuf *out, Error *e)
{
    WebTokens tokens;
    int status = web_tokens(live, &ask->text, NULL, 0, &tokens, e);
    if (status)
        return status;
    strbuf_puts(out, "\"tokens\": ");
    web_write_tokens(live, &tokens, out);
    web_tokens_free(&tokens);
    return STATUS_OK;
}

int web_answer(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e)
{
    int status = STATUS_USAGE;
    switch (ask->kind) {
    case WEB_TOKENIZE:
        status = answer_tokenize(live, ask, out, e);
        break;
    case WEB_RUN:
        status = answer_run(live, ask, control, out, e);
        break;
    case WEB_LENS:
        status = web_answer_lens(live, ask, control, out, e);
        break;
    case WEB_STREAM:
        status = web_answer_stream(live, ask, control, out, e);
        break;
    case WEB_ATTENTION:
        status = web_answer_attention(live, ask, control, out, e);
        break;
    case WEB_ROUTER:
        status = web_answer_router(live, ask, control, out, e);
        break;
    case WEB_ARITHMETIC:
        status = web_answer_arithmetic(live, ask, control, out, e);
        break;
    case WEB_PAIR:
        status = web_answer_pair(live, ask, control, out, e);
        break;
    case WEB_ABLATE:
        status = web_answer_ablate(live, ask, control, out, e);
        break;
    default:
        status = error_set(e, STATUS_USAGE, "%s is no computation", web_kind_path(ask->kind));
    }
    if (!status && out->failed)
        status = error_set(e, STATUS_FAILED, "out of memory for the answer");
    return status;
}
