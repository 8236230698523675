/* web_answer.h: answers to live requests: what experiments/lab*.h computes, written as the JSON of tools/web/API.md. An answer is
 * everything between its braces but "ms" and "cached", which the server adds when it is sent. */
#ifndef STRATA_TOOLS_WEB_ANSWER_H
#define STRATA_TOOLS_WEB_ANSWER_H

#include "experiments/lab.h"
#include "loaders/tokenizer.h"
#include "tools/web/web_ask.h"

typedef struct WebLive {
    Lab *lab;
    WebLimits limits;
    const char *output_dir; /* where a diff result named in a request lies */
} WebLive;

/* Appends `"key": value, ...`. STATUS_USAGE: the request does not fit the model; STATUS_INTERRUPTED: control said stop. */
int web_answer(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e);

/* -- what the files of answers share -- */

/* A text as the model sees it. */
typedef struct WebTokens {
    int32_t *ids; /* [n], BOS included */
    size_t n, n_bos;
    Token *spans; /* [n - n_bos], or NULL: ids were given */
} WebTokens;
int web_tokens(const WebLive *live, const WebText *text, const int32_t *ids, size_t n_ids, WebTokens *out, Error *e);
void web_tokens_free(WebTokens *t);

/* Ids whose pieces an answer must name. */
typedef struct WebPieces {
    uint8_t *seen; /* [V] */
    size_t vocab;
} WebPieces;

void web_write_tokens(const WebLive *live, const WebTokens *t, StrBuf *out);      /* [{...}, ...] */
void web_write_order(const Order *order, bool is_intact, StrBuf *out);            /* "order": ..., "steps": [...] */
void web_write_pieces(const WebLive *live, const WebPieces *p, StrBuf *out);      /* {"11": " cat", ...} */
void web_write_ids(const int32_t *ids, size_t n, WebPieces *pieces, StrBuf *out); /* [..], stops at -1 */
void web_write_number(double x, StrBuf *out);                                     /* 7 digits; null */
void web_write_numbers(const double *x, size_t n, StrBuf *out);                   /* [..] */
void web_field_number(StrBuf *out, const char *name, double x);                   /* , "name": x */
void web_field_numbers(StrBuf *out, const char *name, const double *x, size_t n);
void web_write_matrix(const double *x, const size_t *shape, size_t n_dims, StrBuf *out); /* as f32 in base64 */
void web_write_piece(const WebLive *live, int32_t id, StrBuf *out);

int web_answer_lens(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e);
int web_answer_stream(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e);
int web_answer_attention(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e);
int web_answer_router(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e);
int web_answer_arithmetic(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e);
int web_answer_pair(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e);
int web_answer_ablate(const WebLive *live, const WebAsk *ask, const LabControl *control, StrBuf *out, Error *e);

#endif
