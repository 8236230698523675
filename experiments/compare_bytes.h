/* compare_bytes.h: the bytes that every model predicted, so that models with different tokenizers are measured on the same text.
 *
 * Each model's predicted tokens are spans of bytes in the rows. What is kept is the largest set of bytes that every model predicted
 * and that is made of whole tokens in each of them: bytes joined by some model's token stand or fall together, so no token is
 * counted in part. Over kept bytes, per order:
 *   bits per byte = sum nll / ln 2 / kept bytes        loss per word = sum nll / words that hold a kept byte
 * A gap of white space between two predicted tokens of a row belongs to the token after it (some tokenizers leave the space out of
 * their spans); a token without bytes is kept with the byte that follows it (at a row's end, with the one before).
 * A word is a string between white space, as in loaders/windows.h.
 *
 * Units of the bootstrap are the same for all models: articles, else rows, else (one row: concat, file) windows of the first model.
 * Left to others: files (compare_input.h), what is computed from the sums (compare.h). */
#ifndef STRATA_EXPERIMENTS_COMPARE_BYTES_H
#define STRATA_EXPERIMENTS_COMPARE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/strbuf.h"

/* The rows of rows.jsonl, their texts one after another. */
typedef struct CompareRows {
    size_t n_rows;
    size_t *start;    /* [n_rows + 1]: where row r begins in text */
    int32_t *article; /* [n_rows]; -1: not known */
    StrBuf text;
    bool has_text;   /* no row of ids */
    char sha256[65]; /* of the rows as loaders/windows.h hashes them under the protocol rows */
} CompareRows;

int compare_rows_read(const char *path, CompareRows *out, Error *e);
void compare_rows_free(CompareRows *r); /* accepts zeroed */

/* Bytes of the white-space character at s, 0 when there is none. */
size_t compare_space_length(const char *s, size_t len);

/* One model's predicted tokens, in the order of its windows (engine/ledger.h). */
typedef struct CompareTokens {
    const char *what; /* the file, for errors */
    size_t n_tokens;
    const int32_t *row, *window;
    const int64_t *byte_start, *byte_end;
} CompareTokens;

typedef struct CompareBytes {
    size_t n_bytes, n_words, n_units;
    size_t n_any_bytes;   /* predicted by at least one model */
    double *unit_bytes;   /* [n_units]: kept bytes; every unit has some */
    int32_t **token_unit; /* [n_models][n_tokens]: unit of each kept token, -1: left out */
    size_t *n_tokens;     /* [n_models]: kept tokens */
    size_t n_models;
} CompareBytes;

/* by_article: units are articles where a row has one. Spans outside their rows are STATUS_FAILED and named. */
int compare_bytes_common(const CompareRows *rows, bool by_article, const CompareTokens *models, size_t n_models,
                         CompareBytes *out, Error *e);
void compare_bytes_free(CompareBytes *b); /* accepts zeroed and half-built */

#endif
