/* audit_weights.h: a model's weights as f64 arrays, widened from the mapped file for each operation anew: nothing is prepared by an
 * op table, so that what is judged and what judges share no code. */
#ifndef STRATA_EXPERIMENTS_AUDIT_WEIGHTS_H
#define STRATA_EXPERIMENTS_AUDIT_WEIGHTS_H

#include <stdbool.h>

#include "engine/model.h"

/* NULL where the model has no such weight; layer -1: outside the layers; role ROLE_COUNT: none. */
const Binding *audit_weights_find(const Model *m, int layer, Role role);
size_t audit_weights_rows(const Binding *b);
/* Rows [first, first + n) of the stacked weight, malloc'ed; of a vector, first and n count elements. Rounded to bf16 where store is
 * BF16, the dtype a run held them in. NULL: out of memory. */
double *audit_weights_read(const Binding *b, DType store, bool vector, size_t first, size_t n);

#endif
