/* compare_words.c: parts of speech of models with different tokenizers, on the same words. From the pos_words.csv beside each result
 * (experiments/pos_words.h) those words are taken that every result counts: same row, same bytes, same tag. Their losses are summed
 * from the ledgers: a token belongs to the word that holds its first byte that is not white space. Per tag:
 *   change of the loss per word = sum over its words (variant - intact) / words, intervals by the paired bootstrap over the units of
 *   the first result; ranked from 100 words and STATISTICS_MIN_UNITS units on, as in pos.json. */
#include "experiments/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/ledger.h"
#include "experiments/statistics.h"

enum { N_COLUMNS = 10, MAX_TAGS = 64, RANKED_WORDS = 100 };
#define HEADER "row,byte_start,byte_end,upos,xpos,posterior,status,first_token,n_tokens,unit,"

typedef struct Word {
    int64_t row, begin, end, first_token, unit;
    const char *tag; /* in Compare.tag_names */
} Word;

typedef struct Words { /* the counted ones, in the order of the file */
    Word *words;
    size_t n;
} Words;

/* Splits a line at its commas; a field may be quoted (Penn tags "," and "``"). Fields end with NUL. False when there are too few. */
static bool split(char *line, char *fields[N_COLUMNS])
{
    size_t n = 0;
    for (char *s = line; n < N_COLUMNS; n++) {
        char *out = s;
        fields[n] = s;
        bool quoted = *s == '"';
        s += quoted;
        for (; *s && (quoted || *s != ','); s++) {
            if (quoted && *s == '"') {
                if (s[1] != '"') {
                    quoted = false;
                    continue;
                }
                s++;
            }
            *out++ = *s;
        }
        bool last = !*s;
        *out = '\0';
        if (last)
            return n + 1 == N_COLUMNS;
        s++;
    }
    return true;
}

static bool read_integer(const char *text, int64_t *out)
{
    char *end;
    *out = strtoll(text, &end, 10);
    return *text && !*end && *out >= 0;
}

static const char *tag_named(Compare *c, const char *name)
{
    for (size_t i = 0; i < c->n_tags; i++)
        if (strcmp(c->tag_names[i], name) == 0)
            return c->tag_names[i];
    if (c->n_tags == MAX_TAGS || !*name)
        return NULL;
    c->tag_names[c->n_tags] = arena_strndup(&c->arena, name, strlen(name));
    return c->tag_names[c->n_tags] ? c->tag_names[c->n_tags++] : NULL;
}

static int read_words(Compare *c, const char *path, Words *out, Error *e)
{
    StrBuf text = {0};
    char *fields[N_COLUMNS];
    size_t n_lines = 0, line_number = 1;
    int status = file_read(path, (size_t)1 << 31, &text, e);
    if (!status && (!text.data || strncmp(text.data, HEADER, sizeof HEADER - 1) != 0))
        status = error_set(e, STATUS_FAILED, "%s: line 1: expected " HEADER "..., found another header", path);
    for (size_t i = 0; !status && i < text.len; i++)
        n_lines += text.data[i] == '\n';
    out->words = status ? NULL : calloc(n_lines + 1, sizeof *out->words);
    if (!status && !out->words)
        status = error_set(e, STATUS_FAILED, "%s: no memory for %zu words", path, n_lines);
    for (char *line = text.data, *next; !status && (next = strchr(line, '\n')) && next[1]; line = next) {
        Word *w = &out->words[out->n];
        line = ++next;
        next += strcspn(next, "\n");
        char end = *next;
        *next = '\0';
        line_number++;
        if (!split(line, fields))
            status = error_set(e, STATUS_FAILED, "%s: line %zu: expected at least %d fields", path, line_number, N_COLUMNS);
        else if (strcmp(fields[6], "counted") == 0) {
            w->tag = tag_named(c, fields[3]);
            if (!w->tag || !read_integer(fields[0], &w->row) || !read_integer(fields[1], &w->begin) ||
                !read_integer(fields[2], &w->end) || !read_integer(fields[7], &w->first_token) ||
                !read_integer(fields[9], &w->unit))
                status = error_set(e, STATUS_FAILED, "%s: line %zu: expected a tag and whole numbers", path, line_number);
            out->n++;
        }
        *next = end;
    }
    strbuf_free(&text);
    return status;
}

static int order_of(const Word *a, const Word *b)
{
    int64_t x = a->row != b->row ? a->row - b->row : a->begin != b->begin ? a->begin - b->begin : a->end - b->end;
    return x < 0 ? -1 : x > 0;
}

/* Keeps the words that all have, at the same places of every list. */
static size_t intersect(Words *lists, size_t n_lists)
{
    size_t at[COMPARE_MAX] = {0}, n = 0;
    for (size_t i = 0; i < lists[0].n; i++) {
        bool all = true;
        for (size_t m = 1; m < n_lists; m++) {
            while (at[m] < lists[m].n && order_of(&lists[m].words[at[m]], &lists[0].words[i]) < 0)
                at[m]++;
            all = all && at[m] < lists[m].n && order_of(&lists[m].words[at[m]], &lists[0].words[i]) == 0 &&
                  lists[m].words[at[m]].tag == lists[0].words[i].tag;
        }
        if (!all)
            continue;
        for (size_t m = 1; m < n_lists; m++)
            lists[m].words[n] = lists[m].words[at[m]++]; /* n <= at[m]: nothing unread is lost */
        lists[0].words[n++] = lists[0].words[i];
    }
    return n;
}

static size_t first_letter(const CompareRows *rows, size_t row, int64_t begin, int64_t end)
{
    const char *text = rows->text.data + rows->start[row];
    size_t at = (size_t)begin;
    for (size_t n; at < (size_t)end && (n = compare_space_length(text + at, (size_t)end - at)) > 0;)
        at += n;
    return at;
}

/* sums[order][unit] of one result over the words of one tag. The ledger's spans were checked with the common bytes. */
static int sum_words(const Compare *c, const LedgerView *v, const CompareResult *r, const Word *words, const Word *units,
                     size_t n, const char *tag, size_t n_units, double *sums, Error *e)
{
    for (size_t i = 0; i < n; i++) {
        const Word *w = &words[i];
        if (w->tag != tag)
            continue;
        if ((size_t)w->first_token >= v->n_tokens || v->row[w->first_token] != w->row)
            return error_set(e, STATUS_FAILED, "%s/pos_words.csv: token %lld is not in row %lld", r->dir,
                             (long long)w->first_token, (long long)w->row);
        for (size_t t = (size_t)w->first_token; t < v->n_tokens && v->row[t] == w->row && v->byte_start[t] < w->end; t++) {
            int64_t at = (int64_t)first_letter(&c->rows, (size_t)w->row, v->byte_start[t], v->byte_end[t]);
            if (at < w->begin || at >= w->end || at >= v->byte_end[t])
                continue;
            for (size_t o = 0; o <= r->n_orders; o++)
                sums[o * n_units + (size_t)units[i].unit] += ledger_view_nll(v, o ? r->orders[o - 1].ledger_index : 0, t);
        }
    }
    return STATUS_OK;
}

static int take_tag(Compare *c, size_t index, const LedgerView *v, const Words *lists, size_t n, size_t tag, size_t n_units,
                    double *sums, double *counts, StatisticsInterval *x, Error *e)
{
    CompareResult *r = &c->results[index];
    CompareTag out = {.is_there = true};
    size_t n_with = 0;
    memset(sums, 0, (r->n_orders + 1) * n_units * sizeof *sums);
    memset(counts, 0, n_units * sizeof *counts);
    for (size_t i = 0; i < n; i++)
        if (lists[0].words[i].tag == c->tag_names[tag]) {
            counts[lists[0].words[i].unit]++;
            out.n_words++;
        }
    for (size_t u = 0; u < n_units; u++)
        n_with += counts[u] > 0;
    out.is_ranked = out.n_words >= RANKED_WORDS && n_with >= STATISTICS_MIN_UNITS;
    out.orders = arena_array(&c->arena, r->n_orders, sizeof *out.orders);
    int status = out.orders ? sum_words(c, v, r, lists[index].words, lists[0].words, n, c->tag_names[tag], n_units, sums, e)
                            : error_set(e, STATUS_FAILED, "compare: no memory for tags");
    if (!status && out.n_words > 0)
        status = statistics_paired_deltas(sums, r->n_orders + 1, counts, n_units, (size_t)c->results[0].n_resamples,
                                          (uint64_t)c->results[0].seed, x, e);
    for (size_t i = 0; !status && i < r->n_orders; i++)
        out.orders[i] = out.n_words > 0
                            ? (CompareChange){x[i].estimate, x[i].lo, x[i].hi, x[i].lo_simultaneous, x[i].hi_simultaneous}
                            : (CompareChange){NAN, NAN, NAN, NAN, NAN};
    r->tags[tag] = out;
    return status;
}

static int take_result(Compare *c, size_t index, const Words *lists, size_t n, size_t n_units, Error *e)
{
    CompareResult *r = &c->results[index];
    LedgerView v = {0};
    char *path = file_join(r->dir, "ledger.safetensors");
    double *sums = calloc((r->n_orders + 1) * n_units, sizeof *sums), *counts = calloc(n_units, sizeof *counts);
    StatisticsInterval *x = calloc(r->n_orders, sizeof *x);
    int status = path && sums && counts && x ? ledger_view_open(path, &v, e)
                                             : error_set(e, STATUS_FAILED, "%s: no memory for %zu units", r->dir, n_units);
    for (size_t tag = 0; !status && tag < c->n_tags; tag++)
        status = take_tag(c, index, &v, lists, n, tag, n_units, sums, counts, x, e);
    ledger_view_close(&v);
    free(path);
    free(sums);
    free(counts);
    free(x);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int compare_words(Compare *c, Error *e)
{
    Words lists[COMPARE_MAX] = {{0}};
    size_t n = 0, n_units = 0;
    int status = STATUS_OK;
    for (size_t i = 0; !status && i < c->n; i++) {
        char *path = file_join(c->results[i].dir, "pos_words.csv");
        status = path ? read_words(c, path, &lists[i], e) : error_set(e, STATUS_FAILED, "%s: no memory", c->results[i].dir);
        free(path);
    }
    qsort(c->tag_names, c->n_tags, sizeof *c->tag_names, by_name); /* words point at the names themselves */
    if (!status)
        n = intersect(lists, c->n);
    for (size_t i = 0; i < n; i++) {
        if (lists[0].words[i].unit >= (int64_t)c->rows.text.len + 1) /* a unit holds a byte at least */
            status = error_set(e, STATUS_FAILED, "%s/pos_words.csv: expected units below %zu, found %lld", c->results[0].dir,
                               c->rows.text.len, (long long)lists[0].words[i].unit);
        else if ((size_t)lists[0].words[i].unit >= n_units)
            n_units = (size_t)lists[0].words[i].unit + 1;
    }
    if (!status && n)
        strbuf_printf(&c->notes, "parts of speech: %zu words that all results count\n", n);
    for (size_t i = 0; !status && n && i < c->n; i++)
        status = take_result(c, i, lists, n, n_units, e);
    for (size_t i = 0; i < c->n; i++)
        free(lists[i].words);
    return status;
}
