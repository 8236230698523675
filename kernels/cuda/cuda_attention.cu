/* cuda_attention.cu: causal attention of bf16 over sequences of different lengths on tensor cores, one pass over the keys (online softmax):
 *
 *   per tile of keys: S = Q K^T; m' = max(m, rows of S); P = e^(S - m'); l = l e^(m - m') + sum P; O = O e^(m - m') + P V
 *   at the end: out = O / l
 *
 * S, P's sum, O, m and l are f32; Q, K, V and P enter the products as bf16. A block takes up to 64 MT queries of one head, 16 MT a warp, and
 * walks the tiles of BK keys that its queries see; tiles nobody sees are never loaded, and only those that a border crosses
 * (diagonal, window, end of the keys) are masked. Keys and values come by asynchronous copies, one tile ahead. Head dims are padded with
 * zeros to the next of 64, 96, 128, 256. The attention of f32 stands in cuda_attention_f32.cu. */
#include "kernels/cuda/cuda_attention_tiles.cuh"
#include "kernels/cuda/cuda_multiply.cuh"

enum { WARPS = 4, THREADS = 32 * WARPS };

template <int DH, int MT, int BK> struct Shape {
    static constexpr int rows = 16 * MT * WARPS, stride = Tile<bf16, DH>::stride;
    static constexpr size_t q_elems = (size_t)rows * stride, kv_elems = (size_t)BK * stride;
    static constexpr size_t bytes = (q_elems + 4 * kv_elems) * sizeof(bf16);
};

/* o += P times BK values. */
template <int DH, int MT, int BK>
DEVICE_FN void multiply_values(float (&o)[MT][DH / 8][4], const float (&p)[MT][BK / 8][4], Shared<bf16> v, int lane)
{
    constexpr int stride = Tile<bf16, DH>::stride;
    int matrix = lane / 8, row = lane % 8;
#pragma unroll
    for (int n = 0; n < BK; n += 16) {
        uint32_t pa[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++) {
            pa[m][0] = bf16_pair(p[m][n / 8][0], p[m][n / 8][1]);
            pa[m][1] = bf16_pair(p[m][n / 8][2], p[m][n / 8][3]);
            pa[m][2] = bf16_pair(p[m][n / 8 + 1][0], p[m][n / 8 + 1][1]);
            pa[m][3] = bf16_pair(p[m][n / 8 + 1][2], p[m][n / 8 + 1][3]);
        }
#pragma unroll
        for (int d = 0; d < DH; d += 16) {
            uint32_t vb[4];
            load_matrix_x4_transposed(vb, v + ((n + matrix % 2 * 8 + row) * stride + d + matrix / 2 * 8));
            uint32_t low[2] = {vb[0], vb[1]}, high[2] = {vb[2], vb[3]};
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma_bf16(o[m][d / 8], pa[m], low);
                mma_bf16(o[m][d / 8 + 1], pa[m], high);
            }
        }
    }
}

/* The running maximum, sum and output of a thread's two rows of each 16. */
template <int DH, int MT> struct Rows {
    float m[MT][2], l[MT][2], o[MT][DH / 8][4];
};

/* s becomes P; the running values of `r` move on to the new maximum. Scores are in units of log2 when multiplied by `unit`. */
template <int DH, int MT, int BK> DEVICE_FN void soften(Rows<DH, MT> &r, float (&s)[MT][BK / 8][4], float unit)
{
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = r.m[m][half];
#pragma unroll
            for (int n = 0; n < BK / 8; n++)
                most = fmaxf(most, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
            most = fmaxf(most, warp_shuffle_xor(most, 1));
            most = fmaxf(most, warp_shuffle_xor(most, 2));
            float from = most == -INFINITY ? 0 : most * unit; /* a row that sees nothing yet */
            float keep = fast_exp2(r.m[m][half] * unit - from), sum = 0;
            r.m[m][half] = most;
#pragma unroll
            for (int n = 0; n < BK / 8; n++) {
#pragma unroll
                for (int i = 2 * half; i < 2 * half + 2; i++) {
                    s[m][n][i] = fast_exp2(s[m][n][i] * unit - from);
                    sum += s[m][n][i];
                }
            }
            r.l[m][half] = r.l[m][half] * keep + sum;
#pragma unroll
            for (int d = 0; d < DH / 8; d++) {
                r.o[m][d][2 * half] *= keep;
                r.o[m][d][2 * half + 1] *= keep;
            }
        }
    }
}

/* Bends and masks the scores of one tile. `first` is the tile's first key, `position` that of the warp's first query. */
template <int MT, int BK, bool BENT>
DEVICE_FN void shape_scores(const AttentionArgs &a, const AttentionItem &item, float (&s)[MT][BK / 8][4], float slope,
                            int first, int position, int lane, bool masked)
{
    if (!BENT && !masked)
        return;
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int n = 0; n < BK / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int key = first + n * 8 + lane % 4 * 2 + i % 2, p = position + m * 16 + lane / 4 + i / 2 * 8;
                if (BENT)
                    s[m][n][i] = bend(a, s[m][n][i], slope, key - p, item.key_position + key);
                if (masked && !sees(a, item, p, key))
                    s[m][n][i] = -INFINITY;
            }
        }
    }
}

/* The warp's rows, by way of its own part of the query tile, which the block has done with. */
template <int DH, int MT>
DEVICE_FN void store_rows(const AttentionArgs &a, const AttentionItem &item, Rows<DH, MT> &r, Shared<bf16> q, int first_row,
                          int column, int lane)
{
    constexpr int stride = Tile<bf16, DH>::stride;
    Global<bf16> out = static_cast<bf16 *>(a.out);
#pragma unroll
    for (int m = 0; m < MT; m++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float sum = r.l[m][half];
            sum += warp_shuffle_xor(sum, 1);
            sum += warp_shuffle_xor(sum, 2);
            float inverse = 1 / sum; /* NaN comes out of 0 / 0 where a query sees no key */
#pragma unroll
            for (int d = 0; d < DH / 8; d++)
                pointer_cast<uint32_t>(q + ((m * 16 + half * 8 + lane / 4) * stride + d * 8 + lane % 4 * 2))[0] =
                    bf16_pair(r.o[m][d][2 * half] * inverse, r.o[m][d][2 * half + 1] * inverse);
        }
    }
    warp_sync();
    for (int i = lane; i < 16 * MT * (DH / 8); i += 32) {
        int row = i / (DH / 8), c = i % (DH / 8) * 8;
        if (first_row + row >= item.n_q || c >= a.head_dim)
            continue;
        Global<bf16> to = out + ((int64_t)(item.q_row + first_row + row) * a.ld_out + column + c);
        Shared<bf16> from = q + (row * stride + c);
        if (a.vectors)
            store_vec(to, load_vec<8>(from));
        else
            for (int j = 0; j < 8 && c + j < a.head_dim; j++)
                to[j] = (bf16)from[j];
    }
}

template <int DH, int MT, int BK, bool BENT> CUDA_KERNEL(THREADS) attend(AttentionArgs a, int first_item)
{
    typedef Shape<DH, MT, BK> S;
    CUDA_SHARED_DYNAMIC(memory);
    Shared<bf16> q = shared_part<bf16>(memory, 0, S::q_elems);
    Shared<bf16> k = shared_part<bf16>(memory, S::q_elems * sizeof(bf16), 2 * S::kv_elems);
    Shared<bf16> v = shared_part<bf16>(memory, (S::q_elems + 2 * S::kv_elems) * sizeof(bf16), 2 * S::kv_elems);
    const AttentionItem item = a.items[first_item + (int)blockIdx.y];
    int head = blockIdx.x, lane = threadIdx.x % 32, first_row = (int)threadIdx.x / 32 * 16 * MT;
    int column = head * a.head_dim, kv_column = head / a.group * a.head_dim;
    int begin = first_key<BK>(a, item), end = end_of_keys(item);
    Global<const bf16> keys = static_cast<const bf16 *>(a.k), values = static_cast<const bf16 *>(a.v);
    float slope = 0;
    if (BENT && a.slopes != nullptr)
        slope = a.slopes[head];
    float unit = BENT ? LOG2_E : a.scale * LOG2_E;

    Rows<DH, MT> r;
#pragma unroll
    for (int m = 0; m < MT; m++) {
        r.m[m][0] = r.m[m][1] = -INFINITY;
        r.l[m][0] = r.l[m][1] = 0;
#pragma unroll
        for (int d = 0; d < DH / 8; d++)
            r.o[m][d][0] = r.o[m][d][1] = r.o[m][d][2] = r.o[m][d][3] = 0;
    }
    load_queries<bf16, DH, S::rows, THREADS>(a, item, column, q);
    if (begin < end) {
        load_keys<bf16, DH, BK, THREADS>(a, item, keys, a.ld_k, kv_column, begin, end, k);
        load_keys<bf16, DH, BK, THREADS>(a, item, values, a.ld_v, kv_column, begin, end, v);
    }
    async_copy_commit();
    int stage = 0;
    for (int first = begin; first < end; first += BK, stage ^= 1) {
        if (first + BK < end) {
            load_keys<bf16, DH, BK, THREADS>(a, item, keys, a.ld_k, kv_column, first + BK, end,
                                             k + (stage ^ 1) * (int)S::kv_elems);
            load_keys<bf16, DH, BK, THREADS>(a, item, values, a.ld_v, kv_column, first + BK, end,
                                             v + (stage ^ 1) * (int)S::kv_elems);
        }
        async_copy_commit();
        async_copy_wait<1>();
        block_sync();
        int p = item.position + first_row; /* of the warp's first query */
        if (first_row < item.n_q && tile_is_seen<BK>(a, p, 16 * MT, first)) {
            float s[MT][BK / 8][4];
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int n = 0; n < BK / 8; n++)
                    s[m][n][0] = s[m][n][1] = s[m][n][2] = s[m][n][3] = 0;
            multiply_rows<DH, S::stride>(s, q + first_row * S::stride, k + stage * (int)S::kv_elems, lane);
            bool masked = tile_is_masked<BK>(a, item, p, 16 * MT, first);
            shape_scores<MT, BK, BENT>(a, item, s, slope, first, p, lane, masked);
            soften<DH, MT, BK>(r, s, unit);
            multiply_values<DH, MT, BK>(r.o, s, v + stage * (int)S::kv_elems, lane);
        }
        block_sync();
    }
    async_copy_wait<0>();
    block_sync(); /* queries of an item without keys may still be on their way */
    store_rows<DH, MT>(a, item, r, q + first_row * S::stride, first_row, column, lane);
}

template <int DH, int MT, int BK, bool BENT> static cudaError_t launch(const AttentionArgs &a, cudaStream_t stream)
{
    enum { MOST_ITEMS = 65535 };
    size_t bytes = Shape<DH, MT, BK>::bytes;
    cudaError_t error =
        cudaFuncSetAttribute((const void *)(attend<DH, MT, BK, BENT>), cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    for (int first = 0; error == cudaSuccess && first < a.n_items; first += MOST_ITEMS) {
        int n = a.n_items - first < MOST_ITEMS ? a.n_items - first : MOST_ITEMS;
        CUDA_LAUNCH((attend<DH, MT, BK, BENT>), dim3(a.n_heads, n), THREADS, bytes, stream, a, first);
        error = cudaGetLastError();
    }
    return error;
}

template <int DH, int MT, int BK> static cudaError_t launch_shape(const AttentionArgs &a, cudaStream_t stream)
{
    return scores_are_bent(a) ? launch<DH, MT, BK, true>(a, stream) : launch<DH, MT, BK, false>(a, stream);
}

int attention_rows_of_item(int head_dim)
{
    return head_dim > 128 ? 64 : 128;
}

/* What a block may have: 163 KiB and more on data centres' devices, 99 KiB on others from compute capability 8.6 on. */
static size_t shared_bytes_of_device()
{
    int device = 0, bytes = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess)
        error = cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    return error == cudaSuccess ? (size_t)bytes : 0;
}

cudaError_t attention_launch(const AttentionArgs *a, cudaStream_t stream)
{
    if (a->head_dim <= 64)
        return launch_shape<64, 2, 64>(*a, stream);
    if (a->head_dim <= 96)
        return launch_shape<96, 2, 64>(*a, stream);
    if (a->head_dim <= 128 &&
        shared_bytes_of_device() >= 2 * Shape<128, 2, 64>::bytes) /* two blocks a multiprocessor: Hopper */
        return launch_shape<128, 2, 64>(*a, stream);
    if (a->head_dim <= 128)
        return launch_shape<128, 2, 32>(*a, stream);
    if (a->head_dim <= ATTENTION_MAX_HEAD_DIM)
        return launch_shape<256, 1, 32>(*a, stream);
    return cudaErrorInvalidValue;
}
