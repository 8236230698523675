/* audit_losses.h: losses of orders over windows, in any op table: what two audits compare. */
#ifndef STRATA_EXPERIMENTS_AUDIT_LOSSES_H
#define STRATA_EXPERIMENTS_AUDIT_LOSSES_H

#include <signal.h>

#include "engine/run.h"

typedef struct AuditLosses {
    const Session *session;
    const Ops *ops; /* the session's own, or another table */
    const Order *orders;
    size_t n_orders;
    const int32_t *ids;
    const size_t *starts; /* [n_windows + 1] into ids */
    size_t n_windows;
    volatile sig_atomic_t *stop; /* may be NULL */
} AuditLosses;

/* nll [n_orders, tokens], rank likewise (may be NULL): tokens are those predicted, starts[n_windows] - starts[0] - n_windows. */
int audit_losses(const AuditLosses *a, double *nll, int32_t *rank, Error *e);

#endif
