/* sweep_protocols.c: --protocol all: the intact model's perplexity under every convention of cutting text into windows, with and
 * without BOS, side by side. Published figures differ by these conventions more than by models. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/sweep.h"

typedef struct Convention {
    WindowProtocol protocol;
    bool bos;
    size_t n_windows;
    WindowCounts counts;
    bool has_text;
    double nll_sum;
    uint64_t n_nonfinite;
} Convention;

static int on_results(void *user, size_t order, const HeadResults *r, Error *e)
{
    Convention *c = user;
    (void)order;
    (void)e;
    for (size_t i = 0; i < r->n; i++) {
        if (isfinite(r->nll[i]))
            c->nll_sum += r->nll[i];
        else
            c->n_nonfinite++;
    }
    return STATUS_OK;
}

static int run_blocks(Sweep *s, const Windows *w, const WindowBlocks *blocks, Run *run, Convention *c, Error *e)
{
    RunHooks hooks = {.user = c, .on_results = on_results};
    size_t *starts = malloc((blocks->max_windows + 1) * sizeof *starts);
    int status = starts ? STATUS_OK : error_set(e, STATUS_FAILED, "sweep: out of memory");
    for (size_t b = 0; !status && b < blocks->n_blocks; b++) {
        size_t first = blocks->first_window[b], n = blocks->first_window[b + 1] - first;
        windows_relative_starts(w, first, n, starts);
        TokenBlock block = {.ids = w->ids + w->start[first], .window_start = starts, .n_rows = starts[n], .n_windows = n};
        status =
            workbench_stopped(&s->bench) ? error_set(e, STATUS_INTERRUPTED, "interrupted") : run_block(run, &block, &hooks, e);
    }
    free(starts);
    return status;
}

static int evaluate(Sweep *s, const Order *intact, Convention *c, Error *e)
{
    Windows w;
    WindowBlocks blocks = {0};
    Run *run = NULL;
    int status = sweep_open_windows(s, c->protocol, c->bos, &w, e);
    if (status)
        return status;
    RunRequest request = {.orders = intact, .n_orders = 1, .longest_window = w.longest, .total_rows = w.n_ids};
    if (!(status = run_open(&s->bench.session, &request, &run, e)) &&
        !(status = windows_partition(&w, run_get_sizes(run)->block_rows, &blocks, e)))
        status = run_blocks(s, &w, &blocks, run, c, e);
    c->n_windows = w.n_windows;
    c->counts = w.counts;
    c->has_text = w.has_text;
    window_blocks_free(&blocks);
    run_close(run);
    windows_free(&w);
    return status;
}

static void put(const Convention *c, StrBuf *table, StrBuf *json)
{
    double n = (double)c->counts.n_tokens, nll = c->n_nonfinite ? NAN : c->nll_sum / n;
    double word_ppl = c->has_text ? exp(nll * n / (double)c->counts.n_words) : NAN;
    double bits = c->has_text ? nll * n / log(2.0) / (double)c->counts.n_bytes : NAN;
    strbuf_printf(table, "%-8s  %-3s  %7zu  %9.0f  %8.4f  %10.4f  %10.2f  %8.4f\n", window_protocol_name(c->protocol),
                  c->bos ? "yes" : "no", c->n_windows, n, nll, exp(nll), word_ppl, bits);
    strbuf_printf(json, "%s  {\"protocol\": \"%s\", \"bos\": %s, \"n_windows\": %zu", json->len > 1 ? ",\n" : "\n",
                  window_protocol_name(c->protocol), c->bos ? "true" : "false", c->n_windows);
    strbuf_json_field_number(json, "n_tokens", n);
    strbuf_json_field_number(json, "nll", nll);
    strbuf_json_field_number(json, "ppl", exp(nll));
    strbuf_json_field_number(json, "word_ppl", word_ppl);
    strbuf_json_field_number(json, "bits_per_byte", bits);
    strbuf_puts(json, "}");
}

int sweep_all_protocols(Sweep *s, Error *e)
{
    static const WindowProtocol protocols[] = {WINDOW_ROWS, WINDOW_CONCAT, WINDOW_FILE};
    int n_bos = s->bench.bos_id >= 0 ? 2 : 1;
    StrBuf table = {0}, json = {0};
    int status = orders_generate("reverse", s->bench.model.traits.n_layers, 0, &s->orders, e); /* for its intact order */
    strbuf_puts(&table, "protocol  bos  windows     tokens       nll         ppl    word_ppl  bits/byte\n");
    strbuf_puts(&json, "[");
    for (int p = 0; !status && p < 3; p++) {
        for (int bos = 0; !status && bos < n_bos; bos++) {
            Convention c = {.protocol = protocols[p], .bos = bos};
            status = evaluate(s, &s->orders.orders[0], &c, e);
            if (status == STATUS_FAILED && p > 0) { /* a text shorter than one window under concat or file */
                fprintf(stderr, "%s, bos %s: left out: %s\n", window_protocol_name(c.protocol), bos ? "yes" : "no", e->text);
                status = STATUS_OK;
                continue;
            }
            put(&c, &table, &json);
        }
    }
    strbuf_puts(&json, "\n]\n");
    FILE *out = s->bench.common->out;
    if (!status && (table.failed || json.failed))
        status = error_set(e, STATUS_FAILED, "sweep: out of memory");
    RunFolder folder = {.output_dir = s->output_dir,
                        .path_part = "protocols",
                        .slug = s->bench.path.slug,
                        .tag = s->options->tag,
                        .dataset = s->data.name,
                        .n_samples = s->max_samples};
    if (!status)
        status = run_record_folder(&folder, &s->dir, e);
    if (!status)
        status = file_make_dirs(s->dir.data, e);
    char *path = status ? NULL : file_join(s->dir.data, "protocols.json");
    if (!status && !path)
        status = error_set(e, STATUS_FAILED, "sweep: out of memory");
    if (!status)
        status = file_write_atomic(path, json.data, json.len, e);
    if (!status && out) {
        fwrite(s->bench.common->json ? json.data : table.data, 1, s->bench.common->json ? json.len : table.len, out);
        if (!s->bench.common->json)
            fprintf(out, "written: %s\n", path);
    }
    free(path);
    strbuf_free(&table);
    strbuf_free(&json);
    return status;
}
