/* taps.c: names of residual taps. */
#include "engine/taps.h"

#include <stdio.h>

void tap_name(size_t item, PlanPoint point, char out[TAP_NAME_MAX])
{
    static const char *const names[] = {"pre", "mid", "post"};
    snprintf(out, TAP_NAME_MAX, "blocks.%zu.hook_resid_%s", item, names[point]);
}

int tap_visit_node(const Plan *plan, size_t order_index, const Order *order, int32_t node, TapVisit fn, void *user)
{
    static const PlanPoint points[] = {POINT_PRE, POINT_MID, POINT_POST};
    for (size_t i = 0; i < order->n_items; i++) {
        for (size_t p = 0; p < sizeof points / sizeof points[0]; p++) {
            if (plan_node_at(plan, order_index, order, i, points[p]) != node)
                continue;
            int status = fn(user, i, points[p]);
            if (status)
                return status;
        }
    }
    return 0;
}
