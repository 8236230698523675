/* audit_commands.h: the audits of things that were not recorded operation by operation. */
#ifndef STRATA_EXPERIMENTS_AUDIT_COMMANDS_H
#define STRATA_EXPERIMENTS_AUDIT_COMMANDS_H

#include "experiments/studies.h"
#include "experiments/workbench.h"

int audit_ledger(const StrataAuditOptions *options, Error *e); /* --ledger DIR */
int audit_orders(const StrataAuditOptions *options, Error *e); /* --orders A B */

#endif
