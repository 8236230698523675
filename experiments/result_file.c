/* result_file.c: result_file.h. */
#include "experiments/result_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>

#include "engine/base/file.h"
#include "engine/base/utf8.h"

#define MAX_BYTES ((size_t)1 << 28)
#define MAX_EXACT 9007199254740992.0 /* 2^53: whole numbers that a double holds exactly */

static const char *kind_of(const cJSON *v)
{
    return !v                  ? "nothing"
           : cJSON_IsNull(v)   ? "null"
           : cJSON_IsBool(v)   ? "true or false"
           : cJSON_IsNumber(v) ? "a number"
           : cJSON_IsString(v) ? "a string"
           : cJSON_IsArray(v)  ? "an array"
                               : "an object";
}

static int unexpected(const ResultNode *at, const char *field, const char *expected, const cJSON *found, Error *e)
{
    return error_set(e, STATUS_FAILED, "%s: %s%s%s: expected %s, found %s", at->path, at->where, at->where[0] ? "." : "", field,
                     expected, kind_of(found));
}

static size_t line_of(const char *text, const char *at)
{
    size_t line = 1;
    for (; text < at; text++)
        line += *text == '\n';
    return line;
}

static int parse(const char *path, const StrBuf *text, cJSON **out, Error *e)
{
    const char *data = text->data ? text->data : "", *end = NULL;
    size_t bad;
    if (strlen(data) != text->len)
        return error_set(e, STATUS_FAILED, "%s: line %zu: expected JSON, found a NUL byte", path,
                         line_of(data, data + strlen(data)));
    if (!utf8_valid(data, text->len, &bad))
        return error_set(e, STATUS_FAILED, "%s: line %zu: expected UTF-8, found byte 0x%02x", path, line_of(data, data + bad),
                         (unsigned char)data[bad]);
    *out = cJSON_ParseWithLengthOpts(data, text->len + 1, &end, 1);
    if (*out)
        return STATUS_OK;
    if (!end || end >= data + text->len)
        return error_set(e, STATUS_FAILED, "%s: expected JSON, found the end of the file after %zu bytes", path, text->len);
    int shown = (int)strcspn(end, "\n");
    return error_set(e, STATUS_FAILED, "%s: line %zu: expected JSON, found \"%.*s\"", path, line_of(data, end),
                     shown < 40 ? shown : 40, end);
}

int result_file_open(const char *path, const char *schema, ResultFile *out, Error *e)
{
    *out = (ResultFile){0};
    StrBuf text = {0};
    const char *found = NULL;
    int status = file_read(path, MAX_BYTES, &text, e);
    if (!status)
        status = parse(path, &text, &out->json, e);
    strbuf_free(&text);
    out->path = strdup(path);
    if (!status && !out->path)
        status = error_set(e, STATUS_FAILED, "%s: out of memory", path);
    out->root = (ResultNode){.json = out->json, .path = out->path};
    if (!status && !cJSON_IsObject(out->json))
        status = error_set(e, STATUS_FAILED, "%s: expected an object, found %s", path, kind_of(out->json));
    if (!status && schema)
        status = result_string(&out->root, "schema", &found, e);
    if (!status && schema && strcmp(found, schema) != 0)
        status = error_set(e, STATUS_FAILED, "%s: schema: expected %s, found %s", path, schema, found);
    if (status)
        result_file_close(out);
    return status;
}

void result_file_close(ResultFile *f)
{
    if (!f)
        return;
    cJSON_Delete(f->json);
    free(f->path);
    *f = (ResultFile){0};
}

static const cJSON *get(const ResultNode *object, const char *field)
{
    return cJSON_GetObjectItemCaseSensitive(object->json, field);
}

bool result_has(const ResultNode *object, const char *field)
{
    const cJSON *v = get(object, field);
    return v && !cJSON_IsNull(v);
}

/* A path too long for `where` is cut: it serves messages only. */
static void set_where(ResultNode *out, const ResultNode *parent, const char *field)
{
    char where[sizeof out->where]; /* parent and out may be the same node */
    snprintf(where, sizeof where, "%.70s%s%.46s", parent->where, parent->where[0] && field[0] != '[' ? "." : "", field);
    memcpy(out->where, where, sizeof where);
    out->path = parent->path;
}

int result_child(const ResultNode *object, const char *field, ResultNode *out, Error *e)
{
    const cJSON *v = get(object, field);
    if (!cJSON_IsObject(v) && !cJSON_IsArray(v))
        return unexpected(object, field, "an object or array", v, e);
    ResultNode child = {.json = v};
    set_where(&child, object, field);
    *out = child;
    return STATUS_OK;
}

size_t result_length(const ResultNode *array)
{
    return cJSON_IsArray(array->json) ? (size_t)cJSON_GetArraySize(array->json) : 0;
}

bool result_each(const ResultNode *container, ResultNode *item)
{
    const cJSON *next = item->json ? item->json->next : container->json ? container->json->child : NULL;
    size_t index = 0;
    if (item->json && cJSON_IsArray(container->json)) {
        const char *bracket = strrchr(item->where, '[');
        index = bracket ? strtoull(bracket + 1, NULL, 10) + 1 : 0;
    }
    item->json = next;
    if (!next)
        return false;
    char place[32];
    snprintf(place, sizeof place, "[%zu]", index);
    set_where(item, container, next->string ? next->string : place);
    return true;
}

const char *result_name(const ResultNode *item)
{
    return item->json ? item->json->string : NULL;
}

static bool read_number(const cJSON *v, double *out)
{
    if (!cJSON_IsNumber(v) && !cJSON_IsNull(v))
        return false;
    *out = cJSON_IsNull(v) ? NAN : v->valuedouble;
    return true;
}

int result_number(const ResultNode *object, const char *field, double *out, Error *e)
{
    const cJSON *v = get(object, field);
    return read_number(v, out) ? STATUS_OK : unexpected(object, field, "a number or null", v, e);
}

int result_integer(const ResultNode *object, const char *field, int64_t *out, Error *e)
{
    const cJSON *v = get(object, field);
    if (!cJSON_IsNumber(v) || !(fabs(v->valuedouble) <= MAX_EXACT) || v->valuedouble != floor(v->valuedouble))
        return unexpected(object, field, "a whole number", v, e);
    *out = (int64_t)v->valuedouble;
    return STATUS_OK;
}

int result_string(const ResultNode *object, const char *field, const char **out, Error *e)
{
    const cJSON *v = get(object, field);
    if (!cJSON_IsString(v))
        return unexpected(object, field, "a string", v, e);
    *out = v->valuestring;
    return STATUS_OK;
}

bool result_is_true(const ResultNode *object, const char *field)
{
    return cJSON_IsTrue(get(object, field));
}

int result_numbers(const ResultNode *object, const char *field, double *out, size_t n, Error *e)
{
    const cJSON *array = get(object, field);
    if (!cJSON_IsArray(array))
        return unexpected(object, field, "an array", array, e);
    size_t found = (size_t)cJSON_GetArraySize(array), i = 0;
    if (found != n)
        return error_set(e, STATUS_FAILED, "%s: %s%s%s: expected %zu numbers, found %zu", object->path, object->where,
                         object->where[0] ? "." : "", field, n, found);
    for (const cJSON *v = array->child; v; v = v->next, i++) {
        if (!read_number(v, &out[i])) {
            char place[96];
            snprintf(place, sizeof place, "%.60s[%zu]", field, i);
            return unexpected(object, place, "a number or null", v, e);
        }
    }
    return STATUS_OK;
}
