/* web_model.c: see web_model.h. A model's folder may hold strata.json, which tells what a reader should know of it:
 *   {"context_trained": 256, "languages": ["en"], "about": {"en": "...", "ja": "..."}, "text": "a first sentence", "order": "0-4,6-11"}
 * Every key may be absent; a file that cannot be read so is an error that names it. */
#include "tools/web/web_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/strata.h"

static const double SMALL_PARAMETERS = 3e8;

typedef struct Card {
    StrBuf text;
    Arena arena;
    const JsonValue *root; /* NULL: there is none */
} Card;

static int read_card(const Workbench *b, Card *card, Error *e)
{
    char *path = file_is_dir(b->path.path) ? file_join(b->path.path, "strata.json") : NULL;
    int status = STATUS_OK;
    if (path && file_exists(path)) {
        status = file_read(path, 1 << 20, &card->text, e);
        if (!status)
            status = json_parse(card->text.data, card->text.len, path, &card->arena, &card->root, e);
        if (!status && card->root->kind != JSON_OBJECT)
            status = error_set(e, STATUS_FAILED, "%s: expected an object", path);
    }
    free(path);
    return status;
}

static void field_text(StrBuf *out, const char *name, const JsonValue *v, const char *otherwise)
{
    strbuf_json_field(out, name);
    if (v && v->kind == JSON_STRING)
        strbuf_json_string(out, v->string, v->len);
    else if (otherwise)
        strbuf_json_string(out, otherwise, strlen(otherwise));
    else
        strbuf_puts(out, "null");
}

static void field_bool(StrBuf *out, const char *name, bool value)
{
    strbuf_json_field(out, name);
    strbuf_puts(out, value ? "true" : "false");
}

static const char *mlp_name(MlpKind kind)
{
    return kind == MLP_GATED ? "gated" : kind == MLP_PLAIN ? "plain" : "mixture";
}

static void write_traits(const Workbench *b, StrBuf *out)
{
    static const char *const places[] = {"pre", "post", "both", "after"};
    static const char *const activations[] = {"silu", "gelu (tanh)", "gelu", "relu", "relu squared"};
    const ModelTraits *t = &b->model.traits;
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"n_layers", t->n_layers},
                   {"d_model", (double)t->d_model},
                   {"n_heads", t->n_heads},
                   {"n_kv_heads", t->n_kv_heads},
                   {"head_dim", t->head_dim},
                   {"d_ff", (double)t->d_ff},
                   {"d_expert", (double)t->d_expert},
                   {"d_shared", (double)t->d_shared},
                   {"vocab", (double)t->vocab},
                   {"max_positions", t->max_positions},
                   {"n_experts", t->route.n_experts},
                   {"top_k", t->route.top_k},
                   {"parameters", (double)model_parameters(&b->model)}};
    strbuf_puts(out, "{\"name\": ");
    strbuf_json_string(out, b->path.name, strlen(b->path.name));
    strbuf_json_field_text(out, "type", t->model_type);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        strbuf_json_field_number(out, numbers[i].name, numbers[i].value);
    field_bool(out, "parallel_residual", t->residual == RESIDUAL_PARALLEL);
    strbuf_json_field_text(out, "norm", t->norm_kind == NORM_RMS ? "rms" : "layer");
    strbuf_json_field_text(out, "norm_place", places[t->norm_place]);
    field_bool(out, "one_norm", t->one_norm);
    field_bool(out, "final_norm", t->final_norm);
    field_bool(out, "qk_norm", t->qk_norm != QK_NORM_NONE);
    strbuf_json_field_text(out, "activation", activations[t->activation]);
    strbuf_json_field_text(out, "positions",
                           t->n_ropes             ? "rope"
                           : t->alibi_slopes      ? "alibi"
                           : t->learned_positions ? "learned"
                                                  : "none");
    field_bool(out, "tied_embeddings", t->tied_embeddings);
    strbuf_json_field_text(out, "mlp", mlp_name(t->n_layers ? t->layers[0].mlp : MLP_GATED));
    field_bool(out, "bos", b->bos);
    if (b->bos_id >= 0)
        strbuf_json_field_number(out, "bos_id", b->bos_id);
    else
        strbuf_json_field_text(out, "bos_id", NULL);
    field_bool(out, "tokenizer", b->tokenizer != NULL);
    strbuf_puts(out, ", \"windows\": [");
    for (int l = 0; l < t->n_layers; l++)
        strbuf_printf(out, "%s%d", l ? ", " : "", t->layers[l].window);
    strbuf_puts(out, "], \"layer_mlp\": [");
    for (int l = 0; l < t->n_layers; l++)
        strbuf_printf(out, "%s\"%s\"", l ? ", " : "", mlp_name(t->layers[l].mlp));
    strbuf_puts(out, "]}");
}

/* The order a page opens with: one layer of the middle removed. */
static void default_order(int n_layers, char *out, size_t room)
{
    int gone = n_layers * 5 / 12;
    if (n_layers < 3)
        snprintf(out, room, "0-%d", n_layers - 1);
    else
        snprintf(out, room, gone > 1 ? "0-%d,%d-%d" : "%d,%d-%d", gone - 1, gone + 1, n_layers - 1);
}

static void write_card(const Workbench *b, const JsonValue *card, StrBuf *out)
{
    const ModelTraits *t = &b->model.traits;
    const JsonValue *trained = json_get(card, "context_trained"), *languages = json_get(card, "languages");
    const JsonValue *about = json_get(card, "about");
    char order[64];
    default_order(t->n_layers, order, sizeof order);
    strbuf_puts(out, ", \"defaults\": {\"text\": ");
    const JsonValue *text = json_get(card, "text");
    const char *plain = "The captain of the ship looked at the sea and said that the wind would soon change.";
    strbuf_json_string(out, json_text(text) ? json_text(text) : plain, strlen(json_text(text) ? json_text(text) : plain));
    field_text(out, "order", json_get(card, "order"), order);
    double parameters = (double)model_parameters(&b->model);
    strbuf_printf(out, "}, \"small_model\": {\"is_small\": %s", parameters < SMALL_PARAMETERS ? "true" : "false");
    strbuf_json_field_number(out, "context_trained",
                             trained && trained->kind == JSON_NUMBER ? trained->number : t->max_positions);
    strbuf_puts(out, ", \"languages\": ");
    if (languages && languages->kind == JSON_ARRAY) {
        strbuf_putc(out, '[');
        for (size_t i = 0; i < languages->len; i++) {
            const char *name = json_text(&languages->items[i]);
            strbuf_puts(out, i ? ", " : "");
            strbuf_json_string(out, name ? name : "", name ? strlen(name) : 0);
        }
        strbuf_putc(out, ']');
    } else {
        strbuf_puts(out, "null");
    }
    char en[256], ja[256];
    snprintf(en, sizeof en, "This model has %.0f million parameters: it writes plausible text and knows little.",
             parameters * 1e-6);
    snprintf(ja, sizeof ja, "このモデルのパラメータは%.0f百万個です。もっともらしい文は書けますが、知識はわずかです。",
             parameters * 1e-6);
    bool small = parameters < SMALL_PARAMETERS;
    strbuf_puts(out, ", \"text\": {\"en\": ");
    const JsonValue *about_en = json_get(about, "en"), *about_ja = json_get(about, "ja");
    const char *said_en = json_text(about_en) ? json_text(about_en) : small ? en : NULL;
    const char *said_ja = json_text(about_ja) ? json_text(about_ja) : small ? ja : NULL;
    said_en ? strbuf_json_string(out, said_en, strlen(said_en)) : strbuf_puts(out, "null");
    strbuf_json_field_text(out, "ja", said_ja);
    strbuf_puts(out, "}}");
}

static const char *language(void)
{
    static const char *const names[] = {"LC_ALL", "LC_MESSAGES", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value && value[0])
            return strncmp(value, "ja", 2) == 0 ? "ja" : strncmp(value, "en", 2) == 0 ? "en" : NULL;
    }
    return NULL;
}

int web_model_json(const WebFacts *facts, const WebLimits *limits, StrBuf *out, Error *e)
{
    const Workbench *b = facts->bench;
    Card card = {0};
    int status = b ? read_card(b, &card, e) : STATUS_OK;
    if (!status) {
        strbuf_puts(out, "{\"version\": ");
        strbuf_json_string(out, strata_version(), strlen(strata_version()));
        strbuf_json_field(out, "model");
        if (b)
            write_traits(b, out);
        else
            strbuf_puts(out, "null");
        strbuf_puts(out, ", \"arithmetic\": ");
        if (b) {
            strbuf_puts(out, "{\"numerics\": ");
            strbuf_json_string(out, b->numerics, strlen(b->numerics));
            strbuf_json_field_text(out, "dtype", b->dtype);
            strbuf_json_field_text(out, "device", b->device);
            strbuf_printf(out, ", \"threads\": %d", pool_threads(b->session.pool));
            strbuf_json_field_text(out, "ops", b->session.ops->name);
            strbuf_putc(out, '}');
        } else {
            strbuf_puts(out, "null");
        }
        strbuf_printf(
            out,
            ", \"limits\": {\"text_bytes\": %zu, \"tokens\": %zu, \"class\": %d, \"read_only\": %s, \"body_bytes\": 65536, "
            "\"top\": %d}",
            limits->text_bytes, limits->tokens, facts->class_size, facts->read_only ? "true" : "false", LAB_TOP);
        if (b)
            write_card(b, card.root, out);
        else
            strbuf_puts(out, ", \"defaults\": null, \"small_model\": null");
        strbuf_json_field_text(out, "lang", language());
        field_bool(out, "results", true);
        field_bool(out, "live", facts->live);
        strbuf_puts(out, "}\n");
        if (out->failed)
            status = error_set(e, STATUS_FAILED, "serve: out of memory");
    }
    strbuf_free(&card.text);
    arena_free(&card.arena);
    return status;
}
