/* cuda_convert.cu: elements of a file to f32 or bf16 on the device: prepared weights, and rows of an embedding table. F32, F16, BF16
 * and every block format of GGUF, laid out as kernels/convert_blocks.c says, bit for bit what the host makes of them (rounded once more to
 * the nearest bf16 where the weight is stored so). A thread takes 8 neighbouring elements, which share a block and its group; bytes
 * of a block are read one by one, since blocks may begin anywhere. */
#include "kernels/cuda/cuda_block.cuh"

enum { CONVERT_THREADS = 128, TILE = 32, TILE_ROWS = 8 };

typedef Global<const uint8_t> Bytes;

DEVICE_FN uint32_t byte_at(Bytes p, int i)
{
    uint8_t b = p[i];
    return b;
}

DEVICE_FN uint32_t u16_at(Bytes p, int i)
{
    return byte_at(p, i) | byte_at(p, i + 1) << 8;
}

DEVICE_FN float f16_at(Bytes p, int i)
{
    return f32_of(f16{(uint16_t)u16_at(p, i)});
}

DEVICE_FN float int8_at(Bytes p, int i)
{
    return (float)(int8_t)(uint8_t)byte_at(p, i);
}

/* The 16 levels of IQ4_NL and IQ4_XS: -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113, each plus 128, a byte each. */
DEVICE_FN float iq4_level(uint32_t code)
{
    const uint64_t low = 0x766A5D4F3F2D1801u, high = 0xF1D9C5B5A6998D81u;
    return (float)(int)(uint8_t)((code < 8 ? low : high) >> 8 * (code & 7)) - 128.0f;
}

/* Nibble of element i of 32: elements 0 to 15 lie low, 16 to 31 high. */
DEVICE_FN uint32_t nibble_at(Bytes p, int first, int i)
{
    return byte_at(p, first + i % 16) >> (i < 16 ? 0 : 4) & 15u;
}

DEVICE_FN float q3_scale(Bytes scales, int group)
{
    uint32_t low = group < 8 ? byte_at(scales, group) & 15u : byte_at(scales, group - 8) >> 4;
    return (float)(int)(low | (byte_at(scales, 8 + group % 4) >> 2 * (group / 4) & 3u) << 4) - 32.0f;
}

/* Elements [i, i + 8) of the block at p, i a multiple of 8. */
DEVICE_FN void unpack(float (&x)[8], Bytes p, DType dtype, int i)
{
    float d, m;
    switch (dtype) {
    case DTYPE_Q4_0:
        d = f16_at(p, 0);
        for (int j = 0; j < 8; j++)
            x[j] = ((float)nibble_at(p, 2, i + j) - 8.0f) * d;
        return;
    case DTYPE_Q4_1:
        d = f16_at(p, 0), m = f16_at(p, 2);
        for (int j = 0; j < 8; j++)
            x[j] = (float)nibble_at(p, 4, i + j) * d + m;
        return;
    case DTYPE_Q5_0:
        d = f16_at(p, 0);
        for (int j = 0; j < 8; j++)
            x[j] = ((float)(nibble_at(p, 6, i + j) | (byte_at(p, 2 + i / 8) >> j & 1u) << 4) - 16.0f) * d;
        return;
    case DTYPE_Q5_1:
        d = f16_at(p, 0), m = f16_at(p, 2);
        for (int j = 0; j < 8; j++)
            x[j] = (float)(nibble_at(p, 8, i + j) | (byte_at(p, 4 + i / 8) >> j & 1u) << 4) * d + m;
        return;
    case DTYPE_Q8_0:
        d = f16_at(p, 0);
        for (int j = 0; j < 8; j++)
            x[j] = int8_at(p, 2 + i + j) * d;
        return;
    case DTYPE_IQ4_NL:
        d = f16_at(p, 0);
        for (int j = 0; j < 8; j++)
            x[j] = d * iq4_level(nibble_at(p, 2, i + j));
        return;
    case DTYPE_Q2_K: {
        uint32_t scale = byte_at(p, i / 16);
        d = f16_at(p, 80) * (float)(scale & 15u), m = f16_at(p, 82) * (float)(scale >> 4);
        for (int j = 0; j < 8; j++)
            x[j] = d * (float)(byte_at(p, 16 + i / 128 * 32 + i % 32 + j) >> 2 * (i % 128 / 32) & 3u) - m;
        return;
    }
    case DTYPE_Q3_K: {
        d = f16_at(p, 108) * q3_scale(p + 96, i / 16);
        for (int j = 0; j < 8; j++) {
            uint32_t code = byte_at(p, 32 + i / 128 * 32 + i % 32 + j) >> 2 * (i % 128 / 32) & 3u;
            uint32_t set = byte_at(p, i % 32 + j) >> i / 32 & 1u;
            x[j] = d * ((float)code - (set ? 0.0f : 4.0f));
        }
        return;
    }
    case DTYPE_Q4_K:
    case DTYPE_Q5_K: {
        int group = i / 32, l = i % 32, q = dtype == DTYPE_Q4_K ? 16 : 48;
        uint32_t scale, least;
        if (group < 4) {
            scale = byte_at(p, 4 + group) & 63u;
            least = byte_at(p, 8 + group) & 63u;
        } else {
            scale = (byte_at(p, 8 + group) & 15u) | (byte_at(p, group) >> 6) << 4;
            least = byte_at(p, 8 + group) >> 4 | (byte_at(p, 4 + group) >> 6) << 4;
        }
        d = f16_at(p, 0) * (float)scale, m = f16_at(p, 2) * (float)least;
        for (int j = 0; j < 8; j++) {
            uint32_t code = byte_at(p, q + group / 2 * 32 + l + j) >> (group % 2 ? 4 : 0) & 15u;
            if (dtype == DTYPE_Q5_K)
                code |= (byte_at(p, 16 + l + j) >> group & 1u) << 4;
            x[j] = d * (float)code - m;
        }
        return;
    }
    case DTYPE_Q6_K: {
        int half = i / 128, run = i % 128 / 32, l = i % 32;
        d = f16_at(p, 208) * int8_at(p, 192 + i / 16);
        for (int j = 0; j < 8; j++) {
            uint32_t low = byte_at(p, 64 * half + 32 * (run % 2) + l + j) >> (run < 2 ? 0 : 4) & 15u;
            uint32_t high = byte_at(p, 128 + 32 * half + l + j) >> 2 * run & 3u;
            x[j] = d * ((float)(low | high << 4) - 32.0f);
        }
        return;
    }
    case DTYPE_Q8_K:
        d = exact_of_bits_f32(u16_at(p, 0) | u16_at(p, 2) << 16);
        for (int j = 0; j < 8; j++)
            x[j] = d * int8_at(p, 4 + i + j);
        return;
    case DTYPE_IQ4_XS: {
        int group = i / 32;
        uint32_t low = byte_at(p, 4 + group / 2) >> (group % 2 ? 4 : 0) & 15u, high = u16_at(p, 2) >> 2 * group & 3u;
        d = f16_at(p, 0) * ((float)(low | high << 4) - 32.0f);
        for (int j = 0; j < 8; j++)
            x[j] = d * iq4_level(nibble_at(p, 8 + 16 * group, i % 32 + j));
        return;
    }
    default:
        return;
    }
}

/* An element of a plain type; its bytes may lie anywhere. */
DEVICE_FN float plain_at(Bytes p, DType dtype)
{
    if (dtype == DTYPE_F32)
        return is_aligned(p, 4) ? f32_of(pointer_cast<const float>(p)[0]) : exact_of_bits_f32(u16_at(p, 0) | u16_at(p, 2) << 16);
    uint16_t bits;
    if (is_aligned(p, 2))
        bits = pointer_cast<const uint16_t>(p)[0];
    else
        bits = (uint16_t)u16_at(p, 0);
    return dtype == DTYPE_F16 ? f32_of(f16{bits}) : f32_of(bf16{bits});
}

typedef struct Source {
    Bytes data;
    DType dtype;
    size_t row_bytes, block_elems, block_bytes; /* block_elems 1: a plain type */
} Source;

/* Columns [at, at + 8) of a row of n; those from n on are 0. */
DEVICE_FN void read_columns(float (&x)[8], const Source &s, size_t row, size_t at, size_t n)
{
    Bytes p = s.data + row * s.row_bytes;
    if (s.block_elems > 1) {
        unpack(x, p + at / s.block_elems * s.block_bytes, s.dtype, (int)(at % s.block_elems));
        return;
    }
    p += at * s.block_bytes;
    if (at + 8 <= n && is_aligned(p, 16)) {
        if (s.dtype == DTYPE_F32)
            load_row<8>(x, pointer_cast<const float>(p));
        else if (s.dtype == DTYPE_BF16)
            load_row<8>(x, pointer_cast<const bf16>(p));
        else
            load_row<8>(x, pointer_cast<const f16>(p));
        return;
    }
    for (int j = 0; j < 8; j++)
        x[j] = at + j < n ? plain_at(p + j * s.block_bytes, s.dtype) : 0.0f;
}

template <typename Out> CUDA_KERNEL(CONVERT_THREADS) convert_kernel(Global<Out> out, Source source, size_t cols, bool wide)
{
    size_t r = blockIdx.x, at = ((size_t)blockIdx.y * blockDim.x + threadIdx.x) * 8;
    if (at >= cols)
        return;
    float x[8];
    read_columns(x, source, r, at, cols);
    Global<Out> to = out + r * cols;
    if (wide) {
        store_cols<8>(to, x, at, cols);
    } else {
        for (int j = 0; j < 8; j++)
            if (at + j < cols)
                to[at + j] = Narrow<Out>::of(x[j]);
    }
}

/* dst[r, c] = src[c * stride + r]: tiles go through shared memory, so that both sides are read and written along their rows. */
template <typename Out>
CUDA_KERNEL(TILE *TILE_ROWS)
transpose_kernel(Global<Out> out, Source source, size_t rows, size_t cols, size_t row_tiles)
{
    CUDA_SHARED(float, tile, TILE *(TILE + 1));
    size_t first_row = blockIdx.x % row_tiles * TILE, first_col = blockIdx.x / row_tiles * TILE;
    int x = (int)threadIdx.x % TILE, y = (int)threadIdx.x / TILE;
    for (int i = y; i < TILE; i += TILE_ROWS) {
        size_t r = first_row + (size_t)x, c = first_col + (size_t)i;
        if (r < rows && c < cols)
            tile[i * (TILE + 1) + x] = plain_at(source.data + c * source.row_bytes + r * source.block_bytes, source.dtype);
    }
    block_sync();
    for (int i = y; i < TILE; i += TILE_ROWS) {
        size_t r = first_row + (size_t)i, c = first_col + (size_t)x;
        if (r < rows && c < cols)
            out[r * cols + c] = Narrow<Out>::of(tile[x * (TILE + 1) + i]);
    }
}

template <typename Out>
CUDA_KERNEL(CONVERT_THREADS)
embed_kernel(Global<Out> out, size_t ld, Source source, size_t cols, float multiplier, bool add, bool wide)
{
    size_t t = blockIdx.x, at = ((size_t)blockIdx.y * blockDim.x + threadIdx.x) * 8;
    if (at >= cols)
        return;
    float x[8];
    read_columns(x, source, t, at, cols);
    Global<Out> to = out + t * ld;
    for (int j = 0; j < 8; j++)
        if (at + j < cols)
            x[j] = add ? f32_of(to[at + j]) + multiplier * x[j] : multiplier * x[j];
    if (wide) {
        store_cols<8>(to, x, at, cols);
    } else {
        for (int j = 0; j < 8; j++)
            if (at + j < cols)
                to[at + j] = Narrow<Out>::of(x[j]);
    }
}

/* What the formats' bytes are, as engine/base/dtype.c has it for the host; 0: not read here. */
typedef struct Layout {
    size_t elems, bytes;
} Layout;

static Layout layout_of(DType t)
{
    switch (t) {
    case DTYPE_F32:
        return Layout{1, 4};
    case DTYPE_F16:
    case DTYPE_BF16:
        return Layout{1, 2};
    case DTYPE_Q4_0:
    case DTYPE_IQ4_NL:
        return Layout{32, 18};
    case DTYPE_Q4_1:
        return Layout{32, 20};
    case DTYPE_Q5_0:
        return Layout{32, 22};
    case DTYPE_Q5_1:
        return Layout{32, 24};
    case DTYPE_Q8_0:
        return Layout{32, 34};
    case DTYPE_Q2_K:
        return Layout{256, 84};
    case DTYPE_Q3_K:
        return Layout{256, 110};
    case DTYPE_Q4_K:
        return Layout{256, 144};
    case DTYPE_Q5_K:
        return Layout{256, 176};
    case DTYPE_Q6_K:
        return Layout{256, 210};
    case DTYPE_Q8_K:
        return Layout{256, 292};
    case DTYPE_IQ4_XS:
        return Layout{256, 136};
    default:
        return Layout{0, 0};
    }
}

bool cuda_reads(DType dtype)
{
    return layout_of(dtype).elems > 0;
}

static Source source_of(const void *raw, DType dtype, size_t row_bytes)
{
    Source s = {};
    s.data = (const uint8_t *)raw;
    s.dtype = dtype;
    s.block_elems = layout_of(dtype).elems;
    s.block_bytes = layout_of(dtype).bytes;
    s.row_bytes = row_bytes;
    return s;
}

static dim3 row_pieces(size_t rows, size_t cols, unsigned threads)
{
    return dim3((unsigned)rows, (unsigned)(((cols + 7) / 8 + threads - 1) / threads));
}

template <typename Out>
static void convert_launch(cudaStream_t stream, Out *dst, Source s, size_t rows, size_t cols, size_t stride, bool transposed)
{
    if (transposed) {
        s.row_bytes = stride * s.block_bytes;
        size_t row_tiles = (rows + TILE - 1) / TILE, tiles = row_tiles * ((cols + TILE - 1) / TILE);
        CUDA_LAUNCH((transpose_kernel<Out>), (unsigned)tiles, TILE * TILE_ROWS, 0, stream, dst, s, rows, cols, row_tiles);
        return;
    }
    s.row_bytes = stride / s.block_elems * s.block_bytes;
    bool wide = (uintptr_t)dst % 16 == 0 && (rows == 1 || cols * sizeof(Out) % 16 == 0);
    unsigned threads = cuda_threads((cols + 7) / 8, CONVERT_THREADS);
    CUDA_LAUNCH((convert_kernel<Out>), row_pieces(rows, cols, threads), threads, 0, stream, dst, s, cols, wide);
}

void cuda_convert(cudaStream_t stream, void *dst, DType dst_dtype, const void *raw, DType dtype, size_t rows, size_t cols,
                  size_t stride, bool transposed)
{
    if (!rows || !cols)
        return;
    Source s = source_of(raw, dtype, 0);
    if (dst_dtype == DTYPE_F32)
        convert_launch(stream, (float *)dst, s, rows, cols, stride, transposed);
    else
        convert_launch(stream, (bf16 *)dst, s, rows, cols, stride, transposed);
}

void cuda_embed(cudaStream_t stream, View out, const void *raw, DType dtype, size_t row_bytes, float multiplier, bool add)
{
    if (!out.rows || !out.cols)
        return;
    Source s = source_of(raw, dtype, row_bytes);
    bool wide = cuda_rows_aligned(out);
    unsigned threads = cuda_threads((out.cols + 7) / 8, CONVERT_THREADS);
    dim3 grid = row_pieces(out.rows, out.cols, threads);
    if (out.dtype == DTYPE_F32)
        CUDA_LAUNCH((embed_kernel<float>), grid, threads, 0, stream, (float *)out.data, out.ld, s, out.cols, multiplier, add,
                    wide);
    else
        CUDA_LAUNCH((embed_kernel<bf16>), grid, threads, 0, stream, (bf16 *)out.data, out.ld, s, out.cols, multiplier, add,
                    wide);
}
