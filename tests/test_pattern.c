/* test_pattern.c: the regular expressions of tokenizers: matches as Oniguruma has them, refusals, and texts of a megabyte. */
#include "tests/test.h"

#include "loaders/pattern.h"

static void expressions_match_as_oniguruma(void)
{
    static const struct {
        const char *pattern, *text;
        size_t start, end;
    } cases[] = {{"a+?b", "xaab", 1, 4},
                 {"(?:ab|a)(?!c)", "abc", 0, 1},
                 {"\\s+(?!\\S)", "  x", 0, 1},
                 {"[^\\W\\d]+", "12ab_", 2, 5},
                 {"(?i:ss)", "xSs", 1, 3},
                 {"a{2,3}", "aaaa", 0, 3},
                 {"a*+b", "aaab", 0, 4},
                 {"(?<=x)y", "yxy", 2, 3},
                 {"(?<!x)y", "xyy", 2, 3},
                 {"[a-c&&[^b]]+", "bacb", 1, 3},
                 {"\\p{Lu}\\p{Ll}", "aAb", 1, 3},
                 {"(?:a|b)*c", "abac", 0, 4},
                 {"\\x{3042}|\\u3044", "\xe3\x81\x84", 0, 3},
                 {"^b", "a\nb", 2, 3},
                 {"(?>a+)b", "aab", 0, 3},
                 {"[]a]", "x]", 1, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Arena arena = {0};
        Pattern *p = NULL;
        PatternMemory m = {0};
        Error e = {""};
        size_t start = 99, end = 99;
        CHECK_MSG(pattern_compile(cases[i].pattern, strlen(cases[i].pattern), &arena, &p, &e) == STATUS_OK, "%s", e.text);
        CHECK_MSG(p && pattern_search(p, &m, cases[i].text, strlen(cases[i].text), 0, &start, &end) == 1, "%s",
                  cases[i].pattern);
        CHECK_MSG(start == cases[i].start && end == cases[i].end, "%s: %zu-%zu", cases[i].pattern, start, end);
        pattern_memory_free(&m);
        arena_free(&arena);
    }
}

static void what_is_not_served_is_refused(void)
{
    static const char *const bad[] = {"(",          ")",   "[",       "a{2,1}", "*a", "\\", "(?<=ab)c", "\\p{Nonsense}",
                                      "(?<name>a)", "\\1", "(?:a?)*", "[b-a]"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        Arena arena = {0};
        Pattern *p;
        Error e = {""};
        CHECK_MSG(pattern_compile(bad[i], strlen(bad[i]), &arena, &p, &e) != STATUS_OK && e.text[0], "%s compiled", bad[i]);
        arena_free(&arena);
    }
}

static void a_megabyte_takes_no_memory_a_character(void)
{
    static const char pattern[] = "\\p{L}+|\\s+(?!\\S)";
    size_t n = 1 << 20, start, end;
    char *text = malloc(n);
    Arena arena = {0};
    Pattern *p = NULL;
    PatternMemory m = {0};
    Error e;
    CHECK(pattern_compile(pattern, sizeof pattern - 1, &arena, &p, &e) == STATUS_OK);
    memset(text, 'a', n);
    CHECK(pattern_search(p, &m, text, n, 0, &start, &end) == 1 && end == n);
    memset(text, ' ', n);
    CHECK(pattern_search(p, &m, text, n, 0, &start, &end) == 1 && end == n);
    CHECK(m.cap <= 64);
    pattern_memory_free(&m);
    arena_free(&arena);
    free(text);
}

int main(void)
{
    RUN(expressions_match_as_oniguruma);
    RUN(what_is_not_served_is_refused);
    RUN(a_megabyte_takes_no_memory_a_character);
    return test_finish();
}
