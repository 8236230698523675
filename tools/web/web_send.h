/* web_send.h: answers as they leave the server: the headers that each carries, errors as one sentence. */
#ifndef STRATA_TOOLS_WEB_SEND_H
#define STRATA_TOOLS_WEB_SEND_H

#include <microhttpd.h>

#include "engine/base/strbuf.h"

void web_write_error(StrBuf *out, const char *sentence); /* {"error": "..."} */

/* data is freed with free() where mode says so, also on failure. etag, cookie: NULL for none. MHD_NO: memory is out. */
enum MHD_Result web_send_bytes(struct MHD_Connection *c, int status, const char *type, const void *data, size_t len,
                               enum MHD_ResponseMemoryMode mode, const char *etag, const char *cookie);
enum MHD_Result web_send_error(struct MHD_Connection *c, int status, const char *sentence);
enum MHD_Result web_send_text(struct MHD_Connection *c, StrBuf *b); /* JSON, 200; takes b's memory */

#endif
