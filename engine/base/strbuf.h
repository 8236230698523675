/* strbuf.h: a growing byte string, NUL-terminated, its length counted. A failed allocation sets `failed` and later
 * appends do nothing, so that one test at the end is enough. */
#ifndef STRATA_BASE_STRBUF_H
#define STRATA_BASE_STRBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdarg.h>

#include "engine/base/error.h"

typedef struct StrBuf {
    char *data; /* NULL while empty and never grown */
    size_t len, cap;
    bool failed;
} StrBuf;

void strbuf_append(StrBuf *b, const char *s, size_t len);
void strbuf_puts(StrBuf *b, const char *s);
void strbuf_putc(StrBuf *b, char c);
void strbuf_printf(StrBuf *b, const char *format, ...) STRATA_PRINTF(2, 3);
void strbuf_vprintf(StrBuf *b, const char *format, va_list args) STRATA_PRINTF(2, 0);
/* s as a JSON string with its quotes: UTF-8 stays, control characters and " \ are escaped, NUL becomes \u0000,
 * invalid UTF-8 becomes U+FFFD. */
void strbuf_json_string(StrBuf *b, const char *s, size_t len);
/* Shortest decimal that reads back as the same double; null for NaN and infinities. */
void strbuf_json_number(StrBuf *b, double x);
/* A field behind another one of its object: `, "name": ` and a value. */
void strbuf_json_field(StrBuf *b, const char *name);
void strbuf_json_field_text(StrBuf *b, const char *name, const char *value); /* NULL: null */
void strbuf_json_field_number(StrBuf *b, const char *name, double value);
void strbuf_json_field_interval(StrBuf *b, const char *name, double lo, double hi); /* [lo, hi]; null unless both are finite */
/* CSV: a comma and the number, nothing where it is not finite; a text in quotes. */
void strbuf_csv_number(StrBuf *b, double x);
void strbuf_csv_text(StrBuf *b, const char *s);
/* s as one word of a POSIX shell's command line: as it is, or in single quotes where a character could mean something there. */
void strbuf_shell_word(StrBuf *b, const char *s);
void strbuf_reset(StrBuf *b); /* length 0, memory kept */
void strbuf_free(StrBuf *b);

#endif
