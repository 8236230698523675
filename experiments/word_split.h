/* word_split.h: splits raw English text into words and sentences as UD English EWT does, keeping byte spans.
 *
 * Words are maximal runs without space, cut at punctuation, hyphens between letters, contractions (do|n't, it|'s, can|not) and
 * currency; URLs, addresses, numbers, times, abbreviations, smileys stay whole. Every byte that is not white space belongs to
 * exactly one word; any bytes are accepted (NUL and invalid UTF-8 count as letters). Tags are the tagger's business. */
#ifndef STRATA_EXPERIMENTS_WORD_SPLIT_H
#define STRATA_EXPERIMENTS_WORD_SPLIT_H

#include "engine/base/error.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct WordSpan {
    size_t begin, end;    /* bytes [begin, end) of the text */
    bool is_sentence_end; /* the last word of its sentence */
    bool is_space_after;  /* white space or the text's end follows */
} WordSpan;

typedef struct WordList {
    WordSpan *words;
    size_t n_words, capacity;
} WordList;

int word_split(const char *text, size_t n_bytes, WordList *list, Error *e);
void word_split_free(WordList *list); /* accepts a zeroed one */

#endif
