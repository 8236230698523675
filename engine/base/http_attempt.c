/* http_attempt.c: see http_attempt.h. */
#include "engine/base/http_attempt.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/http_url.h"

enum {
    MAX_REDIRECTS = 10,
    MAX_HEADERS = 256,        /* a chain of answers names some dozens */
    MAX_HEADER_BYTES = 16384, /* one */
    MAX_ERROR_BYTES = 65536,
    POLL_MS = 100,
};

int http_attempt_fail(HttpAttempt *a, int status)
{
    a->failed = status;
    return status;
}

static int out_of_memory(HttpAttempt *a)
{
    return http_attempt_fail(a, error_set(a->e, STATUS_FAILED, "no memory for an answer of HTTP"));
}

static size_t on_header(char *line, size_t size, size_t n, void *context)
{
    HttpAttempt *a = context;
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
        http_attempt_fail(a, error_set(a->e, STATUS_FAILED, "%s: more than %d headers, or one of more than %d bytes", shown,
                                       MAX_HEADERS, MAX_HEADER_BYTES));
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

bool http_attempt_is_get(const HttpRequest *q)
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
static int begin_body(HttpAttempt *a)
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
            return http_attempt_fail(a,
                                     error_set(a->e, STATUS_FAILED, "%s: Content-Range \"%.60s\", expected bytes from %llu on",
                                               shown, range ? range : "", (unsigned long long)a->asked_from));
        }
        a->at = a->asked_from; /* the body that is there ends there: it was asked from its end on */
    }
    return STATUS_OK;
}

static size_t on_body(char *data, size_t size, size_t n, void *context)
{
    HttpAttempt *a = context;
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
        http_attempt_fail(a, error_set(a->e, STATUS_FAILED, "%s: more than %llu bytes, the most that is taken", shown,
                                       (unsigned long long)a->max_bytes));
        return 0;
    }
    if (q->sink) {
        int status = q->sink(q->sink_context, a->at, data, n, a->e);
        if (status) {
            http_attempt_fail(a, status);
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

static int make_headers(const HttpAttempt *a, bool with_secret, const char *if_range, struct curl_slist **list)
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

static void set_options(HttpAttempt *a, struct curl_slist *headers, bool is_loopback, char *error_text)
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

int http_attempt_stopped(HttpAttempt *a)
{
    char shown[256];
    if (!is_stopped(a->request))
        return STATUS_OK;
    http_url_shown(a->request->url, shown, sizeof shown);
    return http_attempt_fail(a, error_set(a->e, STATUS_INTERRUPTED, "%s: interrupted", shown));
}

/* The next address of a redirect, in `next` (malloc'ed by libcurl). */
static int next_url(HttpAttempt *a, int hop, char **next)
{
    char shown[256], *to = NULL;
    http_url_shown(a->url, shown, sizeof shown);
    curl_easy_getinfo(a->client->easy, CURLINFO_REDIRECT_URL, &to);
    int most = a->request->max_redirects ? a->request->max_redirects : MAX_REDIRECTS;
    if (hop + 1 > most)
        return http_attempt_fail(a, error_set(a->e, STATUS_FAILED, "%s: redirected more than %d times", shown, most));
    bool is_http = to && strncasecmp(to, "http://", 7) == 0;
    if (!is_http && !(to && strncasecmp(to, "https://", 8) == 0))
        return http_attempt_fail(
            a,
            error_set(a->e, STATUS_FAILED, "%s: status %ld without an address of http or https to go on to", shown, a->status));
    if (is_http && strncasecmp(a->url, "https://", 8) == 0)
        return http_attempt_fail(
            a, error_set(a->e, STATUS_FAILED, "%s: redirected from https to http, which is not followed", shown));
    *next = strdup(to);
    return *next ? STATUS_OK : out_of_memory(a);
}

int http_attempt(HttpAttempt *a, const char *if_range, CURLcode *code, char *error_text)
{
    char *owned = NULL;
    bool with_secret = true, more = true;
    a->url = a->request->url;
    http_response_clear_headers(a->response);
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
        if (!http_attempt_fail(a, http_url_check(a->url, &is_loopback, a->e)) &&
            !http_attempt_fail(a, make_headers(a, with_secret, if_range, &headers))) {
            set_options(a, headers, is_loopback, error_text);
            *code = drive(a->client, a->request);
            if (!a->failed)
                http_attempt_stopped(a);
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
