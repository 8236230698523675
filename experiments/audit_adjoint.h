/* audit_adjoint.h: which operations' rounding moved the loss, and by how much.
 *
 * Let e_i be operation i's local error on the inputs it had (found minus f64) and a_i the derivative of the mean loss by its output.
 * To first order the loss is off by sum_i a_i . e_i, since an error enters where it is made and is carried on by what follows; the
 * derivatives come from one reverse pass in f64 over the recorded run. A reverse pass costs some three forward passes for all
 * operations together; differences in ref64 would cost one forward pass for each. Its derivatives are tested against such
 * differences. predicted / observed near 1 closes the budget: nothing that moves the loss was left unlisted. */
#ifndef STRATA_EXPERIMENTS_AUDIT_ADJOINT_H
#define STRATA_EXPERIMENTS_AUDIT_ADJOINT_H

#include "experiments/audit_own.h"

/* in_bar[k] += (d out / d in[k])^T out_bar, evaluated at the recorded inputs; NULL entries are left out. */
int audit_op_backward(const AuditInputs *in, const AuditOp *op, const double *out_bar, double *const in_bar[3], Error *e);

/* observed: the loss of the run minus that of the reference, which ref64 recorded: its shares of experts are f32 too, and what that
 * rounding does to it is taken off. out->share is taken from the arena. */
int audit_adjoint_budget(const AuditInputs *in, const AuditReport *report, const AuditRecord *reference, const double *nll,
                         double observed, Arena *arena, AuditBudget *out, Error *e);

#endif
