/* train_tagger.c: trains the part-of-speech tagger of experiments/tagger.h and writes its model file.
 *
 *     train_tagger TRAIN.conllu TEST.conllu CLUSTERS OUT.tagger [EPOCHS]
 *     train_tagger --eval TEST.conllu MODEL.tagger
 *
 * Files may be gzipped. CLUSTERS holds lines of word, fine and coarse cluster (make_clusters.py). Nothing is learnt from TEST:
 * it measures the outcome.
 *
 * UPOS: linear-chain conditional random field; log-likelihood climbed sentence by sentence with AdaGrad (Duchi et al. 2011), with
 * features dropped at random (rate 0.4) and one word in ten seen without its form, and the weights averaged over the second half
 * of the epochs. Some sentences are seen in lower case, with title case, or in capitals, so that the tagger does not lean on
 * capitals alone. Then the features of greatest (range of weights x sqrt count) are kept and rounded to 8 bits. XPOS: multinomial logistic regression over the pairs (UPOS,
 * XPOS) that share the word's UPOS, learnt in the same way from the gold UPOS around it.
 * One seed, one thread, doubles in fixed order: reproducible. */
#include "engine/base/file.h"
#include "experiments/tagger.h"
#include "experiments/tagger_model.h"
#include "tools/tagger/train_corpus.h"
#include "tools/tagger/train_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N = TAGGER_N_UPOS, HASH_BITS = 23, MAX_KEPT = 160000, MIN_COUNT = 2 };
enum { FINE_BITS = 23, MAX_FINE_KEPT = 180000, MIN_PAIR_COUNT = 3 };
static const double rate = 0.1, drop = 0.4, hide_word = 0.1, share_recased = 0.06;

/* One weight of the fine tags: of a feature for a pair. */
typedef struct FineWeight {
    uint32_t hash; /* tagger_features_pair; 0: an empty slot */
    float weight, squares, sum;
} FineWeight;

typedef struct Feature {
    uint32_t hash, count;
    float weight[N], squares[N], sum[N];
} Feature;

typedef struct Trainer {
    TrainSentence *sentences;
    size_t n_sentences, n_features, longest;
    int32_t *slots; /* open addressing: index of a feature, -1 */
    Feature *features;
    double transition[N + 1][N], squares[N + 1][N], sum[N + 1][N];
    uint64_t random;
    double n_sums;
    TaggerTable clusters;
    TrainPair pairs[TRAIN_MAX_PAIRS];
    int n_pairs;
    FineWeight *fine; /* open addressing */
    size_t n_fine;
    TaggerLook *looks;
    uint32_t (*hashes)[TAGGER_MAX_FEATURES];
    int *n_hashes;
    double (*emit)[N], (*forward)[N], (*backward)[N], (*posterior)[N];
} Trainer;

static double uniform(Trainer *t)
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return (double)(t->random >> 11) / 9007199254740992.0;
}

/* Leaves out the rare pairs and puts the rest in the order of UPOS. */
static void pairs_prune(Trainer *t)
{
    TrainPair sorted[TRAIN_MAX_PAIRS] = {0};
    int renamed[TRAIN_MAX_PAIRS] = {0}, kept = 0;
    for (int upos = 0; upos < N; upos++)
        for (int k = 0; k < t->n_pairs; k++) {
            if (t->pairs[k].upos != upos)
                continue;
            renamed[k] = t->pairs[k].count >= MIN_PAIR_COUNT ? kept : -1;
            if (renamed[k] >= 0)
                sorted[kept++] = t->pairs[k];
        }
    memcpy(t->pairs, sorted, (size_t)kept * sizeof *sorted);
    t->n_pairs = kept;
    for (size_t s = 0; s < t->n_sentences; s++)
        for (size_t i = 0; i < t->sentences[s].n; i++)
            t->sentences[s].pairs[i] = t->sentences[s].pairs[i] < 0 ? -1 : renamed[t->sentences[s].pairs[i]];
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

static void extract(Trainer *t, const TrainSentence *s, int how)
{
    char buffer[4096];
    for (size_t i = 0; i < s->n; i++) {
        TaggerWord word = s->words[i];
        if (how && word.n_bytes <= sizeof buffer) {
            recase(word, how, buffer);
            word.bytes = buffer;
        }
        tagger_features_look(word, t->clusters, &t->looks[i]);
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
static double learn(Trainer *t, const TrainSentence *s)
{
    static int32_t used[TAGGER_MAX_FEATURES];
    double expected[N + 1][N], loss = 0;
    for (size_t i = 0; i < s->n; i++) {
        for (int b = 0; b < N; b++)
            t->emit[i][b] = 0;
        bool is_hidden = uniform(t) < hide_word;
        for (int f = 0; f < t->n_hashes[i]; f++) {
            int32_t id = feature_find(t, t->hashes[i][f], false);
            if (id < 0 || uniform(t) < drop || (is_hidden && tagger_features_is_lexical(f))) {
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

static FineWeight *fine_find(const Trainer *t, uint32_t hash)
{
    uint32_t i = hash >> (32 - FINE_BITS);
    while (t->fine[i].hash && t->fine[i].hash != hash)
        i = (i + 1) & ((1u << FINE_BITS) - 1);
    return &t->fine[i];
}

/* One AdaGrad step on the fine tag of a word: `truth` among the pairs that share its UPOS. */
static void fine_learn(Trainer *t, const uint32_t *features, int n_features, int truth)
{
    double p[TRAIN_MAX_PAIRS], most = -1e300, sum = 0;
    const int upos = t->pairs[truth].upos;
    for (int k = 0; k < t->n_pairs; k++) {
        if (t->pairs[k].upos != upos)
            continue;
        p[k] = 0;
        for (int f = 0; f < n_features; f++)
            p[k] += (double)fine_find(t, tagger_features_pair(features[f], (uint32_t)k))->weight / (1 - drop);
        most = fmax(most, p[k]);
    }
    for (int k = 0; k < t->n_pairs; k++)
        if (t->pairs[k].upos == upos)
            sum += p[k] = exp(p[k] - most);
    for (int k = 0; k < t->n_pairs; k++) {
        if (t->pairs[k].upos != upos)
            continue;
        float g = (float)(((k == truth) - p[k] / sum) / (1 - drop));
        for (int f = 0; f < n_features; f++) {
            uint32_t hash = tagger_features_pair(features[f], (uint32_t)k);
            FineWeight *w = fine_find(t, hash);
            if (!w->hash) {
                /* What hardly moves is not worth a place. */
                if (fabsf(g) < 0.02f || t->n_fine == 3u << (FINE_BITS - 2))
                    continue;
                w->hash = hash;
                t->n_fine++;
            }
            w->squares += g * g;
            w->weight += (float)rate * g / sqrtf(w->squares + 1e-4f);
        }
    }
}

static void fine_train(Trainer *t, int epochs)
{
    t->fine = train_allocate((size_t)1 << FINE_BITS, sizeof *t->fine);
    for (int epoch = 0; epoch < epochs; epoch++) {
        for (size_t s = 0; s < t->n_sentences; s++) {
            const TrainSentence *sentence = &t->sentences[s];
            extract(t, sentence, 0);
            for (size_t i = 0; i < sentence->n; i++) {
                uint32_t features[TAGGER_MAX_XPOS_FEATURES];
                if (sentence->pairs[i] < 0)
                    continue;
                int n =
                    tagger_features_xpos(t->hashes[i], i >= 2 ? sentence->tags[i - 2] : -1, i >= 1 ? sentence->tags[i - 1] : -1,
                                         sentence->n - i > 1 ? sentence->tags[i + 1] : -1, features);
                int kept = 0;
                for (int f = 0; f < n; f++)
                    if (uniform(t) >= drop)
                        features[kept++] = features[f];
                fine_learn(t, features, kept, sentence->pairs[i]);
            }
        }
        if (epoch >= epochs / 2)
            for (size_t k = 0; k < (size_t)1 << FINE_BITS; k++)
                t->fine[k].sum += t->fine[k].weight / (float)(epochs - epochs / 2);
    }
}

static int by_size(const void *a, const void *b)
{
    const FineWeight *x = a, *y = b;
    float wx = fabsf(x->sum), wy = fabsf(y->sum);
    return wx > wy ? -1 : wx < wy ? 1 : x->hash < y->hash ? -1 : x->hash > y->hash;
}

static signed char rounded(double weight)
{
    return (signed char)lrint(fmax(-127, fmin(127, weight)));
}

static int model_write(Trainer *t, const char *path)
{
    const double scale = 1.0 / 24;
    qsort(t->features, t->n_features, sizeof *t->features, by_worth);
    qsort(t->fine, (size_t)1 << FINE_BITS, sizeof *t->fine, by_size);
    size_t kept = t->n_features < MAX_KEPT ? t->n_features : MAX_KEPT;
    size_t kept_fine = t->n_fine < MAX_FINE_KEPT ? t->n_fine : MAX_FINE_KEPT;
    TaggerModelHeader header = {.magic = "STRTAG2", .scale = (float)scale};
    TaggerTable weights = train_table_make(kept, 0.75, TAGGER_WEIGHTS_BYTES),
                fine = train_table_make(kept_fine, 0.5, TAGGER_FINE_BYTES);
    header.n_upos_slots = weights.n_slots;
    header.n_cluster_slots = t->clusters.n_slots;
    header.n_xpos = (uint32_t)t->n_pairs;
    header.n_xpos_slots = fine.n_slots;
    for (int a = 0; a <= N; a++)
        for (int b = 0; b < N; b++)
            header.transition[a][b] = (float)(t->sum[a][b] / t->n_sums);
    for (size_t k = 0; k < kept; k++) {
        unsigned char *to = train_table_add(weights, TAGGER_WEIGHTS_BYTES, t->features[k].hash);
        for (int b = 0; b < N; b++)
            to[b] = (unsigned char)rounded((double)t->features[k].sum[b] / t->n_sums / scale);
    }
    for (size_t k = 0; k < kept_fine; k++)
        *train_table_add(fine, TAGGER_FINE_BYTES, t->fine[k].hash) = (unsigned char)rounded((double)t->fine[k].sum / scale);
    FILE *out = fopen(path, "wb");
    bool ok = out && fwrite(&header, sizeof header, 1, out) == 1 && train_table_write(weights, TAGGER_WEIGHTS_BYTES, out) &&
              train_table_write(t->clusters, TAGGER_CLUSTERS_BYTES, out);
    for (int k = 0; k < t->n_pairs && ok; k++)
        ok = fwrite(t->pairs[k].xpos, TAGGER_XPOS_NAME_BYTES, 1, out) == 1;
    for (int k = 0; k < t->n_pairs && ok; k++)
        ok = fputc(t->pairs[k].upos, out) != EOF;
    ok = ok && train_table_write(fine, TAGGER_FINE_BYTES, out);
    ok = out && fclose(out) == 0 && ok;
    if (!ok)
        fprintf(stderr, "train_tagger: %s: cannot be written\n", path);
    else
        printf("%s: %zu of %zu features, %d pairs of tags, %zu of %zu weights for them\n", path, kept, t->n_features,
               t->n_pairs, kept_fine, t->n_fine);
    return ok ? 0 : 1;
}

static int train(const char *corpus, const char *clusters, const char *path, int epochs)
{
    Error e;
    ConlluFile file;
    Trainer t = {.random = 88172645463325252ull};
    if (conllu_read(corpus, &file, &e) || train_clusters_read(clusters, &t.clusters, &e)) {
        fprintf(stderr, "train_tagger: %s\n", e.text);
        return 1;
    }
    t.sentences = train_sentences(&file, t.pairs, &t.n_pairs, true);
    t.n_sentences = file.n_sentences;
    pairs_prune(&t);
    for (size_t s = 0; s < t.n_sentences; s++)
        t.longest = t.sentences[s].n > t.longest ? t.sentences[s].n : t.longest;
    t.looks = train_allocate(t.longest, sizeof *t.looks);
    t.hashes = train_allocate(t.longest, sizeof *t.hashes);
    t.n_hashes = train_allocate(t.longest, sizeof *t.n_hashes);
    t.emit = train_allocate(t.longest, sizeof *t.emit);
    t.forward = train_allocate(t.longest, sizeof *t.forward);
    t.backward = train_allocate(t.longest, sizeof *t.backward);
    t.posterior = train_allocate(t.longest, sizeof *t.posterior);
    t.slots = train_allocate(1u << HASH_BITS, sizeof *t.slots);
    t.features = train_allocate(3u << (HASH_BITS - 2), sizeof *t.features);
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
    size_t *order = train_allocate(t.n_sentences, sizeof *order);
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
            const TrainSentence *s = &t.sentences[order[k]];
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
    fine_train(&t, epochs);
    return model_write(&t, path);
}

/* Measures a model: accuracies, share right where the posterior is high, speed, F1 of each tag. */
static int evaluate(const char *corpus, const char *path)
{
    Error e;
    ConlluFile file;
    Tagger *tagger;
    TrainPair pairs[TRAIN_MAX_PAIRS];
    int n_pairs = 0;
    StrBuf model = {0};
    if (file_read(path, 1 << 25, &model, &e) || conllu_read(corpus, &file, &e) ||
        tagger_open_memory(model.data, model.len, path, &tagger, &e)) {
        fprintf(stderr, "train_tagger: %s\n", e.text);
        return 1;
    }
    TrainSentence *sentences = train_sentences(&file, pairs, &n_pairs, true);
    TaggerTag **tags = train_allocate(file.n_sentences, sizeof *tags);
    clock_t begin = clock();
    for (size_t s = 0; s < file.n_sentences; s++) {
        tags[s] = train_allocate(sentences[s].n, sizeof *tags[s]);
        if (tagger_tag(tagger, sentences[s].words, sentences[s].n, tags[s], &e)) {
            fprintf(stderr, "train_tagger: %s\n", e.text);
            return 1;
        }
    }
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    size_t right[N] = {0}, gold[N] = {0}, given[N] = {0}, n_right = 0, n_fine_right = 0, n_sure = 0, n_sure_right = 0;
    for (size_t s = 0; s < file.n_sentences; s++)
        for (size_t i = 0; i < sentences[s].n; i++) {
            const TaggerTag *tag = &tags[s][i];
            int truth = sentences[s].tags[i], pair = sentences[s].pairs[i];
            gold[truth]++;
            given[tag->upos]++;
            right[truth] += tag->upos == truth;
            n_right += tag->upos == truth;
            n_sure += tag->posterior >= 0.9;
            n_sure_right += tag->posterior >= 0.9 && tag->upos == truth;
            n_fine_right += pair >= 0 && !strcmp(tagger_xpos_name(tagger, tag->xpos), pairs[pair].xpos);
        }
    double n = (double)file.n_words;
    printf("%s: UPOS %.2f %%, XPOS %.2f %% of %zu words; of the %.1f %% with posterior >= 0.9, %.2f %% right; %.0f words/s\n",
           corpus, 100 * (double)n_right / n, 100 * (double)n_fine_right / n, file.n_words, 100 * (double)n_sure / n,
           100 * (double)n_sure_right / (double)n_sure, n / seconds);
    for (int b = 0; b < N; b++)
        printf("%s %.1f%s", tagger_upos_name(b), 200.0 * (double)right[b] / (double)(gold[b] + given[b] + !gold[b]),
               b + 1 < N ? ", " : "\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "--eval"))
        return evaluate(argv[2], argv[3]);
    if (argc < 5 || argc > 6) {
        fprintf(stderr, "usage: train_tagger TRAIN.conllu TEST.conllu CLUSTERS OUT.tagger [EPOCHS] | "
                        "train_tagger --eval TEST.conllu MODEL.tagger\n");
        return 2;
    }
    int status = train(argv[1], argv[3], argv[4], argc == 6 ? atoi(argv[5]) : 6);
    return status ? status : evaluate(argv[2], argv[4]);
}
