/* result_file.h: reading back what a study wrote: ppl.json, pos.json and the like, by cJSON, with typed access. Every error is one
 * line that names the file, the field's whole path ("orders[3].nll"), what was expected and what was found.
 *
 *     ResultFile file = {0};
 *     ResultNode order = {0}, orders;
 *     status = result_file_open("results/.../ppl.json", "strata.ppl/1", &file, e);
 *     if (!status) status = result_child(&file.root, "orders", &orders, e);
 *     while (!status && result_each(&orders, &order)) {
 *         status = result_string(&order, "name", &name, e);
 *         if (!status) status = result_number(&order, "nll", &nll, e);
 *     }
 *     result_file_close(&file);
 *
 * Numbers are doubles; null stands for what is not finite and is read as NaN. A field is looked up by its exact name; of a name
 * that occurs twice the first counts.
 * Left to others: files whose strings may hold NUL or whose integers need 64 bits (rows.jsonl, run.json: engine/base/json.h). */
#ifndef STRATA_EXPERIMENTS_RESULT_FILE_H
#define STRATA_EXPERIMENTS_RESULT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct cJSON;

/* A value in an open file. Nodes are plain values: copy them freely; they end with their file. */
typedef struct ResultNode {
    const struct cJSON *json;
    const char *path; /* of the file */
    char where[120];  /* "orders[3]"; "" for the root */
} ResultNode;

typedef struct ResultFile {
    char *path;
    struct cJSON *json;
    ResultNode root; /* an object */
} ResultFile;

/* schema: what the field "schema" must be; NULL: any. Another file, or one that is no JSON object, is STATUS_FAILED. */
int result_file_open(const char *path, const char *schema, ResultFile *out, Error *e);
void result_file_close(ResultFile *f); /* accepts zeroed */

bool result_has(const ResultNode *object, const char *field);                             /* there, and not null */
int result_child(const ResultNode *object, const char *field, ResultNode *out, Error *e); /* an object or array */
size_t result_length(const ResultNode *array);                                            /* 0 for anything else */
/* Steps item through an array's objects and arrays, or an object's fields: item begins zeroed. False at the end. */
bool result_each(const ResultNode *container, ResultNode *item);
const char *result_name(const ResultNode *item); /* the field's name, inside an object; else NULL */

int result_number(const ResultNode *object, const char *field, double *out, Error *e);      /* null: NaN */
int result_integer(const ResultNode *object, const char *field, int64_t *out, Error *e);    /* whole, up to 2^53 */
int result_string(const ResultNode *object, const char *field, const char **out, Error *e); /* lives as long as the file */
bool result_is_true(const ResultNode *object, const char *field);                           /* false where it is absent */
int result_numbers(const ResultNode *object, const char *field, double *out, size_t n, Error *e); /* an array of n; null: NaN */

#endif
