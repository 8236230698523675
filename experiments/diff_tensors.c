/* diff_tensors.c: diff.safetensors, F32, P = L + 1 points: index 0 the embedding, l the residual stream after step l of the order (or that
 * step's branch), before the final norm.
 *   mean.C.K, median.C.K, sd.C.K [P, D]        of |x_b - x_a|
 *   normalised.C.K, mad_normalised.C.K [P, D]  its mean over sigma, over MAD
 *   control.C.K, shuffled.C.K [P, D]           the same mean of the matched swap and of the shuffled pairing, over sigma
 *   ratio.C.K, upper.C.K, p.C.K [P, D]         pairs over control, its upper 95 % bound, the p of "ratio >= 0.8"
 *   final_norm.C.K [D]                         mean |x_b - x_a| after the final norm
 *   sigma, mad, corpus_mean, unrelated [P, D]  of the held-out corpus; unrelated over sigma
 * C a category, K a position class that has pairs. NaN where there is nothing to tell. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "experiments/diff_write.h"
#include "loaders/safetensors.h"

typedef enum Kind {
    MEAN,
    MEDIAN,
    SD,
    NORMALISED,
    MAD_NORMALISED,
    CONTROL,
    SHUFFLED,
    RATIO,
    UPPER,
    P_VALUE,
    FINAL_NORM,
    N_KINDS,
    SIGMA = N_KINDS,
    MAD,
    CORPUS_MEAN,
    UNRELATED,
    N_ALL
} Kind;

static const char *const kind_names[N_ALL] = {"mean",       "median",   "sd",    "normalised",  "mad_normalised",
                                              "control",    "shuffled", "ratio", "upper",       "p",
                                              "final_norm", "sigma",    "mad",   "corpus_mean", "unrelated"};

typedef struct Item {
    Kind kind;
    const DiffResult *r; /* NULL: of the corpus */
} Item;

static float value(const Diff *s, const Item *x, size_t i)
{
    const DiffResult *r = x->r;
    double sigma = (double)s->sigma.sigma[i], mad = (double)s->sigma.mad[i];
    switch (x->kind) {
    case MEAN:
        return (float)r->mean[i];
    case MEDIAN:
        return (float)r->median[i];
    case SD:
        return (float)r->sd[i];
    case NORMALISED:
        return sigma > 0 ? (float)(r->mean[i] / sigma) : NAN;
    case MAD_NORMALISED:
        return mad > 0 ? (float)(r->mean[i] / mad) : NAN;
    case CONTROL:
        return sigma > 0 ? (float)((double)r->control[i] / sigma) : NAN;
    case SHUFFLED:
        return sigma > 0 ? (float)((double)r->shuffled[i] / sigma) : NAN;
    case RATIO:
        return r->ratio[i];
    case UPPER:
        return r->upper[i];
    case P_VALUE:
        return (float)r->p[i];
    case FINAL_NORM:
        return (float)r->mean[(s->n_points - 1) * s->d + i];
    case SIGMA:
        return (float)sigma;
    case MAD:
        return (float)mad;
    case CORPUS_MEAN:
        return s->sigma.mean[i];
    default:
        return sigma > 0 ? (float)((double)s->sigma.unrelated[i] / sigma) : NAN;
    }
}

static bool is_wanted(const Diff *s, Kind kind)
{
    return s->controls || (kind != CONTROL && kind != SHUFFLED && kind != RATIO && kind != UPPER && kind != P_VALUE);
}

static int put(SafetensorsEntry *entry, Item *item, const Diff *s, Kind kind, const DiffResult *r, const char *name,
               Arena *arena)
{
    *item = (Item){.kind = kind, .r = r};
    *entry = (SafetensorsEntry){
        .name = arena_strndup(arena, name, strlen(name)), .dtype = DTYPE_F32, .n_dims = 2, .shape = {s->n_points - 1, s->d}};
    if (kind == FINAL_NORM) {
        entry->n_dims = 1;
        entry->shape[0] = s->d;
    }
    return entry->name ? STATUS_OK : STATUS_FAILED;
}

static size_t list_all(const Diff *s, SafetensorsEntry *entries, Item *items, Arena *arena)
{
    size_t n = 0;
    for (size_t c = 0; c < s->categories.n; c++) {
        for (int class = 0; class < DIFF_N_CLASSES; class ++) {
            const DiffResult *r = &s->outcomes[c].at[class];
            for (int kind = 0; r->n && kind < N_KINDS; kind++) {
                char name[96];
                snprintf(name, sizeof name, "%s.%s.%s", kind_names[kind], s->categories.list[c].name, diff_class_names[class]);
                if (!is_wanted(s, (Kind)kind))
                    continue;
                if (put(&entries[n], &items[n], s, (Kind)kind, r, name, arena))
                    return 0;
                n++;
            }
        }
    }
    for (int kind = SIGMA; kind < N_ALL; kind++, n++)
        if (put(&entries[n], &items[n], s, (Kind)kind, NULL, kind_names[kind], arena))
            return 0;
    return n;
}

int diff_write_tensors(const Diff *s, Error *e)
{
    Arena arena = {0};
    size_t most = s->categories.n * DIFF_N_CLASSES * N_KINDS + N_ALL, total = 0;
    SafetensorsEntry *entries = arena_array(&arena, most, sizeof *entries);
    Item *items = arena_array(&arena, most, sizeof *items);
    float *values = malloc(s->n_points * s->d * sizeof *values);
    char *path = file_join(s->dir, "diff.safetensors"), *part = file_join(s->dir, "diff.safetensors.part");
    size_t n = entries && items ? list_all(s, entries, items, &arena) : 0;
    int status =
        n && values && path && part ? STATUS_OK : error_set(e, STATUS_FAILED, "%s/diff.safetensors: out of memory", s->dir);
    const char *const metadata[][2] = {{"model", s->bench.path.name},
                                       {"order", status ? "" : s->order.spec},
                                       {"tap", diff_tap_name(s->tap)},
                                       {"final", "final_norm.* is after the final norm, everything else before it"}};
    StrBuf header = {0};
    if (!status)
        status = safetensors_header(entries, n, metadata, sizeof metadata / sizeof *metadata, &header, &total, e);
    FILE *f = status ? NULL : fopen(part, "wb");
    bool good = f && fwrite(header.data, 1, header.len, f) == header.len;
    for (size_t t = 0; good && t < n; t++) {
        size_t count = entries[t].size_bytes / sizeof *values;
        for (size_t i = 0; i < count; i++)
            values[i] = value(s, &items[t], i);
        good = fwrite(values, sizeof *values, count, f) == count;
    }
    good = good && fflush(f) == 0 && fsync(fileno(f)) == 0 && rename(part, path) == 0;
    if (!status && !good) {
        status = error_set(e, STATUS_FAILED, "%s: cannot write: %s", path, strerror(errno));
        unlink(part);
    }
    if (f)
        fclose(f);
    strbuf_free(&header);
    free(values);
    free(path);
    free(part);
    arena_free(&arena);
    return status;
}
