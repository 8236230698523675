/* web_results.h: the results below --output_dir, for the explorers: what there is, their files, tokens under every order, tensors,
 * pairs. A result is named by its folder below output_dir; nothing outside it is ever opened: a name has no part that begins with a
 * dot, and what it resolves to, links followed, must lie inside. */
#ifndef STRATA_TOOLS_WEB_RESULTS_H
#define STRATA_TOOLS_WEB_RESULTS_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"
#include "engine/base/strbuf.h"

typedef struct WebResults WebResults;

/* output_dir need not be there yet. pairs: the file for diff results without a pairs.jsonl of their own, or NULL. */
int web_results_open(const char *output_dir, const char *pairs, WebResults **out, Error *e);
void web_results_close(WebResults *r); /* accepts NULL */

/* name=value of a query, decoded. */
typedef struct WebParam {
    const char *name, *value;
} WebParam;

/* Answers "results.json" and "results/ID/..." (the path behind "api/"). *type is set for what is no JSON. Returns the status of HTTP; above 399
 * the error holds the sentence. */
int web_results_get(WebResults *r, const char *path, const WebParam *params, size_t n_params, StrBuf *out, const char **type,
                    Error *e);
/* Reads the folder anew. */
int web_results_scan(WebResults *r, Error *e);

/* Every path that web_results_get answers in a static copy, one after another; false at the end. The string lives until the next call. */
bool web_results_each(WebResults *r, const char **path, Error *e);

/* One tensor of a diff result as doubles (malloc'ed): any thread. */
int web_results_map(const char *output_dir, const char *id, const char *name, double **out, size_t *n, Error *e);

#endif
