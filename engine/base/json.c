/* json.c: the JSON decoder (RFC 8259; see json.h for its choices).
 *
 * One pass, recursive to a depth of 256. Values of the open containers lie on a stack (scratch memory) and are copied into the
 * arena when their container closes, so that members are contiguous. Decoded strings share one block: a decoded string
 * with its NUL is never longer than its source with its two quotes, so a block of the text's size holds them all. */
#include "engine/base/json.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/utf8.h"

enum { MAX_DEPTH = 256 };

typedef struct Parser {
    const char *text, *p, *end;
    const char *what;
    Arena *arena;
    Error *e;
    char *strings; /* next free byte of the block of decoded strings */
    JsonValue *stack;
    size_t n_stack, stack_cap;
} Parser;

static int expected(const Parser *j, const char *at, const char *what_was_expected)
{
    size_t offset = (size_t)(at - j->text);
    if (at >= j->end)
        return error_set(j->e, STATUS_FAILED, "%s: byte %zu: expected %s, found the end of the text", j->what, offset,
                         what_was_expected);
    unsigned char c = (unsigned char)*at;
    if (c > 0x20 && c < 0x7F)
        return error_set(j->e, STATUS_FAILED, "%s: byte %zu: expected %s, found '%c'", j->what, offset, what_was_expected, c);
    return error_set(j->e, STATUS_FAILED, "%s: byte %zu: expected %s, found byte 0x%02x", j->what, offset, what_was_expected,
                     c);
}

static int no_memory(const Parser *j)
{
    return error_set(j->e, STATUS_FAILED, "%s: out of memory while reading JSON at byte %zu", j->what,
                     (size_t)(j->p - j->text));
}

static void skip_space(Parser *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\r' || *j->p == '\t'))
        j->p++;
}

static int push(Parser *j, const JsonValue *v)
{
    if (j->n_stack == j->stack_cap) {
        size_t cap = j->stack_cap ? 2 * j->stack_cap : 64, bytes;
        if (!checked_mul(cap, sizeof *j->stack, &bytes))
            return no_memory(j);
        JsonValue *stack = realloc(j->stack, bytes);
        if (!stack)
            return no_memory(j);
        j->stack = stack;
        j->stack_cap = cap;
    }
    j->stack[j->n_stack++] = *v;
    return STATUS_OK;
}

/* The four hexadecimal digits at p; false when they are not there. */
static bool hex4(const Parser *j, const char *p, uint32_t *out)
{
    if (j->end - p < 4)
        return false;
    uint32_t x = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit > 15)
            return false;
        x = x << 4 | digit;
    }
    *out = x;
    return true;
}

/* One escape; *p stands behind the backslash and is moved behind the escape. */
static int parse_escape(Parser *j, const char **p, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *at = *p;
    const char *known = at < j->end && *at ? strchr(from, *at) : NULL;
    if (known) {
        *(*out)++ = to[known - from];
        *p = at + 1;
        return STATUS_OK;
    }
    if (at >= j->end || *at != 'u')
        return expected(j, at, "an escape (one of \" \\ / b f n r t u)");
    uint32_t c, low;
    if (!hex4(j, at + 1, &c))
        return expected(j, at + 1 < j->end ? at + 1 : j->end, "four hexadecimal digits");
    at += 5;
    if (c >= 0xD800 && c <= 0xDBFF && j->end - at >= 6 && at[0] == '\\' && at[1] == 'u' && hex4(j, at + 2, &low) &&
        low >= 0xDC00 && low <= 0xDFFF) {
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        at += 6;
    } else if (c >= 0xD800 && c <= 0xDFFF) {
        c = 0xFFFD;
    }
    *out += utf8_encode(c, *out);
    *p = at;
    return STATUS_OK;
}

/* Bytes that a string copies as they are: ASCII from the space on, without the quote and the backslash. */
static inline bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

static int parse_string(Parser *j, JsonValue *v)
{
    if (j->p >= j->end || *j->p != '"')
        return expected(j, j->p, "a string");
    const char *p = j->p + 1, *end = j->end;
    char *out = j->strings;
    for (;;) {
        const char *run = p;
        while (p < end && is_plain((unsigned char)*p))
            p++;
        memcpy(out, run, (size_t)(p - run));
        out += p - run;
        if (p >= end)
            return expected(j, p, "'\"' at the end of a string");
        if (*p == '"')
            break;
        if (*p == '\\') {
            p++;
            if (parse_escape(j, &p, &out))
                return STATUS_FAILED;
            continue;
        }
        uint32_t c;
        size_t n = utf8_decode(p, (size_t)(end - p), &c);
        if (n < 2) /* control characters decode as one byte */
            return expected(j, p, n == 1 ? "no bare control character in a string" : "valid UTF-8 in a string");
        memcpy(out, p, n);
        out += n;
        p += n;
    }
    v->kind = JSON_STRING;
    v->string = j->strings;
    v->len = (size_t)(out - j->strings);
    *out++ = '\0';
    j->strings = out;
    j->p = p + 1;
    return STATUS_OK;
}

/* strtod wants a NUL and the locale's decimal point. A checked number has at most one point. */
static int read_double(Parser *j, const char *begin, size_t len, double *x)
{
    const char *point = localeconv()->decimal_point;
    size_t point_len = strlen(point), n = 0;
    char small[64];
    char *copy = len + point_len < sizeof small ? small : malloc(len + point_len + 1);
    if (!copy)
        return no_memory(j);
    for (size_t i = 0; i < len; i++) {
        if (begin[i] == '.') {
            memcpy(copy + n, point, point_len);
            n += point_len;
        } else {
            copy[n++] = begin[i];
        }
    }
    copy[n] = '\0';
    *x = strtod(copy, NULL);
    if (copy != small)
        free(copy);
    return STATUS_OK;
}

static inline bool is_digit(const Parser *j, const char *p)
{
    return p < j->end && *p >= '0' && *p <= '9';
}

static int parse_number(Parser *j, JsonValue *v)
{
    const char *begin = j->p, *p = begin;
    bool negative = *p == '-', fits = true, integer = true;
    if (negative)
        p++;
    if (!is_digit(j, p))
        return expected(j, p, "a digit");
    uint64_t magnitude = 0;
    if (*p == '0') {
        p++;
        if (is_digit(j, p))
            return expected(j, p, "no digit after a leading zero");
    } else {
        for (; is_digit(j, p); p++)
            fits = fits && !__builtin_mul_overflow(magnitude, (uint64_t)10, &magnitude) &&
                   !__builtin_add_overflow(magnitude, (uint64_t)(*p - '0'), &magnitude);
    }
    if (p < j->end && *p == '.') {
        integer = false;
        if (!is_digit(j, ++p))
            return expected(j, p, "a digit after the decimal point");
        while (is_digit(j, p))
            p++;
    }
    if (p < j->end && (*p == 'e' || *p == 'E')) {
        integer = false;
        p++;
        if (p < j->end && (*p == '+' || *p == '-'))
            p++;
        if (!is_digit(j, p))
            return expected(j, p, "a digit of the exponent");
        while (is_digit(j, p))
            p++;
    }
    v->kind = JSON_NUMBER;
    j->p = p;
    fits = fits && magnitude <= (uint64_t)INT64_MAX + negative;
    if (integer && fits) {
        v->is_integer = true;
        v->integer = (int64_t)(negative ? 0 - magnitude : magnitude);
        v->number = negative && magnitude == 0 ? -0.0 : (double)v->integer;
        return STATUS_OK;
    }
    return read_double(j, begin, (size_t)(p - begin), &v->number);
}

static int parse_word(Parser *j, const char *word, JsonKind kind, bool value, JsonValue *v)
{
    size_t len = strlen(word);
    if ((size_t)(j->end - j->p) < len || memcmp(j->p, word, len) != 0)
        return expected(j, j->p, "a value (null, true, false, a number, a string, an array or an object)");
    v->kind = kind;
    v->boolean = value;
    j->p += len;
    return STATUS_OK;
}

static int parse_value(Parser *j, int depth, JsonValue *v);

static int parse_array(Parser *j, int depth, JsonValue *v)
{
    size_t base = j->n_stack;
    j->p++;
    skip_space(j);
    if (j->p < j->end && *j->p == ']') {
        j->p++;
        v->kind = JSON_ARRAY;
        return STATUS_OK;
    }
    for (;;) {
        JsonValue item = {0};
        if (parse_value(j, depth + 1, &item) || push(j, &item))
            return STATUS_FAILED;
        skip_space(j);
        if (j->p < j->end && *j->p == ',') {
            j->p++;
            continue;
        }
        if (j->p < j->end && *j->p == ']')
            break;
        return expected(j, j->p, "',' or ']'");
    }
    j->p++;
    size_t n = j->n_stack - base;
    JsonValue *items = arena_array(j->arena, n, sizeof *items);
    if (!items)
        return no_memory(j);
    memcpy(items, j->stack + base, n * sizeof *items);
    j->n_stack = base;
    v->kind = JSON_ARRAY;
    v->len = n;
    v->items = items;
    return STATUS_OK;
}

static int parse_object(Parser *j, int depth, JsonValue *v)
{
    size_t base = j->n_stack; /* keys and values lie in turn on the stack */
    j->p++;
    skip_space(j);
    if (j->p < j->end && *j->p == '}') {
        j->p++;
        v->kind = JSON_OBJECT;
        return STATUS_OK;
    }
    for (;;) {
        JsonValue key = {0}, item = {0};
        skip_space(j);
        if (parse_string(j, &key) || push(j, &key))
            return STATUS_FAILED;
        skip_space(j);
        if (j->p >= j->end || *j->p != ':')
            return expected(j, j->p, "':' after a key");
        j->p++;
        if (parse_value(j, depth + 1, &item) || push(j, &item))
            return STATUS_FAILED;
        skip_space(j);
        if (j->p < j->end && *j->p == ',') {
            j->p++;
            continue;
        }
        if (j->p < j->end && *j->p == '}')
            break;
        return expected(j, j->p, "',' or '}'");
    }
    j->p++;
    size_t n = (j->n_stack - base) / 2;
    JsonValue *items = arena_array(j->arena, n, sizeof *items);
    JsonValue *keys = arena_array(j->arena, n, sizeof *keys);
    if (!items || !keys)
        return no_memory(j);
    for (size_t i = 0; i < n; i++) {
        keys[i] = j->stack[base + 2 * i];
        items[i] = j->stack[base + 2 * i + 1];
    }
    j->n_stack = base;
    v->kind = JSON_OBJECT;
    v->len = n;
    v->items = items;
    v->keys = keys;
    return STATUS_OK;
}

static int parse_value(Parser *j, int depth, JsonValue *v)
{
    skip_space(j);
    char c = j->p < j->end ? *j->p : '\0';
    if ((c == '[' || c == '{') && depth >= MAX_DEPTH)
        return error_set(j->e, STATUS_FAILED, "%s: byte %zu: expected at most %d nested arrays and objects, found more",
                         j->what, (size_t)(j->p - j->text), MAX_DEPTH);
    switch (c) {
    case '"':
        return parse_string(j, v);
    case '[':
        return parse_array(j, depth, v);
    case '{':
        return parse_object(j, depth, v);
    case 't':
        return parse_word(j, "true", JSON_BOOL, true, v);
    case 'f':
        return parse_word(j, "false", JSON_BOOL, false, v);
    case 'n':
        return parse_word(j, "null", JSON_NULL, false, v);
    default:
        if (c == '-' || (c >= '0' && c <= '9'))
            return parse_number(j, v);
        return parse_word(j, "null", JSON_NULL, false, v); /* fails, and says what could stand here */
    }
}

int json_parse(const char *text, size_t len, const char *what, Arena *arena, const JsonValue **out, Error *e)
{
    *out = NULL;
    if (len == 0)
        return error_set(e, STATUS_FAILED, "%s: expected JSON, found an empty text", what);
    Parser j = {.text = text, .p = text, .end = text + len, .what = what, .arena = arena, .e = e};
    JsonValue *root = arena_array(arena, 1, sizeof *root);
    j.strings = arena_alloc(arena, len);
    int status = root && j.strings ? STATUS_OK : no_memory(&j);
    if (!status)
        status = parse_value(&j, 0, root);
    if (!status) {
        skip_space(&j);
        if (j.p < j.end)
            status = expected(&j, j.p, "the end of the text after the value");
    }
    free(j.stack);
    if (!status)
        *out = root;
    return status;
}

const JsonValue *json_get(const JsonValue *object, const char *key)
{
    if (!object || object->kind != JSON_OBJECT)
        return NULL;
    size_t key_len = strlen(key);
    for (size_t i = object->len; i-- > 0;) {
        const JsonValue *k = &object->keys[i];
        if (k->len == key_len && memcmp(k->string, key, key_len) == 0)
            return &object->items[i];
    }
    return NULL;
}

bool json_is_string(const JsonValue *v, const char *s)
{
    return v && v->kind == JSON_STRING && v->len == strlen(s) && memcmp(v->string, s, v->len) == 0;
}

const char *json_text(const JsonValue *v)
{
    return v && v->kind == JSON_STRING && strlen(v->string) == v->len ? v->string : NULL;
}
