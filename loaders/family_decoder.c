/* family_decoder.c: what families share: reading a configuration with llama's key names, layers alike, the slopes of ALiBi. */
#include <math.h>
#include <stdlib.h>

#include "kernels/exact/exact_math.h"
#include "loaders/family.h"

static void read_heads(HfConfig *c, const DecoderDefaults *d, ModelTraits *t)
{
    t->n_heads = (int)hf_config_int(c, "num_attention_heads", 1, FAMILY_MAX_WIDTH);
    bool absent = !json_get(c->root, "num_key_value_heads");
    int kv_fallback = absent && d->absent_kv_heads ? d->absent_kv_heads : t->n_heads;
    t->n_kv_heads = (int)hf_config_int_or(c, "num_key_value_heads", 1, FAMILY_MAX_WIDTH, kv_fallback);
    if (!c->status && t->n_heads % t->n_kv_heads != 0)
        hf_config_fail(c, "num_key_value_heads", "expected a divisor of the %d heads, found %d", t->n_heads, t->n_kv_heads);
    bool derived = !hf_config_has(c, "head_dim") && !(d->head_dim && !json_get(c->root, "head_dim"));
    if (!c->status && derived && t->d_model % (size_t)t->n_heads != 0)
        hf_config_fail(c, "num_attention_heads", "expected a divisor of hidden_size %zu, found %d", t->d_model, t->n_heads);
    int64_t head_dim = c->status ? 1 : derived ? (int64_t)t->d_model / t->n_heads : d->head_dim;
    t->head_dim = (int)hf_config_int_or(c, "head_dim", 1, FAMILY_MAX_WIDTH, head_dim);
    if (!c->status && (int64_t)t->head_dim * t->n_heads > FAMILY_MAX_FF)
        hf_config_fail(c, "head_dim", "expected at most %d query dims, found %d heads of %d", FAMILY_MAX_FF, t->n_heads,
                       t->head_dim);
    t->attn_scale = c->status ? 1 : (float)(1 / sqrt((double)t->head_dim));
}

void family_decoder_read(HfConfig *c, const DecoderDefaults *d, ModelTraits *t)
{
    t->n_layers = (int)hf_config_int(c, "num_hidden_layers", 1, FAMILY_MAX_LAYERS);
    t->d_model = (size_t)hf_config_int(c, "hidden_size", 1, FAMILY_MAX_WIDTH);
    t->d_ff = (size_t)hf_config_int(c, "intermediate_size", 1, FAMILY_MAX_FF);
    t->vocab = (size_t)hf_config_int(c, "vocab_size", 1, FAMILY_MAX_VOCAB);
    read_heads(c, d, t);
    int max_positions = d->max_positions ? d->max_positions : 2048;
    t->max_positions = (int)hf_config_int_or(c, "max_position_embeddings", 1, FAMILY_MAX_POSITIONS, max_positions);
    t->norm_kind = d->norm_kind;
    t->norm_eps = (float)hf_config_number_or(c, d->eps_key ? d->eps_key : "rms_norm_eps", 0, 1, d->eps > 0 ? d->eps : 1e-6);
    t->qk_norm_kind = t->norm_kind;
    t->qk_norm_eps = t->norm_eps;
    t->activation = hf_config_activation_or(c, d->act_key ? d->act_key : "hidden_act", d->activation);
    t->tied_embeddings = hf_config_bool_or(c, "tie_word_embeddings", d->tied);
    t->bos_id = hf_config_token_or(c, "bos_token_id", d->bos_id ? d->bos_id : 1);
    t->eos_id = hf_config_token_or(c, "eos_token_id", d->eos_id ? d->eos_id : 2);
    hf_config_dtype(c, t->torch_dtype);
    if (d->rope_theta < 0)
        return;
    t->n_ropes = 1;
    HfRope rope = {.head_dim = t->head_dim,
                   .max_positions = t->max_positions,
                   .theta = d->rope_theta > 0 ? d->rope_theta : 10000,
                   .partial = d->partial,
                   .theta_key = d->theta_key,
                   .partial_key = d->partial_key,
                   .null_is_whole = d->null_is_whole,
                   .original_positions = d->original_positions,
                   .knows_su = d->knows_su};
    hf_config_rope_as(c, &rope, &t->ropes[0]);
    t->ropes[0].style = d->interleaved ? ROPE_INTERLEAVED : ROPE_HALF;
}

void family_shape(HfConfig *c, const char *layers_key, const char *width_key, const char *heads_key, ModelTraits *t)
{
    t->n_layers = (int)hf_config_int(c, layers_key, 1, FAMILY_MAX_LAYERS);
    t->d_model = (size_t)hf_config_int(c, width_key, 1, FAMILY_MAX_WIDTH);
    t->n_heads = t->n_kv_heads = (int)hf_config_int(c, heads_key, 1, FAMILY_MAX_WIDTH);
    t->vocab = (size_t)hf_config_int(c, "vocab_size", 1, FAMILY_MAX_VOCAB);
    if (!c->status && t->d_model % (size_t)t->n_heads != 0)
        hf_config_fail(c, heads_key, "expected a divisor of %s %zu, found %d", width_key, t->d_model, t->n_heads);
    t->head_dim = c->status ? 1 : (int)(t->d_model / (size_t)t->n_heads);
    t->attn_scale = (float)(1 / sqrt((double)t->head_dim));
    t->norm_kind = NORM_LAYER;
    t->norm_bias = true;
    t->attn_bias = t->attn_out_bias = t->mlp_bias = true;
    hf_config_dtype(c, t->torch_dtype);
}

void family_layers(HfConfig *c, LayerTraits layer, ModelTraits *t)
{
    if (!c->status && !family_fill_layers(t, layer))
        hf_config_fail(c, "num_hidden_layers", "out of memory for %d layers", t->n_layers);
}

const char *family_key(const HfConfig *c, const char *first, const char *second)
{
    return !hf_config_has(c, first) && hf_config_has(c, second) ? second : first;
}

bool family_slides(HfConfig *c, const ModelTraits *t, int layer, int window, bool absent)
{
    static const char *const types[] = {"full_attention", "sliding_attention", NULL};
    int type = hf_config_word_at(c, "layer_types", types, layer, t->n_layers);
    if (type == 1 && !window)
        hf_config_fail(c, "layer_types", "entry %d: sliding_attention needs a sliding_window in use, found none", layer);
    return type < 0 ? absent : type == 1;
}

float family_optional(HfConfig *c, const char *key, double absent)
{
    return (float)hf_config_number_or(c, key, 1e-9, 1e9, json_get(c->root, key) ? 0 : absent);
}

void family_mixture(HfConfig *c, const char *experts_key, int absent_experts, const char *top_k_key, int absent_top_k,
                    bool normalise, ModelTraits *t)
{
    int n_experts = (int)hf_config_int_or(c, experts_key, 1, FAMILY_MAX_EXPERTS, absent_experts);
    int top_k = (int)hf_config_int_or(c, top_k_key, 1, FAMILY_MAX_EXPERTS, absent_top_k);
    t->route = (RouteSpec){.n_experts = n_experts, .top_k = top_k, .normalise = normalise};
    if (!c->status && top_k > n_experts)
        hf_config_fail(c, top_k_key, "expected at most %d experts, found %d", n_experts, top_k);
}

bool family_fill_alibi(ModelTraits *t, double most, double scale)
{
    t->alibi_slopes = calloc((size_t)t->n_heads, sizeof *t->alibi_slopes);
    int power = 1;
    while (2 * power <= t->n_heads)
        power *= 2;
    for (int h = 0; t->alibi_slopes && h < t->n_heads; h++) {
        double turn = h < power ? (double)(h + 1) / power : (double)(2 * (h - power) + 1) / (2.0 * power);
        t->alibi_slopes[h] = (float)(exact_pow(2, -most * turn) * scale);
    }
    return t->alibi_slopes != NULL;
}

void family_alibi(HfConfig *c, double most, double scale, ModelTraits *t)
{
    if (!c->status && !family_fill_alibi(t, most, scale))
        hf_config_fail(c, "n_head", "out of memory for %d slopes", t->n_heads);
}
