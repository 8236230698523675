/* audit_tap.c: the recording op table. Operations are told apart by where in a step they stand (its norms, products, sums in the order
 * in which engine/forward.c calls them for the model's traits); the walk says which step of which layer runs. */
#include "experiments/audit_tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/ops.h"

/* How far a step has come. */
typedef enum Stage { STAGE_BEGIN, STAGE_PROJECTED, STAGE_MIXED, STAGE_ATTENDED, STAGE_MLP, STAGE_MLP_DONE } Stage;

/* The context the forward pass hands back to the table: ours, around the wrapped table's. */
struct OpsContext {
    const Ops *ops;
    OpsContext *under;
    const Model *model;
    AuditRecord *record;
    Error *error;
    int status;
    StepKind kind;
    int layer;
    Stage stage;
    int n_ropes, n_head_norms, n_products, n_sums; /* of this step; products of its MLP */
};

static void keep(OpsContext *c, const char *name, View v)
{
    char full[AUDIT_NAME_MAX];
    AuditTensor *t;
    if (c->status)
        return;
    if (c->layer < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "L%d.%s", c->layer, name);
    c->status = audit_record_add(c->record, full, v.rows, v.cols, &t, c->error);
    if (!c->status)
        c->ops->download(c->under, t->v, v);
}

static void keep_columns(OpsContext *c, const char *name, View v, size_t first, size_t n)
{
    keep(c, name, view_cols(v, first, n, dtype_block_bytes(v.dtype)));
}

static void on_step(void *user, StepKind kind, int layer, View in)
{
    OpsContext *c = user;
    c->kind = kind;
    c->layer = layer;
    c->stage = kind == STEP_MLP ? STAGE_MLP : STAGE_BEGIN;
    c->n_ropes = c->n_head_norms = c->n_products = c->n_sums = 0;
    if (kind == STEP_ATTN || kind == STEP_WHOLE)
        keep(c, "resid_pre", in);
}

static const char *embedding_sum(const OpsContext *c)
{
    return c->model->traits.embed_norm ? "embed_sum" : "embed";
}

static void tap_embed(OpsContext *c, View out, const int32_t *ids, const WeightPart *table, float multiplier)
{
    const ModelTraits *t = &c->model->traits;
    c->ops->embed(c->under, out, ids, table, multiplier);
    if (t->d_embed)
        keep(c, "embed_tokens", out);
    else if (!t->learned_positions)
        keep(c, embedding_sum(c), out);
}

static void tap_embed_add(OpsContext *c, View x, const int32_t *positions, const WeightPart *table)
{
    c->ops->embed_add(c->under, x, positions, table);
    keep(c, embedding_sum(c), x);
}

static void tap_norm(OpsContext *c, View out, View x, const NormSpec *spec, const Weight *weight, const Weight *bias)
{
    bool after = c->model->traits.norm_place == NORM_AFTER, mlp = c->kind == STEP_MLP;
    c->ops->norm(c->under, out, x, spec, weight, bias);
    if (c->kind == STEP_ROOT)
        keep(c, "embed", out);
    else if (c->kind == STEP_COMBINE)
        keep(c, "final_norm", out);
    else if (c->stage == STAGE_PROJECTED)
        keep(c, c->n_head_norms++ ? "attn.k_norm" : "attn.q_norm", out);
    else if (c->stage == STAGE_BEGIN)
        keep(c, "attn_norm", out);
    else if ((c->stage == STAGE_MLP && c->n_products == 0) || (c->kind == STEP_WHOLE && c->stage == STAGE_ATTENDED))
        keep(c, "mlp_norm", out);
    else if (after)
        keep(c, mlp ? "resid_post" : "resid_mid", out);
    else
        keep(c, mlp ? "mlp_post_norm" : "attn_post_norm", out);
}

static void keep_projections(OpsContext *c, View y)
{
    const ModelTraits *t = &c->model->traits;
    size_t dh = (size_t)t->head_dim, q = (size_t)t->n_heads * dh, kv = (size_t)t->n_kv_heads * dh;
    keep_columns(c, "attn.q_proj", y, 0, q);
    keep_columns(c, "attn.k_proj", y, q, kv);
    keep_columns(c, "attn.v_proj", y, q + kv, kv);
    c->stage = STAGE_PROJECTED;
}

static void keep_mlp_product(OpsContext *c, View y)
{
    static const char *const of_mixture[] = {"mlp.router", NULL, "mlp.shared_down_proj", "mlp.shared_gate"};
    MlpKind kind = c->model->traits.layers[c->layer].mlp;
    int i = c->n_products++;
    c->stage = STAGE_MLP;
    if (kind == MLP_MOE && i == 1) {
        keep_columns(c, "mlp.shared_gate_proj", y, 0, y.cols / 2);
        keep_columns(c, "mlp.shared_up_proj", y, y.cols / 2, y.cols / 2);
    } else if (kind == MLP_MOE) {
        keep(c, of_mixture[i], y);
    } else if (i == 1) {
        keep(c, "mlp.down_proj", y);
    } else if (kind == MLP_GATED) {
        keep_columns(c, "mlp.gate_proj", y, 0, y.cols / 2);
        keep_columns(c, "mlp.up_proj", y, y.cols / 2, y.cols / 2);
    } else {
        keep(c, "mlp.up_proj", y);
    }
}

static void tap_linear(OpsContext *c, View y, View x, const Weight *w, const Weight *bias)
{
    c->ops->linear(c->under, y, x, w, bias);
    if (c->kind == STEP_ROOT) {
        keep(c, c->model->traits.learned_positions ? "embed_in" : embedding_sum(c), y);
    } else if (c->kind == STEP_COMBINE) {
        keep(c, "project_out", y);
    } else if (c->stage == STAGE_BEGIN) {
        keep_projections(c, y);
    } else if (c->stage == STAGE_MIXED) {
        keep(c, "attn.o_proj", y);
        c->stage = STAGE_ATTENDED;
    } else {
        keep_mlp_product(c, y);
    }
}

static void tap_linear_add(OpsContext *c, View out, View residual, float scale, View x, const Weight *w, const Weight *bias)
{
    c->ops->linear_add(c->under, out, residual, scale, x, w, bias);
    keep(c, c->kind == STEP_MLP ? "resid_post" : "resid_mid", out);
}

static void tap_rope(OpsContext *c, View x, const int32_t *positions, const Weight *cosines, const Weight *sines, int n_heads,
                     int head_dim, int rotary_dims, RopeStyle style)
{
    c->ops->rope(c->under, x, positions, cosines, sines, n_heads, head_dim, rotary_dims, style);
    keep(c, c->n_ropes++ ? "attn.k_rot" : "attn.q_rot", x);
}

static void tap_attention(OpsContext *c, View out, View q, View k, View v, const AttnSeq *seqs, size_t n_seqs,
                          const AttnSpec *spec)
{
    c->ops->attention(c->under, out, q, k, v, seqs, n_seqs, spec);
    keep(c, "attn.mix", out);
    c->stage = STAGE_MIXED;
}

static void keep_activation(OpsContext *c, View out)
{
    keep(c, c->model->traits.layers[c->layer].mlp == MLP_MOE ? "mlp.shared_act" : "mlp.act", out);
}

static void tap_glu(OpsContext *c, View out, View gate, View up, ActKind act)
{
    c->ops->glu(c->under, out, gate, up, act);
    keep_activation(c, out);
}

static void tap_act(OpsContext *c, View out, View x, ActKind act)
{
    c->ops->act(c->under, out, x, act);
    keep_activation(c, out);
}

static void tap_add(OpsContext *c, View out, View a, View b, float scale)
{
    c->ops->add(c->under, out, a, b, scale);
    bool after = c->model->traits.norm_place == NORM_AFTER;
    if (c->kind == STEP_WHOLE)
        keep(c, c->n_sums++ ? "resid_post" : "resid_mid", out);
    else if (c->kind == STEP_MLP)
        keep(c, after ? "mlp.sum" : "resid_post", out);
    else
        keep(c, after ? "attn.sum" : "resid_mid", out);
}

static void tap_add_gated(OpsContext *c, View out, View a, View b, View gate)
{
    c->ops->add_gated(c->under, out, a, b, gate);
    keep(c, "mlp.moe", out);
}

static void tap_moe(OpsContext *c, View out, View x, Routes routes, const ExpertWeights *experts, const RouteSpec *spec,
                    ActKind act)
{
    c->ops->moe(c->under, out, x, routes, experts, spec, act);
    keep(c, c->model->traits.d_shared ? "mlp.experts" : "mlp.moe", out);
}

static void tap_head(OpsContext *c, const HeadArgs *args)
{
    c->ops->head(c->under, args);
    keep(c, "logits", args->logits);
}

/* What is passed on as it is. */
static int pass_alloc(OpsContext *c, size_t bytes, void **out, Error *e)
{
    return c->ops->alloc(c->under, bytes, out, e);
}

static void pass_free(OpsContext *c, void *memory, size_t bytes)
{
    c->ops->free(c->under, memory, bytes);
}

static int pass_sync(OpsContext *c, Error *e)
{
    int status = c->ops->sync(c->under, e);
    return status ? status : c->status; /* a failed record has filled the same error */
}

static void pass_copy(OpsContext *c, View dst, View src)
{
    c->ops->copy(c->under, dst, src);
}

static int pass_prepare(OpsContext *c, void *memory, WeightKind kind, const WeightPart *parts, size_t n, Weight *out, Error *e)
{
    return c->ops->weight_prepare(c->under, memory, kind, parts, n, out, e);
}

static void pass_slot_done(OpsContext *c, void *memory)
{
    c->ops->slot_done(c->under, memory);
}

static void pass_clip(OpsContext *c, View x, float limit)
{
    c->ops->clip(c->under, x, limit); /* exact: the audit clips what it reads */
}

static void pass_mean(OpsContext *c, View out, const View *in, size_t n)
{
    c->ops->mean(c->under, out, in, n);
}

static void pass_route(OpsContext *c, Routes out, View logits, const RouteSpec *spec)
{
    c->ops->route(c->under, out, logits, spec);
}

/* Every entry that the forward pass calls. */
static Ops tap_table(const Ops *under)
{
    Ops t = *under;
    t.alloc = pass_alloc;
    t.free = pass_free;
    t.sync = pass_sync;
    t.copy = pass_copy;
    t.weight_prepare = pass_prepare;
    t.slot_done = pass_slot_done;
    t.embed = tap_embed;
    t.embed_add = tap_embed_add;
    t.norm = tap_norm;
    t.linear = tap_linear;
    t.linear_add = under->linear_add ? tap_linear_add : NULL;
    t.rope = tap_rope;
    t.attention = tap_attention;
    t.glu = tap_glu;
    t.act = tap_act;
    t.add = tap_add;
    t.clip = pass_clip;
    t.add_gated = tap_add_gated;
    t.mean = pass_mean;
    t.route = pass_route;
    t.moe = tap_moe;
    t.head = tap_head;
    return t;
}

double audit_tap_bytes(const Model *m, size_t n)
{
    const ModelTraits *t = &m->traits;
    double attention = (double)t->head_dim * (3.0 * t->n_heads + 4.0 * t->n_kv_heads);
    double mlp = 3.0 * (double)traits_widest_mlp(t), stream = 12.0 * (double)t->d_model;
    return 8.0 * (double)n * ((double)t->vocab + t->n_layers * (attention + mlp + stream));
}

int audit_tap_record(const Session *s, const Ops *ops, const int32_t *ids, size_t n, AuditRecord *out, double *nll, Error *e)
{
    memset(out, 0, sizeof *out);
    out->store = ops->act_dtype;
    out->n_tokens = n;
    out->ids = arena_array(&out->arena, n, sizeof *out->ids);
    if (!out->ids)
        return error_set(e, STATUS_FAILED, "audit: out of memory for %zu ids", n);
    memcpy(out->ids, ids, n * sizeof *ids);
    OpsConfig config = audit_walk_config(s, n);
    struct OpsContext tap = {.ops = ops, .model = s->model, .record = out, .error = e};
    Ops table = tap_table(ops);
    int status = ops->open(&config, &tap.under, e);
    if (status)
        return status;
    AuditWalk walk = {.model = s->model, .ops = &table, .ctx = &tap, .rope = s->rope, .on_step = on_step, .user = &tap};
    status = audit_walk(&walk, ids, n, nll, e);
    ops->close(tap.under);
    return status;
}
