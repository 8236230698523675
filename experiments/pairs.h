/* pairs.h: what one run of `strata pairs` stands on, shared by its sources. */
#ifndef STRATA_EXPERIMENTS_PAIRS_H
#define STRATA_EXPERIMENTS_PAIRS_H

#include "experiments/pair_set.h"
#include "experiments/pair_templates.h"
#include "experiments/studies.h"
#include "loaders/model_lookup.h"

typedef struct PairsRun {
    const StrataPairsOptions *o;
    const char *output;
    StrBuf rejected_path, meta_path, partial_path; /* STEM.rejected.jsonl, .meta.json, .partial.jsonl */
    bool wanted[PAIR_N_CATEGORIES];
    size_t per_category; /* SIZE_MAX: all of a file */
    ModelPath model;
    Tokenizer *tokenizer;
    PairScratch scratch;
    PairSet set;
    PairShortage shortages[PAIR_N_CATEGORIES]; /* of templates */
    size_t review_refused[PAIR_N_CATEGORIES];
    StrBuf meta;  /* further fields of meta.json, each ", "NAME": VALUE" */
    StrBuf notes; /* lines of the summary */
} PairsRun;

#endif
