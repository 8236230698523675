/* model_lookup.h: from --model_name to files: a directory, a .gguf file, or a hub id in models/ or the Hugging Face cache
 * (HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub: models--ORG--NAME/refs/REVISION -> snapshots/HASH). Never downloads. */
#ifndef STRATA_LOADERS_MODEL_LOOKUP_H
#define STRATA_LOADERS_MODEL_LOOKUP_H

#include "engine/base/error.h"

typedef struct ModelPath {
    char *path; /* directory or .gguf file, malloc'ed */
    char *slug; /* hub id with / and - as _, else directory's or file's name likewise cleaned: for result folders */
    char *name; /* as asked for: stamped as "model" */
} ModelPath;

int model_lookup(const char *name, const char *revision, ModelPath *out, Error *e); /* revision NULL: main */
void model_path_free(ModelPath *p);

#endif
