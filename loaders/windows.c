/* windows.c: windows.h. Words and bytes are counted over the text itself, token after token, so that a word which two windows
 * share is one word. */
#include "loaders/windows.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/sha256.h"
#include "engine/base/utf8.h"

static const char *const protocol_names[] = {"rows", "concat", "file"};

const char *window_protocol_name(WindowProtocol p)
{
    return protocol_names[p];
}

bool window_protocol_from_name(const char *name, WindowProtocol *out)
{
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, protocol_names[i]) == 0) {
            *out = (WindowProtocol)i;
            return true;
        }
    }
    return false;
}

/* ---- words and bytes ---- */

/* Length of the white-space character that byte p of the text belongs to, 0 when it belongs to none. *at gets the character's
 * first byte: spans may begin inside a character. */
static size_t space_at(const char *text, size_t len, size_t p, size_t *at)
{
    size_t s = p;
    while (s > 0 && p - s < 3 && ((unsigned char)text[s] & 0xC0) == 0x80)
        s--;
    uint32_t c = 0;
    size_t n = utf8_decode(text + s, len - s, &c);
    *at = s;
    if (n == 0 || s + n <= p)
        return 0;
    bool space = (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
                 (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
    return space ? n : 0;
}

/* Where counting stands in one row's text. */
typedef struct Counter {
    const char *text;
    size_t len;
    size_t word_end; /* end of the last word counted */
    size_t byte_end; /* bytes before it are counted */
} Counter;

static void count_span(Counter *c, size_t begin, size_t end, WindowCounts *counts)
{
    size_t from = begin > c->byte_end ? begin : c->byte_end;
    if (end > from) {
        counts->n_bytes += end - from;
        c->byte_end = end;
    }
    size_t p = begin > c->word_end ? begin : c->word_end;
    while (p < end) {
        size_t at;
        size_t n = space_at(c->text, c->len, p, &at);
        if (n > 0) {
            p = at + n;
            continue;
        }
        counts->n_words++;
        while (p < c->len && space_at(c->text, c->len, p, &at) == 0)
            p++;
        c->word_end = p;
    }
}

/* ---- growing ---- */

typedef struct Capacity {
    size_t ids, windows, tokens;
} Capacity;

static bool resize(void **array, size_t count, size_t elem_bytes)
{
    size_t bytes;
    if (!checked_mul(count > 0 ? count : 1, elem_bytes, &bytes))
        return false;
    void *p = realloc(*array, bytes);
    if (!p)
        return false;
    *array = p;
    return true;
}

static bool resize_all(Windows *w, Capacity cap)
{
    size_t n_starts;
    if (!checked_add(cap.windows, 1, &n_starts))
        return false;
    return resize((void **)&w->ids, cap.ids, sizeof *w->ids) && resize((void **)&w->start, n_starts, sizeof *w->start) &&
           resize((void **)&w->window_row, cap.windows, sizeof *w->window_row) &&
           resize((void **)&w->unit, cap.windows, sizeof *w->unit) &&
           resize((void **)&w->token_id, cap.tokens, sizeof *w->token_id) &&
           resize((void **)&w->row, cap.tokens, sizeof *w->row) && resize((void **)&w->window, cap.tokens, sizeof *w->window) &&
           resize((void **)&w->position, cap.tokens, sizeof *w->position) &&
           resize((void **)&w->byte_start, cap.tokens, sizeof *w->byte_start) &&
           resize((void **)&w->byte_end, cap.tokens, sizeof *w->byte_end);
}

static size_t grown(size_t cap, size_t need)
{
    size_t doubled = cap > SIZE_MAX / 2 ? need : cap * 2;
    return need <= cap ? cap : doubled > need ? doubled : need;
}

static int out_of_memory(Error *e)
{
    return error_set(e, STATUS_FAILED, "windows: not enough memory for the token ids");
}

/* Room for one more window of n ids. */
static int reserve(Windows *w, Capacity *cap, size_t n, Error *e)
{
    if (w->n_windows >= INT32_MAX)
        return error_set(e, STATUS_FAILED, "windows: more than %d windows; give --max_samples", INT32_MAX);
    Capacity want = {grown(cap->ids, w->n_ids + n), grown(cap->windows, w->n_windows + 1), grown(cap->tokens, w->n_tokens + n)};
    if (want.ids == cap->ids && want.windows == cap->windows && want.tokens == cap->tokens)
        return STATUS_OK;
    if (!resize_all(w, want))
        return out_of_memory(e);
    *cap = want;
    return STATUS_OK;
}

/* Appends one window: BOS if wanted, then n ids. Spans come from tokens (text) or are empty (tokens NULL). Room is reserved. */
static void append_window(Windows *w, bool bos, int32_t bos_id, const Token *tokens, const int32_t *ids, size_t n, int32_t row)
{
    size_t first = w->n_ids;
    if (bos)
        w->ids[w->n_ids++] = bos_id;
    for (size_t i = 0; i < n; i++) {
        /* cppcheck-suppress nullPointer ; tokens and ids are never both NULL */
        int32_t id = tokens ? tokens[i].id : ids[i];
        size_t position = w->n_ids - first;
        w->ids[w->n_ids++] = id;
        if (position == 0)
            continue;
        size_t t = w->n_tokens++;
        w->token_id[t] = id;
        w->row[t] = row;
        w->window[t] = (int32_t)w->n_windows;
        w->position[t] = (int32_t)position;
        w->byte_start[t] = tokens ? (int64_t)tokens[i].byte_start : 0;
        w->byte_end[t] = tokens ? (int64_t)tokens[i].byte_end : 0;
    }
    w->window_row[w->n_windows] = row;
    w->n_windows++;
    w->start[w->n_windows] = w->n_ids;
    if (w->n_ids - first > w->longest)
        w->longest = w->n_ids - first;
}

static void count_window(const Windows *w, size_t window, Counter *c, WindowCounts *counts)
{
    for (size_t t = windows_first_token(w, window); t < windows_first_token(w, window + 1); t++) {
        counts->n_tokens++;
        count_span(c, (size_t)w->byte_start[t], (size_t)w->byte_end[t], counts);
    }
}

/* ---- rows ---- */

static int check_id(int64_t id, const WindowOptions *o, const Dataset *d, const Row *row, size_t row_index, size_t at, Error *e)
{
    if (id >= 0 && (uint64_t)id < o->vocab)
        return STATUS_OK;
    return error_set(e, STATUS_FAILED, "%s: line %zu (row %zu): id %lld at index %zu is outside the model's vocabulary of %zu",
                     d->path, row->line, row_index, (long long)id, at, o->vocab);
}

static int add_row(Dataset *d, const Tokenizer *tokenizer, const WindowOptions *o, size_t r, TokenList *list, Windows *w,
                   Capacity *cap, Error *e)
{
    const Row *row = &d->rows[r];
    if (row->text && row->ids)
        return error_set(e, STATUS_FAILED, "%s: line %zu (row %zu): a row with both \"text\" and \"ids\", expected one of them",
                         d->path, row->line, r);
    bool is_text = row->text != NULL;
    size_t n = row->n_ids;
    if (is_text) {
        if (!tokenizer)
            return error_set(e, STATUS_FAILED,
                             "%s: line %zu (row %zu): a row of text, but the model has no tokenizer; expected {\"ids\": [...]}",
                             d->path, row->line, r);
        int status = tokenizer_encode(tokenizer, row->text, row->len, false, list, e);
        if (status)
            return error_prefix(e, status, "%s: line %zu (row %zu)", d->path, row->line, r);
        n = list->n;
    }
    for (size_t i = 0; i < n; i++) {
        int status = check_id(is_text ? list->tokens[i].id : row->ids[i], o, d, row, r, i, e);
        if (status)
            return status;
    }
    bool bos = o->bos && is_text;
    size_t room = bos ? o->context - 1 : o->context;
    size_t used = n < room ? n : room;
    size_t before = w->n_tokens;
    if (used + (bos ? 1 : 0) >= 2) {
        int status = reserve(w, cap, used + 1, e);
        if (status)
            return status;
        append_window(w, bos, o->bos_id, is_text ? list->tokens : NULL, row->ids, used, (int32_t)r);
        if (is_text) {
            Counter c = {.text = row->text, .len = row->len};
            count_window(w, w->n_windows - 1, &c, &w->counts);
        } else {
            w->has_text = false;
            w->counts.n_tokens += w->n_tokens - before;
        }
    }
    size_t n_tokens = w->n_tokens - before;
    w->n_unscored += n - n_tokens;
    w->row_tokens[r] = n_tokens < UINT32_MAX ? (uint32_t)n_tokens : UINT32_MAX;
    return STATUS_OK;
}

static void hash_length(Sha256 *s, uint64_t length)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(length >> (8 * i));
    sha256_update(s, bytes, sizeof bytes);
}

static void hash_ids(Sha256 *s, const int32_t *ids, size_t n)
{
    unsigned char chunk[4 * 1024];
    for (size_t i = 0; i < n;) {
        size_t k = 0;
        for (; k < 1024 && i < n; k++, i++) {
            uint32_t v = (uint32_t)ids[i];
            for (int b = 0; b < 4; b++)
                chunk[4 * k + (size_t)b] = (unsigned char)(v >> (8 * b));
        }
        sha256_update(s, chunk, 4 * k);
    }
}

static int build_rows(Dataset *d, const Tokenizer *tokenizer, const WindowOptions *o, Windows *w, Capacity *cap, Error *e)
{
    TokenList list = {0};
    Sha256 hash;
    int status = STATUS_OK;

    w->n_rows = o->max_samples > 0 && o->max_samples < d->n_rows ? o->max_samples : d->n_rows;
    if (w->n_rows > INT32_MAX)
        return error_set(e, STATUS_FAILED, "%s: more than %d rows; give --max_samples", d->path, INT32_MAX);
    w->row_tokens = calloc(w->n_rows ? w->n_rows : 1, sizeof *w->row_tokens);
    if (!w->row_tokens)
        return out_of_memory(e);
    sha256_begin(&hash);
    for (size_t r = 0; r < w->n_rows && !status; r++) {
        const Row *row = &d->rows[r];
        if (row->text) {
            hash_length(&hash, row->len);
            sha256_update(&hash, row->text, row->len);
        } else {
            hash_length(&hash, ((uint64_t)1 << 63) + row->n_ids);
            hash_ids(&hash, row->ids, row->n_ids);
        }
        status = add_row(d, tokenizer, o, r, &list, w, cap, e);
    }
    sha256_end(&hash, w->rows_sha256);
    token_list_free(&list);
    if (!status && w->n_windows == 0)
        status = error_set(e, STATUS_FAILED, "%s: none of %zu rows has two ids (%s BOS): nothing to predict", d->path,
                           w->n_rows, o->bos ? "with" : "without");
    return status;
}

/* ---- one text ---- */

static int build_text(Dataset *d, const Tokenizer *tokenizer, const WindowOptions *o, Windows *w, Capacity *cap, Error *e)
{
    TokenList list = {0};
    const char *text = NULL;
    size_t len = 0;
    const char *name = protocol_names[o->protocol];

    for (size_t r = 0; r < d->n_rows; r++) {
        if (!d->rows[r].text)
            return error_set(e, STATUS_USAGE, "%s: line %zu holds ids, but --protocol %s needs text; expected --protocol rows",
                             d->path, d->rows[r].line, name);
        if (d->rows[r].ids)
            return error_set(e, STATUS_FAILED, "%s: line %zu: a row with both \"text\" and \"ids\", expected one of them",
                             d->path, d->rows[r].line);
    }
    if (!tokenizer)
        return error_set(e, STATUS_FAILED, "%s: the model has no tokenizer, which --protocol %s needs", d->path, name);
    int status = STATUS_OK;
    if (o->protocol == WINDOW_CONCAT || d->is_jsonl) {
        status = dataset_concat_text(d, &text, &len, e);
    } else {
        text = d->bytes;
        len = d->n_bytes;
    }
    if (!status)
        status = tokenizer_encode(tokenizer, text, len, false, &list, e);
    if (status) {
        error_prefix(e, status, "%s as one text (--protocol %s)", d->path, name);
        goto fail;
    }

    size_t room = o->bos ? o->context - 1 : o->context;
    size_t available = list.n / room;
    size_t n = o->max_samples > 0 && o->max_samples < available ? o->max_samples : available;
    if (n == 0 || n > INT32_MAX) {
        status = error_set(e, STATUS_FAILED, "%s: --protocol %s: %zu ids give %zu windows of context %zu, expected 1 to %d",
                           d->path, name, list.n, n, o->context, INT32_MAX);
        goto fail;
    }
    Capacity want = {0};
    if (!checked_mul(n, o->context, &want.ids) || !checked_mul(n, o->context - 1, &want.tokens)) {
        status = out_of_memory(e);
        goto fail;
    }
    want.windows = n;
    w->n_rows = 1;
    w->row_tokens = calloc(1, sizeof *w->row_tokens);
    if (!w->row_tokens || !resize_all(w, want)) {
        status = out_of_memory(e);
        goto fail;
    }
    *cap = want;
    w->start[0] = 0;
    w->text = text;
    Counter counter = {.text = text, .len = len};
    for (size_t i = 0; i < n; i++) {
        const Token *tokens = list.tokens + i * room;
        for (size_t j = 0; j < room; j++) {
            if (tokens[j].id < 0 || (size_t)tokens[j].id >= o->vocab) {
                status = error_set(e, STATUS_FAILED, "%s: byte %zu: id %d is outside the model's vocabulary of %zu", d->path,
                                   tokens[j].byte_start, (int)tokens[j].id, o->vocab);
                goto fail;
            }
            if (tokens[j].byte_end > w->text_len)
                w->text_len = tokens[j].byte_end;
        }
        append_window(w, o->bos, o->bos_id, tokens, NULL, room, 0);
        count_window(w, i, &counter, &w->counts);
    }
    /* A window may end inside a character. */
    while (w->text_len < len && ((unsigned char)text[w->text_len] & 0xC0) == 0x80)
        w->text_len++;
    w->row_tokens[0] = w->n_tokens < UINT32_MAX ? (uint32_t)w->n_tokens : UINT32_MAX;
    w->n_unscored = n == available ? list.n - w->n_tokens : n * room - w->n_tokens;
    Sha256 hash;
    sha256_begin(&hash);
    sha256_update(&hash, text, len);
    sha256_end(&hash, w->rows_sha256);

fail:
    token_list_free(&list);
    return status;
}

/* ---- units ---- */

static int assign_units(const Dataset *d, Windows *w, Error *e)
{
    size_t n_articles = 0;
    if (w->protocol == WINDOW_ROWS)
        for (size_t r = 0; r < w->n_rows; r++)
            if (d->rows[r].article >= 0 && (size_t)d->rows[r].article >= n_articles)
                n_articles = (size_t)d->rows[r].article + 1;
    int32_t *unit_of = malloc((n_articles ? n_articles : 1) * sizeof *unit_of);
    if (!unit_of)
        return out_of_memory(e);
    memset(unit_of, 0xFF, n_articles * sizeof *unit_of); /* all -1 */
    w->units_are_articles = n_articles > 0;
    for (size_t i = 0; i < w->n_windows; i++) {
        int32_t article = n_articles ? d->rows[w->window_row[i]].article : -1;
        if (article >= 0 && unit_of[article] >= 0) {
            w->unit[i] = unit_of[article];
            continue;
        }
        w->unit[i] = (int32_t)w->n_units++;
        if (article >= 0)
            unit_of[article] = w->unit[i];
    }
    free(unit_of);
    return STATUS_OK;
}

int windows_build(Dataset *data, const Tokenizer *tokenizer, const WindowOptions *options, Windows *out, Error *e)
{
    memset(out, 0, sizeof *out);
    out->protocol = options->protocol;
    out->context = options->context;
    out->bos = options->bos;
    out->has_text = true;
    if (options->context < 2 || options->context > INT32_MAX)
        return error_set(e, STATUS_USAGE, "--context %zu: expected 2 to %d", options->context, INT32_MAX);
    if (options->bos && options->bos_id < 0)
        return error_set(e, STATUS_USAGE, "--bos yes: the model names no BOS token; expected --bos no");
    if (options->bos && (size_t)options->bos_id >= options->vocab)
        return error_set(e, STATUS_FAILED, "BOS id %d is outside the model's vocabulary of %zu", (int)options->bos_id,
                         options->vocab);

    Capacity cap = {0};
    Sha256 hash;
    int status = options->protocol == WINDOW_ROWS ? reserve(out, &cap, 1024, e) : STATUS_OK;
    if (status)
        goto fail;
    if (options->protocol == WINDOW_ROWS) {
        out->start[0] = 0;
        status = build_rows(data, tokenizer, options, out, &cap, e);
    } else {
        status = build_text(data, tokenizer, options, out, &cap, e);
    }
    if (!status)
        status = assign_units(data, out, e);
    if (status)
        goto fail;
    if (!out->has_text)
        out->counts.n_words = out->counts.n_bytes = 0;

    sha256_begin(&hash);
    hash_ids(&hash, out->ids, out->n_ids);
    for (size_t i = 0; i <= out->n_windows; i++)
        hash_length(&hash, out->start[i]);
    sha256_end(&hash, out->ids_sha256);
    /* Shrinking cannot lose data; when it fails the larger arrays stay. */
    (void)resize_all(out, (Capacity){out->n_ids, out->n_windows, out->n_tokens});
    return STATUS_OK;

fail:
    windows_free(out);
    return status;
}

void windows_free(Windows *w)
{
    if (!w)
        return;
    free(w->ids);
    free(w->start);
    free(w->window_row);
    free(w->unit);
    free(w->token_id);
    free(w->row);
    free(w->window);
    free(w->position);
    free(w->byte_start);
    free(w->byte_end);
    free(w->row_tokens);
    memset(w, 0, sizeof *w);
}

/* ---- blocks ---- */

/* Fills blocks under a cap from left to right; returns how many. first_window may be NULL. */
static size_t fill_blocks(const Windows *w, size_t cap_ids, size_t *first_window)
{
    size_t n = 0, begin = 0;
    while (begin < w->n_windows) {
        size_t end = begin + 1;
        while (end < w->n_windows && w->start[end + 1] - w->start[begin] <= cap_ids)
            end++;
        if (first_window)
            first_window[n] = begin;
        n++;
        begin = end;
    }
    if (first_window)
        first_window[n] = w->n_windows;
    return n;
}

int windows_partition(const Windows *w, size_t target_ids, WindowBlocks *out, Error *e)
{
    memset(out, 0, sizeof *out);
    out->target_ids = target_ids;
    size_t cap = target_ids > w->longest ? target_ids : w->longest;
    size_t n = fill_blocks(w, cap, NULL);
    size_t low = w->longest, high = cap; /* high always gives n blocks */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (fill_blocks(w, middle, NULL) <= n)
            high = middle;
        else
            low = middle + 1;
    }
    out->first_window = malloc((n + 1) * sizeof *out->first_window);
    out->n_tokens = malloc((n ? n : 1) * sizeof *out->n_tokens);
    if (!out->first_window || !out->n_tokens) {
        window_blocks_free(out);
        return out_of_memory(e);
    }
    out->n_blocks = fill_blocks(w, high, out->first_window);
    for (size_t b = 0; b < out->n_blocks; b++) {
        size_t first = out->first_window[b], last = out->first_window[b + 1];
        size_t ids = w->start[last] - w->start[first];
        out->n_tokens[b] = windows_first_token(w, last) - windows_first_token(w, first);
        if (ids > out->max_ids)
            out->max_ids = ids;
        if (last - first > out->max_windows)
            out->max_windows = last - first;
        if (out->n_tokens[b] > out->max_tokens)
            out->max_tokens = out->n_tokens[b];
    }
    return STATUS_OK;
}

void window_blocks_free(WindowBlocks *b)
{
    if (!b)
        return;
    free(b->first_window);
    free(b->n_tokens);
    memset(b, 0, sizeof *b);
}

void windows_relative_starts(const Windows *w, size_t first, size_t n, size_t *out)
{
    for (size_t i = 0; i <= n; i++)
        out[i] = w->start[first + i] - w->start[first];
}

int windows_slice(const Windows *w, size_t first, size_t end, Windows *out, Error *e)
{
    size_t token = windows_first_token(w, first);
    *out = *w;
    out->start = malloc((end - first + 1) * sizeof *out->start);
    if (!out->start)
        return error_set(e, STATUS_FAILED, "windows: out of memory for %zu of them", end - first);
    windows_relative_starts(w, first, end - first, out->start);
    out->ids += w->start[first];
    out->n_ids = out->start[end - first];
    out->n_windows = end - first;
    out->window_row += first;
    out->unit += first;
    out->token_id += token;
    out->row += token;
    out->window += token;
    out->position += token;
    out->byte_start += token;
    out->byte_end += token;
    out->n_tokens = windows_first_token(w, end) - token;
    out->longest = 0;
    for (size_t i = 0; i < out->n_windows; i++) {
        size_t n = out->start[i + 1] - out->start[i];
        out->longest = n > out->longest ? n : out->longest;
    }
    return STATUS_OK;
}

void windows_slice_free(Windows *slice)
{
    free(slice->start);
    memset(slice, 0, sizeof *slice);
}
