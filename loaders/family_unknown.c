/* family_unknown.c: what is said of a model whose type no family reads: the nearest family that is there, and the trait that is missing. */
#include <stdio.h>
#include <string.h>

#include "loaders/family.h"

/* Types of transformers that are known to lie outside the traits, by the beginning of their name; the first that fits is taken. */
static const struct {
    const char *begins, *nearest, *missing;
} outside[] = {
    {"deepseek_v", "qwen2_moe", "latent attention (keys and values rebuilt from one compressed vector)"},
    {"minicpm3", "llama", "latent attention (keys and values rebuilt from one compressed vector)"},
    {"kimi", "qwen2_moe", "latent attention (keys and values rebuilt from one compressed vector)"},
    {"longcat_flash", "qwen2_moe", "latent attention (keys and values rebuilt from one compressed vector)"},
    {"glm_moe_dsa", "qwen2_moe", "latent attention (keys and values rebuilt from one compressed vector)"},
    {"youtu", "llama", "latent attention (keys and values rebuilt from one compressed vector)"},
    {"mimo_v2", "qwen3_moe", "attention sinks"},
    {"gpt_oss", "mixtral", "attention sinks and biased experts in MXFP4"},
    {"llama4", "llama", "attention in chunks and a router by sigmoid"},
    {"gemma3n", "gemma3_text", "several residual streams and embeddings of each layer"},
    {"gemma4", "gemma3_text", "embeddings of each layer and keys shared between layers"},
    {"gemma3", "gemma3_text", "images: export the text model alone"},
    {"qwen3_next", "qwen3_moe", "layers of linear attention"},
    {"qwen3_5", "qwen3_moe", "layers of linear attention"},
    {"qwen2_vl", "qwen2", "images"},
    {"qwen2_5_vl", "qwen2", "images"},
    {"qwen3_vl", "qwen3", "images"},
    {"llava", "llama", "images"},
    {"mllama", "llama", "images"},
    {"mamba", "llama", "layers with a recurrent state"},
    {"falcon_mamba", "llama", "layers with a recurrent state"},
    {"falcon_h1", "llama", "layers with a recurrent state"},
    {"jamba", "mixtral", "layers with a recurrent state"},
    {"bamba", "llama", "layers with a recurrent state"},
    {"nemotron_h", "llama", "layers with a recurrent state"},
    {"recurrent_gemma", "gemma", "layers with a recurrent state"},
    {"granitemoehybrid", "granitemoeshared", "layers with a recurrent state"},
    {"zamba", "llama", "layers with a recurrent state"},
    {"xlstm", "llama", "layers with a recurrent state"},
    {"rwkv", "llama", "layers with a recurrent state"},
    {"lfm2", "llama", "layers of convolution"},
    {"glm4_moe", "qwen2_moe", "a router by sigmoid with groups of experts"},
    {"ernie4_5_moe", "qwen2_moe", "a router with corrections of its choice"},
    {"dots1", "qwen3_moe", "a router by sigmoid with groups of experts"},
    {"minimax", "mixtral", "layers of linear attention"},
    {"phimoe", "mixtral", "a router that masks by jitter (sparsemixer)"},
    {"olmo_hybrid", "olmo3", "layers of linear attention"},
    {"bailing_hybrid", "qwen3_moe", "layers of linear attention"},
    {"apertus", "llama", "the activation xIELU"},
    {"bitnet", "llama", "norms inside attention and MLP"},
    {"diffllama", "llama", "attention as the difference of two softmaxes"},
    {"jetmoe", "mixtral", "attention that is a mixture"},
    {"xglm", "gpt2", "positions by fixed sinusoids"},
    {"t5", "gpt2", "an encoder"},
    {"mt5", "gpt2", "an encoder"},
    {"bart", "gpt2", "an encoder"},
    {"bert", "gpt2", "attention to later positions: it predicts no next token"},
    {"roberta", "gpt2", "attention to later positions: it predicts no next token"},
};

/* Edits (insert, delete, replace a byte) between two short names. */
static size_t distance(const char *a, const char *b)
{
    enum { MOST = 63 };
    size_t n = strnlen(b, MOST), row[MOST + 1];
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; i < MOST && a[i]; i++) {
        size_t corner = row[0];
        row[0] = i + 1;
        for (size_t j = 1; j <= n; j++) {
            size_t replaced = corner + (a[i] != b[j - 1]), shorter = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            corner = row[j];
            row[j] = replaced < shorter ? replaced : shorter;
        }
    }
    return row[n];
}

int family_unknown(const char *const *names, size_t n, const char *path, const char *key, const char *name, Error *e)
{
    const char *nearest = names[0], *missing = "what it needs beyond that family is not known here";
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(names[i], name);
        if (d < least) {
            least = d;
            nearest = names[i];
        }
    }
    const char *how = 3 * least <= strlen(name) ? "" : " by name"; /* what is no slip of the fingers is no kinship either */
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        if (strncmp(name, outside[i].begins, strlen(outside[i].begins)) == 0) {
            nearest = outside[i].nearest;
            missing = outside[i].missing;
            how = "";
            break;
        }
    }
    char known[640] = "";
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(known);
        snprintf(known + len, sizeof known - len, i ? " %s" : "%s", names[i]);
    }
    return error_set(e, STATUS_FAILED, "%s: %s: \"%s\" is not supported; the nearest%s is %s; missing: %s (supported: %s)",
                     path, key, name, how, nearest, missing, known);
}
