/* lab_shared.c: the expert that every token takes, spelled out, and the mixture that it is part of:
 *   mixture[i] = moe[i] + share * shared_down[i],   share = 1 / (1 + exp(-shared_score)), or 1 in models without such a gate.
 * Unlike the chosen experts it runs operation by operation, so that the engine has every number of it but the share itself. */
#include <math.h>

#include "experiments/lab_solve.h"

int lab_solve_shared_gate(LabAsked *a)
{
    return lab_linear(a, ROLE_SHARED_GATE_UP, ROLE_COUNT, 0, "W_gate", lab_mlp_input(a));
}

int lab_solve_shared_up(LabAsked *a)
{
    return lab_linear(a, ROLE_SHARED_GATE_UP, ROLE_COUNT, a->traits->d_shared, "W_up", lab_mlp_input(a));
}

int lab_solve_shared_hidden(LabAsked *a)
{
    return lab_hidden(a, true);
}

int lab_solve_shared_down(LabAsked *a)
{
    return lab_linear(a, ROLE_SHARED_DOWN, ROLE_COUNT, 0, "W_down", "shared_hidden");
}

int lab_solve_shared_score(LabAsked *a)
{
    return lab_linear(a, ROLE_SHARED_GATE, ROLE_COUNT, 0, "W_share", lab_mlp_input(a));
}

int lab_solve_mixture(LabAsked *a)
{
    bool gated = a->traits->shared_gate;
    const LabOp *op = lab_find_kind(a, OP_ADD_GATED, 0), *gate = gated ? lab_find_weight(a, OP_LINEAR, ROLE_SHARED_GATE) : NULL;
    if (!op || (gated && !gate))
        return lab_missing(a);
    double moe = lab_row(&op->in[0], a->row)[a->coordinate], shared = lab_row(&op->in[1], a->row)[a->coordinate];
    const double *score = gate ? lab_row(&gate->out, a->row) : NULL;
    lab_scalar(a, "moe", moe);
    if (score) {
        lab_scalar(a, "score", *score);
        lab_scalar(a, "share", 1 / (1 + exp(-*score)));
    }
    lab_scalar(a, "shared_down", shared);
    lab_set_formula_at(a, score ? "moe + share * shared_down, share = 1 / (1 + exp(-score))" : "moe + shared_down");
    lab_set_value(a, audit_add_gated(moe, shared, score, lab_precision(a)), lab_row(&op->out, a->row)[a->coordinate]);
    return STATUS_OK;
}
