/* pair_data.c: puts the lexicon and the templates (the .txt files of experiments/pairs) into the binary, by the assembler's .incbin, whose path counts from
 * the repository's root, where make runs the compiler. */
#include "experiments/pair_grammar.h"

#if defined(__APPLE__)
#define SECTION ".const_data\n"
#define NAME(symbol) "_" symbol
#define RESTORE ".text\n"
#else
#define SECTION ".pushsection .rodata,\"a\"\n"
#define NAME(symbol) symbol
#define RESTORE ".popsection\n"
#endif
#define LABEL(symbol) ".globl " NAME(symbol) "\n" NAME(symbol) ":\n"

/* The byte after the end keeps the end's address inside the section. */
#define FILE_OF(stem) \
    __asm__(SECTION LABEL("pair_data_" #stem "_begin") ".incbin \"experiments/pairs/" #stem \
                                                       ".txt\"\n" LABEL("pair_data_" #stem "_end") ".byte 0\n" RESTORE); \
    extern const char pair_data_##stem##_begin[], pair_data_##stem##_end[];

#define FILES(X) \
    X(lexicon) \
    X(subject) X(place) X(adjective) X(tense) X(article) X(article_choice) X(preposition) X(number) X(negation) X(spelling)

FILES(FILE_OF)

size_t pair_data_sources(PairSource out[PAIR_DATA_FILES])
{
    size_t n = 0;
#define SOURCE_OF(stem) \
    out[n++] = \
        (PairSource){#stem ".txt", pair_data_##stem##_begin, (size_t)(pair_data_##stem##_end - pair_data_##stem##_begin)};
    FILES(SOURCE_OF)
    return n;
}
