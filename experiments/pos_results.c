/* pos_results.c: see pos_results.h. One pass over the ledger per order; then one bootstrap per group. */
#include "experiments/pos_results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/file.h"
#include "experiments/tagger.h"

typedef enum By { BY_ALL, BY_UPOS, BY_CONFIDENT, BY_BAND, BY_POSITION, BY_TOKEN, BY_XPOS, N_BY } By;

static const char *const by_names[N_BY] = {"all",        "upos", "upos_confident", "frequency_band", "row_position",
                                           "token_kind", "xpos"};
static const char *const all_names[1] = {"all"};
static const char *const token_names[2] = {"word_initial", "continuation"};

/* What one word, or one part of it, adds under one order. */
typedef struct Part {
    double loss, corrected, kl;
    size_t n_tokens, n_bytes, n_top1, n_agree, n_nonfinite;
    bool first_is_right, is_right; /* is_right: no token was wrong */
} Part;

typedef struct Tally { /* of a value under an order */
    double kl;
    uint64_t n_top1, n_first, n_right, n_agree, n_nonfinite;
} Tally;

enum { OWN, OTHERS, N_SIDES };
enum { NAIVE, CORRECTED, N_SUMS };
enum { TOKENS, WORDS, N_COUNTS };

/* Sums of one group. numerators [value][side][sum][order][unit], denominators [value][side][count][unit]. */
typedef struct Sums {
    By by;
    size_t n_values, n_orders, n_units;
    double *numerators, *denominators;
    Tally *tallies; /* [value][order] */
} Sums;

static double *numerator(const Sums *s, size_t value, int side, int sum, size_t order)
{
    return s->numerators + (((value * N_SIDES + side) * N_SUMS + sum) * s->n_orders + order) * s->n_units;
}

static double *denominator(const Sums *s, size_t value, int side, int count)
{
    return s->denominators + ((value * N_SIDES + side) * N_COUNTS + count) * s->n_units;
}

static void sums_free(Sums *s)
{
    free(s->numerators);
    free(s->denominators);
    free(s->tallies);
}

static int sums_take(Sums *s, Error *e)
{
    size_t n = 0, n_denominators = 0;
    if (!checked_mul(s->n_values, s->n_orders, &n) || !checked_mul(n, s->n_units, &n) ||
        !checked_mul(n, N_SIDES * N_SUMS, &n) || !checked_mul(s->n_values * s->n_units, N_SIDES * N_COUNTS, &n_denominators))
        return error_set(e, STATUS_FAILED, "pos: %zu values, %zu orders, %zu units are too many", s->n_values, s->n_orders,
                         s->n_units);
    s->numerators = calloc(n + 1, sizeof *s->numerators);
    s->denominators = calloc(n_denominators + 1, sizeof *s->denominators);
    s->tallies = calloc(s->n_values * s->n_orders + 1, sizeof *s->tallies);
    if (s->numerators && s->denominators && s->tallies)
        return STATUS_OK;
    return error_set(e, STATUS_FAILED, "pos: no memory for the sums of %zu values, %zu orders, %zu units", s->n_values,
                     s->n_orders, s->n_units);
}

/* ---- groups ---- */

static size_t group_size(By by, const PosWords *w)
{
    static const size_t sizes[N_BY] = {1, TAGGER_N_UPOS, TAGGER_N_UPOS, POS_N_BANDS, POS_N_POSITIONS, 2, 0};
    return by == BY_XPOS ? w->n_xpos : sizes[by];
}

static const char *value_name(By by, size_t value, const PosWords *w)
{
    switch (by) {
    case BY_ALL:
        return all_names[0];
    case BY_UPOS:
    case BY_CONFIDENT:
        return tagger_upos_name((int)value);
    case BY_BAND:
        return pos_band_names[value];
    case BY_POSITION:
        return pos_position_names[value];
    case BY_TOKEN:
        return token_names[value];
    default:
        return w->xpos_names[value];
    }
}

/* -1: the word is not in the group. */
static int value_of(By by, const PosWord *w)
{
    switch (by) {
    case BY_ALL:
        return 0;
    case BY_UPOS:
        return w->upos;
    case BY_CONFIDENT:
        return w->posterior >= POS_CONFIDENT ? w->upos : -1;
    case BY_BAND:
        return w->band;
    case BY_POSITION:
        return w->position;
    case BY_XPOS:
        return w->xpos;
    default:
        return -1;
    }
}

/* ---- sums ---- */

static void add_token(const LedgerView *v, size_t order, size_t t, Part *p)
{
    size_t at = order * v->n_tokens + t;
    double loss = ledger_view_nll(v, order, t);
    bool is_top = v->rank[at] == 0;
    if (!p->n_tokens++) {
        p->first_is_right = is_top;
        p->is_right = true;
    }
    p->loss += loss;
    p->kl += (double)v->kl[at];
    p->n_bytes += (size_t)(v->byte_end[t] - v->byte_start[t]);
    p->n_top1 += is_top;
    p->is_right = p->is_right && is_top;
    p->n_agree += v->top1[at] == v->top1[t];
    p->n_nonfinite += !isfinite(loss);
}

/* parts[0]: the whole word; [1]: its first token; [2]: the others. */
static void measure_word(const PosRun *run, const PosWords *words, size_t index, size_t order, Part parts[3])
{
    const PosWord *w = &words->words[index];
    const LedgerView *v = &run->ledger;
    const float *logp = v->word_start_logp + order * v->n_tokens;
    memset(parts, 0, 3 * sizeof *parts);
    for (size_t t = w->first; t <= w->last; t++) {
        if (words->word_of_token[t] != (int32_t)index)
            continue;
        add_token(v, order, t, &parts[0]);
        add_token(v, order, t, &parts[t == w->first ? 1 : 2]);
    }
    parts[0].corrected = parts[0].loss + (w->opens_with_space ? (double)logp[w->first] : 0) -
                         (w->is_followed_by_space ? (double)logp[w->last + 1] : 0);
}

static void add_part(Sums *s, size_t value, size_t order, size_t unit, const Part *p)
{
    Tally *tally = &s->tallies[value * s->n_orders + order];
    numerator(s, value, OWN, NAIVE, order)[unit] += p->loss;
    numerator(s, value, OWN, CORRECTED, order)[unit] += p->corrected;
    tally->kl += p->kl;
    tally->n_top1 += p->n_top1;
    tally->n_first += p->first_is_right;
    tally->n_right += p->is_right;
    tally->n_agree += p->n_agree;
    tally->n_nonfinite += p->n_nonfinite;
}

/* Counts are the same under every order; they are taken with the intact one. */
static void count_part(Sums *s, PosValue *value, size_t index, size_t unit, const Part *p)
{
    denominator(s, index, OWN, TOKENS)[unit] += (double)p->n_tokens;
    denominator(s, index, OWN, WORDS)[unit] += s->by == BY_TOKEN ? 0 : 1;
    value->n_words++;
    value->n_tokens += p->n_tokens;
    value->n_bytes += p->n_bytes;
}

static void add_word(Sums *sums, PosGroup *groups, size_t n_groups, const PosWord *w, size_t order, const Part parts[3])
{
    for (size_t g = 0; g < n_groups; g++) {
        int first = sums[g].by == BY_TOKEN ? 0 : value_of(sums[g].by, w), last = sums[g].by == BY_TOKEN ? 1 : first;
        for (int value = first; value >= 0 && value <= last; value++) {
            const Part *p = sums[g].by == BY_TOKEN ? &parts[1 + value] : &parts[0];
            if (!p->n_tokens)
                continue;
            add_part(&sums[g], (size_t)value, order, (size_t)w->unit, p);
            if (order == 0)
                count_part(&sums[g], &groups[g].values[value], (size_t)value, (size_t)w->unit, p);
        }
    }
}

static void drop_read(const LedgerView *v, size_t order)
{
    size_t n = v->n_tokens, loss = v->nll_dtype == DTYPE_F64 ? 8 : 4;
    file_drop_pages((const char *)v->nll + order * n * loss, n * loss);
    file_drop_pages(v->kl + order * n, n * 4);
    file_drop_pages(v->rank + order * n, n * 4);
    file_drop_pages(v->word_start_logp + order * n, n * 4);
    if (order)
        file_drop_pages(v->top1 + order * n, n * 4);
}

static void add_others(Sums *s)
{
    for (size_t u = 0; u < s->n_units; u++) {
        for (int k = 0; k < N_COUNTS; k++) {
            double total = 0;
            for (size_t v = 0; v < s->n_values; v++)
                total += denominator(s, v, OWN, k)[u];
            for (size_t v = 0; v < s->n_values; v++)
                denominator(s, v, OTHERS, k)[u] = total - denominator(s, v, OWN, k)[u];
        }
        for (size_t o = 0; o < s->n_orders; o++)
            for (int k = 0; k < N_SUMS; k++) {
                double total = 0;
                for (size_t v = 0; v < s->n_values; v++)
                    total += numerator(s, v, OWN, k, o)[u];
                for (size_t v = 0; v < s->n_values; v++)
                    numerator(s, v, OTHERS, k, o)[u] = total - numerator(s, v, OWN, k, o)[u];
            }
    }
}

/* ---- figures ---- */

static void fill_levels(const Sums *s, PosGroup *group)
{
    for (size_t v = 0; v < group->n_values; v++) {
        PosValue *value = &group->values[v];
        const double *units = denominator(s, v, OWN, TOKENS);
        double n_tokens = (double)value->n_tokens, n_words = group->is_of_tokens ? 0 : (double)value->n_words;
        for (size_t u = 0; u < s->n_units; u++)
            value->n_units += units[u] > 0;
        value->is_ranked =
            value->n_units >= STATISTICS_MIN_UNITS && (group->is_of_tokens ? value->n_tokens : value->n_words) >= POS_MIN_WORDS;
        for (size_t o = 0; o < s->n_orders; o++) {
            PosFigures *f = &value->orders[o];
            const Tally *t = &s->tallies[v * s->n_orders + o];
            double sum = statistics_sum_of(numerator(s, v, OWN, NAIVE, o), s->n_units);
            f->level[POS_PER_TOKEN] = sum / n_tokens;
            f->level[POS_PER_WORD] = sum / n_words;
            f->level[POS_PER_WORD_CORRECTED] = statistics_sum_of(numerator(s, v, OWN, CORRECTED, o), s->n_units) / n_words;
            f->token_accuracy = (double)t->n_top1 / n_tokens;
            f->first_token_accuracy = (double)t->n_first / n_words;
            f->word_accuracy = (double)t->n_right / n_words;
            f->agreement = (double)t->n_agree / n_tokens;
            f->kl = t->kl / n_tokens;
            f->bits_per_byte = sum / log(2.0) / (double)value->n_bytes;
            f->n_nonfinite = t->n_nonfinite;
        }
    }
}

static size_t ratio_index(const Sums *s, size_t value, int side, int measure, size_t order)
{
    return ((value * N_SIDES + side) * POS_N_MEASURES + measure) * s->n_orders + order;
}

static int put_contrasts(const Sums *s, const PosGroup *group, StatisticsContrast *out)
{
    bool any_ranked = false;
    int n = 0;
    for (size_t v = 0; v < group->n_values; v++)
        any_ranked = any_ranked || group->values[v].is_ranked;
    for (size_t v = 0; v < group->n_values; v++)
        for (size_t o = 1; o < s->n_orders; o++)
            for (int m = 0; m < POS_N_MEASURES; m++) {
                /* Values that are not ranked must not widen the others' intervals. */
                size_t family = (size_t)m + (any_ranked && !group->values[v].is_ranked ? 2 * POS_N_MEASURES : 0);
                StatisticsContrast c = {.n_terms = 2,
                                        .family = family,
                                        .terms = {{ratio_index(s, v, OWN, m, o), 1},
                                                  {ratio_index(s, v, OWN, m, 0), -1},
                                                  {ratio_index(s, v, OTHERS, m, o), -1},
                                                  {ratio_index(s, v, OTHERS, m, 0), 1}}};
                out[n++] = c;
                c.n_terms = 4;
                c.family += POS_N_MEASURES;
                out[n++] = c;
            }
    return n;
}

static void take_intervals(const Sums *s, PosGroup *group, const StatisticsInterval *x)
{
    for (size_t v = 0; v < group->n_values; v++)
        for (size_t o = 1; o < s->n_orders; o++)
            for (int m = 0; m < POS_N_MEASURES; m++) {
                PosFigures *f = &group->values[v].orders[o];
                f->delta[m] = *x++;
                f->contrast[m] = *x++;
                if (!group->values[v].is_ranked)
                    f->delta[m].lo_simultaneous = f->delta[m].hi_simultaneous = f->contrast[m].lo_simultaneous =
                        f->contrast[m].hi_simultaneous = NAN;
            }
}

static int add_intervals(const PosRun *run, const Sums *s, PosGroup *group, Error *e)
{
    size_t n_ratios = s->n_values * N_SIDES * POS_N_MEASURES * s->n_orders;
    size_t n_contrasts = s->n_values * (s->n_orders - 1) * POS_N_MEASURES * 2;
    if (!n_contrasts || !s->n_units)
        return STATUS_OK;
    size_t *numerator_of = calloc(n_ratios, sizeof *numerator_of), *denominator_of = calloc(n_ratios, sizeof *denominator_of);
    StatisticsContrast *contrasts = calloc(n_contrasts, sizeof *contrasts);
    StatisticsInterval *intervals = calloc(n_contrasts, sizeof *intervals);
    int status = STATUS_FAILED;
    if (!numerator_of || !denominator_of || !contrasts || !intervals) {
        error_set(e, status, "pos: no memory for %zu intervals", n_contrasts);
        goto done;
    }
    for (size_t v = 0; v < s->n_values; v++)
        for (int side = 0; side < N_SIDES; side++)
            for (int m = 0; m < POS_N_MEASURES; m++)
                for (size_t o = 0; o < s->n_orders; o++) {
                    size_t r = ratio_index(s, v, side, m, o), pair = v * N_SIDES + (size_t)side;
                    numerator_of[r] = (pair * N_SUMS + (m == POS_PER_WORD_CORRECTED ? CORRECTED : NAIVE)) * s->n_orders + o;
                    denominator_of[r] = pair * N_COUNTS + (m == POS_PER_TOKEN ? TOKENS : WORDS);
                }
    StatisticsBootstrap in = {.n_units = s->n_units,
                              .n_ratios = n_ratios,
                              .n_numerators = s->n_values * N_SIDES * N_SUMS * s->n_orders,
                              .n_denominators = s->n_values * N_SIDES * N_COUNTS,
                              .n_contrasts = (size_t)put_contrasts(s, group, contrasts),
                              .n_resamples = run->n_resamples,
                              .seed = run->seed,
                              .numerators = s->numerators,
                              .denominators = s->denominators,
                              .numerator_of = numerator_of,
                              .denominator_of = denominator_of,
                              .contrasts = contrasts};
    status = statistics_bootstrap(&in, intervals, e);
    if (!status)
        take_intervals(s, group, intervals);
done:
    free(numerator_of);
    free(denominator_of);
    free(contrasts);
    free(intervals);
    return status;
}

/* ---- the whole ---- */

static int open_groups(const PosRun *run, const PosWords *words, bool fine, PosResults *r, Sums *sums, Error *e)
{
    r->n_orders = run->ledger.n_orders;
    for (int by = 0; by < N_BY; by++) {
        if (by == BY_XPOS && !fine)
            continue;
        PosGroup *g = &r->groups[r->n_groups];
        Sums *s = &sums[r->n_groups++];
        *g = (PosGroup){.by = by_names[by], .is_of_tokens = by == BY_TOKEN, .n_values = group_size((By)by, words)};
        *s = (Sums){.by = (By)by, .n_values = g->n_values, .n_orders = r->n_orders, .n_units = run->n_units};
        int status = sums_take(s, e);
        g->values = arena_array(&r->arena, g->n_values + 1, sizeof *g->values);
        if (!status && !g->values)
            status = error_set(e, STATUS_FAILED, "pos: out of memory");
        for (size_t v = 0; v < g->n_values && !status; v++) {
            g->values[v].name = value_name((By)by, v, words);
            g->values[v].orders = arena_array(&r->arena, r->n_orders, sizeof(PosFigures));
            if (!g->values[v].orders)
                status = error_set(e, STATUS_FAILED, "pos: out of memory for %zu orders", r->n_orders);
        }
        if (status)
            return status;
    }
    return STATUS_OK;
}

static bool stopped(volatile sig_atomic_t *stop)
{
    return stop && *stop;
}

int pos_results_compute(const PosRun *run, const PosWords *words, bool fine, volatile sig_atomic_t *stop, PosResults *out,
                        Error *e)
{
    Sums sums[POS_MAX_GROUPS] = {{0}};
    Part parts[3];
    *out = (PosResults){0};
    int status = open_groups(run, words, fine, out, sums, e);
    for (size_t o = 0; o < out->n_orders && !status && !stopped(stop); o++) {
        for (size_t i = 0; i < words->n_words; i++) {
            if (words->words[i].status != POS_COUNTED)
                continue;
            measure_word(run, words, i, o, parts);
            add_word(sums, out->groups, out->n_groups, &words->words[i], o, parts);
        }
        drop_read(&run->ledger, o);
    }
    for (size_t g = 0; g < out->n_groups && !status && !stopped(stop); g++) {
        add_others(&sums[g]);
        fill_levels(&sums[g], &out->groups[g]);
        status = add_intervals(run, &sums[g], &out->groups[g], e);
    }
    for (size_t g = 0; g < out->n_groups; g++)
        sums_free(&sums[g]);
    if (!status && stopped(stop))
        status = error_set(e, STATUS_INTERRUPTED, "interrupted; nothing was written to %s", run->dir);
    if (status)
        pos_results_free(out);
    return status;
}

void pos_results_free(PosResults *r)
{
    arena_free(&r->arena);
    *r = (PosResults){0};
}

const PosGroup *pos_results_group(const PosResults *r, const char *by)
{
    for (size_t g = 0; g < r->n_groups; g++)
        if (strcmp(r->groups[g].by, by) == 0)
            return &r->groups[g];
    return NULL;
}
