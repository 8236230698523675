/* test_align.c: detokenised WikiText against hand-written sentences; tokens and words against rules stated anew here, on random
 * texts, for every kind of tokenizer in tests/data/tokenizer, cut in windows at random places. */
#include "tests/test.h"

#include "engine/base/rng.h"
#include "engine/base/strbuf.h"
#include "engine/base/utf8.h"
#include "experiments/align.h"
#include "experiments/pos_gold.h"
#include "loaders/tokenizer.h"

static const char *const kinds[] = {"llama3", "gpt2",   "qwen2",        "smollm", "deepseek", "o200k",      "possessive",
                                    "falcon", "llama2", "llama2_first", "always", "phi3",     "normalized", "spm"};
enum { N_KINDS = sizeof kinds / sizeof *kinds, N_TEXTS = 150, MAX_TOKENS = 4096 };

static const DetokeniseOptions wikitext = {.is_wikitext = true}, plain = {.is_wikitext = false};

static void expect_text(const char *row, const char *expected)
{
    Detokenised d;
    Error e = {""};
    CHECK_MSG(detokenise(row, strlen(row), &wikitext, &d, &e) == 0, "%s", e.text);
    CHECK_STR(d.text, expected);
    detokenise_free(&d);
}

static void test_detokenise(void)
{
    expect_text(" for shipments of 500 @,@ 000 copies . ", "for shipments of 500,000 copies.");
    expect_text(" the second @-@ most intense , at 3 @.@ 5 % ( 225 km / h ) ", "the second-most intense, at 3.5% (225 km / h)");
    expect_text(" One sang \" Kiss You \" and \" Little Things \" , then left ",
                "One sang \"Kiss You\" and \"Little Things\", then left");
    expect_text(" they don 't say it 's $ 3 million", "they don't say it's $3 million");
    expect_text(" the ships ' masts , ' a word ' here", "the ships' masts, 'a word' here");
    expect_text(" a <unk> @-@ class <unk> 's <unk> ", "a Unk-class Unk's Unk");
    expect_text(" = Robert <unk> = ", "Robert Unk");
    expect_text(" = = = 2000 – 2005 = = = \n prose = here .", "2000 – 2005\nprose = here.");
    expect_text(" = 1 henry = = ", "= 1 henry = =");
    expect_text(" = ", "=");
    expect_text("", "");
    expect_text(" a \" open\n b \" too", "a \"open\nb \"too");
}

/* Words of a row, "a|b|c" as they lie in the row. */
static void expect_words(const char *row, const char *expected)
{
    AlignRow r;
    Error e = {""};
    StrBuf b = {0};
    CHECK_MSG(align_words(row, strlen(row), &wikitext, NULL, 0, &r, &e) == 0, "%s", e.text);
    for (size_t i = 0; i < r.n_words; i++) {
        strbuf_puts(&b, i ? "|" : "");
        strbuf_append(&b, row + r.words[i].begin, r.words[i].end - r.words[i].begin);
        strbuf_puts(&b, r.words[i].is_mark ? "/mark" : r.words[i].is_unknown ? "/unknown" : "");
    }
    CHECK_STR(b.data ? b.data : "", expected);
    strbuf_free(&b);
    align_row_free(&r);
}

static void test_words(void)
{
    expect_words(" = Old <unk> = ", "=/mark|Old|<unk>/unknown|=/mark");
    expect_words(" 6 @,@ 000 men don 't go . ", "6 @,@ 000|men|do|n 't|go|.");
    expect_words(" a <unk> @-@ class ship", "a|<unk>/unknown|@-@|class|ship");
    expect_words(" 6 @,@ <unk> homes", "6|@,@|<unk>/unknown|homes");
    expect_words("   ", "");
}

/* ---- tokens ---- */

static bool is_white(uint32_t c)
{
    return c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31) || c == 0xa0 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x3000;
}

/* Pieces that texts are made of: artefacts, contractions, wide and unusual characters, all sorts of white space. */
static const char *const pieces[] = {" ",
                                     " ",
                                     " ",
                                     " ",
                                     "\n",
                                     "\t",
                                     "  ",
                                     " <unk> ",
                                     " @-@ ",
                                     " @,@ ",
                                     " @.@ ",
                                     " = ",
                                     " = = ",
                                     "the",
                                     "Robert",
                                     "running",
                                     "don",
                                     "'t",
                                     "n't",
                                     " 's ",
                                     " \" ",
                                     "( ",
                                     " )",
                                     " .",
                                     ".\"",
                                     ",",
                                     "500",
                                     "3",
                                     "U.S.",
                                     "http://a.b/c?d",
                                     "é",
                                     "e\xcc\x81",
                                     "日本語",
                                     "。",
                                     "😀",
                                     "👩‍🚀",
                                     "\xc2\xa0",
                                     "\xe3\x80\x80",
                                     "\xe2\x80\x89",
                                     "–",
                                     "“",
                                     "”",
                                     "’s",
                                     "ﬁ",
                                     "Ⅷ",
                                     "\x01",
                                     "\x7f",
                                     "@",
                                     "<unk>",
                                     "a@b.cd",
                                     "Здравствуй",
                                     "مرحبا",
                                     "\r\n",
                                     "-",
                                     "--",
                                     "...",
                                     "$",
                                     "\xc2\x85",
                                     "\xe2\x81\x9f",
                                     "ABC"};

static void random_text(Rng *rng, StrBuf *b)
{
    strbuf_reset(b);
    strbuf_puts(b, "");
    size_t n = rng_below(rng, 40);
    for (size_t i = 0; i < n; i++)
        strbuf_puts(b, pieces[rng_below(rng, sizeof pieces / sizeof *pieces)]);
}

/* Every byte lies in one word, or is white space; words are in order and disjoint. */
static void check_bytes(const AlignRow *r, const char *text, const char *what)
{
    size_t at = 0;
    for (size_t w = 0; w < r->n_words; w++) {
        CHECK_MSG(r->words[w].begin >= at && r->words[w].end > r->words[w].begin && r->words[w].end <= r->n_bytes,
                  "%s: word %zu", what, w);
        at = r->words[w].end;
    }
    for (size_t b = 0; b < r->n_bytes;) {
        uint32_t c = 0;
        size_t n = utf8_decode(text + b, r->n_bytes - b, &c);
        for (size_t i = 0; i < n; i++) {
            int32_t w = r->word_of_byte[b + i];
            CHECK_MSG((w >= 0) != is_white(c), "%s: U+%04X at byte %zu of \"%s\" is in word %d", what, c, b, text, w);
            CHECK_MSG(w < 0 || (r->words[w].begin <= b + i && b + i < r->words[w].end), "%s: byte %zu", what, b + i);
            CHECK_MSG(i == 0 || w == r->word_of_byte[b], "%s: a character is cut at byte %zu", what, b);
        }
        b += n ? n : 1;
    }
}

typedef struct Kept {
    int64_t begin[MAX_TOKENS], end[MAX_TOKENS];
    int32_t window[MAX_TOKENS], word[MAX_TOKENS];
    size_t n;
    unsigned char is_dropped[1 << 14], is_kept[1 << 14]; /* per byte: some token without, with a prediction lies on it */
} Kept;

/* Windows of random lengths; the first token of each is not predicted (without BOS), the last ones may be cut off. */
static void cut(const TokenList *l, Rng *rng, bool has_bos, Kept *k)
{
    memset(k, 0, sizeof *k);
    int32_t window = -1;
    size_t left = 0, n_cut = rng_below(rng, 3) == 0 ? rng_below(rng, l->n + 1) : 0;
    for (size_t i = 0; i < l->n; i++) {
        const Token *t = &l->tokens[i];
        bool opens = left == 0;
        if (opens) {
            left = 1 + rng_below(rng, 30);
            window++;
        }
        left--;
        bool predicted = i + n_cut < l->n && (has_bos || !opens);
        for (size_t b = t->byte_start; b < t->byte_end; b++)
            (predicted ? k->is_kept : k->is_dropped)[b] = 1;
        if (!predicted)
            continue;
        k->begin[k->n] = (int64_t)t->byte_start;
        k->end[k->n] = (int64_t)t->byte_end;
        k->window[k->n++] = window;
    }
}

static bool is_white_at(const char *text, size_t n_bytes, size_t byte)
{
    uint32_t c = 0;
    while (byte > 0 && ((unsigned char)text[byte] & 0xc0) == 0x80)
        byte--;
    utf8_decode(text + byte, n_bytes - byte, &c);
    return is_white(c);
}

static void check_tokens(const AlignRow *r, const Kept *k, const char *text, const char *what)
{
    size_t *n_of = calloc(r->n_words + 1, sizeof *n_of);
    for (size_t i = 0; i < k->n; i++) {
        int32_t expected = -1;
        for (int64_t b = k->begin[i]; b < k->end[i] && expected < 0; b++)
            if (!is_white_at(text, r->n_bytes, (size_t)b))
                for (size_t w = 0; w < r->n_words; w++)
                    if ((int64_t)r->words[w].begin <= b && b < (int64_t)r->words[w].end)
                        expected = (int32_t)w;
        CHECK_MSG(k->word[i] == expected, "%s: token %zu of \"%s\" is in word %d, expected %d", what, i, text, k->word[i],
                  expected);
        if (expected >= 0)
            n_of[expected]++;
    }
    for (size_t w = 0; w < r->n_words; w++) {
        const AlignWord *a = &r->words[w];
        bool alone = false; /* a byte that only unpredicted tokens cover */
        for (size_t b = a->begin; b < a->end; b++)
            alone = alone || (k->is_dropped[b] && !k->is_kept[b] && r->word_of_byte[b] >= 0);
        CHECK_MSG(a->n_tokens == n_of[w], "%s: word %zu has %zu tokens, expected %zu", what, w, a->n_tokens, n_of[w]);
        CHECK_MSG(!alone || a->state == ALIGN_UNSCORED, "%s: word %zu of \"%s\" has a token without prediction", what, w, text);
        CHECK_MSG(a->state != ALIGN_SCORED || a->n_tokens > 0, "%s: word %zu is scored without tokens", what, w);
        CHECK_MSG(a->state != ALIGN_NO_TOKEN || a->n_tokens == 0, "%s: word %zu", what, w);
        if (!a->n_tokens)
            continue;
        CHECK(k->word[a->first] == (int32_t)w && k->word[a->last] == (int32_t)w);
        bool opens = k->begin[a->first] < k->end[a->first] && is_white_at(text, r->n_bytes, (size_t)k->begin[a->first]);
        CHECK_MSG(a->opens_with_space == opens, "%s: word %zu opens_with_space %d", what, w, a->opens_with_space);
        size_t next = a->last + 1;
        bool follows = next < k->n && k->window[next] == k->window[a->last] && k->begin[next] < k->end[next] &&
                       is_white_at(text, r->n_bytes, (size_t)k->begin[next]);
        CHECK_MSG(a->is_followed_by_space == follows, "%s: word %zu is_followed_by_space %d", what, w, a->is_followed_by_space);
    }
    free(n_of);
}

static void test_random_texts(void)
{
    static Kept kept;
    Rng rng;
    size_t n_unscored = 0, n_no_token = 0, n_scored = 0, n_split = 0;
    for (size_t kind = 0; kind < N_KINDS; kind++) {
        char path[128];
        Tokenizer *tokenizer = NULL;
        TokenList tokens = {0};
        StrBuf text = {0};
        Error e = {""};
        snprintf(path, sizeof path, "tests/data/tokenizer/%s", kinds[kind]);
        CHECK_MSG(tokenizer_open_dir(path, &tokenizer, &e) == 0, "%s", e.text);
        rng_seed(&rng, 11, kind);
        for (size_t i = 0; tokenizer && i < N_TEXTS; i++) {
            AlignRow r;
            random_text(&rng, &text);
            CHECK_MSG(tokenizer_encode(tokenizer, text.data, text.len, false, &tokens, &e) == 0, "%s", e.text);
            if (tokens.n > MAX_TOKENS || text.len >= sizeof kept.is_kept)
                continue;
            cut(&tokens, &rng, rng_below(&rng, 2) == 0, &kept);
            CHECK_MSG(align_words(text.data, text.len, i % 4 ? &wikitext : &plain, NULL, 0, &r, &e) == 0, "%s", e.text);
            AlignTokens t = {.byte_start = kept.begin, .byte_end = kept.end, .window = kept.window, .n = kept.n};
            CHECK_MSG(align_tokens(&r, &t, kept.word, &e) == 0, "%s: %s", kinds[kind], e.text);
            check_bytes(&r, text.data, kinds[kind]);
            check_tokens(&r, &kept, text.data, kinds[kind]);
            for (size_t w = 0; w < r.n_words; w++) {
                n_unscored += r.words[w].state == ALIGN_UNSCORED;
                n_no_token += r.words[w].state == ALIGN_NO_TOKEN;
                n_scored += r.words[w].state == ALIGN_SCORED;
            }
            for (size_t k = 0; k < kept.n; k++) /* pieces that split a character */
                n_split += kept.begin[k] < kept.end[k] && ((unsigned char)text.data[kept.begin[k]] & 0xc0) == 0x80;
            align_row_free(&r);
        }
        token_list_free(&tokens);
        tokenizer_close(tokenizer);
        strbuf_free(&text);
    }
    /* The texts reach every case. */
    CHECK_MSG(n_scored > 5000 && n_unscored > 500 && n_no_token > 20 && n_split > 500,
              "%zu scored, %zu unscored, %zu no token, %zu split", n_scored, n_unscored, n_no_token, n_split);
}

/* "Hi you," as Hi| you|, ; then `."` in one token; a byte-level space alone. */
static void test_states(void)
{
    const char *text = "Hi you, \"go.\" ";
    const int64_t begin[] = {2, 6, 7, 8, 9, 11, 13}, end[] = {6, 7, 8, 9, 11, 13, 14};
    const int32_t window[] = {0, 0, 0, 0, 0, 0, 0};
    int32_t word[7];
    AlignTokens t = {.byte_start = begin, .byte_end = end, .window = window, .n = 7};
    AlignRow r;
    Error e = {""};
    CHECK(align_words(text, strlen(text), &plain, NULL, 0, &r, &e) == 0);
    CHECK_MSG(r.n_words == 7, "%zu words", r.n_words); /* Hi you , " go . " */
    CHECK(align_tokens(&r, &t, word, &e) == 0);
    const int32_t expected[] = {1, 2, -1, 3, 4, 5, -1};
    CHECK(memcmp(word, expected, sizeof word) == 0);
    CHECK(r.words[0].state == ALIGN_UNSCORED && r.words[1].state == ALIGN_SCORED && r.words[6].state == ALIGN_NO_TOKEN);
    CHECK(r.words[1].opens_with_space && !r.words[1].is_followed_by_space); /* the comma follows without a space */
    CHECK(!r.words[2].opens_with_space && r.words[2].is_followed_by_space);
    CHECK(!r.words[5].opens_with_space && r.words[5].is_followed_by_space);
    const int64_t outside[] = {2, 6, 7, 8, 9, 11, 99};
    t.byte_end = outside;
    CHECK(align_tokens(&r, &t, word, &e) == STATUS_FAILED && strstr(e.text, "99"));
    align_row_free(&r);
}

static const char *const gold_text = "# text\n"
                                     "1\tHe\the\tPRON\tPRP\t_\t_\t_\t_\t_\n"
                                     "2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n"
                                     "2\tdo\tdo\tAUX\tVBP\t_\t_\t_\t_\t_\n"
                                     "3\tn't\tnot\tPART\tRB\t_\t_\t_\t_\t_\n"
                                     "4-5\tau\t_\t_\t_\t_\t_\t_\t_\t_\n"
                                     "4\tà\tà\tADP\tIN\t_\t_\t_\t_\t_\n"
                                     "5\tle\tle\tDET\tDT\t_\t_\t_\t_\t_\n"
                                     "5.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_\n"
                                     "\n"
                                     "1\tYes\tyes\tINTJ\tUH\t_\t_\t_\t_\t_\n\n";

static void test_gold(void)
{
    char dir[] = "/tmp/strata-gold-XXXXXX", path[64];
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/gold.conllu", dir);
    FILE *f = fopen(path, "w");
    PosGold g;
    Error e = {""};
    CHECK(f && fputs(gold_text, f) >= 0 && fclose(f) == 0);
    CHECK_MSG(pos_gold_open(path, &g, &e) == 0, "%s", e.text);
    CHECK_MSG(g.n_words == 5, "%zu words", g.n_words);
    CHECK_MSG(pos_gold_take(&g, " He don't au", 12, 0, &e) == 0, "%s", e.text);
    CHECK(g.n_spans == 4 && g.spans[1].begin == 4 && g.spans[1].end == 6 && g.spans[2].end == 9 && g.spans[3].is_sentence_end);
    CHECK(pos_gold_take(&g, "No", 2, 1, &e) == STATUS_FAILED && strstr(e.text, "\"Yes\"") && strstr(e.text, "row 1"));
    CHECK(pos_gold_take(&g, "Yes", 3, 1, &e) == 0 && g.n_spans == 1);
    CHECK(pos_gold_take(&g, "more", 4, 2, &e) == STATUS_FAILED && strstr(e.text, "end before row 2"));
    pos_gold_close(&g);
    remove(path);
    remove(dir);
}

int main(void)
{
    RUN(test_detokenise);
    RUN(test_words);
    RUN(test_states);
    RUN(test_random_texts);
    RUN(test_gold);
    return test_finish();
}
