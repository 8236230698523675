/* audit_ops.h: the operations of a model by name, each evaluated from its recorded inputs with the model's own weights in f64
 * (teacher-forced) and measured against what was recorded. */
#ifndef STRATA_EXPERIMENTS_AUDIT_OPS_H
#define STRATA_EXPERIMENTS_AUDIT_OPS_H

#include <signal.h>

#include "engine/model.h"
#include "experiments/audit_math.h"
#include "experiments/audit_record.h"
#include "loaders/rope_table.h"

typedef enum AuditKind {
    AUDIT_EMBED,
    AUDIT_COPY, /* a layer takes what the one before it gave */
    AUDIT_NORM,
    AUDIT_LINEAR,
    AUDIT_ROPE,
    AUDIT_MIX,
    AUDIT_ACT,  /* act(gate) * up, or act(up) */
    AUDIT_ADD,  /* the residual stream and what a half layer adds (both halves in a parallel residual) */
    AUDIT_GATE, /* the shared expert's share */
    AUDIT_MOE,
} AuditKind;

typedef struct AuditOp {
    AuditKind kind;
    int layer; /* -1: outside the layers */
    const AuditTensor *out, *in[3];
    Role weight, bias; /* ROLE_COUNT: none */
    size_t first_row;  /* of the stacked weight: k begins behind q */
    int n_heads;       /* AUDIT_ROPE */
    bool rotated;      /* AUDIT_MIX: queries and keys come rotated */
    bool clipped;      /* likewise: and clipped */
    size_t group;      /* AUDIT_NORM: columns normalised together */
    bool qk;           /* AUDIT_NORM: of queries or keys */
    bool no_positions; /* AUDIT_EMBED: they are added later */
} AuditOp;

typedef struct AuditOps {
    AuditOp *ops;
    size_t n, n_absent; /* operations of the model that the record does not hold, with the name of the first */
    char first_absent[AUDIT_NAME_MAX];
} AuditOps;

/* How an operation is evaluated: as the model's traits say, or as one of the named alternatives. */
typedef struct AuditChange {
    ModelTraits traits; /* shallow copy */
    RopeTraits rope;    /* of the operation's layer */
    bool rotates;
    RopeArithmetic rope_arithmetic;
    int window, position_shift, layer_shift;
    AuditRoundings how;
    bool no_norm, no_gain, group_whole;            /* norms */
    size_t group;                                  /* another group of columns; 0: the operation's own */
    bool transposed, no_bias, swapped;             /* linears; swapped: gate and up, k and v */
    bool heads_regrouped;                          /* rows of q and k in the other pairing's order */
    double bias_factor;                            /* 1 */
    bool not_causal, heads_interleaved, backwards; /* attention; backwards: rotation by the negative angle */
    bool no_alibi, alibi_twice;
    bool no_activation, no_product, no_residual, no_gate, no_shared;
    double product_factor; /* of what a half layer adds: 1 */
} AuditChange;

typedef struct AuditInputs {
    const Model *model;
    const AuditRecord *record;
    AuditPrecision precision;
    AuditRoundings how; /* where the run rounds: zero for ours */
    RopeArithmetic rope;
    Pool *pool;
    const volatile sig_atomic_t *stop; /* looked at before each operation; may be NULL */
} AuditInputs;

typedef struct AuditMeasure {
    double margin, max_abs, ulp, relative_l2, cosine, nmse;
    size_t n, n_undecided; /* values; of them without a reference (a tie of experts) */
    size_t n_equal;        /* values that are the reference's, rounded once, to the bit */
    size_t row, col;       /* where the margin is largest */
    double found, expected;
} AuditMeasure;

/* The record's operations in the order of the forward pass; those whose inputs or output it lacks are counted. */
int audit_ops_list(const AuditInputs *in, Arena *arena, AuditOps *out, Error *e);
void audit_change_begin(const AuditInputs *in, const AuditOp *op, AuditChange *out);
/* y [rows, cols] of op->out: balls before the last store; NaN radius where the reference is undecided (a tie of experts).
 * STATUS_USAGE when the change does not fit the operation (a transposed weight that is not square). */
int audit_op_evaluate(const AuditInputs *in, const AuditOp *op, const AuditChange *change, Ball *y, Error *e);
void audit_op_measure(const AuditOp *op, const Ball *y, DType store, AuditMeasure *out);

#endif
