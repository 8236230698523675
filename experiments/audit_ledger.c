/* audit_ledger.c: strata audit --ledger DIR: random entries of a finished sweep computed again.
 *
 * Each entry's window goes through its order twice: in the sweep's own arithmetic and in ref64. The margin of an entry is
 *   |ledger - ref64| / (half the spacing of what is stored + 8 rms),
 * rms being the root mean square of (own arithmetic now - ref64) over all tokens of that window, or over all windows, whichever is
 * larger: the ledger is held against rounding errors that were measured without it. Where the arithmetic promises bits, the fresh
 * value must be the ledger's to the bit. An entry that fails either was not computed by this program from these files. Before all that
 * every array is held against its sha256 in the ledger's metadata: a damaged one is named, and nothing is computed. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/progress.h"
#include "engine/base/rng.h"
#include "engine/ledger.h"
#include "experiments/audit_commands.h"
#include "experiments/audit_losses.h"
#include "experiments/audit_math.h"
#include "experiments/result_file.h"
#include "experiments/sweep_options.h"
#include "experiments/table.h"
#include "loaders/windows.h"

enum { STREAM = 8, RMS_FACTOR = 8, WORST_SHOWN = 10 };

typedef struct Entry {
    size_t order, token; /* of the ledger */
    double ledger, fresh, reference, rms, margin;
    int32_t ledger_rank, reference_rank;
} Entry;

typedef struct LedgerAudit {
    const StrataAuditOptions *options;
    StrBuf text;
    Arena arena;
    StrataSweepOptions sweep;
    Workbench bench;
    Dataset data;
    Windows windows;
    LedgerView ledger;
    ResultFile results;
    Order *orders; /* [n_orders] */
    const char **names;
    Entry *entries; /* by order, then token */
    size_t n;
    double square, n_square; /* of fresh minus ref64, over all tokens of the windows */
} LedgerAudit;

static int open_windows(LedgerAudit *a, const JsonValue *run, Error *e)
{
    WindowProtocol protocol;
    if (!window_protocol_from_name(a->sweep.protocol, &protocol))
        return error_set(e, STATUS_FAILED, "%s: protocol %s has no windows to audit", a->options->ledger, a->sweep.protocol);
    DatasetOptions data = {.type = a->sweep.dataset_type, .path = a->sweep.dataset_path, .split = a->sweep.split};
    if (protocol == WINDOW_ROWS)
        data.max_rows = (size_t)a->sweep.max_samples;
    WindowOptions options = {.protocol = protocol,
                             .context = a->bench.context,
                             .max_samples = (size_t)a->sweep.max_samples,
                             .bos = a->bench.bos,
                             .bos_id = a->bench.bos_id,
                             .vocab = a->bench.model.traits.vocab};
    int status = dataset_open_with(&data, &a->data, e);
    if (!status)
        status = windows_build(&a->data, a->bench.tokenizer, &options, &a->windows, e);
    const char *hash = json_text(json_get(json_get(run, "fingerprint"), "ids_sha256"));
    if (!status && (!hash || strcmp(hash, a->windows.ids_sha256) != 0))
        status =
            error_set(e, STATUS_FAILED, "%s: ids_sha256 is %s, here it is now %s: not the rows or the tokenizer of that run",
                      a->options->ledger, hash ? hash : "absent", a->windows.ids_sha256);
    return status;
}

/* The ledger's rows by what ppl.json says of them. */
static int read_order(LedgerAudit *a, const ResultNode *node, Error *e)
{
    const char *name, *spec;
    int64_t index;
    int status = result_string(node, "name", &name, e);
    if (!status)
        status = result_string(node, "spec", &spec, e);
    if (!status)
        status = result_integer(node, "ledger_index", &index, e);
    if (!status && (index < 0 || (size_t)index >= a->ledger.n_orders))
        status = error_set(e, STATUS_FAILED, "%s: %s.ledger_index is %lld, expected below %zu", node->path, node->where,
                           (long long)index, a->ledger.n_orders);
    if (!status)
        status = order_parse(spec, a->bench.model.traits.n_layers, &a->arena, &a->orders[index], e);
    if (!status)
        a->names[index] = name;
    return status;
}

static int open_ledger(LedgerAudit *a, Error *e)
{
    const char *dir = a->options->ledger;
    char *path = file_join(dir, "ledger.safetensors"), *json = file_join(dir, "ppl.json");
    int status = path && json ? STATUS_OK : error_set(e, STATUS_FAILED, "%s: out of memory", dir);
    if (!status)
        status = ledger_view_open(path, &a->ledger, e);
    if (!status)
        status = ledger_view_verify(&a->ledger, path, e);
    if (!status && (a->ledger.n_tokens != a->windows.n_tokens ||
                    memcmp(a->ledger.token_id, a->windows.token_id, a->windows.n_tokens * sizeof(int32_t)) != 0))
        status = error_set(e, STATUS_FAILED, "%s: its %zu tokens are not the %zu of these rows", path, a->ledger.n_tokens,
                           a->windows.n_tokens);
    if (!status)
        status = result_file_open(json, NULL, &a->results, e);
    a->orders = status ? NULL : arena_array(&a->arena, a->ledger.n_orders, sizeof *a->orders);
    a->names = status ? NULL : arena_array(&a->arena, a->ledger.n_orders, sizeof *a->names);
    if (!status && (!a->orders || !a->names))
        status = error_set(e, STATUS_FAILED, "audit: out of memory for %zu orders", a->ledger.n_orders);
    ResultNode node = {0}, orders;
    if (!status)
        status = result_child(&a->results.root, "baseline", &node, e);
    if (!status)
        status = read_order(a, &node, e);
    if (!status)
        status = result_child(&a->results.root, "orders", &orders, e);
    memset(&node, 0, sizeof node);
    while (!status && result_each(&orders, &node))
        status = read_order(a, &node, e);
    for (size_t i = 0; !status && i < a->ledger.n_orders; i++)
        if (!a->names[i])
            status = error_set(e, STATUS_FAILED, "%s: no order has ledger_index %zu", json, i);
    free(json);
    free(path);
    return status;
}

static int by_order(const void *x, const void *y)
{
    const Entry *a = x, *b = y;
    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    return a->token < b->token ? -1 : a->token > b->token;
}

static int draw(LedgerAudit *a, Error *e)
{
    Rng rng;
    uint64_t all = (uint64_t)a->ledger.n_orders * a->ledger.n_tokens, asked = a->options->sample ? a->options->sample : 200;
    a->n = (size_t)(asked < all ? asked : all);
    a->entries = arena_array(&a->arena, a->n + 1, sizeof *a->entries);
    if (!a->entries)
        return error_set(e, STATUS_FAILED, "audit: out of memory for %zu entries", a->n);
    rng_seed(&rng, a->options->common.seed, STREAM);
    for (size_t i = 0; i < a->n; i++) {
        uint64_t at = a->n == all ? i : rng_below(&rng, all); /* with replacement, unless all are asked for */
        Entry *x = &a->entries[i];
        *x = (Entry){.order = (size_t)(at / a->ledger.n_tokens), .token = (size_t)(at % a->ledger.n_tokens)};
        x->ledger = ledger_view_nll(&a->ledger, x->order, x->token);
        x->ledger_rank = a->ledger.rank[x->order * a->ledger.n_tokens + x->token];
    }
    qsort(a->entries, a->n, sizeof *a->entries, by_order);
    return STATUS_OK;
}

typedef struct Batch {
    int32_t *ids;
    size_t *starts, *windows; /* the distinct windows of one order's entries */
    size_t n_windows;
    double *fresh, *reference;
    int32_t *rank;
} Batch;

static void batch_free(Batch *b)
{
    free(b->ids);
    free(b->starts);
    free(b->windows);
    free(b->fresh);
    free(b->reference);
    free(b->rank);
}

static int batch_open(const LedgerAudit *a, const Entry *entries, size_t n, Batch *b, Error *e)
{
    const Windows *w = &a->windows;
    size_t rows = 0;
    memset(b, 0, sizeof *b);
    b->windows = malloc(n * sizeof *b->windows);
    b->starts = malloc((n + 1) * sizeof *b->starts);
    for (size_t i = 0; b->windows && i < n; i++) { /* ascending tokens: equal windows stand together */
        size_t window = (size_t)w->window[entries[i].token];
        if (b->n_windows && b->windows[b->n_windows - 1] == window)
            continue;
        b->windows[b->n_windows++] = window;
        rows += w->start[window + 1] - w->start[window];
    }
    b->ids = malloc(rows * sizeof *b->ids);
    b->fresh = malloc(rows * sizeof *b->fresh);
    b->reference = malloc(rows * sizeof *b->reference);
    b->rank = malloc(rows * sizeof *b->rank);
    if (!b->windows || !b->starts || !b->ids || !b->fresh || !b->reference || !b->rank)
        return error_set(e, STATUS_FAILED, "audit: out of memory for %zu tokens", rows);
    b->starts[0] = 0;
    for (size_t i = 0; i < b->n_windows; i++) {
        size_t first = w->start[b->windows[i]], many = w->start[b->windows[i] + 1] - first;
        memcpy(b->ids + b->starts[i], w->ids + first, many * sizeof *b->ids);
        b->starts[i + 1] = b->starts[i] + many;
    }
    return STATUS_OK;
}

/* All entries of one order. */
static int audit_order(LedgerAudit *a, Entry *entries, size_t n, Error *e)
{
    Batch b;
    int status = batch_open(a, entries, n, &b, e);
    AuditLosses losses = {.session = &a->bench.session,
                          .ops = a->bench.session.ops,
                          .orders = &a->orders[entries[0].order],
                          .n_orders = 1,
                          .ids = b.ids,
                          .starts = b.starts,
                          .n_windows = b.n_windows,
                          .stop = a->options->common.stop};
    if (!status)
        status = audit_losses(&losses, b.fresh, NULL, e);
    losses.ops = &ops_cpu_ref64;
    if (!status)
        status = audit_losses(&losses, b.reference, b.rank, e);
    size_t at = 0;
    for (size_t k = 0; !status && k < b.n_windows; k++) {
        size_t first = b.starts[k] - k, many = b.starts[k + 1] - b.starts[k] - 1,
               token = windows_first_token(&a->windows, b.windows[k]);
        double square = 0;
        for (size_t i = first; i < first + many; i++)
            square += (b.fresh[i] - b.reference[i]) * (b.fresh[i] - b.reference[i]);
        a->square += square;
        a->n_square += (double)many;
        for (; at < n && entries[at].token < token + many; at++) {
            size_t i = first + entries[at].token - token;
            entries[at].fresh = b.fresh[i];
            entries[at].reference = b.reference[i];
            entries[at].reference_rank = b.rank[i];
            entries[at].rms = sqrt(square / (double)many);
        }
    }
    batch_free(&b);
    return status;
}

static int compute(LedgerAudit *a, Error *e)
{
    int status = STATUS_OK;
    bool shows = !a->options->common.quiet;
    Progress progress;
    progress_begin(&progress, "audit", "entries", (double)a->n, 0, !shows);
    for (size_t i = 0, end; !status && i < a->n; i = end) {
        for (end = i + 1; end < a->n && a->entries[end].order == a->entries[i].order; end++)
            ;
        status = audit_order(a, a->entries + i, end - i, e);
        progress_update(&progress, (double)end);
    }
    progress_end(&progress);
    double rms = a->n_square > 0 ? sqrt(a->square / a->n_square) : 0;
    for (size_t i = 0; i < a->n; i++) {
        Entry *x = &a->entries[i];
        double half = audit_half_ulp(x->ledger, a->ledger.nll_dtype);
        x->margin = fabs(x->ledger - x->reference) / (half + RMS_FACTOR * (x->rms > rms ? x->rms : rms));
        if (!(x->margin <= 0x1p1000))
            x->margin = isnan(x->ledger) && isnan(x->reference) ? 0 : INFINITY;
    }
    return status;
}

static int by_margin(const void *x, const void *y)
{
    double a = ((const Entry *)x)->margin, b = ((const Entry *)y)->margin;
    return a < b ? 1 : a > b ? -1 : by_order(x, y);
}

static bool equals(const LedgerAudit *a, const Entry *x)
{
    return audit_stored(x->fresh, a->ledger.nll_dtype) == x->ledger || (isnan(x->fresh) && isnan(x->ledger));
}

static void put_json(const LedgerAudit *a, size_t n_equal, size_t n_rank, StrBuf *b)
{
    strbuf_puts(b, "{\"schema\": \"strata.audit-ledger/1\"");
    strbuf_json_field_text(b, "ledger", a->options->ledger);
    strbuf_json_field_text(b, "numerics", a->bench.numerics);
    strbuf_json_field_number(b, "n_entries", (double)a->n);
    strbuf_json_field_number(b, "n_equal", (double)n_equal);
    strbuf_json_field_number(b, "n_rank_equal", (double)n_rank);
    strbuf_json_field_number(b, "rms", a->n_square > 0 ? sqrt(a->square / a->n_square) : 0);
    strbuf_puts(b, ", \"entries\": [");
    for (size_t i = 0; i < a->n; i++) {
        const Entry *x = &a->entries[i];
        strbuf_puts(b, i ? ",\n{\"order\": " : "\n{\"order\": ");
        strbuf_json_string(b, a->names[x->order], strlen(a->names[x->order]));
        strbuf_json_field_number(b, "ledger_index", (double)x->order);
        strbuf_json_field_number(b, "token", (double)x->token);
        strbuf_json_field_number(b, "ledger", x->ledger);
        strbuf_json_field_number(b, "fresh", x->fresh);
        strbuf_json_field_number(b, "ref64", x->reference);
        strbuf_json_field_number(b, "margin", x->margin);
        strbuf_putc(b, '}');
    }
    strbuf_puts(b, "]}\n");
}

static int put_table(const LedgerAudit *a, StrBuf *b, Error *e)
{
    static const char *const headers[] = {"order", "row", "position", "ledger", "ref64", "difference", "margin"};
    Table t = {0};
    table_begin(&t, headers, sizeof headers / sizeof headers[0]);
    for (size_t i = 0; i < a->n && i < WORST_SHOWN; i++) {
        const Entry *x = &a->entries[i];
        table_text(&t, a->names[x->order]);
        table_integer(&t, a->ledger.row[x->token]);
        table_integer(&t, a->ledger.position[x->token]);
        table_number(&t, x->ledger, 6);
        table_number(&t, x->reference, 6);
        table_number(&t, x->ledger - x->reference, -1);
        table_number(&t, x->margin, 3);
    }
    int status = table_write_text(&t, b, e);
    table_free(&t);
    return status;
}

static int report(LedgerAudit *a, Error *e)
{
    const StrataAuditOptions *o = a->options;
    size_t n_equal = 0, n_rank = 0, n_over = 0;
    bool promised = strcmp(a->bench.numerics, "fast") != 0;
    for (size_t i = 0; i < a->n; i++) {
        n_equal += equals(a, &a->entries[i]);
        n_rank += a->entries[i].ledger_rank == a->entries[i].reference_rank;
        n_over += a->entries[i].margin > 1;
    }
    qsort(a->entries, a->n, sizeof *a->entries, by_margin);
    StrBuf json = {0}, text = {0};
    put_json(a, n_equal, n_rank, &json);
    strbuf_printf(&text, "%s, %s: %zu of %zu entries drawn, the widest margins:\n\n", o->ledger, a->bench.numerics, a->n,
                  a->ledger.n_orders * a->ledger.n_tokens);
    int status = put_table(a, &text, e);
    strbuf_printf(&text,
                  "\nsha256 of every array: as the ledger's metadata say\nC0, bits equal: %zu of %zu entries are what %s gives "
                  "now%s\nC1, every margin <= 1: %s (rounding: rms %.3g nats)\n"
                  "rank equal to ref64's: %zu of %zu\n",
                  n_equal, a->n, a->bench.numerics, promised ? "" : " (fast promises no bits in another batch)",
                  n_over ? "NO" : "yes", a->n_square > 0 ? sqrt(a->square / a->n_square) : 0, n_rank, a->n);
    if (!status)
        status = audit_deliver(o, &json, &text, NULL, e);
    if (!status && (n_over || (promised && n_equal < a->n)))
        status = error_set(e, STATUS_FAILED, "%s: %zu of %zu entries are not what this model gives on these rows", o->ledger,
                           n_over ? n_over : a->n - n_equal, a->n);
    strbuf_free(&text);
    strbuf_free(&json);
    return status;
}

int audit_ledger(const StrataAuditOptions *o, Error *e)
{
    LedgerAudit a = {.options = o};
    const JsonValue *run = NULL;
    int status = sweep_options_open(o->ledger, &a.text, &a.arena, &run, e);
    if (!status)
        status = sweep_options_read(run, o->ledger, &o->common, &a.sweep, e);
    if (!status)
        status = workbench_open(&a.sweep.common, TOKENIZER_IF_THERE, &a.bench, e);
    if (!status)
        status = open_windows(&a, run, e);
    if (!status)
        status = open_ledger(&a, e);
    if (!status)
        status = draw(&a, e);
    if (!status)
        status = compute(&a, e);
    if (!status)
        status = report(&a, e);
    result_file_close(&a.results);
    ledger_view_close(&a.ledger);
    windows_free(&a.windows);
    dataset_close(&a.data);
    workbench_close(&a.bench);
    strbuf_free(&a.text);
    arena_free(&a.arena);
    return status;
}
