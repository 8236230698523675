/* diff_pairs.h: pairs sorted into categories, with what they are clustered by. */
#ifndef STRATA_EXPERIMENTS_DIFF_PAIRS_H
#define STRATA_EXPERIMENTS_DIFF_PAIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "experiments/pair_file.h"

typedef enum DiffKind { DIFF_KIND_OTHER, DIFF_KIND_MEANING, DIFF_KIND_ERROR } DiffKind;
const char *diff_kind_name(DiffKind kind);

/* Pairs of one category. Those edited at the first token of the sentence hit the attention sink and are a category of their own,
 * NAME_first. */
typedef struct DiffCategory {
    char name[40];
    DiffKind kind;  /* error: every pair has an error side; meaning: subject, place, adjective */
    size_t n_pairs; /* in seeded random order */
    size_t *pairs;  /* [n_pairs]: of PairFile.pairs */
    size_t n_templates, n_words;
    size_t *template_of, *word_of; /* [n_pairs]: numbered from 0 by first appearance */
    int32_t *control;              /* [n_pairs]: id put in the edit's place by the matched swap, -1: too few candidates */
    uint16_t *n_candidates;        /* [n_pairs], as far as they were counted */
    double *nearness; /* [n_pairs]: the embedding distance of the pair's tokens over the control's; 1: no control */
    double pair_distance,
        control_distance; /* of the embeddings of the two tokens, means over pairs with a control; NaN: none */
} DiffCategory;

typedef struct DiffCategories {
    DiffCategory *list; /* in the order of PairCategory, NAME before NAME_first */
    size_t n;
    Arena arena;
} DiffCategories;

/* names: "tense,article" or NULL for all. per_category: at most so many pairs of each, drawn at random; 0: all. */
int diff_categories_build(const PairFile *file, const char *names, size_t per_category, uint64_t seed, DiffCategories *out,
                          Error *e);
void diff_categories_free(DiffCategories *c); /* accepts zeroed */

/* The good sentence where one is not, else a: what the other one and the control are compared with. */
const int32_t *diff_base_ids(const Pair *p);
int32_t diff_base_token(const Pair *p);
int32_t diff_other_token(const Pair *p);

#endif
