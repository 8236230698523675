/* test_files.c: the containers (safetensors, sharded and single; GGUF), their element formats, and model lookup. Hostile files
 * are parsed from blocks of exactly their size, so that a sanitizer sees any read beyond. References: the fixtures and digests
 * that tools/make_fixtures.py made with transformers, safetensors and gguf. */
#include <ftw.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/json.h"
#include "engine/base/rng.h"
#include "engine/base/sha256.h"
#include "kernels/convert.h"
#include "loaders/gguf.h"
#include "loaders/model_lookup.h"
#include "loaders/safetensors.h"
#include "loaders/tensor_file.h"
#include "tests/test.h"

#define MODELS "tests/data/models/"

static char temp_dir[64];

static char *temp_path(const char *name)
{
    return file_join(temp_dir, name);
}

static void write_temp(const char *name, const void *data, size_t bytes)
{
    Error e = {{0}};
    char *path = temp_path(name), *dir = strndup(path, (size_t)(file_basename(path) - path));
    CHECK_MSG(file_make_dirs(dir, &e) == 0, "%s", e.text);
    FILE *f = fopen(path, "wb");
    CHECK(f && (bytes == 0 || fwrite(data, 1, bytes, f) == bytes));
    if (f)
        fclose(f);
    free(dir);
    free(path);
}

static void copy_temp(const char *from, const char *name)
{
    StrBuf b = {0};
    Error e = {{0}};
    CHECK_MSG(file_read(from, 1 << 24, &b, &e) == 0, "%s", e.text);
    write_temp(name, b.data, b.len);
    strbuf_free(&b);
}

static void remove_temp(const char *name)
{
    char *path = temp_path(name);
    unlink(path);
    free(path);
}

typedef enum Kind { SAFETENSORS, GGUF } Kind;

/* Parses a copy in a block of exactly `size` bytes. */
static int parse_exactly(Kind kind, const void *data, size_t size, Error *e)
{
    unsigned char *copy = malloc(size ? size : 1);
    if (!copy)
        return STATUS_FAILED;
    if (size)
        memcpy(copy, data, size);
    Arena arena = {0};
    Tensor *tensors;
    Gguf *g;
    size_t n;
    int status = kind == GGUF ? gguf_parse(copy, size, "file", &arena, &g, &tensors, &n, e)
                              : safetensors_parse(copy, size, "file", &arena, &tensors, &n, e);
    if (!status) { /* what was promised to be inside is inside */
        unsigned sum = 0;
        for (size_t i = 0; i < n; i++)
            if (tensors[i].size_bytes)
                sum += ((const unsigned char *)tensors[i].data)[0] +
                       ((const unsigned char *)tensors[i].data)[tensors[i].size_bytes - 1];
        CHECK(sum < 1u << 30);
    } else {
        CHECK(e->text[0] && !strchr(e->text, '\n'));
    }
    arena_free(&arena);
    free(copy);
    return status;
}

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

/* -- GGUF -- */

static void put(StrBuf *b, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++)
        strbuf_putc(b, (char)(x >> 8 * i));
}

static void put_string(StrBuf *b, const char *s)
{
    put(b, strlen(s), 8);
    strbuf_puts(b, s);
}

static void put_head(StrBuf *b, unsigned version, uint64_t n_tensors, uint64_t n_values)
{
    strbuf_reset(b);
    strbuf_puts(b, "GGUF");
    put(b, version, 4);
    put(b, n_tensors, 8);
    put(b, n_values, 8);
}

static void put_tensor(StrBuf *b, const char *name, uint64_t x, uint64_t y, unsigned type, uint64_t offset)
{
    put_string(b, name);
    put(b, y ? 2 : 1, 4);
    put(b, x, 8);
    if (y)
        put(b, y, 8);
    put(b, type, 4);
    put(b, offset, 8);
}

static void pad(StrBuf *b, size_t data_bytes)
{
    while (b->len % 32)
        strbuf_putc(b, 0);
    for (size_t i = 0; i < data_bytes; i++)
        strbuf_putc(b, 1);
}

static void expect_gguf(StrBuf *b, const char *says)
{
    Error e = {{0}};
    int status = parse_exactly(GGUF, b->data, b->len, &e);
    CHECK_MSG((status == 0) == (says == NULL), "expected %s, got: %s", says ? says : "success", e.text);
    CHECK_MSG(!says || strstr(e.text, says), "expected %s, got: %s", says, e.text);
}

static void gguf_refusals(void)
{
    StrBuf b = {0};
    static const struct {
        uint64_t x, y;
        unsigned type;
        uint64_t offset;
        size_t data_bytes;
        const char *says;
    } tensors[] = {
        {8, 0, 0, 0, 32, NULL},
        {32, 2, 2, 0, 36, NULL},
        {8, 0, 0, 0, 31, "lie outside"},
        {8, 0, 0, 32, 63, "lie outside"},
        {8, 0, 0, 16, 64, "multiple of 32"},
        {8, 0, 0, UINT64_MAX - 31, 64, "lie outside"},
        {8, 0, 14, 0, 64, "Q6_K is not supported"},
        {8, 0, 12, 0, 64, "tensor t: type Q4_K"},
        {8, 0, 4, 0, 64, "type 4 is not known"},
        {8, 0, 999, 0, 64, "999"},
        {31, 2, 8, 0, 64, "whole blocks of Q8_0"},
        {16, 2, 2, 0, 64, "whole blocks of Q4_0"},
        {UINT64_MAX, 4, 0, 0, 64, "overflows"},
        {UINT64_MAX / 2, 0, 0, 0, 64, "whole blocks"},
        {UINT64_C(1) << 61, 0, 1, 0, 64, "lie outside"},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        for (unsigned version = 2; version <= 3; version++) {
            put_head(&b, version, 1, 0);
            put_tensor(&b, "t", tensors[i].x, tensors[i].y, tensors[i].type, tensors[i].offset);
            pad(&b, tensors[i].data_bytes);
            expect_gguf(&b, tensors[i].says);
        }
    }
    put_head(&b, 1, 0, 0);
    expect_gguf(&b, "version 2 or 3, found 1");
    put_head(&b, 0x03000000, 0, 0);
    expect_gguf(&b, "big-endian");
    put_head(&b, 4, 0, 0);
    expect_gguf(&b, "version 2 or 3");
    put_head(&b, 3, UINT64_MAX, 0);
    expect_gguf(&b, "do not fit");
    put_head(&b, 3, 0, UINT64_MAX);
    expect_gguf(&b, "do not fit");
    put_head(&b, 3, 2, 0);
    put_tensor(&b, "a", 16, 0, 0, 0);
    put_tensor(&b, "b", 8, 0, 0, 32);
    pad(&b, 64);
    expect_gguf(&b, "overlaps tensor a");
    put_head(&b, 3, 1, 0);
    put_tensor(&b, "\xff", 8, 0, 0, 0);
    pad(&b, 64);
    expect_gguf(&b, "UTF-8");
    put_head(&b, 3, 1, 0);
    put_string(&b, "t");
    put(&b, 9, 4);
    pad(&b, 256);
    expect_gguf(&b, "1 to 8 dimensions");

    /* values: {type, bytes after it}; a string key "k" before */
    static const struct {
        unsigned type;
        uint64_t first, second;
        int n_first, n_second;
        const char *says;
    } values[] = {
        {4, 7, 0, 4, 0, NULL},
        {7, 1, 0, 1, 0, NULL},
        {9, 4, 0, 4, 8, NULL},
        {13, 0, 0, 8, 8, "value type 13"},
        {9, 9, 1, 4, 8, "arrays of type 9"},
        {9, 77, 1, 4, 8, "arrays of type 77"},
        {9, 4, UINT64_MAX, 4, 8, "does not fit"},
        {9, 8, UINT64_MAX / 8, 4, 8, "does not fit"},
        {8, UINT64_MAX, 0, 8, 8, "truncated"},
        {8, 17, 0, 8, 8, "truncated"},
        {10, 1, 0, 4, 0, "truncated"},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        put_head(&b, 3, 0, 1);
        put_string(&b, "k");
        put(&b, values[i].type, 4);
        put(&b, values[i].first, values[i].n_first);
        put(&b, values[i].second, values[i].n_second);
        expect_gguf(&b, values[i].says);
    }
    static const struct {
        unsigned alignment;
        const char *says;
    } alignments[] = {{64, NULL}, {8, NULL}, {0, "power of two"}, {24, "power of two"}, {1u << 31, "power of two"}};
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        put_head(&b, 3, 0, 1);
        put_string(&b, "general.alignment");
        put(&b, 4, 4);
        put(&b, alignments[i].alignment, 4);
        expect_gguf(&b, alignments[i].says);
    }
    put_head(&b, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        put_string(&b, "twice");
        put(&b, 0, 4);
        put(&b, 1, 1);
    }
    expect_gguf(&b, "key twice: expected each key once");
    strbuf_free(&b);
}

static void gguf_values(void)
{
    StrBuf b = {0};
    put_head(&b, 3, 0, 8);
    put_string(&b, "i8"), put(&b, 1, 4), put(&b, 0xFF, 1);
    put_string(&b, "u64"), put(&b, 10, 4), put(&b, UINT64_MAX, 8);
    put_string(&b, "f32"), put(&b, 6, 4), put(&b, 0x3FC00000, 4);
    put_string(&b, "f64"), put(&b, 12, 4), put(&b, UINT64_C(0xC004000000000000), 8);
    put_string(&b, "yes"), put(&b, 7, 4), put(&b, 1, 1);
    put_string(&b, "s"), put(&b, 8, 4), put(&b, 3, 8), strbuf_append(&b, "a\0b", 3);
    put_string(&b, "list"), put(&b, 9, 4), put(&b, 5, 4), put(&b, 2, 8), put(&b, 5, 4), put(&b, 0xFFFFFFFE, 4);
    put_string(&b, "words"), put(&b, 9, 4), put(&b, 8, 4), put(&b, 2, 8), put_string(&b, "x"), put_string(&b, "");
    Error e = {{0}};
    Arena arena = {0};
    Gguf *g = NULL;
    Tensor *tensors;
    size_t n;
    CHECK_MSG(gguf_parse((unsigned char *)b.data, b.len, "file", &arena, &g, &tensors, &n, &e) == 0, "%s", e.text);
    if (g) {
        int64_t i = 0;
        double x = 0;
        bool yes = false;
        GgufString s = {0};
        CHECK(gguf_integer(g, "i8", &i) && i == -1 && !gguf_integer(g, "u64", &i) && !gguf_integer(g, "f32", &i));
        CHECK(gguf_number(g, "u64", &x) && x > 1.8e19 && gguf_number(g, "f32", &x) && fabs(x - 1.5) <= 0);
        CHECK(gguf_number(g, "f64", &x) && fabs(x + 2.5) <= 0 && !gguf_number(g, "s", &x) && !gguf_number(g, "nothing", &x));
        CHECK(gguf_bool(g, "yes", &yes) && yes && !gguf_bool(g, "i8", &yes));
        CHECK(gguf_string(g, "s", &s) && s.len == 3 && memcmp(s.s, "a\0b", 3) == 0);
        const GgufValue *list = gguf_get(g, "list"), *words = gguf_get(g, "words");
        CHECK(list && list->array_len == 2 && gguf_array_integer(list, 0) == 5 && gguf_array_integer(list, 1) == -2);
        CHECK(list && fabs(gguf_array_number(list, 1) + 2) <= 0 && gguf_array_integer(list, 2) == 0);
        CHECK(words && words->array_len == 2 && words->strings[0].len == 1 && words->strings[1].len == 0);
    }
    arena_free(&arena);
    strbuf_free(&b);
}

/* -- lookup -- */

static void expect_lookup(const char *name, const char *revision, const char *path_end, const char *slug, const char *says)
{
    Error e = {{0}};
    ModelPath p;
    int status = model_lookup(name, revision, &p, &e);
    CHECK_MSG((status == 0) == (says == NULL), "%s: %s", name, e.text);
    if (says) {
        CHECK_MSG(status == STATUS_USAGE || status == STATUS_FAILED, "%d", status);
        CHECK_MSG(strstr(e.text, says) != NULL, "%s: %s", name, e.text);
        return;
    }
    if (status)
        return;
    size_t n = strlen(p.path), m = strlen(path_end);
    CHECK_MSG(n >= m && strcmp(p.path + n - m, path_end) == 0, "%s: %s", name, p.path);
    CHECK_STR(p.slug, slug);
    CHECK_STR(p.name, name);
    model_path_free(&p);
}

static void lookup(void)
{
    static const char commit[] = "0123456789abcdef0123456789abcdef01234567";
    char path[256], link[300], back[1024];
    const char *const variables[] = {"HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"};
    for (int i = 0; i < 3; i++)
        unsetenv(variables[i]);
    setenv("HOME", temp_dir, 1);

    /* ORG/NAME in the default place; weights are links into blobs, as the hub writes them */
    static const char repo[] = ".cache/huggingface/hub/models--meta-llama--Meta-Llama-3-8B";
    snprintf(path, sizeof path, "%s/blobs/b1", repo);
    copy_temp(MODELS "gpt2/model.safetensors", path);
    snprintf(path, sizeof path, "%s/snapshots/%s/config.json", repo, commit);
    write_temp(path, "{}", 2);
    snprintf(link, sizeof link, "%s/%s/snapshots/%s/model.safetensors", temp_dir, repo, commit);
    CHECK(symlink("../../blobs/b1", link) == 0);
    snprintf(path, sizeof path, "%s/refs/main", repo);
    write_temp(path, commit, strlen(commit));
    snprintf(path, sizeof path, "%s/refs/refs/pr/4", repo);
    write_temp(path, "0123\n", 5);
    static const char id[] = "meta-llama/Meta-Llama-3-8B", slug[] = "meta_llama_Meta_Llama_3_8B";
    expect_lookup(id, NULL, commit, slug, NULL);
    expect_lookup(id, "main", commit, slug, NULL);
    expect_lookup(id, commit, commit, slug, NULL);
    expect_lookup(id, "refs/pr/4", "", "", "no snapshot of revision \"refs/pr/4\"");
    expect_lookup(id, "v2", "", "", "strata pull --model meta-llama/Meta-Llama-3-8B");
    expect_lookup(id, "../../x", "", "", "expected a branch");
    expect_lookup("meta-llama/Meta-Llama-3-70B", NULL, "", "", "strata pull --model meta-llama/Meta-Llama-3-70B");
    ModelPath p;
    Error e = {{0}};
    TensorFile f;
    CHECK(model_lookup(id, NULL, &p, &e) == 0);
    CHECK_MSG(tensor_file_open(p.path, &f, &e) == 0, "%s", e.text);
    tensor_file_close(&f);
    unlink(link); /* a link whose blob is gone is a missing file */
    CHECK(symlink("../../blobs/b2", link) == 0);
    CHECK(tensor_file_open(p.path, &f, &e) != 0 && strstr(e.text, "strata pull"));
    unlink(link);
    snprintf(path, sizeof path, "%s/snapshots/%s/pytorch_model.bin", repo, commit);
    write_temp(path, "x", 1);
    CHECK(tensor_file_open(p.path, &f, &e) != 0 && strstr(e.text, "pytorch_model.bin"));
    snprintf(path, sizeof path, "%s/snapshots/%s/model.safetensors.index.json", repo, commit);
    copy_temp(MODELS "llama31/model.safetensors.index.json", path);
    CHECK(tensor_file_open(p.path, &f, &e) != 0 && strstr(e.text, "3 of 3 weight files are missing"));
    model_path_free(&p);

    /* a ref that would lead elsewhere */
    write_temp(".cache/huggingface/hub/models--evil/refs/main", "../../..", 8);
    write_temp(".cache/huggingface/hub/models--evil/snapshots/x/config.json", "{}", 2);
    expect_lookup("evil", NULL, "", "", "expected the name of a snapshot");

    /* the variables, weakest first */
    static const struct {
        int variable;
        const char *value, *cache;
    } places[] = {{2, "xdg", "xdg/huggingface/hub"}, {1, "home", "home/hub"}, {0, "cache", "cache"}};
    for (size_t i = 0; i < 3; i++) {
        char revision[16], value[200];
        snprintf(revision, sizeof revision, "abc%zu", i);
        snprintf(path, sizeof path, "%s/models--gpt2/snapshots/%s/config.json", places[i].cache, revision);
        write_temp(path, "{}", 2);
        snprintf(path, sizeof path, "%s/models--gpt2/refs/main", places[i].cache);
        write_temp(path, revision, 4);
        snprintf(value, sizeof value, "%s/%s", temp_dir, places[i].value);
        setenv(variables[places[i].variable], value, 1);
        expect_lookup("gpt2", NULL, revision, "gpt2", NULL);
    }
    for (int i = 0; i < 3; i++)
        unsetenv(variables[i]);

    /* paths and models/, relative to the working directory */
    write_temp("models/org/tiny-model/config.json", "{}", 2);
    write_temp("models/org/other.gguf", "x", 1);
    write_temp("here-is/my model.v1/config.json", "{}", 2);
    write_temp("file-1.gguf", "x", 1);
    CHECK(getcwd(back, sizeof back) != NULL && chdir(temp_dir) == 0);
    expect_lookup("org/tiny-model", NULL, "models/org/tiny-model", "org_tiny_model", NULL);
    expect_lookup("org/other", NULL, "models/org/other.gguf", "org_other", NULL);
    expect_lookup("here-is/my model.v1", NULL, "here-is/my model.v1", "my_model.v1", NULL);
    expect_lookup("./here-is//", NULL, "./here-is//", "here_is", NULL);
    expect_lookup("./file-1.gguf", NULL, "./file-1.gguf", "file_1.gguf", NULL);
    expect_lookup("./here-is", "main", "", "", "a path has no revisions");
    expect_lookup("../..bad id", NULL, "", "", "no such model");
    expect_lookup("a/b/c", NULL, "", "", "no such model");
    expect_lookup("", NULL, "", "", "found nothing");
    CHECK(chdir("here-is") == 0);
    expect_lookup(".", NULL, ".", "here_is", NULL);
    CHECK(chdir(back) == 0);
    model_path_free(NULL);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

int main(void)
{
    snprintf(temp_dir, sizeof temp_dir, "/tmp/strata_files_XXXXXX");
    if (!mkdtemp(temp_dir))
        return 1;
    RUN(half_formats);
    RUN(block_formats);
    RUN(transposed_rows);
    RUN(truncated_everywhere);
    RUN(random_damage);
    RUN(safetensors_refusals);
    RUN(header_round_trip);
    RUN(sharded_directories);
    RUN(directories_without_weights);
    RUN(gguf_refusals);
    RUN(gguf_values);
    RUN(lookup);
    nftw(temp_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return test_finish();
}
