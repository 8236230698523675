/* family_gemma.c: Gemma 1, 2 and 3 (text) in Hugging Face's layout (transformers' modeling_gemma.py, _gemma2.py, _gemma3.py). All: norms
 * with gains 1 + weight, embeddings multiplied by sqrt(D), tanh GELU, the head tied. Gemma 2 and 3 normalise behind each half too;
 * every second layer (every one but each sixth in Gemma 3) sees a window only. Gemma 2 bends scores and logits by softcaps;
 * Gemma 3 normalises queries and keys, and rotates its sliding layers by a base of their own. */
#include <math.h>

#include "loaders/family.h"

#define COMMON_RULES \
    RULES_EDGES, {"~layers.{l}.input_layernorm.weight", ROLE_ATTN_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, RULES_QKV, \
        RULES_O, RULES_GATED_MLP
static const TensorRule gemma_rules[] = {
    COMMON_RULES,
    {"~layers.{l}.post_attention_layernorm.weight", ROLE_MLP_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
};
static const TensorRule gemma2_rules[] = {
    COMMON_RULES,
    RULES_QK_NORM(SIDE_DH, SIDE_DH),
    {"~layers.{l}.post_attention_layernorm.weight", ROLE_ATTN_POST_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.pre_feedforward_layernorm.weight", ROLE_MLP_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.post_feedforward_layernorm.weight", ROLE_MLP_POST_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
};
static const TensorLayout gemma_layouts[] = {{"~embed_tokens.weight", gemma_rules, sizeof gemma_rules / sizeof *gemma_rules}};
static const TensorLayout gemma2_layouts[] = {
    {"~embed_tokens.weight", gemma2_rules, sizeof gemma2_rules / sizeof *gemma2_rules}};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", NULL};

static void read_common(HfConfig *c, const DecoderDefaults *defaults, ModelTraits *t)
{
    family_decoder_read(c, defaults, t);
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", false);
    t->norm_weight_offset = 1;
    t->embedding_multiplier = (float)sqrt((double)t->d_model);
}

static void read_gemma(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.activation = ACT_GELU_TANH,
                                             .max_positions = 8192,
                                             .absent_kv_heads = 16,
                                             .head_dim = 256,
                                             .tied = true,
                                             .bos_id = 2,
                                             .eos_id = 1};
    static const HfHarmless also[] = {{"hidden_activation", "null|\"gelu_pytorch_tanh\""}};
    hf_config_expect(c, also, 1);
    read_common(c, &defaults, t);
    if (t->activation == ACT_GELU_ERF) /* the released files say gelu and mean its approximation */
        t->activation = ACT_GELU_TANH;
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
}

/* What Gemma 2 and 3 share; `period`: every period-th layer sees everything. */
static void read_sliding(HfConfig *c, ModelTraits *t, double logit_cap, int period)
{
    t->norm_place = NORM_BOTH;
    double scalar = hf_config_number_or(c, "query_pre_attn_scalar", 1e-9, 1e9, 256);
    t->attn_scale = (float)(1 / sqrt(scalar));
    t->logit_softcap = family_optional(c, "final_logit_softcapping", logit_cap);
    int window = (int)hf_config_int_or(c, "sliding_window", 1, FAMILY_MAX_POSITIONS, 4096);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
    for (int l = 0; !c->status && l < t->n_layers; l++)
        t->layers[l].window = family_slides(c, t, l, window, (l + 1) % period != 0) ? window : 0;
}

static void read_gemma2(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.act_key = "hidden_activation",
                                             .activation = ACT_GELU_TANH,
                                             .max_positions = 8192,
                                             .absent_kv_heads = 4,
                                             .head_dim = 256,
                                             .tied = true,
                                             .bos_id = 2,
                                             .eos_id = 1};
    read_common(c, &defaults, t);
    t->attn_softcap = family_optional(c, "attn_logit_softcapping", 50);
    read_sliding(c, t, 30, 2);
}

static void read_gemma3(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.act_key = "hidden_activation",
                                             .activation = ACT_GELU_TANH,
                                             .rope_theta = -1,
                                             .max_positions = 131072,
                                             .absent_kv_heads = 4,
                                             .head_dim = 256,
                                             .tied = true,
                                             .bos_id = 2,
                                             .eos_id = 1};
    read_common(c, &defaults, t);
    t->qk_norm = QK_NORM_HEAD;
    HfRope full = {.head_dim = t->head_dim, .max_positions = t->max_positions, .theta = 1e6, .layer_type = "full_attention"};
    HfRope sliding = full;
    sliding.theta = 10000;
    sliding.theta_key = "rope_local_base_freq";
    sliding.layer_type = "sliding_attention";
    sliding.ignores_scaling = true;
    t->n_ropes = 2;
    hf_config_rope_as(c, &full, &t->ropes[0]);
    hf_config_rope_as(c, &sliding, &t->ropes[1]);
    read_sliding(c, t, 0, (int)hf_config_int_or(c, "sliding_window_pattern", 1, FAMILY_MAX_LAYERS, 6));
    for (int l = 0; !c->status && l < t->n_layers; l++)
        t->layers[l].rope = t->layers[l].window ? 1 : 0;
}

const Family family_gemma = {.name = "gemma",
                             .prefix = "model.",
                             .layouts = gemma_layouts,
                             .n_layouts = 1,
                             .redundant = redundant,
                             .read_config = read_gemma};

const Family family_gemma2 = {
    .name = "gemma2",
    .prefix = "model.",
    .layouts = gemma2_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_gemma2,
};

const Family family_gemma3 = {
    .name = "gemma3_text",
    .prefix = "model.",
    .layouts = gemma2_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_gemma3,
};
