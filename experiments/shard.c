/* shard.c: see shard.h. */
#include "experiments/shard.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A whole number, and nothing else, in [0, SHARD_MAX_COUNT]. */
static bool read_count(const char *text, const char **end, size_t *out)
{
    if (!text || !isdigit((unsigned char)text[0]))
        return false;
    char *after;
    unsigned long value = strtoul(text, &after, 10);
    *end = after;
    *out = value;
    return value <= SHARD_MAX_COUNT;
}

static bool read_pair(const char *text, char between, Shard *out)
{
    const char *rest;
    if (!read_count(text, &rest, &out->index) || *rest != between || !read_count(rest + 1, &rest, &out->count) || *rest)
        return false;
    return out->index >= 1 && out->index <= out->count;
}

int shard_find(const char *option, Shard *out, Error *e)
{
    static const char *const launchers[][2] = {
        {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}, {"PMI_RANK", "PMI_SIZE"}, {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}};
    *out = (Shard){0};
    if (option) {
        if (read_pair(option, '/', out))
            return STATUS_OK;
        return error_set(e, STATUS_USAGE, "--shard: \"%s\", expected K/N with K from 1 to N, for example 2/8", option);
    }
    for (size_t i = 0; i < sizeof launchers / sizeof launchers[0]; i++) {
        const char *rank = getenv(launchers[i][0]), *size = getenv(launchers[i][1]), *rest;
        size_t r, n;
        if (!rank || !size)
            continue;
        if (!read_count(rank, &rest, &r) || *rest || !read_count(size, &rest, &n) || *rest || r >= n)
            return error_set(e, STATUS_USAGE, "%s=%s, %s=%s: expected a rank below a size; --shard K/N decides instead",
                             launchers[i][0], rank, launchers[i][1], size);
        if (n > 1)
            *out = (Shard){.index = r + 1, .count = n};
        return STATUS_OK;
    }
    return STATUS_OK;
}

void shard_folder_name(const Shard *s, StrBuf *out)
{
    strbuf_printf(out, "shard_%zu_of_%zu", s->index, s->count);
}

bool shard_from_folder(const char *name, Shard *out)
{
    const char *rest;
    if (strncmp(name, "shard_", 6) != 0 || !read_count(name + 6, &rest, &out->index) || strncmp(rest, "_of_", 4) != 0 ||
        !read_count(rest + 4, &rest, &out->count) || *rest)
        return false;
    return out->index >= 1 && out->index <= out->count;
}

/* The first window that begins at or behind the share k/n of all ids. */
static size_t border(const Windows *w, size_t k, size_t n)
{
    size_t low = 0, high = w->n_windows;
    uint64_t at = (uint64_t)w->n_ids / n * k + (uint64_t)w->n_ids % n * k / n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (w->start[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void shard_windows(const Shard *s, const Windows *w, size_t *first, size_t *end)
{
    *first = border(w, s->index - 1, s->count);
    *end = s->index == s->count ? w->n_windows : border(w, s->index, s->count);
}
