/* ledger.h: one record per (order, predicted token), in one safetensors file.
 *
 * ledger.safetensors:
 *   byte_start, byte_end I64; token_id, row, window, position I32                  [tokens]
 *   nll F32 (F64 under ref64), rank I32, top1 I32, kl F32, word_start_logp F32     [orders, tokens]
 * (in the file the 8-byte columns come first, so that everything is aligned).
 * Its metadata hold the fingerprint and, for each array, "sha256.NAME" of its bytes (zeros until the ledger is finished).
 * Only predicted tokens are on the token axis. row indexes rows.jsonl (0-based); window counts evaluated windows; position is the token's index in
 * its window (BOS included); byte_start/end index the row's UTF-8 text (of the whole text under concat and file; 0,0 for ids rows).
 *
 * Written in place at fixed offsets under the name ledger.safetensors.part, with ledger.journal beside it: one line per token
 * block that is complete, fsynced after the block's data. Killed at any moment (kill -9, power), a reopened ledger goes on after
 * its last complete block; ledger_finish renames. Never held in memory whole: blocks come and go through pwrite/pread. */
#ifndef STRATA_ENGINE_LEDGER_H
#define STRATA_ENGINE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/dtype.h"
#include "engine/base/error.h"

typedef struct Ledger Ledger;

typedef struct LedgerShape {
    size_t n_orders, n_tokens;
    DType nll_dtype; /* F32 or F64 */
    size_t n_blocks;
    const size_t *block_tokens; /* [n_blocks]: predicted tokens of each block, summing to n_tokens */
    size_t n_stages; /* 0 or 1: one pass over the data. Greedy sweeps pass over it once a stage: blocks are then counted on,
                        block = stage * n_blocks + block of the stage, and each stage writes other orders */
    const char *fingerprint; /* one line; stamped into metadata and journal: resuming with another one is refused */
} LedgerShape;

typedef struct LedgerTokens { /* [n_tokens] each */
    const int32_t *token_id, *row, *window, *position;
    const int64_t *byte_start, *byte_end;
} LedgerTokens;

/* Results of one order on the tokens of one block, [block_tokens[b]] each. */
typedef struct LedgerBlock {
    const double *nll, *kl, *word_start_logp;
    const int32_t *rank, *top1;
} LedgerBlock;

/* Bytes of the finished file. */
int ledger_bytes(const LedgerShape *shape, size_t *bytes, Error *e);

/* Creates dir/ledger.safetensors.part (all space reserved at once: a full disk is an error now, not hours later) or reopens it. *first_block: the first
 * block still to be computed (n_blocks when a finished ledger.safetensors with this fingerprint lies there). A journal that
 * is torn at its end is cut at its last whole line. */
int ledger_open(const char *dir, const LedgerShape *shape, const LedgerTokens *tokens, Ledger **out, size_t *first_block,
                Error *e);
int ledger_write(Ledger *l, size_t block, size_t order, const LedgerBlock *values, Error *e);
int ledger_commit(Ledger *l, size_t block, Error *e); /* fsync data, then the journal line */
/* All blocks committed: fsync, rename to ledger.safetensors, remove the journal. */
int ledger_finish(Ledger *l, Error *e);
void ledger_close(Ledger *l); /* keeps the part file; accepts NULL */

/* Reading a finished (or partial, up to its committed blocks) ledger, mapped. */
typedef struct LedgerView {
    size_t n_orders, n_tokens;
    DType nll_dtype;
    const void *nll; /* f32 or f64 [orders, tokens] */
    const float *kl, *word_start_logp;
    const int32_t *rank, *top1, *token_id, *row, *window, *position;
    const int64_t *byte_start, *byte_end;
    char *fingerprint;
    void *map; /* owned */
    size_t map_bytes;
} LedgerView;
int ledger_view_open(const char *path, LedgerView *out, Error *e); /* every shape, dtype and size checked */
/* Holds each array of a finished ledger against its sha256 in the metadata; the error names every array that differs. */
int ledger_view_verify(const LedgerView *v, const char *path, Error *e);
double ledger_view_nll(const LedgerView *v, size_t order, size_t token);
void ledger_view_close(LedgerView *v);

#endif
