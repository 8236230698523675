/* audit_tap.h: what each operation of our own forward pass gives. An op table that wraps another one: every entry calls the wrapped
 * table's and downloads what it wrote, under the name the audit knows the operation by. forward.c sees an op table like any other. */
#ifndef STRATA_EXPERIMENTS_AUDIT_TAP_H
#define STRATA_EXPERIMENTS_AUDIT_TAP_H

#include "engine/order.h"
#include "experiments/audit_record.h"
#include "experiments/audit_walk.h"

/* Bytes that a record of n tokens takes, about. */
double audit_tap_bytes(const Model *m, size_t n);

/* The intact model on n ids in the table `ops`; nll [n] of each token's successor, the last NaN. The record is freed by
 * audit_record_free, after errors too. */
int audit_tap_record(const Model *m, const Ops *ops, Pool *pool, RopeArithmetic rope, const int32_t *ids, size_t n,
                     AuditRecord *out, double *nll, Error *e);

/* The losses alone, of any order (NULL: intact). */
int audit_tap_losses(const Model *m, const Ops *ops, Pool *pool, RopeArithmetic rope, const Order *order, const int32_t *ids,
                     size_t n, double *nll, Error *e);

#endif
