/* web_export.c: see web_export.h. Existing files of the same names are replaced; nothing is removed. */
#include "tools/web/web_export.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/progress.h"
#include "tools/web/web_model.h"
#include "tools/web/web_page.h"

typedef struct Export {
    const char *dir;
    size_t n_files;
    double bytes;
} Export;

static int write_file(Export *x, const char *path, const void *data, size_t len, Error *e)
{
    char *full = file_join(x->dir, path);
    char *folder = full ? strndup(full, (size_t)(file_basename(full) - full)) : NULL;
    int status = full && folder ? file_make_dirs(folder, e) : error_set(e, STATUS_FAILED, "export: out of memory");
    if (!status)
        status = file_write_atomic(full, data, len, e);
    x->n_files++;
    x->bytes += (double)len;
    free(folder);
    free(full);
    return status;
}

static int write_page(Export *x, Error *e)
{
    int status = STATUS_OK;
    for (const WebFile *f = web_page_files(); !status && f->path; f++)
        status = write_file(x, f->path, f->data, (size_t)(f->end - f->data), e);
    return status;
}

static int write_model(Export *x, Error *e)
{
    WebFacts facts = {.read_only = true};
    WebLimits limits = {0};
    StrBuf b = {0};
    int status = web_model_json(&facts, &limits, &b, e);
    if (!status)
        status = write_file(x, "api/model.json", b.data, b.len, e);
    strbuf_free(&b);
    return status;
}

int web_export(const StrataServeOptions *o, WebResults *results, Error *e)
{
    Export x = {.dir = o->export_dir};
    Progress progress;
    StrBuf path = {0}, body = {0}, folder = {0};
    progress_begin(&progress, "export", "files", 0, 0, o->common.quiet != 0);
    int status = write_page(&x, e);
    if (!status)
        status = write_model(&x, e);
    while (!status) {
        const char *name, *type = NULL;
        if (!web_results_each(results, &name, e))
            break;
        strbuf_reset(&path);
        strbuf_reset(&body);
        strbuf_printf(&path, "api/%s", name);
        int http = web_results_get(results, name, NULL, 0, &body, &type, e);
        if (http >= 400)
            status = error_prefix(e, STATUS_FAILED, "%s", name);
        else if (path.failed || body.failed)
            status = error_set(e, STATUS_FAILED, "export: out of memory for %s", name);
        else
            status = write_file(&x, path.data, body.data, body.len, e);
        if (o->common.stop && *o->common.stop)
            status = error_set(e, STATUS_INTERRUPTED, "interrupted");
        progress_update(&progress, (double)x.n_files);
    }
    progress_end(&progress);
    strbuf_free(&path);
    strbuf_free(&body);
    if (!status && o->common.out) {
        strbuf_shell_word(&folder, x.dir);
        fprintf(o->common.out, "%s: %zu files, %.1f MiB. Look at it: python3 -m http.server --directory %s\n", x.dir, x.n_files,
                x.bytes / (1024.0 * 1024.0), folder.failed ? "FOLDER" : folder.data);
    }
    strbuf_free(&folder);
    return status;
}
