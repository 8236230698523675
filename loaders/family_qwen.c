/* family_qwen.c: Qwen 2 and 3, dense and mixtures, in Hugging Face's layout (transformers' modeling_qwen2.py, _qwen3.py, _qwen2_moe.py,
 * _qwen3_moe.py). Qwen 2 is a llama with biases on queries, keys and values; Qwen 3 normalises each query and key head instead.
 * In the mixtures some layers may stay dense (mlp_only_layers, decoder_sparse_step); Qwen 2's has a shared expert, weighted by
 * the sigmoid of a gate of its own. A window, where it is used, holds in the layers from max_window_layers on. */
#include "loaders/family.h"

static const TensorRule qwen2_rules[] = {RULES_EDGES, RULES_PRE_NORMS, RULES_QKV, RULES_O, RULES_GATED_MLP};
static const TensorRule qwen3_rules[] = {RULES_EDGES,    RULES_PRE_NORMS, RULES_QKV, RULES_O, RULES_QK_NORM(SIDE_DH, SIDE_DH),
                                         RULES_GATED_MLP};

#define MIXTURE_RULES \
    RULES_EDGES, RULES_PRE_NORMS, RULES_QKV, RULES_O, RULES_QK_NORM(SIDE_DH, SIDE_DH), RULES_GATED_MLP, \
        {"~layers.{l}.mlp.gate.weight", ROLE_ROUTER, {SIDE_E, SIDE_D}, FORM_PLAIN, WHEN_MIXTURE}, \
        {"~layers.{l}.mlp.shared_expert.gate_proj.weight", ROLE_SHARED_GATE_UP, {SIDE_S, SIDE_D}, FORM_PLAIN, WHEN_SHARED}, \
        {"~layers.{l}.mlp.shared_expert.up_proj.weight", ROLE_SHARED_GATE_UP, {SIDE_S, SIDE_D}, FORM_PLAIN, WHEN_SHARED}, \
        {"~layers.{l}.mlp.shared_expert.down_proj.weight", ROLE_SHARED_DOWN, {SIDE_D, SIDE_S}, FORM_PLAIN, WHEN_SHARED}, \
    { \
        "~layers.{l}.mlp.shared_expert_gate.weight", ROLE_SHARED_GATE, {SIDE_ONE, SIDE_D}, FORM_PLAIN, WHEN_SHARED_GATE \
    }

static const TensorRule split_rules[] = {
    MIXTURE_RULES,
    {"~layers.{l}.mlp.experts.{x}.gate_proj.weight", ROLE_EXPERT_GATE_UP, {SIDE_X, SIDE_D}, FORM_PLAIN, WHEN_MIXTURE},
    {"~layers.{l}.mlp.experts.{x}.up_proj.weight", ROLE_EXPERT_GATE_UP, {SIDE_X, SIDE_D}, FORM_PLAIN, WHEN_MIXTURE},
    {"~layers.{l}.mlp.experts.{x}.down_proj.weight", ROLE_EXPERT_DOWN, {SIDE_D, SIDE_X}, FORM_PLAIN, WHEN_MIXTURE},
};
static const TensorRule fused_rules[] = {
    MIXTURE_RULES,
    {"~layers.{l}.mlp.experts.gate_up_proj", ROLE_EXPERT_GATE_UP, {SIDE_E, SIDE_2X, SIDE_D}, FORM_PLAIN, WHEN_MIXTURE},
    {"~layers.{l}.mlp.experts.down_proj", ROLE_EXPERT_DOWN, {SIDE_E, SIDE_D, SIDE_X}, FORM_PLAIN, WHEN_MIXTURE},
};

static const TensorLayout qwen2_layouts[] = {{"~embed_tokens.weight", qwen2_rules, sizeof qwen2_rules / sizeof *qwen2_rules}};
static const TensorLayout qwen3_layouts[] = {{"~embed_tokens.weight", qwen3_rules, sizeof qwen3_rules / sizeof *qwen3_rules}};
static const TensorLayout mixture_layouts[] = {
    {"~layers.{l}.mlp.experts.gate_up_proj", fused_rules, sizeof fused_rules / sizeof *fused_rules},
    {"~layers.{l}.mlp.experts.0.gate_proj.weight", split_rules, sizeof split_rules / sizeof *split_rules},
    {"~embed_tokens.weight", split_rules, sizeof split_rules / sizeof *split_rules}, /* every layer dense */
};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", NULL};

static int read_window(HfConfig *c)
{
    bool used = hf_config_bool_or(c, "use_sliding_window", false);
    int window =
        (int)hf_config_int_or(c, "sliding_window", 0, FAMILY_MAX_POSITIONS, json_get(c->root, "sliding_window") ? 0 : 4096);
    return used ? window : 0;
}

static void dense_layers(HfConfig *c, ModelTraits *t)
{
    int window = read_window(c), first = (int)hf_config_int_or(c, "max_window_layers", 0, FAMILY_MAX_LAYERS, 28);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
    for (int l = 0; !c->status && l < t->n_layers; l++)
        t->layers[l].window = family_slides(c, t, l, window, window && l >= first) ? window : 0;
}

static void read_qwen2(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.max_positions = 32768, .absent_kv_heads = 32, .bos_id = -1, .eos_id = -1};
    family_decoder_read(c, &defaults, t);
    t->attn_bias = true;
    dense_layers(c, t);
}

static void read_qwen3(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {
        .max_positions = 32768, .absent_kv_heads = 32, .head_dim = 128, .bos_id = -1, .eos_id = -1};
    family_decoder_read(c, &defaults, t);
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", false);
    t->qk_norm = QK_NORM_HEAD;
    dense_layers(c, t);
}

/* Which layers are mixtures; t->route is read. */
static void sparse_layers(HfConfig *c, ModelTraits *t)
{
    int step = (int)hf_config_int_or(c, "decoder_sparse_step", 1, FAMILY_MAX_LAYERS, 1);
    for (int l = 0; !c->status && l < t->n_layers; l++)
        if (!hf_config_lists(c, "mlp_only_layers", l) && (l + 1) % step == 0)
            t->layers[l].mlp = MLP_MOE;
}

static void read_qwen2_moe(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.max_positions = 32768, .absent_kv_heads = 16, .bos_id = -1, .eos_id = -1};
    family_decoder_read(c, &defaults, t);
    t->attn_bias = hf_config_bool_or(c, "qkv_bias", true);
    t->d_expert = (size_t)hf_config_int_or(c, "moe_intermediate_size", 1, FAMILY_MAX_FF, 1408);
    t->d_shared = (size_t)hf_config_int_or(c, "shared_expert_intermediate_size", 1, FAMILY_MAX_FF, 5632);
    t->shared_gate = true;
    family_mixture(c, "num_experts", 60, "num_experts_per_tok", 4, hf_config_bool_or(c, "norm_topk_prob", false), t);
    int window = read_window(c), end = (int)hf_config_int_or(c, "max_window_layers", 0, FAMILY_MAX_LAYERS, 28);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
    /* unlike its relatives: every other layer up to max_window_layers */
    for (int l = 0; !c->status && l < t->n_layers; l++)
        t->layers[l].window = family_slides(c, t, l, window, window && l % 2 == 0 && l < end) ? window : 0;
    sparse_layers(c, t);
}

static void read_qwen3_moe(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.max_positions = 32768, .absent_kv_heads = 4, .bos_id = -1, .eos_id = -1};
    family_decoder_read(c, &defaults, t);
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", false);
    t->qk_norm = QK_NORM_HEAD;
    t->d_expert = (size_t)hf_config_int_or(c, "moe_intermediate_size", 1, FAMILY_MAX_FF, 768);
    const char *experts = hf_config_has(c, "num_local_experts") ? "num_local_experts" : "num_experts";
    family_mixture(c, experts, 128, "num_experts_per_tok", 8, hf_config_bool_or(c, "norm_topk_prob", false), t);
    family_layers(c, (LayerTraits){.window = read_window(c), .rope = 0, .mlp = MLP_GATED}, t);
    sparse_layers(c, t);
}

const Family family_qwen2 = {.name = "qwen2",
                             .prefix = "model.",
                             .layouts = qwen2_layouts,
                             .n_layouts = 1,
                             .redundant = redundant,
                             .read_config = read_qwen2};

const Family family_qwen3 = {.name = "qwen3",
                             .prefix = "model.",
                             .layouts = qwen3_layouts,
                             .n_layouts = 1,
                             .redundant = redundant,
                             .read_config = read_qwen3};

const Family family_qwen2_moe = {
    .name = "qwen2_moe",
    .prefix = "model.",
    .layouts = mixture_layouts,
    .n_layouts = sizeof mixture_layouts / sizeof *mixture_layouts,
    .redundant = redundant,
    .read_config = read_qwen2_moe,
};

const Family family_qwen3_moe = {
    .name = "qwen3_moe",
    .prefix = "model.",
    .layouts = mixture_layouts,
    .n_layouts = sizeof mixture_layouts / sizeof *mixture_layouts,
    .redundant = redundant,
    .read_config = read_qwen3_moe,
};
