/* unicode_tables.h: the shapes of the generated tables (tools/make_unicode_tables.py); only unicode.c and unicode_norm.c read
 * them. All are sorted by their first member. */
#ifndef STRATA_LOADERS_UNICODE_TABLES_H
#define STRATA_LOADERS_UNICODE_TABLES_H

#include <stddef.h>
#include <stdint.h>

typedef struct UnicodeRange {
    uint32_t first, last;
} UnicodeRange;

typedef struct UnicodePair {
    uint32_t from, to;
} UnicodePair;

typedef struct UnicodeCombining {
    uint32_t first, last, ccc;
} UnicodeCombining;

typedef struct UnicodeDecomposition {
    uint32_t code_point;
    uint16_t start, len; /* into unicode_table_decomposed; fully expanded */
} UnicodeDecomposition;

typedef struct UnicodeComposition {
    uint32_t first, second, composite;
} UnicodeComposition;

extern const char *const unicode_tables_version;
extern const uint32_t unicode_table_categories[]; /* first code point << 5 | UnicodeCategory, up to the next entry */
extern const UnicodeRange unicode_table_numeric_extra[], unicode_table_word_extra[];
extern const UnicodeRange unicode_table_punctuation[], unicode_table_marks[];
extern const UnicodeRange unicode_table_han[], unicode_table_hiragana[], unicode_table_katakana[], unicode_table_hangul[],
    unicode_table_latin[], unicode_table_greek[], unicode_table_cyrillic[], unicode_table_arabic[], unicode_table_hebrew[],
    unicode_table_thai[], unicode_table_devanagari[];
extern const size_t unicode_table_han_n, unicode_table_hiragana_n, unicode_table_katakana_n, unicode_table_hangul_n,
    unicode_table_latin_n, unicode_table_greek_n, unicode_table_cyrillic_n, unicode_table_arabic_n, unicode_table_hebrew_n,
    unicode_table_thai_n, unicode_table_devanagari_n;
extern const UnicodeRange unicode_table_starter_seconds[]; /* starters that compose with what stands before them */
extern const size_t unicode_table_starter_seconds_n;
extern const UnicodeCombining unicode_table_combining[];
extern const UnicodePair unicode_table_folds[];
extern const UnicodeDecomposition unicode_table_canonical[], unicode_table_compatible[];
extern const uint32_t unicode_table_decomposed[];
extern const UnicodeComposition unicode_table_compositions[];
extern const size_t unicode_table_categories_n, unicode_table_numeric_extra_n, unicode_table_word_extra_n,
    unicode_table_punctuation_n, unicode_table_marks_n, unicode_table_combining_n, unicode_table_folds_n,
    unicode_table_canonical_n, unicode_table_compatible_n, unicode_table_decomposed_n, unicode_table_compositions_n;

#endif
