/* cuda_attention.cuh: attention on the device, as the table calls it (formulas: attention in kernels/ops.h). */
#ifndef STRATA_KERNELS_CUDA_ATTENTION_CUH
#define STRATA_KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/cuda_device.cuh"

extern "C++" {

enum { ATTENTION_MAX_HEAD_DIM = 256 };

/* Some consecutive queries of one sequence: what one block works on, for one head. */
struct AttentionItem {
    int32_t q_row, n_q;
    int32_t position;     /* of its first query, counted in keys of the sequence: it sees keys [.., position] */
    int32_t key_position; /* position of key 0 in the text */
    int32_t n_keys, first_segment, n_segments;
};

struct AttentionSegment {
    int32_t first_row, n_rows;
};

/* q, k, v and out on the device, all bf16 or all f32. */
struct AttentionArgs {
    const void *q, *k, *v;
    void *out;
    int64_t ld_q, ld_k, ld_v, ld_out;
    Global<const AttentionItem> items; /* on the device, as are segments and slopes */
    Global<const AttentionSegment> segments;
    Global<const float> slopes;  /* [H] or null */
    int n_items, n_heads, group; /* head h reads key/value head h / group */
    int head_dim, window;
    float scale, softcap;
    bool alibi_bf16;
    bool vectors; /* every row of q, k, v and out begins at 16 bytes, and so does every head of it */
};

/* Queries an item may have, by head dim; of bf16, and of f32 (cuda_attention_f32.cu). */
int attention_rows_of_item(int head_dim);
cudaError_t attention_launch(const AttentionArgs *a, cudaStream_t stream);
int attention_f32_rows_of_item(int head_dim);
cudaError_t attention_f32_launch(const AttentionArgs *a, cudaStream_t stream);
}

#endif
