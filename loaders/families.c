/* families.c: the list of families, and from a model's files to traits: which configuration it has, which family reads it. Binding its
 * tensors is family_bind.c's. */
#include "loaders/families.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/strbuf.h"
#include "loaders/family.h"

/* Adding a family: its file, its declaration in family.h, its line here. */
static const Family *const families[] = {
    &family_llama,     &family_mistral,   &family_mixtral,   &family_gpt2,        &family_qwen2,
    &family_qwen3,     &family_qwen2_moe, &family_qwen3_moe, &family_gemma,       &family_gemma2,
    &family_gemma3,    &family_phi,       &family_phi3,      &family_olmo,        &family_olmo2,
    &family_olmo3,     &family_olmoe,     &family_stablelm,  &family_starcoder2,  &family_nemotron,
    &family_arcee,     &family_persimmon, &family_granite,   &family_granitemoe,  &family_granitemoeshared,
    &family_cohere,    &family_cohere2,   &family_smollm3,   &family_exaone4,     &family_seed_oss,
    &family_ministral, &family_helium,    &family_ernie4_5,  &family_glm,         &family_glm4,
    &family_gpt_neox,  &family_gptj,      &family_gpt_neo,   &family_gpt_bigcode, &family_opt,
    &family_bloom,     &family_mpt,       &family_falcon,
};

enum { N_FAMILIES = sizeof families / sizeof *families };

static const Family *family_at(bool gguf, size_t i)
{
    return gguf ? &family_gguf[i] : families[i];
}

static size_t family_count(bool gguf)
{
    return gguf ? family_gguf_count : N_FAMILIES;
}

static const Family *find_family(bool gguf, const char *name)
{
    for (size_t i = 0; i < family_count(gguf); i++)
        if (strcmp(family_at(gguf, i)->name, name) == 0)
            return family_at(gguf, i);
    return NULL;
}

static int unknown_family(bool gguf, const char *path, const char *key, const char *name, Error *e)
{
    const char *names[128];
    size_t n = 0;
    for (; n < family_count(gguf) && n < sizeof names / sizeof *names; n++)
        names[n] = family_at(gguf, n)->name;
    return family_unknown(names, n, path, key, name, e);
}

bool family_fill_layers(ModelTraits *t, LayerTraits layer)
{
    t->layers = calloc((size_t)t->n_layers, sizeof *t->layers);
    for (int l = 0; t->layers && l < t->n_layers; l++)
        t->layers[l] = layer;
    return t->layers != NULL;
}

void family_begin_traits(ModelTraits *t, const char *model_type)
{
    *t = (ModelTraits){.norm_place = NORM_PRE,
                       .norm_weight = true,
                       .final_norm = true,
                       .residual = RESIDUAL_SEQUENTIAL,
                       .residual_multiplier = 1,
                       .embedding_multiplier = 1,
                       .logit_scale = 1,
                       .attn_scale = 1,
                       .bos_id = -1,
                       .eos_id = -1};
    snprintf(t->model_type, sizeof t->model_type, "%s", model_type);
}

/* config.json in the directory, or beside a .safetensors file. */
static char *config_path(const char *dir_or_file)
{
    if (file_is_dir(dir_or_file))
        return file_join(dir_or_file, "config.json");
    size_t dir_len = (size_t)(file_basename(dir_or_file) - dir_or_file);
    StrBuf path = {0};
    strbuf_append(&path, dir_or_file, dir_len);
    strbuf_puts(&path, "config.json");
    if (path.failed)
        strbuf_free(&path);
    return path.data;
}

static int read_hf(const char *dir_or_file, const TensorFile *tensors, ModelTraits *out, Error *e)
{
    HfConfig c = {0};
    char *path = config_path(dir_or_file);
    if (!path)
        return error_set(e, STATUS_FAILED, "%s: out of memory", dir_or_file);
    int status;
    if (!file_exists(path)) {
        status = error_set(e, STATUS_FAILED, "%s: not found; a model's weights need its config.json beside them", path);
        goto done;
    }
    status = hf_config_open(path, &c, e);
    if (status)
        goto done;
    const JsonValue *type = json_get(c.root, "model_type");
    if (!type || type->kind != JSON_STRING) {
        status = hf_config_fail(&c, "model_type", "expected a string, found none");
        goto done;
    }
    const Family *family = find_family(false, type->string);
    if (!family) {
        status = unknown_family(false, path, "model_type", type->string, e);
        goto done;
    }
    family_begin_traits(out, family->name);
    family->read_config(&c, out);
    hf_config_finish(&c);
    status = c.status;
    if (!status)
        family_resolve_tie(family, tensors, out);
done:
    hf_config_close(&c);
    free(path);
    return status;
}

static int read_gguf(const char *path, const TensorFile *tensors, ModelTraits *out, Error *e)
{
    GgufString s;
    char name[64] = "";
    if (gguf_string(tensors->gguf, "general.architecture", &s) && s.len < sizeof name)
        memcpy(name, s.s, s.len);
    const Family *family = find_family(true, name);
    if (!family)
        return unknown_family(true, path, "general.architecture", name, e);
    family_begin_traits(out, family->name);
    return family->read_gguf(tensors->gguf, tensors, path, out, e);
}

int family_read_traits(const char *dir_or_file, const TensorFile *tensors, ModelTraits *out, Error *e)
{
    *out = (ModelTraits){0};
    int status = tensors->gguf ? read_gguf(dir_or_file, tensors, out, e) : read_hf(dir_or_file, tensors, out, e);
    if (status)
        traits_free(out);
    return status;
}

int family_bind(const ModelTraits *traits, const TensorFile *tensors, ModelBindings *out, Error *e)
{
    *out = (ModelBindings){0};
    const char *path = tensors->n_maps ? tensors->paths[0] : "model";
    const Family *family = find_family(tensors->gguf != NULL, traits->model_type);
    if (!family)
        return unknown_family(tensors->gguf != NULL, path, "model_type", traits->model_type, e);
    return family_bind_tensors(family, traits, tensors, out, e);
}
