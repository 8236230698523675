/* test_blocks.c: GGUF's block formats against the values that the package gguf computes (tests/data/blocks.safetensors, made by
 * tools/make_block_fixtures.py): every bit, whole rows and rows of a part; and scales that are no numbers. */
#include "tests/test.h"

#include "kernels/convert.h"
#include "loaders/tensor_file.h"

static const DType types[] = {DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1, DTYPE_Q8_0,   DTYPE_Q2_K,  DTYPE_Q3_K,
                              DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K, DTYPE_Q8_K, DTYPE_IQ4_NL, DTYPE_IQ4_XS};
enum { N_TYPES = sizeof types / sizeof *types, MAX_ELEMS = 6 * 256 };

static const Tensor *fixture(const TensorFile *f, DType type, const char *what)
{
    char name[32];
    snprintf(name, sizeof name, "%s.%s", dtype_name(type), what);
    const Tensor *t = tensor_file_find(f, name);
    CHECK_MSG(t, "%s is not in the file", name);
    return t;
}

static void values(void)
{
    TensorFile f = {0};
    Error e = {{0}};
    CHECK_MSG(tensor_file_open("tests/data/blocks.safetensors", &f, &e) == 0, "%s", e.text);
    for (size_t i = 0; i < N_TYPES; i++) {
        const Tensor *blocks = fixture(&f, types[i], "blocks"), *want = fixture(&f, types[i], "values");
        size_t elems = dtype_block_elems(types[i]), bytes = dtype_block_bytes(types[i]);
        if (!blocks || !want || blocks->size_bytes != 6 * bytes || want->size_bytes != 6 * elems * sizeof(float)) {
            CHECK_MSG(false, "%s: wrong sizes", dtype_name(types[i]));
            continue;
        }
        static float got[MAX_ELEMS];
        convert_f32(types[i], blocks->data, 6 * elems, got);
        CHECK_MSG(memcmp(got, want->data, want->size_bytes) == 0, "%s: other bits", dtype_name(types[i]));
        CHECK_MSG(convert_blocks_finite(types[i], blocks->data, 6), "%s", dtype_name(types[i]));
        CHECK(dtype_is_weight(types[i]));
        WeightPart part = {.data = blocks->data, .dtype = types[i], .rows = 3, .cols = 2 * elems, .stride = 2 * elems};
        convert_row_f32(&part, 2, got);
        CHECK_MSG(memcmp(got, (const float *)want->data + 4 * elems, 2 * elems * sizeof(float)) == 0, "%s: row 2",
                  dtype_name(types[i]));
    }
    tensor_file_close(&f);
}

/* An infinite or NaN scale anywhere in a block is found; the same bits elsewhere are codes. */
static void scales(void)
{
    static const struct {
        DType type;
        size_t at[2];
        size_t n;
    } where[] = {{DTYPE_Q4_0, {0}, 1},    {DTYPE_Q4_1, {0, 2}, 2},   {DTYPE_Q5_0, {0}, 1},   {DTYPE_Q5_1, {0, 2}, 2},
                 {DTYPE_Q8_0, {0}, 1},    {DTYPE_Q2_K, {80, 82}, 2}, {DTYPE_Q3_K, {108}, 1}, {DTYPE_Q4_K, {0, 2}, 2},
                 {DTYPE_Q5_K, {0, 2}, 2}, {DTYPE_Q6_K, {208}, 1},    {DTYPE_IQ4_NL, {0}, 1}, {DTYPE_IQ4_XS, {0}, 1}};
    for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
        size_t bytes = dtype_block_bytes(where[i].type);
        for (size_t s = 0; s < where[i].n; s++)
            for (int sign = 0; sign < 2; sign++) {
                unsigned char blocks[3 * 292] = {0};
                unsigned char *scale = blocks + bytes + where[i].at[s];
                scale[0] = 1, scale[1] = sign ? 0xFE : 0x7C;
                CHECK_MSG(!convert_blocks_finite(where[i].type, blocks, 3), "%s", dtype_name(where[i].type));
                CHECK(convert_blocks_finite(where[i].type, blocks, 1));
                memset(blocks, 0xFF, sizeof blocks);
                for (size_t b = 0; b < 3; b++)
                    for (size_t z = 0; z < where[i].n; z++)
                        memset(blocks + b * bytes + where[i].at[z], 0, 2);
                CHECK_MSG(convert_blocks_finite(where[i].type, blocks, 3), "%s", dtype_name(where[i].type));
            }
    }
    unsigned char block[292] = {0};
    block[3] = 0x7F, block[2] = 0x80;
    CHECK(!convert_blocks_finite(DTYPE_Q8_K, block, 1));
    block[2] = 0x7F;
    CHECK(convert_blocks_finite(DTYPE_Q8_K, block, 1));
}

int main(void)
{
    RUN(values);
    RUN(scales);
    return test_finish();
}
