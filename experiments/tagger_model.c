/* tagger_model.c: puts the trained model (tools/tagger/english.tagger, made by `make tagger`) into the binary, by the assembler's
 * .incbin, read from the repository's root. */
#include "experiments/tagger_model.h"

#if defined(__APPLE__)
#define SECTION ".const_data\n"
#define NAME(symbol) "_" symbol
#define RESTORE ".text\n"
#else
#define SECTION ".pushsection .rodata,\"a\"\n"
#define NAME(symbol) symbol
#define RESTORE ".popsection\n"
#endif

__asm__(SECTION ".globl " NAME("tagger_model_bytes") "\n"
                                                     ".balign 64\n" NAME(
                                                         "tagger_model_bytes") ":\n"
                                                                               ".incbin \"tools/tagger/english.tagger\"\n"
                                                                               ".globl " NAME("tagger_model_end") "\n" NAME(
                                                                                   "tagger_model_end") ":\n"
                                                                                                       ".byte 0\n" RESTORE);
