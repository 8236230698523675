/* lab_internal.h: what lab.c (weights, memory), lab_walk.c (cache and streams) and lab_head.c (head, watching) share. */
#ifndef STRATA_EXPERIMENTS_LAB_INTERNAL_H
#define STRATA_EXPERIMENTS_LAB_INTERNAL_H

#include "experiments/lab.h"

enum { LAB_HEAD_ROWS = 32, LAB_BUCKETS = 4096, LAB_KEY_BYTES = 64 };

struct LabNode {
    char key[LAB_KEY_BYTES];
    LabNode *next;          /* of its bucket */
    LabNode *newer, *older; /* by last use */
    View residual;          /* [n, D] */
    size_t bytes, logit_bytes;
    View logits; /* [n, V] once it was a reference; data NULL before */
    double *lse; /* [n], with logits */
    LabHead head;
    bool has_head;
    char kl_key[LAB_KEY_BYTES]; /* of the node the KL in `head` refers to; zeros: there is none */
    int n_pins;
};

/* Of one tile of the head. */
typedef struct LabHeadScratch {
    void *memory;
    size_t bytes;
    View x, projected, logits, reference, residual;
    double *nll, *kl, *word, *lse, *reference_lse, *row;
    int32_t *rank, *top1, *targets;
    void *host;
} LabHeadScratch;

struct Lab {
    const Workbench *bench;
    const Model *model;
    OpWatch watch;
    size_t max_tokens;
    Forward *forward;
    LayerWeights *layers; /* [L] */
    void **layer_memory;  /* [L]: NULL until prepared there, or when it has none of its own */
    size_t *layer_bytes;
    void *shared; /* the slot of the layers without memory of their own */
    size_t shared_bytes;
    int shared_layer;
    size_t weights_left; /* bytes that may still be taken for layers */
    void *head_memory;
    HeadWeights head;
    LabHeadScratch scratch;
    LabNode *buckets[LAB_BUCKETS];
    LabNode *newest, *oldest;
    size_t cache_bytes, cache_used;
    size_t starts[2];
};

const Ops *lab_ops(const Lab *lab); /* the watched table */
View lab_matrix(void *data, DType dtype, size_t rows, size_t cols);
size_t lab_round64(size_t bytes);

int lab_layer_weights(Lab *lab, int layer, const LayerWeights **out, Error *e);
TokenBlock lab_block(Lab *lab, const int32_t *ids, size_t n);

void lab_make_room(Lab *lab, size_t bytes); /* nodes nobody uses leave */
void lab_free_nodes(Lab *lab);

bool lab_stopped(const LabControl *c);
void lab_report(const LabControl *c, double share);

#endif
