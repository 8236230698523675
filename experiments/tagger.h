/* tagger.h: English part-of-speech tags (Universal Dependencies' 17) with a posterior for each word.
 *
 * A linear-chain conditional random field: score of a sentence's tags = sum of the words' feature weights (tagger_features.h)
 * plus the transitions between neighbouring tags. Each word gets the tag of the greatest marginal probability, by the
 * forward-backward recursion, and that probability. Weights are 8-bit integers with one scale, so that the scores are exact and
 * the same on every machine. An opened tagger is never written to: threads may share it. Training: tools/tagger/. */
#ifndef STRATA_EXPERIMENTS_TAGGER_H
#define STRATA_EXPERIMENTS_TAGGER_H

#include "engine/base/error.h"
#include "experiments/tagger_features.h"

enum { TAGGER_N_UPOS = 17 };

typedef struct Tagger Tagger;

typedef struct TaggerTag {
    int upos;         /* index for tagger_upos_name */
    int xpos;         /* index for tagger_xpos_name, -1 where the model has no fine tags */
    double posterior; /* marginal probability of upos, 0..1 */
} TaggerTag;

/* The model inside the binary. */
int tagger_open(Tagger **out, Error *e);

/* A model in memory, which must stay until tagger_close; name is for messages. */
int tagger_open_memory(const void *bytes, size_t n_bytes, const char *name, Tagger **out, Error *e);
void tagger_close(Tagger *tagger);

/* Tags one sentence of n words (0 is fine). Memory for the recursion is allocated and freed inside. */
int tagger_tag(const Tagger *tagger, const TaggerWord *words, size_t n, TaggerTag *tags, Error *e);

const char *tagger_upos_name(int upos); /* "X" for anything out of range */
int tagger_upos_find(const char *name); /* -1 for none */
const char *tagger_xpos_name(const Tagger *tagger, int xpos);

#endif
