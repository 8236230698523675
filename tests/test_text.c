/* test_text.c: UTF-8 and growing strings. References: UTF-8 from table 3-7 of the Unicode standard by a brute-force count, words of a
 * command line from the shell itself. */
#include <stdint.h>
#include <stdio.h>

#include "engine/base/arena.h"
#include "engine/base/json.h"
#include "engine/base/rng.h"
#include "engine/base/strbuf.h"
#include "engine/base/utf8.h"
#include "tests/test.h"

/* ---------------------------------------------------------------- utf8 */

static void test_utf8_every_code_point(void)
{
    for (uint32_t c = 0; c < 0x111000; c++) {
        char bytes[4];
        uint32_t back = UINT32_MAX;
        size_t n = utf8_encode(c, bytes), want = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        if ((c >= 0xD800 && c < 0xE000) || c > 0x10FFFF)
            want = 0;
        if (n != want || (n > 0 && (utf8_decode(bytes, n, &back) != n || back != c))) {
            CHECK_MSG(false, "U+%04X", c);
            return;
        }
        for (size_t cut = 1; cut < n; cut++)
            CHECK(utf8_decode(bytes, cut, &back) == 0);
    }
    CHECK(utf8_encode(UINT32_MAX, (char[4]){0}) == 0);
}

static void test_utf8_every_sequence(void)
{
    /* All sequences of three bytes, and of four after F0..FF: the valid ones are as many as there are code points. */
    size_t n_valid[5] = {0};
    uint32_t c;
    for (uint32_t x = 0; x < 1u << 24; x++) {
        char s[3] = {(char)(x >> 16), (char)(x >> 8), (char)x};
        n_valid[utf8_decode(s, 3, &c)]++;
    }
    CHECK(n_valid[1] == 128u << 16 && n_valid[2] == 1920u << 8 && n_valid[3] == 61440 && n_valid[4] == 0);
    size_t four = 0;
    for (uint32_t x = 0xF0800000u; x < 0xF5800000u; x++) {
        char s[4] = {(char)(x >> 24), (char)(x >> 16), (char)(x >> 8), (char)x};
        if ((x & 0xC0C0) == 0x8080)
            four += utf8_decode(s, 4, &c) == 4;
    }
    CHECK(four == 0x100000);
}

static void test_utf8_valid(void)
{
    size_t bad = 99;
    CHECK(utf8_valid("", 0, &bad) && utf8_valid("a\0b", 3, &bad));
    char text[64];
    for (size_t at = 0; at < 40; at++) { /* a bad byte at every offset, behind ASCII and behind longer characters */
        memset(text, 'a', sizeof text);
        text[at] = (char)0x80;
        CHECK(!utf8_valid(text, 40, &bad) && bad == at);
        CHECK(utf8_valid(text, at, &bad));
        for (size_t i = 0; i + 1 < at; i += 2)
            memcpy(text + i, "\xc3\xa9", 2);
        CHECK(!utf8_valid(text, 40, &bad) && bad == at);
    }
    CHECK(!utf8_valid("abc\xe2\x82", 5, &bad) && bad == 3);
}

/* ---------------------------------------------------------------- strbuf */

static void test_strbuf(void)
{
    StrBuf b = {0};
    strbuf_free(&b);
    for (int i = 0; i < 1000; i++)
        strbuf_printf(&b, "%d,", i);
    CHECK(b.len == 3890 && strlen(b.data) == b.len && strncmp(b.data + b.len - 8, "998,999,", 8) == 0);
    strbuf_reset(&b);
    CHECK(b.len == 0 && b.data[0] == '\0');
    strbuf_append(&b, "a\0b", 3);
    strbuf_putc(&b, 'c');
    strbuf_puts(&b, "de");
    strbuf_append(&b, NULL, 0);
    CHECK(b.len == 6 && memcmp(b.data, "a\0bcde", 7) == 0);
    strbuf_append(&b, "x", SIZE_MAX);
    CHECK(b.failed && b.len == 6);
    strbuf_puts(&b, "more");
    strbuf_printf(&b, "%d", 1);
    CHECK(b.len == 6);
    strbuf_free(&b);
    CHECK(!b.data && !b.failed);
    strbuf_free(NULL);
}

static void test_strbuf_shell_word(void)
{
    static const char *const words[][2] = {{"results/a-b_1.json", "results/a-b_1.json"},
                                           {"", "''"},
                                           {"two words", "'two words'"},
                                           {"it's", "'it'\\''s'"},
                                           {"$HOME `x` \\ \"q\" *~#\n!", NULL},
                                           {"caf\xc3\xa9", NULL}};
    StrBuf b = {0};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char back[64];
        strbuf_reset(&b);
        strbuf_puts(&b, "printf %s ");
        strbuf_shell_word(&b, words[i][0]);
        CHECK(!words[i][1] || strcmp(b.data + strlen("printf %s "), words[i][1]) == 0);
        FILE *shell = popen(b.data, "r"); /* what a shell makes of it */
        size_t n = shell ? fread(back, 1, sizeof back - 1, shell) : 0;
        back[n] = '\0';
        CHECK(shell && pclose(shell) == 0);
        CHECK_STR(back, words[i][0]);
    }
    strbuf_free(&b);
}

static void test_strbuf_json_string(void)
{
    StrBuf b = {0};
    static const char text[] = "a\"b\\c/\b\f\n\r\t\x01\0\x7f\xc3\xa9\xe2\x80\xa8\xff\xc3(\xed\xa0\x80\xf0\x9f\x98\x80";
    strbuf_json_string(&b, text, sizeof text - 1);
    CHECK_STR(b.data, "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u0000\\u007f\xc3\xa9\xe2\x80\xa8\xef\xbf\xbd\xef\xbf\xbd("
                      "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xf0\x9f\x98\x80\"");
    strbuf_reset(&b);
    strbuf_json_string(&b, NULL, 0);
    CHECK_STR(b.data, "\"\"");
    strbuf_free(&b);
}

/* Texts as Python's repr writes these doubles, but integers without point or exponent where all their digits are exact. */
static void test_strbuf_json_number(void)
{
    static const struct {
        double x;
        const char *text;
    } want[] = {
        {0, "0"},
        {-0.0, "-0.0"},
        {1, "1"},
        {-17, "-17"},
        {1e15, "1000000000000000"},
        {9007199254740991.0, "9007199254740991"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {2.0 / 3, "0.6666666666666666"},
        {1e-5, "1e-05"},
        {1e100, "1e+100"},
        {5e-324, "4.94065645841247e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {25.494, "25.494"},
        {NAN, "null"},
        {INFINITY, "null"},
        {-INFINITY, "null"},
    };
    StrBuf b = {0};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        strbuf_reset(&b);
        strbuf_json_number(&b, want[i].x);
        CHECK_STR(b.data, want[i].text);
    }
    Rng r;
    rng_seed(&r, 11, 5);
    Arena a = {0};
    for (int i = 0; i < 100000; i++) { /* every double comes back bit by bit, and no shorter text would do */
        union {
            uint64_t bits;
            double x;
        } u = {.bits = rng_next(&r)};
        if (i % 2)
            u.x = rng_normal(&r);
        if (!isfinite(u.x))
            continue;
        strbuf_reset(&b);
        strbuf_json_number(&b, u.x);
        const JsonValue *v = NULL;
        int status = json_parse(b.data, b.len, "number", &a, &v, NULL);
        CHECK_MSG(status == 0 && v->number == u.x, "%a", u.x);
        if (i % 64 == 0)
            arena_free(&a);
    }
    arena_free(&a);
    strbuf_free(&b);
}

int main(void)
{
    RUN(test_utf8_every_code_point);
    RUN(test_utf8_every_sequence);
    RUN(test_utf8_valid);
    RUN(test_strbuf);
    RUN(test_strbuf_shell_word);
    RUN(test_strbuf_json_string);
    RUN(test_strbuf_json_number);
    return test_finish();
}
