/* traits.c: what roles are called and how they are prepared. */
#include "loaders/traits.h"

#include <stdlib.h>

typedef struct RoleInfo {
    const char *name;
    WeightKind kind;
    bool is_mlp;
} RoleInfo;

static const RoleInfo roles[ROLE_COUNT] = {
    [ROLE_ATTN_NORM] = {"attn.norm", WEIGHT_VECTOR, false},
    [ROLE_ATTN_NORM_BIAS] = {"attn.norm_bias", WEIGHT_VECTOR, false},
    [ROLE_QKV] = {"attn.qkv", WEIGHT_MATRIX, false},
    [ROLE_QKV_BIAS] = {"attn.qkv_bias", WEIGHT_VECTOR, false},
    [ROLE_O] = {"attn.o", WEIGHT_MATRIX, false},
    [ROLE_O_BIAS] = {"attn.o_bias", WEIGHT_VECTOR, false},
    [ROLE_MLP_NORM] = {"mlp.norm", WEIGHT_VECTOR, true},
    [ROLE_MLP_NORM_BIAS] = {"mlp.norm_bias", WEIGHT_VECTOR, true},
    [ROLE_GATE_UP] = {"mlp.gate_up", WEIGHT_MATRIX, true},
    [ROLE_GATE_UP_BIAS] = {"mlp.gate_up_bias", WEIGHT_VECTOR, true},
    [ROLE_DOWN] = {"mlp.down", WEIGHT_MATRIX, true},
    [ROLE_DOWN_BIAS] = {"mlp.down_bias", WEIGHT_VECTOR, true},
    [ROLE_ROUTER] = {"mlp.router", WEIGHT_MATRIX, true},
    [ROLE_EXPERT_GATE_UP] = {"mlp.expert.gate_up", WEIGHT_MATRIX, true},
    [ROLE_EXPERT_DOWN] = {"mlp.expert.down", WEIGHT_MATRIX, true},
    [ROLE_SHARED_GATE_UP] = {"mlp.shared.gate_up", WEIGHT_MATRIX, true},
    [ROLE_SHARED_DOWN] = {"mlp.shared.down", WEIGHT_MATRIX, true},
    [ROLE_SHARED_GATE] = {"mlp.shared.gate", WEIGHT_MATRIX, true},
    [ROLE_Q_NORM] = {"attn.q_norm", WEIGHT_VECTOR, false},
    [ROLE_Q_NORM_BIAS] = {"attn.q_norm_bias", WEIGHT_VECTOR, false},
    [ROLE_K_NORM] = {"attn.k_norm", WEIGHT_VECTOR, false},
    [ROLE_K_NORM_BIAS] = {"attn.k_norm_bias", WEIGHT_VECTOR, false},
    [ROLE_ATTN_POST_NORM] = {"attn.post_norm", WEIGHT_VECTOR, false},
    [ROLE_ATTN_POST_NORM_BIAS] = {"attn.post_norm_bias", WEIGHT_VECTOR, false},
    [ROLE_MLP_POST_NORM] = {"mlp.post_norm", WEIGHT_VECTOR, true},
    [ROLE_MLP_POST_NORM_BIAS] = {"mlp.post_norm_bias", WEIGHT_VECTOR, true},
    [ROLE_EMBED] = {"embed", WEIGHT_MATRIX, false},
    [ROLE_POSITIONS] = {"positions", WEIGHT_MATRIX, false},
    [ROLE_PROJECT_IN] = {"project_in", WEIGHT_MATRIX, false},
    [ROLE_EMBED_NORM] = {"embed_norm", WEIGHT_VECTOR, false},
    [ROLE_EMBED_NORM_BIAS] = {"embed_norm_bias", WEIGHT_VECTOR, false},
    [ROLE_FINAL_NORM] = {"final_norm", WEIGHT_VECTOR, false},
    [ROLE_FINAL_NORM_BIAS] = {"final_norm_bias", WEIGHT_VECTOR, false},
    [ROLE_PROJECT_OUT] = {"project_out", WEIGHT_MATRIX, false},
    [ROLE_HEAD] = {"head", WEIGHT_MATRIX, false},
    [ROLE_HEAD_BIAS] = {"head_bias", WEIGHT_VECTOR, false},
};

WeightKind role_kind(Role role)
{
    return (unsigned)role < ROLE_COUNT ? roles[role].kind : WEIGHT_NONE;
}

const char *role_name(Role role)
{
    return (unsigned)role < ROLE_COUNT ? roles[role].name : "none";
}

bool role_is_mlp(Role role)
{
    return (unsigned)role < ROLE_COUNT && roles[role].is_mlp;
}

size_t traits_embed_width(const ModelTraits *t)
{
    return t->d_embed ? t->d_embed : t->d_model;
}

bool traits_has_mlp(const ModelTraits *t, MlpKind kind)
{
    for (int l = 0; l < t->n_layers; l++)
        if (t->layers[l].mlp == kind)
            return true;
    return false;
}

size_t traits_widest_mlp(const ModelTraits *t)
{
    size_t widest = traits_has_mlp(t, MLP_GATED) || traits_has_mlp(t, MLP_PLAIN) ? t->d_ff : 0;
    widest = t->d_expert > widest ? t->d_expert : widest;
    return t->d_shared > widest ? t->d_shared : widest;
}

void traits_free(ModelTraits *t)
{
    if (!t)
        return;
    for (int i = 0; i < TRAITS_MAX_ROPES; i++) {
        free(t->ropes[i].freq_factors);
        free(t->ropes[i].long_factors);
    }
    free(t->alibi_slopes);
    free(t->layers);
    *t = (ModelTraits){0};
}
