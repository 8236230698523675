/* audit_record.c: reading dumps. Files are hostile: tensor_file.h has checked sizes and ranges, here names, shapes and ids are. */
#include "experiments/audit_record.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/convert.h"
#include "loaders/tensor_file.h"

int audit_record_add(AuditRecord *r, const char *name, size_t rows, size_t cols, AuditTensor **out, Error *e)
{
    if (r->n_tensors == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 64;
        AuditTensor *grown = realloc(r->tensors, cap * sizeof *grown);
        if (!grown)
            return error_set(e, STATUS_FAILED, "audit: out of memory for %s", name);
        r->tensors = grown;
        r->cap = cap;
    }
    AuditTensor *t = &r->tensors[r->n_tensors];
    memset(t, 0, sizeof *t);
    strncpy(t->name, name, sizeof t->name - 1);
    t->rows = rows;
    t->cols = cols;
    t->v = arena_array(&r->arena, rows * cols + 1, sizeof *t->v);
    if (!t->v)
        return error_set(e, STATUS_FAILED, "audit: out of memory for %zu values of %s", rows * cols, name);
    r->n_tensors++;
    *out = t;
    return STATUS_OK;
}

AuditTensor *audit_record_find(const AuditRecord *r, const char *name)
{
    for (size_t i = 0; i < r->n_tensors; i++)
        if (strcmp(r->tensors[i].name, name) == 0)
            return &r->tensors[i];
    return NULL;
}

static int read_ids(const TensorFile *f, const char *path, size_t vocab, AuditRecord *out, Error *e)
{
    const Tensor *t = tensor_file_find(f, "ids");
    if (!t || t->dtype != DTYPE_I64 || t->n_dims != 1 || t->shape[0] == 0 || t->shape[0] > INT32_MAX)
        return error_set(e, STATUS_FAILED, "%s: ids: expected I64 [tokens], found %s; write dumps with tools/dump_hf.py", path,
                         t ? dtype_name(t->dtype) : "none");
    out->n_tokens = t->shape[0];
    out->ids = arena_array(&out->arena, out->n_tokens, sizeof *out->ids);
    if (!out->ids)
        return error_set(e, STATUS_FAILED, "%s: out of memory for %zu ids", path, out->n_tokens);
    for (size_t i = 0; i < out->n_tokens; i++) {
        int64_t id;
        memcpy(&id, (const char *)t->data + i * sizeof id, sizeof id);
        if (id < 0 || (uint64_t)id >= vocab)
            return error_set(e, STATUS_FAILED, "%s: ids: token %zu is %lld, expected 0 to %zu, the model's", path, i,
                             (long long)id, vocab - 1);
        out->ids[i] = (int32_t)id;
    }
    return STATUS_OK;
}

static int read_tensor(const Tensor *t, const char *path, AuditRecord *out, Error *e)
{
    if (t->n_dims != 2 || t->shape[0] != out->n_tokens || t->shape[1] == 0 ||
        (t->dtype != DTYPE_F32 && t->dtype != DTYPE_BF16) || strlen(t->name) >= AUDIT_NAME_MAX)
        return error_set(e, STATUS_FAILED, "%s: %.60s: expected F32 or BF16 [%zu, columns], found %s with %d sides", path,
                         t->name, out->n_tokens, dtype_name(t->dtype), t->n_dims);
    if (out->store != DTYPE_NONE && out->store != t->dtype)
        return error_set(e, STATUS_FAILED, "%s: %s is %s, expected %s as the tensors before it", path, t->name,
                         dtype_name(t->dtype), dtype_name(out->store));
    out->store = t->dtype;
    AuditTensor *to;
    int status = audit_record_add(out, t->name, t->shape[0], t->shape[1], &to, e);
    float *narrow = status ? NULL : malloc(t->shape[1] * sizeof *narrow);
    if (!status && !narrow)
        status = error_set(e, STATUS_FAILED, "%s: %s: out of memory", path, t->name);
    size_t row_bytes = t->shape[1] * dtype_block_bytes(t->dtype);
    for (size_t r = 0; !status && r < t->shape[0]; r++) {
        convert_f32(t->dtype, (const char *)t->data + r * row_bytes, t->shape[1], narrow);
        for (size_t c = 0; c < t->shape[1]; c++)
            to->v[r * t->shape[1] + c] = (double)narrow[c];
    }
    free(narrow);
    return status;
}

int audit_record_read(const char *path, size_t vocab, AuditRecord *out, Error *e)
{
    memset(out, 0, sizeof *out);
    TensorFile f = {0};
    int status = tensor_file_open(path, &f, e);
    if (!status)
        status = read_ids(&f, path, vocab, out, e);
    for (size_t i = 0; !status && i < f.n_tensors; i++)
        if (strcmp(f.tensors[i].name, "ids") != 0)
            status = read_tensor(&f.tensors[i], path, out, e);
    if (!status && out->store == DTYPE_NONE)
        status = error_set(e, STATUS_FAILED, "%s: holds ids alone: expected what tools/dump_hf.py writes", path);
    tensor_file_close(&f);
    if (status)
        audit_record_free(out);
    return status;
}

void audit_record_free(AuditRecord *r)
{
    if (!r)
        return;
    free(r->tensors);
    arena_free(&r->arena);
    memset(r, 0, sizeof *r);
}
