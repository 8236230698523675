/* lab.c: weights and memory of a lab. Layers are prepared once and stay while the budget lasts; those beyond share one slot and are
 * prepared anew each time they are met (evicting the least recent would miss every time in a walk from the first layer to the
 * last). */
#include <stdlib.h>
#include <string.h>

#include "experiments/lab_internal.h"

const Workbench *lab_bench(const Lab *lab)
{
    return lab->bench;
}

size_t lab_max_tokens(const Lab *lab)
{
    return lab->max_tokens;
}

const Ops *lab_ops(const Lab *lab)
{
    return &lab->watch.ops;
}

size_t lab_round64(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

View lab_matrix(void *data, DType dtype, size_t rows, size_t cols)
{
    return (View){.data = data, .dtype = dtype, .rows = rows, .cols = cols, .ld = cols};
}

/* -- opening -- */

static OpsConfig config_of(const Workbench *b, size_t max_tokens)
{
    const ModelTraits *t = &b->model.traits;
    size_t widest = t->d_model > traits_embed_width(t) ? t->d_model : traits_embed_width(t);
    return (OpsConfig){.limits = {.max_rows = max_tokens > LAB_HEAD_ROWS ? max_tokens : LAB_HEAD_ROWS,
                                  .max_head_rows = LAB_HEAD_ROWS,
                                  .max_seq = max_tokens,
                                  .d_model = widest,
                                  .d_ff = traits_widest_mlp(t),
                                  .n_heads = (size_t)t->n_heads,
                                  .n_kv_heads = (size_t)t->n_kv_heads,
                                  .head_dim = (size_t)t->head_dim,
                                  .n_experts = (size_t)t->route.n_experts,
                                  .top_k = (size_t)t->route.top_k,
                                  .vocab = t->vocab},
                       .pool = b->session.pool,
                       .device_index = b->session.device_index};
}

static int open_scratch(Lab *lab, Error *e)
{
    const ModelTraits *t = &lab->model->traits;
    const Ops *o = lab_ops(lab);
    LabHeadScratch *s = &lab->scratch;
    size_t gemm = dtype_block_bytes(o->gemm_dtype), logit = dtype_block_bytes(o->logit_dtype);
    size_t x = lab_round64(LAB_HEAD_ROWS * t->d_model * gemm),
           projected = lab_round64(LAB_HEAD_ROWS * (t->d_embed ? t->d_embed : 1) * gemm);
    size_t logits = lab_round64(LAB_HEAD_ROWS * t->vocab * logit);
    size_t residual = lab_round64(LAB_HEAD_ROWS * t->d_model * dtype_block_bytes(o->resid_dtype));
    s->bytes = x + projected + 2 * logits + residual;
    int status = o->alloc(lab->watch.context, s->bytes, &s->memory, e);
    if (status)
        return status;
    char *at = s->memory;
    s->x = lab_matrix(at, o->gemm_dtype, LAB_HEAD_ROWS, t->d_model);
    s->projected = lab_matrix(at += x, o->gemm_dtype, LAB_HEAD_ROWS, t->d_embed);
    s->logits = lab_matrix(at += projected, o->logit_dtype, LAB_HEAD_ROWS, t->vocab);
    s->reference = lab_matrix(at += logits, o->logit_dtype, LAB_HEAD_ROWS, t->vocab);
    s->residual = lab_matrix(at + logits, o->resid_dtype, LAB_HEAD_ROWS, t->d_model);
    size_t n_doubles = 5 * LAB_HEAD_ROWS + t->vocab;
    s->host = malloc(n_doubles * sizeof(double) + 3 * LAB_HEAD_ROWS * sizeof(int32_t));
    if (!s->host)
        return error_set(e, STATUS_FAILED, "lab: out of memory");
    double *d = s->host;
    s->nll = d;
    s->kl = d + LAB_HEAD_ROWS;
    s->word = d + 2 * LAB_HEAD_ROWS;
    s->lse = d + 3 * LAB_HEAD_ROWS;
    s->reference_lse = d + 4 * LAB_HEAD_ROWS;
    s->row = d + 5 * LAB_HEAD_ROWS;
    int32_t *i = (int32_t *)(void *)(d + n_doubles);
    s->rank = i;
    s->top1 = i + LAB_HEAD_ROWS;
    s->targets = i + 2 * LAB_HEAD_ROWS;
    return STATUS_OK;
}

static int open_layers(Lab *lab, Error *e)
{
    const Model *m = lab->model;
    size_t n = (size_t)m->traits.n_layers, experts = (size_t)m->traits.route.n_experts;
    lab->layers = calloc(n, sizeof *lab->layers);
    lab->layer_memory = calloc(n, sizeof *lab->layer_memory);
    lab->layer_bytes = calloc(n, sizeof *lab->layer_bytes);
    if (!lab->layers || !lab->layer_memory || !lab->layer_bytes)
        return error_set(e, STATUS_FAILED, "lab: out of memory for %zu layers", n);
    for (size_t l = 0; l < n; l++) {
        lab->layer_bytes[l] = model_layer_slot_bytes(m, lab_ops(lab), (int)l);
        if (experts && !(lab->layers[l].experts = calloc(experts, sizeof(ExpertWeights))))
            return error_set(e, STATUS_FAILED, "lab: out of memory for %zu experts", experts);
    }
    return STATUS_OK;
}

/* The budget: what cannot be done without, then a quarter of the rest (at most a GiB) for streams, the rest for layers. */
static int share_memory(Lab *lab, Error *e)
{
    const Workbench *b = lab->bench;
    const Model *m = lab->model;
    OpsConfig config = config_of(b, lab->max_tokens);
    ForwardSizes fs = {.max_rows = lab->max_tokens, .max_window = lab->max_tokens};
    const Ops *inner = b->session.ops;
    size_t logits = 2 * LAB_HEAD_ROWS * m->traits.vocab * dtype_block_bytes(inner->logit_dtype);
    size_t node = lab->max_tokens * m->traits.d_model * dtype_block_bytes(inner->resid_dtype);
    size_t one_layer = model_layer_slot_bytes(m, inner, -1), least_cache = 4 * ((size_t)m->traits.n_layers + 2) * node;
    size_t needed = inner->context_bytes(&config) + forward_bytes(m, inner, &fs) + model_head_slot_bytes(m, inner) +
                    model_transient_bytes(m) + logits + one_layer + least_cache;
    double mib = 1024.0 * 1024.0;
    if (needed > b->session.memory_bytes)
        return error_set(e, STATUS_USAGE,
                         "--memory: the budget of %.0f MiB is too small: expected at least %.0f MiB for texts of %zu tokens",
                         (double)b->session.memory_bytes / mib, (double)needed / mib + 1, lab->max_tokens);
    size_t rest = b->session.memory_bytes - needed, cache = rest / 4;
    lab->cache_bytes = least_cache + (cache < ((size_t)1 << 30) ? cache : (size_t)1 << 30);
    lab->weights_left = rest - cache;
    return STATUS_OK;
}

int lab_open(const Workbench *bench, size_t max_tokens, Lab **out, Error *e)
{
    Lab *lab = calloc(1, sizeof *lab);
    if (!lab)
        return error_set(e, STATUS_FAILED, "lab: out of memory");
    lab->bench = bench;
    lab->model = &bench->model;
    lab->max_tokens = max_tokens;
    lab->shared_layer = -1;
    OpsConfig config = config_of(bench, max_tokens);
    ForwardSizes fs = {.max_rows = max_tokens, .max_window = max_tokens};
    int status = share_memory(lab, e);
    if (status || (status = op_watch_open(bench->session.ops, &config, false, &lab->watch, e)))
        goto fail;
    OpsContext *c = lab->watch.context;
    if ((status = forward_open(lab->model, lab_ops(lab), c, &fs, bench->session.rope, &lab->forward, e)) ||
        (status = open_layers(lab, e)) || (status = open_scratch(lab, e)) ||
        (status = lab_ops(lab)->alloc(c, model_head_slot_bytes(lab->model, lab_ops(lab)), &lab->head_memory, e)) ||
        (status = model_prepare_head(lab->model, lab_ops(lab), c, lab->head_memory, &lab->head, e)))
        goto fail;
    *out = lab;
    return STATUS_OK;
fail:
    lab_close(lab);
    return status;
}

/* -- weights -- */

int lab_layer_weights(Lab *lab, int layer, const LayerWeights **out, Error *e)
{
    const Ops *o = lab_ops(lab);
    OpsContext *c = lab->watch.context;
    size_t bytes = lab->layer_bytes[layer];
    *out = &lab->layers[layer];
    if (lab->layer_memory[layer] || lab->shared_layer == layer)
        return STATUS_OK;
    void *memory = NULL;
    int status = STATUS_OK;
    if (bytes <= lab->weights_left) {
        if ((status = o->alloc(c, bytes, &memory, e)))
            return status;
        if ((status = model_prepare_layer(lab->model, o, c, layer, memory, true, &lab->layers[layer], e))) {
            o->free(c, memory, bytes);
            return status;
        }
        lab->weights_left -= bytes;
        lab->layer_memory[layer] = memory;
        return STATUS_OK;
    }
    if (!lab->shared) {
        lab->shared_bytes = model_layer_slot_bytes(lab->model, o, -1);
        if ((status = o->alloc(c, lab->shared_bytes, &lab->shared, e)))
            return status;
    }
    lab->shared_layer = -1;
    o->slot_done(c, lab->shared);
    status = model_prepare_layer(lab->model, o, c, layer, lab->shared, true, &lab->layers[layer], e);
    if (!status)
        lab->shared_layer = layer;
    return status;
}

Role lab_weight_role(const Lab *lab, int layer, const Weight *weight)
{
    for (int r = 0; r < ROLE_LAYER_COUNT; r++)
        if (weight == &lab->layers[layer].role[r])
            return (Role)r;
    return ROLE_COUNT;
}

void lab_close(Lab *lab)
{
    if (!lab)
        return;
    lab_free_nodes(lab);
    if (lab->watch.context) {
        const Ops *o = lab_ops(lab);
        OpsContext *c = lab->watch.context;
        for (int l = 0; lab->layer_memory && l < lab->model->traits.n_layers; l++)
            if (lab->layer_memory[l])
                o->free(c, lab->layer_memory[l], lab->layer_bytes[l]);
        if (lab->shared)
            o->free(c, lab->shared, lab->shared_bytes);
        if (lab->head_memory)
            o->free(c, lab->head_memory, model_head_slot_bytes(lab->model, o));
        if (lab->scratch.memory)
            o->free(c, lab->scratch.memory, lab->scratch.bytes);
        forward_close(lab->forward);
        op_watch_close(&lab->watch);
    }
    for (int l = 0; lab->layers && l < lab->model->traits.n_layers; l++)
        free(lab->layers[l].experts);
    free(lab->scratch.host);
    free(lab->layers);
    free(lab->layer_memory);
    free(lab->layer_bytes);
    free(lab);
}
