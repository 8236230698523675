/* test_large_file.c: a safetensors file of 47 GB in the shape of Mixtral 8x7B with 16 layers, all of whose data is a hole: every tensor is
 * bound at its place beyond 4 GiB and 32 bits of bytes and elements, the last one is read, a layer's experts are where they belong,
 * and opening it takes neither memory nor disk. A file one byte short, or with an offset past its end, is named. Skipped
 * where the file system has no holes. */
#include <sys/resource.h>

#include "engine/base/file.h"
#include "engine/base/strbuf.h"
#include "engine/model.h"
#include "kernels/convert.h"
#include "tests/temp_folder.h"

enum { L = 16, D = 4096, F = 14336, KV = 1024, V = 32000, E = 8 };

static size_t data_bytes;

static void put_tensor(StrBuf *b, const char *name, size_t rows, size_t cols)
{
    size_t bytes = rows * (cols ? cols : 1) * 2;
    strbuf_printf(b, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%zu", b->len ? "," : "{", name, rows);
    if (cols)
        strbuf_printf(b, ",%zu", cols);
    strbuf_printf(b, "],\"data_offsets\":[%zu,%zu]}", data_bytes, data_bytes + bytes);
    data_bytes += bytes;
}

static void put_header(StrBuf *b)
{
    char name[128];
    strbuf_reset(b);
    data_bytes = 0;
    put_tensor(b, "model.embed_tokens.weight", V, D);
    for (int l = 0; l < L; l++) {
        static const struct {
            const char *name;
            size_t rows, cols;
        } parts[] = {{"input_layernorm", D, 0},      {"post_attention_layernorm", D, 0}, {"self_attn.q_proj", D, D},
                     {"self_attn.k_proj", KV, D},    {"self_attn.v_proj", KV, D},        {"self_attn.o_proj", D, D},
                     {"block_sparse_moe.gate", E, D}};
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", l, parts[i].name);
            put_tensor(b, name, parts[i].rows, parts[i].cols);
        }
        for (int x = 0; x < E; x++)
            for (int w = 1; w <= 3; w++) {
                snprintf(name, sizeof name, "model.layers.%d.block_sparse_moe.experts.%d.w%d.weight", l, x, w);
                put_tensor(b, name, w == 2 ? D : F, w == 2 ? F : D);
            }
    }
    put_tensor(b, "model.norm.weight", D, 0);
    put_tensor(b, "lm_head.weight", V, D);
    strbuf_puts(b, "}");
    while (b->len % 8)
        strbuf_putc(b, ' ');
}

static const char config[] =
    "{\"model_type\":\"mixtral\",\"hidden_size\":4096,\"intermediate_size\":14336,\"num_hidden_layers\":16,"
    "\"num_attention_heads\":32,\"num_key_value_heads\":8,\"vocab_size\":32000,\"num_local_experts\":8,"
    "\"num_experts_per_tok\":2,\"max_position_embeddings\":32768,\"rms_norm_eps\":1e-05,\"rope_theta\":1000000.0,"
    "\"sliding_window\":null,\"tie_word_embeddings\":false,\"torch_dtype\":\"bfloat16\"}";

/* Header, then a hole with one number in its last element; false where there can be no hole of that size. */
static bool write_model(size_t extra_cut)
{
    StrBuf header = {0};
    put_header(&header);
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(header.len >> 8 * i);
    char *path = temp_path("large/model.safetensors");
    write_temp("large/config.json", config, sizeof config - 1);
    write_temp("large/model.safetensors", length, 8);
    size_t total = 8 + header.len + data_bytes;
    static const unsigned char one_and_a_half[2] = {0xC0, 0x3F};
    FILE *f = fopen(path, "r+b");
    bool ok = f && fseek(f, 8, SEEK_SET) == 0 && fwrite(header.data, 1, header.len, f) == header.len &&
              ftruncate(fileno(f), (off_t)(total - extra_cut)) == 0;
    ok = ok && (extra_cut || (fseeko(f, (off_t)(total - 2), SEEK_SET) == 0 && fwrite(one_and_a_half, 1, 2, f) == 2));
    if (f)
        ok = fclose(f) == 0 && ok;
    struct stat st;
    ok = ok && stat(path, &st) == 0 && (size_t)st.st_blocks * 512 < (size_t)64 << 20; /* a hole, not zeros on the disk */
    strbuf_free(&header);
    free(path);
    return ok;
}

static long peak_kib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void a_model_of_47_gigabytes(void)
{
    if (!write_model(0))
        SKIP("the file system has no holes of 47 GB");
    CHECK(data_bytes > (size_t)46 * 1000 * 1000 * 1000);
    long before = peak_kib();
    Model m;
    Error e = {{0}};
    char *path = temp_path("large");
    CHECK_MSG(model_open(path, &m, &e) == 0, "%s", e.text);
    if (!e.text[0]) {
        const Tensor *head = tensor_file_find(&m.files, "lm_head.weight");
        const LayerBindings *last = &m.bindings.layers[L - 1];
        const char *base = (const char *)m.files.maps[0].data;
        const WeightPart *down = &last->expert_down[E - 1].parts[0], *up = &last->expert_gate_up[E - 1].parts[1];
        CHECK(m.traits.n_layers == L && m.traits.route.n_experts == E && last->role[ROLE_QKV].n_parts == 3);
        CHECK(head && (const char *)head->data - base > (ptrdiff_t)46 * 1000 * 1000 * 1000);
        CHECK(down->rows == D && down->cols == F && up->rows == F && up->cols == D);
        /* w1, w2, w3 lie in this order: down is one matrix after gate, up one after down */
        size_t matrix = (size_t)D * F * 2;
        CHECK((const char *)up->data - (const char *)down->data == (ptrdiff_t)matrix);
        CHECK((const char *)up->data - (const char *)last->expert_gate_up[E - 1].parts[0].data == 2 * (ptrdiff_t)matrix);
        CHECK((const char *)last->expert_down[E - 1].parts[0].data - (const char *)last->expert_down[0].parts[0].data ==
              (ptrdiff_t)(3 * (E - 1)) * (ptrdiff_t)matrix);
        static float row[D];
        convert_row_f32(&m.bindings.role[ROLE_HEAD].parts[0], V - 1, row);
        CHECK(row[0] == 0 && row[D - 2] == 0 && row[D - 1] == 1.5f);
    }
    CHECK_MSG(peak_kib() - before < 64 * 1024, "%ld KiB more", peak_kib() - before);
    model_close(&m);
    free(path);
}

static void files_cut_short(void)
{
    char *path = temp_path("large");
    if (!write_model(1)) {
        free(path);
        SKIP("the file system has no holes of 47 GB");
    }
    Model m;
    Error e = {{0}};
    CHECK(model_open(path, &m, &e) == STATUS_FAILED);
    CHECK_MSG(strstr(e.text, "lm_head.weight") || strstr(e.text, "truncated"), "%s", e.text);
    free(path);
}

int main(void)
{
    if (!temp_begin())
        return 1;
    RUN(a_model_of_47_gigabytes);
    RUN(files_cut_short);
    temp_end();
    return test_finish();
}
