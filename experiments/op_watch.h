/* op_watch.h: an op table that does what another one does and shows each operation of the forward pass to a watcher, before it runs and
 * after. So the forward pass is looked into without a line of its own: it runs over this table as over any other. Views may lie on a
 * device; the inner table's download brings them. */
#ifndef STRATA_EXPERIMENTS_OP_WATCH_H
#define STRATA_EXPERIMENTS_OP_WATCH_H

#include "kernels/ops.h"

typedef enum OpKind {
    OP_EMBED,
    OP_EMBED_ADD,  /* in[0] the stream, also out */
    OP_NORM,       /* in[0] x */
    OP_LINEAR,     /* in[0] x */
    OP_LINEAR_ADD, /* in[0] residual, in[1] x */
    OP_ROPE,       /* in[0] x, also out */
    OP_ATTENTION,  /* in[0] q, in[1] k, in[2] v */
    OP_GLU,        /* in[0] gate, in[1] up */
    OP_ACT,        /* in[0] x */
    OP_ADD,        /* in[0] a, in[1] b */
    OP_ADD_GATED,  /* in[0] a, in[1] b */
    OP_CLIP,       /* in[0] x, also out */
    OP_ROUTE,      /* in[0] logits; out the chosen shares, F32 [T, top_k] */
    OP_MOE,        /* in[0] x */
    OP_HEAD,       /* in[0] x; out the logits */
} OpKind;

/* One call of an operation; what its kind does not have is zero. */
typedef struct OpCall {
    OpKind kind;
    View in[3], out;
    size_t n_in;
    const Weight *weight; /* as the caller named it: addresses may be compared */
    double scale;         /* OP_ADD, OP_LINEAR_ADD */
    const NormSpec *norm;
    const AttnSpec *attention;
    const RouteSpec *route;
} OpCall;

/* Either may be NULL. Inputs that are also the output hold what they held in `before`, the result in `after`. */
typedef struct OpWatcher {
    void (*before)(void *user, const OpCall *call);
    void (*after)(void *user, const OpCall *call);
    void *user;
} OpWatcher;

typedef struct OpWatch {
    Ops ops;             /* ops.open is not to be called: the context is here */
    OpsContext *context; /* of `ops` */
} OpWatch;

/* fused: whether linear_add is offered where the inner table has it; else what a half adds is seen before it is added. */
int op_watch_open(const Ops *inner, const OpsConfig *config, bool fused, OpWatch *out, Error *e);
void op_watch_close(OpWatch *w);                         /* accepts zeroed */
void op_watch_set(OpWatch *w, const OpWatcher *watcher); /* copied; NULL: nobody watches, as after opening */

#endif
