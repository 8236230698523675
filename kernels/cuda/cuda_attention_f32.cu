/* cuda_attention_f32.cu: causal attention of f32 by fused multiply-adds, one pass over the keys (online softmax, as in cuda_attention.cu):
 *
 *   per tile of keys: S = Q K^T; m' = max(m, rows of S); P = e^(S - m'); l = l e^(m - m') + sum P; O = O e^(m - m') + P V
 *   at the end: out = O / l
 *
 * A block takes up to 16 WARPS queries of one head, 16 a warp, and walks the tiles of BK keys that its queries see. In a warp lane 8 r + c has
 * the queries r + 4 i (i < 4): of S the keys c + 8 j, of O the columns 4 c + 32 j and the three after each. Eight lanes so share a query's row,
 * and a 16-byte load of Q or P serves 4 BK/8 or 4 DH/8 multiply-adds, one of K or V 16. P passes through shared memory, within the warp.
 *
 * Keys and values have a tile each: the next keys come while P V is made, the next values while Q K^T is. What a block takes of shared memory
 * (59 to 75 KiB) fits every device from compute capability 8.0 on, three times on those with 228 KiB. */
#include "kernels/cuda/cuda_attention_tiles.cuh"

enum { ROWS = 4, ROW_LANES = 4, KEY_LANES = 8, WARP_ROWS = ROWS * ROW_LANES };

template <int DH, int WARPS, int BK> struct Shape {
    static constexpr int rows = WARP_ROWS * WARPS, threads = 32 * WARPS, stride = Tile<float, DH>::stride, p_stride = BK + 4;
    static constexpr size_t q_elems = (size_t)rows * stride, kv_elems = (size_t)BK * stride, p_elems = (size_t)rows * p_stride;
    static constexpr size_t bytes = (q_elems + 2 * kv_elems + p_elems) * sizeof(float);
};

/* The running maximum, sum (of the lane's own keys) and output of a lane's rows. */
template <int DH> struct Rows {
    float m[ROWS], l[ROWS], o[ROWS][DH / 32][4];
};

/* s = the warp's queries times the keys of a tile. */
template <int DH, int BK>
DEVICE_FN void multiply_keys(float (&s)[ROWS][BK / KEY_LANES], Shared<float> q, Shared<float> k, int lane)
{
    constexpr int stride = Tile<float, DH>::stride;
    int r = lane / KEY_LANES, c = lane % KEY_LANES;
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int j = 0; j < BK / KEY_LANES; j++)
            s[i][j] = 0;
#pragma unroll 4
    for (int d = 0; d < DH; d += 4) {
        Vec<float, 4> x[ROWS];
#pragma unroll
        for (int i = 0; i < ROWS; i++)
            x[i] = load_vec<4>(q + ((r + ROW_LANES * i) * stride + d));
#pragma unroll
        for (int j = 0; j < BK / KEY_LANES; j++) {
            Vec<float, 4> y = load_vec<4>(k + ((c + KEY_LANES * j) * stride + d));
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    s[i][j] = fmaf(x[i].at[e], y.at[e], s[i][j]);
        }
    }
}

/* o += P times the values of a tile. */
template <int DH, int BK>
DEVICE_FN void multiply_values(float (&o)[ROWS][DH / 32][4], Shared<float> p, Shared<float> v, int lane)
{
    constexpr int stride = Tile<float, DH>::stride, p_stride = BK + 4;
    int r = lane / KEY_LANES, c = lane % KEY_LANES;
#pragma unroll 2
    for (int n = 0; n < BK; n += 4) {
        Vec<float, 4> x[ROWS];
#pragma unroll
        for (int i = 0; i < ROWS; i++)
            x[i] = load_vec<4>(p + ((r + ROW_LANES * i) * p_stride + n));
#pragma unroll
        for (int e = 0; e < 4; e++) {
#pragma unroll
            for (int j = 0; j < DH / 32; j++) {
                Vec<float, 4> y = load_vec<4>(v + ((n + e) * stride + 4 * c + 32 * j));
#pragma unroll
                for (int i = 0; i < ROWS; i++)
#pragma unroll
                    for (int d = 0; d < 4; d++)
                        o[i][j][d] = fmaf(x[i].at[e], y.at[d], o[i][j][d]);
            }
        }
    }
}

/* Bends and masks the scores of one tile. `first` is the tile's first key, `position` that of the warp's first query. */
template <int BK, bool BENT>
DEVICE_FN void shape_scores(const AttentionArgs &a, const AttentionItem &item, float (&s)[ROWS][BK / KEY_LANES], float slope,
                            int first, int position, int lane, bool masked)
{
    if (!BENT && !masked)
        return;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
#pragma unroll
        for (int j = 0; j < BK / KEY_LANES; j++) {
            int key = first + lane % KEY_LANES + KEY_LANES * j, p = position + lane / KEY_LANES + ROW_LANES * i;
            if (BENT)
                s[i][j] = bend(a, s[i][j], slope, key - p, item.key_position + key);
            if (masked && !sees(a, item, p, key))
                s[i][j] = -INFINITY;
        }
    }
}

/* P of the scores, into shared memory; the running values of `r` move on to the new maximum. Scores are in units of log2 when multiplied by
 * `unit`. */
template <int DH, int BK>
DEVICE_FN void soften(Rows<DH> &r, const float (&s)[ROWS][BK / KEY_LANES], float unit, Shared<float> p, int lane)
{
    constexpr int p_stride = BK + 4;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        float most = r.m[i];
#pragma unroll
        for (int j = 0; j < BK / KEY_LANES; j++)
            most = fmaxf(most, s[i][j]);
#pragma unroll
        for (int bits = 1; bits < KEY_LANES; bits *= 2)
            most = fmaxf(most, warp_shuffle_xor(most, bits));
        float from = most == -INFINITY ? 0 : most * unit; /* a row that sees nothing yet */
        float keep = fast_exp2(r.m[i] * unit - from), sum = 0;
        r.m[i] = most;
        Shared<float> row = p + (lane / KEY_LANES + ROW_LANES * i) * p_stride;
#pragma unroll
        for (int j = 0; j < BK / KEY_LANES; j++) {
            float x = fast_exp2(s[i][j] * unit - from);
            row[lane % KEY_LANES + KEY_LANES * j] = x;
            sum += x;
        }
        r.l[i] = r.l[i] * keep + sum;
#pragma unroll
        for (int j = 0; j < DH / 32; j++)
#pragma unroll
            for (int d = 0; d < 4; d++)
                r.o[i][j][d] *= keep;
    }
}

/* Rows of the warp from `first_row` of the item on. */
template <int DH>
DEVICE_FN void store_rows(const AttentionArgs &a, const AttentionItem &item, const Rows<DH> &r, int first_row, int column,
                          int lane)
{
    Global<float> out = static_cast<float *>(a.out);
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        int row = first_row + lane / KEY_LANES + ROW_LANES * i;
        float sum = r.l[i];
#pragma unroll
        for (int bits = 1; bits < KEY_LANES; bits *= 2)
            sum += warp_shuffle_xor(sum, bits);
        if (row >= item.n_q)
            continue;
        float inverse = 1 / sum; /* NaN comes out of 0 / 0 where a query sees no key */
#pragma unroll
        for (int j = 0; j < DH / 32; j++) {
            int c = lane % KEY_LANES * 4 + 32 * j;
            Global<float> to = out + ((int64_t)(item.q_row + row) * a.ld_out + column + c);
            Vec<float, 4> y;
#pragma unroll
            for (int d = 0; d < 4; d++)
                y.at[d] = r.o[i][j][d] * inverse;
            if (a.vectors && c < a.head_dim)
                store_vec(to, y);
            else
#pragma unroll
                for (int d = 0; d < 4; d++)
                    if (c + d < a.head_dim)
                        to[d] = y.at[d];
        }
    }
}

template <int DH, int WARPS, int BK, bool BENT> CUDA_KERNEL(32 * WARPS) attend_f32(AttentionArgs a, int first_item)
{
    typedef Shape<DH, WARPS, BK> S;
    CUDA_SHARED_DYNAMIC(memory);
    Shared<float> q = shared_part<float>(memory, 0, S::q_elems);
    Shared<float> k = shared_part<float>(memory, S::q_elems * sizeof(float), S::kv_elems);
    Shared<float> v = shared_part<float>(memory, (S::q_elems + S::kv_elems) * sizeof(float), S::kv_elems);
    Shared<float> p = shared_part<float>(memory, (S::q_elems + 2 * S::kv_elems) * sizeof(float), S::p_elems);
    Global<const float> keys = static_cast<const float *>(a.k), values = static_cast<const float *>(a.v);
    const AttentionItem item = a.items[first_item + (int)blockIdx.y];
    int head = blockIdx.x, lane = threadIdx.x % 32, first_row = (int)threadIdx.x / 32 * WARP_ROWS;
    int column = head * a.head_dim, kv_column = head / a.group * a.head_dim;
    int begin = first_key<BK>(a, item), end = end_of_keys(item), position = item.position + first_row;
    float slope = 0;
    if (BENT && a.slopes != nullptr)
        slope = a.slopes[head];
    float unit = BENT ? LOG2_E : a.scale * LOG2_E;
    Rows<DH> r;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        r.m[i] = -INFINITY;
        r.l[i] = 0;
#pragma unroll
        for (int j = 0; j < DH / 32; j++)
            r.o[i][j][0] = r.o[i][j][1] = r.o[i][j][2] = r.o[i][j][3] = 0;
    }
    load_queries<float, DH, S::rows, S::threads>(a, item, column, q);
    if (begin < end)
        load_keys<float, DH, BK, S::threads>(a, item, keys, a.ld_k, kv_column, begin, end, k);
    async_copy_commit();
    if (begin < end)
        load_keys<float, DH, BK, S::threads>(a, item, values, a.ld_v, kv_column, begin, end, v);
    async_copy_commit();
    for (int first = begin; first < end; first += BK) {
        bool seen = first_row < item.n_q && tile_is_seen<BK>(a, position, WARP_ROWS, first), more = first + BK < end;
        float s[ROWS][BK / KEY_LANES];
        async_copy_wait<1>();
        block_sync(); /* the keys are there */
        if (seen)
            multiply_keys<DH, BK>(s, q + first_row * S::stride, k, lane);
        block_sync(); /* and are no longer read */
        if (more)
            load_keys<float, DH, BK, S::threads>(a, item, keys, a.ld_k, kv_column, first + BK, end, k);
        async_copy_commit();
        if (seen) {
            bool masked = tile_is_masked<BK>(a, item, position, WARP_ROWS, first);
            shape_scores<BK, BENT>(a, item, s, slope, first, position, lane, masked);
            soften<DH, BK>(r, s, unit, p + first_row * S::p_stride, lane);
        }
        async_copy_wait<1>();
        block_sync(); /* the values are there, and P */
        if (seen)
            multiply_values<DH, BK>(r.o, p + first_row * S::p_stride, v, lane);
        block_sync(); /* and are no longer read */
        if (more)
            load_keys<float, DH, BK, S::threads>(a, item, values, a.ld_v, kv_column, first + BK, end, v);
        async_copy_commit();
    }
    async_copy_wait<0>(); /* queries of an item without keys may still be on their way */
    store_rows<DH>(a, item, r, first_row, column, lane);
}

template <int DH, int WARPS, int BK, bool BENT> static cudaError_t launch(const AttentionArgs &a, cudaStream_t stream)
{
    enum { MOST_ITEMS = 65535 };
    typedef Shape<DH, WARPS, BK> S;
    static_assert(S::bytes <= 99 << 10, "what a block may have on devices of compute capability 8.6 and 8.9");
    cudaError_t error = cudaFuncSetAttribute((const void *)(attend_f32<DH, WARPS, BK, BENT>),
                                             cudaFuncAttributeMaxDynamicSharedMemorySize, (int)S::bytes);
    for (int first = 0; error == cudaSuccess && first < a.n_items; first += MOST_ITEMS) {
        int n = a.n_items - first < MOST_ITEMS ? a.n_items - first : MOST_ITEMS;
        CUDA_LAUNCH((attend_f32<DH, WARPS, BK, BENT>), dim3(a.n_heads, n), S::threads, S::bytes, stream, a, first);
        error = cudaGetLastError();
    }
    return error;
}

template <int DH, int WARPS, int BK> static cudaError_t launch_shape(const AttentionArgs &a, cudaStream_t stream)
{
    return scores_are_bent(a) ? launch<DH, WARPS, BK, true>(a, stream) : launch<DH, WARPS, BK, false>(a, stream);
}

int attention_f32_rows_of_item(int head_dim)
{
    return head_dim > 128 ? 2 * WARP_ROWS : 4 * WARP_ROWS;
}

cudaError_t attention_f32_launch(const AttentionArgs *a, cudaStream_t stream)
{
    if (a->head_dim <= 64)
        return launch_shape<64, 4, 64>(*a, stream);
    if (a->head_dim <= 96)
        return launch_shape<96, 4, 32>(*a, stream);
    if (a->head_dim <= 128)
        return launch_shape<128, 4, 32>(*a, stream);
    if (a->head_dim <= ATTENTION_MAX_HEAD_DIM)
        return launch_shape<256, 2, 16>(*a, stream);
    return cudaErrorInvalidValue;
}
