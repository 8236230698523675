/* taps.h: where in an order a residual stands, by TransformerLens's names; N counts the items of the order. One node of the plan
 * may carry several names (the post of item 3 is the pre of item 4). */
#ifndef STRATA_ENGINE_TAPS_H
#define STRATA_ENGINE_TAPS_H

#include "engine/plan.h"

enum { TAP_NAME_MAX = 48 };

/* "blocks.N.hook_resid_pre|mid|post" */
void tap_name(size_t item, PlanPoint point, char out[TAP_NAME_MAX]);

/* Calls fn for every (item, point) of the order whose residual is this node's, in order of the items; stops at a non-zero return. */
typedef int (*TapVisit)(void *user, size_t item, PlanPoint point);
int tap_visit_node(const Plan *plan, size_t order_index, const Order *order, int32_t node, TapVisit fn, void *user);

#endif
