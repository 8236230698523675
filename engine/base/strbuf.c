/* strbuf.c: the growing string and how it writes JSON. Numbers: the shortest of %.15g, %.16g, %.17g that reads back as the
 * same double (17 digits always do); the decimal point is a point whatever the locale says. */
#include "engine/base/strbuf.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/utf8.h"

/* Room for `extra` more bytes and the NUL. */
static bool grow(StrBuf *b, size_t extra)
{
    size_t need;
    if (b->failed)
        return false;
    if (!checked_add(b->len, extra, &need) || !checked_add(need, 1, &need))
        goto fail;
    if (need <= b->cap)
        return true;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    if (cap < need && !checked_mul(cap, 2, &cap))
        cap = need;
    if (cap < need)
        cap = need;
    char *data = realloc(b->data, cap);
    if (!data)
        goto fail;
    b->data = data;
    b->cap = cap;
    return true;
fail:
    b->failed = true;
    return false;
}

void strbuf_append(StrBuf *b, const char *s, size_t len)
{
    if (!grow(b, len))
        return;
    if (len)
        memcpy(b->data + b->len, s, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void strbuf_puts(StrBuf *b, const char *s)
{
    strbuf_append(b, s, strlen(s));
}

void strbuf_putc(StrBuf *b, char c)
{
    strbuf_append(b, &c, 1);
}

void strbuf_vprintf(StrBuf *b, const char *format, va_list args)
{
    if (!grow(b, 0))
        return;
    size_t room = b->cap - b->len;
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(b->data + b->len, room, format, args);
    if (n >= 0 && (size_t)n >= room) {
        b->data[b->len] = '\0'; /* should growing fail, the text before stays whole */
        if (grow(b, (size_t)n))
            n = vsnprintf(b->data + b->len, b->cap - b->len, format, again);
    }
    va_end(again);
    if (n < 0)
        b->failed = true;
    if (!b->failed)
        b->len += (size_t)n;
}

void strbuf_printf(StrBuf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    strbuf_vprintf(b, format, args);
    va_end(args);
}

static void json_escape(StrBuf *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char two[2] = {'\\', 0};
    switch (c) {
    case '"':
        two[1] = '"';
        break;
    case '\\':
        two[1] = '\\';
        break;
    case '\b':
        two[1] = 'b';
        break;
    case '\f':
        two[1] = 'f';
        break;
    case '\n':
        two[1] = 'n';
        break;
    case '\r':
        two[1] = 'r';
        break;
    case '\t':
        two[1] = 't';
        break;
    default: {
        const char six[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        strbuf_append(b, six, sizeof six);
        return;
    }
    }
    strbuf_append(b, two, sizeof two);
}

void strbuf_json_string(StrBuf *b, const char *s, size_t len)
{
    strbuf_putc(b, '"');
    size_t begin = 0, i = 0; /* [begin, i) is text that stays as it is */
    while (i < len) {
        unsigned char c = (unsigned char)s[i];
        uint32_t code_point;
        size_t n = c < 0x80 ? 1 : utf8_decode(s + i, len - i, &code_point);
        if (n > 0 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7F) {
            i += n;
            continue;
        }
        strbuf_append(b, s + begin, i - begin);
        if (n > 0)
            json_escape(b, c);
        else
            strbuf_append(b, "\xEF\xBF\xBD", 3);
        begin = ++i;
    }
    if (len > begin)
        strbuf_append(b, s + begin, len - begin);
    strbuf_putc(b, '"');
}

void strbuf_json_number(StrBuf *b, double x)
{
    if (!isfinite(x)) {
        strbuf_puts(b, "null");
        return;
    }
    char text[40];
    if (x == 0 && signbit(x)) {
        strbuf_puts(b, "-0.0"); /* "-0" would read back as the integer 0 */
        return;
    }
    if (fabs(x) < 9007199254740992.0 && x == trunc(x)) { /* 2^53: every integer below is written with all its digits */
        strbuf_printf(b, "%.0f", x);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    /* Some locales write another decimal point, maybe of several bytes: any run of other characters is that point. */
    char plain[40];
    size_t n = 0;
    for (const char *t = text; *t; t++) {
        if (strchr("+-0123456789e", *t))
            plain[n++] = *t;
        else if (n > 0 && plain[n - 1] != '.')
            plain[n++] = '.';
    }
    strbuf_append(b, plain, n);
}

void strbuf_shell_word(StrBuf *b, const char *s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,+@%";
    if (*s && s[strspn(s, plain)] == '\0') {
        strbuf_puts(b, s);
        return;
    }
    strbuf_putc(b, '\'');
    for (; *s; s++) {
        if (*s == '\'')
            strbuf_puts(b, "'\\''"); /* out of the quotes, a quote, back in */
        else
            strbuf_putc(b, *s);
    }
    strbuf_putc(b, '\'');
}

void strbuf_reset(StrBuf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = '\0';
}

void strbuf_free(StrBuf *b)
{
    if (!b)
        return;
    free(b->data);
    *b = (StrBuf){0};
}

void strbuf_json_field(StrBuf *b, const char *name)
{
    strbuf_printf(b, ", \"%s\": ", name);
}

void strbuf_json_field_text(StrBuf *b, const char *name, const char *value)
{
    strbuf_json_field(b, name);
    if (value)
        strbuf_json_string(b, value, strlen(value));
    else
        strbuf_puts(b, "null");
}

void strbuf_json_field_number(StrBuf *b, const char *name, double value)
{
    strbuf_json_field(b, name);
    strbuf_json_number(b, value);
}

void strbuf_json_field_interval(StrBuf *b, const char *name, double lo, double hi)
{
    strbuf_json_field(b, name);
    if (!isfinite(lo) || !isfinite(hi)) {
        strbuf_puts(b, "null");
        return;
    }
    strbuf_puts(b, "[");
    strbuf_json_number(b, lo);
    strbuf_puts(b, ", ");
    strbuf_json_number(b, hi);
    strbuf_puts(b, "]");
}

void strbuf_csv_number(StrBuf *b, double x)
{
    strbuf_putc(b, ',');
    if (isfinite(x))
        strbuf_json_number(b, x);
}

void strbuf_csv_text(StrBuf *b, const char *s)
{
    strbuf_putc(b, '"');
    for (; *s; s++)
        strbuf_append(b, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1);
    strbuf_putc(b, '"');
}
