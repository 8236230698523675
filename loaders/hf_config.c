/* hf_config.c: typed reads of config.json (see hf_config.h). Numbers are hostile: everything is bounded here. */
#include "loaders/hf_config.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/strbuf.h"
#include "loaders/hf_config_internal.h"

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
    if (!status && !(out->read = arena_array(&out->arena, out->root->len + 1, sizeof *out->read)))
        status = error_set(e, STATUS_FAILED, "%s: out of memory", path);
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

const char *hf_config_show(const JsonValue *v, char out[80])
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

const JsonValue *hf_config_get(const JsonValue *object, const char *key)
{
    const JsonValue *v = json_get(object, key);
    return v && v->kind != JSON_NULL ? v : NULL;
}

const JsonValue *hf_config_look(const HfConfig *c, const char *key)
{
    const JsonValue *v = json_get(c->root, key);
    for (size_t i = 0; v && i < c->root->len; i++)
        if (json_is_string(&c->root->keys[i], key))
            c->read[i] = true;
    return v;
}

const JsonValue *hf_config_given(const HfConfig *c, const char *key)
{
    const JsonValue *v = hf_config_look(c, key);
    return v && v->kind != JSON_NULL ? v : NULL;
}

bool hf_config_has(const HfConfig *c, const char *key)
{
    return hf_config_get(c->root, key) != NULL;
}

void hf_config_enter(HfConfig *c, const char *key)
{
    const JsonValue *v = hf_config_given(c, key);
    if (c->status || !v)
        return;
    if (v->kind != JSON_OBJECT) {
        hf_config_fail(c, key, "expected an object");
        return;
    }
    c->root = v;
    if (!(c->read = arena_array(&c->arena, v->len + 1, sizeof *c->read)))
        hf_config_fail(c, key, "out of memory");
}

int64_t hf_config_int_or(HfConfig *c, const char *key, int64_t lo, int64_t hi, int64_t fallback)
{
    const JsonValue *v = hf_config_given(c, key);
    if (c->status || !v)
        return fallback;
    /* 32000.0 is a whole number too */
    double x = v->kind == JSON_NUMBER ? v->number : NAN;
    if (!(x >= (double)lo && x <= (double)hi && floor(x) == x)) {
        char found[80];
        hf_config_fail(c, key, "expected a whole number from %lld to %lld, found %s", (long long)lo, (long long)hi,
                       hf_config_show(v, found));
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

double hf_config_number_in(HfConfig *c, const JsonValue *object, const char *where, const char *key, double lo, double hi,
                           double fallback)
{
    const JsonValue *v = hf_config_get(object, key);
    if (c->status || !v)
        return fallback;
    double x = v->kind == JSON_NUMBER ? v->number : NAN;
    if (!(x >= lo && x <= hi)) {
        char found[80], name[128];
        snprintf(name, sizeof name, "%s%s", where, key);
        hf_config_fail(c, name, "expected a number from %g to %g, found %s", lo, hi, hf_config_show(v, found));
        return lo;
    }
    return x;
}

double hf_config_number_or(HfConfig *c, const char *key, double lo, double hi, double fallback)
{
    (void)hf_config_look(c, key);
    return hf_config_number_in(c, c->root, "", key, lo, hi, fallback);
}

bool hf_config_bool_or(HfConfig *c, const char *key, bool fallback)
{
    const JsonValue *v = hf_config_given(c, key);
    if (c->status || !v)
        return fallback;
    char found[80];
    if (v->kind != JSON_BOOL)
        hf_config_fail(c, key, "expected true or false, found %s", hf_config_show(v, found));
    return v->boolean;
}

int32_t hf_config_token_or(HfConfig *c, const char *key, int32_t fallback)
{
    const JsonValue *v = hf_config_look(c, key);
    if (c->status || !v)
        return fallback;
    if (v->kind == JSON_ARRAY && v->len > 0)
        v = &v->items[0];
    if (v->kind == JSON_NULL)
        return -1;
    if (v->kind == JSON_NUMBER && v->is_integer && v->integer >= -1 && v->integer <= INT32_MAX)
        return (int32_t)v->integer;
    char found[80];
    hf_config_fail(c, key, "expected a token id, found %s", hf_config_show(v, found));
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
        {"relu2", ACT_RELU2},
        {"relu_squared", ACT_RELU2},
    };
    const JsonValue *v = hf_config_given(c, key);
    if (c->status || !v)
        return fallback;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (json_is_string(v, known[i].name))
            return known[i].act;
    char found[80];
    hf_config_fail(c, key,
                   "activation %s is not supported (silu swish gelu gelu_new gelu_fast gelu_pytorch_tanh relu relu2 are)",
                   hf_config_show(v, found));
    return fallback;
}

void hf_config_dtype(HfConfig *c, char out[16])
{
    out[0] = '\0';
    const JsonValue *v = hf_config_get(c->root, "dtype");
    if (!v)
        v = hf_config_get(c->root, "torch_dtype");
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
        const JsonValue *v = hf_config_look(c, list[i].key);
        char found[80];
        if (v && !is_listed(v, list[i].values))
            hf_config_fail(c, list[i].key, "value %s is not supported (supported: %s)", hf_config_show(v, found),
                           list[i].values);
    }
}

/* What the keys that no family at hand has read must say: keys by which one family or another changes its arithmetic. Absent on
 * purpose: pretraining_tp, reorder_and_upcast_attn and their like, which only move roundings of half precision. */
static const HfHarmless arithmetic[] = {
    {"add_cross_attention", "null|false"},
    {"alibi", "null|false"},
    {"apply_residual_connection_post_layernorm", "null|false"},
    {"attention_bias", "null|false"},
    {"attention_multiplier", "null"},
    {"attention_out_bias", "null|false"},
    {"attn_config", "null"},
    {"attn_logit_softcapping", "null"},
    {"clip_qkv", "null"},
    {"embedding_multiplier", "null|1"},
    {"final_logit_softcapping", "null"},
    {"is_causal", "null|true"},
    {"is_encoder_decoder", "null|false"},
    {"kv_lora_rank", "null"},
    {"logit_scale", "null|1"},
    {"logits_scaling", "null|1"},
    {"mlp_bias", "null|false"},
    {"mlp_only_layers", "null"},
    {"n_routed_experts", "null|0"},
    {"n_shared_experts", "null|0"},
    {"no_rope_layers", "null"},
    {"norm_topk_prob", "null|true"},
    {"num_experts", "null|0|1"},
    {"num_local_experts", "null|0|1"},
    {"partial_rotary_factor", "null|1"},
    {"q_lora_rank", "null"},
    {"qk_layernorm", "null|false"},
    {"quantization_config", "null"},
    {"query_pre_attn_scalar", "null"},
    {"residual_multiplier", "null|1"},
    {"rope_interleaved", "null|false"},
    {"rope_local_base_freq", "null"},
    {"rotary_pct", "null|1"},
    {"scale_attn_by_inverse_layer_idx", "null|false"},
    {"shared_expert_intermediate_size", "null|0"},
    {"shared_intermediate_size", "null|0"},
    {"sliding_window", "null"},
    {"use_bidirectional_attention", "null|false"},
    {"use_parallel_residual", "null|false"},
    {"use_qk_norm", "null|false"},
};

/* A list of layer types that says nothing: every layer attends to everything. */
static bool all_full_attention(const JsonValue *v)
{
    for (size_t i = 0; v->kind == JSON_ARRAY && i < v->len; i++)
        if (!json_is_string(&v->items[i], "full_attention"))
            return false;
    return v->kind == JSON_ARRAY;
}

void hf_config_finish(HfConfig *c)
{
    for (size_t i = 0; i < sizeof arithmetic / sizeof *arithmetic && !c->status; i++)
        for (size_t k = 0; k < c->root->len; k++)
            if (!c->read[k] && json_is_string(&c->root->keys[k], arithmetic[i].key))
                hf_config_expect(c, &arithmetic[i], 1);
    const JsonValue *types = hf_config_get(c->root, "layer_types");
    for (size_t k = 0; !c->status && types && k < c->root->len; k++)
        if (!c->read[k] && json_is_string(&c->root->keys[k], "layer_types") && !all_full_attention(types))
            hf_config_fail(c, "layer_types", "this model's layers are all of the type full_attention");
}

/* The list under a key, checked to have n entries (n < 0: any number); NULL when absent. */
static const JsonValue *list_of(HfConfig *c, const char *key, int n)
{
    const JsonValue *v = hf_config_given(c, key);
    if (c->status || !v)
        return NULL;
    if (v->kind == JSON_ARRAY && (n < 0 || v->len == (size_t)n))
        return v;
    hf_config_fail(c, key, "expected a list%s", n < 0 ? "" : " with one entry a layer");
    return NULL;
}

int hf_config_word_at(HfConfig *c, const char *key, const char *const *words, int i, int n)
{
    const JsonValue *v = list_of(c, key, n);
    if (!v)
        return -1;
    char found[80], known[160] = "";
    for (int w = 0; words[w]; w++) {
        if (json_is_string(&v->items[i], words[w]))
            return w;
        size_t len = strlen(known);
        snprintf(known + len, sizeof known - len, w ? " %s" : "%s", words[w]);
    }
    hf_config_fail(c, key, "entry %d: expected one of %s, found %s", i, known, hf_config_show(&v->items[i], found));
    return -1;
}

int64_t hf_config_int_at(HfConfig *c, const char *key, int i, int n, int64_t lo, int64_t hi, int64_t fallback)
{
    const JsonValue *v = list_of(c, key, n);
    if (!v)
        return fallback;
    const JsonValue *x = &v->items[i];
    if (x->kind == JSON_BOOL && lo <= 0 && hi >= 1)
        return x->boolean;
    if (x->kind == JSON_NUMBER && x->is_integer && x->integer >= lo && x->integer <= hi)
        return x->integer;
    char found[80];
    hf_config_fail(c, key, "entry %d: expected a whole number from %lld to %lld, found %s", i, (long long)lo, (long long)hi,
                   hf_config_show(x, found));
    return fallback;
}

bool hf_config_lists(HfConfig *c, const char *key, int i)
{
    const JsonValue *v = list_of(c, key, -1);
    for (size_t k = 0; v && k < v->len; k++) {
        if (v->items[k].kind != JSON_NUMBER || !v->items[k].is_integer)
            hf_config_fail(c, key, "expected whole numbers");
        else if (v->items[k].integer == i)
            return true;
    }
    return false;
}
