/* influence.c: block influence and angular distance: the sums, and their file beside the ledger. */
#include "experiments/influence.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "loaders/safetensors.h"

static size_t n_angles(int n_layers)
{
    return (size_t)n_layers * ((size_t)n_layers + 1) / 2;
}

int influence_sums_init(InfluenceSums *s, int n_layers, Error *e)
{
    *s = (InfluenceSums){.n_layers = n_layers};
    s->cosine_sum = calloc((size_t)n_layers, sizeof *s->cosine_sum);
    s->angle_sum = calloc(n_angles(n_layers), sizeof *s->angle_sum);
    if (s->cosine_sum && s->angle_sum)
        return STATUS_OK;
    influence_sums_free(s);
    return error_set(e, STATUS_FAILED, "influence: out of memory for %d layers", n_layers);
}

void influence_sums_clear(InfluenceSums *s)
{
    memset(s->cosine_sum, 0, (size_t)s->n_layers * sizeof *s->cosine_sum);
    memset(s->angle_sum, 0, n_angles(s->n_layers) * sizeof *s->angle_sum);
    s->n_tokens = s->n_windows = 0;
}

void influence_sums_free(InfluenceSums *s)
{
    free(s->cosine_sum);
    free(s->angle_sum);
    memset(s, 0, sizeof *s);
}

double influence_cosine_f32(const float *a, const float *b, size_t d)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < d; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    double norms = sqrt(aa) * sqrt(bb);
    return norms == 0 ? 0 : ab / norms;
}

double influence_cosine_f64(const double *a, const double *b, size_t d)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < d; i++) {
        ab += a[i] * b[i];
        aa += a[i] * a[i];
        bb += b[i] * b[i];
    }
    double norms = sqrt(aa) * sqrt(bb);
    return norms == 0 ? 0 : ab / norms;
}

static double clamp(double cosine)
{
    return cosine > 1 ? 1 : cosine < -1 ? -1 : cosine; /* NaN stays */
}

void influence_add_token(InfluenceSums *s, int layer, double cosine)
{
    s->cosine_sum[layer] += clamp(cosine);
    s->n_tokens += layer == 0;
}

void influence_add_angle(InfluenceSums *s, int n, int layer, double cosine)
{
    s->angle_sum[influence_angle_index(s->n_layers, n, layer)] += acos(clamp(cosine)) / 3.14159265358979323846;
    s->n_windows += n == 1 && layer == 0;
}

enum { ENTRY_COSINES, ENTRY_ANGLES, ENTRY_TOKENS, ENTRY_WINDOWS, N_ENTRIES };

struct InfluenceFile {
    char *path;
    int fd, n_layers;
    size_t n_blocks;
    SafetensorsEntry entries[N_ENTRIES];
};

static int fail(const InfluenceFile *f, Error *e)
{
    return error_set(e, STATUS_FAILED, "%s: cannot write or read: %s", f->path, strerror(errno ? errno : ENOSPC));
}

static int layout(SafetensorsEntry *entries, int n_layers, size_t n_blocks, StrBuf *header, size_t *bytes, Error *e)
{
    size_t layers = (size_t)n_layers, angles = n_angles(n_layers);
    const SafetensorsEntry all[N_ENTRIES] = {
        [ENTRY_COSINES] = {.name = "cosine_sum", .dtype = DTYPE_F64, .n_dims = 2, .shape = {n_blocks, layers}},
        [ENTRY_ANGLES] = {.name = "angle_sum", .dtype = DTYPE_F64, .n_dims = 2, .shape = {n_blocks, angles}},
        [ENTRY_TOKENS] = {.name = "n_tokens", .dtype = DTYPE_I64, .n_dims = 1, .shape = {n_blocks}},
        [ENTRY_WINDOWS] = {.name = "n_windows", .dtype = DTYPE_I64, .n_dims = 1, .shape = {n_blocks}}};
    memcpy(entries, all, sizeof all);
    return safetensors_header(entries, N_ENTRIES, NULL, 0, header, bytes, e);
}

int influence_file_bytes(int n_layers, size_t n_blocks, size_t *bytes, Error *e)
{
    SafetensorsEntry entries[N_ENTRIES];
    StrBuf header = {0};
    int status = layout(entries, n_layers, n_blocks, &header, bytes, e);
    strbuf_free(&header);
    return status;
}

int influence_file_open(const char *dir, int n_layers, size_t n_blocks, size_t first_block, InfluenceFile **out, Error *e)
{
    InfluenceFile *f = calloc(1, sizeof *f);
    StrBuf header = {0};
    size_t bytes = 0;
    struct stat st;
    if (!f || !(f->path = file_join(dir, "influence.safetensors"))) {
        free(f);
        return error_set(e, STATUS_FAILED, "%s: out of memory", dir);
    }
    f->fd = -1;
    f->n_layers = n_layers;
    f->n_blocks = n_blocks;
    int status = layout(f->entries, n_layers, n_blocks, &header, &bytes, e);
    if (!status) {
        errno = 0;
        f->fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC | (first_block ? 0 : O_TRUNC), 0666);
        if (f->fd < 0 || fstat(f->fd, &st))
            status = fail(f, e);
        else if ((size_t)st.st_size != bytes && first_block)
            status = error_set(e, STATUS_FAILED, "%s: %zu bytes, expected %zu; --force starts over", f->path,
                               (size_t)st.st_size, bytes);
        else if (!first_block &&
                 (ftruncate(f->fd, (off_t)bytes) || pwrite(f->fd, header.data, header.len, 0) != (ssize_t)header.len))
            status = fail(f, e);
    }
    strbuf_free(&header);
    if (status)
        influence_file_close(f);
    else
        *out = f;
    return status;
}

static int transfer(const InfluenceFile *f, int entry, size_t block, void *data, size_t bytes, bool writing, Error *e)
{
    off_t at = (off_t)(f->entries[entry].offset + block * bytes);
    errno = 0;
    ssize_t n = writing ? pwrite(f->fd, data, bytes, at) : pread(f->fd, data, bytes, at);
    return n == (ssize_t)bytes ? STATUS_OK : fail(f, e);
}

static int transfer_block(const InfluenceFile *f, size_t block, const InfluenceSums *s, bool writing, Error *e)
{
    int status = transfer(f, ENTRY_COSINES, block, s->cosine_sum, (size_t)f->n_layers * sizeof(double), writing, e);
    if (!status)
        status = transfer(f, ENTRY_ANGLES, block, s->angle_sum, n_angles(f->n_layers) * sizeof(double), writing, e);
    if (!status)
        status = transfer(f, ENTRY_TOKENS, block, (void *)&s->n_tokens, sizeof s->n_tokens, writing, e);
    if (!status)
        status = transfer(f, ENTRY_WINDOWS, block, (void *)&s->n_windows, sizeof s->n_windows, writing, e);
    return status;
}

int influence_file_write(InfluenceFile *f, size_t block, const InfluenceSums *sums, Error *e)
{
    int status = transfer_block(f, block, sums, true, e);
    if (!status && fdatasync(f->fd))
        status = fail(f, e);
    return status;
}

int influence_file_total(const InfluenceFile *f, InfluenceSums *total, Error *e)
{
    InfluenceSums one;
    int status = influence_sums_init(&one, f->n_layers, e);
    for (size_t b = 0; !status && b < f->n_blocks; b++) {
        if ((status = transfer_block(f, b, &one, false, e)))
            break;
        for (int l = 0; l < f->n_layers; l++)
            total->cosine_sum[l] += one.cosine_sum[l];
        for (size_t i = 0; i < n_angles(f->n_layers); i++)
            total->angle_sum[i] += one.angle_sum[i];
        total->n_tokens += one.n_tokens;
        total->n_windows += one.n_windows;
    }
    influence_sums_free(&one);
    return status;
}

void influence_file_close(InfluenceFile *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    free(f->path);
    free(f);
}
