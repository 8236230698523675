/* cpu_attention.c: softmax(scale q k^T) v, tile by tile of queries: one GEMM for the scores of a tile against every key any of
 * its queries sees, the softmax of each query over its own keys, one GEMM with the values. Keys behind the diagonal or outside the
 * window of the whole tile are never touched. Units (sequence, head, tile) are dealt to threads by a fixed partition. */
#include <cblas.h>
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu_context.h"

/* Score columns of a tile begin at key `lo`; its keys end at `hi`. Calls the GEMM segment by segment. */
static void scores_gemm(const CpuAttention *a, const AttnSeq *s, const float *q, size_t n_q, size_t kv_col, size_t lo,
                        size_t hi, float *scores, size_t ld, int thread)
{
    (void)thread;
    size_t base = 0;
    for (size_t i = 0; i < s->n_segments; base += s->segments[i++].n_rows) {
        size_t first = lo > base ? lo : base, end = base + s->segments[i].n_rows;
        end = end < hi ? end : hi;
        if (first >= end)
            continue;
        const float *k = cpu_row(a->k, s->segments[i].first_row + first - base) + kv_col;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)n_q, (blasint)(end - first), a->spec->head_dim, 1, q,
                    (blasint)a->q.ld, k, (blasint)a->k.ld, 0, scores + first - lo, (blasint)ld);
    }
}

static void values_gemm(const CpuAttention *a, const AttnSeq *s, const float *p, size_t ld, size_t n_q, size_t kv_col,
                        size_t lo, size_t hi, float *out, int thread)
{
    (void)thread;
    size_t base = 0;
    float beta = 0;
    for (size_t i = 0; i < s->n_segments; base += s->segments[i++].n_rows) {
        size_t first = lo > base ? lo : base, end = base + s->segments[i].n_rows;
        end = end < hi ? end : hi;
        if (first >= end)
            continue;
        const float *v = cpu_row(a->v, s->segments[i].first_row + first - base) + kv_col;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)n_q, a->spec->head_dim, (blasint)(end - first), 1,
                    p + first - lo, (blasint)ld, v, (blasint)a->v.ld, beta, out, (blasint)a->out.ld);
        beta = 1;
    }
}

/* The nearest bfloat16, ties to even; finite x. */
static float bf16_round(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

/* Scale, softcap and ALiBi on n keys of the query at `position`, the first key at first_key. */
static void bend_scores(float *row, const AttnSpec *spec, int head, int position, int first_key, size_t n)
{
    float bf16_slope = spec->alibi_slopes && spec->alibi_bf16 ? bf16_round(spec->alibi_slopes[head]) : 0;
    for (size_t j = 0; j < n; j++) {
        float z = row[j] * spec->scale;
        if (spec->softcap > 0)
            z = spec->softcap * tanhf(z / spec->softcap);
        if (spec->alibi_slopes && spec->alibi_bf16)
            z += spec->scale * bf16_round(bf16_slope * bf16_round((float)(first_key + (int)j)));
        else if (spec->alibi_slopes)
            z += spec->alibi_slopes[head] * (float)(first_key + (int)j - position);
        row[j] = z;
    }
}

/* row [hi - lo], raw scores of the query at position p (in keys of the sequence) for the keys [lo, hi), becomes e^(score - max) for
 * the keys it sees, 0 for others; returns 1 / their sum, NaN where it sees none. hi > lo. */
static float softmax_visible(OpsContext *c, const AttnSpec *spec, int head, const AttnSeq *s, long p, size_t lo, size_t hi,
                             float *row)
{
    long from = spec->window > 0 && p - spec->window + 1 > (long)lo ? p - spec->window + 1 : (long)lo;
    size_t skip = (size_t)from - lo, end = p < 0 ? 0 : (size_t)p + 1 < hi ? (size_t)p + 1 - lo : hi - lo;
    bool bent = spec->softcap > 0 || spec->alibi_slopes;
    if (end <= skip) {
        memset(row, 0, (hi - lo) * sizeof *row);
        return NAN;
    }
    if (bent)
        bend_scores(row + skip, spec, head, (int)p + s->key_position, (int)from + s->key_position, end - skip);
    double sum = c->simd->softmax(row + skip, end - skip, bent ? 1.0f : spec->scale);
    memset(row, 0, skip * sizeof *row);
    memset(row + end, 0, (hi - lo - end) * sizeof *row);
    return (float)(1 / sum);
}

static void attend_tile(const CpuAttention *a, const AttnSeq *s, size_t n_keys, int head, size_t tile, int thread)
{
    const AttnSpec *spec = a->spec;
    size_t dh = (size_t)spec->head_dim, first_q = tile * ATTENTION_TILE, n_q = s->n_q - first_q;
    n_q = n_q < ATTENTION_TILE ? n_q : ATTENTION_TILE;
    size_t kv_col = (size_t)(head / (spec->n_heads / spec->n_kv_heads)) * dh;
    /* Keys by their index; a query at position p sees keys [p - W + 1, p] - key_position. */
    long first_position = (long)s->first_position + (long)first_q - s->key_position;
    long last = first_position + (long)n_q - 1, begin = spec->window > 0 ? first_position - spec->window + 1 : 0;
    size_t lo = begin > 0 ? (size_t)begin : 0, hi = last < 0 ? 0 : (size_t)last + 1;
    hi = hi < n_keys ? hi : n_keys;
    lo = lo < hi ? lo : hi;
    float *scores = a->c->scores + (size_t)thread * ATTENTION_TILE * a->c->config.limits.max_seq;
    size_t ld = hi > lo ? hi - lo : 1;
    float *out = cpu_row(a->out, s->q_row + first_q) + (size_t)head * dh;
    a->scores(a, s, cpu_row(a->q, s->q_row + first_q) + (size_t)head * dh, n_q, kv_col, lo, hi, scores, ld, thread);
    float inverse[ATTENTION_TILE];
    for (size_t t = 0; hi > lo && t < n_q; t++)
        inverse[t] = softmax_visible(a->c, spec, head, s, first_position + (long)t, lo, hi, scores + t * ld);
    for (size_t t = 0; hi <= lo && t < n_q; t++) { /* no query sees a key */
        memset(out + t * a->out.ld, 0, dh * sizeof *out);
        inverse[t] = NAN;
    }
    a->values(a, s, scores, ld, n_q, kv_col, lo, hi, out, thread);
    for (size_t t = 0; t < n_q; t++)
        a->c->simd->scale(out + t * a->out.ld, inverse[t], dh);
}

static size_t count_keys(const AttnSeq *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_segments; i++)
        n += s->segments[i].n_rows;
    return n;
}

/* Piece `task` takes every n-th unit, last tiles (the costly ones) of each sequence first. */
static void attention_task(void *arg, size_t task, int thread)
{
    const CpuAttention *a = arg;
    size_t n_threads = (size_t)pool_threads(a->c->pool), unit = 0;
    for (size_t i = 0; i < a->n_seqs; i++) {
        const AttnSeq *s = &a->seqs[i];
        size_t n_keys = count_keys(s), n_tiles = (s->n_q + ATTENTION_TILE - 1) / ATTENTION_TILE;
        for (size_t tile = n_tiles; tile-- > 0;)
            for (int head = 0; head < a->spec->n_heads; head++)
                if (unit++ % n_threads == task)
                    attend_tile(a, s, n_keys, head, tile, thread);
    }
}

void cpu_attention_run(const CpuAttention *a)
{
    pool_run(a->c->pool, attention_task, (void *)a, (size_t)pool_threads(a->c->pool));
}

void cpu_attention(OpsContext *c, View out, View q, View k, View v, const AttnSeq *seqs, size_t n_seqs, const AttnSpec *spec)
{
    CpuAttention a = {.c = c,
                      .out = out,
                      .q = q,
                      .k = k,
                      .v = v,
                      .seqs = seqs,
                      .n_seqs = n_seqs,
                      .spec = spec,
                      .scores = scores_gemm,
                      .values = values_gemm};
    cpu_attention_run(&a);
}
