/* web_export.h: the explorers as a static site: the page, and beside it every answer about results as a file of the same name. */
#ifndef STRATA_TOOLS_WEB_EXPORT_H
#define STRATA_TOOLS_WEB_EXPORT_H

#include "experiments/studies.h"
#include "tools/web/web_results.h"

int web_export(const StrataServeOptions *o, WebResults *results, Error *e);

#endif
