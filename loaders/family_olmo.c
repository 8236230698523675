/* family_olmo.c: OLMo 1, 2, 3 and OLMoE in Hugging Face's layout (transformers' modeling_olmo.py, _olmo2.py, _olmo3.py, _olmoe.py). OLMo 1:
 * a llama whose LayerNorms have no parameters (eps 1e-5, fixed) and whose queries, keys and values may be clipped. OLMo 2: norms
 * behind each half, queries and keys normalised over all heads together; OLMo 3 adds windows, its scaling of RoPE holds for the
 * layers that see everything. OLMoE: norms before, and a mixture in every layer. */
#include "loaders/family.h"

static const TensorRule olmo_rules[] = {RULES_EDGES, RULES_QKV, RULES_O, RULES_GATED_MLP};
static const TensorRule olmo2_rules[] = {
    RULES_EDGES,
    RULES_QKV,
    RULES_O,
    RULES_QK_NORM(SIDE_Q, SIDE_KV),
    RULES_GATED_MLP,
    {"~layers.{l}.post_attention_layernorm.weight", ROLE_ATTN_POST_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.post_feedforward_layernorm.weight", ROLE_MLP_POST_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
};

#define OLMOE_RULES \
    RULES_EDGES, RULES_PRE_NORMS, RULES_QKV, RULES_O, RULES_QK_NORM(SIDE_Q, SIDE_KV), \
    { \
        "~layers.{l}.mlp.gate.weight", ROLE_ROUTER, {SIDE_E, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS \
    }
static const TensorRule split_rules[] = {
    OLMOE_RULES,
    {"~layers.{l}.mlp.experts.{x}.gate_proj.weight", ROLE_EXPERT_GATE_UP, {SIDE_X, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.mlp.experts.{x}.up_proj.weight", ROLE_EXPERT_GATE_UP, {SIDE_X, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.mlp.experts.{x}.down_proj.weight", ROLE_EXPERT_DOWN, {SIDE_D, SIDE_X}, FORM_PLAIN, WHEN_ALWAYS},
};
static const TensorRule fused_rules[] = {
    OLMOE_RULES,
    {"~layers.{l}.mlp.experts.gate_up_proj", ROLE_EXPERT_GATE_UP, {SIDE_E, SIDE_2X, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.mlp.experts.down_proj", ROLE_EXPERT_DOWN, {SIDE_E, SIDE_D, SIDE_X}, FORM_PLAIN, WHEN_ALWAYS},
};

static const TensorLayout olmo_layouts[] = {{"~embed_tokens.weight", olmo_rules, sizeof olmo_rules / sizeof *olmo_rules}};
static const TensorLayout olmo2_layouts[] = {{"~embed_tokens.weight", olmo2_rules, sizeof olmo2_rules / sizeof *olmo2_rules}};
static const TensorLayout olmoe_layouts[] = {
    {"~layers.{l}.mlp.experts.0.gate_proj.weight", split_rules, sizeof split_rules / sizeof *split_rules},
    {"~layers.{l}.mlp.experts.gate_up_proj", fused_rules, sizeof fused_rules / sizeof *fused_rules},
};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", NULL};

static void read_olmo(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.norm_kind = NORM_LAYER, .bos_id = -1, .eos_id = 50279};
    family_decoder_read(c, &defaults, t);
    t->norm_eps = 1e-5f;
    t->norm_weight = false;
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", false);
    t->qkv_clip = family_optional(c, "clip_qkv", 0);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
}

static void read_olmo2(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.eps = 1e-5, .bos_id = -1, .eos_id = 50279};
    family_decoder_read(c, &defaults, t);
    t->norm_place = NORM_POST;
    t->qk_norm = QK_NORM_FULL;
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", false);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
}

static void read_olmo3(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.eps = 1e-5, .rope_theta = -1, .bos_id = -1, .eos_id = 50279};
    family_decoder_read(c, &defaults, t);
    t->norm_place = NORM_POST;
    t->qk_norm = QK_NORM_FULL;
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", false);
    HfRope full = {.head_dim = t->head_dim, .max_positions = t->max_positions, .theta = 5e5, .layer_type = "full_attention"};
    HfRope sliding = full;
    sliding.theta_key = "rope_theta_of_sliding_layers"; /* transformers gives a lone rope_theta to the others alone */
    sliding.layer_type = "sliding_attention";
    sliding.ignores_scaling = true;
    t->n_ropes = 2;
    hf_config_rope_as(c, &full, &t->ropes[0]);
    hf_config_rope_as(c, &sliding, &t->ropes[1]);
    int window = (int)hf_config_int_or(c, "sliding_window", 1, FAMILY_MAX_POSITIONS, 4096);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
    for (int l = 0; !c->status && l < t->n_layers; l++)
        if (family_slides(c, t, l, window, (l + 1) % 4 != 0))
            t->layers[l] = (LayerTraits){.window = window, .rope = 1, .mlp = MLP_GATED};
}

static void read_olmoe(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.eps = 1e-5, .max_positions = 4096, .bos_id = -1, .eos_id = 50279};
    family_decoder_read(c, &defaults, t);
    t->d_expert = t->d_ff;
    t->qk_norm = QK_NORM_FULL;
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", false);
    t->qkv_clip = family_optional(c, "clip_qkv", 0);
    family_mixture(c, "num_experts", 64, "num_experts_per_tok", 8, hf_config_bool_or(c, "norm_topk_prob", false), t);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_MOE}, t);
}

const Family family_olmo = {
    .name = "olmo",
    .prefix = "model.",
    .layouts = olmo_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_olmo,
};

const Family family_olmo2 = {
    .name = "olmo2",
    .prefix = "model.",
    .layouts = olmo2_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_olmo2,
};

const Family family_olmo3 = {
    .name = "olmo3",
    .prefix = "model.",
    .layouts = olmo2_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_olmo3,
};

const Family family_olmoe = {
    .name = "olmoe",
    .prefix = "model.",
    .layouts = olmoe_layouts,
    .n_layouts = sizeof olmoe_layouts / sizeof *olmoe_layouts,
    .redundant = redundant,
    .read_config = read_olmoe,
};
