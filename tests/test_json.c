/* test_json.c: the JSON decoder, against the grammar of RFC 8259 and values as Python's json reads them. */
#include <locale.h>
#include <stdint.h>

#include "engine/base/json.h"
#include "engine/base/rng.h"
#include "engine/base/strbuf.h"
#include "engine/base/utf8.h"
#include "tests/test.h"

static int parse_exactly(const char *text, size_t len, Arena *a, const JsonValue **v, Error *e)
{
    char *copy = malloc(len ? len : 1); /* of exactly that size: the sanitizer sees a read beyond */
    memcpy(copy, text, len);
    int status = json_parse(copy, len, "doc", a, v, e);
    free(copy); /* nothing of the tree may point into the text */
    return status;
}

static void test_json_values(void)
{
    Arena a = {0};
    Error e = {{0}};
    const JsonValue *v;
    static const char text[] =
        " {\"a\": [1, -2.5e3, true, false, null, \"x\\u0000y\\n\\/\\\"\\\\\"],\n\t\"b\":{},\"c\":[],\"\":\"\", \"a\\u0062\":"
        "\"\\ud83d\\ude00 \\ud800 \\udc00\\ud800\\ud83d\\ude00\\ud800x \xc3\xa9\",\"b\":7}\r\n";
    CHECK_MSG(parse_exactly(text, sizeof text - 1, &a, &v, &e) == 0, "%s", e.text);
    if (!v)
        return;
    CHECK(v->kind == JSON_OBJECT && v->len == 6);
    const JsonValue *list = json_get(v, "a");
    CHECK(list && list->kind == JSON_ARRAY && list->len == 6);
    const JsonValue *x = list->items;
    CHECK(x[0].kind == JSON_NUMBER && x[0].is_integer && x[0].integer == 1 && x[0].number == 1);
    CHECK(x[1].kind == JSON_NUMBER && !x[1].is_integer && x[1].number == -2500);
    CHECK(x[2].kind == JSON_BOOL && x[2].boolean && x[3].kind == JSON_BOOL && !x[3].boolean && x[4].kind == JSON_NULL);
    CHECK(x[5].len == 7 && memcmp(x[5].string, "x\0y\n/\"\\", 8) == 0);
    x = json_get(v, "b"); /* the last of the two */
    CHECK(x && x->kind == JSON_NUMBER && x->integer == 7);
    CHECK(json_is_string(&v->keys[1], "b") && v->items[1].kind == JSON_OBJECT && v->items[1].len == 0);
    x = json_get(v, "c");
    CHECK(x && x->kind == JSON_ARRAY && x->len == 0);
    CHECK(json_is_string(json_get(v, ""), ""));
    CHECK(json_is_string(json_get(v, "ab"),
                         "\xf0\x9f\x98\x80 \xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xf0\x9f\x98\x80\xef\xbf\xbdx \xc3\xa9"));
    CHECK(!json_get(v, "nothing") && !json_get(list, "a") && !json_get(NULL, "a") && !json_is_string(NULL, ""));
    arena_free(&a);
}

static void test_json_numbers(void)
{
    static const struct {
        const char *text;
        double number;
        bool is_integer;
        int64_t integer;
    } want[] = {
        {"0", 0, true, 0},
        {"-0", -0.0, true, 0},
        {"9223372036854775807", 9223372036854775807.0, true, INT64_MAX},
        {"-9223372036854775808", -9223372036854775808.0, true, INT64_MIN},
        {"9223372036854775808", 9223372036854775808.0, false, 0},
        {"-9223372036854775809", -9223372036854775808.0, false, 0},
        {"18446744073709551616", 18446744073709551616.0, false, 0},
        {"123456789012345678901234567890", 123456789012345678901234567890.0, false, 0},
        {"1.0", 1, false, 0},
        {"1e2", 100, false, 0},
        {"1E+2", 100, false, 0},
        {"25e-1", 2.5, false, 0},
        {"0.1", 0.1, false, 0},
        {"-0.0", -0.0, false, 0},
        {"2.2250738585072011e-308", 2.2250738585072011e-308, false, 0},
        {"1e400", INFINITY, false, 0}, /* as Python's json */
        {"1e-400", 0, false, 0},
        {"0.500000000000000000000000000000000000000000000000000000000000000000000000000000000001", 0.5, false, 0},
    };
    Arena a = {0};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        const JsonValue *v = NULL;
        Error e = {{0}};
        CHECK_MSG(parse_exactly(want[i].text, strlen(want[i].text), &a, &v, &e) == 0, "%s", e.text);
        CHECK_MSG(v && v->kind == JSON_NUMBER && v->number == want[i].number && signbit(v->number) == signbit(want[i].number) &&
                      v->is_integer == want[i].is_integer && v->integer == want[i].integer,
                  "%s", want[i].text);
    }
    arena_free(&a);
}

static void test_json_rejects(void)
{
    static const struct {
        const char *text;
        const char *error;
    } bad[] = {
        {"", "doc: expected JSON, found an empty text"},
        {"  ", "doc: byte 2: expected a value (null, true, false, a number, a string, an array or an object), found the end of "
               "the text"},
        {"nul", "doc: byte 0: expected a value (null, true, false, a number, a string, an array or an object), found 'n'"},
        {"True", NULL},
        {"NaN", NULL},
        {"-Infinity", "doc: byte 1: expected a digit, found 'I'"},
        {"'a'", NULL},
        {"\xef\xbb\xbf[]", NULL},
        {"[1,]", NULL},
        {"[,1]", NULL},
        {"[1 2]", "doc: byte 3: expected ',' or ']', found '2'"},
        {"[1", "doc: byte 2: expected ',' or ']', found the end of the text"},
        {"]", NULL},
        {"{\"a\":1,}", "doc: byte 7: expected a string, found '}'"},
        {"{\"a\" 1}", "doc: byte 5: expected ':' after a key, found '1'"},
        {"{\"a\":}", NULL},
        {"{a:1}", NULL},
        {"{1:1}", NULL},
        {"{\"a\":1 \"b\":2}", NULL},
        {"[] []", "doc: byte 3: expected the end of the text after the value, found '['"},
        {"[]x", NULL},
        {"/*c*/1", NULL},
        {"[1]//", NULL},
        {"01", "doc: byte 1: expected no digit after a leading zero, found '1'"},
        {"-", "doc: byte 1: expected a digit, found the end of the text"},
        {"+1", NULL},
        {".5", NULL},
        {"1.", "doc: byte 2: expected a digit after the decimal point, found the end of the text"},
        {"1.e3", NULL},
        {"1e", NULL},
        {"1e+", NULL},
        {"0x10", NULL},
        {"1_0", NULL},
        {"- 1", NULL},
        {"\"a", "doc: byte 2: expected '\"' at the end of a string, found the end of the text"},
        {"\"a\nb\"", "doc: byte 2: expected no bare control character in a string, found byte 0x0a"},
        {"\"\\x41\"", NULL},
        {"\"\\u12\"", NULL},
        {"\"\\u12g4\"", NULL},
        {"\"\\", NULL},
        {"\"\\u", NULL},
        {"\"\\U0041\"", NULL},
        {"\"\xff\"", "doc: byte 1: expected valid UTF-8 in a string, found byte 0xff"},
        {"\"\xc0\x80\"", NULL},
        {"\"\xed\xa0\x80\"", NULL},
        {"\"\xf4\x90\x80\x80\"", NULL},
        {"\"\xe2\x82\"", NULL},
        {"\xc2\xa0[]", NULL},
        {"\f[]", NULL},
    };
    Arena a = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const JsonValue *v = NULL;
        Error e = {{0}};
        CHECK_MSG(parse_exactly(bad[i].text, strlen(bad[i].text), &a, &v, &e) == STATUS_FAILED && !v, "%s", bad[i].text);
        CHECK(strncmp(e.text, "doc: ", 5) == 0);
        if (bad[i].error)
            CHECK_STR(e.text, bad[i].error);
    }
    const JsonValue *v;
    CHECK(parse_exactly("[1]\0", 4, &a, &v, NULL) == STATUS_FAILED);
    CHECK(parse_exactly("\"\0\"", 3, &a, &v, NULL) == STATUS_FAILED);
    CHECK(parse_exactly("\"\\\0\"", 4, &a, &v, NULL) == STATUS_FAILED);
    arena_free(&a);
}

static void test_json_depth(void)
{
    Arena a = {0};
    for (int depth = 255; depth <= 257; depth++) {
        char text[4096];
        Error e = {{0}};
        const JsonValue *v;
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        CHECK((parse_exactly(text, 2 * (size_t)depth, &a, &v, &e) == 0) == (depth <= 256));
        StrBuf b = {0};
        for (int i = 0; i < depth; i++)
            strbuf_puts(&b, "{\"k\":");
        strbuf_puts(&b, "0");
        for (int i = 0; i < depth; i++)
            strbuf_puts(&b, "}");
        CHECK((parse_exactly(b.data, b.len, &a, &v, &e) == 0) == (depth <= 256));
        strbuf_free(&b);
        if (depth == 257)
            CHECK_STR(e.text, "doc: byte 1280: expected at most 256 nested arrays and objects, found more");
    }
    size_t n = 1 << 20;
    char *deep = malloc(n);
    memset(deep, '[', n);
    const JsonValue *v;
    CHECK(json_parse(deep, n, "deep", &a, &v, NULL) == STATUS_FAILED);
    free(deep);
    arena_free(&a);
}

/* Every prefix of a document fails cleanly, every change of one byte is read without harm. */
static void test_json_hostile(void)
{
    static const char text[] =
        "{\"a\":[1,-2.5e+10,true,false,null,{\"b\":\"\\u00e9\\ud83d\\ude00\\n\xf0\x9f\x98\x80\"}],\"cde\":{\"f\":[[],{}]},"
        "\"model\":{\"vocab\":{\"\xc4\xa0the\":1,\"x\":2},\"merges\":[\"a b\",[\"c\",\"d\"]]}}";
    size_t len = sizeof text - 1;
    for (size_t cut = 0; cut < len; cut++) {
        Arena a = {0};
        const JsonValue *v;
        Error e = {{0}};
        CHECK_MSG(parse_exactly(text, cut, &a, &v, &e) == STATUS_FAILED && !v && e.text[0], "prefix of %zu bytes", cut);
        arena_free(&a);
    }
    static const char bytes[] = "\0\"\\{}[]:,0e-.u\xff\xc3n ";
    for (size_t at = 0; at < len; at++) {
        for (size_t k = 0; k < sizeof bytes - 1; k++) {
            char changed[sizeof text];
            memcpy(changed, text, sizeof text);
            changed[at] = bytes[k];
            Arena a = {0};
            const JsonValue *v;
            Error e = {{0}};
            int status = parse_exactly(changed, len, &a, &v, &e);
            CHECK((status == 0) == (v != NULL) && (status == 0) == (e.text[0] == '\0'));
            arena_free(&a);
        }
    }
}

/* What strbuf writes, json reads: random bytes that are valid UTF-8 come back as they were. */
static void test_json_strings_return(void)
{
    Rng r;
    rng_seed(&r, 3, 9);
    for (int round = 0; round < 300; round++) {
        StrBuf s = {0}, b = {0};
        for (size_t n = (size_t)rng_below(&r, 60); n > 0; n--) {
            char c[4];
            size_t len = utf8_encode((uint32_t)rng_below(&r, n % 3 == 0 ? 0x110000 : 0x90), c);
            strbuf_append(&s, c, len);
        }
        strbuf_json_string(&b, s.data, s.len);
        Arena a = {0};
        const JsonValue *v = NULL;
        CHECK(parse_exactly(b.data, b.len, &a, &v, NULL) == 0);
        CHECK(v && v->kind == JSON_STRING && v->len == s.len && (s.len == 0 || memcmp(v->string, s.data, s.len) == 0));
        arena_free(&a);
        strbuf_free(&s);
        strbuf_free(&b);
    }
}

static void test_json_locale(void)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "ru_RU.UTF-8"};
    const char *set = NULL;
    for (size_t i = 0; i < 4 && !set; i++)
        set = setlocale(LC_NUMERIC, names[i]);
    Arena a = {0};
    StrBuf b = {0};
    const JsonValue *v = NULL;
    CHECK(json_parse("[2.5,1.25e-3]", 13, "doc", &a, &v, NULL) == 0 && v->items[0].number == 2.5 &&
          v->items[1].number == 1.25e-3);
    strbuf_json_number(&b, 0.30000000000000004);
    CHECK_STR(b.data, "0.30000000000000004");
    strbuf_free(&b);
    arena_free(&a);
    setlocale(LC_NUMERIC, "C");
    if (!set)
        SKIP("no locale with a decimal comma here");
}

int main(void)
{
    RUN(test_json_values);
    RUN(test_json_numbers);
    RUN(test_json_rejects);
    RUN(test_json_depth);
    RUN(test_json_hostile);
    RUN(test_json_strings_return);
    RUN(test_json_locale);
    return test_finish();
}
