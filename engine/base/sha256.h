/* sha256.h: SHA-256 (FIPS 180-4), for fingerprints of files and rows. */
#ifndef STRATA_BASE_SHA256_H
#define STRATA_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct Sha256 {
    uint32_t state[8];
    uint64_t n_bytes;
    unsigned char block[64];
    void (*compress)(uint32_t state[8], const unsigned char *blocks,
                     size_t n_blocks); /* chosen once a hash: asking the processor is slow */
} Sha256;

void sha256_begin(Sha256 *s);
void sha256_update(Sha256 *s, const void *data, size_t bytes);
void sha256_end(Sha256 *s, char hex[65]);

#endif
