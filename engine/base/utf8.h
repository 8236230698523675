/* utf8.h: UTF-8 as Unicode 15 defines it (no surrogates, no overlong forms, at most U+10FFFF). */
#ifndef STRATA_BASE_UTF8_H
#define STRATA_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes one code point at s (len >= 1 bytes left). Returns its length in bytes, 1 to 4, or 0 when the bytes are invalid. */
size_t utf8_decode(const char *s, size_t len, uint32_t *code_point);
size_t utf8_encode(uint32_t code_point, char out[4]); /* bytes written, 0 for surrogates and above U+10FFFF */
/* True when all of s is valid; else *bad is the offset of the first invalid byte. */
bool utf8_valid(const char *s, size_t len, size_t *bad);

#endif
