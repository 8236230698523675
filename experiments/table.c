/* table.c: see table.h. */
#include "experiments/table.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/file.h"
#include "engine/base/utf8.h"
#include "experiments/latex.h"

#define DASH "\xe2\x80\x93" /* EN DASH: no value */

static void add(Table *t, TableCell cell)
{
    if (t->n_cells == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64, bytes = 0;
        TableCell *cells = checked_mul(cap, sizeof *cells, &bytes) ? realloc(t->cells, bytes) : NULL;
        if (!cells) {
            t->failed = true;
            return;
        }
        t->cells = cells;
        t->cap = cap;
    }
    t->cells[t->n_cells++] = cell;
}

void table_text(Table *t, const char *text)
{
    const char *copy = text ? arena_strndup(&t->arena, text, strlen(text)) : "";
    if (!copy)
        t->failed = true;
    add(t, (TableCell){.text = copy ? copy : ""});
}

static void add_number(Table *t, double value, const char *shown)
{
    const char *copy = arena_strndup(&t->arena, shown, strlen(shown));
    if (!copy)
        t->failed = true;
    add(t, (TableCell){.text = copy ? copy : "", .value = value, .is_number = true});
}

void table_number(Table *t, double value, int decimals)
{
    char shown[400]; /* 309 digits before the point and some after */
    if (isnan(value))
        snprintf(shown, sizeof shown, "%s", DASH);
    else if (decimals < 0)
        snprintf(shown, sizeof shown, "%.6g", value);
    else
        snprintf(shown, sizeof shown, "%.*f", decimals > 17 ? 17 : decimals, value);
    add_number(t, value, shown);
}

void table_integer(Table *t, long long value)
{
    char shown[32];
    snprintf(shown, sizeof shown, "%lld", value);
    add_number(t, (double)value, shown);
}

void table_begin(Table *t, const char *const *headers, size_t n_cols)
{
    *t = (Table){.n_cols = n_cols};
    for (size_t i = 0; i < n_cols; i++)
        table_text(t, headers[i]);
}

void table_free(Table *t)
{
    free(t->cells);
    arena_free(&t->arena);
    *t = (Table){0};
}

/* Pairs of first and last code points. Wide: Unicode's East Asian Width W and F, whole blocks; none: marks and joiners. */
static const uint32_t wide[][2] = {{0x1100, 0x115f},   {0x2e80, 0x303e},
                                   {0x3041, 0xa4cf},   {0xa960, 0xa97f},
                                   {0xac00, 0xd7a3},   {0xf900, 0xfaff},
                                   {0xfe30, 0xfe6f},   {0xff00, 0xff60},
                                   {0xffe0, 0xffe6},   {0x1f300, 0x1f64f},
                                   {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff},
                                   {0x20000, 0x3fffd}, {0, 0}};
static const uint32_t none[][2] = {{0x300, 0x36f},   {0x1ab0, 0x1aff}, {0x200b, 0x200f},
                                   {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0, 0}};

static bool is_in(uint32_t c, const uint32_t (*ranges)[2])
{
    for (; (*ranges)[1]; ranges++)
        if (c >= (*ranges)[0] && c <= (*ranges)[1])
            return true;
    return false;
}

size_t table_width(const char *text)
{
    size_t width = 0, len = strlen(text);
    for (size_t i = 0; i < len;) {
        uint32_t c = 0;
        size_t n = utf8_decode(text + i, len - i, &c);
        width += n == 0 ? 1 : is_in(c, none) ? 0 : is_in(c, wide) ? 2 : 1;
        i += n ? n : 1;
    }
    return width;
}

static size_t row_count(const Table *t)
{
    return t->n_cols ? (t->n_cells + t->n_cols - 1) / t->n_cols : 0;
}

static const TableCell *cell_at(const Table *t, size_t row, size_t col)
{
    static const TableCell empty = {.text = ""};
    size_t i = row * t->n_cols + col;
    return i < t->n_cells ? &t->cells[i] : &empty;
}

static bool column_is_number(const Table *t, size_t col)
{
    for (size_t row = 1; row < row_count(t); row++)
        if (cell_at(t, row, col)->is_number)
            return true;
    return false;
}

static int finish(const Table *t, const StrBuf *out, Error *e)
{
    return t->failed || out->failed ? error_set(e, STATUS_FAILED, "no memory for a table of %zu cells", t->n_cells) : STATUS_OK;
}

static void put_spaces(StrBuf *out, size_t n)
{
    while (n-- > 0)
        strbuf_putc(out, ' ');
}

/* A cell is one line on a terminal: control characters become spaces. */
static void put_plain(StrBuf *out, const char *s)
{
    for (; *s; s++)
        strbuf_putc(out, (unsigned char)*s < 0x20 || *s == 0x7f ? ' ' : *s);
}

int table_write_text(const Table *t, StrBuf *out, Error *e)
{
    for (size_t row = 0; row < row_count(t); row++) {
        size_t owed = 0; /* spaces that only count when something follows: no line ends with white space */
        for (size_t col = 0; col < t->n_cols; col++) {
            size_t width = 0;
            for (size_t r = 0; r < row_count(t); r++) {
                size_t w = table_width(cell_at(t, r, col)->text);
                width = w > width ? w : width;
            }
            const char *text = cell_at(t, row, col)->text;
            size_t fill = width - table_width(text);
            bool right = column_is_number(t, col);
            owed += (col ? 2 : 0) + (right ? fill : 0);
            if (*text) {
                put_spaces(out, owed);
                put_plain(out, text);
                owed = 0;
            } else {
                owed += width - fill;
            }
            owed += right ? 0 : fill;
        }
        strbuf_putc(out, '\n');
    }
    return finish(t, out, e);
}

int table_write_csv(const Table *t, StrBuf *out, Error *e)
{
    for (size_t row = 0; row < row_count(t); row++) {
        for (size_t col = 0; col < t->n_cols; col++) {
            const TableCell *c = cell_at(t, row, col);
            if (col)
                strbuf_putc(out, ',');
            if (c->is_number) {
                if (isfinite(c->value))
                    strbuf_json_number(out, c->value);
                else if (!isnan(c->value))
                    strbuf_puts(out, c->value > 0 ? "inf" : "-inf");
            } else if (strpbrk(c->text, ",\"\r\n")) {
                strbuf_putc(out, '"');
                for (const char *s = c->text; *s; s++) {
                    if (*s == '"')
                        strbuf_putc(out, '"');
                    strbuf_putc(out, *s);
                }
                strbuf_putc(out, '"');
            } else {
                strbuf_puts(out, c->text);
            }
        }
        strbuf_putc(out, '\n');
    }
    return finish(t, out, e);
}

int table_save_csv(const Table *t, Error *e, const char *path_format, ...)
{
    StrBuf csv = {0}, path = {0};
    va_list args;
    va_start(args, path_format);
    strbuf_vprintf(&path, path_format, args);
    va_end(args);
    int status = table_write_csv(t, &csv, e);
    if (!status)
        status = path.failed ? error_set(e, STATUS_FAILED, "out of memory for the name of a table")
                             : file_write_text(&csv, e, "%s", path.data);
    strbuf_free(&csv);
    strbuf_free(&path);
    return status;
}

static void put_latex_cell(StrBuf *out, const TableCell *c)
{
    if (c->is_number && isnan(c->value))
        strbuf_puts(out, "--");
    else if (c->is_number && c->text[0] == '-')
        strbuf_printf(out, "$-$%s", c->text + 1);
    else {
        if (*c->text == '[' || *c->text == '*') /* after a line's end they would be read as its options */
            strbuf_puts(out, "{}");
        latex_text(out, c->text);
    }
}

int table_write_latex(const Table *t, const char *caption, const char *label, StrBuf *out, Error *e)
{
    strbuf_puts(out, "\\begin{table}[htbp]\n\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}\n");
    if (caption) {
        strbuf_puts(out, "\\caption{");
        latex_text(out, caption);
        strbuf_puts(out, "}\n");
    }
    if (label)
        strbuf_printf(out, "\\label{%s}\n", label);
    strbuf_puts(out, "\\begin{tabular}{");
    for (size_t col = 0; col < t->n_cols; col++)
        strbuf_putc(out, column_is_number(t, col) ? 'r' : 'l');
    strbuf_puts(out, "}\n\\toprule\n");
    for (size_t row = 0; row < row_count(t); row++) {
        for (size_t col = 0; col < t->n_cols; col++) {
            if (col)
                strbuf_puts(out, " & ");
            put_latex_cell(out, cell_at(t, row, col));
        }
        strbuf_puts(out, row == 0 ? " \\\\\n\\midrule\n" : " \\\\\n");
    }
    strbuf_puts(out, "\\bottomrule\n\\end{tabular}\n\\end{table}\n");
    return finish(t, out, e);
}
