/* hf_config.c: typed reads of config.json (see hf_config.h). Numbers are hostile: everything is bounded here. */
#include "loaders/hf_config.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/strbuf.h"

enum { MAX_CONFIG_BYTES = 16 << 20 };

int hf_config_open(const char *path, HfConfig *out, Error *e)
{
    *out = (HfConfig){.e = e};
    StrBuf text = {0};
    int status = file_read(path, MAX_CONFIG_BYTES, &text, e);
    if (!status)
        status = json_parse(text.data ? text.data : "", text.len, path, &out->arena, &out->root, e);
    strbuf_free(&text);
    if (!status && out->root->kind != JSON_OBJECT)
        status = error_set(e, STATUS_FAILED, "%s: expected a JSON object", path);
    if (!status && !(out->path = arena_strndup(&out->arena, path, strlen(path))))
        status = error_set(e, STATUS_FAILED, "%s: out of memory", path);
    if (status)
        hf_config_close(out);
    return status;
}

void hf_config_close(HfConfig *c)
{
    arena_free(&c->arena);
    *c = (HfConfig){0};
}

int hf_config_fail(HfConfig *c, const char *key, const char *format, ...)
{
    if (c->status)
        return c->status;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return c->status = error_set(c->e, STATUS_FAILED, "%s: %s: %s", c->path, key, text);
}

/* The value as it might be written, for messages. */
static const char *show(const JsonValue *v, char out[80])
{
    static const char *const kinds[] = {"null", "", "", "", "a list", "an object"};
    if (!v)
        return "nothing";
    if (v->kind == JSON_BOOL)
        return v->boolean ? "true" : "false";
    if (v->kind == JSON_NUMBER && v->is_integer)
        snprintf(out, 80, "%lld", (long long)v->integer);
    else if (v->kind == JSON_NUMBER)
        snprintf(out, 80, "%.12g", v->number);
    else if (v->kind == JSON_STRING)
        snprintf(out, 80, "\"%.70s\"", v->string);
    else
        return kinds[v->kind];
    return out;
}

static const JsonValue *get(const JsonValue *object, const char *key)
{
    const JsonValue *v = json_get(object, key);
    return v && v->kind != JSON_NULL ? v : NULL;
}

bool hf_config_has(const HfConfig *c, const char *key)
{
    return get(c->root, key) != NULL;
}

int64_t hf_config_int_or(HfConfig *c, const char *key, int64_t lo, int64_t hi, int64_t fallback)
{
    const JsonValue *v = get(c->root, key);
    if (c->status || !v)
        return fallback;
    /* 32000.0 is a whole number too */
    double x = v->kind == JSON_NUMBER ? v->number : NAN;
    if (!(x >= (double)lo && x <= (double)hi && floor(x) == x)) {
        char found[80];
        hf_config_fail(c, key, "expected a whole number from %lld to %lld, found %s", (long long)lo, (long long)hi,
                       show(v, found));
        return lo;
    }
    return v->is_integer ? v->integer : (int64_t)x;
}

int64_t hf_config_int(HfConfig *c, const char *key, int64_t lo, int64_t hi)
{
    if (!hf_config_has(c, key))
        hf_config_fail(c, key, "expected a whole number from %lld to %lld, found nothing", (long long)lo, (long long)hi);
    return hf_config_int_or(c, key, lo, hi, lo);
}

/* A number of an object within the configuration; where names the object in messages. */
static double number_in(HfConfig *c, const JsonValue *object, const char *where, const char *key, double lo, double hi,
                        double fallback)
{
    const JsonValue *v = get(object, key);
    if (c->status || !v)
        return fallback;
    double x = v->kind == JSON_NUMBER ? v->number : NAN;
    if (!(x >= lo && x <= hi)) {
        char found[80], name[128];
        snprintf(name, sizeof name, "%s%s", where, key);
        hf_config_fail(c, name, "expected a number from %g to %g, found %s", lo, hi, show(v, found));
        return lo;
    }
    return x;
}

double hf_config_number_or(HfConfig *c, const char *key, double lo, double hi, double fallback)
{
    return number_in(c, c->root, "", key, lo, hi, fallback);
}

bool hf_config_bool_or(HfConfig *c, const char *key, bool fallback)
{
    const JsonValue *v = get(c->root, key);
    if (c->status || !v)
        return fallback;
    char found[80];
    if (v->kind != JSON_BOOL)
        hf_config_fail(c, key, "expected true or false, found %s", show(v, found));
    return v->boolean;
}

int32_t hf_config_token_or(HfConfig *c, const char *key, int32_t fallback)
{
    const JsonValue *v = json_get(c->root, key);
    if (c->status || !v)
        return fallback;
    if (v->kind == JSON_ARRAY && v->len > 0)
        v = &v->items[0];
    if (v->kind == JSON_NULL)
        return -1;
    if (v->kind == JSON_NUMBER && v->is_integer && v->integer >= -1 && v->integer <= INT32_MAX)
        return (int32_t)v->integer;
    char found[80];
    hf_config_fail(c, key, "expected a token id, found %s", show(v, found));
    return -1;
}

ActKind hf_config_activation_or(HfConfig *c, const char *key, ActKind fallback)
{
    static const struct {
        const char *name;
        ActKind act;
    } known[] = {
        {"silu", ACT_SILU},
        {"swish", ACT_SILU},
        {"gelu", ACT_GELU_ERF},
        {"gelu_python", ACT_GELU_ERF},
        {"gelu_new", ACT_GELU_TANH},
        {"gelu_fast", ACT_GELU_TANH},
        {"gelu_pytorch_tanh", ACT_GELU_TANH},
        {"gelu_python_tanh", ACT_GELU_TANH},
        {"relu", ACT_RELU},
    };
    const JsonValue *v = get(c->root, key);
    if (c->status || !v)
        return fallback;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (json_is_string(v, known[i].name))
            return known[i].act;
    char found[80];
    hf_config_fail(c, key, "activation %s is not supported (silu swish gelu gelu_new gelu_fast gelu_pytorch_tanh relu are)",
                   show(v, found));
    return fallback;
}

void hf_config_dtype(HfConfig *c, char out[16])
{
    out[0] = '\0';
    const JsonValue *v = get(c->root, "dtype");
    if (!v)
        v = get(c->root, "torch_dtype");
    if (!v || v->kind != JSON_STRING)
        return;
    const char *name = strncmp(v->string, "torch.", 6) == 0 ? v->string + 6 : v->string;
    if (strlen(name) < 16)
        memcpy(out, name, strlen(name) + 1);
}

static bool is_listed(const JsonValue *v, const char *values)
{
    for (const char *p = values; *p;) {
        size_t len = strcspn(p, "|");
        char word[32] = "";
        memcpy(word, p, len < sizeof word ? len : sizeof word - 1);
        p += len + (p[len] == '|');
        double x;
        if (v->kind == JSON_NULL && strcmp(word, "null") == 0)
            return true;
        if (v->kind == JSON_BOOL && strcmp(word, v->boolean ? "true" : "false") == 0)
            return true;
        if (v->kind == JSON_STRING && word[0] == '"' && strlen(word) == v->len + 2 && memcmp(word + 1, v->string, v->len) == 0)
            return true;
        if (v->kind == JSON_NUMBER && sscanf(word, "%lf", &x) == 1 && !(v->number < x) && !(v->number > x))
            return true;
    }
    return false;
}

void hf_config_expect(HfConfig *c, const HfHarmless *list, size_t n)
{
    for (size_t i = 0; i < n && !c->status; i++) {
        const JsonValue *v = json_get(c->root, list[i].key);
        char found[80];
        if (v && !is_listed(v, list[i].values))
            hf_config_fail(c, list[i].key, "value %s is not supported (supported: %s)", show(v, found), list[i].values);
    }
}

/* -- RoPE -- */

static const struct {
    const char *name, *keys;
    RopeKind kind;
} rope_kinds[] = {
    {"default", "", ROPE_DEFAULT},
    {"linear", "|factor|", ROPE_LINEAR},
    {"dynamic", "|factor|", ROPE_DYNAMIC},
    {"llama3", "|factor|low_freq_factor|high_freq_factor|original_max_position_embeddings|", ROPE_LLAMA3},
    {"yarn",
     "|factor|attention_factor|beta_fast|beta_slow|mscale|mscale_all_dim|truncate|original_max_position_embeddings|finetuned|",
     ROPE_YARN},
};

/* A key of a kind's parameters that we do not know could change its angles. */
static void check_rope_keys(HfConfig *c, const JsonValue *rope, const char *where, const char *keys)
{
    for (size_t i = 0; i < rope->len && !c->status; i++) {
        const char *key = rope->keys[i].string;
        char marked[64], name[160], found[80];
        if (rope->items[i].kind == JSON_NULL || strcmp(key, "type") == 0 || strcmp(key, "rope_type") == 0 ||
            strcmp(key, "rope_theta") == 0)
            continue;
        if (strcmp(key, "partial_rotary_factor") == 0 && is_listed(&rope->items[i], "1"))
            continue;
        int len = snprintf(marked, sizeof marked, "|%s|", key);
        if (len > 0 && (size_t)len < sizeof marked && strstr(keys, marked))
            continue;
        snprintf(name, sizeof name, "%s%s", where, key);
        hf_config_fail(c, name, "value %s is not supported: this kind of RoPE has the keys rope_type rope_theta %s",
                       show(&rope->items[i], found), keys);
    }
}

/* transformers' get_mscale, and the factor that yarn multiplies cosines and sines with. */
static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

static void read_yarn(HfConfig *c, const JsonValue *rope, const char *where, int max_positions, RopeTraits *out)
{
    double mscale = number_in(c, rope, where, "mscale", -1e6, 1e6, 0);
    double mscale_all = number_in(c, rope, where, "mscale_all_dim", -1e6, 1e6, 0);
    if (out->factor <= 0) /* null: the ratio of the two lengths */
        out->factor = (double)max_positions / out->original_max_positions;
    bool both = (mscale < 0 || mscale > 0) && (mscale_all < 0 || mscale_all > 0);
    double inferred =
        both ? yarn_mscale(out->factor, mscale) / yarn_mscale(out->factor, mscale_all) : yarn_mscale(out->factor, 1);
    out->attention_factor = number_in(c, rope, where, "attention_factor", 1e-9, 1e9, inferred);
    if (!c->status && !(isfinite(out->attention_factor) && out->attention_factor > 0))
        hf_config_fail(c, "rope mscale", "expected a finite attention factor above 0, found %g", out->attention_factor);
    double fast = number_in(c, rope, where, "beta_fast", 0, 1e9, 32), slow = number_in(c, rope, where, "beta_slow", 0, 1e9, 1);
    out->beta_fast = fast > 0 ? fast : 32; /* 0 means the default there */
    out->beta_slow = slow > 0 ? slow : 1;
    const JsonValue *truncate = get(rope, "truncate");
    out->truncate = !truncate || truncate->boolean;
    if (!c->status && truncate && truncate->kind != JSON_BOOL)
        hf_config_fail(c, "truncate", "expected true or false");
    if (!c->status && !(out->theta > 1))
        hf_config_fail(c, "rope_theta", "yarn needs a base above 1, found %g", out->theta);
}

static RopeKind rope_kind(HfConfig *c, const JsonValue *rope, const char *where)
{
    const JsonValue *type = get(rope, "rope_type");
    if (!type)
        type = get(rope, "type");
    if (!type) {
        check_rope_keys(c, rope, where, rope_kinds[0].keys);
        return ROPE_DEFAULT;
    }
    for (size_t i = 0; i < sizeof rope_kinds / sizeof *rope_kinds; i++) {
        if (json_is_string(type, rope_kinds[i].name)) {
            check_rope_keys(c, rope, where, rope_kinds[i].keys);
            return rope_kinds[i].kind;
        }
    }
    char found[80], name[64];
    snprintf(name, sizeof name, "%srope_type", where);
    hf_config_fail(c, name, "RoPE of type %s is not supported (default linear dynamic llama3 yarn are)", show(type, found));
    return ROPE_NONE;
}

void hf_config_rope(HfConfig *c, int head_dim, int max_positions, double default_theta, RopeTraits *out)
{
    *out = (RopeTraits){.style = ROPE_HALF, .rotary_dims = head_dim, .attention_factor = 1, .truncate = true};
    if (c->status)
        return;
    /* rope_scaling, where it says anything, wins over rope_parameters */
    const JsonValue *rope = get(c->root, "rope_scaling");
    const char *where = "rope_scaling.";
    if (!rope || (rope->kind == JSON_OBJECT && rope->len == 0)) {
        rope = get(c->root, "rope_parameters");
        where = "rope_parameters.";
    }
    static const JsonValue nothing = {.kind = JSON_OBJECT};
    if (!rope)
        rope = &nothing;
    if (rope->kind != JSON_OBJECT) {
        hf_config_fail(c, "rope_scaling", "expected an object or null");
        return;
    }
    out->kind = rope_kind(c, rope, where);
    double theta = hf_config_number_or(c, "rope_theta", 1e-3, 1e30, default_theta);
    out->theta = number_in(c, rope, where, "rope_theta", 1e-3, 1e30, theta);
    out->original_max_positions = max_positions;
    if (out->kind == ROPE_LLAMA3 || out->kind == ROPE_YARN) {
        double inside = number_in(c, rope, where, "original_max_position_embeddings", 1, 1 << 30, max_positions);
        out->original_max_positions = (int)hf_config_number_or(c, "original_max_position_embeddings", 1, 1 << 30, inside);
    }
    bool factor_may_be_null = out->kind == ROPE_YARN && json_get(rope, "factor");
    if (out->kind != ROPE_DEFAULT && !get(rope, "factor") && !factor_may_be_null)
        hf_config_fail(c, "rope factor", "expected %sfactor, found nothing", where);
    out->factor = number_in(c, rope, where, "factor", 1e-6, 1e9, 0);
    if (out->kind == ROPE_DYNAMIC && out->factor < 1)
        hf_config_fail(c, "rope factor", "dynamic scaling needs a factor of 1 or more, found %g", out->factor);
    if (out->kind == ROPE_LLAMA3) {
        if (!get(rope, "low_freq_factor") || !get(rope, "high_freq_factor"))
            hf_config_fail(c, "rope", "llama3 needs %slow_freq_factor and %shigh_freq_factor", where, where);
        out->low_freq_factor = number_in(c, rope, where, "low_freq_factor", 1e-6, 1e9, 1);
        out->high_freq_factor = number_in(c, rope, where, "high_freq_factor", 1e-6, 1e9, 4);
        if (!c->status && !(out->high_freq_factor > out->low_freq_factor))
            hf_config_fail(c, "rope", "expected high_freq_factor above low_freq_factor, found %g and %g", out->high_freq_factor,
                           out->low_freq_factor);
    }
    if (out->kind == ROPE_YARN && !c->status)
        read_yarn(c, rope, where, max_positions, out);
    if (!c->status && (head_dim % 2 != 0 || (out->kind == ROPE_DYNAMIC && head_dim <= 2)))
        hf_config_fail(c, "head_dim", "RoPE needs an even number of dims (more than 2 for dynamic), found %d", head_dim);
}
