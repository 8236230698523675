/* diff_sigma.c: see diff_sigma.h. */
#include "experiments/diff_sigma.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/rng.h"
#include "experiments/diff_sketch.h"

enum { SIGMA_STREAM = 21, TRIM = 2, MEDIAN_ROWS = 64, ROTATED_EVERY = 8, COLS = 16 };
static const double MASSIVE = 100, MASSIVE_RATIO = 1000, NORMAL_MAD = 1.482602218505602;

typedef struct Column {
    double shift, sum, squares, unrelated; /* sums of x - shift, and of its square; shift: the first value */
    uint32_t n, n_massive;
    Sketch sketch;
} Column;

struct DiffSigma {
    DiffSigmaShape shape;
    Pool *pool;
    Rng rng;
    Column *columns;       /* [n_points, D] */
    size_t *n_unrelated;   /* [n_points] */
    double *median_size;   /* [n_points] */
    double *rotated;       /* [n_points, n rotations, D, 2]: sums and squares, of every ROTATED_EVERY-th row */
    size_t *n_rotated;     /* [n_points] */
    size_t n_positions;    /* at point 0 */
    int32_t *rows, *first; /* the block's rows that count, in random order, and for `unrelated` pairs of rows */
    size_t n_rows, n_pairs, cap;
};

static size_t n_rotations(const DiffSigmaShape *s)
{
    return s->rotations ? s->rotations->n : 0;
}

size_t diff_sigma_bytes(const DiffSigmaShape *s)
{
    return s->n_points * s->d * (sizeof(Column) + (2 * n_rotations(s) + 3) * sizeof(double));
}

int diff_sigma_open(const DiffSigmaShape *shape, Pool *pool, uint64_t seed, DiffSigma **out, Error *e)
{
    DiffSigma *s = calloc(1, sizeof *s);
    if (s) {
        s->shape = *shape;
        s->pool = pool;
        rng_seed(&s->rng, seed, SIGMA_STREAM);
        s->columns = calloc(shape->n_points * shape->d, sizeof *s->columns);
        s->n_unrelated = calloc(2 * shape->n_points, sizeof *s->n_unrelated);
        s->median_size = calloc(shape->n_points, sizeof *s->median_size);
        s->rotated = calloc(shape->n_points * n_rotations(shape) * shape->d * 2 + 1, sizeof *s->rotated);
    }
    if (!s || !s->columns || !s->n_unrelated || !s->median_size || !s->rotated) {
        diff_sigma_close(s);
        return error_set(e, STATUS_FAILED, "diff: out of memory for sigma, %zu MiB", diff_sigma_bytes(shape) >> 20);
    }
    s->n_rotated = s->n_unrelated + shape->n_points;
    *out = s;
    return STATUS_OK;
}

void diff_sigma_close(DiffSigma *s)
{
    if (!s)
        return;
    free(s->columns);
    free(s->n_unrelated);
    free(s->median_size);
    free(s->rotated);
    free(s->rows);
    free(s->first);
    free(s);
}

static double value(const View *v, size_t row, size_t col)
{
    return v->dtype == DTYPE_F64 ? ((const double *)v->data)[row * v->ld + col]
                                 : (double)((const float *)v->data)[row * v->ld + col];
}

/* Rows that count, shuffled (the sketch wants random order), and pairs of rows of neighbouring windows. */
static void list_rows(DiffSigma *s, const TokenBlock *block)
{
    if (block->n_rows > s->cap) {
        free(s->rows);
        free(s->first);
        s->cap = block->n_rows;
        s->rows = malloc(s->cap * sizeof *s->rows);
        s->first = malloc(2 * s->cap * sizeof *s->first);
    }
    s->n_rows = s->n_pairs = 0;
    if (!s->rows || !s->first) {
        s->cap = 0;
        return;
    }
    for (size_t w = 0; w < block->n_windows; w++)
        for (size_t row = block->window_start[w] + 1; row < block->window_start[w + 1]; row++)
            s->rows[s->n_rows++] = (int32_t)row;
    rng_shuffle(&s->rng, s->rows, s->n_rows);
    for (size_t w = 0; w + 1 < block->n_windows; w += 2) {
        size_t a = block->window_start[w], b = block->window_start[w + 1], end = block->window_start[w + 2];
        for (size_t i = 1; a + i < b && b + i < end; i++, s->n_pairs++) {
            s->first[2 * s->n_pairs] = (int32_t)(a + i);
            s->first[2 * s->n_pairs + 1] = (int32_t)(b + i);
        }
    }
    s->n_positions += s->n_rows;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double median_size(const DiffSigma *s, const View *rows)
{
    size_t n_rows = s->n_rows < MEDIAN_ROWS ? s->n_rows : MEDIAN_ROWS, n = n_rows * s->shape.d;
    float *sizes = malloc((n + 1) * sizeof *sizes);
    if (!sizes || n == 0) {
        free(sizes);
        return 0;
    }
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < s->shape.d; j++)
            sizes[i * s->shape.d + j] = (float)fabs(value(rows, (size_t)s->rows[i], j));
    qsort(sizes, n, sizeof *sizes, by_value);
    double median = sizes[n / 2];
    free(sizes);
    return median;
}

typedef struct Adding {
    DiffSigma *s;
    size_t point;
    View rows;
    double massive; /* values above are left out */
} Adding;

static void add_columns(void *arg, size_t task, int thread)
{
    const Adding *q = arg;
    const DiffSigma *s = q->s;
    (void)thread;
    size_t from = task * COLS, to = from + COLS < s->shape.d ? from + COLS : s->shape.d;
    for (size_t i = 0; i < s->n_rows; i++) {
        for (size_t j = from; j < to; j++) {
            Column *c = &s->columns[q->point * s->shape.d + j];
            double x = value(&q->rows, (size_t)s->rows[i], j);
            if (fabs(x) > q->massive) {
                c->n_massive++;
                continue;
            }
            if (c->n == 0)
                c->shift = x;
            c->sum += x - c->shift;
            c->squares += (x - c->shift) * (x - c->shift);
            sketch_add(&c->sketch, c->n++, TRIM, (float)x);
        }
    }
    for (size_t i = 0; i < s->n_pairs; i++)
        for (size_t j = from; j < to; j++)
            s->columns[q->point * s->shape.d + j].unrelated +=
                fabs(value(&q->rows, (size_t)s->first[2 * i], j) - value(&q->rows, (size_t)s->first[2 * i + 1], j));
}

/* One rotation over some of the rows; massive values count as 0. */
static void add_rotation(void *arg, size_t k, int thread)
{
    const Adding *q = arg;
    const DiffSigma *s = q->s;
    size_t d = s->shape.d;
    (void)thread;
    double *sums = s->rotated + (q->point * n_rotations(&s->shape) + k) * d * 2;
    float *memory = malloc(3 * d * sizeof *memory), *x = memory, *y = x + d, *scratch = y + d;
    for (size_t i = 0; memory && i < s->n_rows; i += ROTATED_EVERY) {
        for (size_t j = 0; j < d; j++) {
            double v = value(&q->rows, (size_t)s->rows[i], j);
            x[j] = fabs(v) > q->massive ? 0 : (float)v;
        }
        diff_rotate(s->shape.rotations, k, x, y, scratch);
        for (size_t j = 0; j < d; j++) {
            sums[2 * j] += (double)y[j];
            sums[2 * j + 1] += (double)y[j] * (double)y[j];
        }
    }
    free(memory);
}

void diff_sigma_add(DiffSigma *s, size_t point, const TokenBlock *block, View rows)
{
    if (point == 0)
        list_rows(s, block);
    if (s->median_size[point] == 0)
        s->median_size[point] = median_size(s, &rows);
    double massive = MASSIVE_RATIO * s->median_size[point];
    Adding q = {.s = s, .point = point, .rows = rows, .massive = massive > MASSIVE ? massive : MASSIVE};
    pool_run(s->pool, add_columns, &q, (s->shape.d + COLS - 1) / COLS);
    if (s->shape.rotations)
        pool_run(s->pool, add_rotation, &q, n_rotations(&s->shape));
    s->n_unrelated[point] += s->n_pairs;
    s->n_rotated[point] += (s->n_rows + ROTATED_EVERY - 1) / ROTATED_EVERY;
}

static double deviation(double sum, double squares, double n)
{
    double rest = squares - sum * sum / n;
    return n > 1 ? sqrt((rest > 0 ? rest : 0) / (n - 1)) : NAN;
}

int diff_sigma_finish(DiffSigma *s, DiffSigmaResult *out, Error *e)
{
    size_t points = s->shape.n_points, d = s->shape.d, n = points * d, k = n_rotations(&s->shape);
    memset(out, 0, sizeof *out);
    out->mean = malloc(4 * n * sizeof *out->mean);
    out->n_massive = malloc(n * sizeof *out->n_massive);
    out->rotated = k ? malloc(n * k * sizeof *out->rotated) : NULL;
    out->median_size = s->median_size;
    s->median_size = NULL;
    out->n_positions = s->n_positions;
    if (!out->mean || !out->n_massive || (k && !out->rotated)) {
        diff_sigma_result_free(out);
        return error_set(e, STATUS_FAILED, "diff: out of memory for sigma");
    }
    out->sigma = out->mean + n;
    out->mad = out->sigma + n;
    out->unrelated = out->mad + n;
    for (size_t i = 0; i < n; i++) {
        const Column *c = &s->columns[i];
        double bound, count = c->n, pairs = (double)s->n_unrelated[i / d];
        out->mean[i] = (float)(c->n ? c->shift + c->sum / count : NAN);
        out->sigma[i] = (float)deviation(c->sum, c->squares, count);
        out->mad[i] =
            (float)(NORMAL_MAD * diff_sketch_deviation(&c->sketch, c->n, diff_sketch_median(&c->sketch, c->n, &bound), &bound));
        out->unrelated[i] = (float)(pairs > 0 ? c->unrelated / pairs : NAN);
        out->n_massive[i] = c->n_massive;
    }
    for (size_t i = 0; i < n * k; i++)
        out->rotated[i] = (float)deviation(s->rotated[2 * i], s->rotated[2 * i + 1], (double)s->n_rotated[i / (k * d)]);
    return STATUS_OK;
}

void diff_sigma_result_free(DiffSigmaResult *r)
{
    free(r->mean);
    free(r->n_massive);
    free(r->rotated);
    free(r->median_size);
    memset(r, 0, sizeof *r);
}
