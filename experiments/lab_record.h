/* lab_record.h: the operations of the forward pass with their inputs and outputs, as numbers on the host (op_watch.h). */
#ifndef STRATA_EXPERIMENTS_LAB_RECORD_H
#define STRATA_EXPERIMENTS_LAB_RECORD_H

#include "experiments/op_watch.h"

typedef struct LabMatrix {
    size_t rows, cols;
    double *v; /* [rows, cols], NULL: none */
} LabMatrix;

typedef struct LabOp {
    OpKind kind;
    LabMatrix in[3], out; /* as OpCall has them; OP_ROUTE: out the chosen experts, in[1] their shares */
    const Weight *weight; /* as the caller of the op named it: compare addresses; NULL: none */
    double scale;         /* OP_ADD */
    NormSpec norm;
    AttnSpec attention;
} LabOp;

typedef struct LabRecord {
    LabOp *ops; /* in the order they ran */
    size_t n, cap;
    bool failed;  /* memory was out: what is there is whole */
    bool running; /* ops[n] has its inputs */
    OpWatch *watch;
} LabRecord;

/* Keeps every operation that runs over w's table until lab_record_end; r need not be initialised. */
void lab_record_begin(LabRecord *r, OpWatch *w);
void lab_record_end(LabRecord *r);
void lab_record_free(LabRecord *r); /* accepts zeroed */

#endif
