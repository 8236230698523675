/* pair_templates.h: pairs drawn from a grammar until each category has as many as asked for, or its sentences are used up.
 *
 * Round by round each template gives one pair: of a few drawn and verified ones, that whose edited words were taken least often. Each category
 * draws from its own stream of the seed, so that it gives the same pairs whatever other categories are asked for, and a larger number only
 * adds to a smaller one's. A template that gave nothing in two rounds is done; an edited word that was several tokens
 * three times is left alone. Nothing is padded: `why` says what was missing. */
#ifndef STRATA_EXPERIMENTS_PAIR_TEMPLATES_H
#define STRATA_EXPERIMENTS_PAIR_TEMPLATES_H

#include <signal.h>

#include "experiments/pair_grammar.h"
#include "experiments/pair_set.h"

typedef struct PairTemplatesOptions {
    bool wanted[PAIR_N_CATEGORIES];
    size_t per_category;
    uint64_t seed;
    bool first_token; /* templates that edit the first token, and only these */
    bool quiet;
    const volatile sig_atomic_t *stop; /* may be NULL */
} PairTemplatesOptions;

typedef struct PairShortage {
    size_t n_templates, n_done; /* of the category, and those whose sentences are used up */
} PairShortage;

int pair_templates_fill(const PairGrammar *g, const Tokenizer *t, const PairTemplatesOptions *o, PairSet *set,
                        PairShortage shortages[PAIR_N_CATEGORIES], Error *e);

#endif
