/* test_pair_templates.c: the grammar of sentence pairs (every construct in closed form, every fault named with its line) and properties of what
 * the built-in templates give under a tokenizer made here, in which each English word is one token: verified anew from the texts, independent of
 * the code that made them. */
#include "experiments/pair_grammar.h"
#include "experiments/pair_templates.h"

#include "tests/temp_folder.h"

static int parse(const char *text, PairGrammar *g, Error *e)
{
    const PairSource source = {"t.txt", text, strlen(text)};
    return pair_grammar_parse(&source, 1, g, e);
}

/* Draws the grammar's first template until a draw holds; a and b, each with [edit] and the onset's byte marked by ^. */
static void draw_shown(const char *text, uint64_t seed, char out[2][256])
{
    PairGrammar g;
    PairDraft d = {0};
    Error e = {""};
    Rng rng;
    bool drawn = false;
    out[0][0] = out[1][0] = 0;
    int status = parse(text, &g, &e);
    CHECK_MSG(status == 0, "%s", e.text);
    if (status)
        return;
    rng_seed(&rng, seed, 1);
    for (int i = 0; i < 1000 && !drawn && !status; i++)
        status = pair_grammar_draw(&g, &g.templates[0], &rng, &d, &drawn, &e);
    CHECK_MSG(status == 0 && drawn, "%s", e.text);
    for (int s = 0; s < 2 && drawn; s++) {
        const PairText *t = &d.side[s];
        char *to = out[s];
        for (size_t i = 0; i <= t->text.len; i++) {
            if (i == t->edit_end)
                *to++ = ']';
            if (i == t->edit_begin)
                *to++ = '[';
            if (g.templates[0].has_error && i == t->onset)
                *to++ = '^';
            *to++ = t->text.data[i];
        }
    }
    pair_draft_free(&d);
    pair_grammar_free(&g);
}

static void check_draw(const char *text, const char *a, const char *b)
{
    char out[2][256];
    draw_shown(text, 1, out);
    CHECK_STR(out[0], a);
    CHECK_STR(out[1], b);
}

#define HEAD "category tense\nerror b\n"

static void test_constructs(void)
{
    check_draw(HEAD "t: yesterday she <was|is> tired.\n", "Yesterday she [wa^s] tired.", "Yesterday she [i^s] tired.");
    check_draw(HEAD "t: she <was|is> tired ^yesterday morning.", "She [was] tired ^yesterday morning.",
               "She [is] tired ^yesterday morning.");
    check_draw(HEAD "t: she <was|is> tired last week^ again.", "She [was] tired last wee^k again.",
               "She [is] tired last wee^k again.");
    check_draw(HEAD "list v: past | s | rest\n  ate | eats | {a} egg\nt: he <{x:v.past}|{x.s}> {x.rest}.", "He [at^e] an egg.",
               "He [eat^s] an egg.");
}

static void test_articles(void)
{
    const char *lists = HEAD "list sounds_a\n  user; one\nlist sounds_an\n  hour\n";
    static const char *const words[][3] = {
        {"user", "a", "an"}, {"hour", "an", "a"}, {"egg", "an", "a"}, {"dog", "a", "an"}, {"One", "a", "an"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        char text[512], a[64], b[64];
        snprintf(text, sizeof text, "%st: it is <{a}|{a!}> ^%s.", lists, words[i][0]);
        snprintf(a, sizeof a, "It is [%s] ^%s.", words[i][1], words[i][0]);
        snprintf(b, sizeof b, "It is [%s] ^%s.", words[i][2], words[i][0]);
        check_draw(text, a, b);
    }
    check_draw(HEAD "t: {a} old man <was|is>  here , [/] now .", "An old man [wa^s] here, now.", "An old man [i^s] here, now.");
}

/* Rows of a sentence are distinct, a list of lists is drawn from, a union holds the rows of both. */
static void test_draws(void)
{
    char out[2][256];
    bool seen[3] = {false};
    for (uint64_t seed = 0; seed < 60; seed++) {
        draw_shown("category subject\nerror none\nlist p = q + r\nlist q\n  ann; bob\nlist r\n  cy\nt: see <{p}|{p}> run.",
                   seed, out);
        CHECK(strcmp(out[0], out[1]) != 0);
        seen[0] |= strstr(out[0], "ann") != NULL;
        seen[1] |= strstr(out[0], "bob") != NULL;
        seen[2] |= strstr(out[0], "cy") != NULL;
        draw_shown("category place\nerror none\nlist act: what | where\n  swim | @water\n  ski | @snow\nlist water\n  sea; "
                   "lake\nlist snow\n  hill; alp\n"
                   "t: they {x:act.what} in the <{x.where}|{x.where}>.",
                   seed, out);
        bool swim = strstr(out[0], "swim") != NULL;
        CHECK_MSG(swim == (strstr(out[0], "sea") || strstr(out[0], "lake")), "%s", out[0]);
        CHECK_MSG(swim != (strstr(out[1], "hill") || strstr(out[1], "alp")), "%s", out[1]);
    }
    CHECK(seen[0] && seen[1] && seen[2]);
}

static void check_fault(const char *text, const char *expected)
{
    PairGrammar g;
    Error e = {""};
    int status = parse(text, &g, &e);
    for (uint64_t seed = 0; status == 0 && seed < 8; seed++) { /* some faults show only when drawn */
        PairDraft d = {0};
        Rng rng;
        bool drawn;
        rng_seed(&rng, seed, 0);
        status = pair_grammar_draw(&g, &g.templates[0], &rng, &d, &drawn, &e);
        pair_draft_free(&d);
    }
    CHECK_MSG(status == 2 && strstr(e.text, expected), "status %d, got \"%s\", expected \"%s\"", status, e.text, expected);
    pair_grammar_free(&g);
}

static void test_faults(void)
{
    check_fault("t: a <b|c>.", "line 1: a template before");
    check_fault("category tens\n", "line 1: no category \"tens\"");
    check_fault("category place\nerror b\n", "line 2: \"place\" has no error side");
    check_fault("hello there\n", "line 1: expected \"list NAME\"");
    check_fault("  doctor\n", "line 1: an indented line");
    check_fault(HEAD "t: a <b|c> {d}.", "line 3: no list \"d\"");
    check_fault(HEAD "list d: x | y\n  1 | 2\nt: a <b|c> {d.z}.", "line 5: the list \"d\" has no column \"z\"");
    check_fault(HEAD "list d: x | y\n  1\nt: a <b|c>.", "line 4: a row of 1 values, expected 2");
    check_fault(HEAD "list d\n  1 | 2\nt: a <b|c>.", "line 4: a row with more than 1 values");
    check_fault(HEAD "list d\nt: a <b|c>.", "line 3: the list \"d\" has no row");
    check_fault(HEAD "list d\n  1\nlist d\n  2\n", "line 5: the list \"d\" is there already");
    check_fault(HEAD "list d = d\nt: a <b|c>.", "made of itself");
    check_fault(HEAD "list d\n  {d};{d};{d};{d};{d};{d};{d};{d};{d};{d};{d};{d};{d};{d};{d};{d};{d};{d}\nt: a <b|c> {d}.",
                "leads back to itself");
    check_fault(HEAD "t: a <b|c>.\nt: a <b|c>.", "line 4: the template \"t\" is there already");
    check_fault(HEAD "t: a <b|c.", "\">\" is missing");
    check_fault(HEAD "t: a <b|c|d>.", "an edit has two sides");
    check_fault(HEAD "t: a [b/c.", "\"]\" is missing");
    check_fault(HEAD "t: a {b.", "\"}\" is missing");
    check_fault(HEAD "t: a > b.", "\">\" without its beginning");
    check_fault(HEAD "t: nothing here.", "no edit");
    check_fault(HEAD "t: a <b|c> and <d|e>.", "more than one edit");
    check_fault(HEAD "t: a <b <c|d>|e>.", "an edit inside an edit");
    check_fault(HEAD "t: a <b|>.", "an empty side");
    check_fault(HEAD "list d\n  1\nt: a <b|c> {x:d} {x:d}.", "given twice");
    check_fault(HEAD "list d\n  1\nt: a <b|c> {d e}.", "cannot stand in { }");
    check_fault("# nothing\n", "no template");
    PairGrammar g;
    Error e = {""};
    CHECK(pair_grammar_open("/nonexistent", &g, &e) == 2 && strstr(e.text, "--templates"));
}

/* A tokenizer in which each word of `words` (sorted or not, with its space before it) is one token and what is unknown falls into letters: byte
 * pair merges along every word's beginning, so that " dog" grows from " d" over " do". Words that begin like one of `split` are left out. */
typedef struct Words {
    PairCounts known;
    StrBuf merges, vocab;
    size_t n_ids;
} Words;

static void add_piece(Words *w, const char *piece, size_t n)
{
    size_t *count = pair_counts_at(&w->known, piece, n);
    if (!count || (*count)++)
        return;
    if (w->n_ids)
        strbuf_puts(&w->vocab, ", ");
    strbuf_json_string(&w->vocab, piece, n);
    strbuf_printf(&w->vocab, ": %zu", w->n_ids++);
}

/* "Ġ" is the space of byte-level vocabularies. */
static void add_word(Words *w, const char *word, size_t n, bool spaced)
{
    StrBuf piece = {0};
    strbuf_puts(&piece, spaced ? "\xc4\xa0" : "");
    for (size_t i = 0; i < n; i++) {
        size_t before = piece.len;
        strbuf_append(&piece, word + i, 1);
        size_t *count = pair_counts_at(&w->known, piece.data, piece.len);
        if (before && count && *count == 0) {
            StrBuf left = {0};
            strbuf_append(&left, piece.data, before);
            strbuf_puts(&w->merges, w->merges.len ? ", " : "");
            strbuf_puts(&left, " ");
            strbuf_append(&left, word + i, 1);
            strbuf_json_string(&w->merges, left.data, left.len);
            strbuf_free(&left);
        }
        add_piece(w, piece.data, piece.len);
    }
    strbuf_free(&piece);
}

static bool is_split(const char *const *split, const char *word, size_t n)
{
    for (; *split; split++)
        if (n >= strlen(*split) && memcmp(*split, word, strlen(*split)) == 0)
            return true;
    return false;
}

static void add_sentence(Words *w, const StrBuf *text, const char *const *split)
{
    for (size_t i = 0; i < text->len;) {
        size_t begin = i;
        while (i < text->len && ((text->data[i] | 32) >= 'a' && (text->data[i] | 32) <= 'z'))
            i++;
        if (i > begin && !is_split(split, text->data + begin, i - begin))
            add_word(w, text->data + begin, i - begin, begin > 0);
        i += i == begin;
    }
}

/* The words are those of many draws from every template. */
static Tokenizer *word_tokenizer(const PairGrammar *g, const char *const *split)
{
    Words w = {0};
    PairDraft d = {0};
    Error e = {""};
    StrBuf json = {0};
    Tokenizer *t = NULL;
    Rng rng;
    rng_seed(&rng, 9, 9);
    add_piece(&w, "\xc4\xa0", 2);
    for (int c = '!'; c <= '~'; c++)
        add_piece(&w, (char[]){(char)c}, 1);
    for (size_t i = 0; i < g->n_templates; i++)
        for (int k = 0; k < 400; k++) {
            bool drawn;
            CHECK_MSG(pair_grammar_draw(g, &g->templates[i], &rng, &d, &drawn, &e) == 0, "%s", e.text);
            for (int s = 0; s < 2 && drawn; s++)
                add_sentence(&w, &d.side[s].text, split);
        }
    strbuf_printf(
        &json,
        "{\"version\": \"1.0\", \"added_tokens\": [], \"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\", "
        "\"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}, \"post_processor\": null, \"decoder\": "
        "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}, \"model\": "
        "{\"type\": "
        "\"BPE\", \"dropout\": null, \"unk_token\": null, \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, "
        "\"fuse_unk\": false, \"byte_fallback\": false, \"vocab\": {%s}, \"merges\": [%s]}}",
        w.vocab.data, w.merges.data);
    write_temp("words/tokenizer.json", json.data, json.len);
    char *folder = temp_path("words");
    CHECK_MSG(tokenizer_open_dir(folder, &t, &e) == 0, "%s", e.text);
    free(folder);
    pair_counts_free(&w.known);
    strbuf_free(&w.merges);
    strbuf_free(&w.vocab);
    strbuf_free(&json);
    pair_draft_free(&d);
    return t;
}

static PairGrammar built_in;
static Tokenizer *words_known;

static int fill(const Tokenizer *t, size_t per_category, uint64_t seed, bool first, PairSet *set, PairShortage *shortages)
{
    Error e = {""};
    PairTemplatesOptions o = {.per_category = per_category, .seed = seed, .first_token = first, .quiet = true};
    for (int c = 0; c < PAIR_N_CATEGORIES; c++)
        o.wanted[c] = true;
    int status = pair_templates_fill(&built_in, t, &o, set, shortages, &e);
    CHECK_MSG(status == 0, "%s", e.text);
    return status;
}

/* "a" and "an" as English wants them, by the letter behind but for the words whose sound is another. */
static bool articles_agree(const char *text)
{
    static const char *const consonants[] = {"university", "useful", "uniform", "one", "unicorn", "used"};
    for (const char *s = text; *s; s++) {
        bool begins = s == text || s[-1] == ' ';
        size_t n = strncasecmp(s, "a ", 2) == 0 ? 2 : strncasecmp(s, "an ", 3) == 0 ? 3 : 0;
        if (!begins || !n)
            continue;
        const char *word = s + n;
        bool vowel = strchr("aeiouAEIOU", *word) != NULL;
        for (size_t i = 0; i < sizeof consonants / sizeof *consonants; i++)
            vowel &= strncmp(word, consonants[i], strlen(consonants[i])) != 0;
        vowel |= strncmp(word, "hour", 4) == 0 || strncmp(word, "honest", 6) == 0;
        if (vowel != (n == 3))
            return false;
    }
    return true;
}

/* What the format promises, from the sentences alone. */
static void check_pair(const Pair *p, TokenList *l)
{
    Error e = {""};
    const char *text[2] = {p->a, p->b};
    const int32_t *ids[2] = {p->ids_a, p->ids_b};
    size_t n_words = 1, n_differ = 0;
    for (int s = 0; s < 2; s++) {
        CHECK(tokenizer_encode(words_known, text[s], strlen(text[s]), false, &l[s], &e) == 0 && l[s].n == p->n_ids);
        for (size_t i = 0; i < p->n_ids && i < l[s].n; i++)
            CHECK(l[s].tokens[i].id == ids[s][i]);
        const Token *edit = &l[s].tokens[p->edit_index];
        size_t begin = edit->byte_start + (text[s][edit->byte_start] == ' ');
        CHECK_MSG(strncmp(text[s] + begin, p->words[s], edit->byte_end - begin) == 0, "%s: word \"%s\"", text[s], p->words[s]);
        CHECK_MSG(text[s][0] >= 'A' && text[s][0] <= 'Z' && !strstr(text[s], "  ") && !strpbrk(text[s], "{}[]<>|^@/"), "%s",
                  text[s]);
        char last = text[s][strlen(text[s]) - 1];
        CHECK_MSG((last == '.' || last == '?') && !strstr(text[s], " .") && !strstr(text[s], " ,") && !strstr(text[s], ".."),
                  "%s", text[s]);
    }
    for (const char *c = p->a; *c; c++)
        n_words += *c == ' ';
    CHECK_MSG(n_words >= 5 && n_words <= 25, "%zu words: %s", n_words, p->a);
    for (size_t i = 0; i < p->n_ids; i++)
        n_differ += p->ids_a[i] != p->ids_b[i];
    CHECK(n_differ == 1 && p->ids_a[p->edit_index] != p->ids_b[p->edit_index]);
    bool wrong = p->category == PAIR_TENSE || p->category == PAIR_ARTICLE || p->category == PAIR_PREPOSITION ||
                 p->category == PAIR_NUMBER || p->category == PAIR_SPELLING;
    CHECK_MSG(wrong ? p->error_side == 'b' && p->onset_index >= (int64_t)p->edit_index : !p->error_side && p->onset_index < 0,
              "%s", p->b);
    CHECK_MSG(articles_agree(p->a), "%s", p->a);
    CHECK_MSG(p->category == PAIR_ARTICLE || p->category == PAIR_SPELLING || articles_agree(p->b), "%s", p->b);
    if (p->category == PAIR_SPELLING)
        CHECK(p->onset_index == (int64_t)p->edit_index);
}

static void test_built_in(void)
{
    enum { EACH = 400 };
    PairSet set = {0};
    PairShortage shortages[PAIR_N_CATEGORIES];
    TokenList lists[2] = {{0}};
    size_t n_onset_late = 0, n_tense = 0;
    if (!words_known || fill(words_known, EACH, 3, false, &set, shortages))
        return;
    CHECK(set.n_pairs == EACH * PAIR_N_CATEGORIES);
    for (int c = 0; c < PAIR_N_CATEGORIES; c++) {
        PairClusters k;
        Error e = {""};
        CHECK(pair_set_clusters(&set, (PairCategory)c, &k, &e) == 0);
        CHECK_MSG(k.n_pairs == EACH && k.n_templates >= 34, "%s: %zu pairs of %zu templates",
                  pair_category_name((PairCategory)c), k.n_pairs, k.n_templates);
        CHECK_MSG(k.n_words >= 20 || c == PAIR_ARTICLE_CHOICE, "%s: %zu word pairs", pair_category_name((PairCategory)c),
                  k.n_words);
    }
    for (size_t i = 0; i < set.n_pairs; i++) {
        const Pair *p = &set.pairs[i];
        size_t of_template = 0;
        check_pair(p, lists);
        CHECK_MSG(p->edit_index >= 2, "%s", p->a);
        for (size_t k = 0; k < set.n_pairs; k++) {
            of_template += strcmp(set.pairs[k].template_id, p->template_id) == 0;
            CHECK(k == i || strcmp(set.pairs[k].a, p->a) != 0 || strcmp(set.pairs[k].b, p->b) != 0);
        }
        /* each template as often as the others of its category, of which there are 34 at least */
        CHECK_MSG(of_template <= EACH / 34 + 1, "%s gave %zu", p->template_id, of_template);
        if (p->category == PAIR_TENSE) {
            bool time_first = strncmp(p->template_id, "tense_first", 11) == 0;
            n_tense += time_first;
            n_onset_late += p->onset_index > (int64_t)p->edit_index;
            CHECK_MSG(time_first == (p->onset_index == (int64_t)p->edit_index), "%s: onset %lld", p->b,
                      (long long)p->onset_index);
        }
    }
    CHECK_MSG(n_tense >= EACH * 45 / 100 && n_onset_late >= EACH * 45 / 100, "%zu with the time first, %zu late onsets",
              n_tense, n_onset_late);
    token_list_free(&lists[0]);
    token_list_free(&lists[1]);
    pair_set_free(&set);
}

/* The same seed gives the same bytes, another one others; a smaller number is the beginning of a larger one's. */
static void test_seeds(void)
{
    PairSet sets[4] = {{0}};
    PairShortage shortages[PAIR_N_CATEGORIES];
    StrBuf text[3] = {{0}};
    if (!words_known)
        return;
    for (int i = 0; i < 3; i++) {
        fill(words_known, 40, i == 2 ? 8 : 7, false, &sets[i], shortages);
        for (size_t k = 0; k < sets[i].n_pairs; k++)
            pair_set_put(&sets[i].pairs[k], &text[i]);
    }
    CHECK(text[0].len > 10000 && strcmp(text[0].data, text[1].data) == 0 && strcmp(text[0].data, text[2].data) != 0);
    fill(words_known, 25, 7, false, &sets[3], shortages);
    for (size_t c = 0; c < PAIR_N_CATEGORIES; c++)
        for (size_t k = 0; k < 25; k++)
            CHECK(strcmp(sets[3].pairs[c * 25 + k].a, sets[0].pairs[c * 40 + k].a) == 0);
    for (int i = 0; i < 4; i++)
        pair_set_free(&sets[i]);
    for (int i = 0; i < 3; i++)
        strbuf_free(&text[i]);
}

/* The reader of pairs.jsonl takes what is written, as it was. */
static void test_read_back(void)
{
    PairSet set = {0};
    PairShortage shortages[PAIR_N_CATEGORIES];
    PairFile f;
    Error e = {""};
    if (!words_known || fill(words_known, 20, 2, false, &set, shortages))
        return;
    char *path = temp_path("written.jsonl");
    CHECK_MSG(pair_set_write(&set, path, &e) == 0 && pair_file_read(path, tokenizer_vocab(words_known), &f, &e) == 0, "%s",
              e.text);
    CHECK(f.n_pairs == set.n_pairs);
    for (size_t i = 0; i < f.n_pairs && i < set.n_pairs; i++) {
        const Pair *p = &f.pairs[i], *q = &set.pairs[i];
        CHECK(strcmp(p->a, q->a) == 0 && strcmp(p->b, q->b) == 0 && strcmp(p->template_id, q->template_id) == 0);
        CHECK(strcmp(p->words[0], q->words[0]) == 0 && strcmp(p->words[1], q->words[1]) == 0 && p->category == q->category);
        CHECK(p->edit_index == q->edit_index && p->onset_index == q->onset_index && p->error_side == q->error_side);
        CHECK(p->n_ids == q->n_ids && memcmp(p->ids_a, q->ids_a, p->n_ids * sizeof *p->ids_a) == 0 &&
              memcmp(p->ids_b, q->ids_b, p->n_ids * sizeof *p->ids_b) == 0);
    }
    pair_file_free(&f);
    pair_set_free(&set);
    free(path);
}

static void test_first_token(void)
{
    PairSet set = {0};
    PairShortage shortages[PAIR_N_CATEGORIES];
    if (!words_known || fill(words_known, 40, 1, true, &set, shortages))
        return;
    CHECK(set.n_pairs == 40 && shortages[PAIR_SUBJECT].n_templates == 8 && shortages[PAIR_TENSE].n_templates == 0);
    for (size_t i = 0; i < set.n_pairs; i++)
        CHECK_MSG(set.pairs[i].edit_index == 0, "%s", set.pairs[i].a);
    pair_set_free(&set);
}

/* Words that are no tokens: no pair has one at its edit, each sentence that had is refused with the reason, and nothing fills the gap. */
static void test_refusals(void)
{
    static const char *const split[] = {"a", "she", NULL};
    PairSet set = {0};
    PairShortage shortages[PAIR_N_CATEGORIES];
    Tokenizer *t = word_tokenizer(&built_in, split);
    if (!t || fill(t, 30, 5, false, &set, shortages))
        return;
    size_t n_article = 0, n_refused = 0;
    for (size_t i = 0; i < set.n_pairs; i++) {
        const Pair *p = &set.pairs[i];
        n_article += p->category == PAIR_ARTICLE;
        CHECK_MSG(strcmp(p->words[0], "she") != 0 && strcmp(p->words[1], "she") != 0, "%s", p->a);
    }
    for (size_t i = 0; i < set.n_rejects; i++) {
        n_refused += strcmp(set.rejects[i].category, "article") == 0;
        CHECK_MSG(strstr(set.rejects[i].reason, "token"), "%s", set.rejects[i].reason);
    }
    CHECK_MSG(n_article == 0 && n_refused >= 3, "%zu articles, %zu refused", n_article, n_refused);
    CHECK(shortages[PAIR_ARTICLE].n_done == shortages[PAIR_ARTICLE].n_templates);
    pair_set_free(&set);
    tokenizer_close(t);
}

int main(void)
{
    static const char *const none[] = {NULL};
    Error e = {""};
    if (!temp_begin())
        return 1;
    RUN(test_constructs);
    RUN(test_articles);
    RUN(test_draws);
    RUN(test_faults);
    if (pair_grammar_open(NULL, &built_in, &e) == 0)
        words_known = word_tokenizer(&built_in, none);
    else
        printf("failed: %s\n", e.text), test_n_failed++;
    RUN(test_built_in);
    RUN(test_seeds);
    RUN(test_read_back);
    RUN(test_first_token);
    RUN(test_refusals);
    tokenizer_close(words_known);
    pair_grammar_free(&built_in);
    temp_end();
    return test_finish();
}
