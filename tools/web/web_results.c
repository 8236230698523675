/* web_results.c: see web_results.h. */
#include "tools/web/web_results_internal.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/file.h"
#include "kernels/convert.h"
#include "loaders/tensor_file.h"

enum { MOST_RESULTS = 2000, MOST_DEPTH = 5 };
static const size_t MOST_FILE = (size_t)256 << 20;

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
char *web_results_inside(const char *dir, const char *id, const char *name)
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

bool web_results_has(const WebResults *r, const char *id, const char *name)
{
    char *path = web_results_inside(r->dir, id, name);
    free(path);
    return path != NULL;
}

/* -- the listing -- */

static int add_result(WebResults *r, const char *id, bool is_diff)
{
    WebResult *list = realloc(r->list, (r->n + 1) * sizeof *list);
    if (!list)
        return STATUS_FAILED;
    r->list = list;
    list[r->n] = (WebResult){strdup(id), is_diff};
    if (!list[r->n].id)
        return STATUS_FAILED;
    r->n++;
    return STATUS_OK;
}

static int find_results(WebResults *r, const char *id, int depth)
{
    if (r->n >= MOST_RESULTS || depth > MOST_DEPTH)
        return STATUS_OK;
    if (id[0]) {
        bool orders = web_results_has(r, id, "ppl.json"), diff = web_results_has(r, id, "diff.json");
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
    return strcmp(((const WebResult *)a)->id, ((const WebResult *)b)->id);
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
    field_bool(out, "has_pos", web_results_has(r, id, "pos.json"));
    field_bool(out, "has_tokens", web_results_has(r, id, "ledger.safetensors") && web_results_has(r, id, "rows.jsonl"));
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
    field_bool(out, "has_pairs", r->pairs || web_results_has(r, id, "pairs.jsonl"));
    field_bool(out, "has_maps", web_results_has(r, id, "diff.safetensors"));
}

/* A result that cannot be read is listed with the reason. */
static void describe(const WebResults *r, const WebResult *result, StrBuf *out)
{
    StrBuf text = {0};
    Error e = {{0}};
    char *path = web_results_inside(r->dir, result->id, result->is_diff ? "diff.json" : "ppl.json");
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

void web_results_close_run(WebResults *r)
{
    pos_run_close(&r->run);
    free(r->open_id);
    free(r->open_dir);
    r->open_id = r->open_dir = NULL;
}

int web_results_scan(WebResults *r, Error *e)
{
    web_results_close_run(r);
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
    web_results_close_run(r);
    for (size_t i = 0; i < r->n; i++)
        free(r->list[i].id);
    free(r->list);
    free(r->dir);
    free(r->pairs);
    strbuf_free(&r->listing);
    strbuf_free(&r->each_path);
    free(r);
}

/* -- tensors -- */

static int open_maps(const char *dir, const char *id, TensorFile *out, Error *e)
{
    char *path = web_results_inside(dir, id, "diff.safetensors");
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

static int get_maps(WebResults *r, const WebResult *result, const char *rest, StrBuf *out, const char **type, Error *e)
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

/* -- dispatch -- */

static const WebResult *find_result(const WebResults *r, const char *path, const char **rest)
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
    const WebResult *result = find_result(r, path + strlen("results/"), &rest);
    if (!result) {
        error_set(e, STATUS_USAGE, "there is no such result; api/results.json lists them");
        return 404;
    }
    if (strcmp(rest, "pairs.json") == 0)
        return web_results_pairs(r, result, params, n_params, out, e);
    if (strcmp(rest, "windows.json") == 0 || strncmp(rest, "tokens/", 7) == 0)
        return web_results_tokens(r, result, rest, out, e);
    if (strcmp(rest, "maps.json") == 0 || strncmp(rest, "maps/", 5) == 0)
        return get_maps(r, result, rest, out, type, e);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (strcmp(rest, files[i]) != 0)
            continue;
        char *file = web_results_inside(r->dir, result->id, files[i]);
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
static const char *each_name(WebResults *r, const WebResult *result, size_t k, char *out, size_t room, Error *e)
{
    static const char *const fixed[] = {"ppl.json",     "pos.json",   "diff.json", "run.json",
                                        "windows.json", "pairs.json", "maps.json"};
    static const char *const needed[] = {"ppl.json",           "pos.json",    "diff.json",       "run.json",
                                         "ledger.safetensors", "pairs.jsonl", "diff.safetensors"};
    enum { N_FIXED = sizeof fixed / sizeof *fixed };
    if (k < N_FIXED) {
        bool own_pairs = result->is_diff && r->pairs && strcmp(fixed[k], "pairs.json") == 0;
        snprintf(out, room, "%s", own_pairs || web_results_has(r, result->id, needed[k]) ? fixed[k] : "");
        return out;
    }
    k -= N_FIXED;
    if (!result->is_diff && web_results_has(r, result->id, "ledger.safetensors")) {
        const LedgerView *l = &r->run.ledger;
        if (web_results_open_run(r, result, e))
            return NULL;
        for (size_t first = 0, i = 0; first < l->n_tokens; first = web_results_window_end(l, first), i++)
            if (i == k) {
                snprintf(out, room, "tokens/%d.json", l->window[first]);
                return out;
            }
        return NULL;
    }
    TensorFile file;
    if (!result->is_diff || !web_results_has(r, result->id, "diff.safetensors") || open_maps(r->dir, result->id, &file, e))
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
        const WebResult *result = &r->list[r->each_result];
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
