/* tagger_model.c: puts the trained model (tools/tagger/english.tagger, made by `make tagger`) into the binary, by the assembler's
 * .incbin, whose path counts from the repository's root, where make runs the compiler. */
#include "engine/base/embed.h"
#include "experiments/tagger_model.h"

EMBED_FILE(tagger_model_bytes, tagger_model_end, "tools/tagger/english.tagger");
