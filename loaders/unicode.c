/* unicode.c: look-ups in the generated tables: categories, white space, case folding. Normalization is unicode_norm.c's. */
#include "loaders/unicode.h"

#include <string.h>
#include <strings.h>

#include "loaders/unicode_tables.h"

static const char category_names[UNICODE_N_CATEGORIES][3] = {"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd",
                                                             "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
                                                             "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};

UnicodeCategory unicode_category(uint32_t c)
{
    if (c >= UNICODE_LIMIT)
        return UNICODE_CN;
    size_t low = 0, high = unicode_table_categories_n;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (unicode_table_categories[mid] >> 5 <= c)
            low = mid;
        else
            high = mid;
    }
    return (UnicodeCategory)(unicode_table_categories[low] & 31);
}

bool unicode_category_runs(bool (*each)(uint32_t first, uint32_t last, UnicodeCategory k, void *arg), void *arg)
{
    for (size_t i = 0; i < unicode_table_categories_n; i++) {
        uint32_t first = unicode_table_categories[i] >> 5;
        uint32_t next = i + 1 < unicode_table_categories_n ? unicode_table_categories[i + 1] >> 5 : UNICODE_LIMIT;
        if (!each(first, next - 1, (UnicodeCategory)(unicode_table_categories[i] & 31), arg))
            return false;
    }
    return true;
}

static char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

uint32_t unicode_category_mask(const char *name, size_t len)
{
    uint32_t mask = 0;
    if (len == 1 || len == 2)
        for (int k = 0; k < UNICODE_N_CATEGORIES; k++)
            if (ascii_lower(category_names[k][0]) == ascii_lower(name[0]) &&
                (len == 1 || category_names[k][1] == ascii_lower(name[1])))
                mask |= 1u << k;
    return mask;
}

static bool in_ranges(const UnicodeRange *ranges, size_t n, uint32_t c)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (c > ranges[mid].last)
            low = mid + 1;
        else if (c < ranges[mid].first)
            high = mid;
        else
            return true;
    }
    return false;
}

bool unicode_is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= 9 && c <= 13);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

bool unicode_is_word(uint32_t c)
{
    const uint32_t mask = 1u << UNICODE_LU | 1u << UNICODE_LL | 1u << UNICODE_LT | 1u << UNICODE_LM | 1u << UNICODE_LO |
                          1u << UNICODE_MN | 1u << UNICODE_MC | 1u << UNICODE_ME | 1u << UNICODE_ND | 1u << UNICODE_NL |
                          1u << UNICODE_PC;
    return (mask >> unicode_category(c) & 1) || in_ranges(unicode_table_word_extra, unicode_table_word_extra_n, c);
}

size_t unicode_word_extra(size_t i, uint32_t *first, uint32_t *last)
{
    if (i >= unicode_table_word_extra_n)
        return 0;
    *first = unicode_table_word_extra[i].first;
    *last = unicode_table_word_extra[i].last;
    return 1;
}

bool unicode_is_numeric(uint32_t c)
{
    if (c < 0x80)
        return c >= '0' && c <= '9';
    UnicodeCategory k = unicode_category(c);
    return k == UNICODE_ND || k == UNICODE_NL || k == UNICODE_NO ||
           in_ranges(unicode_table_numeric_extra, unicode_table_numeric_extra_n, c);
}

bool unicode_is_punctuation(uint32_t c)
{
    return in_ranges(unicode_table_punctuation, unicode_table_punctuation_n, c);
}

bool unicode_is_mark(uint32_t c)
{
    return c >= 0x300 && in_ranges(unicode_table_marks, unicode_table_marks_n, c);
}

uint32_t unicode_fold(uint32_t c)
{
    size_t low = 0, high = unicode_table_folds_n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (unicode_table_folds[mid].from == c)
            return unicode_table_folds[mid].to;
        if (unicode_table_folds[mid].from < c)
            low = mid + 1;
        else
            high = mid;
    }
    return c;
}

size_t unicode_fold_class(uint32_t c, uint32_t *out, size_t cap)
{
    uint32_t folded = unicode_fold(c);
    size_t n = 0;
    if (folded != c) {
        if (n < cap)
            out[n] = folded;
        n++;
    }
    for (size_t i = 0; i < unicode_table_folds_n; i++)
        if (unicode_table_folds[i].to == folded && unicode_table_folds[i].from != c) {
            if (n < cap)
                out[n] = unicode_table_folds[i].from;
            n++;
        }
    return n;
}

int unicode_script_range(const char *name, size_t len, size_t i, uint32_t *first, uint32_t *last)
{
    const struct {
        const char *name;
        const UnicodeRange *ranges;
        size_t n;
    } scripts[] = {
        {"Han", unicode_table_han, unicode_table_han_n},
        {"Hiragana", unicode_table_hiragana, unicode_table_hiragana_n},
        {"Katakana", unicode_table_katakana, unicode_table_katakana_n},
        {"Hangul", unicode_table_hangul, unicode_table_hangul_n},
        {"Latin", unicode_table_latin, unicode_table_latin_n},
        {"Greek", unicode_table_greek, unicode_table_greek_n},
        {"Cyrillic", unicode_table_cyrillic, unicode_table_cyrillic_n},
        {"Arabic", unicode_table_arabic, unicode_table_arabic_n},
        {"Hebrew", unicode_table_hebrew, unicode_table_hebrew_n},
        {"Thai", unicode_table_thai, unicode_table_thai_n},
        {"Devanagari", unicode_table_devanagari, unicode_table_devanagari_n},
    };
    for (size_t s = 0; s < sizeof scripts / sizeof *scripts; s++)
        if (strlen(scripts[s].name) == len && strncasecmp(scripts[s].name, name, len) == 0) {
            if (i >= scripts[s].n)
                return 0;
            *first = scripts[s].ranges[i].first;
            *last = scripts[s].ranges[i].last;
            return 1;
        }
    return -1;
}
