/* ref_pairs.c: see ref_pairs.h: the formulas of kernels/pair_sums.h and sketch.h, one number at a time. */
#include "kernels/ref/ref_pairs.h"

#include <math.h>
#include <string.h>

void ref_clear(OpsContext *c, void *memory, size_t bytes)
{
    (void)c;
    for (size_t i = 0; i < bytes; i++)
        ((unsigned char *)memory)[i] = 0;
}

void ref_read(OpsContext *c, void *dst, const void *memory, size_t bytes)
{
    (void)c;
    memcpy(dst, memory, bytes);
}

static double element(View x, int64_t r, size_t j)
{
    return ((const double *)x.data)[(size_t)r * x.ld + j];
}

void ref_gather(OpsContext *c, View out, View x, const int32_t *rows)
{
    (void)c;
    for (size_t t = 0; t < out.rows; t++)
        for (size_t j = 0; j < out.cols; j++)
            ((double *)out.data)[t * out.ld + j] = element(x, rows[t], j);
}

/* The mean of |x[b + r] - x[a + r]| over n positions, each times scale. */
static double distance(View x, int64_t a, int64_t b, int32_t n, size_t j, double scale)
{
    double sum = 0;
    for (int64_t r = 0; r < n; r++)
        sum = sum + scale / (double)n * fabs(element(x, b + r, j) - element(x, a + r, j));
    return sum;
}

static bool comes_before(float x, float y)
{
    return isnan(x) ? !isnan(y) : x < y;
}

static size_t bin_of(const Sketch *s, float value)
{
    float at = (value - s->lo) / s->width;
    return !(at >= 0) ? 0 : at >= 126.0f ? 127 : 1 + (size_t)at;
}

static void add_to_sketch(Sketch *s, size_t n, float value)
{
    float kept[64];
    if (n < 64)
        s->as.first[n] = value;
    if (n < 64 || n >= 65535)
        return;
    if (n == 64) {
        for (size_t i = 0; i < 64; i++) { /* sorted by insertion */
            size_t at = i;
            for (; at > 0 && comes_before(s->as.first[i], kept[at - 1]); at--)
                kept[at] = kept[at - 1];
            kept[at] = s->as.first[i];
        }
        s->lo = kept[PAIR_TRIM];
        s->width = (kept[63 - PAIR_TRIM] - s->lo) * (1 + 1e-6f) / 126.0f;
        if (!(s->width > 0))
            s->width = fabsf(s->lo) > 0 ? fabsf(s->lo) * 1e-6f : 1e-30f;
        memset(s->as.bin, 0, sizeof s->as.bin);
        for (size_t i = 0; i < 64; i++)
            s->as.bin[bin_of(s, kept[i])]++;
    }
    s->as.bin[bin_of(s, value)]++;
}

/* Adds column j of one item in one class to its chunk; n items of the class came before. */
static void add_item(const PairSums *to, PairChunk *c, size_t n, View x, const PairItem *item, int k, size_t j)
{
    size_t lane = j % PAIR_COLS, t = to->n_template_groups, w = to->n_word_groups;
    int64_t a = item->a + item->at[k];
    int32_t n_rows = k == PAIR_ALL ? item->n : 1;
    double y = distance(x, a, item->b + item->at[k], n_rows, j, 1);
    c->sum[lane] += y;
    c->squares[lane] += y * y;
    add_to_sketch(&c->sketch[lane], n, (float)y);
    if (item->s >= 0 && item->at_s[k] >= 0)
        c->s[lane] += distance(x, a, item->s + item->at_s[k], k == PAIR_ALL ? item->n_s : 1, j, 1);
    if (item->c < 0)
        return;
    double control = distance(x, a, item->c + item->at[k], n_rows, j, item->control_scale);
    c->yy[item->half][lane] += y * y;
    c->xy[item->half][lane] += control * y;
    c->xx[item->half][lane] += control * control;
    float(*groups)[PAIR_COLS] = (float(*)[PAIR_COLS])(void *)(c + 1);
    size_t word = (size_t)item->half * w + (size_t)item->word_group;
    groups[item->template_group][lane] += (float)y;
    groups[t + (size_t)item->template_group][lane] += (float)control;
    groups[2 * t + word][lane] += (float)y;
    groups[2 * t + 2 * w + word][lane] += (float)control;
}

void ref_pair_sums(OpsContext *c, const PairSums *to, View x, const PairItem *items, size_t n_items)
{
    size_t n_chunks = (to->n_cols + PAIR_COLS - 1) / PAIR_COLS;
    (void)c;
    for (size_t k = 0; k < PAIR_CLASSES; k++) {
        size_t n = to->n[k];
        for (size_t i = 0; i < n_items; i++) {
            for (size_t j = 0; items[i].at[k] >= 0 && j < to->n_cols; j++) {
                char *chunk = (char *)to->chunks + (k * n_chunks + j / PAIR_COLS) * to->chunk_bytes;
                add_item(to, (PairChunk *)(void *)chunk, n, x, &items[i], (int)k, j);
            }
            n += items[i].at[k] >= 0;
        }
    }
}

void ref_compare_rows(OpsContext *c, RowsCompared *out, View x, const RowPair *pairs, size_t n, const double *weight)
{
    (void)c;
    for (size_t i = 0; i < n; i++) {
        RowsCompared sums = {0};
        for (size_t j = 0; j < x.cols; j++) {
            double a = element(x, pairs[i].first, j), b = element(x, pairs[i].second, j), d = fabs(b - a);
            sums.dd += d * d;
            sums.aa += a * a;
            sums.bb += b * b;
            sums.ab += a * b;
            sums.weighted += d * weight[j];
            sums.most = isnan(sums.most) || isnan(d) ? NAN : fmax(sums.most, d);
        }
        out[i] = sums;
    }
}
