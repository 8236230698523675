/* web_queue.h: requests that take time. One worker does them one after another; clients take turns, so that one who asks much does
 * not hold up one who asks little. Equal requests are done once: later ones join the one that waits or runs, and answers are kept
 * for a while. A newer request of the same client and slot takes the place (and the turn) of the older one, whose work is stopped when nobody else
 * waits for it. Everything is bounded: requests of one client, requests together, answers kept. */
#ifndef STRATA_TOOLS_WEB_QUEUE_H
#define STRATA_TOOLS_WEB_QUEUE_H

#include "engine/base/error.h"
#include "engine/base/strbuf.h"
#include "experiments/lab.h"

typedef struct WebQueue WebQueue;

/* What came of a task; status: of HTTP. */
typedef struct WebReply {
    int status;
    const char *type; /* content type, static; NULL: JSON */
    StrBuf body;
    bool keep;    /* may serve equal requests later */
    bool is_open; /* JSON without its braces: "ms" and "cached" are added for each that waits */
    double ms;
} WebReply;

typedef struct WebQueueOptions {
    /* Does a task in the worker's thread. */
    void (*work)(void *user, void *task, const LabControl *control, WebReply *reply);
    void (*free_task)(void *task);
    /* Gives an exchange its answer; called with no lock of the queue held by others than the caller. body is the exchange's. */
    void (*deliver)(void *user, void *exchange, int status, const char *type, char *body, size_t len);
    void *user;
    size_t most_of_client, most, kept_bytes;
} WebQueueOptions;

int web_queue_open(const WebQueueOptions *options, WebQueue **out, Error *e);
/* Answers all that wait with 503 and ends the worker; later requests are refused. */
void web_queue_end(WebQueue *q);
void web_queue_close(WebQueue *q); /* ends it and frees it; accepts NULL */

/* Takes task (also when it is refused). same: equal strings mean equal answers; "": never. slot "": supersedes nothing. 0, or 429 or
 * 503: refused, and nothing will be delivered. begin is called under the queue's lock before anything can be delivered. */
int web_queue_submit(WebQueue *q, void *task, const char *same, const char *client, const char *slot, void *exchange,
                     void (*begin)(void *exchange));
/* slot "": all of the client's. How many were stopped. */
size_t web_queue_cancel(WebQueue *q, const char *client, const char *slot);

/* An exchange whose client is gone: its work is stopped when nobody else waits for it. Nothing happens when it does not wait. */
void web_queue_abandon(WebQueue *q, const void *exchange);

typedef struct WebProgress {
    size_t waiting, ahead;
    bool running;
    double done;
} WebProgress;
void web_queue_progress(WebQueue *q, const char *client, WebProgress *out);

#endif
