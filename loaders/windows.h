/* windows.h: rows of text become windows of token ids, what a model sees in one go, and the axis of predicted tokens.
 *
 * The one rule behind every count: a window is a run of ids, its first id is not predicted (nothing stands before it), every
 * other id is. With BOS the first id is BOS, so that every text id of the window is predicted; without BOS the first text id is
 * not. Therefore window w with ids start[w] .. start[w+1]-1 owns the predicted tokens start[w]-w .. start[w+1]-w-2.
 *
 * Protocols (context counts BOS; T = context - 1 with BOS, else context: text ids a window holds):
 *   rows    each row is a window of its first T ids; max_samples counts rows before tokenisation. A row that is left with fewer
 *           than 2 ids has nothing to predict: it stays among the rows and becomes no window.
 *   concat, file   one text, tokenised as one piece, cut every T ids; the last, partial window is dropped; max_samples counts
 *           windows. There is one row: the text up to the last byte that a window covers. Row of every token: 0.
 * Ids rows never get BOS. BOS never has a span.
 *
 * n_unscored counts ids of text that are not predicted: first ids without BOS, ids of rows too short, tails cut at the context,
 * the last partial window. Text beyond max_samples was not asked for and is not counted.
 *
 * Unit of the bootstrap: the article where known (rows of WikiText), else the window.
 * Left to others: reading files (dataset.h), ids (tokenizer.h), writing rows.jsonl (experiments/results.h). */
#ifndef STRATA_LOADERS_WINDOWS_H
#define STRATA_LOADERS_WINDOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "loaders/dataset.h"
#include "loaders/tokenizer.h"

typedef enum WindowProtocol { WINDOW_ROWS, WINDOW_CONCAT, WINDOW_FILE } WindowProtocol;

const char *window_protocol_name(WindowProtocol p);
bool window_protocol_from_name(const char *name, WindowProtocol *out); /* "rows", "concat", "file" */

typedef struct WindowOptions {
    WindowProtocol protocol;
    size_t context;     /* ids of a window at most, BOS included; at least 2 */
    size_t max_samples; /* rows, or windows under concat and file; 0: all */
    bool bos;           /* resolved by the caller (--bos auto is tokenizer_adds_bos) */
    int32_t bos_id;     /* read only with bos; below 0 it is an error */
    size_t vocab;       /* rows of the model's embedding: an id at or above it is an error */
} WindowOptions;

/* The denominators of perplexity per word and bits per byte, over a set of predicted tokens. A word is a string between white
 * space (Python's str.split: Unicode white space and \x1c-\x1f) that holds at least one byte of a predicted token; a byte is
 * counted once, however many tokens cover it. */
typedef struct WindowCounts {
    uint64_t n_tokens, n_words, n_bytes;
} WindowCounts;

typedef struct Windows {
    WindowProtocol protocol;
    size_t context;
    bool bos;

    /* What the model reads. ids + start[w] is window w: block after block it is TokenBlock.ids. */
    int32_t *ids;                     /* [n_ids] */
    size_t *start;                    /* [n_windows + 1], start[0] = 0 */
    size_t n_ids, n_windows, longest; /* longest: ids of the longest window */

    /* Per window. */
    int32_t *window_row; /* [n_windows]: row it comes from */
    int32_t *unit;       /* [n_windows]: bootstrap unit, 0 .. n_units-1 by first appearance */
    size_t n_units;
    bool units_are_articles;

    /* The token axis: predicted tokens, in the order of the windows; the arrays of LedgerTokens. */
    int32_t *token_id, *row, *window, *position; /* [n_tokens]; position: index in its window, at least 1 */
    int64_t *byte_start, *byte_end;              /* [n_tokens]: into the row's text; 0, 0 in ids rows */
    size_t n_tokens;

    /* The rows evaluated, rows.jsonl: rows 0 .. n_rows-1 of the dataset, or the one text. */
    size_t n_rows;
    uint32_t *row_tokens; /* [n_rows]: predicted tokens of each row (saturated at 2^32-1) */
    const char *text;     /* concat, file: the text as far as windows cover it, owned by the dataset; rows: NULL */
    size_t text_len;

    uint64_t n_unscored;
    WindowCounts counts;  /* of all predicted tokens; words and bytes are 0 when has_text is false */
    bool has_text;        /* no ids row gave a window */
    char rows_sha256[65]; /* rows: of the rows evaluated, each as 8-byte little-endian length (ids rows: 2^63 + number of ids)
                             and bytes; concat, file: of the whole text. Independent of tokenizer and context */
    char ids_sha256[65];  /* of all ids and window starts: what the model was really given */
} Windows;

/* tokenizer may be NULL when every row evaluated is an ids row. The dataset must stay open as long as the windows; concat puts
 * its text into the dataset's arena. Errors: a row with both text and ids, an id outside the vocabulary (row and line named),
 * text without a tokenizer, ids rows under concat or file, nothing to predict. On an error out is freed and zeroed. */
int windows_build(Dataset *data, const Tokenizer *tokenizer, const WindowOptions *options, Windows *out, Error *e);
void windows_free(Windows *w); /* accepts zeroed and half-built */

/* Windows first .. end-1 as windows of their own: start begins at 0 again, rows, windows and units keep their numbers; what is said of
 * rows and text (row_tokens, counts, hashes) stays that of the whole. All but start is borrowed from w, which must outlive it. */
int windows_slice(const Windows *w, size_t first, size_t end, Windows *out, Error *e);
void windows_slice_free(Windows *slice); /* accepts zeroed */

/* First predicted token of window w; w = n_windows gives n_tokens. */
static inline size_t windows_first_token(const Windows *w, size_t window)
{
    return w->start[window] - window;
}

/* Token blocks: consecutive whole windows. The number of blocks is the smallest for which none has more than target_ids ids
 * (a window longer than that is a block of its own); among those partitions the one with the smallest largest block. Depends on
 * the windows and target_ids only, so a resumed run that reads back target_ids has the same blocks. */
typedef struct WindowBlocks {
    size_t n_blocks;
    size_t *first_window;                    /* [n_blocks + 1] */
    size_t *n_tokens;                        /* [n_blocks]: predicted tokens, LedgerShape.block_tokens */
    size_t max_ids, max_windows, max_tokens; /* of the largest block in each respect */
    size_t target_ids;                       /* as asked for */
} WindowBlocks;

int windows_partition(const Windows *w, size_t target_ids, WindowBlocks *out, Error *e);
void window_blocks_free(WindowBlocks *b); /* accepts zeroed */

/* TokenBlock.window_start of windows first .. first+n-1: out[i] = start[first+i] - start[first], i = 0..n. */
void windows_relative_starts(const Windows *w, size_t first, size_t n, size_t *out);

#endif
