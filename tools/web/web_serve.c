/* web_serve.c: `strata serve`: the model is opened and kept warm, the server listens until it is stopped. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "engine/base/file.h"
#include "tools/web/web_export.h"
#include "tools/web/web_model.h"
#include "tools/web/web_listen.h"
#include "tools/web/web_server.h"

enum { TEXT_BYTES = 8192, TOKENS = 256, CLASS_TOKENS = 128, DEFAULT_PORT = 8080 };

typedef struct Serve {
    Workbench bench;
    bool has_bench;
    WebLive live;
    WebResults *results;
    StrBuf model_json;
    WebServer *server;
    char token[33];
} Serve;

static int make_token(char out[33], Error *e)
{
    unsigned char bytes[16];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return error_set(e, STATUS_FAILED, "serve: no random numbers for a token: %s", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    return STATUS_OK;
}

static int open_model(const StrataServeOptions *o, Serve *s, Error *e)
{
    if (!o->common.model_name || !o->common.model_name[0])
        return STATUS_OK;
    int status = workbench_open(&o->common, TOKENIZER_IF_THERE, &s->bench, e);
    if (status)
        return status;
    s->has_bench = true;
    size_t tokens = o->common.context ? s->bench.context : o->class_size ? CLASS_TOKENS : TOKENS;
    s->live.limits.tokens = tokens < s->bench.context ? tokens : s->bench.context;
    s->live.limits.n_layers = s->bench.model.traits.n_layers;
    s->live.limits.vocab = s->bench.model.traits.vocab;
    return lab_open(&s->bench, s->live.limits.tokens, &s->live.lab, e);
}

static int check_options(const StrataServeOptions *o, const char *host, Error *e)
{
    if (o->port < 0 || o->port > 65535)
        return error_set(e, STATUS_USAGE, "--port: %d, expected 0 to 65535", o->port);
    if (o->class_size < 0 || o->class_size > 500)
        return error_set(e, STATUS_USAGE, "--class: %d, expected 1 to 500", o->class_size);
    if (o->token && !web_name_valid(o->token, strlen(o->token)))
        return error_set(e, STATUS_USAGE, "--token: expected 1 to 64 of the characters A-Z a-z 0-9 _ -");
    if (o->token && strlen(o->token) < 16 && !web_address_is_loopback(host))
        return error_set(e, STATUS_USAGE, "--token: %zu characters, expected at least 16 for a server that others can reach",
                         strlen(o->token));
    return STATUS_OK;
}

static void print_address(const StrataServeOptions *o, const Serve *s, const char *host, const char *token)
{
    FILE *out = o->common.out;
    const char *shown = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 ? "THIS-MACHINE" : host;
    bool six = strchr(shown, ':') != NULL;
    if (!out)
        return;
    fprintf(out, six ? "http://[%s]:%d/%s%s\n" : "http://%s:%d/%s%s\n", shown, web_server_port(s->server),
            token ? "?token=" : "", token ? token : "");
    if (!o->common.quiet)
        fprintf(out, "Open it in a browser%s; Ctrl-C ends.\n",
                s->has_bench ? "" : ". Without --model_name the results can be explored, nothing can be run");
    fflush(out);
}

static void wait_for_end(const StrataServeOptions *o, Serve *s)
{
    const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
    while (!(o->common.stop && *o->common.stop)) {
        nanosleep(&pause, NULL);
        web_server_sweep(s->server);
    }
}

static int serve(const StrataServeOptions *o, Serve *s, Error *e)
{
    const char *host = o->host && o->host[0] ? o->host : "127.0.0.1", *token = o->token;
    const char *output_dir = o->output_dir && o->output_dir[0] ? o->output_dir : "results";
    s->live.limits.text_bytes = TEXT_BYTES;
    s->live.output_dir = output_dir;
    int status = check_options(o, host, e);
    if (!status)
        status = web_results_open(output_dir, o->pairs, &s->results, e);
    if (!status && o->export_dir)
        return web_export(o, s->results, e);
    if (!status)
        status = open_model(o, s, e);
    WebFacts facts = {.class_size = o->class_size,
                      .read_only = o->read_only,
                      .live = s->live.lab != NULL,
                      .bench = s->has_bench ? &s->bench : NULL};
    if (!status)
        status = web_model_json(&facts, &s->live.limits, &s->model_json, e);
    if (!status && !token && !web_address_is_loopback(host)) {
        status = make_token(s->token, e);
        token = s->token;
    }
    WebServerOptions options = {.host = host,
                                .port = o->port_given ? o->port : DEFAULT_PORT,
                                .token = token,
                                .live = &s->live,
                                .results = s->results,
                                .model_json = &s->model_json,
                                .class_size = o->class_size,
                                .read_only = o->read_only};
    if (!status)
        status = web_server_open(&options, &s->server, e);
    if (status)
        return status;
    print_address(o, s, host, token);
    web_server_warm(s->server, s->model_json.data, s->model_json.len);
    wait_for_end(o, s);
    return STATUS_OK;
}

int strata_serve(const StrataServeOptions *options, StrataError *e)
{
    Serve s = {0};
    int status = serve(options, &s, e);
    web_server_close(s.server);
    lab_close(s.live.lab);
    web_results_close(s.results);
    strbuf_free(&s.model_json);
    if (s.has_bench)
        workbench_close(&s.bench);
    return status;
}
