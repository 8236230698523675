/* safetensors.c: the safetensors container, read and written (see safetensors.h).
 *
 * Reading trusts nothing: the header's length, every shape and every range is checked against the file before a tensor is
 * handed out, and the ranges must tile the data exactly, as the reference implementation demands. */
#include "loaders/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/json.h"
#include "engine/base/strbuf.h"

/* The reference implementation's limit. */
static const size_t MAX_HEADER_BYTES = 100000000;

static uint64_t load_u64(const unsigned char *p)
{
    uint64_t x = 0;
    for (int i = 7; i >= 0; i--)
        x = x << 8 | p[i];
    return x;
}

static bool size_of(const JsonValue *v, size_t *out)
{
    if (!v || v->kind != JSON_NUMBER || !v->is_integer || v->integer < 0)
        return false;
    *out = (size_t)v->integer;
    return true;
}

static int read_shape(const JsonValue *shape, Tensor *t, size_t *n_elems, Error *e)
{
    if (!shape || shape->kind != JSON_ARRAY)
        return error_set(e, STATUS_FAILED, "%s: tensor %s: expected an array as shape", t->file, t->name);
    if (shape->len > TENSOR_MAX_DIMS)
        return error_set(e, STATUS_FAILED, "%s: tensor %s: expected at most %d dimensions, found %zu", t->file, t->name,
                         TENSOR_MAX_DIMS, shape->len);
    *n_elems = 1;
    for (size_t i = 0; i < shape->len; i++) {
        if (!size_of(&shape->items[i], &t->shape[i]))
            return error_set(e, STATUS_FAILED, "%s: tensor %s: shape[%zu] is not a whole number >= 0", t->file, t->name, i);
        if (!checked_mul(*n_elems, t->shape[i], n_elems))
            return error_set(e, STATUS_FAILED, "%s: tensor %s: the product of its shape overflows", t->file, t->name);
    }
    t->n_dims = (int)shape->len;
    return STATUS_OK;
}

static int read_tensor(const JsonValue *key, const JsonValue *entry, const unsigned char *data, size_t data_bytes, Tensor *t,
                       Error *e)
{
    t->name = key->string;
    if (key->len == 0 || strlen(key->string) != key->len)
        return error_set(e, STATUS_FAILED, "%s: a tensor's name is empty or holds a NUL: \"%s\"", t->file, key->string);
    if (entry->kind != JSON_OBJECT)
        return error_set(e, STATUS_FAILED, "%s: tensor %s: expected an object with dtype, shape, data_offsets", t->file,
                         t->name);
    const JsonValue *dtype = json_get(entry, "dtype"), *offsets = json_get(entry, "data_offsets");
    if (!dtype || dtype->kind != JSON_STRING)
        return error_set(e, STATUS_FAILED, "%s: tensor %s: expected a string as dtype", t->file, t->name);
    if (!dtype_from_name(dtype->string, dtype->len, &t->dtype))
        return error_set(e, STATUS_FAILED,
                         "%s: tensor %s: dtype %s is not supported (F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL are)", t->file,
                         t->name, dtype->string);
    size_t n_elems = 0, begin = 0, end = 0;
    int status = read_shape(json_get(entry, "shape"), t, &n_elems, e);
    if (status)
        return status;
    if (!offsets || offsets->kind != JSON_ARRAY || offsets->len != 2 || !size_of(&offsets->items[0], &begin) ||
        !size_of(&offsets->items[1], &end))
        return error_set(e, STATUS_FAILED, "%s: tensor %s: expected two whole numbers as data_offsets", t->file, t->name);
    if (begin > end || end > data_bytes)
        return error_set(e, STATUS_FAILED, "%s: tensor %s: data_offsets [%zu, %zu] lie outside the file's %zu bytes of data",
                         t->file, t->name, begin, end, data_bytes);
    if (!dtype_bytes(t->dtype, n_elems, &t->size_bytes) || t->size_bytes != end - begin)
        return error_set(e, STATUS_FAILED, "%s: tensor %s: %zu elements of %s do not fill its %zu bytes", t->file, t->name,
                         n_elems, dtype_name(t->dtype), end - begin);
    t->data = data + begin;
    return STATUS_OK;
}

static int by_place(const void *a, const void *b)
{
    const Tensor *x = a, *y = b;
    const unsigned char *p = x->data, *q = y->data;
    if (p != q)
        return p < q ? -1 : 1;
    return (x->size_bytes > y->size_bytes) - (x->size_bytes < y->size_bytes); /* an empty tensor goes first */
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const Tensor *)a)->name, ((const Tensor *)b)->name);
}

/* Ranges must follow one another from the first byte to the last. */
static int check_tiling(Tensor *tensors, size_t n, const unsigned char *data, size_t data_bytes, const char *file, Error *e)
{
    qsort(tensors, n, sizeof *tensors, by_place);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        size_t begin = (size_t)((const unsigned char *)tensors[i].data - data);
        if (begin != at)
            return error_set(e, STATUS_FAILED, "%s: tensor %s: expected its data at byte %zu, found %zu (%s)", file,
                             tensors[i].name, at, begin, begin < at ? "it overlaps the tensor before it" : "a hole");
        at += tensors[i].size_bytes;
    }
    if (at != data_bytes)
        return error_set(e, STATUS_FAILED, "%s: expected %zu bytes of tensor data, found %zu", file, at, data_bytes);
    return STATUS_OK;
}

int safetensors_parse(const unsigned char *data, size_t size, const char *file, Arena *arena, Tensor **tensors,
                      size_t *n_tensors, Error *e)
{
    *tensors = NULL;
    *n_tensors = 0;
    if (size < 8)
        return error_set(e, STATUS_FAILED, "%s: expected a safetensors file, found %zu bytes", file, size);
    uint64_t header_len = load_u64(data);
    if (header_len > MAX_HEADER_BYTES || header_len > size - 8)
        return error_set(e, STATUS_FAILED,
                         "%s: the header's length is %llu, but the file has %zu bytes after it (truncated, or not safetensors)",
                         file, (unsigned long long)header_len, size - 8);
    size_t header_bytes = (size_t)header_len;
    if (header_bytes < 2 || data[8] != '{')
        return error_set(e, STATUS_FAILED, "%s: byte 8: expected '{' at the header's beginning", file);
    const JsonValue *root;
    int status = json_parse((const char *)data + 8, header_bytes, file, arena, &root, e);
    if (status)
        return status;
    if (root->kind != JSON_OBJECT)
        return error_set(e, STATUS_FAILED, "%s: expected a JSON object as header", file);
    Tensor *list = arena_array(arena, root->len ? root->len : 1, sizeof *list);
    if (!list)
        return error_set(e, STATUS_FAILED, "%s: out of memory for %zu tensors", file, root->len);
    const unsigned char *begin = data + 8 + header_bytes;
    size_t data_bytes = size - 8 - header_bytes, n = 0;
    for (size_t i = 0; i < root->len; i++) {
        if (json_is_string(&root->keys[i], "__metadata__"))
            continue;
        list[n].file = file;
        status = read_tensor(&root->keys[i], &root->items[i], begin, data_bytes, &list[n], e);
        if (status)
            return status;
        n++;
    }
    status = check_tiling(list, n, begin, data_bytes, file, e);
    if (status)
        return status;
    qsort(list, n, sizeof *list, by_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(list[i - 1].name, list[i].name) == 0)
            return error_set(e, STATUS_FAILED, "%s: tensor %s: expected each name once, found it twice", file, list[i].name);
    *tensors = list;
    *n_tensors = n;
    return STATUS_OK;
}

int safetensors_header(SafetensorsEntry *entries, size_t n, const char *const (*metadata)[2], size_t n_metadata, StrBuf *out,
                       size_t *total_bytes, Error *e)
{
    size_t begin = out->len, at = 0;
    strbuf_append(out, "\0\0\0\0\0\0\0\0", 8);
    strbuf_putc(out, '{');
    for (size_t i = 0; metadata && i < n_metadata; i++) {
        strbuf_puts(out, i ? "," : "\"__metadata__\":{");
        strbuf_json_string(out, metadata[i][0], strlen(metadata[i][0]));
        strbuf_putc(out, ':');
        strbuf_json_string(out, metadata[i][1], strlen(metadata[i][1]));
        if (i + 1 == n_metadata)
            strbuf_putc(out, '}');
    }
    bool first = !metadata || n_metadata == 0;
    for (size_t i = 0; i < n; i++, first = false) {
        SafetensorsEntry *t = &entries[i];
        size_t n_elems = 1, end = 0;
        bool fits = t->n_dims >= 0 && t->n_dims <= TENSOR_MAX_DIMS && dtype_block_elems(t->dtype) == 1;
        for (int d = 0; fits && d < t->n_dims; d++)
            fits = checked_mul(n_elems, t->shape[d], &n_elems);
        if (!fits || !dtype_bytes(t->dtype, n_elems, &t->size_bytes) || !checked_add(at, t->size_bytes, &end))
            return error_set(e, STATUS_FAILED, "tensor %s: its shape or dtype cannot be written as safetensors", t->name);
        if (!first)
            strbuf_putc(out, ',');
        strbuf_json_string(out, t->name, strlen(t->name));
        strbuf_printf(out, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(t->dtype));
        for (int d = 0; d < t->n_dims; d++)
            strbuf_printf(out, d ? ",%zu" : "%zu", t->shape[d]);
        strbuf_printf(out, "],\"data_offsets\":[%zu,%zu]}", at, end);
        t->offset = at;
        at = end;
    }
    strbuf_putc(out, '}');
    while (!out->failed && (out->len - begin) % 64 != 0)
        strbuf_putc(out, ' ');
    if (out->failed)
        return error_set(e, STATUS_FAILED, "out of memory for a safetensors header of %zu tensors", n);
    size_t header_bytes = out->len - begin;
    if (header_bytes - 8 > MAX_HEADER_BYTES || !checked_add(at, header_bytes, total_bytes))
        return error_set(e, STATUS_FAILED, "a safetensors header of %zu bytes is too long", header_bytes);
    for (size_t i = 0; i < 8; i++)
        out->data[begin + i] = (char)((uint64_t)(header_bytes - 8) >> 8 * i);
    for (size_t i = 0; i < n; i++)
        entries[i].offset += header_bytes;
    return STATUS_OK;
}
