/* cpu_moe.c: router choices and the mixture's feed-forward: tokens are gathered expert by expert, go through its GEMMs together, and
 * each token's outputs are added in the order of its choices. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu_context.h"

void cpu_route(OpsContext *c, Routes out, View logits, const RouteSpec *spec)
{
    (void)c;
    size_t k = (size_t)spec->top_k;
    for (size_t t = 0; t < logits.rows; t++) {
        const float *z = cpu_row(logits, t);
        int32_t *chosen = out.expert + t * k;
        float most = -INFINITY, all = 0, picked = 0;
        for (int x = 0; x < spec->n_experts; x++)
            most = z[x] > most ? z[x] : most;
        for (int x = 0; x < spec->n_experts; x++)
            all += expf(z[x] - most);
        for (size_t j = 0; j < k; j++) {
            int best = -1;
            for (int x = 0; x < spec->n_experts; x++) {
                bool taken = false;
                for (size_t i = 0; i < j; i++)
                    taken = taken || chosen[i] == x;
                if (!taken && (best < 0 || z[x] > z[best]))
                    best = x;
            }
            chosen[j] = best;
            picked += expf(z[best] - most);
        }
        for (size_t j = 0; j < k; j++)
            out.weight[t * k + j] = expf(z[chosen[j]] - most) / (spec->normalise ? picked : all);
    }
}

typedef struct Moe {
    OpsContext *c;
    View out, x;
    Routes routes;
    const RouteSpec *spec;
    ActKind act;
    const int32_t *slots; /* of the expert at hand */
    View gate_up;
    size_t d_ff;
} Moe;

static void gather_rows(void *arg, size_t first, size_t end, int thread)
{
    const Moe *m = arg;
    (void)thread;
    for (size_t i = first; i < end; i++)
        memcpy(m->c->moe_x + i * m->x.cols, cpu_row(m->x, (size_t)(m->slots[i] / m->spec->top_k)), m->x.cols * sizeof(float));
}

static void glu_rows(void *arg, size_t first, size_t end, int thread)
{
    const Moe *m = arg;
    (void)thread;
    for (size_t i = first; i < end; i++) {
        float *gate = cpu_row(m->gate_up, i);
        m->c->simd->glu(gate, gate, gate + m->d_ff, m->d_ff, m->act);
    }
}

static void scatter_rows(void *arg, size_t first, size_t end, int thread)
{
    const Moe *m = arg;
    (void)thread;
    for (size_t i = first; i < end; i++)
        memcpy(m->c->moe_y + (size_t)m->slots[i] * m->x.cols, m->c->moe_x + i * m->x.cols, m->x.cols * sizeof(float));
}

static void combine_rows(void *arg, size_t first, size_t end, int thread)
{
    const Moe *m = arg;
    size_t k = (size_t)m->spec->top_k, d = m->x.cols;
    (void)thread;
    for (size_t t = first; t < end; t++) {
        float *out = cpu_row(m->out, t);
        memset(out, 0, d * sizeof *out);
        for (size_t j = 0; j < k; j++)
            m->c->simd->add(out, out, m->c->moe_y + (t * k + j) * d, m->routes.weight[t * k + j], d);
    }
}

/* Counting sort of the choices by expert; within an expert tokens stay in order. */
static void sort_choices(OpsContext *c, Routes routes, size_t n, int n_experts)
{
    int32_t *first = c->moe_first;
    memset(first, 0, ((size_t)n_experts + 1) * sizeof *first);
    for (size_t i = 0; i < n; i++)
        first[routes.expert[i] + 1]++;
    for (int x = 0; x < n_experts; x++)
        first[x + 1] += first[x];
    for (size_t i = 0; i < n; i++)
        c->moe_slot[first[routes.expert[i]]++] = (int32_t)i;
    for (int x = n_experts; x > 0; x--)
        first[x] = first[x - 1];
    first[0] = 0;
}

void cpu_moe(OpsContext *c, View out, View x, Routes routes, const ExpertWeights *experts, const RouteSpec *spec, ActKind act)
{
    size_t d = x.cols, f = experts[0].down.cols;
    Moe m = {.c = c, .out = out, .x = x, .routes = routes, .spec = spec, .act = act, .d_ff = f};
    sort_choices(c, routes, x.rows * (size_t)spec->top_k, spec->n_experts);
    for (int e = 0; e < spec->n_experts; e++) {
        size_t n = (size_t)(c->moe_first[e + 1] - c->moe_first[e]);
        if (!n)
            continue;
        m.slots = c->moe_slot + c->moe_first[e];
        View rows = {.data = c->moe_x, .dtype = DTYPE_F32, .rows = n, .cols = d, .ld = d};
        m.gate_up = (View){.data = c->moe_gate_up, .dtype = DTYPE_F32, .rows = n, .cols = 2 * f, .ld = 2 * f};
        cpu_for_rows(c, n, 64, gather_rows, &m);
        cpu_linear(c, m.gate_up, rows, &experts[e].gate_up, NULL);
        cpu_for_rows(c, n, 8, glu_rows, &m);
        View hidden = view_cols(m.gate_up, 0, f, sizeof(float));
        cpu_linear(c, rows, hidden, &experts[e].down, NULL);
        cpu_for_rows(c, n, 64, scatter_rows, &m);
    }
    cpu_for_rows(c, x.rows, 16, combine_rows, &m);
}
