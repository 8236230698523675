/* cuda_table_head.cu: the head of the device tables: logits of a tile, what is asked of them, and its way to the host. */
#include <string.h>

#include "kernels/cuda/cuda_exact.cuh"
#include "kernels/cuda/cuda_rows.cuh"
#include "kernels/cuda/cuda_table.cuh"

/* The device's copy of word_start, made anew when its content is another. */
static const uint8_t *send_starts(OpsContext *c, const uint8_t *starts, size_t vocab)
{
    uint8_t *there = (uint8_t *)(c->scratch + c->layout.starts);
    if (!starts)
        return NULL;
    if (c->has_starts && memcmp(c->starts, starts, vocab) == 0)
        return there;
    if (!context_ok(c, "head", cudaStreamSynchronize(c->compute)))
        return NULL;
    memcpy(c->starts, starts, vocab);
    c->has_starts = context_ok(c, "head", cudaMemcpyAsync(there, c->starts, vocab, cudaMemcpyHostToDevice, c->compute));
    return there;
}

/* The intact model's logsumexp: usually still on the device. */
static const double *send_intact_lse(OpsContext *c, const HeadArgs *args)
{
    if (args->intact_lse == c->intact_lse)
        return (const double *)(const void *)(c->scratch + c->layout.intact_lse);
    context_deliver(c, true); /* it may be among what is still on its way */
    return (const double *)context_ring_put(c, "head", args->intact_lse, args->x.rows * sizeof(double));
}

void table_head(OpsContext *c, const HeadArgs *args)
{
    size_t rows = args->x.rows, most = c->config.limits.max_head_rows, vocab = args->w->rows;
    context_enter(c, "head");
    if (!rows)
        return;
    if (rows > most || vocab > c->config.limits.vocab) {
        context_fail(c, "head", "more rows or words than the context was opened for");
        return;
    }
    bool scales = !given(args->bias) && !c->exact;
    table_multiply(c, "head", args->logits, args->x, args->w, args->bias, scales ? args->logit_scale : 1, NULL);
    double *results = (double *)(void *)(c->scratch + c->layout.results);
    CudaHead h;
    memset(&h, 0, sizeof h);
    h.logits = args->logits;
    h.logit_scale = scales ? 1 : args->logit_scale;
    h.softcap = args->softcap;
    h.targets = (const int32_t *)context_ring_put(c, "head", args->targets, rows * sizeof *args->targets);
    h.word_start = send_starts(c, args->word_start, vocab);
    if (args->intact_logits) {
        h.intact = *args->intact_logits;
        h.intact_lse = send_intact_lse(c, args);
    }
    if (!h.targets || (args->intact_logits && !h.intact_lse))
        return;
    h.nll = results;
    h.kl = results + most;
    h.word_start_logp = results + 2 * most;
    h.lse = results + 3 * most;
    h.rank = (int32_t *)(void *)(results + 4 * most);
    h.top1 = h.rank + most;
    if (c->exact)
        exact_device_head(c->compute, &h);
    else
        cuda_head(c->compute, &h);
    launched(c, "head");
    ContextPending *p = context_pending_new(c);
    p->rows = rows;
    p->nll = args->nll, p->kl = args->kl, p->word_start_logp = args->word_start_logp, p->lse = args->lse;
    p->rank = args->rank, p->top1 = args->top1;
    context_ok(c, "head", cudaMemcpyAsync(p->pinned, results, c->layout.result_bytes, cudaMemcpyDeviceToHost, c->compute));
    context_ok(c, "head", cudaEventRecord(p->arrived, c->compute));
    if (!args->intact_logits) {
        c->intact_lse = args->lse;
        context_ok(c, "head",
                   cudaMemcpyAsync(c->scratch + c->layout.intact_lse, h.lse, rows * sizeof(double), cudaMemcpyDeviceToDevice,
                                   c->compute));
    }
}
