/* test_cuda_convert.cc: elements of files on the device, under the emulation: every format, any alignment, stored either way, bit for bit
 * what kernels/convert.c makes of the same bytes (f32), or that rounded to the nearest bf16. */
#include <string.h>

#include "tests/cuda_emu/operands.hh"
#include "tests/test.h"

extern "C" {
#include "engine/base/dtype.h"
}

static const DType formats[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16,   DTYPE_Q4_0,  DTYPE_Q4_1, DTYPE_Q5_0,
                                DTYPE_Q5_1, DTYPE_Q8_0, DTYPE_Q2_K,   DTYPE_Q3_K,  DTYPE_Q4_K, DTYPE_Q5_K,
                                DTYPE_Q6_K, DTYPE_Q8_K, DTYPE_IQ4_NL, DTYPE_IQ4_XS};

/* Random bytes are valid in every format; scales that are infinite or NaN among them, too. */
static std::vector<unsigned char> random_bytes(size_t n)
{
    std::vector<unsigned char> b(n);
    for (unsigned char &x : b)
        x = (unsigned char)rng_next(&operands_rng);
    return b;
}

static bool same_bits(float got, float want)
{
    return want != want ? got != got : memcmp(&got, &want, 4) == 0;
}

/* Compares [rows, cols] dense at a device address with the host's conversion. */
static int compare(const void *device, DType dst, const WeightPart &part)
{
    int bad = 0;
    std::vector<float> want(part.cols);
    const unsigned char *p = (const unsigned char *)emu_peek(device);
    for (size_t r = 0; r < part.rows; r++) {
        convert_row_f32(&part, r, want.data());
        for (size_t c = 0; c < part.cols; c++, p += dst == DTYPE_F32 ? 4 : 2) {
            float got, w = want[c];
            uint16_t h;
            if (dst == DTYPE_F32) {
                memcpy(&got, p, 4);
            } else {
                memcpy(&h, p, 2);
                got = convert_bf16_to_f32(h);
                w = convert_bf16_to_f32(convert_f32_to_bf16(w));
            }
            if (!same_bits(got, w) && bad++ == 0)
                printf("%s: [%zu, %zu] is %.9g, expected %.9g\n", operands_what.c_str(), r, c, (double)got, (double)w);
        }
    }
    return bad;
}

static int convert_case(DType dtype, DType dst, size_t rows, size_t cols, size_t extra, bool transposed, size_t src_offset,
                        size_t dst_offset)
{
    size_t elems = dtype_block_elems(dtype), stride = (transposed ? rows : cols) + extra * elems;
    size_t bytes = ((transposed ? cols : rows) - 1) * stride / elems * dtype_block_bytes(dtype) +
                   (transposed ? rows : cols) / elems * dtype_block_bytes(dtype);
    std::vector<unsigned char> raw = random_bytes(bytes);
    DeviceBytes device(raw.data(), bytes, src_offset);
    size_t elem = dst == DTYPE_F32 ? 4 : 2;
    void *out;
    cudaMalloc(&out, rows * cols * elem + dst_offset * elem);
    unsigned char *to = (unsigned char *)out + dst_offset * elem;
    cuda_convert(nullptr, to, dst, device.data, dtype, rows, cols, stride, transposed);
    int bad = operands_finish();
    WeightPart part = {raw.data(), dtype, rows, cols, stride, transposed};
    bad += compare(to, dst, part);
    cudaFree(out);
    return bad;
}

static void test_convert(void)
{
    uint64_t seed = 1;
    for (DType dtype : formats)
        for (DType dst : {DTYPE_F32, DTYPE_BF16})
            for (size_t src_offset : {(size_t)0, (size_t)1, (size_t)2, (size_t)4})
                for (int shape = 0; shape < 5; shape++) {
                    static const size_t plain[][2] = {{1, 1}, {3, 8}, {5, 31}, {2, 264}, {1, 2056}};
                    size_t block = dtype_block_elems(dtype), rows = plain[shape][0];
                    size_t cols = block == 1 ? plain[shape][1] : block * (size_t)(1 + shape);
                    char name[160];
                    snprintf(name, sizeof name, "convert %s [%zu, %zu] at %zu to %s", dtype_name(dtype), rows, cols, src_offset,
                             dtype_name(dst));
                    operands_what = name;
                    rng_seed(&operands_rng, seed, 0);
                    emu_seed(seed++);
                    CHECK_MSG(cuda_reads(dtype) &&
                                  convert_case(dtype, dst, rows, cols, shape % 2, false, src_offset, (size_t)shape % 3) == 0,
                              "%s", name);
                }
}

static void test_convert_transposed(void)
{
    uint64_t seed = 1;
    static const size_t shapes[][2] = {{1, 1}, {3, 40}, {33, 5}, {32, 64}, {70, 35}};
    for (DType dtype : {DTYPE_F32, DTYPE_F16, DTYPE_BF16})
        for (DType dst : {DTYPE_F32, DTYPE_BF16})
            for (const size_t *s : shapes) {
                char name[160];
                snprintf(name, sizeof name, "convert %s [%zu, %zu] transposed to %s", dtype_name(dtype), s[0], s[1],
                         dtype_name(dst));
                operands_what = name;
                rng_seed(&operands_rng, seed, 0);
                emu_seed(seed);
                CHECK_MSG(convert_case(dtype, dst, s[0], s[1], seed % 3, true, seed % 2, seed % 4) == 0, "%s", name);
                seed++;
            }
}

static void test_embed(void)
{
    uint64_t seed = 1;
    for (DType dtype : formats)
        for (int layout = 0; layout < 3; layout++)
            for (int add = 0; add < 2; add++) {
                size_t block = dtype_block_elems(dtype), rows = 3, cols = block == 1 ? (layout == 1 ? 37 : 40) : block * 2;
                size_t row_bytes = cols / block * dtype_block_bytes(dtype);
                char name[160];
                snprintf(name, sizeof name, "embed %s, layout %d, add %d", dtype_name(dtype), layout, add);
                operands_what = name;
                rng_seed(&operands_rng, seed, 0);
                emu_seed(seed++);
                std::vector<unsigned char> raw = random_bytes(rows * row_bytes);
                DeviceBytes device(raw.data(), raw.size(), (size_t)layout);
                Operand out(DTYPE_F32, rows, cols, layout == 2 ? 3 : 0, layout == 2, add ? 2 : 0);
                WeightPart table = {raw.data(), dtype, rows, cols, cols, false};
                std::vector<double> want = out.r;
                int32_t ids[] = {0, 1, 2};
                float multiplier = add ? 1.0f : 11.5f;
                if (add)
                    ops_ref.embed_add(nullptr, View{want.data(), DTYPE_F64, rows, cols, cols}, ids, &table);
                else
                    ops_ref.embed(nullptr, View{want.data(), DTYPE_F64, rows, cols, cols}, ids, &table, multiplier);
                cuda_embed(nullptr, out.t, device.data, dtype, row_bytes, multiplier, add);
                /* one product or one sum; what overflows f32 is infinite there */
                int bad = operands_finish();
                for (double &w : want)
                    w = fabs(w) > 3.4e38 ? (double)(float)w : w;
                bad += out.compare(want, [](size_t, size_t, double w) { return 0x1p-24 * fabs(w) * 1.001 + 0x1p-149; });
                CHECK_MSG(bad == 0, "%s", name);
            }
}

static void test_formats_that_are_not_read(void)
{
    CHECK(!cuda_reads(DTYPE_NONE) && !cuda_reads(DTYPE_I32) && !cuda_reads(DTYPE_F64));
    for (int t = DTYPE_NONE; t < DTYPE_COUNT; t++)
        CHECK_MSG(cuda_reads((DType)t) == dtype_is_weight((DType)t), "%s", dtype_name((DType)t));
}

int main(void)
{
    RUN(test_convert);
    RUN(test_convert_transposed);
    RUN(test_embed);
    RUN(test_formats_that_are_not_read);
    return test_finish();
}
