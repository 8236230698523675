/* test_pairs.c: the reader of pairs.jsonl: a good file field by field, and one fault a line, each named with its line. */
#include "experiments/pair_file.h"
#include "tests/temp_folder.h"

/* The onset comes after the edit: "She is very tired yesterday" is wrong from "yesterday" (token 4) on. */
#define TENSE \
    "{\"a\":\"She was very tired yesterday.\",\"b\":\"She is very tired " \
    "yesterday.\",\"category\":\"tense\",\"template\":\"t1\"," \
    "\"edit_index\":1,\"onset_index\":4,\"ids_a\":[5,6,7,8,9,1],\"ids_b\":[5,2,7,8,9,1],\"error_side\":\"b\",\"words\":[" \
    "\"was\"," \
    "\"is\"]}"
#define CHOICE \
    "{\"words\":[\"a\",\"the\"],\"a\":\"He adopted a dog.\",\"b\":\"He adopted the dog.\",\"category\":\"article_choice\"," \
    "\"template\":\"c1\",\"edit_index\":2,\"onset_index\":null,\"ids_a\":[0,1,2,3],\"ids_b\":[0,1,9,3],\"error_side\":null," \
    "\"more\":[1]}"

static int read_text(const char *text, size_t n_vocab, PairFile *f, Error *e)
{
    write_temp("pairs.jsonl", text, strlen(text));
    char *path = temp_path("pairs.jsonl");
    int status = pair_file_read(path, n_vocab, f, e);
    free(path);
    return status;
}

static void test_good(void)
{
    PairFile f;
    Error e = {""};
    int status = read_text(TENSE "\r\n\n" CHOICE, 10, &f, &e);
    CHECK_MSG(status == 0 && f.n_pairs == 2, "%s", e.text);
    if (status || f.n_pairs != 2)
        return;
    const Pair *p = &f.pairs[0], *q = &f.pairs[1];
    CHECK_STR(p->a, "She was very tired yesterday.");
    CHECK_STR(p->b, "She is very tired yesterday.");
    CHECK_STR(p->template_id, "t1");
    CHECK_STR(p->words[0], "was");
    CHECK_STR(p->words[1], "is");
    CHECK(p->category == PAIR_TENSE && p->edit_index == 1 && p->onset_index == 4 && p->error_side == 'b' && p->line == 1);
    CHECK(p->n_ids == 6 && p->ids_a[1] == 6 && p->ids_b[1] == 2 && p->ids_a[5] == 1 && p->ids_b[5] == 1);
    CHECK(q->category == PAIR_ARTICLE_CHOICE && q->edit_index == 2 && q->onset_index == -1 && q->error_side == 0);
    CHECK(q->line == 3 && q->n_ids == 4);
    pair_file_free(&f);
    CHECK(!f.pairs && f.n_pairs == 0);
}

/* The good line with `from` replaced by `to`, as the second line after a good one. */
static void check_fault(const char *from, const char *to, const char *expected)
{
    PairFile f;
    Error e = {""};
    char text[2048];
    const char *at = strstr(TENSE, from);
    CHECK_MSG(at, "no \"%s\" in the good line", from);
    if (!at)
        return;
    snprintf(text, sizeof text, "%s\n%.*s%s%s\n", CHOICE, (int)(at - TENSE), TENSE, to, at + strlen(from));
    CHECK_MSG(read_text(text, 10, &f, &e) == 1, "\"%s\" was read", to);
    CHECK_MSG(strstr(e.text, "pairs.jsonl: line 2: ") && strstr(e.text, expected), "got \"%s\", expected \"%s\"", e.text,
              expected);
    CHECK(!f.pairs && f.n_pairs == 0);
}

static void test_faults(void)
{
    static const char *const keys[] = {"a",           "b",     "category", "template",   "edit_index",
                                       "onset_index", "ids_a", "ids_b",    "error_side", "words"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        char from[32], quoted[32];
        snprintf(from, sizeof from, "\"%s\":", keys[k]);
        snprintf(quoted, sizeof quoted, "\"%s\"", keys[k]);
        check_fault(from, "\"other\":", quoted);
    }
    check_fault("{", "[", "pair");
    check_fault("}", "} x", "pair");
    check_fault("\"She was very tired yesterday.\"", "\"\"", "\"a\": expected a string");
    check_fault("She was", "She\\u0000was", "\"a\": expected a string");
    check_fault("\"tense\"", "\"tenses\"", "found \"tenses\"");
    check_fault("[5,6,7,8,9,1]", "[5,6,7,8,9]", "has 5 ids and \"ids_b\" 6");
    check_fault("[5,6,7,8,9,1]", "[]", "\"ids_a\": expected an array");
    check_fault("[5,6,7,8,9,1]", "[5,2,7,8,9,1]", "are equal at 1");
    check_fault("[5,6,7,8,9,1]", "[5,6,7,8,9,2]", "differ at 5");
    check_fault("[5,6,7,8,9,1]", "[5,6,7,8,10,1]", "id 10, the vocabulary has 10");
    check_fault("[5,6,7,8,9,1]", "[5,-6,7,8,9,1]", "\"ids_a\"[1]");
    check_fault("[5,6,7,8,9,1]", "[5,6.5,7,8,9,1]", "\"ids_a\"[1]");
    check_fault("[5,2,7,8,9,1]", "[5,2,7,8,9,4294967297]", "\"ids_b\"[5]: expected an id");
    check_fault("\"edit_index\":1", "\"edit_index\":6", "from 0 to 5");
    check_fault("\"edit_index\":1", "\"edit_index\":2", "differ at 1");
    check_fault("\"edit_index\":1", "\"edit_index\":-1", "\"edit_index\": expected");
    check_fault("\"onset_index\":4", "\"onset_index\":0", "before \"edit_index\" 1");
    check_fault("\"onset_index\":4", "\"onset_index\":6", "from 0 to 5, or null");
    check_fault("\"error_side\":\"b\"", "\"error_side\":\"c\"", "\"error_side\": expected");
    check_fault("\"error_side\":\"b\"", "\"error_side\":null", "without an \"error_side\"");
    check_fault("\"tense\"", "\"subject\"", "both sides of \"subject\" are grammatical");
    check_fault("\"tense\"", "\"article_choice\"", "both sides of \"article_choice\" are grammatical");
    check_fault("[\"was\",\"is\"]", "[\"was\"]", "\"words\": expected an array of two");
    check_fault("[\"was\",\"is\"]", "[\"is\",\"is\"]", "\"words\": \"is\" twice");
}

static void test_whole_file(void)
{
    PairFile f;
    Error e = {""};
    CHECK(read_text(TENSE "\n" CHOICE "\n" TENSE "\n", 0, &f, &e) == 1);
    CHECK_MSG(strstr(e.text, "line 3: the same \"a\" and \"b\" as in line 1"), "%s", e.text);
    CHECK(read_text(" \n\n", 0, &f, &e) == 1);
    CHECK_MSG(strstr(e.text, "no pair in it"), "%s", e.text);
    CHECK(read_text("", 0, &f, &e) == 1);
    CHECK(read_text("[1]\n", 0, &f, &e) == 1);
    CHECK_MSG(strstr(e.text, "line 1: expected an object"), "%s", e.text);
    CHECK(pair_file_read("/nonexistent/pairs.jsonl", 0, &f, &e) == 1);
    CHECK(!f.pairs);
}

static void test_categories(void)
{
    for (int c = 0; c < PAIR_N_CATEGORIES; c++)
        CHECK(pair_category_find(pair_category_name((PairCategory)c)) == c);
    CHECK(pair_category_find("Subject") == -1 && pair_category_find("") == -1);
}

int main(void)
{
    if (!temp_begin())
        return 1;
    RUN(test_good);
    RUN(test_faults);
    RUN(test_whole_file);
    RUN(test_categories);
    temp_end();
    return test_finish();
}
