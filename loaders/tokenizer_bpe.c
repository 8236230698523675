/* tokenizer_bpe.c: the vocabulary's hash tables and byte-pair merging: symbols in a linked list, candidates in a heap, so that a
 * piece of n characters takes O(n log n). The best pair is that of lowest rank (MERGE_PAIRS) or highest score (MERGE_SCORES,
 * SentencePiece), ties to the left. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "loaders/tokenizer_parts.h"

static uint64_t hash_bytes(const char *s, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)s[i]) * 0x100000001b3u;
    return h ^ (h >> 31);
}

static size_t table_size_for(size_t n)
{
    size_t size = 64;
    while (size < 2 * n + 2)
        size *= 2;
    return size;
}

int vocab_init(Tokenizer *t, size_t n_tokens, size_t n_ids, Error *e)
{
    t->table_size = table_size_for(n_tokens);
    t->n_ids = n_ids;
    t->table = arena_array(&t->arena, t->table_size, sizeof *t->table);
    t->pieces = arena_array(&t->arena, n_ids + 1, sizeof *t->pieces);
    t->piece_len = arena_array(&t->arena, n_ids + 1, sizeof *t->piece_len);
    t->special = arena_array(&t->arena, n_ids + 1, sizeof *t->special);
    if (!t->table || !t->pieces || !t->piece_len || !t->special)
        return error_set(e, STATUS_FAILED, "tokenizer: out of memory for %zu tokens", n_ids);
    for (size_t i = 0; i < t->table_size; i++)
        t->table[i].id = -1;
    return STATUS_OK;
}

static VocabEntry *find_entry(const Tokenizer *t, const char *s, size_t len)
{
    for (size_t i = hash_bytes(s, len) & (t->table_size - 1);; i = (i + 1) & (t->table_size - 1)) {
        VocabEntry *x = &t->table[i];
        if (x->id < 0 || (x->len == len && memcmp(x->s, s, len) == 0))
            return x;
    }
}

void vocab_put(Tokenizer *t, const char *s, size_t len, int32_t id)
{
    VocabEntry *x = find_entry(t, s, len);
    *x = (VocabEntry){s, (uint32_t)len, id};
    t->pieces[id] = s;
    t->piece_len[id] = (uint32_t)len;
}

int32_t vocab_find(const Tokenizer *t, const char *s, size_t len)
{
    return find_entry(t, s, len)->id;
}

void vocab_find_bytes(Tokenizer *t)
{
    for (int b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", b);
        t->byte_ids[b] = vocab_find(t, name, 6);
    }
}

static uint64_t hash_pair(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 32);
}

int merges_init(Tokenizer *t, size_t n, Error *e)
{
    t->merges_size = table_size_for(n);
    t->merges = arena_array(&t->arena, t->merges_size, sizeof *t->merges);
    if (!t->merges)
        return error_set(e, STATUS_FAILED, "tokenizer: out of memory for %zu merges", n);
    for (size_t i = 0; i < t->merges_size; i++)
        t->merges[i].rank = -1;
    return STATUS_OK;
}

static Merge *find_merge(const Tokenizer *t, int32_t left, int32_t right)
{
    for (size_t i = hash_pair(left, right) & (t->merges_size - 1);; i = (i + 1) & (t->merges_size - 1)) {
        Merge *m = &t->merges[i];
        if (m->rank < 0 || (m->left == left && m->right == right))
            return m;
    }
}

void merges_put(Tokenizer *t, int32_t left, int32_t right, int32_t rank, int32_t id)
{
    *find_merge(t, left, right) = (Merge){left, right, rank, id};
}

typedef struct BpeSymbol {
    int32_t id, prev, next;
    size_t first, end; /* bytes of the text; end == first: merged away */
} BpeSymbol;

typedef struct BpeCandidate {
    double key; /* smaller is better: rank, or minus score */
    int32_t left, right, id;
    size_t len; /* bytes of both when the candidate was made: a stale one differs */
} BpeCandidate;

void bpe_memory_free(BpeMemory *m)
{
    free(m->symbols);
    free(m->heap);
    memset(m, 0, sizeof *m);
}

static bool better(const BpeCandidate *a, const BpeCandidate *b)
{
    return a->key < b->key || (a->key == b->key && a->left < b->left);
}

static bool heap_push(BpeMemory *m, BpeCandidate c)
{
    if (m->n_heap == m->heap_cap) {
        size_t cap = m->heap_cap ? 2 * m->heap_cap : 64;
        BpeCandidate *heap = realloc(m->heap, cap * sizeof *heap);
        if (!heap)
            return false;
        m->heap = heap;
        m->heap_cap = cap;
    }
    size_t i = m->n_heap++;
    for (; i && better(&c, &m->heap[(i - 1) / 2]); i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = c;
    return true;
}

static BpeCandidate heap_pop(BpeMemory *m)
{
    BpeCandidate top = m->heap[0], last = m->heap[--m->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < m->n_heap; i = child) {
        if (child + 1 < m->n_heap && better(&m->heap[child + 1], &m->heap[child]))
            child++;
        if (!better(&m->heap[child], &last))
            break;
        m->heap[i] = m->heap[child];
    }
    if (m->n_heap)
        m->heap[i] = last;
    return top;
}

static bool push_symbol(BpeMemory *m, int32_t id, size_t first, size_t end)
{
    if (m->n_symbols == m->symbols_cap) {
        size_t cap = m->symbols_cap ? 2 * m->symbols_cap : 64;
        BpeSymbol *symbols = realloc(m->symbols, cap * sizeof *symbols);
        if (!symbols)
            return false;
        m->symbols = symbols;
        m->symbols_cap = cap;
    }
    int32_t i = (int32_t)m->n_symbols++;
    m->symbols[i] = (BpeSymbol){.id = id, .prev = i - 1, .next = i + 1, .first = first, .end = end};
    return true;
}

static bool consider(const Tokenizer *t, const SpanText *text, BpeMemory *m, int32_t left)
{
    if (left < 0)
        return true;
    int32_t right = m->symbols[left].next;
    if (right >= (int32_t)m->n_symbols)
        return true;
    const BpeSymbol *a = &m->symbols[left], *b = &m->symbols[right];
    BpeCandidate c = {.left = left, .right = right, .len = b->end - a->first};
    if (t->merge_kind == MERGE_PAIRS) {
        const Merge *merge = find_merge(t, a->id, b->id);
        if (merge->rank < 0)
            return true;
        c.key = merge->rank;
        c.id = merge->id;
    } else {
        if (a->end != b->first) /* characters nobody knows were left out between them */
            return true;
        c.id = vocab_find(t, text->s + a->first, c.len);
        if (c.id < 0 || t->scores[c.id] == -INFINITY)
            return true;
        c.key = -(double)t->scores[c.id];
    }
    return heap_push(m, c);
}

/* The characters of a piece as symbols, with the unknown ones as the library makes them: bytes when all of them are in the
 * vocabulary, else the unknown token (neighbours fused when told so), else nothing. */
static bool push_characters(const Tokenizer *t, const SpanText *text, Slice piece, BpeMemory *m)
{
    size_t end = piece.first + piece.n, unk_first = 0, unk_end = 0;
    bool unk = false, ok = true;
    for (size_t i = piece.first; ok && i < end;) {
        uint32_t code;
        size_t n = utf8_decode(text->s + i, end - i, &code);
        n = n ? n : 1;
        int32_t id = vocab_find(t, text->s + i, n);
        if (id >= 0 && t->merge_kind == MERGE_SCORES && t->scores[id] == -INFINITY)
            id = -1;
        bool bytes = id < 0 && t->byte_fallback;
        for (size_t k = 0; k < n && bytes; k++)
            bytes = t->byte_ids[(unsigned char)text->s[i + k]] >= 0;
        if (bytes) {
            for (size_t k = 0; ok && k < n; k++)
                ok = push_symbol(m, t->byte_ids[(unsigned char)text->s[i + k]], i + k, i + k + 1);
        } else if (id >= 0 || t->unk_id >= 0) {
            bool fuse = id < 0 && unk && t->fuse_unk;
            if (unk && !fuse) {
                ok = push_symbol(m, t->unk_id, unk_first, unk_end);
                unk = false;
            }
            if (id >= 0) {
                ok = ok && push_symbol(m, id, i, i + n);
            } else {
                unk_first = fuse ? unk_first : i;
                unk_end = i + n;
                unk = true;
            }
        }
        i += n;
    }
    return ok && (!unk || push_symbol(m, t->unk_id, unk_first, unk_end));
}

static bool merge_all(const Tokenizer *t, const SpanText *text, BpeMemory *m)
{
    for (int32_t i = 0; i + 1 < (int32_t)m->n_symbols; i++)
        if (!consider(t, text, m, i))
            return false;
    while (m->n_heap) {
        BpeCandidate c = heap_pop(m);
        BpeSymbol *a = &m->symbols[c.left], *b = &m->symbols[c.right];
        if (a->id < 0 || b->id < 0 || a->next != c.right || b->end - a->first != c.len)
            continue;
        a->id = c.id;
        a->end = b->end;
        a->next = b->next;
        b->id = -1;
        if (b->next < (int32_t)m->n_symbols)
            m->symbols[b->next].prev = c.left;
        if (!consider(t, text, m, a->prev) || !consider(t, text, m, c.left))
            return false;
    }
    return true;
}

int token_list_push(TokenList *l, Token token)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 256;
        Token *tokens = realloc(l->tokens, cap * sizeof *tokens);
        if (!tokens)
            return STATUS_FAILED;
        l->tokens = tokens;
        l->cap = cap;
    }
    l->tokens[l->n++] = token;
    return STATUS_OK;
}

static Token token_of(const SpanText *text, int32_t id, size_t first, size_t end)
{
    Token token = {.id = id, .byte_start = text->at[first].start, .byte_end = text->at[first].end};
    for (size_t i = first; i < end; i++)
        token.byte_end = text->at[i].end > token.byte_end ? text->at[i].end : token.byte_end;
    return token;
}

/* Tokens behind a character that waits as unknown come before it, in the library's order; spans stay in the text's order: the
 * first of those tokens takes the waiting bytes, the unknown one keeps none. */
static void order_spans(TokenList *out, size_t first)
{
    size_t low = SIZE_MAX, high = 0;
    for (size_t i = out->n; i-- > first;) {
        Token *x = &out->tokens[i];
        low = x->byte_start < low ? x->byte_start : low;
        x->byte_start = low;
    }
    for (size_t i = first; i < out->n; i++) {
        Token *x = &out->tokens[i];
        x->byte_start = x->byte_start < high ? high : x->byte_start;
        x->byte_end = x->byte_end < x->byte_start ? x->byte_start : x->byte_end;
        high = x->byte_end;
    }
}

int bpe_encode(const Tokenizer *t, const SpanText *text, Slice piece, BpeMemory *m, TokenList *out, Error *e)
{
    int32_t whole = t->ignore_merges ? vocab_find(t, text->s + piece.first, piece.n) : -1;
    size_t n_before = out->n;
    bool ok = true;
    if (whole >= 0) {
        ok = !token_list_push(out, token_of(text, whole, piece.first, piece.first + piece.n));
    } else {
        m->n_symbols = m->n_heap = 0;
        ok = piece.n < INT32_MAX && push_characters(t, text, piece, m) && merge_all(t, text, m);
        for (size_t i = 0; ok && i < m->n_symbols; i++)
            if (m->symbols[i].id >= 0)
                ok = !token_list_push(out, token_of(text, m->symbols[i].id, m->symbols[i].first, m->symbols[i].end));
        order_spans(out, n_before);
    }
    return ok ? STATUS_OK : error_set(e, STATUS_FAILED, "tokenizer: out of memory for a piece of %zu bytes", piece.n);
}
