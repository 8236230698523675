/* inspect.c: what a model is, in plain words: shapes, dtypes, bytes, FLOPs, traits, tokenizer. Nothing is computed. */
#include <stdlib.h>
#include <string.h>

#include "experiments/workbench.h"

static const char *rope_words(const RopeTraits *r, char *out, size_t out_len)
{
    static const char *const kinds[] = {"none", "default", "linear", "dynamic", "llama3", "yarn"};
    int n = snprintf(out, out_len, "rotary (%s, %s), %d dims, theta %g", kinds[r->kind],
                     r->style == ROPE_HALF ? "half" : "interleaved", r->rotary_dims, r->theta);
    if (r->kind != ROPE_DEFAULT && n > 0 && (size_t)n < out_len)
        snprintf(out + n, out_len - (size_t)n, ", factor %g, original positions %d", r->factor, r->original_max_positions);
    return out;
}

static const char *activation_name(ActKind a)
{
    static const char *const names[] = {"silu", "gelu (tanh)", "gelu (erf)", "relu"};
    return names[a];
}

static void list_windows(const ModelTraits *t, StrBuf *out)
{
    int n = 0, first = 0;
    for (int l = 0; l < t->n_layers; l++)
        if (t->layers[l].window) {
            first = n ? first : t->layers[l].window;
            n++;
        }
    if (n)
        strbuf_printf(out, ", sliding window %d in %d layers", first, n);
}

static void describe(const Workbench *b, StrBuf *out)
{
    const Model *m = &b->model;
    const ModelTraits *t = &m->traits;
    char rope[256];
    double gib = 1024.0 * 1024.0 * 1024.0, layer = model_flops_attn(m, 0) + model_flops_mlp(m, 0);
    strbuf_printf(out, "%s\n  files        %s (%zu tensors, %.3f GiB)\n", b->path.name, b->path.path, m->files.n_tensors,
                  (double)model_file_bytes(m) / gib);
    strbuf_printf(out, "  type         %s%s%s, %.1f million parameters%s\n", t->model_type,
                  t->torch_dtype[0] ? ", saved as " : "", t->torch_dtype, (double)model_parameters(m) * 1e-6,
                  t->tied_embeddings ? ", head tied to the embedding" : "");
    strbuf_printf(out, "  layers       %d, %s residual, %s (eps %g)\n", t->n_layers,
                  t->residual == RESIDUAL_PARALLEL ? "parallel" : "sequential",
                  t->norm_kind == NORM_RMS ? "RMSNorm" : "LayerNorm", (double)t->norm_eps);
    strbuf_printf(out, "  width        %zu (residual stream), feed-forward %zu, vocabulary %zu\n", t->d_model, t->d_ff,
                  t->vocab);
    strbuf_printf(out, "  attention    %d heads of %d, %d key/value heads, scale %g", t->n_heads, t->head_dim, t->n_kv_heads,
                  (double)t->attn_scale);
    list_windows(t, out);
    strbuf_printf(out, "\n  positions    %s, at most %d\n",
                  t->n_ropes             ? rope_words(&t->ropes[0], rope, sizeof rope)
                  : t->learned_positions ? "learned"
                                         : "none",
                  t->max_positions);
    strbuf_printf(out, "  mlp          %s, %s",
                  t->layers[0].mlp == MLP_MOE     ? "mixture of gated experts"
                  : t->layers[0].mlp == MLP_GATED ? "gated"
                                                  : "plain",
                  activation_name(t->activation));
    if (t->route.n_experts)
        strbuf_printf(out, ", %d experts, %d a token", t->route.n_experts, t->route.top_k);
    strbuf_printf(out, "\n  compute      %.3f GFLOP a token (a layer %.4f, head %.4f)\n",
                  (layer * t->n_layers + model_flops_head(m)) * 1e-9, layer * 1e-9, model_flops_head(m) * 1e-9);
    strbuf_printf(out, "  prepared     %.1f MiB a layer, %.1f MiB the head (%s)\n",
                  (double)model_layer_slot_bytes(m, b->session.ops, -1) / (1024.0 * 1024.0),
                  (double)model_head_slot_bytes(m, b->session.ops) / (1024.0 * 1024.0), b->session.ops->name);
    strbuf_printf(out, "  tokenizer    %s\n",
                  b->tokenizer ? tokenizer_describe(b->tokenizer) : "none: only rows of ids can be run");
    strbuf_printf(out, "  bos          %s", b->bos ? "added" : "not added");
    if (b->bos_id >= 0)
        strbuf_printf(out, " (id %d)", b->bos_id);
    strbuf_puts(out, "\n");
}

static void field(StrBuf *out, const char *name, double value)
{
    strbuf_printf(out, ",\"%s\":", name);
    strbuf_json_number(out, value);
}

static void describe_json(const Workbench *b, StrBuf *out)
{
    const Model *m = &b->model;
    const ModelTraits *t = &m->traits;
    strbuf_puts(out, "{\"model\":");
    strbuf_json_string(out, b->path.name, strlen(b->path.name));
    strbuf_puts(out, ",\"path\":");
    strbuf_json_string(out, b->path.path, strlen(b->path.path));
    strbuf_puts(out, ",\"model_type\":");
    strbuf_json_string(out, t->model_type, strlen(t->model_type));
    field(out, "n_layers", t->n_layers);
    field(out, "d_model", (double)t->d_model);
    field(out, "d_ff", (double)t->d_ff);
    field(out, "n_heads", t->n_heads);
    field(out, "n_kv_heads", t->n_kv_heads);
    field(out, "head_dim", t->head_dim);
    field(out, "vocab", (double)t->vocab);
    field(out, "max_positions", t->max_positions);
    field(out, "n_experts", t->route.n_experts);
    field(out, "top_k", t->route.top_k);
    field(out, "window", t->layers[0].window);
    field(out, "parameters", (double)model_parameters(m));
    field(out, "file_bytes", (double)model_file_bytes(m));
    field(out, "flops_per_token_layer", model_flops_attn(m, 0) + model_flops_mlp(m, 0));
    field(out, "flops_per_token_head", model_flops_head(m));
    strbuf_printf(out, ",\"tied_embeddings\":%s,\"norm\":\"%s\",\"residual\":\"%s\"", t->tied_embeddings ? "true" : "false",
                  t->norm_kind == NORM_RMS ? "rms" : "layer", t->residual == RESIDUAL_PARALLEL ? "parallel" : "sequential");
    strbuf_puts(out, ",\"tokenizer\":");
    if (b->tokenizer)
        strbuf_json_string(out, tokenizer_describe(b->tokenizer), strlen(tokenizer_describe(b->tokenizer)));
    else
        strbuf_puts(out, "null");
    strbuf_puts(out, ",\"tensors\":[");
    for (size_t i = 0; i < m->files.n_tensors; i++) {
        const Tensor *x = &m->files.tensors[i];
        strbuf_puts(out, i ? ",{\"name\":" : "{\"name\":");
        strbuf_json_string(out, x->name, strlen(x->name));
        strbuf_printf(out, ",\"dtype\":\"%s\",\"shape\":[", dtype_name(x->dtype));
        for (int d = 0; d < x->n_dims; d++)
            strbuf_printf(out, "%s%zu", d ? "," : "", x->shape[d]);
        strbuf_printf(out, "],\"bytes\":%zu}", x->size_bytes);
    }
    strbuf_puts(out, "]}\n");
}

int strata_inspect(const StrataCommon *options, StrataError *e)
{
    Workbench b;
    int status = workbench_open(options, TOKENIZER_IF_THERE, &b, e);
    if (status)
        return status;
    StrBuf out = {0};
    if (options->json)
        describe_json(&b, &out);
    else
        describe(&b, &out);
    if (out.failed)
        status = error_set(e, STATUS_FAILED, "inspect: out of memory");
    else if (options->out)
        fwrite(out.data, 1, out.len, options->out);
    strbuf_free(&out);
    workbench_close(&b);
    return status;
}
