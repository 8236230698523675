/* family_gguf_llama.c: GGUF files of architecture "llama" (Llama, Mistral, Mixtral and relatives as llama.cpp writes them).
 * Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#llama. The converter permutes the rows of Q and K so that
 * rotary pairs are neighbours (2i, 2i+1), hence ROPE_INTERLEAVED. Llama 3's frequency scaling comes as a tensor of divisors,
 * rope_freqs.weight. Whether biases exist is said by the tensors alone. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/convert.h"
#include "loaders/family.h"

#define ATTENTION_RULES \
    {"token_embd.weight", ROLE_EMBED, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"blk.{l}.attn_norm.weight", ROLE_ATTN_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"blk.{l}.attn_q.weight", ROLE_QKV, {SIDE_Q, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"blk.{l}.attn_k.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"blk.{l}.attn_v.weight", ROLE_QKV, {SIDE_KV, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"blk.{l}.attn_q.bias", ROLE_QKV_BIAS, {SIDE_Q}, FORM_PLAIN, WHEN_ATTN_BIAS}, \
        {"blk.{l}.attn_k.bias", ROLE_QKV_BIAS, {SIDE_KV}, FORM_PLAIN, WHEN_ATTN_BIAS}, \
        {"blk.{l}.attn_v.bias", ROLE_QKV_BIAS, {SIDE_KV}, FORM_PLAIN, WHEN_ATTN_BIAS}, \
        {"blk.{l}.attn_output.weight", ROLE_O, {SIDE_D, SIDE_Q}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"blk.{l}.attn_output.bias", ROLE_O_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_ATTN_OUT_BIAS}, \
        {"blk.{l}.ffn_norm.weight", ROLE_MLP_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
        {"output_norm.weight", ROLE_FINAL_NORM, {SIDE_D}, FORM_PLAIN, WHEN_ALWAYS}, \
    { \
        "output.weight", ROLE_HEAD, {SIDE_V, SIDE_D}, FORM_PLAIN, WHEN_UNTIED \
    }

static const TensorRule dense_rules[] = {
    ATTENTION_RULES,
    {"blk.{l}.ffn_gate.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"blk.{l}.ffn_up.weight", ROLE_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"blk.{l}.ffn_gate.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_MLP_BIAS},
    {"blk.{l}.ffn_up.bias", ROLE_GATE_UP_BIAS, {SIDE_F}, FORM_PLAIN, WHEN_MLP_BIAS},
    {"blk.{l}.ffn_down.weight", ROLE_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS},
    {"blk.{l}.ffn_down.bias", ROLE_DOWN_BIAS, {SIDE_D}, FORM_PLAIN, WHEN_MLP_BIAS},
};

static const TensorRule fused_rules[] = {
    ATTENTION_RULES,
    {"blk.{l}.ffn_gate_inp.weight", ROLE_ROUTER, {SIDE_E, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"blk.{l}.ffn_gate_exps.weight", ROLE_EXPERT_GATE_UP, {SIDE_E, SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"blk.{l}.ffn_up_exps.weight", ROLE_EXPERT_GATE_UP, {SIDE_E, SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"blk.{l}.ffn_down_exps.weight", ROLE_EXPERT_DOWN, {SIDE_E, SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS},
};

/* Mixtures of before April 2024: one tensor per expert. */
static const TensorRule split_rules[] = {
    ATTENTION_RULES,
    {"blk.{l}.ffn_gate_inp.weight", ROLE_ROUTER, {SIDE_E, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"blk.{l}.ffn_gate.{x}.weight", ROLE_EXPERT_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"blk.{l}.ffn_up.{x}.weight", ROLE_EXPERT_GATE_UP, {SIDE_F, SIDE_D}, FORM_PLAIN, WHEN_ALWAYS},
    {"blk.{l}.ffn_down.{x}.weight", ROLE_EXPERT_DOWN, {SIDE_D, SIDE_F}, FORM_PLAIN, WHEN_ALWAYS},
};

static const TensorLayout layouts[] = {
    {"blk.{l}.ffn_gate.weight", dense_rules, sizeof dense_rules / sizeof *dense_rules},
    {"blk.{l}.ffn_gate_exps.weight", fused_rules, sizeof fused_rules / sizeof *fused_rules},
    {"blk.{l}.ffn_gate.{x}.weight", split_rules, sizeof split_rules / sizeof *split_rules},
};
/* rope_freqs.weight is read with the traits. */
static const char *const redundant[] = {"rope_freqs.weight", "blk.{l}.attn_rot_embd.weight", NULL};

/* Typed reads with one sticky error, like HfConfig's. */
typedef struct Keys {
    const Gguf *g;
    const char *path;
    Error *e;
    int status;
} Keys;

static int64_t integer_or(Keys *k, const char *key, int64_t lo, int64_t hi, int64_t fallback)
{
    const GgufValue *v = gguf_get(k->g, key);
    int64_t x;
    if (k->status || !v)
        return fallback;
    if (v->type == GGUF_ARRAY) { /* one value per layer: served when all are the same */
        x = v->array_len ? gguf_array_integer(v, 0) : lo - 1;
        for (size_t i = 1; i < v->array_len && !k->status; i++)
            if (gguf_array_integer(v, i) != x)
                k->status = error_set(k->e, STATUS_FAILED, "%s: %s: layers that differ are not supported: %lld, then %lld",
                                      k->path, key, (long long)x, (long long)gguf_array_integer(v, i));
    } else if (!gguf_integer(k->g, key, &x)) {
        x = lo - 1;
    }
    if (!k->status && (x < lo || x > hi))
        k->status = error_set(k->e, STATUS_FAILED, "%s: %s: expected a whole number from %lld to %lld", k->path, key,
                              (long long)lo, (long long)hi);
    return k->status ? lo : x;
}

static int64_t integer(Keys *k, const char *key, int64_t lo, int64_t hi)
{
    if (!k->status && !gguf_get(k->g, key))
        k->status = error_set(k->e, STATUS_FAILED, "%s: %s: expected a whole number, found no such key", k->path, key);
    return integer_or(k, key, lo, hi, lo);
}

static double number_or(Keys *k, const char *key, double lo, double hi, double fallback)
{
    double x = NAN;
    if (k->status || !gguf_get(k->g, key))
        return fallback;
    if (!gguf_number(k->g, key, &x) || !(x >= lo && x <= hi)) {
        k->status =
            error_set(k->e, STATUS_FAILED, "%s: %s: expected a number from %g to %g, found %g", k->path, key, lo, hi, x);
        return lo;
    }
    return x;
}

/* Keys of relatives that would change the arithmetic, each with the one value that leaves it alone. */
static void check_harmless(Keys *k)
{
    static const struct {
        const char *key;
        double value;
    } numbers[] = {
        {"llama.residual_scale", 1},
        {"llama.embedding_scale", 1},
        {"llama.logit_scale", 1},
        {"llama.attention.sliding_window", 0},
        {"llama.attention.clamp_kqv", 0},
        {"llama.attn_logit_softcapping", 0},
        {"llama.final_logit_softcapping", 0},
        {"llama.expert_shared_count", 0},
        {"llama.interleave_moe_layer_step", 1},
        {"split.count", 1},
    };
    static const struct {
        const char *key;
        bool value;
    } flags[] = {{"llama.use_parallel_residual", false}, {"llama.attention.causal", true}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && !k->status; i++) {
        double x = NAN;
        if (gguf_get(k->g, numbers[i].key) &&
            (!gguf_number(k->g, numbers[i].key, &x) || x < numbers[i].value || x > numbers[i].value) &&
            !(strcmp(numbers[i].key, "split.count") == 0 && x < 1))
            k->status =
                error_set(k->e, STATUS_FAILED, "%s: %s: value %g is not supported (supported: %g)%s", k->path, numbers[i].key,
                          x, numbers[i].value, numbers[i].key[0] == 's' ? ": join the parts into one file first" : "");
    }
    for (size_t i = 0; i < sizeof flags / sizeof *flags && !k->status; i++) {
        bool b = !flags[i].value;
        if (gguf_get(k->g, flags[i].key) && (!gguf_bool(k->g, flags[i].key, &b) || b != flags[i].value))
            k->status = error_set(k->e, STATUS_FAILED, "%s: %s: only %s is supported", k->path, flags[i].key,
                                  flags[i].value ? "true" : "false");
    }
}

static void read_rope(Keys *k, const TensorFile *tensors, ModelTraits *t)
{
    RopeTraits *r = &t->ropes[0];
    *r = (RopeTraits){.kind = ROPE_DEFAULT, .style = ROPE_INTERLEAVED, .attention_factor = 1, .truncate = true};
    t->n_ropes = 1;
    r->rotary_dims = (int)integer_or(k, "llama.rope.dimension_count", 2, t->head_dim, t->head_dim);
    r->theta = number_or(k, "llama.rope.freq_base", 1e-3, 1e30, 10000);
    r->original_max_positions = t->max_positions;
    if (!k->status && r->rotary_dims % 2 != 0)
        k->status = error_set(k->e, STATUS_FAILED, "%s: llama.rope.dimension_count: expected an even number, found %d", k->path,
                              r->rotary_dims);
    GgufString type = {"none", 4};
    /* before 2023's rope.scaling keys: the linear factor alone */
    double old_factor = number_or(k, "llama.rope.scale_linear", 1e-6, 1e9, 1);
    r->factor = number_or(k, "llama.rope.scaling.factor", 0, 1e9, old_factor);
    bool has_type = gguf_string(k->g, "llama.rope.scaling.type", &type);
    bool scaled = r->factor > 0 && (r->factor < 1 || r->factor > 1);
    bool none = has_type && type.len == 4 && memcmp(type.s, "none", 4) == 0;
    bool linear = has_type ? type.len == 6 && memcmp(type.s, "linear", 6) == 0 : scaled;
    if (linear && r->factor > 0) {
        r->kind = ROPE_LINEAR;
    } else if (has_type && type.len == 4 && memcmp(type.s, "yarn", 4) == 0) {
        r->kind = ROPE_YARN;
        r->beta_fast = number_or(k, "llama.rope.scaling.yarn_beta_fast", 1e-6, 1e9, 32);
        r->beta_slow = number_or(k, "llama.rope.scaling.yarn_beta_slow", 1e-6, 1e9, 1);
        double attn = number_or(k, "llama.rope.scaling.attn_factor", 1e-9, 1e9, 1);
        r->attention_factor = attn * (r->factor > 1 ? 0.1 * log(r->factor) + 1 : 1);
        r->original_max_positions =
            (int)integer_or(k, "llama.rope.scaling.original_context_length", 1, FAMILY_MAX_POSITIONS, t->max_positions);
        if (!k->status && !(r->theta > 1 && r->factor > 0))
            k->status =
                error_set(k->e, STATUS_FAILED, "%s: llama.rope.scaling: yarn needs a base above 1 and a factor", k->path);
    } else if (has_type && !none && !linear && !k->status) {
        k->status =
            error_set(k->e, STATUS_FAILED, "%s: llama.rope.scaling.type: \"%.*s\" is not supported (none linear yarn are)",
                      k->path, (int)(type.len < 40 ? type.len : 40), type.s);
    }
    const Tensor *factors = tensor_file_find(tensors, "rope_freqs.weight");
    if (k->status || !factors)
        return;
    size_t half = (size_t)r->rotary_dims / 2;
    if (factors->n_dims != 1 || factors->shape[0] != half || factors->dtype != DTYPE_F32) {
        k->status = error_set(k->e, STATUS_FAILED, "%s: tensor rope_freqs.weight: expected F32 [%zu], found %s [%zu]", k->path,
                              half, dtype_name(factors->dtype), factors->shape[0]);
        return;
    }
    r->freq_factors = calloc(half, sizeof *r->freq_factors);
    if (!r->freq_factors) {
        k->status = error_set(k->e, STATUS_FAILED, "%s: out of memory", k->path);
        return;
    }
    convert_f32(DTYPE_F32, factors->data, half, r->freq_factors);
    for (size_t i = 0; i < half && !k->status; i++)
        if (!(r->freq_factors[i] > 0 && isfinite(r->freq_factors[i])))
            k->status =
                error_set(k->e, STATUS_FAILED, "%s: tensor rope_freqs.weight: [%zu]: expected a factor above 0, found %g",
                          k->path, i, (double)r->freq_factors[i]);
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
    Keys k = {.g = g, .path = path, .e = e};
    check_harmless(&k);
    t->n_layers = (int)integer(&k, "llama.block_count", 1, FAMILY_MAX_LAYERS);
    t->d_model = (size_t)integer(&k, "llama.embedding_length", 1, FAMILY_MAX_WIDTH);
    t->d_ff = (size_t)integer(&k, "llama.feed_forward_length", 1, FAMILY_MAX_FF);
    t->n_heads = (int)integer(&k, "llama.attention.head_count", 1, FAMILY_MAX_WIDTH);
    t->n_kv_heads = (int)integer_or(&k, "llama.attention.head_count_kv", 1, FAMILY_MAX_WIDTH, t->n_heads);
    t->max_positions = (int)integer(&k, "llama.context_length", 1, FAMILY_MAX_POSITIONS);
    if (!k.status && t->n_heads % t->n_kv_heads != 0)
        k.status =
            error_set(e, STATUS_FAILED, "%s: llama.attention.head_count_kv: expected a divisor of the %d heads, found %d", path,
                      t->n_heads, t->n_kv_heads);
    if (!k.status && !gguf_get(g, "llama.attention.key_length") && t->d_model % (size_t)t->n_heads != 0)
        k.status = error_set(e, STATUS_FAILED, "%s: llama.attention.head_count: expected a divisor of %zu, found %d", path,
                             t->d_model, t->n_heads);
    int64_t head_dim = k.status ? 2 : (int64_t)t->d_model / t->n_heads;
    t->head_dim = (int)integer_or(&k, "llama.attention.key_length", 1, FAMILY_MAX_WIDTH, head_dim);
    int64_t value_dim = integer_or(&k, "llama.attention.value_length", 1, FAMILY_MAX_WIDTH, t->head_dim);
    if (!k.status && (value_dim != t->head_dim || (int64_t)t->head_dim * t->n_heads > FAMILY_MAX_FF))
        k.status = error_set(e, STATUS_FAILED, "%s: llama.attention: keys of %d and values of %lld dims are not supported",
                             path, t->head_dim, (long long)value_dim);
    t->norm_kind = NORM_RMS;
    t->norm_eps = (float)number_or(&k, "llama.attention.layer_norm_rms_epsilon", 0, 1, 1e-5);
    t->attn_scale = (float)number_or(&k, "llama.attention.scale", 0, 1e6, 0);
    if (!(t->attn_scale > 0))
        t->attn_scale = (float)(1 / sqrt((double)t->head_dim));
    t->activation = ACT_SILU;
    /* the file's own count of ids may be missing; the embedding has one row for each */
    const Tensor *embed = tensor_file_find(tensors, "token_embd.weight");
    int64_t rows = embed && embed->n_dims == 2 && embed->shape[0] <= FAMILY_MAX_VOCAB ? (int64_t)embed->shape[0] : 1;
    t->vocab = (size_t)integer_or(&k, "llama.vocab_size", 1, FAMILY_MAX_VOCAB, rows > 0 ? rows : 1);
    t->tied_embeddings = !tensor_file_find(tensors, "output.weight");
    t->attn_bias = tensor_file_find(tensors, "blk.0.attn_q.bias") != NULL;
    t->attn_out_bias = tensor_file_find(tensors, "blk.0.attn_output.bias") != NULL;
    t->mlp_bias = tensor_file_find(tensors, "blk.0.ffn_gate.bias") != NULL;
    t->bos_id = (int32_t)integer_or(&k, "tokenizer.ggml.bos_token_id", 0, INT32_MAX, -1);
    t->eos_id = (int32_t)integer_or(&k, "tokenizer.ggml.eos_token_id", 0, INT32_MAX, -1);
    snprintf(t->torch_dtype, sizeof t->torch_dtype, "%s", file_type_name(tensor_file_find(tensors, "blk.0.attn_q.weight")));
    int n_experts = (int)integer_or(&k, "llama.expert_count", 0, FAMILY_MAX_EXPERTS, 0);
    t->d_expert = n_experts > 0 ? t->d_ff : 0;
    if (n_experts > 0)
        t->route = (RouteSpec){n_experts, (int)integer(&k, "llama.expert_used_count", 1, n_experts), .normalise = true};
    read_rope(&k, tensors, t);
    LayerTraits layer = {.window = 0, .rope = 0, .mlp = n_experts > 0 ? MLP_MOE : MLP_GATED};
    if (!k.status && !family_fill_layers(t, layer))
        k.status = error_set(e, STATUS_FAILED, "%s: out of memory for %d layers", path, t->n_layers);
    return k.status;
}

const Family family_gguf_llama = {
    .name = "llama",
    .prefix = "",
    .layouts = layouts,
    .n_layouts = sizeof layouts / sizeof *layouts,
    .redundant = redundant,
    .read_gguf = read_gguf,
};
