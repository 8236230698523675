/* family_phi.c: Phi 1, 1.5, 2 (transformers' modeling_phi.py) and Phi 3, 3.5, 4 (modeling_phi3.py). Phi: attention and a plain MLP
 * read one LayerNorm and are added together, part of each head is rotated, everything has biases, the head too. Phi 3: a llama whose
 * queries, keys and values lie in one matrix, as do gate and up; long contexts by longrope. */
#include "loaders/family.h"

static const TensorRule phi_rules[] = {
    {"~embed_tokens.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.input_layernorm.weight", ROLE_ATTN_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.input_layernorm.bias", ROLE_ATTN_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    RULES_QKV,
    {"~layers.{l}.self_attn.q_layernorm.weight", ROLE_Q_NORM, {SIDE_DH}, FORM_PLAIN, WHEN_QK_NORM},
    {"~layers.{l}.self_attn.q_layernorm.bias", ROLE_Q_NORM_BIAS, {SIDE_DH}, FORM_PLAIN, WHEN_QK_NORM},
    {"~layers.{l}.self_attn.k_layernorm.weight", ROLE_K_NORM, {SIDE_DH}, FORM_PLAIN, WHEN_QK_NORM},
    {"~layers.{l}.self_attn.k_layernorm.bias", ROLE_K_NORM_BIAS, {SIDE_DH}, FORM_PLAIN, WHEN_QK_NORM},
    {"~layers.{l}.self_attn.dense.weight", ROLE_O, {SIDE_D, SIDE_Q}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.dense.bias", ROLE_O_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.mlp.fc1.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.mlp.fc1.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.mlp.fc2.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.mlp.fc2.bias", ROLE_DOWN_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~final_layernorm.weight", ROLE_FINAL_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~final_layernorm.bias", ROLE_FINAL_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"lm_head.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_UNTIED},
    {"lm_head.bias", ROLE_HEAD_BIAS, {SIDE_V}, FORM_PLAIN, WHEN_ALWAYS},
};
static const TensorRule phi3_rules[] = {
    RULES_EDGES,
    RULES_PRE_NORMS,
    {"~layers.{l}.self_attn.qkv_proj.weight", ROLE_QKV, {SIDE_QKV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    RULES_O,
    {"~layers.{l}.mlp.gate_up_proj.weight", ROLE_GATE_UP, {SIDE_2F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.mlp.down_proj.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS},
};
static const TensorLayout phi_layouts[] = {{"~embed_tokens.weight", phi_rules, sizeof phi_rules / sizeof *phi_rules}};
static const TensorLayout phi3_layouts[] = {{"~embed_tokens.weight", phi3_rules, sizeof phi3_rules / sizeof *phi3_rules}};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", NULL};

static void read_phi(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {
        .eps_key = "layer_norm_eps", .eps = 1e-5, .norm_kind = NORM_LAYER, .activation = ACT_GELU_TANH, .partial = 0.5};
    family_decoder_read(c, &defaults, t);
    t->residual = RESIDUAL_PARALLEL;
    t->one_norm = true;
    t->norm_bias = true;
    t->attn_bias = t->attn_out_bias = t->mlp_bias = t->head_bias = true;
    t->qk_norm = hf_config_bool_or(c, "qk_layernorm", false) ? QK_NORM_HEAD : QK_NORM_NONE;
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_PLAIN}, t);
}

static void read_phi3(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {
        .eps = 1e-5, .max_positions = 4096, .original_positions = 4096, .knows_su = true, .partial = 1, .eos_id = 32000};
    family_decoder_read(c, &defaults, t);
    if (!c->status && t->ropes[0].kind != ROPE_DEFAULT && t->ropes[0].kind != ROPE_LONGROPE)
        hf_config_fail(c, "rope_scaling", "phi3 knows the types default and longrope");
    int window = (int)hf_config_int_or(c, "sliding_window", 1, FAMILY_MAX_POSITIONS, 0);
    family_layers(c, (LayerTraits){.window = window, .rope = 0, .mlp = MLP_GATED}, t);
}

const Family family_phi = {
    .name = "phi", .prefix = "model.", .layouts = phi_layouts, .n_layouts = 1, .redundant = redundant, .read_config = read_phi};

const Family family_phi3 = {.name = "phi3",
                            .prefix = "model.",
                            .layouts = phi3_layouts,
                            .n_layouts = 1,
                            .redundant = redundant,
                            .read_config = read_phi3};
