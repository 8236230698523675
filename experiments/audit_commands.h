/* audit_commands.h: the audits of things that were not recorded operation by operation. */
#ifndef STRATA_EXPERIMENTS_AUDIT_COMMANDS_H
#define STRATA_EXPERIMENTS_AUDIT_COMMANDS_H

#include "experiments/studies.h"
#include "experiments/workbench.h"

/* What an audit found, to --output, --html and the screen; page may be NULL. */
int audit_deliver(const StrataAuditOptions *o, const StrBuf *json, const StrBuf *text, const StrBuf *page, Error *e);

int audit_ledger(const StrataAuditOptions *options, Error *e); /* --ledger DIR */
int audit_orders(const StrataAuditOptions *options, Error *e); /* --orders A B */

#endif
