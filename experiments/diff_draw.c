/* diff_draw.c: see diff_draw.h. */
#include "experiments/diff_draw.h"

#include <stdio.h>
#include <string.h>

void diff_draw_title(const DiffFigure *f, const char *english, const char *category, const char *position, StrBuf *out)
{
    bool ja = f->lang == CAPTIONS_JA;
    strbuf_printf(out, "%s%s%s", f->r->name, ja ? "：" : ": ", diff_draw_say(f, english));
    if (!category && !position)
        return;
    strbuf_puts(out, ja ? "（" : " (");
    strbuf_puts(out, category ? diff_draw_say(f, category) : "");
    if (position)
        strbuf_printf(out, "%s%s", category ? (ja ? "、" : ", ") : "", diff_draw_say(f, position));
    strbuf_puts(out, ja ? "）" : ")");
}

void diff_draw_sentence(const DiffFigure *f, const char *english, StrBuf *out)
{
    strbuf_printf(out, "%s%s", diff_draw_say(f, english), f->lang == CAPTIONS_JA ? "。" : ". ");
}

int diff_draw_stem(const DiffFigure *f, const char *name, const char *part, StrBuf *out, Error *e)
{
    strbuf_printf(out, "%s/%s%s", f->folder, f->prefix ? f->prefix : "", name);
    for (const char *s = part ? part : ""; *s; s++) {
        bool plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '-';
        if (s == part)
            strbuf_putc(out, '_');
        strbuf_putc(out, plain ? *s : '_');
    }
    strbuf_puts(out, f->suffix ? f->suffix : "");
    return out->failed ? error_set(e, STATUS_FAILED, "%s: no memory for a file name", f->folder) : STATUS_OK;
}

int diff_draw_csv(Table *t, const char *stem, Error *e)
{
    int status = table_save_csv(t, e, "%s.csv", stem);
    table_free(t);
    return status;
}
