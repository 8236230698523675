/* http.c: see http.h. Clients, responses, and a request tried again until it is answered (one attempt: http_attempt.h). */
#include "engine/base/http.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/http_attempt.h"
#include "engine/base/http_url.h"
#include "engine/base/progress.h"
#include "engine/base/rng.h"

enum { MAX_BUFFER_BYTES = 64 << 20, DEFAULT_RETRIES = 5 };
static const double max_backoff_s = 60;

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

void http_response_clear_headers(HttpResponse *r)
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
    http_response_clear_headers(response);
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
static void describe(const HttpAttempt *a, CURLcode code, const char *error_text, char *out, size_t out_len)
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
static int pause_for(HttpAttempt *a, double seconds)
{
    double end = progress_now_s() + seconds;
    for (double left; (left = end - progress_now_s()) > 0;) {
        if (http_attempt_stopped(a))
            return a->failed;
        double nap = left < 0.1 ? left : 0.1;
        struct timespec t = {0, (long)(nap * 1e9)};
        nanosleep(&t, NULL);
    }
    return STATUS_OK;
}

static int wait_before_retry(HttpAttempt *a, int n_failed, int retries, const char *why)
{
    const HttpRequest *q = a->request;
    char shown[256];
    StrBuf text = {0};
    double base = q->backoff_s > 0 ? q->backoff_s : 1, most = q->max_wait_s > 0 ? q->max_wait_s : 300;
    double seconds = fmin(max_backoff_s, base * ldexp(1, n_failed - 1)) * (0.5 + 0.5 * rng_uniform(&a->client->rng));
    curl_off_t asked = 0;
    curl_easy_getinfo(a->client->easy, CURLINFO_RETRY_AFTER, &asked);
    http_url_shown(q->url, shown, sizeof shown);
    if ((double)asked > most)
        return http_attempt_fail(a, error_set(a->e, STATUS_FAILED, "%s: %s; the server asks to wait %lld s, more than %.0f s",
                                              shown, why, (long long)asked, most));
    if (asked > 0)
        seconds = fmax((double)asked, seconds);
    strbuf_printf(&text, "%s: %s; again in %.1f s (attempt %d of %d)", shown, why, seconds, n_failed + 1, retries + 1);
    if (q->on_wait)
        q->on_wait(q->wait_context, text.failed ? why : text.data);
    strbuf_free(&text);
    return pause_for(a, seconds);
}

/* Where the next attempt begins: what came of a good body stays when the server can be asked for the rest of the same one. */
static uint64_t next_start(const HttpAttempt *a, CURLcode code, char **etag)
{
    const HttpRequest *q = a->request;
    if (code == CURLE_OK)
        return a->asked_from; /* a 503 in between loses nothing */
    const char *named = http_header(a->response, "ETag");
    if (!http_attempt_is_get(q) || !a->is_good || a->at <= a->asked_from || !named || named[0] != '"')
        return a->is_good ? q->resume_from : a->asked_from;
    char *copy = strdup(named);
    if (!copy)
        return q->resume_from;
    free(*etag);
    *etag = copy;
    return a->at;
}

static int send_with_retries(HttpAttempt *a, char **etag, int retries)
{
    HttpResponse *r = a->response;
    char error_text[CURL_ERROR_SIZE], why[512], shown[256];
    uint64_t furthest = 0;
    http_url_shown(a->request->url, shown, sizeof shown);
    for (int n_failed = 0;;) {
        CURLcode code = CURLE_OK;
        r->n_attempts++;
        a->at = a->asked_from;
        if (http_attempt(a, *etag, &code, error_text))
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
            return http_attempt_fail(
                a, error_set(a->e, STATUS_FAILED, "%s: %s%s", shown, why, again && retries ? " (given up)" : ""));
        if (wait_before_retry(a, n_failed, retries, why))
            return a->failed;
    }
}

int http_send(HttpClient *client, const HttpRequest *request, HttpResponse *response, Error *e)
{
    *response = (HttpResponse){0};
    HttpAttempt a = {.client = client, .request = request, .response = response, .e = e};
    a.asked_from = http_attempt_is_get(request) ? request->resume_from : 0;
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
