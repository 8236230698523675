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
    const unsigned char *slots, *clusters, *xpos_names, *xpos_upos, *xpos_slots;
    uint32_t n_slots, n_clusters, n_xpos, n_xpos_slots;
    double scale;
    double transition[N + 1][N]; /* exponentials of the file's */
};

/* What one word needs in the recursion. */
typedef struct Cell {
    double emit[N], forward[N];
} Cell;

const char *tagger_upos_name(int upos)
{
    return upos >= 0 && upos < N ? upos_names[upos] : "X";
}

double tagger_f1(const Tagger *tagger, int upos)
{
    static const double f1[N] = {0.923, 0.963, 0.931, 0.987, 0.993, 0.994, 0.902, 0.925, 0.972,
                                 0.988, 0.989, 0.883, 0.995, 0.872, 0.874, 0.961, 0.475};
    (void)tagger;
    return upos >= 0 && upos < N ? f1[upos] : 0;
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

/* Slots must leave an empty one, or a search for an absent feature would never end. */
static bool has_empty(const unsigned char *slots, uint32_t n, size_t slot_bytes)
{
    for (uint32_t i = 0; i < n; i++)
        if (!slots[i * slot_bytes] && !slots[i * slot_bytes + 1])
            return true;
    return n == 0;
}

int tagger_open_memory(const void *bytes, size_t n_bytes, const char *name, Tagger **out, Error *e)
{
    TaggerModelHeader header;
    const unsigned char *at = bytes;
    *out = NULL;
    if (n_bytes < sizeof header || memcmp(bytes, "STRTAG1", 8))
        return error_set(e, STATUS_FAILED, "%s: expected a tagger model that begins with STRTAG1", name);
    memcpy(&header, bytes, sizeof header);
    uint64_t need = sizeof header + (uint64_t)header.n_upos_slots * TAGGER_SLOT_BYTES +
                    (uint64_t)header.n_cluster_slots * TAGGER_CLUSTER_SLOT_BYTES +
                    (uint64_t)header.n_xpos * (TAGGER_XPOS_NAME_BYTES + 1) +
                    (uint64_t)header.n_xpos_slots * TAGGER_XPOS_SLOT_BYTES;
    if (need != n_bytes || header.n_upos_slots == 0 || header.n_xpos > 255)
        return error_set(e, STATUS_FAILED, "%s: expected %llu bytes by its header, found %zu", name, (unsigned long long)need,
                         n_bytes);
    if (!(header.scale > 0) || !(header.scale < 1))
        return error_set(e, STATUS_FAILED, "%s: expected a scale between 0 and 1, found %g", name, (double)header.scale);
    Tagger *tagger = calloc(1, sizeof *tagger);
    if (!tagger)
        return error_set(e, STATUS_FAILED, "%s: out of memory", name);
    tagger->slots = at + sizeof header;
    tagger->n_slots = header.n_upos_slots;
    tagger->clusters = tagger->slots + (size_t)header.n_upos_slots * TAGGER_SLOT_BYTES;
    tagger->n_clusters = header.n_cluster_slots;
    tagger->xpos_names = tagger->clusters + (size_t)header.n_cluster_slots * TAGGER_CLUSTER_SLOT_BYTES;
    tagger->n_xpos = header.n_xpos;
    tagger->xpos_upos = tagger->xpos_names + (size_t)header.n_xpos * TAGGER_XPOS_NAME_BYTES;
    tagger->xpos_slots = tagger->xpos_upos + header.n_xpos;
    tagger->n_xpos_slots = header.n_xpos_slots;
    tagger->scale = header.scale;
    bool is_sound = has_empty(tagger->slots, tagger->n_slots, TAGGER_SLOT_BYTES) &&
                    has_empty(tagger->clusters, tagger->n_clusters, TAGGER_CLUSTER_SLOT_BYTES) &&
                    has_empty(tagger->xpos_slots, tagger->n_xpos_slots, TAGGER_XPOS_SLOT_BYTES);
    for (uint32_t i = 0; i < header.n_xpos; i++)
        is_sound = is_sound && !tagger->xpos_names[i * TAGGER_XPOS_NAME_BYTES + TAGGER_XPOS_NAME_BYTES - 1];
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

/* The slot of a hash, or NULL. */
static const unsigned char *find(const unsigned char *slots, uint32_t n_slots, size_t slot_bytes, uint32_t hash)
{
    if (n_slots == 0)
        return NULL;
    uint32_t i = tagger_model_slot(hash, n_slots);
    uint16_t check = tagger_model_check(hash);
    for (;;) {
        const unsigned char *slot = slots + i * slot_bytes;
        uint16_t found = (uint16_t)(slot[0] | slot[1] << 8);
        if (found == check)
            return slot;
        if (found == 0)
            return NULL;
        i = i + 1 == n_slots ? 0 : i + 1;
    }
}

static void emissions(const Tagger *tagger, const uint32_t *features, int n_features, double *emit)
{
    int32_t sum[N] = {0};
    for (int f = 0; f < n_features; f++) {
        const unsigned char *slot = find(tagger->slots, tagger->n_slots, TAGGER_SLOT_BYTES, features[f]);
        if (slot)
            for (int t = 0; t < N; t++)
                sum[t] += (signed char)slot[2 + t];
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
    for (size_t i = 0; i < n; i++) {
        tagger_features_look(words[i], &looks[i]);
        const unsigned char *slot = find(tagger->clusters, tagger->n_clusters, TAGGER_CLUSTER_SLOT_BYTES, looks[i].lower);
        looks[i].cluster = slot ? slot[2] : 0;
    }
    bool is_shouting = tagger_features_shouting(looks, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t features[TAGGER_MAX_FEATURES];
        int n_features = tagger_features_of(looks, n, i, is_shouting, features);
        emissions(tagger, features, n_features, cells[i].emit);
    }
    recurse(tagger, cells, n, tags);
done:
    free(looks);
    free(cells);
    return status;
}
