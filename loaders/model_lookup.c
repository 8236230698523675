/* model_lookup.c: from a model's name to its files. In this order: a path that exists; models/ORG/NAME (a directory) or
 * models/ORG/NAME.gguf; a hub cache inside models/; the user's Hugging Face cache, laid out as huggingface_hub does:
 * models--ORG--NAME/refs/REVISION holds the name of a folder in models--ORG--NAME/snapshots. Whether a snapshot is complete is
 * said by whoever opens its files: a tokenizer alone is enough for some commands. */
#include "loaders/model_lookup.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/strbuf.h"

enum { MAX_NAME = 4096, MAX_REF_BYTES = 4096, MAX_REVISION = 200 };

static int no_memory(const char *name, Error *e)
{
    return error_set(e, STATUS_FAILED, "%s: out of memory while looking for it", name);
}

/* A path built by printf, malloc'ed; NULL when memory is out. */
static char *path_of(const char *format, ...) STRATA_PRINTF(1, 2);
static char *path_of(const char *format, ...)
{
    char *out = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&out, format, args);
    va_end(args);
    return n < 0 ? NULL : out;
}

static bool is_word(const char *s, size_t len)
{
    if (len == 0 || s[0] == '.')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("._-", s[i]))
            return false;
    return true;
}

bool model_lookup_is_hub_id(const char *name)
{
    const char *slash = strchr(name, '/');
    if (!slash)
        return is_word(name, strlen(name));
    return is_word(name, (size_t)(slash - name)) && is_word(slash + 1, strlen(slash + 1));
}

bool model_lookup_is_revision(const char *s)
{
    if (!*s || strlen(s) > MAX_REVISION || strstr(s, "..") || s[0] == '/')
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("._-/", *s))
            return false;
    return true;
}

/* What stays readable in a folder's name; / and - become _, as does everything unusual. */
static char *slug_of(const char *name)
{
    char *slug = path_of("%s", name);
    for (char *p = slug; p && *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '.' && *p != '_')
            *p = '_';
    return slug;
}

/* The last part of a directory's or file's path; "." and the like are resolved first. */
static char *own_name(const char *path)
{
    char *full = realpath(path, NULL);
    const char *given = path;
    size_t len = strlen(given);
    while (len > 1 && given[len - 1] == '/')
        len--;
    char *trimmed = strndup(given, len);
    const char *base = trimmed ? file_basename(trimmed) : "";
    bool dots = strcmp(base, ".") == 0 || strcmp(base, "..") == 0 || strcmp(base, "/") == 0 || !*base;
    char *out = path_of("%s", dots && full ? file_basename(full) : base);
    free(trimmed);
    free(full);
    return out;
}

char *model_lookup_cache_folder(const char *kind, const char *id)
{
    StrBuf b = {0};
    strbuf_printf(&b, "%s--", kind);
    for (const char *p = id; *p; p++)
        strbuf_puts(&b, *p == '/' ? "--" : (char[]){*p, '\0'});
    if (b.failed)
        strbuf_free(&b);
    return b.data;
}

/* The folder of the snapshot that a hub cache holds for (id, revision); *out NULL when it holds none. */
static int find_snapshot(const char *cache, const char *id, const char *revision, char **out, Error *e)
{
    *out = NULL;
    int status = STATUS_OK;
    StrBuf folder = {0}, ref = {0};
    char *ref_path = NULL, *snapshot = NULL;
    char *name = model_lookup_cache_folder("models", id);
    strbuf_printf(&folder, "%s/%s", cache, name ? name : "");
    folder.failed = folder.failed || !name;
    free(name);
    if (folder.failed) {
        status = no_memory(id, e);
        goto done;
    }
    if (!file_is_dir(folder.data))
        goto done;
    ref_path = path_of("%s/refs/%s", folder.data, revision);
    const char *commit = revision; /* a revision that is no ref may be a commit itself */
    if (!ref_path) {
        status = no_memory(id, e);
        goto done;
    }
    if (file_exists(ref_path) && !file_is_dir(ref_path)) {
        if ((status = file_read(ref_path, MAX_REF_BYTES, &ref, e)))
            goto done;
        while (ref.len && isspace((unsigned char)ref.data[ref.len - 1]))
            ref.data[--ref.len] = '\0';
        if (!ref.data || strlen(ref.data) != ref.len || !is_word(ref.data, ref.len)) {
            status = error_set(e, STATUS_FAILED, "%s: expected the name of a snapshot, found \"%s\"", ref_path,
                               ref.data ? ref.data : "");
            goto done;
        }
        commit = ref.data;
    }
    snapshot = path_of("%s/snapshots/%s", folder.data, commit);
    if (!snapshot) {
        status = no_memory(id, e);
    } else if (file_is_dir(snapshot)) {
        *out = snapshot;
        snapshot = NULL;
    } else {
        status = error_set(e, STATUS_USAGE,
                           "%s: the cache holds no snapshot of revision \"%s\" (looked for %s); fetch it with "
                           "`strata pull --model %s`",
                           id, revision, snapshot, id);
    }
done:
    free(snapshot);
    free(ref_path);
    strbuf_free(&folder);
    strbuf_free(&ref);
    return status;
}

/* HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub. */
char *model_lookup_cache(void)
{
    const char *cache = getenv("HF_HUB_CACHE"), *home = getenv("HF_HOME"), *xdg = getenv("XDG_CACHE_HOME"),
               *user = getenv("HOME");
    if (cache && *cache)
        return path_of("%s", cache);
    if (home && *home)
        return path_of("%s/hub", home);
    if (xdg && *xdg)
        return path_of("%s/huggingface/hub", xdg);
    return path_of("%s/.cache/huggingface/hub", user && *user ? user : ".");
}

/* Looks for a hub id; *out NULL with status 0 when it is nowhere. */
static int find_hub_id(const char *id, const char *revision, const char *cache, char **out, Error *e)
{
    *out = NULL;
    if (!revision) { /* models/ holds one version of each */
        char *dir = path_of("models/%s", id), *gguf = path_of("models/%s.gguf", id);
        if (!dir || !gguf) {
            free(dir);
            free(gguf);
            return no_memory(id, e);
        }
        if (file_is_dir(dir)) {
            *out = dir;
            free(gguf);
            return STATUS_OK;
        }
        free(dir);
        if (file_exists(gguf)) {
            *out = gguf;
            return STATUS_OK;
        }
        free(gguf);
    }
    const char *wanted = revision ? revision : "main";
    int status = find_snapshot("models", id, wanted, out, e);
    return status || *out ? status : find_snapshot(cache, id, wanted, out, e);
}

int model_lookup(const char *name, const char *revision, ModelPath *out, Error *e)
{
    *out = (ModelPath){0};
    int status = STATUS_OK;
    char *cache = NULL, *own = NULL;
    if (!name || !*name || strlen(name) > MAX_NAME)
        return error_set(e, STATUS_USAGE, "model name: expected a directory, a .gguf file or a hub id, found %s",
                         name && *name ? "a name that is too long" : "nothing");
    if (revision && !model_lookup_is_revision(revision))
        return error_set(e, STATUS_USAGE, "revision \"%s\": expected a branch, a tag or a commit", revision);
    bool exists = file_exists(name);
    if (exists && (!revision || strchr(name, '/') == name || !model_lookup_is_hub_id(name))) {
        if (revision) {
            status = error_set(e, STATUS_USAGE, "%s: a path has no revisions; found --revision %s", name, revision);
            goto fail;
        }
        out->path = path_of("%s", name);
        own = own_name(name);
        out->slug = own ? slug_of(own) : NULL;
    } else if (model_lookup_is_hub_id(name)) {
        cache = model_lookup_cache();
        if (!cache) {
            status = no_memory(name, e);
            goto fail;
        }
        if ((status = find_hub_id(name, revision, cache, &out->path, e)))
            goto fail;
        if (!out->path) {
            status = error_set(e, STATUS_USAGE,
                               "%s: no such model: it is no path here, not in models/ and not in %s; fetch it with "
                               "`strata pull --model %s`",
                               name, cache, name);
            goto fail;
        }
        out->slug = slug_of(name);
    } else {
        status = error_set(e, STATUS_USAGE, "%s: no such model: expected a directory, a .gguf file or a hub id", name);
        goto fail;
    }
    out->name = path_of("%s", name);
    if (!out->path || !out->slug || !out->name) {
        status = no_memory(name, e);
        goto fail;
    }
    free(cache);
    free(own);
    return STATUS_OK;
fail:
    free(cache);
    free(own);
    model_path_free(out);
    return status;
}

void model_path_free(ModelPath *p)
{
    if (!p)
        return;
    free(p->path);
    free(p->slug);
    free(p->name);
    *p = (ModelPath){0};
}
