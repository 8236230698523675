/* diff_sample.c: see diff_sample.h. */
#include "experiments/diff_sample.h"

#include <stdlib.h>
#include <string.h>

static void take(const Diff *s, const DiffCategory *c, size_t i, DiffSample *x)
{
    const Pair *p = diff_pair(s, c, i);
    size_t n = p->n_ids + s->bench.bos;
    x->pairs[x->n] = p;
    x->controls[x->n++] = c->control[i];
    x->longest = n > x->longest ? n : x->longest;
    x->rows += 3 * n;
}

int diff_sample_open(const Diff *s, size_t category, size_t n_wanted, bool with_control, DiffSample *out, Error *e)
{
    memset(out, 0, sizeof *out);
    out->pairs = calloc(n_wanted + 1, sizeof *out->pairs);
    out->controls = calloc(n_wanted + 1, sizeof *out->controls);
    out->items = calloc(n_wanted + 1, sizeof *out->items);
    out->window_a = calloc(2 * (n_wanted + 1), sizeof *out->window_a);
    if (!out->pairs || !out->controls || !out->items || !out->window_a) {
        diff_sample_close(out);
        return error_set(e, STATUS_FAILED, "diff: out of memory for a sample of %zu pairs", n_wanted);
    }
    out->window_b = out->window_a + n_wanted + 1;
    out->block.bos = s->bench.bos;
    out->block.bos_id = s->bench.bos_id;
    const DiffCategory *list = s->categories.list;
    size_t first = category == SIZE_MAX ? 0 : category, end = category == SIZE_MAX ? s->categories.n : category + 1, most = 0;
    for (size_t c = first; c < end; c++)
        most = list[c].n_pairs > most ? list[c].n_pairs : most;
    for (size_t i = 0; i < most && out->n < n_wanted; i++)
        for (size_t c = first; c < end && out->n < n_wanted; c++)
            if (i < list[c].n_pairs && (!with_control || list[c].control[i] >= 0))
                take(s, &list[c], i, out);
    return STATUS_OK;
}

void diff_sample_close(DiffSample *x)
{
    free(x->pairs);
    free(x->controls);
    free(x->items);
    free(x->window_a);
    diff_block_free(&x->block);
    memset(x, 0, sizeof *x);
}

static size_t put(DiffBlock *b, const Pair *p, int32_t token, bool shared)
{
    const int32_t *ids = diff_base_ids(p);
    if (shared)
        return diff_block_variant(b, ids, p->n_ids, p->edit_index, token);
    size_t row = diff_block_whole(b, ids, p->n_ids) + p->edit_index;
    if (!b->failed)
        b->ids[row] = token;
    return row;
}

void diff_sample_fill(DiffSample *x, size_t first, size_t n, bool with_control, bool shared)
{
    diff_block_clear(&x->block);
    for (size_t i = first; i < first + n; i++) {
        const Pair *p = x->pairs[i];
        DiffItem *item = &x->items[i];
        memset(item, 0, sizeof *item);
        item->partner = i;
        item->n = p->n_ids - p->edit_index;
        x->window_a[i] = x->block.n_windows;
        item->a = diff_block_whole(&x->block, diff_base_ids(p), p->n_ids) + p->edit_index;
        x->window_b[i] = x->block.n_windows;
        item->b = put(&x->block, p, diff_other_token(p), shared);
        item->has_control = with_control && x->controls[i] >= 0;
        if (item->has_control)
            item->c = put(&x->block, p, x->controls[i], shared);
        item->at[DIFF_NEXT] = item->n > 1 ? 1 : DIFF_NO_ROW;
        item->at[DIFF_LAST] = (int64_t)item->n - 1;
        item->at[DIFF_ONSET] = p->onset_index >= (int64_t)p->edit_index ? p->onset_index - (int64_t)p->edit_index : DIFF_NO_ROW;
    }
}
