/* audit_list.c: which operations a model has, from its traits, and the recorded arrays each reads and writes. Names are those of
 * tools/dump_hf.py; experiments/audit_tap.c records the same of our own tables. */
#include <stdio.h>
#include <string.h>

#include "experiments/audit_ops.h"

typedef struct Builder {
    const AuditInputs *in;
    AuditOps *ops;
    size_t cap;
    int layer;
} Builder;

static void full_name(int layer, const char *name, char out[AUDIT_NAME_MAX])
{
    if (layer < 0)
        snprintf(out, AUDIT_NAME_MAX, "%s", name);
    else
        snprintf(out, AUDIT_NAME_MAX, "L%d.%s", layer, name);
}

static const AuditTensor *find(const Builder *b, const char *name)
{
    char full[AUDIT_NAME_MAX];
    full_name(b->layer, name, full);
    return audit_record_find(b->in->record, full);
}

static void push(Builder *b, const AuditOp *op, bool whole, const char *out)
{
    AuditOps *o = b->ops;
    if (whole && o->n < b->cap)
        o->ops[o->n++] = *op;
    else if (o->n_absent++ == 0)
        full_name(b->layer, out, o->first_absent);
}

/* Adds op when all it needs was recorded with the columns expected; else it counts as absent. */
static void add(Builder *b, AuditOp op, const char *out, size_t cols, const char *const *in, const size_t *in_cols, size_t n_in)
{
    op.layer = b->layer;
    op.out = find(b, out);
    bool whole = op.out && op.out->cols == cols;
    for (size_t i = 0; i < n_in; i++) {
        op.in[i] = find(b, in[i]);
        whole = whole && op.in[i] && op.in[i]->cols == in_cols[i];
    }
    push(b, &op, whole, out);
}

static void add_one(Builder *b, AuditOp op, const char *out, size_t cols, const char *in, size_t in_cols)
{
    add(b, op, out, cols, &in, &in_cols, 1);
}

static void add_sum(Builder *b, const char *out, const char *x, const char *y)
{
    size_t d = b->in->model->traits.d_model;
    add(b, (AuditOp){.kind = AUDIT_ADD}, out, d, (const char *const[]){x, y}, (const size_t[]){d, d}, 2);
}

static void list_queries_keys(Builder *b, const char **queries, const char **keys, size_t q, size_t kv)
{
    const ModelTraits *t = &b->in->model->traits;
    bool heads = t->qk_norm == QK_NORM_HEAD;
    AuditOp norm = {.kind = AUDIT_NORM,
                    .weight = ROLE_Q_NORM,
                    .bias = ROLE_Q_NORM_BIAS,
                    .qk = true,
                    .group = heads ? (size_t)t->head_dim : q};
    add_one(b, norm, "attn.q_norm", q, *queries, q);
    norm.weight = ROLE_K_NORM;
    norm.bias = ROLE_K_NORM_BIAS;
    norm.group = heads ? (size_t)t->head_dim : kv;
    add_one(b, norm, "attn.k_norm", kv, *keys, kv);
    *queries = "attn.q_norm";
    *keys = "attn.k_norm";
}

static void list_attention(Builder *b, const char *normed)
{
    const ModelTraits *t = &b->in->model->traits;
    size_t d = t->d_model, dh = (size_t)t->head_dim, q = (size_t)t->n_heads * dh, kv = (size_t)t->n_kv_heads * dh;
    AuditOp linear = {.kind = AUDIT_LINEAR, .weight = ROLE_QKV, .bias = ROLE_QKV_BIAS};
    add_one(b, linear, "attn.q_proj", q, normed, d);
    linear.first_row = q;
    add_one(b, linear, "attn.k_proj", kv, normed, d);
    linear.first_row = q + kv;
    add_one(b, linear, "attn.v_proj", kv, normed, d);
    const char *queries = "attn.q_proj", *keys = "attn.k_proj";
    if (t->qk_norm != QK_NORM_NONE)
        list_queries_keys(b, &queries, &keys, q, kv);
    AuditOp mix = {.kind = AUDIT_MIX, .rotated = t->layers[b->layer].rope < 0};
    if (find(b, "attn.q_rot") && find(b, "attn.k_rot")) { /* a layer without rotation hands them through */
        add_one(b, (AuditOp){.kind = AUDIT_ROPE, .n_heads = t->n_heads}, "attn.q_rot", q, queries, q);
        add_one(b, (AuditOp){.kind = AUDIT_ROPE, .n_heads = t->n_kv_heads}, "attn.k_rot", kv, keys, kv);
        mix.rotated = mix.clipped = true;
        queries = "attn.q_rot";
        keys = "attn.k_rot";
    }
    add(b, mix, "attn.mix", q, (const char *const[]){queries, keys, "attn.v_proj"}, (const size_t[]){q, kv, kv}, 3);
}

/* The last projection of a half into `out`; where a kernel adds it to the residual at once, only the sum was recorded. */
static bool list_projection(Builder *b, Role weight, Role bias, const char *out, const char *x, size_t cols, const char *sum,
                            const char *before)
{
    size_t d = b->in->model->traits.d_model;
    AuditOp linear = {.kind = AUDIT_LINEAR, .weight = weight, .bias = bias};
    if (!find(b, out) && find(b, sum)) {
        add(b, linear, sum, d, (const char *const[]){x, before}, (const size_t[]){cols, d}, 2);
        return true;
    }
    add_one(b, linear, out, d, x, cols);
    return false;
}

static const char *list_gated(Builder *b, AuditOp linear, const char *const names[3], const char *normed, size_t f)
{
    size_t d = b->in->model->traits.d_model;
    add_one(b, linear, names[0], f, normed, d);
    linear.first_row = f;
    add_one(b, linear, names[1], f, normed, d);
    add(b, (AuditOp){.kind = AUDIT_ACT}, names[2], f, names, (const size_t[]){f, f}, 2);
    return names[2];
}

static void list_mixture(Builder *b, const char *normed)
{
    const ModelTraits *t = &b->in->model->traits;
    size_t d = t->d_model, experts = (size_t)t->route.n_experts, f = t->d_shared;
    static const char *const shared[] = {"mlp.shared_gate_proj", "mlp.shared_up_proj", "mlp.shared_act"};
    add_one(b, (AuditOp){.kind = AUDIT_LINEAR, .weight = ROLE_ROUTER, .bias = ROLE_COUNT}, "mlp.router", experts, normed, d);
    add(b, (AuditOp){.kind = AUDIT_MOE}, f ? "mlp.experts" : "mlp.moe", d, (const char *const[]){normed, "mlp.router"},
        (const size_t[]){d, experts}, 2);
    if (!f)
        return;
    AuditOp linear = {.kind = AUDIT_LINEAR, .weight = ROLE_SHARED_GATE_UP, .bias = ROLE_COUNT};
    list_gated(b, linear, shared, normed, f);
    linear.weight = ROLE_SHARED_DOWN;
    add_one(b, linear, "mlp.shared_down_proj", d, "mlp.shared_act", f);
    linear.weight = ROLE_SHARED_GATE;
    if (t->shared_gate)
        add_one(b, linear, "mlp.shared_gate", 1, normed, d);
    add(b, (AuditOp){.kind = AUDIT_GATE}, "mlp.moe", d,
        (const char *const[]){"mlp.experts", "mlp.shared_down_proj", "mlp.shared_gate"}, (const size_t[]){d, d, 1},
        t->shared_gate ? 3 : 2);
}

/* True where the residual sum is part of the last projection. */
static bool list_mlp(Builder *b, const char *normed, const char *before)
{
    static const char *const names[] = {"mlp.gate_proj", "mlp.up_proj", "mlp.act"};
    const ModelTraits *t = &b->in->model->traits;
    AuditOp linear = {.kind = AUDIT_LINEAR, .weight = ROLE_GATE_UP, .bias = ROLE_GATE_UP_BIAS};
    switch (t->layers[b->layer].mlp) {
    case MLP_MOE:
        list_mixture(b, normed);
        return false;
    case MLP_GATED:
        list_gated(b, linear, names, normed, t->d_ff);
        break;
    case MLP_PLAIN:
        add_one(b, linear, names[1], t->d_ff, normed, t->d_model);
        add_one(b, (AuditOp){.kind = AUDIT_ACT}, names[2], t->d_ff, names[1], t->d_ff);
        break;
    }
    return list_projection(b, ROLE_DOWN, ROLE_DOWN_BIAS, "mlp.down_proj", names[2], t->d_ff, "resid_post", before);
}

/* What a layer begins with is what came before it. */
static void list_entry(Builder *b)
{
    char before[AUDIT_NAME_MAX];
    full_name(b->layer - 1, b->layer ? "resid_post" : "embed", before);
    AuditOp op = {.kind = AUDIT_COPY, .layer = b->layer, .out = find(b, "resid_pre")};
    op.in[0] = audit_record_find(b->in->record, before);
    push(b, &op, op.out && op.in[0] && op.out->cols == op.in[0]->cols, "resid_pre");
}

/* A half's end: the norm of its output and the sum, in the order of the model's NormPlace. */
static void list_sum(Builder *b, bool mlp, const char *before, const char *branch, bool fused)
{
    const ModelTraits *t = &b->in->model->traits;
    const char *out = mlp ? "resid_post" : "resid_mid", *normed = mlp ? "mlp_post_norm" : "attn_post_norm";
    AuditOp norm = {.kind = AUDIT_NORM, .group = t->d_model};
    bool after = t->norm_place == NORM_AFTER;
    norm.weight = after ? mlp ? ROLE_MLP_NORM : ROLE_ATTN_NORM : mlp ? ROLE_MLP_POST_NORM : ROLE_ATTN_POST_NORM;
    norm.bias = (Role)(norm.weight + 1);
    if (after) {
        add_sum(b, mlp ? "mlp.sum" : "attn.sum", before, branch);
        add_one(b, norm, out, t->d_model, mlp ? "mlp.sum" : "attn.sum", t->d_model);
        return;
    }
    if (t->norm_place == NORM_POST || t->norm_place == NORM_BOTH) {
        add_one(b, norm, normed, t->d_model, branch, t->d_model);
        branch = normed;
    }
    if (!fused)
        add_sum(b, out, before, branch);
}

static void list_layer(Builder *b)
{
    const ModelTraits *t = &b->in->model->traits;
    size_t d = t->d_model, q = (size_t)t->n_heads * (size_t)t->head_dim;
    bool parallel = t->residual == RESIDUAL_PARALLEL, before = t->norm_place == NORM_PRE || t->norm_place == NORM_BOTH;
    const char *mlp_out = t->layers[b->layer].mlp == MLP_MOE ? "mlp.moe" : "mlp.down_proj";
    const char *attn_in = before ? "attn_norm" : "resid_pre", *mlp_in = "resid_mid",
               *mid = parallel ? "resid_pre" : "resid_mid";
    AuditOp norm = {.kind = AUDIT_NORM, .weight = ROLE_ATTN_NORM, .bias = ROLE_ATTN_NORM_BIAS, .group = d};
    list_entry(b);
    if (before)
        add_one(b, norm, attn_in, d, "resid_pre", d);
    list_attention(b, attn_in);
    bool fused =
        list_projection(b, ROLE_O, ROLE_O_BIAS, "attn.o_proj", "attn.mix", q, parallel ? "" : "resid_mid", "resid_pre");
    if (!parallel)
        list_sum(b, false, "resid_pre", "attn.o_proj", fused);
    norm.weight = ROLE_MLP_NORM;
    norm.bias = ROLE_MLP_NORM_BIAS;
    if (before && !(parallel && t->one_norm)) {
        mlp_in = "mlp_norm";
        add_one(b, norm, mlp_in, d, mid, d);
    } else if (parallel) {
        mlp_in = attn_in;
    }
    fused = list_mlp(b, mlp_in, mid);
    if (!parallel) {
        list_sum(b, true, "resid_mid", mlp_out, fused);
    } else if (find(b, "resid_mid")) { /* ours adds one branch after the other */
        add_sum(b, "resid_mid", "resid_pre", "attn.o_proj");
        add_sum(b, "resid_post", "resid_mid", mlp_out);
    } else {
        add(b, (AuditOp){.kind = AUDIT_ADD}, "resid_post", d, (const char *const[]){"resid_pre", "attn.o_proj", mlp_out},
            (const size_t[]){d, d, d}, 3);
    }
}

/* Tokens looked up; where the model has them: projected to the stream's width, positions added, normed. */
static void list_embedding(Builder *b)
{
    const ModelTraits *t = &b->in->model->traits;
    size_t d = t->d_model, width = traits_embed_width(t);
    const char *sum = t->embed_norm ? "embed_sum" : "embed", *projected = t->learned_positions ? "embed_in" : sum;
    if (t->d_embed) {
        add(b, (AuditOp){.kind = AUDIT_EMBED, .no_positions = true}, "embed_tokens", width, NULL, NULL, 0);
        add_one(b, (AuditOp){.kind = AUDIT_LINEAR, .weight = ROLE_PROJECT_IN, .bias = ROLE_COUNT}, projected, d, "embed_tokens",
                width);
        if (t->learned_positions)
            add_one(b, (AuditOp){.kind = AUDIT_EMBED}, sum, d, projected, d);
    } else {
        add(b, (AuditOp){.kind = AUDIT_EMBED}, sum, d, NULL, NULL, 0);
    }
    if (t->embed_norm)
        add_one(b, (AuditOp){.kind = AUDIT_NORM, .weight = ROLE_EMBED_NORM, .bias = ROLE_EMBED_NORM_BIAS, .group = d}, "embed",
                d, sum, d);
}

int audit_ops_list(const AuditInputs *in, Arena *arena, AuditOps *out, Error *e)
{
    const ModelTraits *t = &in->model->traits;
    enum { MOST_OF_A_LAYER = 32, MOST_OUTSIDE = 8 };
    Builder b = {.in = in, .ops = out, .layer = -1, .cap = (size_t)t->n_layers * MOST_OF_A_LAYER + MOST_OUTSIDE};
    memset(out, 0, sizeof *out);
    out->ops = arena_array(arena, b.cap, sizeof *out->ops);
    if (!out->ops)
        return error_set(e, STATUS_FAILED, "audit: out of memory for the operations of %d layers", t->n_layers);
    list_embedding(&b);
    for (b.layer = 0; b.layer < t->n_layers; b.layer++)
        list_layer(&b);
    char last[AUDIT_NAME_MAX];
    const char *x = last;
    full_name(t->n_layers - 1, "resid_post", last);
    b.layer = -1;
    if (t->final_norm) {
        add_one(&b, (AuditOp){.kind = AUDIT_NORM, .weight = ROLE_FINAL_NORM, .bias = ROLE_FINAL_NORM_BIAS, .group = t->d_model},
                "final_norm", t->d_model, x, t->d_model);
        x = "final_norm";
    }
    if (t->d_embed) {
        add_one(&b, (AuditOp){.kind = AUDIT_LINEAR, .weight = ROLE_PROJECT_OUT, .bias = ROLE_COUNT}, "project_out", t->d_embed,
                x, t->d_model);
        x = "project_out";
    }
    add_one(&b, (AuditOp){.kind = AUDIT_LINEAR, .weight = ROLE_HEAD, .bias = ROLE_HEAD_BIAS}, "logits", t->vocab, x,
            traits_embed_width(t));
    if (out->n == 0)
        return error_set(e, STATUS_FAILED, "audit: the record holds no operation of %s", in->model->path);
    return STATUS_OK;
}
