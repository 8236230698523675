/* unicode.h: properties of code points and the normalization forms, as the Hugging Face tokenizers library sees them: general
 * categories, white space and case folding of Unicode 16.0; decompositions, compositions and combining classes of Unicode 11
 * (tools/make_unicode_tables.py says how that was measured). Normalization follows UAX #15. */
#ifndef STRATA_LOADERS_UNICODE_H
#define STRATA_LOADERS_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum UnicodeCategory {
    UNICODE_CN,
    UNICODE_LU,
    UNICODE_LL,
    UNICODE_LT,
    UNICODE_LM,
    UNICODE_LO,
    UNICODE_MN,
    UNICODE_MC,
    UNICODE_ME,
    UNICODE_ND,
    UNICODE_NL,
    UNICODE_NO,
    UNICODE_PC,
    UNICODE_PD,
    UNICODE_PS,
    UNICODE_PE,
    UNICODE_PI,
    UNICODE_PF,
    UNICODE_PO,
    UNICODE_SM,
    UNICODE_SC,
    UNICODE_SK,
    UNICODE_SO,
    UNICODE_ZS,
    UNICODE_ZL,
    UNICODE_ZP,
    UNICODE_CC,
    UNICODE_CF,
    UNICODE_CS,
    UNICODE_CO,
    UNICODE_N_CATEGORIES
} UnicodeCategory;

enum { UNICODE_LIMIT = 0x110000 };

UnicodeCategory unicode_category(uint32_t c);
/* Calls each(first, last, category, arg) for every run of one category, in order; stops at false. */
bool unicode_category_runs(bool (*each)(uint32_t first, uint32_t last, UnicodeCategory k, void *arg), void *arg);
/* Two letters name a category, one letter a group ("L"); a bit per UnicodeCategory, 0 when unknown. Case is free. */
uint32_t unicode_category_mask(const char *name, size_t len);

bool unicode_is_space(uint32_t c);       /* White_Space */
bool unicode_is_word(uint32_t c);        /* \w of the regex engine */
bool unicode_is_numeric(uint32_t c);     /* N* as the Digits pre-tokenizer sees it */
bool unicode_is_punctuation(uint32_t c); /* as the Punctuation pre-tokenizer sees it */
bool unicode_is_mark(uint32_t c);        /* as StripAccents sees it */
uint32_t unicode_fold(uint32_t c);       /* simple case folding */
/* Every c' != c with unicode_fold(c') == unicode_fold(c); returns how many (at most cap are written). */
size_t unicode_fold_class(uint32_t c, uint32_t *out, size_t cap);

/* Extra members of \w, besides L, M, Nd, Nl, Pc. */
size_t unicode_word_extra(size_t i, uint32_t *first, uint32_t *last); /* 0 when i is past the end */

/* Range i of a script ("Han"; the common ones are there): 1, 0 past the end, -1 for an unknown script. Case is free. */
int unicode_script_range(const char *name, size_t len, size_t i, uint32_t *first, uint32_t *last);

typedef enum UnicodeForm { UNICODE_NFC, UNICODE_NFD, UNICODE_NFKC, UNICODE_NFKD } UnicodeForm;

/* A character of a normalized text and how many characters of the source it stands for (0 for an inserted one); over a whole
 * text the counts sum up to the source's characters, in order. */
typedef struct UnicodeChar {
    uint32_t code_point;
    uint32_t n_source;
} UnicodeChar;

/* Normalizes n characters in place where they fit: out has room for cap entries; returns the length, or SIZE_MAX when cap is
 * too small (unicode_normalize_bound is always enough). in and out must not overlap. */
size_t unicode_normalize(UnicodeForm form, const uint32_t *in, size_t n, UnicodeChar *out, size_t cap);
size_t unicode_normalize_bound(size_t n);
/* True when c starts a piece that can be normalized by itself: nothing before it can combine with it, and it does not change
 * under the form. */
bool unicode_is_boundary(UnicodeForm form, uint32_t c);

#endif
