/* family_glm.c: GLM 4 as transformers' modeling_glm.py and _glm4.py have it: neighbouring pairs of half of each head are rotated, gate
 * and up lie in one matrix; glm4 normalises behind each half too. */
#include "loaders/family.h"

#define COMMON_RULES \
    RULES_EDGES, RULES_PRE_NORMS, RULES_QKV, RULES_O, \
        {"~layers.{l}.mlp.gate_up_proj.weight", ROLE_GATE_UP, {SIDE_2F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
    { \
        "~layers.{l}.mlp.down_proj.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS \
    }
static const TensorRule glm_rules[] = {COMMON_RULES};
static const TensorRule glm4_rules[] = {
    COMMON_RULES,
    {"~layers.{l}.post_self_attn_layernorm.weight", ROLE_ATTN_POST_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.post_mlp_layernorm.weight", ROLE_MLP_POST_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
};
static const TensorLayout glm_layouts[] = {{"~embed_tokens.weight", glm_rules, sizeof glm_rules / sizeof *glm_rules}};
static const TensorLayout glm4_layouts[] = {{"~embed_tokens.weight", glm4_rules, sizeof glm4_rules / sizeof *glm4_rules}};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", NULL};

static void read_glm(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.eps = 1.5625e-7,
                                             .partial = 0.5,
                                             .null_is_whole = true,
                                             .interleaved = true,
                                             .max_positions = 131072,
                                             .absent_kv_heads = 2,
                                             .head_dim = 128,
                                             .bos_id = -1,
                                             .eos_id = 151329};
    family_decoder_read(c, &defaults, t);
    t->attn_bias = hf_config_bool_or(c, "attention_bias", true);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
}

static void read_glm4(HfConfig *c, ModelTraits *t)
{
    read_glm(c, t);
    t->norm_place = NORM_BOTH;
}

const Family family_glm = {
    .name = "glm",
    .prefix = "model.",
    .layouts = glm_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_glm,
};

const Family family_glm4 = {
    .name = "glm4",
    .prefix = "model.",
    .layouts = glm4_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_glm4,
};
