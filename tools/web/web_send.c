/* web_send.c: see web_send.h. */
#include "tools/web/web_send.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char csp[] =
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'none'";

void web_write_error(StrBuf *out, const char *sentence)
{
    strbuf_puts(out, "{\"error\": ");
    strbuf_json_string(out, sentence, strlen(sentence));
    strbuf_puts(out, "}\n");
}

enum MHD_Result web_send_bytes(struct MHD_Connection *c, int status, const char *type, const void *data, size_t len,
                               enum MHD_ResponseMemoryMode mode, const char *etag, const char *cookie)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(len, (void *)(uintptr_t)data, mode);
    if (!r) {
        if (mode == MHD_RESPMEM_MUST_FREE)
            free((void *)(uintptr_t)data);
        return MHD_NO;
    }
    MHD_add_response_header(r, "Content-Type", type);
    MHD_add_response_header(r, "Content-Security-Policy", csp);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "X-Frame-Options", "DENY");
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
    MHD_add_response_header(r, "Cross-Origin-Opener-Policy", "same-origin");
    MHD_add_response_header(r, "Cache-Control", etag ? "no-cache" : "no-store");
    if (etag)
        MHD_add_response_header(r, "ETag", etag);
    if (cookie)
        MHD_add_response_header(r, "Set-Cookie", cookie);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, "Allow", "GET, HEAD, POST");
    if (status == MHD_HTTP_UNAUTHORIZED)
        MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
    enum MHD_Result result = MHD_queue_response(c, (unsigned)status, r);
    MHD_destroy_response(r);
    return result;
}

enum MHD_Result web_send_error(struct MHD_Connection *c, int status, const char *sentence)
{
    StrBuf b = {0};
    web_write_error(&b, sentence);
    if (b.failed) {
        strbuf_free(&b);
        return MHD_NO;
    }
    return web_send_bytes(c, status, "application/json", b.data, b.len, MHD_RESPMEM_MUST_FREE, NULL, NULL);
}

enum MHD_Result web_send_text(struct MHD_Connection *c, StrBuf *b)
{
    if (b->failed) {
        strbuf_free(b);
        return web_send_error(c, 500, "out of memory");
    }
    return web_send_bytes(c, 200, "application/json", b->data, b->len, MHD_RESPMEM_MUST_FREE, NULL, NULL);
}
