/* hub.c: models of a hub: its list of files (GET api/models/ID/revision/REVISION), what of them is wanted, each file's size and ETag
 * (HEAD ID/resolve/COMMIT/FILE, as huggingface_hub asks), the cache's layout. The words for what can go wrong follow the hub's
 * X-Error-Code. */
#include "loaders/hub.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "engine/base/http.h"
#include "engine/base/json.h"
#include "loaders/model_lookup.h"

enum { MAX_TOKEN_BYTES = 4096, MAX_LIST_BYTES = 64 << 20, MAX_FILES = 4096, SPARE_BYTES = 64 << 20 };

static int no_memory(const char *what, Error *e)
{
    return error_set(e, STATUS_FAILED, "%s: out of memory", what);
}

static char *printed(StrBuf *b)
{
    if (b->failed)
        strbuf_free(b);
    return b->data;
}

/* -- session -- */

static bool says_yes(const char *value)
{
    return value && (strcmp(value, "1") == 0 || strcasecmp(value, "true") == 0 || strcasecmp(value, "yes") == 0 ||
                     strcasecmp(value, "on") == 0);
}

/* The file in which huggingface_hub keeps the token of a login, malloc'ed. */
static char *token_path(void)
{
    const char *named = getenv("HF_TOKEN_PATH"), *home = getenv("HF_HOME"), *xdg = getenv("XDG_CACHE_HOME"),
               *user = getenv("HOME");
    StrBuf b = {0};
    if (named && *named)
        strbuf_puts(&b, named);
    else if (home && *home)
        strbuf_printf(&b, "%s/token", home);
    else if (xdg && *xdg)
        strbuf_printf(&b, "%s/huggingface/token", xdg);
    else
        strbuf_printf(&b, "%s/.cache/huggingface/token", user && *user ? user : ".");
    return printed(&b);
}

/* "Bearer TOKEN" from HF_TOKEN or the token file; *out NULL when there is none. */
static int read_token(char **out, Error *e)
{
    StrBuf token = {0};
    *out = NULL;
    const char *given = getenv("HF_TOKEN");
    char *path = given && *given ? NULL : token_path();
    if (given && *given)
        strbuf_puts(&token, given);
    else if (path && file_exists(path) && file_read(path, MAX_TOKEN_BYTES, &token, NULL))
        strbuf_reset(&token); /* an unreadable login is none */
    free(path);
    while (token.len && isspace((unsigned char)token.data[token.len - 1]))
        token.data[--token.len] = '\0';
    const char *start = token.data ? token.data : "";
    start += strspn(start, " \t\r\n");
    int status = STATUS_OK;
    for (const char *p = start; *p && !status; p++)
        if (!isgraph((unsigned char)*p))
            status = error_set(e, STATUS_USAGE, "HF_TOKEN: expected one word of printable characters");
    if (!status && *start) {
        StrBuf line = {0};
        strbuf_printf(&line, "Bearer %s", start);
        *out = printed(&line);
        status = *out ? STATUS_OK : no_memory("HF_TOKEN", e);
    }
    strbuf_free(&token);
    return status;
}

int hub_open(HubSession *out, Error *e)
{
    *out = (HubSession){0};
    if (says_yes(getenv("HF_HUB_OFFLINE")))
        return error_set(e, STATUS_USAGE, "HF_HUB_OFFLINE is set: nothing is fetched; unset it to use the network");
    const char *endpoint = getenv("HF_ENDPOINT");
    out->endpoint_is_public = !endpoint || !*endpoint;
    endpoint = out->endpoint_is_public ? "https://huggingface.co" : endpoint;
    if (strncmp(endpoint, "http://", 7) != 0 && strncmp(endpoint, "https://", 8) != 0)
        return error_set(e, STATUS_USAGE, "HF_ENDPOINT: expected a URL of http or https, found \"%.200s\"", endpoint);
    size_t len = strlen(endpoint);
    while (len > 8 && endpoint[len - 1] == '/')
        len--;
    out->endpoint = strndup(endpoint, len);
    int status = out->endpoint ? read_token(&out->authorization, e) : no_memory("HF_ENDPOINT", e);
    if (status)
        hub_close(out);
    return status;
}

void hub_close(HubSession *s)
{
    if (!s)
        return;
    free(s->endpoint);
    free(s->authorization);
    *s = (HubSession){0};
}

/* -- what the hub says no to -- */

static int refused(const HubSession *s, const char *id, const char *revision, const HttpResponse *r, Error *e)
{
    const char *code = http_header_any(r, "X-Error-Code");
    code = code ? code : "";
    bool login = s->authorization != NULL;
    if (strcmp(code, "GatedRepo") == 0 || (r->status == 403 && !*code))
        return error_set(e, STATUS_FAILED, "%s: gated: accept its licence at %s/%s%s", id, s->endpoint, id,
                         login ? " with the account of your token, then try again"
                               : ", then put a read token of that account into HF_TOKEN");
    if (strcmp(code, "RevisionNotFound") == 0)
        return error_set(e, STATUS_USAGE, "%s: no revision \"%s\": expected a branch, a tag or a commit of %s/%s", id, revision,
                         s->endpoint, id);
    if (strcmp(code, "RepoNotFound") == 0 || r->status == 401 || r->status == 404)
        return error_set(e, STATUS_USAGE, "%s: the hub has no such model, or it is private: expected an id as in %s/ORG/NAME%s",
                         id, s->endpoint, login ? " that your token may read" : "; for a private one set HF_TOKEN");
    return STATUS_OK; /* the transport's own words say it */
}

/* -- the list of files -- */

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

/* A plain name of a file at the repository's top, nothing that could lead elsewhere. */
static bool plain_name(const char *s)
{
    size_t len = strlen(s);
    if (len == 0 || len > 200 || s[0] == '.')
        return false;
    for (const char *p = s; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-+=@ ", *p))
            return false;
    return true;
}

static bool is_weights(const char *name)
{
    return ends_with(name, ".safetensors") && strncmp(name, "consolidated", 12) != 0;
}

/* Configuration and tokenizer files: what a model's arithmetic and text depend on. */
static bool is_companion(const char *name)
{
    static const char *const names[] = {"config.json",
                                        "generation_config.json",
                                        "model.safetensors.index.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "tokenizer.model",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

typedef struct Listing {
    const char *commit;
    const char **names; /* wanted */
    size_t n;
    bool has_weights;
    StrBuf ggufs; /* names of GGUF files that are there */
} Listing;

static int read_listing(const HubModelRequest *q, const JsonValue *root, const char *where, Arena *arena, Listing *out,
                        Error *e)
{
    const JsonValue *files = json_get(root, "siblings");
    out->commit = json_text(json_get(root, "sha"));
    if (!out->commit || !plain_name(out->commit) || !files || files->kind != JSON_ARRAY || files->len > 1000000)
        return error_set(e, STATUS_FAILED, "%s: expected a commit (sha) and a list of files (siblings)", where);
    out->names = arena_array(arena, MAX_FILES, sizeof *out->names);
    if (!out->names)
        return no_memory(where, e);
    bool single = false;
    for (size_t i = 0; i < files->len; i++) {
        const char *name = json_text(json_get(&files->items[i], "rfilename"));
        single = single || (name && strcmp(name, "model.safetensors") == 0);
    }
    for (size_t i = 0; i < files->len && out->n < MAX_FILES; i++) {
        const char *name = json_text(json_get(&files->items[i], "rfilename"));
        if (!name || !plain_name(name)) /* other folders hold other layouts */
            continue;
        if (ends_with(name, ".gguf"))
            strbuf_printf(&out->ggufs, out->ggufs.len ? " %s" : "%s", name);
        /* beside the whole file, shards are another copy */
        bool weights = is_weights(name) && (!single || strcmp(name, "model.safetensors") == 0);
        if (q->file ? strcmp(name, q->file) == 0 : weights || is_companion(name)) {
            out->names[out->n++] = name;
            out->has_weights = out->has_weights || weights || q->file;
        }
    }
    if (out->has_weights)
        return STATUS_OK;
    const char *ggufs = out->ggufs.data ? out->ggufs.data : "";
    if (q->file)
        return error_set(e, STATUS_USAGE, "%s: no file \"%s\" at its top%s%.600s", q->id, q->file, *ggufs ? "; there are " : "",
                         ggufs);
    if (*ggufs)
        return error_set(e, STATUS_USAGE, "%s: no safetensors, but GGUF files: choose one with --file: %.600s", q->id, ggufs);
    return error_set(e, STATUS_FAILED,
                     "%s: no safetensors and no GGUF at its top: only these are read; convert it with "
                     "save_pretrained of transformers",
                     q->id);
}

static char *file_url(const HubSession *s, const char *id, const char *commit, const char *name)
{
    StrBuf b = {0};
    strbuf_printf(&b, "%s/%s/resolve/%s/", s->endpoint, id, commit);
    for (const char *p = name; *p; p++)
        if (isalnum((unsigned char)*p) || strchr("._-", *p))
            strbuf_putc(&b, *p);
        else
            strbuf_printf(&b, "%%%02X", (unsigned char)*p);
    return printed(&b);
}

/* An ETag without W/ and quotes; false when it is no plain word. */
static bool clean_etag(const char *etag, char out[128])
{
    if (!etag)
        return false;
    if (strncmp(etag, "W/", 2) == 0)
        etag += 2;
    size_t n = 0;
    for (; *etag && n < 127; etag++)
        if (*etag != '"')
            out[n++] = *etag;
    out[n] = '\0';
    return !*etag && plain_name(out);
}

static bool is_sha256(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

/* Size, ETag and hash of one file, by a HEAD whose redirect to a store is not followed. */
static int describe_file(const HubSession *s, const HubModelRequest *q, HttpClient *client, const char *blobs, HubFile *f,
                         Error *e)
{
    static const char *const plain[] = {"Accept-Encoding: identity"};
    HttpRequest head = {.url = f->url,
                        .method = "HEAD",
                        .headers = plain,
                        .n_headers = 1,
                        .authorization = s->authorization,
                        .max_redirects = -1,
                        .stop = q->transfer.stop};
    HttpResponse r;
    char etag[128];
    int status = http_send(client, &head, &r, e);
    if (status == STATUS_FAILED) {
        int said = refused(s, q->id, q->revision ? q->revision : "main", &r, e);
        status = said ? said : status;
    }
    const char *linked = http_header_any(&r, "X-Linked-Etag"), *size = http_header_any(&r, "X-Linked-Size");
    size = size ? size : http_header_any(&r, "Content-Length");
    char *end = NULL;
    if (!status) {
        unsigned long long bytes = size ? strtoull(size, &end, 10) : 0;
        f->size_bytes = bytes;
        if (!clean_etag(linked ? linked : http_header_any(&r, "ETag"), etag) || !end || *end || bytes > (uint64_t)1 << 50)
            status = error_set(e, STATUS_FAILED, "%s: %s: expected an ETag and a size in the hub's answer", q->id, f->name);
    }
    http_response_free(&r);
    if (status)
        return status;
    if (is_sha256(etag))
        memcpy(f->sha256, etag, 65);
    f->etag = strdup(etag);
    f->target = file_join(blobs, etag);
    return f->etag && f->target ? STATUS_OK : no_memory(f->name, e);
}

/* -- the cache -- */

static int check_room(const char *folder, uint64_t bytes, const char *id, Error *e)
{
    struct statvfs fs;
    if (statvfs(folder, &fs))
        return STATUS_OK; /* the write will tell */
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (bytes == 0 || room >= bytes + SPARE_BYTES)
        return STATUS_OK;
    return error_set(
        e, STATUS_FAILED,
        "%s: %.2f GiB are to be fetched, %s has room for %.2f GiB; free some, or point HF_HUB_CACHE to another disk", id,
        (double)bytes / (1 << 30), folder, (double)room / (1 << 30));
}

/* snapshots/COMMIT/NAME -> ../../blobs/ETAG; a link that is there stays when it is the same. */
static int link_file(const HubModel *m, const HubFile *f, Error *e)
{
    StrBuf to = {0};
    strbuf_printf(&to, "../../blobs/%s", f->etag);
    char *from = file_join(m->snapshot, f->name), *fresh = NULL, found[512];
    int status = from && !to.failed ? STATUS_OK : no_memory(f->name, e);
    ssize_t n = status ? -1 : readlink(from, found, sizeof found - 1);
    if (n >= 0)
        found[n] = '\0';
    if (!status && !(n >= 0 && strcmp(found, to.data) == 0)) {
        StrBuf name = {0};
        strbuf_printf(&name, "%s.strata-link", from);
        fresh = printed(&name);
        if (!fresh)
            status = no_memory(f->name, e);
        else if ((unlink(fresh) && errno != ENOENT) || symlink(to.data, fresh) || rename(fresh, from))
            status = error_set(e, STATUS_FAILED, "%s: cannot link: %s", from, strerror(errno));
    }
    free(from);
    free(fresh);
    strbuf_free(&to);
    return status;
}

static int write_ref(const char *folder, const char *revision, const char *commit, Error *e)
{
    if (strcmp(revision, commit) == 0)
        return STATUS_OK;
    StrBuf path = {0};
    strbuf_printf(&path, "%s/refs/%s", folder, revision);
    if (path.failed)
        return no_memory(folder, e);
    char *parent = strndup(path.data, (size_t)(file_basename(path.data) - path.data));
    int status = parent ? file_make_dirs(parent, e) : no_memory(folder, e);
    if (!status)
        status = file_write_atomic(path.data, commit, strlen(commit), e);
    free(parent);
    strbuf_free(&path);
    return status;
}

void hub_model_free(HubModel *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_files; i++) {
        free(m->files[i].name);
        free(m->files[i].url);
        free(m->files[i].target);
        free(m->files[i].etag);
    }
    free(m->files);
    free(m->commit);
    free(m->snapshot);
    *m = (HubModel){0};
}

/* Weights last, so that the small files' errors come first. */
static int by_kind(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    int heavy = (int)(is_weights(x) || ends_with(x, ".gguf")) - (int)(is_weights(y) || ends_with(y, ".gguf"));
    return heavy ? heavy : strcmp(x, y);
}

/* Fills *out from the hub's list. */
static int list_model(const HubSession *s, const HubModelRequest *q, HttpClient *client, const char *blobs, HubModel *out,
                      Error *e)
{
    const char *revision = q->revision ? q->revision : "main";
    StrBuf url = {0};
    strbuf_printf(&url, "%s/api/models/%s/revision/", s->endpoint, q->id);
    for (const char *p = revision; *p; p++)
        strbuf_puts(&url, *p == '/' ? "%2F" : (char[]){*p, '\0'});
    if (url.failed)
        return no_memory(q->id, e);
    HttpRequest get = {.url = url.data,
                       .authorization = s->authorization,
                       .max_bytes = MAX_LIST_BYTES,
                       .retries = 2,
                       .stop = q->transfer.stop};
    HttpResponse r;
    Arena arena = {0};
    Listing list = {0};
    const JsonValue *root = NULL;
    int status = http_send(client, &get, &r, e);
    if (status == STATUS_FAILED) {
        int said = refused(s, q->id, revision, &r, e);
        status = said ? said : status;
    }
    if (!status)
        status = json_parse(r.body.data ? r.body.data : "", r.body.len, q->id, &arena, &root, e);
    if (!status)
        status = read_listing(q, root, q->id, &arena, &list, e);
    if (!status) {
        qsort(list.names, list.n, sizeof *list.names, by_kind);
        out->commit = strdup(list.commit);
        out->files = calloc(list.n, sizeof *out->files);
        status = out->commit && out->files ? STATUS_OK : no_memory(q->id, e);
    }
    for (size_t i = 0; !status && i < list.n; i++) {
        HubFile *f = &out->files[out->n_files++];
        f->name = strdup(list.names[i]);
        f->url = file_url(s, q->id, out->commit, list.names[i]);
        status = f->name && f->url ? describe_file(s, q, client, blobs, f, e) : no_memory(q->id, e);
        out->total_bytes += f->size_bytes;
    }
    strbuf_free(&list.ggufs);
    arena_free(&arena);
    http_response_free(&r);
    strbuf_free(&url);
    return status;
}

int hub_pull_model(const HubSession *s, const HubModelRequest *q, HubModel *out, Error *e)
{
    *out = (HubModel){0};
    const char *revision = q->revision ? q->revision : "main";
    if (!model_lookup_is_hub_id(q->id))
        return error_set(e, STATUS_USAGE, "--model: \"%s\", expected a hub id: ORG/NAME", q->id);
    if (!model_lookup_is_revision(revision))
        return error_set(e, STATUS_USAGE, "--revision: \"%s\", expected a branch, a tag or a commit", revision);
    char *cache = q->cache ? strdup(q->cache) : model_lookup_cache(), *name = model_lookup_cache_folder("models", q->id);
    char *folder = cache && name ? file_join(cache, name) : NULL, *blobs = folder ? file_join(folder, "blobs") : NULL;
    HttpClient *client = NULL;
    int status = blobs ? http_open(&client, e) : no_memory(q->id, e);
    if (!status)
        status = list_model(s, q, client, blobs, out, e);
    if (!status) {
        StrBuf snapshot = {0};
        strbuf_printf(&snapshot, "%s/snapshots/%s", folder, out->commit);
        out->snapshot = printed(&snapshot);
        status = out->snapshot ? STATUS_OK : no_memory(q->id, e);
    }
    if (!status)
        out->missing_bytes = hub_download_missing_bytes(out->files, out->n_files);
    if (!status && !q->dry_run) {
        HubTransfer transfer = q->transfer;
        transfer.authorization = s->authorization;
        if (!(status = file_make_dirs(blobs, e)) && !(status = file_make_dirs(out->snapshot, e)) &&
            !(status = check_room(blobs, out->missing_bytes, q->id, e)))
            status = hub_download(out->files, out->n_files, &transfer, e);
        for (size_t i = 0; !status && i < out->n_files; i++)
            status = link_file(out, &out->files[i], e);
        if (!status)
            status = write_ref(folder, revision, out->commit, e);
    }
    http_close(client);
    free(cache);
    free(name);
    free(folder);
    free(blobs);
    return status;
}
