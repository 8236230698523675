/* pair_grammar.c: reads lexicon and templates (see experiments/pairs/README.md for the format) and checks that every name in them is known. */
#include "experiments/pair_grammar.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/utf8.h"
#include "experiments/pair_grammar_nodes.h"

enum { MAX_FILE_BYTES = 1 << 24, MAX_NAME = 64, MAX_FILES = 256 };

/* A piece of a file while it is read. */
typedef struct Reader {
    PairGrammar *g;
    const char *file, *at, *end;
    size_t line;
    /* names bound in the sequence that is being compiled */
    const char *names[PAIR_MAX_NAMES];
    size_t n_names;
    /* of the file's templates */
    int category; /* -1: not said yet */
    int has_error;
    bool is_first_token;
    Error *e;
} Reader;

static int wrong(const Reader *r, const char *format, ...) STRATA_PRINTF(2, 3);
static int wrong(const Reader *r, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return error_set(r->e, STATUS_USAGE, "%s: line %zu: %s", r->file, r->line, text);
}

static int no_memory(Error *e)
{
    return error_set(e, STATUS_FAILED, "no memory for the templates of pairs");
}

static bool is_name(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

int pair_list_column(const PairList *list, const char *name)
{
    for (size_t i = 0; i < list->n_columns; i++)
        if (strcmp(list->columns[i], name) == 0)
            return (int)i;
    return -1;
}

static void trim(const char **begin, const char **end)
{
    while (*begin < *end && isspace((unsigned char)**begin))
        (*begin)++;
    while (*end > *begin && isspace((unsigned char)(*end)[-1]))
        (*end)--;
}

/* A name at *at, which moves behind it; NULL with an error. */
static const char *take_name(Reader *r, const char **at, const char *end)
{
    const char *begin = *at;
    while (*at < end && is_name(**at))
        (*at)++;
    if (*at == begin || *at - begin > MAX_NAME) {
        wrong(r, "expected a name of letters, digits and _ at \"%.*s\"", end - begin > 20 ? 20 : (int)(end - begin), begin);
        return NULL;
    }
    const char *name = arena_strndup(&r->g->arena, begin, (size_t)(*at - begin));
    if (!name)
        no_memory(r->e);
    return name;
}

/* "a + b + c" from *at on. */
static PairUnion *take_union(Reader *r, const char **at, const char *end)
{
    PairUnion *u = arena_alloc(&r->g->arena, sizeof *u);
    if (!u) {
        no_memory(r->e);
        return NULL;
    }
    for (;;) {
        while (*at < end && **at == ' ')
            (*at)++;
        if (u->n == PAIR_MAX_UNION) {
            wrong(r, "more than %d lists joined", PAIR_MAX_UNION);
            return NULL;
        }
        if (!(u->names[u->n++] = take_name(r, at, end)))
            return NULL;
        while (*at < end && **at == ' ')
            (*at)++;
        if (*at == end || **at != '+')
            return u;
        (*at)++;
    }
}

static int find_bound(const Reader *r, const char *name)
{
    for (size_t i = 0; i < r->n_names; i++)
        if (strcmp(r->names[i], name) == 0)
            return (int)i;
    return -1;
}

/* What stands between { and }. */
static int compile_slot(Reader *r, PairNode *n, const char *at, const char *end)
{
    if ((end - at == 1 && at[0] == 'a') || (end - at == 2 && memcmp(at, "a!", 2) == 0)) {
        n->kind = end - at == 1 ? PAIR_NODE_ARTICLE : PAIR_NODE_WRONG_ARTICLE;
        return STATUS_OK;
    }
    n->kind = PAIR_NODE_SLOT;
    n->bind = n->from = -1;
    const char *colon = memchr(at, ':', (size_t)(end - at)), *bound = NULL;
    if (colon) {
        bound = take_name(r, &at, colon);
        if (!bound)
            return STATUS_USAGE;
        if (at != colon)
            return wrong(r, "expected \":\" behind the name \"%s\"", bound);
        at++;
    }
    n->lists = take_union(r, &at, end);
    if (!n->lists)
        return STATUS_USAGE;
    if (n->lists->n == 1 && (n->from = find_bound(r, n->lists->names[0])) >= 0)
        n->lists = NULL;
    while (at < end && *at == '.') {
        at++;
        if (n->n_path == PAIR_MAX_PATH)
            return wrong(r, "more than %d columns behind one another", PAIR_MAX_PATH);
        if (!(n->path[n->n_path++] = take_name(r, &at, end)))
            return STATUS_USAGE;
    }
    if (at != end)
        return wrong(r, "\"%.*s\" cannot stand in { }", (int)(end - at), at);
    if (bound) {
        if (find_bound(r, bound) >= 0 || r->n_names == PAIR_MAX_NAMES)
            return wrong(r, "the name \"%s\" is given twice, or it is the %dth", bound, PAIR_MAX_NAMES + 1);
        n->bind = (int)r->n_names;
        r->names[r->n_names++] = bound;
    }
    return STATUS_OK;
}

static int compile(Reader *r, const char **at, const char *end, const char *stops, int depth, const PairNode **out);

/* Branches between an opening and a closing character. */
static int compile_branches(Reader *r, PairNode *n, const char **at, const char *end, char separator, char closing, int depth)
{
    const PairNode *branches[64];
    const char stops[] = {separator, closing, 0};
    for (;;) {
        if (n->n_branches == 64)
            return wrong(r, "more than 64 alternatives");
        int status = compile(r, at, end, stops, depth + 1, &branches[n->n_branches++]);
        if (status)
            return status;
        if (*at == end)
            return wrong(r, "\"%c\" is missing", closing);
        if (*(*at)++ == closing)
            break;
    }
    const PairNode **copy = arena_array(&r->g->arena, n->n_branches, sizeof *copy);
    if (!copy)
        return no_memory(r->e);
    memcpy(copy, branches, n->n_branches * sizeof *copy);
    n->branches = copy;
    return STATUS_OK;
}

static int compile_node(Reader *r, PairNode *n, const char **at, const char *end, const char *stops, int depth)
{
    switch (**at) {
    case '{': {
        const char *close = memchr(*at, '}', (size_t)(end - *at));
        if (!close)
            return wrong(r, "\"}\" is missing");
        int status = compile_slot(r, n, *at + 1, close);
        *at = close + 1;
        return status;
    }
    case '[':
        n->kind = PAIR_NODE_CHOICE;
        (*at)++;
        return compile_branches(r, n, at, end, '/', ']', depth);
    case '<': {
        n->kind = PAIR_NODE_EDIT;
        (*at)++;
        int status = compile_branches(r, n, at, end, '|', '>', depth);
        return status ? status : n->n_branches == 2 ? STATUS_OK : wrong(r, "an edit has two sides: <left|right>");
    }
    case '^':
        n->kind = PAIR_NODE_ONSET;
        (*at)++;
        return STATUS_OK;
    case ']':
    case '}':
    case '>':
    case '|':
        return wrong(r, "\"%c\" without its beginning", **at);
    default:
        n->kind = PAIR_NODE_TEXT;
        n->text = *at;
        while (*at < end && !strchr("{[<^]}>|", **at) && !strchr(stops, **at))
            (*at)++;
        n->len = (size_t)(*at - n->text);
        n->text = arena_strndup(&r->g->arena, n->text, n->len);
        return n->text ? STATUS_OK : no_memory(r->e);
    }
}

/* A sequence of nodes up to one of `stops` or the end. */
static int compile(Reader *r, const char **at, const char *end, const char *stops, int depth, const PairNode **out)
{
    const PairNode **link = out;
    *link = NULL;
    if (depth > PAIR_MAX_DEPTH)
        return wrong(r, "alternatives nested more than %d deep", PAIR_MAX_DEPTH);
    while (*at < end && !(**at && strchr(stops, **at))) {
        PairNode *n = arena_alloc(&r->g->arena, sizeof *n);
        if (!n)
            return no_memory(r->e);
        n->file = r->file;
        n->line = r->line;
        int status = compile_node(r, n, at, end, stops, depth);
        if (status)
            return status;
        *link = n;
        link = &n->next;
    }
    return STATUS_OK;
}

static int compile_text(Reader *r, const char *at, const char *end, PairSequence *out)
{
    trim(&at, &end);
    r->n_names = 0;
    int status = compile(r, &at, end, "", 0, &out->first);
    out->n_names = r->n_names;
    return status;
}

/* One row: values between |, which inside < > is an edit's. */
static int read_row(Reader *r, PairList *list, const char *at, const char *end)
{
    PairValue *values = arena_array(&r->g->arena, list->n_columns, sizeof *values);
    PairRow *row = arena_alloc(&r->g->arena, sizeof *row);
    if (!values || !row)
        return no_memory(r->e);
    size_t n = 0;
    for (const char *begin = at; begin <= end; n++) {
        int nested = 0;
        const char *stop = begin;
        for (; stop < end && (nested > 0 || *stop != '|'); stop++)
            nested += *stop == '<' ? 1 : *stop == '>' ? -1 : 0;
        if (n == list->n_columns)
            return wrong(r, "a row with more than %zu values, the columns of \"%s\"", n, list->name);
        const char *b = begin, *e = stop;
        trim(&b, &e);
        int status = STATUS_OK;
        if (b < e && *b == '@') {
            b++;
            values[n].reference = take_union(r, &b, e);
            status = !values[n].reference ? STATUS_USAGE
                     : b != e             ? wrong(r, "\"%.*s\" behind a list", (int)(e - b), b)
                                          : STATUS_OK;
        } else {
            status = compile_text(r, b, e, &values[n].text);
        }
        if (status)
            return status;
        begin = stop + 1;
    }
    if (n != list->n_columns)
        return wrong(r, "a row of %zu values, expected %zu, the columns of \"%s\"", n, list->n_columns, list->name);
    if (list->n_rows == list->rows_cap) {
        size_t cap = list->rows_cap ? 2 * list->rows_cap : 32;
        const PairRow **rows = arena_array(&r->g->arena, cap, sizeof *rows);
        if (!rows)
            return no_memory(r->e);
        if (list->n_rows)
            memcpy(rows, list->rows, list->n_rows * sizeof *rows);
        list->rows = rows;
        list->rows_cap = cap;
    }
    row->list = list;
    row->values = values;
    list->rows[list->n_rows++] = row;
    return STATUS_OK;
}

/* An indented line: rows between ;. */
static int read_rows(Reader *r, PairList *list, const char *at, const char *end)
{
    if (!list || list->is_union)
        return wrong(r, "an indented line is a row, and no list with rows is above it");
    while (at < end) {
        const char *stop = memchr(at, ';', (size_t)(end - at)), *b = at, *e = stop ? stop : end;
        trim(&b, &e);
        int status = b < e ? read_row(r, list, b, e) : STATUS_OK;
        if (status)
            return status;
        at = stop ? stop + 1 : end;
    }
    return STATUS_OK;
}

/* list NAME: column | column        list NAME = a + b */
static int read_list(Reader *r, const char *at, const char *end, PairList **out)
{
    PairList *list = arena_alloc(&r->g->arena, sizeof *list);
    if (!list)
        return no_memory(r->e);
    trim(&at, &end);
    if (!(list->name = take_name(r, &at, end)))
        return STATUS_USAGE;
    if (pair_grammar_list(r->g, list->name))
        return wrong(r, "the list \"%s\" is there already", list->name);
    list->file = r->file;
    list->line = r->line;
    trim(&at, &end);
    if (at < end && *at == '=') {
        at++;
        if (!(list->is_union = take_union(r, &at, end)))
            return STATUS_USAGE;
    } else if (at < end && *at == ':') {
        for (at++; at < end;) {
            trim(&at, &end);
            if (at == end)
                break;
            if (list->n_columns == PAIR_MAX_COLUMNS)
                return wrong(r, "more than %d columns", PAIR_MAX_COLUMNS);
            if (!(list->columns[list->n_columns++] = take_name(r, &at, end)))
                return STATUS_USAGE;
            trim(&at, &end);
            if (at < end && *at++ != '|')
                return wrong(r, "expected \"|\" between the columns of \"%s\"", list->name);
        }
    }
    if (at != end)
        return wrong(r, "expected \":\" and columns, or \"=\" and lists, behind \"%s\"", list->name);
    if (!list->is_union && list->n_columns == 0)
        list->columns[list->n_columns++] = "word";
    list->next = r->g->lists;
    r->g->lists = list;
    *out = list;
    return STATUS_OK;
}

static int read_template(Reader *r, const char *at, const char *colon, const char *end)
{
    PairGrammar *g = r->g;
    if (r->category < 0 || r->has_error < 0)
        return wrong(r, "a template before its \"category\" and \"error\"");
    if (g->n_templates == g->templates_cap) {
        size_t cap = g->templates_cap ? 2 * g->templates_cap : 128;
        PairTemplate *templates = arena_array(&g->arena, cap, sizeof *templates);
        if (!templates)
            return no_memory(r->e);
        if (g->n_templates)
            memcpy(templates, g->templates, g->n_templates * sizeof *templates);
        g->templates = templates;
        g->templates_cap = cap;
    }
    PairTemplate *t = &g->templates[g->n_templates];
    *t = (PairTemplate){.category = (PairCategory)r->category,
                        .has_error = r->has_error,
                        .is_first_token = r->is_first_token,
                        .file = r->file,
                        .line = r->line};
    if (!(t->id = take_name(r, &at, colon)))
        return STATUS_USAGE;
    if (at != colon)
        return wrong(r, "expected \":\" behind the template's name \"%s\"", t->id);
    for (size_t i = 0; i < g->n_templates; i++)
        if (strcmp(g->templates[i].id, t->id) == 0)
            return wrong(r, "the template \"%s\" is there already", t->id);
    g->n_templates++;
    return compile_text(r, colon + 1, end, &t->text);
}

static bool is_word(const char *at, const char *end, const char *word)
{
    size_t n = strlen(word);
    return (size_t)(end - at) == n && memcmp(at, word, n) == 0;
}

/* "KEYWORD VALUE" that is neither a list nor a template. */
static int read_directive(Reader *r, const char *at, const char *end)
{
    const char *space = memchr(at, ' ', (size_t)(end - at)), *key_end = space ? space : end, *value = key_end;
    trim(&value, &end);
    bool is_choice = r->category >= 0 && (r->category <= PAIR_ADJECTIVE || r->category == PAIR_ARTICLE_CHOICE);
    if (is_word(at, key_end, "category")) {
        char name[MAX_NAME];
        snprintf(name, sizeof name, "%.*s", (int)(end - value), value);
        r->category = pair_category_find(name);
        r->has_error = -1;
        r->is_first_token = false;
        return r->category >= 0 ? STATUS_OK : wrong(r, "no category \"%s\"", name);
    }
    if (is_word(at, key_end, "error") && is_word(value, end, "none")) {
        r->has_error = 0;
        return STATUS_OK;
    }
    if (is_word(at, key_end, "error") && is_word(value, end, "b")) {
        r->has_error = 1;
        return is_choice ? wrong(r, "\"%s\" has no error side", pair_category_name((PairCategory)r->category)) : STATUS_OK;
    }
    if (is_word(at, key_end, "edit") && (is_word(value, end, "first") || is_word(value, end, "later"))) {
        r->is_first_token = *value == 'f';
        return STATUS_OK;
    }
    return wrong(r,
                 "expected \"list NAME\", \"category NAME\", \"error b\", \"error none\", \"edit first\", \"edit later\" or "
                 "\"TEMPLATE: text\", found \"%.*s\"",
                 end - at > 40 ? 40 : (int)(end - at), at);
}

static int read_line(Reader *r, PairList **list, const char *at, const char *end)
{
    bool indented = at < end && isspace((unsigned char)*at);
    const char *hash = memchr(at, '#', (size_t)(end - at));
    if (hash)
        end = hash;
    trim(&at, &end);
    if (at == end)
        return STATUS_OK;
    if (indented)
        return read_rows(r, *list, at, end);
    *list = NULL;
    if (end - at > 5 && memcmp(at, "list ", 5) == 0)
        return read_list(r, at + 5, end, list);
    const char *colon = memchr(at, ':', (size_t)(end - at)), *space = memchr(at, ' ', (size_t)(end - at));
    if (colon && (!space || colon < space))
        return read_template(r, at, colon, end);
    return read_directive(r, at, end);
}

static int parse_source(PairGrammar *g, const PairSource *s, Error *e)
{
    size_t bad;
    char *file = arena_strndup(&g->arena, s->name, strlen(s->name));
    if (!file)
        return no_memory(e);
    Reader r = {.g = g, .file = file, .category = -1, .has_error = -1, .e = e};
    PairList *list = NULL;
    if (memchr(s->text, 0, s->len) || !utf8_valid(s->text, s->len, &bad))
        return error_set(e, STATUS_USAGE, "%s: expected text in UTF-8 without a NUL", file);
    for (const char *at = s->text, *end = s->text + s->len; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        r.line++;
        int status = read_line(&r, &list, at, stop);
        if (status)
            return status;
        at = stop + 1;
    }
    return STATUS_OK;
}

int pair_grammar_parse(const PairSource *sources, size_t n_sources, PairGrammar *out, Error *e)
{
    *out = (PairGrammar){0};
    int status = STATUS_OK;
    for (size_t i = 0; i < n_sources && !status; i++)
        status = parse_source(out, &sources[i], e);
    if (!status)
        status = pair_grammar_resolve(out, e);
    if (!status && out->n_templates == 0)
        status = error_set(e, STATUS_USAGE, "no template in %s", n_sources ? sources[0].name : "no file");
    if (status)
        pair_grammar_free(out);
    return status;
}

static int is_text_file(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 4 && entry->d_name[0] != '.' && strcmp(entry->d_name + n - 4, ".txt") == 0;
}

int pair_grammar_open(const char *dir, PairGrammar *out, Error *e)
{
    *out = (PairGrammar){0};
    if (!dir) {
        PairSource inside[PAIR_DATA_FILES];
        return pair_grammar_parse(inside, pair_data_sources(inside), out, e);
    }
    struct dirent **entries = NULL;
    PairSource sources[MAX_FILES] = {{0}};
    StrBuf texts[MAX_FILES] = {{0}};
    int n_found = scandir(dir, &entries, is_text_file, alphasort), status = STATUS_OK, n = 0;
    if (n_found <= 0 || n_found > MAX_FILES)
        status = error_set(e, STATUS_USAGE,
                           "--templates: \"%s\": expected a folder with 1 to %d .txt files, as experiments/pairs has them", dir,
                           MAX_FILES);
    for (; n < n_found && !status; n++) {
        sources[n].name = file_join(dir, entries[n]->d_name);
        status = sources[n].name ? file_read(sources[n].name, MAX_FILE_BYTES, &texts[n], e) : no_memory(e);
        sources[n].text = texts[n].data ? texts[n].data : "";
        sources[n].len = texts[n].len;
    }
    if (!status)
        status = pair_grammar_parse(sources, (size_t)n, out, e);
    for (int i = 0; i < n_found && i < MAX_FILES; i++) {
        free((char *)sources[i].name);
        strbuf_free(&texts[i]);
    }
    for (int i = 0; i < n_found; i++)
        free(entries[i]);
    free(entries);
    return status;
}

void pair_grammar_free(PairGrammar *g)
{
    if (!g)
        return;
    arena_free(&g->arena);
    *g = (PairGrammar){0};
}
