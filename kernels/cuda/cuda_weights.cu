/* cuda_weights.cu: weights and embeddings from the mapped file to the device. Threads copy a stretch of the file into a pinned stage, the
 * copy engine takes it to the device behind the back of the compute stream, a kernel makes of it what the products want: matrices
 * [N, K] of the context's dtype, f32 tables, vectors in f32, where that dtype is bf16 with a bf16 copy behind them (biases of bf16
 * products). Elements that need no change go straight to their place.
 *
 * The compute stream waits for what was prepared, the copy stream for the uses of the slot that slot_done() told of. A slot is filled from its
 * beginning, so that one wait there orders everything that follows. */
#include "kernels/cuda/cuda_context.cuh"
#include "kernels/cuda/cuda_rows.cuh"

#include <string.h>

extern "C" {
#include "kernels/convert.h"
}

/* ---- filling a stage ---- */

/* Rows of bytes, each from a place of its own in the file, one behind the other into the stage. */
struct Gather {
    char *to;
    const WeightPart *part;
    const int32_t *ids; /* rows of the part, or NULL: first_row, first_row + 1, ... */
    size_t first_row, n_rows, first_col, n_cols;
    bool widen; /* to f32, by the host */
};

static size_t row_bytes(const Gather *g)
{
    if (g->widen)
        return g->n_cols * sizeof(float);
    return g->n_cols / dtype_block_elems(g->part->dtype) * dtype_block_bytes(g->part->dtype);
}

static void gather_task(void *arg, size_t task, int thread)
{
    const Gather *g = (const Gather *)arg;
    const WeightPart *p = g->part;
    size_t begin, end, bytes = row_bytes(g), block = dtype_block_elems(p->dtype), block_bytes = dtype_block_bytes(p->dtype);
    (void)thread;
    pool_split(g->n_rows, 1, (g->n_rows + 63) / 64, task, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        size_t row = g->ids ? (size_t)g->ids[i] : g->first_row + i;
        char *to = g->to + i * bytes;
        const char *from = (const char *)p->data + (row * p->stride + g->first_col) / block * block_bytes;
        if (!g->widen)
            memcpy(to, from, bytes);
        else if (p->transposed) /* whole rows only */
            convert_row_f32(p, row, (float *)(void *)to);
        else
            convert_f32(p->dtype, from, g->n_cols, (float *)(void *)to);
    }
}

static void gather(OpsContext *c, Gather *g)
{
    if (g->n_rows)
        pool_run(c->config.pool, gather_task, g, (g->n_rows + 63) / 64);
}

/* Rows [first, first + n) of a transposed part: for each column c its n elements, one behind the other. */
struct Columns {
    char *to;
    const WeightPart *part;
    size_t first_row, n_rows;
};

static void columns_task(void *arg, size_t task, int thread)
{
    const Columns *g = (const Columns *)arg;
    const WeightPart *p = g->part;
    size_t begin, end, elem = dtype_block_bytes(p->dtype);
    (void)thread;
    pool_split(p->cols, 1, (p->cols + 63) / 64, task, &begin, &end);
    for (size_t i = begin; i < end; i++)
        memcpy(g->to + i * g->n_rows * elem, (const char *)p->data + (i * p->stride + g->first_row) * elem, g->n_rows * elem);
}

/* ---- preparing ---- */

static DType dtype_of(WeightKind kind, DType matrix)
{
    return kind == WEIGHT_MATRIX ? matrix : DTYPE_F32;
}

/* From the stage, dense rows of `dtype`, to their place. */
static void place(OpsContext *c, const char *host, char *device, size_t bytes, DType dtype, char *to, DType to_dtype,
                  size_t rows, size_t cols, size_t stride, bool transposed)
{
    bool as_is = dtype == to_dtype && !transposed && stride == cols;
    context_ok(c, "weights", cudaMemcpyAsync(as_is ? to : device, host, bytes, cudaMemcpyDefault, c->copy));
    if (!as_is) {
        cuda_convert(c->copy, to, to_dtype, device, dtype, rows, cols, stride, transposed);
        context_ok(c, "weights", cudaGetLastError());
    }
    context_stage_used(c, "weights", c->copy);
}

/* A part whose rows lie in the file as we want them, `to` its place. */
static void prepare_rows(OpsContext *c, const WeightPart *p, char *to, DType to_dtype)
{
    bool widen = !cuda_reads(p->dtype);
    size_t elem = dtype_block_bytes(to_dtype), grain = 256; /* columns of a row are cut at whole blocks */
    Gather g = {NULL, p, NULL, 0, 0, 0, 0, widen};
    g.n_cols = p->cols;
    bool whole = row_bytes(&g) <= CONTEXT_STAGE_BYTES;
    if (!whole)
        g.n_cols = grain * (CONTEXT_STAGE_BYTES / 8 / grain); /* no element is longer than 8 bytes */
    size_t most = whole && row_bytes(&g) ? CONTEXT_STAGE_BYTES / row_bytes(&g) : 1, most_cols = g.n_cols;
    for (size_t r = 0; r < p->rows; r += most) {
        for (size_t col = 0; col < p->cols; col += most_cols) {
            char *device;
            if (!context_stage_take(c, "weights", &g.to, &device))
                return;
            g.first_row = r, g.first_col = col;
            g.n_rows = p->rows - r < most ? p->rows - r : most;
            g.n_cols = p->cols - col < most_cols ? p->cols - col : most_cols;
            gather(c, &g);
            place(c, g.to, device, g.n_rows * row_bytes(&g), widen ? DTYPE_F32 : p->dtype, to + (r * p->cols + col) * elem,
                  to_dtype, g.n_rows, g.n_cols, g.n_cols, false);
        }
    }
}

static void prepare_transposed(OpsContext *c, const WeightPart *p, char *to, DType to_dtype)
{
    size_t elem = dtype_block_bytes(p->dtype), most = CONTEXT_STAGE_BYTES / (p->cols * elem);
    if (!most) {
        context_fail(c, "weights", "a transposed row is longer than a stage");
        return;
    }
    for (size_t r = 0; r < p->rows; r += most) {
        Columns g = {NULL, p, r, p->rows - r < most ? p->rows - r : most};
        char *device;
        if (!context_stage_take(c, "weights", &g.to, &device))
            return;
        pool_run(c->config.pool, columns_task, &g, (p->cols + 63) / 64);
        place(c, g.to, device, g.n_rows * p->cols * elem, p->dtype, to + r * p->cols * dtype_block_bytes(to_dtype), to_dtype,
              g.n_rows, p->cols, g.n_rows, true);
    }
}

static size_t count_elems(const WeightPart *parts, size_t n_parts)
{
    size_t n = 0;
    for (size_t i = 0; i < n_parts; i++)
        n += parts[i].rows * parts[i].cols;
    return n;
}

static size_t vector_f32_bytes(size_t n)
{
    return (n * sizeof(float) + 63) & ~(size_t)63;
}

static size_t slot_bytes(WeightKind kind, const WeightPart *parts, size_t n_parts, DType matrix)
{
    size_t n = count_elems(parts, n_parts), bytes = n * dtype_block_bytes(dtype_of(kind, matrix));
    if (kind == WEIGHT_VECTOR && matrix == DTYPE_BF16)
        bytes = vector_f32_bytes(n) + n * sizeof(bf16);
    return (bytes + 63) & ~(size_t)63;
}

size_t weights_slot_bytes_bf16(WeightKind kind, const WeightPart *parts, size_t n_parts)
{
    return slot_bytes(kind, parts, n_parts, DTYPE_BF16);
}

size_t weights_slot_bytes_f32(WeightKind kind, const WeightPart *parts, size_t n_parts)
{
    return slot_bytes(kind, parts, n_parts, DTYPE_F32);
}

const bf16 *weights_vector_bf16(const Weight *w)
{
    return (const bf16 *)((const char *)w->data + vector_f32_bytes(w->cols));
}

static void wait_for_uses(OpsContext *c, const void *slot_memory)
{
    for (size_t i = 0; i < c->n_slots; i++)
        if (c->slots[i].memory == slot_memory)
            context_ok(c, "weights", cudaStreamWaitEvent(c->copy, c->slots[i].done, 0));
}

int weights_prepare(OpsContext *c, void *slot_memory, WeightKind kind, const WeightPart *parts, size_t n_parts, Weight *out,
                    Error *e)
{
    char *to = (char *)slot_memory;
    DType dtype = dtype_of(kind, c->dtype);
    size_t rows = 0, n = count_elems(parts, n_parts), cols = n_parts ? parts[0].cols : 0;
    context_enter(c, "weights");
    wait_for_uses(c, slot_memory);
    for (size_t i = 0; i < n_parts; i++) {
        const WeightPart *p = &parts[i];
        if (p->rows && p->cols && p->transposed)
            prepare_transposed(c, p, to, dtype);
        else if (p->rows && p->cols)
            prepare_rows(c, p, to, dtype);
        to += p->rows * p->cols * dtype_block_bytes(dtype);
        rows += p->rows;
    }
    if (kind == WEIGHT_VECTOR) {
        rows = 1;
        cols = n;
    }
    if (kind == WEIGHT_VECTOR && c->dtype == DTYPE_BF16) {
        View f32 = {slot_memory, DTYPE_F32, 1, n, n}, half = {(char *)slot_memory + vector_f32_bytes(n), DTYPE_BF16, 1, n, n};
        if (n)
            cuda_copy(c->copy, half, f32);
        context_ok(c, "weights", cudaGetLastError());
    }
    out->kind = kind;
    out->rows = rows;
    out->cols = cols;
    out->data = slot_memory;
    if (context_ok(c, "weights", cudaEventRecord(c->weights_there, c->copy)))
        context_ok(c, "weights", cudaStreamWaitEvent(c->compute, c->weights_there, 0));
    (void)e;
    return STATUS_OK; /* failures surface at sync */
}

void weights_slot_done(OpsContext *c, void *slot_memory)
{
    size_t i = 0;
    context_enter(c, "weights");
    while (i < c->n_slots && c->slots[i].memory != slot_memory)
        i++;
    if (i == CONTEXT_SLOTS) { /* more slots than we keep events for: the copies wait for all work so far */
        if (context_ok(c, "weights", cudaEventRecord(c->moe_sorted, c->compute)))
            context_ok(c, "weights", cudaStreamWaitEvent(c->copy, c->moe_sorted, 0));
        return;
    }
    ContextSlot *s = &c->slots[i];
    if (!s->done && !context_ok(c, "weights", cudaEventCreateWithFlags(&s->done, cudaEventDisableTiming)))
        return;
    s->memory = (const char *)slot_memory;
    c->n_slots = i < c->n_slots ? c->n_slots : i + 1;
    context_ok(c, "weights", cudaEventRecord(s->done, c->compute));
}

void weights_forget(OpsContext *c, const void *memory, size_t bytes)
{
    const char *begin = (const char *)memory;
    for (size_t i = 0; i < c->n_slots;) {
        ContextSlot *s = &c->slots[i];
        if (s->memory < begin || s->memory >= begin + bytes) {
            i++;
            continue;
        }
        ContextSlot last = c->slots[--c->n_slots], gone = *s;
        c->slots[i] = last;
        c->slots[c->n_slots].memory = NULL;
        c->slots[c->n_slots].done = gone.done;
        if (i == c->n_slots)
            c->slots[i].done = gone.done;
    }
}

/* ---- embeddings ---- */

static void embed(OpsContext *c, const char *op, View out, const int32_t *ids, const WeightPart *table, float multiplier,
                  bool add)
{
    Gather g = {NULL, table, NULL, 0, 0, 0, table->cols, table->transposed || !cuda_reads(table->dtype)};
    size_t bytes = row_bytes(&g), most = bytes ? CONTEXT_STAGE_BYTES / bytes : 0;
    context_enter(c, op);
    if (bytes && !most)
        context_fail(c, op, "a row is longer than a stage");
    for (size_t at = 0; most && at < out.rows; at += most) {
        char *device;
        if (!context_stage_take(c, op, &g.to, &device))
            return;
        g.ids = ids + at;
        g.n_rows = out.rows - at < most ? out.rows - at : most;
        gather(c, &g);
        context_ok(c, op, cudaMemcpyAsync(device, g.to, g.n_rows * bytes, cudaMemcpyHostToDevice, c->compute));
        cuda_embed(c->compute, view_rows(out, at, g.n_rows, dtype_block_bytes(out.dtype)), device,
                   g.widen ? DTYPE_F32 : table->dtype, bytes, multiplier, add);
        context_ok(c, op, cudaGetLastError());
        context_stage_used(c, op, c->compute);
    }
}

void weights_embed(OpsContext *c, View out, const int32_t *ids, const WeightPart *table, float multiplier)
{
    embed(c, "embed", out, ids, table, multiplier, false);
}

void weights_embed_add(OpsContext *c, View x, const int32_t *positions, const WeightPart *table)
{
    embed(c, "embed_add", x, positions, table, 1, true);
}
