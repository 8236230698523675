/* pair_file.c: see pair_file.h. */
#include "experiments/pair_file.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/file.h"
#include "engine/base/json.h"

static const char *const category_names[PAIR_N_CATEGORIES] = {
    "subject", "place", "adjective", "tense", "article", "article_choice", "preposition", "number", "negation", "spelling"};

const char *pair_category_name(PairCategory category)
{
    return category_names[category];
}

int pair_category_find(const char *name)
{
    for (int c = 0; c < PAIR_N_CATEGORIES; c++)
        if (strcmp(category_names[c], name) == 0)
            return c;
    return -1;
}

static int no_memory(Error *e)
{
    return error_set(e, STATUS_FAILED, "no memory for the pairs");
}

/* v as a string of the file's arena. A NUL inside would cut it, so it is refused. */
static int take_string(const JsonValue *v, const char *key, Arena *arena, const char **out, Error *e)
{
    if (!v || v->kind != JSON_STRING || v->len == 0 || memchr(v->string, 0, v->len))
        return error_set(e, STATUS_FAILED, "\"%s\": expected a string that is not empty and has no NUL", key);
    *out = arena_strndup(arena, v->string, v->len);
    return *out ? STATUS_OK : no_memory(e);
}

static int take_ids(const JsonValue *v, const char *key, size_t n_vocab, Arena *arena, const int32_t **out, size_t *n, Error *e)
{
    if (!v || v->kind != JSON_ARRAY || v->len == 0)
        return error_set(e, STATUS_FAILED, "\"%s\": expected an array of ids that is not empty", key);
    int32_t *ids = arena_array(arena, v->len, sizeof *ids);
    if (!ids)
        return no_memory(e);
    for (size_t i = 0; i < v->len; i++) {
        const JsonValue *id = &v->items[i];
        if (id->kind != JSON_NUMBER || !id->is_integer || id->integer < 0 || id->integer > INT32_MAX)
            return error_set(e, STATUS_FAILED, "\"%s\"[%zu]: expected an id, an integer from 0 on", key, i);
        if (n_vocab && (uint64_t)id->integer >= n_vocab)
            return error_set(e, STATUS_FAILED, "\"%s\"[%zu]: id %lld, the vocabulary has %zu", key, i, (long long)id->integer,
                             n_vocab);
        ids[i] = (int32_t)id->integer;
    }
    *out = ids;
    *n = v->len;
    return STATUS_OK;
}

static int take_index(const JsonValue *v, const char *key, size_t n_ids, size_t *out, Error *e)
{
    if (!v || v->kind != JSON_NUMBER || !v->is_integer || v->integer < 0 || (uint64_t)v->integer >= n_ids)
        return error_set(e, STATUS_FAILED, "\"%s\": expected an integer from 0 to %zu%s", key, n_ids - 1,
                         strcmp(key, "onset_index") == 0 ? ", or null" : "");
    *out = (size_t)v->integer;
    return STATUS_OK;
}

static int take_category(const JsonValue *v, PairCategory *out, Error *e)
{
    for (int c = 0; v && c < PAIR_N_CATEGORIES; c++)
        if (json_is_string(v, category_names[c])) {
            *out = (PairCategory)c;
            return STATUS_OK;
        }
    return error_set(e, STATUS_FAILED,
                     "\"category\": expected subject, place, adjective, tense, article, article_choice, preposition, number, "
                     "negation or spelling%s%.40s%s",
                     v && v->kind == JSON_STRING ? ", found \"" : "", v && v->kind == JSON_STRING ? v->string : "",
                     v && v->kind == JSON_STRING ? "\"" : "");
}

static int take_words(const JsonValue *v, Arena *arena, Pair *p, Error *e)
{
    if (!v || v->kind != JSON_ARRAY || v->len != 2)
        return error_set(e, STATUS_FAILED, "\"words\": expected an array of two words");
    for (int i = 0; i < 2; i++) {
        int status = take_string(&v->items[i], "words", arena, &p->words[i], e);
        if (status)
            return status;
    }
    if (strcmp(p->words[0], p->words[1]) == 0)
        return error_set(e, STATUS_FAILED, "\"words\": \"%.40s\" twice, expected two words that differ", p->words[0]);
    return STATUS_OK;
}

static int check_ids(const Pair *p, size_t n_b, Error *e)
{
    if (p->n_ids != n_b)
        return error_set(e, STATUS_FAILED, "\"ids_a\" has %zu ids and \"ids_b\" %zu, expected as many", p->n_ids, n_b);
    for (size_t i = 0; i < n_b; i++)
        if ((p->ids_a[i] != p->ids_b[i]) != (i == p->edit_index))
            return error_set(e, STATUS_FAILED,
                             "\"ids_a\" and \"ids_b\" %s at %zu, expected one difference, at \"edit_index\" %zu",
                             i == p->edit_index ? "are equal" : "differ", i, p->edit_index);
    return STATUS_OK;
}

static int take_error(const JsonValue *object, Pair *p, Error *e)
{
    const JsonValue *side = json_get(object, "error_side"), *onset = json_get(object, "onset_index");
    if (json_is_string(side, "a"))
        p->error_side = 'a';
    else if (json_is_string(side, "b"))
        p->error_side = 'b';
    else if (!side || side->kind != JSON_NULL)
        return error_set(e, STATUS_FAILED, "\"error_side\": expected \"a\", \"b\" or null");
    bool is_choice = p->category <= PAIR_ADJECTIVE || p->category == PAIR_ARTICLE_CHOICE;
    if (p->error_side && is_choice)
        return error_set(e, STATUS_FAILED, "\"error_side\" is \"%c\", but both sides of \"%s\" are grammatical: expected null",
                         p->error_side, category_names[p->category]);
    p->onset_index = -1;
    if (onset && onset->kind == JSON_NULL)
        return STATUS_OK;
    size_t index = 0;
    int status = take_index(onset, "onset_index", p->n_ids, &index, e);
    if (status)
        return status;
    if (!p->error_side)
        return error_set(e, STATUS_FAILED, "\"onset_index\" is %zu without an \"error_side\": expected null", index);
    if (index < p->edit_index)
        return error_set(e, STATUS_FAILED, "\"onset_index\" %zu is before \"edit_index\" %zu", index, p->edit_index);
    p->onset_index = (int64_t)index;
    return STATUS_OK;
}

static int take_pair(const JsonValue *v, size_t n_vocab, Arena *arena, Pair *p, Error *e)
{
    if (v->kind != JSON_OBJECT)
        return error_set(e, STATUS_FAILED, "expected an object");
    size_t n_b = 0;
    int status;
    if ((status = take_string(json_get(v, "a"), "a", arena, &p->a, e)) ||
        (status = take_string(json_get(v, "b"), "b", arena, &p->b, e)) ||
        (status = take_category(json_get(v, "category"), &p->category, e)) ||
        (status = take_string(json_get(v, "template"), "template", arena, &p->template_id, e)) ||
        (status = take_words(json_get(v, "words"), arena, p, e)) ||
        (status = take_ids(json_get(v, "ids_a"), "ids_a", n_vocab, arena, &p->ids_a, &p->n_ids, e)) ||
        (status = take_ids(json_get(v, "ids_b"), "ids_b", n_vocab, arena, &p->ids_b, &n_b, e)) ||
        (status = take_index(json_get(v, "edit_index"), "edit_index", p->n_ids, &p->edit_index, e)) ||
        (status = check_ids(p, n_b, e)) || (status = take_error(v, p, e)))
        return status;
    return STATUS_OK;
}

static int by_text(const void *x, const void *y)
{
    const Pair *p = *(const Pair *const *)x, *q = *(const Pair *const *)y;
    int order = strcmp(p->a, q->a);
    if (order == 0)
        order = strcmp(p->b, q->b);
    return order ? order : (p->line > q->line) - (p->line < q->line);
}

static int check_distinct(const PairFile *f, const char *path, Error *e)
{
    const Pair **sorted = calloc(f->n_pairs, sizeof(const Pair *));
    if (!sorted)
        return no_memory(e);
    for (size_t i = 0; i < f->n_pairs; i++)
        sorted[i] = &f->pairs[i];
    qsort(sorted, f->n_pairs, sizeof(const Pair *), by_text);
    int status = STATUS_OK;
    for (size_t i = 1; i < f->n_pairs && !status; i++)
        if (strcmp(sorted[i - 1]->a, sorted[i]->a) == 0 && strcmp(sorted[i - 1]->b, sorted[i]->b) == 0)
            status = error_set(e, STATUS_FAILED, "%s: line %zu: the same \"a\" and \"b\" as in line %zu", path, sorted[i]->line,
                               sorted[i - 1]->line);
    free(sorted);
    return status;
}

static bool is_blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r')
            return false;
    return true;
}

static int add_line(PairFile *f, size_t *capacity, const char *s, size_t n, size_t line, size_t n_vocab, Error *e)
{
    if (f->n_pairs == *capacity) {
        size_t bytes, grown = *capacity ? 2 * *capacity : 256;
        Pair *pairs = checked_mul(grown, sizeof *pairs, &bytes) ? realloc(f->pairs, bytes) : NULL;
        if (!pairs)
            return no_memory(e);
        f->pairs = pairs;
        *capacity = grown;
    }
    Arena tree = {0};
    const JsonValue *v = NULL;
    Pair *p = &f->pairs[f->n_pairs];
    *p = (Pair){.line = line, .onset_byte = -1};
    int status = json_parse(s, n, "pair", &tree, &v, e);
    if (!status)
        status = take_pair(v, n_vocab, &f->arena, p, e);
    f->n_pairs += !status;
    arena_free(&tree);
    return status;
}

int pair_file_read(const char *path, size_t n_vocab, PairFile *out, Error *e)
{
    FileMap map = {0};
    size_t capacity = 0, line = 0;
    *out = (PairFile){0};
    int status = file_map(path, &map, e);
    if (status)
        return status;
    const char *text = (const char *)map.data;
    for (size_t at = 0; at < map.size_bytes && !status;) {
        const char *end = memchr(text + at, '\n', map.size_bytes - at);
        size_t n = end ? (size_t)(end - text) - at : map.size_bytes - at;
        line++;
        if (!is_blank(text + at, n)) {
            status = add_line(out, &capacity, text + at, n, line, n_vocab, e);
            if (status)
                error_prefix(e, status, "%s: line %zu", path, line);
        }
        at += n + (end != NULL);
    }
    if (!status && out->n_pairs == 0)
        status = error_set(e, STATUS_FAILED, "%s: no pair in it, expected one object a line", path);
    if (!status)
        status = check_distinct(out, path, e);
    file_unmap(&map);
    if (status)
        pair_file_free(out);
    return status;
}

void pair_file_free(PairFile *f)
{
    if (!f)
        return;
    free(f->pairs);
    arena_free(&f->arena);
    *f = (PairFile){0};
}
