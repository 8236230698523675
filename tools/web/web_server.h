/* web_server.h: HTTP over libmicrohttpd: who may ask, how much and how long, and where a request goes. */
#ifndef STRATA_TOOLS_WEB_SERVER_H
#define STRATA_TOOLS_WEB_SERVER_H

#include "tools/web/web_answer.h"
#include "tools/web/web_results.h"

typedef struct WebServer WebServer;

typedef struct WebServerOptions {
    const char *host;    /* address to listen on */
    int port;            /* 0: any free one */
    const char *token;   /* NULL: none asked (loopback only) */
    const WebLive *live; /* lab NULL: no model */
    WebResults *results;
    const StrBuf *model_json; /* of api/model.json */
    int class_size;
    bool read_only;
} WebServerOptions;

int web_server_open(const WebServerOptions *options, WebServer **out, Error *e);
int web_server_port(const WebServer *s);
/* Begins with what the page will ask first, so that weights are prepared when it comes: the default text and order of model_json. */
void web_server_warm(WebServer *s, const char *model_json, size_t len);
/* To be called several times a second: connections that are too slow are closed. */
void web_server_sweep(WebServer *s);
void web_server_close(WebServer *s); /* accepts NULL */

#endif
