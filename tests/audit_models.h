/* audit_models.h: the tiny models of tests/data that audits are tested on: all families, all traits. */
#ifndef STRATA_TESTS_AUDIT_MODELS_H
#define STRATA_TESTS_AUDIT_MODELS_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model.h"

enum { MOST = 128, N_IDS = 12 };

static char models[MOST][256];
static size_t n_models;
static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void list_models(const char *root)
{
    DIR *d = opendir(root);
    size_t first = n_models;
    for (struct dirent *entry; d && (entry = readdir(d)) && n_models < MOST;)
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "rope") != 0)
            snprintf(models[n_models++], sizeof models[0], "%s/%.100s", root, entry->d_name);
    if (d)
        closedir(d);
    qsort(models + first, n_models - first, sizeof models[0], by_name);
}

static int open_model(const char *directory, Model *m, Error *e)
{
    char gguf[300];
    snprintf(gguf, sizeof gguf, "%s/model.gguf", directory);
    FILE *f = fopen(gguf, "rb");
    if (f)
        fclose(f);
    return model_open(f ? gguf : directory, m, e);
}

static void some_ids(int32_t *ids, size_t vocab)
{
    for (size_t i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)((i * 7 + i * i * 3 + 5) % vocab);
}

static void list_all_models(void)
{
    list_models("tests/data/models");
    list_models("tests/data/families");
}

#endif
