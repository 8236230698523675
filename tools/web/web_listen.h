/* web_listen.h: the socket that the lab's server listens on. */
#ifndef STRATA_WEB_LISTEN_H
#define STRATA_WEB_LISTEN_H

#include <stdbool.h>

#include "engine/base/error.h"

bool web_address_is_loopback(const char *host);
/* *bound: the port, also where 0 asked for a free one. A port in use, or a host that is not this machine's, is an error. */
int web_listen(const char *host, int port, int *fd, int *bound, Error *e);

#endif
