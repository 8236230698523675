/* lab_solve.h: the solutions that lab_arithmetic.c names, and what they are made of: weights read from the model's file, operands copied from a record,
 * products and norms with the bound of the audit. */
#ifndef STRATA_EXPERIMENTS_LAB_SOLVE_H
#define STRATA_EXPERIMENTS_LAB_SOLVE_H

#include "experiments/audit_math.h"
#include "experiments/audit_weights.h"
#include "experiments/lab_inside.h"

/* A question on its way: what was recorded, and where the answer goes. */
typedef struct LabAsked {
    Lab *lab;
    const Model *model;
    const ModelTraits *traits;
    const LabStream *stream;
    const Order *order;
    const int32_t *ids;
    const LabQuestion *question;
    const LabRecord *record;
    int layer;
    size_t row, coordinate; /* row: of the record */
    DType store;
    LabArithmetic *out;
    Error *e;
} LabAsked;

double *lab_matrix_row(const Model *m, const Binding *b, size_t row, LabOperand *out);
double *lab_vector(const Binding *b, size_t *n);
int lab_no_memory(LabAsked *a);
int lab_missing(LabAsked *a);
void lab_scalar(LabAsked *a, const char *name, double value);
double *lab_operand(LabAsked *a, const char *name, const char *op, const double *x, size_t first, size_t n, size_t stride);
const double *lab_row(const LabMatrix *m, size_t row);
const LabOp *lab_find_weight(const LabAsked *a, OpKind kind, Role role);
const LabOp *lab_find_kind(const LabAsked *a, OpKind kind, size_t nth);
AuditPrecision lab_precision(const LabAsked *a);
void lab_set_value(LabAsked *a, Ball b, double engine);
void lab_set_formula(LabAsked *a, const char *left, const char *right);
void lab_set_formula_at(LabAsked *a, const char *right); /* left: OP[COORDINATE] */
Ball lab_dot(const double *x, const double *w, size_t n, const double *bias, AuditPrecision p);
int lab_linear(LabAsked *a, Role role, Role bias_role, size_t first_row, const char *symbol, const char *from);
/* Unit `coordinate` of the step's first act(gate) * up, or act(up). */
int lab_hidden(LabAsked *a, bool gated);
int lab_norm(LabAsked *a, const LabOp *op, Role gain_role, Role bias_role, const char *from);

const char *lab_mlp_input(const LabAsked *a); /* the operation whose output the MLP reads */

/* lab_attention.c */
int lab_solve_q_rotated(LabAsked *a);
int lab_solve_k_rotated(LabAsked *a);
int lab_solve_score(LabAsked *a);
int lab_solve_softmax(LabAsked *a);
int lab_solve_mix(LabAsked *a);

/* lab_experts.c */
int lab_solve_share(LabAsked *a);
int lab_solve_expert_gate(LabAsked *a);
int lab_solve_expert_up(LabAsked *a);
int lab_solve_expert_hidden(LabAsked *a);
int lab_solve_expert_down(LabAsked *a);
int lab_solve_moe(LabAsked *a);

/* lab_shared.c */
int lab_solve_shared_gate(LabAsked *a);
int lab_solve_shared_up(LabAsked *a);
int lab_solve_shared_hidden(LabAsked *a);
int lab_solve_shared_down(LabAsked *a);
int lab_solve_shared_score(LabAsked *a);
int lab_solve_mixture(LabAsked *a);

#endif
