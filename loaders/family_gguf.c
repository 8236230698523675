/* family_gguf.c: GGUF files as llama.cpp's converter writes them. Metadata keys and tensor names are the same for all architectures
 * (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; gguf-py/gguf/constants.py), so one reader serves them all: a table
 * tells what an architecture means beyond its keys, and the tensors that are there tell the rest (biases, norms, kinds of MLP).
 *
 * What the converter has changed in the tensors: rows of Q and K permuted so that rotary pairs are neighbours (llama, granite,
 * olmo, smollm3, arcee: hence pairs), gains of Gemma's and Nemotron's norms with their 1 added, fused QKV of all groups put as q,
 * k, v, Conv1D transposed. Llama 3's frequency scaling comes as a tensor of divisors, rope_freqs.weight. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/convert.h"
#include "loaders/family.h"
#include "loaders/gguf_keys.h"

/* -- tensors -- */

#define EDGE_RULES \
    {"token_embd.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"token_embd_norm.weight", ROLE_EMBED_NORM, {SIDE_D}, FORM_PLAIN, WHEN_EMBED_NORM}, \
        {"token_embd_norm.bias", ROLE_EMBED_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_EMBED_NORM}, \
        {"position_embd.weight", ROLE_POSITIONS, {SIDE_P, SIDE_D}, FORM_PLAIN, WHEN_LEARNED}, \
        {"output_norm.weight", ROLE_FINAL_NORM, {SIDE_D}, FORM_PLAIN, WHEN_FINAL_NORM}, \
        {"output_norm.bias", ROLE_FINAL_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_FINAL_NORM_BIAS}, \
        {"output.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_UNTIED}, \
    { \
        "output.bias", ROLE_HEAD_BIAS, {SIDE_V}, FORM_PLAIN, WHEN_HEAD_BIAS \
    }
/* The names of the norms before attention and before the MLP. */
#define NORM_RULES(attention, mlp) \
    {"blk.{l}." attention ".weight", ROLE_ATTN_NORM, {SIDE_D}, FORM_PLAIN, WHEN_NORM_BEFORE}, \
        {"blk.{l}." attention ".bias", ROLE_ATTN_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_NORM_BEFORE_BIAS}, \
        {"blk.{l}." mlp ".weight", ROLE_MLP_NORM, {SIDE_D}, FORM_PLAIN, WHEN_TWO_NORMS_BEFORE}, \
    { \
        "blk.{l}." mlp ".bias", ROLE_MLP_NORM_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_TWO_NORMS_BIAS \
    }
#define BEHIND_RULES \
    {"blk.{l}.post_attention_norm.weight", ROLE_ATTN_POST_NORM, {SIDE_D}, FORM_PLAIN, WHEN_NORM_BEHIND}, \
    { \
        "blk.{l}.post_ffw_norm.weight", ROLE_MLP_POST_NORM, {SIDE_D}, FORM_PLAIN, WHEN_NORM_BEHIND \
    }
#define QKV_RULES \
    {"blk.{l}.attn_q.weight", ROLE_QKV, {SIDE_Q, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"blk.{l}.attn_k.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"blk.{l}.attn_v.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"blk.{l}.attn_q.bias", ROLE_QKV_BIAS, {SIDE_Q}, FORM_PLAIN, WHEN_ATTN_BIAS}, \
        {"blk.{l}.attn_k.bias", ROLE_QKV_BIAS, {SIDE_KV}, FORM_PLAIN, WHEN_ATTN_BIAS}, \
    { \
        "blk.{l}.attn_v.bias", ROLE_QKV_BIAS, {SIDE_KV}, FORM_PLAIN, WHEN_ATTN_BIAS \
    }
#define FUSED_QKV_RULES \
    {"blk.{l}.attn_qkv.weight", ROLE_QKV, {SIDE_QKV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
    { \
        "blk.{l}.attn_qkv.bias", ROLE_QKV_BIAS, {SIDE_QKV}, FORM_PLAIN, WHEN_ATTN_BIAS \
    }
#define OUT_RULES \
    {"blk.{l}.attn_output.weight", ROLE_O, {SIDE_D, SIDE_Q}, FORM_PLAIN, WHEN_ALWAYS}, \
    { \
        "blk.{l}.attn_output.bias", ROLE_O_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ATTN_OUT_BIAS \
    }
#define QK_NORM_RULES \
    {"blk.{l}.attn_q_norm.weight", ROLE_Q_NORM, {SIDE_Q_NORM}, FORM_PLAIN, WHEN_QK_NORM}, \
    { \
        "blk.{l}.attn_k_norm.weight", ROLE_K_NORM, {SIDE_K_NORM}, FORM_PLAIN, WHEN_QK_NORM \
    }
#define HEAD_GAIN_RULES \
    {"blk.{l}.attn_q_norm.weight", ROLE_Q_NORM, {SIDE_H, SIDE_DH}, FORM_PLAIN, WHEN_QK_NORM}, \
    { \
        "blk.{l}.attn_k_norm.weight", ROLE_K_NORM, {SIDE_K, SIDE_DH}, FORM_PLAIN, WHEN_QK_NORM \
    }
#define DOWN_RULES \
    {"blk.{l}.ffn_down.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_DENSE}, \
    { \
        "blk.{l}.ffn_down.bias", ROLE_DOWN_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_DENSE_BIAS \
    }
#define MLP_RULES \
    {"blk.{l}.ffn_gate.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_GATED}, \
        {"blk.{l}.ffn_up.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_DENSE}, \
        {"blk.{l}.ffn_gate.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_GATED_BIAS}, \
        {"blk.{l}.ffn_up.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_DENSE_BIAS}, DOWN_RULES
/* Gate and up rows in one tensor. */
#define FUSED_MLP_RULES {"blk.{l}.ffn_up.weight", ROLE_GATE_UP, {SIDE_2F, SIDE_D}, FORM_PLAIN, WHEN_DENSE}, DOWN_RULES
#define MIXTURE_RULES \
    {"blk.{l}.ffn_gate_inp.weight", ROLE_ROUTER, {SIDE_E, SIDE_D}, FORM_PLAIN, WHEN_MIXTURE}, \
        {"blk.{l}.ffn_gate_exps.weight", ROLE_EXPERT_GATE_UP, {SIDE_E, SIDE_X, SIDE_D}, FORM_PLAIN, WHEN_MIXTURE}, \
        {"blk.{l}.ffn_up_exps.weight", ROLE_EXPERT_GATE_UP, {SIDE_E, SIDE_X, SIDE_D}, FORM_PLAIN, WHEN_MIXTURE}, \
        {"blk.{l}.ffn_down_exps.weight", ROLE_EXPERT_DOWN, {SIDE_E, SIDE_D, SIDE_X}, FORM_PLAIN, WHEN_MIXTURE}, \
        {"blk.{l}.ffn_gate_shexp.weight", ROLE_SHARED_GATE_UP, {SIDE_S, SIDE_D}, FORM_PLAIN, WHEN_SHARED}, \
        {"blk.{l}.ffn_up_shexp.weight", ROLE_SHARED_GATE_UP, {SIDE_S, SIDE_D}, FORM_PLAIN, WHEN_SHARED}, \
        {"blk.{l}.ffn_down_shexp.weight", ROLE_SHARED_DOWN, {SIDE_D, SIDE_S}, FORM_PLAIN, WHEN_SHARED}, \
    { \
        "blk.{l}.ffn_gate_inp_shexp.weight", ROLE_SHARED_GATE, {SIDE_ONE, SIDE_D}, FORM_PLAIN, WHEN_SHARED_GATE \
    }
/* Mixtures of before April 2024: one tensor per expert. */
#define SPLIT_MIXTURE_RULES \
    {"blk.{l}.ffn_gate_inp.weight", ROLE_ROUTER, {SIDE_E, SIDE_D}, FORM_PLAIN, WHEN_MIXTURE}, \
        {"blk.{l}.ffn_gate.{x}.weight", ROLE_EXPERT_GATE_UP, {SIDE_X, SIDE_D}, FORM_PLAIN, WHEN_MIXTURE}, \
        {"blk.{l}.ffn_up.{x}.weight", ROLE_EXPERT_GATE_UP, {SIDE_X, SIDE_D}, FORM_PLAIN, WHEN_MIXTURE}, \
    { \
        "blk.{l}.ffn_down.{x}.weight", ROLE_EXPERT_DOWN, {SIDE_D, SIDE_X}, FORM_PLAIN, WHEN_MIXTURE \
    }
#define USUAL_NORMS NORM_RULES("attn_norm", "ffn_norm"), BEHIND_RULES

static const TensorRule usual_rules[] = {EDGE_RULES,    USUAL_NORMS, QKV_RULES,    OUT_RULES,
                                         QK_NORM_RULES, MLP_RULES,   MIXTURE_RULES};
static const TensorRule split_mixture_rules[] = {EDGE_RULES, USUAL_NORMS, QKV_RULES, OUT_RULES, SPLIT_MIXTURE_RULES};
static const TensorRule fused_qkv_rules[] = {EDGE_RULES, USUAL_NORMS, FUSED_QKV_RULES, OUT_RULES, QK_NORM_RULES, MLP_RULES};
static const TensorRule head_gain_rules[] = {EDGE_RULES, USUAL_NORMS, QKV_RULES, OUT_RULES, HEAD_GAIN_RULES, MLP_RULES};
static const TensorRule fused_mlp_rules[] = {EDGE_RULES, USUAL_NORMS, QKV_RULES, OUT_RULES, FUSED_MLP_RULES};
static const TensorRule fused_both_rules[] = {EDGE_RULES, USUAL_NORMS, FUSED_QKV_RULES, OUT_RULES, FUSED_MLP_RULES};
/* Falcon 40B and 180B: attention's norm is the second. */
static const TensorRule second_norm_rules[] = {EDGE_RULES, NORM_RULES("attn_norm_2", "attn_norm"), FUSED_QKV_RULES, OUT_RULES,
                                               MLP_RULES};
/* Seed-OSS names the norm before the MLP as others name one behind attention. */
static const TensorRule seed_rules[] = {EDGE_RULES, NORM_RULES("attn_norm", "post_attention_norm"), QKV_RULES, OUT_RULES,
                                        MLP_RULES};

#define LAYOUT(probe, rules) \
    { \
        probe, rules, sizeof rules / sizeof *rules \
    }
static const TensorLayout usual_layouts[] = {
    LAYOUT("blk.{l}.ffn_gate.{x}.weight", split_mixture_rules),
    LAYOUT("blk.{l}.attn_norm_2.weight", second_norm_rules),
    LAYOUT("blk.{l}.attn_qkv.weight", fused_qkv_rules),
    LAYOUT("token_embd.weight", usual_rules),
};
static const TensorLayout fused_mlp_layouts[] = {
    LAYOUT("blk.{l}.attn_qkv.weight", fused_both_rules),
    LAYOUT("token_embd.weight", fused_mlp_rules),
};
static const TensorLayout head_gain_layouts[] = {LAYOUT("token_embd.weight", head_gain_rules)};
static const TensorLayout seed_layouts[] = {LAYOUT("token_embd.weight", seed_rules)};

/* Frequency factors are read with the traits. */
static const char *const redundant[] = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight",
                                        "blk.{l}.attn_rot_embd.weight", NULL};

/* -- architectures -- */

enum {
    A_LAYER = 1 << 0,         /* LayerNorm; else RMS */
    A_PAIRS = 1 << 1,         /* neighbouring dims are rotated; else halves */
    A_NO_ROPE = 1 << 2,       /* positions enter otherwise */
    A_ALIBI = 1 << 3,         /* ... as ALiBi with slopes up to 2^-8, unless a key says otherwise */
    A_PARALLEL = 1 << 4,      /* both halves read the same stream; the key use_parallel_residual may say otherwise */
    A_ROOT_SCALED = 1 << 5,   /* embeddings times sqrt(D) */
    A_NORMALISE = 1 << 6,     /* the chosen experts' shares are divided by their sum */
    A_LOGITS_OVER = 1 << 7,   /* logit_scale divides; else it multiplies */
    A_SLIDE_ROPE = 1 << 8,    /* where layers slide, those alone are rotated */
    A_LOCAL_BASE = 1 << 9,    /* sliding layers have a rotary base of their own (10000) and no scaling */
    A_LOCAL_PLAIN = 1 << 10,  /* sliding layers are rotated without scaling */
    A_FOURTH_PLAIN = 1 << 11, /* every fourth layer is not rotated */
    A_GEMMA_SCALE = 1 << 12,  /* the largest of them scales by D/H instead of the head's width */
};

typedef struct Architecture {
    const char *name;
    unsigned flags;
    ActKind activation;
    int period;       /* of sliding layers every period-th sees all; 0: all slide */
    int gemma_layers; /* A_GEMMA_SCALE: the number of layers that tells the largest */
} Architecture;

static const Architecture architectures[] = {
    {"llama", A_PAIRS | A_NORMALISE, ACT_SILU, 0, 0},
    {"qwen2", 0, ACT_SILU, 0, 0},
    {"qwen2moe", 0, ACT_SILU, 0, 0},
    {"qwen3", 0, ACT_SILU, 0, 0},
    {"qwen3moe", A_NORMALISE, ACT_SILU, 0, 0},
    {"gemma", A_ROOT_SCALED, ACT_GELU_TANH, 0, 0},
    {"gemma2", A_ROOT_SCALED | A_GEMMA_SCALE, ACT_GELU_TANH, 2, 46},
    {"gemma3", A_ROOT_SCALED | A_GEMMA_SCALE | A_LOCAL_BASE, ACT_GELU_TANH, 6, 62},
    {"phi2", A_LAYER | A_PARALLEL, ACT_GELU_TANH, 0, 0},
    {"phi3", 0, ACT_SILU, 0, 0},
    {"olmo", A_LAYER | A_PAIRS, ACT_SILU, 0, 0},
    {"olmo2", A_LOCAL_PLAIN, ACT_SILU, 4, 0},
    {"olmoe", 0, ACT_SILU, 0, 0},
    {"stablelm", A_LAYER, ACT_SILU, 0, 0},
    {"starcoder", A_LAYER | A_NO_ROPE, ACT_GELU_TANH, 0, 0},
    {"starcoder2", A_LAYER, ACT_GELU_TANH, 0, 0},
    {"granite", A_PAIRS | A_LOGITS_OVER, ACT_SILU, 0, 0},
    {"granitemoe", A_PAIRS | A_LOGITS_OVER | A_NORMALISE, ACT_SILU, 0, 0},
    {"command-r", A_LAYER | A_PAIRS | A_PARALLEL, ACT_SILU, 0, 0},
    {"cohere2", A_LAYER | A_PAIRS | A_PARALLEL | A_SLIDE_ROPE, ACT_SILU, 4, 0},
    {"smollm3", A_PAIRS | A_FOURTH_PLAIN, ACT_SILU, 0, 0},
    {"gptneox", A_LAYER | A_PARALLEL, ACT_GELU_ERF, 0, 0},
    {"gpt2", A_LAYER | A_NO_ROPE, ACT_GELU_TANH, 0, 0},
    {"bloom", A_LAYER | A_NO_ROPE | A_ALIBI, ACT_GELU_TANH, 0, 0},
    {"mpt", A_LAYER | A_NO_ROPE | A_ALIBI, ACT_GELU_ERF, 0, 0},
    {"falcon", A_LAYER | A_PARALLEL, ACT_GELU_ERF, 0, 0},
    {"nemotron", A_LAYER, ACT_RELU2, 0, 0},
    {"arcee", A_PAIRS, ACT_RELU2, 0, 0},
    {"exaone4", A_SLIDE_ROPE, ACT_SILU, 4, 0},
    {"seed_oss", 0, ACT_SILU, 0, 0},
    {"ernie4_5", A_PAIRS, ACT_SILU, 0, 0},
    {"chatglm", A_PAIRS, ACT_SILU, 0, 0},
    {"glm4", A_PAIRS, ACT_SILU, 0, 0},
};

static const Architecture *find_architecture(const Gguf *g)
{
    GgufString s;
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
        if (gguf_string(g, "general.architecture", &s) && strlen(architectures[i].name) == s.len &&
            memcmp(architectures[i].name, s.s, s.len) == 0)
            return &architectures[i];
    return NULL;
}

/* -- traits -- */

/* Keys that would change the arithmetic where nothing here reads them, each with the one value that leaves it alone. */
static void check_harmless(GgufKeys *k)
{
    static const struct {
        const char *key;
        double value;
    } numbers[] = {
        {"~attention.output_scale", 1},    {"~router_logit_softcapping", 0},  {"~attention.temperature_length", 0},
        {"~attention.chunk_size", 0},      {"~expert_group_count", 1},        {"~expert_weights_scale", 1},
        {"~leading_dense_block_count", 0}, {"~interleave_moe_layer_step", 1}, {"~moe_every_n_layers", 1},
        {"~attention.kv_lora_rank", 0},    {"~altup.num_inputs", 0},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        double x = gguf_keys_number_or(k, numbers[i].key, -1e30, 1e30, numbers[i].value);
        if (x < numbers[i].value || x > numbers[i].value)
            gguf_keys_fail(k, numbers[i].key, "value %g is not supported (supported: %g)", x, numbers[i].value);
    }
    if (!gguf_keys_bool_or(k, "~attention.causal", true))
        gguf_keys_fail(k, "~attention.causal", "only true is supported");
}

/* A tensor of R/2 divisors of the rotary frequencies; NULL when it is not there. */
static float *frequency_factors(GgufKeys *k, const TensorFile *tensors, const char *name, size_t half)
{
    const Tensor *t = k->status ? NULL : tensor_file_find(tensors, name);
    if (!t)
        return NULL;
    if (t->n_dims != 1 || t->shape[0] != half || t->dtype != DTYPE_F32) {
        k->status = error_set(k->e, STATUS_FAILED, "%s: tensor %s: expected F32 [%zu], found %s [%zu]", k->path, name, half,
                              dtype_name(t->dtype), t->shape[0]);
        return NULL;
    }
    float *factors = calloc(half, sizeof *factors);
    if (!factors) {
        k->status = error_set(k->e, STATUS_FAILED, "%s: out of memory", k->path);
        return NULL;
    }
    convert_f32(DTYPE_F32, t->data, half, factors);
    for (size_t i = 0; i < half && !k->status; i++)
        if (!(factors[i] > 0 && isfinite(factors[i])))
            k->status = error_set(k->e, STATUS_FAILED, "%s: tensor %s: [%zu]: expected a factor above 0, found %g", k->path,
                                  name, i, (double)factors[i]);
    return factors; /* owned by the traits even after an error */
}

static void read_yarn(GgufKeys *k, RopeTraits *r, int max_positions)
{
    r->kind = ROPE_YARN;
    r->beta_fast = gguf_keys_number_or(k, "~rope.scaling.yarn_beta_fast", 1e-6, 1e9, 32);
    r->beta_slow = gguf_keys_number_or(k, "~rope.scaling.yarn_beta_slow", 1e-6, 1e9, 1);
    double attn = gguf_keys_number_or(k, "~rope.scaling.attn_factor", 1e-9, 1e9, 1);
    r->attention_factor = attn * (r->factor > 1 ? 0.1 * log(r->factor) + 1 : 1);
    r->original_max_positions =
        (int)gguf_keys_integer_or(k, "~rope.scaling.original_context_length", 1, FAMILY_MAX_POSITIONS, max_positions);
    if (!(r->theta > 1 && r->factor > 0))
        gguf_keys_fail(k, "~rope.scaling", "yarn needs a base above 1 and a factor");
}

/* The table of the layers that see everything: scaling, factors, longrope. */
static void read_rope(GgufKeys *k, const TensorFile *tensors, const Architecture *a, ModelTraits *t)
{
    static const char *const types[] = {"none", "linear", "yarn", "longrope", NULL};
    RopeTraits *r = &t->ropes[0];
    *r = (RopeTraits){.kind = ROPE_DEFAULT,
                      .style = a->flags & A_PAIRS ? ROPE_INTERLEAVED : ROPE_HALF,
                      .attention_factor = 1,
                      .truncate = true};
    t->n_ropes = 1;
    r->rotary_dims = (int)gguf_keys_integer_or(k, "~rope.dimension_count", 2, t->head_dim, t->head_dim);
    r->theta = gguf_keys_number_or(k, "~rope.freq_base", 1e-3, 1e30, 10000);
    r->original_max_positions = t->max_positions;
    if (r->rotary_dims % 2 != 0)
        gguf_keys_fail(k, "~rope.dimension_count", "expected an even number, found %d", r->rotary_dims);
    /* before 2023's rope.scaling keys: the linear factor alone */
    double old_factor = gguf_keys_number_or(k, "~rope.scale_linear", 1e-6, 1e9, 1);
    r->factor = gguf_keys_number_or(k, "~rope.scaling.factor", 0, 1e9, old_factor);
    bool scaled = r->factor > 0 && (r->factor < 1 || r->factor > 1);
    int type = gguf_keys_word(k, "~rope.scaling.type", types);
    if ((type < 0 && scaled) || (type == 1 && r->factor > 0))
        r->kind = ROPE_LINEAR;
    else if (type == 2)
        read_yarn(k, r, t->max_positions);
    if (k->status)
        return;
    size_t half = (size_t)r->rotary_dims / 2;
    r->freq_factors = frequency_factors(k, tensors, "rope_freqs.weight", half);
    if (!r->freq_factors && !k->status && tensor_file_find(tensors, "rope_factors_long.weight")) {
        r->kind = ROPE_LONGROPE;
        r->long_factors = frequency_factors(k, tensors, "rope_factors_long.weight", half);
        r->freq_factors = frequency_factors(k, tensors, "rope_factors_short.weight", half);
        r->attention_factor = gguf_keys_number_or(k, "~rope.scaling.attn_factor", 1e-9, 1e9, 1);
        r->original_max_positions =
            (int)gguf_keys_integer_or(k, "~rope.scaling.original_context_length", 1, FAMILY_MAX_POSITIONS, t->max_positions);
        if (!k->status && !r->freq_factors)
            k->status = error_set(k->e, STATUS_FAILED,
                                  "%s: tensor rope_factors_short.weight: expected F32 [%zu], found no such "
                                  "tensor",
                                  k->path, half);
    }
}

/* The table of sliding layers where it differs. */
static void read_local_rope(GgufKeys *k, const Architecture *a, ModelTraits *t)
{
    double local = a->flags & A_LOCAL_BASE ? 10000 : t->ropes[0].theta;
    double theta = gguf_keys_number_or(k, "~rope.freq_base_swa", 1e-3, 1e30, local);
    t->ropes[1] = (RopeTraits){.kind = ROPE_DEFAULT,
                               .style = t->ropes[0].style,
                               .rotary_dims = t->ropes[0].rotary_dims,
                               .theta = theta,
                               .factor = 1,
                               .attention_factor = 1,
                               .truncate = true,
                               .original_max_positions = t->max_positions};
    t->n_ropes = 2;
}

static bool has_in_layer(const TensorFile *tensors, const char *tail, int layer)
{
    char name[96];
    snprintf(name, sizeof name, "blk.%d.%s", layer, tail);
    return tensor_file_find(tensors, name) != NULL;
}

/* Windows, rotation and kind of MLP of each layer. */
static void read_layers(GgufKeys *k, const TensorFile *tensors, const Architecture *a, ModelTraits *t)
{
    int rope = a->flags & A_NO_ROPE ? -1 : 0;
    int window = (int)gguf_keys_integer_or(k, "~attention.sliding_window", 0, FAMILY_MAX_POSITIONS, 0);
    /* a period may come as a number; as flags it is read layer by layer */
    bool flags = false, first = false;
    if (!k->status && t->n_layers > 0 && gguf_keys_has(k, "~attention.sliding_window_pattern"))
        flags = gguf_keys_flag_at(k, "~attention.sliding_window_pattern", 0, (size_t)t->n_layers, &first);
    int period = flags ? 0 : (int)gguf_keys_integer_or(k, "~attention.sliding_window_pattern", 0, FAMILY_MAX_LAYERS, a->period);
    if (!k->status && !family_fill_layers(t, (LayerTraits){.window = 0, .rope = rope, .mlp = MLP_PLAIN}))
        k->status = error_set(k->e, STATUS_FAILED, "%s: out of memory for %d layers", k->path, t->n_layers);
    if (!k->status && window && a->flags & (A_LOCAL_BASE | A_LOCAL_PLAIN))
        read_local_rope(k, a, t);
    for (int l = 0; l < t->n_layers && !k->status; l++) {
        LayerTraits *layer = &t->layers[l];
        bool slides = period == 0 || (l + 1) % period != 0;
        if (flags)
            gguf_keys_flag_at(k, "~attention.sliding_window_pattern", (size_t)l, (size_t)t->n_layers, &slides);
        if (window && slides) {
            layer->window = window;
            layer->rope = t->n_ropes > 1 ? 1 : rope;
        } else if (window && a->flags & A_SLIDE_ROPE) {
            layer->rope = -1;
        }
        if (a->flags & A_FOURTH_PLAIN && (l + 1) % 4 == 0)
            layer->rope = -1;
        bool split = has_in_layer(tensors, "ffn_gate.0.weight", l);
        if (split || has_in_layer(tensors, "ffn_gate_inp.weight", l))
            layer->mlp = MLP_MOE;
        else if (has_in_layer(tensors, "ffn_gate.weight", l) || t->d_ff == 0)
            layer->mlp = MLP_GATED;
        const Tensor *up = NULL;
        char name[48];
        snprintf(name, sizeof name, "blk.%d.ffn_up.weight", l);
        if (layer->mlp == MLP_PLAIN && (up = tensor_file_find(tensors, name)) && up->n_dims == 2 && up->shape[0] == 2 * t->d_ff)
            layer->mlp = MLP_GATED; /* gate and up rows in one tensor */
    }
}

static void read_heads(GgufKeys *k, ModelTraits *t)
{
    t->n_heads = (int)gguf_keys_integer(k, "~attention.head_count", 1, FAMILY_MAX_WIDTH);
    t->n_kv_heads = (int)gguf_keys_integer_or(k, "~attention.head_count_kv", 1, FAMILY_MAX_WIDTH, t->n_heads);
    if (!k->status && t->n_heads % t->n_kv_heads != 0)
        gguf_keys_fail(k, "~attention.head_count_kv", "expected a divisor of the %d heads, found %d", t->n_heads,
                       t->n_kv_heads);
    if (!k->status && !gguf_keys_has(k, "~attention.key_length") && t->d_model % (size_t)t->n_heads != 0)
        gguf_keys_fail(k, "~attention.head_count", "expected a divisor of %zu, found %d", t->d_model, t->n_heads);
    int64_t head_dim = k->status ? 2 : (int64_t)t->d_model / t->n_heads;
    t->head_dim = (int)gguf_keys_integer_or(k, "~attention.key_length", 1, FAMILY_MAX_WIDTH, head_dim);
    int64_t value_dim = gguf_keys_integer_or(k, "~attention.value_length", 1, FAMILY_MAX_WIDTH, t->head_dim);
    if (!k->status && (value_dim != t->head_dim || (int64_t)t->head_dim * t->n_heads > FAMILY_MAX_FF))
        gguf_keys_fail(k, "~attention", "keys of %d and values of %lld dims are not supported", t->head_dim,
                       (long long)value_dim);
}

static void read_attention(GgufKeys *k, const TensorFile *tensors, const Architecture *a, ModelTraits *t)
{
    const Tensor *q_norm = tensor_file_find(tensors, "blk.0.attn_q_norm.weight");
    if (q_norm)
        t->qk_norm = q_norm->n_dims == 2 || q_norm->shape[0] == (size_t)t->head_dim ? QK_NORM_HEAD : QK_NORM_FULL;
    t->qk_norm_kind = t->norm_kind;
    t->qk_norm_eps = t->norm_eps;
    double width = t->head_dim;
    if (a->flags & A_GEMMA_SCALE && t->n_layers == a->gemma_layers && !k->status)
        width = (double)(t->d_model / (size_t)t->n_heads);
    double scale = gguf_keys_number_or(k, "~attention.scale", 0, 1e6, 0);
    t->attn_scale = (float)(scale > 0 ? scale : 1 / sqrt(width));
    t->attn_softcap = (float)gguf_keys_number_or(k, "~attn_logit_softcapping", 0, 1e9, 0);
    t->qkv_clip = (float)gguf_keys_number_or(k, "~attention.clamp_kqv", 0, 1e9, 0);
    if (a->flags & A_ALIBI) {
        double most = gguf_keys_number_or(k, "~attention.max_alibi_bias", 0, 1e6, 8);
        if (most > 0 && !k->status && !family_fill_alibi(t, most, 1))
            k->status = error_set(k->e, STATUS_FAILED, "%s: out of memory for %d slopes", k->path, t->n_heads);
    }
}

static void read_norms(GgufKeys *k, const TensorFile *tensors, const Architecture *a, ModelTraits *t)
{
    bool layer_norm = a->flags & A_LAYER;
    t->norm_kind = layer_norm ? NORM_LAYER : NORM_RMS;
    t->norm_eps = (float)gguf_keys_number_or(
        k, layer_norm ? "~attention.layer_norm_epsilon" : "~attention.layer_norm_rms_epsilon", 0, 1, 1e-5);
    bool before = has_in_layer(tensors, "attn_norm.weight", 0), behind = has_in_layer(tensors, "post_ffw_norm.weight", 0);
    t->norm_weight = before || behind;
    t->norm_bias = has_in_layer(tensors, "attn_norm.bias", 0);
    t->norm_place = behind && before ? NORM_BOTH : behind ? NORM_POST : NORM_PRE;
    t->embed_norm = tensor_file_find(tensors, "token_embd_norm.weight") != NULL;
    /* without a norm of its own the MLP of a parallel residual reads attention's */
    bool second = has_in_layer(tensors, "ffn_norm.weight", 0) || has_in_layer(tensors, "attn_norm_2.weight", 0);
    bool parallel = gguf_keys_bool_or(k, "~use_parallel_residual", (a->flags & A_PARALLEL) != 0);
    t->residual = parallel ? RESIDUAL_PARALLEL : RESIDUAL_SEQUENTIAL;
    t->one_norm = parallel && !second;
}

static void read_mixture(GgufKeys *k, const TensorFile *tensors, const Architecture *a, ModelTraits *t)
{
    int n_experts = (int)gguf_keys_integer_or(k, "~expert_count", 0, FAMILY_MAX_EXPERTS, 0);
    if (k->status || n_experts == 0)
        return;
    t->d_expert = (size_t)gguf_keys_integer_or(k, "~expert_feed_forward_length", 1, FAMILY_MAX_FF, (int64_t)t->d_ff);
    int top_k = (int)gguf_keys_integer(k, "~expert_used_count", 1, n_experts);
    bool normalise = gguf_keys_bool_or(k, "~expert_weights_norm", (a->flags & A_NORMALISE) != 0);
    t->route = (RouteSpec){n_experts, top_k, normalise};
    const Tensor *shared = tensor_file_find(tensors, "blk.0.ffn_up_shexp.weight");
    int64_t width = shared && shared->n_dims == 2 && shared->shape[0] <= FAMILY_MAX_FF ? (int64_t)shared->shape[0] : 0;
    if (shared)
        t->d_shared =
            (size_t)gguf_keys_integer_or(k, "~expert_shared_feed_forward_length", 1, FAMILY_MAX_FF, width > 0 ? width : 1);
    t->shared_gate = tensor_file_find(tensors, "blk.0.ffn_gate_inp_shexp.weight") != NULL;
}

static const char *file_type_name(const Tensor *t)
{
    switch (t ? t->dtype : DTYPE_NONE) {
    case DTYPE_F32:
        return "float32";
    case DTYPE_F16:
        return "float16";
    case DTYPE_BF16:
        return "bfloat16";
    case DTYPE_NONE:
        return "";
    default:
        return dtype_name(t->dtype);
    }
}

static int read_gguf(const Gguf *g, const TensorFile *tensors, const char *path, ModelTraits *t, Error *e)
{
    const Architecture *a = find_architecture(g); /* families.c found the family by the same name */
    GgufKeys k = {.g = g, .path = path, .architecture = a->name, .e = e};
    check_harmless(&k);
    t->n_layers = (int)gguf_keys_integer(&k, "~block_count", 1, FAMILY_MAX_LAYERS);
    t->d_model = (size_t)gguf_keys_integer(&k, "~embedding_length", 1, FAMILY_MAX_WIDTH);
    t->d_ff = (size_t)gguf_keys_integer(&k, "~feed_forward_length", 1, FAMILY_MAX_FF);
    t->max_positions = (int)gguf_keys_integer(&k, "~context_length", 1, FAMILY_MAX_POSITIONS);
    read_heads(&k, t);
    read_norms(&k, tensors, a, t);
    read_attention(&k, tensors, a, t);
    t->activation = a->activation;
    t->learned_positions = tensor_file_find(tensors, "position_embd.weight") != NULL;
    double root = a->flags & A_ROOT_SCALED && !k.status ? sqrt((double)t->d_model) : 1;
    t->embedding_multiplier = (float)gguf_keys_number_or(&k, "~embedding_scale", 0, 1e9, root);
    t->residual_multiplier = (float)gguf_keys_number_or(&k, "~residual_scale", 0, 1e9, 1);
    double logit_scale = gguf_keys_number_or(&k, "~logit_scale", 0, 1e9, 1);
    if (logit_scale > 0)
        t->logit_scale = (float)(a->flags & A_LOGITS_OVER ? 1 / logit_scale : logit_scale);
    t->logit_softcap = (float)gguf_keys_number_or(&k, "~final_logit_softcapping", 0, 1e9, 0);
    /* the file's own count of ids may be missing; the embedding has one row for each */
    const Tensor *embed = tensor_file_find(tensors, "token_embd.weight");
    int64_t rows = embed && embed->n_dims == 2 && embed->shape[0] <= FAMILY_MAX_VOCAB ? (int64_t)embed->shape[0] : 1;
    t->vocab = (size_t)gguf_keys_integer_or(&k, "~vocab_size", 1, FAMILY_MAX_VOCAB, rows > 0 ? rows : 1);
    t->tied_embeddings = !tensor_file_find(tensors, "output.weight");
    t->attn_bias = has_in_layer(tensors, "attn_q.bias", 0) || has_in_layer(tensors, "attn_qkv.bias", 0);
    t->attn_out_bias = has_in_layer(tensors, "attn_output.bias", 0);
    t->mlp_bias = has_in_layer(tensors, "ffn_up.bias", 0) || has_in_layer(tensors, "ffn_down.bias", 0);
    t->head_bias = tensor_file_find(tensors, "output.bias") != NULL;
    t->bos_id = (int32_t)gguf_keys_integer_or(&k, "tokenizer.ggml.bos_token_id", 0, INT32_MAX, -1);
    t->eos_id = (int32_t)gguf_keys_integer_or(&k, "tokenizer.ggml.eos_token_id", 0, INT32_MAX, -1);
    const Tensor *q = tensor_file_find(tensors, "blk.0.attn_q.weight");
    snprintf(t->torch_dtype, sizeof t->torch_dtype, "%s",
             file_type_name(q ? q : tensor_file_find(tensors, "blk.0.attn_qkv.weight")));
    read_mixture(&k, tensors, a, t);
    if (!(a->flags & A_NO_ROPE))
        read_rope(&k, tensors, a, t);
    if (!k.status)
        read_layers(&k, tensors, a, t);
    return k.status;
}

#define FAMILY(architecture, the_layouts) \
    { \
        .name = architecture, .prefix = "", .layouts = the_layouts, .n_layouts = sizeof the_layouts / sizeof *the_layouts, \
        .redundant = redundant, .read_gguf = read_gguf \
    }
const Family family_gguf[] = {
    FAMILY("llama", usual_layouts),         FAMILY("qwen2", usual_layouts),        FAMILY("qwen2moe", usual_layouts),
    FAMILY("qwen3", usual_layouts),         FAMILY("qwen3moe", usual_layouts),     FAMILY("gemma", usual_layouts),
    FAMILY("gemma2", usual_layouts),        FAMILY("gemma3", usual_layouts),       FAMILY("phi2", usual_layouts),
    FAMILY("phi3", fused_mlp_layouts),      FAMILY("olmo", usual_layouts),         FAMILY("olmo2", usual_layouts),
    FAMILY("olmoe", usual_layouts),         FAMILY("stablelm", head_gain_layouts), FAMILY("starcoder", usual_layouts),
    FAMILY("starcoder2", usual_layouts),    FAMILY("granite", usual_layouts),      FAMILY("granitemoe", usual_layouts),
    FAMILY("command-r", head_gain_layouts), FAMILY("cohere2", usual_layouts),      FAMILY("smollm3", usual_layouts),
    FAMILY("gptneox", usual_layouts),       FAMILY("gpt2", usual_layouts),         FAMILY("bloom", usual_layouts),
    FAMILY("mpt", usual_layouts),           FAMILY("falcon", usual_layouts),       FAMILY("nemotron", usual_layouts),
    FAMILY("arcee", usual_layouts),         FAMILY("exaone4", usual_layouts),      FAMILY("seed_oss", seed_layouts),
    FAMILY("ernie4_5", usual_layouts),      FAMILY("chatglm", fused_mlp_layouts),  FAMILY("glm4", fused_mlp_layouts),
};
const size_t family_gguf_count = sizeof family_gguf / sizeof *family_gguf;
