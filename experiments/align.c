/* align.c: see align.h. */
#include "experiments/align.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"

/* The bytes of the row that the word [begin, end) of the detokenised text comes from; false when they are none. */
static bool origin_of(const Detokenised *d, const WordSpan *span, AlignWord *word)
{
    bool any = false;
    *word = (AlignWord){.text_begin = span->begin, .text_end = span->end, .is_sentence_end = span->is_sentence_end};
    for (size_t i = span->begin; i < span->end; i++) {
        const DetokeniseSpan *o = &d->origin[i];
        if (o->begin < o->end) {
            word->begin = any ? word->begin : o->begin;
            word->end = o->end;
            any = true;
        }
        word->is_unknown |= (d->flags[i] & DETOKENISE_IS_UNKNOWN) != 0;
        word->is_heading |= (d->flags[i] & DETOKENISE_IS_HEADING) != 0;
    }
    return any;
}

static void label(AlignRow *r, size_t begin, size_t end, size_t word)
{
    for (size_t b = begin; b < end; b++)
        r->word_of_byte[b] = (int32_t)word;
}

/* Merges words and marks by position. Spaces inside a word (they come from no byte of the text) keep their -1. */
static void merge(AlignRow *r, const WordSpan *spans, size_t n_spans)
{
    const Detokenised *d = &r->detokenised;
    size_t mark = 0;
    for (size_t s = 0; s <= n_spans; s++) {
        AlignWord word = {0};
        bool any = s < n_spans && origin_of(d, &spans[s], &word);
        while (mark < d->n_marks && (s == n_spans || (any && d->marks[mark].begin < word.begin))) {
            const DetokeniseSpan *m = &d->marks[mark++];
            label(r, m->begin, m->end, r->n_words);
            r->words[r->n_words++] = (AlignWord){.begin = m->begin, .end = m->end, .is_mark = true, .is_heading = true};
        }
        if (!any)
            continue;
        for (size_t i = spans[s].begin; i < spans[s].end; i++)
            label(r, d->origin[i].begin, d->origin[i].end, r->n_words);
        r->words[r->n_words++] = word;
    }
}

static int check_spans(const Detokenised *d, const WordSpan *spans, size_t n, Error *e)
{
    size_t at = 0;
    for (size_t s = 0; s < n; s++) {
        if (spans[s].begin < at || spans[s].end <= spans[s].begin || spans[s].end > d->n_bytes)
            return error_set(e, STATUS_FAILED, "align: word %zu at bytes %zu to %zu of %zu, after byte %zu", s, spans[s].begin,
                             spans[s].end, d->n_bytes, at);
        at = spans[s].end;
    }
    return STATUS_OK;
}

int align_words(const char *text, size_t n_bytes, const DetokeniseOptions *options, const WordSpan *spans, size_t n_spans,
                AlignRow *out, Error *e)
{
    WordList split = {0};
    size_t n = 0, bytes = 0;
    *out = (AlignRow){.n_bytes = n_bytes};
    int status = detokenise(text, n_bytes, options, &out->detokenised, e);
    if (!status && !spans) {
        status = word_split(out->detokenised.text, out->detokenised.n_bytes, &split, e);
        spans = split.words;
        n_spans = split.n_words;
    }
    if (!status)
        status = check_spans(&out->detokenised, spans, n_spans, e);
    if (status)
        goto done;
    if (!checked_add(n_spans, out->detokenised.n_marks, &n) || n >= INT32_MAX ||
        !checked_mul(n + 1, sizeof *out->words, &bytes))
        status = error_set(e, STATUS_FAILED, "align: %zu words are too many for one row", n_spans);
    else if (!(out->words = malloc(bytes)) || !(out->word_of_byte = malloc((n_bytes + 1) * sizeof *out->word_of_byte)))
        status = error_set(e, STATUS_FAILED, "align: out of memory for %zu words", n);
    if (status)
        goto done;
    for (size_t b = 0; b < n_bytes; b++)
        out->word_of_byte[b] = -1;
    merge(out, spans, n_spans);
done:
    word_split_free(&split);
    if (status)
        align_row_free(out);
    return status;
}

void align_row_free(AlignRow *r)
{
    detokenise_free(&r->detokenised);
    free(r->words);
    free(r->word_of_byte);
    *r = (AlignRow){0};
}

static void mark_unscored(AlignRow *r, size_t begin, size_t end)
{
    for (size_t b = begin; b < end; b++)
        if (r->word_of_byte[b] >= 0)
            r->words[r->word_of_byte[b]].state = ALIGN_UNSCORED;
}

static bool begins_with_space(const AlignRow *r, const AlignTokens *t, size_t i)
{
    return t->byte_start[i] < t->byte_end[i] && r->word_of_byte[t->byte_start[i]] < 0;
}

static void give(AlignRow *r, const AlignTokens *t, size_t i, int32_t word)
{
    AlignWord *w = &r->words[word];
    if (!w->n_tokens++) {
        w->first = i;
        w->opens_with_space = begins_with_space(r, t, i);
    }
    w->last = i;
}

int align_tokens(AlignRow *r, const AlignTokens *t, int32_t *word_of_token, Error *e)
{
    size_t scored_to = 0; /* end of the bytes before this token for which tokens were predicted */
    for (size_t w = 0; w < r->n_words; w++) {
        r->words[w].state = ALIGN_SCORED;
        r->words[w].n_tokens = 0;
    }
    for (size_t i = 0; i < t->n; i++) {
        int64_t begin = t->byte_start[i], end = t->byte_end[i];
        if (begin < 0 || end < begin || (uint64_t)end > r->n_bytes || (i && begin < t->byte_start[i - 1]))
            return error_set(e, STATUS_FAILED,
                             "token %zu of the row: bytes %lld to %lld, expected a span of a row of %zu bytes "
                             "after byte %lld",
                             i, (long long)begin, (long long)end, r->n_bytes, (long long)(i ? t->byte_start[i - 1] : 0));
        if (i == 0 || t->window[i] != t->window[i - 1])
            mark_unscored(r, scored_to, (size_t)begin);
        scored_to = (size_t)end > scored_to ? (size_t)end : scored_to;
        word_of_token[i] = -1;
        for (int64_t b = begin; b < end && word_of_token[i] < 0; b++)
            word_of_token[i] = r->word_of_byte[b];
        if (word_of_token[i] >= 0)
            give(r, t, i, word_of_token[i]);
    }
    mark_unscored(r, scored_to, r->n_bytes);
    for (size_t w = 0; w < r->n_words; w++) {
        AlignWord *word = &r->words[w];
        size_t next = word->last + 1;
        if (word->state == ALIGN_SCORED && !word->n_tokens)
            word->state = ALIGN_NO_TOKEN;
        word->is_followed_by_space =
            word->n_tokens && next < t->n && t->window[next] == t->window[word->last] && begins_with_space(r, t, next);
    }
    return STATUS_OK;
}
