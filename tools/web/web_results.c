/* web_results.c: see web_results.h. */
#include "tools/web/web_results.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "engine/base/file.h"
#include "experiments/pair_file.h"
#include "experiments/pos_run.h"
#include "kernels/convert.h"
#include "loaders/tensor_file.h"

enum { MOST_RESULTS = 2000, MOST_DEPTH = 5, MOST_PAIRS = 50000, PREVIEW_BYTES = 120 };
static const size_t MOST_FILE = (size_t)256 << 20;

typedef struct Result {
    char *id; /* "removal/model_n185" */
    bool is_diff;
} Result;

struct WebResults {
    char *dir;
    char *pairs; /* of the user's choice, or NULL */
    Result *list;
    size_t n;
    StrBuf listing; /* results.json */
    char *open_id;  /* of the run that is open */
    char *open_dir;
    PosRun run;
    bool each_begun; /* of web_results_each */
    size_t each_result, each_file;
    StrBuf each_path;
};

/* -- names -- */

static bool is_name(const char *id)
{
    size_t len = strlen(id);
    if (!len || len > 700 || id[0] == '/' || id[len - 1] == '/')
        return false;
    for (size_t i = 0; i < len; i++) {
        bool begins = i == 0 || id[i - 1] == '/';
        if ((unsigned char)id[i] < 0x20 || id[i] == '\\' || (begins && (id[i] == '.' || id[i] == '/')))
            return false;
    }
    return true;
}

/* The path of dir/id/name, links resolved, when it is a file inside dir; malloc'ed, NULL else. */
static char *inside(const char *dir, const char *id, const char *name)
{
    if (!is_name(id))
        return NULL;
    char *folder = file_join(dir, id), *path = folder ? file_join(folder, name) : NULL;
    char *root = realpath(dir, NULL), *real = path ? realpath(path, NULL) : NULL;
    struct stat st;
    size_t n = root ? strlen(root) : 0;
    bool good = root && real && strncmp(real, root, n) == 0 && (real[n] == '/' || strcmp(root, "/") == 0) && !stat(real, &st) &&
                S_ISREG(st.st_mode);
    free(folder);
    free(path);
    free(root);
    if (good)
        return real;
    free(real);
    return NULL;
}

static bool has_file(const WebResults *r, const char *id, const char *name)
{
    char *path = inside(r->dir, id, name);
    free(path);
    return path != NULL;
}

/* -- the listing -- */

static int add_result(WebResults *r, const char *id, bool is_diff)
{
    Result *list = realloc(r->list, (r->n + 1) * sizeof *list);
    if (!list)
        return STATUS_FAILED;
    r->list = list;
    char *copy = strdup(id);
    if (!copy)
        return STATUS_FAILED;
    r->list[r->n++] = (Result){copy, is_diff};
    return STATUS_OK;
}

static int find_results(WebResults *r, const char *id, int depth)
{
    if (r->n >= MOST_RESULTS || depth > MOST_DEPTH)
        return STATUS_OK;
    if (id[0]) {
        bool orders = has_file(r, id, "ppl.json"), diff = has_file(r, id, "diff.json");
        if ((orders && add_result(r, id, false)) || (diff && !orders && add_result(r, id, true)))
            return STATUS_FAILED;
    }
    char *path = id[0] ? file_join(r->dir, id) : strdup(r->dir);
    DIR *dir = path ? opendir(path) : NULL;
    int status = path ? STATUS_OK : STATUS_FAILED;
    for (struct dirent *d; dir && !status && (d = readdir(dir));) {
        char *child = id[0] ? file_join(id, d->d_name) : strdup(d->d_name), *full = child ? file_join(r->dir, child) : NULL;
        struct stat st;
        if (!child || !full)
            status = STATUS_FAILED;
        else if (is_name(d->d_name) && !lstat(full, &st) && S_ISDIR(st.st_mode))
            status = find_results(r, child, depth + 1);
        free(child);
        free(full);
    }
    if (dir)
        closedir(dir);
    free(path);
    return status;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const Result *)a)->id, ((const Result *)b)->id);
}

static void copy_text(const cJSON *json, const char *name, StrBuf *out)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(json, name);
    strbuf_json_field_text(out, name, cJSON_IsString(v) ? v->valuestring : NULL);
}

static void copy_number(const cJSON *json, const char *name, const char *as, StrBuf *out)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(json, name);
    strbuf_json_field_number(out, as, cJSON_IsNumber(v) ? v->valuedouble : NAN);
}

static void field_bool(StrBuf *out, const char *name, bool value)
{
    strbuf_printf(out, ", \"%s\": %s", name, value ? "true" : "false");
}

static void describe_orders(const WebResults *r, const char *id, const cJSON *json, StrBuf *out)
{
    const cJSON *orders = cJSON_GetObjectItemCaseSensitive(json, "orders");
    const cJSON *baseline = cJSON_GetObjectItemCaseSensitive(json, "baseline");
    copy_text(json, "experiment", out);
    copy_number(json, "n_samples", "n_samples", out);
    strbuf_json_field_number(out, "n_layers", cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(baseline, "order")));
    strbuf_json_field_number(out, "n_orders", cJSON_GetArraySize(orders));
    copy_number(json, "n_tokens", "n_tokens", out);
    copy_number(baseline, "ppl", "ppl", out);
    field_bool(out, "has_pos", has_file(r, id, "pos.json"));
    field_bool(out, "has_tokens", has_file(r, id, "ledger.safetensors") && has_file(r, id, "rows.jsonl"));
}

/* diff.json names its categories as an object or as a list. */
static void describe_diff(const WebResults *r, const char *id, const cJSON *json, StrBuf *out)
{
    const cJSON *categories = cJSON_GetObjectItemCaseSensitive(json, "categories"), *item;
    bool any = false;
    copy_number(json, "n_pairs", "n_pairs", out);
    strbuf_puts(out, ", \"categories\": [");
    cJSON_ArrayForEach(item, categories)
    {
        const cJSON *named = cJSON_GetObjectItemCaseSensitive(item, "name");
        if (!named)
            named = cJSON_GetObjectItemCaseSensitive(item, "category");
        const char *name = item->string ? item->string : cJSON_IsString(item) ? item->valuestring : cJSON_GetStringValue(named);
        if (!name)
            continue;
        strbuf_puts(out, any ? ", " : "");
        strbuf_json_string(out, name, strlen(name));
        any = true;
    }
    strbuf_putc(out, ']');
    field_bool(out, "has_pairs", r->pairs || has_file(r, id, "pairs.jsonl"));
    field_bool(out, "has_maps", has_file(r, id, "diff.safetensors"));
}

/* A result that cannot be read is listed with the reason. */
static void describe(const WebResults *r, const Result *result, StrBuf *out)
{
    StrBuf text = {0};
    Error e = {{0}};
    char *path = inside(r->dir, result->id, result->is_diff ? "diff.json" : "ppl.json");
    cJSON *json = path && !file_read(path, MOST_FILE, &text, &e) ? cJSON_ParseWithLength(text.data, text.len) : NULL;
    strbuf_puts(out, "{\"id\": ");
    strbuf_json_string(out, result->id, strlen(result->id));
    strbuf_printf(out, ", \"kind\": \"%s\"", result->is_diff ? "diff" : "orders");
    copy_text(json, "model", out);
    copy_text(json, "dataset", out);
    if (!json)
        strbuf_json_field_text(out, "error", e.text[0] ? e.text : "the file is no JSON");
    else if (result->is_diff)
        describe_diff(r, result->id, json, out);
    else
        describe_orders(r, result->id, json, out);
    strbuf_putc(out, '}');
    cJSON_Delete(json);
    free(path);
    strbuf_free(&text);
}

static void close_run(WebResults *r)
{
    pos_run_close(&r->run);
    free(r->open_id);
    free(r->open_dir);
    r->open_id = r->open_dir = NULL;
}

int web_results_scan(WebResults *r, Error *e)
{
    close_run(r);
    for (size_t i = 0; i < r->n; i++)
        free(r->list[i].id);
    r->n = 0;
    if (find_results(r, "", 0))
        return error_set(e, STATUS_FAILED, "%s: out of memory for the list of results", r->dir);
    if (r->n)
        qsort(r->list, r->n, sizeof *r->list, by_id);
    strbuf_reset(&r->listing);
    strbuf_puts(&r->listing, "{\"output_dir\": ");
    strbuf_json_string(&r->listing, r->dir, strlen(r->dir));
    strbuf_puts(&r->listing, ", \"results\": [");
    for (size_t i = 0; i < r->n; i++) {
        strbuf_puts(&r->listing, i ? ",\n" : "");
        describe(r, &r->list[i], &r->listing);
    }
    strbuf_puts(&r->listing, "]}\n");
    return r->listing.failed ? error_set(e, STATUS_FAILED, "%s: out of memory for the list of results", r->dir) : STATUS_OK;
}

int web_results_open(const char *output_dir, const char *pairs, WebResults **out, Error *e)
{
    WebResults *r = calloc(1, sizeof *r);
    if (!r || !(r->dir = strdup(output_dir)) || (pairs && !(r->pairs = strdup(pairs)))) {
        web_results_close(r);
        return error_set(e, STATUS_FAILED, "serve: out of memory");
    }
    int status = STATUS_OK;
    if (pairs && !file_exists(pairs))
        status = error_set(e, STATUS_USAGE, "--pairs %s: there is no such file", pairs);
    if (!status)
        status = web_results_scan(r, e);
    if (status)
        web_results_close(r);
    else
        *out = r;
    return status;
}

void web_results_close(WebResults *r)
{
    if (!r)
        return;
    close_run(r);
    for (size_t i = 0; i < r->n; i++)
        free(r->list[i].id);
    free(r->list);
    free(r->dir);
    free(r->pairs);
    strbuf_free(&r->listing);
    strbuf_free(&r->each_path);
    free(r);
}

/* -- tokens -- */

static int open_run(WebResults *r, const Result *result, Error *e)
{
    if (r->open_id && strcmp(r->open_id, result->id) == 0)
        return 0;
    close_run(r);
    r->open_id = strdup(result->id);
    r->open_dir = file_join(r->dir, result->id);
    if (!r->open_id || !r->open_dir)
        return 500;
    int status = pos_run_open(r->open_dir, &r->run, e);
    if (status)
        close_run(r);
    return status ? 500 : 0;
}

/* Tokens [first, end) of each window, the windows ascending on the token axis. */
static size_t window_end(const LedgerView *l, size_t first)
{
    size_t end = first + 1;
    while (end < l->n_tokens && l->window[end] == l->window[first])
        end++;
    return end;
}

/* A cut never splits a character. */
static size_t whole_characters(const char *text, size_t len, size_t most)
{
    if (len <= most)
        return len;
    while (most > 0 && ((unsigned char)text[most] & 0xC0) == 0x80)
        most--;
    return most;
}

static void write_windows(const PosRun *run, StrBuf *out)
{
    static const char *const kinds[] = {"plain", "heading", "body"};
    const LedgerView *l = &run->ledger;
    strbuf_printf(out, "{\"n_windows\": %zu, \"windows\": [", run->n_windows);
    for (size_t first = 0, end; first < l->n_tokens; first = end) {
        end = window_end(l, first);
        const PosRow *row = &run->rows[l->row[first]];
        size_t from =
            l->byte_start[first] <= (int64_t)row->len && row->n_tokens > end - first ? (size_t)l->byte_start[first] : 0;
        strbuf_printf(out, "%s{\"window\": %d, \"row\": %d, \"kind\": \"%s\", \"article\": ", first ? ",\n" : "",
                      l->window[first], l->row[first], kinds[row->kind]);
        row->article < 0 ? strbuf_puts(out, "null") : strbuf_printf(out, "%lld", (long long)row->article);
        strbuf_printf(out, ", \"n_tokens\": %zu, \"text\": ", end - first);
        strbuf_json_string(out, row->text ? row->text + from : "",
                           row->text ? whole_characters(row->text + from, row->len - from, PREVIEW_BYTES) : 0);
        strbuf_putc(out, '}');
    }
    strbuf_puts(out, "]}\n");
}

static void write_window(const PosRun *run, size_t first, size_t end, StrBuf *out)
{
    const LedgerView *l = &run->ledger;
    const PosRow *row = &run->rows[l->row[first]];
    size_t from = 0, to = row->len;
    if (row->n_tokens > end - first) { /* a part of the row: its own text only */
        from = (size_t)l->byte_start[first];
        to = (size_t)l->byte_end[end - 1];
    }
    strbuf_printf(out, "{\"window\": %d, \"row\": %d, \"first_byte\": %zu, \"text\": ", l->window[first], l->row[first], from);
    strbuf_json_string(out, row->text ? row->text + from : "", row->text ? to - from : 0);
    strbuf_puts(out, ", \"orders\": [");
    for (size_t o = 0; o < l->n_orders; o++) {
        strbuf_puts(out, o ? ", " : "");
        strbuf_json_string(out, run->orders[o].name, strlen(run->orders[o].name));
    }
    const char *const names[] = {"], \"start\": [", "], \"end\": [", "], \"ids\": ["};
    for (int k = 0; k < 3; k++) {
        strbuf_puts(out, names[k]);
        for (size_t t = first; t < end; t++) {
            long long value = k == 2 ? (long long)l->token_id[t]
                                     : (long long)((k ? l->byte_end : l->byte_start)[t]) - (row->text ? (long long)from : 0);
            strbuf_printf(out, "%s%lld", t > first ? "," : "", value);
        }
    }
    strbuf_puts(out, "], \"nll\": [");
    for (size_t o = 0; o < l->n_orders; o++) {
        strbuf_puts(out, o ? ",\n[" : "[");
        for (size_t t = first; t < end; t++) {
            double nll = ledger_view_nll(l, o, t);
            strbuf_puts(out, t > first ? "," : "");
            isfinite(nll) ? strbuf_printf(out, "%.5g", nll) : strbuf_puts(out, "null");
        }
        strbuf_putc(out, ']');
    }
    strbuf_puts(out, "], \"rank\": [");
    for (size_t o = 0; o < l->n_orders; o++) {
        strbuf_puts(out, o ? ",\n[" : "[");
        for (size_t t = first; t < end; t++)
            strbuf_printf(out, "%s%d", t > first ? "," : "", l->rank[o * l->n_tokens + t]);
        strbuf_putc(out, ']');
    }
    strbuf_puts(out, "]}\n");
}

/* "12.json" -> 12 */
static bool read_number(const char *text, const char *suffix, size_t *out)
{
    char *end;
    if (!isdigit((unsigned char)text[0]) || strlen(text) > 18)
        return false;
    *out = strtoul(text, &end, 10);
    return strcmp(end, suffix) == 0;
}

static int get_tokens(WebResults *r, const Result *result, const char *rest, StrBuf *out, Error *e)
{
    size_t window = 0;
    bool all = strcmp(rest, "windows.json") == 0;
    if (!all && !read_number(rest + strlen("tokens/"), ".json", &window)) {
        error_set(e, STATUS_USAGE, "expected tokens/W.json with the number of a window");
        return 400;
    }
    if (!has_file(r, result->id, "ledger.safetensors") || !has_file(r, result->id, "rows.jsonl")) {
        error_set(e, STATUS_USAGE, "this result has no ledger.safetensors with rows.jsonl");
        return 404;
    }
    int status = open_run(r, result, e);
    if (status)
        return status;
    if (all) {
        write_windows(&r->run, out);
        return 200;
    }
    const LedgerView *l = &r->run.ledger;
    for (size_t first = 0, end; first < l->n_tokens; first = end) {
        end = window_end(l, first);
        if ((size_t)l->window[first] == window) {
            write_window(&r->run, first, end, out);
            return 200;
        }
    }
    error_set(e, STATUS_USAGE, "there is no window %zu", window);
    return 404;
}

/* -- tensors -- */

static int open_maps(const char *dir, const char *id, TensorFile *out, Error *e)
{
    char *path = inside(dir, id, "diff.safetensors");
    if (!path) {
        error_set(e, STATUS_USAGE, "\"%.200s\" is no result with diff.safetensors", id);
        return STATUS_USAGE;
    }
    int status = tensor_file_open(path, out, e);
    free(path);
    return status;
}

static double *widen(const Tensor *t, size_t *n)
{
    size_t rows = 1, cols = t->n_dims ? t->shape[t->n_dims - 1] : 1;
    for (int i = 0; i + 1 < t->n_dims; i++)
        rows *= t->shape[i];
    *n = rows * cols;
    double *out = malloc(*n * sizeof *out + 1);
    float *narrow = malloc(cols * sizeof *narrow + 1);
    WeightPart part = {.data = t->data, .dtype = t->dtype, .rows = rows, .cols = cols, .stride = cols};
    for (size_t i = 0; out && narrow && i < rows; i++) {
        if (t->dtype == DTYPE_F64)
            memcpy(out + i * cols, (const char *)t->data + i * cols * sizeof(double), cols * sizeof(double));
        else
            convert_row_f32(&part, i, narrow);
        for (size_t k = 0; t->dtype != DTYPE_F64 && k < cols; k++)
            out[i * cols + k] = (double)narrow[k];
    }
    if (!narrow) {
        free(out);
        out = NULL;
    }
    free(narrow);
    return out;
}

static bool is_number(const Tensor *t)
{
    return t->dtype == DTYPE_F32 || t->dtype == DTYPE_F64 || t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16;
}

int web_results_map(const char *output_dir, const char *id, const char *name, double **out, size_t *n, Error *e)
{
    TensorFile file;
    *out = NULL;
    int status = open_maps(output_dir, id, &file, e);
    if (status)
        return status;
    const Tensor *t = tensor_file_find(&file, name);
    if (!t || !is_number(t))
        status = error_set(e, STATUS_USAGE, "\"%.200s\" has no tensor \"%.100s\" of numbers", id, name);
    else if (!(*out = widen(t, n)))
        status = error_set(e, STATUS_FAILED, "out of memory for \"%.100s\"", name);
    tensor_file_close(&file);
    return status;
}

static int get_maps(WebResults *r, const Result *result, const char *rest, StrBuf *out, const char **type, Error *e)
{
    TensorFile file;
    bool list = strcmp(rest, "maps.json") == 0;
    int status = open_maps(r->dir, result->id, &file, e);
    if (status)
        return status == STATUS_USAGE ? 404 : 500;
    status = 200;
    char name[256];
    snprintf(name, sizeof name, "%s", list ? "" : rest + strlen("maps/"));
    size_t len = strlen(name);
    bool named = len > 4 && strcmp(name + len - 4, ".f32") == 0;
    if (named)
        name[len - 4] = '\0';
    const Tensor *t = named ? tensor_file_find(&file, name) : NULL;
    size_t n = 0;
    double *values = NULL;
    if (list) {
        strbuf_puts(out, "{\"maps\": [");
        for (size_t i = 0; i < file.n_tensors; i++) {
            const Tensor *x = &file.tensors[i];
            strbuf_puts(out, i ? ", {\"name\": " : "{\"name\": ");
            strbuf_json_string(out, x->name, strlen(x->name));
            strbuf_puts(out, ", \"shape\": [");
            for (int d = 0; d < x->n_dims; d++)
                strbuf_printf(out, "%s%zu", d ? ", " : "", x->shape[d]);
            strbuf_puts(out, "]}");
        }
        strbuf_puts(out, "]}\n");
    } else if (!t || !is_number(t)) {
        error_set(e, STATUS_USAGE, "there is no map \"%.100s\"; maps.json lists them", name);
        status = 404;
    } else if (!(values = widen(t, &n))) {
        error_set(e, STATUS_FAILED, "out of memory for \"%.100s\"", name);
        status = 500;
    } else {
        *type = "application/octet-stream";
        for (size_t i = 0; i < n; i++) {
            float narrow = (float)values[i];
            uint32_t bits;
            memcpy(&bits, &narrow, sizeof bits);
            char bytes[4] = {(char)(bits & 255), (char)(bits >> 8 & 255), (char)(bits >> 16 & 255), (char)(bits >> 24)};
            strbuf_append(out, bytes, sizeof bytes);
        }
    }
    free(values);
    tensor_file_close(&file);
    return status;
}

/* -- pairs -- */

typedef struct PairFilter {
    const char *category, *template_id, *search, *error;
    size_t from, count;
} PairFilter;

static int read_filter(const WebParam *params, size_t n, PairFilter *f, Error *e)
{
    *f = (PairFilter){.count = MOST_PAIRS};
    for (size_t i = 0; i < n; i++) {
        const char *name = params[i].name, *value = params[i].value;
        const char **text = strcmp(name, "category") == 0   ? &f->category
                            : strcmp(name, "template") == 0 ? &f->template_id
                            : strcmp(name, "search") == 0   ? &f->search
                            : strcmp(name, "error") == 0    ? &f->error
                                                            : NULL;
        size_t *number = strcmp(name, "from") == 0 ? &f->from : strcmp(name, "count") == 0 ? &f->count : NULL;
        if (text)
            *text = value[0] ? value : NULL;
        else if (!number)
            return error_set(e, STATUS_USAGE,
                             "unknown parameter \"%.40s\"; expected category, template, search, error, from, count", name);
        else if (!read_number(value, "", number))
            return error_set(e, STATUS_USAGE, "\"%s\": expected a whole number", name);
    }
    if (f->category && pair_category_find(f->category) < 0)
        return error_set(e, STATUS_USAGE, "\"category\": there is no \"%.40s\"", f->category);
    if (f->error && strcmp(f->error, "a") != 0 && strcmp(f->error, "b") != 0 && strcmp(f->error, "none") != 0)
        return error_set(e, STATUS_USAGE, "\"error\": expected a, b or none");
    return STATUS_OK;
}

static bool matches(const Pair *p, const PairFilter *f)
{
    if (f->category && strcmp(pair_category_name(p->category), f->category) != 0)
        return false;
    if (f->template_id && strcmp(p->template_id, f->template_id) != 0)
        return false;
    if (f->search && !strcasestr(p->a, f->search) && !strcasestr(p->b, f->search))
        return false;
    return !f->error || (p->error_side ? p->error_side == f->error[0] && !f->error[1] : strcmp(f->error, "none") == 0);
}

static void write_pair(const Pair *p, size_t index, StrBuf *out)
{
    strbuf_printf(out, "{\"index\": %zu", index);
    strbuf_json_field_text(out, "a", p->a);
    strbuf_json_field_text(out, "b", p->b);
    strbuf_json_field_text(out, "category", pair_category_name(p->category));
    strbuf_json_field_text(out, "template", p->template_id);
    strbuf_puts(out, ", \"words\": [");
    strbuf_json_string(out, p->words[0], strlen(p->words[0]));
    strbuf_puts(out, ", ");
    strbuf_json_string(out, p->words[1], strlen(p->words[1]));
    strbuf_printf(out, "], \"edit_index\": %zu, \"onset_index\": ", p->edit_index);
    p->onset_index < 0 ? strbuf_puts(out, "null") : strbuf_printf(out, "%lld", (long long)p->onset_index);
    const char side[2] = {p->error_side, '\0'};
    strbuf_json_field_text(out, "error_side", p->error_side ? side : NULL);
    strbuf_printf(out, ", \"n_tokens\": %zu}", p->n_ids);
}

static int get_pairs(WebResults *r, const Result *result, const WebParam *params, size_t n_params, StrBuf *out, Error *e)
{
    PairFilter f;
    PairFile file;
    if (read_filter(params, n_params, &f, e))
        return 400;
    char *path = inside(r->dir, result->id, "pairs.jsonl");
    if (!path && r->pairs && result->is_diff)
        path = strdup(r->pairs);
    if (!path) {
        error_set(e, STATUS_USAGE, "this result has no pairs.jsonl");
        return 404;
    }
    int status = pair_file_read(path, 0, &file, e);
    free(path);
    if (status)
        return 500;
    size_t n_matching = 0, written = 0;
    StrBuf list = {0};
    for (size_t i = 0; i < file.n_pairs; i++) {
        if (!matches(&file.pairs[i], &f))
            continue;
        if (n_matching++ < f.from || written >= f.count || written >= MOST_PAIRS)
            continue;
        strbuf_puts(&list, written++ ? ",\n" : "");
        write_pair(&file.pairs[i], i, &list);
    }
    strbuf_printf(out, "{\"n_pairs\": %zu, \"n_matching\": %zu, \"from\": %zu, \"pairs\": [", file.n_pairs, n_matching, f.from);
    strbuf_append(out, list.data ? list.data : "", list.len);
    strbuf_puts(out, "]}\n");
    out->failed = out->failed || list.failed;
    strbuf_free(&list);
    pair_file_free(&file);
    return 200;
}

/* -- dispatch -- */

static const Result *find_result(const WebResults *r, const char *path, const char **rest)
{
    for (size_t i = 0; i < r->n; i++) {
        size_t len = strlen(r->list[i].id);
        if (strncmp(path, r->list[i].id, len) == 0 && path[len] == '/' && !strstr(path + len + 1, "//")) {
            *rest = path + len + 1;
            const char *slash = strchr(*rest, '/');
            if (!slash || strncmp(*rest, "tokens/", 7) == 0 || strncmp(*rest, "maps/", 5) == 0)
                return &r->list[i];
        }
    }
    return NULL;
}

int web_results_get(WebResults *r, const char *path, const WebParam *params, size_t n_params, StrBuf *out, const char **type,
                    Error *e)
{
    static const char *const files[] = {"ppl.json", "pos.json", "diff.json", "run.json"};
    if (strcmp(path, "results.json") == 0) {
        strbuf_append(out, r->listing.data, r->listing.len);
        return 200;
    }
    const char *rest;
    const Result *result = find_result(r, path + strlen("results/"), &rest);
    if (!result) {
        error_set(e, STATUS_USAGE, "there is no such result; api/results.json lists them");
        return 404;
    }
    if (strcmp(rest, "pairs.json") == 0)
        return get_pairs(r, result, params, n_params, out, e);
    if (strcmp(rest, "windows.json") == 0 || strncmp(rest, "tokens/", 7) == 0)
        return get_tokens(r, result, rest, out, e);
    if (strcmp(rest, "maps.json") == 0 || strncmp(rest, "maps/", 5) == 0)
        return get_maps(r, result, rest, out, type, e);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (strcmp(rest, files[i]) != 0)
            continue;
        char *file = inside(r->dir, result->id, files[i]);
        if (!file) {
            error_set(e, STATUS_USAGE, "this result has no %s", files[i]);
            return 404;
        }
        int status = file_read(file, MOST_FILE, out, e);
        free(file);
        return status ? 500 : 200;
    }
    error_set(e, STATUS_USAGE, "a result has no \"%.80s\"; tools/web/API.md lists what it has", rest);
    return 404;
}

/* The files of one result, in order: fixed names first, then its windows, then its maps. NULL behind the last. */
static const char *each_name(WebResults *r, const Result *result, size_t k, char *out, size_t room, Error *e)
{
    static const char *const fixed[] = {"ppl.json",     "pos.json",   "diff.json", "run.json",
                                        "windows.json", "pairs.json", "maps.json"};
    static const char *const needed[] = {"ppl.json",           "pos.json",    "diff.json",       "run.json",
                                         "ledger.safetensors", "pairs.jsonl", "diff.safetensors"};
    enum { N_FIXED = sizeof fixed / sizeof *fixed };
    if (k < N_FIXED) {
        bool own_pairs = result->is_diff && r->pairs && strcmp(fixed[k], "pairs.json") == 0;
        snprintf(out, room, "%s", own_pairs || has_file(r, result->id, needed[k]) ? fixed[k] : "");
        return out;
    }
    k -= N_FIXED;
    if (!result->is_diff && has_file(r, result->id, "ledger.safetensors")) {
        const LedgerView *l = &r->run.ledger;
        if (open_run(r, result, e))
            return NULL;
        for (size_t first = 0, i = 0; first < l->n_tokens; first = window_end(l, first), i++)
            if (i == k) {
                snprintf(out, room, "tokens/%d.json", l->window[first]);
                return out;
            }
        return NULL;
    }
    TensorFile file;
    if (!result->is_diff || !has_file(r, result->id, "diff.safetensors") || open_maps(r->dir, result->id, &file, e))
        return NULL;
    bool more = k < file.n_tensors;
    if (more)
        snprintf(out, room, "%s%s%s", is_number(&file.tensors[k]) ? "maps/" : "",
                 is_number(&file.tensors[k]) ? file.tensors[k].name : "", is_number(&file.tensors[k]) ? ".f32" : "");
    tensor_file_close(&file);
    return more ? out : NULL;
}

bool web_results_each(WebResults *r, const char **path, Error *e)
{
    char name[512];
    if (!r->each_begun) {
        r->each_begun = true;
        *path = "results.json";
        return true;
    }
    while (r->each_result < r->n) {
        const Result *result = &r->list[r->each_result];
        const char *found = each_name(r, result, r->each_file++, name, sizeof name, e);
        if (!found) {
            r->each_result++;
            r->each_file = 0;
        } else if (found[0]) {
            strbuf_reset(&r->each_path);
            strbuf_printf(&r->each_path, "results/%s/%s", result->id, found);
            *path = r->each_path.data;
            return !r->each_path.failed;
        }
    }
    return false;
}
