/* test_pair_sources.c: what others wrote, read by itself: tables (csv.h), the words between two sentences, and a model's replies (pair_reply.c), whole,
 * wrapped, cut off at every byte, and hostile. */
#include "engine/base/csv.h"
#include "engine/base/progress.h"
#include "experiments/pair_api.h"
#include "experiments/pair_verify.h"
#include "tests/test.h"

#include <stdlib.h>

/* The table's rows with | between fields and / behind each row. */
static void check_table(const char *text, size_t len, const char *expected)
{
    CsvReader r;
    StrBuf got = {0};
    Error e = {""};
    bool more = true;
    int status = 0;
    csv_open(&r, "t.csv", text, len);
    while (!status && !(status = csv_next(&r, &more, &e)) && more) {
        for (size_t i = 0; i < r.n_fields; i++)
            strbuf_printf(&got, "%s%s", i ? "|" : "", csv_field(&r, i));
        strbuf_puts(&got, "/");
        CHECK(csv_field(&r, r.n_fields)[0] == 0);
    }
    CHECK_STR(status ? e.text : got.data ? got.data : "", expected);
    csv_close(&r);
    strbuf_free(&got);
}

static void test_tables(void)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"", ""},
        {"\n\r\n", ""},
        {"a,b\n1,2", "a|b/1|2/"},
        {"\xef\xbb\xbf"
         "a,b\r\n1,2\r\n",
         "a|b/1|2/"},
        {"a;b\n1,5;2\n", "a|b/1,5|2/"},
        {"a\tb\n\"1\t2\"\t3\n", "a|b/1\t2|3/"},
        {"a,b\n\"x \"\"y\"\" z\",\"two\nlines\"\n\n3,\n", "a|b/x \"y\" z|two\nlines/3|/"},
        {"a,b\n\"\",\n", "a|b/|/"},
        {"a,b\n1,\"open\n2,3\n", "t.csv: line 2: a quote that is not closed"},
        {"a,b\n\"1\nx\",2\n\"open", "t.csv: line 4: a quote that is not closed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_table(cases[i].text, strlen(cases[i].text), cases[i].expected);
    char commas[300];
    memset(commas, ',', sizeof commas);
    check_table(commas, sizeof commas, "t.csv: line 1: more than 256 fields");
}

static void check_words(const char *a, const char *b, const char *expected)
{
    const char *const text[2] = {a, b};
    const size_t len[2] = {strlen(a), strlen(b)};
    size_t begin[2], end[2];
    char got[128] = "none";
    if (pair_words_between(text, len, begin, end))
        snprintf(got, sizeof got, "%.*s|%.*s", (int)(end[0] - begin[0]), a + begin[0], (int)(end[1] - begin[1]), b + begin[1]);
    CHECK_STR(got, expected);
}

static void test_words(void)
{
    check_words("She was tired.", "She is tired.", "was|is");
    check_words("It is a mat.", "It is a hat.", "mat|hat");
    check_words("She loves tea.", "He loves tea.", "She|He");
    check_words("I bought \"a\" dog.", "I bought \"the\" dog.", "a|the");
    check_words("He saw themselves.", "He saw themself.", "themselves|themself");
    check_words("so so good", "so good", "none");
    check_words("same", "same", "none");
    check_words("", "x", "none");
    check_words("walk", "walks", "walk|walks");
}

static int count_pairs(void *context, const JsonValue *item, Error *e)
{
    StrBuf *got = context;
    (void)e;
    const char *a = json_text(json_get(item, "a"));
    strbuf_printf(got, "%s;", a ? a : "?");
    return STATUS_OK;
}

static size_t items(const char *text, size_t len, StrBuf *got)
{
    Error e = {""};
    size_t n = 0;
    strbuf_reset(got);
    strbuf_puts(got, "");
    CHECK(pair_reply_items(text, len, count_pairs, got, &n, &e) == 0);
    return n;
}

static void test_replies(void)
{
    static const char whole[] =
        "{\"pairs\": [{\"a\": \"x {\\\"\", \"b\": \"y\"}, {\"a\": \"}z\", \"b\": \"w\", \"more\": {\"k\": [1]}}]}";
    StrBuf got = {0};
    CHECK(items(whole, strlen(whole), &got) == 2);
    CHECK_STR(got.data, "x {\";}z;");
    /* cut off anywhere: what is whole is there, and never more */
    const size_t first_end = (size_t)(strstr(whole, "}, {\"a\": \"}z") - whole) + 1, second_end = strlen(whole) - 2;
    for (size_t n = 0; n <= strlen(whole); n++) {
        char *cut = malloc(n ? n : 1); /* exactly so many bytes, for the sanitizers */
        if (n)
            memcpy(cut, whole, n);
        size_t expected = n >= second_end ? 2 : n >= first_end ? 1 : 0;
        CHECK_MSG(items(cut, n, &got) == expected, "%zu bytes: %s", n, got.data);
        free(cut);
    }
    const char *fenced = "Here {you} are:\n```json\n[{\"a\": \"1\", \"b\": \"2\"},\n {\"a\": \"3\", \"b\": \"4\"}]\n```";
    CHECK(items(fenced, strlen(fenced), &got) == 2);
    CHECK_STR(got.data, "1;3;");
    const char *none = "{\"a\": \"1\"} {\"b\": 2} {} [] \"a\" \"b\" }}}} {{{{";
    CHECK(items(none, strlen(none), &got) == 0);
    /* a million braces cost no more than a blink: 2000 objects of 256 KiB at most are looked at */
    char *braces = malloc(1 << 20);
    memset(braces, '{', 1 << 20);
    double begin = progress_now_s();
    CHECK(items(braces, 1 << 20, &got) == 0);
    CHECK_MSG(progress_now_s() - begin < 10, "%.1f s", progress_now_s() - begin);
    free(braces);
    strbuf_free(&got);
}

static void check_content(const char *answer, const char *expected)
{
    Arena tree = {0};
    const JsonValue *v = NULL;
    Error e = {""};
    CHECK(json_parse(answer, strlen(answer), "answer", &tree, &v, &e) == 0);
    const char *content = pair_reply_content(v, &e);
    CHECK_MSG(content ? strcmp(content, expected) == 0 : strstr(e.text, expected) != NULL, "got \"%s\", expected \"%s\"",
              content ? content : e.text, expected);
    arena_free(&tree);
}

static void test_contents(void)
{
    check_content("{\"choices\": [{\"message\": {\"content\": \"text\"}}]}", "text");
    check_content("{\"choices\": [{\"message\": {\"content\": null, \"refusal\": \"no\"}}]}", "content: no");
    check_content("{\"choices\": []}", "an answer without choices");
    check_content("{\"error\": {\"message\": \"too long\"}}", "content: too long");
    check_content("[1, 2]", "an answer without choices");
    check_content("null", "an answer without choices");
    check_content("{\"choices\": {\"message\": 1}}", "an answer without choices");
    check_content("{\"choices\": [1]}", "an answer without choices");
}

int main(void)
{
    RUN(test_tables);
    RUN(test_words);
    RUN(test_replies);
    RUN(test_contents);
    return test_finish();
}
