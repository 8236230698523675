/* hf_rope.c: RoPE as config.json says it in both dialects (hf_config.h), resolved as transformers does. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loaders/hf_config_internal.h"

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
                       hf_config_show(&rope->items[i], found), keys);
    }
}

/* transformers' get_mscale, and the factor that yarn multiplies cosines and sines with. */
static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1;
}

static void read_yarn(HfConfig *c, const JsonValue *rope, const char *where, int max_positions, RopeTraits *out)
{
    double mscale = hf_config_number_in(c, rope, where, "mscale", -1e6, 1e6, 0);
    double mscale_all = hf_config_number_in(c, rope, where, "mscale_all_dim", -1e6, 1e6, 0);
    if (out->factor <= 0) /* null: the ratio of the two lengths */
        out->factor = (double)max_positions / out->original_max_positions;
    bool both = (mscale < 0 || mscale > 0) && (mscale_all < 0 || mscale_all > 0);
    double inferred =
        both ? yarn_mscale(out->factor, mscale) / yarn_mscale(out->factor, mscale_all) : yarn_mscale(out->factor, 1);
    out->attention_factor = hf_config_number_in(c, rope, where, "attention_factor", 1e-9, 1e9, inferred);
    if (!c->status && !(isfinite(out->attention_factor) && out->attention_factor > 0))
        hf_config_fail(c, "rope mscale", "expected a finite attention factor above 0, found %g", out->attention_factor);
    double fast = hf_config_number_in(c, rope, where, "beta_fast", 0, 1e9, 32),
           slow = hf_config_number_in(c, rope, where, "beta_slow", 0, 1e9, 1);
    out->beta_fast = fast > 0 ? fast : 32; /* 0 means the default there */
    out->beta_slow = slow > 0 ? slow : 1;
    const JsonValue *truncate = hf_config_get(rope, "truncate");
    out->truncate = !truncate || truncate->boolean;
    if (!c->status && truncate && truncate->kind != JSON_BOOL)
        hf_config_fail(c, "truncate", "expected true or false");
    if (!c->status && !(out->theta > 1))
        hf_config_fail(c, "rope_theta", "yarn needs a base above 1, found %g", out->theta);
}

static RopeKind rope_kind(HfConfig *c, const JsonValue *rope, const char *where, bool knows_su)
{
    const JsonValue *type = hf_config_get(rope, "rope_type");
    if (!type)
        type = hf_config_get(rope, "type");
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
                   hf_config_show(type, found));
    return ROPE_NONE;
}

/* A list of [R/2] positive factors. */
static float *read_factors(HfConfig *c, const JsonValue *rope, const char *where, const char *key, int n)
{
    const JsonValue *v = hf_config_get(rope, key);
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
    out->attention_factor = hf_config_number_in(c, rope, where, "attention_factor", 1e-9, 1e9, inferred);
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
    const JsonValue *rope = d->ignores_scaling ? NULL : hf_config_given(c, "rope_scaling");
    *where = "rope_scaling.";
    if (rope && rope->kind != JSON_OBJECT) {
        hf_config_fail(c, "rope_scaling", "expected an object or null");
        return &nothing;
    }
    if (rope && rope->len && d->layer_type && hf_config_given(c, "rope_parameters")) {
        hf_config_fail(c, "rope_scaling", "expected it or rope_parameters by type of layer, found both");
        return &nothing;
    }
    if (rope && rope->len)
        return rope;
    rope = hf_config_given(c, "rope_parameters");
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
        rope = hf_config_get(rope, d->layer_type);
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
    const JsonValue *outer = hf_config_look(c, key), *inner = json_get(rope, "partial_rotary_factor");
    bool is_null = inner ? inner->kind == JSON_NULL : outer && outer->kind == JSON_NULL && !d->null_is_whole;
    if (d->partial > 0 && is_null)
        hf_config_fail(c, key, "expected a number from 0 to 1, found null");
    double fallback = outer && outer->kind == JSON_NULL ? 1 : hf_config_number_or(c, key, all, 1, given);
    return hf_config_number_in(c, rope, where, "partial_rotary_factor", all, 1, fallback);
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
    out->theta = hf_config_number_in(c, rope, where, "rope_theta", 1e-3, 1e30, theta);
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
        double inside = hf_config_number_in(c, rope, where, "original_max_position_embeddings", 1, 1 << 30, d->max_positions);
        inside = d->original_positions ? d->original_positions : inside;
        out->original_max_positions = (int)hf_config_number_or(c, "original_max_position_embeddings", 1, 1 << 30, inside);
    }
    bool factor_may_be_null = out->kind == ROPE_LONGROPE || (out->kind == ROPE_YARN && json_get(rope, "factor"));
    if (out->kind != ROPE_DEFAULT && !hf_config_get(rope, "factor") && !factor_may_be_null)
        hf_config_fail(c, "rope factor", "expected %sfactor, found nothing", where);
    out->factor = hf_config_number_in(c, rope, where, "factor", 1e-6, 1e9, 0);
    if (out->kind == ROPE_DYNAMIC && out->factor < 1)
        hf_config_fail(c, "rope factor", "dynamic scaling needs a factor of 1 or more, found %g", out->factor);
    if (out->kind == ROPE_LLAMA3) {
        if (!hf_config_get(rope, "low_freq_factor") || !hf_config_get(rope, "high_freq_factor"))
            hf_config_fail(c, "rope", "llama3 needs %slow_freq_factor and %shigh_freq_factor", where, where);
        out->low_freq_factor = hf_config_number_in(c, rope, where, "low_freq_factor", 1e-6, 1e9, 1);
        out->high_freq_factor = hf_config_number_in(c, rope, where, "high_freq_factor", 1e-6, 1e9, 4);
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
