/* lab_tap.h: an op table that does what another one does and, while it is watched, keeps each operation's inputs and output. So the
 * forward pass is looked into without a line of its own: it runs over this table as over any other. The fused residual sum is left
 * out, so that what a half adds is seen before it is added (the unfused path is tested equal). */
#ifndef STRATA_EXPERIMENTS_LAB_TAP_H
#define STRATA_EXPERIMENTS_LAB_TAP_H

#include "kernels/ops.h"

typedef enum LabOpKind {
    LAB_NORM,      /* in[0] x */
    LAB_LINEAR,    /* in[0] x */
    LAB_ROPE,      /* in[0] before */
    LAB_ATTENTION, /* in[0] q, in[1] k, in[2] v */
    LAB_GLU,       /* in[0] gate, in[1] up */
    LAB_ACT,       /* in[0] x */
    LAB_ADD,       /* in[0] a, in[1] b */
    LAB_ADD_GATED, /* in[0] a, in[1] b */
    LAB_CLIP,      /* in[0] before */
    LAB_ROUTE,     /* in[0] logits; out: experts, in[1]: their shares */
    LAB_MOE,       /* in[0] x */
    LAB_HEAD,      /* in[0] x; out: logits */
} LabOpKind;

typedef struct LabMatrix {
    size_t rows, cols;
    double *v; /* [rows, cols], NULL: none */
} LabMatrix;

typedef struct LabOp {
    LabOpKind kind;
    LabMatrix in[3], out;
    const Weight *weight; /* as the caller of the op named it: compare addresses; NULL: none */
    double scale;         /* LAB_ADD */
    NormSpec norm;
    AttnSpec attention;
} LabOp;

typedef struct LabRecord {
    LabOp *ops; /* in the order they ran */
    size_t n, cap;
    bool failed; /* memory was out: what is there is whole */
} LabRecord;

void lab_record_free(LabRecord *r); /* accepts zeroed */

typedef struct LabTap {
    Ops ops;             /* ops.open is not to be called: the context is here */
    OpsContext *context; /* of `ops` */
} LabTap;

int lab_tap_open(const Ops *inner, const OpsConfig *config, LabTap *out, Error *e);
void lab_tap_close(LabTap *t);                    /* accepts zeroed */
void lab_tap_watch(LabTap *t, LabRecord *record); /* NULL: no longer */

#endif
