/* family_bloom.c: families that know positions as ALiBi, a bias on scores that grows with distance (transformers' modeling_bloom.py,
 * modeling_mpt.py, modeling_falcon.py). BLOOM: a norm behind the embedding, queries, keys and values of each head together. MPT: no
 * biases at all, queries, keys and values may be clipped. Falcon: ALiBi (as that file computes it, in bfloat16) or RoPE; heads in
 * groups, one key/value head, or one each; attention and MLP in parallel behind one norm or two, or one after the other. */
#include "loaders/family.h"

static const TensorRule bloom_rules[] = {
    {"~word_embeddings_layernorm.weight", ROLE_EMBED_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~word_embeddings_layernorm.bias", ROLE_EMBED_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.input_layernorm.weight", ROLE_ATTN_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.input_layernorm.bias", ROLE_ATTN_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.post_attention_layernorm.weight", ROLE_MLP_NORM, {SIDE_D}, FORM_PLAIN, WHEN_TWO_NORMS},
    {"~h.{l}.post_attention_layernorm.bias", ROLE_MLP_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_TWO_NORMS_BIAS},
    {"~h.{l}.self_attention.query_key_value.weight", ROLE_QKV, {SIDE_QKV, SIDE_D}, FORM_QKV_GROUPS, WHEN_ALWAYS},
    {"~h.{l}.self_attention.query_key_value.bias", ROLE_QKV_BIAS, {SIDE_QKV}, FORM_QKV_GROUPS, WHEN_ATTN_BIAS},
    {"~h.{l}.self_attention.dense.weight", ROLE_O, {SIDE_D, SIDE_Q}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.self_attention.dense.bias", ROLE_O_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ATTN_OUT_BIAS},
    {"~h.{l}.mlp.dense_h_to_4h.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.mlp.dense_h_to_4h.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_MLP_BIAS},
    {"~h.{l}.mlp.dense_4h_to_h.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.mlp.dense_4h_to_h.bias", ROLE_DOWN_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_MLP_BIAS},
    {"~word_embeddings.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~ln_f.weight", ROLE_FINAL_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~ln_f.bias", ROLE_FINAL_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"lm_head.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_UNTIED},
};
static const TensorRule mpt_rules[] = {
    {"~wte.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~blocks.{l}.norm_1.weight", ROLE_ATTN_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~blocks.{l}.attn.Wqkv.weight", ROLE_QKV, {SIDE_QKV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~blocks.{l}.attn.out_proj.weight", ROLE_O, {SIDE_D, SIDE_Q}, FORM_PLAIN, WHEN_ALWAYS},
    {"~blocks.{l}.norm_2.weight", ROLE_MLP_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~blocks.{l}.ffn.up_proj.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~blocks.{l}.ffn.down_proj.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS},
    {"~norm_f.weight", ROLE_FINAL_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"lm_head.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_UNTIED},
};
/* All but the norms in front of attention and MLP. */
#define FALCON_BODY \
    {"~h.{l}.self_attention.query_key_value.weight", ROLE_QKV, {SIDE_QKV, SIDE_D}, FORM_QKV_GROUPS, WHEN_ALWAYS}, \
        {"~h.{l}.self_attention.query_key_value.bias", ROLE_QKV_BIAS, {SIDE_QKV}, FORM_QKV_GROUPS, WHEN_ATTN_BIAS}, \
        {"~h.{l}.self_attention.dense.weight", ROLE_O, {SIDE_D, SIDE_Q}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~h.{l}.self_attention.dense.bias", ROLE_O_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ATTN_OUT_BIAS}, \
        {"~h.{l}.mlp.dense_h_to_4h.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~h.{l}.mlp.dense_h_to_4h.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_MLP_BIAS}, \
        {"~h.{l}.mlp.dense_4h_to_h.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~h.{l}.mlp.dense_4h_to_h.bias", ROLE_DOWN_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_MLP_BIAS}, \
        {"~word_embeddings.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~ln_f.weight", ROLE_FINAL_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"~ln_f.bias", ROLE_FINAL_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
    { \
        "lm_head.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_UNTIED \
    }
static const TensorRule falcon_rules[] = {
    {"~h.{l}.input_layernorm.weight", ROLE_ATTN_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.input_layernorm.bias", ROLE_ATTN_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.post_attention_layernorm.weight", ROLE_MLP_NORM, {SIDE_D}, FORM_PLAIN, WHEN_TWO_NORMS},
    {"~h.{l}.post_attention_layernorm.bias", ROLE_MLP_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_TWO_NORMS_BIAS},
    FALCON_BODY,
};
static const TensorRule falcon_two_rules[] = {
    {"~h.{l}.ln_attn.weight", ROLE_ATTN_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.ln_attn.bias", ROLE_ATTN_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.ln_mlp.weight", ROLE_MLP_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"~h.{l}.ln_mlp.bias", ROLE_MLP_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    FALCON_BODY,
};
static const TensorLayout bloom_layouts[] = {
    {"~word_embeddings.weight", bloom_rules, sizeof bloom_rules / sizeof *bloom_rules}};
static const TensorLayout mpt_layouts[] = {{"~wte.weight", mpt_rules, sizeof mpt_rules / sizeof *mpt_rules}};
static const TensorLayout falcon_layouts[] = {
    {"~h.{l}.ln_attn.weight", falcon_two_rules, sizeof falcon_two_rules / sizeof *falcon_two_rules},
    {"~word_embeddings.weight", falcon_rules, sizeof falcon_rules / sizeof *falcon_rules},
};
static const char *const redundant[] = {"~h.{l}.self_attention.rotary_emb.inv_freq",
                                        "~h.{l}.self_attention.maybe_rotary.inv_freq", NULL};

static void read_bloom(HfConfig *c, ModelTraits *t)
{
    family_shape(c, family_key(c, "n_layer", "num_hidden_layers"), family_key(c, "n_embed", "hidden_size"),
                 family_key(c, "n_head", "num_attention_heads"), t);
    t->max_positions = (int)hf_config_int_or(c, "seq_length", 1, FAMILY_MAX_POSITIONS, 2048);
    t->d_ff = 4 * t->d_model;
    t->norm_eps = (float)hf_config_number_or(c, "layer_norm_epsilon", 0, 1, 1e-5);
    t->activation = ACT_GELU_TANH;
    t->tied_embeddings = hf_config_bool_or(c, "tie_word_embeddings", true);
    t->embed_norm = true;
    t->bos_id = hf_config_token_or(c, "bos_token_id", 1);
    t->eos_id = hf_config_token_or(c, "eos_token_id", 2);
    family_alibi(c, 8, 1, t);
    family_layers(c, (LayerTraits){.window = 0, .rope = -1, .mlp = MLP_PLAIN}, t);
}

/* attn_config: transformers knows ALiBi alone, with slopes down to 2^-8, whatever the file says: what it would pass over is refused. */
static void read_mpt_attention(HfConfig *c, ModelTraits *t)
{
    static const HfHarmless known[] = {
        {"alibi", "true"},       {"attn_type", "\"multihead_attention\""}, {"prefix_lm", "null|false"}, {"qk_ln", "null|false"},
        {"alibi_bias_max", "8"}, {"attn_uses_sequence_id", "null|false"},
    };
    const JsonValue *root = c->root;
    bool *read = c->read;
    hf_config_enter(c, "attn_config"); /* now it counts as read */
    if (c->root != root) {
        hf_config_expect(c, known, sizeof known / sizeof *known);
        t->qkv_clip = family_optional(c, "clip_qkv", 0);
        t->attn_scale = (float)hf_config_number_or(c, "softmax_scale", 1e-9, 1e9, (double)t->attn_scale);
    }
    family_alibi(c, 8, 1, t);
    c->root = root;
    c->read = read;
}

static void read_mpt(HfConfig *c, ModelTraits *t)
{
    static const HfHarmless known[] = {
        {"no_bias", "true"},
        {"expansion_ratio", "4"},
        {"logit_scale", "null"},
        {"embedding_fraction", "1"},
    };
    family_shape(c, "n_layers", "d_model", "n_heads", t);
    hf_config_expect(c, known, sizeof known / sizeof *known);
    t->norm_bias = false;
    t->attn_bias = t->attn_out_bias = t->mlp_bias = false;
    t->max_positions = (int)hf_config_int_or(c, "max_seq_len", 1, FAMILY_MAX_POSITIONS, 2048);
    t->d_ff = 4 * t->d_model;
    t->norm_eps = (float)hf_config_number_or(c, "layer_norm_epsilon", 0, 1, 1e-5);
    t->activation = ACT_GELU_ERF;
    t->tied_embeddings = hf_config_bool_or(c, "tie_word_embeddings", true);
    t->bos_id = hf_config_token_or(c, "bos_token_id", -1);
    t->eos_id = hf_config_token_or(c, "eos_token_id", -1);
    read_mpt_attention(c, t);
    family_layers(c, (LayerTraits){.window = 0, .rope = -1, .mlp = MLP_PLAIN}, t);
}

static void read_falcon_residual(HfConfig *c, bool grouped, ModelTraits *t)
{
    bool parallel = hf_config_bool_or(c, "parallel_attn", true);
    int norms = (int)hf_config_int_or(c, "num_ln_in_parallel_attn", 1, 2, grouped ? 2 : 1);
    if (!c->status && grouped && !parallel)
        hf_config_fail(c, "parallel_attn", "new_decoder_architecture goes with true");
    if (!c->status && !grouped && norms == 2)
        hf_config_fail(c, "num_ln_in_parallel_attn", "2 goes with new_decoder_architecture");
    t->residual = parallel ? RESIDUAL_PARALLEL : RESIDUAL_SEQUENTIAL;
    t->one_norm = parallel && norms == 1;
}

static void read_falcon(HfConfig *c, ModelTraits *t)
{
    family_shape(c, family_key(c, "num_hidden_layers", "n_layer"), family_key(c, "hidden_size", "n_embed"),
                 family_key(c, "num_attention_heads", "n_head"), t);
    bool grouped = hf_config_bool_or(c, "new_decoder_architecture", false), single = hf_config_bool_or(c, "multi_query", true);
    int kv = (int)hf_config_int_or(c, family_key(c, "num_kv_heads", "n_head_kv"), 1, FAMILY_MAX_WIDTH, t->n_heads);
    t->n_kv_heads = grouped ? kv : single ? 1 : t->n_heads;
    if (!c->status && t->n_heads % t->n_kv_heads != 0)
        hf_config_fail(c, "num_kv_heads", "expected a divisor of the %d heads, found %d", t->n_heads, t->n_kv_heads);
    read_falcon_residual(c, grouped, t);
    t->max_positions = (int)hf_config_int_or(c, "max_position_embeddings", 1, FAMILY_MAX_POSITIONS, 2048);
    t->d_ff = (size_t)hf_config_int_or(c, "ffn_hidden_size", 1, FAMILY_MAX_FF, 4 * (int64_t)t->d_model);
    t->norm_eps = (float)hf_config_number_or(c, "layer_norm_epsilon", 0, 1, 1e-5);
    t->activation = hf_config_activation_or(c, "activation", ACT_GELU_ERF);
    t->attn_bias = t->attn_out_bias = t->mlp_bias = hf_config_bool_or(c, "bias", false);
    t->tied_embeddings = hf_config_bool_or(c, "tie_word_embeddings", true);
    t->bos_id = hf_config_token_or(c, "bos_token_id", 11);
    t->eos_id = hf_config_token_or(c, "eos_token_id", 11);
    bool alibi = hf_config_bool_or(c, "alibi", false);
    if (alibi) {
        family_alibi(c, 8, 1, t);
        t->alibi_bf16 = true;
    } else {
        t->n_ropes = 1;
        HfRope rope = {.head_dim = t->head_dim, .max_positions = t->max_positions, .theta = 10000};
        hf_config_rope_as(c, &rope, &t->ropes[0]);
    }
    family_layers(c, (LayerTraits){.window = 0, .rope = alibi ? -1 : 0, .mlp = MLP_PLAIN}, t);
}

const Family family_bloom = {
    .name = "bloom",
    .prefix = "transformer.",
    .layouts = bloom_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_bloom,
};

const Family family_mpt = {
    .name = "mpt",
    .prefix = "transformer.",
    .layouts = mpt_layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_mpt,
};

const Family family_falcon = {
    .name = "falcon",
    .prefix = "transformer.",
    .layouts = falcon_layouts,
    .n_layouts = 2,
    .redundant = redundant,
    .read_config = read_falcon,
};
