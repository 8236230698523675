/* pos_gold.h: tags from a CoNLL-U file instead of the tagger's. Its words must spell the rows in order, white space apart, WikiText's
 * artefacts as detokenise.h writes them but <unk> as <unk>; sentences may end where they like, words not beyond a row. What the
 * file has beyond the last row is left alone.
 *
 * A range (3-4 don't) counts as its words (do, n't) where these spell it, else as one word with the tags of the first. */
#ifndef STRATA_EXPERIMENTS_POS_GOLD_H
#define STRATA_EXPERIMENTS_POS_GOLD_H

#include "experiments/conllu.h"
#include "experiments/word_split.h"

typedef struct PosGoldWord {
    ConlluSlice form, xpos;
    int upos;
    size_t line; /* among the file's lines that are kept, from 0 */
    bool is_sentence_end;
} PosGoldWord;

typedef struct PosGold {
    ConlluFile file;
    const char *path;
    PosGoldWord *words;
    size_t n_words, next; /* next: the first word that no row has taken */
    WordSpan *spans;      /* of the last row: words next - n_spans .. next - 1 */
    size_t n_spans, capacity;
} PosGold;

int pos_gold_open(const char *path, PosGold *out, Error *e); /* path must stay */
void pos_gold_close(PosGold *g);                             /* accepts zeroed */

/* Takes the words of a row's detokenised text: g->spans. row is for messages. */
int pos_gold_take(PosGold *g, const char *text, size_t n_bytes, size_t row, Error *e);

#endif
