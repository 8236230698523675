/* diff_curves.c: see diff_curves.h. */
#include "experiments/diff_curves.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const diff_curve_names[DIFF_N_CURVES] = {"norm", "relative_norm", "cosine", "normalised"};

void diff_curves_load(const View *rows, size_t r, double *out)
{
    if (rows->dtype == DTYPE_F64) {
        memcpy(out, (const double *)rows->data + r * rows->ld, rows->cols * sizeof *out);
        return;
    }
    const float *from = (const float *)rows->data + r * rows->ld;
    for (size_t i = 0; i < rows->cols; i++)
        out[i] = from[i];
}

typedef struct Work {
    const View *rows;
    const DiffItem *items;
    const double *inverse_sigma;
    const DiffCurveValues *out;
} Work;

/* The curves of one pair of rows; b is read over by the caller's next load. */
static void compare_rows(const double *a, const double *b, const double *inverse_sigma, size_t d, double out[DIFF_N_CURVES])
{
    double dd = 0, aa = 0, bb = 0, ab = 0, normalised = 0;
    for (size_t i = 0; i < d; i++) {
        double x = b[i] - a[i];
        dd += x * x;
        aa += a[i] * a[i];
        bb += b[i] * b[i];
        ab += a[i] * b[i];
        normalised += fabs(x) * inverse_sigma[i];
    }
    double norms = sqrt(aa) * sqrt(bb);
    out[DIFF_CURVE_NORM] = sqrt(dd);
    out[DIFF_CURVE_RELATIVE] = aa > 0 ? sqrt(dd) / sqrt(aa) : 0;
    out[DIFF_CURVE_COSINE] = dd == 0 || norms == 0 ? 0 : 1 - ab / norms;
    out[DIFF_CURVE_NORMALISED] = normalised / (double)d;
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
    const DiffItem *item = &w->items[i], *partner = &w->items[item->partner];
    size_t d = w->rows->cols, at = i * DIFF_N_CLASSES * DIFF_CURVE_COLS, n = DIFF_N_CLASSES * DIFF_CURVE_COLS;
    double *y = w->out->y + at, *x = w->out->x + at, *shuffled = w->out->shuffled + at, values[DIFF_N_CURVES];
    (void)thread;
    memset(y, 0, n * sizeof *y);
    memset(x, 0, n * sizeof *x);
    memset(shuffled, 0, n * sizeof *shuffled);
    double *a = malloc(2 * d * sizeof *a);
    if (!a)
        return; /* the sums are then short of this pair: memory for two rows was there a moment ago */
    double *b = a + d;
    for (size_t r = 0; r < item->n; r++) {
        diff_curves_load(w->rows, item->a + r, a);
        diff_curves_load(w->rows, item->b + r, b);
        compare_rows(a, b, w->inverse_sigma, d, values);
        place(item, r, 1 / (double)item->n, values, y);
        if (item->has_control) {
            diff_curves_load(w->rows, item->c + r, b);
            compare_rows(a, b, w->inverse_sigma, d, values);
            place(item, r, 1 / (double)item->n, values, x);
        }
        if (item->partner == i)
            continue;
        for (size_t class = 0; class < DIFF_ALL; class ++) {
            if (item->at[class] != (int64_t)r || partner->at[class] == DIFF_NO_ROW)
                continue;
            diff_curves_load(w->rows, partner->b + (size_t)partner->at[class], b);
            compare_rows(a, b, w->inverse_sigma, d, shuffled + class * DIFF_CURVE_COLS);
        }
        size_t both = item->n < partner->n ? item->n : partner->n;
        if (r < both) {
            diff_curves_load(w->rows, partner->b + r, b);
            compare_rows(a, b, w->inverse_sigma, d, values);
            add_curves(shuffled + DIFF_ALL * DIFF_CURVE_COLS, values, 1 / (double)both);
        }
    }
    scale_control(item, y, x, shuffled);
    free(a);
}

void diff_curves_of(Pool *pool, const View *rows, const DiffItem *items, size_t n_items, const double *inverse_sigma,
                    const DiffCurveValues *out)
{
    Work w = {.rows = rows, .items = items, .inverse_sigma = inverse_sigma, .out = out};
    pool_run(pool, one_item, &w, n_items);
}

static size_t n_bases(const DiffBases *b)
{
    return 1 + b->rotations->n;
}

size_t diff_bases_bytes(const DiffBases *b)
{
    return DIFF_N_CLASSES * b->n_points * n_bases(b) * 2 * b->d * sizeof(float);
}

int diff_bases_open(DiffBases *b, Error *e)
{
    b->sums = calloc(1, diff_bases_bytes(b) + 1);
    return b->sums ? STATUS_OK : error_set(e, STATUS_FAILED, "diff: out of memory for random bases");
}

void diff_bases_clear(DiffBases *b)
{
    memset(b->sums, 0, diff_bases_bytes(b));
    memset(b->n, 0, sizeof b->n);
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

typedef struct Turning {
    DiffBases *bases;
    size_t point, n_items;
    const View *rows;
    const DiffItem *items;
    const uint32_t *massive;
} Turning;

static bool is_sampled(const DiffItem *item, size_t class, size_t n, size_t n_wanted)
{
    return item->has_control && item->at[class] != DIFF_NO_ROW && n < n_wanted;
}

static void one_basis(void *arg, size_t k, int thread)
{
    const Turning *t = arg;
    const DiffBases *b = t->bases;
    size_t d = b->d;
    (void)thread;
    float *memory = malloc(3 * d * sizeof *memory), *x = memory, *turned = x + d, *scratch = turned + d;
    double *rows = malloc(2 * d * sizeof *rows), *from = rows, *to = rows + d;
    for (size_t class = 0; memory && rows && class < DIFF_ALL; class ++) {
        float *sums = basis_sums(b, class, t->point, k);
        for (size_t i = 0, n = b->n[class]; i < t->n_items; i++) {
            const DiffItem *item = &t->items[i];
            if (!is_sampled(item, class, n, b->n_wanted))
                continue;
            n++;
            size_t r = (size_t)item->at[class];
            diff_curves_load(t->rows, item->a + r, from);
            for (size_t which = 0; which < 2; which++) {
                diff_curves_load(t->rows, (which ? item->c : item->b) + r, to);
                for (size_t j = 0; j < d; j++)
                    x[j] = t->massive[j] ? 0 : (float)(to[j] - from[j]);
                if (k)
                    diff_rotate(b->rotations, k - 1, x, turned, scratch);
                const float *values = k ? turned : x, scale = which ? (float)fmin(1, item->nearness) : 1;
                for (size_t j = 0; j < d; j++)
                    sums[which * d + j] += scale * fabsf(values[j]);
            }
        }
    }
    free(memory);
    free(rows);
}

void diff_bases_add(DiffBases *b, Pool *pool, size_t point, const View *rows, const DiffItem *items, size_t n_items,
                    const uint32_t *massive)
{
    size_t still = 0;
    for (size_t class = 0; class < DIFF_ALL; class ++)
        still += b->n[class] < b->n_wanted;
    if (!still)
        return;
    Turning t = {.bases = b, .point = point, .rows = rows, .items = items, .n_items = n_items, .massive = massive};
    pool_run(pool, one_basis, &t, n_bases(b));
    if (point + 1 < b->n_points)
        return;
    for (size_t class = 0; class < DIFF_ALL; class ++) /* the last point of a block: the next block goes on from here */
        for (size_t i = 0; i < n_items; i++)
            b->n[class] += is_sampled(&items[i], class, b->n[class], b->n_wanted);
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
