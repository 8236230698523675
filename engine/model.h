/* model.h: a model's files, traits and bound weights (the mapping and model lifetimes), and the preparation of one layer's or the head's weights
 * into slot memory. Immutable after open, so that sessions may share it. */
#ifndef STRATA_ENGINE_MODEL_H
#define STRATA_ENGINE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ops.h"
#include "loaders/families.h"
#include "loaders/tensor_file.h"
#include "loaders/traits.h"

typedef struct Model {
    char *path;
    TensorFile files;
    ModelTraits traits;
    ModelBindings bindings;
} Model;

int model_open(const char *dir_or_file, Model *out, Error *e);
void model_close(Model *m); /* accepts zeroed and half-built */

/* One layer's prepared weights, all inside one slot. */
typedef struct LayerWeights {
    Weight role[ROLE_LAYER_COUNT];
    ExpertWeights *experts; /* [E] in a mixture, else NULL; memory given by the caller of model_prepare_layer */
} LayerWeights;

/* The once-per-model weights the head needs. */
typedef struct HeadWeights {
    Weight final_norm, final_norm_bias, project_out, head, head_bias;
} HeadWeights;

/* What the embedding needs beside its table, where a model has it. */
typedef struct EmbedWeights {
    Weight project_in, norm, norm_bias;
} EmbedWeights;

/* Bytes of slot memory, for one layer (layer -1: the largest of all layers) and for the head. */
size_t model_layer_slot_bytes(const Model *m, const Ops *ops, int layer);
size_t model_head_slot_bytes(const Model *m, const Ops *ops);
size_t model_embed_slot_bytes(const Model *m, const Ops *ops);
size_t model_final_norm_slot_bytes(const Model *m, const Ops *ops); /* of the head's, the part that forward_final_norm needs */
/* The most bytes of mapped file pages that preparing any one weight makes resident at a time. */
size_t model_transient_bytes(const Model *m);
/* Bytes of weights in the file: of one layer, and of everything. */
size_t model_layer_file_bytes(const Model *m, int layer);
size_t model_file_bytes(const Model *m);

/* Prepares weights into slot memory and drops the file's pages afterwards. With `check`, as for the head and the embedding, a NaN or
 * infinity in a weight is an error that names layer, role and element. */
int model_prepare_layer(const Model *m, const Ops *ops, OpsContext *ctx, int layer, void *slot, bool check, LayerWeights *out,
                        Error *e);
int model_prepare_head(const Model *m, const Ops *ops, OpsContext *ctx, void *slot, HeadWeights *out, Error *e);
int model_prepare_final_norm(const Model *m, const Ops *ops, OpsContext *ctx, void *slot, HeadWeights *out, Error *e);
int model_prepare_embed(const Model *m, const Ops *ops, OpsContext *ctx, void *slot, EmbedWeights *out, Error *e);

/* Asks the system to read a layer's dense weights ahead of their use. */
void model_prefetch_layer(const Model *m, int layer);

/* Multiply-adds counted as two: of one token through one half layer without attention scores, of attention over a window of n
 * tokens, of the head for one token. */
double model_flops_attn(const Model *m, int layer);
double model_flops_scores(const Model *m, int layer, size_t window_tokens);
double model_flops_mlp(const Model *m, int layer);
double model_flops_head(const Model *m);
size_t model_parameters(const Model *m);

#endif
