/* detokenise.h: WikiText's tokenised lines as people would write them, for the tagger only, with every byte's origin kept.
 *
 *   6 @,@ 000 men  ->  6,000 men           ( RIAA ) ,   ->  (RIAA),            <unk>  ->  Unk (one piece)
 *   mid @-@ 1942   ->  mid-1942            don 't, it 's ->  don't, it's        " Kiss You "  ->  "Kiss You"
 *    = = Career = =  ->  Career, the marks = left out (they are listed as marks)
 *
 * Only spaces, the @ of the joiners and the marks of headings are dropped, so that each byte of the text that is not white space
 * is the origin of one byte of the result, belongs to a mark, or stands beside its origin inside a joiner or <unk>. Line ends are
 * kept; nothing is joined over one. Any bytes are accepted.
 * Left to others: words (word_split.h), tokens (align.h). */
#ifndef STRATA_EXPERIMENTS_DETOKENISE_H
#define STRATA_EXPERIMENTS_DETOKENISE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"

#define DETOKENISE_UNKNOWN "<unk>"

typedef struct DetokeniseSpan {
    size_t begin, end; /* bytes [begin, end) of the original */
} DetokeniseSpan;

typedef struct Detokenised {
    char *text; /* [n_bytes], terminated */
    size_t n_bytes;
    DetokeniseSpan *origin;   /* [n_bytes]: ascending and disjoint; empty for the later bytes of an <unk>'s stand-in */
    unsigned char *flags;     /* [n_bytes]: DETOKENISE_IS_* */
    DetokeniseSpan *marks;    /* [n_marks]: the = of headings */
    size_t n_marks, capacity; /* capacity of marks */
} Detokenised;

enum { DETOKENISE_IS_UNKNOWN = 1, DETOKENISE_IS_HEADING = 2 };

typedef struct DetokeniseOptions {
    bool is_wikitext;    /* false: the text as it is */
    const char *unknown; /* what <unk> becomes; NULL: "Unk" */
} DetokeniseOptions;

int detokenise(const char *text, size_t n_bytes, const DetokeniseOptions *options, Detokenised *out, Error *e);
void detokenise_free(Detokenised *d); /* accepts zeroed */

#endif
