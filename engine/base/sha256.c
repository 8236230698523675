/* sha256.c: SHA-256 (FIPS 180-4, sections 4.1.2, 5 and 6.2). */
#include "engine/base/sha256.h"

#include <string.h>

#include "engine/base/sha256_rounds.h"

/* First 32 bits of the fractional parts of the cube roots of the first 64 primes. */
const uint32_t sha256_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t rotate_right(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static inline uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The word that follows 16 others, in a ring of them: its place held the one of 16 rounds ago. */
static inline uint32_t next_word(const uint32_t w[16], int i)
{
    uint32_t x = w[(i + 1) & 15], y = w[(i + 14) & 15];
    uint32_t s0 = rotate_right(x, 7) ^ rotate_right(x, 18) ^ x >> 3;
    uint32_t s1 = rotate_right(y, 17) ^ rotate_right(y, 19) ^ y >> 10;
    return w[i] + s0 + w[(i + 9) & 15] + s1;
}

/* A round: the variables keep their places, their names move on by one from call to call. */
#define ROUND(a, b, c, d, e, f, g, h, word) \
    h += (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25)) + (g ^ (e & (f ^ g))) + (word); \
    d += h; \
    h += (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22)) + ((a & b) | (c & (a | b)));
#define EIGHT_ROUNDS(WORD, i) \
    ROUND(a, b, c, d, e, f, g, h, WORD(i)) \
    ROUND(h, a, b, c, d, e, f, g, WORD((i) + 1)) \
    ROUND(g, h, a, b, c, d, e, f, WORD((i) + 2)) \
    ROUND(f, g, h, a, b, c, d, e, WORD((i) + 3)) \
    ROUND(e, f, g, h, a, b, c, d, WORD((i) + 4)) \
    ROUND(d, e, f, g, h, a, b, c, WORD((i) + 5)) \
    ROUND(c, d, e, f, g, h, a, b, WORD((i) + 6)) \
    ROUND(b, c, d, e, f, g, h, a, WORD((i) + 7))
#define GIVEN(i) (w[i] = big_endian(p + 4 * (i))) + sha256_constants[i]
#define MADE(i) (w[i] = next_word(w, i)) + sha256_constants[k + (i)]

static inline __attribute__((always_inline)) void compress_blocks(uint32_t state[8], const unsigned char *p, size_t n_blocks)
{
    for (; n_blocks > 0; n_blocks--, p += 64) {
        uint32_t w[16], a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        EIGHT_ROUNDS(GIVEN, 0)
        EIGHT_ROUNDS(GIVEN, 8)
        for (int k = 16; k < 64; k += 16) {
            EIGHT_ROUNDS(MADE, 0)
            EIGHT_ROUNDS(MADE, 8)
        }
        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
        state[4] += e;
        state[5] += f;
        state[6] += g;
        state[7] += h;
    }
}

void sha256_compress_plain(uint32_t state[8], const unsigned char *p, size_t n_blocks)
{
    compress_blocks(state, p, n_blocks);
}

#if defined(__x86_64__)
bool sha256_has_rorx(void)
{
    return __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

__attribute__((target("bmi,bmi2"))) void sha256_compress_rorx(uint32_t state[8], const unsigned char *p, size_t n_blocks)
{
    compress_blocks(state, p, n_blocks);
}
#else
bool sha256_has_rorx(void)
{
    return false;
}

void sha256_compress_rorx(uint32_t state[8], const unsigned char *p, size_t n_blocks)
{
    sha256_compress_plain(state, p, n_blocks);
}
#endif

void sha256_begin(Sha256 *s)
{
    *s = (Sha256){.compress = sha256_has_instructions() ? sha256_compress_instructions
                              : sha256_has_rorx()       ? sha256_compress_rorx
                                                        : sha256_compress_plain,
                  .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_update(Sha256 *s, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    if (bytes == 0)
        return;
    size_t held = (size_t)(s->n_bytes % 64);
    s->n_bytes += bytes;
    if (held > 0) {
        size_t take = 64 - held < bytes ? 64 - held : bytes;
        memcpy(s->block + held, p, take);
        p += take;
        bytes -= take;
        if (held + take < 64)
            return;
        s->compress(s->state, s->block, 1);
    }
    s->compress(s->state, p, bytes / 64);
    if (bytes % 64)
        memcpy(s->block, p + bytes / 64 * 64, bytes % 64);
}

void sha256_end(Sha256 *s, char hex[65])
{
    static const unsigned char padding[64] = {0x80};
    static const char digits[] = "0123456789abcdef";
    uint64_t n_bits = 8 * s->n_bytes;
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(n_bits >> (56 - 8 * i));
    size_t held = (size_t)(s->n_bytes % 64);
    sha256_update(s, padding, held < 56 ? 56 - held : 120 - held);
    sha256_update(s, length, sizeof length);
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < 8; k++)
            hex[8 * i + k] = digits[s->state[i] >> (28 - 4 * k) & 15];
    }
    hex[64] = '\0';
}
