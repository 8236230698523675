/* host_entries.c: see host_entries.h. A chunk's sums stay in the first cache while all items go over it; every sum runs over the items in
 * their order, whatever the number of threads. */
#include "kernels/host_entries.h"

#include <math.h>
#include <string.h>

void host_clear(OpsContext *c, void *memory, size_t bytes)
{
    (void)c;
    memset(memory, 0, bytes);
}

void host_read(OpsContext *c, void *dst, const void *memory, size_t bytes)
{
    (void)c;
    memcpy(dst, memory, bytes);
}

void host_gather(OpsContext *c, View out, View x, const int32_t *rows)
{
    size_t elem = dtype_block_bytes(x.dtype);
    (void)c;
    for (size_t t = 0; t < out.rows; t++)
        memcpy((char *)out.data + t * out.ld * elem, (const char *)x.data + (size_t)rows[t] * x.ld * elem, out.cols * elem);
}

/* ---- sums over pairs ---- */

/* One item's values for a chunk. */
typedef struct Values {
    double y[PAIR_COLS], x[PAIR_COLS], s[PAIR_COLS];
    bool has_s;
} Values;

typedef struct Adding {
    const PairSums *to;
    View rows;
    const PairItem *items;
    size_t n_items;
    const double *y, *x, *s; /* values given, or NULL: rows */
} Adding;

static void load(const View *rows, size_t row, size_t col, size_t n, double out[PAIR_COLS])
{
    if (rows->dtype == DTYPE_F64) {
        const double *from = (const double *)rows->data + row * rows->ld + col;
        for (size_t j = 0; j < n; j++)
            out[j] = from[j];
    } else {
        const float *from = (const float *)rows->data + row * rows->ld + col;
        for (size_t j = 0; j < n; j++)
            out[j] = (double)from[j];
    }
}

static void add_distance(const View *rows, int32_t a, int32_t b, size_t col, size_t n, double scale, double out[PAIR_COLS])
{
    double from[PAIR_COLS] = {0}, to[PAIR_COLS] = {0};
    load(rows, (size_t)a, col, n, from);
    load(rows, (size_t)b, col, n, to);
    for (size_t j = 0; j < PAIR_COLS; j++)
        out[j] += scale * fabs(to[j] - from[j]);
}

/* Values of item i in a class for n columns from `col` on. */
static void values_of(const Adding *q, size_t i, int class_index, size_t col, size_t n, Values *v)
{
    const PairItem *item = &q->items[i];
    bool all = class_index == PAIR_ALL;
    memset(v, 0, sizeof *v);
    v->has_s = pair_has_s(item, class_index);
    if (q->y) {
        size_t at = (i * PAIR_CLASSES + (size_t)class_index) * q->to->n_cols + col;
        memcpy(v->y, q->y + at, n * sizeof *v->y);
        memcpy(v->x, q->x + at, n * sizeof *v->x);
        memcpy(v->s, q->s + at, n * sizeof *v->s);
        return;
    }
    int32_t first = item->at[class_index], n_rows = all ? item->n : 1;
    for (int32_t r = first; r < first + n_rows; r++) {
        add_distance(&q->rows, item->a + r, item->b + r, col, n, 1.0 / (double)n_rows, v->y);
        if (item->c != PAIR_NONE)
            add_distance(&q->rows, item->a + r, item->c + r, col, n, item->control_scale / (double)n_rows, v->x);
    }
    int32_t both = !v->has_s ? 0 : all ? item->n_s : 1;
    for (int32_t r = 0; r < both; r++)
        add_distance(&q->rows, item->a + first + r, item->s + item->at_s[class_index] + r, col, n, 1.0 / (double)both, v->s);
}

static void add_to_group(float *groups, size_t row, const double *value)
{
    float *to = groups + row * PAIR_COLS;
    for (size_t j = 0; j < PAIR_COLS; j++)
        to[j] += (float)value[j];
}

/* n: items of this class that came before. */
static void add_values(const PairSums *to, PairChunk *c, size_t n, size_t n_cols, const PairItem *item, const Values *v)
{
    size_t t = to->n_template_groups, w = to->n_word_groups;
    for (size_t j = 0; j < PAIR_COLS; j++) {
        c->sum[j] += v->y[j];
        c->squares[j] += v->y[j] * v->y[j];
    }
    for (size_t j = 0; j < n_cols; j++)
        sketch_add(&c->sketch[j], n, PAIR_TRIM, (float)v->y[j]);
    for (size_t j = 0; v->has_s && j < PAIR_COLS; j++)
        c->s[j] += v->s[j];
    if (item->c == PAIR_NONE)
        return;
    double *yy = c->yy[item->half], *xy = c->xy[item->half], *xx = c->xx[item->half];
    for (size_t j = 0; j < PAIR_COLS; j++) {
        yy[j] += v->y[j] * v->y[j];
        xy[j] += v->x[j] * v->y[j];
        xx[j] += v->x[j] * v->x[j];
    }
    float *groups = (float *)(void *)(c + 1);
    size_t word = 2 * t + (size_t)item->half * w + (size_t)item->word_group;
    add_to_group(groups, (size_t)item->template_group, v->y);
    add_to_group(groups, t + (size_t)item->template_group, v->x);
    add_to_group(groups, word, v->y);
    add_to_group(groups, word + 2 * w, v->x);
}

/* One chunk of columns in one class. */
static void add_chunk(const Adding *q, size_t chunk, int class_index)
{
    const PairSums *to = q->to;
    size_t col = chunk * PAIR_COLS, n_cols = to->n_cols - col < PAIR_COLS ? to->n_cols - col : PAIR_COLS;
    size_t at = (size_t)class_index * pair_chunks(to->n_cols) + chunk, n = to->n[class_index];
    PairChunk *c = (PairChunk *)(void *)((char *)to->chunks + at * to->chunk_bytes);
    for (size_t i = 0; i < q->n_items; i++) {
        Values v;
        if (q->items[i].at[class_index] == PAIR_NONE)
            continue;
        values_of(q, i, class_index, col, n_cols, &v);
        add_values(to, c, n++, n_cols, &q->items[i], &v);
    }
}

/* The rows' columns stay near while all classes read them. */
static void add_columns(void *arg, size_t chunk, int thread)
{
    (void)thread;
    for (int class_index = 0; class_index < PAIR_CLASSES; class_index++)
        add_chunk(arg, chunk, class_index);
}

static void add_class(void *arg, size_t task, int thread)
{
    (void)thread;
    add_chunk(arg, task / PAIR_CLASSES, (int)(task % PAIR_CLASSES));
}

void host_pair_sums(Pool *pool, const PairSums *to, View x, const PairItem *items, size_t n_items)
{
    Adding q = {.to = to, .rows = x, .items = items, .n_items = n_items};
    pool_run(pool, add_columns, &q, pair_chunks(to->n_cols));
}

void host_pair_values(Pool *pool, const PairSums *to, const double *y, const double *x, const double *s, const PairItem *items,
                      size_t n_items)
{
    Adding q = {.to = to, .items = items, .n_items = n_items, .y = y, .x = x, .s = s};
    pool_run(pool, add_class, &q, pair_chunks(to->n_cols) * PAIR_CLASSES);
}

/* ---- rows compared ---- */

enum { CHAINS_AT_ONCE = 4, COMPARISONS = 16 }; /* of a pass over the rows: their sums stay in registers; of a task */

typedef struct Comparing {
    RowsCompared *out;
    View x;
    const RowPair *pairs;
    size_t n;
    const double *weight;
} Comparing;

typedef struct Chains {
    double dd[PAIR_CHAINS], aa[PAIR_CHAINS], bb[PAIR_CHAINS], ab[PAIR_CHAINS], weighted[PAIR_CHAINS], most[PAIR_CHAINS];
} Chains;

/* The text for both element types: chains [first, first + CHAINS_AT_ONCE) of n columns. */
#define COMPARE_COLUMN(k) \
    { \
        double from = (double)a[at + (k)], to = (double)b[at + (k)], d = to - from; \
        dd[k] += d * d; \
        aa[k] += from * from; \
        bb[k] += to * to; \
        ab[k] += from * to; \
        weighted[k] += fabs(d) * weight[at + (k)]; \
        most[k] = pair_most(most[k], fabs(d)); \
    }
#define COMPARE_CHAINS(NAME, T) \
    static void NAME(const T *a, const T *b, const double *weight, size_t n, size_t first, Chains *out) \
    { \
        double dd[CHAINS_AT_ONCE] = {0}, aa[CHAINS_AT_ONCE] = {0}, bb[CHAINS_AT_ONCE] = {0}, ab[CHAINS_AT_ONCE] = {0}; \
        double weighted[CHAINS_AT_ONCE] = {0}, most[CHAINS_AT_ONCE] = {0}; \
        size_t at = first; \
        for (; at + CHAINS_AT_ONCE <= n; at += PAIR_CHAINS) \
            for (size_t k = 0; k < CHAINS_AT_ONCE; k++) \
                COMPARE_COLUMN(k) \
        for (size_t k = 0; at < n && k < n - at; k++) \
            COMPARE_COLUMN(k) \
        memcpy(out->dd + first, dd, sizeof dd); \
        memcpy(out->aa + first, aa, sizeof aa); \
        memcpy(out->bb + first, bb, sizeof bb); \
        memcpy(out->ab + first, ab, sizeof ab); \
        memcpy(out->weighted + first, weighted, sizeof weighted); \
        memcpy(out->most + first, most, sizeof most); \
    }
COMPARE_CHAINS(compare_f32, float)
COMPARE_CHAINS(compare_f64, double)

static void join(Chains *c)
{
    for (size_t half = PAIR_CHAINS / 2; half; half /= 2) {
        for (size_t k = 0; k < half; k++) {
            c->dd[k] += c->dd[k + half];
            c->aa[k] += c->aa[k + half];
            c->bb[k] += c->bb[k + half];
            c->ab[k] += c->ab[k + half];
            c->weighted[k] += c->weighted[k + half];
            c->most[k] = pair_most(c->most[k], c->most[k + half]);
        }
    }
}

static void compare_some(void *arg, size_t task, int thread)
{
    const Comparing *q = arg;
    size_t end = (task + 1) * COMPARISONS < q->n ? (task + 1) * COMPARISONS : q->n;
    (void)thread;
    for (size_t i = task * COMPARISONS; i < end; i++) {
        size_t a = (size_t)q->pairs[i].first * q->x.ld, b = (size_t)q->pairs[i].second * q->x.ld;
        Chains c;
        for (size_t first = 0; first < PAIR_CHAINS; first += CHAINS_AT_ONCE) {
            if (q->x.dtype == DTYPE_F64)
                compare_f64((const double *)q->x.data + a, (const double *)q->x.data + b, q->weight, q->x.cols, first, &c);
            else
                compare_f32((const float *)q->x.data + a, (const float *)q->x.data + b, q->weight, q->x.cols, first, &c);
        }
        join(&c);
        q->out[i] = (RowsCompared){c.dd[0], c.aa[0], c.bb[0], c.ab[0], c.weighted[0], c.most[0]};
    }
}

void host_compare_rows(Pool *pool, RowsCompared *out, View x, const RowPair *pairs, size_t n, const double *weight)
{
    Comparing q = {.out = out, .x = x, .pairs = pairs, .n = n, .weight = weight};
    pool_run(pool, compare_some, &q, (n + COMPARISONS - 1) / COMPARISONS);
}
