/* audit.h: judging a record operation by operation: what the command prints and what the tests ask. */
#ifndef STRATA_EXPERIMENTS_AUDIT_H
#define STRATA_EXPERIMENTS_AUDIT_H

#include "experiments/audit_alternatives.h"

typedef struct AuditFinding {
    const AuditOp *op;
    AuditMeasure measure;
} AuditFinding;

typedef struct AuditReport {
    AuditOp *ops;
    AuditFinding *findings; /* of each operation, in the order of the forward pass */
    size_t n, n_diverging;  /* margin > 1 */
    size_t first, worst;    /* first: the first that diverges, n where none does */
    AuditSearch search;     /* of the first that diverges */
    size_t n_absent;        /* operations of the model that the record lacks: not judged */
    char first_absent[AUDIT_NAME_MAX];
    size_t n_undecided; /* values without a reference: the router's choice is a tie */
    size_t n_unlisted;  /* recorded arrays that belong to no operation of the model: not judged */
    Arena arena;
} AuditReport;

int audit_report_make(const AuditInputs *in, AuditReport *out, Error *e);
void audit_report_free(AuditReport *r); /* accepts zeroed */

#endif
