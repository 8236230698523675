/* align.h: which word each token of a language model belongs to, through byte spans, whatever the tokenizer.
 *
 * Words are the tagger's, cut from the detokenised text and led back to the bytes of the row. Every byte of a row that is not
 * white space belongs to exactly one word (the = of a heading are words of their own, "6 @,@ 000" is one); white space to none,
 * not even inside such a word. A token belongs to the word that holds its first byte which is not white space; tokens of white
 * space only, and tokens without bytes (a prefix space that the tokenizer made up), belong to none.
 *
 *   ALIGN_NO_TOKEN   no token begins in it: `."` is two words and one token, which is the full stop's
 *   ALIGN_UNSCORED   some of its bytes lie where the model predicted nothing: before a window's first predicted token (its first id
 *                    without BOS), after its last one (the row was cut at the context), or in a row without windows
 *
 * Loss of a word. Naive: the sum of its tokens' losses. Where tokens carry their space in front, a token that ends a word does
 * not say so: that mass is in the space of whatever comes next, and the naive product sums to more than one over all words (Pimentel
 * and Meister 2024, arXiv 2406.14561; Oh and Schuler 2024, arXiv 2406.10851). With S the tokens that begin with white space and
 * P(S | c) = exp(word_start_logp) in context c, a word w of tokens t1 .. tk after context c, itself begun with a space, has
 *   P(w, then a border | c, a border) = P(t1 | c) / P(S | c) * prod_{i>1} P(ti | c t<i) * P(S | c t1..tk)
 *   corrected loss = naive loss + word_start_logp at t1 - word_start_logp at the token after tk.
 * The first term is there when t1 begins with white space, the second when the token after tk does (borders inside a string
 * without spaces, do|n't, carry no such mass) and is in the same window; at a text's end it is left out. So the corrected losses of
 * the words of one string between spaces add up to the string's.
 *
 * Left to others: tags (tagger.h), which words are counted and how (pos_words.h). */
#ifndef STRATA_EXPERIMENTS_ALIGN_H
#define STRATA_EXPERIMENTS_ALIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "experiments/detokenise.h"
#include "experiments/word_split.h"

typedef enum AlignState { ALIGN_SCORED, ALIGN_NO_TOKEN, ALIGN_UNSCORED } AlignState;

typedef struct AlignWord {
    size_t begin, end;           /* bytes of the row; ascending and disjoint from word to word */
    size_t text_begin, text_end; /* bytes of the detokenised text; empty for a mark */
    bool is_mark;                /* the = of a heading: no word to a tagger */
    bool is_unknown, is_heading; /* holds an <unk>; in a heading line */
    bool is_sentence_end;
    AlignState state;             /* this and what follows: filled by align_tokens */
    size_t n_tokens, first, last; /* tokens first .. last, those between them that are of white space left out */
    bool opens_with_space;        /* token `first` begins with white space */
    bool is_followed_by_space;    /* token last + 1 is of the same window and begins with white space */
} AlignWord;

typedef struct AlignRow {
    size_t n_bytes;
    Detokenised detokenised;
    AlignWord *words;
    size_t n_words;
    int32_t *word_of_byte; /* [n_bytes]; -1: white space */
} AlignRow;

/* The words of a row. spans NULL: word_split's; else n_spans given ones over the detokenised text, ascending and disjoint, in
 * which every byte must lie that is not white space. */
int align_words(const char *text, size_t n_bytes, const DetokeniseOptions *options, const WordSpan *spans, size_t n_spans,
                AlignRow *out, Error *e);
void align_row_free(AlignRow *r); /* accepts zeroed */

/* Predicted tokens of one row, in order. */
typedef struct AlignTokens {
    const int64_t *byte_start, *byte_end;
    const int32_t *window;
    size_t n;
} AlignTokens;

/* word_of_token[n]: index into r->words, -1: none. A span outside the row, or one that steps back before the one before it, is an
 * error that names the token. */
int align_tokens(AlignRow *r, const AlignTokens *tokens, int32_t *word_of_token, Error *e);

#endif
