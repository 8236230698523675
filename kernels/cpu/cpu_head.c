/* cpu_head.c: logits of a tile of tokens and what is read off them. The GEMM is cut by vocabulary columns, the statistics by
 * rows. */
#include <math.h>

#include "kernels/cpu/cpu_context.h"

typedef struct Head {
    OpsContext *c;
    const HeadArgs *args;
} Head;

static void finish_logits(const HeadArgs *a, float *z)
{
    for (size_t v = 0; v < a->w->rows; v++) {
        z[v] *= a->logit_scale;
        if (a->softcap > 0)
            z[v] = a->softcap * tanhf(z[v] / a->softcap);
    }
}

static void head_rows(void *arg, size_t first, size_t end, int thread)
{
    const Head *h = arg;
    const HeadArgs *a = h->args;
    (void)thread;
    for (size_t t = first; t < end; t++) {
        float *z = cpu_row(a->logits, t);
        if (a->logit_scale != 1 || a->softcap > 0)
            finish_logits(a, z);
        SimdHeadRow row = {.z = z,
                           .intact = a->intact_logits ? cpu_row(*a->intact_logits, t) : NULL,
                           .starts = a->word_start ? h->c->starts : NULL,
                           .vocab = a->w->rows,
                           .target = a->targets[t],
                           .intact_lse = a->intact_logits ? a->intact_lse[t] : 0};
        h->c->simd->head_row(&row);
        a->nll[t] = row.nll;
        a->kl[t] = row.kl;
        a->word_start_logp[t] = row.word_start_logp;
        a->lse[t] = row.lse;
        a->rank[t] = row.rank;
        a->top1[t] = row.top1;
    }
}

void cpu_head(OpsContext *c, const HeadArgs *args)
{
    Head h = {.c = c, .args = args};
    cpu_linear(c, args->logits, args->x, args->w, args->bias);
    for (size_t v = 0; args->word_start && v < args->w->rows; v++)
        c->starts[v] = args->word_start[v] ? 1.0f : 0.0f;
    cpu_for_rows(c, args->x.rows, 1, head_rows, &h);
}
