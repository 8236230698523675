/* http_url.h: what the HTTP client asks of addresses (http_url_shown is in http.h). */
#ifndef STRATA_BASE_HTTP_URL_H
#define STRATA_BASE_HTTP_URL_H

#include <stdbool.h>

#include "engine/base/error.h"

/* Scheme, host and port of two URLs are the same: the secret may go from one to the other. */
bool http_url_same_origin(const char *x, const char *y);
/* Only http and https, with a host; says whether that host is this machine, which no proxy reaches for us. */
int http_url_check(const char *url, bool *is_loopback, Error *e);

#endif
