/* test_http.c: the HTTP client against tests/http_server.py, a server on loopback that misbehaves: limits, retries, resumption, redirects,
 * and that no secret leaves for another host or stands in an error. */
#include "engine/base/http.h"

#include <pthread.h>
#include <sys/wait.h>

#include "engine/base/progress.h"
#include "tests/temp_folder.h"

static int port;
static pid_t server;
static int server_stdin;
static HttpClient *client;

static bool begin_server(void)
{
    int in[2], out[2];
    if (pipe(in) || pipe(out))
        return false;
    server = fork();
    if (server == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        execlp("python3", "python3", "tests/http_server.py", (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    server_stdin = in[1];
    FILE *f = fdopen(out[0], "r");
    bool ok = server > 0 && f && fscanf(f, "%d", &port) == 1;
    if (f)
        fclose(f);
    return ok;
}

static void end_server(void)
{
    close(server_stdin);
    if (server > 0)
        waitpid(server, NULL, 0);
}

static char url_text[512];
static const char *url(const char *path)
{
    snprintf(url_text, sizeof url_text, "http://127.0.0.1:%d%s", port, path);
    return url_text;
}

/* Requests of tests wait milliseconds, not seconds. */
static HttpRequest ask(const char *path)
{
    return (HttpRequest){.url = url(path), .backoff_s = 0.01, .idle_s = 5};
}

static bool is_pattern(const char *data, size_t n, unsigned salt)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)data[i] != (i + salt) % 251)
            return false;
    return true;
}

static int hits(const char *path)
{
    char asked[256];
    HttpResponse r;
    Error e = {""};
    snprintf(asked, sizeof asked, "/hits%s", path);
    HttpRequest q = ask(asked);
    int status = http_send(client, &q, &r, &e), n = status ? -1 : atoi(r.body.data);
    http_response_free(&r);
    return n;
}

static void test_plain(void)
{
    HttpResponse r;
    Error e = {""};
    const char *const headers[] = {"X-Mine: 1"};
    HttpRequest q = ask("/echo?q=1");
    q.headers = headers;
    q.n_headers = 1;
    CHECK_MSG(http_send(client, &q, &r, &e) == 0, "%s", e.text);
    CHECK(r.status == 200 && r.n_attempts == 1 && r.size_bytes == r.body.len);
    CHECK(strstr(r.body.data, "\"method\": \"GET\"") && strstr(r.body.data, "\"X-Mine\": \"1\"") &&
          strstr(r.body.data, "/echo?q=1"));
    CHECK_STR(http_header(&r, "x-last") ? http_header(&r, "x-last") : "", "here");
    CHECK(!http_header(&r, "X-Absent"));
    http_response_free(&r);
    q = ask("/echo");
    q.body = "{\"k\": 1}";
    q.body_bytes = 8;
    q.authorization = "Bearer secret-1";
    CHECK_MSG(http_send(client, &q, &r, &e) == 0, "%s", e.text);
    CHECK(strstr(r.body.data, "\"POST\"") && strstr(r.body.data, "{\\\"k\\\": 1}") && strstr(r.body.data, "Bearer secret-1"));
    http_response_free(&r);
    q = ask("/bytes/1000");
    q.method = "HEAD";
    CHECK_MSG(http_send(client, &q, &r, &e) == 0, "%s", e.text);
    CHECK(r.body.len == 0);
    CHECK_STR(http_header(&r, "Content-Length"), "1000");
    CHECK_STR(http_header(&r, "ETag"), "\"one\"");
    http_response_free(&r);
}

static int n_waits;
static char last_wait[1024];
static void on_wait(void *context, const char *text)
{
    (void)context;
    n_waits++;
    snprintf(last_wait, sizeof last_wait, "%s", text);
}

/* A request that fails; the error holds `expected`. */
static void check_fails(HttpRequest q, int expected_status, long http_status, int n_attempts, const char *expected)
{
    HttpResponse r;
    Error e = {""};
    int status = http_send(client, &q, &r, &e);
    CHECK_MSG(status == expected_status && strstr(e.text, expected), "%s: status %d, \"%s\", expected \"%s\"", q.url, status,
              e.text, expected);
    CHECK_MSG(r.status == http_status && r.n_attempts == n_attempts, "%s: HTTP status %ld, %d attempts", q.url, r.status,
              r.n_attempts);
    CHECK(!strchr(e.text, '\n'));
    http_response_free(&r);
}

static void test_retries(void)
{
    HttpResponse r;
    Error e = {""};
    HttpRequest q = ask("/status/503/after/2");
    q.on_wait = on_wait;
    n_waits = 0;
    CHECK_MSG(http_send(client, &q, &r, &e) == 0, "%s", e.text);
    CHECK(r.status == 200 && r.n_attempts == 3 && n_waits == 2);
    CHECK_STR(r.body.data, "it is\n200");
    CHECK_MSG(strstr(last_wait, "status 503: it is 503; again in "), "%s", last_wait);
    http_response_free(&r);
    q = ask("/retry/1/1");
    double begin = progress_now_s();
    CHECK_MSG(http_send(client, &q, &r, &e) == 0, "%s", e.text);
    /* Retry-After: 1 is waited for, a back-off of 0.01 s would be over long before */
    CHECK_MSG(progress_now_s() - begin >= 1 && r.n_attempts == 2, "%.3f s", progress_now_s() - begin);
    http_response_free(&r);
    q = ask("/retry/9/4000");
    check_fails(q, 1, 429, 1, "asks to wait 4000 s, more than 300 s");
    q = ask("/status/500");
    q.retries = 2;
    check_fails(q, 1, 500, 3, "status 500: it is 500 (given up)");
    q = ask("/status/404");
    check_fails(q, 1, 404, 1, "status 404");
    q = ask("/status/503");
    q.retries = -1;
    check_fails(q, 1, 503, 1, "status 503");
    q = ask("/reset");
    q.retries = 1;
    check_fails(q, 1, 0, 2, "(given up)");
    check_fails(ask("/garbage"), 1, 0, 1, "HTTP/0.9");
    q.url = "http://127.0.0.1:1/nobody";
    q.retries = -1;
    check_fails(q, 1, 0, 1, "127.0.0.1");
}

static void test_limits(void)
{
    HttpRequest q = ask("/slow/3");
    q.retries = -1;
    q.attempt_s = 0.3;
    double begin = progress_now_s();
    check_fails(q, 1, 0, 1, "timed out");
    CHECK(progress_now_s() - begin < 2.5);
    q = ask("/endless");
    q.max_bytes = 200000;
    check_fails(q, 1, 200, 1, "more than 200000 bytes");
    q = ask("/headers");
    check_fails(q, 1, 0, 1, "headers");
    q = ask("/wrong-range/1");
    q.resume_from = 4;
    check_fails(q, 1, 206, 1, "expected bytes from 4 on");
    q = ask("");
    q.url = "file:///etc/passwd";
    check_fails(q, 2, 0, 1, "expected an address that begins with http:// or https://");
    q.url = "ftp://127.0.0.1/x";
    check_fails(q, 2, 0, 1, "begins with http://");
    const char *const split[] = {"X-A: b\r\nX-C: d"};
    q = ask("/echo");
    q.headers = split;
    q.n_headers = 1;
    check_fails(q, 2, 0, 1, "end of a line");
}

static volatile sig_atomic_t stop;
static void *set_stop(void *context)
{
    (void)context;
    usleep(200000);
    stop = 1;
    return NULL;
}

/* Silence, a trickle, and a wait before a retry: each ends soon after the flag is set. */
static void test_stop(void)
{
    static const char *const paths[] = {"/slow/8", "/drip/200", "/retry/9/60"};
    for (size_t i = 0; i < 3; i++) {
        pthread_t thread;
        HttpRequest q = ask(paths[i]);
        HttpResponse r;
        Error e = {""};
        stop = 0;
        q.stop = &stop;
        CHECK(pthread_create(&thread, NULL, set_stop, NULL) == 0);
        double begin = progress_now_s();
        CHECK(http_send(client, &q, &r, &e) == 130);
        CHECK_MSG(strstr(e.text, "interrupted") && progress_now_s() - begin < 3, "%s after %.2f s", e.text,
                  progress_now_s() - begin);
        pthread_join(thread, NULL);
        http_response_free(&r);
    }
}

typedef struct Whole {
    StrBuf bytes;
    int n_restarts;
} Whole;

static int take(void *context, uint64_t offset, const void *data, size_t n, Error *e)
{
    Whole *w = context;
    if (offset > w->bytes.len)
        return error_set(e, STATUS_FAILED, "a gap");
    if (offset < w->bytes.len) {
        w->n_restarts++;
        w->bytes.len = (size_t)offset;
    }
    strbuf_append(&w->bytes, data, n);
    return STATUS_OK;
}

static int refuse(void *context, uint64_t offset, const void *data, size_t n, Error *e)
{
    (void)context, (void)offset, (void)data, (void)n;
    return error_set(e, STATUS_FAILED, "the disk is full");
}

static void test_resume(void)
{
    HttpResponse r;
    Error e = {""};
    for (int into_sink = 0; into_sink < 2; into_sink++) {
        /* 10 pieces of 1000 bytes with 1 retry: an attempt that brings something is not counted */
        HttpRequest q = ask("/broken/10000/1000");
        Whole w = {0};
        q.retries = 1;
        if (into_sink) {
            q.sink = take;
            q.sink_context = &w;
        }
        CHECK_MSG(http_send(client, &q, &r, &e) == 0, "%s", e.text);
        const StrBuf *got = into_sink ? &w.bytes : &r.body;
        CHECK_MSG(got->len == 10000 && is_pattern(got->data, got->len, 0), "%zu bytes", got->len);
        CHECK(r.n_attempts == 10 && r.size_bytes == 10000 && w.n_restarts == 0);
        http_response_free(&r);
        strbuf_free(&w.bytes);
    }
    Whole w = {0};
    HttpRequest q = ask("/changed/5000/1234");
    q.sink = take;
    q.sink_context = &w;
    CHECK_MSG(http_send(client, &q, &r, &e) == 0, "%s", e.text);
    CHECK(w.bytes.len == 5000 && is_pattern(w.bytes.data, 5000, 7) && w.n_restarts == 1); /* the new content, whole */
    http_response_free(&r);
    strbuf_free(&w.bytes);
    w = (Whole){0};
    q = ask("/broken-plain/3000/100");
    q.sink = take;
    q.sink_context = &w;
    CHECK_MSG(http_send(client, &q, &r, &e) == 0, "%s", e.text);
    CHECK(w.bytes.len == 3000 && is_pattern(w.bytes.data, 3000, 0) && w.n_restarts == 2 && r.n_attempts == 3);
    http_response_free(&r);
    strbuf_free(&w.bytes);
    /* what the caller has: the rest alone; another ETag: the whole */
    q = ask("/bytes/1000");
    q.resume_from = 990;
    q.if_range = "\"one\"";
    CHECK_MSG(http_send(client, &q, &r, &e) == 0, "%s", e.text);
    CHECK(r.status == 206 && r.body.len == 10 && r.size_bytes == 1000 && (unsigned char)r.body.data[0] == 990 % 251);
    http_response_free(&r);
    q.if_range = "\"other\"";
    CHECK_MSG(http_send(client, &q, &r, &e) == 0, "%s", e.text);
    CHECK(r.status == 200 && r.body.len == 1000);
    http_response_free(&r);
    q = ask("/bytes/1000");
    q.resume_from = 1000;
    check_fails(q, 1, 416, 1, "status 416");
    q = ask("/bytes/1000");
    q.sink = refuse;
    check_fails(q, 1, 200, 1, "the disk is full");
}

static void test_redirects(void)
{
    HttpResponse r;
    Error e = {""};
    char path[256];
    HttpRequest q = ask("/redirect/302//echo");
    q.authorization = "Bearer secret-2";
    CHECK_MSG(http_send(client, &q, &r, &e) == 0, "%s", e.text);
    CHECK(r.status == 200 && r.n_hops == 2 && strstr(r.body.data, "secret-2")); /* the same host */
    CHECK(!http_header(&r, "X-Repo-Commit"));
    CHECK_STR(http_header_any(&r, "X-Repo-Commit"), "c0ffee");
    CHECK_STR(http_header_any(&r, "x-linked-etag"), "\"linked\"");
    http_response_free(&r);
    /* another name is another host */
    snprintf(path, sizeof path, "/redirect/307/http://localhost:%d/echo", port);
    q = ask(path);
    q.authorization = "Bearer secret-2";
    CHECK_MSG(http_send(client, &q, &r, &e) == 0, "%s", e.text);
    CHECK(strstr(r.body.data, "\"method\": \"GET\"") && !strstr(r.body.data, "secret-2") &&
          !strstr(r.body.data, "Authorization"));
    http_response_free(&r);
    q.body = "text";
    q.body_bytes = 4;
    CHECK_MSG(http_send(client, &q, &r, &e) == 0, "%s", e.text);
    CHECK(strstr(r.body.data, "\"POST\"") && strstr(r.body.data, "\"text\"") && !strstr(r.body.data, "secret-2"));
    http_response_free(&r);
    q = ask("/redirect/302//echo");
    q.max_redirects = -1;
    CHECK_MSG(http_send(client, &q, &r, &e) == 0, "%s", e.text);
    CHECK(r.status == 302);
    CHECK_STR(http_header(&r, "Location"), "/echo");
    http_response_free(&r);
    q = ask("/redirect/302//echo");
    q.body = "text";
    q.body_bytes = 4;
    check_fails(q, 1, 302, 1, "status 302");
    check_fails(ask("/loop"), 1, 302, 1, "redirected more than 10 times");
    CHECK(hits("/loop") == 11);
    check_fails(ask("/to-file"), 1, 302, 1, "http or https");
}

static void test_secrets(void)
{
    HttpResponse r;
    Error e = {""};
    HttpRequest q = ask("/leak");
    q.authorization = "Bearer sk-12345";
    CHECK(http_send(client, &q, &r, &e) == 1);
    CHECK_MSG(strstr(e.text, "status 401: bad key Bearer ********"), "%s", e.text);
    CHECK(!strstr(r.body.data, "sk-12345"));
    http_response_free(&r);
    char out[128];
    http_url_shown("https://me:pw@host:8/a/b?token=t#x", out, sizeof out);
    CHECK_STR(out, "https://host:8/a/b");
    http_url_shown("https://a@b@host?token=t", out, sizeof out);
    CHECK_STR(out, "https://host");
    http_url_shown("me:pw@host/x@y", out, sizeof out);
    CHECK_STR(out, "host/x@y");
}

static void test_without_server(void)
{
    SKIP("python3, which runs tests/http_server.py, is not here");
}

int main(void)
{
    Error e = {""};
    if (http_open(&client, &e) || !begin_server()) {
        RUN(test_without_server);
        end_server();
        return test_finish();
    }
    RUN(test_plain);
    RUN(test_retries);
    RUN(test_limits);
    RUN(test_stop);
    RUN(test_resume);
    RUN(test_redirects);
    RUN(test_secrets);
    end_server();
    http_close(client);
    return test_finish();
}
