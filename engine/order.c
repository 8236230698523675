/* order.c: parsing and printing orders. The grammar is in order.h. */
#include "engine/order.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/rng.h"

enum { MAX_ITEMS = 100000, MAX_REPEAT = 1000 };

typedef struct Parser {
    const char *text, *at;
    int n_layers;
    OrderItem *items; /* malloc'ed while it grows */
    size_t n, cap;
    Error *error;
} Parser;

static void skip_space(Parser *p)
{
    while (isspace((unsigned char)*p->at))
        p->at++;
}

static int fail(Parser *p, const char *expected)
{
    char found[24] = "the end";
    if (*p->at)
        snprintf(found, sizeof found, "\"%.12s\"", p->at);
    return error_set(p->error, STATUS_USAGE, "order \"%.200s\": column %zu: expected %s, found %s", p->text,
                     (size_t)(p->at - p->text) + 1, expected, found);
}

static bool accept(Parser *p, char c)
{
    skip_space(p);
    if (*p->at != c)
        return false;
    p->at++;
    return true;
}

static int parse_number(Parser *p, const char *what, uint64_t *out)
{
    skip_space(p);
    if (!isdigit((unsigned char)*p->at))
        return fail(p, what);
    const char *start = p->at;
    *out = 0;
    for (; isdigit((unsigned char)*p->at); p->at++) {
        if (__builtin_mul_overflow(*out, 10u, out) || __builtin_add_overflow(*out, (uint64_t)(*p->at - '0'), out)) {
            p->at = start;
            return fail(p, "a number below 2^64");
        }
    }
    return STATUS_OK;
}

static int parse_layer(Parser *p, int32_t *out)
{
    skip_space(p);
    const char *start = p->at;
    uint64_t value;
    int status = parse_number(p, "a layer index", &value);
    if (status)
        return status;
    if (value >= (uint64_t)p->n_layers)
        return error_set(p->error, STATUS_USAGE,
                         "order \"%.200s\": column %zu: layer %llu, expected 0 to %d: the model has %d layers", p->text,
                         (size_t)(start - p->text) + 1, (unsigned long long)value, p->n_layers - 1, p->n_layers);
    *out = (int32_t)value;
    return STATUS_OK;
}

static int push(Parser *p, OrderItem item)
{
    if (p->n == MAX_ITEMS)
        return error_set(p->error, STATUS_USAGE, "order \"%.200s\": more than %d items", p->text, MAX_ITEMS);
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 64;
        OrderItem *items = realloc(p->items, cap * sizeof *items);
        if (!items)
            return error_set(p->error, STATUS_FAILED, "order: out of memory for %zu items", cap);
        p->items = items;
        p->cap = cap;
    }
    p->items[p->n++] = item;
    return STATUS_OK;
}

static int parse_part(Parser *p, Part *out)
{
    *out = PART_BOTH;
    if (!accept(p, '.'))
        return STATUS_OK;
    if (strncmp(p->at, "attn", 4) == 0) {
        *out = PART_ATTN;
        p->at += 4;
        return STATUS_OK;
    }
    if (strncmp(p->at, "mlp", 3) == 0) {
        *out = PART_MLP;
        p->at += 3;
        return STATUS_OK;
    }
    return fail(p, "\"attn\" or \"mlp\" after the point");
}

static int parse_member(Parser *p, OrderItem *out)
{
    int status = parse_layer(p, &out->layer);
    return status ? status : parse_part(p, &out->part);
}

/* The members after the first, which is given; separator '+' or '|'. */
static int parse_group(Parser *p, OrderItem first, char separator)
{
    int status = push(p, first);
    while (!status && accept(p, separator)) {
        OrderItem item = {.joins = true};
        if (!(status = parse_member(p, &item)))
            status = push(p, item);
    }
    return status;
}

static int parse_shuffle(Parser *p)
{
    int32_t from, to;
    uint64_t seed = 0;
    int status = accept(p, '(') ? parse_layer(p, &from) : fail(p, "\"(\"");
    if (!status)
        status = accept(p, '-') ? parse_layer(p, &to) : fail(p, "\"-\"");
    if (!status && to < from)
        status = fail(p, "an ascending range");
    if (!status && accept(p, ',')) {
        skip_space(p);
        if (strncmp(p->at, "seed", 4) != 0)
            return fail(p, "\"seed=\"");
        p->at += 4;
        status = accept(p, '=') ? parse_number(p, "a seed", &seed) : fail(p, "\"=\"");
    }
    if (!status && !accept(p, ')'))
        status = fail(p, "\")\"");
    if (status)
        return status;
    size_t n = (size_t)(to - from) + 1;
    int32_t *layers = malloc(n * sizeof *layers);
    if (!layers)
        return error_set(p->error, STATUS_FAILED, "order: out of memory");
    for (size_t i = 0; i < n; i++)
        layers[i] = from + (int32_t)i;
    Rng rng;
    rng_seed(&rng, seed, 0);
    rng_shuffle(&rng, layers, n);
    for (size_t i = 0; !status && i < n; i++)
        status = push(p, (OrderItem){.layer = layers[i]});
    free(layers);
    return status;
}

static int parse_range(Parser *p, int32_t from)
{
    int32_t to;
    int status = parse_layer(p, &to);
    int32_t step = to >= from ? 1 : -1;
    for (int32_t l = from; !status; l += step) {
        status = push(p, (OrderItem){.layer = l});
        if (l == to)
            break;
    }
    return status;
}

static int parse_term(Parser *p)
{
    OrderItem item = {0};
    skip_space(p);
    if (strncmp(p->at, "shuffle", 7) == 0) {
        p->at += 7;
        return parse_shuffle(p);
    }
    if (accept(p, '(')) {
        int status = parse_member(p, &item);
        size_t before = p->n;
        if (!status)
            status = parse_group(p, item, '|');
        if (!status && p->n == before + 1)
            status = fail(p, "\"|\" and another layer");
        if (!status && !accept(p, ')'))
            status = fail(p, "\"|\" or \")\"");
        return status;
    }
    int status = parse_layer(p, &item.layer);
    if (status)
        return status;
    if (accept(p, '-'))
        return parse_range(p, item.layer);
    if ((status = parse_part(p, &item.part)))
        return status;
    skip_space(p);
    if (*p->at == '+')
        return parse_group(p, item, '+');
    uint64_t count = 1;
    if (*p->at == 'x' || *p->at == '*') {
        p->at++;
        skip_space(p);
        const char *start = p->at;
        if ((status = parse_number(p, "a count", &count)))
            return status;
        if (count < 1 || count > MAX_REPEAT) {
            p->at = start;
            return fail(p, "a count from 1 to 1000");
        }
    }
    for (uint64_t i = 0; !status && i < count; i++)
        status = push(p, item);
    return status;
}

static int set_spec(Arena *arena, Order *o, Error *e)
{
    StrBuf spec = {0};
    order_format(o, &spec);
    o->spec = spec.failed ? NULL : arena_strndup(arena, spec.data ? spec.data : "", spec.len);
    strbuf_free(&spec);
    if (!o->spec)
        return error_set(e, STATUS_FAILED, "order: out of memory");
    if (!o->name)
        o->name = o->spec;
    return STATUS_OK;
}

int order_parse(const char *text, int n_layers, Arena *arena, Order *out, Error *e)
{
    Parser p = {.text = text, .at = text, .n_layers = n_layers, .error = e};
    memset(out, 0, sizeof *out);
    int status = STATUS_OK;
    skip_space(&p);
    if (*p.at) {
        do {
            status = parse_term(&p);
        } while (!status && accept(&p, ','));
        skip_space(&p);
        if (!status && *p.at)
            status = fail(&p, "\",\" or the end");
    }
    if (!status) {
        out->items = arena_array(arena, p.n ? p.n : 1, sizeof *out->items);
        if (!out->items)
            status = error_set(e, STATUS_FAILED, "order: out of memory for %zu items", p.n);
    }
    if (!status) {
        if (p.n)
            memcpy(out->items, p.items, p.n * sizeof *p.items);
        out->n_items = p.n;
        status = set_spec(arena, out, e);
    }
    free(p.items);
    return status;
}

static void format_member(const OrderItem *item, StrBuf *out)
{
    strbuf_printf(out, "%d%s", item->layer, item->part == PART_ATTN ? ".attn" : item->part == PART_MLP ? ".mlp" : "");
}

/* A whole layer that stands alone: neither joins nor is joined. */
static bool plain(const Order *o, size_t i)
{
    return o->items[i].part == PART_BOTH && !o->items[i].joins && !(i + 1 < o->n_items && o->items[i + 1].joins);
}

static bool repeats(const Order *o, size_t i)
{
    return i + 1 < o->n_items && plain(o, i + 1) && o->items[i + 1].layer == o->items[i].layer;
}

/* Items from i on that step by `step`, each a plain whole layer; a range ends before a layer that is repeated. */
static size_t range_length(const Order *o, size_t i, int32_t step)
{
    size_t n = 1;
    while (i + n < o->n_items && plain(o, i + n) && o->items[i + n].layer == o->items[i + n - 1].layer + step &&
           !repeats(o, i + n))
        n++;
    return n;
}

static size_t repeat_length(const Order *o, size_t i)
{
    size_t n = 1;
    while (n < MAX_REPEAT && i + n < o->n_items && !o->items[i + n].joins && o->items[i + n].layer == o->items[i].layer &&
           o->items[i + n].part == o->items[i].part && !(i + n + 1 < o->n_items && o->items[i + n + 1].joins))
        n++;
    return n;
}

void order_format(const Order *o, StrBuf *out)
{
    for (size_t i = 0; i < o->n_items;) {
        if (i)
            strbuf_putc(out, ',');
        size_t n = 1;
        bool grouped = i + 1 < o->n_items && o->items[i + 1].joins;
        if (!grouped && plain(o, i)) {
            size_t up = range_length(o, i, 1), down = range_length(o, i, -1);
            n = up > down ? up : down;
        }
        if (n >= 3) {
            strbuf_printf(out, "%d-%d", o->items[i].layer, o->items[i + n - 1].layer);
            i += n;
            continue;
        }
        format_member(&o->items[i], out);
        n = grouped ? 1 : repeat_length(o, i);
        if (n > 1)
            strbuf_printf(out, "x%zu", n);
        while (grouped && i + n < o->n_items && o->items[i + n].joins) {
            strbuf_putc(out, '+');
            format_member(&o->items[i + n++], out);
        }
        i += n;
    }
}

bool order_equal(const Order *a, const Order *b)
{
    if (a->n_items != b->n_items)
        return false;
    for (size_t i = 0; i < a->n_items; i++)
        if (a->items[i].layer != b->items[i].layer || a->items[i].part != b->items[i].part ||
            a->items[i].joins != b->items[i].joins)
            return false;
    return true;
}

bool order_is_index_array(const Order *o)
{
    for (size_t i = 0; i < o->n_items; i++)
        if (!plain(o, i))
            return false;
    return true;
}
