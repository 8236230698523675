/* family_mistral.c: Mistral 7B and its relatives in Hugging Face's layout (transformers' MistralConfig and modeling_mistral.py): a
 * llama without biases whose attention may see only the last sliding_window positions. */
#include "loaders/family.h"

static const HfHarmless harmless[] = {
    {"attention_bias", "null|false"},
    {"mlp_bias", "null|false"},
    {"layer_types", "null"},
    {"num_local_experts", "null|0|1"},
};

static void read_config(HfConfig *c, ModelTraits *t)
{
    static const LlamaDefaults defaults = {
        .rms_norm_eps = 1e-6, .rope_theta = 10000, .max_positions = 4096 * 32, .absent_kv_heads = 8};
    hf_config_expect(c, harmless, sizeof harmless / sizeof *harmless);
    family_llama_read(c, &defaults, t);
    /* absent means the class's default, null means none */
    int absent = json_get(c->root, "sliding_window") ? 0 : 4096;
    int window = (int)hf_config_int_or(c, "sliding_window", 1, FAMILY_MAX_POSITIONS, absent);
    if (!c->status && !family_fill_layers(t, (LayerTraits){.window = window, .rope = 0, .mlp = MLP_GATED}))
        hf_config_fail(c, "num_hidden_layers", "out of memory for %d layers", t->n_layers);
}

static const TensorRule rules[] = {
    {"~embed_tokens.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.input_layernorm.weight", ROLE_ATTN_NORM, {SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.q_proj.weight", ROLE_QKV, {SIDE_Q, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.k_proj.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.v_proj.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.o_proj.weight", ROLE_O, {SIDE_D, SIDE_Q}, false, WHEN_ALWAYS},
    {"~layers.{l}.post_attention_layernorm.weight", ROLE_MLP_NORM, {SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.mlp.gate_proj.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.mlp.up_proj.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.mlp.down_proj.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, false, WHEN_ALWAYS},
    {"~norm.weight", ROLE_FINAL_NORM, {SIDE_D}, false, WHEN_ALWAYS},
    {"lm_head.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, false, WHEN_UNTIED},
};

static const TensorLayout layouts[] = {{"~layers.{l}.mlp.gate_proj.weight", rules, sizeof rules / sizeof *rules}};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", NULL};

const Family family_mistral = {
    .name = "mistral",
    .prefix = "model.",
    .layouts = layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_config,
};
