/* ops_cpu.c: the tables cpu/fast and cpu/stable: f32 throughout: matrix products on packed weights (cpu_gemm.c), in attention
 * OpenBLAS (fast) or our tiles (stable), our vector kernels for the rest. Here are their context, memory, weights, and the row-wise entries. */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/convert.h"
#include "kernels/cpu/cpu_context.h"
#include "kernels/host_entries.h"

typedef struct RowWork {
    CpuRows fn;
    void *arg;
    size_t rows, n_pieces;
} RowWork;

static void row_task(void *arg, size_t task, int thread)
{
    const RowWork *w = arg;
    size_t begin, end;
    pool_split(w->rows, 1, w->n_pieces, task, &begin, &end);
    w->fn(w->arg, begin, end, thread);
}

void cpu_for_rows(OpsContext *c, size_t rows, size_t least_rows, CpuRows fn, void *arg)
{
    size_t threads = (size_t)pool_threads(c->pool), pieces = rows / (least_rows ? least_rows : 1);
    if (pieces < 2 || threads == 1) {
        if (rows)
            fn(arg, 0, rows, 0);
        return;
    }
    RowWork w = {.fn = fn, .arg = arg, .rows = rows, .n_pieces = pieces < threads ? pieces : threads};
    pool_run(c->pool, row_task, &w, w.n_pieces);
}

static size_t round64(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

typedef struct Layout {
    size_t scores, gemm, starts, moe_x, moe_gate_up, moe_y, moe_slot, moe_first, total;
} Layout;

static Layout layout(const OpsConfig *config)
{
    const OpsLimits *l = &config->limits;
    Layout o = {0};
    size_t at = round64(sizeof(OpsContext));
    o.scores = at, at += round64((size_t)pool_threads(config->pool) * ATTENTION_TILE * l->max_seq * sizeof(float));
    o.gemm = at, at += round64((size_t)pool_threads(config->pool) * cpu_gemm_scratch_elems(l) * sizeof(float));
    o.starts = at, at += round64(l->vocab * sizeof(float));
    if (l->n_experts) {
        o.moe_x = at, at += round64(l->max_rows * l->d_model * sizeof(float));
        o.moe_gate_up = at, at += round64(l->max_rows * 2 * l->d_ff * sizeof(float));
        o.moe_y = at, at += round64(l->max_rows * l->top_k * l->d_model * sizeof(float));
        o.moe_slot = at, at += round64(l->max_rows * l->top_k * sizeof(int32_t));
        o.moe_first = at, at += round64((l->n_experts + 1) * sizeof(int32_t));
    }
    o.total = at;
    return o;
}

static size_t context_bytes(const OpsConfig *config)
{
    return layout(config).total;
}

static int cpu_open(const OpsConfig *config, OpsContext **out, Error *e)
{
    Layout o = layout(config);
    char *base = aligned_alloc(64, o.total);
    if (!base)
        return error_set(e, STATUS_FAILED, "cpu: out of memory for %zu bytes of scratch", o.total);
    OpsContext *c = (OpsContext *)(void *)base;
    *c = (OpsContext){.config = *config,
                      .pool = config->pool,
                      .simd = simd_table(cpu_level()),
                      .scores = (float *)(void *)(base + o.scores),
                      .gemm = (float *)(void *)(base + o.gemm),
                      .starts = (float *)(void *)(base + o.starts),
                      .moe_x = (float *)(void *)(base + o.moe_x),
                      .moe_gate_up = (float *)(void *)(base + o.moe_gate_up),
                      .moe_y = (float *)(void *)(base + o.moe_y),
                      .moe_slot = (int32_t *)(void *)(base + o.moe_slot),
                      .moe_first = (int32_t *)(void *)(base + o.moe_first)};
    openblas_set_num_threads(1);
    *out = c;
    return STATUS_OK;
}

static void cpu_close(OpsContext *c)
{
    free(c);
}

static int cpu_alloc(OpsContext *c, size_t bytes, void **out, Error *e)
{
    (void)c;
    *out = aligned_alloc(64, round64(bytes ? bytes : 1));
    return *out ? STATUS_OK : error_set(e, STATUS_FAILED, "cpu: out of memory for %zu bytes", bytes);
}

static void cpu_free(OpsContext *c, void *memory, size_t bytes)
{
    (void)c;
    (void)bytes;
    free(memory);
}

static int cpu_sync(OpsContext *c, Error *e)
{
    (void)c;
    (void)e;
    return STATUS_OK;
}

static void copy(OpsContext *c, View dst, View src)
{
    (void)c;
    for (size_t r = 0; r < src.rows; r++)
        memmove(cpu_row(dst, r), cpu_row(src, r), src.cols * sizeof(float));
}

static void upload(OpsContext *c, View dst, const double *src)
{
    (void)c;
    for (size_t r = 0; r < dst.rows; r++)
        for (size_t i = 0; i < dst.cols; i++)
            cpu_row(dst, r)[i] = (float)src[r * dst.cols + i];
}

static void download(OpsContext *c, double *dst, View src)
{
    (void)c;
    for (size_t r = 0; r < src.rows; r++)
        for (size_t i = 0; i < src.cols; i++)
            dst[r * src.cols + i] = (double)cpu_row(src, r)[i];
}

static size_t weight_slot_bytes(WeightKind kind, const WeightPart *parts, size_t n_parts)
{
    size_t n = 0, rows = 0;
    for (size_t i = 0; i < n_parts; i++) {
        n += parts[i].rows * parts[i].cols;
        rows += parts[i].rows;
    }
    if (kind == WEIGHT_MATRIX && n_parts)
        n = cpu_packed_elems(rows, parts[0].cols);
    return round64(n * sizeof(float));
}

typedef struct Widen {
    const WeightPart *part;
    float *to;
} Widen;

static void widen_rows(void *arg, size_t first, size_t end, int thread)
{
    const Widen *w = arg;
    (void)thread;
    for (size_t r = first; r < end; r++)
        convert_row_f32(w->part, r, w->to + r * w->part->cols);
}

static int weight_prepare(OpsContext *c, void *slot_memory, WeightKind kind, const WeightPart *parts, size_t n_parts,
                          Weight *out, Error *e)
{
    float *to = slot_memory;
    size_t rows = 0, elems = 0;
    for (size_t i = 0; i < n_parts; i++)
        rows += parts[i].rows;
    if (kind == WEIGHT_MATRIX) {
        *out = (Weight){.kind = kind, .rows = rows, .cols = n_parts ? parts[0].cols : 0, .data = slot_memory};
        return cpu_pack_weight(c, to, parts, n_parts, rows, e);
    }
    for (size_t i = 0; i < n_parts; i++) {
        Widen w = {.part = &parts[i], .to = to + elems};
        cpu_for_rows(c, parts[i].rows, 16, widen_rows, &w);
        elems += parts[i].rows * parts[i].cols;
    }
    bool vector = kind == WEIGHT_VECTOR;
    *out = (Weight){.kind = kind,
                    .rows = vector ? 1 : rows,
                    .cols = vector    ? elems
                            : n_parts ? parts[0].cols
                                      : 0,
                    .data = slot_memory};
    return STATUS_OK;
}

static void slot_done(OpsContext *c, void *slot_memory)
{
    (void)c;
    (void)slot_memory;
}

/* Arguments of the row-wise entries; each uses what it needs. */
typedef struct Rows {
    OpsContext *c;
    View out, a, b;
    const View *in;
    size_t n_in;
    const int32_t *ids;
    const WeightPart *table;
    const NormSpec *norm;
    const Weight *w, *w2;
    float scale;
    ActKind act;
    int n_heads, head_dim, rotary_dims;
    RopeStyle style;
    double *dots;
} Rows;

static void embed_rows(void *arg, size_t first, size_t end, int thread)
{
    const Rows *r = arg;
    (void)thread;
    for (size_t t = first; t < end; t++) {
        float *to = cpu_row(r->out, t);
        convert_row_f32(r->table, (size_t)r->ids[t], to);
        if (r->scale != 1)
            r->c->simd->scale(to, r->scale, r->out.cols);
    }
}

static void embed(OpsContext *c, View out, const int32_t *ids, const WeightPart *table, float multiplier)
{
    Rows r = {.c = c, .out = out, .ids = ids, .table = table, .scale = multiplier};
    cpu_for_rows(c, out.rows, 64, embed_rows, &r);
}

static void embed_add_rows(void *arg, size_t first, size_t end, int thread)
{
    const Rows *r = arg;
    (void)thread;
    enum { PIECE = 256 };
    float piece[PIECE];
    for (size_t t = first; t < end; t++) {
        /* Plain element types only: a learned table is never block-quantised in the formats served. */
        size_t elem = dtype_block_bytes(r->table->dtype), cols = r->out.cols;
        const char *from = (const char *)r->table->data + (size_t)r->ids[t] * r->table->stride * elem;
        for (size_t i = 0; i < cols; i += PIECE) {
            size_t n = cols - i < PIECE ? cols - i : PIECE;
            convert_f32(r->table->dtype, from + i * elem, n, piece);
            float *to = cpu_row(r->out, t) + i;
            r->c->simd->add(to, to, piece, 1, n);
        }
    }
}

static void embed_add(OpsContext *c, View x, const int32_t *positions, const WeightPart *table)
{
    Rows r = {.c = c, .out = x, .ids = positions, .table = table};
    cpu_for_rows(c, x.rows, 64, embed_add_rows, &r);
}

static void norm_rows(void *arg, size_t first, size_t end, int thread)
{
    const Rows *r = arg;
    const NormSpec *s = r->norm;
    (void)thread;
    const float *gains = cpu_given(r->w) ? r->w->data : NULL, *biases = cpu_given(r->w2) ? r->w2->data : NULL;
    /* one gain for all groups, or one each */
    size_t gain_step = gains && r->w->cols != s->group, bias_step = biases && r->w2->cols != s->group;
    for (size_t t = first; t < end; t++) {
        for (size_t g = 0; g < r->a.cols; g += s->group) {
            const float *x = cpu_row(r->a, t) + g, *gain = gains ? gains + g * gain_step : NULL;
            const float *bias = biases ? biases + g * bias_step : NULL;
            float *out = cpu_row(r->out, t) + g;
            if (s->kind == NORM_RMS && !bias)
                r->c->simd->rms_norm(out, x, gain, s->group, s->eps, s->weight_offset);
            else if (s->kind == NORM_LAYER)
                r->c->simd->layer_norm(out, x, gain, bias, s->group, s->eps, s->weight_offset);
            else {
                r->c->simd->rms_norm(out, x, gain, s->group, s->eps, s->weight_offset);
                r->c->simd->add(out, out, bias, 1, s->group);
            }
        }
    }
}

static void norm(OpsContext *c, View out, View x, const NormSpec *spec, const Weight *weight, const Weight *bias)
{
    Rows r = {.c = c, .out = out, .a = x, .norm = spec, .w = weight, .w2 = bias};
    cpu_for_rows(c, x.rows, 32, norm_rows, &r);
}

static void rope_interleaved(float *v, const float *cosines, const float *sines, size_t half)
{
    for (size_t i = 0; i < half; i++) {
        float a = v[2 * i], b = v[2 * i + 1];
        v[2 * i] = a * cosines[i] - b * sines[i];
        v[2 * i + 1] = b * cosines[i] + a * sines[i];
    }
}

static void rope_rows(void *arg, size_t first, size_t end, int thread)
{
    const Rows *r = arg;
    (void)thread;
    size_t half = (size_t)r->rotary_dims / 2;
    for (size_t t = first; t < end; t++) {
        const float *cosines = (const float *)r->w->data + (size_t)r->ids[t] * half;
        const float *sines = (const float *)r->w2->data + (size_t)r->ids[t] * half;
        for (int h = 0; h < r->n_heads; h++) {
            float *v = cpu_row(r->out, t) + h * r->head_dim;
            if (r->style == ROPE_HALF)
                r->c->simd->rope_half(v, cosines, sines, half);
            else
                rope_interleaved(v, cosines, sines, half);
        }
    }
}

static void rope(OpsContext *c, View x, const int32_t *positions, const Weight *cosines, const Weight *sines, int n_heads,
                 int head_dim, int rotary_dims, RopeStyle style)
{
    Rows r = {.c = c,
              .out = x,
              .ids = positions,
              .w = cosines,
              .w2 = sines,
              .n_heads = n_heads,
              .head_dim = head_dim,
              .rotary_dims = rotary_dims,
              .style = style};
    cpu_for_rows(c, x.rows, 64, rope_rows, &r);
}

static void glu_rows(void *arg, size_t first, size_t end, int thread)
{
    const Rows *r = arg;
    (void)thread;
    for (size_t t = first; t < end; t++)
        r->c->simd->glu(cpu_row(r->out, t), cpu_row(r->a, t), cpu_row(r->b, t), r->out.cols, r->act);
}

static void glu(OpsContext *c, View out, View gate, View up, ActKind act)
{
    Rows r = {.c = c, .out = out, .a = gate, .b = up, .act = act};
    cpu_for_rows(c, out.rows, 8, glu_rows, &r);
}

static void act_rows(void *arg, size_t first, size_t end, int thread)
{
    const Rows *r = arg;
    (void)thread;
    for (size_t t = first; t < end; t++)
        r->c->simd->act(cpu_row(r->out, t), cpu_row(r->a, t), r->out.cols, r->act);
}

static void act_entry(OpsContext *c, View out, View x, ActKind act)
{
    Rows r = {.c = c, .out = out, .a = x, .act = act};
    cpu_for_rows(c, out.rows, 8, act_rows, &r);
}

static void add_rows(void *arg, size_t first, size_t end, int thread)
{
    const Rows *r = arg;
    (void)thread;
    for (size_t t = first; t < end; t++)
        r->c->simd->add(cpu_row(r->out, t), cpu_row(r->a, t), cpu_row(r->b, t), r->scale, r->out.cols);
}

static void add(OpsContext *c, View out, View a, View b, float scale)
{
    Rows r = {.c = c, .out = out, .a = a, .b = b, .scale = scale};
    cpu_for_rows(c, out.rows, 64, add_rows, &r);
}

static void clip_rows(void *arg, size_t first, size_t end, int thread)
{
    const Rows *r = arg;
    (void)thread;
    for (size_t t = first; t < end; t++) {
        float *x = cpu_row(r->out, t);
        for (size_t i = 0; i < r->out.cols; i++) {
            float below = x[i] > r->scale ? r->scale : x[i];
            x[i] = below < -r->scale ? -r->scale : below;
        }
    }
}

static void clip(OpsContext *c, View x, float limit)
{
    Rows r = {.c = c, .out = x, .scale = limit};
    cpu_for_rows(c, x.rows, 64, clip_rows, &r);
}

static void add_gated_rows(void *arg, size_t first, size_t end, int thread)
{
    const Rows *r = arg;
    (void)thread;
    for (size_t t = first; t < end; t++) {
        float share = r->in->data ? 1 / (1 + expf(-cpu_row(*r->in, t)[0])) : 1;
        r->c->simd->add(cpu_row(r->out, t), cpu_row(r->a, t), cpu_row(r->b, t), share, r->out.cols);
    }
}

static void add_gated(OpsContext *c, View out, View a, View b, View gate)
{
    Rows r = {.c = c, .out = out, .a = a, .b = b, .in = &gate};
    cpu_for_rows(c, out.rows, 64, add_gated_rows, &r);
}

static void mean_rows(void *arg, size_t first, size_t end, int thread)
{
    const Rows *r = arg;
    (void)thread;
    for (size_t t = first; t < end; t++) {
        for (size_t i = 0; i < r->out.cols; i++) {
            float sum = cpu_row(r->in[0], t)[i];
            for (size_t j = 1; j < r->n_in; j++)
                sum += cpu_row(r->in[j], t)[i];
            cpu_row(r->out, t)[i] = sum / (float)r->n_in;
        }
    }
}

static void mean(OpsContext *c, View out, const View *in, size_t n)
{
    Rows r = {.c = c, .out = out, .in = in, .n_in = n};
    cpu_for_rows(c, out.rows, 32, mean_rows, &r);
}

static void dots_rows(void *arg, size_t first, size_t end, int thread)
{
    const Rows *r = arg;
    (void)thread;
    for (size_t t = first; t < end; t++) {
        const float *a = cpu_row(r->a, t), *b = cpu_row(r->b, t);
        double ab[4] = {0}, aa[4] = {0}, bb[4] = {0};
        size_t i = 0;
        for (; i + 4 <= r->a.cols; i += 4) {
            for (size_t k = 0; k < 4; k++) {
                double x = (double)a[i + k], y = (double)b[i + k];
                ab[k] += x * y;
                aa[k] += x * x;
                bb[k] += y * y;
            }
        }
        for (; i < r->a.cols; i++) {
            ab[0] += (double)a[i] * (double)b[i];
            aa[0] += (double)a[i] * (double)a[i];
            bb[0] += (double)b[i] * (double)b[i];
        }
        r->dots[3 * t] = ab[0] + ab[1] + ab[2] + ab[3];
        r->dots[3 * t + 1] = aa[0] + aa[1] + aa[2] + aa[3];
        r->dots[3 * t + 2] = bb[0] + bb[1] + bb[2] + bb[3];
    }
}

static void row_dots(OpsContext *c, double *out, View a, View b)
{
    Rows r = {.c = c, .a = a, .b = b, .dots = out};
    cpu_for_rows(c, a.rows, 32, dots_rows, &r);
}

static void pair_sums(OpsContext *c, const PairSums *to, View x, const PairItem *items, size_t n_items)
{
    host_pair_sums(c->pool, to, x, items, n_items);
}

static void compare_rows(OpsContext *c, RowsCompared *out, View x, const RowPair *pairs, size_t n, const double *weight)
{
    host_compare_rows(c->pool, out, x, pairs, n, weight);
}

/* What cpu/fast and cpu/stable have in common. */
#define CPU_ENTRIES \
    .gemm_dtype = DTYPE_F32, .act_dtype = DTYPE_F32, .resid_dtype = DTYPE_F32, .logit_dtype = DTYPE_F32, .host_memory = true, \
    .context_bytes = context_bytes, .open = cpu_open, .close = cpu_close, .alloc = cpu_alloc, .free = cpu_free, \
    .sync = cpu_sync, .copy = copy, .upload = upload, .download = download, .weight_slot_bytes = weight_slot_bytes, \
    .weight_prepare = weight_prepare, .slot_done = slot_done, .embed = embed, .embed_add = embed_add, .norm = norm, \
    .linear = cpu_linear, .rope = rope, .glu = glu, .act = act_entry, .add = add, .clip = clip, .add_gated = add_gated, \
    .mean = mean, .route = cpu_route, .moe = cpu_moe, .row_dots = row_dots, .head = cpu_head, .clear = host_clear, \
    .read = host_read, .gather = host_gather, .pair_sums = pair_sums, .compare_rows = compare_rows

const Ops ops_cpu_fast = {.name = "cpu/fast", CPU_ENTRIES, .linear_add = cpu_linear_add, .attention = cpu_attention};

/* Same bits for any batch, neighbours in it, threads, tiles and run on one kind of processor: cpu_gemm.c's sums depend on K alone, the
 * row-wise entries on their row. Without linear_add, which is taken or not by how tall the pieces of a batch are and rounds otherwise. */
const Ops ops_cpu_stable = {.name = "cpu/stable", CPU_ENTRIES, .linear_add = NULL, .attention = cpu_attention_stable};
