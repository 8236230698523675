/* audit_tap.h: what each operation of our own forward pass gives. Every operation of a
 * watched table (op_watch.h) is downloaded once it has run, under the name the audit knows it by. */
#ifndef STRATA_EXPERIMENTS_AUDIT_TAP_H
#define STRATA_EXPERIMENTS_AUDIT_TAP_H

#include "engine/run.h"
#include "experiments/audit_record.h"
#include "experiments/audit_walk.h"

/* Bytes that a record of n tokens takes, about. */
double audit_tap_bytes(const Model *m, size_t n);

/* The session's model, intact, on n ids in the table `ops` (the session's own, or another one to compare); nll [n] of each token's
 * successor, the last NaN. stop (may be NULL): audit_walk.h. The record is freed by audit_record_free, after errors too. */
int audit_tap_record(const Session *s, const Ops *ops, const int32_t *ids, size_t n, const volatile sig_atomic_t *stop,
                     AuditRecord *out, double *nll, Error *e);

#endif
