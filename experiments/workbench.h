/* workbench.h: what a study stands on: the model found, its tokenizer, an arithmetic with threads. Opened from the options common to all
 * studies, with their defaults resolved. */
#ifndef STRATA_EXPERIMENTS_WORKBENCH_H
#define STRATA_EXPERIMENTS_WORKBENCH_H

#include <stdbool.h>

#include "engine/run.h"
#include "experiments/studies.h"
#include "kernels/device.h"
#include "loaders/model_lookup.h"
#include "loaders/tokenizer.h"

typedef enum TokenizerNeed { TOKENIZER_NONE, TOKENIZER_IF_THERE, TOKENIZER_REQUIRED } TokenizerNeed;

typedef struct Workbench {
    const StrataCommon *common;
    ModelPath path;
    Model model;
    Session session;
    Tokenizer *tokenizer; /* NULL: none */
    Device chosen;
    const char *device; /* chosen's stamp: "cpu", "NVIDIA H100 80GB HBM3" */
    const char *dtype, *numerics, *rope;
    bool bos;       /* --bos resolved against the tokenizer */
    int32_t bos_id; /* -1: none */
    size_t context;
    uint8_t *word_start; /* [V], or NULL without a tokenizer */
} Workbench;

int workbench_open(const StrataCommon *common, TokenizerNeed need, Workbench *out, Error *e);
void workbench_close(Workbench *w); /* accepts zeroed and half-built */
bool workbench_stopped(const Workbench *w);

/* One text or id list ("1,2,3") as ids, with BOS where --bos says so; malloc'ed. */
int workbench_ids(const Workbench *w, const char *text, const char *ids, int32_t **out, size_t *n, Error *e);

/* Opens the tokenizer of a found model without its weights. */
int workbench_open_tokenizer(const ModelPath *path, Tokenizer **out, Error *e);

#endif
