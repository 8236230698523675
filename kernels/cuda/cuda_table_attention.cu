/* cuda_table_attention.cu: attention of the device tables: sequences cut into items of a block each, the costliest first, sent along with
 * their segments. */
#include <string.h>

#include "kernels/cuda/cuda_attention.cuh"
#include "kernels/cuda/cuda_exact.cuh"
#include "kernels/cuda/cuda_table.cuh"

static bool aligned(View v)
{
    return (uintptr_t)v.data % 16 == 0 && v.ld * dtype_block_bytes(v.dtype) % 16 == 0;
}

static size_t count_keys(const AttnSeq *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_segments; i++)
        n += s->segments[i].n_rows;
    return n;
}

/* Items of one sequence are made from its last queries (which see the most keys) to its first. */
static size_t count_items(const AttnSeq *s, size_t rows)
{
    return (s->n_q + rows - 1) / rows;
}

static AttentionItem make_item(const AttnSeq *s, size_t rows, size_t i, size_t n_keys, size_t first_segment)
{
    AttentionItem item;
    size_t first = i * rows;
    item.q_row = (int32_t)(s->q_row + first);
    item.n_q = (int32_t)(s->n_q - first < rows ? s->n_q - first : rows);
    item.position = (int32_t)((int64_t)s->first_position - s->key_position + (int64_t)first);
    item.key_position = s->key_position;
    item.n_keys = (int32_t)n_keys;
    item.first_segment = (int32_t)first_segment;
    item.n_segments = (int32_t)s->n_segments;
    return item;
}

enum { COSTS = 64 };

/* Class of an item by the tiles of keys it walks; 0 is the costliest, so that no long item is left for the end. */
static size_t cost_class(const AttentionItem *item, int window, int most_keys)
{
    int64_t keys = (int64_t)item->position + item->n_q < item->n_keys ? (int64_t)item->position + item->n_q : item->n_keys;
    if (window > 0 && keys > window + item->n_q)
        keys = window + item->n_q;
    if (keys < 0)
        keys = 0;
    return (size_t)((COSTS - 1) - keys * (COSTS - 1) / (most_keys > 0 ? most_keys : 1)) % COSTS;
}

/* Sequences [0, n) of the list in one launch; they fit the ring. */
static void attend(OpsContext *c, AttentionArgs *a, ExactAttention *exact, const AttnSeq *seqs, size_t n, size_t n_items,
                   size_t n_segments, size_t rows)
{
    size_t items_bytes = context_round(n_items * sizeof(AttentionItem)),
           bytes = items_bytes + n_segments * sizeof(AttentionSegment);
    void *host;
    void *device = context_ring_take(c, "attention", bytes, &host);
    if (!device)
        return;
    memset((char *)host + n_items * sizeof(AttentionItem), 0, items_bytes - n_items * sizeof(AttentionItem));
    AttentionItem *items = (AttentionItem *)host;
    AttentionSegment *segments = (AttentionSegment *)(void *)((char *)host + items_bytes);
    size_t place[COSTS + 1] = {0}, segment = 0;
    int most_keys = 0;
    for (size_t s = 0; s < n; s++)
        most_keys = (int)count_keys(&seqs[s]) > most_keys ? (int)count_keys(&seqs[s]) : most_keys;
    for (int pass = 0; pass < 2; pass++) { /* how many items of each class, then the items */
        segment = 0;
        for (size_t s = 0; s < n; segment += seqs[s++].n_segments) {
            size_t n_keys = count_keys(&seqs[s]);
            for (size_t i = count_items(&seqs[s], rows); i-- > 0;) {
                AttentionItem item = make_item(&seqs[s], rows, i, n_keys, segment);
                size_t at = cost_class(&item, a->window, most_keys);
                if (pass)
                    items[place[at]++] = item;
                else
                    place[at + 1]++;
            }
        }
        for (size_t i = 0; !pass && i < COSTS; i++)
            place[i + 1] += place[i];
    }
    segment = 0;
    for (size_t s = 0; s < n; s++)
        for (size_t i = 0; i < seqs[s].n_segments; i++, segment++) {
            segments[segment].first_row = (int32_t)seqs[s].segments[i].first_row;
            segments[segment].n_rows = (int32_t)seqs[s].segments[i].n_rows;
        }
    const char *there = (const char *)context_ring_send_new(c, "attention", CONTEXT_ITEMS, device, host, bytes);
    if (!there)
        return;
    const AttentionItem *items_there = (const AttentionItem *)(const void *)there;
    const AttentionSegment *segments_there = (const AttentionSegment *)(const void *)(there + items_bytes);
    a->items = items_there;
    a->segments = segments_there;
    a->n_items = (int)n_items;
    if (c->exact) {
        exact->items = items_there;
        exact->segments = segments_there;
        exact->n_items = (int)n_items;
        exact->most_queries = (int)rows;
        exact->most_keys = most_keys;
        if (most_keys > exact_device_most_keys())
            context_fail(c, "attention", "a sequence is longer than the scores that fit shared memory");
        else
            context_ok(c, "attention", exact_device_attention(c->compute, exact));
        return;
    }
    context_ok(c, "attention", c->dtype == DTYPE_F32 ? attention_f32_launch(a, c->compute) : attention_launch(a, c->compute));
}

void table_attention(OpsContext *c, View out, View q, View k, View v, const AttnSeq *seqs, size_t n_seqs, const AttnSpec *spec)
{
    AttentionArgs a;
    ExactAttention exact;
    memset((void *)&exact, 0, sizeof exact);
    exact.out = out, exact.q = q, exact.k = k, exact.v = v;
    exact.spec = *spec;
    a.q = q.data, a.k = k.data, a.v = v.data, a.out = out.data;
    a.ld_q = (int64_t)q.ld, a.ld_k = (int64_t)k.ld, a.ld_v = (int64_t)v.ld, a.ld_out = (int64_t)out.ld;
    a.n_heads = spec->n_heads;
    a.group = spec->n_heads / spec->n_kv_heads;
    a.head_dim = spec->head_dim;
    a.window = spec->window;
    a.scale = spec->scale;
    a.softcap = spec->softcap;
    a.alibi_bf16 = spec->alibi_bf16;
    a.vectors =
        (size_t)spec->head_dim * dtype_block_bytes(q.dtype) % 16 == 0 && aligned(q) && aligned(k) && aligned(v) && aligned(out);
    a.slopes = (const float *)NULL;
    context_enter(c, "attention");
    if (spec->alibi_slopes) {
        const void *slopes = context_ring_put(c, "attention", spec->alibi_slopes, (size_t)spec->n_heads * sizeof(float));
        if (!slopes)
            return;
        a.slopes = exact.slopes = (const float *)slopes;
    }
    bool wide = c->dtype == DTYPE_F32 && !c->exact;
    size_t rows = (size_t)(wide ? attention_f32_rows_of_item(spec->head_dim) : attention_rows_of_item(spec->head_dim)),
           room = c->layout.ring_part_bytes;
    for (size_t first = 0, end; first < n_seqs; first = end) {
        size_t items = 0, segments = 0;
        for (end = first; end < n_seqs; end++) {
            size_t more = items + count_items(&seqs[end], rows), more_segments = segments + seqs[end].n_segments;
            if (end > first && context_round(more * sizeof(AttentionItem)) + more_segments * sizeof(AttentionSegment) > room)
                break;
            items = more;
            segments = more_segments;
        }
        if (items && segments)
            attend(c, &a, &exact, seqs + first, end - first, items, segments, rows);
    }
}
