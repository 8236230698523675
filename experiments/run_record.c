/* run_record.c: the folder's name and lock, the pairs of the fingerprint, file hashes and their cache, and the comparison with
 * the run that is in the folder. */
#include "experiments/run_record_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "engine/base/progress.h"
#include "engine/base/sha256.h"
#include "kernels/cpu_features.h"
#include "strata_version.h"

#define MIB ((int64_t)1 << 20)
#define SAMPLE_ABOVE (4096 * MIB)
#define SAMPLE_END (64 * MIB)
#define SAMPLE_STRIDE (16 * MIB)

/* ---- folder ---- */

static void put_clean(StrBuf *b, const char *s)
{
    for (; *s; s++) {
        bool keep = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '.' ||
                    *s == '_' || *s == '-';
        strbuf_putc(b, keep ? *s : '_');
    }
}

int run_record_folder(const RunFolder *f, StrBuf *out, Error *e)
{
    strbuf_reset(out);
    const char *dir = f->output_dir && f->output_dir[0] ? f->output_dir : ".";
    strbuf_puts(out, dir);
    if (dir[strlen(dir) - 1] != '/')
        strbuf_putc(out, '/');
    size_t part = out->len;
    put_clean(out, f->path_part);
    if (!out->failed && out->data[part] == '.')
        out->data[part] = '_'; /* neither ".." nor a hidden folder */
    strbuf_putc(out, '/');
    part = out->len;
    put_clean(out, f->slug);
    if (!out->failed && out->data[part] == '.')
        out->data[part] = '_';
    if (f->tag && f->tag[0]) {
        strbuf_putc(out, '_');
        put_clean(out, f->tag);
    }
    strbuf_putc(out, '_');
    put_clean(out, f->dataset);
    strbuf_printf(out, "_n%llu", (unsigned long long)f->n_samples);
    return out->failed ? error_set(e, STATUS_FAILED, "%s: not enough memory for the folder's name", dir) : STATUS_OK;
}

/* ---- pairs ---- */

static void list_free(RecordList *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->items[i].key);
        free(l->items[i].value);
    }
    free(l->items);
    *l = (RecordList){0};
}

static RecordPair *list_find(const RecordList *l, const char *key)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->items[i].key, key) == 0)
            return &l->items[i];
    return NULL;
}

/* Takes value over (NULL: memory was out). */
static void list_put(RecordList *l, const char *key, char *value, bool is_hash)
{
    RecordPair *p = list_find(l, key);
    if (value && p) {
        free(p->value);
        p->value = value;
        p->is_hash = is_hash;
        return;
    }
    if (value && l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 32;
        RecordPair *items = realloc(l->items, cap * sizeof *items);
        if (items) {
            l->items = items;
            l->cap = cap;
        }
    }
    char *copy = value && l->n < l->cap ? strdup(key) : NULL;
    if (!copy) {
        free(value);
        l->failed = true;
        return;
    }
    l->items[l->n++] = (RecordPair){copy, value, is_hash};
}

static char *format_value(const char *format, va_list args)
{
    char *text = NULL;
    return vasprintf(&text, format, args) < 0 ? NULL : text;
}

void run_record_set(RunRecord *r, const char *key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    list_put(&r->pairs, key, format_value(format, args), false);
    va_end(args);
}

void run_record_note(RunRecord *r, const char *key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    list_put(&r->notes, key, format_value(format, args), false);
    va_end(args);
}

void run_record_hash(RunRecord *r, const char *key, const char *hex)
{
    list_put(&r->pairs, key, strdup(hex), true);
}

void run_record_time(RunRecord *r, const char *key, double value)
{
    StrBuf b = {0};
    strbuf_json_number(&b, value);
    list_put(&r->times, key, b.failed ? NULL : strdup(b.data), false);
    strbuf_free(&b);
}

void run_record_machine(RunRecord *r, const RunMachine *m)
{
    char threads[16];
    snprintf(threads, sizeof threads, "%d", m->threads);
    const char *level = cpu_level_name(cpu_level());
    const char *core = cpu_blas_core();
    const char *const values[][2] = {{"processor", cpu_processor_name()},
                                     {"device", m->device},
                                     {"threads", threads},
                                     {"cpu_level", level},
                                     {"blas_core", core ? core : "none"}};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        list_put(&r->machine, values[i][0], strdup(values[i][1]), false);
        if (m->fast && i > 0)
            run_record_set(r, values[i][0], "%s", values[i][1]);
    }
}

void run_record_each_hash(const RunRecord *r, void (*visit)(void *user, const char *key, const char *value), void *user)
{
    for (size_t i = 0; i < r->pairs.n; i++)
        if (r->pairs.items[i].is_hash)
            visit(user, r->pairs.items[i].key, r->pairs.items[i].value);
}

/* ---- file hashes ---- */

static int hash_range(int fd, const char *path, int64_t begin, int64_t bytes, Sha256 *s, unsigned char *chunk, Error *e)
{
    while (bytes > 0) {
        ssize_t n = pread(fd, chunk, (size_t)(bytes < MIB ? bytes : MIB), begin);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(e, STATUS_FAILED, "%s: cannot read at byte %lld: %s", path, (long long)begin,
                             n < 0 ? strerror(errno) : "the file became shorter");
        sha256_update(s, chunk, (size_t)n);
        begin += n;
        bytes -= n;
    }
    return STATUS_OK;
}

/* "sampled-sha256:..." of a large file; the scheme is in run_record.h. */
static int hash_sampled(const char *path, int64_t size, StrBuf *out, Error *e)
{
    int status = STATUS_OK;
    unsigned char *chunk = malloc((size_t)MIB);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    Sha256 s;
    char hex[65];
    if (fd < 0 || !chunk) {
        status = error_set(e, STATUS_FAILED, "%s: cannot open: %s", path, strerror(errno));
        goto fail;
    }
    sha256_begin(&s);
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)size >> (8 * i));
    sha256_update(&s, length, sizeof length);
    status = hash_range(fd, path, 0, SAMPLE_END, &s, chunk, e);
    for (int64_t at = SAMPLE_END; at + MIB <= size - SAMPLE_END && !status; at += SAMPLE_STRIDE)
        status = hash_range(fd, path, at, MIB, &s, chunk, e);
    if (!status)
        status = hash_range(fd, path, size - SAMPLE_END, SAMPLE_END, &s, chunk, e);
    sha256_end(&s, hex);
    strbuf_printf(out, "sampled-sha256:%s", hex);
fail:
    if (fd >= 0)
        close(fd);
    free(chunk);
    return status;
}

/* The hash a run.json holds for this very file, or NULL. */
static const char *cached_hash(const JsonValue *run_json, const char *path, int64_t bytes, int64_t mtime_ns)
{
    const JsonValue *files = run_json ? json_get(run_json, "files") : NULL;
    for (size_t i = 0; files && files->kind == JSON_ARRAY && i < files->len; i++) {
        const JsonValue *f = &files->items[i];
        const JsonValue *b = json_get(f, "bytes"), *m = json_get(f, "mtime_ns"), *h = json_get(f, "sha256");
        if (json_is_string(json_get(f, "path"), path) && b && b->is_integer && b->integer == bytes && m && m->is_integer &&
            m->integer == mtime_ns && h && h->kind == JSON_STRING && strlen(h->string) == h->len && h->len >= 64)
            return h->string;
    }
    return NULL;
}

void run_record_trust(RunRecord *r, const JsonValue *run_json)
{
    r->trusted = run_json;
}

static bool add_file(RunRecord *r, const char *path, const char *hash, int64_t bytes, int64_t mtime_ns)
{
    if (r->n_files == r->cap_files) {
        size_t cap = r->cap_files ? 2 * r->cap_files : 16;
        RecordFile *files = realloc(r->files, cap * sizeof *files);
        if (!files)
            return false;
        r->files = files;
        r->cap_files = cap;
    }
    RecordFile f = {strdup(path), strdup(hash), bytes, mtime_ns};
    if (!f.path || !f.sha256) {
        free(f.path);
        free(f.sha256);
        return false;
    }
    r->files[r->n_files++] = f;
    return true;
}

static int hash_file(RunRecord *r, const char *key, const char *path, Error *e)
{
    StrBuf hash = {0};
    char hex[65];
    int status = STATUS_OK;
    struct stat st;
    char *absolute = realpath(path, NULL);
    if (!absolute || stat(absolute, &st) != 0) {
        status = error_set(e, STATUS_FAILED, "%s: cannot open for its hash: %s", path, strerror(errno));
        goto done;
    }
    int64_t mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    const char *cached = cached_hash(r->earlier, absolute, st.st_size, mtime_ns);
    if (!cached)
        cached = cached_hash(r->trusted, absolute, st.st_size, mtime_ns);
    if (cached) {
        strbuf_puts(&hash, cached);
    } else if (st.st_size > SAMPLE_ABOVE) {
        status = hash_sampled(absolute, st.st_size, &hash, e);
    } else {
        status = file_sha256(absolute, hex, e);
        strbuf_puts(&hash, hex);
    }
    if (!status && (hash.failed || !add_file(r, absolute, hash.data, st.st_size, mtime_ns)))
        status = error_set(e, STATUS_FAILED, "%s: not enough memory for its hash", path);
    if (!status)
        run_record_hash(r, key, hash.data);
done:
    free(absolute);
    strbuf_free(&hash);
    return status;
}

static int hash_named(RunRecord *r, const char *key, const char *name, const char *path, Error *e)
{
    StrBuf full = {0};
    strbuf_printf(&full, "%s:%s", key, name);
    int status = full.failed ? error_set(e, STATUS_FAILED, "%s: not enough memory for its hash", name) : STATUS_OK;
    if (!status && path)
        status = hash_file(r, full.data, path, e);
    else if (!status)
        run_record_set(r, full.data, "absent");
    strbuf_free(&full);
    return status;
}

int run_record_hash_files(RunRecord *r, const char *key, char *const *paths, size_t n, Error *e)
{
    int status = STATUS_OK;
    for (size_t i = 0; i < n && !status; i++)
        status = n == 1 ? hash_file(r, key, paths[i], e) : hash_named(r, key, file_basename(paths[i]), paths[i], e);
    return status;
}

int run_record_hash_optional(RunRecord *r, const char *key, const char *dir, const char *const *names, Error *e)
{
    if (!file_is_dir(dir))
        return STATUS_OK;
    int status = STATUS_OK;
    for (size_t i = 0; names[i] && !status; i++) {
        char *path = file_join(dir, names[i]);
        if (!path)
            return error_set(e, STATUS_FAILED, "%s: not enough memory for its hash", names[i]);
        status = hash_named(r, key, names[i], file_exists(path) ? path : NULL, e);
        free(path);
    }
    return status;
}

/* ---- open and close ---- */

static RunRecord *record_new(int argc, char *const argv[])
{
    RunRecord *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->lock_fd = -1;
    r->products[0] = "ledger.safetensors";
    r->products[1] = "ppl.json";
    r->start_s = progress_now_s();
    run_record_file_time(r->started);
    r->argv = calloc((size_t)(argc > 0 ? argc : 0) + 1, sizeof *r->argv);
    for (int i = 0; r->argv && i < argc; i++) {
        r->argv[i] = strdup(argv[i]);
        if (!r->argv[i])
            break;
        r->argc++;
    }
    if (!r->argv || r->argc < argc) {
        run_record_close(r);
        return NULL;
    }
    return r;
}

int run_record_open_dry(int argc, char *const argv[], RunRecord **out, Error *e)
{
    *out = record_new(argc, argv);
    return *out ? STATUS_OK : error_set(e, STATUS_FAILED, "run record: not enough memory");
}

static int lock_dir(RunRecord *r, Error *e)
{
    r->lock_fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->lock_fd < 0)
        return error_set(e, STATUS_FAILED, "%s: cannot open the result folder: %s", r->dir, strerror(errno));
    /* A file system without locks is no reason to fail. */
    if (flock(r->lock_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return error_set(e, STATUS_FAILED,
                         "%s: another strata is writing to this folder; wait for it, or give another --output_dir", r->dir);
    return STATUS_OK;
}

int run_record_open(const char *dir, int argc, char *const argv[], bool force, RunRecord **out, Error *e)
{
    *out = NULL;
    int status = file_make_dirs(dir, e);
    if (status)
        return status;
    RunRecord *r = record_new(argc, argv);
    if (r)
        r->dir = strdup(dir);
    if (!r || !r->dir) {
        run_record_close(r);
        return error_set(e, STATUS_FAILED, "%s: not enough memory for the run record", dir);
    }
    r->force = force;
    status = lock_dir(r, e);
    if (!status)
        status = run_record_file_read(r, e);
    if (status) {
        run_record_close(r);
        return status;
    }
    *out = r;
    return STATUS_OK;
}

void run_record_close(RunRecord *r)
{
    if (!r)
        return;
    if (r->lock_fd >= 0)
        close(r->lock_fd);
    for (int i = 0; i < r->argc; i++)
        free(r->argv[i]);
    free(r->argv);
    free(r->dir);
    list_free(&r->pairs);
    list_free(&r->notes);
    list_free(&r->machine);
    list_free(&r->times);
    for (size_t i = 0; i < r->n_files; i++) {
        free(r->files[i].path);
        free(r->files[i].sha256);
    }
    free(r->files);
    arena_free(&r->arena);
    strbuf_free(&r->earlier_text);
    free(r);
}

/* ---- comparison ---- */

bool run_record_has_earlier(const RunRecord *r)
{
    return r->earlier != NULL;
}

const char *run_record_earlier(const RunRecord *r, const char *key)
{
    return r->earlier ? json_text(json_get(json_get(r->earlier, "options"), key)) : NULL;
}

int64_t run_record_earlier_integer(const RunRecord *r, const char *key, int64_t fallback)
{
    const char *text = run_record_earlier(r, key);
    if (!text || !*text)
        return fallback;
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    return errno || *end ? fallback : (int64_t)v;
}

static int differs(const RunRecord *r, const char *key, const char *before, const char *now, Error *e)
{
    return error_set(e, STATUS_USAGE, "%s holds another run: %s was %s, now %s; --force starts over, --tag keeps both", r->dir,
                     key, before ? before : "not set", now ? now : "not set");
}

static int compare(const RunRecord *r, bool complete, Error *e)
{
    const JsonValue *before = json_get(r->earlier, "fingerprint");
    for (size_t i = 0; i < r->pairs.n; i++) {
        const RecordPair *p = &r->pairs.items[i];
        const char *old = json_text(json_get(before, p->key));
        if (!old || strcmp(old, p->value) != 0)
            return differs(r, p->key, old, p->value, e);
    }
    for (size_t i = 0; before && before->kind == JSON_OBJECT && i < before->len; i++) {
        const char *key = before->keys[i].string;
        if (!list_find(&r->pairs, key))
            return differs(r, key, json_text(&before->items[i]), NULL, e);
    }
    const char *const build[][2] = {{"version", STRATA_VERSION}, {"commit", STRATA_COMMIT}};
    for (size_t i = 0; i < 2 && !complete; i++) {
        const char *old = json_text(json_get(r->earlier, build[i][0]));
        if (!old || strcmp(old, build[i][1]) != 0)
            return differs(r, build[i][0], old, build[i][1], e);
    }
    return STATUS_OK;
}

/* What a run leaves; run.json last, so that an interrupted removal is still recognised. */
static const char *const run_files[] = {"ppl.json",           "ppl.csv",
                                        "pos.json",           "pos.csv",
                                        "rows.jsonl",         "influence.safetensors",
                                        "ledger.journal",     "ledger.safetensors.part",
                                        "ledger.safetensors", "run.json"};

static int remove_files(const RunRecord *r, Error *e)
{
    size_t n_files = sizeof run_files / sizeof run_files[0];
    for (size_t i = 0; i < n_files + 2; i++) {
        char *path = file_join(r->dir, i < n_files ? run_files[i] : r->products[i - n_files]);
        int status = STATUS_OK;
        if (!path)
            return error_set(e, STATUS_FAILED, "%s: not enough memory", r->dir);
        if (unlink(path) != 0 && errno != ENOENT)
            status = error_set(e, STATUS_FAILED, "%s: cannot remove (--force): %s", path, strerror(errno));
        free(path);
        if (status)
            return status;
    }
    return STATUS_OK;
}

static void fingerprint(RunRecord *r)
{
    Sha256 s;
    sha256_begin(&s);
    for (size_t i = 0; i < r->pairs.n; i++) {
        const RecordPair *p = &r->pairs.items[i];
        sha256_update(&s, p->key, strlen(p->key));
        sha256_update(&s, "=", 1);
        sha256_update(&s, p->value, strlen(p->value));
        sha256_update(&s, "\n", 1);
    }
    sha256_end(&s, r->fingerprint);
}

void run_record_products(RunRecord *r, const char *first, const char *second)
{
    r->products[0] = first;
    r->products[1] = second;
}

int run_record_begin(RunRecord *r, RunState *state, Error *e)
{
    *state = RUN_FRESH;
    if (r->pairs.failed || r->notes.failed || r->machine.failed || r->times.failed)
        return error_set(e, STATUS_FAILED, "run record: not enough memory");
    fingerprint(r);
    if (!r->dir)
        return STATUS_OK;
    if (r->force) {
        int status = remove_files(r, e);
        if (status)
            return status;
    } else if (r->earlier) {
        bool complete = json_is_string(json_get(r->earlier, "state"), "complete") && file_exists_in(r->dir, r->products[0]) &&
                        file_exists_in(r->dir, r->products[1]);
        int status = compare(r, complete, e);
        if (status)
            return status;
        *state = complete ? RUN_DONE : RUN_RESUME;
        if (complete)
            return STATUS_OK;
    } else if (file_exists_in(r->dir, "ledger.safetensors") || file_exists_in(r->dir, "ledger.safetensors.part")) {
        return error_set(e, STATUS_USAGE,
                         "%s holds a ledger without its run.json: nothing says what made it; --force starts over", r->dir);
    }
    return run_record_file_write(r, "running", false, e);
}

const char *run_record_fingerprint(const RunRecord *r)
{
    return r->fingerprint;
}

int run_record_pause(RunRecord *r, Error *e)
{
    return r->dir ? run_record_file_write(r, "running", true, e) : STATUS_OK;
}

int run_record_finish(RunRecord *r, Error *e)
{
    return r->dir ? run_record_file_write(r, "complete", true, e) : STATUS_OK;
}

void run_record_command(const RunRecord *r, StrBuf *out)
{
    for (int i = 0; i < r->argc; i++) {
        const char *a = r->argv[i];
        if (i > 0 && strcmp(a, "--force") == 0)
            continue;
        if (i > 0)
            strbuf_putc(out, ' ');
        strbuf_shell_word(out, a);
    }
}
