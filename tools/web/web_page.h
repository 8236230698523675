/* web_page.h: the files of the page (tools/web/page/), which are part of the binary. */
#ifndef STRATA_TOOLS_WEB_PAGE_H
#define STRATA_TOOLS_WEB_PAGE_H

#include <stddef.h>

typedef struct WebFile {
    const char *path; /* "js/main.js" */
    const unsigned char *data, *end;
} WebFile;

const WebFile *web_page_files(void);            /* ended by a path of NULL */
const WebFile *web_page_find(const char *path); /* "" is index.html; NULL: there is none */
const char *web_page_type(const char *path);    /* content type by the name's end */

#endif
