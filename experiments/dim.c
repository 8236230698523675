/* dim.c: `strata dim L:D`: what one dimension of the residual stream is: its spread and whether it is an outlier, where it is strongest,
 * what it writes to the vocabulary, and what the model loses when it is held at its mean. L counts points of the order: 0 the
 * embedding, l the stream after step l.
 *
 * Values are those of positions 1-64 of the held-out corpus (diff_sigma.h). Unembedding: row v of the head times the final norm's
 * gain at D (its weight plus the model's offset), so what one unit of the normalised dimension adds to the logit of v. Ablation: the dimension is set to its mean at
 * all positions, and, to compare, a random one among the 33 nearest in sigma, four times (PCG64, stream 25). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/rng.h"
#include "engine/base/utf8.h"
#include "experiments/diff_corpus.h"
#include "experiments/diff_run.h"
#include "experiments/diff_sigma.h"
#include "kernels/convert.h"

enum {
    DIM_STREAM = 25,
    N_CONTEXTS = 8,
    N_TOKENS = 10,
    N_RANDOM = 4,
    NEAREST = 16,
    WINDOWS = 64,
    ABLATED_WINDOWS = 16,
    BEFORE = 8
};

typedef struct Context {
    double value;
    size_t window, position;
} Context;

typedef struct Dim {
    const StrataDimOptions *options;
    Workbench bench;
    Arena arena;
    Order order;
    size_t point, dim, d;
    DiffCorpus corpus;
    DiffRunner runner;
    DiffSigma *sums;
    DiffSigmaResult sigma; /* of the one point */
    TokenBlock block;
    size_t first_window;
    Context strongest[2][N_CONTEXTS]; /* highest, lowest */
    size_t n_contexts[2];
    /* Losses: intact, ablated, random ones. */
    size_t set, dims[2 + N_RANDOM];
    double loss[2 + N_RANDOM], changed[2 + N_RANDOM];
    size_t n_losses;
    int32_t *top1; /* of the intact run */
    size_t top1_at;
    double *row;
    int32_t best[2][N_TOKENS]; /* tokens written up, and down */
    double weight[2][N_TOKENS];
} Dim;

static int parse_place(Dim *x, const char *text, Error *e)
{
    char *end = NULL;
    unsigned long long layer = text && text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
    bool good = end && *end == ':' && end[1] >= '0' && end[1] <= '9';
    unsigned long long dim = good ? strtoull(end + 1, &end, 10) : 0;
    if (!good || *end)
        return error_set(e, STATUS_USAGE, "dim: \"%s\", expected LAYER:DIMENSION such as 12:305", text ? text : "");
    if (layer > x->order.n_items || dim >= x->d)
        return error_set(e, STATUS_USAGE,
                         "dim: %llu:%llu, expected a layer from 0 (the embedding) to %zu and a dimension below %zu", layer, dim,
                         x->order.n_items, x->d);
    x->point = (size_t)layer;
    x->dim = (size_t)dim;
    return STATUS_OK;
}

static double element(const View *v, size_t row, size_t col)
{
    return v->dtype == DTYPE_F64 ? ((const double *)v->data)[row * v->ld + col]
                                 : (double)((const float *)v->data)[row * v->ld + col];
}

/* Keeps the highest (side 0) and the lowest contexts, one a window, sorted. */
static void note_context(Dim *x, int side, double value, size_t window, size_t position)
{
    Context *list = x->strongest[side];
    size_t n = x->n_contexts[side], at = n;
    double size = side ? -value : value;
    for (size_t i = 0; i < n; i++) {
        if (list[i].window != window)
            continue;
        if ((side ? -list[i].value : list[i].value) >= size)
            return;
        at = i;
    }
    if (at == N_CONTEXTS && (side ? -list[at - 1].value : list[at - 1].value) >= size)
        return;
    at = at == N_CONTEXTS ? at - 1 : at;
    x->n_contexts[side] += at == n;
    for (; at > 0 && (side ? -list[at - 1].value : list[at - 1].value) < size; at--)
        list[at] = list[at - 1];
    list[at] = (Context){.value = value, .window = window, .position = position};
}

static int on_point(void *user, size_t point, View rows, Error *e)
{
    Dim *x = user;
    (void)e;
    if (point != x->point || x->set > 0)
        return STATUS_OK;
    diff_sigma_add(x->sums, 0, &x->block, rows);
    for (size_t w = 0; w < x->block.n_windows; w++)
        for (size_t row = x->block.window_start[w] + 1; row < x->block.window_start[w + 1]; row++)
            for (int side = 0; side < 2; side++)
                note_context(x, side, element(&rows, row, x->dim), x->first_window + w, row - x->block.window_start[w]);
    return STATUS_OK;
}

static int on_stream(void *user, size_t point, View stream, Error *e)
{
    Dim *x = user;
    const Ops *ops = x->bench.session.ops;
    OpsContext *ctx = run_get_context(x->runner.run);
    (void)e;
    if (point != x->point || x->set == 0)
        return STATUS_OK;
    for (size_t row = 0; row < stream.rows; row++) {
        View one = view_rows(stream, row, 1, dtype_block_bytes(stream.dtype));
        ops->download(ctx, x->row, one);
        x->row[x->dims[x->set]] = (double)x->sigma.mean[x->dims[x->set]];
        ops->upload(ctx, one, x->row);
    }
    return STATUS_OK;
}

static int on_results(void *user, const HeadResults *r, Error *e)
{
    Dim *x = user;
    (void)e;
    for (size_t i = 0; i < r->n; i++, x->top1_at++) {
        x->loss[x->set] += r->nll[i];
        if (x->set == 0)
            x->top1[x->top1_at] = r->top1[i];
        x->changed[x->set] += x->top1[x->top1_at] != r->top1[i];
        x->n_losses += x->set == 0;
    }
    return STATUS_OK;
}

/* Sends windows [from, to) through the model. */
static int run_windows(Dim *x, size_t from, size_t to, Error *e)
{
    DiffBlock block = {0};
    int status = STATUS_OK;
    size_t most = diff_runner_block_rows(&x->runner);
    x->top1_at = 0;
    for (size_t w = from; !status && w < to;) {
        diff_block_clear(&block);
        x->first_window = w;
        for (; w < to; w++) {
            size_t n = x->corpus.start[w + 1] - x->corpus.start[w];
            if (block.n_windows && block.n_rows + n > most)
                break;
            diff_block_whole(&block, x->corpus.ids + x->corpus.start[w], n);
        }
        x->block = diff_block_tokens(&block);
        status = diff_runner_block(&x->runner, &block, e);
    }
    diff_block_free(&block);
    return status;
}

static int measure(Dim *x, Error *e)
{
    DiffSigmaShape shape = {.n_points = 1, .d = x->d};
    int status = diff_sigma_open(&shape, x->bench.session.pool, x->bench.common->seed, &x->sums, e);
    x->runner =
        (DiffRunner){.bench = &x->bench, .session = &x->bench.session, .order = &x->order, .user = x, .on_point = on_point};
    DiffRunnerSizes sizes = {.longest_window = x->corpus.longest,
                             .longest_family = x->corpus.longest,
                             .total_rows = x->corpus.start[x->corpus.n_windows],
                             .reserve_bytes = diff_sigma_bytes(&shape)};
    if (!status)
        status = diff_runner_open(&x->runner, &sizes, e);
    if (!status)
        status = run_windows(x, 0, x->corpus.n_windows, e);
    diff_runner_close(&x->runner);
    return status ? status : diff_sigma_finish(x->sums, &x->sigma, e);
}

static const float *sorting; /* qsort has no context argument */

static int by_sigma(const void *a, const void *b)
{
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    float p = sorting[i], q = sorting[j];
    return p != q ? (p > q) - (p < q) : (i > j) - (i < j);
}

/* Place of the dimension by rising sigma, and random ones beside it. */
static int rank_dims(Dim *x, size_t *rank, double *median, Error *e)
{
    int32_t *order = malloc(x->d * sizeof *order);
    Rng rng;
    if (!order)
        return error_set(e, STATUS_FAILED, "dim: out of memory");
    for (size_t j = 0; j < x->d; j++)
        order[j] = (int32_t)j;
    sorting = x->sigma.sigma;
    qsort(order, x->d, sizeof *order, by_sigma);
    for (*rank = 0; order[*rank] != (int32_t)x->dim;)
        ++*rank;
    *median = (double)x->sigma.sigma[order[x->d / 2]];
    rng_seed(&rng, x->bench.common->seed, DIM_STREAM);
    size_t from = *rank > NEAREST ? *rank - NEAREST : 0, to = *rank + NEAREST < x->d ? *rank + NEAREST + 1 : x->d;
    x->dims[1] = x->dim;
    for (size_t k = 0; k < N_RANDOM; k++) {
        size_t at = to - from > 1 ? *rank : SIZE_MAX;
        while (at == *rank)
            at = from + (size_t)rng_below(&rng, to - from);
        x->dims[2 + k] = at == SIZE_MAX ? x->dim : (size_t)order[at];
    }
    free(order);
    return STATUS_OK;
}

static int ablate(Dim *x, Error *e)
{
    size_t n = x->corpus.n_windows < ABLATED_WINDOWS ? x->corpus.n_windows : ABLATED_WINDOWS;
    x->top1 = calloc(x->corpus.start[n] + 1, sizeof *x->top1);
    x->row = malloc(x->d * sizeof *x->row);
    if (!x->top1 || !x->row)
        return error_set(e, STATUS_FAILED, "dim: out of memory");
    x->runner = (DiffRunner){.bench = &x->bench,
                             .session = &x->bench.session,
                             .order = &x->order,
                             .user = x,
                             .on_stream = on_stream,
                             .on_results = on_results};
    DiffRunnerSizes sizes = {.longest_window = x->corpus.longest,
                             .longest_family = x->corpus.longest,
                             .total_rows = x->corpus.start[n],
                             .head = true};
    int status = diff_runner_open(&x->runner, &sizes, e);
    for (x->set = 0; !status && x->set < 2 + N_RANDOM; x->set++)
        status = run_windows(x, 0, n, e);
    diff_runner_close(&x->runner);
    return status;
}

/* The tokens that the dimension raises and lowers most. */
static int unembed(Dim *x, Error *e)
{
    const Model *m = &x->bench.model;
    const Binding *head = &m->bindings.role[ROLE_HEAD], *norm = &m->bindings.role[ROLE_FINAL_NORM];
    double gain = 1;
    float *row = malloc((x->d + 1) * sizeof *row);
    size_t n[2] = {0, 0}, id = 0;
    if (!row)
        return error_set(e, STATUS_FAILED, "dim: out of memory");
    if (norm->n_parts && norm->parts[0].rows * norm->parts[0].cols == x->d) {
        convert_row_f32(&norm->parts[0], 0, row);
        gain = (double)row[x->dim] + (double)m->traits.norm_weight_offset;
    }
    for (size_t p = 0; p < head->n_parts && !m->traits.d_embed; p++) {
        for (size_t r = 0; r < head->parts[p].rows; r++, id++) {
            convert_row_f32(&head->parts[p], r, row);
            double w = gain * (double)row[x->dim] * (double)m->traits.logit_scale;
            for (int side = 0; side < 2; side++) {
                double v = side ? -w : w;
                size_t at = n[side] < N_TOKENS ? n[side]++ : N_TOKENS;
                for (; at > 0 && x->weight[side][at - 1] < v; at--) {
                    if (at == N_TOKENS)
                        continue;
                    x->weight[side][at] = x->weight[side][at - 1];
                    x->best[side][at] = x->best[side][at - 1];
                }
                if (at < N_TOKENS) {
                    x->weight[side][at] = v;
                    x->best[side][at] = (int32_t)id;
                }
            }
        }
    }
    free(row);
    return STATUS_OK;
}

/* Bytes of a token or of several; what is no text, and line ends, as a dot. */
static void put_text(const Dim *x, const int32_t *ids, size_t n, StrBuf *out)
{
    for (size_t i = 0; i < n; i++) {
        char bytes[64];
        size_t len = x->bench.tokenizer ? tokenizer_token_bytes(x->bench.tokenizer, ids[i], bytes, sizeof bytes) : 0;
        if (!x->bench.tokenizer) {
            strbuf_printf(out, "%s%d", i ? " " : "", ids[i]);
            continue;
        }
        len = len < sizeof bytes ? len : sizeof bytes;
        for (size_t k = 0; k < len;) {
            uint32_t code;
            size_t step = utf8_decode(bytes + k, len - k, &code);
            if (step == 0 || code < 0x20)
                strbuf_puts(out, "\xc2\xb7");
            else
                strbuf_append(out, bytes + k, step);
            k += step ? step : 1;
        }
    }
}

static void put_context(const Dim *x, const Context *c, StrBuf *before, StrBuf *token)
{
    const int32_t *ids = x->corpus.ids + x->corpus.start[c->window];
    size_t from = c->position > BEFORE ? c->position - BEFORE : 0;
    put_text(x, ids + from, c->position - from, before);
    put_text(x, ids + c->position, 1, token);
}

/* What the losses of random dimensions' ablation are, on average. */
static double random_change(const Dim *x, const double *of)
{
    double sum = 0;
    for (size_t k = 2; k < 2 + N_RANDOM; k++)
        sum += of[k] - of[0];
    return sum / N_RANDOM / (double)x->n_losses;
}

static void print_text(const Dim *x, size_t rank, double median, StrBuf *out)
{
    size_t j = x->dim;
    double sigma = (double)x->sigma.sigma[j], n = (double)x->n_losses;
    strbuf_printf(out, "%s, order %s: dimension %zu %s", x->bench.path.name, x->order.spec, x->dim,
                  x->point ? "of the stream after step " : "of the embedding");
    if (x->point)
        strbuf_printf(out, "%zu", x->point);
    strbuf_printf(out, "\n\nOver %zu positions of %s\n  mean %.4g, sigma %.4g, MAD %.4g (a normal one's would be sigma)\n",
                  x->sigma.n_positions, x->corpus.name, (double)x->sigma.mean[j], sigma, (double)x->sigma.mad[j]);
    strbuf_printf(out, "  sigma is %.2f times the median dimension's, rank %zu of %zu from the quietest\n", sigma / median,
                  rank + 1, x->d);
    if (x->sigma.n_massive[j])
        strbuf_printf(out, "  MASSIVE: %u values beyond 100 and 1000 times the median |x|, left out of sigma\n",
                      x->sigma.n_massive[j]);
    else
        strbuf_puts(out, sigma > 5 * median ? "  an outlier: more than 5 times the median sigma\n" : "  no outlier\n");
    strbuf_puts(out, "\nStrongest contexts (value in sigma from the mean, the token in brackets)\n");
    for (size_t k = 0; k < x->n_contexts[0] + x->n_contexts[1]; k++) {
        size_t side = k >= x->n_contexts[0], i = k - (side ? x->n_contexts[0] : 0);
        StrBuf before = {0}, token = {0};
        put_context(x, &x->strongest[side][i], &before, &token);
        strbuf_printf(out, "  %+7.1f  ...%s[%s]\n", (x->strongest[side][i].value - (double)x->sigma.mean[j]) / sigma,
                      before.data ? before.data : "", token.data ? token.data : "");
        strbuf_free(&before);
        strbuf_free(&token);
    }
    if (!x->bench.model.traits.d_embed) {
        for (int side = 0; side < 2; side++) {
            strbuf_puts(out, side ? "\nTokens it lowers: "
                                  : "\nTokens it raises most, through the final norm's gain and the head: ");
            for (size_t i = 0; i < N_TOKENS; i++) {
                strbuf_puts(out, i ? ", \"" : "\"");
                put_text(x, &x->best[side][i], 1, out);
                strbuf_puts(out, "\"");
            }
        }
        strbuf_puts(out, "\n");
    }
    strbuf_printf(
        out, "\nHeld at its mean at every position: loss %+.5f nats a token (random dimensions of the same sigma %+.5f),\n",
        (x->loss[1] - x->loss[0]) / n, random_change(x, x->loss));
    strbuf_printf(out, "  the likeliest token changes at %.2f %% of %zu positions (random %.2f %%)\n", 100 * x->changed[1] / n,
                  x->n_losses, 100 * random_change(x, x->changed));
}

static void print_json(const Dim *x, size_t rank, double median, StrBuf *out)
{
    size_t j = x->dim;
    double n = (double)x->n_losses;
    strbuf_puts(out, "{\"schema\": \"strata.dim/1\"");
    strbuf_json_field_text(out, "model", x->bench.path.name);
    strbuf_json_field_text(out, "order", x->order.spec);
    strbuf_json_field_text(out, "corpus", x->corpus.name);
    strbuf_printf(out, ", \"layer\": %zu, \"dim\": %zu, \"n_positions\": %zu, \"n_massive\": %u, \"rank\": %zu", x->point, j,
                  x->sigma.n_positions, x->sigma.n_massive[j], rank);
    strbuf_json_field_number(out, "mean", (double)x->sigma.mean[j]);
    strbuf_json_field_number(out, "sigma", (double)x->sigma.sigma[j]);
    strbuf_json_field_number(out, "mad", (double)x->sigma.mad[j]);
    strbuf_json_field_number(out, "median_sigma", median);
    strbuf_puts(out, ", \"contexts\": [");
    for (size_t k = 0; k < x->n_contexts[0] + x->n_contexts[1]; k++) {
        size_t side = k >= x->n_contexts[0], i = k - (side ? x->n_contexts[0] : 0);
        StrBuf before = {0}, token = {0};
        put_context(x, &x->strongest[side][i], &before, &token);
        strbuf_puts(out, k ? ", {\"value\": " : "{\"value\": ");
        strbuf_json_number(out, x->strongest[side][i].value);
        strbuf_puts(out, ", \"before\": ");
        strbuf_json_string(out, before.data ? before.data : "", before.len);
        strbuf_puts(out, ", \"token\": ");
        strbuf_json_string(out, token.data ? token.data : "", token.len);
        strbuf_puts(out, "}");
        strbuf_free(&before);
        strbuf_free(&token);
    }
    for (int side = 0; side < 2; side++) {
        strbuf_puts(out, side ? "], \"lowers\": [" : "], \"raises\": [");
        for (size_t i = 0; i < N_TOKENS && !x->bench.model.traits.d_embed; i++) {
            StrBuf token = {0};
            put_text(x, &x->best[side][i], 1, &token);
            strbuf_printf(out, "%s{\"id\": %d, \"token\": ", i ? ", " : "", x->best[side][i]);
            strbuf_json_string(out, token.data ? token.data : "", token.len);
            strbuf_puts(out, ", \"weight\": ");
            strbuf_json_number(out, side ? -x->weight[side][i] : x->weight[side][i]);
            strbuf_puts(out, "}");
            strbuf_free(&token);
        }
    }
    strbuf_printf(out, "], \"ablation\": {\"n\": %zu", x->n_losses);
    strbuf_json_field_number(out, "loss", x->loss[0] / n);
    strbuf_json_field_number(out, "loss_change", (x->loss[1] - x->loss[0]) / n);
    strbuf_json_field_number(out, "loss_change_random", random_change(x, x->loss));
    strbuf_json_field_number(out, "top1_changed", x->changed[1] / n);
    strbuf_json_field_number(out, "top1_changed_random", random_change(x, x->changed));
    strbuf_puts(out, "}}\n");
}

static int describe(Dim *x, Error *e)
{
    const StrataDimOptions *o = x->options;
    char intact[32];
    int status = workbench_open(&o->common, TOKENIZER_IF_THERE, &x->bench, e);
    if (status)
        return status;
    x->d = x->bench.model.traits.d_model;
    snprintf(intact, sizeof intact, "0-%d", x->bench.model.traits.n_layers - 1);
    status = order_parse(o->order && o->order[0] ? o->order : intact, x->bench.model.traits.n_layers, &x->arena, &x->order, e);
    if (!status)
        status = parse_place(x, o->place, e);
    if (!status)
        status = diff_corpus_open(&x->bench, o->dataset_type, o->dataset_path, WINDOWS, &x->corpus, e);
    if (!status)
        status = measure(x, e);
    size_t rank = 0;
    double median = 0;
    if (!status)
        status = rank_dims(x, &rank, &median, e);
    if (!status)
        status = unembed(x, e);
    if (!status)
        status = ablate(x, e);
    StrBuf text = {0};
    if (!status && o->common.out) {
        if (o->common.json)
            print_json(x, rank, median, &text);
        else
            print_text(x, rank, median, &text);
        fwrite(text.data ? text.data : "", 1, text.len, o->common.out);
    }
    strbuf_free(&text);
    return status;
}

int strata_dim(const StrataDimOptions *options, StrataError *e)
{
    Dim x = {.options = options};
    int status = describe(&x, e);
    diff_runner_close(&x.runner);
    diff_sigma_close(x.sums);
    diff_sigma_result_free(&x.sigma);
    diff_corpus_close(&x.corpus);
    free(x.top1);
    free(x.row);
    arena_free(&x.arena);
    workbench_close(&x.bench);
    return status;
}
