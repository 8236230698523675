/* pos_words.h: the words of a sweep's rows with tags and tokens, which of them count, and pos_words.csv.
 *
 * Counted are the words of body rows (of all rows where kinds are not known) that hold no <unk>, have a token of their own and no
 * byte outside the predicted tokens. A word that fails more than one of these is put down to the first.
 *
 * pos_words.csv: row, byte_start, byte_end (of the row's UTF-8 text), upos, xpos, posterior (of upos; 1 with gold tags), status
 * (counted, heading, unknown, unscored, no_token, mark), first_token, n_tokens (on the ledger's token axis; empty and 0 without),
 * unit (bootstrap), frequency_band, row_position. One line a word, in order; the words are disjoint and hold every byte that is
 * not white space. */
#ifndef STRATA_EXPERIMENTS_POS_WORDS_H
#define STRATA_EXPERIMENTS_POS_WORDS_H

#include "experiments/pos_run.h"

typedef enum PosStatus {
    POS_COUNTED,
    POS_HEADING,
    POS_UNKNOWN,
    POS_UNSCORED,
    POS_NO_TOKEN,
    POS_MARK, /* the = of a heading */
    POS_N_STATUS
} PosStatus;

enum { POS_N_BANDS = 5, POS_N_POSITIONS = 5, POS_MAX_XPOS = 255 };
#define POS_CONFIDENT 0.9

typedef struct PosWord {
    size_t begin, end;           /* bytes of the row */
    size_t first, last;          /* tokens, on the token axis; tokens of white space between them are none of its */
    double posterior;            /* of upos */
    int32_t row, unit, n_tokens; /* unit -1: no token */
    int16_t upos, xpos;          /* xpos -1: none; both -1 for a mark */
    unsigned char status, band, position;
    bool opens_with_space, is_followed_by_space; /* align.h */
} PosWord;

typedef struct PosWords {
    PosWord *words;
    size_t n_words, capacity;
    int32_t *word_of_token; /* [n_tokens], -1: none */
    uint64_t n_status[POS_N_STATUS], n_tokens_without_word;
    const char *xpos_names[POS_MAX_XPOS];
    size_t n_xpos;
    char tags[160]; /* where the tags come from: "tagger 0123456789abcdef", "gold FILE sha256" */
    bool is_gold;
    Arena arena;
} PosWords;

extern const char *const pos_status_names[POS_N_STATUS];
extern const char *const pos_band_names[POS_N_BANDS];         /* fifths of the counted words by their form's frequency */
extern const char *const pos_position_names[POS_N_POSITIONS]; /* places in the row, from 1 */

/* gold NULL: the tagger's tags. */
int pos_words_build(const PosRun *run, const char *gold, PosWords *out, Error *e);
int pos_words_write(const PosRun *run, const PosWords *words, Error *e); /* pos_words.csv */
void pos_words_free(PosWords *w);                                        /* accepts zeroed and half-built */

#endif
