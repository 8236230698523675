/* http_attempt.h: one attempt at a request of HTTP: a chain of hops (redirects), each one libcurl transfer driven by its multi interface,
 * so that the stop flag is seen every 100 ms. Internal to http.c, which opens clients, tries again and waits. */
#ifndef STRATA_BASE_HTTP_ATTEMPT_H
#define STRATA_BASE_HTTP_ATTEMPT_H

#include <curl/curl.h>

#include "engine/base/http.h"
#include "engine/base/rng.h"

struct HttpClient {
    CURL *easy;
    CURLM *multi;
    Rng rng;
};

/* One attempt. */
typedef struct HttpAttempt {
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
} HttpAttempt;

/* The attempt along its redirects: STATUS_OK also where the transport failed or the answer is not good, which *code (of the last hop;
 * error_text [CURL_ERROR_SIZE] says more), a->status and a->is_good tell. if_range (may be NULL): what a->asked_from refers to. */
int http_attempt(HttpAttempt *a, const char *if_range, CURLcode *code, char *error_text);
int http_attempt_fail(HttpAttempt *a, int status); /* notes and returns it; the text is in *a->e */
int http_attempt_stopped(HttpAttempt *a);          /* STATUS_INTERRUPTED once the request's stop flag is set, else STATUS_OK */
bool http_attempt_is_get(const HttpRequest *q);

void http_response_clear_headers(HttpResponse *r); /* in http.c */

#endif
