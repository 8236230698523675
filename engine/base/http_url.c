/* http_url.c: see http_url.h; addresses are taken apart by libcurl's own parser, so that what is checked is what is asked for. */
#include "engine/base/http_url.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "engine/base/http.h"

void http_url_shown(const char *url, char *out, size_t out_len)
{
    const char *scheme = strstr(url, "://"), *host = scheme ? scheme + 3 : url;
    size_t n_host = strcspn(host, "/?#");
    const char *at = memrchr(host, '@', n_host);
    host = at ? at + 1 : host;
    n_host = strcspn(host, "?#");
    snprintf(out, out_len, "%.*s%.*s", scheme ? (int)(scheme + 3 - url) : 0, url, (int)n_host, host);
}

bool http_url_same_origin(const char *x, const char *y)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    bool same = true;
    CURLU *u = curl_url(), *v = curl_url();
    if (!u || !v || curl_url_set(u, CURLUPART_URL, x, 0) || curl_url_set(v, CURLUPART_URL, y, 0))
        same = false;
    for (size_t i = 0; same && i < sizeof parts / sizeof *parts; i++) {
        char *s = NULL, *t = NULL;
        same = !curl_url_get(u, parts[i], &s, CURLU_DEFAULT_PORT) && !curl_url_get(v, parts[i], &t, CURLU_DEFAULT_PORT) &&
               strcasecmp(s, t) == 0;
        curl_free(s);
        curl_free(t);
    }
    curl_url_cleanup(u);
    curl_url_cleanup(v);
    return same;
}

int http_url_check(const char *url, bool *is_loopback, Error *e)
{
    char shown[256];
    http_url_shown(url, shown, sizeof shown);
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL;
    int status = STATUS_OK;
    if (!u || curl_url_set(u, CURLUPART_URL, url, 0) || curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        status = error_set(e, STATUS_USAGE, "\"%s\": expected an address that begins with http:// or https://", shown);
    else
        *is_loopback = strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0;
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(u);
    return status;
}
