/* gpu_bench.c: speed of cuda/fast on a device, as Markdown: the roofs of this run (cuBLAS on 8192 cubed in bf16, f32 and TF32, copy bandwidth), every
 * kernel against its roof, and removal sweeps of a model shaped like Llama 3 8B and one shaped like Mixtral 8x7B (fewer layers, so
 * that it fits), contexts of 512 and 2048, all weights resident, and of the first one streamed under a budget of 12 GiB.
 *
 * Weights are random and made on the device: the model's files are holes of the right shape (hollow_model.h), a wrapper of the table
 * fills what weight_prepare() would have read. In streaming the hole goes through pinned memory and the link all the same.
 *
 * Roofs: after a second of the same product, so that clocks have risen and settled to what the device's power allows. Kernels: median of
 * 9 timings by device events, after 2, of as many calls as take a few milliseconds; inside the window are launches and kernels alone. Sweeps: wall time of one block after another that warmed up, results on the host. FLOPs are those of the tree
 * (two a multiply-add, attention's causal half alone). `--device` names the device and ends; `--tiny` runs the whole program on shapes that an emulation can bear. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/gpu/hollow_model.h"
#include "engine/base/progress.h"
#include "engine/base/rng.h"
#include "engine/run.h"
#include "kernels/cuda/cuda_entry.h"
#include "strata_version.h"

static const CudaEntry *entry;
static const Ops *current;          /* cuda/fast in the arithmetic at hand */
static const char *suffix = "";     /* of its lines: "" in bf16 */
static bool streams, failed;        /* the sweep at hand streams its weights; some sweep failed */
static double gemm_roof, copy_roof; /* TFLOP/s, GB/s */
static uint64_t next_seed = 1;

static void must(int status, const Error *e)
{
    if (status) {
        fflush(stdout);
        fprintf(stderr, "gpu_bench: %s\n", e->text);
        exit(1);
    }
}

/* ---- kernels ---- */

typedef struct Bench {
    const Ops *ops;
    OpsContext *c;
    Shape s;
    size_t rows; /* of an op */
    View resid, resid2, normed, act, act2, qkv, gate_up, hidden, logits, intact;
    Weight w, gain, cosines, sines;
    ExpertWeights *experts;
    Routes routes;
    int32_t *positions;
    AttnSeq *seqs;
    KvSegment *segments;
    size_t n_seqs;
    HeadArgs head;
    PairSums sums;
    PairItem *items;
    RowPair *pairs;
    RowsCompared *compared;
    double *weight;
    size_t n_items, n_pairs;
    void *from, *to;
    size_t bytes;
    int calls;
} Bench;

/* Of an activation. */
static size_t elem_bytes(void)
{
    return dtype_block_bytes(current->act_dtype);
}

static View make_view(Bench *b, DType dtype, size_t rows, size_t cols)
{
    Error e;
    View v = {.dtype = dtype, .rows = rows, .cols = cols, .ld = cols};
    must(b->ops->alloc(b->c, rows * cols * dtype_block_bytes(dtype), &v.data, &e), &e);
    entry->bench->fill(b->c, v.data, dtype, rows * cols, 1, next_seed++);
    return v;
}

static Weight make_weight(Bench *b, WeightKind kind, size_t rows, size_t cols)
{
    View v = make_view(b, kind == WEIGHT_MATRIX ? current->gemm_dtype : DTYPE_F32, rows, cols);
    return (Weight){.kind = kind, .rows = rows, .cols = cols, .data = v.data};
}

static void drop(Bench *b, const void *data)
{
    b->ops->free(b->c, (void *)data, 0);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void (*work_of)(Bench *b);

static void repeat(void *arg)
{
    Bench *b = arg;
    for (int i = 0; i < b->calls; i++)
        work_of(b);
}

/* Seconds of one call: the median; *spread the distance between quartiles, in percent of it. */
static double measure(Bench *b, void (*work)(Bench *b), double *spread)
{
    enum { TIMINGS = 9, WARM = 2 };
    Error e;
    double ms[TIMINGS] = {0}, once = 0;
    work_of = work;
    b->calls = 1;
    for (int i = 0; i < WARM; i++)
        must(entry->bench->time(b->c, repeat, b, &once, &e), &e);
    b->calls = once > 0 && once < 4 ? (int)fmin(4 / once, 50) + 1 : 1;
    for (int i = 0; i < TIMINGS; i++)
        must(entry->bench->time(b->c, repeat, b, &ms[i], &e), &e);
    qsort(ms, TIMINGS, sizeof ms[0], by_value);
    *spread = 100 * (ms[6] - ms[2]) / ms[4];
    return ms[4] / 1e3 / b->calls;
}

/* The device does nothing else for so long. */
static void warm_up(Bench *b, void (*work)(Bench *b), double seconds)
{
    enum { CALLS = 16 };
    Error e;
    double ms, end = progress_now_s() + seconds;
    work_of = work;
    b->calls = CALLS;
    while (progress_now_s() < end)
        must(entry->bench->time(b->c, repeat, b, &ms, &e), &e);
}

/* A line of the table: flops or bytes, the other 0. */
static void report(Bench *b, const char *name, void (*work)(Bench *b), double flops, double bytes)
{
    double spread, s = measure(b, work, &spread), rate = flops > 0 ? flops / s / 1e12 : bytes / s / 1e9;
    printf("| %s | %.1f | %.0f %s | %.0f %% | %.0f %% |\n", name, s * 1e6, rate, flops > 0 ? "TFLOP/s" : "GB/s",
           100 * rate / (flops > 0 ? gemm_roof : copy_roof), spread);
    fflush(stdout);
}

static void do_copy(Bench *b)
{
    entry->bench->copy(b->c, b->to, b->from, b->bytes);
}

static void do_linear(Bench *b)
{
    b->ops->linear(b->c, b->act, b->normed, &b->w, NULL);
}

static void do_linear_add(Bench *b)
{
    b->ops->linear_add(b->c, b->resid2, b->resid, 1, b->normed, &b->w, NULL);
}

static void do_norm(Bench *b)
{
    NormSpec spec = {.kind = NORM_RMS, .eps = 1e-5f, .group = b->s.d};
    b->ops->norm(b->c, b->normed, b->resid, &spec, &b->gain, NULL);
}

static void do_add(Bench *b)
{
    b->ops->add(b->c, b->resid2, b->resid, b->act2, 1);
}

static void do_rope(Bench *b)
{
    View q = view_cols(b->qkv, 0, b->s.heads * b->s.head_dim, elem_bytes());
    b->ops->rope(b->c, q, b->positions, &b->cosines, &b->sines, (int)b->s.heads, (int)b->s.head_dim, (int)b->s.head_dim,
                 ROPE_HALF);
}

static void do_attention(Bench *b)
{
    size_t q_cols = b->s.heads * b->s.head_dim, kv_cols = b->s.kv_heads * b->s.head_dim;
    size_t elem = elem_bytes();
    View q = view_cols(b->qkv, 0, q_cols, elem), k = view_cols(b->qkv, q_cols, kv_cols, elem);
    View v = view_cols(b->qkv, q_cols + kv_cols, kv_cols, elem), out = b->normed;
    out.cols = out.ld = q_cols;
    AttnSpec spec = {.n_heads = (int)b->s.heads,
                     .n_kv_heads = (int)b->s.kv_heads,
                     .head_dim = (int)b->s.head_dim,
                     .scale = 1 / sqrtf((float)b->s.head_dim)};
    b->ops->attention(b->c, out, q, k, v, b->seqs, b->n_seqs, &spec);
}

static void do_glu(Bench *b)
{
    size_t elem = elem_bytes();
    b->ops->glu(b->c, b->hidden, view_cols(b->gate_up, 0, b->s.f, elem), view_cols(b->gate_up, b->s.f, b->s.f, elem), ACT_SILU);
}

static void do_head(Bench *b)
{
    b->ops->head(b->c, &b->head);
}

static void do_moe(Bench *b)
{
    RouteSpec spec = {.n_experts = (int)b->s.experts, .top_k = 2, .normalise = true};
    View logits = b->act2, out = b->act2;
    logits.cols = logits.ld = b->s.experts;
    b->ops->route(b->c, b->routes, logits, &spec);
    b->ops->moe(b->c, out, b->normed, b->routes, b->experts, &spec, ACT_SILU);
}

static void do_pair_sums(Bench *b)
{
    b->ops->pair_sums(b->c, &b->sums, b->resid, b->items, b->n_items);
}

static void do_compare_rows(Bench *b)
{
    b->ops->compare_rows(b->c, b->compared, b->resid, b->pairs, b->n_pairs, b->weight);
}

static void open_bench(Bench *b, const Shape *s, size_t rows, int device)
{
    Error e;
    memset(b, 0, sizeof *b);
    b->ops = current;
    b->s = *s;
    b->rows = rows;
    OpsConfig config = {.limits = {.max_rows = rows,
                                   .max_head_rows = rows < 2048 ? rows : 2048,
                                   .max_seq = rows,
                                   .d_model = s->d,
                                   .d_ff = s->f,
                                   .n_heads = s->heads,
                                   .n_kv_heads = s->kv_heads,
                                   .head_dim = s->head_dim,
                                   .n_experts = s->experts,
                                   .top_k = s->experts ? 2 : 0,
                                   .vocab = s->vocab},
                        .device_index = device};
    must(b->ops->open(&config, &b->c, &e), &e);
}

static void find_roofs(Bench *b, const char *arithmetic, size_t n, double warm_s)
{
    double spread;
    b->normed = make_view(b, current->gemm_dtype, n, n);
    b->act = make_view(b, current->act_dtype, n, n);
    b->w = make_weight(b, WEIGHT_MATRIX, n, n);
    warm_up(b, do_linear, warm_s);
    gemm_roof = 2.0 * (double)n * (double)n * (double)n / measure(b, do_linear, &spread) / 1e12;
    b->from = b->normed.data, b->to = b->act.data, b->bytes = n * n * elem_bytes();
    copy_roof = 2.0 * (double)b->bytes / measure(b, do_copy, &spread) / 1e9;
    printf("Roofs of this run: cuBLAS %s on %zu cubed **%.0f TFLOP/s**; copy from device to device **%.0f GB/s** (read and "
           "written).\n\n",
           arithmetic, n, gemm_roof, copy_roof);
    drop(b, b->normed.data);
    drop(b, b->act.data);
    drop(b, b->w.data);
}

static void bench_product(Bench *b, const char *name, size_t n, size_t k, bool adds)
{
    b->w = make_weight(b, WEIGHT_MATRIX, n, k);
    b->normed = make_view(b, current->gemm_dtype, b->rows, k);
    b->act = make_view(b, current->act_dtype, b->rows, adds ? 1 : n);
    report(b, name, adds ? do_linear_add : do_linear, 2.0 * (double)b->rows * (double)n * (double)k, 0);
    drop(b, b->w.data);
    drop(b, b->normed.data);
    drop(b, b->act.data);
}

static void bench_attention(Bench *b, size_t length)
{
    char name[64];
    b->n_seqs = b->rows / length;
    for (size_t i = 0; i < b->n_seqs; i++) {
        b->segments[i] = (KvSegment){.first_row = i * length, .n_rows = length};
        b->seqs[i] = (AttnSeq){.q_row = i * length, .n_q = length, .segments = &b->segments[i], .n_segments = 1};
    }
    double pairs = (double)b->n_seqs * (double)length * ((double)length + 1) / 2;
    snprintf(name, sizeof name, "attention, length %zu", length);
    report(b, name, do_attention, 4 * pairs * (double)b->s.heads * (double)b->s.head_dim, 0);
}

static void bench_head(Bench *b)
{
    size_t rows = b->rows < 2048 ? b->rows : 2048;
    static double doubles[5][2048];
    static int32_t ints[3][2048];
    b->w = make_weight(b, WEIGHT_MATRIX, b->s.vocab, b->s.d);
    b->logits = make_view(b, DTYPE_F32, rows, b->s.vocab);
    b->intact = make_view(b, DTYPE_F32, rows, b->s.vocab);
    uint8_t *starts = calloc(b->s.vocab, 1);
    b->head = (HeadArgs){.x = make_view(b, DTYPE_BF16, rows, b->s.d),
                         .w = &b->w,
                         .logit_scale = 1,
                         .targets = ints[0],
                         .word_start = starts,
                         .logits = b->intact,
                         .nll = doubles[0],
                         .kl = doubles[1],
                         .word_start_logp = doubles[2],
                         .lse = doubles[3],
                         .rank = ints[1],
                         .top1 = ints[2]};
    double flops = 2.0 * (double)rows * (double)b->s.vocab * (double)b->s.d;
    report(b, "head of the intact model", do_head, flops, 0);
    b->head.intact_logits = &b->intact;
    b->head.intact_lse = doubles[3];
    b->head.logits = b->logits;
    b->head.lse = doubles[4];
    report(b, "head of a variant (with KL)", do_head, flops, 0);
    drop(b, b->w.data);
    drop(b, b->logits.data);
    drop(b, b->intact.data);
    drop(b, b->head.x.data);
    free(starts);
}

/* Pairs as strata diff puts them into a block: a sentence of FAMILY - 2 TAIL rows, b and a control of TAIL rows; each compared at every
 * position with b, the control, and the next pair's b. Rates count each row that is read once. */
static void bench_pairs(Bench *b)
{
    enum { TAIL = 10, FAMILY = 36, GROUPS = 48 };
    Error e;
    size_t n = b->rows / FAMILY;
    size_t bytes = PAIR_CLASSES * pair_chunks(b->s.d) * pair_chunk_bytes(GROUPS, GROUPS);
    b->n_items = n;
    b->items = calloc(n, sizeof *b->items);
    b->pairs = calloc(3 * n * TAIL, sizeof *b->pairs);
    b->compared = calloc(3 * n * TAIL, sizeof *b->compared);
    b->weight = calloc(b->s.d, sizeof *b->weight);
    b->sums = (PairSums){.chunk_bytes = pair_chunk_bytes(GROUPS, GROUPS),
                         .n_cols = b->s.d,
                         .n_template_groups = GROUPS,
                         .n_word_groups = GROUPS};
    must(b->ops->alloc(b->c, bytes, &b->sums.chunks, &e), &e);
    b->ops->clear(b->c, b->sums.chunks, bytes);
    b->n_pairs = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t len = TAIL, prefix = FAMILY - 3 * TAIL, first = (int32_t)(i * FAMILY) + prefix,
                next = (int32_t)((i + 1) % n * FAMILY) + prefix;
        PairItem *item = &b->items[i];
        *item = (PairItem){.a = first, .b = first + len, .c = first + 2 * len, .s = next + len, .n = len, .n_s = len};
        item->at[1] = item->at_s[1] = len > 1;
        item->at[2] = item->at_s[2] = len - 1;
        item->at[3] = item->at_s[3] = PAIR_NONE;
        item->template_group = (int32_t)(i % GROUPS), item->word_group = (int32_t)(i * 7 % GROUPS), item->half = i % 2;
        item->control_scale = 1;
        const int32_t others[] = {item->b, item->c, item->s};
        for (int k = 0; k < 3; k++)
            for (int32_t r = 0; r < len; r++)
                b->pairs[b->n_pairs++] = (RowPair){first + r, others[k] + r};
    }
    do_pair_sums(b); /* more than 64 items: the sketches count from then on */
    for (int k = 0; k < PAIR_CLASSES; k++)
        b->sums.n[k] = n;
    double read = 3.0 * (double)(n * TAIL * b->s.d) * sizeof(float);
    char name[80];
    snprintf(name, sizeof name, "sums over %zu pairs", n);
    report(b, name, do_pair_sums, 0, read);
    snprintf(name, sizeof name, "%zu comparisons of rows, results on the host", b->n_pairs);
    report(b, name, do_compare_rows, 0, read);
    drop(b, b->sums.chunks);
    free(b->items);
    free(b->pairs);
    free(b->compared);
    free(b->weight);
}

static void bench_moe(Bench *b)
{
    Error e;
    char name[80];
    b->experts = calloc(b->s.experts, sizeof *b->experts);
    for (size_t i = 0; i < b->s.experts; i++)
        b->experts[i] = (ExpertWeights){.gate_up = make_weight(b, WEIGHT_MATRIX, 2 * b->s.f, b->s.d),
                                        .down = make_weight(b, WEIGHT_MATRIX, b->s.d, b->s.f)};
    void *memory;
    must(b->ops->alloc(b->c, b->rows * 2 * 8, &memory, &e), &e);
    b->routes = (Routes){.expert = memory, .weight = (float *)memory + b->rows * 2};
    b->normed = make_view(b, DTYPE_BF16, b->rows, b->s.d);
    b->act2 = make_view(b, DTYPE_BF16, b->rows, b->s.d);
    snprintf(name, sizeof name, "mixture, 2 of %zu experts, %zu rows each", b->s.experts, b->rows * 2 / b->s.experts);
    report(b, name, do_moe, 2.0 * (double)b->rows * 2 * 3 * (double)b->s.d * (double)b->s.f, 0);
    for (size_t i = 0; i < b->s.experts; i++) {
        drop(b, b->experts[i].gate_up.data);
        drop(b, b->experts[i].down.data);
    }
    drop(b, memory);
    drop(b, b->normed.data);
    drop(b, b->act2.data);
    free(b->experts);
}

static void bench_kernels(const Shape *s, const Shape *mixture, size_t rows, int device, size_t roof, double warm_s)
{
    Bench b;
    Error e;
    size_t q_cols = s->heads * s->head_dim, kv_cols = s->kv_heads * s->head_dim, t = rows;
    open_bench(&b, s, rows, device);
    find_roofs(&b, "bf16", roof, warm_s);
    printf("Kernels, %zu rows, the shapes of %s:\n\n| kernel | microseconds | rate | of its roof | spread "
           "|\n|---|---|---|---|---|\n",
           rows, s->name);
    b.resid = make_view(&b, DTYPE_F32, t, s->d);
    b.resid2 = make_view(&b, DTYPE_F32, t, s->d);
    b.act2 = make_view(&b, DTYPE_BF16, t, s->d);
    bench_product(&b, "linear, QKV", q_cols + 2 * kv_cols, s->d, false);
    bench_product(&b, "linear_add, O", s->d, q_cols, true);
    bench_product(&b, "linear, gate and up", 2 * s->f, s->d, false);
    bench_product(&b, "linear_add, down", s->d, s->f, true);
    bench_head(&b);
    b.positions = calloc(t, sizeof *b.positions);
    b.seqs = calloc(t, sizeof *b.seqs);
    b.segments = calloc(t, sizeof *b.segments);
    for (size_t i = 0; i < t; i++)
        b.positions[i] = (int32_t)(i % 512);
    b.qkv = make_view(&b, DTYPE_BF16, t, q_cols + 2 * kv_cols);
    b.normed = make_view(&b, DTYPE_BF16, t, s->d > q_cols ? s->d : q_cols);
    b.gate_up = make_view(&b, DTYPE_BF16, t, 2 * s->f);
    b.hidden = make_view(&b, DTYPE_BF16, t, s->f);
    b.gain = make_weight(&b, WEIGHT_VECTOR, 1, s->d);
    b.cosines = make_weight(&b, WEIGHT_TABLE, 512, s->head_dim / 2);
    b.sines = make_weight(&b, WEIGHT_TABLE, 512, s->head_dim / 2);
    for (size_t length = t < 512 ? t : 512; length <= t && length <= 8192; length *= 4)
        bench_attention(&b, length);
    double x = (double)t * (double)s->d;
    report(&b, "RMSNorm, f32 to bf16", do_norm, 0, 6 * x);
    report(&b, "residual sum", do_add, 0, 10 * x);
    report(&b, "RoPE of the queries", do_rope, 0, 4 * (double)t * (double)q_cols);
    report(&b, "SwiGLU", do_glu, 0, 6 * (double)t * (double)s->f);
    bench_pairs(&b);
    const void *all[] = {b.resid.data,   b.resid2.data, b.act2.data, b.qkv.data,     b.normed.data,
                         b.gate_up.data, b.hidden.data, b.gain.data, b.cosines.data, b.sines.data};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        drop(&b, all[i]);
    must(b.ops->sync(b.c, &e), &e);
    b.ops->close(b.c);
    free(b.positions);
    free(b.seqs);
    free(b.segments);
    open_bench(&b, mixture, rows, device);
    bench_moe(&b);
    must(b.ops->sync(b.c, &e), &e);
    b.ops->close(b.c);
    printf("\n");
}

/* The roofs, two products, and attention in f32 and in TF32 (whose attention is that of f32); the roofs of products to roofs[2]. */
static void bench_in_f32(const Shape *s, size_t rows, int device, size_t roof, double warm_s, double *roofs)
{
    static const char *const names[] = {"f32", "TF32"};
    const Ops *const tables[] = {entry->fast_f32, entry->fast_tf32};
    size_t q_cols = s->heads * s->head_dim, kv_cols = s->kv_heads * s->head_dim;
    for (int i = 0; i < 2; i++) {
        Bench b;
        Error e;
        current = tables[i];
        open_bench(&b, s, rows, device);
        find_roofs(&b, names[i], roof, warm_s);
        roofs[i] = gemm_roof;
        printf("| kernel, %s | microseconds | rate | of its roof | spread |\n|---|---|---|---|---|\n", names[i]);
        bench_product(&b, "linear, QKV", q_cols + 2 * kv_cols, s->d, false);
        bench_product(&b, "linear, gate and up", 2 * s->f, s->d, false);
        b.seqs = calloc(rows, sizeof *b.seqs);
        b.segments = calloc(rows, sizeof *b.segments);
        b.qkv = make_view(&b, current->act_dtype, rows, q_cols + 2 * kv_cols);
        b.normed = make_view(&b, current->gemm_dtype, rows, q_cols);
        for (size_t length = rows < 512 ? rows : 512; i == 0 && length <= rows && length <= 2048; length *= 4)
            bench_attention(&b, length);
        drop(&b, b.qkv.data);
        drop(&b, b.normed.data);
        must(b.ops->sync(b.c, &e), &e);
        b.ops->close(b.c);
        free(b.seqs);
        free(b.segments);
        printf("\n");
    }
    current = entry->fast;
}

/* ---- sweeps ---- */

static Ops wrapped; /* the table, its weights and embeddings random */

static int random_prepare(OpsContext *c, void *slot, WeightKind kind, const WeightPart *parts, size_t n_parts, Weight *out,
                          Error *e)
{
    size_t n = 0, rows = 0;
    if (streams || kind == WEIGHT_TABLE) {
        int status = current->weight_prepare(c, slot, kind, parts, n_parts, out, e);
        if (status || kind == WEIGHT_TABLE)
            return status;
    }
    for (size_t i = 0; i < n_parts; i++) {
        n += parts[i].rows * parts[i].cols;
        rows += parts[i].rows;
    }
    bool matrix = kind == WEIGHT_MATRIX;
    *out = (Weight){.kind = kind, .rows = matrix ? rows : 1, .cols = matrix ? parts[0].cols : n, .data = slot};
    entry->bench->fill(c, slot, matrix ? current->gemm_dtype : DTYPE_F32, n, matrix ? 0.035f : 1, next_seed++);
    return STATUS_OK;
}

static void random_embed(OpsContext *c, View out, const int32_t *ids, const WeightPart *table, float multiplier)
{
    (void)ids;
    (void)table;
    entry->bench->fill(c, out.data, out.dtype, out.rows * out.ld, multiplier, next_seed++);
}

/* Of one run_block() the wall time, and what the counters grew by. */
typedef struct Measured {
    double seconds, flops, naive, moved;
} Measured;

static int measure_block(Run *run, const TokenBlock *block, Measured *out, Error *e)
{
    RunHooks hooks = {0};
    RunCounters before = *run_get_counters(run);
    double begin = progress_now_s();
    int status = run_block(run, block, &hooks, e);
    const RunCounters *now = run_get_counters(run);
    *out = (Measured){.seconds = progress_now_s() - begin,
                      .flops = now->flops - before.flops,
                      .naive = now->flops_naive - before.flops_naive,
                      .moved = now->weight_bytes_moved - before.weight_bytes_moved};
    return status;
}

/* One removal sweep over a block of random tokens, after one that warms up. */
static int bench_sweep(const Model *m, const Shape *s, size_t context, size_t rows, size_t memory, int device, Error *e)
{
    Session session = {0};
    OrderSet orders = {0};
    Run *run = NULL;
    int32_t *ids = NULL;
    size_t *starts = NULL;
    Measured t;
    Rng rng;
    SessionOptions so = {
        .device = "cuda", .numerics = "fast", .dtype = "bf16", .memory_bytes = memory, .device_index = device, .ops = &wrapped};
    int status = session_open(m, &so, &session, e);
    if (status || (status = orders_generate("removal", (int)s->layers, 0, &orders, e)))
        goto done;
    RunRequest q = {.orders = orders.orders, .n_orders = orders.n_orders, .longest_window = context, .total_rows = rows};
    if ((status = run_open(&session, &q, &run, e)))
        goto done;
    const RunSizes *z = run_get_sizes(run);
    size_t n = z->block_rows / context * context;
    ids = malloc(n * sizeof *ids);
    starts = malloc((n / context + 1) * sizeof *starts);
    rng_seed(&rng, 7, context);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)rng_below(&rng, s->vocab);
    for (size_t i = 0; i <= n / context; i++)
        starts[i] = i * context;
    TokenBlock block = {.ids = ids, .window_start = starts, .n_rows = n, .n_windows = n / context};
    if ((status = measure_block(run, &block, &t, e)) || (status = measure_block(run, &block, &t, e)))
        goto done;
    printf("| %s, %zu layers%s%s | %zu | %zu | %.2f | %.0f | %.0f | %.0f %% | %.2f | %.1f | %.1f of %.1f |\n", s->name,
           s->layers, streams ? ", streamed" : "", suffix, context, n, t.seconds,
           (double)n * (double)orders.n_orders / t.seconds, t.flops / t.seconds / 1e12,
           100 * t.flops / t.seconds / 1e12 / gemm_roof, t.naive / t.flops, t.moved / t.seconds / 1e9,
           (double)z->total_bytes / 0x1p30, (double)(memory ? memory : session.memory_bytes) / 0x1p30);
    fflush(stdout);
done:
    run_close(run);
    order_set_free(&orders);
    session_close(&session);
    free(ids);
    free(starts);
    return status;
}

/* budget > 0: weights are streamed under it. What fails is a line of the table; the others are tried all the same. */
static void bench_model(const Shape *s, const size_t *contexts, size_t n_contexts, size_t rows, size_t budget, int device)
{
    Error e;
    Model m;
    char folder[] = "/tmp/strata-gpu-bench-XXXXXX";
    if (!mkdtemp(folder)) {
        fprintf(stderr, "gpu_bench: %s cannot be made\n", folder);
        exit(1);
    }
    if (!hollow_model_make(s, folder)) {
        fprintf(stderr, "gpu_bench: %s: the model's files cannot be written\n", folder);
        exit(1);
    }
    int status = model_open(folder, &m, &e);
    if (!status) {
        streams = budget > 0;
        for (size_t i = 0; i < n_contexts; i++) {
            if (!bench_sweep(&m, s, contexts[i], rows, budget, device, &e))
                continue;
            printf("| %s | %zu | failed: %s | | | | | | | |\n", s->name, contexts[i], e.text);
            failed = true;
        }
        model_close(&m);
    }
    hollow_model_remove(folder);
    must(status, &e);
}

/* The arithmetic of the sweeps that follow. */
static void choose_table(const Ops *chosen, const char *name, double roof)
{
    current = chosen;
    suffix = name;
    gemm_roof = roof;
    wrapped = *current;
    wrapped.weight_prepare = random_prepare;
    wrapped.embed = random_embed;
}

int main(int argc, char **argv)
{
    static const Shape llama = {"Llama 3 8B", 32, 4096, 14336, 32, 8, 128, 128256, 0};
    static const Shape mixtral = {"Mixtral 8x7B", 12, 4096, 14336, 32, 8, 128, 32000, 8};
    static const Shape tiny = {"tiny", 2, 64, 96, 4, 2, 16, 300, 0},
                       tiny_mixture = {"tiny mixture", 2, 64, 32, 4, 2, 16, 300, 4};
    static const size_t contexts[] = {512, 2048}, tiny_contexts[] = {16, 32};
    bool small = argc > 1 && strcmp(argv[1], "--tiny") == 0, named = argc > 1 && strcmp(argv[1], "--device") == 0;
    int device = 0;                         /* the first of CUDA_VISIBLE_DEVICES */
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* whoever stops it has the lines so far */
    Error e;
    CudaDevice d;
    int n = 0;
    entry = cuda_load(&e);
    must(entry ? STATUS_OK : STATUS_FAILED, &e);
    must(entry->count(&n, &e), &e);
    must(entry->describe(device, &d, &e), &e);
    if (named) {
        printf("%s\n", d.name);
        return 0;
    }
    current = entry->fast;
    printf("Device: %s, %.0f GiB, compute capability %d.%d. Built from commit %s.\n\n", d.name, (double)d.total_bytes / 0x1p30,
           d.major, d.minor, STRATA_COMMIT);
    bench_kernels(small ? &tiny : &llama, small ? &tiny_mixture : &mixtral, small ? 64 : 8192, device, small ? 64 : 8192,
                  small ? 0 : 1);
    double roof = gemm_roof, roofs[2];
    bench_in_f32(small ? &tiny : &llama, small ? 64 : 8192, device, small ? 64 : 8192, small ? 0 : 1, roofs);
    choose_table(entry->fast, "", roof);
    printf("Removal sweeps (the intact order and one for each layer), random weights, in bf16 where nothing else stands:\n\n"
           "| model | context | tokens a block | seconds a block | tokens/s, all orders | TFLOP/s | of cuBLAS | FLOPs of the "
           "loop / of the tree "
           "| weights, GB/s | GiB planned of allowed |\n|---|---|---|---|---|---|---|---|---|---|\n");
    if (small) {
        bench_model(&tiny, tiny_contexts, 2, 64, 0, device);
        bench_model(&tiny_mixture, tiny_contexts, 2, 64, 0, device);
        choose_table(entry->fast_f32, ", f32", roofs[0]);
        bench_model(&tiny, tiny_contexts, 1, 64, 0, device);
        choose_table(entry->fast_tf32, ", TF32", roofs[1]);
        bench_model(&tiny, tiny_contexts, 1, 64, 0, device);
    } else {
        bench_model(&llama, contexts, 2, 8192, 0, device);
        bench_model(&mixtral, contexts, 2, 8192, 0, device);
        choose_table(entry->fast_tf32, ", TF32", roofs[1]);
        bench_model(&llama, contexts, 1, 2048, 0, device);
        choose_table(entry->fast_f32, ", f32", roofs[0]);
        bench_model(&llama, contexts, 1, 2048, 0, device);
        choose_table(entry->fast, "", roof);
        bench_model(&llama, contexts + 1, 1, 32768, (size_t)12 << 30, device); /* streamed: the longest, last */
    }
    return failed;
}
