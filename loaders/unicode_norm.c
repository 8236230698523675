/* unicode_norm.c: the normalization forms NFC, NFD, NFKC, NFKD (UAX #15): full decomposition, canonical ordering, and for the
 * C forms canonical composition; Hangul syllables by arithmetic. Each result keeps how many source characters it stands
 * for, from which byte alignments are made. Cutting a text into pieces is the caller's. */
#include <stdlib.h>
#include <string.h>

#include "loaders/unicode.h"
#include "loaders/unicode_tables.h"

enum {
    HANGUL_S = 0xAC00,
    HANGUL_L = 0x1100,
    HANGUL_V = 0x1161,
    HANGUL_T = 0x11A7,
    HANGUL_N_L = 19,
    HANGUL_N_V = 21,
    HANGUL_N_T = 28,
    HANGUL_N_S = HANGUL_N_L * HANGUL_N_V * HANGUL_N_T,
    LONGEST_DECOMPOSITION = 18 /* U+FDFA under NFKD */
};

static uint32_t combining_class(uint32_t c)
{
    if (c < 0x300)
        return 0;
    size_t low = 0, high = unicode_table_combining_n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (c > unicode_table_combining[mid].last)
            low = mid + 1;
        else if (c < unicode_table_combining[mid].first)
            high = mid;
        else
            return unicode_table_combining[mid].ccc;
    }
    return 0;
}

static const UnicodeDecomposition *find_decomposition(const UnicodeDecomposition *table, size_t n, uint32_t c)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (table[mid].code_point == c)
            return &table[mid];
        if (table[mid].code_point < c)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* Writes the full decomposition, or c itself; returns its length. */
static size_t decompose(UnicodeForm form, uint32_t c, uint32_t out[LONGEST_DECOMPOSITION])
{
    if (c < 0xA0) {
        out[0] = c;
        return 1;
    }
    if (c - HANGUL_S < HANGUL_N_S) {
        uint32_t s = c - HANGUL_S, t = s % HANGUL_N_T;
        out[0] = HANGUL_L + s / (HANGUL_N_V * HANGUL_N_T);
        out[1] = HANGUL_V + s % (HANGUL_N_V * HANGUL_N_T) / HANGUL_N_T;
        out[2] = HANGUL_T + t;
        return t ? 3 : 2;
    }
    const UnicodeDecomposition *d = NULL;
    if (form == UNICODE_NFKC || form == UNICODE_NFKD)
        d = find_decomposition(unicode_table_compatible, unicode_table_compatible_n, c);
    if (!d)
        d = find_decomposition(unicode_table_canonical, unicode_table_canonical_n, c);
    if (!d) {
        out[0] = c;
        return 1;
    }
    memcpy(out, unicode_table_decomposed + d->start, d->len * sizeof *out);
    return d->len;
}

/* The primary composite of a pair, or 0. */
static uint32_t compose(uint32_t a, uint32_t b)
{
    if (a - HANGUL_L < HANGUL_N_L && b - HANGUL_V < HANGUL_N_V)
        return HANGUL_S + ((a - HANGUL_L) * HANGUL_N_V + (b - HANGUL_V)) * HANGUL_N_T;
    if (a - HANGUL_S < HANGUL_N_S && (a - HANGUL_S) % HANGUL_N_T == 0 && b > HANGUL_T && b < HANGUL_T + HANGUL_N_T)
        return a + (b - HANGUL_T);
    size_t low = 0, high = unicode_table_compositions_n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const UnicodeComposition *p = &unicode_table_compositions[mid];
        if (p->first == a && p->second == b)
            return p->composite;
        if (p->first < a || (p->first == a && p->second < b))
            low = mid + 1;
        else
            high = mid;
    }
    return 0;
}

/* For starters only. */
static bool composes_as_second(uint32_t c)
{
    if (c - HANGUL_V < HANGUL_N_V || (c > HANGUL_T && c < HANGUL_T + HANGUL_N_T))
        return true;
    for (size_t i = 0; i < unicode_table_starter_seconds_n && unicode_table_starter_seconds[i].first <= c; i++)
        if (c <= unicode_table_starter_seconds[i].last)
            return true;
    return false;
}

size_t unicode_normalize_bound(size_t n)
{
    return n > SIZE_MAX / LONGEST_DECOMPOSITION ? SIZE_MAX : n * LONGEST_DECOMPOSITION;
}

/* While marks are ordered, n_source holds place << 1 | n_source, which makes the sort stable. */
static int compare_marks(const void *a, const void *b)
{
    const UnicodeChar *x = a, *y = b;
    uint32_t p = combining_class(x->code_point), q = combining_class(y->code_point);
    if (p != q)
        return p < q ? -1 : 1;
    return x->n_source < y->n_source ? -1 : x->n_source > y->n_source;
}

/* Orders out[first, last), all of class > 0, by class. */
static void order_marks(UnicodeChar *out, size_t first, size_t last)
{
    if (last <= first + 1)
        return;
    for (size_t i = first; i < last; i++)
        out[i].n_source |= (uint32_t)(i - first) << 1;
    qsort(out + first, last - first, sizeof *out, compare_marks);
    for (size_t i = first; i < last; i++)
        out[i].n_source &= 1;
}

size_t unicode_normalize(UnicodeForm form, const uint32_t *in, size_t n, UnicodeChar *out, size_t cap)
{
    size_t len = 0, marks = 0; /* marks: where the run of non-starters at the end begins */
    for (size_t i = 0; i < n; i++) {
        uint32_t parts[LONGEST_DECOMPOSITION];
        size_t m = decompose(form, in[i], parts);
        if (cap - len < m)
            return SIZE_MAX;
        for (size_t k = 0; k < m; k++) {
            if (combining_class(parts[k]) == 0) {
                order_marks(out, marks, len);
                marks = len + 1;
            }
            out[len].code_point = parts[k];
            out[len].n_source = k == 0;
            len++;
        }
    }
    order_marks(out, marks, len);
    if (form == UNICODE_NFD || form == UNICODE_NFKD || len == 0)
        return len;

    size_t starter = SIZE_MAX, kept = 0;
    uint32_t last_class = 0;
    for (size_t i = 0; i < len; i++) {
        UnicodeChar x = out[i];
        uint32_t k = combining_class(x.code_point);
        /* Blocked when something of an equal or higher class, or another starter, stands in between. */
        bool adjacent = starter != SIZE_MAX && kept == starter + 1;
        uint32_t composite = 0;
        if (starter != SIZE_MAX && (adjacent || (last_class < k && last_class != 0)))
            composite = compose(out[starter].code_point, x.code_point);
        if (composite) {
            out[starter].code_point = composite;
            out[starter].n_source += x.n_source;
            continue;
        }
        out[kept] = x;
        if (k == 0)
            starter = kept;
        last_class = k;
        kept++;
    }
    return kept;
}

bool unicode_is_boundary(UnicodeForm form, uint32_t c)
{
    if (c < 0xA0)
        return true;
    if (combining_class(c) != 0)
        return false;
    uint32_t parts[LONGEST_DECOMPOSITION];
    size_t n = decompose(form, c, parts);
    if (form == UNICODE_NFD || form == UNICODE_NFKD)
        return n == 1 && parts[0] == c;
    if (composes_as_second(c))
        return false;
    if (n == 1)
        return parts[0] == c;
    /* A composite that is its own normal form: it decomposes and composes back to itself. */
    UnicodeChar back[LONGEST_DECOMPOSITION];
    return unicode_normalize(form, &c, 1, back, LONGEST_DECOMPOSITION) == 1 && back[0].code_point == c &&
           combining_class(parts[0]) == 0 && !composes_as_second(parts[0]);
}
