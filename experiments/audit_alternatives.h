/* audit_alternatives.h: what else an operation that diverges may be: each named alternative (another epsilon, another rotary base,
 * a window longer by one, a missing bias ...) is evaluated like the operation itself, and judged by its margin. */
#ifndef STRATA_EXPERIMENTS_AUDIT_ALTERNATIVES_H
#define STRATA_EXPERIMENTS_AUDIT_ALTERNATIVES_H

#include "experiments/audit_ops.h"

enum { AUDIT_NEAREST = 3 };

typedef struct AuditAlternative {
    char name[80];
    double margin;
} AuditAlternative;

typedef struct AuditSearch {
    AuditAlternative nearest[AUDIT_NEAREST]; /* smallest margin first; of equal ones the first tried */
    size_t n_nearest, n_tried;
} AuditSearch;

/* y: scratch for the operation's values. */
int audit_alternatives_try(const AuditInputs *in, const AuditOp *op, Ball *y, AuditSearch *out, Error *e);

#endif
