/* ledger_layout.h: the arrays of ledger.safetensors, in the order in which they lie in the file, for the writer (ledger.c) and the
 * reader (ledger_view.c). Wide types come first, so that every array is aligned to its elements. */
#ifndef STRATA_ENGINE_LEDGER_LAYOUT_H
#define STRATA_ENGINE_LEDGER_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/dtype.h"

enum {
    LEDGER_BYTE_START,
    LEDGER_BYTE_END,
    LEDGER_NLL,
    LEDGER_KL,
    LEDGER_WORD_START_LOGP,
    LEDGER_RANK,
    LEDGER_TOP1,
    LEDGER_TOKEN_ID,
    LEDGER_ROW,
    LEDGER_WINDOW,
    LEDGER_POSITION,
    LEDGER_N_ARRAYS,
    LEDGER_N_RESULTS = LEDGER_TOP1 - LEDGER_NLL + 1 /* arrays with one value per (order, token) */
};

typedef struct LedgerArray {
    const char *name;
    DType dtype; /* DTYPE_NONE: F32 or F64, as the ledger has it */
    bool per_order;
} LedgerArray;

extern const LedgerArray ledger_layout[LEDGER_N_ARRAYS];

#define LEDGER_DIGEST "sha256." /* metadata keys "sha256.nll": of the array's bytes, zeros until the ledger is finished */
enum { LEDGER_DIGEST_KEY = 32 /* bytes that hold any of these keys */ };
#define LEDGER_SCHEMA "strata.ledger/1"
#define LEDGER_FILE "ledger.safetensors"
#define LEDGER_PART "ledger.safetensors.part"
#define LEDGER_JOURNAL "ledger.journal"

#endif
