/* web_server.c: see web_server.h. One thread of libmicrohttpd reads and writes all connections; what takes time goes to a queue (one
 * for the model, one for results) and its connection sleeps meanwhile. libmicrohttpd ends connections that are silent; those that
 * trickle, byte after byte, are ended by web_server_sweep. */
#include "tools/web/web_server.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/json.h"
#include "engine/base/progress.h"
#include "engine/base/sha256.h"
#include "tools/web/web_gate.h"
#include "tools/web/web_listen.h"
#include "tools/web/web_page.h"
#include "tools/web/web_queue.h"
#include "tools/web/web_send.h"

enum {
    BODY_BYTES = 64 * 1024,
    CONNECTION_BYTES = 16 * 1024, /* libmicrohttpd's memory of one connection: line and headers must fit */
    READ_SECONDS = 10,
    SEND_SECONDS = 60,
    SILENT_SECONDS = 30,
    CONNECTIONS = 256,
    MOST_OF_CLIENT = 16,
    MOST_OF_ADDRESS = 64, /* of those that do not say who they are */
    MOST_WAITING = 128,
    KEPT_BYTES = 64 << 20,
    MOST_PARAMS = 16,
};

typedef enum Phase { READING, WORKING, SENDING } Phase;

/* One connection, from accept to close. */
typedef struct Line {
    struct Line *next, **at;
    int fd;
    Phase phase;
    double since;
    bool ended;
    void *exchange; /* while it waits for a queue */
} Line;

struct WebServer {
    WebServerOptions options;
    WebGate gate;
    struct MHD_Daemon *daemon;
    WebQueue *live, *files;
    int port, listener;
    bool ending;
    pthread_mutex_t lock; /* of lines */
    Line *lines;
    char (*etags)[20]; /* one a file of the page */
};

/* One request and its answer. */
typedef struct Exchange {
    WebServer *server;
    struct MHD_Connection *connection;
    StrBuf body;
    int refused; /* found wrong when the headers came */
    char sentence[256];
    bool done;
    int status;
    const char *type;
    char *answer;
    size_t len;
} Exchange;

/* A question for the queue of results. */
typedef struct FileTask {
    char path[1024];
    WebParam params[MOST_PARAMS];
    size_t n_params;
    Arena arena;
} FileTask;

/* -- the page -- */

static enum MHD_Result send_page(WebServer *s, struct MHD_Connection *c, const char *path, const char *cookie)
{
    const WebFile *f = web_page_find(path);
    if (!f)
        return web_send_error(c, 404,
                              path[0] ? "there is no such file" : "this build has no page; the API is at api/model.json");
    const char *etag = s->etags[f - web_page_files()];
    const char *has = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "If-None-Match");
    if (has && strcmp(has, etag) == 0 && !cookie)
        return web_send_bytes(c, 304, web_page_type(f->path), "", 0, MHD_RESPMEM_PERSISTENT, etag, NULL);
    return web_send_bytes(c, 200, web_page_type(f->path), f->data, (size_t)(f->end - f->data), MHD_RESPMEM_PERSISTENT, etag,
                          cookie);
}

/* -- the queues' side -- */

static Line *line_of(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void set_phase(WebServer *s, struct MHD_Connection *c, Phase phase, void *exchange)
{
    Line *line = line_of(c);
    if (!line)
        return;
    pthread_mutex_lock(&s->lock);
    line->phase = phase;
    line->since = progress_now_s();
    line->exchange = exchange;
    pthread_mutex_unlock(&s->lock);
}

static void begin_wait(void *exchange)
{
    if (exchange) /* NULL: nobody waits, see web_server_warm */
        MHD_suspend_connection(((Exchange *)exchange)->connection);
}

static void deliver(void *user, void *exchange, int status, const char *type, char *body, size_t len)
{
    (void)user;
    Exchange *x = exchange;
    if (!x) {
        free(body);
        return;
    }
    x->status = status;
    x->type = type;
    x->answer = body;
    x->len = len;
    x->done = true;
    MHD_resume_connection(x->connection);
}

static void set_error(WebReply *reply, int status, const char *sentence)
{
    strbuf_reset(&reply->body);
    reply->status = status;
    reply->is_open = reply->keep = false;
    web_write_error(&reply->body, sentence);
}

static void work_live(void *user, void *task, const LabControl *control, WebReply *reply)
{
    WebServer *s = user;
    Error e = {{0}};
    int status = web_answer(s->options.live, task, control, &reply->body, &e);
    reply->is_open = reply->keep = true;
    if (status == STATUS_USAGE)
        set_error(reply, 400, e.text);
    else if (status == STATUS_INTERRUPTED)
        set_error(reply, 409, "cancelled");
    else if (status)
        set_error(reply, 500, e.text);
}

static void free_ask(void *task)
{
    web_ask_free(task);
    free(task);
}

static void work_files(void *user, void *task, const LabControl *control, WebReply *reply)
{
    WebServer *s = user;
    FileTask *t = task;
    Error e = {{0}};
    (void)control;
    int status = strcmp(t->path, "rescan") == 0 && web_results_scan(s->options.results, &e) ? 500 : 0;
    if (!status)
        status = web_results_get(s->options.results, strcmp(t->path, "rescan") == 0 ? "results.json" : t->path, t->params,
                                 t->n_params, &reply->body, &reply->type, &e);
    if (status >= 400)
        set_error(reply, status, e.text);
    else if (reply->body.failed)
        set_error(reply, 500, "out of memory for the answer");
}

static void free_file_task(void *task)
{
    if (task)
        arena_free(&((FileTask *)task)->arena);
    free(task);
}

static const char *address_of(struct MHD_Connection *c, char *out, size_t room)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    char host[NI_MAXHOST] = "unknown";
    if (info && info->client_addr) {
        socklen_t len = info->client_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
        getnameinfo(info->client_addr, len, host, sizeof host, NULL, 0, NI_NUMERICHOST);
    }
    snprintf(out, room, "@%.60s", host);
    return out;
}

static enum MHD_Result submit(WebQueue *q, Exchange *x, void *task, const char *same, const char *client, const char *slot)
{
    set_phase(x->server, x->connection, WORKING, x); /* before: the sweep takes the locks in the same order */
    int status = web_queue_submit(q, task, same, client, slot, x, begin_wait);
    if (!status)
        return MHD_YES;
    set_phase(x->server, x->connection, SENDING, NULL);
    return web_send_error(x->connection, status,
                          status == 429 ? "too many requests of this client wait already; send fewer at a time"
                                        : "too many requests wait already; try again in a moment");
}

/* -- requests -- */

static enum MHD_Result answer_live(WebServer *s, Exchange *x, WebKind kind)
{
    struct MHD_Connection *c = x->connection;
    Error e = {{0}};
    char address[80];
    WebAsk *ask = calloc(1, sizeof *ask);
    if (!ask)
        return web_send_error(c, 500, "out of memory");
    int status = web_ask_read(kind, x->body.data ? x->body.data : "", x->body.len, &s->options.live->limits, ask, &e);
    if (status) {
        free(ask);
        return web_send_error(c, status == STATUS_USAGE ? 400 : 500, e.text);
    }
    const char *client = ask->client[0] ? ask->client : address_of(c, address, sizeof address);
    if (kind == WEB_CANCEL) {
        StrBuf b = {0};
        size_t n = s->live ? web_queue_cancel(s->live, client, ask->slot) : 0;
        strbuf_printf(&b, "{\"cancelled\": %zu}\n", n);
        free_ask(ask);
        return web_send_text(c, &b);
    }
    if (!s->live) {
        free_ask(ask);
        return web_send_error(c, 404, "this server has no model: start it with --model_name");
    }
    char name[80], slot[80], same[80]; /* the task is the queue's once it is submitted */
    snprintf(name, sizeof name, "%s", client);
    snprintf(slot, sizeof slot, "%s", ask->slot);
    snprintf(same, sizeof same, "%s", ask->same);
    return submit(s->live, x, ask, same, name, slot);
}

typedef struct Params {
    FileTask *task;
    bool failed;
} Params;

static enum MHD_Result add_param(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    Params *p = cls;
    FileTask *t = p->task;
    (void)kind;
    if (strcmp(name, "token") == 0)
        return MHD_YES;
    if (t->n_params == MOST_PARAMS || !value) {
        p->failed = true;
        return MHD_NO;
    }
    WebParam *w = &t->params[t->n_params++];
    w->name = arena_strndup(&t->arena, name, strlen(name));
    w->value = arena_strndup(&t->arena, value, strlen(value));
    p->failed = p->failed || !w->name || !w->value;
    return p->failed ? MHD_NO : MHD_YES;
}

static enum MHD_Result answer_files(WebServer *s, Exchange *x, const char *path)
{
    char address[80];
    FileTask *t = calloc(1, sizeof *t);
    if (!t || strlen(path) >= sizeof t->path) {
        free(t);
        return web_send_error(x->connection, t ? 414 : 500, t ? "the path is too long" : "out of memory");
    }
    memcpy(t->path, path, strlen(path) + 1);
    Params p = {t, false};
    MHD_get_connection_values(x->connection, MHD_GET_ARGUMENT_KIND, add_param, &p);
    if (p.failed) {
        free_file_task(t);
        return web_send_error(x->connection, 400, "too many parameters, or one without a value");
    }
    return submit(s->files, x, t, "", address_of(x->connection, address, sizeof address), "");
}

static enum MHD_Result answer_progress(WebServer *s, Exchange *x)
{
    const char *client = MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, "client");
    if (!client || !web_name_valid(client, strlen(client)))
        return web_send_error(x->connection, 400, "\"client\": expected 1 to 64 of the characters A-Z a-z 0-9 _ -");
    WebProgress p = {0};
    if (s->live)
        web_queue_progress(s->live, client, &p);
    StrBuf b = {0};
    strbuf_printf(&b, "{\"client\": \"%s\", \"waiting\": %zu, \"running\": %s, \"done\": %.3f, \"ahead\": %zu}\n", client,
                  p.waiting, p.running ? "true" : "false", p.done, p.ahead);
    return web_send_text(x->connection, &b);
}

static enum MHD_Result answer_get(WebServer *s, Exchange *x, const char *path)
{
    struct MHD_Connection *c = x->connection;
    WebKind kind;
    if (strcmp(path, "api/model.json") == 0)
        return web_send_bytes(c, 200, "application/json", s->options.model_json->data, s->options.model_json->len,
                              MHD_RESPMEM_PERSISTENT, NULL, NULL);
    if (strcmp(path, "api/progress.json") == 0)
        return answer_progress(s, x);
    if (strcmp(path, "api/results.json") == 0 || strncmp(path, "api/results/", 12) == 0)
        return answer_files(s, x, path + 4);
    if (web_kind_find(path, &kind))
        return web_send_error(c, 405, "this is asked by POST, with a JSON object as the body");
    if (strncmp(path, "api/", 4) == 0)
        return web_send_error(c, 404, "the API has no such request; tools/web/API.md lists them");
    char cookie[160] = "";
    web_gate_cookie(&s->gate, c, cookie, sizeof cookie);
    return send_page(s, c, path, cookie[0] ? cookie : NULL);
}

static enum MHD_Result answer_post(WebServer *s, Exchange *x, const char *path)
{
    WebKind kind;
    if (!web_kind_find(path, &kind)) {
        bool known = web_page_find(path) || strncmp(path, "api/results", 11) == 0 || strcmp(path, "api/model.json") == 0 ||
                     strcmp(path, "api/progress.json") == 0;
        return known ? web_send_error(x->connection, 405, "this is asked by GET")
                     : web_send_error(x->connection, 404, "the API has no such request; tools/web/API.md lists them");
    }
    if (kind != WEB_RESCAN)
        return answer_live(s, x, kind);
    if (s->options.read_only)
        return web_send_error(x->connection, 403,
                              "the server runs with --read_only: its list of results stays as it was at the start");
    return answer_files(s, x, "rescan");
}

/* What can be told from line and headers alone. */
static void check_headers(WebServer *s, Exchange *x, const char *method)
{
    struct MHD_Connection *c = x->connection;
    bool post = strcmp(method, "POST") == 0, get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    x->refused = web_gate_check(&s->gate, c, x->sentence, sizeof x->sentence);
    const char *type = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Type");
    const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length");
    const char *sentence = "";
    if (x->refused)
        return;
    if (!post && !get) {
        x->refused = 405;
        sentence = "expected GET, HEAD or POST";
    } else if (post && !length) {
        x->refused = 411;
        sentence = "a body needs a Content-Length";
    } else if (length && strtoull(length, NULL, 10) > BODY_BYTES) {
        x->refused = 413;
        sentence = "the body is too large; expected at most 65536 bytes";
    } else if (post && (!type || strncasecmp(type, "application/json", 16) != 0 || (type[16] && !strchr("; \t", type[16])))) {
        x->refused = 415;
        sentence = "expected Content-Type: application/json";
    }
    snprintf(x->sentence, sizeof x->sentence, "%s", sentence);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                                  const char *data, size_t *n_data, void **context)
{
    WebServer *s = cls;
    Exchange *x = *context;
    (void)version;
    if (!x) {
        if (!(x = calloc(1, sizeof *x)))
            return MHD_NO;
        *context = x;
        x->server = s;
        x->connection = c;
        check_headers(s, x, method);
        return x->refused ? web_send_error(c, x->refused, x->sentence) : MHD_YES;
    }
    if (x->done) {
        set_phase(s, c, SENDING, NULL);
        char *answer = x->answer;
        x->answer = NULL;
        return web_send_bytes(c, x->status, x->type ? x->type : "application/json", answer, x->len, MHD_RESPMEM_MUST_FREE, NULL,
                              NULL);
    }
    if (*n_data) {
        if (x->body.len + *n_data > BODY_BYTES) /* more than Content-Length said */
            return MHD_NO;
        strbuf_append(&x->body, data, *n_data);
        *n_data = 0;
        return MHD_YES;
    }
    set_phase(s, c, SENDING, NULL);
    if (s->ending)
        return web_send_error(c, 503, "the server is ending");
    if (x->body.failed)
        return web_send_error(c, 500, "out of memory");
    const char *path = url[0] == '/' ? url + 1 : url;
    return strcmp(method, "POST") == 0 ? answer_post(s, x, path) : answer_get(s, x, path);
}

static void on_completed(void *cls, struct MHD_Connection *c, void **context, enum MHD_RequestTerminationCode why)
{
    (void)why;
    Exchange *x = *context;
    set_phase(cls, c, READING, NULL);
    if (x) {
        strbuf_free(&x->body);
        free(x->answer);
        free(x);
    }
    *context = NULL;
}

/* -- connections -- */

static void on_connection(void *cls, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode what)
{
    WebServer *s = cls;
    Line *line = *context;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        line = calloc(1, sizeof *line);
        if (!line || !info) {
            free(line);
            return;
        }
        *line = (Line){.fd = info->connect_fd, .since = progress_now_s()};
        pthread_mutex_lock(&s->lock);
        line->next = s->lines;
        line->at = &s->lines;
        if (s->lines)
            s->lines->at = &line->next;
        s->lines = line;
        pthread_mutex_unlock(&s->lock);
        *context = line;
    } else if (line) { /* before the socket is closed, so that its number is not yet another's */
        pthread_mutex_lock(&s->lock);
        *line->at = line->next;
        if (line->next)
            line->next->at = line->at;
        pthread_mutex_unlock(&s->lock);
        free(line);
        *context = NULL;
    }
}

/* A client that closed while it waited: sleeping connections are not read, so nobody else would see it. */
static bool is_gone(const Line *l)
{
    struct pollfd p = {.fd = l->fd, .events = POLLRDHUP};
    return l->phase == WORKING && l->exchange && poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

void web_server_sweep(WebServer *s)
{
    double now = progress_now_s();
    pthread_mutex_lock(&s->lock);
    for (Line *l = s->lines; l; l = l->next) {
        if (is_gone(l)) {
            if (s->live)
                web_queue_abandon(s->live, l->exchange);
            web_queue_abandon(s->files, l->exchange);
        }
        double limit = l->phase == READING ? READ_SECONDS : l->phase == SENDING ? SEND_SECONDS : 1e9;
        if (!l->ended && now - l->since > limit) {
            shutdown(l->fd, SHUT_RDWR);
            l->ended = true;
        }
    }
    pthread_mutex_unlock(&s->lock);
}

static int make_etags(WebServer *s, Error *e)
{
    size_t n = 0;
    const WebFile *files = web_page_files();
    while (files[n].path)
        n++;
    s->etags = calloc(n + 1, sizeof *s->etags);
    if (!s->etags)
        return error_set(e, STATUS_FAILED, "serve: out of memory");
    for (size_t i = 0; i < n; i++) {
        Sha256 sha;
        char hex[65];
        sha256_begin(&sha);
        sha256_update(&sha, files[i].data, (size_t)(files[i].end - files[i].data));
        sha256_end(&sha, hex);
        snprintf(s->etags[i], sizeof s->etags[i], "\"%.16s\"", hex);
    }
    return STATUS_OK;
}

int web_server_open(const WebServerOptions *options, WebServer **out, Error *e)
{
    WebServer *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(e, STATUS_FAILED, "serve: out of memory");
    s->options = *options;
    s->listener = -1;
    pthread_mutex_init(&s->lock, NULL);
    size_t class_size = options->class_size > 0 ? (size_t)options->class_size : 0;
    WebQueueOptions live = {.work = work_live,
                            .free_task = free_ask,
                            .deliver = deliver,
                            .user = s,
                            .most_of_client = MOST_OF_ADDRESS,
                            .most = MOST_WAITING + 8 * class_size,
                            .kept_bytes = KEPT_BYTES};
    WebQueueOptions files = live;
    files.work = work_files;
    files.free_task = free_file_task;
    files.most_of_client = files.most;
    live.most_of_client = MOST_OF_CLIENT;
    int status = web_listen(options->host, options->port, &s->listener, &s->port, e);
    if (!status)
        status = web_gate_open(&s->gate, options->host, s->port, options->token, e);
    if (!status)
        status = make_etags(s, e);
    if (!status && options->live->lab)
        status = web_queue_open(&live, &s->live, e);
    if (!status)
        status = web_queue_open(&files, &s->files, e);
    if (!status) {
        s->daemon =
            MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME, 0, NULL,
                             NULL, on_request, s, MHD_OPTION_LISTEN_SOCKET, s->listener, MHD_OPTION_CONNECTION_LIMIT,
                             (unsigned)(CONNECTIONS + 8 * class_size), MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENT_SECONDS,
                             MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_NOTIFY_COMPLETED,
                             on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_END);
        if (!s->daemon)
            status = error_set(e, STATUS_FAILED, "serve: cannot start the server: %s", strerror(errno));
    }
    if (status) {
        web_server_close(s);
        return status;
    }
    *out = s;
    return STATUS_OK;
}

void web_server_warm(WebServer *s, const char *model_json, size_t len)
{
    Arena arena = {0};
    Error ignored;
    const JsonValue *root = NULL;
    if (!s->live || json_parse(model_json, len, "model", &arena, &root, &ignored)) {
        arena_free(&arena);
        return;
    }
    const JsonValue *defaults = json_get(root, "defaults");
    const char *text = json_text(json_get(defaults, "text")), *order = json_text(json_get(defaults, "order"));
    StrBuf body = {0};
    WebAsk *ask = calloc(1, sizeof *ask);
    strbuf_puts(&body, "{\"text\": ");
    strbuf_json_string(&body, text ? text : "", text ? strlen(text) : 0);
    strbuf_json_field_text(&body, "order", order ? order : "");
    strbuf_putc(&body, '}');
    char same[80];
    if (ask && !body.failed && !web_ask_read(WEB_RUN, body.data, body.len, &s->options.live->limits, ask, &ignored)) {
        snprintf(same, sizeof same, "%s", ask->same);
        web_queue_submit(s->live, ask, same, "@warm", "", NULL, begin_wait);
    } else {
        free(ask);
    }
    strbuf_free(&body);
    arena_free(&arena);
}

int web_server_port(const WebServer *s)
{
    return s->port;
}

void web_server_close(WebServer *s)
{
    if (!s)
        return;
    s->ending = true;
    if (s->live)
        web_queue_end(s->live);
    if (s->files)
        web_queue_end(s->files);
    const struct timespec moment = {.tv_nsec = 100 * 1000 * 1000};
    if (s->daemon && s->live)
        nanosleep(&moment, NULL); /* for the answers of those that waited */
    if (s->daemon)
        MHD_stop_daemon(s->daemon); /* closes the listener too */
    else if (s->listener >= 0)
        close(s->listener);
    web_queue_close(s->live);
    web_queue_close(s->files);
    web_gate_close(&s->gate);
    pthread_mutex_destroy(&s->lock);
    free(s->etags);
    free(s);
}
