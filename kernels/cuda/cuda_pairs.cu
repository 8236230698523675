/* cuda_pairs.cu: Study B's sums over pairs of rows on the device. Built like numerics v1 (cuda.mk): every f64 and f32 operation rounds once,
 * none is fused, as on the host.
 *
 * pair_sums: a block is 32 columns (two chunks) of one class, and goes over the items in tiles. In each tile its 8 warps first compute
 * values, a warp an item at a time, coalesced along the columns, with all loads of several items in flight; behind a barrier each warp
 * then adds the tile's items, in order, to a part of the sums that is its alone: moments, s, products, sketches, and four kinds of
 * groups. So a sum has one order, and yet the rows are read by 8 times as many threads as there are sums. Sketches, of which an item
 * changes two bytes at an unforeseeable place, lie in shared memory meanwhile.
 *
 * Traffic: class PAIR_ALL reads every row from the changed token on once (s and the other classes read rows that have just been
 * read: they are in the caches), and each call brings the sums in and out. Of a block of 8192 rows, some 400 pairs, at D = 4096 that is
 * 134 MB of rows and 11 MB of sketches: 45 microseconds at 3.3 TB/s, expected 100 with the chains of the groups' sums; at 34
 * points 3.4 ms, where the forward pass of 8 billion parameters takes 220 ms at 600 TFLOP/s. Not yet measured on a device. */
#include "kernels/cuda/cuda_pairs.cuh"

#include <math.h>

#include "kernels/cuda/cuda_device.cuh"

enum {
    PAIR_WARPS = 8,
    PAIR_THREADS = 32 * PAIR_WARPS,
    PAIR_TILE = 16, /* items */
    SKETCH_WORDS = sizeof(Sketch) / 4,
    BLOCK_CHUNKS = 32 / PAIR_COLS,
    COMPARE_THREADS = 128,
    GATHER_THREADS = 256
};

/* ---- items and their values ---- */

/* An item in one class: its first rows there. */
typedef struct ClassItem {
    int32_t a, b, c, s, n, n_s; /* n, n_s: positions; n_s 0: no s */
    bool there, has_control;
    double control_scale;
} ClassItem;

DEVICE_FN int32_t field(Global<const PairItem> item, size_t first_byte, int k = 0)
{
    return pointer_cast<const int32_t>(item)[first_byte / 4 + (size_t)k];
}

DEVICE_FN ClassItem class_item(Global<const PairItem> item, int k)
{
    ClassItem c;
    int32_t at = field(item, offsetof(PairItem, at), k), at_s = field(item, offsetof(PairItem, at_s), k);
    int32_t control = field(item, offsetof(PairItem, c)), s = field(item, offsetof(PairItem, s));
    c.there = at != PAIR_NONE;
    c.has_control = control != PAIR_NONE;
    c.a = field(item, offsetof(PairItem, a)) + at;
    c.b = field(item, offsetof(PairItem, b)) + at;
    c.c = control + at;
    c.s = s + at_s;
    c.n = k == PAIR_ALL ? field(item, offsetof(PairItem, n)) : 1;
    c.n_s = s == PAIR_NONE || at_s == PAIR_NONE ? 0 : k == PAIR_ALL ? field(item, offsetof(PairItem, n_s)) : 1;
    c.control_scale = pointer_cast<const double>(item)[offsetof(PairItem, control_scale) / 8];
    return c;
}

/* The sum over n positions of by |x[b + r] - x[a + r]|; x: the column. */
DEVICE_FN double distance(Global<const float> x, size_t ld, int32_t a, int32_t b, int32_t n, double by)
{
    double sum = 0.0;
#pragma unroll 4
    for (int32_t r = 0; r < n; r++) {
        float from = x[(size_t)(a + r) * ld], to = x[(size_t)(b + r) * ld];
        sum += by * fabs((double)to - (double)from);
    }
    return sum;
}

enum { VALUE_Y, VALUE_X, VALUE_S, N_VALUES };

/* Of one item and column; out: its y of the tile, x and s behind all y. */
DEVICE_FN void put_values(Global<const float> x, size_t ld, Global<const PairItem> item, int k, Shared<double> out)
{
    ClassItem c = class_item(item, k);
    if (!c.there)
        return;
    double n = (double)c.n, of_control = 0.0, of_s = 0.0;
    double of_b = distance(x, ld, c.a, c.b, c.n, 1.0 / n);
    if (c.has_control)
        of_control = distance(x, ld, c.a, c.c, c.n, c.control_scale / n);
    if (c.n_s)
        of_s = distance(x, ld, c.a, c.s, c.n_s, 1.0 / (double)c.n_s);
    out[VALUE_Y * PAIR_TILE * 32] = of_b;
    out[VALUE_X * PAIR_TILE * 32] = of_control;
    out[VALUE_S * PAIR_TILE * 32] = of_s;
}

/* ---- what each warp adds up ---- */

enum { ROLE_MOMENTS, ROLE_S, ROLE_PRODUCTS, ROLE_SKETCH, ROLE_GROUPS, PRODUCTS = 6 };

typedef struct Role {
    int role;
    double sum[PRODUCTS];
    size_t n;            /* of the sketch: values before */
    Global<double> at;   /* of the column: sum[i] lies at[i * PAIR_COLS] */
    Global<float> group; /* likewise, groups */
    Shared<uint32_t> sketch;
    int n_templates, n_words;
} Role;

DEVICE_FN int n_sums(int role)
{
    return role == ROLE_MOMENTS ? 2 : role == ROLE_S ? 1 : role == ROLE_PRODUCTS ? (int)PRODUCTS : 0;
}

DEVICE_FN void add_moments(Role &role, double y)
{
    role.sum[0] += y;
    role.sum[1] += y * y;
}

DEVICE_FN void add_products(Role &role, Global<const PairItem> item, double y, double x)
{
    bool second = field(item, offsetof(PairItem, half)) != 0;
    double yy = y * y, xy = x * y, xx = x * x;
    if (second) {
        role.sum[1] += yy;
        role.sum[3] += xy;
        role.sum[5] += xx;
    } else {
        role.sum[0] += yy;
        role.sum[2] += xy;
        role.sum[4] += xx;
    }
}

DEVICE_FN void count(Shared<uint16_t> bins, unsigned bin)
{
    uint16_t before = bins[bin];
    bins[bin] = (uint16_t)(before + 1);
}

/* As sketch_add(). */
DEVICE_FN void add_to_sketch(Role &role, float value)
{
    Shared<float> as_float = pointer_cast<float>(role.sketch), first = as_float + offsetof(Sketch, as) / 4;
    Shared<uint16_t> bins = pointer_cast<uint16_t>(role.sketch) + offsetof(Sketch, as) / 2;
    size_t n = role.n++;
    if (n < SKETCH_FIRST)
        first[n] = value;
    if (n < SKETCH_FIRST || n >= SKETCH_MOST)
        return;
    if (n == SKETCH_FIRST) {
        float kept[SKETCH_FIRST];
#pragma unroll 1 /* once in a sketch's life */
        for (int i = 0; i < SKETCH_FIRST; i++)
            kept[i] = first[i];
        float lo = sketch_ranked(kept, PAIR_TRIM, false), width = sketch_width(lo, sketch_ranked(kept, PAIR_TRIM, true));
        as_float[0] = lo;
        as_float[1] = width;
#pragma unroll 1
        for (int i = 0; i < SKETCH_FIRST; i++)
            role.sketch[offsetof(Sketch, as) / 4 + i] = 0;
#pragma unroll 1
        for (int i = 0; i < SKETCH_FIRST; i++)
            count(bins, sketch_bin(lo, width, kept[i]));
    }
    float lo = as_float[0], width = as_float[1];
    count(bins, sketch_bin(lo, width, value));
}

/* Role ROLE_GROUPS + 0: y by template; 1: x by template; 2: y by word; 3: x by word. */
DEVICE_FN void add_to_group(Role &role, Global<const PairItem> item, double y, double x)
{
    int which = role.role - ROLE_GROUPS, row;
    if (which < 2)
        row = which * role.n_templates + field(item, offsetof(PairItem, template_group));
    else
        row = 2 * (role.n_templates + (which - 2) * role.n_words) + field(item, offsetof(PairItem, half)) * role.n_words +
              field(item, offsetof(PairItem, word_group));
    float before = role.group[(size_t)row * PAIR_COLS];
    role.group[(size_t)row * PAIR_COLS] = before + (float)(which % 2 ? x : y);
}

/* Items [0, n) of a tile, whose values are there; values: this column's. */
DEVICE_FN void add_tile(Role &role, Global<const PairItem> items, int n, int k, Shared<double> values)
{
    for (int t = 0; t < n; t++) {
        Global<const PairItem> item = items + t;
        ClassItem c = class_item(item, k);
        if (!c.there)
            continue;
        double y = values[(VALUE_Y * PAIR_TILE + t) * 32], x = values[(VALUE_X * PAIR_TILE + t) * 32];
        double s = values[(VALUE_S * PAIR_TILE + t) * 32];
        if (role.role == ROLE_MOMENTS)
            add_moments(role, y);
        else if (role.role == ROLE_SKETCH)
            add_to_sketch(role, (float)y);
        else if (role.role == ROLE_S && c.n_s)
            role.sum[0] += s;
        else if (role.role == ROLE_PRODUCTS && c.has_control)
            add_products(role, item, y, x);
        else if (role.role >= ROLE_GROUPS && c.has_control)
            add_to_group(role, item, y, x);
    }
}

typedef struct PairArgs {
    Global<unsigned char> chunks;
    Global<const float> x;
    Global<const PairItem> items;
    size_t chunk_bytes, ld, n_cols, n[PAIR_CLASSES];
    int n_items, n_templates, n_words;
} PairArgs;

/* The sketches of a block's chunks to shared memory, or back. */
DEVICE_FN void move_sketches(const PairArgs &a, int k, Shared<uint32_t> sketches, bool back)
{
    size_t n_chunks = pair_chunks(a.n_cols), first = (size_t)blockIdx.x * BLOCK_CHUNKS;
    for (size_t c = 0; c < BLOCK_CHUNKS && first + c < n_chunks; c++) {
        size_t at = ((size_t)k * n_chunks + first + c) * a.chunk_bytes + offsetof(PairChunk, sketch);
        Global<uint32_t> there = pointer_cast<uint32_t>(a.chunks + at);
        for (size_t i = threadIdx.x; i < PAIR_COLS * SKETCH_WORDS; i += PAIR_THREADS) {
            size_t here = c * PAIR_COLS * SKETCH_WORDS + i;
            if (back) {
                uint32_t word = sketches[here];
                there[i] = word;
            } else {
                uint32_t word = there[i];
                sketches[here] = word;
            }
        }
    }
}

DEVICE_FN Role open_role(const PairArgs &a, size_t column, bool there, int k, Shared<uint32_t> sketches)
{
    Role r;
    r.role = (int)(threadIdx.x / 32);
    size_t chunk = (size_t)k * pair_chunks(a.n_cols) + column / PAIR_COLS;
    Global<unsigned char> head = a.chunks + chunk * a.chunk_bytes;
    size_t first = r.role == ROLE_MOMENTS ? offsetof(PairChunk, sum)
                   : r.role == ROLE_S     ? offsetof(PairChunk, s)
                                          : offsetof(PairChunk, yy);
    r.at = pointer_cast<double>(head + first) + column % PAIR_COLS;
    r.group = pointer_cast<float>(head + sizeof(PairChunk)) + column % PAIR_COLS;
    r.sketch = sketches + threadIdx.x % 32 * SKETCH_WORDS;
    r.n_templates = a.n_templates, r.n_words = a.n_words;
    r.n = 0;
#pragma unroll
    for (int i = 0; i < PAIR_CLASSES; i++)
        r.n = i == k ? a.n[i] : r.n;
#pragma unroll
    for (int i = 0; i < PRODUCTS; i++) {
        r.sum[i] = 0.0;
        if (there && i < n_sums(r.role))
            r.sum[i] = r.at[i * PAIR_COLS];
    }
    return r;
}

CUDA_KERNEL(PAIR_THREADS) pair_sums_kernel(PairArgs a)
{
    CUDA_SHARED(double, value_memory, N_VALUES *PAIR_TILE * 32);
    CUDA_SHARED(uint32_t, sketch_memory, 32 * SKETCH_WORDS);
    Shared<double> values = Shared<double>(value_memory) + threadIdx.x % 32;
    Shared<uint32_t> sketches = Shared<uint32_t>(sketch_memory);
    int warp = (int)(threadIdx.x / 32), k = PAIR_CLASSES - 1 - (int)blockIdx.y; /* PAIR_ALL, the longest, first */
    size_t column = (size_t)blockIdx.x * 32 + threadIdx.x % 32;
    bool there = column < a.n_cols;
    Role role = open_role(a, column, there, k, sketches);
    move_sketches(a, k, sketches, false);
    for (int base = 0; base < a.n_items; base += PAIR_TILE) {
        int some = a.n_items - base < PAIR_TILE ? a.n_items - base : (int)PAIR_TILE;
        for (int t = warp; there && t < some; t += PAIR_WARPS)
            put_values(a.x + column, a.ld, a.items + (base + t), k, values + t * 32);
        block_sync();
        if (there)
            add_tile(role, a.items + base, some, k, values);
        block_sync();
    }
    if (there) {
#pragma unroll
        for (int i = 0; i < PRODUCTS; i++)
            if (i < n_sums(role.role))
                role.at[i * PAIR_COLS] = role.sum[i];
    }
    move_sketches(a, k, sketches, true);
}

void cuda_pair_sums(cudaStream_t stream, const PairSums *to, View x, const PairItem *items, size_t n_items)
{
    if (!n_items || !to->n_cols)
        return;
    PairArgs a = {};
    a.chunks = (unsigned char *)to->chunks;
    a.x = (const float *)x.data;
    a.items = items;
    a.chunk_bytes = to->chunk_bytes, a.ld = x.ld, a.n_cols = to->n_cols;
    for (int k = 0; k < PAIR_CLASSES; k++)
        a.n[k] = to->n[k];
    a.n_items = (int)n_items, a.n_templates = (int)to->n_template_groups, a.n_words = (int)to->n_word_groups;
    dim3 grid((unsigned)((to->n_cols + 31) / 32), PAIR_CLASSES);
    CUDA_LAUNCH((pair_sums_kernel), grid, PAIR_THREADS, 0, stream, a);
}

/* ---- rows compared: a warp a pair, a lane a chain ---- */

CUDA_KERNEL(COMPARE_THREADS)
compare_kernel(Global<double> out, Global<const float> x, size_t ld, size_t n_cols, Global<const RowPair> pairs, size_t n,
               Global<const double> weight)
{
    size_t i = (size_t)blockIdx.x * (COMPARE_THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (i >= n)
        return;
    RowPair pair = pairs[i];
    Global<const float> a = x + (size_t)pair.first * ld, b = x + (size_t)pair.second * ld;
    double dd = 0.0, aa = 0.0, bb = 0.0, ab = 0.0, weighted = 0.0, most = 0.0;
#pragma unroll 4
    for (size_t j = lane; j < n_cols; j += PAIR_CHAINS) {
        float first = a[j], second = b[j];
        double from = (double)first, to = (double)second, d = to - from, w = weight[j];
        dd += d * d;
        aa += from * from;
        bb += to * to;
        ab += from * to;
        weighted += fabs(d) * w;
        most = pair_most(most, fabs(d));
    }
#pragma unroll
    for (int half = PAIR_CHAINS / 2; half; half /= 2) {
        dd += warp_shuffle_down(dd, half);
        aa += warp_shuffle_down(aa, half);
        bb += warp_shuffle_down(bb, half);
        ab += warp_shuffle_down(ab, half);
        weighted += warp_shuffle_down(weighted, half);
        most = pair_most(most, warp_shuffle_down(most, half));
    }
    if (lane != 0)
        return;
    Global<double> to = out + i * (sizeof(RowsCompared) / 8);
    to[0] = dd;
    to[1] = aa;
    to[2] = bb;
    to[3] = ab;
    to[4] = weighted;
    to[5] = most;
}

void cuda_compare_rows(cudaStream_t stream, RowsCompared *out, View x, const RowPair *pairs, size_t n, const double *weight)
{
    size_t a_block = COMPARE_THREADS / 32;
    if (n)
        CUDA_LAUNCH((compare_kernel), (unsigned)((n + a_block - 1) / a_block), COMPARE_THREADS, 0, stream,
                    (double *)(void *)out, (const float *)x.data, x.ld, x.cols, pairs, n, weight);
}

/* ---- rows gathered ---- */

CUDA_KERNEL(GATHER_THREADS)
gather_kernel(Global<float> out, size_t out_ld, Global<const float> x, size_t ld, Global<const int32_t> rows, size_t n_cols)
{
    size_t t = blockIdx.x, row = (size_t)rows[t];
    for (size_t j = threadIdx.x; j < n_cols; j += GATHER_THREADS) {
        float value = x[row * ld + j];
        out[t * out_ld + j] = value;
    }
}

void cuda_gather(cudaStream_t stream, View out, View x, const int32_t *rows)
{
    if (out.rows && out.cols)
        CUDA_LAUNCH((gather_kernel), (unsigned)out.rows, GATHER_THREADS, 0, stream, (float *)out.data, out.ld,
                    (const float *)x.data, x.ld, rows, out.cols);
}
