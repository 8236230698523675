/* family_opt.c: OPT (transformers' modeling_opt.py): learned positions behind an offset of 2, ReLU, norms before each half, or (350m) after the
 * residual sum and without a last norm; the embedding may be narrower than the stream, with projections between. */
#include "loaders/family.h"

static const TensorRule rules[] = {
    {"~embed_tokens.weight", ROLE_EMBED, {SIDE_V, SIDE_W}, FORM_PLAIN, WHEN_ALWAYS},
    {"~embed_positions.weight", ROLE_POSITIONS, {SIDE_P, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~project_in.weight", ROLE_PROJECT_IN, {SIDE_D, SIDE_W}, FORM_PLAIN, WHEN_PROJECTED},
    {"~layers.{l}.self_attn_layer_norm.weight", ROLE_ATTN_NORM, {SIDE_D}, FORM_PLAIN, WHEN_NORM_WEIGHT},
    {"~layers.{l}.self_attn_layer_norm.bias", ROLE_ATTN_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_NORM_BIAS},
    {"~layers.{l}.self_attn.q_proj.weight", ROLE_QKV, {SIDE_Q, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.k_proj.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.v_proj.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.q_proj.bias", ROLE_QKV_BIAS, {SIDE_Q}, FORM_PLAIN, WHEN_ATTN_BIAS},
    {"~layers.{l}.self_attn.k_proj.bias", ROLE_QKV_BIAS, {SIDE_KV}, FORM_PLAIN, WHEN_ATTN_BIAS},
    {"~layers.{l}.self_attn.v_proj.bias", ROLE_QKV_BIAS, {SIDE_KV}, FORM_PLAIN, WHEN_ATTN_BIAS},
    {"~layers.{l}.self_attn.out_proj.weight", ROLE_O, {SIDE_D, SIDE_Q}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.out_proj.bias", ROLE_O_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ATTN_OUT_BIAS},
    {"~layers.{l}.final_layer_norm.weight", ROLE_MLP_NORM, {SIDE_D}, FORM_PLAIN, WHEN_NORM_WEIGHT},
    {"~layers.{l}.final_layer_norm.bias", ROLE_MLP_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_NORM_BIAS},
    {"~layers.{l}.fc1.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.fc1.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_MLP_BIAS},
    {"~layers.{l}.fc2.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.fc2.bias", ROLE_DOWN_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_MLP_BIAS},
    {"~final_layer_norm.weight", ROLE_FINAL_NORM, {SIDE_D}, FORM_PLAIN, WHEN_FINAL_NORM},
    {"~final_layer_norm.bias", ROLE_FINAL_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_FINAL_NORM_BIAS},
    {"~project_out.weight", ROLE_PROJECT_OUT, {SIDE_W, SIDE_D}, FORM_PLAIN, WHEN_PROJECTED},
    {"lm_head.weight", ROLE_HEAD, {SIDE_V, SIDE_W}, FORM_PLAIN, WHEN_UNTIED},
};
static const TensorLayout layouts[] = {{"~embed_tokens.weight", rules, sizeof rules / sizeof *rules}};
static const char *const redundant[] = {NULL};

static void read_config(HfConfig *c, ModelTraits *t)
{
    family_shape(c, "num_hidden_layers", "hidden_size", "num_attention_heads", t);
    t->max_positions = (int)hf_config_int_or(c, "max_position_embeddings", 1, FAMILY_MAX_POSITIONS, 2048);
    t->d_ff = (size_t)hf_config_int_or(c, "ffn_dim", 1, FAMILY_MAX_FF, 3072);
    size_t width = (size_t)hf_config_int_or(c, "word_embed_proj_dim", 1, FAMILY_MAX_WIDTH, (int64_t)t->d_model);
    t->d_embed = width != t->d_model ? width : 0;
    t->norm_eps = 1e-5f;
    t->norm_weight = t->norm_bias = hf_config_bool_or(c, "layer_norm_elementwise_affine", true);
    t->attn_bias = t->attn_out_bias = t->mlp_bias = hf_config_bool_or(c, "enable_bias", true);
    bool before = hf_config_bool_or(c, "do_layer_norm_before", true);
    t->norm_place = before ? NORM_PRE : NORM_AFTER;
    t->final_norm = before && !hf_config_bool_or(c, "_remove_final_layer_norm", false);
    t->activation = hf_config_activation_or(c, "activation_function", ACT_RELU);
    t->tied_embeddings = hf_config_bool_or(c, "tie_word_embeddings", true);
    t->learned_positions = true;
    t->position_offset = 2;
    t->bos_id = hf_config_token_or(c, "bos_token_id", 2);
    t->eos_id = hf_config_token_or(c, "eos_token_id", 2);
    family_layers(c, (LayerTraits){.window = 0, .rope = -1, .mlp = MLP_PLAIN}, t);
}

const Family family_opt = {
    .name = "opt",
    .prefix = "model.decoder.",
    .layouts = layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_config,
};
