/* tokenizer.c: opening, and the way of a text: added tokens are cut out of the raw text, the stretches between are normalized, normalized
 * added tokens are cut out of those, what is left is pre-tokenized and merged. */
#include "loaders/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/utf8.h"
#include "loaders/tokenizer_parts.h"

static Tokenizer *new_tokenizer(void)
{
    Tokenizer *t = calloc(1, sizeof *t);
    if (t)
        t->unk_id = t->bos = t->eos = -1;
    return t;
}

static int give(Tokenizer *t, int status, Tokenizer **out, Error *e)
{
    if (!status)
        status = tokenizer_finish(t, e);
    if (status)
        tokenizer_close(t);
    *out = status ? NULL : t;
    return status;
}

int tokenizer_finish(Tokenizer *t, Error *e)
{
    vocab_find_bytes(t);
    PatternMemory m = {0};
    int status = STATUS_OK;
    if (t->n_before == 0 && t->adds_bos && t->bos >= 0) {
        t->before = arena_array(&t->arena, 1, sizeof *t->before);
        if (!t->before)
            return error_set(e, STATUS_FAILED, "tokenizer: out of memory");
        t->before[t->n_before++] = t->bos;
    }
    for (size_t i = 0; !status && i < t->n_added; i++) {
        AddedToken *x = &t->added[i];
        x->form = x->content;
        x->form_len = x->len;
        if (!x->normalized || !t->n_normalizers)
            continue;
        SpanText text = {0};
        for (size_t k = 0; k < x->len; k++)
            span_text_push(&text, x->content + k, 1, (ByteSpan){k, k + 1});
        status = text.failed ? error_set(e, STATUS_FAILED, "tokenizer: out of memory") : text_normalize(t, &text, &m, e);
        if (!status) {
            x->form = arena_strndup(&t->arena, text.s, text.n);
            x->form_len = text.n;
            if (!x->form)
                status = error_set(e, STATUS_FAILED, "tokenizer: out of memory");
        }
        span_text_free(&text);
    }
    pattern_memory_free(&m);
    return status;
}

static bool has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

int tokenizer_open_file(const char *path, Tokenizer **out, Error *e)
{
    Tokenizer *t = new_tokenizer();
    *out = NULL;
    if (!t)
        return error_set(e, STATUS_FAILED, "%s: out of memory", path);
    int status = has_suffix(path, ".json") ? tokenizer_read_json(t, path, NULL, e) : tokenizer_read_spm(t, path, NULL, e);
    return give(t, status, out, e);
}

int tokenizer_open_dir(const char *dir, Tokenizer **out, Error *e)
{
    char *json = file_join(dir, "tokenizer.json"), *spm = file_join(dir, "tokenizer.model");
    char *config = file_join(dir, "tokenizer_config.json");
    Tokenizer *t = new_tokenizer();
    int status;
    *out = NULL;
    if (!json || !spm || !config || !t)
        status = error_set(e, STATUS_FAILED, "%s: out of memory", dir);
    else if (file_exists(json))
        status = tokenizer_read_json(t, json, config, e);
    else if (file_exists(spm))
        status = tokenizer_read_spm(t, spm, config, e);
    else
        status = error_set(e, STATUS_USAGE, "%s: no tokenizer.json and no tokenizer.model", dir);
    free(json);
    free(spm);
    free(config);
    return give(t, status, out, e);
}

int tokenizer_open_gguf(const Gguf *gguf, const char *file, Tokenizer **out, Error *e)
{
    *out = NULL;
    if (!gguf)
        return error_set(e, STATUS_FAILED, "%s: is not a GGUF file", file);
    Tokenizer *t = new_tokenizer();
    if (!t)
        return error_set(e, STATUS_FAILED, "%s: out of memory", file);
    return give(t, tokenizer_read_gguf(t, gguf, file, e), out, e);
}

void tokenizer_close(Tokenizer *t)
{
    if (!t)
        return;
    arena_free(&t->arena);
    free(t);
}

/* -- encoding -- */

typedef struct Encoder {
    const Tokenizer *t;
    TokenList *out;
    PatternMemory regex;
    BpeMemory bpe;
    SliceList slices;
    Error *error;
} Encoder;

static size_t char_before(const char *s, size_t at, uint32_t *c)
{
    size_t i = at - 1;
    while (i > 0 && ((unsigned char)s[i] & 0xc0) == 0x80)
        i--;
    utf8_decode(s + i, at - i, c);
    return i;
}

/* \w as single_word has it: other than the split patterns', without the superscripts and fractions, with the joiners. */
static bool is_word(uint32_t c)
{
    if (c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0xBC && c <= 0xBE))
        return false;
    return c == 0x200C || c == 0x200D || unicode_is_word(c);
}

static bool word_at(const char *s, size_t n, size_t at)
{
    uint32_t c;
    return at < n && utf8_decode(s + at, n - at, &c) && is_word(c);
}

static bool word_before(const char *s, size_t at)
{
    uint32_t c = 0;
    return at > 0 && (char_before(s, at, &c), is_word(c));
}

/* The longest added token (of the normalized or the raw kind) that begins at `at`. */
static const AddedToken *added_at(const Tokenizer *t, bool normalized, const char *s, size_t n, size_t at)
{
    const AddedToken *best = NULL;
    for (size_t i = 0; i < t->n_added; i++) {
        const AddedToken *x = &t->added[i];
        if (x->normalized == normalized && x->form_len && x->form_len <= n - at && x->form[0] == s[at] &&
            memcmp(x->form, s + at, x->form_len) == 0 && (!best || x->form_len > best->form_len))
            best = x;
    }
    return best;
}

typedef int (*StretchFn)(Encoder *en, const SpanText *text, Slice stretch);

static int encode_pieces(Encoder *en, const SpanText *text, Slice stretch)
{
    SpanText copy = {0};
    int status = STATUS_OK;
    if (!stretch.n)
        return STATUS_OK;
    for (size_t i = stretch.first; i < stretch.first + stretch.n; i++)
        span_text_push(&copy, text->s + i, 1, text->at[i]);
    if (copy.failed)
        status = error_set(en->error, STATUS_FAILED, "tokenizer: out of memory for a text of %zu bytes", stretch.n);
    if (!status)
        status = text_pre_tokenize(en->t, &copy, &en->slices, &en->regex, en->error);
    for (size_t i = 0; !status && i < en->slices.n; i++)
        status = bpe_encode(en->t, &copy, en->slices.items[i], &en->bpe, en->out, en->error);
    span_text_free(&copy);
    return status;
}

static int emit_added(Encoder *en, const SpanText *text, size_t first, size_t end, int32_t id)
{
    Token token = {.id = id, .byte_start = text->at[first].start, .byte_end = text->at[end - 1].end};
    return token_list_push(en->out, token) ? error_set(en->error, STATUS_FAILED, "tokenizer: out of memory") : STATUS_OK;
}

/* Cuts added tokens of one kind out of the text; the stretches between go to fn. */
static int cut_added(Encoder *en, bool normalized, const SpanText *text, StretchFn fn)
{
    const Tokenizer *t = en->t;
    bool first_bytes[256] = {false};
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].normalized == normalized && t->added[i].form_len)
            first_bytes[(unsigned char)t->added[i].form[0]] = true;
    size_t done = 0;
    int status = STATUS_OK;
    for (size_t at = 0; !status && at < text->n;) {
        const AddedToken *x = first_bytes[(unsigned char)text->s[at]] ? added_at(t, normalized, text->s, text->n, at) : NULL;
        if (!x) {
            at++;
            continue;
        }
        size_t start = at, end = at + x->form_len;
        at = end;
        if (x->single_word && (word_before(text->s, start) || word_at(text->s, text->n, end)))
            continue;
        if (start < done) /* swallowed by the token before, which stripped white space */
            continue;
        uint32_t c = 0;
        for (size_t i; x->lstrip && start > done && (i = char_before(text->s, start, &c), unicode_is_space(c));)
            start = i;
        for (size_t k;
             x->rstrip && end < text->n && (k = utf8_decode(text->s + end, text->n - end, &c)) && unicode_is_space(c);)
            end += k;
        if (start > done)
            status = fn(en, text, (Slice){done, start - done});
        if (!status)
            status = emit_added(en, text, start, end, x->id);
        done = end;
        at = end > at ? end : at;
    }
    if (!status && done < text->n)
        status = fn(en, text, (Slice){done, text->n - done});
    return status;
}

static int encode_stretch(Encoder *en, const SpanText *text, Slice stretch)
{
    SpanText normal = {0};
    for (size_t i = stretch.first; i < stretch.first + stretch.n; i++)
        span_text_push(&normal, text->s + i, 1, text->at[i]);
    int status = normal.failed
                     ? error_set(en->error, STATUS_FAILED, "tokenizer: out of memory for a text of %zu bytes", stretch.n)
                     : text_normalize(en->t, &normal, &en->regex, en->error);
    if (!status)
        status = cut_added(en, true, &normal, encode_pieces);
    span_text_free(&normal);
    return status;
}

static int push_ids(Encoder *en, const int32_t *ids, size_t n, size_t at)
{
    for (size_t i = 0; i < n; i++)
        if (token_list_push(en->out, (Token){.id = ids[i], .byte_start = at, .byte_end = at}))
            return error_set(en->error, STATUS_FAILED, "tokenizer: out of memory");
    return STATUS_OK;
}

int tokenizer_encode(const Tokenizer *t, const char *text, size_t len, bool add_special, TokenList *out, Error *e)
{
    size_t bad;
    out->n = 0;
    if (!utf8_valid(text, len, &bad))
        return error_set(e, STATUS_FAILED, "text: byte %zu: expected UTF-8, found 0x%02x", bad, (unsigned char)text[bad]);
    Encoder en = {.t = t, .out = out, .error = e};
    SpanText raw = {0};
    for (size_t i = 0; i < len; i++)
        span_text_push(&raw, text + i, 1, (ByteSpan){i, i + 1});
    int status = raw.failed ? error_set(e, STATUS_FAILED, "tokenizer: out of memory for a text of %zu bytes", len) : STATUS_OK;
    if (!status && add_special)
        status = push_ids(&en, t->before, t->n_before, 0);
    if (!status)
        status = cut_added(&en, false, &raw, encode_stretch);
    if (!status && add_special)
        status = push_ids(&en, t->after, t->n_after, len);
    span_text_free(&raw);
    free(en.slices.items);
    pattern_memory_free(&en.regex);
    bpe_memory_free(&en.bpe);
    return status;
}

void token_list_free(TokenList *l)
{
    free(l->tokens);
    memset(l, 0, sizeof *l);
}

/* -- what tokens are -- */

size_t tokenizer_vocab(const Tokenizer *t)
{
    return t->n_ids;
}

int32_t tokenizer_bos(const Tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const Tokenizer *t)
{
    return t->eos;
}

bool tokenizer_adds_bos(const Tokenizer *t)
{
    return t->adds_bos;
}

const char *tokenizer_piece(const Tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->n_ids ? t->pieces[id] : NULL;
}

bool tokenizer_is_special(const Tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->n_ids && t->special[id];
}

const char *tokenizer_describe(const Tokenizer *t)
{
    return t->description;
}

static const AddedToken *find_added(const Tokenizer *t, int32_t id)
{
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].id == id)
            return &t->added[i];
    return NULL;
}

static void put(char *out, size_t cap, size_t *n, char c)
{
    if (*n < cap)
        out[*n] = c;
    ++*n;
}

size_t tokenizer_token_bytes(const Tokenizer *t, int32_t id, char *out, size_t cap)
{
    const char *piece = tokenizer_piece(t, id);
    size_t n = 0, len = piece ? t->piece_len[id] : 0;
    unsigned byte;
    char closing;
    bool plain = t->special[piece ? id : 0] || (piece && find_added(t, id));
    if (piece && !plain && t->byte_fallback && len == 6 && sscanf(piece, "<0x%2X%c", &byte, &closing) == 2 && closing == '>') {
        put(out, cap, &n, (char)byte);
        return n;
    }
    for (size_t i = 0; i < len;) {
        uint32_t c;
        size_t k = utf8_decode(piece + i, len - i, &c);
        k = k ? k : 1;
        int original = t->byte_level && !plain ? text_letter_byte(c) : -1;
        if (original >= 0)
            put(out, cap, &n, (char)original);
        else if (t->spaces_as_marks && !plain && c == 0x2581)
            put(out, cap, &n, ' ');
        else
            for (size_t j = 0; j < k; j++)
                put(out, cap, &n, piece[i + j]);
        i += k;
    }
    return n;
}

/* What Rust's from_utf8_lossy does: U+FFFD for each longest prefix of a character that breaks off. */
static void append_lossy(StrBuf *out, const char *s, size_t len)
{
    while (len) {
        size_t good = len;
        utf8_valid(s, len, &good);
        strbuf_append(out, s, good);
        s += good;
        len -= good;
        if (!len)
            break;
        unsigned char lead = (unsigned char)s[0];
        size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2, n = 1;
        /* The second byte has narrower bounds after some leads (overlong forms, surrogates, the end of the code space). */
        unsigned low = lead == 0xE0   ? 0xA0
                       : lead == 0xF0 ? 0x90
                                      : 0x80,
                 high = lead == 0xED   ? 0x9F
                        : lead == 0xF4 ? 0x8F
                                       : 0xBF;
        if (lead >= 0xC2 && lead <= 0xF4)
            for (; n < want && n < len && (unsigned char)s[n] >= low && (unsigned char)s[n] <= high; n++) {
                low = 0x80;
                high = 0xBF;
            }
        strbuf_puts(out, "\xEF\xBF\xBD");
        s += n;
        len -= n;
    }
}

/* A run of byte tokens is text when it is UTF-8 as a whole; else each byte becomes U+FFFD. */
static void flush_bytes(StrBuf *out, StrBuf *run)
{
    size_t bad;
    if (run->len && utf8_valid(run->data, run->len, &bad))
        strbuf_append(out, run->data, run->len);
    else
        for (size_t i = 0; i < run->len; i++)
            strbuf_puts(out, "\xEF\xBF\xBD");
    out->failed = out->failed || run->failed;
    strbuf_reset(run);
}

static void append_token(const Tokenizer *t, StrBuf *out, int32_t id)
{
    size_t len = tokenizer_token_bytes(t, id, NULL, 0), begin = out->len;
    char buffer[256], *bytes = len <= sizeof buffer ? buffer : malloc(len);
    if (!bytes) {
        out->failed = true;
        return;
    }
    tokenizer_token_bytes(t, id, bytes, len);
    strbuf_append(out, bytes, len);
    if (bytes != buffer)
        free(bytes);
    /* A normalized added token comes back in its normalized form. */
    const AddedToken *x = t->spaces_as_marks ? find_added(t, id) : NULL;
    if (!x || !x->normalized || out->failed)
        return;
    out->len = begin;
    for (size_t i = 0; i < x->form_len; i++)
        if (x->form_len - i >= 3 && memcmp(x->form + i, "\xE2\x96\x81", 3) == 0) {
            strbuf_putc(out, ' ');
            i += 2;
        } else {
            strbuf_putc(out, x->form[i]);
        }
}

int tokenizer_decode(const Tokenizer *t, const int32_t *ids, size_t n, StrBuf *out, Error *e)
{
    StrBuf text = {0}, run = {0};
    for (size_t i = 0; i < n; i++) {
        const char *piece = tokenizer_piece(t, ids[i]);
        char byte[2];
        bool is_byte = t->byte_fallback && piece && t->piece_len[ids[i]] == 6 && memcmp(piece, "<0x", 3) == 0 &&
                       tokenizer_token_bytes(t, ids[i], byte, sizeof byte) == 1;
        if (is_byte) {
            strbuf_append(&run, byte, 1);
            continue;
        }
        flush_bytes(&text, &run);
        append_token(t, &text, ids[i]);
    }
    flush_bytes(&text, &run);
    size_t skip = t->strip_first_space && text.len && text.data[0] == ' ';
    if (text.len > skip)
        append_lossy(out, text.data + skip, text.len - skip);
    bool failed = text.failed || out->failed;
    strbuf_free(&text);
    strbuf_free(&run);
    return failed ? error_set(e, STATUS_FAILED, "tokenizer: out of memory") : STATUS_OK;
}

void tokenizer_word_starts(const Tokenizer *t, uint8_t *word_start)
{
    for (size_t id = 0; id < t->n_ids; id++) {
        char bytes[8];
        uint32_t c;
        size_t n = tokenizer_token_bytes(t, (int32_t)id, bytes, sizeof bytes);
        size_t shown = n < sizeof bytes ? n : sizeof bytes;
        word_start[id] = t->special[id] || n == 0 || (utf8_decode(bytes, shown, &c) && unicode_is_space(c));
    }
}
