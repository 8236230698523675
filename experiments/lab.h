/* lab.h: a model kept warm for live questions: prepared weights, one forward pass, and the residual streams of texts asked for
 * lately. A text under an order is walked step by step; a stream that a walk needs and an earlier one computed is taken from the
 * cache, so that dragging layer 8 of 12 costs the four layers behind it.
 *
 * A node is the stream of one text after some steps; its key is SHA-256 over the token ids and the steps (and edits) that led to
 * it. Nodes in use are pinned; the others leave when the cache is full, the longest unused first.
 *
 * Step, point: see tools/web/API.md. Point 0 is the embedding, point k the stream after step k-1 (of a parallel group: after the
 * group). One thread at a time. */
#ifndef STRATA_EXPERIMENTS_LAB_H
#define STRATA_EXPERIMENTS_LAB_H

#include "experiments/lab_record.h"
#include "experiments/workbench.h"

enum { LAB_MAX_STEPS = 1024, LAB_TOP = 50 };

typedef struct Lab Lab;

/* bench outlives the lab. max_tokens: of the longest text that will be asked. */
int lab_open(const Workbench *bench, size_t max_tokens, Lab **out, Error *e);
void lab_close(Lab *lab); /* accepts NULL */
const Workbench *lab_bench(const Lab *lab);
size_t lab_max_tokens(const Lab *lab);

/* How long work is watched and stopped. Both functions may be NULL. */
typedef struct LabControl {
    void *user;
    bool (*should_stop)(void *user);               /* then STATUS_INTERRUPTED */
    void (*on_progress)(void *user, double share); /* 0 to 1 */
} LabControl;

/* One dimension of the stream at one point, replaced from a row on. */
typedef struct LabEdit {
    size_t point, dim;
    double value;
    const double *values; /* [n], one a row, or NULL: value */
} LabEdit;

typedef struct LabText {
    const int32_t *ids; /* [n], BOS included where the model has one */
    size_t n;
    const Order *order; /* at most LAB_MAX_STEPS items */
    const LabEdit *edits;
    size_t n_edits, edit_from; /* first row the edits touch */
} LabText;

typedef struct LabNode LabNode;

/* The streams of a text: pinned until lab_stream_close. */
typedef struct LabStream {
    size_t n, n_steps;
    LabNode **point; /* [n_steps + 1] */
    LabNode **pre;   /* [n_steps]: what the step reads */
    LabNode **mid;   /* [n_steps]: between attention and MLP; NULL where a step has no middle */
    LabNode **own;   /* [n_steps]: the step's own output; in a parallel group before the mean */
} LabStream;

/* share: of the whole request's progress that this walk is, from `from` on. */
int lab_walk(Lab *lab, const LabText *text, const LabControl *control, double from, double share, LabStream *out, Error *e);
void lab_stream_close(Lab *lab, LabStream *s); /* accepts zeroed */

/* Rows [first, first + n) of a node as doubles: out [n, D]. */
void lab_node_rows(Lab *lab, const LabNode *node, size_t first, size_t n, double *out);

/* What the head says of n rows. */
typedef struct LabHead {
    size_t n;
    double *nll, *kl;           /* [n]: of the targets (NaN without one); KL(reference || this), NaN without a reference */
    double *p;                  /* [n, LAB_TOP]: probabilities, falling; fewer where V is smaller (0, id -1) */
    int32_t *rank, *top1, *ids; /* [n], [n], [n, LAB_TOP] */
} LabHead;

/* The head on a node's rows; each row's target is the next token. reference: the node whose distributions KL refers to, or NULL.
 * The result is kept with the node: *out lives until the node is given to lab_head again, as node or as reference. */
int lab_head(Lab *lab, LabNode *node, LabNode *reference, const int32_t *ids, const LabControl *control, double from,
             double share, const LabHead **out, Error *e);

/* The head on gathered rows x [n, D] with their targets (-1: none); reference [n_reference, D] with 1 or n rows, or NULL. */
int lab_head_rows(Lab *lab, const double *x, size_t n, const int32_t *targets, const double *reference, size_t n_reference,
                  const LabControl *control, double from, double share, LabHead *out, Error *e);
void lab_head_free(LabHead *h); /* accepts zeroed */

/* The logit lens at every point and token: out [n_steps + 1], each of s->n rows; KL(last point || this one). */
int lab_lens(Lab *lab, const LabStream *s, const int32_t *ids, const LabControl *control, double from, double share,
             LabHead *out, Error *e);

/* One half of one step once more, watched: what each of its operations read and wrote. part: PART_BOTH for a parallel residual's
 * whole layer, else PART_ATTN or PART_MLP. */
int lab_watch_step(Lab *lab, const LabStream *s, const Order *order, size_t step, Part part, const int32_t *ids,
                   LabRecord *record, Error *e);
/* Final norm and head of one row of a node, watched. */
int lab_watch_head(Lab *lab, const LabNode *node, size_t row, LabRecord *record, Error *e);
/* Which role of the layer a recorded weight is; ROLE_COUNT: none of them. */
Role lab_weight_role(const Lab *lab, int layer, const Weight *weight);

bool lab_step_is_whole(const Lab *lab, const Order *order, size_t step); /* one step of a parallel residual */

#endif
