/* hub_rows.c: rows of a data set of the hub as jsonl (hub.h), by the rows endpoint of its dataset server:
 *   SERVER/rows?dataset=D&config=C&split=S&offset=O&length=100 -> {"rows": [{"row_idx": O, "row": {...}, "truncated_cells": []}, ...],
 *   "num_rows_total": N}      https://huggingface.co/docs/dataset-viewer/rows
 * A lone HF_ENDPOINT serves /rows itself; HF_DATASETS_SERVER names another server. Rows of a cut-off run are kept: each line of the
 * partial file is one row. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "engine/base/http.h"
#include "engine/base/json.h"
#include "engine/base/progress.h"
#include "loaders/hub.h"

enum { ROWS_A_REQUEST = 100, MAX_ANSWER_BYTES = 256 << 20 };

typedef struct RowFetch {
    const HubSession *session;
    const HubRowsRequest *request;
    HttpClient *client;
    FILE *out;
    char *partial; /* path */
    uint64_t done, total;
} RowFetch;

static void put_encoded(StrBuf *b, const char *s)
{
    for (; *s; s++)
        if (isalnum((unsigned char)*s) || strchr("._-~", *s))
            strbuf_putc(b, *s);
        else
            strbuf_printf(b, "%%%02X", (unsigned char)*s);
}

static void put_url(const RowFetch *f, uint64_t offset, uint64_t length, StrBuf *b)
{
    const char *server = getenv("HF_DATASETS_SERVER");
    strbuf_puts(b, server && *server                ? server
                   : f->session->endpoint_is_public ? "https://datasets-server.huggingface.co"
                                                    : f->session->endpoint);
    while (b->len && b->data[b->len - 1] == '/')
        b->data[--b->len] = '\0';
    strbuf_puts(b, "/rows?dataset=");
    put_encoded(b, f->request->dataset);
    strbuf_puts(b, "&config=");
    put_encoded(b, f->request->config);
    strbuf_puts(b, "&split=");
    put_encoded(b, f->request->split);
    strbuf_printf(b, "&offset=%llu&length=%llu", (unsigned long long)offset, (unsigned long long)length);
}

/* A row must be whole: the server cuts long cells and says so. */
static int put_row(const RowFetch *f, const JsonValue *item, uint64_t index, StrBuf *line, Error *e)
{
    const JsonValue *at = json_get(item, "row_idx"), *cut = json_get(item, "truncated_cells"),
                    *text = json_get(json_get(item, "row"), f->request->field);
    if (!at || !at->is_integer || at->integer < 0 || (uint64_t)at->integer != index)
        return error_set(e, STATUS_FAILED, "%s: expected row %llu, the server sends another", f->request->dataset,
                         (unsigned long long)index);
    if (!text || text->kind != JSON_STRING)
        return error_set(e, STATUS_FAILED, "%s: row %llu: expected a text in field \"%s\"", f->request->dataset,
                         (unsigned long long)index, f->request->field);
    for (size_t i = 0; cut && cut->kind == JSON_ARRAY && i < cut->len; i++)
        if (json_is_string(&cut->items[i], f->request->field))
            return error_set(e, STATUS_FAILED,
                             "%s: row %llu: the server has cut the text short; such a data set must be fetched as a file",
                             f->request->dataset, (unsigned long long)index);
    strbuf_puts(line, "{\"text\": ");
    strbuf_json_string(line, text->string, text->len);
    strbuf_puts(line, "}\n");
    return STATUS_OK;
}

static int put_rows(RowFetch *f, const JsonValue *root, Error *e)
{
    const HubRowsRequest *q = f->request;
    const JsonValue *rows = json_get(root, "rows"), *total = json_get(root, "num_rows_total");
    if (!rows || rows->kind != JSON_ARRAY || rows->len > ROWS_A_REQUEST || !total || !total->is_integer || total->integer < 0)
        return error_set(e, STATUS_FAILED, "%s: expected \"rows\" and \"num_rows_total\" from the dataset server", q->dataset);
    f->total = (uint64_t)total->integer;
    uint64_t wanted = q->max_rows && q->max_rows < f->total ? q->max_rows : f->total;
    if (rows->len == 0 && f->done < wanted)
        return error_set(e, STATUS_FAILED, "%s: row %llu of %llu: the server sends none", q->dataset,
                         (unsigned long long)f->done, (unsigned long long)f->total);
    StrBuf lines = {0};
    int status = STATUS_OK;
    uint64_t n = 0;
    for (; !status && n < rows->len && f->done + n < wanted; n++)
        status = put_row(f, &rows->items[n], f->done + n, &lines, e);
    if (!status && lines.failed)
        status = error_set(e, STATUS_FAILED, "%s: out of memory for rows", q->dataset);
    if (!status && ((lines.len && fwrite(lines.data, 1, lines.len, f->out) != lines.len) || fflush(f->out)))
        status = error_set(e, STATUS_FAILED, "%s: cannot write: %s", f->partial, strerror(errno));
    if (!status)
        f->done += n;
    strbuf_free(&lines);
    return status;
}

static int fetch_some(RowFetch *f, Error *e)
{
    const HubRowsRequest *q = f->request;
    StrBuf url = {0};
    put_url(f, f->done, ROWS_A_REQUEST, &url);
    if (url.failed)
        return error_set(e, STATUS_FAILED, "%s: out of memory", q->dataset);
    const char *server = getenv("HF_DATASETS_SERVER");
    HttpRequest get = {.url = url.data,
                       /* the token belongs to the hub: another server sees it only when it is the hub's own */
                       .authorization = server && *server ? NULL : f->session->authorization,
                       .max_bytes = MAX_ANSWER_BYTES,
                       .stop = q->transfer.stop};
    HttpResponse r;
    Arena arena = {0};
    const JsonValue *root = NULL;
    int status = http_send(f->client, &get, &r, e);
    if (status == STATUS_FAILED && (r.status == 404 || r.status == 422))
        status = error_set(e, STATUS_USAGE, "%s: the hub's dataset server has no config \"%s\" with split \"%s\"", q->dataset,
                           q->config, q->split);
    if (!status)
        status = json_parse(r.body.data ? r.body.data : "", r.body.len, q->dataset, &arena, &root, e);
    if (!status)
        status = put_rows(f, root, e);
    arena_free(&arena);
    http_response_free(&r);
    strbuf_free(&url);
    return status;
}

/* Whole lines that are there; a line that was cut off is cut away. */
static int count_rows(RowFetch *f, Error *e)
{
    long end = 0;
    for (int c; (c = getc(f->out)) != EOF;)
        if (c == '\n') {
            f->done++;
            end = ftell(f->out);
        }
    if (ferror(f->out) || fseek(f->out, end, SEEK_SET) || ftruncate(fileno(f->out), end))
        return error_set(e, STATUS_FAILED, "%s: cannot go on: %s", f->partial, strerror(errno));
    return STATUS_OK;
}

int hub_pull_rows(const HubSession *s, const HubRowsRequest *q, uint64_t *n_rows, uint64_t *n_total, Error *e)
{
    RowFetch f = {.session = s, .request = q};
    StrBuf partial = {0};
    strbuf_printf(&partial, "%s.strata-partial", q->path);
    char *parent = strndup(q->path, (size_t)(file_basename(q->path) - q->path));
    f.partial = partial.data;
    int status = partial.failed || !parent ? error_set(e, STATUS_FAILED, "%s: out of memory", q->path) : STATUS_OK;
    if (!status && *parent)
        status = file_make_dirs(parent, e);
    if (!status && !(f.out = fopen(f.partial, "a+b")))
        status = error_set(e, STATUS_FAILED, "%s: cannot write: %s", f.partial, strerror(errno));
    if (!status && !(status = http_open(&f.client, e)))
        status = count_rows(&f, e);
    if (!status)
        status = fetch_some(&f, e); /* also tells how many there are */
    if (!status) {
        uint64_t wanted = q->max_rows && q->max_rows < f.total ? q->max_rows : f.total;
        Progress p;
        progress_begin(&p, "pull", "rows", (double)wanted, (double)f.done, q->transfer.quiet);
        while (!status && f.done < wanted) {
            status = fetch_some(&f, e);
            progress_update(&p, (double)f.done);
        }
        progress_end(&p);
    }
    if (f.out && fclose(f.out) && !status)
        status = error_set(e, STATUS_FAILED, "%s: cannot write: %s", f.partial, strerror(errno));
    if (!status && rename(f.partial, q->path))
        status = error_set(e, STATUS_FAILED, "%s: cannot write: %s", q->path, strerror(errno));
    *n_rows = f.done;
    *n_total = f.total;
    http_close(f.client);
    free(parent);
    strbuf_free(&partial);
    return status;
}
