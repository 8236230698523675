/* family_gpt2.c: GPT-2 (transformers' GPT2Config and modeling_gpt2.py): layer norms with biases, learned positions, plain MLP, and
 * matrices stored [inputs, outputs] (Conv1D), queries, keys and values in one of them. The head reads the embedding. */
#include <math.h>

#include "loaders/family.h"

static const TensorRule rules[] = {
    {"~wte.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~wpe.weight", ROLE_POSITIONS, {SIDE_P, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.ln_1.weight", ROLE_ATTN_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.ln_1.bias", ROLE_ATTN_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.attn.c_attn.weight", ROLE_QKV, {SIDE_D, SIDE_QKV}, FORM_TRANSPOSED, WHEN_ALWAYS},
    {"~h.{l}.attn.c_attn.bias", ROLE_QKV_BIAS, {SIDE_QKV}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.attn.c_proj.weight", ROLE_O, {SIDE_Q, SIDE_D}, FORM_TRANSPOSED, WHEN_ALWAYS},
    {"~h.{l}.attn.c_proj.bias", ROLE_O_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.ln_2.weight", ROLE_MLP_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.ln_2.bias", ROLE_MLP_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.mlp.c_fc.weight", ROLE_GATE_UP, {SIDE_D, SIDE_F}, FORM_TRANSPOSED, WHEN_ALWAYS},
    {"~h.{l}.mlp.c_fc.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.mlp.c_proj.weight", ROLE_DOWN, {SIDE_F, SIDE_D}, FORM_TRANSPOSED, WHEN_ALWAYS},
    {"~h.{l}.mlp.c_proj.bias", ROLE_DOWN_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~ln_f.weight", ROLE_FINAL_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~ln_f.bias", ROLE_FINAL_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"lm_head.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_UNTIED},
};

static const TensorLayout layouts[] = {{"~h.{l}.ln_1.weight", rules, sizeof rules / sizeof *rules}};
/* Causal masks that older checkpoints carry. */
static const char *const redundant[] = {"~h.{l}.attn.bias", "~h.{l}.attn.masked_bias", NULL};

static void read_config(HfConfig *c, ModelTraits *t)
{
    t->n_layers = (int)hf_config_int(c, "n_layer", 1, FAMILY_MAX_LAYERS);
    t->d_model = (size_t)hf_config_int(c, "n_embd", 1, FAMILY_MAX_WIDTH);
    t->n_heads = t->n_kv_heads = (int)hf_config_int(c, "n_head", 1, FAMILY_MAX_WIDTH);
    t->vocab = (size_t)hf_config_int(c, "vocab_size", 1, FAMILY_MAX_VOCAB);
    t->max_positions = (int)hf_config_int_or(c, "n_positions", 1, FAMILY_MAX_POSITIONS, 1024);
    if (!c->status && t->d_model % (size_t)t->n_heads != 0)
        hf_config_fail(c, "n_head", "expected a divisor of n_embd %zu, found %d", t->d_model, t->n_heads);
    t->head_dim = c->status ? 1 : (int)(t->d_model / (size_t)t->n_heads);
    t->d_ff = (size_t)hf_config_int_or(c, "n_inner", 1, FAMILY_MAX_FF, 4 * (int64_t)t->d_model);
    t->norm_kind = NORM_LAYER;
    t->norm_eps = (float)hf_config_number_or(c, "layer_norm_epsilon", 0, 1, 1e-5);
    t->attn_scale = hf_config_bool_or(c, "scale_attn_weights", true) ? (float)(1 / sqrt((double)t->head_dim)) : 1;
    t->activation = hf_config_activation_or(c, "activation_function", ACT_GELU_TANH);
    t->tied_embeddings = hf_config_bool_or(c, "tie_word_embeddings", true);
    t->attn_bias = t->attn_out_bias = t->mlp_bias = true;
    t->learned_positions = true;
    t->bos_id = hf_config_token_or(c, "bos_token_id", 50256);
    t->eos_id = hf_config_token_or(c, "eos_token_id", 50256);
    hf_config_dtype(c, t->torch_dtype);
    family_layers(c, (LayerTraits){.window = 0, .rope = -1, .mlp = MLP_PLAIN}, t);
}

const Family family_gpt2 = {
    .name = "gpt2",
    .prefix = "transformer.",
    .layouts = layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_config,
};
