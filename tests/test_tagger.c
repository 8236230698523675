/* test_tagger.c: the tagger on odd input and easy sentences, the word splitter's spans, the treebank reader's refusals. */
#include "experiments/conllu.h"
#include "experiments/tagger.h"
#include "experiments/word_split.h"
#include "tests/test.h"

/* Spans rise, do not touch white space, and cover every other byte. */
static void check_spans(const char *text, size_t n_bytes)
{
    Error e;
    WordList list;
    CHECK(word_split(text, n_bytes, &list, &e) == 0);
    size_t at = 0;
    for (size_t i = 0; i < list.n_words; i++) {
        CHECK(list.words[i].begin >= at && list.words[i].end > list.words[i].begin && list.words[i].end <= n_bytes);
        for (; at < list.words[i].begin; at++)
            CHECK(strchr(" \t\n\r\v\f\x1c\x1d\x1e\x1f\xc2\xa0\xe2\x80\xe3", text[at]) || (text[at] & 0x80));
        for (; at < list.words[i].end; at++)
            CHECK(text[at] != ' ' && text[at] != '\n' && text[at] != '\t');
    }
    for (; at < n_bytes; at++)
        CHECK(strchr(" \t\n\r\v\f\x1c\x1d\x1e\x1f", text[at]) || (text[at] & 0x80));
    CHECK(list.n_words == 0 || list.words[list.n_words - 1].is_sentence_end);
    word_split_free(&list);
}

static void spans_cover_random_text(void)
{
    static const char alphabet[] = "aZ's n't.,-!?@:/ 09$()\"\n\t\xe2\x80\x99\xf0\x9f\x98\x80\0www.";
    char text[200];
    unsigned seed = 7;
    for (int round = 0; round < 3000; round++) {
        size_t n = (seed = seed * 1664525u + 1013904223u) >> 25;
        for (size_t i = 0; i < n; i++)
            text[i] = alphabet[((seed = seed * 1664525u + 1013904223u) >> 8) % (sizeof alphabet - 1)];
        check_spans(text, n);
    }
}

static void check_split(const char *text, const char *expected)
{
    Error e;
    WordList list;
    char got[500] = "";
    CHECK(word_split(text, strlen(text), &list, &e) == 0);
    for (size_t i = 0; i < list.n_words; i++) {
        strncat(got, text + list.words[i].begin, list.words[i].end - list.words[i].begin);
        strcat(got, list.words[i].is_sentence_end ? "#" : "|");
    }
    CHECK_STR(got, expected);
    word_split_free(&list);
}

static void words_are_split_as_in_the_treebank(void)
{
    check_split("I don't know. He's here!", "I|do|n't|know|.#He|'s|here|!#");
    check_split("Mr. Smith paid $3,000.50 (cash).", "Mr.|Smith|paid|$|3,000.50|(|cash|)|.#");
    check_split("A well-known site: http://a.org/b?c=d, ok", "A|well|-|known|site|:|http://a.org/b?c=d|,|ok#");
    check_split("We cannot \xe2\x80\x94 it\xe2\x80\x99s", "We|can|not|\xe2\x80\x94|it|\xe2\x80\x99s#");
}

static void easy_sentences_are_tagged(void)
{
    static const char *const forms[] = {"The", "old", "man", "quickly", "wrote", "a", "letter", "to", "London", "."};
    static const char *const upos[] = {"DET", "ADJ", "NOUN", "ADV", "VERB", "DET", "NOUN", "ADP", "PROPN", "PUNCT"};
    Error e;
    Tagger *tagger;
    TaggerWord words[10];
    TaggerTag tags[10];
    for (int i = 0; i < 10; i++)
        words[i] = (TaggerWord){forms[i], strlen(forms[i])};
    CHECK(tagger_open(&tagger, &e) == 0);
    CHECK(tagger_tag(tagger, words, 10, tags, &e) == 0);
    for (int i = 0; i < 10; i++) {
        CHECK_STR(tagger_upos_name(tags[i].upos), upos[i]);
        CHECK(tags[i].posterior > 0.3 && tags[i].posterior <= 1 + 1e-12);
    }
    tagger_close(tagger);
}

static void odd_words_do_no_harm(void)
{
    static char longest[10000];
    memset(longest, 'q', sizeof longest);
    TaggerWord words[] = {{"", 0}, {longest, sizeof longest}, {"\0\0", 2}, {"\xff\xfe", 2}, {"\xf0\x9f\x98\x80", 4}};
    TaggerTag tags[5];
    Error e;
    Tagger *tagger;
    CHECK(tagger_open(&tagger, &e) == 0);
    CHECK(tagger_tag(tagger, words, 0, tags, &e) == 0);
    CHECK(tagger_tag(tagger, words, 5, tags, &e) == 0);
    for (int i = 0; i < 5; i++)
        CHECK(tags[i].upos >= 0 && tags[i].upos < TAGGER_N_UPOS && tags[i].posterior > 0);
    tagger_close(tagger);
    CHECK(tagger_open_memory("STRTAG1", 8, "short", &tagger, &e) != 0);
}

static void treebanks_are_read(void)
{
    static const char good[] = "# text = don't\n1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n1\tdo\t_\t_\t_\t_\t_\t_\t_\t_\n"
                               "2\tn't\t_\t_\t_\t_\t_\t_\t_\t_\n\n1\tX\t_\t_\t_\t_\t_\t_\t_\t_";
    Error e;
    ConlluFile file;
    CHECK(conllu_parse(good, sizeof good - 1, "good", &file, &e) == 0);
    CHECK(file.n_sentences == 2 && file.n_words == 3 && file.n_lines == 5);
    conllu_free(&file);
    CHECK(conllu_parse("1\tX\n", 4, "bad", &file, &e) != 0);
    CHECK(strstr(e.text, "bad line 1") != NULL);
}

int main(void)
{
    RUN(spans_cover_random_text);
    RUN(words_are_split_as_in_the_treebank);
    RUN(easy_sentences_are_tagged);
    RUN(odd_words_do_no_harm);
    RUN(treebanks_are_read);
    return test_finish();
}
