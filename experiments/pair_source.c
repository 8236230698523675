/* pair_source.c: see pair_source.h. */
#include "experiments/pair_source.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/csv.h"
#include "engine/base/file.h"
#include "engine/base/json.h"

enum { MAX_FILE_BYTES = 1 << 30 };

/* What is read of a row, by the names a column may have. */
typedef enum Field {
    FIELD_A,
    FIELD_B,
    FIELD_GOOD,
    FIELD_BAD,
    FIELD_CATEGORY,
    FIELD_TERM,
    FIELD_TEMPLATE,
    FIELD_UID,
    FIELD_ERROR_SIDE,
    FIELD_ONSET_WORD,
    FIELD_ONSET_BYTE,
    FIELD_ONE_PREFIX,
    N_FIELDS
} Field;

static const struct {
    Field field;
    const char *name;
} field_names[] = {
    {FIELD_A, "a"},
    {FIELD_B, "b"},
    {FIELD_A, "sentence_a"},
    {FIELD_B, "sentence_b"},
    {FIELD_GOOD, "sentence_good"},
    {FIELD_BAD, "sentence_bad"},
    {FIELD_GOOD, "good"},
    {FIELD_BAD, "bad"},
    {FIELD_CATEGORY, "category"},
    {FIELD_TERM, "linguistics_term"},
    {FIELD_TEMPLATE, "template"},
    {FIELD_UID, "UID"},
    {FIELD_ERROR_SIDE, "error_side"},
    {FIELD_ONSET_WORD, "onset_word"},
    {FIELD_ONSET_BYTE, "onset_byte"},
    {FIELD_ONE_PREFIX, "one_prefix_method"},
};

/* BLiMP's phenomena that one of our categories means. */
static const struct {
    const char *term;
    PairCategory category;
} blimp_terms[] = {
    {"subject_verb_agreement", PAIR_NUMBER},
    {"determiner_noun_agreement", PAIR_NUMBER},
    {"anaphor_agreement", PAIR_NUMBER},
    {"irregular_forms", PAIR_TENSE},
};

static bool is_given(const char *s)
{
    return s && s[0];
}

static int find_field(const char *name)
{
    for (size_t i = 0; i < sizeof field_names / sizeof *field_names; i++)
        if (strcasecmp(field_names[i].name, name) == 0)
            return (int)field_names[i].field;
    return -1;
}

static bool needs_side(PairCategory c)
{
    return c == PAIR_TENSE || c == PAIR_ARTICLE || c == PAIR_PREPOSITION || c == PAIR_NUMBER || c == PAIR_SPELLING;
}

/* 'a', 'b', 0, or -1: it cannot be known. */
static int side_of(const PairFields *f, PairCategory category)
{
    if (is_given(f->error_side)) {
        if (strcasecmp(f->error_side, "a") == 0 || strcasecmp(f->error_side, "b") == 0)
            return f->error_side[0] | 32;
        return strcasecmp(f->error_side, "none") == 0 || strcasecmp(f->error_side, "null") == 0 ? 0 : -1;
    }
    if (f->b_is_wrong && (category > PAIR_ADJECTIVE && category != PAIR_ARTICLE_CHOICE))
        return 'b';
    return needs_side(category) ? -1 : 0;
}

/* The byte behind the word's last letter but one: any byte of it does. */
static bool find_onset(const PairFields *f, PairCandidate *c, const char *wrong, size_t wrong_len)
{
    int side = c->error_side == 'b';
    if (f->onset_byte >= 0) {
        c->onset_byte = (size_t)f->onset_byte;
        return c->onset_byte < wrong_len;
    }
    if (f->onset_is_edit) {
        c->onset_byte = c->word_end[side] - 1;
        return true;
    }
    size_t n = is_given(f->onset_word) ? strlen(f->onset_word) : 0;
    for (size_t at = c->word_begin[side]; n && at + n <= wrong_len; at++)
        if (strncasecmp(wrong + at, f->onset_word, n) == 0) {
            c->onset_byte = at + n - 1;
            return true;
        }
    return n == 0;
}

int pair_source_take(PairsRun *run, const PairFields *f, size_t counts[PAIR_N_CATEGORIES], Error *e)
{
    static const PairRules rules = {.last_edit = SIZE_MAX};
    PairCandidate c = {.a = f->a,
                       .b = f->b,
                       .a_len = f->a ? strlen(f->a) : 0,
                       .b_len = f->b ? strlen(f->b) : 0,
                       .template_id = f->template_id,
                       .template_len = f->template_id ? strlen(f->template_id) : 0};
    int category = is_given(f->category) ? pair_category_find(f->category) : -1;
    char reason[200];
    if (category < 0) {
        snprintf(reason, sizeof reason,
                 is_given(f->category) ? "no category \"%.60s\"; --category names one for rows without"
                                       : "no category; --category names one for rows without",
                 f->category);
        return pair_set_reject(&run->set, &c, is_given(f->category) ? f->category : NULL, reason, e);
    }
    if (!run->wanted[category] || counts[category] >= run->per_category)
        return STATUS_OK;
    c.category = (PairCategory)category;
    const char *const text[2] = {c.a, c.b};
    const size_t len[2] = {c.a_len, c.b_len};
    int side = side_of(f, c.category), seen = c.a && c.b ? pair_set_seen(&run->set, c.a, c.a_len, c.b, c.b_len) : 0,
        status = STATUS_OK;
    c.error_side = side > 0 ? (char)side : 0;
    c.has_onset = c.error_side && (f->onset_byte >= 0 || f->onset_is_edit || is_given(f->onset_word));
    Pair p;
    bool good = false;
    c.has_words = is_given(f->a) && is_given(f->b) && pair_words_between(text, len, c.word_begin, c.word_end);
    c.has_onset = c.has_onset && c.has_words; /* without words the pair is refused below */
    if (seen < 0)
        return error_set(e, STATUS_FAILED, "no memory for the pairs");
    if (!is_given(f->a) || !is_given(f->b))
        snprintf(reason, sizeof reason, "\"%s\" is missing", is_given(f->a) ? "b" : "a");
    else if (seen)
        snprintf(reason, sizeof reason, "the same two sentences stand above");
    else if (side < 0)
        snprintf(reason, sizeof reason, "error_side \"%.20s\": expected a or b, the ungrammatical sentence, or none",
                 f->error_side ? f->error_side : "");
    else if (c.has_onset && !find_onset(f, &c, text[c.error_side == 'b'], len[c.error_side == 'b']))
        snprintf(reason, sizeof reason, "the onset \"%.40s\" is not in the ungrammatical sentence",
                 is_given(f->onset_word) ? f->onset_word : "byte");
    else
        good = pair_verify(run->tokenizer, &c, &rules, &run->scratch, &run->set.arena, &p, reason, &status, e);
    if (status)
        return status;
    if (!good)
        return pair_set_reject(&run->set, &c, pair_category_name(c.category), reason, e);
    counts[category]++;
    return pair_set_keep(&run->set, &p, e);
}

/* A row's values, in the order of Field; NULL: absent. */
static int take_row(PairsRun *run, const char *const v[N_FIELDS], size_t line, size_t counts[PAIR_N_CATEGORIES], Error *e)
{
    char own[40];
    bool is_named = is_given(v[FIELD_GOOD]) || is_given(v[FIELD_BAD]);
    snprintf(own, sizeof own, "row_%zu", line);
    PairFields f = {.a = is_named ? v[FIELD_GOOD] : v[FIELD_A],
                    .b = is_named ? v[FIELD_BAD] : v[FIELD_B],
                    .category = v[FIELD_CATEGORY],
                    .template_id = is_given(v[FIELD_TEMPLATE]) ? v[FIELD_TEMPLATE]
                                   : is_given(v[FIELD_UID])    ? v[FIELD_UID]
                                                               : own,
                    .error_side = v[FIELD_ERROR_SIDE],
                    .onset_word = v[FIELD_ONSET_WORD],
                    .onset_byte = -1,
                    .b_is_wrong = is_named,
                    .onset_is_edit = is_given(v[FIELD_ONE_PREFIX]) && strcasecmp(v[FIELD_ONE_PREFIX], "true") == 0};
    if (is_given(v[FIELD_ONSET_BYTE])) {
        char *end;
        long long byte = strtoll(v[FIELD_ONSET_BYTE], &end, 10);
        f.onset_byte = *end || byte < 0 ? -1 : byte;
    }
    if (!is_given(f.category))
        f.category = run->o->category;
    for (size_t i = 0; !is_given(f.category) && is_given(v[FIELD_TERM]) && i < sizeof blimp_terms / sizeof *blimp_terms; i++)
        if (strcmp(blimp_terms[i].term, v[FIELD_TERM]) == 0)
            f.category = pair_category_name(blimp_terms[i].category);
    if (!is_given(f.category))
        f.category = v[FIELD_TERM];
    return pair_source_take(run, &f, counts, e);
}

static int read_table(PairsRun *run, const StrBuf *file, size_t counts[PAIR_N_CATEGORIES], Error *e)
{
    CsvReader r;
    int columns[N_FIELDS];
    bool got = false;
    for (int i = 0; i < N_FIELDS; i++)
        columns[i] = -1;
    csv_open(&r, run->o->source, file->data ? file->data : "", file->len);
    int status = csv_next(&r, &got, e);
    for (size_t i = 0; !status && i < r.n_fields; i++) {
        int field = find_field(csv_field(&r, i));
        if (field >= 0 && columns[field] < 0)
            columns[field] = (int)i;
    }
    if (!status && (columns[FIELD_A] < 0 || columns[FIELD_B] < 0) && (columns[FIELD_GOOD] < 0 || columns[FIELD_BAD] < 0))
        status =
            error_set(e, STATUS_USAGE,
                      "%s: line 1: expected the columns' names, with a and b (or sentence_good and sentence_bad) among them",
                      run->o->source);
    while (!status && !(status = csv_next(&r, &got, e)) && got) {
        const char *v[N_FIELDS] = {NULL};
        for (int i = 0; i < N_FIELDS; i++)
            v[i] = columns[i] >= 0 ? csv_field(&r, (size_t)columns[i]) : NULL;
        status = take_row(run, v, r.line, counts, e);
    }
    csv_close(&r);
    return status;
}

/* Values that are no strings are read as the text they would have in a table. */
static const char *text_of(const JsonValue *v, char *number, size_t n)
{
    if (!v || v->kind == JSON_NULL)
        return NULL;
    if (v->kind == JSON_BOOL)
        return v->boolean ? "true" : "false";
    if (v->kind == JSON_NUMBER && v->is_integer) {
        snprintf(number, n, "%lld", (long long)v->integer);
        return number;
    }
    return json_text(v);
}

static int take_object(PairsRun *run, const JsonValue *object, size_t line, size_t counts[PAIR_N_CATEGORIES], Error *e)
{
    const char *v[N_FIELDS] = {NULL};
    char numbers[N_FIELDS][24];
    if (object->kind != JSON_OBJECT)
        return error_set(e, STATUS_FAILED, "%s: line %zu: expected an object", run->o->source, line);
    for (size_t i = 0; i < sizeof field_names / sizeof *field_names; i++) {
        Field f = field_names[i].field;
        const JsonValue *value = json_get(object, field_names[i].name);
        if (value && !v[f])
            v[f] = text_of(value, numbers[f], sizeof numbers[f]);
    }
    /* null says that there is no error side: in our own files it is not left out */
    const JsonValue *side = json_get(object, "error_side");
    if (side && side->kind == JSON_NULL)
        v[FIELD_ERROR_SIDE] = "none";
    return take_row(run, v, line, counts, e);
}

static int read_lines(PairsRun *run, const StrBuf *file, size_t counts[PAIR_N_CATEGORIES], Error *e)
{
    size_t line = 0;
    int status = STATUS_OK;
    for (const char *at = file->data, *end = at ? at + file->len : at; at < end && !status;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        Arena tree = {0};
        const JsonValue *v;
        line++;
        if (strspn(at, " \t\r") < (size_t)(stop - at)) {
            status = json_parse(at, (size_t)(stop - at), "pair", &tree, &v, e);
            if (status)
                error_prefix(e, status, "%s: line %zu", run->o->source, line);
            else
                status = take_object(run, v, line, counts, e);
        }
        arena_free(&tree);
        at = stop + 1;
    }
    return status;
}

int pair_source_read(PairsRun *run, Error *e)
{
    const char *path = run->o->source, *dot = strrchr(path, '.');
    size_t counts[PAIR_N_CATEGORIES] = {0};
    StrBuf file = {0};
    char hex[65];
    bool is_lines = dot && (strcasecmp(dot, ".jsonl") == 0 || strcasecmp(dot, ".json") == 0);
    if (!is_lines && !(dot && (strcasecmp(dot, ".csv") == 0 || strcasecmp(dot, ".tsv") == 0 || strcasecmp(dot, ".txt") == 0)))
        return error_set(e, STATUS_USAGE, "--source: \"%s\", expected templates, api, or a .csv, .tsv or .jsonl file", path);
    if (run->o->category && pair_category_find(run->o->category) < 0)
        return error_set(e, STATUS_USAGE, "--category: \"%s\", expected one of the categories that `strata help pairs` lists",
                         run->o->category);
    int status = file_read(path, MAX_FILE_BYTES, &file, e);
    if (!status)
        status = is_lines ? read_lines(run, &file, counts, e) : read_table(run, &file, counts, e);
    if (!status)
        status = file_sha256(path, hex, e);
    if (!status)
        strbuf_json_field_text(&run->meta, "source_sha256", hex);
    strbuf_free(&file);
    return status;
}
