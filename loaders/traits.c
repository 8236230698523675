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
    [ROLE_EMBED] = {"embed", WEIGHT_MATRIX, false},
    [ROLE_POSITIONS] = {"positions", WEIGHT_MATRIX, false},
    [ROLE_FINAL_NORM] = {"final_norm", WEIGHT_VECTOR, false},
    [ROLE_FINAL_NORM_BIAS] = {"final_norm_bias", WEIGHT_VECTOR, false},
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

void traits_free(ModelTraits *t)
{
    if (!t)
        return;
    for (int i = 0; i < TRAITS_MAX_ROPES; i++)
        free(t->ropes[i].freq_factors);
    free(t->layers);
    *t = (ModelTraits){0};
}
