/* audit_roundings.c: where transformers' code of a family rounds to bf16 when it is not where most families do (read from its modelling
 * code, version 5.23, and confirmed by clean dumps: tools/make_audit_faults.py). Llama's code is the usual: norms rounded before the
 * gain, cosines rounded, each product and sum of the rotation rounded, scores rounded after the product and after the scale, probabilities
 * rounded, act(gate) rounded. */
#include <string.h>

#include "experiments/audit_math.h"

AuditRoundings audit_roundings_of(const ModelTraits *t)
{
    static const struct {
        const char *model_type;
        AuditRoundings how;
    } families[] = {
        {"bloom", {.alibi_fused = true, .gelu_factored = true}},
        {"cohere", {.rope_once = true}},
        {"cohere2", {.rope_once = true}},
        {"ernie4_5", {.rope_wide = true}},
        {"falcon", {.bias_apart = true}},
        {"gpt_neo", {.scores_wide = true}},
        {"gptj", {.scores_wide = true}},
        {"helium", {.norm_gain_wide = true}},
        {"mpt", {.alibi_wide = true}},
        {"nemotron", {.gain_plus_one_narrow = true}},
        {"olmo", {.rope_wide = true}},
        {"olmo2", {.norm_gain_wide = true, .rope_wide = true}},
        {"olmo3", {.norm_gain_wide = true, .rope_wide = true}},
        {"olmoe", {.share_narrow = true}},
        {"opt", {.query_scaled = true}},
        {"qwen2_moe", {.share_narrow = true}},
        {"qwen3_moe", {.share_narrow = true}},
        {"granitemoe", {.share_narrow = true}},
        {"granitemoeshared", {.share_narrow = true}},
    };
    if (strcmp(t->model_type, "falcon") == 0 && t->alibi_slopes) /* through torch's attention kernel, whose scores are f32 */
        return (AuditRoundings){
            .bias_apart = true, .scores_wide = true, .alibi_wide = true, .alibi_narrow = true, .softmax_somewhere = true};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(families[i].model_type, t->model_type) == 0)
            return families[i].how;
    return (AuditRoundings){.norm_gain_wide = false};
}
