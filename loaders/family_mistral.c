/* family_mistral.c: Mistral 7B and its relatives in Hugging Face's layout (transformers' MistralConfig and modeling_mistral.py): a
 * llama without biases whose attention may see only the last sliding_window positions. */
#include "loaders/family.h"

static void read_config(HfConfig *c, ModelTraits *t)
{
    static const DecoderDefaults defaults = {.max_positions = 4096 * 32, .absent_kv_heads = 8};
    family_decoder_read(c, &defaults, t);
    /* absent means the class's default, null means none */
    int absent = json_get(c->root, "sliding_window") ? 0 : 4096;
    int window = (int)hf_config_int_or(c, "sliding_window", 1, FAMILY_MAX_POSITIONS, absent);
    family_layers(c, (LayerTraits){.window = window, .rope = 0, .mlp = MLP_GATED}, t);
}

static const TensorRule rules[] = {RULES_EDGES, RULES_PRE_NORMS, RULES_QKV, RULES_O, RULES_GATED_MLP};

static const TensorLayout layouts[] = {{"~layers.{l}.mlp.gate_proj.weight", rules, sizeof rules / sizeof *rules}};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", NULL};

const Family family_mistral = {
    .name = "mistral",
    .prefix = "model.",
    .layouts = layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_config,
};
