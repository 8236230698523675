/* model_lookup.h: from --model_name to files: a directory, a .gguf file, or a hub id in models/ or the Hugging Face cache
 * (HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub: models--ORG--NAME/refs/REVISION -> snapshots/HASH). Never downloads. */
#ifndef STRATA_LOADERS_MODEL_LOOKUP_H
#define STRATA_LOADERS_MODEL_LOOKUP_H

#include <stdbool.h>

#include "engine/base/error.h"

typedef struct ModelPath {
    char *path; /* directory or .gguf file, malloc'ed */
    char *slug; /* hub id with / and - as _, else directory's or file's name likewise cleaned: for result folders */
    char *name; /* as asked for: stamped as "model" */
} ModelPath;

int model_lookup(const char *name, const char *revision, ModelPath *out, Error *e); /* revision NULL: main */
void model_path_free(ModelPath *p);

/* What a hub id and a revision may look like: nothing that could lead out of a folder. */
bool model_lookup_is_hub_id(const char *name); /* NAME or ORG/NAME */
bool model_lookup_is_revision(const char *s);  /* a branch, a tag, a commit or refs/pr/N */
char *model_lookup_cache(void);                /* the Hugging Face cache, malloc'ed; NULL when memory is out */
/* models--ORG--NAME (datasets--... for kind "datasets"), malloc'ed. */
char *model_lookup_cache_folder(const char *kind, const char *id);

#endif
