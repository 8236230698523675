/* web_listen.c: see web_listen.h. */
#include "tools/web/web_listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

bool web_address_is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 || strncmp(host, "127.", 4) == 0;
}

int web_listen(const char *host, int port, int *fd, int *bound, Error *e)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *list;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    int found = getaddrinfo(host, service, &hints, &list);
    if (found)
        return error_set(e, STATUS_USAGE, "--host %s: %s", host, gai_strerror(found));
    int one = 1, status = STATUS_OK;
    *fd = socket(list->ai_family, list->ai_socktype | SOCK_CLOEXEC, list->ai_protocol);
    if (*fd >= 0)
        setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (*fd < 0 || bind(*fd, list->ai_addr, list->ai_addrlen) || listen(*fd, 128)) {
        int cause = errno;
        if (cause == EADDRINUSE)
            status = error_set(e, STATUS_FAILED, "--port %d: the port is in use on %s; --port 0 takes a free one", port, host);
        else
            status = error_set(e, STATUS_FAILED, "--host %s --port %d: cannot listen: %s", host, port, strerror(cause));
    }
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    if (!status && getsockname(*fd, (struct sockaddr *)&address, &len))
        status = error_set(e, STATUS_FAILED, "--host %s: %s", host, strerror(errno));
    if (!status)
        *bound = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&address)->sin6_port
                                                     : ((struct sockaddr_in *)(void *)&address)->sin_port);
    freeaddrinfo(list);
    return status;
}
