/* audit_own.h: our own run of a text, operation by operation, against ref64: what the command prints and the page shows. */
#ifndef STRATA_EXPERIMENTS_AUDIT_OWN_H
#define STRATA_EXPERIMENTS_AUDIT_OWN_H

#include "engine/base/strbuf.h"
#include "experiments/audit.h"
#include "experiments/studies.h"
#include "experiments/workbench.h"

/* Two arrays of the same quantity. */
typedef struct AuditDistance {
    double max_abs, ulp, relative_l2, cosine; /* ulp: in units of the last place of the dtype stored, at the larger value */
    size_t n, n_equal;                        /* values equal to the expected one, rounded once */
} AuditDistance;
void audit_distance(const double *found, const double *expected, size_t n, DType store, AuditDistance *out);

/* The two checks that need no reference. */
typedef struct AuditChecks {
    size_t edited;       /* the token exchanged for another one; 0: the text is too short */
    double before_edit;  /* largest difference of any residual stream at an earlier position: 0 */
    size_t n_neighbours; /* tokens of the windows laid before and behind the text */
    double neighbours;   /* largest difference they make to any residual stream or loss of it */
    bool bits_promised;  /* by the arithmetic: not by fast */
} AuditChecks;
int audit_checks_run(const Workbench *w, const int32_t *ids, size_t n, AuditChecks *out, Error *e);

/* Adjoint error budget: see audit_adjoint.h. */
typedef struct AuditBudget {
    double *share;              /* [operations]: sum of adjoint times local error, nats per token */
    double own;                 /* what the loss itself adds, from the logits on */
    double predicted, observed; /* of the mean loss */
    double band;                /* what every C1 bound at once could do to the mean loss, first order */
    double band_rms;            /* the same with independent errors: root of the sum of squares */
} AuditBudget;

typedef struct AuditOwn {
    AuditRecord mode, reference;
    AuditReport report;         /* local: the mode's own inputs through the f64 operation */
    AuditDistance *accumulated; /* [report.n]: since the embedding, against ref64's own run */
    AuditDistance *block;       /* [layers]: what the layer adds */
    double *nll, *nll_reference;
    double loss, loss_reference; /* means over predicted tokens; NaN for one token */
    AuditChecks checks;
    bool explained;
    AuditBudget budget;
    Arena arena;
} AuditOwn;

int audit_own_run(const Workbench *w, const int32_t *ids, size_t n, bool explain, AuditOwn *out, Error *e);
void audit_own_free(AuditOwn *o); /* accepts zeroed */

/* "q_proj" of "L3.attn.q_proj" is "attn.q_proj"; of "final_norm" itself. */
const char *audit_own_kind(const AuditOp *op);

void audit_own_json(const Workbench *w, const AuditOwn *o, StrBuf *out);
int audit_own_text(const Workbench *w, const AuditOwn *o, StrBuf *out, Error *e);
void audit_own_verdict(const AuditOwn *o, StrBuf *out);                  /* the last lines of the text: rungs and checks */
void audit_own_page(const Workbench *w, const AuditOwn *o, StrBuf *out); /* one HTML file */

#endif
