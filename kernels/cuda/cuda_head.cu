/* cuda_head.cu: what is read off a tile of logits (ops.h, HeadArgs), one block a row, one pass over the row:
 *   every thread keeps the largest logit it saw and the sum of e^(z - that), scaled anew when a larger one comes; the sums over word
 *   starts likewise; the KL's sum p (x - z) with p = e^(x - lse_x) needs no maximum. Sums are f64, their terms groups of 4 in f32.
 * A KL is exactly 0 where no logit differs from the intact one, however rows are aligned and sums cut: then none is computed. The target's
 * logit is read before the pass, behind a barrier, since the pass may rewrite the row (scale, soft cap). */
#include "kernels/cuda/cuda_block.cuh"

#include <math.h>

enum { HEAD_THREADS = 512, UNIT = 4 };

typedef struct HeadKernelArgs {
    Global<float> z;
    size_t ld, vocab;
    float scale, cap;
    Global<const int32_t> targets;
    Global<const uint8_t> starts;
    Global<const float> intact;
    size_t intact_ld;
    Global<const double> intact_lse;
    Global<double> nll, kl, start_logp, lse;
    Global<int32_t> rank, top1;
} HeadKernelArgs;

/* What a thread, a warp or the block knows of a row. */
typedef struct Seen {
    float most;
    int32_t top;    /* where most is first; INT32_MAX: nowhere yet */
    int32_t before; /* logits that come before the target's */
    int32_t broken; /* bit 0: a logit is not finite; bit 1: one differs from the intact one */
    double sum, starts, kl;
} Seen;

DEVICE_FN float finish_logit(float z, float scale, float cap)
{
    z *= scale;
    return cap > 0.0f ? cap * tanhf(z / cap) : z;
}

/* Sums relative to a become relative to the larger maximum. */
DEVICE_FN void raise(Seen &s, float most)
{
    float by = s.most == -INFINITY ? 0.0f : expf(s.most - most);
    s.sum *= (double)by;
    s.starts *= (double)by;
    s.most = most;
}

DEVICE_FN void merge(Seen &a, Seen b)
{
    if (b.most > a.most || (b.most == a.most && b.top < a.top))
        a.top = b.top;
    if (b.most > a.most)
        raise(a, b.most);
    else if (a.most > b.most)
        raise(b, a.most);
    a.sum += b.sum;
    a.starts += b.starts;
    a.kl += b.kl;
    a.before += b.before;
    a.broken |= b.broken;
}

/* N logits from column v on. */
template <int N>
DEVICE_FN void see(Seen &s, const float (&z)[N], const float (&x)[N], const uint8_t (&start)[N], int32_t v, int32_t target,
                   float target_z, float x_lse, bool intact)
{
    float most = s.most;
#pragma unroll
    for (int j = 0; j < N; j++) {
        s.broken |= (fabsf(z[j]) < INFINITY ? 0 : 1) | (z[j] == x[j] ? 0 : 2);
        s.before += z[j] > target_z || (z[j] == target_z && v + j < target);
        if (z[j] > most || (z[j] == most && v + j < s.top)) { /* a thread's odd column may lie behind its others */
            most = z[j];
            s.top = v + j;
        }
    }
    if (most > s.most)
        raise(s, most);
    float sum = 0, starts = 0, kl = 0;
#pragma unroll
    for (int j = 0; j < N; j++) {
        float e = fast_exp(z[j] - s.most);
        sum += e;
        starts += start[j] ? e : 0.0f;
        if (intact)
            kl += fast_exp(x[j] - x_lse) * (x[j] - z[j]);
    }
    s.sum += (double)sum;
    s.starts += (double)starts;
    s.kl += (double)kl;
}

CUDA_KERNEL(HEAD_THREADS) head_kernel(HeadKernelArgs a)
{
    CUDA_SHARED(Seen, warps, HEAD_THREADS / 32);
    size_t t = blockIdx.x;
    Global<float> row = a.z + t * a.ld;
    Global<const float> intact = a.intact != nullptr ? a.intact + t * a.intact_ld : a.intact;
    bool finish = a.scale != 1.0f || a.cap > 0.0f, has_intact = a.intact != nullptr, has_starts = a.starts != nullptr;
    int32_t target = a.targets[t];
    float target_z = 0;
    if (target >= 0) {
        target_z = row[target];
        target_z = finish ? finish_logit(target_z, a.scale, a.cap) : target_z;
    }
    float x_lse = 0;
    if (has_intact) {
        double lse = a.intact_lse[t];
        x_lse = (float)lse;
    }
    if (finish)
        block_sync();
    Seen s = {-INFINITY, INT32_MAX, 0, 0, 0, 0, 0};
    /* Columns before the first 16-byte border, one a thread; then units of 4; then what is left. */
    size_t border = 0;
    while (border < a.vocab && !is_aligned(row + border, 16))
        border++;
    size_t units = (a.vocab - border) / UNIT, rest = border + units * UNIT;
    bool wide_intact = has_intact && is_aligned(intact + border, 16);
    size_t odd = threadIdx.x < border ? threadIdx.x : rest + (threadIdx.x - border);
    if (odd < a.vocab) {
        float z[1] = {row[odd]}, x[1] = {0};
        uint8_t start[1] = {0};
        if (finish) {
            z[0] = finish_logit(z[0], a.scale, a.cap);
            row[odd] = z[0];
        }
        if (has_intact)
            x[0] = intact[odd];
        if (has_starts)
            start[0] = a.starts[odd];
        see<1>(s, z, x, start, (int32_t)odd, target, target_z, x_lse, has_intact);
    }
    for (size_t u = threadIdx.x; u < units; u += blockDim.x) {
        size_t v = border + u * UNIT;
        float z[UNIT], x[UNIT] = {0, 0, 0, 0};
        uint8_t start[UNIT] = {0, 0, 0, 0};
        load_row<UNIT>(z, row + v);
        if (wide_intact) {
            load_row<UNIT>(x, intact + v);
        } else if (has_intact) {
#pragma unroll
            for (int j = 0; j < UNIT; j++)
                x[j] = intact[v + j];
        }
        if (has_starts) {
#pragma unroll
            for (int j = 0; j < UNIT; j++)
                start[j] = a.starts[v + j];
        }
        if (finish) {
#pragma unroll
            for (int j = 0; j < UNIT; j++)
                z[j] = finish_logit(z[j], a.scale, a.cap);
            store_row<UNIT>(row + v, z);
        }
        see<UNIT>(s, z, x, start, (int32_t)v, target, target_z, x_lse, has_intact);
    }
#pragma unroll
    for (int bits = 16; bits; bits >>= 1) {
        Seen other;
        other.most = warp_shuffle_xor(s.most, bits);
        other.top = warp_shuffle_xor(s.top, bits);
        other.before = warp_shuffle_xor(s.before, bits);
        other.broken = warp_shuffle_xor(s.broken, bits);
        other.sum = warp_shuffle_xor(s.sum, bits);
        other.starts = warp_shuffle_xor(s.starts, bits);
        other.kl = warp_shuffle_xor(s.kl, bits);
        merge(s, other);
    }
    if (threadIdx.x % 32 == 0)
        warps[threadIdx.x / 32] = s;
    block_sync();
    if (threadIdx.x != 0)
        return;
    for (unsigned w = 1; w < blockDim.x / 32; w++) {
        Seen other = warps[w];
        merge(s, other);
    }
    bool finite = !(s.broken & 1);
    double nan = (double)NAN, lse = finite ? (double)s.most + log(s.sum) : nan;
    a.lse[t] = lse;
    a.nll[t] = target >= 0 ? lse - (double)target_z : nan;
    a.rank[t] = target >= 0 ? s.before : -1;
    a.top1[t] = s.top == INT32_MAX ? 0 : s.top;
    double kl = 0;
    if (has_intact && s.broken & 2) { /* else exactly 0, however rows are aligned and sums cut */
        double x = a.intact_lse[t];
        /* The f32 x_lse leaves p a factor e^(x_lse - x) too small or large; it is put right here. */
        kl = s.kl * exp((double)x_lse - x) + (lse - x);
    }
    a.kl[t] = finite ? kl : nan;
    a.start_logp[t] = has_starts ? log(s.starts / s.sum) + (lse - lse) : nan;
}

void cuda_head(cudaStream_t stream, const CudaHead *c)
{
    if (!c->logits.rows || !c->logits.cols)
        return;
    HeadKernelArgs a = {};
    a.z = (float *)c->logits.data;
    a.ld = c->logits.ld;
    a.vocab = c->logits.cols;
    a.scale = c->logit_scale;
    a.cap = c->softcap;
    a.targets = c->targets;
    a.starts = c->word_start;
    a.intact = (const float *)c->intact.data;
    a.intact_ld = c->intact.ld;
    a.intact_lse = c->intact_lse;
    a.nll = c->nll;
    a.kl = c->kl;
    a.start_logp = c->word_start_logp;
    a.lse = c->lse;
    a.rank = c->rank;
    a.top1 = c->top1;
    CUDA_LAUNCH((head_kernel), (unsigned)c->logits.rows, HEAD_THREADS, 0, stream, a);
}
