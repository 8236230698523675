/* family_mixtral.c: Mixtral in Hugging Face's layout (transformers' MixtralConfig and modeling_mixtral.py): mistral with a mixture
 * of experts in place of the MLP. The router's softmax runs over all experts, the chosen shares are divided by their sum.
 *
 * Files name the experts one by one (w1 gate, w3 up, w2 down); transformers 5 holds them fused, gate rows before up rows, and
 * a checkpoint may be saved like that. */
#include "loaders/family.h"

/* Everything but the experts. */
#define COMMON_RULES(router) \
    {"~embed_tokens.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, false, WHEN_ALWAYS}, \
        {"~layers.{l}.input_layernorm.weight", ROLE_ATTN_NORM, {SIDE_D}, false, WHEN_ALWAYS}, \
        {"~layers.{l}.self_attn.q_proj.weight", ROLE_QKV, {SIDE_Q, SIDE_D}, false, WHEN_ALWAYS}, \
        {"~layers.{l}.self_attn.k_proj.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, false, WHEN_ALWAYS}, \
        {"~layers.{l}.self_attn.v_proj.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, false, WHEN_ALWAYS}, \
        {"~layers.{l}.self_attn.o_proj.weight", ROLE_O, {SIDE_D, SIDE_Q}, false, WHEN_ALWAYS}, \
        {"~layers.{l}.post_attention_layernorm.weight", ROLE_MLP_NORM, {SIDE_D}, false, WHEN_ALWAYS}, \
        {router, ROLE_ROUTER, {SIDE_E, SIDE_D}, false, WHEN_ALWAYS}, \
        {"~norm.weight", ROLE_FINAL_NORM, {SIDE_D}, false, WHEN_ALWAYS}, \
    { \
        "lm_head.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, false, WHEN_UNTIED \
    }

static const TensorRule split_rules[] = {
    COMMON_RULES("~layers.{l}.block_sparse_moe.gate.weight"),
    {"~layers.{l}.block_sparse_moe.experts.{x}.w1.weight", ROLE_EXPERT_GATE_UP, {SIDE_F, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.block_sparse_moe.experts.{x}.w3.weight", ROLE_EXPERT_GATE_UP, {SIDE_F, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.block_sparse_moe.experts.{x}.w2.weight", ROLE_EXPERT_DOWN, {SIDE_D, SIDE_F}, false, WHEN_ALWAYS},
};

static const TensorRule fused_rules[] = {
    COMMON_RULES("~layers.{l}.mlp.gate.weight"),
    {"~layers.{l}.mlp.experts.gate_up_proj", ROLE_EXPERT_GATE_UP, {SIDE_E, SIDE_2F, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.mlp.experts.down_proj", ROLE_EXPERT_DOWN, {SIDE_E, SIDE_D, SIDE_F}, false, WHEN_ALWAYS},
};

static const TensorLayout layouts[] = {
    {"~layers.{l}.block_sparse_moe.gate.weight", split_rules, sizeof split_rules / sizeof *split_rules},
    {"~layers.{l}.mlp.experts.gate_up_proj", fused_rules, sizeof fused_rules / sizeof *fused_rules},
};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", NULL};

static const HfHarmless harmless[] = {
    {"attention_bias", "null|false"},
    {"mlp_bias", "null|false"},
    {"layer_types", "null"},
    {"norm_topk_prob", "null|true"},
};

static void read_config(HfConfig *c, ModelTraits *t)
{
    static const LlamaDefaults defaults = {
        .rms_norm_eps = 1e-5, .rope_theta = 1e6, .max_positions = 4096 * 32, .absent_kv_heads = 8};
    hf_config_expect(c, harmless, sizeof harmless / sizeof *harmless);
    family_llama_read(c, &defaults, t);
    int window = (int)hf_config_int_or(c, "sliding_window", 1, FAMILY_MAX_POSITIONS, 0);
    int n_experts = (int)hf_config_int_or(c, "num_local_experts", 1, FAMILY_MAX_EXPERTS, 8);
    int top_k = (int)hf_config_int_or(c, "num_experts_per_tok", 1, n_experts, 2);
    t->route = (RouteSpec){.n_experts = n_experts, .top_k = top_k, .normalise = true};
    if (!c->status && top_k > n_experts)
        hf_config_fail(c, "num_experts_per_tok", "expected at most %d experts, found %d", n_experts, top_k);
    if (!c->status && !family_fill_layers(t, (LayerTraits){.window = window, .rope = 0, .mlp = MLP_MOE}))
        hf_config_fail(c, "num_hidden_layers", "out of memory for %d layers", t->n_layers);
}

const Family family_mixtral = {
    .name = "mixtral",
    .prefix = "model.",
    .layouts = layouts,
    .n_layouts = sizeof layouts / sizeof *layouts,
    .redundant = redundant,
    .read_config = read_config,
};
