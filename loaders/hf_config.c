/* hf_config.c: typed reads of config.json (see hf_config.h). Numbers are hostile: everything is bounded here. */
#include "loaders/hf_config.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
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

/* A key of the configuration itself, noted as read; NULL when absent. */
static const JsonValue *look(const HfConfig *c, const char *key)
{
    const JsonValue *v = json_get(c->root, key);
    for (size_t i = 0; v && i < c->root->len; i++)
        if (json_is_string(&c->root->keys[i], key))
            c->read[i] = true;
    return v;
}

static const JsonValue *look_given(const HfConfig *c, const char *key)
{
    const JsonValue *v = look(c, key);
    return v && v->kind != JSON_NULL ? v : NULL;
}

bool hf_config_has(const HfConfig *c, const char *key)
{
    return get(c->root, key) != NULL;
}

void hf_config_enter(HfConfig *c, const char *key)
{
    const JsonValue *v = look_given(c, key);
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
    const JsonValue *v = look_given(c, key);
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
    (void)look(c, key);
    return number_in(c, c->root, "", key, lo, hi, fallback);
}

bool hf_config_bool_or(HfConfig *c, const char *key, bool fallback)
{
    const JsonValue *v = look_given(c, key);
    if (c->status || !v)
        return fallback;
    char found[80];
    if (v->kind != JSON_BOOL)
        hf_config_fail(c, key, "expected true or false, found %s", show(v, found));
    return v->boolean;
}

int32_t hf_config_token_or(HfConfig *c, const char *key, int32_t fallback)
{
    const JsonValue *v = look(c, key);
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
        {"relu2", ACT_RELU2},
        {"relu_squared", ACT_RELU2},
    };
    const JsonValue *v = look_given(c, key);
    if (c->status || !v)
        return fallback;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (json_is_string(v, known[i].name))
            return known[i].act;
    char found[80];
    hf_config_fail(c, key,
                   "activation %s is not supported (silu swish gelu gelu_new gelu_fast gelu_pytorch_tanh relu relu2 are)",
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
        const JsonValue *v = look(c, list[i].key);
        char found[80];
        if (v && !is_listed(v, list[i].values))
            hf_config_fail(c, list[i].key, "value %s is not supported (supported: %s)", show(v, found), list[i].values);
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
    const JsonValue *types = get(c->root, "layer_types");
    for (size_t k = 0; !c->status && types && k < c->root->len; k++)
        if (!c->read[k] && json_is_string(&c->root->keys[k], "layer_types") && !all_full_attention(types))
            hf_config_fail(c, "layer_types", "this model's layers are all of the type full_attention");
}

/* The list under a key, checked to have n entries (n < 0: any number); NULL when absent. */
static const JsonValue *list_of(HfConfig *c, const char *key, int n)
{
    const JsonValue *v = look_given(c, key);
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
    hf_config_fail(c, key, "entry %d: expected one of %s, found %s", i, known, show(&v->items[i], found));
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
                   show(x, found));
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
    {"longrope", "|factor|attention_factor|short_factor|long_factor|original_max_position_embeddings|", ROPE_LONGROPE},
    {"su", "|factor|attention_factor|short_factor|long_factor|original_max_position_embeddings|", ROPE_LONGROPE},
};

/* A key of a kind's parameters that we do not know could change its angles. */
static void check_rope_keys(HfConfig *c, const JsonValue *rope, const char *where, const char *keys)
{
    for (size_t i = 0; i < rope->len && !c->status; i++) {
        const char *key = rope->keys[i].string;
        char marked[64], name[160], found[80];
        if (rope->items[i].kind == JSON_NULL || strcmp(key, "type") == 0 || strcmp(key, "rope_type") == 0 ||
            strcmp(key, "rope_theta") == 0 || strcmp(key, "partial_rotary_factor") == 0)
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

static RopeKind rope_kind(HfConfig *c, const JsonValue *rope, const char *where, bool knows_su)
{
    const JsonValue *type = get(rope, "rope_type");
    if (!type)
        type = get(rope, "type");
    if (!type) {
        check_rope_keys(c, rope, where, rope_kinds[0].keys);
        return ROPE_DEFAULT;
    }
    for (size_t i = 0; i < sizeof rope_kinds / sizeof *rope_kinds; i++) {
        if (json_is_string(type, rope_kinds[i].name) && (knows_su || strcmp(rope_kinds[i].name, "su") != 0)) {
            check_rope_keys(c, rope, where, rope_kinds[i].keys);
            return rope_kinds[i].kind;
        }
    }
    char found[80], name[64];
    snprintf(name, sizeof name, "%srope_type", where);
    hf_config_fail(c, name, "RoPE of type %s is not supported (default linear dynamic llama3 yarn longrope are)",
                   show(type, found));
    return ROPE_NONE;
}

/* A list of [R/2] positive factors. */
static float *read_factors(HfConfig *c, const JsonValue *rope, const char *where, const char *key, int n)
{
    const JsonValue *v = get(rope, key);
    char name[96];
    snprintf(name, sizeof name, "%s%s", where, key);
    float *factors = c->status ? NULL : calloc((size_t)n, sizeof *factors);
    bool fits = v && v->kind == JSON_ARRAY && v->len == (size_t)n;
    for (int i = 0; fits && factors && i < n; i++) {
        fits = v->items[i].kind == JSON_NUMBER && v->items[i].number > 1e-9 && v->items[i].number < 1e9;
        factors[i] = (float)v->items[i].number;
    }
    if (!fits)
        hf_config_fail(c, name, "longrope needs a list of %d numbers above 0", n);
    else if (!factors)
        hf_config_fail(c, name, "out of memory");
    return factors;
}

static void read_longrope(HfConfig *c, const JsonValue *rope, const char *where, int max_positions, RopeTraits *out)
{
    if (out->factor <= 0)
        out->factor = (double)max_positions / out->original_max_positions;
    double inferred = out->factor <= 1 ? 1 : sqrt(1 + log(out->factor) / log(out->original_max_positions));
    out->attention_factor = number_in(c, rope, where, "attention_factor", 1e-9, 1e9, inferred);
    if (!c->status && !isfinite(out->attention_factor))
        hf_config_fail(c, "original_max_position_embeddings", "longrope needs more than 1, found %d",
                       out->original_max_positions);
    out->freq_factors = read_factors(c, rope, where, "short_factor", out->rotary_dims / 2);
    out->long_factors = read_factors(c, rope, where, "long_factor", out->rotary_dims / 2);
}

/* The object that holds the parameters, where it lies in messages. rope_scaling, where it says anything, wins over
 * rope_parameters, and rope_parameters may hold one object for each type of layer. */
static const JsonValue *rope_object(HfConfig *c, const HfRope *d, const char **where)
{
    static const JsonValue nothing = {.kind = JSON_OBJECT};
    const JsonValue *rope = d->ignores_scaling ? NULL : look_given(c, "rope_scaling");
    *where = "rope_scaling.";
    if (rope && rope->kind != JSON_OBJECT) {
        hf_config_fail(c, "rope_scaling", "expected an object or null");
        return &nothing;
    }
    if (rope && rope->len && d->layer_type && look_given(c, "rope_parameters")) {
        hf_config_fail(c, "rope_scaling", "expected it or rope_parameters by type of layer, found both");
        return &nothing;
    }
    if (rope && rope->len)
        return rope;
    rope = look_given(c, "rope_parameters");
    *where = "rope_parameters.";
    if (rope && rope->kind != JSON_OBJECT) {
        hf_config_fail(c, "rope_parameters", "expected an object or null");
        return &nothing;
    }
    for (size_t i = 0; rope && i < rope->len; i++) {
        if (rope->items[i].kind != JSON_OBJECT)
            continue;
        if (!d->layer_type) {
            hf_config_fail(c, "rope_parameters", "parameters by type of layer (%s) are not supported in this family",
                           rope->keys[i].string);
            return &nothing;
        }
        rope = get(rope, d->layer_type);
        return rope ? rope : &nothing;
    }
    if (rope && rope->len && d->layer_type)
        hf_config_fail(c, "rope_parameters", "expected parameters by type of layer (%s)", d->layer_type);
    return rope ? rope : &nothing;
}

/* A null leaves transformers without a fraction: 1 to the classes that ask whether there is one, an error to the others. */
static double rotated_fraction(HfConfig *c, const HfRope *d, const JsonValue *rope, const char *where)
{
    const char *key = d->partial_key ? d->partial_key : "partial_rotary_factor";
    double all = d->partial > 0 ? 0 : 1, given = d->partial > 0 ? d->partial : 1; /* without a default only 1 passes */
    const JsonValue *outer = look(c, key), *inner = json_get(rope, "partial_rotary_factor");
    bool is_null = inner ? inner->kind == JSON_NULL : outer && outer->kind == JSON_NULL && !d->null_is_whole;
    if (d->partial > 0 && is_null)
        hf_config_fail(c, key, "expected a number from 0 to 1, found null");
    double fallback = outer && outer->kind == JSON_NULL ? 1 : hf_config_number_or(c, key, all, 1, given);
    return number_in(c, rope, where, "partial_rotary_factor", all, 1, fallback);
}

void hf_config_rope_as(HfConfig *c, const HfRope *d, RopeTraits *out)
{
    *out = (RopeTraits){.style = ROPE_HALF, .rotary_dims = d->head_dim, .attention_factor = 1, .truncate = true};
    if (c->status)
        return;
    const char *where, *theta_key = d->theta_key ? d->theta_key : "rope_theta";
    const JsonValue *rope = rope_object(c, d, &where);
    if (rope->kind != JSON_OBJECT)
        hf_config_fail(c, "rope_parameters", "expected an object or null");
    if (c->status)
        return;
    out->kind = rope_kind(c, rope, where, d->knows_su);
    double theta = hf_config_number_or(c, theta_key, 1e-3, 1e30, d->theta);
    out->theta = number_in(c, rope, where, "rope_theta", 1e-3, 1e30, theta);
    double partial = rotated_fraction(c, d, rope, where);
    if (!c->status)
        out->rotary_dims = (int)(d->head_dim * partial);
    if (!c->status &&
        (out->rotary_dims < 2 || out->rotary_dims % 2 != 0 || (out->kind == ROPE_DYNAMIC && out->rotary_dims <= 2))) {
        hf_config_fail(c, "head_dim", "RoPE needs an even number of dims (more than 2 for dynamic), found %d of %d",
                       out->rotary_dims, d->head_dim);
        return;
    }
    out->original_max_positions = d->max_positions;
    if (out->kind == ROPE_LLAMA3 || out->kind == ROPE_YARN || out->kind == ROPE_LONGROPE) {
        double inside = number_in(c, rope, where, "original_max_position_embeddings", 1, 1 << 30, d->max_positions);
        inside = d->original_positions ? d->original_positions : inside;
        out->original_max_positions = (int)hf_config_number_or(c, "original_max_position_embeddings", 1, 1 << 30, inside);
    }
    bool factor_may_be_null = out->kind == ROPE_LONGROPE || (out->kind == ROPE_YARN && json_get(rope, "factor"));
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
        read_yarn(c, rope, where, d->max_positions, out);
    if (out->kind == ROPE_LONGROPE && !c->status)
        read_longrope(c, rope, where, d->max_positions, out);
}

void hf_config_rope(HfConfig *c, int head_dim, int max_positions, double default_theta, RopeTraits *out)
{
    HfRope rope = {.head_dim = head_dim, .max_positions = max_positions, .theta = default_theta};
    hf_config_rope_as(c, &rope, out);
}
