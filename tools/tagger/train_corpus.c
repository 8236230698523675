/* train_corpus.c: see train_corpus.h. */
#include "tools/tagger/train_corpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *train_allocate(size_t n, size_t bytes)
{
    void *p = calloc(n ? n : 1, bytes);
    if (!p) {
        fprintf(stderr, "train_tagger: out of memory\n");
        exit(1);
    }
    return p;
}

/* The index of a pair in the table; -1 where it is absent and not to be added. */
static int pair_find(TrainPair *pairs, int *n, int upos, const char *xpos, bool add)
{
    for (int k = 0; k < *n; k++)
        if (pairs[k].upos == upos && !strcmp(pairs[k].xpos, xpos))
            return k;
    if (!add || *n == TRAIN_MAX_PAIRS)
        return -1;
    pairs[*n] = (TrainPair){.upos = upos};
    memcpy(pairs[*n].xpos, xpos, TAGGER_XPOS_NAME_BYTES);
    return (*n)++;
}

TrainSentence *train_sentences(const ConlluFile *file, TrainPair *pairs, int *n_pairs, bool add)
{
    TrainSentence *sentences = train_allocate(file->n_sentences, sizeof *sentences);
    for (size_t s = 0; s < file->n_sentences; s++) {
        const ConlluSentence *from = &file->sentences[s];
        TrainSentence *to = &sentences[s];
        to->words = train_allocate(from->n_words, sizeof *to->words);
        to->tags = train_allocate(from->n_words, sizeof *to->tags);
        to->pairs = train_allocate(from->n_words, sizeof *to->pairs);
        for (size_t i = 0; i < from->n_lines; i++) {
            const ConlluLine *line = &file->lines[from->first_line + i];
            char name[16] = "", xpos[TAGGER_XPOS_NAME_BYTES] = "";
            if (!line->is_word)
                continue;
            ConlluSlice c = line->columns[CONLLU_UPOS];
            memcpy(name, c.bytes, c.n_bytes < 15 ? c.n_bytes : 15);
            c = line->columns[CONLLU_XPOS];
            memcpy(xpos, c.bytes, c.n_bytes < sizeof xpos - 1 ? c.n_bytes : sizeof xpos - 1);
            int tag = tagger_upos_find(name);
            to->tags[to->n] = tag < 0 ? TAGGER_N_UPOS - 1 : tag;
            to->pairs[to->n] = pair_find(pairs, n_pairs, to->tags[to->n], xpos, add);
            if (add && to->pairs[to->n] >= 0)
                pairs[to->pairs[to->n]].count++;
            to->words[to->n++] = (TaggerWord){line->columns[CONLLU_FORM].bytes, line->columns[CONLLU_FORM].n_bytes};
        }
    }
    return sentences;
}
