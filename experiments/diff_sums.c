/* diff_sums.c: see diff_sums.h. */
#include "experiments/diff_sums.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"

enum { COLS = 16, STRIP = 32 }; /* STRIP: items whose values lie ready in the first cache */

const char *const diff_class_names[DIFF_N_CLASSES] = {"edited", "next", "last", "onset", "all"};

/* A chunk's sums: this head, then float [2 * n_template_groups + 4 * n_word_groups][COLS]: y and x by template, y by word in both halves,
 * x likewise. */
typedef struct Chunk {
    double sum[COLS], squares[COLS], shuffled[COLS];
    double yy[2][COLS], xy[2][COLS], xx[2][COLS];
    DiffSketch sketch[COLS];
} Chunk;

struct DiffSums {
    DiffShape shape; /* as opened; groups as set by the last clear */
    Pool *pool;
    size_t n_chunks, chunk_bytes;
    char *chunks; /* [n_points][DIFF_N_CLASSES][n_chunks] */
    /* By class; the same at every point, counted at the point that comes first. */
    size_t *n, *n_control, *n_shuffled; /* [n_points][DIFF_N_CLASSES] */
    double *template_count, *word_count;
};

static size_t group_rows(const DiffShape *s)
{
    return 2 * s->n_template_groups + 4 * s->n_word_groups;
}

static size_t chunk_bytes(const DiffShape *s)
{
    size_t bytes = sizeof(Chunk) + group_rows(s) * COLS * sizeof(float);
    return (bytes + 63) & ~(size_t)63;
}

size_t diff_sums_bytes(const DiffShape *s)
{
    size_t cells, bytes, chunks = (s->n_cols + COLS - 1) / COLS;
    if (!checked_mul(s->n_points * DIFF_N_CLASSES, chunks, &cells) || !checked_mul(cells, chunk_bytes(s), &bytes))
        return 0;
    return bytes + s->n_points * DIFF_N_CLASSES * 3 * sizeof(size_t) +
           DIFF_N_CLASSES * (s->n_template_groups + 2 * s->n_word_groups) * sizeof(double) + sizeof(DiffSums);
}

int diff_sums_open(const DiffShape *shape, Pool *pool, DiffSums **out, Error *e)
{
    size_t bytes = diff_sums_bytes(shape), cells = shape->n_points * DIFF_N_CLASSES;
    DiffSums *s = bytes ? calloc(1, sizeof *s) : NULL;
    if (s) {
        s->shape = *shape;
        s->pool = pool;
        s->n_chunks = (shape->n_cols + COLS - 1) / COLS;
        s->chunk_bytes = chunk_bytes(shape);
        s->chunks = aligned_alloc(64, cells * s->n_chunks * s->chunk_bytes);
        s->n = calloc(3 * cells, sizeof *s->n);
        s->template_count = calloc(DIFF_N_CLASSES * (shape->n_template_groups + 2 * shape->n_word_groups) + 1, sizeof(double));
    }
    if (!s || !s->chunks || !s->n || !s->template_count) {
        diff_sums_close(s);
        return error_set(e, STATUS_FAILED, "diff: out of memory for the sums, %zu MiB", bytes >> 20);
    }
    s->n_control = s->n + cells;
    s->n_shuffled = s->n_control + cells;
    diff_sums_clear(s, shape->n_template_groups, shape->n_word_groups);
    *out = s;
    return STATUS_OK;
}

void diff_sums_close(DiffSums *s)
{
    if (!s)
        return;
    free(s->chunks);
    free(s->n);
    free(s->template_count);
    free(s);
}

void diff_sums_clear(DiffSums *s, size_t n_template_groups, size_t n_word_groups)
{
    size_t cells = s->shape.n_points * DIFF_N_CLASSES;
    memset(s->chunks, 0, cells * s->n_chunks * s->chunk_bytes);
    memset(s->n, 0, 3 * cells * sizeof *s->n);
    s->shape.n_template_groups = n_template_groups;
    s->shape.n_word_groups = n_word_groups;
    s->word_count = s->template_count + DIFF_N_CLASSES * n_template_groups;
    memset(s->template_count, 0, DIFF_N_CLASSES * (n_template_groups + 2 * n_word_groups) * sizeof(double));
}

static Chunk *chunk_at(const DiffSums *s, size_t point, size_t class, size_t chunk)
{
    return (Chunk *)(void *)(s->chunks + ((point * DIFF_N_CLASSES + class) * s->n_chunks + chunk) * s->chunk_bytes);
}

static float *groups_of(Chunk *c)
{
    return (float *)(void *)(c + 1);
}

/* One item's values for a chunk. */
typedef struct Values {
    double y[COLS], x[COLS], shuffled[COLS];
    bool has_control, has_shuffled;
} Values;

static void add_to_group(float *groups, size_t row, const double *value)
{
    float *to = groups + row * COLS;
    for (size_t j = 0; j < COLS; j++)
        to[j] += (float)value[j];
}

/* n: values of this class that came before; consecutive ones of a sketch are counted from it. */
static void chunk_add(const DiffSums *s, Chunk *c, size_t n, size_t n_cols, const DiffItem *item, const Values *v)
{
    size_t t = s->shape.n_template_groups, w = s->shape.n_word_groups;
    for (size_t j = 0; j < COLS; j++) {
        c->sum[j] += v->y[j];
        c->squares[j] += v->y[j] * v->y[j];
    }
    for (size_t j = 0; j < n_cols; j++)
        diff_sketch_add(&c->sketch[j], n, DIFF_SKETCH_TRIM, (float)v->y[j]);
    for (size_t j = 0; v->has_shuffled && j < COLS; j++)
        c->shuffled[j] += v->shuffled[j];
    if (!v->has_control)
        return;
    double *yy = c->yy[item->half], *xy = c->xy[item->half], *xx = c->xx[item->half];
    for (size_t j = 0; j < COLS; j++) {
        yy[j] += v->y[j] * v->y[j];
        xy[j] += v->x[j] * v->y[j];
        xx[j] += v->x[j] * v->x[j];
    }
    float *groups = groups_of(c);
    size_t word = 2 * t + (size_t)item->half * w + item->word_group;
    add_to_group(groups, item->template_group, v->y);
    add_to_group(groups, t + item->template_group, v->x);
    add_to_group(groups, word, v->y);
    add_to_group(groups, word + 2 * w, v->x);
}

typedef struct Adding {
    DiffSums *s;
    size_t point;
    View rows;
    const DiffItem *items;
    size_t n_items;
    const double *y, *x, *shuffled; /* values given, or NULL: rows */
} Adding;

static void load(const View *rows, size_t row, size_t col, size_t n, double out[COLS])
{
    if (rows->dtype == DTYPE_F64) {
        const double *from = (const double *)rows->data + row * rows->ld + col;
        for (size_t j = 0; j < n; j++)
            out[j] = from[j];
    } else {
        const float *from = (const float *)rows->data + row * rows->ld + col;
        for (size_t j = 0; j < n; j++)
            out[j] = from[j];
    }
}

static void add_distance(const View *rows, size_t a, size_t b, size_t col, size_t n, double scale, double out[COLS])
{
    double from[COLS] = {0}, to[COLS] = {0};
    load(rows, a, col, n, from);
    load(rows, b, col, n, to);
    for (size_t j = 0; j < COLS; j++)
        out[j] += scale * fabs(to[j] - from[j]);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The shuffled pairing's offset in the partner, DIFF_NO_ROW where it has none. */
static bool shuffles(const DiffItem *items, size_t i, size_t class)
{
    return items[i].partner != i && items[items[i].partner].at[class] != DIFF_NO_ROW;
}

/* Values of item i in a class for n columns from `col` on. */
static void values_of(const Adding *q, size_t i, size_t class, size_t col, size_t n, Values *v)
{
    const DiffItem *item = &q->items[i], *partner = &q->items[item->partner];
    memset(v, 0, sizeof *v);
    v->has_control = item->has_control;
    v->has_shuffled = shuffles(q->items, i, class);
    if (q->y) {
        size_t at = (i * DIFF_N_CLASSES + class) * q->s->shape.n_cols + col;
        memcpy(v->y, q->y + at, n * sizeof *v->y);
        memcpy(v->x, q->x + at, n * sizeof *v->x);
        memcpy(v->shuffled, q->shuffled + at, n * sizeof *v->shuffled);
        return;
    }
    size_t first = (size_t)item->at[class], n_rows = class == DIFF_ALL ? item->n : 1;
    for (size_t r = first; r < first + n_rows; r++) {
        add_distance(&q->rows, item->a + r, item->b + r, col, n, 1.0 / (double)n_rows, v->y);
        if (v->has_control)
            add_distance(&q->rows, item->a + r, item->c + r, col, n, fmin(1, item->nearness) / (double)n_rows, v->x);
    }
    if (!v->has_shuffled)
        return;
    size_t other = (size_t)partner->at[class], both = class == DIFF_ALL ? least(item->n, partner->n) : 1;
    for (size_t r = 0; r < both; r++)
        add_distance(&q->rows, item->a + first + r, partner->b + other + r, col, n, 1.0 / (double)both, v->shuffled);
}

/* One chunk of columns in all classes. */
static void add_chunk(void *arg, size_t chunk, int thread)
{
    const Adding *q = arg;
    DiffSums *s = q->s;
    size_t col = chunk * COLS, n_cols = least(COLS, s->shape.n_cols - col);
    (void)thread;
    for (size_t class = 0; class < DIFF_N_CLASSES; class ++) {
        Chunk *c = chunk_at(s, q->point, class, chunk);
        size_t n = s->n[q->point * DIFF_N_CLASSES + class];
        for (size_t i = 0; i < q->n_items; i++) {
            Values v;
            if (q->items[i].at[class] == DIFF_NO_ROW)
                continue;
            values_of(q, i, class, col, n_cols, &v);
            chunk_add(s, c, n++, n_cols, &q->items[i], &v);
        }
    }
}

static void count(DiffSums *s, size_t point, const DiffItem *items, size_t n_items)
{
    size_t w = s->shape.n_word_groups;
    for (size_t class = 0; class < DIFF_N_CLASSES; class ++) {
        size_t cell = point * DIFF_N_CLASSES + class;
        for (size_t i = 0; i < n_items; i++) {
            if (items[i].at[class] == DIFF_NO_ROW)
                continue;
            s->n[cell]++;
            s->n_shuffled[cell] += shuffles(items, i, class);
            s->n_control[cell] += items[i].has_control;
            if (point > 0 || !items[i].has_control)
                continue;
            s->template_count[class * s->shape.n_template_groups + items[i].template_group]++;
            s->word_count[(class * 2 + (size_t)items[i].half) * w + items[i].word_group]++;
        }
    }
}

void diff_sums_add(DiffSums *s, size_t point, View rows, const DiffItem *items, size_t n_items)
{
    Adding q = {.s = s, .point = point, .rows = rows, .items = items, .n_items = n_items};
    pool_run(s->pool, add_chunk, &q, s->n_chunks);
    count(s, point, items, n_items);
}

void diff_sums_add_values(DiffSums *s, size_t point, const double *y, const double *x, const double *shuffled,
                          const DiffItem *items, size_t n_items)
{
    Adding q = {.s = s, .point = point, .items = items, .n_items = n_items, .y = y, .x = x, .shuffled = shuffled};
    pool_run(s->pool, add_chunk, &q, s->n_chunks);
    count(s, point, items, n_items);
}

void diff_sums_moments(const DiffSums *s, DiffClass class, size_t point, DiffMoments *out)
{
    size_t cell = point * DIFF_N_CLASSES + class;
    out->n = s->n[cell];
    out->n_control = s->n_control[cell];
    out->n_shuffled = s->n_shuffled[cell];
    double n = (double)out->n, n_shuffled = (double)out->n_shuffled;
    for (size_t i = 0; i < s->shape.n_cols; i++) {
        const Chunk *c = chunk_at(s, point, class, i / COLS);
        size_t j = i % COLS;
        double bound, mean = out->n ? c->sum[j] / n : NAN;
        if (out->mean)
            out->mean[i] = mean;
        if (out->sd) {
            double rest = c->squares[j] - n * mean * mean; /* f64 sums: rounding is some 1e-16 of n mean^2 */
            out->sd[i] = out->n > 1 ? sqrt((rest > 0 ? rest : 0) / (n - 1)) : NAN;
        }
        if (out->median || out->median_bound) {
            double median = diff_sketch_median(&c->sketch[j], out->n, &bound);
            if (out->median)
                out->median[i] = median;
            if (out->median_bound)
                out->median_bound[i] = bound;
        }
        if (out->shuffled)
            out->shuffled[i] = out->n_shuffled ? c->shuffled[j] / n_shuffled : NAN;
    }
}

size_t diff_sums_scratch(const DiffSums *s)
{
    return (group_rows(&s->shape) + 6) * s->shape.n_cols;
}

DiffStatsSums diff_sums_row(const DiffSums *s, DiffClass class, size_t point, const double *scale, double *scratch)
{
    size_t d = s->shape.n_cols, t = s->shape.n_template_groups, w = s->shape.n_word_groups, n_groups = group_rows(&s->shape);
    double *yy = scratch + n_groups * d;
    for (size_t i = 0; i < d; i++) {
        Chunk *c = chunk_at(s, point, class, i / COLS);
        const float *groups = groups_of(c);
        size_t j = i % COLS;
        double k = scale ? scale[i] : 1;
        for (size_t g = 0; g < n_groups; g++)
            scratch[g * d + i] = k * (double)groups[g * COLS + j];
        for (size_t half = 0; half < 2; half++) {
            yy[half * d + i] = k * k * c->yy[half][j];
            yy[(2 + half) * d + i] = k * k * c->xy[half][j];
            yy[(4 + half) * d + i] = k * k * c->xx[half][j];
        }
    }
    return (DiffStatsSums){.y_template = scratch,
                           .x_template = scratch + t * d,
                           .y_word = scratch + 2 * t * d,
                           .x_word = scratch + (2 * t + 2 * w) * d,
                           .yy = yy,
                           .xy = yy + 2 * d,
                           .xx = yy + 4 * d};
}

const double *diff_sums_counts(const DiffSums *s, DiffClass class, bool words)
{
    return words ? s->word_count + (size_t) class * 2 * s->shape.n_word_groups
                 : s->template_count + (size_t) class * s->shape.n_template_groups;
}
