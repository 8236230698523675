/* audit_walk.h: one text through one order in one op table, step by step, nothing shared and nothing tiled: what an audit watches. The
 * executor of sweeps is engine/run.c; both call the same forward pass. */
#ifndef STRATA_EXPERIMENTS_AUDIT_WALK_H
#define STRATA_EXPERIMENTS_AUDIT_WALK_H

#include <signal.h>

#include "engine/run.h"

typedef struct AuditWalk {
    const Model *model;
    const Ops *ops; /* and its context, open for audit_walk_config's sizes */
    OpsContext *ctx;
    RopeArithmetic rope;
    const Order *order; /* NULL: intact */
    /* Before each step: STEP_ROOT the embedding, STEP_COMBINE the end (final norm, head), both with layer -1; `in` is what the step
     * reads (its rows 0 for the embedding). May be NULL. */
    void (*on_step)(void *user, StepKind kind, int layer, View in);
    void *user;
    const volatile sig_atomic_t *stop; /* looked at before each layer; may be NULL */
} AuditWalk;

/* STATUS_INTERRUPTED once *stop is not 0; strata_audit says what that leaves. stop may be NULL. */
int audit_stopped(const volatile sig_atomic_t *stop, Error *e);

/* Sizes for the context of a text of n tokens. */
OpsConfig audit_walk_config(const Session *s, size_t n);

/* nll [n] of each token's successor (the last NaN). Every position goes through the head. */
int audit_walk(const AuditWalk *w, const int32_t *ids, size_t n, double *nll, Error *e);

#endif
