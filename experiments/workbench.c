/* workbench.c: opening model, tokenizer and session from a study's common options. */
#include "experiments/workbench.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "loaders/tensor_file.h"

enum { DEFAULT_CONTEXT = 1024 };

static const char *or_default(const char *value, const char *otherwise)
{
    return value && value[0] ? value : otherwise;
}

static bool has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

int workbench_open_tokenizer(const ModelPath *path, Tokenizer **out, Error *e)
{
    if (!has_suffix(path->path, ".gguf"))
        return tokenizer_open_dir(path->path, out, e);
    TensorFile files;
    int status = tensor_file_open(path->path, &files, e);
    if (status)
        return status;
    status = tokenizer_open_gguf(files.gguf, path->path, out, e);
    tensor_file_close(&files);
    return status;
}

/* True when the model has files a tokenizer could be read from. */
static bool has_tokenizer_files(const Workbench *w)
{
    if (w->model.files.gguf)
        return gguf_get(w->model.files.gguf, "tokenizer.ggml.tokens") != NULL;
    static const char *const names[] = {"tokenizer.json", "tokenizer.model"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = file_join(w->path.path, names[i]);
        bool there = path && file_exists(path);
        free(path);
        if (there)
            return true;
    }
    return false;
}

static int choose_device(Workbench *w, SessionOptions *so, Error *e)
{
    int status = device_choose(w->common->gpu_id, w->numerics, w->common->dtype, &w->chosen, e);
    so->device = w->chosen.kind;
    so->device_index = w->chosen.index;
    so->dtype = w->dtype = w->chosen.dtype;
    w->device = w->chosen.stamp;
    return status;
}

static int choose_bos(Workbench *w, Error *e)
{
    const char *bos = or_default(w->common->bos, "auto");
    w->bos_id = w->tokenizer && tokenizer_bos(w->tokenizer) >= 0 ? tokenizer_bos(w->tokenizer) : w->model.traits.bos_id;
    if (strcmp(bos, "auto") == 0)
        w->bos = w->tokenizer && tokenizer_adds_bos(w->tokenizer);
    else if (strcmp(bos, "yes") == 0)
        w->bos = true;
    else if (strcmp(bos, "no") != 0)
        return error_set(e, STATUS_USAGE, "--bos: \"%s\", expected auto, yes or no", bos);
    if (w->bos && (w->bos_id < 0 || (size_t)w->bos_id >= w->model.traits.vocab))
        return error_set(e, STATUS_USAGE, "--bos yes: %s names no beginning-of-sequence token", w->path.path);
    return STATUS_OK;
}

static int choose_context(Workbench *w, Error *e)
{
    int most = w->model.traits.max_positions, asked = w->common->context;
    if (asked < 0 || asked == 1)
        return error_set(e, STATUS_USAGE, "--context: %d, expected at least 2", asked);
    if (w->model.traits.learned_positions && asked > most)
        return error_set(e, STATUS_USAGE, "--context: %d, expected at most %d, the model's learned positions", asked, most);
    w->context = (size_t)(asked ? asked : most > 0 && most < DEFAULT_CONTEXT ? most : DEFAULT_CONTEXT);
    return STATUS_OK;
}

int workbench_open(const StrataCommon *common, TokenizerNeed need, Workbench *out, Error *e)
{
    memset(out, 0, sizeof *out);
    out->common = common;
    out->numerics = or_default(common->numerics, "fast");
    out->rope = or_default(common->rope, "hf32");
    out->bos_id = -1;
    SessionOptions so = {.numerics = out->numerics,
                         .threads = common->threads,
                         .memory_bytes = (size_t)common->memory_bytes,
                         .rope = strcmp(out->rope, "real") == 0 ? ROPE_REAL : ROPE_HF32};
    int status = STATUS_USAGE;
    if (!common->model_name || !common->model_name[0]) {
        error_set(e, status, "--model_name is missing: expected a hub id, a directory, or a .gguf file");
        goto fail;
    }
    if (strcmp(out->rope, "real") != 0 && strcmp(out->rope, "hf32") != 0) {
        error_set(e, status, "--rope: \"%s\", expected hf32 or real", out->rope);
        goto fail;
    }
    if ((status = choose_device(out, &so, e)) || (status = model_lookup(common->model_name, common->revision, &out->path, e)) ||
        (status = model_open(out->path.path, &out->model, e)))
        goto fail;
    if (need == TOKENIZER_REQUIRED || (need == TOKENIZER_IF_THERE && has_tokenizer_files(out))) {
        status = out->model.files.gguf ? tokenizer_open_gguf(out->model.files.gguf, out->path.path, &out->tokenizer, e)
                                       : tokenizer_open_dir(out->path.path, &out->tokenizer, e);
        if (status)
            goto fail;
        size_t vocab = tokenizer_vocab(out->tokenizer), rows = out->model.traits.vocab;
        out->word_start = calloc(vocab > rows ? vocab : rows, 1);
        if (!out->word_start) {
            status = error_set(e, STATUS_FAILED, "%s: out of memory for %zu tokens", out->path.path, vocab);
            goto fail;
        }
        tokenizer_word_starts(out->tokenizer, out->word_start);
    }
    if ((status = choose_bos(out, e)) || (status = choose_context(out, e)) ||
        (status = session_open(&out->model, &so, &out->session, e)))
        goto fail;
    return STATUS_OK;
fail:
    workbench_close(out);
    return status;
}

void workbench_close(Workbench *w)
{
    if (!w)
        return;
    session_close(&w->session);
    tokenizer_close(w->tokenizer);
    model_close(&w->model);
    model_path_free(&w->path);
    free(w->word_start);
    memset(w, 0, sizeof *w);
}

bool workbench_stopped(const Workbench *w)
{
    return w->common->stop && *w->common->stop;
}

static int parse_ids(const Workbench *w, const char *text, int32_t **out, size_t *n, Error *e)
{
    size_t cap = strlen(text) / 2 + 2;
    int32_t *ids = malloc(cap * sizeof *ids);
    if (!ids)
        return error_set(e, STATUS_FAILED, "--ids: out of memory");
    *n = 0;
    for (const char *s = text; *s;) {
        char *end;
        long id = strtol(s, &end, 10);
        if (end == s || id < 0 || (size_t)id >= w->model.traits.vocab) {
            int column = (int)(s - text) + 1;
            free(ids);
            return error_set(e, STATUS_USAGE,
                             "--ids: column %d: expected ids from 0 to %zu separated by commas, found \"%.20s\"", column,
                             w->model.traits.vocab - 1, s);
        }
        ids[(*n)++] = (int32_t)id;
        for (s = end; *s == ',' || isspace((unsigned char)*s); s++)
            ;
    }
    *out = ids;
    return STATUS_OK;
}

int workbench_ids(const Workbench *w, const char *text, const char *ids, int32_t **out, size_t *n, Error *e)
{
    *out = NULL;
    *n = 0;
    int status = STATUS_OK;
    if ((text != NULL) == (ids != NULL))
        return error_set(e, STATUS_USAGE, "expected either --text or --ids");
    if (ids) {
        status = parse_ids(w, ids, out, n, e);
    } else {
        if (!w->tokenizer)
            return error_set(e, STATUS_USAGE, "--text: %s has no tokenizer; give --ids", w->path.path);
        TokenList list = {0};
        status = tokenizer_encode(w->tokenizer, text, strlen(text), false, &list, e);
        size_t bos = w->bos ? 1 : 0;
        if (!status && !(*out = malloc((list.n + bos + 1) * sizeof **out)))
            status = error_set(e, STATUS_FAILED, "--text: out of memory for %zu tokens", list.n);
        if (!status) {
            if (bos)
                (*out)[(*n)++] = w->bos_id;
            for (size_t i = 0; i < list.n; i++)
                (*out)[(*n)++] = list.tokens[i].id;
        }
        token_list_free(&list);
    }
    if (!status && *n == 0)
        status = error_set(e, STATUS_USAGE, "the text gives no token: expected at least one");
    if (!status && *n > w->context && (w->model.traits.learned_positions || w->common->context))
        status = error_set(e, STATUS_USAGE, "the text gives %zu tokens, expected at most %zu (--context)", *n, w->context);
    for (size_t i = 0; !status && i < *n; i++)
        if ((size_t)(*out)[i] >= w->model.traits.vocab)
            status = error_set(e, STATUS_FAILED, "%s: the tokenizer gives id %d, expected below the model's %zu", w->path.path,
                               (*out)[i], w->model.traits.vocab);
    if (status) {
        free(*out);
        *out = NULL;
    }
    return status;
}
