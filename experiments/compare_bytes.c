/* compare_bytes.c: see compare_bytes.h. Bytes are numbered through all rows. Two marks a byte are enough for the largest set made of
 * whole tokens: `seen` counts the models that predicted it (models 0 to i in a row), JOINED says that some token holds it and the next byte. Runs of joined
 * bytes are kept whole when all their bytes were seen by all models, else not at all. */
#include "experiments/compare_bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/sha256.h"
#include "engine/base/utf8.h"
#include "loaders/unicode.h"

/* ---- rows ---- */

static int add_row(CompareRows *r, const char *path, const JsonValue *v, Sha256 *hash, size_t cap, Error *e)
{
    const JsonValue *text = json_get(v, "text"), *article = json_get(v, "article");
    size_t line = r->n_rows + 1, len = 0;
    if (r->n_rows == cap)
        return error_set(e, STATUS_FAILED, "%s: line %zu: more rows than lines", path, line);
    r->article[r->n_rows] = -1;
    if (article && article->kind == JSON_NUMBER) {
        if (!article->is_integer || article->integer < 0 || article->integer >= (int64_t)cap)
            return error_set(e, STATUS_FAILED, "%s: line %zu: expected an article below %zu, found %g", path, line, cap,
                             article->number);
        r->article[r->n_rows] = (int32_t)article->integer;
    }
    if (text && text->kind == JSON_STRING) {
        len = text->len;
        strbuf_append(&r->text, text->string, len);
    } else if (json_get(v, "ids")) {
        r->has_text = false;
    } else {
        return error_set(e, STATUS_FAILED, "%s: line %zu: expected a row with text or ids, found neither", path, line);
    }
    unsigned char size[8];
    for (int i = 0; i < 8; i++)
        size[i] = (unsigned char)((uint64_t)len >> 8 * i);
    sha256_update(hash, size, sizeof size);
    sha256_update(hash, text ? text->string : "", len);
    r->start[++r->n_rows] = r->text.len;
    return STATUS_OK;
}

int compare_rows_read(const char *path, CompareRows *out, Error *e)
{
    FileMap map = {0};
    Sha256 hash;
    *out = (CompareRows){.has_text = true};
    int status = file_map(path, &map, e);
    if (status)
        return status;
    size_t n_lines = 1;
    const char *text = (const char *)map.data, *end = map.size_bytes ? text + map.size_bytes : text;
    for (size_t i = 0; i < map.size_bytes; i++)
        n_lines += text[i] == '\n';
    out->start = calloc(n_lines + 1, sizeof *out->start);
    out->article = calloc(n_lines, sizeof *out->article);
    if (!out->start || !out->article)
        status = error_set(e, STATUS_FAILED, "%s: no memory for %zu rows", path, n_lines);
    sha256_begin(&hash);
    for (const char *line = text; !status && line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop)
            stop = end;
        Arena arena = {0};
        const JsonValue *v = NULL;
        char what[600];
        snprintf(what, sizeof what, "%.500s: line %zu", path, out->n_rows + 1);
        if (stop > line)
            status = json_parse(line, (size_t)(stop - line), what, &arena, &v, e);
        if (!status && v)
            status = add_row(out, path, v, &hash, n_lines, e);
        arena_free(&arena);
        line = stop < end ? stop + 1 : end;
    }
    if (!status && out->text.failed)
        status = error_set(e, STATUS_FAILED, "%s: no memory for the text", path);
    sha256_end(&hash, out->sha256);
    file_unmap(&map);
    if (status)
        compare_rows_free(out);
    return status;
}

void compare_rows_free(CompareRows *r)
{
    free(r->start);
    free(r->article);
    strbuf_free(&r->text);
    *r = (CompareRows){0};
}

/* ---- bytes ---- */

enum { JOINED = 1, ANY = 2 };

typedef struct Marks {
    const CompareRows *rows;
    unsigned char *seen, *flags; /* [bytes of all rows] */
    size_t n;
} Marks;

size_t compare_space_length(const char *s, size_t len)
{
    uint32_t c = 0;
    size_t n = utf8_decode(s, len, &c);
    return n && (unicode_is_space(c) || (c >= 0x1c && c <= 0x1f)) ? n : 0;
}

static bool is_blank(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = compare_space_length(s + i, len - i);
        if (!n)
            return false;
        i += n;
    }
    return true;
}

/* Where token t lies among the bytes of all rows, its gap of white space included. */
static void span_of(const CompareRows *rows, const CompareTokens *m, size_t t, size_t *begin, size_t *end)
{
    size_t row = rows->start[m->row[t]];
    *begin = row + (size_t)m->byte_start[t];
    *end = row + (size_t)m->byte_end[t];
    if (t == 0 || m->row[t - 1] != m->row[t])
        return;
    size_t before = row + (size_t)m->byte_end[t - 1];
    if (before < *begin && is_blank(rows->text.data + before, *begin - before))
        *begin = before;
}

static int check_spans(const CompareRows *rows, const CompareTokens *m, Error *e)
{
    for (size_t t = 0; t < m->n_tokens; t++) {
        int32_t row = m->row[t];
        if (row < 0 || (size_t)row >= rows->n_rows)
            return error_set(e, STATUS_FAILED, "%s: token %zu: expected a row below %zu, found %d", m->what, t, rows->n_rows,
                             row);
        if (m->window[t] < 0 || (size_t)m->window[t] >= m->n_tokens)
            return error_set(e, STATUS_FAILED, "%s: token %zu: expected a window below %zu, found %d", m->what, t, m->n_tokens,
                             m->window[t]);
        int64_t len = (int64_t)(rows->start[row + 1] - rows->start[row]);
        if (m->byte_start[t] < 0 || m->byte_end[t] < m->byte_start[t] || m->byte_end[t] > len)
            return error_set(e, STATUS_FAILED, "%s: token %zu: expected bytes within the %lld of row %d, found %lld to %lld",
                             m->what, t, (long long)len, row, (long long)m->byte_start[t], (long long)m->byte_end[t]);
    }
    return STATUS_OK;
}

static void mark_model(Marks *k, const CompareTokens *m, size_t index)
{
    for (size_t t = 0; t < m->n_tokens; t++) {
        size_t begin, end;
        span_of(k->rows, m, t, &begin, &end);
        for (size_t b = begin; b < end; b++) {
            if (k->seen[b] == index)
                k->seen[b]++;
            k->flags[b] |= ANY | (b + 1 < end ? JOINED : 0);
        }
    }
}

/* From here on seen[b] is 1 for a kept byte and 0 for any other. */
static void keep_whole_runs(Marks *k, size_t n_models)
{
    for (size_t b = 0; b < k->n;) {
        size_t end = b + 1;
        bool all = k->seen[b] == n_models;
        for (; (k->flags[end - 1] & JOINED) && end < k->n; end++)
            all = all && k->seen[end] == n_models;
        memset(k->seen + b, all, end - b);
        b = end;
    }
}

static bool token_is_kept(const Marks *k, const CompareTokens *m, size_t t)
{
    size_t begin, end, row_start = k->rows->start[m->row[t]], row_end = k->rows->start[m->row[t] + 1];
    span_of(k->rows, m, t, &begin, &end);
    if (begin == end)
        begin = begin < row_end ? begin : begin > row_start ? begin - 1 : k->n;
    return begin < k->n && k->seen[begin];
}

static size_t count_words(const Marks *k)
{
    size_t n_words = 0;
    for (size_t r = 0; r < k->rows->n_rows; r++) {
        bool counted = false;
        for (size_t b = k->rows->start[r], end = k->rows->start[r + 1]; b < end;) {
            size_t space = compare_space_length(k->rows->text.data + b, end - b);
            if (space) {
                counted = false;
            } else if (k->seen[b] && !counted) {
                n_words++;
                counted = true;
            }
            b += space ? space : 1;
        }
    }
    return n_words;
}

/* The key of a token's unit before units are numbered: below n_articles an article, above it a row or a window. */
static size_t unit_key(const CompareRows *rows, const CompareTokens *first, bool by_article, size_t n_articles, size_t row,
                       size_t t)
{
    if (by_article && rows->article[row] >= 0)
        return (size_t)rows->article[row];
    return n_articles + (rows->n_rows > 1 ? row : (size_t)first->window[t]);
}

/* unit_of_byte[b] of every kept byte, numbered by first appearance along the first model's tokens. */
static int number_units(const Marks *k, const CompareTokens *first, bool by_article, int32_t *unit_of_byte, CompareBytes *out,
                        Error *e)
{
    size_t n_articles = 0, n_keys = k->rows->n_rows;
    for (size_t r = 0; by_article && r < k->rows->n_rows; r++)
        if (k->rows->article[r] >= 0 && (size_t)k->rows->article[r] >= n_articles)
            n_articles = (size_t)k->rows->article[r] + 1;
    for (size_t t = 0; t < first->n_tokens; t++)
        if ((size_t)first->window[t] >= n_keys)
            n_keys = (size_t)first->window[t] + 1;
    n_keys += n_articles;
    int32_t *number = malloc(n_keys * sizeof *number);
    out->unit_bytes = calloc(n_keys, sizeof *out->unit_bytes);
    if (!number || !out->unit_bytes) {
        free(number);
        return error_set(e, STATUS_FAILED, "compare: no memory for %zu units", n_keys);
    }
    memset(number, 0xff, n_keys * sizeof *number); /* all -1 */
    for (size_t t = 0; t < first->n_tokens; t++) {
        if (!token_is_kept(k, first, t))
            continue;
        size_t begin, end, key = unit_key(k->rows, first, by_article, n_articles, (size_t)first->row[t], t);
        span_of(k->rows, first, t, &begin, &end);
        for (size_t b = begin; b < end; b++) {
            if (unit_of_byte[b] >= 0)
                continue;
            if (number[key] < 0)
                number[key] = (int32_t)out->n_units++;
            unit_of_byte[b] = number[key];
            out->unit_bytes[number[key]]++;
            out->n_bytes++;
        }
    }
    free(number);
    return STATUS_OK;
}

static int take_tokens(const Marks *k, const CompareTokens *models, const int32_t *unit_of_byte, CompareBytes *out, Error *e)
{
    for (size_t m = 0; m < out->n_models; m++) {
        const CompareTokens *tokens = &models[m];
        out->token_unit[m] = malloc((tokens->n_tokens ? tokens->n_tokens : 1) * sizeof **out->token_unit);
        if (!out->token_unit[m])
            return error_set(e, STATUS_FAILED, "compare: no memory for %zu tokens", tokens->n_tokens);
        for (size_t t = 0; t < tokens->n_tokens; t++) {
            size_t begin, end;
            span_of(k->rows, tokens, t, &begin, &end);
            if (begin == end && begin == k->rows->start[tokens->row[t] + 1] && begin > 0)
                begin--;
            bool kept = token_is_kept(k, tokens, t);
            out->token_unit[m][t] = kept ? unit_of_byte[begin] : -1;
            out->n_tokens[m] += kept;
        }
    }
    return STATUS_OK;
}

int compare_bytes_common(const CompareRows *rows, bool by_article, const CompareTokens *models, size_t n_models,
                         CompareBytes *out, Error *e)
{
    *out = (CompareBytes){.n_models = n_models};
    Marks k = {.rows = rows, .n = rows->text.len};
    int32_t *unit_of_byte = malloc((k.n ? k.n : 1) * sizeof *unit_of_byte);
    k.seen = calloc(k.n ? k.n : 1, 1);
    k.flags = calloc(k.n ? k.n : 1, 1);
    out->token_unit = calloc(n_models, sizeof *out->token_unit);
    out->n_tokens = calloc(n_models, sizeof *out->n_tokens);
    int status = unit_of_byte && k.seen && k.flags && out->token_unit && out->n_tokens
                     ? STATUS_OK
                     : error_set(e, STATUS_FAILED, "compare: no memory for %zu bytes of rows", k.n);
    for (size_t m = 0; !status && m < n_models; m++) {
        status = check_spans(rows, &models[m], e);
        if (!status)
            mark_model(&k, &models[m], m);
    }
    if (!status) {
        for (size_t b = 0; b < k.n; b++)
            out->n_any_bytes += (k.flags[b] & ANY) != 0;
        keep_whole_runs(&k, n_models);
        memset(unit_of_byte, 0xff, k.n * sizeof *unit_of_byte);
        status = number_units(&k, &models[0], by_article, unit_of_byte, out, e);
    }
    if (!status)
        status = take_tokens(&k, models, unit_of_byte, out, e);
    if (!status)
        out->n_words = count_words(&k);
    free(unit_of_byte);
    free(k.seen);
    free(k.flags);
    if (status)
        compare_bytes_free(out);
    return status;
}

void compare_bytes_free(CompareBytes *b)
{
    for (size_t m = 0; b->token_unit && m < b->n_models; m++)
        free(b->token_unit[m]);
    free(b->token_unit);
    free(b->n_tokens);
    free(b->unit_bytes);
    *b = (CompareBytes){0};
}
