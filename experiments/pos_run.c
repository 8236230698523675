/* pos_run.c: see pos_run.h. */
#include "experiments/pos_run.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/file.h"
#include "engine/base/json.h"

/* ---- the folder ---- */

/* As the folders of sweeps are cleaned: what is not a letter, a digit or one of `kept` becomes '_'. */
static void put_clean(StrBuf *b, const char *s, const char *kept)
{
    for (; *s; s++) {
        bool keep = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || strchr(kept, *s);
        strbuf_putc(b, keep ? *s : '_');
    }
}

static const char *after_slash(const char *s)
{
    const char *slash = strrchr(s, '/');
    return slash && slash[1] ? slash + 1 : s;
}

/* "wiki.test.txt.gz" -> "wiki.test", as a sweep names a data set given by its path. */
static void put_stem(StrBuf *b, const char *path)
{
    static const char *const endings[] = {".gz", ".zip", ".txt", ".jsonl", ".raw", ".tokens"};
    StrBuf stem = {0};
    strbuf_puts(&stem, file_basename(path));
    for (size_t i = 0; i < sizeof endings / sizeof *endings && !stem.failed && stem.data; i++) {
        size_t n = strlen(endings[i]);
        if (stem.len > n && strcmp(stem.data + stem.len - n, endings[i]) == 0)
            stem.data[stem.len -= n] = '\0';
    }
    put_clean(b, stem.data ? stem.data : "", "._-");
    b->failed = b->failed || stem.failed;
    strbuf_free(&stem);
}

static bool holds_results(const char *dir)
{
    char *path = file_join(dir, "ppl.json");
    bool is = path && file_exists(path);
    free(path);
    return is;
}

/* Whether the folder dir, whose slug has n bytes, is what `name` asks for. An unreadable ppl.json is nobody's. */
static bool is_asked_for(const char *dir, const char *slug, size_t n, const char *name)
{
    StrBuf own = {0};
    put_clean(&own, name, "._");
    bool is = (strlen(name) == n && memcmp(name, slug, n) == 0) ||
              (own.data && !own.failed && own.len == n && memcmp(own.data, slug, n) == 0);
    strbuf_free(&own);
    char *path = is ? NULL : file_join(dir, "ppl.json");
    ResultFile file = {0};
    const char *model;
    Error ignored;
    if (path && !result_file_open(path, NULL, &file, &ignored) && !result_string(&file.root, "model", &model, &ignored))
        is = strcmp(model, name) == 0 || strcmp(after_slash(model), name) == 0;
    result_file_close(&file);
    free(path);
    return is;
}

typedef struct Search {
    const char *name;
    StrBuf parent, ending; /* "results/removal", "_wiki-text-2_n1000" */
    char **found;          /* [n_found], sorted */
    size_t n_found;
    char **others; /* [n_others]: folders of the same data that belong to other models */
    size_t n_others;
} Search;

static int keep(char ***list, size_t *n, const char *text, Error *e)
{
    char **grown = realloc(*list, (*n + 1) * sizeof *grown), *copy = strdup(text);
    if (grown)
        *list = grown;
    if (!grown || !copy) {
        free(copy);
        return error_set(e, STATUS_FAILED, "%s: out of memory", text);
    }
    (*list)[(*n)++] = copy;
    return STATUS_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int look_into(Search *s, Error *e)
{
    DIR *dir = opendir(s->parent.data);
    int status = STATUS_OK;
    for (struct dirent *entry; dir && !status && (entry = readdir(dir));) {
        size_t n = strlen(entry->d_name);
        if (n <= s->ending.len || strcmp(entry->d_name + n - s->ending.len, s->ending.data) != 0)
            continue;
        char *path = file_join(s->parent.data, entry->d_name);
        if (!path)
            status = error_set(e, STATUS_FAILED, "%s: out of memory", s->parent.data);
        else if (!holds_results(path))
            ; /* a sweep that has not finished: not to be read yet */
        else if (is_asked_for(path, entry->d_name, n - s->ending.len, s->name))
            status = keep(&s->found, &s->n_found, path, e);
        else
            status = keep(&s->others, &s->n_others, path, e);
        free(path);
    }
    if (dir)
        closedir(dir);
    if (s->n_found)
        qsort(s->found, s->n_found, sizeof *s->found, by_name);
    if (s->n_others)
        qsort(s->others, s->n_others, sizeof *s->others, by_name);
    return status;
}

static void put_list(StrBuf *b, char *const *list, size_t n)
{
    for (size_t i = 0; i < n && b->len < 600; i++)
        strbuf_printf(b, "%s%s", i ? ", " : "", list[i]);
}

static int choose(const Search *s, StrBuf *dir, Error *e)
{
    StrBuf list = {0};
    int status = STATUS_OK;
    if (s->n_found == 1) {
        strbuf_reset(dir);
        strbuf_puts(dir, s->found[0]);
        return dir->failed ? error_set(e, STATUS_FAILED, "%s: out of memory", s->found[0]) : STATUS_OK;
    }
    put_list(&list, s->n_found ? s->found : s->others, s->n_found ? s->n_found : s->n_others);
    const char *text = list.data ? list.data : "";
    if (s->n_found)
        status = error_set(e, STATUS_USAGE, "--model_name %s: %zu results match, name one of these folders: %s", s->name,
                           s->n_found, text);
    else
        status = error_set(e, STATUS_USAGE, "--model_name %s: no finished result %s/*%s is of this model; %s%s", s->name,
                           s->parent.data, s->ending.data, s->n_others ? "there are: " : "make it with `strata sweep`", text);
    strbuf_free(&list);
    return status;
}

int pos_run_find(const StrataPosOptions *o, StrBuf *dir, Error *e)
{
    Search s = {.name = o->common.model_name};
    if (!s.name || !*s.name)
        return error_set(e, STATUS_USAGE, "--model_name is missing: expected a model that was swept, or a result folder");
    strbuf_reset(dir);
    if (holds_results(s.name)) {
        strbuf_puts(dir, s.name);
        while (!dir->failed && dir->len > 1 && dir->data[dir->len - 1] == '/')
            dir->data[--dir->len] = '\0';
        return dir->failed ? error_set(e, STATUS_FAILED, "%s: out of memory", s.name) : STATUS_OK;
    }
    if (!o->dataset_type && !o->dataset_path)
        return error_set(
            e, STATUS_USAGE,
            "%s: no folder of a finished sweep; of a model by its name --dataset_type is missing, the data set of the "
            "sweep, wiki-text-2 or another",
            s.name);
    const char *root = o->output_dir && o->output_dir[0] ? o->output_dir : "results";
    strbuf_puts(&s.parent, root);
    strbuf_putc(&s.parent, '/');
    put_clean(&s.parent, o->experiment && o->experiment[0] ? o->experiment : "removal", "._-");
    strbuf_putc(&s.ending, '_');
    if (o->dataset_type)
        put_clean(&s.ending, o->dataset_type, "._-");
    else
        put_stem(&s.ending, o->dataset_path);
    strbuf_printf(&s.ending, "_n%llu", (unsigned long long)(o->sample_size ? o->sample_size : 1000));
    int status = s.parent.failed || s.ending.failed ? error_set(e, STATUS_FAILED, "%s: out of memory", root) : STATUS_OK;
    if (!status)
        status = look_into(&s, e);
    if (!status)
        status = choose(&s, dir, e);
    for (size_t i = 0; i < s.n_found; i++)
        free(s.found[i]);
    for (size_t i = 0; i < s.n_others; i++)
        free(s.others[i]);
    free(s.found);
    free(s.others);
    strbuf_free(&s.parent);
    strbuf_free(&s.ending);
    return status;
}

/* ---- ppl.json ---- */

static int read_order(const ResultNode *node, size_t index, PosRun *r, Error *e)
{
    PosOrder *o = &r->orders[index];
    int64_t ledger_index = 0;
    int status = result_string(node, "name", &o->name, e);
    if (!status)
        status = result_string(node, "spec", &o->spec, e);
    if (!status)
        status = result_integer(node, "ledger_index", &ledger_index, e);
    if (!status && ledger_index != (int64_t)index)
        status = error_set(e, STATUS_FAILED, "%s: %s.ledger_index: expected %zu, found %lld", node->path, node->where, index,
                           (long long)ledger_index);
    if (status || !result_has(node, "order"))
        return status;
    ResultNode layers;
    status = result_child(node, "order", &layers, e);
    double *array = status ? NULL : arena_array(&r->arena, result_length(&layers) + 1, sizeof *array);
    if (!status && !array)
        status = error_set(e, STATUS_FAILED, "%s: out of memory", node->path);
    if (!status)
        status = result_numbers(node, "order", array, result_length(&layers), e);
    o->layers = array;
    o->n_layers = status ? 0 : result_length(&layers);
    return status;
}

static int read_orders(PosRun *r, Error *e)
{
    ResultNode baseline, orders, item = {0};
    int status = result_child(&r->ppl.root, "baseline", &baseline, e);
    if (!status)
        status = result_child(&r->ppl.root, "orders", &orders, e);
    if (status)
        return status;
    if (result_length(&orders) + 1 != r->ledger.n_orders)
        return error_set(e, STATUS_FAILED, "%s: orders: expected %zu, as the ledger has, found %zu", r->ppl.path,
                         r->ledger.n_orders - 1, result_length(&orders));
    r->orders = arena_array(&r->arena, r->ledger.n_orders, sizeof *r->orders);
    if (!r->orders)
        return error_set(e, STATUS_FAILED, "%s: out of memory for %zu orders", r->ppl.path, r->ledger.n_orders);
    status = read_order(&baseline, 0, r, e);
    for (size_t i = 1; !status && result_each(&orders, &item); i++)
        status = read_order(&item, i, r, e);
    return status;
}

static int read_head(PosRun *r, Error *e)
{
    ResultNode protocol;
    const ResultNode *root = &r->ppl.root;
    int64_t n_samples = 0, seed = 0, n_resamples = 0;
    const char *unit = "";
    int status = result_string(root, "model", &r->model, e);
    if (!status)
        status = result_string(root, "dataset", &r->dataset, e);
    if (!status)
        status = result_string(root, "experiment", &r->experiment, e);
    if (!status)
        status = result_integer(root, "n_samples", &n_samples, e);
    if (!status)
        status = result_child(root, "protocol", &protocol, e);
    if (!status)
        status = result_string(&protocol, "bootstrap_unit", &unit, e);
    if (!status)
        status = result_integer(&protocol, "seed", &seed, e);
    if (!status)
        status = result_integer(&protocol, "n_resamples", &n_resamples, e);
    if (!status && (n_samples < 0 || seed < 0 || n_resamples < 1 || n_resamples > 1000000))
        status = error_set(e, STATUS_FAILED,
                           "%s: n_samples %lld, seed %lld, n_resamples %lld: expected none negative, 1 to "
                           "1000000 resamples",
                           r->ppl.path, (long long)n_samples, (long long)seed, (long long)n_resamples);
    r->n_samples = (uint64_t)n_samples;
    r->seed = (uint64_t)seed;
    r->n_resamples = (size_t)n_resamples;
    r->units_are_articles = strcmp(unit, "article") == 0;
    return status ? status : read_orders(r, e);
}

/* ---- rows.jsonl ---- */

static int read_row(PosRun *r, const char *line, size_t len, const char *what, Error *e)
{
    Arena arena = {0};
    const JsonValue *v, *text, *kind, *article;
    PosRow *row = &r->rows[r->n_rows];
    int status = json_parse(line, len, what, &arena, &v, e);
    if (status)
        goto done;
    text = json_get(v, "text");
    kind = json_get(v, "kind");
    article = json_get(v, "article");
    *row = (PosRow){.article = article && article->kind == JSON_NUMBER && article->is_integer ? article->integer : -1};
    if (kind && json_is_string(kind, "heading"))
        row->kind = POS_ROW_HEADING;
    else if (kind && json_is_string(kind, "body"))
        row->kind = POS_ROW_BODY;
    if (text && text->kind == JSON_STRING) {
        row->text = arena_strndup(&r->arena, text->string, text->len);
        row->len = text->len;
        if (!row->text)
            status = error_set(e, STATUS_FAILED, "%s: out of memory", what);
    } else {
        status = error_set(e, STATUS_USAGE, "%s: a row without text: parts of speech need words, not ids", what);
    }
    /* Rows of one text (protocols concat, file) have no kind: WikiText's joiner is nowhere else. */
    r->is_wikitext = r->is_wikitext || row->kind != POS_ROW_PLAIN || (row->text && strstr(row->text, " @-@ "));
    r->n_rows++;
done:
    arena_free(&arena);
    return status;
}

static int read_rows(PosRun *r, Error *e)
{
    char *path = file_join(r->dir, "rows.jsonl"), what[600];
    FileMap map = {0};
    size_t n_lines = 0;
    int status = path ? file_map(path, &map, e) : error_set(e, STATUS_FAILED, "%s: out of memory", r->dir);
    const char *bytes = (const char *)map.data;
    for (size_t i = 0; i < map.size_bytes; i++)
        n_lines += bytes[i] == '\n';
    if (!status && !(r->rows = arena_array(&r->arena, n_lines + 1, sizeof *r->rows)))
        status = error_set(e, STATUS_FAILED, "%s: out of memory for %zu rows", path, n_lines);
    for (size_t at = 0; !status && at < map.size_bytes;) {
        const char *end = memchr(bytes + at, '\n', map.size_bytes - at);
        size_t len = end ? (size_t)(end - bytes) - at : map.size_bytes - at;
        snprintf(what, sizeof what, "%.500s: line %zu", path, r->n_rows + 1);
        status = read_row(r, bytes + at, len, what, e);
        at += len + 1;
    }
    file_unmap(&map);
    free(path);
    return status;
}

/* ---- the token axis ---- */

static int unit_of_window(PosRun *r, const PosRow *row, int32_t *unit_of_article, size_t n_articles)
{
    if (!r->units_are_articles || row->article < 0 || (uint64_t)row->article >= n_articles)
        return (int)r->n_units++;
    int32_t *unit = &unit_of_article[row->article];
    if (*unit < 0)
        *unit = (int32_t)r->n_units++;
    return *unit;
}

/* Rows and windows must not step back, windows must be numbered without gaps, spans must lie in their rows. */
static int read_tokens(PosRun *r, const char *path, Error *e)
{
    const LedgerView *v = &r->ledger;
    size_t n_articles = r->n_rows + 1;
    int status = STATUS_OK;
    int32_t *unit_of_article = malloc(n_articles * sizeof *unit_of_article);
    r->unit = arena_array(&r->arena, v->n_tokens + 1, sizeof *r->unit);
    if (!unit_of_article || !r->unit || v->n_tokens >= INT32_MAX) {
        status = error_set(e, STATUS_FAILED, "%s: no memory for %zu tokens", path, v->n_tokens);
        goto done;
    }
    memset(unit_of_article, -1, n_articles * sizeof *unit_of_article);
    for (size_t t = 0; t < v->n_tokens; t++) {
        int32_t row = v->row[t], window = v->window[t];
        int32_t row_before = t ? v->row[t - 1] : 0, window_before = t ? v->window[t - 1] : -1;
        if (row < row_before || (size_t)row >= r->n_rows || window < window_before || window > window_before + 1 ||
            (t && window == window_before && row != row_before)) {
            status = error_set(e, STATUS_FAILED, "%s: token %zu: row %d, window %d after row %d, window %d of %zu rows", path,
                               t, row, window, row_before, window_before, r->n_rows);
            goto done;
        }
        PosRow *of = &r->rows[row];
        if (!of->n_tokens++)
            of->first_token = t;
        if (window > window_before)
            r->unit[r->n_windows++] = unit_of_window(r, of, unit_of_article, n_articles);
    }
done:
    free(unit_of_article);
    return status;
}

int pos_run_open(const char *dir, PosRun *out, Error *e)
{
    *out = (PosRun){.dir = dir};
    char *ppl = file_join(dir, "ppl.json"), *ledger = file_join(dir, "ledger.safetensors");
    int status = ppl && ledger ? STATUS_OK : error_set(e, STATUS_FAILED, "%s: out of memory", dir);
    if (!status)
        status = ledger_view_open(ledger, &out->ledger, e);
    if (!status)
        status = result_file_open(ppl, "strata.ppl/1", &out->ppl, e);
    if (!status)
        status = read_head(out, e);
    if (!status)
        status = read_rows(out, e);
    if (!status)
        status = read_tokens(out, ledger, e);
    out->is_wikitext = out->is_wikitext || (!status && strncmp(out->dataset, "wiki-text-", 10) == 0);
    if (status)
        pos_run_close(out);
    free(ppl);
    free(ledger);
    return status;
}

void pos_run_close(PosRun *r)
{
    ledger_view_close(&r->ledger);
    result_file_close(&r->ppl);
    arena_free(&r->arena);
    *r = (PosRun){0};
}
