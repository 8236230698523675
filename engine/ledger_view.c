/* ledger_view.c: reading a finished ledger through a read-only map. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/ledger.h"
#include "loaders/safetensors.h"

typedef struct Column {
    const char *name;
    DType dtype;
    int n_dims;
    size_t at; /* offset of the pointer in LedgerView */
} Column;

static const Column columns[] = {
    {"rank", DTYPE_I32, 2, offsetof(LedgerView, rank)},
    {"top1", DTYPE_I32, 2, offsetof(LedgerView, top1)},
    {"kl", DTYPE_F32, 2, offsetof(LedgerView, kl)},
    {"word_start_logp", DTYPE_F32, 2, offsetof(LedgerView, word_start_logp)},
    {"token_id", DTYPE_I32, 1, offsetof(LedgerView, token_id)},
    {"row", DTYPE_I32, 1, offsetof(LedgerView, row)},
    {"window", DTYPE_I32, 1, offsetof(LedgerView, window)},
    {"position", DTYPE_I32, 1, offsetof(LedgerView, position)},
    {"byte_start", DTYPE_I64, 1, offsetof(LedgerView, byte_start)},
    {"byte_end", DTYPE_I64, 1, offsetof(LedgerView, byte_end)},
};

static const Tensor *find(const Tensor *tensors, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(tensors[i].name, name) == 0)
            return &tensors[i];
    return NULL;
}

/* Typed pointers into the map: data begin at a multiple of 64 and wide types come first, which is checked here. */
static int bind(LedgerView *v, const Tensor *tensors, size_t n, const char *path, Error *e)
{
    const Tensor *nll = find(tensors, n, "nll");
    if (!nll || nll->n_dims != 2 || (nll->dtype != DTYPE_F32 && nll->dtype != DTYPE_F64))
        return error_set(e, STATUS_FAILED, "%s: nll: expected F32 or F64 [orders, tokens]", path);
    v->nll = nll->data;
    v->nll_dtype = nll->dtype;
    v->n_orders = nll->shape[0];
    v->n_tokens = nll->shape[1];
    if ((uintptr_t)nll->data % dtype_block_bytes(nll->dtype))
        return error_set(e, STATUS_FAILED, "%s: nll is not aligned", path);
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        const Column *c = &columns[i];
        const Tensor *t = find(tensors, n, c->name);
        bool fits = t && t->dtype == c->dtype && t->n_dims == c->n_dims &&
                    (c->n_dims == 2 ? t->shape[0] == v->n_orders && t->shape[1] == v->n_tokens : t->shape[0] == v->n_tokens) &&
                    (uintptr_t)t->data % dtype_block_bytes(t->dtype) == 0;
        if (!fits)
            return error_set(e, STATUS_FAILED, "%s: %s: missing or misshapen, expected %s for %zu orders and %zu tokens", path,
                             c->name, dtype_name(c->dtype), v->n_orders, v->n_tokens);
        memcpy((char *)v + c->at, &t->data, sizeof t->data);
    }
    return STATUS_OK;
}

/* The header's __metadata__.fingerprint; safetensors_parse has checked the header already. */
static int read_fingerprint(LedgerView *v, Arena *arena, const char *path, Error *e)
{
    const unsigned char *data = v->map;
    uint64_t len = 0;
    for (int i = 7; i >= 0; i--)
        len = len << 8 | data[i];
    const JsonValue *root;
    int status = json_parse((const char *)data + 8, (size_t)len, path, arena, &root, e);
    const JsonValue *meta = status ? NULL : json_get(root, "__metadata__");
    const JsonValue *text = meta ? json_get(meta, "fingerprint") : NULL;
    if (text && text->kind == JSON_STRING && !(v->fingerprint = strdup(text->string)))
        status = error_set(e, STATUS_FAILED, "%s: out of memory", path);
    return status;
}

int ledger_view_open(const char *path, LedgerView *out, Error *e)
{
    FileMap map;
    Arena arena = {0};
    Tensor *tensors;
    size_t n;
    memset(out, 0, sizeof *out);
    int status = file_map(path, &map, e);
    if (status)
        return status;
    out->map = (void *)map.data;
    out->map_bytes = map.size_bytes;
    status = safetensors_parse(map.data, map.size_bytes, path, &arena, &tensors, &n, e);
    if (!status)
        status = bind(out, tensors, n, path, e);
    if (!status)
        status = read_fingerprint(out, &arena, path, e);
    arena_free(&arena);
    if (status)
        ledger_view_close(out);
    return status;
}

double ledger_view_nll(const LedgerView *v, size_t order, size_t token)
{
    size_t i = order * v->n_tokens + token;
    return v->nll_dtype == DTYPE_F64 ? ((const double *)v->nll)[i] : (double)((const float *)v->nll)[i];
}

void ledger_view_close(LedgerView *v)
{
    if (!v)
        return;
    FileMap map = {.data = v->map, .size_bytes = v->map_bytes};
    file_unmap(&map);
    free(v->fingerprint);
    memset(v, 0, sizeof *v);
}
