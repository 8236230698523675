/* model.c: opening a model, and preparing its weights slot by slot. What a tensor is called is the families' business; what a
 * prepared weight looks like is the op table's. */
#include "engine/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "kernels/convert.h"

/* A trait value the forward pass does not serve is an error, never ignored. */
static int check_traits(const Model *m, Error *e)
{
    const ModelTraits *t = &m->traits;
    if (t->n_layers < 1 || !t->layers || t->n_heads < 1 || t->n_kv_heads < 1 || t->n_heads % t->n_kv_heads != 0)
        return error_set(e, STATUS_FAILED, "%s: %d layers, %d heads and %d key/value heads do not make a model", m->path,
                         t->n_layers, t->n_heads, t->n_kv_heads);
    for (int l = 0; l < t->n_layers; l++) {
        if (t->layers[l].rope >= t->n_ropes)
            return error_set(e, STATUS_FAILED, "%s: layer %d: rotary table %d of %d", m->path, l, t->layers[l].rope,
                             t->n_ropes);
        if (t->layers[l].mlp == MLP_MOE &&
            (t->route.n_experts < 1 || t->route.top_k < 1 || t->route.top_k > t->route.n_experts))
            return error_set(e, STATUS_FAILED, "%s: layer %d: top %d of %d experts", m->path, l, t->route.top_k,
                             t->route.n_experts);
    }
    return STATUS_OK;
}

int model_open(const char *dir_or_file, Model *out, Error *e)
{
    memset(out, 0, sizeof *out);
    int status = STATUS_FAILED;
    out->path = strdup(dir_or_file);
    if (!out->path) {
        error_set(e, status, "%s: out of memory", dir_or_file);
        goto fail;
    }
    if ((status = tensor_file_open(dir_or_file, &out->files, e)))
        goto fail;
    if ((status = family_read_traits(dir_or_file, &out->files, &out->traits, e)))
        goto fail;
    if ((status = check_traits(out, e)))
        goto fail;
    if ((status = family_bind(&out->traits, &out->files, &out->bindings, e)))
        goto fail;
    return STATUS_OK;
fail:
    model_close(out);
    return status;
}

void model_close(Model *m)
{
    if (!m)
        return;
    family_bindings_free(&m->bindings);
    traits_free(&m->traits);
    tensor_file_close(&m->files);
    free(m->path);
    memset(m, 0, sizeof *m);
}

static size_t binding_slot_bytes(const Ops *ops, Role role, const Binding *b)
{
    return b->n_parts ? ops->weight_slot_bytes(role_kind(role), b->parts, b->n_parts) : 0;
}

static size_t part_file_bytes(const WeightPart *p)
{
    size_t bytes = 0;
    if (!dtype_bytes(p->dtype, p->rows * p->cols, &bytes))
        return 0;
    return bytes;
}

static size_t binding_file_bytes(const Binding *b)
{
    size_t bytes = 0;
    for (size_t i = 0; i < b->n_parts; i++)
        bytes += part_file_bytes(&b->parts[i]);
    return bytes;
}

static int n_experts(const Model *m, int layer)
{
    return m->traits.layers[layer].mlp == MLP_MOE ? m->traits.route.n_experts : 0;
}

static size_t one_layer_slot_bytes(const Model *m, const Ops *ops, int layer)
{
    const LayerBindings *b = &m->bindings.layers[layer];
    size_t bytes = 0;
    for (int r = 0; r < ROLE_LAYER_COUNT; r++)
        bytes += binding_slot_bytes(ops, (Role)r, &b->role[r]);
    for (int x = 0; x < n_experts(m, layer); x++) {
        bytes += binding_slot_bytes(ops, ROLE_EXPERT_GATE_UP, &b->expert_gate_up[x]);
        bytes += binding_slot_bytes(ops, ROLE_EXPERT_DOWN, &b->expert_down[x]);
    }
    return bytes;
}

size_t model_layer_slot_bytes(const Model *m, const Ops *ops, int layer)
{
    if (layer >= 0)
        return one_layer_slot_bytes(m, ops, layer);
    size_t most = 0;
    for (int l = 0; l < m->traits.n_layers; l++) {
        size_t bytes = one_layer_slot_bytes(m, ops, l);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static const Role head_roles[] = {ROLE_FINAL_NORM, ROLE_FINAL_NORM_BIAS, ROLE_PROJECT_OUT, ROLE_HEAD, ROLE_HEAD_BIAS};
enum { N_HEAD_ROLES = sizeof head_roles / sizeof head_roles[0], N_FINAL_NORM_ROLES = 2 };

static const Role embed_roles[] = {ROLE_PROJECT_IN, ROLE_EMBED_NORM, ROLE_EMBED_NORM_BIAS};
enum { N_EMBED_ROLES = sizeof embed_roles / sizeof embed_roles[0] };

/* Of weights that belong to no layer. */
static size_t roles_slot_bytes(const Model *m, const Ops *ops, const Role *roles, int n)
{
    size_t bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += binding_slot_bytes(ops, roles[i], &m->bindings.role[roles[i]]);
    return bytes;
}

size_t model_head_slot_bytes(const Model *m, const Ops *ops)
{
    return roles_slot_bytes(m, ops, head_roles, N_HEAD_ROLES);
}

size_t model_final_norm_slot_bytes(const Model *m, const Ops *ops)
{
    return roles_slot_bytes(m, ops, head_roles, N_FINAL_NORM_ROLES);
}

size_t model_embed_slot_bytes(const Model *m, const Ops *ops)
{
    return roles_slot_bytes(m, ops, embed_roles, N_EMBED_ROLES);
}

void model_prefetch_layer(const Model *m, int layer)
{
    const LayerBindings *b = &m->bindings.layers[layer];
    for (int r = 0; r < ROLE_LAYER_COUNT; r++)
        for (size_t i = 0; i < b->role[r].n_parts; i++)
            file_will_need(b->role[r].parts[i].data, part_file_bytes(&b->role[r].parts[i]));
}

size_t model_transient_bytes(const Model *m)
{
    size_t most = 0;
    for (int l = 0; l < m->traits.n_layers; l++) {
        const LayerBindings *b = &m->bindings.layers[l];
        for (int r = 0; r < ROLE_LAYER_COUNT; r++) {
            size_t bytes = binding_file_bytes(&b->role[r]);
            most = bytes > most ? bytes : most;
        }
        for (int x = 0; x < n_experts(m, l); x++) {
            size_t bytes = binding_file_bytes(&b->expert_gate_up[x]);
            most = bytes > most ? bytes : most;
        }
    }
    size_t head = binding_file_bytes(&m->bindings.role[ROLE_HEAD]);
    return head > most ? head : most;
}

size_t model_layer_file_bytes(const Model *m, int layer)
{
    const LayerBindings *b = &m->bindings.layers[layer];
    size_t bytes = 0;
    for (int r = 0; r < ROLE_LAYER_COUNT; r++)
        bytes += binding_file_bytes(&b->role[r]);
    for (int x = 0; x < n_experts(m, layer); x++)
        bytes += binding_file_bytes(&b->expert_gate_up[x]) + binding_file_bytes(&b->expert_down[x]);
    return bytes;
}

size_t model_file_bytes(const Model *m)
{
    size_t bytes = 0;
    for (size_t i = 0; i < m->files.n_tensors; i++)
        bytes += m->files.tensors[i].size_bytes;
    return bytes;
}

/* True when a stretch of n plain elements holds no NaN and no infinity: the exponent bits are not all ones. Written without
 * early exit inside a chunk so that it vectorises and runs at memory speed. */
static bool all_finite16(const unsigned char *p, size_t n, uint16_t exponent_mask)
{
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t v;
        memcpy(&v, p + 2 * i, 2);
        bad |= (unsigned)((v & exponent_mask) == exponent_mask);
    }
    return !bad;
}

static bool all_finite32(const unsigned char *p, size_t n)
{
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t v;
        memcpy(&v, p + 4 * i, 4);
        bad |= (unsigned)((v & 0x7f800000u) == 0x7f800000u);
    }
    return !bad;
}

static bool row_finite(const WeightPart *p, size_t stored_row, size_t stored_cols)
{
    size_t elem = dtype_block_bytes(p->dtype);
    const unsigned char *row = p->data;
    switch (p->dtype) {
    case DTYPE_F32:
        return all_finite32(row + stored_row * p->stride * elem, stored_cols);
    case DTYPE_BF16:
        return all_finite16(row + stored_row * p->stride * elem, stored_cols, 0x7f80);
    case DTYPE_F16:
        return all_finite16(row + stored_row * p->stride * elem, stored_cols, 0x7c00);
    default:
        row += stored_row * (p->stride / dtype_block_elems(p->dtype)) * elem;
        return convert_blocks_finite(p->dtype, row, stored_cols / dtype_block_elems(p->dtype));
    }
}

static int check_finite(const Model *m, int layer, Role role, const Binding *b, Error *e)
{
    for (size_t i = 0; i < b->n_parts; i++) {
        const WeightPart *p = &b->parts[i];
        size_t rows = p->transposed ? p->cols : p->rows, cols = p->transposed ? p->rows : p->cols;
        for (size_t r = 0; r < rows; r++) {
            if (row_finite(p, r, cols))
                continue;
            char where[32] = "";
            if (layer >= 0)
                snprintf(where, sizeof where, "layer %d ", layer);
            return error_set(e, STATUS_FAILED,
                             "%s: %sweight %s: stored row %zu holds a NaN or an infinity: expected finite numbers", m->path,
                             where, role_name(role), r);
        }
    }
    return STATUS_OK;
}

/* Prepares one binding at *at, which moves on by its slot bytes. */
static int prepare(const Model *m, const Ops *ops, OpsContext *ctx, int layer, Role role, const Binding *b, bool check,
                   char **at, Weight *out, Error *e)
{
    memset(out, 0, sizeof *out);
    if (!b->n_parts)
        return STATUS_OK;
    int status = check ? check_finite(m, layer, role, b, e) : STATUS_OK;
    if (!status)
        status = ops->weight_prepare(ctx, *at, role_kind(role), b->parts, b->n_parts, out, e);
    if (status)
        return status;
    *at += ops->weight_slot_bytes(role_kind(role), b->parts, b->n_parts);
    for (size_t i = 0; i < b->n_parts; i++) {
        const WeightPart *p = &b->parts[i];
        size_t rows = p->transposed ? p->cols : p->rows, bytes = 0;
        if (dtype_bytes(p->dtype, rows * p->stride, &bytes))
            file_drop_pages(p->data, bytes);
    }
    return STATUS_OK;
}

int model_prepare_layer(const Model *m, const Ops *ops, OpsContext *ctx, int layer, void *slot, bool check, LayerWeights *out,
                        Error *e)
{
    const LayerBindings *b = &m->bindings.layers[layer];
    char *at = slot;
    for (int r = 0; r < ROLE_LAYER_COUNT; r++) {
        int status = prepare(m, ops, ctx, layer, (Role)r, &b->role[r], check, &at, &out->role[r], e);
        if (status)
            return status;
    }
    for (int x = 0; x < n_experts(m, layer); x++) {
        ExpertWeights *expert = &out->experts[x];
        int status = prepare(m, ops, ctx, layer, ROLE_EXPERT_GATE_UP, &b->expert_gate_up[x], check, &at, &expert->gate_up, e);
        if (!status)
            status = prepare(m, ops, ctx, layer, ROLE_EXPERT_DOWN, &b->expert_down[x], check, &at, &expert->down, e);
        if (status)
            return status;
    }
    return STATUS_OK;
}

static int prepare_roles(const Model *m, const Ops *ops, OpsContext *ctx, const Role *roles, int n, void *slot,
                         Weight *const *out, Error *e)
{
    char *at = slot;
    for (int i = 0; i < n; i++) {
        int status = prepare(m, ops, ctx, -1, roles[i], &m->bindings.role[roles[i]], true, &at, out[i], e);
        if (status)
            return status;
    }
    return STATUS_OK;
}

int model_prepare_head(const Model *m, const Ops *ops, OpsContext *ctx, void *slot, HeadWeights *out, Error *e)
{
    Weight *const weights[N_HEAD_ROLES] = {&out->final_norm, &out->final_norm_bias, &out->project_out, &out->head,
                                           &out->head_bias};
    return prepare_roles(m, ops, ctx, head_roles, N_HEAD_ROLES, slot, weights, e);
}

int model_prepare_final_norm(const Model *m, const Ops *ops, OpsContext *ctx, void *slot, HeadWeights *out, Error *e)
{
    Weight *const weights[N_FINAL_NORM_ROLES] = {&out->final_norm, &out->final_norm_bias};
    return prepare_roles(m, ops, ctx, head_roles, N_FINAL_NORM_ROLES, slot, weights, e);
}

int model_prepare_embed(const Model *m, const Ops *ops, OpsContext *ctx, void *slot, EmbedWeights *out, Error *e)
{
    Weight *const weights[N_EMBED_ROLES] = {&out->project_in, &out->norm, &out->norm_bias};
    return prepare_roles(m, ops, ctx, embed_roles, N_EMBED_ROLES, slot, weights, e);
}

static double binding_elems(const Binding *b)
{
    double n = 0;
    for (size_t i = 0; i < b->n_parts; i++)
        n += (double)b->parts[i].rows * (double)b->parts[i].cols;
    return n;
}

double model_flops_attn(const Model *m, int layer)
{
    const LayerBindings *b = &m->bindings.layers[layer];
    return 2 * (binding_elems(&b->role[ROLE_QKV]) + binding_elems(&b->role[ROLE_O]));
}

double model_flops_scores(const Model *m, int layer, size_t window_tokens)
{
    const ModelTraits *t = &m->traits;
    double n = (double)window_tokens, w = t->layers[layer].window, pairs = n * (n + 1) / 2;
    if (w > 0 && n > w)
        pairs = w * (w + 1) / 2 + (n - w) * w;
    return 4 * pairs * t->n_heads * t->head_dim;
}

double model_flops_mlp(const Model *m, int layer)
{
    const LayerBindings *b = &m->bindings.layers[layer];
    double elems = binding_elems(&b->role[ROLE_GATE_UP]) + binding_elems(&b->role[ROLE_DOWN]) +
                   binding_elems(&b->role[ROLE_SHARED_GATE_UP]) + binding_elems(&b->role[ROLE_SHARED_DOWN]) +
                   binding_elems(&b->role[ROLE_SHARED_GATE]);
    if (n_experts(m, layer))
        elems += binding_elems(&b->role[ROLE_ROUTER]) +
                 m->traits.route.top_k * (binding_elems(&b->expert_gate_up[0]) + binding_elems(&b->expert_down[0]));
    return 2 * elems;
}

double model_flops_head(const Model *m)
{
    return 2 * (binding_elems(&m->bindings.role[ROLE_HEAD]) + binding_elems(&m->bindings.role[ROLE_PROJECT_OUT]));
}

size_t model_parameters(const Model *m)
{
    double n = 0;
    for (int r = ROLE_LAYER_COUNT; r < ROLE_COUNT; r++)
        n += r == ROLE_HEAD && m->traits.tied_embeddings ? 0 : binding_elems(&m->bindings.role[r]);
    for (int l = 0; l < m->traits.n_layers; l++) {
        const LayerBindings *b = &m->bindings.layers[l];
        for (int r = 0; r < ROLE_LAYER_COUNT; r++)
            n += binding_elems(&b->role[r]);
        for (int x = 0; x < n_experts(m, l); x++)
            n += binding_elems(&b->expert_gate_up[x]) + binding_elems(&b->expert_down[x]);
    }
    return (size_t)n;
}
