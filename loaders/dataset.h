/* dataset.h: rows of text. Files: .txt (a row is a line without its terminator, spaces kept, white-space-only lines skipped),
 * .jsonl (field "text", or "ids" which bypasses the tokenizer), either gzipped (.gz), or a .zip holding one such file.
 * Text must be UTF-8: an error names file, line and byte.
 *
 * A line ends with "\n" or "\r\n"; no other character ends one. A byte order mark at the file's start is not text. White space
 * is what Python's str.strip() removes. In .jsonl only blank lines are skipped: a row whose text is empty or blank stays a
 * row. WikiText's own file names (.raw, .tokens) are read as .txt. Unpacked files may have at most 8 GiB. */
#ifndef STRATA_LOADERS_DATASET_H
#define STRATA_LOADERS_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"

typedef enum RowKind { ROW_PLAIN, ROW_HEADING, ROW_BODY } RowKind; /* heading and body for WikiText only */

typedef struct Row {
    const char *text; /* NULL for an ids row */
    size_t len;
    const int32_t *ids;
    size_t n_ids;
    size_t line; /* 1-based line of the file it came from */
    RowKind kind;
    int32_t article; /* number of the article counted from 0, -1: not known */
} Row;

typedef struct Dataset {
    char name[64]; /* "wiki-text-2", or the file's stem */
    char *path;
    char sha256[65]; /* of the uncompressed bytes, a byte order mark included: what sha256sum says of the unpacked file; "" with
                          max_rows */
    const char *bytes; /* the whole uncompressed file after its byte order mark: protocol `file` reads it as one piece */
    size_t n_bytes;
    bool is_wikitext, is_jsonl;
    Row *rows;
    size_t n_rows;
    Arena arena;
    void *owned; /* the uncompressed file: a map, or memory when it was unpacked */
    size_t owned_bytes;
    bool owned_is_map;
} Dataset;

/* The names --dataset_type knows. */
extern const char *const dataset_names[]; /* NULL-terminated: wiki-text-2, wiki-text-103, gpt2-output-dataset, bookcorpus */

/* type may be NULL when path is given; path NULL: $STRATA_DATA/NAME/SPLIT.*, then datasets/NAME/SPLIT.*. A missing data set is
 * STATUS_USAGE and names `strata pull`; an empty one is an error. WikiText's ` = Title = ` lines (exactly one `=` a side) begin
 * an article; all ` = ... = ` lines are headings. WikiText is recognised by type (wiki-text-*), or by such lines in a .txt's
 * first 16 MiB (that part also tells whether it has blank lines), so that max_rows changes nothing about the rows it keeps.
 * A heading stands alone: in a file that has blank lines at all, a line like ` = 1 henry and capacitance C = ` next to a line of
 * prose is the tail of a formula (WikiText-2's test split has two, and 60 articles). */
int dataset_open(const char *type, const char *path, const char *split, Dataset *out, Error *e);

/* The same, with choices. max_rows: stop after so many rows (0: all): of a corpus of millions of lines no more is read than these
 * rows need and what tells WikiText (below); sha256 is left empty. text_only: of a .jsonl row only the field "text" is read, "ids"
 * beside it is ignored (`strata tokenize`); else a row with both is an error. */
typedef struct DatasetOptions {
    const char *type, *path, *split; /* split NULL: "test" */
    size_t max_rows;
    bool text_only;
    bool jsonl; /* the file is .jsonl, whatever its name */
} DatasetOptions;
int dataset_open_with(const DatasetOptions *options, Dataset *out, Error *e);
void dataset_close(Dataset *d); /* accepts zeroed and half-built */

/* The text of protocol `concat`: the rows of Hugging Face's wikitext data sets ("" for a blank line, the line with a "\n" for any
 * other) joined by "\n\n"; for jsonl the texts joined by "\n\n" (protocol `file` uses that too; for .txt it reads `bytes`). ids
 * rows are STATUS_USAGE. All lines of a .txt count, whatever max_rows was. Written into the dataset's arena. */
int dataset_concat_text(Dataset *d, const char **text, size_t *len, Error *e);

#endif
