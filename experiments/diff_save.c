/* diff_save.c: see diff_save.h. */
#include "experiments/diff_save.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "loaders/safetensors.h"

struct DiffSave {
    const PairFile *pairs;
    size_t n_pairs, n_points, d;
    char *path;
    int fd;
    SafetensorsEntry *entries;
    Arena arena;
    float *row;
};

static int fail(const DiffSave *s, Error *e)
{
    return error_set(e, STATUS_FAILED, "%s: cannot write: %s", s->path, strerror(errno ? errno : ENOSPC));
}

int diff_save_open(const char *dir, const PairFile *pairs, size_t n_pairs, size_t n_points, size_t d, DiffSave **out, Error *e)
{
    DiffSave *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(e, STATUS_FAILED, "diff: out of memory");
    *s = (DiffSave){
        .pairs = pairs, .n_pairs = n_pairs < pairs->n_pairs ? n_pairs : pairs->n_pairs, .n_points = n_points, .d = d, .fd = -1};
    s->path = file_join(dir, "pairs.safetensors");
    s->row = malloc(d * sizeof *s->row);
    s->entries = arena_array(&s->arena, s->n_pairs + 1, sizeof *s->entries);
    int status = s->path && s->row && s->entries ? STATUS_OK : error_set(e, STATUS_FAILED, "diff: out of memory");
    for (size_t i = 0; !status && i < s->n_pairs; i++) {
        char name[32];
        snprintf(name, sizeof name, "pair.%zu", i);
        s->entries[i] = (SafetensorsEntry){.name = arena_strndup(&s->arena, name, strlen(name)),
                                           .dtype = DTYPE_F32,
                                           .n_dims = 3,
                                           .shape = {n_points, pairs->pairs[i].n_ids - pairs->pairs[i].edit_index, d}};
        if (!s->entries[i].name)
            status = error_set(e, STATUS_FAILED, "diff: out of memory");
    }
    StrBuf header = {0};
    size_t total = 0;
    if (!status)
        status = safetensors_header(s->entries, s->n_pairs, NULL, 0, &header, &total, e);
    errno = 0;
    if (!status) {
        s->fd = open(s->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (s->fd < 0 || ftruncate(s->fd, (off_t)total) || pwrite(s->fd, header.data, header.len, 0) != (ssize_t)header.len)
            status = fail(s, e);
    }
    strbuf_free(&header);
    if (status) {
        Error ignored;
        (void)diff_save_close(s, &ignored);
        return status;
    }
    *out = s;
    return STATUS_OK;
}

bool diff_save_wants(const DiffSave *s, size_t pair)
{
    return s && pair < s->n_pairs;
}

int diff_save_rows(DiffSave *s, size_t pair, size_t point, size_t n_positions, size_t first, size_t n, const double *a,
                   const double *b, Error *e)
{
    double sign = s->pairs->pairs[pair].error_side == 'a' ? -1 : 1; /* there b is what the pass compares with */
    size_t bytes = s->d * sizeof *s->row;
    for (size_t r = 0; r < n; r++) {
        for (size_t j = 0; j < s->d; j++)
            s->row[j] = (float)(sign * (b[r * s->d + j] - a[r * s->d + j]));
        off_t at = (off_t)(s->entries[pair].offset + (point * n_positions + first + r) * bytes);
        errno = 0;
        if (pwrite(s->fd, s->row, bytes, at) != (ssize_t)bytes)
            return fail(s, e);
    }
    return STATUS_OK;
}

int diff_save_close(DiffSave *s, Error *e)
{
    if (!s)
        return STATUS_OK;
    errno = 0;
    int status = STATUS_OK;
    if (s->fd >= 0 && fsync(s->fd) && errno != EINVAL && errno != EROFS)
        status = fail(s, e);
    if (s->fd >= 0 && close(s->fd) && !status)
        status = fail(s, e);
    free(s->path);
    free(s->row);
    arena_free(&s->arena);
    free(s);
    return status;
}
