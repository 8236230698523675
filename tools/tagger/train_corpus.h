/* train_corpus.h: a treebank as the trainer reads it: words, tags, and the pairs (UPOS, XPOS) that occur. The trainer is a tool of the
 * build: without memory it ends. */
#ifndef STRATA_TAGGER_TRAIN_CORPUS_H
#define STRATA_TAGGER_TRAIN_CORPUS_H

#include "experiments/conllu.h"
#include "experiments/tagger.h"
#include "experiments/tagger_model.h"

enum { TRAIN_MAX_PAIRS = 200 };

typedef struct TrainSentence {
    size_t n;
    TaggerWord *words;
    int *tags;
    int *pairs; /* index of (UPOS, XPOS); -1: seen too rarely */
} TrainSentence;

typedef struct TrainPair {
    char xpos[TAGGER_XPOS_NAME_BYTES];
    int upos;
    size_t count;
} TrainPair;

void *train_allocate(size_t n, size_t bytes); /* zeroed; ends the program without memory */

/* All sentences; pairs [TRAIN_MAX_PAIRS] gets those not yet among its first *n_pairs, with their counts, if `add`. */
TrainSentence *train_sentences(const ConlluFile *file, TrainPair *pairs, int *n_pairs, bool add);

#endif
