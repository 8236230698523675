/* pos_run.h: a finished sweep opened for reading: its folder found, ppl.json's head, rows.jsonl, the ledger, bootstrap units.
 *
 * The folder. OUTPUT_DIR/EXPERIMENT/ holds folders SLUG_DATASET_nN. A name means one of them when it is the whole slug
 * ("meta_llama_Meta_Llama_3_8B"), a hub id whose slug that is, or what ppl.json has as "model", whole or after its last "/":
 * always exactly, never a beginning ("Meta-Llama-3-8B" is not "Meta-Llama-3-8B-Instruct"). None or several: STATUS_USAGE, and
 * the message lists them. A path of a folder that holds ppl.json is that folder.
 *
 * Files may be anybody's: spans, rows and windows are checked against each other here, so that others need not. */
#ifndef STRATA_EXPERIMENTS_POS_RUN_H
#define STRATA_EXPERIMENTS_POS_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/strbuf.h"
#include "engine/ledger.h"
#include "experiments/result_file.h"
#include "experiments/studies.h"

typedef enum PosRowKind { POS_ROW_PLAIN, POS_ROW_HEADING, POS_ROW_BODY } PosRowKind;

typedef struct PosRow {
    const char *text;
    size_t len;
    PosRowKind kind;
    int64_t article;              /* -1: not known */
    size_t first_token, n_tokens; /* on the token axis */
} PosRow;

typedef struct PosOrder {
    const char *name, *spec;
    const double *layers; /* [n_layers]: the index array; NULL: not one */
    size_t n_layers;
} PosOrder;

typedef struct PosRun {
    const char *dir;
    ResultFile ppl;
    const char *model, *dataset, *experiment; /* in ppl */
    uint64_t n_samples, seed;
    size_t n_resamples;
    bool is_wikitext, units_are_articles;
    PosOrder *orders; /* [ledger.n_orders], 0 the intact one */
    PosRow *rows;
    size_t n_rows;
    LedgerView ledger;
    int32_t *unit; /* [n_windows]: numbered by first appearance */
    size_t n_windows, n_units;
    Arena arena;
} PosRun;

/* dir is replaced. */
int pos_run_find(const StrataPosOptions *options, StrBuf *dir, Error *e);
int pos_run_open(const char *dir, PosRun *out, Error *e); /* dir must stay */
void pos_run_close(PosRun *r);                            /* accepts zeroed and half-built */

#endif
