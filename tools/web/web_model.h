/* web_model.h: api/model.json: what the model is, what may be asked, what it can be expected to do. */
#ifndef STRATA_TOOLS_WEB_MODEL_H
#define STRATA_TOOLS_WEB_MODEL_H

#include "tools/web/web_answer.h"

typedef struct WebFacts {
    int class_size;
    bool read_only, live;
    const Workbench *bench; /* NULL: no model */
} WebFacts;

int web_model_json(const WebFacts *facts, const WebLimits *limits, StrBuf *out, Error *e);

#endif
