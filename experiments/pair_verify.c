/* pair_verify.c: see pair_verify.h. */
#include "experiments/pair_verify.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/utf8.h"

void pair_scratch_free(PairScratch *s)
{
    token_list_free(&s->lists[0]);
    token_list_free(&s->lists[1]);
}

static bool is_edge(char c)
{
    return isspace((unsigned char)c) || (ispunct((unsigned char)c) && c != '\'' && c != '-');
}

static bool is_space_before(const char *text, size_t at)
{
    return at == 0 || isspace((unsigned char)text[at - 1]);
}

bool pair_words_between(const char *const text[2], const size_t len[2], size_t begin[2], size_t end[2])
{
    size_t least = len[0] < len[1] ? len[0] : len[1], same = 0, tail = 0;
    while (same < least && text[0][same] == text[1][same])
        same++;
    while (tail < least - same && text[0][len[0] - 1 - tail] == text[1][len[1] - 1 - tail])
        tail++;
    /* back and on to the words' ends, which are the same text in both */
    while (same > 0 && !isspace((unsigned char)text[0][same - 1]))
        same--;
    while (tail > 0 && !isspace((unsigned char)text[0][len[0] - tail]) &&
           (!is_space_before(text[0], len[0] - tail) || !is_space_before(text[1], len[1] - tail)))
        tail--;
    for (int s = 0; s < 2; s++) {
        begin[s] = same;
        end[s] = len[s] - tail;
        while (begin[s] < end[s] && is_edge(text[s][begin[s]]))
            begin[s]++;
        while (end[s] > begin[s] && is_edge(text[s][end[s] - 1]))
            end[s]--;
    }
    size_t n = end[0] - begin[0];
    bool same_word = n == end[1] - begin[1] && memcmp(text[0] + begin[0], text[1] + begin[1], n) == 0;
    return begin[0] < end[0] && begin[1] < end[1] && !same_word;
}

static size_t count_words(const char *s, size_t n)
{
    size_t words = 0;
    for (size_t i = 0; i < n; i++)
        words += !isspace((unsigned char)s[i]) && (i == 0 || isspace((unsigned char)s[i - 1]));
    return words;
}

static bool refuse(char reason[200], const char *format, ...) STRATA_PRINTF(2, 3);
static bool refuse(char reason[200], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, 200, format, arguments);
    va_end(arguments);
    return false;
}

static bool check_texts(const PairCandidate *c, const PairRules *rules, char reason[200])
{
    const char *const text[2] = {c->a, c->b};
    const size_t len[2] = {c->a_len, c->b_len};
    for (int s = 0; s < 2; s++) {
        size_t bad, words = count_words(text[s], len[s]);
        if (words == 0)
            return refuse(reason, "\"%c\" is empty", 'a' + s);
        if (memchr(text[s], 0, len[s]) || !utf8_valid(text[s], len[s], &bad))
            return refuse(reason, "\"%c\" is not text in UTF-8", 'a' + s);
        if ((rules->min_words && words < rules->min_words) || (rules->max_words && words > rules->max_words))
            return refuse(reason, "%zu words, expected %zu to %zu", words, rules->min_words, rules->max_words);
    }
    if (c->a_len == c->b_len && memcmp(c->a, c->b, c->a_len) == 0)
        return refuse(reason, "the sentences are the same");
    if (c->error_side && (c->category <= PAIR_ADJECTIVE || c->category == PAIR_ARTICLE_CHOICE))
        return refuse(reason, "both sides of \"%s\" are grammatical: it has no error side", pair_category_name(c->category));
    return true;
}

/* The one place where the ids differ. */
static bool find_edit(const PairScratch *scratch, const PairRules *rules, size_t *edit, char reason[200])
{
    const TokenList *x = &scratch->lists[0], *y = &scratch->lists[1];
    size_t n_differ = 0;
    if (x->n != y->n)
        return refuse(reason, "%zu tokens in a, %zu in b", x->n, y->n);
    for (size_t i = 0; i < x->n; i++)
        if (x->tokens[i].id != y->tokens[i].id && n_differ++ == 0)
            *edit = i;
    if (n_differ != 1)
        return refuse(reason,
                      n_differ ? "%zu tokens differ, expected one" : "%zu tokens differ: the tokenizer reads both alike",
                      n_differ);
    if (*edit < rules->first_edit || *edit > rules->last_edit)
        return refuse(reason, "the edit is token %zu, expected %s %zu", *edit, *edit < rules->first_edit ? "from" : "at most",
                      *edit < rules->first_edit ? rules->first_edit : rules->last_edit);
    return true;
}

static int64_t token_at(const TokenList *l, size_t byte)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->tokens[i].byte_start <= byte && byte < l->tokens[i].byte_end)
            return (int64_t)i;
    return -1;
}

static bool copy_pair(const PairCandidate *c, const PairScratch *scratch, const size_t begin[2], const size_t end[2],
                      Arena *arena, Pair *out)
{
    int32_t *ids[2];
    out->a = arena_strndup(arena, c->a, c->a_len);
    out->b = arena_strndup(arena, c->b, c->b_len);
    out->template_id = arena_strndup(arena, c->template_id, c->template_len);
    out->words[0] = arena_strndup(arena, c->a + begin[0], end[0] - begin[0]);
    out->words[1] = arena_strndup(arena, c->b + begin[1], end[1] - begin[1]);
    for (int s = 0; s < 2; s++) {
        ids[s] = arena_array(arena, out->n_ids, sizeof *ids[s]);
        for (size_t i = 0; ids[s] && i < out->n_ids; i++)
            ids[s][i] = scratch->lists[s].tokens[i].id;
    }
    out->ids_a = ids[0];
    out->ids_b = ids[1];
    return out->a && out->b && out->template_id && out->words[0] && out->words[1] && ids[0] && ids[1];
}

bool pair_verify(const Tokenizer *t, const PairCandidate *c, const PairRules *rules, PairScratch *scratch, Arena *arena,
                 Pair *out, char reason[200], int *status, Error *e)
{
    const char *const text[2] = {c->a, c->b};
    const size_t len[2] = {c->a_len, c->b_len};
    size_t begin[2], end[2], edit = 0;
    *status = STATUS_OK;
    if (!check_texts(c, rules, reason))
        return false;
    for (int s = 0; s < 2; s++) {
        Error why = {""};
        if (tokenizer_encode(t, text[s], len[s], false, &scratch->lists[s], &why))
            return refuse(reason, "%.150s", why.text);
    }
    if (!find_edit(scratch, rules, &edit, reason))
        return false;
    if (c->has_words) {
        memcpy(begin, c->word_begin, sizeof begin);
        memcpy(end, c->word_end, sizeof end);
    } else if (!pair_words_between(text, len, begin, end)) {
        return refuse(reason, "the sentences do not differ in one word for another");
    }
    *out = (Pair){.category = c->category,
                  .n_ids = scratch->lists[0].n,
                  .edit_index = edit,
                  .onset_index = -1,
                  .onset_byte = -1,
                  .error_side = c->error_side};
    if (c->error_side && c->has_onset) {
        out->onset_index = token_at(&scratch->lists[c->error_side == 'b'], c->onset_byte);
        out->onset_byte = (int64_t)c->onset_byte;
        if (out->onset_index < (int64_t)edit)
            return refuse(reason, "the onset is token %lld, before the edit, token %zu", (long long)out->onset_index, edit);
    }
    if (!copy_pair(c, scratch, begin, end, arena, out)) {
        *status = error_set(e, STATUS_FAILED, "no memory for the pairs");
        return refuse(reason, "no memory");
    }
    return true;
}
