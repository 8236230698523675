/* statistics_sum.c: the order-free exact sum. A double is m * 2^x with |m| < 2^53 and x >= -1074, so every sum of doubles is a
 * whole number of 2^-1074. It is kept in limbs of 32 bits held in int64: an addition touches three limbs and may leave each
 * anywhere in +-2^32 beyond its canonical range, and carries are carried every 2^29 additions, before int64 could overflow. */
#include "experiments/statistics.h"

#include <math.h>
#include <string.h>

__extension__ typedef unsigned __int128 Head;

enum { LIMBS = (int)(sizeof((StatisticsSum *)0)->limb / sizeof(int64_t)) };

/* Brings limbs 0..LIMBS-2 into [0, 2^32); the last limb keeps the sign. */
static void carry(StatisticsSum *s)
{
    int64_t c = 0;
    for (int i = 0; i < LIMBS - 1; i++) {
        int64_t v = s->limb[i] + c;
        int64_t low = v & 0xffffffff;
        c = (v - low) / ((int64_t)1 << 32); /* exact: v - low is a multiple */
        s->limb[i] = low;
    }
    s->limb[LIMBS - 1] += c;
    s->n_pending = 0;
}

void statistics_sum_add(StatisticsSum *s, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    unsigned exponent = (unsigned)(bits >> 52) & 0x7ff;
    uint64_t m = bits & 0xfffffffffffffu;
    if (exponent == 0x7ff) {
        if (m)
            s->n_nan++;
        else if (bits >> 63)
            s->n_minus_inf++;
        else
            s->n_plus_inf++;
        return;
    }
    unsigned shift = 0; /* of m, in units of 2^-1074; subnormals have none */
    if (exponent) {
        m |= (uint64_t)1 << 52;
        shift = exponent - 1;
    }
    unsigned at = shift / 32, by = shift % 32;
    uint64_t low = m << by, high = by ? m >> (64 - by) : 0;
    int64_t sign = bits >> 63 ? -1 : 1;
    s->limb[at] += sign * (int64_t)(low & 0xffffffff);
    s->limb[at + 1] += sign * (int64_t)(low >> 32);
    s->limb[at + 2] += sign * (int64_t)high;
    if (++s->n_pending == (uint32_t)1 << 29)
        carry(s);
}

void statistics_sum_merge(StatisticsSum *s, const StatisticsSum *other)
{
    StatisticsSum o = *other;
    carry(s);
    carry(&o);
    for (int i = 0; i < LIMBS; i++)
        s->limb[i] += o.limb[i];
    carry(s);
    s->n_nan += o.n_nan;
    s->n_plus_inf += o.n_plus_inf;
    s->n_minus_inf += o.n_minus_inf;
}

double statistics_sum_value(const StatisticsSum *sum)
{
    if (sum->n_nan || (sum->n_plus_inf && sum->n_minus_inf))
        return NAN;
    if (sum->n_plus_inf || sum->n_minus_inf)
        return sum->n_plus_inf ? INFINITY : -INFINITY;
    StatisticsSum s = *sum;
    carry(&s);
    double sign = 1;
    if (s.limb[LIMBS - 1] < 0) {
        sign = -1;
        for (int i = 0; i < LIMBS; i++)
            s.limb[i] = -s.limb[i];
        carry(&s);
    }
    int top = LIMBS - 1;
    while (top > 2 && s.limb[top] == 0)
        top--;
    /* Three limbs, more than 64 significant bits unless all the value is in them; what lies below only decides a tie, for which
     * one bit is enough. The conversion to double is the one rounding. */
    uint64_t below = 0;
    for (int i = 0; i < top - 2; i++)
        below |= (uint64_t)s.limb[i];
    Head head = (Head)s.limb[top] << 64 | (Head)s.limb[top - 1] << 32 | (Head)s.limb[top - 2] | (below != 0);
    return sign * ldexp((double)head, 32 * (top - 2) - 1074);
}

double statistics_sum_of(const double *x, size_t n)
{
    StatisticsSum s = {0};
    for (size_t i = 0; i < n; i++)
        statistics_sum_add(&s, x[i]);
    return statistics_sum_value(&s);
}
