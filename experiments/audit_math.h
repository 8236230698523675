/* audit_math.h: every operation of a decoder in f64 by plain loops, with a bound on what correct arithmetic in a narrower type may
 * give: the result of an audit is judged against this, never against another kernel.
 *
 * A Ball says that a correct implementation's value lies in [c - r, c + r]. Bounds are the classical ones of forward error
 * analysis (Higham, Accuracy and Stability of Numerical Algorithms, chapters 3 and 4) with u = 2^-24 (2^-53 where activations are
 * f64):
 *   products of length K      gamma_K * sum |w||x|, gamma_K = K u / (1 - K u): any order of summation
 *   sums of n positive terms  (sqrt(n) + 8) u of the sum. A plain chain errs by sqrt(n)/3 u (standard deviation, roundings taken as
 *                             independent), so sqrt(n) is three of these; blocked sums err less. The worst case n u would hide a
 *                             wrong epsilon.
 *   elementary functions      8 u, more where arguments are rounded (softmax: |s - max| u)
 * Under bf16 a value is rounded where Hugging Face's code rounds it: a ball whose ends round to the same bf16 number becomes that
 * number exactly, one that holds a tie keeps both neighbours. The last store is left to the comparison. */
#ifndef STRATA_EXPERIMENTS_AUDIT_MATH_H
#define STRATA_EXPERIMENTS_AUDIT_MATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/dtype.h"
#include "kernels/ops.h"
#include "loaders/traits.h"

typedef struct Ball {
    double c, r;
} Ball;

/* How the audited side computes. */
typedef struct AuditPrecision {
    DType store;      /* F64, F32 or BF16: what operations write */
    bool exact_table; /* RoPE's cosines are ours to the bit */
} AuditPrecision;

/* Where an implementation rounds to bf16. Zero is what most of Hugging Face's code does; families that round elsewhere are listed by
 * audit_roundings_of. */
typedef struct AuditRoundings {
    bool norm_gain_wide;       /* norm: times the gain before the only rounding */
    bool norm_all_narrow;      /* norm: squares, mean and reciprocal root each rounded to bf16 */
    bool gain_plus_one_narrow; /* norm with 1 + weight: the sum rounded */
    bool root_narrow;          /* with norm_all_narrow: the root before its reciprocal too, as torch does on the CPU */
    bool rope_wide;            /* rotation in f32, rounded once */
    bool rope_once;            /* cosines in bf16, but the rotation rounded once */
    bool softmax_narrow;       /* exponentials and their sum rounded to bf16 */
    bool softmax_wide;         /* probabilities not rounded before the values */
    bool softmax_somewhere;    /* probabilities or exponentials rounded once, where is not known */
    bool scores_wide;          /* scores rounded once, or not at all before softmax */
    bool query_scaled;         /* queries scaled and rounded before they meet the keys */
    bool alibi_fused;          /* ALiBi of the key's position, rounded; then one rounding of scaled product and it */
    bool alibi_wide;           /* the sum of score and ALiBi not rounded */
    bool alibi_narrow;         /* ALiBi rounded once more, behind the scale */
    bool activation_wide;      /* act(gate) not rounded before up */
    bool activation_fused;     /* GELU of tanh in one kernel instead of torch operations one by one */
    bool gelu_factored;        /* those operations as BLOOM has them: x (1 + 0.044715 x x) */
    bool bias_apart;           /* products rounded before the bias is added */
    bool share_narrow;         /* shares of experts rounded */
} AuditRoundings;

/* Of the code that transformers has for the model's model_type. */
AuditRoundings audit_roundings_of(const ModelTraits *t);

double audit_unit(DType store); /* unit roundoff of the arithmetic: 2^-24, or 2^-53 for F64 */
double audit_gamma(size_t n, double u);
double audit_to_bf16(double x);               /* nearest even */
double audit_half_ulp(double y, DType store); /* half the spacing at the stored value y */
Ball audit_round(Ball b, DType store);        /* computed in the arithmetic's type, then stored */

double audit_stored(double x, DType store); /* x rounded once to the dtype */
/* A configured multiplier as the run held it: Hugging Face's Gemma rounds it to the dtype of the run. */
double audit_multiplier(float value, DType store);
Ball audit_scale(Ball b, double factor);
Ball audit_softcap(Ball b, double cap, AuditPrecision p);

/* y[n] = w x over rows of w [N, K]. */
void audit_linear(Ball *y, const Ball *x, const double *w, size_t n, size_t k, AuditPrecision p);
/* One output of a product for all rows: y[t ld] = w . x[t] + bias, x [T, K]; bias may be NULL, how NULL for the usual. */
void audit_linear_output(Ball *y, size_t ld, const double *x, size_t n_rows, const double *w, size_t k, const double *bias,
                         double bias_factor, DType store, const AuditRoundings *how);

typedef struct AuditNorm {
    NormKind kind;
    double eps, offset;
    const double *gain, *bias; /* [n] or NULL */
} AuditNorm;
void audit_norm(Ball *y, const double *x, size_t n, const AuditNorm *norm, AuditPrecision p, const AuditRoundings *how);

/* One head's row: cosines and sines [R/2] with the angle's largest magnitude [R/2] (its relative error is a few u). */
void audit_rope(Ball *y, const double *x, size_t head_dim, size_t rotary_dims, RopeStyle style, const float *cosines,
                const float *sines, const double *angles, AuditPrecision p, const AuditRoundings *how);

typedef struct AuditAttention {
    int n_heads, n_kv_heads, head_dim, window; /* window 0: none */
    double scale, softcap;
    const ModelTraits *alibi;           /* whose slopes; NULL: none */
    double alibi_factor;                /* 1 */
    bool not_causal, heads_interleaved; /* head h reads h mod K instead of h / (H/K) */
} AuditAttention;
/* What ALiBi adds to head h's score of a query for a key, by their positions. */
double audit_alibi(const ModelTraits *t, int h, size_t query, size_t key);
/* out [T, H*Dh]; q [T, H*Dh], k [T, K*Dh] balls, v [T, K*Dh]. scratch: [3 T]. */
void audit_attention(Ball *out, const Ball *q, const Ball *k, const double *v, size_t n_tokens, const AuditAttention *a,
                     AuditPrecision p, const AuditRoundings *how, Ball *scratch);

double audit_activation(double x, ActKind act);
Ball audit_activate(Ball x, ActKind act, AuditPrecision p, const AuditRoundings *how);
/* act(gate) * up, not stored */
Ball audit_glu(Ball gate, Ball up, ActKind act, AuditPrecision p, const AuditRoundings *how);
Ball audit_add(Ball a, Ball b, double scale, AuditPrecision p);
/* a + b / (1 + exp(-gate)), as Ops.add_gated; gate NULL: a + b. */
Ball audit_add_gated(double a, double b, const double *gate, AuditPrecision p);

/* Shares of the top_k best of n logits into share (0 for the others). False where a tie leaves the choice open. */
bool audit_route(Ball *share, const double *logits, int n, int top_k, bool normalise, AuditPrecision p,
                 const AuditRoundings *how);

#endif
