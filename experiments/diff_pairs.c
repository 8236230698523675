/* diff_pairs.c: see diff_pairs.h. */
#include "experiments/diff_pairs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/rng.h"

enum { ORDER_STREAM = 20 };

const char *diff_kind_name(DiffKind kind)
{
    static const char *const names[] = {"other", "meaning", "error"};
    return names[kind];
}

const int32_t *diff_base_ids(const Pair *p)
{
    return p->error_side == 'a' ? p->ids_b : p->ids_a;
}

int32_t diff_base_token(const Pair *p)
{
    return diff_base_ids(p)[p->edit_index];
}

int32_t diff_other_token(const Pair *p)
{
    return (p->error_side == 'a' ? p->ids_a : p->ids_b)[p->edit_index];
}

/* A name of a pair's clusters. */
typedef struct Key {
    const char *name, *second; /* second: "" for templates */
    size_t at, number;         /* place in the category's list; of the first key equal to it */
} Key;

static int compare_names(const Key *a, const Key *b)
{
    int order = strcmp(a->name, b->name);
    return order ? order : strcmp(a->second, b->second);
}

static int by_name(const void *a, const void *b)
{
    int order = compare_names(a, b);
    const Key *x = a, *y = b;
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static int by_first(const void *a, const void *b)
{
    const Key *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

/* Numbers equal keys alike, by first appearance; returns how many differ. */
static size_t number_keys(Key *keys, size_t n, size_t *out)
{
    qsort(keys, n, sizeof *keys, by_name);
    for (size_t i = 0; i < n; i++)
        keys[i].number = i && compare_names(&keys[i], &keys[i - 1]) == 0 ? keys[i - 1].number : keys[i].at;
    qsort(keys, n, sizeof *keys, by_first);
    size_t n_distinct = 0;
    for (size_t i = 0; i < n; i++) {
        n_distinct += i == 0 || keys[i].number != keys[i - 1].number;
        out[keys[i].at] = n_distinct - 1;
    }
    return n_distinct;
}

static bool is_listed(const char *names, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = names; at && *at; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ','))
        if (strcspn(at, ",") == len && strncmp(at, name, len) == 0)
            return true;
    return !names;
}

static int check_names(const char *names, Error *e)
{
    for (const char *at = names; at && *at; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ',')) {
        char name[40];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, ","), at);
        if (pair_category_find(name) < 0)
            return error_set(e, STATUS_USAGE, "--categories: \"%s\", expected names of categories such as tense,article", name);
    }
    return STATUS_OK;
}

static int fill(DiffCategory *c, const PairFile *file, PairCategory category, bool first, size_t per_category, uint64_t seed,
                Arena *arena)
{
    size_t n = 0, n_errors = 0;
    for (size_t i = 0; i < file->n_pairs; i++)
        n += file->pairs[i].category == category && (file->pairs[i].edit_index == 0) == first;
    c->n_pairs = 0;
    int32_t *shuffled = arena_array(arena, n + 1, sizeof *shuffled);
    if (!shuffled)
        return STATUS_FAILED;
    for (size_t i = 0; i < file->n_pairs; i++)
        if (file->pairs[i].category == category && (file->pairs[i].edit_index == 0) == first)
            shuffled[c->n_pairs++] = (int32_t)i;
    if (n == 0)
        return STATUS_OK;
    Rng rng;
    rng_seed(&rng, seed, ORDER_STREAM + 16 * (uint64_t)category + first);
    rng_shuffle(&rng, shuffled, n);
    if (per_category && per_category < n)
        n = c->n_pairs = per_category;
    snprintf(c->name, sizeof c->name, "%s%s", pair_category_name(category), first ? "_first" : "");
    c->pairs = arena_array(arena, n, sizeof *c->pairs);
    c->template_of = arena_array(arena, n, sizeof *c->template_of);
    c->word_of = arena_array(arena, n, sizeof *c->word_of);
    c->control = arena_array(arena, n, sizeof *c->control);
    c->n_candidates = arena_array(arena, n, sizeof *c->n_candidates);
    c->nearness = arena_array(arena, n, sizeof *c->nearness);
    Key *keys = malloc(n * sizeof *keys);
    if (!c->pairs || !c->template_of || !c->word_of || !c->control || !c->n_candidates || !c->nearness || !keys) {
        free(keys);
        return STATUS_FAILED;
    }
    for (size_t i = 0; i < n; i++) {
        const Pair *p = &file->pairs[shuffled[i]];
        c->pairs[i] = (size_t)shuffled[i];
        c->control[i] = -1;
        c->nearness[i] = 1;
        n_errors += p->error_side != 0;
        keys[i] = (Key){.name = p->template_id, .second = "", .at = i};
    }
    c->n_templates = number_keys(keys, n, c->template_of);
    for (size_t i = 0; i < n; i++)
        keys[i] = (Key){.name = file->pairs[c->pairs[i]].words[0], .second = file->pairs[c->pairs[i]].words[1], .at = i};
    c->n_words = number_keys(keys, n, c->word_of);
    free(keys);
    c->kind = n_errors == n                                                                      ? DIFF_KIND_ERROR
              : category == PAIR_SUBJECT || category == PAIR_PLACE || category == PAIR_ADJECTIVE ? DIFF_KIND_MEANING
                                                                                                 : DIFF_KIND_OTHER;
    return STATUS_OK;
}

int diff_categories_build(const PairFile *file, const char *names, size_t per_category, uint64_t seed, DiffCategories *out,
                          Error *e)
{
    memset(out, 0, sizeof *out);
    int status = check_names(names, e);
    if (status)
        return status;
    out->list = arena_array(&out->arena, 2 * PAIR_N_CATEGORIES, sizeof *out->list);
    bool failed = !out->list || file->n_pairs > INT32_MAX;
    for (int k = 0; !failed && k < PAIR_N_CATEGORIES; k++) {
        for (int first = 0; !failed && first < 2; first++) {
            DiffCategory *c = &out->list[out->n];
            if (!is_listed(names, pair_category_name((PairCategory)k)))
                continue;
            failed = fill(c, file, (PairCategory)k, first, per_category, seed, &out->arena) != STATUS_OK;
            out->n += c->n_pairs > 0;
        }
    }
    if (failed)
        status = error_set(e, STATUS_FAILED, "diff: out of memory for %zu pairs", file->n_pairs);
    else if (out->n == 0)
        status = error_set(e, STATUS_USAGE, "--categories %s: no pair of them", names ? names : "");
    if (status)
        diff_categories_free(out);
    return status;
}

void diff_categories_free(DiffCategories *c)
{
    arena_free(&c->arena);
    memset(c, 0, sizeof *c);
}
