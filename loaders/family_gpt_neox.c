/* family_gpt_neox.c: GPT-NeoX and Pythia (transformers' modeling_gpt_neox.py): LayerNorms with biases, attention and MLP in parallel behind
 * a norm each (or one after the other), queries, keys and values of each head together in one matrix, part of each head rotated. */
#include "loaders/family.h"

/* All but the head, whose name a later transformers changed. */
#define NEOX_BODY \
    {"~embed_in.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~layers.{l}.input_layernorm.weight", ROLE_ATTN_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~layers.{l}.input_layernorm.bias", ROLE_ATTN_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~layers.{l}.attention.query_key_value.weight", ROLE_QKV, {SIDE_QKV, SIDE_D}, FORM_QKV_GROUPS, WHEN_ALWAYS}, \
        {"~layers.{l}.attention.query_key_value.bias", ROLE_QKV_BIAS, {SIDE_QKV}, FORM_QKV_GROUPS, WHEN_ATTN_BIAS}, \
        {"~layers.{l}.attention.dense.weight", ROLE_O, {SIDE_D, SIDE_Q}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~layers.{l}.attention.dense.bias", ROLE_O_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ATTN_OUT_BIAS}, \
        {"~layers.{l}.post_attention_layernorm.weight", ROLE_MLP_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~layers.{l}.post_attention_layernorm.bias", ROLE_MLP_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~layers.{l}.mlp.dense_h_to_4h.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~layers.{l}.mlp.dense_h_to_4h.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~layers.{l}.mlp.dense_4h_to_h.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~layers.{l}.mlp.dense_4h_to_h.bias", ROLE_DOWN_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~final_layer_norm.weight", ROLE_FINAL_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
    { \
        "~final_layer_norm.bias", ROLE_FINAL_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS \
    }
static const TensorRule rules[] = {
    NEOX_BODY,
    {"embed_out.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_UNTIED},
};
static const TensorRule renamed_rules[] = {
    NEOX_BODY,
    {"lm_head.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_UNTIED},
};

static const TensorLayout layouts[] = {
    {"embed_out.weight", rules, sizeof rules / sizeof *rules},
    {"lm_head.weight", renamed_rules, sizeof renamed_rules / sizeof *renamed_rules},
    {"~embed_in.weight", rules, sizeof rules / sizeof *rules},
};
static const char *const redundant[] = {"~layers.{l}.attention.bias", "~layers.{l}.attention.masked_bias",
                                        "~layers.{l}.attention.rotary_emb.inv_freq", NULL};

static void read_config(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.eps_key = "layer_norm_eps",
                                             .eps = 1e-5,
                                             .norm_kind = NORM_LAYER,
                                             .activation = ACT_GELU_ERF,
                                             .partial = 0.25,
                                             .theta_key = "rotary_emb_base",
                                             .partial_key = "rotary_pct",
                                             .bos_id = 0};
    family_decoder_read(c, &defaults, t);
    t->n_kv_heads = t->n_heads; /* whatever the file says: the class knows no groups */
    t->norm_bias = true;
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", true);
    t->mlp_bias = true;
    bool parallel = hf_config_bool_or(c, "use_parallel_residual", true);
    t->residual = parallel ? RESIDUAL_PARALLEL : RESIDUAL_SEQUENTIAL;
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_PLAIN}, t);
}

const Family family_gpt_neox = {
    .name = "gpt_neox",
    .prefix = "gpt_neox.",
    .layouts = layouts,
    .n_layouts = sizeof layouts / sizeof *layouts,
    .redundant = redundant,
    .read_config = read_config,
};
