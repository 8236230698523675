/* sha256_ni.c: SHA-256's compression with the SHA extensions of x86 (Intel's and AMD's manuals: SHA256RNDS2, SHA256MSG1, SHA256MSG2).
 * Of the eight words of state two registers are made, ABEF and CDGH, as the instructions want them; four registers hold the
 * last sixteen words of the message schedule. */
#include "engine/base/sha256_rounds.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

bool sha256_has_instructions(void)
{
    unsigned a, b, c, d;
    bool ssse3_sse41 = __get_cpuid(1, &a, &b, &c, &d) && (c >> 9 & 1) && (c >> 19 & 1);
    return ssse3_sse41 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
}

__attribute__((target("sha,sse4.1,ssse3"))) void sha256_compress_instructions(uint32_t state[8], const unsigned char *blocks,
                                                                              size_t n_blocks)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef = _mm_set_epi32((int)state[0], (int)state[1], (int)state[4], (int)state[5]);
    __m128i cdgh = _mm_set_epi32((int)state[2], (int)state[3], (int)state[6], (int)state[7]);
    for (; n_blocks > 0; n_blocks--, blocks += 64) {
        __m128i w[4], abef_before = abef, cdgh_before = cdgh;
        for (int i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(blocks + 16 * i)), big_endian);
        for (int i = 0; i < 16; i++) {
            __m128i *next = &w[i & 3], before = w[(i + 3) & 3];
            if (i >= 4) {
                __m128i sum = _mm_sha256msg1_epu32(*next, w[(i + 1) & 3]);
                sum = _mm_add_epi32(sum, _mm_alignr_epi8(before, w[(i + 2) & 3], 4));
                *next = _mm_sha256msg2_epu32(sum, before);
            }
            __m128i k = _mm_loadu_si128((const __m128i *)(const void *)(sha256_constants + 4 * i));
            __m128i message = _mm_add_epi32(*next, k);
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, message);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(message, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    state[0] = (uint32_t)_mm_extract_epi32(abef, 3);
    state[1] = (uint32_t)_mm_extract_epi32(abef, 2);
    state[2] = (uint32_t)_mm_extract_epi32(cdgh, 3);
    state[3] = (uint32_t)_mm_extract_epi32(cdgh, 2);
    state[4] = (uint32_t)_mm_extract_epi32(abef, 1);
    state[5] = (uint32_t)_mm_extract_epi32(abef, 0);
    state[6] = (uint32_t)_mm_extract_epi32(cdgh, 1);
    state[7] = (uint32_t)_mm_extract_epi32(cdgh, 0);
}

#else

bool sha256_has_instructions(void)
{
    return false;
}

void sha256_compress_instructions(uint32_t state[8], const unsigned char *blocks, size_t n_blocks)
{
    sha256_compress_plain(state, blocks, n_blocks);
}

#endif
