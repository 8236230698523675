/* diff_control.c: the matched swap of each pair: in the good sentence, the edited token gives way to another one that is
 *   - of the same part of speech in that place (UPOS by the tagger, as the token it replaces), or edited somewhere in the category;
 *   - written alike: a leading space or not, letters only, capital or not;
 *   - as frequent as the token that the pair puts there: floor(log2(1 + occurrences in the held-out corpus)) differs by 1 at most;
 *   - as far from the replaced token: 1 - cosine of their embeddings lies in the same decile of the distances of all words written
 *     alike, and of those the 20 nearest to the pair's own distance are kept (a decile is wide: its middle lies farther than most
 *     pairs, and farther swaps would make every pair look stable);
 *   - at the same position of the same sentence.
 * Fewer than 20 such tokens: the pair has no control, and takes no part in what is claimed. Draws: PCG64 (seed + pair, stream 23):
 * one of the 20.
 *
 * What is left of a mismatch. Word forms (is/was) lie nearer to each other than any 20 words do to them: no random swap is that small, and
 * a regression would have to reach beyond its data. So the control is bounded instead of guessed. With d and d_c the distances of the pair
 * and its control, and x the control's difference, a swap at distance d would make one between x and x d / d_c, if differences neither
 * fall with the distance nor grow faster than in proportion to it. Ratios are against x min(1, d / d_c), too large at worst; the
 * least ratio is against x max(1, d / d_c); the truth lies between (partial identification: Manski 2003). At the embedding the
 * norm of a difference grows with about the root of 1 - cosine. Behind it, in SmolLM2-135M, nine swaps in each of 237 sentences
 * give powers of 0.56 to 0.76 at the edited token over all distances, and in no layer, position or category more than 0.98: near 1
 * for verb forms and adjectives (tests/data/diff_stats/elasticity.txt; tools/control_elasticity.py measures another model). In
 * single dimensions differences may grow faster, in 1 or 2 of 100 by more than a tenth over that range, so where a category's control
 * lies more than 5 % farther on average, no single dimension is claimed (diff_claims.c). far.txt beside it: what the bound claims when
 * the power is known.
 * Rejected: two random tokens at the pair's distance in place of both sides: words that near are mostly forms of one word, so the control
 * would be made of the errors it is to be compared with, in a sentence that fits neither. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/rng.h"
#include "experiments/diff.h"
#include "experiments/tagger.h"
#include "experiments/word_split.h"
#include "kernels/convert.h"

enum { CONTROL_STREAM = 23, LEAST = 20, N_DECILES = 10, MOST_TRIES = 600, PIECE_BYTES = 64 };

/* How a token is written. */
typedef struct Spelling {
    bool is_word, has_space, is_capital;
} Spelling;

typedef struct Near {
    float off; /* |distance - the pair's| */
    int32_t id;
} Near;

typedef struct Chooser {
    Diff *s;
    DiffCategory *c;
    Tagger *tagger;
    size_t vocab, d;
    Spelling *spelling;           /* [V] */
    int8_t *frequency;            /* [V]: floor(log2(1 + occurrences)) */
    uint8_t *in_pool;             /* [V]: edited somewhere in the category */
    float *row, *other;           /* [D] */
    double decile[N_DECILES + 1]; /* of the distances from the base token at hand to the words written alike */
    double *distance;             /* [n_pairs]: of base and other token */
    float *sorted;                /* [V] */
    float *from_base;             /* [V]: distances from the base token at hand */
    int32_t *candidates, *order;  /* order: pairs by base token */
    Near *near;                   /* [V] */
    size_t n_matched;
    TaggerWord *words;
    TaggerTag *tags;
    size_t cap_words;
    StrBuf text;
} Chooser;

static Spelling spell(const Tokenizer *t, int32_t id)
{
    char bytes[PIECE_BYTES];
    size_t n = tokenizer_token_bytes(t, id, bytes, sizeof bytes);
    Spelling s = {0};
    if (n == 0 || n > sizeof bytes || tokenizer_is_special(t, id))
        return s;
    s.has_space = bytes[0] == ' ';
    size_t first = s.has_space;
    s.is_capital = first < n && bytes[first] >= 'A' && bytes[first] <= 'Z';
    s.is_word = first < n;
    for (size_t i = first; i < n; i++) {
        bool small = bytes[i] >= 'a' && bytes[i] <= 'z', capital = bytes[i] >= 'A' && bytes[i] <= 'Z';
        s.is_word = s.is_word && (small || (capital && i == first));
    }
    return s;
}

static const WeightPart *embedding(const Chooser *k)
{
    return &k->s->bench.model.bindings.role[ROLE_EMBED].parts[0];
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static double distance(const Chooser *k, int32_t id) /* from k->row */
{
    convert_row_f32(embedding(k), (size_t)id, k->other);
    double norm = sqrt(dot(k->other, k->other, k->d)) * sqrt(dot(k->row, k->row, k->d));
    return norm > 0 ? 1 - dot(k->row, k->other, k->d) / norm : NAN;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void measure_pairs(Chooser *k)
{
    const DiffCategory *c = k->c;
    for (size_t i = 0; i < c->n_pairs; i++) {
        const Pair *p = diff_pair(k->s, c, i);
        convert_row_f32(embedding(k), (size_t)diff_base_token(p), k->row);
        k->distance[i] = distance(k, diff_other_token(p));
        k->in_pool[diff_base_token(p)] = k->in_pool[diff_other_token(p)] = 1;
    }
}

/* The decile's bounds around x; nothing lies outside the first and the last. */
static void decile_of(const Chooser *k, double x, double *lo, double *hi)
{
    size_t q = 0;
    while (q + 1 < N_DECILES && x > k->decile[q + 1])
        q++;
    *lo = q == 0 ? -INFINITY : k->decile[q];
    *hi = q + 1 == N_DECILES ? INFINITY : k->decile[q + 1];
}

/* UPOS of the word that holds byte `at` of the text. */
static int tag_at(Chooser *k, const char *text, size_t len, size_t at, int *out, Error *e)
{
    WordList list = {0};
    int status = word_split(text, len, &list, e);
    *out = -1;
    if (!status && list.n_words > k->cap_words) {
        size_t cap = 2 * list.n_words;
        free(k->words);
        free(k->tags);
        k->words = malloc(cap * sizeof *k->words);
        k->tags = malloc(cap * sizeof *k->tags);
        k->cap_words = k->words && k->tags ? cap : 0;
        if (!k->cap_words)
            status = error_set(e, STATUS_FAILED, "diff: out of memory for tags");
    }
    size_t which = SIZE_MAX;
    for (size_t i = 0; !status && i < list.n_words; i++) {
        k->words[i] = (TaggerWord){.bytes = text + list.words[i].begin, .n_bytes = list.words[i].end - list.words[i].begin};
        if (list.words[i].begin <= at && at < list.words[i].end)
            which = i;
    }
    if (!status && which != SIZE_MAX) {
        status = tagger_tag(k->tagger, k->words, list.n_words, k->tags, e);
        if (!status)
            *out = k->tags[which].upos;
    }
    word_split_free(&list);
    return status;
}

/* The sentence with `token` in the edit's place, and the byte where its word begins. */
static void put_text(Chooser *k, const Pair *p, int32_t token, size_t *at)
{
    const int32_t *ids = diff_base_ids(p);
    strbuf_reset(&k->text);
    for (size_t i = 0; i < p->n_ids; i++) {
        char bytes[PIECE_BYTES];
        int32_t id = i == p->edit_index ? token : ids[i];
        size_t n = tokenizer_token_bytes(k->s->bench.tokenizer, id, bytes, sizeof bytes);
        n = n < sizeof bytes ? n : sizeof bytes;
        if (i == p->edit_index)
            *at = k->text.len + (n > 1 && bytes[0] == ' ');
        strbuf_append(&k->text, bytes, n);
    }
}

static int tag_of(Chooser *k, const Pair *p, int32_t token, int *out, Error *e)
{
    size_t at = 0;
    put_text(k, p, token, &at);
    if (k->text.failed)
        return error_set(e, STATUS_FAILED, "diff: out of memory for a sentence");
    return tag_at(k, k->text.data, k->text.len, at, out, e);
}

/* Candidates by spelling, frequency and distance. */
static size_t list_candidates(Chooser *k, size_t i)
{
    const Pair *p = diff_pair(k->s, k->c, i);
    int32_t base = diff_base_token(p), other = diff_other_token(p);
    const Spelling *like = k->spelling ? &k->spelling[base] : NULL;
    int bin = k->frequency[other];
    double lo, hi;
    size_t n = 0;
    if (isnan(k->distance[i]))
        return 0;
    decile_of(k, k->distance[i], &lo, &hi);
    for (size_t v = 0; v < k->vocab; v++) {
        int32_t id = (int32_t)v;
        if (id == base || id == other || isnan(k->from_base[v]))
            continue;
        const Spelling *s = like ? &k->spelling[v] : NULL;
        if (s && (!s->is_word || s->has_space != like->has_space || s->is_capital != like->is_capital))
            continue;
        if (!s && !k->in_pool[v])
            continue;
        if (abs(k->frequency[v] - bin) > 1 || !((double)k->from_base[v] >= lo && (double)k->from_base[v] <= hi))
            continue;
        k->candidates[n++] = id;
    }
    return n;
}

static int by_off(const void *a, const void *b)
{
    const Near *x = a, *y = b;
    return x->off != y->off ? (x->off > y->off) - (x->off < y->off) : (x->id > y->id) - (x->id < y->id);
}

/* The candidates, nearest to the pair's distance first. */
static void sort_candidates(Chooser *k, size_t i, size_t n)
{
    for (size_t j = 0; j < n; j++)
        k->near[j] = (Near){.off = fabsf(k->from_base[k->candidates[j]] - (float)k->distance[i]), .id = k->candidates[j]};
    qsort(k->near, n, sizeof *k->near, by_off);
    for (size_t j = 0; j < n; j++)
        k->candidates[j] = k->near[j].id;
}

static int choose_one(Chooser *k, size_t i, Rng *rng, Error *e)
{
    const Pair *p = diff_pair(k->s, k->c, i);
    size_t n = list_candidates(k, i), found = 0;
    int tag = -1, status = STATUS_OK;
    int32_t kept[LEAST];
    sort_candidates(k, i, n);
    if (n >= LEAST && k->tagger)
        status = tag_of(k, p, diff_base_token(p), &tag, e);
    for (size_t j = 0; !status && n >= LEAST && j < n && j < MOST_TRIES && found < LEAST; j++) {
        int other = -1;
        if (!k->in_pool[k->candidates[j]] && k->tagger)
            status = tag_of(k, p, k->candidates[j], &other, e);
        if (!k->in_pool[k->candidates[j]] && (other < 0 || other != tag))
            continue;
        kept[found++] = k->candidates[j];
    }
    k->c->n_candidates[i] = (uint16_t)found;
    if (status || found < LEAST)
        return status;
    k->c->control[i] = kept[rng_below(rng, LEAST)];
    k->n_matched++;
    k->c->pair_distance += k->distance[i];
    k->c->control_distance += (double)k->from_base[k->c->control[i]];
    double far = (double)k->from_base[k->c->control[i]];
    k->c->nearness[i] = far > 0 ? k->distance[i] / far : 1;
    return status;
}

typedef struct Distances {
    const Chooser *k;
    const uint8_t *wanted; /* [V] */
    double base_norm;
} Distances;

enum { VOCAB_STEP = 256 };

static void measure_some(void *arg, size_t task, int thread)
{
    const Distances *m = arg;
    const Chooser *k = m->k;
    size_t end = (task + 1) * VOCAB_STEP < k->vocab ? (task + 1) * VOCAB_STEP : k->vocab;
    (void)thread;
    float *row = malloc(k->d * sizeof *row);
    for (size_t v = task * VOCAB_STEP; v < end; v++) {
        k->from_base[v] = NAN;
        if (!row || !m->wanted[v])
            continue;
        convert_row_f32(embedding(k), v, row);
        double norm = sqrt(dot(row, row, k->d)) * m->base_norm;
        if (norm > 0)
            k->from_base[v] = (float)(1 - dot(k->row, row, k->d) / norm);
    }
    free(row);
}

/* Distances from the base token to every word of the vocabulary. */
static void measure_vocabulary(Chooser *k, int32_t base, uint8_t *wanted)
{
    for (size_t v = 0; v < k->vocab; v++)
        wanted[v] = k->spelling ? k->spelling[v].is_word && k->spelling[v].has_space == k->spelling[base].has_space &&
                                      k->spelling[v].is_capital == k->spelling[base].is_capital
                                : k->in_pool[v];
    convert_row_f32(embedding(k), (size_t)base, k->row);
    Distances m = {.k = k, .wanted = wanted, .base_norm = sqrt(dot(k->row, k->row, k->d))};
    pool_run(k->s->bench.session.pool, measure_some, &m, (k->vocab + VOCAB_STEP - 1) / VOCAB_STEP);
    size_t n = 0;
    for (size_t v = 0; v < k->vocab; v++)
        if (!isnan(k->from_base[v]) && (int32_t)v != base)
            k->sorted[n++] = k->from_base[v];
    qsort(k->sorted, n, sizeof *k->sorted, by_value);
    for (size_t q = 0; q <= N_DECILES; q++)
        k->decile[q] = n ? (double)k->sorted[(n - 1) * q / N_DECILES] : NAN;
}

static const Chooser *sorting; /* qsort has no context argument */

static int by_base(const void *a, const void *b)
{
    size_t i = (size_t) * (const int32_t *)a, j = (size_t) * (const int32_t *)b;
    int32_t x = diff_base_token(diff_pair(sorting->s, sorting->c, i)),
            y = diff_base_token(diff_pair(sorting->s, sorting->c, j));
    return x != y ? (x > y) - (x < y) : (i > j) - (i < j);
}

static int choose_all(Chooser *k, Error *e)
{
    int status = STATUS_OK;
    int32_t last = -1;
    uint8_t *wanted = malloc(k->vocab);
    if (!wanted)
        return error_set(e, STATUS_FAILED, "diff: out of memory for controls");
    for (size_t i = 0; i < k->c->n_pairs; i++)
        k->order[i] = (int32_t)i;
    sorting = k;
    qsort(k->order, k->c->n_pairs, sizeof *k->order, by_base);
    for (size_t j = 0; !status && j < k->c->n_pairs; j++) {
        size_t i = (size_t)k->order[j];
        int32_t base = diff_base_token(diff_pair(k->s, k->c, i));
        Rng rng; /* of the pair, so that neighbours change nothing */
        rng_seed(&rng, k->s->bench.common->seed + i, CONTROL_STREAM);
        if (base != last)
            measure_vocabulary(k, last = base, wanted);
        status = choose_one(k, i, &rng, e);
        if (!status && workbench_stopped(&k->s->bench))
            status = error_set(e, STATUS_INTERRUPTED, "interrupted");
    }
    free(wanted);
    return status;
}

int diff_control_choose(Diff *s, DiffCategory *c, Error *e)
{
    Chooser k = {.s = s, .c = c, .vocab = s->bench.model.traits.vocab, .d = traits_embed_width(&s->bench.model.traits)};
    size_t n_words = s->bench.tokenizer ? tokenizer_vocab(s->bench.tokenizer) : 0;
    int status = STATUS_OK;
    k.spelling = s->bench.tokenizer ? calloc(k.vocab, sizeof *k.spelling) : NULL;
    k.in_pool = calloc(k.vocab, 1);
    k.frequency = malloc(k.vocab);
    k.row = malloc(2 * k.d * sizeof *k.row);
    k.distance = malloc(c->n_pairs * sizeof *k.distance);
    k.from_base = malloc(k.vocab * sizeof *k.from_base);
    k.candidates = malloc(k.vocab * sizeof *k.candidates);
    k.order = malloc(c->n_pairs * sizeof *k.order);
    k.near = malloc(k.vocab * sizeof *k.near);
    k.sorted = malloc(k.vocab * sizeof *k.sorted);
    if ((s->bench.tokenizer && !k.spelling) || !k.in_pool || !k.frequency || !k.row || !k.distance || !k.from_base ||
        !k.candidates || !k.order || !k.near || !k.sorted)
        status = error_set(e, STATUS_FAILED, "diff: out of memory for controls");
    k.other = k.row ? k.row + k.d : NULL;
    for (size_t v = 0; !status && v < k.vocab; v++)
        k.frequency[v] = (int8_t)floor(log2(1.0 + s->corpus.count[v]));
    for (size_t v = 0; !status && k.spelling && v < k.vocab && v < n_words; v++)
        k.spelling[v] = spell(s->bench.tokenizer, (int32_t)v);
    if (!status && k.spelling)
        status = tagger_open(&k.tagger, e);
    c->pair_distance = c->control_distance = 0;
    if (!status)
        measure_pairs(&k);
    if (!status)
        status = choose_all(&k, e);
    c->pair_distance = k.n_matched ? c->pair_distance / (double)k.n_matched : NAN;
    c->control_distance = k.n_matched ? c->control_distance / (double)k.n_matched : NAN;
    tagger_close(k.tagger);
    free(k.spelling);
    free(k.in_pool);
    free(k.frequency);
    free(k.row);
    free(k.distance);
    free(k.from_base);
    free(k.candidates);
    free(k.order);
    free(k.near);
    free(k.sorted);
    free(k.words);
    free(k.tags);
    strbuf_free(&k.text);
    return status;
}
