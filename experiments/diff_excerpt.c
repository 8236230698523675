/* diff_excerpt.c: puts the bundled excerpt of WikiText-2 (tools/demo/wikitext-2-excerpt.txt; tools/demo/ATTRIBUTION.md) into the
 * binary, by the assembler's .incbin, whose path counts from the repository's root: the held-out corpus where none is named. */
#include "experiments/diff_excerpt.h"

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
        LABEL("diff_excerpt_bytes")
        ".incbin \"tools/demo/wikitext-2-excerpt.txt\"\n"
        LABEL("diff_excerpt_end")
        ".byte 0\n"
        RESTORE);
/* clang-format on */
