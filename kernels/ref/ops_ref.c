/* ops_ref.c: the naive f64 oracle of the tests: plain loops over the formulas of ops.h, never optimised. It shares nothing with the
 * other tables but the widening of file elements. */
#include "kernels/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/convert.h"
#include "kernels/ref/ref_pairs.h"

struct OpsContext {
    size_t unused;
};

static double *row(View v, size_t r)
{
    return (double *)v.data + r * v.ld;
}

static size_t context_bytes(const OpsConfig *config)
{
    (void)config;
    return sizeof(OpsContext);
}

static int ref_open(const OpsConfig *config, OpsContext **out, Error *e)
{
    (void)config;
    *out = calloc(1, sizeof **out);
    return *out ? STATUS_OK : error_set(e, STATUS_FAILED, "ref: out of memory");
}

static void ref_close(OpsContext *c)
{
    free(c);
}

static int ref_alloc(OpsContext *c, size_t bytes, void **out, Error *e)
{
    (void)c;
    *out = aligned_alloc(64, (bytes + 64) & ~(size_t)63);
    return *out ? STATUS_OK : error_set(e, STATUS_FAILED, "ref: out of memory for %zu bytes", bytes);
}

static void ref_free(OpsContext *c, void *memory, size_t bytes)
{
    (void)c;
    (void)bytes;
    free(memory);
}

static int ref_sync(OpsContext *c, Error *e)
{
    (void)c;
    (void)e;
    return STATUS_OK;
}

static void copy(OpsContext *c, View dst, View src)
{
    (void)c;
    for (size_t r = 0; r < src.rows; r++)
        memmove(row(dst, r), row(src, r), src.cols * sizeof(double));
}

static void upload(OpsContext *c, View dst, const double *src)
{
    (void)c;
    for (size_t r = 0; r < dst.rows; r++)
        memcpy(row(dst, r), src + r * dst.cols, dst.cols * sizeof(double));
}

static void download(OpsContext *c, double *dst, View src)
{
    (void)c;
    for (size_t r = 0; r < src.rows; r++)
        memcpy(dst + r * src.cols, row(src, r), src.cols * sizeof(double));
}

static size_t weight_elems(const WeightPart *parts, size_t n_parts)
{
    size_t n = 0;
    for (size_t i = 0; i < n_parts; i++)
        n += parts[i].rows * parts[i].cols;
    return n;
}

static size_t weight_slot_bytes(WeightKind kind, const WeightPart *parts, size_t n_parts)
{
    (void)kind;
    return (weight_elems(parts, n_parts) * sizeof(double) + 63) & ~(size_t)63;
}

static int weight_prepare(OpsContext *c, void *slot_memory, WeightKind kind, const WeightPart *parts, size_t n_parts,
                          Weight *out, Error *e)
{
    (void)c;
    double *to = slot_memory;
    size_t rows = 0, cols = n_parts ? parts[0].cols : 0;
    for (size_t i = 0; i < n_parts; i++) {
        float *narrow = malloc(parts[i].cols * sizeof *narrow + 1);
        if (!narrow)
            return error_set(e, STATUS_FAILED, "ref: out of memory");
        for (size_t r = 0; r < parts[i].rows; r++) {
            convert_row_f32(&parts[i], r, narrow);
            for (size_t k = 0; k < parts[i].cols; k++)
                *to++ = narrow[k];
        }
        free(narrow);
        rows += parts[i].rows;
    }
    if (kind == WEIGHT_VECTOR) {
        cols = weight_elems(parts, n_parts);
        rows = 1;
    }
    *out = (Weight){.kind = kind, .rows = rows, .cols = cols, .data = slot_memory};
    return STATUS_OK;
}

static void slot_done(OpsContext *c, void *slot_memory)
{
    (void)c;
    (void)slot_memory;
}

static double at(const Weight *w, size_t r, size_t k)
{
    return ((const double *)w->data)[r * w->cols + k];
}

static bool given(const Weight *w)
{
    return w && w->kind != WEIGHT_NONE;
}

static void table_row(const WeightPart *table, int32_t id, double scale, bool add, double *out)
{
    float *narrow = malloc(table->cols * sizeof *narrow + 1);
    for (size_t k = 0; narrow && k < table->cols; k++)
        narrow[k] = 0;
    if (narrow)
        convert_row_f32(table, (size_t)id, narrow);
    for (size_t k = 0; narrow && k < table->cols; k++)
        out[k] = (add ? out[k] : 0) + scale * (double)narrow[k];
    free(narrow);
}

static void embed(OpsContext *c, View out, const int32_t *ids, const WeightPart *table, float multiplier)
{
    (void)c;
    for (size_t t = 0; t < out.rows; t++)
        table_row(table, ids[t], (double)multiplier, false, row(out, t));
}

static void embed_add(OpsContext *c, View x, const int32_t *positions, const WeightPart *table)
{
    (void)c;
    for (size_t t = 0; t < x.rows; t++)
        table_row(table, positions[t], 1, true, row(x, t));
}

static void norm(OpsContext *c, View out, View x, const NormSpec *spec, const Weight *weight, const Weight *bias)
{
    (void)c;
    size_t n = spec->group;
    for (size_t t = 0; t < x.rows; t++) {
        for (size_t g = 0; g < x.cols; g += n) {
            const double *from = row(x, t) + g;
            double *to = row(out, t) + g, mean = 0, variance = 0;
            if (spec->kind == NORM_LAYER) {
                for (size_t i = 0; i < n; i++)
                    mean += from[i];
                mean /= (double)n;
            }
            for (size_t i = 0; i < n; i++)
                variance += (from[i] - mean) * (from[i] - mean);
            double scale = 1 / sqrt(variance / (double)n + (double)spec->eps);
            for (size_t i = 0; i < n; i++) {
                double gain = given(weight) ? at(weight, 0, weight->cols == n ? i : g + i) + (double)spec->weight_offset : 1;
                to[i] = (from[i] - mean) * scale * gain + (given(bias) ? at(bias, 0, bias->cols == n ? i : g + i) : 0);
            }
        }
    }
}

static void linear(OpsContext *c, View y, View x, const Weight *w, const Weight *bias)
{
    (void)c;
    for (size_t t = 0; t < x.rows; t++) {
        for (size_t n = 0; n < w->rows; n++) {
            double sum = given(bias) ? at(bias, 0, n) : 0;
            for (size_t k = 0; k < w->cols; k++)
                sum += row(x, t)[k] * at(w, n, k);
            row(y, t)[n] = sum;
        }
    }
}

static void rope(OpsContext *c, View x, const int32_t *positions, const Weight *cosines, const Weight *sines, int n_heads,
                 int head_dim, int rotary_dims, RopeStyle style)
{
    (void)c;
    for (size_t t = 0; t < x.rows; t++) {
        for (int h = 0; h < n_heads; h++) {
            double *v = row(x, t) + h * head_dim;
            for (int i = 0; i < rotary_dims / 2; i++) {
                int first = style == ROPE_HALF ? i : 2 * i, second = style == ROPE_HALF ? i + rotary_dims / 2 : 2 * i + 1;
                double cosine = at(cosines, (size_t)positions[t], (size_t)i), sine = at(sines, (size_t)positions[t], (size_t)i);
                double a = v[first], b = v[second];
                v[first] = a * cosine - b * sine;
                v[second] = b * cosine + a * sine;
            }
        }
    }
}

static size_t key_row(const AttnSeq *s, size_t key)
{
    size_t i = 0;
    while (key >= s->segments[i].n_rows)
        key -= s->segments[i++].n_rows;
    return s->segments[i].first_row + key;
}

/* The nearest bfloat16, ties to even; finite x. */
static float bf16_round(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

static void attend_one(double *out, const double *q, View k, View v, size_t kv_col, const AttnSeq *s, int position, int head,
                       const AttnSpec *spec, double *scores)
{
    size_t n_keys = 0;
    for (size_t i = 0; i < s->n_segments; i++)
        n_keys += s->segments[i].n_rows;
    double most = -INFINITY, sum = 0;
    for (size_t j = 0; j < n_keys; j++) {
        int key = s->key_position + (int)j;
        scores[j] = -INFINITY;
        if (key > position || (spec->window > 0 && position - key >= spec->window))
            continue;
        double dot = 0;
        for (int i = 0; i < spec->head_dim; i++)
            dot += q[i] * row(k, key_row(s, j))[kv_col + (size_t)i];
        dot *= (double)spec->scale;
        if (spec->softcap > 0)
            dot = (double)spec->softcap * tanh(dot / (double)spec->softcap);
        if (spec->alibi_slopes && spec->alibi_bf16)
            dot += (double)(spec->scale * bf16_round(bf16_round(spec->alibi_slopes[head]) * bf16_round((float)key)));
        else if (spec->alibi_slopes)
            dot += (double)spec->alibi_slopes[head] * (double)(key - position);
        scores[j] = dot;
        if (!(dot <= most))
            most = dot;
    }
    for (int i = 0; i < spec->head_dim; i++)
        out[i] = 0;
    for (size_t j = 0; j < n_keys; j++) {
        if (scores[j] == -INFINITY)
            continue;
        double p = exp(scores[j] - most);
        sum += p;
        for (int i = 0; i < spec->head_dim; i++)
            out[i] += p * row(v, key_row(s, j))[kv_col + (size_t)i];
    }
    for (int i = 0; i < spec->head_dim; i++)
        out[i] /= sum;
}

static void attention(OpsContext *c, View out, View q, View k, View v, const AttnSeq *seqs, size_t n_seqs, const AttnSpec *spec)
{
    (void)c;
    int dh = spec->head_dim, group = spec->n_heads / spec->n_kv_heads;
    for (size_t i = 0; i < n_seqs; i++) {
        size_t n_keys = 0;
        for (size_t j = 0; j < seqs[i].n_segments; j++)
            n_keys += seqs[i].segments[j].n_rows;
        double *scores = malloc((n_keys + 1) * sizeof *scores);
        for (size_t t = 0; scores && t < seqs[i].n_q; t++)
            for (int h = 0; h < spec->n_heads; h++)
                attend_one(row(out, seqs[i].q_row + t) + h * dh, row(q, seqs[i].q_row + t) + h * dh, k, v,
                           (size_t)(h / group * dh), &seqs[i], seqs[i].first_position + (int)t, h, spec, scores);
        free(scores);
    }
}

static double activate(double x, ActKind act)
{
    switch (act) {
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case ACT_GELU_ERF:
        return 0.5 * x * (1 + erf(x / sqrt(2.0)));
    case ACT_RELU:
        return x > 0 ? x : x * 0;
    case ACT_RELU2:
        return x > 0 ? x * x : x * 0;
    }
    return NAN;
}

static void glu(OpsContext *c, View out, View gate, View up, ActKind act)
{
    (void)c;
    for (size_t t = 0; t < out.rows; t++)
        for (size_t i = 0; i < out.cols; i++)
            row(out, t)[i] = activate(row(gate, t)[i], act) * row(up, t)[i];
}

static void act_op(OpsContext *c, View out, View x, ActKind act)
{
    (void)c;
    for (size_t t = 0; t < out.rows; t++)
        for (size_t i = 0; i < out.cols; i++)
            row(out, t)[i] = activate(row(x, t)[i], act);
}

static void add(OpsContext *c, View out, View a, View b, float scale)
{
    (void)c;
    for (size_t t = 0; t < out.rows; t++)
        for (size_t i = 0; i < out.cols; i++)
            row(out, t)[i] = row(a, t)[i] + (double)scale * row(b, t)[i];
}

static void clip(OpsContext *c, View x, float limit)
{
    (void)c;
    for (size_t t = 0; t < x.rows; t++)
        for (size_t i = 0; i < x.cols; i++) {
            double *v = &row(x, t)[i], most = (double)limit;
            *v = *v > most ? most : *v < -most ? -most : *v;
        }
}

static void add_gated(OpsContext *c, View out, View a, View b, View gate)
{
    (void)c;
    for (size_t t = 0; t < out.rows; t++) {
        double share = gate.data ? 1 / (1 + exp(-row(gate, t)[0])) : 1;
        for (size_t i = 0; i < out.cols; i++)
            row(out, t)[i] = row(a, t)[i] + share * row(b, t)[i];
    }
}

static void mean(OpsContext *c, View out, const View *in, size_t n)
{
    (void)c;
    for (size_t t = 0; t < out.rows; t++) {
        for (size_t i = 0; i < out.cols; i++) {
            double sum = row(in[0], t)[i];
            for (size_t j = 1; j < n; j++)
                sum += row(in[j], t)[i];
            row(out, t)[i] = sum / (double)n;
        }
    }
}

static void route(OpsContext *c, Routes out, View logits, const RouteSpec *spec)
{
    (void)c;
    for (size_t t = 0; t < logits.rows; t++) {
        const double *z = row(logits, t);
        int32_t *chosen = out.expert + t * (size_t)spec->top_k;
        double most = -INFINITY, all = 0, picked = 0;
        for (int x = 0; x < spec->n_experts; x++)
            most = z[x] > most ? z[x] : most;
        for (int x = 0; x < spec->n_experts; x++)
            all += exp(z[x] - most);
        for (int j = 0; j < spec->top_k; j++) {
            int best = -1;
            for (int x = 0; x < spec->n_experts; x++) {
                bool taken = false;
                for (int i = 0; i < j; i++)
                    taken = taken || chosen[i] == x;
                if (!taken && (best < 0 || z[x] > z[best]))
                    best = x;
            }
            chosen[j] = best;
            picked += exp(z[best] - most);
        }
        for (int j = 0; j < spec->top_k; j++)
            out.weight[t * (size_t)spec->top_k + (size_t)j] =
                (float)(exp(z[chosen[j]] - most) / (spec->normalise ? picked : all));
    }
}

static void moe(OpsContext *c, View out, View x, Routes routes, const ExpertWeights *experts, const RouteSpec *spec,
                ActKind act)
{
    size_t d = x.cols, f = experts[0].down.cols, k = (size_t)spec->top_k;
    double *gate_up = malloc((2 * f + f + d) * sizeof *gate_up), *hidden = gate_up + 2 * f, *y = hidden + f;
    for (size_t t = 0; gate_up && t < x.rows; t++) {
        for (size_t i = 0; i < d; i++)
            row(out, t)[i] = 0;
        for (size_t j = 0; j < k; j++) {
            const ExpertWeights *w = &experts[routes.expert[t * k + j]];
            View one = {.data = row(x, t), .rows = 1, .cols = d, .ld = d};
            linear(c, (View){.data = gate_up, .rows = 1, .cols = 2 * f, .ld = 2 * f}, one, &w->gate_up, NULL);
            for (size_t i = 0; i < f; i++)
                hidden[i] = activate(gate_up[i], act) * gate_up[f + i];
            linear(c, (View){.data = y, .rows = 1, .cols = d, .ld = d}, (View){.data = hidden, .rows = 1, .cols = f, .ld = f},
                   &w->down, NULL);
            for (size_t i = 0; i < d; i++)
                row(out, t)[i] += (double)routes.weight[t * k + j] * y[i];
        }
    }
    free(gate_up);
}

static void row_dots(OpsContext *c, double *out, View a, View b)
{
    (void)c;
    for (size_t t = 0; t < a.rows; t++) {
        double ab = 0, aa = 0, bb = 0;
        for (size_t i = 0; i < a.cols; i++) {
            ab += row(a, t)[i] * row(b, t)[i];
            aa += row(a, t)[i] * row(a, t)[i];
            bb += row(b, t)[i] * row(b, t)[i];
        }
        out[3 * t] = ab;
        out[3 * t + 1] = aa;
        out[3 * t + 2] = bb;
    }
}

static void head_row(const HeadArgs *a, size_t t)
{
    const double *z = row(a->logits, t);
    size_t v_count = a->w->rows;
    double most = z[0], sum = 0, starts = 0, kl = 0;
    bool finite = true;
    a->top1[t] = 0;
    for (size_t v = 0; v < v_count; v++) {
        finite = finite && isfinite(z[v]);
        if (z[v] > most) {
            most = z[v];
            a->top1[t] = (int32_t)v;
        }
    }
    for (size_t v = 0; v < v_count; v++) {
        sum += exp(z[v] - most);
        if (a->word_start && a->word_start[v])
            starts += exp(z[v] - most);
    }
    /* cppcheck-suppress invalidFunctionArg ; the largest logit adds 1 to the sum */
    double lse = most + log(sum);
    int32_t y = a->targets[t], rank = 0;
    for (size_t v = 0; y >= 0 && v < v_count; v++)
        rank += z[v] > z[y] || (z[v] == z[y] && (int32_t)v < y);
    if (a->intact_logits) {
        const double *x = row(*a->intact_logits, t);
        for (size_t v = 0; v < v_count; v++)
            kl += exp(x[v] - a->intact_lse[t]) * (x[v] - z[v]);
        kl += lse - a->intact_lse[t];
    }
    a->lse[t] = lse;
    a->nll[t] = y >= 0 && finite ? lse - z[y] : NAN;
    a->rank[t] = y >= 0 ? rank : -1;
    a->kl[t] = finite ? kl : NAN;
    a->word_start_logp[t] = a->word_start && finite ? log(starts / sum) : NAN;
}

static void head(OpsContext *c, const HeadArgs *a)
{
    linear(c, a->logits, a->x, a->w, a->bias);
    for (size_t t = 0; t < a->x.rows; t++) {
        for (size_t v = 0; v < a->w->rows; v++) {
            double *z = &row(a->logits, t)[v];
            *z *= (double)a->logit_scale;
            if (a->softcap > 0)
                *z = (double)a->softcap * tanh(*z / (double)a->softcap);
        }
        head_row(a, t);
    }
}

const Ops ops_ref = {
    .name = "ref",
    .gemm_dtype = DTYPE_F64,
    .act_dtype = DTYPE_F64,
    .resid_dtype = DTYPE_F64,
    .logit_dtype = DTYPE_F64,
    .host_memory = true,
    .context_bytes = context_bytes,
    .open = ref_open,
    .close = ref_close,
    .alloc = ref_alloc,
    .free = ref_free,
    .sync = ref_sync,
    .copy = copy,
    .upload = upload,
    .download = download,
    .weight_slot_bytes = weight_slot_bytes,
    .weight_prepare = weight_prepare,
    .slot_done = slot_done,
    .embed = embed,
    .embed_add = embed_add,
    .norm = norm,
    .linear = linear,
    .rope = rope,
    .attention = attention,
    .glu = glu,
    .act = act_op,
    .add = add,
    .clip = clip,
    .add_gated = add_gated,
    .mean = mean,
    .route = route,
    .moe = moe,
    .row_dots = row_dots,
    .clear = ref_clear,
    .read = ref_read,
    .gather = ref_gather,
    .pair_sums = ref_pair_sums,
    .compare_rows = ref_compare_rows,
    .head = head,
};
