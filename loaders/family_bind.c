/* family_bind.c: binding the tensors that a family's table names to the roles of the forward pass, each by exact name, shape and dtype. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "loaders/family.h"

enum { MAX_TENSOR_NAME = 256, MAX_COUNTED = 1000 };

/* -- names -- */

/* Writes a rule's name for a layer and an expert, or head; false when it does not fit. */
static bool write_name(const char *pattern, const char *prefix, int layer, int expert, char out[MAX_TENSOR_NAME])
{
    size_t n = 0;
    if (*pattern == '~') {
        n = strlen(prefix);
        memcpy(out, prefix, n); /* a family's prefix is short */
        pattern++;
    }
    for (const char *p = pattern; *p;) {
        if (n + 16 >= MAX_TENSOR_NAME)
            return false;
        if (strncmp(p, "{l}", 3) == 0 || strncmp(p, "{x}", 3) == 0 || strncmp(p, "{h}", 3) == 0) {
            n += (size_t)snprintf(out + n, MAX_TENSOR_NAME - n, "%d", p[1] == 'l' ? layer : expert);
            p += 3;
        } else {
            out[n++] = *p++;
        }
    }
    out[n] = '\0';
    return true;
}

static const Tensor *find(const TensorFile *f, const char *pattern, const char *prefix, int layer, int expert)
{
    char name[MAX_TENSOR_NAME];
    return write_name(pattern, prefix, layer, expert, name) ? tensor_file_find(f, name) : NULL;
}

/* The layout and prefix whose probe is in the file, in whichever layer; the first of each when none is. */
static const TensorLayout *choose_layout(const Family *family, const TensorFile *f, int n_layers, const char **prefix)
{
    for (size_t i = 0; i < family->n_layouts; i++) {
        const char *const prefixes[] = {family->prefix, ""};
        for (int p = 0; p < 2; p++) {
            for (int l = 0; l < n_layers && (size_t)l < f->n_tensors; l++) {
                if (find(f, family->layouts[i].probe, prefixes[p], l, 0)) {
                    *prefix = prefixes[p];
                    return &family->layouts[i];
                }
            }
        }
    }
    *prefix = family->prefix;
    return &family->layouts[0];
}

static const TensorRule *rule_of(const TensorLayout *layout, Role role)
{
    for (size_t i = 0; i < layout->n_rules; i++)
        if (layout->rules[i].role == role)
            return &layout->rules[i];
    return NULL;
}

void family_resolve_tie(const Family *family, const TensorFile *f, ModelTraits *t)
{
    const char *prefix;
    const TensorLayout *layout = choose_layout(family, f, t->n_layers, &prefix);
    const TensorRule *embed_rule = rule_of(layout, ROLE_EMBED), *head_rule = rule_of(layout, ROLE_HEAD);
    if (!t->tied_embeddings || !embed_rule || !head_rule)
        return;
    const Tensor *embed = find(f, embed_rule->name, prefix, 0, 0), *head = find(f, head_rule->name, prefix, 0, 0);
    if (!embed || !head || embed->n_dims != head->n_dims)
        return; /* binding names what is wrong */
    for (int i = 0; i < embed->n_dims; i++)
        if (embed->shape[i] != head->shape[i])
            return;
    bool same = embed->dtype == head->dtype && memcmp(embed->data, head->data, embed->size_bytes) == 0;
    file_drop_pages(embed->data, embed->size_bytes);
    file_drop_pages(head->data, head->size_bytes);
    t->tied_embeddings = same;
}

/* -- shapes, conditions, parts -- */

typedef struct Binder {
    const ModelTraits *traits;
    const TensorFile *file;
    const char *prefix, *path;
    ModelBindings *out;
    bool *used; /* [n_tensors] */
    size_t n_missing, n_misshapen, n_surplus;
    Error *e;
    int status; /* out of memory */
} Binder;

static size_t n_bad(const Binder *b)
{
    return b->n_missing + b->n_misshapen + b->n_surplus;
}

static size_t side_length(const ModelTraits *t, Side side)
{
    size_t q = (size_t)t->n_heads * (size_t)t->head_dim, kv = (size_t)t->n_kv_heads * (size_t)t->head_dim;
    switch (side) {
    case SIDE_D:
        return t->d_model;
    case SIDE_Q:
        return q;
    case SIDE_KV:
        return kv;
    case SIDE_QKV:
        return q + 2 * kv;
    case SIDE_H:
        return (size_t)t->n_heads;
    case SIDE_K:
        return (size_t)t->n_kv_heads;
    case SIDE_DH:
        return (size_t)t->head_dim;
    case SIDE_F:
        return t->d_ff;
    case SIDE_2F:
        return 2 * t->d_ff;
    case SIDE_X:
        return t->d_expert;
    case SIDE_2X:
        return 2 * t->d_expert;
    case SIDE_S:
        return t->d_shared;
    case SIDE_2S:
        return 2 * t->d_shared;
    case SIDE_W:
        return traits_embed_width(t);
    case SIDE_ONE:
        return 1;
    case SIDE_Q_NORM:
        return t->qk_norm == QK_NORM_FULL ? q : (size_t)t->head_dim;
    case SIDE_K_NORM:
        return t->qk_norm == QK_NORM_FULL ? kv : (size_t)t->head_dim;
    case SIDE_V:
        return t->vocab;
    case SIDE_E:
        return (size_t)t->route.n_experts;
    case SIDE_P:
        return (size_t)t->max_positions + (size_t)t->position_offset;
    default:
        return 0;
    }
}

static int n_sides(const TensorRule *rule)
{
    int n = 0;
    while (n < 3 && rule->sides[n] != SIDE_NONE)
        n++;
    return n;
}

static void write_shape(const size_t *shape, int n, char out[64])
{
    size_t at = 0;
    out[at++] = '[';
    for (int i = 0; i < n && at < 40; i++)
        at += (size_t)snprintf(out + at, 64 - at, i ? ", %zu" : "%zu", shape[i]);
    snprintf(out + at, 64 - at, "]");
}

static bool applies(const ModelTraits *t, const TensorRule *rule, int layer)
{
    bool dense = t->layers[layer].mlp != MLP_MOE;
    switch (rule->when) {
    case WHEN_ATTN_BIAS:
        return t->attn_bias;
    case WHEN_ATTN_OUT_BIAS:
        return t->attn_out_bias;
    case WHEN_MLP_BIAS:
        return t->mlp_bias;
    case WHEN_HEAD_BIAS:
        return t->head_bias;
    case WHEN_UNTIED:
        return !t->tied_embeddings;
    case WHEN_NORM_WEIGHT:
        return t->norm_weight;
    case WHEN_NORM_BIAS:
        return t->norm_bias;
    case WHEN_TWO_NORMS:
        return t->norm_weight && !t->one_norm;
    case WHEN_TWO_NORMS_BIAS:
        return t->norm_bias && !t->one_norm;
    case WHEN_ONE_NORM:
        return t->norm_weight && t->one_norm;
    case WHEN_ONE_NORM_BIAS:
        return t->norm_bias && t->one_norm;
    case WHEN_QK_NORM:
        return t->qk_norm != QK_NORM_NONE;
    case WHEN_DENSE:
        return dense;
    case WHEN_DENSE_BIAS:
        return dense && t->mlp_bias;
    case WHEN_MIXTURE:
        return !dense;
    case WHEN_SHARED:
        return !dense && t->d_shared > 0;
    case WHEN_SHARED_GATE:
        return !dense && t->d_shared > 0 && t->shared_gate;
    case WHEN_FINAL_NORM:
        return t->final_norm && t->norm_weight;
    case WHEN_FINAL_NORM_BIAS:
        return t->final_norm && t->norm_bias;
    case WHEN_PROJECTED:
        return t->d_embed > 0;
    case WHEN_LEARNED:
        return t->learned_positions;
    case WHEN_EMBED_NORM:
        return t->embed_norm;
    case WHEN_NORM_BEFORE:
        return t->norm_weight && t->norm_place != NORM_POST;
    case WHEN_NORM_BEFORE_BIAS:
        return t->norm_bias && t->norm_place != NORM_POST;
    case WHEN_TWO_NORMS_BEFORE:
        return t->norm_weight && t->norm_place != NORM_POST && !t->one_norm;
    case WHEN_NORM_BEHIND:
        return t->norm_place == NORM_POST || t->norm_place == NORM_BOTH;
    case WHEN_GATED:
        return t->layers[layer].mlp == MLP_GATED;
    case WHEN_GATED_BIAS:
        return t->layers[layer].mlp == MLP_GATED && t->mlp_bias;
    case WHEN_ALWAYS:
        break;
    }
    return true;
}

/* Checks one tensor against its rule; true when it fits. Reports the first thing wrong in the whole file, counts the others. */
static bool check_tensor(Binder *b, const TensorRule *rule, const Tensor *t)
{
    size_t expected[3];
    int n = n_sides(rule), dropped = n - t->n_dims == 1 && rule->sides[0] == SIDE_ONE; /* a vector may lack its one row */
    bool fits = t->n_dims + dropped == n;
    for (int i = 0; i < n; i++) {
        expected[i] = side_length(b->traits, rule->sides[i]);
        fits = fits && (i < dropped || t->shape[i - dropped] == expected[i]);
    }
    bool plain = dtype_block_elems(t->dtype) == 1;
    /* a block format is never transposed, and its rows are whole blocks */
    bool dtype_fits = dtype_is_weight(t->dtype) &&
                      (plain || (rule->form == FORM_PLAIN && n > 0 && expected[n - 1] % dtype_block_elems(t->dtype) == 0));
    if (fits && dtype_fits)
        return true;
    char want[64], found[64];
    write_shape(expected, n, want);
    write_shape(t->shape, t->n_dims, found);
    if (n_bad(b) == 0 && !fits)
        error_set(b->e, STATUS_FAILED, "%s: tensor %s: expected shape %s, found %s", t->file, t->name, want, found);
    else if (n_bad(b) == 0)
        error_set(b->e, STATUS_FAILED, "%s: tensor %s %s: expected one of " DTYPE_WEIGHT_NAMES "%s, found %s", t->file, t->name,
                  found, rule->form == FORM_PLAIN ? "" : ", unquantised here", dtype_name(t->dtype));
    b->n_misshapen++;
    return false;
}

/* The logical part that a tensor, or its slice for an expert, is. */
static WeightPart part_of(const TensorRule *rule, const Tensor *t, int expert)
{
    int n = t->n_dims;
    size_t inner = t->shape[n - 1], outer = n > 1 ? t->shape[n - 2] : 1;
    WeightPart part = {.data = t->data, .dtype = t->dtype, .rows = outer, .cols = inner, .stride = inner};
    if (rule->form == FORM_TRANSPOSED) {
        part.rows = inner;
        part.cols = outer;
        part.transposed = true;
    }
    if (n == 3)
        part.data = (const char *)t->data + t->size_bytes / t->shape[0] * (size_t)expert;
    return part;
}

/* A vector that the file stores with two sides (gains of each head) is one row. */
static WeightPart vector_part(const TensorRule *rule, WeightPart part)
{
    if (role_kind(rule->role) == WEIGHT_VECTOR && part.rows > 1) {
        part.cols = part.stride = part.rows * part.cols;
        part.rows = 1;
    }
    return part;
}

static void append_part(Binder *b, Binding *binding, WeightPart part)
{
    if (binding->n_parts & (binding->n_parts - 1)) { /* room for the next power of two was taken already */
        binding->parts[binding->n_parts++] = part;
        return;
    }
    WeightPart *parts = arena_array(&b->out->arena, binding->n_parts ? 2 * binding->n_parts : 1, sizeof *parts);
    if (!parts) {
        b->status = error_set(b->e, STATUS_FAILED, "%s: out of memory while binding", b->path);
        return;
    }
    if (binding->n_parts)
        memcpy(parts, binding->parts, binding->n_parts * sizeof *parts);
    parts[binding->n_parts++] = part;
    binding->parts = parts;
}

/* The tensor of a rule, checked; NULL when missing or misshapen. */
static const Tensor *take_tensor(Binder *b, const TensorRule *rule, int layer, int expert)
{
    char name[MAX_TENSOR_NAME];
    const Tensor *t = write_name(rule->name, b->prefix, layer, expert, name) ? tensor_file_find(b->file, name) : NULL;
    if (!t) {
        char want[64];
        size_t expected[3];
        int n = n_sides(rule);
        for (int i = 0; i < n; i++)
            expected[i] = side_length(b->traits, rule->sides[i]);
        write_shape(expected, n, want);
        if (n_bad(b) == 0)
            error_set(b->e, STATUS_FAILED, "%s: tensor %s: expected shape %s, found no such tensor", b->path, name, want);
        b->n_missing++;
        return NULL;
    }
    b->used[t - b->file->tensors] = true;
    return check_tensor(b, rule, t) ? t : NULL;
}

static bool is_expert_role(Role role)
{
    return role == ROLE_EXPERT_GATE_UP || role == ROLE_EXPERT_DOWN;
}

static void bind_experts(Binder *b, const TensorRule *rule, int layer)
{
    LayerBindings *l = &b->out->layers[layer];
    Binding **bindings = rule->role == ROLE_EXPERT_DOWN ? &l->expert_down : &l->expert_gate_up;
    int n_experts = b->traits->route.n_experts;
    const Tensor *fused = NULL;
    if (n_sides(rule) == 3 && !(fused = take_tensor(b, rule, layer, 0)))
        return;
    for (int x = 0; x < n_experts && !b->status && n_bad(b) < MAX_COUNTED; x++) {
        const Tensor *t = fused ? fused : take_tensor(b, rule, layer, x);
        if (!t)
            continue;
        if (!*bindings && !(*bindings = arena_array(&b->out->arena, (size_t)n_experts, sizeof **bindings))) {
            b->status = error_set(b->e, STATUS_FAILED, "%s: out of memory while binding", b->path);
            return;
        }
        append_part(b, &(*bindings)[x], part_of(rule, t, x));
    }
}

/* Appends rows [first, first + n) of a tensor, or elements of a vector. */
static void append_rows(Binder *b, Binding *binding, WeightPart whole, size_t first, size_t n)
{
    WeightPart part = whole;
    bool vector = whole.rows == 1;
    part.data = (const char *)whole.data + first * (vector ? 1 : whole.stride) * dtype_block_bytes(whole.dtype);
    if (vector)
        part.cols = part.stride = n;
    else
        part.rows = n;
    append_part(b, binding, part);
}

/* Queries of all groups, then keys, then values. */
static void append_qkv_groups(Binder *b, Binding *binding, WeightPart whole)
{
    const ModelTraits *t = b->traits;
    size_t dh = (size_t)t->head_dim, queries = (size_t)(t->n_heads / t->n_kv_heads) * dh, group = queries + 2 * dh;
    for (int g = 0; g < t->n_kv_heads && !b->status; g++)
        append_rows(b, binding, whole, (size_t)g * group, queries);
    for (int kv = 0; kv < 2; kv++)
        for (int g = 0; g < t->n_kv_heads && !b->status; g++)
            append_rows(b, binding, whole, (size_t)g * group + queries + (size_t)kv * dh, dh);
}

static void bind_rule(Binder *b, const TensorRule *rule, int layer)
{
    if (is_expert_role(rule->role)) {
        bind_experts(b, rule, layer);
        return;
    }
    Binding *binding = rule->role < ROLE_LAYER_COUNT ? &b->out->layers[layer].role[rule->role] : &b->out->role[rule->role];
    int n_heads = !strstr(rule->name, "{h}") ? 1 : rule->role == ROLE_Q_NORM ? b->traits->n_heads : b->traits->n_kv_heads;
    for (int h = 0; h < n_heads && !b->status && n_bad(b) < MAX_COUNTED; h++) {
        const Tensor *t = take_tensor(b, rule, layer, h);
        if (t && rule->form == FORM_QKV_GROUPS)
            append_qkv_groups(b, binding, part_of(rule, t, 0));
        else if (t)
            append_part(b, binding, vector_part(rule, part_of(rule, t, 0)));
    }
}

/* Marks what a family knows to be redundant, and the head of a tied model. */
static void mark_redundant(Binder *b, const Family *family, const TensorLayout *layout)
{
    for (const char *const *name = family->redundant; *name; name++) {
        bool per_layer = strstr(*name, "{l}") != NULL;
        for (int l = 0; l < (per_layer ? b->traits->n_layers : 1); l++) {
            const Tensor *t = find(b->file, *name, b->prefix, l, 0);
            if (t)
                b->used[t - b->file->tensors] = true;
        }
    }
    const TensorRule *head = rule_of(layout, ROLE_HEAD);
    const Tensor *t = b->traits->tied_embeddings && head ? find(b->file, head->name, b->prefix, 0, 0) : NULL;
    if (t) {
        b->used[t - b->file->tensors] = true;
        check_tensor(b, head, t);
    }
}

/* The embedding's rule; of a tied model that has only the head's tensor, the same under the head's name. */
static TensorRule embed_rule(const Binder *b, const TensorLayout *layout, const TensorRule *rule)
{
    TensorRule chosen = *rule;
    const TensorRule *head = rule_of(layout, ROLE_HEAD);
    if (b->traits->tied_embeddings && head && !find(b->file, rule->name, b->prefix, 0, 0) &&
        find(b->file, head->name, b->prefix, 0, 0))
        chosen.name = head->name;
    return chosen;
}

static void count_surplus(Binder *b)
{
    for (size_t i = 0; i < b->file->n_tensors; i++) {
        const Tensor *t = &b->file->tensors[i];
        if (b->used[i])
            continue;
        char found[64];
        write_shape(t->shape, t->n_dims, found);
        if (n_bad(b) == 0)
            error_set(b->e, STATUS_FAILED, "%s: tensor %s: a %s model has no such tensor, found %s %s", t->file, t->name,
                      b->traits->model_type, dtype_name(t->dtype), found);
        b->n_surplus++;
    }
}

/* Appends the counts to the error that names the first bad tensor. */
static int report(Binder *b)
{
    size_t total = n_bad(b);
    if (total > 1 && b->e) {
        size_t len = strlen(b->e->text);
        snprintf(b->e->text + len, sizeof b->e->text - len, " (in all%s %zu missing, %zu misshapen, %zu surplus)",
                 total >= MAX_COUNTED ? " at least" : "", b->n_missing, b->n_misshapen, b->n_surplus);
    }
    return total ? STATUS_FAILED : STATUS_OK;
}

int family_bind_tensors(const Family *family, const ModelTraits *traits, const TensorFile *tensors, ModelBindings *out,
                        Error *e)
{
    const char *path = tensors->n_maps ? tensors->paths[0] : "model";
    Binder b = {.traits = traits, .file = tensors, .path = path, .out = out, .e = e};
    const TensorLayout *layout = choose_layout(family, tensors, traits->n_layers, &b.prefix);
    /* every layer has a tensor of its own, so a hostile layer count ends here and costs nothing */
    if ((size_t)traits->n_layers > tensors->n_tensors)
        return error_set(e, STATUS_FAILED, "%s: expected tensors of %d layers, found %zu tensors", path, traits->n_layers,
                         tensors->n_tensors);
    b.used = calloc(tensors->n_tensors, sizeof *b.used);
    out->layers = arena_array(&out->arena, (size_t)traits->n_layers, sizeof *out->layers);
    if (!b.used || !out->layers)
        b.status = error_set(e, STATUS_FAILED, "%s: out of memory while binding", path);
    for (size_t i = 0; i < layout->n_rules && !b.status; i++) {
        TensorRule rule = layout->rules[i];
        if (rule.role == ROLE_EMBED)
            rule = embed_rule(&b, layout, &rule);
        int n_layers = rule.role < ROLE_LAYER_COUNT ? traits->n_layers : 1;
        for (int l = 0; l < n_layers && !b.status && n_bad(&b) < MAX_COUNTED; l++)
            if (applies(traits, &rule, l))
                bind_rule(&b, &rule, l);
    }
    if (!b.status) {
        mark_redundant(&b, family, layout);
        count_surplus(&b);
        if (traits->tied_embeddings)
            out->role[ROLE_HEAD] = out->role[ROLE_EMBED];
        b.status = report(&b);
    }
    free(b.used);
    if (b.status)
        family_bindings_free(out);
    return b.status;
}

void family_bindings_free(ModelBindings *b)
{
    if (!b)
        return;
    arena_free(&b->arena);
    *b = (ModelBindings){0};
}
