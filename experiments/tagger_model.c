/* tagger_model.c: puts the trained model (tools/tagger/english.tagger, made by `make tagger`) into the binary, by the assembler's
 * .incbin, whose path counts from the repository's root, where make runs the compiler. */
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
#define LABEL(symbol) ".globl " NAME(symbol) "\n" NAME(symbol) ":\n"

/* The byte after the end keeps the end's address inside the section. */
/* clang-format off */
__asm__(SECTION
        ".balign 64\n"
        LABEL("tagger_model_bytes")
        ".incbin \"tools/tagger/english.tagger\"\n"
        LABEL("tagger_model_end")
        ".byte 0\n"
        RESTORE);
/* clang-format on */
