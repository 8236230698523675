/* compare_sums.c: the numbers of a comparison: sums over the common bytes, changes with intervals, importance by depth, rank
 * correlations and their intervals. Formulas in compare.h; draws in statistics.h. */
#include "experiments/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/rng.h"
#include "engine/ledger.h"
#include "experiments/statistics.h"

enum { MIN_BINS = 4 };

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- ledgers ---- */

static int open_ledger(const CompareResult *r, LedgerView *v, char **path, Error *e)
{
    *path = file_join(r->dir, "ledger.safetensors");
    if (!*path)
        return error_set(e, STATUS_FAILED, "%s: no memory", r->dir);
    int status = ledger_view_open(*path, v, e);
    if (!status && (int64_t)v->n_tokens != r->n_tokens)
        status = error_set(e, STATUS_FAILED, "%s: expected the %lld tokens of %s, found %zu", *path, (long long)r->n_tokens,
                           r->file, v->n_tokens);
    for (size_t i = 0; !status && i < r->n_orders; i++)
        if (r->orders[i].ledger_index >= v->n_orders)
            status = error_set(e, STATUS_FAILED, "%s: expected the order %s in row %zu, found %zu rows", *path,
                               r->orders[i].name, r->orders[i].ledger_index, v->n_orders);
    return status;
}

static int sum_units(Compare *c, size_t index, const LedgerView *v, Error *e)
{
    CompareResult *r = &c->results[index];
    const int32_t *unit = c->bytes.token_unit[index];
    size_t n_units = c->bytes.n_units;
    r->unit_nll = arena_array(&c->arena, (r->n_orders + 1) * n_units, sizeof *r->unit_nll);
    if (!r->unit_nll)
        return error_set(e, STATUS_FAILED, "%s: no memory for %zu orders and %zu units", r->file, r->n_orders, n_units);
    for (size_t o = 0; o <= r->n_orders; o++) {
        double *sums = r->unit_nll + o * n_units;
        size_t row = o ? r->orders[o - 1].ledger_index : 0;
        for (size_t t = 0; t < v->n_tokens; t++)
            if (unit[t] >= 0)
                sums[unit[t]] += ledger_view_nll(v, row, t);
    }
    return STATUS_OK;
}

/* Under concat and file rows.jsonl holds the one text as far as a model's windows cover it: the longest is taken. */
static int read_rows(const Compare *c, CompareRows *rows, Error *e)
{
    int status = STATUS_OK;
    *rows = (CompareRows){0};
    for (size_t i = 0; !status && i < c->n; i++) {
        CompareRows found;
        char *path = file_join(c->results[i].dir, "rows.jsonl");
        status = path ? compare_rows_read(path, &found, e) : error_set(e, STATUS_FAILED, "%s: no memory", c->results[i].dir);
        if (!status && found.has_text && strcmp(c->results[i].protocol, "rows") == 0 &&
            strcmp(found.sha256, c->results[i].rows_sha256) != 0)
            status = error_set(e, STATUS_FAILED, "%s: expected rows of sha256 %.12s..., as ppl.json says, found %.12s...", path,
                               c->results[i].rows_sha256, found.sha256);
        if (!status && (i == 0 || found.text.len > rows->text.len)) {
            compare_rows_free(rows);
            *rows = found;
        } else if (!status) {
            compare_rows_free(&found);
        }
        free(path);
        if (strcmp(c->results[i].protocol, "rows") == 0)
            break; /* the same by their hash */
    }
    return status;
}

static int take_bytes(Compare *c, const CompareRows *rows, const LedgerView *views, Error *e)
{
    CompareTokens tokens[COMPARE_MAX];
    for (size_t i = 0; i < c->n; i++)
        tokens[i] = (CompareTokens){.what = c->results[i].dir,
                                    .n_tokens = views[i].n_tokens,
                                    .row = views[i].row,
                                    .window = views[i].window,
                                    .byte_start = views[i].byte_start,
                                    .byte_end = views[i].byte_end};
    int status = compare_bytes_common(rows, strcmp(c->results[0].unit, "article") == 0, tokens, c->n, &c->bytes, e);
    if (!status && !c->bytes.n_bytes)
        status = error_set(e, STATUS_FAILED, "compare: no byte of the rows was predicted by all %zu models", c->n);
    for (size_t i = 0; !status && i < c->n; i++)
        status = sum_units(c, i, &views[i], e);
    return status;
}

/* With one tokenizer a comparison without ledgers is possible: ppl.json says it all but the bytes. */
static bool can_do_without(const Compare *c)
{
    bool complete = true;
    for (size_t i = 0; i < c->n; i++)
        complete = complete && file_exists_in(c->results[i].dir, "ledger.safetensors") &&
                   file_exists_in(c->results[i].dir, "rows.jsonl");
    return c->same_tokens && !complete;
}

static int read_ledgers(Compare *c, Error *e)
{
    LedgerView views[COMPARE_MAX] = {{0}};
    int status = STATUS_OK;
    if (can_do_without(c))
        return STATUS_OK;
    for (size_t i = 0; !status && i < c->n; i++) {
        char *path = NULL;
        status = open_ledger(&c->results[i], &views[i], &path, e);
        free(path);
    }
    if (!status)
        status = read_rows(c, &c->rows, e);
    if (!status && !c->rows.has_text && !c->same_tokens)
        status = error_set(e, STATUS_USAGE, "%s: rows of ids have no text, so models with other ids cannot be compared",
                           c->results[0].file);
    if (!status && c->rows.has_text) {
        status = take_bytes(c, &c->rows, views, e);
        c->has_bytes = !status;
    }
    for (size_t i = 0; i < c->n; i++)
        ledger_view_close(&views[i]);
    return status;
}

/* ---- changes ---- */

static CompareChange change_of(const StatisticsInterval *x, double scale)
{
    return (CompareChange){x->estimate * scale, x->lo * scale, x->hi * scale, x->lo_simultaneous * scale,
                           x->hi_simultaneous * scale};
}

static int take_changes(Compare *c, CompareResult *r, Error *e)
{
    size_t n_units = c->bytes.n_units;
    double total = statistics_sum_of(r->unit_nll, n_units), n_bytes = (double)c->bytes.n_bytes;
    double per_word = n_bytes / (double)c->bytes.n_words;
    r->bits = total / log(2.0) / n_bytes;
    r->word_nll = total / (double)c->bytes.n_words;
    StatisticsInterval *x = calloc(r->n_orders, sizeof *x);
    if (!x)
        return error_set(e, STATUS_FAILED, "%s: no memory for intervals", r->file);
    int status = statistics_paired_deltas(r->unit_nll, r->n_orders + 1, c->bytes.unit_bytes, n_units,
                                          (size_t)c->results[0].n_resamples, (uint64_t)c->results[0].seed, x, e);
    for (size_t i = 0; !status && i < r->n_orders; i++) {
        r->orders[i].bits_change = change_of(&x[i], 1 / log(2.0));
        /* Words per byte are taken as given: the interval is that of the loss on the common bytes. */
        r->orders[i].word_change = change_of(&x[i], per_word);
    }
    free(x);
    return status;
}

const CompareChange *compare_headline(const Compare *c, const CompareOrder *o)
{
    return c->same_tokens ? &o->nll_change : &o->bits_change;
}

/* ---- importance ---- */

static int take_bins(Compare *c, CompareResult *r, Error *e)
{
    size_t n[COMPARE_BINS] = {0}, n_units = c->bytes.n_units;
    for (int b = 0; b < COMPARE_BINS; b++)
        r->bins[b] = 0;
    for (size_t i = 0; i < r->n_orders; i++)
        if (r->orders[i].bin >= 0) {
            r->bins[r->orders[i].bin] += compare_headline(c, &r->orders[i])->delta;
            n[r->orders[i].bin]++;
        }
    for (int b = 0; b < COMPARE_BINS; b++)
        r->bins[b] = n[b] ? r->bins[b] / (double)n[b] : NAN;
    if (!c->has_bytes)
        return STATUS_OK;
    r->unit_bins = arena_array(&c->arena, COMPARE_BINS * n_units, sizeof *r->unit_bins);
    if (!r->unit_bins)
        return error_set(e, STATUS_FAILED, "%s: no memory for %zu units", r->file, n_units);
    for (size_t i = 0; i < r->n_orders; i++)
        for (size_t u = 0; r->orders[i].bin >= 0 && u < n_units; u++)
            r->unit_bins[(size_t)r->orders[i].bin * n_units + u] +=
                (r->unit_nll[(i + 1) * n_units + u] - r->unit_nll[u]) / (double)n[r->orders[i].bin];
    return STATUS_OK;
}

double compare_bins_rho(const double *a, const double *b, int *n_bins, double *kendall)
{
    double x[COMPARE_BINS], y[COMPARE_BINS];
    int n = 0;
    for (int i = 0; i < COMPARE_BINS; i++)
        if (!isnan(a[i]) && !isnan(b[i])) {
            x[n] = a[i];
            y[n++] = b[i];
        }
    if (n_bins)
        *n_bins = n;
    if (kendall)
        *kendall = n < MIN_BINS ? NAN : statistics_kendall(x, y, (size_t)n);
    return n < MIN_BINS ? NAN : statistics_spearman(x, y, (size_t)n);
}

/* draws[pair][resample]: rho of each resample. The sums' denominators are common to all orders and change no rank. */
static void draw_rhos(const Compare *c, size_t n_resamples, double *counts, double *draws)
{
    size_t n_units = c->bytes.n_units;
    Rng rng;
    rng_seed(&rng, (uint64_t)c->results[0].seed, STATISTICS_STREAM);
    for (size_t k = 0; k < n_resamples; k++) {
        double bins[COMPARE_MAX][COMPARE_BINS];
        memset(counts, 0, n_units * sizeof *counts);
        for (size_t u = 0; u < n_units; u++)
            counts[rng_below(&rng, n_units)] += 1;
        for (size_t m = 0; m < c->n; m++)
            for (size_t b = 0; b < COMPARE_BINS; b++) {
                const double *sums = c->results[m].unit_bins + b * n_units;
                double sum = isnan(c->results[m].bins[b]) ? NAN : 0;
                for (size_t u = 0; u < n_units; u++)
                    sum += counts[u] * sums[u];
                bins[m][b] = sum;
            }
        for (size_t p = 0; p < c->n_pairs; p++)
            draws[p * n_resamples + k] = compare_bins_rho(bins[c->pairs[p].a], bins[c->pairs[p].b], NULL, NULL);
    }
}

static int take_rho_intervals(Compare *c, Error *e)
{
    size_t n = c->results[0].n_resamples ? (size_t)c->results[0].n_resamples : STATISTICS_RESAMPLES;
    double *counts = calloc(c->bytes.n_units, sizeof *counts), *draws = calloc(c->n_pairs * n, sizeof *draws);
    int status = counts && draws ? STATUS_OK : error_set(e, STATUS_FAILED, "compare: no memory for %zu resamples", n);
    if (!status)
        draw_rhos(c, n, counts, draws);
    for (size_t p = 0; !status && p < c->n_pairs; p++) {
        double *rho = draws + p * n;
        size_t kept = 0;
        for (size_t k = 0; k < n; k++)
            if (!isnan(rho[k]))
                rho[kept++] = rho[k];
        if (isnan(c->pairs[p].spearman) || kept < 2 || (n - kept) * 100 > n)
            continue;
        qsort(rho, kept, sizeof *rho, compare_doubles);
        c->pairs[p].lo = statistics_quantile(rho, kept, 0.025);
        c->pairs[p].hi = statistics_quantile(rho, kept, 0.975);
    }
    free(counts);
    free(draws);
    return status;
}

int compare_compute(Compare *c, Error *e)
{
    int status = read_ledgers(c, e);
    for (size_t i = 0; !status && i < c->n; i++) {
        c->results[i].bits = c->results[i].word_nll = NAN;
        if (c->has_bytes)
            status = take_changes(c, &c->results[i], e);
        if (!status)
            status = take_bins(c, &c->results[i], e);
    }
    for (size_t a = 0; !status && c->has_axis && a < c->n; a++)
        for (size_t b = a + 1; b < c->n; b++) {
            ComparePair *p = &c->pairs[c->n_pairs++];
            *p = (ComparePair){.a = a, .b = b, .lo = NAN, .hi = NAN};
            p->spearman = compare_bins_rho(c->results[a].bins, c->results[b].bins, &p->n_bins, &p->kendall);
        }
    if (!status && c->has_bytes && c->n_pairs && c->bytes.n_units >= STATISTICS_MIN_UNITS)
        status = take_rho_intervals(c, e);
    return status;
}

void compare_free(Compare *c)
{
    compare_bytes_free(&c->bytes);
    compare_rows_free(&c->rows);
    strbuf_free(&c->notes);
    arena_free(&c->arena);
    *c = (Compare){0};
}
