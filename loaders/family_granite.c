/* family_granite.c: Granite 3 and its mixtures (transformers' modeling_granite.py, _granitemoe.py, _granitemoeshared.py): a llama with
 * multipliers of the embedding, the residual branches, the scores (in place of 1/sqrt(Dh)) and the logits (as a divisor). The
 * router's softmax runs over the chosen experts alone; an expert that every token takes may stand beside them. */
#include "loaders/family.h"

static const TensorRule rules[] = {RULES_EDGES, RULES_PRE_NORMS, RULES_QKV, RULES_O, RULES_GATED_MLP};

#define MIXTURE_RULES \
    RULES_EDGES, RULES_PRE_NORMS, RULES_QKV, RULES_O, \
        {"~layers.{l}.shared_mlp.input_linear.weight", ROLE_SHARED_GATE_UP, {SIDE_2S, SIDE_D}, FORM_PLAIN, WHEN_SHARED}, \
    { \
        "~layers.{l}.shared_mlp.output_linear.weight", ROLE_SHARED_DOWN, {SIDE_D, SIDE_S}, FORM_PLAIN, WHEN_SHARED \
    }
static const TensorRule mixture_rules[] = {
    MIXTURE_RULES,
    {"~layers.{l}.block_sparse_moe.input_linear.weight",
     ROLE_EXPERT_GATE_UP,
     {SIDE_E, SIDE_2X, SIDE_D},
     FORM_PLAIN,
     WHEN_ALWAYS},
    {"~layers.{l}.block_sparse_moe.output_linear.weight", ROLE_EXPERT_DOWN, {SIDE_E, SIDE_D, SIDE_X}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.block_sparse_moe.router.layer.weight", ROLE_ROUTER, {SIDE_E, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
};
static const TensorRule fused_rules[] = {
    MIXTURE_RULES,
    {"~layers.{l}.block_sparse_moe.experts.gate_up_proj",
     ROLE_EXPERT_GATE_UP,
     {SIDE_E, SIDE_2X, SIDE_D},
     FORM_PLAIN,
     WHEN_ALWAYS},
    {"~layers.{l}.block_sparse_moe.experts.down_proj", ROLE_EXPERT_DOWN, {SIDE_E, SIDE_D, SIDE_X}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.block_sparse_moe.router.weight", ROLE_ROUTER, {SIDE_E, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
};
static const TensorLayout layouts[] = {{"~embed_tokens.weight", rules, sizeof rules / sizeof *rules}};
static const TensorLayout mixture_layouts[] = {
    {"~layers.{l}.block_sparse_moe.input_linear.weight", mixture_rules, sizeof mixture_rules / sizeof *mixture_rules},
    {"~layers.{l}.block_sparse_moe.experts.gate_up_proj", fused_rules, sizeof fused_rules / sizeof *fused_rules},
};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", NULL};

static void read_common(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {0};
    family_decoder_read(c, &defaults, t);
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", false);
    t->embedding_multiplier = (float)hf_config_number_or(c, "embedding_multiplier", 1e-9, 1e9, 1);
    t->residual_multiplier = (float)hf_config_number_or(c, "residual_multiplier", 1e-9, 1e9, 1);
    t->attn_scale = (float)hf_config_number_or(c, "attention_multiplier", 1e-9, 1e9, 1);
    t->logit_scale = (float)(1 / hf_config_number_or(c, "logits_scaling", 1e-9, 1e9, 1));
}

static void read_granite(HfConfig *c, ModelTraits *t)
{
    read_common(c, t);
    t->mlp_bias = hf_config_bool_or(c, "mlp_bias", false);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
}

static void read_granitemoe(HfConfig *c, ModelTraits *t)
{
    read_common(c, t);
    t->d_expert = t->d_ff;
    family_mixture(c, "num_local_experts", 8, "num_experts_per_tok", 2, true, t);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_MOE}, t);
}

static void read_granitemoeshared(HfConfig *c, ModelTraits *t)
{
    read_granitemoe(c, t);
    t->d_shared = (size_t)hf_config_int_or(c, "shared_intermediate_size", 0, FAMILY_MAX_FF, 0);
}

const Family family_granite = {
    .name = "granite",
    .prefix = "model.",
    .layouts = layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_granite,
};

const Family family_granitemoe = {
    .name = "granitemoe",
    .prefix = "model.",
    .layouts = mixture_layouts,
    .n_layouts = 2,
    .redundant = redundant,
    .read_config = read_granitemoe,
};

const Family family_granitemoeshared = {
    .name = "granitemoeshared",
    .prefix = "model.",
    .layouts = mixture_layouts,
    .n_layouts = 2,
    .redundant = redundant,
    .read_config = read_granitemoeshared,
};
