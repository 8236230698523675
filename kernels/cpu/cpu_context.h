/* cpu_context.h: what the files of the cpu/fast table share: the context with its pool, vector table and scratch, and the entries
 * that have files of their own. Entries are declared as ops.h describes them. */
#ifndef STRATA_KERNELS_CPU_CONTEXT_H
#define STRATA_KERNELS_CPU_CONTEXT_H

#include "kernels/cpu/simd.h"
#include "kernels/ops.h"

enum { ATTENTION_TILE = 64 }; /* queries that share one pass over their keys */

struct OpsContext {
    OpsConfig config;
    Pool *pool;
    const SimdTable *simd;
    float *scores;      /* [threads, ATTENTION_TILE, max_seq] */
    float *gemm;        /* [threads, cpu_gemm_scratch_elems()]: x, or a weight, being packed */
    float *starts;      /* [V]: word starts as 0 and 1 */
    float *moe_x;       /* [max_rows, D]: rows gathered for an expert */
    float *moe_gate_up; /* [max_rows, 2F] */
    float *moe_y;       /* [max_rows * top_k, D]: each choice's output */
    int32_t *moe_slot;  /* [max_rows * top_k]: choices (t * top_k + j) sorted by expert */
    int32_t *moe_first; /* [E + 1] */
};

static inline float *cpu_row(View v, size_t r)
{
    return (float *)v.data + r * v.ld;
}

static inline bool cpu_given(const Weight *w)
{
    return w && w->kind != WEIGHT_NONE && w->data;
}

void cpu_linear(OpsContext *c, View y, View x, const Weight *w, const Weight *bias);
void cpu_linear_add(OpsContext *c, View out, View residual, float scale, View x, const Weight *w, const Weight *bias);

/* Matrices lie packed, see cpu_gemm.c: [ceil(rows / gemm_cols), cols, gemm_cols] f32. */
size_t cpu_packed_elems(size_t rows, size_t cols);
int cpu_pack_weight(OpsContext *c, float *to, const WeightPart *parts, size_t n_parts, size_t rows, Error *e);
size_t cpu_gemm_scratch_elems(const OpsLimits *l); /* a thread */

void cpu_attention(OpsContext *c, View out, View q, View k, View v, const AttnSeq *seqs, size_t n_seqs, const AttnSpec *spec);
/* The same with sums of one order, for cpu/stable. */
void cpu_attention_stable(OpsContext *c, View out, View q, View k, View v, const AttnSeq *seqs, size_t n_seqs,
                          const AttnSpec *spec);
/* What the two share: tiles of queries, softmax, threads; products of a tile with the keys [lo, hi) of its sequence differ.
 *   scores: scores[t, j - lo] = q[t] . k[j], q [n_q, Dh] with the ld of a->q, scores with ld
 *   values: out[t] = sum_j p[t, j - lo] v[j], p with ld, out [n_q, Dh] with the ld of a->out
 * kv_col is the first column of the key/value head; thread chooses scratch. */
typedef struct CpuAttention CpuAttention;
struct CpuAttention {
    OpsContext *c;
    View out, q, k, v;
    const AttnSeq *seqs;
    size_t n_seqs;
    const AttnSpec *spec;
    void (*scores)(const CpuAttention *a, const AttnSeq *s, const float *q, size_t n_q, size_t kv_col, size_t lo, size_t hi,
                   float *scores, size_t ld, int thread);
    void (*values)(const CpuAttention *a, const AttnSeq *s, const float *p, size_t ld, size_t n_q, size_t kv_col, size_t lo,
                   size_t hi, float *out, int thread);
};
void cpu_attention_run(const CpuAttention *a);
void cpu_route(OpsContext *c, Routes out, View logits, const RouteSpec *spec);
void cpu_moe(OpsContext *c, View out, View x, Routes routes, const ExpertWeights *experts, const RouteSpec *spec, ActKind act);
void cpu_head(OpsContext *c, const HeadArgs *args);

/* Rows of work for pool_run: fn(arg, first, end, thread) over [0, rows) in a fixed partition. */
typedef void (*CpuRows)(void *arg, size_t first, size_t end, int thread);
void cpu_for_rows(OpsContext *c, size_t rows, size_t least_rows, CpuRows fn, void *arg);

#endif
