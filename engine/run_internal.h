/* run_internal.h: what run.c and run_sizes.c share. */
#ifndef STRATA_ENGINE_RUN_INTERNAL_H
#define STRATA_ENGINE_RUN_INTERNAL_H

#include "engine/run.h"

OpsLimits run_limits(const Model *m, const RunRequest *q, const RunSizes *z);
size_t run_residual_bytes(const Session *s, size_t rows);
size_t run_result_bytes(const RunRequest *q, size_t rows);
void run_group_range(size_t n_orders, size_t n_groups, size_t g, size_t *first, size_t *end);
int run_build_plan(const Session *s, const RunRequest *q, size_t n_groups, size_t g, int n_slots, Plan *out, Error *e);

#endif
