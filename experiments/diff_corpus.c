/* diff_corpus.c: see diff_corpus.h. */
#include "experiments/diff_corpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/rng.h"
#include "engine/base/sha256.h"
#include "experiments/diff_excerpt.h"
#include "loaders/dataset.h"

enum { CORPUS_STREAM = 19, MOST_ROWS = 50000, WINDOW = DIFF_CORPUS_POSITIONS + 1 };

typedef struct Reader {
    const Workbench *bench;
    DiffCorpus *corpus;
    int32_t *ids; /* [n_rows, WINDOW] */
    size_t *n_ids;
    size_t n_rows, cap;
} Reader;

/* Counts a row's ids and keeps its window when it is long enough. */
static int take_row(Reader *r, const int32_t *ids, size_t n, bool bos, Error *e)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= r->bench->model.traits.vocab)
            return error_set(e, STATUS_FAILED, "%s: id %d, expected 0 to %zu", r->corpus->name, ids[i],
                             r->bench->model.traits.vocab - 1);
        r->corpus->count[ids[i]]++;
    }
    r->corpus->n_counted += n;
    size_t most = WINDOW < r->bench->context ? WINDOW : r->bench->context, len = n + bos < most ? n + bos : most;
    if (len < DIFF_CORPUS_SHORTEST + 1)
        return STATUS_OK;
    if (r->n_rows == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 256;
        int32_t *more = realloc(r->ids, cap * WINDOW * sizeof *more);
        r->ids = more ? more : r->ids;
        size_t *lengths = more ? realloc(r->n_ids, cap * sizeof *lengths) : NULL;
        if (!lengths)
            return error_set(e, STATUS_FAILED, "%s: out of memory", r->corpus->name);
        r->n_ids = lengths;
        r->cap = cap;
    }
    int32_t *to = r->ids + r->n_rows * WINDOW;
    if (bos)
        to[0] = r->bench->bos_id;
    memcpy(to + bos, ids, (len - bos) * sizeof *to);
    r->n_ids[r->n_rows++] = len;
    return STATUS_OK;
}

static int take_text(Reader *r, const char *text, size_t len, Error *e)
{
    if (!r->bench->tokenizer)
        return error_set(e, STATUS_USAGE, "%s has no tokenizer: give a corpus of ids rows with --dataset_path",
                         r->bench->path.path);
    TokenList list = {0};
    int status = tokenizer_encode(r->bench->tokenizer, text, len, false, &list, e);
    int32_t *ids = status ? NULL : malloc((list.n + 1) * sizeof *ids);
    if (!status && !ids)
        status = error_set(e, STATUS_FAILED, "%s: out of memory", r->corpus->name);
    for (size_t i = 0; ids && i < list.n; i++)
        ids[i] = list.tokens[i].id;
    if (!status)
        status = take_row(r, ids, list.n, r->bench->bos, e);
    free(ids);
    token_list_free(&list);
    return status;
}

static int read_excerpt(Reader *r, Error *e)
{
    int status = STATUS_OK;
    snprintf(r->corpus->name, sizeof r->corpus->name, "wikitext-2-excerpt");
    size_t n = (size_t)((uintptr_t)diff_excerpt_end - (uintptr_t)diff_excerpt_bytes);
    for (size_t at = 0, len; !status && at < n; at += len + 1) {
        const char *line = diff_excerpt_bytes + at, *end = memchr(line, '\n', n - at);
        len = end ? (size_t)(end - line) : n - at;
        status = take_text(r, line, len, e);
    }
    return status;
}

static int read_dataset(Reader *r, const char *type, const char *path, Error *e)
{
    Dataset data;
    DatasetOptions options = {.type = type, .path = path, .max_rows = MOST_ROWS};
    int status = dataset_open_with(&options, &data, e);
    if (status)
        return status;
    snprintf(r->corpus->name, sizeof r->corpus->name, "%s", data.name);
    for (size_t i = 0; !status && i < data.n_rows; i++)
        status = data.rows[i].text ? take_text(r, data.rows[i].text, data.rows[i].len, e)
                                   : take_row(r, data.rows[i].ids, data.rows[i].n_ids, false, e);
    dataset_close(&data);
    return status;
}

/* The windows chosen, one after another, and their hash. */
static int choose(Reader *r, size_t n_windows, uint64_t seed, Error *e)
{
    DiffCorpus *c = r->corpus;
    size_t n = n_windows < r->n_rows ? n_windows : r->n_rows;
    if (n == 0)
        return error_set(e, STATUS_FAILED, "%s: no row of at least %d ids: expected a corpus of prose", c->name,
                         DIFF_CORPUS_SHORTEST + 1);
    int32_t *order = malloc(r->n_rows * sizeof *order);
    c->start = calloc(n + 1, sizeof *c->start);
    c->ids = malloc(n * WINDOW * sizeof *c->ids);
    if (!order || !c->start || !c->ids) {
        free(order);
        return error_set(e, STATUS_FAILED, "%s: out of memory for %zu windows", c->name, n);
    }
    for (size_t i = 0; i < r->n_rows; i++)
        order[i] = (int32_t)i;
    Rng rng;
    rng_seed(&rng, seed, CORPUS_STREAM);
    rng_shuffle(&rng, order, r->n_rows);
    Sha256 hash;
    sha256_begin(&hash);
    for (size_t w = 0; w < n; w++) {
        size_t len = r->n_ids[order[w]];
        memcpy(c->ids + c->start[w], r->ids + (size_t)order[w] * WINDOW, len * sizeof *c->ids);
        c->start[w + 1] = c->start[w] + len;
        c->longest = len > c->longest ? len : c->longest;
        sha256_update(&hash, &len, sizeof len);
    }
    sha256_update(&hash, c->ids, c->start[n] * sizeof *c->ids);
    sha256_end(&hash, c->ids_sha256);
    c->n_windows = n;
    free(order);
    return STATUS_OK;
}

int diff_corpus_open(const Workbench *w, const char *type, const char *path, size_t n_windows, DiffCorpus *out, Error *e)
{
    memset(out, 0, sizeof *out);
    Reader r = {.bench = w, .corpus = out};
    out->count = calloc(w->model.traits.vocab, sizeof *out->count);
    int status = out->count ? STATUS_OK : error_set(e, STATUS_FAILED, "diff: out of memory");
    if (!status)
        status = type || path ? read_dataset(&r, type, path, e) : read_excerpt(&r, e);
    if (!status)
        status = choose(&r, n_windows ? n_windows : DIFF_CORPUS_WINDOWS, w->common->seed, e);
    free(r.ids);
    free(r.n_ids);
    if (status)
        diff_corpus_close(out);
    return status;
}

void diff_corpus_close(DiffCorpus *c)
{
    free(c->ids);
    free(c->start);
    free(c->count);
    memset(c, 0, sizeof *c);
}
