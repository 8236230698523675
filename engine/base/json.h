/* json.h: length-counted JSON decoding (RFC 8259) into an arena, for files whose strings are data: tokenizer.json,
 * safetensors headers, rows of .jsonl, and for what else needs exact integers (configurations, run.json). A string may hold NUL.
 * Our own results are read back through cJSON (experiments/result_file.h).
 *
 * Strict: no comments, no trailing commas, UTF-8 checked, lone surrogates become U+FFFD (as Python's json with
 * errors="replace" would write them), depth at most 256. Objects keep their order; a repeated key is kept twice and
 * json_get finds the last, as Python's json does. Errors give byte offset and what was expected. */
#ifndef STRATA_BASE_JSON_H
#define STRATA_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"

typedef enum JsonKind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } JsonKind;

typedef struct JsonValue JsonValue;
struct JsonValue {
    JsonKind kind;
    bool boolean;
    bool is_integer;    /* the number was written without . e E and fits int64 */
    const char *string; /* JSON_STRING: decoded bytes, NUL-terminated, `len` counted */
    size_t len;         /* bytes of string, or members of array / object */
    double number;
    int64_t integer;
    const JsonValue *items; /* JSON_ARRAY: len values; JSON_OBJECT: len values, with keys[i] */
    const JsonValue *keys;  /* JSON_OBJECT: len strings */
};

/* Parses exactly one value spanning the text (white space around it allowed). `what` names the source in errors. */
int json_parse(const char *text, size_t len, const char *what, Arena *arena, const JsonValue **out, Error *e);

const JsonValue *json_get(const JsonValue *object, const char *key); /* NULL if absent or not an object */
bool json_is_string(const JsonValue *v, const char *s);              /* kind and bytes equal */
const char *json_text(const JsonValue *v);                           /* NULL if absent, no string, or holding a NUL */

#endif
