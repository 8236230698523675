/* compare_input.c: the files that are compared, read and held against each other. The first difference that forbids a comparison is
 * the error. */
#include "experiments/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "engine/base/file.h"
#include "experiments/layer_axis.h"
#include "experiments/model_name.h"
#include "experiments/result_file.h"

#define SCHEMA_PPL "strata.ppl/1"

static const CompareChange no_change = {NAN, NAN, NAN, NAN, NAN};

static const char *keep(Arena *arena, const char *s)
{
    return s ? arena_strndup(arena, s, strlen(s)) : NULL;
}

/* ---- one file ---- */

static int read_pair(const ResultNode *order, const char *field, double *lo, double *hi, Error *e)
{
    double pair[2] = {NAN, NAN};
    int status = result_has(order, field) ? result_numbers(order, field, pair, 2, e) : STATUS_OK;
    *lo = pair[0];
    *hi = pair[1];
    return status;
}

static int read_order(Arena *arena, const CompareResult *r, const ResultNode *node, CompareOrder *o, Error *e)
{
    const char *name = NULL;
    int64_t index = 0;
    int status = result_string(node, "name", &name, e);
    if (!status)
        status = result_integer(node, "ledger_index", &index, e);
    if (!status)
        status = result_number(node, "nll", &o->nll, e);
    if (!status)
        status = result_number(node, "ppl", &o->ppl, e);
    if (!status)
        status = result_number(node, "top1_accuracy", &o->top1_accuracy, e);
    if (!status)
        status = result_number(node, "agreement", &o->agreement, e);
    if (!status)
        status = result_number(node, "kl", &o->kl, e);
    o->nll_change = o->bits_change = o->word_change = no_change;
    if (!status)
        status = result_number(node, "delta_nll", &o->nll_change.delta, e);
    if (!status)
        status = read_pair(node, "delta_nll_ci95", &o->nll_change.lo, &o->nll_change.hi, e);
    if (!status)
        status =
            read_pair(node, "delta_nll_ci95_simultaneous", &o->nll_change.lo_simultaneous, &o->nll_change.hi_simultaneous, e);
    if (status)
        return status;
    if (index < 0)
        return error_set(e, STATUS_FAILED, "%s: %s.ledger_index: expected at least 0, found %lld", node->path, node->where,
                         (long long)index);
    o->name = keep(arena, name);
    o->ledger_index = (size_t)index;
    o->place = layer_axis_label(r->experiment) ? layer_axis_place(r->experiment, name) : NAN;
    o->depth = layer_axis_relative(o->place, r->n_layers);
    /* 0 to 1 by construction; a hair of rounding must not open an eleventh bin. */
    o->bin = isnan(o->depth) || o->depth < 0 ? -1
             : o->depth >= 1                 ? COMPARE_BINS - 1
                                             : (int)floor(o->depth * COMPARE_BINS + 1e-9);
    return o->name ? STATUS_OK : error_set(e, STATUS_FAILED, "%s: no memory for orders", node->path);
}

static const char *hash_of(Arena *arena, const ResultNode *hashes, const char *name)
{
    const char *value = NULL;
    return result_has(hashes, name) && result_string(hashes, name, &value, NULL) == STATUS_OK ? keep(arena, value) : NULL;
}

static int read_protocol(Arena *arena, CompareResult *r, const ResultNode *root, Error *e)
{
    ResultNode protocol, hashes;
    const char *text = NULL;
    int status = result_child(root, "protocol", &protocol, e);
    if (!status)
        status = result_string(&protocol, "name", &text, e);
    r->protocol = keep(arena, text);
    if (!status)
        status = result_child(&protocol, "hashes", &hashes, e);
    if (status)
        return status;
    r->rows_sha256 = hash_of(arena, &hashes, "rows_sha256");
    r->ids_sha256 = hash_of(arena, &hashes, "ids_sha256");
    if (!r->rows_sha256)
        return error_set(e, STATUS_FAILED, "%s: protocol.hashes.rows_sha256: expected a hash of the rows, found none", r->file);
    /* What only describes: absent in files of other programs, then unknown. */
    double number = NAN;
    r->unit = result_string(&protocol, "bootstrap_unit", &text, NULL) == STATUS_OK ? keep(arena, text) : "window";
    r->dtype = result_string(&protocol, "dtype", &text, NULL) == STATUS_OK ? keep(arena, text) : "";
    r->numerics = result_string(&protocol, "numerics", &text, NULL) == STATUS_OK ? keep(arena, text) : "";
    r->context = result_number(&protocol, "context", &number, NULL) == STATUS_OK && number > 0 ? (int64_t)number : 0;
    r->seed = result_number(&protocol, "seed", &number, NULL) == STATUS_OK && number > 0 ? (int64_t)number : 0;
    r->n_resamples = result_number(&protocol, "n_resamples", &number, NULL) == STATUS_OK && number > 1 && number <= 1e6
                         ? (int64_t)number
                         : 0;
    r->bos = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(protocol.json, "bos"));
    return STATUS_OK;
}

static int read_orders(Arena *arena, CompareResult *r, const ResultNode *root, Error *e)
{
    ResultNode baseline, steps, list, item = {0};
    int status = result_child(root, "baseline", &baseline, e);
    if (!status)
        status = result_child(&baseline, "steps", &steps, e);
    if (!status)
        status = result_child(root, "orders", &list, e);
    if (status)
        return status;
    r->n_layers = (int)result_length(&steps); /* the intact model runs every layer once */
    r->share = r->n_layers ? (double)r->layers_at_once / r->n_layers : NAN;
    size_t n = result_length(&list);
    if (!n || !r->n_layers)
        return error_set(e, STATUS_FAILED, "%s: %s: expected at least one, found none", r->file,
                         n ? "baseline.steps" : "orders");
    status = read_order(arena, r, &baseline, &r->intact, e);
    r->orders = arena_array(arena, n, sizeof *r->orders);
    if (!r->orders)
        return error_set(e, STATUS_FAILED, "%s: no memory for %zu orders", r->file, n);
    while (!status && result_each(&list, &item))
        status = read_order(arena, r, &item, &r->orders[r->n_orders++], e);
    return status;
}

/* "block:5" -> 5; 1 for any experiment without such a number or where it means something else. */
static int layers_at_once(const char *experiment)
{
    const char *colon = strchr(experiment, ':');
    bool counts = strncmp(experiment, "block:", 6) == 0 || strncmp(experiment, "parallel:", 9) == 0;
    int n = counts && colon ? atoi(colon + 1) : 1;
    return n > 0 ? n : 1;
}

/* The ppl.json that a path means: itself, the one in a folder, the one beside a pos.json. */
static int find_file(Arena *arena, const char *path, CompareResult *r, Error *e)
{
    const char *base = file_basename(path), *schema = NULL;
    char *dir = NULL, *file = NULL;
    int status = STATUS_OK;
    if (file_is_dir(path)) {
        dir = strdup(path);
        for (size_t n = dir ? strlen(dir) : 0; n > 1 && dir[n - 1] == '/'; n--)
            dir[n - 1] = '\0';
    } else {
        dir = base == path ? strdup(".") : strndup(path, (size_t)(base - path - (base - path > 1)));
        ResultFile any = {0};
        status = result_file_open(path, NULL, &any, e);
        if (!status)
            status = result_string(&any.root, "schema", &schema, e);
        if (!status && strncmp(schema, "strata.diff", 11) == 0)
            status = error_set(e, STATUS_USAGE, "%s: a diff.json of pairs, expected ppl.json or pos.json of a sweep", path);
        else if (!status && strcmp(schema, SCHEMA_PPL) == 0)
            file = strdup(path);
        else if (!status && strncmp(schema, "strata.pos", 10) != 0)
            status = error_set(e, STATUS_FAILED, "%s: schema: expected " SCHEMA_PPL " or strata.pos.1, found %s", path, schema);
        result_file_close(&any);
    }
    if (!status && dir && !file)
        file = file_join(dir, "ppl.json");
    r->dir = keep(arena, dir);
    r->file = keep(arena, file);
    free(dir);
    free(file);
    if (!status && (!r->dir || !r->file))
        status = error_set(e, STATUS_FAILED, "%s: no memory", path);
    return status;
}

int compare_result_read(const char *path, Arena *arena, CompareResult *r, Error *e)
{
    ResultFile file = {0};
    const char *model = NULL, *dataset = NULL, *experiment = NULL;
    char name[MODEL_NAME_BYTES];
    int status = find_file(arena, path, r, e);
    if (!status)
        status = result_file_open(r->file, SCHEMA_PPL, &file, e);
    if (!status)
        status = result_string(&file.root, "model", &model, e);
    if (!status)
        status = result_string(&file.root, "dataset", &dataset, e);
    if (!status)
        status = result_string(&file.root, "experiment", &experiment, e);
    if (!status)
        status = result_integer(&file.root, "n_tokens", &r->n_tokens, e);
    r->model = keep(arena, model);
    r->name = model ? keep(arena, model_name_short(model, name)) : NULL;
    r->dataset = keep(arena, dataset);
    r->experiment = keep(arena, experiment);
    if (!status && (!r->model || !r->name || !r->dataset || !r->experiment))
        status = error_set(e, STATUS_FAILED, "%s: no memory", r->file);
    if (!status)
        r->layers_at_once = layers_at_once(r->experiment);
    if (!status)
        status = read_protocol(arena, r, &file.root, e);
    if (!status)
        status = read_orders(arena, r, &file.root, e);
    result_file_close(&file);
    return status;
}

/* ---- all files ---- */

/* Experiments that may stand beside each other have one family. */
static void family_of(const char *experiment, char out[64])
{
    snprintf(out, 64, "%s", experiment);
    if (strncmp(out, "block", 5) == 0)
        snprintf(out, 64, "removal");
    else if (strncmp(out, "parallel", 8) == 0)
        snprintf(out, 64, "parallel");
}

static int check_experiment(Compare *c, const CompareResult *r, Error *e)
{
    char wanted[64], found[64];
    if (!c->experiment)
        c->experiment = c->options->experiment ? c->options->experiment : r->experiment;
    family_of(c->experiment, wanted);
    family_of(r->experiment, found);
    return strcmp(wanted, found) == 0
               ? STATUS_OK
               : error_set(e, STATUS_USAGE, "%s: experiment: expected %s%s, found %s", r->file, c->experiment,
                           c->options->experiment ? "" : " as in the first file", r->experiment);
}

/* Which row is the first that differs, or nothing when that cannot be told. */
static void find_row(const CompareResult *a, const CompareResult *b, char out[160])
{
    CompareRows x = {0}, y = {0};
    char *path_a = file_join(a->dir, "rows.jsonl"), *path_b = file_join(b->dir, "rows.jsonl");
    out[0] = '\0';
    if (path_a && path_b && compare_rows_read(path_a, &x, NULL) == STATUS_OK &&
        compare_rows_read(path_b, &y, NULL) == STATUS_OK) {
        size_t n = x.n_rows < y.n_rows ? x.n_rows : y.n_rows, r = 0;
        while (r < n && x.start[r + 1] - x.start[r] == y.start[r + 1] - y.start[r] &&
               (x.start[r + 1] == x.start[r] ||
                memcmp(x.text.data + x.start[r], y.text.data + y.start[r], x.start[r + 1] - x.start[r]) == 0))
            r++;
        if (r < n)
            snprintf(out, 160, " (row %zu is the first that differs)", r);
        else if (x.n_rows != y.n_rows)
            snprintf(out, 160, " (%zu and %zu rows)", x.n_rows, y.n_rows);
    }
    compare_rows_free(&x);
    compare_rows_free(&y);
    free(path_a);
    free(path_b);
}

static int check_rows(const CompareResult *a, const CompareResult *b, Error *e)
{
    char row[160];
    if (strcmp(a->protocol, b->protocol) != 0)
        return error_set(e, STATUS_USAGE, "%s: protocol.name: expected %s as in %s, found %s", b->file, a->protocol, a->file,
                         b->protocol);
    if (strcmp(a->rows_sha256, b->rows_sha256) == 0)
        return STATUS_OK;
    find_row(a, b, row);
    return error_set(e, STATUS_USAGE,
                     "%s: protocol.hashes.rows_sha256: expected %.12s... as in %s, found %.12s...: models are compared on the "
                     "same rows only%s",
                     b->file, a->rows_sha256, a->file, b->rows_sha256, row);
}

static int label_all(Compare *c, Error *e)
{
    bool mixed = false;
    char text[300];
    const char *labels[COMPARE_MAX];
    for (size_t i = 1; i < c->n; i++)
        mixed = mixed || strcmp(c->results[i].experiment, c->results[0].experiment) != 0;
    for (size_t i = 0; i < c->n; i++) {
        CompareResult *r = &c->results[i];
        int used = snprintf(text, sizeof text, "%s", r->name);
        if (mixed)
            snprintf(text + used, sizeof text - (size_t)used, " (%d of %d layers)", r->layers_at_once, r->n_layers);
        model_name_tell_apart(labels, i, text, sizeof text);
        r->label = keep(&c->arena, text);
        if (!r->label)
            return error_set(e, STATUS_FAILED, "compare: no memory");
        labels[i] = r->label;
    }
    return STATUS_OK;
}

static void note_differences(Compare *c)
{
    const CompareResult *a = &c->results[0];
    for (size_t i = 1; i < c->n; i++) {
        const CompareResult *b = &c->results[i];
        if (a->context != b->context)
            strbuf_printf(&c->notes, "contexts differ: %lld tokens for %s, %lld for %s\n", (long long)a->context, a->label,
                          (long long)b->context, b->label);
        if (a->bos != b->bos)
            strbuf_printf(&c->notes, "the beginning-of-sequence token is read by %s, not by %s\n", a->bos ? a->label : b->label,
                          a->bos ? b->label : a->label);
        if (strcmp(a->dtype, b->dtype) != 0 || strcmp(a->numerics, b->numerics) != 0)
            strbuf_printf(&c->notes, "arithmetics differ: %s %s for %s, %s %s for %s\n", a->dtype, a->numerics, a->label,
                          b->dtype, b->numerics, b->label);
    }
}

static int choose_depth(Compare *c, Error *e)
{
    const char *depth = c->options->depth;
    bool same = true;
    c->has_axis = layer_axis_label(c->experiment) != NULL;
    for (size_t i = 1; i < c->n; i++)
        same = same && c->results[i].n_layers == c->results[0].n_layers;
    if (depth && strcmp(depth, "absolute") != 0 && strcmp(depth, "relative") != 0)
        return error_set(e, STATUS_USAGE, "--depth: expected absolute or relative, found \"%s\"", depth);
    c->relative = depth ? strcmp(depth, "relative") == 0 : !same;
    return STATUS_OK;
}

int compare_open(Compare *c, Error *e)
{
    const StrataCompareOptions *o = c->options;
    if (o->n_json_files < 2)
        return error_set(e, STATUS_USAGE, "--json_files: expected two ppl.json or more, found %zu", o->n_json_files);
    if (o->n_json_files > COMPARE_MAX)
        return error_set(e, STATUS_USAGE, "--json_files: expected at most %d files, found %zu", COMPARE_MAX, o->n_json_files);
    int status = STATUS_OK;
    c->same_tokens = true;
    for (size_t i = 0; !status && i < o->n_json_files; i++) {
        CompareResult *r = &c->results[i];
        status = compare_result_read(o->json_files[i], &c->arena, r, e);
        if (!status)
            status = check_experiment(c, r, e);
        if (!status && i)
            status = check_rows(&c->results[0], r, e);
        const char *ids = c->results[0].ids_sha256;
        c->same_tokens = c->same_tokens && ids && r->ids_sha256 && strcmp(ids, r->ids_sha256) == 0;
        c->n = i + 1;
    }
    if (!status)
        status = choose_depth(c, e);
    if (!status)
        status = label_all(c, e);
    if (!status)
        note_differences(c);
    return status;
}
