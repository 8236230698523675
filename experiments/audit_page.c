/* audit_page.c: the audit of our own run as one HTML file: audit_page.html, part of this object, with the report's JSON in it. It asks
 * nothing of any server. */
#include <string.h>

#include "engine/base/embed.h"
#include "experiments/audit_own.h"

EMBED_TEXT(audit_page_template, "experiments/audit_page.html")

void audit_own_page(const Workbench *w, const AuditOwn *o, StrBuf *out)
{
    static const char mark[] = "/*DATA*/";
    const char *place = strstr(audit_page_template, mark);
    StrBuf json = {0};
    audit_own_json(w, o, &json);
    strbuf_append(out, audit_page_template, (size_t)(place - audit_page_template));
    for (size_t i = 0; i < json.len; i++) { /* no name in the data may end the script */
        if (json.data[i] == '<')
            strbuf_puts(out, "\\u003c");
        else
            strbuf_putc(out, json.data[i]);
    }
    strbuf_puts(out, place + sizeof mark - 1);
    out->failed = out->failed || json.failed;
    strbuf_free(&json);
}
