/* diff_sums.c: see diff_sums.h. */
#include "experiments/diff_sums.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "kernels/host_entries.h"

const char *const diff_class_names[DIFF_N_CLASSES] = {"edited", "next", "last", "onset", "all"};
_Static_assert((int)DIFF_N_CLASSES == PAIR_CLASSES && (int)DIFF_ALL == PAIR_ALL, "the classes of kernels/pair_sums.h");

struct DiffSums {
    DiffShape shape; /* as opened; groups as set by the last clear */
    Pool *pool;
    const Ops *ops; /* NULL: the host's memory */
    OpsContext *ctx;
    size_t n_chunks, chunk_bytes, bytes;
    void *chunks; /* [n_points][DIFF_N_CLASSES][n_chunks], in memory of the table */
    char *read;   /* likewise on the host: the same where it is the host's */
    /* By class; the same at every point, counted at the point that comes first. */
    size_t *n, *n_control, *n_shuffled; /* [n_points][DIFF_N_CLASSES] */
    double *template_count, *word_count;
    PairItem *items; /* [most_items]: a block's, as the table wants them */
};

static size_t group_rows(const DiffShape *s)
{
    return pair_group_rows(s->n_template_groups, s->n_word_groups);
}

static bool chunks_bytes(const DiffShape *s, size_t *bytes)
{
    size_t cells;
    return checked_mul(s->n_points * DIFF_N_CLASSES, pair_chunks(s->n_cols), &cells) &&
           checked_mul(cells, pair_chunk_bytes(s->n_template_groups, s->n_word_groups), bytes);
}

size_t diff_sums_bytes(const DiffShape *s)
{
    size_t bytes;
    if (!chunks_bytes(s, &bytes))
        return 0;
    return bytes + s->n_points * DIFF_N_CLASSES * 3 * sizeof(size_t) + s->most_items * sizeof(PairItem) +
           DIFF_N_CLASSES * (s->n_template_groups + 2 * s->n_word_groups) * sizeof(double) + sizeof(DiffSums);
}

/* Memory of the chunks, where the rows are and on the host. */
static int open_chunks(DiffSums *s, Error *e)
{
    if (s->ops) {
        int status = s->ops->alloc(s->ctx, s->bytes, &s->chunks, e);
        if (status)
            return status;
    }
    if (!s->ops || !s->ops->host_memory)
        s->read = aligned_alloc(64, s->bytes);
    else
        s->read = s->chunks;
    if (!s->ops)
        s->chunks = s->read;
    return s->read ? STATUS_OK : error_set(e, STATUS_FAILED, "diff: out of memory for the sums, %zu MiB", s->bytes >> 20);
}

int diff_sums_open(const DiffShape *shape, Pool *pool, const Ops *ops, OpsContext *ctx, DiffSums **out, Error *e)
{
    size_t bytes = diff_sums_bytes(shape), cells = shape->n_points * DIFF_N_CLASSES;
    DiffSums *s = bytes ? calloc(1, sizeof *s) : NULL;
    if (s) {
        s->shape = *shape;
        s->pool = pool;
        s->ops = ops;
        s->ctx = ctx;
        s->n_chunks = pair_chunks(shape->n_cols);
        s->chunk_bytes = pair_chunk_bytes(shape->n_template_groups, shape->n_word_groups);
        s->bytes = cells * s->n_chunks * s->chunk_bytes;
        s->n = calloc(3 * cells, sizeof *s->n);
        s->template_count = calloc(DIFF_N_CLASSES * (shape->n_template_groups + 2 * shape->n_word_groups) + 1, sizeof(double));
        s->items = calloc(shape->most_items + 1, sizeof *s->items);
    }
    int status = s && s->n && s->template_count && s->items
                     ? open_chunks(s, e)
                     : error_set(e, STATUS_FAILED, "diff: out of memory for the sums, %zu MiB", bytes >> 20);
    if (status) {
        diff_sums_close(s);
        return status;
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
    if (s->read != s->chunks || !s->ops)
        free(s->read);
    if (s->ops && s->chunks)
        s->ops->free(s->ctx, s->chunks, s->bytes);
    free(s->n);
    free(s->template_count);
    free(s->items);
    free(s);
}

void diff_sums_clear(DiffSums *s, size_t n_template_groups, size_t n_word_groups)
{
    size_t cells = s->shape.n_points * DIFF_N_CLASSES;
    if (s->ops)
        s->ops->clear(s->ctx, s->chunks, s->bytes);
    else
        memset(s->chunks, 0, s->bytes);
    memset(s->n, 0, 3 * cells * sizeof *s->n);
    s->shape.n_template_groups = n_template_groups;
    s->shape.n_word_groups = n_word_groups;
    s->word_count = s->template_count + DIFF_N_CLASSES * n_template_groups;
    memset(s->template_count, 0, DIFF_N_CLASSES * (n_template_groups + 2 * n_word_groups) * sizeof(double));
}

int diff_sums_read(DiffSums *s, Error *e)
{
    if (!s->ops)
        return STATUS_OK;
    if (s->read != s->chunks)
        s->ops->read(s->ctx, s->read, s->chunks, s->bytes);
    return s->ops->sync(s->ctx, e);
}

static PairChunk *chunk_at(const DiffSums *s, size_t point, size_t class, size_t chunk)
{
    return (PairChunk *)(void *)(s->read + ((point * DIFF_N_CLASSES + class) * s->n_chunks + chunk) * s->chunk_bytes);
}

static const float *groups_of(const PairChunk *c)
{
    return (const float *)(const void *)(c + 1);
}

static PairItem pair_item(const DiffItem *items, size_t i)
{
    const DiffItem *item = &items[i], *partner = &items[item->partner];
    bool has_s = item->partner != i;
    PairItem p = {.a = (int32_t)item->a,
                  .b = (int32_t)item->b,
                  .c = item->has_control ? (int32_t)item->c : PAIR_NONE,
                  .s = has_s ? (int32_t)partner->b : PAIR_NONE,
                  .n = (int32_t)item->n,
                  .n_s = (int32_t)(item->n < partner->n ? item->n : partner->n),
                  .template_group = (int32_t)item->template_group,
                  .word_group = (int32_t)item->word_group,
                  .half = item->half,
                  .control_scale = fmin(1, item->nearness)};
    for (size_t class = 0; class < DIFF_N_CLASSES; class ++) {
        p.at[class] = (int32_t)item->at[class];
        p.at_s[class] = (int32_t)partner->at[class];
    }
    return p;
}

/* Items of which s->items says what the table was told. */
static void count(DiffSums *s, size_t point, const DiffItem *items, size_t n_items)
{
    size_t w = s->shape.n_word_groups;
    for (size_t class = 0; class < DIFF_N_CLASSES; class ++) {
        size_t cell = point * DIFF_N_CLASSES + class;
        for (size_t i = 0; i < n_items; i++) {
            if (items[i].at[class] == DIFF_NO_ROW)
                continue;
            s->n[cell]++;
            s->n_shuffled[cell] += pair_has_s(&s->items[i], (int)class);
            s->n_control[cell] += items[i].has_control;
            if (point > 0 || !items[i].has_control)
                continue;
            s->template_count[class * s->shape.n_template_groups + items[i].template_group]++;
            s->word_count[(class * 2 + (size_t)items[i].half) * w + items[i].word_group]++;
        }
    }
}

/* The sums of a point as the table wants them; the items are then in s->items. */
static PairSums sums_of(DiffSums *s, size_t point, const DiffItem *items, size_t n_items)
{
    size_t first = point * DIFF_N_CLASSES;
    PairSums to = {.chunks = (char *)s->chunks + first * s->n_chunks * s->chunk_bytes,
                   .chunk_bytes = s->chunk_bytes,
                   .n_cols = s->shape.n_cols,
                   .n_template_groups = s->shape.n_template_groups,
                   .n_word_groups = s->shape.n_word_groups};
    memcpy(to.n, s->n + first, sizeof to.n);
    for (size_t i = 0; i < n_items; i++)
        s->items[i] = pair_item(items, i);
    return to;
}

void diff_sums_add(DiffSums *s, size_t point, View rows, const DiffItem *items, size_t n_items)
{
    PairSums to = sums_of(s, point, items, n_items);
    if (s->ops)
        s->ops->pair_sums(s->ctx, &to, rows, s->items, n_items);
    else
        host_pair_sums(s->pool, &to, rows, s->items, n_items);
    count(s, point, items, n_items);
}

void diff_sums_add_values(DiffSums *s, size_t point, const double *y, const double *x, const double *shuffled,
                          const DiffItem *items, size_t n_items)
{
    PairSums to = sums_of(s, point, items, n_items);
    host_pair_values(s->pool, &to, y, x, shuffled, s->items, n_items);
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
        const PairChunk *c = chunk_at(s, point, class, i / PAIR_COLS);
        size_t j = i % PAIR_COLS;
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
            out->shuffled[i] = out->n_shuffled ? c->s[j] / n_shuffled : NAN;
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
        const PairChunk *c = chunk_at(s, point, class, i / PAIR_COLS);
        const float *groups = groups_of(c);
        size_t j = i % PAIR_COLS;
        double k = scale ? scale[i] : 1;
        for (size_t g = 0; g < n_groups; g++)
            scratch[g * d + i] = k * (double)groups[g * PAIR_COLS + j];
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
