/* diff_curves.c: see diff_curves.h. */
#include "experiments/diff_curves.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const diff_curve_names[DIFF_N_CURVES] = {"norm", "relative_norm", "cosine", "normalised"};

/* ---- comparisons ---- */

/* Of an item without control: n of b and n shuffled at most, and it takes 2 n rows; with one 3 n of 3 n rows; and four classes. */
static size_t most_comparisons(size_t n_rows, size_t most_items)
{
    return n_rows + DIFF_ALL * most_items;
}

size_t diff_comparisons_bytes(size_t n_rows, size_t most_items)
{
    return most_comparisons(n_rows, most_items) * (sizeof(RowPair) + sizeof(RowsCompared)) + most_items * sizeof(size_t);
}

int diff_comparisons_open(DiffComparisons *c, size_t n_rows, size_t most_items, Error *e)
{
    size_t most = most_comparisons(n_rows, most_items);
    *c = (DiffComparisons){.most = most};
    c->pairs = malloc(most * sizeof *c->pairs + 1);
    c->at = malloc(most * sizeof *c->at + 1);
    c->first = malloc((most_items + 1) * sizeof *c->first);
    if (c->pairs && c->at && c->first)
        return STATUS_OK;
    diff_comparisons_close(c);
    return error_set(e, STATUS_FAILED, "diff: out of memory for %zu comparisons", most);
}

void diff_comparisons_close(DiffComparisons *c)
{
    free(c->pairs);
    free(c->at);
    free(c->first);
    memset(c, 0, sizeof *c);
}

static void compare(DiffComparisons *c, size_t a, size_t b)
{
    c->pairs[c->n++] = (RowPair){(int32_t)a, (int32_t)b};
}

/* Positions that an item shares with its shuffled pairing; 0: it has none. */
static size_t shared_positions(const DiffItem *items, size_t i)
{
    const DiffItem *item = &items[i], *partner = &items[item->partner];
    return item->partner == i ? 0 : item->n < partner->n ? item->n : partner->n;
}

static bool both_have(const DiffItem *items, size_t i, size_t class)
{
    const DiffItem *item = &items[i];
    return item->partner != i && item->at[class] != DIFF_NO_ROW && items[item->partner].at[class] != DIFF_NO_ROW;
}

void diff_comparisons_list(DiffComparisons *c, const DiffItem *items, size_t n_items, size_t identical_row)
{
    c->n = 0;
    for (size_t i = 0; i < n_items; i++) {
        const DiffItem *item = &items[i], *partner = &items[item->partner];
        c->first[i] = c->n;
        for (size_t r = 0; r < item->n; r++)
            compare(c, item->a + r, item->b + r);
        for (size_t r = 0; item->has_control && r < item->n; r++)
            compare(c, item->a + r, item->c + r);
        for (size_t r = 0; r < shared_positions(items, i); r++)
            compare(c, item->a + r, partner->b + r);
        for (size_t class = 0; class < DIFF_ALL; class ++)
            if (both_have(items, i, class))
                compare(c, item->a + (size_t)item->at[class], partner->b + (size_t)partner->at[class]);
    }
    c->first[n_items] = c->n;
    for (size_t r = 0; identical_row != SIZE_MAX && r < items[0].n; r++)
        compare(c, items[0].a + r, identical_row + r);
}

double diff_comparisons_identical(const DiffComparisons *c, size_t n_items)
{
    double most = 0;
    for (size_t i = c->first[n_items]; i < c->n; i++)
        most = pair_most(most, c->at[i].most);
    return most;
}

/* ---- curves ---- */

typedef struct Work {
    const DiffComparisons *c;
    const DiffItem *items;
    size_t d;
    const DiffCurveValues *out;
} Work;

static void curves_of(const RowsCompared *x, size_t d, double out[DIFF_N_CURVES])
{
    double norms = sqrt(x->aa) * sqrt(x->bb);
    out[DIFF_CURVE_NORM] = sqrt(x->dd);
    out[DIFF_CURVE_RELATIVE] = x->aa > 0 ? sqrt(x->dd) / sqrt(x->aa) : 0;
    out[DIFF_CURVE_COSINE] = x->dd == 0 || norms == 0 ? 0 : 1 - x->ab / norms;
    out[DIFF_CURVE_NORMALISED] = x->weighted / (double)d;
}

/* The second half of each class's columns; x gets its scales. */
static void scale_control(const DiffItem *item, double *y, double *x, double *shuffled)
{
    for (size_t class = 0; class < DIFF_N_CLASSES; class ++) {
        size_t at = class * DIFF_CURVE_COLS;
        for (size_t k = 0; k < DIFF_N_CURVES; k++) {
            double near = k == DIFF_CURVE_COSINE ? item->nearness * item->nearness : item->nearness;
            y[at + DIFF_N_CURVES + k] = y[at + k];
            shuffled[at + DIFF_N_CURVES + k] = shuffled[at + k];
            x[at + DIFF_N_CURVES + k] = fmax(1, near) * x[at + k];
            x[at + k] *= fmin(1, near);
        }
    }
}

static void add_curves(double *to, const double *from, double scale)
{
    for (size_t k = 0; k < DIFF_N_CURVES; k++)
        to[k] += scale * from[k];
}

/* Puts the values of offset r into the classes that stand there, and its share into `all`. */
static void place(const DiffItem *item, size_t r, double share, const double *values, double *to)
{
    for (size_t class = 0; class < DIFF_ALL; class ++)
        if (item->at[class] == (int64_t)r)
            add_curves(to + class * DIFF_CURVE_COLS, values, 1);
    add_curves(to + DIFF_ALL * DIFF_CURVE_COLS, values, share);
}

static void one_item(void *arg, size_t i, int thread)
{
    const Work *w = arg;
    const DiffItem *item = &w->items[i];
    const RowsCompared *next = w->c->at + w->c->first[i];
    size_t at = i * DIFF_N_CLASSES * DIFF_CURVE_COLS, n = DIFF_N_CLASSES * DIFF_CURVE_COLS,
           both = shared_positions(w->items, i);
    double *y = w->out->y + at, *x = w->out->x + at, *shuffled = w->out->shuffled + at, values[DIFF_N_CURVES];
    (void)thread;
    memset(y, 0, n * sizeof *y);
    memset(x, 0, n * sizeof *x);
    memset(shuffled, 0, n * sizeof *shuffled);
    for (size_t r = 0; r < item->n; r++) {
        curves_of(next++, w->d, values);
        place(item, r, 1 / (double)item->n, values, y);
    }
    for (size_t r = 0; item->has_control && r < item->n; r++) {
        curves_of(next++, w->d, values);
        place(item, r, 1 / (double)item->n, values, x);
    }
    for (size_t r = 0; r < both; r++) {
        curves_of(next++, w->d, values);
        add_curves(shuffled + DIFF_ALL * DIFF_CURVE_COLS, values, 1 / (double)both);
    }
    for (size_t class = 0; class < DIFF_ALL; class ++)
        if (both_have(w->items, i, class))
            curves_of(next++, w->d, shuffled + class * DIFF_CURVE_COLS);
    scale_control(item, y, x, shuffled);
}

void diff_curves_of(Pool *pool, const DiffComparisons *c, const DiffItem *items, size_t n_items, size_t d,
                    const DiffCurveValues *out)
{
    Work w = {.c = c, .items = items, .d = d, .out = out};
    pool_run(pool, one_item, &w, n_items);
}

/* ---- random bases ---- */

static size_t n_bases(const DiffBases *b)
{
    return 1 + b->rotations->n;
}

size_t diff_bases_bytes(const DiffBases *b)
{
    return n_bases(b) * (DIFF_N_CLASSES * b->n_points * 2 + 3) * b->d * sizeof(float);
}

int diff_bases_open(DiffBases *b, Error *e)
{
    b->sums = calloc(1, diff_bases_bytes(b) + 1);
    b->scratch = b->sums ? b->sums + DIFF_N_CLASSES * b->n_points * n_bases(b) * 2 * b->d : NULL;
    return b->sums ? STATUS_OK : error_set(e, STATUS_FAILED, "diff: out of memory for random bases");
}

void diff_bases_close(DiffBases *b)
{
    free(b->sums);
    b->sums = NULL;
}

static float *basis_sums(const DiffBases *b, size_t class, size_t point, size_t k)
{
    return b->sums + ((class * b->n_points + point) * n_bases(b) + k) * 2 * b->d;
}

void diff_bases_list(DiffBases *b, const DiffItem *items, size_t n_items)
{
    b->n_samples = 0;
    for (size_t class = 0; class < DIFF_ALL; class ++) {
        for (size_t i = 0; i < n_items && b->n[class] < DIFF_BASES_PAIRS; i++) {
            const DiffItem *item = &items[i];
            if (!item->has_control || item->at[class] == DIFF_NO_ROW)
                continue;
            size_t r = (size_t)item->at[class];
            int32_t *rows = b->rows + 3 * b->n_samples;
            rows[0] = (int32_t)(item->a + r);
            rows[1] = (int32_t)(item->b + r);
            rows[2] = (int32_t)(item->c + r);
            b->nearness[b->n_samples] = item->nearness;
            b->sample_class[b->n_samples++] = (int)class;
            b->n[class]++;
        }
    }
}

typedef struct Turning {
    const DiffBases *bases;
    size_t point;
    const double *rows;
    const uint32_t *massive;
} Turning;

static void one_basis(void *arg, size_t k, int thread)
{
    const Turning *t = arg;
    const DiffBases *b = t->bases;
    size_t d = b->d;
    float *x = b->scratch + k * 3 * d, *turned = x + d, *scratch = turned + d;
    (void)thread;
    for (size_t i = 0; i < b->n_samples; i++) {
        float *sums = basis_sums(b, (size_t)b->sample_class[i], t->point, k);
        const double *from = t->rows + 3 * i * d;
        for (size_t which = 0; which < 2; which++) {
            const double *to = from + (1 + which) * d;
            for (size_t j = 0; j < d; j++)
                x[j] = t->massive[j] ? 0 : (float)(to[j] - from[j]);
            if (k)
                diff_rotate(b->rotations, k - 1, x, turned, scratch);
            const float *values = k ? turned : x, scale = which ? (float)fmin(1, b->nearness[i]) : 1;
            for (size_t j = 0; j < d; j++)
                sums[which * d + j] += scale * fabsf(values[j]);
        }
    }
}

void diff_bases_add(DiffBases *b, Pool *pool, size_t point, const double *rows, const uint32_t *massive)
{
    Turning t = {.bases = b, .point = point, .rows = rows, .massive = massive};
    pool_run(pool, one_basis, &t, n_bases(b));
}

void diff_bases_count(const DiffBases *b, DiffClass class, size_t point, size_t k, const float *sigma, double *stable,
                      double *small)
{
    const float *y = basis_sums(b, class, point, k), *x = y + b->d;
    double n = (double)b->n[class];
    *stable = *small = 0;
    for (size_t j = 0; j < b->d; j++) {
        *stable += x[j] > 0 && (double)y[j] < DIFF_STATS_RATIO * (double)x[j];
        *small += x[j] > 0 && (double)y[j] / n < 0.5 * (double)sigma[j];
    }
}
