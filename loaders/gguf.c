/* gguf.c: the GGUF container (see gguf.h). Little-endian; a version 1 or big-endian file is named as such. Layout:
 *   magic "GGUF", u32 version, u64 n_tensors, u64 n_values
 *   n_values times: string key, u32 type, value;  a string is u64 length and bytes;  an array u32 type, u64 length, items
 *   n_tensors times: string name, u32 n_dims, u64 dims (fastest first), u32 type, u64 offset into the data
 *   padding to general.alignment (32), data
 * Every count is checked against the bytes that are left before anything is allocated for it. */
#include "loaders/gguf.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/utf8.h"

typedef struct Reader {
    const unsigned char *data;
    size_t size, at;
    const char *file;
    Arena *arena;
    Error *e;
} Reader;

/* ggml's numbers of tensor types; those with a DType are read. */
static const struct {
    uint32_t id;
    const char *name;
    DType dtype;
} tensor_types[] = {
    {0, "F32", DTYPE_F32},       {1, "F16", DTYPE_F16},        {2, "Q4_0", DTYPE_Q4_0},      {3, "Q4_1", DTYPE_Q4_1},
    {6, "Q5_0", DTYPE_Q5_0},     {7, "Q5_1", DTYPE_Q5_1},      {8, "Q8_0", DTYPE_Q8_0},      {9, "Q8_1", DTYPE_NONE},
    {10, "Q2_K", DTYPE_Q2_K},    {11, "Q3_K", DTYPE_Q3_K},     {12, "Q4_K", DTYPE_Q4_K},     {13, "Q5_K", DTYPE_Q5_K},
    {14, "Q6_K", DTYPE_Q6_K},    {15, "Q8_K", DTYPE_Q8_K},     {16, "IQ2_XXS", DTYPE_NONE},  {17, "IQ2_XS", DTYPE_NONE},
    {18, "IQ3_XXS", DTYPE_NONE}, {19, "IQ1_S", DTYPE_NONE},    {20, "IQ4_NL", DTYPE_IQ4_NL}, {21, "IQ3_S", DTYPE_NONE},
    {22, "IQ2_S", DTYPE_NONE},   {23, "IQ4_XS", DTYPE_IQ4_XS}, {24, "I8", DTYPE_I8},         {25, "I16", DTYPE_I16},
    {26, "I32", DTYPE_I32},      {27, "I64", DTYPE_I64},       {28, "F64", DTYPE_F64},       {29, "IQ1_M", DTYPE_NONE},
    {30, "BF16", DTYPE_BF16},    {34, "TQ1_0", DTYPE_NONE},    {35, "TQ2_0", DTYPE_NONE},    {39, "MXFP4", DTYPE_NONE},
};

/* By the file's number of a value type: ours, and its size (0: counted). */
static const struct {
    GgufType type;
    size_t bytes;
} value_types[] = {
    {GGUF_U8, 1},   {GGUF_I8, 1},     {GGUF_U16, 2},   {GGUF_I16, 2}, {GGUF_U32, 4}, {GGUF_I32, 4}, {GGUF_F32, 4},
    {GGUF_BOOL, 1}, {GGUF_STRING, 0}, {GGUF_ARRAY, 0}, {GGUF_U64, 8}, {GGUF_I64, 8}, {GGUF_F64, 8},
};
enum { N_VALUE_TYPES = sizeof value_types / sizeof *value_types };

/* The least a value and a tensor info take in a file. */
enum { MIN_VALUE_BYTES = 8 + 4 + 1, MIN_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8 };

static int truncated(const Reader *r, const char *what)
{
    return error_set(r->e, STATUS_FAILED, "%s: byte %zu: truncated: expected %s, the file has %zu bytes", r->file, r->at, what,
                     r->size);
}

static int no_memory(const Reader *r)
{
    return error_set(r->e, STATUS_FAILED, "%s: out of memory while reading the GGUF header", r->file);
}

static uint64_t load_little(const unsigned char *p, size_t bytes)
{
    uint64_t x = 0;
    for (size_t i = bytes; i-- > 0;)
        x = x << 8 | p[i];
    return x;
}

static int read_unsigned(Reader *r, size_t bytes, const char *what, uint64_t *out)
{
    if (!checked_range(r->at, bytes, r->size))
        return truncated(r, what);
    *out = load_little(r->data + r->at, bytes);
    r->at += bytes;
    return STATUS_OK;
}

static int read_string(Reader *r, const char *what, GgufString *out)
{
    uint64_t len = 0;
    int status = read_unsigned(r, 8, what, &len);
    if (status)
        return status;
    if (len > SIZE_MAX || !checked_range(r->at, (size_t)len, r->size))
        return truncated(r, what);
    *out = (GgufString){(const char *)r->data + r->at, (size_t)len};
    r->at += (size_t)len;
    return STATUS_OK;
}

/* A key or a tensor's name: UTF-8 without NUL, at most 1 KiB, kept as a C string. */
static int read_name(Reader *r, const char *what, const char **out)
{
    GgufString s = {"", 0};
    size_t at = r->at, bad;
    int status = read_string(r, what, &s);
    if (status)
        return status;
    if (s.len == 0 || s.len > 1024 || memchr(s.s, 0, s.len) || !utf8_valid(s.s, s.len, &bad))
        return error_set(r->e, STATUS_FAILED,
                         "%s: byte %zu: expected %s of 1 to 1024 bytes of UTF-8, found %zu bytes that are not", r->file, at,
                         what, s.len);
    *out = arena_strndup(r->arena, s.s, s.len);
    return *out ? STATUS_OK : no_memory(r);
}

/* An item of fixed size into the union. */
static void load_scalar(GgufType type, const unsigned char *p, size_t bytes, GgufValue *v)
{
    uint64_t raw = load_little(p, bytes);
    uint32_t low = (uint32_t)raw;
    float f;
    switch (type) {
    case GGUF_I8:
        v->as.i = (int8_t)raw;
        break;
    case GGUF_I16:
        v->as.i = (int16_t)raw;
        break;
    case GGUF_I32:
        v->as.i = (int32_t)raw;
        break;
    case GGUF_I64:
        v->as.i = (int64_t)raw;
        break;
    case GGUF_F32:
        memcpy(&f, &low, sizeof f);
        v->as.f = (double)f;
        break;
    case GGUF_F64:
        memcpy(&v->as.f, &raw, sizeof raw);
        break;
    case GGUF_BOOL:
        v->as.b = raw != 0;
        break;
    default:
        v->as.u = raw;
        break;
    }
}

static int read_array(Reader *r, GgufValue *v)
{
    uint64_t type = 0, len = 0;
    int status = read_unsigned(r, 4, "an array's type", &type);
    if (!status)
        status = read_unsigned(r, 8, "an array's length", &len);
    if (status)
        return status;
    if (type >= N_VALUE_TYPES || value_types[type].type == GGUF_ARRAY)
        return error_set(r->e, STATUS_FAILED, "%s: key %s: arrays of type %llu are not supported", r->file, v->key,
                         (unsigned long long)type);
    v->array_type = value_types[type].type;
    size_t left = r->size - r->at, bytes = value_types[type].bytes;
    if (len > left / (bytes ? bytes : 8))
        return error_set(r->e, STATUS_FAILED, "%s: key %s: an array of %llu items does not fit the %zu bytes left", r->file,
                         v->key, (unsigned long long)len, left);
    v->array_len = (size_t)len;
    if (bytes) {
        v->items = r->data + r->at;
        r->at += v->array_len * bytes;
        return STATUS_OK;
    }
    GgufString *strings = arena_array(r->arena, v->array_len ? v->array_len : 1, sizeof *strings);
    if (!strings)
        return no_memory(r);
    for (size_t i = 0; i < v->array_len && !status; i++)
        status = read_string(r, "a string of an array", &strings[i]);
    v->strings = strings;
    return status;
}

static int read_value(Reader *r, GgufValue *v)
{
    uint64_t type = 0;
    int status = read_name(r, "a key", &v->key);
    if (!status)
        status = read_unsigned(r, 4, "a value's type", &type);
    if (status)
        return status;
    if (type >= N_VALUE_TYPES)
        return error_set(r->e, STATUS_FAILED, "%s: key %s: value type %llu is not known", r->file, v->key,
                         (unsigned long long)type);
    v->type = value_types[type].type;
    if (v->type == GGUF_ARRAY)
        return read_array(r, v);
    if (v->type == GGUF_STRING)
        return read_string(r, "a string", &v->as.string);
    size_t bytes = value_types[type].bytes;
    if (!checked_range(r->at, bytes, r->size))
        return truncated(r, "a value");
    load_scalar(v->type, r->data + r->at, bytes, v);
    r->at += bytes;
    return STATUS_OK;
}

static int tensor_dtype(Reader *r, Tensor *t, uint64_t id)
{
    for (size_t i = 0; i < sizeof tensor_types / sizeof *tensor_types; i++) {
        if (tensor_types[i].id != id)
            continue;
        t->dtype = tensor_types[i].dtype;
        if (t->dtype != DTYPE_NONE)
            return STATUS_OK;
        return error_set(r->e, STATUS_FAILED,
                         "%s: tensor %s: type %s is not supported (" DTYPE_WEIGHT_NAMES " are): use another quantisation",
                         r->file, t->name, tensor_types[i].name);
    }
    return error_set(r->e, STATUS_FAILED, "%s: tensor %s: type %llu is not known (" DTYPE_WEIGHT_NAMES " are supported)",
                     r->file, t->name, (unsigned long long)id);
}

/* One tensor info. Where its data lie is known only when all infos are read: the offset goes to *offset. */
static int read_tensor(Reader *r, Tensor *t, uint64_t *offset)
{
    uint64_t n_dims = 0, type = 0;
    t->file = r->file;
    int status = read_name(r, "a tensor's name", &t->name);
    if (!status)
        status = read_unsigned(r, 4, "a number of dimensions", &n_dims);
    if (status)
        return status;
    if (n_dims < 1 || n_dims > TENSOR_MAX_DIMS)
        return error_set(r->e, STATUS_FAILED, "%s: tensor %s: expected 1 to %d dimensions, found %llu", r->file, t->name,
                         TENSOR_MAX_DIMS, (unsigned long long)n_dims);
    t->n_dims = (int)n_dims;
    size_t n_elems = 1;
    for (int i = t->n_dims - 1; i >= 0; i--) { /* fastest first in the file */
        uint64_t side = 0;
        if ((status = read_unsigned(r, 8, "a dimension", &side)))
            return status;
        if (side > SIZE_MAX || !checked_mul(n_elems, (size_t)side, &n_elems))
            return error_set(r->e, STATUS_FAILED, "%s: tensor %s: the product of its dimensions overflows", r->file, t->name);
        t->shape[i] = (size_t)side;
    }
    status = read_unsigned(r, 4, "a tensor's type", &type);
    if (!status)
        status = tensor_dtype(r, t, type);
    if (!status)
        status = read_unsigned(r, 8, "a tensor's offset", offset);
    if (status)
        return status;
    if (t->shape[t->n_dims - 1] % dtype_block_elems(t->dtype) != 0 || !dtype_bytes(t->dtype, n_elems, &t->size_bytes))
        return error_set(r->e, STATUS_FAILED, "%s: tensor %s: rows of %zu elements are no whole blocks of %s", r->file, t->name,
                         t->shape[t->n_dims - 1], dtype_name(t->dtype));
    return STATUS_OK;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const GgufValue *)a)->key, ((const GgufValue *)b)->key);
}

static int by_place(const void *a, const void *b)
{
    const Tensor *x = a, *y = b;
    if (x->data != y->data)
        return (const char *)x->data < (const char *)y->data ? -1 : 1;
    return (x->size_bytes > y->size_bytes) - (x->size_bytes < y->size_bytes);
}

static int read_header(Reader *r, uint64_t *n_tensors, uint64_t *n_values)
{
    uint64_t version = 0;
    if (r->size < 4 || memcmp(r->data, "GGUF", 4) != 0)
        return error_set(r->e, STATUS_FAILED, "%s: byte 0: expected the magic \"GGUF\"", r->file);
    r->at = 4;
    int status = read_unsigned(r, 4, "a version", &version);
    if (status)
        return status;
    if (version != 2 && version != 3)
        return error_set(r->e, STATUS_FAILED, "%s: expected GGUF version 2 or 3, found %s", r->file,
                         version == 1                              ? "1: convert it with a newer tool"
                         : version > 0 && version << 40 >> 40 == 0 ? "a big-endian file"
                                                                   : "another");
    status = read_unsigned(r, 8, "the number of tensors", n_tensors);
    return status ? status : read_unsigned(r, 8, "the number of values", n_values);
}

static int read_values(Reader *r, uint64_t n, Gguf *g)
{
    if (n > (r->size - r->at) / MIN_VALUE_BYTES)
        return error_set(r->e, STATUS_FAILED, "%s: %llu metadata values do not fit a file of %zu bytes", r->file,
                         (unsigned long long)n, r->size);
    g->n_values = (size_t)n;
    g->values = arena_array(r->arena, g->n_values ? g->n_values : 1, sizeof *g->values);
    if (!g->values)
        return no_memory(r);
    for (size_t i = 0; i < g->n_values; i++) {
        int status = read_value(r, &g->values[i]);
        if (status)
            return status;
    }
    qsort(g->values, g->n_values, sizeof *g->values, by_key);
    for (size_t i = 1; i < g->n_values; i++)
        if (strcmp(g->values[i - 1].key, g->values[i].key) == 0)
            return error_set(r->e, STATUS_FAILED, "%s: key %s: expected each key once, found it twice", r->file,
                             g->values[i].key);
    return STATUS_OK;
}

static int read_alignment(Reader *r, const Gguf *g, size_t *out)
{
    int64_t alignment = 32;
    if (gguf_get(g, "general.alignment") && !gguf_integer(g, "general.alignment", &alignment))
        alignment = 0;
    if (alignment < 1 || alignment > 1 << 20 || (alignment & (alignment - 1)) != 0)
        return error_set(r->e, STATUS_FAILED, "%s: general.alignment: expected a power of two up to 1048576, found %lld",
                         r->file, (long long)alignment);
    *out = (size_t)alignment;
    return STATUS_OK;
}

/* Places every tensor: offsets are aligned, in the file, and no two overlap. */
static int place_tensors(Reader *r, Tensor *tensors, const uint64_t *offsets, size_t n, size_t alignment)
{
    size_t begin;
    if (!checked_align(r->at, alignment, &begin))
        return truncated(r, "tensor data");
    for (size_t i = 0; i < n; i++) {
        size_t left = begin <= r->size ? r->size - begin : 0;
        if (offsets[i] % alignment != 0)
            return error_set(r->e, STATUS_FAILED, "%s: tensor %s: expected an offset that is a multiple of %zu, found %llu",
                             r->file, tensors[i].name, alignment, (unsigned long long)offsets[i]);
        if (offsets[i] > SIZE_MAX || !checked_range((size_t)offsets[i], tensors[i].size_bytes, left))
            return error_set(
                r->e, STATUS_FAILED,
                "%s: tensor %s: its %zu bytes at offset %llu lie outside the file's %zu bytes of data (truncated?)", r->file,
                tensors[i].name, tensors[i].size_bytes, (unsigned long long)offsets[i], left);
        tensors[i].data = begin <= r->size ? r->data + begin + offsets[i] : r->data + r->size;
    }
    qsort(tensors, n, sizeof *tensors, by_place);
    for (size_t i = 1; i < n; i++)
        if ((const unsigned char *)tensors[i - 1].data + tensors[i - 1].size_bytes > (const unsigned char *)tensors[i].data)
            return error_set(r->e, STATUS_FAILED, "%s: tensor %s: overlaps tensor %s", r->file, tensors[i].name,
                             tensors[i - 1].name);
    return STATUS_OK;
}

int gguf_parse(const unsigned char *data, size_t size, const char *file, Arena *arena, Gguf **out, Tensor **tensors,
               size_t *n_tensors, Error *e)
{
    *out = NULL;
    *tensors = NULL;
    *n_tensors = 0;
    Reader r = {.data = data, .size = size, .file = file, .arena = arena, .e = e};
    uint64_t n = 0, n_values = 0;
    size_t alignment = 32;
    int status = read_header(&r, &n, &n_values);
    if (status)
        return status;
    Gguf *g = arena_array(arena, 1, sizeof *g);
    if (!g)
        return no_memory(&r);
    if ((status = read_values(&r, n_values, g)) || (status = read_alignment(&r, g, &alignment)))
        return status;
    if (n > (size - r.at) / MIN_TENSOR_BYTES)
        return error_set(e, STATUS_FAILED, "%s: %llu tensors do not fit a file of %zu bytes", file, (unsigned long long)n,
                         size);
    size_t count = (size_t)n;
    Tensor *list = arena_array(arena, count ? count : 1, sizeof *list);
    uint64_t *offsets = arena_array(arena, count ? count : 1, sizeof *offsets);
    if (!list || !offsets)
        return no_memory(&r);
    for (size_t i = 0; i < count && !status; i++)
        status = read_tensor(&r, &list[i], &offsets[i]);
    if (!status)
        status = place_tensors(&r, list, offsets, count, alignment);
    if (status)
        return status;
    *out = g;
    *tensors = list;
    *n_tensors = count;
    return STATUS_OK;
}

const GgufValue *gguf_get(const Gguf *g, const char *key)
{
    GgufValue wanted = {.key = key};
    return g->n_values ? bsearch(&wanted, g->values, g->n_values, sizeof *g->values, by_key) : NULL;
}

static bool is_unsigned(GgufType t)
{
    return t == GGUF_U8 || t == GGUF_U16 || t == GGUF_U32 || t == GGUF_U64;
}

static bool is_signed(GgufType t)
{
    return t == GGUF_I8 || t == GGUF_I16 || t == GGUF_I32 || t == GGUF_I64;
}

bool gguf_number(const Gguf *g, const char *key, double *out)
{
    const GgufValue *v = gguf_get(g, key);
    if (v && is_unsigned(v->type))
        *out = (double)v->as.u;
    else if (v && is_signed(v->type))
        *out = (double)v->as.i;
    else if (v && (v->type == GGUF_F32 || v->type == GGUF_F64))
        *out = v->as.f;
    else
        return false;
    return true;
}

bool gguf_integer(const Gguf *g, const char *key, int64_t *out)
{
    const GgufValue *v = gguf_get(g, key);
    if (v && is_unsigned(v->type) && v->as.u <= INT64_MAX)
        *out = (int64_t)v->as.u;
    else if (v && is_signed(v->type))
        *out = v->as.i;
    else
        return false;
    return true;
}

bool gguf_bool(const Gguf *g, const char *key, bool *out)
{
    const GgufValue *v = gguf_get(g, key);
    if (!v || v->type != GGUF_BOOL)
        return false;
    *out = v->as.b;
    return true;
}

bool gguf_string(const Gguf *g, const char *key, GgufString *out)
{
    const GgufValue *v = gguf_get(g, key);
    if (!v || v->type != GGUF_STRING)
        return false;
    *out = v->as.string;
    return true;
}

/* Item i of an array as a value of its type; a zero when there is none. */
static GgufValue array_item(const GgufValue *v, size_t i)
{
    GgufValue item = {.type = GGUF_U8};
    if (v->type != GGUF_ARRAY || i >= v->array_len || v->array_type == GGUF_STRING)
        return item;
    for (size_t t = 0; t < N_VALUE_TYPES; t++) {
        if (value_types[t].type == v->array_type) {
            item.type = v->array_type;
            load_scalar(item.type, v->items + i * value_types[t].bytes, value_types[t].bytes, &item);
        }
    }
    return item;
}

double gguf_array_number(const GgufValue *v, size_t i)
{
    GgufValue item = array_item(v, i);
    if (item.type == GGUF_F32 || item.type == GGUF_F64)
        return item.as.f;
    if (item.type == GGUF_BOOL)
        return item.as.b;
    return is_signed(item.type) ? (double)item.as.i : (double)item.as.u;
}

int64_t gguf_array_integer(const GgufValue *v, size_t i)
{
    GgufValue item = array_item(v, i);
    if (item.type == GGUF_F32 || item.type == GGUF_F64)
        return item.as.f > -9e18 && item.as.f < 9e18 ? (int64_t)item.as.f : 0;
    if (item.type == GGUF_BOOL)
        return item.as.b;
    return item.as.i; /* an unsigned item beyond INT64_MAX wraps to a negative, which every caller's bounds refuse */
}
