/* family_gpt.c: relatives of GPT-2 (transformers' modeling_gptj.py, _gpt_neo.py, _gpt_bigcode.py). GPT-J: attention and MLP in parallel
 * behind one norm, neighbouring pairs rotated, the head has a bias. GPT-Neo: every second layer sees a window, scores are not
 * scaled. GPT-BigCode (StarCoder): GPT-2 whose matrices are stored the usual way round, one key/value head for all. */
#include "loaders/family.h"

static const TensorRule gptj_rules[] = {
    {"~wte.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.ln_1.weight", ROLE_ATTN_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.ln_1.bias", ROLE_ATTN_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.attn.q_proj.weight", ROLE_QKV, {SIDE_Q, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.attn.k_proj.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.attn.v_proj.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.attn.out_proj.weight", ROLE_O, {SIDE_D, SIDE_Q}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.mlp.fc_in.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.mlp.fc_in.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.mlp.fc_out.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.mlp.fc_out.bias", ROLE_DOWN_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~ln_f.weight", ROLE_FINAL_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~ln_f.bias", ROLE_FINAL_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"lm_head.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_UNTIED},
    {"lm_head.bias", ROLE_HEAD_BIAS, {SIDE_V}, FORM_PLAIN, WHEN_ALWAYS},
};
/* GPT-2's names, before and behind the attention of each. */
#define GPT_FRONT \
    {"~wte.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~wpe.weight", ROLE_POSITIONS, {SIDE_P, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~h.{l}.ln_1.weight", ROLE_ATTN_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
    { \
        "~h.{l}.ln_1.bias", ROLE_ATTN_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS \
    }
#define GPT_BEHIND \
    {"~h.{l}.ln_2.weight", ROLE_MLP_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~h.{l}.ln_2.bias", ROLE_MLP_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~h.{l}.mlp.c_fc.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~h.{l}.mlp.c_fc.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~h.{l}.mlp.c_proj.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~h.{l}.mlp.c_proj.bias", ROLE_DOWN_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~ln_f.weight", ROLE_FINAL_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~ln_f.bias", ROLE_FINAL_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
    { \
        "lm_head.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_UNTIED \
    }
static const TensorRule gpt_neo_rules[] = {
    GPT_FRONT,
    {"~h.{l}.attn.attention.q_proj.weight", ROLE_QKV, {SIDE_Q, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.attn.attention.k_proj.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.attn.attention.v_proj.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.attn.attention.out_proj.weight", ROLE_O, {SIDE_D, SIDE_Q}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.attn.attention.out_proj.bias", ROLE_O_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    GPT_BEHIND,
};
static const TensorRule gpt_bigcode_rules[] = {
    GPT_FRONT,
    {"~h.{l}.attn.c_attn.weight", ROLE_QKV, {SIDE_QKV, SIDE_D}, FORM_QKV_GROUPS, WHEN_ALWAYS},
    {"~h.{l}.attn.c_attn.bias", ROLE_QKV_BIAS, {SIDE_QKV}, FORM_QKV_GROUPS, WHEN_ALWAYS},
    {"~h.{l}.attn.c_proj.weight", ROLE_O, {SIDE_D, SIDE_Q}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.attn.c_proj.bias", ROLE_O_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    GPT_BEHIND,
};
static const TensorLayout gptj_layouts[] = {{"~wte.weight", gptj_rules, sizeof gptj_rules / sizeof *gptj_rules}};
static const TensorLayout gpt_neo_layouts[] = {{"~wte.weight", gpt_neo_rules, sizeof gpt_neo_rules / sizeof *gpt_neo_rules}};
static const TensorLayout gpt_bigcode_layouts[] = {
    {"~wte.weight", gpt_bigcode_rules, sizeof gpt_bigcode_rules / sizeof *gpt_bigcode_rules}};
/* Masks and tables that older checkpoints carry. */
static const char *const redundant[] = {"~h.{l}.attn.bias",
                                        "~h.{l}.attn.masked_bias",
                                        "~h.{l}.attn.attention.bias",
                                        "~h.{l}.attn.attention.masked_bias",
                                        "~h.{l}.attn.embed_positions",
                                        NULL};

static void read_ids(HfConfig *c, ModelTraits *t)
{
    t->bos_id = hf_config_token_or(c, "bos_token_id", 50256);
    t->eos_id = hf_config_token_or(c, "eos_token_id", 50256);
}

static void read_gptj(HfConfig *c, ModelTraits *t)
{
    family_shape(c, "n_layer", "n_embd", "n_head", t);
    t->max_positions = (int)hf_config_int_or(c, "n_positions", 1, FAMILY_MAX_POSITIONS, 2048);
    t->d_ff = (size_t)hf_config_int_or(c, "n_inner", 1, FAMILY_MAX_FF, 4 * (int64_t)t->d_model);
    t->norm_eps = (float)hf_config_number_or(c, "layer_norm_epsilon", 0, 1, 1e-5);
    t->activation = hf_config_activation_or(c, "activation_function", ACT_GELU_TANH);
    t->tied_embeddings = hf_config_bool_or(c, "tie_word_embeddings", false);
    t->residual = RESIDUAL_PARALLEL;
    t->one_norm = true;
    t->head_bias = true;
    read_ids(c, t);
    int rotary = (int)hf_config_int_or(c, "rotary_dim", 2, t->head_dim, json_get(c->root, "rotary_dim") ? 0 : 64);
    if (!c->status && (rotary < 2 || rotary % 2 != 0 || rotary > t->head_dim))
        hf_config_fail(c, "rotary_dim", "expected an even number from 2 to the %d dims of a head, found %d", t->head_dim,
                       rotary);
    t->n_ropes = 1;
    t->ropes[0] = (RopeTraits){.kind = ROPE_DEFAULT,
                               .style = ROPE_INTERLEAVED,
                               .rotary_dims = rotary,
                               .theta = 10000,
                               .attention_factor = 1,
                               .original_max_positions = t->max_positions};
    family_layers(c, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_PLAIN}, t);
}

/* attention_types: [[["global", "local"], 12]], lists of kinds each repeated so many times. */
static void read_local_layers(HfConfig *c, ModelTraits *t)
{
    const JsonValue *types = json_get(c->root, "attention_types");
    int window = (int)hf_config_int_or(c, "window_size", 1, FAMILY_MAX_POSITIONS, 256), l = 0;
    if (!types) {
        hf_config_fail(c, "attention_types", "expected lists of global and local, found nothing");
        return;
    }
    for (size_t i = 0; !c->status && i < types->len && types->kind == JSON_ARRAY; i++) {
        const JsonValue *pair = &types->items[i];
        bool fits =
            pair->kind == JSON_ARRAY && pair->len == 2 && pair->items[0].kind == JSON_ARRAY && pair->items[1].is_integer;
        int64_t repeats = fits ? pair->items[1].integer : 0;
        for (int64_t r = 0; r < repeats && l < t->n_layers; r++) {
            for (size_t k = 0; k < pair->items[0].len && l < t->n_layers; k++) {
                const JsonValue *word = &pair->items[0].items[k];
                fits = fits && (json_is_string(word, "global") || json_is_string(word, "local"));
                t->layers[l++].window = json_is_string(word, "local") ? window : 0;
            }
            fits = fits && pair->items[0].len > 0;
            if (!fits)
                break;
        }
        if (!fits)
            hf_config_fail(c, "attention_types", "expected [[[\"global\", \"local\"], 12]] or the like");
    }
    if (!c->status && l < t->n_layers)
        hf_config_fail(c, "attention_types", "expected types of %d layers, found %d", t->n_layers, l);
}

/* Files repeat in attention_layers, layer by layer, what attention_types says; transformers goes by it. */
static void check_local_layers(HfConfig *c, const ModelTraits *t)
{
    static const char *const words[] = {"global", "local", NULL};
    for (int l = 0; !c->status && l < t->n_layers; l++) {
        int word = hf_config_word_at(c, "attention_layers", words, l, t->n_layers);
        if (word >= 0 && (word == 1) != (t->layers[l].window > 0))
            hf_config_fail(c, "attention_layers", "entry %d: expected %s as in attention_types, found %s", l, words[word == 0],
                           words[word]);
    }
}

static void read_gpt_neo(HfConfig *c, ModelTraits *t)
{
    family_shape(c, family_key(c, "num_layers", "num_hidden_layers"), "hidden_size",
                 family_key(c, "num_heads", "num_attention_heads"), t);
    t->attn_bias = false;
    t->attn_scale = 1;
    t->max_positions = (int)hf_config_int_or(c, "max_position_embeddings", 1, FAMILY_MAX_POSITIONS, 2048);
    t->d_ff = (size_t)hf_config_int_or(c, "intermediate_size", 1, FAMILY_MAX_FF, 4 * (int64_t)t->d_model);
    t->norm_eps = (float)hf_config_number_or(c, "layer_norm_epsilon", 0, 1, 1e-5);
    t->activation = hf_config_activation_or(c, "activation_function", ACT_GELU_TANH);
    t->tied_embeddings = hf_config_bool_or(c, "tie_word_embeddings", true);
    t->learned_positions = true;
    read_ids(c, t);
    family_layers(c, (LayerTraits){.window = 0, .rope = -1, .mlp = MLP_PLAIN}, t);
    if (!c->status)
        read_local_layers(c, t);
    check_local_layers(c, t);
}

static void read_gpt_bigcode(HfConfig *c, ModelTraits *t)
{
    family_shape(c, "n_layer", "n_embd", "n_head", t);
    if (hf_config_bool_or(c, "multi_query", true))
        t->n_kv_heads = 1;
    t->attn_scale = hf_config_bool_or(c, "scale_attn_weights", true) ? t->attn_scale : 1;
    t->max_positions = (int)hf_config_int_or(c, "n_positions", 1, FAMILY_MAX_POSITIONS, 1024);
    t->d_ff = (size_t)hf_config_int_or(c, "n_inner", 1, FAMILY_MAX_FF, 4 * (int64_t)t->d_model);
    t->norm_eps = (float)hf_config_number_or(c, "layer_norm_epsilon", 0, 1, 1e-5);
    t->activation = hf_config_activation_or(c, "activation_function", ACT_GELU_TANH);
    t->tied_embeddings = hf_config_bool_or(c, "tie_word_embeddings", true);
    t->learned_positions = true;
    read_ids(c, t);
    family_layers(c, (LayerTraits){.window = 0, .rope = -1, .mlp = MLP_PLAIN}, t);
}

const Family family_gptj = {
    .name = "gptj",
    .prefix = "transformer.",
    .layouts = gptj_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_gptj,
};

const Family family_gpt_neo = {
    .name = "gpt_neo",
    .prefix = "transformer.",
    .layouts = gpt_neo_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_gpt_neo,
};

const Family family_gpt_bigcode = {
    .name = "gpt_bigcode",
    .prefix = "transformer.",
    .layouts = gpt_bigcode_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_gpt_bigcode,
};
