/* web_gate.h: who may ask. A page of another site in the user's browser can reach loopback too: it is told apart by Origin, and by Host
 * when its name was made to resolve to us. Whoever can reach an address that is not loopback needs the token. */
#ifndef STRATA_TOOLS_WEB_GATE_H
#define STRATA_TOOLS_WEB_GATE_H

#include <stddef.h>

#include "engine/base/error.h"

struct MHD_Connection;

typedef struct WebGate {
    char (*hosts)[128]; /* what Host may be, with and without the port */
    size_t n_hosts;
    char token[80]; /* "": none is asked */
} WebGate;

/* host: the address listened on. */
int web_gate_open(WebGate *g, const char *host, int port, const char *token, Error *e);
void web_gate_close(WebGate *g);

/* 0, or the status of HTTP with a sentence. */
int web_gate_check(const WebGate *g, struct MHD_Connection *c, char *sentence, size_t room);
/* The Set-Cookie for a request that brings its token in the query; "" else. */
void web_gate_cookie(const WebGate *g, struct MHD_Connection *c, char *out, size_t room);

#endif
