/* test_files.c: containers cut short and damaged, safetensors (single and sharded), and the element formats. What only GGUF has
 * is in test_gguf.c. References: the fixtures and digests that tools/make_fixtures.py made with transformers, safetensors and
 * gguf. */
#include <math.h>

#include "engine/base/json.h"
#include "engine/base/rng.h"
#include "engine/base/sha256.h"
#include "kernels/convert.h"
#include "loaders/tensor_file.h"
#include "tests/parse_exactly.h"
#include "loaders/gguf.h"
#include "tests/temp_folder.h"

#define MODELS "tests/data/models/"

/* -- element formats -- */

static double f16_by_formula(unsigned h)
{
    int exponent = (int)(h >> 10 & 31), fraction = (int)(h & 1023);
    double x = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return h & 0x8000 ? -x : x;
}

static void half_formats(void)
{
    for (unsigned h = 0; h < 65536; h++) {
        float x = convert_f16_to_f32((uint16_t)h), y = convert_bf16_to_f32((uint16_t)h);
        if ((h >> 10 & 31) == 31 && (h & 1023))
            CHECK(isnan(x) && isnan(convert_f16_to_f32(convert_f32_to_f16(x))));
        else
            CHECK(convert_f32_to_f16(x) == h);
        if ((h >> 10 & 31) != 31)
            CHECK(fabs((double)x - f16_by_formula(h)) <= 0);
        if ((h >> 7 & 255) == 255 && (h & 127))
            CHECK(isnan(y) && isnan(convert_bf16_to_f32(convert_f32_to_bf16(y))));
        else
            CHECK(convert_f32_to_bf16(y) == h);
    }
    /* half way between neighbours goes to the even code, a hair beyond goes on; the largest finite ones included */
    for (unsigned h = 0; h < 0x7C00; h++) {
        double next = h == 0x7BFF ? 65536 : f16_by_formula(h + 1), middle = (f16_by_formula(h) + next) / 2;
        CHECK(convert_f32_to_f16((float)middle) == h + (h & 1));
        CHECK(convert_f32_to_f16(nextafterf((float)middle, INFINITY)) == h + 1);
        CHECK(convert_f32_to_f16(nextafterf((float)middle, 0)) == h);
        CHECK(convert_f32_to_f16(-(float)middle) == (0x8000 | (h + (h & 1))));
    }
    CHECK(convert_f32_to_f16(INFINITY) == 0x7C00 && convert_f32_to_f16(1e-30f) == 0);
    CHECK(convert_f32_to_bf16(1.00390625f) == 0x3F80 && convert_f32_to_bf16(1.01171875f) == 0x3F82);
    CHECK(convert_f32_to_bf16(-INFINITY) == 0xFF80 && convert_f32_to_bf16(3.4028235e38f) == 0x7F80);
}

/* Every tensor of the GGUF fixtures, dequantised, has the digest of what gguf.quants.dequantize returns. */
static void block_formats(void)
{
    static const char *const fixtures[] = {MODELS "llama-gguf", MODELS "mixtral-gguf"};
    for (size_t i = 0; i < 2; i++) {
        Error e = {{0}};
        StrBuf text = {0};
        Arena arena = {0};
        const JsonValue *digests = NULL;
        char *json = file_join(fixtures[i], "dequantised.json"), *gguf = file_join(fixtures[i], "model.gguf");
        CHECK_MSG(file_read(json, 1 << 20, &text, &e) == 0 && json_parse(text.data, text.len, json, &arena, &digests, &e) == 0,
                  "%s", e.text);
        TensorFile f;
        CHECK_MSG(tensor_file_open(gguf, &f, &e) == 0, "%s", e.text);
        CHECK(digests && digests->len > 20);
        for (size_t k = 0; digests && k < digests->len; k++) {
            const Tensor *t = tensor_file_find(&f, digests->keys[k].string);
            CHECK_MSG(t != NULL, "%s", digests->keys[k].string);
            if (!t)
                continue;
            CHECK_STR(dtype_name(t->dtype), json_get(&digests->items[k], "type")->string);
            const JsonValue *shape = json_get(&digests->items[k], "shape");
            size_t n = 1;
            CHECK((size_t)t->n_dims == shape->len);
            for (int d = 0; d < t->n_dims; d++) {
                CHECK(t->shape[d] == (size_t)shape->items[d].integer);
                n *= t->shape[d];
            }
            float *x = malloc(n * sizeof *x), *rows = malloc(n * sizeof *x);
            convert_f32(t->dtype, t->data, n, x);
            Sha256 s;
            char hex[65];
            sha256_begin(&s);
            sha256_update(&s, x, n * sizeof *x);
            sha256_end(&s, hex);
            CHECK_MSG(strcmp(hex, json_get(&digests->items[k], "sha256")->string) == 0, "%s (%s)", t->name,
                      dtype_name(t->dtype));
            size_t cols = t->shape[t->n_dims - 1];
            WeightPart part = {t->data, t->dtype, n / cols, cols, cols, false};
            for (size_t r = 0; r < part.rows; r++)
                convert_row_f32(&part, r, rows + r * cols);
            CHECK(memcmp(x, rows, n * sizeof *x) == 0);
            free(x);
            free(rows);
        }
        tensor_file_close(&f);
        arena_free(&arena);
        strbuf_free(&text);
        free(json);
        free(gguf);
    }
}

static void transposed_rows(void)
{
    /* stored [3 inputs, 4 outputs] inside rows of 5, unaligned, in each plain dtype */
    unsigned char raw[1 + 15 * 4];
    DType types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    for (int k = 0; k < 3; k++) {
        size_t bytes = dtype_block_bytes(types[k]);
        for (int i = 0; i < 15; i++) {
            float x = (float)i - 4;
            uint16_t h = k == 1 ? convert_f32_to_f16(x) : convert_f32_to_bf16(x);
            memcpy(raw + 1 + (size_t)i * bytes, k ? (void *)&h : (void *)&x, bytes);
        }
        WeightPart part = {raw + 1, types[k], 4, 3, 5, true};
        for (size_t r = 0; r < 4; r++) {
            float out[4] = {-99, -99, -99, -99};
            convert_row_f32(&part, r, out);
            for (size_t c = 0; c < 3; c++)
                CHECK_NEAR(out[c], (double)(c * 5 + r) - 4, 0);
            CHECK_NEAR(out[3], -99, 0);
        }
    }
}

/* -- safetensors -- */

static void truncated_everywhere(void)
{
    static const struct {
        const char *path;
        Kind kind;
    } files[] = {{MODELS "llama-linear/model.safetensors", SAFETENSORS}, {MODELS "llama-gguf/model.gguf", GGUF}};
    for (size_t k = 0; k < 2; k++) {
        FileMap map;
        Error e = {{0}};
        CHECK_MSG(file_map(files[k].path, &map, &e) == 0, "%s", e.text);
        for (size_t n = 0; n < map.size_bytes; n += n < 256 ? 1 : 64)
            CHECK_MSG(parse_exactly(files[k].kind, map.data, n, &e) != 0, "%s at %zu", files[k].path, n);
        CHECK(parse_exactly(files[k].kind, map.data, map.size_bytes - 1, &e) != 0);
        CHECK_MSG(parse_exactly(files[k].kind, map.data, map.size_bytes, &e) == 0, "%s", e.text);
        file_unmap(&map);
    }
}

/* Random bytes put into the header and the first data: no crash, no read outside, whatever comes out. */
static void random_damage(void)
{
    static const struct {
        const char *path;
        Kind kind;
    } files[] = {{MODELS "llama-linear/model.safetensors", SAFETENSORS}, {MODELS "llama-gguf/model.gguf", GGUF}};
    Rng rng;
    rng_seed(&rng, 20261123, 1);
    for (size_t k = 0; k < 2; k++) {
        FileMap map;
        Error e = {{0}};
        CHECK_MSG(file_map(files[k].path, &map, &e) == 0, "%s", e.text);
        unsigned char *copy = malloc(map.size_bytes);
        size_t header = 3000, refused = 0;
        for (int i = 0; i < 1500; i++) {
            memcpy(copy, map.data, map.size_bytes);
            for (uint64_t j = 1 + rng_below(&rng, 4); j > 0; j--)
                copy[rng_below(&rng, header)] = rng_below(&rng, 3) ? (unsigned char)rng_next(&rng) : 0xFF;
            refused += parse_exactly(files[k].kind, copy, map.size_bytes, &e) != 0;
        }
        CHECK_MSG(refused > 300, "refused %zu", refused);
        free(copy);
        file_unmap(&map);
    }
}

static size_t build_safetensors(const char *header, size_t header_len, size_t data_bytes, unsigned char *out)
{
    for (size_t i = 0; i < 8; i++)
        out[i] = (unsigned char)((uint64_t)header_len >> 8 * i);
    memcpy(out + 8, header, header_len);
    memset(out + 8 + header_len, 1, data_bytes);
    return 8 + header_len + data_bytes;
}

static void safetensors_refusals(void)
{
#define T(name, dtype, shape, a, b) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" a "," b "]}"
    static const struct {
        const char *header;
        size_t data_bytes;
        const char *says; /* NULL: accepted */
    } cases[] = {
        {"{}", 0, NULL},
        {"{" T("a", "F32", "2,2", "0", "16") "}", 16, NULL},
        {"{" T("a", "F32", "", "0", "4") "}", 4, NULL},
        {"{" T("z", "F32", "0", "4", "4") "," T("a", "I32", "1", "0", "4") "}", 4, NULL},
        {"{\"__metadata__\":{\"format\":\"pt\"}," T("a", "BF16", "2", "0", "4") "}   ", 4, NULL},
        {"{" T("b", "F32", "1", "4", "8") "," T("a", "F32", "1", "0", "4") "}", 8, NULL},
        {"{" T("a", "F32", "2", "0", "8") "," T("b", "F32", "2", "4", "12") "}", 12, "overlaps"},
        {"{" T("a", "F32", "1", "0", "4") "," T("b", "F32", "1", "8", "12") "}", 12, "a hole"},
        {"{" T("a", "F32", "1", "0", "4") "}", 8, "expected 4 bytes of tensor data, found 8"},
        {"{" T("a", "F32", "1", "0", "4") "}", 3, "lie outside"},
        {"{" T("a", "F32", "2", "0", "4") "}", 4, "do not fill"},
        {"{" T("a", "F32", "4294967296,4294967296,4", "0", "4") "}", 4, "overflows"},
        {"{" T("a", "F64", "2305843009213693952", "0", "4") "}", 4, "do not fill"},
        {"{" T("a", "F32", "9223372036854775807", "0", "4") "}", 4, "do not fill"},
        {"{" T("a", "F32", "92233720368547758070", "0", "4") "}", 4, "whole number"},
        {"{" T("a", "F32", "-1", "0", "4") "}", 4, "whole number"},
        {"{" T("a", "F32", "1.0", "0", "4") "}", 4, "whole number"},
        {"{" T("a", "F32", "1,1,1,1,1,1,1,1,1", "0", "4") "}", 4, "at most 8"},
        {"{" T("a", "F32", "1", "-4", "0") "}", 4, "two whole numbers"},
        {"{" T("a", "F32", "1", "4", "0") "}", 4, "lie outside"},
        {"{" T("a", "F32", "1", "0", "18446744073709551619") "}", 4, "two whole numbers"},
        {"{" T("a", "F8_E4M3", "4", "0", "4") "}", 4, "F8_E4M3 is not supported"},
        {"{" T("a", "Q4_0", "32", "0", "18") "}", 18, "Q4_0 is not supported"},
        {"{" T("a", "F32", "1", "0", "4") "," T("a", "F32", "1", "4", "8") "}", 8, "found it twice"},
        {"{" T("a\\u0000b", "F32", "1", "0", "4") "}", 4, "NUL"},
        {"{" T("", "F32", "1", "0", "4") "}", 4, "empty"},
        {"{" T("\xff\xfe", "F32", "1", "0", "4") "}", 4, "UTF-8"},
        {"{" T("\xed\xa0\x80", "F32", "1", "0", "4") "}", 4, "UTF-8"},
        {"{\"a\":3}", 0, "expected an object"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets"},
        {"[]", 0, "'{'"},
        {"{\"a\":", 0, "expected"},
    };
    unsigned char file[1024];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e = {{0}};
        size_t n = build_safetensors(cases[i].header, strlen(cases[i].header), cases[i].data_bytes, file);
        int status = parse_exactly(SAFETENSORS, file, n, &e);
        CHECK_MSG((status == 0) == (cases[i].says == NULL), "%s: %s", cases[i].header, e.text);
        CHECK_MSG(!cases[i].says || strstr(e.text, cases[i].says), "%s: %s", cases[i].header, e.text);
    }
    /* header lengths that lie */
    static const uint64_t lengths[] = {3, 17, 100000001, UINT32_MAX, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        Error e = {{0}};
        size_t n = build_safetensors("{}", 2, 0, file);
        for (size_t b = 0; b < 8; b++)
            file[b] = (unsigned char)(lengths[i] >> 8 * b);
        CHECK_MSG(parse_exactly(SAFETENSORS, file, n, &e) != 0, "%llu", (unsigned long long)lengths[i]);
    }
#undef T
}

static void header_round_trip(void)
{
    SafetensorsEntry entries[] = {
        {.name = "nll", .dtype = DTYPE_F32, .n_dims = 2, .shape = {3, 5}},
        {.name = "a \"quoted\" na\xc3\xafme", .dtype = DTYPE_I64, .n_dims = 1, .shape = {2}},
        {.name = "scalar", .dtype = DTYPE_U8, .n_dims = 0},
        {.name = "empty", .dtype = DTYPE_F16, .n_dims = 2, .shape = {0, 7}},
    };
    static const char *const metadata[][2] = {{"format", "strata"}, {"model", "x\ny"}};
    for (int with = 0; with < 2; with++) {
        StrBuf b = {0};
        Error e = {{0}};
        size_t total = 0;
        CHECK_MSG(safetensors_header(entries, 4, with ? metadata : NULL, with ? 2 : 0, &b, &total, &e) == 0, "%s", e.text);
        CHECK(b.len % 64 == 0 && total == b.len + 60 + 16 + 1 && entries[0].offset == b.len);
        CHECK(entries[1].offset == b.len + 60 && entries[2].offset == b.len + 76);
        while (b.len < total)
            strbuf_putc(&b, 'x');
        Arena arena = {0};
        Tensor *tensors;
        size_t n;
        CHECK_MSG(safetensors_parse((unsigned char *)b.data, b.len, "file", &arena, &tensors, &n, &e) == 0, "%s", e.text);
        CHECK(n == 4);
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < 4; k++)
                if (strcmp(tensors[i].name, entries[k].name) == 0)
                    CHECK((const char *)tensors[i].data == b.data + entries[k].offset && tensors[i].dtype == entries[k].dtype);
        arena_free(&arena);
        strbuf_free(&b);
    }
    SafetensorsEntry huge = {.name = "huge", .dtype = DTYPE_F64, .n_dims = 2, .shape = {SIZE_MAX / 8, 2}};
    StrBuf b = {0};
    Error e = {{0}};
    size_t total;
    CHECK(safetensors_header(&huge, 1, NULL, 0, &b, &total, &e) != 0);
    strbuf_free(&b);
}

/* -- directories -- */

static void expect_open(const char *name, const char *says)
{
    char *path = temp_path(name);
    Error e = {{0}};
    TensorFile f;
    int status = tensor_file_open(path, &f, &e);
    CHECK_MSG((status == 0) == (says == NULL), "%s: %s", name, e.text);
    CHECK_MSG(!says || strstr(e.text, says), "%s: %s", name, e.text);
    tensor_file_close(&f);
    free(path);
}

static void sharded_directories(void)
{
    static const char *const shards[] = {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                         "model-00003-of-00003.safetensors"};
    static const char index[] = "model.safetensors.index.json";
    Error e = {{0}};
    TensorFile f;
    CHECK_MSG(tensor_file_open(MODELS "llama31", &f, &e) == 0, "%s", e.text);
    CHECK(f.n_maps == 3 && f.n_tensors == 39);
    for (size_t i = 1; i < f.n_tensors; i++)
        CHECK(strcmp(f.tensors[i - 1].name, f.tensors[i].name) < 0);
    const Tensor *t = tensor_file_find(&f, "model.layers.3.mlp.down_proj.weight");
    CHECK(t && t->dtype == DTYPE_BF16 && t->n_dims == 2 && t->shape[0] == 32 && t->shape[1] == 48);
    CHECK(!tensor_file_find(&f, "model.layers.4.mlp.down_proj.weight") && !tensor_file_find(&f, ""));
    tensor_file_close(&f);

    char path[256], name[256];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, MODELS "llama31/%s", shards[i]);
        snprintf(name, sizeof name, "shards/%s", shards[i]);
        copy_temp(path, name);
    }
    copy_temp(MODELS "llama31/model.safetensors.index.json", "shards/model.safetensors.index.json");
    expect_open("shards", NULL);
    write_temp("shards/consolidated.safetensors", "rubbish", 7); /* another layout of the same weights: not ours to read */
    expect_open("shards", NULL);
    remove_temp("shards/model-00002-of-00003.safetensors");
    expect_open("shards", "1 of 3 weight files are missing, the first is model-00002-of-00003.safetensors");
    expect_open("shards", "strata pull");
    snprintf(path, sizeof path, MODELS "llama31/%s", shards[0]);
    copy_temp(path, "shards/model-00002-of-00003.safetensors");
    expect_open("shards", "expected each name once");
    copy_temp(MODELS "gpt2/model.safetensors", "shards/model-00002-of-00003.safetensors");
    expect_open("shards", "found it in no file");
    copy_temp(MODELS "gpt2/model.safetensors", "shards/model.safetensors"); /* the single file wins */
    expect_open("shards", NULL);

    static const struct {
        const char *index, *says;
    } bad[] = {
        {"{\"weight_map\":{\"a\":\"../x.safetensors\"}}", "beside it"},
        {"{\"weight_map\":{\"a\":\"/etc/x.safetensors\"}}", "beside it"},
        {"{\"weight_map\":{\"a\":\"sub/x.safetensors\"}}", "beside it"},
        {"{\"weight_map\":{\"a\":\"x.safetensors\\u0000\"}}", "beside it"},
        {"{\"weight_map\":{\"a\":\"\"}}", "beside it"},
        {"{\"weight_map\":{\"a\":7}}", "beside it"},
        {"{\"weight_map\":{\"a\":\"x.bin\"}}", "beside it"},
        {"{\"weight_map\":{}}", "weight_map"},
        {"{}", "weight_map"},
        {"[]", "weight_map"},
        {"", "empty"},
        {"{", "expected"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(name, sizeof name, "bad/%s", index);
        write_temp(name, bad[i].index, strlen(bad[i].index));
        expect_open("bad", bad[i].says);
    }
}

static void split_gguf_files(void)
{
    static const char *const parts[] = {"split/model-00001-of-00003.gguf", "split/model-00002-of-00003.gguf",
                                        "split/model-00003-of-00003.gguf"};
    Error e = {{0}};
    TensorFile f;
    for (int i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof path, "tests/data/gguf/qwen2-split/%s", parts[i] + 6);
        copy_temp(path, parts[i]);
    }
    for (int i = 0; i < 3; i++) { /* whichever part is named, all are opened, and the metadata is the first's */
        char *path = temp_path(parts[i]);
        CHECK_MSG(tensor_file_open(path, &f, &e) == 0, "%s", e.text);
        CHECK(f.n_maps == 3 && f.n_tensors == 39 && f.gguf && gguf_get(f.gguf, "qwen2.block_count"));
        tensor_file_close(&f);
        free(path);
    }
    copy_temp("tests/data/gguf/qwen2-split/model-00002-of-00003.gguf", "split/model-00003-of-00003.gguf");
    expect_open(parts[0], "expected split.no 2 and split.count 3, found 1 and 3");
    remove_temp(parts[2]);
    expect_open(parts[0], "part 3 of the 3 that model-00001-of-00003.gguf is split into");
    copy_temp("tests/data/gguf/qwen2-split/model-00001-of-00003.gguf", "split/renamed.gguf");
    expect_open("split/renamed.gguf", "a part of a split file: expected its name to end in -NNNNN-of-00003.gguf");
    copy_temp("tests/data/gguf/qwen2/model.gguf", "split/whole-00001-of-00001.gguf");
    expect_open("split/whole-00001-of-00001.gguf", NULL);
}

static void directories_without_weights(void)
{
    write_temp("empty/config.json", "{}", 2);
    expect_open("empty", "no weights");
    write_temp("bin/pytorch_model.bin", "x", 1);
    expect_open("bin", "pytorch_model.bin but no model.safetensors");
    expect_open("bin", "strata pull");
    write_temp("meta/consolidated.safetensors", "x", 1);
    expect_open("meta", "consolidated.safetensors but no model.safetensors");
    write_temp("parts/model-00001-of-00002.safetensors", "x", 1);
    expect_open("parts", "neither model.safetensors nor");
    write_temp("gguf/m.gguf", "x", 1);
    expect_open("gguf", "give its path");
    expect_open("gguf/m.gguf", "GGUF");
    write_temp("gguf/zero.gguf", "", 0);
    expect_open("gguf/zero.gguf", "GGUF");
    write_temp("one.safetensors", "", 0);
    expect_open("one.safetensors", "expected a safetensors file");
    expect_open("nowhere", "nowhere");
    TensorFile zeroed = {0};
    tensor_file_close(&zeroed);
    tensor_file_close(NULL);
    CHECK(!tensor_file_find(&zeroed, "a"));
}

int main(void)
{
    if (!temp_begin())
        return 1;
    RUN(half_formats);
    RUN(block_formats);
    RUN(transposed_rows);
    RUN(truncated_everywhere);
    RUN(random_damage);
    RUN(safetensors_refusals);
    RUN(header_round_trip);
    RUN(sharded_directories);
    RUN(split_gguf_files);
    RUN(directories_without_weights);
    temp_end();
    return test_finish();
}
