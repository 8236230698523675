/* diff_excerpt.c: puts the bundled excerpt of WikiText-2 (tools/demo/wikitext-2-excerpt.txt; tools/demo/ATTRIBUTION.md) into the
 * binary, by the assembler's .incbin, whose path counts from the repository's root: the held-out corpus where none is named. */
#include "engine/base/embed.h"
#include "experiments/diff_excerpt.h"

EMBED_FILE(diff_excerpt_bytes, diff_excerpt_end, "tools/demo/wikitext-2-excerpt.txt");
