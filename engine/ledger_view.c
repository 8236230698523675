/* ledger_view.c: reading ledger.safetensors, mapped. The file may be anybody's: every array is looked up by name and checked in dtype,
 * shape and alignment before a pointer is given out; the container itself (ranges, overlaps, sizes) is loaders/safetensors.c's.
 * The part file of an unfinished run opens too: its blocks without a journal line hold zeros or half-written values.
 * Values are not checked: rows, windows and bytes are the caller's to bound. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/sha256.h"
#include "engine/ledger.h"
#include "engine/ledger_layout.h"
#include "loaders/safetensors.h"

static const Tensor *find(const Tensor *tensors, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(tensors[i].name, name) == 0)
            return &tensors[i];
    return NULL;
}

/* Checks array a and gives its data. The first array of each rank sets the sizes that the others must have. */
static int check_array(const char *path, const Tensor *t, int a, LedgerView *v, const void **data, Error *e)
{
    const LedgerArray *want = &ledger_layout[a];
    if (!t)
        return error_set(e, STATUS_FAILED, "%s: expected an array %s, found none", path, want->name);
    bool right_dtype = want->dtype == DTYPE_NONE ? t->dtype == DTYPE_F32 || t->dtype == DTYPE_F64 : t->dtype == want->dtype;
    if (!right_dtype)
        return error_set(e, STATUS_FAILED, "%s: %s: expected %s, found %s", path, want->name,
                         want->dtype == DTYPE_NONE ? "F32 or F64" : dtype_name(want->dtype), dtype_name(t->dtype));
    int n_dims = want->per_order ? 2 : 1;
    if (t->n_dims != n_dims)
        return error_set(e, STATUS_FAILED, "%s: %s: expected %d dimensions, found %d", path, want->name, n_dims, t->n_dims);
    if (a == LEDGER_BYTE_START)
        v->n_tokens = t->shape[0];
    if (a == LEDGER_NLL) {
        v->n_orders = t->shape[0];
        v->nll_dtype = t->dtype;
    }
    if (t->shape[n_dims - 1] != v->n_tokens || (want->per_order && t->shape[0] != v->n_orders))
        return error_set(e, STATUS_FAILED, "%s: %s: its shape does not fit: expected %zu orders of %zu tokens", path,
                         want->name, v->n_orders, v->n_tokens);
    if ((uintptr_t)t->data % dtype_block_bytes(t->dtype) != 0)
        return error_set(e, STATUS_FAILED, "%s: %s: expected data at a multiple of %zu bytes, found offset %zu", path,
                         want->name, dtype_block_bytes(t->dtype),
                         (size_t)((const unsigned char *)t->data - (const unsigned char *)v->map));
    *data = t->data;
    return STATUS_OK;
}

/* "__metadata__". The header's length and JSON were checked by safetensors_parse. */
static int read_metadata(const char *path, const LedgerView *v, Arena *arena, const JsonValue **out, Error *e)
{
    const unsigned char *data = v->map;
    uint64_t length = 0;
    for (int i = 0; i < 8; i++)
        length |= (uint64_t)data[i] << 8 * i;
    const JsonValue *root;
    int status = json_parse((const char *)data + 8, (size_t)length, path, arena, &root, e);
    if (status)
        return status;
    *out = json_get(root, "__metadata__");
    return STATUS_OK;
}

static int read_fingerprint(const char *path, LedgerView *v, Arena *arena, Error *e)
{
    const JsonValue *metadata;
    int status = read_metadata(path, v, arena, &metadata, e);
    if (status)
        return status;
    const JsonValue *fingerprint = metadata ? json_get(metadata, "fingerprint") : NULL;
    if (!fingerprint || fingerprint->kind != JSON_STRING || strlen(fingerprint->string) != fingerprint->len)
        return error_set(e, STATUS_FAILED, "%s: expected a fingerprint in its metadata, found none", path);
    v->fingerprint = strdup(fingerprint->string);
    return v->fingerprint ? STATUS_OK : error_set(e, STATUS_FAILED, "%s: out of memory", path);
}

int ledger_view_open(const char *path, LedgerView *out, Error *e)
{
    memset(out, 0, sizeof *out);
    FileMap map;
    Arena arena = {0};
    Tensor *tensors;
    size_t n = 0;
    const void *array[LEDGER_N_ARRAYS] = {0};
    int status = file_map(path, &map, e);
    if (status)
        return status;
    out->map = (void *)(uintptr_t)map.data;
    out->map_bytes = map.size_bytes;
    status = safetensors_parse(map.data, map.size_bytes, path, &arena, &tensors, &n, e);
    if (!status)
        status = read_fingerprint(path, out, &arena, e);
    for (int a = 0; !status && a < LEDGER_N_ARRAYS; a++)
        status = check_array(path, find(tensors, n, ledger_layout[a].name), a, out, &array[a], e);
    if (!status && !out->n_orders)
        status = error_set(e, STATUS_FAILED, "%s: expected at least one order, found none", path);
    arena_free(&arena);
    if (status) {
        ledger_view_close(out);
        return status;
    }
    out->byte_start = array[LEDGER_BYTE_START];
    out->byte_end = array[LEDGER_BYTE_END];
    out->nll = array[LEDGER_NLL];
    out->kl = array[LEDGER_KL];
    out->word_start_logp = array[LEDGER_WORD_START_LOGP];
    out->rank = array[LEDGER_RANK];
    out->top1 = array[LEDGER_TOP1];
    out->token_id = array[LEDGER_TOKEN_ID];
    out->row = array[LEDGER_ROW];
    out->window = array[LEDGER_WINDOW];
    out->position = array[LEDGER_POSITION];
    return STATUS_OK;
}

int ledger_view_verify(const LedgerView *v, const char *path, Error *e)
{
    const void *array[LEDGER_N_ARRAYS] = {[LEDGER_BYTE_START] = v->byte_start,
                                          [LEDGER_BYTE_END] = v->byte_end,
                                          [LEDGER_NLL] = v->nll,
                                          [LEDGER_KL] = v->kl,
                                          [LEDGER_WORD_START_LOGP] = v->word_start_logp,
                                          [LEDGER_RANK] = v->rank,
                                          [LEDGER_TOP1] = v->top1,
                                          [LEDGER_TOKEN_ID] = v->token_id,
                                          [LEDGER_ROW] = v->row,
                                          [LEDGER_WINDOW] = v->window,
                                          [LEDGER_POSITION] = v->position};
    const JsonValue *metadata;
    Arena arena = {0};
    char damaged[512] = "";
    int status = read_metadata(path, v, &arena, &metadata, e);
    for (int a = 0; !status && a < LEDGER_N_ARRAYS; a++) {
        const LedgerArray *l = &ledger_layout[a];
        DType dtype = l->dtype == DTYPE_NONE ? v->nll_dtype : l->dtype;
        char key[LEDGER_DIGEST_KEY], hex[65];
        Sha256 sha;
        sha256_begin(&sha);
        sha256_update(&sha, array[a], (l->per_order ? v->n_orders : 1) * v->n_tokens * dtype_block_bytes(dtype));
        sha256_end(&sha, hex);
        snprintf(key, sizeof key, LEDGER_DIGEST "%s", l->name);
        const JsonValue *digest = metadata ? json_get(metadata, key) : NULL;
        if (!digest || digest->kind != JSON_STRING || strcmp(digest->string, hex) != 0) {
            size_t len = strlen(damaged);
            snprintf(damaged + len, sizeof damaged - len, "%s%s", len ? ", " : "", l->name);
        }
    }
    arena_free(&arena);
    if (!status && *damaged)
        status = error_set(e, STATUS_FAILED, "%s: damaged: %s: not the bytes whose sha256 the metadata carry", path, damaged);
    return status;
}

double ledger_view_nll(const LedgerView *v, size_t order, size_t token)
{
    size_t at = order * v->n_tokens + token;
    return v->nll_dtype == DTYPE_F64 ? ((const double *)v->nll)[at] : (double)((const float *)v->nll)[at];
}

void ledger_view_close(LedgerView *v)
{
    if (!v)
        return;
    FileMap map = {v->map, v->map_bytes};
    file_unmap(&map);
    free(v->fingerprint);
    memset(v, 0, sizeof *v);
}
