/* audit_weights.c: see audit_weights.h. */
#include "experiments/audit_weights.h"

#include <stdlib.h>

#include "experiments/audit_math.h"
#include "kernels/convert.h"

const Binding *audit_weights_find(const Model *m, int layer, Role role)
{
    if (role >= ROLE_COUNT)
        return NULL;
    const Binding *b = layer < 0 || role >= ROLE_LAYER_COUNT ? &m->bindings.role[role] : &m->bindings.layers[layer].role[role];
    return b->n_parts ? b : NULL;
}

size_t audit_weights_rows(const Binding *b)
{
    size_t rows = 0;
    for (size_t i = 0; i < b->n_parts; i++)
        rows += b->parts[i].rows;
    return rows;
}

double *audit_weights_read(const Binding *b, DType store, bool vector, size_t first, size_t n)
{
    size_t cols = vector ? 1 : b->parts[0].cols, at = 0;
    double *out = malloc(n * cols * sizeof *out + 1);
    for (size_t i = 0; out && i < b->n_parts; i++) {
        const WeightPart *p = &b->parts[i];
        float *narrow = malloc(p->cols * sizeof *narrow + 1);
        for (size_t r = 0; narrow && r < p->rows; r++) {
            size_t begin = vector ? at + r * p->cols : at + r, width = vector ? p->cols : 1;
            if (begin + width <= first || begin >= first + n)
                continue;
            convert_row_f32(p, r, narrow);
            for (size_t k = 0; k < p->cols; k++) {
                double w = store == DTYPE_BF16 ? audit_to_bf16((double)narrow[k]) : (double)narrow[k];
                if (!vector)
                    out[(begin - first) * cols + k] = w;
                else if (begin + k >= first && begin + k < first + n)
                    out[begin + k - first] = w;
            }
        }
        at += vector ? p->rows * p->cols : p->rows;
        if (!narrow) {
            free(out);
            out = NULL;
        }
        free(narrow);
    }
    return out;
}
