/* http.h: a client of HTTP(S) over libcurl: requests with headers, bodies into a buffer or a sink, limits of time and size, resumption,
 * retries. Only http and https are ever spoken.
 *
 * A request is tried again after a transport error and after 408, 429, 500, 502, 503 and 504: the wait is Retry-After where the server names
 * one, else backoff_s * 2^k (at most 60 s) times a uniform draw from [0.5, 1). A GET whose body broke off goes on where it was when the
 * server had named a strong ETag (Range with If-Range), else from the start; attempts that brought a byte are not counted.
 * Redirects are followed for GET and HEAD (for POST only 307 and 308), never from https to http; Authorization goes to the URL's own
 * scheme, host and port alone. Error texts hold no query, no user name, and not the secret, also where a server echoes it.
 * Leaves to others: what a body means, and whether a network may be used at all. */
#ifndef STRATA_BASE_HTTP_H
#define STRATA_BASE_HTTP_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/strbuf.h"

typedef struct HttpClient HttpClient; /* keeps connections; for one thread at a time */

/* n bytes that lie at `offset` of the whole; an offset below the last one's end means: start again there. Non-zero ends the transfer with
 * that status, e filled by the sink. */
typedef int (*HttpSink)(void *context, uint64_t offset, const void *data, size_t n, Error *e);

typedef struct HttpRequest {
    const char *url;
    const char *method;         /* "GET", "HEAD", "POST"; NULL: POST with a body, else GET */
    const char *const *headers; /* "Name: value", sent to every host of a chain of redirects: no secrets here */
    size_t n_headers;
    const char *authorization; /* value of Authorization, "Bearer ..."; NULL: none */
    const void *body;
    size_t body_bytes;
    uint64_t resume_from; /* GET: the first byte wanted. A server that sends the whole begins again at offset 0 */
    uint64_t end_at;      /* GET: one past the last byte wanted; 0: to the end */
    const char *if_range; /* ETag of what is there already; another one: the whole is sent */
    int max_redirects;    /* 0: 10; -1: a redirect is the answer */
    uint64_t max_bytes;   /* of a good body, counted from offset 0; 0: 64 MiB into the buffer, no limit into a sink */
    double connect_s;     /* 0: 20 */
    double idle_s;        /* without a byte; 0: 60 */
    double attempt_s;     /* one attempt as a whole; 0: no limit */
    int retries;          /* further attempts; 0: 5; -1: none */
    double backoff_s;     /* 0: 1 */
    double max_wait_s;    /* a longer Retry-After is an error; 0: 300 */
    HttpSink sink;        /* NULL: into response->body */
    void *sink_context;
    void (*on_wait)(void *context, const char *text); /* one line before each wait: why and how long; may be NULL */
    void *wait_context;
    const volatile sig_atomic_t *stop; /* non-zero: ends within a fifth of a second, status 130; may be NULL */
} HttpRequest;

typedef struct HttpHeader {
    char *name, *value;
    int hop; /* 0: the first answer of the chain of redirects */
} HttpHeader;

typedef struct HttpResponse {
    long status;         /* 0: there was no answer */
    StrBuf body;         /* of a status that is not 2xx: its first 64 KiB */
    uint64_t size_bytes; /* end of what was delivered, from offset 0 */
    HttpHeader *headers; /* of the last attempt, in order */
    size_t n_headers;
    int n_hops, n_attempts;
} HttpResponse;

int http_open(HttpClient **out, Error *e);
void http_close(HttpClient *client);

/* Status 0 for 2xx (and for 3xx with max_redirects -1); otherwise e says why, and response->status and body hold what the server said. Fills
 * *response in every case: free it with http_response_free. */
int http_send(HttpClient *client, const HttpRequest *request, HttpResponse *response, Error *e);
void http_response_free(HttpResponse *response);

const char *http_header(const HttpResponse *response, const char *name);     /* of the last answer; NULL: absent */
const char *http_header_any(const HttpResponse *response, const char *name); /* the last of the whole chain of redirects */

/* The URL without user name, password, query and fragment, for messages. */
void http_url_shown(const char *url, char *out, size_t out_len);

#endif
