/* cuda_attention_tiles.cuh: what the attention kernels of bf16 and f32 share: where a key lies, tiles of rows into shared memory, what becomes
 * of a product q.k. Shared rows are 16 bytes longer than DH elements, so that rows read together fall into different banks. Head dims are
 * padded with zeros to DH; rows that no 16-byte load reaches are read element by element. */
#ifndef STRATA_KERNELS_CUDA_ATTENTION_TILES_CUH
#define STRATA_KERNELS_CUDA_ATTENTION_TILES_CUH

#include "kernels/cuda/cuda_attention.cuh"

#include <math.h>

#define LOG2_E 1.4426950408889634f

template <typename T, int DH> struct Tile {
    static constexpr int chunk = 16 / sizeof(T), stride = DH + chunk;
};

/* Row of k and v that holds key j; from there on `run` keys lie one behind the other. */
DEVICE_FN int64_t key_row(const AttentionArgs &a, const AttentionItem &item, int j, int *run)
{
    int s = item.first_segment;
    AttentionSegment segment = a.segments[s];
    while (j >= segment.n_rows) {
        j -= segment.n_rows;
        segment = a.segments[++s];
    }
    *run = segment.n_rows - j;
    return (int64_t)segment.first_row + j;
}

/* 16 bytes of a row into shared memory, zeros from `valid` columns on. */
template <typename T> DEVICE_FN void load_chunk(Shared<T> to, Global<const T> from, int valid, bool vectors)
{
    if (vectors) {
        async_copy16(to, from, valid > 0 ? 16 : 0);
        return;
    }
    for (int i = 0; i < (int)(16 / sizeof(T)); i++) {
        T x = {0};
        if (i < valid)
            x = from[i];
        to[i] = x;
    }
}

/* Keys or values [first, first + BK) of the item by all THREADS of the block; those at `end` and beyond are zeros. Where they lie one behind
 * the other, which is nearly always, a thread has one column and steps from row to row: addresses of single keys would cost as many
 * instructions as a quarter of all others. */
template <typename T, int DH, int BK, int THREADS>
DEVICE_FN void load_keys(const AttentionArgs &a, const AttentionItem &item, Global<const T> from, int64_t ld, int column,
                         int first, int end, Shared<T> to)
{
    constexpr int N = Tile<T, DH>::chunk, CHUNKS = DH / N;
    int run, n = end - first < BK ? end - first : BK;
    int64_t first_row = key_row(a, item, first, &run);
    if constexpr (THREADS % CHUNKS == 0 && BK % (THREADS / CHUNKS) == 0) {
        int r = (int)threadIdx.x / CHUNKS, c = (int)threadIdx.x % CHUNKS * N;
        if (a.vectors && n <= run) {
            Global<const T> at = from + ((first_row + r) * ld + column + c);
            int rows = c < a.head_dim ? n - r : 0;
#pragma unroll
            for (int u = 0; u < BK; u += THREADS / CHUNKS)
                async_copy16(to + ((r + u) * Tile<T, DH>::stride + c), at + u * ld, u < rows ? 16 : 0);
            return;
        }
    }
    for (int i = threadIdx.x; i < BK * CHUNKS; i += THREADS) {
        int r = i / CHUNKS, c = i % CHUNKS * N, key = first + r;
        bool there = key < end && c < a.head_dim;
        Global<const T> at = there ? from + (key_row(a, item, key, &run) * ld + column + c) : from;
        load_chunk<T>(to + (r * Tile<T, DH>::stride + c), at, there ? a.head_dim - c : 0, a.vectors);
    }
}

/* The item's queries, ROWS at most. */
template <typename T, int DH, int ROWS, int THREADS>
DEVICE_FN void load_queries(const AttentionArgs &a, const AttentionItem &item, int column, Shared<T> to)
{
    constexpr int N = Tile<T, DH>::chunk;
    Global<const T> q = static_cast<const T *>(a.q);
    for (int i = threadIdx.x; i < ROWS * (DH / N); i += THREADS) {
        int r = i / (DH / N), c = i % (DH / N) * N;
        bool there = r < item.n_q && c < a.head_dim;
        Global<const T> at = there ? q + ((int64_t)(item.q_row + r) * a.ld_q + column + c) : q;
        load_chunk<T>(to + (r * Tile<T, DH>::stride + c), at, there ? a.head_dim - c : 0, a.vectors);
    }
}

/* A product q.k as the model wants it: scaled, capped, with ALiBi; distance = k - q. */
DEVICE_FN float bend(const AttentionArgs &a, float z, float slope, int distance, int key_position)
{
    z *= a.scale;
    if (a.softcap > 0)
        z = a.softcap * tanhf(z / a.softcap);
    if (a.slopes != nullptr && a.alibi_bf16)
        z += a.scale * f32_of(bf16_of(f32_of(bf16_of(slope)) * f32_of(bf16_of((float)key_position))));
    else if (a.slopes != nullptr)
        z += slope * (float)distance;
    return z;
}

/* Whether query p sees a key. */
DEVICE_FN bool sees(const AttentionArgs &a, const AttentionItem &item, int p, int key)
{
    return !(key > p || key >= item.n_keys || (a.window > 0 && p - key >= a.window));
}

/* Whether any of the queries [p, p + n) sees a key of the tile [first, first + BK), and whether any of them does not see one. */
template <int BK> DEVICE_FN bool tile_is_seen(const AttentionArgs &a, int p, int n, int first)
{
    return first <= p + n - 1 && (a.window == 0 || p - (first + BK - 1) < a.window);
}

template <int BK> DEVICE_FN bool tile_is_masked(const AttentionArgs &a, const AttentionItem &item, int p, int n, int first)
{
    return first + BK - 1 > p || first + BK > item.n_keys || (a.window > 0 && p + n - 1 - first >= a.window);
}

/* The keys [begin, end) that an item's queries see, begin a multiple of BK. */
template <int BK> DEVICE_FN int first_key(const AttentionArgs &a, const AttentionItem &item)
{
    return a.window > 0 && item.position - a.window + 1 > 0 ? (item.position - a.window + 1) / BK * BK : 0;
}

DEVICE_FN int end_of_keys(const AttentionItem &item)
{
    int last = item.position + item.n_q - 1;
    return last + 1 < item.n_keys ? last + 1 : item.n_keys;
}

/* Whether scores are more than scaled products. */
static inline bool scores_are_bent(const AttentionArgs &a)
{
    return a.softcap > 0 || a.slopes != nullptr || !(a.scale > 0);
}

#endif
