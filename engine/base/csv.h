/* csv.h: reading tables as people keep them (RFC 4180): fields between commas, semicolons or tabs (whichever the first line has most of),
 * quoted where they hold one or a line's end, "" a quote inside quotes; a byte order mark, CRLF and empty lines are passed over. The text
 * stays the caller's. */
#ifndef STRATA_BASE_CSV_H
#define STRATA_BASE_CSV_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/strbuf.h"

enum { CSV_MAX_FIELDS = 256 };

typedef struct CsvReader {
    const char *name, *at, *end;
    char delimiter;
    size_t next_line;
    /* the row read last */
    size_t line, n_fields;
    StrBuf text;
    size_t begin[CSV_MAX_FIELDS];
} CsvReader;

void csv_open(CsvReader *r, const char *name, const char *text, size_t len);
void csv_close(CsvReader *r);
/* *got false: the end. An unclosed quote and more than CSV_MAX_FIELDS fields are errors that name the line. */
int csv_next(CsvReader *r, bool *got, Error *e);
/* Field i of the row, NUL-terminated (a NUL inside cuts it); "" beyond the row's end. */
const char *csv_field(const CsvReader *r, size_t i);

#endif
