/* hub_download.c: see hub_download.h. Worker threads take parts of one shared list in its order; each
 * has an HTTP client of its own. */
#include "loaders/hub_download.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "engine/base/http.h"
#include "engine/base/progress.h"

enum { DEFAULT_JOBS = 4, MAX_JOBS = 32 };
static const uint64_t default_part_bytes = (uint64_t)32 << 20;

/* One file on its way. */
typedef struct Growing {
    const HubFile *file;
    char *partial, *journal; /* paths */
    int fd, journal_fd;      /* -1: closed */
    size_t n_parts, n_left;
    unsigned char *has; /* [n_parts] */
    bool taken_whole;   /* the server knows no ranges: one connection fetches all of it */
} Growing;

typedef struct Download {
    const HubTransfer *transfer;
    uint64_t part_bytes;
    Growing *growing;
    size_t n_growing;
    pthread_mutex_t lock;
    size_t next_file, next_part;
    uint64_t done_bytes;
    Progress progress;
    int status; /* the first failure; the others stop */
    Error error;
} Download;

/* Where a part's bytes go. */
typedef struct PartSink {
    Download *d;
    Growing *g;
    uint64_t first, end; /* of the part */
    uint64_t reached;    /* bytes of the file up to here are written */
    bool no_ranges;      /* the whole came instead of the part */
} PartSink;

static uint64_t part_end(const Download *d, const Growing *g, size_t part)
{
    uint64_t end = (part + 1) * d->part_bytes;
    return end < g->file->size_bytes ? end : g->file->size_bytes;
}

static bool stopped(const Download *d)
{
    return d->transfer->stop && *d->transfer->stop;
}

static bool is_there(const HubFile *f)
{
    struct stat st;
    return stat(f->target, &st) == 0 && (uint64_t)st.st_size == f->size_bytes;
}

static char *with_suffix(const char *path, const char *suffix)
{
    StrBuf b = {0};
    strbuf_printf(&b, "%s%s", path, suffix);
    if (b.failed)
        strbuf_free(&b);
    return b.data;
}

uint64_t hub_download_missing_bytes(const HubFile *files, size_t n_files)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n_files; i++) {
        char *partial = is_there(&files[i]) ? NULL : with_suffix(files[i].target, ".strata-partial");
        struct stat st;
        if (!partial)
            continue;
        uint64_t have = stat(partial, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0; /* the rest of it is a hole */
        sum += have < files[i].size_bytes ? files[i].size_bytes - have : 0;
        free(partial);
    }
    return sum;
}

/* -- one file -- */

static int cannot(Error *e, const char *path, const char *what)
{
    return error_set(e, STATUS_FAILED, "%s: cannot %s: %s", path, what, strerror(errno));
}

static void growing_close(Growing *g)
{
    if (g->fd >= 0)
        close(g->fd);
    if (g->journal_fd >= 0)
        close(g->journal_fd);
    g->fd = g->journal_fd = -1;
}

static void growing_free(Growing *g)
{
    growing_close(g);
    free(g->partial);
    free(g->journal);
    free(g->has);
}

/* Opens what an earlier run left, or begins. Parts that the journal has are not fetched again. */
static int growing_open(Growing *g, const Download *d, const HubFile *f, Error *e)
{
    *g = (Growing){.file = f, .fd = -1, .journal_fd = -1};
    g->n_parts = (size_t)((f->size_bytes + d->part_bytes - 1) / d->part_bytes);
    g->partial = with_suffix(f->target, ".strata-partial");
    g->journal = with_suffix(f->target, ".strata-parts");
    g->has = calloc(g->n_parts + 1, 1);
    if (!g->partial || !g->journal || !g->has)
        return error_set(e, STATUS_FAILED, "%s: out of memory", f->name);
    struct stat st;
    bool goes_on = stat(g->partial, &st) == 0 && (uint64_t)st.st_size == f->size_bytes && stat(g->journal, &st) == 0 &&
                   (uint64_t)st.st_size == g->n_parts;
    int flags = O_RDWR | O_CREAT | O_CLOEXEC | (goes_on ? 0 : O_TRUNC);
    if ((g->fd = open(g->partial, flags, 0644)) < 0)
        return cannot(e, g->partial, "write");
    if ((g->journal_fd = open(g->journal, flags, 0644)) < 0)
        return cannot(e, g->journal, "write");
    if (goes_on && pread(g->journal_fd, g->has, g->n_parts, 0) != (ssize_t)g->n_parts)
        return cannot(e, g->journal, "read");
    if (!goes_on && (ftruncate(g->fd, (off_t)f->size_bytes) || ftruncate(g->journal_fd, (off_t)g->n_parts)))
        return cannot(e, g->partial, "write");
    for (size_t i = 0; i < g->n_parts; i++) {
        g->has[i] = g->has[i] == '1';
        g->n_left += !g->has[i];
    }
    return STATUS_OK;
}

/* All parts are there: checked and given its name. */
static int growing_finish(Growing *g, Error *e)
{
    const HubFile *f = g->file;
    char found[65];
    int status = fsync(g->fd) ? cannot(e, g->partial, "write") : STATUS_OK;
    growing_close(g);
    if (!status && f->sha256[0] && !(status = file_sha256(g->partial, found, e)) && strcmp(found, f->sha256) != 0) {
        unlink(g->partial);
        status = error_set(e, STATUS_FAILED,
                           "%s: expected sha256 %s, found %s; what was fetched is removed: the same command fetches it anew",
                           f->name, f->sha256, found);
    }
    if (!status && rename(g->partial, f->target))
        status = cannot(e, f->target, "write");
    if (!status || access(g->partial, F_OK) != 0)
        unlink(g->journal);
    return status;
}

/* -- parts -- */

static int write_part(void *context, uint64_t offset, const void *data, size_t n, Error *e)
{
    PartSink *s = context;
    Download *d = s->d;
    if (offset < s->first && offset + n > 0) { /* the whole, from its beginning */
        s->no_ranges = true;
        return error_set(e, STATUS_FAILED, "%s: the server sends no parts", s->g->file->name);
    }
    bool beyond = offset > s->end || n > s->end - offset;
    s->no_ranges = beyond && s->end < s->g->file->size_bytes;
    if (beyond)
        return error_set(e, STATUS_FAILED, "%s: expected %llu bytes, the server sends more", s->g->file->name,
                         (unsigned long long)s->g->file->size_bytes);
    for (size_t at = 0; at < n;) {
        ssize_t written = pwrite(s->g->fd, (const char *)data + at, n - at, (off_t)(offset + at));
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return cannot(e, s->g->partial, "write");
        at += (size_t)written;
    }
    pthread_mutex_lock(&d->lock);
    if (offset + n > s->reached) {
        d->done_bytes += offset + n - s->reached;
        s->reached = offset + n;
    }
    progress_update(&d->progress, (double)d->done_bytes);
    int status = d->status;
    pthread_mutex_unlock(&d->lock);
    return status ? error_set(e, STATUS_FAILED, "%s: given up", s->g->file->name) : STATUS_OK;
}

static int mark_part(Growing *g, size_t part, Error *e)
{
    g->has[part] = 1;
    return pwrite(g->journal_fd, "1", 1, (off_t)part) == 1 ? STATUS_OK : cannot(e, g->journal, "write");
}

/* Parts [first, first + n) in one request. */
static int fetch_parts(Download *d, HttpClient *client, Growing *g, size_t first, size_t n, bool *no_ranges, Error *e)
{
    PartSink sink = {.d = d, .g = g, .first = first * d->part_bytes, .end = part_end(d, g, first + n - 1)};
    sink.reached = sink.first;
    bool whole = n == g->n_parts;
    HttpRequest q = {.url = g->file->url,
                     .authorization = d->transfer->authorization,
                     .resume_from = sink.first,
                     .end_at = whole ? 0 : sink.end,
                     .sink = write_part,
                     .sink_context = &sink,
                     .stop = d->transfer->stop};
    HttpResponse r;
    int status = http_send(client, &q, &r, e);
    *no_ranges = sink.no_ranges;
    http_response_free(&r);
    if (!status && sink.reached != sink.end)
        status = error_set(e, STATUS_FAILED, "%s: expected %llu bytes, the server sent %llu", g->file->name,
                           (unsigned long long)sink.end, (unsigned long long)sink.reached);
    pthread_mutex_lock(&d->lock);
    if (status)
        d->done_bytes -= sink.reached - sink.first;
    bool counts = whole || !g->taken_whole; /* else another thread fetches this one too */
    for (size_t i = first; !status && counts && i < first + n; i++) {
        status = mark_part(g, i, e);
        g->n_left -= !status;
    }
    bool complete = !status && counts && g->n_left == 0;
    pthread_mutex_unlock(&d->lock);
    return complete ? growing_finish(g, e) : status;
}

/* The next parts to fetch; false when there are none. */
static bool take_parts(Download *d, Growing **g, size_t *part, size_t *n)
{
    bool found = false;
    pthread_mutex_lock(&d->lock);
    while (!found && !d->status && !stopped(d) && d->next_file < d->n_growing) {
        Growing *at = &d->growing[d->next_file];
        while (d->next_part < at->n_parts && at->has[d->next_part])
            d->next_part++;
        if (d->next_part >= at->n_parts || at->taken_whole) {
            d->next_file++;
            d->next_part = 0;
            continue;
        }
        *g = at;
        *part = d->next_part++;
        *n = 1;
        found = true;
    }
    pthread_mutex_unlock(&d->lock);
    return found;
}

/* A server without ranges: this thread alone fetches the whole file, from its beginning. */
static bool take_whole(Download *d, Growing *g)
{
    pthread_mutex_lock(&d->lock);
    bool mine = !g->taken_whole;
    g->taken_whole = true;
    if (mine) {
        memset(g->has, 0, g->n_parts);
        g->n_left = g->n_parts;
        if (pwrite(g->journal_fd, g->has, g->n_parts, 0) < 0)
            mine = false; /* nothing more can be written there; the error is the other request's */
    }
    pthread_mutex_unlock(&d->lock);
    return mine;
}

static void *work(void *context)
{
    Download *d = context;
    HttpClient *client = NULL;
    Error e = {{0}};
    int status = http_open(&client, &e);
    Growing *g;
    size_t part, n;
    while (!status && take_parts(d, &g, &part, &n)) {
        bool no_ranges = false;
        status = fetch_parts(d, client, g, part, n, &no_ranges, &e);
        if (no_ranges) /* else another thread is at it */
            status = take_whole(d, g) ? fetch_parts(d, client, g, 0, g->n_parts, &no_ranges, &e) : STATUS_OK;
    }
    if (status) {
        pthread_mutex_lock(&d->lock);
        if (!d->status || (d->status == STATUS_FAILED && status == STATUS_INTERRUPTED)) {
            d->status = status;
            d->error = e;
        }
        pthread_mutex_unlock(&d->lock);
    }
    http_close(client);
    return NULL;
}

static void run_workers(Download *d)
{
    pthread_t threads[MAX_JOBS];
    int jobs = d->transfer->jobs > 0 ? d->transfer->jobs : DEFAULT_JOBS, started = 0;
    jobs = jobs < MAX_JOBS ? jobs : MAX_JOBS;
    while (started < jobs - 1 && pthread_create(&threads[started], NULL, work, d) == 0)
        started++;
    work(d);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

/* Two files of the same content have one target. */
static bool is_on_its_way(const Download *d, const char *target)
{
    for (size_t i = 0; i < d->n_growing; i++)
        if (strcmp(d->growing[i].file->target, target) == 0)
            return true;
    return false;
}

int hub_download(const HubFile *files, size_t n_files, const HubTransfer *transfer, Error *e)
{
    Download d = {.transfer = transfer,
                  .part_bytes = transfer->part_bytes ? transfer->part_bytes : default_part_bytes,
                  .lock = PTHREAD_MUTEX_INITIALIZER};
    uint64_t total = 0;
    d.growing = calloc(n_files + 1, sizeof *d.growing);
    if (!d.growing)
        return error_set(e, STATUS_FAILED, "out of memory for a list of %zu files", n_files);
    for (size_t i = 0; i < n_files && !d.status; i++) {
        if (is_there(&files[i]) || is_on_its_way(&d, files[i].target))
            continue;
        Growing *g = &d.growing[d.n_growing++];
        d.status = growing_open(g, &d, &files[i], &d.error);
        total += files[i].size_bytes;
        for (size_t p = 0; !d.status && p < g->n_parts; p++)
            d.done_bytes += g->has[p] ? part_end(&d, g, p) - p * d.part_bytes : 0;
        if (!d.status && g->n_left == 0) /* an empty file, or one that was cut off before its check */
            d.status = growing_finish(g, &d.error);
    }
    if (!d.status) {
        progress_begin(&d.progress, "pull", "bytes", (double)total, (double)d.done_bytes, transfer->quiet);
        run_workers(&d);
        progress_end(&d.progress);
    }
    if (!d.status && stopped(&d))
        d.status = error_set(&d.error, STATUS_INTERRUPTED, "stopped; the same command goes on where it was");
    for (size_t i = 0; i < d.n_growing; i++)
        growing_free(&d.growing[i]);
    free(d.growing);
    pthread_mutex_destroy(&d.lock);
    if (d.status && e)
        *e = d.error;
    return d.status;
}

/* -- one stream -- */

typedef struct StreamSink {
    FILE *out;
    const char *path;
    Progress progress;
} StreamSink;

static int write_stream(void *context, uint64_t offset, const void *data, size_t n, Error *e)
{
    StreamSink *s = context;
    if ((uint64_t)ftello(s->out) != offset &&
        (fseeko(s->out, (off_t)offset, SEEK_SET) || ftruncate(fileno(s->out), (off_t)offset)))
        return cannot(e, s->path, "write");
    if (n && fwrite(data, 1, n, s->out) != n)
        return cannot(e, s->path, "write");
    progress_update(&s->progress, (double)(offset + n));
    return STATUS_OK;
}

int hub_download_url(const char *url, const char *path, const HubTransfer *transfer, Error *e)
{
    char *partial = with_suffix(path, ".strata-partial"), *parent = strndup(path, (size_t)(file_basename(path) - path));
    HttpClient *client = NULL;
    HttpResponse r = {0};
    StreamSink sink = {.path = partial};
    int status = partial && parent ? STATUS_OK : error_set(e, STATUS_FAILED, "%s: out of memory", path);
    if (!status && *parent)
        status = file_make_dirs(parent, e);
    if (!status && !(sink.out = fopen(partial, "wb")))
        status = cannot(e, partial, "write");
    if (!status && !(status = http_open(&client, e))) {
        HttpRequest q = {.url = url, .sink = write_stream, .sink_context = &sink, .stop = transfer->stop};
        progress_begin(&sink.progress, "pull", "bytes", 0, 0, transfer->quiet);
        status = http_send(client, &q, &r, e);
        progress_end(&sink.progress);
    }
    if (sink.out && fclose(sink.out) && !status)
        status = cannot(e, partial, "write");
    if (!status && rename(partial, path))
        status = cannot(e, path, "write");
    http_response_free(&r);
    http_close(client);
    free(partial);
    free(parent);
    return status;
}
