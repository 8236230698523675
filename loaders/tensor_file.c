/* tensor_file.c: opens a model's tensors: chooses the files of a directory as Hugging Face does (model.safetensors first, else
 * the shards that model.safetensors.index.json names), or all parts of a split GGUF file, maps them, and joins their tensors into
 * one list sorted by name. */
#include "loaders/tensor_file.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/json.h"
#include "loaders/gguf.h"
#include "loaders/safetensors.h"

static const size_t MAX_INDEX_BYTES = (size_t)256 << 20;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const Tensor *)a)->name, ((const Tensor *)b)->name);
}

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

static int no_memory(const char *path, Error *e)
{
    return error_set(e, STATUS_FAILED, "%s: out of memory while opening", path);
}

/* Room for n files; maps and paths are filled one by one. */
static int reserve_maps(TensorFile *f, size_t n, const char *path, Error *e)
{
    f->maps = arena_array(&f->arena, n, sizeof *f->maps);
    f->paths = arena_array(&f->arena, n, sizeof *f->paths);
    return f->maps && f->paths ? STATUS_OK : no_memory(path, e);
}

/* Maps one more file and appends its tensors. */
static int add_file(TensorFile *f, const char *path, Error *e)
{
    char *kept = arena_strndup(&f->arena, path, strlen(path));
    if (!kept)
        return no_memory(path, e);
    FileMap *map = &f->maps[f->n_maps];
    int status = file_map(path, map, e);
    if (status)
        return status;
    f->paths[f->n_maps++] = kept;
    Tensor *tensors;
    size_t n;
    if (map->size_bytes >= 4 && memcmp(map->data, "GGUF", 4) == 0)
        status = gguf_parse(map->data, map->size_bytes, kept, &f->arena, &f->gguf, &tensors, &n, e);
    else if (ends_with(path, ".gguf"))
        status = error_set(e, STATUS_FAILED, "%s: byte 0: expected a GGUF file's magic \"GGUF\", found something else", path);
    else
        status = safetensors_parse(map->data, map->size_bytes, kept, &f->arena, &tensors, &n, e);
    if (status)
        return status;
    if (f->n_tensors == 0) {
        f->tensors = tensors;
        f->n_tensors = n;
        return STATUS_OK;
    }
    size_t total;
    Tensor *joined = checked_add(f->n_tensors, n, &total) ? arena_array(&f->arena, total, sizeof *joined) : NULL;
    if (!joined)
        return no_memory(path, e);
    memcpy(joined, f->tensors, f->n_tensors * sizeof *joined);
    if (n)
        memcpy(joined + f->n_tensors, tensors, n * sizeof *joined);
    f->tensors = joined;
    f->n_tensors = total;
    return STATUS_OK;
}

/* A shard is a plain file name inside the directory, nothing that could lead elsewhere. */
static bool plain_name(const JsonValue *v)
{
    return v->kind == JSON_STRING && v->len > 0 && v->len <= 255 && strlen(v->string) == v->len && !strchr(v->string, '/') &&
           !strstr(v->string, "..") && v->string[0] != '.' && ends_with(v->string, ".safetensors");
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct shard names of a weight map, sorted. */
static int collect_shards(const JsonValue *map, const char *index_path, Arena *arena, const char ***shards, size_t *n_shards,
                          Error *e)
{
    if (!map || map->kind != JSON_OBJECT || map->len == 0)
        return error_set(e, STATUS_FAILED, "%s: expected \"weight_map\", an object from tensor names to files", index_path);
    const char **names = arena_array(arena, map->len, sizeof *names);
    if (!names)
        return no_memory(index_path, e);
    for (size_t i = 0; i < map->len; i++) {
        if (!plain_name(&map->items[i]))
            return error_set(e, STATUS_FAILED,
                             "%s: tensor %s: expected the name of a .safetensors file beside it, found \"%s\"", index_path,
                             map->keys[i].string, map->items[i].kind == JSON_STRING ? map->items[i].string : "(not a string)");
        names[i] = map->items[i].string;
    }
    qsort(names, map->len, sizeof *names, by_string);
    size_t n = 0;
    for (size_t i = 0; i < map->len; i++)
        if (n == 0 || strcmp(names[n - 1], names[i]) != 0)
            names[n++] = names[i];
    *shards = names;
    *n_shards = n;
    return STATUS_OK;
}

static int check_shards_exist(const char *dir, const char **shards, size_t n, Error *e)
{
    size_t n_missing = 0;
    const char *first = NULL;
    for (size_t i = 0; i < n; i++) {
        char *path = file_join(dir, shards[i]);
        if (!path)
            return no_memory(dir, e);
        if (!file_exists(path)) {
            first = first ? first : shards[i];
            n_missing++;
        }
        free(path);
    }
    if (n_missing == 0)
        return STATUS_OK;
    return error_set(
        e, STATUS_FAILED,
        "%s: incomplete: %zu of %zu weight files are missing, the first is %s; fetch them with `strata pull --model ID`", dir,
        n_missing, n, first);
}

/* Every tensor of the weight map must lie in the shard that it names. */
static int check_weight_map(const TensorFile *f, const JsonValue *map, const char *index_path, Error *e)
{
    for (size_t i = 0; i < map->len; i++) {
        const JsonValue *key = &map->keys[i];
        const Tensor *t = strlen(key->string) == key->len ? tensor_file_find(f, key->string) : NULL;
        if (!t || strcmp(file_basename(t->file), map->items[i].string) != 0)
            return error_set(e, STATUS_FAILED, "%s: tensor %s: expected it in %s, found it in %s", index_path, key->string,
                             map->items[i].string, t ? file_basename(t->file) : "no file");
    }
    return STATUS_OK;
}

static int sort_tensors(TensorFile *f, const char *path, Error *e)
{
    qsort(f->tensors, f->n_tensors, sizeof *f->tensors, by_name);
    for (size_t i = 1; i < f->n_tensors; i++)
        if (strcmp(f->tensors[i - 1].name, f->tensors[i].name) == 0)
            return error_set(e, STATUS_FAILED, "%s: tensor %s: expected each name once, found it in %s and in %s", path,
                             f->tensors[i].name, file_basename(f->tensors[i - 1].file), file_basename(f->tensors[i].file));
    return STATUS_OK;
}

static int open_index(TensorFile *f, const char *dir, const char *index_path, Error *e)
{
    StrBuf text = {0};
    const JsonValue *root = NULL, *map;
    const char **shards = NULL;
    size_t n_shards = 0;
    int status = file_read(index_path, MAX_INDEX_BYTES, &text, e);
    if (!status)
        status = json_parse(text.data ? text.data : "", text.len, index_path, &f->arena, &root, e);
    if (status)
        goto done;
    map = json_get(root, "weight_map");
    if ((status = collect_shards(map, index_path, &f->arena, &shards, &n_shards, e)) ||
        (status = check_shards_exist(dir, shards, n_shards, e)) || (status = reserve_maps(f, n_shards, dir, e)))
        goto done;
    for (size_t i = 0; i < n_shards && !status; i++) {
        char *path = file_join(dir, shards[i]);
        status = path ? add_file(f, path, e) : no_memory(dir, e);
        free(path);
    }
    if (!status)
        status = sort_tensors(f, dir, e);
    if (!status)
        status = check_weight_map(f, map, index_path, e);
done:
    strbuf_free(&text);
    return status;
}

/* Nothing to open: says what lies there instead and what to do. */
static int explain_directory(const char *dir, Error *e)
{
    DIR *d = opendir(dir);
    if (!d)
        return error_set(e, STATUS_FAILED, "%s: cannot be listed", dir);
    char bin[256] = "", gguf[256] = "", other[256] = "";
    for (struct dirent *entry; (entry = readdir(d));) {
        const char *name = entry->d_name;
        size_t len = strlen(name);
        if (len >= sizeof bin)
            continue;
        bool safetensors = ends_with(name, ".safetensors");
        if (ends_with(name, ".gguf"))
            memcpy(gguf, name, len + 1);
        else if (ends_with(name, ".bin") || ends_with(name, ".bin.index.json") || ends_with(name, ".pth") ||
                 ends_with(name, ".pt") || (safetensors && strncmp(name, "consolidated", 12) == 0))
            memcpy(bin, name, len + 1);
        else if (safetensors)
            memcpy(other, name, len + 1);
    }
    closedir(d);
    if (gguf[0])
        return error_set(e, STATUS_FAILED, "%s: no model.safetensors here; to use the GGUF file give its path: %s/%s", dir, dir,
                         gguf);
    if (bin[0])
        return error_set(
            e, STATUS_FAILED,
            "%s: holds %s but no model.safetensors; only safetensors in Hugging Face's layout and GGUF are read: "
            "fetch such files with `strata pull --model ID`, or convert these with save_pretrained of transformers",
            dir, bin);
    if (other[0])
        return error_set(e, STATUS_FAILED,
                         "%s: holds %s but neither model.safetensors nor model.safetensors.index.json; fetch the missing files "
                         "with `strata pull --model ID`",
                         dir, other);
    return error_set(e, STATUS_FAILED,
                     "%s: no weights: expected model.safetensors or model.safetensors.index.json; fetch them with "
                     "`strata pull --model ID`",
                     dir);
}

/* "NAME-00002-of-00005.gguf" is part 2 of 5 as llama.cpp splits a file: n_parts, and how many bytes of the path lie before the
 * part's number. False for any other name. */
static bool split_name(const char *path, size_t *stem_len, unsigned *n_parts)
{
    static const char shape[] = "-00000-of-00000.gguf";
    size_t len = strlen(path), n = sizeof shape - 1;
    if (len <= n)
        return false;
    const char *tail = path + len - n;
    for (size_t i = 0; i < n; i++)
        if (shape[i] == '0' ? tail[i] < '0' || tail[i] > '9' : tail[i] != shape[i])
            return false;
    *stem_len = len - n;
    *n_parts = (unsigned)strtoul(tail + 10, NULL, 10);
    return *n_parts > 0;
}

static int64_t split_number(const Gguf *g, const char *key, int64_t absent)
{
    int64_t x = absent;
    return gguf_integer(g, key, &x) ? x : absent;
}

/* All parts of a split GGUF file, whichever of them was named. The metadata is the first part's. */
static int open_split(TensorFile *f, const char *path, size_t stem_len, unsigned n_parts, Error *e)
{
    int status = reserve_maps(f, n_parts, path, e);
    Gguf *first = NULL;
    for (unsigned i = 0; i < n_parts && !status; i++) {
        StrBuf part = {0};
        strbuf_append(&part, path, stem_len);
        strbuf_printf(&part, "-%05u-of-%05u.gguf", i + 1, n_parts);
        if (part.failed)
            status = no_memory(path, e);
        else if (!file_exists(part.data))
            status = error_set(e, STATUS_FAILED, "%s: not found: part %u of the %u that %s is split into", part.data, i + 1,
                               n_parts, file_basename(path));
        else if (!(status = add_file(f, part.data, e))) {
            int64_t count = split_number(f->gguf, "split.count", 1), number = split_number(f->gguf, "split.no", 0);
            if (count != n_parts || number != i)
                status = error_set(e, STATUS_FAILED, "%s: expected split.no %u and split.count %u, found %lld and %lld",
                                   part.data, i, n_parts, (long long)number, (long long)count);
        }
        first = first ? first : f->gguf;
        strbuf_free(&part);
    }
    if (status)
        return status;
    f->gguf = first;
    int64_t n_tensors = split_number(first, "split.tensors.count", (int64_t)f->n_tensors);
    if (n_tensors != (int64_t)f->n_tensors)
        return error_set(e, STATUS_FAILED, "%s: split.tensors.count: expected the %zu tensors of all parts, found %lld", path,
                         f->n_tensors, (long long)n_tensors);
    return sort_tensors(f, path, e);
}

static int open_single(TensorFile *f, const char *path, Error *e)
{
    size_t stem_len;
    unsigned n_parts;
    if (split_name(path, &stem_len, &n_parts) && n_parts > 1)
        return open_split(f, path, stem_len, n_parts, e);
    int status = reserve_maps(f, 1, path, e);
    if (!status)
        status = add_file(f, path, e);
    if (!status && f->gguf && split_number(f->gguf, "split.count", 1) > 1)
        return error_set(
            e, STATUS_FAILED,
            "%s: a part of a split file: expected its name to end in -NNNNN-of-%05lld.gguf, the other parts beside it", path,
            (long long)split_number(f->gguf, "split.count", 1));
    return status ? status : sort_tensors(f, path, e);
}

int tensor_file_open(const char *dir_or_file, TensorFile *out, Error *e)
{
    *out = (TensorFile){0};
    int status;
    char *single = NULL, *index = NULL;
    if (!file_is_dir(dir_or_file)) {
        status = open_single(out, dir_or_file, e);
    } else {
        single = file_join(dir_or_file, "model.safetensors");
        index = file_join(dir_or_file, "model.safetensors.index.json");
        if (!single || !index)
            status = no_memory(dir_or_file, e);
        else if (file_exists(single))
            status = open_single(out, single, e);
        else if (file_exists(index))
            status = open_index(out, dir_or_file, index, e);
        else
            status = explain_directory(dir_or_file, e);
    }
    free(single);
    free(index);
    if (status)
        tensor_file_close(out);
    return status;
}

void tensor_file_close(TensorFile *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n_maps; i++)
        file_unmap(&f->maps[i]);
    arena_free(&f->arena);
    *f = (TensorFile){0};
}

const Tensor *tensor_file_find(const TensorFile *f, const char *name)
{
    Tensor key = {.name = name};
    return f->n_tensors ? bsearch(&key, f->tensors, f->n_tensors, sizeof *f->tensors, by_name) : NULL;
}
