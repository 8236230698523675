/* model_name.h: how figures, tables and texts name a model. Result files keep the name as it was typed (a hub id, a path); what a reader
 * sees is the model's own name:
 *   meta-llama/Meta-Llama-3-8B, models/Meta-Llama-3-8B/     Meta-Llama-3-8B
 *   .../models--ORG--NAME/snapshots/COMMIT                  NAME (Hugging Face's cache)
 *   gguf/SmolLM2-135M.Q4_1.gguf                             SmolLM2-135M.Q4_1
 *   tools/demo/model                                        demo/model: a last part that says nothing takes the one before it */
#ifndef STRATA_EXPERIMENTS_MODEL_NAME_H
#define STRATA_EXPERIMENTS_MODEL_NAME_H

#include <stddef.h>

enum { MODEL_NAME_BYTES = 128 };

/* Fills and returns out; a name that does not fit is cut. */
const char *model_name_short(const char *model, char out[MODEL_NAME_BYTES]);

/* Appends " #2", " #3", ... to text, until it is none of the n labels. size: of text, its end included. */
void model_name_tell_apart(const char *const *labels, size_t n, char *text, size_t size);

#endif
