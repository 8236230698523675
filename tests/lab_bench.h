/* lab_bench.h: a lab on one of the tiny models of tests/data, and the first row of its dump. */
#ifndef STRATA_TESTS_LAB_BENCH_H
#define STRATA_TESTS_LAB_BENCH_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/lab_inside.h"
#include "tests/test.h"

enum { MOST_MODELS = 128, MOST_TOKENS = 64 };

static char models[MOST_MODELS][256];
static size_t n_models;

static inline int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static inline void list_models(const char *root)
{
    DIR *d = opendir(root);
    size_t first = n_models;
    for (struct dirent *entry; d && (entry = readdir(d)) && n_models < MOST_MODELS;)
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "rope") != 0 && !strstr(entry->d_name, "gguf"))
            snprintf(models[n_models++], sizeof models[0], "%s/%.100s", root, entry->d_name);
    if (d)
        closedir(d);
    qsort(models + first, n_models - first, sizeof models[0], by_name);
}

/* A lab on one model, and the first row of its dump. */
typedef struct Bench {
    StrataCommon common;
    Workbench bench;
    Lab *lab;
    TensorFile expected;
    int32_t ids[MOST_TOKENS];
    size_t n;
    Arena arena;
} Bench;

static inline bool open_bench(Bench *b, const char *model, const char *numerics, const Ops *ops)
{
    Error e = {{0}};
    char path[512];
    memset(b, 0, sizeof *b);
    b->common = (StrataCommon){
        .model_name = model, .numerics = numerics, .gpu_id = "cpu", .threads = 2, .memory_bytes = (size_t)1 << 30};
    int status = workbench_open(&b->common, TOKENIZER_IF_THERE, &b->bench, &e);
    if (!status && ops)
        b->bench.session.ops = ops;
    if (!status)
        status = lab_open(&b->bench, MOST_TOKENS, &b->lab, &e);
    CHECK_MSG(!status, "%s: %s", model, e.text);
    snprintf(path, sizeof path, "%s/expected.safetensors", model);
    if (status || tensor_file_open(path, &b->expected, &e))
        return false;
    const Tensor *ids = tensor_file_find(&b->expected, "ids.0");
    CHECK(ids && ids->shape[0] <= MOST_TOKENS);
    if (!ids || ids->shape[0] > MOST_TOKENS)
        return false;
    memcpy(b->ids, ids->data, ids->size_bytes);
    b->n = ids->shape[0];
    return true;
}

static inline void close_bench(Bench *b)
{
    lab_close(b->lab);
    workbench_close(&b->bench);
    tensor_file_close(&b->expected);
    arena_free(&b->arena);
}

static inline Order make_order(Bench *b, const char *text)
{
    Order o = {0};
    Error e = {{0}};
    char intact[32];
    snprintf(intact, sizeof intact, "0-%d", b->bench.model.traits.n_layers - 1);
    CHECK_MSG(!order_parse(text ? text : intact, b->bench.model.traits.n_layers, &b->arena, &o, &e), "%s", e.text);
    return o;
}

static inline bool walk(Bench *b, const Order *order, LabStream *s)
{
    Error e = {{0}};
    LabText text = {.ids = b->ids, .n = b->n, .order = order};
    int status = lab_walk(b->lab, &text, NULL, 0, 1, s, &e);
    CHECK_MSG(!status, "%s: %s", b->common.model_name, e.text);
    return !status;
}

static inline void list_all_models(void)
{
    list_models("tests/data/models");
    list_models("tests/data/families");
}

#endif
