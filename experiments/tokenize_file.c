/* tokenize_file.c: ids, pieces and byte spans of a text, a file, or the rows of a .jsonl. Needs tokenizer files only, no weights. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/json.h"
#include "experiments/workbench.h"

enum { FLUSH_BYTES = 1 << 20 };

static void put_json(const Tokenizer *t, const TokenList *list, StrBuf *out)
{
    strbuf_puts(out, "{\"ids\":[");
    for (size_t i = 0; i < list->n; i++)
        strbuf_printf(out, "%s%d", i ? "," : "", list->tokens[i].id);
    strbuf_puts(out, "],\"pieces\":[");
    for (size_t i = 0; i < list->n; i++) {
        const char *piece = tokenizer_piece(t, list->tokens[i].id);
        if (i)
            strbuf_putc(out, ',');
        strbuf_json_string(out, piece ? piece : "", piece ? strlen(piece) : 0);
    }
    strbuf_puts(out, "],\"spans\":[");
    for (size_t i = 0; i < list->n; i++)
        strbuf_printf(out, "%s[%zu,%zu]", i ? "," : "", list->tokens[i].byte_start, list->tokens[i].byte_end);
    strbuf_puts(out, "]}\n");
}

static void put_table(const Tokenizer *t, const TokenList *list, StrBuf *out)
{
    strbuf_puts(out, "     id  bytes            piece\n");
    for (size_t i = 0; i < list->n; i++) {
        const Token *x = &list->tokens[i];
        char span[48];
        snprintf(span, sizeof span, "%zu-%zu", x->byte_start, x->byte_end);
        const char *piece = tokenizer_piece(t, x->id);
        strbuf_printf(out, "%7d  %-15s  %s\n", x->id, span, piece ? piece : "");
    }
    strbuf_printf(out, "%zu tokens\n", list->n);
}

static int flush(StrBuf *text, FILE *out, size_t above, Error *e)
{
    if (text->failed)
        return error_set(e, STATUS_FAILED, "tokenize: out of memory");
    if (text->len <= above)
        return STATUS_OK;
    if (out && fwrite(text->data, 1, text->len, out) != text->len)
        return error_set(e, STATUS_FAILED, "tokenize: cannot write the output: %s", strerror(errno));
    strbuf_reset(text);
    return STATUS_OK;
}

static int encode_one(const StrataTokenizeOptions *o, const Tokenizer *t, const char *text, size_t len, TokenList *list,
                      StrBuf *out, Error *e)
{
    int status = tokenizer_encode(t, text, len, o->add_special, list, e);
    if (status)
        return status;
    if (o->common.json)
        put_json(t, list, out);
    else
        put_table(t, list, out);
    return flush(out, o->common.out, FLUSH_BYTES, e);
}

/* One line of a .jsonl: an object with "text"; other fields are not looked at. */
static int encode_line(const StrataTokenizeOptions *o, const Tokenizer *t, const char *line, size_t len, size_t number,
                       TokenList *list, StrBuf *out, Error *e)
{
    Arena arena = {0};
    const JsonValue *row;
    char what[64];
    snprintf(what, sizeof what, "line %zu", number);
    int status = json_parse(line, len, what, &arena, &row, e);
    const JsonValue *text = status ? NULL : json_get(row, "text");
    if (!status && (!text || text->kind != JSON_STRING))
        status = error_set(e, STATUS_FAILED, "line %zu: expected an object with a string \"text\"", number);
    if (!status)
        status = encode_one(o, t, text->string, text->len, list, out, e);
    arena_free(&arena);
    return status;
}

static int encode_file(const StrataTokenizeOptions *o, const Tokenizer *t, TokenList *list, StrBuf *out, Error *e)
{
    StrBuf file = {0};
    int status = file_read(o->file, (size_t)1 << 34, &file, e);
    const char *data = file.data ? file.data : "";
    if (!status && !o->jsonl)
        status = encode_one(o, t, data, file.len, list, out, e);
    size_t number = 0;
    for (size_t at = 0; !status && o->jsonl && at < file.len;) {
        const char *end = memchr(data + at, '\n', file.len - at);
        size_t len = end ? (size_t)(end - data) - at : file.len - at;
        size_t blank = 0;
        while (blank < len && strchr(" \t\r", data[at + blank]) && data[at + blank])
            blank++;
        number++;
        if (blank < len)
            status = encode_line(o, t, data + at, len, number, list, out, e);
        at += len + 1;
    }
    if (status)
        error_prefix(e, status, "%s", o->file);
    strbuf_free(&file);
    return status;
}

int strata_tokenize_file(const StrataTokenizeOptions *o, StrataError *e)
{
    if ((o->text != NULL) == (o->file != NULL))
        return error_set(e, STATUS_USAGE, "expected either --text or --file");
    if (!o->common.model_name)
        return error_set(e, STATUS_USAGE, "--model_name is missing: expected a hub id, a directory, or a .gguf file");
    ModelPath path = {0};
    Tokenizer *tokenizer = NULL;
    TokenList list = {0};
    StrBuf out = {0};
    int status = model_lookup(o->common.model_name, o->common.revision, &path, e);
    if (!status)
        status = workbench_open_tokenizer(&path, &tokenizer, e);
    if (!status)
        status = o->text ? encode_one(o, tokenizer, o->text, strlen(o->text), &list, &out, e)
                         : encode_file(o, tokenizer, &list, &out, e);
    if (!status)
        status = flush(&out, o->common.out, 0, e);
    strbuf_free(&out);
    token_list_free(&list);
    tokenizer_close(tokenizer);
    model_path_free(&path);
    return status;
}
