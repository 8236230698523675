/* run_record_file.c: run.json, written with strbuf (numbers read back to the same bits) and read with json.h. The layout is
 * described in run_record.h. What an earlier session wrote about itself is carried over as it stands. */
#include "experiments/run_record_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/file.h"
#include "engine/base/progress.h"
#include "strata_version.h"

#define SCHEMA "strata.run/1"
#define MAX_BYTES ((size_t)64 << 20)

void run_record_file_time(char out[32])
{
    time_t now = time(NULL);
    struct tm tm;
    if (!gmtime_r(&now, &tm) || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        out[0] = '\0';
}

int run_record_file_read(RunRecord *r, Error *e)
{
    char *path = file_join(r->dir, "run.json");
    if (!path)
        return error_set(e, STATUS_FAILED, "%s/run.json: not enough memory", r->dir);
    int status = STATUS_OK;
    if (!r->force && file_exists(path)) {
        status = file_read(path, MAX_BYTES, &r->earlier_text, e);
        if (!status) {
            Error parse = {{0}};
            const JsonValue *root = NULL;
            if (json_parse(r->earlier_text.data, r->earlier_text.len, path, &r->arena, &root, &parse) != STATUS_OK)
                status = error_set(e, STATUS_USAGE, "%s; --force starts over", parse.text);
            else if (!json_is_string(json_get(root, "schema"), SCHEMA))
                status =
                    error_set(e, STATUS_USAGE, "%s: expected schema " SCHEMA ", found another file; --force starts over", path);
            else
                r->earlier = root;
        }
    }
    free(path);
    return status;
}

/* ---- writing ---- */

static void put_string(StrBuf *b, const char *s)
{
    if (s)
        strbuf_json_string(b, s, strlen(s));
    else
        strbuf_puts(b, "null");
}

static void put_key(StrBuf *b, const char *indent, const char *key)
{
    strbuf_puts(b, indent);
    put_string(b, key);
    strbuf_puts(b, ": ");
}

static void put_pairs(StrBuf *b, const RecordList *list)
{
    strbuf_puts(b, "{");
    for (size_t i = 0; i < list->n; i++) {
        strbuf_puts(b, i ? ",\n" : "\n");
        put_key(b, "    ", list->items[i].key);
        put_string(b, list->items[i].value);
    }
    strbuf_puts(b, list->n ? "\n  }" : "}");
}

static void put_argv(StrBuf *b, const RunRecord *r)
{
    strbuf_puts(b, "[");
    for (int i = 0; i < r->argc; i++) {
        if (i)
            strbuf_puts(b, ", ");
        put_string(b, r->argv[i]);
    }
    strbuf_puts(b, "]");
}

/* A value of an earlier run.json on one line. Its depth was bounded by json_parse. */
static void put_value(StrBuf *b, const JsonValue *v)
{
    switch (v->kind) {
    case JSON_NULL:
        strbuf_puts(b, "null");
        break;
    case JSON_BOOL:
        strbuf_puts(b, v->boolean ? "true" : "false");
        break;
    case JSON_NUMBER:
        if (v->is_integer)
            strbuf_printf(b, "%lld", (long long)v->integer);
        else
            strbuf_json_number(b, v->number);
        break;
    case JSON_STRING:
        strbuf_json_string(b, v->string, v->len);
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        strbuf_putc(b, v->kind == JSON_ARRAY ? '[' : '{');
        for (size_t i = 0; i < v->len; i++) {
            if (i)
                strbuf_puts(b, ", ");
            if (v->kind == JSON_OBJECT) {
                put_value(b, &v->keys[i]);
                strbuf_puts(b, ": ");
            }
            put_value(b, &v->items[i]);
        }
        strbuf_putc(b, v->kind == JSON_ARRAY ? ']' : '}');
        break;
    }
}

static const JsonValue *earlier_sessions(const RunRecord *r)
{
    const JsonValue *sessions = r->earlier ? json_get(json_get(r->earlier, "timing"), "sessions") : NULL;
    return sessions && sessions->kind == JSON_ARRAY ? sessions : NULL;
}

static void put_timing(StrBuf *b, const RunRecord *r, bool ended)
{
    const JsonValue *sessions = earlier_sessions(r);
    double seconds = progress_now_s() - r->start_s, total = seconds;
    for (size_t i = 0; sessions && i < sessions->len; i++) {
        const JsonValue *s = json_get(&sessions->items[i], "seconds");
        if (s && s->kind == JSON_NUMBER)
            total += s->number;
    }
    strbuf_puts(b, "{\n    \"seconds\": ");
    strbuf_json_number(b, total);
    for (size_t i = 0; i < r->times.n; i++) {
        strbuf_puts(b, ",\n");
        put_key(b, "    ", r->times.items[i].key);
        strbuf_puts(b, r->times.items[i].value);
    }
    strbuf_puts(b, ",\n    \"sessions\": [");
    for (size_t i = 0; sessions && i < sessions->len; i++) {
        strbuf_puts(b, i ? ",\n      " : "\n      ");
        put_value(b, &sessions->items[i]);
    }
    char now[32];
    run_record_file_time(now);
    strbuf_puts(b, sessions && sessions->len ? ",\n      {" : "\n      {");
    put_key(b, "", "started");
    put_string(b, r->started);
    put_key(b, ", ", "ended");
    put_string(b, ended ? now : NULL);
    put_key(b, ", ", "seconds");
    if (ended)
        strbuf_json_number(b, seconds);
    else
        strbuf_puts(b, "null");
    put_key(b, ", ", "argv");
    put_argv(b, r);
    strbuf_puts(b, "}\n    ]\n  }");
}

static void put_files(StrBuf *b, const RunRecord *r)
{
    strbuf_puts(b, "[");
    for (size_t i = 0; i < r->n_files; i++) {
        const RecordFile *f = &r->files[i];
        strbuf_puts(b, i ? ",\n    {" : "\n    {");
        put_key(b, "", "path");
        put_string(b, f->path);
        strbuf_printf(b, ", \"bytes\": %lld, \"mtime_ns\": %lld, ", (long long)f->bytes, (long long)f->mtime_ns);
        put_key(b, "", "sha256");
        put_string(b, f->sha256);
        strbuf_puts(b, "}");
    }
    strbuf_puts(b, r->n_files ? "\n  ]" : "]");
}

int run_record_file_write(const RunRecord *r, const char *state, bool ended, Error *e)
{
    StrBuf b = {0};
    char now[32];
    run_record_file_time(now);
    bool complete = strcmp(state, "complete") == 0;
    const JsonValue *first = r->earlier ? json_get(r->earlier, "started") : NULL;

    strbuf_puts(&b, "{\n");
    const char *const head[][2] = {{"schema", SCHEMA},
                                   {"state", state},
                                   {"version", STRATA_VERSION},
                                   {"commit", STRATA_COMMIT},
                                   {"compiler", STRATA_COMPILER},
                                   {"started", first && first->kind == JSON_STRING ? first->string : r->started},
                                   {"finished", complete ? now : NULL}};
    for (size_t i = 0; i < sizeof head / sizeof head[0]; i++) {
        put_key(&b, "  ", head[i][0]);
        put_string(&b, head[i][1]);
        strbuf_puts(&b, ",\n");
    }
    for (size_t i = 0; i < r->machine.n; i++) {
        put_key(&b, "  ", r->machine.items[i].key);
        if (strcmp(r->machine.items[i].key, "threads") == 0)
            strbuf_puts(&b, r->machine.items[i].value);
        else
            put_string(&b, r->machine.items[i].value);
        strbuf_puts(&b, ",\n");
    }
    put_key(&b, "  ", "argv");
    put_argv(&b, r);
    strbuf_puts(&b, ",\n");
    put_key(&b, "  ", "fingerprint_sha256");
    put_string(&b, r->fingerprint);
    strbuf_puts(&b, ",\n");
    put_key(&b, "  ", "fingerprint");
    put_pairs(&b, &r->pairs);
    strbuf_puts(&b, ",\n");
    put_key(&b, "  ", "options");
    put_pairs(&b, &r->notes);
    strbuf_puts(&b, ",\n");
    put_key(&b, "  ", "files");
    put_files(&b, r);
    strbuf_puts(&b, ",\n");
    put_key(&b, "  ", "timing");
    put_timing(&b, r, ended);
    strbuf_puts(&b, "\n}\n");

    int status = file_write_text(&b, e, "%s/run.json", r->dir);
    strbuf_free(&b);
    return status;
}
