/* family_smollm3.c: llamas some of whose layers do not rotate, or that differ in little else (transformers' modeling_smollm3.py,
 * _exaone4.py, _seed_oss.py, _ministral.py, _helium.py, _ernie4_5.py). SmolLM 3 leaves every fourth layer without positions; EXAONE 4 those
 * that see everything, has its norms behind each half, and normalises heads; Helium and Ernie 4.5 rotate neighbouring pairs. */
#include "loaders/family.h"

static const TensorRule rules[] = {RULES_EDGES, RULES_PRE_NORMS, RULES_QKV, RULES_O, RULES_GATED_MLP};
static const TensorRule exaone4_rules[] = {
    RULES_EDGES,
    RULES_QKV,
    RULES_O,
    RULES_QK_NORM(SIDE_DH, SIDE_DH),
    RULES_GATED_MLP,
    {"~layers.{l}.post_attention_layernorm.weight", ROLE_ATTN_POST_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~layers.{l}.post_feedforward_layernorm.weight", ROLE_MLP_POST_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
};
static const TensorLayout layouts[] = {{"~embed_tokens.weight", rules, sizeof rules / sizeof *rules}};
static const TensorLayout exaone4_layouts[] = {
    {"~embed_tokens.weight", exaone4_rules, sizeof exaone4_rules / sizeof *exaone4_rules}};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", NULL};

static void read_smollm3(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {
        .rope_theta = 2e6, .max_positions = 32768, .absent_kv_heads = 4, .tied = true, .bos_id = 128000, .eos_id = 128001};
    family_decoder_read(c, &defaults, t);
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", false);
    t->mlp_bias = hf_config_bool_or(c, "mlp_bias", false);
    int window = (int)hf_config_int_or(c, "sliding_window", 1, FAMILY_MAX_POSITIONS, 0);
    if (!hf_config_bool_or(c, "use_sliding_window", false))
        window = 0;
    int interval = (int)hf_config_int_or(c, "no_rope_layer_interval", 1, FAMILY_MAX_LAYERS, 4);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
    for (int l = 0; !c->status && l < t->n_layers; l++) {
        bool rotates = hf_config_int_at(c, "no_rope_layers", l, t->n_layers, 0, 1, (l + 1) % interval != 0);
        bool slides = family_slides(c, t, l, window, window && !rotates);
        t->layers[l].rope = rotates ? 0 : -1;
        t->layers[l].window = slides ? window : 0;
    }
}

static void read_exaone4(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.eps = 1e-5, .absent_kv_heads = 32, .bos_id = -1};
    family_decoder_read(c, &defaults, t);
    t->norm_place = NORM_POST;
    t->qk_norm = QK_NORM_HEAD;
    int absent = json_get(c->root, "sliding_window") ? 0 : 4096;
    int window = (int)hf_config_int_or(c, "sliding_window", 1, FAMILY_MAX_POSITIONS, absent);
    int period = (int)hf_config_int_or(c, "sliding_window_pattern", 0, FAMILY_MAX_LAYERS, 4);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
    for (int l = 0; !c->status && window && l < t->n_layers; l++) {
        bool slides = family_slides(c, t, l, window, period && (l + 1) % period != 0);
        t->layers[l].window = slides ? window : 0;
        t->layers[l].rope = slides ? 0 : -1;
    }
}

static void read_seed_oss(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.max_positions = 524288, .absent_kv_heads = 8, .head_dim = 128, .bos_id = -1};
    family_decoder_read(c, &defaults, t);
    t->attn_bias = hf_config_bool_or(c, "attention_bias", true);
    t->attn_out_bias = hf_config_bool_or(c, "attention_out_bias", false);
    t->mlp_bias = hf_config_bool_or(c, "mlp_bias", false);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
}

static void read_ministral(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.max_positions = 4096 * 32, .absent_kv_heads = 8};
    family_decoder_read(c, &defaults, t);
    int absent = json_get(c->root, "sliding_window") ? 0 : 4096;
    int window = (int)hf_config_int_or(c, "sliding_window", 1, FAMILY_MAX_POSITIONS, absent);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
    for (int l = 0; !c->status && l < t->n_layers; l++)
        t->layers[l].window = family_slides(c, t, l, window, window > 0) ? window : 0;
}

static void read_helium(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {
        .eps = 1e-8, .rope_theta = 1e5, .interleaved = true, .max_positions = 4096, .absent_kv_heads = 20, .head_dim = 128};
    family_decoder_read(c, &defaults, t);
    t->attn_bias = hf_config_bool_or(c, "attention_bias", false);
    t->mlp_bias = hf_config_bool_or(c, "mlp_bias", false);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
}

static void read_ernie4_5(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.eps = 1e-5,
                                             .rope_theta = 5e5,
                                             .interleaved = true,
                                             .max_positions = 131072,
                                             .absent_kv_heads = 2,
                                             .head_dim = 128,
                                             .tied = true};
    family_decoder_read(c, &defaults, t);
    t->attn_bias = t->attn_out_bias = t->mlp_bias = hf_config_bool_or(c, "use_bias", false);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
}

const Family family_smollm3 = {
    .name = "smollm3",
    .prefix = "model.",
    .layouts = layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_smollm3,
};

const Family family_exaone4 = {
    .name = "exaone4",
    .prefix = "model.",
    .layouts = exaone4_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_exaone4,
};

const Family family_seed_oss = {
    .name = "seed_oss",
    .prefix = "model.",
    .layouts = layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_seed_oss,
};

const Family family_ministral = {
    .name = "ministral",
    .prefix = "model.",
    .layouts = layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_ministral,
};

const Family family_helium = {
    .name = "helium",
    .prefix = "model.",
    .layouts = layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_helium,
};

const Family family_ernie4_5 = {
    .name = "ernie4_5",
    .prefix = "model.",
    .layouts = layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_ernie4_5,
};
