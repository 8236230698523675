/* pair_file.h: pairs.jsonl, sentence pairs that differ in one token. UTF-8, one object a line:
 *   a, b         the sentences
 *   category     one of PairCategory's names
 *   template     what the pair was made from: pairs of one template are not independent
 *   words        [x, y], the edited words in a and in b: the other cluster
 *   ids_a, ids_b the tokens of a and b without BOS: as many, and different at edit_index alone
 *   edit_index   counted without BOS; 0 is a class of its own (the attention sink), never left out here
 *   error_side   "a" or "b", the ungrammatical one; null: both are good. Always null where the category is no error (subject, place,
 *                adjective, article_choice)
 *   onset_index  the first token that makes the string ungrammatical, not before the edit; null: none or not known
 * All of them must be there; other keys are left alone. The same (a, b) twice is an error. Empty lines are skipped.
 * Leaves to others: making pairs, and whether the ids are those of the model's tokenizer. */
#ifndef STRATA_EXPERIMENTS_PAIR_FILE_H
#define STRATA_EXPERIMENTS_PAIR_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"

typedef enum PairCategory {
    PAIR_SUBJECT,
    PAIR_PLACE,
    PAIR_ADJECTIVE,
    PAIR_TENSE,
    PAIR_ARTICLE,
    PAIR_ARTICLE_CHOICE,
    PAIR_PREPOSITION,
    PAIR_NUMBER,
    PAIR_NEGATION,
    PAIR_SPELLING,
    PAIR_N_CATEGORIES
} PairCategory;

typedef struct Pair {
    const char *a, *b, *template_id, *words[2];
    PairCategory category;
    size_t n_ids;
    const int32_t *ids_a, *ids_b;
    size_t edit_index;
    int64_t onset_index; /* -1: null */
    char error_side;     /* 'a', 'b'; 0: null */
    int64_t
        onset_byte; /* of the ungrammatical sentence, where the onset is known; makes pairs for another tokenizer. -1: null, absent */
    size_t line; /* in the file, from 1 */
} Pair;

typedef struct PairFile {
    Pair *pairs; /* in the file's order */
    size_t n_pairs;
    Arena arena; /* the pairs' strings and ids */
} PairFile;

const char *pair_category_name(PairCategory category);
int pair_category_find(const char *name); /* -1: there is none */

/* n_vocab: ids must be below it; 0: any id. An error names file and line. A file without a pair is an error. */
int pair_file_read(const char *path, size_t n_vocab, PairFile *out, Error *e);
void pair_file_free(PairFile *f);

#endif
