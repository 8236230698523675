/* sha256_rounds.h: SHA-256's compression of whole blocks, with one result: in plain C (sha256.c), the same text with BMI2's rotation, which
 * leaves its operand alone (1.3 times as fast), and with the processor's own instructions (sha256_ni.c; five to eight times). */
#ifndef STRATA_BASE_SHA256_ROUNDS_H
#define STRATA_BASE_SHA256_ROUNDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern const uint32_t sha256_constants[64];
void sha256_compress_plain(uint32_t state[8], const unsigned char *blocks, size_t n_blocks);
bool sha256_has_rorx(void); /* these two: false on other processors than x86 */
void sha256_compress_rorx(uint32_t state[8], const unsigned char *blocks, size_t n_blocks);
bool sha256_has_instructions(void);
void sha256_compress_instructions(uint32_t state[8], const unsigned char *blocks, size_t n_blocks);

#endif
