/* test_gguf.c: GGUF files made here byte by byte: what must be refused, and values read back. */
#include <math.h>

#include "tests/parse_exactly.h"
#include "engine/base/strbuf.h"

static void put(StrBuf *b, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++)
        strbuf_putc(b, (char)(x >> 8 * i));
}

static void put_string(StrBuf *b, const char *s)
{
    put(b, strlen(s), 8);
    strbuf_puts(b, s);
}

static void put_head(StrBuf *b, unsigned version, uint64_t n_tensors, uint64_t n_values)
{
    strbuf_reset(b);
    strbuf_puts(b, "GGUF");
    put(b, version, 4);
    put(b, n_tensors, 8);
    put(b, n_values, 8);
}

static void put_tensor(StrBuf *b, const char *name, uint64_t x, uint64_t y, unsigned type, uint64_t offset)
{
    put_string(b, name);
    put(b, y ? 2 : 1, 4);
    put(b, x, 8);
    if (y)
        put(b, y, 8);
    put(b, type, 4);
    put(b, offset, 8);
}

static void pad(StrBuf *b, size_t data_bytes)
{
    while (b->len % 32)
        strbuf_putc(b, 0);
    for (size_t i = 0; i < data_bytes; i++)
        strbuf_putc(b, 1);
}

static void expect_gguf(StrBuf *b, const char *says)
{
    Error e = {{0}};
    int status = parse_exactly(GGUF, b->data, b->len, &e);
    CHECK_MSG((status == 0) == (says == NULL), "expected %s, got: %s", says ? says : "success", e.text);
    CHECK_MSG(!says || strstr(e.text, says), "expected %s, got: %s", says, e.text);
}

static void gguf_refusals(void)
{
    StrBuf b = {0};
    static const struct {
        uint64_t x, y;
        unsigned type;
        uint64_t offset;
        size_t data_bytes;
        const char *says;
    } tensors[] = {
        {8, 0, 0, 0, 32, NULL},
        {32, 2, 2, 0, 36, NULL},
        {8, 0, 0, 0, 31, "lie outside"},
        {8, 0, 0, 32, 63, "lie outside"},
        {8, 0, 0, 16, 64, "multiple of 32"},
        {8, 0, 0, UINT64_MAX - 31, 64, "lie outside"},
        {8, 0, 16, 0, 64, "IQ2_XXS is not supported"},
        {8, 0, 12, 0, 64, "no whole blocks of Q4_K"},
        {8, 0, 4, 0, 64, "type 4 is not known"},
        {8, 0, 999, 0, 64, "999"},
        {31, 2, 8, 0, 64, "whole blocks of Q8_0"},
        {16, 2, 2, 0, 64, "whole blocks of Q4_0"},
        {UINT64_MAX, 4, 0, 0, 64, "overflows"},
        {UINT64_MAX / 2, 0, 0, 0, 64, "whole blocks"},
        {UINT64_C(1) << 61, 0, 1, 0, 64, "lie outside"},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        for (unsigned version = 2; version <= 3; version++) {
            put_head(&b, version, 1, 0);
            put_tensor(&b, "t", tensors[i].x, tensors[i].y, tensors[i].type, tensors[i].offset);
            pad(&b, tensors[i].data_bytes);
            expect_gguf(&b, tensors[i].says);
        }
    }
    put_head(&b, 1, 0, 0);
    expect_gguf(&b, "version 2 or 3, found 1");
    put_head(&b, 0x03000000, 0, 0);
    expect_gguf(&b, "big-endian");
    put_head(&b, 4, 0, 0);
    expect_gguf(&b, "version 2 or 3");
    put_head(&b, 3, UINT64_MAX, 0);
    expect_gguf(&b, "do not fit");
    put_head(&b, 3, 0, UINT64_MAX);
    expect_gguf(&b, "do not fit");
    put_head(&b, 3, 2, 0);
    put_tensor(&b, "a", 16, 0, 0, 0);
    put_tensor(&b, "b", 8, 0, 0, 32);
    pad(&b, 64);
    expect_gguf(&b, "overlaps tensor a");
    put_head(&b, 3, 1, 0);
    put_tensor(&b, "\xff", 8, 0, 0, 0);
    pad(&b, 64);
    expect_gguf(&b, "UTF-8");
    put_head(&b, 3, 1, 0);
    put_string(&b, "t");
    put(&b, 9, 4);
    pad(&b, 256);
    expect_gguf(&b, "1 to 8 dimensions");

    /* values: {type, bytes after it}; a string key "k" before */
    static const struct {
        unsigned type;
        uint64_t first, second;
        int n_first, n_second;
        const char *says;
    } values[] = {
        {4, 7, 0, 4, 0, NULL},
        {7, 1, 0, 1, 0, NULL},
        {9, 4, 0, 4, 8, NULL},
        {13, 0, 0, 8, 8, "value type 13"},
        {9, 9, 1, 4, 8, "arrays of type 9"},
        {9, 77, 1, 4, 8, "arrays of type 77"},
        {9, 4, UINT64_MAX, 4, 8, "does not fit"},
        {9, 8, UINT64_MAX / 8, 4, 8, "does not fit"},
        {8, UINT64_MAX, 0, 8, 8, "truncated"},
        {8, 17, 0, 8, 8, "truncated"},
        {10, 1, 0, 4, 0, "truncated"},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        put_head(&b, 3, 0, 1);
        put_string(&b, "k");
        put(&b, values[i].type, 4);
        put(&b, values[i].first, values[i].n_first);
        put(&b, values[i].second, values[i].n_second);
        expect_gguf(&b, values[i].says);
    }
    static const struct {
        unsigned alignment;
        const char *says;
    } alignments[] = {{64, NULL}, {8, NULL}, {0, "power of two"}, {24, "power of two"}, {1u << 31, "power of two"}};
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        put_head(&b, 3, 0, 1);
        put_string(&b, "general.alignment");
        put(&b, 4, 4);
        put(&b, alignments[i].alignment, 4);
        expect_gguf(&b, alignments[i].says);
    }
    put_head(&b, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_string(&b, "twice");
        put(&b, 0, 4);
        put(&b, 1, 1);
    }
    expect_gguf(&b, "key twice: expected each key once");
    strbuf_free(&b);
}

static void gguf_values(void)
{
    StrBuf b = {0};
    put_head(&b, 3, 0, 8);
    put_string(&b, "i8"), put(&b, 1, 4), put(&b, 0xFF, 1);
    put_string(&b, "u64"), put(&b, 10, 4), put(&b, UINT64_MAX, 8);
    put_string(&b, "f32"), put(&b, 6, 4), put(&b, 0x3FC00000, 4);
    put_string(&b, "f64"), put(&b, 12, 4), put(&b, UINT64_C(0xC004000000000000), 8);
    put_string(&b, "yes"), put(&b, 7, 4), put(&b, 1, 1);
    put_string(&b, "s"), put(&b, 8, 4), put(&b, 3, 8), strbuf_append(&b, "a\0b", 3);
    put_string(&b, "list"), put(&b, 9, 4), put(&b, 5, 4), put(&b, 2, 8), put(&b, 5, 4), put(&b, 0xFFFFFFFE, 4);
    put_string(&b, "words"), put(&b, 9, 4), put(&b, 8, 4), put(&b, 2, 8), put_string(&b, "x"), put_string(&b, "");
    Error e = {{0}};
    Arena arena = {0};
    Gguf *g = NULL;
    Tensor *tensors;
    size_t n;
    CHECK_MSG(gguf_parse((unsigned char *)b.data, b.len, "file", &arena, &g, &tensors, &n, &e) == 0, "%s", e.text);
    if (g) {
        int64_t i = 0;
        double x = 0;
        bool yes = false;
        GgufString s = {0};
        CHECK(gguf_integer(g, "i8", &i) && i == -1 && !gguf_integer(g, "u64", &i) && !gguf_integer(g, "f32", &i));
        CHECK(gguf_number(g, "u64", &x) && x > 1.8e19 && gguf_number(g, "f32", &x) && fabs(x - 1.5) <= 0);
        CHECK(gguf_number(g, "f64", &x) && fabs(x + 2.5) <= 0 && !gguf_number(g, "s", &x) && !gguf_number(g, "nothing", &x));
        CHECK(gguf_bool(g, "yes", &yes) && yes && !gguf_bool(g, "i8", &yes));
        CHECK(gguf_string(g, "s", &s) && s.len == 3 && memcmp(s.s, "a\0b", 3) == 0);
        const GgufValue *list = gguf_get(g, "list"), *words = gguf_get(g, "words");
        CHECK(list && list->array_len == 2 && gguf_array_integer(list, 0) == 5 && gguf_array_integer(list, 1) == -2);
        CHECK(list && fabs(gguf_array_number(list, 1) + 2) <= 0 && gguf_array_integer(list, 2) == 0);
        CHECK(words && words->array_len == 2 && words->strings[0].len == 1 && words->strings[1].len == 0);
    }
    arena_free(&arena);
    strbuf_free(&b);
}

int main(void)
{
    RUN(gguf_refusals);
    RUN(gguf_values);
    return test_finish();
}
