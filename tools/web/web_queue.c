/* web_queue.c: see web_queue.h. */
#include "tools/web/web_queue.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/progress.h"
#include "tools/web/web_send.h"

enum { NAME_BYTES = 72, SAME_BYTES = 72 };

typedef struct Waiter {
    struct Waiter *next;
    void *exchange;
    char client[NAME_BYTES], slot[NAME_BYTES];
} Waiter;

typedef struct Job {
    struct Job *next; /* of its client */
    void *task;
    char same[SAME_BYTES], client[NAME_BYTES]; /* whose turn it is done in */
    Waiter *waiters;
    atomic_bool stopped;
    atomic_int thousandths; /* done */
} Job;

typedef struct Client {
    struct Client *next; /* in the order of turns */
    char name[NAME_BYTES];
    Job *first;
} Client;

typedef struct Kept {
    struct Kept *next; /* newest first */
    char same[SAME_BYTES];
    WebReply reply;
} Kept;

struct WebQueue {
    WebQueueOptions options;
    pthread_mutex_t lock;
    pthread_cond_t more;
    pthread_t worker;
    bool begun, ending;
    Client *clients; /* those with jobs; the first has its turn */
    Job *running;
    size_t n_waiters;
    Kept *kept;
    size_t kept_bytes;
};

static void copy_name(char *to, size_t room, const char *from)
{
    snprintf(to, room, "%s", from);
}

/* Whose requests are dropped: one exchange, or a client's, of one slot or all. */
typedef struct Choice {
    const void *exchange;
    const char *client, *slot, *sentence;
} Choice;

static bool is_of(const Waiter *w, const Choice *c)
{
    if (c->exchange)
        return w->exchange == c->exchange;
    return strcmp(w->client, c->client) == 0 && (!c->slot[0] || strcmp(w->slot, c->slot) == 0);
}

static void refuse(WebQueue *q, void *exchange, int status, const char *sentence)
{
    StrBuf b = {0};
    web_write_error(&b, sentence);
    q->options.deliver(q->options.user, exchange, status, NULL, b.data, b.len);
}

static void free_job(WebQueue *q, Job *j)
{
    q->options.free_task(j->task);
    free(j);
}

/* -- what was answered -- */

static const WebReply *find_kept(WebQueue *q, const char *same)
{
    for (Kept **at = &q->kept; same[0] && *at; at = &(*at)->next) {
        Kept *k = *at;
        if (strcmp(k->same, same) != 0)
            continue;
        *at = k->next;
        k->next = q->kept;
        q->kept = k;
        return &k->reply;
    }
    return NULL;
}

static void forget(WebQueue *q, size_t bytes)
{
    size_t left = 0;
    for (Kept **at = &q->kept; *at;) {
        Kept *k = *at;
        left += k->reply.body.len;
        if (left <= bytes) {
            at = &k->next;
            continue;
        }
        left -= k->reply.body.len;
        *at = k->next;
        q->kept_bytes -= k->reply.body.len;
        strbuf_free(&k->reply.body);
        free(k);
    }
}

/* Takes the reply's body when it keeps it. */
static void keep(WebQueue *q, const char *same, WebReply *reply)
{
    if (!same[0] || !reply->keep || reply->body.len > q->options.kept_bytes / 4)
        return;
    Kept *k = calloc(1, sizeof *k);
    if (!k)
        return;
    forget(q, q->options.kept_bytes - reply->body.len);
    copy_name(k->same, sizeof k->same, same);
    k->reply = *reply;
    memset(&reply->body, 0, sizeof reply->body);
    k->next = q->kept;
    q->kept = k;
    q->kept_bytes += k->reply.body.len;
}

static void deliver(WebQueue *q, void *exchange, const WebReply *r, bool cached)
{
    StrBuf b = {0};
    if (r->is_open)
        strbuf_putc(&b, '{');
    strbuf_append(&b, r->body.data, r->body.len);
    if (r->is_open)
        strbuf_printf(&b, "%s\"ms\": %.3f, \"cached\": %s}\n", r->body.len ? ", " : "", r->ms, cached ? "true" : "false");
    if (b.failed) {
        strbuf_free(&b);
        refuse(q, exchange, 500, "out of memory for the answer");
    } else {
        q->options.deliver(q->options.user, exchange, r->status, r->type, b.data, b.len);
    }
}

/* -- the worker -- */

static bool should_stop(void *user)
{
    return atomic_load(&((Job *)user)->stopped);
}

static void on_progress(void *user, double share)
{
    atomic_store(&((Job *)user)->thousandths, (int)(1000 * share));
}

/* The next job: the first of the client whose turn it is, who then goes to the end. */
static Job *take(WebQueue *q)
{
    Client *c = q->clients;
    if (!c)
        return NULL;
    Job *j = c->first;
    c->first = j->next;
    j->next = NULL;
    q->clients = c->next;
    c->next = NULL;
    if (c->first) {
        Client **end = &q->clients;
        while (*end)
            end = &(*end)->next;
        *end = c;
    } else {
        free(c);
    }
    return j;
}

static void *worker(void *arg)
{
    WebQueue *q = arg;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        while (!q->ending && !(q->running = take(q)))
            pthread_cond_wait(&q->more, &q->lock);
        if (q->ending)
            break;
        Job *j = q->running;
        pthread_mutex_unlock(&q->lock);
        LabControl control = {.user = j, .should_stop = should_stop, .on_progress = on_progress};
        WebReply reply = {.status = 200};
        double begin = progress_now_s();
        q->options.work(q->options.user, j->task, &control, &reply);
        reply.ms = 1000 * (progress_now_s() - begin);
        pthread_mutex_lock(&q->lock);
        bool first = true;
        while (j->waiters) {
            Waiter *w = j->waiters;
            j->waiters = w->next;
            q->n_waiters--;
            deliver(q, w->exchange, &reply, !first);
            first = false;
            free(w);
        }
        q->running = NULL;
        if (reply.status == 200)
            keep(q, j->same, &reply);
        strbuf_free(&reply.body);
        free_job(q, j);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

int web_queue_open(const WebQueueOptions *options, WebQueue **out, Error *e)
{
    WebQueue *q = calloc(1, sizeof *q);
    if (!q)
        return error_set(e, STATUS_FAILED, "serve: out of memory");
    q->options = *options;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->more, NULL);
    *out = q;
    if (pthread_create(&q->worker, NULL, worker, q)) {
        web_queue_close(q);
        *out = NULL;
        return error_set(e, STATUS_FAILED, "serve: cannot start a thread");
    }
    q->begun = true;
    return STATUS_OK;
}

/* Takes the chosen waiters off a job; returns how many. */
static size_t drop_waiters(WebQueue *q, Job *j, const Choice *choice)
{
    size_t n = 0;
    for (Waiter **at = &j->waiters; *at;) {
        Waiter *w = *at;
        if (!is_of(w, choice)) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        q->n_waiters--;
        n++;
        refuse(q, w->exchange, 409, choice->sentence);
        free(w);
    }
    return n;
}

/* A client left without jobs keeps its place until remove_idle: what supersedes waits no longer than what it replaces. */
static size_t drop(WebQueue *q, const Choice *choice)
{
    size_t n = 0;
    if (q->running) {
        n += drop_waiters(q, q->running, choice);
        if (n && !q->running->waiters) {
            atomic_store(&q->running->stopped, true);
            q->running->same[0] = '\0'; /* nobody may join it any more */
        }
    }
    for (Client *c = q->clients; c; c = c->next) {
        for (Job **at = &c->first; *at;) {
            Job *j = *at;
            n += drop_waiters(q, j, choice);
            if (j->waiters) {
                at = &j->next;
                continue;
            }
            *at = j->next;
            free_job(q, j);
        }
    }
    return n;
}

/* Clients without jobs leave the row. */
static void remove_idle(WebQueue *q)
{
    for (Client **c = &q->clients; *c;) {
        Client *idle = *c;
        if (idle->first) {
            c = &idle->next;
        } else {
            *c = idle->next;
            free(idle);
        }
    }
}

static Job *find_same(WebQueue *q, const char *same)
{
    if (!same[0])
        return NULL;
    if (q->running && strcmp(q->running->same, same) == 0)
        return q->running;
    for (Client *c = q->clients; c; c = c->next)
        for (Job *j = c->first; j; j = j->next)
            if (strcmp(j->same, same) == 0)
                return j;
    return NULL;
}

static size_t count_of(const Job *j, const char *client)
{
    size_t n = 0;
    for (const Waiter *w = j ? j->waiters : NULL; w; w = w->next)
        n += strcmp(w->client, client) == 0;
    return n;
}

static size_t count_waiting(const WebQueue *q, const char *client)
{
    size_t n = count_of(q->running, client);
    for (const Client *c = q->clients; c; c = c->next)
        for (const Job *j = c->first; j; j = j->next)
            n += count_of(j, client);
    return n;
}

/* A job at the end of its client's row. */
static Job *append(WebQueue *q, const char *client)
{
    Client **at = &q->clients;
    while (*at && strcmp((*at)->name, client) != 0)
        at = &(*at)->next;
    Client *c = *at;
    Job *j = calloc(1, sizeof *j);
    if (!c && (c = calloc(1, sizeof *c)))
        copy_name(c->name, sizeof c->name, client);
    if (!j || !c) {
        free(j);
        if (c && !c->first)
            free(c);
        return NULL;
    }
    *at = c;
    Job **end = &c->first;
    while (*end)
        end = &(*end)->next;
    *end = j;
    copy_name(j->client, sizeof j->client, client);
    return j;
}

int web_queue_submit(WebQueue *q, void *task, const char *same, const char *client, const char *slot, void *exchange,
                     void (*begin)(void *exchange))
{
    int status = 0;
    Waiter *w = calloc(1, sizeof *w);
    pthread_mutex_lock(&q->lock);
    if (slot[0])
        drop(q, &(Choice){NULL, client, slot, "superseded by a newer request of this client"});
    const WebReply *kept = find_kept(q, same);
    if (kept) {
        begin(exchange);
        deliver(q, exchange, kept, true);
    } else if (q->ending || !w || q->n_waiters >= q->options.most) {
        status = 503;
    } else if (count_waiting(q, client) >= q->options.most_of_client) {
        status = 429;
    } else {
        Job *j = find_same(q, same);
        if (!j && (j = append(q, client))) {
            j->task = task;
            copy_name(j->same, sizeof j->same, same);
            task = NULL;
        }
        if (!j) {
            status = 503;
        } else {
            begin(exchange);
            w->exchange = exchange;
            copy_name(w->client, sizeof w->client, client);
            copy_name(w->slot, sizeof w->slot, slot);
            Waiter **end = &j->waiters;
            while (*end)
                end = &(*end)->next;
            *end = w;
            w = NULL;
            q->n_waiters++;
            pthread_cond_signal(&q->more);
        }
    }
    remove_idle(q);
    pthread_mutex_unlock(&q->lock);
    free(w);
    if (task)
        q->options.free_task(task);
    return status;
}

size_t web_queue_cancel(WebQueue *q, const char *client, const char *slot)
{
    pthread_mutex_lock(&q->lock);
    size_t n = drop(q, &(Choice){NULL, client, slot, "cancelled"});
    remove_idle(q);
    pthread_mutex_unlock(&q->lock);
    return n;
}

void web_queue_abandon(WebQueue *q, const void *exchange)
{
    pthread_mutex_lock(&q->lock);
    drop(q, &(Choice){exchange, "", "", "the client is gone"});
    remove_idle(q);
    pthread_mutex_unlock(&q->lock);
}

/* Turns go round: before the k-th job of a client come k+1 of each client that stands before it, k of each behind it. */
void web_queue_progress(WebQueue *q, const char *client, WebProgress *out)
{
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&q->lock);
    if (count_of(q->running, client)) {
        out->running = true;
        out->done = atomic_load(&q->running->thousandths) / 1000.0;
    }
    size_t turn = SIZE_MAX, jobs_before = 0;
    for (const Client *c = q->clients; c; c = c->next) {
        size_t k = 0;
        for (const Job *j = c->first; j; j = j->next, k++) {
            size_t n = count_of(j, client);
            if (n && turn == SIZE_MAX) {
                turn = k;
                bool stands_before = true;
                for (const Client *o = q->clients; o; o = o->next) {
                    stands_before = stands_before && o != c;
                    size_t has = 0, most = k + (stands_before ? 1 : 0);
                    for (const Job *i = o->first; i && has < most; i = i->next)
                        has++;
                    jobs_before += has;
                }
            }
            out->waiting += n;
        }
    }
    out->ahead = out->waiting && !out->running ? jobs_before + (q->running != NULL) : 0;
    pthread_mutex_unlock(&q->lock);
}

void web_queue_end(WebQueue *q)
{
    pthread_mutex_lock(&q->lock);
    q->ending = true;
    if (q->running)
        atomic_store(&q->running->stopped, true);
    pthread_cond_signal(&q->more);
    pthread_mutex_unlock(&q->lock);
    if (q->begun)
        pthread_join(q->worker, NULL);
    q->begun = false;
    pthread_mutex_lock(&q->lock);
    while (q->clients) {
        Client *c = q->clients;
        while (c->first) {
            Job *j = c->first;
            c->first = j->next;
            while (j->waiters) {
                Waiter *w = j->waiters;
                j->waiters = w->next;
                refuse(q, w->exchange, 503, "the server is ending");
                free(w);
            }
            free_job(q, j);
        }
        q->clients = c->next;
        free(c);
    }
    pthread_mutex_unlock(&q->lock);
}

void web_queue_close(WebQueue *q)
{
    if (!q)
        return;
    web_queue_end(q);
    forget(q, 0);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->more);
    free(q);
}
