/* web_ablate.c: dimensions of the residual stream replaced by a constant, the mean or the other sentence's value, and what becomes of
 * the losses and of the difference between two sentences. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/safetensors.h"
#include "loaders/tensor_file.h"
#include "tools/web/web_pairs.h"
#include "tools/web/web_results.h"

typedef struct Ablation {
    WebPair pair; /* side[0] alone without a pair */
    int n_sides;
    size_t n_points, from;
    LabEdit *edits[2];
    double *values[2]; /* [n_dims, n]: swapped rows */
    double *means;     /* [n_points, D] of the corpus, or NULL */
    const char *mean_source;
    double *plain_norm, *norm; /* [n_points] */
} Ablation;

static void end_ablation(const WebLive *live, Ablation *a)
{
    web_pair_end(live, &a->pair);
    for (int i = 0; i < 2; i++) {
        free(a->edits[i]);
        free(a->values[i]);
    }
    free(a->means);
    free(a->plain_norm);
}

static int read_texts(const WebLive *live, const WebAsk *ask, Ablation *a, Error *e)
{
    a->n_sides = ask->a.s ? 2 : 1;
    a->n_points = ask->order.n_items + 1;
    if (a->n_sides == 1) {
        WebPair *p = &a->pair;
        int status = web_tokens(live, &ask->text, ask->ids, ask->n_ids, &p->side[0].tokens, e);
        p->n = p->side[0].tokens.n;
        p->d = lab_bench(live->lab)->model.traits.d_model;
        p->n_points = a->n_points;
        a->from = ask->from >= 0 ? (size_t)ask->from : p->n > 1 ? 1 : 0;
        return status;
    }
    StrBuf reason = {0}, differs = {0};
    int status = web_pair_read(live, ask, &a->pair, e);
    if (!status && web_pair_differs(&a->pair, &reason, &differs))
        status = error_set(e, STATUS_USAGE, "\"a\" and \"b\" are no pair: %s", reason.data ? reason.data : "");
    strbuf_free(&reason);
    strbuf_free(&differs);
    a->from = ask->from >= 0 ? (size_t)ask->from : a->pair.edit;
    return status;
}

static int check_places(const WebAsk *ask, const Ablation *a, Error *e)
{
    if (a->from >= a->pair.n)
        return error_set(e, STATUS_USAGE, "\"from\": expected below the text's %zu tokens", a->pair.n);
    for (size_t i = 0; i < ask->n_dims; i++)
        if ((size_t)ask->dims[i][0] >= a->n_points || (size_t)ask->dims[i][1] >= a->pair.d)
            return error_set(e, STATUS_USAGE, "\"dims\"[%zu]: [%lld, %lld], expected points 0 to %zu and dimensions 0 to %zu",
                             i, (long long)ask->dims[i][0], (long long)ask->dims[i][1], a->n_points - 1, a->pair.d - 1);
    return STATUS_OK;
}

/* The corpus' mean of a diff result, one row a point: it belongs to the intact order's points. */
static int read_means(const WebLive *live, const WebAsk *ask, Ablation *a, Error *e)
{
    if (!ask->result || strcmp(ask->mode, "mean") != 0)
        return STATUS_OK;
    if (!ask->is_intact)
        return error_set(
            e, STATUS_USAGE,
            "\"result\": its means belong to the points of the intact order; leave \"result\" out for the text's own");
    size_t n_bytes;
    int status = web_results_map(live->output_dir, ask->result, "corpus_mean", &a->means, &n_bytes, e);
    if (!status && n_bytes != a->n_points * a->pair.d)
        status = error_set(e, STATUS_USAGE,
                           "\"result\": the means of %.200s are of %zu numbers, expected %zu points of %zu dimensions",
                           ask->result, n_bytes, a->n_points, a->pair.d);
    return status;
}

/* The mean of both texts' tokens, but the first, at one point and dimension. */
static double text_mean(const Ablation *a, size_t dim)
{
    const WebPair *p = &a->pair;
    double sum = 0;
    size_t first = p->n > 1 ? 1 : 0;
    for (int i = 0; i < a->n_sides; i++)
        for (size_t r = first; r < p->n; r++)
            sum += p->x[i][r * p->d + dim];
    return sum / (double)(a->n_sides * (int)(p->n - first));
}

static void load(const WebLive *live, Ablation *a, size_t point)
{
    for (int i = 0; i < a->n_sides; i++)
        lab_node_rows(live->lab, a->pair.side[i].stream.point[point], 0, a->pair.n, a->pair.x[i]);
}

static int make_edits(const WebLive *live, const WebAsk *ask, Ablation *a, Error *e)
{
    WebPair *p = &a->pair;
    bool swaps = strcmp(ask->mode, "swap") == 0, mean = strcmp(ask->mode, "mean") == 0;
    for (int i = 0; i < a->n_sides; i++) {
        a->edits[i] = calloc(ask->n_dims, sizeof *a->edits[i]);
        if (swaps)
            a->values[i] = malloc(ask->n_dims * p->n * sizeof(double));
        if (!a->edits[i] || (swaps && !a->values[i]))
            return error_set(e, STATUS_FAILED, "out of memory for %zu dimensions", ask->n_dims);
    }
    size_t loaded = SIZE_MAX;
    for (size_t k = 0; k < ask->n_dims; k++) {
        size_t point = (size_t)ask->dims[k][0], dim = (size_t)ask->dims[k][1];
        if (loaded != point)
            load(live, a, loaded = point);
        double value = !mean ? 0 : a->means ? a->means[point * p->d + dim] : text_mean(a, dim);
        for (int i = 0; i < a->n_sides; i++) {
            a->edits[i][k] = (LabEdit){.point = point, .dim = dim, .value = value};
            for (size_t r = 0; swaps && r < p->n; r++)
                a->values[i][k * p->n + r] = p->x[1 - i][r * p->d + dim];
            if (swaps)
                a->edits[i][k].values = a->values[i] + k * p->n;
        }
    }
    a->mean_source = !mean ? NULL : a->means ? "corpus" : "text";
    return STATUS_OK;
}

static void measure(const WebLive *live, Ablation *a, double *norm)
{
    WebPair *p = &a->pair;
    for (size_t point = 0; a->n_sides == 2 && point < a->n_points; point++) {
        load(live, a, point);
        norm[point] = 0;
        for (size_t r = p->edit; r < p->n; r++)
            norm[point] += web_pair_length(p->x[1] + r * p->d, p->x[0] + r * p->d, p->d) / (double)(p->n - p->edit);
    }
}

static int walk_sides(const WebLive *live, const WebAsk *ask, const LabControl *control, bool edited, double at, Ablation *a,
                      LabStream *out, Error *e)
{
    WebPair *p = &a->pair;
    int status = STATUS_OK;
    for (int i = 0; !status && i < a->n_sides; i++) {
        LabText text = {.ids = p->side[i].tokens.ids, .n = p->n, .order = &ask->order};
        if (edited) {
            text.edits = a->edits[i];
            text.n_edits = ask->n_dims;
            text.edit_from = a->from;
        }
        status = lab_walk(live->lab, &text, control, at + 0.15 * i, 0.15, &out[i], e);
    }
    return status;
}

static void write_shifted(const char *name, int side, const double *x, const double *minus, size_t n, StrBuf *out)
{
    strbuf_printf(out, ", \"%s%s\": [null", side ? "b_" : "", name);
    for (size_t i = 0; i + 1 < n; i++) {
        strbuf_putc(out, ',');
        web_write_number(x[i] - (minus ? minus[i] : 0), out);
    }
    strbuf_putc(out, ']');
}

static void write_next(const char *name, int side, const LabHead *h, WebPieces *pieces, StrBuf *out)
{
    enum { SHOWN = 10 };
    size_t n = 0, row = (h->n - 1) * LAB_TOP;
    while (n < SHOWN && h->ids[row + n] >= 0)
        n++;
    strbuf_printf(out, ", \"%s%s\": {\"ids\": ", side ? "b_" : "", name);
    web_write_ids(h->ids + row, n, pieces, out);
    web_field_numbers(out, "p", h->p + row, n);
    strbuf_putc(out, '}');
}

/* Losses of one side, before and after. */
static int write_side(const WebLive *live, const LabControl *control, Ablation *a, int side, LabNode *plain, LabNode *edited,
                      WebPieces *pieces, StrBuf *out, Error *e)
{
    const LabHead *before = NULL, *after = NULL;
    const WebTokens *tokens = &a->pair.side[side].tokens;
    double at = 0.6 + 0.2 * side;
    int status = lab_head(live->lab, plain, plain, tokens->ids, control, at, 0.1, &before, e);
    if (!status)
        status = lab_head(live->lab, edited, plain, tokens->ids, control, at + 0.1, 0.1, &after, e);
    if (!status) /* the reference's may have been computed again */
        status = lab_head(live->lab, plain, plain, tokens->ids, NULL, 0, 0, &before, e);
    if (status)
        return status;
    strbuf_puts(out, side ? ", \"b_tokens\": " : "\"tokens\": ");
    web_write_tokens(live, tokens, out);
    write_shifted("nll", side, before->nll, NULL, before->n, out);
    write_shifted("nll_ablated", side, after->nll, NULL, before->n, out);
    write_shifted("delta_nll", side, after->nll, before->nll, before->n, out);
    write_shifted("kl", side, after->kl, NULL, before->n, out);
    write_next("next", side, before, pieces, out);
    write_next("next_ablated", side, after, pieces, out);
    return STATUS_OK;
}

static void write_curves(const Ablation *a, StrBuf *out)
{
    double area[2] = {0, 0};
    for (size_t point = 0; point < a->n_points; point++) {
        area[0] += a->plain_norm[point];
        area[1] += a->norm[point];
    }
    strbuf_printf(out, "{\"edit\": %zu, \"norm\": ", a->pair.edit);
    web_write_numbers(a->plain_norm, a->n_points, out);
    web_field_numbers(out, "norm_ablated", a->norm, a->n_points);
    web_field_number(out, "area", area[0]);
    web_field_number(out, "area_ablated", area[1]);
    strbuf_putc(out, '}');
}

int web_answer_ablate(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e)
{
    Ablation a = {.n_sides = 1};
    LabStream plain[2] = {{0}}, edited[2] = {{0}};
    WebPieces pieces = {calloc(live->limits.vocab, 1), live->limits.vocab};
    int status = read_texts(live, ask, &a, e);
    if (!status)
        status = check_places(ask, &a, e);
    if (!status)
        status = read_means(live, ask, &a, e);
    a.plain_norm = calloc(2 * a.n_points + 1, sizeof *a.plain_norm);
    a.norm = a.plain_norm ? a.plain_norm + a.n_points : NULL;
    for (int i = 0; i < a.n_sides; i++)
        a.pair.x[i] = malloc(a.pair.n * a.pair.d * sizeof(double) + 1);
    if (!status && (!pieces.seen || !a.norm || !a.pair.x[0] || (a.n_sides == 2 && !a.pair.x[1])))
        status = error_set(e, STATUS_FAILED, "out of memory");
    if (!status)
        status = walk_sides(live, ask, control, false, 0, &a, plain, e);
    for (int i = 0; !status && i < a.n_sides; i++)
        a.pair.side[i].stream = plain[i];
    if (!status) {
        measure(live, &a, a.plain_norm);
        status = make_edits(live, ask, &a, e);
    }
    if (!status)
        status = walk_sides(live, ask, control, true, 0.3, &a, edited, e);
    for (int i = 0; !status && i < a.n_sides; i++)
        a.pair.side[i].stream = edited[i];
    if (!status)
        measure(live, &a, a.norm);
    for (int i = 0; !status && i < a.n_sides; i++)
        status =
            write_side(live, control, &a, i, plain[i].point[a.n_points - 1], edited[i].point[a.n_points - 1], &pieces, out, e);
    if (!status) {
        strbuf_puts(out, ", ");
        web_write_order(&ask->order, ask->is_intact, out);
        strbuf_printf(out, ", \"from\": %zu, \"mean_source\": ", a.from);
        a.mean_source ? strbuf_printf(out, "\"%s\"", a.mean_source) : strbuf_puts(out, "null");
        strbuf_puts(out, ", \"pair\": ");
        if (a.n_sides == 2)
            write_curves(&a, out);
        else
            strbuf_puts(out, "null");
        strbuf_puts(out, ", \"pieces\": ");
        web_write_pieces(live, &pieces, out);
    }
    for (int i = 0; i < 2; i++) {
        memset(&a.pair.side[i].stream, 0, sizeof a.pair.side[i].stream); /* borrowed from plain and edited */
        lab_stream_close(live->lab, &plain[i]);
        lab_stream_close(live->lab, &edited[i]);
    }
    free(pieces.seen);
    end_ablation(live, &a);
    return status;
}
