/* families.h: configuration to traits, tensor names to roles. A family is one file family_NAME.c and one line in families.c.
 * Adding one never touches the forward pass. */
#ifndef STRATA_LOADERS_FAMILIES_H
#define STRATA_LOADERS_FAMILIES_H

#include "loaders/tensor_file.h"
#include "loaders/traits.h"

/* One prepared weight of the model: its parts, stacked in order. n_parts 0: the model has none (an absent bias). */
typedef struct Binding {
    WeightPart *parts;
    size_t n_parts;
} Binding;

typedef struct LayerBindings {
    Binding role[ROLE_LAYER_COUNT];        /* EXPERT roles stay empty here */
    Binding *expert_gate_up, *expert_down; /* [E] in a mixture, else NULL */
} LayerBindings;

typedef struct ModelBindings {
    LayerBindings *layers;    /* [L] */
    Binding role[ROLE_COUNT]; /* the once-per-model roles, by their index */
    Arena arena;
} ModelBindings;

/* Reads config.json (both dialects: rope_theta + rope_scaling or rope_parameters; torch_dtype or dtype) of a directory, or the
 * metadata of a GGUF file. Every key that can change a result is either understood or an error that names it, its value, and
 * what is supported; an unknown model_type names the supported ones. */
int family_read_traits(const char *dir_or_file, const TensorFile *tensors, ModelTraits *out, Error *e);

/* Binds every tensor by exact name, shape and dtype. Missing, surplus or misshapen tensors: one error that names the first
 * with file, expected and found, and counts the rest. Tensors known to be redundant (rotary_emb.inv_freq, GPT-2's mask
 * buffers, lm_head of a tied model when equal in shape) are skipped. */
int family_bind(const ModelTraits *traits, const TensorFile *tensors, ModelBindings *out, Error *e);
void family_bindings_free(ModelBindings *b);

#endif
