/* tagger_scores.h: how well the built-in tagger does, tag by tag, for captions: measured once by tools/make_tagger_scores.py on
 * UD English EWT's test set with gold tokens, and true of that model only, which its hash tells. */
#ifndef STRATA_EXPERIMENTS_TAGGER_SCORES_H
#define STRATA_EXPERIMENTS_TAGGER_SCORES_H

const char *tagger_scores_version(void); /* SHA-256 of the built-in model, 64 hexadecimal digits; computed at the first call */
double tagger_scores_f1(int upos);       /* NaN where the built-in model is not the measured one, or for no tag */
double tagger_scores_accuracy(void);     /* of all words; NaN likewise */
const char *tagger_scores_corpus(void);  /* "UD English EWT 2.15, test" */

#endif
