/* audit_page.c: the audit of our own run as one HTML file: audit_page.html, part of this object, with the report's JSON in it. It asks
 * nothing of any server. */
#include <string.h>

#include "experiments/audit_own.h"

#ifdef __APPLE__
#define SECTION ".const_data\n"
#define NAME(symbol) "_" symbol
#define RESTORE ".text\n"
#else
#define SECTION ".pushsection .rodata,\"a\"\n"
#define NAME(symbol) symbol
#define RESTORE ".popsection\n"
#endif

/* clang-format off */
__asm__(SECTION
        ".globl " NAME("audit_page_template") "\n" NAME("audit_page_template") ":\n"
        ".incbin \"experiments/audit_page.html\"\n"
        ".byte 0\n"
        RESTORE);
/* clang-format on */
extern const char audit_page_template[];

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
