/* inspect.c: what a model is, in plain words: shapes, dtypes, bytes, FLOPs, traits, tokenizer. Nothing is computed. */
#include <stdlib.h>
#include <string.h>

#include "experiments/workbench.h"

static const char *rope_words(const RopeTraits *r, char *out, size_t out_len)
{
    static const char *const kinds[] = {"none", "default", "linear", "dynamic", "llama3", "yarn", "longrope"};
    int n = snprintf(out, out_len, "rotary (%s, %s), %d dims, theta %g", kinds[r->kind],
                     r->style == ROPE_HALF ? "half" : "interleaved", r->rotary_dims, r->theta);
    if (r->kind != ROPE_DEFAULT && n > 0 && (size_t)n < out_len)
        snprintf(out + n, out_len - (size_t)n, ", factor %g, original positions %d", r->factor, r->original_max_positions);
    return out;
}

static const char *activation_name(ActKind a)
{
    static const char *const names[] = {"silu", "gelu (tanh)", "gelu (erf)", "relu", "squared relu"};
    return names[a];
}

static int count_layers(const ModelTraits *t, bool (*holds)(const LayerTraits *))
{
    int n = 0;
    for (int l = 0; l < t->n_layers; l++)
        n += holds(&t->layers[l]);
    return n;
}

static bool slides(const LayerTraits *l)
{
    return l->window > 0;
}

static bool is_mixture(const LayerTraits *l)
{
    return l->mlp == MLP_MOE;
}

static void list_windows(const ModelTraits *t, StrBuf *out)
{
    int n = count_layers(t, slides), first = 0;
    for (int l = t->n_layers - 1; l >= 0; l--)
        first = t->layers[l].window ? t->layers[l].window : first;
    if (n)
        strbuf_printf(out, ", sliding window %d in %d layers", first, n);
}

static void describe_norms(const ModelTraits *t, StrBuf *out)
{
    static const char *const places[] = {"before each half", "behind each half", "before and behind each half",
                                         "after each residual sum"};
    strbuf_printf(out, "  norms        %s (eps %g)%s%s %s%s%s%s\n", t->norm_kind == NORM_RMS ? "RMSNorm" : "LayerNorm",
                  (double)t->norm_eps, t->norm_weight ? "" : " without gains",
                  t->norm_weight_offset > 0 ? " with gains 1 + weight" : "", places[t->norm_place],
                  t->one_norm ? ", one for both halves" : "", t->embed_norm ? ", behind the embedding" : "",
                  t->final_norm ? "" : ", none before the head");
}

static void describe_multipliers(const ModelTraits *t, StrBuf *out)
{
    const struct {
        const char *name;
        double value, usual;
    } list[] = {{"embedding", (double)t->embedding_multiplier, 1},
                {"residual", (double)t->residual_multiplier, 1},
                {"logits", (double)t->logit_scale, 1},
                {"score softcap", (double)t->attn_softcap, 0},
                {"logit softcap", (double)t->logit_softcap, 0},
                {"clip of queries, keys, values", (double)t->qkv_clip, 0}};
    bool any = false;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (!(list[i].value < list[i].usual || list[i].value > list[i].usual))
            continue;
        strbuf_printf(out, "%s%s %g", any ? ", " : "  multipliers  ", list[i].name, list[i].value);
        any = true;
    }
    strbuf_puts(out, any ? "\n" : "");
}

static void describe_positions(const ModelTraits *t, StrBuf *out)
{
    char rope[256];
    int without = 0;
    strbuf_puts(out, "  positions    ");
    if (t->alibi_slopes)
        strbuf_printf(out, "ALiBi, slopes from %g", (double)t->alibi_slopes[0]);
    for (int i = 0; i < t->n_ropes; i++)
        strbuf_printf(out, "%s%s", i ? "; " : "", rope_words(&t->ropes[i], rope, sizeof rope));
    for (int l = 0; l < t->n_layers; l++)
        without += t->n_ropes && t->layers[l].rope < 0;
    if (without)
        strbuf_printf(out, " (none in %d layers)", without);
    if (t->learned_positions)
        strbuf_puts(out, "learned");
    strbuf_printf(out, ", at most %d\n", t->max_positions);
}

static void describe_mlp(const ModelTraits *t, StrBuf *out)
{
    int mixtures = count_layers(t, is_mixture);
    bool gated = traits_has_mlp(t, MLP_GATED);
    strbuf_puts(out, "  mlp          ");
    if (mixtures < t->n_layers)
        strbuf_printf(out, "%s, width %zu%s", gated ? "gated" : "plain", t->d_ff, mixtures ? "; " : "");
    if (mixtures)
        strbuf_printf(out, "mixture in %d layers: %d gated experts of width %zu, %d a token, shares %s", mixtures,
                      t->route.n_experts, t->d_expert, t->route.top_k, t->route.normalise ? "of the chosen" : "of all");
    if (mixtures && t->d_shared)
        strbuf_printf(out, ", one shared of width %zu%s", t->d_shared, t->shared_gate ? " behind a gate" : "");
    strbuf_printf(out, ", %s\n", activation_name(t->activation));
}

static void describe(const Workbench *b, StrBuf *out)
{
    const Model *m = &b->model;
    const ModelTraits *t = &m->traits;
    double gib = 1024.0 * 1024.0 * 1024.0, layer = model_flops_attn(m, 0) + model_flops_mlp(m, 0);
    strbuf_printf(out, "%s\n  files        %s (%zu file%s, %zu tensors, %.3f GiB)\n", b->path.name, b->path.path,
                  m->files.n_maps, m->files.n_maps == 1 ? "" : "s", m->files.n_tensors, (double)model_file_bytes(m) / gib);
    strbuf_printf(out, "  type         %s%s%s, %.1f million parameters%s\n", t->model_type,
                  t->torch_dtype[0] ? ", saved as " : "", t->torch_dtype, (double)model_parameters(m) * 1e-6,
                  t->tied_embeddings ? ", head tied to the embedding" : "");
    strbuf_printf(out, "  layers       %d, %s residual\n", t->n_layers,
                  t->residual == RESIDUAL_PARALLEL ? "parallel" : "sequential");
    describe_norms(t, out);
    strbuf_printf(out, "  width        %zu (residual stream), feed-forward %zu, vocabulary %zu\n", t->d_model, t->d_ff,
                  t->vocab);
    strbuf_printf(out, "  attention    %d heads of %d, %d key/value heads, scale %g", t->n_heads, t->head_dim, t->n_kv_heads,
                  (double)t->attn_scale);
    list_windows(t, out);
    if (t->qk_norm != QK_NORM_NONE)
        strbuf_printf(out, ", queries and keys normalised %s", t->qk_norm == QK_NORM_HEAD ? "by head" : "over all heads");
    strbuf_puts(out, "\n");
    describe_positions(t, out);
    describe_mlp(t, out);
    describe_multipliers(t, out);
    strbuf_printf(out, "  compute      %.3f GFLOP a token (a layer %.4f, head %.4f)\n",
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
    field(out, "d_expert", (double)t->d_expert);
    field(out, "d_shared", (double)t->d_shared);
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
