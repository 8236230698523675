/* pair_verify.h: whether two sentences are a one-token pair under a tokenizer: as many ids (without BOS), different at one place alone.
 * What is not is refused with a reason a person can act on. */
#ifndef STRATA_EXPERIMENTS_PAIR_VERIFY_H
#define STRATA_EXPERIMENTS_PAIR_VERIFY_H

#include "experiments/pair_file.h"
#include "loaders/tokenizer.h"

typedef struct PairCandidate {
    const char *a, *b;
    size_t a_len, b_len;
    PairCategory category;
    const char *template_id;
    size_t template_len;
    char error_side; /* 'a', 'b', 0 */
    bool has_words;  /* words[side] = [word_begin, word_end) of each sentence; otherwise found by comparing */
    size_t word_begin[2], word_end[2];
    bool has_onset;
    size_t onset_byte; /* of the ungrammatical sentence: a byte of the word at which it becomes so */
} PairCandidate;

typedef struct PairRules {
    size_t min_words, max_words; /* between spaces; 0: any */
    size_t first_edit;           /* the edit is not before this token */
    size_t last_edit;            /* nor behind this one; SIZE_MAX: anywhere */
} PairRules;

typedef struct PairScratch {
    TokenList lists[2];
} PairScratch; /* zeroed at first */

/* Fills *out with copies in `arena` and returns true, or writes why not. status is not 0 where memory is out. */
bool pair_verify(const Tokenizer *t, const PairCandidate *c, const PairRules *rules, PairScratch *scratch, Arena *arena,
                 Pair *out, char reason[200], int *status, Error *e);
void pair_scratch_free(PairScratch *s);

/* The words in which two sentences differ, without punctuation around: [begin, end) of each. False: none is left in one of them. */
bool pair_words_between(const char *const text[2], const size_t len[2], size_t begin[2], size_t end[2]);

#endif
