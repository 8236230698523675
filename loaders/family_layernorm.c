/* family_layernorm.c: relatives of llama that normalise by LayerNorm or have a plain MLP (transformers' modeling_stablelm.py,
 * _starcoder2.py, _nemotron.py, _arcee.py, _persimmon.py). StableLM: part of each head is rotated, heads may be normalised each with
 * gains of its own, attention and MLP may stand in parallel behind one norm. StarCoder 2: biases everywhere, a plain MLP. Nemotron:
 * gains are 1 + weight, squared ReLU. Arcee: a llama with a plain MLP of squared ReLU. Persimmon: queries, keys and values of each
 * head lie together. */
#include "loaders/family.h"

#define RULES_PLAIN_MLP(up, down) \
    {"~layers.{l}.mlp." up ".weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~layers.{l}.mlp." up ".bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_MLP_BIAS}, \
        {"~layers.{l}.mlp." down ".weight", ROLE_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS}, \
    { \
        "~layers.{l}.mlp." down ".bias", ROLE_DOWN_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_MLP_BIAS \
    }

static const TensorRule stablelm_rules[] = {
    RULES_EDGES,
    RULES_PRE_NORMS,
    RULES_QKV,
    RULES_O,
    {"~layers.{l}.self_attn.q_layernorm.norms.{h}.weight", ROLE_Q_NORM, {SIDE_DH}, FORM_PLAIN, WHEN_QK_NORM},
    {"~layers.{l}.self_attn.k_layernorm.norms.{h}.weight", ROLE_K_NORM, {SIDE_DH}, FORM_PLAIN, WHEN_QK_NORM},
    RULES_GATED_MLP,
};
static const TensorRule starcoder2_rules[] = {RULES_EDGES, RULES_PRE_NORMS, RULES_QKV, RULES_O,
                                              RULES_PLAIN_MLP("c_fc", "c_proj")};
static const TensorRule up_down_rules[] = {RULES_EDGES, RULES_PRE_NORMS, RULES_QKV, RULES_O,
                                           RULES_PLAIN_MLP("up_proj", "down_proj")};
static const TensorRule persimmon_rules[] = {
    {"~embed_tokens.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    RULES_PRE_NORMS,
    {"~layers.{l}.self_attn.query_key_value.weight", ROLE_QKV, {SIDE_QKV, SIDE_D}, FORM_QKV_GROUPS, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.query_key_value.bias", ROLE_QKV_BIAS, {SIDE_QKV}, FORM_QKV_GROUPS, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.dense.weight", ROLE_O, {SIDE_D, SIDE_Q}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.dense.bias", ROLE_O_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.q_layernorm.weight", ROLE_Q_NORM, {SIDE_DH}, FORM_PLAIN, WHEN_QK_NORM},
    {"~layers.{l}.self_attn.q_layernorm.bias", ROLE_Q_NORM_BIAS, {SIDE_DH}, FORM_PLAIN, WHEN_QK_NORM},
    {"~layers.{l}.self_attn.k_layernorm.weight", ROLE_K_NORM, {SIDE_DH}, FORM_PLAIN, WHEN_QK_NORM},
    {"~layers.{l}.self_attn.k_layernorm.bias", ROLE_K_NORM_BIAS, {SIDE_DH}, FORM_PLAIN, WHEN_QK_NORM},
    RULES_PLAIN_MLP("dense_h_to_4h", "dense_4h_to_h"),
    {"~final_layernorm.weight", ROLE_FINAL_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~final_layernorm.bias", ROLE_FINAL_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"lm_head.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_UNTIED},
};
static const TensorLayout stablelm_layouts[] = {
    {"~embed_tokens.weight", stablelm_rules, sizeof stablelm_rules / sizeof *stablelm_rules}};
static const TensorLayout starcoder2_layouts[] = {
    {"~embed_tokens.weight", starcoder2_rules, sizeof starcoder2_rules / sizeof *starcoder2_rules}};
static const TensorLayout up_down_layouts[] = {
    {"~embed_tokens.weight", up_down_rules, sizeof up_down_rules / sizeof *up_down_rules}};
static const TensorLayout persimmon_layouts[] = {
    {"~embed_tokens.weight", persimmon_rules, sizeof persimmon_rules / sizeof *persimmon_rules}};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", NULL};

static void read_stablelm(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.eps_key = "layer_norm_eps",
                                             .eps = 1e-5,
                                             .norm_kind = NORM_LAYER,
                                             .partial = 0.25,
                                             .max_positions = 4096,
                                             .absent_kv_heads = 32};
    family_decoder_read(c, &defaults, t);
    t->norm_bias = true;
    t->attn_bias = hf_config_bool_or(c, "use_qkv_bias", false);
    t->qk_norm = hf_config_bool_or(c, "qk_layernorm", false) ? QK_NORM_HEAD : QK_NORM_NONE;
    t->one_norm = hf_config_bool_or(c, "use_parallel_residual", false);
    t->residual = t->one_norm ? RESIDUAL_PARALLEL : RESIDUAL_SEQUENTIAL;
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
}

static void read_starcoder2(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.eps_key = "norm_epsilon",
                                             .eps = 1e-5,
                                             .norm_kind = NORM_LAYER,
                                             .activation = ACT_GELU_TANH,
                                             .max_positions = 4096,
                                             .absent_kv_heads = 2,
                                             .tied = true,
                                             .bos_id = 50256,
                                             .eos_id = 50256};
    family_decoder_read(c, &defaults, t);
    t->norm_bias = true;
    t->attn_bias = t->attn_out_bias = t->mlp_bias = hf_config_bool_or(c, "use_bias", true);
    int window = (int)hf_config_int_or(c, "sliding_window", 1, FAMILY_MAX_POSITIONS, 0);
    family_layers(c, (LayerTraits){.window = window, .rope = 0, .mlp = MLP_PLAIN}, t);
}

static void read_nemotron(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.eps_key = "norm_eps",
                                             .eps = 1e-5,
                                             .norm_kind = NORM_LAYER,
                                             .activation = ACT_RELU2,
                                             .partial = 0.5,
                                             .max_positions = 4096,
                                             .bos_id = 2,
                                             .eos_id = 3};
    family_decoder_read(c, &defaults, t);
    t->norm_bias = true;
    t->norm_weight_offset = 1;
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", false);
    t->mlp_bias = hf_config_bool_or(c, "mlp_bias", false);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_PLAIN}, t);
}

static void read_arcee(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {
        .eps = 1e-5, .activation = ACT_RELU2, .max_positions = 4096, .bos_id = 128000, .eos_id = 128001};
    family_decoder_read(c, &defaults, t);
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", false);
    t->mlp_bias = hf_config_bool_or(c, "mlp_bias", false);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_PLAIN}, t);
}

static void read_persimmon(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.eps_key = "layer_norm_eps",
                                             .eps = 1e-5,
                                             .norm_kind = NORM_LAYER,
                                             .activation = ACT_RELU2,
                                             .partial = 0.5,
                                             .max_positions = 16384};
    family_decoder_read(c, &defaults, t);
    t->n_kv_heads = t->n_heads; /* the class knows no groups */
    t->norm_bias = true;
    t->attn_bias = t->attn_out_bias = t->mlp_bias = true;
    t->qk_norm = hf_config_bool_or(c, "qk_layernorm", true) ? QK_NORM_HEAD : QK_NORM_NONE;
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_PLAIN}, t);
}

const Family family_stablelm = {
    .name = "stablelm",
    .prefix = "model.",
    .layouts = stablelm_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_stablelm,
};

const Family family_starcoder2 = {
    .name = "starcoder2",
    .prefix = "model.",
    .layouts = starcoder2_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_starcoder2,
};

const Family family_nemotron = {
    .name = "nemotron",
    .prefix = "model.",
    .layouts = up_down_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_nemotron,
};

const Family family_arcee = {
    .name = "arcee",
    .prefix = "model.",
    .layouts = up_down_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_arcee,
};

const Family family_persimmon = {
    .name = "persimmon",
    .prefix = "model.",
    .layouts = persimmon_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_persimmon,
};
