/* tag.h: `strata tag`: part-of-speech tags of a text or of a tokenised treebank, as CoNLL-U on a stream.
 *
 * A text is split by word_split.h; of a CoNLL-U file only ID, FORM and MISC are read, comments, ranges and empty nodes are kept.
 * UPOS and XPOS are written, the other columns are `_`, and MISC gains `Prob=0.987`, the posterior of UPOS; for a text also
 * `Start=`/`End=`, the word's byte span in the file. */
#ifndef STRATA_EXPERIMENTS_TAG_H
#define STRATA_EXPERIMENTS_TAG_H

#include "engine/base/error.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct StrataTagOptions {
    const char *path; /* a text file in UTF-8, or CoNLL-U, either gzipped or not */
    bool is_conllu;
    FILE *out; /* NULL: standard output */
} StrataTagOptions;

int strata_tag(const StrataTagOptions *options, Error *e);

#endif
