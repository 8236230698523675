/* audit_tap.c: see audit_tap.h. Operations are told apart by where in a step they stand (its norms, products, sums in the order
 * in which engine/forward.c calls them for the model's traits); the walk says which step of which layer runs. */
#include "experiments/audit_tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/op_watch.h"

/* How far a step has come. */
typedef enum Stage { STAGE_BEGIN, STAGE_PROJECTED, STAGE_MIXED, STAGE_ATTENDED, STAGE_MLP, STAGE_MLP_DONE } Stage;

/* What the watcher knows; layer and kind are those of the step that runs. */
typedef struct Tap {
    OpWatch watch;
    const Model *model;
    AuditRecord *record;
    Error *error;
    int status; /* the first failure of the record; nothing is kept behind it */
    StepKind kind;
    int layer;
    Stage stage;
    int n_ropes, n_head_norms, n_products, n_sums; /* of this step; products of its MLP */
} Tap;

static void keep(Tap *c, const char *name, View v)
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
        c->watch.ops.download(c->watch.context, t->v, v);
}

static void keep_columns(Tap *c, const char *name, View v, size_t first, size_t n)
{
    keep(c, name, view_cols(v, first, n, dtype_block_bytes(v.dtype)));
}

static void on_step(void *user, StepKind kind, int layer, View in)
{
    Tap *c = user;
    c->kind = kind;
    c->layer = layer;
    c->stage = kind == STEP_MLP ? STAGE_MLP : STAGE_BEGIN;
    c->n_ropes = c->n_head_norms = c->n_products = c->n_sums = 0;
    if (kind == STEP_ATTN || kind == STEP_WHOLE)
        keep(c, "resid_pre", in);
}

static const char *embedding_sum(const Tap *c)
{
    return c->model->traits.embed_norm ? "embed_sum" : "embed";
}

static void keep_embedding(Tap *c, View out)
{
    const ModelTraits *t = &c->model->traits;
    if (t->d_embed)
        keep(c, "embed_tokens", out);
    else if (!t->learned_positions)
        keep(c, embedding_sum(c), out);
}

static void keep_norm(Tap *c, View out)
{
    bool after = c->model->traits.norm_place == NORM_AFTER, mlp = c->kind == STEP_MLP;
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

static void keep_projections(Tap *c, View y)
{
    const ModelTraits *t = &c->model->traits;
    size_t dh = (size_t)t->head_dim, q = (size_t)t->n_heads * dh, kv = (size_t)t->n_kv_heads * dh;
    keep_columns(c, "attn.q_proj", y, 0, q);
    keep_columns(c, "attn.k_proj", y, q, kv);
    keep_columns(c, "attn.v_proj", y, q + kv, kv);
    c->stage = STAGE_PROJECTED;
}

static void keep_mlp_product(Tap *c, View y)
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

static void keep_product(Tap *c, View y)
{
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

static void keep_sum(Tap *c, View out)
{
    bool after = c->model->traits.norm_place == NORM_AFTER;
    if (c->kind == STEP_WHOLE)
        keep(c, c->n_sums++ ? "resid_post" : "resid_mid", out);
    else if (c->kind == STEP_MLP)
        keep(c, after ? "mlp.sum" : "resid_post", out);
    else
        keep(c, after ? "attn.sum" : "resid_mid", out);
}

static void on_op(void *user, const OpCall *call)
{
    Tap *c = user;
    View out = call->out;
    switch (call->kind) {
    case OP_EMBED:
        keep_embedding(c, out);
        break;
    case OP_EMBED_ADD:
        keep(c, embedding_sum(c), out);
        break;
    case OP_NORM:
        keep_norm(c, out);
        break;
    case OP_LINEAR:
        keep_product(c, out);
        break;
    case OP_LINEAR_ADD:
        keep(c, c->kind == STEP_MLP ? "resid_post" : "resid_mid", out);
        break;
    case OP_ROPE:
        keep(c, c->n_ropes++ ? "attn.k_rot" : "attn.q_rot", out);
        break;
    case OP_ATTENTION:
        keep(c, "attn.mix", out);
        c->stage = STAGE_MIXED;
        break;
    case OP_GLU:
    case OP_ACT:
        keep(c, c->model->traits.layers[c->layer].mlp == MLP_MOE ? "mlp.shared_act" : "mlp.act", out);
        break;
    case OP_ADD:
        keep_sum(c, out);
        break;
    case OP_ADD_GATED:
        keep(c, "mlp.moe", out);
        break;
    case OP_CLIP:  /* exact: the audit clips what it reads */
    case OP_ROUTE: /* and chooses from the logits it reads */
        break;
    case OP_MOE:
        keep(c, c->model->traits.d_shared ? "mlp.experts" : "mlp.moe", out);
        break;
    case OP_HEAD:
        keep(c, "logits", out);
        break;
    }
}

double audit_tap_bytes(const Model *m, size_t n)
{
    const ModelTraits *t = &m->traits;
    double attention = (double)t->head_dim * (3.0 * t->n_heads + 4.0 * t->n_kv_heads);
    double mlp = 3.0 * (double)traits_widest_mlp(t), stream = 12.0 * (double)t->d_model;
    return 8.0 * (double)n * ((double)t->vocab + t->n_layers * (attention + mlp + stream));
}

int audit_tap_record(const Session *s, const Ops *ops, const int32_t *ids, size_t n, const volatile sig_atomic_t *stop,
                     AuditRecord *out, double *nll, Error *e)
{
    memset(out, 0, sizeof *out);
    out->store = ops->act_dtype;
    out->n_tokens = n;
    out->ids = arena_array(&out->arena, n, sizeof *out->ids);
    if (!out->ids)
        return error_set(e, STATUS_FAILED, "audit: out of memory for %zu ids", n);
    memcpy(out->ids, ids, n * sizeof *ids);
    OpsConfig config = audit_walk_config(s, n);
    Tap tap = {.model = s->model, .record = out, .error = e};
    int status = op_watch_open(ops, &config, true, &tap.watch, e);
    if (status)
        return status;
    op_watch_set(&tap.watch, &(OpWatcher){.after = on_op, .user = &tap});
    AuditWalk walk = {.model = s->model,
                      .ops = &tap.watch.ops,
                      .ctx = tap.watch.context,
                      .rope = s->rope,
                      .on_step = on_step,
                      .user = &tap,
                      .stop = stop};
    status = audit_walk(&walk, ids, n, nll, e);
    op_watch_close(&tap.watch);
    return status ? status : tap.status; /* of a failed record, which has filled e */
}
