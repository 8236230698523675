/* pair_source.h: pairs from a file of the user's own.
 *
 * CSV (or TSV; columns by the names of the first line) or jsonl (objects with these keys), one pair a row:
 *   a, b           the sentences; also sentence_good and sentence_bad, good and bad: then b is the wrong one
 *   category       one of the ten; absent: --category, or by BLiMP's linguistics_term
 *   error_side     a, b, or none; must be known in tense, article, preposition, number and spelling
 *   template       pairs of one template are not independent; absent: BLiMP's UID, else each row is its own (row_LINE)
 *   onset_word     the word at which the wrong sentence becomes so (its first place from the edit on), or
 *   onset_byte     a byte of it, as strata pairs writes it; absent: not known, but the edit where BLiMP says one_prefix_method
 * Other columns and keys are passed over. pairs.jsonl of strata pairs is such a file, so that pairs can be verified for another model. */
#ifndef STRATA_EXPERIMENTS_PAIR_SOURCE_H
#define STRATA_EXPERIMENTS_PAIR_SOURCE_H

#include "experiments/pairs.h"

/* Verifies the rows into run->set. run->o->source names the file. */
int pair_source_read(PairsRun *run, Error *e);

/* One row of any source, verified into the set: kept, or refused with the reason. Strings may be NULL or empty: absent. */
typedef struct PairFields {
    const char *a, *b, *category, *template_id, *error_side, *onset_word;
    int64_t onset_byte; /* -1: not known */
    bool b_is_wrong;    /* by the columns' names */
    bool onset_is_edit;
} PairFields;
int pair_source_take(PairsRun *run, const PairFields *f, size_t counts[PAIR_N_CATEGORIES], Error *e);

#endif
