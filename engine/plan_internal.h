/* plan_internal.h: what plan.c and plan_schedule.c share. */
#ifndef STRATA_ENGINE_PLAN_INTERNAL_H
#define STRATA_ENGINE_PLAN_INTERNAL_H

#include "engine/plan.h"

/* Batches and visits from nodes. */
int plan_schedule(Plan *p, const PlanOptions *options, Error *e);
/* Slot and load of every visit, by farthest next use. */
int plan_assign_slots(Plan *p, int n_slots, int n_layers, Error *e);
/* Residual buffer of every node. */
int plan_assign_buffers(Plan *p, bool keep_all, Error *e);

#endif
