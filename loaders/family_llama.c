/* family_llama.c: Llama 1 to 3.x in Hugging Face's layout (transformers' LlamaConfig and modeling_llama.py), and what mistral and
 * mixtral share with it: RMS norms before each half, rotary positions over pairs (i, i + R/2), grouped keys, a gated MLP. */
#include <math.h>
#include <string.h>

#include "loaders/family.h"

static const TensorRule rules[] = {
    {"~embed_tokens.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.input_layernorm.weight", ROLE_ATTN_NORM, {SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.q_proj.weight", ROLE_QKV, {SIDE_Q, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.k_proj.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.v_proj.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.q_proj.bias", ROLE_QKV_BIAS, {SIDE_Q}, false, WHEN_ATTN_BIAS},
    {"~layers.{l}.self_attn.k_proj.bias", ROLE_QKV_BIAS, {SIDE_KV}, false, WHEN_ATTN_BIAS},
    {"~layers.{l}.self_attn.v_proj.bias", ROLE_QKV_BIAS, {SIDE_KV}, false, WHEN_ATTN_BIAS},
    {"~layers.{l}.self_attn.o_proj.weight", ROLE_O, {SIDE_D, SIDE_Q}, false, WHEN_ALWAYS},
    {"~layers.{l}.self_attn.o_proj.bias", ROLE_O_BIAS, {SIDE_D}, false, WHEN_ATTN_OUT_BIAS},
    {"~layers.{l}.post_attention_layernorm.weight", ROLE_MLP_NORM, {SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.mlp.gate_proj.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.mlp.up_proj.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, false, WHEN_ALWAYS},
    {"~layers.{l}.mlp.gate_proj.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, false, WHEN_MLP_BIAS},
    {"~layers.{l}.mlp.up_proj.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, false, WHEN_MLP_BIAS},
    {"~layers.{l}.mlp.down_proj.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, false, WHEN_ALWAYS},
    {"~layers.{l}.mlp.down_proj.bias", ROLE_DOWN_BIAS, {SIDE_D}, false, WHEN_MLP_BIAS},
    {"~norm.weight", ROLE_FINAL_NORM, {SIDE_D}, false, WHEN_ALWAYS},
    {"lm_head.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, false, WHEN_UNTIED},
};

static const TensorLayout layouts[] = {{"~layers.{l}.mlp.gate_proj.weight", rules, sizeof rules / sizeof *rules}};
static const char *const redundant[] = {"~layers.{l}.self_attn.rotary_emb.inv_freq", "~rotary_emb.inv_freq", NULL};

/* Keys that other models with this layout have, and what would leave our arithmetic right. pretraining_tp is absent on purpose:
 * it only ever split the same products, and transformers no longer reads it. */
static const HfHarmless harmless[] = {
    {"quantization_config", "null"},
    {"is_encoder_decoder", "false"},
    {"partial_rotary_factor", "null|1"},
    {"attention_multiplier", "null"},
    {"embedding_multiplier", "null|1"},
    {"residual_multiplier", "null|1"},
    {"logits_scaling", "null|1"},
    {"logit_scale", "null|1"},
    {"attn_logit_softcapping", "null"},
    {"final_logit_softcapping", "null"},
    {"use_qk_norm", "null|false"},
    {"qk_layernorm", "null|false"},
    {"clip_qkv", "null"},
    {"rope_interleaved", "null|false"},
    {"use_parallel_residual", "null|false"},
    {"no_rope_layers", "null"},
};

void family_llama_read(HfConfig *c, const LlamaDefaults *defaults, ModelTraits *t)
{
    hf_config_expect(c, harmless, sizeof harmless / sizeof *harmless);
    t->n_layers = (int)hf_config_int(c, "num_hidden_layers", 1, FAMILY_MAX_LAYERS);
    t->d_model = (size_t)hf_config_int(c, "hidden_size", 1, FAMILY_MAX_WIDTH);
    t->d_ff = (size_t)hf_config_int(c, "intermediate_size", 1, FAMILY_MAX_FF);
    t->vocab = (size_t)hf_config_int(c, "vocab_size", 1, FAMILY_MAX_VOCAB);
    t->n_heads = (int)hf_config_int(c, "num_attention_heads", 1, FAMILY_MAX_WIDTH);
    bool absent = !json_get(c->root, "num_key_value_heads");
    int kv_fallback = absent && defaults->absent_kv_heads ? defaults->absent_kv_heads : t->n_heads;
    t->n_kv_heads = (int)hf_config_int_or(c, "num_key_value_heads", 1, FAMILY_MAX_WIDTH, kv_fallback);
    if (!c->status && t->n_heads % t->n_kv_heads != 0)
        hf_config_fail(c, "num_key_value_heads", "expected a divisor of the %d heads, found %d", t->n_heads, t->n_kv_heads);
    if (!c->status && !hf_config_has(c, "head_dim") && t->d_model % (size_t)t->n_heads != 0)
        hf_config_fail(c, "num_attention_heads", "expected a divisor of hidden_size %zu, found %d", t->d_model, t->n_heads);
    int64_t head_dim = c->status ? 1 : (int64_t)t->d_model / t->n_heads;
    t->head_dim = (int)hf_config_int_or(c, "head_dim", 1, FAMILY_MAX_WIDTH, head_dim);
    if (!c->status && (int64_t)t->head_dim * t->n_heads > FAMILY_MAX_FF)
        hf_config_fail(c, "head_dim", "expected at most %d query dims, found %d heads of %d", FAMILY_MAX_FF, t->n_heads,
                       t->head_dim);
    t->max_positions = (int)hf_config_int_or(c, "max_position_embeddings", 1, FAMILY_MAX_POSITIONS, defaults->max_positions);
    t->norm_kind = NORM_RMS;
    t->norm_eps = (float)hf_config_number_or(c, "rms_norm_eps", 0, 1, defaults->rms_norm_eps);
    t->attn_scale = c->status ? 1 : (float)(1 / sqrt((double)t->head_dim));
    t->activation = hf_config_activation_or(c, "hidden_act", ACT_SILU);
    t->tied_embeddings = hf_config_bool_or(c, "tie_word_embeddings", false);
    t->bos_id = hf_config_token_or(c, "bos_token_id", 1);
    t->eos_id = hf_config_token_or(c, "eos_token_id", 2);
    hf_config_dtype(c, t->torch_dtype);
    t->n_ropes = 1;
    hf_config_rope(c, t->head_dim, t->max_positions, defaults->rope_theta, &t->ropes[0]);
}

static void read_config(HfConfig *c, ModelTraits *t)
{
    static const LlamaDefaults defaults = {.rms_norm_eps = 1e-6, .rope_theta = 10000, .max_positions = 2048};
    static const HfHarmless own[] = {
        {"sliding_window", "null"},
        {"layer_types", "null"},
        {"num_local_experts", "null|0|1"},
        {"num_experts", "null|0|1"},
    };
    hf_config_expect(c, own, sizeof own / sizeof *own);
    family_llama_read(c, &defaults, t);
    t->attn_bias = t->attn_out_bias = hf_config_bool_or(c, "attention_bias", false);
    t->mlp_bias = hf_config_bool_or(c, "mlp_bias", false);
    if (!c->status && !family_fill_layers(t, (LayerTraits){.window = 0, .rope = 0, .mlp = MLP_GATED}))
        hf_config_fail(c, "num_hidden_layers", "out of memory for %d layers", t->n_layers);
}

const Family family_llama = {
    .name = "llama",
    .prefix = "model.",
    .layouts = layouts,
    .n_layouts = 1,
    .redundant = redundant,
    .read_config = read_config,
};
