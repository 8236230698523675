/* conllu.h: reads CoNLL-U treebank files (https://universaldependencies.org/format.html), plain or gzipped.
 *
 * Lines are ten tab-separated columns; '#' begins a comment; an empty line ends a sentence. Every line is kept, as slices of the
 * file's bytes, so that a reader can write the file again with some columns changed. Meaning of columns is left to the user. */
#ifndef STRATA_EXPERIMENTS_CONLLU_H
#define STRATA_EXPERIMENTS_CONLLU_H

#include "engine/base/error.h"
#include "loaders/dataset_unpack.h"

#include <stdbool.h>
#include <stddef.h>

enum { CONLLU_ID, CONLLU_FORM, CONLLU_LEMMA, CONLLU_UPOS, CONLLU_XPOS, CONLLU_FEATS, CONLLU_MISC = 9, CONLLU_N_COLUMNS };

typedef struct ConlluSlice {
    const char *bytes; /* not terminated */
    size_t n_bytes;
} ConlluSlice;

typedef struct ConlluLine {
    ConlluSlice columns[CONLLU_N_COLUMNS]; /* of a comment: the whole line in columns[0] */
    bool is_comment;
    bool is_word; /* a syntactic word: neither a comment, nor a range (3-4), nor an empty node (8.1) */
} ConlluLine;

typedef struct ConlluSentence {
    size_t first_line, n_lines, n_words;
} ConlluSentence;

typedef struct ConlluFile {
    DatasetBytes bytes; /* what the slices point into */
    ConlluLine *lines;
    ConlluSentence *sentences;
    size_t n_lines, n_sentences, n_words;
} ConlluFile;

int conllu_read(const char *path, ConlluFile *file, Error *e);
void conllu_free(ConlluFile *file); /* accepts a zeroed one */

/* Copies the bytes, which need not outlive the call; name is for messages. */
int conllu_parse(const char *bytes, size_t n_bytes, const char *name, ConlluFile *file, Error *e);

#endif
