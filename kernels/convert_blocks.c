/* convert_blocks.c: GGUF's block formats to f32. Layouts and formulas are ggml's (ggml-common.h, dequantize_row_* in
 * ggml-quants.c). A block stands for 32 elements, or for 256 in the K formats, which split it further into groups with scales of
 * their own. d, m and dmin are f16 (Q8_K: d is f32), widened first; all arithmetic is f32.
 *
 *   format   block in bytes                                       element
 *   Q4_0     d, 16 nibbles' bytes                                 d (q - 8)
 *   Q4_1     d, m, 16                                             d q + m
 *   Q5_0     d, 4 of high bits, 16                                d (q - 16)
 *   Q5_1     d, m, 4 of high bits, 16                             d q + m
 *   Q8_0     d, 32 int8                                           d q
 *   IQ4_NL   d, 16                                                d code[q]
 *   Q2_K     16 of 4-bit scale and minimum, 64, d, dmin           (d s) q - dmin m         16 groups of 16
 *   Q3_K     32 of high bits, 64, 12 of 6-bit scales, d           (d (s - 32)) (q - 4)     16 groups of 16
 *   Q4_K     d, dmin, 12 of 6-bit scales and minima, 128          (d s) q - dmin m          8 groups of 32
 *   Q5_K     d, dmin, 12, 32 of high bits, 128                    (d s) q - dmin m          8 groups of 32
 *   Q6_K     128 of low, 64 of high bits, 16 int8 scales, d       (d s) (q - 32)           16 groups of 16
 *   Q8_K     d (f32), 256 int8, 16 int16 sums (not needed)        d q
 *   IQ4_XS   d, 2 of high and 4 of low bits of scales, 128        (d (s - 32)) code[q]      8 groups of 32
 *
 * Every product of a scale and codes fits the 24 bits of f32, so that it is exact (subnormal ones aside) and only the last
 * addition of a minimum rounds: no order of the factors and no fusing of multiply and add can change a bit. */
#include <string.h>

#include "kernels/convert.h"

/* The 16 levels of IQ4_NL and IQ4_XS. */
static const float codes[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static inline uint16_t load_u16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t load_u32(const unsigned char *p)
{
    return (uint32_t)load_u16(p) | (uint32_t)load_u16(p + 2) << 16;
}

static inline float load_f16(const unsigned char *p)
{
    return convert_f16_to_f32(load_u16(p));
}

static inline float load_f32(const unsigned char *p)
{
    uint32_t bits = load_u32(p);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void from_q4_0(const unsigned char *p, float *out)
{
    float d = load_f16(p);
    for (int i = 0; i < 16; i++) {
        out[i] = (float)((p[2 + i] & 15) - 8) * d;
        out[i + 16] = (float)((p[2 + i] >> 4) - 8) * d;
    }
}

static void from_q4_1(const unsigned char *p, float *out)
{
    float d = load_f16(p), m = load_f16(p + 2);
    for (int i = 0; i < 16; i++) {
        out[i] = (float)(p[4 + i] & 15) * d + m;
        out[i + 16] = (float)(p[4 + i] >> 4) * d + m;
    }
}

/* Element i of 32 in the 5-bit formats: a nibble of `low`, bit i of `high`. */
static inline int five_bits(const unsigned char *low, uint32_t high, int i)
{
    int nibble = i < 16 ? low[i] & 15 : low[i - 16] >> 4;
    return nibble | (int)(high >> i & 1) << 4;
}

static void from_q5_0(const unsigned char *p, float *out)
{
    float d = load_f16(p);
    for (int i = 0; i < 32; i++)
        out[i] = (float)(five_bits(p + 6, load_u32(p + 2), i) - 16) * d;
}

static void from_q5_1(const unsigned char *p, float *out)
{
    float d = load_f16(p), m = load_f16(p + 2);
    for (int i = 0; i < 32; i++)
        out[i] = (float)five_bits(p + 8, load_u32(p + 4), i) * d + m;
}

static void from_q8_0(const unsigned char *p, float *out)
{
    float d = load_f16(p);
    for (int i = 0; i < 32; i++)
        out[i] = (float)(int8_t)p[2 + i] * d;
}

static void from_iq4_nl(const unsigned char *p, float *out)
{
    float d = load_f16(p);
    for (int i = 0; i < 16; i++) {
        out[i] = d * codes[p[2 + i] & 15];
        out[i + 16] = d * codes[p[2 + i] >> 4];
    }
}

/* 2-bit codes: a byte holds element l of four runs of 32 (two groups of 16 each), two bits a run. */
static void from_q2_k(const unsigned char *p, float *out)
{
    const unsigned char *scales = p, *q = p + 16;
    float d = load_f16(p + 80), dmin = load_f16(p + 82);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, run = i % 128 / 32, group = i / 16;
        int code = q[32 * half + i % 32] >> 2 * run & 3;
        out[i] = d * (float)(scales[group] & 15) * (float)code - dmin * (float)(scales[group] >> 4);
    }
}

/* 6-bit scale of group 0..15: low nibbles in bytes 0..7 (groups 8..15 in their upper halves), two high bits in bytes 8..11. */
static inline int q3_scale(const unsigned char *scales, int group)
{
    int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
    return (low | (scales[8 + group % 4] >> 2 * (group / 4) & 3) << 4) - 32;
}

/* As Q2_K, and a third bit: bit `run of all eight` of the byte in the mask; where it is absent 4 is subtracted. */
static void from_q3_k(const unsigned char *p, float *out)
{
    const unsigned char *mask = p, *q = p + 32, *scales = p + 96;
    float d = load_f16(p + 108);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, run = i % 128 / 32;
        int code = (q[32 * half + i % 32] >> 2 * run & 3) - (mask[i % 32] >> (4 * half + run) & 1 ? 0 : 4);
        out[i] = d * (float)q3_scale(scales, i / 16) * (float)code;
    }
}

/* 6-bit scale and minimum of group 0..7, packed into 12 bytes. */
static inline void k4_scale(const unsigned char *scales, int group, int *scale, int *minimum)
{
    if (group < 4) {
        *scale = scales[group] & 63;
        *minimum = scales[group + 4] & 63;
    } else {
        *scale = (scales[group + 4] & 15) | (scales[group - 4] >> 6) << 4;
        *minimum = scales[group + 4] >> 4 | (scales[group] >> 6) << 4;
    }
}

/* Groups 2j and 2j+1 are the low and the high nibbles of 32 bytes; in Q5_K bit g of high[l] is the fifth bit of group g's element l. */
static void from_k4(const unsigned char *p, const unsigned char *high, const unsigned char *q, float *out)
{
    float d = load_f16(p), dmin = load_f16(p + 2);
    for (int group = 0; group < 8; group++) {
        int s, m;
        k4_scale(p + 4, group, &s, &m);
        float scale = d * (float)s, minimum = dmin * (float)m;
        for (int l = 0; l < 32; l++) {
            int code = q[group / 2 * 32 + l] >> (group % 2 ? 4 : 0) & 15;
            if (high)
                code |= (high[l] >> group & 1) << 4;
            out[32 * group + l] = scale * (float)code - minimum;
        }
    }
}

static void from_q4_k(const unsigned char *p, float *out)
{
    from_k4(p, NULL, p + 16, out);
}

static void from_q5_k(const unsigned char *p, float *out)
{
    from_k4(p, p + 16, p + 48, out);
}

/* Of each 128 elements the first 64 are low nibbles, the others high ones; runs of 32 take two bits each of the high bytes. */
static void from_q6_k(const unsigned char *p, float *out)
{
    float d = load_f16(p + 208);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, run = i % 128 / 32, l = i % 32;
        int low = p[64 * half + 32 * (run % 2) + l] >> (run < 2 ? 0 : 4) & 15;
        int high = p[128 + 32 * half + l] >> 2 * run & 3;
        out[i] = d * (float)(int8_t)p[192 + i / 16] * (float)((low | high << 4) - 32);
    }
}

static void from_q8_k(const unsigned char *p, float *out)
{
    float d = load_f32(p);
    for (int i = 0; i < 256; i++)
        out[i] = d * (float)(int8_t)p[4 + i];
}

static void from_iq4_xs(const unsigned char *p, float *out)
{
    float d = load_f16(p);
    for (int group = 0; group < 8; group++) {
        int low = p[4 + group / 2] >> (group % 2 ? 4 : 0) & 15, high = load_u16(p + 2) >> 2 * group & 3;
        float scale = d * (float)((low | high << 4) - 32);
        const unsigned char *q = p + 8 + 16 * group;
        for (int i = 0; i < 16; i++) {
            out[32 * group + i] = scale * codes[q[i] & 15];
            out[32 * group + i + 16] = scale * codes[q[i] >> 4];
        }
    }
}

/* Where a block's scales lie: f16 at the offsets (-1: none), or one f32. */
typedef struct BlockFormat {
    void (*convert)(const unsigned char *block, float *out);
    int scale, second_scale;
    bool scale_is_f32;
} BlockFormat;

static const BlockFormat formats[DTYPE_COUNT] = {
    [DTYPE_Q4_0] = {from_q4_0, 0, -1, false},     [DTYPE_Q4_1] = {from_q4_1, 0, 2, false},
    [DTYPE_Q5_0] = {from_q5_0, 0, -1, false},     [DTYPE_Q5_1] = {from_q5_1, 0, 2, false},
    [DTYPE_Q8_0] = {from_q8_0, 0, -1, false},     [DTYPE_Q2_K] = {from_q2_k, 80, 82, false},
    [DTYPE_Q3_K] = {from_q3_k, 108, -1, false},   [DTYPE_Q4_K] = {from_q4_k, 0, 2, false},
    [DTYPE_Q5_K] = {from_q5_k, 0, 2, false},      [DTYPE_Q6_K] = {from_q6_k, 208, -1, false},
    [DTYPE_Q8_K] = {from_q8_k, 0, -1, true},      [DTYPE_IQ4_NL] = {from_iq4_nl, 0, -1, false},
    [DTYPE_IQ4_XS] = {from_iq4_xs, 0, -1, false},
};

void convert_blocks_f32(DType dtype, const void *src, size_t n_blocks, float *out)
{
    size_t elems = dtype_block_elems(dtype), bytes = dtype_block_bytes(dtype);
    const unsigned char *p = src;
    if (!formats[dtype].convert) { /* binding admits no such dtype */
        if (n_blocks)
            memset(out, 0, n_blocks * elems * sizeof *out);
        return;
    }
    for (size_t b = 0; b < n_blocks; b++)
        formats[dtype].convert(p + b * bytes, out + b * elems);
}

static bool finite_f16(const unsigned char *p)
{
    return (load_u16(p) & 0x7C00u) != 0x7C00u;
}

bool convert_blocks_finite(DType dtype, const void *src, size_t n_blocks)
{
    const BlockFormat *f = &formats[dtype];
    const unsigned char *p = src;
    for (size_t b = 0; b < n_blocks; b++, p += dtype_block_bytes(dtype)) {
        bool finite = f->scale_is_f32 ? (load_u32(p) & 0x7F800000u) != 0x7F800000u : finite_f16(p + f->scale);
        if (!finite || (f->second_scale >= 0 && !finite_f16(p + f->second_scale)))
            return false;
    }
    return true;
}
