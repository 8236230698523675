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

uint32_t tagger_features_word(TaggerWord word)
{
    unsigned char form[MAX_READ + 4] = {0};
    const size_t n = normalise(word, form);
    return hash_bytes(form, n);
}

static void look_up_cluster(TaggerTable clusters, TaggerLook *look)
{
    const unsigned char *found = tagger_model_find(clusters, TAGGER_CLUSTERS_BYTES, look->form);
    if (!found)
        found = tagger_model_find(clusters, TAGGER_CLUSTERS_BYTES, look->lower);
    look->fine = !found ? look->shape : found[0] == TAGGER_OWN_CLUSTER ? look->lower : found[0];
    look->coarse = !found ? look->shape : found[1] == TAGGER_OWN_CLUSTER ? look->lower : found[1];
}

void tagger_features_look(TaggerWord word, TaggerTable clusters, TaggerLook *look)
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
    look_up_cluster(clusters, look);
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
    static const TaggerLook before = {.form = 1, .lower = 1, .shape = 1, .fine = 1001, .coarse = 1001};
    static const TaggerLook after = {.form = 2, .lower = 2, .shape = 2, .fine = 1002, .coarse = 1002};
    const TaggerLook *w = &looks[i];
    const TaggerLook *p1 = i >= 1 ? &looks[i - 1] : &before, *p2 = i >= 2 ? &looks[i - 2] : &before;
    const TaggerLook *n1 = n - i > 1 ? &looks[i + 1] : &after, *n2 = n - i > 2 ? &looks[i + 2] : &after;
    const TaggerLook *p3 = i >= 3 ? &looks[i - 3] : &before, *n3 = n - i > 3 ? &looks[i + 3] : &after;
    uint32_t template = 0;
    int count = 0;
    /* What the case tells depends on where it stands: a sentence of capitals, its first word, elsewhere. */
    uint32_t context = is_shouting ? 4u : i == 0 ? 2u : 0u;
    uint32_t letter_case = context * 8 + w->is_upper_first * 1u + w->is_all_upper * 2u + w->has_letter * 4u;
    /* The first TAGGER_N_XPOS_SHARED serve for fine tags too. */
    ADD1(w->form);
    ADD1(w->lower);
    ADD2(w->lower, letter_case);
    ADD2(w->shape, context);
    ADD2(w->suffix[1], letter_case);
    ADD2(w->suffix[2], letter_case);
    ADD1(letter_case);
    ADD1(p1->lower);
    ADD1(n1->lower);
    ADD1(p2->lower);
    ADD1(n2->lower);
    ADD2(p1->lower, w->lower);
    ADD2(w->lower, n1->lower);
    for (int k = 0; k < TAGGER_N_AFFIX; k++)
        ADD1(w->suffix[k]);
    ADD1(w->fine);
    ADD1(p1->fine);
    ADD1(n1->fine);
    ADD2(w->fine, letter_case);
    ADD2(p1->coarse, w->suffix[2]);
    ADD2(p1->coarse, p2->coarse);
    ADD2(p1->lower, w->suffix[1]);

    ADD1(0u);
    ADD2(p1->lower, n1->lower);
    ADD2(p2->lower, p1->lower);
    ADD2(n1->lower, n2->lower);
    ADD1(w->shape);
    ADD1(p1->shape);
    ADD1(n1->shape);
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
    ADD1(w->coarse);
    ADD1(p1->coarse);
    ADD1(n1->coarse);
    ADD2(w->coarse, letter_case);
    ADD2(w->fine, w->suffix[2]);
    ADD1(p2->fine);
    ADD1(n2->fine);
    ADD1(p3->coarse);
    ADD1(n3->coarse);
    ADD2(p1->fine, w->fine);
    ADD2(w->fine, n1->fine);
    ADD2(p1->coarse, w->coarse);
    ADD2(w->coarse, n1->coarse);
    ADD2(p1->coarse, n1->coarse);
    ADD2(n1->coarse, n2->coarse);
    ADD2(p1->coarse, w->lower);
    ADD2(w->lower, n1->coarse);
    ADD2(w->suffix[2], n1->coarse);
    ADD2(w->lower, p2->coarse);
    ADD2(w->lower, n2->coarse);
    ADD2(p1->coarse * 65537u + n1->coarse, w->coarse);
    ADD2(p1->coarse * 65537u + p2->coarse, w->coarse);
    ADD2(n1->coarse * 65537u + n2->coarse, w->coarse);
    /* Capitals around: names come in runs. */
    ADD2(p1->is_upper_first * 2u + n1->is_upper_first, letter_case);
    ADD2(p1->is_upper_first * 2u + n1->is_upper_first, w->fine + (letter_case << 9));
    return count;
}

bool tagger_features_is_lexical(int place)
{
    return place < 3 || place == 11 || place == 12;
}

int tagger_features_xpos(const uint32_t *features, int before2, int before, int after, uint32_t *out)
{
    int count = 0;
    uint32_t p2 = (uint32_t)(before2 + 1), p1 = (uint32_t)(before + 1), n1 = (uint32_t)(after + 1);
    const uint32_t lower = features[1], suffix = features[5];
    for (; count < TAGGER_N_XPOS_SHARED; count++)
        out[count] = features[count];
    out[count++] = mix(0x10000u);
    out[count++] = mix(0x20000u + p1);
    out[count++] = mix(0x30000u + n1);
    out[count++] = mix(0x40000u + p1 * 32 + p2);
    out[count++] = mix(0x50000u + p1 * 32 + n1);
    out[count++] = mix(lower + 0x60000u + p1);
    out[count++] = mix(lower + 0x70000u + p1 * 32 + p2);
    out[count++] = mix(suffix + 0x80000u + p1);
    out[count++] = mix(suffix + 0x90000u + p1 * 32 + p2);
    out[count++] = mix(lower + 0xa0000u + n1);
    return count;
}

uint32_t tagger_features_pair(uint32_t feature, uint32_t fine_tag)
{
    return mix(feature + fine_tag * 0x9e3779b9u) | 1u;
}
