/* dataset.c: finds a data set, cuts it into rows and marks WikiText's headings and articles. See dataset.h for the rules;
 * dataset_unpack.c owns gzip and zip, the tokenizer what becomes of a row. */
#include "loaders/dataset.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/checked.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/sha256.h"
#include "engine/base/strbuf.h"
#include "engine/base/utf8.h"
#include "loaders/dataset_unpack.h"

const char *const dataset_names[] = {"wiki-text-2", "wiki-text-103", "gpt2-output-dataset", "bookcorpus", NULL};

/* White space as Python's str.isspace() has it. */
static bool is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool is_blank(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t c = 0;
        size_t n = utf8_decode(s + i, len - i, &c);
        if (n == 0 || !is_space(c))
            return false;
        i += n;
    }
    return true;
}

#define SNIFFED_BYTES ((size_t)16 << 20)

/* One line after another; the terminator "\n" or "\r\n" is not part of the line. */
typedef struct LineReader {
    const char *at, *end;
    size_t number; /* 1-based number of the line last read */
} LineReader;

static bool line_next(LineReader *r, const char **line, size_t *len)
{
    if (r->at == r->end)
        return false;
    const char *newline = memchr(r->at, '\n', (size_t)(r->end - r->at));
    *line = r->at;
    *len = (size_t)((newline ? newline : r->end) - r->at);
    if (newline && *len > 0 && newline[-1] == '\r')
        --*len;
    r->at = newline ? newline + 1 : r->end;
    r->number++;
    return true;
}

static LineReader lines_of(const Dataset *d)
{
    return (LineReader){d->bytes, d->bytes + d->n_bytes, 0};
}

/* How many `=` stand on each side of a heading's title; 0: not a heading. ` = = Career = = ` is 2. */
static int heading_level(const char *s, size_t len)
{
    size_t begin = 0, end = len;
    while (begin < end && s[begin] == ' ')
        begin++;
    while (end > begin && s[end - 1] == ' ')
        end--;
    int left = 0, right = 0;
    while (begin + 1 < end && s[begin] == '=' && s[begin + 1] == ' ') {
        left++;
        begin += 2;
    }
    while (end >= begin + 2 && s[end - 1] == '=' && s[end - 2] == ' ') {
        right++;
        end -= 2;
    }
    return left == right && begin < end ? left : 0;
}

/* A ` = Title = ` line as WikiText writes it, its outer spaces included: the sign by which an unnamed .txt is known. */
static bool is_wikitext_title(const char *s, size_t len)
{
    return len >= 7 && memcmp(s, " = ", 3) == 0 && memcmp(s + len - 3, " = ", 3) == 0 && heading_level(s, len) == 1;
}

static Row *row_add(Dataset *d, size_t *cap, Error *e)
{
    if (d->n_rows == *cap) {
        size_t more = *cap ? *cap * 2 : 256, bytes = 0;
        Row *rows = checked_mul(more, sizeof *rows, &bytes) ? realloc(d->rows, bytes) : NULL;
        if (!rows) {
            error_set(e, STATUS_FAILED, "%s: no memory for more than %zu rows", d->path, d->n_rows);
            return NULL;
        }
        d->rows = rows;
        *cap = more;
    }
    Row *row = &d->rows[d->n_rows++];
    *row = (Row){.kind = ROW_PLAIN, .article = -1};
    return row;
}

static int read_text_rows(Dataset *d, bool sniff_wikitext, size_t max_rows, Error *e)
{
    LineReader r = lines_of(d);
    const char *line = NULL;
    size_t len = 0, cap = 0;
    bool has_blank_lines = false;
    while ((size_t)(r.at - d->bytes) < SNIFFED_BYTES && line_next(&r, &line, &len)) {
        has_blank_lines = has_blank_lines || is_blank(line, len);
        d->is_wikitext = d->is_wikitext || (sniff_wikitext && is_wikitext_title(line, len));
    }
    int32_t article = -1;
    bool blank_before = true;
    r = lines_of(d);
    while (d->n_rows < max_rows && line_next(&r, &line, &len)) {
        if (is_blank(line, len)) {
            blank_before = true;
            continue;
        }
        Row *row = row_add(d, &cap, e);
        if (!row)
            return STATUS_FAILED;
        row->text = line;
        row->len = len;
        row->line = r.number;
        if (d->is_wikitext) {
            LineReader ahead = r;
            const char *next = NULL;
            size_t next_len = 0;
            bool blank_after = !line_next(&ahead, &next, &next_len) || is_blank(next, next_len);
            int level = !has_blank_lines || (blank_before && blank_after) ? heading_level(line, len) : 0;
            if (level == 1 && article < INT32_MAX)
                article++;
            row->kind = level ? ROW_HEADING : ROW_BODY;
            row->article = article;
        }
        blank_before = false;
    }
    return STATUS_OK;
}

static int read_ids(Dataset *d, const JsonValue *ids, Row *row, Error *e)
{
    if (ids->kind != JSON_ARRAY)
        return error_set(e, STATUS_FAILED, "%s: line %zu: expected \"ids\" to be an array of token ids", d->path, row->line);
    int32_t *out = arena_array(&d->arena, ids->len ? ids->len : 1, sizeof *out);
    if (!out)
        return error_set(e, STATUS_FAILED, "%s: line %zu: no memory for %zu ids", d->path, row->line, ids->len);
    for (size_t i = 0; i < ids->len; i++) {
        const JsonValue *v = &ids->items[i];
        if (v->kind != JSON_NUMBER || !v->is_integer || v->integer < 0 || v->integer > INT32_MAX)
            return error_set(e, STATUS_FAILED, "%s: line %zu: ids[%zu]: expected a whole number from 0 to %d", d->path,
                             row->line, i, INT32_MAX);
        out[i] = (int32_t)v->integer;
    }
    row->ids = out;
    row->n_ids = ids->len;
    return STATUS_OK;
}

static int read_json_row(Dataset *d, const JsonValue *v, bool text_only, Row *row, Error *e)
{
    if (v->kind != JSON_OBJECT)
        return error_set(e, STATUS_FAILED, "%s: line %zu: expected an object like {\"text\": \"...\"}", d->path, row->line);
    const JsonValue *text = json_get(v, "text"), *ids = text_only ? NULL : json_get(v, "ids");
    if (text && ids)
        return error_set(e, STATUS_FAILED, "%s: line %zu: has both \"text\" and \"ids\"; expected one of them", d->path,
                         row->line);
    if (!text && !ids)
        return error_set(e, STATUS_FAILED, "%s: line %zu: expected a field %s, found neither among %zu fields", d->path,
                         row->line, text_only ? "\"text\"" : "\"text\" or \"ids\"", v->len);
    if (ids)
        return read_ids(d, ids, row, e);
    if (text->kind != JSON_STRING)
        return error_set(e, STATUS_FAILED, "%s: line %zu: expected \"text\" to be a string", d->path, row->line);
    row->text = arena_strndup(&d->arena, text->string, text->len);
    row->len = text->len;
    if (!row->text)
        return error_set(e, STATUS_FAILED, "%s: line %zu: no memory for %zu bytes", d->path, row->line, text->len);
    return STATUS_OK;
}

static int read_jsonl_rows(Dataset *d, bool text_only, size_t max_rows, Error *e)
{
    LineReader r = lines_of(d);
    const char *line = NULL;
    size_t len = 0, cap = 0;
    while (d->n_rows < max_rows && line_next(&r, &line, &len)) {
        if (is_blank(line, len))
            continue;
        Row *row = row_add(d, &cap, e);
        if (!row)
            return STATUS_FAILED;
        row->line = r.number;
        Arena tree = {0}; /* of this line only: a parsed row takes many times its text */
        const JsonValue *v = NULL;
        char what[64];
        snprintf(what, sizeof what, "line %zu", r.number);
        int status = json_parse(line, len, what, &tree, &v, e);
        if (status)
            status = error_prefix(e, STATUS_FAILED, "%s", d->path);
        else
            status = read_json_row(d, v, text_only, row, e);
        arena_free(&tree);
        if (status)
            return status;
    }
    return STATUS_OK;
}

/* Bytes up to the end of the max_rows-th line that is not blank. */
static size_t prefix_bytes(const Dataset *d, size_t max_rows)
{
    LineReader r = lines_of(d);
    const char *line = NULL;
    size_t len = 0, n = 0;
    while (n < max_rows && line_next(&r, &line, &len))
        n += !is_blank(line, len);
    return (size_t)(r.at - d->bytes);
}

static int check_utf8(const Dataset *d, size_t n_bytes, Error *e)
{
    size_t bad = 0;
    if (utf8_valid(d->bytes, n_bytes, &bad))
        return STATUS_OK;
    LineReader r = lines_of(d);
    const char *line = NULL;
    size_t len = 0;
    while (line_next(&r, &line, &len) && r.at <= d->bytes + bad)
        continue;
    return error_set(e, STATUS_FAILED, "%s: line %zu, byte %zu: expected UTF-8 text, found 0x%02x", d->path, r.number,
                     (size_t)(d->bytes + bad - line) + 1, (unsigned char)d->bytes[bad]);
}

/* malloc'ed path of DIR/NAME/SPLIT with the first ending that exists; NULL: none, or no memory (*failed). */
static char *find_split(const char *dir, const char *name, const char *split, bool *failed)
{
    static const char *const endings[] = {"txt", "jsonl", "txt.gz", "jsonl.gz", "zip", "raw", "tokens"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        StrBuf b = {0};
        strbuf_printf(&b, "%s/%s/%s.%s", dir, name, split, endings[i]);
        if (b.failed) {
            *failed = true;
            strbuf_free(&b);
            return NULL;
        }
        if (file_exists(b.data) && !file_is_dir(b.data))
            return b.data;
        strbuf_free(&b);
    }
    return NULL;
}

static int find_file(const char *type, const char *split, char **path, Error *e)
{
    const char *root = getenv("STRATA_DATA");
    bool failed = false, has_root = root && *root;
    if (strchr(split, '/') || *split == '\0')
        return error_set(e, STATUS_USAGE, "split \"%s\": expected a name like test, valid or train", split);
    if (has_root)
        *path = find_split(root, type, split, &failed);
    if (!*path && !failed)
        *path = find_split("datasets", type, split, &failed);
    if (failed)
        return error_set(e, STATUS_FAILED, "no memory for the name of data set %s", type);
    if (!*path)
        return error_set(e, STATUS_USAGE,
                         "data set %s, split %s: not found as %s%s%s/%s.txt or .jsonl (.gz, .zip); get it with `strata pull "
                         "--dataset %s`, or name a file with --dataset_path",
                         type, split, has_root ? root : "", has_root ? "/" : "datasets/", type, split, type);
    return STATUS_OK;
}

/* "dir/wiki.test.txt.gz" -> "wiki.test". */
static void stem_of(const char *path, char *out, size_t out_bytes)
{
    static const char *const endings[] = {".gz", ".zip", ".txt", ".jsonl", ".raw", ".tokens"};
    const char *name = file_basename(path);
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(endings[i]);
        if (len > n && strncasecmp(name + len - n, endings[i], n) == 0)
            len -= n;
    }
    if (len >= out_bytes) {
        len = out_bytes - 1;
        while (len > 0 && ((unsigned char)name[len] & 0xc0) == 0x80) /* never cut inside a character */
            len--;
    }
    memcpy(out, name, len);
    out[len] = '\0';
}

static bool type_is_known(const char *type)
{
    for (size_t i = 0; dataset_names[i]; i++)
        if (strcmp(type, dataset_names[i]) == 0)
            return true;
    return false;
}

static int open_into(const DatasetOptions *o, Dataset *d, Error *e)
{
    if (o->type && !type_is_known(o->type))
        return error_set(e, STATUS_USAGE,
                         "dataset type \"%s\": expected wiki-text-2, wiki-text-103, gpt2-output-dataset or bookcorpus",
                         o->type);
    if (!o->type && !o->path)
        return error_set(e, STATUS_USAGE, "no data set: expected --dataset_type NAME or --dataset_path FILE");
    if (o->path) {
        if (!file_exists(o->path))
            return error_set(e, STATUS_USAGE, "%s: no such data file; `strata pull --dataset NAME` gets a data set", o->path);
        if (file_is_dir(o->path))
            return error_set(e, STATUS_USAGE, "%s: a folder; expected a data file .txt, .jsonl, .txt.gz, .jsonl.gz or .zip",
                             o->path);
        d->path = strdup(o->path);
        if (!d->path)
            return error_set(e, STATUS_FAILED, "%s: no memory", o->path);
    } else {
        int status = find_file(o->type, o->split ? o->split : "test", &d->path, e);
        if (status)
            return status;
    }
    if (o->type)
        snprintf(d->name, sizeof d->name, "%s", o->type);
    else
        stem_of(d->path, d->name, sizeof d->name);

    DatasetBytes file = {0};
    int status = dataset_unpack(d->path, o->jsonl ? DATASET_FORMAT_JSONL : DATASET_FORMAT_NONE, &file, e);
    if (status)
        return status;
    d->owned = file.data;
    d->owned_bytes = file.size_bytes;
    d->owned_is_map = file.is_map;
    d->bytes = file.data ? file.data : "";
    d->n_bytes = file.size_bytes;
    if (!o->max_rows) {
        Sha256 sha;
        sha256_begin(&sha);
        sha256_update(&sha, d->bytes, d->n_bytes);
        sha256_end(&sha, d->sha256);
    }
    if (d->n_bytes >= 3 && memcmp(d->bytes, "\xef\xbb\xbf", 3) == 0) {
        d->bytes += 3;
        d->n_bytes -= 3;
    }
    d->is_jsonl = file.format == DATASET_FORMAT_JSONL;
    d->is_wikitext = !d->is_jsonl && o->type && strncmp(o->type, "wiki-text-", 10) == 0;
    size_t max_rows = o->max_rows ? o->max_rows : SIZE_MAX;
    status = check_utf8(d, o->max_rows ? prefix_bytes(d, max_rows) : d->n_bytes, e);
    if (status)
        return status;
    status = d->is_jsonl ? read_jsonl_rows(d, o->text_only, max_rows, e) : read_text_rows(d, !o->type, max_rows, e);
    if (status)
        return status;
    if (d->n_rows == 0)
        return error_set(e, STATUS_FAILED, "%s: an empty data set: expected at least one %s, found %zu bytes without any",
                         d->path, d->is_jsonl ? "row" : "line that is not blank", d->n_bytes);
    return STATUS_OK;
}

int dataset_open_with(const DatasetOptions *options, Dataset *out, Error *e)
{
    *out = (Dataset){0};
    int status = open_into(options, out, e);
    if (status)
        dataset_close(out);
    return status;
}

int dataset_open(const char *type, const char *path, const char *split, Dataset *out, Error *e)
{
    DatasetOptions options = {.type = type, .path = path, .split = split};
    return dataset_open_with(&options, out, e);
}

void dataset_close(Dataset *d)
{
    DatasetBytes file = {d->owned, d->owned_bytes, d->owned_is_map, DATASET_FORMAT_NONE};
    dataset_unpack_free(&file);
    arena_free(&d->arena);
    free(d->rows);
    free(d->path);
    *d = (Dataset){0};
}

/* Appends to out at *at, or only counts when out is NULL. */
static void put(char *out, size_t *at, const char *s, size_t len)
{
    if (out)
        memcpy(out + *at, s, len);
    *at += len;
}

static size_t join_lines(const Dataset *d, char *out)
{
    LineReader r = lines_of(d);
    const char *line = NULL;
    size_t len = 0, at = 0;
    while (line_next(&r, &line, &len)) {
        if (r.number > 1)
            put(out, &at, "\n\n", 2);
        if (is_blank(line, len))
            continue;
        put(out, &at, line, len);
        if (r.at[-1] == '\n') /* a last line without a terminator stays without */
            put(out, &at, "\n", 1);
    }
    return at;
}

static size_t join_rows(const Dataset *d, char *out)
{
    size_t at = 0;
    for (size_t i = 0; i < d->n_rows; i++) {
        if (i > 0)
            put(out, &at, "\n\n", 2);
        put(out, &at, d->rows[i].text, d->rows[i].len);
    }
    return at;
}

int dataset_concat_text(Dataset *d, const char **text, size_t *len, Error *e)
{
    for (size_t i = 0; i < d->n_rows; i++)
        if (!d->rows[i].text)
            return error_set(e, STATUS_USAGE, "%s: line %zu: a row of ids cannot be joined to a text; expected --protocol rows",
                             d->path, d->rows[i].line);
    size_t total = d->is_jsonl ? join_rows(d, NULL) : join_lines(d, NULL);
    char *out = arena_array(&d->arena, total + 1, 1); /* zeroed: ends with NUL */
    if (!out)
        return error_set(e, STATUS_FAILED, "%s: no memory for the joined text of %zu bytes", d->path, total);
    *len = d->is_jsonl ? join_rows(d, out) : join_lines(d, out);
    *text = out;
    return STATUS_OK;
}
