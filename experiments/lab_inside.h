/* lab_inside.h: what goes on inside a step: attention patterns, router choices, and the arithmetic of one coordinate of one
 * operation, from the operands the engine itself had (lab_record.h), carried out in f64. Names of operations: tools/web/API.md. */
#ifndef STRATA_EXPERIMENTS_LAB_INSIDE_H
#define STRATA_EXPERIMENTS_LAB_INSIDE_H

#include "experiments/lab.h"

typedef struct LabAttention {
    int layer, window, first_head;
    size_t n_heads, n;
    double *pattern; /* [n_heads, n, n]: row q sums to 1 over the keys q sees; 0 elsewhere */
} LabAttention;

/* head -1: all of them. STATUS_USAGE where the step has no attention. */
int lab_attention(Lab *lab, const LabStream *s, const Order *order, size_t step, const int32_t *ids, int head,
                  LabAttention *out, Error *e);
void lab_attention_free(LabAttention *a); /* accepts zeroed */

typedef struct LabRoutes {
    size_t n, top_k;
    double *expert, *weight; /* [n, top_k]; NULL: the step has no mixture */
} LabRoutes;
int lab_routes(Lab *lab, const LabStream *s, const Order *order, size_t step, const int32_t *ids, LabRoutes *out, Error *e);
void lab_routes_free(LabRoutes *r);

typedef enum LabSum { LAB_LOOKUP, LAB_NORMED, LAB_DOT, LAB_ROTATE, LAB_SOFTMAX, LAB_PRODUCT, LAB_SUM } LabSum;

typedef struct LabOperand {
    const char *name;   /* "x", "w" */
    const char *op;     /* the operation it comes from; "weight"; "stream": the residual stream itself */
    const char *tensor; /* of a weight, as the file names it; else NULL */
    int64_t row;        /* of the weight; -1 */
    size_t first, n;    /* coordinates (or keys) from `first` on */
    double *values;     /* [n] */
} LabOperand;

typedef struct LabScalar {
    const char *name;
    double value;
} LabScalar;

enum { LAB_CHOSEN = 64 };

typedef struct LabArithmetic {
    LabSum kind;
    char formula[160];
    LabOperand operands[2];
    size_t n_operands;
    LabScalar scalars[8];
    size_t n_scalars, size; /* size: how many coordinates the operation has */
    int head;               /* the coordinate's, -1: none */
    int expert;             /* that was spelled out, -1: none */
    int chosen[LAB_CHOSEN]; /* the token's experts, the first choice first */
    size_t n_chosen;
    double value, engine, bound; /* engine NaN: it keeps no such number */
} LabArithmetic;

typedef struct LabQuestion {
    const char *op;
    int64_t step, position, coordinate, head, key, expert; /* -1: not given; expert: then the token's first choice */
} LabQuestion;

int lab_arithmetic(Lab *lab, const LabStream *s, const Order *order, const int32_t *ids, const LabQuestion *question,
                   LabArithmetic *out, Error *e);
void lab_arithmetic_free(LabArithmetic *a); /* accepts zeroed */

/* The operations of one step (NULL: of embedding and head), one after another in the order they run; *size their coordinates.
 * False at the end. */
bool lab_arithmetic_each(const Lab *lab, const OrderItem *item, size_t *at, const char **name, size_t *size);

/* Scores of row `row` of a recorded attention over the keys it sees, scores[0 .. n): returns n, *first the first key. */
size_t lab_scores(const LabOp *attention, size_t head, size_t row, double *scores, size_t *first);
void lab_softmax(double *scores, size_t n); /* in place */

#endif
