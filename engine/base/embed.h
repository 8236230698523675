/* embed.h: a file inside the binary, by the assembler's .incbin. At file level EMBED_FILE(begin, end, "path"); defines two symbols around its
 * bytes, which the user declares; EMBED_TEXT(symbol, "path") declares `symbol`, the file's text with a NUL behind it. The path counts
 * from the repository's root, where make runs the compiler; the Makefile names what the object depends on. */
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

#define EMBED_LABEL(symbol) ".globl " EMBED_NAME(symbol) "\n" EMBED_NAME(symbol) ":\n"

/* The byte after the end keeps the end's address inside the section, and ends a text. */
#define EMBED_FILE(begin, end, path) \
    __asm__(EMBED_SECTION ".balign 64\n" EMBED_LABEL(#begin) ".incbin \"" path \
                                                             "\"\n" EMBED_LABEL(#end) ".byte 0\n" EMBED_RESTORE)
#define EMBED_TEXT(symbol, path) \
    EMBED_FILE(symbol, symbol##_end, path); \
    extern const char symbol[];

#endif
