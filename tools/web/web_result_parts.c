/* web_result_parts.c: tokens of a sweep under every order, and the pairs of a diff result, for the explorers. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/file.h"
#include "experiments/pair_file.h"
#include "tools/web/web_results_internal.h"

enum { MOST_PAIRS = 50000, PREVIEW_BYTES = 120 };

/* -- tokens -- */

int web_results_open_run(WebResults *r, const WebResult *result, Error *e)
{
    if (r->open_id && strcmp(r->open_id, result->id) == 0)
        return 0;
    web_results_close_run(r);
    r->open_id = strdup(result->id);
    r->open_dir = file_join(r->dir, result->id);
    if (!r->open_id || !r->open_dir)
        return 500;
    int status = pos_run_open(r->open_dir, &r->run, e);
    if (status)
        web_results_close_run(r);
    return status ? 500 : 0;
}

/* Tokens [first, end) of each window, the windows ascending on the token axis. */
size_t web_results_window_end(const LedgerView *l, size_t first)
{
    size_t end = first + 1;
    while (end < l->n_tokens && l->window[end] == l->window[first])
        end++;
    return end;
}

/* A cut never splits a character. */
static size_t whole_characters(const char *text, size_t len, size_t most)
{
    if (len <= most)
        return len;
    while (most > 0 && ((unsigned char)text[most] & 0xC0) == 0x80)
        most--;
    return most;
}

static void write_windows(const PosRun *run, StrBuf *out)
{
    static const char *const kinds[] = {"plain", "heading", "body"};
    const LedgerView *l = &run->ledger;
    strbuf_printf(out, "{\"n_windows\": %zu, \"windows\": [", run->n_windows);
    for (size_t first = 0, end; first < l->n_tokens; first = end) {
        end = web_results_window_end(l, first);
        const PosRow *row = &run->rows[l->row[first]];
        size_t from =
            l->byte_start[first] <= (int64_t)row->len && row->n_tokens > end - first ? (size_t)l->byte_start[first] : 0;
        strbuf_printf(out, "%s{\"window\": %d, \"row\": %d, \"kind\": \"%s\", \"article\": ", first ? ",\n" : "",
                      l->window[first], l->row[first], kinds[row->kind]);
        row->article < 0 ? strbuf_puts(out, "null") : strbuf_printf(out, "%lld", (long long)row->article);
        strbuf_printf(out, ", \"n_tokens\": %zu, \"text\": ", end - first);
        strbuf_json_string(out, row->text ? row->text + from : "",
                           row->text ? whole_characters(row->text + from, row->len - from, PREVIEW_BYTES) : 0);
        strbuf_putc(out, '}');
    }
    strbuf_puts(out, "]}\n");
}

static void write_window(const PosRun *run, size_t first, size_t end, StrBuf *out)
{
    const LedgerView *l = &run->ledger;
    const PosRow *row = &run->rows[l->row[first]];
    size_t from = 0, to = row->len;
    if (row->n_tokens > end - first) { /* a part of the row: its own text only */
        from = (size_t)l->byte_start[first];
        to = (size_t)l->byte_end[end - 1];
    }
    strbuf_printf(out, "{\"window\": %d, \"row\": %d, \"first_byte\": %zu, \"text\": ", l->window[first], l->row[first], from);
    strbuf_json_string(out, row->text ? row->text + from : "", row->text ? to - from : 0);
    strbuf_puts(out, ", \"orders\": [");
    for (size_t o = 0; o < l->n_orders; o++) {
        strbuf_puts(out, o ? ", " : "");
        strbuf_json_string(out, run->orders[o].name, strlen(run->orders[o].name));
    }
    const char *const names[] = {"], \"start\": [", "], \"end\": [", "], \"ids\": ["};
    for (int k = 0; k < 3; k++) {
        strbuf_puts(out, names[k]);
        for (size_t t = first; t < end; t++) {
            long long value = k == 2 ? (long long)l->token_id[t]
                                     : (long long)((k ? l->byte_end : l->byte_start)[t]) - (row->text ? (long long)from : 0);
            strbuf_printf(out, "%s%lld", t > first ? "," : "", value);
        }
    }
    strbuf_puts(out, "], \"nll\": [");
    for (size_t o = 0; o < l->n_orders; o++) {
        strbuf_puts(out, o ? ",\n[" : "[");
        for (size_t t = first; t < end; t++) {
            double nll = ledger_view_nll(l, o, t);
            strbuf_puts(out, t > first ? "," : "");
            isfinite(nll) ? strbuf_printf(out, "%.5g", nll) : strbuf_puts(out, "null");
        }
        strbuf_putc(out, ']');
    }
    strbuf_puts(out, "], \"rank\": [");
    for (size_t o = 0; o < l->n_orders; o++) {
        strbuf_puts(out, o ? ",\n[" : "[");
        for (size_t t = first; t < end; t++)
            strbuf_printf(out, "%s%d", t > first ? "," : "", l->rank[o * l->n_tokens + t]);
        strbuf_putc(out, ']');
    }
    strbuf_puts(out, "]}\n");
}

/* "12.json" -> 12 */
bool web_results_number(const char *text, const char *suffix, size_t *out)
{
    char *end;
    if (!isdigit((unsigned char)text[0]) || strlen(text) > 18)
        return false;
    *out = strtoul(text, &end, 10);
    return strcmp(end, suffix) == 0;
}

int web_results_tokens(WebResults *r, const WebResult *result, const char *rest, StrBuf *out, Error *e)
{
    size_t window = 0;
    bool all = strcmp(rest, "windows.json") == 0;
    if (!all && !web_results_number(rest + strlen("tokens/"), ".json", &window)) {
        error_set(e, STATUS_USAGE, "expected tokens/W.json with the number of a window");
        return 400;
    }
    if (!web_results_has(r, result->id, "ledger.safetensors") || !web_results_has(r, result->id, "rows.jsonl")) {
        error_set(e, STATUS_USAGE, "this result has no ledger.safetensors with rows.jsonl");
        return 404;
    }
    int status = web_results_open_run(r, result, e);
    if (status)
        return status;
    if (all) {
        write_windows(&r->run, out);
        return 200;
    }
    const LedgerView *l = &r->run.ledger;
    for (size_t first = 0, end; first < l->n_tokens; first = end) {
        end = web_results_window_end(l, first);
        if ((size_t)l->window[first] == window) {
            write_window(&r->run, first, end, out);
            return 200;
        }
    }
    error_set(e, STATUS_USAGE, "there is no window %zu", window);
    return 404;
}

/* -- pairs -- */

typedef struct PairFilter {
    const char *category, *template_id, *search, *error;
    size_t from, count;
} PairFilter;

static int read_filter(const WebParam *params, size_t n, PairFilter *f, Error *e)
{
    *f = (PairFilter){.count = MOST_PAIRS};
    for (size_t i = 0; i < n; i++) {
        const char *name = params[i].name, *value = params[i].value;
        const char **text = strcmp(name, "category") == 0   ? &f->category
                            : strcmp(name, "template") == 0 ? &f->template_id
                            : strcmp(name, "search") == 0   ? &f->search
                            : strcmp(name, "error") == 0    ? &f->error
                                                            : NULL;
        size_t *number = strcmp(name, "from") == 0 ? &f->from : strcmp(name, "count") == 0 ? &f->count : NULL;
        if (text)
            *text = value[0] ? value : NULL;
        else if (!number)
            return error_set(e, STATUS_USAGE,
                             "unknown parameter \"%.40s\"; expected category, template, search, error, from, count", name);
        else if (!web_results_number(value, "", number))
            return error_set(e, STATUS_USAGE, "\"%s\": expected a whole number", name);
    }
    if (f->category && pair_category_find(f->category) < 0)
        return error_set(e, STATUS_USAGE, "\"category\": there is no \"%.40s\"", f->category);
    if (f->error && strcmp(f->error, "a") != 0 && strcmp(f->error, "b") != 0 && strcmp(f->error, "none") != 0)
        return error_set(e, STATUS_USAGE, "\"error\": expected a, b or none");
    return STATUS_OK;
}

static bool matches(const Pair *p, const PairFilter *f)
{
    if (f->category && strcmp(pair_category_name(p->category), f->category) != 0)
        return false;
    if (f->template_id && strcmp(p->template_id, f->template_id) != 0)
        return false;
    if (f->search && !strcasestr(p->a, f->search) && !strcasestr(p->b, f->search))
        return false;
    return !f->error || (p->error_side ? p->error_side == f->error[0] && !f->error[1] : strcmp(f->error, "none") == 0);
}

static void write_pair(const Pair *p, size_t index, StrBuf *out)
{
    strbuf_printf(out, "{\"index\": %zu", index);
    strbuf_json_field_text(out, "a", p->a);
    strbuf_json_field_text(out, "b", p->b);
    strbuf_json_field_text(out, "category", pair_category_name(p->category));
    strbuf_json_field_text(out, "template", p->template_id);
    strbuf_puts(out, ", \"words\": [");
    strbuf_json_string(out, p->words[0], strlen(p->words[0]));
    strbuf_puts(out, ", ");
    strbuf_json_string(out, p->words[1], strlen(p->words[1]));
    strbuf_printf(out, "], \"edit_index\": %zu, \"onset_index\": ", p->edit_index);
    p->onset_index < 0 ? strbuf_puts(out, "null") : strbuf_printf(out, "%lld", (long long)p->onset_index);
    const char side[2] = {p->error_side, '\0'};
    strbuf_json_field_text(out, "error_side", p->error_side ? side : NULL);
    strbuf_printf(out, ", \"n_tokens\": %zu}", p->n_ids);
}

int web_results_pairs(WebResults *r, const WebResult *result, const WebParam *params, size_t n_params, StrBuf *out, Error *e)
{
    PairFilter f;
    PairFile file;
    if (read_filter(params, n_params, &f, e))
        return 400;
    char *path = web_results_inside(r->dir, result->id, "pairs.jsonl");
    if (!path && r->pairs && result->is_diff)
        path = strdup(r->pairs);
    if (!path) {
        error_set(e, STATUS_USAGE, "this result has no pairs.jsonl");
        return 404;
    }
    int status = pair_file_read(path, 0, &file, e);
    free(path);
    if (status)
        return 500;
    size_t n_matching = 0, written = 0;
    StrBuf list = {0};
    for (size_t i = 0; i < file.n_pairs; i++) {
        if (!matches(&file.pairs[i], &f))
            continue;
        if (n_matching++ < f.from || written >= f.count || written >= MOST_PAIRS)
            continue;
        strbuf_puts(&list, written++ ? ",\n" : "");
        write_pair(&file.pairs[i], i, &list);
    }
    strbuf_printf(out, "{\"n_pairs\": %zu, \"n_matching\": %zu, \"from\": %zu, \"pairs\": [", file.n_pairs, n_matching, f.from);
    strbuf_append(out, list.data ? list.data : "", list.len);
    strbuf_puts(out, "]}\n");
    out->failed = out->failed || list.failed;
    strbuf_free(&list);
    pair_file_free(&file);
    return 200;
}
