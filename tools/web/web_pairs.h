/* web_pairs.h: two sentences walked side by side, for a pair by hand and for ablations. */
#ifndef STRATA_TOOLS_WEB_PAIRS_H
#define STRATA_TOOLS_WEB_PAIRS_H

#include "tools/web/web_answer.h"

typedef struct WebSide {
    WebTokens tokens;
    LabStream stream;
} WebSide;

typedef struct WebPair {
    WebSide side[2];
    size_t n, d, n_points, edit;
    double *x[2]; /* [n, D] of one point */
} WebPair;

/* Tokens of the request's a and b. */
int web_pair_read(const WebLive *live, const WebAsk *ask, WebPair *p, Error *e);
void web_pair_end(const WebLive *live, WebPair *p); /* accepts zeroed */
/* Why two texts are no pair, in words; false when they are one. differs: the differing indices as JSON, null when the lengths are not equal. */
bool web_pair_differs(WebPair *p, StrBuf *reason, StrBuf *differs);
/* Streams of both; edits[i]: of side i. */
int web_pair_walk(const WebLive *live, const WebAsk *ask, const LabControl *control, LabEdit *const *edits, size_t n_edits,
                  size_t from, double at, double share, WebPair *p, Error *e);
void web_pair_load(const WebLive *live, WebPair *p, size_t point);      /* into p->x */
double web_pair_length(const double *x, const double *minus, size_t d); /* L2 of x - minus; minus NULL: of x */

#endif
