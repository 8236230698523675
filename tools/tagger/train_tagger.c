/* train_tagger.c: trains the part-of-speech tagger of experiments/tagger.h and writes its model file.
 *
 *     train_tagger TRAIN.conllu[.gz] TEST.conllu[.gz] OUT.tagger [EPOCHS]
 *     train_tagger --eval TEST.conllu[.gz] MODEL.tagger
 *
 * Linear-chain conditional random field; log-likelihood climbed sentence by sentence with AdaGrad (Duchi et al. 2011), features
 * dropped at random (rate 0.2), and the weights averaged over the second half of the epochs. Some sentences are seen in lower
 * case, with title case, or in capitals, so that the tagger does not lean on capitals alone. Then the features of greatest
 * (range of weights x sqrt count) are kept and rounded to 8 bits. One seed, one thread, doubles in fixed order: reproducible. */
#include "experiments/conllu.h"
#include "experiments/tagger.h"
#include "experiments/tagger_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N = TAGGER_N_UPOS, HASH_BITS = 22, MAX_KEPT = 160000, MIN_COUNT = 2 };
static const double rate = 0.1, drop = 0.2, share_recased = 0.06;

typedef struct Sentence {
    size_t n;
    TaggerWord *words;
    int *tags;
} Sentence;

typedef struct Feature {
    uint32_t hash, count;
    float weight[N], squares[N], sum[N];
} Feature;

typedef struct Trainer {
    Sentence *sentences;
    size_t n_sentences, n_features, longest;
    int32_t *slots; /* open addressing: index of a feature, -1 */
    Feature *features;
    double transition[N + 1][N], squares[N + 1][N], sum[N + 1][N];
    uint64_t random;
    double n_sums;
    TaggerLook *looks;
    uint32_t (*hashes)[TAGGER_MAX_FEATURES];
    int *n_hashes;
    double (*emit)[N], (*forward)[N], (*backward)[N], (*posterior)[N];
} Trainer;

static void *allocate(size_t n, size_t bytes)
{
    void *p = calloc(n ? n : 1, bytes);
    if (!p) {
        fprintf(stderr, "train_tagger: out of memory\n");
        exit(1);
    }
    return p;
}

static double uniform(Trainer *t)
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return (double)(t->random >> 11) / 9007199254740992.0;
}

static Sentence *sentences_of(const ConlluFile *file)
{
    Sentence *sentences = allocate(file->n_sentences, sizeof *sentences);
    for (size_t s = 0; s < file->n_sentences; s++) {
        const ConlluSentence *from = &file->sentences[s];
        Sentence *to = &sentences[s];
        to->words = allocate(from->n_words, sizeof *to->words);
        to->tags = allocate(from->n_words, sizeof *to->tags);
        for (size_t i = 0; i < from->n_lines; i++) {
            const ConlluLine *line = &file->lines[from->first_line + i];
            char name[16] = "";
            if (!line->is_word)
                continue;
            ConlluSlice upos = line->columns[CONLLU_UPOS];
            memcpy(name, upos.bytes, upos.n_bytes < 15 ? upos.n_bytes : 15);
            int tag = tagger_upos_find(name);
            to->tags[to->n] = tag < 0 ? N - 1 : tag;
            to->words[to->n++] = (TaggerWord){line->columns[CONLLU_FORM].bytes, line->columns[CONLLU_FORM].n_bytes};
        }
    }
    return sentences;
}

/* The index of a hash; -1 where absent and not to be added. */
static int32_t feature_find(Trainer *t, uint32_t hash, bool add)
{
    uint32_t i = hash >> (32 - HASH_BITS);
    for (; t->slots[i] >= 0; i = (i + 1) & ((1u << HASH_BITS) - 1))
        if (t->features[t->slots[i]].hash == hash)
            return t->slots[i];
    if (!add)
        return -1;
    if (t->n_features == 3u << (HASH_BITS - 2)) {
        fprintf(stderr, "train_tagger: more than %zu features\n", t->n_features);
        exit(1);
    }
    t->features[t->n_features].hash = hash;
    t->slots[i] = (int32_t)t->n_features;
    return (int32_t)t->n_features++;
}

static void recase(const TaggerWord word, int how, char *out)
{
    for (size_t k = 0; k < word.n_bytes; k++) {
        char c = word.bytes[k];
        if (how == 1 && c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        if ((how == 2 || (how == 3 && k == 0)) && c >= 'a' && c <= 'z')
            c = (char)(c - 32);
        out[k] = c;
    }
}

static void extract(Trainer *t, const Sentence *s, int how)
{
    char buffer[4096];
    for (size_t i = 0; i < s->n; i++) {
        TaggerWord word = s->words[i];
        if (how && word.n_bytes <= sizeof buffer) {
            recase(word, how, buffer);
            word.bytes = buffer;
        }
        tagger_features_look(word, &t->looks[i]);
    }
    bool is_shouting = tagger_features_shouting(t->looks, s->n);
    for (size_t i = 0; i < s->n; i++)
        t->n_hashes[i] = tagger_features_of(t->looks, s->n, i, is_shouting, t->hashes[i]);
}

static void scale_to_one(double *p)
{
    double sum = 0;
    for (int a = 0; a < N; a++)
        sum += p[a];
    for (int a = 0; a < N; a++)
        p[a] /= sum;
}

/* Posteriors of tags, and in expected the expected number of each transition, from t->emit (logarithms on entry). */
static void marginals(Trainer *t, size_t n, double expected[N + 1][N])
{
    double step[N + 1][N];
    for (int a = 0; a <= N; a++)
        for (int b = 0; b < N; b++) {
            step[a][b] = exp(t->transition[a][b]);
            expected[a][b] = 0;
        }
    for (size_t i = 0; i < n; i++) {
        double most = t->emit[i][0];
        for (int b = 1; b < N; b++)
            most = fmax(most, t->emit[i][b]);
        for (int b = 0; b < N; b++) {
            double sum = i ? 0 : step[N][b];
            for (int a = 0; i && a < N; a++)
                sum += t->forward[i - 1][a] * step[a][b];
            t->emit[i][b] = exp(t->emit[i][b] - most);
            t->forward[i][b] = sum * t->emit[i][b];
        }
        scale_to_one(t->forward[i]);
    }
    for (size_t i = n; i-- > 0;) {
        for (int a = 0; a < N; a++) {
            double sum = i + 1 == n;
            for (int b = 0; i + 1 < n && b < N; b++)
                sum += step[a][b] * t->emit[i + 1][b] * t->backward[i + 1][b];
            t->backward[i][a] = sum;
        }
        scale_to_one(t->backward[i]);
        for (int a = 0; a < N; a++)
            t->posterior[i][a] = t->forward[i][a] * t->backward[i][a];
        scale_to_one(t->posterior[i]);
    }
    for (int b = 0; b < N; b++)
        expected[N][b] = t->posterior[0][b];
    for (size_t i = 1; i < n; i++) {
        double pair[N][N], sum = 0;
        for (int a = 0; a < N; a++)
            for (int b = 0; b < N; b++)
                sum += pair[a][b] = t->forward[i - 1][a] * step[a][b] * t->emit[i][b] * t->backward[i][b];
        for (int a = 0; a < N; a++)
            for (int b = 0; b < N; b++)
                expected[a][b] += pair[a][b] / sum;
    }
}

/* One AdaGrad step on one sentence; returns its tags' negative log posterior. */
static double learn(Trainer *t, const Sentence *s)
{
    static int32_t used[TAGGER_MAX_FEATURES];
    double expected[N + 1][N], loss = 0;
    for (size_t i = 0; i < s->n; i++) {
        for (int b = 0; b < N; b++)
            t->emit[i][b] = 0;
        for (int f = 0; f < t->n_hashes[i]; f++) {
            int32_t id = feature_find(t, t->hashes[i][f], false);
            if (id < 0 || uniform(t) < drop) {
                t->hashes[i][f] = 0;
                continue;
            }
            for (int b = 0; b < N; b++)
                t->emit[i][b] += (double)t->features[id].weight[b] / (1 - drop);
        }
    }
    marginals(t, s->n, expected);
    for (size_t i = 0; i < s->n; i++) {
        loss -= log(t->posterior[i][s->tags[i]] + 1e-30);
        int n_used = 0;
        for (int f = 0; f < t->n_hashes[i]; f++)
            if (t->hashes[i][f])
                used[n_used++] = feature_find(t, t->hashes[i][f], false);
        for (int f = 0; f < n_used; f++) {
            Feature *feature = &t->features[used[f]];
            for (int b = 0; b < N; b++) {
                float g = (float)(((b == s->tags[i]) - t->posterior[i][b]) / (1 - drop));
                feature->squares[b] += g * g;
                feature->weight[b] += (float)rate * g / sqrtf(feature->squares[b] + 1e-4f);
            }
        }
        expected[i ? s->tags[i - 1] : N][s->tags[i]] -= 1;
    }
    for (int a = 0; a <= N; a++)
        for (int b = 0; b < N; b++) {
            t->squares[a][b] += expected[a][b] * expected[a][b];
            t->transition[a][b] -= rate * expected[a][b] / sqrt(t->squares[a][b] + 1e-4);
        }
    return loss;
}

static double worth(const Feature *f)
{
    double low = (double)f->sum[0], high = low;
    for (int b = 1; b < N; b++) {
        low = fmin(low, (double)f->sum[b]);
        high = fmax(high, (double)f->sum[b]);
    }
    return (high - low) * sqrt((double)f->count);
}

static int by_worth(const void *a, const void *b)
{
    const Feature *x = a, *y = b;
    double wx = worth(x), wy = worth(y);
    return wx > wy ? -1 : wx < wy ? 1 : x->hash < y->hash ? -1 : x->hash > y->hash;
}

static int model_write(Trainer *t, const char *path)
{
    const double scale = 1.0 / 24;
    qsort(t->features, t->n_features, sizeof *t->features, by_worth);
    size_t kept = t->n_features < MAX_KEPT ? t->n_features : MAX_KEPT;
    TaggerModelHeader header = {.magic = "STRTAG1", .scale = (float)scale, .xpos_scale = (float)scale};
    header.n_upos_slots = (uint32_t)(kept + kept / 4 + 1);
    for (int a = 0; a <= N; a++)
        for (int b = 0; b < N; b++)
            header.transition[a][b] = (float)(t->sum[a][b] / t->n_sums);
    unsigned char *slots = allocate(header.n_upos_slots, TAGGER_SLOT_BYTES);
    for (size_t k = 0; k < kept; k++) {
        const Feature *f = &t->features[k];
        uint16_t check = tagger_model_check(f->hash);
        uint32_t i = tagger_model_slot(f->hash, header.n_upos_slots);
        while (slots[i * TAGGER_SLOT_BYTES] || slots[i * TAGGER_SLOT_BYTES + 1])
            i = i + 1 == header.n_upos_slots ? 0 : i + 1;
        unsigned char *slot = slots + i * TAGGER_SLOT_BYTES;
        slot[0] = (unsigned char)(check & 255);
        slot[1] = (unsigned char)(check >> 8);
        for (int b = 0; b < N; b++)
            slot[2 + b] = (unsigned char)(signed char)lrint(fmax(-127, fmin(127, (double)f->sum[b] / t->n_sums / scale)));
    }
    FILE *out = fopen(path, "wb");
    bool ok = out && fwrite(&header, sizeof header, 1, out) == 1 &&
              fwrite(slots, TAGGER_SLOT_BYTES, header.n_upos_slots, out) == header.n_upos_slots;
    ok = out && fclose(out) == 0 && ok;
    free(slots);
    if (!ok)
        fprintf(stderr, "train_tagger: %s: cannot be written\n", path);
    else
        printf("%s: %zu of %zu features\n", path, kept, t->n_features);
    return ok ? 0 : 1;
}

static int train(const char *corpus, const char *path, int epochs)
{
    Error e;
    ConlluFile file;
    Trainer t = {.random = 88172645463325252ull};
    if (conllu_read(corpus, &file, &e)) {
        fprintf(stderr, "train_tagger: %s\n", e.text);
        return 1;
    }
    t.sentences = sentences_of(&file);
    t.n_sentences = file.n_sentences;
    for (size_t s = 0; s < t.n_sentences; s++)
        t.longest = t.sentences[s].n > t.longest ? t.sentences[s].n : t.longest;
    t.looks = allocate(t.longest, sizeof *t.looks);
    t.hashes = allocate(t.longest, sizeof *t.hashes);
    t.n_hashes = allocate(t.longest, sizeof *t.n_hashes);
    t.emit = allocate(t.longest, sizeof *t.emit);
    t.forward = allocate(t.longest, sizeof *t.forward);
    t.backward = allocate(t.longest, sizeof *t.backward);
    t.posterior = allocate(t.longest, sizeof *t.posterior);
    t.slots = allocate(1u << HASH_BITS, sizeof *t.slots);
    t.features = allocate(3u << (HASH_BITS - 2), sizeof *t.features);
    memset(t.slots, 255, sizeof *t.slots << HASH_BITS);
    for (size_t s = 0; s < t.n_sentences; s++) {
        extract(&t, &t.sentences[s], 0);
        for (size_t i = 0; i < t.sentences[s].n; i++)
            for (int f = 0; f < t.n_hashes[i]; f++)
                t.features[feature_find(&t, t.hashes[i][f], true)].count++;
    }
    size_t kept = 0;
    for (size_t k = 0, n = t.n_features; k < n; k++)
        if (t.features[k].count >= MIN_COUNT)
            t.features[kept++] = t.features[k];
    memset(t.slots, 255, sizeof *t.slots << HASH_BITS);
    t.n_features = 0;
    for (size_t k = 0; k < kept; k++)
        feature_find(&t, t.features[k].hash, true);
    size_t *order = allocate(t.n_sentences, sizeof *order);
    for (size_t s = 0; s < t.n_sentences; s++)
        order[s] = s;
    for (int epoch = 0; epoch < epochs; epoch++) {
        double loss = 0;
        for (size_t k = t.n_sentences; k-- > 1;) {
            size_t j = (size_t)(uniform(&t) * (double)(k + 1)), kept_order = order[k];
            order[k] = order[j];
            order[j] = kept_order;
        }
        for (size_t k = 0; k < t.n_sentences; k++) {
            const Sentence *s = &t.sentences[order[k]];
            double r = uniform(&t);
            if (s->n == 0)
                continue;
            extract(&t, s, r < share_recased ? 1 : r < share_recased * 1.5 ? 3 : r < share_recased * 2 ? 2 : 0);
            loss += learn(&t, s);
        }
        if (epoch >= epochs / 2) {
            t.n_sums++;
            for (size_t k = 0; k < t.n_features; k++)
                for (int b = 0; b < N; b++)
                    t.features[k].sum[b] += t.features[k].weight[b];
            for (int a = 0; a <= N; a++)
                for (int b = 0; b < N; b++)
                    t.sum[a][b] += t.transition[a][b];
        }
        printf("epoch %d: %.4f nats a word\n", epoch + 1, loss / (double)file.n_words);
        fflush(stdout);
    }
    return model_write(&t, path);
}

static int evaluate(const char *corpus, const char *path)
{
    Error e;
    ConlluFile file;
    Tagger *tagger;
    FILE *in = fopen(path, "rb");
    static unsigned char model[1 << 25];
    size_t n_bytes = in ? fread(model, 1, sizeof model, in) : 0;
    if (in)
        fclose(in);
    if (conllu_read(corpus, &file, &e) || tagger_open_memory(model, n_bytes, path, &tagger, &e)) {
        fprintf(stderr, "train_tagger: %s\n", e.text);
        return 1;
    }
    Sentence *sentences = sentences_of(&file);
    size_t right = 0, total = 0;
    clock_t begin = clock();
    for (size_t s = 0; s < file.n_sentences; s++) {
        TaggerTag *tags = allocate(sentences[s].n, sizeof *tags);
        if (tagger_tag(tagger, sentences[s].words, sentences[s].n, tags, &e)) {
            fprintf(stderr, "train_tagger: %s\n", e.text);
            return 1;
        }
        for (size_t i = 0; i < sentences[s].n; i++)
            right += tags[i].upos == sentences[s].tags[i];
        total += sentences[s].n;
        free(tags);
    }
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    printf("%s: UPOS %.3f %% of %zu words, %.0f words/s\n", corpus, 100.0 * (double)right / (double)total, total,
           (double)total / seconds);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "--eval"))
        return evaluate(argv[2], argv[3]);
    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: train_tagger TRAIN.conllu TEST.conllu OUT.tagger [EPOCHS] | "
                        "train_tagger --eval TEST.conllu MODEL.tagger\n");
        return 2;
    }
    int status = train(argv[1], argv[3], argc == 5 ? atoi(argv[4]) : 4);
    return status ? status : evaluate(argv[2], argv[3]);
}
