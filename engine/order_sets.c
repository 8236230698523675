/* order_sets.c: the experiments that generate orders, greedy stages, and files of orders. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/rng.h"
#include "engine/base/sha256.h"
#include "engine/order.h"

void order_set_free(OrderSet *s)
{
    if (!s)
        return;
    arena_free(&s->arena);
    memset(s, 0, sizeof *s);
}

typedef struct Builder {
    OrderSet *set;
    size_t cap;
    int n_layers;
    Error *error;
} Builder;

static int out_of_memory(Builder *b)
{
    return error_set(b->error, STATUS_FAILED, "orders: out of memory for %zu orders", b->set->n_orders + 1);
}

/* Adds a named order whose items are whole layers or halves. */
static int add(Builder *b, const char *name, const OrderItem *items, size_t n)
{
    OrderSet *s = b->set;
    if (s->n_orders == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 64;
        Order *orders = arena_array(&s->arena, cap, sizeof *orders);
        if (!orders)
            return out_of_memory(b);
        if (s->n_orders)
            memcpy(orders, s->orders, s->n_orders * sizeof *orders);
        s->orders = orders;
        b->cap = cap;
    }
    Order *o = &s->orders[s->n_orders];
    o->name = arena_strndup(&s->arena, name, strlen(name));
    o->items = arena_array(&s->arena, n ? n : 1, sizeof *o->items);
    if (!o->name || !o->items)
        return out_of_memory(b);
    if (n)
        memcpy(o->items, items, n * sizeof *items);
    o->n_items = n;
    StrBuf spec = {0};
    order_format(o, &spec);
    o->spec = spec.failed ? NULL : arena_strndup(&s->arena, spec.data ? spec.data : "", spec.len);
    strbuf_free(&spec);
    if (!o->spec)
        return out_of_memory(b);
    s->n_orders++;
    return STATUS_OK;
}

/* Scratch for one order: up to twice the layers. */
static OrderItem *intact_items(int n_layers)
{
    OrderItem *items = calloc(2 * (size_t)n_layers + 2, sizeof *items);
    for (int l = 0; items && l < n_layers; l++)
        items[l].layer = l;
    return items;
}

static int begin(Builder *b, OrderSet *out, int n_layers, Error *e)
{
    memset(out, 0, sizeof *out);
    *b = (Builder){.set = out, .n_layers = n_layers, .error = e};
    if (n_layers < 1)
        return error_set(e, STATUS_USAGE, "orders: a model of %d layers, expected at least 1", n_layers);
    OrderItem *items = intact_items(n_layers);
    int status = items ? add(b, "intact", items, (size_t)n_layers) : out_of_memory(b);
    free(items);
    return status;
}

/* Every order of an experiment is an edit of the intact one: write it into items and return their number. */
typedef size_t (*Edit)(OrderItem *items, int n_layers, int i, int n);

static size_t edit_block(OrderItem *items, int n_layers, int i, int n)
{
    memmove(items + i, items + i + n, (size_t)(n_layers - i - n) * sizeof *items);
    return (size_t)(n_layers - n);
}

static size_t edit_exchange(OrderItem *items, int n_layers, int i, int n)
{
    (void)n;
    items[i].layer = i + 1;
    items[i + 1].layer = i;
    return (size_t)n_layers;
}

static size_t edit_repeat(OrderItem *items, int n_layers, int i, int n)
{
    (void)n;
    memmove(items + i + 1, items + i, (size_t)(n_layers - i) * sizeof *items);
    return (size_t)n_layers + 1;
}

static size_t edit_half(OrderItem *items, int n_layers, int i, int n)
{
    items[i].part = (Part)n;
    return (size_t)n_layers;
}

static size_t edit_replace(OrderItem *items, int n_layers, int i, int n)
{
    items[i].layer = n;
    return (size_t)n_layers;
}

static size_t edit_parallel(OrderItem *items, int n_layers, int i, int n)
{
    for (int k = 1; k < n; k++)
        items[i + k].joins = true;
    return (size_t)n_layers;
}

static int add_edit(Builder *b, const char *name, Edit edit, int i, int n)
{
    OrderItem *items = intact_items(b->n_layers);
    if (!items)
        return out_of_memory(b);
    size_t n_items = edit(items, b->n_layers, i, n);
    int status = add(b, name, items, n_items);
    free(items);
    return status;
}

static int add_replacements(Builder *b, int i)
{
    int status = STATUS_OK;
    char name[64];
    for (int j = i - 1; !status && j <= i + 1; j += 2) {
        if (j < 0 || j >= b->n_layers)
            continue;
        snprintf(name, sizeof name, "replace_%d_by_%d", i, j);
        status = add_edit(b, name, edit_replace, i, j);
    }
    return status;
}

static int add_permutation(Builder *b, const char *name, bool reverse, uint64_t seed, uint64_t stream)
{
    size_t n = (size_t)b->n_layers;
    OrderItem *items = intact_items(b->n_layers);
    int32_t *layers = malloc(n * sizeof *layers);
    int status = items && layers ? STATUS_OK : out_of_memory(b);
    if (!status) {
        for (size_t i = 0; i < n; i++)
            layers[i] = (int32_t)(reverse ? n - 1 - i : i);
        Rng rng;
        rng_seed(&rng, seed, stream);
        if (!reverse)
            rng_shuffle(&rng, layers, n);
        for (size_t i = 0; i < n; i++)
            items[i].layer = layers[i];
        status = add(b, name, items, n);
    }
    free(items);
    free(layers);
    return status;
}

/* "block:3" with name "block" -> 3. A missing or bad count is an error that names the range. */
static int parse_count(const char *experiment, const char *name, int least, int most, int *n, bool *matches, Error *e)
{
    size_t len = strlen(name);
    *matches = strncmp(experiment, name, len) == 0 && (experiment[len] == ':' || !experiment[len]);
    if (!*matches)
        return STATUS_OK;
    char *end = NULL;
    long value = experiment[len] ? strtol(experiment + len + 1, &end, 10) : -1;
    if (!experiment[len] || end == experiment + len + 1 || *end || value < least || value > most)
        return error_set(e, STATUS_USAGE, "--experiment %s: expected %s:N with N from %d to %d", experiment, name, least, most);
    *n = (int)value;
    return STATUS_OK;
}

static int generate(Builder *b, const char *x, uint64_t seed)
{
    int n_layers = b->n_layers, n = 0, status = STATUS_OK;
    bool matches;
    char name[64];
    if (strcmp(x, "removal") == 0) {
        for (int i = 0; !status && i < n_layers; i++) {
            snprintf(name, sizeof name, "removal_%d", i);
            status = add_edit(b, name, edit_block, i, 1);
        }
        return status;
    }
    if (strcmp(x, "exchange") == 0) {
        for (int i = 0; !status && i + 1 < n_layers; i++) {
            snprintf(name, sizeof name, "exchange_%d_%d", i, i + 1);
            status = add_edit(b, name, edit_exchange, i, 0);
        }
        return status;
    }
    if (strcmp(x, "replace") == 0) {
        for (int i = 0; !status && i < n_layers; i++)
            status = add_replacements(b, i);
        return status;
    }
    if (strcmp(x, "repeat") == 0) {
        for (int i = 0; !status && i < n_layers; i++) {
            snprintf(name, sizeof name, "repeat_%d", i);
            status = add_edit(b, name, edit_repeat, i, 0);
        }
        return status;
    }
    if (strcmp(x, "attn-removal") == 0 || strcmp(x, "mlp-removal") == 0) {
        bool attn = x[0] == 'a';
        for (int i = 0; !status && i < n_layers; i++) {
            snprintf(name, sizeof name, "%s_removal_%d", attn ? "attn" : "mlp", i);
            status = add_edit(b, name, edit_half, i, attn ? PART_MLP : PART_ATTN);
        }
        return status;
    }
    if (strcmp(x, "reverse") == 0)
        return add_permutation(b, "reverse", true, 0, 0);
    if ((status = parse_count(x, "shuffle", 1, 100000, &n, &matches, b->error)) || matches) {
        for (int k = 0; !status && k < n; k++) {
            snprintf(name, sizeof name, "shuffle_%d", k);
            status = add_permutation(b, name, false, seed, (uint64_t)k);
        }
        return status;
    }
    bool parallel = strncmp(x, "parallel", 8) == 0;
    const char *kind = parallel ? "parallel" : "block";
    if ((status = parse_count(x, kind, parallel ? 2 : 1, n_layers, &n, &matches, b->error)) || matches) {
        for (int i = 0; !status && i + n <= n_layers; i++) {
            snprintf(name, sizeof name, "%s_%d_%d", kind, i, i + n - 1);
            status = add_edit(b, name, parallel ? edit_parallel : edit_block, i, n);
        }
        return status;
    }
    return error_set(
        b->error, STATUS_USAGE,
        "--experiment: unknown \"%.60s\", expected removal, exchange, block:N, replace, repeat, reverse, shuffle:K, "
        "attn-removal, mlp-removal, parallel:N or greedy:N",
        x);
}

static void set_path_part(OrderSet *s, const char *text)
{
    size_t i = 0;
    for (; text[i] && i + 1 < sizeof s->path_part; i++)
        s->path_part[i] = isalnum((unsigned char)text[i]) || text[i] == '-' || text[i] == '.' ? text[i] : '_';
    s->path_part[i] = '\0';
}

int orders_generate(const char *experiment, int n_layers, uint64_t seed, OrderSet *out, Error *e)
{
    Builder b;
    int status = begin(&b, out, n_layers, e);
    if (!status)
        status = generate(&b, experiment, seed);
    if (status)
        order_set_free(out);
    else
        set_path_part(out, experiment);
    return status;
}

bool orders_is_greedy(const char *experiment, int *n_stages)
{
    if (strncmp(experiment, "greedy", 6) != 0 || (experiment[6] && experiment[6] != ':'))
        return false;
    char *end;
    long n = experiment[6] ? strtol(experiment + 7, &end, 10) : 0;
    *n_stages = experiment[6] && end != experiment + 7 && !*end && n > 0 && n < 100000 ? (int)n : 0;
    return true;
}

/* Adds the candidates of the stage that comes after `removed`. */
static int add_stage(Builder *b, const int32_t *removed, size_t n_removed)
{
    OrderItem *items = calloc((size_t)b->n_layers, sizeof *items);
    int status = items ? STATUS_OK : out_of_memory(b);
    for (int i = 0; !status && i < b->n_layers; i++) {
        size_t n = 0;
        bool gone = false;
        for (int l = 0; l < b->n_layers; l++) {
            bool left_out = l == i;
            for (size_t k = 0; k < n_removed; k++)
                left_out = left_out || removed[k] == l;
            if (!left_out)
                items[n++].layer = l;
        }
        for (size_t k = 0; k < n_removed; k++)
            gone = gone || removed[k] == i;
        char name[64];
        snprintf(name, sizeof name, "greedy_%zu_%d", n_removed, i);
        if (!gone)
            status = add(b, name, items, n);
    }
    free(items);
    return status;
}

int orders_greedy_stage(int n_layers, const int32_t *removed, size_t n_removed, OrderSet *out, Error *e)
{
    Builder b;
    int status = begin(&b, out, n_layers, e);
    if (!status)
        status = add_stage(&b, removed, n_removed);
    if (status)
        order_set_free(out);
    return status;
}

int orders_greedy(int n_layers, const int32_t *removed, size_t n_stages, OrderSet *out, Error *e)
{
    Builder b;
    int status = begin(&b, out, n_layers, e);
    for (size_t stage = 0; !status && stage < n_stages; stage++)
        status = add_stage(&b, removed, stage);
    if (status)
        order_set_free(out);
    else
        snprintf(out->path_part, sizeof out->path_part, "greedy_%zu", n_stages);
    return status;
}

static int check_name(Builder *b, const char *name, const char *path, size_t line)
{
    for (size_t i = 0; i < b->set->n_orders; i++)
        if (strcmp(b->set->orders[i].name, name) == 0)
            return error_set(b->error, STATUS_USAGE, "%s: line %zu: the name \"%.60s\" is taken already", path, line, name);
    return STATUS_OK;
}

/* One line of an orders file, NUL-terminated: "spec" or "name: spec", '#' begins a comment. */
static int read_line(Builder *b, char *line, const char *path, size_t number)
{
    line[strcspn(line, "#")] = '\0';
    while (isspace((unsigned char)*line))
        line++;
    size_t len = strlen(line);
    while (len && isspace((unsigned char)line[len - 1]))
        line[--len] = '\0';
    if (!len)
        return STATUS_OK;
    char *colon = strchr(line, ':');
    const char *spec = colon ? colon + 1 : line;
    if (colon) {
        for (*colon = '\0'; colon > line && isspace((unsigned char)colon[-1]);)
            *--colon = '\0';
    }
    Arena scratch = {0};
    Order parsed;
    int status = order_parse(spec, b->n_layers, &scratch, &parsed, b->error);
    if (status)
        error_prefix(b->error, status, "%s: line %zu", path, number);
    const char *name = colon ? line : parsed.name;
    if (!status && !*name)
        status = error_set(b->error, STATUS_USAGE, "%s: line %zu: expected a name before the colon", path, number);
    if (!status)
        status = check_name(b, name, path, number);
    if (!status)
        status = add(b, name, parsed.items, parsed.n_items);
    arena_free(&scratch);
    return status;
}

static int read_file(Builder *b, const char *path)
{
    StrBuf text = {0};
    int status = file_read(path, (size_t)1 << 28, &text, b->error);
    size_t number = 0;
    for (char *at = text.data; !status && at && at < text.data + text.len;) {
        char *end = memchr(at, '\n', (size_t)(text.data + text.len - at));
        if (!end)
            end = text.data + text.len;
        number++;
        if (memchr(at, '\0', (size_t)(end - at)))
            status = error_set(b->error, STATUS_USAGE, "%s: line %zu: expected text, found a NUL byte", path, number);
        *end = '\0';
        if (!status)
            status = read_line(b, at, path, number);
        at = end + 1;
    }
    strbuf_free(&text);
    if (!status && b->set->n_orders == 1)
        status = error_set(b->error, STATUS_USAGE, "%s: no order in it, expected one a line", path);
    return status;
}

/* Whether a text that names no file can be meant as an order: those begin with a layer, a group or a shuffle. */
static bool begins_order(const char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    return !*text || isdigit((unsigned char)*text) || *text == '(' || strncmp(text, "shuffle", 7) == 0;
}

int orders_read(const char *spec_or_file, int n_layers, OrderSet *out, Error *e)
{
    Builder b;
    int status = begin(&b, out, n_layers, e);
    if (status)
        return status;
    char part[160];
    if (file_exists(spec_or_file) && !file_is_dir(spec_or_file)) {
        status = read_file(&b, spec_or_file);
        const char *base = file_basename(spec_or_file);
        snprintf(part, sizeof part, "orders_%.80s", base);
        char *dot = strrchr(part, '.');
        if (dot && dot > part + 7)
            *dot = '\0';
    } else if (!begins_order(spec_or_file)) {
        status = error_set(e, STATUS_USAGE,
                           "orders: \"%s\" is no file, and an order begins with a layer's number, \"(\" or \"shuffle(\"",
                           spec_or_file);
    } else {
        Arena scratch = {0};
        Order parsed;
        status = order_parse(spec_or_file, n_layers, &scratch, &parsed, e);
        if (!status) {
            Sha256 hash;
            char hex[65];
            sha256_begin(&hash);
            sha256_update(&hash, parsed.spec, strlen(parsed.spec));
            sha256_end(&hash, hex);
            snprintf(part, sizeof part, "orders_%.8s", hex);
            status = add(&b, parsed.name, parsed.items, parsed.n_items);
        }
        arena_free(&scratch);
    }
    if (status)
        order_set_free(out);
    else
        set_path_part(out, part);
    return status;
}
