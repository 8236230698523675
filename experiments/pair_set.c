/* pair_set.c: see pair_set.h. */
#include "experiments/pair_set.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"

typedef struct PairCount {
    const char *key;
    size_t len, count;
} PairCount;

static uint64_t hash_of(const char *s, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static PairCount *find_slot(const PairCount *slots, size_t n_slots, const char *key, size_t len)
{
    size_t i = (size_t)hash_of(key, len) & (n_slots - 1);
    while (slots[i].key && (slots[i].len != len || memcmp(slots[i].key, key, len) != 0))
        i = (i + 1) & (n_slots - 1);
    return (PairCount *)&slots[i];
}

static bool grow_counts(PairCounts *c)
{
    size_t n = c->n_slots ? 2 * c->n_slots : 1024;
    PairCount *slots = calloc(n, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < c->n_slots; i++)
        if (c->slots[i].key)
            *find_slot(slots, n, c->slots[i].key, c->slots[i].len) = c->slots[i];
    free(c->slots);
    c->slots = slots;
    c->n_slots = n;
    return true;
}

size_t *pair_counts_at(PairCounts *c, const char *key, size_t len)
{
    if (2 * (c->n_used + 1) > c->n_slots && !grow_counts(c))
        return NULL;
    PairCount *slot = find_slot(c->slots, c->n_slots, key, len);
    if (!slot->key) {
        char *copy = arena_strndup(&c->arena, key, len);
        if (!copy)
            return NULL;
        *slot = (PairCount){copy, len, 0};
        c->n_used++;
    }
    return &slot->count;
}

void pair_counts_free(PairCounts *c)
{
    free(c->slots);
    arena_free(&c->arena);
    *c = (PairCounts){0};
}

static int no_memory(Error *e)
{
    return error_set(e, STATUS_FAILED, "no memory for the pairs");
}

/* The smaller text first: (a, b) and (b, a) are one. */
static size_t *seen_count(PairSet *s, const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    bool a_first = order < 0 || (order == 0 && a_len <= b_len);
    StrBuf key = {0};
    strbuf_append(&key, a_first ? a : b, a_first ? a_len : b_len);
    strbuf_putc(&key, '\n');
    strbuf_append(&key, a_first ? b : a, a_first ? b_len : a_len);
    size_t *count = key.failed ? NULL : pair_counts_at(&s->seen, key.data, key.len);
    strbuf_free(&key);
    return count;
}

int pair_set_seen(PairSet *s, const char *a, size_t a_len, const char *b, size_t b_len)
{
    const size_t *count = seen_count(s, a, a_len, b, b_len);
    return count ? *count > 0 : -1;
}

/* Room for one more of an array that doubles. */
static bool reserve(void **items, size_t n, size_t *cap, size_t bytes)
{
    if (n < *cap)
        return true;
    size_t grown = *cap ? 2 * *cap : 256;
    void *moved = reallocarray(*items, grown, bytes);
    if (!moved)
        return false;
    *items = moved;
    *cap = grown;
    return true;
}

int pair_set_keep(PairSet *s, const Pair *p, Error *e)
{
    size_t *count = seen_count(s, p->a, strlen(p->a), p->b, strlen(p->b));
    if (!count || !reserve((void **)&s->pairs, s->n_pairs, &s->pairs_cap, sizeof *s->pairs))
        return no_memory(e);
    ++*count;
    s->pairs[s->n_pairs++] = *p;
    return STATUS_OK;
}

static const char *copy_or_null(PairSet *s, const char *text, size_t n, bool *ok)
{
    const char *copy = text ? arena_strndup(&s->arena, text, n) : NULL;
    *ok = *ok && (copy || !text);
    return copy;
}

int pair_set_reject(PairSet *s, const PairCandidate *c, const char *category, const char *reason, Error *e)
{
    bool ok = reserve((void **)&s->rejects, s->n_rejects, &s->rejects_cap, sizeof *s->rejects);
    size_t *count = c->a && c->b ? seen_count(s, c->a, c->a_len, c->b, c->b_len) : NULL;
    PairReject r = {copy_or_null(s, c->a, c->a_len, &ok), copy_or_null(s, c->b, c->b_len, &ok),
                    copy_or_null(s, category, category ? strlen(category) : 0, &ok),
                    copy_or_null(s, c->template_id, c->template_len, &ok), copy_or_null(s, reason, strlen(reason), &ok)};
    if (!ok || (c->a && c->b && !count))
        return no_memory(e);
    if (count)
        ++*count;
    s->rejects[s->n_rejects++] = r;
    return STATUS_OK;
}

void pair_set_free(PairSet *s)
{
    free(s->pairs);
    free(s->rejects);
    pair_counts_free(&s->seen);
    arena_free(&s->arena);
    *s = (PairSet){0};
}

void pair_set_word_key(const Pair *p, StrBuf *out)
{
    bool in_order = strcmp(p->words[0], p->words[1]) < 0;
    strbuf_puts(out, p->words[!in_order]);
    strbuf_putc(out, '\n');
    strbuf_puts(out, p->words[in_order]);
}

int pair_set_clusters(const PairSet *s, PairCategory category, PairClusters *out, Error *e)
{
    PairCounts templates = {0}, words = {0};
    StrBuf key = {0};
    bool ok = true;
    *out = (PairClusters){0};
    for (size_t i = 0; i < s->n_pairs && ok; i++) {
        const Pair *p = &s->pairs[i];
        if (p->category != category)
            continue;
        strbuf_reset(&key);
        pair_set_word_key(p, &key);
        size_t *t = pair_counts_at(&templates, p->template_id, strlen(p->template_id));
        size_t *w = key.failed ? NULL : pair_counts_at(&words, key.data, key.len);
        ok = t && w;
        if (!ok)
            break;
        out->n_templates += (*t)++ == 0;
        out->n_words += (*w)++ == 0;
        out->n_pairs++;
    }
    for (size_t i = 0; i < s->n_rejects; i++)
        out->n_rejects += s->rejects[i].category && strcmp(s->rejects[i].category, pair_category_name(category)) == 0;
    pair_counts_free(&templates);
    pair_counts_free(&words);
    strbuf_free(&key);
    return ok ? STATUS_OK : no_memory(e);
}

static void put_ids(StrBuf *out, const char *name, const int32_t *ids, size_t n)
{
    strbuf_json_field(out, name);
    for (size_t i = 0; i < n; i++)
        strbuf_printf(out, "%s%d", i ? "," : "[", ids[i]);
    strbuf_puts(out, "]");
}

static void put_text(StrBuf *out, const char *s)
{
    strbuf_json_string(out, s, strlen(s));
}

void pair_set_put(const Pair *p, StrBuf *out)
{
    strbuf_puts(out, "{\"a\": ");
    put_text(out, p->a);
    strbuf_json_field_text(out, "b", p->b);
    strbuf_json_field_text(out, "category", pair_category_name(p->category));
    strbuf_json_field_text(out, "template", p->template_id);
    strbuf_json_field(out, "words");
    strbuf_putc(out, '[');
    put_text(out, p->words[0]);
    strbuf_puts(out, ", ");
    put_text(out, p->words[1]);
    strbuf_printf(out, "], \"edit_index\": %zu, \"onset_index\": ", p->edit_index);
    if (p->onset_index >= 0)
        strbuf_printf(out, "%lld", (long long)p->onset_index);
    else
        strbuf_puts(out, "null");
    put_ids(out, "ids_a", p->ids_a, p->n_ids);
    put_ids(out, "ids_b", p->ids_b, p->n_ids);
    const char side[2] = {p->error_side, 0};
    strbuf_json_field_text(out, "error_side", p->error_side ? side : NULL);
    if (p->onset_byte >= 0)
        strbuf_printf(out, ", \"onset_byte\": %lld", (long long)p->onset_byte);
    strbuf_puts(out, "}\n");
}

static int write_all(StrBuf *b, const char *path, Error *e)
{
    int status = b->failed ? no_memory(e) : file_write_atomic(path, b->data ? b->data : "", b->len, e);
    strbuf_free(b);
    return status;
}

int pair_set_write(const PairSet *s, const char *path, Error *e)
{
    StrBuf b = {0};
    for (size_t i = 0; i < s->n_pairs; i++)
        pair_set_put(&s->pairs[i], &b);
    return write_all(&b, path, e);
}

int pair_set_write_rejects(const PairSet *s, const char *path, Error *e)
{
    StrBuf b = {0};
    for (size_t i = 0; i < s->n_rejects; i++) {
        const PairReject *r = &s->rejects[i];
        strbuf_puts(&b, "{\"a\": ");
        if (r->a)
            put_text(&b, r->a);
        else
            strbuf_puts(&b, "null");
        strbuf_json_field_text(&b, "b", r->b);
        strbuf_json_field_text(&b, "category", r->category);
        strbuf_json_field_text(&b, "template", r->template_id);
        strbuf_json_field_text(&b, "reason", r->reason);
        strbuf_puts(&b, "}\n");
    }
    return write_all(&b, path, e);
}
