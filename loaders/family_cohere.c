/* family_cohere.c: Command R (transformers' modeling_cohere.py) and Command R7B and A (modeling_cohere2.py): attention and MLP in parallel
 * behind one LayerNorm without bias, neighbouring pairs rotated, logits multiplied, the head tied. Cohere may normalise each head
 * by gains of its own; Cohere 2 slides in three layers of four and rotates in those alone. */
#include "loaders/family.h"

static const TensorRule rules[] = {
    RULES_EDGES,
    RULES_PRE_NORMS,
    RULES_QKV,
    RULES_O,
    {"~layers.{l}.self_attn.q_norm.weight", ROLE_Q_NORM, {SIDE_H, SIDE_DH}, FORM_PLAIN, WHEN_QK_NORM},
    {"~layers.{l}.self_attn.k_norm.weight", ROLE_K_NORM, {SIDE_K, SIDE_DH}, FORM_PLAIN, WHEN_QK_NORM},
    RULES_GATED_MLP,
};
static const TensorLayout layouts[] = {{"~embed_tokens.weight", rules, sizeof rules / sizeof *rules}};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", NULL};

static void read_common(HfConfig *c, double theta, ModelTraits *t)
{
    DecoderDefaults defaults = {.eps_key = "layer_norm_eps",
                                .eps = 1e-5,
                                .norm_kind = NORM_LAYER,
                                .rope_theta = theta,
                                .interleaved = true,
                                .max_positions = 8192,
                                .tied = true,
                                .bos_id = 5,
                                .eos_id = 255001};
    family_decoder_read(c, &defaults, t);
    t->residual = RESIDUAL_PARALLEL;
    t->one_norm = true;
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", false);
    t->logit_scale = (float)hf_config_number_or(c, "logit_scale", 1e-9, 1e9, 0.0625);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
}

static void read_cohere(HfConfig *c, ModelTraits *t)
{
    read_common(c, 5e5, t);
    t->qk_norm = hf_config_bool_or(c, "use_qk_norm", false) ? QK_NORM_HEAD : QK_NORM_NONE;
}

static void read_cohere2(HfConfig *c, ModelTraits *t)
{
    read_common(c, 10000, t);
    int window = (int)hf_config_int_or(c, "sliding_window", 1, FAMILY_MAX_POSITIONS, 4096);
    int period = (int)hf_config_int_or(c, "sliding_window_pattern", 1, FAMILY_MAX_LAYERS, 4);
    for (int l = 0; !c->status && l < t->n_layers; l++) {
        bool slides = family_slides(c, t, l, window, (l + 1) % period != 0);
        t->layers[l].window = slides ? window : 0;
        t->layers[l].rope = slides ? 0 : -1;
    }
}

const Family family_cohere = {
    .name = "cohere",
    .prefix = "model.",
    .layouts = layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_cohere,
};

const Family family_cohere2 = {
    .name = "cohere2",
    .prefix = "model.",
    .layouts = layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_cohere2,
};
