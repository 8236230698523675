/* csv.c: see csv.h. */
#include "engine/base/csv.h"

#include <string.h>

void csv_open(CsvReader *r, const char *name, const char *text, size_t len)
{
    static const char candidates[] = {',', ';', '\t'};
    size_t most = 0;
    *r = (CsvReader){.name = name, .at = text, .end = text + len, .delimiter = ',', .next_line = 1};
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        r->at += 3;
    for (size_t c = 0; c < sizeof candidates; c++) {
        size_t n = 0;
        for (const char *s = r->at; s < r->end && *s != '\n'; s++)
            n += *s == candidates[c];
        if (n > most) {
            most = n;
            r->delimiter = candidates[c];
        }
    }
}

void csv_close(CsvReader *r)
{
    strbuf_free(&r->text);
}

/* A quoted field's content; r->at stands behind the opening quote. */
static int take_quoted(CsvReader *r, Error *e)
{
    size_t line = r->next_line;
    for (; r->at < r->end; r->at++) {
        if (*r->at == '"') {
            if (r->at + 1 == r->end || r->at[1] != '"') {
                r->at++;
                return STATUS_OK;
            }
            r->at++;
        }
        r->next_line += *r->at == '\n';
        strbuf_putc(&r->text, *r->at);
    }
    return error_set(e, STATUS_FAILED, "%s: line %zu: a quote that is not closed", r->name, line);
}

static int take_field(CsvReader *r, Error *e)
{
    if (r->n_fields == CSV_MAX_FIELDS)
        return error_set(e, STATUS_FAILED, "%s: line %zu: more than %d fields", r->name, r->line, CSV_MAX_FIELDS);
    r->begin[r->n_fields++] = r->text.len;
    if (r->at < r->end && *r->at == '"') {
        r->at++;
        int status = take_quoted(r, e);
        if (status)
            return status;
    }
    while (r->at < r->end && *r->at != r->delimiter && *r->at != '\n') {
        if (!(*r->at == '\r' && (r->at + 1 == r->end || r->at[1] == '\n')))
            strbuf_putc(&r->text, *r->at);
        r->at++;
    }
    strbuf_putc(&r->text, 0);
    return r->text.failed ? error_set(e, STATUS_FAILED, "%s: line %zu: out of memory", r->name, r->line) : STATUS_OK;
}

int csv_next(CsvReader *r, bool *got, Error *e)
{
    while (r->at < r->end && (*r->at == '\n' || *r->at == '\r')) {
        r->next_line += *r->at == '\n';
        r->at++;
    }
    *got = r->at < r->end;
    r->line = r->next_line;
    r->n_fields = 0;
    strbuf_reset(&r->text);
    if (!*got)
        return STATUS_OK;
    for (;;) {
        int status = take_field(r, e);
        if (status)
            return status;
        if (r->at == r->end)
            return STATUS_OK;
        char stop = *r->at++;
        if (stop == '\n') {
            r->next_line++;
            return STATUS_OK;
        }
    }
}

const char *csv_field(const CsvReader *r, size_t i)
{
    return i < r->n_fields ? r->text.data + r->begin[i] : "";
}
