/* web_ask.c: see web_ask.h. A table says which keys an endpoint has; what is not in it is an error, so that a misspelt key is found
 * at once. */
#include "tools/web/web_ask.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/base/sha256.h"
#include "experiments/lab.h"

typedef enum KeyType { KEY_TEXT, KEY_NAME, KEY_WORD, KEY_ORDER, KEY_IDS, KEY_INTEGER, KEY_BOOL, KEY_DIMS } KeyType;

typedef struct Key {
    const char *name;
    unsigned kinds; /* bit k: endpoint k has it */
    KeyType type;
    size_t offset;
    int64_t least, most;
} Key;

#define BIT(kind) (1u << (kind))
#define ON_TEXT (BIT(WEB_RUN) | BIT(WEB_LENS) | BIT(WEB_STREAM) | BIT(WEB_ATTENTION) | BIT(WEB_ROUTER) | BIT(WEB_ARITHMETIC))
#define LIVE (ON_TEXT | BIT(WEB_TOKENIZE) | BIT(WEB_PAIR) | BIT(WEB_ABLATE))
#define AT(field) offsetof(WebAsk, field)
#define FAR ((int64_t)1 << 31)

static const Key keys[] = {
    {"text", ON_TEXT | BIT(WEB_TOKENIZE) | BIT(WEB_ABLATE), KEY_TEXT, AT(text), 0, 0},
    {"ids", ON_TEXT | BIT(WEB_ABLATE), KEY_IDS, AT(ids), 0, 0},
    {"a", BIT(WEB_PAIR) | BIT(WEB_ABLATE), KEY_TEXT, AT(a), 0, 0},
    {"b", BIT(WEB_PAIR) | BIT(WEB_ABLATE), KEY_TEXT, AT(b), 0, 0},
    {"order", ON_TEXT | BIT(WEB_PAIR) | BIT(WEB_ABLATE), KEY_ORDER, AT(order), 0, 0},
    {"client", LIVE | BIT(WEB_CANCEL), KEY_NAME, AT(client), 0, 0},
    {"slot", LIVE | BIT(WEB_CANCEL), KEY_NAME, AT(slot), 0, 0},
    {"top", BIT(WEB_RUN), KEY_INTEGER, AT(top), 1, LAB_TOP},
    {"top", BIT(WEB_LENS), KEY_INTEGER, AT(top), 1, 20},
    {"intact", BIT(WEB_RUN), KEY_BOOL, AT(with_intact), 0, 0},
    {"position", BIT(WEB_LENS) | BIT(WEB_ARITHMETIC), KEY_INTEGER, AT(position), 0, FAR},
    {"step", BIT(WEB_ATTENTION) | BIT(WEB_ARITHMETIC), KEY_INTEGER, AT(step), 0, FAR},
    {"head", BIT(WEB_ATTENTION) | BIT(WEB_ARITHMETIC), KEY_INTEGER, AT(head), 0, FAR},
    {"key", BIT(WEB_ARITHMETIC), KEY_INTEGER, AT(key), 0, FAR},
    {"expert", BIT(WEB_ARITHMETIC), KEY_INTEGER, AT(expert), 0, FAR},
    {"coordinate", BIT(WEB_ARITHMETIC), KEY_INTEGER, AT(coordinate), 0, FAR},
    {"op", BIT(WEB_ARITHMETIC), KEY_WORD, AT(op), 0, 0},
    {"onset", BIT(WEB_PAIR), KEY_INTEGER, AT(onset), 0, FAR},
    {"logits", BIT(WEB_PAIR), KEY_BOOL, AT(with_logits), 0, 0},
    {"dims", BIT(WEB_ABLATE), KEY_DIMS, AT(dims), 0, 0},
    {"mode", BIT(WEB_ABLATE), KEY_WORD, AT(mode), 0, 0},
    {"result", BIT(WEB_ABLATE), KEY_WORD, AT(result), 0, 0},
    {"from", BIT(WEB_ABLATE), KEY_INTEGER, AT(from), 0, FAR},
};
enum { N_KEYS = sizeof keys / sizeof *keys };

static const char *const paths[WEB_N_KINDS] = {
    "api/tokenize",   "api/run",  "api/lens",   "api/stream", "api/attention", "api/router",
    "api/arithmetic", "api/pair", "api/ablate", "api/cancel", "api/rescan",
};

const char *web_kind_path(WebKind kind)
{
    return paths[kind];
}

bool web_kind_find(const char *path, WebKind *out)
{
    for (int k = 0; k < WEB_N_KINDS; k++) {
        if (strcmp(paths[k], path) == 0) {
            *out = (WebKind)k;
            return true;
        }
    }
    return false;
}

bool web_name_valid(const char *s, size_t len)
{
    bool good = len > 0 && len <= WEB_NAME_MAX;
    for (size_t i = 0; good && i < len; i++)
        good = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '_' ||
               s[i] == '-';
    return good;
}

static const char *kind_name(const JsonValue *v)
{
    static const char *const names[] = {"null", "true or false", "a number", "a string", "an array", "an object"};
    return names[v->kind];
}

static int wrong_type(const char *name, const char *expected, const JsonValue *v, Error *e)
{
    return error_set(e, STATUS_USAGE, "\"%s\": expected %s, found %s", name, expected, kind_name(v));
}

static int read_text(WebAsk *a, const Key *k, const JsonValue *v, const WebLimits *limits, Error *e)
{
    if (v->kind != JSON_STRING)
        return wrong_type(k->name, "a string", v, e);
    if (v->len > limits->text_bytes)
        return error_set(e, STATUS_USAGE, "\"%s\": %zu bytes, expected at most %zu", k->name, v->len, limits->text_bytes);
    if (!v->len)
        return error_set(e, STATUS_USAGE, "\"%s\": the text is empty; expected at least one character", k->name);
    *(WebText *)(void *)((char *)a + k->offset) = (WebText){v->string, v->len};
    return STATUS_OK;
}

static int read_ids(WebAsk *a, const JsonValue *v, const WebLimits *limits, Error *e)
{
    if (v->kind != JSON_ARRAY)
        return wrong_type("ids", "an array of token ids", v, e);
    if (!v->len || v->len > limits->tokens)
        return error_set(e, STATUS_USAGE, "\"ids\": %zu token ids, expected 1 to %zu", v->len, limits->tokens);
    a->ids = arena_array(&a->arena, v->len, sizeof *a->ids);
    if (!a->ids)
        return error_set(e, STATUS_FAILED, "out of memory");
    for (size_t i = 0; i < v->len; i++) {
        const JsonValue *id = &v->items[i];
        if (id->kind != JSON_NUMBER || !id->is_integer || id->integer < 0 || (size_t)id->integer >= limits->vocab)
            return error_set(e, STATUS_USAGE, "\"ids\"[%zu]: expected a whole number from 0 to %zu", i, limits->vocab - 1);
        a->ids[i] = (int32_t)id->integer;
    }
    a->n_ids = v->len;
    return STATUS_OK;
}

static int read_dims(WebAsk *a, const JsonValue *v, Error *e)
{
    if (v->kind != JSON_ARRAY)
        return wrong_type("dims", "an array of [point, dimension]", v, e);
    if (!v->len || v->len > WEB_MAX_DIMS)
        return error_set(e, STATUS_USAGE, "\"dims\": %zu entries, expected 1 to %d", v->len, WEB_MAX_DIMS);
    a->dims = arena_array(&a->arena, v->len, sizeof *a->dims);
    if (!a->dims)
        return error_set(e, STATUS_FAILED, "out of memory");
    for (size_t i = 0; i < v->len; i++) {
        const JsonValue *pair = &v->items[i];
        bool good = pair->kind == JSON_ARRAY && pair->len == 2;
        for (size_t j = 0; good && j < 2; j++) {
            const JsonValue *x = &pair->items[j];
            good = x->kind == JSON_NUMBER && x->is_integer && x->integer >= 0 && x->integer < FAR;
            a->dims[i][j] = good ? x->integer : 0;
        }
        if (!good)
            return error_set(e, STATUS_USAGE, "\"dims\"[%zu]: expected [point, dimension], two whole numbers", i);
    }
    a->n_dims = v->len;
    return STATUS_OK;
}

static int read_order(WebAsk *a, const JsonValue *v, const WebLimits *limits, Error *e)
{
    if (v->kind != JSON_STRING || strlen(v->string) != v->len)
        return wrong_type("order", "a string such as \"0-4,6-11\"", v, e);
    const char *text = v->string;
    while (isspace((unsigned char)*text))
        text++;
    if (!*text || !limits->n_layers)
        return STATUS_OK;
    int status = order_parse(strcmp(text, "none") == 0 ? "" : text, limits->n_layers, &a->arena, &a->order, e);
    if (status)
        return error_prefix(e, status, "\"order\"");
    if (a->order.n_items > LAB_MAX_STEPS)
        return error_set(e, STATUS_USAGE, "\"order\": %zu steps, expected at most %d", a->order.n_items, LAB_MAX_STEPS);
    a->is_intact = order_equal(&a->order, &a->intact);
    return STATUS_OK;
}

static int read_value(WebAsk *a, const Key *k, const JsonValue *v, const WebLimits *limits, Error *e)
{
    char *field = (char *)a + k->offset;
    switch (k->type) {
    case KEY_TEXT:
        return read_text(a, k, v, limits, e);
    case KEY_IDS:
        return read_ids(a, v, limits, e);
    case KEY_DIMS:
        return read_dims(a, v, e);
    case KEY_ORDER:
        return read_order(a, v, limits, e);
    case KEY_NAME:
        if (v->kind != JSON_STRING || !web_name_valid(v->string, v->len))
            return error_set(e, STATUS_USAGE, "\"%s\": expected 1 to %d of the characters A-Z a-z 0-9 _ -", k->name,
                             WEB_NAME_MAX);
        memcpy(field, v->string, v->len + 1);
        return STATUS_OK;
    case KEY_WORD:
        if (v->kind != JSON_STRING || strlen(v->string) != v->len || v->len > 512)
            return wrong_type(k->name, "a short string", v, e);
        *(const char **)(void *)field = v->string;
        return STATUS_OK;
    case KEY_INTEGER:
        if (v->kind != JSON_NUMBER || !v->is_integer || v->integer < k->least || v->integer > k->most)
            return k->most == FAR ? error_set(e, STATUS_USAGE, "\"%s\": expected a whole number from 0 on", k->name)
                                  : error_set(e, STATUS_USAGE, "\"%s\": expected a whole number from %lld to %lld", k->name,
                                              (long long)k->least, (long long)k->most);
        *(int64_t *)(void *)field = v->integer;
        return STATUS_OK;
    case KEY_BOOL:
        if (v->kind != JSON_BOOL)
            return wrong_type(k->name, "true or false", v, e);
        *(bool *)(void *)field = v->boolean;
        return STATUS_OK;
    }
    return STATUS_USAGE;
}

static int read_keys(WebAsk *a, const JsonValue *object, const WebLimits *limits, Error *e)
{
    for (size_t i = 0; i < object->len; i++) {
        const JsonValue *name = &object->keys[i];
        const Key *k = NULL;
        for (size_t j = 0; j < N_KEYS && !k; j++)
            if ((keys[j].kinds & BIT(a->kind)) && json_is_string(name, keys[j].name))
                k = &keys[j];
        if (!k) {
            StrBuf known = {0};
            for (size_t j = 0; j < N_KEYS; j++)
                if (keys[j].kinds & BIT(a->kind))
                    strbuf_printf(&known, "%s%s", known.len ? ", " : "", keys[j].name);
            error_set(e, STATUS_USAGE, "unknown key \"%.40s\"; %s knows %s", name->string, paths[a->kind],
                      known.len ? known.data : "none");
            strbuf_free(&known);
            return STATUS_USAGE;
        }
        for (size_t j = 0; j < i; j++)
            if (json_is_string(&object->keys[j], k->name))
                return error_set(e, STATUS_USAGE, "\"%s\" is given twice; expected once", k->name);
        int status = read_value(a, k, &object->items[i], limits, e);
        if (status)
            return status;
    }
    return STATUS_OK;
}

/* What must be there, and what excludes what. */
static int check_whole(WebAsk *a, Error *e)
{
    bool on_text = (ON_TEXT & BIT(a->kind)) != 0, pair = a->a.s || a->b.s;
    if (a->kind == WEB_TOKENIZE && !a->text.s)
        return error_set(e, STATUS_USAGE, "\"text\" is missing");
    if (on_text && !a->text.s == !a->ids)
        return error_set(e, STATUS_USAGE, "expected either \"text\" or \"ids\", found %s", a->ids ? "both" : "neither");
    if (a->kind == WEB_PAIR && !(a->a.s && a->b.s))
        return error_set(e, STATUS_USAGE, "\"%s\" is missing: expected two sentences", a->a.s ? "b" : "a");
    if (a->kind == WEB_ABLATE) {
        if ((a->text.s != NULL) + (a->ids != NULL) + pair != 1 || (pair && !(a->a.s && a->b.s)))
            return error_set(e, STATUS_USAGE, "expected one of \"text\", \"ids\", or \"a\" and \"b\"");
        if (!a->dims)
            return error_set(e, STATUS_USAGE, "\"dims\" is missing: expected an array of [point, dimension]");
        a->mode = a->mode ? a->mode : "mean";
        if (strcmp(a->mode, "zero") != 0 && strcmp(a->mode, "mean") != 0 && strcmp(a->mode, "swap") != 0)
            return error_set(e, STATUS_USAGE, "\"mode\": \"%.40s\", expected zero, mean or swap", a->mode);
        if (strcmp(a->mode, "swap") == 0 && !pair)
            return error_set(e, STATUS_USAGE, "\"mode\": swap needs \"a\" and \"b\"");
    }
    if (a->kind == WEB_ATTENTION && a->step < 0)
        return error_set(e, STATUS_USAGE, "\"step\" is missing: which step of the order?");
    if (a->kind == WEB_ARITHMETIC && !a->op)
        return error_set(e, STATUS_USAGE, "\"op\" is missing: which operation?");
    if (a->kind == WEB_CANCEL && !a->client[0])
        return error_set(e, STATUS_USAGE, "\"client\" is missing: whose requests?");
    return STATUS_OK;
}

static void add_text(StrBuf *b, const WebText *t)
{
    strbuf_printf(b, "%d:%zu:", t->s != NULL, t->len);
    if (t->s)
        strbuf_append(b, t->s, t->len);
}

static int hash_ask(WebAsk *a, Error *e)
{
    StrBuf b = {0};
    strbuf_printf(&b, "%d|%s|%lld,%lld,%lld,%lld,%lld,%lld,%lld,%lld|%d%d|%s|%s|%s|", (int)a->kind,
                  a->order.spec ? a->order.spec : "", (long long)a->top, (long long)a->position, (long long)a->step,
                  (long long)a->head, (long long)a->key, (long long)a->coordinate, (long long)a->onset, (long long)a->from,
                  a->with_intact, a->with_logits, a->op ? a->op : "", a->mode ? a->mode : "", a->result ? a->result : "");
    add_text(&b, &a->text);
    add_text(&b, &a->a);
    add_text(&b, &a->b);
    for (size_t i = 0; i < a->n_ids; i++)
        strbuf_printf(&b, "%d,", a->ids[i]);
    for (size_t i = 0; i < a->n_dims; i++)
        strbuf_printf(&b, "%lld.%lld,", (long long)a->dims[i][0], (long long)a->dims[i][1]);
    int status = b.failed ? error_set(e, STATUS_FAILED, "out of memory") : STATUS_OK;
    if (!status) {
        Sha256 s;
        sha256_begin(&s);
        sha256_update(&s, b.data, b.len);
        sha256_end(&s, a->same);
    }
    strbuf_free(&b);
    return status;
}

int web_ask_read(WebKind kind, const char *body, size_t len, const WebLimits *limits, WebAsk *out, Error *e)
{
    *out = (WebAsk){.kind = kind,
                    .top = -1,
                    .position = -1,
                    .step = -1,
                    .head = -1,
                    .expert = -1,
                    .key = -1,
                    .coordinate = -1,
                    .onset = -1,
                    .from = -1,
                    .with_intact = true,
                    .with_logits = true,
                    .is_intact = true};
    const JsonValue *root;
    int status = json_parse(body, len, "the request", &out->arena, &root, e);
    if (status) {
        status = STATUS_USAGE;
    } else if (root->kind != JSON_OBJECT) {
        status = error_set(e, STATUS_USAGE, "the request: expected a JSON object, found %s", kind_name(root));
    } else {
        char text[32] = "";
        if (limits->n_layers) {
            snprintf(text, sizeof text, "0-%d", limits->n_layers - 1);
            status = order_parse(text, limits->n_layers, &out->arena, &out->intact, e);
            out->order = out->intact;
        }
        status = status ? status : read_keys(out, root, limits, e);
        status = status ? status : check_whole(out, e);
        status = status ? status : hash_ask(out, e);
    }
    if (status)
        web_ask_free(out);
    return status;
}

void web_ask_free(WebAsk *a)
{
    arena_free(&a->arena);
    memset(a, 0, sizeof *a);
}
