/* web_page.c: puts the page's files into the binary, by the assembler's .incbin, whose paths count from the repository's root, where
 * make runs the compiler. The list is generated (tools/web/embed.sh). */
#include "tools/web/web_page.h"

#include <string.h>

#include "engine/base/embed.h"

#include <web_page_table.h>

const WebFile *web_page_files(void)
{
    return files;
}

const WebFile *web_page_find(const char *path)
{
    const char *wanted = path[0] ? path : "index.html";
    for (const WebFile *f = files; f->path; f++)
        if (strcmp(f->path, wanted) == 0)
            return f;
    return NULL;
}

const char *web_page_type(const char *path)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".mjs", "text/javascript; charset=utf-8"},
        {".json", "application/json"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".ico", "image/x-icon"},
        {".txt", "text/plain; charset=utf-8"},
        {".md", "text/plain; charset=utf-8"},
        {".woff2", "font/woff2"},
        {".f32", "application/octet-stream"},
    };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i][0], dot) == 0)
            return types[i][1];
    return "application/octet-stream";
}
