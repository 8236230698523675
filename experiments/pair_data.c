/* pair_data.c: the lexicon and the templates of pairs (the .txt files of experiments/pairs), inside the binary. */
#include <string.h>

#include "engine/base/embed.h"
#include "experiments/pair_grammar.h"

#define FILES(X) \
    X(lexicon) \
    X(subject) X(place) X(adjective) X(tense) X(article) X(article_choice) X(preposition) X(number) X(negation) X(spelling)

#define FILE_OF(stem) EMBED_TEXT(pair_data_##stem, "experiments/pairs/" #stem ".txt")
FILES(FILE_OF)

size_t pair_data_sources(PairSource out[PAIR_DATA_FILES])
{
    size_t n = 0;
#define SOURCE_OF(stem) out[n++] = (PairSource){#stem ".txt", pair_data_##stem, strlen(pair_data_##stem)};
    FILES(SOURCE_OF)
    return n;
}
