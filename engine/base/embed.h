/* embed.h: a file inside the binary, by the assembler's .incbin. EMBED_TEXT(symbol, "path") at file level declares `symbol`, the file's text with a
 * NUL behind it (a file with a NUL of its own needs its end, too: see experiments/tagger_model.c). The path counts from the repository's root, where
 * make runs the compiler; the Makefile names what the object depends on. */
#ifndef STRATA_BASE_EMBED_H
#define STRATA_BASE_EMBED_H

#if defined(__APPLE__)
#define EMBED_SECTION ".const_data\n"
#define EMBED_NAME(symbol) "_" symbol
#define EMBED_RESTORE ".text\n"
#else
#define EMBED_SECTION ".pushsection .rodata,\"a\"\n"
#define EMBED_NAME(symbol) symbol
#define EMBED_RESTORE ".popsection\n"
#endif

#define EMBED_TEXT(symbol, path) \
    __asm__(EMBED_SECTION ".globl " EMBED_NAME(#symbol) "\n" EMBED_NAME(#symbol) ":\n.incbin \"" path \
                                                                                 "\"\n.byte 0\n" EMBED_RESTORE); \
    extern const char symbol[];

#endif
