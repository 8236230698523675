/* family_llama.c: Llama 1 to 3.x in Hugging Face's layout (transformers' LlamaConfig and modeling_llama.py): RMS norms before each
 * half, rotary positions over pairs (i, i + R/2), grouped keys, a gated MLP. Most other families are this with a difference. */
#include "loaders/family.h"

static const TensorRule rules[] = {RULES_EDGES, RULES_PRE_NORMS, RULES_QKV, RULES_O, RULES_GATED_MLP};
static const TensorLayout layouts[] = {{"~layers.{l}.mlp.gate_proj.weight", rules, sizeof rules / sizeof *rules}};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", "~rotary_emb.inv_freq", NULL};

static void read_config(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {0};
    family_decoder_read(c, &defaults, t);
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", false);
    t->mlp_bias = hf_config_bool_or(c, "mlp_bias", false);
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}, t);
}

const Family family_llama = {
    .name = "llama",
    .prefix = "model.",
    .layouts = layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_config,
};
