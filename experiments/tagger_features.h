/* tagger_features.h: what the part-of-speech tagger sees of a word and of its neighbours, as 32-bit feature hashes.
 *
 * Trainer and tagger share this file, so that a model is always asked with the features it was trained on. A feature is the
 * hash of (template number, values). Nothing here knows weights or tags. */
#ifndef STRATA_EXPERIMENTS_TAGGER_FEATURES_H
#define STRATA_EXPERIMENTS_TAGGER_FEATURES_H

#include "experiments/tagger_model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TAGGER_MAX_FEATURES = 80, TAGGER_N_AFFIX = 5, TAGGER_N_XPOS_SHARED = 25, TAGGER_MAX_XPOS_FEATURES = 40 };

/* In the table of word clusters, whose keys are tagger_features_word: a frequent word, which is a cluster by itself. */
enum { TAGGER_OWN_CLUSTER = 255 };

typedef struct TaggerWord {
    const char *bytes; /* not terminated; any bytes */
    size_t n_bytes;
} TaggerWord;

/* What is known of one word before its neighbours are looked at. */
typedef struct TaggerLook {
    uint32_t form;                   /* the bytes, digits as 0 */
    uint32_t lower;                  /* the same in lower case */
    uint32_t prefix[TAGGER_N_AFFIX]; /* of 1..5 characters, in lower case; 0 where the word is shorter */
    uint32_t suffix[TAGGER_N_AFFIX];
    uint32_t shape;        /* runs of X x 0 and other bytes, shortened */
    uint32_t fine, coarse; /* clusters; of words without one, the shape */
    bool is_upper_first, is_all_upper, has_letter;
} TaggerLook;

/* Looks a word up in the table of clusters as it stands, then in lower case. Work is bounded: of very long words only the ends
 * count. */
void tagger_features_look(TaggerWord word, TaggerTable clusters, TaggerLook *look);
/* The key of a word in the cluster table. */
uint32_t tagger_features_word(TaggerWord word);

/* Features of word i of n. `looks` may be NULL-free of borders: words beyond the sentence are supplied here. Writes at most
 * TAGGER_MAX_FEATURES hashes, none 0, and returns how many. is_shouting: a sentence whose case says nothing. */
int tagger_features_of(const TaggerLook *looks, size_t n, size_t i, bool is_shouting, uint32_t *features);

/* Whether the feature at this place of tagger_features_of names the word itself: the trainer hides those at times. */
bool tagger_features_is_lexical(int place);

/* Features for the fine tag of a word, from those of tagger_features_of and the coarse tags around it (-1 beyond the sentence).
 * Returns how many, at most TAGGER_MAX_XPOS_FEATURES. */
int tagger_features_xpos(const uint32_t *features, int before2, int before, int after, uint32_t *out);
/* The hash under which the weight of a fine tag for a feature lies. */
uint32_t tagger_features_pair(uint32_t feature, uint32_t fine_tag);

/* True where capital letters tell nothing: all letters upper case, or nearly every word begins with one. */
bool tagger_features_shouting(const TaggerLook *looks, size_t n);

#endif
