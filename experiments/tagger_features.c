/* tagger_features.c: word looks and feature templates of the part-of-speech tagger; see tagger_features.h.
 *
 * Hash: FNV-1a over bytes, then the finaliser of MurmurHash3 over (template, values); 32 bits. Case folding and shapes are of
 * ASCII only: bytes of 128 and more stand for themselves, curly quotes are read as straight ones. */
#include "experiments/tagger_features.h"

#include <string.h>

enum { MAX_READ = 64 };

static uint32_t mix(uint32_t h)
{
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    h ^= h >> 16;
    return h;
}

static uint32_t hash_bytes(const unsigned char *bytes, size_t n)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * 16777619u;
    return mix(h ^ (uint32_t)n);
}

static bool is_upper(unsigned char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(unsigned char c)
{
    return c >= 'a' && c <= 'z';
}

/* Copies the word with typographic quotes made straight and digits made 0; the middle of very long words is left out. */
static size_t normalise(TaggerWord word, unsigned char *out)
{
    size_t n = 0;
    const unsigned char *s = (const unsigned char *)word.bytes;
    for (size_t i = 0; i < word.n_bytes; i++) {
        if (n == MAX_READ / 2 && word.n_bytes - i > MAX_READ / 2)
            i = word.n_bytes - MAX_READ / 2;
        if (word.n_bytes - i >= 3 && s[i] == 0xe2 && s[i + 1] == 0x80 && s[i + 2] >= 0x98 && s[i + 2] <= 0x9f) {
            out[n++] = s[i + 2] < 0x9c ? '\'' : '"';
            i += 2;
        } else {
            out[n++] = s[i] >= '0' && s[i] <= '9' ? '0' : s[i];
        }
    }
    return n;
}

void tagger_features_look(TaggerWord word, TaggerLook *look)
{
    unsigned char form[MAX_READ + 4], lower[MAX_READ + 4], shape[MAX_READ + 4];
    size_t n = normalise(word, form), n_shape = 0;
    memset(look, 0, sizeof *look);
    bool has_upper = false, has_lower = false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = form[i], kind = c;
        lower[i] = is_upper(c) ? (unsigned char)(c + 32) : c;
        if (is_upper(c)) {
            has_upper = true;
            kind = 'X';
        } else if (is_lower(c)) {
            has_lower = true;
            kind = 'x';
        } else if (c >= 128) {
            kind = 'u';
        }
        if (n_shape < 2 || shape[n_shape - 1] != kind || shape[n_shape - 2] != kind)
            shape[n_shape++] = kind;
    }
    look->form = hash_bytes(form, n);
    look->lower = hash_bytes(lower, n);
    look->shape = hash_bytes(shape, n_shape > 12 ? 12 : n_shape);
    for (size_t k = 1; k <= TAGGER_N_AFFIX; k++) {
        if (k > n)
            break;
        look->prefix[k - 1] = hash_bytes(lower, k);
        look->suffix[k - 1] = hash_bytes(lower + n - k, k);
    }
    look->is_upper_first = n && is_upper(form[0]);
    look->is_all_upper = has_upper && !has_lower;
    look->has_letter = has_upper || has_lower;
}

bool tagger_features_shouting(const TaggerLook *looks, size_t n)
{
    size_t words = 0, capitals = 0;
    for (size_t i = 0; i < n; i++) {
        words += looks[i].has_letter;
        capitals += looks[i].is_upper_first;
    }
    return words > 2 && capitals * 10 >= words * 8;
}

#define ADD1(a) (features[count] = mix((a) ^ mix(++template * 0x9e3779b9u)) | 1u, count++)
#define ADD2(a, b) (features[count] = mix((a) ^ mix((b) + mix(++template * 0x9e3779b9u))) | 1u, count++)

int tagger_features_of(const TaggerLook *looks, size_t n, size_t i, bool is_shouting, uint32_t *features)
{
    static const TaggerLook before = {.form = 1, .lower = 1, .shape = 1, .cluster = 0xfffe};
    static const TaggerLook after = {.form = 2, .lower = 2, .shape = 2, .cluster = 0xffff};
    const TaggerLook *w = &looks[i];
    const TaggerLook *p1 = i >= 1 ? &looks[i - 1] : &before, *p2 = i >= 2 ? &looks[i - 2] : &before;
    const TaggerLook *n1 = n - i > 1 ? &looks[i + 1] : &after, *n2 = n - i > 2 ? &looks[i + 2] : &after;
    const TaggerLook *p3 = i >= 3 ? &looks[i - 3] : &before, *n3 = n - i > 3 ? &looks[i + 3] : &after;
    uint32_t template = 0;
    int count = 0;
    /* What the case tells: 0 nothing, 1 lower, 2 the sentence's first word, 3 a capital inside, 4 all capitals. */
    uint32_t context = is_shouting ? 4u : i == 0 ? 2u : 0u;
    uint32_t letter_case = context * 8 + w->is_upper_first * 1u + w->is_all_upper * 2u + w->has_letter * 4u;
    ADD1(0u);
    ADD1(w->form);
    ADD1(w->lower);
    ADD1(p1->lower);
    ADD1(n1->lower);
    ADD1(p2->lower);
    ADD1(n2->lower);
    ADD2(p1->lower, w->lower);
    ADD2(w->lower, n1->lower);
    ADD2(p1->lower, n1->lower);
    ADD2(p2->lower, p1->lower);
    ADD2(n1->lower, n2->lower);
    ADD2(w->lower, letter_case);
    ADD2(w->shape, context);
    ADD1(w->shape);
    ADD1(p1->shape);
    ADD1(n1->shape);
    ADD2(w->suffix[1], letter_case);
    ADD2(w->suffix[2], letter_case);
    ADD1(letter_case);
    for (int k = 0; k < TAGGER_N_AFFIX; k++)
        ADD1(w->suffix[k]);
    for (int k = 0; k < TAGGER_N_AFFIX; k++)
        ADD1(w->prefix[k]);
    ADD1(p1->suffix[1]);
    ADD1(p1->suffix[2]);
    ADD1(n1->suffix[1]);
    ADD1(n1->suffix[2]);
    ADD2(p1->suffix[2], w->suffix[2]);
    ADD2(w->suffix[2], n1->suffix[2]);
    ADD2(p1->lower, w->suffix[2]);
    ADD2(w->suffix[2], n1->lower);
    ADD1(w->cluster);
    ADD1(p1->cluster);
    ADD1(n1->cluster);
    ADD1(p2->cluster);
    ADD1(n2->cluster);
    ADD1(p3->cluster);
    ADD1(n3->cluster);
    ADD2(p1->cluster, w->cluster);
    ADD2(w->cluster, n1->cluster);
    ADD2(p1->cluster, n1->cluster);
    ADD2(p2->cluster, p1->cluster);
    ADD2(n1->cluster, n2->cluster);
    ADD2(p1->cluster, w->lower);
    ADD2(w->lower, n1->cluster);
    ADD2(p1->cluster, w->suffix[2]);
    ADD2(w->suffix[2], n1->cluster);
    ADD2(w->lower, p2->cluster);
    ADD2(w->lower, n2->cluster);
    ADD2(p1->cluster * 65536u + n1->cluster, w->cluster);
    return count;
}
