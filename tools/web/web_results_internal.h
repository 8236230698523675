/* web_results_internal.h: what web_results.c (listing, files, tensors) and web_result_parts.c (tokens, pairs) share. */
#ifndef STRATA_TOOLS_WEB_RESULTS_INTERNAL_H
#define STRATA_TOOLS_WEB_RESULTS_INTERNAL_H

#include "experiments/pos_run.h"
#include "tools/web/web_results.h"

typedef struct WebResult {
    char *id; /* "removal/model_n185" */
    bool is_diff;
} WebResult;

struct WebResults {
    char *dir;
    char *pairs; /* of the user's choice, or NULL */
    WebResult *list;
    size_t n;
    StrBuf listing; /* results.json */
    char *open_id;  /* of the run that is open */
    char *open_dir;
    PosRun run;
    bool each_begun; /* of web_results_each */
    size_t each_result, each_file;
    StrBuf each_path;
};

/* The path of dir/id/name, links resolved, when it is a file inside dir; malloc'ed, NULL else. */
char *web_results_inside(const char *dir, const char *id, const char *name);
bool web_results_has(const WebResults *r, const char *id, const char *name);
bool web_results_number(const char *text, const char *suffix, size_t *out); /* "12.json" -> 12 */

/* The sweep of a result, opened unless it is: 0, or a status of HTTP. */
int web_results_open_run(WebResults *r, const WebResult *result, Error *e);
void web_results_close_run(WebResults *r);
/* Behind the tokens of the window that token `first` begins. */
size_t web_results_window_end(const LedgerView *l, size_t first);

/* Answers of web_results_get: windows.json and tokens/W.json; pairs.json. */
int web_results_tokens(WebResults *r, const WebResult *result, const char *rest, StrBuf *out, Error *e);
int web_results_pairs(WebResults *r, const WebResult *result, const WebParam *params, size_t n_params, StrBuf *out, Error *e);

#endif
