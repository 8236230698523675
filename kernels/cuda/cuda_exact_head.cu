/* cuda_exact_head.cu: numerics v1 on the device: the head behind its product. */
#include "kernels/cuda/cuda_exact_sums.cuh"

/* ---- head ---- */

typedef struct ExactHead {
    Global<float> z;
    size_t ld, intact_ld, vocab;
    float scale, cap;
    Global<const int32_t> targets;
    Global<const uint8_t> starts;
    Global<const float> intact;
    Global<const double> intact_lse;
    Global<double> nll, kl, start_logp, lse;
    Global<int32_t> rank, top1;
} ExactHead;

CUDA_KERNEL(EXACT_THREADS) finish_kernel(Global<float> z, size_t ld, float scale, float cap, size_t n)
{
    size_t t = blockIdx.x, i = (size_t)blockIdx.y * EXACT_THREADS + threadIdx.x;
    if (i >= n)
        return;
    float raw = z[t * ld + i];
    double scaled = (double)raw * (double)scale;
    z[t * ld + i] = exact_store_f32(cap > 0.0f ? exact_softcap(scaled, (double)cap) : scaled);
}

CUDA_KERNEL(EXACT_THREADS) head_rows_kernel(ExactHead a)
{
    CUDA_SHARED(double, sums, EXACT_SUMS);
    CUDA_SHARED(float, mosts, EXACT_THREADS);
    CUDA_SHARED(int32_t, tops, EXACT_THREADS);
    CUDA_SHARED(int32_t, ranks, EXACT_THREADS);
    CUDA_SHARED(int32_t, broken, EXACT_THREADS);
    size_t t = blockIdx.x, n = a.vocab, me = threadIdx.x;
    Global<const float> z = a.z + t * a.ld, x = a.intact != nullptr ? a.intact + t * a.intact_ld : a.intact;
    int32_t target = a.targets[t], rank = 0, top = INT32_MAX, bad = 0;
    float at_target = 0, most = -INFINITY;
    if (target >= 0)
        at_target = z[target];
    for (size_t i = me; i < n; i += EXACT_THREADS) {
        float v = z[i];
        if (v > most || (v == most && (int32_t)i < top)) {
            most = v;
            top = (int32_t)i;
        }
        rank += v > at_target || (v == at_target && (int32_t)i < target);
        bad |= !(v * 0.0f == 0.0f);
    }
    mosts[me] = most;
    tops[me] = top;
    ranks[me] = rank;
    broken[me] = bad;
    block_sync();
    rank = bad = 0;
    for (int i = 0; i < EXACT_THREADS; i++) {
        float other = mosts[i];
        int32_t at = tops[i], before = ranks[i], odd = broken[i];
        if (other > most || (other == most && at < top)) {
            most = other;
            top = at;
        }
        rank += before;
        bad |= odd;
    }
    double largest = (double)most, nan = exact_of_bits(0x7FF8000000000000u), lse_x = 0.0, kl = 0.0, starts = 0.0;
    double sum = canonical_sum(0, n, Shared<double>(sums), Exponential{z, nullptr, largest});
    if (a.starts != nullptr)
        starts = canonical_sum(0, n, Shared<double>(sums), Exponential{z, a.starts, largest});
    if (x != nullptr) {
        lse_x = a.intact_lse[t];
        kl = canonical_sum(0, n, Shared<double>(sums), Divergence{x, z, lse_x});
    }
    if (me != 0)
        return;
    double lse = bad ? nan : exact_store_f64(largest + exact_log(sum));
    a.lse[t] = lse;
    a.nll[t] = target >= 0 ? exact_store_f64(lse - (double)at_target) : nan;
    a.kl[t] = bad ? nan : x != nullptr ? exact_store_f64(kl + (lse - lse_x)) : 0.0;
    a.start_logp[t] = bad || a.starts == nullptr ? nan : exact_store_f64(exact_log(starts / sum));
    a.rank[t] = target >= 0 ? rank : -1;
    a.top1[t] = top == INT32_MAX ? 0 : top;
}

void exact_device_head(cudaStream_t stream, const CudaHead *c)
{
    View z = c->logits;
    if (!z.rows || !z.cols)
        return;
    if (c->logit_scale != 1.0f || c->softcap > 0.0f)
        CUDA_LAUNCH((finish_kernel), pieces(z.rows, z.cols), EXACT_THREADS, 0, stream, (float *)z.data, z.ld, c->logit_scale,
                    c->softcap, z.cols);
    ExactHead a = {};
    a.z = (float *)z.data;
    a.ld = z.ld, a.vocab = z.cols, a.intact_ld = c->intact.ld;
    a.targets = c->targets, a.starts = c->word_start;
    a.intact = (const float *)c->intact.data, a.intact_lse = c->intact_lse;
    a.nll = c->nll, a.kl = c->kl, a.start_logp = c->word_start_logp, a.lse = c->lse;
    a.rank = c->rank, a.top1 = c->top1;
    CUDA_LAUNCH((head_rows_kernel), (unsigned)z.rows, EXACT_THREADS, 0, stream, a);
}
