/* tokenize_file.c: ids, pieces and byte spans of a text, a file, or the rows of a .jsonl. Needs tokenizer files only, no weights. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "experiments/workbench.h"
#include "loaders/dataset.h"

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

/* Of a row only "text" is read. */
static int encode_rows(const StrataTokenizeOptions *o, const Tokenizer *t, TokenList *list, StrBuf *out, Error *e)
{
    DatasetOptions options = {.path = o->file, .text_only = true, .jsonl = true};
    Dataset data;
    int status = dataset_open_with(&options, &data, e);
    for (size_t i = 0; !status && i < data.n_rows; i++) {
        status = encode_one(o, t, data.rows[i].text, data.rows[i].len, list, out, e);
        if (status)
            error_prefix(e, status, "%s: line %zu", o->file, data.rows[i].line);
    }
    dataset_close(&data);
    return status;
}

static int encode_file(const StrataTokenizeOptions *o, const Tokenizer *t, TokenList *list, StrBuf *out, Error *e)
{
    if (o->jsonl)
        return encode_rows(o, t, list, out, e);
    StrBuf file = {0};
    int status = file_read(o->file, (size_t)1 << 34, &file, e);
    if (!status && (status = encode_one(o, t, file.data ? file.data : "", file.len, list, out, e)))
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
