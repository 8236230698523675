/* tokenizer_text.c: normalizers and pre-tokenizers, as the Hugging Face tokenizers library defines them, with every byte's
 * origin kept. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "loaders/tokenizer_parts.h"

void span_text_push(SpanText *t, const char *bytes, size_t n, ByteSpan span)
{
    if (t->n + n > t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 64;
        cap = cap < t->n + n ? t->n + n : cap;
        char *s = realloc(t->s, cap);
        if (s)
            t->s = s;
        ByteSpan *at = s ? realloc(t->at, cap * sizeof *at) : NULL;
        if (!at) {
            t->failed = true;
            return;
        }
        t->at = at;
        t->cap = cap;
    }
    for (size_t i = 0; i < n; i++) {
        t->s[t->n] = bytes[i];
        t->at[t->n++] = i ? (ByteSpan){span.end, span.end} : span;
    }
}

void span_text_free(SpanText *t)
{
    free(t->s);
    free(t->at);
    memset(t, 0, sizeof *t);
}

static void push_slice(SliceList *l, size_t first, size_t end)
{
    if (first == end)
        return;
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        Slice *items = realloc(l->items, cap * sizeof *items);
        if (!items) {
            l->failed = true;
            return;
        }
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n++] = (Slice){first, end - first};
}

static int out_of_memory(Error *e, size_t n)
{
    return error_set(e, STATUS_FAILED, "tokenizer: out of memory for a text of %zu bytes", n);
}

/* The empty range where byte i of a text would begin in the original. */
static ByteSpan before_byte(const SpanText *t, size_t i)
{
    size_t at = i < t->n ? t->at[i].start : t->n ? t->at[t->n - 1].end : 0;
    return (ByteSpan){at, at};
}

static void copy_bytes(SpanText *out, const SpanText *in, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        span_text_push(out, in->s + i, 1, in->at[i]);
}

/* -- normalizers: each writes a new text -- */

static int normalize_form(UnicodeForm form, const SpanText *in, SpanText *out, Error *e)
{
    uint32_t *code = malloc((in->n + 1) * sizeof *code);
    size_t *byte = malloc((in->n + 1) * sizeof *byte), n = 0; /* where each character begins */
    size_t bound = unicode_normalize_bound(in->n);
    UnicodeChar *made = malloc((bound + 1) * sizeof *made);
    int status = code && byte && made ? STATUS_OK : out_of_memory(e, in->n);
    for (size_t i = 0; !status && i < in->n; n++) {
        byte[n] = i;
        size_t len = utf8_decode(in->s + i, in->n - i, &code[n]);
        i += len ? len : 1;
    }
    if (!status) {
        byte[n] = in->n;
        size_t n_made = unicode_normalize(form, code, n, made, bound), source = 0;
        for (size_t i = 0; i < n_made; i++) {
            char utf8[4];
            size_t len = utf8_encode(made[i].code_point, utf8), end = source + made[i].n_source;
            bool same =
                made[i].n_source == 1 && len == byte[source + 1] - byte[source] && memcmp(utf8, in->s + byte[source], len) == 0;
            if (same) {
                copy_bytes(out, in, byte[source], byte[source + 1]);
            } else {
                ByteSpan span = before_byte(in, byte[source]);
                if (end > source)
                    span.end = in->at[byte[end] - 1].end;
                span_text_push(out, utf8, len, span);
            }
            source = end;
        }
    }
    free(code);
    free(byte);
    free(made);
    return status;
}

/* The next match of a part's pattern at or after `from`: 1 with its ends, 0, or -1 (no memory). Empty literals match nothing. */
static int find(const TextPart *p, PatternMemory *m, const char *s, size_t len, size_t from, size_t *start, size_t *end)
{
    if (p->regex)
        return pattern_search(p->regex, m, s, len, from, start, end);
    if (!p->literal_len || len < p->literal_len)
        return 0;
    for (size_t i = from; i + p->literal_len <= len; i++) {
        const char *hit = memchr(s + i, p->literal[0], len - p->literal_len + 1 - i);
        if (!hit)
            return 0;
        i = (size_t)(hit - s);
        if (memcmp(hit, p->literal, p->literal_len) == 0) {
            *start = i;
            *end = i + p->literal_len;
            return 1;
        }
    }
    return 0;
}

static int normalize_replace(const TextPart *p, const SpanText *in, SpanText *out, PatternMemory *m, Error *e)
{
    size_t at = 0, start, end;
    for (size_t from = 0; from <= in->n;) {
        int found = find(p, m, in->s, in->n, from, &start, &end);
        if (found < 0)
            return out_of_memory(e, in->n);
        if (!found)
            break;
        copy_bytes(out, in, at, start);
        ByteSpan span = before_byte(in, start);
        if (end > start)
            span.end = in->at[end - 1].end;
        span_text_push(out, p->text, p->text_len, span);
        at = end;
        from = end > start ? end : end + 1;
    }
    copy_bytes(out, in, at, in->n);
    return STATUS_OK;
}

int text_normalize(const Tokenizer *t, SpanText *text, PatternMemory *m, Error *e)
{
    for (int i = 0; i < t->n_normalizers; i++) {
        const TextPart *p = &t->normalizers[i];
        SpanText out = {0};
        int status = STATUS_OK;
        if (p->kind == PART_FORM) {
            status = normalize_form(p->form, text, &out, e);
        } else if (p->kind == PART_REPLACE) {
            status = normalize_replace(p, text, &out, m, e);
        } else {
            if (text->n)
                span_text_push(&out, p->text, p->text_len, before_byte(text, 0));
            copy_bytes(&out, text, 0, text->n);
        }
        if (!status && out.failed)
            status = out_of_memory(e, text->n);
        if (status) {
            span_text_free(&out);
            return status;
        }
        span_text_free(text);
        *text = out;
    }
    return STATUS_OK;
}

/* -- pre-tokenizers -- */

uint32_t text_byte_letter(unsigned char byte)
{
    bool visible = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    if (visible)
        return byte;
    if (byte <= 0x20)
        return 256u + byte; /* 0..32 */
    if (byte == 0xad)
        return 256u + 67;
    return 256u + 33 + (byte - 0x7fu); /* 127..160 */
}

int text_letter_byte(uint32_t letter)
{
    if (letter < 256)
        return text_byte_letter((unsigned char)letter) == letter ? (int)letter : -1;
    if (letter <= 256 + 32)
        return (int)letter - 256;
    if (letter < 256 + 67)
        return (int)letter - 256 - 33 + 0x7f;
    return letter == 256 + 67 ? 0xad : -1;
}

int text_default_regex(Arena *arena, Pattern **out, Error *e)
{
    static const char pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    return pattern_compile(pattern, sizeof pattern - 1, arena, out, e);
}

/* Stretches of a slice, alternately outside and inside matches, gathered into pieces by the behavior. */
typedef struct Splitter {
    SliceList *out;
    SplitBehavior behavior;
    size_t piece_first, piece_end; /* the piece that may still grow */
    bool open, last_was_match;
    size_t mark; /* NEXT: first slice of this text in out */
} Splitter;

static void flush_piece(Splitter *s)
{
    if (s->open)
        push_slice(s->out, s->piece_first, s->piece_end);
    s->open = false;
}

static void add_stretch(Splitter *s, size_t first, size_t end, bool is_match)
{
    if (first == end)
        return;
    bool joins = false;
    switch (s->behavior) {
    case SPLIT_REMOVED:
        if (is_match)
            return;
        break;
    case SPLIT_ISOLATED:
        break;
    case SPLIT_PREVIOUS: /* a match goes to the stretch before it, unless that was a match too */
        joins = s->open && is_match && !s->last_was_match;
        break;
    case SPLIT_NEXT: /* mirrored: a stretch goes to the match right before it, when that follows no... see below */
        joins = s->open && s->last_was_match && !is_match;
        break;
    case SPLIT_CONTIGUOUS:
        joins = s->open && is_match == s->last_was_match;
        break;
    }
    if (!joins) {
        flush_piece(s);
        s->piece_first = first;
    }
    s->piece_end = end;
    s->open = true;
    s->last_was_match = is_match;
}

static int split_slice(const TextPart *p, SplitBehavior behavior, bool invert, const SpanText *text, Slice slice,
                       SliceList *out, PatternMemory *m, Error *e)
{
    Splitter s = {.out = out, .behavior = behavior};
    const char *base = text->s + slice.first;
    size_t at = 0, start, end;
    for (size_t from = 0; from <= slice.n;) {
        int found = find(p, m, base, slice.n, from, &start, &end);
        if (found < 0)
            return out_of_memory(e, slice.n);
        if (!found)
            break;
        add_stretch(&s, slice.first + at, slice.first + start, invert);
        add_stretch(&s, slice.first + start, slice.first + end, !invert);
        at = end;
        from = end > start ? end : end + 1;
    }
    add_stretch(&s, slice.first + at, slice.first + slice.n, invert);
    flush_piece(&s);
    return STATUS_OK;
}

typedef bool (*CharTest)(uint32_t c);

static void split_chars(CharTest test, SplitBehavior behavior, const SpanText *text, Slice slice, SliceList *out)
{
    Splitter s = {.out = out, .behavior = behavior};
    size_t run = slice.first, end = slice.first + slice.n;
    for (size_t i = slice.first; i < end;) {
        uint32_t c;
        size_t n = utf8_decode(text->s + i, end - i, &c);
        n = n ? n : 1;
        if (test(c)) { /* each matching character is a match of its own */
            add_stretch(&s, run, i, false);
            add_stretch(&s, i, i + n, true);
            run = i + n;
        }
        i += n;
    }
    add_stretch(&s, run, end, false);
    flush_piece(&s);
}

static void byte_letters(const SpanText *in, Slice slice, SpanText *out)
{
    for (size_t i = slice.first; i < slice.first + slice.n; i++) {
        char utf8[4];
        size_t n = utf8_encode(text_byte_letter((unsigned char)in->s[i]), utf8);
        span_text_push(out, utf8, n, in->at[i]);
    }
}

/* Puts `prefix` before the slice while copying it; the new slice is in out. */
static Slice copy_with_prefix(const SpanText *in, Slice slice, const char *prefix, size_t n, SpanText *out)
{
    size_t first = out->n;
    span_text_push(out, prefix, n, before_byte(in, slice.first));
    copy_bytes(out, in, slice.first, slice.first + slice.n);
    return (Slice){first, out->n - first};
}

static int apply_byte_level(const TextPart *p, const SpanText *in, Slice slice, SpanText *out, SliceList *slices,
                            PatternMemory *m, Error *e)
{
    SpanText prefixed = {0};
    SliceList parts = {0};
    int status = STATUS_OK;
    const SpanText *from = in;
    if (p->add_prefix_space && in->s[slice.first] != ' ') {
        slice = copy_with_prefix(in, slice, " ", 1, &prefixed);
        from = &prefixed;
    }
    if (p->regex)
        status = split_slice(p, SPLIT_ISOLATED, false, from, slice, &parts, m, e);
    else
        push_slice(&parts, slice.first, slice.first + slice.n);
    for (size_t i = 0; !status && i < parts.n; i++) {
        size_t first = out->n;
        byte_letters(from, parts.items[i], out);
        push_slice(slices, first, out->n);
    }
    if (!status && (parts.failed || prefixed.failed))
        status = out_of_memory(e, slice.n);
    free(parts.items);
    span_text_free(&prefixed);
    return status;
}

static int apply_metaspace(const TextPart *p, const SpanText *in, Slice slice, SpanText *out, SliceList *slices,
                           PatternMemory *m, Error *e)
{
    size_t first = out->n, end = slice.first + slice.n;
    bool starts =
        in->s[slice.first] == ' ' || (slice.n >= p->text_len && memcmp(in->s + slice.first, p->text, p->text_len) == 0);
    bool wanted = p->scheme == PREPEND_ALWAYS || (p->scheme == PREPEND_FIRST && in->at[slice.first].start == 0);
    if (wanted && !starts)
        span_text_push(out, p->text, p->text_len, before_byte(in, slice.first));
    for (size_t i = slice.first; i < end; i++) {
        if (in->s[i] == ' ')
            span_text_push(out, p->text, p->text_len, in->at[i]);
        else
            span_text_push(out, in->s + i, 1, in->at[i]);
    }
    if (!p->split) {
        push_slice(slices, first, out->n);
        return STATUS_OK;
    }
    TextPart mark = {.literal = p->text, .literal_len = p->text_len};
    return split_slice(&mark, SPLIT_NEXT, false, out, (Slice){first, out->n - first}, slices, m, e);
}

static int apply_part(const TextPart *p, const SpanText *in, Slice slice, SpanText *out, SliceList *slices, PatternMemory *m,
                      Error *e)
{
    switch (p->kind) {
    case PART_SPLIT:
        return split_slice(p, p->behavior, p->invert, in, slice, slices, m, e);
    case PART_DIGITS:
        split_chars(unicode_is_numeric, p->individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS, in, slice, slices);
        return STATUS_OK;
    case PART_PUNCTUATION:
        split_chars(unicode_is_punctuation, p->behavior, in, slice, slices);
        return STATUS_OK;
    case PART_WHITESPACE_SPLIT:
        split_chars(unicode_is_space, SPLIT_REMOVED, in, slice, slices);
        return STATUS_OK;
    case PART_BYTE_LEVEL:
        return apply_byte_level(p, in, slice, out, slices, m, e);
    default:
        return apply_metaspace(p, in, slice, out, slices, m, e);
    }
}

int text_pre_tokenize(const Tokenizer *t, SpanText *text, SliceList *slices, PatternMemory *m, Error *e)
{
    slices->n = 0;
    push_slice(slices, 0, text->n);
    for (int i = 0; i < t->n_pre; i++) {
        const TextPart *p = &t->pre[i];
        bool rewrites = p->kind == PART_BYTE_LEVEL || p->kind == PART_METASPACE;
        SpanText out = {0};
        SliceList next = {0};
        int status = STATUS_OK;
        for (size_t k = 0; !status && k < slices->n; k++)
            status = apply_part(p, text, slices->items[k], &out, &next, m, e);
        if (!status && (out.failed || next.failed))
            status = out_of_memory(e, text->n);
        free(slices->items);
        *slices = next;
        if (rewrites) {
            span_text_free(text);
            *text = out;
        }
        if (status)
            return status;
    }
    return slices->failed ? out_of_memory(e, text->n) : STATUS_OK;
}
