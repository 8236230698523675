/* family_mixtral.c: Mixtral in Hugging Face's layout (transformers' MixtralConfig and modeling_mixtral.py): mistral with a mixture
 * of experts in place of the MLP. The router's softmax runs over all experts, the chosen shares are divided by their sum.
 *
 * Files name the experts one by one (w1 gate, w3 up, w2 down); transformers 5 holds them fused, gate rows before up rows, and
 * a checkpoint may be saved like that. */
#include "loaders/family.h"

/* Everything but the experts. */
#define COMMON_RULES(router) \
    RULES_EDGES, RULES_PRE_NORMS, RULES_QKV, RULES_O, \
    { \
        router, ROLE_ROUTER, {SIDE_E, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS \
    }

static const TensorRule split_rules[] = {
    COMMON_RULES("~layers.{l}.block_sparse_moe.gate.weight"),
    {"~layers.{l}.block_sparse_moe.experts.{x}.w1.weight", ROLE_EXPERT_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.block_sparse_moe.experts.{x}.w3.weight", ROLE_EXPERT_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.block_sparse_moe.experts.{x}.w2.weight", ROLE_EXPERT_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS},
};

static const TensorRule fused_rules[] = {
    COMMON_RULES("~layers.{l}.mlp.gate.weight"),
    {"~layers.{l}.mlp.experts.gate_up_proj", ROLE_EXPERT_GATE_UP, {SIDE_E, SIDE_2F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.mlp.experts.down_proj", ROLE_EXPERT_DOWN, {SIDE_E, SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS},
};

static const TensorLayout layouts[] = {
    {"~layers.{l}.block_sparse_moe.gate.weight", split_rules, sizeof split_rules / sizeof *split_rules},
    {"~layers.{l}.mlp.experts.gate_up_proj", fused_rules, sizeof fused_rules / sizeof *fused_rules},
};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", NULL};

static void read_config(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.eps = 1e-5, .rope_theta = 1e6, .max_positions = 4096 * 32, .absent_kv_heads = 8};
    family_decoder_read(c, &defaults, t);
    t->d_expert = t->d_ff;
    int window = (int)hf_config_int_or(c, "sliding_window", 1, FAMILY_MAX_POSITIONS, 0);
    family_mixture(c, "num_local_experts", 8, "num_experts_per_tok", 2, true, t);
    family_layers(c, (LayerTraits){.window = window, .rope = 0, .mlp = MLP_MOE}, t);
}

const Family family_mixtral = {
    .name = "mixtral",
    .prefix = "model.",
    .layouts = layouts,
    .n_layouts = sizeof layouts / sizeof *layouts,
    .redundant = redundant,
    .read_config = read_config,
};
