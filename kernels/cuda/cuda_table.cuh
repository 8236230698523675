/* cuda_table.cuh: what the files of the device tables share: noting what an op did, products and gates of both arithmetics,
 * and the entries of ops.h that stand in files of their own. */
#ifndef STRATA_KERNELS_CUDA_TABLE_CUH
#define STRATA_KERNELS_CUDA_TABLE_CUH

#include "kernels/cuda/cuda_context.cuh"

static inline void launched(OpsContext *c, const char *op)
{
    context_ok(c, op, cudaGetLastError());
}

static inline bool given(const Weight *w)
{
    return w && w->kind != WEIGHT_NONE;
}

/* y = alpha (x w^T + bias) + residual; bias and residual may be NULL. cuda/exact has neither alpha nor residual. */
void table_multiply(OpsContext *c, const char *op, View y, View x, const Weight *w, const Weight *bias, float alpha,
                    const View *residual);
/* out = act(x) * up. */
void table_gate(OpsContext *c, View out, View x, View up, ActKind act);

void table_attention(OpsContext *c, View out, View q, View k, View v, const AttnSeq *seqs, size_t n_seqs, const AttnSpec *spec);
void table_route(OpsContext *c, Routes out, View logits, const RouteSpec *spec);
void table_moe(OpsContext *c, View out, View x, Routes routes, const ExpertWeights *experts, const RouteSpec *spec,
               ActKind act);
void table_head(OpsContext *c, const HeadArgs *args);
void table_clear(OpsContext *c, void *memory, size_t bytes);
void table_read(OpsContext *c, void *dst, const void *memory, size_t bytes);
void table_gather(OpsContext *c, View out, View x, const int32_t *rows);
void table_pair_sums(OpsContext *c, const PairSums *to, View x, const PairItem *items, size_t n_items);
void table_compare_rows(OpsContext *c, RowsCompared *out, View x, const RowPair *pairs, size_t n, const double *weight);

#endif
