/* word_split.c: the rules of word_split.h. A run of non-space bytes is taken apart from the left: a run that is an address stays
 * whole; else opening marks, then a core of letters, digits and joined marks, then contractions within the core. */
#include "experiments/word_split.h"

#include "engine/base/checked.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_letter(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 128 || c < 9 || (c > 13 && c < 28);
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

/* Bytes of white space at s: ASCII, U+00A0, U+2000..U+200A, U+2028, U+2029, U+202F, U+3000; 0 for none. */
static size_t space_bytes(const unsigned char *s, size_t n)
{
    if (s[0] == ' ' || (s[0] >= 9 && s[0] <= 13) || (s[0] >= 28 && s[0] <= 31))
        return 1;
    if (n >= 2 && s[0] == 0xc2 && s[1] == 0xa0)
        return 2;
    if (n >= 3 && s[0] == 0xe2 && s[1] == 0x80 &&
        ((s[2] >= 0x80 && s[2] <= 0x8a) || s[2] == 0xa8 || s[2] == 0xa9 || s[2] == 0xaf))
        return 3;
    return n >= 3 && s[0] == 0xe3 && s[1] == 0x80 && s[2] == 0x80 ? 3 : 0;
}

/* Bytes of a typographic mark (general punctuation, guillemets) at s; 0 for none. */
static size_t mark_bytes(const unsigned char *s, size_t n)
{
    if (n >= 3 && s[0] == 0xe2 && s[1] == 0x80 && s[2] >= 0x90 && s[2] <= 0xba && !space_bytes(s, n))
        return 3;
    return n >= 2 && s[0] == 0xc2 && (s[1] == 0xab || s[1] == 0xbb || s[1] == 0xa3 || s[1] == 0xa1 || s[1] == 0xbf) ? 2 : 0;
}

/* Bytes of an apostrophe, straight or curly, at s; 0 for none. */
static size_t apostrophe_bytes(const unsigned char *s, size_t n)
{
    if (n >= 1 && s[0] == '\'')
        return 1;
    return n >= 3 && s[0] == 0xe2 && s[1] == 0x80 && s[2] == 0x99 ? 3 : 0;
}

static bool equals(const unsigned char *s, size_t n, const char *word)
{
    return strlen(word) == n && !strncasecmp((const char *)s, word, n);
}

static bool is_abbreviation(const unsigned char *s, size_t n)
{
    static const char *const list[] = {"mr",  "mrs",  "ms",   "dr",  "prof", "st",  "jr",  "sr",   "gen", "col",  "sgt",
                                       "lt",  "capt", "rev",  "hon", "gov",  "sen", "rep", "inc",  "ltd", "co",   "corp",
                                       "vs",  "etc",  "no",   "vol", "fig",  "jan", "feb", "mar",  "apr", "jun",  "jul",
                                       "aug", "sep",  "sept", "oct", "nov",  "dec", "ave", "blvd", "rd",  "dept", "est",
                                       "al",  "ed",   "eds",  "p",   "pp",   "a.m", "p.m", "u.s",  "e.g", "i.e"};
    if (n == 1)
        return is_letter(s[0]);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (equals(s, n, list[i]))
            return true;
    for (size_t i = 0; i < n; i++)
        if (i % 2 ? s[i] != '.' : !is_letter(s[i]) || s[i] >= 128)
            return false;
    return n % 2;
}

static int add(WordList *list, size_t begin, size_t end, Error *e)
{
    if (list->n_words == list->capacity) {
        size_t more = list->capacity ? list->capacity : 32, bytes;
        if (!checked_mul(more, 2, &more) || !checked_mul(more, sizeof *list->words, &bytes))
            return error_set(e, STATUS_FAILED, "word_split: too many words");
        WordSpan *grown = realloc(list->words, bytes);
        if (!grown)
            return error_set(e, STATUS_FAILED, "word_split: out of memory for %zu words", more);
        list->words = grown;
        list->capacity = more;
    }
    list->words[list->n_words++] = (WordSpan){.begin = begin, .end = end};
    return STATUS_OK;
}

/* Where the contraction at the end of a core of letters begins; n for none. */
static size_t contraction_at(const unsigned char *s, size_t n)
{
    static const char *const clitics[] = {"s", "m", "d", "re", "ve", "ll"};
    for (size_t i = n > 5 ? n - 5 : 1; i < n; i++) {
        size_t mark = apostrophe_bytes(s + i, n - i);
        if (!mark)
            continue;
        const unsigned char *rest = s + i + mark;
        size_t n_rest = n - i - mark;
        if (n_rest == 1 && (rest[0] | 32) == 't' && i >= 2 && (s[i - 1] | 32) == 'n')
            return i - 1;
        for (size_t k = 0; k < sizeof clitics / sizeof *clitics; k++)
            if (equals(rest, n_rest, clitics[k]))
                return i;
    }
    static const char *const joined[] = {"cannot", "gonna",  "wanna", "gotta", "dont",
                                         "didnt",  "doesnt", "cant",  "isnt",  "wasnt"};
    for (size_t k = 0; k < sizeof joined / sizeof *joined; k++)
        if (equals(s, n, joined[k]))
            return k == 3 ? 2 : k < 4 ? 3 : n - 2;
    return n;
}

/* Length of the core at s: letters, digits, and marks that join them. 0 where none begins. */
static size_t core_bytes(const unsigned char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        size_t mark = mark_bytes(s + i, n - i);
        unsigned char before = i ? s[i - 1] : ' ';
        unsigned char after = i + 1 < n ? s[i + 1] : ' ';
        size_t quote = apostrophe_bytes(s + i, n - i);
        if (quote && i && is_letter(before) && i + quote < n && is_letter(s[i + quote]) &&
            !mark_bytes(s + i + quote, n - i - quote))
            i += quote;
        else if (mark)
            break;
        else if (is_letter(s[i]) || is_digit(s[i]) || s[i] == '_')
            i++;
        else if (i && (s[i] == '.' || s[i] == ',' || s[i] == ':' || s[i] == '/') && is_digit(before) && is_digit(after))
            i++;
        else if (i && s[i] == '.' && is_letter(before) && is_letter(after))
            i++;
        else if (i && s[i] == '&' && is_letter(before) && is_letter(after))
            i++;
        else
            break;
    }
    return i;
}

/* What is left of a run. Its marks of addresses are searched for once, not at every word: a run may be the whole text. */
typedef struct Rest {
    const unsigned char *end, *at_sign, *last_dot; /* the first "@" that is not behind, the run's last "."; NULL: none */
} Rest;

static Rest rest_begin(const unsigned char *s, size_t n)
{
    Rest rest = {.end = s + n, .at_sign = memchr(s, '@', n)};
    for (size_t i = n; i > 0 && !rest.last_dot; i--)
        rest.last_dot = s[i - 1] == '.' ? s + i - 1 : NULL;
    return rest;
}

static bool is_address(const unsigned char *s, Rest *rest)
{
    size_t n = (size_t)(rest->end - s);
    if (rest->at_sign && rest->at_sign < s)
        rest->at_sign = memchr(s, '@', n);
    const unsigned char *at = rest->at_sign;
    if ((n > 7 && !strncasecmp((const char *)s, "http://", 7)) || (n > 8 && !strncasecmp((const char *)s, "https://", 8)) ||
        (n > 4 && !strncasecmp((const char *)s, "www.", 4)))
        return true;
    return at && at > s && at + 1 < rest->end && rest->last_dot && rest->last_dot > at && is_letter(at[1]);
}

static bool is_smiley(const unsigned char *s, size_t n)
{
    static const char *const list[] = {":)", ":(", ";)", ":-)", ":-(", ";-)", ":D", ":P", "=)", "<3", ":/"};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (equals(s, n, list[i]))
            return true;
    return false;
}

/* Splits the run [begin, end) of non-space bytes. */
static int split_run(const unsigned char *text, size_t begin, size_t end, WordList *list, Error *e)
{
    size_t at = begin;
    Rest rest = rest_begin(text + begin, end - begin);
    int status = STATUS_OK;
    while (at < end && !status) {
        const unsigned char *s = text + at;
        size_t n = end - at, core = core_bytes(s, n), mark = mark_bytes(s, n);
        size_t quote = apostrophe_bytes(s, n);
        if (is_smiley(s, n)) {
            core = n;
        } else if (is_address(s, &rest)) {
            for (core = n; core > 1 && strchr(".,;:!?)]}>\"'", s[core - 1]) && s[core - 1];)
                core--;
        } else if (core) {
            if (core < n && s[core] == '.' && is_abbreviation(s, core))
                core++;
            size_t cut = contraction_at(s, core);
            if (cut < core) {
                status = add(list, at, at + cut, e);
                at += cut;
                core -= cut;
            }
        } else if (quote && at > begin && (n == quote + 1 || (n > quote && !is_letter(s[quote + 1]))) &&
                   (s[quote] | 32) == 's') {
            core = quote + 1;
        } else if (mark) {
            core = mark;
        } else {
            /* A run of one repeated mark (... -- !!!, also ?! mixed) is one word; other marks stand alone. */
            core = 1;
            if (strchr(".-!?*=_~#+", s[0]) && s[0])
                while (core < n && (s[core] == s[0] || (strchr("!?", s[0]) && strchr("!?", s[core]) && s[core])))
                    core++;
        }
        if (!status)
            status = add(list, at, at + core, e);
        at += core;
    }
    return status;
}

static bool is_closing(const unsigned char *s, size_t n)
{
    return (n == 1 && strchr(".!?)]\"'", s[0]) && s[0]) || (n == 2 && s[0] == '\'' && s[1] == '\'') ||
           (n == 3 && s[0] == 0xe2 && s[1] == 0x80 && (s[2] == 0x9d || s[2] == 0x99));
}

/* Ends a sentence after . ! ? and what closes with it, before a word that does not begin in lower case; and at blank lines. */
static void mark_sentences(const unsigned char *text, WordList *list)
{
    bool is_ending = false;
    for (size_t i = 0; i < list->n_words; i++) {
        WordSpan *w = &list->words[i];
        const unsigned char *s = text + w->begin;
        size_t n = w->end - w->begin, newlines = 0;
        bool is_last = i + 1 == list->n_words;
        is_ending = (strchr(".!?", s[0]) && s[0] && s[n - 1] == s[0]) || (is_ending && is_closing(s, n)) ||
                    (n >= 1 && (s[n - 1] == '!' || s[n - 1] == '?') && !is_letter(s[0]));
        for (size_t k = w->end; !is_last && k < list->words[i + 1].begin; k++)
            newlines += text[k] == '\n';
        if (is_last || newlines > 1) {
            w->is_sentence_end = true;
            is_ending = false;
            continue;
        }
        const WordSpan *next = &list->words[i + 1];
        unsigned char first = text[next->begin];
        if (is_ending && w->is_space_after && !(first >= 'a' && first <= 'z')) {
            w->is_sentence_end = true;
            is_ending = false;
        }
    }
}

int word_split(const char *text, size_t n_bytes, WordList *list, Error *e)
{
    const unsigned char *s = (const unsigned char *)text;
    *list = (WordList){0};
    size_t at = 0;
    while (at < n_bytes) {
        size_t space = space_bytes(s + at, n_bytes - at), end = at;
        if (space) {
            at += space;
            continue;
        }
        while (end < n_bytes && !space_bytes(s + end, n_bytes - end))
            end++;
        int status = split_run(s, at, end, list, e);
        if (status) {
            word_split_free(list);
            return status;
        }
        list->words[list->n_words - 1].is_space_after = true;
        at = end;
    }
    mark_sentences(s, list);
    return STATUS_OK;
}

void word_split_free(WordList *list)
{
    free(list->words);
    *list = (WordList){0};
}
