/* table.h: one table, three forms: aligned text for terminals, CSV (quoting as RFC 4180, lines end with "\n"), LaTeX booktabs.
 *
 * Text columns are aligned by display width (East Asian wide characters take two cells, combining marks none). A number is
 * rounded for the eye in text and LaTeX and written with all its digits in CSV (the shortest that reads back the same); NaN is
 * a dash there and an empty field in CSV. Left to others: what is in it, where it goes. */
#ifndef STRATA_EXPERIMENTS_TABLE_H
#define STRATA_EXPERIMENTS_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/strbuf.h"

typedef struct TableCell {
    const char *text;
    double value;
    bool is_number;
} TableCell;

typedef struct Table {
    size_t n_cols, n_cells, cap;
    TableCell *cells; /* row after row; the first n_cols are the headers */
    bool failed;      /* memory ran out: the writers say so */
    Arena arena;
} Table;

/* Headers: one string a column, the CSV's too. */
void table_begin(Table *t, const char *const *headers, size_t n_cols);
void table_text(Table *t, const char *text);             /* the next cell; NULL: empty */
void table_number(Table *t, double value, int decimals); /* decimals below 0: six significant digits */
void table_integer(Table *t, long long value);
void table_free(Table *t); /* accepts zeroed */

/* Each appends; an incomplete last row is filled with empty cells. */
int table_write_text(const Table *t, StrBuf *out, Error *e);
int table_write_csv(const Table *t, StrBuf *out, Error *e);
/* As the file that the format names. */
int table_save_csv(const Table *t, Error *e, const char *path_format, ...) STRATA_PRINTF(3, 4);
/* A table environment; caption and label may be NULL. Columns that hold a number are right-aligned. */
int table_write_latex(const Table *t, const char *caption, const char *label, StrBuf *out, Error *e);

/* Cells of a terminal that UTF-8 text takes. */
size_t table_width(const char *text);

#endif
