/* hollow_model.c: see hollow_model.h. */
#include "bench/gpu/hollow_model.h"

#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/strbuf.h"

/* total_bytes: of the tensors named so far. */
static void put_tensor(StrBuf *header, size_t *total_bytes, const char *name, size_t rows, size_t cols)
{
    size_t bytes = rows * cols * 2;
    strbuf_printf(header, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[", header->len > 1 ? "," : "", name);
    if (rows > 1)
        strbuf_printf(header, "%zu,", rows);
    strbuf_printf(header, "%zu],\"data_offsets\":[%zu,%zu]}", cols, *total_bytes, *total_bytes + bytes);
    *total_bytes += bytes;
}

/* The header of all tensors, and their bytes. */
static size_t put_header(const Shape *s, StrBuf *out)
{
    char name[160];
    size_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    size_t total_bytes = 0;
    strbuf_printf(out, "{");
    put_tensor(out, &total_bytes, "model.embed_tokens.weight", s->vocab, s->d);
    put_tensor(out, &total_bytes, "model.norm.weight", 1, s->d);
    put_tensor(out, &total_bytes, "lm_head.weight", s->vocab, s->d);
    const struct {
        const char *name;
        size_t rows, cols;
    } common[] = {{"input_layernorm", 1, s->d},   {"post_attention_layernorm", 1, s->d}, {"self_attn.q_proj", q, s->d},
                  {"self_attn.k_proj", kv, s->d}, {"self_attn.v_proj", kv, s->d},        {"self_attn.o_proj", s->d, q},
                  {"mlp.gate_proj", s->f, s->d},  {"mlp.up_proj", s->f, s->d},           {"mlp.down_proj", s->d, s->f}};
    for (size_t l = 0; l < s->layers; l++) {
        for (size_t i = 0; i < (s->experts ? 6u : 9u); i++) {
            snprintf(name, sizeof name, "model.layers.%zu.%s.weight", l, common[i].name);
            put_tensor(out, &total_bytes, name, common[i].rows, common[i].cols);
        }
        if (!s->experts)
            continue;
        snprintf(name, sizeof name, "model.layers.%zu.block_sparse_moe.gate.weight", l);
        put_tensor(out, &total_bytes, name, s->experts, s->d);
        for (size_t x = 0; x < s->experts; x++)
            for (int w = 1; w <= 3; w++) {
                snprintf(name, sizeof name, "model.layers.%zu.block_sparse_moe.experts.%zu.w%d.weight", l, x, w);
                put_tensor(out, &total_bytes, name, w == 2 ? s->d : s->f, w == 2 ? s->f : s->d);
            }
    }
    strbuf_printf(out, "}");
    while (out->len % 8)
        strbuf_printf(out, " ");
    return total_bytes;
}

static void put_config(const Shape *s, StrBuf *out)
{
    strbuf_printf(
        out,
        "{\"model_type\":\"%s\",\"hidden_size\":%zu,\"intermediate_size\":%zu,\"num_hidden_layers\":%zu,\"num_attention_"
        "heads\":%zu,"
        "\"num_key_value_heads\":%zu,\"head_dim\":%zu,\"vocab_size\":%zu,\"rms_norm_eps\":1e-5,\"rope_theta\":500000.0,"
        "\"max_position_embeddings\":8192,\"hidden_act\":\"silu\",\"tie_word_embeddings\":false",
        s->experts ? "mixtral" : "llama", s->d, s->f, s->layers, s->heads, s->kv_heads, s->head_dim, s->vocab);
    if (s->experts)
        strbuf_printf(out, ",\"num_local_experts\":%zu,\"num_experts_per_tok\":2", s->experts);
    strbuf_printf(out, ",\"architectures\":[\"%s\"]}\n", s->experts ? "MixtralForCausalLM" : "LlamaForCausalLM");
}

/* The bytes of `before` and of the text, and a hole of so many bytes behind. */
static bool write_file(const char *folder, const char *name, const void *before, size_t n_before, const StrBuf *text,
                       size_t hole)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = text->failed ? NULL : fopen(path, "wb");
    bool ok = f && fwrite(before, 1, n_before, f) == n_before && fwrite(text->data, 1, text->len, f) == text->len;
    return f && fclose(f) == 0 && ok && truncate(path, (off_t)(n_before + text->len + hole)) == 0;
}

bool hollow_model_make(const Shape *s, const char *folder)
{
    StrBuf header = {0}, config = {0};
    size_t hole = put_header(s, &header);
    uint64_t n = header.len;
    put_config(s, &config);
    bool ok = write_file(folder, "config.json", "", 0, &config, 0) &&
              write_file(folder, "model.safetensors", &n, sizeof n, &header, hole);
    strbuf_free(&header);
    strbuf_free(&config);
    return ok;
}

void hollow_model_remove(const char *folder)
{
    char path[512];
    static const char *const names[] = {"config.json", "model.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}
