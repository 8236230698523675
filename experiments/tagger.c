/* tagger.c: inference of the part-of-speech tagger; see tagger.h, and tagger_model.h for the file.
 *
 * The recursion runs on probabilities scaled to sum 1 at each word (Rabiner 1989), so that no sentence is too long for it. */
#include "experiments/tagger.h"

#include "engine/base/checked.h"
#include "experiments/tagger_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = TAGGER_N_UPOS };

static const char *const upos_names[N] = {"ADJ",  "ADP",  "ADV",   "AUX",   "CCONJ", "DET", "INTJ", "NOUN", "NUM",
                                          "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X"};

struct Tagger {
    TaggerTable weights, clusters, fine;
    const unsigned char *xpos_names;
    uint32_t n_xpos;
    uint32_t xpos_first[N + 1]; /* the fine tags of UPOS t are xpos_first[t] .. xpos_first[t + 1] - 1 */
    double scale;
    double transition[N + 1][N]; /* exponentials of the file's */
};

/* What one word needs in the recursion. */
typedef struct Cell {
    double emit[N], forward[N];
    uint32_t features[TAGGER_N_XPOS_SHARED]; /* those that the fine tag uses too */
} Cell;

const char *tagger_upos_name(int upos)
{
    return upos >= 0 && upos < N ? upos_names[upos] : "X";
}

int tagger_upos_find(const char *name)
{
    for (int t = 0; t < N; t++)
        if (!strcmp(name, upos_names[t]))
            return t;
    return -1;
}

const char *tagger_xpos_name(const Tagger *tagger, int xpos)
{
    return xpos >= 0 && (uint32_t)xpos < tagger->n_xpos ? (const char *)tagger->xpos_names + xpos * TAGGER_XPOS_NAME_BYTES
                                                        : "_";
}

/* The table at *at, which moves on behind it. */
static TaggerTable take_table(const unsigned char **at, uint32_t n_slots, size_t value_bytes)
{
    const TaggerTable table = {*at, *at + 2 * (size_t)n_slots, n_slots};
    *at = table.values + n_slots * value_bytes;
    return table;
}

/* Without an empty slot a search for an absent hash would never end. */
static bool has_empty(TaggerTable table)
{
    for (size_t i = 0; i < table.n_slots; i++)
        if (!table.checks[2 * i] && !table.checks[2 * i + 1])
            return true;
    return table.n_slots == 0;
}

int tagger_open_memory(const void *bytes, size_t n_bytes, const char *name, Tagger **out, Error *e)
{
    TaggerModelHeader header;
    const unsigned char *at = bytes;
    *out = NULL;
    if (n_bytes < sizeof header || memcmp(bytes, "STRTAG2", 8))
        return error_set(e, STATUS_FAILED, "%s: expected a tagger model that begins with STRTAG2", name);
    memcpy(&header, bytes, sizeof header);
    uint64_t need = sizeof header + (uint64_t)header.n_upos_slots * (2 + TAGGER_WEIGHTS_BYTES) +
                    (uint64_t)header.n_cluster_slots * (2 + TAGGER_CLUSTERS_BYTES) +
                    (uint64_t)header.n_xpos * (TAGGER_XPOS_NAME_BYTES + 1) +
                    (uint64_t)header.n_xpos_slots * (2 + TAGGER_FINE_BYTES);
    if (need != n_bytes || header.n_upos_slots == 0 || header.n_xpos > 255)
        return error_set(e, STATUS_FAILED, "%s: expected %llu bytes by its header, found %zu", name, (unsigned long long)need,
                         n_bytes);
    if (!(header.scale > 0) || !(header.scale < 1))
        return error_set(e, STATUS_FAILED, "%s: expected a scale between 0 and 1, found %g", name, (double)header.scale);
    Tagger *tagger = calloc(1, sizeof *tagger);
    if (!tagger)
        return error_set(e, STATUS_FAILED, "%s: out of memory", name);
    at += sizeof header;
    tagger->weights = take_table(&at, header.n_upos_slots, TAGGER_WEIGHTS_BYTES);
    tagger->clusters = take_table(&at, header.n_cluster_slots, TAGGER_CLUSTERS_BYTES);
    tagger->n_xpos = header.n_xpos;
    tagger->xpos_names = at;
    const unsigned char *xpos_upos = at + (size_t)header.n_xpos * TAGGER_XPOS_NAME_BYTES;
    at = xpos_upos + header.n_xpos;
    tagger->fine = take_table(&at, header.n_xpos_slots, TAGGER_FINE_BYTES);
    tagger->scale = (double)header.scale;
    bool is_sound = has_empty(tagger->weights) && has_empty(tagger->clusters) && has_empty(tagger->fine);
    for (uint32_t i = 0; i < header.n_xpos; i++)
        is_sound = is_sound && !tagger->xpos_names[i * TAGGER_XPOS_NAME_BYTES + TAGGER_XPOS_NAME_BYTES - 1] &&
                   xpos_upos[i] < N && (i == 0 || xpos_upos[i] >= xpos_upos[i - 1]);
    for (uint32_t i = 0; i < header.n_xpos && is_sound; i++)
        tagger->xpos_first[xpos_upos[i] + 1] = i + 1;
    for (int t = 0; t < N; t++)
        tagger->xpos_first[t + 1] = tagger->xpos_first[t + 1] ? tagger->xpos_first[t + 1] : tagger->xpos_first[t];
    for (int a = 0; a <= N; a++)
        for (int b = 0; b < N; b++) {
            is_sound = is_sound && fabs((double)header.transition[a][b]) < 50;
            tagger->transition[a][b] = exp((double)header.transition[a][b]);
        }
    if (!is_sound) {
        free(tagger);
        return error_set(e, STATUS_FAILED, "%s: a table of the tagger model is damaged", name);
    }
    *out = tagger;
    return STATUS_OK;
}

int tagger_open(Tagger **out, Error *e)
{
    size_t n_bytes = (size_t)((uintptr_t)tagger_model_end - (uintptr_t)tagger_model_bytes);
    return tagger_open_memory(tagger_model_bytes, n_bytes, "the built-in tagger", out, e);
}

void tagger_close(Tagger *tagger)
{
    free(tagger);
}

static void emissions(const Tagger *tagger, const uint32_t *features, int n_features, double *emit)
{
    int32_t sum[N] = {0};
    for (int f = 0; f < n_features; f++)
        tagger_model_prefetch(tagger->weights, TAGGER_WEIGHTS_BYTES, features[f]);
    for (int f = 0; f < n_features; f++) {
        const signed char *weights = (const signed char *)tagger_model_find(tagger->weights, TAGGER_WEIGHTS_BYTES, features[f]);
        if (weights)
            for (int t = 0; t < N; t++)
                sum[t] += weights[t];
    }
    int32_t most = sum[0];
    for (int t = 1; t < N; t++)
        most = sum[t] > most ? sum[t] : most;
    for (int t = 0; t < N; t++)
        emit[t] = exp(tagger->scale * (sum[t] - most));
}

static void scale_to_one(double *p)
{
    double sum = 0;
    for (int t = 0; t < N; t++)
        sum += p[t];
    for (int t = 0; t < N; t++)
        p[t] /= sum;
}

static void recurse(const Tagger *tagger, Cell *cells, size_t n, TaggerTag *tags)
{
    for (size_t i = 0; i < n; i++) {
        for (int t = 0; t < N; t++)
            cells[i].forward[t] = i ? 0 : tagger->transition[N][t];
        for (int a = 0; i && a < N; a++)
            for (int t = 0; t < N; t++)
                cells[i].forward[t] += cells[i - 1].forward[a] * tagger->transition[a][t];
        for (int t = 0; t < N; t++)
            cells[i].forward[t] *= cells[i].emit[t];
        scale_to_one(cells[i].forward);
    }
    double backward[N];
    for (int t = 0; t < N; t++)
        backward[t] = 1.0 / N;
    for (size_t i = n; i-- > 0;) {
        double p[N];
        for (int t = 0; t < N; t++)
            p[t] = cells[i].forward[t] * backward[t];
        scale_to_one(p);
        int best = 0;
        for (int t = 1; t < N; t++)
            best = p[t] > p[best] ? t : best;
        tags[i] = (TaggerTag){.upos = best, .xpos = -1, .posterior = p[best]};
        double next[N];
        for (int t = 0; t < N; t++)
            next[t] = cells[i].emit[t] * backward[t];
        for (int a = 0; a < N; a++) {
            backward[a] = 0;
            for (int t = 0; t < N; t++)
                backward[a] += tagger->transition[a][t] * next[t];
        }
        scale_to_one(backward);
    }
}

/* The fine tag of each word: of those that go with its coarse tag, the one of the greatest sum of weights. */
static void fine_tags(const Tagger *tagger, const Cell *cells, size_t n, TaggerTag *tags)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t first = tagger->xpos_first[tags[i].upos], end = tagger->xpos_first[tags[i].upos + 1];
        if (first == end)
            continue;
        tags[i].xpos = (int)first;
        if (end - first == 1)
            continue;
        int32_t best = 0;
        uint32_t features[TAGGER_MAX_XPOS_FEATURES];
        int n_features = tagger_features_xpos(cells[i].features, i >= 2 ? tags[i - 2].upos : -1, i >= 1 ? tags[i - 1].upos : -1,
                                              n - i > 1 ? tags[i + 1].upos : -1, features);
        for (uint32_t x = first; x < end; x++) {
            int32_t sum = 0;
            uint32_t hashes[TAGGER_MAX_XPOS_FEATURES];
            for (int f = 0; f < n_features; f++) {
                hashes[f] = tagger_features_pair(features[f], x);
                tagger_model_prefetch(tagger->fine, TAGGER_FINE_BYTES, hashes[f]);
            }
            for (int f = 0; f < n_features; f++) {
                const signed char *weight = (const signed char *)tagger_model_find(tagger->fine, TAGGER_FINE_BYTES, hashes[f]);
                if (weight)
                    sum += *weight;
            }
            if (x == first || sum > best) {
                tags[i].xpos = (int)x;
                best = sum;
            }
        }
    }
}

int tagger_tag(const Tagger *tagger, const TaggerWord *words, size_t n, TaggerTag *tags, Error *e)
{
    size_t bytes;
    if (n == 0)
        return STATUS_OK;
    if (!checked_mul(n, sizeof(Cell), &bytes))
        return error_set(e, STATUS_FAILED, "tagger: %zu words are too many for one sentence", n);
    Cell *cells = malloc(bytes);
    TaggerLook *looks = calloc(n, sizeof *looks);
    int status = STATUS_OK;
    if (!cells || !looks) {
        status = error_set(e, STATUS_FAILED, "tagger: out of memory for a sentence of %zu words", n);
        goto done;
    }
    for (size_t i = 0; i < n; i++)
        tagger_features_look(words[i], tagger->clusters, &looks[i]);
    bool is_shouting = tagger_features_shouting(looks, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t features[TAGGER_MAX_FEATURES];
        int n_features = tagger_features_of(looks, n, i, is_shouting, features);
        emissions(tagger, features, n_features, cells[i].emit);
        memcpy(cells[i].features, features, sizeof cells[i].features);
    }
    recurse(tagger, cells, n, tags);
    fine_tags(tagger, cells, n, tags);
done:
    free(looks);
    free(cells);
    return status;
}
