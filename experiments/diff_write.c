/* diff_write.c: the files of a finished study, those of others by their own writers. */
#include "experiments/diff_write.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"

static void sift(uint32_t *heap, size_t n, size_t at, const double *value)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && (value[heap[child + 1]] > value[heap[child]] ||
                              (value[heap[child + 1]] == value[heap[child]] && heap[child + 1] > heap[child])))
            child++;
        if (value[heap[child]] < value[heap[at]] || (value[heap[child]] == value[heap[at]] && heap[child] < heap[at]))
            return;
        uint32_t t = heap[at];
        heap[at] = heap[child];
        heap[child] = t;
    }
}

/* A heap of the smallest so far, the largest of them on top; then sorted in place. */
size_t diff_rank_cells(const Diff *s, const DiffResult *r, bool plain, bool claims, size_t n_wanted, uint32_t *out)
{
    size_t n_cells = (s->n_points - 1) * s->d, n = 0;
    double *value = malloc(n_cells * sizeof *value);
    if (!value || n_wanted == 0) {
        free(value);
        return 0;
    }
    for (size_t i = 0; i < n_cells; i++) {
        value[i] = plain ? r->mean[i] : (double)r->ratio[i];
        /* At the embedding nothing differs behind the edit: a zero that says nothing. */
        bool counts = isfinite(value[i]) && (i >= s->d || r->mean[i] > 0) && (!claims || diff_is_claim(s, r, i));
        if (!counts)
            continue;
        if (n < n_wanted) {
            out[n++] = (uint32_t)i;
            for (size_t at = n - 1; at > 0;) { /* up */
                size_t parent = (at - 1) / 2;
                if (value[out[parent]] > value[out[at]] || (value[out[parent]] == value[out[at]] && out[parent] > out[at]))
                    break;
                uint32_t t = out[parent];
                out[parent] = out[at];
                out[at] = t;
                at = parent;
            }
        } else if (value[i] < value[out[0]]) {
            out[0] = (uint32_t)i;
            sift(out, n, 0, value);
        }
    }
    for (size_t k = n; k-- > 1;) {
        uint32_t t = out[0];
        out[0] = out[k];
        out[k] = t;
        sift(out, k, 0, value);
    }
    free(value);
    return n;
}

/* The pairs themselves, so that the folder explains itself. */
static int copy_pairs(const Diff *s, Error *e)
{
    StrBuf text = {0};
    int status = file_read(s->options->pairs, SIZE_MAX / 2, &text, e);
    if (!status)
        status = file_write_text(&text, e, "%s/pairs.jsonl", s->dir);
    strbuf_free(&text);
    return status;
}

int diff_write(Diff *s, Error *e)
{
    StrBuf json = {0};
    int status = copy_pairs(s, e);
    if (!status)
        status = diff_write_tensors(s, e);
    if (!status)
        status = diff_write_csv(s, e);
    if (!status)
        status = diff_write_json(s, &json, e);
    if (!status)
        status = file_write_text(&json, e, "%s/diff.json", s->dir);
    if (!status && s->bench.common->out && s->bench.common->json)
        fwrite(json.data, 1, json.len, s->bench.common->out);
    strbuf_free(&json);
    return status;
}
