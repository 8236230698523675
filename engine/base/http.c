/* http.c: see http.h. One attempt is a chain of hops (redirects), each one libcurl transfer driven by its multi interface, so that the stop
 * flag is seen every 100 ms. */
#include "engine/base/http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/http_url.h"
#include "engine/base/progress.h"
#include "engine/base/rng.h"

enum {
    MAX_REDIRECTS = 10,
    MAX_HEADERS = 256,        /* a chain of answers names some dozens */
    MAX_HEADER_BYTES = 16384, /* one */
    MAX_ERROR_BYTES = 65536,
    MAX_BUFFER_BYTES = 64 << 20,
    DEFAULT_RETRIES = 5,
    POLL_MS = 100,
};
static const double max_backoff_s = 60;

struct HttpClient {
    CURL *easy;
    CURLM *multi;
    Rng rng;
};

/* One attempt. */
typedef struct Attempt {
    HttpClient *client;
    const HttpRequest *request;
    HttpResponse *response;
    const char *url;     /* of the hop */
    uint64_t asked_from; /* Range */
    uint64_t at;         /* offset of the next byte */
    StrBuf refusal;      /* the body of an answer that is not good */
    uint64_t max_bytes;  /* 0: none */
    long status;         /* of the hop, known at its body's first byte */
    bool is_good;        /* its body goes to the caller */
    bool is_redirect;    /* it is followed */
    int failed;          /* status of an error that ends everything; text in *e */
    Error *e;
} Attempt;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global_status;

static void init_global(void)
{
    global_status = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int http_open(HttpClient **out, Error *e)
{
    *out = NULL;
    pthread_once(&once, init_global);
    HttpClient *c = global_status == CURLE_OK ? calloc(1, sizeof *c) : NULL;
    if (!c)
        return error_set(e, STATUS_FAILED, "libcurl cannot be started");
    c->easy = curl_easy_init();
    c->multi = curl_multi_init();
    if (!c->easy || !c->multi) {
        http_close(c);
        return error_set(e, STATUS_FAILED, "libcurl cannot be started: no memory");
    }
    /* The waits' jitter only has to differ between processes. */
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    rng_seed(&c->rng, (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20, (uint64_t)getpid());
    *out = c;
    return STATUS_OK;
}

void http_close(HttpClient *client)
{
    if (!client)
        return;
    if (client->easy)
        curl_easy_cleanup(client->easy);
    if (client->multi)
        curl_multi_cleanup(client->multi);
    free(client);
}

static void clear_headers(HttpResponse *r)
{
    for (size_t i = 0; i < r->n_headers; i++) {
        free(r->headers[i].name);
        free(r->headers[i].value);
    }
    free(r->headers);
    r->headers = NULL;
    r->n_headers = 0;
    r->n_hops = 0;
}

void http_response_free(HttpResponse *response)
{
    if (!response)
        return;
    clear_headers(response);
    strbuf_free(&response->body);
    *response = (HttpResponse){0};
}

static const char *find_header(const HttpResponse *r, const char *name, int first_hop)
{
    for (size_t i = r->n_headers; i-- > 0;)
        if (r->headers[i].hop >= first_hop && strcasecmp(r->headers[i].name, name) == 0)
            return r->headers[i].value;
    return NULL;
}

const char *http_header(const HttpResponse *response, const char *name)
{
    return find_header(response, name, response->n_hops - 1);
}

const char *http_header_any(const HttpResponse *response, const char *name)
{
    return find_header(response, name, 0);
}

/* Overwrites what of the secret stands in text: the value of Authorization, and its part behind the scheme's name. */
static void hide_secret(const HttpRequest *q, char *text, size_t n)
{
    const char *secret = q->authorization;
    if (!secret || !text)
        return;
    const char *space = strrchr(secret, ' ');
    if (space && space[1])
        secret = space + 1;
    size_t m = strlen(secret);
    for (size_t i = 0; m && i + m <= n; i++)
        if (memcmp(text + i, secret, m) == 0)
            memset(text + i, '*', m);
}

static int fail(Attempt *a, int status)
{
    a->failed = status;
    return status;
}

static int out_of_memory(Attempt *a)
{
    return fail(a, error_set(a->e, STATUS_FAILED, "no memory for an answer of HTTP"));
}

static size_t on_header(char *line, size_t size, size_t n, void *context)
{
    Attempt *a = context;
    HttpResponse *r = a->response;
    n *= size;
    if (n >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        /* A 100 or a proxy's answer came before: only the last block counts as this hop. */
        return n;
    }
    const char *colon = memchr(line, ':', n);
    if (!colon)
        return n;
    size_t n_name = (size_t)(colon - line), first = n_name + 1, end = n;
    while (first < end && isspace((unsigned char)line[first]))
        first++;
    while (end > first && isspace((unsigned char)line[end - 1]))
        end--;
    if (r->n_headers == MAX_HEADERS || n > MAX_HEADER_BYTES) {
        char shown[256];
        http_url_shown(a->url, shown, sizeof shown);
        fail(a, error_set(a->e, STATUS_FAILED, "%s: more than %d headers, or one of more than %d bytes", shown, MAX_HEADERS,
                          MAX_HEADER_BYTES));
        return 0;
    }
    if (!r->headers && !(r->headers = calloc(MAX_HEADERS, sizeof *r->headers))) {
        out_of_memory(a);
        return 0;
    }
    HttpHeader h = {strndup(line, n_name), strndup(line + first, end - first), r->n_hops - 1};
    if (!h.name || !h.value) {
        free(h.name);
        free(h.value);
        out_of_memory(a);
        return 0;
    }
    r->headers[r->n_headers++] = h;
    return n;
}

static bool is_post(const HttpRequest *q)
{
    return q->method ? strcmp(q->method, "POST") == 0 : q->body != NULL;
}

static bool is_get(const HttpRequest *q)
{
    return !is_post(q) && (!q->method || strcmp(q->method, "GET") == 0);
}

static bool is_followed(const HttpRequest *q, long status)
{
    if (q->max_redirects < 0)
        return false;
    return status == 307 || status == 308 || (!is_post(q) && (status == 301 || status == 302 || status == 303));
}

static bool is_answer(const HttpRequest *q, long status)
{
    return (status >= 200 && status < 300) || (q->max_redirects < 0 && status >= 300 && status < 400);
}

/* The hop's status decides where its body goes; where a good body begins is known from it and from Content-Range. */
static int begin_body(Attempt *a)
{
    const HttpRequest *q = a->request;
    curl_easy_getinfo(a->client->easy, CURLINFO_RESPONSE_CODE, &a->status);
    a->is_redirect = is_followed(q, a->status);
    a->is_good = !a->is_redirect && is_answer(q, a->status);
    a->response->status = a->status;
    if (!a->is_good)
        return STATUS_OK;
    a->at = 0;
    if (a->status != 206 || a->asked_from == q->resume_from)
        strbuf_reset(&a->response->body);
    if (a->status == 206) {
        const char *range = http_header(a->response, "Content-Range");
        unsigned long long first = 0;
        if (!range || sscanf(range, "bytes %llu-", &first) != 1 || first != a->asked_from) {
            char shown[256];
            http_url_shown(a->url, shown, sizeof shown);
            return fail(a, error_set(a->e, STATUS_FAILED, "%s: Content-Range \"%.60s\", expected bytes from %llu on", shown,
                                     range ? range : "", (unsigned long long)a->asked_from));
        }
        a->at = a->asked_from; /* the body that is there ends there: it was asked from its end on */
    }
    return STATUS_OK;
}

static size_t on_body(char *data, size_t size, size_t n, void *context)
{
    Attempt *a = context;
    const HttpRequest *q = a->request;
    StrBuf *body = &a->response->body;
    n *= size;
    if (a->status == 0 && begin_body(a))
        return 0;
    if (a->is_redirect)
        return n;
    if (!a->is_good) {
        size_t room = a->refusal.len < MAX_ERROR_BYTES ? MAX_ERROR_BYTES - a->refusal.len : 0;
        strbuf_append(&a->refusal, data, n < room ? n : room);
        return n;
    }
    if (a->max_bytes && (n > a->max_bytes || a->at > a->max_bytes - n)) {
        char shown[256];
        http_url_shown(a->url, shown, sizeof shown);
        fail(a, error_set(a->e, STATUS_FAILED, "%s: more than %llu bytes, the most that is taken", shown,
                          (unsigned long long)a->max_bytes));
        return 0;
    }
    if (q->sink) {
        int status = q->sink(q->sink_context, a->at, data, n, a->e);
        if (status) {
            fail(a, status);
            return 0;
        }
    } else {
        strbuf_append(body, data, n);
        if (body->failed) {
            out_of_memory(a);
            return 0;
        }
    }
    a->at += n;
    return n;
}

static int add_header(struct curl_slist **list, const char *text, Error *e)
{
    if (strpbrk(text, "\r\n"))
        return error_set(e, STATUS_USAGE, "a header of HTTP holds the end of a line");
    struct curl_slist *longer = curl_slist_append(*list, text);
    if (!longer)
        return error_set(e, STATUS_FAILED, "no memory for a header of HTTP");
    *list = longer;
    return STATUS_OK;
}

static int make_headers(const Attempt *a, bool with_secret, const char *if_range, struct curl_slist **list)
{
    const HttpRequest *q = a->request;
    StrBuf line = {0};
    int status = add_header(list, "Expect:", a->e); /* no wait for "100 Continue" */
    for (size_t i = 0; i < q->n_headers && !status; i++)
        status = add_header(list, q->headers[i], a->e);
    if (!status && q->authorization && with_secret) {
        strbuf_printf(&line, "Authorization: %s", q->authorization);
        status =
            line.failed ? error_set(a->e, STATUS_FAILED, "no memory for a header of HTTP") : add_header(list, line.data, a->e);
    }
    if (!status && a->asked_from && if_range) {
        strbuf_reset(&line);
        strbuf_printf(&line, "If-Range: %s", if_range);
        status =
            line.failed ? error_set(a->e, STATUS_FAILED, "no memory for a header of HTTP") : add_header(list, line.data, a->e);
    }
    strbuf_free(&line);
    return status;
}

static void set_protocols(CURL *h)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(h, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

static void set_options(Attempt *a, struct curl_slist *headers, bool is_loopback, char *error_text)
{
    const HttpRequest *q = a->request;
    CURL *h = a->client->easy;
    curl_easy_reset(h);
    set_protocols(h);
    curl_easy_setopt(h, CURLOPT_URL, a->url);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_USERAGENT, "strata");
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, error_text);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, a);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, a);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, lround(1000 * (q->connect_s > 0 ? q->connect_s : 20)));
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, (long)ceil(q->idle_s > 0 ? q->idle_s : 60));
    if (q->attempt_s > 0)
        curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, lround(1000 * q->attempt_s));
    if (is_loopback)
        curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
    if (is_post(q)) {
        curl_easy_setopt(h, CURLOPT_POST, 1L);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, q->body ? q->body : "");
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(q->body ? q->body_bytes : 0));
    } else if (q->method && strcmp(q->method, "HEAD") == 0) {
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    }
    if (a->asked_from || q->end_at) { /* not RESUME_FROM, which takes an answer of the whole for an error */
        char range[48];
        int n = snprintf(range, sizeof range, "%llu-", (unsigned long long)a->asked_from);
        if (q->end_at)
            snprintf(range + n, sizeof range - (size_t)n, "%llu", (unsigned long long)q->end_at - 1);
        curl_easy_setopt(h, CURLOPT_RANGE, range);
    }
}

static bool is_stopped(const HttpRequest *q)
{
    return q->stop && *q->stop;
}

/* One transfer to its end; CURLE_ABORTED_BY_CALLBACK when stopped. */
static CURLcode drive(HttpClient *c, const HttpRequest *q)
{
    CURLcode code = CURLE_OUT_OF_MEMORY;
    if (curl_multi_add_handle(c->multi, c->easy) != CURLM_OK)
        return code;
    for (int running = 1; running;) {
        if (is_stopped(q)) {
            code = CURLE_ABORTED_BY_CALLBACK;
            break;
        }
        if (curl_multi_perform(c->multi, &running) != CURLM_OK)
            break;
        int left;
        for (const CURLMsg *m; (m = curl_multi_info_read(c->multi, &left));)
            if (m->msg == CURLMSG_DONE)
                code = m->data.result;
        if (running && curl_multi_poll(c->multi, NULL, 0, POLL_MS, NULL) != CURLM_OK)
            break;
    }
    curl_multi_remove_handle(c->multi, c->easy);
    return code;
}

static int stopped(Attempt *a)
{
    char shown[256];
    http_url_shown(a->request->url, shown, sizeof shown);
    return fail(a, error_set(a->e, STATUS_INTERRUPTED, "%s: interrupted", shown));
}

/* The next address of a redirect, in `next` (malloc'ed by libcurl). */
static int next_url(Attempt *a, int hop, char **next)
{
    char shown[256], *to = NULL;
    http_url_shown(a->url, shown, sizeof shown);
    curl_easy_getinfo(a->client->easy, CURLINFO_REDIRECT_URL, &to);
    int most = a->request->max_redirects ? a->request->max_redirects : MAX_REDIRECTS;
    if (hop + 1 > most)
        return fail(a, error_set(a->e, STATUS_FAILED, "%s: redirected more than %d times", shown, most));
    bool is_http = to && strncasecmp(to, "http://", 7) == 0;
    if (!is_http && !(to && strncasecmp(to, "https://", 8) == 0))
        return fail(a, error_set(a->e, STATUS_FAILED, "%s: status %ld without an address of http or https to go on to", shown,
                                 a->status));
    if (is_http && strncasecmp(a->url, "https://", 8) == 0)
        return fail(a, error_set(a->e, STATUS_FAILED, "%s: redirected from https to http, which is not followed", shown));
    *next = strdup(to);
    return *next ? STATUS_OK : out_of_memory(a);
}

/* One attempt along its redirects. *code: the transport's outcome of the last hop. */
static int attempt(Attempt *a, const char *if_range, CURLcode *code, char *error_text)
{
    char *owned = NULL;
    bool with_secret = true, more = true;
    a->url = a->request->url;
    clear_headers(a->response);
    a->response->status = 0;
    for (int hop = 0; more && !a->failed; hop++) {
        struct curl_slist *headers = NULL;
        bool is_loopback = false;
        a->response->n_hops = hop + 1;
        a->status = 0;
        a->is_good = a->is_redirect = false;
        strbuf_reset(&a->refusal);
        error_text[0] = 0;
        more = false;
        if (!fail(a, http_url_check(a->url, &is_loopback, a->e)) &&
            !fail(a, make_headers(a, with_secret, if_range, &headers))) {
            set_options(a, headers, is_loopback, error_text);
            *code = drive(a->client, a->request);
            if (is_stopped(a->request) && !a->failed)
                stopped(a);
            if (!a->failed && a->status == 0)
                begin_body(a); /* an answer without a body */
        }
        char *next = NULL;
        if (!a->failed && *code == CURLE_OK && a->is_redirect && !next_url(a, hop, &next)) {
            with_secret = with_secret && http_url_same_origin(a->request->url, next);
            free(owned);
            a->url = owned = next;
            more = true;
        }
        curl_easy_setopt(a->client->easy, CURLOPT_HTTPHEADER, NULL);
        curl_slist_free_all(headers);
    }
    free(owned);
    a->url = a->request->url;
    return a->failed;
}

static bool is_transient_status(long status)
{
    return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

static bool is_transient_code(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_AGAIN:
        return true;
    default:
        return false;
    }
}

/* What went wrong, in words. */
static void describe(const Attempt *a, CURLcode code, const char *error_text, char *out, size_t out_len)
{
    if (code == CURLE_OK) {
        size_t n = a->refusal.len < 300 ? a->refusal.len : 300;
        snprintf(out, out_len, "status %ld%s%.*s", a->status, n ? ": " : "", (int)n, n ? a->refusal.data : "");
        for (char *s = out; *s; s++)
            if (*s == '\n' || *s == '\r' || *s == '\t')
                *s = ' ';
    } else {
        snprintf(out, out_len, "%s", error_text[0] ? error_text : curl_easy_strerror(code));
    }
    hide_secret(a->request, out, strlen(out));
}

/* Waits, awake to the stop flag. */
static int pause_for(Attempt *a, double seconds)
{
    double end = progress_now_s() + seconds;
    for (double left; (left = end - progress_now_s()) > 0;) {
        if (is_stopped(a->request))
            return stopped(a);
        double nap = left < 0.1 ? left : 0.1;
        struct timespec t = {0, (long)(nap * 1e9)};
        nanosleep(&t, NULL);
    }
    return STATUS_OK;
}

static int wait_before_retry(Attempt *a, int n_failed, int retries, const char *why)
{
    const HttpRequest *q = a->request;
    char shown[256], text[700];
    double base = q->backoff_s > 0 ? q->backoff_s : 1, most = q->max_wait_s > 0 ? q->max_wait_s : 300;
    double seconds = fmin(max_backoff_s, base * ldexp(1, n_failed - 1)) * (0.5 + 0.5 * rng_uniform(&a->client->rng));
    curl_off_t asked = 0;
    curl_easy_getinfo(a->client->easy, CURLINFO_RETRY_AFTER, &asked);
    http_url_shown(q->url, shown, sizeof shown);
    if ((double)asked > most)
        return fail(a, error_set(a->e, STATUS_FAILED, "%s: %s; the server asks to wait %lld s, more than %.0f s", shown, why,
                                 (long long)asked, most));
    if (asked > 0)
        seconds = fmax((double)asked, seconds);
    snprintf(text, sizeof text, "%s: %s; again in %.1f s (attempt %d of %d)", shown, why, seconds, n_failed + 1, retries + 1);
    if (q->on_wait)
        q->on_wait(q->wait_context, text);
    return pause_for(a, seconds);
}

/* Where the next attempt begins: what came of a good body stays when the server can be asked for the rest of the same one. */
static uint64_t next_start(const Attempt *a, CURLcode code, char **etag)
{
    const HttpRequest *q = a->request;
    if (code == CURLE_OK)
        return a->asked_from; /* a 503 in between loses nothing */
    const char *named = http_header(a->response, "ETag");
    if (!is_get(q) || !a->is_good || a->at <= a->asked_from || !named || named[0] != '"')
        return a->is_good ? q->resume_from : a->asked_from;
    char *copy = strdup(named);
    if (!copy)
        return q->resume_from;
    free(*etag);
    *etag = copy;
    return a->at;
}

static int send_with_retries(Attempt *a, char **etag, int retries)
{
    HttpResponse *r = a->response;
    char error_text[CURL_ERROR_SIZE], why[512], shown[256];
    uint64_t furthest = 0;
    http_url_shown(a->request->url, shown, sizeof shown);
    for (int n_failed = 0;;) {
        CURLcode code = CURLE_OK;
        r->n_attempts++;
        a->at = a->asked_from;
        if (attempt(a, *etag, &code, error_text))
            return a->failed;
        if (code == CURLE_OK && a->is_good) {
            r->size_bytes = a->at;
            return STATUS_OK;
        }
        describe(a, code, error_text, why, sizeof why);
        bool again = code == CURLE_OK ? is_transient_status(a->status) : is_transient_code(code);
        a->asked_from = next_start(a, code, etag);
        n_failed = a->asked_from > furthest ? 1 : n_failed + 1;
        furthest = a->asked_from > furthest ? a->asked_from : furthest;
        if (!again || n_failed > retries)
            return fail(a, error_set(a->e, STATUS_FAILED, "%s: %s%s", shown, why, again && retries ? " (given up)" : ""));
        if (wait_before_retry(a, n_failed, retries, why))
            return a->failed;
    }
}

int http_send(HttpClient *client, const HttpRequest *request, HttpResponse *response, Error *e)
{
    *response = (HttpResponse){0};
    Attempt a = {.client = client, .request = request, .response = response, .e = e};
    a.asked_from = is_get(request) ? request->resume_from : 0;
    a.max_bytes = request->max_bytes || request->sink ? request->max_bytes : MAX_BUFFER_BYTES;
    char *etag = request->if_range ? strdup(request->if_range) : NULL;
    int status = send_with_retries(&a, &etag, request->retries < 0 ? 0 : request->retries ? request->retries : DEFAULT_RETRIES);
    if (status) {
        strbuf_reset(&response->body);
        strbuf_append(&response->body, a.refusal.data, a.refusal.len);
        hide_secret(request, response->body.data, response->body.len);
        if (e)
            hide_secret(request, e->text, strlen(e->text));
    }
    strbuf_free(&a.refusal);
    free(etag);
    curl_easy_reset(client->easy); /* no pointer into the request is left */
    return status;
}
