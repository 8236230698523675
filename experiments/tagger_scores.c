/* tagger_scores.c: see tagger_scores.h. */
#include "experiments/tagger_scores.h"

#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/sha256.h"
#include "experiments/tagger.h"
#include "experiments/tagger_model.h"
#include "experiments/tagger_scores_table.h"

static char version[65];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void compute(void)
{
    Sha256 hash;
    sha256_begin(&hash);
    sha256_update(&hash, tagger_model_bytes, (size_t)((uintptr_t)tagger_model_end - (uintptr_t)tagger_model_bytes));
    sha256_end(&hash, version);
}

const char *tagger_scores_version(void)
{
    pthread_once(&once, compute);
    return version;
}

static int is_measured(void)
{
    return strcmp(tagger_scores_version(), tagger_scores_table_model) == 0;
}

double tagger_scores_f1(int upos)
{
    return upos >= 0 && upos < TAGGER_N_UPOS && is_measured() ? tagger_scores_table_f1[upos] : NAN;
}

double tagger_scores_accuracy(void)
{
    return is_measured() ? tagger_scores_table_accuracy : NAN;
}

const char *tagger_scores_corpus(void)
{
    return tagger_scores_table_corpus;
}
