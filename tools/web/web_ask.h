/* web_ask.h: one live request of the JSON API (tools/web/API.md): its body read against the keys its endpoint has, and every value
 * checked that can be checked without the model running. */
#ifndef STRATA_TOOLS_WEB_ASK_H
#define STRATA_TOOLS_WEB_ASK_H

#include "engine/base/arena.h"
#include "engine/base/strbuf.h"
#include "engine/order.h"

typedef enum WebKind {
    WEB_TOKENIZE,
    WEB_RUN,
    WEB_LENS,
    WEB_STREAM,
    WEB_ATTENTION,
    WEB_ROUTER,
    WEB_ARITHMETIC,
    WEB_PAIR,
    WEB_ABLATE,
    WEB_CANCEL,
    WEB_RESCAN,
    WEB_N_KINDS
} WebKind;

enum { WEB_NAME_MAX = 64, WEB_MAX_DIMS = 4096 };

typedef struct WebText {
    const char *s; /* NULL: not given */
    size_t len;
} WebText;

typedef struct WebAsk {
    WebKind kind;
    WebText text, a, b;
    int32_t *ids; /* NULL: not given */
    size_t n_ids;
    Order order, intact;
    bool is_intact;
    char client[WEB_NAME_MAX + 1], slot[WEB_NAME_MAX + 1];                   /* "": not given */
    int64_t top, position, step, head, key, expert, coordinate, onset, from; /* -1: not given */
    bool with_intact, with_logits;
    const char *op, *mode, *result; /* NULL: not given */
    int64_t (*dims)[2];             /* point, dimension */
    size_t n_dims;
    char same[65]; /* SHA-256 of all that the answer depends on: equal requests have equal answers */
    Arena arena;
} WebAsk;

typedef struct WebLimits {
    size_t text_bytes, tokens;
    int n_layers; /* 0: no model */
    size_t vocab;
} WebLimits;

const char *web_kind_path(WebKind kind); /* "api/run" */
bool web_kind_find(const char *path, WebKind *out);

/* body: JSON text. Errors are STATUS_USAGE, one sentence. */
int web_ask_read(WebKind kind, const char *body, size_t len, const WebLimits *limits, WebAsk *out, Error *e);
void web_ask_free(WebAsk *a); /* accepts zeroed */

/* A client's or slot's name: up to 64 letters, digits, '_', '-'. */
bool web_name_valid(const char *s, size_t len);

#endif
