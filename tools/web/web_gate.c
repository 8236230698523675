/* web_gate.c: see web_gate.h. */
#include "tools/web/web_gate.h"

#include <ifaddrs.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_HOSTS = 64 };

static const char cookie_name[] = "strata_token";

static void add_name(WebGate *g, const char *name, int port)
{
    if (g->n_hosts + 2 > MOST_HOSTS || !name[0] || strlen(name) > 100)
        return;
    bool six = strchr(name, ':') && name[0] != '[';
    snprintf(g->hosts[g->n_hosts++], sizeof *g->hosts, six ? "[%s]:%d" : "%s:%d", name, port);
    if (port == 80)
        snprintf(g->hosts[g->n_hosts++], sizeof *g->hosts, six ? "[%s]" : "%s", name);
}

/* Addresses of this machine's interfaces, for a server that listens on all of them. */
static void add_interfaces(WebGate *g, int port)
{
    struct ifaddrs *list;
    char name[NI_MAXHOST];
    if (getifaddrs(&list))
        return;
    for (struct ifaddrs *i = list; i; i = i->ifa_next) {
        int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;
        if (family != AF_INET && family != AF_INET6)
            continue;
        socklen_t len = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
        if (!getnameinfo(i->ifa_addr, len, name, sizeof name, NULL, 0, NI_NUMERICHOST))
            add_name(g, name, port);
    }
    freeifaddrs(list);
}

int web_gate_open(WebGate *g, const char *host, int port, const char *token, Error *e)
{
    memset(g, 0, sizeof *g);
    g->hosts = calloc(MOST_HOSTS, sizeof *g->hosts);
    if (!g->hosts)
        return error_set(e, STATUS_FAILED, "serve: out of memory");
    snprintf(g->token, sizeof g->token, "%s", token ? token : "");
    add_name(g, "127.0.0.1", port);
    add_name(g, "localhost", port);
    add_name(g, "::1", port);
    add_name(g, host, port);
    if (token) {
        char name[128] = "";
        if (!gethostname(name, sizeof name - 1))
            add_name(g, name, port);
        add_interfaces(g, port);
    }
    return STATUS_OK;
}

void web_gate_close(WebGate *g)
{
    free(g->hosts);
    memset(g, 0, sizeof *g);
}

static bool is_ours(const WebGate *g, const char *host)
{
    for (size_t i = 0; i < g->n_hosts; i++)
        if (strcasecmp(g->hosts[i], host) == 0)
            return true;
    return false;
}

/* Equal, in a time that does not tell how much of it is. */
static bool is_token(const WebGate *g, const char *given)
{
    size_t n = strlen(g->token);
    if (!given || strlen(given) != n)
        return false;
    unsigned differs = 0;
    for (size_t i = 0; i < n; i++)
        differs |= (unsigned)(unsigned char)(g->token[i] ^ given[i]);
    return !differs;
}

static bool has_token(const WebGate *g, struct MHD_Connection *c)
{
    const char *bearer = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization");
    return is_token(g, MHD_lookup_connection_value(c, MHD_COOKIE_KIND, cookie_name)) ||
           is_token(g, MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "token")) ||
           (bearer && strncasecmp(bearer, "Bearer ", 7) == 0 && is_token(g, bearer + 7));
}

int web_gate_check(const WebGate *g, struct MHD_Connection *c, char *sentence, size_t room)
{
    const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Host");
    const char *origin = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Origin");
    if (!host || !is_ours(g, host)) {
        snprintf(sentence, room, "the Host header names another server; open the address that `strata serve` printed");
        return 403;
    }
    if (origin && (strncmp(origin, "http://", 7) != 0 || strcasecmp(origin + 7, host) != 0)) {
        snprintf(sentence, room, "the request comes from the page of another site");
        return 403;
    }
    if (g->token[0] && !has_token(g, c)) {
        snprintf(sentence, room, "a token is missing: open the whole address that `strata serve` printed");
        return 401;
    }
    return 0;
}

void web_gate_cookie(const WebGate *g, struct MHD_Connection *c, char *out, size_t room)
{
    out[0] = '\0';
    if (g->token[0] && is_token(g, MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "token")))
        snprintf(out, room, "%s=%s; HttpOnly; SameSite=Strict; Path=/", cookie_name, g->token);
}
