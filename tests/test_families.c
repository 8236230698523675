/* test_families.c: configurations to traits and tensor names to roles, on the fixtures of
 * tools/make_fixtures.py; what is refused, and how the message names it. */
#include <ftw.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/strbuf.h"
#include "kernels/convert.h"
#include "loaders/families.h"
#include "loaders/hf_config.h"
#include "loaders/safetensors.h"
#include "tests/test.h"

#define MODELS "tests/data/models/"

static char temp_dir[64];

typedef struct Opened {
    TensorFile files;
    ModelTraits traits;
    ModelBindings bindings;
} Opened;

static int open_model(const char *path, Opened *m, Error *e)
{
    *m = (Opened){0};
    int status = tensor_file_open(path, &m->files, e);
    if (!status)
        status = family_read_traits(path, &m->files, &m->traits, e);
    if (!status)
        status = family_bind(&m->traits, &m->files, &m->bindings, e);
    return status;
}

static void close_model(Opened *m)
{
    family_bindings_free(&m->bindings);
    traits_free(&m->traits);
    tensor_file_close(&m->files);
}

/* -- fixtures -- */

typedef struct Expected {
    const char *path, *model_type, *torch_dtype;
    int layers, heads, kv_heads, head_dim, positions, window;
    size_t d, f, v;
    bool tied;
    RopeKind rope;
    MlpKind mlp;
    size_t skipped; /* tensors of the file that bind to nothing */
} Expected;

static const Expected fixtures[] = {
    {MODELS "llama", "llama", "float32", 3, 4, 2, 8, 64, 0, 32, 48, 128, true, ROPE_DEFAULT, MLP_GATED, 0},
    {MODELS "llama-bias", "llama", "float32", 3, 5, 1, 6, 64, 0, 40, 48, 131, false, ROPE_DEFAULT, MLP_GATED, 0},
    {MODELS "llama31", "llama", "bfloat16", 4, 4, 2, 8, 64, 0, 32, 48, 128, false, ROPE_LLAMA3, MLP_GATED, 0},
    {MODELS "llama-yarn", "llama", "bfloat16", 3, 4, 2, 8, 64, 0, 32, 48, 128, true, ROPE_YARN, MLP_GATED, 0},
    {MODELS "llama-linear", "llama", "float16", 3, 4, 2, 8, 64, 0, 32, 48, 128, true, ROPE_LINEAR, MLP_GATED, 0},
    {MODELS "llama-dynamic", "llama", "bfloat16", 3, 4, 2, 8, 8, 0, 32, 48, 128, true, ROPE_DYNAMIC, MLP_GATED, 0},
    {MODELS "mistral", "mistral", "float32", 3, 4, 2, 8, 64, 7, 32, 48, 128, false, ROPE_DEFAULT, MLP_GATED, 0},
    {MODELS "mixtral", "mixtral", "float16", 3, 4, 2, 8, 64, 0, 32, 48, 128, false, ROPE_DEFAULT, MLP_MOE, 0},
    {MODELS "gpt2", "gpt2", "float32", 3, 4, 4, 8, 32, 0, 32, 128, 128, true, ROPE_NONE, MLP_PLAIN, 0},
    {MODELS "llama-gguf/model.gguf", "llama", "Q4_0", 3, 4, 2, 16, 64, 0, 64, 96, 96, false, ROPE_DEFAULT, MLP_GATED, 1},
    {MODELS "mixtral-gguf/model.gguf", "llama", "Q8_0", 2, 4, 2, 8, 64, 0, 32, 32, 64, true, ROPE_DEFAULT, MLP_MOE, 0},
};
enum { N_FIXTURES = sizeof fixtures / sizeof *fixtures };

static void traits_of_fixtures(void)
{
    for (size_t i = 0; i < N_FIXTURES; i++) {
        const Expected *x = &fixtures[i];
        Opened m;
        Error e = {{0}};
        CHECK_MSG(open_model(x->path, &m, &e) == 0, "%s: %s", x->path, e.text);
        const ModelTraits *t = &m.traits;
        CHECK_STR(t->model_type, x->model_type);
        CHECK_STR(t->torch_dtype, x->torch_dtype);
        CHECK_MSG(t->n_layers == x->layers && t->n_heads == x->heads && t->n_kv_heads == x->kv_heads &&
                      t->head_dim == x->head_dim && t->max_positions == x->positions && t->d_model == x->d && t->d_ff == x->f &&
                      t->vocab == x->v && t->tied_embeddings == x->tied,
                  "%s", x->path);
        CHECK_NEAR(t->attn_scale, 1 / sqrt(x->head_dim), 1e-7);
        for (int l = 0; l < t->n_layers; l++)
            CHECK(t->layers[l].window == x->window && t->layers[l].mlp == x->mlp &&
                  t->layers[l].rope == (x->rope == ROPE_NONE ? -1 : 0));
        CHECK(t->n_ropes == (x->rope == ROPE_NONE ? 0 : 1) && t->ropes[0].kind == x->rope);
        bool gguf = m.files.gguf != NULL;
        CHECK(t->ropes[0].style == (gguf ? ROPE_INTERLEAVED : ROPE_HALF));
        CHECK(t->bos_id == (gguf ? -1 : 1) && t->eos_id == (gguf ? -1 : 2));
        CHECK(t->activation == (x->mlp == MLP_PLAIN ? ACT_GELU_TANH : ACT_SILU));
        CHECK(t->norm_kind == (x->mlp == MLP_PLAIN ? NORM_LAYER : NORM_RMS) && t->learned_positions == (x->mlp == MLP_PLAIN));
        CHECK(t->route.n_experts == (x->mlp == MLP_MOE ? 4 : 0) && t->route.top_k == (x->mlp == MLP_MOE ? 2 : 0));
        close_model(&m);
    }
}

/* Rows and columns of a binding's parts added up, as its role wants them; returns the number of tensors it used. */
static size_t check_binding(const Binding *b, const char *what, size_t rows, size_t cols, size_t n_parts)
{
    size_t got_rows = 0, got_cols = 0;
    for (size_t p = 0; p < b->n_parts; p++) {
        got_rows += b->parts[p].rows;
        got_cols += b->parts[p].cols;
    }
    if (rows == 1)
        CHECK_MSG(got_cols == cols && got_rows == b->n_parts, "%s: %zu x %zu", what, got_rows, got_cols);
    else
        CHECK_MSG(got_rows == rows && got_cols == cols * b->n_parts, "%s: %zu x %zu", what, got_rows, got_cols);
    CHECK_MSG(b->n_parts == n_parts, "%s: %zu parts", what, b->n_parts);
    return b->n_parts;
}

static void bindings_of_fixtures(void)
{
    for (size_t i = 0; i < N_FIXTURES; i++) {
        const Expected *x = &fixtures[i];
        Opened m;
        Error e = {{0}};
        if (open_model(x->path, &m, &e)) {
            CHECK_MSG(false, "%s: %s", x->path, e.text);
            continue;
        }
        const ModelTraits *t = &m.traits;
        size_t q = (size_t)t->n_heads * (size_t)t->head_dim, kv = (size_t)t->n_kv_heads * (size_t)t->head_dim;
        bool gpt2 = x->mlp == MLP_PLAIN, bias = t->attn_bias, moe = x->mlp == MLP_MOE;
        bool fused = moe && m.files.gguf; /* all experts of a kind in one tensor */
        size_t split = gpt2 ? 1 : 3, up = gpt2 ? 1 : 2, used = 0;
        for (int l = 0; l < t->n_layers; l++) {
            const Binding *r = m.bindings.layers[l].role;
            used += check_binding(&r[ROLE_ATTN_NORM], "attn norm", 1, t->d_model, 1);
            used += check_binding(&r[ROLE_MLP_NORM], "mlp norm", 1, t->d_model, 1);
            used += check_binding(&r[ROLE_ATTN_NORM_BIAS], "norm bias", 1, gpt2 ? t->d_model : 0, gpt2);
            used += check_binding(&r[ROLE_MLP_NORM_BIAS], "norm bias", 1, gpt2 ? t->d_model : 0, gpt2);
            used += check_binding(&r[ROLE_QKV], "qkv", q + 2 * kv, t->d_model, split);
            used += check_binding(&r[ROLE_QKV_BIAS], "qkv bias", 1, bias ? q + 2 * kv : 0, bias ? split : 0);
            used += check_binding(&r[ROLE_O], "o", t->d_model, q, 1);
            used += check_binding(&r[ROLE_O_BIAS], "o bias", 1, bias ? t->d_model : 0, bias);
            if (!moe) {
                used += check_binding(&r[ROLE_GATE_UP], "gate up", up * t->d_ff, t->d_model, up);
                used += check_binding(&r[ROLE_GATE_UP_BIAS], "gate up bias", 1, bias ? up * t->d_ff : 0, bias ? up : 0);
                used += check_binding(&r[ROLE_DOWN], "down", t->d_model, t->d_ff, 1);
                used += check_binding(&r[ROLE_DOWN_BIAS], "down bias", 1, bias ? t->d_model : 0, bias);
                continue;
            }
            CHECK(r[ROLE_GATE_UP].n_parts == 0 && r[ROLE_DOWN].n_parts == 0);
            used += check_binding(&r[ROLE_ROUTER], "router", 4, t->d_model, 1);
            for (size_t ex = 0; ex < 4; ex++) {
                size_t n = check_binding(&m.bindings.layers[l].expert_gate_up[ex], "expert", 2 * t->d_ff, t->d_model, 2);
                n += check_binding(&m.bindings.layers[l].expert_down[ex], "expert down", t->d_model, t->d_ff, 1);
                used += fused && ex > 0 ? 0 : n;
            }
        }
        const Binding *once = m.bindings.role;
        used += check_binding(&once[ROLE_EMBED], "embed", t->vocab, t->d_model, 1);
        used += check_binding(&once[ROLE_FINAL_NORM], "final norm", 1, t->d_model, 1);
        used += check_binding(&once[ROLE_FINAL_NORM_BIAS], "final norm bias", 1, gpt2 ? t->d_model : 0, gpt2);
        used += gpt2 ? check_binding(&once[ROLE_POSITIONS], "positions", (size_t)t->max_positions, t->d_model, 1)
                     : once[ROLE_POSITIONS].n_parts;
        size_t head = check_binding(&once[ROLE_HEAD], "head", t->vocab, t->d_model, 1);
        used += t->tied_embeddings ? 0 : head;
        CHECK((once[ROLE_HEAD].parts[0].data == once[ROLE_EMBED].parts[0].data) == t->tied_embeddings);
        CHECK_MSG(used + x->skipped == m.files.n_tensors, "%s: %zu of %zu", x->path, used, m.files.n_tensors);
        close_model(&m);
    }
}

/* The values behind a binding: GPT-2's transposed matrix, and an expert's slice of a fused tensor. */
static void values_behind_bindings(void)
{
    Opened m;
    Error e = {{0}};
    float row[128];
    CHECK_MSG(open_model(MODELS "gpt2", &m, &e) == 0, "%s", e.text);
    const Tensor *c_attn = tensor_file_find(&m.files, "transformer.h.1.attn.c_attn.weight");
    const Tensor *wpe = tensor_file_find(&m.files, "transformer.wpe.weight");
    CHECK(c_attn && wpe && m.bindings.role[ROLE_POSITIONS].parts[0].data == wpe->data);
    if (c_attn) {
        const WeightPart *p = &m.bindings.layers[1].role[ROLE_QKV].parts[0];
        CHECK(p->transposed && p->rows == 96 && p->cols == 32 && p->stride == 96);
        for (size_t r = 0; r < 96; r++) {
            convert_row_f32(p, r, row);
            for (size_t c = 0; c < 32; c++) {
                float stored;
                memcpy(&stored, (const char *)c_attn->data + 4 * (c * 96 + r), 4);
                CHECK_NEAR(row[c], stored, 0);
            }
        }
    }
    close_model(&m);
    CHECK_MSG(open_model(MODELS "mixtral-gguf/model.gguf", &m, &e) == 0, "%s", e.text);
    const Tensor *gate = tensor_file_find(&m.files, "blk.1.ffn_gate_exps.weight");
    const Tensor *down = tensor_file_find(&m.files, "blk.1.ffn_down_exps.weight");
    for (size_t x = 0; gate && down && x < 4; x++) { /* Q8_0: a row of 32 elements takes 34 bytes */
        CHECK(m.bindings.layers[1].expert_gate_up[x].parts[0].data == (const char *)gate->data + x * 32 * 34);
        CHECK(m.bindings.layers[1].expert_down[x].parts[0].data == (const char *)down->data + x * 32 * 34);
    }
    close_model(&m);
}

/* -- files written here -- */

static void write_temp(const char *name, const void *data, size_t bytes)
{
    char *path = file_join(temp_dir, name);
    FILE *f = fopen(path, "wb");
    CHECK(f && (bytes == 0 || fwrite(data, 1, bytes, f) == bytes));
    if (f)
        fclose(f);
    free(path);
}

typedef struct Made {
    SafetensorsEntry entries[80];
    const void *data[80]; /* NULL: zeros */
    char names[80][96];
    size_t n;
} Made;

static void made_add(Made *w, const char *name, DType dtype, size_t a, size_t b, size_t c, const void *data)
{
    SafetensorsEntry *t = &w->entries[w->n];
    snprintf(w->names[w->n], sizeof w->names[0], "%s", name);
    *t = (SafetensorsEntry){.name = w->names[w->n], .dtype = dtype, .n_dims = c ? 3 : b ? 2 : 1, .shape = {a, b, c}};
    w->data[w->n++] = data;
}

/* Writes model.safetensors into the temporary folder. */
static void made_write(Made *w)
{
    StrBuf b = {0};
    Error e = {{0}};
    size_t total;
    CHECK_MSG(safetensors_header(w->entries, w->n, NULL, 0, &b, &total, &e) == 0, "%s", e.text);
    for (size_t i = 0; i < w->n; i++) {
        for (size_t k = 0; !w->data[i] && k < w->entries[i].size_bytes; k++)
            strbuf_putc(&b, 0);
        if (w->data[i])
            strbuf_append(&b, w->data[i], w->entries[i].size_bytes);
    }
    CHECK(b.len == total);
    write_temp("model.safetensors", b.data, b.len);
    strbuf_free(&b);
}

/* All tensors of a file, their names with the first `from` replaced by `to`; one name may be left out. */
static void made_copy(Made *w, const TensorFile *f, const char *from, const char *to, const char *without)
{
    for (size_t i = 0; i < f->n_tensors; i++) {
        const Tensor *t = &f->tensors[i];
        char name[160];
        const char *at = strstr(t->name, from);
        if (without && strstr(t->name, without))
            continue;
        if (at)
            snprintf(name, sizeof name, "%.*s%s%s", (int)(at - t->name), t->name, to, at + strlen(from));
        made_add(w, at ? name : t->name, t->dtype, t->shape[0], t->n_dims > 1 ? t->shape[1] : 0, 0, t->data);
    }
}

static void copy_config(const char *from)
{
    StrBuf b = {0};
    Error e = {{0}};
    CHECK_MSG(file_read(from, 1 << 20, &b, &e) == 0, "%s", e.text);
    write_temp("config.json", b.data, b.len);
    strbuf_free(&b);
}

/* A mixtral with its experts fused as transformers 5 holds them binds to the same values as the split file. */
static void fused_experts(void)
{
    static Made w;
    static unsigned char storage[3][2][4 * 2 * 48 * 32 * 2];
    w.n = 0;
    Opened split, fused;
    Error e = {{0}};
    CHECK_MSG(open_model(MODELS "mixtral", &split, &e) == 0, "%s", e.text);
    made_copy(&w, &split.files, "block_sparse_moe.gate", "mlp.gate", ".experts.");
    for (int l = 0; l < 3; l++) {
        char name[96];
        unsigned char *gate_up = storage[l][0], *down = storage[l][1];
        for (int x = 0; x < 4; x++) {
            const char *const order[] = {"w1", "w3", "w2"};
            for (int k = 0; k < 3; k++) {
                snprintf(name, sizeof name, "model.layers.%d.block_sparse_moe.experts.%d.%s.weight", l, x, order[k]);
                const Tensor *t = tensor_file_find(&split.files, name);
                unsigned char **to = k < 2 ? &gate_up : &down;
                CHECK(t && t->size_bytes == 48 * 32 * 2);
                if (t)
                    memcpy(*to, t->data, t->size_bytes);
                *to += 48 * 32 * 2;
            }
        }
        snprintf(name, sizeof name, "model.layers.%d.mlp.experts.gate_up_proj", l);
        made_add(&w, name, DTYPE_F16, 4, 96, 32, storage[l][0]);
        snprintf(name, sizeof name, "model.layers.%d.mlp.experts.down_proj", l);
        made_add(&w, name, DTYPE_F16, 4, 32, 48, storage[l][1]);
    }
    made_write(&w);
    copy_config(MODELS "mixtral/config.json");
    CHECK_MSG(open_model(temp_dir, &fused, &e) == 0, "%s", e.text);
    for (int l = 0; fused.bindings.layers && l < 3; l++) {
        for (int x = 0; x < 4; x++) {
            const Binding *a = &split.bindings.layers[l].expert_gate_up[x], *b = &fused.bindings.layers[l].expert_gate_up[x];
            CHECK(b->n_parts == 1 && b->parts[0].rows == 96 && b->parts[0].cols == 32);
            for (size_t r = 0; r < 96; r++) {
                float p[32], q[32];
                convert_row_f32(&a->parts[r / 48], r % 48, p);
                convert_row_f32(&b->parts[0], r, q);
                CHECK(memcmp(p, q, sizeof p) == 0);
            }
            CHECK(memcmp(split.bindings.layers[l].expert_down[x].parts[0].data,
                         fused.bindings.layers[l].expert_down[x].parts[0].data, 48 * 32 * 2) == 0);
        }
    }
    close_model(&fused);
    close_model(&split);
}

/* Checkpoints of the bare model, GPT-2's mask buffers, tied heads that lie in the file. */
static void variants_of_names(void)
{
    static Made w;
    Opened m, source;
    Error e = {{0}};
    CHECK_MSG(open_model(MODELS "gpt2", &source, &e) == 0, "%s", e.text);
    w.n = 0;
    made_copy(&w, &source.files, "transformer.", "", NULL);
    made_add(&w, "h.0.attn.bias", DTYPE_BOOL, 1, 1, 32, NULL);
    made_add(&w, "h.2.attn.masked_bias", DTYPE_F32, 1, 0, 0, NULL);
    made_write(&w);
    copy_config(MODELS "gpt2/config.json");
    CHECK_MSG(open_model(temp_dir, &m, &e) == 0, "%s", e.text);
    close_model(&m);
    char *file = file_join(temp_dir, "model.safetensors"); /* the file itself: config.json lies beside it */
    CHECK_MSG(open_model(file, &m, &e) == 0, "%s", e.text);
    close_model(&m);
    free(file);
    made_add(&w, "h.3.attn.bias", DTYPE_BOOL, 1, 1, 32, NULL);
    made_write(&w);
    CHECK(open_model(temp_dir, &m, &e) != 0 && strstr(e.text, "h.3.attn.bias: a gpt2 model has no such tensor"));
    close_model(&m);
    close_model(&source);

    CHECK_MSG(open_model(MODELS "llama", &source, &e) == 0, "%s", e.text);
    const Tensor *embed = tensor_file_find(&source.files, "model.embed_tokens.weight");
    copy_config(MODELS "llama/config.json");
    w.n = 0;
    made_copy(&w, &source.files, "?", "", NULL);
    made_add(&w, "lm_head.weight", DTYPE_F32, 128, 32, 0, embed ? embed->data : NULL);
    made_add(&w, "model.layers.1.self_attn.rotary_emb.inv_freq", DTYPE_F32, 4, 0, 0, NULL);
    made_write(&w);
    CHECK_MSG(open_model(temp_dir, &m, &e) == 0 && m.traits.tied_embeddings, "%s", e.text);
    close_model(&m);
    w.data[w.n - 2] = NULL; /* other values: transformers unties them */
    made_write(&w);
    CHECK_MSG(open_model(temp_dir, &m, &e) == 0 && !m.traits.tied_embeddings, "%s", e.text);
    close_model(&m);
    w.n = 0; /* only the head's tensor of a tied model */
    made_copy(&w, &source.files, "model.embed_tokens", "lm_head", NULL);
    made_write(&w);
    CHECK_MSG(open_model(temp_dir, &m, &e) == 0 && m.bindings.role[ROLE_EMBED].n_parts == 1, "%s", e.text);
    close_model(&m);
    close_model(&source);
}

/* -- refusals -- */

static void bad_tensors(void)
{
    Opened m;
    Error e = {{0}};
    ModelBindings b;
    CHECK_MSG(open_model(MODELS "llama", &m, &e) == 0, "%s", e.text);
    static const struct {
        int layers;
        size_t d_ff, vocab;
        bool tied, bias;
        const char *says;
    } cases[] = {
        {3, 48, 128, true, false, NULL},
        {3, 48, 129, true, false, "tensor model.embed_tokens.weight: expected shape [129, 32], found [128, 32]"},
        {3, 47, 128, true, false, "model.layers.0.mlp.gate_proj.weight: expected shape [47, 32], found [48, 32] (in all 0 "},
        {4, 48, 128, true, false,
         "model.layers.3.input_layernorm.weight: expected shape [32], found no such tensor (in all 9 "},
        {2, 48, 128, true, false,
         "tensor model.layers.2.input_layernorm.weight: a llama model has no such tensor, found F32 [32]"},
        {3, 48, 128, false, false, "lm_head.weight: expected shape [128, 32], found no such tensor"},
        {3, 48, 128, true, true, "self_attn.q_proj.bias: expected shape [32], found no such tensor (in all 9 missing"},
        {100000, 48, 128, true, false, "expected tensors of 100000 layers"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ModelTraits t = m.traits;
        t.n_layers = cases[i].layers;
        t.d_ff = cases[i].d_ff;
        t.vocab = cases[i].vocab;
        t.tied_embeddings = cases[i].tied;
        t.attn_bias = cases[i].bias;
        int status = family_bind(&t, &m.files, &b, &e);
        CHECK_MSG((status == 0) == (cases[i].says == NULL), "%zu: %s", i, e.text);
        CHECK_MSG(!cases[i].says || strstr(e.text, cases[i].says), "%zu: %s", i, e.text);
        family_bindings_free(&b);
    }
    static Made w;
    w.n = 0;
    made_copy(&w, &m.files, "?", "", "norm.weight");
    made_add(&w, "model.norm.weight", DTYPE_I32, 32, 0, 0, NULL);
    made_write(&w);
    copy_config(MODELS "llama/config.json");
    Opened bad;
    CHECK(open_model(temp_dir, &bad, &e) != 0);
    close_model(&bad);
    ModelTraits one = m.traits;
    TensorFile f;
    char *path = file_join(temp_dir, "model.safetensors");
    CHECK(tensor_file_open(path, &f, &e) == 0);
    CHECK(family_bind(&one, &f, &b, &e) != 0 && strstr(e.text, "6 missing, 1 misshapen"));
    tensor_file_close(&f);
    free(path);
    close_model(&m);
    family_bindings_free(NULL);
    traits_free(NULL);
}

/* Bases of configurations; a case appends keys, the last of a repeated key counts. */
#define LLAMA \
    "\"model_type\":\"llama\",\"num_hidden_layers\":3,\"hidden_size\":32,\"intermediate_size\":48,\"vocab_size\":128," \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"tie_word_embeddings\":true"
#define MIXTRAL LLAMA ",\"model_type\":\"mixtral\""
#define QWEN2 LLAMA ",\"model_type\":\"qwen2\",\"layer_types\":[\"full_attention\",\"sliding_attention\",\"full_attention\"]"
#define GEMMA3 LLAMA ",\"model_type\":\"gemma3_text\",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2}"
#define GPT_NEO \
    "\"model_type\":\"gpt_neo\",\"num_layers\":2,\"hidden_size\":32,\"num_heads\":4,\"vocab_size\":128," \
    "\"attention_types\":[[[\"global\",\"local\"],1]]"
#define GPT2 "\"model_type\":\"gpt2\",\"n_layer\":3,\"n_embd\":32,\"n_head\":4,\"vocab_size\":128"

static void bad_configurations(void)
{
    static const struct {
        const char *base, *keys, *says; /* NULL: accepted */
    } cases[] = {
        {LLAMA, "\"pretraining_tp\":2,\"use_cache\":false,\"_name_or_path\":\"x\",\"head_dim\":null", NULL},
        {LLAMA, "\"hidden_size\":32.0,\"eos_token_id\":[7,8],\"bos_token_id\":null", NULL},
        {LLAMA, "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}", NULL},
        {LLAMA, "\"rope_scaling\":{\"type\":\"default\"}", NULL},
        {LLAMA, "\"rope_scaling\":{},\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2}", NULL},
        {LLAMA, "\"model_type\":\"llamba\"", "\"llamba\" is not supported; the nearest is llama;"},
        {LLAMA, "\"model_type\":\"apertus\"", "the nearest is llama; missing: the activation xIELU"},
        {LLAMA, "\"model_type\":\"nanochat\"", "the nearest by name is"},
        {LLAMA, "\"model_type\":7", "model_type"},
        {LLAMA, "\"hidden_act\":\"quick_gelu\"", "\"quick_gelu\" is not supported (silu"},
        {LLAMA, "\"hidden_act\":3", "hidden_act"},
        {LLAMA, "\"quantization_config\":{\"bits\":4}", "quantization_config: value an object is not supported"},
        {LLAMA, "\"attention_multiplier\":0.5", "attention_multiplier: value 0.5"},
        {LLAMA, "\"logits_scaling\":8", "logits_scaling"},
        {LLAMA, "\"final_logit_softcapping\":30.0", "final_logit_softcapping"},
        {LLAMA, "\"partial_rotary_factor\":0.5", "partial_rotary_factor"},
        {LLAMA, "\"sliding_window\":4096", "sliding_window"},
        {LLAMA, "\"num_local_experts\":8", "num_local_experts"},
        {LLAMA, "\"num_hidden_layers\":0", "num_hidden_layers: expected a whole number from 1 to 100000, found 0"},
        {LLAMA, "\"num_hidden_layers\":100001", "num_hidden_layers"},
        {LLAMA, "\"num_hidden_layers\":-1", "num_hidden_layers"},
        {LLAMA, "\"num_hidden_layers\":2.5", "num_hidden_layers"},
        {LLAMA, "\"num_hidden_layers\":\"3\"", "num_hidden_layers"},
        {LLAMA, "\"num_hidden_layers\":null", "num_hidden_layers: expected a whole number from 1 to 100000, found nothing"},
        {LLAMA, "\"hidden_size\":1e300", "hidden_size"},
        {LLAMA, "\"vocab_size\":9223372036854775807", "vocab_size"},
        {LLAMA, "\"num_attention_heads\":6", "num_attention_heads: expected a divisor"},
        {LLAMA, "\"num_key_value_heads\":3", "num_key_value_heads: expected a divisor"},
        {LLAMA, "\"num_key_value_heads\":0", "num_key_value_heads"},
        {LLAMA, "\"head_dim\":7", "head_dim: RoPE needs an even number"},
        {LLAMA, "\"head_dim\":1048576,\"num_attention_heads\":1048576,\"num_key_value_heads\":1048576", "head_dim"},
        {LLAMA, "\"rms_norm_eps\":-1", "rms_norm_eps"},
        {LLAMA, "\"rms_norm_eps\":\"1e-5\"", "rms_norm_eps"},
        {LLAMA, "\"attention_bias\":1", "attention_bias: expected true or false, found 1"},
        {LLAMA, "\"rope_theta\":0", "rope_theta"},
        {LLAMA, "\"rope_scaling\":3", "rope_scaling"},
        {LLAMA, "\"rope_scaling\":{\"type\":\"su\",\"factor\":2}", "type \"su\" is not supported (default linear"},
        {LLAMA, "\"rope_scaling\":{\"rope_type\":\"longrope\",\"type\":\"linear\"}", "longrope"},
        {LLAMA, "\"rope_scaling\":{\"type\":\"linear\"}", "expected rope_scaling.factor"},
        {LLAMA, "\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}", "factor"},
        {LLAMA, "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":0.5}", "factor of 1 or more"},
        {LLAMA, "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2,\"mrope_section\":[1]}", "rope_scaling.mrope_section"},
        {LLAMA, "\"rope_scaling\":{\"factor\":2}", "rope_scaling.factor"},
        {LLAMA, "\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8}", "low_freq_factor"},
        {LLAMA, "\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":4}",
         "high_freq_factor above"},
        {LLAMA, "\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":4,\"truncate\":3}", "truncate"},
        {LLAMA, "\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":4,\"rope_theta\":1}", "base above 1"},
        {LLAMA, "\"bos_token_id\":-7", "bos_token_id"},
        {MIXTRAL, "\"num_experts_per_tok\":2,\"num_local_experts\":4", NULL},
        {MIXTRAL, "\"num_experts_per_tok\":5,\"num_local_experts\":4", "num_experts_per_tok"},
        {MIXTRAL, "\"num_local_experts\":1000000000", "num_local_experts"},
        {MIXTRAL, "\"attention_bias\":true", "attention_bias"},
        {LLAMA, "\"is_causal\":false", "is_causal: value false is not supported"},
        {QWEN2, "\"use_sliding_window\":true,\"sliding_window\":9", NULL},
        {QWEN2, "\"sliding_window\":9", "layer_types: entry 1: sliding_attention needs a sliding_window in use"},
        {QWEN2, "\"use_sliding_window\":true,\"sliding_window\":null", "layer_types: entry 1"},
        {GEMMA3, "\"rope_theta\":1e6", NULL},
        {GEMMA3, "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\"},\"sliding_attention\":{}}",
         "rope_scaling: expected it or rope_parameters by type of layer, found both"},
        {GPT_NEO, "\"attention_layers\":[\"global\",\"local\"]", NULL},
        {GPT_NEO, "\"attention_layers\":[\"local\",\"local\"]",
         "attention_layers: entry 0: expected global as in attention_types, found local"},
        {GPT2, "\"reorder_and_upcast_attn\":true,\"n_inner\":null,\"scale_attn_weights\":false", NULL},
        {GPT2, "\"scale_attn_by_inverse_layer_idx\":true", "scale_attn_by_inverse_layer_idx: value true"},
        {GPT2, "\"add_cross_attention\":true", "add_cross_attention"},
        {GPT2, "\"n_head\":5", "n_head"},
        {GPT2, "\"activation_function\":\"mish\"", "activation_function: activation \"mish\""},
    };
    TensorFile none = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        int len = snprintf(text, sizeof text, "{%s,%s}", cases[i].base, cases[i].keys);
        write_temp("config.json", text, (size_t)len);
        ModelTraits t;
        Error e = {{0}};
        int status = family_read_traits(temp_dir, &none, &t, &e);
        CHECK_MSG((status == 0) == (cases[i].says == NULL), "%s: %s", cases[i].keys, e.text);
        CHECK_MSG(!cases[i].says || (strstr(e.text, cases[i].says) && strstr(e.text, "config.json")), "%s: %s", cases[i].keys,
                  e.text);
        traits_free(&t);
    }
    Error e = {{0}};
    ModelTraits t;
    write_temp("config.json", "[1]", 3);
    CHECK(family_read_traits(temp_dir, &none, &t, &e) != 0 && strstr(e.text, "expected a JSON object"));
    write_temp("config.json", "{\"model_type\":", 14);
    CHECK(family_read_traits(temp_dir, &none, &t, &e) != 0);
    CHECK(family_read_traits("/nonexistent", &none, &t, &e) != 0 && strstr(e.text, "config.json"));
}

/* Rotated dims of heads of 16, as transformers 5.24 has them for these keys (2 len(rotary_emb.inv_freq); 0: its class raises an
 * error). */
static void rotated_parts_of_heads(void)
{
    static const struct {
        const char *type, *keys;
        int dims;
    } cases[] = {
        {"glm4", "\"use_cache\":true", 8},
        {"glm4", "\"partial_rotary_factor\":null", 16},
        {"glm4", "\"partial_rotary_factor\":0.25", 4},
        {"glm4", "\"rope_parameters\":{\"rope_theta\":1e4}", 8},
        {"glm4", "\"rope_parameters\":{\"rope_theta\":1e4},\"partial_rotary_factor\":null", 16},
        {"glm4", "\"rope_parameters\":{\"rope_theta\":1e4,\"partial_rotary_factor\":null}", 0},
        {"glm4", "\"rope_parameters\":{\"rope_theta\":1e4,\"partial_rotary_factor\":null},\"partial_rotary_factor\":0.25", 0},
        {"glm", "\"partial_rotary_factor\":null", 16},
        {"nemotron", "\"head_dim\":16", 8},
        {"nemotron", "\"head_dim\":16,\"partial_rotary_factor\":null", 0},
        {"nemotron", "\"head_dim\":16,\"rope_parameters\":{\"partial_rotary_factor\":0.25},\"partial_rotary_factor\":null", 4},
        {"stablelm", "\"partial_rotary_factor\":null", 0},
        {"persimmon", "\"partial_rotary_factor\":null", 0},
        {"phi", "\"partial_rotary_factor\":null", 0},
        {"phi3", "\"partial_rotary_factor\":null", 0},
        {"gpt_neox", "\"rotary_pct\":null", 0},
        {"gpt_neox", "\"rotary_pct\":1.0", 16},
        {"llama", "\"partial_rotary_factor\":null", 16},
    };
    TensorFile none = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        int len = snprintf(text, sizeof text,
                           "{\"model_type\":\"%s\",\"num_hidden_layers\":1,\"hidden_size\":64,\"intermediate_size\":96,"
                           "\"vocab_size\":100,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":16,%s}",
                           cases[i].type, cases[i].keys);
        write_temp("config.json", text, (size_t)len);
        ModelTraits t = {0};
        Error e = {{0}};
        int status = family_read_traits(temp_dir, &none, &t, &e), dims = status ? 0 : t.ropes[0].rotary_dims;
        CHECK_MSG(dims == cases[i].dims, "%s %s: %d of %d (%s)", cases[i].type, cases[i].keys, dims, cases[i].dims, e.text);
        CHECK_MSG(!status || strstr(e.text, "found null"), "%s", e.text);
        traits_free(&t);
    }
}

/* What transformers' classes put in for keys that are not there. */
static void class_defaults(void)
{
    static const struct {
        const char *keys;
        int kv_heads, positions, window, top_k, bos, eos;
        double eps, theta;
    } cases[] = {
        {"\"model_type\":\"llama\"", 16, 2048, 0, 0, 1, 2, 1e-6, 1e4},
        {"\"model_type\":\"mistral\"", 8, 131072, 4096, 0, 1, 2, 1e-6, 1e4},
        {"\"model_type\":\"mistral\",\"sliding_window\":null,\"num_key_value_heads\":null", 16, 131072, 0, 0, 1, 2, 1e-6, 1e4},
        {"\"model_type\":\"mixtral\",\"bos_token_id\":null,\"eos_token_id\":[9,3]", 8, 131072, 0, 2, -1, 9, 1e-5, 1e6},
        {"\"model_type\":\"llama\",\"rope_theta\":77,\"rope_parameters\":{\"rope_theta\":99}", 16, 2048, 0, 0, 1, 2, 1e-6, 99},
        {"\"model_type\":\"llama\",\"rope_theta\":77,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}", 16, 2048, 0, 0, 1, 2,
         1e-6, 77},
    };
    TensorFile none = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        int len = snprintf(text, sizeof text,
                           "{\"num_hidden_layers\":2,\"hidden_size\":64,\"intermediate_size\":9,\"vocab_size\":11,"
                           "\"num_attention_heads\":16,%s}",
                           cases[i].keys);
        write_temp("config.json", text, (size_t)len);
        ModelTraits t;
        Error e = {{0}};
        CHECK_MSG(family_read_traits(temp_dir, &none, &t, &e) == 0, "%s: %s", cases[i].keys, e.text);
        if (t.layers) {
            CHECK_MSG(t.n_kv_heads == cases[i].kv_heads && t.max_positions == cases[i].positions &&
                          t.layers[1].window == cases[i].window && t.route.top_k == cases[i].top_k,
                      "%s", cases[i].keys);
            CHECK(t.bos_id == cases[i].bos && t.eos_id == cases[i].eos && !t.tied_embeddings);
            CHECK_NEAR(t.norm_eps, cases[i].eps, 1e-12);
            CHECK_NEAR(t.ropes[0].theta, cases[i].theta, 0);
        }
        traits_free(&t);
    }
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

int main(void)
{
    snprintf(temp_dir, sizeof temp_dir, "/tmp/strata_families_XXXXXX");
    if (!mkdtemp(temp_dir))
        return 1;
    RUN(traits_of_fixtures);
    RUN(bindings_of_fixtures);
    RUN(values_behind_bindings);
    RUN(fused_experts);
    RUN(variants_of_names);
    RUN(bad_tensors);
    RUN(bad_configurations);
    RUN(rotated_parts_of_heads);
    RUN(class_defaults);
    nftw(temp_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return test_finish();
}
